"""The checks of lesson 14 name the misconception that they see; its C lines compile."""

import re
import shutil
import subprocess

from course_lib.course.checks import lesson_14
from course_lib.vision import detection

import numpy as np
import pytest
from lessons import NOTEBOOKS, Notebook, said

LESSON = Notebook(NOTEBOOKS / "14_object_detection.ipynb")
GCC = shutil.which("gcc")


@pytest.mark.parametrize("limit", [0.55, 0.6, np.float32(0.7)])
def test_a_limit_that_keeps_each_person(capsys, limit):
    assert said(capsys, lesson_14.limit_of_overlap, limit) == "Exercise 14.1: correct."


@pytest.mark.parametrize(
    ("limit", "hint"),
    [
        (..., "not answered yet"),
        (0.3, "People vanish"),
        (0.0, "People vanish"),
        (0.9, "Doubles stay"),
        (1, "Doubles stay"),
        (60, "percentage"),
        (-0.5, "between 0 and 1"),
        (True, "one number"),
        ("0.6", "one number"),
        ([0.6], "one number"),
    ],
)
def test_wrong_limits(capsys, limit, hint):
    assert hint in said(capsys, lesson_14.limit_of_overlap, limit)


def test_the_queue_has_four_people_and_their_doubles():
    waiting = lesson_14.queue()
    overlap = detection.iou(waiting.boxes, waiting.boxes)
    doubles = [overlap[n, n + 4] for n in range(4)]
    neighbours = [overlap[n, n + 1] for n in range(3)]
    assert max(neighbours) < 0.55 < 0.75 < min(doubles)


def decoder(
    *, first="either", right_scale=True, confidence=0.5, scales=(10, 10, 5, 5), add=0
):
    """Return a decoder with the faults that are asked for."""

    def decode(outputs, anchors):
        if first == "either":
            outputs = sorted(outputs, key=lambda output: output[0].shape[-1] == 4)
        elif first == "codes":
            outputs = outputs[::-1]
        (scores, score_scale, score_zero), (codes, scale, zero) = outputs
        if not right_scale:
            score_scale, score_zero = scale, zero
        found = detection.ssd(
            codes,
            scores,
            anchors=anchors,
            confidence=confidence,
            code_scale=scale,
            code_zero_point=zero,
            score_scale=score_scale,
            score_zero_point=score_zero,
            scales=scales,
        )
        return detection.Detections(found.boxes, found.scores, found.classes + add)

    return decode


def test_a_decoder_for_both_orders(capsys):
    assert said(capsys, lesson_14.decodes, decoder()) == "Exercise 14.2: correct."


@pytest.mark.parametrize(
    ("decode", "hint"),
    [
        (..., "not answered yet"),
        (0.5, "a function"),
        (decoder(first="codes"), "when the scores come first"),
        (decoder(first="scores"), "when the boxes come first"),
        (lambda outputs, anchors: None, "does not return boxes"),
        (decoder(right_scale=False), "score above 1"),
        (decoder(confidence=0), "Every anchor"),
        (decoder(confidence=0.65), "three boxes"),
        (decoder(scales=(5, 5, 10, 10)), "not those"),
        (decoder(add=1), "not those"),
    ],
)
def test_wrong_decoders(capsys, decode, hint):
    assert hint in said(capsys, lesson_14.decodes, decode)


def test_the_broken_decoder_of_the_lesson_has_three_faults(capsys):
    """Each repair leads to the next hint, and the third to *correct*."""
    (cell,) = [c for c in LESSON.code if c.id == "answer-14-2"]
    space = {"detection": detection}
    sources = [cell.source]
    taken = "(codes, scale, zero_point), (scores, _, _) = outputs"
    for old, new in (
        (
            taken,
            "(codes, scale, zero_point), (scores, own, zero) = sorted(outputs,"
            " key=lambda output: output[0].shape[-1] != 4)",
        ),
        ("score_scale=scale", "score_scale=own"),
        ("int(0.5)", "0.5"),
    ):
        assert old in sources[-1]
        sources.append(sources[-1].replace(old, new))
    sources[2:] = [
        s.replace("score_zero_point=zero_point", "score_zero_point=zero")
        for s in sources[2:]
    ]
    told = []
    for source in sources:
        exec(source, space)
        told.append(said(capsys, lesson_14.decodes, space["decode"]))
    hints = ("scores come first", "score above 1", "Every anchor", "correct")
    for text, hint in zip(told, hints, strict=True):
        assert hint in text


RIGHT = {"A": "application", "B": "file", "C": "application", "D": "file"}


def test_where_boxes_are_made(capsys):
    assert said(capsys, lesson_14.places, RIGHT) == "Exercise 14.3: correct."


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"A": ...}, "not answered yet"),
        ({"A": "file"}, "A: "),
        ({"B": "application"}, "B: "),
        ({"C": "file"}, "C: "),
        ({"D": "application"}, "D: "),
        ({"D": "graph"}, "one of"),
        ({"E": "file"}, "one of"),
    ],
)
def test_wrong_places(capsys, changed, hint):
    assert hint in said(capsys, lesson_14.places, RIGHT | changed)


@pytest.mark.parametrize("answer", ["file", 3, None, ("file",) * 4])
def test_places_of_another_kind(capsys, answer):
    assert "not yet" in said(capsys, lesson_14.places, answer)


@pytest.mark.skipif(GCC is None, reason="gcc is not on PATH")
def test_the_c_lines_of_the_lesson_compile(tmp_path):
    text = "\n".join(cell.source for cell in LESSON.prose)
    (lines,) = re.findall(r"```c\n(.*?)```", text, re.S)
    (tmp_path / "find.c").write_text(lines)
    command = [GCC, "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "find.c"]
    command += ["-I", str(detection.HEADER.parent)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_cell_to_copy_finds_what_the_library_finds():
    (cell,) = LESSON.tagged("copy")
    space = {}
    exec(cell.source, space)
    rng = np.random.default_rng(0)
    anchors = detection.ssd_anchors()
    codes = rng.normal(0, 2, (len(anchors), 4)).astype(np.float32)
    scores = rng.uniform(0, 1, (len(anchors), 4)).astype(np.float32) ** 3
    boxes, score, label = space["find"](codes, scores, anchors, overlap=0.3)
    wanted = detection.nms(
        detection.ssd(codes, scores, anchors=anchors, confidence=0.5),
        iou=0.3,
        most=len(anchors),
    )
    assert len(wanted) > 20
    np.testing.assert_allclose(boxes, wanted.boxes, atol=1e-5)
    np.testing.assert_array_equal(label, wanted.classes)
    np.testing.assert_array_equal(score, wanted.scores)
    nothing = space["find"](codes, scores, anchors, confidence=2)
    assert [len(part) for part in nothing] == [0, 0, 0]
