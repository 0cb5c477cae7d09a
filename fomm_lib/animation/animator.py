"""From a source and driving frames to images: what a trained model computes again for every frame."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm_lib.animation.detail import enlarged, lost_detail, with_detail
from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.movement import movement_scale, relative_motion
from fomm_lib.errors import InputError
from fomm_lib.generator import EncodedSource, Generated
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.outputs import VIEWING_SIZE
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import image_array, resize, to_tensor
from fomm_lib.model import FirstOrderMotionModel

LARGEST_SIZE = 4096  # pixels of a side
LARGEST_GAIN = 2  # times the size that a model has learned; with `detail`, more made nothing better


@runtime_checkable
class AnimatableModel(Protocol):
    """What can be animated: a `FirstOrderMotionModel`, a `FastModel`, an `ExportedModel`.

    Attributes:
        size: (height, width) of the images in which motion is estimated.
        size_multiple: images can be generated at all multiples of this; None if only at `size`.
        align_corners: of its warps, see `geometry`.
        device: where it computes.
    """

    size: tuple[int, int]
    size_multiple: int | None
    align_corners: bool

    @property
    def device(self) -> torch.device:
        """The device that tensors must be on."""

    def encode(self, source: Tensor) -> EncodedSource:
        """What depends on the source alone. (B, 3, H, W) in [0, 1]."""

    def detect(self, image: Tensor) -> Keypoints:
        """Keypoints of images (B, 3, H, W) in [0, 1]."""

    def generate(
        self,
        source: EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        with_visuals: bool = False,
    ) -> Generated:
        """The source with the keypoints of the driving frames; see `OcclusionAwareGenerator.forward`."""


def generated_size(model: AnimatableModel, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of the images that a model generates if asked for `size`: their shorter side, or both.

    Raises:
        InputError: the model cannot generate images of this size.

    Example:
        >>> generated_size(load_model("heads-64"), 128)
        (128, 128)
    """
    height, width = model.size
    shorter = min(height, width)
    if isinstance(size, tuple) or size in (None, shorter):
        sides, step = tuple(size) if isinstance(size, tuple) else (height, width), model.size_multiple
        most = LARGEST_SIZE
    else:
        # So that both sides are multiples.
        step = model.size_multiple and model.size_multiple * shorter // math.gcd(height, width)
        most = LARGEST_SIZE * shorter // max(height, width)
        sides = size * height // shorter, size * width // shorter
    if sides == (height, width):
        return sides
    if step is None:
        raise InputError(f"size = {size}: this model was exported for {shorter} and no other size")
    asked, most = sides if isinstance(size, tuple) else (size,), most // step * step
    if any(not 0 < side <= most or side % step for side in asked):
        raise InputError(f"size = {size}: should be a multiple of {step}, at most {most}")
    return sides


