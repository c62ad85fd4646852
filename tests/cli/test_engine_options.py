"""--engine and --dtype on the command line: real processes, real clips, and records that say what was used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from samples import Run, write_video
from typer.testing import CliRunner

from videomae_cli.cli import batch
from videomae_cli.cli.app import app


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    return {"VIDEOMAE_CACHE": str(tmp_path / "cache")}


def scores(output: str) -> dict[str, float]:
    (record,) = [json.loads(line) for line in output.splitlines()]
    return {one["label"]: one["score"] for one in record["predictions"]}


def test_engines_agree(videomae: Run, video: Path, checkpoint: Path, store: dict[str, str]) -> None:
    common = ("classify", video, "--model", checkpoint, "--format", "jsonl")
    exact = videomae(*common, environment=store)
    for options in (
        ("--engine", "openvino", "--dtype", "float32"),
        ("--engine", "openvino"),
        ("--dtype", "bfloat16"),
        ("--compile",),
        ("--engine", "openvino", "--dtype", "int8"),
    ):
        done = videomae(*common, *options, environment=store)
        assert (done.returncode, done.stderr) == (0, ""), options
        assert scores(done.stdout) == pytest.approx(scores(exact.stdout), abs=0.02), options
        fingerprints = {json.loads(run.stdout)["fingerprint"] for run in (exact, done)}
        assert len(fingerprints) == 2, "other numbers are told apart"


def test_vectors_through_openvino(
    videomae: Run, video: Path, checkpoint: Path, tmp_path: Path, store: dict[str, str]
) -> None:
    vectors = []
    for number, options in enumerate(((), ("--engine", "openvino", "--dtype", "float32"))):
        out = tmp_path / f"{number}.jsonl"
        done = videomae("embed", video, "--model", checkpoint, "-o", out, *options, environment=store)
        assert done.returncode == 0, done.stderr
        vectors.append(json.loads(out.read_text())["embedding"])
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "tf"), "unknown engine 'tf'"),
        (("--dtype", "int8"), "--dtype int8 needs --engine openvino"),
        (("--dtype", "half"), "unknown dtype 'half'"),
    ],
)
def test_what_does_not_go_together_is_told_at_once(
    options: tuple[str, ...], words: str, videomae: Run, video: Path
) -> None:
    done = videomae("classify", video, "--model", "not/there", *options)
    assert done.returncode == 2
    assert done.stderr.startswith("videomae: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_shards_share_one_calibration(videomae: Run, checkpoint: Path, tmp_path: Path, store: dict[str, str]) -> None:
    """Each machine with its own cache: eight-bit numbers come from the whole list, so that the outputs belong together."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(4):
        write_video(folder / f"{number}.mp4")
    outputs = []
    for part in ("1/2", "2/2"):
        out = tmp_path / f"part{part[0]}.jsonl"
        own = {"VIDEOMAE_CACHE": str(tmp_path / f"cache{part[0]}")}
        common = ("classify", folder, "--model", checkpoint, "--shard", part, "-o", out)
        done = videomae(*common, "--engine", "openvino", "--dtype", "int8", environment=own)
        assert done.returncode == 0, done.stderr
        outputs.append(out)
    merged = videomae("merge", *outputs, "-o", tmp_path / "all.jsonl")
    assert merged.returncode == 0, merged.stderr
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(("engine", "times"), [("torch", 1), ("openvino", 0)])
def test_a_long_job_is_told_once_what_would_be_faster(
    engine: str, times: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(batch, "LONG_SECONDS", 0.0)
    films = [write_video(tmp_path / f"{number}.mp4") for number in range(3)]
    common = ["--model", str(checkpoint), "--engine", engine, "-o", str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(app, ["classify", *map(str, films), *common])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("--engine openvino takes half of that or less") == times


def test_classify_imports_only_what_it_uses(video: Path, checkpoint: Path) -> None:
    program = """
import sys
from videomae_cli.cli.app import app
try:
    app(prog_name="videomae")
except SystemExit:
    pass
unused = {"cv2", "av", "PIL", "huggingface_hub", "transformers", "pyarrow", "openvino", "nncf", "faiss", "umap", "pandas"}
print(sorted(unused & set(sys.modules)))
"""
    arguments = ["classify", str(video), "--model", str(checkpoint), "--format", "jsonl"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    record, unused = done.stdout.splitlines()
    assert json.loads(record)["status"] == "ok"
    assert unused == "[]", "decoding is a process of its own, and nothing else is asked for"
