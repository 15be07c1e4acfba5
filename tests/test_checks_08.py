"""The checks of lesson 08 name the misconception that they see."""

import math

from course_lib.course.checks import lesson_08
from course_lib.dlpu import socs

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator as Op
from lessons import said

GROUP = socs.SOCS["artpec9"].filters_multiple.value
SIX = socs.SOCS["artpec8"].filters_multiple.value
WIDTHS = np.array(lesson_08.WIDTHS)
RIGHT = [-(-width // GROUP) * GROUP for width in lesson_08.WIDTHS]
BOTH = 3 * math.lcm(GROUP, SIX)


def graph(*, second_is_output=True, residual=True) -> bytes:
    """Return a graph of ADD and convolutions; tensors are numbered, weights shared.

    0 CONV, 1 ADD, 2 DEPTHWISE, 3 CONV, 4 ADD, 5 CONV; the report concerns (1, 3),
    and (4, 5) too unless the second ADD is an output.
    """
    ends = {"scales": [0.5], "zero_points": [0]}
    kernel = np.ones((4, 1, 1, 4), np.int8)
    tensors = [tiny_models.tensor([1, 2, 2, 4], "int8", **ends) for _ in range(7)]
    tensors += [tiny_models.tensor([4, 1, 1, 4], "int8", data=kernel, **ends)]
    deep = np.ones((1, 1, 1, 4), np.int8)
    tensors += [tiny_models.tensor([1, 1, 1, 4], "int8", data=deep, **ends)]
    first = tiny_models.operator(
        Op.ADD if residual else Op.MUL, [0, 1], [2], schema.AddOptionsT()
    )
    if not residual:
        first.options = None
    operators = [
        tiny_models.operator(Op.CONV_2D, [0, 7, -1], [1]),
        first,
        tiny_models.operator(Op.DEPTHWISE_CONV_2D, [2, 8, -1], [3]),
        tiny_models.operator(Op.CONV_2D, [2, 7, -1], [4]),
        tiny_models.operator(Op.ADD, [3, 4], [5]),
        tiny_models.operator(Op.CONV_2D, [5, 7, -1], [6]),
    ]
    outputs = [6, 5] if second_is_output else [6]
    return tiny_models.build((tensors, operators, [0], outputs))


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", 7]
)
@pytest.mark.parametrize(
    "check",
    [
        lambda answer: lesson_08.rounded_widths(answer, answer),
        lambda answer: lesson_08.rounded_widths(RIGHT, answer),
        lambda answer: lesson_08.concerned_pairs(graph(), answer),
        lambda answer: lesson_08.concerned_pairs(graph(), [answer]),
        lambda answer: lesson_08.concerned_pairs(graph(), [(answer, answer)]),
        lambda answer: lesson_08.concerned_pairs(answer, [(1, 3)]),
        lesson_08.enlarged_kernel,
        lambda answer: lesson_08.enlarged_kernel(lambda kernel: answer),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("widths", "both", "message"),
    [
        (..., ..., "not answered yet"),
        (RIGHT, ..., "not answered yet"),
        ([32, ...], BOTH, "not answered yet"),
        (RIGHT, BOTH, "correct"),
        (tuple(RIGHT), np.int64(BOTH), "correct"),
        (np.array(RIGHT), BOTH, "correct"),
        (RIGHT[:-1], BOTH, "7 widths"),
        (WIDTHS // 16 * 16, BOTH, "rounded down"),
        (np.round(WIDTHS / 16).astype(int) * 16, BOTH, "rounded to the nearest"),
        ((WIDTHS // 16 + 1) * 16, BOTH, "may stay as it is"),
        ([32, 32, 64, 128, 128, 256, 512], BOTH, "powers of two"),
        (-(-WIDTHS // 48) * 48, BOTH, "both chips at once"),
        (lesson_08.WIDTHS, BOTH, "detector's own widths"),
        ([*RIGHT[:-1], 270], BOTH, "Not every width is a multiple"),
        ([16, *RIGHT[1:]], BOTH, "below the detector's"),
        ([48, *RIGHT[1:]], BOTH, "a smaller multiple would do"),
        (WIDTHS // 6 * 16, BOTH, "for at least one a smaller"),
        ([str(width) for width in RIGHT], BOTH, "whole numbers in a list"),
        ([[width] for width in RIGHT], BOTH, "whole numbers in a list"),
        (dict(zip(lesson_08.WIDTHS, RIGHT, strict=True)), BOTH, "whole numbers in a"),
        ([float(width) for width in RIGHT], float(BOTH), "correct"),
        (RIGHT, 96, "below 100"),
        (RIGHT, 192, "they share a factor"),
        (RIGHT, 240, "a smaller one does too"),
        (RIGHT, 112, "what does ARTPEC-8 ask for"),
        (RIGHT, 102, "what does ARTPEC-9 ask for"),
        (RIGHT, 100, "a list of integers"),
    ],
)
def test_rounded_widths(capsys, widths, both, message):
    told = said(capsys, lesson_08.rounded_widths, widths, both)
    assert told.startswith("Exercise 8.1: ")
    assert message in told


@pytest.mark.parametrize(
    ("content", "answer", "message"),
    [
        (graph(), ..., "not answered yet"),
        (graph(), [(1, ...)], "not answered yet"),
        (graph(), [[1, ...]], "not answered yet"),
        (graph(), [(1, 3)], "correct"),
        (graph(), np.array([[1, 3]]), "correct"),
        (graph(), ((1, 3),), "correct"),
        (graph(), [[1, 3]], "correct"),
        (graph(second_is_output=False), [(4, 5), (1, 3)], "correct"),
        (graph(), [(3, 1)], "The ADD comes first"),
        (graph(), [(1, 3), (5, 4)], "The ADD comes first"),
        (graph(), [(0, 1)], "the convolution feeds the ADD"),
        (graph(), [(1, 3), (3, 4)], "the convolution feeds the ADD"),
        (graph(), [(1, 2), (1, 3)], "DEPTHWISE_CONV_2D"),
        (graph(), [(1, 3), (4, 5)], "an output of the model already"),
        (graph(), [(1, 3), (2, 3)], "One of your pairs is none"),
        (graph(), [], "at least one"),
        (graph(second_is_output=False), [(1, 3)], "A pair is missing"),
        (graph(residual=False), [(1, 3)], "has no such pair"),
        (graph(), [1, 3], "a list of pairs"),
        (graph(), [(1.0, 3.9)], "which are integers"),
        (graph(), [("1", "3")], "which are integers"),
    ],
)
def test_concerned_pairs(capsys, content, answer, message):
    told = said(capsys, lesson_08.concerned_pairs, content, answer)
    assert told.startswith("Exercise 8.3: ")
    assert message in told


def padded(rows, columns):
    """Return a solution that puts zeros before and after rows and columns."""
    return lambda kernel: np.pad(kernel, (rows, columns, (0, 0), (0, 0)))


def stretched(kernel):
    larger = np.zeros((5, 5, *kernel.shape[2:]), kernel.dtype)
    larger[:] = kernel.mean()
    return larger


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (..., "not answered yet"),
        (lambda kernel: ..., "not answered yet"),
        (padded((0, 2), (0, 2)), "correct"),
        (lambda kernel: padded((0, 2), (0, 2))(kernel).tolist(), "correct"),
        (padded((1, 1), (1, 1)), "in the middle"),
        (padded((2, 0), (2, 0)), "shifted by two pixels"),
        (padded((0, 2), (1, 1)), "treated differently"),
        (padded((0, 2), (2, 0)), "treated differently"),
        (lambda kernel: None, "returns nothing"),
        (lambda kernel: kernel, "still 3 by 3"),
        (lambda kernel: np.pad(kernel, (0, 2)), "the channels stay"),
        (stretched, "placed, not stretched"),
        (lambda kernel: padded((0, 2), (0, 2))(kernel[::-1]), "the kernel's own"),
        (lambda kernel: kernel[9], "failed on a 3 × 3 kernel: IndexError"),
        (lambda kernel: 1 / 0, "ZeroDivisionError: division by zero"),
        (7, "the kernel's own weights"),
    ],
)
def test_enlarged_kernel(capsys, function, message):
    told = said(capsys, lesson_08.enlarged_kernel, function)
    assert told.startswith("Exercise 8.2: ")
    assert message in told
