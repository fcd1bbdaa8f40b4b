"""Verdicts are right where they speak, on simulated results of known truth; they are marked as simulated and never shipped."""

from math import isnan, nan

import numpy as np
import pandas as pd
import pytest

from experiments.bootstrap.intervals import Interval, Noise
from experiments.spec.scale import load_scale
from experiments.spec.study import load_study
from reports.gains import gains
from reports.verdicts import assumed_margin, compare, judge_claim, margin

SIGMA = 0.15
SCALES = {name: load_scale(name) for name in ("coco", "demo", "tiny_coco")}
TABLE = load_study("a2fpn").tables["table2"]
RECIPES = load_study("a3fpn").tables["table1"]
DRAWS = 150


def simulated(table, seeds, random, moved):
    """Results as `collect` gives them: each row's published number plus what it is truly off, and noise over seeds.

    The published number itself is one run, so it is as noisy; `moved` is the true difference between it and this machine.
    """
    lines = []
    for index, row in enumerate(table.rows):
        for metric in ("box_AP", "mask_AP"):
            true = row.published[metric] + random.normal(0, SIGMA) + moved.get(index, 0.0)
            lines += [
                {"row": index, "name": row.label, "run": "simulated", "seed": seed, "metric": metric}
                | {"measured": true + random.normal(0, SIGMA), "published": row.published[metric]}
                for seed in range(seeds)
            ]
    return pd.DataFrame(lines)


@pytest.fixture(autouse=True)
def no_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_published_numbers_of_the_same_recipe_are_reproduced_and_of_another_are_not(seeds):
    random = np.random.default_rng(seeds)
    moved = {3: 1.5, 4: -1.5}
    words = pd.concat([gains(TABLE, SCALES["coco"], simulated(TABLE, seeds, random, moved)) for _ in range(DRAWS)])
    spoken = words[words.verdict != "cannot tell"]
    # With two seeds the noise itself is known badly.
    assert len(spoken) > (0.75 if seeds == 2 else 0.95) * len(words)
    expected = spoken.row.map({3: "higher", 4: "lower"}).fillna("reproduced")
    assert (spoken.verdict == expected).mean() >= 0.95


def test_claims_are_confirmed_where_the_gain_is_there_and_contradicted_almost_never():
    random = np.random.default_rng(7)
    frames = [gains(TABLE, SCALES["coco"], simulated(TABLE, 3, random, {})) for _ in range(DRAWS)]
    judged = pd.concat(frames).dropna(subset=["claim"])
    spoken = judged[judged.claim != "not shown"]
    assert (spoken.claim == "confirmed").mean() >= 0.95
    large = judged[judged.published_gain.abs() >= 1.0]
    assert (large.claim == "confirmed").mean() >= 0.9


def test_a_gain_that_is_not_there_is_confirmed_in_at_most_one_of_twenty_tables():
    random = np.random.default_rng(8)
    wrong = 0
    for _ in range(DRAWS):
        results = simulated(TABLE, 3, random, {})
        # Every row is truly as good as every other.
        results["measured"] = 40 + random.normal(0, SIGMA, len(results))
        found = gains(TABLE, SCALES["coco"], results)
        wrong += (found.claim[found.metric == "box_AP"].isin(["confirmed", "contradicted"])).any()
    assert wrong / DRAWS <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / DRAWS)


def test_one_seed_gives_no_claim_and_a_verdict_only_with_an_assumed_noise():
    results = simulated(TABLE, 1, np.random.default_rng(9), {3: 2.0})
    found = gains(TABLE, SCALES["coco"], results)
    assert found.claim.isna().all()
    assert found.is_assumed.all()
    assert found.margin.unique() == pytest.approx([1.96 * np.sqrt(2) * 0.15 + 0.05], abs=1e-3)
    assert found.verdict[(found.row == 3) & (found.metric == "box_AP")].item() == "higher"


def test_other_scales_than_the_papers_say_nothing_of_published_numbers():
    assert gains(TABLE, SCALES["demo"], simulated(TABLE, 3, np.random.default_rng(1), {})).verdict.isna().all()


def test_numbers_of_a_model_zoo_have_no_verdict():
    rows = [row for row in RECIPES.rows if row.published]
    some = RECIPES.replace(rows=rows, against=None)
    found = gains(some, SCALES["coco"], simulated(some, 3, np.random.default_rng(1), {})).set_index("name").verdict
    assert found["detectron2 FPN"].isna().all()
    assert found["detectron2 A3-FPN"].notna().all()


@pytest.mark.parametrize(
    ("measured", "published", "noise", "expected"),
    [
        (40.0, 40.0, Noise(0.15, 18), "reproduced"),
        (40.3, 40.0, Noise(0.15, 18), "reproduced"),
        (40.6, 40.0, Noise(0.15, 18), "higher"),
        (39.4, 40.0, Noise(0.15, 18), "lower"),
        (40.0, 40.0, Noise(0.60, 18), "cannot tell"),
        (40.0, 40.0, Noise(), "cannot tell"),
    ],
)
def test_a_verdict_follows_from_the_margin(measured, published, noise, expected):
    assert compare(measured, published, 3, noise, 0.05).word == expected


def test_a_wide_margin_says_something_of_rows_with_large_gains_alone():
    noise = Noise(0.4, 18)
    within = margin(noise, 3, 0.05)
    assert 0.5 < within < 1.05
    assert compare(40.0, 40.0, 3, noise, 0.05, published_gain=0.5).word == "cannot tell"
    assert compare(40.0, 40.0, 3, noise, 0.05, published_gain=2.9).word == "reproduced"


def test_margins_are_those_of_the_design():
    """Nine rows at a standard deviation of 0.15: 0.47, 0.41 and 0.38 at two, three and five seeds; 0.47 where it is assumed."""
    margins = [margin(Noise(0.15, 9 * (seeds - 1)), seeds, 0.05) for seeds in (2, 3, 5)]
    assert margins == pytest.approx([0.47, 0.41, 0.38], abs=0.01)
    assert assumed_margin(0.15, 0.05) == pytest.approx(0.47, abs=0.005)
    assert isnan(compare(1.0, 1.0, 1, Noise(), 0.05).margin)


@pytest.mark.parametrize(
    ("published_gain", "interval", "expected"),
    [
        (0.5, Interval(0.1, 0.9), "confirmed"),
        (0.5, Interval(-0.1, 0.9), "not shown"),
        (0.5, Interval(-0.9, -0.1), "contradicted"),
        (-0.5, Interval(-0.9, -0.1), "confirmed"),
        (0.0, Interval(0.1, 0.9), None),
        (nan, Interval(0.1, 0.9), None),
        (0.5, Interval(), None),
    ],
)
def test_a_claim_is_judged_by_the_interval(published_gain, interval, expected):
    assert judge_claim(published_gain, interval) == expected
