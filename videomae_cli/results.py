"""What the tool says of one video, as data: stable, versioned, and the same for every output format.

`as_dict` is the documented record (README, "Output"); `SCHEMA_VERSION` changes when a field changes its meaning.
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
        """Return the prediction as records hold it."""
        return {"label": self.label, "label_id": self.label_id, "score": round(self.score, 6)}


@dataclass(frozen=True)
class Failure:
    """Why a file has no result: a stable kind (`VideoMAEError.kind`) and a line for people.

    retryable: whether the file may fare better another time (`VideoMAEError.retryable`); exception: the error itself, without
    the frames of its traceback, for who wants to raise it; not part of any record.
    """

    kind: str
    message: str
    retryable: bool = False
    exception: VideoMAEError | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, error: VideoMAEError) -> Failure:
        """The record of an error."""
        return cls(error.kind, str(error), error.retryable, error.with_traceback(None))

    def naming(self, path: str) -> str:
        """The message, with the file in front unless the message is about it and has it already."""
        return self.exception.naming(path) if self.exception is not None else f"{path}: {self.message}"

    def as_dict(self) -> Record:
        """Return the failure as records hold it."""
        return {"kind": self.kind, "message": as_utf8(self.message), "retryable": self.retryable}


@dataclass(frozen=True)
class Source:
    """What was read of a file. frames[c][t]: the index of frame t of clip c. timestamps: the same frames in seconds."""

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


@dataclass(frozen=True)
class Stamp:
    """What a record says of the job it belongs to.

    index: the file's place in the whole list of the job, from 0; shard: "I/N" where the list was split;
    fingerprint: of model and settings (`jobs.settings`); version: of this package.
    """

    index: int = 0
    fingerprint: str | None = None
    version: str | None = None
    shard: str | None = None


@dataclass(frozen=True)
class Result:
    """What a command found in one video, or the reason why it found nothing. Subclasses add what they found.

    seconds: decoding and model together; views: clips x crops that went through the model.
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
        """The word for how it went: "ok" or "error"."""
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
        """Raise the VideoMAEError that is the reason why there is no result; do nothing where there is one."""
        if self.error is not None:
            error = self.error.exception or VideoMAEError(self.error.message)
            error.subject = error.subject or self.path
            raise error

    def content(self) -> Record:
        """The fields of this kind of result."""
        return {}

    def _clips(self) -> Record:
        """Which frames the model saw."""
        source = self.source
        return {
            "frames": [list(clip) for clip in source.frames] if source else [],
            "timestamps": [[round(t, 4) for t in clip] for clip in source.timestamps] if source else [],
        }

    def as_dict(self, stamp: Stamp = Stamp()) -> Record:
        """The documented record, keys in a fixed order."""
        source = self.source
        return {
            "schema_version": SCHEMA_VERSION,
            "index": stamp.index,
            **path_fields(self.path),
            "status": self.status,
            "model": self.model,
            "revision": self.revision,
            "fingerprint": stamp.fingerprint,
            "version": stamp.version,
            "shard": stamp.shard,
            **self.content(),
            **self._clips(),
            "sampling": source.sampling if source else None,
            "decoder": source.decoder if source else None,
            "num_frames": source.num_frames if source else None,
            "fps": round(source.fps, 4) if source else None,
            "duration": round(source.duration, 4) if source else None,
            "width": source.width if source else None,
            "height": source.height if source else None,
            "pixels": source.pixels if source else None,
            "crops": source.crops if source else None,
            "warnings": list(self.warnings),
            "error": self.error.as_dict() if self.error else None,
        }


