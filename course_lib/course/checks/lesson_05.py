"""Checks of lesson 05, and what its exercises hand over."""

from collections.abc import Callable
from typing import Any

from course_lib.course.checks import judge
from course_lib.vision import datasets, models

import numpy as np

# The converter merges a convolution with the ReLU behind it. Fake quantization between
# the two is in the way: the kernel's own is lost, and the converter chooses scales.
_SCALES = {"first": 1, "second": 8, "third": 1}
_VERDICTS = {"A": "narrow", "B": "pixels", "C": "fit", "D": "seen"}
_WORDS = ("fit", "pixels", "narrow", "seen")
# The task of the lesson's first section.
_SCALE = 0.5
_WEIGHTS = np.array([0.20, 0.15, 0.22, 0.23])
_COUNT = 120


def scales_of_kernels(answer: dict[str, int]) -> None:
    """Check exercise 5.1: how many scales each of three kernels has; exact.

    Introduced in notebook 05.
    """
    judge(
        "5.1",
        _open_if_unfinished(answer),
        is_right=lambda a: all(a[name] == count for name, count in _SCALES.items()),
        hints=[
            (
                lambda a: set(a) != set(_SCALES),
                "Give one number for each of first, second and third.",
            ),
            (
                lambda a: len(set(a.values())) == 1 and set(a.values()) == {1},
                "One of them has a neighbour that the others do not have. The "
                "converter merges a convolution with the ReLU behind it; what stands "
                "between the two here?",
            ),
            (
                lambda a: all(count > 1 for count in a.values()),
                "A kernel that was trained with one range keeps it: the converter's "
                "default applies only where it has to choose scales itself.",
            ),
            (
                lambda a: a["first"] != 1 or a["third"] != 1,
                "first and third are as in the lesson: ReLU inside, one range for the "
                "kernel.",
            ),
            (
                lambda a: a["second"] == 0,
                "second has a range for what enters and what leaves, so the converter "
                "can make it an integer layer. But whose scales does its kernel get?",
            ),
            (
                lambda a: a["second"] == 3,
                "A scale belongs to an output channel, not to a place in the 3×3 "
                "window or to an input channel.",
            ),
        ],
        otherwise="When the converter chooses scales itself, how many does it give to "
        "a convolution of 8 output channels?",
    )


def trained_weights(answer: np.ndarray) -> None:
    """Check exercise 5.2: four weights on the grid, error near the smallest.

    Tolerance: 1e-6 for lying on the grid; the error may be a tenth of that of plain
    rounding.

    Introduced in notebook 05.
    """
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(200, 1)) + 0.3 * rng.normal(size=(200, 4))

    def error(candidate: Any) -> float:
        return float(np.mean((pixels @ (np.asarray(candidate) - _WEIGHTS)) ** 2))

    def on_grid(candidate: Any) -> bool:
        steps = np.asarray(candidate) / _SCALE
        return bool(np.abs(steps - np.round(steps)).max() < 1e-6)

    plain = np.zeros(4)
    judge(
        "5.2",
        answer,
        is_right=lambda a: (
            np.shape(a) == (4,) and on_grid(a) and error(a) < 0.1 * error(plain)
        ),
        hints=[
            (lambda a: np.shape(a) != (4,), "Give four weights."),
            (
                lambda a: np.allclose(a, _WEIGHTS),
                "These are the float weights as they were. Training has to move a "
                "copy of them.",
            ),
            (
                lambda a: not on_grid(a),
                "These are not on the grid: the integer file cannot hold them. Round "
                "what you trained, at the end.",
            ),
            (
                lambda a: np.allclose(a, plain),
                "Plain rounding gives the same. A step of training is much smaller "
                "than a step of the grid: what happens to it when the rounded copy "
                "takes the place of the float weights?",
            ),
        ],
        otherwise="On the grid, but far from the best point. Does the learning rate "
        "fall to 0, and is the gradient that of the rounded weights?",
    )


def candidates() -> dict[str, np.ndarray]:
    """Return the four sets of exercise 5.3, float32 [120, 16, 16, 1] each.

    Introduced in notebook 05.
    """
    images, labels = datasets.handwritten_digits()
    rng = np.random.default_rng(5)
    own, test = images[datasets.DIGITS_TRAINING], images[datasets.DIGITS_TEST]
    few = own[labels[datasets.DIGITS_TRAINING] < 2]

    def some(pixels: np.ndarray) -> np.ndarray:
        return pixels[rng.choice(len(pixels), _COUNT, replace=False)]

    normalise: Callable[[np.ndarray], np.ndarray] = models.DIGIT_INPUT.normalise
    return {
        "A": normalise(some(few)),
        "B": some(own).astype(np.float32),
        "C": normalise(some(own)),
        "D": normalise(some(test)),
    }


def verdicts(answer: dict[str, str]) -> None:
    """Check exercise 5.3: what each of four sets of inputs is; exact.

    Introduced in notebook 05.
    """

    def takes(name: str, word: str) -> Callable[[Any], bool]:
        return lambda a: a[name] == word

    judge(
        "5.3",
        _open_if_unfinished(answer),
        is_right=lambda a: all(a[name] == word for name, word in _VERDICTS.items()),
        hints=[
            (
                lambda a: set(a) != set(_VERDICTS),
                "Give one word for each of A, B, C and D.",
            ),
            (
                lambda a: any(word not in _WORDS for word in a.values()),
                f"Use the words {', '.join(map(repr, _WORDS))}.",
            ),
            (
                takes("B", "fit"),
                "B: print its largest value. The teacher was trained on 0 to 1 and "
                "answers nonsense to anything else, which the student would learn.",
            ),
            (
                takes("D", "fit"),
                "D: compare it with test_inputs, picture by picture. Labels are not "
                "the only thing that can leak.",
            ),
            (
                takes("A", "fit"),
                "A: show some of its pictures. The student learns the teacher's "
                "answers only where it is asked.",
            ),
            (
                lambda a: a["C"] != "fit",
                "C is from 0 to 1, has all ten digits, and none of the test's.",
            ),
        ],
        otherwise="Look at the largest value, at some pictures, and at which of them "
        "are in test_inputs.",
    )


def _open_if_unfinished(answer: Any) -> Any:
    """Return `...` for a dictionary that still holds one."""
    if isinstance(answer, dict) and any(value is ... for value in answer.values()):
        return ...
    return answer
