"""Decode the FlatBuffer of a .tflite file that may be damaged or hostile.

The generated classes of the schema believe every offset in the file, and Python's
flatbuffers package has no verifier. So the tables that we need are described here as
data, and one small reader decodes them. Every number that it follows goes through
`_number`, which checks where it lies; nothing else looks into the bytes. The schema's
depth bounds the recursion, and `_MOST` the work, because tables may share what they
point to. The tests compare the descriptions with the generated classes, slot by slot.

Source: "FlatBuffer internals", https://flatbuffers.dev/internals/, and
tensorflow/lite/schema/schema.fbs. Read on 2026-11-21.
"""

import struct
from types import SimpleNamespace

from course_lib.errors import UnusableInput
from course_lib.tflite import enums

# Each table's fields in the order of their slots; `-` is a slot that nobody here needs.
# `=` gives a default other than 0; `<-` names a union, whose type is the field before.
# Options of operators that are not listed are not decoded.
_SCHEMA = """
Model: version u32, operator_codes [OperatorCode], subgraphs [SubGraph], \
    description string, buffers [Buffer], -, metadata [Metadata], \
    signature_defs [SignatureDef]
OperatorCode: deprecated_builtin_code i8, custom_code string, version i32=1, \
    builtin_code i32
SubGraph: tensors [Tensor], inputs [i32], outputs [i32], operators [Operator], \
    name string
Tensor: shape [i32], type i8, buffer u32, name string, \
    quantization QuantizationParameters, is_variable bool, \
    sparsity SparsityParameters, shape_signature [i32]
QuantizationParameters: -, -, scale [f32], zero_point [i64], -, -, \
    quantized_dimension i32
SparsityParameters: traversal_order [i32]
Operator: opcode_index u32, inputs [i32], outputs [i32], builtin_options_type u8, \
    builtin_options <-OPTIONS
Buffer: data [u8], offset u64, size u64
Metadata: name string, buffer u32
SignatureDef: inputs [TensorMap], outputs [TensorMap], signature_key string, -, \
    subgraph_index u32
TensorMap: name string, tensor_index u32
ConversionMetadata: environment Environment
Environment: tensorflow_version string

Conv2DOptions: padding i8, stride_w i32, stride_h i32, fused_activation_function i8, \
    dilation_w_factor i32=1, dilation_h_factor i32=1
DepthwiseConv2DOptions: padding i8, stride_w i32, stride_h i32, depth_multiplier i32, \
    fused_activation_function i8, dilation_w_factor i32=1, dilation_h_factor i32=1
TransposeConvOptions: padding i8, stride_w i32, stride_h i32, \
    fused_activation_function i8
FullyConnectedOptions: fused_activation_function i8, weights_format i8, \
    keep_num_dims bool, asymmetric_quantize_inputs bool
Pool2DOptions: padding i8, stride_w i32, stride_h i32, filter_width i32, \
    filter_height i32, fused_activation_function i8
AddOptions: fused_activation_function i8, pot_scale_int16 bool=1
SubOptions: fused_activation_function i8, pot_scale_int16 bool=1
MulOptions: fused_activation_function i8
DivOptions: fused_activation_function i8
L2NormOptions: fused_activation_function i8
ConcatenationOptions: axis i32, fused_activation_function i8
SoftmaxOptions: beta f32
LeakyReluOptions: alpha f32
GeluOptions: approximate bool
ReshapeOptions: new_shape [i32]
SqueezeOptions: squeeze_dims [i32]
ReducerOptions: keep_dims bool
PackOptions: values_count i32, axis i32
UnpackOptions: num i32, axis i32
SplitOptions: num_splits i32
GatherOptions: axis i32, batch_dims i32
StridedSliceOptions: begin_mask i32, end_mask i32, ellipsis_mask i32, \
    new_axis_mask i32, shrink_axis_mask i32, offset bool
MirrorPadOptions: mode i8
ArgMaxOptions: output_type i8
CastOptions: in_data_type i8, out_data_type i8
ResizeBilinearOptions: -, -, align_corners bool, half_pixel_centers bool
ResizeNearestNeighborOptions: align_corners bool, half_pixel_centers bool
SpaceToDepthOptions: block_size i32
DepthToSpaceOptions: block_size i32
BatchMatMulOptions: adj_x bool, adj_y bool, asymmetric_quantize_inputs bool
UnidirectionalSequenceLSTMOptions: fused_activation_function i8, cell_clip f32, \
    proj_clip f32, time_major bool, asymmetric_quantize_inputs bool
"""
_NUMBERS = {
    name: struct.Struct(f"<{code}")
    for name, code in zip(
        ("bool", "i8", "u8", "u16", "i32", "u32", "i64", "u64", "f32"),
        "?bBHiIqQf",
        strict=True,
    )
}


