"""How good a model is, and how far to trust a number that comes from few pictures."""

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from course_lib.errors import UnusableInput
from course_lib.vision.detection import Detections

import numpy as np

_Z = NormalDist().inv_cdf(0.975)  # of a 95 % interval


def bootstrap_interval(
    hits: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    rounds: int = 2000,
    share: float = 0.95,
) -> tuple[float, float]:
    """Return an interval for the mean of `hits`, by drawing whole groups anew.

    Crops of one photograph succeed and fail together, so they are no independent
    trials. Each round draws as many groups as there are, with replacement, and takes
    the mean over all their members; the interval holds the middle of these means.

    Args:
        hits: bool or float [N].
        groups: int [N]; members of one group share a number.
        seed: Decides the draws.
        rounds: Number of draws.
        share: Part of the means that the interval holds.

    Example:
        >>> hits = np.array([1, 1, 1, 0, 0, 0])
        >>> bootstrap_interval(hits, np.array([0, 0, 0, 1, 1, 1]), seed=0)
        (0.0, 1.0)

    Source: Field and Welsh, "Bootstrapping clustered data", 2007.

    Introduced in notebook 04.
    """
    _, member_of = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member_of)
    sums = np.bincount(member_of, weights=np.asarray(hits, np.float64))
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(rounds, len(sizes)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score.

    Unlike the bootstrap's it has a width when nothing or everything was hit: after 20
    of 20 it reaches down to 0.84, where the rule of three says 0.85. Pictures are
    taken as independent.

    Args:
        hits: So many pictures were right.
        count: Of so many, at least one.

    Example:
        >>> [round(end, 2) for end in wilson_interval(20, 20)]
        [0.84, 1.0]

    Source: Wilson, "Probable inference, the law of succession, and statistical
    inference", 1927.

    Introduced in notebook 13.
    """
    share, square = hits / count, _Z**2 / count
    middle = share + square / 2
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    low, high = ((middle + side * half) / (1 + square) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


def paired_interval(camera: np.ndarray, computer: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of camera less computer, picture by picture.

    Only the pictures that one alone has right tell them apart: Wilson's interval of
    the camera's share in these leaves out one half where McNemar's test finds a
    difference. Where there is none, so many as the rule of three allows may yet come.

    Args:
        camera: bool [N], whether each picture was right there.
        computer: bool [N], of the same pictures.

    Introduced in notebook 13.
    """
    count, gained = len(camera), int((camera & ~computer).sum())
    apart = int((camera != computer).sum())
    if not apart:
        most = wilson_interval(0, count)[1]
        return -most, most
    low, high = wilson_interval(gained, apart)
    return (2 * low - 1) * apart / count, (2 * high - 1) * apart / count


@dataclass(frozen=True)
class AveragePrecision:
    """How well boxes were found, 0 to 1.

    Attributes:
        mean: Of the classes, mAP.
        per_class: Average precision of each class that the truth has.

    Introduced in notebook 14.
    """

    mean: float
    per_class: dict[int, float]


def mean_average_precision(
    found: Sequence[Detections], truth: Sequence[Detections], *, iou: float = 0.5
) -> AveragePrecision:
    """Return the mean average precision as COCO defines it, at one overlap.

    Of each picture the 100 best boxes of a class count. From the best score down, each
    takes the true box that it overlaps most, if by `iou` or more and not yet taken;
    else it is a false alarm. The precision is averaged over 101 steps of recall.

    Args:
        found: What a detector found in each picture, after `detection.nms`.
        truth: The boxes that are there; their scores are not looked at.
        iou: Overlap that makes a box right, above 0 and at most 1.

    Raises:
        UnusableInput: The two differ in length, the truth has no box, or `iou` is out
            of its range.

    Source: pycocotools, COCOeval; Everingham et al., "The PASCAL visual object classes
    challenge", 2010, for the measure.

    Introduced in notebook 14.
    """
    if len(found) != len(truth) or not any(map(len, truth)):
        raise UnusableInput(
            f"there are {len(found)} pictures found and {len(truth)} true, with"
            f" {sum(map(len, truth))} true boxes; expected as many of each, and one box"
            " or more: give both for the same pictures"
        )
    if not 0 < iou <= 1:
        raise UnusableInput(
            f"iou is {iou}; expected above 0 and at most 1: divide a percentage by 100"
        )
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = sorted({int(c) for one in truth for c in one.classes})
    with contextlib.redirect_stdout(io.StringIO()):  # COCO prints its progress
        sides = []
        for pictures in (truth, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": number} for number in range(len(pictures))],
                "categories": [{"id": c} for c in classes],
                "annotations": list(_annotations(pictures)),
            }
            side.createIndex()
            sides.append(side)
        judge = COCOeval(*sides, "bbox")
        judge.params.iouThrs = np.array([iou])
        judge.params.areaRng, judge.params.areaRngLbl = [[0, np.inf]], ["all"]
        judge.params.maxDets = [100]
        judge.evaluate()
        judge.accumulate()
    # [overlap, step of recall, class, area, most boxes]
    means = judge.eval["precision"][0, :, :, 0, 0].mean(0)
    per_class = dict(zip(classes, map(float, means), strict=True))
    return AveragePrecision(float(means.mean()), per_class)


def _annotations(pictures: Sequence[Detections]) -> Iterator[dict]:
    """Yield each box as COCO wants it: left, top, width, height, numbered from 1."""
    number = 0  # COCO takes a box with the number 0 for none
    for picture, boxes in enumerate(pictures):
        for (y1, x1, y2, x2), score, label in zip(
            boxes.boxes.tolist(),
            boxes.scores.tolist(),
            boxes.classes.tolist(),
            strict=True,
        ):
            number += 1
            yield {
                "id": number,
                "image_id": picture,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": score,
            }
