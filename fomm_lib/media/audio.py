"""The audio of one file, copied or encoded into the video that is written."""

from __future__ import annotations

import errno
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av

from fomm_lib.errors import error_text, one_line
from fomm_lib.files import existing_file
from fomm_lib.media.decoding import open_container, videos
from fomm_lib.media.formats import OutputFormat

_AUDIO_RATES = {
    "aac": {16000, 22050, 24000, 32000, 44100, 48000},
    "libopus": {16000, 24000, 48000},
}


class AudioTrack:
    """The first audio track of a file, written into an output in step with its video.

    In step, because a file whose audio comes after its video cannot be streamed, and because an hour of
    audio would otherwise stay in memory.

    Args:
        path: the file with the audio; one without audio adds nothing.
        output: the container to write to; a stream is added to it.
        output_format: the format of the output.

    Raises:
        VideoError: the file does not exist or cannot be read.

    Example:
        >>> with AudioTrack("clip.mp4", container, OUTPUT_FORMATS[".mp4"]) as audio:  # doctest: +SKIP
        ...     audio.copy_until(None)
    """

    def __init__(
        self, path: str | os.PathLike, output: av.container.OutputContainer, output_format: OutputFormat
    ):
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
            # The video begins at 0 in the output; the audio keeps its offset from it.
            first = next(iter(videos(container)), self._source)
            self._start = (first.start_time or 0) * first.time_base
            name = self._source.codec_context.codec.canonical_name
            can_copy = name in output_format.copied_audio
            self._copies = can_copy and _survives_copying(self.path, output_format.container)
            if self._copies:
                self._target = output.add_stream_from_template(self._source)
            else:
                self._target = self._encoder(output_format.audio)
            self._packets = container.demux(self._source)
            self._files = stack.pop_all()

    def __enter__(self) -> AudioTrack:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def _encoder(self, codec: str) -> av.audio.stream.AudioStream:
        rate = self._source.rate if self._source.rate in _AUDIO_RATES[codec] else 48000
        layout = "mono" if self._source.codec_context.channels == 1 else "stereo"
        target = self._output.add_stream(codec, rate=rate, layout=layout)
        target.bit_rate = 96_000 * target.codec_context.channels
        self._resampler = av.AudioResampler(
            format=target.codec_context.format.name,
            layout=layout,
            rate=rate,
            frame_size=1024 if codec == "aac" else rate // 50,  # samples of one packet; Opus: 20 ms
        )
        return target

    def copy_until(self, seconds: Fraction | None) -> None:
        """Write the audio that begins up to `seconds` of the video (None: all of it).

        Warns:
            UserWarning: the audio is damaged, and ends early.
        """
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
                    for frame in packet.decode():
                        self._encode(frame)
            except av.error.InvalidDataError:
                continue  # a damaged packet of audio is heard as a click; the rest is good
            except (av.error.FFmpegError, ValueError) as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise  # the disk is full, which is no fault of the audio
                text = f"its audio is damaged and ends early ({error_text(error)})"
                warnings.warn(one_line(self.path, text), stacklevel=3)
                self._packets = None

    def _since_start(self, packet: av.Packet) -> Fraction:
        return packet.pts * packet.time_base - self._start

    def _copy(self, packet: av.Packet) -> None:
        if packet.pts is None or packet.dts is None or self._since_start(packet) < -Fraction(1, 10):
            return  # before the video begins; 0.1 s is kept, because decoders need earlier packets to start
        if self._source.start_time is not None and self._source.duration:
            # Players skip the padding in the last packet; without this the audio would become longer by it.
            remaining = self._source.start_time + self._source.duration - packet.pts
            if remaining <= 0:
                return
            packet.duration = min(packet.duration, remaining) if packet.duration else remaining
        shift = round(self._start / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = self._target
        self._output.mux(packet)

    def _encode(self, frame: av.AudioFrame | None) -> None:
        if frame is not None and frame.pts is not None:
            frame.pts -= round(self._start / frame.time_base)
            if frame.pts < 0:
                return
        for part in self._resampler.resample(frame):
            self._output.mux(self._target.encode(part))

    def _finish(self) -> None:
        self._packets = None
        if not self._copies:
            self._encode(None)
            self._output.mux(self._target.encode(None))


def _survives_copying(path: Path, container: str) -> bool:
    """Whether the audio of a file can be copied into a container; tried in memory with its first packet.

    The MP4 writer checks a track's header only at the end of the file; a damaged header would then cost the
    video.
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
