"""Runs a whole job: sends the remaining tasks through Ray Data and turns pieces into shards until nothing is missing."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from videomae_cli import system
from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster.attempts import Witness, here, remote_attempts
from videomae_cli.cluster.decoding import DecodingWork, decode_tasks, task_table
from videomae_cli.cluster.films import FilmWorker
from videomae_cli.cluster.inference import InferenceWork, InferenceWorker, PieceReport, reports
from videomae_cli.cluster.job_log import Effort, MetricsLog
from videomae_cli.cluster.machines import CLIP_SECONDS, FILM_SECONDS, Errand, Machines
from videomae_cli.cluster.models import Description, ModelSpec, own_error
from videomae_cli.cluster.output import Form, Output, Past, renew_shard, write_shard
from videomae_cli.cluster.plan import ClusterPlan, bundled
from videomae_cli.cluster.requirements import Requirements
from videomae_cli.cluster.session import DECODING_CPUS, WAITING_CPUS, Cluster, Placement, Workers
from videomae_cli.errors import ClusterError, MachineError, OutputUnavailableError, VideoMAEError, Wording
from videomae_cli.jobs import Part
from videomae_cli.video import FoundVideo

log = logging.getLogger(__name__)

# Maximum passes over the list. A second pass is rare: it is needed if pieces got lost because a machine died.
_ROUNDS = 4
_SHARDS_AT_ONCE = 8
# How often to look whether the machines are still there, while nothing is finished.
_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class ClusterJob:
    """A job on a connected cluster. decoding: its limits, for each file, and the most files decoded at a time; needed: what
    every machine must reach; note: is told what happens to machines; bars: show Ray's own progress bars on a terminal."""

    found: Sequence[FoundVideo]
    model: ModelSpec
    expected: Description
    plan: ClusterPlan
    form: Form
    output: Output
    workers: Workers
    cluster: Cluster
    decoding: DecoderOptions
    needed: Requirements
    note: Callable[[str], object] = lambda text: None
    part: Part | None = None
    bars: bool = False
    debug: bool = False

    def run(self, past: Past, on_piece: Callable[[PieceReport], object]) -> Counter[str]:
        """Do all remaining work. Returns the number of failed files of the whole job, by kind.

        on_piece: called when the files of a piece are finished. Raises ClusterError if the cluster keeps losing work,
        and what a worker raises.
        """
        log = MetricsLog(
            self.output.folder,
            self.output.place.run,
            self.plan.files,
            lambda: past.done(self.plan),
            self.cluster,
            self.note,
        )
        # A single file has no folder that stays, and nothing unasked is put beside it.
        with log.kept() if self.output.is_folder else nullcontext():
            return self._run(past, on_piece, log)

    def _run(self, past: Past, on_piece: Callable[[PieceReport], object], metrics: MetricsLog) -> Counter[str]:
        patience = CLIP_SECONDS if self.model.films is None else FILM_SECONDS
        machines = Machines(self.cluster, self.note, on_lost=metrics.lose, patience=patience)
        shards = _Shards(self, past, machines, metrics)
        attempts = remote_attempts()
        try:
            for _ in range(_ROUNDS):
                with self._configured(), self._watched(machines, attempts):
                    self._round(shards, machines, attempts, on_piece)
                shards.write_rest()
                if shards.complete:
                    self.output.finish(self.form, self.plan)
                    return sum(past.shards.values(), Counter())
        except (BrokenPipeError, MemoryError):
            raise
        except Exception as error:
            raise _translated(error) from error
        reason = "the cluster lost {count} of {files} files again and again, whatever was tried"
        left = sum(map(len, past.left(self.plan)))
        raise ClusterError.about(self.output.shown, reason, count=left, files=self.plan.files)

    def _round(
        self,
        shards: _Shards,
        machines: Machines,
        attempts: Witness,
        on_piece: Callable[[PieceReport], object],
    ) -> None:
        """Do what is left, then what machines handed back; if one is lost on the way, go on without it."""
        for again in (False, True):
            whole = False
            while not whole:
                left = shards.past.left(self.plan)
                errands = machines.errands(left, again=again)
                if not errands:
                    break
                shards.expect(left)
                with closing(self._process(errands, machines, attempts, last=again)) as reports:
                    whole = all(self._take(report, shards, machines, on_piece) for report in reports)
                if not whole:
                    attempts.forget()

    def _take(
        self,
        report: PieceReport,
        shards: _Shards,
        machines: Machines,
        on_piece: Callable[[PieceReport], object],
    ) -> bool:
        """Note what a machine has done; return False if it is lost, so that work has to be divided anew."""
        self.output.check_owned()
        machines.heard()
        if report.refusal is not None:
            shards.metrics.handed_back(report.refusal.node, report.stop - report.first)
            machines.take_back(report.first, report.refusal)
            return not report.refusal.lost
        if shards.take(report):
            shards.metrics.take(report.efforts, report.failed)
            on_piece(report)
        return True

    @contextmanager
    def _watched(self, machines: Machines, attempts: Witness) -> Iterator[None]:
        """Look at the machines during the block: Ray waits in silence for one that could do the work, and for ever.

        Says if nothing happens for long. Raises ClusterError if no machine is left. The wait is interrupted as Ctrl-C does
        it, hence in the main thread only.
        """
        placement, found = Placement(self.workers, self.cluster), list[ClusterError]()

        def look() -> None:
            try:
                if not found:
                    placement.check(machines.left().nodes, time.monotonic())
                    machines.say_silence(attempts.standing)
            except ClusterError as error:
                found.append(error)
                system.wake_main_thread(signal.SIGINT)
            except Exception as error:  # the cluster doesn't answer: the next look will tell
                log.debug("can't look at the machines", exc_info=error)

        watches = threading.current_thread() is threading.main_thread()
        try:
            with system.every(_LOOK_SECONDS, look) if watches else nullcontext():
                yield
        except KeyboardInterrupt:
            if found:
                raise found[0] from None
            raise

    def _process(
        self,
        errands: Sequence[Errand],
        machines: Machines,
        attempts: Witness,
        *,
        last: bool,
    ) -> Generator[PieceReport]:
        """Decode these files and run the model on them; yields the pieces' reports.

        last: whether a file that can't be fetched fails, instead of being handed to another machine.
        """
        decoding = DecodingWork(
            plan=self.plan,
            clips=self.expected.clips,
            home=self.model.home,
            decoding=self.decoding,
            attempts=attempts,
            needed=self.needed,
            last=last,
            debug=self.debug,
        )
        inference = InferenceWork(
            model=self.model,
            expected=self.expected,
            batch=self.plan.batch,
            place=self.output.place,
            form=self.form,
            attempts=attempts,
            part=self.part,
        )
        made = (
            # One pool of models after the other: several beside each other would not fit.
            (self._films(errand, machines, decoding, inference) for errand in errands)
            if self.model.films is not None
            else (self._clips(some, machines, decoding, inference) for some in [errands])
        )
        for done in made:
            with closing(_tables(done)) as tables:
                for table in tables:
                    yield from reports(table)

    def _films(self, errand: Errand, machines: Machines, reading: DecodingWork, work: InferenceWork) -> Any:
        """Return Ray's data set of the reports on whole films."""
        ranges, tasks = self._ranges(errand)
        options = self._models(machines, tasks, in_flight=1)
        made = {"reading": reading, "work": work}
        return ranges.map_batches(FilmWorker, batch_size=None, fn_constructor_kwargs=made, **options, **errand.options)

    def _clips(
        self, errands: Sequence[Errand], machines: Machines, decoding: DecodingWork, inference: InferenceWork
    ) -> Any:
        """Return Ray's data set of the reports on files of which clips are decoded elsewhere."""
        from ray.data import TaskPoolStrategy

        tasks, parts = 0, []
        for errand in errands:
            ranges, count = self._ranges(errand)
            tasks += count
            parts.append(
                ranges.map_batches(
                    decode_tasks,
                    batch_size=None,
                    batch_format="pyarrow",
                    fn_kwargs={"work": decoding},
                    num_cpus=DECODING_CPUS,
                    compute=TaskPoolStrategy(size=self.decoding.workers),
                    **errand.options,
                )
            )
        clips = parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]
        # One group in work and one in transfer: more would only fill up the object store.
        options = self._models(machines, tasks, in_flight=2)
        made = {"work": inference}
        return clips.map_batches(
            InferenceWorker, batch_size=1, fn_constructor_kwargs=made, **options, **machines.options
        )

    def _ranges(self, errand: Errand) -> tuple[Any, int]:
        """Return Ray's data set of an errand's ranges of the list, and the number of tasks."""
        from ray.data import from_blocks

        # One block per task of ours, because Ray Data runs one of its tasks per block.
        tables = [task_table(self.found, bundle) for bundle in bundled(errand.ranges, self.plan.task)]
        return from_blocks(tables), len(tables)  # `from_arrow` would begin a task of Ray's for each

    def _models(self, machines: Machines, tasks: int, *, in_flight: int) -> dict[str, Any]:
        """Return Ray's options for actors that hold a model. in_flight: what is given to each at a time."""
        from ray.data import ActorPoolStrategy

        count = min(machines.workers(self.workers), tasks)
        return {
            "batch_format": "pyarrow",
            "num_cpus": WAITING_CPUS,
            "num_gpus": self.workers.gpus or None,
            "compute": ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=in_flight),
        }

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
    machines: Machines
    metrics: MetricsLog
    _missing: Counter[int] = field(default_factory=Counter)
    _writing: dict[Any, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every shard has been written."""
        return len(self.past.shards) == self.job.plan.shards

    def expect(self, left: Iterable[range]) -> None:
        """Note how many files each shard still lacks."""
        self._missing.clear()
        for files in left:
            self._missing[self.job.plan.shard_of(files.start)] += len(files)

    def take(self, report: PieceReport) -> bool:
        """Note a finished piece, and start writing its shard if it was the last one missing.

        Returns False for a duplicate: Ray repeats work if a machine dies after doing it.
        """
        number = self.job.plan.shard_of(report.first)
        piece = (report.first, report.stop)
        if number in self.past.shards or piece in self.past.pieces.within(range(report.first, report.first + 1)):
            return False
        self.past.pieces.add(*piece)
        self._missing[number] -= report.stop - report.first
        self._collect(wait=False)
        if self._missing[number] <= 0 and number not in self._writing.values():
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
        job.output.check_owned(now=True)
        while len(self._writing) >= _SHARDS_AT_ONCE:
            self._collect(wait=True)
        name = job.plan.shard_name(number)
        task = ray.remote(num_cpus=WAITING_CPUS, scheduling_strategy="SPREAD", **self.machines.options)(_tried)
        if number in past.again:
            first = job.plan.shard_files(number).start
            ref = task.remote(renew_shard, job.output.place, job.form, name, first, chain, past.kinds)
        else:
            ref = task.remote(write_shard, job.output.place, job.form, name, chain)
        self._writing[ref] = number

    def _collect(self, *, wait: bool) -> None:
        import ray

        if not self._writing:
            return
        placement = Placement(self.job.workers, self.job.cluster)
        ready, _ = ray.wait(list(self._writing), timeout=_LOOK_SECONDS if wait else 0)
        while wait and not ready:
            placement.check(self.machines.left().nodes, time.monotonic())
            ready, _ = ray.wait(list(self._writing), timeout=_LOOK_SECONDS)
        for ref in ready:
            number = self._writing.pop(ref)
            node, seconds, outcome = ray.get(ref)
            if isinstance(outcome, VideoMAEError):
                self.machines.lose(node, f"can't make a shard ({outcome})")
                self._write(number)
                continue
            self.past.shards[number] = outcome
            files = len(self.job.plan.shard_files(number))
            self.metrics.take([Effort("shard", node, seconds, files)])
            self.past.pieces.forget(self.job.plan.shard_files(number))


def _tried(write: Callable[..., Counter[str]], *given: Any) -> tuple[str, float, Counter[str] | VideoMAEError]:
    """Write a shard; return which machine did, the seconds, and what it returned or why it couldn't, which another machine may."""
    began = time.perf_counter()
    try:
        outcome: Counter[str] | VideoMAEError = write(*given)
    except (OutputUnavailableError, MachineError) as error:
        outcome = error
    return here(), time.perf_counter() - began, outcome


def _tables(made: Any) -> Generator[Any]:
    """Yield the tables of a data set of Ray's, each when it is finished; what is not yet begun never is, once this is closed."""
    import ray

    # `iter_batches` would tell Ray's dashboard of all blocks of the list every few seconds: half this process's time.
    bundles = [made.iter_internal_ref_bundles()]
    try:
        for bundle in bundles[0]:
            yield from ray.get(bundle.block_refs)
    finally:
        # Ray ends the work when nothing refers to it: in `__del__`, where an interruption of the main thread would be lost.
        ending = threading.Thread(target=bundles.clear, name="ending")
        ending.start()
        ending.join()


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
