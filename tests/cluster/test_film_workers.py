"""What a worker does with whole films that fail, kill it, or can't be fetched; no Ray needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster.attempts import Attempts
from videomae_cli.cluster.decoding import DecodingWork, task_table
from videomae_cli.cluster.films import FilmWorker
from videomae_cli.cluster.inference import InferenceWork, PieceReport, reports
from videomae_cli.cluster.models import Description
from videomae_cli.cluster.output import Form, WorkPlace
from videomae_cli.cluster.plan import ClusterPlan, make_plan
from videomae_cli.cluster.requirements import Requirements
from videomae_cli.errors import MachineError, NotAVideoError, VideoFetchError
from videomae_cli.jobs import Settings
from videomae_cli.results import Failure, Timeline
from videomae_cli.storage.folders import Folder
from videomae_cli.video import ClipRequest, FoundVideo
from videomae_cli.writers import read_records

# Each film has three windows: two films to a piece.
PLAN = ClusterPlan(files=5, task=5, shard=5, batch=2, group=7)
FOUND = [FoundVideo("a"), FoundVideo("b", NotAVideoError("a letter")), *map(FoundVideo, "cde")]


class Died(BaseException):
    """Stands for the end of a process: nothing after it is done."""


class Done:
    """What a task came to: reports, records by piece, and how often its process died."""

    def __init__(self, told: list[PieceReport], folder: Path, deaths: int) -> None:
        self.told, self.deaths = told, deaths
        names = (WorkPlace(Folder("")).piece_name(one.first, one.stop) for one in told if one.refusal is None)
        self.pieces = [list(read_records(folder / name)) for name in names]
        self.failed = {r["path"]: r["error"]["kind"] for piece in self.pieces for r in piece if r["error"]}


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Does a task of five films, of which some cost the process, or fail with an error, raised or in their result."""
    (tmp_path / "_job.json").write_text("{}")
    described = Description(Settings("timeline", "0", {"model": "m", "revision": None}), ClipRequest(""), 1, 1)

    def run(deadly: str = "", failing: str = "", error: Any = None, lacking: str | None = None, **more: Any) -> Done:
        def make(found: list[FoundVideo], *, decoder: Any) -> Iterator[Timeline]:
            (video,) = found
            known = video.error
            if known is None and video.path in deadly:
                raise Died
            if known is None and video.path in failing:
                if isinstance(error, MachineError):
                    raise error
                known = error
            yield Timeline(video.path, "m", views=0 if known else 3, error=Failure.of(known) if known else None)

        monkeypatch.setattr(Requirements, "unread", lambda self: lacking)
        attempts = Attempts(alive=lambda node: True)
        worker = object.__new__(FilmWorker)
        worker._reading = DecodingWork(
            PLAN, ClipRequest(""), "", DecoderOptions(), attempts, needed=Requirements(), **more
        )
        worker._work = InferenceWork(None, described, 1, WorkPlace(Folder(str(tmp_path))), Form(), attempts)  # type: ignore[arg-type]
        worker._maker, worker._decoder = make, None  # type: ignore[assignment]
        for deaths in range(20):
            try:
                told = list(reports(worker(task_table(FOUND, [range(5)]))))
            except Died:
                continue
            assert attempts._histories == {}
            return Done(told, tmp_path, deaths)
        raise AssertionError("tried for ever")

    return run


@pytest.mark.parametrize("deadly", ["", "c", "ae"])
def test_a_film_that_kills_the_worker_costs_itself_only(films: Callable[..., Done], deadly: str) -> None:
    done = films(deadly)
    assert done.failed == {"b": "not_a_video", **dict.fromkeys(deadly, "memory")}
    assert [record["path"] for piece in done.pieces for record in piece] == list("abcde")
    assert done.deaths == 2 * len(deadly), "each film is announced from the first try on"
    if not deadly:
        assert [(one.first, one.stop, one.views) for one in done.told] == [(0, 3, 6), (3, 5, 6)]
        assert [[(e.stage, e.files, e.clips) for e in one.efforts] for one in done.told] == [
            [("film", 3, 6), ("write", 3, 6)],
            [("film", 2, 6), ("write", 2, 6)],
        ]


@pytest.mark.parametrize("error", [VideoFetchError("no"), MachineError("no room")])
def test_films_that_this_machine_can_not_take_are_handed_back(films: Callable[..., Done], error: Any) -> None:
    done = films(failing="cd", error=error)
    assert [(one.first, one.stop, one.refusal is not None) for one in done.told] == [
        (0, 2, False),
        (2, 3, True),
        (3, 4, True),
        (4, 5, False),
    ]
    done = films(failing="cd", error=error, last=True)
    assert done.failed == {"b": "not_a_video", "c": error.kind, "d": error.kind}
    done = films(failing="c", error=error, lacking="can't read", last=True)
    assert [(one.first, one.stop) for one in done.told] == [(0, 2), (2, 5)]
    assert done.told[1].refusal is not None
    assert done.told[1].refusal.lost


def test_tasks_hold_few_films() -> None:
    given: Any = {"batch": 32, "view_bytes": 16 * 224 * 224 * 3, "file_bytes": 3072 * 1000, "films": True}
    assert [make_plan(files, **given).task for files in (0, 1, 4096, 5000, 10_000_000)] == [1, 1, 1, 2, 16]
    plan = make_plan(10_000, **given)
    assert (plan.shard % plan.task, plan.group) == (0, 1024)
