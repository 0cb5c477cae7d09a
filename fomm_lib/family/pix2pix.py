"""pix2pix: an image of one kind to the image of another kind that belongs to it, learned from pairs.

    generator, discriminator = UNetGenerator(), PatchDiscriminator()
    losses = pix2pix_step(generator, discriminator, optimizers, labels, photos)

The generator sees the input A and makes G(A). The discriminator sees A *and* an image, true or generated, and
says of every patch whether the image is true: a conditional GAN. An L1 loss to the true image gives the low
frequencies, the discriminator the high ones.

Convention: images are in [-1, 1] here (the generator ends with tanh); elsewhere in the library in [0, 1].
`to_signed` and `to_unsigned` are the only conversions.

Source: P. Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*, CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fomm_lib.blocks import require_multiple
from fomm_lib.errors import InputError
from fomm_lib.gan import binary_cross_entropy, update


def to_signed(image: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return 2 * image - 1


def to_unsigned(image: Tensor) -> Tensor:
    """[-1, 1] to [0, 1]."""
    return (image + 1) / 2


class UNetGenerator(nn.Module):
    """A U-Net of `halvings` levels, (B, in, H, W) in [-1, 1] to (B, out, H, W) in [-1, 1].

    Level i has min(2^i, 8) `width` channels. On the way down: leaky ReLU 0.2, conv 4x4 stride 2, norm; on the
    way up: ReLU, transposed conv 4x4 stride 2, norm; then the level's input is appended (the skip). The first
    level has no norm on the way down, the innermost none on the way down, the outermost ends with tanh. With
    batch norm no convolution has a bias but the last.

    Args:
        in_channels, out_channels: of the images.
        halvings: 8 for 256 pixels as published; the sides must be multiples of 2^halvings. At least 5.
        width: channels of the first level; 64 as published.
        norm: "batch" or "instance". Published models have batch norm and batches of one image, in training
            and at test alike, which is instance norm: `.eval()` gives worse images.
        dropout: dropout of 0.5 in the middle levels, at test as well (the only noise of pix2pix).

    Raises:
        InputError: fewer than 5 halvings, an unknown norm, or sides that do not fit.

    Source: Isola et al. 2017, section 3.2.1 and appendix 6.1.

    Example:
        >>> UNetGenerator(halvings=6, width=16)(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        halvings: int = 8,
        width: int = 64,
        norm: str = "batch",
        dropout: bool = True,
    ):
        super().__init__()
        if halvings < 5:
            raise InputError(f"halvings = {halvings}: a U-Net of pix2pix has at least 5 levels")
        self.halvings = halvings
        channels = [width * min(2**i, 8) for i in range(halvings)]
        block = None
        for level in reversed(range(halvings)):
            # The levels of 8 `width` between the innermost and the outer 4.
            middle = 4 <= level < halvings - 1
            block = UNetLevel(
                in_channels if level == 0 else channels[level - 1],
                channels[level],
                out_channels if level == 0 else channels[level - 1],
                block,
                norm,
                outermost=level == 0,
                dropout=dropout and middle,
            )
        self.levels = block

    def forward(self, image: Tensor) -> Tensor:
        require_multiple(image, 2**self.halvings, f"a U-Net of {self.halvings} halvings")
        return self.levels(image)


