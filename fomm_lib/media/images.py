"""Images with Pillow, still and animated, as uint8 RGB arrays."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from fomm_lib.errors import InputError, Reason, VideoError
from fomm_lib.media.signatures import heif_kind, is_camera_raw, is_only_still
from fomm_lib.releases import importing

with importing("pillow"):
    from PIL import Image, ImageCms, ImageOps, PngImagePlugin

# Pillow refuses a PNG with a longer profile or text, and its own limit, 1 MiB, is that of some printers'
# profiles. All texts of a file together stay within 64 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own limit for a decompression bomb: 256 MiB of RGB

# Pillow opens these by calling another program, or only identifies them.
_NOT_IMAGE_FORMATS = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}
# Formats whose pages are the frames of an animation, and not layers, sizes or a stereo pair.
_ANIMATED_FORMATS = {"GIF", "PNG", "WEBP", "AVIF"}
_ORIENTATION = 0x0112  # of EXIF
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _PLANAR = 254, 258, 262, 284  # tags of TIFF


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
def open_image(path: Path, largest: int = MAX_IMAGE_PIXELS) -> Iterator[Image.Image]:
    """Open with Pillow; the pixels are not decoded yet.

    Args:
        path: a file that exists.
        largest: the largest number of pixels to accept.
    Raises:
        PIL.UnidentifiedImageError: it is not an image.
        VideoError: it is too large to decode, or of a kind that is not read here, or without a package.
    """
    Image.init()
    _know_heif(path)
    if is_camera_raw(path):
        text = "is the raw file of a camera; develop it first, and give the JPEG or PNG"
        raise VideoError(path, Reason.UNREADABLE, text)
    formats = [name for name in Image.OPEN if name not in _NOT_IMAGE_FORMATS]
    with warnings.catch_warnings(), _BoundedFile(path) as file:
        warnings.simplefilter("ignore")  # about unusual metadata; the size is checked below
        try:
            image = Image.open(file, formats=formats)
            if image.format == "TIFF":
                _choose_page(image)
                _refuse_misread(path, image)
        except Image.DecompressionBombError as error:
            raise too_large(path, "an image", largest) from error
        except ValueError as error:
            _refuse_long_notes(path, error)
            raise
        with image:
            if image.width * image.height > largest:
                raise too_large(path, "an image", largest, image.size)
            try:
                yield image
            except ValueError as error:  # of what stands behind the pixels, too
                _refuse_long_notes(path, error)
                raise


def _refuse_long_notes(path: Path, error: ValueError) -> None:
    """Raise an error in our words, if Pillow's says that a colour profile or text of a PNG is too long."""
    said = ("MAX_TEXT_CHUNK", "text chunks", "Decompressed Data Too Large")  # the last before Pillow 11
    if any(words in str(error) for words in said):
        text = "a colour profile or text in it is longer than 16 MiB; save it again without that"
        raise VideoError(path, Reason.UNREADABLE, text) from error


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


class _BoundedFile(io.BufferedReader):
    """A file that is never asked for more than it holds: `read(n)` reserves n bytes before it reads.

    So a length of 2 GB in the header of a small file ends in the error of a file cut short, in every format
    whose reader is written in Python.
    """

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self._length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, self._length - self.tell()))
        return super().read(size)


def _know_heif(path: Path) -> None:
    """Let Pillow read HEIC if the file is one; an error names what is missing to read HEIC or AVIF."""
    kind = heif_kind(path)
    if kind == "AVIF" and "AVIF" not in Image.OPEN:
        text = "is an AVIF image; to read it, pip install --upgrade pillow (11.3 or newer), or save it as PNG"
        raise VideoError(path, Reason.UNREADABLE, text)
    if kind != "HEIC" or "HEIF" in Image.OPEN:
        return
    try:
        with importing("pillow-heif"):
            from pillow_heif import register_heif_opener
    except ModuleNotFoundError as error:
        text = "is a HEIC image; to read it, pip install pillow-heif (the extra 'heic'), or save it as JPEG"
        raise VideoError(path, Reason.UNREADABLE, text) from error
    register_heif_opener()


def _choose_page(image: Image.Image) -> None:
    """Go to the first page of a TIFF that is not marked as a smaller copy of another."""
    page = 0
    with contextlib.suppress(EOFError):  # all are
        while image.tag_v2.get(_SUBFILE_TYPE, 0) & 1:
            page += 1
            image.seek(page)
    if image.tag_v2.get(_SUBFILE_TYPE, 0) & 1:
        image.seek(0)


def _refuse_misread(path: Path, image: Image.Image) -> None:
    """Refuse the kinds of TIFF that Pillow takes for others: it gives a negative, noise, or a dark image."""
    tags = image.tag_v2
    bits, how = max(tags.get(_BITS, (1,))), None
    if tags.get(_PHOTOMETRIC) == 0 and image.mode.startswith(("I", "F")):
        how = " that is stored as a negative (MinIsWhite)"
    elif bits > 8 and tags.get(_PLANAR) == 2:
        how = " that is stored colour by colour (planar)"
    elif bits > 8 and bits % 16:
        how = ""  # Pillow reads 12 bits as if they were 16
    if how is not None:
        text = f"is a TIFF of {bits} bits{how}, which is not read here; save it as PNG"
        raise VideoError(path, Reason.UNREADABLE, text)


