"""What will probably go wrong with a portrait and a driving video, said before they are animated.

    for one in trouble(load_model("heads-128"), "me.jpg", "clip.mp4"):
        print(one.line)

Numbers are read from portrait and video (`read_signals`), and each is compared with a threshold. The
thresholds were measured, not guessed: on rendered pairs whose error is known, most of them spoiled in one of
fourteen ways (`python -m experiments.trouble`; scores and ROC curves are in data/limits). A line is advice,
never a refusal: whoever animates a statue by a drawing may go on.

Faces are found by the extra `faces`. Without it the lines about faces are left out (none, several, cut off),
and pose and size are compared by the model's keypoints; `NEEDS_FACES` lists what is missing.

Three numbers depend on the weights: `keypoint_size`, `keypoint_pose` and `follow`. Each is a ratio, of
keypoints to their own spread or of an error to that of a still image, so that one threshold serves weights
whose keypoints lie elsewhere, and images of any size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm_lib.animation.animate import read_portrait
from fomm_lib.animation.animator import AnimatableModel, Animator
from fomm_lib.animation.movement import hull_area, pose_distance
from fomm_lib.animation.options import AnimateOptions, show_options
from fomm_lib.evaluation.regions import laplacian_variance
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.faces import UNCERTAIN, Face, find_faces, has_detector, landmarks68
from fomm_lib.media.squares import Square, choose_square, cut, height_of
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader

FRAMES_LOOKED_AT = 12
"""Frames of the driving video, evenly spread, in which faces are searched; successive frames are compared in
the whole video."""

_SEEN = 128  # at most so many pixels a side, where sharpness and light are read
_LITTLE = 0.05  # L1 of a still image to a driver who hardly moves
_FOLLOWED = 4  # frames that the model reconstructs from the reference frame
_SMALL = 32  # side of the images that successive frames are compared at
_GREY = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Check:
    """One number that is compared with a threshold.

    Attributes:
        signal: its name in `read_signals`.
        high: whether high values are trouble, or low ones.
        threshold: measured, see `python -m experiments.trouble`.
        problem: what is likely to be wrong; `{}` is the value.
        advice: what to do.
        needs_faces: whether the number needs the extra `faces`.
    """

    signal: str
    high: bool
    threshold: float
    problem: str
    advice: str
    needs_faces: bool = False

    def fires(self, value: float) -> bool:
        """Whether a value is beyond the threshold; NaN is not.

        Example:
            >>> Check("light", False, 0.1, "dark", "use more light").fires(0.05)
            True
        """
        return value > self.threshold if self.high else value < self.threshold


@dataclass(frozen=True)
class Trouble:
    """One likely problem.

    Attributes:
        check: which.
        value: the number that was found.
    """

    check: Check
    value: float

    @property
    def line(self) -> str:
        """What is wrong and what to do, in one line.

        Example:
            >>> Trouble(Check("light", False, 0.1, "it is dark ({:.2f} of 1)", "use more light"), 0.05).line
            'it is dark (0.05 of 1): use more light'
        """
        return f"{self.check.problem.format(self.value)}: {self.check.advice}"


_CROP = "choose the square yourself with --crop X,Y,SIZE"
_DRIVING_CROP = "choose one with --driving-crop X,Y,SIZE"
_SIZE = (
    "one head is {:.1f} times as large as the other",
    "use --crop auto, which frames both alike, or --adapt-scale",
)
_POSE = "the portrait's pose differs from that of the driving video's first frame (by {:.2f} of "
_POSE_ADVICE = "start the video in the portrait's pose, or use --best-frame auto"
CHECKS = (
    Check(
        "faces_source",
        False,
        0.5,
        "no face is found in the portrait",
        "use a face from the front that fills about half of the image, or go on if it is none",
        True,
    ),
    Check(
        "several_source",
        True,
        1.5,
        "the portrait shows {:.0f} faces",
        f"--crop auto takes the largest; for another, {_CROP}",
        True,
    ),
    Check(
        "outside_source",
        True,
        0.16,
        "the square of the portrait cuts off {:.0%} of the face",
        f"use --crop auto, or {_CROP}",
        True,
    ),
    Check(
        "faces_driving",
        False,
        0.5,
        "a face is found in {:.0%} of the driving frames only",
        "use a video of a head, from the front, with nothing before the face",
        True,
    ),
    Check(
        "several_driving",
        True,
        0.3,
        "{:.0%} of the driving frames show several faces",
        f"--crop auto follows one of them; for another, {_DRIVING_CROP}",
        True,
    ),
    Check(
        "outside_driving",
        True,
        0.305,
        "the square of the driving video cuts off {:.0%} of the face",
        f"use --driving-crop auto, or {_DRIVING_CROP}",
        True,
    ),
    Check("face_size", True, 1.56, *_SIZE, True),
    Check("keypoint_size", True, 1.31, *_SIZE),
    Check("face_pose", True, 0.101, f"{_POSE}a head)", _POSE_ADVICE, True),
    Check("keypoint_pose", True, 0.229, f"{_POSE}the spread of the keypoints)", _POSE_ADVICE),
    Check(
        "cut",
        True,
        6.35,
        "the driving video seems to have a cut (one change is {:.0f} times the usual one)",
        "cut the video into scenes and animate by one of them",
    ),
    Check(
        "follow",
        True,
        0.908,
        "the model cannot follow the driving video (its error is {:.0%} of that of a still image)",
        "use a video of the kind the model was trained on, with nothing before the face and no cut",
    ),
    Check(
        "sharpness_source",
        False,
        0.0116,
        "the portrait is blurred ({:.4f})",
        "use a sharper one: the result cannot be sharper than the portrait",
    ),
    Check(
        "sharpness_driving",
        False,
        0.012,
        "the driving video is blurred ({:.4f})",
        "use a sharper video, with more light or a shorter exposure",
    ),
    Check(
        "light_source",
        False,
        0.154,
        "the portrait is dark (its lights are {:.2f} of 1)",
        "use more light, from the front",
    ),
    Check(
        "light_driving",
        False,
        0.148,
        "the driving video is dark (its lights are {:.2f} of 1)",
        "use more light",
    ),
)
SIGNALS = tuple(check.signal for check in CHECKS)
"""The names of all numbers."""
NEEDS_FACES = tuple(check.signal for check in CHECKS if check.needs_faces)
"""The numbers that are not read without the extra `faces`."""


@show_options()
def trouble(
    model: AnimatableModel,
    source: str | os.PathLike | np.ndarray | Image.Image | Tensor,
    driving: str | os.PathLike | Sequence[np.ndarray],
    *,
    faces: bool | None = None,
    **options: Any,
) -> list[Trouble]:
    """The likely problems of an animation, before it is made; an empty list if none is found.

    Args:
        model: see `load_model`; a `FastModel` or an `ExportedModel` as well.
        source, driving: as for `animation.animate.animate`; `driving` may be a list of frames, too.
        faces: search faces, which needs the extra `faces`; None does so if it is installed.
        options: as for `animate`; crops, `relative`, `adapt_scale` and `best_frame` change what is checked.
    Raises:
        InputError: a file that cannot be read, or as for `AnimateOptions`.

    Example:
        >>> files = data_path("portrait.jpg"), data_path("driving.mp4")
        >>> trouble(load_model("heads-64"), *files, faces=False, relative=False)
        []
    """
    chosen = AnimateOptions.of(options)
    return compare(read_signals(model, source, driving, faces=faces, **options), chosen)


def compare(
    signals: Mapping[str, float],
    options: AnimateOptions | None = None,
    checks: Sequence[Check] = CHECKS,
) -> list[Trouble]:
    """The numbers that are beyond their thresholds, in the order of the checks.

    Size and pose by keypoints count only where those by landmarks are not there. With `adapt_scale` the sizes
    do not matter, without `relative` the pose does not. That no face is found counts only if the model is at
    a loss as well: the detector of faces misses heads that are turned away, or painted, of which the model
    finds its keypoints all the same.

    Args:
        signals: of `read_signals`.
        options: of the animation; those of a plain `animate` by default.
        checks: with other thresholds; `CHECKS` by default.

    Example:
        >>> signals = dict.fromkeys(SIGNALS, float("nan"))
        >>> [one.check.signal for one in compare(signals | {"keypoint_size": 9.0})]
        ['keypoint_size']
    """
    options = options or AnimateOptions()
    beyond = [check for check in checks if check.fires(signals[check.signal])]
    at_a_loss = any(check.signal in ("keypoint_pose", "follow") for check in beyond)
    found = []
    for check in beyond:
        about = check.signal.rpartition("_")[2]
        replaced = check.signal == f"keypoint_{about}" and np.isfinite(signals[f"face_{about}"])
        no_matter = (about == "size" and options.adapt_scale) or (about == "pose" and not options.relative)
        doubtful = check.signal.startswith("faces_") and not at_a_loss
        if not (replaced or no_matter or doubtful):
            found.append(Trouble(check, signals[check.signal]))
    return found


@show_options()
@torch.inference_mode()
def read_signals(
    model: AnimatableModel,
    source: str | os.PathLike | np.ndarray | Image.Image | Tensor,
    driving: str | os.PathLike | Sequence[np.ndarray],
    *,
    faces: bool | None = None,
    **options: Any,
) -> dict[str, float]:
    """The numbers that `trouble` compares with thresholds; NaN where one cannot be read.

    | name | what | unit |
    |---|---|---|
    | faces_source, faces_driving | share of images in which a face is found | 0 to 1 |
    | several_source | faces in the whole portrait | a number |
    | several_driving | driving frames with several faces | 0 to 1 |
    | outside_source, outside_driving | part of the box of the landmarks outside the square | 0 to 1 |
    | face_size | the larger over the smaller head, by landmarks | 1 or more |
    | face_pose | root mean square distance of a landmark, see `movement.pose_distance` | heads |
    | keypoint_size | the larger over the smaller spread of the keypoints | 1 or more |
    | keypoint_pose | root mean square distance of a keypoint, of centred and scaled keypoints | spreads |
    | cut | the largest change of successive frames over the 90th percentile of all | 1 or more |
    | follow | L1 of driving frames made of the reference frame, over that of a still image | 0 or more |
    | sharpness_* | `regions.laplacian_variance` over the variance | 0 or more |
    | light_* | the brightness that a twentieth of the pixels exceeds | 0 to 1 |

    All are read in the squares that are used: L1 at the model's size, sharpness and light at no more than 128
    pixels, so that they are the same with every model. A head is as large as the root of the area of the
    convex hull of its landmarks; the spread of keypoints is their root mean square distance from their mean.
    (The hull of ten keypoints is less steady: it told heads of other size apart with an area under the ROC
    curve of 0.92, the spread with 0.98.) The L1 of a still image counts as 0.05 at least: else no model could
    follow a driver who hardly moves.

    Args, Raises: as for `trouble`.

    Example:
        >>> files = data_path("portrait.jpg"), data_path("driving.mp4")
        >>> read_signals(load_model("heads-64"), *files)["light_source"] > 0.2
        True
    """
    chosen = AnimateOptions.of(options)
    searching = has_detector() if faces is None else faces
    portrait = read_portrait(source)
    video = VideoReader(driving) if isinstance(driving, (str, os.PathLike)) else driving
    square, _ = choose_square(portrait, chosen.crop, "the portrait", shape=model.size)
    driving_crop = chosen.driving_crop or ("auto" if chosen.crop == "auto" else None)
    looked_at = list(_spread(video))
    driving_square, _ = choose_square(
        looked_at[0], driving_crop, "the driving video", looked_at, shape=model.size
    )
    still = cut(portrait, square, model.size)
    frames = [cut(frame, driving_square, model.size) for frame in looked_at]
    small = torch.stack([to_tensor(image, model.size) for image in (still, *frames)]).to(model.device)
    both = model.detect(small)
    images, kp_source, keypoints = small[1:], both[:1], both[1:]
    reference = _reference(chosen, kp_source, keypoints)
    seen = _seen_size(model.size)
    signals = _appearance(to_tensor(still, seen), torch.stack([to_tensor(frame, seen) for frame in frames]))
    signals["cut"] = _largest_change(cut(frame, driving_square, model.size) for frame in video)
    signals["follow"] = _reconstruction_error(model, images, reference)
    signals |= _compared(kp_source, keypoints[reference : reference + 1])
    signals |= dict.fromkeys(NEEDS_FACES, float("nan"))
    if searching:
        signals |= _face_signals(portrait, square, looked_at, driving_square, reference, model.size)
    return signals


def _spread(video: VideoReader | Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """`FRAMES_LOOKED_AT` frames from the first to the last, or as many as there are."""
    frames = video.frames if isinstance(video, VideoReader) else len(video)
    step = max(1, (frames or 0) // FRAMES_LOOKED_AT)
    for number, frame in enumerate(video):
        if number % step == 0 and number // step < FRAMES_LOOKED_AT:
            yield frame.copy()


def _seen_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size of a model's images, or smaller in the same ratio, with `_SEEN` pixels on the longer side.

    The same image enlarged twice has a sixteenth of the sharpness: at the model's own size, thresholds would
    hold for models of one size only.
    """
    share = min(1.0, _SEEN / max(size))
    return round(share * size[0]), round(share * size[1])


