"""Which sources decide a result, and what counts as a change of one."""

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.spec import fingerprint
from experiments.spec.fingerprint import are_current, deciding_sources, fingerprints, model_sources, normal_form
from tests.experiments.spec.conftest import forget_sources

SHARED = {
    "experiments/configs/write.py",
    "experiments/configs/templates/config.py.j2",
    "experiments/training/train.py",
    "experiments/tasks/average_precision.py",
    "experiments/tasks/instance_segmentation.py",
    "experiments/training/hooks/seeding.py",
    "experiments/training/hooks/interruption.py",
    "necks/auxiliary_loss_hook.py",
    "necks/layers/contracts.py",
    # The operator of every training on the CPU, and no other.
    "kernels/roi_align.py",
    "kernels/roi_align_products.py",
    *(f"kernels/cpu/{name}" for name in ("__init__.py", "library.py", "roi_align.cpp", "strided_map.h", "vector.h")),
}
A2FPN = Path("necks/a2fpn.py")
TASK = "instance_segmentation"
MODULE = '''
import os
from necks.layers.levels import enlarge

WIDTH = 3


class Neck:
    """A neck."""

    def __init__(self, width=WIDTH):
        self.width = width

    def forward(self, level):
        if level > self.width:
            return enlarge(level)
        return os.fspath(level)
'''
TIDIED = '''
"""A module."""
from __future__ import annotations

from typing import Any  # for readers

from necks.layers.levels import (
    enlarge,
)
import os

WIDTH: int = 3


class Neck:
    """Another sentence."""

    def __init__(self, width: int = WIDTH) -> None:
        """Build it."""
        # The width.
        self.width: Any = width

    def forward(self, level: Any) -> Any:
        if level > self.width: return enlarge(level)
        return os.fspath(
            level
        )
'''


def form(source):
    return normal_form(ast.parse(source))


def paths(models):
    return {str(path) for path in deciding_sources(models, TASK)}


def test_what_decides_is_found_from_imports():
    assert paths(["FPN", "ResNet"]) >= SHARED
    assert not [path for path in paths(["FPN"]) if path.startswith(("kernels", "necks")) and path not in SHARED]
    assert paths(["A2FPN"]) >= SHARED | {"necks/a2fpn.py", "kernels/reassemble.py", "kernels/cpu/reassemble.cpp"}
    assert "necks/fapn.py" not in paths(["A2FPN"])


def test_a_run_depends_on_the_sources_of_its_backbone_too():
    assert Path("necks/backbones/aff_resnet.py") in model_sources(["FPN", "AFFResNet"])
    assert model_sources(["FPN", "ResNet"]) == []


def test_docstrings_comments_formatting_annotations_and_places_of_imports_are_no_change():
    assert form(MODULE) == form(TIDIED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDTH = 3", "WIDTH = 4"),
        ("WIDTH = 3", "WIDTH = 3.0"),
        ("width=WIDTH", "width=5"),
        ("width=WIDTH", "breadth=WIDTH"),
        ("level > self.width", "level >= self.width"),
        ("import enlarge", "import enlarge_twice as enlarge"),
        ("import os", "import posix as os"),
        ("return enlarge(level)", "return"),
        ("class Neck:", "class Neck(list):"),
    ],
)
def test_a_constant_a_default_an_operator_or_an_imported_name_is_a_change(old, new):
    assert form(MODULE) != form(MODULE.replace(old, new))


@given(
    st.sampled_from(sorted(Path().glob("necks/**/*.py"))),
    st.integers(0, 10**6),
    st.text(st.characters(codec="ascii"), max_size=30),
)
def test_a_comment_anywhere_is_no_change(path, position, text):
    tree = ast.parse(path.read_text())
    lines = path.read_text().splitlines()
    starts = [node.lineno - 1 for node in tree.body[1:] if not getattr(node, "decorator_list", None)]
    start = starts[position % len(starts)] if starts else len(lines)
    comment = "# " + "".join(character for character in text if character.isprintable())
    assert normal_form(ast.parse("\n".join([*lines[:start], comment, "", *lines[start:]]))) == normal_form(tree)


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("int a = 1;", "int  a=1 ; // one", True),
        ("int a = 1;", "/* a\n b */ int a\n= 1;", True),
        ("int a = 1;", "int a = 2;", False),
        ("int ab;", "int a b;", False),
        ('f("a b");', 'f("a  b");', False),
        ("#define A 1\nint b;", "#define A 1 int b;", False),
        ("#define A 1\n\nint b;", "#define  A 1 // one\nint b;", True),
        ('f("// no comment");', 'f("");', False),
    ],
)
def test_comments_and_white_space_of_cpp_are_no_change(tmp_path, old, new, is_same):
    hashes = []
    for name, text in (("old.cpp", old), ("new.cpp", new)):
        (tmp_path / name).write_text(text)
        hashes.append(fingerprint.fingerprint(tmp_path / name))
    assert (hashes[0] == hashes[1]) == is_same


