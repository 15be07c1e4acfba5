"""The checks of lesson 09 name the misconception that they see."""

from course_lib.course.checks import lesson_09

import numpy as np
import pytest
from lessons import said

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
RIGHT = {"A": "bgr", "B": "interleaved", "C": "planar", "D": "transposed"}


@pytest.mark.parametrize(
    "answer", [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes"]
)
@pytest.mark.parametrize(
    "check",
    [
        lesson_09.layouts,
        lambda answer: lesson_09.pitches(answer, answer, answer),
        lambda answer: lesson_09.pitches(288, 608, answer),
        lesson_09.parser,
        lambda answer: lesson_09.parser(lambda data, count: answer),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


def test_the_four_buffers_are_what_their_names_say():
    buffers = lesson_09.buffers(IMAGE)
    assert {len(data) for data in buffers.values()} == {IMAGE.nbytes}
    assert len(set(buffers.values())) == 4
    right = np.frombuffer(buffers["C"], np.uint8).reshape(3, 4, 6)
    assert np.array_equal(right.transpose(1, 2, 0), IMAGE)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (dict.fromkeys("ABCD", ...), "not answered yet"),
        ({**RIGHT, "D": ...}, "not answered yet"),
        (RIGHT, "correct"),
        ("planar", "Give a dictionary"),
        (list(RIGHT.values()), "Give a dictionary"),
        ({"A": "bgr", "B": "interleaved", "C": "planar"}, "Give a dictionary"),
        ({**RIGHT, "E": "planar"}, "Give a dictionary"),
        ({**RIGHT, "A": "BGR"}, "Use the words"),
        ({**RIGHT, "A": []}, "Use the words"),
        ({**RIGHT, "D": "planar"}, "Each word fits one buffer"),
        ({**RIGHT, "B": "planar", "C": "interleaved"}, "B is no picture"),
        ({**RIGHT, "A": "planar", "C": "bgr"}, "planes of A are whole"),
        ({**RIGHT, "D": "planar", "C": "transposed"}, "D is no picture"),
        ({**RIGHT, "A": "interleaved", "B": "bgr"}, "View A"),
        ({**RIGHT, "B": "transposed", "D": "interleaved"}, "View B once"),
    ],
)
def test_layouts(capsys, answer, message):
    told = said(capsys, lesson_09.layouts, answer)
    assert told.startswith("Exercise 9.3: ")
    assert message in told


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((..., ..., ...), "not answered yet"),
        ((288, 608, ...), "not answered yet"),
        ((288, 608, 172_800), "correct"),
        ((np.int64(288), 608, 172_800.0), "correct"),
        ((18, 608, 172_800), "the padding alone"),
        ((810, 1824, 162_000), "three bytes a pixel"),
        ((832, 1824, 166_400), "three bytes a pixel"),
        ((270, 608, 162_000), "270 is not a multiple"),
        ((256, 608, 153_600), "rounded down"),
        ((272, 608, 163_200), "not of 16"),
        ((512, 1024, 307_200), "power of 2"),
        ((288, 640, 172_800), "a multiple of 32 as it is"),
        ((288, 0, 172_800), "one row's start to the next"),
        ((288, 600, 172_800), "270 is right"),
        ((288, 608, 57_600), "That is one plane"),
        ((288, 608, 162_000), "without padding"),
        ((288, 608, 193_536), "the number of rows is not"),
        ((288, 608, 181_440), "You padded the height"),
        ((288, 608, 691_200), "as in float32"),
        ((288, 608, 1), "The pitches are right"),
        ((1, 2, 3), "Round the width up"),
    ],
)
def test_pitches(capsys, answer, message):
    told = said(capsys, lesson_09.pitches, *answer)
    assert told.startswith("Exercise 9.1: ")
    assert message in told


def floats(data):
    return np.frombuffer(data, np.float32)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (lambda data, count: floats(data).reshape(count, 8)[:, 0], "correct"),
        (lambda data, count: floats(data)[::8], "correct"),
        (lambda data, count: floats(data)[::8].astype(np.float64), "correct"),
        (lambda data, count: floats(data)[::8].tolist(), "correct"),
        (lambda data, count: floats(data)[:count], "back to back"),
        (lambda data, count: floats(data), "It returns the padding too"),
        (lambda data, count: floats(data)[7::8], "The value comes first".lower()),
        (
            lambda data, count: floats(data).reshape(count, 8).sum(1),
            "relies on the padding being zero",
        ),
        (lambda data, count: floats(data)[floats(data) != 0], "Values of 0 are gone"),
        (
            lambda data, count: floats(data)[floats(data) != 0][:count],
            "Values of 0 are gone",
        ),
        (lambda data, count: None, "no array of numbers"),
        (lambda data, count: floats(data)[::32], "It steps over 32 values"),
        (lambda data, count: floats(data)[::32][:count], "It steps over 32 values"),
        (lambda data, count: np.frombuffer(data, np.uint8)[::32], "integers"),
        (
            lambda data, count: np.frombuffer(data, np.uint8).reshape(count, 32)[:, 0],
            "integers",
        ),
        (lambda data, count: floats(data).reshape(count, 8)[:, :1], "shape (count,)"),
        (lambda data, count: floats(data).reshape(count, 32), "failed on 32,000 bytes"),
        (lambda data, count: 1 / 0, "ZeroDivisionError"),
        (np.zeros(1000, np.float32), "Give the function itself"),
        (lambda data, count: floats(data)[:7], "one float32 for every 32 bytes"),
    ],
)
def test_parser(capsys, answer, message):
    told = said(capsys, lesson_09.parser, answer)
    assert told.startswith("Exercise 9.2: ")
    assert message in told
