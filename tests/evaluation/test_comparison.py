"""Intervals and paired comparisons: known answers, formulas by hand, and how often they are right."""

import numpy as np
import pytest
import scipy.stats

from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import (
    Interval,
    bootstrap_interval,
    following,
    format_interval,
    markdown_table,
    mean_or_nan,
    paired_comparison,
)

RNG = np.random.default_rng(0)


def test_interval_of_equal_numbers_and_of_few():
    assert bootstrap_interval([2.0, 2.0, 2.0]) == Interval(2, 2, 2, 3)
    one = bootstrap_interval([2.0, np.nan])
    assert one.mean == 2 and np.isnan(one.low) and one.videos == 1
    none = bootstrap_interval([np.nan])
    assert np.isnan(none.mean) and none.videos == 0


def test_interval_by_hand():
    """The quantiles of means of drawn videos, of the same random numbers."""
    values = RNG.gamma(2.0, size=12)
    drawn = np.random.default_rng(0).integers(12, size=(10_000, 12))
    by_hand = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    ours = bootstrap_interval(values)
    assert (ours.low, ours.high) == pytest.approx(tuple(by_hand), rel=1e-12)


def test_interval_against_scipy():
    values = RNG.gamma(2.0, size=25)
    ours = bootstrap_interval(values)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.05)
    assert bootstrap_interval(values) == ours  # seeded
    wide = bootstrap_interval(values, confidence=0.99)
    assert wide.low < ours.low < ours.mean < ours.high < wide.high


def test_interval_holds_the_truth_as_often_as_it_says():
    """About 95 of 100 times; a little less with 20 videos, as the docstring says."""
    rng, held = np.random.default_rng(3), 0
    for seed in range(300):
        found = bootstrap_interval(rng.normal(1.0, size=20), resamples=500, seed=seed)
        held += found.low <= 1.0 <= found.high
    assert 0.88 < held / 300 < 0.97


def test_pairing_sees_what_two_intervals_hide():
    hardness = RNG.uniform(0, 10, 12)
    better, worse = hardness + RNG.normal(0, 0.05, 12), hardness + 0.5 + RNG.normal(0, 0.05, 12)
    a, b = bootstrap_interval(better), bootstrap_interval(worse)
    assert a.high > b.low  # the two overlap
    paired = paired_comparison(better, worse)
    assert paired.difference.high < 0 and (paired.wins, paired.losses) == (12, 0)
    assert paired.p == pytest.approx(2 / 2**12)
    other_way = paired_comparison(better, worse, better="higher")
    assert (other_way.wins, other_way.losses) == (0, 12) and other_way.p == paired.p


@pytest.mark.parametrize("count", [8, 40])
def test_sign_flips_against_scipy(count):
    first, second = RNG.normal(size=(2, count)) + np.array([[0.0], [0.3]])
    theirs = scipy.stats.permutation_test(
        (first - second,), np.mean, permutation_type="samples", n_resamples=20_000, vectorized=False
    )
    assert paired_comparison(first, second).p == pytest.approx(theirs.pvalue, abs=0.02)


def test_sign_flips_by_hand():
    """All 2^n ways, the observed one among them; 9,999 random ways from 14 videos on."""
    for count in (2, 7, 12):
        difference = RNG.normal(0.3, 1, count)
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        means = np.abs((signs * difference).mean(axis=1))
        by_hand = (means >= abs(difference.mean()) * (1 - 1e-12)).mean()
        assert paired_comparison(difference, np.zeros(count)).p == by_hand
    assert paired_comparison([3.0], [1.0]).p == 1
    assert paired_comparison(np.arange(1.0, 21), np.zeros(20)).p == pytest.approx(2 / 10_000)  # never 0


def test_means_without_missing_numbers():
    assert mean_or_nan([1.0, np.nan, 2.0]) == 1.5
    assert np.isnan(mean_or_nan([np.nan])) and np.isnan(mean_or_nan([]))


def test_ties_and_missing_videos():
    paired = paired_comparison([1, 2, np.nan, 4], [1, 3, 5, np.nan])
    assert (paired.wins, paired.losses, paired.difference.videos) == (1, 0, 2)
    assert paired_comparison([1.0, 2.0], [1.0, 2.0]).p == 1
    assert np.isnan(paired_comparison([np.nan], [1.0]).p)


