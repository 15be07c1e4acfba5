"""Checks of lesson 02."""

from collections.abc import Callable
from typing import Any

from course_lib.course.checks import judge
from course_lib.vision import models

import numpy as np

_NEW_PLACE = {"A": False, "B": True, "C": False}
_POSITIONS, _KERNEL, _CHANNELS, _FILTERS = 12 * 12, 3 * 3, 64, 64


def measures_a_new_place(answer: dict[str, bool]) -> None:
    """Check exercise 2.3: which division measures a new place; exact.

    Introduced in notebook 02.
    """
    if isinstance(answer, dict) and any(value is ... for value in answer.values()):
        answer = ...

    def is_told(a: Any) -> bool:
        return all(isinstance(a[key], (bool, np.bool_)) for key in "ABC")

    def is_wrong(name: str) -> Callable[[Any], bool]:
        return lambda a: bool(a[name]) is not _NEW_PLACE[name]

    judge(
        "2.3",
        answer,
        is_right=lambda a: is_told(a) and {key: a[key] for key in "ABC"} == _NEW_PLACE,
        hints=[
            (
                lambda a: not is_told(a),
                "Give True or False, and nothing else, for each of A, B and C.",
            ),
            (
                is_wrong("A"),
                "A: after the shuffle, how many frames of a test frame's own camera "
                "are in the training?",
            ),
            (
                is_wrong("C"),
                "C: the test frames are later, but has their place been seen before?",
            ),
            (is_wrong("B"), "B: has the training seen any frame of camera 6?"),
        ],
        otherwise="Give True or False for each of A, B and C.",
    )


def multiplications_of_look(answer: int) -> None:
    """Check exercise 2.1: multiplications of one convolution; exact.

    Introduced in notebook 02.
    """
    once = _KERNEL * _CHANNELS * _FILTERS
    judge(
        "2.1",
        answer,
        is_right=lambda a: a == once * _POSITIONS and not isinstance(a, bool),
        hints=[
            (
                lambda a: a in (once, once + _FILTERS),
                "That is the number of weights: each is used at every position.",
            ),
            (
                lambda a: a == _POSITIONS * _KERNEL * _FILTERS,
                "Each filter looks at all channels of the maps, not at one.",
            ),
            (
                lambda a: a == _POSITIONS * _KERNEL * _CHANNELS * 1,
                "That is one filter: how many are there?",
            ),
            (
                lambda a: a == _POSITIONS * _CHANNELS * _FILTERS,
                "That is a kernel of 1 by 1: how large is this one?",
            ),
            (
                lambda a: a == 6 * 6 * once,
                "That is on maps of 6 by 6: this head starts from 12 by 12.",
            ),
            (
                lambda a: a == _POSITIONS * _KERNEL * 112 * _FILTERS,
                "The layer narrow stands before it: how many channels does it leave?",
            ),
            (
                lambda a: a == 10 * 10 * once,
                "That is without padding: here the size stays 12 by 12.",
            ),
            (
                lambda a: a == 2 * once * _POSITIONS,
                "Additions are counted too: the question is multiplications alone.",
            ),
        ],
        otherwise="Positions of the output, times the size of the whole kernel.",
    )


def prepares(answer: Callable[[np.ndarray], np.ndarray]) -> None:
    """Check exercise 2.2: a function from uint8 pixels to what the backbone takes.

    It is tried on pixels of every value, and may differ by 1e-5.

    Introduced in notebook 02.
    """
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    pixels = np.concatenate([ramp, 255 - ramp, ramp.transpose(1, 0, 2)], axis=2)
    expected = models.EFFICIENTNET_LITE0_INPUT.normalise(pixels)
    try:
        found = np.asarray(answer(pixels.copy()), np.float64)
    except Exception:  # a learner's function may do anything at all
        found = None

    def equals(other: np.ndarray) -> Callable[[Any], bool]:
        return lambda _: (
            found.shape == expected.shape and np.abs(found - other).max() < 1e-5
        )

    judge(
        "2.2",
        answer,
        is_right=equals(expected),
        hints=[
            (
                lambda _: found is None,
                "The function does not return for uint8 pixels [16, 16, 3].",
            ),
            (
                lambda _: found.shape != expected.shape,
                "The shape of the picture must stay.",
            ),
            (
                equals(models.EFFICIENTNET_LITE0_INPUT.normalise(pixels / 255)),
                "Print the smallest and the largest value that it returns: the whole "
                "picture has become nearly one number.",
            ),
            (
                equals(pixels / 255),
                "This is 0 to 1. The backbone was trained on about -1 to 1.",
            ),
            (equals(expected[..., ::-1]), "The colours changed places: keep RGB."),
            (
                equals(pixels / 127.5 - 1),
                "Nearly: these are another family's mean and standard deviation.",
            ),
            (
                equals((np.asarray(pixels, np.float64) - 128) / 127),
                "The mean and the standard deviation changed places.",
            ),
            (
                equals(expected / 255),
                "The pixels are divided twice.",
            ),
            (
                equals(np.asarray(pixels, np.float64)),
                "These are the pixels as they come; the backbone wants another range.",
            ),
            (
                equals((pixels - np.uint8(127)) / 128),
                "Below 127 something wraps around: uint8 knows no negative number.",
            ),
        ],
        otherwise="Use the mean and the standard deviation, once, in real numbers.",
    )
