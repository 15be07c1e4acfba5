"""Write the small files on which the linter's rules are tested.

    uv run python tools/make_lint_cases.py            # into tests/lint_cases
    uv run python tools/make_lint_cases.py --check    # compares

For each rule there is a file on which it must fire and one, with that one thing mended,
on which it must not: `<rule>.fail.tflite` and `<rule>.pass.tflite`. Where chips differ
the name has the chip: `<rule>.<soc>.fail.tflite`; "cv" stands for CV25 and CV75. In the
same place stands the kind of model that a second pair of a rule is about, "yolov5". All
are written without TensorFlow, byte by byte the same each time. tests/test_rules.py
tries them.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.dlpu import rules
from course_lib.files import write

import click

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests/lint_cases"
sys.path.insert(0, str(ROOT / "tests"))

from tiny_models import Graph  # noqa: E402  (it lies beside the tests)

ARTPEC = ("artpec7", "artpec8", "artpec9")
CV = ("cv25", "cv75")
IMAGE = (1, 8, 8, 3)
SIGNED = {"dtype": "int8", "zero_point": -128}


@dataclass(frozen=True)
class Pair:
    """A failing and a passing file for a rule.

    Attributes:
        rule: Its id.
        name: Of the files, before `.fail` and `.pass`.
        socs: Where the rule must fire on the first and not on the second.
        build: Returns the bytes of the failing file for True, of the passing for False.
        at: Operator and tensor of each finding.
        also: What else fires, unavoidably, by chip.
        suffixes: Of the failing and of the passing file.
    """

    rule: str
    name: str
    socs: tuple[str, ...]
    build: Callable[[bool], bytes]
    at: tuple[tuple[int, str], ...]
    also: dict[str, frozenset[str]] = field(default_factory=dict)
    suffixes: tuple[str, str] = (".tflite", ".tflite")

    def path(self, fails: bool) -> Path:
        """Return where a file stands."""
        word, suffix = ("fail", "pass")[not fails], self.suffixes[not fails]
        return FOLDER / f"{self.name}.{word}{suffix}"


PAIRS: list[Pair] = []


def pair(
    rule: str,
    *at: tuple[int, str],
    only: str | tuple[str, ...] = (),
    called: str = "",
    also: dict[str, str] | None = None,
    suffixes: tuple[str, str] = (".tflite", ".tflite"),
) -> Callable:
    """Register the builder of a rule's two files."""
    chosen = (only,) if isinstance(only, str) else only
    called = called or (only if isinstance(only, str) else "")
    socs = tuple(soc for soc in rules.RULES[rule].claims if not chosen or soc in chosen)
    extra = {soc: frozenset(text.split()) for soc, text in (also or {}).items()}

    def register(build: Callable[[bool], bytes]) -> Callable[[bool], bytes]:
        name = f"{rule}.{called}" if called else rule
        PAIRS.append(Pair(rule, name, socs, build, at, extra, suffixes))
        return build

    return register


def files() -> Iterator[tuple[Path, bytes]]:
    """Yield each file's path and content."""
    for entry in PAIRS:
        for fails in (True, False):
            yield entry.path(fails), entry.build(fails)


# How the numbers are stored


@pair(
    "not-full-integer",
    (0, "dense"),
    also={
        "artpec7": "input-type output-type edge-tpu-mapping",
        "artpec8": "input-type output-type",
        "artpec9": "input-type output-type",
    },
)
def not_full_integer(fails):
    """Compute a dense layer in float, and in integers."""
    graph = Graph()
    graph.dense(graph.input((1, 4), "float32" if fails else "uint8"), 4)
    return graph.file()


@pair(
    "float-operator",
    (2, "relu6"),
    also={"artpec7": "edge-tpu-mapping"},
)
def float_operator(fails):
    """Leave a float island in a quantized graph."""
    graph = Graph()
    last = graph.add("RELU6", [graph.input((1, 4))], (1, 4), name="first")
    if fails:
        last = graph.add("DEQUANTIZE", [last], (1, 4), dtype="float32")
        last = graph.add("RELU6", [last], (1, 4), dtype="float32")
        graph.add("QUANTIZE", [last], (1, 4))
    else:
        graph.add("RELU6", [last], (1, 4))
    return graph.file()


