"""Live: the portrait follows images as videos do, and jitter is damped as it is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fomm_lib.animation.animate import animate_frames
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.live import LiveAnimator, steadied
from fomm_lib.errors import InputError
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.squares import clamp_square, head_square
from fomm_lib.media.tensors import to_uint8
from fomm_lib.model import load_model
from tests.animation.conftest import MARGIN
from tests.support.small_model import small_model


@pytest.fixture
def follower(model, portrait):
    """Makes a `LiveAnimator` of that portrait."""
    plain = {"find_faces": False, "watermark": False}
    return lambda **settings: LiveAnimator(model, portrait, **plain | settings)


def changes(a: np.ndarray, b: np.ndarray) -> float:
    """The mean absolute difference of two images, in grey levels."""
    return float(np.abs(a.astype(int) - b).mean())


# --- the portrait --------------------------------------------------------------------------------------


def test_the_first_image_leaves_the_portrait_at_rest(model, follower, frames):
    follow = follower()
    animator = Animator(model, follow.still, result=(256, 256), detail=True)
    rest = to_uint8(animator.generate(animator.kp_source).prediction)[0]
    for frame in frames[[0, 3]]:
        assert changes(follow(frame), rest) < 0.1
        follow.start_over()


@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_it_moves_as_a_video_of_the_same_images_would(model, portrait, follower, frames, strength):
    follow = follower(strength=strength)
    video = animate_frames(model, portrait, frames, strength=strength, batch_size=1, fast=True)
    results = [follow(frame) for frame in frames]
    for result, expected in zip(results, video, strict=True):
        np.testing.assert_array_equal(result, expected)
    assert changes(results[-1], results[0]) > 2, "nothing moves, so nothing was tested"


def test_start_over_makes_the_next_image_the_reference(follower, frames):
    follow = follower()
    rest, moved = follow(frames[0]), follow(frames[4])
    assert changes(moved, rest) > 2
    follow.start_over()
    assert follow.square is None
    assert changes(follow(frames[4]), rest) < 0.1


def test_strength_is_changed_on_the_way(follower, frames):
    follow = follower()
    rest, moved = follow(frames[0]), follow(frames[4])
    follow.adjust(strength=0.0)
    assert changes(follow(frames[4]), rest) < 0.1
    with pytest.raises(InputError, match="strength = 9: should be a number from 0 to 5"):
        follow.adjust(strength=9.0)
    follow.adjust(strength=1.0, smooth=0.0)
    np.testing.assert_array_equal(follow(frames[4]), moved)


def test_smoothing_comes_late_and_arrives(follower, frames):
    follow = follower()
    rest, moved = follow(frames[0]), follow(frames[4])
    follow.start_over()
    follow.adjust(smooth=1.5)
    follow(frames[0])
    left = [changes(follow(frames[4]), moved) for _ in range(12)]
    assert changes(rest, moved) > left[0] > left[2] > left[11]
    assert left[11] < 0.5


def test_an_image_of_another_shape_is_a_new_beginning(follower, frames):
    follow = follower()
    rest = follow(frames[0])
    assert follow.square == (MARGIN, 0, 256)
    assert changes(follow(np.rot90(frames[4]).copy()), rest) < 0.1
    assert follow.square == (0, MARGIN, 256)


def one_person(landmarks):
    """What finds these landmarks in every image, of the only person."""
    return lambda images: [(image, landmarks, False) for image in images]


def test_the_square_is_that_around_the_face_and_stays(follower, frames, monkeypatch):
    points = np.stack([np.linspace(90, 150, 68), np.linspace(100, 160, 68)], axis=1)
    monkeypatch.setattr("fomm_lib.media.squares.follow_person", one_person(points))
    follow = follower(find_faces=True)
    assert follow.still.shape == (144, 144, 3)  # SQUARE_PER_FACE * 60
    follow(frames[0])
    around = clamp_square(head_square(points), frames.shape[2:0:-1])
    assert follow.square == around
    monkeypatch.setattr("fomm_lib.media.squares.follow_person", one_person(points + 20))
    follow(frames[1])
    assert follow.square == around and follow.notes == []
    monkeypatch.setattr("fomm_lib.media.squares.follow_person", one_person(None))
    follow.start_over()
    follow(frames[1])
    assert follow.square == (MARGIN, 0, 256)
    assert follow.notes == ["no face is found in the camera's image; the square in its middle is used"]


def test_a_model_whose_images_are_not_square(portrait, frames):
    """A rectangle of its shape is cut out of portrait and camera, and shown."""
    model = small_model({"dataset_params.frame_shape": [32, 48, 3]})
    follow = LiveAnimator(model, portrait, find_faces=False, watermark=False)
    shown = [follow(frame) for frame in frames[:3]]
    assert {image.shape for image in shown} == {(160, 240, 3)}
    x, _, wide = follow.square
    height, width = frames[0].shape[:2]
    assert wide == min(width, height * 3 // 2) and abs(2 * x + wide - width) <= 1
    expected = animate_frames(model, portrait, frames[:3], fast=True, batch_size=1)
    for image, frame in zip(shown, expected, strict=True):
        assert np.abs(image.astype(int) - frame).max() <= 1


def test_a_mark_is_written_into_the_corner(model, portrait, follower, frames):
    plain, marked = (follower(watermark=mark)(frames[0]).astype(int) for mark in (False, True))
    rows, columns = np.nonzero(np.abs(plain - marked).sum(axis=2))
    assert rows.min() > 200 and columns.max() < 200
    followed = LiveAnimator(model, portrait, find_faces=False)(frames[0])
    np.testing.assert_array_equal(followed, marked)  # unless told otherwise


def test_a_plain_model_will_do(model, portrait, frames):
    plain = LiveAnimator(load_model("heads-64", device="cpu"), portrait)
    np.testing.assert_array_equal(plain(frames[0]), LiveAnimator(model, portrait)(frames[0]))


def test_what_cannot_be_used(model, follower, portrait, tmp_path):
    with pytest.raises(InputError, match=r"the portrait is float64 \(2, 2\); it must be uint8"):
        LiveAnimator(model, np.zeros((2, 2)))
    with pytest.raises(InputError, match="the camera's image is uint8"):
        follower()(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(InputError, match="no such file"):
        LiveAnimator(model, tmp_path / "none.png")
    with pytest.raises(InputError, match="smooth = 99"):
        follower(smooth=99)
    with pytest.raises(InputError, match="training mode"):
        LiveAnimator(load_model("heads-64", device="cpu").train(), portrait)


def test_twins_do_not_disturb_one_another(follower, frames):
    follow, alone = follower(), follower()
    twin = follow.twin()
    expected = [alone(frame) for frame in frames]
    for frame, image in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(follow(frame), image)
        twin(frames[4])
        twin.start_over()


# --- smoothing -----------------------------------------------------------------------------------------


def numbers(kps: list[Keypoints]) -> torch.Tensor:
    return torch.stack([kp.value for kp in kps])


def run_through(values: torch.Tensor, frames: float) -> list[Keypoints]:
    kp, out = None, []
    for value in values:
        kp = steadied(kp, Keypoints(value, None), frames)
        out.append(kp)
    return out


def test_steadied_leaves_alone_what_stands_still_and_what_need_not_be_smoothed():
    values = torch.rand(1, 1, 10, 2).expand(5, -1, -1, -1)
    torch.testing.assert_close(numbers(run_through(values, 2.0)), values)
    values = torch.rand(5, 1, 10, 2)
    torch.testing.assert_close(numbers(run_through(values, 0.0)), values)


@pytest.mark.parametrize("frames", [1.0, 2.0])
def test_steadied_damps_noise_and_lags_as_it_says(frames):
    damping = 2 * math.sqrt(math.pi) * frames
    noise = torch.randn(4000, 1, 10, 2)
    assert 1 / numbers(run_through(noise, frames))[50:].std() == pytest.approx(math.sqrt(damping), rel=0.05)
    ramp = torch.arange(200.0)[:, None, None, None].expand(-1, 1, 10, 2)
    lag = (ramp - numbers(run_through(ramp, frames)))[-1]
    torch.testing.assert_close(lag, torch.full_like(lag, (damping - 1) / 2))


def test_steadied_treats_jacobians_alike():
    a, b = (Keypoints(torch.rand(1, 2, 2), torch.rand(1, 2, 2, 2)) for _ in range(2))
    mean = steadied(a, b, 1 / math.sqrt(math.pi))  # damping 2, so a third is old
    torch.testing.assert_close(mean.value, (a.value + 2 * b.value) / 3)
    torch.testing.assert_close(mean.jacobian, (a.jacobian + 2 * b.jacobian) / 3)
