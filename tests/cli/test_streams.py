"""Standard streams that are closed, full, without a reader or of a poor encoding, in real processes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest
from samples import Run, make_checkpoint

from videomae_cli.cli.terminal import console
from videomae_cli.visible import byte_size

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

# What is wrong with a stream, as the child makes it so before Python's own objects are looked at.
_BREAK = """
import os, sys
from videomae_cli.cli import main
kind = {kind!r}
for name in {streams!r}:
    number = ("stdin", "stdout", "stderr").index(name)
    if kind == "closed":
        os.close(number)
        setattr(sys, name, None)
        continue
    if kind == "full":
        opened = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, opened = os.pipe()
        os.close(reading)
    os.dup2(opened, number)
    os.close(opened)
sys.modules.update(openvino=None, onnxruntime=None)  # which bench would convert a model for
sys.argv = ["videomae", *{arguments!r}]
main()
"""
KINDS = ("closed", "full", "gone")


def run_broken(
    python: str, stream: str, kind: str, *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """stream: "stdout", "stderr", or both with a blank between."""
    program = _BREAK.format(streams=stream.split(), kind=kind, arguments=list(map(os.fspath, arguments)))
    return subprocess.run([python, "-c", program], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_job_goes_on_when_stderr_can_not_be_said(
    quick_python: str, video: Path, checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "out.jsonl"
    files = ["none.mp4", video, "other.mp4"]
    done = run_broken(quick_python, "stderr", kind, "classify", *files, "--model", checkpoint, "-o", output)
    assert done.returncode == 1, "two files failed"
    assert [json.loads(line)["status"] for line in output.read_text().splitlines()] == ["error", "ok", "error"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["classify", "--no-such-option"], ["classify", "a", "-k", "0"]]
)
def test_usage_errors_keep_their_code_without_stderr(quick_python: str, kind: str, arguments: list[str]) -> None:
    assert run_broken(quick_python, "stderr", kind, *arguments).returncode == 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_is_a_file_needs_no_stdout(
    quick_python: str, video: Path, checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    classify = ["classify", video, "--model", checkpoint, "-o", tmp_path / "out.csv"]
    reconstruct = ["reconstruct", video, "-o", tmp_path / "seen.png"]
    for arguments, made in ((classify, "out.csv"), (reconstruct, "seen.png")):
        done = run_broken(quick_python, "stdout", kind, *arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert (tmp_path / made).stat().st_size > 0


@pytest.fixture(scope="module")
def made(videomae: Run, video: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What other commands read: labelled clips, their vectors, and the two halves of a job."""
    folder = tmp_path_factory.mktemp("made")
    for number, label in enumerate(["walking", "walking", "滑雪", "滑雪"]):
        (folder / "data" / label).mkdir(parents=True, exist_ok=True)
        (folder / "data" / label / f"{number}.mp4").symlink_to(video)
    data = folder / "data"
    for words in (
        ["embed", data, "-o", folder / "table.parquet"],
        ["classify", data, "--shard", "1/2", "-o", folder / "1.jsonl"],
        ["classify", data, "--shard", "2/2", "-o", folder / "2.jsonl"],
    ):
        done = videomae(*words, "--model", checkpoint)
        assert done.returncode == 0, done.stderr
    return folder


# Commands whose output is a file or a folder, and what must be there afterwards. MADE and OUT are folders.
FILES = {
    "embed VIDEO -m MODEL -o OUT/e.parquet": "e.parquet",
    "embed VIDEO -m MODEL -o OUT/e/": "e/clip.mp4.npy",
    "timeline VIDEO -m MODEL -o OUT/t.srt": "t.srt",
    "timeline VIDEO -m MODEL --find walking --cut OUT/cut -o OUT/found.csv": "found.csv",
    "classify VIDEO -m MODEL -o OUT/c.csv --report OUT/r.html": "r.html",
    "similar VIDEO MADE/table.parquet -o OUT/s.json": "s.json",
    "map MADE/table.parquet -o OUT/m.html": "m.html",
    "merge MADE/1.jsonl MADE/2.jsonl -o OUT/whole.jsonl": "whole.jsonl",
    "evaluate MADE/data -m MODEL -o OUT/e.json --report OUT/report": "report/report.md",
    "finetune MADE/data --init MODEL --mode head --val 0.5 -o OUT/tuned": "tuned/README.md",
    "pretrain MADE/data --size tiny --image-size 32 --frames 4 --epochs 1 --batch-size 2 -o OUT/trained": "trained/README.md",
    "attend VIDEO -m MODEL -o OUT/a.png": "a.png",
    "convert MODEL OUT/converted": "converted/model.safetensors",
}


