"""On the CPU, operators of this project in the place of slower ones that compute the same."""

from mmcv.ops import RoIAlign
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from kernels.cpu import unavailable_reason
from kernels.roi_align import roi_align


class CPURoIAlign(RoIAlign):
    """mmcv's layer, computed by `kernels.roi_align.roi_align`."""

    @classmethod
    def like(cls, layer: RoIAlign) -> "CPURoIAlign":
        """A layer with another's options, which must be those that `can_replace` allows."""
        return cls(layer.output_size, layer.spatial_scale, layer.sampling_ratio)

    @staticmethod
    def can_replace(layer: nn.Module) -> bool:
        """Whether a module is mmcv's own layer and pools averages with aligned corners."""
        return type(layer) is RoIAlign and layer.pool_mode == "avg" and layer.aligned and not layer.use_torchvision

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool regions, (R, 5), of a map, (N, C, H, W), to (R, C, rows, columns)."""
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)


@HOOKS.register_module()
class CPUOperatorsHook(Hook):
    """Let a model on the CPU pool its regions with this project's operator.

    mmcv's takes a quarter of a small model's training step, and its backward pass is scalar code. The results are equal to
    rounding. Where the operators are not built, mmcv's stays.
    """

    def before_run(self, runner: Runner) -> None:
        """Replace the layers of a model that is on the CPU."""
        device = next(runner.model.parameters()).device.type
        if device == "cpu" and not unavailable_reason(device):
            replace_roi_align(runner.model)


def replace_roi_align(model: nn.Module) -> int:
    """Put `CPURoIAlign` in the place of every layer of a model that it can replace; how many there were.

    Parameters
    ----------
    model : nn.Module
        The model, changed in place.
    """
    found = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    replaceable = [entry for entry in found if CPURoIAlign.can_replace(entry[2])]
    for parent, name, layer in replaceable:
        setattr(parent, name, CPURoIAlign.like(layer))
    return len(replaceable)
