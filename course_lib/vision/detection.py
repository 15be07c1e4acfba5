"""From a detector's raw output to boxes: what runs on the CPU after the DLPU.

A full-integer file for an Axis camera ends before the boxes: SSD hands over box codes
and class scores, YOLOv5 one tensor of rows. `detection.h`, beside this file, does the
same in C99 for an ACAP application; the tests hold the two against each other.

Boxes are corners y1, x1, y2, x2 from 0 to 1, in parts of the picture's height and
width; multiply by its pixels to draw them. They are not clipped at its edges.

Numbers are worked out in double precision and stored as float32, here as in C. So
both make the same decision where two scores are equal or an overlap is at the limit.
"""

from dataclasses import dataclass
from pathlib import Path

from course_lib.errors import UnusableInput

import numpy as np

HEADER = Path(__file__).with_suffix(".h")  # the same decoders in C


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found, one row a box.

    Attributes:
        boxes: float32 [N, 4]: y1, x1, y2, x2 from 0 to 1.
        scores: float32 [N].
        classes: int [N]; YOLOv5 counts from 0; SSD from 1, as its 0 is background.

    Raises:
        UnusableInput: The three do not have the same N.

    Introduced in notebook 14.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __post_init__(self):
        shapes = [np.shape(x) for x in (self.boxes, self.scores, self.classes)]
        n = len(self.scores) if shapes[1] else 0
        if shapes != [(n, 4), (n,), (n,)]:
            raise UnusableInput(
                "boxes, scores and classes have the shapes {}, {} and {}; expected"
                " [N, 4], [N] and [N]: give one row for each box".format(*shapes)
            )

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, rows: np.ndarray) -> "Detections":
        """Return the rows with these indices, or where a mask is true."""
        return Detections(self.boxes[rows], self.scores[rows], self.classes[rows])


def ssd_anchors(
    grids: tuple[int, ...] = (19, 10, 5, 3, 2, 1),
    *,
    smallest: float = 0.2,
    largest: float = 0.95,
    ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 0.3333),
    reduced: bool = True,
) -> np.ndarray:
    """Return the anchors of SSD, by default those of MobileNetV2 at 300 × 300.

    The scale of a box rises evenly from the finest grid to the coarsest. Each cell has
    one anchor a ratio, and one square between this grid's scale and the next one's.

    Args:
        grids: Cells on a side of each feature map, the finest first.
        smallest: Scale on the finest grid, in parts of the picture.
        largest: Scale on the coarsest.
        ratios: Width to height. The published configuration says 0.3333, not 1/3.
        reduced: The finest grid has three anchors only: a square of 0.1, and the
            ratios 2 and 0.5.

    Returns:
        float32 [N, 4]: centre y, centre x, height, width in parts of the picture; grid
        by grid, row by row. The frozen COCO graph has the same boxes as corners, in
        `Concatenate/concat`.

    Raises:
        UnusableInput: There is no grid, or one without a cell.

    Example:
        >>> ssd_anchors().shape
        (1917, 4)

    Source: TensorFlow Object Detection API, `multiple_grid_anchor_generator` and
    `ssd_mobilenet_v2_coco.config`; Liu et al., "SSD: Single Shot MultiBox Detector",
    2016, section 2.2.

    Introduced in notebook 14.
    """
    if not grids or min(grids) < 1:
        raise UnusableInput(
            f"the grids are {grids}; expected one or more, each with at least one"
            " cell: give the sides of the feature maps, like (19, 10, 5, 3, 2, 1)"
        )
    scales = [*np.linspace(smallest, largest, len(grids)), 1.0]
    anchors = []
    for k, cells in enumerate(grids):
        shapes = [(scales[k], ratio) for ratio in ratios]
        shapes.append((np.sqrt(scales[k] * scales[k + 1]), 1.0))
        if reduced and k == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        sides = [(s / np.sqrt(ratio), s * np.sqrt(ratio)) for s, ratio in shapes]
        centres = (np.arange(cells) + 0.5) / cells
        grid = np.empty((cells, cells, len(sides), 4))
        grid[..., 0] = centres[:, None, None]
        grid[..., 1] = centres[None, :, None]
        grid[..., 2:] = sides
        anchors.append(grid.reshape(-1, 4))
    return np.concatenate(anchors).astype(np.float32)


