"""Label maps -> areas of categories of classes, and of instances that count alike whatever their size: Cityscapes' metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from experiments.tasks.class_areas import COMMON, PREDICTED, Areas, areas_of_image

# Ids of instances lie above; below are ids of classes, where instances are not told apart.
FIRST_INSTANCE = 1000


@dataclass(frozen=True)
class Groups:
    """How classes lie in categories, and how large their instances are.

    Attributes
    ----------
    category_of : array
        (K,): label of each class's category.
    mean_pixels : array
        (K,): mean size of an instance of each class in pixels; 0 where instances are not told apart.
    """

    category_of: NDArray[np.intp]
    mean_pixels: NDArray[np.float64]

    @classmethod
    def of(
        cls, classes: Sequence[str], categories: Mapping[str, Sequence[str]], mean_pixels: Mapping[str, float] | None = None
    ) -> Self:
        """From names.

        Parameters
        ----------
        classes : sequence of str
            Names by labels.
        categories : dict
            Name of each category to those of its classes; each class is in one.
        mean_pixels : dict or None
            Name of each class whose instances are told apart to their mean size.
        """
        found = {name: label for label, members in enumerate(categories.values()) for name in members}
        sizes = mean_pixels or {}
        return cls(np.array([found[name] for name in classes]), np.array([sizes.get(name, 0.0) for name in classes]))

    def areas(
        self, predicted: NDArray[np.integer], truth: NDArray[np.integer], instances: NDArray[np.integer] | None, ignored: int
    ) -> dict[str, Areas]:
        """What categories and instances have in common with what was predicted for one image.

        Parameters
        ----------
        predicted, truth : array
            Labels of classes (H, W).
        instances : array or None
            Ids (H, W), see `FIRST_INSTANCE`; None if no class's instances are told apart.
        ignored : int
            Label of pixels in the truth that do not count.

        Returns
        -------
        dict
            ``category_IoU`` (3, C), and with instances ``iIoU`` (3, I) of the classes that have them and ``category_iIoU``
            (3, J) of the categories all of whose classes have them: rows as in `experiments.tasks.class_areas`, made so that
            their intersection over union is the metric of a class or category.
        """
        categories = int(self.category_of.max()) + 1
        coarse = [self._to_categories(labels, ignored) for labels in (predicted, truth)]
        found: dict[str, Areas] = {"category_IoU": areas_of_image(coarse[0], coarse[1], categories, ignored)}
        if instances is None:
            return found
        weights = self._weights(truth, instances, ignored)
        have = self.mean_pixels > 0
        all_have = np.array([have[self.category_of == category].all() for category in range(categories)])
        found["iIoU"] = _weighted_areas(predicted, truth, weights, len(have), ignored)[:, have]
        found["category_iIoU"] = _weighted_areas(coarse[0], coarse[1], weights, categories, ignored)[:, all_have]
        return found

    def _to_categories(self, labels: NDArray[np.integer], ignored: int) -> NDArray[np.uint8]:
        # Labels have 8 bits.
        table = np.full(1 + max(ignored, int(labels.max(initial=0)), len(self.category_of)), ignored, np.uint8)
        table[: len(self.category_of)] = self.category_of
        return np.take(table, labels)

    def _weights(self, truth: NDArray[np.integer], instances: NDArray[np.integer], ignored: int) -> NDArray[np.float64]:
        """Of each pixel (H, W): an instance's pixels weigh together as much as a mean instance of its class."""
        weights = np.zeros(truth.shape)
        counts = (instances > FIRST_INSTANCE) & (truth != ignored)
        sizes = np.bincount(instances.ravel())
        weights[counts] = self.mean_pixels[truth[counts]] / sizes[instances[counts]]
        return weights


def _weighted_areas(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], weights: NDArray[np.float64], labels: int, ignored: int
) -> NDArray[np.float64]:
    """(3, labels): weighted pixels that agree, those and all wrong ones unweighted, weighted pixels of the truth."""
    counts = truth != ignored
    agrees = counts & (predicted == truth)
    common, true = (np.bincount(truth[part], weights[part], minlength=labels)[:labels] for part in (agrees, counts))
    unweighted = areas_of_image(predicted, truth, labels, ignored)
    return np.stack([common, common + unweighted[PREDICTED] - unweighted[COMMON], true])
