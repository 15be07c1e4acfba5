"""The checks of lesson 07 name the misconception that they see."""

from course_lib.course.checks import lesson_07
from course_lib.quantization import calibration, conversion
from course_lib.quiet import quiet
from course_lib.tflite import reading
from course_lib.vision import datasets, models

import numpy as np
import pytest
from lessons import said

KINDS = {"A": "float", "B": "per-channel", "C": "fits", "D": "compiled"}
CAUSES = {"A": "unequal ranges", "B": "nothing", "C": "dead channels"}


def own_images():
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def dataset():
    return calibration.representative_dataset(own_images(), std=255)


@pytest.fixture(scope="module")
def model():
    with quiet():
        import tensorflow as tf

        layers = tf.keras.layers
        stack = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)]
        return conversion.fix_batch(
            tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *stack])
        )


@pytest.fixture(scope="module")
def per_tensor(model, dataset):
    return conversion.convert_full_integer(model, dataset, granularity="per-tensor")


@pytest.fixture(scope="module")
def files(model, dataset, per_tensor):
    """Wrong answers to exercise 7.1, and the right one."""
    convert = conversion.convert_full_integer
    per_channel = convert(model, dataset, dense_per_channel=True)
    return {
        "right": per_tensor,
        "per-channel": per_channel,
        "dense": convert(model, dataset),
        "int8": convert(model, dataset, granularity="per-tensor", io="int8"),
        "float": conversion.convert_float(model),
        "ends": lesson_07.candidates(model, dataset, per_channel, per_tensor)["A"],
        "damaged": per_tensor[:100],
    }


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", 7]
)
@pytest.mark.parametrize(
    "check",
    [
        lesson_07.kinds_of_files,
        lambda answer: lesson_07.kinds_of_files(dict.fromkeys("ABCD", answer)),
        lambda answer: lesson_07.kinds_of_files({**KINDS, "C": answer}),
        lesson_07.causes_of_patients,
        lambda answer: lesson_07.causes_of_patients({**CAUSES, "B": answer}),
        lesson_07.per_tensor_file,
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        ({**KINDS, "B": ...}, "not answered yet"),
        (KINDS, "correct"),
        ({"A": "float"}, "one word for each"),
        ({**KINDS, "B": "per-axis"}, "Use the words"),
        ({**KINDS, "A": "fits"}, "A: one scale for each tensor is not all"),
        ({**KINDS, "D": "fits"}, "D: it has no tensor"),
        ({**KINDS, "B": "fits"}, "B: it is full-integer"),
        ({**KINDS, "C": "per-channel"}, "more than one scale"),
        ({**KINDS, "A": "compiled"}, "custom operator"),
        ({**KINDS, "D": "float"}, "has no tensor in float"),
    ],
)
def test_kinds_of_files(capsys, answer, message):
    assert message in said(capsys, lesson_07.kinds_of_files, answer)


def test_the_candidates_are_what_the_check_says(model, dataset, files):
    given = lesson_07.candidates(model, dataset, files["dense"], files["right"])
    read = {name: reading.parse(content) for name, content in given.items()}
    assert [name for name, m in read.items() if m.is_edge_tpu_compiled] == ["D"]
    assert [name for name, m in read.items() if m.float_operators] == ["A"]
    several = [n for n, m in read.items() if any(len(t.scales) > 1 for t in m.tensors)]
    assert several == ["B"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        ({**CAUSES, "B": ...}, "not answered yet"),
        (CAUSES, "correct"),
        ({"A": "nothing"}, "one word for each"),
        ({**CAUSES, "B": "healthy"}, "Use the words"),
        ({**CAUSES, "B": "dead channels"}, "Judge all three"),
        ({**CAUSES, "A": "nothing"}, "healthy in float only"),
        ({**CAUSES, "A": "dead channels"}, "bad per-channel too"),
        ({**CAUSES, "C": "unequal ranges"}, "fine per-channel"),
    ],
)
def test_causes_of_patients(capsys, answer, message):
    assert message in said(capsys, lesson_07.causes_of_patients, answer)


def test_the_patients_are_what_the_check_says():
    """Whose weights were changed, and how, can be read from them."""
    with quiet():
        reader = models.digit_reader("depthwise")
        patients = lesson_07.patients(reader)
    reach = {
        name: max(
            np.abs(layer.get_weights()[0]).max()
            for layer in model.layers
            if "Depthwise" in type(layer).__name__
        )
        for name, model in patients.items()
    }
    assert patients["B"] is reader
    assert reach["C"] > 100 * reach["B"]
    image = models.DIGIT_INPUT.normalise(datasets.handwritten_digits()[0][:20])
    answers = {n: m.predict(image, verbose=0) for n, m in patients.items()}
    np.testing.assert_allclose(answers["A"], answers["B"], atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("right", "correct"),
        ("per-channel", "right to the letter"),
        ("dense", "for dense layers alone"),
        ("int8", "not uint8"),
        ("float", "Nothing was quantized"),
        ("ends", "compute in float"),
        ("damaged", "converter.convert()"),
    ],
)
def test_per_tensor_file(capsys, files, kind, message):
    assert message in said(capsys, lesson_07.per_tensor_file, files[kind])


def test_an_empty_cell_is_no_answer(capsys):
    assert "not answered yet" in said(capsys, lesson_07.per_tensor_file, ...)
