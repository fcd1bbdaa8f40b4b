"""How long COCO's evaluation takes with faster-coco-eval and with pycocotools, measured in turn on a drawn set."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from experiments.tasks import average_precision

HEIGHT, WIDTH = 480, 640
CLASSES = 80
OBJECTS, DETECTIONS = 7, 100  # per image: objects on average, and the most detections that a detector returns
CROWD_SHARE = 0.01
CORNERS = 40
TOLERANCE = 1e-6
SIZES = (32, 96)


def load_with_pycocotools(annotations: Path, detections: Path) -> tuple[COCO, COCO]:
    """Read ground truth and detections, as `experiments.tasks.average_precision.load` does."""
    with redirect_stdout(StringIO()):
        truth = COCO(str(annotations))
        found = json.loads(detections.read_text())
        if found:
            return truth, truth.loadRes(found)
        nothing = COCO()
        nothing.dataset = {**truth.dataset, "annotations": []}
        nothing.createIndex()
        return truth, nothing


def summarize_with_pycocotools(truth: COCO, found: COCO, kind: str, object_sizes: tuple[float, float]) -> list[float]:
    """The numbers of `experiments.tasks.average_precision.summarize`, by pycocotools, the reference implementation."""
    small, medium = (side**2 for side in object_sizes)
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(truth, found, average_precision.IOU_TYPES[kind])
        evaluation.params.areaRng = [[0, 1e10], [0, small], [small, medium], [medium, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


TOOLS: dict[str, tuple[Callable, Callable]] = {
    "pycocotools": (load_with_pycocotools, summarize_with_pycocotools),
    "faster-coco-eval": (average_precision.load, average_precision.summarize),
}


def draw_set(folder: Path, images: int, seed: int = 0) -> tuple[Path, Path]:
    """Write a set like val2017 with the detections of a detector.

    Objects are blobs with 40 corners, sized and spread over 80 classes unevenly, as COCO's are; one in a hundred is a crowd.
    Some objects are missed, the others are found several times, shifted and with other outlines; the rest is false.

    Parameters
    ----------
    folder : Path
        Receives the two files.
    images : int
        Number of images.

    Returns
    -------
    (Path, Path)
        Annotations, polygons except for crowds, and detections, compressed run lengths.
    """
    random = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image in tqdm(range(1, images + 1), desc="drawing", unit="image", mininterval=1):
        blobs = [_blob(random) for _ in range(random.poisson(OBJECTS))]
        annotations += [_annotation(blob, image, len(annotations) + i, random) for i, blob in enumerate(blobs, start=1)]
        detections += [_detection(blob, image, score, random) for blob, score in _found(blobs, random)]
    truth, found = folder / "annotations.json", folder / "detections.json"
    described = [{"id": image, "height": HEIGHT, "width": WIDTH, "file_name": f"{image}.jpg"} for image in range(1, images + 1)]
    categories = [{"id": number, "name": str(number)} for number in range(1, CLASSES + 1)]
    truth.write_text(json.dumps({"images": described, "annotations": annotations, "categories": categories}))
    found.write_text(json.dumps(detections))
    return truth, found


def _blob(random: np.random.Generator) -> dict[str, Any]:
    """An outline: class, middle and radius in pixels, relative radius at each corner."""
    wobble = 0.35 * random.standard_normal((3, 2)) / np.arange(1, 4)[:, None]
    return {
        "class": 1 + int(CLASSES * random.beta(0.4, 1.6)),
        "middle": random.uniform((0, 0), (WIDTH, HEIGHT)),
        "radii": np.clip(random.lognormal(np.log(35), 0.9), 4, 220) * random.uniform(0.6, 1.4, 2),
        "wobble": wobble,
    }


def _moved(blob: dict[str, Any], amount: float, random: np.random.Generator) -> dict[str, Any]:
    return {
        "class": blob["class"],
        "middle": blob["middle"] + amount * blob["radii"] * random.standard_normal(2),
        "radii": blob["radii"] * np.exp(amount * random.standard_normal(2)),
        "wobble": blob["wobble"] + amount * random.standard_normal((3, 2)),
    }


def _found(blobs: list[dict[str, Any]], random: np.random.Generator) -> Iterator[tuple[dict[str, Any], float]]:
    number = min(random.poisson(DETECTIONS), DETECTIONS)
    known = [blob for blob in blobs if random.random() < 0.9]
    for i in range(number):
        if i < 6 * len(known):
            nth, blob = divmod(i, len(known))
            yield _moved(known[blob], 0.07 + 0.07 * nth, random), random.beta(5, 2) / (1 + nth)
        else:
            yield _blob(random), random.beta(1, 8)


def _polygon(blob: dict[str, Any]) -> np.ndarray:
    """Corners within the image, (corners, 2), to the hundredth of a pixel as in COCO."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    waves = sum(a * np.cos(n * angles) + b * np.sin(n * angles) for n, (a, b) in enumerate(blob["wobble"], start=2))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.clip(1 + waves, 0.3, 2)[:, None]
    return np.round(np.clip(blob["middle"] + circle * blob["radii"], 0, (WIDTH, HEIGHT)), 2)


