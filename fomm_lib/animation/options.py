"""The options of an animation, declared and checked once for all that animates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch

from fomm_lib.errors import InputError
from fomm_lib.media.squares import Crop

Function = TypeVar("Function", bound=Callable)


# What is about relative movement, and what to do with absolute movement instead.
MOST_IN_BATCH = 1024  # driving frames
_OF_RELATIVE = {
    "adapt_scale": "leave out absolute, and the movement is scaled to the portrait's head; or leave out "
    "adapt_scale (the published code ignores it there), and crop the driving video so that its head is as "
    "large as the portrait's",
    "strength": "leave out one of the two",
    "best_frame": "leave out one of the two",
}


class Enlarger(Protocol):
    """A function that makes an image, uint8 (H, W, 3), `scale` times as large, see
    `family.apply.super_resolution`.
    """

    scale: int

    def __call__(self, image: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class AnimateOptions:
    """How a portrait is animated.

    Attributes:
        relative: move as the driving video moves away from its reference frame, see
            `movement.relative_motion`; False takes over the driving keypoints as they are.
        adapt_scale: scale the movement by the size of the two heads; needs `relative`.
        strength: of the movement, 0 to 5; 1 is as the driving video, see `movement.exaggerated`.
        smooth: number of frames over which jitter is averaged, 0 to 50, see `movement.smoothed`.
        best_frame: the driving frame from which movement counts (the reference): its number, or "auto" for
            the one whose pose is nearest to the portrait's, for which the video is read twice. None is the
            first.
        crop: (x, y, side) of the square to cut out of the portrait; "auto" for the one around the face,
            framed as in the training data, and then of the driving video too; None and "middle" for the
            largest in the middle. A model whose images are not square gets a rectangle of their shape, `side`
            wide.
        driving_crop: the same for the driving video; "auto" is one steady square for all of it, around the
            person with the largest face at its beginning.
        size: height and width of the result (the shorter if they differ), at which it is generated; None is
            about 256 pixels (or the model's size if that is larger), generated at up to twice the model's
            size. Motion is still estimated at the model's size, as it was learned; only features and image
            are finer.
        fast: generate at the model's size, and only enlarge that: two to four times as fast, and less sharp.
        detail: add the detail of the portrait that generating loses, see `detail`; None does so where the
            result is larger than the images that the model learned from.
        paste_back: put the result back into the whole portrait (reduced to at most 1920 pixels).
        compare: write source | driving | result side by side.
        zoom: enlarge the result by this factor, bicubically, to inspect what a small model generates.
        enlarge: a network for super-resolution, which enlarges what is generated; e.g.
            `family.apply.super_resolution(2)`.
        watermark: write "AI-generated" into every frame.
        batch_size: driving frames per batch; None is 4 on a CPU and 32 on a GPU.

    Raises:
        InputError: a value out of range, or two options that exclude one another.

    Example:
        >>> AnimateOptions(strength=1.5).relative
        True
    """

    relative: bool = True
    adapt_scale: bool = False
    strength: float = 1.0
    smooth: float = 0.0
    best_frame: int | Literal["auto"] | None = None
    crop: Crop = None
    driving_crop: Crop = None
    size: int | None = None
    fast: bool = False
    detail: bool | None = None
    paste_back: bool = False
    compare: bool = False
    zoom: int = 1
    enlarge: Enlarger | None = None
    watermark: bool = False
    batch_size: int | None = None

    def __post_init__(self):
        for name in ("zoom", "batch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: must be at least 1")
        if self.batch_size is not None and self.batch_size > MOST_IN_BATCH:
            text = f"must be at most {MOST_IN_BATCH}: all frames of a batch are in memory at once"
            raise InputError(f"batch_size = {self.batch_size}: {text}")
        if not 0 <= self.strength <= 5:
            text = "should be a number from 0 to 5; 1 changes nothing"
            raise InputError(f"strength = {self.strength:g}: {text}")
        if not 0 <= self.smooth <= 50:
            raise InputError(f"smooth = {self.smooth:g}: should be a number of frames from 0 to 50; 0 is off")
        best = self.best_frame
        if best not in (None, "auto") and (not isinstance(best, int) or best < 0):
            raise InputError(f"best_frame = {best}: should be auto, or the number of a frame from 0 on")
        for name, instead in _OF_RELATIVE.items():
            if not self.relative and getattr(self, name) != getattr(AnimateOptions, name):
                raise InputError(f"{name} is about relative movement, not absolute; {instead}")
        for crop in (self.crop, self.driving_crop):
            if isinstance(crop, str) and crop not in ("auto", "middle"):
                raise InputError(f"crop {crop}: should be auto, middle, or three numbers x, y, side")
        if self.paste_back and (self.compare or self.zoom != 1):
            text = "paste_back gives the whole portrait at its own size; leave out compare and zoom"
            raise InputError(text)
        if self.enlarge is not None and self.zoom != 1:
            raise InputError("super-resolution enlarges the result already; leave out zoom")

    def batch_on(self, device: torch.device) -> int:
        """How many driving frames a batch has on a device.

        Example:
            >>> AnimateOptions().batch_on(torch.device("cpu"))
            4
        """
        return self.batch_size or (4 if device.type == "cpu" else 32)

    @classmethod
    def of(cls, keywords: Mapping[str, Any], without: tuple[str, ...] = ()) -> AnimateOptions:
        """The options that a function was given as `**options`, except those that it does not have.

        Raises:
            InputError: there is no option of such a name; or as above.

        Example:
            >>> AnimateOptions.of({"strength": 1.5}).strength
            1.5
        """
        names = [field.name for field in fields(cls) if field.name not in without]
        for name in keywords:
            if name not in names:
                raise InputError(f"{name}: there is no such setting; there are {', '.join(sorted(names))}")
        return cls(**keywords)


def show_options(*without: str) -> Callable[[Function], Function]:
    """Show the options, except some, in the signature of a function that takes them as `**options`.

    `help`, Jupyter and editors that run the code then list them with their defaults.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        options = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
            )
            for field in fields(AnimateOptions)
            if field.name not in without
        ]
        function.__signature__ = signature.replace(parameters=[*own, *options])
        return function

    return decorate
