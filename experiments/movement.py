"""Which frame is the best reference, and do keypoints separate pose and expression? Measured on true poses.

    python -m experiments.movement                        # heads-64; needs the extras synthetic and faces
    python -m experiments.movement --weights my.safetensors

The test clips of data/heads are rendered, so the true rotation of every head and its landmarks are known.

*Best frame*: each head in three poses is the source, each other clip drives; the angle, in degrees, between
the head in the chosen driving frame and that of the source. "possible" is the smallest that the clip has.

*Parts*: the keypoints of a frame are split into the affine map of all of them together, since the first
frame, and the rest. Ridge regression predicts the true rotation and the opening of the mouth from either
part; the share of explained variance is measured on every third frame, which it was not fitted to. If the
parts separated pose and expression, the first would explain the rotation and not the mouth, and the rest the
mouth and not the rotation.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from fomm_lib.animation.movement import pose_distance
from fomm_lib.data.clips import find_clips
from fomm_lib.files import data_path
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.faces import landmarks68
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import load_model
from fomm_lib.synthetic.clip import SyntheticClip

EVERY = 3  # every third frame of a clip is a candidate for the best one


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="heads-64", help="a name in data/weights, or a file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(load_model(arguments.weights))
    print(f"{arguments.weights}, {len(clips)} clips")
    print_best_frame(clips)
    print_parts(clips)


def read_clips(model) -> list[dict]:
    """For every test clip: true rotations, true landmarks, keypoints, and the landmarks that dlib finds."""
    known = json.loads(data_path("heads", "test", "synthetic.json").read_text(encoding="utf-8"))
    clips = []
    for number, clip in enumerate(find_clips(data_path("heads"), "test")):
        numbers = range(len(clip))
        frames = clip.read(numbers)
        truth = SyntheticClip(known["seed"], number, len(clip), known["size"], fps=known["fps"])
        with torch.inference_mode():
            kp = model.detect(torch.stack([to_tensor(frame, model.size) for frame in frames]))
        clips.append(
            {
                "rotation": np.stack([np.asarray(truth.head_pose(k).rotation) for k in numbers]),
                "landmarks": np.stack([np.asarray(truth.landmarks(k)) for k in numbers]),
                "keypoints": kp,
                "seen": [landmarks68(frame) for frame in frames[::EVERY]],
            }
        )
    return clips


def print_best_frame(clips: list[dict]) -> None:
    """The angle between the head of the chosen frame and that of the source."""
    found: dict[str, list[float]] = {}
    for source in clips:
        for driving in clips:
            if source is driving:
                continue
            for i in (0, 7, 14):
                if source["seen"][i] is None or all(points is None for points in driving["seen"]):
                    continue
                kp, candidates = source["keypoints"][::EVERY], driving["keypoints"][::EVERY]
                seen = [
                    np.inf
                    if points is None
                    else float(pose_distance(as_kp(source["seen"][i]), as_kp(points)))
                    for points in driving["seen"]
                ]
                own, others = source["rotation"][i * EVERY], driving["rotation"][::EVERY]
                true = [angle(own, rotation) for rotation in others]
                chosen = {
                    "the first": 0,
                    "by keypoints": int(pose_distance(kp[i : i + 1], candidates).argmin()),
                    "by landmarks": int(np.argmin(seen)),
                    "possible": int(np.argmin(true)),
                }
                for name, frame in chosen.items():
                    found.setdefault(name, []).append(true[frame])
    print(f"\n{'best frame':14} {'mean, degrees':>14} {'median':>8}   ({len(found['possible'])} pairs)")
    for name, angles in found.items():
        print(f"{name:14} {np.mean(angles):14.1f} {np.median(angles):8.1f}")


def print_parts(clips: list[dict]) -> None:
    """The share of variance that each part of the keypoints explains, as the median over clips."""
    shares: dict[tuple[str, str], list[float]] = {}
    for clip in clips:
        points = clip["keypoints"].value.double().numpy()
        together = np.stack([affine_part(points[0], frame) for frame in points])
        turn = np.arctan2(clip["rotation"][:, 0, 2], clip["rotation"][:, 2, 2])
        lips = np.linalg.norm(clip["landmarks"][:, 62] - clip["landmarks"][:, 66], axis=-1)
        for part, values in (("affine part", together), ("rest", points - together)):
            for what, truth in (("turn", turn), ("mouth", lips)):
                shares.setdefault((part, what), []).append(explained(values.reshape(len(values), -1), truth))
    print(f"\n{'explains':14} {'turn':>8} {'mouth':>8}   (share of variance on frames left out)")
    for part in ("affine part", "rest"):
        turn, mouth = (np.median(shares[part, what]) for what in ("turn", "mouth"))
        print(f"{part:14} {turn:8.2f} {mouth:8.2f}")


def as_kp(points: np.ndarray) -> Keypoints:
    """Landmarks (68, 2) as one set of keypoints."""
    return Keypoints(torch.from_numpy(points)[None])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two rotations."""
    return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


def affine_part(first: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The points of the first frame under the best affine map to the others: (K, 2)."""
    known = np.c_[first, np.ones(len(first))]
    return known @ np.linalg.lstsq(known, points, rcond=None)[0]


def explained(features: np.ndarray, truth: np.ndarray) -> float:
    """1 - (squared error / variance) on every third row, of a ridge regression fitted to the others."""
    features = np.c_[features, np.ones(len(features))]
    fitted = np.arange(len(truth)) % 3 != 0
    known, values = features[fitted], truth[fitted]
    weights = np.linalg.solve(known.T @ known + 1e-3 * np.eye(known.shape[1]), known.T @ values)
    error = truth[~fitted] - features[~fitted] @ weights
    return 1 - float((error**2).mean() / truth[~fitted].var())


if __name__ == "__main__":
    main()
