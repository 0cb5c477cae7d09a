"""Pairs of frames to train on: from videos, frame folders or stacked strips to batches of tensors.

The model learns from nothing but two frames of one video: take one as the source, ask for the other, the
driving frame. This module finds the clips under a folder, draws two frames of one of them, changes both in
the same way (augmentation) and hands out batches:

    dataset = FramePairs("data/heads", size=64, augmentation={"flip_param": {"horizontal_flip": True}})
    loader = pair_loader(dataset, batch_size=8, workers=2)
    for epoch in range(100):
        loader.set_epoch(epoch)
        for batch in loader:
            batch["source"], batch["driving"]          # (8, 3, 64, 64) in [0, 1]

What is drawn depends on `(seed, epoch, index)` and on nothing else: not on the number of workers or
processes, not on what was drawn before. That makes a run repeatable, and lets it resume in the middle of an
epoch.

Source: A. Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019, section 4 and
supplement.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm.auto import tqdm

from fomm_lib.files import InputError, atomic_output
from fomm_lib.releases import importing
from fomm_lib.video import VideoReader, read_frames, read_picture

with importing("torchvision"):
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = {".mp4", ".gif", ".mov", ".avi", ".mkv", ".webm"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}

# --- Clips: three ways to keep a sequence of frames, one face -----------------------------------------------


class Clip:
    """A sequence of frames on disk: `len(clip)`, `clip.read([3, 17])`, and `for frame in clip`.

    Frames are numpy uint8 (H, W, 3), RGB, as large as they are stored. Nothing is opened before it is needed.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.name = self.path.name

    @property
    def identity(self) -> str:
        """The person (or thing) shown: the name before the first `#`, as in `person#video#start#end.mp4`."""
        is_file = Path(self.name).suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES
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
        """The frames of these numbers, in this order."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"


class VideoClip(Clip):
    """A video file. Two frames of it cost two seeks, not the decoding of all."""

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
    """A folder of pictures, in the natural order of their names (2.png before 10.png)."""

    _files: list[str] | None = None

    @property
    def files(self) -> list[str]:
        """The names of the frames, in natural order."""
        if self._files is None:
            names = (entry.name for entry in os.scandir(self.path) if _is_picture(entry.name))
            self._files = sorted(names, key=_natural)
        return self._files

    @property
    def weight(self) -> int:
        return len(self)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        for name in self.files:
            yield read_picture(self.path / name)

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [read_picture(self.path / self.files[index]) for index in indices]


class StripClip(Clip):
    """One picture that holds all frames side by side, left to right.

    Args:
        path: the picture.
        aspect: width / height of one frame; the strip's width must be a multiple of `height * aspect`.
    """

    def __init__(self, path: str | os.PathLike, aspect: float = 1.0):
        super().__init__(path)
        self.aspect = aspect

    def __len__(self) -> int:
        with Image.open(self.path) as picture:
            return picture.width // self._frame_width(*picture.size)

    def __iter__(self) -> Iterator[np.ndarray]:
        strip = read_picture(self.path)
        width = self._frame_width(strip.shape[1], strip.shape[0])
        for left in range(0, strip.shape[1], width):
            yield strip[:, left : left + width]

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        frames = list(self)
        return [frames[index] for index in indices]

    def _frame_width(self, width: int, height: int) -> int:
        one = max(1, round(height * self.aspect))
        if width % one:
            raise InputError(
                f"{self.path}: {width}x{height} pixels are not a strip of frames {one}x{height}; "
                "the width must be a multiple of a frame's width"
            )
        return one


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def find_clips(root: str | os.PathLike, split: str | None = "train", aspect: float = 1.0) -> list[Clip]:
    """All clips directly under `root` (or `root/split`), sorted by name.

    Args:
        root: a folder of videos (.mp4 .gif .mov .avi .mkv .webm), of folders of pictures (.png .jpg .jpeg),
            or of strips (one picture with all frames side by side), or of a mixture. Other files are passed
            over.
        split: "train" or "test" reads that subfolder. Where there is neither, the folder is taken whole. None
            always takes `root` as it is.
        aspect: width / height of one frame of a strip.

    Raises:
        InputError: no such folder, no such split, or nothing in it that could be a clip.

    Example:
        >>> [clip.name for clip in find_clips("data/heads", "test")]            # doctest: +SKIP
        ['anna#01.mp4', 'anna#02.mp4']
    """
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
        log.info("%s has neither train/ nor test/: all of it is taken", root)

    clips: list[Clip] = []
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        suffix = Path(entry.name).suffix.lower()
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if any(_is_picture(inner.name) for inner in os.scandir(entry.path)):
                clips.append(FolderClip(entry.path))
        elif suffix in VIDEO_SUFFIXES:
            clips.append(VideoClip(entry.path))
        elif suffix in PICTURE_SUFFIXES:
            clips.append(StripClip(entry.path, aspect))
    if not clips:
        raise InputError(
            f"{root}: no clips in it; expected videos ({' '.join(sorted(VIDEO_SUFFIXES))}), "
            "folders of png or jpg, or strips (one picture with the frames side by side)"
        )
    return clips


# --- Augmentation: the same change for both frames ----------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """What may be changed at random in a pair of frames; everything is off unless asked for.

    Applied in this order, with one set of random numbers for both frames:

    1. `time_flip`: with probability 1/2, source and driving frame change places.
    2. `horizontal_flip`: with probability 1/2, and only where 1. did not happen, both are mirrored.
    3. `rotation`: by an angle from (low, high) degrees, counter-clockwise; black corners.
    4. `resize`: by a factor from (low, high); then 5. to the old size, if `crop` does not say another.
    5. `crop`: a window (height, width) at random; a smaller picture is continued with its border pixels.
    6. `brightness`, `contrast`, `saturation`: factors from 1 +- value; `hue`: a turn of +- value, where 0.5
       is half the colour circle; these four in random order.

    Example:
        >>> Augmentation.from_params({"flip_param": {"time_flip": True}, "jitter_param": {"hue": 0.1}}).hue
        0.1
    """

    time_flip: bool = False
    horizontal_flip: bool = False
    rotation: tuple[float, float] | None = None
    resize: tuple[float, float] | None = None
    crop: tuple[int, int] | None = None
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        for name in ("time_flip", "horizontal_flip"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"augmentation: {name}={getattr(self, name)!r}; must be true or false")
        for name in _COLOUR_CHANGES:
            value, highest = getattr(self, name), 0.5 if name == "hue" else math.inf
            if not _is_number(value) or not 0 <= value <= highest:
                limit = "at least 0" if highest == math.inf else f"from 0 to {highest}"
                raise InputError(f"augmentation: {name}={value!r}; must be a number {limit}")
        # Frozen, so that nothing changes under the workers; only here may short forms become pairs.
        degrees = (-self.rotation, self.rotation) if _is_number(self.rotation) else self.rotation
        object.__setattr__(self, "rotation", _range("rotation (degrees)", degrees))
        object.__setattr__(self, "resize", _range("resize (ratio)", self.resize))
        object.__setattr__(self, "crop", None if self.crop is None else _size("crop (size)", self.crop))
        if self.resize and self.resize[0] <= 0:
            raise InputError(f"augmentation: resize (ratio)={self.resize!r}; must be above 0")

    @classmethod
    def from_params(cls, params) -> Augmentation:
        """From the published YAML group `augmentation_params`.

        Args:
            params: None (change nothing), an `Augmentation`, or a dictionary (or a pydantic model of one)
                with any of `flip_param` {time_flip, horizontal_flip}, `rotation_param` {degrees},
                `resize_param` {ratio}, `crop_param` {size}, `jitter_param` {brightness, contrast, saturation,
                hue}.

        Raises:
            InputError: an unknown key, or a value out of its range; the message names both.
        """
        if isinstance(params, cls):
            return params
        if hasattr(params, "model_dump"):
            params = params.model_dump()
        chosen = {}
        for group, values in (params or {}).items():
            if group not in _PUBLISHED_NAMES:
                raise InputError(
                    f"augmentation: unknown key {group!r}; known are {', '.join(_PUBLISHED_NAMES)}"
                )
            names = _PUBLISHED_NAMES[group]
            for key, value in (values or {}).items():
                if key not in names:
                    raise InputError(f"augmentation: unknown key {group}.{key}; known are {', '.join(names)}")
                if value is not None:
                    chosen[names[key]] = value
        return cls(**chosen)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) != field.default for field in fields(self))

    def __call__(self, frames: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, bool]:
        """Change a pair of frames.

        Args:
            frames: (2, 3, H, W) in [0, 1], source first.
            rng: where the random numbers come from.

        Returns:
            The changed frames, (2, 3, H', W') in [0, 1], and whether they have changed places.
        """
        swapped = self.time_flip and rng.random() < 0.5
        if swapped:
            frames = frames.flip(0)
        elif self.horizontal_flip and rng.random() < 0.5:
            frames = F.horizontal_flip(frames)
        if self.rotation:
            frames = F.rotate(frames, rng.uniform(*self.rotation), interpolation=InterpolationMode.BILINEAR)
        if self.resize or self.crop:
            frames = self._resize_and_crop(frames, rng)
        return self._jitter(frames, rng), bool(swapped)

    def _resize_and_crop(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        height, width = self.crop or frames.shape[-2:]
        if self.resize:
            ratio = rng.uniform(*self.resize)
            frames = resize(frames, tuple(max(1, int(side * ratio)) for side in frames.shape[-2:]))
        missing_y, missing_x = max(0, height - frames.shape[-2]), max(0, width - frames.shape[-1])
        left, top = missing_x // 2, missing_y // 2
        frames = F.pad(frames, [left, top, missing_x - left, missing_y - top], padding_mode="edge")
        y = int(rng.integers(frames.shape[-2] - height + 1))
        x = int(rng.integers(frames.shape[-1] - width + 1))
        return F.crop(frames, y, x, height, width)

    def _jitter(self, frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        changes = []
        for name, change in _COLOUR_CHANGES.items():
            value = getattr(self, name)
            if value > 0:
                low, high = (-value, value) if name == "hue" else (max(0.0, 1 - value), 1 + value)
                changes.append((change, rng.uniform(low, high)))
        for i in rng.permutation(len(changes)):
            change, amount = changes[i]
            frames = change(frames, amount)
        return frames


def turn_hue(pictures: torch.Tensor, turn: float) -> torch.Tensor:
    """Turn all colours (..., 3, H, W) in [0, 1] on the colour circle; `turn` = 1 is once around.

    Hue is a place on a circle of six sectors. With M and m the largest and the smallest of (r, g, b), and h
    in [0, 6) the place after the turn, r = m + (M - m) clamp(|h - 3| - 1, 0, 1); g has 2 - |h - 2| in its
    clamp, and b has 2 - |h - 4|. The numbers are those of torchvision's `adjust_hue`, in a third of its time:
    there it takes longer than reading two PNG files.
    """
    red, green, blue = pictures.unbind(-3)
    high, low = pictures.amax(-3), pictures.amin(-3)
    chroma = high - low
    unit = chroma.clamp(min=1e-12)
    after_blue = torch.where(high == green, (blue - red) / unit + 2, (red - green) / unit + 4)
    hue = (torch.where(high == red, (green - blue) / unit, after_blue) + 6 * turn) % 6
    shares = torch.stack([(hue - 3).abs() - 1, 2 - (hue - 2).abs(), 2 - (hue - 4).abs()], dim=-3).clamp_(0, 1)
    return low.unsqueeze(-3) + chroma.unsqueeze(-3) * shares


_COLOUR_CHANGES = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": turn_hue,
}

_PUBLISHED_NAMES = {
    "flip_param": {"time_flip": "time_flip", "horizontal_flip": "horizontal_flip"},
    "rotation_param": {"degrees": "rotation"},
    "resize_param": {"ratio": "resize"},
    "crop_param": {"size": "crop"},
    "jitter_param": {name: name for name in _COLOUR_CHANGES},
}


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _range(name: str, value) -> tuple[float, float] | None:
    if value is None:
        return None
    is_pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))
    if not is_pair or value[0] > value[1]:
        raise InputError(f"augmentation: {name}={value!r}; must be a pair (low, high)")
    return (float(value[0]), float(value[1]))


def _size(name: str, value) -> tuple[int, int]:
    """(H, W) from one number or a pair."""
    pair = (value, value) if isinstance(value, int) else value
    is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
    if not is_pair or not all(type(side) is int and side > 0 for side in pair):
        raise InputError(
            f"{name}={value!r}; must be a whole number above 0, or a pair (height, width) of them"
        )
    return (pair[0], pair[1])


# --- The data set -------------------------------------------------------------------------------------------


class FramePairs(Dataset):
    """Pairs of frames of one clip, drawn at random; a torch map-style data set.

    Args:
        root, split: see `find_clips`.
        size: (height, width), or one number for both. Frames of another size are resized to it (bilinear,
            antialiased), not cropped.
        id_sampling: one item per identity (the name before the first `#`) instead of one per clip; the clip
            is drawn at random among those of the identity, so that people with many clips do not dominate.
        augmentation: None, an `Augmentation`, or the published `augmentation_params`.
        repeats: how often an item counts in one epoch, with other frames each time (published: num_repeats).
        seed: the first of the three numbers (seed, epoch, index) that decide what is drawn.
        cache: a folder that keeps all frames decoded and resized (3 H W bytes each). It is written the first
            time and memory-mapped from then on: see `pack_clips`. At 256 x 256 a pair then costs a processor
            1.6 ms; from JPEG frames 3, from PNG 7, from mp4 with a key frame every 12 frames 12, with one
            every 250 frames 20, and 148 if whole clips were decoded (benchmarks/datasets.py). None reads the
            clips as they are, and writes nothing.

    An item is a dictionary:
        source, driving: (3, H, W) float32 in [0, 1]
        name: the file name of the clip
        frames: (2,) int64, the frame numbers of source and driving. The source does not come after the
            driving frame, except where `time_flip` exchanged them. Both may be the same frame, as published.

    A clip that cannot be read (it vanished, is broken, has a single frame) is logged, and another is drawn in
    its place, again decided by (seed, epoch, index) alone.

    Raises:
        InputError: nothing to read under `root`, a bad setting, or a cache made from something else. While
            reading: a hundred clips (or all, if there are fewer) could not be read one after the other.

    Example:
        >>> pairs = FramePairs("data/heads", size=64, repeats=10)              # doctest: +SKIP
        >>> pairs[0]["source"].shape                                           # doctest: +SKIP
        torch.Size([3, 64, 64])
    """

    ATTEMPTS = 100

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = "train",
        size: int | tuple[int, int] = 256,
        id_sampling: bool = False,
        augmentation=None,
        repeats: int = 1,
        seed: int = 0,
        cache: str | os.PathLike | None = None,
    ):
        for name, value, lowest in (("repeats", repeats, 1), ("seed", seed, 0)):
            _check_whole(name, value, lowest)
        self.size = _size("size", size)
        self.augmentation = Augmentation.from_params(augmentation)
        self.repeats = repeats
        self.seed = seed
        self.epoch = 0
        self.root = Path(root)
        self.clips = find_clips(root, split, aspect=self.size[1] / self.size[0])
        if cache is not None:
            self.clips = pack_clips(self.clips, self.size, cache)
        self.items = _by_identity(self.clips) if id_sampling else [[clip] for clip in self.clips]
        self._reported: set[Path] = set()

    def __len__(self) -> int:
        return len(self.items) * self.repeats

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that `dataset[index]` draws from. (A `pair_loader` has its own `set_epoch`.)"""
        self.epoch = epoch

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        """An item by `index`, or by `(epoch, index)`: the form in which a `pair_loader` asks its workers."""
        epoch, index = index if isinstance(index, tuple) else (self.epoch, index)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} pairs")
        # Two streams of random numbers: which frames are drawn does not change with the augmentation.
        drawing, changing = map(
            np.random.default_rng, np.random.SeedSequence((self.seed, epoch, index)).spawn(2)
        )
        clip, numbers, frames = self._draw(self.items[index % len(self.items)], drawing)
        frames, swapped = self.augmentation(frames, changing)
        source, driving = resize(frames, self.size).contiguous()
        if swapped:
            numbers = numbers[::-1]
        return {"source": source, "driving": driving, "name": clip.name, "frames": torch.tensor(numbers)}

    def _draw(self, clips: list[Clip], rng: np.random.Generator) -> tuple[Clip, list[int], torch.Tensor]:
        """One of these clips, two of its frame numbers, and the frames (2, 3, H, W)."""
        for clip in self._candidates(clips, rng):
            try:
                if len(clip) < 2:
                    raise InputError("a single frame, and a pair needs two")
                numbers = sorted(rng.integers(len(clip), size=2).tolist())
                frames = torch.stack([to_tensor(frame, self.size) for frame in clip.read(numbers)])
                return clip, numbers, frames
            except Exception as error:  # decoders raise some ten unrelated types for a bad file
                failure = error
                if clip.path not in self._reported:
                    self._reported.add(clip.path)
                    log.warning("%s: skipped, another clip is drawn (%s)", clip.path, _reason(error, clip))
        raise InputError(
            f"{self.root}: {min(self.ATTEMPTS, len(self.clips))} clips in a row could not be read; "
            f"the last was {clip.name} ({_reason(failure, clip)}); find the bad files with `fomm clean`"
        ) from failure

    def _candidates(self, clips: list[Clip], rng: np.random.Generator) -> Iterator[Clip]:
        """The clip to read, and others in case it fails."""
        first = clips[rng.integers(len(clips))]
        yield first
        others = (self.clips[i] for i in rng.permutation(len(self.clips)))
        yield from islice((clip for clip in others if clip is not first), self.ATTEMPTS - 1)


