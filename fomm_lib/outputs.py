"""Where results go: a video, an animated picture or a folder of frames, by its name; and a visible mark.

with open_output("moving.webm", fps, size) as writer:   # or .mp4, .gif, .apng, or "frames/"
    writer.write(frame, seconds)
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from fomm_lib.encoding import VideoWriter
from fomm_lib.files import InputError
from fomm_lib.pictures import one_line

TIMES = "times.csv"  # in a folder of frames
MARK = "AI-generated"
VIEWING_SIZE = 256  # results of smaller models are enlarged to about this many pixels, to be looked at
FRAME = re.compile(r"\d+\.png")


def open_output(
    path: str | os.PathLike,
    fps: Fraction | float,
    size: tuple[int, int],
    *,
    audio_from: str | os.PathLike | None = None,
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    time_base: Fraction | None = None,
) -> VideoWriter | FrameFolder:
    """The writer that fits a name: a `FrameFolder` for one without an ending or with a slash at its end,
    else a `VideoWriter`.

    Args and errors: as `VideoWriter`.

    Example:
        >>> with open_output("moving.gif", 25, (64, 64)) as writer:
        ...     writer.write(np.zeros((64, 64, 3), np.uint8))
    """
    if not Path(path).suffix or str(path).endswith(("/", os.sep)):
        return FrameFolder(path, fps, size, metadata=metadata, overwrite=overwrite)
    return VideoWriter(
        path,
        fps,
        size,
        audio_from=audio_from,
        metadata=metadata,
        overwrite=overwrite,
        time_base=time_base,
    )


class FrameFolder:
    """Write frames as 000000.png, 000001.png, ... into a new folder, whole or not at all.

    `times.csv` in it says when each is shown: columns `frame`, `seconds`. There is no sound in a folder.

    Args:
        path: the folder to make; the one above it must exist.
        fps: frames a second, for frames without a time of their own.
        size: (width, height) of the frames.
        metadata: texts for the header of every file.
        overwrite: whether a folder of frames may be replaced. One that holds anything else never is.

    Attributes:
        frames: how many were written so far.
        end: as in `VideoWriter`; here it goes nowhere.

    Raises:
        InputError: the folder exists, the one above it does not, a frame of another size, or no frame at all.

    Example:
        >>> with FrameFolder("frames", 25, (64, 64)) as writer:
        ...     writer.write(np.zeros((64, 64, 3), np.uint8))
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        size: tuple[int, int],
        *,
        metadata: dict[str, str] | None = None,
        overwrite: bool = False,
    ):
        self.path, self.fps, self.size = Path(path), Fraction(fps), (int(size[0]), int(size[1]))
        self.overwrite = overwrite
        self.frames = 0
        self.end: Fraction | None = None
        self._texts = PngInfo()
        for key, text in (metadata or {}).items():
            self._texts.add_itxt(key.title(), text)

    def __enter__(self) -> FrameFolder:
        self._check_place()
        try:
            name = tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".partial", dir=self.path.parent)
        except OSError as error:
            raise InputError(one_line(self.path, f"cannot write there ({error.strerror})")) from error
        self._temporary = Path(name)
        self._times = ["frame,seconds\n"]
        return self

    def _check_place(self) -> None:
        if not self.path.parent.is_dir():
            raise InputError(
                one_line(self.path, f"the folder {self.path.parent} does not exist; make it first")
            )
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                one_line(self.path, "is a file; a name without an ending asks for a folder of frames")
            )
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return
        if not self.overwrite:
            text = "exists already; choose another name, or ask for it to be overwritten"
            raise InputError(one_line(self.path, text))
        names = [entry.name for entry in self.path.iterdir()]
        if not all(name == TIMES or FRAME.fullmatch(name) for name in names):
            raise InputError(
                one_line(self.path, "holds more than frames, and is left as it is; choose another name")
            )

    def write(self, frame: np.ndarray, seconds: Fraction | float | None = None) -> None:
        """Append a frame, uint8 (H, W, 3), shown at `seconds`; after the last one if None."""
        width, height = self.size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            text = f"a frame is {frame.dtype} {frame.shape}, announced was uint8 ({height}, {width}, 3)"
            raise InputError(one_line(self.path, text))
        seconds = self.frames / self.fps if seconds is None else seconds
        name = f"{self.frames:06}.png"
        # Level 1 of 9: half as fast again as the default, and hardly larger.
        Image.fromarray(frame).save(self._temporary / name, pnginfo=self._texts, compress_level=1)
        self._times.append(f"{name},{float(seconds):.6f}\n")
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if self.frames == 0:
                    raise InputError(one_line(self.path, "no frame was written, so there is no folder"))
                (self._temporary / TIMES).write_text("".join(self._times), encoding="utf-8")
                umask = os.umask(0)
                os.umask(umask)
                self._temporary.chmod(0o777 & ~umask)  # mkdtemp makes private folders
                self._put_in_place()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _put_in_place(self) -> None:
        self._check_place()  # once more: something may have come there in the meantime
        if self.path.is_dir():
            former = Path(
                tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".former", dir=self.path.parent)
            )
            self.path.rename(former / self.path.name)
            self._temporary.rename(self.path)
            shutil.rmtree(former, ignore_errors=True)
        else:
            self._temporary.rename(self.path)


