"""Networks: callables that run a part of a model on pixels, with any engine."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from videomae_cli.engines.onnx import ONNXNetwork, onnx_file
from videomae_cli.engines.openvino import OpenVINONetwork, model_file
from videomae_cli.engines.parts import Calibration, Features, Logits
from videomae_cli.engines.precision import Engine
from videomae_cli.errors import OptionError


class Network(Protocol):
    """A model ready to run. identity: what affects its numbers besides weights and configuration, as plain values."""

    engine: Engine

    @property
    def identity(self) -> dict[str, str]: ...

    @property
    def takes_frames(self) -> bool:
        """Whether `infer` takes frames (V, T, H, W, C) uint8 instead, since the preprocessing is in the network."""
        return False

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Map clips (V, T, C, H, W) to outputs (V, ...), both float32 on the CPU."""

    def infer(self, pixel_values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Do the same with arrays, for which `Engine.is_torch_free` ones need no torch."""
        return self(torch.from_numpy(pixel_values)).numpy()

    def wait(self) -> None:
        """Wait until the model is loaded, where that goes on in the background. Raises what loading raises."""
        return None


class TorchNetwork(Network):
    """Runs a part of a model with PyTorch, on the engine's device and in its number format."""

    def __init__(self, part: Logits | Features, engine: Engine) -> None:
        self.engine = engine
        self.part = part.to(engine.torch_device, engine.torch_dtype)

    @property
    def identity(self) -> dict[str, str]:
        return {"engine": "torch", "dtype": self.engine.dtype}

    @torch.inference_mode()
    def __call__(self, pixel_values: Tensor) -> Tensor:
        result: Tensor = self.part(pixel_values.to(self.engine.torch_device, self.engine.torch_dtype))
        return result.float().cpu()


class CompiledNetwork(Network):
    """Runs a part of a model with torch.compile, `size` clips at a time.

    Smaller batches are padded, since a new batch size would trigger a recompilation. Compiles on construction, and
    raises OptionError if that fails.
    """

    def __init__(self, part: Logits | Features, engine: Engine, size: int) -> None:
        self.engine, self._size = engine, size
        self._plain = TorchNetwork(part, engine)
        self._plain.part.forward = torch.compile(part.forward, dynamic=False)  # type: ignore[method-assign]
        config = part.config
        self._compile(torch.zeros(1, config.num_frames, config.num_channels, *config.image_hw))

    def _compile(self, clip: Tensor) -> None:
        tried = self._size
        try:
            self(clip)
        except torch.OutOfMemoryError:
            if tried == 1:
                raise
            self._compile(clip)  # the failed call has already halved the batch size
        except Exception as error:  # a missing or failing compiler raises many different types
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise OptionError.about(
                "compile", "{@compile:True} does not work here ({reason}): leave it out", reason=reason[0]
            ) from error

    @property
    def identity(self) -> dict[str, str]:
        return {**self._plain.identity, "compile": "yes"}

    def __call__(self, pixel_values: Tensor) -> Tensor:
        return torch.cat([self._filled(part) for part in torch.split(pixel_values, self._size)])

    def _filled(self, clips: Tensor) -> Tensor:
        missing = self._size - len(clips)
        blanks = clips.new_zeros(missing, *clips.shape[1:])
        try:
            return self._plain(torch.cat([clips, blanks]) if missing else clips)[: len(clips)]
        except torch.OutOfMemoryError:
            self._size = max(1, self._size // 2)  # callers retry with half as many clips
            raise


def make_network(
    part: Logits | Features, engine: Engine, *, digest: str, size: int = 1, calibration: Calibration | None = None
) -> Network:
    """Make the network that runs a part of a model on its engine.

    digest: of the model's weights; size: the batch size; calibration: clips for int8, used unless a quantised model is
    cached. Raises DependencyError if a package of the engine is not installed, OptionError for what this machine can't run.
    """
    if engine.name == "torch":
        return CompiledNetwork(part, engine, size) if engine.compiled else TorchNetwork(part, engine)
    network: Network
    if engine.name == "onnx":
        network = ONNXNetwork(onnx_file(part, engine, digest=digest), engine)
    else:
        network = OpenVINONetwork(model_file(part, engine, digest=digest, calibration=calibration), engine, size)
    part.to("meta")  # frees PyTorch's weights: the engine has its own copy
    return network
