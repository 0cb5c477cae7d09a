"""Makers of odd and broken media files, so that tests need none in the repository.

    path = make("encrypted.mp4", tmp_path)         # one file
    for odd in ODD_FILES: path = odd.make_in(tmp_path)

Every `Odd` says what the file is and what the readers must make of it: `as_image` (whether `read_image`
gives an image), `as_video` (how many frames `VideoReader` gives, or the `reason` of its error) and `verdict`
(what a cleaner of data sets should find). Files are small (64 x 64, a second) and the same each time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from PIL import Image

SIZE = 64


def moving_frames(count: int = 25, size: tuple[int, int] = (SIZE, SIZE), still: bool = False) -> np.ndarray:
    """A coloured ball that crosses a gradient, uint8 (count, H, W, 3); `still` leaves it where it is."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    frames = np.zeros((count, height, width, 3), np.uint8)
    for number in range(count):
        t = 0.0 if still else number / max(count - 1, 1)
        ball = np.exp(-((x - 0.2 - 0.6 * t) ** 2 + (y - 0.5 - 0.2 * np.sin(6 * t)) ** 2) / 0.02)
        for channel, (ground, colour) in enumerate(
            [(60 + 80 * x, 230), (90 + 60 * y, 120), (140 - 60 * x, 60)]
        ):
            frames[number, ..., channel] = np.round(ground * (1 - ball) + colour * ball)
    return frames


def encode(
    path: str | Path,
    frames: np.ndarray | Sequence[np.ndarray] | None = None,
    fps: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    start: int = 0,
) -> Path:
    """Write frames with PyAV, not with the library's own writer, which is what the tests are about.

    Args:
        times: ticks of `time_base` at which the frames are shown; one after the other if None.
        audio: a codec (aac, libvorbis, pcm_s16le, ...) for a tone as long as the video; silent if None.
        start: seconds by which the whole file starts late.
    """
    frames = moving_frames() if frames is None else frames
    time_base = time_base or 1 / Fraction(fps)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = container.add_stream(codec, rate=Fraction(fps), options=options or {})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        tone = _add_tone(container, audio) if audio else None
        times = range(len(frames)) if times is None else times
        for ticks, array in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = ticks + round(start / time_base), time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if tone is not None:
            _write_tone(container, tone, seconds=len(frames) / float(fps), start=start)
    return Path(path)


def encode_audio(path: str | Path, codec: str = "aac", seconds: float = 1.0) -> Path:
    """A tone and nothing else."""
    with av.open(str(path), "w") as container:
        _write_tone(container, _add_tone(container, codec), seconds, start=0)
    return Path(path)


def _add_tone(container: av.container.OutputContainer, codec: str) -> av.audio.stream.AudioStream:
    return container.add_stream(codec, rate=16000, layout="mono")


