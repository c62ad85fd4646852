"""Dry runs (`--dry-run`): says what a batch would do, and estimates its time by processing a few files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.cli.terminal import streams
from videomae_cli.cli.terminal.console import duration
from videomae_cli.results import Result
from videomae_cli.video import FoundVideo

TRIED_FILES = 16
TRIED_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """What a dry run needs to know about a batch.

    run: turns files into results; model: its name; batch_size: clips at once.
    """

    model: str
    batch_size: int
    run: Callable[[Sequence[FoundVideo]], Iterable[Result]]


def say_plan(
    found: Sequence[FoundVideo],
    ready: Callable[[], Plan],
    output: Path | None,
    again: Sequence[tuple[str, str]] = (),
) -> None:
    """Print files, clips, model, estimated time, and `again`, lines on retries. A few files are processed to measure the time."""
    good = [video for video in found if video.error is None]
    bad = Counter(video.error.kind for video in found if video.error)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(bad.items()))
    lines = [("files", f"{len(found)}" + (f" ({kinds})" if bad else ""))]
    if good:
        lines += _tried(good, ready())
    if output is not None:
        lines.append(("output", f"{output}" + (", which is there already" if filesystem.is_there(output) else "")))
    for name, text in [*lines, *again]:
        streams.put(f"{name:<8}{text}")


def _tried(good: Sequence[FoundVideo], plan: Plan) -> list[tuple[str, str]]:
    step = max(1, len(good) // TRIED_FILES)
    sample = list(good[::step])[:TRIED_FILES]
    half = (len(sample) + 1) // 2
    first, rest = sample[:half], sample[half:] or sample  # a single file is processed twice
    results = list(plan.run(first))  # untimed, as it includes the start of every decoding process
    started = time.monotonic()
    # Decoding runs alongside the model, as in the whole batch.
    for result in plan.run(rest):
        results.append(result)
        if time.monotonic() - started > TRIED_SECONDS:
            break
    seconds = (time.monotonic() - started) / (len(results) - half)
    results = results[: len(sample)]
    tried, views = len(results), sum(result.views for result in results)
    failed = sum(result.error is not None for result in results)
    about = "" if tried == len(good) else "about "
    clips = round(views / tried * len(good))
    lines = [("clips", f"{about}{clips} through {plan.model}, {min(plan.batch_size, clips)} at once")]
    lines.append(("time", f"about {duration(seconds * len(good))} ({tried} files tried)"))
    if failed:
        lines.append(("failed", f"{failed} of the {tried} files tried"))
    return lines
