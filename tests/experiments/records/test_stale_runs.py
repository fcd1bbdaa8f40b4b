"""A run is stale when its sources have changed, or the backbone that it began with, or when that one's run is stale."""

import pytest

from experiments.errors import UserError
from experiments.paths import backbone_file
from experiments.records.backbone_hash import record_weights
from experiments.records.stale_runs import is_stale
from experiments.spec.fingerprint import fingerprints
from experiments.spec.run import Run
from experiments.spec.setting import Setting


@pytest.fixture
def pair(small_grid, leave):
    """A run that began with another's backbone, and what both recorded, as a function of the hash that the first one saw."""
    grid = small_grid()
    source = next(iter(grid.runs.values()))
    setting = Setting.model_validate(source.setting.model_dump() | {"load_from": source.setting.model_dump()})
    run = Run(setting, grid.scale, seed=0)
    sources = fingerprints(source.models, source.task)
    backbone_file(source.id).parent.mkdir(parents=True)

    def record(of_source=sources, began_with="1" * 64):
        leave(source, "metrics.json", {"provenance": {"sources": of_source}})
        return run, {**sources, str(backbone_file(source.id)): began_with}

    return record


def test_as_it_was_trained_it_is_not_stale(pair):
    run, recorded = pair()
    assert run.source.metrics_file.exists()
    assert not is_stale(run, recorded), "also without the file of the backbone, which is made again at any time"
    record_weights(run.source.id, "epoch_3.pth", "1" * 64)
    assert not is_stale(run, recorded)
    assert not is_stale(run, None), "a run that recorded nothing is left alone"


def test_another_backbone_makes_it_stale(pair):
    run, recorded = pair()
    record_weights(run.source.id, "epoch_3.pth", "2" * 64)
    assert is_stale(run, recorded)


def test_it_is_stale_with_the_run_that_it_began_with(pair):
    run, recorded = pair(of_source={"necks/fpn.py": "0" * 64})
    assert is_stale(run, recorded)
    run.source.metrics_file.unlink()
    assert not is_stale(run, recorded), "a run that has gone says nothing"


def test_changed_sources_make_it_stale(pair):
    run, recorded = pair()
    assert is_stale(run, {path: "0" * 64 for path in recorded})


@pytest.mark.parametrize("content", ["", "[]", '{"run": 1}', '{"sha256": n'])
def test_a_damaged_hash_is_one_sentence(pair, content):
    run, recorded = pair()
    record_weights(run.source.id, "epoch_3.pth", "1" * 64)
    backbone_file(run.source.id).with_suffix(".json").write_text(content)
    with pytest.raises(UserError, match=r"\.json is damaged .*; delete it, and the file is made again"):
        is_stale(run, recorded)
