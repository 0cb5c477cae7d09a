"""Pictures and videos, in and out: every file that people bring becomes uint8 RGB arrays, or one clear line.

    picture = read_picture("portrait.jpg")      # uint8 (H, W, 3), upright, on white where it was transparent

    video = VideoReader("clip.mp4")             # decodes one frame, and holds no more than that
    video.size, video.fps, video.frames         # (width, height), Fraction, how many frames the file claims
    for frame in video: ...                     # uint8 (H, W, 3), one at a time, from the start each time
    for frame, seconds in video.timed(): ...    # the same, with the time since the first frame (Fraction)

    frames = read_frames("clip.mp4", [3, 140])  # (2, H, W, 3): seeks, does not decode all that lies before

    with VideoWriter("out.mp4", video.fps, (256, 256), audio_from="clip.mp4") as writer:
        writer.write(frame)                     # or, keeping frame times: writer.write(frame, seconds)

Whatever is wrong with a file is an `InputError` of one line. For a video it is the subclass `VideoError`,
which also says in one word what is wrong (`reason`) and how many good frames came first (`frames`).

Pillow reads pictures and animated pictures (`fomm_lib.pictures`); PyAV reads videos (`fomm_lib.decoding`) and
writes them (`fomm_lib.encoding`).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
from PIL import Image

from fomm_lib.containers import missing_end
from fomm_lib.decoding import ToRgb, decoded_frames, film_stream, is_picture_format, open_container
from fomm_lib.encoding import VideoWriter
from fomm_lib.files import InputError
from fomm_lib.pictures import (
    VideoError,
    existing_file,
    first_of_animation,
    frame_durations,
    one_line,
    open_animation,
    open_picture,
    upright_rgb,
)

__all__ = ["VideoError", "VideoReader", "VideoWriter", "read_frames", "read_picture"]


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Read any picture as uint8 (H, W, 3), RGB, upright.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid on
    white, 16-bit values are scaled to 8 bits. Of an animated picture or a video it is the first frame.

    Args:
        path: a file of any format that Pillow opens (JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, ...), or a video.

    Raises:
        InputError: no such file, not a picture, truncated, or larger than `MAX_PICTURE_PIXELS`.

    Example:
        >>> read_picture(data_path("portrait.jpg")).dtype
        dtype('uint8')
    """
    path = existing_file(path)
    try:
        with open_picture(path) as picture:
            return upright_rgb(picture)
    except Image.UnidentifiedImageError:
        pass  # a video, perhaps
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds of error on broken files
        raise InputError(one_line(path, f"is damaged ({error}); save or download it again")) from error
    try:
        return VideoReader(path).first_frame()
    except VideoError as error:
        if error.reason in {"encrypted", "too_large"}:
            raise
        raise InputError(one_line(path, "is no picture that can be read; give a JPEG or PNG")) from error


