"""How many raters and videos a study needs: its power, by simulation.

    power(raters=10, videos=12, preferred=0.7)              # would a class of ten see it?

Nothing here is an answer of a person. Raters are simulated with stated error rates, so that a study can be
planned before anybody is asked, and so that its test can be tested: a study in which both methods are alike
should find a difference in 5 of 100 cases, and not in 20.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import scipy.stats

from fomm_lib.errors import InputError
from fomm_lib.evaluation.study import Choice, Trial

BETTER, WORSE = "better", "worse"
SIGNIFICANT = 0.05


def simulate_choices(
    raters: int,
    videos: int,
    preferred: float,
    *,
    careless: float = 0.1,
    left: float = 0.0,
    spread: float = 0.0,
    seed: int = 0,
) -> list[Choice]:
    """The answers of simulated raters: each sees each pair of videos once, sides at random.

        P(better is chosen for video v) = Phi(Phi^-1(preferred) + spread e_v),   e_v ~ N(0, 1)

    of a rater who looks; a careless answer is a coin, or, with probability `left`, the left side.

    Args:
        raters, videos: how many.
        preferred: probability that a rater who looks chooses the better method, 0.5 to below 1.
        careless: share of answers without looking, 0 to 1.
        left: share of careless answers that are "left".
        spread: how much videos differ: of some pairs the worse method is the better one.
        seed: of everything.
    Raises:
        InputError: a number out of range.

    Example:
        >>> len(simulate_choices(raters=10, videos=12, preferred=0.7))
        120
    """
    if raters < 1 or videos < 1:
        raise InputError(f"{raters} raters and {videos} videos: at least one of each")
    if not 0.5 <= preferred < 1 or not 0 <= careless <= 1 or not 0 <= left <= 1 or spread < 0:
        raise InputError(
            "preferred should be from 0.5 to below 1, careless and left from 0 to 1, spread 0 or more"
        )
    rng = np.random.default_rng(seed)
    easy = scipy.stats.norm.ppf(preferred) + spread * rng.normal(size=videos)
    chance = scipy.stats.norm.cdf(easy)
    choices = []
    for rater in range(raters):
        for video in range(videos):
            sides = [BETTER, WORSE] if rng.random() < 0.5 else [WORSE, BETTER]
            if rng.random() < careless:
                chosen = sides[0] if rng.random() < left + (1 - left) / 2 else sides[1]
            else:
                chosen = BETTER if rng.random() < chance[video] else WORSE
            choices.append(Choice(f"simulated {rater}", Trial(f"video {video}", *sides), chosen, 0.0))
    return choices


def p_of_answers(choices: Sequence[Choice]) -> float:
    """The p of `study.analyse`: every answer counts as independent (exact binomial test, two-sided).

    Example:
        >>> p_of_answers(simulate_choices(10, 12, 0.9)) < 0.001
        True
    """
    wins = Counter(one.chosen for one in choices).most_common(1)[0][1]
    return float(scipy.stats.binomtest(wins, len(choices)).pvalue)


def p_of_videos(choices: Sequence[Choice]) -> float:
    """The p if videos are what counts: Wilcoxon's signed-rank test on the share of each video minus a half.

    Answers about one video are not independent: what is special about it shows in all of them.

    Example:
        >>> p_of_videos(simulate_choices(10, 12, 0.9)) < 0.01
        True

    Source: Wilcoxon, *Individual Comparisons by Ranking Methods*, 1945; computed by SciPy.
    """
    won: dict[str, Counter] = defaultdict(Counter)
    methods = sorted({method for one in choices for method in (one.trial.left, one.trial.right)})
    for one in choices:
        won[one.trial.item][one.chosen] += 1
    shares = np.array([count[methods[0]] / sum(count.values()) - 0.5 for count in won.values()])
    if not np.any(shares):
        return 1.0
    return float(scipy.stats.wilcoxon(shares, method="approx").pvalue)


def power(
    raters: int,
    videos: int,
    preferred: float,
    *,
    runs: int = 200,
    by_video: bool = True,
    seed: int = 0,
    **how,
) -> float:
    """The share of simulated studies with p < 0.05; with `preferred` 0.5 and no spread the share of false
    alarms.

    Args:
        raters, videos, preferred, how: as for `simulate_choices`.
        runs: how many studies.
        by_video: by `p_of_videos`, else by `p_of_answers`.
    Raises:
        InputError: as `simulate_choices`.

    Example:
        >>> power(raters=10, videos=12, preferred=0.9, runs=20)
        1.0
    """
    p = p_of_videos if by_video else p_of_answers
    found = [
        p(simulate_choices(raters, videos, preferred, seed=seed * 100_003 + run, **how)) < SIGNIFICANT
        for run in range(runs)
    ]
    return float(np.mean(found))