@pair("integer-type", (0, "dense/weights"))
def integer_type(fails):
    """Store weights in four bits."""
    graph = Graph()
    graph.dense(graph.input((1, 4)), 4, weight_dtype="int4" if fails else "uint8")
    return graph.file()


@pair(
    "per-channel-weights",
    (1, "conv/weights"),
    only="artpec8",
    also={"artpec8": "unlisted-operator"},  # QUANTIZE
)
def per_channel_weights(fails):
    """Give a convolution a scale for each of six filters."""
    graph = Graph()
    image = graph.add("QUANTIZE", [graph.input(IMAGE)], IMAGE, name="in", **SIGNED)
    scales = [(n + 1) / 512 for n in range(6)] if fails else [6 / 512]
    last = graph.convolve(image, 6, weight_scale=scales)
    graph.add("QUANTIZE", [last], (1, 8, 8, 6))
    return graph.file()


@pair("per-channel-weights", (1, "factors"), only="artpec9")
def per_channel_factors(fails):
    """Give the constant of a MUL, which is no convolution, a scale for each channel."""
    graph = Graph()
    shape = (1, 2, 2, 16)
    image = graph.add("QUANTIZE", [graph.input(shape)], shape, name="in", **SIGNED)
    scales = [(n + 1) / 512 for n in range(16)] if fails else 1 / 64
    values = [[[list(range(16))]]]
    factors = graph.constant(values, "int8", scale=scales, axis=3, name="factors")
    last = graph.add("MUL", [image, factors], shape, **SIGNED)
    graph.add("QUANTIZE", [last], shape)
    return graph.file()


@pair(
    "dense-per-channel",
    (1, "dense/weights"),
    also={"artpec8": "unlisted-operator"},  # QUANTIZE
)
def dense_per_channel(fails):
    """Give a dense layer a scale for each unit."""
    graph = Graph()
    scales = [0.01, 0.02, 0.03, 0.04] if fails else 0.04
    before = graph.add("QUANTIZE", [graph.input((1, 4))], (1, 4), name="in", **SIGNED)
    last = graph.dense(before, 4, weight_scale=scales)
    graph.add("QUANTIZE", [last], (1, 4))
    return graph.file()


