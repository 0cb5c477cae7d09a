"""Animals: the gait's closed forms, and legs that end where the feet are."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.categories.animals import (
    FEET,
    GAITS,
    LANDMARKS,
    Gait,
    bend,
    sample_animal,
    sample_build,
)


def walk(**changes) -> Gait:
    phases, stance = GAITS["walk"]
    return Gait(**{"phases": phases, "stance": stance, "rate": 0.8, "stride": 4.0, "lift": 1.0, **changes})


def test_a_foot_on_the_ground_moves_back_as_fast_as_the_ground():
    gait = walk(phases=np.zeros(4))
    times = np.linspace(0, 0.6 * gait.stance / gait.rate, 20)
    forward, height = (np.array(part) for part in zip(*(gait.feet(time) for time in times), strict=True))
    assert (height == 0).all()
    assert np.allclose(np.diff(forward[:, 0]) / np.diff(times), -gait.speed)
    assert gait.speed == pytest.approx(4.0 * 0.8 / 0.65)


def test_the_gait_repeats_and_every_foot_is_lifted_once():
    gait = walk()
    assert np.allclose(gait.feet(0.3), gait.feet(0.3 + 1 / gait.rate))
    cycle = np.linspace(0, 1 / gait.rate, 500, endpoint=False)
    heights = np.array([gait.feet(time)[1] for time in cycle])
    assert np.allclose((heights == 0).mean(axis=0), 0.65, atol=0.01)
    assert np.allclose(heights.max(axis=0), 1.0, atol=0.01)
    # A walk: never fewer than two feet on the ground; a trot moves diagonal legs together.
    assert (heights == 0).sum(axis=1).min() >= 2
    phases, stance = GAITS["trot"]
    trot = walk(phases=phases, stance=stance).feet(0.37)
    left, right = FEET.index("hind left"), FEET.index("front right")
    assert trot[0][left] == trot[0][right] and trot[0][left] != trot[0][FEET.index("front left")]


def test_a_foot_swings_from_where_it_left_the_ground_to_where_it_lands():
    gait = walk(phases=np.zeros(4))
    just_before, just_after = gait.feet(0.6499 / 0.8)[0][0], gait.feet(0.6501 / 0.8)[0][0]
    assert just_before == pytest.approx(-2, abs=0.01) and just_after == pytest.approx(-2, abs=0.01)
    assert gait.feet(0.9999 / 0.8)[0][0] == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("forward", [1, -1])
def test_a_bent_leg_keeps_the_lengths_of_its_bones(forward):
    top, end = np.array([1.0, 5, 0]), np.array([1.0, 0.5, 0.8])
    knee = bend(top, end, 2.6, 2.5, forward)
    assert np.linalg.norm(knee - top) == pytest.approx(2.6)
    assert np.linalg.norm(knee - end) == pytest.approx(2.5)
    straight = top + (end - top) * 0.5
    assert np.sign(knee[2] - straight[2]) == forward
    assert np.linalg.norm(bend(top, end * 10, 2.6, 2.5, forward) - top) == pytest.approx(2.6), "out of reach"


def test_builds_differ_and_repeat():
    builds = [sample_build(np.random.default_rng(seed)) for seed in range(40)]
    heights = np.array([build.height for build in builds])
    assert heights.min() < 7 and heights.max() > 11
    again = sample_build(np.random.default_rng(3))
    assert again.trunk == builds[3].trunk and (again.coat == builds[3].coat).all()
    assert {build.horns for build in builds} == {0, 1, 2}


def test_feet_of_the_animal_are_where_the_gait_puts_them():
    times = np.arange(12) / 6
    animal = sample_animal(np.random.default_rng(4), np.random.default_rng(5), times)
    feet = [LANDMARKS.index(f"{foot} foot") for foot in FEET]
    for k in range(12):
        heights = animal.facts["feet"][k][1]
        assert np.allclose(animal.landmarks(k)[feet, 1], heights), "feet are on the ground, or lifted"
        assert animal.positions(k)[:, 1].min() > -1


def test_vertices_have_one_order_and_are_finite():
    animal = sample_animal(np.random.default_rng(0), np.random.default_rng(1), np.arange(4) / 2)
    assert animal.positions(0).shape == animal.canonical.shape == (len(animal.aux), 3)
    assert animal.faces.max() == len(animal.canonical) - 1
    assert np.isfinite(animal.positions(3)).all()
    assert len(animal.names) == len(animal.landmarks(0)) == 15
