"""What a person sees at a terminal: a line a file where there are many, bars and names that fit."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from rich.console import Console

from videomae_cli.cli.terminal.display import BAR_WIDTH, TerminalListWriter, score_bar, shortened
from videomae_cli.results import Classification, Failure, Prediction, Record
from videomae_cli.visible import columns

DENSE = "dense: 1 clip, stride 4, over 90 frames (3.0 s)"


def listed(*records: Record, width: int = 60) -> list[str]:
    screen = io.StringIO()
    writer = TerminalListWriter(Console(file=screen, width=width), [record["path"] for record in records])
    for record in records:
        writer.write(record)
    writer.finish()
    return screen.getvalue().splitlines()


def result(path: str, *scores: tuple[str, float], sampling: str = DENSE, **more: Any) -> Record:
    predictions = tuple(Prediction(label, number, score) for number, (label, score) in enumerate(scores))
    return Classification(path, "some-model", predictions=predictions, **more).as_dict() | {"sampling": sampling}


def test_a_file_is_a_line_with_what_comes_close() -> None:
    clear = result("a.mp4", ("pan right", 0.9), ("zoom in", 0.05))
    close = result(
        "longer.mp4",
        ("pan right", 0.4),
        ("zoom in", 0.3),
        ("tilt up", 0.1),
        sampling=DENSE.replace("90", "75"),
    )
    assert listed(clear, close) == [
        "a.mp4        90.0%  pan right",
        "longer.mp4   40.0%  pan right  zoom in 30.0%",
        "some-model, dense: 1 clip, stride 4",
    ]


def test_what_differs_from_file_to_file_is_said_to_differ() -> None:
    dense, other = result("a.mp4", ("x", 1.0)), result("b.mp4", ("x", 1.0), sampling="dense: 2 clips, stride 4")
    assert listed(dense, other, width=80)[-1] == "clips differ from file to file: --detail shows how each was sampled"


def test_lines_fit_and_keep_both_ends_of_a_name() -> None:
    long = result("films/" + "x" * 100 + "-part-17.mp4", ("label " * 20, 0.5))
    wide = result("films/映画" * 20 + ".mp4", ("[bold]\x1b[31m", 0.5))
    for width in (40, 80):
        for line in listed(long, wide, width=width):
            assert columns(line) <= width
    assert listed(long)[0].startswith("films/xxx")
    assert "art-17.mp4" in listed(long)[0]
    assert "[bold]\\x1b[31m" in listed(wide, width=80)[0]


def test_failures_and_values_have_their_own_words() -> None:
    failed = result("a.mp4", error=Failure("decode", "broken"))
    value = result("b.mp4", values={"speed": 3.25}, sampling="dense: 1 clip")
    assert listed(failed, value) == ["b.mp4  speed 3.25", "some-model, dense: 1 clip"]
    assert listed(failed) == []


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 5, "short"),
        ("abcdefgh", 5, "ab…gh"),
        ("abcdefgh", 4, "a…gh"),
        ("映画映画映画", 7, "映…映画"),
        ("ab", 1, "…"),
    ],
)
def test_names_are_shortened_in_the_middle(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected
    assert columns(shortened(text, width)) <= width


def test_a_bar_is_as_long_as_its_score_and_has_no_track(monkeypatch: pytest.MonkeyPatch) -> None:
    assert score_bar(1.0).plain == "━" * BAR_WIDTH
    assert score_bar(0.5).plain == "━" * (BAR_WIDTH // 2)
    assert (score_bar(0.0).plain, score_bar(0.001).plain, score_bar(-1.0).plain) == ("", "╸", "")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert score_bar(0.5).plain == "-" * (BAR_WIDTH // 2)
