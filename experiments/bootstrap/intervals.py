"""Where a gain may lie: the noise of seeds, and how far the gains of checkpoints would move on other images."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Where a gain may lie.

    Attributes
    ----------
    low, high : float
        Ends; NaN where nothing is known of the noise.
    """

    low: float = nan
    high: float = nan

    @property
    def is_known(self) -> bool:
        """Whether the noise is known."""
        return not isnan(self.low)

    @property
    def excludes_zero(self) -> bool:
        """Whether the gain is told apart from none."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Noise:
    """A standard deviation over seeds.

    Attributes
    ----------
    deviation : float
        NaN where nothing is known of it.
    freedom : int
        Degrees of freedom; 0 where nothing is known of it.
    """

    deviation: float = nan
    freedom: int = 0


def pooled_noise(samples: Sequence[Values]) -> Noise:
    """The standard deviation over seeds that the rows of a table share.

    Parameters
    ----------
    samples : sequence of array
        The values of each row, one for each seed.
    """
    freedom = sum(max(0, len(sample) - 1) for sample in samples)
    if not freedom:
        return Noise()
    squares = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in samples if len(sample))
    return Noise(sqrt(squares / freedom), freedom)


def image_intervals(differences: Sequence[Values], level: float = LEVEL) -> list[Interval]:
    """Simultaneous intervals over images: how far the gains of these checkpoints would move on other images (max-t).

    The interval is centred at the measured gain, for replicates of an average precision are biased upwards; its width is the
    spread of the replicates.

    Parameters
    ----------
    differences : sequence of array
        For each row, (B + 1,): its metric minus the baseline's on each resample, means over their seeds; the first on the
        images themselves.
    level : float
        Chance that all intervals together hold the true gains.
    """
    if not differences:
        return []
    gains, drawn = np.array([line[0] for line in differences]), np.array([line[1:] for line in differences])
    errors = np.nanstd(drawn, axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.abs(drawn - np.nanmean(drawn, axis=1, keepdims=True)) / errors[:, None]
    largest = np.nanmax(np.nan_to_num(deviations), axis=0)
    widths = np.quantile(largest, level) * errors
    return [Interval(float(gain - width), float(gain + width)) for gain, width in zip(gains, widths, strict=True)]
