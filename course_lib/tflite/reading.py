"""Read a .tflite file: its input contract, its quantization, its operators.

Nothing is run, and a damaged or hostile file raises `UnusableInput`. Sources of the
rules: tensorflow/lite/schema/schema.fbs; "LiteRT 8-bit quantization specification",
https://ai.google.dev/edge/litert/models/quantization_spec. Read on 2026-11-21.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from course_lib.errors import UnusableInput
from course_lib.tflite import enums
from course_lib.tflite.flatbuffer import decode

if TYPE_CHECKING:  # takes longer to import than most files to read
    import numpy as np

EDGE_TPU = "edgetpu-custom-op"
# The operators whose second input holds weights, and the axis of its output channels.
CHANNEL_AXIS = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 0,
    "FULLY_CONNECTED": 0,
}


_TYPES = {number: name.lower() for number, name in enums.TENSOR_TYPE.items()}
# NumPy's own types. TensorFlow teaches NumPy more names, such as int4, whose arrays
# take more bytes than the file has.
_ARRAYS = {
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}
_ENDS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1)}
_OPTIONS = {
    "padding": enums.PADDING,
    "fused_activation_function": enums.ACTIVATION,
    "mode": enums.MIRROR_PAD_MODE,
    "in_data_type": _TYPES,
    "out_data_type": _TYPES,
    "output_type": _TYPES,
}
# What a file looks like that is not a .tflite file, by its first bytes.
_OTHERS = {
    b"PK": "a ZIP archive, as .keras files are: convert the model first",
    b"\x89HDF": "an HDF5 file, as .h5 models are: convert the model first",
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull`",
    b"<": "a web page: download the file itself",
    # The number of the format, the first field of most .onnx files.
    b"\x08": "perhaps an .onnx file: `dlpu card` and `dlpu lint` read one",
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a .tflite file.

    Attributes:
        index: Its place in the subgraph's list of tensors.
        name: Its name in the file.
        shape: Sizes as stored; a dynamic size stands here as 1.
        shape_signature: The same with −1 where a size is dynamic.
        dtype: "int8", "uint8", "float32", "int4", …: the schema's name in lower case.
        scales: Real size of one integer step: one, or one for each channel, or none.
        zero_points: The integers that stand for real 0, as many as scales.
        quantized_dimension: The axis of the channels, if there are several scales.
        is_variable: Whether it keeps its values from one run to the next.
        is_sparse: Whether its constant data is stored sparsely.

    Introduced in notebook 03.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_dimension: int = 0
    is_variable: bool = False
    is_sparse: bool = False
    data: memoryview = field(default=memoryview(b""), repr=False, compare=False)

    @property
    def granularity(self) -> str | None:
        """Return "per-tensor" (one scale), "per-channel" (several), None (no scale)."""
        if not self.scales:
            return None
        return "per-tensor" if len(self.scales) == 1 else "per-channel"

    @property
    def scale(self) -> float:
        """Return the scale of a per-tensor tensor; any other raises UnusableInput."""
        return self._one(self.scales)

    @property
    def zero_point(self) -> int:
        """Return the zero point of a per-tensor tensor; others raise UnusableInput."""
        return self._one(self.zero_points)

    @property
    def nbytes(self) -> int:
        """Return the size of the data in bytes; 0 for types of no fixed size."""
        digits = re.search(r"\d+", "8" if self.dtype == "bool" else self.dtype)
        bits = int(digits[0]) if digits else 0
        return (math.prod(map(abs, self.shape)) * bits + 7) // 8

    @property
    def is_constant(self) -> bool:
        """Return whether its values are in the file."""
        return len(self.data) > 0

    @property
    def is_dynamic(self) -> bool:
        """Return whether a size is known only when the file runs."""
        return -1 in self.shape_signature

    @property
    def is_float(self) -> bool:
        """Return whether its values are real numbers that are not quantized."""
        return "float" in self.dtype or "complex" in self.dtype

    @property
    def layout(self) -> str | None:
        """Guess how an image lies in it, from which axis could be colours."""
        if len(self.shape) == 4:
            if self.shape[3] in (1, 3, 4):
                return "interleaved (NHWC)"
            if self.shape[1] in (1, 3, 4):
                return "planar (NCHW)"
        return None

    @property
    def real_range(self) -> tuple[float, float] | None:
        """Return what the smallest and largest integer stand for; None without scale.

        Example:
            >>> pixels = Tensor(0, "x", (1,), (1,), "uint8", (1 / 128,), (127,))
            >>> pixels.real_range
            (-0.9921875, 1.0)
        """
        if len(self.scales) != 1 or self.dtype not in _ENDS:
            return None
        low, high = (end - self.zero_point for end in _ENDS[self.dtype])
        return self.scale * low, self.scale * high

    def values(self) -> "np.ndarray":
        """Return the constant data, read-only, in the tensor's shape and dtype.

        Raises:
            UnusableInput: When there is none, or its form has no NumPy type.

        Introduced in notebook 03.
        """
        import numpy as np

        if not self.is_constant:
            raise UnusableInput(f"{self.name}: its values are not in the file")
        if self.is_sparse:
            raise UnusableInput(f"{self.name}: sparse data is not supported here")
        if self.dtype not in _ARRAYS:
            raise UnusableInput(f"{self.name}: NumPy has no type for {self.dtype} data")
        little_endian = np.dtype(self.dtype).newbyteorder("<")
        if len(self.data) != self.nbytes:
            raise UnusableInput(
                f"{self.name}: has {len(self.data)} bytes of data where its shape "
                f"{self.shape} needs {self.nbytes}: the file is damaged"
            )
        return np.frombuffer(self.data, little_endian).reshape(self.shape)

    def integers(self) -> list[int]:
        """Return constant whole numbers, such as axes, sizes or paddings, in a row.

        Raises:
            UnusableInput: As `values`, and when they are of another type.

        Introduced in notebook 11.
        """
        values = self.values()
        if values.dtype.kind not in "iu":
            raise UnusableInput(
                f"{self.name}: {self.dtype} data where whole numbers are expected: the "
                "file is damaged"
            )
        return values.ravel().tolist()

    def _one(self, values: tuple) -> Any:
        if len(values) != 1:
            raise UnusableInput(
                f"{self.name}: has {len(values)} scales: expected one; see `scales`"
            )
        return values[0]


@dataclass(frozen=True)
class Operator:
    """One operator of a subgraph.

    Attributes:
        index: Its place in the order of execution.
        name: Name in the schema ("CONV_2D"), or the custom operator's own name.
        version: Version of the operator that the file needs.
        inputs: Indexes of tensors; −1 stands for an optional input left out.
        outputs: Indexes of tensors.
        is_custom: Whether it needs code that does not come with LiteRT.
        options: Stride, padding, activation and so on; empty for rare operators.

    Introduced in notebook 03.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    is_custom: bool = False
    options: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Subgraph:
    """One graph: its tensors, and its operators in the order of execution."""

    name: str
    tensors: tuple[Tensor, ...] = field(repr=False)
    operators: tuple[Operator, ...] = field(repr=False)
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @cached_property
    def producers(self) -> dict[int, Operator]:
        """Return, for the index of a tensor, the operator that writes it."""
        return {i: operator for operator in self.operators for i in operator.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Operator]]:
        """Return, for the index of a tensor, the operators that read it, in order."""
        readers: dict[int, list[Operator]] = {}
        for operator in self.operators:
            for index in dict.fromkeys(operator.inputs):
                readers.setdefault(index, []).append(operator)
        return readers

    def inputs_of(self, operator: Operator) -> list[Tensor]:
        """Return the inputs of an operator, without those left out."""
        return [self.tensors[index] for index in operator.inputs if index >= 0]

    def outputs_of(self, operator: Operator) -> list[Tensor]:
        """Return the outputs of an operator, without those left out."""
        return [self.tensors[index] for index in operator.outputs if index >= 0]

    def tensors_of(self, operator: Operator) -> list[Tensor]:
        """Return the inputs and outputs of an operator, without those left out."""
        return self.inputs_of(operator) + self.outputs_of(operator)

    def weights(self) -> list[tuple[Operator, Tensor]]:
        """Return the operators that have constant weights; see `weights` below."""
        return [
            (operator, self.tensors[operator.inputs[1]])
            for operator in self.operators
            if operator.name in CHANNEL_AXIS
            and len(operator.inputs) > 1
            and operator.inputs[1] >= 0
            and self.tensors[operator.inputs[1]].is_constant
        ]


