"""Chooses the engine and number format that a model runs in, and warns if this machine lacks fast instructions for it.

Names are checked without importing torch, so that a wrong one is reported immediately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from videomae_cli.engines import cpu
from videomae_cli.engines.packages import formats, load_onnxruntime
from videomae_cli.errors import OptionError, check_choice, say

if TYPE_CHECKING:
    import torch

    from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel

ENGINES = ("torch", "openvino", "onnx")
# Those that run a model from a file of their own, on the CPU and without torch.
TORCH_FREE = ("openvino", "onnx")
_TITLES = {"openvino": "OpenVINO", "onnx": "ONNX Runtime"}
# Leaves the choice to what was measured on this machine (`choosing`); PyTorch where nothing was.
AUTO = "auto"
# A device of torch, or this machine's CPU without torch.
Device: TypeAlias = "torch.device | HostCPU"
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class HostCPU:
    """The CPU, for engines that need no torch: like `torch.device("cpu")`, whose import takes a second."""

    type: str = "cpu"

    def __str__(self) -> str:
        return self.type


@dataclass(frozen=True)
class Engine:
    """How a model is run. name: one of `ENGINES`; dtype: "float32", "bfloat16", "float16" or "int8"; compiled: with
    torch.compile."""

    name: str
    dtype: str
    device: Device
    compiled: bool = False

    @property
    def torch_device(self) -> torch.device:
        """The device as PyTorch names it."""
        import torch

        return torch.device(str(self.device))

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the weights when the engine is PyTorch."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.dtype]

    @property
    def is_torch_free(self) -> bool:
        """Whether the model runs from a file of the engine's own, on arrays and without torch."""
        return self.name in TORCH_FREE

    @property
    def slow(self) -> str | None:
        """Why this runs slowly here and what to use instead, in one line; None if it doesn't."""
        return missing_units(self.name, self.dtype, self.device)


def check_engine(name: str, dtype: str, compiled: bool = False) -> None:
    """Raise OptionError for unknown names, and for combinations that no device supports."""
    check_choice("engine", name, (AUTO, *ENGINES), last=" or ")
    check_choice("dtype", dtype, DTYPES)
    if name not in TORCH_FREE and dtype == "int8":
        raise OptionError.about("dtype", "{@dtype:int8} needs {@engine:openvino} or {@engine:onnx}")
    if name in TORCH_FREE and compiled:
        reason = "{@compile:True} is for {@engine:torch}: {title} always compiles"
        raise OptionError.about("compile", reason, title=_TITLES[name])


def pick_engine(name: str, dtype: str, device: Device, compiled: bool = False) -> Engine:
    """Choose how to run on a device. Raises OptionError for unknown names and unsupported combinations.

    dtype "auto" is the fastest safe one: on CUDA bfloat16 if the device has it, else float16; on Apple's MPS and the
    CPU float32, but with OpenVINO bfloat16 if the CPU has it; engine "auto" is PyTorch (`choosing` knows more). Settings that can't run here at all are refused;
    `Engine.slow` tells whether one would be slow.
    """
    check_engine(name, dtype, compiled)
    name = "torch" if name == AUTO else name
    if name in TORCH_FREE and device.type != "cpu":
        reason = "{@engine:{name}} runs on the CPU, not on {type}: add {@device:cpu}"
        raise OptionError.about("engine", reason, name=name, type=device.type)
    if name == "onnx":
        load_onnxruntime()
        if dtype in ("bfloat16", "float16"):
            raise OptionError.about("dtype", "{@engine:onnx} runs in float32 or int8, not in {dtype}", dtype=dtype)
    if dtype == "auto":
        dtype = _auto(name, device)
    engine = Engine(name, dtype, device, compiled)
    if name == "openvino" and dtype != "int8" and engine.slow:
        raise OptionError(engine.slow, subject="dtype")  # OpenVINO would silently use another format
    return engine


def missing_units(name: str, dtype: str, device: Device) -> str | None:
    """Say what this machine's CPU lacks for a number format and what to use instead; None if nothing.

    One rule for all engines and commands: a format without units is an error if the engine can't compute in it, and a
    warning if it can, but slowly.
    """
    if device.type != "cpu" or dtype not in cpu.SHORT_FORMATS or dtype in cpu.units():
        return None
    problem = f"this CPU has no units for {dtype}"
    if name == "torch":
        return say("{problem}: PyTorch emulates it, more slowly than float32; leave {@dtype} out", problem=problem)
    if name == "onnx" and dtype != "int8":
        return say("{problem}: an export in float32 is probably faster here", problem=problem)
    if dtype == "int8":
        return say(
            "{problem}: it may be no faster than {@dtype:float32} ({@bench_videos} measures both)",
            problem=problem,
        )
    return say(
        "{problem}, and OpenVINO would not use it: leave {@dtype} out, or give {@dtype:float32}", problem=problem
    )


def engine_of(model: VideoMAEModel | VideoMAEForVideoClassification) -> Engine:
    """Return the PyTorch engine with the device and dtype that a model already has."""
    return Engine("torch", str(model.dtype).removeprefix("torch."), model.device)


def _auto(name: str, device: Device) -> str:
    if name == "openvino":
        return "bfloat16" if "bfloat16" in formats() else "float32"
    if device.type == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "float32"
