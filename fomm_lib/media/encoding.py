"""Write videos with PyAV: exact times, the audio of another file, whole or not at all."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fomm_lib.errors import InputError, one_line
from fomm_lib.files import atomic_output
from fomm_lib.media.audio import AudioTrack
from fomm_lib.media.decoding import MAX_FRAME_PIXELS
from fomm_lib.media.formats import OUTPUT_FORMATS
from fomm_lib.media.headers import label_gif, label_png


class VideoWriter:
    """Write frames into a video or an animated image, whole or not at all, with the audio of another file.

    The endings are those of `formats.OUTPUT_FORMATS`:

    | name | video | audio |
    |---|---|---|
    | .mp4, .m4v, .mov | H.264 | copied, or AAC |
    | .webm | VP9 | copied, or Opus |
    | .gif | 256 colours in each frame, at most 50 frames per second, at hundredths of a second | none |
    | .apng, .png | lossless | none |

    The frame rate is kept as the exact fraction, or each frame at its own time. (A writer that rounds it to
    two decimals, as imageio-ffmpeg did up to 0.6, turns 24000/1001 into a video that runs 0.6 s ahead of its
    audio after an hour.) Audio is copied packet by packet with its timing where the file can hold it, and
    encoded anew where not. WebM stores times in milliseconds, to which frame times are rounded; elsewhere
    those of a clock finer than a microsecond are rounded to microseconds.

    H.264 and VP9 with 4:2:0 chroma need even sizes: the last column or row is repeated where the size is odd.

    Args:
        path: the file to write; its ending, one of `formats.OUTPUT_FORMATS`, chooses the format.
        fps: frames per second, best as a Fraction.
        size: (width, height) of the frames.
        audio_from: a file whose best audio track is used (see `tracks.audios`); None, or a file without
            audio, for no audio.
        metadata: texts for the file's header, e.g. `{"title": ..., "comment": ..., "description": ...}`.
        overwrite: whether an existing file may be replaced.
        time_base: the tick of the clock in seconds, for frames with times of their own;
            `VideoReader.time_base` fits.
        crf: quality of a video from 0 (best) to 51; by default 18 for H.264 and 24 for VP9, which are hard to
            tell from the original.
        keyframe_every: the largest number of frames between key frames. Small for data sets, whose frames
            are read out of order.
        repeatable: the same frames give the same file on every computer, of one release of the encoder. For
            H.264: one thread, and no code for special processors, so it takes about four times as long.
        finish: called with the path of the finished file before it gets its name, e.g. to sign it.

    Attributes:
        frames: number of frames written so far; a GIF leaves out frames less than 20 ms after the last, an
            APNG those less than 11 ms after it.
        end: when the last frame ends, in seconds; set it before leaving the `with` block. If None, the last
            frame is as long as the others.

    Raises:
        InputError: unknown format, the file exists, its folder does not, a bad size or frame rate, a frame of
            another size, or no frame at all.

    Example:
        >>> with VideoWriter("grey.mp4", fps=25, size=(64, 64)) as writer:
        ...     for level in range(50):
        ...         writer.write(np.full((64, 64, 3), level, np.uint8))
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        size: tuple[int, int],
        *,
        audio_from: str | os.PathLike | None = None,
        metadata: dict[str, str] | None = None,
        overwrite: bool = False,
        time_base: Fraction | None = None,
        crf: int | None = None,
        keyframe_every: int | None = None,
        repeatable: bool = False,
        finish: Callable[[Path], None] | None = None,
    ):
        self.path = Path(path)
        if self.path.suffix.lower() not in OUTPUT_FORMATS:
            known = ", ".join(OUTPUT_FORMATS)
            raise InputError(one_line(path, f"videos are written as {known}; give a name that ends so"))
        self.format = OUTPUT_FORMATS[self.path.suffix.lower()]
        if not 1e-6 <= fps <= 10_000:
            raise InputError(one_line(path, f"cannot be written with {fps} frames a second"))
        self.fps = Fraction(fps).limit_denominator(1_000_000)
        self.size = int(size[0]), int(size[1])
        if min(self.size) < 1 or self.size[0] * self.size[1] > MAX_FRAME_PIXELS:
            raise InputError(one_line(path, f"frames of {size[0]} x {size[1]} pixels cannot be written"))
        self.keeps_times = time_base is not None
        tick = self.format.tick or time_base or 1 / self.fps
        # Containers and encoders count in whole numbers of 32 bits: a finer clock would leave them no room.
        # The encoder of H.264 refuses a clock that is coarser than the frame rate.
        tick = Fraction(tick) / math.ceil(tick * self.fps) if self.format.tick is None else tick
        self.time_base = tick if tick.denominator <= 1_000_000 else Fraction(1, 1_000_000)
        self.audio_from = audio_from
        self.metadata = metadata or {}
        self.overwrite = overwrite
        self.crf, self.keyframe_every, self.repeatable = crf, keyframe_every, repeatable
        self.finish = finish
        self.frames = 0
        self.end: Fraction | None = None
        self._last_ticks = -1
        self._given = 0  # number of frames, those left out included
        self._left_out: np.ndarray | None = None  # the last of these
        self._is_whole = False

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_output(self.path, self.overwrite))
            stack.callback(self._complete, temporary)
            options = {"format": self.format.container, "container_options": self.format.header}
            self._container = stack.enter_context(av.open(f"file:{temporary}", "w", **options))
            self._container.metadata.update(self.metadata)
            self._stream = self._add_video()
            self._convert = self._conversion()
            self._audio = None
            if self.audio_from is not None and self.format.audio is not None:
                self._audio = stack.enter_context(AudioTrack(self.audio_from, self._container, self.format))
            self._stack = stack.pop_all()
        return self

    def _add_video(self) -> av.video.stream.VideoStream:
        options = dict(self.format.options)
        if self.crf is not None and "crf" in options:
            options["crf"] = str(self.crf)
        if self.keeps_times and self.format.codec == "libx264":
            # Without B-frames the decoding order is the display order, and durations in the file are right.
            options["bf"] = "0"
        if self.repeatable and self.format.codec == "libx264":
            options["x264-params"] = "asm=0"
        try:
            stream = self._container.add_stream(self.format.codec, rate=self.fps, options=options)
        except (av.error.FFmpegError, ValueError) as error:
            text = f"this build of PyAV has no {self.format.codec}; install the one from PyPI: pip install av"
            raise InputError(one_line(self.path, text)) from error
        stream.width, stream.height = self._stored_size
        stream.pix_fmt = self.format.pixels
        context = stream.codec_context
        context.time_base = self.time_base
        if self._is_yuv:
            # BT.709 in limited range (number 1 in all four tags), so that no player has to guess.
            context.color_range = context.colorspace = context.color_primaries = context.color_trc = 1
        if self.keyframe_every:
            context.gop_size = self.keyframe_every
        if self.repeatable:
            context.thread_count = 1
        return stream

    @property
    def _is_yuv(self) -> bool:
        return self.format.pixels.startswith("yuv")

    @property
    def _stored_size(self) -> tuple[int, int]:
        width, height = self.size
        return (width + width % 2, height + height % 2) if self._is_yuv else self.size

    def _conversion(self) -> av.filter.Graph:
        """The filter graph from RGB to the pixels of the file."""
        graph = av.filter.Graph()
        width, height = self._stored_size
        rgb = av.VideoFormat("rgb24")
        source = graph.add_buffer(width=width, height=height, format=rgb, time_base=self.time_base)
        sink = graph.add("buffersink")
        if self.format.pixels == "pal8":  # a palette for each frame: one for all would need all frames first
            split, mix = graph.add("split"), graph.add("paletteuse", "new=1:diff_mode=rectangle")
            colours = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
            source.link_to(split)
            split.link_to(mix, 0, 0)
            split.link_to(colours, 1, 0)
            colours.link_to(mix, 0, 1)
            mix.link_to(sink)
        else:
            matrix = "out_color_matrix=bt709:out_range=tv:" if self._is_yuv else ""
            scale = graph.add("scale", f"{matrix}flags=bicubic+accurate_rnd")
            graph.link_nodes(source, scale, graph.add("format", self.format.pixels), sink)
        graph.configure()
        return graph

    def write(self, frame: np.ndarray, seconds: Fraction | float | None = None) -> None:
        """Append a frame, uint8 (H, W, 3).

        Args:
            frame: of the announced size.
            seconds: when it is shown; one frame's length after the last if None.
        """
        check_frame(self.path, frame, self.size)
        ticks = round((self._given / self.fps if seconds is None else seconds) / self.time_base)
        self._given += 1
        if self.frames and (ticks - self._last_ticks) * self.time_base < self.format.nearest:
            self._left_out = frame.copy()
            return  # players would not show it
        ticks = min(max(ticks, self._last_ticks + 1), self._last_ticks + self.format.longest)
        if self._stored_size != self.size:
            width, height = self._stored_size
            padding = (0, height - len(frame)), (0, width - frame.shape[1]), (0, 0)
            frame = np.pad(frame, padding, mode="edge")
        rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        rgb.pts, rgb.time_base = ticks, self.time_base
        self._convert.push(rgb)
        image = self._convert.pull()
        image.pts, image.time_base = ticks, self.time_base
        self._container.mux(self._stream.encode(image))
        self._last_ticks = ticks
        self.frames += 1
        if self._audio is not None:
            self._audio.copy_until(ticks * self.time_base)

    def _complete(self, temporary: Path) -> None:
        """Add what FFmpeg leaves out of animated images: the metadata, and how long the last frame stays;
        then `finish`.
        """
        if not self._is_whole:
            return
        last = None if self.end is None else Fraction(self.end) - self._last_ticks * self.time_base
        if self.format.container == "gif":
            label_gif(temporary, "\n".join(dict.fromkeys(self.metadata.values())), last)
        elif self.format.container == "apng":
            label_png(temporary, {key.title(): text for key, text in self.metadata.items()}, last)
        if self.finish is not None:
            self.finish(temporary)

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, *error)
        with self._stack:  # an error in here removes the temporary file too
            if self.frames == 0:
                raise InputError(one_line(self.path, "no frame was written, so there is no video"))
            if self.frames == 1 and self._left_out is not None:  # a video of some milliseconds moves too
                self.write(self._left_out, self._last_ticks * self.time_base + self.format.nearest)
            for packet in self._stream.encode(None):
                if packet.pts == self._last_ticks and self.end is not None:
                    length = round(self.end / self.time_base) - self._last_ticks
                    packet.duration = min(max(1, length), self.format.longest)
                self._container.mux(packet)
            if self._audio is not None:
                self._audio.copy_until(None)
            self._is_whole = True
        return None


def check_frame(path: Path, frame: np.ndarray, size: tuple[int, int]) -> None:
    """Whether a frame is uint8 (H, W, 3) of the announced (width, height).

    Raises:
        InputError: it is not; the message begins with `path`.

    Example:
        >>> check_frame(Path("a.mp4"), np.zeros((48, 64, 3), np.uint8), (64, 48))
    """
    width, height = size
    if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
        text = f"a frame is {frame.dtype} {frame.shape}, announced was uint8 ({height}, {width}, 3)"
        raise InputError(one_line(path, text))
