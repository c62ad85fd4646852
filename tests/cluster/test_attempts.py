"""A film that kills whatever touches it is found, and costs itself only; no Ray needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import write_video

from videomae_cli.assembly import DecoderOptions
from videomae_cli.cluster import decoding as decoding_module
from videomae_cli.cluster import models
from videomae_cli.cluster.attempts import Attempt, Attempts
from videomae_cli.cluster.clip_rows import Group, from_table
from videomae_cli.cluster.decoding import DecodingWork, decode_tasks, task_table
from videomae_cli.cluster.inference import InferenceWork, InferenceWorker, PieceReport
from videomae_cli.cluster.models import Description
from videomae_cli.cluster.output import Form, WorkPlace
from videomae_cli.cluster.plan import ClusterPlan
from videomae_cli.errors import ClusterError, NotAVideoError
from videomae_cli.jobs import Settings
from videomae_cli.results import Classification, Failure
from videomae_cli.storage.folders import Folder
from videomae_cli.video import ClipRequest, Decoder, FoundVideo
from videomae_cli.writers import read_records

PLAN = ClusterPlan(files=7, task=7, shard=7, batch=2, group=4)


class Died(BaseException):
    """Stands for the end of a process: nothing after it is done."""


def until_done(work: Callable[[], list[Any]], *, most: int = 20) -> tuple[list[Any], int]:
    """Repeat work whose process dies, as Ray does: what it yields in the end, and how often it died."""
    for deaths in range(most):
        try:
            return work(), deaths
        except Died:
            continue
    raise AssertionError("tried for ever")


@pytest.fixture
def decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Group], int]]:
    """Decodes seven films in one task, of which some cost the process that asks for them."""
    film = write_video(tmp_path / "film.mp4", size=(64, 48)).read_bytes()
    found = [FoundVideo(str(tmp_path / f"{number}.mp4")) for number in range(7)]
    for video in found:
        Path(video.path).write_bytes(film)

    def run(*deadly: int, alive: bool = True) -> tuple[list[Group], int]:
        class Deadly(Decoder):
            def decode(self, request: ClipRequest) -> Any:
                if Path(request.path).stem in map(str, deadly):
                    raise Died
                return super().decode(request)

        monkeypatch.setattr(decoding_module, "_decoder", lambda *given: Deadly(isolate=False))
        attempts = Attempts(alive=lambda node: alive)
        work = DecodingWork(PLAN, ClipRequest(""), str(Path.cwd()), DecoderOptions(), attempts)

        def once() -> list[Group]:
            tables = decode_tasks(task_table(found, [range(7)]), work=work)
            return [group for table in tables for group in from_table(table)]

        groups, deaths = until_done(once)
        assert attempts._histories == {}
        return groups, deaths

    return run


@pytest.mark.parametrize("deadly", [(), (3,), (0, 6), (2, 3, 4)])
def test_every_other_film_of_a_task_is_decoded(
    decode: Callable[..., tuple[list[Group], int]], deadly: tuple[int, ...]
) -> None:
    groups, deaths = decode(*deadly)
    outcomes = [outcome for group in groups for _, outcome in group.files]
    failed = {place: str(outcome) for place, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    assert len(outcomes) == 7
    assert list(failed) == list(deadly)
    assert all("died, 2 times one after the other" in text and f"{place}.mp4" in text for place, text in failed.items())
    assert all(outcomes[place].kind == "decoder_crash" for place in deadly)
    assert deaths == (1 + 2 * len(deadly) if deadly else 0)
    ordinary, _ = decode()
    if not deadly:
        assert [group.first for group in groups] == [group.first for group in ordinary]


def test_work_that_was_called_off_counts_for_no_death() -> None:
    attempts = Attempts(alive=lambda node: True)
    for _ in range(12):
        assert attempts.begin("work", "a") == Attempt()
        attempts.hold("work", 7)
        attempts.forget()
    assert attempts.standing().under_way == 0


def test_a_lost_machine_counts_for_less(decode: Callable[..., tuple[list[Group], int]]) -> None:
    groups, deaths = decode(3, alive=False)
    assert deaths == 5
    assert sum(isinstance(outcome, Exception) for group in groups for _, outcome in group.files) == 1


def test_processes_that_die_before_any_file_end_the_job() -> None:
    attempts = Attempts(alive=lambda node: True)
    for _ in range(9):
        attempts.begin(("decoding", 0), "node")
    with pytest.raises(ClusterError, match="died one after the other, before they could begin"):
        attempts.begin(("decoding", 0), "node")


class Model:
    """Stands in for a model: files whose name is in `deadly` cost its process; notes how many came at once."""

    def __init__(self, deadly: str) -> None:
        self.deadly, self.asked = deadly, list[int]()

    def results(self, files: Any) -> Any:
        self.asked.append(len(files))
        for path, outcome in files:
            if isinstance(outcome, Exception):
                yield Classification(path, "m", error=Failure.of(outcome))  # type: ignore[arg-type]
                continue
            if path in self.deadly:
                raise Died
            yield Classification(path, "m")


@pytest.mark.parametrize("deadly", ["", "b", "ad"])
def test_a_film_that_kills_the_model_costs_itself_only(
    deadly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(deadly)
    described = Description(Settings("classify", "0", {"model": "m", "revision": None}), ClipRequest(""), 1, 1)
    attempts = Attempts(alive=lambda node: True)
    (tmp_path / "_job.json").write_text("{}")
    work = InferenceWork(None, described, 1, WorkPlace(Folder(str(tmp_path))), Form(), attempts)  # type: ignore[arg-type]
    worker = object.__new__(InferenceWorker)
    worker._work, worker._model = work, model  # type: ignore[assignment]
    video = Decoder(isolate=False).decode(ClipRequest(write_video(tmp_path / "film.mp4", size=(64, 48))))
    frames = np.zeros_like(video.frames)
    assert frames.size
    group = Group(0, (("a", video), ("b", video), ("c", NotAVideoError("a letter")), ("d", video)))
    (report,), deaths = until_done(lambda: [worker._piece(group)])
    assert isinstance(report, PieceReport)
    records = list(read_records(next((tmp_path / "_partial").glob("*.parquet"))))
    failed = {record["path"]: record["error"]["kind"] for record in records if record["error"]}
    assert failed == {"c": "not_a_video", **dict.fromkeys(deadly, "memory")}
    assert [record["path"] for record in records] == list("abcd")
    assert deaths == (2 + 2 * len(deadly) if deadly else 0)
    assert attempts._histories == {}


def test_memory_is_left_for_what_ray_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.system, "total_memory", lambda: 100 * 2**30)
    assert models.monitored_memory() == pytest.approx(7 * 2**30 + 128 * 2**20, abs=2)
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.8")
    assert models.monitored_memory() == pytest.approx(22 * 2**30 + 128 * 2**20, abs=2)
