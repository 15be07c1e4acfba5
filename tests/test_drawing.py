"""The graph as a picture: everything in it, nothing on top of anything."""

import itertools
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

from course_lib.errors import UnusableInput
from course_lib.tflite import drawing, reading

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

REAL = sorted(Path(os.environ.get("COURSE_REAL_MODELS", "absent")).glob("*.tflite"))
DATA = sorted((Path(__file__).parents[1] / "data").glob("*.tflite"))
SVG = "{http://www.w3.org/2000/svg}"
ADD, RELU, SOFTMAX, CONCAT = (
    getattr(schema.BuiltinOperator, name)
    for name in ("ADD", "RELU", "SOFTMAX", "CONCATENATION")
)


def graph(
    *operators: tuple, outputs=None, names=(), shape=(1, 8, 8, 4)
) -> reading.Model:
    """Read a file of (code, inputs, outputs); tensor 0 is its input."""
    tensors = 1 + max(0, *(t for o in operators for t in (*o[1], *o[2], 0)))
    names = dict(enumerate(names))
    content = tiny_models.build(
        (
            [
                tiny_models.tensor(shape, "int8", scales=[0.5], name=names.get(t, "t"))
                for t in range(tensors)
            ],
            [tiny_models.operator(*o) for o in operators],
            [0],
            [tensors - 1] if outputs is None else outputs,
        )
    )
    return reading.parse(content)


def chain(length: int) -> reading.Model:
    return graph(*((RELU, [i], [i + 1]) for i in range(length)))


def residual(blocks: int) -> reading.Model:
    """Two operators and an ADD that also reads the block's input."""
    operators = []
    for x in range(0, 3 * blocks, 3):
        operators += [(RELU, [x], [x + 1]), (RELU, [x + 1], [x + 2])]
        operators.append((ADD, [x, x + 2], [x + 3]))
    return graph(*operators)


def branches(count: int) -> reading.Model:
    parts = [(RELU, [0], [i]) for i in range(1, count + 1)]
    joined = (CONCAT, range(1, count + 1), [count + 1])
    return graph(*parts, joined)


def unet(depth: int) -> reading.Model:
    """Each way down is read again on the way up, nearest first."""
    down = [(RELU, [i], [i + 1]) for i in range(depth)]
    up = [(ADD, [depth + i, depth - i], [depth + i + 1]) for i in range(depth)]
    return graph(*down, *up)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def boxes(root: ElementTree.Element) -> dict[tuple[str, int], tuple]:
    """Return the rectangle of each operator, input and output."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        for kind in ("operator", "input", "output"):
            if f"data-{kind}" in group.attrib:
                rect = group.find(f"{SVG}rect")
                sides = [float(rect.get(s)) for s in ("x", "y", "width", "height")]
                found[kind, int(group.get(f"data-{kind}"))] = tuple(sides)
    return found


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def wires(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Return the points of each line between boxes."""
    (group,) = (g for g in root.iter(f"{SVG}g") if g.get("stroke") == "#444")
    lines = []
    for path in group:
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))]
        lines.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return lines


def check(model: reading.Model, text: str) -> ElementTree.Element:
    """Everything is in the picture, within it, and nothing lies on anything."""
    root = parsed(text)
    width, height = float(root.get("width")), float(root.get("height"))
    found = boxes(root)
    assert [i for k, i in found if k == "input"] == list(range(len(model.inputs)))
    assert [i for k, i in found if k == "output"] == list(range(len(model.outputs)))
    assert [i for k, i in found if k == "operator"] == [
        operator.index for operator in model.operators
    ]
    for x, y, w, h in found.values():
        assert 0 <= x < x + w <= width
        assert 0 <= y < y + h <= height
    for (_, a), (_, b) in itertools.combinations(found.items(), 2):
        apart = (
            a[0] + a[2] < b[0]
            or b[0] + b[2] < a[0]
            or a[1] + a[3] < b[1]
            or b[1] + b[3] < a[1]
        )
        assert apart, (a, b)
    for line in wires(root):
        for (x0, y0), (x1, y1) in itertools.pairwise(line):
            for x, y, w, h in found.values():
                # A line may touch the boxes at its ends.
                beside = max(x0, x1) < x + 1 or min(x0, x1) > x + w - 1
                above = max(y0, y1) < y + 1 or min(y0, y1) > y + h - 1
                assert beside or above
    return root


@pytest.mark.parametrize(
    "model",
    [
        reading.parse(tiny_models.conv()),
        reading.parse(tiny_models.conv(dtype="float32", signature=[-1, 4, 4, 3])),
        reading.parse(tiny_models.custom("TFLite_Detection_PostProcess")),
        reading.parse(tiny_models.two_outputs()),
        reading.parse(tiny_models.build(([], [], [], []))),
        *map(chain, (1, 3, 9, 60, 200)),
        *map(residual, (1, 7, 30)),
        *map(branches, (2, 4, 5, 30)),
        *map(unet, (4, 40)),
    ],
    ids=lambda model: f"{len(model.operators)} operators",
)
def test_nothing_overlaps(model):
    check(model, drawing.svg(model, title="a title"))
    some = {operator.index: "a rule's name" for operator in model.operators[::3]}
    targets = [("dlpu", "cpu", "unknown")[o.index % 3] for o in model.operators]
    check(model, drawing.svg(model, targets=targets, labels=some))