def test_words_and_tables():
    assert format_interval(Interval(1.234, 1.1, 1.4, 5), 2) == "1.23 (1.10 to 1.40)"
    assert format_interval(Interval(1.234, np.nan, np.nan, 1), 1) == "1.2"
    assert format_interval(Interval(np.nan, np.nan, np.nan, 0), 1) == "–"
    table = markdown_table(["a", "b"], [["x", "1"], ["y", "2"]])
    assert table.splitlines() == ["| a | b |", "|---|---:|", "| x | 1 |", "| y | 2 |"]


def test_bad_input():
    with pytest.raises(InputError, match="confidence=95: give a number between 0 and 1"):
        bootstrap_interval([1.0], confidence=95)
    with pytest.raises(InputError, match="2 and 3 videos cannot be paired"):
        paired_comparison([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="choose 'lower' or 'higher'"):
        paired_comparison([1], [1], better="best")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("heads-64", "heads-64"),
        ("a|b", "a\\|b"),
        ("a\nb\r\n| x |", "a b \\| x \\|"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[x](javascript:y)", "\\[x\\](javascript:y)"),
        ("`a`*b*", "\\`a\\`\\*b\\*"),
        ("\x1b[2J", "\\\\x1b\\[2J"),
    ],
)
def test_names_in_tables_only_show(name, shown):
    table = markdown_table(["model", "L1"], [[name, "0.1"]])
    assert table.splitlines()[2:] == [f"| {shown} | 0.1 |"]


# --- following ----------------------------------------------------------------------------------------------


def test_slope_and_correlation_of_one_video_are_the_textbook_ones():
    x = RNG.normal(size=50)
    y = 3 + 0.7 * x + RNG.normal(0, 0.3, 50)
    found = following([y], [x])
    assert found.slope.mean == pytest.approx(np.polyfit(x, y, 1)[0])
    assert found.correlation.mean == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(found.slope.low) and found.slope.videos == 1  # one video has no interval


def test_every_video_is_centred_by_itself():
    x = np.arange(5.0)
    found = following([x + 100, x - 100, x], [x, x + 50, x])
    assert found.slope.mean == pytest.approx(1) and found.correlation.mean == pytest.approx(1)
    assert (found.slope.low, found.slope.high) == pytest.approx((1, 1))
    # A video in which the truth is still adds to the errors of the correlation, not to the slope.
    still = following([x, x], [x, np.zeros(5)])
    assert still.slope.mean == pytest.approx(1) and still.correlation.mean == pytest.approx(np.sqrt(0.5))


def test_the_interval_of_a_slope_by_hand():
    true = [RNG.normal(size=20) for _ in range(6)]
    found = [RNG.uniform(0.2, 1) * x + RNG.normal(0, 0.2, 20) for x in true]
    drawn = np.random.default_rng(0).integers(6, size=(10_000, 6))
    xx = np.array([((x - x.mean()) ** 2).sum() for x in true])
    xy = np.array([((x - x.mean()) * y).sum() for x, y in zip(true, found, strict=True)])
    slopes = xy[drawn].sum(axis=1) / xx[drawn].sum(axis=1)
    ours = following(found, true)
    assert (ours.slope.low, ours.slope.high) == pytest.approx(tuple(np.quantile(slopes, [0.025, 0.975])))
    assert ours.slope.low < ours.slope.mean < ours.slope.high
    assert ours.correlation.low < ours.correlation.mean < ours.correlation.high <= 1


def test_what_is_not_there_is_left_out():
    x = np.arange(6.0)
    holes = np.where(x % 2, np.nan, x)
    assert following([holes], [2 * x]).slope.mean == pytest.approx(0.5)
    nothing = following([np.full(6, np.nan), holes[:1]], [x, x[:1]])
    assert np.isnan(nothing.slope.mean) and nothing.slope.videos == 0 and np.isnan(nothing.correlation.mean)
    assert np.isnan(following([], []).slope.mean)
    frozen = following([np.full(6, 0.1), 0.1 + np.arange(6) * 1e-17], [x, x])
    assert frozen.slope.mean == 0 and frozen.slope.high == 0 and np.isnan(frozen.correlation.mean)
    assert np.isnan(following([x, x], [np.ones(6), np.ones(6)]).slope.mean)


def test_curves_of_different_length_are_refused():
    with pytest.raises(InputError, match="same videos and frames"):
        following([np.ones(3)], [np.ones(4)])
