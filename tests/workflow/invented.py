"""A neck that no study has, as one file and one row."""

NECK = """
\"\"\"Laterals alone, and subsamples of the highest.\"\"\"

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from necks.layers.levels import append_pooled_levels


@MODELS.register_module()
class LateralsAlone(BaseModule):
    \"\"\"A 1x1 convolution for each level.\"\"\"

    def __init__(self, in_channels, out_channels, num_outs):
        super().__init__()
        self.num_outs = num_outs
        self.convs = nn.ModuleList(nn.Conv2d(channels, out_channels, 1) for channels in in_channels)

    def forward(self, inputs):
        \"\"\"As many levels as are asked for.\"\"\"
        levels = [conv(level) for conv, level in zip(self.convs, inputs, strict=True)]
        return append_pooled_levels(levels, self.num_outs)
"""


def add_invented_neck(project, table: str) -> None:
    """Put the neck into a project, and a row of it in the place of the second row of a table."""
    (project / "necks/laterals_alone.py").write_text(NECK.lstrip())

    def change(study):
        row = study["tables"][table]["rows"][1]
        row["name"] = "Invented"
        row["setting"]["neck"] = {"type": "LateralsAlone"}

    project.change_yaml("experiments/studies/segmented.yaml", change)
