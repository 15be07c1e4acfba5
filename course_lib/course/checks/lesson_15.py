"""Checks of lesson 15: a contract foreseen, a journey repaired, reports decided on."""

from collections.abc import Callable, Mapping
from functools import cache

from course_lib.course import journey
from course_lib.course.checks import judge
from course_lib.dlpu import cvflow, socs
from course_lib.quiet import quiet
from course_lib.vision import models, scenes

import numpy as np

_SIDE, _SIDE_BEFORE, _CHANNELS = 100, 96, 3
# The scenes of exercise 15.2; its model is right for 0.85 of them.
_COUNT, _SEED, _RIGHT = 120, 1502, 0.75
_EXACT = 127.5
# The reports of exercise 15.3, by the form that they are about.
_SHIP = {"artpec7": "B", "artpec8": "D", "artpec9": "B", "cv25": "C"}
_REPORTS = "ABCDE"


def moved_to_cv25(suffix: str, artpec8_bytes: int, cv25_bytes: int) -> None:
    """Check exercise 15.1: the file for CV25, and the bytes of two inputs.

    Introduced in notebook 15.
    """
    pitch = cvflow.row_pitch(_SIDE, multiple=socs.SOCS["cv25"].row_pitch.value)
    dense, padded = _SIDE * _SIDE * _CHANNELS, _CHANNELS * _SIDE * pitch
    before = _SIDE_BEFORE * _SIDE_BEFORE * _CHANNELS
    judge(
        "15.1",
        (suffix, artpec8_bytes, cv25_bytes),
        is_right=lambda a: (a[0].lstrip("."), *a[1:]) == ("onnx", dense, padded),
        hints=[
            (
                lambda a: a[0].lstrip(".") == "bin",
                "That is what CV25 loads. Its compiler makes it, on another computer, "
                "from the file that `convert` makes.",
            ),
            (
                lambda a: a[0].lstrip(".") == "tflite",
                "No: CV25 takes what a compiler makes, and today's compiler reads "
                "another format (lesson 09).",
            ),
            (
                lambda a: a[0].lstrip(".") != "onnx",
                "`convert` makes no such file. Its suffix names the format that CV25's "
                "compiler reads (lesson 09).",
            ),
            (
                lambda a: {4 * dense, 4 * padded, 4 * before} & set(a[1:]),
                "That is four bytes a value, as a float input has. The camera's pixels "
                "are uint8 on both chips.",
            ),
            (
                lambda a: before in a[1:],
                "That is for 96 by 96 pixels. Your model has grown to 100 by 100.",
            ),
            (
                lambda a: _SIDE * _SIDE in a[1:],
                "That is one channel. The pictures have three.",
            ),
            (
                lambda a: a[1] == padded,
                "Padding belongs to one of the two chips. ARTPEC-8 takes the pixels "
                "one after another.",
            ),
            (
                lambda a: a[2] == dense,
                "CV25 wants each row padded: to which multiple of bytes, and how many "
                "rows are there in three planes?",
            ),
            (
                lambda a: a[2] == _SIDE * _row(pitch),
                "You padded a row of all three channels. In planes, a row holds one "
                "channel.",
            ),
        ],
        otherwise="Count values times bytes for ARTPEC-8; for CV25 count rows times "
        "the row pitch.",
    )


