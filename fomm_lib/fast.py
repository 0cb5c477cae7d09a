"""The same networks, rearranged to run faster: algebra done once, before the first frame.

A trained network computes with constants, so products of constants can be taken beforehand. None of this
changes what is computed, only in which order, so that results differ by rounding alone:

- a batch norm in eval mode is a scale and a shift, and goes into the convolution before it (`folded`);
- nearest doubling and then a convolution are one transposed convolution, with 4/9 of the multiplications
  (`Doubling`);
- a convolution to few channels starves the vector units, which handle 16 at a time: compute a 2x2 block of
  pixels as so many more channels (`FewChannels`);
- a 3x3 convolution of many channels is cheaper as 36 matrix products on 6x6 tiles (`Winograd`).

Weights and pictures lie channels last in memory, so that each product runs along contiguous numbers.

In bfloat16, whose numbers have 8 significant bits, every rounding counts. Convolutions round what they read
and what they give, and sum up in float32; what residual blocks hand on stays in float32, as each would
otherwise round the sum of all before it. `Winograd` is left out: its differences of neighbours and sums with
weights up to 16 make a rounding error four times as large, and a processor that multiplies in bfloat16 gains
little by it.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.polynomial.polynomial import polyfromroots
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock

# Each of these pays on one side of a border only; where it lies was measured, on a processor with AVX-512.
WINOGRAD_CHANNELS = 128  # from here on; Winograd moves more numbers than a plain convolution
DOUBLING_CHANNELS = 256  # up to here; small maps of many channels wait for weights, which it has more of
FEW_CHANNELS = 7  # up to here
# Tiles are worked on in portions of about so many numbers, which stay in the processor's cache.
WINOGRAD_PORTION = 5_000_000


def faster(network: nn.Module, *, dtype: torch.dtype = torch.float32, rearrange: bool = True) -> nn.Module:
    """A copy of a network in eval mode, its blocks and convolutions replaced by faster ones that compute the
    same.

    Args:
        network: made of the blocks of `fomm_lib.blocks` and convolutions; it is left as it is.
        dtype: of weights, and of what convolutions read and give; float32 or bfloat16. What residual blocks
            hand on is float32 in either.
        rearrange: False folds batch norms and leaves the convolutions to the library below, which on a GPU
            has fast algorithms of its own.
    Raises:
        ValueError: the network is in training mode, in which batch norms are no constants.

    Example:
        >>> from fomm_lib.generator import OcclusionAwareGenerator
        >>> generator = OcclusionAwareGenerator().eval()
        >>> features = torch.rand(1, 256, 16, 16)
        >>> with torch.inference_mode():
        ...     torch.allclose(faster(generator).decode(features), generator.decode(features), atol=1e-5)
        True
    """
    if network.training:
        raise ValueError("a network in training mode cannot be rearranged: its batch norms are no constants")
    replacement = _replacement(network, dtype, rearrange)
    if replacement is not None:
        return replacement.eval()
    result = copy.copy(network)
    for table in ("_parameters", "_buffers", "_modules"):  # the copy's own, with the same tensors
        setattr(result, table, dict(getattr(network, table)))
    for name, child in network.named_children():
        result._modules[name] = faster(child, dtype=dtype, rearrange=rearrange)
    return result


def _replacement(module: nn.Module, dtype: torch.dtype, rearrange: bool) -> nn.Module | None:
    if isinstance(module, DownBlock):
        convolution = _Convolution(*folded(module.conv, module.norm), dtype)
        return nn.Sequential(convolution, nn.ReLU(inplace=True), nn.AvgPool2d(2))
    if isinstance(module, SameBlock):
        convolution = _Convolution(*folded(module.conv, module.norm), dtype)
        return nn.Sequential(convolution, nn.ReLU(inplace=True))
    if isinstance(module, UpBlock):
        weight, bias = folded(module.conv, module.norm)
        if rearrange and module.conv.out_channels <= DOUBLING_CHANNELS:
            return nn.Sequential(Doubling(weight, bias, dtype), nn.ReLU(inplace=True))
        convolution = _Convolution(weight, bias, dtype)
        return nn.Sequential(nn.Upsample(scale_factor=2), convolution, nn.ReLU(inplace=True))
    if isinstance(module, ResidualBlock):
        return _FasterResidual(module, dtype, rearrange)
    if isinstance(module, nn.Conv2d):
        few = rearrange and module.out_channels <= FEW_CHANNELS
        return (FewChannels if few else _Convolution)(module.weight, module.bias, dtype, module.padding[0])
    return None


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does what `conv` and then `norm`, in eval mode, do.

    gamma (conv(x) - mean) / sqrt(var + eps) + beta = s (W x + b - mean) + beta, s = gamma / sqrt(var + eps).
    """
    scale, shift = _scale_and_shift(norm)
    return conv.weight.double() * scale[:, None, None, None], conv.bias.double() * scale + shift


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


