"""Remembers the fastest way to run a model that was measured on this machine, by `videomae bench` or a long job."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videomae_cli.engines import cpu
from videomae_cli.engines.packages import load_runtime
from videomae_cli.engines.precision import DTYPES, ENGINES, TORCH_FREE
from videomae_cli.engines.store import store_folder
from videomae_cli.errors import DependencyError, OutputError, say
from videomae_cli.files import write_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fastest:
    """The fastest engine and format.

    speed: relative to the default, PyTorch in float32; None if it was measured beside other work, which no number survives.
    """

    engine: str
    dtype: str
    speed: float | None

    @property
    def is_default(self) -> bool:
        """Whether the default setting is the fastest one."""
        return (self.engine, self.dtype) == ("torch", "float32")

    @property
    def compared(self) -> str:
        """How fast it is, to be followed by what it is compared to."""
        return "faster than" if self.speed is None else f"{self.speed:.1f} times as fast as"

    @property
    def asked(self) -> str:
        """The settings that select it, spelled for this process; empty for the defaults."""
        if self.is_default:
            return ""
        dtype = say("{@dtype:{name}}", name=self.dtype)
        return dtype if self.engine == "torch" else say("{@engine:{name}} ", name=self.engine) + dtype


def keep_fastest(weights: str, found: Fastest, light: Fastest | None = None) -> None:
    """Save a measurement for these weights on this machine; failing to write the cache is not an error.

    light: the fastest in float32 that needs no PyTorch.
    """
    try:
        content = {"machine": cpu.machine_name(), "weights": weights, **_entry(found)}
        if light is not None:
            content["light"] = _entry(light)
        place = _place(weights)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, json.dumps(content, indent=2).encode())
    except (OSError, DependencyError, OutputError) as error:
        log.debug("what was measured is not kept: %s", error)


def fastest(weights: str) -> Fastest | None:
    """Return the measurement for these weights on this machine, or None.

    It is void if the engine's package was updated or removed since, or the units that it relied on have been hidden.
    """
    return _valid(_content(weights))


def lightest(weights: str) -> Fastest | None:
    """Return what was measured here as the fastest in float32 of the engines that need no PyTorch, or None."""
    content = _content(weights)
    found = _valid(content.get("light"))
    return found if found is not None and found.engine in TORCH_FREE and found.dtype == "float32" else None


def _entry(found: Fastest) -> dict[str, Any]:
    return {"version": load_runtime(found.engine), **asdict(found)}


def _content(weights: str) -> dict[str, Any]:
    """Return what is kept for these weights, whatever it is; empty if that is nothing."""
    try:
        content = json.loads(_place(weights).read_text(encoding="utf-8"))
    except (OSError, OutputError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _valid(entry: Any) -> Fastest | None:
    """Return what an entry of the cache says, if that is sound and still holds."""
    try:
        speed = None if entry["speed"] is None else float(entry["speed"])
        found, version = Fastest(str(entry["engine"]), str(entry["dtype"]), speed), entry["version"]
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    known = found.engine in ENGINES and found.dtype in DTYPES
    if not known or (speed is not None and not (math.isfinite(speed) and speed > 0)):
        return None
    if found.dtype in cpu.SHORT_FORMATS and found.dtype not in cpu.units():
        return None
    try:
        return found if load_runtime(found.engine) == version else None
    except DependencyError:
        return None


def _place(weights: str) -> Path:
    """Return the timings file for everything that speed depends on: the machine, its number of threads, the model."""
    what = [cpu.machine_name(), sorted(cpu.units()), cpu.threads(), weights]
    return store_folder() / "timings" / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]}.json"
