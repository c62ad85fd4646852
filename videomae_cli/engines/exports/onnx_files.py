"""Writes ONNX files, and runs them with ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from videomae_cli.engines import cpu
from videomae_cli.engines.exports.graphs import ExportedGraph, Runner
from videomae_cli.engines.exports.operators import unread_by_tensorrt
from videomae_cli.errors import DependencyError

# The newest that all of ONNX Runtime, OpenVINO and TensorRT from 2023 on read, with LayerNormalization as one operator.
OPSET = 18
_LARGE = 1_500_000_000  # bytes of weights: a file of more than two gigabytes can't be one protocol buffer
_QUIET = ("torch.onnx", "onnxscript", "onnx_ir")


def prepare(dtype: str) -> None:
    """Import what writing and running need. Raises DependencyError."""
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):  # torch.onnx uses the last
            import_module(name)
    except ImportError as error:
        reason = "ONNX needs the packages onnx, onnxruntime and onnxscript: pip install 'videomae-cli[onnx]' ({error})"
        raise DependencyError.about("onnx", reason, error=error) from None


def files(output: Path) -> tuple[Path, ...]:
    """Return the files of a model, the one that is opened last: weights of 1.5 GB or more lie in one of their own."""
    return output.with_name(f"{output.name}.data"), output


def write(
    graph: ExportedGraph, place: Path, *, dtype: str, about: str, calibration: Sequence[npt.NDArray[Any]]
) -> None:
    """Write a graph with a batch of any size. about: JSON for the metadata. Raises OSError, RuntimeError."""
    whole = place if dtype != "int8" else place.with_name("whole.onnx")
    program = _program(graph)
    program.model.metadata_props["videomae"] = about
    program.save(whole, external_data=_is_large(graph))
    if dtype == "int8":
        del program
        _quantize(whole, place, large=_is_large(graph))


def _is_large(graph: ExportedGraph) -> bool:
    return bool(sum(one.nbytes for one in graph.state_dict().values()) >= _LARGE)


def _program(graph: ExportedGraph) -> Any:
    batch = torch.export.Dim("batch")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            graph,
            # One clip would be taken for a fixed size.
            (graph.example(2),),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=[graph.input_name],
            output_names=[graph.output_name],
            opset_version=OPSET,
            verbose=False,
        )


def _quantize(source: Path, place: Path, *, large: bool) -> None:
    """Store weights in eight bits; activations are quantised while the model runs, each batch by its own range.

    Nothing has to be calibrated, and for VideoMAE less is lost than by ranges that were measured once. Weights are
    unsigned as activations are: products of mixed ones overflow on x86 processors without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it logs advice to the root logger
    try:
        quantize_dynamic(
            source,
            place,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
            use_external_data_format=large,
        )
    finally:
        root.setLevel(before)
    for one in files(source):
        one.unlink(missing_ok=True)


def runner(place: Path) -> Runner:
    """Open a file with ONNX Runtime, on the CPU. This and the runner raise RuntimeError for what it can't run."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = cpu.threads()
    with _reported():
        session = onnxruntime.InferenceSession(place, settings, providers=["CPUExecutionProvider"])
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
    return [f"TensorRT won't read it: it has {', '.join(problems)}"] if problems else []
