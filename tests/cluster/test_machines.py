"""What is made of a cluster's machines, and of errors that come from them; no Ray needed."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from videomae_cli import __version__
from videomae_cli.cluster import session
from videomae_cli.cluster.models import Description, own_error
from videomae_cli.cluster.requirements import Requirements
from videomae_cli.cluster.session import Cluster, Node, Workers, nodes_of
from videomae_cli.cluster.survey import Trial, _visit
from videomae_cli.errors import CheckpointError, ClusterError, OptionError
from videomae_cli.jobs import Settings
from videomae_cli.video import ClipRequest


def cluster(*machines: tuple[int, float], local: bool = False) -> Cluster:
    nodes = tuple(Node(str(n), f"10.0.0.{n}", cpus, gpus) for n, (cpus, gpus) in enumerate(machines))
    return Cluster(nodes, local)


HEAD = (0, 0.0)  # as clusters often have it: no cores for work


def test_a_store_that_holds_no_group_is_said_before_the_job() -> None:
    stores = (0, 300, 200, 10)
    nodes = tuple(
        Node(str(n), f"10.0.0.{n}", int(n < 3), 0.0, store * 10**6) for n, store in enumerate(stores)
    )  # one whose store isn't known, and one that gets no work
    assert Cluster(nodes, False).crowded(200 * 10**6) is None
    said = Cluster(nodes, False).crowded(506 * 10**6) or ""
    assert said.startswith(
        "the object store of 10.0.0.2 has 200.0 MB, but clips travel in groups of 506.0 MB, which Ray"
    )
    assert said.endswith("or give a smaller batch_size")
    (node,) = nodes_of([{"NodeID": "a", "Alive": True, "Resources": {"object_store_memory": 5.0}}])
    assert node.store == 5


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


def test_a_model_and_a_decoder_fit_on_one_core() -> None:
    """And the models of machines that died, what writes shards, and what looks at the model of a next job."""
    for others in range(100):
        assert session.DECODING_CPUS + others * session.WAITING_CPUS <= 1
    for cores in (1, 2, 16, 96):
        assert int(cores / session.DECODING_CPUS) == cores


def test_a_cluster_that_offers_no_core_is_told_at_once() -> None:
    with pytest.raises(ClusterError, match=r"no machine of the cluster offers Ray a core: start one with"):
        cluster(HEAD).workers(None, None)
    with pytest.raises(ClusterError, match="offers Ray a core"):
        cluster((0, 4)).workers(None, 1.0)
    assert cluster(HEAD).workers(2, None).count == 2, "a cluster that grows by itself"
    assert cluster((8, 0), (0, 4), (8, 1)).workers(None, 1.0).count == 1, "a model needs a trace of a core too"


@pytest.mark.parametrize(
    ("before", "after", "gpus", "missing"),
    [
        ([(1, 0), (1, 0)], [(1, 0)], 0.0, None),
        (
            [HEAD, (1, 0), (1, 0)],
            [HEAD],
            0.0,
            "2 of 3 machines of the cluster are gone, and no machine that is left has a core",
        ),
        ([(8, 0), (8, 2)], [(8, 0)], 1.0, "1 of 2 machines .* has the 1 GPU that a worker needs"),
        ([(8, 2), (8, 2)], [(8, 2)], 2.0, None),
        ([(8, 2), (8, 1)], [(8, 2), (8, 1)][1:], 2.0, "has the 2 GPU"),
        ([HEAD], [HEAD], 0.0, None),  # one that grows: its machines are yet to come
    ],
)
def test_work_that_no_machine_left_can_do_ends_the_job(
    before: list[tuple[int, float]], after: list[tuple[int, float]], gpus: float, missing: str | None
) -> None:
    placement = session.Placement(Workers(2, gpus, 1), cluster(*before))
    left = tuple(node for node in cluster(*before).nodes if (node.cpus, node.gpus) in after)
    placement.check(left, 0.0)
    placement.check(cluster(*before).nodes, 10.0)  # it came back
    placement.check(left, 1000.0)
    placement.check(left, 1000.0 + session.LOST_SECONDS / 2)
    if missing is None:
        placement.check(left, 1e6)
        return
    with pytest.raises(ClusterError, match=missing):
        placement.check(left, 1000.0 + session.LOST_SECONDS)


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
    assert _visit(Requirements(str(tmp_path), ("here.mp4",))) == (__version__, None)
    for needed, missing in (
        (Requirements(str(tmp_path), ("here.mp4", "gone.mp4")), "gone.mp4"),
        (Requirements(str(tmp_path / "gone")), str(tmp_path / "gone")),
    ):
        version, lacking = _visit(needed)
        assert version == __version__
        assert (lacking or "").startswith(f"does not see {missing}: files, and the output, must be on storage that all")


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
    assert on_cpus is not None
    assert (on_cpus.decoding, on_cpus.model, on_cpus.seconds, on_cpus.clips) == (50.0, 100.0, 150.0, 2000)
    on_gpus = trial.whole(1000, cluster((5, 2), (5, 2)), Workers(4, 1.0, 1), None)
    assert on_gpus is not None
    assert (on_gpus.decoding, on_gpus.model, on_gpus.seconds) == (50.0, 50.0, 50.0)
    few = trial.whole(1000, cluster((10, 0)), Workers(1, 0.0, 10), 2)
    assert few is not None
    assert few.decoding == 250.0
    assert replace(trial, failed=10).whole(1000, cluster((10, 0)), Workers(1, 0.0, 10), 2) is None


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


@pytest.mark.parametrize("given", [None, "mine"])
def test_a_cluster_of_its_own_leaves_no_token(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would keep one in ~/.ray, and refuse what anybody starts or connects to later."""
    seen: list[str | None] = []
    printed: list[object] = []

    def init(**options: object) -> None:
        seen.append(os.environ.get("RAY_AUTH_TOKEN"))
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
        worker.print_to_stdstream("a message of a machine")
        raise Exception("no")

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv("RAY_AUTH_TOKEN", given)
    worker = SimpleNamespace(print_to_stdstream=lambda *lines: printed.append(lines))
    private = SimpleNamespace(worker=worker)
    ray = SimpleNamespace(init=init, is_initialized=lambda: False, shutdown=lambda: None, _private=private)
    monkeypatch.setattr(session, "load_ray", lambda debug: ray)
    with pytest.raises(ClusterError), session.connect("local"):
        raise AssertionError
    (token,) = seen
    assert token == given if given else len(token or "") == 64
    assert (os.environ.get("RAY_AUTH_TOKEN"), os.environ.get("RAY_AUTH_MODE")) == (given, None)
    assert printed == []
    worker.print_to_stdstream("later")
    assert printed == [("later",)]


@pytest.mark.parametrize("address", ["auto", "local"])
def test_ray_leaves_loggers_and_breakpoint_as_they_were(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        os.environ["PYTHONBREAKPOINT"] = "ray.util.rpdb._driver_set_trace"  # as Ray does
        raise Exception("no")

    ray = SimpleNamespace(is_initialized=lambda: address == "auto", nodes=list, init=init, shutdown=lambda: None)
    monkeypatch.setattr(session, "load_ray", lambda debug: ray)
    logs = [logging.getLogger("ray"), logging.getLogger("ray.data")]
    before = [log.level for log in logs]
    for log, level in zip(logs, (logging.INFO, logging.DEBUG), strict=True):
        log.setLevel(level)
    try:
        for debugger in ("pdb.set_trace", None):
            monkeypatch.setenv("PYTHONBREAKPOINT", debugger) if debugger else monkeypatch.delenv("PYTHONBREAKPOINT")
            with suppress(ClusterError), session.connect(address):
                assert [log.level for log in logs] == [logging.CRITICAL, logging.CRITICAL]
            assert [log.level for log in logs] == [logging.INFO, logging.DEBUG]
            assert os.environ.get("PYTHONBREAKPOINT") == debugger
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)
