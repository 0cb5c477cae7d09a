"""The positions of a video's frames, read from its packets, and random access by them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from fomm_lib.errors import Reason, VideoError
from fomm_lib.media.decoding import ToRgb, decoded_frames, open_video


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in display order.

    Attributes:
        count: number of packets that hold a frame.
        ticks: (count,), int64: display times in ticks of the stream's clock. None where packets do not say:
            an image, no time stamps, or a codec with packets that are never shown.
        is_key: (count,), bool: whether decoding can begin at the frame.
    """

    count: int
    ticks: np.ndarray | None = None
    is_key: np.ndarray | None = None


def frame_index(path: Path) -> FrameIndex:
    """The index of a video; cached, since a data set reads the same clips many times.

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
        ticks, keys = [], []
        try:
            for packet in stream.container.demux(stream):
                if packet.size and not packet.is_discard:
                    ticks.append(packet.pts)
                    keys.append(packet.is_keyframe)
        except av.error.FFmpegError:
            pass  # the frames before the fault are indexed; decoding reports the fault
        if not ticks:
            raise no_frames(path)
        if None in ticks or len(set(ticks)) < len(ticks) or stream.codec_context.name == "vp8":
            return FrameIndex(len(ticks))
    ticks = np.array(ticks, np.int64)
    order = np.argsort(ticks)
    return FrameIndex(len(ticks), ticks[order], np.array(keys)[order])


def seek_frames(path: Path, index: FrameIndex, wanted: list[int]) -> dict[int, np.ndarray] | None:
    """Read frames by seeking to the key frame before each.

    Args:
        path: a video.
        index: of that video, with ticks.
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
                    stream.container.seek(int(index.ticks[key]), stream=stream)
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
