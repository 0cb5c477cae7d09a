"""A sequence of frames on disk: a video, a folder of images, or a strip; and all of them under a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fomm_lib.errors import InputError, error_text
from fomm_lib.files import check_name
from fomm_lib.media.folders import files_in, image_names, is_image_name
from fomm_lib.media.formats import IMAGE_SUFFIXES, PORTRAIT_SUFFIXES, VIDEO_SUFFIXES
from fomm_lib.media.images import open_image
from fomm_lib.media.video import VideoReader, read_frames, read_image

log = logging.getLogger(__name__)


class Clip:
    """A sequence of frames on disk: `len(clip)`, `clip.read([3, 17])`, and `for frame in clip`.

    Frames are numpy uint8 (H, W, 3), RGB, in the size they are stored in. A file is opened when it is needed.

    Args:
        path: of the video, the image, or the folder of images.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.name = self.path.name

    @property
    def identity(self) -> str:
        """The person (or thing) shown: the name before the first `#`, as in `person#video#start#end.mp4`."""
        is_file = Path(self.name).suffix.lower() in VIDEO_SUFFIXES | PORTRAIT_SUFFIXES
        return (Path(self.name).stem if is_file else self.name).split("#")[0]

    @property
    def weight(self) -> int:
        """A number that changes when the clip does: bytes of a file, files of a folder."""
        return self.path.stat().st_size

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames with these numbers, in this order."""
        frames = list(self)
        return [frames[index] for index in indices]

    def reason(self, error: BaseException) -> str:
        """An error that reading raised, as one line without the path of the clip."""
        return error_text(error).removeprefix(f"{self.path}: ")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"


class VideoClip(Clip):
    """A video file. Reading two frames costs two seeks; the rest is not decoded."""

    _length: int | None = None

    def __len__(self) -> int:
        if self._length is None:
            self._length = len(VideoReader(self.path).times)  # counts packets, decodes none
        return self._length

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from VideoReader(self.path)

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        return list(read_frames(self.path, indices))


class FolderClip(Clip):
    """A folder of images, in the natural order of their names (2.png before 10.png)."""

    _files: list[str] | None = None

    @property
    def files(self) -> list[str]:
        """The names of the frames, in natural order."""
        if self._files is None:
            self._files = image_names(self.path)
        return self._files

    @property
    def weight(self) -> int:
        return len(self)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        for name in self.files:
            yield read_image(self.path / name)

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [read_image(self.path / self.files[index]) for index in indices]


class StripClip(Clip):
    """One image with all frames side by side, left to right.

    Args:
        path: the image.
        aspect: width / height of one frame; the strip's width must be a multiple of `height * aspect`.
    """

    def __init__(self, path: str | os.PathLike, aspect: float = 1.0):
        super().__init__(path)
        self.aspect = aspect

    def __len__(self) -> int:
        with open_image(self.path) as image:
            return image.width // self._frame_width(*image.size)

    def __iter__(self) -> Iterator[np.ndarray]:
        strip = read_image(self.path)
        width = self._frame_width(strip.shape[1], strip.shape[0])
        for left in range(0, strip.shape[1], width):
            yield strip[:, left : left + width]

    def _frame_width(self, width: int, height: int) -> int:
        one = max(1, round(height * self.aspect))
        if width % one:
            raise InputError(
                f"{self.path}: {width}x{height} pixels are not a strip of frames {one}x{height}; "
                "the width must be a multiple of a frame's width"
            )
        return one


class StillClip(Clip):
    """One image as a clip of one frame, of any shape."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[np.ndarray]:
        yield read_image(self.path)


def find_stills(folder: str | os.PathLike) -> list[StillClip]:
    """All images directly in a folder, sorted by name: portraits to animate.

    Raises:
        InputError: no such folder, or no image in it.

    Example:
        >>> [clip.name for clip in find_stills("data")]            # doctest: +SKIP
        ['portrait.jpg']
    """
    return [StillClip(path) for path in files_in(folder, PORTRAIT_SUFFIXES, "portraits")]


def find_clips(root: str | os.PathLike, split: str | None = "train", aspect: float = 1.0) -> list[Clip]:
    """All clips directly under `root` (or `root/split`), sorted by name.

    Args:
        root: a folder of videos (.mp4 .gif .mov .avi .mkv .webm), of folders of images (.png .jpg .jpeg),
            of strips (one image with all frames side by side), or a mixture. Other files are ignored.
        split: "train" or "test" reads that subfolder; if there is neither, all of `root`. None always reads
            `root` itself.
        aspect: width / height of one frame of a strip.

    Raises:
        InputError: no such folder, no such split, or no clip in it.

    Example:
        >>> [clip.name for clip in find_clips("data/heads", "test")]            # doctest: +SKIP
        ['anna#01.mp4', 'anna#02.mp4']
    """
    check_name(root)
    root = Path(root)
    if split not in ("train", "test", None):
        raise InputError(f"split={split!r}: choose 'train', 'test' or None (the whole folder)")
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; give the one that holds the clips, or their train/ and test/"
        )
    there = [name for name in ("train", "test") if (root / name).is_dir()]
    if split and there:
        if split not in there:
            raise InputError(f"{root}: has {there[0]}/ but no {split}/; add it, or give {root / there[0]}")
        root = root / split
    elif split:
        log.info("%s has neither train/ nor test/: all of it is read", root)

    clips: list[Clip] = []
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        suffix = Path(entry.name).suffix.lower()
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if any(is_image_name(inner.name) for inner in os.scandir(entry.path)):
                clips.append(FolderClip(entry.path))
        elif suffix in VIDEO_SUFFIXES:
            clips.append(VideoClip(entry.path))
        elif suffix in IMAGE_SUFFIXES:
            clips.append(StripClip(entry.path, aspect))
    if not clips:
        raise InputError(
            f"{root}: no clips in it; expected videos ({' '.join(sorted(VIDEO_SUFFIXES))}), "
            "folders of png or jpg, or strips (one image with the frames side by side)"
        )
    return clips