def _reference(options: AnimateOptions, kp_source: Keypoints, keypoints: Keypoints) -> int:
    """Which of the frames looked at movement counts from: the first, or if it may be chosen the nearest."""
    if options.best_frame is None:
        return 0
    return int(pose_distance(kp_source, keypoints).argmin())


def _appearance(still: Tensor, images: Tensor) -> dict[str, float]:
    """Sharpness and light of the portrait (3, H, W) and, as the median, of driving frames (T, 3, H, W)."""
    signals = {}
    for name, several in (("source", still[None]), ("driving", images)):
        signals[f"sharpness_{name}"] = float(np.median([_sharpness(image) for image in several]))
        grey = (several.numpy() * _GREY[:, None, None]).sum(axis=1)
        signals[f"light_{name}"] = float(np.median(np.quantile(grey, 0.95, axis=(1, 2))))
    return signals


def _sharpness(image: Tensor) -> float:
    """`laplacian_variance` over the variance of the grey image; 0 for a flat one."""
    variance = float((image.double() * torch.from_numpy(_GREY)[:, None, None]).sum(dim=0).var(correction=0))
    return laplacian_variance(image) / variance if variance > 1e-6 else 0.0


def _largest_change(frames: Iterator[np.ndarray]) -> float:
    """The largest mean absolute difference of successive frames over the 90th percentile of all of them."""
    last, changes = None, []
    for frame in frames:
        small = Image.fromarray(frame).resize((_SMALL, _SMALL), Image.Resampling.BOX)
        small = np.asarray(small, np.float32) / 255
        if last is not None:
            changes.append(float(np.abs(small - last).mean()))
        last = small
    if len(changes) < 2:
        return 1.0
    return max(changes) / max(float(np.quantile(changes, 0.9)), 0.002)