def _absent(kind: str, default: str) -> object:
    """Return what a field is worth that is not in the file."""
    if kind in _NUMBERS:
        zero = _NUMBERS[kind].unpack(bytes(_NUMBERS[kind].size))[0]
        return type(zero)(int(default or 0))
    if kind.startswith("["):
        return memoryview(b"") if kind == "[u8]" else ()
    return "" if kind == "string" else None


def _fields(line: str) -> list[tuple[int, str, str, object]]:
    """Return slot, name, kind and default of each field in one line of `_SCHEMA`."""
    fields = []
    for slot, text in enumerate(line.split(",")):
        if text.strip() != "-":
            name, kind = text.split()
            kind, _, default = kind.partition("=")
            fields.append((slot, name, kind, _absent(kind, default)))
    return fields


TABLES = {
    line.split(":")[0]: _fields(line.split(":")[1])
    for line in _SCHEMA.splitlines()
    if line
}

# Numbers and characters to decode at most; a visit to a table counts as `_TABLE`. A
# MobileNet has 160 000. Weights do not count: they are sliced, not decoded.
_MOST = 4_000_000
_TABLE = 50


def decode(data: bytes | memoryview, root: str = "Model") -> SimpleNamespace:
    """Decode the root table of a buffer and everything that it points to.

    Vectors become tuples, but [u8] vectors slices of the data without a copy. Tables
    become namespaces; an absent table, or a union with one that is not listed, None.

    Args:
        data: The whole file; what follows the FlatBuffer in it does no harm.
        root: Name of the root table.

    Raises:
        UnusableInput: When anything points outside the data, or the work exceeds what
            an honest file needs.
    """
    reader = _Reader(memoryview(data))
    return reader.value(root, 0)


class _Reader:
    """One pass over one buffer."""

    def __init__(self, data: memoryview):
        self.data = data
        self.left = _MOST

    def _spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise UnusableInput(
                "damaged .tflite file: reading it takes more work than any sound file "
                "needs; copy or download it again"
            )

    def _number(self, kind: str, at: int) -> int | float:
        form = _NUMBERS[kind]
        if not 0 <= at <= len(self.data) - form.size:
            raise UnusableInput(
                f"damaged .tflite file: it points to byte {at} of {len(self.data)}; "
                "copy or download it again"
            )
        return form.unpack_from(self.data, at)[0]

    def value(self, kind: str, at: int) -> object:
        """Decode what stands, or is pointed to, at a position."""
        if kind in _NUMBERS:
            return self._number(kind, at)
        target = at + self._number("u32", at)
        if kind == "string":
            return str(self._bytes(target, cost=1), "utf-8", "replace")
        if kind == "[u8]":
            return self._bytes(target, cost=0)
        if kind.startswith("["):
            return self._vector(kind[1:-1], target)
        return self._table(kind, target)

    def _bytes(self, at: int, cost: int) -> memoryview:
        count = self._number("u32", at)
        self._spend(cost * count)
        if count:
            self._number("u8", at + 3 + count)  # the last one is inside
        return self.data[at + 4 : at + 4 + count]

    def _vector(self, kind: str, at: int) -> tuple:
        count = self._number("u32", at)
        self._spend(count)
        if kind in TABLES:
            return tuple(self.value(kind, at + 4 + 4 * n) for n in range(count))
        form = _NUMBERS[kind]
        if count:
            self._number(kind, at + 4 + form.size * (count - 1))  # the last one
        return struct.unpack_from(f"<{count}{form.format[1:]}", self.data, at + 4)

    def _table(self, name: str, at: int) -> SimpleNamespace:
        self._spend(_TABLE)
        vtable = at - self._number("i32", at)
        slots = self._number("u16", vtable) // 2 - 2
        record = SimpleNamespace()
        value = None
        for slot, field, kind, absent in TABLES[name]:
            offset = self._number("u16", vtable + 4 + 2 * slot) if slot < slots else 0
            if kind.startswith("<-"):  # the field before it tells the table
                kind = getattr(enums, kind[2:]).get(value)
            value = self.value(kind, at + offset) if offset and kind else absent
            setattr(record, field, value)
        return record
