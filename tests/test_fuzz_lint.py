"""The linter on damaged and hostile files, and what it costs to start it."""

import os
import subprocess
import sys
import time
from pathlib import Path

from course_lib.dlpu import rules
from course_lib.dlpu.socs import SOCS
from course_lib.errors import UnusableInput
from course_lib.tflite import enums, reading

import flatbuffers
import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

ROOT = Path(__file__).parent.parent
ADD = schema.BuiltinOperator.ADD
# What takes longer to import than a file to judge, or is not there without an extra.
HEAVY = {"tensorflow", "keras", "matplotlib", "onnx", "onnxruntime", "numpy", "PIL"}


def test_a_short_run_of_the_fuzzer(tmp_path):
    """The long run: `python tools/fuzz_lint.py --count 50000 --processes 2`."""
    done = subprocess.run(
        [sys.executable, "tools/fuzz_lint.py", "--count", "400", "--keep", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "400 mutants" in done.stdout
    assert "reported" in done.stdout
    assert "refused by the reader" in done.stdout


# What the fuzzer has found


def judged(content: bytes) -> None:
    """Judge a file for every chip; a refusal must be one line, and nothing slow."""
    start = time.process_time()
    try:
        model = reading.parse(content)
        for soc in SOCS:
            rules.lint(model, soc=soc)
    finally:
        assert time.process_time() - start < 2


def ends(
    *,
    outputs: int,
    name: str = "x",
    operators: int = 1,
    reads: int = 1,
    graphs: int = 1,
) -> bytes:
    """Write a file whose operators and outputs are one and the same, many times."""
    build = flatbuffers.Builder(1024)

    def repeated(entry: int, count: int, *, offset: bool) -> int:
        build.StartVector(4, count, 4)
        put = build.PrependUOffsetTRelative if offset else build.PrependInt32
        for _ in range(count):
            put(entry)
        return build.EndVector()

    text = build.CreateString(name)
    schema.TensorStart(build)
    schema.TensorAddName(build, text)
    schema.TensorAddType(build, schema.TensorType.INT8)
    tensors = repeated(schema.TensorEnd(build), 1, offset=True)
    inputs, one = repeated(0, reads, offset=False), repeated(0, 1, offset=False)
    schema.OperatorStart(build)
    schema.OperatorAddInputs(build, inputs)
    schema.OperatorAddOutputs(build, one)
    table = repeated(schema.OperatorEnd(build), operators, offset=True)
    last = repeated(0, outputs, offset=False)
    schema.SubGraphStart(build)
    schema.SubGraphAddTensors(build, tensors)
    schema.SubGraphAddInputs(build, one)
    schema.SubGraphAddOutputs(build, last)
    schema.SubGraphAddOperators(build, table)
    subgraphs = repeated(schema.SubGraphEnd(build), graphs, offset=True)
    schema.OperatorCodeStart(build)
    codes = repeated(schema.OperatorCodeEnd(build), 1, offset=True)
    schema.BufferStart(build)
    buffers = repeated(schema.BufferEnd(build), 1, offset=True)
    schema.ModelStart(build)
    schema.ModelAddOperatorCodes(build, codes)
    schema.ModelAddSubgraphs(build, subgraphs)
    schema.ModelAddBuffers(build, buffers)
    build.Finish(schema.ModelEnd(build), b"TFL3")
    return bytes(build.Output())


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"outputs": 30_000}, "30001 inputs and outputs"),
        ({"outputs": 1, "operators": 20_000}, "20000 operators"),
        ({"outputs": 1, "operators": 100, "reads": 30_000}, "3000100 references"),
        ({"outputs": 1, "operators": 100, "graphs": 150}, "15000 operators"),
        ({"outputs": 900, "name": "n" * 30_000}, "characters in the names"),
    ],
    ids=["outputs", "operators", "reads", "graphs", "names"],
)
def test_floods_are_refused(how, what):
    """Small files whose tables share what they point to, and which took minutes."""
    with pytest.raises(UnusableInput, match=what):
        judged(ends(**how))


def test_names_of_digits_are_read_once():
    """A search for the number at a name's end took the square of its length."""
    judged(ends(outputs=2, name="1" * 60_000 + "x"))


def test_large_sound_files_pass():
    """Several times the operators of the largest models for cameras."""
    count = 3000
    scaled = {"scales": [0.5]}
    tensors = [
        tiny_models.tensor((1, 8, 8, 6), "int8", name=f"block/{n}/add", **scaled)
        for n in range(count + 1)
    ]
    operators = [tiny_models.operator(ADD, [n, n], [n + 1]) for n in range(count)]
    judged(tiny_models.build((tensors, operators, [0], [count])))


def test_long_names_are_cut_in_messages():
    content = tiny_models.build(
        (
            [
                tiny_models.tensor((1, 4), "float32", name="n" * 5000),
                tiny_models.tensor((1, 4), "float32", name="out"),
            ],
            [tiny_models.operator(ADD, [0, 0], [1])],
            [0],
            [1],
        )
    )
    report = rules.lint(reading.parse(content), soc="artpec8")
    named = [f for f in report.findings if f.tensor == "n" * 5000]
    assert named
    assert all(len(finding.message) < 1500 for finding in named)


def test_custom_operators_alone_may_be_float():
    """The search for the first float operator ended the rule with StopIteration."""
    tensors = [tiny_models.tensor((1, 4), "float32", name="boxes")]
    lone = tiny_models.operator("TFLite_Detection_PostProcess", [], [0])
    judged(tiny_models.build((tensors, [lone], [], [0])))


# What it costs to start


@pytest.mark.parametrize("draw", [False, True], ids=["", "draw"])
@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_lint_imports_nothing_heavy(form, draw, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_models.conv())
    line = ["lint", str(path), "--soc", "artpec8", "--format", form]
    line += ["--draw", str(tmp_path / "graph.svg")] if draw else []
    code = (
        "import sys; from course_lib.cli import dlpu\n"
        f"try: dlpu({line!r})\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "course_lib" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (enums.TENSOR_TYPE, schema.TensorType),
        (enums.PADDING, schema.Padding),
        (enums.ACTIVATION, schema.ActivationFunctionType),
        (enums.MIRROR_PAD_MODE, schema.MirrorPadMode),
        (enums.OPERATOR, schema.BuiltinOperator),
    ],
    ids=["types", "paddings", "activations", "modes", "operators"],
)
def test_enumerations_agree_with_the_generated_classes(ours, theirs):
    """A newer schema may know more; then add them to course_lib/tflite/enums.py."""
    numbers = {n: name for name, n in vars(theirs).items() if name[0] != "_"}
    assert ours == numbers


def test_options_agree_with_the_generated_classes():
    known = {n: name for name, n in vars(schema.BuiltinOptions).items()}
    assert {number: known[number] for number in enums.OPTIONS} == enums.OPTIONS
    assert enums.OPERATOR[enums.CUSTOM] == "CUSTOM"


def padded(pads):
    graph = tiny_models.Graph()
    image = graph.input((1, 4, 4, 3))
    places = graph.constant(pads, str(pads.dtype), name="pads")
    graph.add("PAD", [image, places], (1, 4, 4, 3))
    return reading.parse(graph.file())


def test_paddings_need_not_come_in_pairs():
    for soc in SOCS:
        rules.lint(padded(np.array([1], np.int32)), soc=soc)


def test_paddings_are_whole_numbers():
    with pytest.raises(UnusableInput, match="whole numbers are expected"):
        rules.lint(padded(np.array([0.5], np.float32)), soc="artpec9")
