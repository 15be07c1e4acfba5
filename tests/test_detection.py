"""Boxes from raw outputs: by hand, against TensorFlow, and the C code against NumPy."""

import ctypes
import shutil
import subprocess
import sys

from course_lib.errors import UnusableInput
from course_lib.vision import detection

import numpy as np
import pytest

GCC = shutil.which("gcc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion"]
STRICT += ["-Wshadow", "-Wdouble-promotion"]
ANCHORS = detection.ssd_anchors()
NAN, INF = np.nan, np.inf


def found(boxes, scores, classes=None):
    classes = np.zeros(len(scores), int) if classes is None else np.array(classes)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return detection.Detections(boxes, np.array(scores, np.float32), classes)


def random_boxes(rng, count):
    corners = rng.uniform(0, 1, (count, 2, 2))
    return np.hstack([corners.min(1), corners.max(1)]).astype(np.float32)


def refused(call, *words):
    with pytest.raises(UnusableInput) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    for word in words:
        assert word in message


# SSD


def test_anchors_of_the_coco_model():
    assert ANCHORS.shape == (1917, 4)
    assert ANCHORS.dtype == np.float32
    middle, root = 0.5 / 19, np.sqrt(0.5)
    first = [[0.1, 0.1], [0.2 * root, 0.2 / root], [0.2 / root, 0.2 * root]]
    np.testing.assert_allclose(ANCHORS[:3, :2], middle, rtol=1e-6)
    np.testing.assert_allclose(ANCHORS[:3, 2:], first, rtol=1e-6)
    # x runs before y, and the second grid begins after 19 · 19 · 3 anchors
    np.testing.assert_allclose(ANCHORS[3, :2], [middle, 3 * middle], rtol=1e-6)
    np.testing.assert_allclose(ANCHORS[1083], [0.05, 0.05, 0.35, 0.35], rtol=1e-6)
    # the last grid is one cell: five ratios of 0.95, and the square before 1
    thrice, third = np.sqrt([3, 0.3333])  # as published: not 1/3
    np.testing.assert_allclose(ANCHORS[-3, 2:], [0.95 / thrice, 0.95 * thrice])
    np.testing.assert_allclose(ANCHORS[-2, 2:], [0.95 / third, 0.95 * third])
    np.testing.assert_allclose(ANCHORS[-1, 2:], np.sqrt(0.95), rtol=1e-6)


def test_anchors_of_another_head():
    anchors = detection.ssd_anchors((4, 2), ratios=(1.0, 2.0, 0.5), reduced=False)
    assert anchors.shape == ((16 + 4) * 4, 4)
    refused(lambda: detection.ssd_anchors(()), "grid")
    refused(lambda: detection.ssd_anchors((4, 0)), "cell")


def test_ssd_box_by_hand():
    anchor = np.array([[0.5, 0.4, 0.2, 0.1]])
    code = np.array([[5, -10, 5 * np.log(2), 0]])  # half a height down, a width left
    box = detection.ssd_boxes(code, anchor)
    np.testing.assert_allclose(box, [[0.4, 0.25, 0.8, 0.35]], rtol=1e-6)
    assert box.dtype == np.float32
    plain = detection.ssd_boxes([[0.5, -1, np.log(2), 0]], anchor, scales=(1, 1, 1, 1))
    np.testing.assert_allclose(plain, box, rtol=1e-6)


def test_codes_and_boxes_are_inverse():
    rng = np.random.default_rng(1)
    codes = rng.normal(0, 3, (1917, 4)).astype(np.float32)
    boxes = detection.ssd_boxes(codes, ANCHORS)
    np.testing.assert_allclose(detection.ssd_codes(boxes, ANCHORS), codes, atol=2e-4)
    again = detection.ssd_boxes(detection.ssd_codes(boxes, ANCHORS), ANCHORS)
    np.testing.assert_allclose(again, boxes, atol=1e-6)


