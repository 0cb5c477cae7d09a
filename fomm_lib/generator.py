"""The generator: warps the features of the source, masks what the source does not show, and inpaints it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock, channel_widths
from fomm_lib.geometry import resize_flow, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.motion import DenseMotion, DenseMotionNetwork


@dataclass
class EncodedSource:
    """What the generator computes from the source alone: it is the same for all frames of a video.

    Attributes:
        image: (B, C, H, W), the source; only visuals need it, and an exported generator is not given it.
        features: (B, c, H/2^n, W/2^n), of the encoder.
        small: (B, C, h, w), the source at the size at which motion is estimated; None without dense motion.
    """

    image: Tensor | None
    features: Tensor
    small: Tensor | None

    def expand(self, batch: int) -> EncodedSource:
        """One source for `batch` driving frames, without copying it; B must be 1."""
        parts = (self.image, self.features, self.small)
        return EncodedSource(*(None if part is None else part.expand(batch, -1, -1, -1) for part in parts))


@dataclass
class Generated:
    """A generated image and the intermediate results.

    Attributes:
        prediction: (B, C, H, W) in [0, 1].
        mask: (B, K+1, h, w), the weight of each sparse motion; None without dense motion, as the next two.
        deformation: (B, h, w, 2), the backward flow.
        occlusion_map: (B, 1, h, w) in [0, 1]; None if not estimated.
        sparse_deformed: (B, K+1, C, h, w), the small source warped by each motion; only with visuals.
        deformed: (B, C, H, W), the source itself, warped, for display; only with visuals.
    """

    prediction: Tensor
    mask: Tensor | None = None
    deformation: Tensor | None = None
    occlusion_map: Tensor | None = None
    sparse_deformed: Tensor | None = None
    deformed: Tensor | None = None


class OcclusionAwareGenerator(nn.Module):
    """Encoder, warp by the dense motion, mask by the occlusion map, residual bottleneck, decoder.

    xi' = occlusion * warp(xi, deformation), where xi are features of the source at 1 / 2^num_down_blocks of
    its size. The bottleneck and the decoder inpaint the masked parts.

    Args:
        num_channels, num_kp: C and K.
        block_expansion, max_features, num_down_blocks, num_bottleneck_blocks: widths and depths.
        estimate_occlusion_map: whether an occlusion map is estimated and applied.
        dense_motion_params: arguments of `DenseMotionNetwork`, or None for a plain auto-encoder.
        align_corners: of every warp, here and in the dense motion; see `geometry`.

    Example:
        >>> generator = OcclusionAwareGenerator(dense_motion_params={"scale_factor": 0.25})
        >>> kp = Keypoints(torch.zeros(1, 10, 2))
        >>> generator(torch.rand(1, 3, 256, 256), kp, kp).prediction.shape
        torch.Size([1, 3, 256, 256])

    Source: FOMM, section 3.2 and supplementary A.
    """

    def __init__(
        self,
        num_channels: int = 3,
        num_kp: int = 10,
        block_expansion: int = 64,
        max_features: int = 512,
        num_down_blocks: int = 2,
        num_bottleneck_blocks: int = 6,
        estimate_occlusion_map: bool = False,
        dense_motion_params: dict | None = None,
        align_corners: bool = True,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.dense_motion_network = None
        if dense_motion_params is not None:
            self.dense_motion_network = DenseMotionNetwork(
                num_kp=num_kp,
                num_channels=num_channels,
                estimate_occlusion_map=estimate_occlusion_map,
                align_corners=align_corners,
                **dense_motion_params,
            )
        width = channel_widths(block_expansion, num_down_blocks, max_features)
        self.first = SameBlock(num_channels, block_expansion, kernel_size=7)
        self.down_blocks = nn.ModuleList(
            DownBlock(block_expansion if i == 0 else width[i], width[i + 1]) for i in range(num_down_blocks)
        )
        self.bottleneck = nn.Sequential()
        for i in range(num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResidualBlock(width[-1]))
        self.up_blocks = nn.ModuleList(
            UpBlock(width[i + 1], width[i]) for i in reversed(range(num_down_blocks))
        )
        self.final = nn.Conv2d(width[0], num_channels, kernel_size=7, padding=3)

    def encode(self, source: Tensor) -> EncodedSource:
        """The part that depends on the source alone, (B, C, H, W) in [0, 1]."""
        features = self.first(source)
        for block in self.down_blocks:
            features = block(features)
        small = None if self.dense_motion_network is None else self.dense_motion_network.downsample(source)
        return EncodedSource(source, features, small)

    def forward(
        self,
        source: Tensor | EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        with_visuals: bool = False,
    ) -> Generated:
        """
        Args:
            source: (B, C, H, W) in [0, 1], or the result of `encode`.
            kp_source, kp_driving: B sets of K keypoints.
            with_visuals: also return `sparse_deformed` and `deformed`, which are only for display.
        """
        encoded = source if isinstance(source, EncodedSource) else self.encode(source)
        if self.dense_motion_network is None:
            return Generated(self.decode(encoded.features))
        motion = self.dense_motion_network(encoded.small, kp_source, kp_driving)
        features = self.deform(encoded.features, motion)
        generated = Generated(
            prediction=self.decode(features),
            mask=motion.mask,
            deformation=motion.deformation,
            occlusion_map=motion.occlusion,
        )
        if with_visuals:
            generated.sparse_deformed = motion.sparse_deformed
            flow = resize_flow(motion.deformation, *encoded.image.shape[-2:])
            generated.deformed = warp(encoded.image, flow, align_corners=self.align_corners)
        return generated

    def deform(self, features: Tensor, motion: DenseMotion) -> Tensor:
        """Features of the source, warped by the motion and masked by its occlusion map: (B, c, h, w)."""
        size = features.shape[-2:]
        features = warp(features, resize_flow(motion.deformation, *size), align_corners=self.align_corners)
        occlusion = motion.occlusion
        if occlusion is None:
            return features
        if occlusion.shape[-2:] != size:
            occlusion = F.interpolate(occlusion, size=size, mode="bilinear", align_corners=False)
        return features * occlusion

    def decode(self, features: Tensor) -> Tensor:
        """Deformed features to an image: (B, c, h, w) to (B, C, H, W) in [0, 1]."""
        features = self.bottleneck(features)
        for block in self.up_blocks:
            features = block(features)
        return torch.sigmoid(self.final(features))
