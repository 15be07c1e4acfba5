"""How far to trust a number that comes from few pictures."""

import numpy as np


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
