"""Progressive growing: a generator of images from noise that starts with 4x4 pixels and doubles its size.

    generator, discriminator = ProgressiveGenerator(), ProgressiveDiscriminator()
    level, alpha = Growth(fade=600_000, stable=600_000)(images_seen)
    images = generator(torch.randn(16, 512), level, alpha)          # (16, 3, 4 * 2**level, 4 * 2**level)

Small images are learned quickly, and they hold what matters most. When a level is added, it is faded in:
alpha goes from 0 (the small image, enlarged) to 1 (the new level), in both networks and in the real images.

Images are in [-1, 1]. Level 0 has 4x4 pixels.

Source: T. Karras et al., *Progressive Growing of GANs for Improved Quality, Stability, and Variation*,
ICLR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from fomm_lib.errors import InputError
from fomm_lib.gan import gradient_penalty, update
from fomm_lib.geometry import at_least_float32

GAIN = math.sqrt(2)
PENALTY_WEIGHT = 10.0
DRIFT_WEIGHT = 1e-3


def width_of(level: int) -> int:
    """Channels of the layers that make level `level`: min(16384 / size, 512) with size 4 * 2^level.

    Example:
        >>> [width_of(level) for level in range(9)]
        [512, 512, 512, 512, 256, 128, 64, 32, 16]
    """
    return min(8192 // 2 ** (level + 1), 512)


class EqualizedConv2d(nn.Module):
    """A convolution whose weights are N(0, 1) and are multiplied by gain / sqrt(fan_in) when they are used.

    All weights then have the same range, and Adam, whose steps do not depend on the size of a gradient, moves
    all of them at the same relative speed. The bias is not scaled.

    Args:
        gain: sqrt(2) before a ReLU, 1 before none.

    Source: Karras et al. 2018, section 4.1; He et al. 2015 for the constant.

    Example:
        >>> EqualizedConv2d(5, 3, 3).scale == math.sqrt(2 / 45)
        True
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0, gain: float = GAIN
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale, self.padding = gain / math.sqrt(in_channels * kernel_size**2), padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class PixelNorm(nn.Module):
    """x / sqrt(mean over channels of x^2 + 1e-8), in float32: no channel can grow without bound.

    Source: Karras et al. 2018, section 4.2.

    Example:
        >>> PixelNorm()(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).flatten()
        tensor([0.8485, 1.1314])
    """

    def forward(self, x: Tensor) -> Tensor:
        # 1e-8 is 0 in half precision.
        wide = at_least_float32(x)
        return (wide * (wide.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()).to(x.dtype)


def minibatch_stddev(x: Tensor, group: int = 4) -> Tensor:
    """How much the images of a group differ, as one more channel: (B, C, H, W) to (B, C + 1, H, W).

    The batch is split into B / G groups of G = min(`group`, B); sample n is in group n mod (B / G), so that
    the members of a group stand B / G apart. The channel holds the mean over (C, H, W) of the population
    standard deviation over the group.

    Raises:
        InputError: the batch is not a multiple of G.

    Source: Karras et al. 2018, section 3.

    Example:
        >>> minibatch_stddev(torch.tensor([0.0, 2.0]).view(2, 1, 1, 1))[:, 1].flatten()
        tensor([1., 1.])
    """
    batch, channels, height, width = x.shape
    size = min(group, batch)
    if batch % size:
        raise InputError(f"a batch of {batch} cannot be split into groups of {size}; choose a multiple")
    groups = x.reshape(size, batch // size, channels, height, width)
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3), keepdim=True)
    return torch.cat([x, deviation.repeat(size, 1, height, width)], dim=1)


class FirstBlock(nn.Module):
    """Noise (B, latent) to (B, width, 4, 4): pixel norm, dense, leaky ReLU, pixel norm; conv 3x3 likewise.

    The dense layer has one bias a channel, and a gain of sqrt(2) / 4 as in the published code.
    """

    def __init__(self, latent: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(latent, width, 4, 4))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = GAIN / 4 / math.sqrt(latent)
        self.conv = EqualizedConv2d(width, width, 3, padding=1)
        self.norm, self.dense_norm = PixelNorm(), PixelNorm()

    def forward(self, z: Tensor) -> Tensor:
        x = torch.einsum("bl,lchw->bchw", self.norm(z), self.weight * self.scale)
        x = self.dense_norm(F.leaky_relu(x + self.bias[:, None, None], 0.2))
        return self.norm(F.leaky_relu(self.conv(x), 0.2))


