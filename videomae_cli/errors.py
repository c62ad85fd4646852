"""Every error a user can cause, each with a stable `kind` and a message that says what is wrong and what to do.

The core raises these; one place in `videomae_cli.cli` turns them into one line on stderr, and batch commands turn them
into a record with `status: error`.

An error is data: `reason`, `remedy`, `subject`, and the values that its message quotes; the message is put together
when it is read. Settings are named in it as `{@overwrite:True}` or `{@device:cpu}`, and spelled for the reader:
`overwrite=True` in Python, `--overwrite` on the terminal, whose table of flags `videomae_cli.cli` installs with
`speaking`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Number
from string import Formatter
from typing import Any, ClassVar, Self, TypeVar

from videomae_cli.visible import LONGEST_NAME, brief, shortened, visible

Vocabulary = Mapping[str, str]
"""Maps the name of a setting to its spelling. A setting that it lacks is spelled as in Python: by its name."""

_PYTHON = {
    "cluster": "a cluster job",
    "debug": "the error's __context__",
    "debug_log": "the log at level DEBUG",
    "no_timeout": "None",
    "model_place": "where the model is named",
    "videos_place": "as the first argument",
    # What the terminal has a command for.
    "bench_videos": "measure_engines(videos=...)",
    "cached_models": "cached_models()",
    "embed_to": 'write_results(load_embedder(MODEL).embed_all(VIDEOS), "{}")',
    "known_models": "list_models()",
    "labels_used": "map_embeddings(labels=...) and merge() read it",
    "model_labels": "describe_model(MODEL).labels",
    "sharded": "a job with shard=",
    "timelines_used": "merge() reads it",
    "vectors_used": "similar() and map_embeddings() read it",
}
_PLACEHOLDERS = ("True", "False", "None", "N", "FILE")

# Valid in a block, and thus in one thread: library calls in other threads still use Python's spelling.
_of_block: ContextVar[Vocabulary | None] = ContextVar("vocabulary", default=None)
# Valid in all threads of a process that works for another process.
_of_process: Vocabulary = {}


def vocabulary() -> Vocabulary:
    """Return how this thread's messages spell settings, to pass to a subprocess that writes messages for it."""
    words = _of_block.get()
    return _of_process if words is None else words


def speak(words: Vocabulary) -> None:
    """Set how messages spell settings in all threads of this process, which works for a single caller."""
    global _of_process
    _of_process = words


@contextmanager
def speaking(words: Vocabulary) -> Iterator[None]:
    """Set how messages spell settings (`--overwrite` or `overwrite=True`) inside the block, for this thread only."""
    token = _of_block.set(words)
    try:
        yield
    finally:
        _of_block.reset(token)


def switch(words: Vocabulary) -> None:
    """Change how messages spell settings for the rest of the enclosing `speaking` block."""
    _of_block.set(words)


@dataclass(frozen=True)
class _Setting:
    """One setting inside a template; the format spec is its value: `{@device:cpu}` is `device="cpu"` in Python."""

    name: str

    def __format__(self, value: str) -> str:
        if flag := vocabulary().get(self.name):
            return flag if value in ("", "True") else f"{flag} {value}"
        word = _PYTHON.get(self.name, self.name)
        if not value or word != self.name:
            return word.format(value)
        bare = value in _PLACEHOLDERS or value.replace(".", "", 1).isdigit()
        return f"{word}={value}" if bare else f'{word}="{value}"'


class _Template(Formatter):
    """Formats `{@name}` as a setting, `{name}` as the value of that name, `{name!q}` as a path: quoted, and on one line."""

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        name = str(key)
        return _Setting(name[1:]) if name.startswith("@") else kwargs[name]

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion == "q":
            return f"'{shortened(visible(str(value)), LONGEST_NAME)}'"
        return super().convert_field(value, conversion)


class _Shown(str):
    """Text of a value of any type: a message keeps this, since the value itself may be changed later, or can't be pickled.

    `{value!r}` shows the representation of the value. Paths and other libraries' errors are shown as strings.
    """

    shown: str

    def __new__(cls, value: object, shown: str | None = None) -> Self:
        text = super().__new__(cls, value)
        text.shown = shown or repr(str(value) if isinstance(value, os.PathLike | BaseException) else value)
        return text

    def __repr__(self) -> str:
        return self.shown

    def __reduce__(self) -> tuple[object, ...]:
        return _Shown, (str(self), self.shown)