@dataclass(frozen=True)
class Signature:
    """Names by which a program may call a subgraph's inputs and outputs."""

    name: str
    subgraph: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(frozen=True)
class Model(Subgraph):
    """A .tflite file: its main subgraph, and what belongs to the whole file.

    Attributes:
        size: Bytes of the file.
        description: What the converter left there.
        subgraphs: All graphs, the main one first; others are bodies of loops etc.
        metadata: Named blocks of bytes.
        signatures: Names for programs to call it by; empty in many files.
        format: "tflite", or "onnx" for such a file seen as this class.
        opset: Version of the ONNX operators; None in a .tflite file.

    Introduced in notebook 03.
    """

    size: int
    description: str
    subgraphs: tuple[Subgraph, ...] = field(repr=False)
    metadata: dict[str, memoryview] = field(repr=False)
    signatures: tuple[Signature, ...] = field(repr=False)
    format: str = "tflite"
    opset: int | None = None

    @property
    def custom_operators(self) -> list[str]:
        """Return the names of operators that do not come with LiteRT."""
        return sorted(
            {o.name for g in self.subgraphs for o in g.operators if o.is_custom}
        )

    @property
    def is_edge_tpu_compiled(self) -> bool:
        """Return whether the Edge TPU compiler has been over it."""
        return EDGE_TPU in self.custom_operators

    @property
    def float_operators(self) -> Counter[str]:
        """Count the operators that read or write a float tensor."""
        return Counter(
            operator.name
            for graph in self.subgraphs
            for operator in graph.operators
            if any(tensor.is_float for tensor in graph.tensors_of(operator))
        )

    @property
    def is_full_integer(self) -> bool:
        """Return whether no float tensor takes part in any operator.

        QUANTIZE and DEQUANTIZE at a float input or output take part too. What is inside
        a custom operator cannot be seen.
        """
        return bool(self.operators) and not self.float_operators

    @property
    def quantization(self) -> str:
        """Return which kind of quantized file it is.

        "full-integer"; "integer with float fallback" when some operators are left in
        float; "dynamic-range" when the weights alone are integers; "float".
        """
        if self.is_full_integer:
            return "full-integer"
        quantized = [
            tensor
            for graph in self.subgraphs
            for operator in graph.operators
            for tensor in graph.tensors_of(operator)
            if tensor.scales
        ]
        if not quantized:
            return "float"
        constant = all(tensor.is_constant for tensor in quantized)
        return "dynamic-range" if constant else "integer with float fallback"

    @property
    def weight_counts(self) -> dict[str, Counter[str]]:
        """Count, for each operator that has weights, how these are quantized.

        Words: "per-tensor", "per-channel"; "one channel" for a tensor with one output
        channel and one scale, which is both; and the dtype for weights without scale.
        """
        counts: dict[str, Counter[str]] = {}
        for operator, tensor in weights(self):
            word = tensor.granularity or tensor.dtype
            if word == "per-tensor" and _channels(operator, tensor) == 1:
                word = "one channel"
            counts.setdefault(operator.name, Counter())[word] += 1
        return counts

    @property
    def granularity(self) -> str | None:
        """Return "per-tensor", "per-channel", "mixed", or None: no quantized weights.

        The convolutions decide. FULLY_CONNECTED with one scale beside them is usual in
        per-channel files, so it counts only when it has several, or stands alone.
        Weights with one output channel fit both and decide only when there are no
        others; then the file is per-tensor.
        """
        counts = self.weight_counts
        dense = counts.pop("FULLY_CONNECTED", Counter())
        words = set().union(*counts.values()) & {"per-tensor", "per-channel"}
        if not words or "per-channel" in dense:
            words |= set(dense) & {"per-tensor", "per-channel"}
        if words:
            return words.pop() if len(words) == 1 else "mixed"
        only_ones = any("one channel" in c for c in (*counts.values(), dense))
        return "per-tensor" if only_ones else None

    @property
    def min_runtime_version(self) -> str | None:
        """Return the oldest TensorFlow Lite that can run it, as the converter says."""
        text = bytes(self.metadata.get("min_runtime_version", b""))
        return text.rstrip(b"\0").decode("utf-8", "replace") or None

    @property
    def converter_version(self) -> str | None:
        """Return the TensorFlow version that converted it, if that is in the file."""
        try:
            block = decode(self.metadata["CONVERSION_METADATA"], "ConversionMetadata")
            return block.environment.tensorflow_version or None
        except (KeyError, AttributeError, UnusableInput):
            return None


