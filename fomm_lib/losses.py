"""The six losses of the paper: perceptual, adversarial (of the generator and of the discriminator), feature
matching, equivariance of value and of Jacobian.

Every loss here is a scalar without its weight, but for the perceptual and the feature matching one, whose
weights differ from feature to feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fomm_lib.gan import lsgan_discriminator_loss, lsgan_generator_loss
from fomm_lib.geometry import (
    apply_2x2,
    at_least_float32,
    coordinate_grid,
    inverse_2x2,
    multiply_2x2,
    warp,
)
from fomm_lib.keypoints import Keypoints

# What the discriminator gives: at every scale its features and its prediction.
Judged = dict[float, tuple[list[Tensor], Tensor]]


def perceptual_loss(
    network, fake: dict[float, Tensor], real: dict[float, Tensor], weights: Sequence[float]
) -> Tensor:
    """sum over scales and features i of weights[i] mean |N_i(fake) - N_i(real)|.

    No gradient flows on the real side. Features beyond the last weight that is not zero are not computed.

    Args:
        network: of `perceptual.perceptual_network`.
        fake, real: pyramids, {scale: (B, 3, h, w)} in [0, 1].
        weights: one a feature, shallow to deep; 10 each as published.
    Returns:
        A scalar, 0 for equal pictures.

    Source: FOMM, section 3.3 (reconstruction loss). There is no pixel loss.
    """
    depth = max((i + 1 for i, weight in enumerate(weights) if weight), default=0)
    total = torch.zeros((), device=next(iter(fake.values())).device)
    for scale, picture in fake.items():
        with torch.no_grad():
            wanted = network(real[scale], depth)
        for weight, ours, theirs in zip(weights, network(picture, depth), wanted, strict=False):
            if weight:
                total = total + weight * _mean_difference(ours, theirs)
    return total


def generator_gan_loss(judged_fake: Judged) -> Tensor:
    """sum over scales of mean (1 - D(fake))^2: the generator wants patches that look real.

    Source: Mao et al., Least Squares GANs, 2017, equation 2 with c = 1, without its half; FOMM, section 3.3.
    """
    return sum(lsgan_generator_loss(at_least_float32(prediction)) for _, prediction in judged_fake.values())


def discriminator_gan_loss(judged_real: Judged, judged_fake: Judged) -> Tensor:
    """sum over scales of mean [(1 - D(real))^2 + D(fake)^2], no half.

    Source: Mao et al., Least Squares GANs, 2017, equation 2 with a = 0, b = 1, without its halves.
    """
    return sum(
        lsgan_discriminator_loss(at_least_float32(judged_real[scale][1]), at_least_float32(prediction))
        for scale, (_, prediction) in judged_fake.items()
    )


def feature_matching_loss(judged_real: Judged, judged_fake: Judged, weights: Sequence[float]) -> Tensor:
    """sum over scales and blocks i of weights[i] mean |D_i(fake) - D_i(real)|.

    No gradient flows on the real side.

    Raises:
        ValueError: not one weight a block.

    Source: Wang et al., pix2pixHD, 2018, section 3.2; FOMM, section 3.3.
    """
    total = torch.zeros((), device=next(iter(judged_fake.values()))[1].device)
    for scale, (features, _) in judged_fake.items():
        for weight, ours, theirs in zip(weights, features, judged_real[scale][0], strict=True):
            if weight:
                total = total + weight * _mean_difference(ours, theirs.detach())
    return total


def _mean_difference(a: Tensor, b: Tensor) -> Tensor:
    return (at_least_float32(a) - at_least_float32(b)).abs().mean()


@dataclass
class RandomTransform:
    """A random smooth deformation T of the plane: affine, plus a thin-plate spline.

    T(z) = A z + b + sum_p c_p U(|z - q_p|) with U(d) = d^2 log(d + 1e-6), and control points q_p on a grid
    over [-1, 1].

    As published, |.| is the L1 distance and one scalar c_p moves both axes, so that the spline displaces
    along the diagonal only. With `textbook=True` the distance is Euclidean and every axis has its own
    coefficients, as in Bookstein 1989.

    Attributes:
        theta: (B, 2, 3), [A | b].
        control_params: (B, 1, P) as published, (B, 2, P) for the textbook spline, with P a square number;
            None for an affine transform.
        textbook: which thin-plate spline.

    Source: FOMM, section 3.3, and the published code.
    """

    theta: Tensor
    control_params: Tensor | None = None
    textbook: bool = False

    @classmethod
    def sample(
        cls,
        batch: int,
        sigma_affine: float = 0.05,
        sigma_tps: float = 0.005,
        points_tps: int = 5,
        *,
        textbook: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> RandomTransform:
        """theta = [I | 0] + N(0, sigma_affine^2), control parameters N(0, sigma_tps^2) on a grid of
        points_tps^2 points.

        The numbers are drawn on the CPU, so that a seed gives the same transforms on every device.

        Example:
            >>> RandomTransform.sample(4, generator=torch.Generator().manual_seed(0)).theta.shape
            torch.Size([4, 2, 3])
        """
        theta = torch.eye(2, 3) + sigma_affine * torch.randn(batch, 2, 3, generator=generator)
        control = None
        if sigma_tps and points_tps:
            control = sigma_tps * torch.randn(batch, 2 if textbook else 1, points_tps**2, generator=generator)
            control = control.to(device)
        return cls(theta.to(device), control, textbook)

    def __call__(self, points: Tensor) -> Tensor:
        """T of points: (B, N, 2) to (B, N, 2)."""
        moved = apply_2x2(self.theta[:, None, :, :2], points) + self.theta[:, None, :, 2]
        if self.control_params is not None:
            _, distance = self._from_control_points(points)
            spline = distance**2 * torch.log(distance + 1e-6)
            moved = moved + (spline[:, :, None] * self.control_params[:, None]).sum(-1)
        return moved

    def jacobian(self, points: Tensor) -> Tensor:
        """dT/dz at points, in closed form: (B, N, 2) to (B, N, 2, 2), rows are the components of T."""
        jacobian = self.theta[:, None, :, :2].expand(-1, points.shape[1], -1, -1)
        if self.control_params is not None:
            offset, distance = self._from_control_points(points)
            slope = 2 * distance * torch.log(distance + 1e-6) + distance**2 / (distance + 1e-6)
            # The gradient of the distance, which is taken as 0 at the control point itself.
            direction = offset / distance.clamp_min(1e-12)[..., None] if self.textbook else offset.sign()
            weights = slope[:, :, None] * self.control_params[:, None]  # (B, N, 1 or 2, P)
            gradient = (weights[..., None] * direction[:, :, None]).sum(-2)
            jacobian = jacobian + gradient  # (B, N, 1, 2) of one scalar for both axes, or (B, N, 2, 2)
        return jacobian

    def warp_picture(self, picture: Tensor, *, align_corners: bool = True) -> Tensor:
        """out(z) = picture(T(z)), with reflection at the border: (B, C, H, W) to (B, C, H, W).

        So a thing that the deformed picture shows at p lies at T(p) in the picture.
        """
        height, width = picture.shape[-2:]
        grid = coordinate_grid(height, width, device=picture.device)
        flow = self(grid.view(1, -1, 2).expand(len(picture), -1, -1)).view(-1, height, width, 2)
        return warp(picture, flow, align_corners=align_corners, padding_mode="reflection")

    def _from_control_points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Offset (B, N, P, 2) of every point from every control point, and its length (B, N, P)."""
        side = round(self.control_params.shape[-1] ** 0.5)
        control_points = coordinate_grid(side, side, device=points.device, dtype=points.dtype).view(-1, 2)
        offset = points[:, :, None] - control_points
        distance = torch.linalg.vector_norm(offset, ord=2, dim=-1) if self.textbook else offset.abs().sum(-1)
        return offset, distance


def equivariance_value_loss(
    kp_driving: Keypoints, kp_transformed: Keypoints, transform: RandomTransform
) -> Tensor:
    """mean |p_driving - T(p_transformed)|: keypoints of the deformed picture, taken back, are the picture's.

    Source: FOMM, section 3.3 (equivariance).
    """
    return (kp_driving.value - transform(kp_transformed.value)).abs().mean()


def equivariance_jacobian_loss(
    kp_driving: Keypoints, kp_transformed: Keypoints, transform: RandomTransform
) -> Tensor:
    """mean |I - J_driving^-1 T'(p_transformed) J_transformed|: the same for the Jacobians, by the chain rule.

    In this form, rather than |J_driving - T' J_t|, shrinking all Jacobians does not make the loss small.

    Source: FOMM, section 3.3 (equivariance of the Jacobian).
    """
    carried = multiply_2x2(transform.jacobian(kp_transformed.value), kp_transformed.jacobian)
    product = multiply_2x2(inverse_2x2(kp_driving.jacobian), carried)
    return (torch.eye(2, device=product.device, dtype=product.dtype) - product).abs().mean()
