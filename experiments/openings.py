"""Do the keypoints that are led to lids and lips follow them in recorded clips (data/weights/README.md)?

    python -m experiments.openings CLIPS                         # of heads-256
    python -m experiments.openings CLIPS --weights my.safetensors --every 2

Of every pair of `opening_maps` in the config, how far its two keypoints are apart is compared with how far
those landmarks are apart to which they are led: slope 1 if they open as far as landmarks say, correlation 1
if at the same time; with 95 % intervals over clips. The generator can show no more than its keypoints say.
Needs the extra `faces`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fomm_lib.config import LedKeypoint
from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import following, format_interval, markdown_table
from fomm_lib.geometry import to_pixels
from fomm_lib.media.faces import read_faces
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import load_model


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
        if not {number for pair in pairs for number in pair} <= {one.keypoint for one in led} or not pairs:
            raise InputError(f"{options.weights}: its config has no opening_maps of led_keypoints")
        found, true = [[] for _ in pairs], [[] for _ in pairs]
        for clip in find_clips(options.clips, None):
            images = [to_tensor(image, model.size) for image in clip.read(range(0, len(clip), options.every))]
            landmarks = read_faces(torch.stack(images)).steady
            with torch.inference_mode():
                values = torch.cat([model.detect(image[None]).value for image in images])
            keypoints = to_pixels(values, *model.size).numpy()
            for k, pair in enumerate(pairs):
                one, other = openings(keypoints, landmarks, pair, led)
                found[k].append(one)
                true[k].append(other)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    rows = []
    for k, pair in enumerate(pairs):
        line = following(found[k], true[k])
        numbers = (format_interval(line.slope, 2), format_interval(line.correlation, 2))
        rows.append([f"{pair[0]} and {pair[1]}", *numbers])
    print(markdown_table(["keypoints", "slope", "correlation"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
