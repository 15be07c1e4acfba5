"""Checks of lesson 14, and the outputs that its exercises start from."""

from collections.abc import Callable, Sequence

from course_lib.course.checks import judge
from course_lib.vision import detection
from course_lib.vision.detection import Detections

import numpy as np

PLACES = ("file", "application")
RawOutput = tuple[np.ndarray, float, int]  # integers, scale, zero point

_RIGHT_PLACES = {"A": "application", "B": "file", "C": "application", "D": "file"}
# People in a queue, each two thirds behind the next, and how far each one's double is
# off.
_PEOPLE = [[0.2, left, 0.8, left + 0.24] for left in (0.1, 0.175, 0.25, 0.325)]
_DOUBLE = np.array([0.01, 0.02, 0.01, 0.02])
_CODE_SCALE, _CODE_ZERO_POINT, _SCORE_SCALE = 0.05, 130, 1 / 256
_TRUE = Detections(
    np.float32([[0.1, 0.1, 0.5, 0.3], [0.4, 0.5, 0.9, 0.7], [0.5, 0.1, 0.8, 0.45]]),
    np.float32([0.8, 0.7, 129 / 256]),
    np.array([1, 1, 2]),
)
_CLOSE = 0.85  # overlap: quantized codes do not give the box back exactly
_ANSWERED = 0.5  # the confidence that the exercise asks for
_BELOW = 127 / 256  # a score that it drops, one step under it


def queue() -> Detections:
    """Return what a decoder found of four people in a queue, before NMS.

    Introduced in notebook 14.
    """
    people = np.float32(_PEOPLE)
    boxes = np.concatenate([people, people + np.float32(_DOUBLE)])
    scores = np.float32([0.9, 0.8, 0.85, 0.75, 0.7, 0.6, 0.65, 0.55])
    return Detections(boxes, scores, np.ones(len(boxes), int))


def limit_of_overlap(limit: float) -> None:
    """Check exercise 14.1: the limit of NMS that leaves one box for each person.

    Introduced in notebook 14.
    """

    def left(limit: float) -> int:
        return len(detection.nms(queue(), iou=limit))

    judge(
        "14.1",
        limit,
        is_right=lambda a: _is_number(a) and left(a) == len(_PEOPLE),
        hints=[
            (
                lambda a: not _is_number(a),
                "Give one number, the overlap that is allowed.",
            ),
            (
                lambda a: 1 < a <= 100,
                "That looks like a percentage. The limit lies between 0 and 1.",
            ),
            (lambda a: not 0 <= a <= 1, "The limit lies between 0 and 1."),
            (
                lambda a: left(a) < len(_PEOPLE),
                "People vanish: who stands behind another overlaps by more than "
                "your limit and is taken for a double.",
            ),
            (
                lambda a: left(a) > len(_PEOPLE),
                "Doubles stay: two boxes of one person overlap by less than the limit.",
            ),
        ],
        otherwise="Print the overlaps of all boxes, and sort them into two kinds.",
    )


def anchors() -> np.ndarray:
    """Return the anchors of exercise 14.2, float32 [N, 4]: y, x, height, width.

    Introduced in notebook 14.
    """
    return detection.ssd_anchors((4, 2), reduced=False)


def raw_outputs(*, scores_first: bool = True) -> list[RawOutput]:
    """Return the two outputs of a full-integer SSD, each with scale and zero point.

    Args:
        scores_first: As the converter orders them; else the codes come first.

    Returns:
        (uint8 [N, columns], scale, zero point) twice.

    Introduced in notebook 14.
    """
    every = anchors()
    half = every[:, 2:] / 2
    corners = np.hstack([every[:, :2] - half, every[:, :2] + half])
    rows = detection.iou(_TRUE.boxes, corners).argmax(1)
    codes, scores = np.zeros_like(every), np.full((len(every), 3), 0.05)
    codes[rows] = detection.ssd_codes(_TRUE.boxes, every[rows])
    scores[:, 0] = 0.9
    scores[rows, _TRUE.classes] = _TRUE.scores
    scores[np.setdiff1d(np.arange(len(every)), rows)[0], 1] = _BELOW
    outputs = [
        (_quantized(scores, _SCORE_SCALE, 0), _SCORE_SCALE, 0),
        (_quantized(codes, _CODE_SCALE, _CODE_ZERO_POINT), _CODE_SCALE, 130),
    ]
    return outputs if scores_first else outputs[::-1]


