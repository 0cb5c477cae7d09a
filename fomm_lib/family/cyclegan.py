"""CycleGAN: images of one kind to images of another kind, learned from two sets of images without pairs.

Two generators, G_AB and G_BA, and two discriminators, one a kind. Nothing says which B belongs to an A, so
the adversarial losses alone would accept any B. The cycle loss asks that A -> B -> A comes back, and thereby
that G_AB(A) keeps what is needed to find A again.

Images are in [-1, 1], as in `pix2pix`.

Source: J.-Y. Zhu et al., *Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks*,
ICCV 2017.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fomm_lib.blocks import require_multiple
from fomm_lib.family.pix2pix import norm_layer, norm_needs_bias
from fomm_lib.gan import lsgan_discriminator_loss, lsgan_generator_loss, update


class ResNetGenerator(nn.Module):
    """(B, in, H, W) in [-1, 1] to (B, out, H, W) in [-1, 1], by residual blocks at a quarter of the size.

    conv 7x7; two convs 3x3 stride 2; `blocks` residual blocks; two transposed convs 3x3 stride 2; conv 7x7;
    tanh. Reflection padding, instance norm without parameters, ReLU.

    Args:
        in_channels, out_channels: of the images.
        width: channels of the first convolution; 64 as published.
        blocks: 6 for 128 pixels, 9 for 256 as published.
        norm: "instance" as published, or "batch".

    Raises:
        InputError: sides that are not multiples of 4.

    Source: Zhu et al. 2017, appendix 7.2; Johnson et al. 2016.

    Example:
        >>> ResNetGenerator(width=8, blocks=6)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        norm: str = "instance",
    ):
        super().__init__()
        bias = norm_needs_bias(norm)

        def normed(conv: nn.Module, channels: int) -> list[nn.Module]:
            return [conv, norm_layer(norm, channels), nn.ReLU()]

        parts = [
            nn.ReflectionPad2d(3),
            *normed(nn.Conv2d(in_channels, width, 7, bias=bias), width),
        ]
        for channels in (width, 2 * width):
            parts += normed(nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=bias), 2 * channels)
        parts += [ReflectedResidual(4 * width, norm) for _ in range(blocks)]
        for channels in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, output_padding=1, bias=bias)
            parts += normed(up, channels // 2)
        parts += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor) -> Tensor:
        require_multiple(image, 4, "a ResNet generator")
        return self.layers(image)


class ReflectedResidual(nn.Module):
    """x + [reflect, conv 3x3, norm, ReLU, reflect, conv 3x3, norm], the same shape."""

    def __init__(self, channels: int, norm: str = "instance"):
        super().__init__()
        bias = norm_needs_bias(norm)
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ImagePool:
    """Generated images of the past for the discriminator, so that it does not forget what the generator did.

    Until `size` images are stored, an image is stored and returned. Then with probability 1/2 a random stored
    image is returned and the new one stored in its place; else the new one is returned.

    Args:
        size: 50 as published; 0 returns every image as it is.
        rng: the random numbers; `random.Random(seed)`.

    Source: Shrivastava et al. 2017, section 2.3; Zhu et al. 2017, section 4.

    Example:
        >>> pool = ImagePool(2, random.Random(0))
        >>> pool.query(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, size: int = 50, rng: random.Random | None = None):
        self.size = size
        self.rng = rng if rng is not None else random.Random(0)
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """A batch (B, C, H, W) for another of the same shape, partly of earlier images; without gradient."""
        return torch.stack([self._query_one(image) for image in images.detach()])

    def _query_one(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if self.size == 0 or self.rng.uniform(0, 1) <= 0.5:
            return image
        place = self.rng.randint(0, self.size - 1)
        old, self.images[place] = self.images[place], image.clone()
        return old


def cyclegan_step(
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    pools: Mapping[str, ImagePool],
    real_a: Tensor,
    real_b: Tensor,
    *,
    cycle_weight: float = 10.0,
    identity_weight: float = 0.5,
) -> dict[str, Tensor]:
    """One update of both generators, with the discriminators fixed, then one of both discriminators.

    L_G = mean (1 - D_B(G_AB(A)))^2 + mean (1 - D_A(G_BA(B)))^2
          + cycle_weight [ mean |G_BA(G_AB(A)) - A| + mean |G_AB(G_BA(B)) - B|
                           + identity_weight ( mean |G_AB(B) - B| + mean |G_BA(A) - A| ) ]
    L_D = 1/2 [ mean (1 - D(real))^2 + mean D(fake of the pool)^2 ], for either kind

    Args:
        networks: "ab" and "ba" (generators), "a" and "b" (discriminators, named after the kind they see: the
            published code calls the discriminator of B `D_A`).
        optimizers: "generators" (one for both) and "discriminators" (one for both); published: Adam, 2e-4,
            betas (0.5, 0.999).
        pools: "a" and "b", of generated images of either kind.
        real_a, real_b: unpaired batches (B, C, H, W) in [-1, 1].
        cycle_weight: 0 for no cycle and no identity loss.
        identity_weight: relative to `cycle_weight`; 0.5 keeps colours, 0 leaves it out.

    Returns:
        `gen_ab`, `gen_ba`, `cycle_a`, `cycle_b`, `identity_a` (of G_BA on A), `identity_b`, all weighted, and
        `disc_a`, `disc_b`, halved; detached scalars. Losses of weight 0 are left out.

    Source: Zhu et al. 2017, equations 1 to 3, sections 4 and 5.2.
    """
    generators, discriminators = (networks["ab"], networks["ba"]), (networks["a"], networks["b"])
    for network in discriminators:
        network.requires_grad_(False)
    losses: dict[str, Tensor] = {}
    fake_b, fake_a = generators[0](real_a), generators[1](real_b)
    losses["gen_ab"] = lsgan_generator_loss(networks["b"](fake_b))
    losses["gen_ba"] = lsgan_generator_loss(networks["a"](fake_a))
    if cycle_weight:
        losses["cycle_a"] = cycle_weight * (generators[1](fake_b) - real_a).abs().mean()
        losses["cycle_b"] = cycle_weight * (generators[0](fake_a) - real_b).abs().mean()
    if cycle_weight and identity_weight:
        weight = cycle_weight * identity_weight
        losses["identity_a"] = weight * (generators[1](real_a) - real_a).abs().mean()
        losses["identity_b"] = weight * (generators[0](real_b) - real_b).abs().mean()
    update(sum(losses.values()), optimizers["generators"])

    for network in discriminators:
        network.requires_grad_(True)
    for kind, real, fake in (("a", real_a, fake_a), ("b", real_b, fake_b)):
        on_fake = networks[kind](pools[kind].query(fake))
        losses[f"disc_{kind}"] = lsgan_discriminator_loss(networks[kind](real), on_fake) / 2
    update(losses["disc_a"] + losses["disc_b"], optimizers["discriminators"])
    return {name: value.detach() for name, value in losses.items()}