def test_ssd_takes_the_best_class_and_leaves_background_out():
    anchors = np.full((4, 4), 0.5)
    scores = np.array([[9, 200, 100], [250, 10, 20], [0, 130, 130], [0, 0, 129]])
    got = detection.ssd(
        np.full((1, 4, 4), 128, np.uint8),
        scores[None].astype(np.uint8),
        anchors=anchors,
        confidence=0.5,
        code_scale=0.1,
        code_zero_point=128,
        score_scale=1 / 256,
    )
    np.testing.assert_array_equal(got.classes, [1, 1, 2])  # of equal classes the first
    np.testing.assert_array_equal(got.scores, np.float32([200, 130, 129]) / 256)
    np.testing.assert_array_equal(got.boxes, np.tile([0.25, 0.25, 0.75, 0.75], (3, 1)))


def test_what_ssd_refuses():
    zeros = np.zeros((3, 4))
    refused(lambda: detection.ssd_boxes(zeros, ANCHORS), "1917", "3")
    refused(lambda: detection.ssd_boxes(zeros, zeros), "above 0")
    refused(lambda: detection.ssd_boxes(zeros, np.full((3, 4), NAN)), "above 0")
    refused(lambda: detection.ssd_boxes(np.zeros((3, 5)), zeros), "[N, 4]")
    refused(
        lambda: detection.ssd_boxes(zeros, zeros + 1, scales=(0, 1, 1, 1)), "scales"
    )
    flat = [[0, 0, 1, 1], [0.5, 0, 0.5, 1]]
    refused(lambda: detection.ssd_codes(flat, np.ones((2, 4))), "box 1")
    nan = [[NAN, 0, 1, 1]]
    refused(lambda: detection.ssd_codes(nan, np.ones((1, 4))), "box 0")
    wide, call = np.zeros((3, 5)), {"anchors": zeros + 1, "confidence": 0.5}
    refused(lambda: detection.ssd(wide, zeros, **call), "[N, 4]")
    for scores in (np.zeros((2, 91)), np.zeros((3, 1)), np.zeros(3)):
        refused(lambda s=scores: detection.ssd(zeros, s, **call), "scores")


# YOLOv5


def test_yolov5_by_hand():
    rows = np.zeros((1, 5, 8), np.uint8)
    rows[0, 1] = [128, 64, 32, 16, 240, 5, 200, 200]
    rows[0, 3] = [128, 64, 32, 16, 127, 5, 6, 255]  # objectness below the threshold
    rows[0, 4] = [128, 64, 32, 16, 140, 5, 6, 140]  # their product is
    got = detection.yolov5(rows, scale=1 / 256, zero_point=0, confidence=0.5)
    np.testing.assert_array_equal(got.boxes, [[0.21875, 0.4375, 0.28125, 0.5625]])
    np.testing.assert_array_equal(got.classes, [1])
    np.testing.assert_array_equal(got.scores, np.float32([240 * 200 / 65536]))


def test_yolov5_zero_point_and_pixels():
    row = np.float32([[320, 160, 64, 32, 0.9, 0.1, 0.8]])
    pixels = detection.yolov5(row, confidence=0.5, size=(320, 640))
    np.testing.assert_allclose(pixels.boxes, [[0.45, 0.45, 0.55, 0.55]], rtol=1e-6)
    np.testing.assert_allclose(pixels.scores, [0.72], rtol=1e-6)
    q = np.array([[128, 64, 32, 16, 240, 5, 200]], np.uint8)
    call = {"scale": 1 / 256, "confidence": 0.5}
    as_uint8 = detection.yolov5(q, **call)
    as_int8 = (q.astype(int) - 128).astype(np.int8)
    for shifted in (as_int8, as_int8.astype(np.int32)):
        other = detection.yolov5(shifted, zero_point=-128, **call)
        np.testing.assert_array_equal(other.boxes, as_uint8.boxes)
        np.testing.assert_array_equal(other.scores, as_uint8.scores)


@pytest.mark.parametrize("confidence", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize(("scale", "zero_point"), [(0.0041905, 0), (0.0042464, 1)])
def test_comparing_integers_loses_and_adds_nothing(confidence, scale, zero_point):
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 256, (2000, 9)).astype(np.uint8)
    got = detection.yolov5(
        rows, confidence=confidence, scale=scale, zero_point=zero_point
    )
    real = ((rows.astype(float) - zero_point) * np.float32(scale)).astype(np.float32)
    alike = detection.yolov5(real, confidence=confidence)
    assert len(got) > 0
    np.testing.assert_array_equal(got.scores, alike.scores)
    np.testing.assert_array_equal(got.boxes, alike.boxes)


