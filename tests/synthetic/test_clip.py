"""Clips: the same seed gives the same images, and the truth is true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid, to_pixels, warp
from fomm_lib.synthetic import anatomy as anatomy_module
from fomm_lib.synthetic.clip import SyntheticClip
from tests.support.synthetic_clips import clip_at_rest, frontal, moved, still

EYES_MIDDLE = slice(36, 48)  # of the 68 landmarks


@pytest.mark.needs_system
def test_the_same_numbers_give_the_same_image_and_others_do_not(drawing):
    image = SyntheticClip(5, 1, 4, 64).frame(3)
    assert image.dtype == np.uint8 and image.shape == (64, 64, 3)
    assert (SyntheticClip(5, 1, 4, 64).frame(3) == image).all()
    assert (SyntheticClip(5, 2, 4, 64).frame(3) != image).mean() > 0.5
    assert (SyntheticClip(6, 1, 4, 64).frame(3) != image).mean() > 0.5


def test_a_frame_that_is_not_there(anny):
    with pytest.raises(InputError, match="frame 4: this clip has the frames 0 to 3"):
        SyntheticClip(0, 0, 4, 32).landmarks(4)


@pytest.mark.parametrize(
    ("head", "degrees"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((0, 0.5, 0), (28.6, 0, 0)),  # to the person's left: to the right of the image
        ((0.3, 0, 0), (0, 17.2, 0)),  # down
        ((0, 0, 0.2), (0, 0, -11.5)),  # to the person's right shoulder: to the left of the image
    ],
)
def test_head_pose_in_degrees(anny, head, degrees):
    pose = clip_at_rest(moved(head=head)).head_pose(1)
    assert np.allclose(pose.yaw_pitch_roll, degrees, atol=0.1)


def test_head_pose_turns_the_landmarks_the_same_way(anny):
    clip = clip_at_rest(moved(head=(0, 0.5, 0)))
    nose = clip.landmarks(1)[30] - clip.landmarks(1)[EYES_MIDDLE].mean(0)
    before = clip.landmarks(0)[30] - clip.landmarks(0)[EYES_MIDDLE].mean(0)
    assert nose[0] - before[0] > 0.1


def test_head_pose_translation_is_where_the_eyes_are(anny):
    front = frontal()
    pose = clip_at_rest(still(1)).head_pose(0)
    eyes = pose.translation
    assert abs(float(eyes[2]) - front.distance) < 1.5
    pixel = front.focal * eyes[:2] / eyes[2] + 63.5
    middle = to_pixels(clip_at_rest(still(1)).landmarks(0)[EYES_MIDDLE].mean(0), 128, 128)
    assert (pixel - middle).abs().max() < 1.5


def inside(mask: torch.Tensor, places: torch.Tensor, apart: float = 0.3) -> torch.Tensor:
    """Pixels of a mask whose neighbours show the same part as they do, and nearly the same place."""
    pad = torch.nn.functional.pad(places.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0]
    h, w = mask.shape
    near = [pad[:, i : i + h, j : j + w].permute(1, 2, 0) for i in range(3) for j in range(3)]
    same = torch.stack([(n[..., 3] == places[..., 3]) & ((n - places).norm(dim=-1) < apart) for n in near])
    return mask & same.all(dim=0)


@pytest.mark.needs_system
def test_nothing_moves_between_a_frame_and_itself(drawing):
    clip = SyntheticClip(5, 1, 4, 96)
    truth = clip.true_motion(2, 2)
    assert (truth.flow - coordinate_grid(96, 96)).abs().max() < 1e-4
    assert truth.visible.float().mean() > 0.998
    assert 0.2 < truth.surface.float().mean() < 1


@pytest.mark.needs_system
def test_a_shift_sideways_has_the_flow_of_a_pinhole_camera(drawing):
    clip = clip_at_rest(moved(sway=(0, 0, 0, 0.2, 0.1, 0)), fov=2.0)
    truth = clip.true_motion(source=0, driving=1)
    front = frontal(fov=2.0)
    flow = to_pixels(truth.flow - coordinate_grid(128, 128) + coordinate_grid(1, 1), 128, 128) - 63.5
    # The person moved right and up by (0.2, 0.1) dm, 98.5 to 102 dm away; the source lies left and below.
    expected = torch.tensor([-0.2, 0.1]) * front.focal / front.distance
    assert (flow[truth.surface] - expected).abs().max() < 0.03 * expected.abs().max()
    assert (flow[~truth.surface] == 0).all()


@pytest.mark.needs_system
@pytest.mark.parametrize("number", [0, 3, 11, 14])
def test_warping_the_source_gives_the_driving_frame_where_it_is_visible(drawing, number):
    clip = SyntheticClip(11, number, 8, 128, fps=1.2)
    truth = clip.true_motion(source=0, driving=5)
    # Places on the undeformed head, warped: within half a millimetre, and 4 mm for 99 of 100 pixels.
    source, driving = clip.places(0), clip.places(5)
    there = warp(source.permute(2, 0, 1)[None], truth.flow[None])[0].permute(1, 2, 0)
    pixels = inside(truth.visible & truth.surface, driving)
    found = warp(inside(source[..., 3] > 0, source)[None, None].float(), truth.flow[None])[0, 0] > 0.999
    error = (there - driving)[pixels & found][:, :3].norm(dim=-1)
    assert len(error) > 1000
    assert error.median() < 0.005 and torch.quantile(error, 0.99) < 0.04
    # Colours without light: the rest is interpolation of freckles and hair.
    a, b = (torch.from_numpy(clip.plain_frame(k)).permute(2, 0, 1)[None] / 255 for k in (0, 5))
    warped = (warp(a, truth.flow[None]) - b).abs().mean(1)[0]
    unwarped = (a - b).abs().mean(1)[0]
    assert warped[pixels & found].mean() < 0.015
    assert warped[truth.visible].mean() < 0.3 * unwarped[truth.visible].mean()


@pytest.mark.needs_system
def test_what_is_called_hidden_is_hidden(drawing):
    clip = SyntheticClip(11, 3, 8, 128, fps=1.2, motion=lambda times: moved(head=(0.1, 0.7, 0)))
    truth = clip.true_motion(source=0, driving=1)
    source, driving = clip.places(0), clip.places(1)
    # Without any depth: does the source, at the nearest pixel, show the same point of the surface?
    shown = warp(source.permute(2, 0, 1)[None], truth.flow[None])[0].permute(1, 2, 0)
    same = (shown - driving)[..., :3].norm(dim=-1) < 0.15
    pixels = inside(truth.surface, driving) & (truth.flow.abs() < 0.98).all(-1)
    found = warp(inside(source[..., 3] > 0, source)[None, None].float(), truth.flow[None])[0, 0] > 0.999
    pixels &= found
    hidden = pixels & ~truth.visible
    assert hidden.sum() > 50, "this pair turns far enough to hide something"
    assert (same == truth.visible)[pixels].float().mean() > 0.98
    assert (~same)[hidden].float().mean() > 0.9
    outside = truth.flow.abs().amax(-1) > 1.02
    assert not truth.visible[outside].any()
    background = ~truth.surface
    assert (truth.visible[background] == (source[..., 3] == 0)[background]).all()


@pytest.mark.needs_system
def test_landmarks_lie_where_the_image_shows_them(drawing):
    clip = clip_at_rest(still(1), size=256, fov=2.2)
    places = clip.places(0)
    anatomy = anatomy_module.load_anatomy()
    wanted = torch.from_numpy(anatomy.vertices[anatomy.indices(anatomy_module.LANDMARKS)])
    column, row = to_pixels(clip.landmarks(0), 256, 256).round().long().T
    shown = places[row, column]
    on_skin = shown[:, 3] == anatomy_module.Part.SKIN + 1
    error = (shown[:, :3] - wanted).norm(dim=-1)[on_skin]
    assert on_skin.sum() > 40
    assert error.median() < 0.02
