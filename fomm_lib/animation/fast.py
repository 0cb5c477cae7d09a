"""The same networks, rearranged to run faster: algebra done once, before the first frame.

The weights of a trained network are constants, so products of them can be computed beforehand. This changes
the order of operations, not the result, which differs by rounding alone:

- a batch norm in eval mode is a scale and a shift, and goes into the convolution before it (`folded`);
- nearest doubling and then a convolution are one transposed convolution, with 4/9 of the multiplications
  (`FusedUpsampling`), or a convolution of the small map (`PixelUpsampling`);
- a convolution to few channels does not fill the vector units, which handle 16 at a time: a 2x2 block of
  pixels is computed as 4 times the channels (`FewChannels`);
- a 3x3 convolution of many channels is cheaper as 36 matrix products on 6x6 tiles (`Winograd`).

Weights and images are stored channels last, so that each product runs along contiguous numbers.

In bfloat16, whose numbers have 8 significant bits, every rounding matters. Convolutions round their inputs
and outputs, and accumulate in float32; the sums of residual blocks stay in float32, because each block would
otherwise round the sum of all before it. `Winograd` is not used: its differences of neighbours and sums with
weights up to 16 make a rounding error four times as large, and a processor that multiplies in bfloat16 gains
little by it.
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.animation.winograd import Winograd, constant, to_layout_of
from fomm_lib.blocks import DownBlock, ResidualBlock, SameBlock, UpBlock
from fomm_lib.errors import InputError
from fomm_lib.generator import EncodedSource, Generated
from fomm_lib.geometry import at_least_float32
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CPU_INFO = Path("/proc/cpuinfo")  # of Linux
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of AMD, Intel and Arm


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32.

    Of a CPU only Linux tells; elsewhere the answer is no. A processor of Intel needs AMX: with avx512_bf16
    alone heads-256 made 8.2 frames a second, and 9.5 in float32 (on AMD 11.9 and 10.5).

    Example:
        >>> multiplies_bfloat16(torch.device("meta"))
        False
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not CPU_INFO.is_file():
        return False
    words = set(CPU_INFO.read_text(encoding="utf-8", errors="replace").split())
    flags = {"amx_bf16"} if "GenuineIntel" in words else BFLOAT16_FLAGS
    return not flags.isdisjoint(words)


class FastModel:
    """A trained model, rearranged for speed: the same images, several times as fast.

    It encodes, detects and generates as `FirstOrderMotionModel` does, and replaces it in `Animator` and
    `animate`. These make one of a `FirstOrderMotionModel`; make it yourself to choose a precision, or once
    for many sources. It computes with a copy of the weights as they are now.

    Args:
        model: in eval mode; see `load_model`.
        precision: "float32" differs from the plain model by rounding alone; "bfloat16" is faster on
            processors that support it: the generator's convolutions from the bottleneck to the image, which
            take nearly all the time, run in it; the sums of its residual blocks stay in float32. The motion
            (keypoints, flow, occlusion) is always computed in float32, because an error of half a pixel is
            visible, and so is the encoder, which runs once per source. "auto" is bfloat16 where the device
            multiplies it (`multiplies_bfloat16`), else float32: with `heads-128` at 256 pixels the two
            differ by one grey level at most (68 dB), and LPIPS is the same to four digits. None is the dtype
            of the weights. On a GPU PyTorch's own setting says whether convolutions in float32 use TF32,
            with 10 bits (`torch.backends.cudnn.allow_tf32`, on unless you turn it off).
        compile: hand the networks to `torch.compile`, which is slow at the first frames of every batch size,
            and on a CPU needs a C++ compiler. Instead of True one of its modes: "reduce-overhead" records
            CUDA graphs on a GPU.

    Attributes:
        precision: the one in use, "float32" or "bfloat16"; another name for weights of another dtype.

    Raises:
        InputError: the model is in training mode, or there is no such precision.

    Example:
        >>> fast = FastModel(model, precision="bfloat16")
        >>> Animator(fast, source)(driving[:8]).prediction.shape
        torch.Size([8, 3, 64, 64])
    """

    def __init__(
        self, model: FirstOrderMotionModel, *, precision: str | None = None, compile: bool | str = False
    ):
        if model.training:
            raise InputError(
                "the model is in training mode, in which it generates noise; call model.eval() first"
            )
        if precision not in (None, "auto", *PRECISIONS):
            hint = "; int8 needs backend onnxruntime or openvino" if precision == "int8" else ""
            raise InputError(f"precision {precision}: there are auto, {' and '.join(PRECISIONS)}{hint}")
        weight = next(model.parameters())
        if precision == "auto":
            precision = "bfloat16" if multiplies_bfloat16(weight.device) else "float32"
        dtype = weight.dtype if precision is None else PRECISIONS[precision]
        self.size, self.size_multiple, self.device = model.size, model.size_multiple, weight.device
        self.align_corners, self.precision = model.align_corners, str(dtype).removeprefix("torch.")
        # The libraries of a GPU choose fast algorithms themselves.
        on_cpu = self.device.type == "cpu"
        exact = at_least_float32(weight).dtype
        detector = faster(model.kp_detector, dtype=exact, rearrange=on_cpu)
        # What follows has its own dtype, and constants that take time and memory: not twice.
        before = _without(model.generator, "bottleneck", "up_blocks", "final", "decoder", "inpainter")
        generator = faster(before, dtype=exact, rearrange=on_cpu)
        plain, at_once = model.generator.decoder is None, 1 if on_cpu else None
        bottleneck = faster(model.generator.bottleneck, dtype=dtype, rearrange=on_cpu)
        generator.bottleneck = _Decoder(bottleneck, at_once)
        layers = model.generator.decoder
        if plain:
            layers = nn.Sequential(*model.generator.up_blocks, model.generator.final).eval()
        decoder = _Decoder(faster(layers, dtype=dtype, rearrange=on_cpu), at_once)
        if plain:
            generator.up_blocks, generator.final = nn.ModuleList([decoder]), nn.Identity()
        else:
            generator.decoder = decoder
        if model.generator.inpainter is not None:
            generator.inpainter = faster(model.generator.inpainter, dtype=dtype, rearrange=on_cpu)
        self.kp_detector, self.generator = detector, generator
        self._detect, self._generate = detector, generator
        if compile:
            mode = None if compile is True else compile
            self._detect, self._generate = (torch.compile(part, mode=mode) for part in (detector, generator))

    def encode(self, source: Tensor) -> EncodedSource:
        """What depends on the source alone. (B, 3, H, W) in [0, 1]."""
        with torch.inference_mode():
            return self.generator.encode(source)

    def detect(self, image: Tensor) -> Keypoints:
        """Keypoints of images (B, 3, H, W) in [0, 1], without their heatmaps."""
        with torch.inference_mode():
            kp = self._detect(image)
            # Cloned, because CUDA graphs reuse the memory of their results.
            return Keypoints(kp.value.clone(), None if kp.jacobian is None else kp.jacobian.clone())

    def generate(
        self,
        source: EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        with_visuals: bool = False,
    ) -> Generated:
        """The source with the keypoints of the driving frame; see `OcclusionAwareGenerator.forward`."""
        with torch.inference_mode():
            return self._generate(source, kp_source, kp_driving, with_visuals=with_visuals)


def _without(network: nn.Module, *names: str) -> nn.Module:
    """A copy of a network with the same tensors, and with layers that do nothing for some children."""
    result = copy.copy(network)
    children = network._modules.items()
    result._modules = {k: nn.Identity().eval() if k in names and v is not None else v for k, v in children}
    return result


class _Decoder(nn.Module):
    """The bottleneck, or the layers from there to the image, for `at_once` frames at a time (None: all). So
    the maps of a frame stay in the processor's cache, and the next frame uses their memory again: four frames
    of vox-256 at once need new memory in each layer, which the system clears first, 8 of 29 ms a convolution.
    """

    def __init__(self, layers: nn.Module, at_once: int | None):
        super().__init__()
        self.layers, self.at_once = layers, at_once

    def forward(self, *inputs: Tensor) -> Tensor:
        count = self.at_once or len(inputs[0])
        parts = zip(*(tensor.split(count) for tensor in inputs), strict=True)
        return torch.cat([at_least_float32(self.layers(*part)) for part in parts])


# Each rearrangement is faster on one side of a limit only; measured on a processor with AVX-512.
WINOGRAD_CHANNELS = 128  # at least; Winograd moves more numbers than a plain convolution
FUSED_OUT_CHANNELS = 256  # at most; small maps of many channels wait for weights, of which fusing has 16/9
FEW_CHANNELS = 7  # at most


def faster(
    network: nn.Module,
    *,
    dtype: torch.dtype = torch.float32,
    rearrange: bool = True,
    exported: bool = False,
) -> nn.Module:
    """A copy of a network in eval mode, its blocks and convolutions replaced by faster ones that compute the
    same.

    Args:
        network: made of the blocks of `fomm_lib.blocks` and convolutions; it is not changed.
        dtype: of weights, and of inputs and outputs of convolutions; float32 or bfloat16. Outputs of residual
            blocks are float32 in either case.
        rearrange: False only folds batch norms, and leaves the convolutions to the library, which on a GPU
            chooses fast algorithms itself.
        exported: use only what other programs have, too: `PixelUpsampling` instead of `FusedUpsampling`, and
            no `Winograd`.
    Raises:
        ValueError: the network is in training mode, in which batch norms are not constant.

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
    replacement = _replacement(network, dtype, rearrange, exported)
    if replacement is not None:
        return replacement.eval()
    result = copy.copy(network)
    for table in ("_parameters", "_buffers", "_modules"):  # tables of its own, which hold the same tensors
        setattr(result, table, dict(getattr(network, table)))
    for name, child in network.named_children():
        result._modules[name] = faster(child, dtype=dtype, rearrange=rearrange, exported=exported)
    return result