def test_what_yolov5_refuses():
    row = np.zeros((1, 85))
    refused(lambda: detection.yolov5(np.zeros((1, 5)), confidence=0.5), "5 columns")
    refused(lambda: detection.yolov5(np.zeros((2, 9, 85)), confidence=0.5), "one pic")
    for size in ((0, 640), (640, NAN)):
        refused(lambda s=size: detection.yolov5(row, confidence=0.5, size=s), "size")
    for scale in (0.0, -1.0, NAN, INF):
        refused(lambda s=scale: detection.yolov5(row, confidence=0.5, scale=s), "scale")


@pytest.mark.parametrize("value", [NAN, 25, 1.01, -0.1, INF])
def test_a_threshold_out_of_range_is_refused(value):
    zeros, ones = np.zeros((1, 4)), np.ones((1, 4))
    refused(lambda: detection.yolov5(np.zeros((1, 85)), confidence=value), "percent")
    refused(lambda: detection.ssd(zeros, zeros, anchors=ones, confidence=value), "perc")
    refused(lambda: detection.nms(found(ones, [1]), iou=value), "iou", "percent")


def test_thresholds_of_zero_and_one():
    assert len(detection.yolov5(np.zeros((3, 85), np.uint8), confidence=0)) == 3
    assert len(detection.yolov5(np.zeros((3, 85), np.uint8), confidence=1)) == 0
    touching = found([[0, 0, 1, 1], [0, 1, 1, 2], [0, 0, 1, 1.01]], [3, 2, 1])
    assert detection.nms(touching, iou=0).scores.tolist() == [3, 2]
    assert detection.nms(touching, iou=1).scores.tolist() == [3, 2, 1]


def test_nothing_gives_nothing():
    none = np.zeros((0, 4))
    for empty in (
        detection.yolov5(np.zeros((1, 0, 85), np.uint8), confidence=0.5),
        detection.ssd(none, np.zeros((0, 91)), anchors=none, confidence=0.5),
        detection.nms(found(none, []), iou=0.5),
        detection.nms(found([[0, 0, 1, 1]], [1]), iou=0.5, most=0),
    ):
        assert len(empty) == 0
        assert empty.boxes.shape == (0, 4)
    assert detection.iou(none, np.ones((3, 4))).shape == (0, 3)


@pytest.mark.filterwarnings("error")
def test_nan_and_infinity_are_never_found():
    rows = np.tile(np.float32([0.5, 0.5, 0.1, 0.1, 0.9, 0.2, 0.8]), (6, 1))
    rows[0, 4] = rows[1, 0] = NAN
    rows[2, 2] = rows[5, 4] = INF
    rows[3, 6] = rows[4, 5] = NAN
    got = detection.nms(detection.yolov5(rows, confidence=0.5), iou=1)
    np.testing.assert_array_equal(got.classes, [1])  # row 4: the other class is NaN
    codes = np.float32([[0, 0, 1e9, 0], [NAN, 0, 0, 0], [0, 0, 0, 0]])
    scores = np.float32([[0, 1], [0, 1], [NAN, 1]])
    got = detection.ssd(codes, scores, anchors=np.ones((3, 4)), confidence=0.5)
    assert len(got) == 3
    assert len(detection.nms(got, iou=1)) == 1


# Overlap


