"""`losses`: closed forms, gradients, and what the losses must not change with."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fomm_lib.geometry import coordinate_grid, from_pixels, gaussian_heatmaps, warp
from fomm_lib.keypoints import Keypoints, soft_argmax
from fomm_lib.losses import (
    RandomTransform,
    discriminator_gan_loss,
    equivariance_jacobian_loss,
    equivariance_value_loss,
    feature_matching_loss,
    generator_gan_loss,
    perceptual_loss,
)

SPLINES = pytest.mark.parametrize("textbook", [False, True], ids=["published", "textbook"])


class Features(nn.Module):
    """Stands in for a VGG: the image itself, its square, its cube; counts how far it was asked to go."""

    def __init__(self):
        super().__init__()
        self.depths = []

    def forward(self, image, depth=3):
        self.depths.append(depth)
        return [image ** (i + 1) for i in range(depth)]


# --- perceptual ---------------------------------------------------------------------------------------------


def pyramids():
    return tuple({1: torch.rand(2, 3, 8, 8), 0.5: torch.rand(2, 3, 4, 4)} for _ in range(2))


def test_perceptual_loss_by_hand():
    fake, real = pyramids()
    expected = sum(
        weight * (fake[scale] ** power - real[scale] ** power).abs().mean()
        for scale in (1, 0.5)
        for weight, power in [(10, 1), (5, 2), (1, 3)]
    )
    torch.testing.assert_close(perceptual_loss(Features(), fake, real, [10, 5, 1]), expected)
    assert perceptual_loss(Features(), fake, fake, [10, 5, 1]) == 0


def test_perceptual_loss_computes_no_deeper_than_its_weights():
    fake, real = pyramids()
    for weights, depth in [([10, 5, 1], 3), ([10, 5, 0], 2), ([0, 5, 0], 2), ([0, 0, 0], 0), ([3], 1)]:
        network = Features()
        loss = perceptual_loss(network, fake, real, weights)
        assert set(network.depths) == {depth}
        full = sum(
            weight * (fake[scale] ** (i + 1) - real[scale] ** (i + 1)).abs().mean()
            for i, weight in enumerate(weights)
            for scale in fake
        )
        torch.testing.assert_close(loss, torch.as_tensor(full, dtype=torch.float32))


def test_perceptual_loss_has_no_gradient_on_the_real_side():
    fake, real = pyramids()
    for pyramid in (fake, real):
        for image in pyramid.values():
            image.requires_grad_()
    perceptual_loss(Features(), fake, real, [1, 1]).backward()
    assert all(image.grad.abs().sum() > 0 for image in fake.values())
    assert all(image.grad is None for image in real.values())


def test_perceptual_loss_of_half_precision_features_is_summed_in_float32():
    fake, real = ({1: torch.rand(2, 3, 64, 64)} for _ in range(2))
    exact = perceptual_loss(Features(), fake, real, [10, 10])
    rough = perceptual_loss(Features(), *({1: p[1].bfloat16()} for p in (fake, real)), [10, 10])
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=1e-2)


def test_perceptual_loss_gradients():
    real = {1: torch.rand(1, 1, 3, 3, dtype=torch.float64)}
    image = torch.rand(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    network = Features()
    assert torch.autograd.gradcheck(lambda p: perceptual_loss(network, {1: p}, real, [10, 5, 1]), image)


# --- adversarial and feature matching -----------------------------------------------------------------------


def output_of(value: float, features: float = 0.0, scales=(1,)):
    return {s: ([torch.full((2, 4, 5, 5), features)] * 2, torch.full((2, 1, 3, 3), value)) for s in scales}


def test_least_squares_by_hand():
    assert generator_gan_loss(output_of(1.0)) == 0
    assert generator_gan_loss(output_of(0.0)) == 1
    assert generator_gan_loss(output_of(-0.5)).item() == 2.25
    assert discriminator_gan_loss(output_of(1.0), output_of(0.0)) == 0
    assert discriminator_gan_loss(output_of(0.0), output_of(1.0)) == 2, "no half"
    assert discriminator_gan_loss(output_of(0.5), output_of(0.25)).item() == 0.25 + 0.0625


def test_scales_are_summed():
    assert generator_gan_loss(output_of(0.0, scales=(1, 0.5))) == 2
    assert discriminator_gan_loss(output_of(0.0, scales=(1, 0.5)), output_of(1.0, scales=(1, 0.5))) == 4
    both = output_of(0.0, 0.0, scales=(1, 0.5)), output_of(0.0, 0.5, scales=(1, 0.5))
    assert feature_matching_loss(*both, [10, 10]).item() == 2 * (5 + 5)


def test_feature_matching_by_hand():
    real, fake = output_of(0.0, features=0.25), output_of(0.0, features=1.0)
    assert feature_matching_loss(real, fake, [10, 2]).item() == 7.5 + 1.5
    assert feature_matching_loss(real, fake, [0, 2]).item() == 1.5
    assert feature_matching_loss(real, real, [10, 10]) == 0


def test_feature_matching_has_no_gradient_on_the_real_side():
    real, fake = torch.rand(1, 4, 5, 5, requires_grad=True), torch.rand(1, 4, 5, 5, requires_grad=True)
    prediction = torch.zeros(1, 1, 3, 3)
    feature_matching_loss({1: ([real], prediction)}, {1: ([fake], prediction)}, [10]).backward()
    assert real.grad is None and fake.grad.abs().sum() > 0


def test_feature_matching_wants_one_weight_a_block():
    with pytest.raises(ValueError, match="zip"):
        feature_matching_loss(output_of(0.0), output_of(0.0), [10])


def test_gradients_of_adversarial_and_feature_matching_losses():
    real, fake = (torch.randn(1, 1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda p: generator_gan_loss({1: ([], p)}), fake)
    assert torch.autograd.gradcheck(
        lambda r, f: discriminator_gan_loss({1: ([], r)}, {1: ([], f)}), (real, fake)
    )
    detached = real.detach()
    assert torch.autograd.gradcheck(
        lambda f: feature_matching_loss({1: ([detached], detached)}, {1: ([f], f)}, [10]), fake
    )


def test_adversarial_losses_of_half_precision_are_float32():
    half = {1: ([], torch.rand(1, 1, 3, 3).bfloat16())}
    assert generator_gan_loss(half).dtype == discriminator_gan_loss(half, half).dtype == torch.float32


# --- random transforms --------------------------------------------------------------------------------------


def sample(textbook: bool, batch: int = 2, sigma_tps: float = 0.005, seed: int = 0) -> RandomTransform:
    generator = torch.Generator().manual_seed(seed)
    return RandomTransform.sample(batch, sigma_tps=sigma_tps, textbook=textbook, generator=generator)


def as_float64(transform: RandomTransform) -> RandomTransform:
    return RandomTransform(transform.theta.double(), transform.control_params.double(), transform.textbook)


def test_without_noise_it_is_the_identity():
    transform = RandomTransform.sample(2, sigma_affine=0, sigma_tps=0)
    points = torch.rand(2, 7, 2)
    assert torch.equal(transform(points), points)
    assert torch.equal(transform.jacobian(points), torch.eye(2).expand(2, 7, 2, 2))
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(transform.warp_image(image), image, rtol=0, atol=1e-5)


def test_affine_by_hand():
    transform = RandomTransform(torch.tensor([[[1.0, 0.5, 0.1], [0.0, 2.0, -0.2]]]))
    torch.testing.assert_close(transform(torch.tensor([[[0.2, 0.4]]])), torch.tensor([[[0.5, 0.6]]]))
    torch.testing.assert_close(transform.jacobian(torch.zeros(1, 1, 2))[0, 0], transform.theta[0, :, :2])


def spline_by_hand(point, control_params, textbook):
    """The sum over a 5x5 grid of control points, number by number."""
    total = [0.0, 0.0]
    for i in range(25):
        x, y = -1 + 0.5 * (i % 5), -1 + 0.5 * (i // 5)
        dx, dy = point[0] - x, point[1] - y
        distance = math.hypot(dx, dy) if textbook else abs(dx) + abs(dy)
        bump = distance**2 * math.log(distance + 1e-6)
        for axis in range(2):
            total[axis] += bump * control_params[axis if textbook else 0][i]
    return total


@SPLINES
def test_spline_by_hand(textbook):
    transform = sample(textbook, batch=1, sigma_tps=0.05)
    transform.theta = torch.eye(2, 3)[None]
    for point in [(0.1, 0.2), (-0.7, 0.45), (0.5, -0.5)]:
        moved = transform(torch.tensor([[point]]))[0, 0] - torch.tensor(point)
        expected = spline_by_hand(point, transform.control_params[0].tolist(), textbook)
        torch.testing.assert_close(moved, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_the_published_spline_moves_along_the_diagonal_only():
    points = torch.rand(2, 9, 2)
    for textbook in (False, True):
        transform = sample(textbook)
        transform.theta = torch.eye(2, 3).expand(2, 2, 3)
        moved = transform(points) - points
        assert torch.allclose(moved[..., 0], moved[..., 1], atol=1e-6) is not textbook


@SPLINES
def test_jacobian_is_that_of_autograd(textbook):
    transform = as_float64(sample(textbook, batch=1, sigma_tps=0.05))
    points = torch.rand(1, 20, 2, dtype=torch.float64) * 2 - 1
    found = transform.jacobian(points)[0]
    for point, jacobian in zip(points[0], found, strict=True):
        expected = torch.autograd.functional.jacobian(lambda z: transform(z[None, None])[0, 0], point)
        torch.testing.assert_close(jacobian, expected)


@SPLINES
def test_jacobian_has_gradients_of_its_own(textbook):
    transform = as_float64(sample(textbook, sigma_tps=0.05))
    points = (torch.rand(2, 3, 2, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    assert torch.autograd.gradcheck(transform, points)
    assert torch.autograd.gradcheck(transform.jacobian, points)


@SPLINES
def test_at_a_control_point_all_is_finite(textbook):
    transform = sample(textbook)
    points = coordinate_grid(5, 5).view(1, 25, 2).repeat(2, 1, 1).requires_grad_()
    result = transform(points).sum() + transform.jacobian(points).sum()
    result.backward()
    assert torch.isfinite(result) and torch.isfinite(points.grad).all()


@SPLINES
def test_a_seed_gives_the_same_transforms(textbook):
    first, again, other = (sample(textbook, batch=3, seed=seed) for seed in (1, 1, 2))
    assert first.theta.shape == (3, 2, 3)
    assert first.control_params.shape == (3, 2 if textbook else 1, 25)
    assert torch.equal(first.theta, again.theta) and torch.equal(first.control_params, again.control_params)
    assert not torch.equal(first.theta, other.theta)


def test_spread_of_the_samples():
    transform = RandomTransform.sample(4000, sigma_affine=0.05, sigma_tps=0.005, points_tps=3)
    assert transform.theta.mean(0).sub(torch.eye(2, 3)).abs().max() < 0.005
    assert transform.theta.std(0).sub(0.05).abs().max() < 0.003
    assert transform.control_params.shape == (4000, 1, 9)
    assert transform.control_params.std().item() == pytest.approx(0.005, rel=0.05)


@pytest.mark.parametrize("nothing", [{"sigma_tps": 0}, {"points_tps": 0}])
def test_an_affine_transform_has_no_spline(nothing):
    assert RandomTransform.sample(2, **nothing).control_params is None


@SPLINES
def test_what_the_deformed_image_shows_at_p_lies_at_t_of_p(textbook):
    # A bright spot; where the deformed image shows it is measured, not computed.
    spot = torch.tensor([[0.3, -0.2], [-0.4, 0.1]])
    transform = sample(textbook, sigma_tps=0.01)
    image = gaussian_heatmaps(spot[:, None], 129, 129)
    shown = transform.warp_image(image)
    place = soft_argmax(shown / shown.sum(dim=(2, 3), keepdim=True))
    assert (place[:, 0] - spot).abs().max() > 0.02, "it moved"
    torch.testing.assert_close(transform(place)[:, 0], spot, rtol=0, atol=2 / 128)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_image_is_continued_by_reflection(align_corners):
    transform = RandomTransform(torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]))  # look to the right
    image = torch.rand(1, 3, 16, 16)
    shown = transform.warp_image(image, align_corners=align_corners)
    flow = coordinate_grid(16, 16)[None] + torch.tensor([0.5, 0.0])
    expected = warp(image, flow, align_corners=align_corners, padding_mode="reflection")
    assert torch.equal(shown, expected)
    assert (shown[..., -4:].sum(dim=1) > 0).all(), "nothing black comes in"


# --- equivariance -------------------------------------------------------------------------------------------


def ideal(transform: RandomTransform) -> tuple[Keypoints, Keypoints]:
    """What a perfect detector finds in an image and in the deformed image."""
    dtype = transform.theta.dtype
    points = torch.rand(2, 4, 2, dtype=dtype) * 1.6 - 0.8
    jacobian = torch.eye(2, dtype=dtype) + 0.2 * torch.randn(2, 4, 2, 2, dtype=dtype)
    transformed = Keypoints(points, jacobian)
    return Keypoints(transform(points), transform.jacobian(points) @ jacobian), transformed


@SPLINES
def test_both_losses_are_0_for_an_ideal_detector(textbook):
    transform = as_float64(sample(textbook, sigma_tps=0.02))
    driving, transformed = ideal(transform)
    assert equivariance_value_loss(driving, transformed, transform).item() == pytest.approx(0, abs=1e-12)
    assert equivariance_jacobian_loss(driving, transformed, transform).item() == pytest.approx(0, abs=1e-12)


def test_value_loss_by_hand():
    transform = RandomTransform(torch.tensor([[[1.0, 0.0, 0.1], [0.0, 1.0, 0.2]]]))
    driving, transformed = Keypoints(torch.tensor([[[0.5, 0.5]]])), Keypoints(torch.tensor([[[0.3, 0.0]]]))
    loss = equivariance_value_loss(driving, transformed, transform)
    assert loss.item() == pytest.approx((0.1 + 0.3) / 2)


def test_jacobian_loss_by_hand():
    transform = RandomTransform(torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]))
    identity = torch.eye(2).expand(1, 1, 2, 2)
    keypoints = Keypoints(torch.zeros(1, 1, 2), identity)
    loss = equivariance_jacobian_loss(keypoints, keypoints, transform)
    assert loss.item() == pytest.approx(0.25), "|1 - 2| is one of four entries"


def test_jacobian_loss_of_matrices_whose_order_matters():
    transform = as_float64(sample(textbook=True))
    (driving, transformed), identity = ideal(transform), torch.eye(2, dtype=torch.float64)
    wrong = Keypoints(driving.value, driving.jacobian + 0.3 * torch.randn(2, 4, 2, 2, dtype=torch.float64))
    inverse, slope = torch.linalg.inv(wrong.jacobian), transform.jacobian(transformed.value)
    expected = (identity - inverse @ slope @ transformed.jacobian).abs().mean()
    reversed_order = (identity - slope @ transformed.jacobian @ inverse).abs().mean()
    torch.testing.assert_close(equivariance_jacobian_loss(wrong, transformed, transform), expected)
    assert (expected - reversed_order).abs() > 1e-3


@pytest.mark.parametrize("factor", [0.01, 0.5, 3.0])
def test_jacobian_loss_does_not_shrink_with_the_jacobians(factor):
    transform = sample(textbook=False)
    driving, transformed = ideal(transform)
    wrong = Keypoints(driving.value, driving.jacobian + 0.3)
    loss = equivariance_jacobian_loss(wrong, transformed, transform)
    scaled = [Keypoints(kp.value, factor * kp.jacobian) for kp in (wrong, transformed)]
    assert loss > 0.1
    torch.testing.assert_close(equivariance_jacobian_loss(*scaled, transform), loss, rtol=1e-3, atol=0)


@SPLINES
def test_gradients_of_equivariance_losses(textbook):
    transform = as_float64(sample(textbook))
    driving, transformed = ideal(transform)
    inputs = [
        part.detach().add(0.1).requires_grad_()
        for kp in (driving, transformed)
        for part in (kp.value, kp.jacobian)
    ]

    def value_loss(value, jacobian, value_t, jacobian_t):
        return equivariance_value_loss(Keypoints(value, jacobian), Keypoints(value_t, jacobian_t), transform)

    def jacobian_loss(value, jacobian, value_t, jacobian_t):
        return equivariance_jacobian_loss(
            Keypoints(value, jacobian), Keypoints(value_t, jacobian_t), transform
        )

    assert torch.autograd.gradcheck(value_loss, inputs)
    assert torch.autograd.gradcheck(jacobian_loss, inputs)


def test_losses_of_points_are_exact_under_autocast():
    transform = sample(textbook=True)
    driving, transformed = ideal(transform)
    driving.value = driving.value + 0.1
    exact = [
        loss(driving, transformed, transform)
        for loss in (equivariance_value_loss, equivariance_jacobian_loss)
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = [
            loss(driving, transformed, transform)
            for loss in (equivariance_value_loss, equivariance_jacobian_loss)
        ]
    assert exact == cast


def test_a_spot_that_moves_by_whole_pixels_is_followed():
    # The image is looked up three pixels to the right, so what it shows moves three pixels to the left.
    shift = from_pixels(torch.tensor([3.0, 0.0]), 33, 33) - from_pixels(torch.zeros(2), 33, 33)
    theta = torch.cat([torch.eye(2), shift[:, None]], dim=1)[None]
    image = torch.zeros(1, 1, 33, 33)
    image[..., 10, 20] = 1
    shown = RandomTransform(theta).warp_image(image)
    assert (shown > 0.99).nonzero().tolist() == [[0, 0, 10, 17]]
