"""A portrait and a driving video go in; a video of that portrait making those movements comes out."""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from fomm_lib import __version__
from fomm_lib.datasets import to_tensor
from fomm_lib.faces import find_faces, has_detector, head_square, inside, landmarks68, steady_square
from fomm_lib.files import InputError
from fomm_lib.geometry import at_least_float32
from fomm_lib.inference import Animator, relative_motion
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.movement import Movement, exaggerated, pose_distance, smoothed
from fomm_lib.outputs import PasteBack, VisibleMark, open_output
from fomm_lib.overlap import Behind, ahead
from fomm_lib.video import VideoReader, read_frames, read_picture

__all__ = ["Animation", "Animator", "animate", "animate_frames", "relative_motion"]

GENERATED_NOTICE = (
    "AI-generated: a still picture animated by a neural network "
    f"(First Order Motion Model, fomm-lib {__version__}). What it shows did not happen."
)
FACES_LOOKED_FOR = 40  # frames of the driving video, evenly spread, in which a face is looked for
LARGEST_PASTED = 1920  # pixels of the longer side of a portrait with the result in it

# A square cut out of a picture: left, top, side, in pixels; "auto" is around the face, "middle" the largest
# one in the middle.
Crop = tuple[int, int, int] | Literal["auto", "middle"] | None
Progress = bool | Callable[[int, int | None], None]


@dataclass
class Animation:
    """What `animate` has made.

    Attributes:
        path: the video.
        frames: how many.
        fps: frames a second, on average.
        size: (width, height).
        seconds: how long it took.
        crop, driving_crop: the squares (x, y, side) that were cut out of portrait and video.
        best_frame: the number of the reference frame; None in absolute mode.
    """

    path: Path
    frames: int
    fps: Fraction
    size: tuple[int, int]
    seconds: float
    crop: tuple[int, int, int]
    driving_crop: tuple[int, int, int]
    best_frame: int | None


