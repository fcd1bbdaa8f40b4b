"""AFA's necks and FCAT as the equations of their specification read: attention matrices, pooling cells and taps one by one."""

import math

import torch

from tests.necks.equations_layers import conv, enlarge_nearest, layer_norm, linear, with_subsampled


def afa(state, inputs, mode="self", pool="two_scale", heads=4, use_dwconv=True, pool_norm=True, num_outs=5):
    """Self: P_i = SA_i(L_i + up(P_{i+1})). Cross: P5 = CA5(L5, L5), P_i = L_i + CA_i(up(P_{i+1}), L_i)."""

    def block(level, deep, shallow):
        """u <- u + Attention(LN(u), LN(v)); u <- u + MLP(LN(u)); with one norm for both where u attends to itself."""
        name = f"blocks.{level}"
        height, width = deep.shape[2:]
        tokens = _tokens(deep)
        queries = layer_norm(state, f"{name}.query_norm", tokens)
        source = queries if shallow is None else layer_norm(state, f"{name}.source_norm", _tokens(shallow))
        # d is 16, 8, 4, 2 on the levels 2 to 5.
        coarse = 2 ** (len(inputs) - level)
        cells = (
            _fixed_cells(_map(source, height, width), coarse)
            if pool == "two_scale"
            else _grids(_map(source, height, width), pool)
        )
        tokens = tokens + _attention(state, f"{name}.attention", queries, cells, heads, pool_norm)
        hidden = linear(state, f"{name}.mlp.expand", layer_norm(state, f"{name}.mlp_norm", tokens))
        if use_dwconv:
            hidden = _tokens(_depthwise(state, f"{name}.mlp.depthwise_conv", _map(hidden, height, width)))
        activated = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        return _map(tokens + linear(state, f"{name}.mlp.reduce", activated), height, width)

    laterals = [conv(state, f"lateral_convs.{level}", features) for level, features in enumerate(inputs)]
    top = len(inputs) - 1
    outputs = [block(top, laterals[top], laterals[top] if mode == "cross" else None)]
    for level in reversed(range(top)):
        upper = enlarge_nearest(outputs[0], laterals[level].shape[2:])
        if mode == "cross":
            outputs = [laterals[level] + block(level, upper, laterals[level]), *outputs]
        else:
            outputs = [block(level, laterals[level] + upper, None), *outputs]
    return with_subsampled(outputs, num_outs)


def fcat(state, inputs, num_outs=5):
    """P5 = conv3x3(L5), P4 = conv3x3([L4 ; up(L5)]), P_i = conv3x3([L_i ; up(P_{i+1})])."""
    laterals = [conv(state, f"lateral_convs.{level}", features) for level, features in enumerate(inputs)]
    outputs = [conv(state, "top_conv", laterals[-1])]
    source = laterals[-1]
    for level in reversed(range(len(inputs) - 1)):
        both = torch.cat([laterals[level], enlarge_nearest(source, laterals[level].shape[2:])], dim=1)
        source = conv(state, f"fusion_convs.{level}", both)
        outputs = [source, *outputs]
    return with_subsampled(outputs, num_outs)


def _tokens(x):
    return x.flatten(2).transpose(1, 2)


def _map(tokens, height, width):
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def _fixed_cells(x, coarse):
    """Means of d x d cells, then of d/2 x d/2 cells; what is left at the border is dropped."""
    means = []
    for side in (coarse, coarse // 2):
        for row in range(x.shape[2] // side):
            for column in range(x.shape[3] // side):
                cell = x[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
                means.append(cell.mean((2, 3)))
    return torch.stack(means, dim=1)


def _grids(x, sides):
    """Means of the k x k cells that adaptive pooling makes: rows floor(i H / k) to ceil((i + 1) H / k)."""

    def span(number, side, length):
        return slice(number * length // side, -(-(number + 1) * length // side))

    height, width = x.shape[2:]
    cells = [
        x[:, :, span(row, side, height), span(column, side, width)]
        for side in sides
        for row in range(side)
        for column in range(side)
    ]
    return torch.stack([cell.mean((2, 3)) for cell in cells], dim=1)


def _attention(state, name, queries, cells, heads, pool_norm):
    """softmax(Q K^T / sqrt(d)) V per head, heads merged, then a linear layer."""
    query = linear(state, f"{name}.query", queries)
    channels = query.shape[2]
    if pool_norm:
        cells = layer_norm(state, f"{name}.pool_norm", cells)
    key_value = linear(state, f"{name}.key_value", cells)
    key, value = key_value[..., :channels], key_value[..., channels:]
    width = channels // heads
    mixed = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        exponents = torch.exp(torch.einsum("nqc,nkc->nqk", query[..., own], key[..., own]) * width**-0.5)
        mixed.append(torch.einsum("nqk,nkc->nqc", exponents / exponents.sum(2, keepdim=True), value[..., own]))
    return linear(state, f"{name}.output", torch.cat(mixed, dim=2))


def _depthwise(state, name, x):
    """y(p) = b + sum over the taps k of w_k x(p + k), channel by channel."""
    height, width = x.shape[2:]
    padded = torch.zeros(*x.shape[:2], height + 2, width + 2, dtype=x.dtype, device=x.device)
    padded[:, :, 1:-1, 1:-1] = x
    weight = state[f"{name}.weight"]
    result = state[f"{name}.bias"].view(1, -1, 1, 1)
    for row in range(3):
        for column in range(3):
            result = (
                result + weight[:, 0, row, column].view(1, -1, 1, 1) * padded[:, :, row : row + height, column : column + width]
            )
    return result
