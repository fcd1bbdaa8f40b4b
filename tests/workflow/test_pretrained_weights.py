"""Weights named by their address are fetched by one job, and every training reads the file."""

import hashlib
import io

import pytest
import torch

from experiments.configs.build import build_model
from experiments.workflow.grid import Grid
from tests.servers import file_server
from tests.workflow.sentences import sentence_of

pytestmark = pytest.mark.long

REPORT = "reports/two_necks_table2.md"


@pytest.fixture
def weights(project, monkeypatch):
    """Weights of the backbone as a file would hold them."""
    monkeypatch.chdir(project.folder)
    run = next(iter(Grid({"studies": "two_necks", "scale": "instant", "seeds": 0}).runs.values()))
    content = io.BytesIO()
    torch.save(build_model(run).backbone.state_dict(), content)
    return content.getvalue()


def test_one_job_fetches_the_weights_of_all_trainings(project, weights):
    name = f"tiny-{hashlib.sha256(weights).hexdigest()[:8]}.pth"
    with file_server() as server:

        def start_from_weights(scale):
            address = f"{server.address}/{name}"
            scale["backbones"]["resnet50"]["config"]["init_cfg"] = {"type": "Pretrained", "checkpoint": address}

        project.change_yaml("experiments/scales/instant.yaml", start_from_weights)
        sentence = sentence_of(project.snakemake(REPORT))
        assert sentence == (
            f"error: weights {server.address}/{name} cannot be fetched: Not Found; fetch the file where there is internet"
            f" and put it here: pretrained/checkpoints/{name}"
        )
        assert not list(project.folder.glob("runs/*")), "nothing is trained without them"

        server.files[name] = weights
        server.requests.clear()
        result = project.snakemake(REPORT)
        assert result.returncode == 0, result.stderr
        assert server.requests[name] == 1
    logs = [path.read_text() for path in project.folder.glob("logs/train/*.log")]
    assert len(logs) == 2
    assert all(f"load model from: {server.address}/{name}" in log for log in logs)
    assert "Nothing to be done" in project.snakemake("-n", REPORT).stdout