def animate(
    model: FirstOrderMotionModel,
    source: str | os.PathLike | np.ndarray,
    driving: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    relative: bool = True,
    adapt_scale: bool = False,
    strength: float = 1.0,
    smooth: float = 0.0,
    best_frame: int | Literal["auto"] | None = None,
    crop: Crop = None,
    driving_crop: Crop = None,
    size: int | None = None,
    paste_back: bool = False,
    compare: bool = False,
    zoom: int = 1,
    watermark: bool = False,
    batch_size: int = 4,
    overwrite: bool = False,
    progress: Progress = True,
) -> Animation | np.ndarray:
    """Animate a portrait by a video, into a video file: as many frames as the driving video, at its times,
    with its sound.

    Reading, computing and writing overlap, and frames stream through in batches, so memory does not grow
    with the length. The file appears whole or not at all; its metadata says that it is generated.

    Args:
        model: see `load_model`.
        source: a picture file, or uint8 (H, W, 3).
        driving: a video file.
        output: what to write: .mp4, .webm, .gif, .apng, ..., or a name without an ending for a folder of
            frames (see `outputs.open_output`); None for an array of frames instead, which must fit into
            memory.
        relative, adapt_scale: see `relative_motion`; `relative=False` takes over the driving keypoints as
            they are.
        strength: of the movement; 1 is as the driving video, see `movement.exaggerated`.
        smooth: frames over which jitter is averaged, see `movement.smoothed`.
        best_frame: the driving frame from which movement counts: its number, or "auto" for the one whose pose
            is nearest to the portrait's, for which the video is read twice; the first by default.
        crop: (x, y, side) of the square to cut out of the portrait; "auto" for the one around the face,
            framed as in the training data, and then of the driving video too; by default the largest in the
            middle.
        driving_crop: the same for the driving video; "auto" is one steady square for all of it.
        size: height and width at which the picture is generated, a multiple of 2^(down blocks); the model's
            by default. Motion is still estimated at the model's size, as it was learnt; only features and
            picture are finer. Of use where the portrait has as many pixels.
        paste_back: put the result back into the whole portrait (made smaller than 1920 pixels).
        compare: write source | driving | result side by side.
        zoom: enlarge the result so many times, bicubically, for looking at what a small model makes.
        watermark: write "AI-generated" into every frame.
        batch_size: driving frames at a time.
        overwrite: whether an existing file may be replaced.
        progress: show a bar; or a function that shows it, called with the number of frames done and of all
            of them (None where the file does not say).
    Returns:
        What was made; without an output, the frames themselves, uint8 (T, H, W, 3).
    Raises:
        InputError: a file that cannot be read or written, a crop that lies outside the picture, a setting out
            of range, or two that exclude one another.
    Warns:
        UserWarning: no face is found where one was looked for, or in one of portrait and video only; a
            driving video of one frame.

    Source: FOMM, section 3.4.

    Example:
        >>> animate(load_model("heads-64"), "portrait.jpg", "clip.mp4", "moving.mp4").frames  # doctest: +SKIP
        125
    """
    started = time.monotonic()
    _at_least_1(zoom=zoom, batch_size=batch_size)
    movement = Movement(relative, adapt_scale, strength, smooth, best_frame)
    if paste_back and (compare or zoom != 1):
        raise InputError("paste_back gives the whole portrait at its own size; leave out compare and zoom")
    check_size(model, size)
    portrait = _picture(source)
    if paste_back:
        portrait = _at_most(portrait, LARGEST_PASTED)
    video = VideoReader(driving)
    if output is not None:
        _no_input(output, source, driving)
    painted = (size, size) if size else model.size
    height, width = portrait.shape[:2] if paste_back else (painted[0] * zoom, painted[1] * zoom)
    shape = width * (3 if compare else 1), height
    mark = VisibleMark(shape) if watermark else None

    with ExitStack() as stack:
        writer = None
        if output is not None:  # first of all, so that a bad name is known before the work is done
            writer = open_output(
                output,
                video.fps,
                shape,
                audio_from=driving,
                metadata=dict.fromkeys(["comment", "description"], GENERATED_NOTICE)
                | {"title": "Animated portrait"},
                overwrite=overwrite,
                time_base=video.time_base,
            )
            stack.enter_context(writer)
        square, driving_square = _squares(portrait, video, crop, driving_crop, progress)
        still = _cut(portrait, square)
        animator = _animator(model, still, movement, size)
        paste = PasteBack(portrait, square) if paste_back else None
        beside = _enlarged(still, (height, width)) if compare else None

        def moments() -> Iterator[tuple[Tensor, tuple[np.ndarray | None, Fraction]]]:
            for frame, seconds in video.timed():
                frame = _cut(frame, driving_square)
                yield to_tensor(frame, model.size), (frame.copy() if compare else None, seconds)

        def finished(generated: np.ndarray, frame: np.ndarray | None) -> np.ndarray:
            """From what the model paints to what people see."""
            if paste is not None:
                picture = paste(_enlarged(generated, (paste.side, paste.side)))
            else:
                picture = _enlarged(generated, (height, width))
            if compare:
                picture = np.concatenate([beside, _enlarged(frame, (height, width)), picture], axis=1)
            return picture if mark is None else mark(picture)

        def write(generated: np.ndarray, frame: np.ndarray | None, seconds: Fraction) -> None:
            writer.write(finished(generated, frame), seconds)

        number = _set_reference(animator, movement, video, driving_square, still, batch_size, progress)
        decoded = stack.enter_context(closing(ahead(moments(), 2 * batch_size)))
        frames = _follow(animator, movement, decoded, batch_size)
        bar = stack.enter_context(closing(_bar(frames, video, None, progress)))
        if writer is None:
            return np.stack([finished(generated, frame) for generated, (frame, _) in bar])
        with Behind(2 * batch_size) as behind:
            for generated, (frame, seconds) in bar:
                behind.call(write, generated, frame, seconds)
        writer.end = video.end
    if writer.frames == 1:
        warnings.warn(f"{driving}: has one frame, so nothing moves", stacklevel=2)
    return Animation(
        path=Path(output),
        frames=writer.frames,
        fps=video.fps,
        size=shape,
        seconds=time.monotonic() - started,
        crop=square,
        driving_crop=driving_square,
        best_frame=number if relative else None,
    )


