"""Finds what TensorRT is known not to read in an ONNX graph. TensorRT itself isn't asked: it needs an NVIDIA GPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

# Of those that TensorRT's ONNX parser lists as supported, the ones that a VideoMAE and its preprocessing can consist of.
_READ = frozenset(
    [
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "DequantizeLinear",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Gather",
        "Gelu",
        "Gemm",
        "Identity",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pow",
        "QuantizeLinear",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)


def unread_by_tensorrt(model: Any) -> list[str]:
    """List what TensorRT won't read in an ONNX model: operators, types of numbers, bytes that are not converted at once.

    Branches and loops are operators that are not in the list, so their bodies aren't looked at; nor are local functions.
    """
    from onnx import TensorProto

    graph = model.graph
    found = Counter(
        node.op_type for node in graph.node if node.op_type not in _READ or node.domain not in ("", "ai.onnx")
    )
    problems = [f"the operator {name}" for name in sorted(found)]
    wide = {TensorProto.DOUBLE: "float64", TensorProto.COMPLEX64: "complex", TensorProto.COMPLEX128: "complex"}
    types = [one.data_type for one in graph.initializer]
    types += [one.type.tensor_type.elem_type for one in (*graph.value_info, *graph.input, *graph.output)]
    for node in graph.node:
        types += [one.t.data_type for one in node.attribute if one.HasField("t")]  # constants
        types += [one.i for one in node.attribute if one.name == "to" and node.op_type == "Cast"]
    problems += sorted({f"{wide[one]} numbers" for one in types if one in wide})
    for given in graph.input:
        if given.type.tensor_type.elem_type == TensorProto.UINT8:
            uses = {node.op_type for node in graph.node if given.name in node.input}
            problems += [f"bytes going into {name}" for name in sorted(uses - {"Cast"})]
        sizes = given.type.tensor_type.shape.dim
        if any(not one.HasField("dim_value") for one in sizes[1:]):
            problems.append(f"sizes of {given.name} that are open, besides the batch")
    return problems
