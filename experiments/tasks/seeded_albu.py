"""Transforms of albumentations, in the order of this project's seeds."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from mmdet.datasets.transforms import Albu
from mmdet.registry import TRANSFORMS

from experiments.errors import UserError

LARGEST_SEED = 2**31


@TRANSFORMS.register_module()
class SeededAlbu(Albu):
    """mmdetection's `Albu`, whose transforms draw from numpy's generator.

    albumentations has generators of its own, which nothing seeds, so that two trainings of one seed would see other images, and
    one that was resumed too.

    Parameters
    ----------
    **options
        As for `Albu`.

    Raises
    ------
    UserError
        If albumentations is not installed.
    """

    def __init__(self, **options: Any) -> None:
        if find_spec("albumentations") is None:
            raise UserError(
                "a schedule asks for albumentations, which is not installed: python -m pip install -r envs/augmentations.txt"
            )
        super().__init__(**options)

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Transform an image and its boxes; None if no box is left.

        Parameters
        ----------
        results : dict
            Of a pipeline, with an image and boxes.
        """
        self.aug.set_random_seed(int(np.random.randint(LARGEST_SEED)))
        transformed: dict[str, Any] | None = super().transform(results)
        return transformed
