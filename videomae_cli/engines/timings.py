"""Remembers the fastest way to run a model that was measured on this machine, by `videomae bench` or a long job."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from videomae_cli.engines import cpu
from videomae_cli.engines.precision import DTYPES, ENGINES
from videomae_cli.engines.store import store_folder
from videomae_cli.errors import OutputError, say
from videomae_cli.files import write_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fastest:
    """The fastest engine and format. speed: relative to the default, PyTorch in float32."""

    engine: str
    dtype: str
    speed: float

    @property
    def is_default(self) -> bool:
        """Whether the default setting is the fastest one."""
        return (self.engine, self.dtype) == ("torch", "float32")

    @property
    def asked(self) -> str:
        """The settings that select it, spelled for this process; empty for the defaults."""
        if self.is_default:
            return ""
        dtype = say("{@dtype:{name}}", name=self.dtype)
        return dtype if self.engine == "torch" else say("{@engine:{name}} ", name=self.engine) + dtype


def keep_fastest(weights: str, found: Fastest) -> None:
    """Save a measurement for these weights on this machine; failing to write the cache is not an error."""
    content = {"machine": cpu.machine_name(), "weights": weights, **asdict(found)}
    try:
        place = _place(weights)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, json.dumps(content, indent=2).encode())
    except (OSError, OutputError) as error:
        log.debug("what was measured is not kept: %s", error)


def fastest(weights: str) -> Fastest | None:
    """Return the measurement for these weights on this machine, or None."""
    try:
        content = json.loads(_place(weights).read_text(encoding="utf-8"))
        found = Fastest(str(content["engine"]), str(content["dtype"]), float(content["speed"]))
    except (OSError, OutputError, ValueError, KeyError, TypeError):
        return None
    known = found.engine in ENGINES and found.dtype in DTYPES and math.isfinite(found.speed) and found.speed > 0
    # A measurement is void if the units it relied on have been hidden since.
    available = found.dtype not in cpu.SHORT_FORMATS or found.dtype in cpu.units()
    return found if known and available else None


def _place(weights: str) -> Path:
    """Return the timings file for everything that speed depends on: the machine, its number of threads, the model."""
    what = [cpu.machine_name(), sorted(cpu.units()), cpu.threads(), weights]
    return store_folder() / "timings" / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]}.json"
