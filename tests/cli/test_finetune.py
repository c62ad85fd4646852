"""`videomae finetune` in real processes, on real footage: it learns, it survives, and what it writes is used by others."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from lessons import FILMS, events
from PIL import Image
from samples import Run, write_video

# Asked of both before they were first run: chance is a third.
ASKED = 2 / 3
QUICK = ["--batch-size", "9", "--lr", "2e-3", "--workers", "1", "--no-check", "--views", "1"]
ONE = ["--workers", "1"]
SILENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(safetensors.torch.load_file(run / "model.safetensors"))


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "videomae_cli", "finetune", *map(os.fspath, arguments)]


def figures(run: Path) -> dict[str, Any]:
    content = json.loads((run / "training.json").read_text())
    assert content["ended"] == "finished"
    return dict(content["figures"])


@pytest.fixture(scope="module")
def head(recordings: Path, videomae: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear probe on the bundled checkpoint."""
    out = tmp_path_factory.mktemp("head") / "model"
    done = videomae("finetune", recordings, "-o", out, "--init", "camera-motion-mae", "--mode", "head", *ONE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("top-1 ")
    assert "18 train clips, 9 held out, 3 classes (6 train clips each); split as the data says" in done.stderr
    assert re.search(
        r"features of 27 clips are computed once, and a linear layer is fitted; about .+ here\n", done.stderr
    )
    return out


@pytest.fixture(scope="module")
def full(recordings: Path, videomae: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All weights, from the other bundled checkpoint."""
    out = tmp_path_factory.mktemp("full") / "model"
    options = ["--init", "camera-motion", "--mode", "full", *QUICK, "--epochs", "5"]
    done = videomae("finetune", recordings, "-o", out, *options)
    assert done.returncode == 0, done.stderr
    return out


def test_a_linear_probe_learns(head: Path) -> None:
    assert figures(head)["top1"] >= ASKED


def test_a_whole_fine_tuning_learns(full: Path) -> None:
    assert figures(full)["top1"] >= ASKED
    steps = [event["loss"] for event in events(full) if event["event"] == "step"]
    epochs = [event for event in events(full) if event["event"] == "epoch"]
    assert steps[-1] < epochs[0]["train_loss"]
    assert [event["epoch"] for event in epochs] == list(range(1, 6))


@pytest.mark.parametrize("name", ["head", "full"])
def test_the_folder_is_a_checkpoint_with_pictures_and_a_card(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    for picture in ("curves.png", "confusion.png"):
        with Image.open(run / picture) as image:
            assert image.size > (300, 300)
    assert "3 classes" in (run / "README.md").read_text()
    config = json.loads((run / "config.json").read_text())
    assert config["use_mean_pooling"] is True
    assert config["problem_type"] == "single_label_classification"
    assert config["videomae_cli"]["sampling"] == {"family": "dense", "stride": 4, "pixels": "stored"}
    assert not list(run.glob(".*"))


def test_classify_uses_it_with_the_same_result(head: Path, recordings: Path, videomae: Run) -> None:
    done = videomae("classify", recordings / "val", "--model", head, "--top-k", "1", "--format", "jsonl")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    right = [Path(r["path"]).parent.name == r["predictions"][0]["label"] for r in records]
    assert np.mean(right) == pytest.approx(figures(head)["top1"], abs=1e-6)
    measured = videomae("evaluate", recordings, "--model", head, "--format", "json")
    assert json.loads(measured.stdout)["metrics"]["top1"] == pytest.approx(figures(head)["top1"], abs=1e-6)


@pytest.mark.parametrize("name", ["head", "full"])
def test_transformers_loads_it_and_says_the_same(name: str, request: pytest.FixtureRequest) -> None:
    from transformers import VideoMAEForVideoClassification as Theirs
    from transformers import VideoMAEImageProcessor

    from videomae_cli.model import VideoMAEForVideoClassification

    run = request.getfixturevalue(name)
    theirs, problems = Theirs.from_pretrained(run, output_loading_info=True)
    assert not problems["missing_keys"]
    assert not problems["unexpected_keys"]
    assert sorted(theirs.config.id2label.values()) == sorted(FILMS)
    ours = VideoMAEForVideoClassification.from_pretrained(run)
    torch.manual_seed(0)
    clip = torch.randn(2, 16, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip).logits, theirs.eval()(clip).logits, rtol=1e-4, atol=1e-5)
    assert VideoMAEImageProcessor.from_pretrained(run).crop_size["height"] == 64


def test_features_are_computed_once(head: Path, recordings: Path, videomae: Run, tmp_path: Path) -> None:
    before = weights(head)
    made = (head / "features.npz").stat().st_mtime_ns
    kept = (head / "features.npz").read_bytes()
    # A file that can't be read any more is not missed: its features are there.
    done = videomae(
        "finetune", recordings, "-o", head, "--init", "camera-motion-mae", "--mode", "head", "--overwrite", "--no-check"
    )
    assert done.returncode == 0, done.stderr
    assert (head / "features.npz").stat().st_mtime_ns > made
    assert (head / "features.npz").read_bytes() == kept
    for name, tensor in weights(head).items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_killed_run_goes_on_to_the_same_bits(checkpoint: Path, few: Path, quick_python: str, tmp_path: Path) -> None:
    out, through = tmp_path / "killed", tmp_path / "through"
    options = ["--init", checkpoint, "--mode", "full", *QUICK, "--batch-size", "3", "--epochs", "3"]
    line = [quick_python, *command(few, "-o", out, *options, "--resume")[1:]]
    process = subprocess.Popen(line, env={**os.environ, **SILENT}, stderr=subprocess.PIPE)
    wait_for_epoch(out, 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # until nobody writes any more
    assert not (out / "training.json").read_text().count("finished")
    for words in (line, [quick_python, *command(few, "-o", through, *options)[1:]]):
        done = subprocess.run(words, env={**os.environ, **SILENT}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("going on at step" in done.stderr) == (words is line)
    assert events(out) == events(through)
    for name, tensor in weights(through).items():
        assert torch.equal(weights(out)[name], tensor), name


def test_ctrl_c_keeps_the_step_and_says_how_to_go_on(
    checkpoint: Path, few: Path, quick_python: str, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    line = command(few, "-o", out, "--init", checkpoint, "--mode", "full", *QUICK, "--epochs", "500")
    line[0] = quick_python
    process = subprocess.Popen(line, env={**os.environ, **SILENT}, stderr=subprocess.PIPE, text=True)
    wait_for_epoch(out, 1, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "is kept in" in said
    assert "Traceback" not in said
    assert (out / "state.pt").exists()


def wait_for_epoch(out: Path, number: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        there = (out / "metrics.jsonl").read_text() if (out / "metrics.jsonl").exists() else ""
        if there.count('"epoch", "step"') >= number and (out / "state.pt").exists():
            return
        assert process.poll() is None, "it ended before"
        time.sleep(0.05)
    raise AssertionError("no epoch came")


def test_two_processes_train_as_one_with_their_batches_together(
    checkpoint: Path, few: Path, quick_python: str, tmp_path: Path
) -> None:
    plain = [
        "--views",
        "1",
        "--augment-ops",
        "0",
        "--erase",
        "0",
        "--drop-path",
        "0",
        "--epochs",
        "2",
        "--lr",
        "1e-4",
        "--workers",
        "1",
        "--no-check",
    ]
    common = [few, "--init", checkpoint, "--mode", "full", *plain]
    one = [quick_python, *command(*common, "-o", tmp_path / "one", "--batch-size", "4")[1:]]
    launcher = [quick_python, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        launcher += ["--master-port", str(free.getsockname()[1])]
    # A variable for GPUs that the launcher sets, and with which nothing is forked.
    launcher += ["env", "-u", "TORCH_NCCL_ASYNC_ERROR_HANDLING", quick_python]
    two = [*launcher, *command(*common, "-o", tmp_path / "two", "--batch-size", "2")[1:]]
    for line in (one, two):
        done = subprocess.run(line, env={**os.environ, **SILENT}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    losses = [[e["train_loss"] for e in events(tmp_path / name) if e["event"] == "epoch"] for name in ("one", "two")]
    assert len(losses[0]) == len(losses[1]) == 2
    held_out = [[e["val_loss"] for e in events(tmp_path / name) if e["event"] == "epoch"] for name in ("one", "two")]
    assert held_out[0] == pytest.approx(held_out[1], rel=1e-3)
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=2e-4)


def test_low_rank_matrices_are_merged_into_a_plain_checkpoint(
    checkpoint: Path, few: Path, videomae: Run, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    done = videomae(
        "finetune",
        few,
        "-o",
        out,
        "--init",
        checkpoint,
        "--mode",
        "lora",
        "--lora-rank",
        "4",
        *QUICK,
        "--epochs",
        "2",
    )
    assert done.returncode == 0, done.stderr
    from videomae_cli.model import VideoMAEForVideoClassification

    made = VideoMAEForVideoClassification.from_pretrained(out).state_dict()
    before = VideoMAEForVideoClassification.from_pretrained(checkpoint).state_dict()
    query = "videomae.encoder.layer.0.attention.attention.query.weight"
    change = torch.linalg.matrix_rank(made[query] - before[query], rtol=1e-3)
    assert 1 <= int(change) <= 4
    key = "videomae.encoder.layer.0.attention.attention.key.weight"
    assert torch.equal(made[key], before[key])


def test_all_the_comforts_at_once(checkpoint: Path, few: Path, videomae: Run, tmp_path: Path) -> None:
    out = tmp_path / "comforts"
    options = ["--dtype", "bfloat16", "--accumulate", "2", "--gradient-checkpointing", "--ema", "0.9", "--repeats", "2"]
    options += ["--mixup", "0.8", "--cutmix", "1", "--augment-ops", "4", "--erase", "0.5", "--drop-path", "0.2"]
    options += [
        "--label-smoothing",
        "0.1",
        "--epochs",
        "2",
        "--views",
        "1",
        "--batch-size",
        "2",
        "--progress",
        "plain",
        "--workers",
        "1",
    ]
    done = videomae("finetune", few, "-o", out, "--init", checkpoint, "--mode", "full", *options)
    assert done.returncode == 0, done.stderr
    assert "2 epochs of 3 steps of 4 clips" in done.stderr
    assert "epoch 2/2, loss " in done.stderr
    assert all(np.isfinite(event["loss"]) for event in events(out) if event["event"] == "step")
    assert (out / "last" / "model.safetensors").exists()


def test_several_labels_at_once(recordings: Path, videomae: Run, tmp_path: Path) -> None:
    rows = ["path,label"]
    for file in sorted((recordings / "train").rglob("*.mp4")):
        labels = {"bikes": "street|colour", "carphone_pristine": "face", "bigbuckbunny": "colour"}
        rows.append(f"{file},{labels[file.parent.name]}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    out = tmp_path / "several"
    done = videomae(
        "finetune", tmp_path / "clips.csv", "-o", out, "--init", "camera-motion", "--mode", "head", "--val", "0.3"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mAP ")
    said = videomae("classify", recordings / "val" / "bikes" / "0.mp4", "--model", out, "--format", "jsonl")
    scores = {p["label"]: p["score"] for p in json.loads(said.stdout)["predictions"]}
    assert set(scores) == {"street", "colour", "face"}
    assert sum(scores.values()) > 1.2  # sigmoid: two of them are true


def test_bad_data_is_one_line(videomae: Run, tmp_path: Path, recordings: Path) -> None:
    (tmp_path / "one" / "class").mkdir(parents=True)
    write_video(tmp_path / "one" / "class" / "a.mp4")
    (tmp_path / "text" / "a").mkdir(parents=True)
    (tmp_path / "text" / "b").mkdir()
    for name in ("a", "b"):
        (tmp_path / "text" / name / "x.mp4").write_text("no video")
    cases = {
        "one": "there is one class only, 'class'",
        "text": "not one of the training files can be read",
        "nothing": "no such folder or table",
    }
    for name, words in cases.items():
        out = tmp_path / "out"
        done = videomae("finetune", tmp_path / name, "-o", out, "--init", "camera-motion")
        lines = [line for line in done.stderr.splitlines() if "train clips" not in line]
        assert done.returncode == 1
        assert words in lines[-1]
        assert "Traceback" not in done.stderr
        assert not out.exists()


def test_a_broken_clip_is_left_out_and_named(few: Path, videomae: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for file in sorted(few.rglob("*.mp4")):
        there = data / file.relative_to(few)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(file)
    (data / "train" / "bikes" / "broken.mp4").write_bytes(b"\0" * 500)
    done = videomae("finetune", data, "-o", tmp_path / "out", "--init", "camera-motion", "--mode", "head")
    assert done.returncode == 0, done.stderr
    assert "6 train clips" in done.stderr
    assert "left out, can't be read: 1 of the files" in done.stderr
    assert "broken.mp4" in done.stderr


def test_wrong_options_exit_2_and_existing_runs_are_kept(head: Path, recordings: Path, videomae: Run) -> None:
    for options in (["--mode", "wise"], ["--val", "2"], ["--lr", "7", "--mode", "full"], ["--resume", "--overwrite"]):
        done = videomae("finetune", recordings, "-o", head.parent / "new", "--init", "camera-motion", *options)
        assert done.returncode == 2, (options, done.stderr)
        assert not (head.parent / "new").exists()
    again = videomae("finetune", recordings, "-o", head, "--init", "camera-motion-mae", "--mode", "head")
    assert again.returncode == 1
    assert "--resume continues it, --overwrite starts over" in again.stderr
    other = videomae("finetune", recordings, "-o", head, "--init", "camera-motion", "--mode", "head", "--resume")
    assert other.returncode == 1
    assert "was started with other settings (init was camera-motion-mae, now camera-motion" in other.stderr


def test_a_dry_run_writes_nothing(recordings: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae(
        "finetune", recordings, "-o", tmp_path / "out", "--init", "camera-motion", "--dry-run", "--mode", "full"
    )
    assert done.returncode == 0
    assert "epochs of" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--recipe", "paper", "--batch-size", "8"],
            [
                "recipe paper: 150 epochs of 2 steps of 8 clips, rate 1.6e-05",
                "rate from 0 in 5 epochs to 1.56e-05 and down to 3.1e-08, weight decay 0.05, gradient not bounded",
                "2 views of a clip, from 8% of the area, mirrored, RandAugment 4 at 7, erasing 0.25, mixup 0.8, cutmix 1, "
                "smoothing 0.1, drop path 0.1",
            ],
        ),
        (
            ["--recipe", "paper", "--sampling", "segments", "--epochs", "1"],
            ["recipe paper: 1 epoch of 1 step of 16 clips", "not mirrored", "layer decay 0.7"],
        ),
        (
            ["--clip-grad", "1", "--betas", "0.8", "0.95", "--min-lr", "1e-6", "--views", "3", "--head-dropout", "0.2"],
            [
                "recipe default: ",
                "gradient at most 1",
                "betas 0.8 0.95",
                "down to 1e-06",
                "3 views",
                "head dropout 0.2",
            ],
        ),
    ],
)
def test_the_numbers_in_use_are_said(
    options: list[str], words: list[str], recordings: Path, videomae: Run, tmp_path: Path
) -> None:
    line = ["finetune", recordings, "-o", tmp_path / "out", "--init", "camera-motion", "--mode", "full", "--no-check"]
    done = videomae(*line, *options, "--dry-run")
    assert done.returncode == 0, done.stderr
    for said in words:
        assert said in done.stderr


def test_the_published_recipe_trains_and_only_goes_on_with_itself(
    checkpoint: Path, few: Path, videomae: Run, tmp_path: Path
) -> None:
    out = tmp_path / "paper"
    line = ["finetune", few, "-o", out, "--init", checkpoint, "--mode", "full", "--epochs", "1", *ONE]
    done = videomae(*line, "--recipe", "paper-ucf101", "--no-check")
    assert done.returncode == 0, done.stderr
    recipe = json.loads((out / "training.json").read_text())["settings"]["recipe"]
    assert (recipe["name"], recipe["views"], recipe["clip_grad"]) == ("paper-ucf101", 2, 0.0)
    assert recipe["head_dropout"] == 0.5
    assert all(np.isfinite(event["loss"]) for event in events(out) if event["event"] == "step")
    other = videomae(*line, "--no-check", "--resume")
    assert other.returncode == 1
    assert "was started with other settings" in other.stderr


def test_a_head_has_no_recipe(recordings: Path, videomae: Run, tmp_path: Path) -> None:
    line = ["finetune", recordings, "-o", tmp_path / "out", "--init", "camera-motion-mae", "--no-check"]
    done = videomae(*line, "--mode", "head", "--recipe", "paper", "--min-lr", "0")
    assert done.returncode == 2
    assert "leave out --min-lr, --recipe paper" in done.stderr
    done = videomae(*line, "--mode", "full", "--recipe", "papper", "--dry-run")
    assert done.returncode == 2
    assert "unknown recipe 'papper'" in done.stderr