def read(path: Path | str) -> Model:
    """Read a .tflite file.

    Raises:
        UnusableInput: When there is no such file, or it is not a sound .tflite file.

    Introduced in notebook 04.
    """
    path = Path(path)
    try:
        return parse(path.read_bytes())
    except UnusableInput as error:
        problem = error
    except FileNotFoundError:
        problem = "no such file: check the path"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        problem = f"could not be read ({reason}): check the path and its permissions"
        if path.is_dir():
            problem = (
                "is a folder: name a .tflite file (a SavedModel must be converted)"
            )
    raise UnusableInput(f"{path}: {problem}")


def parse(data: bytes) -> Model:
    """Read the bytes of a .tflite file.

    Raises:
        UnusableInput: When they are not a sound .tflite file.

    Introduced in notebook 03.
    """
    if len(data) == 0:
        raise UnusableInput("is empty: copy or download the file again")
    if bytes(data[4:8]) != b"TFL3":
        looks = (hint for start, hint in _OTHERS.items() if data.startswith(start))
        hint = next(looks, "something else (no TFL3 at byte 4): check the path")
        raise UnusableInput(f"not a .tflite file but {hint}")
    file = decode(data)
    if not file.subgraphs:
        raise _damaged("has no subgraph")
    codes = [_code(code) for code in file.operator_codes]
    buffers = [_buffer(buffer, data) for buffer in file.buffers]
    subgraphs = tuple(_subgraph(graph, codes, buffers) for graph in file.subgraphs)
    return Model(
        **vars(subgraphs[0]),
        size=len(data),
        description=file.description,
        subgraphs=subgraphs,
        metadata={
            entry.name: _pick(buffers, entry.buffer, "metadata", "buffer")
            for entry in file.metadata
        },
        signatures=tuple(_signature(s, subgraphs) for s in file.signature_defs),
    )


