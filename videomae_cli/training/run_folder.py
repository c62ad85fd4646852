"""The folder of a training run: what it contains, and how a run is started and resumed.

config.json, model.safetensors, preprocessor_config.json    the best checkpoint so far (without evaluation: the last)
trained_on.json                                             which clips it was trained on, for `evaluate`
last/                                                       the last checkpoint
training.json                                               settings, and how the run ended
metrics.jsonl                                               a line every few steps, and one per epoch
state.pt                                                    what --resume needs
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, TrainingError, Wording, not_written, say
from videomae_cli.files import FileLockedError, Lock, lock_removed, sync, whole_file
from videomae_cli.jobs import Settings
from videomae_cli.model.conversion import SEEN
from videomae_cli.pictures.picture_files import is_own_picture

SCHEMA_VERSION = STATE_VERSION = 1
ANEW = Wording("{@overwrite:True} starts over")
FEATURES, CARD, CURVES = "features.npz", "README.md", "curves.png"
_MODEL = ("config.json", "model.safetensors", "preprocessor_config.json", SEEN)
_MADE = frozenset({"training.json", "metrics.jsonl", "state.pt", *_MODEL, FEATURES, CARD})
_PICTURES = frozenset({CURVES, "confusion.png", "scatter.png"})
# Files that a run leaves in its folder if it is killed right after its start.
_BEGUN = re.compile(r"\.lock|\.training\.json\..*\.part")


class Run:
    """The folder of a run, as a context manager that locks it. writes: False in all processes but the first.

    Raises OutputError if the folder can't be used: it isn't empty, or another process uses it.
    """

    def __init__(self, folder: Path, *, resume: bool, overwrite: bool, writes: bool = True) -> None:
        self.folder, self._resume, self._overwrite, self._writes = folder, resume, overwrite, writes
        self._metrics: BinaryIO | None = None
        self._lock: Lock | None = None
        self.fresh = True

    def __enter__(self) -> Run:
        if not self._writes:
            return self
        if filesystem.is_there(self.folder) and not filesystem.is_folder(self.folder):
            raise OutputError.about(self.folder, "{subject} is a file", remedy=Wording("give a folder with {@output}"))
        there = any(not _BEGUN.fullmatch(name) for name in filesystem.names_in(self.folder))
        if there and not (self._resume or self._overwrite):
            raise OutputError.about(
                self.folder,
                "{subject} is there already",
                remedy=Wording("{@resume:True} continues it, {@overwrite:True} starts over"),
            )
        if there and not filesystem.is_there(self.settings_file):
            does = say("{@resume:True} continues") if self._resume else say("{@overwrite:True} replaces")
            raise OutputError.about(
                self.folder, "{subject} holds no training run: {does} only those; give another name", does=does
            )
        try:
            filesystem.make_folder(self.folder)
            self._lock = lock_removed(self.folder / ".lock")
        except FileLockedError:
            raise OutputError.about(self.folder, "{subject} is in use by another process") from None
        except OSError as error:
            raise OutputError.about(
                self.folder, "can't write to {subject}: {reason}", reason=error.strerror or error
            ) from None
        return self

    def __exit__(self, *exc: object) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._lock is not None:
            self._lock.release(remove=True)
            self._lock = None

    @property
    def settings_file(self) -> Path:
        return self.folder / "training.json"

    @property
    def last(self) -> Path:
        """Return the folder of the last epoch's checkpoint."""
        return self.folder / "last"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def begin(self, settings: Settings, *, keeps: Collection[str] = ()) -> dict[str, Any] | None:
        """Return the state to resume from, or None for a new run.

        keeps: files of the earlier run that the new one can use. Raises TrainingError if that had other settings.
        """
        earlier = self.recorded() if self._resume else None
        self.fresh = earlier is None
        if earlier is not None:
            before = {name: value for name, value in earlier["settings"].items() if name != "fingerprint"}
            changed = settings.differences(before)
            if changed:
                reason = "{subject} was started with other settings ({changed})"
                raise TrainingError.about(self.folder, reason, changed="; ".join(changed), remedy=ANEW)
        state = load_state(self.state_file) if earlier is not None and filesystem.is_there(self.state_file) else None
        if not self._writes:
            return state
        if earlier is None:
            self._clear(keeps)
            self.record(settings, {"ended": None})
        self._open_metrics(state["metrics_bytes"] if state else 0)
        return state

    def recorded(self) -> dict[str, Any] | None:
        """Return what `training.json` says; None if there is none. Raises TrainingError."""
        try:
            content = json.loads(self.settings_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            reason = "{subject} can't be read ({error})"
            raise TrainingError.about(self.settings_file, reason, error=error, remedy=ANEW) from None
        if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
            raise TrainingError.about(self.settings_file, "{subject} is no record of a training run", remedy=ANEW)
        return content

    def record(self, settings: Settings, outcome: Mapping[str, Any]) -> None:
        """Write `training.json` with the settings and the outcome. Raises OutputError."""
        about = {"schema_version": SCHEMA_VERSION, "settings": settings.with_fingerprint()}
        write_json(self.settings_file, {**about, **outcome})

    def note(self, event: Mapping[str, Any]) -> None:
        """Append one line of metrics. Raises OutputError."""
        if self._metrics is None:
            return
        try:
            self._metrics.write(json.dumps(event, allow_nan=False).encode() + b"\n")
            self._metrics.flush()
        except OSError as error:
            raise not_written(self.folder / "metrics.jsonl", error) from None

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of metrics.jsonl so far."""
        with (self.folder / "metrics.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def save(self, state: dict[str, Any]) -> None:
        """Save a state, with the length of the metrics at this point. Raises OutputError."""
        if not self._writes:
            return
        assert self._metrics is not None, "begun before"
        sync(self._metrics)
        save_state(self.state_file, {**state, "metrics_bytes": self._metrics.tell()})

    def _open_metrics(self, size: int) -> None:
        """Open metrics.jsonl, truncated to its length when the state was saved: later lines will be written again."""
        path = self.folder / "metrics.jsonl"
        try:
            self._metrics = path.open("ab")
            self._metrics.truncate(size)
            self._metrics.seek(0, os.SEEK_END)
        except OSError as error:
            raise not_written(path, error) from None

    def adds(self, name: str) -> bool:
        """Return whether to write a file that describes the run.

        A resumed run keeps an existing one, which the user may have edited, unless it is a picture as drawn here.
        """
        place = self.folder / name
        return self.fresh or not filesystem.is_named(place) or (name in _PICTURES and is_own_picture(place))

    def _clear(self, keeps: Collection[str]) -> None:
        """Remove the earlier run's files, and nothing else, so that they can't be mistaken for the new run's."""
        for folder in (self.folder, self.last):
            for name in filesystem.names_in(folder):
                picture = name in _PICTURES and is_own_picture(folder / name)
                if (name in _MADE or picture) and name not in keeps:
                    (folder / name).unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all. Raises OutputError."""
    with whole_file(path) as sink:
        sink.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def save_state(file: Path, state: dict[str, Any]) -> None:
    """Save a state to a file. Raises OutputError, for example on a full disk; the previous state then stays."""
    try:
        with whole_file(file) as sink:
            torch.save({"version": STATE_VERSION, **state}, sink)
    except RuntimeError as error:  # torch's own writer reports a full disk by a RuntimeError
        raise OutputError.about(file, "can't write {subject}: {error}", error=str(error).splitlines()[0]) from None


def load_state(file: Path) -> dict[str, Any]:
    """Load a state, running no code from the file. Raises TrainingError if it is damaged or of another version."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises all kinds for a damaged file: IndexError, AssertionError, ...
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise TrainingError.about(file, "{subject} can't be read ({reason})", reason=reason, remedy=ANEW) from None
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise TrainingError.about(file, "{subject} was written by another version of videomae", remedy=ANEW)
    return state
