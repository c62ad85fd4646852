"""Converts decoded clips to rows of a pyarrow table and back: pixels as raw bytes, everything else pickled.

A row is a group of consecutive files of the list, each decoded or failed. Pixels are copied once, into the row, and
used without copying on arrival.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from videomae_cli.cluster.job_log import Effort
from videomae_cli.errors import VideoMAEError
from videomae_cli.video import DecodedVideo

Outcome = DecodedVideo | VideoMAEError
Item = TypeVar("Item")
FIRST, ABOUT, PIXELS = "first", "about", "pixels"


@dataclass(frozen=True)
class Refusal:
    """Why a machine hands files back, up to `stop`, for another to try. node: Ray's name of the machine; reason: what it can't,
    as the end of a sentence; lost: whether that goes for all files, so that it should get no more work."""

    node: str
    stop: int
    reason: str
    lost: bool


@dataclass(frozen=True)
class Group(Generic[Item]):
    """Consecutive files of the list, starting at index `first`: (path, outcome) each; or none, and why they are handed back.
    effort: what decoding them took, or all of it."""

    first: int
    files: tuple[tuple[str, Item], ...]
    refusal: Refusal | None = None
    effort: Effort | None = None

    @property
    def stop(self) -> int:
        """The index after the group's last file."""
        return self.refusal.stop if self.refusal else self.first + len(self.files)


def to_table(group: Group[Outcome]) -> Any:
    """Convert a group to a pyarrow table with one row."""
    import pyarrow as pa

    about: list[tuple[str, Outcome, tuple[int, ...] | None]] = []
    arrays = []
    for path, outcome in group.files:
        if isinstance(outcome, DecodedVideo):
            about.append((path, outcome.without_frames(), outcome.frames.shape))
            arrays.append(outcome.frames.reshape(-1))
        else:
            about.append((path, outcome, None))
    pixels = np.concatenate(arrays) if arrays else np.zeros(0, np.uint8)
    offsets = pa.py_buffer(np.array([0, len(pixels)], np.int64))
    column = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)])
    return pa.table(
        {
            FIRST: pa.array([group.first], pa.int64()),
            ABOUT: pa.array([pickle.dumps((about, group.refusal, group.effort))], pa.large_binary()),
            PIXELS: column,
        }
    )


def from_table(table: Any) -> Iterator[Group[Outcome]]:
    """Yield the groups in a table's rows; their frames are read-only."""
    columns = {name: table.column(name) for name in (FIRST, ABOUT, PIXELS)}
    for row in range(table.num_rows):
        pixels = np.frombuffer(columns[PIXELS][row].as_buffer(), np.uint8)
        files: list[tuple[str, Outcome]] = []
        at = 0
        about, refusal, effort = pickle.loads(columns[ABOUT][row].as_py())
        for path, outcome, shape in about:
            if shape is not None:
                size = int(np.prod(shape))
                outcome = replace(outcome, frames=pixels[at : at + size].reshape(shape))
                at += size
            files.append((path, outcome))
        yield Group(columns[FIRST][row].as_py(), tuple(files), refusal, effort)
