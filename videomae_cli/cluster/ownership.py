"""Makes sure that one run at a time writes an output, on any storage: by claims, for lack of locks.

    OUT/_owners/3f9c2a7d8e01b44c.json     who writes here; written again every `HEARTBEAT_SECONDS`

Object storage has no locks, and those of a network disk are not always seen by other machines. So each run writes a claim
and then lists them all: of two runs at least one sees the other and withdraws its claim. This needs a listing that shows
what was written before, which S3, Google Cloud Storage and disks give.

A claim that isn't renewed for `DEAD_SECONDS` is of a run that died. Times are those that the storage gives to its files,
so nobody's clock matters. The claim of a process of this very machine is judged at once.
"""

from __future__ import annotations

import contextlib
import json
import platform
import random
import secrets
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from videomae_cli import system
from videomae_cli.errors import OutputError, Wording
from videomae_cli.storage.folders import Folder

OWNERS = "_owners"
HEARTBEAT_SECONDS, DEAD_SECONDS = 15.0, 60.0
# Runs that begin at the same moment all withdraw, and try again this often, after a random part of these seconds.
_TRIES, _PAUSE_SECONDS = 6, 0.5
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Claim:
    """A run's claim to an output. process: see `system.process_identity`; since: when the run began, by its own clock; owner:
    whether it saw no other claim; beat: how often it was renewed."""

    host: str
    pid: int
    process: str | None
    since: str
    owner: bool = False
    beat: int = 0

    def to_json(self) -> bytes:
        """Encode the claim as JSON text."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Claim:
        """Decode what `to_json` encoded. Raises ValueError, KeyError or TypeError for anything else."""
        known = json.loads(text)
        process = known["process"]
        return cls(
            host=str(known["host"]),
            pid=int(known["pid"]),
            process=None if process is None else str(process),
            since=str(known["since"]),
            owner=bool(known["owner"]),
            beat=int(known["beat"]),
        )

    @property
    def alive(self) -> bool | None:
        """Whether the process that made the claim still runs; None if it is one of another machine."""
        return system.is_running(self.pid, self.process)


@dataclass(frozen=True)
class _Rival:
    """Another claim. age: seconds since it was renewed, by the storage's clock; None if the storage tells no times."""

    name: str
    claim: Claim
    age: float | None


class Ownership:
    """The claim of this run to an output folder. shown: the output as messages name it."""

    def __init__(self, folder: Folder, shown: str) -> None:
        self._folder, self._shown = folder, shown
        self._name = _new_name()
        now = datetime.now(UTC).isoformat(" ", "seconds")
        pid, process = system.process_identity()
        self._claim = Claim(platform.node() or "an unnamed machine", pid, process, now)
        self._silent: set[str] = set()
        self._lost = False
        self._beating = ExitStack()

    def check_free(self, *, certain: bool) -> None:
        """Raise OutputError if another run writes here; writes nothing.

        certain: only if its process is seen to run, which that of another machine isn't.
        """
        rival = self._rival(None)
        if rival is not None and rival.claim.owner and (rival.claim.alive or not certain):
            raise self._owned(rival)

    def acquire(self) -> None:
        """Claim the output. Waits up to `DEAD_SECONDS` to see whether an earlier owner on another machine is alive.

        Raises OutputError if it is, or if another run begins at this moment.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._write()
                rival = self._rival(self._name)
            except BaseException:
                self._withdraw()
                raise
            if rival is None:
                self._claim = replace(self._claim, owner=True)
                self._beat()
                self._beating.enter_context(system.every(HEARTBEAT_SECONDS, self._beat))
                return
            self._withdraw()
            # A claim that is gone must not come back: to who reads it at this moment it would be there, and unreadable.
            self._name = _new_name()
            if not left or (rival.claim.owner and not self._falls_silent(rival)):
                raise self._owned(rival)
            time.sleep(random.uniform(0, _PAUSE_SECONDS))

    def check(self, *, now: bool = False) -> None:
        """Raise OutputError if another run has taken the output over, because this one gave no sign of life.

        now: look at the storage instead of trusting the last renewal.
        """
        if now:
            self._beat()
        if self._lost:
            raise OutputError.about(
                self._shown, "another run has taken over {subject}, since this one gave no sign of life for too long"
            )

    def release(self) -> None:
        """Withdraw the claim, so that another run may begin."""
        self._beating.close()
        if not self._lost:
            self._withdraw()

    def _beat(self) -> None:
        # Storage that can't be reached now may be reached the next time.
        with contextlib.suppress(OutputError):
            names = set(self._folder.ages(OWNERS))
            others = [self._read(name) for name in names - {self._name}]
            if self._name not in names or any(claim is not None and claim.owner for claim in others):
                self._lost = True
                return
            self._claim = replace(self._claim, beat=self._claim.beat + 1)
            self._write()

    def _write(self) -> None:
        with self._folder.writing(f"{OWNERS}/{self._name}") as sink:
            sink.write(self._claim.to_json())

    def _withdraw(self) -> None:
        with contextlib.suppress(OutputError):
            self._folder.remove(f"{OWNERS}/{self._name}")
            self._folder.leave(OWNERS)

    def _rival(self, own: str | None) -> _Rival | None:
        """Return the claim of another run that may be alive, an owner's first; remove those of dead ones, if `own` is a name."""
        found = []
        for name, age in self._folder.ages(OWNERS, beside=own).items():
            claim = self._read(name)
            if name == own or claim is None:
                continue
            dead = name in self._silent or claim.alive is False
            if dead or (not claim.alive and age is not None and age > DEAD_SECONDS):
                if own is not None:
                    self._folder.remove(f"{OWNERS}/{name}")
                continue
            found.append(_Rival(name, claim, age))
        return max(found, key=lambda rival: rival.claim.owner, default=None)

    def _read(self, name: str) -> Claim | None:
        """Return a claim; None if it has been withdrawn. A damaged one is nobody's we know."""
        try:
            return Claim.from_json(self._folder.read(f"{OWNERS}/{name}"))
        except (ValueError, KeyError, TypeError):
            return Claim("an unknown machine", 0, None, "an unknown time", owner=True)
        except OutputError:
            if name in self._folder.ages(OWNERS):
                raise
            return None

    def _falls_silent(self, rival: _Rival) -> bool:
        """Watch another claim until it is renewed, or its run must be dead."""
        if rival.claim.alive:
            return False
        # The time of a file may lie in the future, where a machine with a wrong clock gave it.
        deadline = time.monotonic() + DEAD_SECONDS - min(max(rival.age or 0.0, 0.0), DEAD_SECONDS)
        while True:
            left = deadline - time.monotonic()
            time.sleep(max(0.0, min(_POLL_SECONDS, left)))
            claim = self._read(rival.name)
            if claim is not None and claim != rival.claim:
                return False
            if claim is None or left <= 0:
                self._silent.add(rival.name)
                return True

    def _owned(self, rival: _Rival) -> OutputError:
        claim, seconds = rival.claim, DEAD_SECONDS
        return OutputError.about(
            self._shown,
            "another process is writing {subject}: {pid} on {host}, since {since}",
            pid=claim.pid,
            host=claim.host,
            since=claim.since,
            remedy=Wording(
                "wait for it or stop it first; {@resume:True} goes on {seconds:g} s after it has died", seconds=seconds
            ),
            joined="; ",
        )


def _new_name() -> str:
    return f"{secrets.token_hex(8)}.json"
