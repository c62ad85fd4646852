"""Chooses the fastest engine and number format that were measured on this machine, for whoever names none (`engine="auto"`).

What is chosen was measured here, is at least `GAIN` times as fast as PyTorch in float32, and its outputs are off by at
most `NEAR` of the largest. Formats that the CPU has no units for, and eight bits, are never chosen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from videomae_cli.engines import cpu
from videomae_cli.engines.packages import formats
from videomae_cli.engines.timings import Fastest, fastest
from videomae_cli.errors import DependencyError

# Largest deviation from float32's outputs, relative to the largest output, with which a setting is chosen or recommended.
NEAR = 0.02
# A smaller gain is within what measurements of one setting differ by on a busy machine.
GAIN = 1.1
DEFAULT = ("torch", "float32")
# What a core multiplies and adds in float32 in a second, in billions: an AVX-512 and an AVX2 core did 40 with ViT-B.
_GFLOPS_A_CORE = 40.0
# A job of this many seconds in float32 earns a measurement, which takes as long as some 20 clips, and a conversion.
LONG_SECONDS = 900.0


def known_choice(weights: str, is_converted: Callable[[str], bool], is_long: Callable[[], bool]) -> Fastest | None:
    """Return what to run a model's weights with; None for PyTorch in float32.

    is_converted: whether OpenVINO's model for a number format is cached; is_long: whether the job is long enough for
    converting it, which a CPU without units for short floats never earns.
    """
    found = fastest(weights)
    if found is None or found.is_default or found.dtype == "int8" or found.speed < GAIN:
        return None
    if found.engine != "openvino":
        return found
    try:
        if found.dtype not in formats():
            return None
    except DependencyError:
        return None  # it was measured when OpenVINO was installed
    if is_converted(found.dtype) or (_has_short_floats() and is_long()):
        return found
    return None


def worth_measuring(
    weights: str, is_converted: Callable[[str], bool], is_long: Callable[[], bool]
) -> list[tuple[str, str]]:
    """List the settings that may beat PyTorch in float32 here, if no measurement knows them and the job is long enough."""
    has_openvino = importlib.util.find_spec("openvino") is not None
    if fastest(weights) is not None or not (_has_short_floats() or has_openvino) or not is_long():
        return []
    if _has_short_floats():
        return [("torch", "bfloat16"), *([("openvino", "bfloat16")] if has_openvino else [])]
    return [("openvino", "float32")] if is_converted("float32") else []


def expected_seconds(gflops: float) -> float:
    """Estimate how long PyTorch takes for one clip in float32, of so many multiply-adds as `clip_gflops` counts."""
    return gflops / (_GFLOPS_A_CORE * cpu.threads())


def _has_short_floats() -> bool:
    return "bfloat16" in cpu.units()
