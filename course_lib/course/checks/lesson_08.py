"""Checks of lesson 08, and what its exercises hand over."""

import math
import numbers
import operator
from collections.abc import Callable

from course_lib.course.checks import judge
from course_lib.dlpu.socs import SOCS
from course_lib.errors import UnusableInput
from course_lib.tflite import reading

import numpy as np

# Filters of a detector built for ARTPEC-8; two of them suit ARTPEC-9 as they are.
WIDTHS = (18, 24, 48, 66, 96, 132, 264)
_GROUP = SOCS["artpec9"].filters_multiple.value
_SIX = SOCS["artpec8"].filters_multiple.value
_LEAST = 100


def _up(width: int, multiple: int) -> int:
    return math.ceil(width / multiple) * multiple


def _is_whole(width: object) -> bool:
    return isinstance(width, numbers.Real) and width == int(width)


def rounded_widths(answer: list[int], both: int) -> None:
    """Check exercise 8.1: `WIDTHS` rounded up for ARTPEC-9, and a width for two chips.

    Args:
        answer: As many widths as `WIDTHS`, each a multiple of ARTPEC-9's group; exact.
        both: Smallest width of at least 100 that suits ARTPEC-8 and ARTPEC-9; exact.

    Introduced in notebook 08.
    """
    common = math.lcm(_GROUP, _SIX)

    def each(rule: Callable[[int], int]) -> Callable[[tuple], bool]:
        return lambda a: list(a[0]) == [rule(width) for width in WIDTHS]

    if isinstance(answer, (list, tuple)) and any(width is ... for width in answer):
        answer = ...
    right = each(lambda width: _up(width, _GROUP))
    judge(
        "8.1",
        (answer, both),
        is_right=lambda a: right(a) and a[1] == _up(_LEAST, common),
        hints=[
            (
                lambda a: isinstance(a[0], dict) or not all(map(_is_whole, a[0])),
                "The widths should be whole numbers in a list.",
            ),
            (
                lambda a: len(a[0]) != len(WIDTHS),
                f"Give {len(WIDTHS)} widths, one for each of the detector's.",
            ),
            (
                each(lambda width: width // _GROUP * _GROUP),
                "You rounded down: the widths must not be below the detector's, and "
                "one of them is even lost.",
            ),
            (
                each(lambda width: round(width / _GROUP) * _GROUP),
                "You rounded to the nearest: some layers lost filters.",
            ),
            (
                each(lambda width: (width // _GROUP + 1) * _GROUP),
                "A width that is a multiple already may stay as it is.",
            ),
            (
                each(lambda width: 1 << (width - 1).bit_length()),
                "These are powers of two. A multiple is enough, and smaller.",
            ),
            (
                each(lambda width: _up(width, common)),
                "These suit both chips at once. The first question is about ARTPEC-9 "
                "alone, where smaller ones do.",
            ),
            (
                lambda a: list(a[0]) == list(WIDTHS),
                "These are the detector's own widths, multiples of ARTPEC-8's number.",
            ),
            (
                lambda a: any(width % _GROUP for width in a[0]),
                "Not every width is a multiple of what ARTPEC-9 asks for: print "
                "chip.filters_multiple.value.",
            ),
            (
                lambda a: any(w < old for w, old in zip(a[0], WIDTHS, strict=True)),
                "One of the widths is below the detector's.",
            ),
            (
                lambda a: not right(a),
                "All are multiples, but for at least one a smaller multiple would do.",
            ),
            (
                lambda a: a[1] % common == 0 and a[1] < _LEAST,
                "for_both: it suits both chips, but it is below 100.",
            ),
            (
                lambda a: a[1] % (_GROUP * _SIX) == 0,
                "for_both: the product of the two numbers is a common multiple, but "
                "they share a factor, so a smaller one exists.",
            ),
            (
                lambda a: a[1] % common == 0,
                "for_both: it suits both chips, but a smaller one does too.",
            ),
            (
                lambda a: a[1] % _GROUP == 0,
                "for_both: it suits ARTPEC-9; what does ARTPEC-8 ask for?",
            ),
            (
                lambda a: a[1] % _SIX == 0,
                "for_both: it suits ARTPEC-8; what does ARTPEC-9 ask for?",
            ),
        ],
        otherwise="Give a list of integers, and one integer.",
    )


def concerned_pairs(graph: bytes, answer: list[tuple[int, int]]) -> None:
    """Check exercise 8.3: the ADD and CONV_2D that the open report concerns; exact.

    Args:
        graph: The bytes of the exercise's `.tflite` file.
        answer: Pairs of operator indexes (ADD, CONV_2D) in any order.

    Introduced in notebook 08.
    """
    right, covered, depthwise, into_add = _pairs(graph)

    def given(answer: list) -> set[tuple[int, int]]:
        return {
            (operator.index(first), operator.index(second)) for first, second in answer
        }

    if isinstance(answer, (list, tuple)) and any(
        part is ...
        for pair in answer
        if isinstance(pair, (tuple, list))
        for part in pair
    ):
        answer = ...
    judge(
        "8.3",
        answer,
        is_right=lambda a: bool(right) and given(a) == right,
        hints=[
            (
                lambda a: not right,
                "The graph that you hand over has no such pair: run the exercise's "
                "cell again as it was.",
            ),
            (
                lambda a: any((c, b) in right | covered for b, c in given(a)),
                "The ADD comes first in a pair, then the convolution that reads it.",
            ),
            (
                lambda a: given(a) & into_add,
                "In one pair the convolution feeds the ADD. The report is about an "
                "ADD that feeds a convolution.",
            ),
            (
                lambda a: given(a) & depthwise,
                "One of your convolutions is a DEPTHWISE_CONV_2D, an operator of its "
                "own that the report does not mention.",
            ),
            (
                lambda a: given(a) & covered,
                "One of these ADD is an output of the model already: that is the "
                "report's way out.",
            ),
            (
                lambda a: given(a) - right,
                "One of your pairs is none: look which operator made the "
                "convolution's first input. The next in order need not read it.",
            ),
            (lambda a: not given(a), "There is at least one such pair."),
            (lambda a: given(a) < right, "A pair is missing."),
        ],
        otherwise="Give a list of pairs of operator indexes, which are integers.",
    )


def _pairs(graph: bytes) -> tuple[set[tuple[int, int]], ...]:
    """Return four sets of index pairs.

    ADD to CONV_2D that the report concerns, those whose ADD is an output, ADD to
    DEPTHWISE_CONV_2D, and any convolution to ADD.
    """
    try:
        model = reading.parse(graph if isinstance(graph, bytes) else b"")
    except UnusableInput:
        return set(), set(), set(), set()
    outputs = {tensor.index for tensor in model.outputs}
    makers = {index: op for op in model.operators for index in op.outputs}
    concerned, covered, depthwise, into_add = set(), set(), set(), set()
    for reader in model.operators:
        for place, index in enumerate(reader.inputs):
            maker = makers.get(index)
            if maker is None:
                continue
            pair = maker.index, reader.index
            if reader.name == "ADD" and "CONV" in maker.name:
                into_add.add(pair)
            elif maker.name != "ADD" or place > 0:
                continue
            elif reader.name == "DEPTHWISE_CONV_2D":
                depthwise.add(pair)
            elif reader.name == "CONV_2D":
                (covered if index in outputs else concerned).add(pair)
    return concerned, covered, depthwise, into_add


def enlarged_kernel(function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Check exercise 8.2: a 5×5 kernel under SAME that does what 3×3 and a PAD did.

    The function gets a kernel [3, 3, in, out]. The stride is 2, the size even; answers
    must agree within 1e-4.

    Introduced in notebook 08.
    """
    rng = np.random.default_rng(0)
    image = rng.normal(size=(8, 8, 2))
    kernel = rng.normal(size=(3, 3, 2, 4)).astype(np.float32)
    answer, failed = function, ""
    if callable(function):
        try:
            answer = function(kernel.copy())
            answer = answer if answer is ... else np.asarray(answer)
        except Exception as error:  # a learner's function may do anything at all
            failed = f"{type(error).__name__}: {error}".splitlines()[0]
    wanted = _convolved(image, kernel, before=1, after=1)

    def is_right(larger: np.ndarray) -> bool:
        if larger.shape != (5, 5, *kernel.shape[2:]):
            return False
        answers = _convolved(image, larger, before=1, after=2)
        return np.allclose(answers, wanted, atol=1e-4)

    def placed(rows: int, columns: int) -> Callable[[np.ndarray], bool]:
        sides = (rows, 2 - rows), (columns, 2 - columns), (0, 0), (0, 0)
        return lambda a: np.allclose(a, np.pad(kernel, sides), atol=1e-6)

    judge(
        "8.2",
        answer,
        is_right=is_right,
        hints=[
            (lambda a: failed, f"The function failed on a 3 × 3 kernel: {failed}."),
            (
                lambda a: a.dtype == object and a.item() is None,
                "The function returns nothing: end it with return.",
            ),
            (
                lambda a: a.shape == kernel.shape,
                "The kernel is still 3 by 3. Under same it looks at other pixels than "
                "with zeros all round.",
            ),
            (
                lambda a: a.shape != (5, 5, *kernel.shape[2:]),
                "Expected a kernel of [5, 5, in, out]: height and width grow, the "
                "channels stay.",
            ),
            (
                placed(1, 1),
                "The kernel sits in the middle, so every answer is shifted by one "
                "pixel. Where does the first 5 by 5 window begin, where did the 3 by "
                "3 window begin?",
            ),
            (
                placed(2, 2),
                "The zeros come first, so every answer is shifted by two pixels.",
            ),
            (
                lambda a: any(
                    placed(i, j)(a) for i in range(3) for j in range(3) if i != j
                ),
                "Rows and columns are treated differently; the padding is not.",
            ),
            (
                lambda a: np.count_nonzero(a) > kernel.size,
                "More weights than before are not zero: the kernel should be placed, "
                "not stretched.",
            ),
        ],
        otherwise="Return the kernel's own weights, with zeros around some sides.",
    )


def _convolved(
    image: np.ndarray, kernel: np.ndarray, *, before: int, after: int
) -> np.ndarray:
    """Convolve [height, width, in] with stride 2 after padding with zeros."""
    padded = np.pad(image, ((before, after), (before, after), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, kernel.shape[:2], axis=(0, 1)
    )
    return np.einsum("yxchw,hwco->yxo", windows[::2, ::2], kernel)