def _reconstruction_error(model: AnimatableModel, images: Tensor, reference: int) -> float:
    """L1 of frames that the model makes of the reference frame, over that of the reference frame itself.

    Their truth is known: they are the video.
    """
    chosen = [k for k in np.linspace(0, len(images) - 1, _FOLLOWED + 1).round().astype(int) if k != reference]
    if not chosen:
        return 0.0
    still = images[reference : reference + 1]
    made = Animator(model, still, relative=False)(images[chosen]).prediction
    off, change = (float((one - images[chosen]).abs().mean()) for one in (made, still))
    return off / max(change, _LITTLE)


def _spread_of(points: Tensor) -> Tensor:
    """Of (K, 2): the root mean square distance from their mean."""
    return (points - points.mean(dim=0)).square().sum(dim=1).mean().sqrt()


def _compared(one: Keypoints, other: Keypoints) -> dict[str, float]:
    """Size and pose of two sets of keypoints, by their own spreads; NaN if those of one are in one place."""
    spreads = [_spread_of(kp.value[0]) for kp in (one, other)]
    if min(spreads) <= 0:
        return {"keypoint_size": float("nan"), "keypoint_pose": float("nan")}
    scaled = [
        (kp.value[0] - kp.value[0].mean(dim=0)) / spread
        for kp, spread in zip((one, other), spreads, strict=True)
    ]
    distance = (scaled[0] - scaled[1]).square().sum(dim=1).mean().sqrt()
    return {"keypoint_size": float(max(spreads) / min(spreads)), "keypoint_pose": float(distance)}


