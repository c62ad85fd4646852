"""Files of embeddings for tests, written as `videomae embed` writes them, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomae_cli.files import whole_file
from videomae_cli.results import path_fields
from videomae_cli.writers import VectorLayout, make_vector_writer

FORMATS = ("parquet", "npz", "jsonl")
SETTINGS = {"model": "camera-motion", "revision": None, "fingerprint": "f" * 16, "version": "1", "pool": "mean"}


def write_table(
    file: Path,
    vectors: npt.ArrayLike,
    paths: Sequence[str] | None = None,
    *,
    storage: str = "float32",
    failures: Sequence[str] = (),
    clips: bool = False,
    **changes: Any,
) -> Path:
    """A row a vector; failures: files after them that have none. clips: rows of one path are clips of it."""
    values = np.asarray(vectors, np.float32).astype(storage)
    names = list(paths) if paths is not None else [f"archive/{number:05}.mp4" for number in range(len(values))]
    settings = {**SETTINGS, "dimensions": values.shape[1], "storage": storage, **changes}
    records = []
    for name in dict.fromkeys(names):
        rows = [number for number, other in enumerate(names) if other == name]
        places = [
            {
                "clip": place if clips else None,
                "t": None,
                "h": None,
                "w": None,
                "start": 2.0 * place,
                "end": 2.0 * place + 1,
            }
            for place in range(len(rows))
        ]
        records.append(
            {**_shared(name, settings), "status": "ok", "error": None, "rows": places, "vectors": values[rows]}
        )
    error = {"kind": "not_a_video", "message": "no video"}
    records += [
        {**_shared(name, settings), "status": "error", "error": error, "rows": [], "vectors": None} for name in failures
    ]
    layout = VectorLayout(values.shape[1], storage, settings)
    with whole_file(file) as sink:
        writer = make_vector_writer(file.suffix[1:], sink, layout, rows=len(values))
        for number, record in enumerate(records):
            writer.write({**record, "index": number})
        writer.finish()
    return file


def _shared(path: str, settings: dict[str, Any]) -> dict[str, Any]:
    told = {name: settings[name] for name in ("model", "revision", "fingerprint", "version")}
    return {**path_fields(path), **told, "warnings": []}


def bunches(
    count: int, dimensions: int = 32, *, centres: int = 8, spread: float = 0.3, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Vectors around some centres, as a model's are."""
    random = np.random.default_rng(seed)
    middle = random.standard_normal((centres, dimensions))
    noise = spread * random.standard_normal((count, dimensions))
    return (middle[random.integers(0, centres, count)] + noise).astype(np.float32)
