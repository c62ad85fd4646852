"""A way to a server on which each request takes a while, as to one that is far away; requests are counted."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

# What was asked, by method, since the program began.
asked: Counter[str] = Counter()
_METHODS = ("GET", "PUT", "POST", "HEAD", "DELETE")


@contextlib.contextmanager
def slow_server(url: str, seconds: float) -> Iterator[str]:
    """Pass on to the server at `url` what is asked, each request after so many seconds; yields the URL to ask."""
    host, _, port = url.removeprefix("http://").partition(":")
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection((host, int(port))) as server:
            threading.Thread(target=_pass, args=(server, client), daemon=True).start()
            while data := client.recv(1 << 18):
                method = data[:8].split(b" ", 1)[0].decode("latin-1")
                if method in _METHODS:
                    asked[method] += 1
                    time.sleep(seconds)
                server.sendall(data)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield "http://{}:{}".format(*listening.getsockname())
    finally:
        listening.close()


def _pass(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(1 << 18):
            client.sendall(data)
