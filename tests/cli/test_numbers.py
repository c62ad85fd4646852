"""Numbers that can hardly be meant: refused in one line, or done and told what they make of a file; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cli.options import memory_bytes
from videomae_cli.errors import OptionError
from videomae_cli.video import SamplingSpec, WindowSpec, parse_time
from videomae_cli.video.decoder import MAX_TIMEOUT, Decoder
from videomae_cli.video.sampling import plan_clips

HUGE = "9" * 400

# What no value of the option can mean, whatever the file: exit code 2, one line that names the option.
SAMPLING = {
    "--fps": ("0", "-1", "nan", "inf", "-inf", "1001", "1e9", "1e308"),
    "--stride": ("0", "-4", "1000001", "99999999999999999999"),
    "--clips": ("0", "-1", "1001", "99999999999999999999"),
    "--crops": ("0", "-1", "2", "4", "99999999999"),
    "--start": ("-1", "nan", "inf", "1e308:59:59", HUGE, "1:99"),
    "--end": ("0", "-1", "nan", "inf", HUGE),
}
COMMON = {
    "--timeout": ("-1", "nan", "inf", "-inf", "1e9", "1e308"),
    "--top-k": ("0", "-1"),
    "--batch-size": ("0", "-1", "4097", "99999999999999999999"),
}
WORKERS = {"--workers": ("0", "-1", "1025", "99999999999")}
WINDOWS = {
    "--window": ("0", "-1s", "nan", "inf", "0.0001s", HUGE),
    "--hop": ("0", "-1s", "nan", "inf", "0.1ms", HUGE),
    "--min-duration": ("-1s", "nan", "inf", HUGE),
    "--smooth": ("-1s", "nan", "inf", HUGE),
    "--threshold": ("-0.1", "1.1", "nan", "inf", "-inf"),
    "--start": SAMPLING["--start"],
    "--end": SAMPLING["--end"],
}
SHARED = {name: values[::3] for name, values in (SAMPLING | COMMON | WORKERS).items() if name != "--top-k"}
REFUSED = [
    (command, option, value)
    for command, options in (
        ("classify", SAMPLING | COMMON | WORKERS),
        ("embed", SHARED),
        ("evaluate", SHARED),
        ("timeline", WINDOWS | {name: values[::3] for name, values in COMMON.items()}),
    )
    for option, values in options.items()
    for value in values
]


@pytest.mark.parametrize(("command", "option", "value"), REFUSED, ids=lambda text: text if len(text) < 30 else "long")
def test_what_no_file_can_give_is_refused(
    command: str, option: str, value: str, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model is not there: nobody waits for one to be told that an option is wrong.
    given = [command, str(tmp_path / "t.csv") if command == "evaluate" else str(video), "--model", "camera-motion"]
    (tmp_path / "t.csv").write_text(f"path,label\n{video},pan left\n", encoding="utf-8")
    given += ["-o", str(tmp_path / "o.npz")] if command == "embed" else []
    monkeypatch.setattr("videomae_cli.assembly.ClassifierRequest.make", _never)
    monkeypatch.setattr("videomae_cli.assembly.EmbedderRequest.make", _never)
    done = CliRunner().invoke(app, [*given, f"{option}={value}"])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr
    assert (option in done.stderr) or option.strip("-").replace("-", " ") in done.stderr or value in done.stderr
    assert not (tmp_path / "o.npz").exists()


def _never(*arguments: object, **options: object) -> None:
    raise AssertionError("a model is loaded")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fps", "0.001"), "at fps 0.001 a clip is one frame 16 times"),
        (("--fps", "1e-300"), "a clip is one frame 16 times"),
        (("--stride", "1000000"), "at stride 1000000 a clip is one frame 16 times"),
        (("--fps", "1000"), "at fps 1000 frames of this file"),
        (("--fps", "0.001", "--clips", "3"), "a clip is one frame 16 times"),
        (("--fps", "25"), None),
        (("--stride", "1"), None),
        (("--timeout", "0"), None),
        (("--timeout", str(MAX_TIMEOUT)), None),
        (("--top-k", "99999999999"), None),
        (("--batch-size", "4096"), None),
        (("--workers", "64"), None),
        (("--end", "1e9"), None),
    ],
)
def test_what_can_be_done_is_done_and_told(
    options: tuple[str, ...], words: str | None, video: Path, checkpoint: Path
) -> None:
    done = CliRunner().invoke(app, ["classify", str(video), "--model", str(checkpoint), "--format", "jsonl", *options])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["status"] == "ok"
    assert (words in " ".join(record["warnings"])) if words else record["warnings"] == []
    assert (words or "") in done.stderr
    if "--clips" not in options:
        assert len(record["frames"]) == 1, "so short a film has one clip, whatever the rate"


@pytest.mark.parametrize(
    "options",
    [
        ("--window", "99999999s"),
        ("--hop", "99999999s"),
        ("--window", "1ms", "--hop", "500ms"),
        ("--min-duration", "99999999999999999999999999999999h"),
        ("--smooth", "99999999999999999999999999999999h"),
        ("--threshold", "1"),
        ("--top-k", "99999999999"),
        ("--end", "1e9"),
    ],
    ids=" ".join,
)
def test_long_and_short_windows_are_done(options: tuple[str, ...], video: Path, checkpoint: Path) -> None:
    done = CliRunner().invoke(app, ["timeline", str(video), "--model", str(checkpoint), "--format", "jsonl", *options])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["segments"]
    assert record["segments"][-1]["end"] <= record["duration"] + 1e-3


def test_a_start_behind_the_end_costs_the_file_only(video: Path, checkpoint: Path) -> None:
    for command in ("classify", "timeline"):
        done = CliRunner().invoke(
            app, [command, str(video), "--model", str(checkpoint), "--format", "jsonl", "--start", "1e9"]
        )
        assert done.exit_code == 1
        assert "after the last frame" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("fps", [1e-300, 1e-3, 0.5, 24.0, 1000.0])
@pytest.mark.parametrize("family", ["dense", "uniform", "segments"])
def test_a_rate_makes_no_film_longer(fps: float, family: str) -> None:
    plan = plan_clips(SamplingSpec(fps=fps, family=family), num_frames=150, fps=25.0)
    assert len(plan.clips) == 1
    assert "(6.0 s)" in plan.description
    assert all(0 <= index < 150 for clip in plan.clips for index in clip)


def test_one_frame_is_no_surprise_in_a_film_that_has_one() -> None:
    assert plan_clips(SamplingSpec(fps=0.001), num_frames=1, fps=25.0).warnings == ()
    assert plan_clips(SamplingSpec(), num_frames=2, fps=25.0).warnings == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e7])
def test_a_library_is_refused_the_same(value: float) -> None:
    with pytest.raises(OptionError, match="timeout must be"):
        Decoder(timeout=value)
    if value != 1e7 and value != 0.0:
        with pytest.raises(OptionError, match="must be"):
            WindowSpec(start=value)


def test_a_time_may_be_as_long_as_a_number() -> None:
    assert parse_time("1e300") == 1e300
    with pytest.raises(OptionError, match="is too long"):
        parse_time("1e308:00")


@pytest.mark.parametrize(
    ("size", "count"),
    [("2GB", 2 * 10**9), ("500 mb", 500 * 10**6), ("1.5GiB", 3 * 2**29), (None, None)]
    + [(size, 0) for size in ("2", "GB", "-1GB", "0GB", "1MB", "nanGB", "1e9GB", "2TB", "٢GB", "9999999GB")],
)
def test_memory_of_a_decoder(size: str | None, count: int | None) -> None:
    if count == 0:
        with pytest.raises(OptionError, match="--decoder-memory is a size such as 2GB"):
            memory_bytes(size)
    else:
        assert memory_bytes(size) == count


def _decoding_commands() -> list[list[str]]:
    """Commands that decode files, as far as their options tell: those with a time limit for it; and the pictures of a map."""
    needs = {"map": ["x.npz", "-o", "x.html"], "finetune": ["x", "-o", "x"], "pretrain": ["x", "-o", "x"]}
    group: Any = typer.main.get_command(app)
    context = group.make_context("videomae", ["--version"], resilient_parsing=True)
    commands = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    timed = [name for name, command in commands if any("--timeout" in option.opts for option in command.params)]
    return [[name, *needs.get(name, ["x"])] for name in sorted({*timed, "map"})]


@pytest.mark.parametrize("command", _decoding_commands(), ids=lambda command: command[0])
def test_every_command_that_decodes_takes_a_limit_of_memory(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command, "--decoder-memory", "1MB"])
    assert done.exit_code == 2
    assert "--decoder-memory is a size such as 2GB" in done.stderr, done.stderr


def test_training_decodes_within_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[int | None] = []

    def decoder(**options: Any) -> None:
        given.append(options["memory"])
        raise OptionError("seen")

    monkeypatch.setattr("videomae_cli.training.terms.Decoder", decoder)
    for command in ("finetune", "pretrain"):
        CliRunner().invoke(app, [command, str(tmp_path), "-o", str(tmp_path / "out"), "--decoder-memory", "2GB"])
    assert given == [2 * 10**9] * 2
