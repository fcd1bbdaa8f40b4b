"""A²-FPN as its equations read: every product where the paper writes it, reassembly by unfolding; slow and large."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from necks.a2fpn import A2FPN
from necks.layers.fusion import ChannelAttention, GlobalAttentionCap, GlobalAttentionCarafe
from necks.layers.global_context import ContextCollector, ContextDistributor, ContextGraph


def literal_forward(neck: A2FPN, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What the full A²-FPN gives for levels (N, C_i, H_i, W_i)."""
    laterals = [*_multi_level_global_context(neck.context, inputs), neck.extra_conv(inputs[-1])]
    merged = [laterals[-1]]
    for fusion, lateral in zip(reversed(neck.top_down_fusions), reversed(laterals[:-1]), strict=True):
        merged.append(_gacarafe(fusion, merged[-1], lateral))
    levels = [conv(level) for conv, level in zip(neck.fpn_convs, reversed(merged), strict=True)]
    merged = [levels[0]]
    for fusion, level in zip(neck.bottom_up_fusions, levels[1:], strict=True):
        merged.append(_gacap(fusion, merged[-1], level))
    return tuple(conv(level) for conv, level in zip(neck.pafpn_convs, merged, strict=True))


def _multi_level_global_context(context, inputs: Sequence[Tensor]) -> list[Tensor]:
    collected = [
        _graph(graph, _collect(collector, features))
        for graph, collector, features in zip(context.level_graphs, context.collectors, inputs, strict=True)
    ]
    contexts = _graph(context.global_graph, torch.cat(collected, dim=2))
    return [
        _distribute(distributor, features, contexts) for distributor, features in zip(context.distributors, inputs, strict=True)
    ]


def _collect(collector: ContextCollector, features: Tensor) -> Tensor:
    scale = features.shape[1] ** 0.5
    weights = (scale * collector.entities(F.normalize(features, dim=1))).flatten(2).softmax(dim=-1)
    return collector.embedding(features).flatten(2) @ weights.transpose(1, 2)


def _graph(graph: ContextGraph, contexts: Tensor) -> Tensor:
    return graph.value(contexts) @ _cosine_attention(graph.query(contexts), graph.key(contexts)) + contexts


def _cosine_attention(query: Tensor, key: Tensor) -> Tensor:
    scale = query.shape[1] ** 0.5
    return (scale * query.transpose(1, 2) @ F.normalize(key, dim=1)).softmax(dim=-1).transpose(1, 2)


def _distribute(distributor: ContextDistributor, features: Tensor, contexts: Tensor) -> Tensor:
    attention = _cosine_attention(distributor.query(features).flatten(2), contexts)
    mixture = (contexts @ attention).unflatten(2, features.shape[2:])
    return distributor.output(mixture) + distributor.lateral(features)


def _gacarafe(fusion: GlobalAttentionCarafe, upper: Tensor, level: Tensor) -> Tensor:
    both = torch.cat([upper, F.max_pool2d(level, 2, ceil_mode=True)], dim=1)
    kernels = F.pixel_shuffle(fusion.kernels.layers(both), 2).softmax(dim=1)
    batch, channels, height, width = upper.shape
    patches = F.unfold(upper, 5, padding=2).view(batch, channels, 25, height, width)
    patches = patches.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    upsampled = torch.einsum("ncthw,nthw->nchw", patches, kernels)[..., : level.shape[2], : level.shape[3]]
    upper_scale, level_scale = _channel_attention(fusion.attention, both)
    return upper_scale * upsampled + level_scale * level


def _gacap(fusion: GlobalAttentionCap, lower: Tensor, level: Tensor) -> Tensor:
    enlarged = F.interpolate(level, size=lower.shape[2:], mode="bilinear", align_corners=False)
    both = torch.cat([lower, enlarged], dim=1)
    kernels = fusion.kernels.layers(both).softmax(dim=1)
    batch, channels, height, width = level.shape
    patches = F.unfold(lower, 5, padding=2, stride=2).view(batch, channels, 25, height, width)
    downsampled = torch.einsum("ncthw,nthw->nchw", patches, kernels)
    lower_scale, level_scale = _channel_attention(fusion.attention, both)
    return lower_scale * downsampled + level_scale * level


def _channel_attention(attention: ChannelAttention, both: Tensor) -> tuple[Tensor, Tensor]:
    weights = attention.mask(both).flatten(2).softmax(dim=-1)
    summary = (both.flatten(2) @ weights.transpose(1, 2)).flatten(1)
    hidden = F.relu(attention.norm(attention.squeeze(summary)))
    scales = attention.gain * attention.excite(hidden).sigmoid()
    return tuple(scales[:, :, None, None].chunk(2, dim=1))
