"""Shared fixtures: temporary projects to run the real Snakemake in, real photos, one thread."""

import ast
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

from experiments.benchmarks.project_copy import copy_project
from experiments.data.prepare import prepare_dataset
from experiments.spec.datasets import SyntheticDataset
from experiments.spec.known_classes import COCO_CLASSES
from experiments.spec.neck_catalog import BACKBONES, HEADS, NECKS, own_models

# The machines of continuous integration are slow at times; that is no fault of what is tested.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
# Read here once: tests work in folders of their own, whose necks are the project's.
for _folder in (NECKS, BACKBONES, HEADS):
    own_models(_folder)
SCALES = Path(__file__).parent / "scales"
STUDIES = Path(__file__).parent / "studies"

SHAPES = SyntheticDataset(
    kind="synthetic",
    classes=["disc", "star", "cross", "crescent", "triangle", "square"],
    image_size=64,
    train_count=12,
    val_count=8,
    min_objects=2,
    max_objects=5,
)


HAS_TORCH = importlib.util.find_spec("torch") is not None
# Importing one of these imports torch, or needs what is installed beside it.
HEAVY = {"torch", "mmdet", "mmengine", "mmcv", "mmseg", "faster_coco_eval"}
PROJECT = {"experiments", "necks", "kernels", "reports", "tests"}
# Run programs of the project that need torch.
HEAVY_FOLDERS = ("docs", "envs", "kernels", "losses", "slurm", "workflow")


@cache
def imports_torch(path: Path) -> bool:
    """Whether importing a file of this project imports torch, directly or through other files of it.

    Parameters
    ----------
    path : Path
        A Python file.
    """
    modules: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    if HEAVY & {module.partition(".")[0] for module in modules}:
        return True
    own = [ROOT.joinpath(*module.split(".")) for module in modules if module.partition(".")[0] in PROJECT]
    files = [file for module in own for file in (module.with_suffix(".py"), module / "__init__.py")]
    return any(imports_torch(file) for file in files if file.is_file() and file != path)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without torch, leave out the test files that need it."""
    if HAS_TORCH or not collection_path.is_relative_to(ROOT / "tests"):
        return None
    parts = collection_path.relative_to(ROOT / "tests").parts
    if parts and parts[0] in HEAVY_FOLDERS:
        return True
    file = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    return True if file.suffix == ".py" and file.is_file() and imports_torch(file) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without torch, skip the single tests that need it."""
    for item in items:
        if not HAS_TORCH and item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.skip(reason="needs torch: make test"))


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    """Draw every test's weights from one seed, so that a test fails always or never."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _closed_terminals_are_noticed():
    """Also under ``nohup``, whose SIGHUP, which is ignored, a training would rightly ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    if HAS_TORCH:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _registered():
    """Make mmdet's and this project's modules known, with mmdet's scope as the default."""
    if HAS_TORCH:
        from mmdet.utils import register_all_modules

        register_all_modules()
        import necks  # noqa: F401


@pytest.fixture(autouse=True)
def _in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def tiny_coco() -> Path:
    """Folder of 100 real COCO photos."""
    folder = Path(os.environ.get("TINY_COCO", ROOT.parent / "shared" / "data" / "tiny_coco"))
    if not folder.is_dir():
        pytest.skip(f"needs real COCO photos: set TINY_COCO to a folder in COCO format ({folder} does not exist)")
    return folder


@pytest.fixture
def coco(tmp_path):
    """A folder in COCO's layout with COCO's 80 categories, made from drawn images."""
    folder = tmp_path / "coco"
    prepare_dataset(SHAPES, tmp_path / "drawn", None)
    for split in ("train", "val"):
        shutil.copytree(tmp_path / "drawn" / split, folder / f"{split}2017")
        content = json.loads((tmp_path / f"drawn/annotations/{split}.json").read_text())
        content["categories"] = [{"id": index, "name": name} for index, name in enumerate(COCO_CLASSES, start=1)]
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def reference_tools() -> Path:
    """Folder of check_neck.py and its fingerprints."""
    folder = Path(os.environ.get("NECK_FINGERPRINTS", ROOT.parent / "shared" / "tools"))
    if not (folder / "check_neck.py").exists():
        pytest.skip(f"needs the necks' reference fingerprints: set NECK_FINGERPRINTS to their folder ({folder} has none)")
    return folder


@dataclass
class Project:
    """A copy of the project in which a test may change files and run Snakemake."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def configure(self, **values: object) -> None:
        """Exchange keys of the configuration."""
        path = self / "experiments/config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))

    def change_yaml(self, name: str, change) -> None:
        """Apply a function to the content of a YAML file."""
        path = self / name
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs Snakemake here."""
        return [str(Path(sys.executable).parent / "snakemake"), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """This project's modules, not those of the installed one."""
        inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        return {**inherited, "PYTHONPATH": str(self.folder)}

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake and capture what it says."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=600,
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=600,
        )


def fresh_project(folder: Path) -> Project:
    """A copy of the project with the tests' `instant` scale and `two_necks` study, nothing computed."""
    copy_project(folder)
    shutil.copytree(SCALES, folder / "experiments/scales", dirs_exist_ok=True)
    shutil.copytree(STUDIES, folder / "experiments/studies", dirs_exist_ok=True)
    # What a neck has passed depends on its sources alone, so the projects of a session share it.
    (folder / "checks").mkdir()
    passed = folder.parent / "passed_necks"
    passed.mkdir(exist_ok=True)
    (folder / "checks/necks").symlink_to(passed)
    project = Project(folder)
    project.configure(scale="instant", studies=["two_necks"])
    return project


@pytest.fixture
def project(tmp_path) -> Project:
    """A project of the test's own."""
    return fresh_project(tmp_path)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory) -> Project:
    """A project that the tests of a module only look at."""
    return fresh_project(tmp_path_factory.mktemp("project"))
