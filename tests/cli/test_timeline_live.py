"""`videomae timeline` on live sources: a film looped as a stream by a server on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from motions import write_motions
from streaming import served, serving
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.errors import VideoNotFoundError
from videomae_cli.pipeline import Classifier
from videomae_cli.video.live_sources import _Clock, _Pace, check_address, shown

SCENES = (("pan left", 4.0), ("zoom in", 4.0))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motions(tmp_path_factory.mktemp("live") / "known.mp4", SCENES, seed=7)


def test_lines_come_as_windows_complete(film: Path) -> None:
    with served(film, loops=2, speed=5.0) as address:
        options = ("--model", "camera-motion", "--format", "jsonl", "--hop", "2s")
        done = CliRunner().invoke(app, ["timeline", address, *options])
    assert done.exit_code == 0, done.stderr
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(windows) >= 3
    assert all(a["start"] < b["start"] for a, b in pairwise(windows))
    for before, window in pairwise([{"dropped": 0}, *windows]):
        if before["dropped"] or window["dropped"]:
            continue  # a machine with too much to do: then pictures are missing
        inside = window["start"] % 8
        if inside < 1.2 or 4 <= inside < 5.2:  # wholly in a scene
            assert window["predictions"][0]["label"] == ("pan left" if inside < 4 else "zoom in")
    head, tail = done.stderr.splitlines()
    assert head == f"videomae: '{address}': 128x96, 25 frames/s, live; camera-motion on 2.56 s every 2.00 s"
    assert tail.startswith(f"videomae: '{address}' has ended: {len(windows)} windows in 0:00:1")


def test_frames_are_dropped_rather_than_falling_behind(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has its first window only when the whole stream has been sent."""
    sent, logits = threading.Event(), Classifier.outputs

    def slow(self: Classifier, views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert sent.wait(300), "a stream that is not read does not end"
        return logits(self, views)

    monkeypatch.setattr(Classifier, "outputs", slow)
    with served(film, loops=20, speed=150.0, sent=sent) as address:
        options = ("--model", "camera-motion", "--window", "0.25s", "--hop", "0.25s", "--format", "jsonl")
        done = CliRunner().invoke(app, ["timeline", address, *options])
    assert done.exit_code == 0, done.stderr
    windows = [json.loads(line) for line in done.stdout.splitlines()]
    dropped = sum(window["dropped"] for window in windows)
    assert dropped > 100
    assert len(windows) < 20 * 8 * 4
    assert f"{len(windows)} windows in " in done.stderr
    assert " frames dropped to keep up" in done.stderr


def test_a_recording_behind_an_address_is_seen_whole(film: Path) -> None:
    """A server that says how much it has: nothing of that is live, so nothing need be dropped."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(partial(Quiet, directory=str(film.parent))) as root:
        options = ("--model", "camera-motion", "--window", "1s", "--hop", "0.25s")
        done = CliRunner().invoke(app, ["timeline", f"{root}/known.mp4", *options])
    assert done.exit_code == 0, done.stderr
    assert "a recording, of which nothing is dropped" in done.stderr
    assert "no frame dropped" in done.stderr
    # Windows from 0 to 6.75, every quarter second.
    assert 28 <= len(done.stdout.splitlines()) <= 29


def test_a_live_decoder_has_the_memory_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int | None] = []

    class Worker:
        def __init__(self, **_: object) -> None: ...

        def call(self, *_: object, memory: int | None, **__: object) -> None:
            given.append(memory)
            raise VideoNotFoundError("nothing is there")

        def close(self) -> None: ...

    monkeypatch.setattr("videomae_cli.api.live.WorkerProcess", Worker)
    options = ("--camera", "0", "--model", "camera-motion", "--decoder-memory", "2GB")
    done = CliRunner().invoke(app, ["timeline", *options])
    assert (done.exit_code, given) == (1, [2_000_000_000]), done.stderr


@pytest.fixture
def watching(film: Path, quick_python: str) -> Iterator[subprocess.Popen[str]]:
    with served(film, loops=100) as address:
        command = [
            quick_python,
            "-m",
            "videomae_cli",
            "timeline",
            address,
            "--model",
            "camera-motion",
            "--hop",
            "0.5s",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        yield process
        process.kill()
        process.wait()


def test_ctrl_c_ends_it_with_a_summary(watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None
    assert "%" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=300)
    assert watching.returncode == 130
    last = said.splitlines()[-1]
    assert last.startswith("videomae: interrupted: ")
    assert " in 0:00:0" in last
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rtsp://me:secret@127.0.0.1:9/none",), "can't open 'rtsp://me:***@127.0.0.1:9/none': Connection refused"),
        (("--camera", "77"), "there is no camera 77 here, or another program uses it"),
        (("srt://127.0.0.1:9",), "'srt://127.0.0.1:9' is no address that can be read: http, https, rtsp"),
        (("gopher://host/a.mp4",), "'gopher://host/a.mp4' is no address that can be read"),
    ],
)
def test_what_is_not_there_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["timeline", *arguments, "--model", "camera-motion", "--timeout", "30"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"videomae: {message}")
    assert done.stderr.count("\n") == 1


def test_a_playlist_names_no_file_of_this_machine(film: Path) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"#EXTM3U\n#EXTINF:1,\nfile://{film}\n#EXT-X-ENDLIST\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(Page) as root:
        address = f"{root}/list.m3u8"
        done = CliRunner().invoke(app, ["timeline", address, "--model", "camera-motion"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"videomae: can't open '{address}'")


def test_addresses() -> None:
    check_address("RTSP://camera/1")
    with pytest.raises(VideoNotFoundError, match="is no address that can be read"):
        check_address("concat://a")
    assert shown("rtsp://user:p%40ss@host/x") == "'rtsp://user:***@host/x'"
    assert shown("http://host:80/a@b") == "'http://host:80/a@b'"


def test_the_clock_goes_on_where_the_streams_jumps() -> None:
    clock = _Clock(0.04)
    assert [clock.at(raw) for raw in (100.0, 100.04)] == pytest.approx([0.0, 0.04])
    assert clock.at(2.0) == pytest.approx(0.08)
    assert clock.at(2.04) == pytest.approx(0.12)
    assert clock.at(float("nan")) == pytest.approx(0.16)
    assert clock.at(2.12) == pytest.approx(0.2)


def test_pace_is_behind_only_while_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = _Pace()
    assert not pace.behind(0.0, 0.5)
    now = 2.0
    assert pace.behind(0.5, 0.0), "two seconds went by for half a second of film"
    assert pace.behind(1.5, 0.0)
    now = 3.0
    assert not pace.behind(1.6, 0.3), "the source kept us waiting: all it had is done"
    now = 3.1
    assert not pace.behind(1.7, 0.0)
