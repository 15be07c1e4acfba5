"""Intervals are as wide as the pictures warrant; precision is what COCO says it is."""

from course_lib.errors import UnusableInput
from course_lib.vision.detection import Detections
from course_lib.vision.evaluation import bootstrap_interval, mean_average_precision

import numpy as np
import pytest


def test_it_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        # 40 photographs with 10 crops each: all crops of one share its fate.
        hits = np.repeat(rng.random(40) < 0.7, 10)
        low, high = bootstrap_interval(
            hits, np.repeat(np.arange(40), 10), seed=trial, rounds=400
        )
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_crops_of_one_photograph_do_not_narrow_it():
    hits = np.array([True, False, True, True])
    few = bootstrap_interval(hits, np.arange(4), seed=0)
    many = bootstrap_interval(hits.repeat(50), np.arange(4).repeat(50), seed=0)
    assert few == many


def boxes(*rows):
    """Rows of y1, x1, y2, x2, score, class."""
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(int))


PERSON = (0.1, 0.1, 0.5, 0.3, 1, 1)
CAR = (0.5, 0.4, 0.7, 0.9, 1, 2)
TRUTH = [boxes(PERSON, CAR), boxes(), boxes(PERSON)]


def test_the_truth_itself_is_perfect_and_nothing_is_worth_nothing(capfd):
    perfect = mean_average_precision(TRUTH, TRUTH)
    assert perfect.mean == pytest.approx(1)
    assert perfect.per_class == pytest.approx({1: 1, 2: 1})
    nothing = mean_average_precision([boxes()] * 3, TRUTH)
    assert (nothing.mean, nothing.per_class) == (0, {1: 0, 2: 0})
    assert capfd.readouterr() == ("", "")


def test_the_very_first_box_counts():
    # COCO's own code takes an annotation with the number 0 for no match.
    assert mean_average_precision(TRUTH[:1], TRUTH[:1]).mean == pytest.approx(1)


def test_a_false_alarm_costs_by_its_place_in_the_order():
    alarm = (0.6, 0.0, 0.9, 0.1)
    for score, expected in ((0.5, 1), (0.99, 0.5)):
        found = [boxes((*CAR[:4], 0.9, 2), (*alarm, score, 2))]
        judged = mean_average_precision(found, [boxes(CAR)])
        assert judged.per_class == {2: pytest.approx(expected)}


def test_half_of_the_boxes_give_half_of_the_curve():
    found = [boxes(PERSON), boxes(), boxes()]
    judged = mean_average_precision(found, [boxes(PERSON)] * 2 + [boxes()])
    # 51 of COCO's 101 steps of recall, 0 to 0.5, are reached.
    assert judged.mean == pytest.approx(51 / 101)


def test_a_second_box_on_the_same_object_is_a_false_alarm():
    again = (*PERSON[:4], 0.8, 1)
    found = [boxes(PERSON, again), boxes((*PERSON[:4], 0.5, 1))]
    judged = mean_average_precision(found, [boxes(PERSON)] * 2)
    # Recall 0.5 at precision 1, then recall 1 at precision 2/3.
    assert judged.mean == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(("iou", "right"), [(0.5, 1), (0.6, 1), (0.65, 0)])
def test_the_overlap_decides(iou, right):
    short = (0.1, 0.1, 0.35, 0.3, 0.9, 1)  # 0.25 of 0.4 of its height: 0.625
    judged = mean_average_precision([boxes(short)], [boxes(PERSON)], iou=iou)
    assert judged.mean == pytest.approx(right)


def test_classes_without_truth_do_not_count():
    found = [boxes(PERSON, (*CAR[:4], 0.9, 2))]
    assert mean_average_precision(found, [boxes(PERSON)]).per_class.keys() == {1}


@pytest.mark.parametrize(
    ("found", "truth", "iou", "message"),
    [
        ([boxes()], TRUTH, 0.5, "1 pictures found and 3 true"),
        ([boxes()], [boxes()], 0.5, "with 0 true boxes"),
        (TRUTH, TRUTH, 50, "iou is 50"),
        (TRUTH, TRUTH, 0, "iou is 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(found, truth, iou, message):
    with pytest.raises(UnusableInput, match=message):
        mean_average_precision(found, truth, iou=iou)
