"""Choosing the checkpoint to go on from."""

import torch

from experiments.train import _set_aside_foreign_checkpoints, newest_checkpoint


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


def test_checkpoints_of_another_origin_are_kept_aside(tmp_path):
    folder = tmp_path / "checkpoints"
    _set_aside_foreign_checkpoints(folder, "one")
    (folder / "epoch_1.pth").write_text("precious")
    _set_aside_foreign_checkpoints(folder, "one")
    assert (folder / "epoch_1.pth").exists()
    _set_aside_foreign_checkpoints(folder, "two")
    assert not (folder / "epoch_1.pth").exists()
    assert (tmp_path / "checkpoints_superseded_1/epoch_1.pth").read_text() == "precious"
