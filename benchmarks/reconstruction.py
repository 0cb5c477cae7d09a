"""How well a model redraws clips from their first frame, against showing the first frame again and again.

    python benchmarks/reconstruction.py --weights heads-64 --data data/heads --split test

Every clip is animated by itself: its first frame is the source, all its frames drive, absolute. Prints the
mean absolute difference (L1, at the model's size, of values in [0, 1]) of the model and of the repeated first
frame, and their ratio; below 1 the model is the better one.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from fomm_lib.animation import Animator
from fomm_lib.datasets import find_clips, to_tensor
from fomm_lib.model import load_model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="heads-64")
    parser.add_argument("--data", default="data/heads")
    parser.add_argument("--split", default="test", help="a subfolder, or - for the folder itself")
    arguments = parser.parse_args()

    model = load_model(arguments.weights)
    device = next(model.parameters()).device
    clips = find_clips(arguments.data, None if arguments.split == "-" else arguments.split)
    rows = []
    for clip in clips:
        frames = torch.stack([to_tensor(frame, model.size) for frame in clip]).to(device)
        animator = Animator(model, frames[:1], relative=False)
        predictions = torch.cat([animator(batch).prediction for batch in frames.split(8)])
        model_error = (predictions - frames).abs().mean().item()
        repeated_error = (frames[:1] - frames).abs().mean().item()
        rows.append((model_error, repeated_error))
        _print(clip.name, f"{len(frames):5d} frames", model_error, repeated_error)
    ours, repeated = np.mean(rows, axis=0)
    _print(f"mean of {len(rows)} clips", "", ours, repeated)


def _print(name: str, frames: str, ours: float, repeated: float) -> None:
    ratio = f"{ours / repeated:.2f}" if repeated else "-"
    print(f"{name:40s} {frames:12s}   model {ours:.4f}   first frame {repeated:.4f}   ratio {ratio}")


if __name__ == "__main__":
    main()
