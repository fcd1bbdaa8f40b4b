"""A3-FPN in eval mode as its specification reads: explicit operand orders, statistics and bilinear corners; slow and large."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

DEFAULTS = {
    "end_level": None,
    "squeeze": (1, 2, 4, 4),
    "group_num": (16, 16, 16, 32),
    "dcn_groups": (16, 16, 16, 32),
    "using_resampling": True,
    "num_repblocks": 1,
    "offset_scale": 2.0,
    "dcn_norm": "LN",
    "remove_center": False,
    "direction": "top_down",
    "reassembly": True,
    "threshold": 0.5,
    "weights": "sigmoid",
    "extra_level": "conv",
}
# Levels inside a column: coarser ones, the nearest first; finer ones, the nearest first; the node's own.
OPERANDS = {
    2: [[1, 0], [0, 1]],
    3: [[1, 2, 0], [2, 0, 1], [1, 0, 2]],
    4: [[1, 2, 3, 0], [2, 3, 0, 1], [3, 1, 0, 2], [2, 1, 0, 3]],
}
COLUMNS = {
    "top_down": {3: [[1, 2], [0, 1, 2]], 4: [[2, 3], [1, 2, 3], [0, 1, 2, 3]]},
    "bottom_up": {3: [[0, 1], [0, 1, 2]], 4: [[0, 1], [0, 1, 2], [0, 1, 2, 3]]},
    "single": {3: [[0, 1, 2]], 4: [[0, 1, 2, 3]]},
}


def literal_forward(state: Mapping[str, Tensor], inputs: Sequence[Tensor], num_outs: int, **options) -> list[Tensor]:
    """What an A3-FPN with these parameters and options gives for levels (N, C_i, H_i, W_i), finest first."""
    options = DEFAULTS | options
    levels = [
        features if options["squeeze"][level] == 1 else _block(state, f"squeezes.{level}", features)
        for level, features in enumerate(inputs)
    ]
    columns = COLUMNS[options["direction"]][len(inputs)]
    resampling = options["using_resampling"]
    resampling = [resampling] * (len(inputs) - 1) if isinstance(resampling, bool) else resampling
    for number, column in enumerate(columns):
        # The list is of the published three columns; the one of all levels is the last of them.
        with_column = dict(options, using_resampling=resampling[len(column) - 2])
        if options["direction"] == "bottom_up" and number == 0:
            levels[1] = _node(state, "columns.0.1", [0, 1], 1, levels, with_column)
            levels[0] = _node(state, "columns.0.0", [0, 1], 0, levels, with_column)
        else:
            updated = {level: _node(state, f"columns.{number}.{level}", column, level, levels, with_column) for level in column}
            levels = [updated.get(level, features) for level, features in enumerate(levels)]
    outputs = [_block(state, f"output_convs.{level}", features, padding=1) for level, features in enumerate(levels)]
    end_level = num_outs if options["end_level"] is None else options["end_level"]
    for extra in range(end_level - len(inputs)):
        if options["extra_level"] == "pool":
            outputs.append(outputs[-1][:, :, ::2, ::2])
        else:
            outputs.append(_block(state, f"extra_convs.{extra}", outputs[-1], stride=2, padding=1))
    return outputs[end_level - num_outs :]


def _node(state, name: str, column: Sequence[int], level: int, levels: Sequence[Tensor], options) -> Tensor:
    own = levels[level]
    order = [column[place] for place in OPERANDS[len(column)][column.index(level)]]
    maps = [own if other == level else _resize(state, f"{name}.samplers.{other}", levels[other], own) for other in order]
    if options["using_resampling"]:
        context = _block(state, f"{name}.fusion.context_conv", torch.cat(maps, dim=1))
        for i in range(len(maps) - 1):
            part = context[:, i * own.shape[1] : (i + 1) * own.shape[1]]
            maps[i] = _resampler(state, f"{name}.fusion.resamplers.{i}", part, maps[i], options["dcn_groups"][level], options)
    squeezed = [_block(state, f"{name}.fusion.compressions.{i}", features) for i, features in enumerate(maps)]
    logits = _weight_logits(state, f"{name}.fusion.weight_generator", torch.cat(squeezed, dim=1), options["num_repblocks"])
    if options["weights"] == "softmax":
        weights = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    else:
        weights = 1 / (1 + (-logits).exp())
    fused = sum(weights[:, i : i + 1] * features for i, features in enumerate(maps))
    if not options["reassembly"]:
        return fused
    return _reassemble(state, f"{name}.reassembly", fused, options["group_num"][level], options["threshold"])


def _resize(state, name: str, features: Tensor, own: Tensor) -> Tensor:
    if features.shape[2] < own.shape[2]:
        factor = own.shape[2] // features.shape[2]
        features = features if features.shape[1] == own.shape[1] else _block(state, name, features)
        height, width = features.shape[2:]
        y = ((torch.arange(own.shape[2]).to(own) + 0.5) / factor - 0.5).clamp(0, height - 1)
        x = ((torch.arange(own.shape[3]).to(own) + 0.5) / factor - 0.5).clamp(0, width - 1)
        y, x = torch.meshgrid(y, x, indexing="ij")
        return _bilinear(features, x.expand(len(features), -1, -1), y.expand(len(features), -1, -1))
    factor = features.shape[2] // own.shape[2]
    groups = own.shape[1] if features.shape[1] == own.shape[1] else 1
    return _block(state, name, features, stride=factor, groups=groups)


def _bilinear(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Maps (N, C, H, W) read at positions (N, H', W') in pixels, each of four corners by itself, zeros outside."""
    batch, channels, height, width = features.shape
    flat = features.flatten(2)
    left, top = x.floor().detach(), y.floor().detach()
    result = 0
    for column, of_column in ((left, left + 1 - x), (left + 1, x - left)):
        for row, of_row in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            corner = flat.gather(2, index.view(batch, 1, -1).expand(-1, channels, -1)).view(batch, channels, *index.shape[1:])
            result = result + corner * (of_column * of_row * inside)[:, None]
    return result


