"""Which of two is better, and how sure is that: intervals and paired comparisons over videos.

Frames of one video resemble each other, so a hundred of them are no hundred witnesses: all functions here
take one number a *video*. What they say holds for videos like these; a dozen heads are a small world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fomm_lib.files import InputError


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
        p: how often differences as large come about by chance alone, were the two alike (sign-flip test).
    """

    difference: Interval
    wins: int
    losses: int
    p: float


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """The mean of one number a video, and the interval in which it lies when videos are drawn anew.

    Draws as many videos as there are, with repetition, again and again, and takes the quantiles of their
    means (percentile bootstrap). NaN is left out. With few videos the interval is somewhat too narrow.

    Args:
        values: one a video.
        confidence: 0.95 for the middle 95 of 100 means.
        resamples, seed: how often, and of the random numbers.
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
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    if len(values) == 1:
        return Interval(float(values[0]), np.nan, np.nan, 1)
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def paired_comparison(
    first: Sequence[float], second: Sequence[float], better: str = "lower", seed: int = 0
) -> Paired:
    """Compare two methods on the same videos, video by video.

    Some videos are hard for every method; pairing takes that out, so it sees differences that two separate
    intervals hide. Videos that lack a number of either are left out. The test turns the sign of every
    difference at random: all ways up to 12 videos, 10,000 of them beyond.

    Args:
        first, second: one number a video, in the same order.
        better: "lower" or "higher".
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
    count = len(difference)
    if count == 0:
        return Paired(bootstrap_interval([]), 0, 0, np.nan)
    if count <= 12:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], size=(10_000, count))
        signs[0] = 1  # what was seen is one of the ways, so p is never 0
    means = np.abs((signs * difference).mean(axis=1))
    p = float((means >= abs(difference.mean()) * (1 - 1e-12)).mean())
    return Paired(bootstrap_interval(difference, seed=seed), int((gain > 0).sum()), int((gain < 0).sum()), p)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: the first column to the left, all others to the right.

    Example:
        >>> print(markdown_table(["model", "L1"], [["a", "0.1"]]))
        | model | L1 |
        |---|---:|
        | a | 0.1 |
    """
    lines = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def in_words(interval: Interval, digits: int) -> str:
    """`0.028 (0.024 to 0.033)`; a dash where there is no number.

    Example:
        >>> in_words(Interval(0.0281, 0.0242, 0.0329, 12), 3)
        '0.028 (0.024 to 0.033)'
    """
    if np.isnan(interval.mean):
        return "–"
    if np.isnan(interval.low):
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
