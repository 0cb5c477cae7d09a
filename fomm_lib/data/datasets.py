"""Pairs of frames to train on: from videos, folders of frames or strips to batches of tensors.

The model learns from two frames of one video: it gets one as the source, and must reconstruct the other, the
driving frame. This module finds the clips under a folder, draws two frames of one of them, changes both in
the same way (augmentation), and makes batches:

    dataset = FramePairs("data/heads", size=64, augmentation={"flip_param": {"horizontal_flip": True}})
    loader = pair_loader(dataset, batch_size=8, workers=2)
    for epoch in range(100):
        loader.set_epoch(epoch)
        for batch in loader:
            batch["source"], batch["driving"]          # (8, 3, 64, 64) in [0, 1]

What is drawn depends only on `(seed, epoch, index)`: not on the number of workers or processes, and not on
what was drawn before. So a run can be repeated, and can be resumed in the middle of an epoch.

Source: A. Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019, section 4 and
supplement.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fomm_lib.data.augmentation import Augmentation
from fomm_lib.data.cache import pack_clips
from fomm_lib.data.clips import Clip, find_clips
from fomm_lib.errors import InputError, check_integer, printable
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import bytes_tensor, from_uint8, resize

log = logging.getLogger(__name__)


class FramePairs(Dataset):
    """Pairs of frames of one clip, drawn at random; a torch map-style data set.

    Args:
        root, split: see `find_clips`.
        size: (height, width), or one number for both. Of frames of another shape the largest part of this
            shape in the middle is taken (see `squares.cut_middle`); it is resized (bilinear, antialiased).
        id_sampling: one item per identity (the name before the first `#`) instead of one per clip. The clip
            is drawn at random among those of the identity: people with many clips are not drawn more often.
        augmentation: None, an `Augmentation`, or the published `augmentation_params`.
        repeats: how often an item is in one epoch, with other frames each time (published: num_repeats).
        seed: the first of the three numbers (seed, epoch, index) that determine what is drawn.
        cache: a folder for all frames, decoded and resized (3 H W bytes each). It is written the first time
            and memory-mapped afterwards: see `pack_clips`. At 256 x 256 a pair then takes 1.6 ms of processor
            time; from JPEG frames 3, from PNG 7, from mp4 with a key frame every 12 frames 12, with one every
            250 frames 20, and 148 if whole clips were decoded (benchmarks/datasets.py). None reads the clips
            themselves, and writes nothing.
        as_uint8: give source and driving frame as uint8, a quarter of the bytes, if the augmentation leaves
            whole numbers (see `Augmentation.keeps_values`); `media.tensors.from_uint8` makes the same images.

    An item is a dictionary:
        source, driving: (3, H, W) float32 in [0, 1]; see `as_uint8`
        name: the file name of the clip
        frames: (2,) int64, the frame numbers of source and driving. The source is not after the driving
            frame, unless `time_flip` exchanged them. Both may be the same frame, as published.

    A clip that cannot be read (it was deleted, is damaged, has a single frame) is logged, and another one is
    drawn instead, which also depends only on (seed, epoch, index).

    Raises:
        InputError: no clips under `root`, an invalid setting, or the cache of other clips. While reading: a
            hundred clips in a row (or all, if there are fewer) could not be read.

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
        as_uint8: bool = False,
    ):
        check_integer("repeats", repeats, 1)
        check_integer("seed", seed, 0)
        self.size = _height_width(size)
        self.augmentation = Augmentation.from_params(augmentation)
        self.repeats = repeats
        self.seed = seed
        self.epoch = 0
        self.as_uint8 = as_uint8
        self.root = Path(root)
        self.clips = find_clips(root, split, aspect=self.size[1] / self.size[0])
        if cache is not None:
            self.clips = pack_clips(self.clips, self.size, cache)
        self.items = _by_identity(self.clips) if id_sampling else [[clip] for clip in self.clips]
        self._reported: set[Path] = set()

    def __len__(self) -> int:
        return len(self.items) * self.repeats

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that `dataset[index]` draws from. (A `pair_loader` has its own `set_epoch`.)"""
        self.epoch = epoch

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        """An item by `index`, or by `(epoch, index)`: the form in which a `pair_loader` asks its workers."""
        epoch, index = index if isinstance(index, tuple) else (self.epoch, index)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} pairs")
        # Two streams of random numbers, so that augmentation does not change which frames are drawn.
        drawing, changing = map(
            np.random.default_rng, np.random.SeedSequence((self.seed, epoch, index)).spawn(2)
        )
        clip, numbers, frames = self._draw(self.items[index % len(self.items)], drawing)
        if not self.augmentation.keeps_values:
            frames = from_uint8(frames)
        frames, swapped = self.augmentation(frames, changing)
        if not self.as_uint8:
            frames = from_uint8(frames)
        source, driving = resize(frames, self.size).contiguous()
        if swapped:
            numbers = numbers[::-1]
        return {"source": source, "driving": driving, "name": clip.name, "frames": torch.tensor(numbers)}

    def _draw(self, clips: list[Clip], rng: np.random.Generator) -> tuple[Clip, list[int], torch.Tensor]:
        """One of these clips, two of its frame numbers, and the frames, uint8 (2, 3, H, W)."""
        for clip in self._candidates(clips, rng):
            try:
                if len(clip) < 2:
                    raise InputError("a single frame, and a pair needs two")
                numbers = sorted(rng.integers(len(clip), size=2).tolist())
                frames = torch.stack(
                    [bytes_tensor(cut_middle(frame, self.size), self.size) for frame in clip.read(numbers)]
                )
                return clip, numbers, frames
            except Exception as error:  # decoders raise about ten unrelated types for a bad file
                failure = error
                if clip.path not in self._reported:
                    self._reported.add(clip.path)
                    log.warning(
                        "%s: skipped, another clip is drawn (%s)", printable(clip.path), clip.reason(error)
                    )
        raise InputError(
            f"{self.root}: {min(self.ATTEMPTS, len(self.clips))} clips in a row could not be read; "
            f"the last was {clip.name} ({clip.reason(failure)}); find the bad files with `fomm clean`"
        ) from failure

    def _candidates(self, clips: list[Clip], rng: np.random.Generator) -> Iterator[Clip]:
        """The clip to read, then others in case it fails."""
        first = clips[rng.integers(len(clips))]
        yield first
        others = (self.clips[i] for i in rng.permutation(len(self.clips)))
        yield from islice((clip for clip in others if clip is not first), self.ATTEMPTS - 1)


def _height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from one number, or a pair of them."""
    pair = (size, size) if isinstance(size, int) else size
    is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
    if not is_pair or not all(type(side) is int and side > 0 for side in pair):
        raise InputError(f"size={size!r}; must be a whole number above 0, or a pair (height, width) of them")
    return (pair[0], pair[1])