def weights(model: Model) -> list[tuple[Operator, Tensor]]:
    """Return the operators that have constant weights, each with its weight tensor.

    These are CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED, in the
    order of execution, over all subgraphs.

    Introduced in notebook 03.
    """
    return [entry for graph in model.subgraphs for entry in graph.weights()]


def _channels(operator: Operator, tensor: Tensor) -> int | None:
    axis = CHANNEL_AXIS[operator.name]
    return tensor.shape[axis] if axis < len(tensor.shape) else None


def _damaged(what: str) -> UnusableInput:
    return UnusableInput(f"damaged .tflite file: {what}; copy or download it again")


def _pick(items: Any, index: int, user: str, what: str) -> Any:
    """Return an element; a negative index is as wrong as one past the end."""
    if not 0 <= index < len(items):
        raise _damaged(f"{user} refers to {what} {index} of {len(items)}")
    return items[index]


def _code(code: SimpleNamespace) -> tuple[str, int, bool]:
    """Return name, version and whether it is custom.

    Old files have the number in an int8 field, new ones in both or in the new one: the
    larger is right (schema_utils.cc).
    """
    number = max(code.deprecated_builtin_code, code.builtin_code)
    if number == enums.CUSTOM:
        return code.custom_code or "CUSTOM", code.version, True
    return enums.OPERATOR.get(number, f"BUILTIN_{number}"), code.version, False


