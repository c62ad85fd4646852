"""Tries some files of a job, to tell about how long all of them will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videomae_cli.results import Result
from videomae_cli.video import Decoder, FoundVideo
from videomae_cli.video.file_list import spread

if TYPE_CHECKING:
    from videomae_cli.pipeline import DenseEmbedder, TimelineMaker

MOST_FILES = 16
MOST_SECONDS = 20.0

# Turns files into results.
Run = Callable[[Sequence[FoundVideo]], Iterable[Result]]


@dataclass(frozen=True)
class FilePlan:
    """What a job would do, and about how long it would take.

    files: all of them; unusable: those that can't be opened, by kind of error; model: its name; batch_size: clips at
    once; tried: how many files were tried, of which `failed` had no result; clips: of the whole job, estimated unless
    all were tried; seconds: for the whole job, estimated; windows: whether `clips` counts windows of whole films. Without a
    file that can be opened, nothing is tried, and clips and seconds are 0.
    """

    files: int
    unusable: Counter[str]
    model: str
    batch_size: int
    tried: int = 0
    failed: int = 0
    clips: int = 0
    seconds: float = 0.0
    windows: bool = False


def try_files(found: Sequence[FoundVideo], model: str, batch_size: int, run: Run) -> FilePlan:
    """Run at most `MOST_FILES` files, evenly from the whole list, or for `MOST_SECONDS`, and estimate the rest."""
    good = [video for video in found if video.error is None]
    unusable = Counter(video.error.kind for video in found if video.error)
    if not good:
        return FilePlan(len(found), unusable, model, batch_size)
    step = max(1, len(good) // MOST_FILES)
    sample = list(good[::step])[:MOST_FILES]
    half = (len(sample) + 1) // 2
    first, rest = sample[:half], sample[half:] or sample  # a single file is processed twice
    results = list(run(first))  # untimed, as it includes the start of every decoding process
    started = time.monotonic()
    # Decoding runs alongside the model, as in the whole batch.
    for result in run(rest):
        results.append(result)
        if time.monotonic() - started > MOST_SECONDS:
            break
    seconds = (time.monotonic() - started) / (len(results) - half)
    results = results[: len(sample)]
    tried, views = len(results), sum(result.views for result in results)
    return FilePlan(
        len(found),
        unusable,
        model,
        batch_size,
        tried,
        failed=sum(result.error is not None for result in results),
        clips=round(views / tried * len(good)),
        seconds=seconds * len(good),
    )


def try_windows(found: Sequence[FoundVideo], maker: DenseEmbedder | TimelineMaker, decoder: Decoder) -> FilePlan:
    """Look at the length of at most `MOST_FILES` films, evenly from the whole list, and take the beginning of the longest."""
    from videomae_cli.pipeline import try_films

    unusable = Counter(video.error.kind for video in found if video.error)
    trial = try_films(spread(found, MOST_FILES), maker, decoder)
    clips = round(trial.windows / trial.files * (len(found) - unusable.total())) if trial.files else 0
    return FilePlan(
        len(found),
        unusable,
        maker.model.name,
        maker.model.batch_size,
        tried=trial.files,
        failed=trial.failed,
        clips=clips,
        seconds=trial.seconds * clips,
        windows=True,
    )
