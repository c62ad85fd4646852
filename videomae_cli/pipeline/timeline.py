"""Finds what happens when in long videos: windows go through a classifier, and their scores become segments."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from videomae_cli.errors import (
    DependencyError,
    MachineError,
    VideoMAEError,
    scores_not_numbers,
)
from videomae_cli.pipeline.batches import Halving
from videomae_cli.pipeline.classify import Classifier, view_scores
from videomae_cli.pipeline.window_clips import Moved, WindowClip, WindowPass, unmoved
from videomae_cli.results import Failure, Segment, Thumbnail, Timeline, Window
from videomae_cli.segments import NO_LABEL, SegmentRules, Stretch, find_segments
from videomae_cli.video import Decoder, FoundVideo, FrameBlock, PassRequest, WindowGrid, WindowSpec
from videomae_cli.video.pictures import small_frame

# Runs of one label whose frames are kept, how many of each, and the pixels of their long side: 32 MB at most.
MOST_RUNS = 128
MOST_FRAMES = 8
_FRAME_SIZE = 96
_FRAMES_A_WINDOW = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimelineMaker:
    """A classifier with everything needed to use it on long files.

    rules: how scores become segments; keep_windows: include all windows in the results, with the classifier's `top_k`
    labels; thumbnails: number of frames of each file to keep; pixels: "display" or "stored"; fps: frame rate of folders of
    frames.
    """

    classifier: Classifier
    windows: WindowSpec
    rules: SegmentRules = field(default_factory=SegmentRules)
    keep_windows: bool = False
    thumbnails: int = 0
    pixels: str = "display"
    fps: float | None = None

    @property
    def model(self) -> Classifier:
        """The model that sees the windows."""
        return self.classifier

    def __call__(self, found: Iterable[FoundVideo], *, decoder: Decoder, moved: Moved = unmoved) -> Iterator[Timeline]:
        """Yield one result per file, in order. If a file fails, its result says why; nothing is raised.

        If decoding fails half way, the result has both the error and the segments up to that point. moved: called with
        the progress within a file. Raises MachineError or DependencyError if this machine can't decode at all.
        """
        for video in found:
            if video.error is not None:
                yield self._failed(video.path, video.error)
            else:
                yield self._one(video.path, decoder, moved)

    def _one(self, path: str, decoder: Decoder, moved: Moved) -> Timeline:
        began = time.monotonic()
        scored = ScoredWindows(self.classifier, self.thumbnails)
        transform = self.classifier.preprocessor.frame_transform(crops=1)
        error: VideoMAEError | None = None
        request = PassRequest(path, self.windows, transform, pixels=self.pixels, fps=self.fps)
        film = WindowPass(request, decoder, moved)
        try:
            for restarted, clips in film:
                if restarted:
                    scored = ScoredWindows(self.classifier, self.thumbnails)
                for clip in clips:
                    scored.add(clip)
            scored.run()
        except (MachineError, DependencyError):
            raise  # the machine is at fault, not the file
        except VideoMAEError as problem:
            log.debug("%s failed", path, exc_info=problem)
            error = problem
            scored.try_run()
        if error is None and not scored.spans:
            error = film.nothing_there()
        if film.grid is None or film.info is None or not scored.spans:
            assert error is not None
            return self._failed(path, error)
        result = self.result(path, film.grid, scored, film.last, error)
        source = film.source(len(scored.spans))
        return replace(result, source=source, warnings=film.warnings, seconds=time.monotonic() - began)

    def result(
        self,
        path: str,
        grid: WindowGrid,
        scored: ScoredWindows,
        last: FrameBlock | None = None,
        error: VideoMAEError | None = None,
    ) -> Timeline:
        """Make the timeline of a file whose windows have been scored.

        last: the block with which decoding ended, unless `grid` has an end; error: what ended it before that.
        """
        whole = grid.ending(last.end) if last is not None else grid
        end = scored.spans[-1][1] if error is not None or whole.end is None else whole.end
        scores = np.concatenate(scored.scores)
        stretches = find_segments(
            scored.spans,
            scores,
            start=grid.start,
            end=end,
            window=grid.window,
            hop=grid.hop,
            rules=self.rules,
            independent=self.classifier.multi_label,
        )
        return Timeline(
            path=path,
            model=self.classifier.name,
            revision=self.classifier.revision,
            views=len(scored.spans),
            error=Failure.of(error) if error is not None else None,
            start=grid.start,
            end=end,
            window=grid.window,
            hop=grid.hop,
            multi_label=self.classifier.multi_label,
            segments=tuple(self._segment(stretch) for stretch in stretches),
            windows=tuple(self._windows(scored, scores)) if self.keep_windows else (),
            thumbnails=scored.spread_thumbnails(),
            segment_frames=tuple(scored.runs.frames(stretch) for stretch in stretches) if self.thumbnails else (),
        )

    def _segment(self, stretch: Stretch) -> Segment:
        if stretch.label == NO_LABEL:
            return Segment(stretch.start, stretch.end)
        label = self.classifier.config.id2label[stretch.label]
        unsure = stretch.score < self.rules.unsure_below
        return Segment(stretch.start, stretch.end, label, stretch.label, stretch.score, unsure)

    def _windows(self, scored: ScoredWindows, scores: npt.NDArray[np.float32]) -> Iterator[Window]:
        for (start, end), row in zip(scored.spans, scores, strict=True):
            yield Window(start, end, self.classifier.best(row))

    def _failed(self, path: str, error: VideoMAEError) -> Timeline:
        classifier = self.classifier
        return Timeline(path=path, model=classifier.name, revision=classifier.revision, error=Failure.of(error))


@dataclass
class LabelRun:
    """Successive windows with the same best label. start, end: seconds; picture: the middle frame of the best-scoring one.

    frames: at most `MOST_FRAMES`, evenly spread: every n-th is kept, and n doubles whenever there are more.
    """

    label: int
    start: float
    end: float
    score: float
    picture: Thumbnail
    frames: list[Thumbnail] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0
    _until: float = -1.0

    def keep(self, clip: WindowClip) -> None:
        """Add some of a window's frames, but not of the part that the window before has too."""
        for place in np.unique(np.linspace(0, len(clip.frames) - 1, _FRAMES_A_WINDOW).round().astype(int)):
            moment = _moment(clip, int(place))
            if moment <= self._until:
                continue
            self._until = moment
            if self._seen % self._every == 0:
                self.frames.append(_small(clip, int(place)))
                if len(self.frames) > MOST_FRAMES:
                    self.frames, self._every = self.frames[::2], 2 * self._every
            self._seen += 1