def animate_frames(
    model: FirstOrderMotionModel,
    source: str | os.PathLike | np.ndarray,
    driving: str | os.PathLike | Iterable[np.ndarray],
    *,
    relative: bool = True,
    adapt_scale: bool = False,
    strength: float = 1.0,
    smooth: float = 0.0,
    best_frame: int | Literal["auto"] | None = None,
    crop: Crop = None,
    driving_crop: Crop = None,
    size: int | None = None,
    batch_size: int = 4,
) -> Iterator[np.ndarray]:
    """The frames of an animation one by one, as uint8 (H, W, 3) of the model's size: `animate` for scripts
    that do something else with them.

    Args:
        source: a picture file, or uint8 (H, W, 3).
        driving: a video file, or any iterable of uint8 (H, W, 3), a camera for instance; it is read as far as
            the result is (and twice `smooth` frames further). Only a file can be read twice: of others there
            is no best frame, and the square around the face is that of the first frame.
        other arguments: as `animate`.

    Example:
        >>> for frame in animate_frames(model, "portrait.jpg", "clip.mp4"):  # doctest: +SKIP
        ...     show(frame)
    """
    _at_least_1(batch_size=batch_size)
    movement = Movement(relative, adapt_scale, strength, smooth, best_frame)
    check_size(model, size)
    portrait = _picture(source)
    if isinstance(driving, (str, os.PathLike)):
        video = frames = VideoReader(driving)
        first = video.first_frame()
    else:
        if best_frame is not None:
            raise InputError("best_frame needs a video file, which can be read twice")
        video, iterator = None, iter(driving)
        first = next(iterator, None)
        if first is None:
            return
        frames = itertools.chain([first], iterator)
    what = "the driving video"
    square, driving_square = _squares(
        portrait, video or _checked(first, what), crop, driving_crop, progress=False
    )
    still = _cut(portrait, square)
    animator = _animator(model, still, movement, size)

    def moments() -> Iterator[tuple[Tensor, None]]:
        for frame in frames:
            yield to_tensor(_cut(_checked(frame, what), driving_square), model.size), None

    if video is not None:
        _set_reference(animator, movement, video, driving_square, still, batch_size, progress=False)
    for generated, _ in _follow(animator, movement, moments(), batch_size):
        yield generated


# --- the movement --------------------------------------------------------------------------------------


def _animator(
    model: FirstOrderMotionModel, still: np.ndarray, movement: Movement, size: int | None
) -> Animator:
    if model.training:
        raise InputError("the model is in training mode, in which it paints noise; call model.eval() first")
    device = model.device if hasattr(model, "device") else next(model.parameters()).device
    source = to_tensor(still, model.size)[None].to(device)
    animator = Animator(model, source, relative=movement.relative, adapt_scale=movement.adapt_scale)
    if size is not None and (size, size) != tuple(model.size):
        large = to_tensor(still, (size, size))[None].to(device)
        with torch.inference_mode():
            # Motion is estimated as the model learnt to; only features and picture are finer.
            encoded = model.generator.encode(large)
            features = at_least_float32(encoded.features)
            animator.encoded = replace(encoded, features=features, small=animator.encoded.small)
    return animator


