"""Rows that a scale can run: those of whose models, backbones, schedules and datasets it says something."""

from functools import cache
from pathlib import Path

from experiments.errors import UserError
from experiments.paths import SCALES
from experiments.spec.scale import Scale, load_scale
from experiments.spec.setting import Setting
from experiments.spec.study import Row, Study, Table

COCO = "coco"


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
    """A table in which rows that a scale does not offer are unavailable: their setting is one of another scale's.

    Parameters
    ----------
    table : Table
        The table.
    scale : Scale
        The scale. A setting that no scale has stays, and is refused where its run is made.
    """
    return table.model_copy(update={"rows": [_row_at(row, scale) for row in table.rows]})


def cost_scale(table: Table) -> str:
    """The paper's scale at which a table's models are counted and timed, whatever their schedule.

    Parameters
    ----------
    table : Table
        The table. COCO's scale comes first, and stands also for models that no scale has all of.
    """
    models = {part for setting in table.settings for part in (setting.detector, setting.backbone)}
    if models <= _offered_by(SCALES.absolute() / f"{COCO}.yaml"):
        return COCO  # without reading the others, at each start
    return next((name for name in _scales_with(tuple(models)) if load_scale(name).paper_setting), COCO)


def _row_at(row: Row, scale: Scale) -> Row:
    if row.setting is None:
        return row
    wanted = _parts(row.setting)
    lacking = list(dict.fromkeys(name for name in wanted if name not in _offered(scale)))
    others = _scales_with(wanted) if lacking else ()
    if not others:
        return row
    reason = (
        f"scale {scale.name} has no {' and no '.join(lacking)}; {', '.join(others)} {'has' if len(others) == 1 else 'have'}"
    )
    return row.model_copy(update={"setting": None, "unavailable": reason})


def _parts(setting: Setting) -> tuple[str, ...]:
    source = setting.load_from
    return setting.detector, setting.backbone, setting.schedule, *(_parts(source) if isinstance(source, Setting) else ())


def _offered(scale: Scale) -> frozenset[str]:
    return frozenset({*scale.offered_detectors, *scale.backbones, *scale.schedules})


def _scales_with(parts: tuple[str, ...]) -> tuple[str, ...]:
    files = sorted(SCALES.absolute().glob("*.yaml"))
    return tuple(file.stem for file in files if set(parts) <= _offered_by(file))


@cache
def _offered_by(file: Path) -> frozenset[str]:
    """Remembered by the whole path: another working folder has other scales."""
    try:
        return _offered(load_scale(file.stem))
    except UserError:
        return frozenset()  # it is reported when it is asked for
