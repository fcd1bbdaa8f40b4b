"""A training that asks for vectors that the processor does not have."""

import sys

import pytest
import torch

from experiments.errors import UserError
from experiments.machine import vector_variables
from experiments.training import train


def test_it_ends_in_a_sentence_before_the_run_is_touched(tmp_path, monkeypatch):
    for name, value in vector_variables(256).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    paths = [tmp_path / name for name in ("dataset.json", "train.log", "config.py", "metrics.json")]
    monkeypatch.setattr(sys, "argv", ["train", "--dataset", str(paths[0]), "--log-file", *map(str, paths[1:])])
    with pytest.raises(UserError, match=r"vector_width is 256.*an x86 machine with AVX2, or leave the key out"):
        train.main()
    assert not list(tmp_path.iterdir())
