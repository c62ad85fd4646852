"""What a command says last to a person: what it wrote, with what is in it and its size, and what can be done next."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import write_video
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cli.terminal import console
from videomae_cli.video import Decoder

SIZE = r"[\d.]+ (bytes|kB|MB)"


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_cli.cli.run.inputs.Decoder", lambda **_: Decoder(isolate=False))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person looks at both streams."""
    monkeypatch.setattr(console, "is_terminal", lambda stream: True)
    monkeypatch.setattr(console.system, "terminal_width", lambda stream: 200)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for name in ("walking", "滑雪"):
        (folder / "clips" / name).mkdir(parents=True)
        write_video(folder / "clips" / name / "a.mp4")
    return folder


@pytest.fixture
def last(
    place: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], tuple[list[str], list[str]]]:
    """Runs a command of several words in a folder with clips; returns its lines about files, and those about what is next."""
    (tmp_path / "clips").symlink_to(place / "clips")
    (tmp_path / "tiny").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDEOMAE_MODEL", "tiny")

    def run(line: str) -> tuple[list[str], list[str]]:
        done = CliRunner().invoke(app, line.split())
        assert done.exit_code == 0, done.stderr
        lines = done.stderr.splitlines()
        wrote = [one.removeprefix("videomae: wrote ") for one in lines if one.startswith("videomae: wrote ")]
        return wrote, [one[6:] for one in lines if one.startswith(("next: ", "      "))]

    return run


Last = Callable[[str], tuple[list[str], list[str]]]


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(
    ("line", "wrote"),
    [
        (
            "classify clips -o a.csv --report r.html",
            [rf"a\.csv: 2 files classified, {SIZE}", rf"r\.html: 2 files, {SIZE}"],
        ),
        ("timeline clips/walking -o t.png", [rf"t\.png: 1 segment(, 1 unsure)?, {SIZE}"]),
        ("timeline clips/walking -o t.jsonl --unsure-below 1", [rf"t\.jsonl: 1 segment, 1 unsure, {SIZE}"]),
        ("timeline clips -o s/ --format srt", [rf"s: 2 files analysed, 2 segments.*, {SIZE}"]),
        ("embed clips --window 8f -o w.npz", [rf"w\.npz: 2 files embedded, \d+ windows, {SIZE}"]),
        (
            "timeline clips --find walking --threshold 0 -o p.csv --cut cut/",
            [rf"p\.csv: \d+ places?, {SIZE}", rf"cut: \d+ clips?(, {SIZE})?"],
        ),
        ("evaluate clips -o e.json --report e/", [rf"e\.json: 2 clips scored, {SIZE}", rf"e: 2 clips scored, {SIZE}"]),
        ("convert tiny copy", [rf"copy: classification, .*, {SIZE}"]),
        ("attend clips/walking/a.mp4 -o a.png --frames-dir f", [rf"f: 32 images, {SIZE}; a\.png: .* pixels, {SIZE}"]),
        (
            "finetune clips -o my --init tiny --val 0 --mode head --no-check",
            [rf"my: checkpoint, (curves\.png, )?README\.md, {SIZE}"],
        ),
        (
            "pretrain clips -o pre --size tiny --image-size 32 --frames 2 --epochs 1 --val 0",
            [rf"pre: checkpoint, curves\.png, README\.md, {SIZE}"],
        ),
    ],
)
def test_what_was_written_is_said_with_what_is_in_it(line: str, wrote: list[str], last: Last) -> None:
    found, _ = last(line)
    assert len(found) == len(wrote), found
    for ours, theirs in zip(found, wrote, strict=True):
        assert re.fullmatch(theirs, ours), ours


@pytest.mark.usefixtures("seen")
def test_a_search_and_a_merge_say_what_they_wrote(last: Last) -> None:
    for part in ("1/2", "2/2"):
        wrote, then = last(f"embed clips --shard {part} -o v{part[0]}.npz")
        assert re.fullmatch(rf"v\d\.npz: \d files? embedded, {SIZE}", wrote[0])
        assert then == [f"videomae merge v{part[0]}.npz OTHERS -o all.npz"] * (": 0 files" not in wrote[0])
    wrote, then = last("merge v1.npz v2.npz -o all.npz")
    assert re.fullmatch(rf"all\.npz: 2 files from 2 outputs, {SIZE}", wrote[0])
    assert then == ["videomae similar VIDEO all.npz", "videomae map all.npz -o all-map.html"]
    assert re.fullmatch(rf"n\.json: 1 match, {SIZE}", last("similar clips/walking/a.mp4 all.npz -o n.json")[0][0])
    assert re.fullmatch(rf"g\.json: 1 group, {SIZE}", last("similar --duplicates 0.5 all.npz -o g.json")[0][0])
    wrote, then = last("map all.npz -o all.html")
    assert re.fullmatch(rf"all\.html: 2 videos, .*, {SIZE}", wrote[0])
    assert then == ["open all.html in a browser"]


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("ending", ["npz", "jsonl", "parquet"])
def test_nothing_is_suggested_that_vectors_of_tokens_do_not_go_with(ending: str, last: Last) -> None:
    for part in ("1/2", "2/2"):
        last(f"embed clips --shard {part} --pool tokens -o v{part[0]}.{ending}")
    assert last(f"merge v1.{ending} v2.{ending} -o all.{ending}")[1] == []


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize(
    ("line", "then"),
    [
        ("models camera-motion", ["videomae classify VIDEO --model camera-motion"]),
        (
            "models camera-motion-mae",
            [
                "videomae finetune DATA --init camera-motion-mae -o OUT",
                "videomae reconstruct VIDEO --model camera-motion-mae -o preview.gif",
            ],
        ),
        ("models camera-motion --format json", []),
        ("classify clips --shard 1/2 -o a.csv", ["videomae merge a.csv OTHERS -o all.csv"]),
        ("classify clips -o a.csv", []),
    ],
)
def test_what_can_be_done_next(line: str, then: list[str], last: Last) -> None:
    assert last(line)[1] == then


def test_without_a_terminal_a_job_is_silent(last: Last) -> None:
    assert last("classify clips -o a.csv --report r.html") == ([], [])
    assert last("evaluate clips -o e.json") == ([], [])
