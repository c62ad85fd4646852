"""The settings that determine a job's results (model and options), as plain values with a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from videomae_cli.errors import OutputError, Wording
from videomae_cli.jobs.shards import Part
from videomae_cli.results import Stamp, engine_of
from videomae_cli.writers import VectorLayout, holds_vectors, open_embeddings


@dataclass(frozen=True)
class Settings:
    """The command, this package's version, and all other settings by name, as plain JSON values."""

    command: str
    version: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """A hash, 16 hexadecimal digits, of everything that affects a result. Every record bears it."""
        text = json.dumps(self.as_dict(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def engine(self) -> str | None:
        """What runs the model, and in which number format, such as "openvino bfloat16"; None if the settings don't say it."""
        return engine_of(self.values)

    def stamp(self, place: int, part: Part | None) -> Stamp:
        """Identify the record of a file by its place in the job's list, or in its part of the list."""
        if part is None:
            return Stamp(place, self.fingerprint, self.version, engine=self.engine)
        return Stamp(part.places[place], self.fingerprint, self.version, str(part.shard), part.listed, self.engine)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for JSON."""
        return {"command": self.command, "version": self.version, **self.values}

    def with_fingerprint(self) -> dict[str, Any]:
        """Return the settings as plain values, with their fingerprint: what a file says about how it was made."""
        return {**self.as_dict(), "fingerprint": self.fingerprint}

    def differences(self, earlier: Mapping[str, Any]) -> list[str]:
        """Describe each difference from the settings of an earlier run."""
        now = json.loads(json.dumps(self.as_dict()))
        words = []
        for name in dict.fromkeys([*now, *earlier]):
            if now.get(name) != earlier.get(name):
                words.append(_change(name.replace("_", " "), earlier.get(name), now.get(name)))
        return words

    def check_same(self, place: object, header: Mapping[str, Any], shard: str | None) -> None:
        """Raise OutputError if the header of the job in `place` shows that its results were made with other settings."""
        differing = self.differences(header["settings"])
        if header.get("shard") != shard:
            differing.append(f"shard was {header.get('shard')}, now {shard}")
        if differing:
            raise OutputError.about(
                place,
                "can't go on: {subject} holds results with other settings ({differing})",
                differing="; ".join(differing),
                remedy=Wording("use those, or {@overwrite:True} to start again"),
                joined="; ",
            )

    def differences_from_output(self, file: Path, record: Mapping[str, Any], shard: str | None) -> list[str]:
        """Describe the differences from a finished output. record: one of its own, which contains only some of its settings.

        Vectors in Parquet and npz hold all of them beside the records, and the index of a folder of arrays in each record.
        """
        now = {"version": self.version, **self.values, "shard": shard}
        recorded = ("model", "revision", "version", "shard")
        words = [
            _change(name, record.get(name), now.get(name)) for name in recorded if record.get(name) != now.get(name)
        ]
        given = record.get("settings") or (open_embeddings(file).settings if holds_vectors(file) else {})
        if not words and given:
            words = self.differences({name: value for name, value in given.items() if name != "fingerprint"})
        return words or ["the same model, but other options or weights"]


@dataclass(frozen=True)
class Begun:
    """What the output that a job goes on with says about how it was begun.

    stored: the engine and the number format that ran the model, as a record or `engine_of` holds them, if the output does.
    """

    stored: object = None

    @property
    def engine(self) -> tuple[str, str] | None:
        """The engine and the number format that ran the model, if the output holds them."""
        engine, _, dtype = self.stored.partition(" ") if isinstance(self.stored, str) else ("", "", "")
        return (engine, dtype) if engine and dtype else None


def vector_layout(dimensions: int, storage: str, settings: Settings, part: Part | None) -> VectorLayout:
    """Return what all vectors of a job have in common. part: the job's part of a list that was split."""
    shard, listed = (str(part.shard), part.listed) if part else (None, None)
    return VectorLayout(dimensions, storage, settings.with_fingerprint(), shard, listed)


def _change(name: str, before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [
            _change(f"{name} {key}".replace("_", " "), before.get(key), after.get(key))
            for key in dict.fromkeys([*before, *after])
            if before.get(key) != after.get(key)
        ]
        return ", ".join(parts)
    return f"{name} was {_shown(before)}, now {_shown(after)}"


def _shown(value: object) -> str:
    text = "not given" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
