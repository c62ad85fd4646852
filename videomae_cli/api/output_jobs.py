"""Jobs over many files whose records go to a file or a folder as they come, and that survive a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from videomae_cli.api.footage import SamplingOptions, each_video
from videomae_cli.api.report_pages import FRAMES, open_report, tell_report
from videomae_cli.assembly import divide
from videomae_cli.errors import OptionError, VideoNotFoundError
from videomae_cli.files import is_special
from videomae_cli.jobs import Part, Settings, Shard
from videomae_cli.jobs.documents import open_timeline_file, pick_timeline_format
from videomae_cli.jobs.retry import Retry
from videomae_cli.jobs.settings import vector_layout
from videomae_cli.jobs.targets import FileTarget, Target, open_vector_target
from videomae_cli.jobs.work import FinishedJob, Work
from videomae_cli.results import Result
from videomae_cli.video import FoundVideo
from videomae_cli.writers import VectorLayout, pick_label_format


class OutputOptions(TypedDict, total=False):
    """What the output of a job is, and what happens to one that exists. All are optional.

    format: as the command's, by default from the output's suffix; wide: write every column of a CSV; resume: go on from
    what an interrupted run has kept, or complete an output; overwrite: replace an output; shard: the part of the files
    to do, such as "2/8" (see `merge`); retry_errors: with `resume`, do failures again: "all", or kinds of error;
    on_result: called with each result once it is stored; frame_folders: as in `find_videos`.
    """

    format: str | None
    wide: bool
    resume: bool
    overwrite: bool
    shard: str | None
    retry_errors: str | Iterable[str] | None
    on_result: Callable[[Any], object]
    frame_folders: str


class ReportOptions(TypedDict, total=False):
    """What else a job of labels may write. report: a page (.html) about all files that opens offline, with their frames."""

    report: str | os.PathLike[str] | None


class EmbedFilesOptions(OutputOptions, SamplingOptions):
    """The options of `embed_files`: those of the output, and which frames the model sees: of clips, or, if `window`, `hop` or
    one of their protocols is given, of every window (see `DenseOptions`)."""

    window: float | str | None
    hop: float | str | None


class ClassifyFilesOptions(OutputOptions, ReportOptions, SamplingOptions):
    """The options of `classify_files`: those of the output and of the report, and which frames the model sees."""


def options_of(kind: Any, options: Mapping[str, Any]) -> Any:
    """Return those of the options that a TypedDict has."""
    return {name: value for name, value in options.items() if name in kind.__annotations__}


class OutputJob:
    """The files of a job and its output: `found` are the files of this run, which is `part` of a split job, if any.

    Takes `OutputOptions` out of `options`. Raises OptionError, and VideoNotFoundError if there is no file.
    """

    def __init__(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        output: str | os.PathLike[str],
        options: Mapping[str, Any],
    ) -> None:
        self.output = os.fspath(output)
        self.format: str | None = options.get("format")
        self.wide: bool = options.get("wide", False)
        self.resume: bool = options.get("resume", False)
        self.overwrite: bool = options.get("overwrite", False)
        self.retry = Retry(options.get("retry_errors"), resume=self.resume)
        self._on_result: Callable[[Result], object] = options.get("on_result", lambda result: None)
        report = options.get("report")
        self._report = Path(report) if report is not None else None
        shard = options.get("shard")
        chosen = Shard.parse(shard) if shard is not None else None
        if is_special(Path(self.output)):
            raise OptionError.about(output, "{subject} is no file: results that are kept need a file or a folder")
        if isinstance(videos, str | os.PathLike):
            videos = [videos]
        videos = list(videos)
        self._videos = [video.path if isinstance(video, FoundVideo) else os.fspath(video) for video in videos]
        self.part: Part | None
        self.found: Sequence[FoundVideo]
        listed = each_video(videos, frame_folders=options.get("frame_folders", "auto"))
        self.found, _, self.part = divide(listed, chosen)
        if not self.found and self.part is None:
            raise VideoNotFoundError.about("videos", "no files: no name refers to a video")

    def labels(self) -> Target:
        """Make the target for labels or values: a file."""
        output = Path(self.output)
        layout = pick_label_format(self.format, output, wide=self.wide, sharded=self.part is not None)
        return FileTarget(output, layout, self)

    def vectors(self, *, windows: bool = False) -> Target:
        """Make the target for vectors: a file, or a folder with an array for each video. windows: whether they are those of
        windows."""
        return open_vector_target(self.format, self.output, self, windows=windows)

    def timelines(self) -> Target:
        """Make the target for timelines: a table, a document of one video, or a folder of documents."""
        chosen = pick_timeline_format(self.format, self.output)
        return open_timeline_file(chosen, self.output, self, wide=self.wide, videos=len(self.found))

    @property
    def thumbnails(self) -> int:
        """The number of frames of each file that the report shows."""
        return FRAMES if self._report is not None else 0

    def layout(self, dimensions: int, storage: str, settings: Settings) -> VectorLayout:
        """Return what all vectors of this job have in common."""
        return vector_layout(dimensions, storage, settings, self.part)

    def run(
        self,
        target: Target,
        settings: Settings,
        results: Callable[[Sequence[FoundVideo], Sequence[int | None]], Iterator[Result]],
        vectors: VectorLayout | None = None,
    ) -> FinishedJob:
        """Store the result of each file that earlier runs have not done, and complete the output.

        results: makes them, from files and the numbers of views before them (`JobTally.starts`).
        """
        page = open_report(self._report, Path(self.output), settings.command, self._videos, self.found, self)
        with target.opened(), page as writer:
            work = Work(
                names=[video.path for video in self.found],
                target=target,
                settings=settings,
                part=self.part,
                vectors=vectors,
                report=writer,
                tell=tell_report,
            )
            work.begin()
            for result in work.each(lambda left, starts: results([self.found[place] for place in left], starts)):
                self._on_result(result)
            work.finish()
        return FinishedJob(len(self.found), work.failed, self.output if target.output is not None else "")
