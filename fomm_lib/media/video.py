"""The readers of images and videos: every file becomes uint8 RGB arrays, or an error of one line.

    image = read_image("portrait.jpg")      # uint8 (H, W, 3), upright, transparency on white

    video = VideoReader("clip.mp4")             # decodes one frame, and keeps no more than that
    video.size, video.fps, video.frames         # (width, height), Fraction, number of frames by the header
    for frame in video: ...                     # uint8 (H, W, 3), one at a time, from the start each time
    for frame, seconds in video.timed(): ...    # the same, with the time since the first frame (Fraction)

    frames = read_frames("clip.mp4", [3, 140])  # (2, H, W, 3): seeks instead of decoding all before them

    with VideoWriter("out.mp4", video.fps, (256, 256), audio_from="clip.mp4") as writer:
        writer.write(frame)                     # or, keeping frame times: writer.write(frame, seconds)

Every fault of a file is an `InputError` of one line. For a video it is the subclass `VideoError`, which also
has the `reason` and the number of good `frames` before the fault.

Pillow reads images and animated images (`images.py`); PyAV reads videos (`decoding.py`, `index.py`) and
writes them (`encoding.py`, which has `VideoWriter`; it is available here too only because the notebooks
import it from here).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
from PIL import Image

from fomm_lib.errors import InputError, Reason, VideoError, error_text, one_line
from fomm_lib.files import check_name, existing_file
from fomm_lib.media.containers import missing_end
from fomm_lib.media.decoding import ToRgb, decoded_frames, open_video
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.folders import frame_durations_in, image_names
from fomm_lib.media.images import (
    MAX_IMAGE_PIXELS,
    first_of_animation,
    frame_durations,
    open_animation,
    open_image,
    upright_rgb,
)
from fomm_lib.media.index import FrameIndex, frame_index, frames_and_seconds, no_frames, seek_frames
from fomm_lib.media.tracks import audios, may_jump

_SLOWEST, _FASTEST = Fraction(1, 100_000), 10_000  # frames a second that a header may claim

__all__ = ["VideoReader", "VideoWriter", "read_frames", "read_image"]


class VideoReader:
    """A video file, or a folder of images, as a stream of frames, in constant memory.

    Frames are uint8 (H, W, 3), RGB, all of one size: turned upright by the file's rotation, with square
    pixels, colours converted by the matrix, range and bit depth in the file's tags (HDR is mapped to
    sRGB), transparency on white. Where the resolution changes, frames are rescaled to that of the first.
    Every `for` opens the file and starts at the beginning again.

    The images of a folder (.png, .jpg, .jpeg) are frames in the natural order of their names, at the times of
    its `times.csv` (as `outputs.FrameFolder` writes it), or 25 a second.

    Attributes:
        path: the file, or the folder.
        size: (width, height) of every frame.
        fps: average frames per second, as a Fraction.
        frames: number of frames by the header, None where it does not say. Only decoding gives the true
            number.
        duration: seconds by the header, None where it does not say.
        rotation: degrees by which the stored frames are turned clockwise to be upright (0, 90, 180 or 270).
        has_audio: whether there is an audio track.
        codec: FFmpeg's (or Pillow's) name of the format.
        time_base: the tick of the file's clock in seconds: all frame times are multiples of it.
        end: seconds at which the last frame read ends; after the last frame, the length of the video.

    Raises:
        VideoError: the file cannot be read or is encrypted, holds no video (cover art is none) or no frame,
            or its frames are too large. While iterating: the file breaks in the middle; the message says
            after how many good frames.

    Example:
        >>> video = VideoReader(data_path("driving.mp4"))
        >>> frame = next(iter(video))
    """

    def __init__(self, path: str | os.PathLike):
        self._files = _frame_files(path)  # in a folder
        self.path = Path(path) if self._files else existing_file(path)
        self.size: tuple[int, int] | None = None
        self.rotation = 0
        self._durations: list[Fraction] | None = None  # of the frames of an animated image or a folder
        self._length: Fraction | None = None  # of the video, where its own stream says so
        self._skipped = Fraction(0)  # seconds of it before the first frame that decodes
        if self._files is not None:
            self._durations = frame_durations_in(self.path, [file.name for file in self._files])
            self._read_durations(Path(self._files[0]).suffix.lower()[1:])
            self._first = read_image(self._files[0])
            duration = self._durations[0]
        else:
            with open_video(self.path) as stream:
                if stream is not None:
                    self._read_header(stream)
                    self._first, _, duration = next(self._decode_video(stream))
            if stream is None:
                with open_animation(self.path) as image:
                    self._durations = frame_durations(image)
                    self._read_durations(image.format.lower())
                    self._first, _, duration = next(self._decode_images(image))
        self.size = self._first.shape[1::-1]
        self.end = duration or 1 / self.fps

    def _read_header(self, stream: av.video.stream.VideoStream) -> None:
        container = stream.container
        rate = stream.average_rate or stream.guessed_rate
        self.fps = Fraction(rate) if rate and _SLOWEST <= rate <= _FASTEST else Fraction(25)
        self.time_base = Fraction(stream.time_base or 1 / self.fps)  # PyAV 19 has a kind of number of its own
        self.has_audio = bool(audios(container))
        self.codec = stream.codec_context.name
        self.duration = None
        if may_jump(container):
            self.frames, self._length = frames_and_seconds(self.path)
            self.duration = float(self._length) or None
            rate = self.frames / self._length if self._length else self.fps
            if not rate / 2 < self.fps < rate * 2 and _SLOWEST <= rate <= _FASTEST:
                self.fps = rate.limit_denominator(1001)  # a jump of the clock was taken for a frame's length
            return
        if stream.duration and stream.duration > 0:
            self._length = stream.duration * self.time_base
            self.duration = float(self._length)
        elif container.duration and container.duration > 0:
            # Matroska's duration counts from zero, also where the video begins an hour later.
            before = container.start_time or 0 if "matroska" in container.format.name else 0
            self.duration = (container.duration - max(0, before)) / av.time_base
        self.frames = stream.frames or (round(self.duration * self.fps) if self.duration else None)

    def _read_durations(self, codec: str) -> None:
        self.codec = codec
        self.frames = len(self._durations)
        self.fps, self.duration = self.frames / sum(self._durations), float(sum(self._durations))
        ticks = math.lcm(1000, *{duration.denominator for duration in self._durations})
        self.time_base = Fraction(1, ticks if ticks <= 1_000_000 else 1000)
        self.has_audio = False

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame, _ in self.timed():
            yield frame

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Yield (frame, seconds since the first frame). The seconds grow even where those of the file do not.

        Raises:
            VideoError: the file breaks in the middle.
        """
        clock = _SteadyClock(self.fps)
        if self._files is not None:
            opened, decode = nullcontext(self._files), self._decode_files
        elif self._durations is not None:
            opened, decode = open_animation(self.path), self._decode_images
        else:
            opened, decode = open_video(self.path), self._decode_video
        with opened as source:
            for frame, seconds, duration in decode(source):
                seconds = clock(seconds)
                self.end = seconds + (duration or clock.step)
                yield frame, seconds
        if self._length is not None and self._length - self._skipped > seconds:
            self.end = self._length - self._skipped

    def first_frame(self) -> np.ndarray:
        """The first frame, uint8 (H, W, 3)."""
        return self._first.copy()

    @functools.cached_property
    def times(self) -> list[Fraction]:
        """The time of every frame in seconds since the first, read from the file without decoding it."""
        if self._durations is not None:
            return list(accumulate(self._durations[:-1], initial=Fraction(0)))
        index = frame_index(self.path)
        clock = _SteadyClock(self.fps)
        return [clock(None if tick is None else tick * self.time_base) for tick in index.ticks]

    def _decode_files(self, files: list[Path]) -> Iterator[tuple[np.ndarray, Fraction, Fraction]]:
        for file, seconds, duration in zip(files, self.times, self._durations, strict=True):
            yield self.image_of(file), seconds, duration

    def image_of(self, file: Path) -> np.ndarray:
        """An image of a folder, at the size of the first."""
        frame = read_image(file)
        if frame.shape[1::-1] == self.size:
            return frame
        return np.array(Image.fromarray(frame).resize(self.size, Image.Resampling.BICUBIC))

    def _decode_images(self, image: Image.Image) -> Iterator[tuple[np.ndarray, Fraction, Fraction]]:
        seconds = Fraction(0)
        start = first_of_animation(image)
        for number, duration in enumerate(self._durations):
            try:
                image.seek(start + number)
                frame = upright_rgb(image)
            except MemoryError:
                raise
            except Exception as error:  # Pillow raises a dozen kinds of error on broken files
                raise self._broken(number, seconds, error) from error
            yield frame, seconds, duration
            seconds += duration

    def _decode_video(
        self, stream: av.video.stream.VideoStream
    ) -> Iterator[tuple[np.ndarray, Fraction | None, Fraction]]:
        count, start, seconds = 0, None, None
        stream.thread_type = "AUTO"
        to_rgb = ToRgb(stream, self.size)
        try:
            for frame in decoded_frames(stream):
                rgb = to_rgb(frame)
                self.rotation = to_rgb.rotation
                if start is None and frame.pts is not None:
                    start = frame.pts
                    if not may_jump(stream.container) and stream.start_time is not None:
                        self._skipped = (start - stream.start_time) * self.time_base
                seconds = None if frame.pts is None else (frame.pts - start) * self.time_base
                yield rgb, seconds, (frame.duration or 0) * self.time_base
                count += 1
        except av.error.FFmpegError as error:
            raise self._broken(count, seconds, error) from error
        if count == 0:
            raise no_frames(self.path)
        # A file cut between two frames decodes without a fault; only its table of contents shows the cut.
        cut = missing_end(self.path) if count < (stream.frames or count + 1) else None
        if cut is not None:
            raise self._broken(count, seconds, cut)

    def _broken(self, count: int, seconds: Fraction | None, cause: object) -> VideoError:
        cause = getattr(cause, "strerror", None) or str(cause)[:80]
        if count == 0:
            text = f"no frame can be decoded ({cause}); convert or download it again"
            return VideoError(self.path, Reason.UNREADABLE, text)
        good = f"{count} good frame{'s' * (count > 1)}" + (f", {float(seconds):.2f} s" if seconds else "")
        text = f"is damaged after {good} ({cause}); cut it there, or download it again"
        return VideoError(self.path, Reason.CORRUPT, text, frames=count)


