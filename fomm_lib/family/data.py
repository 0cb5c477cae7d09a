"""Data for the five systems: from the course's own heads, from folders of images, or from clips.

    data = open_data("pix2pix", None, size=64)            # data/family: 800 rendered heads with part labels
    labels, images = data.draw(4, torch.Generator())      # (4, 3, 64, 64) each, in [0, 1]

| system | `draw` gives | a folder of one's own holds |
|---|---|---|
| pix2pix | labels, images | `images/` and `labels/` with equal names; clips of `fomm synthesize --labels` |
| cyclegan | images A, images B, not pairs | `A/` and `B/`, or `trainA/` and `trainB/`; or as pix2pix |
| progressive, srgan | images | images, `images/`, or clips |
| monkeynet | source and driving frames | clips, see `data.datasets.FramePairs` |

A folder may hold `train/` and `test/`, each as above. Images are cut to the square in the middle, resized,
and kept in memory: 3 size^2 bytes each. Half of what is drawn is mirrored, a pair as a whole. What is drawn
depends on the given generator alone.

Labels are images in colours (see `synthetic.labels`), three channels, as those of Cityscapes in both papers.
The colours code classes and say nothing about how a head looks, which the generator must invent.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fomm_lib.data.clips import Clip, find_clips
from fomm_lib.data.datasets import FramePairs, stack_pairs
from fomm_lib.errors import InputError, one_line
from fomm_lib.files import check_name, data_path
from fomm_lib.media.folders import files_in
from fomm_lib.media.formats import PORTRAIT_SUFFIXES
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import resize
from fomm_lib.media.video import read_image
from fomm_lib.synthetic.labels import colour_labels, labels_folder

TRAINING_HEADS = 800  # of the 900 in data/family, the first
SHEET_TILE = 64
FRAMES_PER_CLIP = 8  # of a clip, evenly spaced: the frames between them are much alike


class FamilyData(Protocol):
    """What a training draws from."""

    def __len__(self) -> int: ...

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Random images, in [0, 1]."""

    def examples(self, count: int) -> tuple[Tensor, ...]:
        """Fixed ones, evenly spaced, for samples."""


