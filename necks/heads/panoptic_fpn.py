"""PanopticFPN (arXiv 1901.02446) as Detectron2 tests it: confident instances are laid over stuff, all have their boxes."""

from typing import Any

import torch
from mmdet.models.detectors import PanopticFPN
from mmdet.models.seg_heads import HeuristicFusionHead
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import Tensor


@MODELS.register_module()
class ConfidentFusionHead(HeuristicFusionHead):
    """mmdetection's fusion of instances and stuff, of confident instances alone.

    mmdetection tests its detector with a high threshold instead, and so has no boxes for average precision.

    Parameters
    ----------
    least_score : float
        Score that an instance needs to be laid over stuff; Detectron2's ``INSTANCES_CONFIDENCE_THRESH``.
    """

    def __init__(self, least_score: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.least_score = least_score

    def predict(self, mask_results_list: list[InstanceData], seg_preds_list: list[Tensor], **options: Any) -> list[PixelData]:
        """Fuse, and remember what was fused.

        Parameters
        ----------
        mask_results_list : list of InstanceData
            Instances of each image, in its own size.
        seg_preds_list : list of Tensor
            (stuff + 1, H, W) logits of each image.
        """
        self.parts = [
            (instances, PixelData(sem_seg=logits.argmax(dim=0, keepdim=True).to(torch.uint8)))
            for instances, logits in zip(mask_results_list, seg_preds_list, strict=True)
        ]
        confident = [instances[instances.scores >= self.least_score] for instances in mask_results_list]
        fused: list[PixelData] = super().predict(confident, seg_preds_list, **options)
        return fused


@MODELS.register_module()
class PanopticFPNWithParts(PanopticFPN):
    """mmdetection's PanopticFPN, whose samples also keep the instances and the labels that were fused."""

    def add_pred_to_datasample(self, data_samples: list[Any], results_list: list[PixelData]) -> list[Any]:
        """Add ``pred_panoptic_seg``, ``pred_instances`` and ``pred_sem_seg``.

        Parameters
        ----------
        data_samples : list of DetDataSample
            The images.
        results_list : list of PixelData
            Their fused segments.
        """
        samples: list[Any] = super().add_pred_to_datasample(data_samples, results_list)
        for sample, (instances, labels) in zip(samples, self.panoptic_fusion_head.parts, strict=True):
            sample.pred_instances, sample.pred_sem_seg = instances, labels
        return samples