class _SteadyClock:
    """Frame times from 0 that always grow: a missing or decreasing time becomes the last plus 1 / fps."""

    def __init__(self, fps: Fraction):
        self.step = 1 / Fraction(fps)
        self.last: Fraction | None = None
        self.shift = Fraction(0)

    def __call__(self, seconds: Fraction | None) -> Fraction:
        if self.last is None:
            self.last, self.shift = Fraction(0), -(seconds or Fraction(0))
            return self.last
        following = self.last + self.step
        if seconds is None:
            seconds = following - self.shift
        if seconds + self.shift <= self.last:
            self.shift = following - seconds
        self.last = seconds + self.shift
        return self.last


def read_frames(path: str | os.PathLike, indices: Sequence[int]) -> np.ndarray:
    """Read some frames of a video without decoding all of it.

    Seeks to the key frame before each wanted frame and decodes from there, so the cost grows with the
    distance of key frames. Frames are numbered from 0 in display order, and equal those of `VideoReader`.

    Args:
        path: a video, or a folder of frames.
        indices: numbers of frames, in any order, repeated or not.

    Returns:
        uint8 (N, H, W, 3), in the order of `indices`.

    Raises:
        VideoError: as for `VideoReader`.
        InputError: `indices` is empty, or the video has no such frame.

    Example:
        >>> source, driving = read_frames(data_path("driving.mp4"), [0, 30])
    """
    files = _frame_files(path)
    path = Path(path) if files else existing_file(path)
    indices = [int(i) for i in indices]
    if not indices:
        raise InputError(one_line(path, "no frame was asked for; give at least one number"))
    index = FrameIndex(len(files), is_whole=True) if files else frame_index(path)
    last = index.count - 1 if index.is_whole else max(indices)
    for asked in (min(indices), max(indices)):
        if not 0 <= asked <= last:
            raise _no_such_frame(path, asked, index.count)
    if files:
        video = VideoReader(path)
        return np.stack([video.image_of(files[i]) for i in indices])
    wanted = sorted(set(indices))
    found = seek_frames(path, index, wanted) if index.is_key is not None else None
    if found is None:
        found = _walk_to_frames(path, wanted)
    return np.stack([found[i] for i in indices])


