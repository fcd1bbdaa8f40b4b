"""What Slurm's programs refuse, answer wrongly or answer late ends in words or in another attempt; stub programs play Slurm."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from experiments.environments import snakemake_python
from experiments.workflow.grid import Grid
from tests.conftest import Project, fresh_project
from tests.slurm.head import SNAKEMAKE
from tests.workflow.disks import ENOUGH_DISK

pytestmark = [pytest.mark.torch, pytest.mark.long]
# Programs that answer as those of a Slurm that runs a job and loses it.
SLURM = {
    "sbatch": 'echo "$@" >>"$CALLS"; echo 17',
    "squeue": "echo '17|FAILED'",
    "scontrol": "echo 'MinJobAge = 300 sec'",
    "sacct": "echo Slurm accounting storage is disabled >&2; exit 1",
    "sacctmgr": "echo physics",
    "sshare": "echo physics",
    "srun": "exit 1",
    "scancel": "exit 0",
}
ACCOUNT = ("--default-resources", "slurm_account=biology", "slurm_partition=gpu", "mem_mb=100", "runtime=1")


class Cluster:
    """A project and a folder of stub programs."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.programs, self.calls = project, folder / "programs", folder / "calls"
        self.tools = folder / "tools"

    def call(self, *options: str, missing: str = "", **programs: str) -> subprocess.CompletedProcess[str]:
        """Ask for a run, with other programs than `SLURM`'s or without one of them."""
        self.programs.mkdir()
        self._link_tools()
        self.calls.write_text("")
        for name, text in (SLURM | programs).items():
            if name not in missing.split():
                (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
                (self.programs / name).chmod(0o755)
        run = next(iter(Grid({"studies": "two_necks", "scale": "instant", "seeds": 0}).runs.values()))
        options = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "1", *options)
        return subprocess.run(
            [str(snakemake_python()), "-c", SNAKEMAKE, "--profile", "slurm", *options, "--", str(run.metrics_file)],
            cwd=self.project.folder,
            env={**self.project.environment, "PATH": f"{self.programs}:{self.tools}", "CALLS": str(self.calls)},
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )

    def _link_tools(self) -> None:
        """All programs of this machine but those of a Slurm that it may have."""
        self.tools.mkdir()
        for path in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
            if path.name not in SLURM and not (self.tools / path.name).is_symlink():
                (self.tools / path.name).symlink_to(path)

    @property
    def submissions(self) -> int:
        """Number of calls of sbatch."""
        return len(self.calls.read_text().splitlines())


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project whose trainings ask for a GPU, its dataset and necks checked."""
    project = fresh_project(tmp_path_factory.mktemp("project"))
    resources = {"gpus": 1, "check_gpus": False}
    project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(resources=resources))
    (project / "experiments/preflight/disk.py").write_text(ENOUGH_DISK)
    return project


@pytest.fixture
def cluster(project, tmp_path, monkeypatch) -> Cluster:
    """Stub programs for one test."""
    monkeypatch.chdir(project.folder)
    return Cluster(project, tmp_path)


REFUSALS = {
    "sbatch refuses": (
        {"sbatch": 'echo "$@" >>"$CALLS"; echo "sbatch: error: Invalid qos specification" >&2; exit 1'},
        (),
        "SLURM sbatch failed. The error message was 'sbatch: error: Invalid qos specification'",
    ),
    "sbatch is missing": ({"missing": "sbatch"}, (), "sbatch: not found"),
    "sbatch cannot run": ({"sbatch": "kill -9 $$"}, (), "SLURM sbatch failed."),
    "sbatch answers without a number": ({"sbatch": "echo Welcome to the cluster"}, (), "Job submission failed with exception"),
    "an account that the user has not": (
        {},
        ACCOUNT,
        "The given account biology appears to be invalid. Available accounts:\nphysics",
    ),
    "accounts cannot be asked for": (
        {"sacctmgr": "echo down >&2; exit 1", "sshare": "echo down >&2; exit 1"},
        ACCOUNT,
        "Unable to test the validity of the given or guessed SLURM account 'biology' with sshare: down",
    ),
    "the programs for accounts are missing": ({"missing": "sacctmgr sshare"}, ACCOUNT, "No such file or directory: 'sacctmgr'"),
    "a forbidden word in slurm_extra": (
        {},
        ("--default-resources", "slurm_extra='--job-name=mine'", "slurm_partition=gpu", "mem_mb=100", "runtime=1"),
        "--job-name",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_goes_wrong_before_a_job_is_submitted_ends_in_words(cluster, refusal):
    programs, options, words = REFUSALS[refusal]
    result = cluster.call("--retries", "0", *options, **programs)
    said = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert " ".join(words.split()) in said


def test_a_submission_that_is_refused_is_tried_again(cluster):
    programs, _, words = REFUSALS["sbatch refuses"]
    result = cluster.call("--retries", "2", **programs)
    assert result.returncode != 0
    assert (result.stdout + result.stderr).count(words) == cluster.submissions == 3


def test_a_job_that_fails_is_named_with_its_state(cluster):
    result = cluster.call("--retries", "0")
    assert result.returncode != 0
    assert "SLURM-job '17' failed, SLURM status is: 'FAILED'" in result.stderr


def test_a_slow_sbatch_is_waited_for(cluster):
    started = time.monotonic()
    result = cluster.call("--retries", "0", sbatch="sleep 4; echo 17")
    assert "SLURM-job '17' failed" in result.stderr
    assert time.monotonic() - started > 4


def test_a_squeue_that_does_not_answer_is_asked_again(cluster, tmp_path):
    mark = tmp_path / "asked"
    squeue = f'echo >>{mark}; [ "$(wc -l <{mark})" -gt 3 ] || {{ echo "slurm_load_jobs error" >&2; exit 1; }}; echo "17|FAILED"'
    result = cluster.call("--retries", "0", squeue=squeue)
    assert "SLURM-job '17' failed" in result.stderr
    assert len(mark.read_text().splitlines()) > 3


def test_a_job_that_says_it_is_done_without_its_metrics_fails(cluster):
    result = cluster.call("--retries", "0", squeue="echo '17|COMPLETED'")
    assert result.returncode != 0
    assert "metrics.json" in result.stderr


def test_arrays_are_refused_in_one_sentence(cluster):
    result = cluster.call("--slurm-array-jobs", "all")
    assert result.returncode == 1
    assert (
        "error: --slurm-array-jobs: once more runs are ready than `jobs` admits, the Slurm plugin waits for ever; leave it out,"
        " each training is a job of its own"
    ) in result.stderr.splitlines()
    assert os.listdir(cluster.programs), "nothing was asked of Slurm"
    assert cluster.submissions == 0
