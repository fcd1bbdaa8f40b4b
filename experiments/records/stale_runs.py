"""Whether a finished run would be trained in the same way today."""

from collections.abc import Mapping

from experiments.paths import backbone_file
from experiments.records.backbone_hash import recorded_weights
from experiments.records.metrics_file import recorded_sources
from experiments.spec.fingerprint import are_current
from experiments.spec.run import Run


def is_stale(run: Run, recorded: Mapping[str, str] | None) -> bool:
    """Whether a source of a finished run has changed since, or the backbone that it began with.

    Parameters
    ----------
    run : Run
        The run.
    recorded : mapping or None
        Path to hash, as in its ``metrics.json``; None if it recorded none, so that nothing can be said.
    """
    if recorded is None:
        return False
    if not are_current(dict(recorded), run.models, run.task):
        return True
    return run.load_from is not None and _has_another_backbone(run, run.load_from, recorded)


def _has_another_backbone(run: Run, load_from: str, recorded: Mapping[str, str]) -> bool:
    """Whether the weights that the run began with have been replaced, or will be, because their own run is stale."""
    weights = recorded_weights(load_from)
    if weights and recorded.get(str(backbone_file(load_from))) != weights:
        return True
    if run.source is None or not run.source.metrics_file.exists():
        return False
    return is_stale(run.source, recorded_sources(run.source.metrics_file))