def test_iou_by_hand():
    a = [[0, 0, 2, 2], [0, 0, 0, 2], [2, 2, 0, 0], [NAN, 0, 1, 1]]
    b = [[1, 1, 3, 3], [0, 0, 2, 2], [0, 0, 1, 2]]
    expected = [[1 / 7, 1, 0.5], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(detection.iou(a, b), expected)


def test_of_equal_scores_the_first_stays():
    boxes = [[0, 0, 1, 1], [0, 0.1, 1, 1.1], [5, 5, 6, 6], [0, 0, 1, 1]]
    got = detection.nms(found(boxes, [7, 7, 7, 8]), iou=0.5)
    np.testing.assert_array_equal(got.boxes, np.float32(boxes)[[3, 2]])
    got = detection.nms(found(boxes[:3], [7, 7, 7]), iou=0.5)
    np.testing.assert_array_equal(got.boxes, np.float32(boxes)[[0, 2]])


def test_classes_drop_each_other_only_when_asked():
    two = found([[0, 0, 1, 1]] * 3, [0.9, 0.8, 0.7], [1, 2, 1])
    np.testing.assert_array_equal(detection.nms(two, iou=0.5).classes, [1, 2])
    assert len(detection.nms(two, iou=0.5, per_class=False)) == 1
    assert len(detection.nms(two, iou=1, most=2)) == 2
    refused(lambda: detection.nms(two, iou=0.5, most=-1), "-1")


def test_objectness_alone_must_reach_the_threshold():
    row = np.float32([[0.5, 0.5, 0.1, 0.1, 0.48, 1.07]])  # 0.51 together
    assert len(detection.yolov5(row, confidence=0.5)) == 0
    assert len(detection.yolov5(row, confidence=0.48)) == 1


def test_rows_that_do_not_fit_are_refused():
    refused(lambda: found(np.zeros((2, 4)), [1]), "(2, 4)", "(1,)")
    refused(lambda: detection.Detections(np.zeros((1, 4)), np.float32(1), np.zeros(1)))


def test_nms_agrees_with_tensorflow():
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(3)
    dropped = 0
    for k in range(300):
        boxes = random_boxes(rng, count=int(rng.integers(1, 120)))
        scores = rng.permutation(len(boxes)).astype(np.float32)  # without ties
        limit, most = float(rng.uniform(0.05, 0.9)), int(rng.integers(1, 100))
        rows = tf.image.non_max_suppression(boxes, scores, most, limit).numpy()
        some = found(boxes, scores, rng.integers(0, 3, len(boxes)))
        got = detection.nms(some, iou=limit, per_class=False, most=most)
        np.testing.assert_array_equal(got.scores, scores[rows], err_msg=str(k))
        dropped += len(boxes) - len(rows)
        each = detection.nms(some, iou=limit, most=len(boxes))
        for label in range(3):
            one = some.at(some.classes == label)
            if len(one):
                rows = tf.image.non_max_suppression(
                    one.boxes, one.scores, len(one), limit
                ).numpy()
                mine = each.scores[each.classes == label]
                np.testing.assert_array_equal(mine, one.scores[rows])
    assert dropped > 3000


# C against NumPy

FLAT = """
#include "detection.h"
static detection_tensor tensor(const void *data, int is_float, float scale, int zero)
{
    return is_float ? detection_f32(data) : detection_u8(data, scale, zero);
}
size_t ssd(const void *codes, const void *scores, int is_float, float code_scale,
           int code_zero, float score_scale, int score_zero, const float *anchors,
           const float *scales, size_t count, size_t classes, float confidence,
           detection *found, size_t room);
size_t ssd(const void *codes, const void *scores, int is_float, float code_scale,
           int code_zero, float score_scale, int score_zero, const float *anchors,
           const float *scales, size_t count, size_t classes, float confidence,
           detection *found, size_t room)
{
    return detection_ssd(tensor(codes, is_float, code_scale, code_zero),
                         tensor(scores, is_float, score_scale, score_zero), anchors,
                         scales, count, classes, confidence, found, room);
}
size_t yolov5(const void *output, int is_float, float scale, int zero, size_t count,
              size_t classes, float height, float width, float confidence,
              detection *found, size_t room);
size_t yolov5(const void *output, int is_float, float scale, int zero, size_t count,
              size_t classes, float height, float width, float confidence,
              detection *found, size_t room)
{
    return detection_yolov5(tensor(output, is_float, scale, zero), count, classes,
                            height, width, confidence, found, room);
}
size_t nms(detection *found, size_t count, float iou, int per_class, size_t most);
size_t nms(detection *found, size_t count, float iou, int per_class, size_t most)
{
    return detection_nms(found, count, iou, per_class, most);
}
"""
RECORD = np.dtype([("box", "f4", 4), ("score", "f4"), ("label", "i4")])
SIZE, REAL, INT, DATA = ctypes.c_size_t, ctypes.c_float, ctypes.c_int, ctypes.c_void_p


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    if not GCC or sys.platform == "win32":
        pytest.skip("gcc is not on PATH, or cannot make a library for this Python")
    folder = tmp_path_factory.mktemp("c")
    (folder / "flat.c").write_text(FLAT, encoding="utf-8")
    command = [GCC, *STRICT, "-O2", "-shared", "-fPIC", "-I", detection.HEADER.parent]
    command += [folder / "flat.c", "-o", folder / "flat.so", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    library = ctypes.CDLL(str(folder / "flat.so"))
    quantized = [REAL, INT]
    library.ssd.argtypes = [DATA, DATA, INT, *quantized * 2, DATA, DATA, SIZE, SIZE]
    library.ssd.argtypes += [REAL, DATA, SIZE]
    library.yolov5.argtypes = [DATA, INT, *quantized, SIZE, SIZE, REAL, REAL, REAL]
    library.yolov5.argtypes += [DATA, SIZE]
    library.nms.argtypes = [DATA, SIZE, REAL, INT, SIZE]
    for function in (library.ssd, library.yolov5, library.nms):
        function.restype = SIZE
    return library


def c_yolov5(c, output, confidence, scale=1.0, zero_point=0, size=(1, 1)):
    output = np.ascontiguousarray(output)
    rows = np.zeros(len(output), RECORD)
    quantized = (output.dtype == np.float32, scale, zero_point)
    shape = (len(output), output.shape[1] - 5, *size)
    data = (rows.ctypes.data, len(rows))
    n = c.yolov5(output.ctypes.data, *quantized, *shape, confidence, *data)
    return rows[:n]


def c_ssd(c, codes, scores, anchors, confidence, quantized=(1.0, 0, 1.0, 0)):
    rows = np.zeros(len(codes), RECORD)
    codes, scores = np.ascontiguousarray(codes), np.ascontiguousarray(scores)
    kind = codes.dtype == np.float32
    inputs = (codes.ctypes.data, scores.ctypes.data, kind, *quantized)
    shape = (anchors.ctypes.data, None, len(codes), scores.shape[1] - 1)
    n = c.ssd(*inputs, *shape, confidence, rows.ctypes.data, len(rows))
    return rows[:n]


def c_nms(c, rows, iou, per_class=True, most=100):
    rows = rows.copy()
    return rows[: c.nms(rows.ctypes.data, len(rows), iou, per_class, most)]


def alike(rows, expected):
    np.testing.assert_array_equal(rows["label"], expected.classes)
    np.testing.assert_array_equal(rows["score"], expected.scores)
    np.testing.assert_allclose(rows["box"], expected.boxes, rtol=0, atol=1e-5)


def ties(detections):
    return len(detections) - len(np.unique(detections.scores))


def crowd(rng, count, columns, first):
    """Return rows around three places: few distinct scores, three in ten of them high.

    Objectness, column 4 of YOLOv5's, is any number; the threshold's own comes up too.
    """
    rows = rng.integers(0, 60, (count, columns))
    high = rng.random(count) < 0.3
    rows[high, first:] = rng.choice([90, 200, 220, 250], (high.sum(), columns - first))
    rows[:, 4] = np.where(
        high & (rng.random(count) < 0.5), 250, rng.integers(0, 256, count)
    )
    place = rng.choice([70, 120, 200], (count, 1))
    rows[:, :4] = place + rng.integers(-5, 6, (count, 4))
    return rows.astype(np.uint8)


@pytest.mark.parametrize("is_float", [False, True])
def test_yolov5_in_c_is_yolov5_in_numpy(c, is_float):
    rng = np.random.default_rng(4)
    equal = kept = 0
    for k in range(1000):
        rows = crowd(rng, 25200 if k == 0 else 150, 85 if k == 0 else 9, 4)
        quantized = {"scale": 0.0042464, "zero_point": k % 3}
        if is_float:
            shift = rows.astype(np.float32) - k % 3
            rows, quantized = shift * np.float32(0.0042464), {}
        confidence = float(rng.choice([0.2, 0.25, 0.5, 0.7]))
        limit, per_class, most = float(rng.uniform()), bool(k % 2), int(1 + k % 40)
        size = (1, 1) if k % 5 else (384, 640)
        expected = detection.yolov5(rows, confidence=confidence, size=size, **quantized)
        got = c_yolov5(c, rows, confidence, size=size, **quantized)
        alike(got, expected)
        last = detection.nms(expected, iou=limit, per_class=per_class, most=most)
        alike(c_nms(c, got, limit, per_class, most), last)
        equal, kept = equal + ties(last), kept + len(last)
    assert equal > 1000
    assert kept > 3000


@pytest.mark.parametrize("is_float", [False, True])
def test_ssd_in_c_is_ssd_in_numpy(c, is_float):
    rng = np.random.default_rng(5)
    equal = kept = 0
    for k in range(1000):
        some = slice(None) if k == 0 else rng.permutation(1917)[:150]
        anchors = np.ascontiguousarray(ANCHORS[some])
        codes = rng.integers(60, 200, (len(anchors), 4)).astype(np.uint8)
        scores = crowd(rng, len(anchors), 91 if k == 0 else 9, 4)[:, 4:]
        quantized = (0.07, 120 + k % 9, 1 / 256, k % 2)
        if is_float:
            codes = (codes.astype(np.float32) - 128) * np.float32(0.07)
            scores = scores.astype(np.float32) / 256
            quantized = (1.0, 0, 1.0, 0)
        names = ("code_scale", "code_zero_point", "score_scale", "score_zero_point")
        confidence = float(rng.choice([0.3, 0.5, 0.8]))
        limit, per_class, most = float(rng.uniform()), bool(k % 2), int(1 + k % 40)
        expected = detection.ssd(
            codes,
            scores,
            anchors=anchors,
            confidence=confidence,
            **dict(zip(names, quantized, strict=True)),
        )
        got = c_ssd(c, codes, scores, anchors, confidence, quantized)
        alike(got, expected)
        last = detection.nms(expected, iou=limit, per_class=per_class, most=most)
        alike(c_nms(c, got, limit, per_class, most), last)
        equal, kept = equal + ties(last), kept + len(last)
    assert equal > 1000
    assert kept > 3000


def test_c_finds_nothing_in_hostile_numbers(c):
    row = np.float32([[0.5, 0.5, 0.1, 0.1, 0.9, 0.8]])
    anchors = np.ones((1, 4), np.float32)
    one = c_yolov5(c, row, 0.5)
    assert len(one) == 1
    for value in (NAN, 25, -0.1, INF):
        assert len(c_yolov5(c, row, value)) == 0
        assert len(c_ssd(c, row[:, :4], row[:, 4:], anchors, value)) == 0
        assert len(c_nms(c, one, value)) == 0
    assert len(c_yolov5(c, row[:0], 0.5)) == 0
    assert len(c_nms(c, one[:0], 0.5)) == 0
    assert len(c_nms(c, one, 0.5, most=0)) == 0
    for column in (0, 2, 4, 5):
        for value in (NAN, INF):
            bad = row.copy()
            bad[0, column] = value
            expected = detection.nms(detection.yolov5(bad, confidence=0.5), iou=1)
            assert len(expected) == 0
            assert len(c_nms(c, c_yolov5(c, bad, 0.5), 1)) == 0


def test_c_at_the_limits(c):
    touching = np.zeros(3, RECORD)
    touching["box"] = [[0, 0, 1, 1], [0, 1, 1, 2], [0, 0, 1, 1]]
    touching["score"] = [3, 2, 1]
    assert c_nms(c, touching, 0)["score"].tolist() == [3, 2]
    assert c_nms(c, touching, 1)["score"].tolist() == [3, 2, 1]
    row = np.float32([[0.5, 0.5, 0.1, 0.1, 0.48, 1.07]])
    assert len(c_yolov5(c, row, 0.5)) == 0
    assert len(c_yolov5(c, row, 0.48)) == 1


def test_c_writes_no_further_than_its_room(c):
    rows = np.tile(np.float32([0.5, 0.5, 0.1, 0.1, 0.9, 0.8]), (7, 1))
    codes, scores = rows[:, :4].copy(), rows[:, 4:].copy()
    anchors, guarded = np.ones((7, 4), np.float32), np.zeros(7, RECORD)
    room = (0.5, guarded.ctypes.data, 3)
    assert c.yolov5(rows.ctypes.data, True, 1, 0, 7, 1, 1, 1, *room) == 3
    assert (guarded["score"] > 0).tolist() == [True] * 3 + [False] * 4
    guarded[:] = 0
    inputs = (codes.ctypes.data, scores.ctypes.data, True, 1, 0, 1, 0)
    assert c.ssd(*inputs, anchors.ctypes.data, None, 7, 1, *room) == 3
    assert (guarded["score"] > 0).tolist() == [True] * 3 + [False] * 4
