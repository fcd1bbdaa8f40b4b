"""Intervals hold the truth as often as they say, on simulated seeds and images."""

import warnings
from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from experiments.bootstrap.intervals import Noise, image_intervals, pooled_noise
from reports.significance import (
    gain_of,
    interval_for_other_images,
    intervals_of_pairs,
    not_told_apart_from_the_best,
    not_told_apart_from_the_fastest,
    simultaneous_intervals,
    t_interval,
)

SIGMA = 0.15
TRUE = np.array([0.0, 0.0, 0.3, -0.2, 0.5, 0.0])


def draw(random, seeds, true=TRUE, sigma=SIGMA):
    """Values of the baseline, and of rows with true gains."""
    return random.normal(40, sigma, seeds), [random.normal(40 + gain, sigma, seeds) for gain in true]


def holds(interval, truth):
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_all_gains_together_lie_in_dunnetts_intervals_as_often_as_they_say(seeds):
    random = np.random.default_rng(seeds)
    baseline, rows = draw(random, seeds)
    error = pooled_noise([*rows, baseline]).deviation * sqrt(2 / seeds)
    intervals = simultaneous_intervals(rows, baseline)
    # How many standard errors the intervals reach does not depend on the values.
    reaches = [(interval.high - interval.low) / 2 / error for interval in intervals]
    assert reaches == pytest.approx([reaches[0]] * len(rows))
    number = 4000
    together = single = 0
    for _ in range(number):
        baseline, rows = draw(random, seeds)
        noise = pooled_noise([*rows, baseline])
        missed = np.array([gain_of(row, baseline) for row in rows]) - TRUE
        together += (np.abs(missed) <= reaches[0] * noise.deviation * sqrt(2 / seeds)).all()
        single += holds(t_interval(rows[0], baseline, noise), TRUE[0])
    # Three standard errors of a share of 0.95.
    for held in (together, single):
        assert held / number == pytest.approx(0.95, abs=3 * sqrt(0.95 * 0.05 / number))


def test_one_row_against_its_baseline_is_students_test():
    baseline, (row, *_) = draw(np.random.default_rng(1), 4)
    (interval,) = simultaneous_intervals([row], baseline)
    expected = stats.ttest_ind(row, baseline).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_many_rows_have_bonferronis_intervals_that_are_hardly_wider_than_dunnetts():
    random = np.random.default_rng(2)
    baseline, rows = draw(random, 3, np.zeros(31))
    (many, *_), (few, *_) = simultaneous_intervals(rows, baseline), simultaneous_intervals(rows[:30], baseline)
    assert 1 < (many.high - many.low) / (few.high - few.low) < 1.25


def test_holms_procedure_tells_pairs_without_a_gain_apart_in_one_of_twenty_tables():
    random = np.random.default_rng(3)
    number, wrong = 1500, 0
    for _ in range(number):
        pairs = [(random.normal(true, SIGMA, 3), random.normal(0, SIGMA, 3)) for true in (0.0, 0.0, 0.0, 1.0)]
        intervals = intervals_of_pairs(pairs, pooled_noise([values for pair in pairs for values in pair]))
        assert intervals[3].excludes_zero
        wrong += any(interval.excludes_zero for interval in intervals[:3])
    assert wrong / number == pytest.approx(0.05, abs=3 * sqrt(0.05 * 0.95 / number))


def test_pairs_are_decided_as_holms_adjusted_p_values_decide():
    random = np.random.default_rng(4)
    for _ in range(50):
        pairs = [(random.normal(true, 1, 3), random.normal(0, 1, 3)) for true in (0.5, 1.5, 2.5, 3.5)]
        noise = pooled_noise([values for pair in pairs for values in pair])
        p = [2 * stats.t.sf(abs(gain_of(*pair)) / (noise.deviation * sqrt(2 / 3)), noise.freedom) for pair in pairs]
        order = np.argsort(p)
        adjusted = np.maximum.accumulate([(len(p) - rank) * p[index] for rank, index in enumerate(order)])
        expected = {index: value < 0.05 for index, value in zip(order, adjusted, strict=True)}
        found = intervals_of_pairs(pairs, noise)
        assert [interval.excludes_zero for interval in found] == [expected[index] for index in range(len(pairs))]


def drawn_difference(random, gain, sigma, replicates=400):
    """A measured gain and what resamples of the images make of it."""
    return np.concatenate([[gain], gain + 0.3 + random.normal(0, sigma, replicates)])


