"""The six losses of the paper: perceptual, adversarial (of the generator and of the discriminator), feature
matching, equivariance of value and of Jacobian.

Every loss is a scalar without its weight. The exceptions are perceptual and feature matching loss, which take
one weight per feature.
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

# The six losses and how plots call them, in the order in which training writes them.
LOSS_NAMES = {
    "perceptual": "perceptual",
    "gen_gan": "generator, adversarial",
    "feature_matching": "feature matching",
    "equivariance_value": "equivariance, value",
    "equivariance_jacobian": "equivariance, Jacobian",
    "disc_gan": "discriminator",
}

# The output of the discriminator: {scale: (features, prediction)}.
DiscriminatorOutput = dict[float, tuple[list[Tensor], Tensor]]


def perceptual_loss(
    network, fake: dict[float, Tensor], real: dict[float, Tensor], weights: Sequence[float]
) -> Tensor:
    """sum over scales and features i of weights[i] mean |N_i(fake) - N_i(real)|.

    Real images get no gradient. Features after the last non-zero weight are not computed.

    Args:
        network: from `perceptual.perceptual_network`.
        fake, real: pyramids, {scale: (B, 3, h, w)} in [0, 1].
        weights: one per feature, shallow to deep; 10 each as published.
    Returns:
        A scalar, 0 for equal images.

    Source: FOMM, section 3.3 (reconstruction loss). There is no pixel loss.
    """
    depth = max((i + 1 for i, weight in enumerate(weights) if weight), default=0)
    total = torch.zeros((), device=next(iter(fake.values())).device)
    for scale, image in fake.items():
        with torch.no_grad():
            wanted = network(real[scale], depth)
        for weight, ours, theirs in zip(weights, network(image, depth), wanted, strict=False):
            if weight:
                total = total + weight * _mean_difference(ours, theirs)
    return total


def generator_gan_loss(fake_output: DiscriminatorOutput) -> Tensor:
    """sum over scales of mean (1 - D(fake))^2: small if generated patches look real.

    Source: Mao et al., Least Squares GANs, 2017, equation 2 with c = 1, without the factor 1/2; FOMM,
    section 3.3.
    """
    return sum(lsgan_generator_loss(at_least_float32(prediction)) for _, prediction in fake_output.values())


def discriminator_gan_loss(real_output: DiscriminatorOutput, fake_output: DiscriminatorOutput) -> Tensor:
    """sum over scales of mean [(1 - D(real))^2 + D(fake)^2].

    Source: Mao et al., Least Squares GANs, 2017, equation 2 with a = 0, b = 1, without the factor 1/2.
    """
    return sum(
        lsgan_discriminator_loss(at_least_float32(real_output[scale][1]), at_least_float32(prediction))
        for scale, (_, prediction) in fake_output.items()
    )


def feature_matching_loss(
    real_output: DiscriminatorOutput, fake_output: DiscriminatorOutput, weights: Sequence[float]
) -> Tensor:
    """sum over scales and blocks i of weights[i] mean |D_i(fake) - D_i(real)|.

    Real images get no gradient.

    Raises:
        ValueError: the number of weights is not the number of blocks.

    Source: Wang et al., pix2pixHD, 2018, section 3.2; FOMM, section 3.3.
    """
    total = torch.zeros((), device=next(iter(fake_output.values()))[1].device)
    for scale, (features, _) in fake_output.items():
        for weight, ours, theirs in zip(weights, features, real_output[scale][0], strict=True):
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

    As published, |.| is the L1 distance and one scalar c_p is added to both axes, so that the spline
    displaces points along the diagonal only. With `textbook=True` the distance is Euclidean and every axis
    has its own coefficients, as in Bookstein 1989.

    Attributes:
        theta: (B, 2, 3), [A | b].
        control_params: (B, 1, P) as published, (B, 2, P) for the textbook spline, with P a square number;
            None for an affine transform.
        textbook: whether the spline is the textbook one.

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

        Random numbers are drawn on the CPU, so that a seed gives the same transforms on every device.

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

    def chunk(self, parts: int) -> list[RandomTransform]:
        """The transforms of a batch that is divided into equal parts, as `torch.chunk` does."""
        control = self.control_params
        controls = [None] * parts if control is None else control.chunk(parts)
        pairs = zip(self.theta.chunk(parts), controls, strict=True)
        return [RandomTransform(theta, control, self.textbook) for theta, control in pairs]

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
            # The gradient of the distance; at the control point itself it is set to 0.
            direction = offset / distance.clamp_min(1e-12)[..., None] if self.textbook else offset.sign()
            weights = slope[:, :, None] * self.control_params[:, None]  # (B, N, 1 or 2, P)
            gradient = (weights[..., None] * direction[:, :, None]).sum(-2)
            jacobian = jacobian + gradient  # (B, N, 1, 2), the same for both axes, or (B, N, 2, 2)
        return jacobian

    def warp_image(self, image: Tensor, *, align_corners: bool = True) -> Tensor:
        """out(z) = image(T(z)), with reflection at the border: (B, C, H, W) to (B, C, H, W).

        What the deformed image shows at p is at T(p) in the image.
        """
        height, width = image.shape[-2:]
        grid = coordinate_grid(height, width, device=image.device)
        flow = self(grid.view(1, -1, 2).expand(len(image), -1, -1)).view(-1, height, width, 2)
        return warp(image, flow, align_corners=align_corners, padding_mode="reflection")

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
    """mean |p_driving - T(p_transformed)|: T maps keypoints of the deformed image to those of the image.

    Source: FOMM, section 3.3 (equivariance).
    """
    return (kp_driving.value - transform(kp_transformed.value)).abs().mean()


def equivariance_jacobian_loss(
    kp_driving: Keypoints, kp_transformed: Keypoints, transform: RandomTransform
) -> Tensor:
    """mean |I - J_driving^-1 T'(p_transformed) J_transformed|: the same for the Jacobians, by the chain rule.

    Unlike |J_driving - T' J_transformed|, this does not become small if all Jacobians shrink.

    Source: FOMM, section 3.3 (equivariance of the Jacobian).
    """
    carried = multiply_2x2(transform.jacobian(kp_transformed.value), kp_transformed.jacobian)
    product = multiply_2x2(inverse_2x2(kp_driving.jacobian), carried)
    return (torch.eye(2, device=product.device, dtype=product.dtype) - product).abs().mean()
