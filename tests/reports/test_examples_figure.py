"""Two rows on images: which are chosen, what the caption counts, what is drawn; on drawn shapes and on photos."""

import gzip
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from faster_coco_eval import COCO

from experiments.data.prepare import prepare_dataset
from experiments.errors import UserError
from experiments.paths import run_folder
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from reports.example_images import LEAST_SCORE, choose_images, objects_of_images, read_predictions, scores_of_images
from reports.examples_figure import plot_examples, rows_to_compare

DEMO, TABLE = load_scale("demo"), load_study("a2fpn").tables["table2"]
SIZES = (5.5, 16.6)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "demo"
    prepare_dataset(DEMO.dataset.replace(train_count=2, val_count=30), folder, None)
    return folder


def truth_of(folder):
    return COCO(folder / "annotations/val.json")


def predictions_of(truth, keep, random):
    """The objects themselves as detections, some left out, some moved away."""
    found = []
    for entry in truth.dataset["annotations"]:
        if random.random() < keep:
            found.append(
                {key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation")}
                | {"score": round(float(random.uniform(0.2, 1)), 3)}
            )
    return found


def f_scores(truth, predictions):
    """F of perfect detections: each that is drawn is a hit."""
    scores = []
    for image in sorted(truth.imgs):
        found = sum(entry["image_id"] == image for entry in predictions)
        scores.append(2 * found / max(1, found + len(truth.imgToAnns[image])))
    return scores


def test_an_image_scores_twice_its_hits_over_detections_and_objects(drawn):
    truth = truth_of(drawn)
    predictions = [e for e in predictions_of(truth, 0.6, np.random.default_rng(0)) if e["score"] >= LEAST_SCORE]
    assert list(scores_of_images(truth, predictions, SIZES)) == pytest.approx(f_scores(truth, predictions))
    # One more that is none lowers its image.
    wrong = {**predictions[0], "category_id": predictions[0]["category_id"] % 6 + 1}
    lowered = scores_of_images(truth, [*predictions, wrong], SIZES)[predictions[0]["image_id"]]
    assert lowered < scores_of_images(truth, predictions, SIZES)[predictions[0]["image_id"]]
    assert scores_of_images(truth, [], SIZES).sum() == 0


def test_images_are_chosen_by_rule_and_counted():
    gains = np.array([0.5, -0.4, 0.0, 0.1, 0.3, -0.1, 0.0, 0.2, -0.3, 0.05, 0.9])
    objects = np.array([3, 4, 3, 5, 6, 3, 3, 3, 3, 4, 2])
    examples = choose_images(range(11), gains, objects)
    assert examples.groups["greatest gain"] == [0, 4, 7]
    assert examples.groups["greatest loss"] == [1, 8, 5]
    assert set(examples.groups["drawn by hash"]) < {2, 3, 6, 9}
    assert examples.caption == "better on 50%, worse on 30%, same on 20% of 10 images with at least 3 objects"
    with pytest.raises(UserError, match="no image has 3 objects"):
        choose_images(range(2), gains[:2], np.array([1, 2]))


def leave(folder, truth, random, keep):
    """Runs of two rows, and the results that name them."""
    lines = []
    for row, chance in keep.items():
        for seed in (0, 1, 2):
            run = f"{row:06d}{seed:06d}"
            (folder / run_folder(run)).mkdir(parents=True)
            with gzip.open(folder / run_folder(run) / "predictions.json.gz", "wt") as file:
                json.dump(predictions_of(truth, chance, random), file)
            lines.append({"row": row, "run": run, "seed": seed, "metric": "box_AP", "measured": 20 + 10 * chance + seed})
    return pd.DataFrame(lines)


def test_the_figure_shows_objects_baseline_and_row(drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("datasets").mkdir()
    Path("datasets/demo").symlink_to(drawn)
    results = leave(tmp_path, truth_of(drawn), np.random.default_rng(1), {1: 0.3, 8: 0.8})
    figure = plot_examples(TABLE, DEMO, results)
    panels = np.array(figure.axes).reshape(3, -1)
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["objects", "PAFPN\nseed 1", "MC+GE+GP\nseed 1"]
    headings = [axes.get_title(loc="left").split("\n")[0] for axes in panels[0]]
    assert [heading for heading in headings if heading] == ["greatest gain", "drawn by hash", "greatest loss"]
    assert "MC+GE+GP over PAFPN: better on" in figure.get_supxlabel()
    # Beside the picture, a filled shape for each object.
    objects = objects_of_images(truth_of(drawn))
    assert all(len(axes.images) - 1 in set(objects) and len(axes.images) > 3 for axes in panels[0])
    plt.close(figure)


def test_the_rows_are_those_that_the_table_names(drawn):
    results = pd.DataFrame({"row": [0, 1, 3], "seed": [0, 0, 0], "measured": [1.0, 2.0, 3.0]})
    assert rows_to_compare(TABLE, results) == (1, 3)
    assert rows_to_compare(TABLE.replace(compare=("FPN", "GE")), results) == (0, 3)
    with pytest.raises(UserError, match="compare: row 'MC' has not run at this scale"):
        rows_to_compare(TABLE.replace(compare=("FPN", "MC")), results)
    with pytest.raises(UserError, match="no row and its baseline have both run"):
        rows_to_compare(TABLE, results[:1])


def test_runs_without_predictions_say_how_to_get_them(tmp_path):
    with pytest.raises(UserError, match=r"predictions\.json\.gz: is missing: .*delete its metrics\.json"):
        read_predictions(tmp_path / "predictions.json.gz")
    (tmp_path / "predictions.json.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="is damaged"):
        read_predictions(tmp_path / "predictions.json.gz")