@dataclass(frozen=True, init=False)
class Wording:
    """A message template that names settings, with the values to fill in. `str()` spells it for the reader."""

    template: str
    values: dict[str, object]

    def __init__(self, template: str, /, **values: object) -> None:
        for name, value in values.items():
            if isinstance(value, os.PathLike):
                values[name] = _Shown(shortened(str(value), LONGEST_NAME))
            elif not isinstance(value, str | Number | Wording | VideoMAEError | None):
                values[name] = _Shown(value)
        object.__setattr__(self, "template", template)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return self.about("")

    def about(self, subject: str) -> str:
        """Format the template, with {subject} replaced by `subject`."""
        named = shortened(subject, LONGEST_NAME)
        return _Template().vformat(self.template, (), {"subject": named, **self.values})

    @property
    def names_subject(self) -> bool:
        """Whether the template has {subject}."""
        return any(name == "subject" for _, name, _, _ in Formatter().parse(self.template))


def say(template: str, /, **values: object) -> str:
    """Fill in a message template immediately, for text that is not part of an error.

    Settings are spelled for the reader.
    """
    return str(Wording(template, **values))


class VideoMAEError(Exception):
    """Base of all errors this package raises on purpose. `str(error)` is one line that can be shown to a user:
    names of files come with their control characters escaped, and cut in the middle if they are overlong.

    reason: what is wrong; remedy: what to do, may be empty; subject: the path, address, model or setting that the error
    is about, may be empty; joined: the separator between reason and remedy; retryable: whether trying the same file
    again may succeed.
    """

    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls, *, kind: str | None = None, retryable: bool | None = None) -> None:
        """Set the class's own `kind` and `retryable`; by default they are its base's."""
        super().__init_subclass__()
        cls.kind = kind or cls.kind
        cls.retryable = cls.retryable if retryable is None else retryable

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
        """Make an error about `subject`: a path, a model, an option. template: the reason, which may contain {subject} and the
        names of `values`."""
        return cls(Wording(template, **values), subject=str(subject), remedy=remedy, joined=joined)

    @property
    def reason(self) -> str:
        """What is wrong, spelled for the reader, without the remedy."""
        reason = self.args[0] if self.args else ""
        return brief(visible(reason.about(self.subject) if isinstance(reason, Wording) else str(reason)))

    def __str__(self) -> str:
        remedy = self.remedy.about(self.subject) if isinstance(self.remedy, Wording) else self.remedy
        return brief(visible(f"{self.reason}{self.joined}{remedy}")) if remedy else self.reason

    def naming(self, path: str) -> str:
        """Return the message, prefixed with `path` unless the message already contains it as the error's subject."""
        reason = self.args[0] if self.args else ""
        named = self.subject == path and isinstance(reason, Wording) and reason.names_subject
        return str(self) if named or not path else f"{shortened(path, LONGEST_NAME)}: {self}"

    def rename(self, old: str, new: str) -> Self:
        """Replace the subject `old`, or a file inside it, by `new`, including in errors that the message quotes.

        For example, `old` is a temporary copy and `new` the address that it was copied from.
        """
        if self.subject == old or self.subject.startswith(f"{old}{os.sep}"):
            self.subject = new + self.subject[len(old) :]
        for part in (*self.args, self.remedy):
            for value in part.values.values() if isinstance(part, Wording) else ():
                if isinstance(value, VideoMAEError):
                    value.rename(old, new)
        return self

    def recast(self, kind: type[Kind]) -> Kind:
        """Return an error of another kind with the same message and subject."""
        return kind(*self.args, subject=self.subject, remedy=self.remedy, joined=self.joined)


Kind = TypeVar("Kind", bound=VideoMAEError)


class OptionError(VideoMAEError, kind="usage"):
    """An option or an argument that is invalid regardless of what the files contain (CLI exit code 2)."""


class FrameNumberError(OptionError, IndexError):
    """A frame was requested that the video does not have, or no frame at all."""


def check_choice(
    setting: str, value: object, choices: Iterable[str], *, what: str | None = None, last: str = ", "
) -> None:
    """Raise OptionError for a value of `setting` that is none of `choices`.

    what: the words for the setting, by default its name; last: what separates the last choice, ", " or " or ".
    """
    *most, end = choices
    if value not in (*most, end):
        known = last.join([", ".join(most), end] if most else [end])
        raise OptionError.about(
            setting, "unknown {what} {value!r}: choose {known}", what=what or setting, value=value, known=known
        )


# --- models -----------------------------------------------------------------------------------


class ConfigError(VideoMAEError, kind="config"):
    """A model configuration that is invalid or contradicts itself."""


class ModelInputError(VideoMAEError, kind="model_input"):
    """A tensor handed to a model has the wrong shape, type or mask."""


class CheckpointError(VideoMAEError, kind="checkpoint"):
    """A file that is not a checkpoint, is damaged, would run code when loaded, or doesn't match its configuration."""


class ModelNotFoundError(VideoMAEError, kind="model_not_found"):
    """A model name that is neither bundled, nor on disk, nor reachable on the hub."""


