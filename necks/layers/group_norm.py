"""Group normalisations at any width."""

from math import gcd

# Of a group normalisation, as Detectron2 has it.
GROUPS = 32


def with_groups(norm_cfg: dict | None, channels: int) -> dict | None:
    """A normalisation's config; GN without `num_groups` gets Detectron2's 32, or as many of them as divide the width.

    Parameters
    ----------
    norm_cfg : dict or None
        mmcv's config of a normalisation.
    channels : int
        The width.
    """
    if norm_cfg is None or norm_cfg["type"] != "GN":
        return norm_cfg
    return {"num_groups": gcd(GROUPS, channels), **norm_cfg}
