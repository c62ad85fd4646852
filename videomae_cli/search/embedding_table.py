"""Reads embeddings of any format as checked blocks of unit vectors, in flat memory."""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.content import EMBEDDINGS, content_in, holds_videos
from videomae_cli.errors import EmbeddingsError, OutputError, Wording, say
from videomae_cli.filenames import partial_folder
from videomae_cli.results import path_of
from videomae_cli.writers import copied
from videomae_cli.writers.vector_reading import DAMAGE, INDEX, PART, PARTIAL, EmbeddingFile, open_embeddings

Vectors = npt.NDArray[np.float32]
_MAKES = Wording("{@embed_to:vectors.parquet} makes a file of them")
_NUMBERS = ("index", "clip", "start", "end")  # the fields of `Row` after the path, in order
# The only columns read: the others of a wide table would take most of the time.
_COLUMNS = ("path", "path_bytes", "embedding", "model", "fingerprint", "t", *_NUMBERS)


@dataclass(frozen=True, slots=True)
class Row:
    """The origin of one vector. index: the file's place in its job; clip, start, end (seconds); None if unknown."""

    path: str
    index: int | None = None
    clip: int | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class VectorBlock:
    """Consecutive rows of a table. vectors: (n, D) float32 of length 1; a zero vector stays zero."""

    vectors: Vectors
    rows: list[Row]


