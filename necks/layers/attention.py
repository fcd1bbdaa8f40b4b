"""Cosine-similarity attention and the L2 normalisation that the parts of A²-FPN share."""

import torch
import torch.nn.functional as F
from torch import Tensor


def l2_normalize(features: Tensor) -> Tensor:
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


def cosine_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mix the values by a softmax over the keys of the scaled similarity: CF(Q, K, d) V of A²-FPN (arXiv 2105.03186).

    Parameters
    ----------
    query : Tensor
        (N, queries, d).
    key : Tensor
        (N, keys, d), normalised where the similarity is the cosine up to the query's length. The scale is the square root of d.
    value : Tensor
        (N, keys, C).

    Returns
    -------
    Tensor
        (N, queries, C). The matrix of similarities is not built where torch has a fused form: on most devices that
        takes keys and values of equal width whose last dimension is contiguous.
    """
    scale = query.shape[-1] ** 0.5
    return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=scale)[:, 0]