@pair("already-quantized", (0, "q"), called="cv", suffixes=(".onnx", ".onnx"))
def already_quantized(fails):
    """Quantize the input within the graph."""
    nodes = [("Relu", ["image"], ["out"])]
    if fails:
        nodes = [
            ("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
            ("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
            ("Relu", ["d"], ["out"]),
        ]
    return onnx_bytes(nodes)


@pair(
    "shared-scale", (1, "scores"), also={"artpec8": "unlisted-operator"}
)  # ARTPEC-8's list lacks LOGISTIC, ARTPEC-9's SOFTMAX
def shared_scale(fails):
    """Join scores of 0..1 with boxes of 0..640, and with boxes of 0..1."""
    graph = Graph()
    scale = 640 / 255 if fails else 1 / 255
    boxes = graph.input((1, 4), scale=scale, name="boxes")
    before = graph.input((1, 4), name="logits")
    scores = graph.add("LOGISTIC", [before], (1, 4), scale=1 / 256, name="scores")
    graph.add("CONCATENATION", [boxes, scores], (1, 8), scale=scale, axis=1)
    return graph.file()


@pair(
    "shared-scale",
    (5, "scores"),
    called="yolov5",
    also={
        "artpec8": "unlisted-operator",  # LOGISTIC
        "artpec9": "unlisted-operator",  # STRIDED_SLICE
    },
)
def shared_scale_of_slices(fails):
    """Cut boxes and scores from one sigmoid, as YOLOv5 does, and join them again."""
    graph = Graph()
    scale = 640 / 255 if fails else 0.0041905
    last = graph.input((1, 6, 8), name="logits")
    last = graph.add("LOGISTIC", [last], (1, 6, 8), scale=1 / 256)
    last = graph.add("QUANTIZE", [last], (1, 6, 8), scale=scale)
    one = graph.constant([1, 1, 1], name="steps")
    ends = []
    for name, start in (("sides", 0), ("scores", 4)):
        first = graph.constant([0, 0, start], name=f"{name}/from")
        after = graph.constant([1, 6, start + 4], name=f"{name}/to")
        settings = {"name": name, "scale": scale}
        inputs = [last, first, after, one]
        ends.append(graph.add("STRIDED_SLICE", inputs, (1, 6, 4), **settings))
    size = graph.constant([1], "uint8", scale=640 if fails else 1, name="size")
    boxes = graph.add("MUL", [ends[0], size], (1, 6, 4), name="boxes", scale=scale)
    rows = [boxes, ends[1]]
    graph.add("CONCATENATION", rows, (1, 6, 8), axis=2, scale=scale)
    return graph.file()


# Inputs and outputs


@pair("input-type", (0, "image"))
def input_type(fails):
    """Take float pixels."""
    graph = Graph()
    image = graph.input(IMAGE, "float32" if fails else "uint8")
    image = graph.add("QUANTIZE", [image], IMAGE) if fails else image
    graph.add("RELU6", [image], IMAGE)
    return graph.file()


@pair("output-type", (1, "dequantize"))
def output_type(fails):
    """Give float scores."""
    graph = Graph()
    last = graph.dense(graph.input((1, 4)), 4)
    if fails:
        graph.add("DEQUANTIZE", [last], (1, 4), dtype="float32")
    return graph.file()


@pair("input-scale", (0, "image"))
def input_scale(fails):
    """Take pixels as values of 0..0.0039: divided by 255 twice."""
    graph = Graph()
    image = graph.input(IMAGE, scale=1 / 255**2 if fails else 1 / 255)
    graph.add("RELU6", [image], IMAGE)
    return graph.file()


@pair("planar-input", (0, "image"))
def planar_input(fails):
    """Take the colours as planes."""
    graph = Graph()
    shape = (1, 3, 8, 8) if fails else IMAGE
    graph.add("RELU6", [graph.input(shape)], shape)
    return graph.file()


@pair("interleaved-input", (0, "image"), called="cv", suffixes=(".onnx", ".onnx"))
def interleaved_input(fails):
    """Take the colours side by side."""
    return onnx_bytes(shape=(1, 32, 32, 3) if fails else (1, 3, 32, 32))


@pair("row-width", (0, "image"), called="cv", suffixes=(".onnx", ".onnx"))
def row_width(fails):
    """Take rows of 300 pixels, and of 320."""
    return onnx_bytes(shape=(1, 3, 240, 300 if fails else 320))


@pair(
    "dynamic-shape",
    (0, "image"),
    only=ARTPEC,
    also={"artpec7": "edge-tpu-mapping"},
)
def dynamic_shape(fails):
    """Take images of any size."""
    graph = Graph()
    signature = (1, -1, -1, 3) if fails else None
    image = graph.input(IMAGE, signature=signature)
    graph.add("RELU6", [image], IMAGE, signature=signature)
    return graph.file()


@pair(
    "dynamic-shape",
    (0, "image"),
    only=CV,
    called="cv",
    suffixes=(".onnx", ".onnx"),
)
def dynamic_shape_onnx(fails):
    """Take any number of images."""
    return onnx_bytes(shape=("batch" if fails else 1, 3, 32, 32))


@pair(
    "batch",
    (0, "image"),
    only=ARTPEC,
    also={"artpec7": "rank edge-tpu-mapping"},  # four dimensions above 1
)
def batch(fails):
    """Take two images at once."""
    graph = Graph()
    shape = (2 if fails else 1, 8, 8, 3)
    graph.add("RELU6", [graph.input(shape)], shape)
    return graph.file()


@pair("batch", (0, "image"), only=CV, called="cv", suffixes=(".onnx", ".onnx"))
def batch_onnx(fails):
    """Take two images at once."""
    return onnx_bytes(shape=(2 if fails else 1, 3, 32, 32))


@pair("output-order", (1, "Call:1"))
def output_order(fails):
    """List output 1 before output 0."""
    graph = Graph()
    image = graph.input((1, 4))
    first = graph.add("RELU6", [image], (1, 4), name="Call:0")
    second = graph.add("RELU6", [image], (1, 4), name="Call:1")
    return graph.file(*((second, first) if fails else (first, second)))


# The file as a whole


@pair("custom-operator", (0, "post"))
def custom_operator(fails):
    """End in TFLite's own postprocessing of detections."""
    graph = Graph()
    boxes = graph.input((1, 2, 4), name="boxes")
    scores = graph.input((1, 2, 3), name="scores")
    if fails:
        return graph.file(*graph.postprocess(boxes, scores))
    boxes = graph.add("RELU6", [boxes], (1, 2, 4), name="post")
    scores = graph.add("RELU6", [scores], (1, 2, 3), name="post:1")
    return graph.file(boxes, scores)


@pair("unregistered-operator", (1, "erf"))
def unregistered_operator(fails):
    """End in an operator of TensorFlow's."""
    graph = Graph()
    last = graph.dense(graph.input((1, 4)), 4)
    if fails:
        graph.add("FlexErf", [last], (1, 4), name="erf")
    return graph.file()


@pair(
    "edge-tpu-compiled",
    (0, "scores"),
    also={
        # A CV chip wants float; the passing file is a .tflite file too.
        "cv25": "already-quantized tflite-input",
        "cv75": "already-quantized tflite-input",
    },
)
def edge_tpu_compiled(fails):
    """Hold what edgetpu_compiler made of a graph."""
    graph = Graph()
    code = "edgetpu-custom-op" if fails else "RELU6"
    graph.add(code, [graph.input((1, 4))], (1, 4), name="scores")
    return graph.file()


@pair(
    "several-subgraphs",
    (0, "while"),
    also={
        "artpec7": "edge-tpu-mapping",
        "artpec8": "unlisted-operator",
        "artpec9": "unlisted-operator",
    },
)
def several_subgraphs(fails):
    """Have a loop, whose condition and body are graphs of their own."""
    graph = Graph()
    before = graph.input((1, 4))
    if not fails:
        graph.add("RELU6", [before], (1, 4))
        return graph.file()
    graph.add("WHILE", [before], (1, 4), cond_subgraph_index=1, body_subgraph_index=2)
    condition, body = Graph(), Graph()
    one = condition.input((1, 4))
    differs = condition.add("NOT_EQUAL", [one, one], (1, 4), dtype="bool")
    axis = condition.constant([1], name="axis")
    condition.add("REDUCE_ANY", [differs, axis], (1,), dtype="bool")
    body.add("RELU6", [body.input((1, 4))], (1, 4))
    return graph.file(others=(condition, body))


@pair(
    "partitions",
    (1, "f1"),
    also={"artpec8": "float-operator"},
)
def partitions(fails):
    """Fall into 17 parts, and into 16."""
    graph = Graph()
    last = graph.input((1, 4))
    for island in range(1, 9):
        last = graph.add("RELU6", [last], (1, 4), name=f"r{island}")
        last = graph.add(
            "DEQUANTIZE", [last], (1, 4), dtype="float32", name=f"f{island}"
        )
        last = graph.add("QUANTIZE", [last], (1, 4), name=f"q{island}")
    if fails:
        graph.add("RELU6", [last], (1, 4), name="r9")
    return graph.file()


@pair("unlisted-operator", (0, "difference"))
def unlisted_operator(fails):
    """Subtract, which no list of ARTPEC-8 or -9 has, and add."""
    graph = Graph()
    image = graph.input((1, 4))
    one = graph.constant([[3]], "uint8", scale=1 / 255, name="one")
    graph.add("SUB" if fails else "ADD", [image, one], (1, 4), name="difference")
    return graph.file()


@pair("operator-version", (0, "conv"))
def operator_version(fails):
    """Have CONV_2D 6, as grouped convolutions have, and CONV_2D 5."""
    graph = Graph()
    graph.convolve(graph.input(IMAGE), 6, kernel=1, version=6 if fails else 5)
    return graph.file()


@pair("edge-tpu-mapping", (1, "activation"))
def edge_tpu_mapping(fails):
    """Use LeakyReLU, which the Edge TPU lacks, and ReLU."""
    graph = Graph()
    last = graph.add("RELU6", [graph.input(IMAGE)], IMAGE)
    code = "LEAKY_RELU" if fails else "RELU"
    options = {"alpha": 0.1} if fails else {}
    last = graph.add(code, [last], IMAGE, name="activation", **options)
    graph.add("RELU6", [last], IMAGE, name="after")
    return graph.file()


@pair("edge-tpu-memory", (0, "dense/weights"))
def edge_tpu_memory(fails):
    """Have 10 MiB of weights, and 8; a single byte of them is in the file.

    The reader looks for the values themselves when they are asked for, not before.
    """
    graph = Graph()
    units = (10 if fails else 8) * 2**20 // 4096
    features = graph.input((1, 4096))
    weights = graph.tensor((units, 4096), name="dense/weights", data=b"\0")
    graph.add("FULLY_CONNECTED", [features, weights], (1, units))
    return graph.file()


@pair("memory", (1, "larger"))
def memory(fails):
    """Take an image of 1.2 GB, up by 2; and one of an ordinary size."""
    graph = Graph()
    side = 20_000 if fails else 224
    image = graph.add("RELU6", [graph.input((1, side, side, 3))], (1, side, side, 3))
    size = graph.constant([2 * side, 2 * side], name="size")
    shape = (1, 2 * side, 2 * side, 3)
    graph.add("RESIZE_NEAREST_NEIGHBOR", [image, size], shape, name="larger")
    return graph.file()


@pair("tflite-input", (0, "image"), called="cv", suffixes=(".tflite", ".onnx"))
def tflite_input(fails):
    """Be a float .tflite file, and an .onnx file."""
    shape = (1, 3, 32, 32)
    graph = Graph()
    graph.add("RELU6", [graph.input(shape, "float32")], shape, dtype="float32")
    return graph.file() if fails else onnx_bytes(shape=shape)


@pair("onnx-opset", (0, "image"), called="cv", suffixes=(".onnx", ".onnx"))
def onnx_opset(fails):
    """Be exported with opset 13, and with 17."""
    return onnx_bytes(opset=13 if fails else 17)


# Layers


@pair("channels-multiple", (0, "conv/weights"), only="artpec8")
def filters_of_6(fails):
    """Have 17 filters before a head of 5, and 18."""
    return _with_head(17 if fails else 18)


@pair("channels-multiple", (0, "conv/weights"), only="artpec9")
def filters_of_16(fails):
    """Have 15 filters before a head of 5, and 16."""
    return _with_head(15 if fails else 16)


def _with_head(filters):
    graph = Graph()
    last = graph.convolve(graph.input(IMAGE), filters)
    graph.convolve(last, 5, activation="NONE", name="head")
    return graph.file()


@pair("kernel-size", (0, "conv/weights"), only="artpec8")
def kernel_of_3(fails):
    """Have a kernel of 5x5, and of 3x3."""
    graph = Graph()
    graph.convolve(graph.input(IMAGE), 6, kernel=5 if fails else 3)
    return graph.file()


@pair("kernel-size", (0, "conv/weights"), only="artpec9")
def kernel_of_the_set(fails):
    """Have YOLOv5's stem of 6x6, and one of 5x5."""
    graph = Graph()
    graph.convolve(graph.input((1, 8, 8, 1)), 16, kernel=6 if fails else 5, stride=2)
    return graph.file()


@pair("stride", (0, "conv/weights"))
def stride(fails):
    """Step by 3, and by 2."""
    graph = Graph()
    graph.convolve(graph.input((1, 8, 8, 1)), 48, stride=3 if fails else 2)
    return graph.file()


@pair("depthwise-share", (0, "conv/weights"))
def depthwise_share(fails):
    """Have a depthwise convolution, and a regular one."""
    graph = Graph()
    code = "DEPTHWISE_CONV_2D" if fails else "CONV_2D"
    graph.convolve(graph.input((1, 8, 8, 6)), 6, code=code)
    return graph.file()


@pair("activation", (0, "activation"), only="artpec8")
def activation_with_zeros(fails):
    """Have an activation without exact zeros, and ReLU."""
    graph = Graph()
    code = "HARD_SWISH" if fails else "RELU"
    graph.add(code, [graph.input(IMAGE)], IMAGE, name="activation")
    return graph.file()


@pair("activation", (0, "conv"), only="artpec9")
def activation_up_to_6(fails):
    """Have ReLU, and ReLU6."""
    graph = Graph()
    activation = "RELU" if fails else "RELU6"
    graph.convolve(graph.input(IMAGE), 16, activation=activation)
    return graph.file()


@pair(
    "activation",
    (1, "sigmoid"),
    called="yolov5",
    also={
        "artpec8": "unlisted-operator",  # LOGISTIC
        "artpec9": "operator-limits",  # MUL of two activations
    },
)
def activation_of_yolov5(fails):
    """Have SiLU after a convolution, and ReLU6 in it."""
    graph = Graph()
    activation = "NONE" if fails else "RELU6"
    last = graph.convolve(graph.input((1, 8, 8, 1)), 48, activation=activation)
    if fails:
        shape = graph.tensors[last].shape
        gate = graph.add("LOGISTIC", [last], shape, scale=1 / 256, name="sigmoid")
        graph.add("MUL", [last, gate], shape)
    return graph.file()


@pair("rank", (0, "reshape"), also={"artpec7": "edge-tpu-mapping"})
def rank(fails):
    """Have five dimensions, and four."""
    graph = Graph()
    shape = (1, 2, 4, 4, 3) if fails else (1, 8, 4, 3)
    to = graph.constant(shape, name="shape")
    graph.add("RESHAPE", [graph.input((1, 96)), to], shape)
    return graph.file()


@pair("explicit-pad", (0, "pad"))
def explicit_pad(fails):
    """Pad with an operator, and in the convolution."""
    graph = Graph()
    image = graph.input(IMAGE)
    if fails:
        image = _pad(graph, image, 1)
    graph.convolve(image, 16, padding="VALID" if fails else "SAME")
    return graph.file()


def _pad(graph, image, width):
    paddings = graph.constant([[0, 0], *[[width] * 2] * 2, [0, 0]], name="paddings")
    batch_size, *sizes, channels = graph.tensors[image].shape
    shape = (batch_size, *(size + 2 * width for size in sizes), channels)
    return graph.add("PAD", [image, paddings], shape)


@pair("pooling-limits", (0, "image"))
def pooling_limits(fails):
    """Pool the average of 2x2 with stride 2, and the largest."""
    graph = Graph()
    graph.add(
        "AVERAGE_POOL_2D" if fails else "MAX_POOL_2D",
        [graph.input(IMAGE)],
        (1, 4, 4, 3),
        filter_height=2,
        filter_width=2,
        stride_h=2,
        stride_w=2,
        padding="VALID",
    )
    return graph.file()


@pair("resize-limits", (0, "larger"))
def resize_limits(fails):
    """Enlarge by 3, and by 2."""
    graph = Graph()
    side = 24 if fails else 16
    size = graph.constant([side, side], name="size")
    image = graph.input(IMAGE)
    shape = (1, side, side, 3)
    graph.add("RESIZE_NEAREST_NEIGHBOR", [image, size], shape, name="larger")
    return graph.file()


@pair("operator-limits", (0, "image"))
def operator_limits(fails):
    """Turn blocks of 4x4 channels into pixels, and of 2x2."""
    graph = Graph()
    block = 4 if fails else 2
    image = graph.input((1, 2, 2, 16))
    shape = (1, 2 * block, 2 * block, 16 // block**2)
    graph.add("DEPTH_TO_SPACE", [image], shape, block_size=block)
    return graph.file()


@pair("residual-add", (1, "add"))
def residual_add(fails):
    """Add two branches before a convolution, and make the sum an output too."""
    graph = Graph()
    image = graph.input(IMAGE)
    branch = graph.add("RELU6", [image], IMAGE)
    total = graph.add("ADD", [image, branch], IMAGE)
    last = graph.convolve(total, 16)
    return graph.file(*((last,) if fails else (last, total)))


@pair("transposes", (0, "transpose"))
def transposes(fails):
    """Put the channels first."""
    graph = Graph()
    image = graph.input(IMAGE)
    if fails:
        order = graph.constant([0, 3, 1, 2], name="order")
        image = graph.add("TRANSPOSE", [image, order], (1, 3, 8, 8))
    shape = graph.constant([1, 192], name="shape")
    graph.add("RESHAPE", [image, shape], (1, 192))
    return graph.file()


@pair("attention", (1, "keys"), also={"artpec7": "edge-tpu-mapping"})
def attention(fails):
    """Multiply two activations, and an activation with weights."""
    graph = Graph()
    queries = graph.input((1, 4), name="queries")
    if fails:
        keys = graph.add("RELU6", [queries], (1, 4), name="keys")
        graph.add("FULLY_CONNECTED", [queries, keys], (1, 1))
    else:
        graph.dense(queries, 1)
    return graph.file()


@pair(
    "gathered-pixels",
    (1, "places"),
    also={
        "artpec7": "edge-tpu-mapping",
        "artpec9": "unlisted-operator",
    },
)
def gathered_pixels(fails):
    """Fetch values at computed places, and at constant ones."""
    graph = Graph()
    values = graph.input((1, 4))
    if fails:
        axis = graph.constant(1, name="axis")
        places = graph.add(
            "ARG_MAX",
            [values, axis],
            (1,),
            dtype="int32",
            output_type="int32",
            name="places",
        )
    else:
        places = graph.constant([2], name="places")
    graph.add("GATHER", [values, places], (1, 1), axis=1)
    return graph.file()


def onnx_bytes(nodes=(), *, shape=(1, 3, 32, 32), opset=17) -> bytes:
    """Return an .onnx file; without nodes it has a Relu.

    Args:
        nodes: (operator, names of inputs, names of outputs), from "image" to "out".
        shape: Of input and output; a text stands for a size that is not fixed.
        opset: Version of the operators.
    """
    from onnx import TensorProto, helper

    nodes = nodes or [("Relu", ["image"], ["out"])]
    graph = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "tiny",
        *(
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
            for name in ("image", "out")
        ),
        initializer=[
            helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
            helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
        ]
        if len(nodes) > 1
        else [],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
        producer_name="tiny",
    )
    return model.SerializeToString(deterministic=True)


@click.command()
@click.option("--check", is_flag=True, help="Compare, write nothing.")
def main(check: bool) -> None:
    """Write the linter's test files, or compare them."""
    made = dict(files())
    FOLDER.mkdir(exist_ok=True)
    present = set(FOLDER.iterdir())
    stale = [
        path for path in made if path not in present or path.read_bytes() != made[path]
    ]
    stale += sorted(present - set(made))
    if check:
        for path in stale:
            click.echo(f"{path.name}: run tools/make_lint_cases.py")
        raise SystemExit(bool(stale))
    for path in stale:
        if path in made:
            write(path, made[path])
        else:
            path.unlink()
    total = sum(map(len, made.values()))
    click.echo(f"{len(made)} files, {total} bytes, {len(stale)} changed")


if __name__ == "__main__":
    main()
