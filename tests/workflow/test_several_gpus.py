"""One machine with several pretended GPUs: as many trainings at once, each with a device of its own."""

import json
import os
import re
import sys
from datetime import datetime, timedelta

import pytest

from tests.workflow.sentences import sentence_of

pytestmark = pytest.mark.long

REPORT = "reports/two_necks_table2.md"
LISTED = "".join(f"GPU {index}: NVIDIA (UUID: GPU-{name})\n" for index, name in enumerate("ab"))


@pytest.fixture
def machine(project, monkeypatch):
    """A project on a machine with two GPUs, which torch cannot use; each training asks for one."""
    programs = project / "programs"
    programs.mkdir()
    (programs / "nvidia-smi").write_text(f"#!{sys.executable}\nprint({LISTED!r}, end='')\n")
    (programs / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(programs))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    project.change_yaml(
        "experiments/scales/instant.yaml", lambda scale: scale.update(resources={"gpus": 1, "check_gpus": False})
    )
    return project


def test_each_of_two_trainings_has_a_gpu_of_its_own(machine):
    # What a training sees, among what it prints.
    init = machine / "necks/__init__.py"
    init.write_text(f"{init.read_text()}\nimport os\nprint('device', os.environ.get('CUDA_VISIBLE_DEVICES'))\n")
    result = machine.snakemake(REPORT)
    assert result.returncode == 0, result.stderr
    logs = [path.read_text() for path in machine.folder.glob("logs/train/*.log")]
    assert sorted(re.search(r"^device (\S+)$", log, re.MULTILINE)[1] for log in logs) == ["GPU-a", "GPU-b"]
    spans = []
    for path in machine.folder.glob("runs/*/metrics.json"):
        origin = json.loads(path.read_text())["provenance"]
        end = datetime.fromisoformat(origin["date"])
        spans.append((end - timedelta(seconds=origin["seconds"]), end))
    assert max(start for start, _ in spans) < min(end for _, end in spans), "at the same time"


def test_more_gpus_than_the_machine_has_are_one_sentence(machine):
    machine.change_yaml("experiments/scales/instant.yaml", lambda scale: scale["resources"].update(gpus=3))
    assert sentence_of(machine.snakemake(REPORT)) == (
        "error: a training asks for 3 GPUs, and this machine offers 2 (GPU-a, GPU-b; CUDA_VISIBLE_DEVICES: not set); correct"
        " the scale's resources.gpus"
    )
    assert machine.snakemake("-n", REPORT).returncode == 0, "a plan for another machine can be made"
