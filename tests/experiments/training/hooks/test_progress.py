"""What of a training's time counts as its iterations'."""

from io import StringIO
from itertools import accumulate

import pytest

from experiments.training.hooks.progress import ProgressHook
from tests.experiments.training.hooks.runners import runner


def test_the_time_of_iterations_leaves_out_what_lies_between_epochs(tmp_path):
    readings = accumulate([100, 2, 2, 50, 3, 3])
    hook, training = ProgressHook(StringIO(), tmp_path, lambda: next(readings)), runner(max_iters=8)
    hook.written = 1e9  # no news: the hook's clock is read by iterations alone
    for _epoch in range(2):
        hook.before_train_epoch(training)
        for step in range(2):
            hook.before_train_iter(training, step)
            hook.after_train_iter(training, step)
    assert training.message_hub.get_info("training_seconds") == pytest.approx(2 + 2 + 3 + 3)
