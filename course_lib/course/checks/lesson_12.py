"""Checks of lesson 12, and the enlarged test set of its third exercise."""

from functools import cache
from typing import Any

from course_lib.course.checks import judge
from course_lib.tflite import inference
from course_lib.vision import datasets, models
from course_lib.vision.evaluation import bootstrap_interval

import numpy as np

PUZZLES = models.DATA / "puzzles"
CAUSES = (
    *("float-model", "shared-scale", "calibration", "dead-channels"),
    *("unequal-ranges", "silu", "rounding"),
)
_LAYER, _CAUSE = "block2_depthwise", "unequal-ranges"
# Where the planted factors come from: the layer before carries them too.
_BEFORE = "block1_project"
_LAST = ("block2_project", "pool", "classifier", "PartitionedCall", "softmax")
# The enlarged test set: so many digits, each moved by these pixels both ways.
_DIGITS, _SHIFTS = 20, (-2, 0, 2)
# Two seeds move an end by a hundredth of the width; other quantiles by less.
_TOLERANCE = 0.1


def broken_layer(layer: str, cause: str) -> None:
    """Check exercise 12.1: the layer that broke `e_int8.tflite`, and why.

    Introduced in notebook 12.
    """
    judge(
        "12.1",
        (layer, cause),
        is_right=lambda a: _LAYER in a[0] and a[1] == _CAUSE,
        hints=[
            (
                lambda a: a[1] not in CAUSES,
                "Give the layer's name, then one of the ids in the table of causes.",
            ),
            (
                lambda a: any(last.lower() in a[0].lower() for last in _LAST),
                "The SQNR is low there because every error before it arrives there. "
                "Where does it fall, and whose weights alone bring the output down?",
            ),
            (
                lambda a: a[1] == "float-model",
                "The float file reads the digits as well as the healthy one: count.",
            ),
            (
                lambda a: a[1] == "calibration",
                "A wrong range shows in many layers: in how much of it is used, or in "
                "how many values lie outside. Look at `used` and `saturated`.",
            ),
            (
                lambda a: a[1] == "dead-channels",
                "Every channel of this file acts: see `dead` of the layers.",
            ),
            (
                lambda a: a[1] in ("silu", "shared-scale"),
                "The network has ReLU alone, and no concatenation.",
            ),
            (
                lambda a: a[1] == "rounding",
                "There is a mark. Compare the channels of this layer's weights with "
                "each other, and with those of the healthy file.",
            ),
            (
                lambda a: _BEFORE in a[0],
                "The channels of this layer's output are unequal too, but its weights "
                "alone do less harm than those of another.",
            ),
        ],
        otherwise="Compare both files: which weights, alone, do most harm?",
    )


def accused(cause: str, float_correct: int, int8_correct: int) -> None:
    """Check exercise 12.2: what is wrong with `f`, and two counts of 597; exact.

    Introduced in notebook 12.
    """
    right = _counts("f_float", "f_int8")
    healthy = _counts("reader_float", "reader_int8")
    judge(
        "12.2",
        (cause, float_correct, int8_correct),
        is_right=lambda a: a == ("float-model", *right),
        hints=[
            (
                lambda a: a[0] not in CAUSES,
                "Give one of the ids in the table of causes.",
            ),
            (
                lambda a: any(0 < share < 1 for share in a[1:]),
                "Give counts of right answers, not shares.",
            ),
            (
                lambda a: a[1] == healthy[0],
                "That is `reader_float.tflite`. File `f` was made from another "
                "training, and has a float file of its own.",
            ),
            (
                lambda a: a[1] == _unscaled() != right[0],
                "The float file got pixels up to 255. It takes values from 0 to 1.",
            ),
            (
                lambda a: a[0] != "float-model" and a[1:] == right,
                "Your counts are right. If quantization were to blame, which of the "
                "two would be high?",
            ),
            (
                lambda a: a[0] != "float-model",
                "You blame the quantization. How many digits does the float file get "
                "right?",
            ),
        ],
        otherwise="Run both files on the 597 digits and count the right answers.",
    )


def shifted_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the enlarged test set of exercise 12.3.

    Returns:
        images uint8 [180, 16, 16, 1]; labels int [180]; the number of the digit that
        each was made from, int [180].

    Introduced in notebook 12.
    """
    images, labels = (
        of[datasets.DIGITS_TEST][:_DIGITS] for of in datasets.handwritten_digits()
    )
    moved = [
        np.roll(images, (down, right), axis=(1, 2))
        for down in _SHIFTS
        for right in _SHIFTS
    ]
    digit = np.arange(_DIGITS)
    return (
        np.concatenate(moved),
        np.tile(labels, len(moved)),
        np.tile(digit, len(moved)),
    )


def interval_of_difference(answer: tuple[float, float]) -> None:
    """Check exercise 12.3: a paired interval over digits, `d` minus `reader`.

    Each end may be off by a tenth of the interval's width.

    Introduced in notebook 12.
    """
    healthy, other, digit = _shifted_hits()
    each = np.arange(len(digit))

    def near(values: np.ndarray, groups: np.ndarray) -> Any:
        low, high = bootstrap_interval(values, groups, seed=0, rounds=10_000)
        allowed = _TOLERANCE * (high - low)
        return lambda a: (
            len(a) == 2 and abs(a[0] - low) <= allowed and abs(a[1] - high) <= allowed
        )

    judge(
        "12.3",
        answer,
        is_right=near(other - healthy, digit),
        hints=[
            (lambda a: len(a) != 2, "Give two numbers, (low, high)."),
            (lambda a: a[0] > a[1], "Give the lower end first."),
            (
                near(healthy - other, digit),
                "That is `reader` minus `d`: the sign is turned round.",
            ),
            (
                near(other - healthy, each),
                "Nine shifts of one digit are right or wrong together. Give the "
                "bootstrap the number of the digit as the group.",
            ),
            (
                lambda a: near(other, digit)(a) or near(healthy, digit)(a),
                "That is the accuracy of one file. Subtract picture by picture first.",
            ),
            (
                lambda a: near(other, each)(a) or near(healthy, each)(a),
                "That is the accuracy of one file, and with 180 trials. Subtract "
                "picture by picture first, then draw digits.",
            ),
            (
                near((other - healthy)[:_DIGITS], digit[:_DIGITS]),
                "These are 20 of the 180 pictures. All may be used, if each digit and "
                "its shifts are drawn together.",
            ),
        ],
        otherwise="Count what each file gets right, picture by picture; subtract; "
        "bootstrap the differences over groups.",
    )


@cache
def _test_digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = datasets.handwritten_digits()
    return images[datasets.DIGITS_TEST], labels[datasets.DIGITS_TEST]


def _right(name: str, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return inference.predict(PUZZLES / f"{name}.tflite", inputs).argmax(1) == labels


@cache
def _counts(float_name: str, int8_name: str) -> tuple[int, int]:
    images, labels = _test_digits()
    normalised = models.DIGIT_INPUT.normalise(images)
    return (
        int(_right(float_name, normalised, labels).sum()),
        int(_right(int8_name, images, labels).sum()),
    )


@cache
def _unscaled() -> int:
    images, labels = _test_digits()
    return int(_right("f_float", np.float32(images), labels).sum())


@cache
def _shifted_hits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, labels, digit = shifted_digits()
    healthy, other = (
        _right(name, images, labels).astype(int) for name in ("reader_int8", "d_int8")
    )
    return healthy, other, digit
