"""Runs `videomae timeline` on a live source: prints a line per window as it completes, until the source ends."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.assembly import ClassifierRequest
from videomae_cli.cli.run.interrupts import terminable
from videomae_cli.cli.run.loading import fitted, load_classifier
from videomae_cli.cli.terminal import console, streams, transfers
from videomae_cli.errors import OptionError, OutputError, VideoFetchError
from videomae_cli.segments import INDEPENDENT_THRESHOLD, SegmentRules
from videomae_cli.video.decoder import check_timeout
from videomae_cli.video.live_sources import check_address, shown
from videomae_cli.video.live_windows import LiveEnd, LiveHead, LiveRequest, LiveWindow, next_window, open_live
from videomae_cli.video.recordings import UnseekableError, copied
from videomae_cli.video.sampling import SamplingSpec
from videomae_cli.video.windows import WindowSpec
from videomae_cli.video.worker import WorkerProcess
from videomae_cli.writers.clock import short_clock

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier
    from videomae_cli.results import Prediction

# Labels per line for people, best first.
_SHOWN_LABELS = 3
# A call counts as hung if it exceeds the source's own time limit by this many seconds.
_SPARE_SECONDS = 10.0


@dataclass
class Tally:
    """Counts what has come so far. last: the end of the last window, in seconds."""

    windows: int = 0
    dropped: int = 0
    last: float = 0.0

    def __str__(self) -> str:
        lost = (
            "no frame dropped" if not self.dropped else f"{console.counted(self.dropped, 'frame')} dropped to keep up"
        )
        return f"{console.counted(self.windows, 'window')} in {short_clock(self.last)}, {lost}"


def watch_live(
    source: str | int,
    request: ClassifierRequest,
    asked: WindowSpec,
    shape: SamplingSpec,
    rules: SegmentRules,
    format: str | None,
    timeout: float,
    debug: bool,
) -> None:
    """Print a line per window until the source ends; Ctrl-C ends it with a message that counts the windows so far.

    shape: the kind of pixels. Raises VideoNotFoundError if there is no such source, DecodeError if it breaks off.
    """
    if format not in (None, "table", "jsonl"):
        raise OptionError.about("format", "a live source gives lines: table or jsonl, not {format}", format=format)
    if streams.is_closed():
        raise OutputError.about("output", "standard output is closed: lines have nowhere to go")
    if isinstance(source, str):
        check_address(source)
    classifier = load_classifier(request)
    classifier.check_labels("timeline")
    spec = classifier.fit_windows(asked)
    limit = timeout or None
    check_timeout(limit)
    pixels = fitted(shape, classifier).resolved_pixels
    wanted = LiveRequest(source, spec, classifier.preprocessor.frame_transform(crops=1), limit, pixels=pixels)
    worker = WorkerProcess(debug=debug)
    tally = Tally()
    try:
        with terminable(), ExitStack() as copies:
            patience = None if limit is None else limit + _SPARE_SECONDS
            head: LiveHead
            try:
                head = worker.call(open_live, wanted, timeout=patience, subject=str(source))
            except UnseekableError as error:
                wanted = replace(wanted, copy=_copy(str(source), limit, error, copies))
                head = worker.call(open_live, wanted, timeout=patience, subject=str(source))
            _say_head(head, classifier)
            _follow(worker, head, classifier, rules, format or "table", tally, patience)
    except KeyboardInterrupt as interruption:
        raise type(interruption)(f"interrupted: {tally}") from None
    finally:
        worker.close()
    console.note(f"{head.name} has ended: {tally}")


def _copy(source: str, limit: float | None, why: UnseekableError, copies: ExitStack) -> Path:
    """Copy a recording to a temporary file that lasts as long as `copies`, showing progress as for downloads."""
    with transfers.shown() as listener:
        listener.note(f"{why}: it is copied to a temporary file first")
        name = shown(source)
        try:
            return copies.enter_context(copied(source, limit, on_progress=partial(listener.progress, name)))
        except VideoFetchError as error:
            raise VideoFetchError.about(name, "can't copy {subject}: {error}", error=error) from None


def _say_head(head: LiveHead, classifier: Classifier) -> None:
    kind = "live" if head.live else "a recording, of which nothing is dropped"
    console.note(
        f"{head.name}: {head.width}x{head.height}, {head.fps:g} frames/s, {kind}; {classifier.name} on {head.grid.window:.2f} s "
        f"every {head.grid.hop:.2f} s"
    )


def _follow(
    worker: WorkerProcess,
    head: LiveHead,
    classifier: Classifier,
    rules: SegmentRules,
    format: str,
    tally: Tally,
    patience: float | None,
) -> None:
    from videomae_cli.pipeline import merge_views

    threshold = rules.threshold
    if threshold is None:
        threshold = INDEPENDENT_THRESHOLD if classifier.multi_label else 0.0
    while True:
        item: LiveWindow | LiveEnd | None = worker.call(next_window, head.token, timeout=patience, subject=head.name)
        if isinstance(item, LiveEnd):
            tally.dropped += item.dropped
            return
        if item is None:
            continue
        # (T, h, w, 3) -> (1, T, h, w, 3)
        scores = merge_views(classifier.logits(item.frames[None]), problem_type=classifier.problem_type)
        tally.windows += 1
        tally.dropped += item.dropped
        tally.last = item.end
        best = classifier.best(scores)
        if format == "jsonl":
            streams.put_json(_record(item, best, rules.unsure_below))
        else:
            streams.put(_line(item, [p for p in best if p.score >= threshold], rules.unsure_below))


def _line(window: LiveWindow, best: list[Prediction], unsure_below: float) -> str:
    mark = " ?" if best and best[0].score < unsure_below else ""
    labels = ", ".join(f"{p.label}{mark if p is best[0] else ''} {p.score:.1%}" for p in best[:_SHOWN_LABELS]) or "-"
    lost = f"  ({window.dropped} frames dropped before)" if window.dropped else ""
    return f"{short_clock(window.start)} - {short_clock(window.end)}  {labels}{lost}"


def _record(window: LiveWindow, best: tuple[Prediction, ...], unsure_below: float) -> dict[str, Any]:
    return {
        "start": round(window.start, 4),
        "end": round(window.end, 4),
        "time": datetime.fromtimestamp(window.moment, UTC).isoformat(timespec="milliseconds"),
        "predictions": [p.as_dict() for p in best],
        "unsure": bool(best) and best[0].score < unsure_below,
        "dropped": window.dropped,
    }
