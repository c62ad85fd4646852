"""`videomae attend` on a real small video: its pictures are decoded again, and its errors read."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess

import av
import numpy as np
import pytest
from PIL import Image
from samples import Run, make_checkpoint
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining


@pytest.fixture
def videomae() -> Run:
    """The command inside this process, where torch is loaded once; the last test runs it in one of its own."""

    def run(*arguments: str | Path) -> CompletedProcess[str]:
        result = CliRunner().invoke(app, [os.fspath(argument) for argument in arguments])
        return CompletedProcess([], result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="module")
def pretrainer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "mae"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    decoder = {"decoder_hidden_size": 32, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 64}
    VideoMAEForPreTraining(VideoMAEConfig(image_size=32, id2label={}, **sizes, **decoder)).save_pretrained(folder)
    return folder


def images(folder: Path, name: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / f"clip1-{name}-{n:02}.png")) for n in range(16)]).astype(int)


def test_a_film_and_its_frames(checkpoint: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("attend", video, "-m", checkpoint, "-o", tmp_path / "a.mp4", "--frames-dir", tmp_path / "f")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{video}: attention rollout over 2 layers ({checkpoint})\n"
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 16
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    original, heat = images(tmp_path / "f", "original"), images(tmp_path / "f", "attention")
    assert original.shape == heat.shape == (16, 224, 224, 3)  # read at seven times the model's 32 pixels
    assert np.abs(np.diff(original, axis=-1)).max() <= 12, "the clip is grey"
    assert np.abs(np.diff(heat, axis=-1)).mean() > 20, "the heat is not"
    assert original[0].max() > 200, "the bright square is there"


def test_a_label_by_name_or_number(checkpoint: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    said = []
    for number, label in enumerate(["滑雪", "3", "Walking"]):
        folder = tmp_path / str(number)
        done = videomae("attend", video, "-m", checkpoint, "--label", label, "--frames-dir", folder)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "attention for '滑雪', scored " in said[0]
    assert "attention for 'walking', scored " in said[2]
    one, same, other = (images(tmp_path / str(number), "attention") for number in range(3))
    assert (one == same).all()
    assert (one != other).any(), "another label, another map"


def test_heads_one_by_one(checkpoint: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae(
        "attend", video, "-m", checkpoint, "--per-head", "--frames-dir", tmp_path / "f", "-o", tmp_path / "a.gif"
    )
    assert done.returncode == 0, done.stderr
    assert "attention of the last layer, 2 heads" in done.stdout
    assert {path.name[6:-7] for path in (tmp_path / "f").iterdir()} == {"original", "head0", "head1"}
    assert (images(tmp_path / "f", "head0") != images(tmp_path / "f", "head1")).any()
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 16
    assert (tmp_path / "a.gif").stat().st_size < 5_000_000


def test_the_sheet_of_the_last_layers(checkpoint: Path, video: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("attend", video, "-m", checkpoint, "--layers", "2", "-o", tmp_path / "a.png", "--clips", "2")
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == [
        f"attention of the last 2 layers ({checkpoint})"
    ] * 2
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 8 * 224
        assert image.height > 4 * 224


def test_a_pre_training_checkpoint_has_attention_but_no_labels(
    pretrainer: Path, video: Path, videomae: Run, tmp_path: Path
) -> None:
    done = videomae("attend", video, "-m", pretrainer, "--method", "last", "-o", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    done = videomae("attend", video, "-m", pretrainer, "--method", "grad", "-o", tmp_path / "b.png")
    assert done.returncode == 1
    assert done.stderr == (
        f"videomae: {pretrainer} comes from pre-training and has no labels for --method grad: use --method last or rollout, "
        "or a checkpoint with labels, such as camera-motion (bundled), base-kinetics, large-kinetics, huge-kinetics\n"
    )
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "say where the picture goes: -o attention.mp4"),
        (["-o", "a.mp4", "--method", "first"], 2, "unknown method 'first': choose last, rollout, grad"),
        (["-o", "a.mp4", "--method", "rollout", "--label", "3"], 2, "--label goes with --method grad"),
        (["-o", "a.mp4", "--method", "grad", "--per-head"], 2, "--layers and --per-head go with --method last"),
        (["-o", "a.mp4", "--per-head", "--layers", "2"], 2, "leave out --layers"),
        (["-o", "a.mp4", "--layers", "3"], 2, "layers must be 1 to 2 with this model, not 3"),
        (["-o", "a.mp4", "--label", "walkng"], 2, "the model has no label 'walkng' (close: walking)"),
        (["-o", "a.mp4", "--label", "7"], 2, "the model has no label '7' (it has 0 to 3)"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str],
    code: int,
    words: str,
    checkpoint: Path,
    video: Path,
    videomae: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = videomae("attend", video, "-m", checkpoint, *options)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_scale_is_of_the_panels(videomae: Run, video: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", num_hidden_layers=1)
    done = videomae("attend", video, "-m", folder, "-o", tmp_path / "a.png", "--scale", "2")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a.png") as image:
        assert 8 * 64 < image.width < 8 * 96, "panels of twice 32 pixels"
