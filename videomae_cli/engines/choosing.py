"""Chooses the fastest engine and number format that were measured on this machine, for whoever names none (`engine="auto"`).

What is chosen was measured here, is at least `GAIN` times as fast as PyTorch in float32, and its outputs are off by at
most `NEAR` of the largest. A short job takes an engine that needs no PyTorch even where it computes no faster, if it starts
sooner by more than that costs. Formats that the CPU has no units for, and eight bits, are never chosen.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import TypeAlias

from videomae_cli.engines import cpu
from videomae_cli.engines.packages import formats
from videomae_cli.engines.timings import Fastest, fastest, lightest

# Largest deviation from float32's outputs, relative to the largest output, with which a setting is chosen or recommended.
NEAR = 0.02
# A smaller gain is within what measurements of one setting differ by on a busy machine.
GAIN = 1.1
# What other work disturbs must be faster than this, for engines suffer from it differently.
DISTURBED_GAIN = 1.5
DEFAULT = ("torch", "float32")
# The package that each engine of its own needs.
_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
# Seconds that a process needs to import PyTorch, which an engine that runs a converted model does without: 1.0 to 1.8 where
# that was measured.
START_SECONDS = 1.0
# Tells whether a job takes at least so many seconds with PyTorch in float32; called only if that matters.
Lasts: TypeAlias = Callable[[float], bool]
# Tells whether the model that an engine runs in a number format is cached.
IsConverted: TypeAlias = Callable[[str, str], bool]
# What a core multiplies and adds in float32 in a second, in billions: an AVX-512 and an AVX2 core did 40 with ViT-B.
_GFLOPS_A_CORE = 40.0
# A job of this many seconds in float32 earns a measurement, which takes as long as some 20 clips, and a conversion.
LONG_SECONDS = 900.0


def unknown_length(seconds: float) -> bool:
    """Stand for a job whose length nobody knows: neither long enough for a measurement nor short enough for its start to count."""
    return seconds < LONG_SECONDS


def known_choice(weights: str, is_converted: IsConverted, lasts: Lasts) -> Fastest | None:
    """Return what to run a model's weights with; None for PyTorch in float32.

    is_converted: whether the model that an engine runs in a number format is cached; lasts: whether the job takes so many
    seconds, for a long one earns a conversion, except on a CPU without units for short floats.
    """
    found = fastest(weights)
    if found is None:
        return None
    if _is_faster(found) and _is_usable(found, is_converted, lasts):
        return found
    light = lightest(weights)
    return light if light is not None and _starts_sooner(light, is_converted, lasts) else None


def reason(found: Fastest) -> str:
    """Return why something is chosen, in words that follow its name."""
    if found.speed is not None and found.speed < GAIN:
        return "which starts sooner than PyTorch"
    return f"measured here as {found.compared} PyTorch in float32 and off by at most {NEAR:.0%}"


def worth_measuring(weights: str, is_converted: IsConverted, lasts: Lasts) -> list[tuple[str, str]]:
    """List the settings that may beat PyTorch in float32 here, if no undisturbed measurement says so and the job is long enough.

    In float32 other engines gain little, if anything: they are measured where their model is cached already.
    """
    installed = [name for name, package in _PACKAGES.items() if importlib.util.find_spec(package) is not None]
    found = fastest(weights)
    is_known = found is not None and found.speed is not None
    if is_known or not (_has_short_floats() or installed) or not lasts(LONG_SECONDS):
        return []
    if _has_short_floats():
        return [("torch", "bfloat16"), *([("openvino", "bfloat16")] if "openvino" in installed else [])]
    return [(name, "float32") for name in installed if is_converted(name, "float32")]


def expected_seconds(gflops: float) -> float:
    """Estimate how long PyTorch takes for one clip in float32, of so many multiply-adds as `clip_gflops` counts."""
    return gflops / (_GFLOPS_A_CORE * cpu.threads())


def _is_faster(found: Fastest) -> bool:
    return not found.is_default and found.dtype != "int8" and (found.speed is None or found.speed >= GAIN)


def _is_usable(found: Fastest, is_converted: IsConverted, lasts: Lasts) -> bool:
    if found.engine == "torch":
        return True
    if found.engine == "openvino" and found.dtype not in formats():
        return False
    return is_converted(found.engine, found.dtype) or (_has_short_floats() and lasts(LONG_SECONDS))


def _starts_sooner(light: Fastest, is_converted: IsConverted, lasts: Lasts) -> bool:
    """Tell whether a job ends sooner with what needs no PyTorch, even if that is slower than measured by all that measurements err.

    Where PyTorch has been imported already, for whatever reason, nothing is saved.
    """
    if _has_torch() or light.speed is None or not is_converted(light.engine, light.dtype):
        return False
    lost = GAIN / light.speed - 1
    return lost <= 0 or not lasts(START_SECONDS / lost)


def _has_torch() -> bool:
    return "torch" in sys.modules


def _has_short_floats() -> bool:
    return "bfloat16" in cpu.units()
