"""Eight-bit weights and activations: NNCF's post-training quantisation, calibrated on clips."""

from __future__ import annotations

import hashlib
import io
import logging
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from videomae_cli.engines.networks import Calibration
from videomae_cli.engines.openvino import load_openvino
from videomae_cli.errors import DependencyError, OptionError

# Clips that decide the ranges of activations. Few are enough: every clip has more than a thousand tokens.
CALIBRATION_CLIPS = 16


def load_nncf() -> Any:
    """The package, which is not to write about itself. Raises DependencyError."""
    load_openvino()
    try:
        import nncf
    except ImportError as error:
        raise DependencyError(
            f"--dtype int8 needs the package nncf: pip install 'videomae-cli[openvino]' ({error})"
        ) from None
    nncf.set_log_level(logging.ERROR)
    return nncf


def nncf_version() -> str:
    """Of the installed package. Raises DependencyError."""
    return str(load_nncf().__version__)


def quantize(model: Any, calibration: Calibration | None, folder: Path) -> None:
    """Write `model`, a graph of OpenVINO's, with eight-bit numbers to `folder`. Raises OptionError without clips."""
    nncf = load_nncf()
    clips = [] if calibration is None else [clip.numpy() for clip in calibration()]
    if not clips:
        raise OptionError("--dtype int8 is calibrated on clips, and no file gave one: give videos that can be read")
    with redirect_stdout(io.StringIO()):  # it draws bars there, where only data may be
        small = nncf.quantize(
            model,
            nncf.Dataset(clips),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(clips),
        )
    load_openvino().save_model(small, folder / "model.xml", compress_to_fp16=False)
    seen = hashlib.sha256(b"".join(clip.tobytes() for clip in clips)).hexdigest()[:16]
    (folder / "calibration.txt").write_text(f"{seen}\n")
