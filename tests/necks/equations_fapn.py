"""FaPN as the equations of its specification read: corners gathered tap by tap, gates as explicit means; slow."""

from itertools import product

import torch

from tests.necks.equations_layers import conv, enlarge_bilinear, grid, norm, sample, with_subsampled


def fapn(
    state,
    inputs,
    use_fsm=True,
    use_fam=True,
    offset_feat_scale=2.0,
    norm_groups=None,
    conv_on_p5=False,
    extra_levels="pool",
    start_level=0,
    num_outs=5,
):
    """T5 = conv1x1(C5), T_i = A_i + L_i, P_i = conv3x3(T_i), P5 = T5, for levels (N, C_i, H_i, W_i), finest first."""
    inputs = inputs[start_level:]
    merged = [_conv_norm(state, "top_lateral_conv", inputs[-1], norm_groups)]
    for level in reversed(range(len(inputs) - 1)):
        selection = _select if use_fsm else conv
        lateral = selection(state, f"lateral_convs.{level}", inputs[level])
        upper = enlarge_bilinear(merged[0], lateral.shape[2:])
        if use_fam:
            upper = _align(state, f"alignments.{level}", lateral, upper, offset_feat_scale, norm_groups)
        merged = [upper + lateral, *merged]
    convolved = len(merged) if conv_on_p5 else len(merged) - 1
    outputs = [_conv_norm(state, f"output_convs.{level}", merged[level], norm_groups) for level in range(convolved)]
    outputs += merged[convolved:]
    if extra_levels == "pool":
        return with_subsampled(outputs, num_outs)
    source = inputs[-1] if extra_levels == "conv_c5" else outputs[-1]
    for number in range(num_outs - len(outputs)):
        source = conv(state, f"extra_convs.{number}", source if number == 0 else source.clamp(min=0), stride=2)
        outputs.append(source)
    return outputs


def fapn_decoder(state, inputs, norm_groups, offset_feat_scale=2.0):
    """T5 = ReLU(GN(conv3x3(C5))), T_i = ReLU(GN_i(conv3x3(A_i + L_i))), where GN_i is that of the offsets too."""
    merged = [_conv_norm(state, "top_conv", inputs[-1], norm_groups).clamp(min=0)]
    for level in reversed(range(len(inputs) - 1)):
        lateral = _conv_norm(state, f"lateral_convs.{level}", inputs[level], norm_groups)
        upper = enlarge_bilinear(merged[0], lateral.shape[2:])
        aligned = _align(state, f"alignments.{level}", lateral, upper, offset_feat_scale, norm_groups)
        convolved = conv(state, f"output_convs.{level}.conv", aligned + lateral)
        shared = norm(state, f"alignments.{level}.offset_feature_conv.gn", convolved, norm_groups)
        merged = [shared.clamp(min=0), *merged]
    return merged


def _conv_norm(state, name, x, norm_groups):
    kind = "gn" if norm_groups else "bn"
    return norm(state, f"{name}.{kind}", conv(state, f"{name}.conv", x), norm_groups)


def _select(state, name, x):
    """FSM: conv1x1(x (1 + sigmoid(conv1x1(mean of x))))."""
    attention = torch.sigmoid(conv(state, f"{name}.gate", x.mean((2, 3), keepdim=True)))
    return conv(state, f"{name}.selection", x + x * attention)


def _align(state, name, lateral, upper, offset_feat_scale, norm_groups):
    """FAM: (o, m) = split(conv3x3(W [L ; 2 U])), ReLU(DCNv2(U ; o, sigmoid(m)))."""
    both = torch.cat([lateral, offset_feat_scale * upper], dim=1)
    first, second, logits = conv(
        state, f"{name}.sampling_conv", _conv_norm(state, f"{name}.offset_feature_conv", both, norm_groups)
    ).chunk(3, 1)
    weight, bias = (state[f"{name}.deform_conv.{part}"] for part in ("weight", "bias"))
    return modulated_deform_conv(upper, torch.cat([first, second], dim=1), torch.sigmoid(logits), weight, bias).clamp(min=0)


def modulated_deform_conv(x, offsets, masks, weight, bias):
    """DCNv2 with stride 1: y(p) = b + sum over taps k of W_k m_k(p) x(p + k + o_k(p)), channel group by channel group."""
    size = weight.shape[-1]
    groups = masks.shape[1] // size**2
    width = x.shape[1] // groups
    rows, columns = grid(x)
    result = bias.view(1, -1, 1, 1)
    for group in range(groups):
        channels = slice(group * width, (group + 1) * width)
        for tap, (down, right) in enumerate(product(range(size), repeat=2)):
            number = group * size**2 + tap
            sampled = sample(
                x[:, channels],
                rows + down - size // 2 + offsets[:, 2 * number],
                columns + right - size // 2 + offsets[:, 2 * number + 1],
            )
            weighted = masks[:, number : number + 1] * sampled
            result = result + torch.einsum("dc,nchw->ndhw", weight[:, channels, down, right], weighted)
    return result