def test_intervals_over_images_are_centred_at_the_measured_gain_and_hold_all_rows_together():
    random = np.random.default_rng(5)
    number, together = 300, 0
    for _ in range(number):
        measured = TRUE + random.normal(0, SIGMA, len(TRUE))
        intervals = image_intervals([drawn_difference(random, gain, SIGMA) for gain in measured])
        assert [(interval.low + interval.high) / 2 for interval in intervals] == pytest.approx(list(measured))
        together += all(holds(*pair) for pair in zip(intervals, TRUE, strict=True))
    assert together / number == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_gains_for_other_seeds_and_images_lie_in_the_combined_interval(seeds):
    random = np.random.default_rng(10 + seeds)
    number = held = 0
    for _ in range(400):
        # The same images for both rows: their gain there differs from that on all images.
        of_images = random.normal(0, SIGMA)
        baseline, rows = draw(random, seeds)
        noise = pooled_noise([*rows, baseline])
        for row, truth in zip(rows, TRUE, strict=True):
            moved = row + of_images
            difference = drawn_difference(random, gain_of(moved, baseline), SIGMA)
            held += holds(interval_for_other_images(moved, baseline, noise, difference), truth)
            number += 1
    assert held / number == pytest.approx(0.95, abs=0.03)


def test_one_seed_says_nothing_of_noise():
    baseline, rows = draw(np.random.default_rng(6), 1)
    assert pooled_noise([*rows, baseline]) == pytest.approx(Noise(), nan_ok=True) or pooled_noise([baseline]).freedom == 0
    assert not any(interval.is_known for interval in simultaneous_intervals(rows, baseline))
    assert not any(not_told_apart_from_the_best([baseline, *rows]))
    assert isnan(t_interval(rows[0], baseline, Noise()).low)


def test_a_row_of_one_seed_borrows_the_noise_of_the_others():
    baseline, rows = draw(np.random.default_rng(7), 3)
    rows[2] = rows[2][:1]
    intervals = simultaneous_intervals(rows, baseline)
    widths = [interval.high - interval.low for interval in intervals]
    assert widths[2] > max(width for index, width in enumerate(widths) if index != 2)


@pytest.mark.parametrize(("rows", "seeds"), [(2, 3), (5, 2), (11, 3), (18, 5)])
def test_rows_as_good_as_the_best_are_told_apart_from_it_in_one_of_twenty_columns(rows, seeds):
    random = np.random.default_rng(rows)
    equal = random.normal(0, SIGMA, (2000, rows, seeds))
    wrong = sum(not all(not_told_apart_from_the_best(list(column))) for column in equal)
    assert wrong / len(equal) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(("rows", "rounds"), [(2, 8), (4, 4), (11, 8)])
def test_models_as_fast_as_the_fastest_are_told_apart_from_it_in_one_of_twenty_columns(rows, rounds):
    random = np.random.default_rng(rows)
    # What a round changes for all is five times what it changes for each.
    logs = random.normal(0, 0.02, (2000, rows, rounds)) + random.normal(0, 0.1, (2000, 1, rounds))
    wrong = sum(not all(not_told_apart_from_the_fastest(list(np.exp(column)))) for column in logs)
    assert wrong / len(logs) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("seed", range(10))
def test_the_range_of_the_best_is_tukeys(seed):
    random = np.random.default_rng(seed)
    samples = [random.normal(mean, 0.2, seeds) for mean, seeds in ((1.0, 3), (0.6, 4), (0.2, 2), (0.9, 3), (-0.3, 5))]
    best = max(range(5), key=lambda index: samples[index].mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        chances = stats.tukey_hsd(*samples).pvalue[best]
    assert not_told_apart_from_the_best(samples) == [index == best or chances[index] >= 0.05 for index in range(5)]
    assert not all(not_told_apart_from_the_best(samples))


def test_the_fastest_and_what_the_rounds_do_not_tell_apart_from_it():
    machine = np.array([1.0, 0.5, 1.0, 2.0])  # the machine is half, or twice, as fast in a round
    noise = np.array([0.99, 1.01, 1.0, 1.0])
    rounds = [10 * machine * noise, 10.05 * machine, 12 * machine / noise, 11.95 * machine, np.array([])]
    assert not_told_apart_from_the_fastest(rounds) == [False, False, True, True, False]
    assert not_told_apart_from_the_fastest([rounds[0][:1], rounds[1][:1]]) == [False, False]
    assert not_told_apart_from_the_fastest([rounds[0]]) == [False]
    assert not_told_apart_from_the_fastest([np.array([])]) == [False]


def test_two_seeds_tell_apart_what_is_clear():
    clear = [np.array([true, true + 0.1]) for true in (1.0, 0.2, 0.0, 0.95)]
    assert not_told_apart_from_the_best(clear) == [True, False, False, True]
    smallest = not_told_apart_from_the_best([np.array([1.0, 1.1]), np.array([9.0, 9.1])], lower_is_better=True)
    assert smallest == [True, False]
