"""The NumPy arithmetic: its properties, and bit for bit against LiteRT's kernels.

Every `.tflite` file here is built from scratch with the schema, one operator each, so
that nothing but the operator under test decides the result.
"""

from course_lib.errors import UnusableInput
from course_lib.quantization import affine
from course_lib.quantization.affine import QuantizationParameters
from course_lib.tflite.reading import Tensor

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

finite = st.floats(-1000, 1000, width=32)
scales = st.floats(1e-4, 1e2)
int8_zero_points = st.integers(-128, 127)


@st.composite
def ranges(draw):
    """Return a range that is wide enough to have a scale."""
    minimum = draw(st.floats(-1000, 1000))
    maximum = minimum + draw(st.floats(0, 1000))
    if max(abs(minimum), abs(maximum)) < 1e-2:
        maximum = 1.0
    return minimum, maximum


# Choosing scale and zero point.


@pytest.mark.parametrize(
    ("minimum", "maximum", "dtype", "scale", "zero_point"),
    [
        (0.0, 6.0, "int8", 6 / 255, -128),
        (0.0, 6.0, "uint8", 6 / 255, 0),
        (-6.0, 0.0, "int8", 6 / 255, 127),
        (-1.0, 3.0, "int8", 4 / 255, -64),
        (-1.0, 3.0, "uint8", 4 / 255, 64),
        (2.0, 6.0, "int8", 6 / 255, -128),  # widened to contain 0
        (-6.0, -2.0, "int8", 6 / 255, 127),
    ],
)
def test_a_range_gets_the_parameters_that_the_definition_gives(
    minimum, maximum, dtype, scale, zero_point
):
    parameters = affine.parameters_for_range(minimum, maximum, dtype=dtype)
    assert parameters.scale == pytest.approx(scale, rel=1e-12)
    assert parameters.zero_point == zero_point


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 0), ("uint8", 128)])
def test_symmetric_puts_zero_in_the_middle(dtype, zero_point):
    parameters = affine.parameters_for_range(-1, 2.54, dtype=dtype, symmetric=True)
    assert parameters.zero_point == zero_point
    assert parameters.scale == pytest.approx(0.02)


@given(ranges(), st.sampled_from(["int8", "uint8"]), st.booleans())
def test_zero_is_exact_and_the_round_trip_loses_at_most_half_a_step(
    limits, dtype, symmetric
):
    parameters = affine.parameters_for_range(*limits, dtype=dtype, symmetric=symmetric)
    values = np.append(np.linspace(*limits, 301), 0.0).astype(np.float32)
    back = affine.dequantize(affine.quantize(values, parameters), parameters)
    assert back[-1] == 0
    # Half a step, plus what float32 itself cannot hold: the division, the product and
    # the input are each rounded to 24 bits.
    rounding = 4 * np.finfo(np.float32).eps * max(np.abs(values).max(), 1e-6)
    assert np.abs(back - values).max() <= parameters.scale / 2 + rounding


@given(ranges())
def test_uint8_is_int8_moved_by_128(limits):
    signed = affine.parameters_for_range(*limits, dtype="int8")
    unsigned = affine.parameters_for_range(*limits, dtype="uint8")
    assert signed.scale == unsigned.scale
    values = np.linspace(*limits, 97)
    # The zero point itself may fall on a half, which is rounded away from zero.
    moved = affine.quantize(values, unsigned).astype(int) - 128
    assert abs(unsigned.zero_point - 128 - signed.zero_point) <= 1
    assert np.abs(moved - affine.quantize(values, signed)).max() <= 1


@pytest.mark.parametrize(
    ("minimum", "maximum"),
    [(1, -1), (np.nan, 1), (0, np.inf), (-np.inf, 0), (0, 0)],
)
def test_an_impossible_range_is_refused(minimum, maximum):
    with pytest.raises(ValueError, match=r"^range "):
        affine.parameters_for_range(minimum, maximum)


# What a file holds.


def test_parameters_of_a_tensor():
    one = Tensor(0, "x", (1, 8), (1, 8), "uint8", (0.5,), (3,))
    parameters = affine.parameters_of(one)
    assert parameters == QuantizationParameters(0.5, 3, "uint8")
    kernel = Tensor(0, "w", (1, 3, 3, 2), (1, 3, 3, 2), "int8", (0.5, 2.0), (0, 0), 3)
    parameters = affine.parameters_of(kernel)
    assert parameters.axis == 3
    steps = np.ones((1, 3, 3, 2), np.int8)
    assert affine.dequantize(steps, parameters)[0, 0, 0].tolist() == [0.5, 2.0]


def test_a_tensor_without_scale_is_refused():
    with pytest.raises(UnusableInput, match="expected one"):
        affine.parameters_of(Tensor(0, "x", (1,), (1,), "float32"))


# Quantizing and dequantizing.


