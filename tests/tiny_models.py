"""Small .tflite files, written without TensorFlow."""

from collections.abc import Sequence
from types import SimpleNamespace

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
    "int4": schema.TensorType.INT4,
}


def tensor(
    shape: Sequence[int],
    dtype: str,
    *,
    scales: Sequence[float] = (),
    zero_points: Sequence[int] | None = None,
    axis: int = 0,
    data: np.ndarray | bytes | None = None,
    signature: Sequence[int] | None = None,
    name: str = "t",
) -> SimpleNamespace:
    """Describe a tensor; `data` makes it constant."""
    return SimpleNamespace(**locals())


def operator(
    code: int | str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: object | None = None,
    *,
    version: int = 3,
) -> SimpleNamespace:
    """Describe an operator: a builtin's number or a custom operator's name."""
    return SimpleNamespace(**locals())


def build(
    *subgraphs: tuple, description="tiny", metadata=None, signature=None
) -> bytes:
    """Write a file; a subgraph is (tensors, operators, inputs, outputs)."""
    model = schema.ModelT()
    model.version = 3
    model.description = description
    model.operatorCodes, model.subgraphs, model.signatureDefs = [], [], []
    model.buffers, model.metadata = [schema.BufferT()], []
    for tensors, operators, inputs, outputs in subgraphs:
        graph = schema.SubGraphT()
        graph.name = f"graph{len(model.subgraphs)}"
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        graph.tensors = [_tensor(model, t) for t in tensors]
        graph.operators = [_operator(model, o) for o in operators]
        model.subgraphs.append(graph)
    for name, content in (metadata or {}).items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, _buffer(model, content)
        model.metadata.append(entry)
    if signature:
        model.signatureDefs.append(_signature(signature))
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def conv(
    *, scales=(0.5, 0.25), dtype="int8", zero_point=0, batch=1, signature=None
) -> bytes:
    """Return a 1×1 convolution of [1, 4, 4, 3] to two channels; one scale or two."""
    quantized = dtype != "float32"
    channels = 2 if len(scales) != 1 else len(scales) * 2
    kernel = np.arange(1, 1 + channels * 3).reshape(channels, 1, 1, 3)
    bias = np.arange(channels)
    activation = {"scales": [0.5], "zero_points": [zero_point]} if quantized else {}
    shape = [batch, 4, 4, 3]
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    return build(
        (
            [
                tensor(shape, dtype, name="in", signature=signature, **activation),
                tensor(
                    kernel.shape,
                    dtype,
                    name="kernel",
                    scales=scales if quantized else (),
                    zero_points=[zero_point if dtype == "uint8" else 0] * len(scales),
                    data=kernel.astype(dtype),
                ),
                tensor(
                    [channels],
                    "int32" if quantized else dtype,
                    name="bias",
                    scales=[0.5 * s for s in scales] if quantized else (),
                    data=bias.astype("int32" if quantized else dtype),
                ),
                tensor(
                    [batch, 4, 4, channels],
                    dtype,
                    name="out",
                    signature=signature and [*signature[:-1], channels],
                    **activation,
                ),
            ],
            [operator(schema.BuiltinOperator.CONV_2D, [0, 1, 2], [3], options)],
            [0],
            [3],
        ),
        metadata={"min_runtime_version": b"1.14.0\0\0"},
        signature=("serve", {"image": 0}, {"scores": 3}),
    )


def custom(name: str) -> bytes:
    """Return a file with one custom operator."""
    ends = {"scales": [1 / 128], "zero_points": [128]}
    tensors = [tensor([1, 3, 8, 8], "uint8", **ends), tensor([1, 10], "uint8", **ends)]
    return build((tensors, [operator(name, [0], [1])], [0], [1]))


def two_outputs() -> bytes:
    """Return x -> (x + x, x · x) in float32, which runs."""
    shape = [1, 2]
    add, multiply = schema.AddOptionsT(), schema.MulOptionsT()
    add.fusedActivationFunction = multiply.fusedActivationFunction = 0
    return build(
        (
            [tensor(shape, "float32", name=name) for name in ("x", "sum", "product")],
            [
                operator(schema.BuiltinOperator.ADD, [0, 0], [1], add, version=1),
                operator(schema.BuiltinOperator.MUL, [0, 0], [2], multiply, version=1),
            ],
            [0],
            [2, 1],
        )
    )


def _buffer(model, content) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(bytes(content), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _tensor(model, described):
    made = schema.TensorT()
    made.name, made.shape = described.name, list(described.shape)
    made.type = TYPES[described.dtype]
    if described.signature:
        made.shapeSignature = list(described.signature)
    if len(described.scales):
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = list(described.scales)
        zeros = [0] * len(described.scales)
        made.quantization.zeroPoint = list(described.zero_points or zeros)
        made.quantization.quantizedDimension = described.axis
    if described.data is not None:
        data = described.data
        made.buffer = _buffer(
            model, data.tobytes() if hasattr(data, "tobytes") else data
        )
    return made


def _operator(model, described):
    code = schema.OperatorCodeT()
    code.version = described.version
    code.builtinCode = described.code
    if isinstance(described.code, str):
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = described.code
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    model.operatorCodes.append(code)
    made = schema.OperatorT()
    made.opcodeIndex = len(model.operatorCodes) - 1
    made.inputs, made.outputs = list(described.inputs), list(described.outputs)
    if described.options is not None:
        kind = type(described.options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        made.builtinOptions = described.options
    return made


def _signature(described):
    name, inputs, outputs = described
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = name, 0
    made.inputs, made.outputs = (
        [_tensor_map(entry, index) for entry, index in ends.items()]
        for ends in (inputs, outputs)
    )
    return made


def _tensor_map(name, index):
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made
