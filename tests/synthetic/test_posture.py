"""A pose moves bones rigidly, and nothing moves at rest."""

from __future__ import annotations

import numpy as np

from fomm_lib.synthetic import anatomy as anatomy_module
from fomm_lib.synthetic import posture
from fomm_lib.synthetic.clip import SyntheticClip
from tests.support.synthetic_clips import clip_at_rest, moved, still


def test_at_rest_everything_is_where_the_body_has_it(anny):
    clip = SyntheticClip(1, 2, 1, 32, motion=lambda times: still(1))
    positions, normals = posture.pose(clip.person.body, clip.motion[0])
    count = len(clip.person.body.neutral)
    assert np.abs(positions[:count] - clip.person.body.neutral).max() < 1e-5
    assert np.allclose(np.linalg.norm(normals, axis=1).max(), 1, atol=1e-5)


def test_the_skull_moves_rigidly_with_the_head_pose(anny):
    clip = clip_at_rest(moved(head=(0.2, 0.5, -0.1), sway=(0.05, -0.1, 0.02, 0.1, -0.2, 0.3)))
    skull = anatomy_module.load_anatomy().weights[:, anatomy_module.BONES.index("head")] > 0.999
    before, after = (posture.pose(clip.person.body, clip.motion[k])[0][: len(skull)][skull] for k in (0, 1))
    # The best rotation between the two clouds of points (Kabsch), without the library's chain of joints.
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    rotation = vt.T @ np.diag([1, 1, np.linalg.det(vt.T @ u.T)]) @ u.T
    residual = (before - before.mean(0)) @ rotation.T - (after - after.mean(0))
    assert np.abs(residual).max() < 1e-3
    flip = np.diag([1.0, -1.0, -1.0])  # the camera looks straight on
    poses = clip.head_pose(0).rotation.numpy(), clip.head_pose(1).rotation.numpy()
    assert np.allclose(poses[1] @ poses[0].T, flip @ rotation @ flip, atol=1e-4)
