"""What landmarks tell about rendered heads, whose truth is known: how exact the readers of evaluation are.

    python -m experiments.landmarks                     # data/heads/test, 16 frames a clip; a minute
    python -m experiments.landmarks FOLDER --every 6    # other clips of `fomm synthesize`

Prints slope and correlation of the movements that `evaluation.movements` reads from images, against the same
of the true landmarks: from the landmarks of one box, and from those of five (`Faces.steady`). And of the
pixels that `evaluation.regions.uncovered` marks, the share that is background which the source hides, and
which share of that background it finds. Needs the extras `faces` and `synthetic`, with EGL.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import following, markdown_table
from fomm_lib.evaluation.movements import MEASURES, read_movements
from fomm_lib.evaluation.regions import uncovered
from fomm_lib.files import data_path
from fomm_lib.geometry import to_pixels
from fomm_lib.media.faces import read_faces
from fomm_lib.media.tensors import to_tensor
from fomm_lib.synthetic.truth import true_clip

READERS = {"one box": "landmarks", "five boxes": "steady"}


def movements_table(read: dict[str, list[np.ndarray]], true: list[np.ndarray]) -> str:
    """Slope and correlation of every movement, a row a reader.

    Args:
        read: reader -> landmarks (T, 68, 2) a clip; true: the same of the truth.
    """
    expected = [read_movements(landmarks) for landmarks in true]
    rows = []
    for reader, clips in read.items():
        found = [read_movements(landmarks) for landmarks in clips]
        lines = [following([f[m] for f in found], [e[m] for e in expected]) for m in MEASURES]
        rows.append([reader, *(f"{one.slope.mean:.2f} / {one.correlation.mean:.2f}" for one in lines)])
    return markdown_table(["slope / correlation", *MEASURES.values()], rows)


def precision_and_recall(masks: np.ndarray, hidden: np.ndarray) -> tuple[float, float]:
    """Of two sets of pixels (N, H, W): the share of the first that is in the second, and the reverse."""
    both = (masks & hidden).sum()
    return float(both / masks.sum()), float(both / hidden.sum())


def main(arguments: list[str] | None = None) -> int:
    """The command; 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=data_path("heads", "test"))
    parser.add_argument("--every", type=int, default=3, help="take every so manieth frame")
    options = parser.parse_args(arguments)
    read: dict[str, list[np.ndarray]] = {reader: [] for reader in READERS}
    true, masks, hidden = [], [], []
    try:
        if options.every < 1:
            raise InputError(f"--every {options.every}: must be at least 1")
        for clip in find_clips(options.folder, None):
            truth = true_clip(clip.path)
            numbers = range(0, len(clip), options.every)
            images = torch.stack([to_tensor(frame) for frame in clip.read(numbers)])
            faces = read_faces(images)
            for reader, name in READERS.items():
                read[reader].append(getattr(faces, name))
            true.append(np.stack([to_pixels(truth.landmarks(k), 256, 256).numpy() for k in numbers]))
            few = list(range(len(numbers)))[5::5]
            masks.append(uncovered(images[0], images[few], faces.landmarks[0], faces.landmarks[few]))
            motions = [truth.true_motion(0, numbers[k]) for k in few]
            hidden.append(torch.stack([~m.visible & ~m.surface for m in motions]).numpy())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(movements_table(read, true))
    precision, recall = precision_and_recall(np.concatenate(masks), np.concatenate(hidden))
    print(f"\nuncovered background: {precision:.2f} of the marked pixels, {recall:.2f} of it is marked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