class ImageSets:
    """One set of images, or two whose images belong together (`paired`) or do not.

    Args:
        sets: uint8 (N, 3, H, W) each.
        paired: whether image i of one belongs to image i of the other.

    Raises:
        InputError: no images, or pairs of different number.

    Example:
        >>> data = ImageSets(torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
        >>> data.draw(2, torch.Generator())[0].shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, *sets: Tensor, paired: bool = False):
        self.sets, self.paired = sets, paired
        if not all(len(one) for one in sets):
            raise InputError("there are no images to train on")
        if paired and len({len(one) for one in sets}) > 1:
            raise InputError(f"pairs need as many of each: {' and '.join(str(len(one)) for one in sets)}")

    def __len__(self) -> int:
        return max(len(one) for one in self.sets)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """`count` random images of every set, (count, 3, H, W) in [0, 1]; half of them mirrored."""
        drawn, indices, mirrored = [], None, None
        for one in self.sets:
            if indices is None or not self.paired:
                indices = torch.randint(len(one), (count,), generator=generator)
                mirrored = torch.rand(count, generator=generator) < 0.5
            images = one[indices].float() / 255
            drawn.append(torch.where(mirrored[:, None, None, None], images.flip(-1), images))
        return tuple(drawn)

    def examples(self, count: int) -> tuple[Tensor, ...]:
        """The first, and others evenly spaced, not mirrored."""
        count = min(count, *(len(one) for one in self.sets))
        return tuple(one[torch.arange(count) * len(one) // count].float() / 255 for one in self.sets)


class ClipPairs:
    """Two frames of one clip, source and driving; see `data.datasets.FramePairs`.

    Args:
        root, split, size: as `FramePairs`. Every person is drawn equally often; some
            pairs are mirrored or reversed in time.

    Example:
        >>> source, driving = ClipPairs(data_path("heads"), "test", 32).draw(2, torch.Generator())
        >>> source.shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, root: str | os.PathLike, split: str = "train", size: int = 64):
        flips = {"flip_param": {"horizontal_flip": True, "time_flip": True}}
        self.pairs = FramePairs(root, split, size, id_sampling=True, augmentation=flips)

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` random pairs: source and driving, (count, 3, H, W) in [0, 1] each."""
        indices = torch.randint(len(self.pairs), (count,), generator=generator).tolist()
        epochs = torch.randint(2**31, (count,), generator=generator).tolist()
        return stack_pairs(self.pairs[item] for item in zip(epochs, indices, strict=True))

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Fixed pairs of clips evenly spaced."""
        count = min(count, len(self.pairs))
        return stack_pairs(self.pairs[0, i * len(self.pairs) // count] for i in range(count))


def open_data(
    system: str, root: str | os.PathLike | None = None, size: int = 64, split: str = "train"
) -> FamilyData:
    """The data of a system.

    Args:
        system: one of `config.SYSTEMS`.
        root: a folder; None for the course's own: `data/family`, and `data/heads` for monkeynet.
        size: height and width of the images.
        split: "train" or "test", if the folder has them. Without a test split, "test" is the same images.

    Raises:
        InputError: the folder does not hold what the system needs, or a file cannot be read.

    Example:
        >>> len(open_data("pix2pix", None, size=32, split="test"))
        100
    """
    if system == "monkeynet":
        root = data_path("heads") if root is None else Path(root)
        if not (root / split).is_dir():
            split = "train"
        return ClipPairs(root, split, size)
    if root is None:
        images, labels = course_heads(split)
        images, labels = at_size(images, size), at_size(labels, size, labels=True)
    else:
        folder = split_folder(Path(root), split)
        if system == "cyclegan" and (two := two_folders(folder, split)):
            return ImageSets(*(read_folder(one, size) for one in two))
        if system in ("pix2pix", "cyclegan"):
            images, labels = read_pairs(folder, size)
        else:
            return ImageSets(read_images(folder, size))
    if system == "pix2pix":
        return ImageSets(labels, images, paired=True)
    if system == "cyclegan":
        # No label belongs to an image that is trained on: pairs exist, and none is ever seen.
        half = max(1, len(images) // 2)
        return ImageSets(images[:half], labels[-half:])
    return ImageSets(images)


def course_heads(split: str = "train") -> tuple[Tensor, Tensor]:
    """The heads of `data/family` and their labels in colours, uint8 (N, 3, 64, 64) each.

    Args:
        split: "train" (800 people) or "test" (100 others).

    Example:
        >>> images, labels = course_heads("test")
        >>> images.shape, labels.shape
        (torch.Size([100, 3, 64, 64]), torch.Size([100, 3, 64, 64]))
    """
    images, labels = _course_sheets(data_path("family"))
    chosen = slice(TRAINING_HEADS, None) if split == "test" else slice(TRAINING_HEADS)
    return images[chosen], labels[chosen]


@functools.lru_cache(maxsize=1)
def _course_sheets(folder: Path) -> tuple[Tensor, Tensor]:
    images = _tiles(read_image(folder / "heads.jpg"))
    with Image.open(folder / "labels.png") as sheet:
        return images, _tiles(colour_labels(np.asarray(sheet)))


def _tiles(sheet: np.ndarray) -> Tensor:
    """A sheet (rows 64, columns 64, 3) to (N, 3, 64, 64), row by row."""
    rows, columns = (side // SHEET_TILE for side in sheet.shape[:2])
    tiles = torch.from_numpy(sheet.copy()).view(rows, SHEET_TILE, columns, SHEET_TILE, 3)
    return tiles.permute(0, 2, 4, 1, 3).flatten(0, 1).contiguous()


def at_size(images: Tensor, size: int, labels: bool = False) -> Tensor:
    """Square images, uint8 (N, 3, s, s), at another size.

    Labels are taken from the nearest pixel, so that colours stay those of classes. Other images are averaged
    over squares where they become smaller by a whole factor, else resized (bilinear, antialiased).

    Example:
        >>> at_size(torch.tensor([0, 100], dtype=torch.uint8).expand(1, 3, 2, 2), 1).flatten().tolist()
        [50, 50, 50]
    """
    side = images.shape[-1]
    if side == size:
        return images
    if labels:
        return F.interpolate(images, size=(size, size), mode="nearest-exact")
    if side % size == 0:
        return F.avg_pool2d(images.float(), side // size).round().byte()
    return resize(images, (size, size))


def split_folder(root: Path, split: str) -> Path:
    """`root/train` or `root/test` if there is one, else `root`.

    Raises:
        InputError: there is no such folder.
    """
    check_name(root)
    if not root.is_dir():
        raise InputError(one_line(root, "no such folder; give the one that holds the images"))
    for name in (split, "train"):
        if (root / name).is_dir():
            return root / name
    return root


def two_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """`A/` and `B/`, or `trainA/` and `trainB/` as in the published data sets; None if there are neither."""
    for prefix in ("", split, "train"):
        a, b = root / f"{prefix}A", root / f"{prefix}B"
        if a.is_dir() and b.is_dir():
            return a, b
    return None


def read_folder(folder: Path, size: int) -> Tensor:
    """All images of a folder, uint8 (N, 3, size, size).

    Raises:
        InputError: there is none, or one cannot be read.
    """
    files = files_in(folder, PORTRAIT_SUFFIXES, "images")
    return torch.cat([square_tensor(read_image(path), size) for path in files])


def square_tensor(image: np.ndarray, size: int, labels: bool = False) -> Tensor:
    """The middle square of an image, uint8 (H, W, 3), as uint8 (1, 3, size, size)."""
    pixels = torch.from_numpy(np.ascontiguousarray(cut_middle(image)))
    return at_size(pixels.permute(2, 0, 1)[None], size, labels)


def read_pairs(root: Path, size: int) -> tuple[Tensor, Tensor]:
    """Images and their labels, uint8 (N, 3, size, size) each, from one of the two layouts of this module.

    Raises:
        InputError: neither layout, or an image without labels.
    """
    images, labels = root / "images", root / "labels"
    if images.is_dir() and labels.is_dir():
        files = files_in(images, PORTRAIT_SUFFIXES, "images")
        by_name = {path.stem: path for path in files_in(labels, PORTRAIT_SUFFIXES, "labels")}
        for path in files:
            if path.stem not in by_name:
                raise InputError(one_line(path, f"has no image of the same name in {labels}"))
        pairs = [(read_image(path), read_image(by_name[path.stem])) for path in files]
    elif labels.is_dir():
        pairs = [pair for clip in find_clips(root, None) for pair in _labelled_frames(clip)]
    else:
        text = "should hold images/ and labels/ with equal names, or clips of fomm synthesize --labels"
        raise InputError(one_line(root, text))
    return (
        torch.cat([square_tensor(image, size) for image, _ in pairs]),
        torch.cat([square_tensor(label, size, labels=True) for _, label in pairs]),
    )


def _labelled_frames(clip: Clip) -> list[tuple[np.ndarray, np.ndarray]]:
    """Some frames of a clip and their labels."""
    folder = labels_folder(clip.path)
    if not folder.is_dir():
        raise InputError(one_line(clip.path, f"has no labels in {folder}; render: fomm synthesize --labels"))
    files = files_in(folder, PORTRAIT_SUFFIXES, "labels")
    if len(files) != len(clip):
        raise InputError(one_line(folder, f"{len(files)} images of labels for {len(clip)} frames"))
    numbers = _some(len(clip))
    frames = clip.read(numbers)
    return [(frame, read_image(files[number])) for number, frame in zip(numbers, frames, strict=True)]


def read_images(root: Path, size: int) -> Tensor:
    """Images in `root/images` or in `root`, or frames of its clips, uint8 (N, 3, size, size).

    Raises:
        InputError: there are none of them.
    """
    for folder in (root / "images", root):
        if folder.is_dir() and any(path.suffix.lower() in PORTRAIT_SUFFIXES for path in folder.iterdir()):
            return read_folder(folder, size)
    frames = [frame for clip in find_clips(root, None) for frame in clip.read(_some(len(clip)))]
    return torch.cat([square_tensor(frame, size) for frame in frames])


def _some(count: int) -> list[int]:
    """At most `FRAMES_PER_CLIP` of the numbers 0 to count - 1, evenly spaced."""
    some = min(count, FRAMES_PER_CLIP)
    return [i * count // some for i in range(some)]
