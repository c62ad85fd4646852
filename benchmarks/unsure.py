"""How often a timeline's segments are right, by their score, and the score under which they are marked as unsure.

    python -m recipes.camera_motion.sources --only footage --to data     once: the recordings
    python -m benchmarks.unsure --data data [--films 40]

Films are made as the held-out clips of recipes/camera_motion are: a window moved across real recordings of a standing camera, which
neither training nor the bundled checkpoint saw; here one motion after the other, each 2 to 6 s, as H.264. Easy and hard ones
alike: motions down to an eighth of the view, pedestrians and cyclists inside it, windows down to 160 pixels, shots shorter than a
window of the model. A segment is right if its label is the true one for most of its time. The rule: a segment is unsure if its
score is below the highest multiple of 5 % so that, of the segments in the bin just under it, at most half are right.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.camera_motion.motion import LABELS
from recipes.camera_motion.windows import HELD_OUT, Clip, moved, read, write
from videomae_cli.assembly import ClassifierRequest
from videomae_cli.cli.run.loading import load_model
from videomae_cli.pipeline import TimelineMaker
from videomae_cli.results import Segment
from videomae_cli.video import Decoder, FoundVideo, WindowSpec

RATE, SIDE = 25, 192
WIDTH = 0.1  # of a bin of scores
STEP = 0.05  # what the threshold is a multiple of
SCENES = 6
Scene = tuple[str, float, float]  # label, start, end in seconds


@dataclass(frozen=True)
class Judged:
    """A segment's score, whether its label is right, and its length in seconds."""

    score: float
    right: bool
    seconds: float


def film(rng: np.random.Generator, recordings: Sequence[Clip], file: Path) -> list[Scene]:
    """Write a film of `SCENES` motions in random order, no label twice running; returns what is true of it."""
    parts: list[Clip] = []
    scenes: list[Scene] = []
    at = 0
    while len(scenes) < SCENES:
        label = LABELS[rng.integers(len(LABELS))]
        count = int(rng.integers(2 * RATE, 6 * RATE))
        if scenes and scenes[-1][0] == label:
            continue
        clip = moved(rng, _stretch(rng, recordings[rng.integers(len(recordings))], count), label, SIDE)
        if clip is not None:
            parts.append(clip)
            scenes.append((label, at / RATE, (at + count) / RATE))
            at += count
    write(file, np.concatenate(parts), rate=RATE)
    return scenes


def _stretch(rng: np.random.Generator, frames: Clip, count: int) -> Clip:
    """`count` frames of a recording from a random place; a shorter one is played forwards and backwards, since its camera stands."""
    there_and_back = np.concatenate([frames, frames[-2:0:-1]]) if len(frames) < count else frames
    start = int(rng.integers(0, max(1, len(frames) - count)))
    return there_and_back[(start + np.arange(count)) % len(there_and_back)]


def judged(segments: Sequence[Segment], scenes: Sequence[Scene]) -> list[Judged]:
    """Whether the label of each segment is the true one for most of its time."""
    found = []
    for one in segments:
        shared: dict[str, float] = {}
        for label, start, end in scenes:
            shared[label] = shared.get(label, 0.0) + max(0.0, min(one.end, end) - max(one.start, start))
        if one.label is not None and one.score is not None:
            found.append(
                Judged(one.score, max(shared, key=lambda name: shared[name]) == one.label, one.end - one.start)
            )
    return found


def threshold(found: Sequence[Judged]) -> float:
    """The highest multiple of `STEP` with at most half of the segments right in the bin of `WIDTH` just under it."""
    best = 0.0
    for number in range(1, round(1 / STEP) + 1):
        edge = number * STEP
        below = [one.right for one in found if edge - WIDTH <= one.score < edge]
        if below and np.mean(below) <= 0.5:
            best = edge
    return best


def main() -> None:
    """Print precision by score, and the threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    recordings = [read(asked.data / "held_out_footage", one) for one in HELD_OUT]
    rng = np.random.default_rng(asked.seed)
    classifier = load_model(ClassifierRequest(name="camera-motion"))
    maker = TimelineMaker(classifier, WindowSpec())
    found: list[Judged] = []
    with tempfile.TemporaryDirectory(prefix="videomae-") as folder, Decoder(isolate=False) as decoder:
        file = Path(folder) / "film.mp4"
        for _ in range(asked.films):
            scenes = film(rng, recordings, file)
            (result,) = maker([FoundVideo(str(file))], decoder=decoder)
            found += judged(result.segments, scenes)
    print(f"{asked.films} films, {len(found)} segments, {np.mean([one.right for one in found]):.0%} right")
    print("   score   segments   right")
    for number in range(round(1 / WIDTH)):
        inside = [one.right for one in found if number * WIDTH <= one.score < (number + 1) * WIDTH]
        share = f"{np.mean(inside):6.0%}" if inside else "     -"
        print(f"{number * WIDTH:4.0%}-{(number + 1) * WIDTH:4.0%} {len(inside):9} {share}")
    edge = threshold(found)
    for name, part in (
        ("below", [one for one in found if one.score < edge]),
        ("above", [one for one in found if one.score >= edge]),
    ):
        print(
            f"{name} {edge:.0%}: {len(part)} segments, {np.mean([one.right for one in part]) if part else 0:.0%} right"
        )


if __name__ == "__main__":
    main()
