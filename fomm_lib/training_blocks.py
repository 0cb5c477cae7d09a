"""Blocks that compute the same as those of `fomm_lib.blocks`, in another way while a model trains.

They take over the parameters of the blocks they replace, and their names, so that weights stay what they are.
"""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.blocks import UpBlock

# From more channels on, doubling as one convolution is slower on CPUs: such maps are small, and reading the
# weights, of which it has 16/9 as many, then costs more than multiplying.
DOUBLING_CHANNELS = 256


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
