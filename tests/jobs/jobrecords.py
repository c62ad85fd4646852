"""Records for the tests of jobs, as real results make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videomae_cli.jobs import Part, Settings
from videomae_cli.results import Classification, Embedding, Failure, Prediction, Record, VectorPlace
from videomae_cli.writers import VectorLayout

SETTINGS = Settings("classify", "0.1.0", {"model": "tiny", "top_k": 5, "sampling": {"clips": None, "stride": 4}})


def record(place: int, *, part: Part | None = None, failed: bool = False, settings: Settings = SETTINGS) -> Record:
    """The record of file number `place` of a list, or of a part of it."""
    index = part.places[place] if part else place
    result = (
        Classification(f"{index}.mp4", "tiny", error=Failure("decode", "broken"))
        if failed
        else Classification(f"{index}.mp4", "tiny", predictions=(Prediction("run", 0, 0.5),))
    )
    return result.as_dict(settings.stamp(place, part))


def names(count: int) -> list[str]:
    """The list that these records are of."""
    return [f"{number}.mp4" for number in range(count)]


LAYOUT = VectorLayout(4, "float32", {"model": "tiny", "revision": None, "version": "0.1.0", "fingerprint": SETTINGS.fingerprint, "dimensions": 4, "storage": "float32"})  # fmt: skip


def vector(place: int, *, failed: bool = False) -> Record:
    """The record of an embedding, of another length for each file."""
    stamp = SETTINGS.stamp(place, None)
    if failed:
        return Embedding(f"{place}.mp4", "tiny", error=Failure("decode", "broken")).as_dict(stamp)
    rows = place % 3 + 1
    places = tuple(VectorPlace(float(row), row + 1.0, clip=row) for row in range(rows))
    return Embedding(f"{place}.mp4", "tiny", vectors=np.full((rows, 4), place / 7, np.float32), places=places).as_dict(stamp)  # fmt: skip


def format_of(out: Path) -> str:
    return "csv-wide" if out.name.endswith("wide.csv") else out.suffix[1:]


OUTPUTS = pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "wide.csv", "a.parquet", "vectors.jsonl", "vectors.npz", "vectors.parquet"]
)
