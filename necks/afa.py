"""MSSA and MSCA: a pyramid with one transformer block per level whose keys and values are pooled maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from necks.layers.levels import append_pooled_levels, top_down, upsample_like
from necks.layers.options import check_choice, check_num_outs

MODES = ("self", "cross")
TWO_SCALE = "two_scale"


@MODELS.register_module()
class AFA(BaseModule):
    """Attention-based Feature Aggregation: MSSA, MSCA and their adaptive forms (OpenReview PZoy8i_Dp6).

    | paper | mode | pool |
    |---|---|---|
    | MSSA, MSCA | 'self', 'cross' | 'two_scale' |
    | MSSA-Adp, MSCA-Adp | 'self', 'cross' | [7] |
    | MSSA-AdpMS, MSCA-AdpMS | 'self', 'cross' | [7, 14] |

    A level's transformer block stands in the place of FPN's 3x3 convolution; what it gives is the output and the source
    of the level below.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of every output, a multiple of `heads`.
    num_outs : int
        Number of outputs, at least the number of inputs; levels above them are subsampled from the highest output.
    mode : {'self', 'cross'}
        'self': each level attends to itself after the sum with the level above. 'cross': the enlarged level above attends
        to the lateral, and the result is added to the lateral.
    pool : 'two_scale' or list of int
        How keys and values are pooled: to two fixed strides, the highest level's 2 and 1 and twice as much at each level
        below, or to square grids of these sizes.
    heads : int
        Number of attention heads.
    mlp_ratio : float
        Hidden width of a block's second half in units of `out_channels`.
    use_dwconv : bool
        Whether the hidden layer has a depthwise 3x3 convolution.
    pool_norm : bool
        Whether pooled maps are normalised again.
    init_cfg : list of dict, optional
        mmengine's initialisation; by default Xavier (uniform) for convolutions, truncated normal for linear layers.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed, the widths do not fit, or a level is too small for its pooling.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        mode: str = "self",
        pool: str | Sequence[int] = TWO_SCALE,
        heads: int = 4,
        mlp_ratio: float = 2,
        use_dwconv: bool = True,
        pool_norm: bool = True,
        init_cfg: list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [
                {"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"},
                {"type": "TruncNormal", "layer": "Linear", "std": 0.02},
            ]
        )
        check_choice("AFA", "mode", mode, MODES)
        check_num_outs("AFA", num_outs, len(in_channels))
        if pool != TWO_SCALE and not (isinstance(pool, Sequence) and pool and all(isinstance(grid, int) for grid in pool)):
            raise ValueError(f"AFA: pool is {pool!r}; allowed: {TWO_SCALE!r}, or a list of grid sizes such as [7] or [7, 14]")
        if out_channels % heads:
            raise ValueError(f"AFA: out_channels is {out_channels}; it must be a multiple of heads, {heads}")
        self.in_channels = list(in_channels)
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.mode = mode
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                out_channels,
                heads,
                MapPool(2 ** (len(in_channels) - level), pool),
                cross=mode == "cross",
                mlp_ratio=mlp_ratio,
                use_dwconv=use_dwconv,
                pool_norm=pool_norm,
            )
            for level in range(len(in_channels))
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's levels (N, C_i, H_i, W_i) to `num_outs` levels (N, C_out, H, W), finest first."""
        laterals = [conv(features) for conv, features in zip(self.lateral_convs, inputs, strict=True)]
        top = self.blocks[-1](laterals[-1], laterals[-1])
        outputs = top_down([*laterals[:-1], top], self.blocks[:-1], self._merge)
        return append_pooled_levels(outputs, self.num_outs)

    def _merge(self, block: nn.Module, upper: Tensor, lateral: Tensor) -> Tensor:
        upper = upsample_like(upper, lateral)
        return block(lateral + upper, None) if self.mode == "self" else lateral + block(upper, lateral)


