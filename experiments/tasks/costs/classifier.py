"""Image classifiers: a random batch to train on."""

from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import nn

from experiments.spec.run import Run


def random_batch(run: Run, classifier: nn.Module, device: str) -> dict[str, Any]:
    """Random images with random labels.

    Parameters
    ----------
    run : Run
        The run that gives the size of the batch and of its images.
    classifier : nn.Module
        The classifier to be trained.
    device : str
        Device of the tensors.
    """
    random = torch.Generator().manual_seed(0)
    size = (run.batch_size, 3, *run.scale.complexity_image)
    images = torch.randint(0, 256, size, dtype=torch.uint8, generator=random)
    labels = torch.randint(0, classifier.num_classes, (run.batch_size,), generator=random)
    return {"inputs": list(images.to(device)), "data_samples": [BaseDataElement(label=label) for label in labels.to(device)]}