def _resampler(state, name: str, context: Tensor, features: Tensor, groups: int, options) -> Tensor:
    value = features
    if f"{name}.value.weight" in state:
        value = _conv(state, f"{name}.value", features)
    if f"{name}.depthwise.weight" in state:
        kernel = state[f"{name}.depthwise.weight"].shape[-1]
        context = _conv(state, f"{name}.depthwise", context, padding=kernel // 2, groups=context.shape[1])
    sampling = _conv(state, f"{name}.sampling", context)
    aggregated = _aggregate(value, sampling, groups, options["offset_scale"], options["remove_center"])
    if f"{name}.center_gate.weight" in state:
        gate = torch.sigmoid(_conv(state, f"{name}.center_gate", aggregated))
        gate = gate.repeat_interleave(value.shape[1] // groups, dim=1)
        aggregated = aggregated * (1 - gate) + value * gate
    result = _conv(state, f"{name}.output", aggregated) if f"{name}.output.weight" in state else aggregated
    if options["dcn_norm"] == "LN":
        result = _layer_norm(state, f"{name}.norm", result)
    elif options["dcn_norm"] is not None:
        result = _batch_norm(state, f"{name}.norm", result)
    return _gelu(result)


def _aggregate(value: Tensor, sampling: Tensor, groups: int, scale: float, remove_center: bool) -> Tensor:
    channels, height, width = value.shape[1:]
    y, x = torch.meshgrid(torch.arange(height).to(value), torch.arange(width).to(value), indexing="ij")
    taps = [(i, j) for i in range(3) for j in range(3) if not (remove_center and i == j == 1)]
    results = []
    for group in range(groups):
        own = value[:, group * channels // groups : (group + 1) * channels // groups]
        first = 3 * len(taps) * group
        result = 0
        for tap, (i, j) in enumerate(taps):
            offset_x, offset_y = sampling[:, first + 2 * tap], sampling[:, first + 2 * tap + 1]
            modulation = sampling[:, first + 2 * len(taps) + tap]
            sampled = _bilinear(own, x + scale * (i - 1 + offset_x), y + scale * (j - 1 + offset_y))
            result = result + modulation[:, None] * sampled
        results.append(result)
    return torch.cat(results, dim=1)


def _weight_logits(state, name: str, squeezed: Tensor, num_repblocks: int) -> Tensor:
    deep = _block(state, f"{name}.deep.0", squeezed)
    for number in range(1, num_repblocks + 1):
        wide = _batch_norm(state, f"{name}.deep.{number}.norm3", _conv(state, f"{name}.deep.{number}.conv3", deep, padding=1))
        narrow = _batch_norm(state, f"{name}.deep.{number}.norm1", _conv(state, f"{name}.deep.{number}.conv1", deep))
        deep = _gelu(wide + narrow)
    both = deep + _block(state, f"{name}.shallow", squeezed)
    return _conv(state, f"{name}.output", both) if f"{name}.output.weight" in state else both


def _reassemble(state, name: str, features: Tensor, groups: int, threshold: float) -> Tensor:
    gamma, beta = state[f"{name}.group_norm.weight"], state[f"{name}.group_norm.bias"]
    grouped = features.reshape(len(features), groups, -1)
    deviations = grouped - grouped.mean(dim=2, keepdim=True)
    variance = (deviations * deviations).mean(dim=2, keepdim=True)
    normalised = (deviations / (variance + 1e-5).sqrt()).view_as(features) * _spread(gamma) + _spread(beta)
    gate = 1 / (1 + (-normalised * _spread(gamma / gamma.sum())).exp())
    informative = gate > threshold
    kept = torch.where(informative, torch.ones_like(gate), gate)
    moved = torch.where(informative, torch.zeros_like(gate), gate)
    mirrored = (moved * features)[:, list(range(features.shape[1] - 1, -1, -1))]
    return _gelu(_layer_norm(state, f"{name}.norm", kept * features + mirrored))


def _block(state, name: str, features: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    convolved = _conv(state, f"{name}.conv", features, stride, padding, groups)
    return _gelu(_batch_norm(state, f"{name}.norm", convolved))


def _conv(state, name: str, features: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    bias = state.get(f"{name}.bias")
    return F.conv2d(features, state[f"{name}.weight"], bias, stride=stride, padding=padding, groups=groups)


def _batch_norm(state, name: str, features: Tensor) -> Tensor:
    if f"{name}.weight" not in state:
        return features
    mean, variance = _spread(state[f"{name}.running_mean"]), _spread(state[f"{name}.running_var"])
    return (features - mean) / (variance + 1e-5).sqrt() * _spread(state[f"{name}.weight"]) + _spread(state[f"{name}.bias"])


def _layer_norm(state, name: str, features: Tensor) -> Tensor:
    deviations = features - features.mean(dim=1, keepdim=True)
    variance = (deviations * deviations).mean(dim=1, keepdim=True)
    normalised = deviations / (variance + 1e-6).sqrt()
    return normalised * _spread(state[f"{name}.weight"]) + _spread(state[f"{name}.bias"])


def _gelu(features: Tensor) -> Tensor:
    return features * (1 + torch.erf(features / 2**0.5)) / 2


def _spread(per_channel: Tensor) -> Tensor:
    return per_channel[:, None, None]
