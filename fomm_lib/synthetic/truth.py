"""The ground truth about synthetic clips: files of true motion, and pairs of frames with their truth."""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fomm_lib.data.clips import Clip, FolderClip, VideoClip
from fomm_lib.errors import InputError
from fomm_lib.files import atomic_output, data_path
from fomm_lib.geometry import from_pixels, to_pixels
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import read_frames
from fomm_lib.synthetic.categories.clip import open_clip
from fomm_lib.synthetic.clip import RenderedClip, TrueMotion

SETTINGS = "synthetic.json"
"""The file in a folder of `synthesize` that holds the settings of all its clips."""

TRUTH_SIZE = 64
"""Largest side of written flow in pixels: the size at which the published networks estimate motion."""

_MAX_DIFFERENCE = 0.06  # compression alone makes a frame differ by 0.01 to 0.03 from the same frame rendered


@dataclass(frozen=True)
class ClipTruth:
    """The true motion of N pairs of frames of one clip, as `synthesize(truth=N)` writes it.

    Attributes:
        pairs: (N, 2) frame numbers, source and driving.
        flow: (N, h, w, 2) float16; visible, surface: (N, h, w) bool; as in `TrueMotion`, of the clip's size
            but at most 64x64.
        landmarks: (T, n, 2) float32 of every frame of the clip, as `RenderedClip.landmarks` gives them; n is
            68 for heads, 16 for bodies, 15 for animals, 14 for vehicles.
    """

    pairs: np.ndarray
    flow: np.ndarray
    visible: np.ndarray
    surface: np.ndarray
    landmarks: np.ndarray


def truth_path(clip: str | os.PathLike) -> Path:
    """The file of the truth about a clip.

    Example:
        >>> truth_path("heads/train/synth0-00003#00003#0#24.mp4").name
        'synth0-00003#00003#0#24.truth.npz'
    """
    clip = Path(clip)
    name = clip.stem if clip.suffix == ".mp4" else clip.name
    return clip.with_name(f"{name}.truth.npz")


