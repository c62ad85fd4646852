"""Writing the vectors of a very large archive: peak memory and size.

    python benchmarks/vectors.py [--rows 1000000] [--dimensions 768] [--format parquet|npz] [--folder DIR]

Goes through `jobs.Job` as `videomae embed` does: every record and vector is kept as it comes, then the output is written.
Prints the peak resident memory over what the process held after its imports (Linux). Needs twice the size on disk: 6 GB
for a million vectors of 768 float32 values.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from videomae_cli.jobs import Job, Settings
from videomae_cli.results import Embedding, Source, Stamp, VectorPlace
from videomae_cli.writers import VectorLayout, make_vector_writer

BLOCK = 1000


def peak() -> int:
    """The most memory this process has held, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("no VmHWM: this needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--format", default="parquet")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    settings = Settings("embed", "benchmark", {"model": "random", "dimensions": arguments.dimensions})
    layout = VectorLayout(arguments.dimensions, "float32", settings.as_dict())
    frames = (tuple(range(0, 64, 4)),)
    times = (tuple(i / 25 for i in range(0, 64, 4)),)
    source = Source("opencv", "dense: 1 clip of 16 frames", frames, times, 1, 250, 25.0, 10.0, 340, 256)
    random = np.random.default_rng(0)
    names = [f"archive/{number % 1000:03}/{number:08}.mp4" for number in range(arguments.rows)]
    make_vector_writer(arguments.format, open("/dev/null", "wb"), layout)  # noqa: PTH123, SIM115 - its imports
    before, started = peak(), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        output = Path(scratch) / f"vectors.{arguments.format}"
        with Job(output, format=arguments.format) as job:
            job.begin(settings, names, vectors=layout)
            for number, name in enumerate(names):
                if number % BLOCK == 0:
                    block = random.standard_normal((BLOCK, 1, arguments.dimensions), dtype=np.float32)
                result = Embedding(
                    name, "random", source=source, vectors=block[number % BLOCK], places=(VectorPlace(0, 2.4),)
                )
                job.append(result.as_dict(Stamp(number, settings.fingerprint, settings.version)))
            kept = time.perf_counter() - started
            job.finish()
        size = output.stat().st_size / 2**20
    total = time.perf_counter() - started
    print(
        f"{arguments.rows} x {arguments.dimensions} as {arguments.format}: {peak() - before} MB over {before} MB after imports, "
        f"{size:.0f} MB written; {kept:.0f} s to keep, {total - kept:.0f} s to write"
    )


if __name__ == "__main__":
    main()
