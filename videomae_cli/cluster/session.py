"""Connects to Ray or starts it, silencing its output, and lists its machines."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from videomae_cli import system
from videomae_cli.arguments import at_least
from videomae_cli.errors import ClusterError, DependencyError, OptionError, Wording, say

# Time limit for a TCP connection to the cluster.
_CONNECT_SECONDS = 10.0
_INSTALL = "pip install 'videomae-cli[ray]'"


# Cores that Ray reserves for a decoding task, and for an actor or a task that mostly waits. Actors reserve almost none,
# since their model shares the cores of the decoding tasks, which pause while it can't keep up. Not 0, so that Ray
# places nothing on a machine that offers no cores.
DECODING_CPUS, WAITING_CPUS = 0.99, 0.01


@dataclass(frozen=True)
class Node:
    """One machine. address: as Ray knows it; cpus, gpus: how many Ray may use."""

    id: str
    address: str
    cpus: int
    gpus: float


@dataclass(frozen=True)
class Workers:
    """The actors that hold a model. count: how many; gpus: per actor; threads: PyTorch's threads in each, on a CPU."""

    count: int
    gpus: float
    threads: int

    @property
    def device(self) -> str:
        """The device on which these workers run a model unless the user has chosen one."""
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True)
class Cluster:
    """The machines of a cluster. local: it was started for this job, on this machine."""

    nodes: tuple[Node, ...]
    local: bool

    @property
    def cpus(self) -> int:
        """The total number of cores, which is how many files may be decoded at once."""
        return sum(node.cpus for node in self.nodes)

    @property
    def at_work(self) -> tuple[Node, ...]:
        """The machines that can get work: a cluster's head node often offers no cores."""
        return tuple(node for node in self.nodes if node.cpus)

    @property
    def gpus(self) -> float:
        """The total number of GPUs."""
        return sum(node.gpus for node in self.nodes)

    def workers(self, count: int | None, gpus: float | None) -> Workers:
        """Determine the actors for the options. None: one actor per GPU, or per machine if there are no GPUs.

        Raises OptionError for invalid values, ClusterError for what this cluster lacks.
        """
        check_workers(count, gpus)
        each = gpus if gpus is not None else float(self.gpus > 0)
        fitting = [int(node.gpus / each + 1e-6) for node in self.nodes] if each else [1 for node in self.at_work]
        # An autoscaling cluster may have no GPU machine yet: with an explicit number of workers, wait for them.
        if each and not sum(fitting) and (self.local or count is None):
            raise ClusterError.about(
                "gpus_per_worker",
                "no machine of the cluster has {each:g} GPUs",
                each=each,
                remedy=Wording(
                    "give less with {@gpus_per_worker}, 0 for CPUs, or {@num_workers} to wait for machines that have"
                ),
            )
        chosen = count or max(1, sum(fitting))
        if self.local and each and chosen > sum(fitting):
            raise ClusterError.about(
                "num_workers",
                "{chosen} workers with {each:g} GPUs each are more than {gpus:g} GPUs hold",
                chosen=chosen,
                each=each,
                gpus=self.gpus,
                remedy=Wording("give {@num_workers:{fitting}} or less", fitting=sum(fitting)),
            )
        together = -(-chosen // max(1, len(self.at_work)))
        cores = min((node.cpus for node in self.at_work), default=1)
        return Workers(chosen, each, max(1, cores // together))


def check_workers(count: int | None, gpus: float | None) -> None:
    """Raise OptionError for a number of workers, or of GPUs for each, that no cluster has."""
    at_least(1, num_workers=count)
    if gpus is not None and not (0 <= gpus <= 1 or gpus == gpus // 1 > 0):
        raise OptionError.about(
            "gpus_per_worker",
            "{@gpus_per_worker} is a part of a GPU, such as 0.5, or a whole number, not {gpus:g}",
            gpus=gpus,
        )


@contextmanager
def connect(address: str, *, debug: bool = False) -> Iterator[Cluster]:
    """Connect to a cluster for the duration of the block.

    address: "auto" for the one that this process is connected to and stays so, else the one that this machine belongs to
    (RAY_ADDRESS, or one that was started here); "local" to start one on this machine that ends with the block; HOST:PORT or
    ray://HOST:PORT. Raises DependencyError without Ray, ClusterError if there is no cluster.
    """
    ray = load_ray(debug=debug)
    if ray.is_initialized():  # by a program of which this is a part: its session goes on
        if address != "auto":
            raise ClusterError.about(
                "address",
                "this process is connected to a cluster already",
                remedy=Wording("leave out {@address}, or call ray.shutdown() before"),
            )
        yield Cluster(nodes_of(ray.nodes()), local=False)
        return
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address not in ("auto", "local"):
        _check_reachable(address)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        with nullcontext() if debug else system.silenced(2):  # Ray's C++ code writes to stderr whatever its log level
            ray.init(
                address=address,
                log_to_driver=debug,
                logging_level=logging.INFO if debug else logging.CRITICAL,
                configure_logging=debug,
                **options,
            )
    except Exception as error:  # a node that is slow to start raises a plain Exception
        ray.shutdown()
        raise ClusterError(_no_cluster(address, error), subject=address) from None
    try:
        yield Cluster(nodes_of(ray.nodes()), address == "local")
    finally:
        ray.shutdown()


def load_ray(*, debug: bool = False) -> Any:
    """Import ray with its logging silenced (unless debug) and usage reports disabled. Raises DependencyError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not debug:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DependencyError.about(
            "cluster", "{@cluster:ray} needs the package ray: {install} ({error})", install=_INSTALL, error=error
        ) from None
    if not debug:
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def nodes_of(described: Sequence[dict[str, Any]]) -> tuple[Node, ...]:
    """Return the machines that are alive, from Ray's own list."""
    return tuple(
        Node(
            id=str(node["NodeID"]),
            address=str(node.get("NodeManagerAddress", "")),
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=float(node["Resources"].get("GPU", 0)),
        )
        for node in described
        if node["Alive"]
    )


def _check_reachable(address: str) -> None:
    """Raise OptionError for an invalid address, ClusterError if nothing listens there: Ray itself would try for minutes."""
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise OptionError.about(
            "address", "{@address} is auto, local, HOST:PORT or ray://HOST:PORT, not {address!r}", address=address
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(_no_cluster(address, error), subject=address) from None


def _no_cluster(address: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if address == "local":
        return f"can't start Ray on this machine: {reason[:200]}"
    if address == "auto":
        return say(
            "no Ray cluster was found from here: give its {@address:HOST:PORT}, or {@address:local} for this machine alone"
        )
    return say(
        "can't reach a Ray cluster at {address}: is `ray start --head` running there, and this address right?",
        address=address,
    )
