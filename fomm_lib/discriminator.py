"""The patch discriminator; its features are also used by the feature matching loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from fomm_lib.blocks import channel_widths, scale_name
from fomm_lib.geometry import gaussian_heatmaps
from fomm_lib.keypoints import Keypoints


class DiscriminatorBlock(nn.Module):
    """conv 4x4 without padding, instance norm (optional), leaky ReLU 0.2, 2x2 average pool (optional)."""

    def __init__(self, in_features: int, out_features: int, norm: bool, pool: bool, sn: bool):
        super().__init__()
        self.conv = nn.Conv2d(in_features, out_features, kernel_size=4)
        if sn:
            self.conv = spectral_norm(self.conv)
        self.norm = nn.InstanceNorm2d(out_features, affine=True) if norm else None
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        if self.norm is not None:
            out = self.norm(out)
        out = F.leaky_relu(out, 0.2)
        return F.avg_pool2d(out, 2) if self.pool else out


class Discriminator(nn.Module):
    """Predicts for every patch of an image how real it looks: the target is 1 for real, 0 for generated.

    Args:
        num_channels: of the image.
        block_expansion, max_features, num_blocks: block i gives min(max_features, block_expansion 2^(i+1))
            channels.
        sn: spectral normalisation of every convolution (Miyato et al. 2018).
        use_kp: whether the heatmaps of the driving keypoints are input too.
        num_kp: number of keypoints.

    Raises:
        ValueError: `use_kp` is set and no keypoints are given.

    Source: FOMM, section 3.3 and supplementary A; Isola et al. 2017 (PatchGAN).
    """

    def __init__(
        self,
        num_channels: int = 3,
        block_expansion: int = 64,
        num_blocks: int = 4,
        max_features: int = 512,
        sn: bool = False,
        use_kp: bool = False,
        num_kp: int = 10,
    ):
        super().__init__()
        width = channel_widths(block_expansion, num_blocks, max_features)
        self.down_blocks = nn.ModuleList(
            DiscriminatorBlock(
                num_channels + num_kp * use_kp if i == 0 else width[i],
                width[i + 1],
                norm=i != 0,
                pool=i != num_blocks - 1,
                sn=sn,
            )
            for i in range(num_blocks)
        )
        self.conv = nn.Conv2d(width[-1], 1, kernel_size=1)
        if sn:
            self.conv = spectral_norm(self.conv)
        self.use_kp = use_kp

    def forward(self, image: Tensor, kp: Keypoints | None = None) -> tuple[list[Tensor], Tensor]:
        """(B, C, H, W) to the feature maps of every block and the prediction (B, 1, h, w)."""
        out = image
        if self.use_kp:
            if kp is None:
                raise ValueError("this discriminator needs keypoints (use_kp): pass kp=driving keypoints")
            heatmaps = gaussian_heatmaps(kp.value, *image.shape[-2:])
            out = torch.cat([out, heatmaps.to(out.dtype)], dim=1)
        features = []
        for block in self.down_blocks:
            out = block(out)
            features.append(out)
        return features, self.conv(out)


class MultiScaleDiscriminator(nn.Module):
    """One patch discriminator per scale.

    Args:
        scales: levels of the pyramid that are used, as 1 / whole numbers.
        other arguments: as `Discriminator`.

    Example:
        >>> discriminator = MultiScaleDiscriminator(scales=[1], block_expansion=32)
        >>> features, prediction = discriminator({1: torch.rand(1, 3, 256, 256)})[1]
        >>> prediction.shape
        torch.Size([1, 1, 26, 26])
    """

    def __init__(self, scales: tuple[float, ...] = (1,), **discriminator_params):
        super().__init__()
        self.scales = tuple(scales)
        self.discs = nn.ModuleDict(
            {scale_name(scale): Discriminator(**discriminator_params) for scale in self.scales}
        )

    def forward(
        self, pyramid: dict[float, Tensor], kp: Keypoints | None = None
    ) -> dict[float, tuple[list[Tensor], Tensor]]:
        """An image at every scale to (features, prediction) at every scale."""
        return {scale: self.discs[scale_name(scale)](pyramid[scale], kp) for scale in self.scales}
