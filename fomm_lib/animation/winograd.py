"""Winograd's convolution by tiles, for inference (`animation.fast`) and training (`training.fast`).

A plain convolution with a 3x3 kernel needs 144 multiplications for 4x4 results; Winograd's needs 36.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.polynomial.polynomial import polyfromroots
from torch import Tensor, nn
from torch.nn import functional as F

# These points lose less to rounding than the usual 0, 1, -1, 2, -2. Source: Barabasz et al., Error Analysis
# and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
TILE = len(POINTS) + 1

# Tiles are processed in portions of about this many numbers, which stay in the processor's cache.
WINOGRAD_PORTION = 5_000_000

# Multiplications of one matrix product from which the library oneDNN is asked for it; see `products`.
ONEDNN_PRODUCT = 2**23


def _mkl_is_slow(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether PyTorch's usual library for products in float32 leaves half of the processor unused.

    That library (MKL) uses AVX-512 on processors of Intel alone.
    """
    if not cpu_info.is_file() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    words = cpu_info.read_text(encoding="utf-8", errors="replace").split()
    return torch.backends.mkldnn.is_available() and {"AuthenticAMD", "avx512f"} <= set(words)


MKL_IS_SLOW = _mkl_is_slow()


def winograd_matrices(points: tuple[float, ...], taps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices of a fast correlation: y = A^T [(G g) * (B^T d)], with * element by element.

    A filter g of `taps` numbers over n = len(points) + 1 numbers d gives m = n - taps + 1 results, by n
    multiplications where m * taps are usual. Derivation: a product of polynomials with n coefficients is
    determined by its values at n points, one of which is infinity; so evaluate both factors, multiply value
    by value, and interpolate. A correlation is the transpose of such a product.

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


def tile_matrices(taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """`winograd_matrices` of both axes at once, for flattened tiles: B^T d B = (B^T x B^T) vec(d).

    Returns:
        for tiles (36, 36), for kernels (36, taps^2), and back to results ((7 - taps)^2, 36), in float64.
    """
    return tuple(torch.kron(matrix, matrix) for matrix in winograd_matrices(POINTS, taps))


def transform_kernel(weight: Tensor, matrix: Tensor) -> Tensor:
    """G g G^T of every pair of channels: a kernel (out, in, taps, taps) becomes (36, in, out).

    Args:
        matrix: the second one of `tile_matrices`, in the dtype of `weight`.
    """
    kernels = weight.flatten(2).permute(2, 1, 0)
    return (matrix @ kernels.flatten(1)).view(-1, *kernels.shape[1:])


def tile_counts(x: Tensor, taps: int, padding: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns of tiles cover the result of a convolution of `x` (B, C, H, W)."""
    step = TILE + 1 - taps
    sides = (side + 2 * pad + 1 - taps for side, pad in zip(x.shape[2:], padding, strict=True))
    return tuple(-(-side // step) for side in sides)


def convolve_tiles(
    x: Tensor, kernel: Tensor, bias: Tensor, into: Tensor, back: Tensor, padding: tuple[int, int]
) -> Tensor:
    """A convolution by tiles: images (B, in, H, W) to (B, out, H', W'), channels last in memory.

    Images are cut into overlapping tiles d of 6x6 pixels, and for each of them

        Y = A^T [sum_c (G g_c G^T) * (B^T d_c B)] A

    is computed, where * is element by element: 36 multiplications for the 4x4 results of a 3x3 kernel g, or
    for the 3x3 results of a 4x4 kernel, which take 144 otherwise. For each of the 36 positions the sum over
    channels c is a matrix product over all tiles. Images whose sides do not fit the tiles are padded.

    Args:
        kernel: (36, in, out), see `transform_kernel`.
        into, back: the first and the last one of `tile_matrices`.
        padding: rows and columns of zeros at each side.

    Source: Lavin and Gray 2016, section 4.
    """
    step = round(len(back) ** 0.5)
    taps, (above, left) = TILE + 1 - step, padding
    height, width = x.shape[2] + 2 * above + 1 - taps, x.shape[3] + 2 * left + 1 - taps  # of the result
    rows, columns = tile_counts(x, taps, padding)
    below = rows * step + taps - 1 - above - x.shape[2]  # up to the end of the last tiles
    right = columns * step + taps - 1 - left - x.shape[3]
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, above, below))
    portion = max(1, WINOGRAD_PORTION // (TILE**2 * rows * columns * x.shape[3]))
    y = torch.cat([_convolve_padded(images, kernel, into, back, step) for images in x.split(portion)])
    y = y[:, :height, :width]
    y = y + bias if y.requires_grad else y.add_(bias)  # without a new tensor where no gradient is needed
    return y.permute(0, 3, 1, 2)


def _convolve_padded(x: Tensor, kernel: Tensor, into: Tensor, back: Tensor, step: int) -> Tensor:
    """Padded images (B, H, W, in) to (B, rows step, columns step, out)."""
    tiles = _Tiles.apply(x, step)
    batch, rows, columns, channels = tiles.shape[2:]
    tiles = (into @ tiles.flatten(2).flatten(0, 1)).view(TILE**2, -1, channels)
    y = (back @ products(tiles, kernel).flatten(1)).view(step, step, batch, rows, columns, -1)
    return y.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * step, columns * step, -1)


def products(a: Tensor, b: Tensor) -> Tensor:
    """A matrix product for each position, as `torch.bmm`: (36, n, m) times (36, m, k) gives (36, n, k).

    On processors of AMD with AVX-512 large ones are computed by oneDNN, with which PyTorch convolves: on one
    core 8.4 ms for 36 products of 256x256 matrices, where `torch.bmm` takes 13.9. Results differ by rounding.

    Example:
        >>> a, b = torch.rand(36, 300, 256), torch.rand(36, 256, 128)
        >>> torch.allclose(products(a, b), torch.bmm(a, b), rtol=1e-5)
        True
    """
    large = a.shape[1] * a.shape[2] * b.shape[2] >= ONEDNN_PRODUCT
    on_cpu = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    if MKL_IS_SLOW and large and on_cpu and not torch.compiler.is_compiling():
        return _Products.apply(a, b)
    return torch.bmm(a, b)


class _Products(torch.autograd.Function):
    """Products by oneDNN, one position after the other."""

    @staticmethod
    def forward(context, a: Tensor, b: Tensor) -> Tensor:
        context.save_for_backward(a, b)
        result = a.new_empty(len(a), a.shape[1], b.shape[2])
        for i in range(len(a)):  # a b = a (b^T)^T, as a linear layer with the weights b^T
            result[i] = torch.ops.mkldnn._linear_pointwise(a[i], b[i].t(), None, "none", [], "")
        return result

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = context.saved_tensors
        of_a, of_b = context.needs_input_grad
        return (
            products(gradient, b.transpose(1, 2)) if of_a else None,
            products(a.transpose(1, 2), gradient) if of_b else None,
        )


class _Tiles(torch.autograd.Function):
    """Images (B, H, W, C) to overlapping tiles, (6, 6, B, rows, columns, C).

    A pixel is in up to four tiles, so its gradient is the sum of theirs.
    """

    @staticmethod
    def forward(context, x: Tensor, step: int) -> Tensor:
        context.shape, context.step = x.shape, step
        return x.unfold(1, TILE, step).unfold(2, TILE, step).permute(4, 5, 0, 1, 2, 3).contiguous()

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        x, step = gradient.new_zeros(context.shape), context.step
        below, right = (step * count for count in gradient.shape[3:5])
        for i in range(TILE):
            for j in range(TILE):
                x[:, i : i + below : step, j : j + right : step] += gradient[i, j]
        return x, None


class Winograd(nn.Module):
    """A convolution of 3x3 with padding 1 by tiles, with a constant kernel that is transformed once.

    (B, in, H, W) to (B, out, H, W). See `convolve_tiles`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype):
        super().__init__()
        into, kernel, back = tile_matrices(taps=3)
        self.register_buffer("weight", constant(transform_kernel(weight.double(), kernel), dtype))
        self.register_buffer("bias", constant(bias, dtype))
        self.register_buffer("into", constant(into, dtype))
        self.register_buffer("back", constant(back, dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = to_layout_of(self.weight, x)
        return convolve_tiles(x, self.weight, self.bias, self.into, self.back, padding=(1, 1))


def constant(
    tensor: Tensor, dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """A copy of a weight without gradient, in the dtype and the memory layout it is computed with."""
    return tensor.detach().to(dtype, copy=True).contiguous(memory_format=memory_format)


def to_layout_of(weight: Tensor, x: Tensor) -> Tensor:
    """Images in the dtype of the weights of the next layer, channels last in memory."""
    return x.to(weight.dtype, memory_format=torch.channels_last)
