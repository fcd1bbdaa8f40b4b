"""Detectors with a semantic head: what is counted and timed, and a random batch to train on."""

from typing import Any

import torch
from mmengine.structures import PixelData
from torch import Tensor, nn

from experiments.spec.run import Run
from experiments.tasks.costs import detector


def run_every_layer(model: nn.Module, image: Tensor) -> None:
    """Run the backbone, the neck and all heads, on as many RoIs as the test settings allow.

    Parameters
    ----------
    model : nn.Module
        An mmdet panoptic model of two stages.
    image : Tensor
        (1, 3, H, W).
    """
    levels = model.extract_feat(image)
    detector.run_heads(model, levels, image)
    model.semantic_head(levels)


def predict(model: nn.Module, image: Tensor) -> None:
    """Run the detector and the semantic head once, up to a label for each pixel.

    Parameters
    ----------
    model : nn.Module
        An mmdet panoptic model of two stages.
    image : Tensor
        (1, 3, H, W).
    """
    levels = model.extract_feat(image)
    detector.predict_from(model, levels, image)
    height, width = image.shape[2:]
    metas = [{"img_shape": (height, width), "batch_input_shape": (height, width), "ori_shape": (height, width)}]
    model.semantic_head.predict(levels, metas, rescale=False)[0].argmax(dim=0)


def random_batch(run: Run, model: nn.Module, device: str) -> dict[str, Any]:
    """Random images with objects, and with a random label for each pixel.

    Parameters
    ----------
    run : Run
        The run that gives the size of the batch and of its images.
    model : nn.Module
        The model to be trained.
    device : str
        Device of the tensors.
    """
    batch = detector.random_batch(run, model, device)
    generator = torch.Generator().manual_seed(0)
    for sample in batch["data_samples"]:
        labels = torch.randint(0, model.num_classes, (1, *run.scale.complexity_image), generator=generator)
        sample.gt_sem_seg = PixelData(sem_seg=labels.to(device))
    return batch
