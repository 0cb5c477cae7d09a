"""Metrics of faces: closed forms on made-up landmarks."""

import numpy as np
import pytest

from fomm_lib.evaluation.faces import (
    average_euclidean_distance,
    average_keypoint_distance,
    average_squared_distance,
    jitter,
    missing_keypoint_rate,
    movement_error,
)

RNG = np.random.default_rng(0)
FACE = RNG.uniform(50, 200, (68, 2))
NONE = np.full((68, 2), np.nan)


def shifted(x, y, face=FACE):
    return face + np.array([x, y])


def video(*faces):
    return np.stack(faces)


def test_akd_is_the_mean_of_absolute_coordinates():
    assert average_keypoint_distance(video(FACE, FACE), video(FACE, shifted(4, 0))).tolist() == [0, 2]
    noisy = FACE + RNG.normal(0, 3, FACE.shape)
    by_hand = (
        sum(abs(a - b) for p, q in zip(noisy, FACE, strict=True) for a, b in zip(p, q, strict=True)) / 136
    )
    assert average_keypoint_distance(video(noisy), video(FACE))[0] == pytest.approx(by_hand)
    euclidean = np.linalg.norm(noisy - FACE, axis=1).mean()
    assert 1.3 < euclidean / by_hand < 1.7  # as the docstring says


def test_no_face_is_no_number():
    found, true = video(FACE, NONE, FACE, NONE), video(FACE, FACE, NONE, NONE)
    assert np.isnan(average_keypoint_distance(found, true)).tolist() == [False, True, True, True]
    rate = missing_keypoint_rate(found, true)
    assert rate[:2].tolist() == [0, 1] and np.isnan(rate[2:]).all()
    assert np.nanmean(rate) == 0.5


def test_aed_and_its_square():
    a, b = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 1.0]])
    assert average_euclidean_distance(a, b).tolist() == [5, 0]
    assert average_squared_distance(a, b).tolist() == [25, 0]
    assert np.isnan(average_euclidean_distance(a * np.nan, b)).all()


def test_jitter_of_an_even_movement_is_nothing():
    line = video(*(shifted(2.0 * t, -t) for t in range(5)))
    assert (
        np.allclose(jitter(line, np.arange(5))[1:-1], 0)
        and np.isnan(jitter(line, np.arange(5))[[0, -1]]).all()
    )
    bent = video(*(shifted(1.5 * t * t, 2.0 * t * t) for t in range(4)))
    assert np.allclose(jitter(bent, np.arange(4))[1:-1], 5)  # second difference (3, 4)


def test_jitter_counts_runs_of_three_only():
    still = video(*[FACE] * 6)
    shaken = still.copy()
    shaken[4] += [3, 4]
    found = jitter(shaken, np.array([0, 1, 5, 6, 7, 9]))
    assert np.isnan(found).tolist() == [True, True, True, False, True, True] and found[3] == pytest.approx(5)
    assert np.isnan(jitter(still[:2], np.arange(2))).all() and len(jitter(still[:0], np.arange(0))) == 0
    missing = video(FACE, NONE, FACE, FACE, FACE)
    assert np.isnan(jitter(missing, np.arange(5))).tolist() == [True, True, True, False, True]


def test_movement_error_ignores_where_a_face_is_and_sees_how_it_moves():
    other = FACE * 1.1 + 20
    moves = [0.0, 4.0, 8.0]
    driving = video(*(shifted(m, 0) for m in moves))
    follows = video(*(shifted(m, 0, other) for m in moves))
    frozen = video(*[other] * 3)
    assert np.allclose(movement_error(follows, driving)[1:], 0) and np.isnan(
        movement_error(follows, driving)[0]
    )
    assert np.allclose(movement_error(frozen, driving)[1:], [2, 4])
    assert np.isnan(movement_error(video(NONE, FACE), video(FACE, FACE))).all()
