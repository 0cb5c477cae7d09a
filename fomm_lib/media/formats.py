"""Tables of file formats: what is written, what is read and by whom, and rules about file names."""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

PILLOW_FORMATS = {"gif", "apng", "webp", "webp_anim"}
"""Formats (FFmpeg's names) that FFmpeg calls videos and Pillow reads better: Pillow composes animations and
applies transparency."""
PILLOW_BRANDS = {"avif", "avis", "heic", "mif1"}
"""Major brands of MP4-like files that hold images."""
READ_FORMATS = """
    mov mp4 matroska webm avi flv live_flv mpegts mpegtsraw mpeg mpegvideo m4v h261 h263 h264 hevc vvc av1
    obu ivf ogg asf asf_o rm mxf wtv nut dv gxf swf vc1 vc1test dirac cavsvideo evc apv mjpeg mjpeg_2000
    dnxhd yuv4mpegpipe dhav ty nuv gif apng webp webp_anim avif ico tty

    aac ac3 ac4 aiff amr amrnb amrwb ape au caf dts dtshd eac3 flac loas mlp mp3 mpc mpc8 oga oma opus spdif
    tak truehd tta voc w64 wav wsaud wv

    bmp_pipe dds_pipe dpx_pipe exr_pipe gif_pipe hdr_pipe j2k_pipe jpeg_pipe jpegls_pipe jpegxl_anim
    jpegxl_pipe jpegxs_pipe pam_pipe pbm_pipe pcx_pipe pfm_pipe pgm_pipe pgx_pipe phm_pipe png_pipe ppm_pipe
    psd_pipe qoi_pipe sgi_pipe sunrast_pipe tiff_pipe webp_pipe xbm_pipe xpm_pipe xwd_pipe
"""
"""FFmpeg's names of the formats that are opened. None of them opens other files, as playlists (hls, dash,
concat, imf, sdp), numbered images (image2), recordings in several files (mlv, vobsub) and SVG do."""
TEXT_FORMATS = {"tty"}
"""FFmpeg's names for text files, which it renders as a video of a terminal. Such a file is not a video."""
COVER_DISPOSITIONS = 0x0400 | 0x0800
"""Flags of video streams that only decorate a file: AV_DISPOSITION_ATTACHED_PIC (cover art) and
_TIMED_THUMBNAILS of FFmpeg."""
NOT_VIDEO_DISPOSITIONS = COVER_DISPOSITIONS | 0x100000
"""Flags of video streams that are no video: these, and AV_DISPOSITION_STILL_IMAGE (the image of a HEIC or
AVIF file)."""

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
"""Name endings of images in data sets."""
PORTRAIT_SUFFIXES = IMAGE_SUFFIXES | {".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
"""Name endings of portraits that are looked for in a folder."""
VIDEO_SUFFIXES = {".mp4", ".gif", ".mov", ".avi", ".mkv", ".webm"}
"""Name endings of videos in data sets."""
# GIF and APNG are here, since they are made to move; WebP and AVIF are not, since most of them do not.
_VIDEO_OR_AUDIO_SUFFIXES = """
    .3g2 .3gp .aac .ac3 .apng .asf .avi .dv .f4v .flac .flv .gif .h264 .h265 .hevc .ivf .m2ts .m2v .m4a .m4s
    .m4v .mka .mkv .mov .mp3 .mp4 .mpeg .mpg .mts .mxf .obu .oga .ogg .ogv .opus .qt .rm .rmvb .ts .vob .wav
    .webm .wma .wmv .y4m
"""


def is_video_name(path: str | os.PathLike) -> bool:
    """Whether a file name ends like that of a video or audio, not like that of an image or text.

    Example:
        >>> is_video_name("clip.mp4"), is_video_name("frame_0001.png"), is_video_name("labels.csv")
        (True, False, False)
    """
    return Path(path).suffix.lower() in _VIDEO_OR_AUDIO_SUFFIXES.split()


def is_media_name(path: str | os.PathLike) -> bool:
    """Whether a file name ends like that of a video, audio or image.

    Example:
        >>> is_media_name("clip.mp4"), is_media_name("frame_0001.png"), is_media_name("labels.csv")
        (True, True, False)
    """
    kind, _ = mimetypes.guess_type(str(path))
    return is_video_name(path) or (kind or "").startswith(("image/", "video/", "audio/"))


@dataclass(frozen=True)
class OutputFormat:
    """What a kind of output file holds, limited to what common players support.

    Attributes:
        container: FFmpeg's name of the container.
        codec, pixels, options: of the video.
        audio: the codec for audio; None where the file holds none.
        copied_audio: codecs of audio that is copied without encoding it anew.
        header: options of the container.
        tick: the only tick of its clock, in seconds; None where any is possible.
        nearest: the least number of seconds between frames.
        longest: the largest number of ticks from one frame to the next.
    """

    container: str
    codec: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)
    audio: str | None = None
    copied_audio: frozenset[str] = frozenset()
    header: dict[str, str] = field(default_factory=dict)
    tick: Fraction | None = None
    nearest: Fraction = Fraction(0)
    longest: int = 2**62


_MP4 = OutputFormat(
    "mp4",
    "libx264",
    "yuv420p",
    {"crf": "18", "preset": "medium"},
    audio="aac",
    copied_audio=frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}),
    # The table of contents comes first: a browser starts to play before it has the whole file.
    header={"movflags": "+faststart"},
    longest=2**31 - 2,  # it has 32 bits for them, of which FFmpeg uses 31
)
_WEBM = OutputFormat(
    "webm",
    "libvpx-vp9",
    "yuv420p",
    {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"},
    audio="libopus",
    copied_audio=frozenset({"opus", "vorbis"}),
)
# Browsers show a frame for 100 ms where the file says 10 ms or less.
_GIF = OutputFormat("gif", "gif", "pal8", tick=Fraction(1, 100), nearest=Fraction(2, 100))
_APNG = OutputFormat(
    "apng", "apng", "rgb24", {"pred": "mixed"}, header={"plays": "0"}, nearest=Fraction(11, 1000)
)

OUTPUT_FORMATS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": replace(_MP4, container="mov", copied_audio=_MP4.copied_audio | {"pcm_s16le", "pcm_s24le"}),
    ".webm": _WEBM,
    ".gif": _GIF,
    ".apng": _APNG,
    ".png": _APNG,
}
"""Name ending to what is written. This is the only list of the endings of outputs; an ending that no reader
knew before belongs in `_VIDEO_OR_AUDIO_SUFFIXES` too."""
