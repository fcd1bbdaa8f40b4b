"""Two commits, compared by the losses of their first steps."""

import math

import pytest

from experiments.benchmarks.compare_commits import difference, losses_of, main, table
from experiments.errors import UserError

pytestmark = pytest.mark.long

ONE = [{"loss": (1.5).hex(), "loss_cls": (1.0).hex()}, {"loss": (1.25).hex(), "loss_cls": (0.5).hex()}]
LAST_BIT = [ONE[0], {"loss": math.nextafter(1.25, 2).hex(), "loss_cls": (0.5).hex()}]


def test_equal_losses_differ_by_nothing_and_the_last_bit_by_something():
    assert difference(ONE, [dict(step) for step in ONE]) == 0.0
    assert 0.0 < difference(ONE, LAST_BIT) < 1e-15
    assert difference(ONE, [ONE[0]]) == math.inf
    assert difference(ONE, [{"loss": (1.5).hex()}, ONE[1]]) == math.inf


def test_the_table_names_what_differs_and_what_only_one_commit_has():
    assert table({"a": ONE, "b": ONE, "c": ONE}, {"a": ONE, "b": LAST_BIT, "d": ONE}) == [
        ("a", "equal", True),
        ("b", "differs by 1.8e-16", False),
        ("c", "only in the first", False),
        ("d", "only in the second", False),
    ]


def test_a_commit_that_git_does_not_know_is_one_sentence():
    with pytest.raises(UserError, match="commit no_such_commit: "):
        main(["no_such_commit", "HEAD"])


@pytest.mark.torch
def test_a_text_that_no_setting_holds_is_named(tmp_path, request):
    with pytest.raises(UserError, match="--only NoNeck: no setting of"):
        losses_of(request.config.rootpath, only="NoNeck")


@pytest.mark.slow
def test_a_commit_computes_what_it_computes(capsys):
    main(["HEAD", "HEAD", "--only", '{"type": "PAFPN"}'])
    assert "settings, 0 of them differ" in capsys.readouterr().out
