"""What a neck, or a part of one, may offer beside its levels."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class HasAuxiliaryLosses(Protocol):
    """A module with loss terms of its own; `necks.auxiliary_loss_hook.AuxiliaryLossHook` adds them to the model's."""

    def auxiliary_losses(self) -> dict[str, Tensor]:
        """Name of each term to its value, a scalar that depends on the parameters alone."""


@runtime_checkable
class HasReplacedLayers(Protocol):
    """A module that computes some of a paper's 1x1 convolutions in another form, which counters of layers do not see."""

    def replaced_layers(self) -> list[nn.Module]:
        """The layers; each counts once for every location of the module's first input."""