@given(scales, int8_zero_points)
def test_every_integer_survives_the_way_there_and_back(scale, zero_point):
    parameters = QuantizationParameters(scale, zero_point)
    integers = np.arange(-128, 128, dtype=np.int8)
    there = affine.dequantize(integers, parameters)
    np.testing.assert_array_equal(affine.quantize(there, parameters), integers)


@given(
    arrays.arrays(np.float32, st.integers(2, 50), elements=finite),
    scales,
    int8_zero_points,
)
def test_quantizing_keeps_the_order_and_saturates(values, scale, zero_point):
    parameters = QuantizationParameters(scale, zero_point)
    integers = affine.quantize(np.sort(values), parameters)
    assert integers.dtype == np.int8
    assert (np.diff(integers.astype(int)) >= 0).all()
    ends = affine.quantize(np.array([-1e30, -np.inf, 1e30, np.inf]), parameters)
    assert ends.tolist() == [-128, -128, 127, 127]


def test_halves_are_rounded_away_from_zero():
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    integers = affine.quantize(halves, QuantizationParameters(1.0))
    assert integers.tolist() == [-3, -2, -1, 1, 2, 3]


# Weights.


@given(
    arrays.arrays(np.float32, (3, 2, 2, 4), elements=finite),
    st.sampled_from([None, 0, 3, -1]),
)
def test_weights_use_127_steps_and_lose_at_most_half_of_one(weights, axis):
    parameters = affine.parameters_for_weights(weights, axis=axis)
    integers = affine.quantize(weights, parameters)
    assert integers.min() >= -127
    assert np.size(parameters.scale) == (1 if axis is None else weights.shape[axis])
    error = np.abs(affine.dequantize(integers, parameters) - weights)
    scale, _ = parameters.along(4)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(weights)
    # A product this small is rounded to a fixed number of places.
    subnormal = np.finfo(np.float32).smallest_subnormal
    assert (error <= scale / 2 + rounding + subnormal).all()


@pytest.mark.parametrize("value", [0.0, 1e-40])
def test_a_channel_of_zeros_stays_zero(value):
    weights = np.array([[0.0, value], [0.5, -1.0]])
    parameters = affine.parameters_for_weights(weights, axis=0)
    back = affine.dequantize(affine.quantize(weights, parameters), parameters)
    assert back[0].tolist() == [0, 0]


# Fixed-point multiplication.


@given(
    st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=20),
    st.floats(2.0**-24, 2.0**5),
)
def test_requantize_is_a_multiplication_up_to_its_two_roundings(accumulator, factor):
    accumulator = np.array(accumulator)
    exact = accumulator * factor
    # Half a unit from each of the two roundings, and the factor's own 31 bits.
    bound = 1 + np.abs(exact) * 2.0**-31
    assert (np.abs(affine.requantize(accumulator, factor) - exact) <= bound).all()


@given(st.floats(2.0**-31, 2.0**30))
def test_fixed_point_writes_a_factor_in_31_bits(factor):
    multiplier, shift = affine.fixed_point(factor)
    assert 2**30 <= multiplier < 2**31
    assert float(multiplier) * 2.0 ** (int(shift) - 31) == pytest.approx(
        factor, rel=2.0**-31
    )


def test_a_factor_just_below_a_power_of_two_moves_its_point():
    multiplier, shift = affine.fixed_point(np.nextafter(1.0, 0.0))
    assert (int(multiplier), int(shift)) == (2**30, 1)


def test_a_factor_too_small_for_32_bits_becomes_zero():
    multiplier, _ = affine.fixed_point(2.0**-40)
    assert int(multiplier) == 0
    assert affine.requantize(np.array([2**30]), 2.0**-40).tolist() == [0]


# Bit for bit against LiteRT.


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=finite),
    scales,
    st.sampled_from(["int8", "uint8"]),
    st.integers(0, 255),
)
@settings(max_examples=50, deadline=None)
def test_quantize_equals_the_operator(values, scale, dtype, steps):
    low, _ = affine.INTEGER_RANGES[dtype]
    parameters = QuantizationParameters(scale, low + steps, dtype)
    values = np.append(values, (np.arange(-9, 9) + 0.5) * scale).astype(np.float32)
    theirs = run(
        "QUANTIZE",
        [(values, None)],
        (values.shape, parameters),
        schema.QuantizeOptionsT,
    )
    np.testing.assert_array_equal(affine.quantize(values, parameters), theirs)


