"""A cache of frames: clips decoded and resized once, in one file that is memory-mapped afterwards."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fomm_lib.data.clips import Clip
from fomm_lib.errors import InputError, printable
from fomm_lib.files import atomic_output, make_folder, remove_leftovers
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import resize_array

log = logging.getLogger(__name__)


class PackedClip(Clip):
    """A clip in a cache.

    Args:
        path: of the clip it was made from.
        frames_file: the file with the frames of all clips, see `pack_clips`.
        first: the number of its first frame in that file.
        count: the number of its frames.
        size: (height, width) of the frames.
    """

    def __init__(self, path: Path, frames_file: Path, first: int, count: int, size: tuple[int, int]):
        super().__init__(path)
        self.frames_file, self.first, self.count, self.size = frames_file, first, count, size

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self._map()

    def read(self, indices: Sequence[int]) -> list[np.ndarray]:
        """Frames by number, as views of the file: see `Clip.read`."""
        frames = self._map()
        return [frames[index] for index in indices]

    def _map(self) -> np.ndarray:
        # Not kept open: an open map would be copied, with all its frames, into every spawned worker.
        height, width = self.size
        begin, shape = self.first * height * width * 3, (self.count, height, width, 3)
        return np.memmap(self.frames_file, np.uint8, mode="r", offset=begin, shape=shape)


def pack_clips(clips: list[Clip], size: tuple[int, int], folder: str | os.PathLike) -> list[Clip]:
    """Decode all clips once into one file of raw frames, and return clips that read from it.

    Clips that cannot be read are logged and left out. With several processes, one must make the cache before
    the others open it.

    Args:
        clips: what to decode.
        size: (height, width) to resize the frames to, after `squares.cut_middle`.
        folder: gets `frames.u8` (all frames, uint8 (H, W, 3), one after the other) and `index.json` (where
            each clip begins). If both exist, made from the same clips at the same size, they are used.

    Returns:
        The clips that could be read.

    Raises:
        InputError: `folder` holds the cache of other clips or of another size, or no clip can be read.

    Example:
        >>> pack_clips(find_clips("data/heads"), (64, 64), "cache")[0].read([0])[0].shape   # doctest: +SKIP
        (64, 64, 3)
    """
    folder = Path(folder)
    remove_leftovers(folder)
    frames_file, index_file = folder / "frames.u8", folder / "index.json"
    made_from = {"size": list(size), "clips": {clip.name: clip.weight for clip in clips}}
    if index_file.exists():
        index = _read_index(index_file)
        whole = frames_file.is_file() and frames_file.stat().st_size == index["bytes"]
        if index["made_from"] != made_from or not whole:
            raise InputError(
                f"{folder}: the cache of other clips, or of another size; delete it or name another folder"
            )
    else:
        make_folder(folder)
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
    # A file without an index is from an interrupted run, and may be replaced.
    with atomic_output(path, overwrite=True) as temporary:
        with open(temporary, "wb") as file:
            for clip in tqdm(clips, desc="packing clips", unit="clip", disable=None):
                begin, count = file.tell(), 0
                try:
                    for frame in clip:
                        file.write(resize_array(cut_middle(frame, size), size).data)
                        count += 1
                    if count == 0:
                        raise InputError("no frame in it")
                except Exception as error:  # as in FramePairs: decoders raise many types for a bad file
                    log.warning("%s: left out of the cache (%s)", printable(clip.path), clip.reason(error))
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
