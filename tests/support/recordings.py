"""Recordings that begin in the middle, jump in time, or hold several tracks, made of healthy files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np

from tests.support.odd_files import encode, ffmpeg, moving_frames

FPS = 25


def beeping(path: Path, seconds: float = 4.0, beep: float = 2.0, **arguments) -> Path:
    """A video with audio that is silent, but for a tone of 0.2 s that begins at `beep`."""
    frames = moving_frames(round(seconds * FPS))
    raw = encode(path.with_name(f"{path.stem}.frames.mkv"), frames, codec="ffv1", pix_fmt="bgr0")
    tone = f"sine=f=1000:r=16000:d={seconds},volume='between(t,{beep},{beep + 0.2})':eval=frame,aformat=s16"
    options = [part for name, value in arguments.items() for part in (f"-{name.replace('_', ':')}", value)]
    ffmpeg(
        "-i",
        raw,
        "-f",
        "lavfi",
        "-i",
        tone,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-pix_fmt",
        "yuv420p",
        *options,
        path,
    )
    return path


def without_first(source: Path, path: Path, count: int) -> Path:
    """The same file without the first `count` packets of its video, as if recording had begun there."""
    seen = itertools.count()
    return _remuxed(source, path, lambda packet: packet.stream.type != "video" or next(seen) >= count)


def joined(parts: Iterable[Path], path: Path) -> Path:
    """The bytes of transport streams one after the other."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def later(source: Path, path: Path, seconds: int) -> Path:
    """The same recording on a clock that shows `seconds` more."""

    def shifted(packet: av.Packet) -> bool:
        if packet.dts is None:
            return False
        ticks = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return True

    return _remuxed(source, path, shifted)


def _remuxed(source: Path, path: Path, keep: Callable[[av.Packet], bool]) -> Path:
    """The packets of a file that are kept, which `keep` may change, in a new one."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        tracks = {
            one.index: new.add_stream_from_template(one) for one in (*old.streams.video, *old.streams.audio)
        }
        for packet in old.demux():
            if keep(packet) and packet.dts is not None:
                packet.stream = tracks[packet.stream_index]
                new.mux(packet)
    return path


def _decoded(packet: av.Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.error.InvalidDataError:  # before the first key frame
        return []


def heard_at(path: Path) -> float:
    """Seconds from the first frame of a video to the beginning of its tone."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        zero = next(frame.time for packet in container.demux(video) for frame in _decoded(packet))
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(float)
            samples = (
                samples[0]
                if frame.format.is_planar
                else samples.reshape(-1, len(frame.layout.channels))[:, 0]
            )
            loud = np.flatnonzero(np.abs(samples) > 0.02 * (1 if "flt" in frame.format.name else 32768))
            if len(loud):
                return float(frame.time) - zero + loud[0] / frame.sample_rate
    raise AssertionError(f"no tone in {path}")
