"""A job on a cluster of this machine with millions of names: whether its output is complete to the name, and what it takes.

    python -m benchmarks.ten_million --names 10000000 --kill 20 --folder DIR

Decoder and model are stubs that take no time: clips are a few bytes, vectors come from the name. All else is real: the
list of names, tasks, groups, actors, pieces, shards, claims. `--kill` processes that decode or hold a model are killed by
SIGKILL in the middle, and the process that runs the job once, halfway; it goes on as with `--resume`. Run again with the
same folder, it goes on likewise. Prints time, rate, the most memory of the process that runs the job and of all processes
of the cluster together, and compares the names and numbers of all shards with the list.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, os.fspath(Path(__file__).parent))
# The workers of a cluster import this file by its name.
os.environ["PYTHONPATH"] = os.pathsep.join([os.fspath(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

import numpy as np
from cluster import ENVIRONMENT  # beside this file

from videomae_cli import storage
from videomae_cli.assembly import DecoderOptions, divide
from videomae_cli.cluster import ClusterJob, Form, Requirements, connect, make_plan, open_output
from videomae_cli.cluster.models import Description
from videomae_cli.jobs import Settings
from videomae_cli.jobs.settings import vector_layout
from videomae_cli.results import Embedding, VectorPlace
from videomae_cli.video import ClipRequest, DecodedVideo, SamplingPlan, VideoInfo, named_videos
from videomae_cli.video.file_list import Paths

# What stays beside the shards of a finished job.
KEPT = {"_job.json", "_list.parquet", "_metrics.jsonl"}
VIEW_BYTES, BATCH, CLIP_SECONDS = 16 * 224 * 224 * 3, 64, 10.0
# What tells this program's processes from others.
MARK = "VIDEOMAE_SIMULATION"
PLACES = (VectorPlace(0.0, CLIP_SECONDS),)


_INFO = VideoInfo("-", "opencv", 16, 16, 25.0, CLIP_SECONDS, 1, 1, "h264", 0, 0.0)
_FRAMES = tuple(range(16))
_PLAN = SamplingPlan("dense", 1, (_FRAMES,), 1, "stub", 16, (0, 16))
CLIP = DecodedVideo(_INFO, _PLAN, np.zeros((1, 1, 1, 1, 3), np.uint8), ((0,) * 16,), ((0.0,) * 16,), (), 0.0)


def name_of(number: int) -> str:
    """The name of a film."""
    return f"s3://archive/clips/{number // 10000:05}/{number:09}.mp4"


def vector_of(path: str, dimensions: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What stands for a film's embedding, (1, D)."""
    seed = int.from_bytes(hashlib.blake2b(path.encode(), digest_size=4).digest(), "big")
    return np.arange(seed % 65536, seed % 65536 + dimensions, dtype=np.float32)[None]


class StubDecoder:
    """Stands for `Decoder` in the tasks that decode."""

    def decode_all(self, requests: Sequence[ClipRequest]) -> Iterator[tuple[ClipRequest, DecodedVideo]]:
        """Yield a clip of a few bytes for each request."""
        for request in requests:
            yield request, CLIP


class StubClips(ClipRequest):
    """Puts the stub in the decoder's place wherever a process receives it."""

    def __reduce__(self) -> Any:
        return stub_clips, (os.fspath(self.path),)


def stub_clips(path: str) -> ClipRequest:
    """Make a request, and put the stub in the decoder's place in this process."""
    from videomae_cli.cluster import decoding

    decoding._decoder = lambda *given: StubDecoder()  # type: ignore[assignment]
    return StubClips(path)


@dataclass(frozen=True)
class StubModel:
    """Stands for an `Embedder`."""

    dimensions: int
    batch_size: int = BATCH

    def results(self, files: Sequence[tuple[str, Any]]) -> Iterator[Embedding]:
        """Yield a vector for each file."""
        for path, _ in files:
            vectors = vector_of(path, self.dimensions)
            yield Embedding(path, "stub", vectors=vectors, places=PLACES)


@dataclass(frozen=True)
class StubSpec:
    """Stands for a `ModelSpec`."""

    expected: Description
    home: str
    films: None = None

    def ready(self) -> tuple[StubModel, None]:
        """Return the stub, which describes itself as the job expects."""
        from videomae_cli.cluster import inference

        inference.describe = lambda *given: self.expected
        return StubModel(self.expected.dimensions), None


