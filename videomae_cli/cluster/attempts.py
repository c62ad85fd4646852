"""Counts how often the process that does a piece of work dies, and finds the file that costs it.

Ray repeats the work of a process that died for as long as it takes. A film that kills whatever touches it would then be
tried for ever, so every process says here what it begins and ends. What was begun and not ended when it begins again has
cost a process; from then on its files are done one at a time, each announced before, until one of them is convicted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from videomae_cli.errors import ClusterError

# What the death of a process, and of a whole machine, counts for against the file that it had in hand, and the sum that
# convicts: machines are taken away for many reasons, a process alone dies of its work.
_PROCESS, _MACHINE, _CONVICTED = 2, 1, 4
# Deaths of one piece of work before any of its files was in hand.
_MOST_EMPTY_HANDED = 8
# A machine that waits for storage says so before each pause, of which the longest is shorter than this.
_WAIT_SECONDS = 60.0
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Attempt:
    """One try of a piece of work. deaths: of earlier tries; convicted: indices of files that must not be tried again, each with
    the number of processes that it cost."""

    deaths: int = 0
    convicted: dict[int, int] = field(default_factory=dict)

    @property
    def careful(self) -> bool:
        """Whether to do the files one at a time, and to announce each."""
        return self.deaths > 0


class Witness(Protocol):
    """Receives what a process begins, has in hand and ends: an `Attempts`, here or, as `RemoteAttempts`, elsewhere."""

    def begin(self, work: Hashable, node: str) -> Attempt:
        """Note that a process on a machine begins a piece of work; return how earlier tries went."""

    def hold(self, work: Hashable, place: int | None) -> None:
        """Note which file of the work is in hand from now on; None for none."""

    def end(self, work: Hashable) -> None:
        """Note that the work is done."""

    def forget(self) -> None:
        """Forget all work that has begun: it was called off, and no process died of it."""

    def wait(self, node: str, reason: str) -> None:
        """Note that a machine waits for storage."""

    def standing(self) -> Standing:
        """Return what is being done, and who waits."""


@dataclass(frozen=True)
class Standing:
    """What a job is doing. under_way: pieces of work; waits: machines that wait for storage -> why."""

    under_way: int = 0
    waits: dict[str, str] = field(default_factory=dict)


@dataclass
class _History:
    """What is known of a piece of work that has begun and not ended. node: the machine it is on."""

    node: str
    hand: int | None = None
    deaths: int = 0
    empty_handed: int = 0
    blame: Counter[int] = field(default_factory=Counter)
    cost: Counter[int] = field(default_factory=Counter)


class Attempts:
    """Remembers the tries of all work in progress. alive: tells whether a machine is still part of the cluster."""

    def __init__(self, alive: Callable[[str], bool] | None = None) -> None:
        self._alive = alive or _is_alive
        self._histories: dict[Hashable, _History] = {}
        self._waits: dict[str, tuple[str, float]] = {}

    def begin(self, work: Hashable, node: str) -> Attempt:
        """Note that a process on a machine begins a piece of work; return how earlier tries went.

        Raises ClusterError if one process after the other dies before it has a file in hand.
        """
        known = self._histories.get(work)
        if known is None:
            self._histories[work] = _History(node)
            return Attempt()
        known.deaths += 1
        if known.hand is not None:
            known.blame[known.hand] += _PROCESS if self._alive(known.node) else _MACHINE
            known.cost[known.hand] += 1
            known.empty_handed = 0
        else:
            known.empty_handed += 1
        known.hand, known.node = None, node
        if known.empty_handed > _MOST_EMPTY_HANDED:
            raise ClusterError.about(
                "cluster",
                "{count} processes died one after the other, before they could begin their work",
                count=known.empty_handed,
            )
        convicted = {place: known.cost[place] for place, blame in known.blame.items() if blame >= _CONVICTED}
        return Attempt(known.deaths, convicted)

    def hold(self, work: Hashable, place: int | None) -> None:
        """Note which file of the work is in hand from now on; None for none."""
        if work in self._histories:
            self._histories[work].hand = place

    def end(self, work: Hashable) -> None:
        """Forget a piece of work that is done."""
        self._histories.pop(work, None)

    def forget(self) -> None:
        """Forget all work that has begun: it was called off, and no process died of it."""
        self._histories.clear()

    def wait(self, node: str, reason: str) -> None:
        """Note that a machine waits for storage."""
        self._waits[node] = reason, time.monotonic()

    def standing(self) -> Standing:
        """Return what is being done, and who waits."""
        since = time.monotonic() - _WAIT_SECONDS
        return Standing(len(self._histories), {node: why for node, (why, at) in self._waits.items() if at > since})


@dataclass(frozen=True)
class RemoteAttempts:
    """Passes everything on to the `Attempts` of the job, in a process of its own. If that is lost, so is what it knew."""

    actor: Any

    def begin(self, work: Hashable, node: str) -> Attempt:
        """Note that a process on a machine begins a piece of work; return how earlier tries went."""
        import ray

        with suppress(ray.exceptions.RayActorError):
            attempt: Attempt = ray.get(self.actor.begin.remote(work, node))
            return attempt
        return Attempt()

    def hold(self, work: Hashable, place: int | None) -> None:
        """Note which file of the work is in hand, before this process may die of it; None for none."""
        import ray

        with suppress(ray.exceptions.RayActorError):
            ray.get(self.actor.hold.remote(work, place))

    def end(self, work: Hashable) -> None:
        """Note that the work is done, without waiting."""
        self.actor.end.remote(work)

    def forget(self) -> None:
        """Forget all work that has begun: it was called off, and no process died of it."""
        import ray

        with suppress(ray.exceptions.RayActorError):
            ray.get(self.actor.forget.remote())

    def wait(self, node: str, reason: str) -> None:
        """Note that a machine waits for storage, without waiting."""
        self.actor.wait.remote(node, reason)

    def standing(self) -> Standing:
        """Return what is being done, and who waits."""
        import ray

        found: Standing = ray.get(self.actor.standing.remote(), timeout=_ANSWER_SECONDS)
        return found


def remote_attempts() -> RemoteAttempts:
    """Start the `Attempts` of a job on the connected cluster, beside the process that runs the command."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": beside}
    return RemoteAttempts(ray.remote(**options)(Attempts).remote())


def here() -> str:
    """Return Ray's name of the machine that this process runs on; empty outside a cluster."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def _is_alive(node: str) -> bool:
    import ray

    return any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())
