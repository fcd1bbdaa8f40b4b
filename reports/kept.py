"""Copies of what a report shows, by scale and seeds: another call with other ones overwrites the report, not these."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from experiments.files import replacing


def keep_copies(files: Iterable[Path], scale: str, results: pd.DataFrame, of_all_rows: bool = True) -> None:
    """Copy files of a report to ``reports/by_scale/<scale>/seeds_<seeds>/``; nothing is copied of a report without runs.

    Reports of some rows go into ``seeds_<seeds>_some_rows/``.

    Parameters
    ----------
    files : iterable of Path
        Files under ``reports/``.
    scale : str
        Name of the scale of the runs.
    results : DataFrame
        Results from `reports.collect`.
    of_all_rows : bool
        Whether the report shows all rows of its table.
    """
    seeds = sorted({int(seed) for seed in results.seed.dropna()})
    if not seeds:
        return
    for file in files:
        reports = next(parent for parent in file.parents if parent.name == "reports")
        folder = f"seeds_{_in_short(seeds)}{'' if of_all_rows else '_some_rows'}"
        copy = reports / "by_scale" / scale / folder / file.relative_to(reports)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replacing(copy) as draft:
            shutil.copyfile(file, draft)


def _in_short(seeds: list[int]) -> str:
    """``0_1_5``, or ``0-9`` of three or more that follow each other."""
    first, last = seeds[0], seeds[-1]
    return f"{first}-{last}" if seeds == list(range(first, last + 1)) and len(seeds) > 2 else "_".join(map(str, seeds))
