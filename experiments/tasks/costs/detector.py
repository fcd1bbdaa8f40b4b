"""Detectors of one or two stages and cascades: what is counted and timed, and a random batch to train on."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import HTCMaskHead
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from torch import Tensor, nn

from experiments.spec.run import Run
from experiments.tasks.task import LevelReader

# COCO has 7.3 objects per image.
OBJECTS_PER_IMAGE = 7


def run_every_layer(detector: nn.Module, image: Tensor) -> None:
    """Run the backbone, the neck and all heads, on as many RoIs as the test settings allow.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector.
    image : Tensor
        (1, 3, H, W). Pooled regions are empty tensors, so that it works on the meta device.
    """
    run_heads(detector, detector.extract_feat(image), image)


def run_heads(detector: nn.Module, levels: Sequence[Tensor], image: Tensor) -> None:
    """Run all heads, on as many RoIs as the test settings allow.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector.
    levels : sequence of Tensor
        Output of its neck.
    image : Tensor
        (1, 3, H, W).
    """
    if hasattr(detector, "panoptic_head"):
        detector.panoptic_head(levels, _samples_of(image))
        return
    dense_head(detector)(levels)
    if getattr(getattr(detector, "roi_head", None), "with_semantic", False):
        detector.roi_head.semantic_head(levels)
    features = None
    for extractor, head, count in roi_heads(detector):
        regions = image.new_empty(count, levels[0].shape[1], *extractor.roi_layers[0].output_size)
        if isinstance(head, HTCMaskHead):
            # Each stage also reads the features of the stage before.
            _, features = head(regions, features)
        else:
            head(regions)
    if hasattr(getattr(detector, "roi_head", None), "point_head"):
        _run_point_head(detector, image)


def _run_point_head(detector: nn.Module, image: Tensor) -> None:
    """Refine as many masks as the test settings allow, at all of their subdivisions."""
    head, settings = detector.roi_head.point_head, detector.test_cfg.rcnn
    side, points = detector.train_cfg.rcnn.mask_size, 0
    for step in range(settings.subdivision_steps):
        side *= settings.scale_factor
        is_last = step == settings.subdivision_steps - 1
        if is_last or settings.subdivision_num_points < settings.scale_factor**2 * side**2:
            points += min(side**2, settings.subdivision_num_points)
    fine = image.new_empty(settings.max_per_img, head.in_channels, points)
    head(fine, image.new_empty(settings.max_per_img, head.num_classes, points))


def _samples_of(image: Tensor) -> list[DetDataSample]:
    size = tuple(image.shape[2:])
    return [DetDataSample(metainfo={"img_shape": size, "ori_shape": size, "batch_input_shape": size}) for _ in image]


def predict(detector: nn.Module, image: Tensor) -> None:
    """Run the whole detector once, with proposals and RoI pooling.

    Random weights would detect nothing and skip the heads' work. So the RoI heads get as many RoIs as the test settings allow,
    taken from a sequence that is the same for every detector.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector.
    image : Tensor
        (1, 3, H, W).
    """
    predict_from(detector, detector.extract_feat(image), image)


def predict_from(detector: nn.Module, levels: Sequence[Tensor], image: Tensor) -> None:
    """Run all that comes after the neck; see `predict`.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector.
    levels : sequence of Tensor
        Output of its neck.
    image : Tensor
        (1, 3, H, W).
    """
    if hasattr(detector, "panoptic_head"):
        detector.panoptic_head.predict(levels, _samples_of(image))
        return
    height, width = image.shape[2:]
    metas = [{"img_shape": (height, width), "scale_factor": (1.0, 1.0)}]
    head = dense_head(detector)
    head.predict_by_feat(*head(levels), batch_img_metas=metas)
    for extractor, roi_head, count in roi_heads(detector):
        roi_head(extractor(levels[: extractor.num_inputs], _random_regions(count, height, width).to(image.device)))


@cache
def _random_regions(count: int, height: int, width: int) -> Tensor:
    """Image index and corners of boxes, (count, 5), log-uniform in size from 1/40 to 1/2 of the image."""
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    share = torch.exp(-3.7 + 3.0 * draws[:, :1])
    centre = draws[:, 1:] * (1 - share) + share / 2
    corners = torch.cat([centre - share / 2, centre + share / 2], dim=1) * torch.tensor([width, height, width, height])
    return torch.cat([torch.zeros(count, 1), corners], dim=1)


def random_batch(run: Run, detector: nn.Module, device: str) -> dict[str, Any]:
    """Random images with boxes, and with the masks and the map of stuff and things that the detector learns from.

    Parameters
    ----------
    run : Run
        The run that gives the size of the batch and of its images.
    detector : nn.Module
        The detector to be trained.
    device : str
        Device of the tensors.
    """
    batch: dict[str, Any] = demo_mm_inputs(
        run.batch_size,
        [(3, *run.scale.complexity_image)] * run.batch_size,
        num_items=[OBJECTS_PER_IMAGE] * run.batch_size,
        num_classes=len(run.scale.classes),
        sem_seg_output_strides=8,
        with_mask=run.scale.detectors[run.setting.detector].masks,
        with_semantic=bool(getattr(getattr(detector, "roi_head", None), "with_semantic", False)),
        device=device,
    )
    return batch


def level_readers(detector: nn.Module) -> list[LevelReader]:
    """The dense head with its anchors or points, and the RoI extractors with the strides of their maps.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector. Heads without a generator of priors, as those of transformers, are left out.
    """
    if hasattr(detector, "panoptic_head"):
        return []
    head = "rpn_head" if hasattr(detector, "roi_head") else "bbox_head"
    priors = getattr(getattr(detector, head, None), "prior_generator", None)
    readers = [LevelReader(head, [_larger(stride) for stride in priors.strides], reads_all=True)] if priors else []
    extractors = {tuple(extractor.featmap_strides): None for extractor, _, _ in roi_heads(detector)}
    return [*readers, *(LevelReader("the RoI extractor", list(strides), reads_all=False) for strides in extractors)]


def _larger(stride: int | tuple[int, int]) -> int:
    return stride if isinstance(stride, int) else max(stride)


def dense_head(detector: nn.Module) -> nn.Module:
    """The dense head: the only head of a one-stage detector, the RPN head of others.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector.
    """
    return detector.rpn_head if hasattr(detector, "roi_head") else detector.bbox_head


def roi_heads(detector: nn.Module) -> list[tuple[nn.Module, nn.Module, int]]:
    """RoI extractor, RoI head and number of RoIs at test time, for every RoI head of every stage.

    Parameters
    ----------
    detector : nn.Module
        An mmdet detector.
    """
    if not hasattr(detector, "roi_head"):
        return []
    roi_head, test_cfg = detector.roi_head, detector.test_cfg
    pairs = [(roi_head.bbox_roi_extractor, roi_head.bbox_head, test_cfg.rpn.max_per_img)]
    if roi_head.with_mask:
        pairs.append((roi_head.mask_roi_extractor, roi_head.mask_head, test_cfg.rcnn.max_per_img))
    return [
        (extractor, head, count)
        for extractors, heads, count in pairs
        for extractor, head in zip(_stages(extractors), _stages(heads), strict=True)
    ]


def _stages(module: nn.Module) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.ModuleList) else [module]
