"""Result types: what a command found out about one video, independent of the output format.

`as_dict` is the documented record (docs/outputs.md); `SCHEMA_VERSION` changes when a field changes its meaning.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from videomae_cli.errors import VideoMAEError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA_VERSION = 1

Record = dict[str, Any]


@dataclass(frozen=True)
class Prediction:
    """One label with its score: a probability in [0, 1]."""

    label: str
    label_id: int
    score: float

    def as_dict(self) -> Record:
        """Return the prediction as it appears in records."""
        return {"label": self.label, "label_id": self.label_id, "score": round(self.score, 6)}


@dataclass(frozen=True)
class Failure:
    """Why a file has no result: a stable kind (`VideoMAEError.kind`) and a one-line message.

    retryable: whether trying again may succeed (`VideoMAEError.retryable`); exception: the error itself, without its
    traceback, for callers that want to raise it; not part of any record.
    """

    kind: str
    message: str
    retryable: bool = False
    exception: VideoMAEError | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, error: VideoMAEError) -> Failure:
        """Make the failure that describes an error."""
        return cls(error.kind, str(error), error.retryable, error.with_traceback(None))

    def naming(self, path: str) -> str:
        """The message, prefixed with the file's name unless it names the file already."""
        return self.exception.naming(path) if self.exception is not None else f"{path}: {self.message}"

    def as_dict(self) -> Record:
        """Return the failure as it appears in records."""
        return {"kind": self.kind, "message": as_utf8(self.message), "retryable": self.retryable}


@dataclass(frozen=True)
class Source:
    """What was read from a file: frames[c][t] is the index of frame t of clip c; timestamps are those frames' seconds."""

    decoder: str
    sampling: str
    frames: tuple[tuple[int, ...], ...]
    timestamps: tuple[tuple[float, ...], ...]
    crops: int
    num_frames: int
    fps: float
    duration: float
    width: int
    height: int
    pixels: str = "display"


# The fields of a record that say how a file was read.
_OF_SOURCE = ("sampling", "decoder", "num_frames", "fps", "duration", "width", "height", "pixels", "crops")


@dataclass(frozen=True)
class Stamp:
    """The fields of a record that identify the job it belongs to.

    index: the file's position in the job's list, from 0; shard: "I/N" if the list was split; fingerprint: a hash of
    model and settings (`jobs.settings`); version: of this package; listed: the list that was split (`jobs.shards`); engine:
    what ran the model, and in which number format, such as "openvino bfloat16".
    """

    index: int = 0
    fingerprint: str | None = None
    version: str | None = None
    shard: str | None = None
    listed: str | None = None
    engine: str | None = None


def engine_of(settings: Mapping[str, Any]) -> str | None:
    """Return a record's `engine` from the settings of its job: what ran the model, and in which number format."""
    engine, dtype = settings.get("engine"), settings.get("dtype")
    return f"{engine} {dtype}" if engine and dtype else None