def _replacement(module: nn.Module, dtype: torch.dtype, rearrange: bool, exported: bool) -> nn.Module | None:
    if isinstance(module, (DownBlock, SameBlock)):
        convolution = _Convolution(*folded(module.conv, module.norm), dtype)
        pool = [nn.AvgPool2d(2)] if isinstance(module, DownBlock) else []
        return nn.Sequential(convolution, nn.ReLU(inplace=True), *pool)
    if isinstance(module, UpBlock):
        weight, bias = folded(module.conv, module.norm)
        if rearrange and module.conv.out_channels <= FUSED_OUT_CHANNELS:
            doubling = PixelUpsampling if exported else FusedUpsampling
            return nn.Sequential(doubling(weight, bias, dtype), nn.ReLU(inplace=True))
        convolution = _Convolution(weight, bias, dtype)
        return nn.Sequential(nn.Upsample(scale_factor=2), convolution, nn.ReLU(inplace=True))
    if isinstance(module, ResidualBlock):
        return _FasterResidual(module, dtype, rearrange and not exported)
    if isinstance(module, nn.Conv2d):
        few = rearrange and module.out_channels <= FEW_CHANNELS
        return (FewChannels if few else _Convolution)(module.weight, module.bias, dtype, module.padding[0])
    return None


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals `conv` followed by `norm` in eval mode.

    gamma (conv(x) - mean) / sqrt(var + eps) + beta = s (W x + b - mean) + beta, s = gamma / sqrt(var + eps).
    """
    scale, shift = _scale_and_shift(norm)
    return conv.weight.double() * scale[:, None, None, None], conv.bias.double() * scale + shift


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


class _Convolution(nn.Module):
    """A convolution with constant weights, in a dtype of its own and channels last."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, padding: int | None = None):
        super().__init__()
        self.register_buffer("weight", constant(weight, dtype, torch.channels_last))
        self.register_buffer("bias", constant(bias, dtype))
        self.padding = weight.shape[-1] // 2 if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(to_layout_of(self.weight, x), self.weight, self.bias, padding=self.padding)


