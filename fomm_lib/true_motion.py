"""What only synthetic heads tell: are motion and occlusion right, and do keypoints stay in their places?

A picture can look right for wrong reasons: a white wall may be copied from anywhere. Of rendered heads the
true motion of every pixel is known, so the flow and the occlusion map can be judged themselves:

    pairs = read_true_pairs()                                     # six of them lie in data/heads/truth
    judge_motion(load_model("heads-64"), pairs)                   # {"epe": ..., "occlusion_iou": ..., ...}
    judge_motion(None, pairs)                                     # if nothing moved

    print(evaluate_motion(["heads-64"], "data/heads/test").markdown())     # many more, rendered anew

Published tables have nothing of the kind: real videos have no truth.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from fomm_lib.comparison import bootstrap_interval, in_words, markdown_table
from fomm_lib.datasets import Clip, find_clips, to_tensor
from fomm_lib.files import InputError, data_path
from fomm_lib.geometry import coordinate_grid, flow_at, from_pixels, resize_flow, to_pixels
from fomm_lib.keypoints import Keypoints
from fomm_lib.metrics import Metric
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.synthetic import SyntheticClip, TrueMotion
from fomm_lib.video import read_frames

NO_MOTION = "no motion"
METRICS = {
    "epe": Metric("EPE", "lower", 2, "end-point error on visible pixels, px of 256"),
    "epe_person": Metric("EPE, person", "lower", 2, "the same on visible pixels of the person alone"),
    "expression": Metric("expression", "lower", 2, "error of eyes and mouth against the head, px of 256"),
    "occlusion_iou": Metric("occlusion IoU", "higher", 3, "of hidden pixels, 0 to 1"),
    "occlusion_iou_matched": Metric("occlusion IoU, matched", "higher", 3, "the same, as many as are hidden"),
    "occlusion_ap": Metric("occlusion AP", "higher", 3, "average precision for hidden pixels, 0 to 1"),
    "hidden": Metric("hidden", "", 3, "share of hidden pixels: the AP of guessing"),
    "keypoint_spread": Metric("keypoint spread", "lower", 1, "standard deviation on the head, mm"),
    "on_person": Metric("on the person", "", 2, "share of keypoints that lie on the person, 0 to 1"),
}
_PIXELS = 128.0  # of a picture of 256, in a unit of [-1, 1]
# Numbers of iBUG's landmarks: an eye and its brow, the other ones, the mouth.
FACE_PARTS = ([*range(17, 22), *range(36, 42)], [*range(22, 27), *range(42, 48)], [*range(48, 68)])
# A landmark at whose pixel one sees what was farther away than this from it is hidden by something else.
_HIDDEN_BEYOND = 0.12
_DIFFERENT = 0.06  # a frame rendered anew differs from the file's by compression, 0.01 to 0.03


@dataclass(frozen=True)
class TruePair:
    """Two frames of one clip, and the truth about them.

    Attributes:
        clip: name.
        source, driving: (3, H, W) in [0, 1].
        motion: flow (H, W, 2), visible and surface (H, W), see `synthetic.TrueMotion`.
        landmarks: (2, 68, 2), of source and driving frame, see `synthetic.SyntheticClip.landmarks`.
    """

    clip: str
    source: Tensor
    driving: Tensor
    motion: TrueMotion
    landmarks: Tensor


def read_true_pairs(
    truth: str | os.PathLike | None = None, clips: str | os.PathLike | None = None
) -> list[TruePair]:
    """Pairs of frames whose truth is kept in files: those of data/heads/truth by default. Renders nothing.

    Args:
        truth: a folder of .npz as `data/heads/README.md` describes them.
        clips: the folder of the clips that they tell of.
    Raises:
        InputError: no such files.
    """
    truth = Path(data_path("heads", "truth") if truth is None else truth)
    clips = Path(data_path("heads", "test") if clips is None else clips)
    paths = sorted(truth.glob("*.npz"))
    if not paths:
        raise InputError(f"{truth}: no .npz with the truth of synthetic heads in it")
    pairs = []
    for path in paths:
        with np.load(path) as kept:
            numbers = [int(kept["source"]), int(kept["driving"])]
            source, driving = (to_tensor(f) for f in read_frames(clips / str(kept["clip"]), numbers))
            motion = TrueMotion(*(torch.from_numpy(kept[name]) for name in ("flow", "visible", "surface")))
            motion = TrueMotion(motion.flow.float(), motion.visible, motion.surface)
            landmarks = torch.from_numpy(kept["landmarks"])
            pairs.append(TruePair(str(kept["clip"]), source, driving, motion, landmarks))
    return pairs


def halved(pair: TruePair) -> TruePair:
    """The same pair at half its size: pictures and displacements are means over 2x2 pixels.

    `motion.visible` and `motion.surface` become shares of the four pixels, float, 0 to 1; compare with 1 for
    the pixels that are wholly so.

    Raises:
        InputError: the sides are not even.

    Example:
        >>> motion = TrueMotion(coordinate_grid(8, 8), *torch.ones(2, 8, 8))
        >>> pair = TruePair("", *torch.rand(2, 3, 8, 8), motion, torch.zeros(2, 68, 2))
        >>> torch.allclose(halved(pair).motion.flow, coordinate_grid(4, 4), atol=1e-6)
        True
    """
    height, width = pair.motion.visible.shape
    if height % 2 or width % 2:
        raise InputError(f"{pair.clip}: {height}x{width} cannot be halved; give even sides")

    def half(field: Tensor) -> Tensor:  # (..., height, width)
        return field.float().unflatten(-2, (-1, 2)).unflatten(-1, (-1, 2)).mean(dim=(-3, -1))

    # A small pixel's middle lies between those of its four: at (k - 0.5) / 2.
    pixels = half(to_pixels(pair.motion.flow, height, width).movedim(-1, 0)).movedim(0, -1)
    flow = from_pixels((pixels - 0.5) / 2, height // 2, width // 2)
    motion = TrueMotion(flow, half(pair.motion.visible), half(pair.motion.surface))
    return TruePair(pair.clip, half(pair.source), half(pair.driving), motion, pair.landmarks)


def end_point_error(flow: Tensor, true_flow: Tensor, mask: Tensor) -> float:
    """EPE: the mean Euclidean distance of two flows where the mask is set, in pixels of a picture of 256.

        mean over z in the mask of |F(z) - F'(z)| x 128

    From 0 up, lower is better; NaN for an empty mask. Hidden pixels have no true place in the source that one
    could copy, so the mask should be that of the visible ones.

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
    """IoU of two sets of pixels (bool): those in both, over those in either.

    0 to 1, higher is better; NaN where both are empty.

    Source: Jaccard 1901; Everingham et al., *The Pascal Visual Object Classes Challenge*, 2010.

    Example:
        >>> intersection_over_union(torch.tensor([True, True, False]), torch.tensor([False, True, True]))
        0.3333333333333333
    """
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else float("nan")