@dataclass(frozen=True)
class Result:
    """What a command found in one video, or the error that prevented it. Subclasses add their fields.

    seconds: time for decoding and model together; views: number of clips x crops that went through the model.
    """

    path: str
    model: str
    revision: str | None = None
    source: Source | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    views: int = 0
    error: Failure | None = None

    @property
    def status(self) -> str:
        """The outcome for this video: "ok" or "error"."""
        return "error" if self.error else "ok"

    @property
    def frames(self) -> tuple[tuple[int, ...], ...]:
        """The frames that the model saw: `frames[c][t]` is the index in the file of frame t of clip c."""
        return self.source.frames if self.source else ()

    @property
    def timestamps(self) -> tuple[tuple[float, ...], ...]:
        """Seconds after the first frame of the file, for each of `frames`."""
        return self.source.timestamps if self.source else ()

    def raise_for_error(self) -> None:
        """Raise the VideoMAEError that prevented a result; do nothing if there is one."""
        if self.error is not None:
            error = self.error.exception or VideoMAEError(self.error.message, subject=self.path)
            error.subject = error.subject or self.path
            raise error

    def content(self) -> Record:
        """Return the record fields that only this kind of result has."""
        return {}

    def _clips(self) -> Record:
        """Return the record fields that say which frames the model saw."""
        source = self.source
        return {
            "frames": [list(clip) for clip in source.frames] if source else [],
            "timestamps": [[round(t, 4) for t in clip] for clip in source.timestamps] if source else [],
        }

    def as_dict(self, stamp: Stamp = Stamp()) -> Record:
        """Return the documented record, keys in a fixed order."""
        source = self.source
        return {
            "schema_version": SCHEMA_VERSION,
            "index": stamp.index,
            **path_fields(self.path),
            "status": self.status,
            "model": self.model,
            "revision": self.revision,
            "engine": stamp.engine,
            "fingerprint": stamp.fingerprint,
            "version": stamp.version,
            "shard": stamp.shard,
            **({"list": stamp.listed} if stamp.listed else {}),
            **self.content(),
            **self._clips(),
            **{name: getattr(self.source, name, None) for name in _OF_SOURCE},
            **({"fps": round(source.fps, 4), "duration": round(source.duration, 4)} if source else {}),
            "warnings": list(self.warnings),
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True)
class Thumbnail:
    """A frame as the model saw it, (h, w, 3) uint8 RGB, and its time in seconds after the first frame."""

    time: float
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Classification(Result):
    """The labels of one video, best first, or the values that a regression model gives it.

    values: output name -> value for a regression model, whose predictions are empty; thumbnails: some of the frames, if
    requested; they are not part of the record.
    """

    predictions: tuple[Prediction, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    values: Mapping[str, float] | None = None

    @property
    def label(self) -> str | None:
        """The best label; None for a regression model or after an error."""
        return self.predictions[0].label if self.predictions else None

    @property
    def score(self) -> float | None:
        """The score of the best label, from 0 to 1; None if there is no label."""
        return self.predictions[0].score if self.predictions else None

    @property
    def value(self) -> float | None:
        """The value that a regression model with a single output gives; None for every other model."""
        return next(iter(self.values.values())) if self.values is not None and len(self.values) == 1 else None

    def content(self) -> Record:
        return {
            "predictions": [p.as_dict() for p in self.predictions],
            "value": None if self.value is None else _float32(self.value),
            "values": None if self.values is None else {name: _float32(value) for name, value in self.values.items()},
        }


def _float32(value: float) -> float:
    """Round to the seven significant digits of a float32; -0.0 becomes 0.0."""
    return float(f"{value:.7g}") + 0.0


@dataclass(frozen=True)
class Window:
    """The predictions, best first, for one window of a timeline; start and end in seconds after the first frame."""

    start: float
    end: float
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with one label. start, end: seconds after the first frame; score: mean over the stretch.

    label, label_id and score are None if no label reached the threshold; unsure: whether there is a label whose score is so low
    that it is more of a guess (`SegmentRules.unsure_below`).
    """

    start: float
    end: float
    label: str | None = None
    label_id: int | None = None
    score: float | None = None
    unsure: bool = False


@dataclass(frozen=True)
class Timeline(Result):
    """The labelled segments of one video. `source.duration` is the file's; `source.frames` is empty (too many to list).

    start, end: the part that was analysed; with an `error` it ends where decoding failed, and the segments cover what
    came before. window, hop: seconds. multi_label: segments belong to independent labels and may overlap; otherwise
    they tile the analysed part in order, neighbours with different labels. segments: ascending by start. windows: all
    of them if requested, else none. thumbnails: frames spread over the analysed part if requested, not in the record;
    segment_frames: then some frames of each segment too: the one of its surest window first, then others in order.
    views: number of windows that went through the model.
    """

    start: float = 0.0
    end: float = 0.0
    window: float = 0.0
    hop: float = 0.0
    multi_label: bool = False
    segments: tuple[Segment, ...] = ()
    windows: tuple[Window, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    segment_frames: tuple[tuple[Thumbnail, ...], ...] = ()

    def content(self) -> Record:
        return {
            **_edges(self),
            "window": round(self.window, 4),
            "hop": round(self.hop, 4),
            "multi_label": self.multi_label,
            "segments": [
                {
                    **_edges(s),
                    "label": s.label,
                    "label_id": s.label_id,
                    "score": None if s.score is None else round(s.score, 6),
                    "unsure": s.unsure,
                }
                for s in self.segments
            ],
            "windows": [{**_edges(w), "predictions": [p.as_dict() for p in w.predictions]} for w in self.windows],
        }

    def _clips(self) -> Record:
        return {}


def _edges(part: Timeline | Segment | Window | VectorPlace) -> Record:
    return {"start": round(part.start, 4), "end": round(part.end, 4)}


@dataclass(frozen=True)
class VectorPlace:
    """What one vector represents: a file (all None), a clip, a tubelet position t in it, or one token at (t, h, w).

    start, end: times of its first and last frame in seconds, for a window those between which it lies; frames: the numbers of
    the first and last frame that a window shows.
    """

    start: float
    end: float
    clip: int | None = None
    t: int | None = None
    h: int | None = None
    w: int | None = None
    frames: tuple[int, int] | None = None

    def as_dict(self) -> Record:
        """Return the place as it appears in records."""
        shown = {} if self.frames is None else {"frames": list(self.frames)}
        return {"clip": self.clip, "t": self.t, "h": self.h, "w": self.w, **_edges(self), **shown}


@dataclass(frozen=True)
class Embedding(Result):
    """The vectors of one video, (R, D) in the dtype they are stored in, and what each row represents."""

    vectors: npt.NDArray[Any] | None = None
    places: tuple[VectorPlace, ...] = ()

    def content(self) -> Record:
        """Return `rows` (what each vector represents) and `vectors`, the array itself, which each writer stores its own way."""
        return {"rows": [place.as_dict() for place in self.places], "vectors": self.vectors}


def path_fields(path: str) -> dict[str, str]:
    """Return `path`, plus `path_bytes` (base64) only if the name is not UTF-8 and `path` would lose information."""
    try:
        raw = os.fsencode(path)
        return {"path": raw.decode("utf-8")}
    except UnicodeEncodeError:  # no file's name: half of a character, from a program
        return {"path": as_utf8(path)}
    except UnicodeDecodeError:
        return {"path": as_utf8(path), "path_bytes": base64.b64encode(raw).decode("ascii")}


def path_of(record: Record) -> str:
    """Return a record's path as the file system knows it, non-UTF-8 bytes included: the inverse of `path_fields`."""
    raw = record.get("path_bytes")
    return os.fsdecode(base64.b64decode(raw)) if raw else str(record["path"])


def file_fields(name: str | None) -> dict[str, str | None]:
    """Return `file`, a result's name relative to its folder, plus `file_bytes` (base64) only if it is not UTF-8."""
    if name is None:
        return {"file": None}
    return {key.replace("path", "file"): value for key, value in path_fields(name).items()}


def file_of(record: Record) -> str | None:
    """Return the name of a record's file as the file system knows it, or None if the record has none."""
    raw, name = record.get("file_bytes"), record.get("file")
    try:
        return os.fsdecode(base64.b64decode(raw)) if raw else name if isinstance(name, str) else None
    except (ValueError, TypeError):
        return None


def as_utf8(text: str) -> str:
    """Replace what is not valid UTF-8 (undecodable bytes, lone surrogates from JSON) by the replacement character."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return raw.decode("utf-8", "replace")
