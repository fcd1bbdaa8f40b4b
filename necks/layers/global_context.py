"""Multi-level Global Context, the attention-aggregating lateral connection of A²-FPN."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from necks.layers.attention import cosine_attention, l2_normalize
from necks.layers.fused_conv1x1 import fused_conv1x1


class ContextCollector(nn.Module):
    """Gather `num_contexts` vectors from one level: attention pooling with one spatial map per semantic entity.

    Parameters
    ----------
    in_channels : int
        Channels of the level, c_i.
    channels : int
        Channels of a context vector, c.
    num_contexts : int
        Number of context vectors, n_i.
    """

    def __init__(self, in_channels: int, channels: int, num_contexts: int) -> None:
        super().__init__()
        self.entities = nn.Conv2d(in_channels, num_contexts, 1)
        self.embedding = nn.Conv2d(in_channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C_i, H, W) to context vectors (N, C, n_i).

        The embedding is linear and the weights of an entity sum to 1, so that the pooled locations are embedded, not all.
        """
        locations = features.flatten(2).transpose(1, 2)
        entities = self.entities.weight.flatten(1).expand(len(features), -1, -1)
        pooled = cosine_attention(entities, l2_normalize(features).flatten(2).transpose(1, 2), locations)
        contexts = F.linear(pooled, self.embedding.weight.flatten(1), self.embedding.bias)
        # The entity bias is constant over locations, so the softmax cancels it. It stays in the graph, because distributed
        # training waits for the gradient of every parameter.
        return contexts.transpose(1, 2) + (0 * self.entities.bias).to(contexts.dtype)

    def replaced_layers(self) -> list[nn.Module]:
        """The paper's 1x1 convolutions of the level that are computed in another form here."""
        return [self.entities, self.embedding]


class ContextGraph(nn.Module):
    """Let context vectors exchange information: the GCN of A²-FPN, a residual attention with bottlenecked similarity.

    Parameters
    ----------
    channels : int
        Channels of a context vector, c; the similarity is computed on c / 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv1d(channels, channels // 4, 1)
        self.key = nn.Conv1d(channels, channels // 4, 1)
        self.value = nn.Conv1d(channels, channels, 1)

    def forward(self, contexts: Tensor) -> Tensor:
        """Map (N, C, n) to the same shape."""
        query, key, value = (layer(contexts).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return cosine_attention(query, l2_normalize(key.transpose(1, 2)).transpose(1, 2), value).transpose(1, 2) + contexts


class ContextDistributor(nn.Module):
    """Give every location of one level the mixture of context vectors that it asks for, added to its plain lateral map.

    Parameters
    ----------
    in_channels : int
        Channels of the level, c_i.
    channels : int
        Channels of a context vector, c.
    out_channels : int
        Channels of the pyramid.
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(in_channels, channels, 1)
        self.lateral = nn.Conv2d(in_channels, out_channels, 1)
        self.output = nn.Conv2d(channels, out_channels, 1)

    def forward(self, features: Tensor, contexts: Tensor) -> Tensor:
        """Map (N, C_i, H, W) and contexts (N, C, n) to (N, C_out, H, W)."""
        query, lateral = fused_conv1x1(features, [self.query, self.lateral])
        key, value = l2_normalize(contexts).transpose(1, 2).contiguous(), contexts.transpose(1, 2).contiguous()
        early = self._projects_contexts(contexts.shape[2])
        if early:
            # The bias commutes too, because the weights of the contexts sum to 1 at every location.
            value = F.linear(value, self.output.weight.flatten(1), self.output.bias)
        mixture = cosine_attention(query.flatten(2).transpose(1, 2), key, value)
        mixture = mixture.transpose(1, 2).unflatten(2, features.shape[2:])
        return lateral + (mixture if early else F.conv2d(mixture, self.output.weight, self.output.bias))

    def _projects_contexts(self, num_contexts: int) -> bool:
        """Whether projecting the contexts costs less for each location than projecting its mixture of them."""
        out_channels, channels = self.output.weight.shape[:2]
        return num_contexts * out_channels <= num_contexts * channels + channels * out_channels

    def replaced_layers(self) -> list[nn.Module]:
        """The paper's 1x1 convolutions of the level that are computed in another form here."""
        return [self.query, self.lateral, self.output]


class MultiLevelGlobalContext(BaseModule):
    """MGC: context vectors collected from all levels, related to each other, and distributed back to each level.

    Parameters
    ----------
    in_channels : sequence of int
        Channels of the backbone's levels, finest first.
    out_channels : int
        Channels of the pyramid.
    context_channels : int
        Channels of a context vector.
    num_contexts : sequence of int
        Context vectors collected from each level.
    gcn : bool
        Whether context vectors exchange information, within each level first and then across all of them.

    Notes
    -----
    A²-FPN (arXiv 2105.03186), section 3.1.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        context_channels: int,
        num_contexts: Sequence[int],
        gcn: bool = True,
    ) -> None:
        super().__init__()
        self.collectors = nn.ModuleList(
            ContextCollector(channels, context_channels, number)
            for channels, number in zip(in_channels, num_contexts, strict=True)
        )
        self.level_graphs = nn.ModuleList(ContextGraph(context_channels) if gcn else nn.Identity() for _ in in_channels)
        self.global_graph = ContextGraph(context_channels) if gcn else nn.Identity()
        self.distributors = nn.ModuleList(
            ContextDistributor(channels, context_channels, out_channels) for channels in in_channels
        )

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map levels (N, C_i, H_i, W_i) to lateral maps (N, C_out, H_i, W_i)."""
        collected = [
            graph(collector(features))
            for graph, collector, features in zip(self.level_graphs, self.collectors, inputs, strict=True)
        ]
        contexts = self.global_graph(torch.cat(collected, dim=2))
        return [distributor(features, contexts) for distributor, features in zip(self.distributors, inputs, strict=True)]

    def orthogonality(self) -> Tensor:
        """Sum over the levels of the squared Frobenius norm of W Wᵀ - I, W the entity weights (n_i, C_i); a scalar.

        Computed in float32 at least, also under autocast, because the difference to the identity cancels digits.
        """
        weights = [collector.entities.weight.flatten(1) for collector in self.collectors]
        with torch.autocast(weights[0].device.type, enabled=False):
            return sum(_distance_to_orthonormal(weight) for weight in weights)


def _distance_to_orthonormal(weight: Tensor) -> Tensor:
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    identity = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    return (weight @ weight.T - identity).square().sum()
