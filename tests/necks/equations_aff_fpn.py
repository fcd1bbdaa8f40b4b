"""AFF-FPN as the equations of its specification read: every branch and every fusion formula written out."""

import torch

from tests.necks.equations_layers import conv, enlarge_nearest, norm, with_subsampled


def aff_fpn(
    state,
    inputs,
    fusion="aff",
    context="global+local",
    scale=2,
    norm_groups=None,
    global_norm_groups=None,
    share_second_global=False,
    num_outs=5,
):
    """M5 = L5, M_i = fusion(L_i, enlarged M_{i+1}), P_i = conv3x3(M_i), for levels (N, C_i, H_i, W_i), finest first."""

    def attention(name, z, global_name=None):
        """MS-CAM: w = sigmoid(global branch + local branch)."""
        logits = 0
        for number, kind in enumerate(context.split("+")):
            branch = f"{(kind == 'global' and global_name) or name}.branches.{number}"
            groups = (kind == "global" and global_norm_groups) or norm_groups
            logits = logits + _branch(state, branch, z.mean((2, 3), keepdim=True) if kind == "global" else z, groups)
        return torch.sigmoid(logits)

    def fuse(name, x, y):
        """The formulas of specification 3.2, 3.3 and 6.3, x the lateral and y the enlarged upper map."""
        if fusion == "add":
            return x + y
        if fusion == "concat":
            return conv(state, f"{name}.conv", torch.cat([x, y], dim=1))
        if fusion == "iaff":
            first, second = f"{name}.first_attention", f"{name}.second_attention"
            w1 = attention(first, x + y)
            w2 = attention(second, x * w1 + y * (1 - w1), first if share_second_global else None)
            return x * w2 + y * (1 - w2)
        w = attention(f"{name}.attention", y if fusion in ("ms_gau", "ms_se") else x + y)
        if fusion == "ms_se":
            return x + w * y
        if fusion in ("ms_gau", "ms_sa"):
            return w * x + y
        return scale * x * w + scale * y * (1 - w)

    laterals = [conv(state, f"lateral_convs.{level}", features) for level, features in enumerate(inputs)]
    merged = laterals[-1:]
    for level in reversed(range(len(inputs) - 1)):
        upper = enlarge_nearest(merged[0], laterals[level].shape[2:])
        merged = [fuse(f"fusions.{level}", laterals[level], upper), *merged]
    outputs = [conv(state, f"output_convs.{level}", features) for level, features in enumerate(merged)]
    return with_subsampled(outputs, num_outs)


def _branch(state, name, z, norm_groups):
    """norm(conv1x1(ReLU(norm(conv1x1(z)))))."""
    hidden = norm(state, f"{name}.narrow_norm", conv(state, f"{name}.narrow", z), norm_groups).clamp(min=0)
    return norm(state, f"{name}.widen_norm", conv(state, f"{name}.widen", hidden), norm_groups)
