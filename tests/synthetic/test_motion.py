"""Random motion is a smooth function of time."""

from __future__ import annotations

import numpy as np
import torch

from fomm_lib.synthetic import anatomy as anatomy_module
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.motion import sample_motion


def test_motion_is_a_function_of_time(anny):
    times = np.arange(50) / 25
    every = sample_motion(np.random.default_rng(3), times)
    some = sample_motion(np.random.default_rng(3), times[[49, 7, 20]])
    for k, number in enumerate((49, 7, 20)):
        assert np.allclose(some.head[k], every.head[number])
        assert np.allclose(some.actions[k], every.actions[number], atol=1e-6)
        assert np.allclose(some.gaze[k], every.gaze[number])


def test_motion_is_smooth_and_lively(anny):
    largest, turns = [], []
    for number in range(6):
        clip = SyntheticClip(0, number, 75, 128)
        points = torch.stack([clip.landmarks(k) for k in range(75)])
        scale = (points[:, 8] - points[:, 27]).norm(dim=-1).mean()  # bridge of the nose to the chin
        largest.append(float((points[1:] - points[:-1]).norm(dim=-1).max() / scale))
        turns.append(np.rad2deg(np.ptp(clip.motion.head[:, 1])))
    assert max(largest) < 0.25, "in one frame of 25 a second no landmark jumps by a quarter of the lower face"
    assert max(turns) > 30, "heads turn"


def test_turns_reach_45_degrees_and_blinks_close_the_eyes(anny):
    times = np.arange(0, 20, 0.04)
    motions = [sample_motion(np.random.default_rng(n), times) for n in range(12)]
    yaw = max(np.abs(np.rad2deg(m.head[:, 1])).max() for m in motions)
    assert 40 < yaw < 55
    blink = anatomy_module.load_anatomy().action_names.index("eyeBlinkLeft")
    assert all(m.actions[:, blink].max() > 0.8 for m in motions)
    used = np.max([m.actions.max(axis=0) for m in motions], axis=0)
    names = np.array(anatomy_module.load_anatomy().action_names)
    assert list(names[used < 0.2]) == [], "every facial action is used"


def test_lids_close_often_only_on_request_and_nothing_else_changes(anny):
    times = np.arange(0, 20, 0.05)
    blink = anatomy_module.load_anatomy().action_names.index("eyeBlinkLeft")
    shares = {}
    for often in (False, True):
        motions = [sample_motion(np.random.default_rng(n), times, lids_often=often) for n in range(20)]
        shares[often] = np.mean([m.actions[:, blink] > 0.3 for m in motions])
    assert shares[False] < 0.2 and 0.3 < shares[True] < 0.5
    one, other = (sample_motion(np.random.default_rng(1), times, lids_often=often) for often in (False, True))
    assert np.array_equal(one.head, other.head) and np.array_equal(one.gaze, other.gaze)
