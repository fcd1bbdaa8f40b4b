"""Resamples: the same for all runs of a dataset; their file is whole or refused."""

import numpy as np
import pytest

from experiments.bootstrap.resamples import draw_weights, read_replicates, write_replicates
from experiments.errors import UserError


def test_resamples_of_the_same_images_are_the_same_and_of_others_are_not():
    weights = draw_weights(range(50), replicates=20)
    assert (weights == draw_weights(range(50), replicates=20)).all()
    assert (weights != draw_weights(range(1, 51), replicates=20)).any()
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 50).all()
    # Fewer replicates are the first of more.
    assert (weights[:11] == draw_weights(range(50), replicates=10)).all()


def test_an_image_is_drawn_as_often_as_any_other():
    weights = draw_weights(range(40), replicates=2000)[1:]
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(1 - 1 / 40, rel=0.05)
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 / np.sqrt(2000)


def test_replicates_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "bootstrap.npz"
    assert read_replicates(path) is None
    written = {"box_AP": np.array([1.0, np.nan, 1 / 3]), "mask_AP": np.arange(3.0)}
    write_replicates(path, written)
    read = read_replicates(path)
    assert list(read) == list(written)
    assert all(np.array_equal(read[name], values, equal_nan=True) for name, values in written.items())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04cut"])
def test_damaged_replicates_are_named(tmp_path, content):
    path = tmp_path / "bootstrap.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bootstrap\.npz is damaged: .*; delete it"):
        read_replicates(path)
