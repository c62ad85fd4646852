"""Writes OpenVINO's intermediate representation, and runs it with OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from videomae_cli.engines import cpu
from videomae_cli.engines.exports.graphs import ExportedGraph, Runner
from videomae_cli.engines.int8 import quantized
from videomae_cli.engines.openvino import converted
from videomae_cli.engines.packages import load_nncf, load_openvino

OPSET = None


def prepare(dtype: str) -> None:
    """Import what writing and running need. Raises DependencyError."""
    load_openvino()
    if dtype == "int8":
        load_nncf()


def files(output: Path) -> tuple[Path, ...]:
    """Return the files of a model, the one that is opened last: weights lie beside it in .bin."""
    return output.with_suffix(".bin"), output


def write(
    graph: ExportedGraph, place: Path, *, dtype: str, about: str, calibration: Sequence[npt.NDArray[Any]]
) -> None:
    """Write a graph with a batch of any size; float16 are its weights, which the device computes with as it does best.

    about: JSON for the metadata; calibration: inputs for int8. Raises OSError, RuntimeError, OptionError.
    """
    model = converted(graph, graph.example(1))
    model.inputs[0].tensor.set_names({graph.input_name})
    model.outputs[0].tensor.set_names({graph.output_name})
    if dtype == "int8":
        model = quantized(model, [one[None] for one in calibration])
    model.set_rt_info(about, ["videomae"])
    load_openvino().save_model(model, place, compress_to_fp16=dtype == "float16")


def runner(place: Path) -> Runner:
    """Open a file with OpenVINO, on the CPU, in the precision that it was written in."""
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cpu.threads()}
    compiled = load_openvino().Core().compile_model(place, "CPU", settings)
    return lambda given: compiled([given])[0].copy()


def notes(place: Path) -> list[str]:
    """Return what readers have to know of a file."""
    return []
