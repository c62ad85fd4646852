"""Suggests a faster setting for this machine, from measurements made here or from the CPU's features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae_cli.cli.options.flags import FLAGS
from videomae_cli.errors import speaking

if TYPE_CHECKING:
    from videomae_cli.engines import Engine


def faster_here(engine: Engine, weights: object) -> str | None:
    """Return a hint on running these weights faster, with nearly the same numbers; None if nothing is known.

    Measurements of `videomae bench` for this model on this machine count more than the CPU's features.
    """
    if (engine.name, engine.dtype, engine.device.type) != ("torch", "float32", "cpu"):
        return None
    from videomae_cli.engines import cpu
    from videomae_cli.engines.timings import fastest

    found = fastest(str(weights))
    if found is not None:
        if found.is_default:
            return None
        with speaking(FLAGS):
            asked = found.asked
        return f"{asked} was {found.compared} PyTorch in float32 here, with nearly the same numbers (videomae bench)"
    if "bfloat16" in cpu.units():
        return (
            "this CPU has units for bfloat16, which --engine openvino uses, with nearly the same numbers (videomae bench "
            "measures how fast it is here)"
        )
    return None