def _box(polygon: np.ndarray) -> list[float]:
    low, high = polygon.min(0), polygon.max(0)
    return [round(float(value), 2) for value in (*low, *(high - low))]


def _annotation(blob: dict[str, Any], image: int, number: int, random: np.random.Generator) -> dict[str, Any]:
    polygon = _polygon(blob)
    (run_lengths,) = mask_utils.frPyObjects([polygon.ravel().tolist()], HEIGHT, WIDTH)
    crowd = random.random() < CROWD_SHARE
    return {
        "id": number,
        "image_id": image,
        "category_id": blob["class"],
        "bbox": _box(polygon),
        "area": float(mask_utils.area(run_lengths)),
        "iscrowd": int(crowd),
        "segmentation": _uncompressed(run_lengths) if crowd else [polygon.ravel().tolist()],
    }


def _uncompressed(run_lengths: dict[str, Any]) -> dict[str, Any]:
    pixels = mask_utils.decode(run_lengths).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=0))
    return {"size": run_lengths["size"], "counts": np.diff(changes, prepend=0, append=len(pixels)).tolist()}


def _detection(blob: dict[str, Any], image: int, score: float, random: np.random.Generator) -> dict[str, Any]:
    polygon = _polygon(blob)
    (run_lengths,) = mask_utils.frPyObjects([polygon.ravel().tolist()], HEIGHT, WIDTH)
    return {
        "image_id": image,
        "category_id": 1 + int(CLASSES * random.beta(0.4, 1.6)) if random.random() < 0.1 else blob["class"],
        "bbox": _box(polygon),
        "score": score,
        "segmentation": {"size": run_lengths["size"], "counts": run_lengths["counts"].decode()},
    }


def measure(annotations: Path, detections: Path, rounds: int) -> pd.DataFrame:
    """Time both tools in turn, round after round.

    Parameters
    ----------
    annotations, detections : Path
        Files from `draw_set`.
    rounds : int
        Number of times that each tool evaluates boxes and masks.

    Returns
    -------
    DataFrame
        A row for each round, kind and tool: seconds of loading and of evaluation, and the twelve numbers.
    """
    rows = []
    with tqdm(total=2 * rounds * len(TOOLS), desc="measuring", unit="evaluation", mininterval=1) as progress:
        for number in range(rounds):
            for kind in average_precision.IOU_TYPES:
                for tool, (load, summarize) in TOOLS.items():
                    progress.set_postfix_str(f"round {number + 1}, {kind}, {tool}")
                    started = time.perf_counter()
                    loaded = load(annotations, detections)
                    between = time.perf_counter()
                    numbers = summarize(*loaded, kind, SIZES)
                    ended = time.perf_counter()
                    del loaded
                    rows.append(
                        {
                            "round": number,
                            "kind": kind,
                            "tool": tool,
                            "load": between - started,
                            "evaluate": ended - between,
                            "numbers": numbers,
                        }
                    )
                    progress.update()
    return pd.DataFrame(rows)


def ratios(measured: pd.DataFrame) -> pd.DataFrame:
    """Median times of both tools, and their ratio.

    Parameters
    ----------
    measured : DataFrame
        Times from `measure`.

    Returns
    -------
    DataFrame
        A row for boxes, masks and both, each for evaluation, loading and their sum; times of the tools in seconds.
    """
    both = measured.groupby(["round", "tool"], as_index=False)[["load", "evaluate"]].sum().assign(kind="box and mask")
    times = pd.concat([measured, both]).assign(total=lambda rows: rows["load"] + rows["evaluate"])
    times = times.melt(["kind", "tool"], ["evaluate", "load", "total"], "step", "seconds")
    medians = times.pivot_table("seconds", ["kind", "step"], "tool", "median", sort=False)[list(TOOLS)]
    return medians.assign(ratio=medians["pycocotools"] / medians["faster-coco-eval"]).reset_index()


def largest_difference(measured: pd.DataFrame) -> float:
    """Largest difference between the tools' numbers, from 0 to 1."""
    by_kind = measured.groupby("kind")["numbers"]
    return max(float(np.ptp(np.array(numbers.tolist()), axis=0).max()) for _, numbers in by_kind)


def main() -> None:
    """Measure COCO's evaluation with both tools on a drawn set and print the ratios of times."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", type=int, default=5000, help="images of the set, each with 7 objects and 100 detections")
    parser.add_argument("--rounds", type=int, default=3, help="evaluations of each tool and kind")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        annotations, detections = draw_set(Path(folder), arguments.images)
        size = detections.stat().st_size / 1e6
        measured = measure(annotations, detections, arguments.rounds)
    print(f"\n{arguments.images} images, {size:.0f} MB of detections; medians of {arguments.rounds} rounds [s], in turn.\n")
    print(ratios(measured).to_markdown(index=False, floatfmt=".2f"))
    ap = {kind: 100 * numbers.iloc[0][0] for kind, numbers in measured.groupby("kind")["numbers"]}
    difference = largest_difference(measured)
    print(f"\nBox AP {ap['box']:.2f}, mask AP {ap['mask']:.2f}; largest difference in any of the 12 numbers: {difference:.1e}.")
    if not difference <= TOLERANCE:
        sys.exit(f"error: the tools differ by {difference:.1e}; allowed: {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
