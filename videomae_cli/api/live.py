"""Labels of a live source (a camera, a stream, a recording behind an address), window by window."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from videomae_cli.errors import VideoFetchError
from videomae_cli.hub import DownloadListener
from videomae_cli.results import Prediction
from videomae_cli.segments import INDEPENDENT_THRESHOLD, SegmentRules
from videomae_cli.video import WindowSpec
from videomae_cli.video.decoder import check_timeout
from videomae_cli.video.live_sources import check_address, shown
from videomae_cli.video.live_windows import LiveEnd, LiveHead, LiveRequest, LiveWindow, next_window, open_live
from videomae_cli.video.recordings import UnseekableError, copied
from videomae_cli.video.worker import WorkerProcess

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier

# A call counts as hung if it exceeds the source's own time limit by this many seconds.
_SPARE_SECONDS = 10.0


@dataclass(frozen=True)
class LiveLabels:
    """The labels of one window of a live source.

    start, end: seconds after the source's first frame; time: when the window was complete; predictions: the best labels,
    best first; likely: those of them that reach the threshold; unsure: whether the best one is more of a guess; dropped:
    frames of the source that were dropped before this window, to keep up.
    """

    start: float
    end: float
    time: datetime
    predictions: tuple[Prediction, ...]
    likely: tuple[Prediction, ...]
    unsure: bool
    dropped: int

    @property
    def label(self) -> str | None:
        """The best label; None if no label reaches the threshold."""
        return self.likely[0].label if self.likely else None

    def as_dict(self) -> dict[str, Any]:
        """Return the record that the command writes."""
        return {
            "start": round(self.start, 4),
            "end": round(self.end, 4),
            "time": self.time.isoformat(timespec="milliseconds"),
            "predictions": [prediction.as_dict() for prediction in self.predictions],
            "unsure": self.unsure,
            "dropped": self.dropped,
        }


class LiveTimeline:
    """An open live source: iterate to get the labels of each window as it completes, until the source ends.

    A context manager; `close` ends the process that reads the source. name: for people; width, height: pixels; fps: frames
    per second; live: False for a recording, of which nothing is dropped; window, hop: seconds; windows, dropped: counts
    of the windows and of the dropped frames so far; end: the end of the last window, in seconds.
    """

    def __init__(
        self,
        classifier: Classifier,
        source: str | int,
        windows: WindowSpec,
        rules: SegmentRules,
        *,
        pixels: str,
        timeout: float | None = None,
        memory: int | None = None,
        listener: DownloadListener | None = None,
        debug: bool = False,
    ) -> None:
        """Open the source. windows: fitted to the model; timeout: seconds to wait for frames; memory: bytes that
        decoding may take; listener: notified if a recording must be copied first. Raises OptionError, VideoNotFoundError
        if there is no such source, DecodeError."""
        if isinstance(source, str):
            check_address(source)
        check_timeout(timeout)
        self._classifier, self._rules = classifier, rules
        transform = classifier.preprocessor.frame_transform(crops=1)
        request = LiveRequest(source, windows, transform, timeout, pixels=pixels)
        worker, copies = WorkerProcess(debug=debug), ExitStack()
        self._closing = weakref.finalize(self, _close, worker, copies)
        patience = None if timeout is None else timeout + _SPARE_SECONDS
        self._call: Callable[..., Any] = partial(worker.call, timeout=patience, memory=memory)
        self.windows, self.dropped, self.end = 0, 0, 0.0
        try:
            self._open(request, copies, listener)
        except BaseException:
            self.close()
            raise

    def _open(self, request: LiveRequest, copies: ExitStack, listener: DownloadListener | None) -> None:
        head: LiveHead
        try:
            head = self._call(open_live, request, subject=str(request.source))
        except UnseekableError as error:
            copy = _copy(str(request.source), request.timeout, error, copies, listener or DownloadListener())
            head = self._call(open_live, replace(request, copy=copy), subject=str(request.source))
        self._token, self.name, self.live = head.token, head.name, head.live
        self.width, self.height, self.fps = head.width, head.height, head.fps
        self.window, self.hop = head.grid.window, head.grid.hop

    def __iter__(self) -> Iterator[LiveLabels]:
        while True:
            item: LiveWindow | LiveEnd | None = self._call(next_window, self._token, subject=self.name)
            if item is None:
                continue
            self.dropped += item.dropped
            if isinstance(item, LiveEnd):
                return
            labels = self._labels(item)
            self.windows, self.end = self.windows + 1, item.end
            yield labels

    def _labels(self, window: LiveWindow) -> LiveLabels:
        from videomae_cli.pipeline import merge_views

        model, threshold = self._classifier, self._rules.threshold
        if threshold is None:
            threshold = INDEPENDENT_THRESHOLD if model.multi_label else 0.0
        # (T, h, w, 3) -> (1, T, h, w, 3)
        best = model.best(merge_views(model.outputs(window.frames[None]), problem_type=model.problem_type))
        return LiveLabels(
            window.start,
            window.end,
            datetime.fromtimestamp(window.moment, UTC),
            best,
            tuple(one for one in best if one.score >= threshold),
            bool(best) and best[0].score < self._rules.unsure_below,
            window.dropped,
        )

    def close(self) -> None:
        """Stop reading, and end the process that reads."""
        self._closing()

    def __enter__(self) -> LiveTimeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(worker: WorkerProcess, copies: ExitStack) -> None:
    worker.close()
    copies.close()


def _copy(
    source: str, timeout: float | None, why: UnseekableError, copies: ExitStack, listener: DownloadListener
) -> Path:
    """Copy a recording to a temporary file that lasts as long as `copies`."""
    name = shown(source)
    listener.note(f"{why}: it is copied to a temporary file first")
    try:
        return copies.enter_context(copied(source, timeout, on_progress=partial(listener.progress, name)))
    except VideoFetchError as error:
        raise VideoFetchError.about(name, "can't copy {subject}: {error}", error=error) from None
