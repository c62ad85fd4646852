"""Checks the machines of a cluster before a job, describes the model there, and estimates the job's time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from videomae_cli import __version__
from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster.attempts import Attempt, Attempts
from videomae_cli.cluster.decoding import DecodingWork, groups
from videomae_cli.cluster.models import Description, ModelSpec, describe, monitored_memory, own_error
from videomae_cli.cluster.plan import make_plan
from videomae_cli.cluster.requirements import Requirements
from videomae_cli.cluster.session import WAITING_CPUS, Cluster, Workers
from videomae_cli.errors import ClusterError, VideoMAEError, Wording
from videomae_cli.video import Decoder, FoundVideo

_PATIENCE = 15.0


@dataclass(frozen=True)
class Trial:
    """A measurement with a few files on one worker: seconds for decoding a file, and for the model per clip. Of whole films, clips
    are windows, and what each takes is that of decoding and model together.

    reason: why the first file failed that did, with its name.
    """

    files: int
    failed: int
    clips: int
    decode_seconds: float
    model_seconds: float
    reason: str | None = None

    def whole(self, files: int, cluster: Cluster, workers: Workers, tasks_at_once: int | None) -> Estimate | None:
        """Estimate the time for all files: with GPUs, decoding and the model overlap; on CPUs they share the cores.

        None if every file of the trial failed, which tells nothing of the others.
        """
        if self.failed == self.files:
            return None
        clips = round(self.clips / self.files * files)
        slots = max(1, min(cluster.cpus, tasks_at_once or cluster.cpus))
        decoding = self.decode_seconds * files / slots
        model = self.model_seconds * clips / workers.count
        return Estimate(max(decoding, model) if workers.gpus else decoding + model, decoding, model, clips)


@dataclass(frozen=True)
class Estimate:
    """The estimated time of a whole job in seconds. decoding, model: the time of each on its own; clips: their number."""

    seconds: float
    decoding: float
    model: float
    clips: int


def visit_nodes(cluster: Cluster, needed: Requirements) -> None:
    """Check that every machine has this version of the package and what the job needs, by really reading and writing there.

    Raises ClusterError about one that has not, since a part of the job would fail there.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=1)(_visit)
    refs = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(needed): node
        for node in cluster.at_work
    }
    for ref, node in refs.items():
        version, lacking = answer(ref, f"{node.address}")
        if version != __version__:
            reason = "{subject} has videomae-cli {version}, this machine {own}: install one version on all"
            raise ClusterError.about(node.address, reason, version=version, own=__version__)
        if lacking:
            raise ClusterError.about(node.address, "{subject} {lacking}", lacking=lacking)


def _visit(needed: Requirements) -> tuple[str, str | None]:
    return __version__, needed.lacking()


def look_at_model(
    spec: ModelSpec, workers: Workers, sample: Sequence[FoundVideo] = (), waiting: Callable[[], None] | None = None
) -> tuple[Description, Trial | None]:
    """Have a worker load and describe the model, and time decoding and the model on `sample`.

    waiting: called once if no machine becomes free for a while. Raises what loading the model raises.
    """
    import ray

    options = {"num_cpus": WAITING_CPUS, "max_retries": 1, "scheduling_strategy": "SPREAD"}
    if workers.gpus:
        options["num_gpus"] = workers.gpus
    ref = ray.remote(**options)(_look).remote(spec, tuple(sample))
    if waiting is not None and not ray.wait([ref], timeout=_PATIENCE)[0]:
        waiting()
    found: tuple[Description, Trial | None] = answer(ref, "a worker")
    return found


def _look(spec: ModelSpec, sample: tuple[FoundVideo, ...]) -> tuple[Description, Trial | None]:
    model, sampling = spec.ready()
    described = describe(spec, model, sampling)
    if not sample:
        return described, None
    if spec.films is not None:
        return described, _try_whole(spec, model, sample)
    return described, _try(spec, model, described, sample)


def _try_whole(spec: ModelSpec, model: Any, sample: tuple[FoundVideo, ...]) -> Trial:
    from videomae_cli.pipeline import try_films

    maker, _ = spec.film_maker(model)
    with Decoder(reserve=monitored_memory(), threads=spec.threads) as decoder:
        tried = try_films(sample, maker, decoder)
    return Trial(tried.files, tried.failed, tried.windows, 0.0, tried.seconds, tried.reason)


def _try(spec: ModelSpec, model: Any, described: Description, sample: tuple[FoundVideo, ...]) -> Trial:
    plan = make_plan(len(sample), batch=described.batch, view_bytes=described.view_bytes, file_bytes=1)
    work = DecodingWork(plan, described.clips, spec.home, DecoderOptions(), Attempts())
    for group in groups(0, sample[:1], work, Attempt()):  # warm-up: starts the decoder process and runs a first batch
        list(model.results(group.files))
    decoding = running = 0.0
    failed = clips = 0
    reason = None
    started = time.monotonic()
    for group in groups(0, sample, work, Attempt()):
        decoding += time.monotonic() - started
        started = time.monotonic()
        for result in model.results(group.files):
            clips += result.views
            if result.error is not None:
                failed += 1
                reason = reason or result.error.naming(result.path)
        running += time.monotonic() - started
        started = time.monotonic()
    return Trial(len(sample), failed, clips, decoding / len(sample), running / max(1, clips), reason)


def answer(ref: Any, where: str) -> Any:
    """Return the result of a task. Raises our own error if the task raised one, else ClusterError."""
    import ray

    try:
        return ray.get(ref)
    except VideoMAEError:
        raise
    except Exception as error:
        own = own_error(error)
        if own is not None:
            raise own from None
        text = " ".join(str(error).split())
        if "No module named 'videomae_cli" in text:
            raise ClusterError.about(
                where, "{subject} has no videomae-cli: install version {version} on all machines", version=__version__
            ) from None
        raise ClusterError.about(
            where,
            "{subject} failed ({type}: {text})",
            type=type(error).__name__,
            text=text[-300:],
            remedy=Wording("{@debug} shows more"),
            joined="; ",
        ) from None
