"""Blocks that compute the same as those of `fomm_lib.blocks`, in another way while a model trains.

They take over the parameters of the blocks they replace, and their names, so that weights stay what they are.
"""

from __future__ import annotations

import contextlib
import ctypes

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.blocks import UpBlock
from fomm_lib.fast import WINOGRAD_PORTION, Winograd, winograd_matrices

# From more channels on, doubling as one convolution is slower on CPUs: such maps are small, and reading the
# weights, of which it has 16/9 as many, then costs more than multiplying.
DOUBLING_CHANNELS = 256

# Where Winograd's tiles are faster than a plain convolution, measured on one core with AVX-512.
WINOGRAD_CHANNELS = {3: 128, 4: 64}  # from here on, by the size of the kernel
WINOGRAD_TILES = {
    True: 64,
    False: 16,
}  # from here on, of all pictures; whether the kernel is transformed anew


class DoublingBlock(UpBlock):
    """Doubling and convolution at once: a transposed convolution of 4x4 with stride 2.

    After nearest doubling each pixel stands four times, so that a 3x3 kernel meets only four different
    pixels: the weights that meet the same one are added beforehand, and 4 of 9 multiplications remain.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        added = sum(F.pad(weight, (i, 1 - i, j, 1 - j)) for i in (0, 1) for j in (0, 1))
        # A transposed convolution wants (in, out, h, w), and looks through the kernel from the other side.
        x = F.conv_transpose2d(x, added.flip(2, 3).transpose(0, 1), self.conv.bias, stride=2, padding=1)
        return F.relu(self.norm(x))


def double_at_once(network: nn.Module) -> nn.Module:
    """The same network, whose up blocks of up to `DOUBLING_CHANNELS` are `DoublingBlock`s.

    Results differ by rounding alone.

    Example:
        >>> block, x = UpBlock(8, 4), torch.rand(2, 8, 5, 5)
        >>> torch.allclose(block(x), double_at_once(block)(x), atol=1e-5)
        True
    """
    for module in network.modules():
        if type(module) is UpBlock and module.conv.in_channels <= DOUBLING_CHANNELS:
            module.__class__ = DoublingBlock
    return network


class _Tiles(torch.autograd.Function):
    """Pictures (B, H, W, C) to tiles that overlap, (6, 6, B, rows, columns, C).

    A pixel is in up to four of them; so on the way back it gets the sum of what they bring.
    """

    @staticmethod
    def forward(context, x: Tensor, step: int) -> Tensor:
        context.shape, context.step = x.shape, step
        tiles = x.unfold(1, Winograd.TILE, step).unfold(2, Winograd.TILE, step)
        return tiles.permute(4, 5, 0, 1, 2, 3).contiguous()

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        x, step = gradient.new_zeros(context.shape), context.step
        below, right = (step * count for count in gradient.shape[3:5])
        for i in range(Winograd.TILE):
            for j in range(Winograd.TILE):
                x[:, i : i + below : step, j : j + right : step] += gradient[i, j]
        return x, None


class WinogradConv2d(nn.Conv2d):
    """A convolution of 3x3 or 4x4 with a quarter of its multiplications, forth and back.

    `fast.Winograd` cuts pictures into tiles d of 6x6 pixels that overlap, and computes of each

        Y = A^T [sum_c (G g_c G^T) * (B^T d_c B)] A,

    where * is number by number: 36 multiplications for the 4x4 results of a 3x3 kernel g, or for the 3x3
    results of one of 4x4, which cost 144 otherwise. For each of the 36 positions the sum over channels c is a
    matrix product, of all tiles at once. Cutting, products and laying out are all there is, so autograd goes
    back through the same matrices, transposed, and the gradients of pictures and kernels cost a quarter, too.

    Errors of rounding are 1.5e-6 of the results in float32, where plain convolutions make 0.6e-6; but 2e-2 in
    bfloat16, where those make 3e-3. So every call has the choice: it goes by tiles in float32 (or float64) on
    a CPU, if there are so many that transforming the kernel, to 36 numbers from 9, is little beside
    multiplying. Otherwise the convolution is the library's.

    Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016, section 4.
    """

    def prepare(self) -> None:
        """Make what hangs on the kernel's size, and, of a kernel that does not learn, its transform."""
        bt, g, at = winograd_matrices(Winograd.POINTS, self.kernel_size[0])
        for name, matrix in {"into": bt, "transform": g, "back": at}.items():  # B^T d B = (B^T x B^T) vec(d)
            self.register_buffer(name, torch.kron(matrix, matrix).to(self.weight), persistent=False)
        fixed = None if self.weight.requires_grad else self.transformed()
        self.register_buffer("fixed", fixed, persistent=False)

    def transformed(self) -> Tensor:
        """G g G^T of every pair of channels: (36, in, out)."""
        kernels = self.weight.flatten(2).permute(2, 1, 0)
        return (self.transform @ kernels.flatten(1)).view(-1, *kernels.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        size, (above, left) = self.kernel_size[0], self.padding
        step = Winograd.TILE + 1 - size
        height, width = x.shape[2] + 2 * above + 1 - size, x.shape[3] + 2 * left + 1 - size  # of the result
        rows, columns = -(-height // step), -(-width // step)
        tiles = len(x) * rows * columns
        rounded = torch.is_autocast_enabled("cpu") or x.dtype not in (torch.float32, torch.float64)
        if rounded or x.device.type != "cpu" or tiles < WINOGRAD_TILES[self.fixed is None]:
            return super().forward(x)

        kernel = self.transformed() if self.fixed is None else self.fixed
        below = rows * step + size - 1 - above - x.shape[2]  # as far as the last tiles reach
        right = columns * step + size - 1 - left - x.shape[3]
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, above, below))
        portion = max(1, WINOGRAD_PORTION * len(x) // (Winograd.TILE**2 * tiles * self.in_channels))
        y = torch.cat([self._by_tiles(pictures, kernel, step) for pictures in x.split(portion)])
        return (y[:, :height, :width] + self.bias).permute(0, 3, 1, 2)

    def _by_tiles(self, x: Tensor, kernel: Tensor, step: int) -> Tensor:
        """Padded pictures (B, H, W, in) to (B, rows step, columns step, out)."""
        tiles = _Tiles.apply(x, step)
        batch, rows, columns, channels = tiles.shape[2:]
        tiles = (self.into @ tiles.flatten(2).flatten(0, 1)).view(Winograd.TILE**2, -1, channels)
        y = (self.back @ torch.bmm(tiles, kernel).flatten(1)).view(step, step, batch, rows, columns, -1)
        return y.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * step, columns * step, -1)