def ssd_boxes(
    codes: np.ndarray,
    anchors: np.ndarray,
    *,
    scales: tuple[float, float, float, float] = (10, 10, 5, 5),
) -> np.ndarray:
    """Turn SSD's box codes into corners.

    A code moves the centre of its anchor by parts of the anchor's sides, and stretches
    the sides by a power of e. A code so large that its power overflows gives corners
    that are not finite, which `nms` drops.

    Args:
        codes: float [N, 4]: centre y, centre x, height, width.
        anchors: float [N, 4]: centre y, centre x, height, width.
        scales: What the four codes were multiplied by for training.

    Returns:
        float32 [N, 4]: y1, x1, y2, x2, in the anchors' units.

    Raises:
        UnusableInput: Codes and anchors do not fit together.

    Example:
        >>> ssd_boxes(np.zeros((1, 4)), np.array([[0.5, 0.5, 0.25, 0.5]])).tolist()
        [[0.375, 0.25, 0.625, 0.75]]

    Source: TensorFlow Object Detection API, `faster_rcnn_box_coder`.

    Introduced in notebook 14.
    """
    codes, anchors = _fours(codes, "codes"), _anchors(anchors, len(codes))
    codes = codes / _positive(scales, "scales")
    with np.errstate(over="ignore", invalid="ignore"):
        centres = codes[:, :2] * anchors[:, 2:] + anchors[:, :2]
        halves = np.exp(codes[:, 2:]) * anchors[:, 2:] / 2
        return np.hstack([centres - halves, centres + halves]).astype(np.float32)


def ssd_codes(
    boxes: np.ndarray,
    anchors: np.ndarray,
    *,
    scales: tuple[float, float, float, float] = (10, 10, 5, 5),
) -> np.ndarray:
    """Turn corners into SSD's box codes, which a head is trained on.

    The inverse of `ssd_boxes`: box and anchor in the same row belong together.

    Args:
        boxes: float [N, 4]: y1, x1, y2, x2.
        anchors: float [N, 4]: centre y, centre x, height, width.
        scales: What the four codes are multiplied by.

    Returns:
        float32 [N, 4].

    Raises:
        UnusableInput: A box has no area, or boxes and anchors do not fit together.

    Introduced in notebook 14.
    """
    boxes, anchors = _fours(boxes, "boxes"), _anchors(anchors, len(boxes))
    sides = boxes[:, 2:] - boxes[:, :2]
    if not (sides > 0).all():
        raise UnusableInput(
            f"box {int(np.argmin((sides > 0).all(1)))} has no area; expected y1 < y2"
            " and x1 < x2: leave such boxes out"
        )
    moves = ((boxes[:, :2] + boxes[:, 2:]) / 2 - anchors[:, :2]) / anchors[:, 2:]
    codes = np.hstack([moves, np.log(sides / anchors[:, 2:])]) * _positive(
        scales, "scales"
    )
    return codes.astype(np.float32)


def ssd(
    codes: np.ndarray,
    scores: np.ndarray,
    *,
    anchors: np.ndarray,
    confidence: float,
    code_scale: float = 1.0,
    code_zero_point: int = 0,
    score_scale: float = 1.0,
    score_zero_point: int = 0,
    scales: tuple[float, float, float, float] = (10, 10, 5, 5),
) -> Detections:
    """Decode the two outputs of an SSD that was cut before its post-processing.

    An anchor gives at most one box, of its best class; of equal classes the first.
    TensorFlow's own post-processing lets it give one for each class, so it may find a
    weaker class in the same place as well. Two outputs have two scales: one tensor for
    both would have one, which fits neither.

    Args:
        codes: [N, 4] or [1, N, 4], integers as the file gives them or float.
        scores: [N, 1 + classes] or [1, N, 1 + classes]; column 0 is background.
        anchors: float [N, 4]: centre y, centre x, height, width.
        confidence: Boxes below this score are dropped.
        code_scale: Scale of `codes`.
        code_zero_point: Zero point of `codes`.
        score_scale: Scale of `scores`.
        score_zero_point: Zero point of `scores`.
        scales: What the four codes were multiplied by for training.

    Returns:
        The boxes in the order of the anchors, before `nms`. Their class is the column.

    Raises:
        UnusableInput: Shapes do not fit, or `confidence` is not from 0 to 1.

    Introduced in notebook 14.
    """
    confidence = _threshold(confidence, "confidence")
    codes, scores = _rows(codes, "codes"), _rows(scores, "scores")
    anchors = _anchors(anchors, len(codes))
    if len(scores) != len(codes) or scores.shape[1] < 2:
        raise UnusableInput(
            f"the scores have the shape {scores.shape}; expected {len(codes)} rows, one"
            " for each code, and a column for background and each class: check the"
            " order of the outputs"
        )
    best, score = _best(_real(scores[:, 1:], score_scale, score_zero_point))
    kept = np.flatnonzero(score >= confidence)
    real = _real(codes[kept], code_scale, code_zero_point)
    boxes = ssd_boxes(real, anchors[kept], scales=scales)
    return Detections(boxes, score[kept], best[kept] + 1)


