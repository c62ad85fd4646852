"""Draws curves.png of a training run, at its end and now and then while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from videomae_cli.errors import OutputError
from videomae_cli.files import write_file
from videomae_cli.pictures.charts import training_curves
from videomae_cli.training.run_folder import CURVES, Run

Event = Mapping[str, Any]
SECONDS_APART = 10.0
# Drawing takes longer as metrics.jsonl grows; this is the largest share of the time that is spent on it.
_LARGEST_SHARE = 0.05


def draw_curves(run: Run) -> None:
    """Write curves.png from the metrics so far, if there are any. Raises OutputError."""
    events = list(run.events())
    if events and run.adds(CURVES):
        write_file(run.folder / CURVES, training_curves(events))


@contextmanager
def drawing(
    run: Run, on_event: Callable[[Event], None], *, now: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Event], None]]:
    """Yield a function that passes events on to `on_event`, and draws the curves from time to time.

    They are drawn at most every 10 s, and at the end of the block, even if an error or a second Ctrl-C ends it. Raises
    OutputError.
    """
    due = now() + SECONDS_APART

    def told(event: Event) -> None:
        nonlocal due
        began = now()
        if event["event"] in ("step", "epoch") and began >= due:
            draw_curves(run)
            due = now() + max(SECONDS_APART, (now() - began) / _LARGEST_SHARE)
        on_event(event)

    try:
        yield told
    except BaseException:
        with suppress(OutputError):  # what ended the run is what matters
            draw_curves(run)
        raise
    draw_curves(run)
