"""On the CPU, operators of this project in the place of slower ones that compute the same."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from experiments.training.roi_align import replace_roi_align
from kernels.cpu import unavailable_reason


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