class VisibleMark:
    """Writes a text into the lower left corner of frames, light on a dark band, to be read on any ground.

    Args:
        size: (width, height) of the frames. On ones narrower than some 60 pixels it cannot be read.
        text: what to write.

    Example:
        >>> marked = VisibleMark((256, 256))(frame)
    """

    def __init__(self, size: tuple[int, int], text: str = MARK):
        width, height = size
        points = max(8, round(min(width, height) / 18))
        font = ImageFont.load_default(points)
        left, top, right, bottom = font.getbbox(text)
        while right - left > 0.9 * width and points > 5:
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
        """The frame, uint8 (H, W, 3), with the mark in it; the one given stays as it was."""
        marked = frame.copy()
        dimmed = 0.35 * frame[self._place].astype(np.float32)
        marked[self._place] = np.round(dimmed + (255 - dimmed) * 0.95 * self._letters)
        return marked


class PasteBack:
    """Puts generated squares back into the picture they were cut out of, without a visible seam.

    Near the square's border the generated picture fades into the original, over an eighth of the side; along
    the border of the picture there is nothing to fade into. Fading alone would show a square of another
    brightness, so the mean difference of colour in that zone is taken off the square first.

    Args:
        picture: uint8 (H, W, 3).
        square: (x, y, side) that was cut out of it.

    Example:
        >>> whole = PasteBack(portrait, (120, 40, 600))(generated)
    """

    def __init__(self, picture: np.ndarray, square: tuple[int, int, int]):
        x, y, self.side = square
        height, width = picture.shape[:2]
        self._picture = picture
        self._place = np.s_[y : y + self.side, x : x + self.side]
        across = _ramp(self.side, fade_in=x > 0, fade_out=x + self.side < width)
        down = _ramp(self.side, fade_in=y > 0, fade_out=y + self.side < height)
        self._share = (down[:, None] * across)[..., None]
        original = picture[self._place].astype(np.float32)
        self._around = original * (1 - self._share)
        # The mean over the zone where both are seen needs no more than every fourth pixel.
        self._few = np.s_[::4, ::4]
        zone = (self._share * (1 - self._share))[self._few]
        self._zone = zone / max(zone.sum(), 1e-6)
        self._mean = (original[self._few] * self._zone).sum(axis=(0, 1))

    def __call__(self, generated: np.ndarray) -> np.ndarray:
        """The whole picture, uint8 (H, W, 3), with `generated`, uint8 (side, side, 3), in it."""
        inner = generated.astype(np.float32)
        inner += self._mean - (inner[self._few] * self._zone).sum(axis=(0, 1))
        inner *= self._share
        inner += self._around
        np.clip(np.rint(inner, out=inner), 0, 255, out=inner)
        whole = self._picture.copy()
        whole[self._place] = inner
        return whole


def _ramp(side: int, fade_in: bool, fade_out: bool) -> np.ndarray:
    """(side,): 1 inside, falling to 0 at the ends that fade, as 3 t^2 - 2 t^3 does."""
    t = (np.arange(side, dtype=np.float32) + 0.5) / max(1, side / 8)
    rising = np.clip(t, 0, 1)
    rising = rising**2 * (3 - 2 * rising)
    share = np.ones(side, np.float32)
    if fade_in:
        share *= rising
    if fade_out:
        share *= rising[::-1]
    return share
