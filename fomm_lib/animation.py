"""A portrait and a driving video go in; a video of that portrait making those movements comes out."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from fomm_lib import __version__
from fomm_lib.datasets import to_tensor
from fomm_lib.files import InputError
from fomm_lib.inference import Animator, hull_area, movement_scale, relative_motion  # noqa: F401
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.video import VideoReader, VideoWriter, read_picture

GENERATED_NOTICE = (
    "AI-generated: a still picture animated by a neural network "
    f"(First Order Motion Model, fomm-lib {__version__}). What it shows did not happen."
)

# A square cut out of a picture: left, top, side, in pixels; None is the largest one in the middle.
Crop = tuple[int, int, int] | None


@dataclass
class Animation:
    """What `animate` has made.

    Attributes:
        path: the video.
        frames: how many.
        fps: frames a second, on average.
        size: (width, height).
        seconds: how long it took.
    """

    path: Path
    frames: int
    fps: Fraction
    size: tuple[int, int]
    seconds: float


def animate(
    model: FirstOrderMotionModel,
    source: str | os.PathLike | np.ndarray,
    driving: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    relative: bool = True,
    adapt_scale: bool = False,
    crop: Crop = None,
    driving_crop: Crop = None,
    compare: bool = False,
    zoom: int = 1,
    batch_size: int = 4,
    overwrite: bool = False,
    progress: bool = True,
) -> Animation | np.ndarray:
    """Animate a portrait by a video, into a video file: as many frames as the driving video, at its times,
    with its sound.

    Frames stream through in batches, so memory does not grow with the length. The file appears whole or not
    at all; its metadata says that it is generated.

    Args:
        model: see `load_model`.
        source: a picture file, or uint8 (H, W, 3).
        driving: a video file.
        output: the .mp4 to write; None for an array of frames instead, which must fit into memory.
        relative, adapt_scale: see `relative_motion`; `relative=False` takes over the driving keypoints as
            they are.
        crop: (x, y, side) of the square to cut out of the portrait; the largest in the middle by default.
        driving_crop: the same for the driving video.
        compare: write source | driving | result side by side.
        zoom: enlarge the result so many times, bicubically, for looking at what a small model makes.
        batch_size: driving frames at a time.
        overwrite: whether an existing file may be replaced.
        progress: show a bar.
    Returns:
        What was made; without an output, the frames themselves, uint8 (T, H, W, 3).
    Raises:
        InputError: a file that cannot be read or written, or a crop that lies outside the picture.

    Source: FOMM, section 3.4.

    Example:
        >>> animate(load_model("heads-64"), "portrait.jpg", "clip.mp4", "moving.mp4").frames  # doctest: +SKIP
        125
    """
    started = time.monotonic()
    _at_least_1(zoom=zoom, batch_size=batch_size)
    portrait = _square(_picture(source), crop, "the portrait")
    video = VideoReader(driving)
    height, width = model.size[0] * zoom, model.size[1] * zoom
    size = (width * (3 if compare else 1), height)

    def pictures() -> Iterator[tuple[np.ndarray, Fraction]]:
        moments = ((_square(frame, driving_crop, "the driving video"), t) for frame, t in video.timed())
        animator = _animator(model, portrait, relative, adapt_scale)
        still = _enlarged(portrait, (height, width))
        for generated, frame, seconds in _follow(animator, moments, batch_size):
            picture = _enlarged(generated, (height, width))
            if compare:
                picture = np.concatenate([still, _enlarged(frame, (height, width)), picture], axis=1)
            yield picture, seconds

    def bar() -> tqdm:  # shown from the moment it is made
        return tqdm(pictures(), total=video.frames, unit="frame", disable=not progress)

    if output is None:
        with bar() as film:
            return np.stack([picture for picture, _ in film])
    metadata = {"title": "Animated portrait", "comment": GENERATED_NOTICE, "description": GENERATED_NOTICE}
    writer = VideoWriter(
        output,
        video.fps,
        size,
        audio_from=driving,
        metadata=metadata,
        overwrite=overwrite,
        time_base=video.time_base,
    )
    with writer, bar() as film:
        for picture, seconds in film:
            writer.write(picture, seconds)
        writer.end = video.end
    return Animation(Path(output), writer.frames, video.fps, size, time.monotonic() - started)


def animate_frames(
    model: FirstOrderMotionModel,
    source: str | os.PathLike | np.ndarray,
    driving: str | os.PathLike | Iterable[np.ndarray],
    *,
    relative: bool = True,
    adapt_scale: bool = False,
    crop: Crop = None,
    driving_crop: Crop = None,
    batch_size: int = 4,
) -> Iterator[np.ndarray]:
    """The frames of an animation one by one, as uint8 (H, W, 3) of the model's size: `animate` for scripts
    that do something else with them.

    Args:
        source: a picture file, or uint8 (H, W, 3).
        driving: a video file, or any iterable of uint8 (H, W, 3), a camera for instance; it is read as far as
            the result is.
        other arguments: as `animate`.

    Example:
        >>> for frame in animate_frames(model, "portrait.jpg", "clip.mp4"):  # doctest: +SKIP
        ...     show(frame)
    """
    _at_least_1(batch_size=batch_size)
    portrait = _square(_picture(source), crop, "the portrait")
    frames = VideoReader(driving) if isinstance(driving, (str, os.PathLike)) else driving
    what = "the driving video"
    moments = ((_square(_checked(frame, what), driving_crop, what), None) for frame in frames)
    for generated, _, _ in _follow(_animator(model, portrait, relative, adapt_scale), moments, batch_size):
        yield generated


def _animator(
    model: FirstOrderMotionModel, portrait: np.ndarray, relative: bool, adapt_scale: bool
) -> Animator:
    if model.training:
        raise InputError("the model is in training mode, in which it paints noise; call model.eval() first")
    device = next(model.parameters()).device
    source = to_tensor(portrait, model.size)[None].to(device)
    return Animator(model, source, relative=relative, adapt_scale=adapt_scale)


def _follow(
    animator: Animator, moments: Iterable[tuple[np.ndarray, Fraction | None]], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, Fraction | None]]:
    """(driving frame, its time) to (generated, driving frame, its time), batch by batch."""
    device = animator.kp_source.value.device
    for batch in _batches(moments, batch_size):
        driving = torch.stack([to_tensor(frame, animator.model.size) for frame, _ in batch]).to(device)
        prediction = animator(driving).prediction
        pictures = prediction.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for picture, (frame, seconds) in zip(pictures, batch, strict=True):
            yield picture, frame, seconds


def _batches(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _at_least_1(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise InputError(f"{name} = {value}: must be at least 1")


def _picture(source: str | os.PathLike | np.ndarray) -> np.ndarray:
    if not isinstance(source, np.ndarray):
        return read_picture(source)
    return _checked(source, "the portrait")


def _checked(picture: np.ndarray, what: str) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"{what} is {picture.dtype} {picture.shape}; it must be uint8 (H, W, 3), RGB")
    return picture


def _square(picture: np.ndarray, crop: Crop, what: str) -> np.ndarray:
    """A square of a picture (H, W, 3): the one asked for, or the largest in the middle."""
    height, width = picture.shape[:2]
    if crop is None:
        side = min(height, width)
        x, y = (width - side) // 2, (height - side) // 2
    else:
        x, y, side = crop
        if side < 1 or x < 0 or y < 0 or x + side > width or y + side > height:
            raise InputError(
                f"crop {x},{y},{side} does not lie inside {what}, which is {width}x{height} pixels; "
                f"x + side may be {width} at most, y + side {height}"
            )
    return picture[y : y + side, x : x + side]


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) at another size, bicubically."""
    if picture.shape[:2] == size:
        return picture
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(pixels, size=size, mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 255).round().byte()[0].permute(1, 2, 0).numpy()
