"""A file of embeddings -> its vectors in blocks, of unit length, checked: whatever the format, and in flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.errors import EmbeddingsError
from videomae_cli.filenames import partial_folder
from videomae_cli.search.embedding_files import DAMAGE, INDEX, EmbeddingFile, open_source
from videomae_cli.search.pieces import Piece, Row, texts

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorBlock:
    """Some rows of a table. vectors: (n, D) float32 of length 1, or of zeros where a vector is zero."""

    vectors: Vectors
    rows: list[Row]


class EmbeddingTable:
    """An opened file. After a whole pass over `blocks`, `failed` is the number of files that have no vector.

    settings: what it was made with, as far as the file says; model, fingerprint: of its rows.
    Raises EmbeddingsError: no such file, no embeddings in it, or none that can be compared.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._source = self._open()
        self.model = self._same("model", None, texts([self.settings.get("model")]))
        self.fingerprint = self._same("fingerprint", None, texts([self.settings.get("fingerprint")]))
        self.dimensions = 0
        self.failed = 0
        if self.settings.get("pool") in ("tokens", "time"):
            raise self._slots()
        # What is wrong from the first row on is told before any work is done.
        if next(self.blocks(), None) is None:
            why = f": all {self.failed} files failed" if self.failed else ""
            raise EmbeddingsError(f"{file} holds no vectors{why}")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that `videomae embed` recorded."""
        return self._source.settings

    def blocks(self) -> Iterator[VectorBlock]:
        """Yield the vectors block by block, first row to last; blocks without a vector are left out."""
        self.failed = 0
        try:
            for piece in self._source.pieces():
                self._check(piece)
                self.failed += piece.failed
                if piece.rows:
                    yield VectorBlock(self._unit(piece), piece.rows)
        except OSError as error:
            raise self._unreadable(error) from None
        except DAMAGE as error:
            raise EmbeddingsError(f"can't read embeddings from {self.file}: {error}") from None

    def _open(self) -> EmbeddingFile:
        try:
            return open_source(self.file)
        except FileNotFoundError:
            raise EmbeddingsError(self._absent()) from None
        except OSError as error:
            raise self._unreadable(error) from None
        except DAMAGE as error:
            raise EmbeddingsError(f"{self.file} holds no embeddings of videomae embed: {error}") from None

    def _absent(self) -> str:
        folder = filesystem.is_folder(self.file)
        wanted = self.file / INDEX if folder else self.file
        if filesystem.is_there(partial_folder(wanted)):
            return f"{self.file} is not complete: run its videomae embed again with --resume"
        if folder:
            return f"{self.file} is a folder without {INDEX}: give an output of videomae embed"
        return f"there is no file {self.file}: videomae embed VIDEOS -o {self.file} makes it"

    def _unreadable(self, error: OSError) -> EmbeddingsError:
        return EmbeddingsError(f"can't read {error.filename or self.file}: {error.strerror or error}")

    def _check(self, piece: Piece) -> None:
        if piece.slots:
            raise self._slots()
        if not piece.rows:
            return
        dimensions = piece.vectors.shape[1]
        if dimensions == 0 or dimensions != (self.dimensions or dimensions):
            raise EmbeddingsError(
                f"{self.file} holds vectors of {self.dimensions or 'no'} and {dimensions} values: "
                "they can't be compared"
            )
        self.dimensions = dimensions
        self.model = self._same("model", self.model, piece.models)
        self.fingerprint = self._same("fingerprint", self.fingerprint, piece.fingerprints)

    def _same(self, what: str, before: str | None, now: frozenset[str]) -> str | None:
        """The one value that all rows have. Vectors of two models mean different things."""
        values = sorted(now | ({before} if before else set()))
        if len(values) > 1:
            raise EmbeddingsError(
                f"{self.file} holds vectors of more than one {what} ({values[0]}, {values[1]}): "
                "only vectors made alike can be compared"
            )
        return values[0] if values else None

    def _slots(self) -> EmbeddingsError:
        return EmbeddingsError(
            f"{self.file} holds a vector for every token or time slot",
            remedy="make one for each file or clip, with videomae embed --pool mean",
        )

    def _unit(self, piece: Piece) -> Vectors:
        try:
            return unit(piece.vectors)
        except NotFiniteError as error:
            name = piece.rows[error.row].path
            raise EmbeddingsError(f"{self.file}: the vector of {name} holds values that are no numbers") from None


class NotFiniteError(ValueError):
    """A vector with NaN or infinity in it; row: which one."""

    def __init__(self, row: int) -> None:
        super().__init__(f"vector {row} is not finite")
        self.row = row


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """(n, D) -> the same directions with length 1, as float32; zero stays zero. Raises NotFiniteError."""
    # A copy, always. Wide numbers stay wide until they are short: not all of them fit a float32.
    values = vectors.astype(np.promote_types(vectors.dtype, np.float32))
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise NotFiniteError(int(bad.argmax()))
    # The largest value first, or the squares of very large and very small ones would leave the type.
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    np.divide(values, largest, out=values, where=largest > 0)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    np.divide(values, length, out=values, where=length > 0)
    return values.astype(np.float32, copy=False)
