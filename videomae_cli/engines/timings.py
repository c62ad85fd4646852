"""Remembers the fastest way to run a model that was measured on this machine, by `videomae bench` or a long job."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from videomae_cli.engines import cpu
from videomae_cli.engines.packages import load_runtime
from videomae_cli.engines.precision import DTYPES, ENGINES
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


def keep_fastest(weights: str, found: Fastest) -> None:
    """Save a measurement for these weights on this machine; failing to write the cache is not an error."""
    try:
        version = load_runtime(found.engine)
        content = {"machine": cpu.machine_name(), "weights": weights, "version": version, **asdict(found)}
        place = _place(weights)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, json.dumps(content, indent=2).encode())
    except (OSError, DependencyError, OutputError) as error:
        log.debug("what was measured is not kept: %s", error)


def fastest(weights: str) -> Fastest | None:
    """Return the measurement for these weights on this machine, or None.

    It is void if the engine's package was updated or removed since, or the units that it relied on have been hidden.
    """
    try:
        content = json.loads(_place(weights).read_text(encoding="utf-8"))
        speed = None if content["speed"] is None else float(content["speed"])
        found, version = Fastest(str(content["engine"]), str(content["dtype"]), speed), content["version"]
    except (OSError, OutputError, ValueError, KeyError, TypeError):
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
