"""What the videos of a job were like when it began: columns of OUT/_list.parquet, by which --resume sees that some have changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from videomae_cli import storage
from videomae_cli.storage import ObjectStamp
from videomae_cli.storage.manifests import load_pyarrow
from videomae_cli.video.clip_names import ClipName

# Each object costs a request, and a job of millions shall not wait for hours before it begins.
MOST_OBJECTS = 20_000
# Files of a disk that are looked at together, which may be one across a network, and names for one thread.
_AT_ONCE, _EACH = 16, 256
_COLUMNS = ("size", "changed", "etag")

Look = Callable[[Sequence[str]], Sequence[ObjectStamp | None]]


@dataclass(frozen=True)
class Changes:
    """Sources that are not what they were. count: how many; first: the name of one of them."""

    count: int
    first: str


def looker(names: Sequence[str]) -> Look:
    """Return what looks at sources of a list: at all files on a disk, and at objects unless there are very many."""
    few = len(names) <= MOST_OBJECTS

    def look(some: Sequence[str]) -> Sequence[ObjectStamp | None]:
        stored = storage.stamps(name for name in some if few and storage.is_address(name))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videomae-sources") as pool:
            parts = [some[at : at + _EACH] for at in range(0, len(some), _EACH)]
            found = list(chain.from_iterable(pool.map(lambda part: [_stamp(name) for name in part], parts)))
        return [stored.get(name) or here for name, here in zip(some, found, strict=True)]

    return look


def _stamp(name: str) -> ObjectStamp | None:
    if "://" in name:
        return None
    try:
        status = os.stat(ClipName.parse(name).place)  # noqa: PTH116 - as the name is written
    except (OSError, ValueError):  # such as a clip in an archive
        return None
    return ObjectStamp(status.st_size, status.st_mtime_ns)


def known_stamps(stream: BinaryIO, most: int) -> Iterator[tuple[list[str], list[ObjectStamp | None]]]:
    """Yield the names in a stored list, up to `most`, and what is known of them, some at a time; nothing for a list without.

    Raises ValueError if it is damaged.
    """
    pa, parquet = load_pyarrow()
    try:
        with parquet.ParquetFile(stream) as table:
            if not {*_COLUMNS} <= {*table.schema_arrow.names}:
                return
            for batch in table.iter_batches(columns=["path", *_COLUMNS]):
                rows = batch.slice(0, most)
                most -= rows.num_rows
                times = rows.column("changed").cast(pa.int64()).to_pylist()
                cells = zip(rows.column("size").to_pylist(), times, rows.column("etag").to_pylist(), strict=True)
                yield rows.column("path").to_pylist(), [_read(*cell) for cell in cells]
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None


def _read(size: int | None, changed: int | None, etag: str | None) -> ObjectStamp | None:
    return None if size is None else ObjectStamp(size, changed, etag)


def changes(stream: BinaryIO, most: int, look: Look) -> Changes | None:
    """Compare what is known of the sources in a stored list with what they are now. Those that are gone have not changed.

    Raises ValueError if the list is damaged.
    """
    count, first = 0, ""
    for names, before in known_stamps(stream, most):
        for name, then, now in zip(names, before, look(names), strict=True):
            if then is not None and now is not None and _differ(then, now):
                count, first = count + 1, first or name
    return Changes(count, first) if count else None


def _differ(then: ObjectStamp, now: ObjectStamp) -> bool:
    if then.etag and now.etag:  # of the content: an object that was written again as it was is the same
        return then.etag != now.etag
    return (then.size, then.changed) != (now.size, now.changed)


def stamp_columns(stamps: Sequence[ObjectStamp | None]) -> dict[str, Any]:
    """Return the columns that a list has for these sources: size in bytes, time of the last change, and ETag."""
    pa, _ = load_pyarrow()
    times = pa.array([stamp and stamp.changed for stamp in stamps], pa.int64())
    return {
        "size": pa.array([stamp and stamp.size for stamp in stamps], pa.int64()),
        "changed": times.cast(pa.timestamp("ns", tz="UTC")),
        "etag": pa.array([stamp and stamp.etag for stamp in stamps], pa.string()),
    }
