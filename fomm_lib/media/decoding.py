"""Videos with PyAV (FFmpeg as a library): open, check, decode, convert to RGB."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from fomm_lib.errors import Reason, VideoError, error_text
from fomm_lib.media.containers import encryption_marks
from fomm_lib.media.formats import PILLOW_BRANDS, PILLOW_FORMATS, READ_FORMATS, TEXT_FORMATS
from fomm_lib.media.images import image_format, on_white, too_large
from fomm_lib.media.signatures import is_only_still
from fomm_lib.media.tracks import counts_packets, steady_packets, videos
from fomm_lib.releases import importing

with importing("av"):
    import av

MAX_FRAME_PIXELS = 8192 * 8192  # twice 8K UHD
INPUT_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(READ_FORMATS.split())}
"""Options for all that opens a file with FFmpeg, ffprobe too."""
# How lists of files begin (HLS, concat, SDP, PLS), and the elements of those in XML (DASH, IMF).
_LISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]")
_XML_LISTS = re.compile(rb"<(\w+:)?(MPD|CompositionPlaylist|AssetMap)\b")
STALL_SECONDS = 60  # the longest time that a file may keep the decoder busy without one frame
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Colour tags (FFmpeg's numbers) that need more than a matrix: PQ and HLG; BT.2020, DCI-P3 and Display P3.
_HDR_TRANSFERS, _WIDE_PRIMARIES = {16, 18}, {9, 11, 12}
# PyAV 19 always reads tags as UTF-8 with surrogateescape, and has no argument for it; before, a tag in
# another encoding was an error by default.
_TAGS = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}


def open_input(path: str | os.PathLike, timeout: float | None = None) -> av.container.InputContainer:
    """Open a file in the same way with PyAV 17, 18 and 19.

    `file:` and the two whitelists keep FFmpeg from opening other files or addresses that a name or a playlist
    points to: a playlist may be called clip.mp4.

    FFmpeg's messages to Python's `logging` are switched off (PyAV's default, which torchvision 0.19 changes
    when it is imported): a decoder thread with a message waits for the interpreter, while the interpreter
    waits for that thread to end: a deadlock.

    Args:
        path: the file.
        timeout: seconds that opening and each reading may take; None for no limit.

    Raises:
        av.error.FFmpegError: FFmpeg does not know the format.
        VideoError: the format is none of `formats.READ_FORMATS`.

    Example:
        >>> with open_input(data_path("driving.mp4")) as container:
        ...     container.format.name
        'mov,mp4,m4a,3gp,3g2,mj2'
    """
    if av.logging.get_level() is not None:
        av.logging.set_level(None)
    try:
        return _open(path, timeout)
    except av.error.ArgumentError as error:  # that is how FFmpeg refuses what is not on a whitelist
        image = image_pipe(path)
        if image is not None:
            return _open(path, timeout, image)
        text = "is not of a format that is read here, or damaged; convert it to H.264 in MP4"
        raise VideoError(path, Reason.UNREADABLE, _of_list(path) or text) from error


def _open(path: str | os.PathLike, timeout: float | None, form: str | None = None):
    # Not `options`, which go to the streams too: PyAV 17.0 crashes where they are found later (MPEG-PS).
    return av.open(
        f"file:{path}", format=form, container_options=dict(INPUT_OPTIONS), timeout=timeout, **_TAGS
    )


def _of_list(path: str | os.PathLike) -> str | None:
    """What to say of a playlist or manifest; None of any other file."""
    with open(path, "rb") as file:
        start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
    is_list = start.startswith(_LISTS) or (start.startswith(b"<") and _XML_LISTS.search(start))
    return "is a list of other files, which are not opened; give the video itself" if is_list else None


def image_pipe(path: str | os.PathLike) -> str | None:
    """FFmpeg's format for one image, by its content; None if it is no image.

    By their names alone, FFmpeg takes some images for numbered files, of which it would open all.

    Example:
        >>> image_pipe(data_path("portrait.jpg"))
        'jpeg_pipe'
    """
    name = f"{image_format(Path(path))}_pipe".lower().replace("mpo", "jpeg")
    return name if name in READ_FORMATS.split() else None


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file with PyAV, whatever it holds.

    Raises:
        VideoError: FFmpeg does not know the format.
    """
    try:
        container = open_input(path, timeout=STALL_SECONDS)
    except VideoError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        text = f"is not a video that can be read ({error_text(error)}); convert or download it again"
        raise VideoError(path, Reason.UNREADABLE, _of_list(path) or text) from error
    with container:
        yield container


