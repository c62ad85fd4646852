"""Runs views of many files through a model in full batches, and returns them to their files, in the order of the files.

A batch may contain views of several files, and a file's views may be spread over several batches. If a file or a batch
that contains it fails, the error becomes the outcome of that file and is never raised.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import DependencyError, MachineError, ModelMemoryError, VideoMAEError
from videomae_cli.results import Thumbnail
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, FoundVideo, Preprocessor, SamplingSpec

Views = npt.NDArray[np.uint8]
Outputs = npt.NDArray[np.float32]
Forward = Callable[[Views], Outputs]
# See `Batches`.
Starts = Sequence[int | None]
# A file with its decoded clips or its error; None whenever no further file is ready.
Outcomes = Iterable[tuple[str, DecodedVideo | VideoMAEError] | None]


@dataclass
class Passed:
    """A file on its way through the model.

    outputs: (V, ...) for all its views, once all have been computed without an error; waiting: number of views still to
    be computed; seconds: this file's share of the model's time; thumbnails: empty unless requested.
    """

    path: str
    video: DecodedVideo | None = None
    error: VideoMAEError | None = None
    outputs: Outputs | None = None
    views: int = 0
    seconds: float = 0.0
    waiting: int = 0
    thumbnails: tuple[Thumbnail, ...] = ()
    _parts: list[Outputs] = field(default_factory=list)

    def take(self, part: Outputs | VideoMAEError, count: int, seconds: float) -> None:
        """Take the outputs of the next `count` views, or their error."""
        self.waiting -= count
        self.seconds += seconds
        if isinstance(part, VideoMAEError):
            self.error = self.error or part
        else:
            self._parts.append(part)
        if self.waiting == 0 and self.error is None:
            self.outputs = np.concatenate(self._parts)
        if self.waiting == 0:
            self._parts = []

    @property
    def through(self) -> bool:
        """Return whether all views of the file have been computed."""
        return self.waiting == 0


def clip_request(preprocessor: Preprocessor, sampling: SamplingSpec) -> ClipRequest:
    """Return the request with which a model with this preprocessor decodes any file; its path is left empty."""
    transform = preprocessor.for_protocol(sampling.protocol).frame_transform(crops=sampling.resolved_crops)
    return ClipRequest("", sampling=sampling, transform=transform)


def decode_found(
    found: Iterable[FoundVideo], request: ClipRequest, decoder: Decoder, *, ahead: int, eager: bool = False
) -> Iterator[tuple[str, DecodedVideo | VideoMAEError] | None]:
    """Yield every file in order, decoded as `request` says, apart from its path; a file with an error keeps its place.

    found: taken only as far as decoding is ahead, so it may be endless; eager: yield None whenever the caller would have
    to wait for decoding.
    """
    taken: deque[FoundVideo] = deque()

    def requests() -> Iterator[ClipRequest]:
        for video in found:
            taken.append(video)
            if video.error is None:
                yield replace(request, path=video.path)

    def failed() -> Iterator[tuple[str, VideoMAEError]]:
        while taken and taken[0].error is not None:
            video = taken.popleft()
            assert video.error is not None
            yield video.path, video.error

    for item in decoder.decode_or_idle(requests(), ahead=ahead):
        yield from failed()
        if item is not None:
            yield taken.popleft().path, item[1]
        elif eager:
            yield None
    yield from failed()


class Halving:
    """Runs views (V, T, H, W, 3) uint8 through `forward` -> (V, ...), halving batches that don't fit in memory.

    size: how many views the caller should pass at once; it shrinks when memory runs out.
    """

    def __init__(self, forward: Forward, *, size: int) -> None:
        self._forward, self.size = forward, size

    def __call__(self, views: Views) -> Outputs | VideoMAEError:
        """Compute all views at once, or halve the batch until the device has enough memory for it."""
        try:
            return self._forward(views)
        except ModelMemoryError as error:
            if len(views) == 1:
                return error
        except (DependencyError, MachineError):
            raise  # no file is to blame
        except VideoMAEError as error:
            return error
        self.size = max(1, len(views) // 2)
        halves = [self(half) for half in np.array_split(views, 2)]
        failed = [half for half in halves if isinstance(half, VideoMAEError)]
        return failed[0] if failed else np.concatenate([half for half in halves if isinstance(half, np.ndarray)])


class Batches:
    """Runs files through `forward`, (V, T, H, W, 3) uint8 -> (V, ...), `size` views at a time.

    starts: for a resumed job, how many of the job's views precede each file's, or None for a file that directly follows
    the previous one; a last entry says how many views earlier runs have computed. Gaps are filled with blank views, so
    that every view has the same position in its batch as in an uninterrupted job: a batch of another size rounds its
    sums differently, and the outputs must be equal bit for bit.

    thumbnails: number of frames of each file to keep, to show to people; wait: called before each batch, and not counted
    as the model's time.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        size: int,
        starts: Starts = (),
        thumbnails: int = 0,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._thumbnails, self._wait = thumbnails, wait
        self._forward = Halving(forward, size=size)
        self._size = size
        self._starts, self._through = iter(starts[:-1]), (starts[-1] if starts else None) or 0
        # (file, views) parts of the next batch; those without a file are blank views.
        self._next: list[tuple[Passed | None, Views]] = []
        self._count = self._position = 0

    def __call__(self, outcomes: Outcomes) -> Iterator[Passed]:
        """Yield each file with its outputs, in order, as soon as they are computed.

        An outcome of None means that no further file is ready, so an incomplete batch runs immediately.
        """
        waiting: deque[Passed] = deque()
        for item in outcomes:
            if item is None:
                self._run()
                while waiting and waiting[0].through:
                    yield waiting.popleft()
                continue
            path, outcome = item
            start = next(self._starts, None)
            if isinstance(outcome, VideoMAEError):
                waiting.append(Passed(path, error=outcome))
            else:
                views = outcome.views()
                # The views hold copies of the frames, which would otherwise stay in memory with the record.
                passed = Passed(
                    path,
                    video=outcome.without_frames(),
                    views=len(views),
                    waiting=len(views),
                    thumbnails=spread_thumbnails(outcome, self._thumbnails),
                )
                waiting.append(passed)
                if start is not None:
                    self._go_to(start, views)
                self._add(passed, views)
            while waiting and waiting[0].through:
                yield waiting.popleft()
        self._fill(self._through)
        self._run()
        yield from waiting

    def _go_to(self, start: int, views: Views) -> None:
        """Move to position `start` in the job's sequence of views; positions that are skipped belong to other files."""
        if start < self._position or self._forward.size != self._size:
            return  # can't skip: a repeated file has a different number of views now, or the batch size was reduced
        first = start - start % self._size
        if self._position < first:
            self._fill(first)
            self._run()
            self._position = first
        self._blank(start - self._position, views)

    def _fill(self, through: int) -> None:
        """Fill the last batch with blank views to the length it had in the uninterrupted job."""
        if self._next and self._forward.size == self._size:
            self._blank(min(through - self._position, self._size - self._count), self._next[0][1])

    def _blank(self, count: int, like: Views) -> None:
        if count > 0:
            self._next.append((None, np.zeros((count, *like.shape[1:]), np.uint8)))
            self._count += count
            self._position += count

    def _add(self, passed: Passed, views: Views) -> None:
        if self._next and self._next[0][1].shape[1:] != views.shape[1:]:
            self._run()  # a processor without a crop produces views of different sizes, which can't share a batch
        first = 0
        while first < len(views):
            part = views[first : first + self._forward.size - self._count]
            self._next.append((passed, part))
            self._count += len(part)
            self._position += len(part)
            first += len(part)
            if self._count == self._forward.size:
                self._run()

    def _run(self) -> None:
        parts, self._next, self._count = self._next, [], 0
        if not parts:
            return
        views = [part for _, part in parts]
        self._wait()
        started = time.monotonic()
        output = self._forward(views[0] if len(views) == 1 else np.concatenate(views))
        each = (time.monotonic() - started) / sum(len(part) for passed, part in parts if passed is not None)
        first = 0
        for passed, part in parts:
            of_file = output if isinstance(output, VideoMAEError) else output[first : first + len(part)]
            if passed is not None:
                passed.take(of_file, len(part), each * len(part))
            first += len(part)


def spread_thumbnails(video: DecodedVideo, count: int) -> tuple[Thumbnail, ...]:
    """Choose `count` of all frames in all clips (or all, if fewer), evenly spread over time, each once.

    If there are several crops, the middle one is used. The images are copies, so that the other frames can be freed.
    """
    times = {
        row: time
        for rows, clip in zip(video.rows, video.timestamps, strict=True)
        for row, time in zip(rows, clip, strict=True)
    }
    if not times or not count:
        return ()
    rows = sorted(times, key=lambda row: times[row])
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    middle = video.frames.shape[1] // 2  # (U, K, h, w, 3)
    return tuple(Thumbnail(times[rows[place]], video.frames[rows[place], middle].copy()) for place in places)
