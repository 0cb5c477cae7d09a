"""From a source and driving frames to images: what a trained model computes again for every frame."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.movement import relative_motion
from fomm_lib.errors import InputError
from fomm_lib.generator import EncodedSource, Generated
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import resize, to_tensor
from fomm_lib.model import FirstOrderMotionModel

LARGEST_SIZE = 4096  # pixels of a side


@runtime_checkable
class AnimatableModel(Protocol):
    """What can be animated: a `FirstOrderMotionModel`, a `FastModel`, an `ExportedModel`.

    Attributes:
        size: (height, width) of the images in which motion is estimated.
        size_multiple: images can be generated at all multiples of this; None if only at `size`.
        device: where it computes.
    """

    size: tuple[int, int]
    size_multiple: int | None

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


def generated_size(model: AnimatableModel, size: int | None) -> tuple[int, int]:
    """(height, width) of the images that a model generates if asked for `size`, their shorter side.

    Raises:
        InputError: the model cannot generate images of this size.

    Example:
        >>> generated_size(load_model("heads-64"), 128)
        (128, 128)
    """
    height, width = model.size
    shorter = min(height, width)
    if size is None or size == shorter:
        return height, width
    if model.size_multiple is None:
        raise InputError(f"size = {size}: this model was exported for {shorter} and no other size")
    step = model.size_multiple * shorter // math.gcd(height, width)  # so that both sides are multiples
    most = LARGEST_SIZE * shorter // max(height, width) // step * step
    if not 0 < size <= most or size % step:
        raise InputError(f"size = {size}: should be a multiple of {step}, at most {most}")
    return size * height // shorter, size * width // shorter


class Animator:
    """One source, ready to follow any number of driving frames.

    What depends on the source alone (its keypoints, the encoder's features) is computed once, here.

    Args:
        model: in eval mode, see `load_model`; a `FastModel` is made of a `FirstOrderMotionModel`.
        source: (1, 3, H, W) in [0, 1], of the model's size; or uint8 (h, w, 3), of which the largest part of
            the model's shape in the middle is taken, and resized.
        relative: move as the driving frames move away from the first of them, see `relative_motion`; else
            take over their keypoints as they are.
        adapt_scale: for heads of different size, with `relative`.
        size: height and width at which images are generated, the shorter if they differ; the model's by
            default. Motion is estimated at the model's size, as it was learned; only features and image are
            finer.

    Attributes:
        model, encoded, kp_source: what the arguments became.
        kp_initial: the reference of relative motion, see `set_reference`; None before the first frame.

    Raises:
        InputError: the model is in training mode, or cannot generate images of this size.

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
        source: Tensor | np.ndarray,
        *,
        relative: bool = True,
        adapt_scale: bool = False,
        size: int | None = None,
    ):
        self.model = FastModel(model) if isinstance(model, FirstOrderMotionModel) else model
        self.relative, self.adapt_scale = relative, adapt_scale
        large_size = generated_size(self.model, size)
        if isinstance(source, np.ndarray):
            source = cut_middle(source, self.model.size)
            small, large = (
                to_tensor(source, one)[None].to(self.model.device) for one in (self.model.size, large_size)
            )
        else:
            small, large = source, source if size is None else resize(source, large_size)
        self.encoded = self.model.encode(small)
        self.kp_source = self.model.detect(small)
        if large.shape != small.shape:
            self.encoded = replace(self.model.encode(large), small=self.encoded.small)
        self.kp_initial: Keypoints | None = None

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

    def move(self, kp_driving: Keypoints) -> Keypoints:
        """Where the source's keypoints go.

        The reference of relative motion is the first keypoints ever given, unless `set_reference` was called.
        """
        if not self.relative:
            return kp_driving
        if self.kp_initial is None:
            self.kp_initial = kp_driving[:1]
        with torch.inference_mode():
            return relative_motion(self.kp_source, kp_driving, self.kp_initial, adapt_scale=self.adapt_scale)

    def generate(self, kp: Keypoints, *, with_visuals: bool = False) -> Generated:
        """The source with its keypoints at B sets of keypoints."""
        batch = len(kp)
        return self.model.generate(
            self.encoded.expand(batch), self.kp_source.expand(batch), kp, with_visuals=with_visuals
        )