def _size_ratio(one: Keypoints, other: Keypoints) -> float:
    """Of two heads, the larger over the smaller; NaN if the points of one lie on a line."""
    areas = [hull_area(kp.value[0]) for kp in (one, other)]
    return (max(areas) / min(areas)) ** 0.5 if min(areas) > 0 else float("nan")


def _distance(one: Keypoints, other: Keypoints) -> float:
    """`pose_distance` as the root mean square distance of a point."""
    return float(pose_distance(one, other)[0] / one.value.shape[1]) ** 0.5


# --- faces ---------------------------------------------------------------------------------------------


def _face_signals(
    portrait: np.ndarray,
    square: Square,
    frames: list[np.ndarray],
    driving_square: Square,
    reference: int,
    shape: tuple[int, int],
) -> dict[str, float]:
    """The numbers that landmarks give."""
    source, several = _face_in(portrait, square, shape)
    driving = [_face_in(frame, driving_square, shape) for frame in frames]
    landmarks = [face for face, _ in driving if face is not None]
    signals = {
        "faces_source": float(source is not None),
        "several_source": float(several),
        "faces_driving": len(landmarks) / len(driving),
        "several_driving": float(np.mean([count > 1 for _, count in driving])),
    }
    if source is not None:
        signals["outside_source"] = _outside(source, square, shape)
    if landmarks:
        signals["outside_driving"] = float(
            np.median([_outside(face, driving_square, shape) for face in landmarks])
        )
    first = driving[reference][0]
    if source is not None and first is not None:
        pair = [Keypoints(torch.from_numpy(points)[None]) for points in (source, first)]
        scale = driving_square[2] / square[2]  # both as shares of their squares
        pair[0] = Keypoints(pair[0].value * scale)
        signals |= {"face_size": _size_ratio(*pair), "face_pose": _distance(*pair)}
    return signals


