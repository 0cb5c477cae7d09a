"""Means over videos, with intervals and paired comparisons of two methods.

Frames of one video resemble each other: they are not independent samples. So all functions here take one
number a *video*. Their results hold for videos like these; a dozen heads are a small sample.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # imports scipy.stats on first use: 0.6 s that training does not need

from fomm_lib.errors import InputError, printable


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: over videos.
        low, high: the ends of the interval; NaN where fewer than two videos have a number.
        videos: how many have one.
    """

    mean: float
    low: float
    high: float
    videos: int


@dataclass(frozen=True)
class Paired:
    """Two methods on the same videos.

    Attributes:
        difference: the mean of (first - second), with its interval.
        wins, losses: videos on which the first is better, and worse; ties are in neither.
        p: the probability of a difference at least as large if the two were alike (sign-flip test).
    """

    difference: Interval
    wins: int
    losses: int
    p: float


@dataclass(frozen=True)
class Following:
    """How a curve of numbers follows the true one, see `following`.

    Attributes:
        slope: 1 where it moves as far as the truth, 0 where it does not move.
        correlation: -1 to 1; 1 where it moves at the right time, however far. NaN where it does not move.
    """

    slope: Interval
    correlation: Interval


def mean_or_nan(values: Sequence[float]) -> float:
    """The mean of the finite numbers; NaN where there is none.

    Example:
        >>> mean_or_nan([1.0, float("nan"), 3.0])
        2.0
    """
    values = np.asarray(values, float)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """The mean of one number a video, with its percentile bootstrap interval.

    As many videos as there are are drawn with replacement, `resamples` times; the interval are the quantiles
    of the means. NaN is left out. With few videos the interval is somewhat too narrow. Computed by SciPy.

    Args:
        values: one a video.
        confidence: 0.95 for the middle 95 of 100 means.
        resamples: how many times.
        seed: of the random numbers.
    Raises:
        InputError: the confidence is not between 0 and 1.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0])
        Interval(mean=1.0, low=1.0, high=1.0, videos=3)
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence}: give a number between 0 and 1, such as 0.95")
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Interval(float(values[0]) if len(values) else np.nan, np.nan, np.nan, len(values))
    interval = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(values.mean()), float(interval.low), float(interval.high), len(values))


def following(
    found: Sequence[np.ndarray], true: Sequence[np.ndarray], resamples: int = 10_000, seed: int = 0
) -> Following:
    """The line of least squares through found numbers against true ones, over several videos.

        slope = S_xy / S_xx,    correlation = S_xy / sqrt(S_xx S_yy)
        S_xy = sum over videos, sum over frames of (x - mean of the video) (y - mean of the video)

    with x the true number of a frame and y the found one. Every video is centred by itself: a face that is
    wider than another must not count as movement. A video in which nothing moves has little weight. Errors of
    x make the slope smaller (regression dilution), errors of either the correlation.

    Args:
        found, true: one array (T,) a video, of the same frames; NaN is left out.
        resamples, seed: of the percentile bootstrap, which draws videos, as `bootstrap_interval` does.
    Returns:
        NaN where no true number moves, or no video has two frames with both numbers.
    Raises:
        InputError: the two differ in the number of videos or frames.

    Source: Fuller, *Measurement Error Models*, 1987, section 1.1; Efron and Tibshirani, *An Introduction to
    the Bootstrap*, 1993, chapter 13.

    Example:
        >>> following([np.array([1.0, 2.0, 3.0])], [np.array([0.0, 2.0, 4.0])]).slope.mean
        0.5
    """
    if [len(values) for values in found] != [len(values) for values in true]:
        raise InputError("found and true numbers must be of the same videos and frames")
    sums = []
    for y, x in zip(found, true, strict=True):
        y, x = np.asarray(y, float), np.asarray(x, float)
        both = np.isfinite(x) & np.isfinite(y)
        if both.sum() >= 2:
            x, y = _centred(x[both]), _centred(y[both])
            sums.append((x @ x, x @ y, y @ y))
    sums = np.array(sums).reshape(-1, 3)
    drawn = np.random.default_rng(seed).integers(max(len(sums), 1), size=(resamples, len(sums)))
    samples = sums[drawn].sum(axis=1)

    def interval(statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
        value = float(statistic(sums.sum(axis=0)))
        ends = statistic(samples)
        ends = ends[~np.isnan(ends)]
        if np.isnan(value) or len(sums) < 2:
            return Interval(value, np.nan, np.nan, len(sums))
        return Interval(value, *map(float, np.quantile(ends, [0.025, 0.975])), len(sums))

    with np.errstate(invalid="ignore", divide="ignore"):
        return Following(
            interval(lambda s: np.where(s[..., 0] > 0, s[..., 1] / s[..., 0], np.nan)),
            interval(lambda s: s[..., 1] / np.sqrt(s[..., 0] * s[..., 2])),
        )


def _centred(values: np.ndarray) -> np.ndarray:
    """Without their mean; exactly 0 where they differ by rounding only, which would have a correlation."""
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        return np.zeros_like(values)
    return values - values.mean()


def paired_comparison(
    first: Sequence[float], second: Sequence[float], better: str = "lower", seed: int = 0
) -> Paired:
    """Compare two methods on the same videos, video by video.

    Some videos are hard for every method. Pairing removes this common part, so it finds differences that two
    separate intervals hide. Videos that lack a number of either are left out. The test flips the signs of the
    differences: in all ways for up to 13 videos, in 9,999 random ways for more. Computed by SciPy.

    Args:
        first, second: one number a video, in the same order.
        better: "lower" or "higher".
        seed: of the random numbers.
    Raises:
        InputError: the two differ in length, or `better` is neither.

    Source: Fisher, *The Design of Experiments*, 1935, section 21.

    Example:
        >>> paired_comparison([1, 2, 3], [2, 4, 6]).difference.mean
        -2.0
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise InputError(f"{len(first)} and {len(second)} videos cannot be paired; evaluate both on the same")
    if better not in ("lower", "higher"):
        raise InputError(f"better={better!r}: choose 'lower' or 'higher'")
    difference = first - second
    difference = difference[~np.isnan(difference)]
    gain = -difference if better == "lower" else difference
    if len(difference) < 2:  # SciPy needs two; the mean of one has the same size with either sign
        p = 1.0 if len(difference) else np.nan
    else:
        random = np.random.default_rng(seed)
        p = scipy.stats.permutation_test(
            (difference,), np.mean, permutation_type="samples", n_resamples=9_999, random_state=random
        ).pvalue
    interval = bootstrap_interval(difference, seed=seed)
    return Paired(interval, int((gain > 0).sum()), int((gain < 0).sum()), float(p))


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: the first column to the left, all others to the right; see `markdown_text`.

    Example:
        >>> print(markdown_table(["model", "L1"], [["a", "0.1"]]))
        | model | L1 |
        |---|---:|
        | a | 0.1 |
    """
    lines = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(markdown_text, row)) + " |" for row in rows])


def markdown_text(text: str) -> str:
    """A name or message as one line of Markdown that shows it, and neither links, marks nor HTML in it.

    Example:
        >>> print(markdown_text("a|b_[c](d)<e>"))
        a\\|b_\\[c\\](d)&lt;e&gt;
    """
    return re.sub(r"([\\`*|\[\]])", r"\\\1", html.escape(printable(text), quote=False))


def format_interval(interval: Interval, digits: int) -> str:
    """`0.028 (0.024 to 0.033)`; a dash where there is no number.

    Example:
        >>> format_interval(Interval(0.0281, 0.0242, 0.0329, 12), 3)
        '0.028 (0.024 to 0.033)'
    """
    if np.isnan(interval.mean):
        return "–"
    if np.isnan(interval.low):
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