@dataclass(frozen=True)
class Thumbnail:
    """A frame as the model saw it: (h, w, 3) uint8 RGB, and its seconds after the first frame."""

    time: float
    image: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Classification(Result):
    """One video classified, best label first, or measured by a regression model.

    values: of each output by its name, where the model gives values instead of labels; predictions are then empty;
    thumbnails: some of the frames, where they were asked for; they are in no record.
    """

    predictions: tuple[Prediction, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    values: Mapping[str, float] | None = None

    @property
    def label(self) -> str | None:
        """The best label; None of a regression model, and where there is an error."""
        return self.predictions[0].label if self.predictions else None

    @property
    def score(self) -> float | None:
        """The score of the best label, from 0 to 1; None where there is no label."""
        return self.predictions[0].score if self.predictions else None

    @property
    def value(self) -> float | None:
        """The value that a regression model with a single output gives; None of every other model."""
        return next(iter(self.values.values())) if self.values is not None and len(self.values) == 1 else None

    def content(self) -> Record:
        return {
            "predictions": [p.as_dict() for p in self.predictions],
            "value": None if self.value is None else _float32(self.value),
            "values": None if self.values is None else {name: _float32(value) for name, value in self.values.items()},
        }


def _float32(value: float) -> float:
    """Round to the seven digits that a float32 has; zero has no sign."""
    return float(f"{value:.7g}") + 0.0


@dataclass(frozen=True)
class Window:
    """One look of the model at a stretch of a video: seconds after its first frame, and labels, best first."""

    start: float
    end: float
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True)
class Segment:
    """A stretch of a video under one label. start, end: seconds after the first frame; score: mean over the stretch.

    label, label_id and score are None where no label reached the threshold.
    """

    start: float
    end: float
    label: str | None = None
    label_id: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class Timeline(Result):
    """What happens when in one video. `source.duration` is of the file, `source.frames` is empty: there are too many.

    start, end: the stretch that was looked at; with an `error` it ends where the decoder broke, and the segments hold
    what came before. window, hop: seconds. multi_label: segments are of independent labels and may overlap; otherwise
    they tile the stretch, in order, no two neighbours alike. segments: ascending by start. windows: all of them where
    they were asked for, else none. thumbnails: some frames spread over the stretch, where they were asked for; they
    are in no record. views: how many windows went through the model.
    """

    start: float = 0.0
    end: float = 0.0
    window: float = 0.0
    hop: float = 0.0
    multi_label: bool = False
    segments: tuple[Segment, ...] = ()
    windows: tuple[Window, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()

    def content(self) -> Record:
        return {
            "start": round(self.start, 4),
            "end": round(self.end, 4),
            "window": round(self.window, 4),
            "hop": round(self.hop, 4),
            "multi_label": self.multi_label,
            "segments": [
                {
                    "start": round(s.start, 4),
                    "end": round(s.end, 4),
                    "label": s.label,
                    "label_id": s.label_id,
                    "score": None if s.score is None else round(s.score, 6),
                }
                for s in self.segments
            ],
            "windows": [
                {
                    "start": round(w.start, 4),
                    "end": round(w.end, 4),
                    "predictions": [p.as_dict() for p in w.predictions],
                }
                for w in self.windows
            ],
        }

    def _clips(self) -> Record:
        return {}


@dataclass(frozen=True)
class VectorPlace:
    """What one vector stands for: a file (all None), a clip, a tubelet slot t of it, or one token at (t, h, w).

    start, end: seconds of the first and the last frame in it.
    """

    start: float
    end: float
    clip: int | None = None
    t: int | None = None
    h: int | None = None
    w: int | None = None


@dataclass(frozen=True)
class Embedding(Result):
    """The vectors of one video: (R, D) in the type they are stored in, and what each of them stands for."""

    vectors: npt.NDArray[Any] | None = None
    places: tuple[VectorPlace, ...] = ()

    def content(self) -> Record:
        """`rows`: the places; `vectors`: the array itself, which no JSON holds: writers know what to do with it."""
        rows = [
            {"clip": p.clip, "t": p.t, "h": p.h, "w": p.w, "start": round(p.start, 4), "end": round(p.end, 4)}
            for p in self.places
        ]
        return {"rows": rows, "vectors": self.vectors}


def path_fields(path: str) -> dict[str, str]:
    """`path`, and `path_bytes` (base64) only where the name is not UTF-8 and so can't be told in `path` without loss."""
    raw = os.fsencode(path)
    try:
        return {"path": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": as_utf8(path), "path_bytes": base64.b64encode(raw).decode("ascii")}


def path_of(record: Record) -> str:
    """The path of a record as the system has it, whatever bytes it holds: the inverse of `path_fields`."""
    raw = record.get("path_bytes")
    return os.fsdecode(base64.b64decode(raw)) if raw else str(record["path"])


def file_fields(name: str | None) -> dict[str, str | None]:
    """`file`, the name of a result below its folder, and `file_bytes` (base64) only where it is not UTF-8."""
    if name is None:
        return {"file": None}
    return {key.replace("path", "file"): value for key, value in path_fields(name).items()}


def file_of(record: Record) -> str | None:
    """The name of a record's file as the system has it, or None where it has none."""
    raw, name = record.get("file_bytes"), record.get("file")
    try:
        return os.fsdecode(base64.b64decode(raw)) if raw else name if isinstance(name, str) else None
    except (ValueError, TypeError):
        return None


def as_utf8(text: str) -> str:
    """`text` with what is no UTF-8 shown as the replacement character: odd bytes, and halves of characters from JSON."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return raw.decode("utf-8", "replace")
