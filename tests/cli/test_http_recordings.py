"""Recordings behind http: read where they are if the server and the container allow it, else copied; never dropped."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from streaming import serving
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.errors import MachineError, VideoFetchError
from videomae_cli.video import recordings
from videomae_cli.video.recordings import Remote, copied, look

SECONDS, RATE = 8, 24


@dataclass
class Shop:
    """A web server of files held in memory. ranges: whether it sends parts; lengths: whether it says how much comes;
    short: bytes that it keeps for itself; login: what it asks for."""

    root: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = False
    lengths: bool = True
    short: int = 0
    login: str | None = None
    asked: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()

    class Handler(BaseHTTPRequestHandler):
        keeps: ClassVar[Shop] = shop

        def do_GET(self) -> None:
            self.keeps.asked[self.path] += 1
            name = self.path.lstrip("/")
            if name == "moved.mp4":
                self._head(302, Location="/end.mp4")
                return
            if name == "elsewhere.mp4":
                self._head(302, Location="file:///etc/passwd")
                return
            if self.keeps.login and self.headers.get("Authorization") != self.keeps.login:
                self._head(401)
                return
            content = self.keeps.files.get(name)
            if content is None:
                self._head(404)
                return
            self._answer(content)

        def _answer(self, content: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            headers = {}
            if asked and self.keeps.ranges:
                first, last = int(asked[1]), int(asked[2] or len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                content = content[first : last + 1]
            if self.keeps.lengths:
                headers["Content-Length"] = str(len(content))
            self._head(206 if asked and self.keeps.ranges else 200, **headers)
            try:
                self.wfile.write(content[: len(content) - self.keeps.short])
            except OSError:
                return  # whoever asked has gone

        def _head(self, code: int, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(Handler) as root:
        shop.root = root
        yield shop


def _film(path: Path, codec: str, **options: str) -> bytes:
    """Eight seconds of noise, so that it is larger than what a demultiplexer holds in memory."""
    chance = np.random.default_rng(3)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE, width=160, height=120, pix_fmt="yuv420p", bit_rate=4_000_000)
        for _ in range(SECONDS * RATE):
            frame = av.VideoFrame.from_ndarray(chance.integers(0, 256, (120, 160, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("films")
    made = {
        "end.mp4": _film(folder / "end.mp4", "mpeg4"),
        "fast.mov": _film(folder / "fast.mov", "mpeg4", movflags="faststart"),
        "film.ts": _film(folder / "film.ts", "mpeg2video"),
        "film.mkv": _film(folder / "film.mkv", "mpeg4"),
        "film.avi": _film(folder / "film.avi", "mpeg4"),
    }
    assert made["end.mp4"].index(b"moov") > 500_000
    return made


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def watch(address: str) -> Any:
    options = ("--model", "camera-motion", "--window", "2s", "--hop", "2s", "--format", "jsonl", "--timeout", "30")
    return CliRunner().invoke(app, ["timeline", address, *options])


@pytest.mark.parametrize("ranges", [False, True])
@pytest.mark.parametrize("name", ["end.mp4", "fast.mov", "film.ts", "film.mkv", "film.avi"])
def test_every_recording_is_seen_whole(
    shop: Shop, films: dict[str, bytes], temporary: Path, name: str, ranges: bool
) -> None:
    shop.files, shop.ranges = films, ranges
    done = watch(f"{shop.root}/{name}")
    assert done.exit_code == 0, done.stderr
    assert "a recording, of which nothing is dropped" in done.stderr
    assert ", no frame dropped" in done.stderr
    assert len(done.stdout.splitlines()) in (SECONDS // 2 - 1, SECONDS // 2)
    assert ("it is copied to a temporary file first" in done.stderr) == (not ranges and name in ("end.mp4", "fast.mov"))
    assert list(temporary.iterdir()) == []


def test_a_redirection_is_followed_but_not_off_the_web(shop: Shop, films: dict[str, bytes], temporary: Path) -> None:
    shop.files = films
    assert watch(f"{shop.root}/moved.mp4").exit_code == 0
    done = watch(f"{shop.root}/elsewhere.mp4")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"videomae: can't open '{shop.root}/elsewhere.mp4'")
    with pytest.raises(VideoFetchError), copied(f"{shop.root}/elsewhere.mp4", 30):
        pass
    assert list(temporary.iterdir()) == []


def test_a_copy_that_is_cut_off_is_one_line(shop: Shop, films: dict[str, bytes], temporary: Path) -> None:
    shop.files, shop.short = films, 100_000
    done = watch(f"{shop.root}/end.mp4")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"videomae: can't copy '{shop.root}/end.mp4': ")
    assert list(temporary.iterdir()) == []


def test_without_a_length_nothing_is_copied(shop: Shop, films: dict[str, bytes], temporary: Path) -> None:
    shop.files, shop.lengths = films, False
    assert look(f"{shop.root}/end.mp4", 30) == Remote(None, False)
    done = watch(f"{shop.root}/end.mp4")
    assert "copied" not in done.stderr
    with pytest.raises(VideoFetchError, match="does not say how long it is"), copied(f"{shop.root}/end.mp4", 30):
        pass


def test_more_than_there_is_room_for_is_not_begun(
    shop: Shop, films: dict[str, bytes], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.files = films
    usage = shutil.disk_usage(temporary)._replace(free=1000)
    monkeypatch.setattr(recordings.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(MachineError, match="TMPDIR names another folder"), copied(f"{shop.root}/end.mp4", 30):
        pass


def test_a_name_and_a_password_are_sent_and_never_shown(shop: Shop, films: dict[str, bytes], temporary: Path) -> None:
    shop.files, shop.login = films, "Basic bWU6c2VjcmV0"
    done = watch(shop.root.replace("://", "://me:secret@") + "/end.mp4")
    assert done.exit_code == 0, done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(("ranges", "name"), [(True, "end.mp4"), (False, "end.mp4"), (False, "none.mp4")])
def test_what_a_server_says(shop: Shop, films: dict[str, bytes], ranges: bool, name: str) -> None:
    shop.files, shop.ranges = films, ranges
    expected = Remote(len(films[name]), ranges) if name in films else None
    assert look(f"{shop.root}/{name}", 30) == expected


def test_where_nobody_answers() -> None:
    assert look("http://127.0.0.1:9/none", 5) is None
