"""What is made of a cluster's machines, and of errors that come from them; no Ray needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from videomae_cli import __version__
from videomae_cli.cluster import session
from videomae_cli.cluster.models import Description, own_error
from videomae_cli.cluster.session import Cluster, Node, Workers, nodes_of
from videomae_cli.cluster.survey import Trial, _visit
from videomae_cli.errors import CheckpointError, ClusterError, OptionError
from videomae_cli.jobs import Settings
from videomae_cli.video import ClipRequest


def cluster(*machines: tuple[int, float], local: bool = False) -> Cluster:
    nodes = tuple(Node(str(n), f"10.0.0.{n}", cpus, gpus) for n, (cpus, gpus) in enumerate(machines))
    return Cluster(nodes, local)


HEAD = (0, 0.0)  # as clusters often have it: no cores for work


@pytest.mark.parametrize(
    ("machines", "count", "gpus", "expected"),
    [
        ([(2, 0)], None, None, Workers(1, 0.0, 2)),
        ([HEAD, (16, 0), (32, 0)], None, None, Workers(2, 0.0, 16)),
        ([HEAD, (16, 0), (16, 0)], 4, None, Workers(4, 0.0, 8)),
        ([HEAD, (16, 4), (16, 4)], None, None, Workers(8, 1.0, 4)),
        ([HEAD, (16, 4), (16, 4)], None, 0.5, Workers(16, 0.5, 2)),
        ([HEAD, (16, 4), (16, 3)], None, 2.0, Workers(3, 2.0, 8)),
        ([HEAD, (16, 4)], None, 0.0, Workers(1, 0.0, 16)),
        ([HEAD, (16, 4)], 2, 1.0, Workers(2, 1.0, 8)),
    ],
)
def test_a_worker_a_gpu_or_a_machine(
    machines: list[tuple[int, float]], count: int | None, gpus: float | None, expected: Workers
) -> None:
    workers = cluster(*machines).workers(count, gpus)
    assert workers == expected
    assert workers.device == ("cuda" if workers.gpus else "cpu")


def test_what_is_not_there_is_told_and_what_may_come_is_waited_for() -> None:
    with pytest.raises(ClusterError, match="no machine of the cluster has 1 GPUs"):
        cluster((8, 0)).workers(None, 1.0)
    assert cluster((8, 0)).workers(4, 1.0).count == 4, "a cluster that grows by itself"
    with pytest.raises(ClusterError, match="no machine"):
        cluster((8, 0), local=True).workers(4, 1.0)
    with pytest.raises(ClusterError, match="num_workers=1 or less"):
        cluster((8, 1), local=True).workers(4, 1.0)
    for count, gpus in ((0, None), (None, -1.0), (None, 1.5)):
        with pytest.raises(OptionError):
            cluster((8, 2)).workers(count, gpus)


def test_rays_list_of_machines() -> None:
    alive = {"NodeID": "a", "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}
    head = {"NodeID": "b", "NodeManagerAddress": "10.0.0.2", "Alive": True, "Resources": {"memory": 1.0}}
    dead = {**alive, "Alive": False}
    nodes = nodes_of([alive, head, dead])
    assert nodes == (Node("a", "10.0.0.1", 8, 2.0), Node("b", "10.0.0.2", 0, 0.0))
    assert Cluster(nodes, False).at_work == nodes[:1]


def test_a_machine_that_lacks_something_says_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.mp4").write_bytes(b"")
    assert _visit(str(tmp_path), ["here.mp4"]) == (__version__, None)
    assert _visit(str(tmp_path), ["here.mp4", "gone.mp4"]) == (__version__, "gone.mp4")
    assert _visit(str(tmp_path / "gone"), []) == (__version__, str(tmp_path / "gone"))


def test_our_own_error_is_found_in_rays() -> None:
    assert own_error(ValueError("no")) is None
    inner = CheckpointError("weights are damaged")
    outer = RuntimeError("task failed")
    outer.__cause__ = inner
    assert own_error(outer) is inner
    both = type("RayTaskError(CheckpointError)", (RuntimeError, CheckpointError), {"cause": inner})("a traceback")
    assert own_error(both) is inner
    text = RuntimeError("The actor died.\n  File ...\nvideomae_cli.errors.CheckpointError: weights are damaged\n")
    found = own_error(text)
    assert (type(found), str(found)) == (CheckpointError, "weights are damaged")
    assert own_error(RuntimeError("videomae_cli.errors.annotations: no")) is None


def test_machines_must_agree() -> None:
    first = Description(Settings("embed", "1", {"dtype": "bfloat16", "crop": (64, 64)}), ClipRequest(""), 1, 1)
    first.check(first)
    other = replace(first, settings=Settings("embed", "1", {"dtype": "float16", "crop": (64, 64)}))
    with pytest.raises(ClusterError, match="dtype was bfloat16, now float16"):
        first.check(other)


def test_an_estimate_adds_on_cores_and_takes_the_slower_beside_gpus() -> None:
    trial = Trial(files=10, failed=1, clips=20, decode_seconds=0.5, model_seconds=0.1)
    on_cpus = trial.whole(1000, cluster((5, 0), (5, 0)), Workers(2, 0.0, 5), None)
    assert (on_cpus.decoding, on_cpus.model, on_cpus.seconds, on_cpus.clips) == (50.0, 100.0, 150.0, 2000)
    on_gpus = trial.whole(1000, cluster((5, 2), (5, 2)), Workers(4, 1.0, 1), None)
    assert (on_gpus.decoding, on_gpus.model, on_gpus.seconds) == (50.0, 50.0, 50.0)
    assert trial.whole(1000, cluster((10, 0)), Workers(1, 0.0, 10), 2).decoding == 250.0


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine under load Ray raises a plain Exception."""

    def init(**options: object) -> None:
        raise Exception("The current node timed out\nduring startup.")

    stopped: list[bool] = []
    ray = SimpleNamespace(init=init, shutdown=lambda: stopped.append(True), is_initialized=lambda: False)
    monkeypatch.setattr(session, "load_ray", lambda debug: ray)
    with pytest.raises(ClusterError, match=r"can't start Ray on this machine: The current node timed out during"):
        session.connect("local").__enter__()
    assert stopped


def test_the_session_of_a_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which neither a second `ray.init` nor a shutdown would leave alone."""
    alive = {"NodeID": "1", "Alive": True, "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0}}
    ray = SimpleNamespace(is_initialized=lambda: True, nodes=lambda: [alive])
    monkeypatch.setattr(session, "load_ray", lambda debug: ray)
    with session.connect("auto") as connected:
        assert (connected.cpus, connected.local) == (4, False)
    with pytest.raises(ClusterError, match="already: leave out address, or call"), session.connect("local"):
        raise AssertionError
