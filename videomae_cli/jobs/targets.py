"""Targets of a job's records: a file, or a folder with a file for each video, complete and resumable."""

from __future__ import annotations

import contextlib
import io
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, OutputError, Wording
from videomae_cli.filenames import names_below, partial_folder
from videomae_cli.files import check_not_read, is_special, make_folder, whole_file
from videomae_cli.jobs.job import Job, JobTally
from videomae_cli.jobs.replaced import Replaced
from videomae_cli.jobs.retry import OnExisting
from videomae_cli.jobs.settings import Begun, Settings
from videomae_cli.jobs.shards import Part
from videomae_cli.made import is_inside
from videomae_cli.results import Record, as_utf8, file_fields, file_of, path_of
from videomae_cli.writers import VectorLayout, pick_vector_format

if TYPE_CHECKING:
    from videomae_cli.report import ReportWriter

# The index of a folder: which file belongs to which video.
INDEX = "index.jsonl"
# What a job keeps for its report.
SIDECAR = "report.jsonl"


class Target(ABC):
    """Takes the records of a batch while it is open: `begin`, `append` for each file in order, `finish`.

    The defaults are those of a target that keeps nothing between runs. resumable: whether a later run can continue the
    output; console: what results are drawn on, which a progress bar has to share, None if they aren't; output: the file
    or folder that is there in the end, None if there is none.
    """

    resumable = False
    console: Any = None
    output: Path | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the target open during the block. Raises OutputError if it can't be written."""
        yield

    def begin(
        self, settings: Settings, names: Sequence[str], *, part: Part | None = None, vectors: VectorLayout | None = None
    ) -> JobTally:
        """Start or resume, and return what an earlier run has done. vectors: the layout of the records' vectors, if any."""
        return JobTally()

    @abstractmethod
    def append(self, record: Record, seconds: float | None = None) -> None:
        """Add one record to the output."""

    def records(self) -> Iterator[Record]:
        """Yield the records so far, also of earlier runs; call after `begin`."""
        yield from ()

    def finish(self) -> None:  # noqa: B027  most targets write at once
        """Complete the output after the last record."""

    def begun(self) -> Begun | None:
        """Return how the run began that this one resumes; None if it resumes none. Call before `begin`."""
        return None

    @property
    def done(self) -> int:
        """The number of files with stored results, of this and of earlier runs."""
        return 0

    @property
    def kept(self) -> str | None:
        """The folder in which an interrupted job keeps its results; None if it has none."""
        return None

    def check_kept(self) -> None:  # noqa: B027  a stream keeps nothing
        """Raise OutputError if the folder with the results so far was removed or renamed."""

    def failures(self) -> Counter[str]:
        """Count by kind the failures of an earlier run that will be retried; call before `begin`."""
        return Counter()

    def begin_report(self, report: ReportWriter) -> ReportWriter | None:
        """Return the report, filled with the records of earlier runs; None if it is already complete."""
        return report

    def retell(self, report: ReportWriter) -> None:
        """Fill the report again with all records in list order, after some have been replaced."""
        raise AssertionError("only jobs do files again")


class FileTarget(Target):
    """A target whose output appears only when complete, and which can be resumed after any interruption."""

    resumable = True

    def __init__(self, output: Path, format: str, asked: OnExisting) -> None:
        self._job = Job(output, format=format, resume=asked.resume, overwrite=asked.overwrite)
        self._retry = asked.retry
        self.output = output

    @contextmanager
    def opened(self) -> Iterator[None]:
        with self._job:
            yield

    def begin(
        self, settings: Settings, names: Sequence[str], *, part: Part | None = None, vectors: VectorLayout | None = None
    ) -> JobTally:
        check_not_read([self._job.output], names)
        return self._job.begin(settings, names, part=part, vectors=vectors, counts=self._counts)

    def begun(self) -> Begun | None:
        return self._job.begun()

    def append(self, record: Record, seconds: float | None = None) -> None:
        self._job.append(record)

    def records(self) -> Iterator[Record]:
        return self._job.records()

    def finish(self) -> None:
        self._job.finish()

    @property
    def done(self) -> int:
        return self._job.tally.done

    @property
    def kept(self) -> str | None:
        job = self._job
        return str(job.folder) if job.tally.done and not job.complete and job.is_kept else None

    def check_kept(self) -> None:
        self._job.check_kept(at_once=True)

    def failures(self) -> Counter[str]:
        return self._job.failures(self._retry)

    def _counts(self, record: Record) -> bool:
        """Return whether the record of an earlier run still counts, so that its file is not done again."""
        return record not in self._retry

    def begin_report(self, report: ReportWriter) -> ReportWriter | None:
        if self._job.complete and filesystem.is_there(report.output):
            report.drop()
            return None
        if self._job.tally.unknown_settings:
            raise OutputError.about(
                self._job.output,
                "{subject} has only a few columns, which no report can be made of",
                remedy=Wording("give {@overwrite:True}, or a new output with {@wide:True}"),
            )
        report.begin(self._job.folder / SIDECAR, self._job.records())
        return report

    def retell(self, report: ReportWriter) -> None:
        sidecar = self._job.folder / SIDECAR
        with contextlib.suppress(OSError):
            sidecar.unlink()
        report.begin(sidecar, self._job.records())


