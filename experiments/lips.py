"""Do lips follow? How far they part in a model's motion, against the ground truth (data/weights/README.md).

    python -m experiments.lips --data heads                       # the weights that come with the course
    python -m experiments.lips --data heads --weights heads-128 my.safetensors

The data are clips with their truth (`fomm synthesize --truth 10`). For every pair of frames, d and s are the
distances between upper and lower lip (landmarks 51 and 57) in driving and source frame. The true change is
d - s. The model's is d - |T(z_57) - T(z_51)|, with T its dense motion and z the landmarks of the driving
frame. A line fitted to all pairs has slope 1 if lips part as far as they should, and 0 if they do not move;
printed with the correlation.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from fomm_lib.data.clips import find_clips
from fomm_lib.geometry import flow_at
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.synthetic.truth import read_truth
from tools.evaluation_table import HEADS

UPPER, LOWER = 51, 57  # the middle of the lips' outer edge, of iBUG's 68


@torch.inference_mode()
def changes(model: FirstOrderMotionModel, data: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The true change of the distance between the lips for every pair, and the model's."""
    true, found = [], []
    for clip in find_clips(data, split):
        truth = read_truth(clip.path)
        frames = torch.stack([to_tensor(frame, model.size) for frame in clip])
        source, driving = torch.from_numpy(truth.pairs).long().unbind(1)
        motion = model.dense_motion(
            frames[source], model.detect(frames[source]), model.detect(frames[driving])
        ).deformation
        landmarks = torch.from_numpy(truth.landmarks)[:, [UPPER, LOWER]]
        before, after = apart(landmarks[source]), apart(landmarks[driving])
        true.append(after - before)
        found.append(after - apart(flow_at(motion, landmarks[driving])))
    return torch.cat(true).numpy(), torch.cat(found).numpy()


def apart(lips: torch.Tensor) -> torch.Tensor:
    """The distance of two points, (N, 2, 2) to (N,)."""
    return (lips[:, 1] - lips[:, 0]).norm(dim=-1)


def main() -> None:
    """Print a row for every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of clips with their truth")
    parser.add_argument("--split", default="test")
    parser.add_argument("--weights", nargs="+", default=HEADS, help="names in data/weights, or files")
    arguments = parser.parse_args()
    print(f"{'':24s} slope  correlation")
    for name in arguments.weights:
        true, found = changes(load_model(name, device="cpu"), arguments.data, arguments.split)
        slope, correlation = np.polyfit(true, found, 1)[0], np.corrcoef(true, found)[0, 1]
        print(f"{name[-24:]:24s} {slope:5.2f} {correlation:12.2f}")


if __name__ == "__main__":
    main()
