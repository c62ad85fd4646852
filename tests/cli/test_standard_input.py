"""A video that comes where names were expected: through every command that takes names, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from samples import Run

from videomae_cli.content import content_of
from videomae_cli.errors import VideoFetchError
from videomae_cli.video import find_videos, standard_input


def film(file: Path, format: str, codec: str, pixels: str = "yuv420p", **options: str) -> bytes:
    with av.open(str(file), "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for number in range(20):
            image = np.full((64, 96, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return file.read_bytes()


@pytest.mark.parametrize(
    ("format", "codec", "pixels"),
    [
        *(("mp4", "libx264", "yuv420p"), ("mov", "mjpeg", "yuvj420p"), ("matroska", "libx264", "yuv420p")),
        *(("webm", "libvpx", "yuv420p"), ("avi", "mpeg4", "yuv420p"), ("mpegts", "libx264", "yuv420p")),
        *(("mpeg", "mpeg2video", "yuv420p"), ("vob", "mpeg2video", "yuv420p"), ("flv", "flv1", "yuv420p")),
        *(
            ("gif", "gif", "rgb8"),
            ("asf", "wmv2", "yuv420p"),
            ("nut", "mpeg4", "yuv420p"),
        ),
        *(("h264", "libx264", "yuv420p"), ("hevc", "libx265", "yuv420p"), ("m4v", "mpeg4", "yuv420p")),
        *(
            ("mpeg2video", "mpeg2video", "yuv420p"),
            ("ivf", "libvpx", "yuv420p"),
            ("yuv4mpegpipe", "wrapped_avframe", "yuv420p"),
        ),
        *(("mxf", "mpeg2video", "yuv422p"), ("webp", "libwebp_anim", "yuv420p")),
    ],
)
def test_every_container_is_known_by_its_content(format: str, codec: str, pixels: str, tmp_path: Path) -> None:
    content = content_of(film(tmp_path / "film", format, codec, pixels)[:4096])
    assert content is not None
    assert content.family == "video"


@pytest.mark.parametrize(
    "start", [b"\0\0\0\x08wide", b"\0\0\0\x10free" + bytes(8), b"\0\0\0\x08skip", b"\0\0\0\x01mdat" + bytes(8)]
)
def test_an_mp4_need_not_begin_with_its_type(start: bytes) -> None:
    content = content_of(start + b"\0\0\0\x18ftypisom")
    assert content is not None
    assert content.words == "a video (MP4)"


@pytest.mark.parametrize(
    "head", [b"", b"a.mp4\nb.mp4\n", b"BMW.mp4\n", b"GIF.mp4\n", b"Gone.mp4\n" * 100, b"RIFF.avi\n", b"ID4.mp4"]
)
def test_names_are_not_taken_for_films(head: bytes) -> None:
    assert content_of(head) is None


def left_behind(folder: Path) -> list[str]:
    return [name for name in (entry.name for entry in folder.iterdir()) if name.startswith("videomae-")]


@pytest.mark.parametrize("command", ["classify", "timeline", "embed", "attend"])
def test_commands_take_a_video_from_standard_input(
    command: str, videomae: Run, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    output = {"classify": "out.jsonl", "timeline": "out.jsonl", "embed": "out.jsonl", "attend": "out.png"}[command]
    with video.open("rb") as stream:
        done = videomae(
            *(command, "-", "-m", checkpoint, "-o", tmp_path / output),
            stdin=stream,
            environment={"TMPDIR": str(tmp_path / "tmp")},
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if output.endswith("jsonl"):
        [record] = map(json.loads, (tmp_path / output).read_text().splitlines())
        assert (record["path"], record["status"]) == ("-", "ok")
        assert "standard input holds a video" in done.stderr
    assert not left_behind(tmp_path / "tmp")


@pytest.mark.parametrize("command", ["classify", "timeline"])
def test_what_is_wrong_with_it_is_said_of_standard_input(
    command: str, videomae: Run, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut").write_bytes(video.read_bytes()[:600])
    (tmp_path / "tmp").mkdir()
    with (tmp_path / "cut").open("rb") as stream:
        done = videomae(*(command, "-", "-m", checkpoint), stdin=stream, environment={"TMPDIR": str(tmp_path / "tmp")})
    assert done.returncode == 1
    assert "videomae: -: " in done.stderr or "'-'" in done.stderr
    assert str(tmp_path) not in done.stderr
    assert not left_behind(tmp_path / "tmp")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\xff\xd8\xff\xe0\0\x10JFIF", "picture"), (b"\x1f\x8b\x08\0rest", "gzip"), (b'fLaC\0\0\0"', "sound")],
)
def test_what_is_neither_names_nor_a_video(data: bytes, said: str, videomae: Run, checkpoint: Path) -> None:
    done = videomae("classify", "-", "-m", checkpoint, input=data, text=False)
    message = done.stderr.decode()  # type: ignore[attr-defined]
    assert done.returncode in (1, 2)
    assert said in message
    assert "Traceback" not in message


def test_a_video_that_is_too_large_is_one_record(monkeypatch: pytest.MonkeyPatch, video: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDEOMAE_STDIN_BYTES", "1000")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with video.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", type("In", (), {"buffer": stream, "closed": False})())
        [found] = find_videos(["-"])
    assert isinstance(found.error, VideoFetchError)
    assert "VIDEOMAE_STDIN_BYTES" in str(found.error)
    assert standard_input.kept_copy("-") is None
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_copy(number: int, quick_python: str, video: Path, checkpoint: Path, tmp_path: Path) -> None:
    """While it is being read: the pipe stays open, so nothing else can have begun."""
    command = [quick_python, "-m", "videomae_cli", "classify", "-", "-m", str(checkpoint)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        process.stdin.write(video.read_bytes() * 4)
        process.stdin.flush()
        while not left_behind(tmp_path) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() == (130 if number == signal.SIGINT else 143)
        process.stdin.close()
    assert not left_behind(tmp_path)
