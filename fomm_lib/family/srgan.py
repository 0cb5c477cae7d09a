"""SRGAN: a small image made four times as large, with details that look right rather than being the mean.

    generator = SRResNet()                                # trained on the mean squared error first
    srresnet_step(generator, optimizer, small, large)
    srgan_step(generator, SRDiscriminator(), optimizers, small, large, features)

Many large images have the same small one. The mean squared error asks for their mean, which is blurred; a
perceptual loss and a discriminator ask for one of them.

Images are in [0, 1].

Source: C. Ledig et al., *Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network*, CVPR 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fomm_lib.errors import InputError
from fomm_lib.gan import binary_cross_entropy, update

ADVERSARIAL_WEIGHT = 1e-3
CONTENT_WEIGHT = 0.006  # 1 / 12.75^2 of the paper: features are divided by 12.75


class SRResNet(nn.Module):
    """(B, C, h, w) in [0, 1] to (B, C, scale h, scale w) in [0, 1].

    conv 9x9, PReLU; `blocks` residual blocks x + [conv 3x3, BN, PReLU, conv 3x3, BN]; conv 3x3, BN, plus the
    first features; for each doubling conv 3x3 to 4 `width` channels, pixel shuffle, PReLU; conv 9x9,
    (tanh + 1) / 2.

    Args:
        scale: 2, 4, 8, ...; 4 as published.
        blocks: 16 as published.
        width: 64 as published.
        channels: of the images.

    Raises:
        InputError: the scale is not a power of 2.

    Source: Ledig et al. 2017, figure 4. The last activation is one of the public PyTorch ports
    (leftthomas/SRGAN): it keeps values in [0, 1].

    Example:
        >>> SRResNet(blocks=2, width=8)(torch.rand(1, 3, 16, 16)).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, scale: int = 4, blocks: int = 16, width: int = 64, channels: int = 3):
        super().__init__()
        if scale < 2 or scale & (scale - 1):
            raise InputError(f"scale = {scale}: choose 2, 4, 8, ... (a power of 2)")
        self.first = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(SRResidual(width) for _ in range(blocks)))
        self.last_block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
        self.up = nn.Sequential(*(PixelShuffleUp(width) for _ in range(int(math.log2(scale)))))
        self.final = nn.Conv2d(width, channels, 9, padding=4)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        out = first + self.last_block(self.blocks(first))
        return (self.final(self.up(out)).tanh() + 1) / 2


class SRResidual(nn.Module):
    """x + [conv 3x3, BN, PReLU, conv 3x3, BN], the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class PixelShuffleUp(nn.Module):
    """(B, c, H, W) to (B, c, 2H, 2W): four channels become the four pixels of a 2x2 square.

    Channel 4 c + 2 i + j of the convolution is row i, column j of the square of channel c.

    Source: Shi et al. 2016, *Real-Time Single Image and Video Super-Resolution ...*, section 2.2.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(nn.functional.pixel_shuffle(self.conv(x), 2))


class SRDiscriminator(nn.Module):
    """(B, C, H, W) in [0, 1] to a logit an image (B,), positive where it looks real.

    Eight convs 3x3, every other one of stride 2, with BN (but the first) and leaky ReLU 0.2; mean over the
    image; 16 `width` features, leaky ReLU, one number.

    Args:
        width: 64 as published: 64, 64, 128, 128, 256, 256, 512, 512 channels.
        channels: of the images.

    Source: Ledig et al. 2017, figure 4; the mean over the image, for images of any size, is
    leftthomas/SRGAN's.

    Example:
        >>> SRDiscriminator(width=8)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, width: int = 64, channels: int = 3):
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        before = width
        for after, stride in [(1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)]:
            parts += [
                nn.Conv2d(before, after * width, 3, stride, padding=1),
                nn.BatchNorm2d(after * width),
                nn.LeakyReLU(0.2),
            ]
            before = after * width
        parts += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(before, 16 * width, 1), nn.LeakyReLU(0.2)]
        parts.append(nn.Conv2d(16 * width, 1, 1))
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image).flatten()


def content_loss(features: Callable[[Tensor], Tensor] | None, made: Tensor, true: Tensor) -> Tensor:
    """Mean squared difference of pixels (no `features`), or of features times 0.006.

    Args:
        features: a fixed network, e.g. relu5_4 of VGG-19 (VGG54 of the paper); no gradient on the true side.

    Source: Ledig et al. 2017, equations 4 and 5; section 3.2 for the factor.
    """
    if features is None:
        return nn.functional.mse_loss(made, true)
    with torch.no_grad():
        wanted = features(true)
    return CONTENT_WEIGHT * nn.functional.mse_loss(features(made), wanted)


def srresnet_step(
    generator: nn.Module, optimizer: Optimizer, small: Tensor, large: Tensor
) -> dict[str, Tensor]:
    """One update on the mean squared error: the first stage, SRResNet-MSE.

    Args:
        small, large: (B, C, h, w) and (B, C, scale h, scale w) in [0, 1].
    Returns:
        `mse`, a detached scalar.
    """
    loss = content_loss(None, generator(small), large)
    update(loss, optimizer)
    return {"mse": loss.detach()}


def srgan_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: Mapping[str, Optimizer],
    small: Tensor,
    large: Tensor,
    features: Callable[[Tensor], Tensor] | None = None,
    *,
    adversarial_weight: float = ADVERSARIAL_WEIGHT,
) -> dict[str, Tensor]:
    """One update of the discriminator, then one of the generator: the second stage.

    L_D = BCE(D(large), 1) + BCE(D(G(small)), 0)
    L_G = content(G(small), large) + adversarial_weight BCE(D(G(small)), 1)

    The generator's loss is -log D, not log(1 - D), whose slope vanishes where D is sure.

    Args:
        optimizers: "generator" and "discriminator"; published: Adam, 1e-4, then 1e-5.
        small, large: as `srresnet_step`.
        features: as `content_loss`.
        adversarial_weight: 1e-3 as published.

    Returns:
        `disc`, `content`, `gen_gan` (weighted), detached scalars.

    Source: Ledig et al. 2017, equations 2, 3 and 6.
    """
    made = generator(small)
    on_real, on_fake = discriminator(large), discriminator(made.detach())
    disc = binary_cross_entropy(on_real, 1.0, from_logits=True)
    disc = disc + binary_cross_entropy(on_fake, 0.0, from_logits=True)
    update(disc, optimizers["discriminator"])

    discriminator.requires_grad_(False)
    content = content_loss(features, made, large)
    gen_gan = adversarial_weight * binary_cross_entropy(discriminator(made), 1.0, from_logits=True)
    update(content + gen_gan, optimizers["generator"])
    discriminator.requires_grad_(True)
    return {"disc": disc.detach(), "content": content.detach(), "gen_gan": gen_gan.detach()}
