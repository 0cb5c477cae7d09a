"""Changed movements: closed forms, invariances, and how much jitter a window takes away."""

from __future__ import annotations

import math

import pytest
import torch

from fomm_lib.files import InputError
from fomm_lib.keypoints import Keypoints
from fomm_lib.movement import Movement, exaggerated, pose_distance, smoothed


def keypoints(batch, count=6, seed=0, jacobian=True):
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(batch, count, 2, generator=generator) * 2 - 1
    noise = torch.randn(batch, count, 2, 2, generator=generator)
    return Keypoints(value, torch.eye(2) + 0.3 * noise if jacobian else None)


def turn(angle):
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


# --- strength ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jacobian", [True, False])
def test_strength_one_changes_nothing_and_zero_moves_nothing(jacobian):
    source, moved = keypoints(1, seed=1, jacobian=jacobian), keypoints(4, seed=2, jacobian=jacobian)
    for strength, expected in ((1.0, moved), (0.0, source.expand(4))):
        got = exaggerated(source, moved, strength)
        torch.testing.assert_close(got.value, expected.value)
        if jacobian:
            torch.testing.assert_close(got.jacobian, expected.jacobian, atol=1e-4, rtol=1e-4)
        else:
            assert got.jacobian is None


def test_a_shift_is_exaggerated_exactly():
    source = keypoints(1)
    moved = Keypoints(source.value + torch.tensor([0.1, -0.2]), source.jacobian)
    got = exaggerated(source, moved, 2.5)
    torch.testing.assert_close(got.value - source.value, torch.tensor([0.25, -0.5]).expand(1, 6, 2))
    torch.testing.assert_close(got.jacobian, source.jacobian, atol=1e-5, rtol=1e-5)


def test_a_turn_is_exaggerated_to_first_order():
    source, angle, strength = keypoints(1), 0.05, 3.0
    moved = Keypoints(source.value @ turn(angle).T, turn(angle) @ source.jacobian)
    got = exaggerated(source, moved, strength)
    torch.testing.assert_close(got.jacobian, turn(strength * angle) @ source.jacobian, atol=0.03, rtol=0)
    torch.testing.assert_close(got.value, source.value @ turn(strength * angle).T, atol=0.02, rtol=0)


def test_strength_applies_in_steps():
    """2 and then 0.5 is 1: exaggeration is linear about the source."""
    source, moved = keypoints(1, seed=1), keypoints(3, seed=2)
    back = exaggerated(source, exaggerated(source, moved, 2.0), 0.5)
    torch.testing.assert_close(back.value, moved.value)
    torch.testing.assert_close(back.jacobian, moved.jacobian, atol=1e-4, rtol=1e-4)


# --- smoothing -----------------------------------------------------------------------------------------


def smooth(kp, frames):
    return list(smoothed(((kp[i : i + 1], i) for i in range(len(kp))), frames))


@pytest.mark.parametrize("count", [1, 2, 5, 40])
@pytest.mark.parametrize("frames", [0, 0.5, 1.5, 3])
def test_every_frame_comes_out_in_order(count, frames):
    got = smooth(keypoints(count), frames)
    assert [number for _, number in got] == list(range(count))
    assert all(kp.value.shape == (1, 6, 2) and kp.jacobian.shape == (1, 6, 2, 2) for kp, _ in got)


def test_no_smoothing_is_the_same_object():
    kp = keypoints(1)
    ((same, _),) = smoothed([(kp, None)], 0)
    assert same is kp


@pytest.mark.parametrize("frames", [1.0, 2.5])
def test_what_does_not_move_or_moves_steadily_stays(frames):
    still = keypoints(1).expand(20)
    for kp, _ in smooth(still, frames):
        torch.testing.assert_close(kp.value, still.value[:1])
    times = torch.arange(30.0)[:, None, None]
    steady = Keypoints(0.01 * times.expand(30, 6, 2))
    for kp, number in smooth(steady, frames)[10:20]:  # away from both ends: no lag
        torch.testing.assert_close(kp.value, steady.value[number : number + 1])


@pytest.mark.parametrize("frames", [1.0, 2.0, 3.0])
def test_noise_becomes_smaller_by_the_known_factor(frames):
    noise = torch.randn(3000, 6, 2, generator=torch.Generator().manual_seed(0))
    got = torch.cat([kp.value for kp, _ in smooth(Keypoints(noise), frames)])
    factor = float(noise.std() / got.std())
    assert factor == pytest.approx(math.sqrt(2 * math.sqrt(math.pi) * frames), rel=0.06)


def test_it_is_the_gaussian_of_the_whole_sequence():
    kp, frames = keypoints(25), 1.5
    numbers = torch.arange(25.0)
    weights = torch.exp(-0.5 * ((numbers[:, None] - numbers) / frames) ** 2)
    weights[(numbers[:, None] - numbers).abs() > 3] = 0
    weights /= weights.sum(dim=1, keepdim=True)
    got = torch.cat([item.value for item, _ in smooth(kp, frames)])
    torch.testing.assert_close(got, torch.einsum("ij,jkd->ikd", weights, kp.value), atol=1e-5, rtol=1e-5)


def test_smoothing_holds_back_a_few_frames_only():
    read = []

    def endless():
        while True:
            read.append(len(read))
            yield keypoints(1), read[-1]

    items = smoothed(endless(), 1.5)
    for _ in range(100):
        next(items)
    assert len(read) == 100 + 3


# --- the best frame ------------------------------------------------------------------------------------


def test_a_pose_is_recognised_at_any_place_and_size():
    source = keypoints(1, seed=3)
    poses = keypoints(5, seed=4)
    poses.value[3] = 0.4 * source.value[0] + torch.tensor([0.3, -0.1])
    distance = pose_distance(source, poses)
    assert distance.shape == (5,) and distance.argmin() == 3
    assert distance[3] == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(pose_distance(Keypoints(source.value * 0.5), poses), distance)


def test_a_turned_pose_is_another_pose():
    source = keypoints(1)
    poses = Keypoints(torch.cat([source.value @ turn(angle).T for angle in (0.0, 0.1, 0.3)]))
    distance = pose_distance(source, poses)
    assert distance[0] < distance[1] < distance[2]


def test_keypoints_on_a_line_have_a_distance():
    line = Keypoints(torch.linspace(-1, 1, 6)[None, :, None].expand(2, 6, 2))
    assert torch.isfinite(pose_distance(keypoints(1), line)).all()


# --- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": -1}, "strength = -1: should be a number from 0 to 5"),
        ({"strength": float("nan")}, "strength = nan"),
        ({"smooth": -0.5}, "smooth = -0.5: should be a number of frames from 0 to 50"),
        ({"best_frame": -1}, "best_frame = -1: should be auto, or the number of a frame"),
        ({"best_frame": "first"}, "best_frame = first"),
        ({"best_frame": "auto", "relative": False}, "best_frame is about relative movement"),
        ({"strength": 2, "relative": False}, "strength is about relative movement"),
        ({"adapt_scale": True, "relative": False}, "adapt_scale is about relative movement"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(InputError) as caught:
        Movement(**settings)
    assert words in str(caught.value)