class UNetLevel(nn.Module):
    """Halve, go through the deeper levels, double, append the input: (B, c, H, W) to (B, c + out, H, W)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        deeper: UNetLevel | None,
        norm: str,
        outermost: bool = False,
        dropout: bool = False,
    ):
        super().__init__()
        innermost = deeper is None
        bias = norm_needs_bias(norm)
        self.outermost = outermost
        self.down = nn.Conv2d(in_channels, channels, 4, stride=2, padding=1, bias=bias)
        self.down_norm = nn.Identity() if outermost or innermost else norm_layer(norm, channels)
        self.deeper = nn.Identity() if innermost else deeper
        self.up = nn.ConvTranspose2d(
            channels if innermost else 2 * channels,
            out_channels,
            4,
            stride=2,
            padding=1,
            bias=bias or outermost,
        )
        self.up_norm = nn.Identity() if outermost else norm_layer(norm, out_channels)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        out = x if self.outermost else nn.functional.leaky_relu(x, 0.2)
        out = self.deeper(self.down_norm(self.down(out)))
        out = self.up(nn.functional.relu(out))
        if self.outermost:
            return out.tanh()
        out = self.up_norm(out)
        if self.dropout:
            out = nn.functional.dropout(out, 0.5, training=True)  # at test as well: see UNetGenerator
        return torch.cat([x, out], dim=1)


class PatchDiscriminator(nn.Module):
    """A logit for every patch: (B, in, H, W) to (B, 1, h, w), positive where a patch looks real.

    conv 4x4 stride 2, leaky ReLU 0.2; `layers` times conv 4x4 (stride 2, the last stride 1), norm, leaky
    ReLU; conv 4x4 stride 1. A patch has 16, 34, 70, 142, 286 pixels for `layers` = 1 to 5. With `layers` = 0
    all convolutions are 1x1 and a patch is one pixel.

    Args:
        in_channels: 6 for pix2pix (input and image, concatenated), 3 for CycleGAN.
        width: channels of the first convolution; 64 as published.
        layers: 3 as published.
        norm: "batch" or "instance".

    Source: Isola et al. 2017, section 3.2.2 and appendix 6.1.2.

    Example:
        >>> PatchDiscriminator(6)(torch.rand(1, 6, 256, 256)).shape
        torch.Size([1, 1, 30, 30])
    """

    def __init__(self, in_channels: int = 6, width: int = 64, layers: int = 3, norm: str = "batch"):
        super().__init__()
        bias = norm_needs_bias(norm)
        pixel = layers == 0
        size, padding = (1, 0) if pixel else (4, 1)

        def conv(inputs: int, outputs: int, stride: int, bias: bool) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, size, stride, padding, bias=bias)

        parts: list[nn.Module] = [conv(in_channels, width, 1 if pixel else 2, True), nn.LeakyReLU(0.2)]
        channels = width
        for i in range(1, max(layers, 1) + 1):
            wider = width * min(2**i, 8)
            stride = 1 if i == max(layers, 1) else 2
            parts += [conv(channels, wider, stride, bias), norm_layer(norm, wider), nn.LeakyReLU(0.2)]
            channels = wider
        parts.append(conv(channels, 1, 1, bias if pixel else True))
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Batch norm, or instance norm without parameters or running statistics.

    Raises:
        InputError: another name.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    raise InputError(f"norm = {norm!r}: choose batch or instance")


def norm_needs_bias(norm: str) -> bool:
    """Batch norm has a bias of its own, instance norm without parameters has none."""
    return norm != "batch"


@torch.no_grad()
def init_weights(network: nn.Module, std: float = 0.02) -> nn.Module:
    """Convolutions N(0, std) with bias 0, norms N(1, std) with bias 0, in place; the network is returned.

    Source: Isola et al. 2017, appendix 6.2.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight.normal_(0, std)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.normal_(1, std)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()
    return network


def pix2pix_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: Mapping[str, Optimizer],
    inputs: Tensor,
    targets: Tensor,
    *,
    l1_weight: float = 100.0,
    gan_weight: float = 1.0,
) -> dict[str, Tensor]:
    """One update of the discriminator, then one of the generator against the updated discriminator.

    L_D = 1/2 [ BCE(D(A, B), 1) + BCE(D(A, G(A)), 0) ]
    L_G = gan_weight BCE(D(A, G(A)), 1) + l1_weight mean |G(A) - B|

    Args:
        optimizers: "generator" and "discriminator"; published: Adam, 2e-4, betas (0.5, 0.999).
        inputs, targets: A and B, (B, C, H, W) in [-1, 1].
        l1_weight: 0 for the conditional GAN alone.
        gan_weight: 0 for L1 alone; the discriminator is then neither used nor trained.

    Returns:
        `disc_real`, `disc_fake` (before halving), `gen_gan`, `gen_l1` (weighted), detached scalars.

    Source: Isola et al. 2017, equations 1 to 4; the half slows the discriminator (section 3.3).
    """
    fake = generator(inputs)
    losses: dict[str, Tensor] = {}
    if gan_weight:
        on_fake = discriminator(torch.cat([inputs, fake.detach()], dim=1))
        on_real = discriminator(torch.cat([inputs, targets], dim=1))
        losses["disc_fake"] = binary_cross_entropy(on_fake, 0.0, from_logits=True)
        losses["disc_real"] = binary_cross_entropy(on_real, 1.0, from_logits=True)
        update((losses["disc_fake"] + losses["disc_real"]) / 2, optimizers["discriminator"])

    total = torch.zeros((), device=fake.device)
    if gan_weight:
        discriminator.requires_grad_(False)
        on_fake = discriminator(torch.cat([inputs, fake], dim=1))
        losses["gen_gan"] = gan_weight * binary_cross_entropy(on_fake, 1.0, from_logits=True)
        total = total + losses["gen_gan"]
    if l1_weight:
        losses["gen_l1"] = l1_weight * (fake - targets).abs().mean()
        total = total + losses["gen_l1"]
    update(total, optimizers["generator"])
    discriminator.requires_grad_(True)
    return {name: value.detach() for name, value in losses.items()}


def linear_decay(epoch: int, constant: int, decay: int) -> float:
    """The factor of the learning rate: 1 for `constant` epochs, then linearly to 0 over `decay` epochs.

    Example:
        >>> [linear_decay(epoch, 2, 2) for epoch in range(5)]
        [1.0, 1.0, 1.0, 0.5, 0.0]

    Source: Isola et al. 2017, appendix 6.2; Zhu et al. 2017, section 4 (100 + 100 epochs).
    """
    return min(1.0, max(0.0, 1.0 - (epoch - constant) / max(decay, 1)))
