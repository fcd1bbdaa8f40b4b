"""Segmentors with an encoder and a decode head: what is counted and timed, and a random batch to train on."""

from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from experiments.spec.run import Run
from experiments.tasks.task import LevelReader


def run_every_layer(segmentor: nn.Module, image: Tensor) -> None:
    """Run the backbone, the neck and the decode head.

    Parameters
    ----------
    segmentor : nn.Module
        An mmseg segmentor.
    image : Tensor
        (1, 3, H, W).
    """
    segmentor.decode_head(segmentor.extract_feat(image))


def predict(segmentor: nn.Module, image: Tensor) -> None:
    """Label every pixel of an image.

    Parameters
    ----------
    segmentor : nn.Module
        An mmseg segmentor.
    image : Tensor
        (1, 3, H, W).
    """
    segmentor.predict(image)


def level_readers(segmentor: nn.Module) -> list[LevelReader]:
    """The decode head, where it says the strides of the levels that it reads.

    Parameters
    ----------
    segmentor : nn.Module
        An mmseg segmentor.
    """
    strides = getattr(segmentor.decode_head, "feature_strides", None)
    return [LevelReader("decode_head", list(strides), reads_all=False)] if strides else []


def random_batch(run: Run, segmentor: nn.Module, device: str) -> dict[str, Any]:
    """Random images with random label maps.

    Parameters
    ----------
    run : Run
        The run that gives the size of the batch and of its images.
    segmentor : nn.Module
        The segmentor to be trained.
    device : str
        Device of the tensors.
    """
    height, width = run.scale.complexity_image
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (run.batch_size, 3, height, width), dtype=torch.uint8, generator=random)
    maps = torch.randint(0, segmentor.decode_head.num_classes, (run.batch_size, 1, height, width), generator=random)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo={"img_shape": (height, width), "ori_shape": (height, width)})
        for labels in maps.to(device)
    ]
    return {"inputs": list(images.to(device)), "data_samples": samples}
