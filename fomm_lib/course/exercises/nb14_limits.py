"""Checks for notebook 14, limits: area under a ROC curve, a threshold, rare forgeries, raters who agree."""

from __future__ import annotations

from functools import partial

import numpy as np

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.evaluation.power import power


def _area(clean, spoiled, tie=0.5):
    difference = np.subtract.outer(np.asarray(spoiled, float), np.asarray(clean, float))
    return float(np.mean(difference > 0) + tie * np.mean(difference == 0))


def _at_middle(clean, spoiled):
    """The share of right decisions at the threshold in the middle of the two means."""
    clean, spoiled = np.asarray(clean, float), np.asarray(spoiled, float)
    threshold = (clean.mean() + spoiled.mean()) / 2
    return float(((spoiled > threshold).mean() + (clean <= threshold).mean()) / 2)


def _in_order(clean, spoiled):
    count = min(len(clean), len(spoiled))
    difference = np.asarray(spoiled, float)[:count] - np.asarray(clean, float)[:count]
    return float(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))


def _arrays(clean, spoiled):
    """Arrays, so that an answer may index them with None."""
    return np.array(clean, float), np.array(spoiled, float)


def _count(clean, spoiled):
    return _area(clean, spoiled) * len(clean) * len(spoiled)


def _never_below_a_half(clean, spoiled):
    return max(_area(clean, spoiled), 1 - _area(clean, spoiled))


def _above_all_clean(clean, spoiled):
    return float(np.mean(spoiled > clean.max()))


check_area_under_roc = Exercise(
    "area_under_roc",
    solution=_area,
    cases=[
        Case("the spoiled pairs are all higher", lambda f: f(*_arrays([0.1, 0.2], [0.5, 0.6, 0.7]))),
        Case("they overlap", lambda f: f(*_arrays([0.1, 0.4, 0.3, 0.9], [0.35, 0.2, 0.8]))),
        Case("with ties", lambda f: f(*_arrays([1, 1, 2], [1, 2, 3]))),
        Case("the spoiled pairs are lower", lambda f: f(*_arrays([3.0, 4.0, 8.0], [1.0, 2.0]))),
    ],
    mistakes={
        "clean and spoiled are exchanged: the area is the probability that the spoiled score is higher": (
            lambda clean, spoiled: _area(spoiled, clean)
        ),
        "a tie counts a half, not nothing": {"tie": 0.0},
        "a tie counts a half, not one": {"tie": 1.0},
        "that is the share of right decisions at one threshold; the area has none": _at_middle,
        "every clean score is compared with every spoiled one, not only that of the same row": _in_order,
        "that is how many comparisons the spoiled score wins; divide by the number of comparisons": _count,
        "a score that is lower where something is wrong has an area below 0.5; do not turn it round": (
            _never_below_a_half
        ),
        "that is the share found at a threshold without false alarms; compare with every clean score": (
            _above_all_clean
        ),
    },
)


def _upper_quantile(scores, share):
    return np.quantile(scores, 1 - share)


def _threshold(scores, spoiled, false_alarms, chosen=np.logical_not, quantile=_upper_quantile):
    """A quantile of the scores that are chosen by whether they are spoiled."""
    scores = np.asarray(scores, float)[chosen(np.asarray(spoiled, bool))]
    return float(quantile(np.sort(scores), false_alarms))


def _spoiled_as_zero(scores, spoiled, false_alarms):
    return float(np.quantile(np.where(spoiled, 0.0, scores), 1 - false_alarms))


def _scored(function, seed, share, spread=1.0):
    rng = np.random.default_rng(seed)
    spoiled = rng.uniform(size=60) < 0.4
    scores = rng.exponential(spread, 60) + 2 * spoiled
    return function(scores, spoiled, share)


