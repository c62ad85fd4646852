"""Every error a user can cause, each with a stable `kind` and a message that says what is wrong and what to do.

The core raises these; one place in `videomae_cli.cli` turns them into one line on stderr, and batch
commands turn them into a record with `status: error`.

An error is data: its `reason`, its `remedy`, its `subject`, and the values that its message quotes; the message is worded from
them when it is read. Settings are named in it as `{@overwrite:True}` or `{@device:cpu}`, and said in the words of the reader:
`overwrite=True` in Python, `--overwrite` on the terminal, whose table of flags `videomae_cli.cli` installs with `speaking`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from string import Formatter
from typing import Any, ClassVar, Self, TypeVar

from videomae_cli.visible import visible

Vocabulary = Mapping[str, str]
"""The words for settings, by the setting's name. What it lacks is said as in Python, by the setting's own name."""

_PYTHON = {
    "debug": "the error's __context__",
    "debug_log": "the log at level DEBUG",
    "model_place": "where the model is named",
}
_PLACEHOLDERS = ("True", "False", "None", "N", "FILE")

# Of a block of code, and so of one thread: a library call in another thread beside a command speaks as Python does.
_of_block: ContextVar[Vocabulary | None] = ContextVar("vocabulary", default=None)
# Of a process that works for another one, in all its threads.
_of_process: Vocabulary = {}


def vocabulary() -> Vocabulary:
    """Return the words in use here, to be handed to a process that writes messages for this one."""
    words = _of_block.get()
    return _of_process if words is None else words


def speak(words: Vocabulary) -> None:
    """Say settings in these words from now on, in all threads of a process that works for one caller."""
    global _of_process
    _of_process = words


@contextmanager
def speaking(words: Vocabulary) -> Iterator[None]:
    """Say settings in these words inside the block; other threads go on with their own."""
    token = _of_block.set(words)
    try:
        yield
    finally:
        _of_block.reset(token)


def switch(words: Vocabulary) -> None:
    """Say settings in these words for the rest of the block of `speaking` at hand."""
    _of_block.set(words)


@dataclass(frozen=True)
class _Setting:
    """One setting inside a template; its format is its value: `{@device:cpu}` is `device="cpu"` in Python."""

    name: str

    def __format__(self, value: str) -> str:
        if flag := vocabulary().get(self.name):
            return flag if value in ("", "True") else f"{flag} {value}"
        word = _PYTHON.get(self.name, self.name)
        if not value:
            return word
        bare = value in _PLACEHOLDERS or value.replace(".", "", 1).isdigit()
        return f"{word}={value}" if bare else f'{word}="{value}"'


class _Template(Formatter):
    """Formats `{@name}` as a setting, `{name}` as the value of that name, `{name!q}` as a path: quoted, and on one line."""

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        name = str(key)
        return _Setting(name[1:]) if name.startswith("@") else kwargs[name]

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return f"'{visible(str(value))}'" if conversion == "q" else super().convert_field(value, conversion)


@dataclass(frozen=True, init=False)
class Wording:
    """A template that names settings, and the values it quotes. `str()` says it in the words of the reader."""

    template: str
    values: dict[str, object]

    def __init__(self, template: str, /, **values: object) -> None:
        for name, value in values.items():
            if isinstance(value, BaseException) and not isinstance(value, VideoMAEError):
                values[name] = str(value)  # another library's may not survive the way to another process
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return self.about("")

    def about(self, subject: str) -> str:
        """Say it with `subject` where the template has {subject}."""
        return _Template().vformat(self.template, (), {"subject": subject, **self.values})

    @property
    def names_subject(self) -> bool:
        """Whether the template has {subject}."""
        return any(name == "subject" for _, name, _, _ in Formatter().parse(self.template))


def say(template: str, /, **values: object) -> str:
    """Fill in a template at once, in the words of the reader: for text that is not an error."""
    return str(Wording(template, **values))


class VideoMAEError(Exception):
    """Base of all errors this package raises on purpose. `str(error)` is one line, fit for a user.

    reason: what is wrong; remedy: what to do, empty where `reason` says it all; subject: the path, address, model or setting
    it is about, empty where who raised it knew none; joined: what stands between reason and remedy.
    retryable: whether the same file may fare better another time, without anybody having changed it.
    """

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        reason: str | Wording = "",
        *more: object,
        subject: str = "",
        remedy: str | Wording = "",
        joined: str = ": ",
    ) -> None:
        super().__init__(reason, *more)
        self.subject, self.remedy, self.joined = subject, remedy, joined

    @classmethod
    def about(
        cls, subject: object, template: str, /, *, remedy: str | Wording = "", joined: str = ": ", **values: object
    ) -> Self:
        """Make an error about `subject`: a path, a model, an option. template: its reason, which may have {subject} in it, and
        `values` by their names."""
        return cls(Wording(template, **values), subject=str(subject), remedy=remedy, joined=joined)

    @property
    def reason(self) -> str:
        """What is wrong, in the words of the reader, without the remedy."""
        reason = self.args[0] if self.args else ""
        return reason.about(self.subject) if isinstance(reason, Wording) else str(reason)

    def __str__(self) -> str:
        remedy = self.remedy.about(self.subject) if isinstance(self.remedy, Wording) else self.remedy
        return f"{self.reason}{self.joined}{remedy}" if remedy else self.reason

    def naming(self, path: str) -> str:
        """The message, with the file in front unless that is the subject and the message has it already."""
        reason = self.args[0] if self.args else ""
        named = self.subject == path and isinstance(reason, Wording) and reason.names_subject
        return str(self) if named or not path else f"{path}: {self}"

    def rename(self, old: str, new: str) -> Self:
        """Say `new` where the error is about `old` or a file in it, such as a temporary copy, and in errors that its message quotes."""
        if self.subject == old or self.subject.startswith(f"{old}{os.sep}"):
            self.subject = new + self.subject[len(old) :]
        for part in (*self.args, self.remedy):
            for value in part.values.values() if isinstance(part, Wording) else ():
                if isinstance(value, VideoMAEError):
                    value.rename(old, new)
        return self

    def recast(self, kind: type[Kind]) -> Kind:
        """Return an error of another kind that says and is about the same."""
        return kind(*self.args, subject=self.subject, remedy=self.remedy, joined=self.joined)


Kind = TypeVar("Kind", bound=VideoMAEError)


def _rebuilt(kind: type[VideoMAEError], arguments: tuple[object, ...], fields: dict[str, object]) -> VideoMAEError:
    """Unpickle an error whose constructor takes more than its message."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(fields)
    return error