def run_job(names: Path, out: str, dimensions: int, workers: int, told: Any) -> None:
    """Do what is left of the job in this process. told: gets the number of files done as they are."""
    found, _, _ = divide(named_videos([f"@{names}"], addresses=True), None)
    settings = Settings("embed", "0", {"model": "stub", "revision": None, "dimensions": dimensions})
    expected = Description(settings, StubClips("-"), BATCH, VIEW_BYTES, dimensions, 1)
    storage.stamps = lambda addresses: {}  # there are no such objects
    form = Form(vector_layout(dimensions, "float32", settings, None))
    plan = make_plan(len(found), batch=BATCH, view_bytes=VIEW_BYTES, file_bytes=dimensions * 4, gpus=True)
    output = open_output(out, vectors=True, format=None, resume=True, overwrite=False)
    with connect("local") as cluster, output:
        plan, past = output.begin(settings, Paths(found), plan, shard=None, form=form)
        count = past.done(plan)
        told.send(("begun", count))
        job = ClusterJob(
            found=found,
            model=StubSpec(expected, os.fspath(Path.cwd())),  # type: ignore[arg-type]
            expected=expected,
            plan=plan,
            form=form,
            output=output,
            workers=cluster.workers(workers, 0.0),
            cluster=cluster,
            decoding=DecoderOptions(),
            needed=Requirements(),
        )
        begun, busy = time.perf_counter(), time.process_time()
        job.run(past, lambda report: told.send(("piece", report.stop - report.first)))
        seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    told.send(("ended", seconds, busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def own_processes() -> Iterator[Path]:
    """Yield the folder in /proc of each process that this program began, through others too."""
    mark = os.fsencode(f"{MARK}={os.environ[MARK]}")
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                yield folder


def victims() -> list[int]:
    """Processes of Ray's that decode or hold a model at this moment."""
    found = []
    for folder in own_processes():
        with contextlib.suppress(OSError):
            title = (folder / "cmdline").read_bytes()
            if title.startswith(b"ray::") and (b"MapBatches" in title or b"MapWorker" in title):
                found.append(int(folder.name))
    return found


def memory() -> float:
    """Megabytes that all these processes hold by themselves: memory they share is counted with none of them."""
    total = 0
    for folder in own_processes():
        with contextlib.suppress(OSError):
            pages, shared = (folder / "statm").read_text().split()[1:3]
            total += (int(pages) - int(shared)) * resource.getpagesize()
    return total / 2**20


def descendants_end(process: Any) -> None:
    """Kill the process that runs the job, and wait until its Ray has noticed."""
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    for _ in range(60):
        if not victims():
            return
        time.sleep(1)


def simulate(arguments: argparse.Namespace) -> bool:
    """Run the job to its end, with kills; return whether the output is complete."""
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    names, out = folder / "names.txt", folder / "vectors"
    with names.open("w", encoding="utf-8") as text:
        text.writelines(name_of(number) + "\n" for number in range(arguments.names))
    chance = random.Random(arguments.seed)
    kills = sorted(chance.randrange(arguments.names) for _ in range(arguments.kill))
    interrupts = [arguments.names // 2] if arguments.kill else []
    begun, killed, most, driver = time.perf_counter(), 0, 0.0, 0.0
    while True:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        given = (names, f"{out}/", arguments.dimensions, arguments.workers, sender)
        process = multiprocessing.get_context("spawn").Process(target=run_job, args=given)
        process.start()
        sender.close()
        ended, done, before, looked = None, 0, 0, 0.0
        try:
            while ended is None:
                if receiver.poll(1.0):
                    what, *values = receiver.recv()
                    done += values[0] if what in ("begun", "piece") else 0
                    ended = values if what == "ended" else None
                    if what == "begun":
                        before = done
                        print(f"{time.perf_counter() - begun:.0f} s: {done:,} of {arguments.names:,} done", flush=True)
                        kills = [place for place in kills if place > done]
                        interrupts = [place for place in interrupts if place > done]
                if time.perf_counter() - looked > arguments.look:
                    looked = time.perf_counter()
                    most, driver = max(most, memory()), max(driver, resident(process.pid))
                    print(
                        f"{looked - begun:.0f} s: {done:,} done, {most:.0f} MB at most, driver {driver:.0f} MB",
                        flush=True,
                    )
                if kills and done > kills[0] and (running := victims()):
                    kills.pop(0)
                    os.kill(chance.choice(running), signal.SIGKILL)
                    killed += 1
                if interrupts and done > interrupts[0]:
                    interrupts.pop()
                    print(f"the process that runs the job is killed at {done:,}", flush=True)
                    descendants_end(process)
                    break
        except EOFError:
            process.join()
            print(f"the job ended with {process.exitcode}", flush=True)
            return False
        if ended is not None:
            process.join()
            break
    seconds = time.perf_counter() - begun
    last, busy, _ = ended
    print(
        f"{arguments.names:,} names, {killed} processes killed: {seconds:.0f} s in all, {arguments.names / seconds:.0f} clips/s; "
        f"since the last start {last:.0f} s, {1e6 * busy / max(1, arguments.names - before):.0f} microseconds a clip of the processor in the "
        f"process that runs the job, which had {driver:.0f} MB at most; all processes of the cluster {most:.0f} MB"
    )
    return is_complete(out, arguments.names, arguments.dimensions)


def resident(process: int) -> float:
    """The most megabytes that a process has had so far."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0.0)


def is_complete(out: Path, names: int, dimensions: int) -> bool:
    """Compare the shards with the list: each name once, in order, with its vector."""
    import pyarrow.parquet as pq

    at, wrong = 0, 0
    shards = sorted(out.glob("part-*.parquet"))
    for shard in shards:
        with pq.ParquetFile(shard) as table:
            for batch in table.iter_batches(batch_size=4096, columns=["path", "index", "embedding"]):
                paths, numbers, vectors = (batch.column(name).to_pylist() for name in ("path", "index", "embedding"))
                for path, number, vector in zip(paths, numbers, vectors, strict=True):
                    first = vector_of(path, dimensions)[0, 0]
                    wrong += path != name_of(at) or number != at or len(vector) != dimensions or vector[0] != first
                    at += 1
    left = [
        name
        for name in sorted(path.name for path in out.iterdir())
        if not name.startswith("part-") and name not in KEPT
    ]
    print(f"{len(shards)} shards: {at:,} of {names:,} names, {wrong} wrong; left behind: {left or 'nothing'}")
    return at == names and not wrong and not left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=10_000_000)
    parser.add_argument("--kill", type=int, default=20)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look", type=float, default=10.0)
    os.environ.update({**ENVIRONMENT, MARK: str(os.getpid())})
    sys.exit(0 if simulate(parser.parse_args()) else 1)


if __name__ == "__main__":
    import ten_million  # by the name under which workers import it too

    ten_million.main()
