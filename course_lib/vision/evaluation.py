"""How far to trust a number that comes from few pictures."""

import math
from statistics import NormalDist

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
