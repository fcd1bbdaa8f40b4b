"""Trainings through a real Slurm: what they are given, and every fault that a cluster has ready for them."""

import os
import re
import signal

import pytest

from tests.slurm.conftest import EPOCHS
from tests.slurm.head import REPORT, Head

pytestmark = pytest.mark.slurm


def test_all_runs_of_a_report_finish_with_the_gpus_memory_and_time_of_their_scale(undisturbed):
    assert len(undisturbed.results()) == 2
    assert re.findall(r"^\| (FPN|MGC) \|", (undisturbed.project / REPORT).read_text(), re.MULTILINE) == ["FPN", "MGC"]
    assert {found["CUDA_VISIBLE_DEVICES"] for found in undisturbed.environments.values()} == {"0", "1"}
    for job in undisturbed.jobs.values():
        assert (job["TimeLimit"], job["MinMemoryNode"], job["TresPerJob"]) == ("00:10:00", "2000M", "gres:gpu:1")
        assert (job["NumNodes"], job["NumTasks"], job["CPUs/Task"], job["Requeue"]) == ("1", "1", "1", "1")
    for run, job in undisturbed.jobs.items():
        log = undisturbed.project / f"logs/slurm/rule_train/{run}/{job['JobId']}.log"
        assert job["StdOut"] == str(log)
        assert not log.exists(), "of successful jobs the training's log says enough"
        assert (undisturbed.project / f"logs/train/{run}.log").stat().st_size > 0
    assert re.search(r"Provided resources: .*\b100000\b", undisturbed.output.read_text())


def test_a_killed_training_and_a_cancelled_job_are_retried_and_resumed(cluster, cluster_project, undisturbed):
    killed, cancelled = undisturbed.jobs
    with Head(cluster_project, cluster, "head") as head:
        killed_job, cancelled_job = head.train_job(killed), head.train_job(cancelled)
        os.kill(head.trainings()[killed], signal.SIGKILL)
        cluster.command("scancel", cancelled_job)
        retries = {killed: head.next_job(killed, killed_job), cancelled: head.next_job(cancelled, cancelled_job)}
        head.finish()
    assert (cluster.job(killed_job)["JobState"], cluster.job(cancelled_job)["JobState"]) == ("FAILED", "CANCELLED")
    for run, job in retries.items():
        assert (job["TimeLimit"], job["MinMemoryNode"]) == ("00:15:00", "3000M")
        assert head.resumed_from(run) is not None
    assert head.results() == undisturbed.results()
    assert list(cluster_project.folder.glob(f"logs/slurm/rule_train/{killed}/{killed_job}.log")), "the failed job's log is kept"


def test_a_second_head_is_refused_while_the_first_lives(cluster, undisturbed):
    refusal = undisturbed.refused.output.read_text()
    assert undisturbed.refused.process.returncode != 0
    assert "Directory cannot be locked. Please make sure that no other Snakemake process" in refusal
    assert "--unlock" in refusal
    assert len(cluster.jobs_in(undisturbed.project.folder)) == 2


def test_jobs_outlive_their_head_and_another_head_trains_no_run_twice_at_the_same_time(cluster, cluster_project, undisturbed):
    one, other = undisturbed.jobs
    with Head(cluster_project, cluster, "dense_head") as first:
        job = first.train_job(other)
        (running,) = (process for process, run in first.training_processes().items() if run == other)
        os.kill(running, signal.SIGSTOP)
        first.until(f"the end of run {one}", lambda: "Finished jobid" in first.output.read_text().split("submitted")[-1])
        first.kill()
    finished = (cluster_project / f"runs/{one}/metrics.json").stat().st_mtime_ns

    unlocked = cluster_project.snakemake("--unlock")
    assert unlocked.returncode == 0, unlocked.stderr
    with Head(cluster_project, cluster, "second_head") as second:
        second.until("a second process for the same run", lambda: list(second.training_processes().values()) == [other, other])
        logs = cluster_project / f"logs/slurm/rule_train/{other}"
        second.until("a training that waits", lambda: any("waiting: " in log.read_text() for log in logs.glob("*.log")))
        os.kill(running, signal.SIGCONT)
        second.finish()
    assert cluster.job(job)["JobState"] == "COMPLETED"
    assert second.resumed_from(other) == f"epoch_{EPOCHS}.pth", "it went on where the first job ended"
    assert second.results() == undisturbed.results()
    assert (cluster_project / f"runs/{one}/metrics.json").stat().st_mtime_ns == finished


