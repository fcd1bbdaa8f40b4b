"""Settings -> cost of each: parameters and multiply-adds, in the paper's convention and in full, and training memory."""

import argparse
import json
import weakref
from collections.abc import Sequence
from pathlib import Path

import torch
from mmcv.cnn import get_model_complexity_info
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.utils import register_all_modules
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary
from tqdm import tqdm

from experiments.configs.build import build_empty_model, build_model
from experiments.configs.model_neck import neck_of
from experiments.errors import report_user_errors
from experiments.records.cost_files import Counts, write_costs
from experiments.spec.run import Run
from experiments.spec.scale import load_scale
from experiments.spec.setting import Setting
from experiments.spec.yaml_models import validate
from experiments.tasks.task import Task, load_task
from necks.layers.contracts import HasReplacedLayers

# Batch normalisation after global pooling needs at least two images.
IMAGES_IN_TRAINING = 2


class ModelPass(nn.Module):
    """One image through every layer of a model.

    Parameters
    ----------
    model : nn.Module
        The model.
    task : Task
        Its task.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, image: Tensor) -> None:
        """Run the layers on an image (1, 3, H, W), also on the meta device."""
        self.task.run_every_layer(self.model, image)


def count(run: Run) -> dict[str, float]:
    """Parameters, multiply-adds and training memory of a run's model on one image of the scale's `complexity_image`.

    Parameters
    ----------
    run : Run
        The run whose model is counted.

    Returns
    -------
    dict
        parameters, flops: the paper's convention, that of mmdetection 1.x: one output more in each head, trainable parameters
        only, mmcv's counter with deconvolutions at their output size, and 1x1 convolutions that a neck computes in another form
        (its `replaced_layers`) as what they are in the paper. all_parameters, all_flops: everything that torch's
        counter finds, one multiply-add = 1. neck_parameters. training_memory: see `training_memory`, not of necks in heads.
    """
    shape, task = (3, *run.scale.complexity_image), load_task(run.task)
    paper, full = (ModelPass(countable_model(run, extra), task) for extra in (1, 0))
    # What is trained beside the backbone cannot be told from a head that the neck stands in.
    memory = {"training_memory": training_memory(run)} if run.neck_at == "neck" else {}
    return {
        "parameters": sum(p.numel() for p in paper.parameters() if p.requires_grad),
        "flops": _mmcv_flops(paper, shape),
        "all_parameters": sum(p.numel() for p in full.parameters()),
        "all_flops": multiply_adds(full, torch.zeros(1, *shape, device=next(full.parameters()).device)),
        "neck_parameters": sum(p.numel() for p in neck_of(full.model, run).parameters()),
        **memory,
    }


def countable_model(run: Run, extra_classes: int = 0) -> nn.Module:
    """The model of a run without data where that can be counted; deformable attention reads sizes from tensors.

    Parameters
    ----------
    run, extra_classes
        As for `experiments.configs.build.build_model`.
    """
    model = build_empty_model(run, extra_classes)
    needs_data = any(isinstance(module, MultiScaleDeformableAttention) for module in model.modules())
    return build_model(run, extra_classes) if needs_data else model


def multiply_adds(module: nn.Module, *inputs: object) -> float:
    """Everything that torch's counter finds in a forward pass.

    Parameters
    ----------
    module : nn.Module
        A model or a part of one, on the meta device, where nothing is computed, or on another.
    *inputs
        What it takes, on the same device.
    """
    counter = FlopCounterMode(display=False)
    module.eval()
    with next(module.parameters()).device, torch.no_grad(), counter:
        module(*inputs)
    return counter.get_total_flops() / 2


def model_multiply_adds(run: Run) -> float:
    """Multiply-adds of a run's whole model on one image of the scale's `complexity_image`.

    Parameters
    ----------
    run : Run
        The run whose model is counted.
    """
    model = ModelPass(countable_model(run), load_task(run.task))
    return multiply_adds(model, torch.zeros(1, 3, *run.scale.complexity_image, device=next(model.parameters()).device))


def training_memory(run: Run) -> int:
    """Peak size in bytes of all tensors while backbone and neck are trained on two images of the scale's `complexity_image`.

    Counted with fake tensors: images, weights, gradients, activations and the results of operators. Not counted: scratch memory
    inside operators, the optimiser's state, the heads.

    Parameters
    ----------
    run : Run
        The run whose model is counted.
    """
    with FakeTensorMode():
        detector = build_model(run).train()
        images = torch.empty(IMAGES_IN_TRAINING, 3, *run.scale.complexity_image)
        weights = [tensor for part in (detector.backbone, detector.neck) for tensor in (*part.parameters(), *part.buffers())]
        with TensorMemory([images, *weights]) as memory:
            sum(level.sum() for level in detector.extract_feat(images)).backward()
    return memory.peak


class TensorMemory(TorchDispatchMode):
    """Tracks the memory of given tensors and of all operator results while this mode is on.

    Parameters
    ----------
    tensors : sequence of Tensor
        Tensors that exist before and take part.

    Attributes
    ----------
    peak : int
        Most bytes that existed at one time.
    """

    def __init__(self, tensors: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.peak = 0
        self._current = 0
        self._known = WeakIdKeyDictionary()
        for tensor in tensors:
            self._add(tensor.untyped_storage())

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        """Compute the operator and add the storages that it created."""
        result = operator(*arguments, **(options or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known[storage] = True
            self._current += storage.nbytes()
            self.peak = max(self.peak, self._current)
            weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, size: int) -> None:
        self._current -= size


def _mmcv_flops(model: ModelPass, shape: tuple[int, int, int]) -> float:
    missed = 0.0

    def count_at_output_size(layer: nn.ConvTranspose2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal missed
        positions = output.shape[2:].numel() - inputs[0].shape[2:].numel()
        missed += output.shape[0] * positions * layer.weight.numel()

    def count_replaced_layers(module: HasReplacedLayers, inputs: tuple[Tensor, ...], _: object) -> None:
        nonlocal missed
        locations = inputs[0].shape[0] * inputs[0].shape[2:].numel()
        missed += locations * sum(p.numel() for layer in module.replaced_layers() for p in layer.parameters())

    for layer in model.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(count_at_output_size)
    with_replaced: list[nn.Module] = [module for module in model.modules() if isinstance(module, HasReplacedLayers)]
    for module in with_replaced:
        module.register_forward_hook(count_replaced_layers)
    with torch.no_grad():
        flops, _ = get_model_complexity_info(model, shape, print_per_layer_stat=False, as_strings=False)
    return flops + missed


def runs_of_settings(settings: str, scale: str) -> list[Run]:
    """One run, of seed 0, for each of a JSON list of settings."""
    loaded = load_scale(scale)
    return [Run(validate(setting, Setting, "--settings"), loaded, seed=0) for setting in json.loads(settings)]


def main() -> None:
    """Count the cost of settings at a scale."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--settings", required=True, help="list of resolved settings, JSON")
    parser.add_argument("--scale", required=True)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    register_all_modules()
    runs = runs_of_settings(arguments.settings, arguments.scale)
    by_setting = {run.setting.key: run for run in runs}
    progress = tqdm(by_setting.items(), desc=f"counting at scale {arguments.scale}", unit="model")
    write_costs(arguments.output, Counts(counts={key: count(run) for key, run in progress}))


if __name__ == "__main__":
    report_user_errors(main)
