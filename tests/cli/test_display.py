"""What a person sees at a terminal: a line a file where there are many, bars and names that fit."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from videomae_cli.api.engine_speeds import EngineSpeed
from videomae_cli.api.known_models import list_models
from videomae_cli.cli.commands import bench
from videomae_cli.cli.outputs import found_places
from videomae_cli.cli.outputs.next_steps import on_video, with_model, with_page, with_vectors
from videomae_cli.cli.terminal import console, transfers
from videomae_cli.cli.terminal.display import (
    BAR_WIDTH,
    TerminalListWriter,
    TerminalTimelineWriter,
    TerminalWriter,
    consoles,
    print_rows,
    ranked,
    score_bar,
    shortened,
)
from videomae_cli.results import Classification, Failure, Prediction, Record
from videomae_cli.visible import byte_size, columns

DENSE = "dense: 1 clip, stride 4, over 90 frames (3.0 s)"


@pytest.mark.parametrize("width", [30, 40, 69, 80, 200])
def test_downloads_part_no_number_from_its_unit(width: int) -> None:
    """Of a file that came at once no rate is known, and none is shown."""
    screen = io.StringIO()
    with ExitStack() as stack:
        columns_shown = transfers._Shown(stack, lambda: None)._columns(width)
    with Progress(*columns_shown, console=Console(file=screen, width=width)) as progress:
        progress.add_task("preprocessor_config.json", total=406, completed=406)
        progress.add_task("model.safetensors", total=351_234_567, completed=170_000_000)
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert len(lines) == 2, lines
    assert all(columns(line) <= width for line in lines)
    assert "406/406 bytes" in lines[0]
    assert "170.0/351.2 MB" in lines[1]
    assert "?" not in "".join(lines)
    assert ("━" in lines[1]) == (width >= 70)


@pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
@pytest.mark.parametrize("name", ["a.mp4", "videos/holiday-in-the-mountains-2019-part-10.mp4", "雪/滑雪-" * 9])
def test_names_of_similar_files_are_never_broken(name: str, width: int) -> None:
    """Bars give way to names, and names that are too long anyway lose their middle."""
    screen = io.StringIO()
    terminal = Console(file=screen, width=width)
    terminal.print(ranked([("1", 1.0, name), ("10", 0.5, "b.mp4")], terminal))
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert len(lines) == 2
    assert all(columns(line) <= width for line in lines)
    assert all("1.0000" in lines[0] and "━━" in line for line in lines)
    assert lines[1].endswith("  0.5000  b.mp4")
    assert (name in lines[0]) == (columns(name) <= width - 18)


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
        "longer.mp4   40.0%  pan right  (next: zoom in 30.0%)",
        "some-model, dense: 1 clip, stride 4",
    ]


def test_labels_that_come_close_are_whole_or_left_out() -> None:
    close = result("a.mp4", ("static", 0.4), ("zoom in", 0.35), ("roll counter-clockwise", 0.2), ("tilt up", 0.05))
    both, one, none = (listed(close, width=width)[0] for width in (80, 60, 40))
    assert both == "a.mp4   40.0%  static  (next: zoom in 35.0%, roll counter-clockwise 20.0%)"
    assert one == "a.mp4   40.0%  static  (next: zoom in 35.0%)"
    assert none == "a.mp4   40.0%  static"


def test_a_dumb_terminal_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setenv("COLUMNS", "40")
    for term, drawn_over in (("xterm", True), ("dumb", False), ("unknown", False)):
        monkeypatch.setenv("TERM", term)
        assert consoles()[0].width == 40
        assert console.is_terminal(sys.stdout)
        assert console.redraws(sys.stdout) is drawn_over


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
        steps = on_video(with_vectors(Path("-some vectors.parquet")), "-a.mp4")
        console.suggest(*steps, *with_page(Path("page.html")))
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


def test_a_name_as_wide_as_the_terminal_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    hub_id, screen = "MCG-NJU/videomae-base-finetuned-kinetics", Screen()
    row = {"name": "base-kinetics", "hub_id": hub_id, "revision": "488eb9a1b1ee", "size": "345 MB"}
    with monkeypatch.context() as patched:
        patched.setenv("TERM", "dumb")
        patched.setenv("COLUMNS", str(len(hub_id)))
        patched.setattr(sys, "stdout", screen)
        print_rows(tuple(row), [row])
    assert screen.text().splitlines() == [
        *("base-kinetics", "  hub id", hub_id, "  revision 488eb9a1b1ee", "  size 345 MB")
    ]


@pytest.mark.parametrize("width", [None, 40, 60, 80])
def test_places_of_a_label_keep_their_times_and_names(width: int | None) -> None:
    name = "vids/holiday-in-the-mountains-zoom-out-005.mp4"
    found = {"rank": 1, "path": name, "start": 3.2, "end": 6.0, "score": 0.9, "unsure": False}
    lines = found_places.line_of(found, width).splitlines()
    assert lines[0].startswith("   1   90.0%   0:00:03.20 - 0:00:06.00")
    assert lines[-1].endswith("t-005.mp4")
    assert (name in lines[0]) == (width is None)
    assert all(columns(line) <= (width or 100) for line in lines)


def test_what_bench_measured_fits_a_narrow_terminal() -> None:
    settings = [
        EngineSpeed("torch", "float32", 34.37, 1.0, 0.0, 1.0),
        EngineSpeed("openvino", "bfloat16", 178.11, 12.27, 0.00004, 1.0),
        EngineSpeed("openvino", "int8", 278.11, 22.27, 0.19, 0.94),
    ]
    for width, same in ((40, []), (80, ["100%", "100%", "94%"])):
        rows = [bench.row(bench.cells_of(one, labelled=True), wide=width == 80) for one in settings]
        assert all(len(row) <= width for row in rows)
        assert [row.split()[4] for row in rows] == ["0%", "<0.01%", "19%"]
        assert [word for row in rows for word in row.split()[5:]] == same


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *[(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (99_999, "100 kB"), (100_000, "0.1 MB")],
        *[(3_456_789, "3.5 MB"), (999_949_999, "999.9 MB"), (999_950_000, "1.0 GB"), (1_234_500_000_000, "1,234.5 GB")],
    ],
)
def test_sizes_are_in_the_unit_that_people_use(count: int, text: str) -> None:
    assert byte_size(count) == text


def drawn(writer: type[TerminalWriter | TerminalTimelineWriter], record: dict[str, Any], width: int) -> list[str]:
    """The lines that a writer draws on a terminal of this width."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    writer(console).write(record, 1.2)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert all(columns(line) <= width for line in lines), lines
    return lines


