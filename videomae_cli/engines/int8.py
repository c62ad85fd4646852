"""Eight-bit weights and activations: NNCF's post-training quantisation, calibrated on clips."""

from __future__ import annotations

import hashlib
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from videomae_cli.engines.packages import load_nncf, load_openvino
from videomae_cli.engines.parts import Calibration
from videomae_cli.errors import OptionError, Wording
from videomae_cli.model import VideoMAEConfig

# What decides the ranges of activations: clips, but of small models, whose clips have few tokens, more of them.
_CLIPS, _TOKENS = 16, 8192


def calibration_clips(config: VideoMAEConfig) -> int:
    """How many clips a model should be calibrated on."""
    return max(_CLIPS, -(-_TOKENS // config.num_patches))


def nncf_version() -> str:
    """Return the version of the installed nncf. Raises DependencyError."""
    return str(load_nncf().__version__)


def quantize(model: Any, calibration: Calibration | None, folder: Path) -> None:
    """Write `model`, a graph of OpenVINO's, with eight-bit numbers to `folder`. Raises OptionError without clips."""
    nncf = load_nncf()
    clips = [] if calibration is None else [clip.numpy() for clip in calibration()]
    if not clips:
        raise OptionError(
            Wording("{@dtype:int8} is calibrated on clips, and no file gave one: give videos that can be read")
        )
    with redirect_stdout(io.StringIO()):  # it draws bars there, where only data may be
        small = nncf.quantize(
            model,
            nncf.Dataset(clips),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(clips),
            # A sixtieth of the work of ViT-B, and what eight bits cost most in (benchmarks/agreement.py).
            ignored_scope=nncf.IgnoredScope(patterns=[".*patch_embeddings.*", ".*classifier.*"], validate=False),
        )
    load_openvino().save_model(small, folder / "model.xml", compress_to_fp16=False)
    seen = hashlib.sha256(b"".join(clip.tobytes() for clip in clips)).hexdigest()[:16]
    (folder / "calibration.txt").write_text(f"{seen}\n")
