"""Repeats requests to a server that is away for a while, or too busy: a break in a network costs time, not results.

Only servers that have answered before are waited for, because an address that never worked is likelier to be wrong. One
that stays away is not waited for again until it answers.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

from videomae_cli.errors import StorageError, StorageUnavailableError
from videomae_cli.storage.addresses import Address

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Seconds before each further try, the client's own quick ones not counted: ten tries, like Ray Data's writers. Each is
# shortened at random, so that a thousand workers don't come back at one moment.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0, 32.0)
# A server that takes packets and never answers makes each try long: no new one begins after this time.
_MOST_SECONDS = 150.0
_VARIABLE = "VIDEOMAE_STORAGE_SECONDS"
_SLICE_SECONDS = 0.2
_answered: set[tuple[str, str, str]] = set()
_expected: set[tuple[str, str, str]] = set()
_listeners: list[Callable[[StorageUnavailableError], None]] = []


def patiently(
    address: str | Address, call: Callable[[], Answer], *, stopped: Callable[[], bool] | None = None
) -> Answer:
    """Call a function that asks the server of an address, again if the server can't be reached. Raises what it raises.

    stopped: polled while waiting; True gives up.
    """
    server = _server_of(address)
    began = time.monotonic()
    for pause in (*_PAUSES, None):
        try:
            answer = call()
        except StorageUnavailableError as error:
            if server not in _answered:
                raise
            if pause is None or time.monotonic() - began > most_seconds():
                _answered.discard(server)
                raise
            log.info("%s; again in %g s", error, pause)
            for hear in _listeners:
                hear(error)
            if not _waited(pause * random.uniform(0.6, 1), stopped):
                raise
        except StorageError:
            _answered.add(server)
            raise
        else:
            _answered.add(server)
            return answer
    raise AssertionError("the last try returns or raises")


def expect(address: str | Address) -> None:
    """Wait for the server of an address, even if it hasn't answered this process yet: others are known to reach it.

    Only the first call for a server counts, so that one that stayed away is not waited for again.
    """
    server = _server_of(address)
    if server not in _expected:
        _expected.add(server)
        _answered.add(server)


def on_wait(hear: Callable[[StorageUnavailableError], None]) -> None:
    """Call `hear` whenever any thread of this process begins to wait for a server, instead of what was called before."""
    _listeners[:] = [hear]


def most_seconds() -> float:
    """Return how long a server is waited for: VIDEOMAE_STORAGE_SECONDS, or 150 s."""
    try:
        return max(0.0, float(os.environ.get(_VARIABLE, "")))
    except ValueError:
        return _MOST_SECONDS


def _server_of(address: str | Address) -> tuple[str, str, str]:
    place = (Address.parse(address) if isinstance(address, str) else address).canonical
    return place.scheme, place.authority, place.options


def _waited(seconds: float, stopped: Callable[[], bool] | None) -> bool:
    """Wait, and return True; False as soon as `stopped` says so."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if stopped is not None and stopped():
            return False
        time.sleep(min(left, _SLICE_SECONDS))
    return True
