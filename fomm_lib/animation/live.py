"""A portrait that follows a camera: one image in, one image out, without end.

Where the images come from is left open; `live_server` shows the portrait in a browser, with the browser's
camera.
"""

from __future__ import annotations

import copy
import math
import os
from dataclasses import replace

import numpy as np
from PIL import Image
from torch import Tensor

from fomm_lib.animation.animate import read_portrait
from fomm_lib.animation.animator import AnimatableModel, Animator, sizes_of
from fomm_lib.animation.movement import exaggerated
from fomm_lib.animation.options import AnimateOptions
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.faces import has_detector
from fomm_lib.media.overlays import Watermark
from fomm_lib.media.squares import Square, choose_square, cut
from fomm_lib.media.tensors import check_image, to_tensor, to_uint8


class LiveAnimator:
    """One portrait, and the pose from which a camera's movement counts.

    The first image is the reference: the portrait rests, and moves as the person moves away from it. So
    begin in the portrait's own pose, or take that pose and call `start_over`.

    Args:
        model: see `load_model`; a `FastModel` or `ExportedModel` as well, which several can share.
        portrait: an image file, or an image in memory, see `animate`.
        strength: of the movement, 0 to 5; 1 is as the person moves, see `movement.exaggerated`.
        smooth: number of frames over which jitter is averaged, 0 to 50, see `steadied`.
        find_faces: cut out the square around the face, of the portrait and of the camera's first image,
            instead of the one in the middle. By default where the extra `faces` is installed.
        watermark: write "AI-generated" into every image.

    Attributes:
        still: the portrait's square, uint8.
        square: what is cut out of the camera's images, see `squares.Square`; None before the first. It
            stays until the next `start_over`: a square that followed the head would remove its movement.
        notes: what a person should know, such as that no face is found; a list of lines.

    Raises:
        InputError: the portrait cannot be read, an option is out of range, or the extra is not installed.

    Example:
        >>> follow = LiveAnimator(load_model("heads-128"), "portrait.jpg")   # doctest: +SKIP
        >>> for frame in camera:                                             # doctest: +SKIP
        ...     window.show(follow(frame))
    """

    def __init__(
        self,
        model: AnimatableModel,
        portrait: str | os.PathLike | np.ndarray | Image.Image | Tensor,
        *,
        strength: float = 1.0,
        smooth: float = 0.0,
        find_faces: bool | None = None,
        watermark: bool = True,
    ):
        self.options = AnimateOptions(strength=strength, smooth=smooth)
        self._crop = "auto" if find_faces or (find_faces is None and has_detector()) else "middle"
        image = read_portrait(portrait)
        square, self._of_portrait = choose_square(image, self._crop, "the portrait", shape=model.size)
        self.still = cut(image, square, model.size)
        size, shown = sizes_of(model, fast=True)
        self._animator = Animator(model, self.still, size=size, result=shown, detail=shown != size)
        self._mark = Watermark(shown[::-1]) if watermark else None
        self.start_over()

    def start_over(self) -> None:
        """Count movement from the next image on, and find the face in it anew."""
        self.square: Square | None = None
        self._frame_shape = self._before = None
        self._animator.set_reference(None)
        self.notes = list(self._of_portrait)

    def twin(self) -> LiveAnimator:
        """Another one that follows a camera of its own; what depends on the portrait alone is shared."""
        other = copy.copy(self)
        other._animator = copy.copy(self._animator)
        other.start_over()
        return other

    def adjust(self, **settings: float) -> None:
        """Change `strength` or `smooth` while it runs.

        Raises:
            InputError: out of range; everything stays as it was.
        """
        self.options = replace(self.options, **settings)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The portrait as in this image of the camera.

        Args:
            frame: uint8 (H, W, 3), RGB; one of another shape than the last starts over.
        Returns:
            uint8, of the model's size; small ones are enlarged to about 256 pixels, with the detail of the
            portrait.
        Raises:
            InputError: the frame is another kind of array.
        """
        if check_image(frame, "the camera's image").shape != self._frame_shape:
            self.start_over()
            self._frame_shape = frame.shape
            shape = self._animator.model.size
            self.square, notes = choose_square(frame, self._crop, "the camera's image", shape=shape)
            self.notes += notes
        animator, model = self._animator, self._animator.model
        seen = cut(frame, self.square, model.size)
        kp = animator.detect(to_tensor(seen, model.size)[None].to(model.device))
        self._before = kp = steadied(self._before, kp, self.options.smooth)
        kp = exaggerated(animator.kp_source, animator.move(kp), self.options.strength)
        image = to_uint8(animator.generate(kp).prediction)[0]
        return image if self._mark is None else self._mark(image)


def steadied(before: Keypoints | None, now: Keypoints, frames: float) -> Keypoints:
    """Average keypoints with those before them: `movement.smoothed` where later frames are not known yet.

    p_t = a p_(t-1) + (1 - a) x_t,  a = (f - 1) / (f + 1),  f = 2 sqrt(pi) frames

    The standard deviation of white noise is divided by sqrt(f), as by `smoothed`: 1.9 at 1 frame, 2.7 at 2.
    The cost is a lag of (f - 1) / 2 frames: 1.3 at 1 frame, 3.0 at 2.

    Args:
        before: what was returned for the frame before; None for the first.
        now: what is detected in this frame.
        frames: standard deviation of the Gaussian that damps as much; up to 0.28 changes nothing.

    Source: exponential smoothing; its variance for white noise is (1 - a) / (1 + a).

    Example:
        >>> kp = steadied(kp, detected, frames=1.0)
    """
    damping = 2 * math.sqrt(math.pi) * frames
    if before is None or damping <= 1:
        return now
    weight = 2 / (damping + 1)  # of the new keypoints
    return Keypoints.combine(lambda old, new: old + weight * (new - old), before, now)