def _face_in(image: np.ndarray, square: Square, shape: tuple[int, int]) -> tuple[np.ndarray | None, int]:
    """The landmarks (68, 2) of the face that is used, in pixels of the image, and how many faces there are.

    It is the largest whose middle is in the square; else the largest of all. A face that is uncertain counts
    if there is no other: a head that is turned away is not missing.
    """
    faces = find_faces(image) or find_faces(image, UNCERTAIN)
    if not faces:
        return None, 0
    inside = [face for face in faces if _holds(square, shape, face)]
    return landmarks68(image, (inside or faces)[0]), len(faces)


def _holds(square: Square, shape: tuple[int, int], face: Face) -> bool:
    x, y, side = square
    across, down = (face.left + face.right) / 2 - x, (face.top + face.bottom) / 2 - y
    return 0 <= across < side and 0 <= down < height_of(square, shape)


def _outside(landmarks: np.ndarray, square: Square, shape: tuple[int, int]) -> float:
    """The share of the landmarks' box that lies outside the square."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    start = np.array(square[:2], float)
    end = start + np.array([square[2], height_of(square, shape)])
    kept = np.clip(np.minimum(high, end) - np.maximum(low, start), 0, None)
    return float(1 - np.prod(kept) / max(np.prod(high - low), 1e-9))
