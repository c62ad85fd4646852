"""Imports OpenVINO, NNCF and ONNX Runtime on demand, and asks OpenVINO which formats it supports on this machine."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from videomae_cli.engines import cpu
from videomae_cli.errors import DependencyError

# OpenVINO's names for formats; int8 is missing since OpenVINO supports it on every CPU.
_NAMES = {"BF16": "bfloat16", "FP16": "float16"}
_CONVERTER = "openvino.tools.ovc"
_INSTALL = "pip install 'videomae-cli[openvino]'"


def load_openvino() -> Any:
    """Import openvino with its telemetry disabled, and without its converter until that is used, which takes a third of the time.

    Raises DependencyError.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    late = _CONVERTER not in sys.modules
    if late:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        reason = "{@engine:openvino} needs the package openvino: {install} ({error})"
        raise DependencyError.about("openvino", reason, install=_INSTALL, error=error) from None
    finally:
        if late:
            del sys.modules[_CONVERTER]
    vars(openvino).setdefault("__getattr__", _converter)
    return openvino


def _converter(name: str) -> Any:
    """Return what `openvino.NAME` would be if its converter had been imported, too."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    return import_module(_CONVERTER).convert_model


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


def load_onnxruntime() -> Any:
    """Import onnxruntime, which runs ONNX files. Raises DependencyError."""
    try:
        import onnxruntime
    except ImportError as error:
        reason = "{@engine:onnx} needs the package onnxruntime: pip install 'videomae-cli[onnx]' ({error})"
        raise DependencyError.about("onnxruntime", reason, error=error) from None
    return onnxruntime


def load_onnx_exporter() -> None:
    """Import what torch.onnx and quantisation write ONNX files with. Raises DependencyError."""
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        reason = "ONNX needs the packages onnx, onnxruntime and onnxscript: pip install 'videomae-cli[onnx]' ({error})"
        raise DependencyError.about("onnx", reason, error=error) from None


def load_runtime(engine: str) -> str:
    """Import the package that an engine runs with, and return its version; PyTorch takes a second and isn't, if it is installed
    as a package. Raises DependencyError."""
    if engine == "torch":
        try:
            return version("torch")
        except PackageNotFoundError:
            return str(import_module("torch").__version__)
    return str((load_onnxruntime if engine == "onnx" else load_openvino)().__version__)
