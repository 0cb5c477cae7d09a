"""From a source and driving frames to pictures, fast: what a trained model does again for every frame."""

from __future__ import annotations

import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor, nn

from fomm_lib.fast import faster
from fomm_lib.files import InputError
from fomm_lib.generator import EncodedSource, Generated
from fomm_lib.geometry import at_least_float32, inverse_2x2, multiply_2x2
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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

    Source: FOMM, section 3.4.
    """
    scale = movement_scale(kp_source, kp_initial) if adapt_scale else 1.0
    value = kp_source.value + scale * (kp_driving.value - kp_initial.value)
    jacobian = None
    if kp_driving.jacobian is not None:
        change = multiply_2x2(kp_driving.jacobian, inverse_2x2(kp_initial.jacobian))
        jacobian = multiply_2x2(change, kp_source.jacobian)
    return Keypoints(value, jacobian)


class FastModel:
    """A trained model, rearranged for speed: the same pictures, several times as fast.

    It encodes, detects and generates as `FirstOrderMotionModel` does, and takes its place in `Animator` and
    `animate`. These make one of any model they are given; make it yourself to choose a precision, or once for
    many sources. It computes with a copy of the weights as they are now.

    Args:
        model: in eval mode; see `load_model`.
        precision: "float32" differs from the plain model by rounding alone; "bfloat16" is faster on
            processors that have it: the generator's convolutions from the bottleneck to the picture, where
            nearly all the time goes, run in it, and what its residual blocks add up stays in float32. The
            motion (keypoints, flow, occlusion) is computed in float32 always, as half a pixel would show, and
            so is the encoder, which runs once a source. None is what the weights are in.
        compile: hand the networks to `torch.compile`, which takes its time at the first frames of every batch
            size, and on a CPU needs a C++ compiler. Instead of True one of its modes: "reduce-overhead"
            records CUDA graphs on a GPU.
    Raises:
        InputError: the model is in training mode, or there is no such precision.

    Example:
        >>> fast = FastModel(model, precision="bfloat16")
        >>> Animator(fast, source)(driving[:8]).prediction.shape
        torch.Size([8, 3, 64, 64])
    """

    training = False

    def __init__(
        self, model: FirstOrderMotionModel, *, precision: str | None = None, compile: bool | str = False
    ):
        if model.training:
            raise InputError(
                "the model is in training mode, in which it paints noise; call model.eval() first"
            )
        if precision not in (None, *PRECISIONS):
            hint = "; int8 needs backend onnxruntime or openvino" if precision == "int8" else ""
            raise InputError(f"precision {precision}: there are {' and '.join(PRECISIONS)}{hint}")
        weight = next(model.parameters())
        dtype = weight.dtype if precision is None else PRECISIONS[precision]
        self.config, self.size, self.align_corners = model.config, model.size, model.align_corners
        self.device = weight.device
        # A GPU's libraries have fast algorithms of their own.
        on_cpu = self.device.type == "cpu"
        exact = at_least_float32(weight).dtype
        detector = faster(model.kp_detector, dtype=exact, rearrange=on_cpu)
        generator = faster(model.generator, dtype=exact, rearrange=on_cpu)
        generator.bottleneck = faster(model.generator.bottleneck, dtype=dtype, rearrange=on_cpu)
        layers = nn.Sequential(*model.generator.up_blocks, model.generator.final).eval()
        painter = _Painter(faster(layers, dtype=dtype, rearrange=on_cpu), at_once=1 if on_cpu else None)
        generator.up_blocks, generator.final = nn.ModuleList([painter]), nn.Identity()
        self.kp_detector, self.generator = detector, generator
        self._detect, self._generate = detector, generator
        if compile:
            mode = None if compile is True else compile
            self._detect, self._generate = (torch.compile(part, mode=mode) for part in (detector, generator))

    def encode(self, source: Tensor) -> EncodedSource:
        """What depends on the source alone. (B, 3, H, W) in [0, 1]."""
        with torch.inference_mode():
            return self.generator.encode(source)

    def detect(self, picture: Tensor) -> Keypoints:
        """Keypoints of pictures (B, 3, H, W) in [0, 1], without their heatmaps."""
        with torch.inference_mode():
            kp = self._detect(picture)
            # Cloned, as CUDA graphs use the memory of their results again.
            return Keypoints(kp.value.clone(), None if kp.jacobian is None else kp.jacobian.clone())

    def generate(
        self, source: EncodedSource, kp_source: Keypoints, kp_driving: Keypoints, *, for_people: bool = False
    ) -> Generated:
        """The source with the keypoints of the driving frame; see `OcclusionAwareGenerator.forward`."""
        with torch.inference_mode():
            return self._generate(
                source, kp_source, kp_driving, align_corners=self.align_corners, for_people=for_people
            )


class _Painter(nn.Module):
    """The layers from the bottleneck to the picture, for some frames and then for the next ones: so the large
    maps of a frame stay in a processor's cache.
    """

    def __init__(self, layers: nn.Module, at_once: int | None):
        super().__init__()
        self.layers, self.at_once = layers, at_once

    def forward(self, features: Tensor) -> Tensor:
        parts = features.split(self.at_once or len(features))
        return torch.cat([at_least_float32(self.layers(part)) for part in parts])


class Animator:
    """One source, ready to follow any number of driving frames.

    What depends on the source alone (its keypoints, the encoder's features) is computed once, here.

    Args:
        model: in eval mode, see `load_model`; a `FastModel` is made of it. Or a `FastModel`, or an
            `ExportedModel`.
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
        model: FirstOrderMotionModel | FastModel,
        source: Tensor,
        *,
        relative: bool = True,
        adapt_scale: bool = False,
    ):
        self.model = FastModel(model) if isinstance(model, FirstOrderMotionModel) else model
        self.relative, self.adapt_scale = relative, adapt_scale
        self.encoded = self.model.encode(source)
        self.kp_source = self.model.detect(source)
        self.kp_initial: Keypoints | None = None

    def __call__(self, driving: Tensor, *, for_people: bool = False) -> Generated:
        """The source as B driving frames (B, 3, H, W); for `for_people` see
        `OcclusionAwareGenerator.forward`.

        It is `generate(move(detect(driving)))`; call these three yourself to change the movement in between.
        """
        return self.generate(self.move(self.detect(driving)), for_people=for_people)

    def detect(self, driving: Tensor) -> Keypoints:
        """The keypoints of driving frames (B, 3, H, W)."""
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
        changes = {"for_people": True} if for_people else {}  # an exported model knows no such thing
        return self.model.generate(self.encoded.expand(batch), self.kp_source.expand(batch), kp, **changes)
