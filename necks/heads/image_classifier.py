"""An image classifier: backbone, neck, and one linear layer over the mean of the highest level."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A label for each image, by cross-entropy (ResNet, arXiv 1512.03385).

    Parameters
    ----------
    backbone : dict
        Config of the backbone.
    neck : dict
        Config of the neck, from whose highest level the mean is taken.
    num_classes : int
        Number of classes.
    in_channels : int
        Channels of the backbone's highest level.
    label_smoothing : float
        Share of the probability that is spread over all classes (arXiv 1512.00567).
    mixup : float
        Parameter of the beta distribution from which images are mixed in training (arXiv 1710.09412); 0 mixes none.
    plain_epochs : int
        Epochs at the end without mixing.
    data_preprocessor : dict, optional
        Config of mmengine's preprocessor of images.
    init_cfg : dict, optional
        mmengine's initialisation.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        num_classes: int,
        in_channels: int,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        plain_epochs: int = 0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = nn.Linear(in_channels, num_classes)
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.plain_epochs = plain_epochs
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.head.out_features

    def extract_feat(self, images: Tensor) -> tuple[Tensor, ...]:
        """The levels (N, C_i, H_i, W_i) of backbone and neck of images (N, 3, H, W)."""
        return tuple(self.neck(tuple(self.backbone(images))))

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W)."""
        return self.head(self.extract_feat(images)[-1].mean(dim=(2, 3)))

    def forward(self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None, mode: str = "tensor") -> Any:
        """Losses in training, samples with ``scores`` (classes,) when predicting, else logits.

        Parameters
        ----------
        inputs : Tensor
            (N, 3, H, W).
        data_samples : sequence of BaseDataElement
            Each with ``label``, a tensor of one number.
        mode : {'loss', 'predict', 'tensor'}
            mmengine's.
        """
        if mode == "loss":
            return self._loss(inputs, torch.stack([sample.label for sample in data_samples or ()]))
        logits = self.logits(inputs)
        if mode == "tensor":
            return logits
        for sample, scores in zip(data_samples or (), logits.float().softmax(dim=1), strict=True):
            sample.scores = scores
        return data_samples

    def _loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        targets = F.one_hot(labels, self.num_classes).float()
        if self.mixup and not self._is_plain_now():
            share = torch.distributions.Beta(self.mixup, self.mixup).sample().to(images.device)
            order = torch.randperm(len(images), device=images.device)
            images = share * images + (1 - share) * images[order]
            targets = share * targets + (1 - share) * targets[order]
        logits = self.logits(images).float()
        return {"loss_label": F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)}

    def _is_plain_now(self) -> bool:
        hub = MessageHub.get_current_instance()
        return hub.get_info("epoch", 0) >= hub.get_info("max_epochs", math.inf) - self.plain_epochs
