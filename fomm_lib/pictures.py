"""Pictures through Pillow, still and animated, as uint8 RGB arrays; and the error that videos share.

The public face is `fomm_lib.video`, which falls back on PyAV where Pillow knows no way.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from fomm_lib.files import InputError
from fomm_lib.releases import importing

with importing("pillow"):
    from PIL import Image, ImageCms, ImageOps

MAX_PICTURE_PIXELS = 89_478_485  # Pillow's own measure of a decompression bomb: 256 MiB of RGB

# Pillow opens these by calling another program, or only to say what they are.
_NOT_PICTURE_FORMATS = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
# Those formats whose pages are a film, and not layers, sizes or a stereo pair.
_ANIMATED_FORMATS = {"GIF", "PNG", "WEBP", "AVIF"}


class VideoError(InputError):
    """A video or picture cannot be used.

    Attributes:
        reason: `missing`, `unreadable`, `encrypted`, `no_video` (only sound), `no_frames`, `corrupt` (breaks
            after some good frames), `still` (a picture where a video is needed) or `too_large`.
        frames: how many good frames came before the fault.
    """

    def __init__(self, path: str | os.PathLike, reason: str, text: str, frames: int = 0):
        super().__init__(one_line(path, text))
        self.reason = reason
        self.frames = frames

    def __reduce__(self) -> tuple:  # so that it comes whole out of a worker process
        return _rebuilt, (type(self), str(self), self.__dict__)


def _rebuilt(kind: type, text: str, attributes: dict) -> VideoError:
    error = kind.__new__(kind, text)
    error.args = (text,)
    error.__dict__.update(attributes)
    return error


def one_line(path: str | os.PathLike, text: str) -> str:
    """`path: text` in one line, whatever characters a hostile file or file name brings."""
    return " ".join(f"{path}: {text}".split())


def existing_file(path: str | os.PathLike) -> Path:
    """The path of a regular file with something in it.

    A pipe or a device could keep us waiting for ever, and FFmpeg would take `http:` for an order.

    Raises:
        VideoError: it is none, or may not be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise VideoError(path, "missing", "is a folder; give the name of a file")
        if not path.exists():
            raise VideoError(path, "missing", "no such file; check the path")
        if not path.is_file():
            raise VideoError(path, "missing", "is not a regular file; copy its content into one")
        if path.stat().st_size == 0:
            raise VideoError(path, "unreadable", "is empty (0 bytes); copy or download it again")
        path.open("rb").close()
    except InputError:
        raise
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise VideoError(path, "missing", f"cannot be read ({cause}); check the path") from error
    return path


def too_large(path: Path, what: str, limit: int, size: tuple[int, int] | None = None) -> VideoError:
    """The error for a picture or frame that would fill the memory."""
    shape = f" of {size[0]} x {size[1]} pixels" if size else ""
    text = f"a {what}{shape} is too large (at most {limit // 1_000_000} million pixels); make it smaller"
    return VideoError(path, "too_large", text)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Open with Pillow, not yet decoded.

    Raises:
        PIL.UnidentifiedImageError: it is no picture.
        VideoError: it is too large to decode.
    """
    Image.init()
    formats = [name for name in Image.OPEN if name not in _NOT_PICTURE_FORMATS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; about size we have our own say below
        try:
            picture = Image.open(path, formats=formats)
        except Image.DecompressionBombError as error:
            raise too_large(path, "picture", MAX_PICTURE_PIXELS) from error
        with picture:
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                raise too_large(path, "picture", MAX_PICTURE_PIXELS, picture.size)
            yield picture


def upright_rgb(picture: Image.Image) -> np.ndarray:
    """A Pillow picture of any mode as uint8 (H, W, 3): upright, sRGB, on white where it is transparent."""
    picture.load()
    profile = picture.info.get("icc_profile")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        return np.repeat(_eight_bit(np.asarray(picture))[..., None], 3, axis=2)
    if picture.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in picture.info:
        return on_white(np.asarray(picture.convert("RGBA")))
    if profile:
        picture = _to_srgb(picture, profile)
    return np.array(picture.convert("RGB"))


def _eight_bit(grey: np.ndarray) -> np.ndarray:
    """Integers of 16 or 32 bits and floats (H, W) to 0..255.

    The files do not say which range they use; the largest value tells 1, 255, 65535 and beyond apart.
    """
    values = np.nan_to_num(grey.astype(np.float64)).clip(min=0)
    largest = values.max()
    if grey.dtype.kind == "f" and largest <= 1:
        top = 1.0
    elif grey.dtype.itemsize > 2 and largest <= 255:
        top = 255.0
    else:
        top = max(65535.0, largest)
    return np.round(values * (255.0 / top)).astype(np.uint8)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay uint8 (H, W, 4) on white: c a + 255 (1 - a), in integers, rounded."""
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the embedded colour profile (Display P3 of a phone, Adobe RGB, CMYK of print) to sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a broken profile, or one for another kind of picture: the plain numbers are the best


# --- animated pictures ---------------------------------------------------------------------------------


@contextmanager
def open_animation(path: Path) -> Iterator[Image.Image]:
    """Open a picture that moves (GIF, APNG, WebP, AVIF).

    Raises:
        VideoError: it does not move, is too large, or is damaged.
    """
    try:
        with open_picture(path) as picture:
            pages = picture.n_frames if picture.format in _ANIMATED_FORMATS else 1
            if pages - first_of_animation(picture) < 2:
                raise VideoError(path, "still", "is a still picture; give a video (mp4, mov, webm, gif, ...)")
            yield picture
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds of error on broken files
        text = "is a picture, but a damaged one; download it again"
        raise VideoError(path, "unreadable", text) from error


def first_of_animation(picture: Image.Image) -> int:
    """1 where an APNG begins with a picture for programs without animation, which is not part of the film."""
    return int(bool(picture.info.get("default_image", False)))


def frame_durations(picture: Image.Image) -> list[Fraction]:
    """Seconds of every frame of an animation.

    As in browsers, 10 ms and less means that nobody cared, and is shown for 100 ms.
    """
    durations = []
    for number in range(first_of_animation(picture), picture.n_frames):
        milliseconds = 0
        try:
            picture.seek(number)
            if picture.format in {"WEBP", "AVIF"}:
                picture.load()  # these two tell the time only then
            milliseconds = picture.info.get("duration", 0)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            pass  # whoever decodes the frames will meet the fault, and say where
        # In a PNG it is a fraction of 16-bit numbers, e.g. 1/30, which whole milliseconds would let drift.
        exact = Fraction(milliseconds / 1000).limit_denominator(65_535)
        durations.append(exact if milliseconds > 10 else Fraction(1, 10))
    return durations
