"""The checks of lesson 10 name the misconception that they see."""

from course_lib.course.checks import lesson_10
from course_lib.dlpu import cvflow
from course_lib.tflite import inference
from course_lib.vision import models

import numpy as np
import pytest
from lessons import said

VARIANCE = models.weights("digit_reader_depthwise")["stem_bn/variance"]
GROWTH = np.sqrt((VARIANCE + 1e-3) / (VARIANCE + 1e-5))
FILE = lesson_10.ARTEFACTS / "litert_torch_per_channel.tflite"
TENSOR = "onnx2tf_per_tensor.tflite"
RIGHT = {
    "artpec7": (TENSOR, 200),
    "artpec8": (TENSOR, 200),
    "cv75": ("reader.onnx", 200),
}


@pytest.mark.parametrize(
    "answer",
    [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", (1, 2)],
)
@pytest.mark.parametrize(
    "check",
    [
        lesson_10.epsilon,
        lesson_10.repaired,
        lambda answer: lesson_10.repaired(lambda pictures: answer),
        lesson_10.choice,
        lambda answer: lesson_10.choice({**RIGHT, "artpec7": answer}),
        lambda answer: lesson_10.choice({**RIGHT, "cv75": (answer, 200)}),
        lambda answer: lesson_10.choice({**RIGHT, "cv75": ("reader.onnx", answer)}),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (GROWTH.max(), "correct"),
        (1.1025, "correct"),
        (1.1, "correct"),
        (1.11, "Gamma cancels"),
        (GROWTH.max() ** 2, "function stands around"),
        (1 / GROWTH.max(), "turned round"),
        (GROWTH.mean(), "typical channel"),
        (np.median(GROWTH), "typical channel"),
        (GROWTH.min(), "changes least"),
        (GROWTH.max() - 1, "Give the factor"),
        (100 * (GROWTH.max() - 1), "Give the factor"),
        (1.0790, "another layer"),
        (2, "Gamma cancels"),
    ],
)
def test_epsilon(capsys, answer, message):
    assert message in said(capsys, lesson_10.epsilon, answer)


def feed(change):
    return lambda pictures: inference.predict(FILE, change(pictures))


def less(pixels):
    return (pixels.astype(np.int16) - 128).astype(np.int8)


def planes(pictures):
    return cvflow.planar(pictures).reshape(pictures.shape)


def other_file(pictures):
    return inference.predict(lesson_10.ARTEFACTS / TENSOR, pictures)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (lambda pictures: ..., "not answered yet"),
        (feed(less), "correct"),
        (feed(lambda p: (p ^ 128).view(np.int8)), "correct"),
        (feed(np.float32), "floats were sent"),
        (feed(lambda p: planes(p).view(np.int8)), "silence an error"),
        (feed(lambda p: less(planes(p))), "moves no byte"),
        (feed(lambda p: p.view(np.int8)), "zero point ask for"),
        (feed(lambda p: np.float32(p) / 255), "divided by 255"),
        (feed(lambda p: np.clip(p, 0, 127).astype(np.int8)), "interleaved"),
        (feed(lambda p: less(np.minimum(p, 230))), "clipped or cut"),
        (feed(cvflow.planar), "The function failed: UnusableInput"),
        (lambda p: feed(less)(p).argmax(1), "all ten probabilities"),
        (lambda p: None, "Is there a `return`?"),
        (other_file, "another file's answers"),
        (feed(less)(lesson_10._digits()), "the function itself"),
    ],
)
def test_repaired(capsys, answer, message):
    assert message in said(capsys, lesson_10.repaired, answer)


def test_the_check_hands_out_a_copy(capsys):
    def spoil(pictures):
        pictures[:] = 0
        return pictures

    assert "not yet" in said(capsys, lesson_10.repaired, spoil)
    assert "correct" in said(capsys, lesson_10.repaired, feed(less))


@pytest.mark.parametrize(
    ("chip", "pair", "message"),
    [
        ("artpec7", (..., ...), "not answered yet"),
        ("cv75", ("reader.onnx", ...), "not answered yet"),
        ("artpec7", ("litert_torch_per_tensor.tflite", 72), "correct"),
        ("artpec8", (TENSOR, np.int64(200)), "correct"),
        ("artpec7", [TENSOR, 200], "give a pair"),
        ("artpec7", "name", "give a pair"),
        ("artpec7", ("nothing.tflite", 200), "no such file"),
        ("artpec7", ("versions.json", 200), "no model"),
        ("artpec7", ("expected.npz", 200), "no model"),
        ("artpec7", ("reader.onnx", 200), "takes .tflite"),
        ("artpec7", ("onnx2tf_per_channel.tflite", 200), "dense-per-channel"),
        ("artpec7", ("onnx2tf_float.tflite", 200), "not-full-integer"),
        ("artpec8", ("onnx2tf_per_channel.tflite", 200), "per-channel-weights"),
        ("artpec8", ("litert_torch_planar.tflite", 200), "planar-input"),
        ("artpec8", ("litert_torch_interleaved.tflite", 72), "transposes"),
        ("artpec8", ("litert_torch_per_tensor.tflite", 200), "ends at 127"),
        ("artpec8", ("litert_torch_per_tensor.tflite", -56), "What does 0 become"),
        ("artpec8", ("litert_torch_per_tensor.tflite", 100), "zero point once more"),
        ("artpec8", (TENSOR, 72), "uint8, the camera's bytes"),
        ("artpec8", (TENSOR, -56), "uint8, the camera's bytes"),
        ("artpec8", (TENSOR, 0.78), "zero point once more"),
        ("artpec8", (TENSOR, "200"), "is an integer"),
        ("cv75", (TENSOR, 200), "tflite-input"),
        ("cv75", ("onnx2tf_float.tflite", 200), "tflite-input"),
        ("cv75", ("reader.onnx", 72), "uint8, the camera's bytes"),
    ],
)
def test_choice(capsys, chip, pair, message):
    assert message in said(capsys, lesson_10.choice, {**RIGHT, chip: pair})


@pytest.mark.parametrize(
    "answer",
    [
        {"artpec7": (TENSOR, 200)},
        {**RIGHT, "artpec9": (TENSOR, 200)},
        list(RIGHT.values()),
    ],
)
def test_all_three_chips_are_asked_for(capsys, answer):
    assert "one pair for each" in said(capsys, lesson_10.choice, answer)