class ModelOfflineError(ModelNotFoundError):
    """A model that is not in the local cache while the hub can't be reached.

    hub_id: the model; revisions: those of its revisions that are cached.
    """

    def __init__(
        self,
        reason: str,
        *,
        hub_id: str = "",  # pickle calls with the reason only
        revisions: tuple[str, ...] = (),
        remedy: str | Wording = "",
        joined: str = ": ",
    ) -> None:
        super().__init__(reason, subject=hub_id, remedy=remedy, joined=joined)
        self.hub_id, self.revisions = hub_id, revisions


class DownloadError(VideoMAEError, kind="download"):
    """A download from the hub failed: network, permission, unknown revision, disk space, corrupt data."""


class WrongHubError(ModelOfflineError, DownloadError, kind="download"):
    """A model that is not in the local cache while something else answers in the hub's place, such as a page to log in."""


class ModelOutputError(VideoMAEError, kind="model_output"):
    """The model's scores are NaN or infinite: damaged weights, or a dtype whose range is too small for them."""


def scores_not_numbers(model: str) -> ModelOutputError:
    """Make the error for a model whose scores are NaN or infinite."""
    return ModelOutputError.about(model, "{subject} gives scores that are not numbers: its weights are damaged")


class ModelMemoryError(VideoMAEError, kind="memory", retryable=True):
    """The device has too little memory for a batch of clips."""


# --- videos -----------------------------------------------------------------------------------


class VideoError(VideoMAEError, kind="video"):
    """Something is wrong with one video file. A batch records the failure and goes on with the other files."""


class VideoNotFoundError(VideoError, kind="not_found"):
    """The path does not exist, or is not a regular file or a directory with videos in it."""


class VideoFetchError(VideoError, kind="fetch", retryable=True):
    """A video in object storage could not be downloaded: no permission, no server, or the transfer was interrupted."""


class NotAVideoError(VideoError, kind="not_a_video"):
    """The file exists but contains no video: it is text, an archive, audio only, or empty."""


class DecodeError(VideoError, kind="decode"):
    """The file is a video, but no frame, or not the requested frame, could be decoded."""


class FileChangedError(VideoError, kind="changed", retryable=True):
    """The file was written to, replaced or removed while it was being read."""


class DecodeTimeoutError(VideoError, kind="timeout", retryable=True):
    """Decoding took longer than the time limit and was stopped."""


class DecoderCrashError(VideoError, kind="decoder_crash"):
    """The process that decoded the file died."""


class DecoderKilledError(DecoderCrashError, retryable=True):
    """The process that decoded the file was killed from outside, for example by the kernel's out-of-memory killer."""


class DecoderMemoryError(VideoError, kind="memory", retryable=True):
    """Decoding the file takes more memory than a decoder is allowed."""


# --- outputs and surroundings -----------------------------------------------------------------


class OutputError(VideoMAEError, kind="output"):
    """The output can't be written: it exists already or is a folder, the disk is full, or there is no permission."""


class OutputUnavailableError(OutputError, retryable=True):
    """The storage of the output can't be reached or fails, which may pass, or be otherwise on another machine."""


def not_written(path: object, error: OSError) -> OutputError:
    """Make the error for a file that the system refused to write."""
    return OutputError.about(path, "can't write {subject}: {reason}", reason=error.strerror or error)


class StorageError(VideoMAEError, kind="storage"):
    """A request to object storage failed: no permission, no server, or an invalid address."""


class StorageUnavailableError(StorageError, retryable=True):
    """A server of object storage can't be reached or is too busy, which may pass."""


class ObjectNotFoundError(StorageError, kind="object_not_found"):
    """There is no such object, folder or bucket."""


class MachineError(VideoMAEError, kind="machine", retryable=True):
    """This machine ran out of a resource, through no fault of any file: open files, processes, memory, space in TMPDIR.

    It stops a batch, so that no good file is recorded as failed because of it.
    """


class DependencyError(VideoMAEError, kind="dependency"):
    """A required package or system library is missing or can't be imported."""


class ClusterError(VideoMAEError, kind="cluster"):
    """A cluster can't be reached, its machines don't suit the job, or work was lost for good."""


class EmbeddingsError(VideoMAEError, kind="embeddings"):
    """A file contains no embeddings, or embeddings that can't be compared with the others."""


class TrainingError(VideoMAEError, kind="training"):
    """Training can't continue: NaN loss, too little memory, or a damaged saved state. What was saved is kept."""


class DatasetError(VideoMAEError, kind="dataset"):
    """Labelled data can't be read, contradicts itself, or leaves no examples to learn from."""


def failure_kinds() -> tuple[str, ...]:
    """Return every `kind` that a file's failure record may have, in alphabetical order."""
    classes: list[type[VideoMAEError]] = [VideoError]
    for one in classes:
        classes += one.__subclasses__()
    # A file can also fail because of the model or storage. Earlier versions recorded failures of the machine as well.
    classes += [ModelOutputError, ModelMemoryError, StorageError, ObjectNotFoundError, MachineError, DependencyError]
    return tuple(sorted({one.kind for one in classes}))
