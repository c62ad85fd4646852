"""A job's figures among Ray's own metrics, for its dashboard and for Prometheus, where the cluster has those (`ray[default]`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videomae_cli.cluster.job_log import Effort

# Each with what it counts and its tags; docs/scale.md describes them. Ray adds `ray_` before and, to counters, `_total` behind.
_STAGE = ("job", "stage", "machine")
_COUNTED = {
    "seconds": ("Seconds of all processes in a stage, without waiting for other stages", _STAGE),
    "files": ("Files that a stage has finished", _STAGE),
    "clips": ("Clips that a stage has finished", _STAGE),
    "bytes": ("Bytes of videos read, or of results written", _STAGE),
    "failed_files": ("Files that failed, by kind", ("job", "machine", "kind")),
    "handed_back_files": ("Files that a machine gave back for others to try", ("job", "machine")),
    "lost_machines": ("Machines that get no more work", ("job", "machine")),
}


class RayMetrics:
    """Counts what the process that runs a job hears of. job: its name; a cluster may have several."""

    def __init__(self, job: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._job = job
        self._counters = {
            name: Counter(f"videomae_{name}", about, tag_keys=tags) for name, (about, tags) in _COUNTED.items()
        }
        self._done = Gauge("videomae_done_share", "Share of the job's files that are done", tag_keys=("job",))

    def spend(self, effort: Effort, machine: str) -> None:
        """Count what a stage took."""
        for name in ("seconds", "files", "clips", "bytes"):
            self.count(name, getattr(effort, name), stage=effort.stage, machine=machine)

    def count(self, name: str, more: float = 1, **tags: str) -> None:
        """Count something by its tags."""
        if more > 0:  # a counter takes nothing else
            self._counters[name].inc(more, {"job": self._job, **tags})

    def fail(self, failed: Mapping[str, int], machine: str) -> None:
        """Count files that failed, by kind."""
        for kind, files in failed.items():
            self.count("failed_files", files, machine=machine, kind=kind)

    def finish(self, done: int, files: int) -> None:
        """Set how far the job is."""
        self._done.set(done / max(1, files), {"job": self._job})