def _row(multiple: int) -> int:
    """Return a row of interleaved pixels, padded as planar rows are."""
    step = socs.SOCS["cv25"].row_pitch.value
    return -(-_SIDE * _CHANNELS // step) * step


def settings_of_the_training(settings: journey.Settings) -> None:
    """Check exercise 15.2: mean and std with which the float model is right.

    Introduced in notebook 15.
    """

    def has(
        mean: float, std: float, near: float = 1e-8
    ) -> Callable[[journey.Settings], bool]:
        return lambda a: bool(
            np.allclose(a.mean, mean, atol=near) and np.allclose(a.std, std, atol=near)
        )

    judge(
        "15.2",
        settings,
        is_right=lambda a: (
            has(_EXACT, _EXACT)(a) and _accuracy(tuple(a.mean), tuple(a.std)) >= _RIGHT
        ),
        hints=[
            (
                lambda a: (
                    not (
                        isinstance(a, journey.Settings)
                        and isinstance(a.mean, tuple | list)
                        and isinstance(a.std, tuple | list)
                    )
                ),
                "Give journey.Settings(mean=(...,), std=(...,)), with a comma after "
                "each single number.",
            ),
            (
                lambda a: any(value <= 0 for value in a.std),
                "A std is above 0: pixels are divided by it.",
            ),
            (
                has(0.0, 255.0),
                "These are still the colleague's. Write pixels / 127.5 - 1 as "
                "(pixel - mean) / std: which value becomes 0?",
            ),
            (
                has(0.5, 0.5),
                "This is right for pixels of 0 to 1. Here they are 0 to 255.",
            ),
            (
                has(1.0, 127.5),
                "The 1 is subtracted after the division. Which pixel becomes 0?",
            ),
            (
                has(-127.5, 127.5),
                "The mean is subtracted: a negative one is added.",
            ),
            (
                has(0.0, 127.5),
                "This gives 0 to 2. The training had -1 to 1.",
            ),
            (
                has(127.5, 255.0),
                "This gives -0.5 to 0.5. The training had -1 to 1.",
            ),
            (
                has(0.0, 1.0),
                "That is for a model that takes pixels as they are.",
            ),
            (
                has(_EXACT, _EXACT, near=1.0),
                "Near, but the training had exact numbers. With yours, pixel 0 or "
                "pixel 255 does not become exactly -1 or 1.",
            ),
        ],
        otherwise="The float model is still wrong too often. What must pixel 0 and "
        "pixel 255 become?",
    )


@cache
def _accuracy(mean: tuple[float, ...], std: tuple[float, ...]) -> float:
    """Return the share of scenes that the float model names right."""
    drawn = scenes.generate(_COUNT, seed=_SEED)
    labels = drawn.person + 2 * drawn.car
    with quiet():
        entering = (drawn.images - np.float32(mean)) / np.float32(std)
        found = models.scene_classifier().predict(entering, verbose=0)
    return float(np.mean(found.argmax(1) == labels))


def shipped(ship: Mapping[str, str]) -> None:
    """Check exercise 15.3: which of five reports' files goes to which chip.

    Introduced in notebook 15.
    """
    # judge() sees that a part is missing in a tuple, not in a mapping.
    open_still = isinstance(ship, Mapping) and any(of is ... for of in ship.values())

    def chose(letter: str, *chips: str) -> Callable[[Mapping[str, str]], bool]:
        return lambda a: any(a[chip] == letter for chip in chips)

    judge(
        "15.3",
        ... if open_still else ship,
        is_right=lambda a: dict(a) == _SHIP,
        hints=[
            (
                lambda a: set(a) != set(_SHIP),
                f"Name a report for each of {', '.join(_SHIP)}.",
            ),
            (
                lambda a: not all(of in _REPORTS for of in a.values()),
                f"Give one letter of {_REPORTS} for each chip.",
            ),
            (
                lambda a: a["cv25"] != "C",
                "CV25's compiler quantizes by itself. Which report is about what it "
                "reads?",
            ),
            (
                chose("C", "artpec7"),
                "ARTPEC-7 has a compiler too, but that one reads a quantized .tflite "
                "file, no ONNX. Which form does it take?",
            ),
            (
                chose("C", "artpec8", "artpec9"),
                "One chip was given floats for a compiler that it does not have.",
            ),
            (
                chose("B", "artpec8"),
                "B keeps every answer on this computer. On ARTPEC-8 its form runs "
                "much slower, Axis says: what does that chip want?",
            ),
            (
                chose("A", "artpec7", "artpec8", "artpec9"),
                "A lost accuracy by more than chance explains: its interval of the "
                "difference does not reach 0.",
            ),
            (
                chose("E", "artpec7", "artpec8", "artpec9"),
                "E keeps every answer of its float file. How often is that float "
                "file right?",
            ),
            (
                chose("D", "artpec7", "artpec9"),
                "D's form runs there too, but the chip takes one that needs no repair.",
            ),
        ],
        otherwise="For each chip: which form does it want, and which report of that "
        "form shows no loss, by enough pictures?",
    )
