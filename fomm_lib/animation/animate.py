"""A portrait and a driving video in; a video of that portrait with those movements out."""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm_lib.animation.animator import AnimatableModel, Animator, sizes_of
from fomm_lib.animation.movement import exaggerated, pose_distance, smoothed
from fomm_lib.animation.options import AnimateOptions, show_options
from fomm_lib.errors import InputError, one_line
from fomm_lib.files import real_path
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.credentials import Credentials, signed_format
from fomm_lib.media.faces import find_faces, has_detector, landmarks68
from fomm_lib.media.outputs import open_output
from fomm_lib.media.overlays import PasteBack, Watermark
from fomm_lib.media.pipeline import BackgroundWriter, Progress, prefetch, progress_bar
from fomm_lib.media.squares import Shape, Square, choose_square, clamp_square, cut
from fomm_lib.media.tensors import (
    bytes_tensor,
    check_image,
    download,
    image_array,
    resize_bicubic,
    upload,
)
from fomm_lib.media.video import VideoReader, has_frames, read_frames, read_image
from fomm_lib.version import __version__

GENERATED_NOTICE = (
    "AI-generated: a still image animated by a neural network "
    f"(First Order Motion Model, fomm-lib {__version__}). What it shows did not happen."
)
FACES_LOOKED_FOR = 40  # number of frames of the driving video, evenly spread, in which faces are searched
LARGEST_PASTED = 1920  # pixels of the longer side of a portrait with the result in it
# Options that only `animate` has; `animate_frames`, which writes no file, refuses them.
OF_FILES = ("paste_back", "compare", "zoom", "enlarge", "watermark")


