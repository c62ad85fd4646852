"""Hints at what would be faster on this machine, if it was measured here or follows from the CPU's features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videomae_cli.cli.options.flags import FLAGS
from videomae_cli.errors import speaking

if TYPE_CHECKING:
    from videomae_cli.engines import Engine


def faster_here(engine: Engine, weights: object) -> str | None:
    """A few words on what would run these weights faster, with nearly the same numbers; None where nothing is known.

    What `videomae bench` found for this model on this machine counts more than what the CPU has.
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
        return f"{asked} was {found.speed:.1f} times as fast here, with nearly the same numbers (videomae bench)"
    if "bfloat16" in cpu.units():
        return (
            "this CPU has units for bfloat16, which --engine openvino uses, with nearly the same numbers (videomae bench "
            "measures how fast it is here)"
        )
    return None
