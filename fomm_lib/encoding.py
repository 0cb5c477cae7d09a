"""Write videos through PyAV: exact times, the sound of another file, whole or not at all.

The public face is `fomm_lib.video`.
"""

from __future__ import annotations

import errno
import io
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from fomm_lib.decoding import MAX_FRAME_PIXELS, films, open_container
from fomm_lib.files import InputError, atomic_output
from fomm_lib.labels import label_gif, label_png
from fomm_lib.pictures import existing_file, one_line


@dataclass(frozen=True)
class _Kind:
    """What a kind of file holds, as far as players go along with it.

    Attributes:
        container: FFmpeg's name of it.
        codec, pixels, options: of the film.
        sound: what sound is encoded as; None where the file holds none.
        copied_sound: the kinds of sound that need not be encoded anew.
        header: options of the container.
        tick: the only tick its clock knows; None where it takes any.
        nearest: at least so many seconds lie between frames.
    """

    container: str
    codec: str
    pixels: str
    options: dict[str, str]
    sound: str | None = None
    copied_sound: frozenset[str] = frozenset()
    header: dict[str, str] = field(default_factory=dict)
    tick: Fraction | None = None
    nearest: Fraction = Fraction(0)


# `faststart` puts the table of contents first: a browser plays before it has the whole file.
_MP4 = _Kind(
    "mp4",
    "libx264",
    "yuv420p",
    {"crf": "18", "preset": "medium"},
    sound="aac",
    copied_sound=frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    header={"movflags": "+faststart"},
)
_WEBM = _Kind(
    "webm",
    "libvpx-vp9",
    "yuv420p",
    {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"},
    sound="libopus",
    copied_sound=frozenset({"opus", "vorbis"}),
)
# What is to be shown for 10 ms or less, browsers show for 100 ms.
_GIF = _Kind("gif", "gif", "pal8", {}, tick=Fraction(1, 100), nearest=Fraction(2, 100))
_APNG = _Kind("apng", "apng", "rgb24", {"pred": "mixed"}, header={"plays": "0"}, nearest=Fraction(11, 1000))
_OUTPUTS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": replace(_MP4, container="mov", copied_sound=_MP4.copied_sound | {"pcm_s16le", "pcm_s24le"}),
    ".webm": _WEBM,
    ".gif": _GIF,
    ".apng": _APNG,
    ".png": _APNG,
}
_SOUND_RATES = {
    "aac": {16000, 22050, 24000, 32000, 44100, 48000},
    "libopus": {16000, 24000, 48000},
}


