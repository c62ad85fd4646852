"""Which engine and number format a model runs in. Names are checked without torch, so that a wrong one is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from videomae_cli.errors import OptionError

if TYPE_CHECKING:
    import torch

    from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel

ENGINES = ("torch", "openvino")
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class Engine:
    """name: "torch" or "openvino"; dtype: "float32", "bfloat16", "float16" or "int8"; device: where it runs; compiled: by
    torch.compile."""

    name: str
    dtype: str
    device: torch.device
    compiled: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the weights, with the torch engine."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.dtype]


def check_engine(name: str, dtype: str, compiled: bool = False) -> None:
    """Raise OptionError for names that are none, and for what goes together on no device."""
    if name not in ENGINES:
        raise OptionError(f"unknown engine {name!r}: choose {' or '.join(ENGINES)}")
    if dtype not in DTYPES:
        raise OptionError(f"unknown dtype {dtype!r}: choose {', '.join(DTYPES)}")
    if name == "torch" and dtype == "int8":
        raise OptionError("--dtype int8 needs --engine openvino")
    if name != "torch" and compiled:
        raise OptionError("--compile is for --engine torch: OpenVINO always compiles")


def pick_engine(name: str, dtype: str, device: torch.device, compiled: bool = False) -> Engine:
    """What to run with on a device. Raises OptionError for names that are none and for what doesn't go together.

    dtype "auto" is what is both fast and safe: on CUDA bfloat16 where the device has it, else float16; on Apple's MPS and
    the CPU float32, and with OpenVINO bfloat16 where the CPU has it.
    """
    check_engine(name, dtype, compiled)
    if name == "openvino" and device.type != "cpu":
        raise OptionError(f"--engine openvino runs on the CPU, not on {device.type}: add --device cpu")
    if dtype == "auto":
        dtype = _auto(name, device)
    return Engine(name, dtype, device, compiled)


def engine_of(model: VideoMAEModel | VideoMAEForVideoClassification) -> Engine:
    """PyTorch with a model as it is: where it is, and in the format that it has."""
    return Engine("torch", str(model.dtype).removeprefix("torch."), model.device)


def _auto(name: str, device: torch.device) -> str:
    if name == "openvino":
        from videomae_cli.engines.openvino import capabilities

        return "bfloat16" if "BF16" in capabilities() else "float32"
    if device.type == "cuda":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "float32"
