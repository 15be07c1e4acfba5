"""The checks of lesson 06 name the misconception that they see."""

from course_lib.course.checks import lesson_06
from course_lib.dlpu import edgetpu, socs

import numpy as np
import pytest
import tiny_models
from ai_edge_litert.schema_py_generated import BuiltinOperator as Op
from lessons import said

PLAIN, COMPILED = "lite0.tflite", "lite0_edgetpu.tflite"
TPU, GPU, CPU = socs.SOCS["artpec7"].devices.value
RIGHT = {"A": (COMPILED, TPU), "B": (PLAIN, GPU), "C": (PLAIN, CPU)}


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes"]
)
@pytest.mark.parametrize(
    "check",
    [
        lambda answer: lesson_06.end_of_the_tpu(answer, answer),
        lambda answer: lesson_06.end_of_the_tpu(0.24, answer),
        lesson_06.file_and_device,
        lambda answer: lesson_06.file_and_device(dict.fromkeys("ABC", answer)),
        lambda answer: lesson_06.file_and_device({**RIGHT, "A": (answer, answer)}),
        lesson_06.accepted_file,
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize("recorded", lesson_06.MEMORY, ids=lambda r: r.model)
def test_the_recorded_reports_add_up(recorded):
    report = edgetpu.read_report(recorded.text)
    assert report.on_tpu + report.on_cpu == report.operators
    assert recorded.url.startswith("https://")


@pytest.mark.parametrize("recorded", [lesson_06.TRANSPOSES, lesson_06.TINY_YOLO])
def test_the_recorded_tables_add_up(recorded):
    report = edgetpu.read_report(recorded.text)
    assert sum(row.count for row in report.rows) == report.on_tpu + report.on_cpu


RESIZE = "RESIZE_NEAREST_NEIGHBOR"


@pytest.mark.parametrize(
    ("share", "operator", "message"),
    [
        (..., ..., "not answered yet"),
        (0.24, ..., "not answered yet"),
        (6 / 25, RESIZE, "correct"),
        (np.float64(0.24), RESIZE, "correct"),
        (19 / 25, RESIZE, "runs on the Edge TPU"),
        (4 / 25, RESIZE, "what comes after the end"),
        (5 / 8, RESIZE, "You counted rows"),
        (6, RESIZE, "between 0 and 1"),
        (24, RESIZE, "between 0 and 1"),
        (0.5, RESIZE, "add up the counts"),
        (0.24, "QUANTIZE", "refused for what it is"),
        (0.24, "CONCATENATION", "comes after the end"),
        (0.24, "CONV_2D", "comes after the end"),
        (0.24, "MAX_POOL_2D", "All of these are mapped"),
        (0.24, "resize", "operator's name as in the table"),
    ],
)
def test_end_of_the_tpu(capsys, share, operator, message):
    told = said(capsys, lesson_06.end_of_the_tpu, share, operator)
    assert told.startswith("Exercise 6.1: ")
    assert message in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": (..., ...)}, "not answered yet"),
        ({"B": (PLAIN, ...)}, "not answered yet"),
        ({"C": ...}, "not answered yet"),
        ({}, "correct"),
        ({"A": [COMPILED, TPU]}, "correct"),
        ({"B": (COMPILED, GPU)}, "holds edgetpu-custom-op"),
        ({"C": (COMPILED, CPU)}, "holds edgetpu-custom-op"),
        ({"A": (PLAIN, TPU)}, "only what its compiler has made"),
        ({"A": (PLAIN, GPU)}, "this camera has an Edge TPU"),
        ({"B": (PLAIN, TPU)}, "this camera has no Edge TPU"),
        ({"B": (PLAIN, CPU)}, "faster than its CPU"),
        ({"C": (PLAIN, GPU)}, "must not depend on an accelerator"),
        ({"A": (TPU, COMPILED)}, "the file, lite0_edgetpu.tflite or lite0.tflite"),
        ({"A": (COMPILED, "edge-tpu")}, "the whole name"),
        ({"B": (PLAIN, "gpu")}, "the whole name"),
        ({"C": (PLAIN, "cpu-proc")}, "the whole name"),
        ({"A": TPU}, "a pair of file and device"),
    ],
)
def test_file_and_device(capsys, changes, message):
    told = said(capsys, lesson_06.file_and_device, {**RIGHT, **changes})
    assert told.startswith("Exercise 6.3: ")
    assert message in told


def test_the_devices_are_those_of_the_table():
    assert tuple(socs.SOCS["artpec7"].devices.value) == tuple(
        device for _, device in lesson_06._DEVICES.values()
    )


def model(
    *,
    dtype="uint8",
    output=None,
    batch=1,
    size=96,
    step=1.0,
    signature=None,
    inside="int8",
    weights=None,
    dense=(),
    version=3,
):
    """Return a file: QUANTIZE, a dense layer, QUANTIZE; or one of its faults."""
    scale = {"scales": [step], "zero_points": [0]}
    image = [batch, size, size, 3]

    def outer(kind):
        return {} if kind == "float32" else scale

    output, weights = output or dtype, weights or inside
    kernel = np.ones((2, 3), weights).tobytes()
    tensors = [
        tiny_models.tensor(image, dtype, signature=signature, **outer(dtype)),
        tiny_models.tensor(image, inside, **outer(inside)),
        tiny_models.tensor(
            [2, 3],
            weights,
            data=kernel,
            **(
                {"scales": dense, "zero_points": [0] * len(dense)}
                if dense
                else outer(weights)
            ),
        ),
        tiny_models.tensor([batch, 2], inside, **outer(inside)),
        tiny_models.tensor([batch, 2], output, **outer(output)),
    ]
    operators = [
        tiny_models.operator(Op.QUANTIZE, [0], [1], version=1),
        tiny_models.operator(Op.FULLY_CONNECTED, [1, 2, -1], [3], version=version),
        tiny_models.operator(Op.QUANTIZE, [3], [4], version=1),
    ]
    return tiny_models.build((tensors, operators, [0], [4]))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (model(), "correct"),
        (model(signature=[-1, 96, 96, 3]), "A size of the file is dynamic"),
        (model(output="float32"), "Input or output is float32"),
        (model(dtype="float32"), "Input or output is float32"),
        (model(dtype="int8"), "the camera delivers uint8"),
        (model(batch=2), "not at 1"),
        (model(size=224), "another model"),
        (model(step=1 / 255), "scale does not fit pixels"),
        (model(dense=[0.5, 1.0]), "The dense layer has one scale for each channel"),
        (model(version=99), "The linter still has an error"),
        (model(dtype="float32", inside="float32"), "Nothing was quantized"),
        (
            model(dtype="float32", inside="float32", weights="int8"),
            "The weights alone are integers",
        ),
        (model()[:100], "Give the bytes"),
        ("accepted.tflite", "Give the bytes"),
    ],
)
def test_accepted_file(capsys, answer, message):
    told = said(capsys, lesson_06.accepted_file, answer)
    assert told.startswith("Exercise 6.2: ")
    assert message in told