def average_precision(score: Tensor, true: Tensor) -> float:
    """The area under precision against recall, of a score that should be high where `true` is set.

    It needs no threshold. 0 to 1, higher is better; a constant score has the share of `true` pixels; NaN
    where there is none. Computed by torchmetrics.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.1, 0.8]), torch.tensor([True, False, True]))
        1.0
    """
    from torchmetrics.functional.classification import binary_average_precision

    if not bool(true.any()):
        return float("nan")
    return float(binary_average_precision(score.flatten().clamp(0, 1), true.flatten().long()))


def _matched_iou(score: Tensor, true: Tensor) -> float:
    """The IoU if as many pixels are chosen as are true, those of the highest scores; of a constant, that of a
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
    """What is wrong about the expression, whatever is wrong about the head.

        e_j - mean e,    e_j = T(z_j) - z*_j

    with T the flow, z_j landmark j of the driving face and z*_j that of the source, and the mean over the
    landmarks of the same part: an eye with its brow, or the mouth. Where lips part, lids close and brows rise
    as they should, it is 0. Inside an open mouth nothing comes from the source, and the flow is worth
    nothing; landmarks lie on what moves.

    Args:
        flow, true_flow: (B, H, W, 2), points of the source in [-1, 1].
        source, driving: (B, 68, 2), the landmarks of the two frames.
    Returns:
        (N, 2), of all landmarks of `FACE_PARTS` that both frames show, in units of [-1, 1].

    Example:
        >>> turned = coordinate_grid(8, 8)[None] + 0.05             # all moves alike: no expression
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
    """Does a keypoint stay on the same point of the head: its standard deviation there, over frames.

    Each keypoint is looked up on the undeformed head, as a place in mm; then sqrt(mean |x - mean x|^2), over
    the frames in which it lies on the person. A point nailed to the picture slides over a head that turns;
    one glued to the nose has 0, but so has one glued to anything else.

    Args:
        value: (T, K, 2) in [-1, 1].
        places: (T, H, W, 4): (x, y, z) in dm, and 0 where there is background, see `SyntheticClip.places`.
    Returns:
        (K,) in mm, NaN where a keypoint lies on the person in fewer than two frames; (K,) the share of frames
        in which it does, 0 to 1.
    Raises:
        InputError: as many frames must have keypoints as places.
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


@torch.inference_mode()
def judge_motion(
    model: FirstOrderMotionModel | None, pairs: Sequence[TruePair], *, jacobians: bool = True
) -> list[dict[str, float]]:
    """The flow and the occlusion map of a model against the truth.

    Args:
        model: None for a model that moves nothing and hides nothing.
        pairs: with their truth.
        jacobians: False takes the keypoints' Jacobians away, which leaves the zeroth-order motion of these
            keypoints. (A model that was *trained* so is a fairer baseline: give it as `model`.)
    Returns:
        A dictionary a pair: the first seven of `METRICS`. For `occlusion_iou` a map below 0.5 is hidden; for
        `occlusion_iou_matched` as many pixels as are hidden in truth, those of the lowest values: a map
        that was trained for nothing but good pictures need not know where 0.5 is. NaN where a model estimates
        no occlusion.
    """
    result = []
    for pair in pairs:
        height, width = pair.motion.visible.shape
        hidden = ~pair.motion.visible
        if model is None:
            flow, occlusion = coordinate_grid(height, width), torch.ones(height, width)
        else:
            flow, occlusion = _dense_motion(model, pair, jacobians, (height, width))
        there = occlusion is not None
        expression = expression_errors(flow[None], pair.motion.flow[None], *pair.landmarks[:, None])
        result.append(
            {
                "epe": end_point_error(flow, pair.motion.flow, pair.motion.visible),
                "epe_person": end_point_error(
                    flow, pair.motion.flow, pair.motion.visible & pair.motion.surface
                ),
                "expression": float(expression.norm(dim=-1).mean()) * _PIXELS,
                "occlusion_iou": intersection_over_union(occlusion < 0.5, hidden) if there else np.nan,
                "occlusion_iou_matched": _matched_iou(1 - occlusion, hidden) if there else np.nan,
                "occlusion_ap": average_precision(1 - occlusion, hidden) if there else np.nan,
                "hidden": float(hidden.float().mean()),
            }
        )
    return result


def _dense_motion(
    model, pair: TruePair, jacobians: bool, size: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """The flow (H, W, 2) and the occlusion map (H, W) at the size of the truth."""
    device = next(model.parameters()).device
    pictures = [_at(p, model.size).to(device) for p in (pair.source, pair.driving)]
    kp_source, kp_driving = (model.detect(picture) for picture in pictures)
    if not jacobians:
        kp_source, kp_driving = Keypoints(kp_source.value), Keypoints(kp_driving.value)
    motion = model.dense_motion(pictures[0], kp_source, kp_driving)
    flow = resize_flow(motion.deformation, *size)[0].cpu()
    if motion.occlusion is None:
        return flow, None
    resized = F.interpolate(motion.occlusion, size=size, mode="bilinear", align_corners=False)
    return flow, resized[0, 0].cpu()


def _at(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[1:]) == tuple(size):
        return picture[None]
    return F.interpolate(picture[None], size=size, mode="bilinear", antialias=True)


# --- rendering more truth -----------------------------------------------------------------------------------


def true_clip(path: str | os.PathLike) -> SyntheticClip:
    """The synthetic clip that a file of `synthesize` shows: its name and the folder's synthetic.json say it.

    Raises:
        InputError: not a file of `synthesize`; the extra `synthetic` or EGL is missing; or another version
            rendered it, so that it shows something else.
    """
    path = Path(path)
    name = re.match(r"synth(\d+)-(\d+)#(\d+)#0#(\d+)", path.name)
    note = path.parent / "synthetic.json"
    if not name or not note.is_file():
        raise InputError(f"{path}: only clips that `fomm synthesize` made have a known truth")
    settings = json.loads(note.read_text(encoding="utf-8"))
    seed, person, number, frames = map(int, name.groups())
    clip = SyntheticClip(seed, number, frames, settings["size"], settings["fps"], person_number=person)
    (kept,) = _kept(path).read([0])
    person = clip.places(0)[..., 3].numpy() > 0  # what stands behind may be a picture that is not here
    difference = np.abs(kept.astype(float) - clip.frame(0))[person].mean() / 255
    if difference > _DIFFERENT:
        raise InputError(
            f"{path}: differs from what its number renders now (by {difference:.3f}); it was made by another "
            "version, render it anew"
        )
    return clip


def render_true_pairs(path: str | os.PathLike, source: int, driving: Sequence[int]) -> list[TruePair]:
    """Pairs of frames of a clip of `synthesize`, with their truth, which is rendered.

    Raises:
        InputError: as `true_clip`.
    """
    return _pairs(path, true_clip(path), source, driving)


def _pairs(
    path: str | os.PathLike, truth: SyntheticClip, source: int, driving: Sequence[int]
) -> list[TruePair]:
    first, *others = (to_tensor(frame) for frame in _kept(path).read([source, *driving]))
    return [
        TruePair(
            Path(path).name,
            first,
            other,
            truth.true_motion(source, k),
            torch.stack([truth.landmarks(source), truth.landmarks(k)]),
        )
        for other, k in zip(others, driving, strict=True)
    ]


def _kept(path: str | os.PathLike) -> Clip:
    """The clip as it lies on disk."""
    path = Path(path)
    return next(clip for clip in find_clips(path.parent, None) if clip.name == path.name)


@dataclass
class MotionReport:
    """What `evaluate_motion` found.

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
        arrows = {"lower": " ↓", "higher": " ↑", "": ""}
        titles = ["", *(m.title + arrows[m.better] for m in METRICS.values())]
        rows = [
            [
                method,
                *(in_words(bootstrap_interval(self.videos[method][n]), m.digits) for n, m in METRICS.items()),
            ]
            for method in self.methods
        ]
        clips = len(next(iter(self.videos.values()))["epe"])
        words = (
            f"True motion: {clips} clips, {self.pairs} pairs of frames. EPE in pixels of a picture of 256, "
            "on pixels that the source shows; the spread of keypoints on the head in mm. Means over clips, "
            "in brackets their 95 % bootstrap intervals; – not there."
        )
        return markdown_table(titles, rows) + f"\n\n{words}\n"