def filled(line: str, **places: Path) -> list[str]:
    """The words of a command, with its places."""
    for name, place in places.items():
        line = line.replace(name, str(place))
    return line.split()


@pytest.mark.parametrize("kind", ["closed", "full"])
@pytest.mark.parametrize("line", FILES)
def test_every_output_is_written_though_nothing_can_be_said(
    quick_python: str, video: Path, checkpoint: Path, made: Path, tmp_path: Path, kind: str, line: str
) -> None:
    words = filled(line, VIDEO=video, MODEL=checkpoint, MADE=made, OUT=tmp_path)
    done = run_broken(quick_python, "stdout stderr", kind, *words, cwd=tmp_path)
    there = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*"))
    assert FILES[line] in there
    assert done.returncode == 0
    assert not any(".part" in name for name in there)


DATA = [
    ["--version"],
    ["models"],
    ["models", "--format", "json"],
    ["models", "camera-motion"],
    ["download", "camera-motion"],
    ["classify", "VIDEO", "--format", "jsonl", "--model", "camera-motion"],
    ["classify", "VIDEO", "--model", "camera-motion"],
    ["timeline", "VIDEO", "--model", "camera-motion"],
    ["reconstruct", "VIDEO", "--json"],
    ["timeline", "VIDEO", "--model", "camera-motion", "--find", "static", "--format", "csv"],
    ["similar", "VIDEO", "TABLE"],
    ["evaluate", "DATA", "--model", "CHECKPOINT"],
    ["bench", "CHECKPOINT", "--rounds", "1", "--batch-size", "1"],
    ["bench", "CHECKPOINT", "--rounds", "1", "--batch-size", "1", "--json"],
    ["--help"],
    ["embed", "--help"],
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arguments", DATA, ids=" ".join)
def test_data_that_can_not_be_written_is_an_honest_failure(
    quick_python: str, video: Path, checkpoint: Path, made: Path, kind: str, arguments: list[str]
) -> None:
    places = {"VIDEO": video, "CHECKPOINT": checkpoint, "TABLE": made / "table.parquet", "DATA": made / "data"}
    done = run_broken(quick_python, "stdout", kind, *(places.get(word, word) for word in arguments))
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "ships with" not in line and "no picture" not in line]
    if kind == "gone":
        assert not said, "as quiet as a program that SIGPIPE ends"
    else:
        assert len(said) == 1, done.stderr
        assert ("closed" if kind == "closed" else "No space left") in said[0]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_text_falls_back_to_what_can_be_shown(
    videomae: Run, checkpoint: Path, video: Path, tmp_path: Path, encoding: str
) -> None:
    odd = tmp_path / "滑雪…\u202e.mp4"
    environment = {"PYTHONIOENCODING": encoding}
    done = videomae("classify", odd, "no\x1b[2J", environment=environment, text=False)  # type: ignore[arg-type]
    assert done.returncode == 1
    said = bytes(done.stderr).decode(encoding)  # type: ignore[arg-type]
    assert "Traceback" not in said
    assert r"\u6ed1\u96ea" in said
    assert r"\x1b[2J" in said
    facts = videomae("models", checkpoint, environment=environment, text=False)
    assert facts.returncode == 0
    assert rb"\u6ed1\u96ea" in bytes(facts.stdout)  # type: ignore[arg-type]
    exact = videomae("models", checkpoint, "--format", "json", environment=environment, text=False)
    assert "滑雪" in json.loads(exact.stdout)["labels"]


