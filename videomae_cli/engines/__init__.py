"""How a model is run: the same weights through PyTorch or OpenVINO, in the number format that was asked for.

    networks    what of a model is run (`Logits`, `Features`), and running it with PyTorch (`TorchNetwork`)
    cpu         what this machine's CPU computes in quickly: the one place that asks
    precision   which number format: names, what "auto" means, what doesn't go together, what this machine lacks
    openvino    the same through OpenVINO, converted once and kept on disk (`OpenVINONetwork`)
    int8        eight-bit weights and activations by NNCF, calibrated on clips
    store       where converted models are kept
    timings     which of them `videomae bench` found to be the fastest on this machine

`make_network` is the one door. float32 through PyTorch is the reference; `benchmarks/agreement.py` measures how far the
others are from it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videomae_cli.engines.int8 import calibration_clips
    from videomae_cli.engines.networks import Features, Logits, Network, TorchNetwork, WatchedNetwork, make_network
    from videomae_cli.engines.precision import Engine, check_engine, engine_of, pick_engine

__all__ = [
    "Engine",
    "Features",
    "Logits",
    "Network",
    "TorchNetwork",
    "WatchedNetwork",
    "calibration_clips",
    "check_engine",
    "engine_of",
    "make_network",
    "pick_engine",
]

_HOME = {
    "Engine": "precision",
    "Features": "networks",
    "Logits": "networks",
    "Network": "networks",
    "TorchNetwork": "networks",
    "WatchedNetwork": "networks",
    "calibration_clips": "int8",
    "check_engine": "precision",
    "engine_of": "precision",
    "make_network": "networks",
    "pick_engine": "precision",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
