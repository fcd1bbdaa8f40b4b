"""What the profiles plan, without a Slurm: the whole cores, memory and time of a scale, and more at each attempt."""

import re
import sys
from pathlib import Path

import pytest
from snakemake.profiles import ProfileConfigFileParser


def test_a_cluster_job_gets_the_cores_of_its_scale_not_those_of_the_machine_that_submits(project):
    project.configure(studies=["a2fpn"], scale="coco", data_root="/somewhere")
    plan = project.snakemake("--profile", "slurm", "-n", "reports/table1.md", "reports/table2.md").stdout
    trainings = re.findall(r"^Job \d+: run .*(?:\n    .*)*", plan, re.MULTILINE)
    assert len(trainings) == int(re.search(r"^train +(\d+)$", plan, re.MULTILINE)[1])
    for training in trainings:
        assert "threads: 16" in training
        for resource in ("mem_mb=64000", "runtime=2880", "gpu=4", "nodes=1", "tasks_per_gpu=0", "--signal=USR1@300"):
            assert re.search(rf"[ =]{resource}\b", training), training


@pytest.mark.parametrize(
    ("words", "keys"),
    [(["snakemake"], True), (["snakemake", "--profile", "slurm"], False), (["snakemake", "--profile=slurm"], False)],
)
def test_the_default_profile_leaves_cores_and_gpus_to_another_profile(monkeypatch, words, keys):
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    with Path("profiles/default/config.yaml").open() as file:
        profile = ProfileConfigFileParser().parse(file)
    assert ("cores" in profile, "resources" in profile) == (keys, keys)
    assert profile["rerun-triggers"] == ["mtime", "params"]
