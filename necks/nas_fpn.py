"""mmdetection's NAS-FPN for models that read fewer levels than its cells make."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.necks import NASFPN
from mmengine.registry import MODELS
from torch import Tensor

LEVELS = 5


@MODELS.register_module()
class FinestNASFPN(NASFPN):
    """The finest levels of NAS-FPN (arXiv 1904.07392), whose merging cells are made for five; nothing of them is left out.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first; two to five of them.
    out_channels : int
        Channels of every output.
    num_outs : int
        Number of outputs, at most five.
    stack_times : int
        How many times the cells follow each other.
    **options
        Those of mmdetection's `NASFPN`.

    Raises
    ------
    ValueError
        If `num_outs` is none of its levels' numbers.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, num_outs: int, stack_times: int, **options: Any) -> None:
        if not 1 <= num_outs <= LEVELS:
            raise ValueError(f"FinestNASFPN: num_outs is {num_outs}; allowed: 1 to {LEVELS}")
        super().__init__(list(in_channels), out_channels, LEVELS, stack_times, **options)
        self.num_outs = num_outs

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The finest of the five levels, (N, out_channels, H_i, W_i), from the backbone's (N, C_i, H_i, W_i)."""
        return tuple(super().forward(tuple(inputs))[: self.num_outs])