class _Convolution(nn.Module):
    """A convolution whose numbers are constants, in a dtype of its own and channels last."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, padding: int | None = None):
        super().__init__()
        self.register_buffer("weight", _constant(weight, dtype, torch.channels_last))
        self.register_buffer("bias", _constant(bias, dtype))
        self.padding = weight.shape[-1] // 2 if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(_as(self.weight, x), self.weight, self.bias, padding=self.padding)


class Doubling(nn.Module):
    """Nearest doubling, then a 3x3 convolution, as one transposed 4x4 convolution of stride 2.

    Doubling writes every number down four times, and the convolution multiplies each copy with a weight of
    its own. Summed first, the weights of the copies are one multiplication: output pixel 2i + a sees input
    pixel j through w4[2i + a - 2j + 1], and w4 is w, turned around, convolved with [1, 1].
    (B, in, H, W) to (B, out, 2H, 2W), with 16 multiplications for 36.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype):
        super().__init__()
        sums = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float64)
        weight = torch.einsum("ai,bj,ocij->coab", sums, sums, weight.double())
        self.register_buffer("weight", _constant(weight, dtype, torch.channels_last))
        self.register_buffer("bias", _constant(bias, dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(_as(self.weight, x), self.weight, self.bias, stride=2, padding=1)


class FewChannels(nn.Module):
    """A convolution to few channels: each 2x2 block of its pixels is computed at once, as 4 times the
    channels, by a kernel one wider and stride 2; `pixel_shuffle` then lays the blocks out.

    Its sides must be even, as those of an hourglass and of a doubled picture are.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, padding: int):
        super().__init__()
        # The four kernels of a block are the same one, shifted by nothing or one pixel along each axis.
        shifts = [F.pad(weight, (dx, 1 - dx, dy, 1 - dy)) for dy in (0, 1) for dx in (0, 1)]
        weight = torch.stack(shifts, dim=1).flatten(0, 1)
        self.register_buffer("weight", _constant(weight, dtype, torch.channels_last))
        self.register_buffer("bias", _constant(bias.repeat_interleave(4), dtype))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        blocks = F.conv2d(_as(self.weight, x), self.weight, self.bias, stride=2, padding=self.padding)
        return F.pixel_shuffle(blocks, 2)


def winograd_matrices(points: tuple[float, ...], taps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices of a fast correlation: y = A^T [(G g) * (B^T d)], with * number by number.

    A filter g of `taps` numbers over n = len(points) + 1 numbers d gives m = n - taps + 1 results, by n
    multiplications where m * taps are usual. Where from: a product of polynomials of n coefficients is known
    from its values at n points, one of which is infinity; so evaluate both factors, multiply value by
    value, and interpolate. A correlation is such a product transposed.

    Returns:
        B^T (n, n), G (n, taps) and A^T (m, n), in float64.

    Source: Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms for
    Convolutional Neural Networks, 2016.
    """
    size, results = len(points) + 1, len(points) + 2 - taps
    bt, g, at = np.zeros((size, size)), np.zeros((size, taps)), np.zeros((results, size))
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        bt[i, :-1] = polyfromroots(others)
        g[i] = [point**power / np.prod(np.subtract(point, others)) for power in range(taps)]
        at[:, i] = [point**power for power in range(results)]
    bt[-1], g[-1, -1], at[-1, -1] = polyfromroots(points), 1, 1  # the value at infinity
    return torch.from_numpy(bt), torch.from_numpy(g), torch.from_numpy(at)


class Winograd(nn.Module):
    """A 3x3 convolution with padding 1 by Winograd's F(4x4, 3x3): 36 multiplications for 144.

    Pictures are cut into tiles of 6x6 pixels that overlap by 2, each of which gives 4x4 pixels of the result:
    Y = A^T [sum_c (G g_c G^T) * (B^T d_c B)] A. For one of the 36 positions, the sum over channels c for all
    tiles is a matrix product; the transforms of both sides are products with a Kronecker product,
    B^T d B = (B^T x B^T) vec(d). (B, in, H, W) to (B, out, H, W), for sides that are multiples of 4; others
    are padded.

    The points 0, 1, -1, 1/2, -2 lose less to rounding than the usual 0, 1, -1, 2, -2.

    Source: Lavin and Gray 2016, section 4; for the points Barabasz et al., Error Analysis and Improving the
    Accuracy of Winograd Convolution for Deep Neural Networks, 2020.
    """

    TILE, STEP = 6, 4
    POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype):
        super().__init__()
        bt, g, at = winograd_matrices(self.POINTS)
        weight = torch.einsum("ai,bj,ocij->abco", g, g, weight.double()).flatten(0, 1)
        self.register_buffer("weight", _constant(weight, dtype))  # (36, in, out)
        self.register_buffer("bias", _constant(bias, dtype))
        self.register_buffer("into", _constant(torch.kron(bt, bt), dtype))  # (36, 36)
        self.register_buffer("back", _constant(torch.kron(at, at), dtype))  # (16, 36)

    def forward(self, x: Tensor) -> Tensor:
        x = _as(self.weight, x).permute(0, 2, 3, 1)
        height, width, channels = x.shape[1:]
        rows, columns = -(-height // self.STEP), -(-width // self.STEP)
        x = F.pad(x, (0, 0, 1, 1 + columns * self.STEP - width, 1, 1 + rows * self.STEP - height))
        portion = max(1, WINOGRAD_PORTION // (self.TILE**2 * rows * columns * channels))
        y = torch.cat([self._tiles(pictures) for pictures in x.split(portion)])
        return y[:, :height, :width].permute(0, 3, 1, 2)

    def _tiles(self, x: Tensor) -> Tensor:
        """Padded pictures (B, H + 2, W + 2, in) to (B, H, W, out)."""
        tiles = x.unfold(1, self.TILE, self.STEP).unfold(
            2, self.TILE, self.STEP
        )  # (B, rows, columns, in, 6, 6)
        batch, rows, columns, channels = tiles.shape[:4]  # and 6, 6
        tiles = tiles.permute(4, 5, 0, 1, 2, 3).reshape(self.TILE**2, -1)
        tiles = torch.bmm((self.into @ tiles).view(self.TILE**2, -1, channels), self.weight)
        y = (self.back @ tiles.flatten(1)).view(self.STEP, self.STEP, batch, rows, columns, -1)
        y = y.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * self.STEP, columns * self.STEP, -1)
        return y.add_(self.bias)


class _FasterResidual(nn.Module):
    """`ResidualBlock`: its first batch norm, which a ReLU keeps from any convolution, stays a scale and a
    shift; its second goes into the convolution before it. The sum is never rounded to less than float32.
    """

    def __init__(self, block: ResidualBlock, dtype: torch.dtype, rearrange: bool):
        super().__init__()
        exact = torch.promote_types(dtype, torch.float32)
        wide = rearrange and dtype == exact and block.conv1.in_channels >= WINOGRAD_CHANNELS
        convolution = Winograd if wide else _Convolution
        scale, shift = _scale_and_shift(block.norm1)
        self.register_buffer("scale", _constant(scale[:, None, None], exact))
        self.register_buffer("shift", _constant(shift[:, None, None], exact))
        self.conv1 = convolution(*folded(block.conv1, block.norm2), dtype)
        self.conv2 = convolution(block.conv2.weight, block.conv2.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = _as(self.scale, x)
        out = self.conv1(torch.addcmul(self.shift, x, self.scale).relu_())
        return self.conv2(out.relu_()).to(x.dtype).add_(x)


def _constant(
    tensor: Tensor, dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    return tensor.detach().to(dtype, copy=True).contiguous(memory_format=memory_format)


def _as(weight: Tensor, x: Tensor) -> Tensor:
    """Pictures in the dtype of the weights they are to meet, channels last."""
    return x.to(weight.dtype, memory_format=torch.channels_last)
