"""FPN with DySample as its paper reads: every position of every group and sub-pixel computed and sampled by itself."""

import torch

from tests.necks.equations_layers import conv, grid, sample_inside, with_subsampled


def dysample_fpn(state, inputs, style="lp", groups=4, dyscope=False, num_outs=5):
    """M5 = L5, M_i = L_i + DySample(M_{i+1}) cut to the size of L_i, P_i = conv3x3(M_i)."""
    laterals = [conv(state, f"lateral_convs.{level}", features) for level, features in enumerate(inputs)]
    merged = laterals[-1:]
    for level in reversed(range(len(inputs) - 1)):
        upper = _enlarge(state, f"upsamplers.{level}", merged[0], style, groups, dyscope)
        height, width = laterals[level].shape[2:]
        merged = [laterals[level] + upper[:, :, :height, :width], *merged]
    outputs = [conv(state, f"output_convs.{level}", features) for level, features in enumerate(merged)]
    return with_subsampled(outputs, num_outs)


def _enlarge(state, name, x, style, groups, dyscope):
    """Output pixel p of group g is x at (p + 1/2) / 2 - 1/2 + offset_g(p), positions in pixels of x."""
    batch, channels, height, width = x.shape
    group_channels = channels // groups
    rows, columns = grid(x)
    source = x if style == "lp" else _shuffle(x)
    offsets = conv(state, f"{name}.offset", source)
    factors = 0.5 * torch.sigmoid(conv(state, f"{name}.scope", source)) if dyscope else 0.25
    offsets = factors * offsets
    result = torch.zeros(batch, channels, 2 * height, 2 * width, dtype=x.dtype, device=x.device)
    for group in range(groups):
        own = slice(group * group_channels, (group + 1) * group_channels)
        for down in range(2):
            for right in range(2):
                if style == "lp":
                    number = 4 * group + 2 * down + right
                    horizontal, vertical = offsets[:, number], offsets[:, 4 * groups + number]
                else:
                    shifted = offsets[:, :, down::2, right::2]
                    horizontal, vertical = shifted[:, group], shifted[:, groups + group]
                # The centre of sub-pixel 2 i + s lies at i + (s + 1/2) / 2 - 1/2.
                sampled = sample_inside(x[:, own], rows + down / 2 - 0.25 + vertical, columns + right / 2 - 0.25 + horizontal)
                result[:, own, down::2, right::2] = sampled
    return result


def _shuffle(x):
    """Channel 4 c + 2 s + t becomes the pixels (2 i + s, 2 j + t) of channel c."""
    batch, channels, height, width = x.shape
    result = torch.zeros(batch, channels // 4, 2 * height, 2 * width, dtype=x.dtype, device=x.device)
    for down in range(2):
        for right in range(2):
            result[:, :, down::2, right::2] = x[:, 2 * down + right :: 4]
    return result
