"""Checks of lesson 09, and what its exercises hand over."""

from collections.abc import Callable

from course_lib.course.checks import judge
from course_lib.dlpu import cvflow

import numpy as np

_LAYOUTS = {"A": "bgr", "B": "interleaved", "C": "planar", "D": "transposed"}
_TOLD = {
    "A": "View A as [3, height, width], and compare its colours with the photograph's.",
    "B": "View B once as [height, width, 3] and once as [3, height, width].",
    "C": "View C as [3, height, width], and compare it with the photograph.",
    "D": "View D as [3, height, width] and as [3, width, height].",
}
_COUNT = 1000


def buffers(image: np.ndarray) -> dict[str, bytes]:
    """Return the same image as four buffers, one of them RGB planar.

    Args:
        image: uint8 [height, width, 3].

    Introduced in notebook 09.
    """
    planes = cvflow.planar(image[None])[0]
    return {
        "A": planes[::-1].tobytes(),
        "B": image.tobytes(),
        "C": planes.tobytes(),
        "D": planes.transpose(0, 2, 1).tobytes(),
    }


def layouts(answer: dict[str, str]) -> None:
    """Check exercise 9.3: the layout of each of the four buffers; exact.

    Introduced in notebook 09.
    """
    if isinstance(answer, dict) and any(word is ... for word in answer.values()):
        answer = ...
    wrong = [
        name
        for name, word in _LAYOUTS.items()
        if not isinstance(answer, dict) or answer.get(name) != word
    ]

    def says(buffer: str, word: str) -> Callable[[dict], bool]:
        return lambda a: a[buffer] == word

    judge(
        "9.3",
        answer,
        is_right=lambda a: a == _LAYOUTS,
        hints=[
            (
                lambda a: not isinstance(a, dict) or set(a) != set(_LAYOUTS),
                "Give a dictionary with one word for each of A, B, C and D.",
            ),
            (
                lambda a: [v for v in a.values() if v not in _LAYOUTS.values()],
                "Use the words planar, interleaved, bgr and transposed.",
            ),
            (
                lambda a: len(set(a.values())) < len(_LAYOUTS),
                "Each word fits one buffer.",
            ),
            (
                says("B", "planar"),
                "B is no picture when it is read as [3, height, width]. Which other "
                "shape has as many bytes?",
            ),
            (
                says("A", "planar"),
                "The planes of A are whole, but compare its colours with the "
                "photograph's.",
            ),
            (
                says("D", "planar"),
                "D is no picture when it is read as [3, height, width]. Which other "
                "shape has as many bytes?",
            ),
            (lambda a: True, _TOLD[wrong[0]] if wrong else ""),
        ],
        otherwise="Give one word for each of A, B, C and D.",
    )


def pitches(pitch_270: int, pitch_608: int, buffer_bytes: int) -> None:
    """Check exercise 9.1: two row pitches and the bytes of a padded buffer; exact.

    The buffer is of a picture 270 pixels wide and 200 high.

    Introduced in notebook 09.
    """
    first, second = cvflow.row_pitch(270), cvflow.row_pitch(608)
    total = 3 * 200 * first

    def only_bytes(a: tuple, wrong: int) -> bool:
        return a[:2] == (first, second) and a[2] == wrong

    judge(
        "9.1",
        (pitch_270, pitch_608, buffer_bytes),
        is_right=lambda a: tuple(a) == (first, second, total),
        hints=[
            (
                lambda a: a[0] == first - 270,
                "270: that is the padding alone. The pitch goes from the start of one "
                "row to the start of the next.",
            ),
            (
                lambda a: a[0] in (810, cvflow.row_pitch(810)),
                "270: that is three bytes a pixel, as interleaved. A planar row has "
                "one.",
            ),
            (lambda a: a[0] == 270, "270 is not a multiple of 32."),
            (
                lambda a: a[0] == first - 32,
                "270: rounded down, so the row's last pixels have no room.",
            ),
            (
                lambda a: a[0] in (272, 320, 384, 512),
                "270: the rule is the next multiple of 32, not of 16, 64 or 128, nor a "
                "power of 2.",
            ),
            (
                lambda a: a[0] == first and a[1] in (second + 32, 1024),
                "608: is it a multiple of 32 as it is?",
            ),
            (
                lambda a: a[0] == first and a[1] in (0, 3 * 608),
                "608: bytes from one row's start to the next, one byte a pixel.",
            ),
            (
                lambda a: only_bytes(a, 200 * first),
                "That is one plane. There are three.",
            ),
            (
                lambda a: only_bytes(a, 3 * 200 * 270),
                "Those are the bytes without padding.",
            ),
            (
                lambda a: only_bytes(a, 3 * cvflow.row_pitch(200) * first),
                "Rows are padded, the number of rows is not.",
            ),
            (
                lambda a: only_bytes(a, 3 * cvflow.row_pitch(200) * 270),
                "You padded the height. A row is as long as the picture is wide.",
            ),
            (
                lambda a: only_bytes(a, 4 * total),
                "Those are four bytes a pixel and colour, as in float32.",
            ),
            (
                lambda a: a[:2] == (first, second),
                "The pitches are right. Count the planes, and the rows of each.",
            ),
            (
                lambda a: a[0] == first,
                "270 is right. Treat 608 by the same rule.",
            ),
        ],
        otherwise="Round the width up to the next multiple of 32.",
    )


