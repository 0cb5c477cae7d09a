"""Convolutions with integers of 8 bits: what a network is prepared by, and what writes generate.int8.onnx.

A tensor of 8 bits has 256 values between the smallest and the largest one seen during calibration. So a
channel that is ten times smaller than another one of its tensor has 25 values. Two rearrangements, exact but
for rounding, come first:

- `balance` makes the channels that a convolution reads about equally large, and its weights the other way;
- `double_by_pixels` takes nearest doubling and the convolution after it as one convolution of the small map,
  with 4/9 of the multiplications.

Source of the balance: Xiao et al., SmoothQuant, 2023, eq. (4); Nagel et al., Data-Free Quantization Through
Weight Equalization and Bias Correction, 2019.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.animation.fast import fused_upsampling_kernel


class PixelUpsampling(nn.Module):
    """Nearest doubling and a 3x3 convolution as a 2x2 convolution: (B, in, H, W) to (B, out, 2H, 2W).

    A pixel of the result sees two by two pixels of the small map. The four pixels between two rows and two
    columns of these see the same ones, so one convolution gives all four as 4 times the channels, at
    (H + 1, W + 1) places; `pixel_shuffle` arranges them, and the outermost pixels are cut off.

    Args:
        weight, bias: of the 3x3 convolution, (out, in, 3, 3) and (out,).

    Example:
        >>> weight, bias, x = torch.rand(2, 3, 3, 3), torch.rand(2), torch.rand(1, 3, 4, 5)
        >>> expected = F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)
        >>> torch.allclose(PixelUpsampling(weight, bias)(x), expected, atol=1e-5)
        True
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        kernel = fused_upsampling_kernel(weight.double()).transpose(0, 1)  # (out, in, 4, 4)
        rows = [kernel[:, :, first] for first in ([2, 0], [3, 1])]  # of the pixel below, and of that above
        four = [part[..., columns] for part in rows for columns in ([2, 0], [3, 1])]
        self.register_buffer("weight", torch.stack(four, dim=1).flatten(0, 1).to(weight.dtype))
        self.register_buffer("bias", bias.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, padding=1), 2)[..., 1:-1, 1:-1]


class Scaled(nn.Module):
    """Channels times constants: (B, c, H, W) to the same shape."""

    def __init__(self, factors: Tensor):
        super().__init__()
        self.register_buffer("factors", factors[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors


def largest(generator: nn.Module, convolutions: dict[str, nn.Module], run: Iterable) -> dict[str, Tensor]:
    """The largest absolute value of each channel that convolutions read while `run` is iterated over."""
    found: dict[str, Tensor] = {}

    def look(name: str, x: Tensor) -> None:
        most = x.abs().amax(dim=(0, 2, 3))
        found[name] = torch.maximum(found.get(name, most), most)

    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: look(name, inputs[0]))
        for name, module in convolutions.items()
    ]
    for _ in run:
        pass
    for hook in hooks:
        hook.remove()
    return found
