"""Where results go: a video, an animated image or a folder of frames, chosen by the name.

    with open_output("moving.webm", fps, size) as writer:   # or "frames/", for a folder
        writer.write(frame, seconds)

The endings of files are those of `formats.OUTPUT_FORMATS`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fomm_lib.errors import InputError, one_line
from fomm_lib.files import atomic_folder
from fomm_lib.media.encoding import VideoWriter, check_frame
from fomm_lib.media.folders import TIMES

VIEWING_SIZE = 256  # results of smaller models are enlarged to about this many pixels, for viewing


def open_output(
    path: str | os.PathLike,
    fps: Fraction | float,
    size: tuple[int, int],
    *,
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    **of_video: Any,
) -> VideoWriter | FrameFolder:
    """The writer that fits a name: a `FrameFolder` for a name without an ending or with a slash at its end,
    else a `VideoWriter`.

    Args and errors: as `VideoWriter`, whose other options a folder does not take.

    Example:
        >>> with open_output("moving.gif", 25, (64, 64)) as writer:
        ...     writer.write(np.zeros((64, 64, 3), np.uint8))
    """
    if not Path(path).suffix or str(path).endswith(("/", os.sep)):
        if Path(path).is_file():
            text = "is a file; a name without an ending asks for a folder of frames"
            raise InputError(one_line(path, text))
        return FrameFolder(path, fps, size, metadata=metadata, overwrite=overwrite)
    return VideoWriter(path, fps, size, metadata=metadata, overwrite=overwrite, **of_video)


class FrameFolder:
    """Write frames as 000000.png, 000001.png, ... into a new folder, whole or not at all.

    Its `times.csv` says when each is shown: columns `frame`, `seconds`. A folder holds no audio.

    Args:
        path: the folder to make; its parent folder must exist.
        fps: frames per second, for frames without a time of their own.
        size: (width, height) of the frames.
        metadata: texts for the header of every file.
        overwrite: whether a folder of frames may be replaced. One that holds anything else never is.

    Attributes:
        frames: number of frames written so far.
        end: as in `VideoWriter`; not stored here.

    Raises:
        InputError: the folder exists, its parent does not, a frame of another size, or no frame at all.

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
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(
            atomic_folder(self.path, self.overwrite, replaceable=rf"\d+\.png|{TIMES}")
        )
        self._times = ["frame,seconds\n"]
        return self

    def write(self, frame: np.ndarray, seconds: Fraction | float | None = None) -> None:
        """Append a frame, uint8 (H, W, 3), shown at `seconds`; one frame's length after the last if None."""
        check_frame(self.path, frame, self.size)
        seconds = self.frames / self.fps if seconds is None else seconds
        name = f"{self.frames:06}.png"
        # Level 1 of 9: 1.5 times as fast as the default, and hardly larger.
        Image.fromarray(frame).save(self._folder / name, pnginfo=self._texts, compress_level=1)
        self._times.append(f"{name},{float(seconds):.6f}\n")
        self.frames += 1

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, *error)
        with self._stack:
            if self.frames == 0:
                raise InputError(one_line(self.path, "no frame was written, so there is no folder"))
            (self._folder / TIMES).write_text("".join(self._times), encoding="utf-8")
        return None
