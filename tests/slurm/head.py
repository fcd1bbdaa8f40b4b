"""The Snakemake that submits, and what can be seen of its trainings from outside."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from experiments.environments import snakemake_python
from tests.conftest import Project
from tests.slurm.cluster import Cluster, parent_of, wait_for

REPORT = "reports/two_necks_table2.md"

# The executor asks Slurm for news after 1, 11, 21, 31 … seconds; a test has no time for that.
SNAKEMAKE = """
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
main()
"""


class Head:
    """A Snakemake with the Slurm profile, as a context: it is ended with the block.

    Attributes
    ----------
    environments : dict
        What each training that was watched found in its environment, by run.
    jobs : dict
        What Slurm said about its job meanwhile, by run.
    refused : Head or None
        Another one that was started in the same folder meanwhile.
    """

    def __init__(self, project: Project, cluster: Cluster, name: str) -> None:
        self.project, self.cluster, self.name = project, cluster, name
        self.command = [str(snakemake_python()), "-c", SNAKEMAKE, "--profile", "slurm", REPORT]
        self.environment = project.environment | cluster.environment
        self.output = project / f"{name}.txt"
        self.environments: dict[str, dict[str, str]] = {}
        self.jobs: dict[str, dict[str, str]] = {}
        self.refused: Head | None = None

    def __enter__(self) -> "Head":
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.project.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=300)

    def finish(self, seconds: float = 600) -> str:
        """What it has said, once it has ended well."""
        wait_for(f"the end of {self.name}", lambda: self.process.poll() is not None, seconds, self.evidence)
        assert self.process.returncode == 0, self.evidence()
        return self.output.read_text()

    def evidence(self) -> str:
        """What helps to understand a failure: the ends of all logs and the jobs."""
        logs = [self.output, *self.project.folder.glob("logs/**/*.log"), *self.cluster.folder.glob("*.log")]
        ends = (f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in sorted(logs))
        return "\n".join([*ends, f"--- jobs: {self.cluster.jobs()}"])

    def until(self, what: str, condition, seconds: float = 300) -> object:
        """Wait for a condition while this Snakemake lives."""

        def checked() -> object:
            value = condition()
            assert value or self.process.poll() is None, f"{what}: {self.name} has ended\n{self.evidence()}"
            return value

        return wait_for(what, checked, seconds, self.evidence)

    def trainings(self) -> dict[str, int]:
        """Number of a process that trains, by run."""
        return {run: process for process, run in self.training_processes().items()}

    def training_processes(self) -> dict[int, str]:
        """Run of each process that trains, or waits to; without the dataloader workers, which are forks of it."""
        found = dict(training for folder in Path("/proc").glob("[0-9]*") if (training := self._training(folder)))
        return {process: run for process, run in found.items() if parent_of(process) not in found}

    def _training(self, process: Path) -> tuple[int, str] | None:
        with suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            if words[1:3] == ["-m", "experiments.training.train"] and (process / "cwd").readlink() == self.project.folder:
                (config,) = (word for word in words if word.endswith("config.py"))
                return int(process.name), Path(config).parent.name
        return None

    def job_of(self, run: str) -> str | None:
        """Number of the running job that trains a run."""
        lines = self.cluster.command("squeue", "--noheader", "--states=running", "--format=%i|%Z|%k").splitlines()
        wanted = [str(self.project.folder), f"rule_train_wildcards_{run}"]
        return next((number for number, *words in (line.split("|") for line in lines) if words == wanted), None)

    def train_job(self, run: str) -> str:
        """Number of a job that trains a run, its first checkpoint written."""
        mark = self.project / f"runs/{run}/checkpoints/last_checkpoint"
        self.until(f"the first checkpoint of run {run}", mark.exists)
        return self.until(f"the job of run {run}", lambda: self.job_of(run))

    def next_job(self, run: str, before: str) -> dict[str, str]:
        """What Slurm knows about the job that trains a run after another one."""

        def found() -> str | None:
            number = self.job_of(run)
            return number if number != before else None

        return self.cluster.job(self.until(f"another job of run {run}", found))

    def watch_two_trainings(self) -> None:
        """Note what two trainings find in their environments while both run."""

        def two() -> dict[str, int] | None:
            trainings = self.trainings()
            return trainings if len(trainings) == 2 else None

        for run, process in self.until("two trainings at the same time", two).items():
            variables = Path(f"/proc/{process}/environ").read_text().split("\0")
            self.environments[run] = dict(variable.split("=", 1) for variable in variables if "=" in variable)
            self.jobs[run] = self.cluster.job(self.job_of(run))

    def results(self) -> dict[str, dict]:
        """What must not depend on faults in each metrics.json, by run."""
        contents = [json.loads(path.read_text()) for path in self.project.folder.glob("runs/*/metrics.json")]
        parts = ("spec", "metrics", "history", "parameters", "dataset")
        return {content["run"]: {part: content[part] for part in parts} for content in contents}

    def resumed_from(self, run: str) -> str | None:
        """The checkpoint from which the attempt that ended a run went on."""
        return json.loads((self.project / f"runs/{run}/metrics.json").read_text())["provenance"]["resumed_from"]
