"""Writes PyTorch's own export format (.pt2), which `torch.export.load` reads without this package."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from videomae_cli.engines.exports.graphs import ExportedGraph, Runner

OPSET = None
# The name under which `torch.export.load(..., extra_files=...)` gives the metadata.
EXTRA_FILE = "videomae.json"


def prepare(dtype: str) -> None:
    """Do nothing: PyTorch is always there."""


def files(output: Path) -> tuple[Path, ...]:
    """Return the files of a model."""
    return (output,)


def write(
    graph: ExportedGraph, place: Path, *, dtype: str, about: str, calibration: Sequence[npt.NDArray[Any]]
) -> None:
    """Write a graph with a batch of any size. about: JSON for the metadata. Raises OSError, RuntimeError."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # One clip would be taken for a fixed size.
        program = torch.export.export(graph, (graph.example(2),), dynamic_shapes=({0: torch.export.Dim("batch")},))
        with _Sink(place, "w") as sink:
            torch.export.save(program, sink, extra_files={EXTRA_FILE: about})
            if sink.error is not None:
                raise sink.error


class _Sink(io.FileIO):
    """A file that keeps the first error of writing for later: PyTorch's writer ends the whole process at one."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all bytes, or none from the first error on."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size


def runner(place: Path) -> Runner:
    """Open a file with PyTorch, on the CPU."""
    module = torch.export.load(place).module()

    @torch.inference_mode()
    def run(given: Any) -> Any:
        return module(torch.from_numpy(np.ascontiguousarray(given))).numpy()

    return run


def notes(place: Path) -> list[str]:
    """Return what readers have to know of a file."""
    return []
