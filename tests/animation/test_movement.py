"""Relative motion and changed movements: closed forms, golden numbers, invariances, smoothing of jitter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fomm_lib.animation.movement import (
    exaggerated,
    hull_area,
    movement_scale,
    pose_distance,
    relative_motion,
    smoothed,
)
from fomm_lib.keypoints import Keypoints
from tests.support.paths import GOLDEN


def keypoints(batch, count=6, seed=0, jacobian=True):
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(batch, count, 2, generator=generator) * 2 - 1
    noise = torch.randn(batch, count, 2, 2, generator=generator)
    return Keypoints(value, torch.eye(2) + 0.3 * noise if jacobian else None)


def turn(angle):
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


# --- the hull ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0, 0], [1, 0], [0, 1], [0.2, 0.2]], 0.5),
        ([[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0]], 4.0),
        ([[0, 0], [1, 1], [2, 2], [0.5, 0.5]], 0.0),  # on a line
        ([[1, 1], [1, 1], [1, 1]], 0.0),
        ([[0, 0], [1, 1]], 0.0),
        ([[0, 0], [float("nan"), 1], [1, 0]], 0.0),
    ],
)
def test_hull_area(points, area):
    assert hull_area(torch.tensor(points, dtype=torch.float32)) == pytest.approx(area)


def test_hull_area_of_a_circle():
    angles = torch.linspace(0, 2 * torch.pi, 1001)[:-1]
    assert hull_area(torch.stack([angles.cos(), angles.sin()], 1)) == pytest.approx(torch.pi, rel=1e-4)


def test_movement_scale():
    kp = keypoints(1)
    doubled = Keypoints(2 * kp.value, kp.jacobian)
    assert movement_scale(doubled, kp) == pytest.approx(2)
    assert movement_scale(kp, doubled) == pytest.approx(0.5)
    line = Keypoints(torch.linspace(-1, 1, 6)[None, :, None].expand(1, 6, 2))
    assert movement_scale(line, kp) == movement_scale(kp, line) == 1


# --- relative motion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("adapt_scale", [False, True])
def test_no_movement_leaves_the_source(adapt_scale):
    kp_source, kp_driving = keypoints(1, seed=1), keypoints(1, seed=2)
    moved = relative_motion(kp_source, kp_driving, kp_driving, adapt_scale=adapt_scale)
    torch.testing.assert_close(moved.value, kp_source.value)
    torch.testing.assert_close(moved.jacobian, kp_source.jacobian, atol=1e-5, rtol=1e-5)


def test_a_driving_head_that_is_the_source_is_followed():
    kp_source, kp_driving = keypoints(1, seed=1), keypoints(3, seed=2)
    moved = relative_motion(kp_source, kp_driving, kp_source)
    torch.testing.assert_close(moved.value, kp_driving.value)
    torch.testing.assert_close(moved.jacobian, kp_driving.jacobian, atol=1e-5, rtol=1e-5)


def test_a_shift_is_a_shift_and_scales_with_the_head():
    kp_source, kp_initial = keypoints(1, seed=1), keypoints(1, seed=2)
    kp_driving = Keypoints(kp_initial.value + torch.tensor([0.2, -0.1]), kp_initial.jacobian)
    moved = relative_motion(kp_source, kp_driving, kp_initial)
    torch.testing.assert_close(moved.value - kp_source.value, torch.tensor([0.2, -0.1]).expand(1, 6, 2))
    small = Keypoints(kp_initial.value * 0.5, kp_initial.jacobian)
    moved = relative_motion(small, kp_driving, kp_initial, adapt_scale=True)
    torch.testing.assert_close(moved.value - small.value, torch.tensor([0.1, -0.05]).expand(1, 6, 2))


def test_the_order_of_jacobians():
    """J = J_driving J_initial^-1 J_source, and no other order: matrices do not commute."""
    kp = [keypoints(1, seed=seed) for seed in range(3)]
    expected = kp[1].jacobian @ torch.linalg.inv(kp[2].jacobian) @ kp[0].jacobian
    moved = relative_motion(kp[0], kp[1], kp[2])
    torch.testing.assert_close(moved.jacobian, expected, atol=1e-4, rtol=1e-4)


def test_zeroth_order_has_no_jacobian():
    kp = [keypoints(1, seed=seed, jacobian=False) for seed in range(3)]
    assert relative_motion(*kp).jacobian is None


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("adapt", [0, 1])
def test_golden_relative_motion(align, adapt):
    golden = np.load(GOLDEN / f"eval_vox-adv-256_align{align}.npz")
    tensors = {key: torch.from_numpy(golden[key]) for key in golden.files if golden[key].dtype.kind == "f"}
    kp_source = Keypoints(tensors["kp_source"], tensors["jacobian_source"])[:1]
    kp_driving = Keypoints(tensors["kp_driving"], tensors["jacobian_driving"])
    moved = relative_motion(kp_source, kp_driving[1:], kp_driving[:1], adapt_scale=bool(adapt))
    torch.testing.assert_close(moved.value, tensors[f"relative_value_adapt{adapt}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        moved.jacobian, tensors[f"relative_jacobian_adapt{adapt}"], atol=1e-4, rtol=1e-4
    )


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