def is_current(recorded):
    forget_sources()
    return are_current(recorded, ["A2FPN"], TASK)


def test_a_run_is_stale_when_a_source_means_something_else_and_not_when_it_is_put_back(copied_sources):
    recorded = fingerprints(["A2FPN"], TASK)
    before = A2FPN.read_text()
    A2FPN.touch()
    assert is_current(recorded)
    A2FPN.write_text(before + "# a comment\n")
    assert is_current(recorded)
    A2FPN.write_text(before + "CONSTANT = 1\n")
    assert not is_current(recorded)
    A2FPN.write_text(before)
    assert is_current(recorded)
    Path("kernels/cpu/vector.h").write_text("// another\nint x;")
    assert not is_current(recorded)


@pytest.mark.parametrize("path", sorted(SHARED - {"experiments/configs/templates/config.py.j2"}))
def test_every_shared_source_decides(copied_sources, path):
    recorded = fingerprints(["A2FPN"], TASK)
    Path(path).write_text(Path(path).read_text() + "\nCONSTANT = 1\n")
    assert not is_current(recorded)


def test_a_file_that_moves_is_no_change(copied_sources):
    recorded = fingerprints(["A2FPN"], TASK)
    A2FPN.rename("necks/pyramid.py")
    Path("experiments/training/checkpoints.py").rename("experiments/training/saved.py")
    train = Path("experiments/training/train.py")
    train.write_text(train.read_text().replace("experiments.training.checkpoints import", "experiments.training.saved import"))
    assert is_current(recorded)


def test_another_neck_another_task_and_what_counts_layers_are_no_change(copied_sources):
    recorded = fingerprints(["A2FPN"], TASK)
    for path in ("necks/fapn.py", "experiments/tasks/own.py", "experiments/tasks/costs/detector.py"):
        Path(path).write_text("CONSTANT = 1\n")
    assert is_current(recorded)


def test_a_run_depends_on_its_own_task(copied_sources):
    detection, instances = (fingerprints(["A2FPN"], task) for task in ("detection", TASK))
    path = Path("experiments/tasks/instance_segmentation.py")
    path.write_text(path.read_text() + "CONSTANT = 1\n")
    assert not is_current(instances)
    assert are_current(detection, ["A2FPN"], "detection")


def test_records_of_a_users_own_file_by_its_bytes_hold_while_its_bytes_do(copied_sources):
    own = Path("necks/own.py")
    own.write_text("from mmdet.registry import MODELS\n\n\n@MODELS.register_module()\nclass Own:\n    x = 1\n")
    by_bytes = {str(own): hashlib.sha256(own.read_bytes()).hexdigest()[:12]}
    forget_sources()
    recorded = {path: digest for path, digest in fingerprints(["Own"], TASK).items() if path != str(own)}
    forget_sources()
    assert are_current(recorded | by_bytes, ["Own"], TASK)
    own.write_text(own.read_text().replace("x = 1", "x = 2"))
    forget_sources()
    assert not are_current(recorded | by_bytes, ["Own"], TASK)


def test_the_grid_is_computed_without_torch():
    code = (
        "import sys; from experiments.workflow.grid import Grid; from experiments.workflow.report_inputs import ReportInputs;"
        "Grid({'studies': 'a2fpn', 'scale': 'demo', 'seeds': 0}).runs; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"


# What runs recorded before sources were hashed by their meaning, by model.
RECORDED = json.loads((Path(__file__).parent / "recorded_sources.json").read_text())
# What runs recorded before tasks had files, by model.
RECORDED_MEANINGS = json.loads((Path(__file__).parent / "recorded_meanings.json").read_text())
# What runs of version 0.1.0 recorded, by model.
RECORDED_0_1_0 = json.loads((Path(__file__).parent / "recorded_0_1_0.json").read_text())
# What runs recorded before there was classification, by model.
RECORDED_LATER = json.loads((Path(__file__).parent / "recorded_before_classification.json").read_text())


@pytest.mark.parametrize(
    "recorded",
    [RECORDED, RECORDED_MEANINGS, RECORDED_0_1_0, RECORDED_LATER],
    ids=["bytes", "meanings", "0.1.0", "before classification"],
)
@pytest.mark.parametrize("model", RECORDED)
def test_finished_runs_of_earlier_versions_stay_finished(model, recorded):
    """If a source is meant to compute something else, take its model out of the recorded files; else run
    ``python -m experiments.benchmarks.equal_sources`` after `compare_commits`."""
    for task in ("detection", "instance_segmentation"):
        assert are_current(recorded[model], [model] if model else [], task)


def test_a_recorded_source_that_is_unknown_makes_a_run_stale():
    assert not are_current(RECORDED["A2FPN"] | {"necks/a2fpn.py": "0" * 12}, ["A2FPN"], TASK)
    assert not are_current(RECORDED[""], ["A2FPN"], TASK)
