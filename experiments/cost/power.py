"""How many seeds it takes to show a gain."""

from functools import cache
from math import sqrt

import numpy as np
from scipy import stats

from experiments.bootstrap.intervals import LEVEL

# What is asked of a comparison: it shows a true gain with this chance, and one that is not there in one of twenty cases.
POWER = 0.8
MOST_SEEDS = 200
# Points at which the distribution of the measured standard deviation is taken.
POINTS = 2000


def power(gain: float, deviation: float, seeds: int, rows: int) -> float:
    """Chance that a true gain is told apart from none, by Student's test with the deviation pooled over a table.

    Parameters
    ----------
    gain : float
        True gain of a row over its baseline.
    deviation : float
        True standard deviation over seeds.
    seeds : int
        Seeds of each row, at least two.
    rows : int
        Rows of the table, at least two.
    """
    freedom = rows * (seeds - 1)
    reach = stats.t.isf((1 - LEVEL) / 2, freedom)
    shares = (np.arange(POINTS) + 0.5) / POINTS
    measured = np.sqrt(stats.chi2.ppf(shares, freedom) / freedom)
    return float(stats.norm.sf(reach * measured - abs(gain) / (deviation * sqrt(2 / seeds))).mean())


@cache
def seeds_needed(gain: float, deviation: float, rows: int) -> int | None:
    """Fewest seeds of each row with which a gain is shown with a chance of `POWER`; None if it takes more than `MOST_SEEDS`.

    Parameters
    ----------
    gain : float
        True gain of a row over its baseline.
    deviation : float
        True standard deviation over seeds.
    rows : int
        Rows of the table.
    """
    return next((seeds for seeds in range(2, MOST_SEEDS + 1) if power(gain, deviation, seeds, max(2, rows)) >= POWER), None)
