"""Reading .tflite files: what they say, and what a damaged one may not do."""

import contextlib
import inspect
import itertools
import os
import random
import struct
import time
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.tflite import flatbuffer, reading

import flatbuffers
import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

REAL = sorted(Path(os.environ.get("COURSE_REAL_MODELS", "absent")).glob("*.tflite"))
needs_real_models = pytest.mark.skipif(
    not REAL, reason="COURSE_REAL_MODELS names no folder with .tflite files"
)
CONV = schema.BuiltinOperator.CONV_2D
KINDS = {
    "bool": "Bool",
    "i8": "Int8",
    "u8": "Uint8",
    "i32": "Int32",
    "u32": "Uint32",
    "i64": "Int64",
    "u64": "Uint64",
    "f32": "Float32",
}


def tiny(name: str) -> bytes:
    return {
        "per-channel": lambda: tiny_models.conv(),
        "per-tensor": lambda: tiny_models.conv(scales=(0.5,)),
        "uint8": lambda: tiny_models.conv(scales=(0.5,), dtype="uint8", zero_point=3),
        "float": lambda: tiny_models.conv(dtype="float32"),
        "dynamic": lambda: tiny_models.conv(signature=[-1, 4, 4, 3]),
        "custom": lambda: tiny_models.custom("PosenetDecoderOp"),
        "edge-tpu": lambda: tiny_models.custom("edgetpu-custom-op"),
    }[name]()


# The description of the schema


