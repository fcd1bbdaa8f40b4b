"""Rows that a scale can run: those of whose models and datasets it says something."""

from functools import cache

from experiments.errors import UserError
from experiments.paths import SCALES
from experiments.spec.scale import Scale, load_scale
from experiments.spec.study import Row, Study, Table


def study_at(study: Study, scale: Scale) -> Study:
    """A study in which rows that a scale does not offer are unavailable.

    Parameters
    ----------
    study : Study
        The study.
    scale : Scale
        The scale.
    """
    return study.model_copy(update={"tables": {key: table_at(table, scale) for key, table in study.tables.items()}})


def table_at(table: Table, scale: Scale) -> Table:
    """A table in which rows that a scale does not offer are unavailable: their detector is one of another scale's.

    Parameters
    ----------
    table : Table
        The table.
    scale : Scale
        The scale. A detector that no scale has stays, and is refused where its run is made.
    """
    return table.model_copy(update={"rows": [_row_at(row, scale) for row in table.rows]})


def _row_at(row: Row, scale: Scale) -> Row:
    if row.setting is None or row.setting.detector in scale.offered_detectors:
        return row
    others = _scales_with(row.setting.detector)
    if not others:
        return row
    reason = f"scale {scale.name} has no {row.setting.detector}; {', '.join(others)} {'has' if len(others) == 1 else 'have'}"
    return row.model_copy(update={"setting": None, "unavailable": reason})


@cache
def _scales_with(detector: str) -> tuple[str, ...]:
    names = sorted(path.stem for path in SCALES.glob("*.yaml"))
    return tuple(name for name in names if detector in _detectors_of(name))


@cache
def _detectors_of(scale: str) -> frozenset[str]:
    try:
        return frozenset(load_scale(scale).offered_detectors)
    except UserError:
        return frozenset()  # it is reported when it is asked for