@dataclass
class LabelRuns:
    """The runs of a video, at most `MOST_RUNS`: of more, the shortest are dropped, so memory stays bounded."""

    _runs: list[LabelRun] = field(default_factory=list)

    def add(self, clip: WindowClip, scores: npt.NDArray[np.float32]) -> None:
        """Add the next window, with its scores (L,)."""
        label = int(scores.argmax())
        score = float(scores[label])
        last = self._runs[-1] if self._runs else None
        middle = len(clip.frames) // 2
        if last is None or last.label != label:
            if len(self._runs) >= MOST_RUNS:
                self._runs.remove(min(self._runs, key=lambda run: run.end - run.start))
            last = LabelRun(label, clip.start, clip.end, score, _small(clip, middle))
            self._runs.append(last)
        elif score > last.score:
            last.score, last.picture = score, _small(clip, middle)
        last.end = clip.end
        last.keep(clip)

    def best(self, stretch: Stretch) -> Thumbnail | None:
        """Return the frame of the highest-scoring window in a stretch, if possible one with the label of the stretch."""
        inside = [run for run in self._runs if stretch.start <= run.picture.time <= stretch.end]
        found = max(inside, key=lambda run: (run.label == stretch.label, run.score), default=None)
        return None if found is None else found.picture

    def frames(self, stretch: Stretch) -> tuple[Thumbnail, ...]:
        """Return the frames stored for a stretch: first that of its highest-scoring window, then the others in order."""
        near = [run for run in self._runs if run.start <= stretch.end and stretch.start <= run.end]
        kept = {one.time: one for run in near for one in run.frames if stretch.start <= one.time <= stretch.end}
        best = self.best(stretch)
        if best is not None:
            kept.pop(best.time, None)
        return (*([] if best is None else [best]), *(kept[time] for time in sorted(kept)))


def _moment(clip: WindowClip, place: int) -> float:
    """Return the time in seconds of the middle of a window's frame."""
    return clip.start + (place + 0.5) * (clip.end - clip.start) / len(clip.frames)


def _small(clip: WindowClip, place: int) -> Thumbnail:
    return Thumbnail(_moment(clip, place), small_frame(clip.frames[place], size=_FRAME_SIZE))


def middle_frame(clip: WindowClip) -> Thumbnail:
    """Copy the middle frame of a window, with its time."""
    middle = len(clip.frames) // 2
    return Thumbnail(_moment(clip, middle), clip.frames[middle].copy())


@dataclass
class ScoredWindows:
    """The windows of one file that the model has scored.

    spans: (start, end) in seconds; scores: (n, L) for each batch.
    """

    classifier: Classifier
    thumbnails: int
    spans: list[tuple[float, float]] = field(default_factory=list)
    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)
    runs: LabelRuns = field(default_factory=LabelRuns)
    _waiting: list[WindowClip] = field(default_factory=list)
    _pictures: list[Thumbnail] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def __post_init__(self) -> None:
        self._forward = Halving(self.classifier.outputs, size=self.classifier.batch_size)

    def add(self, clip: WindowClip) -> None:
        """Add one more window, and run a batch when it is full. Raises a VideoMAEError if the model fails."""
        self._waiting.append(clip)
        self._keep_picture(clip)
        if len(self._waiting) >= self._forward.size:
            self.run()

    def run(self) -> None:
        """Run the model on the windows of the last, incomplete batch."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        # (n, T, h, w, 3)
        output = self._forward(np.stack([clip.frames for clip in waiting]))
        if isinstance(output, VideoMAEError):
            raise output
        if not np.isfinite(output).all():
            raise scores_not_numbers(self.classifier.name)
        scores = view_scores(output, problem_type=self.classifier.problem_type)
        self.scores.append(scores)
        self.spans += [(clip.start, clip.end) for clip in waiting]
        if self.thumbnails:
            for clip, row in zip(waiting, self.scores[-1], strict=True):
                self.runs.add(clip, row)

    def try_run(self) -> None:
        """Run the remaining windows after an error, keep their scores, and only log further errors."""
        try:
            self.run()
        except VideoMAEError as error:
            log.debug("the rest of the windows failed too", exc_info=error)

    def _keep_picture(self, clip: WindowClip) -> None:
        """Keep the middle frame of every n-th window; n doubles whenever the buffer is full, so memory stays bounded."""
        if not self.thumbnails:
            return
        if self._seen % self._every == 0:
            self._pictures.append(middle_frame(clip))
            if len(self._pictures) >= 4 * self.thumbnails:
                self._pictures, self._every = self._pictures[::2], 2 * self._every
        self._seen += 1

    def spread_thumbnails(self) -> tuple[Thumbnail, ...]:
        """Return `thumbnails` of the stored frames, evenly spread over the video."""
        rows = np.unique(np.linspace(0, len(self._pictures) - 1, self.thumbnails).round().astype(int))
        return tuple(self._pictures[row] for row in rows) if self._pictures else ()
