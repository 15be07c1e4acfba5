"""The checks of lesson 02 judge right and wrong answers, and recognise mistakes."""

from course_lib.course.checks import lesson_02 as checks
from course_lib.vision import models

import numpy as np
import pytest
from lessons import said

normalise = models.EFFICIENTNET_LITE0_INPUT.normalise
RIGHT = {"A": False, "B": True, "C": False}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"A": ..., "B": ..., "C": ...}, "not answered yet"),
        (RIGHT, "correct"),
        ({**RIGHT, "A": True}, "A: after the shuffle"),
        ({**RIGHT, "C": True}, "C: the test frames are later"),
        ({**RIGHT, "B": False}, "B: has the training seen"),
        ({"A": False}, "True or False for each"),
        ({"A": None, "B": "x", "C": None}, "nothing else"),
        ({**RIGHT, "B": "True"}, "nothing else"),
        ("B", "True or False for each"),
        (None, "True or False for each"),
    ],
)
def test_a_new_place(capsys, answer, message):
    told = said(capsys, checks.measures_a_new_place, answer)
    assert message in told
    assert ("correct" in told) == (answer == RIGHT)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (144 * 9 * 64 * 64, "correct"),
        (9 * 64 * 64, "number of weights"),
        (9 * 64 * 64 + 64, "number of weights"),
        (144 * 9 * 64, "all channels"),
        (144 * 64 * 64, "1 by 1"),
        (100 * 9 * 64 * 64, "without padding"),
        (2 * 144 * 9 * 64 * 64, "Additions"),
        (36 * 9 * 64 * 64, "6 by 6"),
        (144 * 9 * 112 * 64, "layer narrow"),
        (5, "Positions of the output"),
        ("many", "Positions of the output"),
    ],
)
def test_multiplications(capsys, answer, message):
    told = said(capsys, checks.multiplications_of_look, answer)
    assert message in told
    assert str(144 * 9 * 64 * 64) not in told


def wraps(pixels):
    return (pixels - np.uint8(127)) / 128


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (normalise, "correct"),
        (lambda pixels: (pixels.astype(float) - 127) / 128, "correct"),
        (lambda pixels: normalise(pixels / 255), "nearly one number"),
        (lambda pixels: pixels / 255, "0 to 1"),
        (lambda pixels: normalise(pixels)[..., ::-1], "changed places"),
        (lambda pixels: pixels / 127.5 - 1, "another family"),
        (lambda pixels: (pixels.astype(float) - 128) / 127, "changed places"),
        (lambda pixels: normalise(pixels) / 255, "divided twice"),
        (lambda pixels: pixels, "as they come"),
        (wraps, "wraps around"),
        (lambda pixels: normalise(pixels)[None], "shape"),
        (lambda pixels: pixels.nothing, "does not return"),
        (3, "does not return"),
        (lambda pixels: normalise(pixels) + 1, "in real numbers"),
    ],
)
def test_prepare(capsys, answer, message):
    assert message in said(capsys, checks.prepares, answer)
