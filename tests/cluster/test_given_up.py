"""Work of Ray's that is given up: it ends, whatever interrupts the job meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import ray

from videomae_cli.cluster import run as run_module


class Bundles(Iterator[object]):
    """As Ray's: the work ends when nothing refers to this. Ctrl-C comes while it does."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def __next__(self) -> object:
        return SimpleNamespace(block_refs=("a", "b"))

    def __del__(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self._ended.set()


class Made:
    """A data set of Ray's, which keeps nothing of what it hands out."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def iter_internal_ref_bundles(self) -> Iterator[object]:
        return Bundles(self.ended)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows sends no signal to a thread")
def test_an_interruption_is_not_lost_while_work_that_is_given_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda refs: [*refs])
    made = Made()
    tables = run_module._tables(made)
    assert [next(tables), next(tables), next(tables)] == ["a", "b", "a"]
    assert not made.ended.is_set()
    with pytest.raises(KeyboardInterrupt):
        tables.close()
    assert made.ended.wait(60)
