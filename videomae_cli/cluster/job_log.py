"""A log of what a job does, beside its shards: OUT/_metrics.jsonl, a line a minute, so that somebody can see what holds it up.

Each line is a JSON object that stands for itself, with sums since its run began. docs/scale.md describes the fields, which
only grow in number as long as `SCHEMA_VERSION` stays; --resume adds the lines of its run to those of before.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from videomae_cli.cluster.ray_metrics import RayMetrics
from videomae_cli.cluster.session import Cluster
from videomae_cli.errors import OutputError, VideoMAEError
from videomae_cli.storage.folders import Folder

SCHEMA_VERSION = 1
METRICS = "_metrics.jsonl"
# Object storage can't append: the whole log is written again, some 100 kB after an hour on ten machines.
_EVERY_SECONDS = 60.0

# A film that is done from beginning to end is decoded and embedded or classified at the same time: one stage.
Stage = Literal["decode", "model", "film", "write", "shard"]


@dataclass(frozen=True)
class Effort:
    """What a stage took of a process. node: Ray's name of its machine; seconds: spent in the stage, without waiting for other
    stages; files, clips: that it finished; bytes: of the videos read, or of the results written."""

    stage: Stage
    node: str
    seconds: float
    files: int = 0
    clips: int = 0
    bytes: int = 0


class Stopwatch:
    """Adds up the seconds of several stretches of work."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time that the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began


@dataclass
class _Sums:
    """What all processes of one machine, or of the cluster, have spent on one stage."""

    seconds: float = 0.0
    files: int = 0
    clips: int = 0
    bytes: int = 0

    def add(self, effort: Effort) -> None:
        self.seconds += effort.seconds
        self.files += effort.files
        self.clips += effort.clips
        self.bytes += effort.bytes

    def as_dict(self) -> dict[str, Any]:
        whole = {"seconds": round(self.seconds, 3), "files": self.files, "clips": self.clips, "bytes": self.bytes}
        done = self.clips or self.files
        return {**whole, "per_second": round(done / self.seconds, 3) if self.seconds else None}


@dataclass
class MetricsLog:
    """Collects what workers report, tells Ray, and writes the log. folder: of the output; files: of the whole job; done: tells how many of
    them are finished; cluster: its machines; note: is told once if the log can't be written; clock: seconds."""

    folder: Folder
    run: str
    files: int
    done: Callable[[], int]
    cluster: Cluster
    note: Callable[[str], object] = lambda text: None
    clock: Callable[[], float] = time.monotonic
    _stages: dict[str, dict[str, _Sums]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(_Sums)))
    _failed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _handed: Counter[str] = field(default_factory=Counter)
    _lost: dict[str, str] = field(default_factory=dict)
    _lines: list[bytes] = field(default_factory=list)
    _silent: bool = False

    def __post_init__(self) -> None:
        self._began = self._written = self.clock()
        self._before = self.done()
        self._last = (self._began, self._before)
        self._addresses = {node.id: node.address for node in self.cluster.nodes}
        self._ray = RayMetrics(self.run)
        self._ray.finish(self._before, self.files)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write the log's first line before the block, and its last one after it, whatever ends it."""
        with suppress(OutputError):
            if METRICS in self.folder.names():
                self._lines = self.folder.read(METRICS).splitlines(keepends=True)
        self._write("begun")
        try:
            yield
        except BaseException as error:
            self._write("stopped", reason=str(error) if isinstance(error, VideoMAEError) else type(error).__name__)
            raise
        self._write("ended")

    def take(self, efforts: Sequence[Effort], failed: Counter[str] | None = None) -> None:
        """Add what a worker reports. failed: by kind, of the machine of the first effort."""
        for effort in efforts:
            self._stages[effort.stage][effort.node].add(effort)
            self._ray.spend(effort, self._address(effort.node))
        if failed and efforts:
            self._failed[efforts[0].node] += failed
            self._ray.fail(failed, self._address(efforts[0].node))
        if self.clock() - self._written >= _EVERY_SECONDS:
            self._write("running")

    def handed_back(self, node: str, files: int) -> None:
        """Note files that a machine gave back for another one to try."""
        self._handed[node] += files
        self._ray.count("handed_back_files", files, machine=self._address(node))

    def lose(self, node: str, reason: str) -> None:
        """Note that a machine gets no more work."""
        self._lost[node] = reason
        self._ray.count("lost_machines", machine=self._address(node))

    def _address(self, node: str) -> str:
        """Return what people know a machine by; Ray's name of one that has joined since."""
        return self._addresses.get(node, node)

    def line(self, event: str, **more: Any) -> dict[str, Any]:
        """Return the object that would be the log's next line."""
        now, done = self.clock(), self.done()
        since, before = self._last
        self._last = (now, done)
        self._ray.finish(done, self.files)
        seconds, cluster = now - self._began, self.cluster
        failed = sum(self._failed.values(), Counter())
        return {
            "schema_version": SCHEMA_VERSION,
            "event": event,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": self.run,
            "seconds": round(seconds, 3),
            "files": self.files,
            "done": done,
            "done_before": self._before,
            "files_per_second": round((done - before) / (now - since), 3) if now > since else None,
            "failed": dict(sorted(failed.items())),
            "stages": {stage: self._sum(sums).as_dict() for stage, sums in sorted(self._stages.items())},
            "hosts": [self._host(node, address) for node, address in self._hosts().items()],
            "cost": {
                "machine_seconds": round(seconds * len(cluster.nodes), 1),
                "core_seconds": round(seconds * cluster.cpus, 1),
                "gpu_seconds": round(seconds * cluster.gpus, 1),
            },
            **more,
        }

    @staticmethod
    def _sum(sums: dict[str, _Sums]) -> _Sums:
        parts = list(sums.values())
        return _Sums(
            sum(part.seconds for part in parts),
            sum(part.files for part in parts),
            sum(part.clips for part in parts),
            sum(part.bytes for part in parts),
        )

    def _hosts(self) -> dict[str, str | None]:
        """Return the addresses of the machines by Ray's names; None for those that have joined since."""
        known: dict[str, str | None] = {**self._addresses}
        for sums in self._stages.values():
            known |= dict.fromkeys(sums.keys() - known.keys())
        return known

    def _host(self, node: str, address: str | None) -> dict[str, Any]:
        stages = {stage: sums[node].as_dict() for stage, sums in sorted(self._stages.items()) if node in sums}
        failed = dict(sorted(self._failed[node].items())) if node in self._failed else {}
        about = {"address": address, "stages": stages, "failed": failed}
        return {**about, "handed_back": self._handed[node], "lost": self._lost.get(node)}

    def _write(self, event: str, **more: Any) -> None:
        self._written = self.clock()
        self._lines.append(json.dumps(self.line(event, **more)).encode() + b"\n")
        try:
            with self.folder.writing(METRICS) as sink:
                sink.writelines(self._lines)
        except OutputError as error:  # the job itself may well go on
            if not self._silent:
                self.note(f"the log of the job is not written: {error}")
            self._silent = True