@contextmanager
def open_video(path: Path) -> Iterator[av.video.stream.VideoStream | None]:
    """Open a file and check it: its best video, ready to decode; None for an image, which Pillow reads.

    Raises:
        VideoError: FFmpeg does not know the format, there is no video, or it cannot be decoded or must not.

    Example:
        >>> with open_video(data_path("driving.mp4")) as stream:
        ...     stream.codec_context.name
        'h264'
    """
    if is_only_still(path):
        yield None
        return
    with ExitStack() as stack:
        try:
            container = stack.enter_context(open_container(path))
        except VideoError:
            if image_format(path) is None:
                raise
            container = None
        yield None if container is None or _holds_image(container) else _checked_video(path, container)


def _holds_image(container: av.container.InputContainer) -> bool:
    name, brand = container.format.name, container.metadata.get("major_brand", "")
    return name in PILLOW_FORMATS or name.endswith("_pipe") or brand in PILLOW_BRANDS


def _checked_video(path: Path, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    if is_text(container):
        raise VideoError(path, Reason.UNREADABLE, "is a text file; give a video")
    streams = videos(container)
    if not streams:
        what = "only audio" if container.streams.audio else "no video"
        what = "only cover art" if container.streams.video else what
        raise VideoError(path, Reason.NO_VIDEO, f"there is {what} in this file; give a video")
    status = path.stat()
    if _is_encrypted(path, status.st_mtime_ns, status.st_size):
        raise _encrypted(path)
    context = streams[0].codec_context
    if context is None:
        text = "its video format is not known here; convert it to H.264 in MP4"
        raise VideoError(path, Reason.UNREADABLE, text)
    if context.width * context.height > MAX_FRAME_PIXELS:
        raise too_large(path, "a video frame", MAX_FRAME_PIXELS, (context.width, context.height))
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # for sizes that change on the way
    return streams[0]


def is_text(container: av.container.InputContainer) -> bool:
    """Whether a file is a text, which FFmpeg renders as a video of a terminal."""
    return container.format.name in TEXT_FORMATS


@functools.lru_cache(maxsize=1024)
def _is_encrypted(path: Path, modified: int, size: int) -> bool:
    """Whether the container marks its images as encrypted; cached, since a file is read many times."""
    return any("the audio" not in mark and "pssh" not in mark for mark in encryption_marks(path))


def _encrypted(path: Path) -> VideoError:
    return VideoError(path, Reason.ENCRYPTED, "this video is encrypted (DRM); give one that is not")


def decoded_frames(
    stream: av.video.stream.VideoStream, on_fault: Callable[[Exception | None], None] | None = None
) -> Iterator[av.VideoFrame]:
    """Decode a stream from the current position of its container, with the times of `steady_packets`.

    A recording may begin between two key frames. What cannot be decoded before the first one is passed over.

    Args:
        stream: of a container that is open.
        on_fault: called with every error, and with None for a packet that is marked as incomplete; decoding
            then continues. Without it the first error is raised.

    Raises:
        VideoError: the frames are encrypted, or the decoder is busy for a minute and gives no frame.
        av.error.FFmpegError: a frame cannot be decoded, and there is no `on_fault`.

    Example:
        >>> with open_video(data_path("driving.mp4")) as stream:
        ...     next(decoded_frames(stream)).width
        256
    """
    container, path = stream.container, _path_of(stream)
    packets = steady_packets(container, stream)
    decode = _decoder(stream)
    # In an MPEG transport stream a join of two recordings sets the mark too; a real loss damages frames.
    is_marked = container.format.name != "mpegts"
    # `excused`: packets before the first key frame, that may fail. Threads report a fault some packets later.
    has_begun, excused, first_error = False, 0, None
    patience = time.monotonic() + STALL_SECONDS
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.has_sidedata("encryption_info"):
                raise _encrypted(path)
            if on_fault and is_marked and packet.is_corrupt:
                on_fault(None)
            has_begun = has_begun or packet.is_keyframe
            excused += not has_begun and packet.size > 0
            frames = decode(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            # PyAV's MemoryError is also a ValueError, and so is VideoError.
            if isinstance(error, (MemoryError, VideoError)) or (on_fault is None and excused == 0):
                raise
            if on_fault is None:
                excused, first_error = excused - 1, first_error or error
            else:
                on_fault(error)
            continue
        for frame in frames:
            excused, first_error = 0, None
            if counts_packets(container) and frame.dts is not None:
                frame.pts = frame.dts
            yield frame
            patience = time.monotonic() + STALL_SECONDS
        if time.monotonic() > patience:
            text = f"gave no frame in {STALL_SECONDS} s of decoding; convert it to H.264 in MP4"
            raise VideoError(path, Reason.UNREADABLE, text)
    if first_error is not None:
        raise first_error


def first_time(stream: av.video.stream.VideoStream) -> Fraction | None:
    """Seconds on the file's own clock at which the first frame that decodes is shown; None without one.

    The stream's `start_time` is that of the first packet, which may give no frame.

    Example:
        >>> with open_video(data_path("driving.mp4")) as stream:
        ...     first_time(stream)
        Fraction(0, 1)
    """
    try:
        frame = next(decoded_frames(stream), None)
    except (av.error.FFmpegError, VideoError):
        return None
    return None if frame is None or frame.pts is None else frame.pts * Fraction(stream.time_base)


def _decoder(stream: av.video.stream.VideoStream) -> Callable[[av.Packet], list[av.VideoFrame]]:
    """The function from a packet to its frames. FFmpeg's own decoders of VP8 and VP9 leave out transparency,
    which libvpx gives. It is asked second, since FFmpeg's own decoder checks the size of a frame first.
    """
    name = _WITH_ALPHA.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return av.Packet.decode
    transparent = av.CodecContext.create(name, "r")

    def decode(packet: av.Packet) -> list[av.VideoFrame]:
        packet.decode()
        return transparent.decode(packet if packet.size else None)

    return decode


def _path_of(stream: av.video.stream.VideoStream) -> Path:
    return Path(stream.container.name.removeprefix("file:"))


class ToRgb:
    """Convert decoded frames of one stream to uint8 (H, W, 3): upright, square pixels, sRGB, all of one size.

    FFmpeg's own `scale` filter converts, because it follows the matrix, range, bit depth and transfer
    function in the tags of each frame. (PyAV's `to_ndarray` ignored the tags up to version 16: BT.709
    read as BT.601 is off by 22 of 255 levels.) A frame without a tag is read as players do: BT.709
    from 720 lines up, BT.601 below.

    Args:
        stream: the source of the frames.
        size: upright (width, height) of the result; that of the first frame if None.

    Attributes:
        matrix: (a, b, c, d) of the last display matrix: a stored pixel (x, y) is shown at
            (a x + c y, b x + d y), y down.

    Raises:
        VideoError: a frame is too large.

    Example:
        >>> with open_video(data_path("driving.mp4")) as stream:
        ...     ToRgb(stream)(next(decoded_frames(stream))).shape
        (256, 256, 3)
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
            size = frame.width, frame.height
            raise too_large(_path_of(self.stream), "a video frame", MAX_FRAME_PIXELS, size)
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
        """(width, height) with square pixels; a pixel aspect ratio beyond 4 comes from a broken header."""
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
                pass  # FFmpeg refuses some combinations of tags; the matrix alone is then the best choice
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
    # Without the last two flags swscale uses a fast path that is a level too dark and leaves chroma blocky.
    # One thread: a graph survives a fork (by another library's workers), its waiting threads do not.
    options = f"{size[0]}:{size[1]}:flags=bicubic+accurate_rnd+full_chroma_int:threads=1"
    if matrix == 2 and height >= 720:
        options += ":in_color_matrix=bt709"
    if wide:
        options += ":out_primaries=bt709:intent=perceptual"  # compresses highlights instead of clipping them
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
    """(a, b, c, d), see `ToRgb`; None without one."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32, 5).tolist()
    return (a, b, c, d) if a or b else None


def _turned(array: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn and mirror (H, W, 3) by the display matrix, to the nearest quarter turn."""
    a, b, c, d = matrix
    if abs(a) >= abs(b):
        array = array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    else:
        array = array.swapaxes(0, 1)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return np.ascontiguousarray(array)