def _frame_files(path: str | os.PathLike) -> list[Path] | None:
    """The images in a folder; None if the path is no folder.

    Raises:
        VideoError: a folder without images, or one that may not be read.
    """
    if not isinstance(path, (str, os.PathLike)):
        return None
    check_name(path)
    folder = Path(path)
    try:
        if not folder.is_dir():
            return None
        names = image_names(folder)
    except (OSError, ValueError) as error:
        text = f"cannot be read ({error_text(error)}); check the path"
        raise VideoError(path, Reason.MISSING, text) from error
    if not names:
        text = "is a folder without images (.png, .jpg); give a video, or a folder of frames"
        raise VideoError(path, Reason.MISSING, text)
    return [folder / name for name in names]


def _no_such_frame(path: Path, asked: int, count: int) -> InputError:
    return InputError(one_line(path, f"frame {asked} was asked for, but it has frames 0 to {count - 1}"))


def _walk_to_frames(path: Path, wanted: list[int]) -> dict[int, np.ndarray]:
    """The wanted frames by number, decoding everything before the last of them."""
    found, count = {}, 0
    for number, frame in enumerate(VideoReader(path)):
        count += 1
        if number in wanted:
            found[number] = frame
        if number == wanted[-1]:
            return found
    raise _no_such_frame(path, wanted[-1], count)


