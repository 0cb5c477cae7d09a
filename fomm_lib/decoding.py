"""Videos through PyAV (FFmpeg as a library): open, choose the film, decode, convert to RGB as players do.

The public face is `fomm_lib.video`.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from fomm_lib.containers import encryption_marks
from fomm_lib.pictures import VideoError, on_white, too_large
from fomm_lib.releases import importing

with importing("av"):
    import av

MAX_FRAME_PIXELS = 8192 * 8192  # twice 8K UHD
STALL_SECONDS = 60  # so long may a file keep the decoder busy without giving one frame

# Formats that FFmpeg calls videos and Pillow reads better: it composes animations and knows transparency.
_PICTURE_FORMATS = {"gif", "apng", "image2", "webp", "webp_anim"}
# FFmpeg renders any text file as a film of a terminal. Nobody who gives one means that.
_NOT_VIDEO_FORMATS = {"tty"}
# Streams that are no film: AV_DISPOSITION_ATTACHED_PIC (cover art), _TIMED_THUMBNAILS, _STILL_IMAGE.
_NOT_FILM = 0x0400 | 0x0800 | 0x100000
# Colour tags (FFmpeg's numbers) that ask for more than a matrix: PQ and HLG; BT.2020, DCI-P3 and Display P3.
_HDR_TRANSFERS, _WIDE_PRIMARIES = {16, 18}, {9, 11, 12}


# PyAV 19 always reads tags as UTF-8 with surrogateescape, and has no argument for it; before, a tag in
# another encoding was an error by default.
_TAGS = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}


def open_input(path: str | os.PathLike, timeout: float | None = None) -> av.container.InputContainer:
    """Open a file with PyAV 17, 18 or 19, alike.

    `file:` and the white list keep FFmpeg from taking a name or a playlist for other files or addresses: a
    playlist may be called clip.mp4.

    FFmpeg's messages to Python's `logging` are switched off (PyAV's default, which torchvision 0.19 changes
    when it is imported): a decoder thread that has one to give waits for the interpreter, while the
    interpreter waits for that thread to end, for ever.

    Args:
        path: the file.
        timeout: seconds that opening and each reading may take; None for no limit.

    Raises:
        av.error.FFmpegError: FFmpeg does not know what it is.
    """
    if av.logging.get_level() is not None:
        av.logging.set_level(None)
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, timeout=timeout, **_TAGS)


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file with PyAV.

    Raises:
        VideoError: FFmpeg does not know what it is.
    """
    try:
        container = open_input(path, timeout=STALL_SECONDS)
    except (av.error.FFmpegError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        text = f"is not a video that can be read ({cause}); convert or download it again"
        raise VideoError(path, "unreadable", text) from error
    with container:
        yield container


def is_picture_format(container: av.container.InputContainer) -> bool:
    """Whether Pillow is the one to read this."""
    name = container.format.name
    brand = container.metadata.get("major_brand", "")
    return name in _PICTURE_FORMATS or name.endswith("_pipe") or brand in {"avif", "avis", "heic", "mif1"}


def films(container: av.container.InputContainer) -> list[av.video.stream.VideoStream]:
    """The video streams without cover art, thumbnails and stills."""
    return [stream for stream in container.streams.video if not stream.disposition.value & _NOT_FILM]


def film_stream(path: Path, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The first film of a file, ready to decode.

    Raises:
        VideoError: there is none, or it must not be decoded.
    """
    if container.format.name in _NOT_VIDEO_FORMATS:
        raise VideoError(path, "unreadable", "is a text file; give a video")
    streams = films(container)
    if not streams:
        what = "only sound" if container.streams.audio else "no film"
        what = "only cover art" if container.streams.video else what
        raise VideoError(path, "no_video", f"there is {what} in this file; give a video")
    if any("the sound" not in mark and "pssh" not in mark for mark in encryption_marks(path)):
        raise _encrypted(path)
    context = streams[0].codec_context
    if context is None:
        raise VideoError(path, "unreadable", "its video format is not known here; convert it to H.264 in MP4")
    if context.width * context.height > MAX_FRAME_PIXELS:
        raise too_large(path, "video frame", MAX_FRAME_PIXELS, (context.width, context.height))
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # for sizes that change on the way
    return streams[0]


def _encrypted(path: Path) -> VideoError:
    return VideoError(path, "encrypted", "this video is encrypted (DRM); give one that is not")


def decoded_frames(
    path: Path, container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Iterator[av.VideoFrame]:
    """Decode from where the container stands; a file that keeps the decoder busy for nothing is given up."""
    patience = time.monotonic() + STALL_SECONDS
    for packet in container.demux(stream):
        if packet.has_sidedata("encryption_info"):
            raise _encrypted(path)
        for frame in packet.decode():
            yield frame
            patience = time.monotonic() + STALL_SECONDS
        if time.monotonic() > patience:
            text = f"gave no frame in {STALL_SECONDS} s of decoding; convert it to H.264 in MP4"
            raise VideoError(path, "unreadable", text)


class ToRgb:
    """Decoded frames of one stream to uint8 (H, W, 3): upright, square pixels, sRGB, all of one size.

    FFmpeg's own `scale` filter converts, because it follows the matrix, range, bit depth and transfer
    function that each frame is tagged with. (PyAV's `to_ndarray` ignored the tags up to version 16: BT.709
    read as BT.601 is off by 22 of 255 levels.) A frame without a tag is taken as players take it: BT.709
    from 720 lines up, BT.601 below.

    Args:
        stream: where the frames come from.
        size: upright (width, height) of what shall come out; that of the first frame if None.
    """

    def __init__(self, stream: av.video.stream.VideoStream, size: tuple[int, int] | None = None):
        self.stream = stream
        self.size = size
        self.matrix = (1, 0, 0, 1)

    @property
    def rotation(self) -> int:
        """Degrees by which stored frames are turned clockwise to be upright."""
        a, b, _, _ = self.matrix
        return round(np.degrees(np.arctan2(b, a)) / 90) * 90 % 360

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if frame.width * frame.height > MAX_FRAME_PIXELS:
            path = Path(self.stream.container.name.removeprefix("file:"))
            raise too_large(path, "video frame", MAX_FRAME_PIXELS, (frame.width, frame.height))
        self.matrix = _display_matrix(frame) or self.matrix
        lying = abs(self.matrix[0]) < abs(self.matrix[1])
        if self.size is None:
            size = self._square_pixels(frame)
            self.size = size[::-1] if lying else size
        array = self._convert(frame, self.size[::-1] if lying else self.size)
        if array.shape[2] == 4:
            array = on_white(array)
        return _turned(array, self.matrix)

    def _square_pixels(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(width, height) with square pixels; an aspect ratio beyond 4 is a broken header, not a camera."""
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        if not Fraction(1, 4) <= aspect <= 4:
            aspect = Fraction(1)
        return max(1, round(frame.width * aspect)), frame.height

    def _convert(self, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        context = self.stream.codec_context
        transfer = getattr(frame, "color_trc", context.color_trc)
        primaries = getattr(frame, "color_primaries", context.color_primaries)
        tags = (frame.colorspace, frame.color_range, transfer, primaries)
        if transfer in _HDR_TRANSFERS or primaries in _WIDE_PRIMARIES:
            try:
                return _converted(frame, size, tags, wide=True)
            except av.error.FFmpegError:
                pass  # some combinations of tags are refused; the matrix alone is then the best there is
        return _converted(frame, size, tags, wide=False)


def _converted(frame: av.VideoFrame, size: tuple[int, int], tags: tuple, wide: bool) -> np.ndarray:
    kind = (frame.width, frame.height, frame.format.name)
    graph = _conversion(threading.get_ident(), kind, size, tags, wide)
    graph.push(frame)
    return graph.pull().to_ndarray()


@functools.lru_cache(maxsize=32)
def _conversion(
    thread: int, kind: tuple[int, int, str], size: tuple[int, int], tags: tuple, wide: bool
) -> av.filter.Graph:
    """The filter graph from one kind of frame to RGB or RGBA.

    Kept between files, one for each thread, because the colour tables of HDR take seconds to build.
    """
    width, height, pixels = kind
    matrix, _, transfer, _ = tags
    # Without the last two flags swscale takes a short cut that is a level too dark and leaves chroma blocky.
    # One thread: a graph outlives a fork (of another library's workers), the threads it had waiting do not.
    options = f"{size[0]}:{size[1]}:flags=bicubic+accurate_rnd+full_chroma_int:threads=1"
    if matrix == 2 and height >= 720:
        options += ":in_color_matrix=bt709"
    if wide:
        options += ":out_primaries=bt709:intent=perceptual"  # which compresses highlights, not cuts them off
    if wide and transfer in _HDR_TRANSFERS:
        options += ":out_transfer=iec61966-2-1"
    pixel_format = av.VideoFormat(pixels)
    has_alpha = pixels == "pal8" or any(component.is_alpha for component in pixel_format.components)
    graph = av.filter.Graph()
    if hasattr(graph, "threads"):  # PyAV 17
        graph.threads = 1
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1, 1000)),
        graph.add("scale", options),
        graph.add("format", "rgba" if has_alpha else "rgb24"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d): a stored pixel (x, y) is shown at (a x + c y, b x + d y), y down."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32, 5).tolist()
    return (a, b, c, d) if a or b else None


def _turned(array: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn and mirror (H, W, 3) as the display matrix says, to the nearest quarter turn."""
    a, b, c, d = matrix
    if abs(a) >= abs(b):
        array = array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    else:
        array = array.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return np.ascontiguousarray(array)
