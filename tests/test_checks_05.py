"""The checks of lesson 05 name the misconception that they see."""

from course_lib.course.checks import lesson_05
from course_lib.quantization import qat
from course_lib.quiet import quiet
from course_lib.tflite import reading
from course_lib.vision import datasets, models

import numpy as np
import pytest
from lessons import LESSONS, said

SCALES = {"first": 1, "second": 8, "third": 1}
VERDICTS = {"A": "narrow", "B": "pixels", "C": "fit", "D": "seen"}
WEIGHTS = [0.20, 0.15, 0.22, 0.23]


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", 7]
)
@pytest.mark.parametrize(
    "check",
    [
        lesson_05.scales_of_kernels,
        lambda answer: lesson_05.scales_of_kernels({**SCALES, "second": answer}),
        lesson_05.trained_weights,
        lambda answer: lesson_05.trained_weights([0.5, 0.5, 0, answer]),
        lesson_05.verdicts,
        lambda answer: lesson_05.verdicts({**VERDICTS, "B": answer}),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        ({**SCALES, "second": ...}, "not answered yet"),
        (SCALES, "correct"),
        ({"first": 1}, "one number for each"),
        (dict.fromkeys(SCALES, 1), "has a neighbour"),
        (dict.fromkeys(SCALES, 8), "keeps it"),
        ({"first": 8, "second": 8, "third": 4}, "keeps it"),
        ({"first": 0, "second": 8, "third": 1}, "as in the lesson"),
        ({**SCALES, "second": 0}, "whose scales"),
        ({**SCALES, "second": 3}, "output channel"),
        ({**SCALES, "second": 2}, "chooses scales itself"),
    ],
)
def test_scales_of_kernels(capsys, answer, message):
    assert message in said(capsys, lesson_05.scales_of_kernels, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        ([0, 0, 0.5, 0.5], "correct"),
        (np.array([0.5, 0, 0, 0.5]), "correct"),
        ([0.5, 0.5], "four weights"),
        (WEIGHTS, "as they were"),
        ([0.1, 0.2, 0.3, 0.2], "not on the grid"),
        ([0, 0, 0, 0], "takes the place"),
        ([0.5, 0.5, 0.5, 0.5], "far from the best"),
        ([0, 0, 0, 0.5], "far from the best"),
    ],
)
def test_trained_weights(capsys, answer, message):
    assert message in said(capsys, lesson_05.trained_weights, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        ({**VERDICTS, "A": ...}, "not answered yet"),
        (VERDICTS, "correct"),
        ({"A": "narrow"}, "one word for each"),
        ({**VERDICTS, "A": "few"}, "Use the words"),
        ({**VERDICTS, "B": "fit"}, "B: print its largest value"),
        ({**VERDICTS, "D": "fit"}, "D: compare it"),
        ({**VERDICTS, "A": "fit"}, "A: show some"),
        ({**VERDICTS, "C": "narrow"}, "C is from 0 to 1"),
        ({**VERDICTS, "A": "pixels"}, "Look at the largest value"),
    ],
)
def test_verdicts(capsys, answer, message):
    assert message in said(capsys, lesson_05.verdicts, answer)


def test_each_set_is_what_it_shall_be():
    images, labels = datasets.handwritten_digits()
    of_picture = {
        models.DIGIT_INPUT.normalise(image).tobytes(): index
        for index, image in enumerate(images)
    }
    sets = lesson_05.candidates()
    assert sets["B"].max() == 255
    sets["B"] = models.DIGIT_INPUT.normalise(sets["B"])
    found = {
        name: np.array([of_picture[picture.tobytes()] for picture in pictures])
        for name, pictures in sets.items()
    }
    kinds = {name: len(set(labels[rows])) for name, rows in found.items()}
    assert kinds == {"A": 2, "B": 10, "C": 10, "D": 10}
    held_out = datasets.DIGITS_TEST.start
    assert min(found["D"]) >= held_out > max(max(found[name]) for name in "ABC")


def test_a_forgotten_relu_costs_one_kernel_its_scale():
    """Exercise 5.1, done: with the config that the lesson types out."""
    (book,) = [book for book in LESSONS if book.slug.startswith("05_")]
    (cell,) = [cell for cell in book.code if cell.id == "quantize-config"]
    layers = qat.require_keras2().layers
    tfmot = qat.require_tfmot().quantization.keras
    scope = {"tfmot": tfmot}
    exec(cell.source, scope)
    config = scope["PerTensor"]("kernel")
    plain = [
        layers.Conv2D(8, 3, name="first", activation="relu"),
        layers.Conv2D(8, 3, name="second"),
        layers.ReLU(),
        layers.Conv2D(4, 1, name="third", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ]
    with quiet(), tfmot.quantize_scope({"PerTensor": scope["PerTensor"]}):
        import tensorflow as tf

        tf_keras = qat.require_keras2()
        model = tf_keras.Sequential(
            [
                tf_keras.Input((8, 8, 3)),
                *[
                    tfmot.quantize_annotate_layer(
                        layer, config if isinstance(layer, layers.Conv2D) else None
                    )
                    for layer in plain
                ],
            ]
        )
        student = tfmot.quantize_apply(model)
        student(np.random.default_rng(0).random((8, 8, 8, 3), np.float32), True)
        converter = tf.lite.TFLiteConverter.from_keras_model(student)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content = converter.convert()
    found = [
        len(kernel.scales) for _, kernel in reading.weights(reading.parse(content))
    ]
    assert found[:3] == list(SCALES.values())
