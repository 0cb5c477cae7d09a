"""What is drawn over images: the watermark, a result pasted back into its portrait, and keypoints."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from fomm_lib.errors import InputError
from fomm_lib.geometry import to_pixels
from fomm_lib.media.squares import SQUARE, Shape, Square, height_of
from fomm_lib.media.tensors import as_pixels

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
"""The palette of Okabe and Ito without its light yellow: distinct under every common colour blindness."""

WATERMARK = "AI-generated"


class Watermark:
    """Writes a text into the lower left corner of frames: light on a dark band, readable on any background.

    Args:
        size: (width, height) of the frames. Below a width of about 60 pixels the text cannot be read.
        text: what to write.

    Example:
        >>> int(Watermark((256, 256))(np.zeros((256, 256, 3), np.uint8)).max())
        242
    """

    def __init__(self, size: tuple[int, int], text: str = WATERMARK):
        width, height = size
        points = max(8, round(min(width, height) / 18))
        font = ImageFont.load_default(points)
        while font.getbbox(text)[2] - font.getbbox(text)[0] > 0.9 * width and points > 5:
            points -= 1
            font = ImageFont.load_default(points)
        left, top, right, bottom = font.getbbox(text)
        gap = max(1, points // 3)
        band = min(width, right - left + 2 * gap), min(height, bottom - top + 2 * gap)
        letters = Image.new("L", band)
        ImageDraw.Draw(letters).text((gap - left, gap - top), text, fill=255, font=font)
        self._letters = np.asarray(letters, np.float32)[..., None] / 255
        self._place = np.s_[height - band[1] :, : band[0]]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """A copy of the frame, uint8 (H, W, 3), with the text."""
        marked = frame.copy()
        dimmed = 0.35 * frame[self._place].astype(np.float32)
        marked[self._place] = np.round(dimmed + (255 - dimmed) * 0.95 * self._letters)
        return marked


class PasteBack:
    """Puts generated squares back into the image they were cut out of, without a visible seam.

    alpha x (generated + shift) + (1 - alpha) x original, where alpha falls from 1 to 0 within an eighth of
    the side along those edges of the square that are not edges of the image. The shift is the mean
    difference of colour in the zone where both are visible: without it, blending would show a square of
    another brightness.

    Args:
        image: uint8 (H, W, 3).
        square: (x, y, side) that was cut out of it.
        shape: of a rectangle instead of a square, see `squares`.

    Attributes:
        size: (height, width) of what is put back.

    Example:
        >>> paste = PasteBack(np.zeros((60, 80, 3), np.uint8), (10, 10, 40))
        >>> paste(np.full((40, 40, 3), 99, np.uint8)).shape
        (60, 80, 3)
    """

    def __init__(self, image: np.ndarray, square: Square, shape: Shape = SQUARE):
        x, y, wide = square
        self.size = tall, wide = height_of(square, shape), wide
        height, width = image.shape[:2]
        self._image = image
        self._place = np.s_[y : y + tall, x : x + wide]
        across = _fade(wide, fade_in=x > 0, fade_out=x + wide < width)
        down = _fade(tall, fade_in=y > 0, fade_out=y + tall < height)
        self._alpha = (down[:, None] * across)[..., None]
        original = image[self._place].astype(np.float32)
        self._background = original * (1 - self._alpha)
        # For the mean colour every fourth pixel is enough; the weights are largest where both are visible.
        self._sample = np.s_[::4, ::4]
        weights = (self._alpha * (1 - self._alpha))[self._sample]
        self._weights = weights / max(weights.sum(), 1e-6)
        self._colour = self._mean_colour(original)

    def _mean_colour(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels[self._sample] * self._weights).sum(axis=(0, 1))

    def __call__(self, generated: np.ndarray) -> np.ndarray:
        """The whole image, uint8 (H, W, 3), with `generated`, uint8 of `size`, in it."""
        blend = generated.astype(np.float32)
        blend += self._colour - self._mean_colour(blend)
        blend *= self._alpha
        blend += self._background
        np.clip(np.rint(blend, out=blend), 0, 255, out=blend)
        whole = self._image.copy()
        whole[self._place] = blend
        return whole


def _fade(side: int, fade_in: bool, fade_out: bool) -> np.ndarray:
    """(side,) of 1, falling to 0 at the ends that fade: 3 t^2 - 2 t^3 over an eighth of the side."""
    t = (np.arange(side, dtype=np.float32) + 0.5) / max(1, side / 8)
    rising = np.clip(t, 0, 1)
    rising = rising**2 * (3 - 2 * rising)
    fade = np.ones(side, np.float32)
    if fade_in:
        fade *= rising
    if fade_out:
        fade *= rising[::-1]
    return fade


def draw_keypoints(image: np.ndarray | Tensor, keypoints, radius: float | None = None) -> np.ndarray:
    """The image with its keypoints as coloured discs, numbered from 0.

    An image with a side below 192 pixels is enlarged first, by a whole factor, so that the numbers can be
    read.

    Args:
        image: tensor (3, H, W) in [0, 1], or uint8 (H, W, 3).
        keypoints: (K, 2) or (1, K, 2), (x, y) in [-1, 1]; or the result of a detector for one image.
        radius: of the discs, in pixels of the result; by default 1/24 of its shorter side.

    Returns:
        uint8 (H, W, 3), a new image, perhaps larger. Points outside the image are not visible.

    Raises:
        InputError: the keypoints are not those of one image, or not finite.

    Example:
        >>> draw_keypoints(torch.zeros(3, 256, 256), torch.tensor([[0.0, 0.0]])).shape
        (256, 256, 3)
    """
    points = torch.as_tensor(getattr(keypoints, "value", keypoints)).detach().float().cpu()
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"keypoints have shape {tuple(points.shape)}; give (K, 2), those of one image")
    if not bool(points.isfinite().all()):
        raise InputError("some keypoints are not finite; the detector that made them is broken")
    pixels = as_pixels(image)
    factor = -(-192 // min(pixels.shape[:2]))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = pixels.shape[:2]
    # The centre of the first small pixel is half a small pixel from the border.
    centres = (to_pixels(points, height // factor, width // factor) + 0.5) * factor
    radius = min(height, width) / 24 if radius is None else radius
    # Drawn four times as large and reduced, for smooth edges. Digits only where they can be read.
    scale = 4
    layer = Image.new("RGBA", (width * scale, height * scale))
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(size=max(1.6 * radius, 7) * scale)
    for k, (x, y) in enumerate((centres * scale).tolist()):
        r = radius * scale
        red, green, blue = ImageColor.getrgb(COLOURS[1:][k % 6])
        draw.ellipse(
            (x - r, y - r, x + r, y + r), fill=(red, green, blue, 255), outline="white", width=scale // 2
        )
        if radius >= 3:
            draw.text((x, y), str(k), fill="black", font=font, anchor="mm")
    layer = layer.resize((width, height), Image.Resampling.LANCZOS)
    below = Image.fromarray(pixels).convert("RGBA")
    return np.asarray(Image.alpha_composite(below, layer).convert("RGB"))
