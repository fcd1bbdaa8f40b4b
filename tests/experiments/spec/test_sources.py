"""What is known of a neck without importing torch."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from experiments.spec.sources import (
    CONFIG_AND_MEASURE,
    SHARED_SOURCES,
    known_necks,
    neck_options,
    source_files,
    sources_fingerprint,
    training_sources,
)

from experiments.errors import UserError
from experiments.spec import sources


def test_own_and_mmdets_necks_are_known():
    assert {"A2FPN", "FPN", "PAFPN", "FPN_CARAFE", "NASFPN", "BFP"} <= set(known_necks())


def test_options_are_those_of_the_constructor():
    assert {"lateral", "gcn", "orthogonal_weight"} <= set(neck_options("A2FPN"))
    assert "add_extra_convs" in neck_options("FPN")


def test_a_run_depends_on_its_necks_sources_alone():
    assert source_files(["FPN"]) == []
    assert {"necks/a2fpn.py", "necks/fusion.py", "kernels/reassemble.py"} <= set(source_files(["A2FPN"]))
    assert "necks/auxiliary_loss_hook.py" not in source_files(["A2FPN"])
    assert training_sources(["FPN", "ResNet"]) == sorted(SHARED_SOURCES)
    assert {"experiments/training/hooks.py", "necks/auxiliary_loss_hook.py"} <= set(SHARED_SOURCES)


def test_a_neck_file_that_is_no_python_is_named(tmp_path, monkeypatch):
    (tmp_path / "necks").mkdir()
    (tmp_path / "necks/broken.py").write_text("class Broken(:\n")
    monkeypatch.chdir(tmp_path)
    sources._own_models.cache_clear()
    try:
        with pytest.raises(UserError, match=r"necks/broken.py, line 1: invalid syntax"):
            known_necks()
    finally:
        sources._own_models.cache_clear()


def test_the_grid_is_computed_without_torch():
    code = (
        "import sys; from experiments.workflow.grid import Grid; Grid({'studies': 'a2fpn', 'scale': 'demo', 'seeds': 0}).runs;"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


ORDER = ["kernels", "necks", "experiments", "reports"]


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_down(package):
    above = ORDER[ORDER.index(package) + 1 :]
    for path in Path(package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [m for m in modules if m.split(".")[0] in above], f"{path} imports from above"


def test_necks_know_nothing_of_experiments():
    assert not [p for p in Path("necks").rglob("*.py") if "experiments" in p.read_text()]


def test_a_run_depends_on_the_sources_of_its_backbone_too():
    files = source_files(["FPN", "AFFResNet"])
    assert files == ["necks/attentional_fusion.py", "necks/backbones/aff_resnet.py", "necks/options.py"]
    assert "AFFResNet" not in known_necks()


@pytest.fixture
def copied_sources(tmp_path, monkeypatch):
    """A folder with copies of the sources, of which nothing is remembered; the working folder."""
    for folder in ("necks", "kernels", "experiments"):
        shutil.copytree(folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "libraries"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget_sources()


def forget_sources():
    """What a new process would not know."""
    for function in vars(sources).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def fingerprint(*models):
    forget_sources()
    return Path(sources_fingerprint(models))


def test_the_fingerprint_holds_the_hash_of_every_source(copied_sources):
    hashes = json.loads(fingerprint("A2FPN").read_text())
    assert set(hashes) == {*training_sources(["A2FPN"]), *CONFIG_AND_MEASURE}
    assert hashes["necks/a2fpn.py"] == hashlib.sha256(Path("necks/a2fpn.py").read_bytes()).hexdigest()[:12]


def test_a_new_fingerprint_is_as_old_as_the_newest_source(copied_sources):
    for path in Path().rglob("*.*"):
        os.utime(path, (1_000_000, 1_000_000))
    os.utime("necks/fusion.py", (2_000_000, 2_000_000))
    assert fingerprint("A2FPN").stat().st_mtime == 2_000_000
    assert fingerprint("FPN").stat().st_mtime == 1_000_000


def test_a_fingerprint_becomes_younger_when_a_source_changes_and_not_when_it_is_touched(copied_sources):
    path = fingerprint("A2FPN")
    os.utime(path, (1_000_000, 1_000_000))
    Path("necks/a2fpn.py").touch()
    Path("necks/fapn.py").write_text(Path("necks/fapn.py").read_text() + "# a comment")
    assert fingerprint("A2FPN").stat().st_mtime == 1_000_000
    Path("kernels/cpu/vector.h").write_text("// other")
    assert fingerprint("A2FPN").stat().st_mtime > 2_000_000