def upright_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode as uint8 (H, W, 3): upright, sRGB, transparency on white.

    Example:
        >>> upright_rgb(Image.new("LA", (4, 2), (0, 0)))[0, 0].tolist()
        [255, 255, 255]
    """
    key = _transparent_value(image)
    image.load()
    profile = image.info.get("icc_profile")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)  # a copy in any case, so only where it is needed
    colour, alpha = _colour_and_alpha(image, key)
    if profile:
        colour = _to_srgb(colour, profile)
    rgb = np.array(colour if colour.mode == "RGB" else colour.convert("RGB"))
    return rgb if alpha is None else _over_white(rgb, alpha)


def _transparent_value(image: Image.Image) -> object:
    """The transparent grey or colour of a PNG as Pillow's pixels have it, before the image is loaded.

    The file states it in its own bits, and Pillow passes that on: of 2 bits, 1 stands for 85.
    """
    key = image.info.get("transparency")
    tile = image.tile[0] if getattr(image, "tile", None) else None
    raw = tile[3] if tile is not None else None
    if image.mode == "1" and key == 1:
        return 255
    if isinstance(key, int) and raw in ("L;2", "L;4"):
        top = 3 if raw == "L;2" else 15
        return key * (255 // top) if key <= top else key
    if isinstance(key, tuple) and raw == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key


def _colour_and_alpha(image: Image.Image, key: object) -> tuple[Image.Image, np.ndarray | None]:
    """An image of any mode as one without alpha or palette, and its alpha, uint8 (H, W), if it has some.

    `key` is the transparent value, or the alpha of every colour of a palette, if there is one.
    """
    alpha = None
    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image)
        if isinstance(key, int):
            alpha = np.where(grey == key, 0, 255).astype(np.uint8)
        return Image.fromarray(_eight_bit(grey)), alpha
    if image.mode in {"LA", "La"}:
        image = image.convert("LA")
        return image.convert("L"), np.asarray(image.getchannel("A"))
    if image.mode in {"RGBA", "RGBa", "PA"} or (image.mode == "P" and key is not None):
        image = image.convert("RGBA")
        return image.convert("RGB"), np.asarray(image.getchannel("A"))
    if image.mode in {"P", "1"}:
        image = image.convert("RGB" if image.mode == "P" else "L")
    if isinstance(key, (int, tuple)) and image.mode in {"L", "RGB"}:
        is_key = np.asarray(image) == np.asarray(key, np.int64)
        alpha = np.where(is_key if image.mode == "L" else is_key.all(axis=2), 0, 255).astype(np.uint8)
    return image, alpha


def _eight_bit(grey: np.ndarray) -> np.ndarray:
    """Integers of 16 or 32 bits and floats (H, W) to 0..255.

    Those of 32 bits do not say which range they use. The value that 99 % of them do not exceed tells 1, 255
    and 65535 apart: a few may be brighter than white, infinite, or no number. Floats up to 16 are taken for a
    range of 1 with highlights, as 16 of 255 would be almost black; likewise integers up to twice 255.

    Raises:
        ValueError: no value is a number from 0 on.
    """
    values, top = grey.astype(np.float32), 65535.0
    if grey.dtype.itemsize > 2:
        some = values.ravel()[:: max(1, values.size // 1_000_000)]
        some = some[~np.isnan(some)]
        if not some.size or some.max() < 0:  # Pillow's are signed: from 2**31 on all are negative
            raise ValueError("none of its greys is a number from 0 on")
        some = some[np.isfinite(some)]
        high = np.percentile(some, 99) if some.size else 0
        top = 255.0 if high <= 2 * 255 else max(65535.0, high)
        if grey.dtype.kind == "f" and high <= 16:
            top = 1.0
    values = np.nan_to_num(values * (255 / top), nan=0, posinf=255, neginf=0)
    return np.round(values.clip(0, 255)).astype(np.uint8)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Composite uint8 (H, W, 4) on white: c a + 255 (1 - a) for alpha a in [0, 1], in integers, rounded.

    Example:
        >>> on_white(np.array([[[0, 0, 0, 51]]], np.uint8)).tolist()
        [[[204, 204, 204]]]
    """
    return _over_white(rgba[..., :3], rgba[..., 3])


def _over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`on_white` of a colour (H, W, 3) and its alpha (H, W): some rows at a time, since sums need 16 bits."""
    result = np.empty(colour.shape, np.uint8)
    for top in range(0, len(colour), 256):
        rows = slice(top, top + 256)
        a = alpha[rows, :, None].astype(np.uint16)
        result[rows] = (colour[rows] * a + 255 * (255 - a) + 127) // 255
    return result


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the embedded colour profile (Display P3 of a phone, Adobe RGB, CMYK of print) to sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "RGB":  # grey images have such profiles too
            image = image.convert("RGB")
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
        if is_only_still(path):
            raise _still(path)
        with open_image(path) as image:
            pages = image.n_frames if image.format in _ANIMATED_FORMATS else 1
            if pages - first_of_animation(image) < 2:
                raise _still(path)
            yield image
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds of error on broken files
        text = "is an image, but a damaged one; download it again"
        raise VideoError(path, Reason.UNREADABLE, text) from error


def _still(path: Path) -> VideoError:
    return VideoError(path, Reason.STILL, "is a still image; give a video (mp4, mov, webm, gif, ...)")


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
