"""The checks of lesson 14 name the misconception that they see; its C lines compile."""

import re
import shutil
import subprocess

from course_lib.course.checks import lesson_14
from course_lib.quantization import calibration
from course_lib.tflite import inference
from course_lib.vision import detection, detector_training, models, scenes

import matplotlib
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


def wrapped(outputs, anchors):
    """Decode what uint8 makes of a zero point that is taken off too early."""
    codes, scores = sorted(outputs, key=lambda output: output[0].shape[-1] != 4)
    of_codes, of_scores = (
        (q - np.uint8(zero)) * scale for q, scale, zero in (codes, scores)
    )
    found = detection.ssd(of_codes, of_scores, anchors=anchors, confidence=0.5)
    return detection.nms(found, iou=0.5)


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
        *((decoder(confidence=c), "three boxes") for c in (0.1, 0.49, 0.51, 0.65)),
        (wrapped, "wraps round"),
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


MAIN = r"""
#include <stdio.h>
#include "find.c"
#include "anchors.h"
int main(void)
{
    static uint8_t codes[1917 * 4], scores[1917 * 91];
    if (fread(codes, 1, sizeof codes, stdin) != sizeof codes
        || fread(scores, 1, sizeof scores, stdin) != sizeof scores)
        return 1;
    size_t n = CALL;
    for (size_t i = 0; i < n; i++)
        printf("%.9g %d\n", found[i].y1, found[i].label);
    return 0;
}
"""


@pytest.mark.skipif(GCC is None, reason="gcc is not on PATH")
def test_the_lines_that_write_the_anchors_feed_the_c_lines(tmp_path, monkeypatch):
    """Model and anchors as the lesson writes them; the call and gcc as it says."""
    text = "\n".join(cell.source for cell in LESSON.prose)
    (lines,) = re.findall(r"```c\n(.*?)```", text, re.S)
    (python,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (call,) = re.findall(r"`(find\(codes, .*?\))`", text)
    anchors = detection.ssd_anchors()
    monkeypatch.chdir(tmp_path)
    exec(python, {"anchors": anchors, "cured": b"model"})
    assert (tmp_path / "detector.tflite").read_bytes() == b"model"
    for name, value in {
        "DETECTOR_OUTPUT_0_SCALE": "0.00390625f",
        "DETECTOR_OUTPUT_1_SCALE": "0.05f",
        "DETECTOR_OUTPUT_1_ZERO_POINT": "130",
    }.items():
        assert name in call
        call = call.replace(name, value)
    (tmp_path / "find.c").write_text(lines)
    (tmp_path / "app.c").write_text(MAIN.replace("CALL", call))
    (command,) = re.findall(r"`(gcc .*?)`", text)
    subprocess.run(
        [GCC, *command.split()[1:], "-I", str(detection.HEADER.parent)],
        check=True,
        cwd=tmp_path,
    )
    rng = np.random.default_rng(0)
    codes = rng.integers(100, 160, (len(anchors), 4)).astype(np.uint8)
    scores = rng.integers(0, 130, (len(anchors), 91)).astype(np.uint8)
    done = subprocess.run(
        ["./a.out"],
        input=codes.tobytes() + scores.tobytes(),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    wanted = detection.nms(
        detection.ssd(
            codes,
            scores,
            anchors=anchors,
            confidence=0.5,
            code_scale=np.float32(0.05),
            code_zero_point=130,
            score_scale=1 / 256,
        ),
        iou=0.6,
    )
    assert len(wanted) > 20
    printed = [line.split() for line in done.stdout.decode().splitlines()]
    np.testing.assert_allclose(
        [float(top) for top, _ in printed], wanted.boxes[:, 0], atol=1e-6
    )
    assert [int(label) for _, label in printed] == wanted.classes.tolist()


def test_the_outputs_come_in_the_order_that_axis_reads(capsys):
    """Boxes, classes, scores, count: Axis's example takes them by number."""
    pytest.importorskip("tensorflow")
    cells = {cell.id: cell.source for cell in LESSON.code}
    space = {}
    with matplotlib.rc_context():  # the cell sets the style of the course
        exec(cells["imports"], space)
    size = models.SCENE_DETECTOR_INPUT.size
    drawn = scenes.generate(12, seed=1, size=size)
    space |= {
        "trained": models.scene_detector(),
        "size": size,
        "grid": models.scene_detector_anchors(),
        "scene_dataset": calibration.representative_dataset(
            drawn.images, mean=127.5, std=127.5
        ),
    }
    for name in ("post", "post-convert"):
        exec(cells[name], space)
    capsys.readouterr()
    fullest = max(range(12), key=lambda n: len(drawn.boxes[n]))
    truth = detector_training.as_detections(drawn.boxes[fullest], size=size)
    interpreter = inference.load(space["ended"])
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], drawn.images[[fullest]])
    interpreter.invoke()
    boxes, classes, scores, count = (
        interpreter.get_tensor(output["index"])[0]
        for output in interpreter.get_output_details()
    )
    found = int(count)
    assert found >= len(truth) > 1
    assert ((scores[:found] >= 0.3) & (scores[:found] < 1)).all()
    assert (np.diff(scores[:found]) <= 0).all()
    assert not scores[found:].any()
    overlap = detection.iou(truth.boxes, boxes[:found])
    assert (overlap.max(axis=1) >= 0.5).all()
    np.testing.assert_array_equal(classes[overlap.argmax(axis=1)] + 1, truth.classes)


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