class GeneratorBlock(nn.Module):
    """Double the size by repeating pixels, then two times conv 3x3, leaky ReLU 0.2, pixel norm."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = EqualizedConv2d(out_channels, out_channels, 3, padding=1)
        self.norm = PixelNorm()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.leaky_relu(self.conv1(double(x)), 0.2))
        return self.norm(F.leaky_relu(self.conv2(x), 0.2))


class ProgressiveGenerator(nn.Module):
    """Noise (B, latent) to images (B, channels, 4 * 2^level, 4 * 2^level), about [-1, 1] once trained.

    Args:
        levels: how many; 9 for 1024 pixels as published.
        latent: size of the noise, N(0, 1).
        width: channels by level.
        channels: of the images.

    Source: Karras et al. 2018, appendix A.1, table 2.

    Example:
        >>> generator = ProgressiveGenerator(levels=4, latent=16, width=lambda level: 16)
        >>> generator(torch.randn(2, 16), level=3).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        levels: int = 9,
        latent: int = 512,
        width: Callable[[int], int] = width_of,
        channels: int = 3,
    ):
        super().__init__()
        self.first = FirstBlock(latent, width(0))
        self.blocks = nn.ModuleList(GeneratorBlock(width(i - 1), width(i)) for i in range(1, levels))
        self.to_rgb = nn.ModuleList(EqualizedConv2d(width(i), channels, 1, gain=1.0) for i in range(levels))

    def forward(self, z: Tensor, level: int, alpha: float = 1.0) -> Tensor:
        """Images of a level; alpha < 1 blends with the enlarged image of the level below."""
        x = self.first(z)
        for block in self.blocks[: max(level - 1, 0)]:
            x = block(x)
        if level == 0:
            return self.to_rgb[0](x)
        new = self.to_rgb[level](self.blocks[level - 1](x))
        if alpha >= 1:
            return new
        return alpha * new + (1 - alpha) * double(self.to_rgb[level - 1](x))


