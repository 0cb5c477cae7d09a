"""Clips of photographs: the truth is true, and the same numbers give the same images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid, to_pixels, warp
from fomm_lib.synthetic.photographs.clip import PhotographClip
from fomm_lib.synthetic.photographs.posture import at_rest


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).float().permute(2, 0, 1)[None]


@pytest.mark.needs_system
@pytest.mark.parametrize("name", ["closed", "smiling"])
def test_warping_the_source_gives_the_driving_frame_where_it_is_visible(name, request):
    photograph = request.getfixturevalue(name)
    clip = PhotographClip(photograph, 0, 1, 8, 256, varied=False)
    for source, driving in ((0, 5), (3, 6), (7, 2)):
        truth = clip.true_motion(source, driving)
        one, other = (tensor(photograph.image(clip.poses[k], clip.view)) * 255 for k in (source, driving))
        warped = (warp(one, truth.flow[None]) - other).abs().mean(1)[0]
        unwarped = (one - other).abs().mean(1)[0]
        person = truth.visible & truth.surface
        assert warped[truth.visible].mean() < 1.5
        assert warped[person].mean() < 0.35 * unwarped[person].mean()
        assert 0.8 < truth.visible.float().mean() <= 1


@pytest.mark.needs_system
def test_the_background_stands_still_and_is_hidden_by_the_head(closed):
    turned = at_rest(closed.fit, head=np.deg2rad([0, 20, 0]), sway=np.array([0, 0, 0, 0.3, 0, 0]))
    clip = PhotographClip(closed, 0, 1, 2, 96, varied=False, poses=[at_rest(closed.fit), turned])
    truth, empty = clip.true_motion(0, 1), clip.kinds(0) < 0
    background = ~truth.surface
    assert (truth.flow == coordinate_grid(96, 96))[background].all()
    assert (truth.visible.numpy() == empty)[background.numpy()].all()
    assert (background & ~truth.visible).sum() > 20


@pytest.mark.needs_system
def test_the_first_frame_is_the_photograph_and_others_are_not(closed):
    clip = PhotographClip(closed, 0, 4, 6, 96, varied=False)
    rest = (closed.image(at_rest(closed.fit), clip.view) * 255 + 0.5).astype(np.uint8)
    assert (clip.frame(0) == rest).all()
    assert np.abs(clip.frame(5).astype(float) - rest).mean() > 1


@pytest.mark.needs_system
def test_landmarks_lie_where_the_photograph_has_them(closed):
    clip = PhotographClip(closed, 0, 1, 2, 256, varied=False)
    left, top, side = clip.view.square
    expected = (closed.layers.canvas.landmarks + 0.5 - (left, top)) * 256 / side - 0.5
    error = np.linalg.norm(to_pixels(clip.landmarks(0), 256, 256).numpy() - expected, axis=1)
    assert error[17:].mean() < 0.015 * closed.portrait.eye_distance * 256 / side


@pytest.mark.needs_system
def test_the_same_numbers_give_the_same_clip_at_any_size(closed):
    one, again, other = (PhotographClip(closed, 5, number, 3, 64) for number in (1, 1, 2))
    assert (one.frame(2) == again.frame(2)).all()
    assert (one.frame(2) != other.frame(2)).mean() > 0.3
    small = one.at_size(32)
    assert small.frame(0).shape == (32, 32, 3)
    assert (small.landmarks(1) - one.landmarks(1)).abs().max() < 1e-5 + 2 / 32
    centre = (to_pixels(one.landmarks(1), 64, 64) + 0.5) / 64 - (
        to_pixels(small.landmarks(1), 32, 32) + 0.5
    ) / 32
    assert centre.abs().max() < 1e-5


@pytest.mark.needs_system
def test_half_of_the_clips_have_another_background(closed):
    clips = [PhotographClip(closed, 1, number, 1, 32) for number in range(40)]
    assert 10 <= sum(clip.replaced is not None for clip in clips) <= 30
    assert 10 <= sum(clip.scene is not None for clip in clips) <= 30
    assert any(clip.quality for clip in clips)
    replaced = next(clip for clip in clips if clip.replaced is not None and clip.scene is None)
    own = PhotographClip(closed, 1, replaced.number, 1, 32, varied=False)
    differs = np.abs(replaced.frame(0).astype(float) - own.frame(0)).max(axis=2) > 8
    background = own.kinds(0) < 0
    assert differs[background].mean() > 0.5 and differs[~background].mean() < 0.3


@pytest.mark.needs_system
def test_pairs_move_lids_and_lips_more_than_by_chance(closed):
    blinks = [at_rest(closed.fit, blink=float(k == 3)) for k in range(8)]
    clip = PhotographClip(closed, 0, 1, 8, 64, varied=False, poses=blinks)
    pairs = clip.truth_pairs(200)
    assert pairs.shape == (200, 2) and (pairs[:, 0] != pairs[:, 1]).all()
    share = (pairs == 3).any(axis=1).mean()
    assert share > 0.4  # by chance 2 of 8; a quarter of the pairs are chosen by lids, so 0.75 / 4 + 0.25
    assert (clip.truth_pairs(200) == pairs).all()


@pytest.mark.needs_system
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 8}, "size=8: give a whole number from 16 to 1024"),
        ({"frames": 0}, "frames=0"),
        ({"seed": -1}, "seed=-1"),
        ({"number": 1.5}, r"number=1\.5"),
        ({"fps": 0}, "fps=0: give frames a second"),
    ],
)
def test_bad_numbers(closed, wrong, message):
    with pytest.raises(InputError, match=message):
        PhotographClip(**{"photograph": closed, "seed": 0, "number": 0, "frames": 2, "size": 32, **wrong})
    with pytest.raises(InputError, match="frame 2: this clip has the frames 0 to 1"):
        PhotographClip(closed, 0, 0, 2, 32).frame(2)
