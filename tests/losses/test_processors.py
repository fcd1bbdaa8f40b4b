"""With a fixed vector width, processors of different makers train alike to the last bit: this one, and emulated ones."""

import shutil
import sys

import pytest

from experiments.benchmarks.compare_commits import difference, losses_of
from experiments.machine import vector_variables
from tests.losses.recorded import ROOT, recorded_losses, sample

EMULATOR = "qemu-x86_64"
PROCESSORS = ["Haswell", "EPYC-Rome"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"needs {EMULATOR} (Debian's qemu-user)")
def test_every_kind_of_neck_and_every_detector_has_the_same_losses_on_other_processors():
    names = sample(list(next(iter(recorded_losses().values()))))
    here = losses_of(ROOT, names, variables=vector_variables(256))
    for model in PROCESSORS:
        there = losses_of(ROOT, names, [EMULATOR, "-cpu", model, sys.executable], vector_variables(256))
        different = {name: difference(there[name], here[name]) for name in names if there[name] != here[name]}
        assert not different, f"{model}: {different}"
