"""Small .tflite files, written without TensorFlow."""

from collections.abc import Sequence
from types import SimpleNamespace

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
    "int4": schema.TensorType.INT4,
    "int16": schema.TensorType.INT16,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}
# Options whose class is not called as the operator is.
_SHARED_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2D",
    "MAX_POOL_2D": "Pool2D",
    "MEAN": "Reducer",
    "SUM": "Reducer",
    "REDUCE_ANY": "Reducer",
    "MAXIMUM": "MaximumMinimum",
    "MINIMUM": "MaximumMinimum",
}
_OPTIONS = {
    name.removesuffix("OptionsT").lower(): getattr(schema, name)
    for name in vars(schema)
    if name.endswith("OptionsT")
}
_WORDS = {
    "padding": schema.Padding,
    "fused_activation_function": schema.ActivationFunctionType,
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
    custom_options: bytes = b"",
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


class Graph:
    """A graph that is built operator by operator; tensors are told by their index.

    Integers have the scale 1/255 and the zero point 0 unless told otherwise.
    """

    def __init__(self) -> None:
        """Begin an empty graph."""
        self.tensors: list[SimpleNamespace] = []
        self.operators: list[SimpleNamespace] = []
        self.inputs: list[int] = []

    def tensor(self, shape, dtype="uint8", *, scale=1 / 255, zero_point=0, **more):
        """Add a tensor; `scale` may be a list, of one scale for each channel."""
        if dtype in ("uint8", "int8", "int16", "int4") and scale is not None:
            scales = [scale] if isinstance(scale, int | float) else list(scale)
            more |= {"scales": scales, "zero_points": [zero_point] * len(scales)}
        self.tensors.append(tensor(shape, dtype, **more))
        return len(self.tensors) - 1

    def input(self, shape, dtype="uint8", *, name="image", **more) -> int:
        """Add an input of the graph."""
        self.inputs.append(self.tensor(shape, dtype, name=name, **more))
        return self.inputs[-1]

    def constant(self, values, dtype="int32", *, name, **more) -> int:
        """Add a tensor whose values are in the file."""
        values = np.asarray(values)
        data = values.astype("int8" if dtype == "int4" else dtype)
        if dtype == "int4":  # two values a byte, the first in the lower half
            low, high = (data.ravel()[start::2] & 15 for start in (0, 1))
            data = (low | high << 4).astype("uint8")
        return self.tensor(values.shape, dtype, data=data, name=name, **more)

    def add(
        self, code, inputs, shape, *, name=None, dtype="uint8", version=1, **more
    ) -> int:
        """Add an operator with one output, which is returned.

        Args:
            code: Name in the schema, such as "CONV_2D", or of a custom operator.
            inputs: Tensors; -1 for one that is left out.
            shape: Of the output.
            name: Of the output; the operator's name if None.
            dtype: Of the output.
            version: Of the operator.
            more: What `tensor` takes for the output; all else are the operator's
                options, such as stride_h=2 or padding="SAME".
        """
        known = ("scale", "zero_point", "signature")
        kept = {key: more.pop(key) for key in known if key in more}
        output = self.tensor(shape, dtype, name=name or code.lower(), **kept)
        number = getattr(schema.BuiltinOperator, code, code)
        made = operator(number, inputs, [output], _options(code, more), version=version)
        self.operators.append(made)
        return output

    def convolve(
        self,
        image,
        filters,
        *,
        kernel=3,
        stride=1,
        padding="SAME",
        code="CONV_2D",
        activation="RELU6",
        weight_scale=1 / 64,
        name="conv",
        **more,
    ) -> int:
        """Add a convolution; DEPTHWISE_CONV_2D has `filters` in all.

        Its types are those of the image; a list of scales makes int8 weights.
        """
        before = self.tensors[image]
        _, height, width, channels = before.shape
        if isinstance(kernel, int):
            kernel = (kernel, kernel)
        if isinstance(stride, int):
            stride = (stride, stride)
        depthwise = code == "DEPTHWISE_CONV_2D"
        shape = (1, *kernel, filters) if depthwise else (filters, *kernel, channels)
        per_channel = not isinstance(weight_scale, int | float)
        count = int(np.prod(shape))
        weights = self.constant(
            (np.arange(count) % 100).reshape(shape),
            "int8" if per_channel else before.dtype,
            scale=weight_scale,
            name=f"{name}/weights",
            axis=3 if per_channel and depthwise else 0,
        )
        scales = weight_scale if per_channel else [weight_scale]
        bias = self.tensor(
            (filters,),
            "int32",
            scales=[before.scales[0] * scale for scale in scales],
            data=np.zeros(filters, "int32"),
            name=f"{name}/bias",
        )
        sizes = [
            -(-size // step) if padding == "SAME" else (size - side) // step + 1
            for size, side, step in zip((height, width), kernel, stride, strict=True)
        ]
        more = {**_kind(before), "scale": 6 / 255, **more}
        more |= {"depth_multiplier": filters // channels} if depthwise else {}
        return self.add(
            code,
            [image, weights, bias],
            (1, *sizes, filters),
            name=name,
            padding=padding,
            stride_h=stride[0],
            stride_w=stride[1],
            dilation_h_factor=1,
            dilation_w_factor=1,
            fused_activation_function=activation,
            **more,
        )

    def dense(
        self, features, units, *, weight_scale=1 / 64, weight_dtype=None, **more
    ) -> int:
        """Add a FULLY_CONNECTED; its types are those of what it reads."""
        before = self.tensors[features]
        values = np.arange(units * before.shape[-1]) % 7
        weights = self.constant(
            values.reshape(units, -1),
            weight_dtype or before.dtype,
            scale=weight_scale,
            name="dense/weights",
        )
        shape = (1, units)
        more = {"name": "dense", **_kind(before), **more}
        return self.add("FULLY_CONNECTED", [features, weights], shape, **more)

    def postprocess(self, boxes, scores, *, most=10, name="post") -> list[int]:
        """Add a TFLite_Detection_PostProcess and return its four outputs.

        Args:
            boxes: Tensor [1, anchors, 4].
            scores: Tensor [1, anchors, classes + 1].
            most: How many detections it gives.
            name: Of the first output.
        """
        _, count, classes = self.tensors[scores].shape
        values = [[n, n, 9, 9] for n in range(count)]
        anchors = self.constant(values, "uint8", scale=0.1, name="anchors")
        code = "TFLite_Detection_PostProcess"
        inputs = [boxes, scores, anchors]
        self.add(code, inputs, (1, most, 4), dtype="float32", name=name)
        outputs = self.operators[-1].outputs
        for number, shape in enumerate([(1, most), (1, most), (1,)], 1):
            outputs.append(self.tensor(shape, "float32", name=f"{name}:{number}"))
        scales = {f"{axis}_scale": 10.0 for axis in "xywh"}
        self.operators[-1].custom_options = flexbuffers.Dumps(
            {
                "max_detections": most,
                "max_classes_per_detection": 1,
                "nms_score_threshold": 0.1,
                "nms_iou_threshold": 0.5,
                "num_classes": classes - 1,
                **scales,
            }
        )
        return outputs

    def file(self, *outputs, others=(), **more) -> bytes:
        """Write the graph with these outputs; `others` are more graphs of the file."""
        graphs = [g if isinstance(g, tuple) else g.parts() for g in others]
        return build(self.parts(*outputs), *graphs, **more)

    def parts(self, *outputs) -> tuple:
        """Return what `build` takes; the last tensor is the output if none is named."""
        ends = outputs or (len(self.tensors) - 1,)
        return self.tensors, self.operators, self.inputs, list(ends)


def _kind(described):
    """Return a tensor's type and its usual zero point."""
    low = -128 if described.dtype == "int8" else 0
    return {"dtype": described.dtype, "zero_point": low}


def _options(code, settings):
    """Return an operator's options, as the schema has them, or None."""
    name = _SHARED_OPTIONS.get(code, code.replace("_", "")).lower()
    if name not in _OPTIONS:
        assert not settings, f"{code} has no options: {settings}"
        return None
    made = _OPTIONS[name]()
    for key, value in settings.items():
        head, *tail = key.split("_")
        field = head + "".join(word.capitalize() for word in tail)
        assert hasattr(made, field), f"{code} has no option {key}"
        if isinstance(value, str):
            value = TYPES[value] if value in TYPES else getattr(_WORDS[key], value)
        setattr(made, field, value)
    return made


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
    same = [
        index
        for index, other in enumerate(model.operatorCodes)
        if vars(other) == vars(code)
    ]
    if not same:
        model.operatorCodes.append(code)
    made = schema.OperatorT()
    made.opcodeIndex = same[0] if same else len(model.operatorCodes) - 1
    made.inputs, made.outputs = list(described.inputs), list(described.outputs)
    if described.custom_options:
        made.customOptions = np.frombuffer(described.custom_options, np.uint8)
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