class FolderTarget(FileTarget):
    """Writes one file per video into a folder, and `index.jsonl`, which maps videos to files. Subclasses define the files'
    contents.

    Names follow those of the videos, below the folder that all of them share (`filenames.names_below`). Unrelated files are never
    touched: a file in a result's place is replaced only with `overwrite`, or when this job is resumed. An earlier job's files are
    removed when this one is complete. `resume` makes removed files again.

    ending: the files' suffix; instead: whether it replaces the videos' own suffix, unless names would then clash.
    """

    def __init__(self, folder: Path, ending: str, asked: OnExisting, *, instead: bool) -> None:
        super().__init__(folder / INDEX, "jsonl", asked)
        self.output = folder
        self._folder, self._ending, self._instead, self._overwrite = folder, ending, instead, asked.overwrite
        self._resume = asked.resume
        self._names: dict[str, str] = {}
        # What a resumed job has made keeps its names, whatever is listed now.
        self._earlier: dict[str, str] = {}

    @abstractmethod
    def content(self, record: Record) -> bytes | None:
        """Return the contents of a record's own file, or None; fields that belong only in the file are removed from the
        record."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        made = not filesystem.is_there(self._folder)
        make_folder(self._folder)
        try:
            with super().opened():
                yield
        finally:
            if made:
                with contextlib.suppress(OSError):
                    self._folder.rmdir()  # nothing was written

    def begin(
        self, settings: Settings, names: Sequence[str], *, part: Part | None = None, vectors: VectorLayout | None = None
    ) -> JobTally:
        reserved = (INDEX, partial_folder(Path(INDEX)).name)
        if self._resume:
            made = ((path_of(one), file_of(one)) for one in self._job.kept_records())
            # An index isn't trusted: it may name any file.
            self._earlier = {
                path: name
                for path, name in made
                if name and name.endswith(self._ending) and is_inside(self._folder, name)
            }
        self._names = names_below(
            self._folder, names, self._ending, instead=self._instead, reserved=reserved, fixed=self._earlier
        )
        check_not_read((self._folder / name for name in self._names.values()), names)
        if self._overwrite:
            replaced = Replaced(self._job.folder, self._folder, self._ending)
            replaced.keep(file_of(record) for record in self._job.earlier_records())
        tally = self._job.begin(settings, names, part=part, counts=self._counts)
        if self._job.fresh and not self._overwrite:
            taken = next((name for name in self._names.values() if filesystem.is_named(self._folder / name)), None)
            if taken is not None:
                raise OutputError.about(
                    self._folder / taken,
                    "{file} is there already",
                    file=as_utf8(str(self._folder / taken)),
                    remedy=Wording("{@overwrite:True} replaces it"),
                )
        return tally

    def append(self, record: Record, seconds: float | None = None) -> None:
        self._job.check_kept()
        content = self.content(record)
        name = self._names[path_of(record)]
        file = self._folder / name
        if content is None:
            with contextlib.suppress(OSError):
                file.unlink()  # belongs to the record that this one replaces
        else:
            make_folder(file.parent)
            with whole_file(file, scratch=self._job.folder) as sink:
                sink.write(content)
        self._job.append({**record, **file_fields(name if content is not None else None)})

    def finish(self) -> None:
        self._job.finish()
        Replaced(self._job.folder, self._folder, self._ending).remove_but(
            {*self._names.values(), *self._earlier.values()}
        )

    def _counts(self, record: Record) -> bool:
        """Return whether the record of an earlier run still counts: its file exists under the name it has in this run."""
        if not super()._counts(record):
            return False
        name = file_of(record)
        if name is None:
            return True
        return name == self._names.get(path_of(record)) and filesystem.is_file(self._folder / name)


class ArrayFolderTarget(FolderTarget):
    """Writes one .npy per video: (D,) for the vector of a file, (rows, D) for those of its clips, windows or tokens.

    windows: whether rows are those of windows; then files are called as action detectors expect, without the video's suffix,
    and each line of the index says how the vectors were made.
    """

    def __init__(self, folder: Path, asked: OnExisting, *, windows: bool = False) -> None:
        super().__init__(folder, ".npy", asked, instead=windows)
        self._windows = windows
        self._settings: dict[str, Any] = {}

    def begin(
        self, settings: Settings, names: Sequence[str], *, part: Part | None = None, vectors: VectorLayout | None = None
    ) -> JobTally:
        self._settings = settings.with_fingerprint()
        return super().begin(settings, names, part=part, vectors=vectors)

    def content(self, record: Record) -> bytes | None:
        import numpy as np

        vectors = record.pop("vectors")
        if self._windows:
            record["settings"] = self._settings
        if vectors is None:
            return None
        content = io.BytesIO()
        of_file = len(vectors) == 1 and record["rows"][0]["clip"] is None
        np.save(content, vectors[0] if of_file else vectors, allow_pickle=False)
        return content.getvalue()


def open_vector_target(format: str | None, output: str, asked: OnExisting, *, windows: bool = False) -> FileTarget:
    """Make the target for embeddings: a folder if `output` ends in a slash or is one, else a file. windows: whether they are
    those of windows."""
    path = Path(output)
    if output.endswith(("/", os.sep)) or filesystem.is_folder(path):
        if format is not None:
            raise OptionError.about(
                "format",
                "a folder holds .npy files",
                remedy=Wording("leave out {@format}, or name a file in {output}", output=output),
            )
        return ArrayFolderTarget(path, asked, windows=windows)
    if is_special(path):
        raise OptionError.about("output", "embeddings need a file or a folder to be written to")
    return FileTarget(path, pick_vector_format(format, path), asked)
