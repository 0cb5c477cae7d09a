"""The positions of a video's frames, and random access by them."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fomm_lib.errors import Reason, VideoError
from fomm_lib.media.decoding import ToRgb, decoded_frames, open_video
from fomm_lib.media.tracks import counts_packets, may_jump, steady_packets


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in display order, those that `VideoReader` gives.

    Attributes:
        count: number of frames; 0 for an image, which has no index.
        ticks: of each frame, the display time in ticks of the stream's clock; None where the file has no time
            stamps.
        is_key: (count,), bool: whether decoding can begin at the frame; None where the video cannot be
            entered in the middle.
        is_whole: whether the file was read to its end; if not, decoding reports the fault.
    """

    count: int
    ticks: tuple[int | None, ...] = ()
    is_key: np.ndarray | None = None
    is_whole: bool = False


def frame_index(path: Path) -> FrameIndex:
    """The index of a video; cached, since a data set reads the same clips many times.

    It is read from the packets where each of them is a frame: in files whose clock cannot jump, whose time
    stamps all differ, and which begin with a frame that decodes. Other videos are decoded once to number
    their frames: some begin between two key frames, others hold packets that are never shown.

    Raises:
        VideoError: the file cannot be decoded, or holds no frame.

    Example:
        >>> frame_index(data_path("driving.mp4")).count
        125
    """
    status = path.stat()
    return _read_frame_index(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _read_frame_index(path: Path, modified: int, size: int) -> FrameIndex:
    with open_video(path) as stream:
        if stream is None:
            return FrameIndex(0)
        index = None if may_jump(stream.container) else _index_of_packets(stream)
    if index is None:
        with open_video(path) as stream:
            index = _index_of_frames(stream)
    if index.count == 0:
        raise no_frames(path)
    return index


def _index_of_packets(stream: av.video.stream.VideoStream) -> FrameIndex | None:
    """The index by packets; None if some packet is no frame."""
    if stream.codec_context.name == "vp8":  # some of its frames are never shown
        return None
    stream.codec_context.thread_count = 1
    packets, first, is_whole = [], None, True
    try:
        for packet in stream.container.demux(stream):
            if packet.size and not packet.is_discard:
                packets.append((packet.pts, packet.is_keyframe))
            if first is None:
                first = next((frame.pts for frame in packet.decode()), None)
    except av.error.FFmpegError:
        if first is None:
            return None
        is_whole = False
    if counts_packets(stream.container) and stream.codec_context.has_b_frames:
        return None
    ticks = [pts for pts, _ in packets]
    if None in ticks or len(set(ticks)) < len(ticks) or first != min(ticks, default=None):
        return None
    packets.sort()
    keys = np.array([is_key for _, is_key in packets], bool)
    return FrameIndex(len(packets), tuple(pts for pts, _ in packets), keys, is_whole)


def _index_of_frames(stream: av.video.stream.VideoStream) -> FrameIndex:
    stream.thread_type = "AUTO"
    ticks = []
    try:
        for frame in decoded_frames(stream):
            ticks.append(frame.pts)
    except av.error.FFmpegError:
        return FrameIndex(len(ticks), tuple(ticks))
    return FrameIndex(len(ticks), tuple(ticks), is_whole=True)


def frames_and_seconds(path: Path) -> tuple[int, Fraction]:
    """The number of frames and the length of a video by its packets, for files whose header knows neither.

    Packets before the first frame that decodes do not count.
    """
    status = path.stat()
    return _frames_and_seconds(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _frames_and_seconds(path: Path, modified: int, size: int) -> tuple[int, Fraction]:
    start, ends = None, []
    with open_video(path) as stream, contextlib.suppress(av.error.FFmpegError):
        start = next((frame.pts for frame in decoded_frames(stream)), None)
    with open_video(path) as stream, contextlib.suppress(av.error.FFmpegError):
        tick = Fraction(stream.time_base)  # PyAV 19 does not tell it once the file is closed
        for packet in steady_packets(stream.container, stream):
            if packet.size and packet.pts is not None and (start is None or packet.pts >= start):
                ends.append(packet.pts + (packet.duration or 0))
    start = min(ends, default=0) if start is None else start
    return len(ends), (max(ends, default=0) - start) * tick


def seek_frames(path: Path, index: FrameIndex, wanted: list[int]) -> dict[int, np.ndarray] | None:
    """Read frames by seeking to the key frame before each.

    Args:
        path: a video.
        index: of that video, with key frames.
        wanted: numbers of frames, growing.

    Returns:
        Frame number to uint8 (H, W, 3); None where the stream does not hold what its packets promise.
    """
    found: dict[int, np.ndarray] = {}
    keys = np.flatnonzero(index.is_key)
    with open_video(path) as stream:
        stream.codec_context.thread_count = 1  # starting threads costs more than decoding a few frames
        to_rgb = ToRgb(stream)
        frames, position = decoded_frames(stream), -1  # position: the last decoded frame
        try:
            for number in wanted:
                key = keys[max(0, np.searchsorted(keys, number, side="right") - 1)] if len(keys) else 0
                if key > position + 1:
                    stream.container.seek(index.ticks[key], stream=stream)
                    frames = decoded_frames(stream)
                reached = (f for f in frames if f.pts is None or f.pts >= index.ticks[number])
                frame = next(reached, None)
                if frame is None or frame.pts != index.ticks[number]:
                    return None
                found[number], position = to_rgb(frame), number
        except av.error.FFmpegError:
            return None
    return found


def no_frames(path: Path) -> VideoError:
    """The error for a video without a frame."""
    text = "holds no frame that can be decoded; download or record it again"
    return VideoError(path, Reason.NO_FRAMES, text)
