"""The patch discriminator, whose features also serve for feature matching."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from fomm_lib.blocks import scale_name
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
    """Says of every patch of a picture how real it looks: 1 is the target for real, 0 for generated.

    Args:
        num_channels: of the picture.
        block_expansion, max_features, num_blocks: block i gives min(max_features, block_expansion 2^(i+1))
            channels.
        sn: spectral normalisation of every convolution (Miyato et al. 2018).
        use_kp: also look at the Gaussians of the driving keypoints.
        num_kp: how many those are.

    Raises:
        ValueError: `use_kp`, and no keypoints were given.

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
        width = [min(max_features, block_expansion * 2**i) for i in range(num_blocks + 1)]
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

    def forward(self, picture: Tensor, kp: Keypoints | None = None) -> tuple[list[Tensor], Tensor]:
        """(B, C, H, W) to the feature maps of every block and the prediction (B, 1, h, w)."""
        out = picture
        if self.use_kp:
            if kp is None:
                raise ValueError(
                    "this discriminator looks at keypoints too (use_kp): pass kp=driving keypoints"
                )
            heatmaps = gaussian_heatmaps(kp.value, *picture.shape[-2:])
            out = torch.cat([out, heatmaps.to(out.dtype)], dim=1)
        features = []
        for block in self.down_blocks:
            out = block(out)
            features.append(out)
        return features, self.conv(out)


class MultiScaleDiscriminator(nn.Module):
    """One patch discriminator a scale.

    Args:
        scales: of the pyramid at which to look, as 1 / whole numbers.
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
        """A picture at every scale to (features, prediction) at every scale."""
        return {scale: self.discs[scale_name(scale)](pyramid[scale], kp) for scale in self.scales}
