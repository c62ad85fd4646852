"""OpenVINO and NNCF, imported when they are needed, and what OpenVINO can compute in on this machine."""

from __future__ import annotations

import logging
import sys
from typing import Any

from videomae_cli.engines import cpu
from videomae_cli.errors import DependencyError, Wording

# OpenVINO's names for formats; what it says of int8 is true of every CPU.
_NAMES = {"BF16": "bfloat16", "FP16": "float16"}
_INSTALL = "pip install 'videomae-cli[openvino]'"


def load_openvino() -> Any:
    """The package, without the part of it that reports its use to its makers. Raises DependencyError."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise DependencyError(
            Wording("{@engine:openvino} needs the package openvino: {install} ({error})", install=_INSTALL, error=error)
        ) from None
    return openvino


def formats() -> frozenset[str]:
    """What OpenVINO can compute in here: "float32", "int8", and shorter floats that the CPU has units for.

    Raises DependencyError.
    """
    said = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset({"float32", "int8"} | ({_NAMES[one] for one in said if one in _NAMES} & cpu.units()))


def load_nncf() -> Any:
    """The package, which is not to write about itself. Raises DependencyError."""
    load_openvino()
    try:
        import nncf
    except ImportError as error:
        raise DependencyError(
            Wording("{@dtype:int8} needs the package nncf: {install} ({error})", install=_INSTALL, error=error)
        ) from None
    nncf.set_log_level(logging.ERROR)
    return nncf
