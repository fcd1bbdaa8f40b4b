"""No pyramid: the backbone's highest level alone, for models that read one map."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class HighestLevel(BaseModule):
    """The backbone's highest level as it is, what classifiers read (ResNet, arXiv 1512.03385).

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of the last of them.
    num_outs : int
        1.
    init_cfg : dict, optional
        mmengine's initialisation; there is nothing to initialise.

    Raises
    ------
    ValueError
        If the widths or the number of outputs are others.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, num_outs: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if num_outs != 1:
            raise ValueError(f"HighestLevel: num_outs is {num_outs}; allowed: 1")
        if out_channels != in_channels[-1]:
            raise ValueError(f"HighestLevel: out_channels is {out_channels}; allowed: {in_channels[-1]}, as the level has")
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The last of the levels (N, C_i, H_i, W_i)."""
        return (inputs[-1],)
