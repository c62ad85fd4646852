"""Runs a model with ONNX Runtime on the CPU: a checkpoint, converted once and cached on disk, or a file that was exported.

Only the conversion needs torch: a model that is there as an ONNX file runs without importing it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videomae_cli.engines import cpu
from videomae_cli.engines.onnx_reading import ExportedOnnx
from videomae_cli.engines.packages import load_onnx_exporter, load_onnxruntime
from videomae_cli.engines.precision import Engine
from videomae_cli.engines.store import is_intact, kept, place_of
from videomae_cli.errors import CheckpointError, DependencyError, VideoMAEError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from videomae_cli.engines.parts import Features, Logits
    from videomae_cli.model import VideoMAEConfig

# The newest that all of ONNX Runtime, OpenVINO and TensorRT from 2023 on read, with LayerNormalization as one operator.
OPSET = 18
# Version of the cached models: increase it when the conversion changes, so that older ones are no longer found.
_FORMAT = 1
_FILE = "model.onnx"
_LARGE = 1_500_000_000  # bytes of weights: a file of more than two gigabytes can't be one protocol buffer
# How ONNX Runtime's messages begin, and how much is shown of the rest, which may name its source files and whole types.
_PREFIX, _MOST_WORDS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "), 160
_QUIET = ("torch.onnx", "onnxscript", "onnx_ir")


class ONNXNetwork:
    """A `Network` that runs on ONNX Runtime, made from a converted model's file or from an exported one.

    The file is opened in a thread, so that the caller can begin to decode; the first batch waits for it, and so does the
    end of the program.
    """

    def __init__(self, file: Path, engine: Engine, exported: ExportedOnnx | None = None) -> None:
        self.engine, self._file, self._exported = engine, file, exported
        self._version = load_onnxruntime().__version__
        self._session: Future[Any] = Future()
        Thread(target=_open, args=(self._session, file, exported), name="open").start()

    def __reduce__(self) -> tuple[type[ONNXNetwork], tuple[Path, Engine, ExportedOnnx | None]]:
        """A copy, also in another process of this machine, opens the same file for itself."""
        return type(self), (self._file, self.engine, self._exported)

    @property
    def identity(self) -> dict[str, str]:
        return {"engine": "onnx", "dtype": self.engine.dtype, "onnxruntime": self._version}

    @property
    def takes_frames(self) -> bool:
        return self._exported is not None and self._exported.takes_frames

    def __call__(self, pixel_values: Tensor) -> Tensor:
        import torch

        return torch.from_numpy(self.infer(pixel_values.detach().cpu().numpy()))

    def infer(self, pixel_values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        session = self._session.result()
        given = np.ascontiguousarray(pixel_values, np.uint8 if self.takes_frames else np.float32)
        try:
            (output,) = session.run(None, {session.get_inputs()[0].name: given})
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            if "allocate memory" in str(error):
                raise RuntimeError(str(error)) from error  # the pipeline tries again with fewer clips
            raise _unread(self._file, self._exported, error) from error
        if self._exported is None:
            return np.asarray(output, np.float32)
        shape = (len(given), self._exported.output_size)
        if not isinstance(output, np.ndarray) or output.shape != shape or output.dtype != np.float32:
            raise _other_outputs(self._exported)
        # The vector of a clip is its only row: (V, D) -> (V, 1, D)
        return output if self._exported.gives_logits else output[:, None]

    def wait(self) -> None:
        self._session.result()


def new_session(file: Path) -> Any:
    """Open a file with ONNX Runtime, on the CPU. Raises what ONNX Runtime raises, which has no base class of its own."""
    onnxruntime = load_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what is wrong is raised as well
    settings.intra_op_num_threads = cpu.threads()
    return onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])


def _open(made: Future[Any], file: Path, exported: ExportedOnnx | None) -> None:
    """Open a model's file, and hand over the session or the error."""
    try:
        session = new_session(file)
        if exported is not None:
            _check_session(session, exported)
    except (VideoMAEError, MemoryError) as error:
        made.set_exception(error)
    except Exception as error:
        made.set_exception(_unread(file, exported, error))
    except BaseException as error:
        made.set_exception(error)
    else:
        made.set_result(session)


