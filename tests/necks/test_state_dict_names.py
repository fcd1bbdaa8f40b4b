"""Names and shapes in every network's state dict, which checkpoints need; run as a module, this rewrites them."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

FOLDER = Path(__file__).parent / "state_dict_names"
RESNET50 = {"in_channels": [256, 512, 1024, 2048], "out_channels": 256, "num_outs": 5}
NETWORKS = {
    "a2fpn": {"type": "A2FPN", **RESNET50},
    "fapn": {"type": "FaPN", **RESNET50},
    "aff_fpn": {"type": "AFFFPN", **RESNET50},
    "iaff_fpn": {"type": "AFFFPN", "fusion": "iaff", **RESNET50},
    "mssa": {"type": "AFA", "mode": "self", **RESNET50},
    "msca": {"type": "AFA", "mode": "cross", **RESNET50},
    "fcat": {"type": "FCAT", **RESNET50},
    "a3fpn": {"type": "A3FPN", **RESNET50},
    "dysample_fpn": {"type": "DySampleFPN", **RESNET50},
    "fusion_fpn_context": {"type": "FusionFPN", "fusion": "context", **RESNET50},
    "aff_resnet50": {"type": "AFFResNet", "depth": 50},
    "iaff_resnext50": {"type": "AFFResNeXt", "depth": 50, "groups": 32, "base_width": 4, "fusion": "iaff"},
}


def names(network: dict) -> str:
    """One line for each tensor: name and shape."""
    with torch.device("meta"):
        state = MODELS.build(dict(network)).state_dict()
    return "".join(f"{name} {tuple(tensor.shape)}\n" for name, tensor in state.items())


@pytest.mark.parametrize("network", NETWORKS)
def test_checkpoints_of_before_still_fit(network):
    assert names(NETWORKS[network]) == (FOLDER / f"{network}.txt").read_text()


def main() -> None:
    """Write the names as they are now."""
    from mmdet.utils import register_all_modules

    import necks  # noqa: F401

    register_all_modules()
    FOLDER.mkdir(exist_ok=True)
    for name, network in NETWORKS.items():
        (FOLDER / f"{name}.txt").write_text(names(network))


if __name__ == "__main__":
    main()
