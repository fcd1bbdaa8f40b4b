"""Label maps -> areas of every class -> intersection over union, at full precision."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Numbers of pixels, or sums of them on resamples.
Areas = NDArray[np.integer] | NDArray[np.floating]
# Rows of an array of areas: where prediction and truth agree, all that was predicted, all that is true.
COMMON, PREDICTED, TRUE = range(3)


def areas_of_image(predicted: NDArray[np.integer], truth: NDArray[np.integer], classes: int, ignored: int) -> NDArray[np.int64]:
    """Pixels of each class in one image, as mmsegmentation's IoUMetric counts them.

    Parameters
    ----------
    predicted, truth : array
        Labels (H, W).
    classes : int
        Number of classes K.
    ignored : int
        Label of pixels in the truth that do not count, whatever is predicted there.

    Returns
    -------
    array
        (3, K): common, predicted, true.
    """
    counts = truth != ignored
    predicted, truth = predicted[counts], truth[counts]
    parts = (predicted[predicted == truth], predicted, truth)
    return np.stack([np.bincount(part, minlength=classes)[:classes] for part in parts])


def read_labels(path: Path, zero_is_ignored: bool = False) -> NDArray[np.integer]:
    """The labels (H, W) of a grey PNG, from 0.

    Parameters
    ----------
    path : Path
        The file.
    zero_is_ignored : bool
        Whether the file counts classes from 1; its 0 becomes 255.
    """
    with Image.open(path) as image:
        labels = np.asarray(image)
    # 8 bits wrap around, as in mmsegmentation.
    return labels.astype(np.uint8) - np.uint8(1) if zero_is_ignored else labels


def maps_of_images(folder: Path, image_ending: str, map_ending: str) -> dict[str, Path]:
    """Label maps by the name of their image, without its ``.jpg`` or ``.png``.

    Parameters
    ----------
    folder : Path
        Where the maps lie, in subfolders or not.
    image_ending, map_ending : str
        What stands behind the name that an image and its map share.
    """
    tail = image_ending.rpartition(".")[0]
    return {path.name.removesuffix(map_ending) + tail: path for path in folder.rglob(f"*{map_ending}")}


def intersections_over_union(areas: Areas) -> NDArray[np.float64]:
    """Intersection over union of each class.

    Parameters
    ----------
    areas : array
        (..., 3, K), sums over images.

    Returns
    -------
    array
        (..., K) in percent; NaN for classes that are neither predicted nor true.
    """
    union = areas[..., PREDICTED, :] + areas[..., TRUE, :] - areas[..., COMMON, :]
    return _percent(areas[..., COMMON, :], union)


def summarize(areas: Areas) -> dict[str, NDArray[np.float64]]:
    """The metrics of semantic segmentation in percent.

    Parameters
    ----------
    areas : array
        (..., 3, K), sums over images.

    Returns
    -------
    dict
        mIoU and mean_accuracy, means over classes that occur, and pixel_accuracy; each (...,). NaN where nothing counts.
    """
    accuracies = _percent(areas[..., COMMON, :], areas[..., TRUE, :])
    pixel_accuracy = _percent(areas[..., COMMON, :].sum(axis=-1), areas[..., TRUE, :].sum(axis=-1))
    means = {"mIoU": mean_intersection_over_union(areas), "mean_accuracy": _mean(accuracies)}
    return {**means, "pixel_accuracy": pixel_accuracy}


def mean_intersection_over_union(areas: Areas) -> NDArray[np.float64]:
    """Mean of the intersection over union of the classes that occur.

    Parameters
    ----------
    areas : array
        (..., 3, K), sums over images.

    Returns
    -------
    array
        (...,) in percent; NaN where no class occurs.
    """
    return _mean(intersections_over_union(areas))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=-1))


def _percent(part: Areas, whole: Areas) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, 100 * part / whole, np.nan)
