"""Runs a part of a model with OpenVINO: converted once and cached on disk, compiled for this CPU at every start.

Only the conversion needs torch: a converted model runs without importing it.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem, system
from videomae_cli.engines import cpu
from videomae_cli.engines.int8 import quantize, takes_seven_bits
from videomae_cli.engines.packages import formats, load_nncf, load_openvino
from videomae_cli.engines.precision import Engine
from videomae_cli.engines.store import is_intact, kept, place_of
from videomae_cli.errors import DependencyError, OptionError, Wording, say

if TYPE_CHECKING:
    from torch import Tensor, nn

    from videomae_cli.engines.parts import Calibration, Features, Logits
    from videomae_cli.model import VideoMAEConfig

# Version of the cached models: increase it when the conversion changes, so that older ones are no longer found.
FORMAT = 1
# How often pages of the model's file are given back while it is compiled: some 20 MB are read in between.
_RELEASE_SECONDS = 0.02
# One model is read at a time: each gives back its own pages only, for others of the same file may end at any time.
_READING = system.lock_across_forks()
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVINONetwork:
    """A `Network` that runs on OpenVINO, made from a converted model's file.

    The model is compiled in a thread, so that the caller can begin to decode; the first batch waits for it, and so does
    the end of the program, which must not come in the middle of a library's work.

    size: the most clips per batch. One clip at a time is compiled for as that: OpenVINO then packs the weights while it
    compiles, instead of during the first batch, for which nothing is left to wait for.
    """

    def __init__(self, file: Path, engine: Engine, size: int) -> None:
        self.engine, self._file, self._size = engine, file, size
        openvino = load_openvino()
        calibrated = file.with_name("calibration.txt")
        self._calibrated = calibrated.read_text().strip() if filesystem.is_there(calibrated) else None
        supported = formats()
        if engine.dtype not in supported:
            # OpenVINO would silently use another format.
            raise OptionError(
                engine.slow or say("OpenVINO has no {dtype} on this CPU: choose another {@dtype}", dtype=engine.dtype),
                subject="dtype",
            )
        # Layers that int8 excludes run in bfloat16 if the CPU has it.
        left_over = "bfloat16" if "bfloat16" in supported else "float32"
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[left_over if engine.dtype == "int8" else engine.dtype],
            "INFERENCE_NUM_THREADS": cpu.threads(),
        }
        self._version = openvino.__version__
        self._request: Future[Any] = Future()
        Thread(target=_compile, args=(self._request, file, settings, size), name="compile").start()

    def __reduce__(self) -> tuple[type[OpenVINONetwork], tuple[Path, Engine, int]]:
        """A copy, also in another process of this machine, compiles the same file for itself."""
        return type(self), (self._file, self.engine, self._size)

    @property
    def identity(self) -> dict[str, str]:
        about = {"engine": "openvino", "dtype": self.engine.dtype, "openvino": self._version}
        return about | ({"calibration": self._calibrated} if self._calibrated else {})

    @property
    def takes_frames(self) -> bool:
        return False

    def __call__(self, pixel_values: Tensor) -> Tensor:
        import torch

        given = pixel_values.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self.infer(given))

    def infer(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        request = self._request.result()
        parts = np.split(pixel_values, len(pixel_values)) if self._size == 1 else [pixel_values]
        try:
            # Copied, since the next call overwrites this memory.
            output = np.concatenate([np.array(request.infer([part])[0], dtype=np.float32) for part in parts])
        except RuntimeError as error:
            reason = "OpenVINO can't run this model here ({reason})"
            remedy = Wording("choose {@engine:torch}")
            raise DependencyError.about("engine", reason, reason=_last_line(error), remedy=remedy) from error
        if len(output) != len(pixel_values):
            reason = "OpenVINO computes nothing on this CPU, or under this ONEDNN_MAX_CPU_ISA"
            raise DependencyError.about("engine", reason, remedy=Wording("choose {@engine:torch}"))
        return output

    def wait(self) -> None:
        self._request.result()


def _compile(made: Future[Any], file: Path, settings: Mapping[str, object], size: int) -> None:
    """Compile a converted model, and hand over a request of it or the error."""
    reason = "OpenVINO can't read the converted model in {subject} ({reason}): remove this folder"
    try:
        core, weights = load_openvino().Core(), filesystem.real(file.with_suffix(".bin"))
        with _READING:
            others = system.mapped(weights)
            model = core.read_model(file)
            free = partial(system.release_mapped, system.mapped(weights) - others)
        reason = "OpenVINO can't run the converted model in {subject} on this CPU ({reason}): choose {@engine:torch}"
        if size == 1:
            model.reshape([1, *(length.get_length() for length in list(model.input().partial_shape)[1:])])
        # The weights are packed into memory of OpenVINO's own, and their file stays mapped: both would count.
        with system.every(_RELEASE_SECONDS, free):
            request = core.compile_model(model, "CPU", dict(settings)).create_infer_request()
        free()
        made.set_result(request)
    except RuntimeError as error:
        made.set_exception(DependencyError.about(file.parent, reason, reason=_last_line(error)))
    except BaseException as error:
        made.set_exception(error)


def _last_line(error: RuntimeError) -> str:
    """Return the line of OpenVINO's messages that says what is wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def found_file(kind: str, config: VideoMAEConfig, engine: Engine, *, digest: str) -> Path | None:
    """Return the file of a model that was converted before, or None. kind: of the part of it that is run."""
    place = place_of(_about(kind, config, engine, digest))
    return place / "model.xml" if is_intact(place) else None


def model_file(part: Logits | Features, engine: Engine, *, digest: str, calibration: Calibration | None = None) -> Path:
    """Return the converted model's file, cached or converted now: float32 for all floating-point formats, or int8."""
    about = _about(part.kind, part.config, engine, digest)
    if engine.dtype != "int8":
        save = partial(load_openvino().save_model, compress_to_fp16=False)
        return kept(about, lambda folder: save(_converted(part), folder / "model.xml")) / "model.xml"
    return kept(about, lambda folder: quantize(_converted(part), calibration, folder)) / "model.xml"


def _about(kind: str, config: VideoMAEConfig, engine: Engine, digest: str) -> dict[str, object]:
    """Return everything that determines a converted model. Raises DependencyError."""
    about = {
        "format": FORMAT,
        "kind": kind,
        "weights": digest,
        "config": config.to_dict(),
        "openvino": load_openvino().__version__,
    }
    if engine.dtype != "int8":
        return about
    return about | {"dtype": "int8", "nncf": _nncf_version()} | ({"bits": 7} if takes_seven_bits() else {})


def _nncf_version() -> str:
    """Return the version of nncf, whose import would take seconds. Raises DependencyError."""
    try:
        return importlib.metadata.version("nncf")
    except importlib.metadata.PackageNotFoundError:
        return str(load_nncf().__version__)


def _converted(part: Logits | Features) -> Any:
    """Convert a part to an OpenVINO model with a dynamic batch size."""
    import torch

    config = part.config
    shape = (config.num_frames, config.num_channels, *config.image_hw)
    return converted(part.to("cpu", torch.float32), torch.zeros(1, *shape))


def converted(module: nn.Module, example: Tensor) -> Any:
    """Convert a module with one input and one output to an OpenVINO model; the batch size becomes a dynamic one."""
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of shape checks becoming constants; shapes never change here
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example, check_trace=False, strict=False
        )
        model = load_openvino().convert_model(traced, example_input=example)
    model.reshape([-1, *example.shape[1:]])
    return model
