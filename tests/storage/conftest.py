"""The S3 server that all tests of a process share, each with a bucket of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from objectstore import ObjectStore, point_here, start_store


@pytest.fixture(scope="session")
def server() -> Iterator[ObjectStore]:
    store, running = start_store()
    yield store
    running.stop()


@pytest.fixture
def store(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The server, which this process's clients and those of its children go to."""
    point_here(server, monkeypatch)
    return server


@pytest.fixture
def bucket() -> str:
    """A name that no other test has."""
    return f"bucket-{uuid.uuid4().hex[:8]}"
