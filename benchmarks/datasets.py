"""How many pairs of frames a second can be read, and from what.

    python -m benchmarks.datasets                       # clips made on the spot, 256x256, about three minutes
    python -m benchmarks.datasets --size 64             # what a small training on a CPU needs
    python -m benchmarks.datasets --videos FOLDER       # your own clips (they are read, never changed)

The same clips are stored in several ways and read by `FramePairs` with 0, 1 and 2 workers, with and without
the published colour jitter. Columns: kB a frame; pairs a second with 0, 1 and 2 workers; processor time in ms
a pair; and, from it, how many processors a GPU needs that takes 500 pairs a second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import Table, moving_texture, parser
from fomm_lib.data.clips import VideoClip
from fomm_lib.data.datasets import FramePairs, pair_loader
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.tensors import resize

FLIPS = {"flip_param": {"horizontal_flip": True, "time_flip": True}}
JITTER = {**FLIPS, "jitter_param": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1}}
GPU = 500  # pairs a second
WAYS = {  # where the clips are stored, and how they are read
    "mp4, whole clip": ("mp4 g12", "whole"),
    "mp4, seek, key frame every 250": ("mp4 g250", None),
    "mp4, seek, key frame every 12": ("mp4 g12", None),
    "PNG folder": ("png", None),
    "JPEG folder (quality 92)": ("jpeg", None),
    "packed cache": ("mp4 g12", "cache"),
}


class WholeVideoClip(VideoClip):
    """What the published code does for a video: decode all of it, keep two frames."""

    def read(self, indices):
        frames = list(self)
        return [frames[index] for index in indices]


def read_or_make_clips(arguments: argparse.Namespace) -> list[np.ndarray]:
    """The frames of each clip, uint8 (T, H, W, 3)."""
    if arguments.videos is None:
        return [moving_texture(arguments.size, arguments.frames, seed) for seed in range(arguments.clips)]
    size, clips = (arguments.size, arguments.size), []
    for path in sorted(Path(arguments.videos).iterdir())[: arguments.clips]:
        frames = torch.from_numpy(np.stack(list(VideoClip(path)))).permute(0, 3, 1, 2)
        clips.append(resize(frames, size).permute(0, 2, 3, 1).numpy())
    return clips


def store(clips: list[np.ndarray], folder: Path) -> None:
    """Write the clips in every way of `WAYS`."""
    for number, frames in enumerate(clips):
        for gap in (12, 250):
            path = folder / f"mp4 g{gap}" / f"{number:03d}.mp4"
            path.parent.mkdir(exist_ok=True)
            height, width = frames.shape[1:3]
            with VideoWriter(path, 25, (width, height), crf=20, keyframe_every=gap) as writer:
                for frame in frames:
                    writer.write(frame)
        for kind, suffix, options in (("png", "png", {}), ("jpeg", "jpg", {"quality": 92})):
            (folder / kind / f"{number:03d}").mkdir(parents=True)
            for index, frame in enumerate(frames):
                path = folder / kind / f"{number:03d}" / f"{index:05d}.{suffix}"
                Image.fromarray(frame).save(path, **options)


def pairs_a_second(dataset: FramePairs, workers: int, seconds: float) -> tuple[float, float]:
    """(pairs a second, processor seconds of this process a pair), in batches of 10.

    The first batch is not counted: it starts the workers and opens the files.
    """
    loader = pair_loader(dataset, 10, workers)
    batches = iter(loader)
    next(batches)
    count, begin, used = 0, time.perf_counter(), time.process_time()
    for _ in batches:
        count += 10
        if (elapsed := time.perf_counter() - begin) > seconds:
            break
    return count / elapsed, (time.process_time() - used) / count


def main() -> None:
    """Print a table for flips only, and one with colour jitter."""
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=256, help="width and height")
    options.add_argument("--clips", type=int, default=8)
    options.add_argument("--frames", type=int, default=150, help="frames of a clip that is made here")
    options.add_argument("--seconds", type=float, default=3.0, help="measuring time of one number")
    options.add_argument("--videos", help="a folder of videos to use instead")
    arguments = options.parse_args()
    torch.set_num_threads(1)  # as in every worker
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = read_or_make_clips(arguments)
        frames = sum(map(len, clips))
        store(clips, folder)
        print(f"{len(clips)} clips, {frames} frames of {arguments.size}x{arguments.size}")
        for augmentation, title in ((FLIPS, "flips only"), (JITTER, "flips and colour jitter")):
            print()
            columns = {
                title: "",
                "kB/frame": ".1f",
                "0 workers": ".0f",
                "1 worker": ".0f",
                "2 workers": ".0f",
            }
            table = Table({**columns, "CPU ms/pair": ".2f", f"CPUs for {GPU}/s": ".1f"}, width=32)
            for name, (place, how) in WAYS.items():
                cache = folder / "cache" if how == "cache" else None
                dataset = FramePairs(
                    folder / place,
                    size=arguments.size,
                    augmentation=augmentation,
                    repeats=10_000,
                    cache=cache,
                )
                if how == "whole":
                    for clip in dataset.clips:
                        clip.__class__ = WholeVideoClip
                rates = [pairs_a_second(dataset, workers, arguments.seconds) for workers in (0, 1, 2)]
                used = rates[0][1]
                stored = [path for path in (cache or folder / place).rglob("*") if path.is_file()]
                weight = sum(path.stat().st_size for path in stored) / frames / 1000
                table.row(name, weight, *(rate for rate, _ in rates), used * 1000, used * GPU)


if __name__ == "__main__":
    main()
