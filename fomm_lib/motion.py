"""From keypoints to a dense backward flow and an occlusion map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fomm_lib.blocks import AntiAliasDownsample, Hourglass
from fomm_lib.geometry import (
    at_least_float32,
    coordinate_grid,
    first_order_motion,
    gaussian_heatmaps,
    warp,
)
from fomm_lib.keypoints import Keypoints

OPENING = 0.05
"""Distance of the lids of an open eye, in units of [-1, 1]: 6 pixels of 256."""


@dataclass
class DenseMotion:
    """The motion from driving frame to source, for every pixel.

    Attributes:
        deformation: (B, h, w, 2), the backward flow, points of the source in [-1, 1].
        mask: (B, K+1, h, w), the weight of each sparse motion, background first; sums to 1 over the motions.
        occlusion: (B, 1, h, w) in [0, 1], 1 where the source shows what the driving frame shows; None if not
            estimated.
        sparse_motions: (B, K+1, h, w, 2), the motions that are combined; the first is the identity.
        sparse_deformed: (B, K+1, C, h, w), the small source warped by each.
    """

    deformation: Tensor
    mask: Tensor
    occlusion: Tensor | None
    sparse_motions: Tensor
    sparse_deformed: Tensor


def heatmap_difference(kp_source: Keypoints, kp_driving: Keypoints, height: int, width: int) -> Tensor:
    """H_k = G(p_driving,k) - G(p_source,k), preceded by a map of zeros for the background.

    They show the network the position of each keypoint in both images.

    Returns:
        (B, K+1, height, width), in [-1, 1].

    Source: FOMM, section 3.1, eq. (6).
    """
    difference = gaussian_heatmaps(kp_driving.value, height, width) - gaussian_heatmaps(
        kp_source.value, height, width
    )
    background = torch.zeros_like(difference[:, :1])
    return torch.cat([background, difference], dim=1)


def opening_maps(
    kp_source: Keypoints, kp_driving: Keypoints, pairs: Sequence[tuple[int, int]], height: int, width: int
) -> Tensor:
    """How far eyes and mouth are open, and how far they open or close: two maps for each pair of keypoints.

        G(m) d_driving / s  and  G(m) (d_driving - d_source) / s,    d = |p_j - p_k|,  s = OPENING

    m is the middle of the pair in the driving frame. A lid that closes moves by less than a heatmap of
    `heatmap_difference` is wide: those of its two keypoints hardly change, the maps of their distance do.

    Args:
        pairs: (j, k), keypoints that are led to the two lids of an eye, to both lips, to the corners of the
            mouth.
    Returns:
        (B, 2 P, height, width), the P maps of distances first; not limited, but about 1 at an open eye.

    Example:
        >>> kp = Keypoints(torch.tensor([[[0.0, -0.025], [0.0, 0.025]]]))
        >>> maps = opening_maps(kp, kp, [(0, 1)], 65, 65)
        >>> maps.shape, round(maps[0, 0].max().item(), 6), maps[0, 1].max().item()
        (torch.Size([1, 2, 65, 65]), 1.0, 0.0)

    Source: this course; the loss that makes the distances exact is `pretraining.led_loss`.
    """
    pairs = [list(pair) for pair in pairs]
    driving, source = kp_driving.value[:, pairs], kp_source.value[:, pairs]  # (B, P, 2, 2)
    now, before = ((ends[:, :, 0] - ends[:, :, 1]).norm(dim=-1) / OPENING for ends in (driving, source))
    around = gaussian_heatmaps(driving.mean(2), height, width)
    return torch.cat([around * size[..., None, None] for size in (now, now - before)], dim=1)


def sparse_motions(kp_source: Keypoints, kp_driving: Keypoints, height: int, width: int) -> Tensor:
    """The identity for the background, then the first-order motion of every keypoint.

    Returns:
        (B, K+1, height, width, 2), points of the source; see `geometry.first_order_motion`.

    Source: FOMM, section 3.1, eq. (4).
    """
    grid = coordinate_grid(height, width, device=kp_source.value.device, dtype=kp_source.value.dtype)
    motions = first_order_motion(grid, kp_source, kp_driving)
    identity = grid.expand(motions.shape[0], 1, -1, -1, -1)
    return torch.cat([identity, motions], dim=1)


class DenseMotionNetwork(nn.Module):
    """Combines K local motions and the identity into one dense backward flow, and predicts an occlusion map.

    T(z) = M_0(z) z + sum_k M_k(z) T_k(z), with masks M from a softmax over the K + 1 motions. The masks come
    from an hourglass whose input has, for every motion, the difference of the keypoint's heatmaps and the
    source warped by that motion: (K+1)(C+1) channels.

    Args:
        num_kp, num_channels: K and C.
        block_expansion, max_features, num_blocks: of the hourglass.
        scale_factor: 1 / a whole number; the fraction of the image's size at which motion is estimated.
        estimate_occlusion_map: whether an occlusion map is estimated.
        align_corners: of the warp of the small source; see `geometry`.

    Raises:
        InputError: `scale_factor` is not 1 / a whole number, or an image does not fit the hourglass.

    Source: FOMM, section 3.1, eq. (6) and (7), and section 3.2 for the occlusion map.
    """

    def __init__(
        self,
        num_kp: int = 10,
        num_channels: int = 3,
        block_expansion: int = 64,
        max_features: int = 1024,
        num_blocks: int = 5,
        scale_factor: float = 1,
        estimate_occlusion_map: bool = False,
        align_corners: bool = True,
    ):
        super().__init__()
        self.align_corners = align_corners
        in_features = (num_kp + 1) * (num_channels + 1)
        self.hourglass = Hourglass(block_expansion, in_features, num_blocks, max_features)
        self.mask = nn.Conv2d(self.hourglass.out_features, num_kp + 1, kernel_size=7, padding=3)
        if estimate_occlusion_map:
            self.occlusion = nn.Conv2d(self.hourglass.out_features, 1, kernel_size=7, padding=3)
        self.estimate_occlusion_map = estimate_occlusion_map
        self.scale_factor = scale_factor
        if scale_factor != 1:
            self.down = AntiAliasDownsample(num_channels, scale_factor)

    def downsample(self, source: Tensor) -> Tensor:
        """The source at the size at which motion is estimated: (B, C, H, W) to (B, C, h, w)."""
        return self.down(source) if self.scale_factor != 1 else source

    def forward(self, small_source: Tensor, kp_source: Keypoints, kp_driving: Keypoints) -> DenseMotion:
        """
        Args:
            small_source: (B, C, h, w), from `downsample`.
            kp_source, kp_driving: B sets of K keypoints.
        """
        batch, channels, height, width = small_source.shape
        motions = sparse_motions(kp_source, kp_driving, height, width)
        number = motions.shape[1]
        copies = small_source[:, None].expand(-1, number, -1, -1, -1)
        deformed = warp(copies.flatten(0, 1), motions.flatten(0, 1), align_corners=self.align_corners)
        deformed = deformed.view(batch, number, channels, height, width)

        heatmaps = heatmap_difference(kp_source, kp_driving, height, width).to(deformed.dtype)
        # For each motion [heatmap, r, g, b]: the order of channels that the published weights expect.
        features = self.hourglass(torch.cat([heatmaps[:, :, None], deformed], dim=2).flatten(1, 2))
        mask = at_least_float32(self.mask(features)).softmax(dim=1)
        deformation = (mask[..., None] * motions).sum(dim=1)
        occlusion = torch.sigmoid(self.occlusion(features)) if self.estimate_occlusion_map else None
        return DenseMotion(deformation, mask, occlusion, motions, deformed)