@pytest.mark.parametrize("path", [*DATA, *REAL], ids=lambda path: path.name)
def test_models(path):
    model = reading.read(path)
    targets = ["dlpu"] * len(model.operators)
    text = drawing.svg(model, targets=targets, title=path.name)
    root = check(model, text)
    width, height = int(root.get("width")), int(root.get("height"))
    assert width <= 1060  # so that 9.5 px are still 9 when a page shrinks it to 1000
    if len(model.operators) > 20:
        assert 0.9 < width / height < 1.7
    # No line is lost: each is drawn or written at both ends.
    writer = {t: o.index for o in model.operators for t in o.outputs}
    inputs = {t.index for t in model.inputs}
    read = {
        (o.index, writer.get(t, "input"))
        for o in model.operators
        for t in o.inputs
        if t in writer or t in inputs
    }
    assert len(wires(root)) == len(read) + len(model.outputs)


def test_what_a_box_says():
    text = drawing.svg(reading.parse(tiny_models.conv()), labels={0: "per-channel"})
    root = parsed(text)
    assert words(root) == [
        "1 operator.",
        "input",
        "int8 1x4x4x3",
        "0",
        "conv 1x1",
        "4x4x2 relu6",
        "per-channel",
        "output",
        "int8 1x4x4x2",
    ]
    (tip,) = (
        g.find(f"{SVG}title").text for g in root.iter() if "data-operator" in g.attrib
    )
    assert tip == "operator 0: CONV_2D version 3\nint8 1x4x4x2 out\nper-channel"


def test_stride_dilation_and_kernel():
    options = schema.DepthwiseConv2DOptionsT()
    options.strideW = options.strideH = 2
    options.dilationWFactor, options.dilationHFactor = 1, 3
    kernel = np.zeros((1, 3, 5, 4), "int8")
    model = reading.parse(
        tiny_models.build(
            (
                [
                    tiny_models.tensor([1, 8, 8, 4], "int8"),
                    tiny_models.tensor(kernel.shape, "int8", data=kernel),
                    tiny_models.tensor([1, 4, 4, 4], "int8"),
                ],
                [
                    tiny_models.operator(
                        schema.BuiltinOperator.DEPTHWISE_CONV_2D, [0, 1], [2], options
                    )
                ],
                [0],
                [2],
            )
        )
    )
    assert "depthwise 3x5 /2 d3x1" in words(parsed(drawing.svg(model)))


def test_dynamic_shape():
    model = reading.parse(tiny_models.conv(signature=[-1, 4, 4, 3]))
    said = words(parsed(drawing.svg(model)))
    assert "int8 ?x4x4x3" in said
    assert "?x4x4x2 relu6" in said


def test_targets_are_counted_and_marked():
    model = chain(12)
    targets = ["dlpu"] * 4 + ["cpu"] * 5 + ["unknown", "dlpu", "unknown"]
    text = drawing.svg(model, targets=targets, title="m.tflite on ARTPEC-8")
    root = parsed(text)
    said = words(root)
    assert said[0] == "m.tflite on ARTPEC-8"
    assert said[2:5] == ["DLPU 5", "CPU 5(4-8)", "unknown 2(9, 11)"]
    assert [
        g.get("data-target") for g in root.iter() if "data-operator" in g.attrib
    ] == targets
    # One look for each, which does not rest on colour alone.
    looks = {
        group.get("data-target"): (
            rect.get("rx"),
            rect.get("stroke-width"),
            rect.get("stroke-dasharray"),
        )
        for group in root.iter()
        if "data-operator" in group.attrib
        for rect in [group.find(f"{SVG}rect")]
    }
    assert len(set(looks.values())) == 3


def test_without_targets_there_is_no_legend():
    root = parsed(drawing.svg(chain(3)))
    assert not any("DLPU" in word or "CPU" in word for word in words(root))


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        (["dlpu"], "1 targets for 3 operators"),
        (["dlpu"] * 4, "4 targets for 3 operators"),
        (
            ["dlpu", "gpu", "cpu"],
            "target 'gpu' of operator 1: use dlpu, cpu or unknown",
        ),
    ],
)
def test_wrong_targets(targets, problem):
    with pytest.raises(UnusableInput, match=problem):
        drawing.svg(chain(3), targets=targets)


def test_names_are_only_text():
    evil = "<script>alert(1)</script>&\"'\x1b[31m\u202e\x00]]>"
    model = reading.parse(tiny_models.custom(evil.replace("\x00", "")))
    text = drawing.svg(
        model, targets=["cpu"], title=evil, labels={0: evil + "\ud800\ufffe"}
    )
    root = parsed(text)
    text.encode("utf-8")
    assert not any("script" in element.tag for element in root.iter())
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        *("svg", "title", "desc", "path", "text", "tspan", "rect", "g")
    }
    assert all(c.isprintable() or c == "\n" for c in text)
    title = root.find(f"{SVG}title").text
    assert title == "<script>alert(1)</script>&\"'\ufffd[31m\ufffd\ufffd]]>"


