"""Files that one machine can't fetch are handed to others, and a machine that can fetch none gets no more; no Ray needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import write_video

from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster import decoding as decoding_module
from videomae_cli.cluster import inference as inference_module
from videomae_cli.cluster import machines as machines_module
from videomae_cli.cluster.attempts import Attempts, Standing
from videomae_cli.cluster.clip_rows import Group, Refusal, from_table
from videomae_cli.cluster.decoding import DecodingWork, decode_tasks, task_table
from videomae_cli.cluster.inference import InferenceWork, InferenceWorker, PieceReport
from videomae_cli.cluster.machines import Errand, Machines
from videomae_cli.cluster.models import Description
from videomae_cli.cluster.output import Form, WorkPlace
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.cluster.requirements import Requirements
from videomae_cli.cluster.session import Cluster, Node, Workers
from videomae_cli.errors import ClusterError, MachineError, NotAVideoError, VideoFetchError, VideoNotFoundError
from videomae_cli.jobs import Settings
from videomae_cli.jobs.retry import earlier_failures
from videomae_cli.storage.folders import Folder
from videomae_cli.video import ClipRequest, Decoder, FoundVideo

NODES = tuple(Node(name, f"10.0.0.{number}", 4, 0.0) for number, name in enumerate("abc", 1))
PLAN = ClusterPlan(files=6, task=6, shard=6, batch=2, group=64)


def machines(count: int = 3) -> tuple[Machines, list[str]]:
    notes: list[str] = []
    nodes = NODES[:count]
    return Machines(Cluster(nodes, False), notes.append, lambda: nodes), notes


def test_a_lost_machine_is_named_once_and_avoided() -> None:
    kept, notes = machines()
    assert kept.options == {}
    for _ in range(2):
        kept.take_back(3, Refusal("b", 9, "can't read the job's files (no)", lost=True))
    assert notes == ["10.0.0.2 gets no more work of this job: it can't read the job's files (no)"]
    assert kept.options == {"label_selector": {"ray.io/node-id": "!in(b)"}}
    assert kept.errands([range(4), range(6, 9)], again=False) == [Errand((range(4), range(6, 9)), frozenset("b"))]
    assert kept.errands([range(4)], again=True) == []
    assert kept.workers(Workers(6, 0.0, 1)) == 4
    kept.lose("a", "can't write the output (no)")
    with pytest.raises(
        ClusterError, match=r"all 3 machines of the cluster lost the storage, 10\.0\.0\.3 at last: it can't"
    ):
        kept.lose("c", "can't write the output (no)")


def test_files_that_come_back_go_to_other_machines() -> None:
    kept, notes = machines()
    kept.take_back(2, Refusal("a", 4, "failed", lost=False))
    kept.take_back(7, Refusal("b", 8, "failed", lost=False))
    left = [range(6), range(6, 9)]
    first, last = kept.errands(left, again=False), kept.errands(left, again=True)
    assert first == [Errand((range(2), range(4, 6), range(6, 7), range(8, 9)))]
    assert last == [Errand((range(2, 4),), frozenset("a")), Errand((range(7, 8),), frozenset("b"))]
    kept.lose("c", "no")
    assert kept.errands(left, again=True)[0].without == frozenset("ac")
    kept.lose("b", "no")
    assert kept.errands(left, again=True)[0].without == frozenset("bc"), "nobody else is left"
    assert len(notes) == 2


def test_a_cluster_of_one_machine_has_no_other() -> None:
    kept, _ = machines(1)
    kept.take_back(2, Refusal("a", 4, "failed", lost=False))
    assert kept.errands([range(6)], again=True) == [Errand((range(2, 4),))]
    with pytest.raises(ClusterError, match="the machine of the cluster lost the storage"):
        kept.take_back(2, Refusal("a", 4, "failed", lost=True))


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing(2, {"b": "no answer", "gone": "no"}), "10.0.0.2 waits for storage (no answer)"),
        (Standing(2, {"b": "no answer", "c": "no"}), "(no answer) (1 of 2 machines that wait)"),
        (Standing(2), "2 pieces of work are under way and none has ended"),
        (Standing(), "no machine has begun work: their cores or GPUs may be taken by other jobs"),
    ],
)
def test_silence_is_explained(standing: Standing, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr(machines_module.time, "monotonic", lambda: clock["now"])
    kept, notes = machines()
    kept.heard()
    for now, count in ((119.0, 0), (120.0, 1), (200.0, 1), (240.0, 2), (470.0, 2), (480.0, 3)):
        clock["now"] = now
        kept.say_silence(lambda: standing)
        assert len(notes) == count
    assert notes[0].startswith("nothing for 2 min: ")
    assert words in notes[0]
    kept.heard()
    clock["now"] = 590.0
    kept.say_silence(lambda: standing)
    assert len(notes) == 3


def test_who_waits_is_known_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(alive=lambda node: True)
    attempts.begin("work", "a")
    attempts.wait("a", "no answer")
    assert attempts.standing() == Standing(1, {"a": "no answer"})
    attempts.end("work")
    monkeypatch.setattr("videomae_cli.cluster.attempts._WAIT_SECONDS", -1.0)
    assert attempts.standing() == Standing()


@pytest.fixture
def decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Group]]:
    film = write_video(tmp_path / "film.mp4", size=(64, 48)).read_bytes()
    found = [FoundVideo(str(tmp_path / f"{number}.mp4")) for number in range(6)]
    for video in found:
        Path(video.path).write_bytes(film)

    def run(*failing: int, error: Any, lacking: str | None, last: bool = False, first: int = 0) -> list[Group]:
        class Failing(Decoder):
            def decode(self, request: ClipRequest) -> Any:
                if Path(request.path).stem in map(str, failing):
                    raise error
                return super().decode(request)

        monkeypatch.setattr(decoding_module, "_decoder", lambda *given: Failing(isolate=False))
        monkeypatch.setattr(Requirements, "unread", lambda self: lacking)
        attempts, needed = Attempts(alive=lambda node: True), Requirements()
        work = DecodingWork(PLAN, ClipRequest(""), "", DecoderOptions(), attempts, needed=needed, last=last)
        tables = decode_tasks(task_table(found, [range(first, 6)]), work=work)
        return [group for table in tables for group in from_table(table)]

    return run


@pytest.mark.parametrize("error", [VideoFetchError("no"), MachineError("no room"), VideoNotFoundError("gone")])
def test_files_that_fail_on_a_sound_machine_come_back_alone(decode: Callable[..., list[Group]], error: Any) -> None:
    groups = decode(1, 2, 5, error=error, lacking=None)
    assert [(group.first, group.stop, group.refusal is not None) for group in groups] == [
        (0, 1, False),
        (1, 2, True),
        (2, 3, True),
        (3, 5, False),
        (5, 6, True),
    ]
    assert all(not group.refusal.lost for group in groups if group.refusal)
    (group,) = decode(1, 2, 5, error=error, lacking=None, last=True)
    kinds = [getattr(outcome, "kind", None) for _, outcome in group.files]
    assert kinds == [None, error.kind, error.kind, None, None, error.kind]


def test_a_machine_that_can_read_nothing_hands_back_all_that_follows(decode: Callable[..., list[Group]]) -> None:
    for last in (False, True):
        groups = decode(2, error=VideoFetchError("no"), lacking="can't read", last=last, first=1)
        assert [(group.first, group.stop) for group in groups] == [(1, 2), (2, 6)]
        assert groups[1].refusal == Refusal("", 6, "can't read", lost=True)


def test_what_is_the_files_fault_is_not_handed_back(decode: Callable[..., list[Group]]) -> None:
    (group,) = decode(1, error=NotAVideoError("a letter"), lacking="can't read")
    assert group.stop == 6


@pytest.mark.parametrize("there", ["unwritable", "mount point", "nothing"])
def test_a_machine_that_can_not_write_hands_its_group_back(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if there != "nothing":
        out.mkdir()
    if there == "unwritable":
        (out / "_job.json").write_text("{}")
        (out / "_partial").write_bytes(b"")
    described = Description(Settings("classify", "0", {"model": "m", "revision": None}), ClipRequest(""), 1, 1)
    attempts = Attempts(alive=lambda node: True)
    place = WorkPlace(Folder(str(out)))
    worker = object.__new__(InferenceWorker)
    worker._work = InferenceWork(None, described, 1, place, Form(), attempts)  # type: ignore[arg-type]
    monkeypatch.setattr(inference_module, "here", lambda: "a")
    report = worker._piece(Group(3, (("a", NotAVideoError("no")),)))
    assert (report.first, report.stop, attempts.standing().under_way) == (3, 4, 0)
    assert report.refusal is not None
    assert (report.refusal.node, report.refusal.lost) == ("a", True)
    words = "can't write " if there == "unwritable" else f"{out} doesn't hold the job any more: is it on a share"
    assert report.refusal.reason.startswith(f"can't write the output ({words}")
    assert out.exists() == (there != "nothing"), "nothing is written below a mount point"
    assert there != "mount point" or list(out.iterdir()) == []
    assert PieceReport.from_json(report.to_json()) == report
    passed = worker._piece(Group(3, (), Refusal("b", 9, "no", lost=False)))
    assert (passed.stop, passed.refusal) == (9, Refusal("b", 9, "no", lost=False))


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        ({}, None),
        ({"decode": 3, "fetch": 0}, None),
        ({"fetch": 1, "decode": 3}, '1 failed before with fetch: retry_errors="fetch" does it again'),
        (
            {"fetch": 2, "machine": 3},
            '5 failed before with fetch and machine: retry_errors="fetch,machine" does them again',
        ),
    ],
)
def test_failures_of_before_that_may_have_passed_are_said(failed: dict[str, int], words: str | None) -> None:
    assert earlier_failures(Counter(failed)) == words
