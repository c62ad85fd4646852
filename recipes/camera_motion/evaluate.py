"""Held-out figures of a camera-motion checkpoint, and the model card that reports them.

    python -m recipes.camera_motion.evaluate --data data/ --checkpoint DIR [--per-label 40] [--card]

Two measurements, both on pictures and recordings that training never saw:

* rendered: the training renderer over held-out photographs and fresh procedural textures, with the mix of difficulties
  that training ends with, which is the figure that counts; and at three fixed ones: 0 (large clean motions), 0.5, and 1
  (every clip small or shaky or noisy or crossed by objects, most of them several of these);
* footage: a crop window moved across real recordings, written as H.264 files and then read, sampled, preprocessed and
  classified by the same code that `videomae classify` runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from recipes.camera_motion.card import write_card
from recipes.camera_motion.classifier import SPREAD
from recipes.camera_motion.motion import LABELS
from recipes.camera_motion.render import Renderer
from recipes.camera_motion.sources import load_pictures
from recipes.camera_motion.windows import windows, write
from videomae_cli.hub import resolve
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, PreprocessConfig, Preprocessor, SamplingSpec

LEVELS = {"as in training": None, "at difficulty 0": 0.0, "at difficulty 0.5": 0.5, "at difficulty 1": 1.0}


@dataclass(frozen=True)
class Measured:
    """Truth against prediction: matrix[i, j] clips of label i that were called label j."""

    matrix: npt.NDArray[np.int64]

    @property
    def top1(self) -> float:
        """Share of clips called by their own label."""
        return float(np.trace(self.matrix) / self.matrix.sum())


def _measured(truth: list[int], called: list[int]) -> Measured:
    matrix = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(matrix, (np.array(truth), np.array(called)), 1)
    return Measured(matrix)


@torch.inference_mode()
def rendered(
    model: VideoMAEForVideoClassification, pre: Preprocessor, renderer: Renderer, count: int, level: float | None
) -> Measured:
    """Over `count` rendered clips; clips are at the model's size already, so only scaling and normalising apply.

    level: the difficulty, or None for training's own mix."""
    drawn = np.random.default_rng(5).uniform(*SPREAD, count)
    truth, called = [], []
    for first in range(0, count, 32):
        samples = [
            renderer.sample(i, difficulty=float(drawn[i]) if level is None else level)
            for i in range(first, min(first + 32, count))
        ]
        logits = model(pre.to_pixel_values(np.stack([s.clip for s in samples]))).logits
        truth += [s.label for s in samples]
        called += logits.argmax(dim=-1).tolist()
    return _measured(truth, called)


@torch.inference_mode()
def footage(
    model: VideoMAEForVideoClassification, pre: Preprocessor, folder: Path, per_label: int
) -> tuple[Measured, dict[str, Measured]]:
    """Over moved windows, through files; in all and by recording."""
    by_source: dict[str, tuple[list[int], list[int]]] = {}
    with tempfile.TemporaryDirectory() as scratch, Decoder(isolate=False) as decoder:
        file = Path(scratch) / "window.mp4"
        for window in windows(folder, per_label=per_label):
            write(file, window.frames)
            spec = SamplingSpec(frames=model.config.num_frames, checkpoint_family="dense", checkpoint_stride=4)
            request = ClipRequest(str(file), sampling=spec, transform=pre.frame_transform(crops=1))
            video = decoder.decode(request)
            assert isinstance(video, DecodedVideo)
            scores = model(pre.to_pixel_values(video.views())).logits.softmax(dim=-1).mean(dim=0)
            truth, called = by_source.setdefault(window.source, ([], []))
            truth.append(LABELS.index(window.label))
            called.append(int(scores.argmax()))
    parts = {name: _measured(*pair) for name, pair in sorted(by_source.items())}
    return Measured(np.sum([part.matrix for part in parts.values()], axis=0)), parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--checkpoint", type=str, default="camera-motion", help="a directory or a bundled name")
    parser.add_argument("--clips", type=int, default=1800, help="rendered clips at each difficulty")
    parser.add_argument("--per-label", type=int, default=40, help="windows of each label")
    parser.add_argument("--card", type=Path, help="write the model card to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model = VideoMAEForVideoClassification.from_pretrained(arguments.checkpoint).eval()
    processor = PreprocessConfig.from_directory(resolve(arguments.checkpoint).path, model.config.image_hw)
    pre = Preprocessor(processor)
    renderer = Renderer(load_pictures(arguments.data / "held_out"), [], seed=2_000_003, textures=60)
    levels = {name: rendered(model, pre, renderer, arguments.clips, level) for name, level in LEVELS.items()}
    real, parts = footage(model, pre, arguments.data / "held_out_footage", arguments.per_label)
    print(json.dumps({"footage": real.top1} | {f"rendered {k}": levels[k].top1 for k in levels}))
    print(json.dumps({name: {"top1": part.top1, "clips": int(part.matrix.sum())} for name, part in parts.items()}))
    for name, measured in (("rendered as in training", levels["as in training"]), ("footage", real)):
        print(name, "rows: truth", *LABELS, sep=" | ")
        print(measured.matrix)
    if arguments.card:
        write_card(
            arguments.card,
            rendered={name: measured.matrix for name, measured in levels.items()},
            footage=real.matrix,
            parts={name: part.matrix for name, part in parts.items()},
        )


if __name__ == "__main__":
    main()
