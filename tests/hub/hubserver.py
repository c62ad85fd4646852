"""A small hub on 127.0.0.1 that speaks what huggingface_hub asks: model info, resolve, LFS redirects, ranges; and faults.

Big files are answered with a redirect to a storage address under another host name, as the real hub does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_ABOVE = 10_000


@functools.cache
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@functools.cache
def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    """One model: its commits (newest is main), each a mapping of file name to bytes."""

    commits: dict[str, dict[str, bytes]]
    licence: str | None = "cc-by-nc-4.0"
    gated: bool = False
    token: str | None = None  # private: only with this one

    @property
    def main(self) -> str:
        return list(self.commits)[-1]


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of `method` whose path holds `path`."""

    path: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of the body, then the connection ends
    stall_after: int | None = None  # bytes of the body, then silence for `stall` seconds
    stall: float = 0.0
    wrong_byte: bool = False
    body: bytes | None = None  # in the place of the answer
    too_long: int = 0  # bytes more than the repository has, announced like the others
    drip: float = 0.0  # seconds between the bytes of the answer, headers and all


class LocalHub:
    """The server, its repositories, its faults, and what was asked of it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.test = 0  # part of the storage's addresses: a transfer that a test gave up may go on asking in the next
        self.lock = threading.Lock()
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def add(self, hub_id: str, files: dict[str, bytes], **settings: Any) -> Repository:
        """A model; a second call with its id is a new commit."""
        commit = hashlib.sha1(
            repr((hub_id, sorted((name, git_sha1(d)) for name, d in files.items()))).encode()
        ).hexdigest()
        if hub_id in self.repositories:
            self.repositories[hub_id].commits[commit] = files
        else:
            self.repositories[hub_id] = Repository({commit: files}, **settings)
        return self.repositories[hub_id]

    def fail(self, path: str, **what: Any) -> Fault:
        self.faults.append(Fault(path, **what))
        return self.faults[-1]

    def asked(self, method: str, path: str) -> list[dict[str, str]]:
        """The headers of the requests so far of this method whose path holds `path`."""
        with self.lock:
            return [headers for done, where, headers in self.requests if done == method and path in where]

    def fetched(self) -> list[str]:
        """Names or hashes of files whose content was asked for."""
        with self.lock:
            return [
                where.rpartition("/")[2] for done, where, _ in self.requests if done == "GET" and "/api/" not in where
            ]

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        # As a proxy is asked, the path is a whole address.
        path = unquote(urlsplit(self.path).path)
        stored = re.fullmatch(r"/storage/(\d+)/([0-9a-f]{64})", path)
        if stored and int(stored[1]) != self.hub.test:
            self.fault = None
            self._error(404, "EntryNotFound")
            return
        with self.hub.lock:
            self.hub.requests.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        self.fault = self.hub.take_fault(self.command, path)
        if self.fault and self.fault.drip:
            self._drip(self.fault.drip)
            return
        if self.fault and self.fault.body is not None:
            self._send(self.fault.status or 200, self.fault.body, self.fault.headers)
            return
        if self.fault and self.fault.status:
            self._send(self.fault.status, b"{}", self.fault.headers)
            return
        if stored:
            self._storage(stored[2])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(found[1], found[2])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], found[2], found[3])
        else:
            self._error(404, "RepoNotFound")

    def _drip(self, pause: float) -> None:
        """Begin an answer and never come to its end."""
        self.close_connection = True
        try:
            while not self.hub.closing.wait(pause):
                self.wfile.write(b"H")
                self.wfile.flush()
        except OSError:
            return  # the client has gone

    def _repository(self, hub_id: str, revision: str | None, *, content: bool) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get(hub_id)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository is None or (repository.token and bearer != repository.token):
            # The hub does not tell a private model from one that is not there.
            self._error(404 if bearer else 401, "RepoNotFound")
            return None
        if repository.gated and content and bearer != "hf_accepted":
            self._error(403 if bearer else 401, "GatedRepo")
            return None
        commit = repository.main if revision in (None, "main") else str(revision)
        if commit not in repository.commits:
            self._error(404, "RevisionNotFound")
            return None
        return commit, repository.commits[commit]

    def _info(self, hub_id: str, revision: str | None) -> None:
        found = self._repository(hub_id, revision, content=False)
        if found is None:
            return
        commit, files = found
        siblings: list[dict[str, Any]] = []
        for name, data in files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if len(data) > LFS_ABOVE:
                entry["blobId"] = git_sha1(b"pointer" + data)
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        repository = self.hub.repositories[hub_id]
        card = {"license": repository.licence} if repository.licence else {}
        answer = {"_id": "1", "id": hub_id, "modelId": hub_id, "sha": commit, "private": False, "tags": []}
        answer |= {"gated": "auto" if repository.gated else False, "cardData": card, "siblings": siblings}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _tree(self, hub_id: str, revision: str) -> None:
        """What huggingface_hub's own snapshot_download asks for."""
        found = self._repository(hub_id, revision, content=False)
        if found is None:
            return
        entries: list[dict[str, Any]] = []
        for name, data in found[1].items():
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
            if len(data) > LFS_ABOVE:
                entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def _resolve(self, hub_id: str, revision: str, name: str) -> None:
        found = self._repository(hub_id, revision, content=True)
        if found is None:
            return
        commit, files = found
        if name not in files:
            self._error(404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        data = files[name]
        headers = {"X-Repo-Commit": commit}
        if len(data) > LFS_ABOVE:
            headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            headers["Location"] = f"http://localhost:{self.hub.port}/storage/{self.hub.test}/{sha256(data)}"
            self._send(302, b"Found", headers)
        else:
            self._send(200, data, headers | {"ETag": f'"{git_sha1(data)}"'})

    def _storage(self, digest: str) -> None:
        everything = (d for r in self.hub.repositories.values() for files in r.commits.values() for d in files.values())
        data = next(item for item in everything if sha256(item) == digest)
        headers = {"ETag": '"not-the-digest"', "Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found:
            start = int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, data[start:], headers)
        else:
            self._send(200, data, headers)

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b'{"error": "no"}', {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        fault = self.fault
        if fault and fault.wrong_byte:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault and fault.too_long:
            body += b"x" * fault.too_long
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if fault and fault.cut_after is not None:
                self.wfile.write(body[: fault.cut_after])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
            elif fault and fault.stall_after is not None:
                self.wfile.write(body[: fault.stall_after])
                self.wfile.flush()
                self.hub.closing.wait(fault.stall)
                self.wfile.write(body[fault.stall_after :])
            else:
                self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has gone
