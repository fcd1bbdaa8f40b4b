"""Parameter counts that the networks are specified to have beside those built here, as a Markdown table."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from mmengine.registry import MODELS

SPECIFIED = Path("necks/parameters.yaml")
RESNET50 = {"in_channels": [256, 512, 1024, 2048], "out_channels": 256, "num_outs": 5}
CLASSES = 1000


def table() -> pd.DataFrame:
    """Every network of ``necks/parameters.yaml``: its name, its specified parameters, and those of what is built here.

    Columns: network, specification, here.
    """
    networks = yaml.safe_load(SPECIFIED.read_text(encoding="utf-8"))
    rows = [(entry, _count_neck(entry["model"])) for entry in networks["necks"]]
    rows += [(entry, _count_backbone(entry["model"])) for entry in networks["backbones"]]
    return pd.DataFrame(
        [{"network": entry["name"], "specification": entry["parameters"], "here": counted} for entry, counted in rows]
    )


def _count_neck(model: dict[str, Any]) -> int:
    return _count({**RESNET50, **model})


def _count_backbone(model: dict[str, Any]) -> int:
    features = 2048
    return _count(dict(model)) + features * CLASSES + CLASSES


def _count(model: dict[str, Any]) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MODELS.build(model).parameters())


def markdown() -> str:
    """The table in Markdown, with groups of three digits."""
    shown = table()
    for column in ("specification", "here"):
        shown[column] = [f"{number:,}" for number in shown[column]]
    return shown.to_markdown(index=False, colalign=("left", "right", "right"))


def main() -> None:
    """Print the table, as it stands in necks/README.md."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    from mmdet.utils import register_all_modules

    import necks  # noqa: F401

    register_all_modules()
    print(markdown())


if __name__ == "__main__":
    main()
