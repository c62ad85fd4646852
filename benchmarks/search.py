"""Time and memory of the search over embeddings: `python benchmarks/search.py [--vectors N] [--index]`.

Random vectors with planted near-copies; prints seconds, the peak of resident memory, and how many of the planted pairs
were found.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from videomae_cli.search.duplicates import find_duplicates
from videomae_cli.search.embedding_table import EmbeddingTable
from videomae_cli.search.nearest import nearest

COPIES = 1000
GROUP = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--index", action="store_true", help="with faiss, whatever the number of vectors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        write_table(file, options.vectors, options.dimensions)
        table = EmbeddingTable(file)
        query = next(iter(table.blocks())).vectors[:1]
        began = time.perf_counter()
        nearest(table.blocks(), query, top_k=10)
        print(f"{options.vectors} vectors of {options.dimensions}: nearest {time.perf_counter() - began:.1f} s", end="")
        print(f", peak {peak():.0f} MB", flush=True)
        began = time.perf_counter()
        found = find_duplicates(table, 0.95, exact_limit=0 if options.index else 10**9)
        seconds = time.perf_counter() - began
        how = "exact" if found.exact else "index"
        files = sum(len(group) for group in found.groups)
        print(f"duplicates, {how}: {seconds:.1f} s, peak {peak():.0f} MB, {files} of {2 * COPIES} planted files found")


def write_table(file: Path, count: int, dimensions: int) -> None:
    """`count` vectors around 200 centres, as a model's are in bunches; the last `COPIES` are near-copies of the first."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, dimensions), dtype=np.float32)
    schema = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32(), dimensions))])
    with parquet.ParquetWriter(file, schema) as writer:
        originals = np.zeros((0, dimensions), np.float32)
        for start in range(0, count, GROUP):
            stop = min(start + GROUP, count)
            block = random.standard_normal((stop - start, dimensions), dtype=np.float32)
            block += 1.5 * centres[random.integers(0, len(centres), stop - start)]
            if start == 0:
                originals = block[:COPIES].copy()
            copied = np.arange(max(start, count - COPIES), stop)
            noise = 0.5 * random.standard_normal((len(copied), dimensions), dtype=np.float32)
            block[copied - start] = originals[copied - (count - COPIES)] + noise
            values = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dimensions)
            paths = pa.array([f"archive/{number:07}.mp4" for number in range(start, stop)])
            writer.write_batch(pa.record_batch([paths, values], schema=schema))


def peak() -> float:
    """MB of resident memory at its highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
