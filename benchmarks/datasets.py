"""How many pairs of frames a second can be read, and from what.

    python benchmarks/datasets.py                       # clips made on the spot, 256x256, about three minutes
    python benchmarks/datasets.py --size 64             # what a small training on a CPU needs
    python benchmarks/datasets.py --videos FOLDER       # your own clips (they are read, never changed)

The same clips are stored in several ways and read by `FramePairs` with 0, 1 and 2 workers, with and without
the published colour jitter. The time of a processor for one pair hardly depends on what else the machine is
doing; from it the last column says how many processors a GPU needs that takes 500 pairs a second.
"""

import argparse
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from PIL import Image, ImageFilter

from fomm_lib.datasets import FramePairs, VideoClip, pair_loader, resize

FLIPS = {"flip_param": {"horizontal_flip": True, "time_flip": True}}
JITTER = {**FLIPS, "jitter_param": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1}}
GPU = 500  # pairs a second


class WholeVideoClip(VideoClip):
    """What the published code does for a video: decode all of it, keep two frames."""

    def read(self, indices):
        frames = list(self)
        return [frames[index] for index in indices]


def moving_texture(size: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Uint8 (T, H, W, 3): a picture with detail of all sizes wanders before a camera with a little noise."""
    canvas = np.zeros((size * 2, size * 2, 3))
    for radius in (2, 6, 18, 50):
        noise = Image.fromarray(rng.integers(0, 256, canvas.shape, dtype=np.uint8))
        layer = np.asarray(noise.filter(ImageFilter.GaussianBlur(radius)), float) - 127.5
        canvas += layer * 35 / layer.std() * (radius / 50) ** 0.5
    canvas = np.clip(canvas + 127.5, 0, 255)
    time_ = np.linspace(0, 2 * np.pi, frames)
    x = (size / 2 + size / 5 * np.sin(time_)).astype(int)
    y = (size / 2 + size / 8 * np.sin(2 * time_)).astype(int)
    window = [canvas[top : top + size, left : left + size] for top, left in zip(y, x, strict=True)]
    return np.clip(np.stack(window) + rng.normal(0, 2, (frames, size, size, 3)), 0, 255).astype(np.uint8)


def clips_of(arguments) -> list[np.ndarray]:
    if arguments.videos is None:
        rng = np.random.default_rng(0)
        return [moving_texture(arguments.size, arguments.frames, rng) for _ in range(arguments.clips)]
    size, clips = (arguments.size, arguments.size), []
    for path in sorted(Path(arguments.videos).iterdir())[: arguments.clips]:
        frames = torch.from_numpy(np.stack(list(VideoClip(path)))).permute(0, 3, 1, 2)
        clips.append(resize(frames, size).permute(0, 2, 3, 1).numpy())
    return clips


def store(clips: list[np.ndarray], folder: Path) -> None:
    for name in ("mp4 g12", "mp4 g250", "png", "jpeg"):
        (folder / name).mkdir(parents=True)
    for number, frames in enumerate(clips):
        for gap in (12, 250):
            x264 = ["-crf", "20", "-g", str(gap)]
            path = folder / f"mp4 g{gap}" / f"{number:03d}.mp4"
            iio.imwrite(path, frames, fps=25, codec="libx264", output_params=x264, macro_block_size=2)
        for kind, suffix, options in (("png", "png", {}), ("jpeg", "jpg", {"quality": 92})):
            (folder / kind / f"{number:03d}").mkdir()
            for index, frame in enumerate(frames):
                Image.fromarray(frame).save(
                    folder / kind / f"{number:03d}" / f"{index:05d}.{suffix}", **options
                )


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=150, help="frames of a clip that is made here")
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time of one number")
    parser.add_argument("--videos", help="a folder of videos to use instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in every worker

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = clips_of(arguments)
        frames = sum(map(len, clips))
        store(clips, folder)
        size = arguments.size
        ways = {
            "mp4, whole clip": ("mp4 g12", "whole"),
            "mp4, seek, key frame every 250": ("mp4 g250", None),
            "mp4, seek, key frame every 12": ("mp4 g12", None),
            "PNG folder": ("png", None),
            "JPEG folder (quality 92)": ("jpeg", None),
            "packed cache": ("mp4 g12", "cache"),
        }
        print(f"{len(clips)} clips, {frames} frames of {size}x{size}\n")
        for augmentation, title in ((FLIPS, "flips only"), (JITTER, "flips and colour jitter")):
            print(f"{title:32} {'kB a':>8} {'0':>8} {'1':>8} {'2':>8} {'ms of a':>10} {'processors':>12}")
            print(
                f"{'':32} {'frame':>8} {'-- workers, pairs/s --':>26} {'processor':>10} {f'for {GPU}/s':>12}"
            )
            for name, (place, how) in ways.items():
                cache = folder / "cache" if how == "cache" else None
                dataset = FramePairs(
                    folder / place, size=size, augmentation=augmentation, repeats=10_000, cache=cache
                )
                if how == "whole":
                    for clip in dataset.clips:
                        clip.__class__ = WholeVideoClip
                rates = [pairs_a_second(dataset, workers, arguments.seconds) for workers in (0, 1, 2)]
                columns = " ".join(f"{rate:8.0f}" for rate, _ in rates)
                used = rates[0][1]
                weight = bytes_of(cache or folder / place) / frames / 1000
                print(f"{name:32} {weight:8.1f} {columns} {used * 1000:10.2f} {used * GPU:12.1f}", flush=True)
            print()


if __name__ == "__main__":
    main()