@given(scales, st.sampled_from(["int8", "uint8"]), st.integers(0, 255))
@settings(max_examples=50, deadline=None)
def test_dequantize_equals_the_operator(scale, dtype, steps):
    low, high = affine.INTEGER_RANGES[dtype]
    parameters = QuantizationParameters(scale, low + steps, dtype)
    integers = np.arange(low, high + 1).astype(dtype)
    theirs = run(
        "DEQUANTIZE",
        [(integers, parameters)],
        (integers.shape, None),
        schema.DequantizeOptionsT,
    )
    np.testing.assert_array_equal(affine.dequantize(integers, parameters), theirs)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_convolution_equals_the_operator(data):
    choose = data.draw
    depthwise = choose(st.booleans(), "depthwise")
    stride = choose(st.integers(1, 3), "stride")
    padding = choose(st.sampled_from(["same", "valid"]), "padding")
    kernel = choose(st.tuples(st.integers(1, 5), st.integers(1, 5)), "kernel")
    size = choose(st.tuples(st.integers(5, 9), st.integers(5, 9)), "size")
    channels = choose(st.integers(2, 6), "channels in")
    out = channels if depthwise else choose(st.integers(1, 6), "channels out")
    limits, activation = choose(
        st.sampled_from([((-np.inf, np.inf), 0), ((0, np.inf), 1), ((0, 6), 3)]),
        "activation",
    )
    rng = np.random.default_rng(choose(st.integers(0, 2**32), "seed"))
    shape = (1, *kernel, channels) if depthwise else (out, *kernel, channels)
    axis = 3 if depthwise else 0
    image = rng.integers(-128, 128, (*size, channels)).astype(np.int8)
    weights = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-30000, 30000, out).astype(np.int32)
    granular = choose(st.booleans(), "per-channel")
    image_parameters = QuantizationParameters(
        choose(st.floats(1e-3, 1.0), "input scale"), choose(int8_zero_points, "zero")
    )
    weight_parameters = (
        QuantizationParameters(rng.uniform(1e-4, 1e-1, out), 0, "int8", axis)
        if granular
        else QuantizationParameters(choose(st.floats(1e-4, 1e-1), "weight scale"))
    )
    output_parameters = QuantizationParameters(
        choose(st.floats(1e-3, 1.0), "output scale"), choose(int8_zero_points, "zero")
    )
    ours = affine.convolve(
        image,
        weights,
        bias,
        image_parameters=image_parameters,
        weight_parameters=weight_parameters,
        output_parameters=output_parameters,
        stride=stride,
        padding=padding,
        relu_limits=limits,
    )
    assert ours.dtype == np.int8
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = ["same", "valid"].index(padding)
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = activation
    if depthwise:
        options.depthMultiplier = 1
    theirs = run(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [
            (image[None], image_parameters),
            (weights, weight_parameters),
            (bias, bias_parameters(image_parameters, weight_parameters)),
        ],
        ((1, *ours.shape), output_parameters),
        options,
    )
    np.testing.assert_array_equal(ours[None], theirs)


def bias_parameters(
    image: QuantizationParameters, weights: QuantizationParameters
) -> QuantizationParameters:
    """Return what the specification demands of a bias: input scale × weight scale."""
    scale = np.float32(image.scale) * np.asarray(weights.scale, np.float32)
    axis = None if np.ndim(weights.scale) == 0 else 0
    return QuantizationParameters(scale, 0, "int32", axis)


def run(name, inputs, output, options) -> np.ndarray:
    """Run one operator in a file of its own, on LiteRT's reference kernels.

    Args:
        name: Of the operator, in the schema.
        inputs: Pairs of values and parameters; the first is fed, the others are stored.
        output: Its shape and parameters.
        options: The schema's options of the operator: an object or its class.
    """
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = []
    for index, (values, parameters) in enumerate(inputs):
        stored = 0
        if index:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            stored = len(model.buffers) - 1
        graph.tensors.append(
            tensor(values.shape, values.dtype.name, parameters, buffer=stored)
        )
    shape, parameters = output
    dtype = parameters.dtype if parameters else "float32"
    graph.tensors.append(tensor(shape, dtype, parameters))
    operator = schema.OperatorT()
    operator.inputs = list(range(len(inputs)))
    operator.outputs = [len(inputs)]
    operator.builtinOptions = options() if isinstance(options, type) else options
    kind = type(operator.builtinOptions).__name__.removesuffix("T")
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [len(inputs)]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = code.builtinCode
    code.version = 3 if "CONV" in name else 2
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(
        model_content=bytes(builder.Output()),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, inputs[0][0])
    interpreter.invoke()
    return interpreter.get_tensor(len(inputs))


def tensor(shape, dtype, parameters, *, buffer=0) -> "schema.TensorT":
    """Describe one tensor of a `.tflite` file."""
    result = schema.TensorT()
    result.shape = list(shape)
    result.type = getattr(schema.TensorType, dtype.upper())
    result.buffer = buffer
    if parameters is not None:
        scale = np.atleast_1d(np.asarray(parameters.scale, np.float32))
        quantization = schema.QuantizationParametersT()
        quantization.scale = scale.tolist()
        quantization.zeroPoint = [int(parameters.zero_point)] * len(scale)
        quantization.quantizedDimension = parameters.axis or 0
        result.quantization = quantization
    return result