class VideoReader:
    """A video file as a stream of frames: constant memory, however long it is.

    Frames are uint8 (H, W, 3), RGB, all of one size: turned upright as the file's rotation says, with square
    pixels, colours converted by the matrix, range and bit depth that the file declares (HDR is mapped to
    sRGB), transparency laid on white. Where the resolution changes on the way, frames are rescaled to that of
    the first. Every `for` starts at the beginning again.

    Attributes:
        path: the file.
        size: (width, height) of every frame.
        fps: average frames a second, as a Fraction.
        frames: how many frames the file claims to hold, None where it does not say; count them for the truth.
        duration: seconds the file claims, None where it does not say.
        rotation: degrees by which the stored frames are turned clockwise to be upright (0, 90, 180 or 270).
        has_audio: whether there is a sound track.
        codec: FFmpeg's (or Pillow's) name of the format.
        time_base: the tick of the file's clock in seconds: all frame times are multiples of it.
        end: seconds at which the frame last read ends; after the last one it is the length of the film.

    Raises:
        VideoError: the file cannot be read or is encrypted, holds no film (cover art is none) or no frame, or
            its frames are too large. While iterating: the file breaks in the middle; the message says after
            how many good frames.

    Example:
        >>> video = VideoReader(data_path("driving.mp4"))
        >>> frame = next(iter(video))
    """

    def __init__(self, path: str | os.PathLike):
        self.path = existing_file(path)
        self.rotation = 0
        self._durations: list[Fraction] | None = None  # of the frames of an animated picture
        self._length: Fraction | None = None  # of the film, where its own stream says so
        with open_container(self.path) as container:
            is_picture = is_picture_format(container)
            if not is_picture:
                self._read_header(container)
        if is_picture:
            self._read_picture_header()
        self._first = next(self.timed())[0]
        self.size: tuple[int, int] = self._first.shape[1::-1]

    def _read_header(self, container: av.container.InputContainer) -> None:
        stream = film_stream(self.path, container)
        rate = stream.average_rate or stream.guessed_rate
        self.fps = Fraction(rate) if rate and 0 < rate <= 10_000 else Fraction(25)
        self.time_base = Fraction(stream.time_base or 1 / self.fps)  # PyAV 19 has a kind of number of its own
        self.duration = None
        if stream.duration and stream.duration > 0:
            self._length = stream.duration * self.time_base
            self.duration = float(self._length)
        elif container.duration and container.duration > 0:
            # Matroska's duration counts from zero, also where the film begins an hour later.
            before = container.start_time or 0 if "matroska" in container.format.name else 0
            self.duration = (container.duration - max(0, before)) / av.time_base
        self.frames = stream.frames or (round(self.duration * self.fps) if self.duration else None)
        self.has_audio = any(track.codec_context is not None for track in container.streams.audio)
        self.codec = stream.codec_context.name

    def _read_picture_header(self) -> None:
        with open_animation(self.path) as picture:
            self._durations = frame_durations(picture)
            self.codec = picture.format.lower()
        self.frames = len(self._durations)
        self.fps, self.duration = self.frames / sum(self._durations), float(sum(self._durations))
        ticks = math.lcm(1000, *{duration.denominator for duration in self._durations})
        self.time_base = Fraction(1, ticks if ticks <= 1_000_000 else 1000)
        self.has_audio = False

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame, _ in self.timed():
            yield frame

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """Yield (frame, seconds since the first frame); the seconds always grow, whatever the file says."""
        clock = _SteadyClock(self.fps)
        decoded = self._decode_film() if self._durations is None else self._decode_pictures()
        for frame, seconds, duration in decoded:
            seconds = clock(seconds)
            self.end = seconds + (duration or clock.step)
            yield frame, seconds
        if self._length is not None and self._length > seconds:
            self.end = self._length

    def first_frame(self) -> np.ndarray:
        """The first frame, uint8 (H, W, 3)."""
        return self._first.copy()

    @functools.cached_property
    def times(self) -> list[Fraction]:
        """Seconds since the first frame of every frame, read from the file without decoding it."""
        if self._durations is not None:
            return list(accumulate(self._durations[:-1], initial=Fraction(0)))
        index = _frame_index(self.path)
        clock = _SteadyClock(self.fps)
        ticks = [None] * index.count if index.ticks is None else index.ticks.tolist()
        return [clock(None if tick is None else tick * self.time_base) for tick in ticks]

    def _decode_pictures(self) -> Iterator[tuple[np.ndarray, Fraction, Fraction]]:
        seconds = Fraction(0)
        with open_animation(self.path) as picture:
            start = first_of_animation(picture)
            for number, duration in enumerate(self._durations):
                try:
                    picture.seek(start + number)
                    frame = upright_rgb(picture)
                except MemoryError:
                    raise
                except Exception as error:  # Pillow raises a dozen kinds of error on broken files
                    raise self._broken(number, seconds, error) from error
                yield frame, seconds, duration
                seconds += duration

    def _decode_film(self) -> Iterator[tuple[np.ndarray, Fraction | None, Fraction]]:
        count, start, seconds = 0, None, None
        with open_container(self.path) as container:
            stream = film_stream(self.path, container)
            stream.thread_type = "AUTO"
            to_rgb = ToRgb(stream, getattr(self, "size", None))
            try:
                for frame in decoded_frames(self.path, container, stream):
                    rgb = to_rgb(frame)
                    self.rotation = to_rgb.rotation
                    start = frame.pts if start is None else start
                    seconds = None if frame.pts is None else (frame.pts - start) * self.time_base
                    yield rgb, seconds, (frame.duration or 0) * self.time_base
                    count += 1
            except av.error.FFmpegError as error:
                raise self._broken(count, seconds, error) from error
            if count == 0:
                raise _no_frames(self.path)
            # A file cut between two frames decodes without a fault; only its table of contents knows better.
            cut = missing_end(self.path) if count < (stream.frames or count + 1) else None
            if cut is not None:
                raise self._broken(count, seconds, cut)

    def _broken(self, count: int, seconds: Fraction | None, cause: object) -> VideoError:
        cause = getattr(cause, "strerror", None) or str(cause)[:80]
        if count == 0:
            text = f"no frame can be decoded ({cause}); convert or download it again"
            return VideoError(self.path, "unreadable", text)
        good = f"{count} good frame{'s' * (count > 1)}" + (f", {float(seconds):.2f} s" if seconds else "")
        text = f"is damaged after {good} ({cause}); cut it there, or download it again"
        return VideoError(self.path, "corrupt", text, frames=count)


