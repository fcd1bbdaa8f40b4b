"""A Slurm of one node with two pretended GPUs, in a folder of its own, as long as a test needs it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
ADMINISTRATION = "/usr/sbin:/sbin"

SLURM_CONF = """
ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts again once its credential has expired: Slurm's default is two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=600
KillWait={kill_wait}
SchedulerParameters=bf_interval=1,sched_min_interval=100000
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE OverSubscribe=NO State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes={host} MaxTime=INFINITE OverSubscribe=NO State=UP PriorityTier=2 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why no Slurm can be set up on this machine; None if it can."""
    path = f"{os.environ['PATH']}:{ADMINISTRATION}"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return f"needs Slurm ({', '.join(missing)} not found): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "needs root, to start the programs of a Slurm of its own"
    ping = subprocess.run(["scontrol", "ping"], text=True, capture_output=True, check=False, timeout=600)
    if " is UP" in ping.stdout:
        return "a Slurm already runs on this machine and stays untouched"
    return None


def wait_for(what: str, condition: Callable[[], object], seconds: float = 300, evidence: Callable[[], str] = str) -> object:
    """Poll until a condition holds, and return its value.

    Raises
    ------
    AssertionError
        With the evidence, if it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} seconds\n{evidence()}")


class Cluster:
    """The running Slurm; its commands find it through the environment.

    Attributes
    ----------
    folder : Path
        Configuration, state and logs.
    environment : dict
        What a program must find to speak to this Slurm.
    """

    def __init__(self, folder: Path, kill_wait: int = 30) -> None:
        self.folder = folder
        self.kill_wait = kill_wait
        self.daemons: list[subprocess.Popen] = []
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}:{ADMINISTRATION}",
        }

    def command(self, *arguments: str) -> str:
        """What a Slurm command says."""
        environment = os.environ | self.environment
        result = subprocess.run(arguments, env=environment, text=True, capture_output=True, check=False, timeout=60)
        assert result.returncode == 0, f"{' '.join(arguments)}: {result.stderr}{self.logs()}"
        return result.stdout

    def jobs(self) -> dict[str, str]:
        """State of each job, finished ones too, by its number."""
        lines = self.command("squeue", "--noheader", "--states=all", "--format=%i|%T").splitlines()
        return dict(line.split("|") for line in lines)

    def jobs_in(self, folder: Path) -> list[str]:
        """Numbers of all jobs that were submitted in a folder."""
        lines = self.command("squeue", "--noheader", "--states=all", "--format=%i|%Z").splitlines()
        return [number for number, where in (line.split("|") for line in lines) if where == str(folder)]

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows about a job."""
        words = self.command("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def lose_node(self, job: str) -> None:
        """Lose the node that runs a job: all of it dies at once, and it comes back empty once the job is in the queue again.

        A node that were only said to be down would still end the job's processes when the job starts again: Slurm would take
        the job for running twice, drain the node and hold the job.
        """
        node, restarts = self.job(job)["NodeList"], int(self.job(job)["Restarts"])
        slurmd = self.daemons.pop()
        slurmd.kill()
        slurmd.wait(timeout=300)
        for process in _steps_with_descendants():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        wait_for("the job back in the queue", lambda: int(self.job(job)["Restarts"]) > restarts, evidence=self.logs)
        self._daemon("slurmd", "-D")

    def logs(self, lines: int = 15) -> str:
        """The ends of the daemons' logs."""
        return "".join(
            f"\n--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self.folder.glob("*.log"))
        )

    def start(self) -> None:
        """Write the configuration and start munged, slurmctld and slurmd."""
        host = socket.gethostname().split(".")[0]
        controller_port, node_port = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            SLURM_CONF.format(
                host=host,
                folder=self.folder,
                controller_port=controller_port,
                node_port=node_port,
                kill_wait=self.kill_wait,
            )
        )
        for number in range(2):
            (self.folder / f"gpu{number}").symlink_to("/dev/null")  # Slurm counts on files of devices, whatever they are
        (self.folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={self.folder}/gpu[0-1]\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        # Snakemake's job steps forget SLURM_CONF before they call srun.
        srun = self.folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
            f"--pid-file={self.folder}/munged.pid", f"--seed-file={self.folder}/munge.seed",
            f"--log-file={self.folder}/munged.log",
        )  # fmt: skip
        self._until("munged", (self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D")
        self._until("the node", self._idle)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons, whatever state they are in."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.command("scancel", "--user=root")
            self.command("scancel", "--user=root", "--signal=KILL", "--full")
            wait_for("the end of all jobs", lambda: "COMPLETING" not in self.jobs().values(), 20)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(timeout=300)

    def _idle(self) -> bool:
        environment = os.environ | self.environment
        return (
            "idle"
            in subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, timeout=600).stdout
        )

    def _until(self, what: str, condition: Callable[[], object]) -> None:
        def ready() -> object:
            dead = [daemon.args[2] for daemon in self.daemons if daemon.poll() is not None]
            assert not dead, f"{dead[0]} did not start\n{self.logs()}"
            return condition()

        wait_for(f"{what} of the Slurm of these tests", ready, 60, self.logs)

    def _daemon(self, *command: str) -> None:
        environment = os.environ | self.environment
        # Should the tests be killed, the daemons go with them.
        command = ("setpriv", "--pdeathsig=TERM", *command)
        with (self.folder / f"{command[2]}_output.log").open("a") as output:
            self.daemons.append(
                subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
            )


def parent_of(process: int) -> int | None:
    """Number of a process's parent; None if it has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _steps_with_descendants() -> list[int]:
    """Numbers of the processes that run the steps of jobs, and of all that these have started."""
    parents = {process: parent_of(process) for process in (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))}
    found = [process for process in parents if _is_step(process)]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def _is_step(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").startswith("slurmstepd: [")
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports
