"""What the profiles plan, without a Slurm: the whole cores, memory and time of a scale, and more at each attempt."""

import json
import re
import subprocess

import pytest

from experiments.environments import snakemake_python

# Prints the profile as a Snakemake reads it that was called with these words.
READ_PROFILE = """
import json, sys
from snakemake.profiles import ProfileConfigFileParser

sys.argv = sys.argv[1:]
with open("profiles/default/config.yaml") as file:
    print(json.dumps(ProfileConfigFileParser().parse(file)))
"""


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
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    command = [str(snakemake_python()), "-c", READ_PROFILE, *words]
    profile = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert ("cores" in profile, "resources" in profile) == (keys, keys)
    assert profile["rerun-triggers"] == ["mtime", "params"]
