"""Training in two processes on the CPU: same weights, mean gradients, every image measured once, the right learning rate."""

import json

import psutil
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from training import Training

pytestmark = pytest.mark.long

RECORD = '''
"""Leaves what each process saw in each step: batch, state before, random numbers, gradients, weights after, learning rate."""

import copy
import torch
from mmdet.evaluation.metrics import FasterCocoMetric
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RecordHook(Hook):
    priority = "LOWEST"

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = {
            "batch": copy.deepcopy(data_batch),
            "state": copy.deepcopy(runner.model.module.state_dict()),
            "random": torch.get_rng_state(),
            "rate": runner.optim_wrapper.param_groups[0]["lr"],
            "initial_rate": runner.optim_wrapper.param_groups[0]["initial_lr"],
        }

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        named = list(runner.model.module.named_parameters())
        after = {
            "gradients": {name: p.grad.clone() for name, p in named if p.grad is not None},
            "weights": {name: p.detach().clone() for name, p in named},
        }
        torch.save({**self.before, **after}, f"step_{runner.iter}_rank_{get_rank()}.pt")


compute_metrics = FasterCocoMetric.compute_metrics


def recorded(self, results):
    torch.save([prediction["img_id"] for _, prediction in results], "measured.pt")
    return compute_metrics(self, results)


FasterCocoMetric.compute_metrics = recorded
'''


@pytest.fixture(scope="module")
def trained(shared_project):
    """A training of six steps in two processes, recorded."""
    (shared_project / "experiments/record.py").write_text(RECORD)

    def change(scale):
        scale["dataset"]["val_count"] = 5
        # The rate is meant for half of the images that a step of two processes has.
        scale["training"] = {"base_batch_size": 4}
        # Gradients as they come, not clipped.
        scale["config"]["optim_wrapper"].pop("clip_grad")

    shared_project.change_yaml("experiments/scales/instant.yaml", change)
    training = Training(shared_project, processes=2)
    with (training.folder / "config.py").open("a") as config:
        config.write("custom_imports['imports'].append('experiments.record')\ncustom_hooks.append(dict(type='RecordHook'))\n")
    training.finish()
    return training


def step(training, number):
    return [
        torch.load(training.project.folder / f"step_{number}_rank_{rank}.pt", weights_only=False, map_location="cpu")
        for rank in (0, 1)
    ]


def test_weights_are_the_same_in_both_processes_after_every_step(trained):
    for number in range(6):
        one, other = step(trained, number)
        assert one["weights"].keys() == other["weights"].keys()
        for name in one["weights"]:
            assert torch.equal(one["weights"][name], other["weights"][name]), (number, name)


def test_the_processes_share_the_images_of_an_epoch(trained):
    for first in (0, 2, 4):
        seen = [
            sample.img_id for n in (first, first + 1) for rank in step(trained, n) for sample in rank["batch"]["data_samples"]
        ]
        assert len(seen) == len(set(seen)) == 12


def test_the_gradient_is_the_mean_of_those_of_the_processes_computed_singly(trained, monkeypatch):
    monkeypatch.chdir(trained.project.folder)
    config = Config.fromfile(trained.folder / "config.py", import_custom_modules=False)
    config.custom_hooks, config.work_dir = [], "single"
    model = Runner.from_cfg(config).model
    for number in (0, 3):
        ranks = step(trained, number)
        singly = [gradients(model, rank) for rank in ranks]
        for name, gradient in ranks[0]["gradients"].items():
            mean = (singly[0][name] + singly[1][name]) / 2
            torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-6, msg=f"step {number}, {name}")


def gradients(model, rank):
    model.load_state_dict(rank["state"])
    model.train()
    model.zero_grad()
    torch.set_rng_state(rank["random"])
    data = model.data_preprocessor(rank["batch"], training=True)
    losses = model(**data, mode="loss")
    model.parse_losses(losses)[0].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_learning_rate_follows_the_images_of_all_processes(trained):
    made = json.loads((trained.folder / "metrics.json").read_text())["provenance"]
    assert (made["effective_batch"], made["learning_rate"], made["hardware"]["processes"]) == (8, 0.004, 2)
    recorded = step(trained, 3)
    assert {rank["initial_rate"] for rank in recorded} == {0.004}


def test_every_image_is_measured_exactly_once(trained):
    images = json.loads((trained.project / "datasets/instant/annotations/val.json").read_text())["images"]
    assert len(images) == 5
    assert sorted(torch.load(trained.project / "measured.pt")) == sorted(image["id"] for image in images)


OUTPUTS_NAN = """
_forward = A2FPN.forward
A2FPN.forward = lambda self, inputs: tuple(output * float("nan") for output in _forward(self, inputs))
"""


@pytest.mark.slow
def test_a_failure_of_all_processes_is_told_once_and_that_of_one_is_not_hidden_by_the_others(project):
    neck = project / "necks/a2fpn.py"
    source = neck.read_text()
    neck.write_text(source + OUTPUTS_NAN)
    training = Training(project, processes=2)
    process = training.start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    sentences = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, said
    assert "is not finite in epoch 1, iteration 1" in sentences[0]

    neck.write_text(source)
    (training.folder / "progress.json").unlink()
    process = training.start()
    training.until_it_trains(process)
    psutil.Process(process.pid).children()[1].kill()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "error: a process of 2 was killed by SIGKILL" in said
