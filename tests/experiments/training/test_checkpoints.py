"""Choosing the checkpoint to go on from, and what it must come from."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint

from experiments.errors import UserError
from experiments.training.checkpoints import newest_checkpoint, origin_of, set_aside_foreign_checkpoints, without_code


def test_the_newest_checkpoint_is_the_one_of_the_highest_epoch(tmp_path):
    for epoch in (2, 9, 10):
        torch.save({"meta": {"iter": 5 * epoch}}, tmp_path / f"epoch_{epoch}.pth")
    assert newest_checkpoint(tmp_path).name == "epoch_10.pth"


def test_an_interruption_counts_where_it_is_further_than_the_last_epoch(tmp_path):
    for name, iteration in (("epoch_1", 5), ("interrupted", 7)):
        torch.save({"meta": {"iter": iteration}}, tmp_path / f"{name}.pth")
    assert newest_checkpoint(tmp_path).name == "interrupted.pth"
    torch.save({"meta": {"iter": 10}}, tmp_path / "epoch_2.pth")
    assert newest_checkpoint(tmp_path).name == "epoch_2.pth"


def test_a_checkpoint_cut_short_is_passed_over(tmp_path):
    for epoch in (1, 2):
        torch.save({"meta": {"iter": epoch}, "weights": torch.zeros(1000)}, tmp_path / f"epoch_{epoch}.pth")
    whole = (tmp_path / "epoch_2.pth").read_bytes()
    (tmp_path / "epoch_2.pth").write_bytes(whole[: len(whole) // 2])
    assert newest_checkpoint(tmp_path).name == "epoch_1.pth"
    (tmp_path / "epoch_1.pth").write_bytes(b"")
    assert newest_checkpoint(tmp_path) is None


class Program:
    """What a pickle runs when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_checkpoint_with_a_program_is_passed_over_and_not_run(tmp_path):
    torch.save({"meta": {"iter": 1}}, tmp_path / "epoch_1.pth")
    torch.save({"meta": {"iter": 2}, "more": Program(tmp_path / "was_run")}, tmp_path / "epoch_2.pth")
    assert newest_checkpoint(tmp_path).name == "epoch_1.pth"
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("form", [True, False], ids=["zip", "legacy"])
def test_weights_with_a_program_are_refused_and_it_is_not_run(tmp_path, form):
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(1), "more": Program(tmp_path / "was_run")}, path, _use_new_zipfile_serialization=form)
    sentence = r"hold more than tensors and numbers, such as pathlib\.Path, which may be a program; they were not read"
    with pytest.raises(UserError, match=sentence), without_code():
        load_checkpoint(torch.nn.Linear(1, 1), str(path))
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    assert not (tmp_path / "was_run").exists()


def test_what_a_training_writes_is_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    content = {"meta": {"iter": 3, "processes": [states]}, "message_hub": {"log_scalars": {"loss": history}}}
    torch.save(content, tmp_path / "interrupted.pth")
    assert newest_checkpoint(tmp_path).name == "interrupted.pth"


def origin_after(change=None):
    config = {
        "model": {"neck": {"type": "FPN", "num_outs": 5}},
        "optim_wrapper": {"optimizer": {"lr": 0.01}},
        "train_cfg": {"max_epochs": 12, "val_interval": 1},
        "train_dataloader": {"batch_size": 2, "num_workers": 2, "persistent_workers": True},
        "val_dataloader": {"num_workers": 2},
        "test_dataloader": {"num_workers": 2},
    }
    if change:
        change(config)
    return origin_of(Config(config), {"necks/a.py": "1"}, {"val": 5000})


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (lambda config: config["train_dataloader"].update(num_workers=8, persistent_workers=False), False),
        (lambda config: config["test_dataloader"].update(num_workers=8), False),
        (lambda config: config["train_cfg"].update(val_interval=4), False),
        (lambda config: config.update(model={"neck": {"num_outs": 5, "type": "FPN"}}), False),
        (lambda config: config["train_dataloader"].update(batch_size=4), True),
        (lambda config: config["train_cfg"].update(max_epochs=24), True),
        (lambda config: config["optim_wrapper"]["optimizer"].update(lr=0.02), True),
        (lambda config: config["model"]["neck"].update(type="PAFPN"), True),
    ],
)
def test_only_what_decides_a_result_makes_another_origin(change, is_another):
    assert (origin_after(change) != origin_after()) == is_another


def test_checkpoints_of_another_origin_are_kept_aside(tmp_path):
    folder = tmp_path / "checkpoints"
    set_aside_foreign_checkpoints(folder, "one")
    (folder / "epoch_1.pth").write_text("precious")
    set_aside_foreign_checkpoints(folder, "one")
    assert (folder / "epoch_1.pth").exists()
    set_aside_foreign_checkpoints(folder, "two")
    assert not (folder / "epoch_1.pth").exists()
    assert (tmp_path / "checkpoints_superseded_1/epoch_1.pth").read_text() == "precious"
