"""Settings -> cost of each: parameters and multiply-adds, in the paper's convention and in full."""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmcv.cnn import get_model_complexity_info
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from experiments.errors import UserError, run_or_explain
from experiments.run import Run
from experiments.scale import load_scale
from experiments.strict_yaml import validate
from experiments.study import Setting
from experiments.write_config import config_text


class DetectorPass(nn.Module):
    """One image through every layer of a two-stage detector, with as many regions as its test settings allow.

    Parameters
    ----------
    detector : nn.Module
        An mmdet two-stage detector.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.boxes = detector.test_cfg.rpn.max_per_img
        self.masks = detector.test_cfg.rcnn.max_per_img

    def forward(self, image: Tensor) -> None:
        """Run the layers on an image (1, 3, H, W); pooled regions are empty tensors, so that it works on the meta device."""
        levels = self.detector.extract_feat(image)
        self.detector.rpn_head(levels)
        head = self.detector.roi_head
        channels = levels[0].shape[1]
        head.bbox_head(image.new_empty(self.boxes, channels, *head.bbox_roi_extractor.roi_layers[0].output_size))
        if head.with_mask:
            head.mask_head(image.new_empty(self.masks, channels, *head.mask_roi_extractor.roi_layers[0].output_size))


def count(run: Run) -> dict[str, float]:
    """Parameters and multiply-adds of a run's model on one image of the scale's `complexity_image`.

    Parameters
    ----------
    run : Run
        Whose model is counted.

    Returns
    -------
    dict
        parameters, flops: the paper's convention, that of mmdetection 1.x: one output more in each head, trainable parameters
        only, mmcv's counter with deconvolutions at their output size, and 1x1 convolutions that a neck computes in another form
        (its `replaced_layers`) as what they are in the paper. all_parameters, all_flops: everything that torch's
        counter finds, one multiply-add = 1. neck_parameters.
    """
    shape = (3, *run.scale.complexity_image)
    with torch.device("meta"):
        paper = DetectorPass(build_model(run, extra_classes=1))
        honest = DetectorPass(build_model(run))
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            honest.eval()(torch.empty(1, *shape))
    return {
        "parameters": sum(p.numel() for p in paper.parameters() if p.requires_grad),
        "flops": _mmcv_flops(paper, shape),
        "all_parameters": sum(p.numel() for p in honest.parameters()),
        "all_flops": counter.get_total_flops() / 2,
        "neck_parameters": sum(p.numel() for p in honest.detector.neck.parameters()),
    }


def _mmcv_flops(model: DetectorPass, shape: tuple[int, int, int]) -> float:
    missed = 0.0

    def count_at_output_size(layer: nn.ConvTranspose2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal missed
        positions = output.shape[2:].numel() - inputs[0].shape[2:].numel()
        missed += output.shape[0] * positions * layer.weight.numel()

    def count_replaced_layers(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        nonlocal missed
        locations = inputs[0].shape[0] * inputs[0].shape[2:].numel()
        missed += locations * sum(p.numel() for layer in module.replaced_layers() for p in layer.parameters())

    for layer in model.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(count_at_output_size)
        if hasattr(layer, "replaced_layers"):
            layer.register_forward_hook(count_replaced_layers)
    with torch.no_grad():
        flops, _ = get_model_complexity_info(model, shape, print_per_layer_stat=False, as_strings=False)
    return flops + missed


def runs_of_settings(settings: str, scale: str) -> list[Run]:
    """One run, of seed 0, for each of a JSON list of settings."""
    loaded = load_scale(scale)
    return [Run(validate(setting, Setting, "--settings"), loaded, seed=0) for setting in json.loads(settings)]


def build_model(run: Run, extra_classes: int = 0) -> nn.Module:
    """The model of a run with random weights.

    Parameters
    ----------
    run : Run
        Whose model is built.
    extra_classes : int
        Added to the classes of every head.

    Raises
    ------
    UserError
        If the neck refuses its options.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.py"
        path.write_text(config_text(run), encoding="utf-8")
        model = Config.fromfile(path).model
    model.backbone.init_cfg = None
    for head in (model.roi_head.bbox_head, model.roi_head.get("mask_head")):
        if head:
            head.num_classes += extra_classes
    try:
        return MODELS.build(model)
    except (ValueError, TypeError) as error:
        raise UserError(f"neck {run.setting.neck}: the model cannot be built: {error}") from error


def main() -> None:
    """Count the cost of settings at a scale."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--settings", required=True, help="list of resolved settings, JSON")
    parser.add_argument("--scale", required=True)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    register_all_modules()
    runs = runs_of_settings(arguments.settings, arguments.scale)
    counts = [count(run) for run in tqdm(runs, desc=f"counting at scale {arguments.scale}", unit="model")]
    arguments.output.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    run_or_explain(main)
