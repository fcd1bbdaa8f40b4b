"""Segmentors of mmsegmentation: what is counted and timed, and a random batch to train on."""

from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from experiments.spec.run import Run
from experiments.tasks.task import LevelReader


def run_every_layer(segmentor: nn.Module, image: Tensor) -> None:
    """Run the backbone, the neck and the decode heads, all stages and queries of them.

    Parameters
    ----------
    segmentor : nn.Module
        An mmseg segmentor.
    image : Tensor
        (N, 3, H, W).
    """
    size = tuple(image.shape[2:])
    metas = [{"img_shape": size, "ori_shape": size, "pad_shape": size, "batch_input_shape": size} for _ in image]
    segmentor.encode_decode(image, metas)


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
    """The decode heads that say the strides of the levels that they read.

    Parameters
    ----------
    segmentor : nn.Module
        An mmseg segmentor.
    """
    strides = {tuple(head.feature_strides): None for head in _heads(segmentor) if hasattr(head, "feature_strides")}
    return [LevelReader("decode_head", list(of_head), reads_all=False) for of_head in strides]


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
    random, classes = torch.Generator().manual_seed(0), _heads(segmentor)[0].num_classes
    images = torch.randint(0, 256, (run.batch_size, 3, height, width), dtype=torch.uint8, generator=random)
    maps = torch.randint(0, classes, (run.batch_size, 1, height, width), generator=random)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo={"img_shape": (height, width), "ori_shape": (height, width)})
        for labels in maps.to(device)
    ]
    return {"inputs": list(images.to(device)), "data_samples": samples}


def _heads(segmentor: nn.Module) -> list[nn.Module]:
    head = segmentor.decode_head
    return list(head) if isinstance(head, nn.ModuleList) else [head]
