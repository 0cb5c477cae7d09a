"""What may be changed in a movement before it moves a source: how far, how smoothly, from which frame on.

All of it works on keypoints alone, between detection and generation, and knows nothing of faces.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fomm_lib.files import InputError
from fomm_lib.geometry import inverse_2x2, multiply_2x2
from fomm_lib.inference import hull_area
from fomm_lib.keypoints import Keypoints


@dataclass(frozen=True)
class Movement:
    """How driving keypoints become those of the source.

    Attributes:
        relative: move as the driving frames move away from a reference frame; else take over their keypoints.
        adapt_scale: scale the movement by the size of the two heads.
        strength: 0 is no movement, 1 the driving one, 2 twice as much; see `exaggerated`.
        smooth: frames over which jitter is averaged, 0 for none; see `smoothed`.
        best_frame: the reference frame, by number, or "auto" for the one whose pose is nearest to the
            source's; None is the first.

    Raises:
        InputError: a value out of range, or one that only relative movement knows.
    """

    relative: bool = True
    adapt_scale: bool = False
    strength: float = 1.0
    smooth: float = 0.0
    best_frame: int | Literal["auto"] | None = None

    def __post_init__(self):
        if not 0 <= self.strength <= 5:
            raise InputError(
                f"strength = {self.strength:g}: should be a number from 0 to 5; 1 changes nothing"
            )
        if not 0 <= self.smooth <= 50:
            raise InputError(f"smooth = {self.smooth:g}: should be a number of frames from 0 to 50; 0 is off")
        best = self.best_frame
        if best not in (None, "auto") and (not isinstance(best, int) or best < 0):
            raise InputError(f"best_frame = {best}: should be auto, or the number of a frame from 0 on")
        if not self.relative:
            asked_for = {
                "adapt_scale": self.adapt_scale,
                "strength": self.strength != 1,
                "best_frame": best is not None,
            }
            for name, asked in asked_for.items():
                if asked:
                    raise InputError(f"{name} is about relative movement; leave out one of it and absolute")


def exaggerated(kp_source: Keypoints, kp: Keypoints, strength: float) -> Keypoints:
    """Keypoints that have moved `strength` times as far from the source's.

    p = p_source + a (p_moved - p_source),  J = (I + a (J_moved J_source^-1 - I)) J_source

    To first order that is the movement done a times: a shift of 2 pixels becomes one of 2a, a turn by t
    becomes one by a t (and grows the picture by some (a t)^2 / 2, which for heads is little).

    Args:
        kp_source: of the source, one.
        kp: where its keypoints go, in B frames.
        strength: a.

    Example:
        >>> still = exaggerated(kp_source, kp, 0.0)   # is kp_source, B times
    """
    value = kp_source.value + strength * (kp.value - kp_source.value)
    jacobian = None
    if kp.jacobian is not None:
        unit = torch.eye(2, device=kp.value.device, dtype=kp.jacobian.dtype)
        change = multiply_2x2(kp.jacobian, inverse_2x2(kp_source.jacobian)) - unit
        jacobian = multiply_2x2(unit + strength * change, kp_source.jacobian)
    return Keypoints(value, jacobian)


def smoothed(items: Iterable[tuple[Keypoints, Any]], frames: float) -> Iterator[tuple[Keypoints, Any]]:
    """Average the keypoints of each frame with those before and after it, by a Gaussian of that many frames.

    As it looks to both sides, nothing comes late; for that it holds back 2 `frames` of items. White noise
    becomes smaller by the factor sqrt(2 sqrt(pi) frames): 1.9 at 1 frame, 2.7 at 2. What
    truly lasts no longer than the Gaussian (a blink, a plosive) becomes smaller too.

    Args:
        items: (keypoints of one frame, anything that goes with it).
        frames: standard deviation; 0 changes nothing.

    Example:
        >>> for kp, name in smoothed([(kp_a, "a"), (kp_b, "b")], frames=1.5): ...
    """
    if frames <= 0:
        yield from items
        return
    reach = math.ceil(2 * frames)
    window: deque[tuple[Keypoints, Any]] = deque()
    position = 0  # in the window: the frame whose turn it is
    for item in items:
        window.append(item)
        if len(window) - position > reach:
            yield _averaged(window, position, frames)
            position += 1
            if position > reach:
                window.popleft()
                position -= 1
    for last in range(position, len(window)):
        yield _averaged(window, last, frames)


def _averaged(window: deque[tuple[Keypoints, Any]], position: int, frames: float) -> tuple[Keypoints, Any]:
    reach = math.ceil(2 * frames)
    near = range(max(0, position - reach), min(len(window), position + reach + 1))
    weights = [math.exp(-0.5 * ((other - position) / frames) ** 2) for other in near]
    total = sum(weights)

    def mean(tensors: list[Tensor]) -> Tensor:
        return sum(weight / total * tensor for weight, tensor in zip(weights, tensors, strict=True))

    value = mean([window[other][0].value for other in near])
    jacobian = None
    if window[position][0].jacobian is not None:
        jacobian = mean([window[other][0].jacobian for other in near])
    return Keypoints(value, jacobian), window[position][1]


def pose_distance(kp_source: Keypoints, kp_driving: Keypoints) -> Tensor:
    """How far the driving poses are from the source's, wherever in the picture and however large they are.

    d = sum_k |n(p_source)_k - n(p_driving)_k|^2,  n(p) = (p - mean(p)) / sqrt(area of hull(p))

    Args:
        kp_source: of one picture.
        kp_driving: of B pictures.
    Returns:
        (B,), no unit. Where keypoints lie on a line they are not scaled.

    Source: the published code of FOMM does the same with 68 landmarks. Keypoints need no detector, and work
    for anything that moves, but do worse where source and driving video are of different kinds, such as a
    photograph and rendered heads; `benchmarks/movement.py` compares the two.

    Example:
        >>> reference = int(pose_distance(kp_source, kp_driving).argmin())
    """
    source = _normalised(kp_source.value[0])
    return torch.stack([(_normalised(value) - source).square().sum() for value in kp_driving.value])


def _normalised(points: Tensor) -> Tensor:
    area = hull_area(points)
    centred = points - points.mean(dim=0)
    return centred / area**0.5 if area else centred