MADE = {
    "path": "a.mp4",
    "error": None,
    "warnings": [],
    "model": "tiny",
    "decoder": "opencv",
    "width": 480,
    "height": 270,
}


@pytest.mark.parametrize("width", [36, 40, 80, 200])
def test_a_narrow_terminal_loses_the_bar_and_no_word(width: int) -> None:
    predictions = [
        {"label": "pulling the rope slowly", "score": 0.804, "label_id": 0},
        {"label": "zoom in", "score": 0.065, "label_id": 1},
    ]
    sampling = "dense: 1 clip of 16 frames, stride 4, 1 crop, from 0 s to 4 s, over 100 frames (4.0 s)"
    lines = drawn(TerminalWriter, MADE | {"predictions": predictions, "sampling": sampling}, width)
    assert re.match(r"1 +pulling the rope slowly .*80\.4%$", lines[1]), lines
    assert re.match(r"2 +zoom in .* 6\.5%$", lines[2]), lines
    assert ("\u2501" in lines[1]) == (width >= 40)
    settings = "\n".join(lines[3:])
    for together in ("1 clip", "16 frames", "0 s", "4 s,", "(4.0 s)", "1.2 s"):
        assert together in settings, settings


@pytest.mark.parametrize("width", [36, 40, 80])
def test_a_narrow_timeline_keeps_label_and_score(width: int) -> None:
    segment = {"start": 63.52, "end": 3599.0, "label": "pan right", "score": 0.8, "unsure": False}
    lines = drawn(TerminalTimelineWriter, MADE | {"segments": [segment], "windows": [], "sampling": None}, width)
    clocks = "0:01:03.52 - 0:59:59.00" if width > 40 else "01:03.5 - 59:59.0"
    assert re.match(rf"{clocks} +pan right .*80", lines[1]), lines


def test_a_suggested_video_is_one_that_was_read() -> None:
    steps = with_vectors(Path("v.npz"))
    assert on_video(steps, None)[0] == ("videomae", "similar", Path("VIDEO"), Path("v.npz"))
    assert on_video(steps, "a.mp4")[0][2] == Path("a.mp4")
    assert with_vectors(Path("v.npz"), windows=True)[0] == (*steps[0], "--moments")
    assert on_video(steps, "s3://b/a.mp4")[0][2] == "s3://b/a.mp4", "a Path would lose a slash"
