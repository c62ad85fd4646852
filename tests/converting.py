"""Conversions to ONNX that cost what is tested: what they have in common is done once."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from videomae_cli.engines import onnx


@pytest.fixture(scope="session")
def operators_once() -> Iterator[None]:
    """The exporter lists the operators that it can translate once; for each model anew, that is a third of the time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="module")
def traced_once(operators_once: None) -> Iterator[None]:
    """One model is traced once, in however many ways it is written."""
    from videomae_cli.model import weights_digest

    made: dict[object, Any] = {}
    trace = onnx._program

    def program(module: Any, example: Any, *names: str) -> Any:
        part = getattr(module, "part", module)  # of a graph that is exported
        pixels, config = getattr(module, "pixels", None), json.dumps(part.config.to_dict())
        key = (type(module), part.kind, pixels, config, weights_digest(module), example.shape, names)
        if key not in made:
            made[key] = trace(module, example, *names)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "_program", program)
        yield
