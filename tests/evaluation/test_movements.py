"""Movements of a face: a mean head, turned and projected by hand, gives back what was done to it."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.evaluation.comparison import following
from fomm_lib.evaluation.movements import MEASURES, TEMPLATE, head_pose, read_movements
from fomm_lib.synthetic.anatomy import LANDMARKS, load_anatomy
from fomm_lib.synthetic.posture import rotation_matrix

RNG = np.random.default_rng(0)
REST = read_movements(60 * TEMPLATE[None, :, :2] * [1, -1])


def seen(angles=(0, 0, 0), head=TEMPLATE, scale=55.0, shift=(130.0, 120.0)):
    """(68, 2) pixels of a head turned by (pitch, yaw, roll) in degrees, projected in parallel."""
    turned = head @ rotation_matrix(*np.deg2rad(angles)).astype(float).T
    return scale * turned[:, :2] * [1, -1] + shift


def video(*faces):
    return np.stack(faces)


def raised(points, by):
    head = TEMPLATE.copy()
    head[points, 1] += by
    return head


def test_a_known_rotation_is_read_back():
    for angles in ((0, 0, 0), (12, -30, 8), (-20, 45, -15), (5, 60, 80)):
        pose = head_pose(video(seen(angles)))
        assert [pose.angles[name][0] for name in ("pitch", "yaw", "roll")] == pytest.approx(angles, abs=1e-4)
        assert pose.scale[0] == pytest.approx(55)
        assert np.allclose(pose.rotation[0] @ pose.rotation[0].T, np.eye(3))


def test_the_signs_are_those_of_the_docstring():
    right_ear, left_ear, chin, top = 0, 16, 8, [21, 22]
    face = seen()
    turned, bent, tilted = seen((0, 30, 0)), seen((30, 0, 0)), seen((0, 0, 30))
    tip = 30
    assert turned[tip, 0] > face[tip, 0]  # the person's left is on the right of the image
    assert bent[tip, 1] > face[tip, 1]
    assert tilted[top, 0].mean() < tilted[chin, 0] and tilted[left_ear, 1] < tilted[right_ear, 1]


@pytest.mark.parametrize("angles", [(0, 0, 0), (15, -25, 10), (-10, 40, -30)])
def test_lengths_do_not_change_with_the_pose(angles):
    """A mouth that opens by 0.3, lids that close by 0.1, brows that rise by 0.08: from every side."""
    lower_lip, upper_lids = [65, 66, 67], [37, 38, 43, 44]
    for name, points, by, change in (
        ("lips", lower_lip, -0.3, 0.3),
        ("lids", upper_lids, -0.1, -0.1),
        ("brows", list(range(17, 27)), 0.08, 0.08),
    ):
        found = read_movements(video(seen(angles), seen(angles, raised(points, by))))
        assert found[name] == pytest.approx([REST[name][0], REST[name][0] + change], abs=1e-6)
        others = [other for other in MEASURES if other not in (name, "yaw", "pitch", "roll")]
        assert all(np.ptp(found[other]) < 1e-6 for other in others)


def test_the_width_of_the_mouth():
    """Its corners help to read the pose, so that a smile is read a little too small."""
    wide = TEMPLATE.copy()
    wide[[48, 54], 0] *= 1.2
    found = read_movements(video(seen(), seen(head=wide)))["mouth_width"]
    assert found[0] == pytest.approx(0.82) and 0.82 * 1.17 < found[1] < 0.82 * 1.2


def test_a_turn_that_is_followed_has_slope_1_and_one_by_half_a_half():
    yaw = 30 * np.sin(np.arange(40) / 4)
    true = read_movements(video(*(seen((0, angle, 0)) for angle in yaw)))["yaw"]
    other = TEMPLATE * [1.1, 0.9, 1.0]  # another person, nearer, elsewhere
    same = read_movements(video(*(seen((0, a, 0), TEMPLATE, 80, (90, 90)) for a in yaw)))["yaw"]
    half = read_movements(video(*(seen((0, a / 2, 0)) for a in yaw)))["yaw"]
    theirs = read_movements(video(*(seen((0, a, 0), other) for a in yaw)))["yaw"]
    assert (following([same], [true]).slope.mean, following([same], [true]).correlation.mean) == (
        pytest.approx(1),
        pytest.approx(1),
    )
    assert following([half], [true]).slope.mean == pytest.approx(0.5)
    assert following([theirs], [true]).slope.mean == pytest.approx(1, abs=0.15)


def test_the_order_of_frames_counts():
    opening = RNG.uniform(0, 0.4, 400)
    frames = video(*(seen((5, 20, 0), raised([65, 66, 67], -gap)) for gap in opening))
    true, shuffled = read_movements(frames)["lips"], read_movements(RNG.permutation(frames))["lips"]
    found = following([shuffled], [true])
    assert abs(found.correlation.mean) < 0.15 and abs(found.slope.mean) < 0.15  # 3 / sqrt(400)


def test_no_face_and_no_shape_are_no_number():
    line = np.arange(136.0).reshape(68, 2)
    point = np.full((68, 2), 3.0)
    found = read_movements(video(np.full((68, 2), np.nan), line, point, seen()))
    assert found.keys() == MEASURES.keys()
    for values in found.values():
        assert np.isnan(values).tolist() == [True, True, True, False]
    assert all(len(values) == 0 for values in read_movements(np.zeros((0, 68, 2))).values())


def test_the_mean_head_is_that_of_the_renderer():
    pytest.importorskip("anny", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    points = load_anatomy().vertices[load_anatomy().indices(LANDMARKS)]
    eyes = [points[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48))]
    ours = (points - np.mean(eyes, axis=0)) / np.linalg.norm(eyes[0] - eyes[1])
    assert np.abs(ours - TEMPLATE).max() < 0.25 and np.abs(ours - TEMPLATE).mean() < 0.08