class VideoWriter:
    """Write frames into a video or an animated picture, whole or not at all, with the sound of another file.

    | name | film | sound |
    |---|---|---|
    | .mp4, .m4v, .mov | H.264 | copied, or AAC |
    | .webm | VP9 | copied, or Opus |
    | .gif | 256 colours in each frame, at most 50 frames a second, at hundredths of a second | none |
    | .apng, .png | without loss | none |

    The frame rate is kept as the exact fraction, or each frame at its own time. (A writer that rounds it to
    two decimals, as imageio-ffmpeg did up to 0.6, makes of 24000/1001 a film that runs 0.6 s ahead of its
    sound after an hour.) Sound is copied packet for packet with its timing where the file can hold it, and
    encoded anew where not. WebM knows milliseconds only, to which frame times are rounded.

    Videos in their common form have even sizes only: the last column or row is repeated where the size is
    odd.

    Args:
        path: the file to write; its name says what it becomes.
        fps: frames a second, best as a Fraction.
        size: (width, height) of the frames.
        audio_from: a file whose first sound track is taken over; None, or a file without sound, for silence.
        metadata: texts for the file's header, e.g. `{"title": ..., "comment": ..., "description": ...}`.
        overwrite: whether an existing file may be replaced.
        time_base: the tick of the clock, for frames with times of their own; `VideoReader.time_base` fits.
        crf: quality of a video from 0 (best) to 51; 18 for H.264 and 24 for VP9, which are hard to tell from
            the original, if None.
        keyframe_every: at most so many frames between key frames. Few for data sets, whose frames are read
            out of order.

    Attributes:
        frames: how many were written so far; in a GIF, frames nearer than 20 ms to the last are left out, in
            an APNG those nearer than 11 ms.
        end: when the last frame ends, in seconds; to be set before leaving the `with` block. A frame's length
            after it began if None.

    Raises:
        InputError: unknown kind of file, the file exists, its folder does not, a bad size or frame rate, a
            frame of another size, or no frame at all.

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
    ):
        self.path = Path(path)
        if self.path.suffix.lower() not in _OUTPUTS:
            known = ", ".join(_OUTPUTS)
            raise InputError(one_line(path, f"videos are written as {known}; give a name that ends so"))
        self.kind = _OUTPUTS[self.path.suffix.lower()]
        if not 0 < fps <= 10_000:
            raise InputError(one_line(path, f"cannot be written with {fps} frames a second"))
        self.fps = Fraction(fps).limit_denominator(1_000_000)
        self.size = int(size[0]), int(size[1])
        if min(self.size) < 1 or self.size[0] * self.size[1] > MAX_FRAME_PIXELS:
            raise InputError(one_line(path, f"frames of {size[0]} x {size[1]} pixels cannot be written"))
        self.keeps_times = time_base is not None
        tick = self.kind.tick or time_base or 1 / self.fps
        self.time_base = Fraction(tick).limit_denominator(1_000_000)
        self.audio_from = audio_from
        self.metadata = metadata or {}
        self.overwrite = overwrite
        self.crf, self.keyframe_every = crf, keyframe_every
        self.frames = 0
        self.end: Fraction | None = None
        self._last_ticks = -1
        self._given = 0  # frames, those left out too
        self._whole = False

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_output(self.path, self.overwrite))
            stack.callback(self._label, temporary)
            container = av.open(
                f"file:{temporary}", "w", format=self.kind.container, container_options=self.kind.header
            )
            self._container = stack.enter_context(container)
            self._container.metadata.update(self.metadata)
            self._stream = self._add_film()
            self._convert = self._conversion()
            self._sound = None
            if self.audio_from is not None and self.kind.sound is not None:
                self._sound = stack.enter_context(SoundTrack(self.audio_from, container, self.kind))
            self._stack = stack.pop_all()
        return self

    def _add_film(self) -> av.video.stream.VideoStream:
        options = dict(self.kind.options)
        if self.crf is not None and "crf" in options:
            options["crf"] = str(self.crf)
        if self.keeps_times and self.kind.codec == "libx264":
            # Without B-frames the order of decoding is that of showing, and lengths in the file are right.
            options["bf"] = "0"
        try:
            stream = self._container.add_stream(self.kind.codec, rate=self.fps, options=options)
        except (av.error.FFmpegError, ValueError) as error:
            text = f"this build of PyAV has no {self.kind.codec}; install the one from PyPI: pip install av"
            raise InputError(one_line(self.path, text)) from error
        stream.width, stream.height = self._stored_size
        stream.pix_fmt = self.kind.pixels
        context = stream.codec_context
        context.time_base = self.time_base
        if self._is_yuv:
            # BT.709 in limited range (1 is its number in all four), so that no player guesses.
            context.color_range = context.colorspace = context.color_primaries = context.color_trc = 1
        if self.keyframe_every:
            context.gop_size = self.keyframe_every
        return stream

    @property
    def _is_yuv(self) -> bool:
        return self.kind.pixels.startswith("yuv")

    @property
    def _stored_size(self) -> tuple[int, int]:
        width, height = self.size
        return (width + width % 2, height + height % 2) if self._is_yuv else self.size

    def _conversion(self) -> av.filter.Graph:
        """From RGB to what the file holds."""
        graph = av.filter.Graph()
        width, height = self._stored_size
        rgb = av.VideoFormat("rgb24")
        source = graph.add_buffer(width=width, height=height, format=rgb, time_base=self.time_base)
        sink = graph.add("buffersink")
        if self.kind.pixels == "pal8":  # a palette for each frame, so that none has to wait for the last one
            split, mix = graph.add("split"), graph.add("paletteuse", "new=1:diff_mode=rectangle")
            colours = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
            source.link_to(split)
            split.link_to(mix, 0, 0)
            split.link_to(colours, 1, 0)
            colours.link_to(mix, 0, 1)
            mix.link_to(sink)
            graph.configure()
            return graph
        matrix = "out_color_matrix=bt709:out_range=tv:" if self._is_yuv else ""
        scale = graph.add("scale", f"{matrix}flags=bicubic+accurate_rnd")
        graph.link_nodes(source, scale, graph.add("format", self.kind.pixels), sink).configure()
        return graph

    def write(self, frame: np.ndarray, seconds: Fraction | float | None = None) -> None:
        """Append a frame, uint8 (H, W, 3).

        Args:
            frame: of the size announced.
            seconds: when it is shown; a frame's length after the last one if None.
        """
        width, height = self.size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            text = f"a frame is {frame.dtype} {frame.shape}, announced was uint8 ({height}, {width}, 3)"
            raise InputError(one_line(self.path, text))
        ticks = round((self._given / self.fps if seconds is None else seconds) / self.time_base)
        self._given += 1
        if self.frames and (ticks - self._last_ticks) * self.time_base < self.kind.nearest:
            return  # it would be gone before anybody saw it
        ticks = max(ticks, self._last_ticks + 1)
        more_width, more_height = (b - a for a, b in zip(self.size, self._stored_size, strict=True))
        if more_width or more_height:
            frame = np.pad(frame, ((0, more_height), (0, more_width), (0, 0)), mode="edge")
        self._convert.push(self._as_av(frame, ticks))
        picture = self._convert.pull()
        picture.pts, picture.time_base = ticks, self.time_base
        self._container.mux(self._stream.encode(picture))
        self._last_ticks = ticks
        self.frames += 1
        if self._sound is not None:
            self._sound.copy_until(ticks * self.time_base)

    def _as_av(self, frame: np.ndarray, ticks: int) -> av.VideoFrame:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = ticks, self.time_base
        return picture

    def _label(self, temporary: Path) -> None:
        """What FFmpeg leaves out of animated pictures: the metadata, and how long the last one stays."""
        if not self._whole:
            return
        last = None if self.end is None else Fraction(self.end) - self._last_ticks * self.time_base
        if self.kind is _GIF:
            label_gif(temporary, "\n".join(dict.fromkeys(self.metadata.values())), last)
        elif self.kind is _APNG:
            label_png(temporary, {key.title(): text for key, text in self.metadata.items()}, last)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:  # what fails in here makes the file below vanish too
            if self.frames == 0:
                raise InputError(one_line(self.path, "no frame was written, so there is no video"))
            for packet in self._stream.encode(None):
                if packet.pts == self._last_ticks and self.end is not None:
                    packet.duration = max(1, round(self.end / self.time_base) - self._last_ticks)
                self._container.mux(packet)
            if self._sound is not None:
                self._sound.copy_until(None)
            self._whole = True
        return None


class SoundTrack:
    """The first sound track of a file, poured into an output little by little as its film grows.

    Little by little, because a file whose sound comes after its film cannot be streamed, and because the
    sound of an hour would otherwise wait in memory.

    Args:
        path: where the sound comes from.
        output: where it goes; a stream is added to it.
        kind: of the output.
    """

    def __init__(self, path: str | os.PathLike, output: av.container.OutputContainer, kind: _Kind):
        self.path = existing_file(path)
        self._packets: Iterator[av.Packet] | None = None
        self._waiting: av.Packet | None = None
        self._files = ExitStack()
        with ExitStack() as stack:
            container = stack.enter_context(open_container(self.path))
            self._source = next(iter(container.streams.audio), None)
            if self._source is None or self._source.codec_context is None or not self._source.rate:
                return
            self._output = output
            # The film begins at 0 in the output; the sound keeps its distance to it.
            first = next(iter(films(container)), self._source)
            self._start = (first.start_time or 0) * first.time_base
            name = self._source.codec_context.codec.canonical_name
            self._copies = name in kind.copied_sound and _survives_copying(self.path, kind.container)
            self._target = (
                output.add_stream_from_template(self._source) if self._copies else self._encoder(kind.sound)
            )
            self._packets = container.demux(self._source)
            self._files = stack.pop_all()

    def __enter__(self) -> SoundTrack:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def _encoder(self, codec: str) -> av.audio.stream.AudioStream:
        rate = self._source.rate if self._source.rate in _SOUND_RATES[codec] else 48000
        layout = "mono" if self._source.codec_context.channels == 1 else "stereo"
        target = self._output.add_stream(codec, rate=rate, layout=layout)
        target.bit_rate = 96_000 * target.codec_context.channels
        self._resampler = av.AudioResampler(
            format=target.codec_context.format.name,
            layout=layout,
            rate=rate,
            frame_size=1024 if codec == "aac" else rate // 50,  # what one packet holds; of Opus, 20 ms
        )
        return target

    def copy_until(self, seconds: Fraction | None) -> None:
        """Take over all sound that begins before `seconds` of the film (None: all there is)."""
        while self._packets is not None:
            try:
                packet = self._waiting or next(self._packets, None)
                self._waiting = None
                if packet is None or packet.size == 0:
                    self._finish()
                elif seconds is not None and packet.pts is not None and self._since_start(packet) > seconds:
                    self._waiting = packet
                    return
                elif self._copies:
                    self._copy(packet)
                else:
                    self._encode(packet.decode())
            except av.error.InvalidDataError:
                continue  # a damaged packet of sound is a click, not the end
            except (av.error.FFmpegError, ValueError) as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise  # that is not the sound's fault
                cause = getattr(error, "strerror", None) or error
                text = f"its sound is damaged and ends early ({cause})"
                warnings.warn(one_line(self.path, text), stacklevel=3)
                self._packets = None

    def _since_start(self, packet: av.Packet) -> Fraction:
        return packet.pts * packet.time_base - self._start

    def _copy(self, packet: av.Packet) -> None:
        if packet.pts is None or packet.dts is None or self._since_start(packet) < -Fraction(1, 10):
            return  # from before the film; a tenth of a second is kept, because decoders need a run-up
        if self._source.start_time is not None and self._source.duration:
            # Of the last packet often a part is not to be heard; without this the sound would grow by it.
            remaining = self._source.start_time + self._source.duration - packet.pts
            if remaining <= 0:
                return
            packet.duration = min(packet.duration, remaining) if packet.duration else remaining
        shift = round(self._start / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = self._target
        self._output.mux(packet)

    def _encode(self, frames: Iterable[av.AudioFrame]) -> None:
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(self._start / frame.time_base)
                if frame.pts < 0:
                    continue
            for part in self._resampler.resample(frame):
                self._output.mux(self._target.encode(part))

    def _finish(self) -> None:
        self._packets = None
        if not self._copies:
            for part in self._resampler.resample(None):
                self._output.mux(self._target.encode(part))
            self._output.mux(self._target.encode(None))


def _survives_copying(path: Path, container: str) -> bool:
    """Whether the sound of a file can be copied into a container, tried out in memory with its first packet.

    MP4 looks at a track's header only when the file is finished, and a damaged one would then cost the film.
    """
    try:
        with open_container(path) as source, av.open(io.BytesIO(), "w", format=container) as trial:
            track = source.streams.audio[0]
            target = trial.add_stream_from_template(track)
            for packet in source.demux(track):
                if packet.dts is not None:
                    packet.stream = target
                    trial.mux(packet)
                    break
    except av.error.FFmpegError:
        return False
    return True