check_threshold = Exercise(
    "threshold",
    solution=_threshold,
    given=partial(_threshold, chosen=np.ones_like),
    cases=[
        Case("a tenth of false alarms", partial(_scored, seed=0, share=0.1)),
        Case("a twentieth, other scores", partial(_scored, seed=1, share=0.05)),
        Case("a quarter", partial(_scored, seed=2, share=0.25, spread=3.0)),
    ],
    mistakes={
        "false alarms are about clean pairs; this is a quantile of the spoiled ones": {"chosen": np.asarray},
        "that lets a tenth of the clean pairs pass: high scores are trouble": {"quantile": np.quantile},
        "no clean pair is above the largest of them: that allows no false alarm at all": {
            "quantile": lambda clean, share: clean[-1]
        },
        "that takes the scores for Gaussian and the share for 0.1; use the quantile": {
            "quantile": lambda clean, share: clean.mean() + 1.2816 * clean.std()  # the 90th percentile
        },
        "np.percentile takes per cent, 0 to 100; np.quantile takes a share": {
            "quantile": lambda clean, share: np.percentile(clean, 1 - share)
        },
        "that is one of the scores; np.quantile takes a point between two of them, as the check does": {
            "quantile": lambda clean, share: clean[int((1 - share) * len(clean))]
        },
        "trouble is on one side only, above the threshold: do not halve the share": {
            "quantile": lambda clean, share: np.quantile(clean, 1 - share / 2)
        },
        "a score of 0 still counts as a pair; leave spoiled pairs out": _spoiled_as_zero,
    },
)

FOUND, FALSE_ALARMS = 0.9, 0.05
"""Of the detector of the experiment: shares of forged and of real videos that it calls forged."""


def _right_alarms(forged, found=FOUND, false_alarms=FALSE_ALARMS):
    return forged * found / (forged * found + (1 - forged) * false_alarms)


check_right_alarms = Experiment(
    "right_alarms",
    measure=_right_alarms,
    settings=[0.5, 0.1, 0.01, 0.001],
    answer="falls",
    mistakes={
        "that is the share of forged videos that are found; it does not depend on how many there are": (
            lambda forged: FOUND
        ),
        "that is the share of all videos that give an alarm": lambda forged: (
            forged * FOUND + (1 - forged) * FALSE_ALARMS
        ),
        "that is the accuracy: right answers among all": lambda forged: (
            forged * FOUND + (1 - forged) * (1 - FALSE_ALARMS)
        ),
        "real videos are 1 - forged of all, not all of them": lambda forged: (
            forged * FOUND / (forged * FOUND + FALSE_ALARMS)
        ),
        "that does not depend on how many videos are forged; weigh real and forged ones by their shares": (
            lambda forged: FOUND / (FOUND + FALSE_ALARMS)
        ),
        "that is right alarms for each wrong one; divide by all alarms": lambda forged: (
            forged * FOUND / ((1 - forged) * FALSE_ALARMS)
        ),
        "that is the share of all videos that are right alarms; divide by all alarms": (
            lambda forged: forged * FOUND
        ),
        "write a share, not per cent": lambda forged: 100 * _right_alarms(forged),
        "that is the share of alarms that are wrong": lambda forged: 1 - _right_alarms(forged),
    },
    why="real videos become so many that a twentieth of them outnumbers all forged ones",
    rtol=0.02,
)

ALIKE = {"videos": 12, "preferred": 0.5, "spread": 0.7, "runs": 100}
"""Of the second experiment: two methods that are alike, on videos that differ."""


def _false_discoveries(raters, **changes):
    return power(raters, **{"by_video": False, **ALIKE, **changes})


check_false_discoveries = Experiment(
    "false_discoveries",
    measure=_false_discoveries,
    settings=[2, 5, 10, 20],
    answer="rises",
    mistakes={
        "that counts videos, as one should; here count every answer (by_video=False)": {"by_video": True},
        "spread is missing: here videos differ": {"spread": 0.0},
        "that takes 200 studies, as `power` does by itself, and these are 100: give it all of ALIKE": {
            "runs": 200
        },
        "the methods should be alike: preferred is 0.5": {"preferred": 0.7},
        "write a share, not per cent": lambda raters: 100 * _false_discoveries(raters),
        "that is the share of studies that find nothing": lambda raters: 1 - _false_discoveries(raters),
    },
    why="what is special about twelve videos is repeated by each rater, and counted as new evidence",
    atol=0.02,
)
