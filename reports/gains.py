"""Results of a table -> the gain of each row over its baseline, with intervals and verdicts; a line per row and metric."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from experiments.bootstrap.intervals import Interval, Noise, Values, image_intervals, pooled_noise
from experiments.bootstrap.resamples import BOOTSTRAP_FILE, read_replicates
from experiments.paths import run_folder
from experiments.spec.metrics import METRICS
from experiments.spec.scale import Scale
from experiments.spec.study import Table
from reports.significance import (
    gain_of,
    interval_for_other_images,
    intervals_of_pairs,
    simultaneous_intervals,
)
from reports.verdicts import Verdict, compare, judge_claim

GAIN_COLUMNS = [
    *("row", "name", "metric", "against", "seeds", "seeds_against", "gain", "sd", "freedom"),
    *("low", "high", "image_low", "image_high", "other_low", "other_high"),
    *("published_gain", "verdict", "margin", "is_assumed", "claim"),
]


def no_gains() -> pd.DataFrame:
    """The gains of a table of which nothing was measured."""
    return pd.DataFrame(columns=GAIN_COLUMNS)


def gains(table: Table, scale: Scale, results: pd.DataFrame) -> pd.DataFrame:
    """The gains of a table's rows in its tested metrics.

    Parameters
    ----------
    table : Table
        The table.
    scale : Scale
        The scale of the runs.
    results : DataFrame
        Results from `reports.collect`.

    Returns
    -------
    DataFrame
        row, name, metric; against: the baseline's label; seeds, seeds_against: runs of both; gain; sd: over seeds, pooled over
        the table, with its degrees of freedom; low, high: interval of the gain over seeds; image_low, image_high: over images,
        for these checkpoints; other_low, other_high: over both; published_gain; verdict on the published number, with its
        margin, and whether that is assumed; claim: what has become of the published gain.
    """
    tested = [metric for metric in table.columns if METRICS[metric].is_tested]
    # Costs among the results are counts of more than the metrics that a table can show.
    results = results[results.metric.isin(tested)]
    results = results.assign(measured=results.measured.astype(float) / results.metric.map(_unit))
    drawn = _read_replicates(scale, results, tested)
    lines = [line for metric in tested for line in _gains_in(metric, table, scale, results[results.metric == metric], drawn)]
    return pd.DataFrame(lines, columns=GAIN_COLUMNS)


def _unit(metric: str) -> float:
    return METRICS[metric].unit


def _gains_in(
    metric: str, table: Table, scale: Scale, results: pd.DataFrame, drawn: Mapping[str, Mapping[str, Values]]
) -> list[dict[str, object]]:
    samples, replicates = _samples(table, results), _replicates(results, metric, drawn)
    noise = pooled_noise(samples)
    baselines = table.baselines
    pairs = [
        (row, baseline)
        for row, baseline in enumerate(baselines)
        if baseline is not None and len(samples[row]) and len(samples[baseline])
    ]
    compared = _compared(table, pairs, samples, replicates, noise)
    lines = []
    for row, of_row in enumerate(table.rows):
        if not len(samples[row]) or (row not in compared and of_row.published.get(metric) is None):
            continue
        gain = compared.get(row, {})
        claimed = table.published_gain(metric, row, baselines[row])
        gain_published = nan if claimed is None else claimed
        verdict = _verdict(table, scale, metric, row, samples[row], noise, gain_published)
        lines.append(
            {
                **{"row": row, "name": of_row.label, "metric": metric, "seeds": len(samples[row]), **gain},
                **{"sd": noise.deviation, "freedom": noise.freedom, "published_gain": gain_published},
                "verdict": verdict and verdict.word,
                "margin": verdict.margin if verdict else nan,
                "is_assumed": bool(verdict and verdict.is_assumed),
                "claim": judge_claim(gain_published, Interval(gain.get("low", nan), gain.get("high", nan))),
            }
        )
    return lines


def _compared(
    table: Table,
    pairs: Sequence[tuple[int, int]],
    samples: Sequence[Values],
    replicates: Mapping[int, Values],
    noise: Noise,
) -> dict[int, dict[str, Any]]:
    """Row to its gain over its baseline, with the intervals over seeds, over images and over both."""
    over_seeds = _over_seeds(pairs, samples, noise)
    differences = {
        (row, baseline): replicates[row] - replicates[baseline]
        for row, baseline in pairs
        if row in replicates and baseline in replicates
    }
    over_images = dict(zip(differences, image_intervals(list(differences.values())), strict=True))
    found = {}
    for row, baseline in pairs:
        interval, others = over_seeds[row, baseline], Interval()
        images = over_images.get((row, baseline), Interval())
        if (row, baseline) in differences:
            others = interval_for_other_images(samples[row], samples[baseline], noise, differences[row, baseline])
        found[row] = {
            "against": table.rows[baseline].label,
            "seeds_against": len(samples[baseline]),
            "gain": gain_of(samples[row], samples[baseline]),
            **{"low": interval.low, "high": interval.high, "image_low": images.low, "image_high": images.high},
            **{"other_low": others.low, "other_high": others.high},
        }
    return found


def _samples(table: Table, results: pd.DataFrame) -> list[Values]:
    """The measured values of each row, one for each finished seed."""
    measured = results.dropna(subset=["measured"]).groupby("row").measured
    found = {row: values.to_numpy(float) for row, values in measured}
    return [found.get(row, np.zeros(0)) for row in range(len(table.rows))]


def _read_replicates(scale: Scale, results: pd.DataFrame, metrics: Sequence[str]) -> dict[str, dict[str, Values]]:
    """Run to its metrics on each resample. Where a scale measures its training images, other images say nothing about them."""
    if scale.dataset.measures_training_images:
        return {}
    runs = results.dropna(subset=["measured"]).run.unique()
    return {run: read_replicates(run_folder(run) / BOOTSTRAP_FILE, metrics) or {} for run in runs}


def _replicates(results: pd.DataFrame, metric: str, drawn: Mapping[str, Mapping[str, Values]]) -> dict[int, Values]:
    """Row to the mean over its seeds on each resample, where all of its runs have left them."""
    found = {}
    for row, of_row in results.dropna(subset=["measured"]).groupby("row"):
        lines = [drawn[run][metric] for run in of_row.run if metric in drawn.get(run, {})]
        if lines and len(lines) == len(of_row):
            found[row] = np.mean(lines, axis=0) / _unit(metric)
    return found


def _over_seeds(
    pairs: Sequence[tuple[int, int]], samples: Sequence[Values], noise: Noise
) -> Mapping[tuple[int, int], Interval]:
    """Dunnett's intervals where all gains are over one baseline, else those of named pairs."""
    baselines = {baseline for _, baseline in pairs}
    if len(baselines) == 1:
        intervals = simultaneous_intervals([samples[row] for row, _ in pairs], samples[baselines.pop()])
    else:
        intervals = intervals_of_pairs([(samples[row], samples[baseline]) for row, baseline in pairs], noise)
    return dict(zip(pairs, intervals, strict=True))


def _verdict(
    table: Table, scale: Scale, metric: str, row: int, sample: Values, noise: Noise, gain_published: float
) -> Verdict | None:
    """On the published number of a row; none outside of the paper's setting, and for numbers that are not the paper's."""
    of_row = table.rows[row]
    published = of_row.published.get(metric)
    if published is None or of_row.source or not scale.paper_setting:
        return None
    decimals = len(getattr(published, "text", str(published)).partition(".")[2])
    claimed = 0.0 if np.isnan(gain_published) else gain_published
    rounding = 0.5 * 10.0**-decimals
    return compare(float(sample.mean()), published, len(sample), noise, rounding, claimed, scale.assumed_seed_sd)
