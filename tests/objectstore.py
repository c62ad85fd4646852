"""A real S3 server in this process, for pyarrow's real client here and in processes that tests start."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto import backends
from moto.server import ThreadedMotoServer

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass
class ObjectStore:
    """url: of the server; client: of boto3, to put things there."""

    url: str
    client: Any

    @property
    def environment(self) -> dict[str, str]:
        """What points a client here."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def bucket(self, name: str, objects: Mapping[str, bytes | Path] | None = None) -> str:
        """A new bucket with these objects: its address."""
        self.client.create_bucket(Bucket=name)
        for key, content in (objects or {}).items():
            self.put(name, key, content)
        return f"s3://{name}"

    def put(self, bucket: str, key: str, content: bytes | Path) -> None:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def lock(self, bucket: str) -> None:
        """Nobody may do anything with its objects from now on."""
        rule = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        self.client.put_bucket_policy(Bucket=bucket, Policy=policy)

    def keys(self, bucket: str) -> list[str]:
        """All objects, those that only mark a folder left out."""
        listed = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return sorted(entry["Key"] for entry in listed if not entry["Key"].endswith("/"))


def start_store() -> tuple[ObjectStore, ThreadedMotoServer]:
    # For each request it would list the services that there are, from its folders, and write a line to the log.
    services = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    return ObjectStore(url, client), server


class Road:
    """A way to the server that may be blocked: requests are answered with `blocked`, or cut off where that is empty.

    left: so many requests are still blocked; shut: all are, or those alone whose beginning has this word in it; once: only the
    next of these; opens: ways that are no longer shut once this one has refused something; asked: requests that passed, of
    which it takes no more than `after`.
    """

    def __init__(self, store: ObjectStore) -> None:
        host, _, port = store.url.removeprefix("http://").partition(":")
        self._to, self.left, self.blocked, self.refused = (host, int(port)), 0, BUSY, 0
        self.shut: bool | bytes = False
        self.once, self.asked = False, 0
        self.opens: Sequence[Road] = ()
        self.after = float("inf")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.place = "{}:{}".format(*self._listening.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What points a client here."""
        return {**KEYS, "AWS_ENDPOINT_URL": f"http://{self.place}"}

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._to) as server:
            threading.Thread(target=self._pass, args=(server, client), daemon=True).start()
            while data := client.recv(65536):
                if self.left or self._is_shut(data):
                    self.left = max(0, self.left - 1)
                    self.shut = False if self.once else self.shut
                    self.refused += 1
                    for other in self.opens:
                        other.shut = False
                    client.sendall(self.blocked)
                    return
                self.asked += data.split(b" ", 1)[0] in (b"GET", b"PUT", b"POST", b"HEAD", b"DELETE")
                server.sendall(data)

    def _is_shut(self, data: bytes) -> bool:
        if self.asked >= self.after:
            return True
        return self.shut if isinstance(self.shut, bool) else self.shut in data[:1024]

    def _pass(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)

    def close(self) -> None:
        self._listening.close()


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
