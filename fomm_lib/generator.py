"""The generator: warp the source's features, mask what a warp cannot know, paint the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock
from fomm_lib.geometry import resize_flow, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.motion import DenseMotion, DenseMotionNetwork


@dataclass
class EncodedSource:
    """What the generator needs of a source and computes from the source alone: once for a whole video.

    Attributes:
        picture: (B, C, H, W), the source.
        features: (B, c, H/2^n, W/2^n), of the encoder.
        small: (B, C, h, w), the source at the size at which motion is estimated; None without dense motion.
    """

    picture: Tensor
    features: Tensor
    small: Tensor | None

    def expand(self, batch: int) -> EncodedSource:
        """One source for `batch` driving frames, without copying it; B must be 1."""
        parts = (self.picture, self.features, self.small)
        return EncodedSource(*(None if part is None else part.expand(batch, -1, -1, -1) for part in parts))


@dataclass
class Generated:
    """A generated picture, and how it came about.

    Attributes:
        prediction: (B, C, H, W) in [0, 1].
        mask: (B, K+1, h, w), the share of each sparse motion; None without dense motion, as the next two.
        deformation: (B, h, w, 2), the backward flow.
        occlusion_map: (B, 1, h, w) in [0, 1]; None where not estimated.
        sparse_deformed: (B, K+1, C, h, w), the small source warped by each motion; only if asked for.
        deformed: (B, C, H, W), the source itself warped: a picture for people; only if asked for.
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
    its size; what the mask takes away the bottleneck and the decoder paint.

    Args:
        num_channels, num_kp: C and K.
        block_expansion, max_features, num_down_blocks, num_bottleneck_blocks: widths and depths.
        estimate_occlusion_map: False for a model without one.
        dense_motion_params: arguments of `DenseMotionNetwork`, or None for a plain auto-encoder.

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
    ):
        super().__init__()
        self.dense_motion_network = None
        if dense_motion_params is not None:
            self.dense_motion_network = DenseMotionNetwork(
                num_kp=num_kp,
                num_channels=num_channels,
                estimate_occlusion_map=estimate_occlusion_map,
                **dense_motion_params,
            )
        width = [min(max_features, block_expansion * 2**i) for i in range(num_down_blocks + 1)]
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
        """What depends on the source alone. (B, C, H, W) in [0, 1]."""
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
        align_corners: bool = True,
        for_people: bool = False,
    ) -> Generated:
        """
        Args:
            source: (B, C, H, W) in [0, 1], or what `encode` made of it.
            kp_source, kp_driving: B sets of K keypoints.
            align_corners: of every warp; see `geometry`.
            for_people: also give `sparse_deformed` and `deformed`, which only pictures for people need.
        """
        encoded = source if isinstance(source, EncodedSource) else self.encode(source)
        if self.dense_motion_network is None:
            return Generated(self.decode(encoded.features))
        motion = self.dense_motion_network(encoded.small, kp_source, kp_driving, align_corners=align_corners)
        features = self.deform(encoded.features, motion, align_corners=align_corners)
        generated = Generated(
            prediction=self.decode(features),
            mask=motion.mask,
            deformation=motion.deformation,
            occlusion_map=motion.occlusion,
        )
        if for_people:
            generated.sparse_deformed = motion.sparse_deformed
            flow = resize_flow(motion.deformation, *encoded.picture.shape[-2:])
            generated.deformed = warp(encoded.picture, flow, align_corners=align_corners)
        return generated

    def deform(self, features: Tensor, motion: DenseMotion, *, align_corners: bool = True) -> Tensor:
        """Features of the source, warped by the motion and masked by its occlusion map: (B, c, h, w)."""
        size = features.shape[-2:]
        features = warp(features, resize_flow(motion.deformation, *size), align_corners=align_corners)
        occlusion = motion.occlusion
        if occlusion is None:
            return features
        if occlusion.shape[-2:] != size:
            occlusion = F.interpolate(occlusion, size=size, mode="bilinear", align_corners=False)
        return features * occlusion

    def decode(self, features: Tensor) -> Tensor:
        """The picture that deformed features stand for: (B, c, h, w) to (B, C, H, W) in [0, 1]."""
        features = self.bottleneck(features)
        for block in self.up_blocks:
            features = block(features)
        return torch.sigmoid(self.final(features))
