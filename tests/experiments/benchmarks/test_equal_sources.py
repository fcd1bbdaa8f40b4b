"""Sources of an older commit that compute the same as today's."""

import pytest

from experiments.benchmarks.equal_sources import equal_sources, merge
from experiments.errors import UserError

SHARED = {"a/hooks.py": "h1", "a/train.py": "t1"}


def stands_for_all(before, after, model):
    stands_for = equal_sources(before, after)
    known = {new for digest in before[model].values() for new in (digest, *stands_for.get(digest, ()))}
    return set(after[model].values()) <= known


def test_a_file_that_was_moved_or_split_stands_for_what_it_became():
    before = {"": SHARED, "A": SHARED | {"necks/a.py": "a1", "necks/layers/levels.py": "l1"}}
    shared = {"a/hooks/seeding.py": "s2", "a/hooks/history.py": "y2", "b/train.py": "t1"}
    after = {"": shared, "A": shared | {"necks/a.py": "a2", "necks/layers/levels.py": "l2", "necks/layers/new.py": "n2"}}
    assert equal_sources(before, after) == {"h1": ["s2", "y2"], "a1": ["a2", "n2"], "l1": ["l2"]}
    for model in before:
        assert stands_for_all(before, after, model)


def test_a_model_that_has_gone_is_named():
    with pytest.raises(UserError, match="A has gone"):
        equal_sources({"": SHARED, "A": SHARED}, {"": SHARED})


def test_what_was_equal_before_follows_later_changes():
    assert merge({"old": ["mid"]}, {"mid": ["new"]}) == {"mid": ["new"], "old": ["mid", "new"]}
    assert merge({"old": ["one"]}, {"old": ["two"]}) == {"old": ["one", "two"]}
