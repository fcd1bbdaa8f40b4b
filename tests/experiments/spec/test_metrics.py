"""The table of metrics."""

from experiments.spec.metrics import _TABLE, ACCURACY, COMPLEXITY, METRICS, TEST_ACCURACY


def test_every_metric_stands_in_the_table_once():
    assert len(METRICS) == len(_TABLE)


def test_what_is_shown_beside_a_metric_is_a_metric():
    added = [metric.adds[0] for metric in METRICS.values() if metric.adds]
    assert added
    assert set(added) <= set(METRICS)


def test_a_servers_answers_are_the_accuracies_of_a_run():
    assert tuple(f"test_{name}" for name in ACCURACY) == TEST_ACCURACY
    assert len(ACCURACY) == 12
    assert "fps" in COMPLEXITY