def yolov5(
    output: np.ndarray,
    *,
    confidence: float,
    scale: float = 1.0,
    zero_point: int = 0,
    size: tuple[float, float] = (1, 1),
) -> Detections:
    """Decode the output of YOLOv5, as its export to .tflite lays it out.

    A row is centre x, centre y, width, height, objectness, and a score for each class.
    Most rows of 25,200 are nothing, so objectness is compared first, as the integer it
    is; only what passes is dequantized. The score is objectness times the best class,
    of equal classes the first, and is compared again.

    Args:
        output: [N, 5 + classes] or [1, N, 5 + classes], integers or float.
        confidence: Rows whose objectness or score is below this are dropped.
        scale: Scale of `output`.
        zero_point: Zero point of `output`.
        size: Height and width that the numbers of a box are parts of: (1, 1) where the
            export divided by them, like Axis's files, (640, 640) where it gives pixels.

    Returns:
        The boxes from 0 to 1 in the order of the rows, before `nms`.

    Raises:
        UnusableInput: Shapes do not fit, or `confidence` is not from 0 to 1.

    Example:
        >>> row = np.array([[128, 128, 64, 32, 250, 10, 240]], np.uint8)
        >>> found = yolov5(row, confidence=0.5, scale=1 / 256)
        >>> found.boxes.tolist(), found.classes.tolist()
        ([[0.4375, 0.375, 0.5625, 0.625]], [1])

    Source: Axis, acap-native-sdk-examples, object-detection-yolov5: [1, 25200, 85]
    uint8.

    Introduced in notebook 14.
    """
    confidence = _threshold(confidence, "confidence")
    output = _rows(output, "output")
    if output.shape[1] < 6:
        raise UnusableInput(
            f"a row has {output.shape[1]} columns; expected 5 and one for each class:"
            " check that the file is a YOLOv5 export"
        )
    size = _positive(size, "size")
    objectness = output[:, 4]
    if output.dtype in (np.uint8, np.int8):
        info = np.iinfo(output.dtype)
        levels = _real(np.arange(info.min, info.max + 1), scale, zero_point)
        likely = objectness >= info.min + np.count_nonzero(levels < confidence)
    else:
        likely = _real(objectness, scale, zero_point) >= confidence
    real = _real(output[likely], scale, zero_point)
    best, score = _best(real[:, 5:])
    with np.errstate(invalid="ignore"):  # 0 times infinity
        score = (score.astype(np.float64) * real[:, 4]).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        middle, side = np.split(real[:, [1, 0, 3, 2]].astype(np.float64), 2, axis=1)
        boxes = np.hstack([middle - side / 2, middle + side / 2]) / np.tile(size, 2)
        found = Detections(boxes.astype(np.float32), score, best)
    return found.at(score >= confidence)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return by how much boxes overlap: shared area over joint area, for each pair.

    A box without area, or with corners the wrong way round, overlaps nothing.

    Args:
        a: [N, 4]: y1, x1, y2, x2.
        b: [M, 4].

    Returns:
        float64 [N, M] of 0 to 1.

    Raises:
        UnusableInput: A shape is another.

    Example:
        >>> iou(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3]])).round(3).tolist()
        [[0.333]]

    Introduced in notebook 14.
    """
    a, b = _fours(a, "a")[:, None], _fours(b, "b")[None]
    with np.errstate(invalid="ignore"):
        low = np.maximum(a[..., :2], b[..., :2])
        high = np.minimum(a[..., 2:], b[..., 2:])
        shared = _area(high - low)
        joint = _area(a[..., 2:] - a[..., :2]) + _area(b[..., 2:] - b[..., :2]) - shared
    return np.divide(shared, joint, out=np.zeros_like(shared), where=joint > 0)


_overlaps = iou  # `nms` has an argument of that name


def nms(
    detections: Detections, *, iou: float, per_class: bool = True, most: int = 100
) -> Detections:
    """Drop every box that overlaps a better one: non-maximum suppression.

    The best box stays, all that overlap it by more than `iou` go, and so on. Scores
    that were quantized are often equal: then the one that stands first in `detections`
    is the better, so the same input always gives the same boxes. What has a score or a
    corner that is not finite is dropped first.

    Args:
        detections: As the decoders give them.
        iou: Overlap that is allowed, 0 to 1. At 0, boxes may only touch.
        per_class: A person does not drop a car. False: any class drops any other.
        most: Stop after so many boxes.

    Returns:
        What stays, the best first.

    Raises:
        UnusableInput: `iou` is not from 0 to 1, or `most` is negative.

    Introduced in notebook 14.
    """
    limit = _threshold(iou, "iou")
    if most < 0:
        raise UnusableInput(
            f"most is {most}; expected 0 or more: give a number of boxes"
        )
    finite = np.isfinite(detections.boxes).all(1) & np.isfinite(detections.scores)
    found = detections.at(finite)
    left, kept = np.argsort(-found.scores, kind="stable"), []
    while left.size and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        gone = _overlaps(found.boxes[[best]], found.boxes[left])[0] > limit
        if per_class:
            gone &= found.classes[left] == found.classes[best]
        left = left[~gone]
    return found.at(np.array(kept, int))


def _area(sides: np.ndarray) -> np.ndarray:
    return np.maximum(sides[..., 0], 0) * np.maximum(sides[..., 1], 0)


def _as_float32(numbers: np.ndarray) -> np.ndarray:
    """Round to float32, which the C code takes, and go on in float64."""
    return np.asarray(numbers, np.float32).astype(np.float64)


def _real(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Dequantize into float32; what is float already has scale 1 and zero point 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        real = (values.astype(np.float64) - zero_point) * _positive(scale, "scale")
        return real.astype(np.float32)


def _positive(numbers: float | tuple[float, ...], name: str) -> np.ndarray:
    checked = _as_float32(numbers)
    if not (np.isfinite(checked) & (checked > 0)).all():
        raise UnusableInput(
            f"{name} is {numbers}; expected finite numbers above 0: read the file's"
            " scales and sizes with `dlpu inspect`"
        )
    return checked


def _best(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first of the best classes and its score; NaN is never the best."""
    scores = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    return scores.argmax(1), scores.max(1)


def _threshold(value: float, name: str) -> np.float32:
    if not 0 <= value <= 1:
        raise UnusableInput(
            f"{name} is {value}; expected 0 to 1: divide a percentage by 100"
        )
    return np.float32(value)


def _rows(array: np.ndarray, name: str) -> np.ndarray:
    """Take the batch of one away."""
    array = np.asarray(array)
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise UnusableInput(
            f"{name} has the shape {array.shape}; expected [N, columns] or"
            " [1, N, columns]: give one picture's output"
        )
    return array


def _fours(array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array, np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise UnusableInput(
            f"{name} has the shape {array.shape}; expected [N, 4]: give four numbers"
            " for each box"
        )
    return array


def _anchors(anchors: np.ndarray, count: int) -> np.ndarray:
    anchors = _fours(_as_float32(anchors), "anchors")
    if len(anchors) != count or not (anchors[:, 2:] > 0).all():
        raise UnusableInput(
            f"there are {len(anchors)} anchors for {count} boxes; expected as many,"
            " each with a height and a width above 0: give centre y, centre x, height,"
            " width"
        )
    return anchors
