"""What the figures of a table are drawn from."""

from dataclasses import dataclass, field

import pandas as pd

from experiments.spec.metrics import METRICS, Metric
from experiments.spec.scale import Scale
from reports.gains import no_gains


@dataclass(frozen=True)
class FigureData:
    """The data of a table's figures.

    Attributes
    ----------
    scale : Scale
        The scale of the runs.
    results, history : DataFrame
        Results and training curves from `reports.collect`.
    flops : dict
        `Setting.key` to multiply-adds per image at the scale's size, every one counted.
    frames_per_second : dict
        `Setting.key` to frames per second at the scale's size.
    gains : DataFrame
        From `reports.gains`.
    """

    scale: Scale
    results: pd.DataFrame
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    flops: dict[str, float] = field(default_factory=dict)
    frames_per_second: dict[str, float] = field(default_factory=dict)
    gains: pd.DataFrame = field(default_factory=no_gains)

    @property
    def baselines(self) -> set[str]:
        """Labels of the rows that gains are over; they are black in every figure."""
        return set(self.gains.against)


def shown_metrics(results: pd.DataFrame) -> list[Metric]:
    """The metrics of a table that its figures show, in the order of its columns.

    Parameters
    ----------
    results : DataFrame
        Results from `reports.collect`.
    """
    return [METRICS[name] for name in dict.fromkeys(results.metric) if name in METRICS and METRICS[name].label]