def _write_tone(
    container: av.container.OutputContainer, stream: av.audio.stream.AudioStream, seconds: float, start: int
) -> None:
    resampler = av.AudioResampler(
        format=stream.codec_context.format,
        layout="mono",
        rate=16000,
        frame_size=stream.codec_context.frame_size or 1024,
    )
    samples = np.arange(round(seconds * 16000))
    wave = (8000 * np.sin(2 * np.pi * 440 * samples / 16000)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, start * 16000, Fraction(1, 16000)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg binary that comes with imageio-ffmpeg, for what PyAV cannot do."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-y",
        *map(str, arguments),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The absolute difference of two uint8 images, in grey levels."""
    return np.abs(a.astype(int) - b.astype(int))


def portrait(size: int = SIZE) -> np.ndarray:
    """An image with something in it, uint8 (size, size, 3)."""
    return moving_frames(2, (size, size))[1]


# --- makers --------------------------------------------------------------------------------------------


def _beside(path: Path, name: str, **arguments) -> Path:
    """A healthy video next to `path`, to be broken."""
    return encode(path.with_name(f"{path.stem}.{name}"), **arguments)


def _cut_short(path: Path) -> None:
    even = {"g": "5", "bf": "0"}  # a key frame every five, so that the file is filled evenly
    whole = _beside(path, "whole.mp4", options=even, container_options={"movflags": "faststart"}).read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.7)])


def _cut_between_frames(path: Path) -> None:
    """The index first, then only the first twelve frames: none is torn, the others are simply not there."""
    source = _beside(path, "whole.mp4", container_options={"movflags": "faststart"}, options={"bf": "0"})
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        end = packets[12].pos
    path.write_bytes(source.read_bytes()[:end])


def _no_index(path: Path) -> None:
    whole = _beside(path, "whole.mp4").read_bytes()
    path.write_bytes(whole[: whole.rindex(b"moov") - 4])


def _flipped_bits(path: Path) -> None:
    data = bytearray(_beside(path, "whole.mp4", options={"g": "5", "bf": "0"}).read_bytes())
    start, end = data.index(b"mdat"), data.rindex(b"moov")
    for place in np.random.default_rng(0).integers(start + (end - start) // 2, end - 8, 60):
        data[place] ^= 0xFF
    path.write_bytes(data)


def _billions_of_frames(path: Path) -> None:
    """The table of frame durations claims 2^31 - 1 frames; there are 25."""
    data = bytearray(_beside(path, "whole.mp4").read_bytes())
    table = data.index(b"stts")
    data[table + 12 : table + 16] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(data)


def _no_video_samples(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        container.start_encoding()


def _cover_art(path: Path) -> None:
    audio, cover = encode_audio(path.with_name("audio.m4a")), path.with_name("cover.png")
    Image.fromarray(portrait()).save(cover)
    ffmpeg(
        "-i",
        audio,
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v:0",
        "attached_pic",
        path,
    )


def _encrypted(path: Path) -> None:
    key = "0123456789abcdef" * 2
    source = _beside(path, "clear.mp4", audio="aac")
    scheme = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key]
    ffmpeg("-i", source, "-c", "copy", *scheme, path)


def _rotated(path: Path) -> None:
    wide = _beside(path, "wide.mp4", frames=moving_frames(25, (SIZE, SIZE // 2)))
    ffmpeg("-display_rotation", "90", "-i", wide, "-c", "copy", path)


def _size_changes(path: Path) -> None:
    """Two broadcasts one after the other: other size, and a clock that starts again."""
    first = _beside(path, "first.ts", frames=moving_frames(12))
    second = _beside(path, "second.ts", frames=moving_frames(12, (32, 32)))
    path.write_bytes(first.read_bytes() + second.read_bytes())


def _animation(path: Path, **arguments) -> None:
    """Frames with a transparent border, through Pillow."""
    frames = []
    for array in moving_frames(8):
        alpha = np.zeros(array.shape[:2], np.uint8)
        alpha[8:-8, 8:-8] = 255
        frames.append(Image.fromarray(np.dstack([array, alpha]), "RGBA"))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[40, 80] * 4, loop=0, **arguments)


def _image(mode: str, **arguments) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(portrait()).convert(mode).save(path, **arguments)


def _half_transparent(path: Path) -> None:
    rgba = np.dstack([portrait(), np.full((SIZE, SIZE), 255, np.uint8)])
    rgba[:, : SIZE // 2, 3] = 0
    Image.fromarray(rgba, "RGBA").save(path)


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(portrait()[..., 0].astype(np.uint16) * 257).save(path)


def _exif_sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me a quarter clockwise"
    Image.fromarray(np.rot90(portrait()).copy()).save(path, exif=exif, quality=95)


def _truncated_image(path: Path) -> None:
    whole = path.with_name("whole" + path.suffix)
    Image.fromarray(portrait(256)).save(whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])


def _bomb(path: Path) -> None:
    """A PNG whose header claims 60000 x 60000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def _hdr(path: Path) -> None:
    tags = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=tv"
    encode(path, moving_frames(3), pix_fmt="yuv420p10le", options={"x264-params": tags})


def _still_video(path: Path) -> None:
    encode(path, moving_frames(still=True))


@dataclass(frozen=True)
class Odd:
    """An odd file: its name, what it is, how to make it, and what must come of it (see above)."""

    name: str
    what: str
    make: Callable[[Path], object]
    as_image: bool
    as_video: int | str
    verdict: str

    def make_in(self, folder: Path) -> Path:
        """Make it in a folder of its own (its raw material stays there too) and return its path."""
        place = Path(folder) / self.name.replace(".", "_")
        place.mkdir(parents=True, exist_ok=True)
        path = place / self.name
        if not path.exists():
            self.make(path)
        return path


def _odd(name: str, what: str, make: Callable, as_image: bool, as_video: int | str, verdict: str) -> Odd:
    return Odd(name, what, make, as_image, as_video, verdict)


def _encoder(**arguments) -> Callable[[Path], Path]:
    return lambda path: encode(path, **arguments)


ODD_FILES = [
    # videos that are fine, though not all alike
    _odd("good.mp4", "H.264 and AAC", _encoder(audio="aac"), True, 25, "fit"),
    _odd("vp9.webm", "VP9 and Opus", _encoder(codec="libvpx-vp9", audio="libopus"), True, 25, "fit"),
    _odd("vp8.webm", "VP8, whose packets are not all frames", _encoder(codec="libvpx"), True, 25, "fit"),
    _odd("motion_jpeg.avi", "Motion JPEG", _encoder(codec="mjpeg", pix_fmt="yuvj420p"), True, 25, "fit"),
    _odd(
        "mpeg4.avi",
        "packets without time stamps",
        _encoder(codec="mpeg4", options={"bf": "2"}),
        True,
        25,
        "fit",
    ),
    _odd(
        "mpeg2.ts",
        "a broadcast, which never starts at zero",
        _encoder(codec="mpeg2video", audio="mp2"),
        True,
        25,
        "fit",
    ),
    _odd("ten_bit.mp4", "10 bits a channel", _encoder(pix_fmt="yuv420p10le"), True, 25, "fit"),
    _odd("hdr.mp4", "tagged PQ and BT.2020", _hdr, True, 3, "fit"),
    _odd("grey.mp4", "luma only", _encoder(pix_fmt="gray"), True, 25, "fit"),
    _odd(
        "odd_size.mp4",
        "61 x 47",
        _encoder(frames=moving_frames(9, (61, 47)), pix_fmt="yuv444p"),
        True,
        9,
        "fit",
    ),
    _odd("anamorphic.mp4", "pixels twice as wide as high", _encoder(aspect=Fraction(2)), True, 25, "fit"),
    _odd("rotated.mp4", "a phone held upright", _rotated, True, 25, "fit"),
    _odd(
        "variable.mp4",
        "variable frame rate",
        _encoder(
            times=[0, 40, 80, 200, 240, 600, 601, 900], time_base=Fraction(1, 1000), frames=moving_frames(8)
        ),
        True,
        8,
        "fit",
    ),
    _odd("late_start.mkv", "begins at 3600 s", _encoder(start=3600, audio="aac"), True, 25, "fit"),
    _odd(
        "long_gap.mp4",
        "ten hours between two frames",
        _encoder(times=[0, 25, 900_000], frames=moving_frames(3)),
        True,
        3,
        "fit",
    ),
    _odd("fps1000.mp4", "a thousand frames a second", _encoder(fps=1000), True, 25, "fit"),
    _odd(
        "fps_half.mp4",
        "a frame every two seconds",
        _encoder(fps=Fraction(1, 2), frames=moving_frames(3)),
        True,
        3,
        "fit",
    ),
    _odd("size_changes.ts", "64 x 64, then 32 x 32", _size_changes, True, 24, "fit"),
    _odd("billions.mp4", "claims 2^31 - 1 frames", _billions_of_frames, True, 25, "fit"),
    _odd("moving.gif", "GIF with transparency", lambda path: _animation(path, disposal=2), True, 8, "fit"),
    _odd("moving.png", "APNG with transparency", _animation, True, 8, "fit"),
    _odd(
        "moving.webp", "WebP with transparency", lambda path: _animation(path, lossless=True), True, 8, "fit"
    ),
    # videos of too little
    _odd("one_frame.mp4", "one frame", _encoder(frames=moving_frames(1)), True, 1, "single_frame"),
    _odd("frozen.mp4", "25 times the same frame", _still_video, True, 25, "frozen"),
    _odd("two_pixels.mp4", "2 x 2", _encoder(frames=np.zeros((5, 2, 2, 3), np.uint8)), True, 5, "frozen"),
    _odd("audio.m4a", "only audio", encode_audio, False, "no_video", "no_video"),
    _odd("audio.mp4", "only audio, named as a video", encode_audio, False, "no_video", "no_video"),
    _odd("cover_art.m4a", "a song with an image", _cover_art, False, "no_video", "no_video"),
    _odd("no_samples.mp4", "a video track without a frame", _no_video_samples, False, "no_video", "no_video"),
    # videos that are broken
    _odd("cut_short.mp4", "index first, last third missing", _cut_short, True, "corrupt", "corrupt"),
    _odd(
        "cut_between_frames.mp4",
        "index first, cut where a frame ends",
        _cut_between_frames,
        True,
        "corrupt",
        "corrupt",
    ),
    _odd("flipped_bits.mp4", "sixty wrong bytes in the frames", _flipped_bits, True, "corrupt", "corrupt"),
    _odd("no_index.mp4", "index last, and missing", _no_index, False, "unreadable", "unreadable"),
    _odd("encrypted.mp4", "common encryption (DRM)", _encrypted, False, "encrypted", "encrypted"),
    _odd("empty.mp4", "0 bytes", lambda path: path.write_bytes(b""), False, "unreadable", "unreadable"),
    _odd(
        "text.mp4", "a text", lambda path: path.write_text("not a video\n"), False, "unreadable", "unreadable"
    ),
    _odd(
        "notes.txt",
        "a text that FFmpeg would show as a video",
        lambda path: path.write_text("words\n" * 99),
        False,
        "unreadable",
        "unreadable",
    ),
    _odd(
        "noise.mp4",
        "random bytes",
        lambda path: path.write_bytes(np.random.default_rng(1).bytes(4096)),
        False,
        "unreadable",
        "unreadable",
    ),
    # images
    _odd("colour.jpg", "JPEG", _image("RGB"), True, "still", "single_frame"),
    _odd("grey.png", "8-bit grey", _image("L"), True, "still", "single_frame"),
    _odd("sixteen_bit.png", "16-bit grey", _sixteen_bit, True, "still", "single_frame"),
    _odd("bilevel.tiff", "black and white", _image("1"), True, "still", "single_frame"),
    _odd("palette.png", "256 colours", _image("P"), True, "still", "single_frame"),
    _odd("transparent.png", "left half transparent", _half_transparent, True, "still", "single_frame"),
    _odd("grey_alpha.png", "grey with alpha", _image("LA"), True, "still", "single_frame"),
    _odd("cmyk.jpg", "CMYK", _image("CMYK"), True, "still", "single_frame"),
    _odd("sideways.jpg", "EXIF orientation 6", _exif_sideways, True, "still", "single_frame"),
    _odd("bitmap.bmp", "BMP", _image("RGB"), True, "still", "single_frame"),
    _odd("one_page.gif", "GIF of one frame", _image("P"), True, "still", "single_frame"),
    _odd("still.webp", "WebP", _image("RGB"), True, "still", "single_frame"),
    _odd(
        "one_pixel.png",
        "1 x 1",
        lambda path: Image.new("RGB", (1, 1)).save(path),
        True,
        "still",
        "single_frame",
    ),
    _odd(
        "named_wrong.mp4",
        "a PNG named .mp4",
        lambda p: Image.fromarray(portrait()).save(p, "PNG"),
        True,
        "still",
        "single_frame",
    ),
    _odd("truncated.png", "half a PNG", _truncated_image, False, "still", "unreadable"),
    _odd("truncated.jpg", "half a JPEG", _truncated_image, False, "still", "unreadable"),
    _odd("bomb.png", "claims 60000 x 60000", _bomb, False, "too_large", "unreadable"),
]


def make(name: str, folder: Path) -> Path:
    """Make the odd file of that name under `folder` and return its path."""
    return next(odd for odd in ODD_FILES if odd.name == name).make_in(folder)
