"""What a long job says of itself."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from videomae_cli.cli.terminal import console, progress
from videomae_cli.cli.terminal.console import duration
from videomae_cli.cli.terminal.progress import BatchProgress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_say_files_rate_time_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    bar = BatchProgress(40, done=10, failed=1, now=clock)
    with bar.shown("plain", None):
        for name, views in (
            ("a", 3),
            ("b", 3),
            ("videos/a very long name of a clip indeed.mp4", 3),
            ("videos/c\n.mp4", 0),
        ):
            clock.now += 10
            bar.advance(name, views=views, failed=not views)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "videomae: 11/40 files, 1 failed, a",
        "videomae: 12/40 files, 1 failed, b",
        "videomae: 13/40 files, 3.3 s a clip, 4 min left, 1 failed, a very lo…indeed.mp4",
        "videomae: 14/40 files, 3.3 s a clip, 3 min left, 2 failed, c\\n.mp4",
    ]


def test_a_long_file_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "redraws", lambda _: True)
    monkeypatch.setattr(console.loudness, "quiet", False)
    monkeypatch.setattr(console.loudness, "debug", False)
    clock = Clock()
    bar = BatchProgress(1, now=clock)
    with bar.shown("auto", Console(file=screen, force_terminal=True, width=80), single=True):
        for at in (600.0, 1200.0, 1800.0):
            clock.now += 10
            bar.within("videos/a.mp4", at, 7200.0)
        assert bar._bar is not None
        bar._bar.refresh()
    shown = screen.getvalue()
    assert "0:30:00 of 2:00:00, 90 s left" in shown
    assert "files" not in shown


def test_nothing_is_said_without_a_terminal_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for mode in ("auto", "none"):
        bar = BatchProgress(3)
        with bar.shown(mode, Console(file=io.StringIO())):
            bar.advance("a.mp4", views=1, failed=False)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_fits_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "redraws", lambda _: True)
    monkeypatch.setattr(console.loudness, "quiet", False)
    monkeypatch.setattr(console.loudness, "debug", False)
    bar = BatchProgress(2000, done=999, failed=12)
    with bar.shown("auto", Console(file=screen, force_terminal=True, width=80)):
        bar.advance("videos/[bold]" + "x" * 50 + ".mp4", views=3, failed=False)
    last = screen.getvalue().split("\x1b[2K")[-2]
    assert "1000/2000 files" in last
    assert "[bold]xxx…xxxxxx.mp4" in last
    assert "12 failed" in last
    assert screen.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (5999, "1 h 39 min"), (9000, "2 h 30 min"), (400000, "4 d 15 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_of_a_film_whose_length_nobody_knows_only_the_place_is_said() -> None:
    bar = BatchProgress(2, now=Clock())
    bar.within("videos/film.mp4", 61.0, 0.0)
    assert "0:01:01" in bar.text()
    assert " of " not in bar.text()
    assert bar.seconds_left is None
    bar.within("videos/film.mp4", 61.0, 122.0)
    assert "0:01:01 of 0:02:02" in bar.text()


def test_what_follows_the_last_file_takes_the_place_of_its_name() -> None:
    progress = BatchProgress(2, then="fitting")
    progress.advance("a.mp4", views=1, failed=False)
    assert progress.text() == "1/2 files, a.mp4"
    progress.advance("b.mp4", views=1, failed=False)
    assert progress.text().startswith("2/2 files")
    assert progress.text().endswith("fitting")


def test_beside_a_pipe_there_are_lines_and_no_bar(quick_python: str, video: Path, checkpoint: Path) -> None:
    """What reads the pipe may write to the terminal, in the middle of a bar."""
    terminal, theirs = pty.openpty()
    words = [quick_python, "-m", "videomae_cli", "timeline", video, "--model", checkpoint, "--format", "csv"]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}, timeout=120, check=True
    )
    os.set_blocking(terminal, False)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # nothing there, or the other end is closed
        shown = os.read(terminal, 65536)
    os.close(terminal)
    assert done.stdout.startswith(b"path,")
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}".encode() not in shown
