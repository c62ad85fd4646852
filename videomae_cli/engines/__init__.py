"""How a model is run: the same weights through PyTorch or OpenVINO, in the number format that was asked for.

    parts       what of a model is run (`Logits`, `Features`)
    networks    running it with PyTorch (`TorchNetwork`), or whatever the engine is (`make_network`)
    packages    OpenVINO and NNCF themselves
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

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