@dataclass
class Animation:
    """What `animate` has made.

    Attributes:
        path: the video.
        frames: how many.
        fps: frames per second, on average.
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
    crop: Square
    driving_crop: Square
    best_frame: int | None


@show_options()
def animate(
    model: AnimatableModel,
    source: str | os.PathLike | np.ndarray | Image.Image | Tensor,
    driving: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    credentials: Credentials | None = None,
    progress: Progress = True,
    **options: Any,
) -> Animation | np.ndarray:
    """Animate a portrait by a video, into a video file: as many frames as the driving video, at its times,
    with its audio.

    Reading, computing and writing overlap, and frames stream through in batches, so memory does not grow
    with the length. The file appears whole or not at all; its metadata says that it is generated.

    Args:
        model: see `load_model`; a `FastModel` or an `ExportedModel` as well.
        source: an image file, or an image in memory: uint8 (H, W, 3), a Pillow image, or a tensor
            (3, H, W) in [0, 1].
        driving: a video file, or a folder of frames as `animate` writes it.
        output: what to write: a file with an ending of `formats.OUTPUT_FORMATS`, or a name without an ending
            for a folder of frames (see `outputs.open_output`); None for an array of frames instead, which
            must fit into memory.
        overwrite: whether an existing file may be replaced.
        credentials: who signs the result, see `media.credentials`; the signed statement names the files of
            portrait and driving video with their SHA-256. None does not sign.
        progress: show a bar; or a function that shows it, called with the number of frames done and of all
            of them (None where the file does not say).
        options: how to animate, e.g. `relative=False`, `crop="auto"`; see `options.AnimateOptions`.
    Returns:
        What was made; without an output, the frames themselves, uint8 (T, H, W, 3).
    Raises:
        InputError: a file that cannot be read or written, a crop that lies outside the image, an option out
            of range, or two that exclude one another.
    Warns:
        UserWarning: no face is found where one was searched, or in one of portrait and video only; a driving
            video of one frame.

    Source: FOMM, section 3.4.

    Example:
        >>> animate(load_model("heads-64"), "portrait.jpg", "clip.mp4", "moving.mp4").frames  # doctest: +SKIP
        125
    """
    started = time.monotonic()
    chosen = AnimateOptions.of(options)
    if output is None and credentials is not None:
        raise InputError("credentials are written into a file: give an output, or leave out credentials")
    _, size = sizes_of(model, chosen.size, chosen.fast)
    portrait = read_portrait(source)
    if chosen.paste_back:
        portrait, chosen = _reduced(portrait, chosen, model.size)
    video = VideoReader(driving)
    times = chosen.enlarge.scale if chosen.enlarge else chosen.zoom
    each = portrait.shape[:2] if chosen.paste_back else (size[0] * times, size[1] * times)
    shape = each[1] * (3 if chosen.compare else 1), each[0]
    with ExitStack() as stack:
        if output is not None:  # before anything else, so that a bad name is reported before the work is done
            _refuse_inputs(output, source, driving)
            finish = None if credentials is None else _signing(credentials, output, source, driving)
            notices = dict.fromkeys(["comment", "description"], GENERATED_NOTICE)
            writer = open_output(
                output,
                video.fps,
                shape,
                audio_from=None if Path(driving).is_dir() else driving,
                metadata=notices | {"title": "Animated portrait"},
                overwrite=overwrite,
                time_base=video.time_base,
                finish=finish,
            )
            stack.enter_context(writer)
        square, driving_square, notes = _squares(
            model, chosen, portrait, video.first_frame(), _frames_to_search(video, progress)
        )
        for note in notes:
            warnings.warn(note, stacklevel=2)
        still = cut(portrait, square, model.size)
        animator = _animator(model, still, chosen)
        ahead = 2 * chosen.batch_on(model.device)
        compose = _composer(chosen, portrait, square, model.size, each)
        best_frame = _set_reference(animator, chosen, still, video, driving_square, progress)

        def moments() -> Iterator[tuple[Tensor, tuple[np.ndarray | None, Fraction]]]:
            for frame, seconds in video.timed():
                frame = cut(frame, driving_square, model.size)
                yield bytes_tensor(frame, model.size), (frame.copy() if chosen.compare else None, seconds)

        def write(generated: np.ndarray, frame: np.ndarray | None, seconds: Fraction) -> None:
            writer.write(compose(generated, frame), seconds)

        decoded = stack.enter_context(closing(prefetch(moments(), ahead)))
        frames = progress_bar(_follow(animator, chosen, decoded), progress, total=video.frames)
        stack.enter_context(closing(frames))
        if output is None:
            return np.stack([compose(generated, frame) for generated, (frame, _) in frames])
        with BackgroundWriter(ahead) as background:
            for generated, (frame, seconds) in frames:
                background.call(write, generated, frame, seconds)
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
        best_frame=best_frame if chosen.relative else None,
    )


@show_options(*OF_FILES)
def animate_frames(
    model: AnimatableModel,
    source: str | os.PathLike | np.ndarray | Image.Image | Tensor,
    driving: str | os.PathLike | Iterable[np.ndarray],
    **options: Any,
) -> Iterator[np.ndarray]:
    """The frames of an animation one by one, as uint8 (H, W, 3), for scripts that do not write a file.

    Args:
        model: as for `animate`.
        source: an image file, or an image in memory, as for `animate`.
        driving: a video file, or any iterable of uint8 (H, W, 3), a camera for instance; it is read as far as
            the result is (and twice `smooth` frames further). Only a file can be read twice: other drivings
            have no best frame, and the square around the face is that of the first frame.
        options: see `options.AnimateOptions`; all but those about how a file looks.
    Raises:
        InputError: as for `animate`; or `best_frame` without a file.

    Example:
        >>> for frame in animate_frames(model, "portrait.jpg", "clip.mp4"):  # doctest: +SKIP
        ...     print(frame.shape)
    """
    chosen = AnimateOptions.of(options, without=OF_FILES)
    sizes_of(model, chosen.size, chosen.fast)
    portrait = read_portrait(source)
    what, video = "the driving video", None
    if isinstance(driving, (str, os.PathLike)):
        video = frames = VideoReader(driving)
        first, searched = video.first_frame(), _frames_to_search(video, progress=False)
    else:
        if chosen.best_frame is not None:
            raise InputError("best_frame needs a video file, which can be read twice")
        iterator = iter(driving)
        first = next(iterator, None)
        if first is None:
            return
        frames, searched = itertools.chain([first], iterator), [check_image(first, what)]
    square, driving_square, notes = _squares(model, chosen, portrait, first, searched)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    still = cut(portrait, square, model.size)
    animator = _animator(model, still, chosen)
    if video is not None:
        _set_reference(animator, chosen, still, video, driving_square, progress=False)
    moments = (
        (bytes_tensor(cut(check_image(frame, what), driving_square, model.size), model.size), None)
        for frame in frames
    )
    for generated, _ in _follow(animator, chosen, moments):
        yield generated


def read_portrait(source: str | os.PathLike | np.ndarray | Image.Image | Tensor) -> np.ndarray:
    """A portrait as uint8 (H, W, 3): read from a file, or given as an image in memory, see `image_array`.

    Raises:
        InputError: it cannot be read, or is no image.
    Warns:
        UserWarning: it is a video or an animated image, of which the first frame is taken.

    Example:
        >>> read_portrait(data_path("portrait.jpg")).shape
        (256, 256, 3)
    """
    if not isinstance(source, (str, os.PathLike)):
        return image_array(source, "the portrait")
    image = read_image(source)
    if has_frames(source):
        text = "is a video; its first frame is the portrait. For another, save that frame as an image"
        warnings.warn(one_line(source, text), stacklevel=3)
    return image


# --- the movement --------------------------------------------------------------------------------------


def _animator(model: AnimatableModel, still: np.ndarray, options: AnimateOptions) -> Animator:
    size, result = sizes_of(model, options.size, options.fast)
    return Animator(
        model,
        still,
        relative=options.relative,
        adapt_scale=options.adapt_scale,
        size=size,
        result=result,
        detail=max(result) > max(model.size) if options.detail is None else options.detail,
    )


def _set_reference(
    animator: Animator,
    options: AnimateOptions,
    still: np.ndarray,
    video: VideoReader,
    square: Square,
    progress: Progress,
) -> int:
    """Find the reference frame of relative motion, set it, and return its number.

    `still` is the source. Where it shows a face, the best frame is the one whose 68 landmarks are closest to
    its own: they mean the same on a photograph and on a rendered head. Else the model's keypoints decide.
    """
    best, model = options.best_frame, animator.model
    if best is None:
        return 0
    if best != "auto":
        frame = cut(read_frames(video.path, [best])[0], square, model.size)
        seen = upload(bytes_tensor(frame, model.size)[None], model.device)
        animator.set_reference(animator.detect(seen))
        return best
    face = _landmarks(still) if has_detector() else None

    def searched() -> Iterator[tuple[Tensor, Keypoints | None]]:
        for frame in video:
            frame = cut(frame, square, model.size)
            yield bytes_tensor(frame, model.size), None if face is None else _landmarks(frame)

    nearest: dict[str, tuple[float, int, Keypoints]] = {}
    batch_size, kp_source = options.batch_on(model.device), animator.kp_source.to("cpu")
    with closing(prefetch(searched(), 2 * batch_size)) as decoded:
        frames = progress_bar(decoded, progress, total=video.frames, description="best frame")
        detected = _detected(animator, frames, batch_size, torch.device("cpu"))
        for number, (kp, landmarks) in enumerate(detected):
            pairs = {"keypoints": (kp_source, kp)}
            if landmarks is not None:
                pairs["face"] = face, landmarks
            for name, pair in pairs.items():
                found = float(pose_distance(*pair)), number, kp
                nearest[name] = min(nearest.get(name, found), found, key=lambda found: found[0])
    _, number, kp = nearest.get("face", nearest["keypoints"])
    animator.set_reference(kp.to(model.device))
    return number


def _landmarks(image: np.ndarray) -> Keypoints | None:
    points = landmarks68(image)
    return None if points is None else Keypoints(torch.from_numpy(points)[None])


def _detected(
    animator: Animator,
    moments: Iterable[tuple[Tensor, Any]],
    batch_size: int,
    to: torch.device | None = None,
) -> Iterator[tuple[Keypoints, Any]]:
    """(driving frame, anything) to (its keypoints, the same), a batch at a time; on the device `to`."""
    device = animator.model.device
    for batch in _batches(moments, batch_size):
        kp = animator.detect(upload(torch.stack([frame for frame, _ in batch]), device)).to(to or device)
        for number, (_, extra) in enumerate(batch):
            yield kp[number : number + 1], extra


def _follow(
    animator: Animator, options: AnimateOptions, moments: Iterable[tuple[Tensor, Any]]
) -> Iterator[tuple[np.ndarray, Any]]:
    """(driving frame, anything) to (generated image, the same), batch by batch.

    A GPU computes the next batch while the images of this one travel and are written. A CPU has nothing to
    gain by that, and a camera would lag.
    """
    device = animator.model.device
    batch_size, ahead = options.batch_on(device), int(device.type == "cuda")
    travelling: deque[tuple[Callable[[], np.ndarray], list]] = deque()
    items = smoothed(_detected(animator, moments, batch_size), options.smooth)
    for batch in itertools.chain(_batches(items, batch_size), itertools.repeat(None, ahead)):
        if batch is not None:
            kp = Keypoints.combine(lambda *frames: torch.cat(frames), *(kp for kp, _ in batch))
            kp = exaggerated(animator.kp_source, animator.move(kp), options.strength)
            images = download(animator.generate(kp).prediction)
            travelling.append((images, [extra for _, extra in batch]))
        if batch is None or len(travelling) > ahead:
            images, extras = travelling.popleft()
            yield from zip(images(), extras, strict=True)


def _batches(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


# --- the squares ---------------------------------------------------------------------------------------


def _squares(
    model: AnimatableModel,
    options: AnimateOptions,
    portrait: np.ndarray,
    first: np.ndarray,
    searched: Iterable[np.ndarray],
) -> tuple[Square, Square, list[str]]:
    """The squares of portrait and driving video, and warnings; `searched` are frames to find faces in."""
    driving_crop = options.driving_crop
    if driving_crop is None and options.crop == "auto":
        driving_crop = "auto"
    square, notes = choose_square(portrait, options.crop, "the portrait", shape=model.size)
    driving_square, more = choose_square(first, driving_crop, "the driving video", searched, model.size)
    notes += more
    if "auto" not in (options.crop, driving_crop) and has_detector():
        # A model animates well only if portrait and driving video are of one kind.
        used = cut(portrait, square, model.size), cut(first, driving_square, model.size)
        seen = [bool(find_faces(image)) for image in used]
        if seen[0] != seen[1]:
            one, other = ("portrait", "driving video") if seen[0] else ("driving video", "portrait")
            given = driving_crop if seen[0] else options.crop  # of the other
            part = "the middle" if given in (None, "middle") else "the given square"
            text = f"a face is found in the {one} and none in the {other}, of which {part} is used"
            notes.append(f"{text}; give another crop, or crop auto, or go on if that is right")
    return square, driving_square, notes


def _frames_to_search(video: VideoReader, progress: Progress) -> Iterator[np.ndarray]:
    step = max(1, (video.frames or 0) // FACES_LOOKED_FOR)
    bar = progress_bar(video, progress, total=video.frames, description="looking for faces")
    with closing(bar) as frames:
        yield from itertools.islice(frames, None, None, step)


# --- the output ----------------------------------------------------------------------------------------


def _refuse_inputs(output: str | os.PathLike, source: object, driving: str | os.PathLike) -> None:
    """Refuse to write over what is read, or over the folder that holds it: `overwrite` means an earlier
    result.
    """
    place = real_path(output)
    for what, path in (("portrait", source), ("driving video", driving)):
        is_name = isinstance(path, (str, os.PathLike))  # else an image in memory
        if is_name and place in (real_path(path), real_path(path).parent):
            raise InputError(f"{output}: the {what} is read from there; choose another name for the result")


def _signing(
    credentials: Credentials, output: str | os.PathLike, source: object, driving: str | os.PathLike
) -> Callable[[Path], None]:
    """The function that signs the finished file. A portrait in memory has no file to name."""
    signed_format(output)
    inputs = [path for path in (source, driving) if isinstance(path, (str, os.PathLike))]
    return lambda finished: credentials.sign(finished, Path(output).name, inputs)


def _composer(
    options: AnimateOptions, portrait: np.ndarray, square: Square, shape: Shape, size: tuple[int, int]
) -> Callable[[np.ndarray, np.ndarray | None], np.ndarray]:
    """A function from a generated image and its driving frame to a frame of the result.

    `shape` is that of the model's images, `size` (height, width) of the result alone, without what is shown
    beside it.
    """
    paste = PasteBack(portrait, square, shape) if options.paste_back else None
    source = resize_bicubic(cut(portrait, square, shape), size) if options.compare else None
    width = size[1] * (3 if options.compare else 1)
    mark = Watermark((width, size[0])) if options.watermark else None

    def compose(generated: np.ndarray, frame: np.ndarray | None) -> np.ndarray:
        if options.enlarge is not None:
            generated = options.enlarge(generated)
        if paste is not None:
            image = paste(resize_bicubic(generated, paste.size))
        else:
            image = resize_bicubic(generated, size)
        if options.compare:
            image = np.concatenate([source, resize_bicubic(frame, size), image], axis=1)
        return image if mark is None else mark(image)

    return compose


def _reduced(
    portrait: np.ndarray, options: AnimateOptions, shape: Shape
) -> tuple[np.ndarray, AnimateOptions]:
    """The portrait with at most `LARGEST_PASTED` pixels, and the options with the same crop in its pixels."""
    small = _at_most(portrait, LARGEST_PASTED)
    if small is portrait or options.crop in (None, "auto", "middle"):
        return small, options
    square, _ = choose_square(portrait, options.crop, "the portrait", shape=shape)
    x, y, side = (number * small.shape[1] / portrait.shape[1] for number in square)
    return small, replace(options, crop=clamp_square((x, y, side), small.shape[1::-1], shape))


def _at_most(image: np.ndarray, longest: int) -> np.ndarray:
    """An image (H, W, 3) reduced, if necessary, to `longest` pixels of its longer side."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    return resize_bicubic(image, (max(1, round(height * scale)), max(1, round(width * scale))))
