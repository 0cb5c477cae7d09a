"""Building blocks that the networks share. Their parts are named as in the published checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.errors import InputError


class DownBlock(nn.Module):
    """conv 3x3, batch norm, ReLU, 2x2 average pool: (B, in, H, W) to (B, out, H/2, W/2).

    Source: FOMM, supplementary A (Johnson et al. 2016 and U-Net blocks).
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)


class UpBlock(nn.Module):
    """Nearest-neighbour upsampling by 2, conv 3x3, batch norm, ReLU: (B, in, H, W) to (B, out, 2H, 2W)."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.relu(self.norm(self.conv(x)))


class SameBlock(nn.Module):
    """conv, batch norm, ReLU at the same size: (B, in, H, W) to (B, out, H, W)."""

    def __init__(self, in_features: int, out_features: int, kernel_size: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Pre-activation residual block: x + conv(relu(bn(conv(relu(bn(x)))))), (B, c, H, W) to the same shape.

    Source: He et al., Identity Mappings in Deep Residual Networks, 2016.
    """

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(features, features, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm2d(features)
        self.norm2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        out = self.conv2(F.relu(self.norm2(out)))
        return x + out


class Encoder(nn.Module):
    """The first half of an hourglass: returns all levels, the input first, for the decoder."""

    def __init__(self, block_expansion: int, in_features: int, num_blocks: int, max_features: int):
        super().__init__()
        width = channel_widths(block_expansion, num_blocks, max_features)
        self.down_blocks = nn.ModuleList(
            DownBlock(in_features if i == 0 else width[i], width[i + 1]) for i in range(num_blocks)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class Decoder(nn.Module):
    """The second half of an hourglass: concatenates every output with the encoder level of its size.

    Args:
        extra_features: channels that every level has beyond those of the encoder.
    """

    def __init__(
        self,
        block_expansion: int,
        in_features: int,
        num_blocks: int,
        max_features: int,
        extra_features: int = 0,
    ):
        super().__init__()
        width = channel_widths(block_expansion, num_blocks, max_features)
        # All blocks but the first also receive a skip connection, which doubles their input channels.
        self.up_blocks = nn.ModuleList(
            UpBlock(width[i + 1] * (1 if i == num_blocks - 1 else 2) + extra_features, width[i])
            for i in reversed(range(num_blocks))
        )
        self.out_features = block_expansion + in_features + extra_features

    def forward(self, levels: list[Tensor]) -> Tensor:
        out = levels[-1]
        for block, skip in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            out = torch.cat([block(out), skip], dim=1)
        return out


class Hourglass(nn.Module):
    """U-Net whose last skip connection is the input itself: (B, in, H, W) to (B, block_expansion + in, H, W).

    Level i has min(max_features, block_expansion 2^i) channels.

    Raises:
        InputError: H or W is not a multiple of 2^num_blocks.

    Source: Ronneberger et al., U-Net, 2015; FOMM, supplementary A.

    Example:
        >>> Hourglass(32, in_features=3, num_blocks=5, max_features=1024)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 35, 64, 64])
    """

    def __init__(self, block_expansion: int, in_features: int, num_blocks: int = 3, max_features: int = 256):
        super().__init__()
        self.encoder = Encoder(block_expansion, in_features, num_blocks, max_features)
        self.decoder = Decoder(block_expansion, in_features, num_blocks, max_features)
        self.out_features = self.decoder.out_features

    def forward(self, x: Tensor) -> Tensor:
        halvings = len(self.encoder.down_blocks)
        advice = "; choose another image size, scale_factor or num_blocks"
        require_multiple(x, 2**halvings, f"an hourglass of {halvings} blocks", advice)
        return self.decoder(self.encoder(x))


class AntiAliasDownsample(nn.Module):
    """Blur with a Gaussian, then keep every (1/scale)-th pixel, starting at the first.

    (B, C, H, W) to (B, C, scale H, scale W), with sigma = (1/scale - 1) / 2 and a kernel of
    2 round(4 sigma) + 1 pixels. It has two flaws that must stay, because the published weights were trained
    with them: zero padding darkens the border, and the sampling phase is not centred. At scale 1 it returns
    its input.

    Args:
        channels: C.
        scale: 1 divided by a whole number.
    Raises:
        InputError: 1 / scale is not a whole number.

    Example:
        >>> AntiAliasDownsample(3, 0.25)(torch.rand(1, 3, 256, 256)).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, channels: int, scale: float):
        super().__init__()
        if not 0 < scale <= 1 or abs(round(1 / scale) * scale - 1) > 1e-6:
            raise InputError(f"scale must be 1 divided by a whole number (1, 0.5, 0.25, ...), not {scale}")
        self.step = round(1 / scale)
        if self.step > 1:
            sigma = (self.step - 1) / 2
            radius = round(4 * sigma)
            # Numbers are computed on the CPU, since on the device "meta", under which `load_model` makes a
            # plan, PyTorch imports its compiler for an addition or a product: 2 s.
            with torch.device("cpu"):
                x = torch.arange(-radius, radius + 1, dtype=torch.float32)
                gaussian = torch.exp(-(x**2) / (2 * sigma**2))
                kernel = gaussian[:, None] * gaussian[None, :]
                kernel = kernel / kernel.sum()
            weight = torch.empty(channels, 1, *kernel.shape, dtype=kernel.dtype)
            self.register_buffer("weight", weight.copy_(kernel))

    def forward(self, x: Tensor) -> Tensor:
        if self.step == 1:
            return x
        radius = self.weight.shape[-1] // 2
        return F.conv2d(x, self.weight.to(x.dtype), stride=self.step, padding=radius, groups=x.shape[1])


class ImagePyramid(nn.Module):
    """An image at several scales: (B, C, H, W) to {scale: (B, C, scale H, scale W)}.

    Source: FOMM, section 3.3 (the perceptual loss is summed over resolutions).

    Example:
        >>> {s: tuple(p.shape[-2:]) for s, p in ImagePyramid(3, [1, 0.5])(torch.rand(1, 3, 64, 64)).items()}
        {1: (64, 64), 0.5: (32, 32)}
    """

    def __init__(self, channels: int, scales: list[float]):
        super().__init__()
        self.scales = list(scales)
        # Checkpoints do not contain the filters: they follow from the scales.
        self.downs = nn.ModuleDict(
            {scale_name(scale): AntiAliasDownsample(channels, scale) for scale in self.scales}
        )

    def forward(self, x: Tensor) -> dict[float, Tensor]:
        return {scale: self.downs[scale_name(scale)](x) for scale in self.scales}


def require_multiple(image: Tensor, multiple: int, network: str, advice: str = "") -> None:
    """Raises:
    InputError: a side of the image is not a multiple.
    """
    height, width = image.shape[-2:]
    if height % multiple or width % multiple:
        text = f"takes sides that are multiples of {multiple}, not {height}x{width}"
        raise InputError(f"{network} {text}{advice}")


def scale_name(scale: float) -> str:
    """A scale as part of a module's name, where dots are not allowed.

    Example:
        >>> scale_name(0.5)
        '0-5'
    """
    return f"{scale:g}".replace(".", "-")


def channel_widths(block_expansion: int, num_blocks: int, max_features: int) -> list[int]:
    """Channels of the levels 0 to num_blocks: level i has min(max_features, block_expansion 2^i).

    Example:
        >>> channel_widths(64, 4, 256)
        [64, 128, 256, 256, 256]
    """
    return [min(max_features, block_expansion * 2**i) for i in range(num_blocks + 1)]
