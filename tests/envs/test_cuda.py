"""The set-up on machines with and without GPUs, played by programs that answer as real ones do and note their calls."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "nvidia-smi": """
case "$*" in
  --list-gpus) for i in $GPUS; do echo "GPU $i: NVIDIA (UUID: GPU-$i)"; done; [ -n "$GPUS" ] ;;
  "--query-gpu=compute_cap --format=csv,noheader") for i in $GPUS; do echo "$i"; done ;;
esac""",
    "nvcc": """
case "$*" in
  --version) echo "Cuda compilation tools, release $NVCC, V$NVCC.88" ;;
  *--dryrun*) echo '#$ TOP=/opt/cuda/bin/..' >&2 ;;
  *probe.cu*) echo "probed $*" >>"$CALLS"; [ -z "$NVCC_ERROR" ] || { echo "probe.cu:1: $NVCC_ERROR" >&2; exit 1; } ;;
esac""",
}
# A Python that is asked what it holds and told to install.
PYTHON = """
case "$*" in
  *get_compiling_cuda_version*) echo "$MMCV_CUDA" ;;
  *torch.version.cuda*) echo "$TORCH_CUDA" ;;
  *"mmcv.ops"*|*kernels.cpu.build*|*"pip check"*|*"pip uninstall"*) ;;
  *sysconfig*purelib*) dirname "$0" ;;
  "-m pip install"*)
    echo "FORCE_CUDA=$FORCE_CUDA TORCH_CUDA_ARCH_LIST=$TORCH_CUDA_ARCH_LIST CUDA_HOME=$CUDA_HOME $*" >>"$CALLS" ;;
  *) exec REAL "$@" ;;