class DiscriminatorBlock(nn.Module):
    """Two times conv 3x3, leaky ReLU 0.2; then 2x2 average pool."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = EqualizedConv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x), 0.2)
        return halve(F.leaky_relu(self.conv2(x), 0.2))


class ProgressiveDiscriminator(nn.Module):
    """Images (B, channels, 4 * 2^level, 4 * 2^level) to a number each (B,), large where they look real.

    The mirror image of the generator, without norms, with `minibatch_stddev` before the last convolutions.

    Args:
        levels, width, channels: as `ProgressiveGenerator`.
        stddev: False leaves the minibatch standard deviation out.

    Source: Karras et al. 2018, appendix A.1, table 2.

    Example:
        >>> discriminator = ProgressiveDiscriminator(levels=4, width=lambda level: 16)
        >>> discriminator(torch.rand(4, 3, 32, 32), level=3).shape
        torch.Size([4])
    """

    def __init__(
        self,
        levels: int = 9,
        width: Callable[[int], int] = width_of,
        channels: int = 3,
        stddev: bool = True,
    ):
        super().__init__()
        self.stddev = stddev
        self.from_rgb = nn.ModuleList(EqualizedConv2d(channels, width(i), 1) for i in range(levels))
        self.blocks = nn.ModuleList(DiscriminatorBlock(width(i), width(i - 1)) for i in range(1, levels))
        self.last_conv = EqualizedConv2d(width(0) + stddev, width(0), 3, padding=1)
        self.dense = EqualizedConv2d(width(0), width(0), 4)
        self.final = EqualizedConv2d(width(0), 1, 1, gain=1.0)

    def forward(self, image: Tensor, level: int, alpha: float = 1.0) -> Tensor:
        """Numbers for images of a level; alpha < 1 blends with what the level below sees of them."""
        x = F.leaky_relu(self.from_rgb[level](image), 0.2)
        if level > 0:
            x = self.blocks[level - 1](x)
            if alpha < 1:
                below = F.leaky_relu(self.from_rgb[level - 1](halve(image)), 0.2)
                x = alpha * x + (1 - alpha) * below
        for block in reversed(self.blocks[: max(level - 1, 0)]):
            x = block(x)
        x = minibatch_stddev(x) if self.stddev else x
        x = F.leaky_relu(self.last_conv(x), 0.2)
        x = F.leaky_relu(self.dense(x), 0.2)
        return self.final(x).flatten()


def double(image: Tensor) -> Tensor:
    """Every pixel becomes a square of 2x2."""
    return F.interpolate(image, scale_factor=2, mode="nearest")


def halve(image: Tensor) -> Tensor:
    """The mean of every square of 2x2."""
    return F.avg_pool2d(image, 2)


def fade_images(image: Tensor, alpha: float) -> Tensor:
    """Real images blended as generated ones are while a level is faded in: alpha x + (1 - alpha) up(down(x)).

    Without it the discriminator could tell real from generated by sharpness alone.

    Source: Karras et al. 2018, appendix A.1 (FadeLOD of the published code).
    """
    return image if alpha >= 1 else alpha * image + (1 - alpha) * double(halve(image))


class Growth:
    """The schedule: images seen to (level, alpha); level 0 is stable at once, later ones fade in first.

    Args:
        fade, stable: images for alpha 0 to 1, and with alpha 1; 600,000 each as published.
        levels: the last one stays.

    Source: Karras et al. 2018, section 2 and appendix A.1.

    Example:
        >>> growth = Growth(fade=100, stable=100, levels=2)
        >>> [growth(seen) for seen in (0, 99, 100, 150, 200, 999)]
        [(0, 1.0), (0, 1.0), (1, 0.0), (1, 0.5), (1, 1.0), (1, 1.0)]
    """

    def __init__(self, fade: int = 600_000, stable: int = 600_000, levels: int = 9):
        self.fade, self.stable, self.levels = fade, stable, levels

    def __call__(self, images_seen: int) -> tuple[int, float]:
        if images_seen < self.stable or self.levels == 1:
            return 0, 1.0
        phase, place = divmod(images_seen - self.stable, self.fade + self.stable)
        if phase >= self.levels - 1:
            return self.levels - 1, 1.0
        return phase + 1, min(1.0, place / self.fade)


def progressive_step(
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    real: Tensor,
    latents: tuple[Tensor, Tensor],
    level: int,
    alpha: float,
    *,
    penalty_generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """One update of the discriminator (a Wasserstein critic), then one of the generator.

    L_D = mean D(fake) - mean D(real) + 10 mean (|grad D(h)| - 1)^2 + 0.001 mean D(real)^2
    L_G = -mean D(fake)

    Args:
        networks, optimizers: "generator" and "discriminator"; published: Adam, 1e-3, betas (0.0, 0.99), eps
            1e-8, made anew when a level is added.
        real: (B, C, H, W) of the level, in [-1, 1], not yet faded.
        latents: noise for the discriminator's and for the generator's update, (B, latent) each.
        penalty_generator: random numbers for the places h between real and fake.

    Returns:
        `disc` (without penalty and drift), `penalty`, `drift` (weighted), `gen`, detached scalars.

    Source: Karras et al. 2018, appendix A.1; Gulrajani et al. 2017.
    """
    generator, discriminator = networks["generator"], networks["discriminator"]
    real = fade_images(real, alpha)
    with torch.no_grad():
        fake = generator(latents[0], level, alpha)

    def critic(image: Tensor) -> Tensor:
        return discriminator(image, level, alpha)

    on_real = critic(real)
    losses = {
        "disc": critic(fake).mean() - on_real.mean(),
        "penalty": PENALTY_WEIGHT * gradient_penalty(critic, real, fake, generator=penalty_generator),
        "drift": DRIFT_WEIGHT * on_real.square().mean(),
    }
    update(sum(losses.values()), optimizers["discriminator"])

    discriminator.requires_grad_(False)
    losses["gen"] = -critic(generator(latents[1], level, alpha)).mean()
    update(losses["gen"], optimizers["generator"])
    discriminator.requires_grad_(True)
    return {name: value.detach() for name, value in losses.items()}
