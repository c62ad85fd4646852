"""Runs a model's weights with PyTorch, OpenVINO or ONNX Runtime, in the requested number format.

    parts       the part of a model that is run (`Logits`, `Features`); kinds  what cached models of them are called
    networks    runs a part with PyTorch (`TorchNetwork`) or any engine (`make_network`)
    packages    imports OpenVINO, NNCF and ONNX Runtime on demand
    cpu         the number formats that this machine's CPU computes in fast
    precision   chooses engine and number format: names, what "auto" means, what this machine lacks
    openvino    runs a part with OpenVINO, converted once and cached on disk (`OpenVINONetwork`)
    onnx        runs a part with ONNX Runtime, converted once and cached, or an exported file (`ONNXNetwork`)
    onnx_reading  what an exported ONNX file says of itself, read before ONNX Runtime reads it
    int8        quantises weights and activations to eight bits with NNCF, calibrated on clips
    store       the disk cache of converted models
    known_weights  the configuration and digest of checkpoints that were read before, as long as their files are the same
    watching    reports each batch that goes through a network
    exports/    writes a part as a file for other programs, and runs it with their runtimes
    timings     the fastest engine and format that were measured on this machine
    choosing    the fastest of them that is near float32, for whoever names no engine

`make_network` is the entry point. PyTorch in float32 is the reference; `benchmarks/agreement.py` measures how much the
others deviate from it.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
