"""What measured numbers say about published ones: reproduced or not, and whether a published gain is confirmed."""

from dataclasses import dataclass
from math import isnan, sqrt
from typing import Literal

from scipy import stats

from experiments.bootstrap.intervals import LEVEL, Interval, Noise

Word = Literal["reproduced", "higher", "lower", "cannot tell"]
Claim = Literal["confirmed", "not shown", "contradicted"]
# Of metrics in percent: a margin above it, and above half of the published gain, says nothing.
WIDEST_MARGIN = 0.5


@dataclass(frozen=True)
class Verdict:
    """How a measured number compares with a published one.

    Attributes
    ----------
    word : {'reproduced', 'higher', 'lower', 'cannot tell'}
        Reproduced within noise; higher or lower than chance allows; or too noisy to say.
    margin : float
        Largest difference that chance and rounding explain; NaN where nothing is known of the noise.
    is_assumed : bool
        Whether the noise is the scale's `assumed_seed_sd`, for want of a second seed.
    """

    word: Word
    margin: float
    is_assumed: bool = False


def margin(noise: Noise, seeds: int, rounding: float, level: float = LEVEL) -> float:
    """Half the width of the interval in which one further run would lie, as papers print it: a prediction interval.

    Parameters
    ----------
    noise : Noise
        Pooled over the rows of the table.
    seeds : int
        Runs whose mean is compared.
    rounding : float
        Half a unit of the last printed digit.
    level : float
        Chance that a run by the same recipe lies within.
    """
    return float(stats.t.isf((1 - level) / 2, noise.freedom) * noise.deviation * sqrt(1 + 1 / seeds) + rounding)


def assumed_margin(deviation: float, rounding: float, level: float = LEVEL) -> float:
    """The same for one run of either side whose standard deviation over seeds is assumed.

    Parameters
    ----------
    deviation : float
        Assumed standard deviation.
    rounding, level : float
        As for `margin`.
    """
    return float(stats.norm.isf((1 - level) / 2) * sqrt(2) * deviation + rounding)


def compare(
    measured: float,
    published: float,
    seeds: int,
    noise: Noise,
    rounding: float,
    published_gain: float = 0.0,
    assumed_deviation: float | None = None,
) -> Verdict:
    """Whether a published number is reproduced.

    Parameters
    ----------
    measured : float
        Mean over the seeds, not rounded.
    published : float
        The number as printed.
    seeds : int
        Runs of the mean.
    noise : Noise
        Pooled over the rows of the table.
    rounding : float
        Half a unit of the last printed digit.
    published_gain : float
        Of the row over its baseline; a margin above half of it says nothing of the row.
    assumed_deviation : float, optional
        Standard deviation over seeds that is assumed where no row has two.
    """
    is_assumed = not noise.freedom and assumed_deviation is not None
    if not noise.freedom and not is_assumed:
        return Verdict("cannot tell", float("nan"))
    within = assumed_margin(assumed_deviation or 0.0, rounding) if is_assumed else margin(noise, seeds, rounding)
    difference = measured - published
    if within > max(WIDEST_MARGIN, abs(published_gain) / 2):
        return Verdict("cannot tell", within, is_assumed)
    if abs(difference) <= within:
        return Verdict("reproduced", within, is_assumed)
    return Verdict("higher" if difference > 0 else "lower", within, is_assumed)


def judge_claim(published_gain: float, interval: Interval) -> Claim | None:
    """Whether a published gain is there in what was measured; None where nothing was claimed or nothing is known of the noise.

    Parameters
    ----------
    published_gain : float
        Published number of the row minus that of its baseline; NaN where one was not published.
    interval : Interval
        Of the measured gain, over seeds.
    """
    if isnan(published_gain) or not published_gain or not interval.is_known:
        return None
    if not interval.excludes_zero:
        return "not shown"
    return "confirmed" if (interval.low > 0) == (published_gain > 0) else "contradicted"