def sizes_of(
    model: AnimatableModel, size: int | None = None, fast: bool = False
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of what a model generates, and of the result that is made of it.

    Args:
        model: what is animated.
        size: of the result, which is generated at that size; by default the result has about 256 pixels, or
            the model's size if that is larger, and it is generated at up to twice the model's size.
        fast: generate at the model's size, and only enlarge that. So does a model that was exported, without
            being asked.
    Raises:
        InputError: the model cannot generate images of this size.

    Example:
        >>> sizes_of(load_model("heads-64"))
        ((128, 128), (256, 256))
    """
    if size is None:
        height, width = model.size
        scale = max(1, VIEWING_SIZE // max(height, width))
        result = height * scale, width * scale
        return size_for(model, result, fast), result
    if not fast:
        return (generated_size(model, size),) * 2
    height, width = model.size
    shorter, longer = min(height, width), max(height, width)
    if not 0 < size <= LARGEST_SIZE * shorter // longer:
        raise InputError(f"size = {size}: should be from 1 to {LARGEST_SIZE * shorter // longer}")
    return (height, width), (round(size * height / shorter), round(size * width / shorter))


def size_for(model: AnimatableModel, result: tuple[int, int], fast: bool = False) -> tuple[int, int]:
    """(height, width) at which a model generates if nothing is said but the size of the result: its own, or
    twice its own where that fits into the result and neither `fast` nor the model forbids it.

    Example:
        >>> size_for(load_model("heads-64"), (256, 256))
        (128, 128)
    """
    height, width = model.size
    gain = min(result[0] // height, result[1] // width, LARGEST_GAIN)
    gain = 1 if fast or model.size_multiple is None else max(1, gain)
    return height * gain, width * gain


class Animator:
    """One source, ready to follow any number of driving frames.

    What depends on the source alone (its keypoints, the encoder's features) is computed once, here.

    Args:
        model: in eval mode, see `load_model`; a `FastModel` is made of a `FirstOrderMotionModel`.
        source: (1, 3, H, W) in [0, 1], of the model's size; or uint8 (h, w, 3) or a Pillow image, of which
            the largest part of the model's shape in the middle is taken, and resized.
        relative: move as the driving frames move away from the first of them, see `relative_motion`; else
            take over their keypoints as they are.
        adapt_scale: for heads of different size, with `relative`.
        size: height and width at which images are generated, the shorter if they differ; the model's by
            default. Motion is estimated at the model's size, as it was learned; only features and image are
            finer.
        result: (height, width) to which generated images are enlarged; None leaves them as they are.
        detail: add the detail of the source that generating loses, see `detail`. Needs a model that gives its
            flow: one that does not (no dense motion, or exported by an earlier release) goes without.

    Attributes:
        model, encoded, kp_source: what the arguments became.
        kp_initial: the reference of relative motion, see `set_reference`; None before the first frame.

    Raises:
        InputError: the model is in training mode, or cannot generate images of this size, or `source` is
            something else.

    Example:
        >>> animator = Animator(model, source)
        >>> animator(driving[:8]).prediction.shape   # the first driving frame is the reference
        torch.Size([8, 3, 64, 64])
        >>> animator(driving[8:]).prediction.shape
        torch.Size([4, 3, 64, 64])
    """

    def __init__(
        self,
        model: AnimatableModel,
        source: Tensor | np.ndarray | Image.Image,
        *,
        relative: bool = True,
        adapt_scale: bool = False,
        size: int | tuple[int, int] | None = None,
        result: tuple[int, int] | None = None,
        detail: bool = False,
    ):
        self.model = FastModel(model) if isinstance(model, FirstOrderMotionModel) else model
        self.relative, self.adapt_scale = relative, adapt_scale
        large_size = generated_size(self.model, size)
        if not isinstance(source, Tensor):
            source = cut_middle(image_array(source, "the source"), self.model.size)
        elif source.ndim != 4 or source.shape[1] != 3:
            raise InputError(f"the source is a tensor {tuple(source.shape)}; it must be (1, 3, H, W)")

        def still(size: tuple[int, int]) -> Tensor:
            if isinstance(source, np.ndarray):
                return to_tensor(source, size)[None].to(self.model.device)
            return resize(source, size)

        small = still(self.model.size)
        large = still(large_size)
        self.encoded = self.model.encode(small)
        self.kp_source = self.model.detect(small)
        if large.shape != small.shape:
            self.encoded = replace(self.model.encode(large), small=self.encoded.small)
        self.set_reference(None)
        self._result, self._lost = result, None
        if detail:
            at_rest = self.generate(self.kp_source)
            if at_rest.deformation is not None:
                self._lost = lost_detail(still(result or large_size), at_rest.prediction)

    def __call__(self, driving: Tensor, *, with_visuals: bool = False) -> Generated:
        """The source as B driving frames (B, 3, H, W); for `with_visuals` see
        `OcclusionAwareGenerator.forward`.

        It is `generate(move(detect(driving)))`; call these three yourself to change the movement in between.
        """
        return self.generate(self.move(self.detect(driving)), with_visuals=with_visuals)

    def detect(self, driving: Tensor) -> Keypoints:
        """The keypoints of driving frames (B, 3, H, W)."""
        return self.model.detect(driving)

    def set_reference(self, kp_initial: Keypoints | None) -> None:
        """Count relative motion from these keypoints of one frame; None: from the next given to `move`."""
        self.kp_initial = kp_initial
        self._scale = 1.0
        if self.adapt_scale and kp_initial is not None:  # once: hulls are computed on the CPU
            self._scale = movement_scale(self.kp_source, kp_initial)

    def move(self, kp_driving: Keypoints) -> Keypoints:
        """Where the source's keypoints go.

        The reference of relative motion is the first keypoints ever given, unless `set_reference` was called.
        """
        if not self.relative:
            return kp_driving
        if self.kp_initial is None:
            self.set_reference(kp_driving[:1])
        with torch.inference_mode():
            return relative_motion(self.kp_source, kp_driving, self.kp_initial, scale=self._scale)

    def generate(self, kp: Keypoints, *, with_visuals: bool = False) -> Generated:
        """The source with its keypoints at B sets of keypoints."""
        batch = len(kp)
        generated = self.model.generate(
            self.encoded.expand(batch), self.kp_source.expand(batch), kp, with_visuals=with_visuals
        )
        if self._lost is not None:
            image = with_detail(generated, self._lost, align_corners=self.model.align_corners)
        else:
            image = enlarged(generated.prediction, self._result or generated.prediction.shape[-2:])
        return replace(generated, prediction=image)
