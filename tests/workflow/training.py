"""One run of a test's project, trained by its own command without Snakemake, so that signals reach it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

GRID = """
from experiments.__main__ import read_grid
from experiments.workflow.resources import launcher
grid = read_grid([])
print(launcher(grid.scale), list(grid.runs)[-1])
"""


class Training:
    """The last run of a project's grid, in one process or several.

    Parameters
    ----------
    project : Project
        Whose scale is complete.
    processes : int
        Number of them.
    workers : int
        Processes that load data for each of them.
    """

    def __init__(self, project, processes: int, workers: int = 0) -> None:
        resources = {"gpus": processes if processes > 1 else 0, "threads": processes, "workers": workers}
        project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(resources=resources))
        self.project = project
        *self.launcher, self.run = project.python("-c", GRID).stdout.split()
        self.folder: Path = project.folder / "runs" / self.run
        made = project.snakemake(f"runs/{self.run}/config.py", "datasets/instant.json")
        assert made.returncode == 0, made.stderr

    def start(self) -> subprocess.Popen:
        options = ["--dataset", "datasets/instant.json", "--log-file", "train.log", f"runs/{self.run}/config.py"]
        environment = self.project.environment
        return subprocess.Popen(
            ["env", *self.launcher, "-m", "experiments.training.train", *options, f"runs/{self.run}/metrics.json"],
            cwd=self.project.folder,
            env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
            start_new_session=True,
            # As Snakemake does.
            preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> dict:
        process = self.start()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return json.loads((self.folder / "metrics.json").read_text())

    def until_it_trains(self, process: subprocess.Popen) -> None:
        """Wait for the first iteration after the start of a process."""
        progress, started = self.folder / "progress.json", time.monotonic()
        while not (progress.exists() and "iteration" in json.loads(progress.read_text())):
            assert process.poll() is None, process.communicate(timeout=300)[1]
            assert time.monotonic() < started + 120
            time.sleep(0.01)

    def interrupt(self, kind: signal.Signals, seconds: float) -> tuple[int, str]:
        """Start, send the signal so long after the first iteration, and return exit code and last words."""
        (self.folder / "progress.json").unlink(missing_ok=True)
        process = self.start()
        self.until_it_trains(process)
        time.sleep(seconds)
        if kind == signal.SIGKILL:
            # torchrun gives its processes sessions of their own.
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        if process.poll() is None:
            process.send_signal(kind)
        _, said = process.communicate(timeout=120)
        return process.returncode, said

    def forget(self) -> None:
        (self.folder / "metrics.json").unlink()
        for path in (self.folder / "checkpoints").glob("*.pth"):
            path.unlink()
