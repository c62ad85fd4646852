"""What a person sees at a terminal: a line a file where there are many, bars and names that fit."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from videomae_cli.api.known_models import list_models
from videomae_cli.cli.outputs.next_steps import with_model, with_page, with_vectors
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.display import BAR_WIDTH, TerminalListWriter, print_rows, score_bar, shortened
from videomae_cli.results import Classification, Failure, Prediction, Record
from videomae_cli.visible import byte_size, columns

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


class Screen(io.TextIOWrapper):
    """A stream that is a terminal, or not, and keeps what is written."""

    def __init__(self, *, terminal: bool = True, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.seek(0)
        return self.read()


ODD_PATHS = [
    "plain.mp4",
    "-o.mp4",
    "it's (a) film; $HOME `x` *.mp4",
    "new\nline \x1b[2J.mp4",
    "back\\slash\t'quote'.mp4",
    os.fsdecode(b"caf\xe9.mp4"),
    "\u202eturned\u200b.mp4",
    "滑雪.mp4",
    "滑\x07.mp4",
    "many" + "\u0301" * 20,
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_suggested_path_is_the_same_path_in_a_shell(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    screen = Screen(encoding=encoding)
    monkeypatch.setattr(sys, "stderr", screen)
    words = " ".join(console.shell_word(Path(path)) for path in ODD_PATHS)
    assert words.isprintable()
    words.encode(encoding)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True)
    found = [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]
    assert found == [f"./{path}" if path.startswith("-") else path for path in ODD_PATHS]


@pytest.mark.parametrize("out", [True, False])
@pytest.mark.parametrize("err", [True, False])
@pytest.mark.parametrize("quiet", [True, False])
def test_what_can_be_done_next_is_for_people(
    monkeypatch: pytest.MonkeyPatch, out: bool, err: bool, quiet: bool
) -> None:
    screens = Screen(terminal=out), Screen(terminal=err)
    with monkeypatch.context() as patched:
        patched.setenv("TERM", "xterm")
        patched.setenv("COLUMNS", "20")
        patched.setattr(sys, "stdout", screens[0])
        patched.setattr(sys, "stderr", screens[1])
        patched.setattr(console.loudness, "quiet", quiet)
        console.suggest(*with_vectors(Path("-some vectors.parquet"), "-a.mp4"), *with_page(Path("page.html")))
        console.suggest()
    lines = [
        "next: videomae similar ./-a.mp4 './-some vectors.parquet'",
        "      videomae map './-some vectors.parquet' -o './-some vectors-map.html'",
        "      open page.html in a browser",
    ]
    assert screens[0].text() == ""
    assert screens[1].text().splitlines() == (lines if out and err and not quiet else [])


def test_each_kind_of_model_has_its_uses() -> None:
    uses = {
        kind: [words[1] for words in with_model(kind, "m")] for kind in ("classification", "pretraining", "encoder")
    }
    assert uses == {
        "classification": ["classify"],
        "pretraining": ["finetune", "reconstruct"],
        "encoder": ["embed", "finetune"],
    }


@pytest.mark.parametrize("width", [20, 40, 80, 100, 200])
def test_models_are_listed_without_breaking_words(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows = [model.as_dict() for model in list_models()]
    names = ("name", "size", "data", "labels", "licence", "on_disk")
    screen = Screen()
    with monkeypatch.context() as patched:
        patched.setenv("TERM", "xterm")
        patched.setenv("NO_COLOR", "1")
        patched.setenv("COLUMNS", str(width))
        patched.setattr(sys, "stdout", screen)
        print_rows(names, rows)
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.text())
    for row in rows:
        for name in names:
            for word in str(row[name] or "").split():
                assert re.search(rf"(?<!\S){re.escape(word)}(?!\w)", text), word
    assert all(columns(line) <= width or len(line.split()) == 1 for line in text.splitlines())
    assert (len(text.splitlines()) == len(rows) + 1) == (width == 200)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *[(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (99_999, "100 kB"), (100_000, "0.1 MB")],
        *[(3_456_789, "3.5 MB"), (999_949_999, "999.9 MB"), (999_950_000, "1.0 GB"), (1_234_500_000_000, "1,234.5 GB")],
    ],
)
def test_sizes_are_in_the_unit_that_people_use(count: int, text: str) -> None:
    assert byte_size(count) == text
