"""Poses: limits, blinks, and what moves with what."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.motion import finish_motion
from fomm_lib.synthetic.photographs.posture import at_rest, poses, positions
from fomm_lib.synthetic.posture import rotation_matrix


@pytest.mark.needs_system
def test_at_rest_every_vertex_is_where_the_fit_has_it(closed):
    points, bust = positions(closed.layers, at_rest(closed.fit)), closed.fit.deformed
    skin = np.unique(closed.layers.face.triangles)
    assert np.abs(points[skin] - bust[skin]).max() < 1e-5
    grid = len(closed.layers.outer.points)
    assert np.abs(points[2 * len(bust) :][:grid] - closed.layers.outer.front).max() < 1e-5


@pytest.mark.needs_system
def test_a_turn_is_rigid_above_the_chin(closed):
    angles = np.deg2rad([5, 15, -4])
    rest, turned = (
        positions(closed.layers, at_rest(closed.fit, head=head)) for head in (np.zeros(3), angles)
    )
    eyes = closed.fit.vertices[36:48]
    before, after = rest[eyes] - rest[eyes][0], turned[eyes] - turned[eyes][0]
    assert np.abs(after - before @ rotation_matrix(*angles).T).max() < 1e-4


@pytest.mark.needs_system
def test_random_motion_stays_within_limits_and_begins_with_the_photograph(closed):
    count = 40
    rng = np.random.default_rng(0)
    actions = rng.uniform(0, 0.6, (count, len(load_anatomy().action_names)))
    head, gaze, sway = rng.normal(0, 1, (count, 3)), rng.normal(0, 0.2, (count, 2)), np.zeros((count, 6))
    motion = finish_motion(actions, head, gaze, sway, np.linspace(0, 1, count))
    result = poses(motion, closed.fit, kept=0.5)
    assert len(result) == count
    assert (result[0].actions == closed.fit.actions).all() and not result[0].head.any()
    angles = np.rad2deg([pose.head for pose in result])
    assert (np.abs(angles).max(axis=0) < np.array([14, 22, 14]) + 1e-6).all()
    assert np.abs(angles[:, 1] + closed.fit.angles[1]).max() <= 25 + 1e-6
    assert result[-1].blink == pytest.approx(1, abs=0.02)  # although `finish_motion` limits actions
    assert all(0 <= pose.blink <= 1 and pose.own == 0.5 for pose in result[1:])


@pytest.mark.needs_system
def test_eyes_turn_with_the_gaze_alone(closed):
    rest = positions(closed.layers, at_rest(closed.fit))
    looks = positions(closed.layers, at_rest(closed.fit, gaze=np.deg2rad([0, 15])))
    moved = np.flatnonzero(np.abs(looks - rest).max(axis=1) > 1e-5)
    assert set(closed.layers.kinds[moved]) <= {0, 1, 4} and len(moved) > 50
    assert not set(moved) & set(np.unique(closed.layers.face.triangles))
