"""The table of metrics."""

from experiments.spec.metrics import _TABLE, ACCURACY, COMPLEXITY, METRICS, TASKS, TEST_ACCURACY


def test_every_metric_stands_in_the_table_once():
    assert len(METRICS) == len(_TABLE)


def test_what_is_shown_beside_a_metric_is_a_metric():
    added = [metric.adds[0] for metric in METRICS.values() if metric.adds]
    assert added
    assert set(added) <= set(METRICS)


def test_a_servers_answers_are_the_accuracies_of_a_run():
    of_objects = [metric.name for metric in TASKS["instance_segmentation"]]
    of_labels = ["mIoU", "category_IoU", "iIoU", "category_iIoU"]
    assert tuple(f"test_{name}" for name in of_objects + of_labels) == TEST_ACCURACY
    assert len(of_objects) == 12
    assert {*of_objects, *of_labels} < set(ACCURACY)
    assert "fps" in COMPLEXITY
