"""Convolutions with integers of 8 bits: the channels are balanced, then the graph is quantised.

A tensor of 8 bits has 256 values for everything between the smallest and the largest number seen during
calibration; a channel a tenth as large as another one of its tensor has 25 of them. `balance` divides the
channels that a convolution reads by factors, and multiplies its weights by the same: the result is the same
but for rounding, and the channels are about equally large. `quantize` writes the graph with 8 bits.

What was measured with `heads-128` generating at 256 pixels, eight frames, OpenVINO, PSNR to float32: 46.1 dB
with ranges from smallest to largest; 47.0 with balanced channels, 48.0 with the last convolution in float32
too, and 49.4 with ranges that leave out one number of 100,000. Half of these frames were used to calibrate,
too. With eight frames that were not (`python -m benchmarks.inference`): 41.8 dB, and 47.2 since the skips and
the results of the dense motion's convolutions are not rounded. `python -m benchmarks.eight_bits` says what
each part loses.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

# Of all numbers in a tensor, so many percent are between the ends of its range; the others become the ends.
PERCENTILE = 99.999


class Scaled(nn.Module):
    """Channels times constants, (C,): (B, C, H, W) to the same shape."""

    def __init__(self, factors: Tensor):
        super().__init__()
        self.register_buffer("factors", factors)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors[:, None, None]


@torch.no_grad()
def balance(generator: nn.Module, calls: Iterable[Callable[[], object]]) -> None:
    """Make the channels that the convolutions after the warp read about equally large, in place.

    Channel c of a convolution's input is divided by s_c = sqrt(a_c / w_c), and its weights are multiplied by
    s_c, where a_c is the largest number of the channel in `calls`, and w_c the largest weight that reads it.
    A ReLU in between does not matter, since s_c > 0.

    Args:
        generator: an `OcclusionAwareGenerator` as `faster(..., exported=True)` gives it.
        calls: each runs the generator with typical inputs.

    Source: Xiao et al., SmoothQuant, 2023, eq. (4); Nagel et al., Data-Free Quantization Through Weight
    Equalization and Bias Correction, 2019, section 4.1.
    """
    readers = list(_readers(generator))
    largest: dict[nn.Module, Tensor] = {}

    def look(convolution: nn.Module, inputs: tuple[Tensor]) -> None:
        seen = inputs[0].abs().amax(dim=(0, 2, 3))
        largest[convolution] = torch.maximum(largest.get(convolution, seen), seen)

    hooks = [convolution.register_forward_pre_hook(look) for convolution, _ in readers]
    for call in calls:
        call()
    for hook in hooks:
        hook.remove()
    for convolution, before in readers:
        factors = _factors(largest[convolution], convolution.weight)
        convolution.weight.mul_(factors[:, None, None])
        for tensor in before:  # `PixelUpsampling` has each channel four times
            divisors = factors.repeat_interleave(len(tensor) // len(factors))
            tensor.div_(divisors.reshape(-1, *[1] * (tensor.ndim - 1)))


def _readers(generator: nn.Module) -> Iterator[tuple[nn.Module, list[Tensor]]]:
    """The convolutions after the warp, each with the constants before it that scale what it reads.

    Of a decoder with skips only the first: the others also read skips, which no constants scale.
    """
    for block in generator.bottleneck:
        yield block.conv1, [block.scale, block.shift]
        yield block.conv2, [block.conv1.weight, block.conv1.bias]
    skips = generator.decoder is not None
    blocks = generator.decoder.up_blocks[:1] if skips else generator.up_blocks
    decoder = [next(layer for layer in block if hasattr(layer, "weight")) for block in blocks]
    decoder += [] if skips else [generator.final]
    first = decoder[0].weight
    entry = Scaled(torch.ones_like(first[0, :, 0, 0]))
    generator.bottleneck.append(entry)  # its input is a sum, which nothing scales yet
    before = [entry.factors]
    for convolution in decoder:
        yield convolution, before
        before = [convolution.weight, convolution.bias]


def _factors(largest: Tensor, weight: Tensor) -> Tensor:
    """sqrt(a_c / w_c), divided by their geometric mean; of channels that are nearly 0 as if they were not."""
    of_weight = weight.abs().amax(dim=(0, 2, 3))
    sizes = (size.clamp(min=max(size.max().item() * 1e-3, 1e-12)) for size in (largest, of_weight))
    logs = torch.sub(*(size.log() for size in sizes)) / 2
    return (logs - logs.mean()).exp()


def quantize(graph: Path, result: Path, examples: Iterator[dict[str, np.ndarray]]) -> None:
    """Write generate.onnx with convolutions that read and multiply integers of 8 bits.

    Weights have one scale per channel, activations one per tensor. The last convolution, and the first and
    the last ones of the dense motion stay in float32, because an error of the flow shows more than one of the
    colours. For the same reason nothing of the dense motion is rounded but what its convolutions read; see
    `keep_flow_exact`.

    Args:
        graph, result: files.
        examples: typical inputs, from which the ranges of activations are taken.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Examples(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(examples, None)

    exact = sensitive(onnx.load(graph, load_external_data=False))
    with _quiet():
        quantize_static(
            graph,
            result,
            Examples(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=exact,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
    model = onnx.load(result)
    keep_flow_exact(model, exact)
    onnx.save(model, result)


def keep_flow_exact(model, exact: Collection[str]) -> None:
    """Let only the convolutions of the dense motion read rounded numbers, in place.

    `quantize_static` rounds what a convolution in 8 bits reads and what it returns, for all that read these
    tensors: in an hourglass also for the skips, which end in masks and occlusion.

    Args:
        model: a graph that `quantize_static` wrote.
        exact: the convolutions that it left in float32, which here read no rounded numbers either.
    """
    exactly = before_rounding(model)
    for node in model.graph.node:
        multiplies_rounded = node.op_type == "Conv" and node.name not in exact
        if "dense_motion_network/" in node.name and not multiplies_rounded:
            node.input[:] = [exactly.get(name, name) for name in node.input]


def before_rounding(model) -> dict[str, str]:
    """Name of a rounded tensor -> name of the tensor before it was rounded, in a graph of `quantize_static`.

    Weights are not among them: only their integers are in the file.
    """
    nodes = model.graph.node
    integers = {node.output[0]: node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    back = (node for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in integers)
    return {node.output[0]: integers[node.input[0]] for node in back}


def sensitive(model) -> list[str]:
    """Names of the nodes of generate.onnx that stay in float32: the first and last of the dense motion, and
    the last of all.
    """
    blocks = r"mask|occlusion|hourglass/encoder/down_blocks\.0|hourglass/decoder/up_blocks\.(\d+)"
    names = [node.name for node in model.graph.node]
    found = {name: re.search(rf"dense_motion_network/(?:{blocks})/", name) for name in names}
    last = max(int(match[1]) for match in found.values() if match and match[1])
    of_motion = [name for name, match in found.items() if match and match[1] in (None, f"{last}")]
    return of_motion + [name for name in names if re.search(r"network/(decoder/)?final/", name)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the calibration prints, and the advice to merge batch norms first, which is done already."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