def _buffer(buffer: SimpleNamespace, data: bytes) -> memoryview:
    """Return a buffer's bytes; in files over 2 GB they lie behind the FlatBuffer."""
    if buffer.offset <= 1:
        return buffer.data
    end = buffer.offset + buffer.size
    if end > len(data):
        raise _damaged(f"a buffer ends at byte {end} of {len(data)}")
    return memoryview(data)[buffer.offset : end]


def _subgraph(graph: SimpleNamespace, codes: list, buffers: list) -> Subgraph:
    tensors = tuple(_tensor(n, t, buffers) for n, t in enumerate(graph.tensors))

    def pick(indexes: Iterable[int], user: str) -> tuple[Tensor, ...]:
        return tuple(_pick(tensors, index, user, "tensor") for index in indexes)

    operators = []
    for index, operator in enumerate(graph.operators):
        user = f"operator {index}"
        name, version, is_custom = _pick(codes, operator.opcode_index, user, "code")
        pick((i for i in (*operator.inputs, *operator.outputs) if i != -1), user)
        options = vars(operator.builtin_options) if operator.builtin_options else {}
        operators.append(
            Operator(
                index=index,
                name=name,
                version=version,
                inputs=operator.inputs,
                outputs=operator.outputs,
                is_custom=is_custom,
                options={
                    key: _OPTIONS.get(key, {}).get(value, value)
                    for key, value in options.items()
                },
            )
        )
    return Subgraph(
        name=graph.name,
        tensors=tensors,
        operators=tuple(operators),
        inputs=pick(graph.inputs, "the input list"),
        outputs=pick(graph.outputs, "the output list"),
    )


def _tensor(index: int, tensor: SimpleNamespace, buffers: list) -> Tensor:
    user = f"tensor {index}"
    if len(tensor.shape) > 32 or min((*tensor.shape, *tensor.shape_signature, 0)) < -1:
        raise _damaged(f"{user} has an impossible shape")
    scales, zero_points, axis = (), (), 0
    if tensor.quantization and tensor.quantization.scale:
        scales = tensor.quantization.scale
        zero_points = tensor.quantization.zero_point
        axis = tensor.quantization.quantized_dimension
        # The conditions under which LiteRT accepts them (interpreter_builder.cc).
        channels = tensor.shape[axis : axis + 1] if axis >= 0 else ()
        if (
            not all(math.isfinite(scale) for scale in scales)
            or len(zero_points) != len(scales)
            or (tensor.shape and not channels)
            or (channels and len(scales) not in (1, channels[0]))
        ):
            raise _damaged(f"{user} has scales that do not fit its shape")
    return Tensor(
        index=index,
        name=tensor.name,
        shape=tensor.shape,
        shape_signature=tensor.shape_signature or tensor.shape,
        dtype=_TYPES.get(tensor.type, "unknown"),
        scales=scales,
        zero_points=zero_points,
        quantized_dimension=axis,
        is_variable=tensor.is_variable,
        is_sparse=tensor.sparsity is not None,
        data=_pick(buffers, tensor.buffer, user, "buffer"),
    )


def _signature(signature: SimpleNamespace, subgraphs: tuple) -> Signature:
    user = f"signature {signature.signature_key!r}"
    graph = _pick(subgraphs, signature.subgraph_index, user, "subgraph")
    inputs, outputs = (
        {
            entry.name: _pick(graph.tensors, entry.tensor_index, user, "tensor")
            for entry in entries
        }
        for entries in (signature.inputs, signature.outputs)
    )
    return Signature(signature.signature_key, signature.subgraph_index, inputs, outputs)