class TransformerBlock(nn.Module):
    """Attention to a pooled map and a convolutional perceptron, each after a normalisation and added to its input.

    Parameters
    ----------
    channels, heads : int
        Width and heads of the attention.
    pool : MapPool
        Pooling of the keys and values.
    cross : bool
        Whether keys and values come from another map, which then has a normalisation of its own.
    mlp_ratio, use_dwconv, pool_norm
        Options of `AFA`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        pool: "MapPool",
        cross: bool,
        mlp_ratio: float,
        use_dwconv: bool,
        pool_norm: bool,
    ) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(channels)
        self.source_norm = nn.LayerNorm(channels) if cross else None
        self.attention = PooledAttention(channels, heads, pool, pool_norm)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = ConvolutionalMLP(channels, int(mlp_ratio * channels), use_dwconv)

    def forward(self, features: Tensor, source: Tensor | None) -> Tensor:
        """Process a map (N, C, H, W) that attends to a source of the same shape; without cross-attention, to itself."""
        tokens = features.permute(0, 2, 3, 1)
        queries = self.query_norm(tokens)
        keys = queries
        if self.source_norm is not None and source is not None:
            keys = self.source_norm(source.permute(0, 2, 3, 1))
        tokens = tokens + self.attention(queries, keys)
        tokens = tokens + self.mlp(self.mlp_norm(tokens))
        return tokens.permute(0, 3, 1, 2)


class PooledAttention(nn.Module):
    """Multi-head attention of every location to the pooled locations of a map.

    Parameters
    ----------
    channels, heads : int
        Width and number of heads.
    pool : MapPool
        Pooling of the keys and values.
    pool_norm : bool
        Whether the pooled vectors are normalised.
    """

    def __init__(self, channels: int, heads: int, pool: "MapPool", pool_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.pool_norm = nn.LayerNorm(channels) if pool_norm else nn.Identity()
        self.output = nn.Linear(channels, channels)

    def forward(self, queries: Tensor, source: Tensor) -> Tensor:
        """Attend from (N, H, W, C) to (N, H, W, C)."""
        pooled = self.pool_norm(self.pool(source.permute(0, 3, 1, 2)))
        key, value = self.key_value(pooled).chunk(2, dim=-1)
        query = self.query(queries).flatten(1, 2)
        mixed = F.scaled_dot_product_attention(*(self._split_heads(tokens) for tokens in (query, key, value)))
        return self.output(mixed.transpose(1, 2).reshape(queries.shape))

    def _split_heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MapPool(nn.Module):
    """Averages of a map over one or two grids, as a list of vectors.

    Parameters
    ----------
    stride : int
        Cell of the coarser fixed grid; the finer one has half of it.
    pool : 'two_scale' or list of int
        Fixed cells, or square grids of these sizes.
    """

    def __init__(self, stride: int, pool: str | Sequence[int]) -> None:
        super().__init__()
        self.stride = stride
        self.grids = None if pool == TWO_SCALE else list(pool)

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, cells, C); rows and columns beyond a multiple of the fixed stride are left out.

        Raises
        ------
        ValueError
            If the map is smaller than one cell.
        """
        if self.grids:
            pooled = [F.adaptive_avg_pool2d(features, grid) for grid in self.grids]
        else:
            if min(features.shape[2:]) < self.stride:
                height, width = features.shape[2:]
                raise ValueError(
                    f"AFA: a level of {height} x {width} is too small for pooling by {self.stride} x {self.stride};"
                    " use a larger image or pool: [7]"
                )
            pooled = [F.avg_pool2d(features, self.stride), F.avg_pool2d(features, self.stride // 2)]
        return torch.cat([cells.flatten(2) for cells in pooled], dim=2).transpose(1, 2)


class ConvolutionalMLP(nn.Module):
    """Two linear layers with a depthwise 3x3 convolution between them, as in PVTv2.

    Parameters
    ----------
    channels, hidden : int
        Widths.
    use_dwconv : bool
        Whether the convolution exists.
    """

    def __init__(self, channels: int, hidden: int, use_dwconv: bool) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden)
        self.depthwise_conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden) if use_dwconv else nn.Identity()
        self.reduce = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Process (N, H, W, C)."""
        hidden = self.depthwise_conv(self.expand(tokens).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.reduce(F.gelu(hidden))
