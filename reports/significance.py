"""Which gains are more than chance: intervals of the gains of a table's rows over seeds, and over images.

Three noises are never mixed in one number: other seeds (their standard deviation, pooled over the rows of the table), other
images (paired bootstrap, `experiments.bootstrap`), and the rounding of printed numbers. Seeds are not bootstrapped: with two
to five of them percentile intervals hold the truth far less often than they say. Rows are independent samples, also where they
share seeds: different necks use the random numbers in different ways.
"""

from collections.abc import Sequence
from functools import cache
from math import sqrt

import numpy as np
from scipy import stats

from experiments.bootstrap.intervals import LEVEL, Interval, Noise, Values, pooled_noise

# Dunnett's distribution takes seconds for more rows, and Bonferroni's intervals are then hardly wider.
MOST_DUNNETT = 30
# Dunnett's distribution is integrated at random points; the same ones give the same intervals.
INTEGRATION_SEED = 0


def gain_of(sample: Values, baseline: Values) -> float:
    """Mean of a row minus mean of its baseline.

    Parameters
    ----------
    sample, baseline : array
        One value for each seed.
    """
    return float(sample.mean() - baseline.mean())


def simultaneous_intervals(samples: Sequence[Values], baseline: Values, level: float = LEVEL) -> list[Interval]:
    """Dunnett's intervals of the gains of several rows over one baseline, with the standard deviation pooled over all of them.

    Parameters
    ----------
    samples : sequence of array
        The values of each row, one for each seed; at least one.
    baseline : array
        Those of the baseline.
    level : float
        Chance that all intervals together hold the true gains.
    """
    noise = pooled_noise([*samples, baseline])
    if not samples or not noise.freedom:
        return [Interval() for _ in samples]
    if len(samples) == 1 or len(samples) > MOST_DUNNETT:
        return [t_interval(sample, baseline, noise, 1 - (1 - level) / len(samples)) for sample in samples]
    reach = _dunnetts_reach(tuple(map(len, samples)), len(baseline), level)
    gains = [(gain_of(sample, baseline), reach * _error(sample, baseline, noise)) for sample in samples]
    return [Interval(gain - width, gain + width) for gain, width in gains]


@cache
def _dunnetts_reach(seeds: tuple[int, ...], seeds_of_baseline: int, level: float) -> float:
    """How many standard errors Dunnett's intervals reach; it depends on the numbers of seeds alone, and takes a moment."""
    first, *others = (np.arange(count, dtype=float) for count in seeds)
    baseline = np.arange(seeds_of_baseline, dtype=float)
    result = stats.dunnett(first, *others, control=baseline, rng=np.random.default_rng(INTEGRATION_SEED))
    width = float(result.confidence_interval(level).high[0]) - gain_of(first, baseline)
    return width / _error(first, baseline, pooled_noise([first, *others, baseline]))


def t_interval(sample: Values, baseline: Values, noise: Noise, level: float = LEVEL) -> Interval:
    """Student's interval of one gain.

    Parameters
    ----------
    sample, baseline : array
        One value for each seed.
    noise : Noise
        The standard deviation of both.
    level : float
        Chance that the interval holds the true gain.
    """
    if not noise.freedom:
        return Interval()
    gain = gain_of(sample, baseline)
    width = stats.t.isf((1 - level) / 2, noise.freedom) * _error(sample, baseline, noise)
    return Interval(gain - width, gain + width)


def intervals_of_pairs(pairs: Sequence[tuple[Values, Values]], noise: Noise, level: float = LEVEL) -> list[Interval]:
    """Intervals of the gains of named pairs, each at the level at which Holm's procedure tests it.

    Parameters
    ----------
    pairs : sequence of (array, array)
        Row and baseline, one value for each seed.
    noise : Noise
        Pooled over the rows of the table.
    level : float
        Chance that no pair without a true gain is told apart.
    """
    if not noise.freedom:
        return [Interval() for _ in pairs]
    strength = [abs(gain_of(*pair)) / _error(*pair, noise) if noise.deviation else np.inf for pair in pairs]
    intervals: dict[int, Interval] = {}
    left = len(pairs)
    for index in np.argsort(-np.array(strength), kind="stable"):
        sample, baseline = pairs[index]
        intervals[index] = t_interval(sample, baseline, noise, 1 - (1 - level) / left)
        # From the first pair on that is not told apart, no further one is tested.
        left -= intervals[index].excludes_zero and left > 1
    return [intervals[index] for index in range(len(pairs))]


