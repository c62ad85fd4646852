"""Connects to Ray or starts it, silencing its output, and lists its machines."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from videomae_cli import system
from videomae_cli.arguments import at_least
from videomae_cli.errors import ClusterError, DependencyError, OptionError, Wording, say
from videomae_cli.visible import byte_size

log = logging.getLogger(__name__)

_AUTH_MODE, _AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
# How long a machine may be away before a job that needs it ends.
LOST_SECONDS = 20.0
# Time limit for a TCP connection to the cluster.
_CONNECT_SECONDS = 10.0
_INSTALL = "pip install 'videomae-cli[ray]'"


# Cores that Ray reserves for a decoding task, and for an actor or a task that mostly waits. Actors reserve almost none,
# since their model shares the cores of the decoding tasks, which pause while it can't keep up. Not 0, so that Ray
# places nothing on a machine that offers no cores.
# What waits is so little that a hundred such processes and a decoder fit on a machine with one core.
DECODING_CPUS, WAITING_CPUS = 0.99, 0.0001


@dataclass(frozen=True)
class Node:
    """One machine. address: as Ray knows it; cpus, gpus: how many Ray may use; store: bytes of its object store, 0 if unknown."""

    id: str
    address: str
    cpus: int
    gpus: float
    store: int = 0


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

    def crowded(self, group: int) -> str | None:
        """Say which machine's object store is too small for a group of clips of so many bytes; None if none is."""
        small = min((node for node in self.at_work if node.store), key=lambda node: node.store, default=None)
        if small is None or small.store >= group:
            return None
        return say(
            "the object store of {address} has {store}, but clips travel in groups of {group}, which Ray will write to its "
            "disk: give it more there with `ray start --object-store-memory`, or give a smaller {@batch_size}",
            address=small.address,
            store=byte_size(small.store),
            group=byte_size(group),
        )

    def workers(self, count: int | None, gpus: float | None) -> Workers:
        """Determine the actors for the options. None: one actor per GPU, or per machine if there are no GPUs.

        Raises OptionError for invalid values, ClusterError for what this cluster lacks.
        """
        check_workers(count, gpus)
        each = gpus if gpus is not None else float(self.gpus > 0)
        fitting = [int(node.gpus / each + 1e-6) if each else 1 for node in self.at_work]
        if not self.at_work and (self.local or count is None):
            raise ClusterError.about(
                "cluster",
                "no machine of the cluster offers Ray a core",
                remedy=Wording(
                    "start one with `ray start --num-cpus 1` or more, or give {@num_workers} to wait for machines"
                ),
                joined=": ",
            )
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


@dataclass
class Placement:
    """Notices when no machine is left on which a job's work could ever run: Ray waits for one in silence, and for ever.

    Raises nothing about what the cluster lacked from the beginning: it is then one that grows.
    """

    workers: Workers
    before: Cluster
    _since: float | None = None

    def check(self, now: Sequence[Node], seconds: float) -> None:
        """Raise ClusterError if the machines have been lacking something for `LOST_SECONDS`. seconds: of any clock."""
        missing = self._missing(Cluster(tuple(now), self.before.local))
        if missing is None or self._missing(self.before) is not None:
            self._since = None
            return
        if self._since is None:
            self._since = seconds
        if seconds - self._since >= LOST_SECONDS:
            gone = len({node.id for node in self.before.nodes} - {node.id for node in now})
            raise ClusterError.about(
                "cluster",
                "{gone} of {count} machines of the cluster are gone, and no machine that is left has {missing}",
                gone=gone,
                count=len(self.before.nodes),
                missing=missing,
            )

    def _missing(self, cluster: Cluster) -> str | None:
        if not cluster.at_work:
            return "a core for Ray to decode with"
        each = self.workers.gpus
        if each and not any(node.gpus + 1e-6 >= each for node in cluster.at_work):
            return f"the {each:g} GPU that a worker needs"
        return None


def check_workers(count: int | None, gpus: float | None) -> None:
    """Raise OptionError for a number of workers, or of GPUs for each, that no cluster has."""
    at_least(1, num_workers=count)
    if gpus is not None and not (0 <= gpus <= 1 or gpus == gpus // 1 > 0):
        reason = "{@gpus_per_worker} is a part of a GPU, such as 0.5, or a whole number, not {gpus:g}"
        raise OptionError.about("gpus_per_worker", reason, gpus=gpus)


@contextmanager
def connect(address: str, *, debug: bool = False) -> Iterator[Cluster]:
    """Connect to a cluster for the duration of the block.

    address: "auto" for the one that this process is connected to and stays so, else the one that this machine belongs to
    (RAY_ADDRESS, or one that was started here); "local" to start one on this machine that ends with the block; HOST:PORT or
    ray://HOST:PORT. Raises DependencyError without Ray, ClusterError if there is no cluster.
    """
    ray = load_ray(debug=debug)
    with ExitStack() as stack:
        stack.enter_context(_own_environment())
        if not debug:
            stack.enter_context(_silent("ray", "ray.data"))
            stack.enter_context(_without_raw_lines(ray))
        yield from _connected(ray, address, debug=debug)


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Silence loggers for the block, then restore them: the program that uses this package may need them."""
    levels = {log: log.level for log in map(logging.getLogger, names)}
    try:
        for log in levels:
            log.setLevel(logging.CRITICAL)
        yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)


@contextmanager
def _own_environment() -> Iterator[None]:
    """Restore after the block what `ray.init` leaves in the environment: its debugger as `breakpoint()`, and how it authenticates."""
    before = {name: os.environ.get(name) for name in ("PYTHONBREAKPOINT", _AUTH_MODE, _AUTH_TOKEN)}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _set_token() -> None:
    """Give a cluster that only this job uses a token of its own.

    Ray would write one to ~/.ray/auth_token, and from then on every `ray start` and every address would ask for it.
    """
    if not any(name in os.environ for name in (_AUTH_MODE, _AUTH_TOKEN, f"{_AUTH_TOKEN}_PATH")):
        os.environ[_AUTH_TOKEN] = secrets.token_hex(32)


@contextmanager
def _without_raw_lines(ray: Any) -> Iterator[None]:
    """Keep Ray from printing its machines' messages, in colour, past its own log: it has no setting for that."""
    worker = getattr(getattr(ray, "_private", None), "worker", None)
    name = "print_to_stdstream"
    before = getattr(worker, name, None)
    if before is None:
        yield
        return
    try:
        setattr(worker, name, lambda *given, **named: log.debug("%s", given))
        yield
    finally:
        setattr(worker, name, before)


def _connected(ray: Any, address: str, *, debug: bool) -> Iterator[Cluster]:
    if ray.is_initialized():  # by the program that uses this package: leave its session open
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
    options: dict[str, Any] = {}
    if address == "local":
        _set_token()
        options["include_dashboard"] = False
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
    """Import ray with usage reports and, unless debug, the log of its C++ code disabled. Raises DependencyError."""
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
    return ray


def nodes_of(described: Sequence[dict[str, Any]]) -> tuple[Node, ...]:
    """Return the machines that are alive, from Ray's own list."""
    return tuple(
        Node(
            id=str(node["NodeID"]),
            address=str(node.get("NodeManagerAddress", "")),
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=float(node["Resources"].get("GPU", 0)),
            store=int(node["Resources"].get("object_store_memory", 0)),
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
