"""Imports OpenVINO and NNCF on demand, and asks OpenVINO which formats it supports on this machine."""

from __future__ import annotations

import logging
import sys
from typing import Any

from videomae_cli.engines import cpu
from videomae_cli.errors import DependencyError

# OpenVINO's names for formats; int8 is missing since OpenVINO supports it on every CPU.
_NAMES = {"BF16": "bfloat16", "FP16": "float16"}
_INSTALL = "pip install 'videomae-cli[openvino]'"


def load_openvino() -> Any:
    """Import openvino with its telemetry disabled. Raises DependencyError."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        reason = "{@engine:openvino} needs the package openvino: {install} ({error})"
        raise DependencyError.about("openvino", reason, install=_INSTALL, error=error) from None
    return openvino


def formats() -> frozenset[str]:
    """Return the formats that OpenVINO supports here: "float32", "int8", and shorter floats that the CPU has units for.

    Raises DependencyError.
    """
    capabilities = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset({"float32", "int8"} | ({_NAMES[one] for one in capabilities if one in _NAMES} & cpu.units()))


def load_nncf() -> Any:
    """Import nncf and silence its log. Raises DependencyError."""
    load_openvino()
    try:
        import nncf
    except ImportError as error:
        raise DependencyError.about(
            "nncf", "{@dtype:int8} needs the package nncf: {install} ({error})", install=_INSTALL, error=error
        ) from None
    # Not `nncf.set_log_level`: it sets the level of every handler too, among them those that other programs share with it.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
