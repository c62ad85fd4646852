"""Estimates: a model of known speed, a clock that the tests turn, and every place that shows a time left."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from videomae_cli.api import tried_files
from videomae_cli.cli.run import dry_run as planning
from videomae_cli.cli.run.training_progress import TrainingProgress
from videomae_cli.cli.terminal import console, progress, transfers
from videomae_cli.cli.terminal import estimator as estimators
from videomae_cli.cli.terminal.estimator import Estimator, speed
from videomae_cli.cli.terminal.progress import BatchProgress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run_stub(
    clock: Clock,
    *,
    files: int,
    clips: Callable[[int], int],
    batch: int,
    seconds: Callable[[int], float],
    startup: float = 40.0,
    decoding: float = 0.0,
    done: int = 0,
) -> Iterator[tuple[BatchProgress, float]]:
    """A job with a model whose batch number n takes `seconds(n)`, the first `startup` more; (progress, time) after each."""
    bar = BatchProgress(files + done, done=done, watched=True, now=clock)
    waiting: list[tuple[int, int]] = []  # (file, clips of it that are not through)
    queue = [(number, clips(number)) for number in range(files)]
    number = 0
    while queue or waiting:
        while queue and sum(count for _, count in waiting) < batch:
            waiting.append(queue.pop(0))
        clock.now += decoding
        bar.batch_begun()
        size = min(batch, sum(count for _, count in waiting))
        clock.now += seconds(number) + (startup if number == 0 else 0)
        bar.batch_ended(size)
        number += 1
        while size and waiting:
            file, count = waiting.pop(0)
            if count > size:
                waiting.insert(0, (file, count - size))
                size = 0
            else:
                size -= count
                bar.advance(f"{file}.mp4", views=clips(file), failed=False)
                clock.now += 0.001  # its record is written
        yield bar, clock.now


@pytest.mark.parametrize(
    ("files", "clips", "batch", "seconds", "decoding"),
    [
        (61, lambda n: 1, 1, lambda n: 0.65, 0.0),  # the job of which 16 minutes were said, and that took 40 s
        (100, lambda n: 10, 1, lambda n: 2.2, 0.0),  # ViT-B on two cores
        (500, lambda n: 1, 32, lambda n: 4.0, 0.5),  # many files end together with their batch
        (40, lambda n: 3, 8, lambda n: 23.0 * 8, 0.0),  # 23 s a clip
        (3000, lambda n: 1, 1, lambda n: 0.02, 0.0),  # more batches than marks
        (200, lambda n: 1, 4, lambda n: 0.1, 2.0),  # decoding is what takes the time
        (300, lambda n: 1 + n % 4, 4, lambda n: 1.0 + 0.5 * (n % 2), 0.1),  # files and batches differ
    ],
)
@pytest.mark.parametrize("done", [0, 20])
def test_the_estimate_is_within_a_quarter_from_the_tenth_second_on(
    clock: Clock, files: int, clips: Any, batch: int, seconds: Any, decoding: float, done: int
) -> None:
    told = []
    stub = run_stub(clock, files=files, clips=clips, batch=batch, seconds=seconds, decoding=decoding, done=done)
    first = None
    for batches, (bar, now) in enumerate(stub, 1):
        first = first or now  # the end of the first batch
        told.append((now, bar.seconds_left, batches, bar.done > done))
    assert first is not None
    end = clock.now
    assert any(left is not None for _, left, _, _ in told)
    for now, left, batches, known in told:
        if batches < 3 or now - first < 10:
            assert left is None, "nothing is said before it means something"
        elif known and now - first > 10.5:  # until a file is through, nobody knows how many clips files have
            assert left is not None
            # The last batch, which may not be full, takes as long as a full one; the last file has its own number of clips.
            assert left == pytest.approx(end - now, rel=0.25, abs=max(2.0, seconds(0)))


def test_a_rate_that_changes_is_followed_within_a_window(clock: Clock) -> None:
    stub = run_stub(clock, files=600, clips=lambda n: 1, batch=1, seconds=lambda n: 0.2 if n < 300 else 2.0)
    told = [(now, bar.seconds_left) for bar, now in stub]
    end = clock.now
    changed = told[300][0]
    for now, left in told:
        if now > changed + estimators.WINDOW_SECONDS + 1 and end - now > 5:
            assert left == pytest.approx(end - now, rel=0.25)


def test_starting_up_is_left_out(clock: Clock) -> None:
    lefts = {
        startup: [
            bar.seconds_left
            for bar, _ in run_stub(
                Clock(), files=50, clips=lambda n: 1, batch=1, seconds=lambda n: 1.0, startup=startup
            )
        ]
        for startup in (0.0, 900.0)
    }
    assert [x is None for x in lefts[0.0]] == [x is None for x in lefts[900.0]]
    for some, same in zip(lefts[0.0], lefts[900.0], strict=True):
        assert some is None or some == pytest.approx(same)


def test_files_that_fail_at_once_say_nothing_of_the_others(clock: Clock) -> None:
    bar = BatchProgress(1000, watched=True, now=clock)
    for number in range(500):
        clock.now += 0.1
        bar.advance(f"{number}.mp4", views=0, failed=True)
    assert bar.seconds_left is None
    assert "left" not in bar.text()
    assert "500 failed" in bar.text()


def test_an_estimate_goes_down_while_a_batch_runs_and_up_when_it_hangs(clock: Clock) -> None:
    estimator = Estimator(clock)
    for number in range(6):
        estimator.moved(number)
        clock.now += 10.0
    clock.now -= 10.0
    assert estimator.left(10) == pytest.approx(100)
    clock.now += 9.0
    assert estimator.left(10) == pytest.approx(91)
    clock.now += 191.0
    left = estimator.left(10)
    assert left is not None
    assert left > 400, "what takes twenty times as long has become slow"


def test_work_that_stands_still_has_no_rate(clock: Clock) -> None:
    estimator = Estimator(clock)
    for _ in range(5):
        estimator.moved(7)
        clock.now += 10.0
    assert estimator.rate is None
    assert estimator.left(1) is None


def test_a_window_holds_few_marks(clock: Clock) -> None:
    estimator = Estimator(clock)
    for number in range(100_000):
        clock.now += 0.01
        estimator.moved(number)
    assert len(estimator._marks) < 300
    assert estimator.rate == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (12.34, "12.3 clips/s"),
        (1.0, "1 clips/s"),
        (0.5, "2 s a clip"),
        (0.4, "2.5 s a clip"),
        (1 / 23, "23 s a clip"),
        (1 / 150, "2 min a clip"),
    ],
)
def test_slow_work_is_told_by_the_clip(rate: float, words: str) -> None:
    assert speed(rate, "clip") == words


def test_what_is_waited_for_is_told(clock: Clock) -> None:
    bar = BatchProgress(61, watched=True, now=clock)
    clock.now += 60
    assert bar.text() == "0/61 files, decoding"
    bar.batch_begun()
    clock.now += 60
    assert bar.text() == "0/61 files, first batch"
    for _ in range(3):
        bar.batch_ended(8)
        assert "decoding" not in bar.text(), "not for a moment between two batches"
        bar.batch_begun()
        clock.now += 184
    bar.batch_ended(8)
    assert bar.text() == "0/61 files, 23 s a clip"
    clock.now += 30
    assert bar.text() == "0/61 files, decoding, 23 s a clip"
    assert "0.0" not in bar.text()


def test_plain_lines_come_while_nothing_happens(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    bar = BatchProgress(61, watched=True, now=clock)
    with bar.shown("plain", None):
        bar._say_if_due()
        clock.now += 11
        bar._say_if_due()
        bar._say_if_due()
        clock.now += 11
        bar._say_if_due()
    assert capsys.readouterr().err.splitlines() == ["videomae: 0/61 files, decoding"] * 2


def test_lines_are_said_from_another_thread_until_the_block_ends() -> None:
    from threading import Event

    called = Event()
    with progress.every(0.001, called.set):
        assert called.wait(60)


def test_the_bar_is_drawn_anew_while_nothing_happens(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "redraws", lambda _: True)
    monkeypatch.setattr(console.loudness, "quiet", False)
    monkeypatch.setattr(console.loudness, "debug", False)
    bar = BatchProgress(61, watched=True, now=clock)
    with bar.shown("auto", Console(file=screen, force_terminal=True, width=80)):
        assert bar._bar is not None
        bar.batch_begun()
        bar._bar.refresh()
    assert "0/61 files, decoding" in screen.getvalue()
    assert "0/61 files, first batch" in screen.getvalue()


def training(clock: Clock, steps: int, epoch: int, mode: str = "none") -> TrainingProgress:
    task: Any = SimpleNamespace(steps=steps, epoch=epoch, clips=8)
    return TrainingProgress(task, mode, now=clock)


def test_training_leaves_out_its_start_and_counts_evaluations(clock: Clock) -> None:
    bar = training(clock, 400, 20)
    assert bar.text() == "first batch"
    told: list[tuple[float, str]] = []
    for step in range(1, 401):
        clock.now += 1.0 if step > 1 else 300.0
        bar({"event": "tick", "step": step, "waited": 0.0, "seconds": 1.0})
        if step % 20 == 0:
            clock.now += 30.0
            bar({"event": "epoch", "step": step, "seconds": 30.0})
        told.append((clock.now, bar.text()))
    assert all("left" not in text for _, text in told[:10])
    for now, text in told[25:-40]:
        found = re.search(r", ([\d]+) (s|min) left", text)
        assert found is not None, text
        left = int(found[1]) * (60 if found[2] == "min" else 1)
        assert left == pytest.approx(clock.now - now, rel=0.25)
        assert "8 clips/s" in text


@pytest.mark.parametrize(
    ("mode", "quiet", "seconds", "told"),
    [
        ("auto", False, 1.0, [1, 4, 7, 8]),  # an epoch takes 4 s
        ("auto", False, 10.0, [1, 2, 3, 4, 5, 6, 7, 8]),
        ("auto", True, 10.0, []),
        ("none", False, 10.0, []),
    ],
)
def test_in_a_pipe_epochs_have_lines(
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    quiet: bool,
    seconds: float,
    told: list[int],
) -> None:
    monkeypatch.setattr(console.loudness, "quiet", quiet)
    with training(clock, 31, 4, mode).shown() as shown:
        for step in range(1, 32):
            clock.now += seconds
            shown({"event": "tick", "step": step, "waited": 0.0, "seconds": seconds})
            shown({"event": "step", "step": step, "loss": 1 / step})
            if step % 4 == 0 or step == 31:
                shown({"event": "epoch", "step": step, "seconds": 0.0, "top1": 0.5})
    lines = capsys.readouterr().err.splitlines()
    losses = [1 / min(4 * epoch, 31) for epoch in told]
    expected = [
        f"videomae: epoch {epoch}/8, loss {loss:.3f}, top-1 50.0%" for epoch, loss in zip(told, losses, strict=True)
    ]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert all(" left" in line for line in lines[1:-1]), "how long it still takes, once that is known"
    assert not any(" left" in line for line in lines[-1:]), "nothing is left"


def test_a_dry_run_says_what_the_whole_takes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tried_files.time, "monotonic", clock)
    runs = []

    def run(files: Any) -> Iterator[Any]:
        clock.now += 50.0 if not runs else 0.0  # starting up
        runs.append(len(files))
        for _ in files:
            clock.now += 3.0
            yield SimpleNamespace(views=2, error=None)

    for count, words in ((1, "about 3 s (1 file tried)"), (100, "about 5 min (15 files tried)")):
        runs.clear()
        files: Any = [SimpleNamespace(path=str(n), error=None) for n in range(count)]
        lines = dict(planning._tried(tried_files.try_files(files, "model", 1, run)))
        assert lines["time"] == words
        assert lines["clips"].startswith(f"{'' if count == 1 else 'about '}{2 * count} through")


def test_a_download_says_nothing_of_time_at_first(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "Estimator", lambda: Estimator(clock))
    monkeypatch.setattr(console.loudness, "quiet", False)
    monkeypatch.setattr(console, "is_terminal", lambda _: True)
    with transfers.shown() as listener:
        assert isinstance(listener, transfers._Shown)
        total, done = 400_000_000, 100_000_000  # what an earlier run left is no speed
        texts = {}
        for second in range(61):
            listener.progress("model.safetensors", done, total)
            assert listener._progress is not None
            texts[second] = listener._left(listener._progress.tasks[0])
            clock.now += 1.0
            done += 1_000_000
    assert texts[5] == ""
    assert texts[20] == "5 min left"
    assert texts[60] == "4 min left"
