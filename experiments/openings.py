"""Do the keypoints that are led to lids and lips follow them, and do eyes close (data/weights/README.md)?

    python -m experiments.openings CLIPS                         # of heads-256
    python -m experiments.openings CLIPS --weights my.safetensors --every 2

Of every pair of `opening_maps` in the config, how far its two keypoints are apart is compared with how far
those landmarks are apart to which they are led: slope 1 if they open as far as landmarks say, correlation 1
if at the same time; with 95 % intervals over clips. The generator can show no more than its keypoints say.

The last row is of what it shows: how a box of 19x11 pixels of 256 around each eye changes, in the clip and
in its reconstruction from the frame whose eyes are open farthest. From every pixel of the box the mean of the
frame is taken off, then the mean over time: light and skin do not count, an iris that vanishes behind a lid
does. No landmarks are read from the result: their readers hardly see a lid that is half closed.

Landmarks are those of the truth where a clip has it (`fomm synthesize`, `fomm photographs`), else they are
read from the images, which needs the extra `faces`.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fomm_lib.config import LedKeypoint
from fomm_lib.data.clips import Clip, find_clips
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import following, format_interval, markdown_table
from fomm_lib.evaluation.movements import read_movements
from fomm_lib.geometry import to_pixels
from fomm_lib.media.faces import read_faces
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.synthetic.truth import read_truth, truth_path

EYES = (range(36, 42), range(42, 48))  # right and left, of iBUG's 68 landmarks


def openings(
    keypoints: np.ndarray, landmarks: np.ndarray, pair: Sequence[int], led: Sequence[LedKeypoint]
) -> tuple[np.ndarray, np.ndarray]:
    """How far two keypoints are apart in every frame, and the landmarks they are led to; (T,) each.

    Args:
        keypoints: (T, K, 2); landmarks: (T, 68, 2), in the same units.
    """
    of = {one.keypoint: landmarks[:, one.landmarks].mean(1) for one in led}
    return tuple(
        np.linalg.norm(one - other, axis=-1)
        for one, other in ((keypoints[:, pair[0]], keypoints[:, pair[1]]), (of[pair[0]], of[pair[1]]))
    )


def patterns(images: Tensor, points: np.ndarray) -> np.ndarray:
    """The greys of a box of 19x11 pixels of 256 around a point of every image, without their mean, then
    without the mean of all images: (T, pixels); NaN where the box leaves the image.

    Args:
        images: (T, 3, H, W); points: (T, 2), in pixels; NaN where there is no face.
    """
    height, width = images.shape[-2:]
    right, down = round(9 * width / 256), round(5 * height / 256)
    boxes = np.full((len(images), 2 * down + 1, 2 * right + 1), np.nan)
    for k, point in enumerate(points):
        if np.isnan(point).any():
            continue
        x, y = (round(float(value)) for value in point)
        if right <= x < width - right and down <= y < height - down:
            boxes[k] = images[k, :, y - down : y + down + 1, x - right : x + right + 1].mean(0)
    boxes = boxes.reshape(len(images), -1)
    boxes -= boxes.mean(1, keepdims=True)
    known = ~np.isnan(boxes[:, 0])
    boxes[known] -= boxes[known].mean(0)
    return boxes


def read_clip(clip: Clip, every: int, size: tuple[int, int]) -> tuple[Tensor, np.ndarray]:
    """Every so manieth frame (T, 3, H, W), and their landmarks (T, 68, 2) in pixels."""
    numbers = range(0, len(clip), every)
    images = torch.stack([to_tensor(image, size) for image in clip.read(numbers)])
    if truth_path(clip.path).exists():
        known = torch.from_numpy(read_truth(clip.path).landmarks[numbers])
        return images, to_pixels(known, *size).numpy()
    return images, read_faces(images).steady


@torch.inference_mode()
def follow(model: FirstOrderMotionModel, images: Tensor, source: int) -> tuple[np.ndarray, Tensor]:
    """Keypoints of all frames (T, K, 2) in pixels, and all frames made from one of them (T, 3, H, W)."""
    keypoints = [model.detect(image[None]) for image in images]
    encoded = model.encode(images[source, None])
    made = [model.generate(encoded, keypoints[source], one).prediction for one in keypoints]
    values = torch.cat([one.value for one in keypoints])
    return to_pixels(values, *images.shape[-2:]).numpy(), torch.cat(made)


def main(arguments: list[str] | None = None) -> int:
    """The command; 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, help="a folder of clips of faces")
    parser.add_argument("--weights", default="heads-256")
    parser.add_argument("--every", type=int, default=1, help="take every so manieth frame")
    options = parser.parse_args(arguments)
    try:
        if options.every < 1:
            raise InputError(f"--every {options.every}: must be at least 1")
        model = load_model(options.weights, device="cpu")
        extensions, led = model.config.model_params.extension_params, model.config.train_params.led_keypoints
        pairs = [] if extensions is None else extensions.opening_maps
        if not pairs or not {number for pair in pairs for number in pair} <= {one.keypoint for one in led}:
            raise InputError(f"{options.weights}: its config has no opening_maps of led_keypoints")
        curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)  # found and true, a clip
        for clip in find_clips(options.clips, None):
            images, landmarks = read_clip(clip, options.every, model.size)
            lids = read_movements(landmarks)["lids"]
            if np.isnan(lids).all():
                raise InputError(f"{clip.path}: no face was found in it")
            keypoints, made = follow(model, images, int(np.nanargmax(lids)))
            for pair in pairs:
                curves[f"keypoints {pair[0]} and {pair[1]}"].append(openings(keypoints, landmarks, pair, led))
            for eye in EYES:
                centres = landmarks[:, eye].mean(1)
                curves["eyes"].append((patterns(made, centres).ravel(), patterns(images, centres).ravel()))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    rows = []
    for name, both in curves.items():
        line = following(*zip(*both, strict=True))
        rows.append([name, format_interval(line.slope, 2), format_interval(line.correlation, 2)])
    print(markdown_table(["", "slope", "correlation"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
