"""The generator: warps the features of the source, masks what the source does not show, and inpaints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock, channel_widths
from fomm_lib.geometry import resize_displacement, resize_flow, warp
from fomm_lib.inpainting import Inpainter, SkipDecoder
from fomm_lib.keypoints import Keypoints
from fomm_lib.motion import DenseMotion, DenseMotionNetwork, heatmap_difference, opening_maps


@dataclass
class EncodedSource:
    """What the generator computes from the source alone: it is the same for all frames of a video.

    Attributes:
        image: (B, C, H, W), the source; only visuals need it, and an exported generator is not given it.
        features: (B, c, H/2^n, W/2^n), of the encoder.
        small: (B, C, h, w), the source at the size at which motion is estimated; None without dense motion.
        skips: features of the sizes between that of `features` and that of the image, small to large, and the
            image; empty in a generator without skips.
    """

    image: Tensor | None
    features: Tensor
    small: Tensor | None
    skips: tuple[Tensor, ...] = ()

    def expand(self, batch: int) -> EncodedSource:
        """One source for `batch` driving frames, without copying it; B must be 1."""

        def repeated(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.expand(batch, -1, -1, -1)

        parts = (repeated(part) for part in (self.image, self.features, self.small))
        return EncodedSource(*parts, tuple(map(repeated, self.skips)))


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
        skips: decode with warped features of the source at every size, see `inpainting.SkipDecoder`.
        inpainting_blocks, inpainting_features: depth and width of an `inpainting.Inpainter` before the
            bottleneck; none with 0 blocks. Its hint is the occlusion map.
        keypoint_maps: give the inpainter also the differences of the keypoints' heatmaps.
        opening_maps: pairs of keypoints at the lids and lips, whose distances the inpainter is told, see
            `motion.opening_maps`.
        fill: let the decoder with `skips` take colours around what is hidden, see `inpainting.fill_hidden`.

    The last six are beyond the paper. With them an occlusion map must be estimated.

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
        skips: bool = False,
        inpainting_blocks: int = 0,
        inpainting_features: int = 128,
        keypoint_maps: bool = False,
        opening_maps: Sequence[tuple[int, int]] = (),
        fill: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.keypoint_maps = keypoint_maps
        self.opening_pairs = opening_maps
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
        self.inpainter = self.decoder = None
        if inpainting_blocks:
            hints = 1 + num_kp * keypoint_maps + 2 * len(opening_maps)
            self.inpainter = Inpainter(width[-1], hints, inpainting_blocks, inpainting_features)
        if skips:
            self.decoder = SkipDecoder(width, num_channels, fill)
            return
        self.up_blocks = nn.ModuleList(
            UpBlock(width[i + 1], width[i]) for i in reversed(range(num_down_blocks))
        )
        self.final = nn.Conv2d(width[0], num_channels, kernel_size=7, padding=3)

    def encode(self, source: Tensor) -> EncodedSource:
        """The part that depends on the source alone, (B, C, H, W) in [0, 1]."""
        levels = [self.first(source)]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        small = None if self.dense_motion_network is None else self.dense_motion_network.downsample(source)
        skips = () if self.decoder is None else (*reversed(levels[1:-1]), source)
        return EncodedSource(source, levels[-1], small, skips)

    def forward(
        self,
        source: Tensor | EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        with_visuals: bool = False,
        hole: Tensor | None = None,
    ) -> Generated:
        """
        Args:
            source: (B, C, H, W) in [0, 1], or the result of `encode`.
            kp_source, kp_driving: B sets of K keypoints.
            with_visuals: also return `sparse_deformed` and `deformed`, which are only for display.
            hole: (B, 1, H, W), 1 where the source is hidden whatever the motion says, else 0; to learn and to
                measure inpainting. Needs an occlusion map.
        """
        encoded = source if isinstance(source, EncodedSource) else self.encode(source)
        if self.dense_motion_network is None:
            return Generated(self.decode(encoded.features))
        motion = self.dense_motion_network(encoded.small, kp_source, kp_driving)
        if hole is not None:
            motion.occlusion = motion.occlusion * (1 - resize_occlusion(hole, motion.occlusion.shape[-2:]))
        features = self.deform(encoded.features, motion)
        if self.inpainter is not None:
            features = self.inpainter(features, self.hints(motion, kp_source, kp_driving, features))
        generated = Generated(
            prediction=self.decode(features, *self.deform_skips(encoded.skips, motion, hole)),
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
        return features * resize_occlusion(occlusion, size)

    def hints(
        self, motion: DenseMotion, kp_source: Keypoints, kp_driving: Keypoints, features: Tensor
    ) -> Tensor:
        """What the inpainter is told, at the size of `features`: the occlusion map; with `keypoint_maps` the
        difference of the heatmaps of each keypoint; then `motion.opening_maps`. (B, 1 + K + 2 P, h, w).
        """
        size = features.shape[-2:]
        hints = [resize_occlusion(motion.occlusion, size)]
        if self.keypoint_maps:
            hints.append(heatmap_difference(kp_source, kp_driving, *size)[:, 1:])
        if self.opening_pairs:
            hints.append(opening_maps(kp_source, kp_driving, self.opening_pairs, *size))
        return torch.cat(hints, dim=1)

    def deform_skips(
        self, skips: tuple[Tensor, ...], motion: DenseMotion, hole: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What `SkipDecoder` takes beside features: the occlusion map at the size of the image, and the skips
        of `EncodedSource`, warped, and all but the last, the image, masked. That has only the `hole` black.
        """
        if not skips:
            return ()
        result = []
        for skip in skips:
            flow = resize_displacement(motion.deformation, *skip.shape[-2:], align_corners=self.align_corners)
            # At the border the source goes on; in published models, whose warps fill with zeros, it darkens.
            result.append(warp(skip, flow, align_corners=self.align_corners, padding_mode="border"))
        occlusions = [resize_occlusion(motion.occlusion, skip.shape[-2:]) for skip in skips]
        if hole is not None:  # else a decoder learns that what is masked may be taken all the same
            result[-1] = result[-1] * (1 - hole)
            occlusions[-1] = occlusions[-1] * (1 - hole)
        masked = (skip * occlusion for skip, occlusion in zip(result[:-1], occlusions, strict=False))
        return occlusions[-1], *masked, result[-1]

    def decode(self, features: Tensor, *skips: Tensor) -> Tensor:
        """Deformed features to an image: (B, c, h, w) to (B, C, H, W) in [0, 1].

        Args:
            skips: in a generator with skips what `deform_skips` gives.
        """
        features = self.bottleneck(features)
        if self.decoder is not None:
            return self.decoder(features, *skips)
        for block in self.up_blocks:
            features = block(features)
        return torch.sigmoid(self.final(features))


def resize_occlusion(occlusion: Tensor, size: tuple[int, int]) -> Tensor:
    """An occlusion map (B, 1, h, w) at another size, bilinearly."""
    if tuple(occlusion.shape[-2:]) == tuple(size):
        return occlusion
    return F.interpolate(occlusion, size=size, mode="bilinear", align_corners=False)
