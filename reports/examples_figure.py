"""Two rows of a table on images: objects, baseline, row; the images are chosen by rule, and the caption counts all."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from faster_coco_eval import COCO
from faster_coco_eval.core import mask as mask_api
from numpy.typing import NDArray

from experiments.errors import UserError, report_user_errors
from experiments.paths import run_folder
from experiments.records.details import PREDICTIONS_FILE
from experiments.spec.dataset_files import LabelledImages
from experiments.spec.metrics import LEARNS_FROM, METRICS
from experiments.spec.run import Run
from experiments.spec.scale import Scale, load_scale
from experiments.spec.study import Table, load_study
from experiments.tasks.segments import read_segments
from reports.class_examples import ANSWERS_READ, compare_answers, draw_answers, read_answers
from reports.example_images import LEAST_SCORE, Entry, Examples, ImageId, compare_images, read_predictions
from reports.figure_style import COLUMN_WIDTH, PALETTE, STYLE, save_figure
from reports.kept import keep_copies
from reports.label_examples import LABELS_READ, compare_label_maps, draw_labels, read_label_maps, read_truth
from reports.panoptic_examples import (
    SEGMENTS_READ,
    compare_segmentations,
    draw_segments,
    read_segmentations,
    read_true_segmentations,
)
from reports.tidy_files import read_tidy

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

COLOURS = [colour for colour in PALETTE if colour != "#000000"]
FOUND_AT = 0.5
# Longer side of a picture, in pixels; photos are larger.
LARGEST = 480
WRONG, MISSED = "#d00000", "white"
HOW_TO_READ = (
    f"Score from {LEAST_SCORE:g}. Filled: found (IoU from 0.5, right class), in the colour of its object.\nDashed red: no such"
    " object. Dotted white: missed. Numbers: gain in F, mean over IoU 0.5 to 0.95 and the seeds"
)


@dataclass(frozen=True)
class ComparedRow:
    """A row of the comparison.

    Attributes
    ----------
    name : str
        Its label.
    predictions : list
        Of each seed: detections, or label maps or segments by image.
    shown : int
        Index of the seed that is drawn, the one of middle average precision.
    seed : int
        That seed.
    """

    name: str
    predictions: list[Any]
    shown: int
    seed: int


def rows_to_compare(table: Table, results: pd.DataFrame) -> tuple[int, int]:
    """Baseline and row: the table's `compare`, else the last measured row and its baseline.

    Parameters
    ----------
    table : Table
        The table.
    results : DataFrame
        Results from `reports.collect`.

    Raises
    ------
    UserError
        If a row has not run.
    """
    measured = set(results.dropna(subset=["measured", "seed"]).row)
    labels = [row.label for row in table.rows]
    if table.compare:
        baseline, row = (labels.index(label) for label in table.compare)
        if missing := [labels[index] for index in (baseline, row) if index not in measured]:
            raise UserError(f"compare: row {missing[0]!r} has not run at this scale with these seeds")
        return baseline, row
    for row, found in reversed(list(enumerate(table.baselines))):
        if row in measured and found in measured and found is not None:
            return found, row
    raise UserError("no row and its baseline have both run at this scale with these seeds")


def read_row(table: Table, row: int, results: pd.DataFrame, read: Callable[[Path], Any]) -> ComparedRow:
    """The predictions of a row's runs.

    Parameters
    ----------
    table : Table
        The table.
    row : int
        Index of the row.
    results : DataFrame
        Results from `reports.collect`.
    read : callable
        Reads what a run has kept.
    """
    metric = next((name for name in table.columns if METRICS[name].is_tested), next(iter(table.columns)))
    of_row = results[(results.row == row) & (results.metric == metric)].dropna(subset=["measured"])
    ordered = of_row.sort_values(["measured", "seed"])
    middle = ordered.iloc[(len(ordered) - 1) // 2]
    runs = list(of_row.run)
    predictions = [read(run_folder(run) / PREDICTIONS_FILE) for run in runs]
    return ComparedRow(table.rows[row].label, predictions, runs.index(middle.run), int(middle.seed))


def draw_examples(
    rows: Sequence[ComparedRow],
    examples: Examples,
    heading: str,
    how_to_read: str,
    draw_column: Callable[[ImageId, NDArray[Any]], None],
) -> Figure:
    """Draw the chosen images.

    Parameters
    ----------
    rows : sequence of ComparedRow
        Baseline and row.
    examples : Examples
        The images.
    heading : str
        What the first line of pictures shows.
    how_to_read : str
        What colours and lines mean.
    draw_column : callable
        Draws an image into the panels of its column: the truth, the baseline, the row.
    """
    columns = [(title, image) for title, chosen in examples.groups.items() for image in chosen]
    size = COLUMN_WIDTH / len(columns)
    figure, panels = plt.subplots(
        1 + len(rows),
        len(columns),
        squeeze=False,
        figsize=(COLUMN_WIDTH, (1 + len(rows)) * size + 0.95),
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02),
    )
    for axes in panels.flat:
        # From the top, so that titles stand in one line whatever the pictures' shapes.
        axes.set(xticks=[], yticks=[], anchor="N")
        axes.grid(visible=False)
    seen: set[str] = set()
    for (title, image), of_column in zip(columns, panels.T, strict=True):
        group = title if title not in seen else ""
        seen.add(title)
        of_column[0].set_title(f"{group}\n{examples.gains[image]:+.2f}".replace("-", "−"), fontsize=7, loc="left")
        draw_column(image, of_column)
    for axes, name in zip(panels[:, 0], [heading, *(f"{row.name}\nseed {row.seed}" for row in rows)], strict=True):
        axes.set_ylabel(name, fontsize=7)
    figure.supxlabel(f"{rows[1].name} over {rows[0].name}: {examples.caption}.\n{how_to_read}.", fontsize=6.5)
    return figure


def _draw_column(truth: COCO, images: Path, rows: Sequence[ComparedRow], image: ImageId, panels: NDArray[Any]) -> None:
    objects = [entry for entry in truth.imgToAnns[image] if not entry.get("iscrowd")]
    masks = [_mask(truth, entry) for entry in objects]
    picture = _picture(images / truth.imgs[image]["file_name"], truth.imgs[image])
    for axes in panels:
        axes.imshow(picture, alpha=0.75, extent=(0, truth.imgs[image]["width"], truth.imgs[image]["height"], 0))
    for number, mask in enumerate(masks):
        _overlay(panels[0], mask, COLOURS[number % len(COLOURS)])
    for axes, row in zip(panels[1:], rows, strict=True):
        found = sorted(
            (entry for entry in row.predictions[row.shown] if entry["image_id"] == image), key=lambda entry: -entry["score"]
        )
        taken = set()
        for entry, matched in _matched(truth, found, objects):
            mask = _mask(truth, entry)
            if matched is None:
                _outline(axes, mask, WRONG, "--")
            else:
                taken.add(matched)
                _overlay(axes, mask, COLOURS[matched % len(COLOURS)])
        for number, mask in enumerate(masks):
            if number not in taken:
                _outline(axes, mask, MISSED, ":")


def _matched(truth: COCO, found: Sequence[Entry], objects: Sequence[Entry]) -> Iterator[tuple[Entry, int | None]]:
    """Each detection, highest score first, with the object that it finds."""
    free = set(range(len(objects)))
    shapes = [_shape(truth, entry) for entry in objects]
    for entry in found:
        same_class = [number for number in free if objects[number]["category_id"] == entry["category_id"]]
        overlaps = _overlaps(_shape(truth, entry), [shapes[number] for number in same_class])
        if len(overlaps) and overlaps.max() >= FOUND_AT:
            matched = same_class[int(overlaps.argmax())]
            free.remove(matched)
            yield entry, matched
        else:
            yield entry, None


def _overlaps(shape: Any, others: Sequence[Any]) -> NDArray[np.float64]:
    return np.asarray(mask_api.iou([shape], others, [0] * len(others))).ravel() if others else np.zeros(0)


def _shape(truth: COCO, entry: Entry) -> Any:
    return truth.annToRLE(entry) if entry.get("segmentation") else truth.annToRLE({**entry, "segmentation": _box(entry)})


def _box(entry: Entry) -> list[list[float]]:
    x, y, width, height = entry["bbox"]
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _mask(truth: COCO, entry: Entry) -> NDArray[np.uint8]:
    decoded: NDArray[np.uint8] = mask_api.decode(_shape(truth, entry))
    return decoded


def _picture(path: Path, image: Entry) -> NDArray[np.uint8]:
    """The image, reduced; grey where its file is gone."""
    if not path.exists():
        return np.full((image["height"], image["width"], 3), 200, np.uint8)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
        picture.thumbnail((LARGEST, LARGEST))
        return np.asarray(picture)


def _overlay(axes: Axes, mask: NDArray[np.uint8], colour: str) -> None:
    filled = np.zeros((*mask.shape, 4))
    filled[mask > 0] = (*matplotlib.colors.to_rgb(colour), 0.55)
    axes.imshow(filled, interpolation="nearest", extent=(0, mask.shape[1], mask.shape[0], 0))
    _outline(axes, mask, colour, "-")


def _outline(axes: Axes, mask: NDArray[np.uint8], colour: str, line: str) -> None:
    if mask.any():
        rows, columns = (np.arange(side) + 0.5 for side in mask.shape)
        axes.contour(columns, rows, mask, [0.5], colors=[colour], linewidths=0.9, linestyles=[line])


def plot_examples(table: Table, scale: Scale, results: pd.DataFrame) -> Figure:
    """The figure of a table.

    Parameters
    ----------
    table : Table
        The table.
    scale : Scale
        The scale of the runs.
    results : DataFrame
        Results from `reports.collect`.

    Raises
    ------
    UserError
        If a row has not run, or the two rows are of different tasks.
    """
    compared = rows_to_compare(table, results)
    settings = [setting for row in compared if (setting := table.rows[row].setting)]
    tasks = {Run(setting, scale, seed=0).task for setting in settings}
    if len(tasks) > 1:
        raise UserError(f"compare: the rows have different tasks, {' and '.join(sorted(tasks))}; allowed: two of one task")
    kind = LEARNS_FROM.get(tasks.pop(), "objects")
    read, plot = KINDS[kind]
    return plot([read_row(table, row, results, read) for row in compared], scale)


def _plot_objects(rows: Sequence[ComparedRow], scale: Scale) -> Figure:
    truth = COCO(Path(scale.data_folder) / scale.objects.val_annotations)
    examples = compare_images(truth, {row.name: row.predictions for row in rows}, scale.object_sizes)
    images = Path(scale.data_folder) / scale.objects.val_images
    return draw_examples(rows, examples, "objects", HOW_TO_READ, partial(_draw_column, truth, images, rows))


def _plot_label_maps(rows: Sequence[ComparedRow], scale: Scale) -> Figure:
    folder, maps = Path(scale.data_folder), scale.label_maps
    truth = read_truth(
        folder / maps.val_maps, rows[0].predictions[0], (maps.image_ending, maps.map_ending), maps.zero_is_ignored
    )
    examples = compare_label_maps(truth, [row.predictions for row in rows], len(maps.classes), maps.ignored)

    def draw_column(image: ImageId, panels: NDArray[Any]) -> None:
        labels = truth[str(image)]
        predicted = [row.predictions[row.shown][str(image)] for row in rows]
        draw_labels(_picture_of(folder / maps.val_images, str(image), labels.shape), labels, predicted, maps.ignored, panels)

    return draw_examples(rows, examples, "labels", LABELS_READ, draw_column)


def _plot_segments(rows: Sequence[ComparedRow], scale: Scale) -> Figure:
    folder, files = Path(scale.data_folder), scale.panoptic
    classes = [*files.things, *files.stuff]
    truth = read_true_segmentations(read_segments(folder / files.val_annotations, classes), folder / files.val_maps)
    images = COCO(folder / scale.objects.val_annotations).imgs
    examples = compare_segmentations(truth, [row.predictions for row in rows], len(classes))

    def draw_column(image: ImageId, panels: NDArray[Any]) -> None:
        number = int(image)
        picture = _picture(folder / scale.objects.val_images / images[number]["file_name"], images[number])
        draw_segments(picture, truth[number], [row.predictions[row.shown].get(number) for row in rows], panels)

    return draw_examples(rows, examples, "segments", SEGMENTS_READ, draw_column)


def _plot_answers(rows: Sequence[ComparedRow], scale: Scale) -> Figure:
    folder = Path(scale.data_folder) / scale.labelled_images.val
    classes = [place.name for place in LabelledImages.class_folders(folder)]
    examples = compare_answers([row.predictions for row in rows])

    def draw_column(image: ImageId, panels: NDArray[Any]) -> None:
        answers = [row.predictions[row.shown][str(image)] for row in rows]
        height, width = scale.image_scale
        draw_answers(_picture(folder / str(image), {"height": height, "width": width}), classes, answers, panels)

    return draw_examples(rows, examples, "classes", ANSWERS_READ, draw_column)


# What a task learns from -> how its predictions are read and drawn.
KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Sequence[ComparedRow], Scale], Figure]]] = {
    "objects": (read_predictions, _plot_objects),
    "label_maps": (read_label_maps, _plot_label_maps),
    "panoptic": (read_segmentations, _plot_segments),
    "labelled_images": (read_answers, _plot_answers),
}


def _picture_of(folder: Path, stem: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    found = next(iter(sorted(folder.rglob(f"{stem}.*"))), folder / stem)
    return _picture(found, {"height": shape[0], "width": shape[1]})


def main() -> None:
    """Draw two rows of a table on images."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--rows", nargs="*", help="names of the rows that the report is restricted to; all by default")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--results", required=True, type=Path)
    parser.add_argument("output", type=Path, help="the folder and the beginning of the files' names")
    arguments = parser.parse_args()
    table = load_study(arguments.study).tables[arguments.table].only_rows(arguments.rows)
    scale, results = load_scale(arguments.scale), read_tidy(arguments.results)
    plt.rcParams.update(STYLE)  # type: ignore[arg-type]
    files = save_figure(plot_examples(table, scale, results), arguments.output, "examples")
    keep_copies(files, scale.name, results, arguments.rows is None)


if __name__ == "__main__":
    report_user_errors(main)