class OptionError(VideoMAEError):
    """An option or an argument that can't be right whatever the files hold (CLI exit code 2)."""

    kind = "usage"


# --- models -----------------------------------------------------------------------------------


class ConfigError(VideoMAEError):
    """A model configuration that is nonsense or contradicts itself."""

    kind = "config"


class ModelInputError(VideoMAEError):
    """A tensor handed to a model has the wrong shape, type or mask."""

    kind = "model_input"


class CheckpointError(VideoMAEError):
    """A file that is no checkpoint, is damaged, wants to run code, or doesn't fit its configuration."""

    kind = "checkpoint"


class ModelNotFoundError(VideoMAEError):
    """A model name that is neither bundled, nor on disk, nor reachable on the hub."""

    kind = "model_not_found"


class ModelOfflineError(ModelNotFoundError):
    """A model of the hub that is not on this disk while the hub can't be asked for it.

    hub_id: which one; revisions: of it that are on this disk.
    """

    def __init__(
        self,
        reason: str,
        *,
        hub_id: str,
        revisions: tuple[str, ...] = (),
        remedy: str | Wording = "",
        joined: str = ": ",
    ) -> None:
        super().__init__(reason, subject=hub_id, remedy=remedy, joined=joined)
        self.hub_id, self.revisions = hub_id, revisions

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, vars(self))


