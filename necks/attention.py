"""Cosine-similarity attention and the L2 normalisation that the parts of A²-FPN share."""

import torch
import torch.nn.functional as F
from torch import Tensor


def normalise(features: Tensor) -> Tensor:
    """Scale the vector over dimension 1 at each location to unit length, in float32 at least.

    Parameters
    ----------
    features : Tensor
        (N, C, ...).

    Returns
    -------
    Tensor
        The same shape and dtype. A zero vector stays zero.
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        return F.normalize(features.float(), dim=1).to(features.dtype)
    return F.normalize(features, dim=1)


def cosine_attention(query: Tensor, key: Tensor) -> Tensor:
    """Softmax over the keys of the scaled similarity of each query to them: CF(Q, K, d) of A²-FPN (arXiv 2105.03186).

    Only the keys are normalised; the scale is the square root of the embedding's width d.

    Parameters
    ----------
    query : Tensor
        (N, d, queries).
    key : Tensor
        (N, d, keys).

    Returns
    -------
    Tensor
        Weights, (N, keys, queries); each column sums to 1.
    """
    scale = query.shape[1] ** 0.5
    return (scale * query.transpose(1, 2) @ normalise(key)).softmax(dim=-1).transpose(1, 2)
