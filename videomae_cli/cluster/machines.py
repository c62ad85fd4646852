"""Keeps account of the machines that a job does without, and of the files that machines handed back for others to try.

A file that can't be fetched may be the fault of the machine that tried. Such a machine finishes much work in little time,
all of it failures, so it must get none: its files come back, and other machines do them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from videomae_cli.cluster.attempts import Standing
from videomae_cli.cluster.clip_rows import Refusal
from videomae_cli.cluster.session import Cluster, Node, Workers, nodes_of
from videomae_cli.errors import ClusterError

_LABEL = "ray.io/node-id"
# Without progress for so long, clips are held up by something; a film may well take longer.
CLIP_SECONDS, FILM_SECONDS = 120.0, 1800.0


@dataclass(frozen=True)
class Errand:
    """Files of the list, as ranges, that any machine may do but `without`."""

    ranges: tuple[range, ...]
    without: frozenset[str] = frozenset()

    @property
    def options(self) -> dict[str, Any]:
        """Ray's options that keep the work off those machines."""
        return {"label_selector": {_LABEL: f"!in({','.join(sorted(self.without))})"}} if self.without else {}


@dataclass
class Machines:
    """The machines of a running job. before: those that there were at first; note: is told of each that is lost; now: tells
    which there are; lost: those that get no more work; handed: file of the list -> the machine that gave it back;
    on_lost: is told the machine and why; patience: seconds without progress before that is said."""

    before: Cluster
    note: Callable[[str], object]
    now: Callable[[], Sequence[Node]] = lambda: _nodes_now()
    lost: set[str] = field(default_factory=set)
    handed: dict[int, str] = field(default_factory=dict)
    on_lost: Callable[[str, str], object] = lambda id, reason: None
    patience: float = CLIP_SECONDS
    _heard: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._silent = self.patience

    @property
    def options(self) -> dict[str, Any]:
        """Ray's options for work on any machine that isn't lost."""
        return Errand((), frozenset(self.lost)).options

    def left(self) -> Cluster:
        """Return the cluster without the machines that are lost."""
        return Cluster(tuple(node for node in self.now() if node.id not in self.lost), self.before.local)

    def take_back(self, first: int, refusal: Refusal) -> None:
        """Note that a machine handed files back. Raises ClusterError if it is lost thereby, and none is left."""
        if refusal.lost:
            self.lose(refusal.node, refusal.reason)
            return
        for place in range(first, refusal.stop):
            self.handed[place] = refusal.node

    def lose(self, id: str, reason: str) -> None:
        """Give a machine no more work. reason: what it can't, as the end of a sentence.

        Raises ClusterError if no machine is left.
        """
        if id in self.lost:
            return
        self.lost.add(id)
        self.on_lost(id, reason)
        known = {node.id: node.address for node in (*self.before.nodes, *self.now())}
        address, count = known.get(id, id), len(self.lost)
        if not self.left().at_work:
            who = "the machine" if count == 1 else f"all {count} machines"
            raise ClusterError.about(
                address,
                "{who} of the cluster lost the storage, {subject} at last: it {reason}",
                who=who,
                reason=reason,
                remedy="see that it is up and can be reached from there",
                joined="; ",
            )
        self.note(f"{address} gets no more work of this job: it {reason}")

    def heard(self) -> None:
        """Note that the job makes progress."""
        self._heard, self._silent = time.monotonic(), self.patience

    def say_silence(self, standing: Callable[[], Standing]) -> None:
        """If there has been no progress for long, say why; then again after twice the time."""
        silent = time.monotonic() - self._heard
        if silent < self._silent:
            return
        self._silent *= 2
        found, addresses = standing(), {node.id: node.address for node in self.left().nodes}
        waiting = [f"{addresses[id]} waits for storage ({why})" for id, why in found.waits.items() if id in addresses]
        if waiting:
            because = waiting[0] + (f" (1 of {len(waiting)} machines that wait)" if len(waiting) > 1 else "")
        elif found.under_way:
            because = f"{found.under_way} pieces of work are under way and none has ended"
        else:
            because = "no machine has begun work: their cores or GPUs may be taken by other jobs"
        self.note(f"nothing for {silent / 60:.0f} min: {because}")

    def errands(self, left: Iterable[range], *, again: bool) -> list[Errand]:
        """Divide what is left: what was never handed back, or (`again`) the rest, by the machines that must not do it."""
        if not self.handed:
            whole = tuple(left)
            return [Errand(whole, frozenset(self.lost))] if whole and not again else []
        found: dict[str | None, list[range]] = {}
        for files in left:
            for node, places in groupby(files, self.handed.get):
                run = list(places)
                found.setdefault(node, []).append(range(run[0], run[-1] + 1))
        alive = {node.id for node in self.left().at_work}
        errands = []
        for node, ranges in found.items():
            if (node is not None) == again:
                others = {node} if node is not None and alive - {node} else set()
                errands.append(Errand(tuple(ranges), frozenset(self.lost | others)))
        return errands

    def workers(self, asked: Workers) -> int:
        """Return how many models the machines that are left have room for."""

        def room(nodes: Iterable[Node]) -> int:
            return sum(int(node.gpus / asked.gpus + 1e-6) if asked.gpus else 1 for node in nodes)

        if not self.lost:
            return asked.count
        before = max(1, room(self.before.at_work))
        return max(1, min(asked.count, -(-asked.count * room(self.left().at_work) // before)))


def _nodes_now() -> tuple[Node, ...]:
    import ray

    return nodes_of(ray.nodes())
