"""Every example in docs/python.md and the README's own is run, on real footage and the bundled checkpoints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from lessons import footage
from motions import write_motions
from samples import make_checkpoint, write_video
from streaming import served
from typer.testing import CliRunner

from videomae_cli.cli.app import app

ROOT = Path(__file__).parent.parent.parent
GUIDE = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.M | re.S)
(README,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    place = tmp_path_factory.mktemp("examples")
    (place / "videos").mkdir()
    shutil.copy(footage("carphone_pristine"), place / "clip.mp4")
    shutil.copy(footage("bikes"), place / "film.mp4")
    shutil.copy(footage("carphone_pristine"), place / "videos" / "a.mp4")
    (place / "videos" / "broken.mp4").write_text("no video")
    made = ["embed", str(place / "videos"), "-m", "camera-motion", "-o", str(place / "embeddings.parquet"), "-q"]
    assert CliRunner().invoke(app, [*made, "--ok-on-errors"]).exit_code == 0
    for shard in ("1", "2"):
        made = ["classify", str(place / "videos"), "-m", "camera-motion", "-o", str(place / f"labels-{shard}.jsonl")]
        assert CliRunner().invoke(app, [*made, "--shard", f"{shard}/2", "-q", "--ok-on-errors"]).exit_code == 0
    for number, (part, label) in enumerate([("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")]):
        (place / "clips" / part / label).mkdir(parents=True)
        write_video(place / "clips" / part / label / "clip.mp4", count=20 + number)
    return place


# What runs on a cluster is run on one by tests/cluster/test_on_ray.py, and what watches a stream by a test of its own.
HERE = [number for number, block in enumerate(GUIDE) if "cluster_job(" not in block and ".watch(" not in block]


@pytest.mark.usefixtures("decoding_here")
@pytest.mark.parametrize("number", HERE)
def test_every_block_of_the_guide_runs(
    number: int, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    code = GUIDE[number]
    if "measure_engines(" in code:  # converts a model for every engine
        shallow = make_checkpoint(tmp_path / "shallow", num_hidden_layers=1)
        code = code.replace('"camera-motion"', repr(str(shallow)))
    exec(compile(code, f"docs/python.md, block {number + 1}", "exec"), {"__name__": "example"})
    printed = capsys.readouterr()
    assert not printed.err
    assert "None" not in printed.out.replace("broken.mp4: None", "")
    assert printed.out or "print" not in GUIDE[number]


def test_the_example_of_a_stream_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in GUIDE if ".watch(" in block)
    film = write_motions(tmp_path / "known.mp4", (("pan left", 6.0),), seed=7)
    with served(film, loops=1, speed=5.0) as address:
        exec(block.replace("rtsp://camera.local/stream", address), {"__name__": "example"})
    printed = capsys.readouterr()
    assert "pan left" in printed.out
    assert not printed.err


def test_the_example_of_the_readme_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    exec(README, {"__name__": "example"})
    assert capsys.readouterr().out.strip()


def test_the_guide_shows_every_public_function() -> None:
    import videomae_cli

    code = "\n".join(GUIDE)
    functions = [name for name in dir(videomae_cli) if name[0].islower()]
    assert [name for name in functions if f"videomae.{name}(" not in code] == []