def _set_reference(
    animator: Animator,
    movement: Movement,
    video: VideoReader,
    square: Square,
    still: np.ndarray,
    batch_size: int,
    progress: Progress,
) -> int:
    """Find the reference frame of relative motion, set it, and return its number.

    `still` is the source. Where it shows a face, the best frame is the one whose 68 landmarks are most like
    its own: they mean the same on a photograph and on a rendered head. Else the model's keypoints decide.
    """
    best, model = movement.best_frame, animator.model
    if best is None:
        return 0
    device = animator.kp_source.value.device
    if best != "auto":
        frame = _cut(read_frames(video.path, [best])[0], square)
        animator.kp_initial = animator.detect(to_tensor(frame, model.size)[None].to(device))
        return best
    face = _landmarks(still) if has_detector() else None

    def looked_at() -> Iterator[tuple[Tensor, Keypoints | None]]:
        for frame in video:
            frame = _cut(frame, square)
            yield to_tensor(frame, model.size), None if face is None else _landmarks(frame)

    nearest: dict[str, tuple[float, int, Keypoints]] = {}
    with closing(ahead(looked_at(), 2 * batch_size)) as frames:
        bar = _bar(frames, video, "best frame", progress)
        for number, (kp, seen) in enumerate(_detected(animator, bar, batch_size)):
            judges = {"keypoints": (animator.kp_source, kp)}
            if seen is not None:
                judges["face"] = face, seen
            for name, pair in judges.items():
                found = float(pose_distance(*pair)), number, kp
                nearest[name] = min(nearest.get(name, found), found, key=lambda found: found[0])
    _, number, animator.kp_initial = nearest.get("face", nearest["keypoints"])
    return number


def _landmarks(picture: np.ndarray) -> Keypoints | None:
    points = landmarks68(picture)
    return None if points is None else Keypoints(torch.from_numpy(points)[None])


def _detected(
    animator: Animator, moments: Iterable[tuple[Tensor, Any]], batch_size: int
) -> Iterator[tuple[Keypoints, Any]]:
    """(driving frame, anything) to (its keypoints, the same), a batch at a time."""
    device = animator.kp_source.value.device
    for batch in _batches(moments, batch_size):
        kp = animator.detect(torch.stack([frame for frame, _ in batch]).to(device))
        for number, (_, extra) in enumerate(batch):
            yield kp[number : number + 1], extra


def _follow(
    animator: Animator, movement: Movement, moments: Iterable[tuple[Tensor, Any]], batch_size: int
) -> Iterator[tuple[np.ndarray, Any]]:
    """(driving frame, anything) to (generated picture, the same), batch by batch."""
    items = smoothed(_detected(animator, moments, batch_size), movement.smooth)
    for batch in _batches(items, batch_size):
        kp = animator.move(_joined([kp for kp, _ in batch]))
        if movement.strength != 1:
            kp = exaggerated(animator.kp_source, kp, movement.strength)
        prediction = animator.generate(kp).prediction
        pictures = prediction.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        yield from zip(pictures, (extra for _, extra in batch), strict=True)


def _joined(parts: list[Keypoints]) -> Keypoints:
    jacobians = [kp.jacobian for kp in parts]
    return Keypoints(
        torch.cat([kp.value for kp in parts]), None if jacobians[0] is None else torch.cat(jacobians)
    )


