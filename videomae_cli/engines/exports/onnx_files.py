"""Writes ONNX files, and runs them with ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from videomae_cli.engines.exports.graphs import ExportedGraph, Runner
from videomae_cli.engines.exports.operators import unread_by_tensorrt
from videomae_cli.engines.onnx import OPSET as OPSET
from videomae_cli.engines.onnx import new_session, onnx_files, save_program
from videomae_cli.engines.packages import load_onnx_exporter, load_onnxruntime

files = onnx_files


def prepare(dtype: str) -> None:
    """Import what writing and running need. Raises DependencyError."""
    load_onnx_exporter()
    load_onnxruntime()


def write(
    graph: ExportedGraph, place: Path, *, dtype: str, about: str, calibration: Sequence[npt.NDArray[Any]]
) -> None:
    """Write a graph with a batch of any size. about: JSON for the metadata. Raises OSError, RuntimeError."""
    names = (graph.input_name, graph.output_name)
    save_program(graph, graph.example(2), place, names=names, dtype=dtype, about=about)


def runner(place: Path) -> Runner:
    """Open a file with ONNX Runtime, on the CPU. This and the runner raise RuntimeError for what it can't run."""
    with _reported():
        session = new_session(place)
        name = session.get_inputs()[0].name

    def run(given: Any) -> Any:
        with _reported():
            return session.run(None, {name: given})[0]

    return run


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Turn ONNX Runtime's errors, which have no base class of their own, into RuntimeErrors."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(f"ONNX Runtime can't run it: {error}") from error


def notes(place: Path) -> list[str]:
    """Return what readers other than ONNX Runtime have to know of a file."""
    import onnx

    problems = unread_by_tensorrt(onnx.load(place, load_external_data=False))
    return [f"TensorRT won't read it: it has {' and '.join(problems)}"] if problems else []