def _check_whole(name: str, value, lowest: int) -> None:
    if not isinstance(value, int) or value < lowest:
        raise InputError(f"{name}={value!r}; must be a whole number, at least {lowest}")


def _by_identity(clips: list[Clip]) -> list[list[Clip]]:
    people: dict[str, list[Clip]] = {}
    for clip in clips:
        people.setdefault(clip.identity, []).append(clip)
    return list(people.values())


def _reason(error: BaseException, clip: Clip) -> str:
    """An error as one line, without the path, which is said already."""
    words = str(error).removeprefix(f"{clip.path}: ") or type(error).__name__
    return " ".join(words.split())


def to_tensor(frame: np.ndarray, size: tuple[int, int] | None = None) -> torch.Tensor:
    """uint8 (h, w, 3) -> float32 (3, H, W) in [0, 1], resized to `size` = (H, W) if given."""
    picture = torch.from_numpy(np.array(frame)).permute(2, 0, 1)
    return (resize(picture, size) if size else picture).to(torch.float32).div_(255)


def resize(pictures: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pictures (..., 3, h, w), uint8 or float, at `size` = (H, W): bilinear, antialiased."""
    if tuple(pictures.shape[-2:]) == tuple(size):
        return pictures
    return F.resize(pictures, list(size), antialias=True)


# --- The packed cache ---------------------------------------------------------------------------------------


class PackedClip(Clip):
    """A clip in a packed cache: `count` frames of `size`, beginning with frame number `first` of the file."""

    def __init__(self, path: Path, frames_file: Path, first: int, count: int, size: tuple[int, int]):
        super().__init__(path)
        self.frames_file, self.first, self.count, self.size = frames_file, first, count, size

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self._map()

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        frames = self._map()
        return [frames[index] for index in indices]

    def _map(self) -> np.ndarray:
        # Opened anew each time: a map kept open would be copied, whole, into every worker that is spawned.
        height, width = self.size
        begin, shape = self.first * height * width * 3, (self.count, height, width, 3)
        return np.memmap(self.frames_file, np.uint8, mode="r", offset=begin, shape=shape)


def pack_clips(clips: list[Clip], size: tuple[int, int], folder: str | os.PathLike) -> list[Clip]:
    """Decode all clips once into one file of raw frames, and return clips that read from it.

    `folder` gets `frames.u8` (all frames, uint8 (H, W, 3), one after the other) and `index.json` (which clip
    begins where). If both are there already, made from the same clips at the same size, they are used as they
    are. Clips that cannot be read are logged and left out. Of several processes, let one make it before the
    others open it.

    Raises:
        InputError: `folder` holds the cache of other clips or of another size, or no clip can be read.
    """
    folder = Path(folder)
    frames_file, index_file = folder / "frames.u8", folder / "index.json"
    made_from = {"size": list(size), "clips": {clip.name: clip.weight for clip in clips}}
    if index_file.exists():
        index = _read_index(index_file)
        if index["made_from"] != made_from or not _has_size(frames_file, index["bytes"]):
            raise InputError(
                f"{folder}: the cache of other clips, or of another size; delete it or name another folder"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        packed = _write_frames(clips, size, frames_file)
        index = {"made_from": made_from, "packed": packed, "bytes": frames_file.stat().st_size}
        with atomic_output(index_file) as temporary:
            temporary.write_text(json.dumps(index))
    paths = {clip.name: clip.path for clip in clips}
    packed = index["packed"].items()
    return [PackedClip(paths[name], frames_file, first, count, size) for name, (first, count) in packed]


def _write_frames(clips: list[Clip], size: tuple[int, int], path: Path) -> dict[str, tuple[int, int]]:
    packed: dict[str, tuple[int, int]] = {}
    total = 0
    # A file that is there without an index was left by an interrupted run: it may be replaced.
    with atomic_output(path, overwrite=True) as temporary:
        with open(temporary, "wb") as file:
            for clip in tqdm(clips, desc="packing clips", unit="clip", disable=None):
                begin, count = file.tell(), 0
                try:
                    for frame in clip:
                        pixels = resize(torch.from_numpy(np.array(frame)).permute(2, 0, 1), size)
                        file.write(pixels.permute(1, 2, 0).contiguous().numpy().data)
                        count += 1
                    if count == 0:
                        raise InputError("no frame in it")
                except Exception as error:  # as in FramePairs, a bad file may raise anything
                    log.warning("%s: left out of the cache (%s)", clip.path, _reason(error, clip))
                    file.seek(begin)
                    file.truncate()
                else:
                    packed[clip.name] = (total, count)
                    total += count
        if not packed:
            raise InputError(
                f"{clips[0].path.parent}: none of its {len(clips)} clips can be read; try `fomm clean`"
            )
    return packed


def _read_index(path: Path) -> dict:
    try:
        index = json.loads(path.read_text())
        return {key: index[key] for key in ("made_from", "packed", "bytes")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not the index of a cache of frames; name another folder") from error


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


# --- Batches ------------------------------------------------------------------------------------------------


class PairBatches(Sampler):
    """Which items make up which batch: a shuffled order that depends on (seed, epoch) alone.

    Yields lists of `(epoch, index)`, so that workers that live through many epochs know which one they draw
    for. With `world_size` processes the same order is dealt out: batch b of process r is the r-th part of the
    global batch b of `world_size * batch_size` items. Every process gets the same number of batches.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        together = batch_size * world_size
        self.batches_per_epoch = length // together if drop_last else math.ceil(length / together)
        self.epoch = self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch, and the batch to begin with."""
        self.epoch, self.start_batch = epoch, start_batch

    def __len__(self) -> int:
        return max(0, self.batches_per_epoch - self.start_batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, together = self.epoch, self.batch_size * self.world_size
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        for batch in range(self.start_batch, self.batches_per_epoch):
            indices = order[batch * together : (batch + 1) * together]
            # A last batch that does not divide is filled up from the front: no process waits for another.
            indices = np.concatenate([indices, order[: -len(indices) % self.world_size]])
            mine = np.split(indices, self.world_size)[self.rank]
            yield [(epoch, int(index)) for index in mine]


class PairLoader(DataLoader):
    """A DataLoader that knows its epoch; made by `pair_loader`."""

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Draw for this epoch from now on, from batch `start_batch` (to resume in the middle of it)."""
        self.batch_sampler.set_epoch(epoch, start_batch)

    def __iter__(self):
        try:
            yield from super().__iter__()
        except InputError as error:
            # A worker puts its whole traceback into the message; the last line is what it had to say.
            last = str(error).strip().splitlines()[-1]
            raise InputError(last.removeprefix(f"{InputError.__module__}.InputError: ")) from error


def _worker_context() -> multiprocessing.context.BaseContext | None:
    """How worker processes start: from a server process that has no threads, where there is one.

    PyTorch and the decoders have started threads in this process, and what those hold at the moment of a fork
    stays locked in the child. Python 3.12 warns of it, and since 3.14 this is the default on Linux.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return None  # Windows, which starts a Python for each
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # once, not in every worker
    return context


def pair_loader(
    dataset: FramePairs,
    batch_size: int,
    workers: int = 0,
    shuffle: bool = True,
    drop_last: bool = True,
    rank: int = 0,
    world_size: int = 1,
) -> PairLoader:
    """Batches of pairs.

    Args:
        dataset: where they come from.
        batch_size: pairs in a batch, of each process.
        workers: processes that read ahead; 0 reads in this one. A script that asks for some must start under
            `if __name__ == "__main__":`, since each worker imports it.
        shuffle: mix the items anew in every epoch.
        drop_last: leave out the last batch of an epoch if it is not full.
        rank, world_size: which of how many training processes this is; together they share global batches of
            `world_size * batch_size`. A loader made so must not be sharded again by `accelerator.prepare`.

    Returns:
        A loader of dictionaries: source, driving (B, 3, H, W) in [0, 1]; name, a list of B; frames (B, 2).
        Call `loader.set_epoch(epoch, start_batch=0)` before every epoch; without it, every epoch repeats the
        first.

    Raises:
        InputError: the data set is smaller than a batch, or an argument makes no sense.

    Example:
        >>> loader = pair_loader(FramePairs("data/heads", size=64), batch_size=8)       # doctest: +SKIP
        >>> loader.set_epoch(3, start_batch=120)                                        # doctest: +SKIP
    """
    for name, value, lowest in (
        ("batch_size", batch_size, 1),
        ("workers", workers, 0),
        ("world_size", world_size, 1),
    ):
        _check_whole(name, value, lowest)
    if not 0 <= rank < world_size:
        raise InputError(f"rank={rank!r}; must be from 0 to {world_size - 1}, as world_size is {world_size}")
    needed = batch_size * world_size if drop_last else world_size
    if len(dataset) < needed:
        raise InputError(
            f"{dataset.root}: {len(dataset)} pairs an epoch are fewer than a batch of {needed}; "
            "lower batch_size (--batch-size), raise repeats (num_repeats), or add clips"
        )
    return PairLoader(
        dataset,
        batch_sampler=PairBatches(
            len(dataset), batch_size, dataset.seed, shuffle, drop_last, rank, world_size
        ),
        num_workers=workers,
        multiprocessing_context=_worker_context() if workers else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
