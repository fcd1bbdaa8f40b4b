"""One run of a test's project, trained by its own command without Snakemake, so that signals reach it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Training:
    """The last run of a project's grid, in one process or several.

    Parameters
    ----------
    project : Project
        Whose scale is complete.
    processes : int
        Number of them.
    """

    def __init__(self, project, processes: int) -> None:
        resources = {"gpus": processes if processes > 1 else 0, "threads": processes}
        project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale.update(resources=resources))
        code = (
            "import yaml; from experiments.grid import Grid; print(*Grid(yaml.safe_load(open('experiments/config.yaml'))).runs)"
        )
        self.project, self.processes = project, processes
        self.run = project.python("-c", code).stdout.split()[-1]
        self.folder: Path = project.folder / "runs" / self.run
        made = project.snakemake(f"runs/{self.run}/config.py", "datasets/instant.json")
        assert made.returncode == 0, made.stderr

    def start(self) -> subprocess.Popen:
        launcher = [sys.executable]
        if self.processes > 1:
            signals = "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
            torchrun = str(Path(sys.executable).parent / "torchrun")
            launcher = [torchrun, "--standalone", signals, f"--nproc-per-node={self.processes}"]
        options = ["--dataset", "datasets/instant.json", "--log-file", "train.log", f"runs/{self.run}/config.py"]
        return subprocess.Popen(
            [*launcher, "-m", "experiments.train", *options, f"runs/{self.run}/metrics.json"],
            cwd=self.project.folder,
            env=self.project.environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> dict:
        process = self.start()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return json.loads((self.folder / "metrics.json").read_text())

    def interrupt(self, kind: signal.Signals, seconds: float) -> tuple[int, str]:
        """Start, send the signal so long after the first iteration, and return the exit code and what was said."""
        progress = self.folder / "progress.json"
        progress.unlink(missing_ok=True)
        started, process = time.monotonic(), self.start()
        while not (progress.exists() and "iteration" in json.loads(progress.read_text())):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < started + 120
            time.sleep(0.01)
        time.sleep(seconds)
        if kind == signal.SIGKILL:
            os.killpg(process.pid, kind)
        elif process.poll() is None:
            process.send_signal(kind)
        _, said = process.communicate(timeout=120)
        return process.returncode, said

    def forget(self) -> None:
        (self.folder / "metrics.json").unlink()
        for path in (self.folder / "checkpoints").glob("*.pth"):
            path.unlink()