def evaluate_motion(
    weights: Sequence[str | os.PathLike],
    folder: str | os.PathLike,
    *,
    driving: Sequence[int] = (8, 16, 24, 32, 40),
    zeroth_order: bool = True,
    device: str | None = None,
    progress: bool = True,
) -> MotionReport:
    """Flow, occlusion and keypoints of models against the truth, on all clips of a folder of `synthesize`.

    Beside the models stands "no motion" (its keypoints are those of the first frame, nailed to the picture),
    and each model once more without its Jacobians: its zeroth-order part alone.

    Args:
        weights: what `load_model` takes.
        folder: clips of `synthesize` and their synthetic.json.
        driving: frame numbers; the source is frame 0.
        zeroth_order: whether to take Jacobians away, too.
    Raises:
        InputError: as `true_clip` and `load_model`.
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
        pairs = _pairs(clip.path, truth, 0, driving)
        places = torch.stack([truth.places(k) for k in (0, *driving)])
        pictures = torch.stack([pairs[0].source, *(pair.driving for pair in pairs)])
        points = {label: _points(model, pictures) for label, model in models.items()}
        nailed = torch.cat([p[:1].expand_as(p) for p in points.values()], dim=1)
        for method, (model, jacobians) in methods.items():
            judged = judge_motion(model, pairs, jacobians=jacobians)
            means = {name: _mean([row[name] for row in judged]) for name in judged[0]}
            label = method.removesuffix(", no Jacobians")
            spread, share = keypoint_spread(points.get(label, nailed), places)
            means |= {"keypoint_spread": _mean(spread), "on_person": _mean(share)}
            found[method].append(means)
    videos = {
        method: {name: np.array([row[name] for row in rows]) for name in METRICS}
        for method, rows in found.items()
    }
    return MotionReport(list(methods), videos, len(clips) * len(driving))


@torch.inference_mode()
def _points(model: FirstOrderMotionModel, pictures: Tensor) -> Tensor:
    device = next(model.parameters()).device
    found = [model.detect(_at(picture, model.size).to(device)).value for picture in pictures]
    return torch.cat(found).cpu()


def _mean(values) -> float:
    values = np.asarray(values, float)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
