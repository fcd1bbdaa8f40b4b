"""A second test of segmentors, on images of several sizes and their mirror images, whose logits are averaged."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.registry import MODELS
from tqdm import tqdm

from experiments.tasks.semantic_segmentation import SUFFIX


@HOOKS.register_module()
class MultiScaleTestHook(Hook):
    """After each test, label the test images again as mmsegmentation's `SegTTAModel` does.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Widths and heights in pixels into which images are fitted with kept aspect ratio.
    """

    # Before mmengine notes the metrics of the test, so that its logs have this one too.
    priority = "HIGHEST"

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self.sizes = list(sizes)

    @torch.no_grad()
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Measure, and add the mean intersection over union to the metrics of the first test."""
        dataset = runner.test_dataloader.dataset
        pipeline = _pipeline(runner.cfg.test_dataloader.dataset.pipeline, self.sizes)
        config = {**runner.cfg.test_dataloader, "dataset": {**runner.cfg.test_dataloader.dataset, "pipeline": pipeline}}
        loader = Runner.build_dataloader(copy.deepcopy(config))
        evaluator = runner.build_evaluator(_beside(runner.cfg.test_evaluator))
        evaluator.dataset_meta = dataset.metainfo
        model = MODELS.build({"type": "SegTTAModel", "module": runner.model})
        for batch in tqdm(loader, desc="testing at several scales", unit="image", mininterval=2):
            evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
        found = evaluator.evaluate(len(dataset))
        if metrics is not None:
            metrics["mIoU_multi_scale"] = found["mIoU"]


def _pipeline(steps: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """The test's pipeline with each size, plain and mirrored, in the place of its resize."""
    kinds = {step["type"]: dict(step) for step in steps}
    resizes = [{**kinds["Resize"], "scale": size} for size in sizes]
    flips = [{"type": "RandomFlip", "prob": probability, "direction": "horizontal"} for probability in (0.0, 1.0)]
    variants = [resizes, flips, [kinds["LoadAnnotations"]], [kinds["PackSegInputs"]]]
    return [kinds["LoadImageFromFile"], {"type": "TestTimeAug", "transforms": variants}]


def _beside(evaluator: dict[str, Any]) -> dict[str, Any]:
    """The metric with label maps in a folder of their own, if it writes any."""
    folder = {"output_dir": f"{evaluator['output_dir']}{SUFFIX}"} if evaluator.get("output_dir") else {}
    return {**evaluator, **folder}