def _batches(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _bar(items: Iterable, video: VideoReader, what: str | None, progress: Progress) -> Any:
    """The same items, one a frame of the video, and something that shows how many have come."""
    if callable(progress):
        return _counted(items, video.frames, progress)
    return tqdm(items, total=video.frames, unit="frame", desc=what, disable=not progress)


def _counted(items: Iterable, total: int | None, progress: Callable[[int, int | None], None]) -> Iterator:
    for number, item in enumerate(items):
        progress(number, total)
        yield item


# --- the squares ---------------------------------------------------------------------------------------

Square = tuple[int, int, int]


def _squares(
    portrait: np.ndarray, video: VideoReader | np.ndarray, crop: Crop, driving_crop: Crop, progress: Progress
) -> tuple[Square, Square]:
    """The squares of portrait and driving video (or its first frame)."""
    if driving_crop is None and crop == "auto":
        driving_crop = "auto"
    first = video if isinstance(video, np.ndarray) else video.first_frame()
    square = driving_square = None
    if crop == "auto":
        square = _face_square([portrait], "the portrait")
    if driving_crop == "auto":
        frames = [first] if isinstance(video, np.ndarray) else _some_frames(video, progress)
        driving_square = _face_square(frames, "the driving video")
    square = square or _square(portrait, crop, "the portrait")
    driving_square = driving_square or _square(first, driving_crop, "the driving video")
    if "auto" not in (crop, driving_crop):
        _warn_of_different_kinds(_cut(portrait, square), _cut(first, driving_square))
    return square, driving_square


def _some_frames(video: VideoReader, progress: Progress) -> Iterator[np.ndarray]:
    step = max(1, (video.frames or 0) // FACES_LOOKED_FOR)
    with closing(_bar(video, video, "looking for faces", progress)) as frames:
        yield from itertools.islice(frames, None, None, step)


def _face_square(frames: Iterable[np.ndarray], what: str) -> Square | None:
    """The square around the head in all these frames; None, and a warning, where no face is found."""
    squares, size = [], (1, 1)
    for frame in frames:
        size = frame.shape[1::-1]
        points = landmarks68(frame)
        if points is not None:
            squares.append(head_square(points))
    if not squares:
        warnings.warn(f"no face is found in {what}; the square in its middle is used", stacklevel=4)
        return None
    return inside(steady_square(squares), size)


def _warn_of_different_kinds(still: np.ndarray, first: np.ndarray) -> None:
    """Warn where only one of two pictures shows a face: a model moves like by like."""
    if not has_detector():
        return
    seen = [bool(find_faces(picture)) for picture in (still, first)]
    if seen[0] != seen[1]:
        there, not_there = ("portrait", "driving video") if seen[0] else ("driving video", "portrait")
        text = f"a face is found in the {there} and none in the {not_there}, of which the middle is used"
        warnings.warn(f"{text}; give another crop, or crop auto, or go on if that is right", stacklevel=4)


def _square(picture: np.ndarray, crop: Crop, what: str) -> Square:
    """The square asked for, or the largest in the middle, as (x, y, side)."""
    height, width = picture.shape[:2]
    if crop is None or isinstance(crop, str):
        if crop not in (None, "auto", "middle"):
            raise InputError(f"crop {crop}: should be auto, middle, or three numbers x, y, side")
        side = min(height, width)
        return (width - side) // 2, (height - side) // 2, side
    x, y, side = crop
    if side < 1 or x < 0 or y < 0 or x + side > width or y + side > height:
        raise InputError(
            f"crop {x},{y},{side} does not lie inside {what}, which is {width}x{height} pixels; "
            f"x + side may be {width} at most, y + side {height}"
        )
    return x, y, side


def _cut(picture: np.ndarray, square: Square) -> np.ndarray:
    x, y, side = square
    return picture[y : y + side, x : x + side]


# --- pictures ------------------------------------------------------------------------------------------


def _at_least_1(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise InputError(f"{name} = {value}: must be at least 1")


def check_size(model: FirstOrderMotionModel, size: int | None) -> None:
    """Whether a model can paint pictures of this size.

    Raises:
        InputError: it cannot.
    """
    if size is None or (size, size) == tuple(model.size):
        return
    if not hasattr(model, "generator"):
        raise InputError(f"size = {size}: this model was exported for {model.size[0]} and no other size")
    step = 2 ** len(model.generator.down_blocks)
    if not 0 < size <= 4096 or size % step:
        raise InputError(f"size = {size}: should be a multiple of {step}, at most 4096")


def _no_input(
    output: str | os.PathLike, source: str | os.PathLike | np.ndarray, driving: str | os.PathLike
) -> None:
    """Refuse to write over what is read, or over the folder it lies in: who asks for overwriting means an
    earlier result.
    """
    place = Path(output).resolve()
    for what, path in (("portrait", source), ("driving video", driving)):
        if not isinstance(path, np.ndarray) and place in (Path(path).resolve(), Path(path).resolve().parent):
            raise InputError(f"{output}: the {what} is read from there; choose another name for the result")


def _picture(source: str | os.PathLike | np.ndarray) -> np.ndarray:
    if not isinstance(source, np.ndarray):
        return read_picture(source)
    return _checked(source, "the portrait")


def _checked(picture: np.ndarray, what: str) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"{what} is {picture.dtype} {picture.shape}; it must be uint8 (H, W, 3), RGB")
    return picture


def _at_most(picture: np.ndarray, longest: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    return _enlarged(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) at another size, bicubically."""
    if picture.shape[:2] == size:
        return picture
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(pixels, size=size, mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 255).round().byte()[0].permute(1, 2, 0).numpy()