def _no_frames(path: Path) -> VideoError:
    return VideoError(path, "no_frames", "holds no frame that can be decoded; download or record it again")


class _SteadyClock:
    """Frame times from 0 that always grow.

    What has no time, or one that runs backwards, comes a frame's length after the last.
    """

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


# --- random access -------------------------------------------------------------------------------------


def read_frames(path: str | os.PathLike, indices: Sequence[int]) -> np.ndarray:
    """Read some frames of a video without decoding all of it.

    Jumps to the key frame before each wanted frame and decodes from there, so it costs as much as the key
    frames lie apart. Frames are numbered from 0 in the order they are shown, and look as `VideoReader` gives
    them.

    Args:
        path: a video.
        indices: which frames, in any order, repeated or not.

    Returns:
        uint8 (N, H, W, 3), in the order asked for.

    Raises:
        VideoError: as for `VideoReader`.
        InputError: a frame is asked for that the video does not have.

    Example:
        >>> source, driving = read_frames(data_path("driving.mp4"), [0, 30])
    """
    path = existing_file(path)
    indices = [int(i) for i in indices]
    if not indices:
        raise InputError(one_line(path, "no frame was asked for; give at least one number"))
    index = _frame_index(path)
    last = index.count - 1 if index.ticks is not None else max(indices)
    for asked in (min(indices), max(indices)):
        if not 0 <= asked <= last:
            raise _no_such_frame(path, asked, index.count)
    wanted = sorted(set(indices))
    found = _seek_frames(path, index, wanted) if index.ticks is not None else None
    if found is None:
        found = _walk_to_frames(path, wanted)
    return np.stack([found[i] for i in indices])


def _no_such_frame(path: Path, asked: int, count: int) -> InputError:
    return InputError(one_line(path, f"frame {asked} was asked for, but it has frames 0 to {count - 1}"))


@dataclass(frozen=True)
class _FrameIndex:
    """Where the frames of a video are, read from its packets: their times in the order shown, the key frames.

    `ticks` is None where packets do not tell: no time stamps, or a codec with packets that are never shown.
    """

    count: int
    ticks: np.ndarray | None = None
    is_key: np.ndarray | None = None


def _frame_index(path: Path) -> _FrameIndex:
    status = path.stat()
    return _read_frame_index(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _read_frame_index(path: Path, modified: int, size: int) -> _FrameIndex:
    """Cached, since a data set asks for the same clips over and over."""
    with open_container(path) as container:
        if is_picture_format(container):
            return _FrameIndex(0)
        stream = film_stream(path, container)
        ticks, keys = [], []
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    ticks.append(packet.pts)
                    keys.append(packet.is_keyframe)
        except av.error.FFmpegError:
            pass  # what can be reached is indexed; whoever decodes meets the fault
        if not ticks:
            raise _no_frames(path)
        if None in ticks or len(set(ticks)) < len(ticks) or stream.codec_context.name == "vp8":
            return _FrameIndex(len(ticks))
    ticks = np.array(ticks, np.int64)
    order = np.argsort(ticks)
    return _FrameIndex(len(ticks), ticks[order], np.array(keys)[order])


def _seek_frames(path: Path, index: _FrameIndex, wanted: list[int]) -> dict[int, np.ndarray] | None:
    """The wanted frames by number; None where the stream does not keep what its packets promise."""
    found: dict[int, np.ndarray] = {}
    keys = np.flatnonzero(index.is_key)
    with open_container(path) as container:
        stream = film_stream(path, container)
        stream.codec_context.thread_count = 1  # a few frames are not worth starting threads for
        to_rgb = ToRgb(stream)
        frames, position = decoded_frames(path, container, stream), -1  # position: the last frame decoded
        try:
            for number in wanted:
                key = keys[max(0, np.searchsorted(keys, number, side="right") - 1)] if len(keys) else 0
                if key > position + 1:
                    container.seek(int(index.ticks[key]), stream=stream)
                    frames = decoded_frames(path, container, stream)
                reached = (f for f in frames if f.pts is None or f.pts >= index.ticks[number])
                frame = next(reached, None)
                if frame is None or frame.pts != index.ticks[number]:
                    return None
                found[number], position = to_rgb(frame), number
        except av.error.FFmpegError:
            return None
    return found


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
