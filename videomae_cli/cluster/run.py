"""Runs a whole job: sends the remaining tasks through Ray Data and turns pieces into shards until nothing is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from videomae_cli.cluster.decoding import DecodingWork, decode_tasks, put_lists
from videomae_cli.cluster.inference import InferenceWork, InferenceWorker, PieceReport, reports
from videomae_cli.cluster.models import Description, ModelSpec, own_error
from videomae_cli.cluster.output import Form, Output, Past, renew_shard, write_shard
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.cluster.session import DECODING_CPUS, WAITING_CPUS, Workers
from videomae_cli.errors import ClusterError, Wording
from videomae_cli.jobs import Shard
from videomae_cli.video import FoundVideo

# Maximum passes over the list. A second pass is rare: it is needed if pieces got lost because a machine died.
_ROUNDS = 4
_SHARDS_AT_ONCE = 8


@dataclass(frozen=True)
class ClusterJob:
    """A job on a connected cluster. memory: bytes that decoding one file may take; tasks_at_once: most files decoded at a
    time, None for one per core; bars: show Ray's own progress bars on a terminal."""

    found: Sequence[FoundVideo]
    model: ModelSpec
    expected: Description
    plan: ClusterPlan
    form: Form
    output: Output
    workers: Workers
    timeout: float | None
    memory: int | None = None
    shard: Shard | None = None
    tasks_at_once: int | None = None
    bars: bool = False
    debug: bool = False

    def run(self, past: Past, on_piece: Callable[[PieceReport], object]) -> Counter[str]:
        """Do all remaining work. Returns the number of failed files of the whole job, by kind.

        on_piece: called when the files of a piece are finished. Raises ClusterError if the cluster keeps losing work, and what a worker raises.
        """
        shards = _Shards(self, past)
        lists = put_lists(self.found)
        try:
            for _ in range(_ROUNDS):
                left = past.left(self.plan)
                if left:
                    self.output.clear(self.plan, left, past.pieces)
                    with self._configured():
                        for report in self._process(left, lists):
                            if shards.take(report):
                                on_piece(report)
                shards.write_rest()
                if shards.complete:
                    self.output.finish(self.form, self.plan)
                    return sum(past.shards.values(), Counter())
        except (BrokenPipeError, MemoryError):
            raise
        except Exception as error:
            raise _translated(error) from error
        raise ClusterError.about(
            self.output.shown,
            "the cluster lost {count} of {tasks} tasks again and again, whatever was tried",
            count=len(left),
            tasks=self.plan.tasks,
        )

    def _process(self, tasks: Sequence[int], lists: tuple[Any, ...]) -> Iterator[PieceReport]:
        """Decode the files of these tasks and run the model on them; yields the pieces' reports."""
        import pyarrow as pa
        import ray
        from ray.data import ActorPoolStrategy, TaskPoolStrategy

        decoding = DecodingWork(
            plan=self.plan,
            clips=self.expected.clips,
            lists=lists,
            home=self.model.home,
            timeout=self.timeout,
            memory=self.memory,
            debug=self.debug,
        )
        inference = InferenceWork(
            model=self.model,
            expected=self.expected,
            batch=self.plan.batch,
            folder=self.output.folder,
            form=self.form,
            shard=self.shard,
        )
        # One block per task of ours, because Ray Data runs one of its tasks per block.
        numbers = ray.data.from_arrow([pa.table({"task": [number]}) for number in tasks])
        clips = numbers.map_batches(
            decode_tasks,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"work": decoding},
            num_cpus=DECODING_CPUS,
            compute=TaskPoolStrategy(size=self.tasks_at_once),
        )
        done = clips.map_batches(
            InferenceWorker,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_kwargs={"work": inference},
            num_cpus=WAITING_CPUS,
            num_gpus=self.workers.gpus or None,
            # One group in work and one in transfer: more would only fill up the object store.
            compute=ActorPoolStrategy(size=min(self.workers.count, len(tasks)), max_tasks_in_flight_per_actor=2),
        )
        for table in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from reports(table)

    @contextmanager
    def _configured(self) -> Iterator[None]:
        """Configure Ray Data for the block: a block per group of clips, and no unrequested output."""
        from ray.data import DataContext

        context = DataContext.get_current()
        settings = {
            "target_max_block_size": self.plan.group * self.expected.view_bytes,
            "enable_progress_bars": self.bars,
            "enable_rich_progress_bars": True,
            "use_ray_tqdm": False,
            "print_on_execution_start": self.debug,
        }
        before = {name: getattr(context, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(context, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(context, name, value)


@dataclass
class _Shards:
    """Writes each shard on a worker as soon as its last piece has arrived."""

    job: ClusterJob
    past: Past
    _counts: Counter[int] = field(default_factory=Counter)
    _writing: dict[Any, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every shard has been written."""
        return len(self.past.shards) == self.job.plan.shards

    def take(self, report: PieceReport) -> bool:
        """Note a finished piece, and start writing its shard if it was the last one missing.

        Returns False for a duplicate: Ray repeats work if a machine dies after doing it.
        """
        number = self.job.plan.shard_of(report.first)
        piece = (report.first, report.stop)
        if number in self.past.shards or piece in self.past.pieces.within(range(report.first, report.first + 1)):
            return False
        self.past.pieces.add(*piece)
        self._counts[number] += report.stop - report.first
        self._collect(wait=False)
        plan = self.job.plan
        tasks = self.past.again.get(number)
        wanted = sum(len(plan.task_files(task)) for task in tasks) if tasks else len(plan.shard_files(number))
        if self._counts[number] >= wanted and number not in self._writing.values():
            self._write(number)
        return True

    def write_rest(self) -> None:
        """Write all shards whose pieces are complete, and wait until they are written."""
        for number in range(self.job.plan.shards):
            if number not in self.past.shards and number not in self._writing.values():
                self._write(number)
        while self._writing:
            self._collect(wait=True)

    def _write(self, number: int) -> None:
        import ray

        job, past = self.job, self.past
        chain = past.chain(job.plan, number)
        if chain is None:
            return
        while len(self._writing) >= _SHARDS_AT_ONCE:
            self._collect(wait=True)
        name = job.plan.shard_name(number)
        spread = ray.remote(num_cpus=WAITING_CPUS, scheduling_strategy="SPREAD")
        if number in past.again:
            first = job.plan.shard_files(number).start
            ref = spread(renew_shard).remote(job.output.folder, job.form, name, first, chain, past.kinds)
        else:
            ref = spread(write_shard).remote(job.output.folder, job.form, name, chain)
        self._writing[ref] = number

    def _collect(self, *, wait: bool) -> None:
        import ray

        if not self._writing:
            return
        ready, _ = ray.wait(list(self._writing), timeout=None if wait else 0)
        for ref in ready:
            number = self._writing.pop(ref)
            self.past.shards[number] = ray.get(ref)
            self.past.pieces.forget(self.job.plan.shard_files(number))


def _translated(error: BaseException) -> BaseException:
    """Translate an error of Ray's into one of ours."""
    own = own_error(error)
    if own is not None:
        return own
    reason = " ".join(str(error).split())
    return ClusterError.about(
        "cluster",
        "the cluster could not go on ({type}: {reason})",
        type=type(error).__name__,
        reason=reason[:300],
        remedy=Wording("{@debug} shows more"),
        joined="; ",
    )
