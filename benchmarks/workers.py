"""Decoding many files in as many processes as there are cores: with one thread in each, and with as many as one file gets.

    python benchmarks/workers.py [--files 40] [--repeats 3]

Files of 10 s at 340x256 and 1920x1080 that it makes itself, 16 frames from the middle of each. The settings take turns in
one run, so that a busy machine slows them alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline import make_film

from videomae_cli.video import ClipRequest, Decoder, SamplingSpec, auto_workers, decoder

THREADS: dict[str, int | None] = {"one thread": 1, "as for one file": None}


def measure(files: Sequence[Path], threads: int | None) -> tuple[float, float]:
    """Seconds, and seconds of processor time, for all files; starting the processes is in neither."""
    decoder._threads_each = lambda workers: threads  # type: ignore[attr-defined]
    requests = [ClipRequest(str(file), sampling=SamplingSpec(clips=1)) for file in files]
    with Decoder(workers=auto_workers(len(files))) as processes:
        list(processes.decode_all(requests[: processes.workers]))
        before, started = processor_time(processes), time.perf_counter()
        list(processes.decode_all(requests))
        return time.perf_counter() - started, processor_time(processes) - before


def processor_time(processes: Decoder) -> float:
    """Seconds that the decoding processes have used (Linux)."""
    ticks = 0
    for pid in processes.processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for size in ((340, 256), (1920, 1080)):
            original = Path(scratch) / f"{size[1]}.mp4"
            make_film(original, seconds=10, size=size)
            count = arguments.files if size[1] < 1000 else max(4, arguments.files // 5)
            files = [Path(scratch) / f"{size[1]}-{number}.mp4" for number in range(count)]
            for file in files:
                file.hardlink_to(original)
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in THREADS}
            for _ in range(arguments.repeats):
                for name, threads in THREADS.items():
                    times[name].append(measure(files, threads))
            for name, measured in times.items():
                wall, work = (statistics.median(values) for values in zip(*measured, strict=True))
                print(
                    f"{size[0]}x{size[1]}, {count} files, {name}: {wall:.2f} s, {work:.2f} s of processor time",
                    flush=True,
                )


if __name__ == "__main__":
    main()
