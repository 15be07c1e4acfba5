"""The checks of lesson 15 name the misconception that they see; its facts hold."""

from course_lib.course import journey
from course_lib.course.checks import lesson_15
from course_lib.dlpu import contract, cvflow, socs
from course_lib.tflite import reading
from course_lib.vision import models, scenes

import numpy as np
import pytest
from lessons import LESSONS, said
from tiny_models import Graph, build

SHIPPED = {"artpec7": "B", "artpec8": "D", "artpec9": "B", "cv25": "C"}


def settings(mean, std):
    return journey.Settings(mean=(mean,), std=(std,))


STRANGE = [None, "text", [], {}, object(), np.zeros(3), float("nan"), b"bytes", 7]


@pytest.mark.parametrize("answer", STRANGE)
@pytest.mark.parametrize(
    "check",
    [
        lambda answer: lesson_15.moved_to_cv25(answer, 30_000, 38_400),
        lambda answer: lesson_15.moved_to_cv25(".onnx", answer, 38_400),
        lambda answer: lesson_15.moved_to_cv25(".onnx", 30_000, answer),
        lesson_15.settings_of_the_training,
        lesson_15.shipped,
    ],
)
def test_any_answer_is_judged(capsys, check, answer):
    assert ": not yet. " in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (lesson_15.moved_to_cv25, (..., 30_000, 38_400)),
        (lesson_15.settings_of_the_training, (...,)),
        (lesson_15.shipped, (SHIPPED | {"cv25": ...},)),
    ],
)
def test_no_answer_is_no_mistake(capsys, check, answer):
    assert said(capsys, check, *answer).endswith(": not answered yet.")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((".onnx", 30_000, 38_400), "15.1: correct."),
        (("onnx", 30_000, 38_400), "15.1: correct."),
        ((".bin", 30_000, 38_400), "Its compiler makes it"),
        ((".tflite", 30_000, 38_400), "reads another format"),
        ((".h5", 30_000, 38_400), "makes no such file"),
        ((".onnx", 30_000, 153_600), "four bytes a value"),
        ((".onnx", 120_000, 38_400), "four bytes a value"),
        ((".onnx", 10_000, 38_400), "one channel"),
        ((".onnx", 38_400, 38_400), "belongs to one of the two chips"),
        ((".onnx", 30_000, 30_000), "each row padded"),
        ((".onnx", 30_000, 32_000), "a row holds one channel"),
        ((".onnx", 30_000, 38_401), "rows times the row pitch"),
        ((".onnx", 27_648, 38_400), "grown to 100 by 100"),
        ((".onnx", 110_592, 38_400), "four bytes a value"),
    ],
)
def test_the_move_to_cv25(capsys, answer, words):
    assert words in said(capsys, lesson_15.moved_to_cv25, *answer)


def test_the_bytes_are_those_of_the_contract():
    graph = Graph()
    image = graph.input((1, 100, 100, 3))
    output = graph.convolve(image, 4)
    file = build((graph.tensors, graph.operators, graph.inputs, [output]))
    told = contract.of(reading.parse(file), soc="artpec8", file="a.tflite")
    assert told.inputs[0].bytes == 30_000
    pitch = cvflow.row_pitch(100, multiple=socs.SOCS["cv25"].row_pitch.value)
    assert 3 * 100 * pitch == 38_400


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (settings(0.0, 255.0), "still the colleague's"),
        (settings(0.5, 0.5), "pixels of 0 to 1"),
        (settings(1.0, 127.5), "subtracted after the division"),
        (settings(-127.5, 127.5), "a negative one is added"),
        (settings(0.0, 127.5), "This gives 0 to 2"),
        (settings(127.5, 255.0), "-0.5 to 0.5"),
        (settings(0.0, 1.0), "pixels as they are"),
        (settings(127.5, 0.0), "above 0"),
        (settings(255.0, 255.0), "What must pixel 0"),
        ((127.5, 127.5), "Give journey.Settings"),
        (journey.Settings(127.5, 127.5), "a comma after each single number"),
        (settings(127.0, 128.0), "Near, but"),
        (settings(128.0, 127.5), "Near, but"),
    ],
)
def test_wrong_settings(capsys, answer, words):
    assert words in said(capsys, lesson_15.settings_of_the_training, answer)


@pytest.mark.parametrize(
    "answer",
    [
        settings(127.5, 127.5),
        journey.Settings((127.5,) * 3, (127.5,) * 3),
    ],
)
def test_right_settings(capsys, answer):
    told = said(capsys, lesson_15.settings_of_the_training, answer)
    assert told == "Exercise 15.2: correct."


def test_the_scenes_of_the_check_tell_right_from_wrong():
    right = lesson_15._accuracy((127.5,), (127.5,))
    wrong = lesson_15._accuracy((0.0,), (255.0,))
    assert wrong + 0.2 < lesson_15._RIGHT < right - 0.05
    assert models.ImageInput(96, 127.5, 127.5) == models.SCENE_INPUT
    drawn = scenes.generate(lesson_15._COUNT, seed=lesson_15._SEED)
    assert len(set((drawn.person + 2 * drawn.car).tolist())) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "15.3: correct."),
        ({"cv25": "B"}, "quantizes by itself"),
        ({"cv25": "A"}, "quantizes by itself"),
        ({"artpec8": "C"}, "does not have"),
        ({"artpec7": "C"}, "reads a quantized .tflite"),
        ({"artpec8": "B"}, "what does that chip want?"),
        ({"artpec8": "A"}, "does not reach 0"),
        ({"artpec9": "A"}, "does not reach 0"),
        ({"artpec8": "E"}, "How often is that float file right"),
        ({"artpec9": "D"}, "needs no repair"),
        ({"artpec7": "D"}, "needs no repair"),
        ({"artpec7": "F"}, "one letter"),
        ({"cv75": "C"}, "a report for each of"),
    ],
)
def test_what_is_shipped(capsys, change, words):
    assert words in said(capsys, lesson_15.shipped, SHIPPED | change)


def test_the_reports_say_what_their_table_says():
    """The table's figures decide as the check does."""
    (lesson,) = [book for book in LESSONS if book.number == 15]
    (cell,) = [c for c in lesson.prose if "### Exercise 15.3" in c.source]
    rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in cell.source.splitlines()
        if line.startswith("| ") and line[2] in "ABCDE"
    ]
    table = {row[0]: row[1:] for row in rows}
    assert set(table) == set("ABCDE")
    for chip, letter in SHIPPED.items():
        wanted = socs.SOCS[chip].granularity.value
        form = table[letter][0]
        assert (wanted in form) if wanted != "none" else ("ONNX" in form)
    before, after = (float(of[:4]) for of in table["D"][1:3])
    assert after > before - 0.03
    before, after = (float(of[:4]) for of in table["A"][1:3])
    assert after < before - 0.1
    assert float(table["E"][3][:4]) >= float(table["D"][3][:4])
    assert float(table["E"][1][:4]) < 0.6
