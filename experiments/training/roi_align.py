"""mmcv's layer of RoIAlign, computed by this project's operator, whose gradient repeats."""

from mmcv.ops import RoIAlign
from torch import Tensor, nn

from kernels.roi_align import roi_align


class RepeatableRoIAlign(RoIAlign):
    """mmcv's layer, computed by `kernels.roi_align.roi_align`."""

    @classmethod
    def like(cls, layer: RoIAlign) -> "RepeatableRoIAlign":
        """A layer with another's options, which must be those that `can_replace` allows."""
        return cls(layer.output_size, layer.spatial_scale, layer.sampling_ratio)

    @staticmethod
    def can_replace(layer: nn.Module) -> bool:
        """Whether a module is mmcv's own layer and pools averages with aligned corners."""
        return type(layer) is RoIAlign and layer.pool_mode == "avg" and layer.aligned and not layer.use_torchvision

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool regions, (R, 5), of a map, (N, C, H, W), to (R, C, rows, columns)."""
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)


def replace_roi_align(model: nn.Module) -> int:
    """Put `RepeatableRoIAlign` in the place of every layer of a model that it can replace; how many there were.

    Parameters
    ----------
    model : nn.Module
        The model, changed in place.
    """
    found = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    replaceable = [entry for entry in found if RepeatableRoIAlign.can_replace(entry[2])]
    for parent, name, layer in replaceable:
        setattr(parent, name, RepeatableRoIAlign.like(layer))
    return len(replaceable)
