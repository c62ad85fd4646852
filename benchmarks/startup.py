"""What `videomae --help` and each `COMMAND --help` cost beside importing typer and rich, in turns, in one run.

python benchmarks/startup.py [--repeats 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from videomae_cli.cli.commands import COMMANDS

PROCESSES = {
    "import typer, rich": ["-c", "import typer, rich"],
    "videomae --help": ["-m", "videomae_cli", "--help"],
    "videomae --version": ["-m", "videomae_cli", "--version"],
    **{f"{entry.name} --help": ["-m", "videomae_cli", entry.name, "--help"] for entry in COMMANDS},
    "import torch": ["-c", "import torch"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for repeat in range(repeats + 1):
        for name, arguments in PROCESSES.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
            if repeat:  # the first reads files from the disk
                times[name].append(time.perf_counter() - started)
    base = statistics.median(times["import typer, rich"])
    print(f"{'':<26}{'median s':>10}{'ratio':>8}")
    for name, measured in times.items():
        print(f"{name:<26}{statistics.median(measured):>10.3f}{statistics.median(measured) / base:>8.2f}")


if __name__ == "__main__":
    main()
