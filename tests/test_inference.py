"""Inference: closed forms of relative motion, golden numbers, and the animator against the plain model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import small_model

from fomm_lib.inference import Animator, hull_area, movement_scale, relative_motion
from fomm_lib.keypoints import Keypoints

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def model():
    """A small model whose pictures are not all but grey, so that they can differ."""
    model = small_model()
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


def keypoints(batch, count=5, seed=0, jacobian=True):
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(batch, count, 2, generator=generator) * 2 - 1
    if not jacobian:
        return Keypoints(value)
    noise = torch.randn(batch, count, 2, 2, generator=generator)
    return Keypoints(value, torch.eye(2) + 0.3 * noise)


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
    line = Keypoints(torch.linspace(-1, 1, 5)[None, :, None].expand(1, 5, 2))
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
    torch.testing.assert_close(moved.value - kp_source.value, torch.tensor([0.2, -0.1]).expand(1, 5, 2))
    small = Keypoints(kp_initial.value * 0.5, kp_initial.jacobian)
    moved = relative_motion(small, kp_driving, kp_initial, adapt_scale=True)
    torch.testing.assert_close(moved.value - small.value, torch.tensor([0.1, -0.05]).expand(1, 5, 2))


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


# --- the animator --------------------------------------------------------------------------------------


def test_the_animator_is_the_model_frame_by_frame(model):
    """Encoding the source once and working in batches changes nothing."""
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(5, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.cat([model(source, frame[None]).prediction for frame in driving])
    animator = Animator(model, source, relative=False)
    got = torch.cat([animator(driving[:3]).prediction, animator(driving[3:]).prediction])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_first_frame_of_a_relative_animation_reconstructs_the_source(model):
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        still = model(source, source).prediction
    animator = Animator(model, source)
    torch.testing.assert_close(animator(driving[:1]).prediction, still, atol=1e-4, rtol=1e-4)
    moved = animator(driving[1:]).prediction  # and that frame stays the reference
    again = Animator(model, source)(driving).prediction[1:]
    torch.testing.assert_close(moved, again, atol=1e-5, rtol=1e-5)
