"""One run of a test's project, trained by its own command without Snakemake, so that signals reach it."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

GRID = """
from experiments.__main__ import read_grid
from experiments.workflow.resources import launcher
grid = read_grid([])
print(launcher(grid.scale), list(grid.runs)[-1])
"""

# Waits long enough at a moment for a signal to come.
MOMENTS = """
import os, time
from pathlib import Path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class MomentHook(Hook):
    priority = "VERY_LOW"

    def wait(self, moment):
        if os.environ.get("MOMENT") == moment and not Path("now.txt").exists():
            Path("now.txt").touch()
            time.sleep(0.5)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.wait("first step" if runner.iter == 0 else "epoch" if batch_idx == 1 else "")

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.wait("validation")

    def before_test_iter(self, runner, batch_idx, data_batch=None):
        self.wait("test")

    def before_replay(self, runner):
        self.wait("resuming")
"""


def _as_snakemake_starts_it() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # A test that trained in this process has blocked them for all that it forks.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


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
        self.project, self.processes = project, processes
        *self.launcher, self.run = project.python("-c", GRID).stdout.split()
        self.folder: Path = project.folder / "runs" / self.run
        made = project.snakemake(f"runs/{self.run}/config.py", "datasets/instant.json")
        assert made.returncode == 0, made.stderr

    def start(self, **variables: str) -> subprocess.Popen:
        options = ["--dataset", "datasets/instant.json", "--log-file", "train.log", f"runs/{self.run}/config.py"]
        environment = self.project.environment | variables
        return subprocess.Popen(
            ["env", *self.launcher, "-m", "experiments.training.train", *options, f"runs/{self.run}/metrics.json"],
            cwd=self.project.folder,
            env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
            start_new_session=True,
            preexec_fn=_as_snakemake_starts_it,
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

    def interrupt_everything(self, kind: signal.Signals, moment: str, times: int = 1) -> tuple[int, str]:
        """Start, send a signal to every process at a moment of `MOMENTS`, and return exit code and last words.

        Fails if a process is left behind.
        """
        (self.project / "now.txt").unlink(missing_ok=True)
        process = self.start(MOMENT=moment)
        started = time.monotonic()
        while not (self.project / "now.txt").exists():
            assert process.poll() is None, process.communicate(timeout=300)[1]
            assert time.monotonic() < started + 120
            time.sleep(0.01)
        everything = []
        for _ in range(times):
            everything += self._tell_everything(process, kind)
            time.sleep(0.05)
        _, said = process.communicate(timeout=120)
        _, left = psutil.wait_procs(everything, timeout=15)
        assert not left, left
        return process.returncode, said

    @staticmethod
    def _tell_everything(process: subprocess.Popen, kind: signal.Signals) -> list[psutil.Process]:
        """Send a signal to a process and to all that it has started, some of which torchrun gives sessions of their own."""
        if process.poll() is not None:
            return []
        everything = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in everything:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(kind)
        return everything

    def stop_at_moments(self) -> None:
        """Let a training wait at the moment that the variable MOMENT names, and leave ``now.txt`` there."""
        (self.project / "experiments/moments.py").write_text(MOMENTS)
        with (self.folder / "config.py").open("a") as config:
            config.write("custom_imports['imports'].append('experiments.moments')\n")
            config.write("custom_hooks.append(dict(type='MomentHook'))\n")

    def interrupt(self, kind: signal.Signals, seconds: float) -> tuple[int, str]:
        """Start, send the signal to every process so long after the first iteration, and return exit code and last words."""
        (self.folder / "progress.json").unlink(missing_ok=True)
        process = self.start()
        self.until_it_trains(process)
        time.sleep(seconds)
        self._tell_everything(process, kind)
        _, said = process.communicate(timeout=120)
        return process.returncode, said

    def forget(self) -> None:
        (self.folder / "metrics.json").unlink()
        for path in (self.folder / "checkpoints").glob("*.pth"):
            path.unlink()
