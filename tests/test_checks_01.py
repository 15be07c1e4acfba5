"""The checks of lesson 01 name the misconception that they see."""

from course_lib.course.checks import lesson_01
from course_lib.dlpu import socs

import numpy as np
import pytest
from lessons import said

ARTPEC8 = {
    "granularity": "per-tensor",
    "layout": "RGB interleaved",
    "device": "axis-a8-dlpu-tflite",
}
PLACES = {"A": "cpu", "B": "dlpu", "C": "dlpu"}


def benchmark(soc, model, *, os="12.11.72"):
    (row,) = [
        row
        for row in socs.BENCHMARKS
        if (row.soc, row.model, row.os) == (soc, model, os)
    ]
    return row


@pytest.mark.parametrize(
    "answer",
    [None, "text", 7, [], {}, object(), np.zeros(3), b"bytes", {"A": None}, ("a", "b")],
)
@pytest.mark.parametrize(
    "check",
    [
        lesson_01.settings,
        lesson_01.best_within,
        lesson_01.cpu_or_dlpu,
        lambda answer: lesson_01.settings(ARTPEC8 | {"device": answer}),
        lambda answer: lesson_01.cpu_or_dlpu(PLACES | {"B": answer}),
    ],
)
def test_no_answer_makes_a_check_raise(capsys, check, answer):
    assert "not yet" in said(capsys, check, answer)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"device": ...}, "not answered yet"),
        ({}, "correct"),
        ({"granularity": "per-channel"}, "Granularity: per-channel is what ran"),
        ({"granularity": "none"}, "Granularity: none means a float file"),
        ({"granularity": "per-axis"}, "Granularity: use one of the words"),
        ({"layout": "RGB planar"}, "Layout: planar pixels are for"),
        ({"layout": "NHWC"}, "Layout: that is its other name"),
        ({"layout": "planes"}, "Layout: use the words"),
        ({"device": "google-edge-tpu-tflite"}, "a name of ARTPEC-7"),
        ({"device": "axis-a7-gpu-tflite"}, "a name of ARTPEC-7"),
        ({"device": "a9-dlpu-tflite"}, "a name of ARTPEC-9"),
        ({"device": "armnn-cpu-tflite"}, "a name of ARTPEC-9"),
        ({"device": "ambarella-cvflow"}, "a name of CV25"),
        ({"device": "axis-a9-dlpu-tflite"}, "no chip has this name"),
        ({"device": "a8-dlpu-tflite"}, "Device: nearly"),
        ({"device": "axis-a8-dlpu-native"}, "already compiled"),
        ({"device": "axis-a8-dlpu-proc"}, "runs no model"),
        ({"device": "cpu-tflite"}, "on the CPU"),
        ({"device": "ARTPEC-8"}, "compares the whole name"),
        ({"device": 8}, "Device: larod compares the whole name"),
    ],
)
def test_settings(capsys, changed, message):
    told = said(capsys, lesson_01.settings, ARTPEC8 | changed)
    assert told.startswith("Exercise 1.1: ")
    assert message in told
    assert changed == {} or ARTPEC8["device"] not in told


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (..., "not answered yet"),
        (benchmark("cv75", "YOLOv8n"), "correct"),
        ([benchmark("cv75", "YOLOv8n")], "not a list"),
        ("YOLOv8n", "not its name"),
        (37.3, "Give one entry"),
        (benchmark("artpec7", "MobileNetV3 EdgeTPU"), "This is a classifier"),
        (benchmark("artpec9", "YOLOv5n", os="12.4"), "its accuracy is not told"),
        (benchmark("artpec9", "YOLOv5m"), "more than 40 ms"),
        (benchmark("cv25", "YOLOv5s"), "more than 40 ms"),
        (benchmark("artpec9", "SSD MobileNetV2"), "the fastest"),
        (benchmark("artpec9", "YOLOv5s"), "has a higher mAP"),
        (benchmark("artpec7", "SSDLite MobileDet"), "has a higher mAP"),
    ],
)
def test_best_within(capsys, answer, message):
    told = said(capsys, lesson_01.best_within, answer)
    assert told.startswith("Exercise 1.2: ")
    assert message in told


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"A": ...}, "not answered yet"),
        ({}, "correct"),
        ({"A": "dlpu"}, "A: which of the three conditions is broken?"),
        ({"B": "cpu"}, "B: rare is not enough"),
        ({"C": "cpu"}, "C: rare, and nobody waits"),
        ({"C": "gpu"}, "Use the words cpu and dlpu"),
        ({"A": "dlpu", "B": "cpu", "C": "cpu"}, "A: which"),
    ],
)
def test_cpu_or_dlpu(capsys, changed, message):
    told = said(capsys, lesson_01.cpu_or_dlpu, PLACES | changed)
    assert told.startswith("Exercise 1.3: ")
    assert message in told
