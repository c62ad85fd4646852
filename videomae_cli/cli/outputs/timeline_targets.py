"""Targets of timelines: tables as for any batch, or a document per video, such as subtitles, ELAN or a chart."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.cli.outputs.single_output import standard_output
from videomae_cli.cli.outputs.targets import FileTarget, FolderTarget, StreamTarget, Target
from videomae_cli.errors import OptionError, OutputError, unknown_choice
from videomae_cli.files import check_new, is_special, whole_file
from videomae_cli.jobs import Job
from videomae_cli.results import Record, path_of
from videomae_cli.writers import widened

_TABLES = {"table": "timeline-table", "json": "json", "jsonl": "jsonl", "csv": "timeline-csv"}
_ENDINGS = {"srt": ".srt", "vtt": ".vtt", "elan": ".eaf", "png": ".png"}
FORMATS = (*_TABLES, *_ENDINGS)
_SUFFIXES: Mapping[str, str] = {
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    **{ending: format for format, ending in _ENDINGS.items()},
}


def pick_format(asked: str | None, output: str | None) -> str:
    """Choose the format: the requested one, else by the output's suffix, else a table. Raises OptionError."""
    if asked is not None:
        if asked not in FORMATS:
            raise unknown_choice("format", asked, FORMATS)
        return asked
    if output is None:
        return "table"
    suffix = Path(output).suffix.lower()
    if is_folder(output):
        raise OptionError.about(
            "format",
            "a folder takes a document a video: say which with --format {endings}",
            endings=", ".join(_ENDINGS),
        )
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise OptionError.about(
            output,
            "can't tell the format of {name!r}: end it in one of {known}, or give --format",
            name=Path(output).name,
            known=known,
        )
    return _SUFFIXES[suffix]


def is_folder(output: str) -> bool:
    """Whether an output is a folder: it exists as one, or ends in a slash."""
    return output.endswith(("/", os.sep)) or filesystem.is_folder(output)


def open_timeline_target(
    format: str,
    output: str | None,
    *,
    resume: bool,
    overwrite: bool,
    videos: int,
    wide: bool = False,
    retry: Container[Record] = (),
) -> Target:
    """Make the target for `--output` and related options. Raises OptionError for options that exclude each other."""
    path = Path(output) if output is not None else None
    layout = widened(_TABLES.get(format, format), wide)
    if format in _TABLES:
        if output is not None and is_folder(output):
            raise OptionError.about(
                output, "{format} is one file for all videos: give a file name, not the folder {subject}", format=format
            )
        if path is None or is_special(path):
            if resume:
                raise OptionError.about("resume", "--resume needs an output that is a file: give it with --output")
            return StreamTarget(layout, path)
        return FileTarget(Job(path, format=layout, resume=resume, overwrite=overwrite), retry)
    if output is not None and path is not None and is_folder(output):
        return DocumentFolderTarget(path, format, resume=resume, overwrite=overwrite, retry=retry)
    if videos > 1:
        raise OptionError.about(
            "format", "{format} is of one video: for several give a folder, such as -o {format}/", format=format
        )
    if resume:
        raise OptionError.about("resume", "there is nothing to resume in a single document: leave out --resume")
    return DocumentTarget(path, format, overwrite=overwrite)


def render(format: str, record: Record, folder: Path | None = None) -> bytes:
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
    """Whether there is anything to write: not for a file that failed at the beginning."""
    return bool(record["segments"]) or not record["error"]


class DocumentTarget(Target):
    """A target for a single document, written atomically to a file or to standard output."""

    def __init__(self, output: Path | None, format: str, *, overwrite: bool) -> None:
        self._output, self._format, self._overwrite = output, format, overwrite

    @contextmanager
    def opened(self) -> Iterator[None]:
        output = self._output
        if output is None:
            if self._format == "png":
                raise OptionError.about("output", "a chart can't go to standard output: name a file with --output")
            standard_output(self._format)
        else:
            check_new(output, overwrite=self._overwrite)
        yield

    def append(self, record: Record, seconds: float | None = None) -> None:
        if not has_content(record):
            return
        place = None if self._output is None or is_special(self._output) else self._output.parent
        document = render(self._format, record, place)
        if self._output is None:
            sink = standard_output(self._format)
            try:
                sink.write(document)
                sink.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError.about(
                    "output", "can't write to standard output: {reason}", reason=error.strerror or error
                ) from None
            return
        if filesystem.same(self._output, path_of(record)):
            raise OutputError.about(self._output, "{subject} is what is read: give another name with --output")
        with whole_file(self._output) as file:
            file.write(document)
        self.output = None if is_special(self._output) else self._output


class DocumentFolderTarget(FolderTarget):
    """Writes one document per video: clip.srt, or clip.mp4.srt if another video would share that name."""

    def __init__(
        self, folder: Path, format: str, *, resume: bool, overwrite: bool, retry: Container[Record] = ()
    ) -> None:
        super().__init__(folder, _ENDINGS[format], instead=True, resume=resume, overwrite=overwrite, retry=retry)
        self._format = format

    def content(self, record: Record) -> bytes | None:
        if not has_content(record):
            return None
        return render(self._format, record, (self._folder / self._names[path_of(record)]).parent)