def parser(answer: Callable[[bytes, int], np.ndarray]) -> None:
    """Check exercise 9.2: a function that reads one float32 every 32 bytes; exact.

    It is tried on values among which are zeros, with padding that is not zero.

    Introduced in notebook 09.
    """
    generator = np.random.default_rng(9)
    values = generator.random(_COUNT, np.float32)
    values[generator.integers(0, _COUNT, 50)] = 0
    words = np.zeros((_COUNT, 8), np.float32)
    words[:, 0] = values
    zeros = words.tobytes()
    words[:, 1:] = 7
    data = words.tobytes()
    given, failure = answer, ""
    if callable(answer):
        try:
            answer = np.asarray(answer(data, _COUNT))
            cleaned = np.asarray(given(zeros, _COUNT))
        except Exception as error:  # a learner's function may do anything
            failure = f"{type(error).__name__}: {error}"

    def is_numbers(a: np.ndarray) -> bool:
        return isinstance(a, np.ndarray) and a.shape == (_COUNT,)

    def equals(a: np.ndarray, wanted: np.ndarray) -> bool:
        return is_numbers(a) and np.array_equal(a, wanted)

    judge(
        "9.2",
        answer,
        is_right=lambda a: (
            not failure and equals(a, values) and a.dtype.kind == "f" and a.itemsize > 3
        ),
        hints=[
            (
                lambda a: failure,
                f"The function failed on {len(data):,} bytes: {failure[:90]}",
            ),
            (
                lambda a: not callable(given),
                "Give the function itself, without calling it.",
            ),
            (
                lambda a: a.dtype.kind not in "biuf",
                "It returns no array of numbers. Is there a `return`?",
            ),
            (
                lambda a: equals(a, np.frombuffer(data, np.float32)[:_COUNT]),
                "It still reads the values back to back: seven of eight are padding.",
            ),
            (
                lambda a: equals(cleaned, values) and not equals(a, values),
                "It relies on the padding being zero. It need not be.",
            ),
            (
                lambda a: (
                    a.ndim == cleaned.ndim == 1
                    and cleaned.size < _COUNT
                    and 0 not in cleaned
                ),
                "Values of 0 are gone: a score can be 0, so do not look for zeros.",
            ),
            (
                lambda a: a.size == _COUNT * 8,
                "It returns the padding too. How many float32 values fit into 32 "
                "bytes?",
            ),
            (
                lambda a: equals(a, np.full(_COUNT, 7, np.float32)),
                "It takes the padding instead of the value: the value comes first.",
            ),
            (
                lambda a: (
                    equals(a, np.frombuffer(data, np.float32)[::32][:_COUNT])
                    or (a.size == _COUNT // 4 and a[1] == values[4])
                ),
                "It steps over 32 values. The stride is 32 bytes; how many float32 "
                "values are that?",
            ),
            (
                lambda a: a.dtype.kind in "ui",
                "It returns integers: the bytes are float32.",
            ),
            (
                lambda a: a.size == _COUNT and a.ndim > 1,
                "The values are right or nearly; return them with shape (count,).",
            ),
        ],
        otherwise="Return one float32 for every 32 bytes.",
    )
