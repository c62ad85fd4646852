"""Writes timelines to files and folders: tables as for any job, or a document per video: subtitles, ELAN or a chart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.errors import OptionError, Wording
from videomae_cli.files import check_new, check_not_read, is_special, whole_file
from videomae_cli.jobs.retry import OnExisting
from videomae_cli.jobs.targets import FileTarget, FolderTarget, Target
from videomae_cli.results import Record, path_of
from videomae_cli.writers import widened
from videomae_cli.writers.formats import SUFFIXES, pick_among

TABLES = {"table": "timeline-table", "json": "json", "jsonl": "jsonl", "csv": "timeline-csv", "parquet": "parquet"}
DOCUMENTS = {"srt": ".srt", "vtt": ".vtt", "elan": ".eaf", "png": ".png"}
FORMATS = (*TABLES, *DOCUMENTS)
_SUFFIXES = {".txt": "table"} | {suffix: format for suffix, format in SUFFIXES.items() if format in TABLES}
_SUFFIXES |= {ending: format for format, ending in DOCUMENTS.items()}


def pick_timeline_format(asked: str | None, output: str | None) -> str:
    """Choose the format: the requested one, else by the output's suffix, else a table. Raises OptionError."""
    if asked is None and output is None:
        return "table"
    if asked is None and output is not None and is_folder(output):
        raise OptionError.about(
            "format",
            "a folder takes one document per video",
            remedy=Wording("say which with {@format:{endings}}", endings=", ".join(DOCUMENTS)),
        )
    return pick_among(asked, Path(output) if output is not None else None, FORMATS, _SUFFIXES)


def pick_table_format(asked: str | None, output: Path) -> str:
    """Choose the layout of a file that holds the timelines of many videos. Raises OptionError, also for a document of one."""
    chosen = pick_timeline_format(asked, str(output))
    if chosen in DOCUMENTS:
        reason = "{format} holds one video, and this is one file for all: its format is one of {known}"
        raise OptionError.about("format", reason, format=chosen, known=", ".join(TABLES))
    return TABLES[chosen]


def is_folder(output: str) -> bool:
    """Return whether an output is a folder: it exists as one, or ends in a slash."""
    return output.endswith(("/", os.sep)) or filesystem.is_folder(output)


def timeline_document(format: str, record: Record, folder: Path | None = None) -> bytes:
    """Format a record as a document that will be written to `folder`."""
    if format == "png":
        from videomae_cli.pictures.timeline_chart import timeline_chart

        return timeline_chart(record)
    if format == "elan":
        from videomae_cli.writers.elan import eaf

        return eaf(record, folder).encode("utf-8")
    from videomae_cli.writers import subtitles

    text = subtitles.srt(record) if format == "srt" else subtitles.vtt(record)
    return text.encode("utf-8")


def has_content(record: Record) -> bool:
    """Return whether there is anything to write: not for a file that failed at the beginning."""
    return bool(record["segments"]) or not record["error"]


class DocumentTarget(Target):
    """A target for a single document, written atomically to a file."""

    def __init__(self, file: Path, format: str, *, overwrite: bool) -> None:
        self._file, self._format, self._overwrite = file, format, overwrite

    @contextmanager
    def opened(self) -> Iterator[None]:
        check_new(self._file, overwrite=self._overwrite)
        yield

    def append(self, record: Record, seconds: float | None = None) -> None:
        if not has_content(record):
            return
        special = is_special(self._file)
        document = timeline_document(self._format, record, None if special else self._file.parent)
        check_not_read([self._file], [path_of(record)])
        with whole_file(self._file) as file:
            file.write(document)
        self.output = None if special else self._file


class DocumentFolderTarget(FolderTarget):
    """Writes one document per video: clip.srt, or clip.mp4.srt if another video would share that name."""

    def __init__(self, folder: Path, format: str, asked: OnExisting) -> None:
        super().__init__(folder, DOCUMENTS[format], asked, instead=True)
        self._format = format

    def content(self, record: Record) -> bytes | None:
        if not has_content(record):
            return None
        return timeline_document(self._format, record, (self._folder / self._names[path_of(record)]).parent)


def open_timeline_file(format: str, output: str, asked: OnExisting, *, videos: int, wide: bool = False) -> Target:
    """Make the target for an output that is a file or a folder. Raises OptionError for options that exclude each other."""
    path = Path(output)
    layout = widened(TABLES.get(format, format), wide)
    if format in TABLES:
        if is_folder(output):
            raise OptionError.about(
                output, "{format} is one file for all videos: give a file name, not the folder {subject}", format=format
            )
        return FileTarget(path, layout, asked)
    if is_folder(output):
        return DocumentFolderTarget(path, format, asked)
    check_single(format, videos, resume=asked.resume)
    return DocumentTarget(path, format, overwrite=asked.overwrite)


def check_single(format: str, videos: int, *, resume: bool) -> None:
    """Raise OptionError if a single document can't hold that many videos, or is to be resumed."""
    if videos > 1:
        raise OptionError.about(
            "format",
            "{format} holds one video",
            format=format,
            remedy=Wording("for several give a folder, such as {@output:{format}/}", format=format),
        )
    if resume:
        raise OptionError.about("resume", "there is nothing to resume in a single document: leave out {@resume:True}")
