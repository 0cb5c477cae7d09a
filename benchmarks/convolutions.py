"""What Winograd's tiles gain and lose on one convolution, in float32 and in bfloat16.

    python -m benchmarks.convolutions             # 256 channels, 64x64, as in vox-256
    python -m benchmarks.convolutions --channels 64 --side 64 --rounds 20

Most of the time of an animation goes to such a 3x3 convolution. "direct" is PyTorch's; "tiles of n" computes
n x n results at once by (n + 2)^2 products of matrices (`fomm_lib.animation.winograd`); "products" is the
time of these products alone. "exact" is what the library uses in float32. In bfloat16 the library convolves
directly: this script says why. All variants take turns in one process, on one thread; a time is the median
of processor time, a ratio is to the direct convolution in float32. dB is the ratio of the power of the
result to that of the error, against float64.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Table, parser
from fomm_lib.animation.winograd import POINTS, Winograd, transform_kernel, winograd_matrices


def main() -> None:
    """Print a row for every way to convolve."""
    options = parser(__doc__)
    options.add_argument("--channels", type=int, default=256)
    options.add_argument("--side", type=int, default=64, help="of the image, in pixels")
    options.add_argument("--rounds", type=int, default=15)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    channels, side = arguments.channels, arguments.side
    image = torch.randn(1, channels, side, side).relu().to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3) / (9 * channels) ** 0.5
    with torch.inference_mode():
        wanted = F.conv2d(image.double(), weight.double(), padding=1)
        table = Table({"way": "", "ms": ".1f", "ratio": ".2f", "products ms": ".1f", "dB": ".1f"}, width=24)
        variants = ways(image, weight)
        times = take_turns([call for pair in variants.values() for call in pair if call], arguments.rounds)
        first = next(iter(times))
        for name, (convolve, multiply) in variants.items():
            error = convolve().double() - wanted
            quality = 10 * torch.log10(wanted.square().mean() / error.square().mean()).item()
            table.row(name, times[convolve], times[first] / times[convolve], times.get(multiply), quality)


def take_turns(calls: list[Callable[[], Tensor]], rounds: int) -> dict[Callable, float]:
    """Median processor time of each, in milliseconds, after a warm-up."""
    found = {call: [] for call in calls}
    for number in range(rounds + 1):
        for call in calls:
            started = time.process_time()
            call()
            if number:
                found[call].append(time.process_time() - started)
    return {call: 1000 * statistics.median(seconds) for call, seconds in found.items()}


def ways(image: Tensor, weight: Tensor) -> dict[str, tuple[Callable[[], Tensor], Callable | None]]:
    """Name -> how to convolve, and for tiles how to do the products alone."""
    zeros = torch.zeros(len(weight))
    exact = Winograd(weight, zeros, torch.float32)
    direct = {
        str(dtype).removeprefix("torch."): [
            x.to(dtype, memory_format=torch.channels_last) for x in (image, weight)
        ]
        for dtype in (torch.float32, torch.bfloat16)
    }
    found = {
        f"{name}, direct": ((lambda pair=pair: F.conv2d(*pair, padding=1)), None)
        for name, pair in direct.items()
    }
    found["float32, exact"] = (lambda: exact(image)), None
    for points in (POINTS[:3], POINTS[:4], POINTS):  # 0, 1, -1 are the best three
        tiles = _Tiled(direct["bfloat16"][0], weight, points)
        found[f"bfloat16, tiles of {len(points) - 1}"] = tiles.convolve, tiles.multiply
    return found


class _Tiled:
    """Winograd's convolution with tiles, kernels and products in bfloat16; products are summed in float32.

    Args:
        image: (1, C, H, W); weight: (C, C, 3, 3); points: of `winograd_matrices`, two more than results.
    """

    def __init__(self, image: Tensor, weight: Tensor, points: tuple[float, ...]):
        into, kernel, back = (torch.kron(matrix, matrix) for matrix in winograd_matrices(points))
        self.image, self.size, self.step = image, len(points) + 1, len(points) - 1
        self.kernels = transform_kernel(weight.double(), kernel).bfloat16()
        self.into, self.back = into.to(image.dtype), back.to(image.dtype)
        self.tiles = self.cut()

    def cut(self) -> Tensor:
        """The transformed tiles, (positions, tiles, C)."""
        channels, height, width = self.image.shape[1:]
        rows, columns = -(-height // self.step), -(-width // self.step)
        below, right = rows * self.step - height + 1, columns * self.step - width + 1
        x = F.pad(self.image.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
        x = x.unfold(1, self.size, self.step).unfold(2, self.size, self.step)
        x = x.permute(4, 5, 0, 1, 2, 3).reshape(self.size**2, -1)
        self.grid = rows, columns
        return (self.into @ x).view(self.size**2, -1, channels)

    def multiply(self) -> Tensor:
        """The products of all positions."""
        return torch.bmm(self.tiles, self.kernels)

    def convolve(self) -> Tensor:
        """(1, C, H, W)."""
        self.tiles = self.cut()
        y = (self.back @ self.multiply().flatten(1)).view(self.step, self.step, *self.grid, -1)
        y = y.permute(2, 0, 3, 1, 4).flatten(0, 1).flatten(1, 2)
        return y[: self.image.shape[2], : self.image.shape[3]].permute(2, 0, 1)[None]


if __name__ == "__main__":
    main()
