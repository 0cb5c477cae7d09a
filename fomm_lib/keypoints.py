"""Keypoints with local affine motion, detected without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor, nn

from fomm_lib.blocks import AntiAliasDownsample, Hourglass
from fomm_lib.geometry import at_least_float32, coordinate_grid


@dataclass
class Keypoints:
    """K keypoints of B images, each with the local affine motion around it.

    Attributes:
        value: (B, K, 2), (x, y) in [-1, 1].
        jacobian: (B, K, 2, 2), of the motion from the reference frame; None for the zeroth-order model.
        heatmap: (B, K, h, w), the probability map whose mean is the keypoint; None if not stored.
    """

    value: Tensor
    jacobian: Tensor | None = None
    heatmap: Tensor | None = None

    def detach(self) -> Keypoints:
        """The same keypoints without gradients."""
        return self._map(Tensor.detach)

    def to(self, *args, **kwargs) -> Keypoints:
        """The same keypoints on another device or in another dtype, as `Tensor.to`."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def __getitem__(self, index) -> Keypoints:
        """Keypoints of some of the images: `kp[0:1]`, `kp[[0, 5]]`.

        Raises:
            TypeError: the index is a plain integer, which would drop the batch axis.
        """
        if isinstance(index, Integral):
            raise TypeError(
                f"index with a slice to keep the batch axis: kp[{index}:{index + 1}], not kp[{index}]"
            )
        return self._map(lambda tensor: tensor[index])

    def expand(self, batch: int) -> Keypoints:
        """The keypoints of one image, repeated for `batch` images without copying."""
        return self._map(lambda tensor: tensor.expand(batch, *tensor.shape[1:]))

    def __len__(self) -> int:
        return len(self.value)

    @staticmethod
    def combine(function: Callable[..., Tensor], *keypoints: Keypoints) -> Keypoints:
        """The points that a function makes of the points of several, and so the Jacobians; no heatmaps.

        Example:
            >>> halfway = Keypoints.combine(lambda a, b: (a + b) / 2, kp_source, kp_driving)
        """
        jacobians = [kp.jacobian for kp in keypoints]
        jacobian = None if jacobians[0] is None else function(*jacobians)
        return Keypoints(function(*(kp.value for kp in keypoints)), jacobian)

    def _map(self, function) -> Keypoints:
        parts = (self.value, self.jacobian, self.heatmap)
        return Keypoints(*(None if part is None else function(part) for part in parts))


def soft_argmax(heatmap: Tensor) -> Tensor:
    """The mean position under probability maps, a differentiable argmax: p = sum_z heatmap(z) z.

    Args:
        heatmap: (B, K, h, w), each map sums to 1.
    Returns:
        (B, K, 2), (x, y) in [-1, 1]. The outermost positions of the map are at -1 and 1.

    Source: FOMM, section 3.1; Jakab et al. 2018, eq. (3).

    Example:
        >>> soft_argmax(torch.full((1, 1, 5, 5), 1 / 25))
        tensor([[[0., 0.]]])
    """
    grid = coordinate_grid(*heatmap.shape[-2:], device=heatmap.device, dtype=heatmap.dtype)
    return (heatmap[..., None] * grid).sum(dim=(2, 3))


class KeypointDetector(nn.Module):
    """Detects K keypoints and their 2x2 Jacobians; learns without labels, by equivariance and reconstruction.

    The image, downsampled by `scale_factor`, goes through an hourglass and then `kp`, a 7x7 convolution;
    softmax(logits / temperature) of each map is a heatmap, and its mean position is the keypoint.
    `jacobian`, another 7x7 convolution, gives four maps per keypoint; their mean, weighted by the heatmap, is
    the Jacobian. At the start of training it is I.

    With `pad=0`, as published, the 7x7 convolution covers only the inside of the map (58x58 of 64x64 for
    vox-256), but those 58 positions are mapped to all of [-1, 1]: every keypoint is further out than where it
    was detected, by a factor of 63/57. The rest of the model tolerates this, because source and driving frame
    have the same bias. `pad=3` avoids it in a new training.

    Args:
        num_kp: K.
        num_channels: of the image.
        block_expansion, max_features, num_blocks: of the hourglass.
        temperature: of the softmax; smaller values give sharper maps.
        estimate_jacobian: False for the zeroth-order model.
        scale_factor: 1 / a whole number; the fraction of the image's size at which the detector works.
        single_jacobian_map: whether all keypoints share one set of four maps.
        pad: padding of the 7x7 convolutions.
        detail_features: channels that a 3x3 convolution computes from the pixels that downsampling averages,
            and that the hourglass gets beside the small image; 0 for none, as published. At a quarter of 256
            an eye is two pixels high: whether it is open shows in pixels that are lost.

    Raises:
        InputError: `scale_factor` is not 1 / a whole number, or an image does not fit the hourglass.

    Source: FOMM, section 3.1 and supplementary A.

    Example:
        >>> kp = KeypointDetector(num_kp=10, scale_factor=0.25)(torch.rand(2, 3, 256, 256))
        >>> kp.value.shape, kp.jacobian.shape
        (torch.Size([2, 10, 2]), torch.Size([2, 10, 2, 2]))
    """

    def __init__(
        self,
        num_kp: int = 10,
        num_channels: int = 3,
        block_expansion: int = 32,
        max_features: int = 1024,
        num_blocks: int = 5,
        temperature: float = 0.1,
        estimate_jacobian: bool = True,
        scale_factor: float = 1,
        single_jacobian_map: bool = False,
        pad: int = 0,
        detail_features: int = 0,
    ):
        super().__init__()
        self.predictor = Hourglass(block_expansion, num_channels + detail_features, num_blocks, max_features)
        self.kp = nn.Conv2d(self.predictor.out_features, num_kp, kernel_size=7, padding=pad)
        self.jacobian_maps = 0
        if estimate_jacobian:
            self.jacobian_maps = 1 if single_jacobian_map else num_kp
            self.jacobian = nn.Conv2d(
                self.predictor.out_features, 4 * self.jacobian_maps, kernel_size=7, padding=pad
            )
            nn.init.zeros_(self.jacobian.weight)
            with torch.no_grad():
                self.jacobian.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0] * self.jacobian_maps))
        self.temperature = temperature
        self.scale_factor = scale_factor
        if scale_factor != 1:
            self.down = AntiAliasDownsample(num_channels, scale_factor)
        self.detail = None
        if detail_features:
            step = round(1 / scale_factor)
            convolution = nn.Conv2d(num_channels * step**2, detail_features, kernel_size=3, padding=1)
            self.detail = nn.Sequential(nn.PixelUnshuffle(step), convolution, nn.ReLU())

    def forward(self, image: Tensor) -> Keypoints:
        """(B, C, H, W) in [0, 1] to the keypoints of each image."""
        small = image if self.scale_factor == 1 else self.down(image)
        if self.detail is not None:
            small = torch.cat([small, self.detail(image)], dim=1)
        features = self.predictor(small)
        logits = self.kp(features)
        # Half precision is too coarse for a softmax at temperature 0.1 and for the resulting positions.
        heatmap = (at_least_float32(logits) / self.temperature).flatten(2).softmax(-1).view(logits.shape)
        value = soft_argmax(heatmap)
        jacobian = None
        if self.jacobian_maps:
            maps = at_least_float32(self.jacobian(features)).unflatten(1, (self.jacobian_maps, 4))
            jacobian = (heatmap[:, :, None] * maps).sum(dim=(-2, -1)).unflatten(-1, (2, 2))
        return Keypoints(value, jacobian, heatmap)
