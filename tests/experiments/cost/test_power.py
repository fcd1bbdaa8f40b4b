"""How many seeds a gain takes, against simulated comparisons and the numbers of the design."""

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from experiments.cost.power import power, seeds_needed


@pytest.mark.parametrize(
    ("gain", "expected"),
    [(0.1, (16, 36, 64)), (0.2, (5, 10, 16)), (0.3, (3, 5, 8)), (0.4, (2, 3, 5)), (0.5, (2, 2, 3)), (0.8, (2, 2, 2))],
)
def test_seeds_a_row_in_a_table_of_nine(gain, expected):
    assert tuple(seeds_needed(gain, deviation, 9) for deviation in (0.1, 0.15, 0.2)) == expected
    assert seeds_needed(-gain, 0.15, 9) == expected[1]


@pytest.mark.parametrize(("gain", "seeds", "rows"), [(0.3, 3, 2), (0.3, 5, 9), (0.5, 2, 9)])
def test_power_is_the_share_of_simulated_tables_that_show_the_gain(gain, seeds, rows):
    random, deviation, number = np.random.default_rng(0), 0.15, 40_000
    samples = random.normal(0, deviation, (number, rows, seeds))
    pooled = np.sqrt(samples.var(axis=2, ddof=1).mean(axis=1))
    difference = gain + samples[:, 0].mean(axis=1) - samples[:, 1].mean(axis=1)
    reach = stats.t.isf(0.025, rows * (seeds - 1))
    shown = (difference > reach * pooled * sqrt(2 / seeds)).mean()
    assert power(gain, deviation, seeds, rows) == pytest.approx(shown, abs=0.01)


def test_a_gain_beneath_what_any_laboratory_can_show_has_no_number():
    assert seeds_needed(0.01, 0.5, 9) is None
