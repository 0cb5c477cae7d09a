"""Images with Pillow, still and animated, as uint8 RGB arrays."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from fomm_lib.errors import InputError, Reason, VideoError
from fomm_lib.releases import importing

with importing("pillow"):
    from PIL import Image, ImageCms, ImageOps

MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own limit for a decompression bomb: 256 MiB of RGB

# Pillow opens these by calling another program, or only identifies them.
_NOT_IMAGE_FORMATS = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
# Formats whose pages are the frames of an animation, and not layers, sizes or a stereo pair.
_ANIMATED_FORMATS = {"GIF", "PNG", "WEBP", "AVIF"}


def too_large(path: Path, what: str, limit: int, size: tuple[int, int] | None = None) -> VideoError:
    """The error for an image or frame that would fill the memory.

    Args:
        path: the file.
        what: "an image" or "a video frame".
        limit: the largest number of pixels.
        size: (width, height), if known.
    """
    shape = f" of {size[0]} x {size[1]} pixels" if size else ""
    text = f"{what}{shape} is too large (at most {limit // 1_000_000} million pixels); make it smaller"
    return VideoError(path, Reason.TOO_LARGE, text)


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open with Pillow; the pixels are not decoded yet.

    Raises:
        PIL.UnidentifiedImageError: it is not an image.
        VideoError: it is too large to decode.
    """
    Image.init()
    formats = [name for name in Image.OPEN if name not in _NOT_IMAGE_FORMATS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about unusual metadata; the size is checked below
        try:
            image = Image.open(path, formats=formats)
        except Image.DecompressionBombError as error:
            raise too_large(path, "an image", MAX_IMAGE_PIXELS) from error
        with image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise too_large(path, "an image", MAX_IMAGE_PIXELS, image.size)
            yield image


def image_format(path: Path) -> str | None:
    """Pillow's name of the format of a file; None if Pillow does not know it.

    Example:
        >>> image_format(data_path("portrait.jpg")), image_format(data_path("driving.mp4"))
        ('JPEG', None)
    """
    try:
        with open_image(path) as image:
            return image.format
    except VideoError:
        return "too large"
    except Exception:  # Pillow raises a dozen kinds of error on broken files
        return None


def upright_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8 (H, W, 3): upright, sRGB, transparency on white.

    Example:
        >>> upright_rgb(Image.new("LA", (4, 2), (0, 0)))[0, 0].tolist()
        [255, 255, 255]
    """
    image.load()
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return np.repeat(_eight_bit(np.asarray(image))[..., None], 3, axis=2)
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        return on_white(np.asarray(image.convert("RGBA")))
    if profile:
        image = _to_srgb(image, profile)
    return np.array(image.convert("RGB"))


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
    """Composite uint8 (H, W, 4) on white: c a + 255 (1 - a) for alpha a in [0, 1], in integers, rounded.

    Example:
        >>> on_white(np.array([[[0, 0, 0, 51]]], np.uint8)).tolist()
        [[[204, 204, 204]]]
    """
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the embedded colour profile (Display P3 of a phone, Adobe RGB, CMYK of print) to sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile, or one for another kind of image: use the stored numbers


@contextmanager
def open_animation(path: Path) -> Iterator[Image.Image]:
    """Open an image that moves (GIF, APNG, WebP, AVIF).

    Raises:
        VideoError: it does not move, is too large, or is damaged.
    """
    try:
        with open_image(path) as image:
            pages = image.n_frames if image.format in _ANIMATED_FORMATS else 1
            if pages - first_of_animation(image) < 2:
                text = "is a still image; give a video (mp4, mov, webm, gif, ...)"
                raise VideoError(path, Reason.STILL, text)
            yield image
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds of error on broken files
        text = "is an image, but a damaged one; download it again"
        raise VideoError(path, Reason.UNREADABLE, text) from error


def first_of_animation(image: Image.Image) -> int:
    """Number of the first frame: 1 where an APNG begins with an image only for viewers without animation."""
    return int(bool(image.info.get("default_image", False)))


def frame_durations(image: Image.Image) -> list[Fraction]:
    """Seconds of every frame of an animation; 10 ms and less become 100 ms, as in browsers."""
    durations = []
    for number in range(first_of_animation(image), image.n_frames):
        milliseconds = 0
        try:
            image.seek(number)
            if image.format in {"WEBP", "AVIF"}:
                image.load()  # only then do these two give the duration
            milliseconds = image.info.get("duration", 0)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            pass  # decoding the frames reports the fault, and where it is
        # In a PNG it is a fraction of 16-bit numbers, e.g. 1/30; whole milliseconds would drift.
        exact = Fraction(milliseconds / 1000).limit_denominator(65_535)
        durations.append(exact if milliseconds > 10 else Fraction(1, 10))
    return durations
