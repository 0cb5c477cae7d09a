"""Metrics that need the ground truth of synthetic heads: of the flow, the occlusion map and the keypoints.

An image can look right for wrong reasons: a white wall may be copied from anywhere. Of rendered heads the
true motion of every pixel is known, so the flow and the occlusion map can be measured directly:

    pairs = read_true_pairs()                                     # the six pairs of data/heads/truth
    motion_scores(load_model("heads-64"), pairs)                  # [{"epe": ..., "occlusion_iou": ...}, ...]
    motion_scores(None, pairs)                                    # if nothing moved

    print(evaluate_motion(["heads-64"], "data/heads/test").markdown())    # many more, rendered on demand

Published tables have no such metrics: real videos have no ground truth.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from fomm_lib.animation.detail import enlarged
from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import bootstrap_interval, format_interval, markdown_table, mean_or_nan
from fomm_lib.evaluation.images import Metric
from fomm_lib.evaluation.regions import uncovered_error
from fomm_lib.geometry import coordinate_grid, flow_at, resize_flow, to_pixels
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.tensors import resize
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.synthetic.truth import TruePair, true_clip, true_pairs

NO_MOTION = "no motion"
MOTION_METRICS = {
    "epe": Metric("EPE", "lower", 2, "end-point error on visible pixels, px of 256"),
    "epe_person": Metric("EPE, person", "lower", 2, "the same on visible pixels of the person only"),
    "expression": Metric("expression", "lower", 2, "error of eyes and mouth against the head, px of 256"),
    "occlusion_iou": Metric("occlusion IoU", "higher", 3, "of hidden pixels, 0 to 1"),
    "occlusion_iou_matched": Metric("occlusion IoU, matched", "higher", 3, "the same, as many as are hidden"),
    "occlusion_ap": Metric("occlusion AP", "higher", 3, "average precision for hidden pixels, 0 to 1"),
    "hidden": Metric("hidden", "", 3, "share of hidden pixels: the AP of guessing"),
    "keypoint_spread": Metric("keypoint spread", "lower", 1, "standard deviation on the head, mm"),
    "on_person": Metric("on the person", "", 2, "share of keypoints that lie on the person, 0 to 1"),
    "uncovered": Metric("uncovered", "lower", 3, "L1 of background that the source does not show, 0 to 1"),
}
FACE_PARTS = ([*range(17, 22), *range(36, 42)], [*range(22, 27), *range(42, 48)], [*range(48, 68)])
"""Numbers of iBUG's landmarks: one eye with its brow, the other eye with its brow, the mouth."""
_FACE_LANDMARKS = 68
_PIXELS = 128.0  # of an image of 256, in a unit of [-1, 1]
# A landmark is hidden if the pixel at its place shows a point that is farther than this from the landmark.
_HIDDEN_BEYOND = 0.12


def end_point_error(flow: Tensor, true_flow: Tensor, mask: Tensor) -> float:
    """EPE: the mean Euclidean distance of two flows where the mask is set, in pixels of an image of 256.

        mean over z in the mask of |F(z) - F'(z)| x 128

    From 0 up, lower is better; NaN for an empty mask. Hidden pixels have no true place in the source to copy
    from, so the mask should be that of the visible ones.

    Args:
        flow, true_flow: (H, W, 2), points of the source in [-1, 1].
        mask: (H, W), bool.

    Source: Baker et al., *A Database and Evaluation Methodology for Optical Flow*, 2011.

    Example:
        >>> grid = coordinate_grid(8, 8)
        >>> end_point_error(grid + torch.tensor([3 / 128, 4 / 128]), grid, torch.ones(8, 8, dtype=torch.bool))
        5.0
    """
    distance = (flow.double() - true_flow.double()).norm(dim=-1)[mask]
    return round(float(distance.mean() * _PIXELS), 9) if len(distance) else float("nan")


def intersection_over_union(predicted: Tensor, true: Tensor) -> float:
    """IoU of two sets of pixels (bool): the number in both, divided by the number in either.

    0 to 1, higher is better; NaN where both are empty.

    Source: Jaccard 1901; Everingham et al., *The Pascal Visual Object Classes Challenge*, 2010.

    Example:
        >>> intersection_over_union(torch.tensor([True, True, False]), torch.tensor([False, True, True]))
        0.3333333333333333
    """
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else float("nan")


def average_precision(score: Tensor, true: Tensor) -> float:
    """The area under the curve of precision against recall, of a score that should be high where `true` is.

    It needs no threshold. 0 to 1, higher is better; of a constant score it is the share of `true` pixels; NaN
    where there are none. Computed by torchmetrics.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.1, 0.8]), torch.tensor([True, False, True]))
        1.0
    """
    from torchmetrics.functional.classification import binary_average_precision

    if not bool(true.any()):
        return float("nan")
    return float(binary_average_precision(score.flatten().clamp(0, 1), true.flatten().long()))


