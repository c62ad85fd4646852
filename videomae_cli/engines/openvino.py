"""Runs a part of a model with OpenVINO: converted once and cached on disk, compiled for this CPU at every start."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from videomae_cli import filesystem
from videomae_cli.engines.int8 import nncf_version, quantize
from videomae_cli.engines.packages import formats, load_openvino
from videomae_cli.engines.parts import Calibration, Features, Logits
from videomae_cli.engines.store import kept
from videomae_cli.errors import DependencyError, OptionError, Wording, say

if TYPE_CHECKING:
    from videomae_cli.engines.precision import Engine

# Version of the cached models: increase it when the conversion changes, so that older ones are no longer found.
FORMAT = 1
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVINONetwork:
    """A `Network` that runs on OpenVINO; once it is constructed, the PyTorch weights are no longer needed."""

    def __init__(
        self, part: Logits | Features, engine: Engine, *, digest: str, calibration: Calibration | None = None
    ) -> None:
        self.engine = engine
        openvino = load_openvino()
        file = model_file(part, engine, digest=digest, calibration=calibration)
        calibrated = file.with_name("calibration.txt")
        self._calibrated = calibrated.read_text().strip() if filesystem.is_there(calibrated) else None
        core = openvino.Core()
        supported = formats()
        if engine.dtype not in supported:
            # OpenVINO would silently use another format.
            raise OptionError(
                engine.slow or say("OpenVINO has no {dtype} on this CPU: choose another {@dtype}", dtype=engine.dtype),
                subject="dtype",
            )
        # Layers that int8 excludes run in bfloat16 if the CPU has it.
        left_over = "bfloat16" if "bfloat16" in supported else "float32"
        precision = _HINTS[left_over if engine.dtype == "int8" else engine.dtype]
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        threads = torch.get_num_threads()
        self._compiled = core.compile_model(file, "CPU", settings | {"INFERENCE_NUM_THREADS": threads})
        self._version = openvino.__version__
        self._request = self._compiled.create_infer_request()

    @property
    def identity(self) -> dict[str, str]:
        about = {"engine": "openvino", "dtype": self.engine.dtype, "openvino": self._version}
        return about | ({"calibration": self._calibrated} if self._calibrated else {})

    def __call__(self, pixel_values: Tensor) -> Tensor:
        given = pixel_values.detach().to("cpu", torch.float32).contiguous().numpy()
        # Copied below, since the next call overwrites this memory.
        output = self._request.infer([given])[0]
        if len(output) != len(given):
            raise DependencyError.about(
                "engine",
                "OpenVINO computes nothing on this CPU, or under this ONEDNN_MAX_CPU_ISA",
                remedy=Wording("choose {@engine:torch}"),
            )
        return torch.from_numpy(output.copy())


def model_file(part: Logits | Features, engine: Engine, *, digest: str, calibration: Calibration | None = None) -> Path:
    """Return the converted model's file, cached or converted now: float32 for all floating-point formats, or int8."""
    openvino = load_openvino()
    about = {
        "format": FORMAT,
        "kind": part.kind,
        "weights": digest,
        "config": part.config.to_dict(),
        "openvino": openvino.__version__,
    }
    if engine.dtype != "int8":
        return kept(about, lambda folder: _convert(part, folder)) / "model.xml"
    about |= {"dtype": "int8", "nncf": nncf_version()}
    return kept(about, lambda folder: quantize(_converted(part), calibration, folder)) / "model.xml"


def _convert(part: Logits | Features, folder: Path) -> None:
    load_openvino().save_model(_converted(part), folder / "model.xml", compress_to_fp16=False)


def _converted(part: Logits | Features) -> Any:
    """Convert a part to an OpenVINO model with a dynamic batch size."""
    config = part.config
    shape = (config.num_frames, config.num_channels, *config.image_hw)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of shape checks becoming constants; shapes never change here
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            part.to("cpu", torch.float32), torch.zeros(1, *shape), check_trace=False, strict=False
        )
        model = load_openvino().convert_model(traced, example_input=torch.zeros(1, *shape))
    model.reshape([-1, *shape])
    return model