def read_truth(clip: str | os.PathLike) -> ClipTruth:
    """Read the truth beside a clip.

    Raises:
        InputError: the file is missing or damaged.

    Example:
        >>> read_truth("heads/train/synth0-00003#00003#0#24.mp4").flow.shape    # doctest: +SKIP
        (10, 64, 64, 2)
    """
    path = truth_path(clip)
    if not path.exists():
        raise InputError(
            f"{path}: is missing; render clips with their true motion: fomm synthesize --truth 10"
        )
    try:
        with np.load(path) as stored:
            return ClipTruth(*(stored[field.name] for field in fields(ClipTruth)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: is damaged; delete it and its clip, and render them again") from error


class TrueClip(Protocol):
    """A clip whose truth can be written: of a rendered head, or of a photograph."""

    seed: int
    number: int

    def __len__(self) -> int: ...
    def true_motion(self, source: int, driving: int) -> TrueMotion:
        """As `RenderedClip.true_motion`."""

    def landmarks(self, k: int) -> Tensor:
        """As `RenderedClip.landmarks`."""


def write_truth(path: str | os.PathLike, clip: TrueClip, count: int, pairs: np.ndarray | None = None) -> None:
    """Write the true motion of pairs of frames, at the size of `clip`; see `ClipTruth`.

    Args:
        count: how many pairs; pairs: (count, 2) which, random ones by default.
    """
    if pairs is None:
        rng = np.random.default_rng([clip.seed, clip.number, 9])
        pairs = np.array([rng.choice(len(clip), 2, replace=False) for _ in range(count)])
    motions = [clip.true_motion(int(source), int(driving)) for source, driving in pairs]
    truth = ClipTruth(
        pairs,
        np.stack([motion.flow.numpy() for motion in motions]).astype(np.float16),
        np.stack([motion.visible.numpy() for motion in motions]),
        np.stack([motion.surface.numpy() for motion in motions]),
        np.stack([clip.landmarks(k).numpy() for k in range(len(clip))]),
    )
    with atomic_output(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **asdict(truth))


@dataclass(frozen=True)
class TruePair:
    """Two frames of one clip, and the truth about them.

    Attributes:
        clip: name.
        source, driving: (3, H, W) in [0, 1].
        motion: flow (H, W, 2), visible and surface (H, W), see `TrueMotion`.
        landmarks: (2, n, 2), of source and driving frame, see `RenderedClip.landmarks`; n is 68 for heads.
    """

    clip: str
    source: Tensor
    driving: Tensor
    motion: TrueMotion
    landmarks: Tensor


def read_true_pairs(
    truth: str | os.PathLike | None = None, clips: str | os.PathLike | None = None
) -> list[TruePair]:
    """Read pairs of frames and their truth from files: those of data/heads/truth by default. Renders nothing.

    Args:
        truth: a folder of .npz as `data/heads/README.md` describes them.
        clips: the folder of the clips that they belong to.
    Raises:
        InputError: no such files.

    Example:
        >>> len(read_true_pairs())
        6
    """
    truth = Path(data_path("heads", "truth") if truth is None else truth)
    clips = Path(data_path("heads", "test") if clips is None else clips)
    paths = sorted(truth.glob("*.npz"))
    if not paths:
        raise InputError(f"{truth}: no .npz with the truth of synthetic heads in it")
    pairs = []
    for path in paths:
        with np.load(path) as kept:
            numbers = [int(kept["source"]), int(kept["driving"])]
            source, driving = (to_tensor(f) for f in read_frames(clips / str(kept["clip"]), numbers))
            flow, *masks, landmarks = (
                torch.from_numpy(kept[name]) for name in ("flow", "visible", "surface", "landmarks")
            )
            motion = TrueMotion(flow.float(), *masks)
            pairs.append(TruePair(str(kept["clip"]), source, driving, motion, landmarks))
    return pairs


def downsample_pair(pair: TruePair) -> TruePair:
    """The same pair at half its size: images and displacements are means over 2x2 pixels.

    `motion.visible` and `motion.surface` become the share of the four pixels, float, 0 to 1; it is 1 where
    all four are visible or surface.

    Raises:
        InputError: the sides are not even.

    Example:
        >>> motion = TrueMotion(coordinate_grid(8, 8), *torch.ones(2, 8, 8))
        >>> pair = TruePair("", *torch.rand(2, 3, 8, 8), motion, torch.zeros(2, 68, 2))
        >>> torch.allclose(downsample_pair(pair).motion.flow, coordinate_grid(4, 4), atol=1e-6)
        True
    """
    height, width = pair.motion.visible.shape
    if height % 2 or width % 2:
        raise InputError(f"{pair.clip}: {height}x{width} cannot be halved; give even sides")

    def half(field: Tensor) -> Tensor:  # (..., height, width)
        return field.float().unflatten(-2, (-1, 2)).unflatten(-1, (-1, 2)).mean(dim=(-3, -1))

    # The centre of a pixel of the half-size image is between those of its four, so k goes to (k - 0.5) / 2.
    pixels = half(to_pixels(pair.motion.flow, height, width).movedim(-1, 0)).movedim(0, -1)
    flow = from_pixels((pixels - 0.5) / 2, height // 2, width // 2)
    motion = TrueMotion(flow, half(pair.motion.visible), half(pair.motion.surface))
    return TruePair(pair.clip, half(pair.source), half(pair.driving), motion, pair.landmarks)


def true_clip(path: str | os.PathLike) -> RenderedClip:
    """The clip that a file or folder of `synthesize` shows, from its name and the folder's settings.

    Raises:
        InputError: not made by `synthesize`; the extra `synthetic` or EGL is missing; or rendered by another
            version, so that it shows something else.
    """
    path = Path(path)
    name = re.match(r"[a-z]+(\d+)-(\d+)#(\d+)#0#(\d+)", path.name)
    note = path.parent / SETTINGS
    if not name or not note.is_file():
        raise InputError(f"{path}: only clips that `fomm synthesize` made have a known truth")
    settings = json.loads(note.read_text(encoding="utf-8"))
    seed, person, number, frames = map(int, name.groups())
    category = settings.get("category", "heads")
    clip = open_clip(category, seed, number, frames, settings["size"], settings["fps"], person_number=person)
    (stored,) = (VideoClip if path.suffix == ".mp4" else FolderClip)(path).read([0])
    person = clip.places(0)[..., 3].numpy() > 0  # the background may be an image that is not available
    difference = np.abs(stored.astype(float) - clip.frame(0))[person].mean() / 255
    if difference > _MAX_DIFFERENCE:
        raise InputError(
            f"{path}: differs from what its number renders now (by {difference:.3f}); it was made by another "
            "version, render it anew"
        )
    return clip


def true_pairs(clip: Clip, truth: RenderedClip, source: int, driving: Sequence[int]) -> list[TruePair]:
    """Pairs of frames of a stored clip with their truth, which is rendered.

    Args:
        clip: as `find_clips` gives it.
        truth: `true_clip(clip.path)`.
        source, driving: frame numbers; a pair for each of `driving`.
    """
    pairs = []
    first, *others = (to_tensor(frame) for frame in clip.read([source, *driving]))
    for k, other in zip(driving, others, strict=True):
        landmarks = torch.stack([truth.landmarks(source), truth.landmarks(k)])
        pairs.append(TruePair(clip.name, first, other, truth.true_motion(source, k), landmarks))
    return pairs
