"""Monkey-Net: image animation by keypoints with a covariance each, the zeroth-order ancestor of the model.

    model = MonkeyNet()                                       # configuration of VoxCeleb, as published
    made = model(source, driving)                             # made.prediction, made.deformed
    losses = monkeynet_step(model, discriminator, optimizers, source, driving)

What the First Order Motion Model changed: a Jacobian at each keypoint in place of the covariance; a local
affine motion in place of a shift; an occlusion map in place of the correction; one warp of features at a
quarter of the size in place of a warp of every skip connection; perceptual and equivariance losses.

Points and flows follow the convention of `geometry`; images are in [0, 1].

Source: A. Siarohin et al., *Animating Arbitrary Objects via Deep Motion Transfer*, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from fomm_lib.blocks import Decoder, Encoder, Hourglass, ResidualBlock
from fomm_lib.discriminator import DiscriminatorBlock
from fomm_lib.gan import lsgan_discriminator_loss, lsgan_generator_loss, update
from fomm_lib.geometry import apply_2x2, coordinate_grid, inverse_2x2, warp
from fomm_lib.keypoints import soft_argmax

SMALLEST_SIGMA2 = 1e-3
"""Keypoints narrower than this (in [-1, 1], squared) are widened."""
HEATMAP_SCALE = 100.0
"""Gaussians are divided by this where networks see them."""


@dataclass
class GaussianKeypoints:
    """K points of B images, with the spread of the heatmap of each.

    Attributes:
        value: (B, K, 2), (x, y) in [-1, 1].
        covariance: (B, K, 2, 2), symmetric, in the same units squared.
    """

    value: Tensor
    covariance: Tensor

    def detach(self) -> GaussianKeypoints:
        """The same keypoints, cut from the graph of gradients."""
        return GaussianKeypoints(self.value.detach(), self.covariance.detach())

    def __getitem__(self, index: slice) -> GaussianKeypoints:
        return GaussianKeypoints(self.value[index], self.covariance[index])


def heatmap_covariance(heatmap: Tensor, mean: Tensor) -> Tensor:
    """C = sum_z h(z) (z - m)(z - m)^T, for heatmaps (B, K, h, w) and means (B, K, 2): (B, K, 2, 2).

    Source: Siarohin et al. 2019, section 3.1, equation 2.

    Example:
        >>> heatmap = torch.tensor([[[[0.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]]])
        >>> heatmap_covariance(heatmap, torch.zeros(1, 1, 2))
        tensor([[[[1., 0.],
                  [0., 0.]]]])
    """
    grid = coordinate_grid(*heatmap.shape[-2:], device=heatmap.device, dtype=heatmap.dtype)
    offset = grid - mean[:, :, None, None]
    outer = offset[..., :, None] * offset[..., None, :]
    return (heatmap[..., None, None] * outer).sum(dim=(2, 3))


def widen(covariance: Tensor, smallest: float = SMALLEST_SIGMA2) -> Tensor:
    """Scale symmetric 2x2 matrices so that no eigenvalue is below `smallest`.

    The published code multiplies the *whole* matrix by smallest / s, with s the smaller singular value, and
    gives infinity for s = 0 (a heatmap of one pixel). Here s is at least a thousandth of `smallest`.

    Source: the published code's `clip_variance`, with its fault mended.

    Example:
        >>> widen(torch.diag(torch.tensor([0.0005, 0.004])))
        tensor([[0.0010, 0.0000],
                [0.0000, 0.0080]])
    """
    a, b, d = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    # The larger eigenvalue is a sum of positive numbers; the smaller follows from the determinant.
    larger = (a + d + ((a - d).square() + 4 * b.square()).clamp(min=1e-24).sqrt()) / 2
    smaller = (a * d - b * b) / larger.clamp(min=1e-12)
    factor = (smallest / smaller.clamp(min=smallest / 1000)).clamp(min=1)
    return covariance * factor[..., None, None]


def gaussians(kp: GaussianKeypoints, height: int, width: int) -> Tensor:
    """exp(-1/2 (z - m)^T C^-1 (z - m)) over the pixels z: (B, K, height, width), in (0, 1].

    Example:
        >>> kp = GaussianKeypoints(torch.zeros(1, 1, 2), torch.eye(2).expand(1, 1, 2, 2))
        >>> gaussians(kp, 3, 3)[0, 0, 1]
        tensor([0.6065, 1.0000, 0.6065])
    """
    grid = coordinate_grid(height, width, device=kp.value.device, dtype=kp.value.dtype)
    offset = grid - kp.value[:, :, None, None]
    inverse = inverse_2x2(kp.covariance, eps=1e-12)[:, :, None, None]
    return torch.exp(-0.5 * (offset * apply_2x2(inverse, offset)).sum(-1)).to(grid.dtype)


def gaussian_difference(kp_driving: GaussianKeypoints, kp_source: GaussianKeypoints, size) -> Tensor:
    """(Gaussians of driving - of source) / 100 at (height, width): where points have come and gone."""
    return (gaussians(kp_driving, *size) - gaussians(kp_source, *size)) / HEATMAP_SCALE


def shrink(image: Tensor, scale: float) -> Tensor:
    """Every (1 / scale)-th pixel, as published (nearest neighbour, no anti-aliasing)."""
    return image if scale == 1 else F.interpolate(image, scale_factor=scale, mode="nearest")


class GaussianKeypointDetector(nn.Module):
    """Images (B, C, H, W) to K keypoints with covariances.

    Image shrunk; hourglass, conv 3x3; h = softmax(logits / temperature) + 1e-7; mean and covariance of h.

    Source: Siarohin et al. 2019, section 3.1.

    Example:
        >>> kp = GaussianKeypointDetector(5, 8, 64, 4, scale=0.5)(torch.rand(2, 3, 64, 64))
        >>> kp.value.shape, kp.covariance.shape
        (torch.Size([2, 5, 2]), torch.Size([2, 5, 2, 2]))
    """

    def __init__(
        self,
        num_kp: int = 10,
        block_expansion: int = 32,
        max_features: int = 1024,
        num_blocks: int = 5,
        scale: float = 0.25,
        temperature: float = 0.1,
        channels: int = 3,
    ):
        super().__init__()
        self.hourglass = Hourglass(block_expansion, channels, num_blocks, max_features)
        self.conv = nn.Conv2d(self.hourglass.out_features, num_kp, 3, padding=1)
        self.scale, self.temperature = scale, temperature

    def forward(self, image: Tensor) -> GaussianKeypoints:
        logits = self.conv(self.hourglass(shrink(image, self.scale)))
        heatmap = (logits.flatten(2) / self.temperature).softmax(dim=2).view_as(logits) + 1e-7
        mean = soft_argmax(heatmap)
        return GaussianKeypoints(mean, widen(heatmap_covariance(heatmap, mean)))


@dataclass
class CoarseMotion:
    """Dense motion of Monkey-Net, at the size of the shrunk source.

    Attributes:
        flow: (B, h, w, 2), where each pixel comes from, in [-1, 1].
        mask: (B, K+1, h, w), the share of each keypoint's shift, the background first.
        correction: (B, 2, h, w), added to the mixture of shifts.
        embedding: (B, (K+1) c, h, w), what the network saw.
    """

    flow: Tensor
    mask: Tensor
    correction: Tensor
    embedding: Tensor


class ShiftMotionNetwork(nn.Module):
    """Flow from keypoints: z + sum_k mask_k(z) (p_source - p_driving)_k + correction(z).

    For the background (k = 0, shift 0) and every keypoint the network sees the Gaussian difference, the shift
    (with `differences`) and the source moved by it; two grouped 1x1 convolutions look at each alone, then an
    hourglass decides. It begins with all weight on the background.

    Args:
        differences: whether it sees shifts as numbers, as published for moving GIFs and not for VoxCeleb.

    Source: Siarohin et al. 2019, section 3.2.
    """

    def __init__(
        self,
        num_kp: int = 10,
        block_expansion: int = 32,
        max_features: int = 1024,
        num_blocks: int = 5,
        scale: float = 0.25,
        differences: bool = False,
        channels: int = 3,
    ):
        super().__init__()
        features = (num_kp + 1) * (1 + 2 * differences + channels)
        self.group_convs = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(features, features, 1, groups=num_kp + 1), nn.BatchNorm2d(features)])
            for _ in range(2)
        )
        self.hourglass = Hourglass(block_expansion, features, num_blocks, max_features)
        self.conv = nn.Conv2d(self.hourglass.out_features, num_kp + 1 + 2, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        with torch.no_grad():
            self.conv.bias.copy_(torch.tensor([2.0] + [0.0] * (num_kp + 2)))
        self.num_kp, self.scale, self.differences = num_kp, scale, differences

    def forward(
        self, source: Tensor, kp_source: GaussianKeypoints, kp_driving: GaussianKeypoints
    ) -> CoarseMotion:
        source = shrink(source, self.scale)
        batch, _, height, width = source.shape
        grid = coordinate_grid(height, width, device=source.device, dtype=source.dtype)
        shift = kp_source.value - kp_driving.value
        shift = torch.cat([torch.zeros_like(shift[:, :1]), shift], dim=1)  # (B, K+1, 2), the background first
        flows = grid + shift[:, :, None, None]  # (B, K+1, h, w, 2)
        repeated = source[:, None].expand(-1, self.num_kp + 1, -1, -1, -1).flatten(0, 1)
        moved = warp(repeated, flows.flatten(0, 1)).unflatten(0, (batch, self.num_kp + 1))
        heatmap = gaussian_difference(kp_driving, kp_source, (height, width))
        heatmap = torch.cat([torch.zeros_like(heatmap[:, :1]), heatmap], dim=1)[:, :, None]
        parts = [heatmap, moved]
        if self.differences:
            parts.insert(1, shift[..., None, None].expand(-1, -1, -1, height, width))
        embedding = torch.cat(parts, dim=2).flatten(1, 2)

        x = embedding
        for conv, norm in self.group_convs:
            # The published code adds a leaky ReLU, which changes nothing after this.
            x = F.relu(norm(conv(x)))
        out = self.conv(self.hourglass(x))
        mask = out[:, : self.num_kp + 1].softmax(dim=1)
        correction = out[:, self.num_kp + 1 :]
        move = (mask[..., None] * shift[:, :, None, None]).sum(dim=1) + correction.permute(0, 2, 3, 1)
        return CoarseMotion(grid + move, mask, correction, embedding)


@dataclass
class Transferred:
    """What the generator gives.

    Attributes:
        prediction: (B, C, H, W) in [0, 1].
        deformed: (B, C, H, W), the source warped by the flow.
        motion: the flow and its parts.
    """

    prediction: Tensor
    deformed: Tensor
    motion: CoarseMotion


class SkipWarpGenerator(nn.Module):
    """A U-Net whose skip connections, the image among them, are all warped by the flow.

    Every skip is joined by the Gaussian difference at its size. The flow is resized by nearest neighbour.

    Source: Siarohin et al. 2019, section 3.3.
    """

    def __init__(
        self,
        num_kp: int = 10,
        block_expansion: int = 32,
        max_features: int = 1024,
        num_blocks: int = 7,
        refinement_blocks: int = 4,
        scale: float = 0.25,
        channels: int = 3,
    ):
        super().__init__()
        self.encoder = Encoder(block_expansion, channels, num_blocks, max_features)
        self.decoder = Decoder(block_expansion, channels, num_blocks, max_features, extra_features=num_kp)
        features = self.decoder.out_features
        self.refinement = nn.Sequential(*(ResidualBlock(features) for _ in range(refinement_blocks)))
        self.conv = nn.Conv2d(features, channels, 1)
        self.scale = scale

    def forward(
        self,
        source: Tensor,
        kp_source: GaussianKeypoints,
        kp_driving: GaussianKeypoints,
        motion: CoarseMotion,
    ) -> Transferred:
        height, width = (round(side * self.scale) for side in source.shape[-2:])
        heatmap = gaussian_difference(kp_driving, kp_source, (height, width))
        levels = [
            torch.cat([nearest_warp(level, motion.flow), nearest(heatmap, level.shape[-2:])], dim=1)
            for level in self.encoder(source)
        ]
        out = self.conv(self.refinement(self.decoder(levels)))
        return Transferred(out.sigmoid(), nearest_warp(source, motion.flow), motion)


def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """Another size by nearest neighbour, as published for flows and Gaussians."""
    return F.interpolate(x, size=tuple(size), mode="nearest")


def nearest_warp(features: Tensor, flow: Tensor) -> Tensor:
    """Features of any size warped by a flow of another, which is resized by nearest neighbour."""
    return warp(features, nearest(flow.permute(0, 3, 1, 2), features.shape[-2:]).permute(0, 2, 3, 1))


class MonkeyNet(nn.Module):
    """Detector, dense motion and generator; the defaults are the published configuration for VoxCeleb.

    Args:
        num_kp: K.
        detector, motion, generator: arguments of `GaussianKeypointDetector`, `ShiftMotionNetwork` and
            `SkipWarpGenerator` that differ from theirs.

    Example:
        >>> small = {"block_expansion": 8, "max_features": 64, "num_blocks": 4, "scale": 0.5}
        >>> model = MonkeyNet(5, detector=small, motion=small, generator={**small, "refinement_blocks": 2})
        >>> model(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)).prediction.shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self,
        num_kp: int = 10,
        *,
        detector: Mapping | None = None,
        motion: Mapping | None = None,
        generator: Mapping | None = None,
    ):
        super().__init__()
        self.detector = GaussianKeypointDetector(num_kp, **(detector or {}))
        self.motion = ShiftMotionNetwork(num_kp, **(motion or {}))
        self.generator = SkipWarpGenerator(num_kp, **(generator or {}))

    def generate(
        self, source: Tensor, kp_source: GaussianKeypoints, kp_driving: GaussianKeypoints
    ) -> Transferred:
        """The source moved from its keypoints to those of the driving frame."""
        motion = self.motion(source, kp_source, kp_driving)
        return self.generator(source, kp_source, kp_driving, motion)

    def forward(self, source: Tensor, driving: Tensor) -> Transferred:
        """Images (B, C, H, W) in [0, 1] each; absolute motion."""
        return self.generate(source, self.detector(source), self.detector(driving))


