"""A portrait that follows a camera: one picture in, one picture out, for as long as pictures come.

Where they come from is left open; `live_server` shows it in a browser, with the browser's camera.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace

import numpy as np
from PIL import Image

from fomm_lib.datasets import to_tensor
from fomm_lib.faces import has_detector, head_square, inside, landmarks68
from fomm_lib.files import InputError
from fomm_lib.inference import Animator, FastModel
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.movement import Movement, exaggerated
from fomm_lib.outputs import VIEWING_SIZE, VisibleMark
from fomm_lib.video import read_picture

Square = tuple[int, int, int]  # left, top, side, in pixels


class LiveAnimator:
    """One portrait, and the pose from which a camera's movement counts.

    The first picture is the reference: the portrait rests, and moves as the person moves away from it. So
    begin in the portrait's own pose, or take it up and call `start_over`.

    Args:
        model: see `load_model`; a `FastModel` or `ExportedModel` as well, which several can share.
        portrait: a picture file, or uint8 (H, W, 3).
        strength: of the movement; 1 is as the person moves, see `movement.exaggerated`.
        smooth: frames over which jitter is averaged, see `steadied`.
        find_faces: cut out the square around the face, of the portrait and of the camera's first picture, and
            not the one in the middle. By default where the extra `faces` is installed.
        watermark: write "AI-generated" into every picture.

    Attributes:
        still: the portrait's square, uint8.
        square: what is cut out of the camera's pictures, as (left, top, side); None before the first. It
            stays until the next `start_over`, as one that followed the head would take away its movement.
        notes: what a person should know, such as that no face is found; a list of lines.

    Raises:
        InputError: the portrait cannot be read, a setting is out of range, or the extra is not installed.

    Example:
        >>> follow = LiveAnimator(load_model("heads-128"), "portrait.jpg")   # doctest: +SKIP
        >>> for frame in camera:                                             # doctest: +SKIP
        ...     show(follow(frame))
    """

    def __init__(
        self,
        model: FirstOrderMotionModel | FastModel,
        portrait: str | os.PathLike | np.ndarray,
        *,
        strength: float = 1.0,
        smooth: float = 0.0,
        find_faces: bool | None = None,
        watermark: bool = True,
    ):
        self.movement = Movement(strength=strength, smooth=smooth)
        self.find_faces = has_detector() if find_faces is None else find_faces
        picture = portrait if isinstance(portrait, np.ndarray) else read_picture(portrait)
        square, self._of_portrait = self._square_in(_checked(picture, "the portrait"), "the portrait")
        self.still = _cut(picture, square)

        self._device = getattr(model, "device", None) or next(model.parameters()).device
        self._animator = Animator(model, self._tensor(self.still, model.size))
        height, width = model.size
        zoom = max(1, VIEWING_SIZE // max(height, width))
        self._shown = width * zoom, height * zoom
        self._mark = VisibleMark(self._shown) if watermark else None
        self.start_over()

    def start_over(self) -> None:
        """Count movement from the next picture on, and look anew for the face in it."""
        self.square: Square | None = None
        self._frame_shape = self._before = self._animator.kp_initial = None
        self.notes = list(self._of_portrait)

    def adjust(self, **settings: float) -> None:
        """Change `strength` or `smooth` while it runs.

        Raises:
            InputError: out of range; all stays as it was.
        """
        self.movement = replace(self.movement, **settings)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The portrait as in this picture of the camera.

        Args:
            frame: uint8 (H, W, 3), RGB; of another shape than the one before, it is a new beginning.
        Returns:
            uint8, of the model's size, small ones enlarged to about 256 pixels.
        """
        if _checked(frame, "the camera's picture").shape != self._frame_shape:
            self.start_over()
            self._frame_shape = frame.shape
            self.square, said = self._square_in(frame, "the camera's picture")
            self.notes += said
        model, source = self._animator.model, self._animator.kp_source
        kp = self._animator.detect(self._tensor(_cut(frame, self.square), model.size))
        self._before = kp = steadied(self._before, kp, self.movement.smooth)
        kp = self._animator.move(kp)
        if self.movement.strength != 1:
            kp = exaggerated(source, kp, self.movement.strength)
        prediction = self._animator.generate(kp).prediction[0]
        picture = prediction.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        picture = np.array(Image.fromarray(picture).resize(self._shown, Image.Resampling.BICUBIC))
        return picture if self._mark is None else self._mark(picture)

    def _tensor(self, picture: np.ndarray, size: tuple[int, int]):
        return to_tensor(picture, size)[None].to(self._device)

    def _square_in(self, picture: np.ndarray, what: str) -> tuple[Square, list[str]]:
        """The square around the face, or the largest in the middle; and why it is not that of a face."""
        height, width = picture.shape[:2]
        points = landmarks68(picture) if self.find_faces else None
        if points is not None:
            return inside(head_square(points), (width, height)), []
        side = min(height, width)
        said = [f"no face is found in {what}; the square in its middle is used"] if self.find_faces else []
        return ((width - side) // 2, (height - side) // 2, side), said


def steadied(before: Keypoints | None, now: Keypoints, frames: float) -> Keypoints:
    """Average keypoints with those before them: `movement.smoothed` for those who cannot look ahead.

    p_t = a p_(t-1) + (1 - a) x_t,  a = (f - 1) / (f + 1),  f = 2 sqrt(pi) frames

    White noise becomes smaller by the factor sqrt(f), as it does there: 1.9 at 1 frame, 2.7 at 2. The price
    is that movement comes (f - 1) / 2 frames late: 1.3 at 1 frame, 3.0 at 2.

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
    share = 2 / (damping + 1)  # of what is new

    jacobian = None
    if now.jacobian is not None:
        jacobian = before.jacobian + share * (now.jacobian - before.jacobian)
    return Keypoints(before.value + share * (now.value - before.value), jacobian)


def _checked(picture: np.ndarray, what: str) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"{what} is {picture.dtype} {picture.shape}; it must be uint8 (H, W, 3), RGB")
    return picture


def _cut(picture: np.ndarray, square: Square) -> np.ndarray:
    x, y, side = square
    return picture[y : y + side, x : x + side]
