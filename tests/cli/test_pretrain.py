"""`videomae pretrain` in real processes, on real footage: it goes down, goes on, and others use what it writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from lessons import events
from samples import Run
from test_finetune import SILENT, wait_for_epoch

from videomae_cli.pictures.picture_files import is_own_picture

TINY = ["--size", "tiny", "--image-size", "32", "--patch-size", "8", "--frames", "4", "--mask-ratio", "0.75"]
SHORT = ["--epochs", "4", "--batch-size", "6", "--lr", "2e-3", "--warmup", "0.1", "--workers", "1", "--val", "0.3"]


@pytest.fixture(scope="module")
def encoder(recordings: Path, videomae: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "mae"
    done = videomae("pretrain", recordings / "train", "-o", out, *TINY, *SHORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loss ")
    assert "tube masks that hide 75%" in done.stderr
    return out


def test_the_loss_goes_down_on_clips_that_it_does_not_see(encoder: Path) -> None:
    held_out = [event["val_loss"] for event in events(encoder) if event["event"] == "epoch"]
    assert len(held_out) == 4
    assert held_out[-1] < held_out[0]
    assert (encoder / "curves.png").stat().st_size > 5000


def test_transformers_loads_it_and_has_the_same_loss(encoder: Path) -> None:
    from transformers import VideoMAEForPreTraining as Theirs

    from videomae_cli.model import VideoMAEForPreTraining
    from videomae_cli.model.masking import tube_mask

    theirs, problems = Theirs.from_pretrained(encoder, output_loading_info=True)
    assert not problems["missing_keys"]
    ours = VideoMAEForPreTraining.from_pretrained(encoder)
    torch.manual_seed(0)
    clip, mask = torch.randn(2, 4, 3, 32, 32), tube_mask(ours.config.grid, 0.75, batch=2)
    with torch.no_grad():
        assert float(ours(clip, mask).loss) == pytest.approx(float(theirs.eval()(clip, mask).loss), rel=1e-4)


def test_finetune_and_embed_begin_with_it(encoder: Path, recordings: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("finetune", recordings, "-o", tmp_path / "model", "--init", encoder, "--mode", "head", "--no-check")
    assert done.returncode == 0, done.stderr
    done = videomae("embed", recordings / "val" / "bikes", "-o", tmp_path / "v.npz", "--model", encoder)
    assert done.returncode == 0, done.stderr


def test_a_killed_run_goes_on_to_the_same_bits(
    encoder: Path, recordings: Path, quick_python: str, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    words = ["pretrain", str(recordings / "train"), "-o", str(out), *TINY, *SHORT]
    # Nobody waits ten seconds here until the curves are drawn.
    at_once = (
        "from videomae_cli.training import curves; curves.SECONDS_APART = 0; from videomae_cli.cli import main; main()"
    )
    process = subprocess.Popen(
        [quick_python, "-c", at_once, *words],
        env={**os.environ, **SILENT},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    wait_for_epoch(out, 2, process)
    assert is_own_picture(out / "curves.png"), "there while it runs"
    process.send_signal(signal.SIGKILL)
    process.communicate()  # until nobody writes any more
    assert is_own_picture(out / "curves.png"), "and after a kill"
    done = subprocess.run(
        [quick_python, "-m", "videomae_cli", *words, "--resume"],
        env={**os.environ, **SILENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert events(out) == events(encoder)
    ours, theirs = (safetensors.torch.load_file(run / "model.safetensors") for run in (out, encoder))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_it_goes_on_from_a_checkpoint(encoder: Path, recordings: Path, videomae: Run, tmp_path: Path) -> None:
    out = tmp_path / "more"
    options = [
        "--init",
        encoder,
        "--epochs",
        "1",
        "--batch-size",
        "6",
        "--mask-ratio",
        "0.75",
        "--lr",
        "1e-5",
        "--val",
        "0.3",
    ]
    done = videomae("pretrain", recordings / "train", "-o", out, *options)
    assert done.returncode == 0, done.stderr
    first = next(event for event in events(out) if event["event"] == "epoch")
    last = [event for event in events(encoder) if event["event"] == "epoch"][-1]
    assert first["val_loss"] == pytest.approx(last["val_loss"], rel=0.02)
    assert json.loads((out / "training.json").read_text())["settings"]["init"] == str(encoder)


def test_wrong_options_are_one_line(recordings: Path, videomae: Run, tmp_path: Path) -> None:
    for options in (
        ["--recipe", "papper"],
        ["--mask-ratio", "0.001"],
        ["--size", "giant"],
        ["--mask", "fog"],
        ["--mask-ratio", "1"],
        ["--patch-size", "9"],
        ["--val", "1"],
    ):
        done = videomae("pretrain", recordings, "-o", tmp_path / "out", "--size", "tiny", *options)
        assert done.returncode in (1, 2), options
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    done = videomae("pretrain", tmp_path / "empty", "-o", tmp_path / "out", "--size", "tiny")
    assert done.returncode == 1
    assert "no video" in done.stderr


def test_the_published_recipe_is_said(recordings: Path, videomae: Run, tmp_path: Path) -> None:
    line = ["pretrain", recordings / "train", "-o", tmp_path / "out", "--size", "tiny", "--val", "0", "--no-check"]
    line += ["--image-size", "64"]
    done = videomae(*line, "--recipe", "paper", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"parameters, from random weights, about \d.* for all 800 epochs here; recipe paper: ", done.stderr
    )
    assert "recipe paper: 800 epochs of 1 step of 16 clips, rate 9.4e-06, tube masks that hide 90%" in done.stderr
    assert "rate from 0 in 40 epochs to 9.37e-06 and down to 6.3e-07" in done.stderr
    assert "gradient not bounded; crops of 66 to 100% of the short side, not mirrored" in done.stderr