def _error(sample: Values, baseline: Values, noise: Noise) -> float:
    return noise.deviation * sqrt(1 / len(sample) + 1 / len(baseline))


def interval_for_other_images(
    sample: Values, baseline: Values, noise: Noise, difference: Values, level: float = LEVEL
) -> Interval:
    """Where the gain lies for other seeds and other images, both; degrees of freedom by Satterthwaite.

    Parameters
    ----------
    sample, baseline : array
        One value for each seed.
    noise : Noise
        Pooled over the rows of the table.
    difference : array
        (B + 1,), as for `image_intervals`.
    level : float
        Chance that the interval holds the true gain.
    """
    if not noise.freedom:
        return Interval()
    of_seeds, of_images = _error(sample, baseline, noise) ** 2, float(np.nanvar(difference[1:], ddof=1))
    both = of_seeds + of_images
    freedom = both**2 / (of_seeds**2 / noise.freedom) if of_seeds else np.inf
    gain, width = gain_of(sample, baseline), stats.t.isf((1 - level) / 2, freedom) * sqrt(both)
    return Interval(gain - width, gain + width)


def not_told_apart_from_the_best(samples: Sequence[Values], lower_is_better: bool = False, level: float = LEVEL) -> list[bool]:
    """Whether each row may be as good as the best of its column: Tukey's range, for unequal numbers of seeds Kramer's.

    The best is known only once all are measured, so that intervals of gains over it would be too narrow: with Bonferroni's
    over the others, one of eleven equal rows was told apart in 13 % of columns, not in 5 %.

    Parameters
    ----------
    samples : sequence of array
        The values of each row, one for each seed; rows without values are never among the best.
    lower_is_better : bool
        Whether the smallest mean leads.
    level : float
        Chance that no row as good as the best is told apart from it.

    Returns
    -------
    list of bool
        All false where no row has two seeds: nothing can then be said.
    """
    sign = -1 if lower_is_better else 1
    return _within_range_of_the_best([sign * sample for sample in samples], pooled_noise(samples), level)


def not_told_apart_from_the_fastest(rounds: Sequence[Values], level: float = LEVEL) -> list[bool]:
    """Whether each row may be as fast as the fastest: Tukey's range on logarithms, without what a round changed for all.

    Parameters
    ----------
    rounds : sequence of array
        The speeds of each row, one for each round of all rows; rows without them are never among the fastest.
    level : float
        Chance that no row as fast as the fastest is told apart from it.

    Returns
    -------
    list of bool
        All false with fewer than two rounds: nothing can then be said.
    """
    logs = [np.log(speeds) for speeds in rounds]
    timed = [speeds for speeds in logs if len(speeds)]
    if not timed:
        return [False] * len(rounds)
    shared = np.mean(timed, axis=0)
    own = [speeds - shared if len(speeds) else speeds for speeds in logs]
    noise, freedom = pooled_noise(own), (len(timed) - 1) * (len(shared) - 1)
    if not freedom:
        return [False] * len(rounds)
    # What the rounds share has been estimated, too.
    return _within_range_of_the_best(own, Noise(noise.deviation * sqrt(noise.freedom / freedom), freedom), level)


def _within_range_of_the_best(samples: Sequence[Values], noise: Noise, level: float) -> list[bool]:
    measured = [index for index, sample in enumerate(samples) if len(sample)]
    if not noise.freedom or len(measured) < 2:
        return [False] * len(samples)
    best = samples[max(measured, key=lambda index: samples[index].mean())]
    # Tukey's range is in standard errors of one mean.
    reach = _tukeys_range(len(measured), noise.freedom, level) / sqrt(2)
    return [len(sample) > 0 and gain_of(best, sample) <= reach * _error(best, sample, noise) for sample in samples]


@cache
def _tukeys_range(rows: int, freedom: int, level: float) -> float:
    """How far apart the means of equal rows lie, at most, in standard errors of one; it takes a tenth of a second."""
    return float(stats.studentized_range.isf(1 - level, rows, freedom))
