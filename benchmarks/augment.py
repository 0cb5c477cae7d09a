"""What several processes gain `fomm augment`, and what each of them costs.

    python -m benchmarks.augment                              # 2 portraits by 2 clips, 1 and 2 processes
    python -m benchmarks.augment --pairs 12 --weights heads-128 --jobs 1 2 4

Each row is the whole command, in a process of its own: start, weights, all pairs, the manifest. "frames/s"
and its ratio depend on how many cores are free; "frames/CPU s" hardly does: it falls by what every process
must do for itself (imports, the faces' detector), so its ratio is the part of the cores' time not lost.
"model MiB", in the heading, is the memory that the processes share: the weights, rearranged once.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.harness import Table, parser
from fomm_lib.animation.augment import read_manifest
from fomm_lib.animation.fast import FastModel
from fomm_lib.files import data_path
from fomm_lib.media.video import VideoReader
from fomm_lib.model import load_model


def main() -> None:
    """Print a row for every number of processes."""
    options = parser(__doc__)
    options.add_argument("--weights", default="heads-64", help="a name in data/weights, or a file")
    options.add_argument("--pairs", type=int, default=4, help="at least 1")
    options.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    options.add_argument("--device", default="cpu")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs(folder, arguments.pairs)
        shared = folder / "model.pt"
        torch.save(FastModel(load_model(arguments.weights, device=arguments.device)), shared)
        print(
            f"{arguments.weights}, {arguments.pairs} pairs; {arguments.device}, {os.cpu_count()} cores; ",
            end="",
        )
        print(f"model {shared.stat().st_size / 2**20:.0f} MiB, shared")
        columns = {"jobs": "d", "frames": "d", "seconds": ".1f", "CPU s": ".1f", "frames/s": ".2f"}
        table, first = Table({**columns, "ratio": ".2f", "frames/CPU s": ".2f", "CPU ratio": ".2f"}), None
        for jobs in arguments.jobs:
            frames, seconds, used = made(folder, jobs, arguments)
            rates = frames / seconds, frames / used
            first = first or rates
            ratios = [own / base for own, base in zip(rates, first, strict=True)]
            table.row(jobs, frames, seconds, used, rates[0], ratios[0], rates[1], ratios[1])


def inputs(folder: Path, pairs: int) -> None:
    """Portraits and clips of the repository, about as many of both."""
    clips = sorted(data_path("heads", "test").glob("*.mp4"))
    portraits = math.isqrt(pairs)
    for kind in ("sources", "drivings"):
        (folder / kind).mkdir()
    for number, clip in enumerate(clips[:portraits]):
        Image.fromarray(VideoReader(clip).first_frame()).save(folder / "sources" / f"{number}.png")
    for clip in clips[: math.ceil(pairs / portraits)]:
        (folder / "drivings" / clip.name).symlink_to(clip)


def made(folder: Path, jobs: int, arguments: argparse.Namespace) -> tuple[int, float, float]:
    """Frames, seconds and processor seconds of `fomm augment` with that many processes."""
    out = folder / f"out {jobs}"
    words = ["--sources", folder / "sources", "--drivings", folder / "drivings", "--out", out]
    words += ["--weights", arguments.weights, "--device", arguments.device]
    words += ["--jobs", jobs, "--limit", arguments.pairs]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "fomm_lib", "augment", *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(run.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return sum(row.frames or 0 for row in read_manifest(out)), seconds, used


if __name__ == "__main__":
    main()