def fused_upsampling_kernel(weight: Tensor) -> Tensor:
    """The kernel of the transposed convolution that doubles an image and convolves it, (in, out, 4, 4).

    Nearest-neighbour doubling repeats each pixel four times, and a 3x3 kernel (out, in, 3, 3) multiplies each
    copy by its own weight. Adding the weights of equal copies first leaves 16 of 36 multiplications: output
    pixel 2i + a sees input pixel j through w4[2i + a - 2j + 1], where w4 is the flipped kernel, convolved
    with [1, 1].
    """
    added = weight.new_zeros(*weight.shape[:2], 4, 4)
    for i, j in itertools.product((0, 1), repeat=2):
        added[..., i : i + 3, j : j + 3] += weight
    # A transposed convolution takes (in, out, h, w), and applies the kernel flipped.
    return added.flip(2, 3).transpose(0, 1)


class FusedUpsampling(_Convolution):
    """Nearest doubling and a 3x3 convolution as one transposed 4x4 convolution of stride 2.

    (B, in, H, W) to (B, out, 2H, 2W), with 16 multiplications for 36; see `fused_upsampling_kernel`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype):
        super().__init__(fused_upsampling_kernel(weight.double()), bias, dtype, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = to_layout_of(self.weight, x)
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=self.padding)


class PixelUpsampling(_Convolution):
    """The same as a 2x2 convolution, for programs that convolve faster than they convolve transposed.

    The four pixels of the result between two rows and two columns of the small map see the same 2x2 pixels of
    it. So one convolution gives all four as 4 times the channels, at (H + 1, W + 1) places; `pixel_shuffle`
    arranges them, and the outermost pixels are cut off.

    Example:
        >>> weight, bias, x = torch.rand(2, 3, 3, 3), torch.rand(2), torch.rand(1, 3, 4, 5)
        >>> expected = FusedUpsampling(weight, bias, torch.float32)(x)
        >>> torch.allclose(PixelUpsampling(weight, bias, torch.float32)(x), expected, atol=1e-5)
        True
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype):
        kernel = fused_upsampling_kernel(weight.double()).transpose(0, 1)  # (out, in, 4, 4)
        parts = ([2, 0], [3, 1])  # of the pixel below or right of the middle of 2x2, of that above or left
        four = [kernel[:, :, rows][..., columns] for rows in parts for columns in parts]
        weight = torch.stack(four, dim=1).flatten(0, 1)
        super().__init__(weight, bias.repeat_interleave(4), dtype, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), 2)[..., 1:-1, 1:-1]