def test_a_training_is_warned_before_its_time_limit_and_gets_more_time(cluster, cluster_project, undisturbed):
    one, _ = undisturbed.jobs
    cluster_project.change_yaml("experiments/scales/instant.yaml", lambda scale: scale["resources"].update(runtime_minutes=3))
    profile = cluster_project / "slurm/config.yaml"
    profile.write_text(profile.read_text().replace("USR1@300", "USR1@60"))
    with Head(cluster_project, cluster, "head") as head:
        job = head.train_job(one)
        os.kill(head.trainings()[one], signal.SIGSTOP)  # Slurm wakes it up before it signals
        retry = head.next_job(one, job)
        head.finish()
    warned = cluster.job(job)
    assert warned["JobState"] == "FAILED", "it has ended by itself, not at its time limit"
    assert _minutes(retry) > _minutes(warned)
    assert head.resumed_from(one) == "interrupted.pth", "the warning has reached the training"
    assert head.results() == undisturbed.results()


def test_a_requeued_job_resumes(cluster, cluster_project, undisturbed):
    one, _ = undisturbed.jobs
    with Head(cluster_project, cluster, "head") as head:
        job = head.train_job(one)
        cluster.command("scontrol", "requeue", job)
        head.until("the same job again", lambda: cluster.job(job)["Restarts"] == "1" and head.job_of(one) == job)
        head.finish()
    assert cluster.job(job)["JobState"] == "COMPLETED"
    assert head.resumed_from(one) is not None
    assert head.results() == undisturbed.results()


def test_a_signal_to_every_process_of_a_job_leaves_a_checkpoint(cluster, cluster_project, undisturbed):
    one, _ = undisturbed.jobs
    with Head(cluster_project, cluster, "head") as head:
        job = head.train_job(one)
        cluster.command("scancel", "--signal=USR1", "--full", job)
        head.next_job(one, job)
        head.finish()
    assert cluster.job(job)["JobState"] == "FAILED", "it has ended by itself"
    assert head.resumed_from(one) == "interrupted.pth"
    assert head.results() == undisturbed.results()


def test_a_preempted_job_resumes(cluster, cluster_project, undisturbed):
    one, _ = undisturbed.jobs
    with Head(cluster_project, cluster, "head") as head:
        head.train_job(one)
        os.kill(head.trainings()[one], signal.SIGSTOP)  # Slurm wakes it up before it signals
        cluster.command("sbatch", "--partition=urgent", "--gpus=2", "--mem=100", "--output=/dev/null", "--wrap=sleep 1")
        # The job is requeued, or it has ended by itself in its grace time and Snakemake submits another.
        head.finish()
    assert head.resumed_from(one) == "interrupted.pth"
    assert head.results() == undisturbed.results()


def test_jobs_of_a_node_that_is_lost_resume(cluster, cluster_project, undisturbed):
    one, _ = undisturbed.jobs
    with Head(cluster_project, cluster, "head") as head:
        job = head.train_job(one)
        cluster.lose_node(job)
        head.until("the same job again", lambda: head.job_of(one) == job)
        head.finish()
    assert cluster.job(job)["JobState"] == "COMPLETED"
    assert head.resumed_from(one) is not None
    assert head.results() == undisturbed.results()


def _minutes(job: dict[str, str]) -> int:
    """Time limit of a job, which Slurm says as hours, minutes and seconds."""
    hours, minutes, _ = job["TimeLimit"].split(":")
    return 60 * int(hours) + int(minutes)