def _check_session(session: Any, exported: ExportedOnnx) -> None:
    """Raise CheckpointError if a model takes or gives something else than its metadata say."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    kind = "tensor(uint8)" if exported.takes_frames else "tensor(float)"
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or inputs[0].type != kind
        or tuple(inputs[0].shape[1:]) != exported.clip_shape
        or isinstance(inputs[0].shape[0], int)
    ):
        raise CheckpointError.about(exported.path, "{subject} takes other clips than its metadata say")
    if tuple(outputs[0].shape[1:]) != (exported.output_size,):
        raise _other_outputs(exported)


def _other_outputs(exported: ExportedOnnx) -> CheckpointError:
    return CheckpointError.about(exported.path, "{subject} gives other outputs than its metadata say")


def _unread(file: Path, exported: ExportedOnnx | None, error: Exception) -> VideoMAEError:
    lines = _PREFIX.sub("", str(error)).strip().splitlines() or [type(error).__name__]
    words = lines[0] if len(lines[0]) <= _MOST_WORDS else f"{lines[0][:_MOST_WORDS]}..."
    if exported is not None:
        return CheckpointError.about(file, "ONNX Runtime can't run {subject}: {reason}", reason=words)
    reason = "ONNX Runtime can't read the converted model in {subject} ({reason}): remove this folder"
    return DependencyError.about(file.parent, reason, reason=words)


def found_onnx(kind: str, config: VideoMAEConfig, engine: Engine, *, digest: str) -> Path | None:
    """Return the file of a model that was converted before, or None. kind: of the part of it that is run."""
    place = place_of(_about(kind, config, engine, digest))
    return place / _FILE if is_intact(place) else None


def onnx_file(part: Logits | Features, engine: Engine, *, digest: str) -> Path:
    """Return the converted model's file, cached or converted now. Raises DependencyError, OutputError."""

    def make(folder: Path) -> None:
        import torch

        load_onnx_exporter()
        config = part.config
        shape = (config.num_frames, config.num_channels, *config.image_hw)
        part.to("cpu", torch.float32).eval()
        save_program(part, torch.zeros(2, *shape), folder / _FILE, names=("pixel_values", "output"), dtype=engine.dtype)

    return kept(_about(part.kind, part.config, engine, digest), make) / _FILE


def _about(kind: str, config: VideoMAEConfig, engine: Engine, digest: str) -> dict[str, object]:
    """Return everything that determines a converted model. Raises DependencyError."""
    about = {"onnx": _FORMAT, "opset": OPSET, "kind": kind, "weights": digest, "config": config.to_dict()}
    if engine.dtype != "int8":
        return about
    return about | {"dtype": "int8", "onnxruntime": load_onnxruntime().__version__}


def save_program(
    module: nn.Module, example: Tensor, place: Path, *, names: tuple[str, str], dtype: str, about: str | None = None
) -> None:
    """Write a module with one input and one output as an ONNX file, with a batch of any size.

    Weights of 1.5 GB or more go into a file of their own, `place` with `.data` behind it. example: an input of two clips;
    names: of input and output; dtype: "int8" quantises what is written; about: JSON for the metadata. Raises OSError.
    """
    large = bool(sum(one.nbytes for one in module.state_dict().values()) >= _LARGE)
    whole = place if dtype != "int8" else place.with_name("whole.onnx")
    program = _program(module, example, *names)
    if about is not None:
        program.model.metadata_props["videomae"] = about
    program.save(whole, external_data=large)
    if dtype == "int8":
        del program
        _quantize(whole, place, large=large)


def _program(module: nn.Module, example: Tensor, input_name: str, output_name: str) -> Any:
    import torch

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            module,
            # One clip would be taken for a fixed size.
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[input_name],
            output_names=[output_name],
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
    for one in onnx_files(source):
        one.unlink(missing_ok=True)


def onnx_files(output: Path) -> tuple[Path, ...]:
    """Return the files of a model, the one that is opened last: weights of 1.5 GB or more lie in one of their own."""
    return output.with_name(f"{output.name}.data"), output
