"""From a source and driving frames to pictures: what a trained model does again for every frame of a film."""

from __future__ import annotations

import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from fomm_lib.generator import Generated
from fomm_lib.geometry import inverse_2x2, multiply_2x2
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel


def hull_area(points: Tensor) -> float:
    """The area of the convex hull of points (K, 2), in squared units of [-1, 1]; 0 for points on a line, or
    fewer than three.

    Example:
        >>> hull_area(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.2, 0.2]]))
        0.5
    """
    try:
        hull = ConvexHull(points.detach().double().cpu().numpy())
        return float(hull.volume)  # in two dimensions Qhull's volume is the area
    except (QhullError, ValueError):
        return 0.0


def movement_scale(kp_source: Keypoints, kp_initial: Keypoints) -> float:
    """How much larger the source's head is: s = sqrt(area of hull(p_source) / area of hull(p_initial)).

    1 where either area is 0. Both are one set of keypoints, `value` (1, K, 2). Source: the published code of
    FOMM.
    """
    source, initial = hull_area(kp_source.value[0]), hull_area(kp_initial.value[0])
    return (source / initial) ** 0.5 if source and initial else 1.0


def relative_motion(
    kp_source: Keypoints, kp_driving: Keypoints, kp_initial: Keypoints, *, adapt_scale: bool = False
) -> Keypoints:
    """The source's keypoints, moved as the driving ones have moved since the first driving frame.

    p = p_source + s (p_driving - p_initial),  J = J_driving J_initial^-1 J_source

    The shape of the driving head stays out of it, as only its movement is taken; for that the first driving
    frame should have the pose of the source.

    Args:
        kp_source, kp_initial: of the source and of the first driving frame, one each.
        kp_driving: of B driving frames.
        adapt_scale: s = `movement_scale(kp_source, kp_initial)` instead of 1.
    Returns:
        B sets of keypoints. With `kp_driving` equal to `kp_initial` they are the source's.

    Source: FOMM, section 3.4, eq. (15).
    """
    scale = movement_scale(kp_source, kp_initial) if adapt_scale else 1.0
    value = kp_source.value + scale * (kp_driving.value - kp_initial.value)
    jacobian = None
    if kp_driving.jacobian is not None:
        change = multiply_2x2(kp_driving.jacobian, inverse_2x2(kp_initial.jacobian))
        jacobian = multiply_2x2(change, kp_source.jacobian)
    return Keypoints(value, jacobian)


class Animator:
    """One source, ready to follow any number of driving frames.

    What depends on the source alone (its keypoints, the encoder's features) is computed once, here.

    Args:
        model: in eval mode; see `load_model`.
        source: (1, 3, H, W) in [0, 1], of the model's size.
        relative: move as the driving frames move away from the first of them, see `relative_motion`; else
            take over their keypoints as they are.
        adapt_scale: for heads of different size, with `relative`.

    Example:
        >>> animator = Animator(model, source)
        >>> animator(driving[:8]).prediction.shape   # the first driving frame is the reference
        torch.Size([8, 3, 64, 64])
        >>> animator(driving[8:]).prediction.shape
        torch.Size([4, 3, 64, 64])
    """

    def __init__(
        self,
        model: FirstOrderMotionModel,
        source: Tensor,
        *,
        relative: bool = True,
        adapt_scale: bool = False,
    ):
        self.model, self.relative, self.adapt_scale = model, relative, adapt_scale
        with torch.inference_mode():
            self.encoded = model.generator.encode(source)
            self.kp_source = model.detect(source)
        self.kp_initial: Keypoints | None = None

    def __call__(self, driving: Tensor, *, for_people: bool = False) -> Generated:
        """The source as B driving frames (B, 3, H, W); for `for_people` see
        `OcclusionAwareGenerator.forward`.

        It is `generate(move(detect(driving)))`; call these three yourself to change the movement in between.
        """
        return self.generate(self.move(self.detect(driving)), for_people=for_people)

    def detect(self, driving: Tensor) -> Keypoints:
        """The keypoints of driving frames (B, 3, H, W)."""
        with torch.inference_mode():
            return self.model.detect(driving)

    def move(self, kp_driving: Keypoints) -> Keypoints:
        """Where the source's keypoints go. The first ones ever given are the reference of relative motion,
        unless `kp_initial` was set before.
        """
        if not self.relative:
            return kp_driving
        if self.kp_initial is None:
            self.kp_initial = kp_driving[:1]
        with torch.inference_mode():
            return relative_motion(self.kp_source, kp_driving, self.kp_initial, adapt_scale=self.adapt_scale)

    def generate(self, kp: Keypoints, *, for_people: bool = False) -> Generated:
        """The source with its keypoints at B sets of keypoints."""
        batch = len(kp)
        with torch.inference_mode():
            return self.model.generate(
                self.encoded.expand(batch), self.kp_source.expand(batch), kp, for_people=for_people
            )
