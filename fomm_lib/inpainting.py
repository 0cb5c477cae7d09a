"""Parts of the generator beyond the paper: an inpainter that sees far, and a decoder with warped skips.

The published generator inpaints with residual blocks at one resolution: each pixel sees a few pixels around
it, and the middle of a large masked region becomes grey. And all that it makes comes through one small map of
features, so fine detail of the source is lost. Both parts are switched on by `model_params.extension_params`
of the config, and are absent in the published models.

    features' = features + hint(occlusion, keypoints);   features'' = features' + hourglass(features')
    image = keep * warp(source) + (1 - keep) * painted,  keep = sigmoid(logit(occlusion) + change)

The hourglass goes down to maps so small that every pixel sees the entire image. The decoder gets features of
the source of every larger size, warped and masked; from the last it makes colours and `change`, by which it
departs from the occlusion map: inside a mouth or at an eyelid it may paint although something is visible.

With `fill` what it paints is a mixture of its own colours and of the visible colours around, see
`fill_hidden`: a plain wall that a head uncovers need not be made from features.

    image = keep * warp(source) + (1 - keep) * (share * filled + (1 - share) * painted),
    share = (1 - occlusion) * sigmoid(map)

Where the source is visible, `filled` is the warped source once more: were its share not limited to what is
hidden, it would stand in for every pixel that is not kept, and nothing of a closing lid would be painted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm_lib.blocks import Hourglass, UpBlock

_LEAST = 1e-3
"""Occlusion maps are kept this far from 0 and 1, where their logit is infinite."""
_TINY = 1e-6


class Inpainter(nn.Module):
    """x = features + hint(hints); x + project(hourglass(x)): (B, c, h, w) to the same shape.

    `hint` is a convolution of 3x3, `project` one of 1x1. Both begin as zero, so a new inpainter changes
    nothing: it can be added to a trained generator.

    Args:
        features: c.
        hints: channels of the hints: the occlusion map, and what else says what to paint.
        num_blocks: of the hourglass, each of which halves the map.
        max_features: of the hourglass, whose level i has min(max_features, c 2^i) channels.

    Raises:
        InputError: h or w is not a multiple of 2^num_blocks.

    Example:
        >>> features = torch.rand(1, 16, 32, 32)
        >>> inpainter = Inpainter(16, hints=1, num_blocks=3, max_features=32)
        >>> torch.equal(inpainter(features, torch.ones(1, 1, 32, 32)), features)
        True

    Source: Ronneberger et al., U-Net, 2015; the mask as an input: Pathak et al., Context Encoders, 2016.
    """

    def __init__(self, features: int, hints: int, num_blocks: int, max_features: int):
        super().__init__()
        self.hint = nn.Conv2d(hints, features, kernel_size=3, padding=1)
        self.hourglass = Hourglass(min(features, max_features), features, num_blocks, max_features)
        self.project = nn.Conv2d(self.hourglass.out_features, features, kernel_size=1)
        for layer in (self.hint, self.project):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, hints: Tensor) -> Tensor:
        """
        Args:
            features: (B, c, h, w), warped and masked.
            hints: (B, hints, h, w).
        """
        x = features + self.hint(hints)
        return x + self.project(self.hourglass(x))


class SkipDecoder(nn.Module):
    """Features to an image, with warped features of the source at every size, and the warped source itself.

    After every up block but the last the skip of that size is concatenated. From the result of the last, and
    the masked warped source, a convolution of 7x7 makes colours and one map more:

        image = keep * warped + (1 - keep) * sigmoid(colours),  keep = sigmoid(logit(occlusion) + map)

    With `fill` the convolution makes one map more, for the share of the visible colours around a pixel:

        image = keep * warped + (1 - keep) * (share * fill_hidden(warped) + (1 - share) * sigmoid(colours)),
        share = (1 - occlusion) * sigmoid(map)

    Args:
        widths: channels of the sizes from the image's to the smallest, as `channel_widths` gives them.
        num_channels: C of the image.
        fill: whether to use `fill_hidden`.

    Example:
        >>> decoder = SkipDecoder([8, 16, 32], num_channels=3)
        >>> skips = torch.rand(1, 16, 16, 16), torch.rand(1, 3, 32, 32)
        >>> decoder(torch.rand(1, 32, 8, 8), torch.rand(1, 1, 32, 32), *skips).shape
        torch.Size([1, 3, 32, 32])

    Source: Siarohin et al., *Motion Representations for Articulated Animation*, 2021 (published code: skip
    connections, and the warped source where it is visible).
    """

    def __init__(self, widths: list[int], num_channels: int, fill: bool = False):
        super().__init__()
        self.fill = fill
        number = len(widths) - 1
        self.up_blocks = nn.ModuleList(
            UpBlock(widths[i + 1] * (1 if i == number - 1 else 2), widths[i]) for i in reversed(range(number))
        )
        made = num_channels + 1 + fill
        self.final = nn.Conv2d(widths[0] + num_channels, made, kernel_size=7, padding=3)

    def forward(self, features: Tensor, occlusion: Tensor, *skips: Tensor) -> Tensor:
        """
        Args:
            features: (B, c, h, w), of the smallest size.
            occlusion: (B, 1, H, W) in [0, 1], at the size of the image.
            skips: warped and masked features of the source, small to large, and last the warped source
                (B, C, H, W), not masked.
        Returns:
            (B, C, H, W) in [0, 1], if the source is.
        """
        *skips, warped = skips
        for block, skip in zip(self.up_blocks, [*skips, warped * occlusion], strict=True):
            x = block(features)
            features = torch.cat([x, skip.to(x.dtype)], dim=1)
        painted = self.final(features).to(warped.dtype)
        number = warped.shape[1]
        visible = occlusion.clamp(_LEAST, 1 - _LEAST)
        keep = torch.sigmoid((visible / (1 - visible)).log() + painted[:, number : number + 1])
        colours = torch.sigmoid(painted[:, :number])
        if self.fill:
            share = (1 - occlusion) * torch.sigmoid(painted[:, number + 1 :])
            colours = colours + share * (fill_hidden(warped, occlusion) - colours)
        return colours + keep * (warped - colours)


def fill_hidden(image: Tensor, visible: Tensor) -> Tensor:
    """Hidden pixels get a smooth mixture of the visible colours around, near ones first (push-pull).

    With image x_0 and weight w_0 = visible, smaller images are made first, each of half the size, and then,
    from small to large, the colours y:

        x_(i+1) = pool(w_i x_i) / pool(w_i),    w_(i+1) = min(1, 4 pool(w_i))
        y_i = w_i x_i + (1 - w_i) enlarge(y_(i+1))

    with `pool` the mean of 2x2 pixels. One visible pixel of four is enough for a pixel of the smaller image.
    The smallest image, of an odd side, is filled with its mean.

    Args:
        image: (B, C, H, W).
        visible: (B, 1, H, W) in [0, 1].
    Returns:
        (B, C, H, W). Where all is hidden, black.

    Example:
        >>> seen = torch.ones(1, 1, 16, 16)
        >>> seen[..., 4:12, 4:12] = 0
        >>> filled = fill_hidden(0.7 * seen, seen)
        >>> bool((filled - 0.7).abs().max() < 1e-6)
        True

    Source: Gortler et al., *The Lumigraph*, 1996, section 3.4.
    """
    height, width = image.shape[-2:]
    if height % 2 or width % 2:
        total = (image * visible).mean((2, 3), keepdim=True)
        mean = total / visible.mean((2, 3), keepdim=True).clamp(min=_TINY)
        return mean + visible * (image - mean)
    known = F.avg_pool2d(visible, 2)
    small = F.avg_pool2d(image * visible, 2) / known.clamp(min=_TINY)
    around = F.interpolate(fill_hidden(small, (4 * known).clamp(max=1)), scale_factor=2, mode="bilinear")
    return around + visible * (image - around)