class EmbeddingTable:
    """An opened file of embeddings. After a full pass over `blocks`, `failed` counts the files without a vector.

    file: a path, or the address of an object or of a cluster's folder, which is copied to TMPDIR as long as this lives;
    settings: those of the job that made it, as far as the file says; model, fingerprint: common to all rows. Raises
    EmbeddingsError if the file is missing, holds no embeddings, or holds some that can't be compared; StorageError.
    """

    def __init__(self, file: Path | str) -> None:
        self.file = file
        self._place = copied(file, PART, PARTIAL) if isinstance(file, str) else file
        if self._place is file:
            self._look()
            return
        remove = weakref.finalize(self, shutil.rmtree, self._place.parent, ignore_errors=True)
        try:
            self._look()
        except BaseException:
            remove()
            raise

    def _look(self) -> None:
        """Open the file and read its first block. Raises EmbeddingsError."""
        self._source = self._open()
        self.model = self._same("model", None, _texts([self.settings.get("model")]))
        self.fingerprint = self._same("fingerprint", None, _texts([self.settings.get("fingerprint")]))
        self.dimensions = 0
        self.failed = 0
        if self.settings.get("pool") in ("tokens", "time"):
            raise self._slots()
        # Read the first block now, so that a bad file is reported before any work is done.
        if next(self.blocks(), None) is None:
            why = f": all {self.failed} files failed" if self.failed else ""
            raise EmbeddingsError.about(self.file, "{subject} holds no vectors{why}", why=why)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that `videomae embed` recorded."""
        return self._source.settings

    def blocks(self) -> Iterator[VectorBlock]:
        """Yield the vectors block by block, first row to last; blocks without vectors are skipped."""
        self.failed = 0
        try:
            for batch in self._source.batches(_COLUMNS):
                records = [record for record, present in zip(batch.rows, batch.present, strict=True) if present]
                self.failed += len(batch.rows) - len(records)
                if records:
                    self._check(records, batch.vectors.shape[1])
                    rows = [_row(record) for record in records]
                    yield VectorBlock(self._unit(batch.vectors, rows), rows)
        except (OSError, *DAMAGE) as error:
            raise self._unreadable(error, "can't read embeddings from {subject}: {error}") from None

    def records(self, *, vectors: bool = True) -> Iterator[tuple[dict[str, Any], npt.NDArray[Any] | None]]:
        """Yield every row with all its columns and its vector (D,) as stored: None for a failed file, and without `vectors`."""
        try:
            for batch in self._source.batches(vectors=vectors):
                yield from batch.pairs()
        except (OSError, *DAMAGE) as error:
            raise self._unreadable(error, "can't read embeddings from {subject}: {error}") from None

    def _open(self) -> EmbeddingFile:
        try:
            return open_embeddings(self._place)
        except OutputError as error:
            raise error.rename(str(self._place), str(self.file).rstrip("/")) from None
        except FileNotFoundError:
            raise EmbeddingsError(self._absent(), subject=str(self.file)) from None
        except (OSError, *DAMAGE) as error:
            raise self._unreadable(error, "{subject} holds no embeddings of videomae embed: {error}") from None

    def _absent(self) -> str:
        folder = filesystem.is_folder(self._place)
        wanted = self._place / INDEX if folder else self._place
        if filesystem.is_there(partial_folder(wanted)):
            return f"{self.file} is not complete: run its videomae embed again with --resume"
        if folder and holds_videos(self._place):
            return say("{file} is a folder of videos, not of embeddings; {makes}", file=self.file, makes=_MAKES)
        if folder:
            return f"{self.file} is a folder without {INDEX}: give an output of videomae embed"
        return say("there is no file {file}: {@embed_to:{file}} makes it", file=self.file)

    def _unreadable(self, error: Exception, damaged: str) -> EmbeddingsError:
        if not isinstance(error, OSError):
            content = content_in(self._place)
            if content is None or content is EMBEDDINGS or content.family in ("document", "archive"):
                return EmbeddingsError.about(self.file, damaged, error=error, remedy=_MAKES, joined="; ")
            what = "not of videomae embed" if content.family == "output" else "not embeddings"
            return EmbeddingsError.about(
                self.file,
                "{subject} is {content}, {what}",
                content=content.words,
                what=what,
                remedy=_MAKES,
                joined="; ",
            )
        reason = error.strerror or error
        place = self.file if self._place is not self.file else error.filename or self.file
        return EmbeddingsError.about(place, "can't read {subject}: {reason}", reason=reason)

    def _check(self, records: list[dict[str, Any]], dimensions: int) -> None:
        if any(record.get("t") is not None for record in records):
            raise self._slots()
        if dimensions == 0 or dimensions != (self.dimensions or dimensions):
            reason = "{subject} holds vectors of {before} and {now} values: they can't be compared"
            raise EmbeddingsError.about(self.file, reason, before=self.dimensions or "no", now=dimensions)
        self.dimensions = dimensions
        self.model = self._same("model", self.model, _texts(record.get("model") for record in records))
        self.fingerprint = self._same(
            "fingerprint", self.fingerprint, _texts(record.get("fingerprint") for record in records)
        )

    def _same(self, what: str, before: str | None, now: frozenset[str]) -> str | None:
        """Return the value that all rows so far share; None if no row has one.

        what: its name in messages; before: the value of earlier rows; now: the values of further rows. Raises
        EmbeddingsError for two values, since such vectors can't be compared.
        """
        values = sorted(now | ({before} if before else set()))
        if len(values) > 1:
            raise EmbeddingsError.about(
                self.file,
                "{subject} holds vectors of more than one {what} ({first}, {second}): only vectors made alike "
                "can be compared",
                what=what,
                first=values[0],
                second=values[1],
            )
        return values[0] if values else None

    def _slots(self) -> EmbeddingsError:
        return EmbeddingsError.about(
            self.file,
            "{subject} holds a vector for every token or time slot",
            remedy=Wording("make one for each file or clip, with {@pool:mean}"),
        )

    def _unit(self, vectors: npt.NDArray[Any], rows: list[Row]) -> Vectors:
        try:
            return unit(vectors)
        except NotFiniteError as error:
            name = rows[error.row].path
            raise EmbeddingsError.about(
                self.file, "{subject}: the vector of {name} holds values that are no numbers", name=name
            ) from None


def _row(record: Mapping[str, Any]) -> Row:
    """Make a `Row` of any tool's record: values of the wrong type become None. Raises ValueError without a path."""
    if record.get("path") is None:
        raise ValueError("it has a row without a path")
    index, clip, start, end = (_number(record.get(name)) for name in _NUMBERS)
    return Row(
        path=_storable(path_of(dict(record))),
        index=None if index is None else int(index),
        clip=None if clip is None else int(clip),
        start=start,
        end=end,
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _texts(values: Iterable[Any]) -> frozenset[str]:
    """Return the distinct non-empty strings among some values."""
    return frozenset(_storable(value) for value in values if isinstance(value, str) and value)


def _storable(text: str) -> str:
    """Replace lone surrogates, which JSON may hold but file names and outputs can't."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


class NotFiniteError(ValueError):
    """Raised for a vector with NaN or infinity; row: its index."""

    def __init__(self, row: int) -> None:
        super().__init__(f"vector {row} is not finite")
        self.row = row


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Scale vectors (n, D) to length 1, as float32; zero stays zero. Raises NotFiniteError."""
    # Always a copy. float64 stays float64 until normalised, as large values would overflow float32.
    values = vectors.astype(np.promote_types(vectors.dtype, np.float32))
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise NotFiniteError(int(bad.argmax()))
    # Divide by the largest value first: squares of extreme values would overflow or underflow.
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    np.divide(values, largest, out=values, where=largest > 0)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    np.divide(values, length, out=values, where=length > 0)
    return values.astype(np.float32, copy=False)
