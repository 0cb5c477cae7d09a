"""Simulated studies: their answers have the stated rates, and their tests the promised errors."""

import numpy as np
import pytest
import scipy.stats

from fomm_lib.errors import InputError
from fomm_lib.evaluation.power import BETTER, WORSE, p_of_answers, p_of_videos, power, simulate_choices
from fomm_lib.evaluation.study import analyse


def share(choices, chosen=BETTER):
    return np.mean([one.chosen == chosen for one in choices])


def test_answers_have_the_stated_rate():
    many = simulate_choices(100, 100, 0.8, careless=0.0)
    assert share(many) == pytest.approx(0.8, abs=0.02)
    half = simulate_choices(100, 100, 0.8, careless=0.5)
    assert share(half) == pytest.approx(0.5 * 0.8 + 0.5 * 0.5, abs=0.02)


def test_careless_raters_may_prefer_a_side():
    many = simulate_choices(50, 100, 0.5, careless=1.0, left=1.0)
    assert all(one.chosen == one.trial.left for one in many)
    assert analyse(many).left == len(many)
    assert {one.trial.left for one in many} == {BETTER, WORSE}


def test_videos_differ_by_the_spread():
    def of_videos(spread):
        many = simulate_choices(200, 40, 0.5, careless=0.0, spread=spread, seed=1)
        shares = [share(many[v::40]) for v in range(40)]
        return np.std(shares)

    assert of_videos(0.0) == pytest.approx(np.sqrt(0.25 / 200), rel=0.4)
    uniform = np.std(scipy.stats.norm.cdf(np.random.default_rng(0).normal(size=10_000)))
    assert of_videos(1.0) == pytest.approx(uniform, rel=0.25)


def test_the_same_seed_gives_the_same_answers():
    one, same, other = (simulate_choices(3, 4, 0.7, seed=s) for s in (1, 1, 2))
    assert one == same and one != other


def test_the_p_of_answers_is_that_of_the_study():
    many = simulate_choices(10, 12, 0.7)
    assert p_of_answers(many) == analyse(many).preferences[0].p


def test_ties_have_p_one():
    many = simulate_choices(2, 1, 0.5, careless=0.0)
    many = [many[0], type(many[0])("b", many[0].trial, [BETTER, WORSE][many[0].chosen == BETTER], 0.0)]
    assert p_of_videos(many) == 1.0


def test_power_grows_with_raters_and_videos():
    assert power(3, 6, 0.65, runs=60) < power(10, 12, 0.65, runs=60) < power(10, 40, 0.65, runs=60) + 0.02
    assert power(10, 20, 0.9, runs=30) == 1.0


def test_counting_answers_gives_false_alarms_where_videos_differ():
    alike = {"raters": 20, "videos": 12, "preferred": 0.5, "spread": 0.7, "runs": 150}
    assert power(**alike, by_video=False) > 0.25
    assert power(**alike, by_video=True) < 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"raters": 0},
        {"videos": 0},
        {"preferred": 0.4},
        {"preferred": 1.0},
        {"careless": 1.1},
        {"left": -0.1},
        {"spread": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=r"should be|at least one"):
        simulate_choices(**{"raters": 2, "videos": 2, "preferred": 0.7} | wrong)
