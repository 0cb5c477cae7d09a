"""How fast `animate` is, and how much memory it takes, from reading the driving video to the finished file.

    python -m benchmarks.animate                                     # vox-256 with random weights
    python -m benchmarks.animate --weights heads-64 --frames 300 9000 --size 128 --best-frame
    python -m benchmarks.animate --weights heads-64 --frames 300 --overlap
    python -m benchmarks.animate --threads 1                         # on a machine that has other work

The driving video has audio. Random weights cost the same time as trained ones. "ready" is the time from the
start of Python until the model is loaded; frames a second are those of `animate` alone (decoding, network,
encoding). "before" is the peak of memory when the model is loaded; the peak must not grow with the length of
the video. `--best-frame` reads the video twice, and smooths. `--overlap` compares with steps that run one
after the other, in one thread; overlap gains most on a GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.harness import Table, parser, take_turns
from fomm_lib.animation import animate as animate_module
from fomm_lib.animation.animate import animate
from fomm_lib.files import data_path
from fomm_lib.model import FirstOrderMotionModel, load_model


def main() -> None:
    """Print a row for every combination of length, batch size and order of steps."""
    options = parser(__doc__)
    what = options.add_mutually_exclusive_group()
    what.add_argument("--weights", help="a name in data/weights, or a file; otherwise random weights")
    what.add_argument("--config", default="vox-256", help="the model of random weights")
    options.add_argument("--frames", type=int, nargs="+", default=[24], help="lengths of the driving video")
    options.add_argument("--size", type=int, default=512, help="width and height of the driving video")
    options.add_argument("--batch-size", type=int, nargs="+", default=[1, 4])
    options.add_argument("--best-frame", action="store_true", help="look for the best frame, and smooth")
    options.add_argument("--overlap", action="store_true", help="compare with steps that do not overlap")
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--device", default="cpu")
    arguments = options.parse_args()
    model = arguments.weights or f"{arguments.config}, random weights"
    print(f"{model}; {arguments.device}, {arguments.threads} threads")
    columns = {"frames": "d", "batch": "d", "steps": "", "ready s": ".1f", "frames/s": ".2f"}
    table = Table({**columns, "CPU s/frame": ".3f", "before MiB": ".0f", "peak MiB": ".0f"})
    with tempfile.TemporaryDirectory() as folder:
        for frames in arguments.frames:
            driving = Path(folder, f"{frames}.mp4")
            make_video(driving, frames, arguments.size)
            for batch_size in arguments.batch_size:
                for overlap in (False, True) if arguments.overlap else (True,):
                    build = partial(build_step, arguments, driving, batch_size, overlap)
                    run = take_turns({"row": build}, rounds=0)["row"]
                    count, seconds = run.first.result
                    steps = "overlap" if overlap else "serial"
                    rates = run.ready, count / seconds, run.first.processor / count
                    table.row(frames, batch_size, steps, *rates, run.before, run.peak)


def make_video(path: Path, count: int, size: int) -> None:
    """A driving video in which something moves, with a tone as long, through the ffmpeg of imageio-ffmpeg."""
    import imageio_ffmpeg

    seconds = count / 25
    video = f"testsrc2=size={size}x{size}:rate=25:duration={seconds}"
    tone = f"sine=frequency=440:duration={seconds}"
    inputs = ["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", tone]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *inputs, "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)


def build_step(
    arguments: argparse.Namespace, driving: Path, batch_size: int, overlap: bool
) -> Callable[[], tuple[int, float]]:
    """Load the model; the step animates the video once, and gives frames and seconds."""
    warnings.simplefilter("ignore")  # that the driving video has no face
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.weights:
        model = load_model(arguments.weights, device=arguments.device)
    else:
        model = FirstOrderMotionModel(arguments.config).to(arguments.device).eval()
    if not overlap:
        animate_module.prefetch = lambda items, depth: (item for item in items)
        animate_module.BackgroundWriter = SerialWriter
    settings = {"best_frame": "auto", "smooth": 1.0} if arguments.best_frame else {}
    settings |= {"batch_size": batch_size, "overwrite": True, "progress": False}

    def step() -> tuple[int, float]:
        result = animate(
            model, data_path("portrait.jpg"), driving, driving.with_suffix(".out.mp4"), **settings
        )
        return result.frames, result.seconds

    return step


class SerialWriter:
    """`pipeline.BackgroundWriter` without the thread: calls are made at once."""

    def __init__(self, depth: int):
        pass

    def __enter__(self) -> SerialWriter:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def call(self, function: Callable, *arguments: object) -> None:
        """Call the function."""
        function(*arguments)


if __name__ == "__main__":
    main()
