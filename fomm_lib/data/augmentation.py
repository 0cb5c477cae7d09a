"""Augmentation: the same random change of both frames of a pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fomm_lib.config import (
    AugmentationParams,
    Degrees,
    Factors,
    FlipParams,
    JitterParams,
    Sides,
    clear_errors,
)
from fomm_lib.media.tensors import resize
from fomm_lib.releases import importing

with importing("torchvision"):
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F


class Augmentation(FlipParams, JitterParams, frozen=True):  # workers share it
    """Random changes of a pair of frames; all are off by default.

    Applied in this order, with the same random numbers for both frames:

    1. `time_flip`: with probability 1/2, source and driving frame are exchanged.
    2. `horizontal_flip`: with probability 1/2, and only if 1. did not happen, both are mirrored.
    3. `rotation`: by an angle from (low, high) degrees, counter-clockwise; the corners are black.
    4. `resize`: by a factor from (low, high); then step 5 with the old size, unless `crop` gives another.
    5. `crop`: a window (height, width) at a random place; a smaller image is padded with its border pixels.
    6. `brightness`, `contrast`, `saturation`: factors from 1 +- value; `hue`: a rotation of +- value, where
       0.5 is half the colour circle. These four in random order.

    Raises:
        InputError: an unknown change, or a value out of range; with its name and the value.

    Example:
        >>> Augmentation.from_params({"flip_param": {"time_flip": True}, "jitter_param": {"hue": 0.1}}).hue
        0.1
    """

    rotation: Degrees | None = None
    resize: Factors | None = None
    crop: Sides | None = None

    def __init__(self, **changes: Any):
        with clear_errors(type(self), "augmentation"):
            super().__init__(**changes)

    @classmethod
    def from_params(cls, params) -> Augmentation:
        """From the published YAML group `augmentation_params`.

        Args:
            params: None (no change), an `Augmentation`, an `AugmentationParams`, or a dictionary
                with any of `flip_param` {time_flip, horizontal_flip}, `rotation_param` {degrees},
                `resize_param` {ratio}, `crop_param` {size}, `jitter_param` {brightness, contrast, saturation,
                hue}.

        Raises:
            InputError: an unknown key, or a value out of range; with the key and the value.
        """
        if isinstance(params, cls):
            return params
        with clear_errors(AugmentationParams, "augmentation"):
            groups = AugmentationParams.model_validate(params or {}).model_dump(exclude_none=True)
        values = [item for group in groups.values() for item in group.items()]
        return cls(**{_NAMES.get(key, key): value for key, value in values})

    def __bool__(self) -> bool:
        return bool(self.model_dump(exclude_defaults=True))

    @property
    def keeps_values(self) -> bool:
        """Whether frames only change places, so that uint8 stays exact."""
        names = ("rotation", "resize", "crop", *_COLOUR_CHANGES)
        return not any(getattr(self, name) for name in names)

    def __call__(self, frames: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, bool]:
        """Change a pair of frames.

        Args:
            frames: (2, 3, H, W) in [0, 1], source first; or uint8, if the augmentation `keeps_values`.
            rng: the source of the random numbers.

        Returns:
            The changed frames, (2, 3, H', W') in [0, 1], and whether they were exchanged.
        """
        swapped = self.time_flip and rng.random() < 0.5
        if swapped:
            frames = frames.flip(0)
        elif self.horizontal_flip and rng.random() < 0.5:
            frames = F.horizontal_flip(frames)
        if self.rotation:
            frames = F.rotate(frames, rng.uniform(*self.rotation), interpolation=InterpolationMode.BILINEAR)
        if self.resize or self.crop:
            frames = self._resize_and_crop(frames, rng)
        return self._jitter(frames, rng), bool(swapped)

    def _resize_and_crop(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        height, width = self.crop or frames.shape[-2:]
        if self.resize:
            ratio = rng.uniform(*self.resize)
            frames = resize(frames, tuple(max(1, int(side * ratio)) for side in frames.shape[-2:]))
        missing_y, missing_x = max(0, height - frames.shape[-2]), max(0, width - frames.shape[-1])
        left, top = missing_x // 2, missing_y // 2
        frames = F.pad(frames, [left, top, missing_x - left, missing_y - top], padding_mode="edge")
        y = int(rng.integers(frames.shape[-2] - height + 1))
        x = int(rng.integers(frames.shape[-1] - width + 1))
        return F.crop(frames, y, x, height, width)

    def _jitter(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        changes = []
        for name, change in _COLOUR_CHANGES.items():
            value = getattr(self, name)
            if value > 0:
                low, high = (-value, value) if name == "hue" else (max(0.0, 1 - value), 1 + value)
                changes.append((change, rng.uniform(low, high)))
        for i in rng.permutation(len(changes)):
            change, amount = changes[i]
            frames = change(frames, amount)
        return frames


def turn_hue(images: torch.Tensor, turn: float) -> torch.Tensor:
    """Rotate the hue of images.

    Formula: hue is a position h on a circle of six sectors. With M, m the largest and the smallest of
    (r, g, b), and C = M - m, green is m + C clamp(2 - |h - 2|, 0, 1), with the distance along the circle: a
    triangle that is cut off at m and at M. Before the cut it is M + 2g - (r + g + b), so hue need not be
    computed: a turn by s sectors, |s| <= 1, moves the triangle along its slope, up where r > b and down else,

        g' = clamp(2g - (r + g + b - M - m) + s C sign(r - b), m, M),

    and the other colours likewise. A turn by two sectors passes the colours on; the rest is at most one.

    The results are those of torchvision's `adjust_hue`, in less than a tenth of its time.

    Args:
        images: (..., 3, H, W) in [0, 1].
        turn: in turns of the colour circle; 0 and 1 change nothing.

    Returns:
        (..., 3, H, W) in [0, 1].

    Example:
        >>> turn_hue(torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1), 1 / 3).flatten().round().tolist()
        [0.0, 1.0, 0.0]
    """
    thirds = round(3 * turn)
    sectors = 6 * turn - 2 * thirds
    images = images.roll(thirds, -3) if thirds % 3 else images
    red, green, blue = images.unbind(-3)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    shift = (high - low).mul_(abs(sectors))
    middle = (red + green).add_(blue).sub_(high).sub_(low)
    turned = torch.empty_like(images)
    colours = ((red, blue, green), (green, red, blue), (blue, green, red))
    for out, (own, before, after) in zip(turned.unbind(-3), colours, strict=True):
        torch.sub(*((before, after) if sectors > 0 else (after, before)), out=out)
        torch.copysign(shift, out, out=out).add_(own, alpha=2).sub_(middle)
        torch.minimum(torch.maximum(out, low, out=out), high, out=out)
    return turned


_COLOUR_CHANGES = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": turn_hue,
}

_NAMES = {"degrees": "rotation", "ratio": "resize", "size": "crop"}  # published key to attribute
