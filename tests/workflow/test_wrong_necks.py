"""A neck that breaks its contract is told before anything is trained."""

import pytest

from tests.own_necks import NECK
from tests.workflow.sentences import sentence_of

pytestmark = [pytest.mark.torch, pytest.mark.long]
ROW = {"name": "mine", "setting": {"neck": {"type": "Mine", "pools": 0}}}
REPORT = "reports/two_necks_table1.md"


@pytest.fixture
def with_own_neck(project):
    """A project whose first table has a row with a neck of its own that gives too few levels."""
    (project / "necks/mine.py").write_text(NECK)
    # Not what other tests have found.
    (project / "checks/necks").unlink()
    project.change_yaml("experiments/studies/two_necks.yaml", lambda study: study["tables"]["table1"]["rows"].append(ROW))
    return project


def test_nothing_is_trained_until_every_neck_keeps_its_contract(with_own_neck):
    project = with_own_neck
    sentence = sentence_of(project.snakemake(REPORT))
    assert sentence == (
        "error: neck Mine, pools: 0, in mask_rcnn, resnet50, scale instant: found 4 levels; wanted a tuple of 5 maps"
    )
    assert not list(project.folder.glob("runs/*")), "the right neck of the same call waits too"

    (project / "necks/mine.py").write_text(NECK.replace("range(self.pools)", "range(1)"))
    result = project.snakemake(REPORT)
    assert result.returncode == 0, result.stderr
    plan = project.snakemake("-n", REPORT, "--config", "seeds=1")
    assert "check_necks" not in plan.stdout, "another seed has the same necks"
    (project / "necks/mine.py").write_text(NECK)
    plan = project.snakemake("-n", REPORT)
    assert "check_necks" in plan.stdout, "a neck that was edited is checked again"


def test_a_call_that_was_stopped_leaves_no_check_for_another(with_own_neck):
    """Of a marker that is left, say by a killed Snakemake, only the same trainings take notice, and their necks have passed."""
    project = with_own_neck
    fpn = project.snakemake("-n", "reports/two_necks_table2.md").stdout
    marker = next(word for word in fpn.split() if word.startswith("checks/necks_"))
    (project / "checks").mkdir(exist_ok=True)
    (project / marker).write_text("{}")
    sentence_of(project.snakemake(REPORT))
