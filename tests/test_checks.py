"""The checks of lessons 00 and 04 name the misconception that they see."""

from course_lib.course.checks import judge, lesson_00, lesson_04
from course_lib.quantization import calibration
from course_lib.tflite import reading

import numpy as np
import pytest
from lessons import said


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes"]
)
@pytest.mark.parametrize(
    "check",
    [
        lesson_00.bytes_of_input,
        lesson_04.faults,
        lesson_04.int8_pixel,
        lesson_04.repaired_file,
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


def test_part_of_a_tuple_may_be_unanswered(capsys):
    judge("1.1", (1, ...), is_right=lambda a: True, otherwise="")
    assert capsys.readouterr().out == "Exercise 1.1: not answered yet.\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (27648, "correct"),
        (9216, "three colour channels"),
        (110592, "float32 takes four"),
        (221184, "divide by 8"),
        (96, "Multiply height"),
    ],
)
def test_bytes_of_input(capsys, answer, message):
    assert message in said(capsys, lesson_00.bytes_of_input, answer)


RIGHT = {"A": "scale", "B": "none", "C": "alike", "D": "range"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (dict.fromkeys("ABCD", ...), "not answered yet"),
        (RIGHT, "correct"),
        (RIGHT | {"A": "range", "D": "scale"}, "swapped"),
        (RIGHT | {"B": "alike"}, "Set B"),
        (RIGHT | {"C": "none"}, "set C side by side"),
        (RIGHT | {"D": "none"}, "does set D reach both"),
        (RIGHT | {"C": "too dark"}, "Use the words"),
    ],
)
def test_faults(capsys, answer, message):
    assert message in said(capsys, lesson_04.faults, answer)


def test_the_suspects_have_the_faults_that_the_check_expects():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    for name, dataset in lesson_04.suspects(images).items():
        found = calibration.check(dataset, expected_range=(-1, 1))
        assert [finding.rule for finding in found] or [RIGHT[name]] == ["none"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (72, "correct"),
        (200, "does not fit into int8"),
        (-56, "read as a signed number"),
        (73, "Add the zero point"),
        (74, "is added"),
        (127, "does not saturate"),
        (0, "Normalise the pixel"),
    ],
)
def test_int8_pixel(capsys, answer, message):
    assert message in said(capsys, lesson_04.int8_pixel, answer)


@pytest.fixture(scope="module")
def files():
    """The person model, converted well and badly."""
    tf = pytest.importorskip("tensorflow")
    from course_lib.quantization import conversion
    from course_lib.vision import datasets, models

    fixed = conversion.fix_batch(models.person_detector())
    images = datasets.calibration_images(96)[:20]
    pixels = calibration.representative_dataset(images, std=1.0)
    unit = calibration.representative_dataset(images, std=255.0)
    dynamic = tf.lite.TFLiteConverter.from_concrete_functions(
        [fixed.function], tf.Module()
    )
    dynamic.optimizations = [tf.lite.Optimize.DEFAULT]
    inside = tf.lite.TFLiteConverter.from_concrete_functions(
        [fixed.function], tf.Module()
    )
    inside.optimizations = [tf.lite.Optimize.DEFAULT]
    inside.representative_dataset = pixels
    dense = tf.lite.TFLiteConverter.from_concrete_functions(
        [fixed.function], tf.Module()
    )
    dense.optimizations = [tf.lite.Optimize.DEFAULT]
    dense.representative_dataset = pixels
    dense.inference_input_type = dense.inference_output_type = tf.uint8
    return {
        "good": conversion.convert_full_integer(fixed, pixels),
        "dense per-channel": dense.convert(),
        "float": conversion.convert_float(fixed),
        "dynamic range": dynamic.convert(),
        "float input": inside.convert(),
        "int8 input": conversion.convert_full_integer(fixed, pixels, io="int8"),
        "images of 0..1": conversion.convert_full_integer(fixed, unit),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("good", "correct"),
        ("float", "nothing was quantized"),
        ("dynamic range", "representative dataset"),
        ("float input", "still float32"),
        ("int8 input", "the camera delivers uint8"),
        ("images of 0..1", "images of 0..1"),
        ("dense per-channel", "The dense layer has one scale for each channel"),
    ],
)
def test_repaired_file(capsys, files, name, message):
    assert message in said(capsys, lesson_04.repaired_file, files[name])


def test_the_good_file_is_what_the_lesson_asks_for(files):
    (entry,) = reading.parse(files["good"]).inputs
    assert (entry.dtype, entry.scale, entry.zero_point) == ("uint8", 1.0, 0)