def has_frames(path: str | os.PathLike) -> bool:
    """Whether a file that `read_image` reads is a video or an animated image, and not a still image.

    Example:
        >>> has_frames(data_path("portrait.jpg")), has_frames(data_path("driving.mp4"))
        (False, True)
    """
    try:
        with open_animation(Path(path)):
            return True
    except VideoError as error:
        return error.reason != Reason.STILL


def read_image(path: str | os.PathLike, largest: int = MAX_IMAGE_PIXELS) -> np.ndarray:
    """Read any image as uint8 (H, W, 3), RGB, upright.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is composited
    on white, 16-bit values are scaled to 8 bits. Of an animated image or a video it is the first frame.

    Args:
        path: a file of any format that Pillow opens (JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, ...), HEIC with
            the extra `heic`, or a video.
        largest: the largest number of pixels of an image.

    Raises:
        InputError: no such file, not an image, truncated, larger than `largest`, or of a kind that is not
            read here (the raw file of a camera).

    Example:
        >>> read_image(data_path("portrait.jpg")).dtype
        dtype('uint8')
    """
    path = existing_file(path)
    try:
        with open_image(path, largest) as image:
            return upright_rgb(image)
    except Image.UnidentifiedImageError:
        pass  # maybe a video
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds of error on broken files
        raise InputError(one_line(path, f"is damaged ({error}); save or download it again")) from error
    try:
        return VideoReader(path).first_frame()
    except VideoError as error:
        if error.reason in {Reason.ENCRYPTED, Reason.TOO_LARGE}:
            raise
        raise InputError(one_line(path, "is no image that can be read; give a JPEG or PNG")) from error