class GaussianDiscriminator(nn.Module):
    """Says of every patch how real it looks, given the driving keypoints; its maps begin with the image.

    conv 4x4, instance norm (but the first), leaky ReLU 0.2, 2x2 average pool in every block; conv 1x1.

    Returns a list: the image, the features of every block, the prediction.

    Source: Siarohin et al. 2019, section 3.5.

    Example:
        >>> kp = GaussianKeypoints(torch.zeros(1, 5, 2), torch.eye(2).expand(1, 5, 2, 2))
        >>> maps = GaussianDiscriminator(5, 8, 64, 3)(torch.rand(1, 3, 64, 64), kp)
        >>> [tuple(m.shape) for m in maps]
        [(1, 3, 64, 64), (1, 16, 30, 30), (1, 32, 13, 13), (1, 64, 5, 5), (1, 1, 5, 5)]
    """

    def __init__(
        self,
        num_kp: int = 10,
        block_expansion: int = 32,
        max_features: int = 256,
        num_blocks: int = 4,
        channels: int = 3,
    ):
        super().__init__()
        width = [min(max_features, block_expansion * 2**i) for i in range(num_blocks + 1)]
        width[0] = channels + num_kp
        self.down_blocks = nn.ModuleList(
            DiscriminatorBlock(width[i], width[i + 1], norm=i > 0, pool=True, sn=False)
            for i in range(num_blocks)
        )
        self.conv = nn.Conv2d(width[-1], 1, 1)

    def forward(self, image: Tensor, kp_driving: GaussianKeypoints) -> list[Tensor]:
        seen = gaussians(kp_driving, *image.shape[-2:]) / HEATMAP_SCALE
        maps, out = [image], torch.cat([image, seen.to(image.dtype)], dim=1)
        for block in self.down_blocks:
            out = block(out)
            maps.append(out)
        return [*maps, self.conv(out)]


