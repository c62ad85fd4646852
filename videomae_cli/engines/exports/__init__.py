"""Writes models in formats that run without this package, and runs what was written to compare it with the original.

    graphs          what is exported: a classifier or an encoder, with the preprocessing of pixels in it on request
    onnx_files      ONNX, run by ONNX Runtime
    openvino_files  OpenVINO's intermediate representation, run by OpenVINO
    torch_files     PyTorch's `torch.export` format
    operators       what TensorRT is known not to read in an ONNX file

Each format's module has the same three functions: `prepare` imports what it needs, `write` writes, `runner` runs.
"""
