"""The cells of a printed table: measured values beside published ones, and gains over baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isnan, log10
from typing import Any

import numpy as np
import pandas as pd

from experiments.spec.metrics import METRICS
from experiments.spec.scale import Scale
from experiments.spec.study import Table
from reports.significance import not_told_apart_from_the_best, not_told_apart_from_the_fastest

MINUS = "−"
# Of standard deviations.
SIGNIFICANT = 2


@dataclass(frozen=True)
class Cell:
    """One metric of one row.

    Attributes
    ----------
    value : float or None
        Mean over the seeds, by which rows are sorted.
    measured, deviation : str or None
        That mean as it is printed, and their standard deviation where several ran.
    seeds : int or None
        Number of runs, where it is not the table's.
    published : str or None
        Published number as printed.
    difference : str or None
        Measured minus published, where both come from the paper's setting and no verdict says enough.
    verdict : str or None
        reproduced, higher, lower or cannot tell.
    is_assumed : bool
        Whether the verdict rests on an assumed noise.
    missing : str
        Text in place of a value that was not measured.
    best, published_best : bool
        Whether the value is among the best of its column, and whether the published one leads it.
    """

    value: float | None
    measured: str | None
    deviation: str | None
    seeds: int | None
    published: str | None
    difference: str | None
    verdict: str | None
    is_assumed: bool
    missing: str
    best: bool
    published_best: bool


@dataclass(frozen=True)
class GainCell:
    """The gain of one row over its baseline in one metric.

    Attributes
    ----------
    value : float or None
        The gain, by which rows are sorted.
    gain : str or None
        As it is printed, with its sign; None where it was not measured.
    low, high : str or None
        Ends of its interval.
    is_over_images : bool
        Whether the interval is over images, for one seed; else over seeds.
    is_told_apart : bool
        Whether the interval over seeds excludes no gain.
    is_loss : bool
        Whether it is for the worse: below zero, or of an error above.
    published : str or None
        Published gain.
    claim : str or None
        What has become of the published gain: confirmed, not shown or contradicted.
    """

    value: float | None = None
    gain: str | None = None
    low: str | None = None
    high: str | None = None
    is_over_images: bool = False
    is_told_apart: bool = False
    is_loss: bool = False
    published: str | None = None
    claim: str | None = None


def value_cells(
    values: pd.DataFrame, samples: Mapping[int, Sequence[float]], metric: str, table: Table, scale: Scale, gains: pd.DataFrame
) -> list[Cell]:
    """The cells of a metric's column.

    Parameters
    ----------
    values : DataFrame
        Mean, std, count, published and finished by (metric, row).
    samples : dict
        Row to its measured values, one for each seed, in the unit of the heading; of speeds, one for each round.
    metric : str
        The metric.
    table, scale
        The table, and the scale of the runs.
    gains : DataFrame
        From `reports.gains`.
    """
    rows = range(len(table.rows))
    numbers = (
        values.loc[metric].reindex(rows)
        if metric in values.index
        else pd.DataFrame(index=rows, columns=["mean", "std", "count", "published", "finished"], dtype=float)
    )
    known, decimals = METRICS[metric], decimals_of(table, metric)
    measured_format = f".{known.significant}g" if known.significant else f".{decimals}f"
    means = numbers["mean"].astype(float)
    shown = means if known.significant else means.round(decimals)
    published = numbers["published"].astype(float)
    lead = "min" if known.lower_is_better else "max"
    published_leader = getattr(published, lead)()
    best = _best(shown, samples, metric, len(rows))
    of_metric = gains[gains.metric == metric].set_index("row")
    counts = numbers["count"].fillna(0).astype(int)
    most_seeds = int(counts.max())
    # If no row can run, published numbers may come from different datasets: mark no best.
    marks_published = any(row.setting for row in table.rows)

    def missing(row: int) -> str:
        if table.rows[row].unavailable:
            return "not available"
        return "not measured" if known.origin != "run" else "–" if numbers["finished"][row] else "not run"

    def cell(row: int) -> Cell:
        verdict, is_assumed = _verdict_of(of_metric, row)
        is_compared = scale.paper_setting and known.origin in ("run", "server") and not table.rows[row].source
        count = int(counts[row])
        return Cell(
            value=None if isnan(means[row]) else float(means[row]),
            measured=_text(shown[row], measured_format),
            deviation=deviation_text(numbers["std"][row]) if known.origin in ("run", "server") else None,
            seeds=count if 0 < count < most_seeds else None,
            published=_printed(table.rows[row].published.get(metric), published[row], decimals),
            difference=_difference(shown[row] - published[row], decimals) if is_compared and verdict != "reproduced" else None,
            verdict=verdict,
            is_assumed=is_assumed,
            missing=missing(row),
            best=best[row],
            published_best=marks_published and published[row] == published_leader,
        )

    return list(map(cell, rows))


def gain_cells(metric: str, table: Table, gains: pd.DataFrame) -> list[GainCell]:
    """The cells of the column with the gains in a metric.

    Parameters
    ----------
    metric : str
        A tested metric.
    table : Table
        The table.
    gains : DataFrame
        From `reports.gains`.
    """
    lines = gains[gains.metric == metric].set_index("row").to_dict("index")
    decimals = decimals_of(table, metric)
    lower_is_better = METRICS[metric].lower_is_better
    return [_gain_cell(lines.get(row), decimals, lower_is_better) for row in range(len(table.rows))]


def _gain_cell(line: dict[str, Any] | None, decimals: int, lower_is_better: bool) -> GainCell:
    if line is None or pd.isna(line["gain"]):
        return GainCell()
    is_over_images = pd.isna(line["low"])
    low, high = (line[f"image_{end}" if is_over_images else end] for end in ("low", "high"))
    return GainCell(
        value=line["gain"],
        gain=signed(line["gain"], decimals),
        low=None if pd.isna(low) else signed(low, decimals),
        high=None if pd.isna(high) else signed(high, decimals),
        is_over_images=is_over_images,
        is_told_apart=not is_over_images and (low > 0 or high < 0),
        is_loss=line["gain"] > 0 if lower_is_better else line["gain"] < 0,
        published=None if pd.isna(line["published_gain"]) else signed(line["published_gain"], decimals),
        claim=None if pd.isna(line["claim"]) else line["claim"],
    )


def _best(shown: pd.Series, samples: Mapping[int, Sequence[float]], metric: str, rows: int) -> list[bool]:
    """Of runs and speeds, every row that is not told apart from the best; of counts, the leader."""
    known = METRICS[metric]
    of_rows = [np.asarray(samples.get(row, ()), float) for row in range(rows)]
    if known.is_timed:
        return not_told_apart_from_the_fastest(of_rows)
    if known.origin in ("run", "server"):
        return not_told_apart_from_the_best(of_rows, known.lower_is_better)
    leader = getattr(shown, "min" if known.lower_is_better else "max")()
    return [bool(value == leader) for value in shown]


def _verdict_of(of_metric: pd.DataFrame, row: int) -> tuple[str | None, bool]:
    if row not in of_metric.index or pd.isna(of_metric.verdict[row]):
        return None, False
    return str(of_metric.verdict[row]), bool(of_metric.is_assumed[row])


def decimals_of(table: Table, metric: str) -> int:
    """Decimals of the metric, or else those of the published column, at least one.

    Parameters
    ----------
    table : Table
        The table.
    metric : str
        One of its columns.
    """
    decimals = METRICS[metric].decimals
    if decimals is not None:
        return decimals
    printed = [_printed(row.published.get(metric), float("nan"), 1) for row in table.rows]
    return max([1, *(len(text.partition(".")[2]) for text in printed if text)])


def deviation_text(deviation: float) -> str | None:
    """A standard deviation with two significant digits; None where there is none.

    Parameters
    ----------
    deviation : float
        Not negative, or NaN.
    """
    if pd.isna(deviation):
        return None
    if deviation == 0:
        return "0"
    return f"{deviation:.{max(0, SIGNIFICANT - 1 - floor(log10(deviation)))}f}"


def signed(number: float, decimals: int) -> str:
    """A number with its sign, a real minus.

    Parameters
    ----------
    number : float
        The number.
    decimals : int
        Digits after the point.
    """
    return f"{number:+.{decimals}f}".replace("-", MINUS)


def _difference(value: float, decimals: int) -> str | None:
    return None if isnan(value) else signed(value, decimals)


def _text(value: float, style: str) -> str | None:
    return None if isnan(value) else f"{value:{style}}"


def _printed(number: float | None, value: float, decimals: int) -> str | None:
    """A published number as it stands in the study; a derived one is rounded."""
    if number is not None:
        return getattr(number, "text", str(number))
    return None if pd.isna(value) else f"{value:.{decimals}f}"
