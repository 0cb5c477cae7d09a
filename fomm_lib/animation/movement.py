"""Changes of a movement before it is applied to a source: relative motion, strength, smoothing, reference.

Everything here works on keypoints alone, between detection and generation, and needs no faces.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from fomm_lib.geometry import inverse_2x2, multiply_2x2
from fomm_lib.keypoints import Keypoints


def hull_area(points: Tensor) -> float:
    """The area of the convex hull of points (K, 2), in squared units of [-1, 1]; 0 for points on a line, or
    fewer than three.

    Example:
        >>> hull_area(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.2]]))
        0.5
    """
    from scipy.spatial import ConvexHull, QhullError  # 0.3 s, only for `adapt_scale`

    try:
        hull = ConvexHull(points.detach().double().cpu().numpy())
        return float(hull.volume)  # in two dimensions Qhull's volume is the area
    except (QhullError, ValueError):
        return 0.0


def movement_scale(kp_source: Keypoints, kp_initial: Keypoints) -> float:
    """How much larger the source's head is than the driving one.

    s = sqrt(area of hull(p_source) / area of hull(p_initial))

    1 where either area is 0. Both are one set of keypoints, `value` (1, K, 2). Source: the published code of
    FOMM.
    """
    source, initial = hull_area(kp_source.value[0]), hull_area(kp_initial.value[0])
    return (source / initial) ** 0.5 if source and initial else 1.0


def relative_motion(
    kp_source: Keypoints,
    kp_driving: Keypoints,
    kp_initial: Keypoints,
    *,
    adapt_scale: bool = False,
    scale: float = 1.0,
) -> Keypoints:
    """The source's keypoints, moved as the driving ones have moved since the reference frame.

    p = p_source + s (p_driving - p_initial),  J = J_driving J_initial^-1 J_source

    Only the movement of the driving head is taken, not its shape; for that the reference frame should have
    the pose of the source.

    Args:
        kp_source, kp_initial: of the source and of the reference frame, one each.
        kp_driving: of B driving frames.
        adapt_scale: s = `movement_scale(kp_source, kp_initial)` instead of `scale`.
        scale: s itself, for those who know it already.
    Returns:
        B sets of keypoints. With `kp_driving` equal to `kp_initial` they are the source's.

    Source: FOMM, section 3.4.
    """
    if adapt_scale:
        scale = movement_scale(kp_source, kp_initial)
    value = kp_source.value + scale * (kp_driving.value - kp_initial.value)
    jacobian = None
    if kp_driving.jacobian is not None:
        change = multiply_2x2(kp_driving.jacobian, inverse_2x2(kp_initial.jacobian))
        jacobian = multiply_2x2(change, kp_source.jacobian)
    return Keypoints(value, jacobian)


def exaggerated(kp_source: Keypoints, kp: Keypoints, strength: float) -> Keypoints:
    """Keypoints that have moved `strength` times as far from the source's.

    p = p_source + a (p_moved - p_source),  J = (I + a (J_moved J_source^-1 - I)) J_source

    To first order this is the movement applied a times: a shift of 2 pixels becomes one of 2a, a turn by t
    becomes one by a t (and enlarges the image by about (a t)^2 / 2, which is small for heads).

    Args:
        kp_source: of the source, one.
        kp: where its keypoints go, in B frames.
        strength: a; 1 returns `kp` itself.

    Example:
        >>> still = exaggerated(kp_source, kp, 0.0)   # is kp_source, B times
    """
    if strength == 1:
        return kp
    value = kp_source.value + strength * (kp.value - kp_source.value)
    jacobian = None
    if kp.jacobian is not None:
        unit = torch.eye(2, device=kp.value.device, dtype=kp.jacobian.dtype)
        change = multiply_2x2(kp.jacobian, inverse_2x2(kp_source.jacobian)) - unit
        jacobian = multiply_2x2(unit + strength * change, kp_source.jacobian)
    return Keypoints(value, jacobian)


def smoothed(items: Iterable[tuple[Keypoints, Any]], frames: float) -> Iterator[tuple[Keypoints, Any]]:
    """Average the keypoints of each frame with those before and after it, weighted by a Gaussian.

    The window is symmetric, so there is no lag, but 2 `frames` of items are held back. The standard deviation
    of white noise is divided by sqrt(2 sqrt(pi) frames): 1.9 at 1 frame, 2.7 at 2. Real movements that are
    shorter than the Gaussian (a blink, a plosive) become smaller too.

    Args:
        items: (keypoints of one frame, anything that belongs to it).
        frames: standard deviation; 0 changes nothing.

    Example:
        >>> [name for kp, name in smoothed([(kp_a, "a"), (kp_b, "b")], frames=1.5)]
        ['a', 'b']
    """
    if frames <= 0:
        yield from items
        return
    reach = math.ceil(2 * frames)
    window: deque[tuple[Keypoints, Any]] = deque()
    position = 0  # in the window, of the frame that is averaged next
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

    def mean(*tensors: Tensor) -> Tensor:
        return sum(weight / total * tensor for weight, tensor in zip(weights, tensors, strict=True))

    return Keypoints.combine(mean, *(window[other][0] for other in near)), window[position][1]


def pose_distance(kp_source: Keypoints, kp_driving: Keypoints) -> Tensor:
    """How far the driving poses are from the source's, independent of position and size in the image.

    d = sum_k |n(p_source)_k - n(p_driving)_k|^2,  n(p) = (p - mean(p)) / sqrt(area of hull(p))

    Args:
        kp_source: of one image.
        kp_driving: of B images.
    Returns:
        (B,), no unit. Where keypoints lie on a line they are not scaled.

    Source: the published code of FOMM does the same with 68 landmarks. Keypoints need no detector of faces
    and work for any object, but are worse where source and driving video are of different kinds, such as a
    photograph and rendered heads; `experiments/movement.py` compares the two.

    Example:
        >>> reference = int(pose_distance(kp_source, kp_driving).argmin())
    """
    source = _normalised(kp_source.value[0])
    return torch.stack([(_normalised(value) - source).square().sum() for value in kp_driving.value])


def _normalised(points: Tensor) -> Tensor:
    area = hull_area(points)
    centred = points - points.mean(dim=0)
    return centred / area**0.5 if area else centred