def test_long_text_is_cut():
    model = reading.parse(tiny_models.custom("N" * 100_000))
    text = drawing.svg(model, title="T" * 100_000, labels={0: "漢字" * 5000})
    assert len(text) < 10_000
    root = check(model, text)
    assert int(root.get("width")) <= 1060
    assert sum("…" in word for word in words(root)) == 3


def test_same_model_same_bytes():
    path = DATA[0]
    draw = (
        "import sys; from course_lib.tflite import drawing, reading; "
        f"sys.stdout.write(drawing.svg(reading.read({str(path)!r})))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", draw],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[1],
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {drawing.svg(reading.read(path)).encode()}


@pytest.mark.parametrize(
    "operators",
    [
        [(ADD, [0, 1], [1])],  # reads its own output
        [(ADD, [0, 2], [1]), (ADD, [1, 1], [2])],  # a circle
        [(RELU, [0], [1]), (RELU, [0], [1]), (RELU, [1], [1])],  # written three times
        [(RELU, [0], [0])],  # writes its input
        [(ADD, [-1, -1], [1]), (RELU, [], []), (RELU, [1], [-1])],
        [(CONCAT, [0] * 1000, [1] * 1000)],
        [(ADD, [5, 9], [7]), (ADD, [7, 8], [9]), (ADD, [9, 7], [8])],  # no input read
    ],
)
def test_hostile_graphs(operators):
    model = graph(*operators, outputs=[0, 0])
    check(model, drawing.svg(model, targets=["cpu"] * len(operators)))


tensor = st.integers(-1, 9)
operator = st.tuples(
    st.sampled_from([ADD, RELU]),
    st.lists(tensor, max_size=4),
    st.lists(tensor, max_size=2),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(operator, min_size=1, max_size=30))
def test_any_graph(operators):
    model = graph(*operators, outputs=[0])
    check(model, drawing.svg(model, targets=["unknown"] * len(operators)))


def test_what_is_read_too_early_is_said():
    text = drawing.svg(graph((ADD, [0, 1], [1])))
    assert "1 input is read before anything is written there." in text


@pytest.mark.parametrize("reach", [1, 5, 600])
def test_large_and_tangled(reach):
    count = drawing.LIMIT - 2
    model = graph(
        *(
            (ADD, [i, max(0, i - 7 * i % reach), max(0, i - i % reach)], [i + 1])
            for i in range(count)
        )
    )
    start = time.perf_counter()
    text = drawing.svg(model)
    assert time.perf_counter() - start < 5  # 0.7 s on two quiet cores
    assert len(boxes(parsed(text))) == count + 2


def test_too_large():
    with pytest.raises(UnusableInput, match=r"601 operators.*Netron"):
        drawing.svg(chain(599))
    full = graph(*((CONCAT, range(i + 1), [i + 1]) for i in range(80)))
    with pytest.raises(UnusableInput, match=r"2400 lines.*Netron"):
        drawing.svg(full)


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def test_png():
    text = drawing.svg(chain(3), targets=["dlpu", "cpu", "unknown"])
    root = parsed(text)
    ratio = int(root.get("height")) / int(root.get("width"))
    for width in (300, 1200):
        png = drawing.png(text, width=width)
        assert size(png) == (width, pytest.approx(width * ratio, abs=1))
    assert size(drawing.png(text))[0] == 1200
    assert drawing.png(text) == drawing.png(text)
    # There are letters: without them the picture is another.
    assert drawing.png(re.sub("<text.*?</text>", "", text)) != drawing.png(text)


@pytest.mark.parametrize(
    ("text", "width", "problem"),
    [
        ("<svg", 100, "not an SVG picture"),
        ("", 100, "not an SVG picture"),
        (drawing.svg(chain(1)), 15, "width 15"),
        (drawing.svg(chain(1)), 8193, "width 8193"),
        ('<svg viewBox="0 0 1 9999"/>', 100, "more than 50000000 pixels"),
    ],
)
def test_png_refuses(text, width, problem):
    with pytest.raises(UnusableInput, match=problem) as caught:
        drawing.png(text, width=width)
    assert "\n" not in str(caught.value)


def test_png_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UnusableInput, match="pip install resvg-py"):
        drawing.png(drawing.svg(chain(1)))


def test_png_without_fonts(monkeypatch):
    import resvg_py

    monkeypatch.setattr(drawing, "_fonts", list)
    render = resvg_py.svg_to_bytes
    monkeypatch.setattr(
        resvg_py,
        "svg_to_bytes",
        lambda **options: render(**{**options, "skip_system_fonts": True}),
    )
    with pytest.raises(UnusableInput, match="no font"):
        drawing.png(drawing.svg(chain(1)))


def test_import_is_light():
    heavy = "{'tensorflow', 'matplotlib', 'resvg_py', 'networkx'}"
    code = (
        "import sys; from course_lib.tflite import drawing, reading; "
        f"drawing.svg(reading.read({str(DATA[0])!r})); "
        f"print({heavy} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert run.stdout == "set()\n"