esac"""
MACHINE = {"GPUS": "9.0 8.0 9.0", "NVCC": "13.0", "NVCC_ERROR": "", "TORCH_CUDA": "13.0", "MMCV_CUDA": "13.0"}


class Machine:
    """A copy of the set-up and a folder of played programs before everything else on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment, self.calls = folder, folder / "environment", folder / "calls"
        for name in ("envs", "kernels/cpu"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("libraries", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for name, text in PROGRAMS.items():
            self.play(folder / "programs" / name, text)
        for environment in (self.environment, self.environment / "snakemake"):
            self.play(environment / "bin/python", PYTHON.replace("REAL", sys.executable))

    @staticmethod
    def play(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def run(self, script: str = "envs/setup.sh", **variables: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        path = f"{self.folder / 'programs'}:/usr/bin:/bin"
        return subprocess.run(
            ["bash", script, str(self.environment) if "setup" in script else str(self.environment / "bin/python")],
            cwd=self.folder,
            env={"PATH": path, "CALLS": str(self.calls), "HOME": str(self.folder), **MACHINE, **variables},
            text=True,
            capture_output=True,
            check=False,
            timeout=600,
        )

    @property
    def mmcv_installation(self) -> str:
        lines = [line for line in self.calls.read_text().splitlines() if line.endswith("onedl-mmcv==2.3.6")]
        return lines[0] if lines else ""


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_with_gpus_mmcv_is_compiled_for_them_past_the_cache(machine):
    result = machine.run()
    assert result.returncode == 0, result.stderr
    assert "compute capabilities 8.0;9.0" in result.stdout
    assert "nvcc of the same major version" in result.stdout
    assert result.stdout.index("an estimate") < result.stdout.index("1/6 torch")
    assert machine.mmcv_installation.startswith("FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=8.0;9.0 CUDA_HOME=/opt/cuda ")
    assert "--no-cache-dir" in machine.mmcv_installation
    assert "--force-reinstall" in machine.mmcv_installation
    assert "-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90" in machine.calls.read_text()


@pytest.mark.parametrize("variables", [{"GPUS": ""}, {"FORCE_CUDA": "0"}])
def test_without_gpus_mmcv_is_compiled_for_the_cpu(machine, variables):
    result = machine.run(**variables, MMCV_CUDA="")
    assert result.returncode == 0, result.stderr
    assert machine.mmcv_installation.startswith("FORCE_CUDA=0 TORCH_CUDA_ARCH_LIST= ")
    assert "no-cache-dir" not in machine.mmcv_installation
    assert "CUDA" not in result.stdout
    assert "probed" not in machine.calls.read_text()


def test_a_login_node_compiles_for_the_gpus_that_it_is_told(machine):
    result = machine.run(GPUS="", FORCE_CUDA="1", TORCH_CUDA_ARCH_LIST="8.0 9.0+PTX")
    assert result.returncode == 0, result.stderr
    assert "TORCH_CUDA_ARCH_LIST=8.0;9.0+PTX " in machine.mmcv_installation


def test_what_is_compiled_for_all_gpus_is_not_compiled_again(machine):
    assert machine.run(GPUS="", MMCV_CUDA="").returncode == 0
    assert machine.run(GPUS="", MMCV_CUDA="").stdout == "", "up to date"
    assert machine.run(GPUS="8.0").returncode == 0
    assert machine.mmcv_installation, "the environment of a login node has no CUDA"
    for variables in ({"GPUS": "8.0"}, {"GPUS": ""}):
        assert machine.run(**variables).stdout == "", "up to date"
    machine.run(GPUS="8.0 9.0")
    assert machine.mmcv_installation, "a new kind of GPU"
    pins = machine.folder / "envs/requirements.txt"
    pins.write_text(pins.read_text().replace("tqdm==", "tqdm==1"))
    assert "3/6" in machine.run(GPUS="9.0").stdout
    assert not machine.mmcv_installation, "another package is no reason to compile mmcv again"
    pins.write_text(pins.read_text().replace("\ntorch==", "\ntorch==9"))
    machine.run(GPUS="9.0")
    assert machine.mmcv_installation, "mmcv is compiled for one version of torch"


def test_a_new_environment_has_its_gpus_checked_again(machine):
    for name in ("coco_4_gpus.json", "coco_disk.json"):
        (machine.folder / "checks").mkdir(exist_ok=True)
        (machine.folder / "checks" / name).write_text("{}")
    assert machine.run().returncode == 0
    assert [path.name for path in (machine.folder / "checks").iterdir()] == ["coco_disk.json"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"GPUS": "", "FORCE_CUDA": "1"},
            ["GPUs to compile mmcv for are not known", "TORCH_CUDA_ARCH_LIST='8.0;9.0' make setup"],
        ),
        ({"TORCH_CUDA_ARCH_LIST": "Hopper"}, ["'Hopper' is not a compute capability", "8.0;9.0"]),
        ({"GPUS": "[N/A]"}, ["does not tell the compute capabilities", "TORCH_CUDA_ARCH_LIST"]),
        ({"FORCE_CUDA": "yes"}, ["FORCE_CUDA is 'yes'", "allowed: 1", "0"]),
        ({"CUDA_HOME": "/nowhere"}, ["no nvcc found (/nowhere/bin/nvcc)", "CUDA_HOME", "FORCE_CUDA=0 make setup"]),
        ({"NVCC": "12.4"}, ["torch is built for CUDA 13.0", "of CUDA 12.4", "install CUDA 13"]),
        ({"TORCH_CUDA": ""}, ["built for the CPU only", "PIP_INDEX_URL", "FORCE_CUDA=0 make setup"]),
        ({"NVCC_ERROR": "error: -- unsupported GNU version!"}, ["cannot compile for 8.0;9.0", "unsupported GNU version"]),
        ({"MMCV_CUDA": ""}, ["mmcv was compiled without its CUDA operators"]),
    ],
)
def test_what_cannot_work_is_one_sentence(machine, variables, words):
    result = machine.run(**variables)
    assert result.returncode == 1
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("error: ")
    for word in words:
        assert word in sentence
    if "MMCV_CUDA" not in variables:
        assert not machine.mmcv_installation, "nothing long has been started"
    assert not (machine.environment / "installed.sha256").exists()


def test_alone_it_says_what_would_be_done(machine):
    result = machine.run("envs/cuda.sh")
    assert result.stdout.endswith("All of it is here.\n"), result.stderr
    assert "for the CPU only" in machine.run("envs/cuda.sh", GPUS="").stdout


def test_snakemake_has_an_environment_of_its_own_whose_command_stands_beside_the_other_programs(machine):
    assert machine.run(GPUS="", MMCV_CUDA="").returncode == 0
    assert [line.split()[-1] for line in machine.calls.read_text().splitlines() if "snakemake" in line] == [
        "envs/snakemake.txt"
    ]
    assert (machine.environment / "bin/snakemake").readlink() == Path("../snakemake/bin/snakemake")
    assert (machine.environment / "snakemake/bin/project.pth").read_text() == f"{machine.folder}\n"
    pins = machine.folder / "envs/snakemake.txt"
    pins.write_text(pins.read_text().replace("snakemake==", "snakemake==1"))
    assert "5/6 Snakemake" in machine.run(GPUS="", MMCV_CUDA="").stdout, "other pins are installed"