class FewChannels(_Convolution):
    """A convolution to few channels: each 2x2 block of its pixels is computed at once, as 4 times the
    channels, by a kernel that is one pixel wider, with stride 2; `pixel_shuffle` then arranges the blocks.

    The sides of its result must be even, as those of an hourglass and of a doubled image are.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, padding: int):
        # The four kernels of a block are the same one, shifted by 0 or 1 pixels along each axis.
        shifts = [F.pad(weight, (dx, 1 - dx, dy, 1 - dy)) for dy in (0, 1) for dx in (0, 1)]
        weight = torch.stack(shifts, dim=1).flatten(0, 1)
        super().__init__(weight, bias.repeat_interleave(4), dtype, padding)

    def forward(self, x: Tensor) -> Tensor:
        x = to_layout_of(self.weight, x)
        blocks = F.conv2d(x, self.weight, self.bias, stride=2, padding=self.padding)
        return F.pixel_shuffle(blocks, 2)


class _FasterResidual(nn.Module):
    """`ResidualBlock`: its first batch norm, which a ReLU separates from the convolution, stays a scale and a
    shift; its second is folded into the convolution before it. The sum is never rounded below float32.
    """

    def __init__(self, block: ResidualBlock, dtype: torch.dtype, rearrange: bool):
        super().__init__()
        exact = torch.promote_types(dtype, torch.float32)
        wide = rearrange and dtype == exact and block.conv1.in_channels >= WINOGRAD_CHANNELS
        convolution = Winograd if wide else _Convolution
        scale, shift = _scale_and_shift(block.norm1)
        self.register_buffer("scale", constant(scale[:, None, None], exact))
        self.register_buffer("shift", constant(shift[:, None, None], exact))
        self.conv1 = convolution(*folded(block.conv1, block.norm2), dtype)
        self.conv2 = convolution(block.conv2.weight, block.conv2.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = to_layout_of(self.scale, x)
        out = self.conv1(torch.addcmul(self.shift, x, self.scale).relu_())
        return self.conv2(out.relu_()).to(x.dtype).add_(x)
