"""What lists and outputs of many files cost: the figures of docs/jobs.md and docs/scale.md.

    python benchmarks/lists.py merge [--shards 200] [--files 12800] [--dimensions 768]

`videomae merge` over so many files in two outputs, and in so many outputs: seconds, and the most memory its process had.

    python benchmarks/lists.py names [--names 1000000] [--stored 20000] [--shard 1/10]

So many names in a text list, in folders of 1,000 (empty) files, and (`--stored` of them) in folders of 1,000 objects of
the suite's S3 server that answers after 30 ms, listed as a job lists them, with `--shard` and without: seconds and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from slow_store import asked, slow_server  # beside this file

from videomae_cli.jobs import Settings, Shard
from videomae_cli.jobs.settings import vector_layout
from videomae_cli.results import Embedding, VectorPlace
from videomae_cli.writers import make_vector_writer

# What a request to an object store takes.
REQUEST_SECONDS = 0.03

# Runs a command in a process of its own, and prints seconds and the most memory that it had, in MB.
_MEASURED = """
import resource, sys, time
{before}
start, busy = time.perf_counter(), time.process_time()
{code}
busy = time.process_time() - busy
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{{time.perf_counter() - start:.1f}} {{busy:.1f}} {{most:.0f}}")
"""


def measured(before: str, code: str) -> str:
    """Seconds, those of the processor, and peak megabytes of some code in a new process; `before` is not timed."""
    program = _MEASURED.format(before=before, code=code)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    seconds, busy, most = done.stdout.split()
    return f"{seconds} s ({busy} s of the processor), {most} MB"


def make_shards(folder: Path, count: int, files: int, dimensions: int) -> list[Path]:
    """The outputs of a split list, as `embed --shard` writes them."""
    names = [f"videos/{number:08}.mp4" for number in range(count * files)]
    settings = Settings("embed", "0", {"model": "m", "revision": None, "dimensions": dimensions, "storage": "float32"})
    vectors = np.random.default_rng(0).standard_normal((1, dimensions), np.float32)
    place = (VectorPlace(0.0, 10.0),)
    outputs = []
    for number in range(1, count + 1):
        part = Shard(number, count).part_of(names)
        outputs.append(folder / f"{number}.parquet")
        with outputs[-1].open("wb") as sink:
            writer = make_vector_writer("parquet", sink, vector_layout(dimensions, "float32", settings, part))
            for index, name in enumerate(part.of(names)):
                writer.write(Embedding(name, "m", vectors=vectors, places=place).as_dict(settings.stamp(index, part)))
            writer.finish()
    return outputs


def merge(arguments: argparse.Namespace, scratch: Path) -> None:
    """The same files in two outputs and in many."""
    for count in (2, arguments.shards):
        folder = scratch / str(count)
        folder.mkdir()
        outputs = make_shards(folder, count, arguments.files // count, arguments.dimensions)
        code = f"merge({[str(one) for one in outputs]!r}, {str(folder / 'all.parquet')!r})"
        print(
            f"{arguments.files} files in {count} outputs:", measured("from videomae_cli import merge", code), flush=True
        )


def names(arguments: argparse.Namespace, scratch: Path) -> None:
    """The same number of names in a text list, in folders of 1000, and in an S3 server, whole and in a shard."""
    address = "s3://archive/clips/{0:05}/{1:09}.mp4"
    with (scratch / "names.txt").open("w", encoding="utf-8") as text:
        text.writelines(address.format(number // 10000, number) + "\n" for number in range(arguments.names))
    for number in range(arguments.names):
        if number % 1000 == 0:
            below = scratch / "clips" / f"folder-{number // 1000:06}"
            below.mkdir(parents=True)
        (below / f"clip-{number:09}.mp4").touch()
    places = {"a text list": f"@{scratch / 'names.txt'}", "a folder": os.fspath(scratch / "clips")}
    for what, place in places.items():
        _list(what, place, arguments.names, arguments.shard)
    stored = min(arguments.names, arguments.stored)
    with stored_names(address.format(number // 1000, number) for number in range(stored)):
        _list("object storage", "s3://archive/clips/", stored, arguments.shard)


def _list(what: str, place: str, count: int, part: str) -> None:
    before = (
        "from videomae_cli.cli.options.groups import FileOptions\nfrom videomae_cli.cli.run.inputs import find_inputs"
    )
    for shard in (None, part):
        before_asked = asked.total()
        code = f"found = find_inputs([{place!r}], FileOptions(shard={shard!r}), addresses=True)"
        cost = measured(before, code)
        requests = f", {asked.total() - before_asked} requests" if what == "object storage" else ""
        print(f"{count:,} names in {what}, shard {shard}: {cost}{requests}", flush=True)


@contextlib.contextmanager
def stored_names(addresses: Iterable[str]) -> Iterator[None]:
    """Serve empty objects in the suite's S3 server, each request after 30 ms, and point clients there."""
    sys.path.insert(0, os.fspath(Path(__file__).parent.parent / "tests"))
    from moto.s3.models import s3_backends
    from objectstore import start_store

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store, server = start_store()
    try:
        store.bucket("archive")
        backend = s3_backends["123456789012"]["aws"]
        for address in addresses:
            backend.put_object("archive", address.removeprefix("s3://archive/"), b"")
        with slow_server(store.url, REQUEST_SECONDS) as url:
            os.environ.update(store.environment, AWS_ENDPOINT_URL=url)
            yield
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["merge", "names"])
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--files", type=int, default=12800)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--stored", type=int, default=20_000)
    parser.add_argument("--shard", default="1/10")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        globals()[arguments.what](arguments, Path(scratch))


if __name__ == "__main__":
    main()