def by_winograd(network: nn.Module) -> nn.Module:
    """The same network, whose wide convolutions are `WinogradConv2d`s. Results differ by rounding alone.

    Kernels that need no gradient are transformed now: load weights first. It takes memory, as kernels and
    pictures are there as tiles, too: a step of vox-adv-256 with one pair needs 3.0 GiB, and 2.3 without.

    Example:
        >>> convolution, x = nn.Conv2d(128, 8, 3, padding=1), torch.rand(1, 128, 32, 32)
        >>> torch.allclose(convolution(x), by_winograd(convolution)(x), atol=1e-5)
        True
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _suits_winograd(module):
            module.__class__ = WinogradConv2d
            module.prepare()
    return network


def _suits_winograd(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size in {(3, 3), (4, 4)}
        and convolution.in_channels >= WINOGRAD_CHANNELS[convolution.kernel_size[0]]
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.bias is not None
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def keep_memory() -> bool:
    """Let the process keep the memory that it frees, for what it allocates next; gives whether it can.

    For each large tensor the C library of Linux asks the system for memory, and gives it back afterwards. The
    system clears every page of it, which takes as long as a pass over the tensor: a tenth of a step of
    training. Kept memory is clear enough. It is a setting of the whole process, which then stays as large as
    it ever was. On a GPU, PyTorch keeps memory by itself.

    Source: mallopt(3).
    """
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(mmap_max, 0), mallopt(trim_threshold, 2**31 - 1), mallopt(top_pad, 2**26)])
    return False


class _SumOverProcesses(torch.autograd.Function):
    """x of all processes, added; so are the gradients, on the way back."""

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        x = x.clone()
        torch.distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        torch.distributed.all_reduce(gradient)
        return gradient


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose mean and variance are those of all processes' batches, which are of one size.

    PyTorch's own does it on GPUs only; this one does it anywhere, in a few lines that one can follow.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        processes = torch.distributed.get_world_size()
        wide = x.float()
        mean = _SumOverProcesses.apply(wide.mean((0, 2, 3))) / processes
        centred = wide - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().mean((0, 2, 3))) / processes
        with torch.no_grad():
            count = processes * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        out = centred * (self.weight * torch.rsqrt(variance + self.eps))[:, None, None]
        return (out + self.bias[:, None, None]).to(x.dtype)


def synchronize_batch_norm(network: nn.Module) -> nn.Module:
    """The same network, with the same parameters, whose batch norms see the batches of all processes."""
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronizedBatchNorm2d
    return network
