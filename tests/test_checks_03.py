"""The checks of lesson 03 name the misconception that they see."""

from course_lib.course.checks import lesson_03

import numpy as np
import pytest
from lessons import said

MIXED, POSITIVE = (4.5 / 255, -71), (6 / 255, -128)


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes"]
)
@pytest.mark.parametrize(
    "check",
    [
        lambda answer: lesson_03.scale_and_zero_point(answer, answer),
        lambda answer: lesson_03.scale_and_zero_point(MIXED, (answer, answer)),
        lesson_03.depthwise_kernel,
        lambda answer: lesson_03.depthwise_kernel(lambda kernel: answer),
        lambda answer: lesson_03.depthwise_kernel(lambda kernel: (answer, answer)),
        lesson_03.accumulator,
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("mixed", "positive", "message"),
    [
        (..., ..., "not answered yet"),
        (MIXED, ..., "not answered yet"),
        ((4.5 / 255, ...), POSITIVE, "not answered yet"),
        (MIXED, POSITIVE, "correct"),
        ((0.01765, -71), (np.float32(6 / 255), np.int8(-128)), "correct"),
        ((4.5 / 256, -71), POSITIVE, "−1..3.5: 256 integers have 255 steps"),
        ((0.0176, -71), POSITIVE, "rounded too far"),
        ((-71, 4.5 / 255), POSITIVE, "the scale comes first"),
        ((3.5 / 127, 0), POSITIVE, "−1..3.5: that is the symmetric choice"),
        ((3.5 / 127.5, 0), POSITIVE, "−1..3.5: that is the symmetric choice"),
        ((255 / 4.5, -71), POSITIVE, "steps per unit"),
        ((0.5, -71), POSITIVE, "width of the widened range"),
        ((4.5 / 255, 71), POSITIVE, "wrong sign"),
        ((4.5 / 255, 57), POSITIVE, "zero point of uint8"),
        ((4.5 / 255, -72), POSITIVE, "rounded to the nearest"),
        ((4.5 / 255, -71.33), POSITIVE, "rounded to the nearest"),
        ((4.5 / 255, 0), POSITIVE, "count the steps"),
        (MIXED, (5 / 255, -128), "1..6: the range does not contain 0"),
        (MIXED, (6 / 256, -128), "1..6: 256 integers have 255 steps"),
        (MIXED, (6 / 127, 0), "1..6: that is the symmetric choice"),
        (MIXED, (6 / 255, 0), "1..6: that is the zero point of uint8"),
        (MIXED, (6 / 255, 127), "1..6: the zero point has the wrong sign"),
        (MIXED, "six", "Give two pairs"),
    ],
)
def test_scale_and_zero_point(capsys, mixed, positive, message):
    told = said(capsys, lesson_03.scale_and_zero_point, mixed, positive)
    assert told.startswith("Exercise 3.1: ")
    assert message in told


def by_axes(axes, *, steps=127, dtype=np.int8, magnitude=np.abs):
    """Return a solution that takes the maximum over the axes given."""

    def quantize(kernel):
        scale = magnitude(kernel).max(axis=axes, keepdims=True) / steps
        integers = np.round(kernel / scale)
        return integers.astype(dtype), scale.reshape(-1)

    return quantize


def clipped(kernel):
    integers, scale = by_axes((0, 1, 2))(kernel)
    return np.clip(integers, -100, 100), scale


@pytest.mark.parametrize(
    ("repaired", "message"),
    [
        (..., "not answered yet"),
        (by_axes((0, 1, 2)), "correct"),
        (by_axes((1, 2, 3)), "One scale for seven channels"),
        (by_axes((0, 2, 3)), "height or the width"),
        (by_axes((0, 1, 3)), "height or the width"),
        (by_axes((0, 3)), "each position of the kernel"),
        (by_axes(0), "One scale for each weight"),
        (by_axes((0, 1, 2), steps=128), "Divided by 128"),
        (by_axes((0, 1, 2), steps=127.5), "divide by 127"),
        (by_axes((0, 1, 2), magnitude=np.asarray), "take magnitudes first"),
        (by_axes((0, 1, 2), dtype=np.float32), "integers are to be int8"),
        (clipped, "more than half a step"),
        (lambda kernel: kernel[9], "failed on a kernel of 1 × 3 × 5 × 7: IndexError"),
        (lambda kernel: 1 / 0, "ZeroDivisionError: division by zero"),
        (7, "Return the int8 kernel"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_depthwise_kernel(capsys, repaired, message):
    told = said(capsys, lesson_03.depthwise_kernel, repaired)
    assert told.startswith("Exercise 3.2: ")
    assert message in told


def right_accumulator() -> int:
    """Compute the answer with none of the check's code."""
    patch = lesson_03.PATCH.astype(np.int32) - lesson_03.INPUT_ZERO_POINT
    products = patch @ lesson_03.KERNEL.astype(np.int32)
    step = lesson_03.INPUT_SCALE * lesson_03.KERNEL_SCALE
    return int(products) + round(lesson_03.BIAS / step)


WIDE, NARROW = lesson_03.PATCH.astype(int), lesson_03.PATCH
KERNEL, ZERO = lesson_03.KERNEL, lesson_03.INPUT_ZERO_POINT


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (right_accumulator(), "correct"),
        (np.int32(right_accumulator()), "correct"),
        (right_accumulator() + 0.5, "Nearly"),
        ((WIDE - ZERO) @ KERNEL, "The bias counts in steps"),
        ((WIDE - ZERO) @ KERNEL + 0.75, "The bias counts in steps"),
        ((WIDE - ZERO) @ KERNEL + 0.75 / 0.005, "both: input scale × kernel scale"),
        ((WIDE - ZERO) @ KERNEL + 0.75 / 0.02, "both: input scale × kernel scale"),
        (WIDE @ KERNEL, "The zero point is still inside"),
        (WIDE @ KERNEL + 7500, "The zero point is still inside"),
        ((WIDE + ZERO) @ KERNEL + 7500, "The zero point is subtracted"),
        ((NARROW - ZERO) @ KERNEL, "wrapped around"),
        (((NARROW - ZERO) * KERNEL).sum() + 7500, "wrapped around"),
        ((NARROW - ZERO).astype(int) @ KERNEL + 7500, "wrapped around"),
        ((NARROW * KERNEL).sum(), "wrapped around"),
        (NARROW @ KERNEL, "wrapped around"),
        (3, "Subtract the zero point"),
    ],
)
def test_accumulator(capsys, answer, message):
    told = said(capsys, lesson_03.accumulator, answer)
    assert told.startswith("Exercise 3.3: ")
    assert message in told