@pytest.mark.parametrize(
    ("table", "field"),
    [
        (table, field)
        for table, fields in flatbuffer.TABLES.items()
        for field in fields
        if hasattr(schema, table)
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_schema_agrees_with_the_generated_classes(table, field):
    slot, name, kind, absent = field
    method = getattr(
        getattr(schema, table), "".join(p.capitalize() for p in name.split("_"))
    )
    source = inspect.getsource(method)
    assert f"_tab.Offset({4 + 2 * slot})" in source
    element = kind.strip("[]")
    if element in KINDS:
        assert f"number_types.{KINDS[element]}Flags" in source
    elif element == "string":
        assert "_tab.String(" in source
    elif not element.startswith("<-"):
        assert f"obj = {element}()" in source
    assert ("_tab.Vector(o)" in source) == kind.startswith("[")
    if kind in KINDS:
        assert f"return {absent}" in source or f"return {absent}.0" in source


def test_every_table_that_is_pointed_to_is_described():
    for fields in flatbuffer.TABLES.values():
        for _, _, kind, _ in fields:
            element = kind.strip("[]")
            assert element in {*KINDS, *flatbuffer.TABLES, "string"} or kind[0] == "<"


# What a sound file says


@pytest.mark.parametrize(
    ("name", "quantization", "granularity"),
    [
        ("per-channel", "full-integer", "per-channel"),
        ("per-tensor", "full-integer", "per-tensor"),
        ("uint8", "full-integer", "per-tensor"),
        ("float", "float", None),
        ("dynamic", "full-integer", "per-channel"),
        ("edge-tpu", "full-integer", None),
    ],
)
def test_quantization(name, quantization, granularity):
    model = reading.parse(tiny(name))
    assert model.quantization == quantization
    assert model.is_full_integer == (quantization == "full-integer")
    assert model.granularity == granularity


def test_what_a_convolution_says():
    content = tiny_models.conv(scales=(0.5, 0.25))
    model = reading.parse(content)
    (entry,), (out,) = model.inputs, model.outputs
    (operator,) = model.operators
    kernel = model.tensors[operator.inputs[1]]
    assert model.size == len(content)
    assert (model.name, model.description) == ("graph0", "tiny")
    assert (entry.name, entry.shape, entry.dtype) == ("in", (1, 4, 4, 3), "int8")
    assert (entry.nbytes, entry.scale, entry.zero_point) == (48, 0.5, 0)
    assert entry.real_range == (-64.0, 63.5)
    assert entry.layout == "interleaved (NHWC)"
    assert (operator.name, operator.version) == ("CONV_2D", 3)
    assert operator.options["fused_activation_function"] == "RELU6"
    assert operator.options["padding"] == "SAME"
    assert reading.weights(model) == [(operator, kernel)]
    assert (kernel.scales, kernel.zero_points) == ((0.5, 0.25), (0, 0))
    assert kernel.granularity == "per-channel"
    assert (kernel.is_constant, entry.is_constant) == (True, False)
    np.testing.assert_array_equal(
        kernel.values(), np.arange(1, 7, dtype=np.int8).reshape(2, 1, 1, 3)
    )
    assert model.weight_counts == {"CONV_2D": {"per-channel": 1}}
    assert model.min_runtime_version == "1.14.0"
    assert model.converter_version is None
    (signature,) = model.signatures
    assert (signature.name, signature.inputs) == ("serve", {"image": entry})
    assert signature.outputs == {"scores": out}


def test_sizes_are_exact():
    model = chain(tensors=[tiny_models.tensor([2**31 - 1] * 32, "float32")])
    assert model.tensors[0].nbytes == (2**31 - 1) ** 32 * 4


def test_dynamic_shape():
    (entry,) = reading.parse(tiny("dynamic")).inputs
    assert entry.is_dynamic
    assert (entry.shape, entry.shape_signature) == ((1, 4, 4, 3), (-1, 4, 4, 3))


def test_custom_and_compiled_operators():
    model = reading.parse(tiny("custom"))
    assert model.custom_operators == ["PosenetDecoderOp"]
    assert not model.is_edge_tpu_compiled
    assert model.operators[0].is_custom
    assert reading.parse(tiny("edge-tpu")).is_edge_tpu_compiled
    assert model.inputs[0].layout == "planar (NCHW)"


def chain(*operators, tensors, **how):
    """Return a model whose operators are given as (code, inputs, outputs)."""
    graph = (tensors, [tiny_models.operator(*o) for o in operators], [0], [0])
    return reading.parse(tiny_models.build(graph, **how))


def kernel(shape, scales, axis=0, dtype="int8"):
    return tiny_models.tensor(
        shape, dtype, scales=scales, axis=axis, data=np.ones(shape, dtype)
    )


@pytest.mark.parametrize(
    ("kernels", "granularity"),
    [
        ([("CONV_2D", [2, 1, 1, 1], 2), ("CONV_2D", [2, 1, 1, 1], 1)], "mixed"),
        ([("CONV_2D", [2, 1, 1, 1], 2), ("FULLY_CONNECTED", [2, 3], 1)], "per-channel"),
        ([("CONV_2D", [2, 1, 1, 1], 1), ("FULLY_CONNECTED", [2, 3], 2)], "mixed"),
        ([("CONV_2D", [2, 1, 1, 1], 2), ("CONV_2D", [1, 1, 1, 2], 1)], "per-channel"),
        ([("CONV_2D", [2, 1, 1, 1], 1), ("CONV_2D", [1, 1, 1, 2], 1)], "per-tensor"),
        ([("CONV_2D", [1, 1, 1, 2], 1)], "per-tensor"),
        ([("CONV_2D", [1, 1, 1, 2], 1), ("FULLY_CONNECTED", [2, 3], 1)], "per-tensor"),
        ([("FULLY_CONNECTED", [2, 3], 2)], "per-channel"),
        ([("FULLY_CONNECTED", [2, 3], 1)], "per-tensor"),
        ([("DEPTHWISE_CONV_2D", [1, 1, 1, 2], 2)], "per-channel"),
        ([("TRANSPOSE_CONV", [2, 1, 1, 1], 1)], "per-tensor"),
        ([("CONV_2D", [2, 1, 1, 1], 0)], None),
        ([], None),
    ],
)
def test_granularity_of_a_file(kernels, granularity):
    tensors = [tiny_models.tensor([1, 1], "int8", scales=[1])]
    operators = []
    for name, shape, scales in kernels:
        axis = reading.CHANNEL_AXIS[name] if scales > 1 else 0
        operators.append(
            (getattr(schema.BuiltinOperator, name), [0, len(tensors)], [0])
        )
        tensors.append(kernel(shape, [1.0] * scales, axis))
    assert chain(*operators, tensors=tensors).granularity == granularity


def test_one_channel_is_counted_apart():
    tensors = [tiny_models.tensor([1], "int8"), kernel([1, 1, 1, 2], [1.0])]
    model = chain((CONV, [0, 1], [0]), tensors=tensors)
    assert model.weight_counts == {"CONV_2D": {"one channel": 1}}


def test_float_fallback_and_dynamic_range():
    integer = tiny_models.tensor([1], "int8", scales=[1])
    real = tiny_models.tensor([1], "float32")
    quantize = schema.BuiltinOperator.QUANTIZE
    model = chain((quantize, [0], [1]), tensors=[real, integer])
    assert model.quantization == "integer with float fallback"
    assert model.float_operators == {"QUANTIZE": 1}
    model = chain((CONV, [0, 1], [0]), tensors=[real, kernel([1, 1, 1, 1], [1])])
    assert model.quantization == "dynamic-range"
    assert not model.is_full_integer


def test_operator_codes_old_new_and_unknown():
    tensors = [tiny_models.tensor([1], "int8")]
    codes = [3, schema.BuiltinOperator.GELU, 999]  # GELU is 150, past the old int8
    model = chain(*((code, [0], [0]) for code in codes), tensors=tensors)
    assert [o.name for o in model.operators] == ["CONV_2D", "GELU", "BUILTIN_999"]


def test_optional_input_and_several_subgraphs():
    graph = (
        [tiny_models.tensor([1], "int8")],
        [tiny_models.operator(CONV, [0, -1], [0])],
        [0],
        [0],
    )
    model = reading.parse(tiny_models.build(graph, graph))
    assert [g.name for g in model.subgraphs] == ["graph0", "graph1"]
    assert model.operators[0].inputs == (0, -1)
    assert len(model.subgraphs[0].tensors_of(model.operators[0])) == 2
    assert model.granularity is None


def test_values_that_are_no_array():
    pytest.importorskip("ml_dtypes")  # gives NumPy a type named int4, one byte each
    packed = tiny_models.tensor([3], "int4", data=b"\x21\x03")
    model = chain(tensors=[tiny_models.tensor([2], "int8"), packed])
    assert model.tensors[1].nbytes == 2
    with pytest.raises(UnusableInput, match="int4"):
        model.tensors[1].values()
    with pytest.raises(UnusableInput, match="not in the file"):
        model.tensors[0].values()
    with pytest.raises(UnusableInput, match="0 scales"):
        _ = model.tensors[0].scale
    short = tiny_models.tensor([3], "int8", data=b"\x21\x03")
    with pytest.raises(UnusableInput, match="2 bytes"):
        chain(tensors=[short]).tensors[0].values()


def test_values_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        reading.parse(tiny("per-channel")).tensors[1].values()[0] = 1


def test_converter_version():
    builder = flatbuffers.Builder()  # ConversionMetadata{Environment{"2.21.0"}}
    inner = builder.CreateString("2.21.0")
    for _ in range(2):
        builder.StartObject(1)
        builder.PrependUOffsetTRelativeSlot(0, inner, 0)
        inner = builder.EndObject()
    builder.Finish(inner)
    metadata = {"CONVERSION_METADATA": builder.Output()}
    model = chain(tensors=[tiny_models.tensor([1], "int8")], metadata=metadata)
    assert model.converter_version == "2.21.0"
    metadata = {"CONVERSION_METADATA": b"\xff" * 20}
    model = chain(tensors=[tiny_models.tensor([1], "int8")], metadata=metadata)
    assert model.converter_version is None


def test_weights_behind_the_flatbuffer():
    """Files over 2 GB keep their buffers at absolute offsets behind the tables."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tiny("per-tensor")))
    index = model.subgraphs[0].tensors[1].buffer

    def pack(offset):
        model.buffers[index].data = None
        model.buffers[index].offset, model.buffers[index].size = offset, 6
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    content = pack(len(pack(2)))
    kernel = reading.parse(content + bytes(range(6))).tensors[1]
    np.testing.assert_array_equal(kernel.values().ravel(), np.arange(6))
    with pytest.raises(UnusableInput, match="buffer ends"):
        reading.parse(content + bytes(5))


def test_what_follows_the_flatbuffer_does_no_harm():
    model = reading.parse(tiny("per-channel") + b"PK\5\6" + bytes(18))
    assert model.granularity == "per-channel"


# What is not a sound file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# a text file named .tflite", "not a .tflite file"),
        (b"PK\3\4" + bytes(30), "ZIP"),
        (b"\x08\x09" + bytes(30), "dlpu card"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x1c\0\0\0TFL3", "damaged"),
        (random.Random(1).randbytes(4096), "not a .tflite file"),
        (b"\x1c\0\0\0TFL3" + random.Random(1).randbytes(4096), "damaged"),
        (tiny_models.build(), "no subgraph"),
    ],
)
def test_unusable_content(tmp_path, content, message):
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=message) as caught:
        reading.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_unusable_paths(tmp_path, monkeypatch):
    with pytest.raises(UnusableInput, match="no such file"):
        reading.read(tmp_path / "missing.tflite")
    with pytest.raises(UnusableInput, match="is a folder"):
        reading.read(str(tmp_path))
    with pytest.raises(UnusableInput, match="could not be read"):
        reading.read("nul\0byte")

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UnusableInput, match="Permission denied"):
        reading.read(tmp_path / "x.tflite")


@pytest.mark.parametrize(
    ("inputs", "outputs"), [([1], [0]), ([-2], [0]), ([0], [-2]), ([0], [1])]
)
def test_indexes_outside_the_tensors(inputs, outputs):
    with pytest.raises(UnusableInput, match="operator 0 refers to tensor"):
        chain((CONV, inputs, outputs), tensors=[tiny_models.tensor([1], "int8")])


@pytest.mark.parametrize(
    "how",
    [
        {"scales": [float("nan")]},
        {"scales": [1.0], "zero_points": [0, 0]},
        {"scales": [1.0, 1.0]},
        {"scales": [1.0], "axis": 4},
        {"scales": [1.0], "axis": -1},
        {"signature": [-2]},
        {"shape": [1] * 33},
    ],
)
def test_impossible_tensors(how):
    with pytest.raises(UnusableInput, match="tensor 0"):
        chain(tensors=[tiny_models.tensor(**{"shape": [3], "dtype": "int8", **how})])


def test_shared_tables_cost_no_more_than_they_may():
    """A million subgraphs that are one: 4 MB that a naive reader never finishes."""
    count = 1_000_000
    table = 100 + 4 * count
    content = bytearray(table + 4)
    struct.pack_into("<I4s", content, 0, 24, b"TFL3")
    struct.pack_into("<HHHHH", content, 12, 10, 8, 0, 0, 4)  # vtable: subgraphs at 4
    struct.pack_into("<iI", content, 24, 12, 60 - 28)
    struct.pack_into("<HH", content, 50, 4, 4)  # vtable of a table without fields
    struct.pack_into("<I", content, 60, count)
    for n in range(count):
        struct.pack_into("<I", content, 64 + 4 * n, table - 64 - 4 * n)
    struct.pack_into("<i", content, table, table - 50)
    start = time.perf_counter()
    with pytest.raises(UnusableInput, match="more work"):
        reading.parse(bytes(content))
    assert time.perf_counter() - start < 2


def survives(content: bytes) -> None:
    """Read everything that there is to read, or refuse the file."""
    start = time.perf_counter()
    try:
        model = reading.parse(content)
    except UnusableInput:
        model = None
    if model is not None:
        _ = model.granularity, model.quantization, model.converter_version
        _ = model.min_runtime_version, model.custom_operators
        for tensor in itertools.chain(*(g.tensors for g in model.subgraphs)):
            _ = tensor.nbytes, tensor.layout, tensor.real_range, tensor.granularity
            with contextlib.suppress(UnusableInput):
                tensor.values()
    assert time.perf_counter() - start < 2


def mutated(content: bytes, at: int, word: int, size: int) -> bytes:
    """Overwrite one to four bytes with the low bytes of a word."""
    at %= len(content)
    changed = bytearray(content)
    changed[at : at + size] = (word % 2**32).to_bytes(4, "little")[:size]
    return bytes(changed[: len(content)])


WORDS = st.one_of(
    st.integers(-64, 1024), st.integers(0, 2**32 - 1), st.sampled_from([2**31, -1])
)
EDITS = st.lists(
    st.tuples(st.integers(0, 2**20), WORDS, st.sampled_from([1, 2, 4])), max_size=6
)


@settings(max_examples=300, deadline=None)
@given(EDITS, st.integers(0, 2**20))
@pytest.mark.parametrize("name", ["per-channel", "custom"])
def test_any_mutation_reads_or_is_refused(name, edits, cut):
    content = tiny(name)
    for edit in edits:
        content = mutated(content, *edit)
    survives(content)
    survives(content[: cut % len(content)])


def test_every_byte_flipped_and_every_length():
    content = tiny("per-channel")
    for at in range(len(content)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            survives(mutated(content, at, value, 1))
        survives(content[:at])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_identifier(content):
    survives(b"\x08\0\0\0TFL3" + content)


# Real files that nobody here made


@needs_real_models
@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_real_file_against_the_generated_classes(path):
    content = path.read_bytes()
    theirs = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    ours = reading.read(path)
    assert ours.size == len(content)
    assert ours.description.encode() == theirs.description
    assert len(ours.subgraphs) == len(theirs.subgraphs) == 1
    graph = theirs.subgraphs[0]
    assert [t.index for t in ours.inputs] == list(graph.inputs)
    assert [t.index for t in ours.outputs] == list(graph.outputs)
    for mine, other in zip(ours.tensors, graph.tensors, strict=True):
        assert mine.name.encode() == other.name
        assert mine.shape == tuple(() if other.shape is None else other.shape)
        scales = other.quantization and other.quantization.scale
        assert mine.scales == tuple(() if scales is None else scales)
        data = theirs.buffers[other.buffer].data
        assert bytes(mine.data) == (b"" if data is None else bytes(data))
        if mine.is_constant and mine.dtype != "string":
            assert mine.values().shape == mine.shape
    for mine, other in zip(ours.operators, graph.operators, strict=True):
        assert mine.inputs == tuple(other.inputs)
        assert mine.outputs == tuple(other.outputs)
        code = theirs.operatorCodes[other.opcodeIndex]
        assert mine.version == code.version
        assert mine.is_custom == (code.customCode is not None)
        for key, value in mine.options.items():
            camel = "".join(p.capitalize() for p in key.split("_"))
            expected = getattr(other.builtinOptions, camel[0].lower() + camel[1:])
            if key in reading._OPTIONS:
                expected = reading._OPTIONS[key][expected]
            if isinstance(value, tuple):
                expected = tuple(() if expected is None else expected)
            assert value == expected


@needs_real_models
@pytest.mark.parametrize(
    "path", [p for p in REAL if "edgetpu" not in p.stem], ids=lambda p: p.stem
)
def test_real_file_against_litert(path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without a delegate, whose nodes would stand among the file's operators.
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    theirs = Interpreter(model_path=str(path), experimental_op_resolver_type=kind)
    ours = reading.read(path)
    details = {detail["index"]: detail for detail in theirs.get_tensor_details()}
    for tensor in ours.tensors:
        detail = details.pop(tensor.index)
        assert detail["name"] == tensor.name
        assert tuple(detail["shape"]) == tensor.shape
        assert np.dtype(detail["dtype"]) == tensor.dtype
        quantization = detail["quantization_parameters"]
        assert tuple(quantization["scales"]) == tensor.scales
        assert tuple(quantization["zero_points"]) == tensor.zero_points
        assert quantization["quantized_dimension"] == tensor.quantized_dimension
    assert [d["index"] for d in theirs.get_input_details()] == [
        t.index for t in ours.inputs
    ]
    assert [d["index"] for d in theirs.get_output_details()] == [
        t.index for t in ours.outputs
    ]
    operators = theirs._get_ops_details()
    for operator, detail in zip(ours.operators, operators, strict=True):
        assert detail["op_name"] == operator.name
        assert tuple(detail["inputs"]) == operator.inputs
        assert tuple(detail["outputs"]) == operator.outputs


FACTS = {
    "mobilenet_v2_1.0_224_quant": ("full-integer", "per-tensor", False),
    "tf2_mobilenet_v2_1.0_224_ptq": ("full-integer", "per-channel", False),
    "mobilenet_v1_0.25_128_quant": ("full-integer", "per-tensor", False),
    "mobilenet_v1_0.25_128_quant_edgetpu": ("full-integer", None, True),
    "deeplabv3_mnv2_dm05_pascal_quant_edgetpu": ("full-integer", "per-tensor", True),
}


@needs_real_models
@pytest.mark.parametrize("name", FACTS)
def test_real_files_are_what_their_readme_says(name):
    (path,) = [p for p in REAL if p.stem == name]
    model = reading.read(path)
    found = model.quantization, model.granularity, model.is_edge_tpu_compiled
    assert found == FACTS[name]


@needs_real_models
@settings(max_examples=150, deadline=None)
@given(edits=EDITS)
def test_any_mutation_of_a_small_real_file(edits):
    content = min(REAL, key=lambda p: p.stat().st_size).read_bytes()
    for edit in edits:
        content = mutated(content, *edit)
    survives(content)


def test_integers_are_whole_numbers_or_a_refusal():
    axes = np.array([[1, 2]], np.int32)
    told = reading.Tensor(
        0, "axes", (1, 2), (1, 2), "int32", data=memoryview(axes.tobytes())
    )
    assert told.integers() == [1, 2]
    other = np.array([np.nan], np.float32)
    told = reading.Tensor(
        0, "axes", (1,), (1,), "float32", data=memoryview(other.tobytes())
    )
    with pytest.raises(UnusableInput, match="whole numbers are expected"):
        told.integers()
