"""Quantises weights and activations to eight bits after training, with NNCF, calibrated on clips."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from videomae_cli.engines import cpu
from videomae_cli.engines.packages import load_nncf, load_openvino
from videomae_cli.errors import OptionError
from videomae_cli.model import VideoMAEConfig

if TYPE_CHECKING:
    from videomae_cli.engines.parts import Calibration

# Minimum clips and tokens for estimating activation ranges: small models, with few tokens per clip, need more clips.
_CLIPS, _TOKENS = 16, 8192


def calibration_clips(config: VideoMAEConfig) -> int:
    """Return how many clips a model should be calibrated on."""
    return max(_CLIPS, -(-_TOKENS // config.num_patches))


def quantize(model: Any, calibration: Calibration | None, folder: Path) -> None:
    """Quantise an OpenVINO model and save it to `folder`. Raises OptionError if there are no calibration clips."""
    clips = [] if calibration is None else [clip.numpy() for clip in calibration()]
    load_openvino().save_model(quantized(model, clips), folder / "model.xml", compress_to_fp16=False)
    seen = hashlib.sha256(b"".join(clip.tobytes() for clip in clips)).hexdigest()[:16]
    (folder / "calibration.txt").write_text(f"{seen}\n")


def quantized(model: Any, inputs: Sequence[npt.NDArray[Any]]) -> Any:
    """Quantise an OpenVINO model, calibrated on inputs of one clip each. Raises OptionError if there are none."""
    nncf = load_nncf()
    if not inputs:
        raise OptionError.about(
            "dtype", "{@dtype:int8} is calibrated on clips, and no file gave one: give videos that can be read"
        )
    with redirect_stdout(io.StringIO()):  # NNCF prints progress bars to stdout, which is reserved for data
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE if takes_seven_bits() else None
            ),
            # These layers lose most accuracy in eight bits but are 1/60 of ViT-B's computation
            # (benchmarks/agreement.py).
            ignored_scope=nncf.IgnoredScope(patterns=[".*patch_embeddings.*", ".*classifier.*"], validate=False),
        )


def takes_seven_bits() -> bool:
    """Whether weights are to have seven bits, because this CPU has no VNNI: the instructions that it has instead add two products in
    16 bits, too few for those of eight."""
    return "int8" not in cpu.units()