# Corners are parts of the picture.
_FAR_OUT = 2.0


def decodes(decode: Callable[[Sequence[RawOutput], np.ndarray], Detections]) -> None:
    """Check exercise 14.2: a decoder for outputs in any order.

    Introduced in notebook 14.
    """
    judge(
        "14.2",
        decode,
        is_right=lambda f: all(_is_true(_tried(f, order)) for order in (True, False)),
        hints=[
            (lambda f: not callable(f), "Keep `decode` a function."),
            (
                lambda f: _tried(f, True) is None and _tried(f, False) is not None,
                "It fails when the scores come first, as they do in the file. What "
                "tells the two outputs apart, whatever their order?",
            ),
            (
                lambda f: _tried(f, False) is None and _tried(f, True) is not None,
                "It fails when the boxes come first. Another converter may do that: "
                "what tells the two outputs apart?",
            ),
            (
                lambda f: _tried(f, True) is None,
                "It does not return boxes. Call it yourself with "
                "`checks.raw_outputs()` and `checks.anchors()`, and read the error.",
            ),
            (
                lambda f: (_tried(f, True).scores > 1).any(),
                "There is a score above 1. Whose scale did it get?",
            ),
            (
                lambda f: np.abs(_tried(f, True).boxes).max(initial=0) > _FAR_OUT,
                "Boxes lie far outside of the picture. uint8 less a zero point wraps "
                "round: make floats first, or hand `detection.ssd` the integers.",
            ),
            (
                lambda f: len(_tried(f, True)) == len(anchors()),
                "Every anchor is found, so nothing is below the threshold. What is "
                "its value where it is used?",
            ),
            (
                lambda f: len(_tried(f, True)) != len(_TRUE),
                f"With a confidence of {_ANSWERED} three boxes should be left.",
            ),
        ],
        otherwise="The boxes are not those that were put in: which scales, which "
        "anchors, which class?",
    )


def places(where: dict[str, str]) -> None:
    """Check exercise 14.3: where the boxes are made, for four cameras.

    Introduced in notebook 14.
    """
    answer = tuple(where.values()) if isinstance(where, dict) else where
    judge(
        "14.3",
        answer,
        is_right=lambda a: where == _RIGHT_PLACES,
        hints=[
            (
                lambda a: set(where) != set(_RIGHT_PLACES) or not set(a) <= set(PLACES),
                f"Give each of A to D one of {PLACES}.",
            ),
            (
                lambda a: where["A"] == "file",
                "A: what do the two outputs of Axis's example for CV25 hold?",
            ),
            (
                lambda a: where["C"] == "file",
                "C: where do the operator's limits stand, and who could change them "
                "while it runs?",
            ),
            (
                lambda a: where["B"] == "application",
                "B: which outputs does the code of that example read, in which order?",
            ),
            (
                lambda a: where["D"] == "application",
                "D: that compiled file already ends in something. Would you cut it?",
            ),
        ],
        otherwise="Go through the table of the section again.",
    )


def _is_number(answer: object) -> bool:
    return isinstance(answer, (int, float, np.number)) and not isinstance(answer, bool)


def _quantized(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return np.clip(np.round(values / scale) + zero_point, 0, 255).astype(np.uint8)


def _tried(decode: Callable, scores_first: bool) -> Detections | None:
    """Return what a learner's decoder finds, None where it fails."""
    try:
        found = decode(raw_outputs(scores_first=scores_first), anchors())
        return Detections(found.boxes, found.scores, found.classes)
    except Exception:  # a learner's function may do anything at all
        return None


def _is_true(found: Detections | None) -> bool:
    """Tell whether these are the boxes that were put in, in any order."""
    if found is None or len(found) != len(_TRUE) or (found.scores > 1).any():
        return False
    overlap = detection.iou(_TRUE.boxes, found.boxes)
    partner = overlap.argmax(1)
    return bool(
        (overlap.max(1) >= _CLOSE).all()
        and (found.classes[partner] == _TRUE.classes).all()
        and np.allclose(found.scores[partner], _TRUE.scores, atol=_SCORE_SCALE)
    )
