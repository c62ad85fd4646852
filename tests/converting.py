"""Conversions to other engines that cost what is tested: what they have in common is done once."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from videomae_cli.engines import onnx, openvino


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
    made: dict[object, Any] = {}
    trace = onnx._program

    def program(module: Any, example: Any, *names: str) -> Any:
        key = (*_identity(module), example.shape, names)
        if key not in made:
            made[key] = trace(module, example, *names)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "_program", program)
        yield


@pytest.fixture(scope="module")
def converted_once() -> Iterator[None]:
    """One model is converted for OpenVINO once, in however many caches it is kept."""
    made: dict[object, Any] = {}
    convert = openvino._converted

    def converted(part: Any) -> Any:
        key = _identity(part)
        if key not in made:
            made[key] = convert(part)
        return made[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino, "_converted", converted)
        yield


def _identity(module: Any) -> tuple[object, ...]:
    """What a part of a model, or a graph that is exported, computes."""
    from videomae_cli.model import weights_digest

    part = getattr(module, "part", module)
    config = json.dumps(part.config.to_dict())
    return type(module), part.kind, getattr(module, "pixels", None), config, weights_digest(module)
