"""The audio of one file, copied or encoded into the video that is written."""

from __future__ import annotations

import errno
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av

from fomm_lib.errors import VideoError, error_text, one_line
from fomm_lib.files import existing_file
from fomm_lib.media.decoding import first_time, open_container
from fomm_lib.media.formats import OutputFormat
from fomm_lib.media.sandbox import CallStopped, guarded_call
from fomm_lib.media.tracks import audios, may_jump, steady_packets, videos

_AUDIO_RATES = {
    "aac": {16000, 22050, 24000, 32000, 44100, 48000},
    "libopus": {16000, 24000, 48000},
}
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_ENCODING_SECONDS = 600  # at least; a long file may take as long as it plays


class AudioTrack:
    """The best audio track of a file (see `tracks.audios`), written into an output in step with its video.

    In step, because a file whose audio comes after its video cannot be streamed, and because an hour of
    audio would otherwise stay in memory. Audio that the output cannot hold is first encoded into a temporary
    file by another process: a decoder may crash on audio that is damaged or made to do harm.

    Args:
        path: the file with the audio; one without audio adds nothing.
        output: the container to write to; a stream is added to it.
        output_format: the format of the output.

    Raises:
        VideoError: the file does not exist or cannot be read.

    Warns:
        UserWarning: there is audio, and it cannot be used.

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
        self._latest: int | None = None  # the last time stamp written
        self._files = ExitStack()
        with ExitStack() as stack:
            container = stack.enter_context(open_container(self.path))
            track = next(iter(audios(container)), None)
            if track is None:
                if container.streams.audio:
                    self._warn("its audio is in a format that is not known here, and is left out")
                return
            # The video begins at 0 in the output; the audio keeps its offset from it.
            self._start = _start_of_video(self.path, container, track)
            name = track.codec_context.codec.canonical_name
            can_copy = name in output_format.copied_audio
            if not can_copy or not _survives_copying(self.path, output_format.container):
                track = self._encoded(stack, container, output_format.audio)
            if track is None:
                return
            self._source, self._output = track, output
            self._target = output.add_stream_from_template(track)
            self._packets = steady_packets(track.container, track)
            self._files = stack.pop_all()

    def __enter__(self) -> AudioTrack:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def _warn(self, text: str) -> None:
        warnings.warn(one_line(self.path, text), stacklevel=4)

    def _encoded(
        self, stack: ExitStack, container: av.container.InputContainer, codec: str
    ) -> av.audio.stream.AudioStream | None:
        """The audio, encoded into a temporary file in which the video begins at 0; None if that fails."""
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fomm-audio-"))
        path = Path(folder, "audio.mp4")
        seconds = max(_ENCODING_SECONDS, (container.duration or 0) / av.time_base)
        try:
            arguments = str(self.path.absolute()), str(path), codec, self._start
            fault = guarded_call(encode_audio, *arguments, seconds=seconds)
            encoded = stack.enter_context(open_container(path))
        except (CallStopped, VideoError, av.error.FFmpegError, ValueError) as error:
            self._warn(f"its audio cannot be decoded, and is left out ({error_text(error)})")
            return None
        if fault is not None:
            self._warn(f"its audio is damaged and ends early ({fault})")
        self._start = Fraction(0)
        return next(iter(encoded.streams.audio), None)

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
                    self._packets = None
                elif seconds is not None and packet.pts is not None and self._since_start(packet) > seconds:
                    self._waiting = packet
                    return
                else:
                    self._copy(packet)
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
        source = self._source
        if source.start_time is not None and source.duration and not may_jump(source.container):
            # Players skip the padding in the last packet; without this the audio would become longer by it.
            remaining = source.start_time + source.duration - packet.pts
            if remaining <= 0:
                return
            packet.duration = min(packet.duration, remaining) if packet.duration else remaining
        shift = round(self._start / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        if self._latest is not None and packet.dts <= self._latest:
            return  # where two recordings are joined, the audio of the first may be longer than its video
        self._latest = packet.dts
        packet.stream = self._target
        self._output.mux(packet)


def _start_of_video(
    path: Path, container: av.container.InputContainer, track: av.audio.stream.AudioStream
) -> Fraction:
    """Seconds on the file's clock of the first frame that decodes; of the audio, if there is no video."""
    video = next(iter(videos(container)), None)
    start = None
    if video is not None and video.codec_context is not None:
        with open_container(path) as again:
            start = first_time(videos(again)[0])
    first = track if video is None else video
    return (first.start_time or 0) * Fraction(first.time_base) if start is None else start


def _survives_copying(path: Path, container: str) -> bool:
    """Whether the audio of a file can be copied into a container; tried in memory with its first packet.

    The MP4 writer checks a track's header only at the end of the file; a damaged header would then cost the
    video.
    """
    try:
        with open_container(path) as source, av.open(io.BytesIO(), "w", format=container) as trial:
            track = audios(source)[0]
            target = trial.add_stream_from_template(track)
            for packet in source.demux(track):
                if packet.dts is not None:
                    packet.stream = target
                    trial.mux(packet)
                    break
    except av.error.FFmpegError:
        return False
    return True


def encode_audio(path: str, target: str, codec: str, start: Fraction) -> str | None:
    """Encode the best audio track of a file into an MP4 of its own; what is before `start` is left out.

    Args:
        path: the file with the audio.
        target: the MP4 to write.
        codec: FFmpeg's name of the encoder.
        start: seconds on the clock of the file that become 0.

    Returns:
        Why the audio ends early, in one line; None if all of it was encoded.

    Raises:
        VideoError: the file cannot be read.
        av.error.FFmpegError, ValueError: nothing of the audio can be decoded or encoded.

    Example:
        >>> encode_audio("clip.mp4", "audio.mp4", "aac", Fraction(0))  # doctest: +SKIP
    """
    with open_container(Path(path)) as container, av.open(target, "w", format="mp4") as output:
        source = audios(container)[0]
        layout = _named_layout(source.codec_context)
        rate = source.rate if source.rate in _AUDIO_RATES[codec] else 48000
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 96_000 * (1 if layout == "mono" else 2)
        resampler = av.AudioResampler(
            format=stream.codec_context.format.name,
            layout=layout,
            rate=rate,
            frame_size=1024 if codec == "aac" else rate // 50,  # samples of one packet; Opus: 20 ms
        )
        fault, following = None, Fraction(0)
        for packet in steady_packets(container, source):
            try:
                for frame in packet.decode():
                    if frame.pts is not None:
                        frame.pts -= round(start / frame.time_base)
                        length = Fraction(frame.samples, frame.sample_rate)
                        now = frame.pts * frame.time_base
                        if now < 0 or now + length / 2 < following:
                            continue  # before the video; or what `AudioTrack._copy` leaves out too
                        following = now + length
                    for part in resampler.resample(frame):
                        output.mux(stream.encode(part))
            except av.error.InvalidDataError:
                continue  # a damaged packet of audio is heard as a click; the rest is good
            except (av.error.FFmpegError, ValueError) as error:
                fault = error_text(error)
                break
        for part in resampler.resample(None):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return fault


def _named_layout(context: av.audio.codeccontext.AudioCodecContext) -> str:
    """The layout to encode to, mono or stereo; the source gets a layout with a name, if it has none.

    PyAV (up to 18.1) frees the table of a layout without a name once for each frame. The layout that is read
    here frees it once, and is then replaced.
    """
    layout = context.layout
    if " channels" in layout.name or layout.name.startswith(("USR", "UNK")):
        context.layout = _LAYOUTS.get(layout.nb_channels, "stereo")
    return "mono" if layout.nb_channels == 1 else "stereo"
