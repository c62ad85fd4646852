"""A film as a live stream: an http server on this machine that sends MPEG-TS by the clock, round and round."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av


class _Sink:
    """A file for PyAV that hands on what is written: nothing that is sent can be called back."""

    def __init__(self, wfile: Any) -> None:
        self._wfile = wfile

    def write(self, data: bytes) -> int:
        self._wfile.write(data)
        self._wfile.flush()
        return len(data)


@contextmanager
def served(film: Path, *, loops: int, speed: float = 1.0, sent: threading.Event | None = None) -> Iterator[str]:
    """The address of a stream of `film`, `loops` times over, `speed` times as fast as the clock. sent: set after the last
    of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            try:
                _send(film, _Sink(self.wfile), loops, speed)
            except (OSError, av.FFmpegError, RuntimeError):
                return  # whoever watched has gone
            finally:
                if sent is not None:
                    sent.set()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(Handler) as root:
        yield f"{root}/live.ts"


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The root address of an http server of these handlers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _send(film: Path, sink: _Sink, loops: int, speed: float) -> None:
    began, offset, end = time.monotonic(), 0, 0
    options = {"flush_packets": "1"}
    with av.open(sink, "w", format="mpegts", options=options) as output:
        stream: Any = None
        for _ in range(loops):
            with av.open(str(film)) as source:
                video = source.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    due = float((packet.dts + offset) * packet.time_base) / speed
                    time.sleep(max(0.0, due - (time.monotonic() - began)))
                    end = max(end, packet.pts + offset + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    output.mux(packet)
                offset = end