def stack_pairs(pairs: Iterable[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    """The source frames and the driving frames of items of `FramePairs`, (B, 3, H, W) each."""
    pairs = list(pairs)
    source, driving = (torch.stack([pair[part] for pair in pairs]) for part in ("source", "driving"))
    return source, driving


def _by_identity(clips: list[Clip]) -> list[list[Clip]]:
    people: dict[str, list[Clip]] = {}
    for clip in clips:
        people.setdefault(clip.identity, []).append(clip)
    return list(people.values())


class PairBatches(Sampler):
    """Which items are in which batch: a shuffled order that depends only on (seed, epoch).

    Yields lists of `(epoch, index)`, because workers live for many epochs and must know which one they draw
    for. `world_size` processes share one order: batch b of process r is part r of the global batch b of
    `world_size * batch_size` items. Every process gets the same number of batches.

    Args:
        length: number of items.
        batch_size: items in a batch, of each process.
        seed, shuffle, drop_last, rank, world_size: see `pair_loader`.

    Example:
        >>> list(PairBatches(5, 2, shuffle=False))
        [[(0, 0), (0, 1)], [(0, 2), (0, 3)]]
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
        """Set the epoch, and the batch to start with."""
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
            # A last batch that cannot be divided is filled with the first items, as no process may wait.
            indices = np.concatenate([indices, order[: -len(indices) % self.world_size]])
            mine = np.split(indices, self.world_size)[self.rank]
            yield [(epoch, int(index)) for index in mine]


class PairLoader(DataLoader):
    """A DataLoader with an epoch; made by `pair_loader`."""

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Draw for this epoch from now on, beginning with batch `start_batch` (to resume in the middle)."""
        self.batch_sampler.set_epoch(epoch, start_batch)

    def __iter__(self):
        try:
            yield from super().__iter__()
        except InputError as error:
            # A worker puts its traceback into the message; the last line is the message of the error.
            last = str(error).strip().splitlines()[-1]
            raise InputError(last.removeprefix(f"{InputError.__module__}.InputError: ")) from error


def _worker_context() -> multiprocessing.context.BaseContext | None:
    """How worker processes start: by a server process without threads, except on Windows.

    PyTorch and the decoders start threads in this process, and locks that these hold at the moment of a fork
    stay locked in the child. Python 3.12 warns about it, and since 3.14 this is the default on Linux.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return None  # Windows starts a new Python for each worker
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
        dataset: the pairs.
        batch_size: pairs in a batch, of each process.
        workers: processes that read ahead; 0 reads in this one. A script with workers must start under
            `if __name__ == "__main__":`, because each worker imports it.
        shuffle: a new order of the items in every epoch.
        drop_last: leave out the last batch of an epoch if it is not full.
        rank, world_size: the number of this training process, and of all; together they share global batches
            of `world_size * batch_size`. Do not shard such a loader again with `accelerator.prepare`.

    Returns:
        A loader of dictionaries: source, driving (B, 3, H, W) in [0, 1]; name, a list of B; frames (B, 2).
        Call `loader.set_epoch(epoch, start_batch=0)` before every epoch; without it, every epoch repeats the
        first.

    Raises:
        InputError: the data set is smaller than a batch, or an argument is out of range.

    Example:
        >>> loader = pair_loader(FramePairs("data/heads", size=64), batch_size=8)       # doctest: +SKIP
        >>> loader.set_epoch(3, start_batch=120)                                        # doctest: +SKIP
    """
    check_integer("batch_size", batch_size, 1)
    check_integer("workers", workers, 0)
    check_integer("world_size", world_size, 1)
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
