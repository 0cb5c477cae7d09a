"""How fast `animate` is, and how much memory it takes, from reading the driving video to the finished file.

    python benchmarks/animate.py                                        # vox-256 with random weights
    python benchmarks/animate.py --weights heads-64 --frames 300 3000   # memory must not grow with the length
    python benchmarks/animate.py --threads 1                            # on a machine that has other work

Every row is a process of its own, so that its peak of memory is its own. Random weights cost the same time as
trained ones. "ready" is the time from the start of Python until the model is there; frames a second are those
of `animate` alone (decoding, network, encoding). Processor seconds a frame hardly depend on what else the
machine is doing; frames a second do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.monotonic()


def main() -> None:
    """Print a row for every combination of length and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--weights", help="a name in data/weights, or a file; otherwise random weights")
    what.add_argument("--config", default="vox-256", help="the model of random weights")
    parser.add_argument("--frames", type=int, nargs="+", default=[24], help="lengths of the driving video")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a row, asked for by the process that prints
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments, *json.loads(arguments.one))))
        return
    model = arguments.weights or f"{arguments.config}, random weights"
    print(f"{model}; {arguments.device}, {arguments.threads} threads")
    print(f"{'frames':>7} {'batch':>5} {'ready s':>8} {'frames/s':>9} {'CPU s/frame':>12} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for frames in arguments.frames:
            driving = Path(folder, f"{frames}.mp4")
            subprocess.run([sys.executable, "-c", MAKE, str(driving), str(frames)], check=True)
            for batch_size in arguments.batch_size:
                one = ["--one", json.dumps([str(driving), batch_size])]
                command = [sys.executable, __file__, *sys.argv[1:], *one]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{frames:7} {batch_size:5} {row['ready']:8.1f} {row['rate']:9.2f} {row['cpu']:12.3f} "
                    f"{row['peak']:9.0f}",
                    flush=True,
                )


# A driving video of a quarter of a megapixel; what it shows does not matter to the clock.
MAKE = """
import sys
import numpy as np
from fomm_lib.video import VideoWriter

path, count = sys.argv[1], int(sys.argv[2])
y, x = np.mgrid[0:512, 0:512] / 512
with VideoWriter(path, 25, (512, 512)) as writer:
    for number in range(count):
        wave = np.stack([np.sin(6 * x + number / 5), np.cos(5 * y - number / 7), np.sin(4 * x * y)], axis=-1)
        writer.write((127 + 100 * wave).astype(np.uint8))
"""


def measure(arguments: argparse.Namespace, driving: str, batch_size: int) -> dict[str, float]:
    """Animate one video in this process."""
    import numpy as np
    import torch

    from fomm_lib.animation import animate
    from fomm_lib.model import FirstOrderMotionModel, load_model

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.weights:
        model = load_model(arguments.weights, device=arguments.device)
    else:
        model = FirstOrderMotionModel(arguments.config).to(arguments.device).eval()
    source = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    ready = time.monotonic() - STARTED
    processor = time.process_time()
    output = Path(driving).with_suffix(".out.mp4")
    result = animate(model, source, driving, output, batch_size=batch_size, overwrite=True, progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "ready": ready,
        "rate": result.frames / result.seconds,
        "cpu": (time.process_time() - processor) / result.frames,
        "peak": peak / (1024 if sys.platform != "darwin" else 1024**2),
    }


if __name__ == "__main__":
    main()