def _matched_iou(score: Tensor, true: Tensor) -> float:
    """The IoU of the true pixels and as many pixels of the highest scores; of a constant score, that of a
    random choice.
    """
    count, total = int(true.sum()), true.numel()
    if count == 0:
        return float("nan")
    flat = score.flatten()
    if bool((flat == flat[0]).all()):
        return count / (2 * total - count)
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[flat.topk(count).indices] = True
    return intersection_over_union(chosen, true.flatten())


def expression_errors(flow: Tensor, true_flow: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """The errors of a flow at the landmarks of eyes and mouth, without the error of the head's motion.

        e_j - mean e,    e_j = T(z_j) - z*_j

    with T the flow, z_j landmark j of the driving face and z*_j that of the source, and the mean over the
    landmarks of the same part: an eye with its brow, or the mouth. It is 0 where lips part, lids close and
    brows rise as they should. The flow is taken at landmarks only, because inside an open mouth nothing comes
    from the source, so the flow has no right value there.

    Args:
        flow, true_flow: (B, H, W, 2), points of the source in [-1, 1].
        source, driving: (B, 68, 2), the landmarks of the two frames.
    Returns:
        (N, 2), of all landmarks of `FACE_PARTS` that both frames show, in units of [-1, 1].

    Example:
        >>> turned = coordinate_grid(8, 8)[None] + 0.05             # everything moves alike: no expression
        >>> face = 0.5 * torch.rand(1, 68, 2)
        >>> bool(expression_errors(turned, turned, face, face).abs().max() < 1e-6)
        True
    """
    found, true = (flow_at(field, driving) for field in (flow, true_flow))
    shown = (true - source).norm(dim=-1) < _HIDDEN_BEYOND
    result = []
    for part in FACE_PARTS:
        counted = shown[:, part, None]
        error = (found - source)[:, part] * counted
        mean = error.sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
        result.append((error - mean)[counted[..., 0]])
    return torch.cat(result)


def keypoint_spread(value: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """How far a keypoint moves on the head: the standard deviation of its place there, over frames.

    The place x of each keypoint is looked up on the undeformed head, in mm; the spread is
    sqrt(mean |x - mean x|^2), over the frames in which the keypoint lies on the person. A keypoint that stays
    in one place of the image slides over a head that turns. One that stays on the nose has 0, but so has one
    that stays on any other point.

    Args:
        value: (T, K, 2) in [-1, 1].
        places: (T, H, W, 4): (x, y, z) in dm, and 0 for the background, see `SyntheticClip.places`.
    Returns:
        (K,) in mm, NaN where a keypoint lies on the person in fewer than two frames; (K,) the share of frames
        in which it does, 0 to 1.
    Raises:
        InputError: the two differ in the number of frames.

    Example:
        >>> spread, share = keypoint_spread(torch.zeros(3, 1, 2), torch.ones(3, 8, 8, 4))
        >>> spread.tolist(), share.tolist()                         # all pixels show the same place
        ([0.0], [1.0])
    """
    if len(value) != len(places):
        raise InputError(f"keypoints of {len(value)} frames, but places of {len(places)}; give equally many")
    height, width = places.shape[1:3]
    column, row = to_pixels(value.double().cpu(), height, width).round().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    frame = torch.arange(len(value))[:, None]
    found = places.double()[frame, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    on = (inside & (found[..., 3] > 0)).double()
    count = on.sum(dim=0)
    mean = (found[..., :3] * on[..., None]).sum(dim=0) / count[:, None]
    variance = ((found[..., :3] - mean).square().sum(dim=-1).nan_to_num() * on).sum(dim=0) / count
    spread = torch.where(count >= 2, variance.sqrt() * 100, torch.nan)
    return spread, count / len(value)


def landmarks_followed(
    keypoints: Tensor, landmarks: Tensor, near: float = 0.2, least: float = 0.06
) -> Tensor:
    """Which landmarks follow a keypoint: near them is one that moves as they do.

    With d_j = x_j - z_j the motion of landmark j from the driving frame (z) to the source (x), landmark j
    follows keypoint k if |z_j - p_D,k| < near and |d_j - (p_S,k - p_D,k)| < |d_j| / 2. One is enough.
    Keypoints that stand still follow nothing. Those of another pair say what chance gives.

    Args:
        keypoints: (2, K, 2) in [-1, 1]; landmarks: (2, n, 2); both of source and driving frame.
        near: distance, in units of [-1, 1]; least: landmarks that move by less are not counted.
    Returns:
        (n,): 1 or 0, and NaN for a landmark that moves by less, or is outside an image.

    Example:
        >>> keypoints = torch.tensor([[[0.4, 0.0]], [[0.1, 0.0]]])         # one, which moves by 0.3
        >>> landmarks = torch.tensor([[[0.3, 0.0], [0.0, 0.1]], [[0.0, 0.0], [0.0, 0.0]]])
        >>> landmarks_followed(keypoints, landmarks)
        tensor([1., 0.])
    """
    moved = landmarks[0] - landmarks[1]
    length = moved.norm(dim=-1)
    beside = (landmarks[1][:, None] - keypoints[1]).norm(dim=-1) < near
    error = (moved[:, None] - (keypoints[0] - keypoints[1])).norm(dim=-1)
    follows = (beside & (error < length[:, None] / 2)).any(dim=1).float()
    counted = (length > least) & (landmarks.abs() < 1).all(dim=-1).all(dim=0)
    return torch.where(counted, follows, torch.nan)


@torch.inference_mode()
def motion_scores(
    model: FirstOrderMotionModel | None, pairs: Sequence[TruePair], *, jacobians: bool = True
) -> list[dict[str, float]]:
    """The flow and the occlusion map of a model against the ground truth.

    Args:
        model: None for a model that moves nothing and hides nothing.
        pairs: with their ground truth.
        jacobians: False removes the keypoints' Jacobians, which leaves the zeroth-order motion of these
            keypoints. (A model that was *trained* without them is a fairer baseline: give it as `model`.)
    Returns:
        A dictionary a pair: the first seven of `MOTION_METRICS`. For `occlusion_iou` pixels of the map below
        0.5 are hidden; for `occlusion_iou_matched` those of the lowest values, as many as are hidden in
        truth: a map that was trained only for good images has no reason to put the threshold at 0.5. NaN
        where a model estimates no occlusion; `expression` is NaN for other subjects than heads.

    Example:
        >>> motion_scores(None, read_true_pairs())[0]["occlusion_iou"]
        0.0
    """
    result = []
    for pair in pairs:
        true, size = pair.motion, pair.motion.visible.shape
        if model is None:
            flow, occlusion = coordinate_grid(*size), torch.ones(size)
        else:
            flow, occlusion = _dense_motion(model, pair, jacobians, size)
        is_face = pair.landmarks.shape[1] == _FACE_LANDMARKS  # bodies, animals and vehicles have others
        places = pair.landmarks[:, None]
        expression = expression_errors(flow[None], true.flow[None], *places) if is_face else None
        scores = {
            "epe": end_point_error(flow, true.flow, true.visible),
            "epe_person": end_point_error(flow, true.flow, true.visible & true.surface),
            "expression": np.nan if expression is None else float(expression.norm(dim=-1).mean()) * _PIXELS,
        }
        hidden = ~true.visible
        if occlusion is None:
            scores |= dict.fromkeys(("occlusion_iou", "occlusion_iou_matched", "occlusion_ap"), np.nan)
        else:
            scores["occlusion_iou"] = intersection_over_union(occlusion < 0.5, hidden)
            scores["occlusion_iou_matched"] = _matched_iou(1 - occlusion, hidden)
            scores["occlusion_ap"] = average_precision(1 - occlusion, hidden)
        result.append(scores | {"hidden": float(hidden.float().mean())})
    return result


def _dense_motion(
    model: FirstOrderMotionModel, pair: TruePair, jacobians: bool, size: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """The flow (H, W, 2) and the occlusion map (H, W) at the size of the ground truth."""
    images = [resize(image[None], model.size).to(model.device) for image in (pair.source, pair.driving)]
    keypoints = [model.detect(image) for image in images]
    if not jacobians:
        keypoints = [Keypoints(kp.value) for kp in keypoints]
    motion = model.dense_motion(images[0], *keypoints)
    flow = resize_flow(motion.deformation, *size)[0].cpu()
    if motion.occlusion is None:
        return flow, None
    resized = F.interpolate(motion.occlusion, size=size, mode="bilinear", align_corners=False)
    return flow, resized[0, 0].cpu()


@dataclass
class MotionReport:
    """The result of `evaluate_motion`.

    Attributes:
        methods: in the order of the table.
        videos: method -> metric -> (number of clips,), each the mean over a clip's pairs.
        pairs: how many pairs of frames.
    """

    methods: list[str]
    videos: dict[str, dict[str, np.ndarray]]
    pairs: int

    def markdown(self) -> str:
        """A table: means over clips with 95 % bootstrap intervals."""
        rows = []
        for method in self.methods:
            intervals = {name: bootstrap_interval(self.videos[method][name]) for name in MOTION_METRICS}
            rows.append(
                [method, *(format_interval(intervals[n], m.digits) for n, m in MOTION_METRICS.items())]
            )
        titles = ["", *(metric.heading for metric in MOTION_METRICS.values())]
        clips = len(next(iter(self.videos.values()))["epe"])
        note = (
            f"True motion: {clips} clips, {self.pairs} pairs of frames. EPE in pixels of an image of 256, "
            "on pixels that the source shows; the spread of keypoints on the head in mm. Means over clips, "
            "in brackets their 95 % bootstrap intervals; – not there."
        )
        return f"{markdown_table(titles, rows)}\n\n{note}\n"


def evaluate_motion(
    weights: Sequence[str | os.PathLike],
    folder: str | os.PathLike,
    *,
    driving: Sequence[int] = (8, 16, 24, 32, 40),
    zeroth_order: bool = True,
    device: str | None = None,
    progress: bool = True,
) -> MotionReport:
    """Flow, occlusion and keypoints of models against the ground truth, on all clips of `synthesize`.

    Beside the models stands "no motion" (its keypoints are those of the first frame, in every frame), and
    each model once more without its Jacobians, as zeroth-order motion.

    Args:
        weights: what `load_model` takes.
        folder: clips of `synthesize` and their synthetic.json.
        driving: frame numbers; the source is frame 0.
        zeroth_order: whether to evaluate each model without its Jacobians, too.
        device: "cpu", "cuda", ...; the GPU where there is one.
        progress: show a bar.
    Raises:
        InputError: as `true_clip` and `load_model`.

    Example:
        >>> evaluate_motion(["heads-64"], "data/heads/test").methods       # doctest: +SKIP
        ['no motion', 'heads-64', 'heads-64, no Jacobians']
    """
    models = {
        Path(name).name.removesuffix(".safetensors"): load_model(name, device=device) for name in weights
    }
    methods: dict[str, tuple] = {NO_MOTION: (None, True)}
    for label, model in models.items():
        methods[label] = (model, True)
        if zeroth_order and model.config.model_params.common_params.estimate_jacobian:
            methods[f"{label}, no Jacobians"] = (model, False)
    found: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    clips = find_clips(folder, None)
    for clip in tqdm(clips, desc="true motion", unit="clip", disable=None if progress else True):
        truth = true_clip(clip.path)
        pairs = true_pairs(clip, truth, 0, driving)
        places = torch.stack([truth.places(k) for k in (0, *driving)])
        images = torch.stack([pairs[0].source, *(pair.driving for pair in pairs)])
        points = {label: _keypoints(model, images) for label, model in models.items()}
        fixed = torch.cat([p[:1].expand_as(p) for p in points.values()], dim=1)
        for method, (model, jacobians) in methods.items():
            scores = motion_scores(model, pairs, jacobians=jacobians)
            means = {name: mean_or_nan([row[name] for row in scores]) for name in scores[0]}
            spread, share = keypoint_spread(points.get(method.removesuffix(", no Jacobians"), fixed), places)
            means |= {"keypoint_spread": mean_or_nan(spread), "on_person": mean_or_nan(share)}
            means["uncovered"] = uncovered_true_error(model, pairs) if jacobians else np.nan
            found[method].append(means)
    videos = {
        method: {name: np.array([row[name] for row in rows]) for name in MOTION_METRICS}
        for method, rows in found.items()
    }
    return MotionReport(list(methods), videos, len(clips) * len(driving))


@torch.inference_mode()
def uncovered_true_error(model: FirstOrderMotionModel | None, pairs: Sequence[TruePair]) -> float:
    """L1 of the background that is hidden in the source and seen in the driving frame, mean over pairs.

    mean |x - y| over the pixels of the driving frame that show no person and whose point the source does not
    show. From 0 up, lower is better. The mask is exact; `regions.uncovered` estimates it from landmarks.

    Args:
        model: None for one that shows the source again.
        pairs: with their ground truth.
    Returns:
        NaN where no pair has 0.2 % of such pixels.

    Example:
        >>> error = uncovered_true_error(None, read_true_pairs())
        >>> 0 < error < 1
        True
    """
    errors = []
    for pair in pairs:
        mask = ~pair.motion.visible & ~pair.motion.surface
        shown = pair.source[None]
        if model is not None:
            source, driving = (resize(image[None], model.size) for image in (pair.source, pair.driving))
            shown = model(source.to(model.device), driving.to(model.device)).prediction.cpu()
        shown = enlarged(shown, tuple(mask.shape))
        errors += uncovered_error(shown, resize(pair.driving[None], mask.shape), mask[None].numpy()).tolist()
    return mean_or_nan(errors)


@torch.inference_mode()
def _keypoints(model: FirstOrderMotionModel, images: Tensor) -> Tensor:
    """(T, K, 2), of the images one by one."""
    resized = [resize(image[None], model.size).to(model.device) for image in images]
    return torch.cat([model.detect(image).value for image in resized]).cpu()
