"""Layers that compute the same as those of `fomm_lib.blocks`, faster while a model trains.

They take over the parameters of the layers they replace, under the same names, so that weights stay readable.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.animation.fast import fused_upsampling_kernel
from fomm_lib.animation.winograd import convolve_tiles, tile_counts, tile_matrices, transform_kernel
from fomm_lib.blocks import UpBlock

# With more channels a fused upsampling is slower on CPUs: such maps are small, and reading the weights, of
# which it has 16/9 as many, then takes longer than multiplying.
FUSED_IN_CHANNELS = 256

# Where Winograd's tiles are faster than a plain convolution, by whether the kernel learns: measured on one
# core with AVX-512, and learned kernels of 64 channels on one with AVX2, where they take a third of the time.
WINOGRAD_CHANNELS = {True: 64, False: 128}  # at least
WINOGRAD_TILES = {True: 64, False: 16}  # at least, of all images


def replace_modules(network: nn.Module, replace: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """The network with those of its modules replaced for which `replace` gives another one.

    It changes `network` in place, unless that is itself replaced.
    """
    replacement = replace(network)
    if replacement is not None:
        return replacement
    for name, child in network.named_children():
        setattr(network, name, replace_modules(child, replace))
    return network


class FusedUpBlock(UpBlock):
    """`UpBlock` with doubling and convolution as one: a transposed convolution of 4x4 with stride 2.

    It takes 4 of 9 multiplications; see `animation.fast.fused_upsampling_kernel`. It reads the kernel without
    calling the convolution. So if that has hooks (the older spectral norm is one, and computes the kernel),
    it is the plain block.
    """

    def __init__(self, block: UpBlock):
        self.__dict__.update(block.__dict__)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv._forward_pre_hooks or self.conv._forward_hooks:
            return super().forward(x)
        kernel = fused_upsampling_kernel(self.conv.weight)
        x = F.conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=1)
        return F.relu(self.norm(x))


def fuse_upsampling(network: nn.Module) -> nn.Module:
    """Replace up blocks of up to `FUSED_IN_CHANNELS` by `FusedUpBlock`s; see `replace_modules`.

    Results differ by rounding alone.

    Example:
        >>> block, x = UpBlock(8, 4), torch.rand(2, 8, 5, 5)
        >>> expected = block(x)
        >>> torch.allclose(expected, fuse_upsampling(block)(x), atol=1e-5)
        True
    """

    def fused(module: nn.Module) -> nn.Module | None:
        if type(module) is UpBlock and module.conv.in_channels <= FUSED_IN_CHANNELS:
            return FusedUpBlock(module)
        return None

    return replace_modules(network, fused)


class WinogradConv2d(nn.Conv2d):
    """A convolution of 3x3 or 4x4 that takes a quarter of the multiplications, forward and backward.

    It is computed by `animation.winograd.convolve_tiles`. That consists of cutting into tiles, matrix
    products and putting together, so autograd goes back through the same matrices, transposed, and the
    gradients of images and kernels cost a quarter, too.

    Rounding errors are 1.5e-6 of the results in float32, where plain convolutions make 0.6e-6; but 2e-2 in
    bfloat16, where those make 3e-3. So every call chooses: it goes by tiles in float32 (or float64) on a CPU,
    if there are enough tiles that transforming the kernel, from 9 numbers to 36, takes little time beside
    multiplying. Otherwise it is the plain convolution.

    A kernel that is a parameter without gradient is transformed once, here and whenever a state dict is
    loaded. Any other is transformed in every call: one that learns, or has begun to, and one that is computed
    from other parameters, as under spectral norm, weight norm or any other parametrization.

    Args:
        convolution: its parameters, settings and hooks (the older spectral norm is a hook) are taken over.
    """

    def __init__(self, convolution: nn.Conv2d):
        self.__dict__.update(convolution.__dict__)
        # Not of `weight`: before its first call a computed kernel may still have another dtype and device.
        parameter = next(self.parameters())
        into, transform, back = (matrix.to(parameter) for matrix in tile_matrices(self.kernel_size[0]))
        for name, matrix in {"into": into, "transform": transform, "back": back, "fixed": None}.items():
            self.register_buffer(name, matrix, persistent=False)
        self._fix()

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = tile_counts(x, self.kernel_size[0], self.padding)
        rounded = torch.is_autocast_enabled("cpu") or x.dtype not in (torch.float32, torch.float64)
        fixed = self.fixed if self._constant() else None
        few = len(x) * rows * columns < WINOGRAD_TILES[fixed is None]
        if rounded or few or x.device.type != "cpu":
            return super().forward(x)
        kernel = transform_kernel(self.weight, self.transform) if fixed is None else fixed
        return convolve_tiles(x, kernel, self.bias, self.into, self.back, self.padding)

    def _constant(self) -> bool:
        # A kernel that is computed from others is no parameter, and may need no gradient before the first
        # call, or ever: spectral norm changes a kernel of which nothing is learned.
        return "weight" in self._parameters and not self.weight.requires_grad

    def _fix(self) -> None:
        self.fixed = transform_kernel(self.weight, self.transform) if self._constant() else None

    def _load_from_state_dict(self, *arguments, **options) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self._fix()


def by_winograd(network: nn.Module) -> nn.Module:
    """Replace wide convolutions by `WinogradConv2d`s; see `replace_modules`.

    Results differ by rounding alone. It takes memory, since kernels and images are held as tiles, too: a step
    of vox-adv-256 with one pair needs 3.0 GiB, and 2.3 without.

    Example:
        >>> convolution, x = nn.Conv2d(128, 8, 3, padding=1), torch.rand(1, 128, 32, 32)
        >>> torch.allclose(convolution(x), by_winograd(convolution)(x), atol=1e-5)
        True
    """

    def wide(module: nn.Module) -> nn.Module | None:
        return WinogradConv2d(module) if _suits_winograd(module) else None

    return replace_modules(network, wide)


def _suits_winograd(module: nn.Module) -> bool:
    learns = any(parameter.requires_grad for parameter in module.parameters())
    return (
        type(module) is nn.Conv2d
        and module.kernel_size in {(3, 3), (4, 4)}
        and module.in_channels >= WINOGRAD_CHANNELS[learns]
        and module.stride == module.dilation == (1, 1)
        and module.groups == 1
        and module.bias is not None
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def keep_memory() -> bool:
    """Let the process keep the memory that it frees for later allocations; gives whether it can.

    The C library of Linux asks the system for the memory of each large tensor, and returns it afterwards. The
    system clears every page of it, which takes as long as a pass over the tensor: a tenth of a training step.
    Kept memory needs no clearing. This is a setting of the entire process, which never shrinks from then on.
    On a GPU, PyTorch keeps memory by itself.

    Source: mallopt(3).
    """
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(mmap_max, 0), mallopt(trim_threshold, 2**31 - 1), mallopt(top_pad, 2**26)])
    return False
