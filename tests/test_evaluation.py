"""The interval is as wide as the number of independent pictures warrants."""

from course_lib.vision.evaluation import bootstrap_interval

import numpy as np


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
