"""Bodies: closed forms of a step, bones of constant length, feet on the ground."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.categories.bodies import (
    LANDMARKS,
    MOVEMENTS,
    arm,
    leg,
    sample_body,
    walking_leg,
)


def body(seed: int, frames: int = 5):
    return sample_body(np.random.default_rng(seed), np.random.default_rng(seed + 1), np.arange(frames) / 2)


def test_arms_and_legs_in_simple_poses():
    upper, fore = arm(0, np.pi / 2, 0)  # stretched out to the side
    assert np.allclose(upper, [1, 0, 0]) and np.allclose(fore, [1, 0, 0])
    thigh, shin = leg(0.4, 0, 0.4)  # the shin hangs
    assert np.allclose(shin, [0, -1, 0]) and thigh[2] == pytest.approx(np.sin(0.4))
    for direction in (*arm(0.3, 0.9, 1.2, -0.5), *leg(0.7, 0.2, 1.1)):
        assert np.linalg.norm(direction) == pytest.approx(1)


def test_a_walking_leg():
    # Farthest in front and behind with a straight knee; the knee bends most while the leg swings forward.
    assert walking_leg(np.pi / 2, 0.4, 1.0) == pytest.approx((0.4, 0.12))
    assert walking_leg(-np.pi / 2, 0.4, 1.0) == pytest.approx((-0.4, 0.12))
    assert walking_leg(0.0, 0.4, 1.0) == pytest.approx((0.0, 1.12))
    assert walking_leg(np.pi, 0.4, 1.0) == pytest.approx((0.0, 0.12))


def test_bones_keep_their_lengths_and_feet_the_ground(anny):
    for seed in range(3):
        subject = body(seed)
        lengths = []
        for k in range(5):
            marks = dict(zip(LANDMARKS, subject.landmarks(k), strict=True))
            pairs = [
                ("left shoulder", "left elbow"),
                ("right knee", "right ankle"),
                ("left hip", "right hip"),
            ]
            lengths.append([np.linalg.norm(marks[a] - marks[b]) for a, b in pairs])
            drawn = np.unique(subject.faces)
            assert abs(subject.positions(k)[drawn, 1].min()) < 1.5
            assert marks["left ankle"][1] > 0 and marks["nose"][1] > marks["left knee"][1]
        assert np.ptp(lengths, axis=0).max() < 1e-3


def test_landmarks_of_the_face_are_vertices(anny):
    subject = body(1)
    for k in (0, 4):
        points = subject.positions(k)
        for mark in subject.landmarks(k)[:4]:
            assert np.linalg.norm(points - mark, axis=1).min() < 1e-3


def test_all_movements_occur_and_repeat(anny):
    found = {body(seed, 2).facts["movement"] for seed in range(12)}
    assert found == set(MOVEMENTS)
    assert (body(5).positions(3) == body(5).positions(3)).all()
    assert np.abs(body(5).positions(3) - body(6).positions(3)).max() > 0.5