class DownloadError(VideoMAEError):
    """The hub was asked and did not deliver: network, rights, revision, disk space, wrong bytes."""

    kind = "download"


class ModelOutputError(VideoMAEError):
    """The model gave scores that are no numbers: damaged weights, or a type too small for them."""

    kind = "model_output"


class ModelMemoryError(VideoMAEError):
    """The device has too little memory for the clips given to the model at once."""

    kind = "memory"
    retryable = True


# --- videos -----------------------------------------------------------------------------------


class VideoError(VideoMAEError):
    """Something is wrong with one video file. In a batch it costs that file only."""

    kind = "video"


class VideoNotFoundError(VideoError):
    """The path does not exist, or is not a regular file or a directory with videos in it."""

    kind = "not_found"


class VideoFetchError(VideoError):
    """A video in object storage that can't be brought here: no permission, no server, cut off on the way."""

    kind = "fetch"
    retryable = True


class NotAVideoError(VideoError):
    """The file exists but holds no video: text, an archive, audio only, empty."""

    kind = "not_a_video"


class DecodeError(VideoError):
    """The file is a video of which no frame, or not the wanted frame, could be decoded."""

    kind = "decode"


class FileChangedError(VideoError):
    """The file was written to, replaced or removed while it was read."""

    kind = "changed"
    retryable = True


class DecodeTimeoutError(VideoError):
    """Decoding took longer than the time limit and was stopped."""

    kind = "timeout"
    retryable = True


class DecoderCrashError(VideoError):
    """The process that decoded the file died."""

    kind = "decoder_crash"


class DecoderKilledError(DecoderCrashError):
    """The process that decoded the file was killed by somebody else, such as a system out of memory."""

    retryable = True


class DecoderMemoryError(VideoError):
    """Decoding the file takes more memory than a decoder may have."""

    kind = "memory"
    retryable = True


# --- outputs and surroundings -----------------------------------------------------------------


class OutputError(VideoMAEError):
    """The output can't be written: exists already, is a folder, disk full, no permission."""

    kind = "output"


class StorageError(VideoMAEError):
    """Object storage was asked and did not deliver: no permission, no server, an address that can't be right."""

    kind = "storage"


class ObjectNotFoundError(StorageError):
    """There is no such object, folder or bucket."""

    kind = "object_not_found"


class MachineError(VideoMAEError):
    """This machine ran out of something that no file is to blame for: open files, processes, memory, room in TMPDIR.

    A batch stops with it, so that a good file never gets a record of failure for it.
    """

    kind = "machine"
    retryable = True


class DependencyError(VideoMAEError):
    """A package or a system library that the work needs is missing or can't be imported."""

    kind = "dependency"


class ClusterError(VideoMAEError):
    """A cluster that can't be reached, whose machines don't fit the job, or that lost work for good."""

    kind = "cluster"


class EmbeddingsError(VideoMAEError):
    """A file that should hold embeddings and doesn't, or holds some that can't be compared."""

    kind = "embeddings"


class TrainingError(VideoMAEError):
    """Training can't go on: a loss that is no number, too little memory, a damaged state. What was saved stays."""

    kind = "training"


class DatasetError(VideoMAEError):
    """Labelled data that can't be read, contradicts itself, or leaves nothing to learn from."""

    kind = "dataset"


def failure_kinds() -> tuple[str, ...]:
    """The kinds that the record of a file's failure may have, in alphabetical order."""
    classes: list[type[VideoMAEError]] = [VideoError]
    for one in classes:
        classes += one.__subclasses__()
    # Those of the model, of storage, and of the machine, which earlier versions recorded too.
    classes += [ModelOutputError, ModelMemoryError, StorageError, ObjectNotFoundError, MachineError, DependencyError]
    return tuple(sorted({one.kind for one in classes}))