def on_terminal(python: str, columns: int, *words: str | Path, **environment: str) -> tuple[int, bytes]:
    """Exit code and output of a command on a pseudo-terminal."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [python, "-m", "videomae_cli", *map(os.fspath, words)]
    settings = {**kept, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    return process.wait(), shown


def test_a_terminal_is_told_what_was_written(quick_python: str, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    there = tmp_path / "labels.json"
    code, shown = on_terminal(quick_python, 200, "classify", video, "--model", checkpoint, "-o", there)
    assert code == 0
    size = byte_size(there.stat().st_size)
    assert f"videomae: wrote {there}: 1 file classified, {size}" in shown.decode()


def test_a_command_ends_with_what_can_be_done_next(quick_python: str, checkpoint: Path, tmp_path: Path) -> None:
    there = tmp_path / "my model"
    code, shown = on_terminal(quick_python, 40, "convert", checkpoint, there)
    assert code == 0
    assert shown.decode().splitlines()[-1] == f"next: videomae classify VIDEO --model '{there}'"
    _, quiet = on_terminal(quick_python, 40, "convert", checkpoint, there, "--overwrite", "--quiet")
    assert b"next:" not in quiet


HOSTILE = {
    0: "\x1b[2J\x1b]8;;http://x\x07link",
    1: "\u202eturned\u200b\U000e0041",
    2: "a\nb\r\x85",
    3: "滑雪…" + "\u0301" * 99,
    4: "L" * 10_000,
    5: "\x1b]52;c;eA==\x07\x9b31m",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("hostile") / "tiny", id2label=HOSTILE)


@pytest.mark.parametrize(
    ("columns", "environment", "encoding"),
    [
        (80, {"PYTHONIOENCODING": "ascii"}, "ascii"),
        (40, {"PYTHONIOENCODING": "cp437", "NO_COLOR": "1"}, "cp437"),
        (200, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
        (40, {"PYTHONIOENCODING": "cp1252", "TERM": "dumb"}, "cp1252"),
    ],
)
def test_a_terminal_is_shown_what_it_can_show(
    quick_python: str,
    video: Path,
    hostile: Path,
    tmp_path: Path,
    columns: int,
    environment: dict[str, str],
    encoding: str,
) -> None:
    (tmp_path / "a\x1b[2J\u6ed1.mp4").symlink_to(video)
    words = ["classify", tmp_path, tmp_path / "a-file-that-is-not-there.mp4", "--top-k", "6", "--model", hostile]
    code, shown = on_terminal(quick_python, columns, *words, **environment)
    text = shown.decode(encoding)
    assert code == 1
    assert "Traceback" not in text
    assert r"a\x1b[2J\u6ed1.mp4" in text
    assert not re.search(r"\x1b\[2J|\x1b\]|\x07|\x9b31m", text)
    if "NO_COLOR" in environment:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)
    if environment.get("TERM") == "dumb":
        assert "\x1b" not in text
        wide = [line for line in text.splitlines() if len(line) > columns]
        assert all(" " not in line.strip() for line in wide), "lines are broken between words, as on any terminal"
    assert "failed: no such" not in text, "a failure is said once, on standard error"
    assert f"{tmp_path / 'a-file-that-is-not-there.mp4'}'" in text, "in one piece"


def test_a_piped_table_is_in_the_encoding_asked_for(
    videomae: Run, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    for encoding, letters in (("ascii", r"Stra\xdfe"), ("latin-1", "Straße"), ("utf-8", "Straße")):
        environment = {"PYTHONIOENCODING": encoding}
        words = ["classify", video, "--model", checkpoint]
        done = videomae(*words, environment=environment, text=False)
        assert letters in done.stdout.decode(encoding)  # type: ignore[attr-defined]
    done = videomae(*words, "--format", "jsonl", environment={"PYTHONIOENCODING": "ascii"}, text=False)
    assert "Straße" in done.stdout.decode()  # type: ignore[attr-defined]


def test_usage_errors_quote_harmlessly(videomae: Run) -> None:
    for arguments in (["--\x1b[2J"], ["classify", "--\x1b[2J\nx"], ["\x1b[2J"]):
        done = videomae(*arguments)
        assert done.returncode == 2
        assert "\x1b" not in done.stderr
        assert r"\x1b[2J" in done.stderr


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [20, 40, 80])
def test_errors_are_wrapped_between_words(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = "videomae: can't ask the hub about x: give a-long-hyphenated-path/that-stays-whole.mp4, or `videomae download x`"
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", Terminal())
        lines = console.wrapped(text)
    assert " ".join(lines) == text
    assert len(lines) > 1
    assert all(len(line) <= width or " " not in line or line.startswith("`") for line in lines)
    assert any("a-long-hyphenated-path/that-stays-whole.mp4," in line for line in lines)
    assert any("`videomae download x`" in line for line in lines)
    assert console.wrapped(text) == [text], "one line where there is no terminal"