def monkeynet_losses(
    made: Transferred,
    on_fake: Sequence[Tensor],
    on_real: Sequence[Tensor],
    *,
    reconstruction: Sequence[float] = (10, 10, 10, 10, 1),
    deformed: float = 0.0,
    adversarial: float = 1.0,
) -> dict[str, Tensor]:
    """Losses of the generator, weighted.

    `layer{i}` = w_i mean |D_i(fake) - D_i(real)|, the first of them on pixels, since the maps begin with the
    image; `deformed` = w mean |warped source - driving|; `gen_gan` = w mean (1 - D(fake))^2. The gradient
    flows on the real side too, to the keypoints that the discriminator sees, as in the published code.

    Source: Siarohin et al. 2019, section 3.5; weights of VoxCeleb's published configuration.
    """
    losses = {}
    if deformed:
        losses["deformed"] = deformed * (on_real[0] - made.deformed).abs().mean()
    maps = zip(reconstruction, on_real[:-1], on_fake[:-1], strict=True)
    for i, (weight, real, fake) in enumerate(maps):
        losses[f"layer{i}"] = weight * (real - fake).abs().mean()
    losses["gen_gan"] = adversarial * lsgan_generator_loss(on_fake[-1])
    return losses


def monkeynet_step(
    model: MonkeyNet,
    discriminator: GaussianDiscriminator,
    optimizers: Mapping[str, Optimizer],
    source: Tensor,
    driving: Tensor,
    **weights,
) -> dict[str, Tensor]:
    """One update of detector and generator, then one of the discriminator on the image made before.

    Source and driving frame go through the detector as one batch, which gives batch norm one set of
    statistics. The discriminator's own update sees the keypoints without gradient.

    Args:
        optimizers: "generator" (with dense motion), "detector" and "discriminator"; published: Adam, 2e-4,
            betas (0.5, 0.999) each.
        source, driving: (B, C, H, W) in [0, 1].
        weights: as `monkeynet_losses`.

    Returns:
        The losses of `monkeynet_losses` and `disc`, detached scalars.
    """
    kp = model.detector(torch.cat([source, driving]))
    kp_source, kp_driving = kp[: len(source)], kp[len(source) :]
    made = model.generate(source, kp_source, kp_driving)
    on_fake = discriminator(made.prediction, kp_driving)
    losses = monkeynet_losses(made, on_fake, discriminator(driving, kp_driving), **weights)
    update(sum(losses.values()), optimizers["generator"], optimizers["detector"])

    fixed = kp_driving.detach()
    on_fake = discriminator(made.prediction.detach(), fixed)[-1]
    losses["disc"] = lsgan_discriminator_loss(discriminator(driving, fixed)[-1], on_fake)
    update(losses["disc"], optimizers["discriminator"])
    return {name: value.detach() for name, value in losses.items()}
