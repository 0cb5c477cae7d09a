"""Heads, bodies, animals and vehicles: the same code without labels; the trainings and tables of notebook 13.

    python -m experiments.categories data  --data runs/categories                    # rendering, about 15 minutes
    python -m experiments.categories train --data runs/categories --runs runs/trained --only bodies-64
    python -m experiments.categories table --data runs/categories --runs runs/trained # about 5 minutes
    python -m experiments.categories order --data runs/categories --runs runs/trained
    python -m experiments.categories data-that-fails --data runs/categories --runs runs/trained

`data`: for each category 160 to 240 clips of 12 frames to train on (seed 21) and 20 to test (seed 22), with
the true motion of six pairs each, and `all`, the clips of the four together. `train`: the models of `MODELS`,
one after the other, on one thread; a training that was stopped goes on. runs/MODEL/seconds.txt says how long.

`table` writes results.csv: a row a model and a category of test clips, each a mean over the pairs with truth:
l1, lpips (AlexNet); epe, end-point error where the source shows the point, on the subject, in pixels of 256;
follow, the share of true landmarks that follow a keypoint (see `followed`), and follow_chance, the same with
the keypoints of another pair. `repeat` is the source, shown again. `MODEL fine-tuned` has learned the category
for `FINE_TUNING` steps more.

`order`: l1 and epe by how much a pair moves, for first order and zeroth order; pairs.csv has a row a pair.

Written to data/categories/results, or to --out. Needs the extra `synthetic` for `data`, and `metrics`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.data.clips import find_clips
from fomm_lib.data.tables import read_cells, write_cells
from fomm_lib.evaluation.images import l1, lpips_network
from fomm_lib.evaluation.true_motion import end_point_error
from fomm_lib.files import data_path
from fomm_lib.geometry import coordinate_grid, resize_displacement
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.synthetic.categories.clip import CATEGORIES
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.truth import read_truth
from fomm_lib.training.loop import train

CLIPS = {"heads": 190, "bodies": 240, "animals": 160, "vehicles": 160}
MODELS = {  # name: (folder of the data, start, steps)
    "heads-64-small": ("heads", None, 500),
    "bodies-64": ("bodies", "heads-64-small", 1000),
    "unified-64": ("all", "heads-64-small", 1000),
    "animals-64": ("animals", "heads-64-small", 1000),
    "vehicles-64": ("vehicles", "heads-64-small", 1000),
    "bodies-64-zeroth": ("bodies", "heads-64-small", 1000),
    "vehicles-64-zeroth": ("vehicles", "heads-64-small", 1000),
    "animals-64-zeroth": ("animals", "heads-64-small", 1000),
}


def make_data(data: Path) -> None:
    """Render the clips, and link those of all categories into one folder."""
    same = {"frames": 12, "size": 64, "fps": 1.67, "format": "png"}
    for category, count in CLIPS.items():
        synthesize(data / category / "train", count, seed=21, category=category, **same)
        synthesize(data / category / "test", 20, seed=22, category=category, truth=6, **same)
    for split in ("train", "test"):
        for category in CLIPS:
            for clip in find_clips(data / category, split):
                folder = data / "all" / split / clip.name
                folder.mkdir(parents=True, exist_ok=True)
                for image in clip.path.iterdir():
                    if not (folder / image.name).exists():
                        os.link(image, folder / image.name)


def make_model(name: str, data: Path, runs: Path, seed: int = 0) -> Path:
    """Train one model, or go on with it; its weights."""
    folder, start, steps = MODELS[name]
    out = runs / name
    init = None if start is None else runs / start / "weights.safetensors"
    spent, resumed, started = out / "seconds.txt", (out / "states").is_dir(), time.perf_counter()
    weights = train(
        name,
        data / folder,
        out,
        steps,
        seed=seed,
        init=init,
        resume=True,
        bf16=True,
        device="cpu",
        log_every=25,
        sample_every=100,
        checkpoint_every=250,
        keep=1,
        tensorboard=False,
        cache=runs / "cache",
    )
    if not resumed and not spent.exists():
        spent.write_text(f"{time.perf_counter() - started:.0f}\n")
    return weights


def main() -> None:
    """Read the arguments, and do one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["data", "train"])
    parser.add_argument("--data", type=Path, default=Path("runs/categories"))
    parser.add_argument("--runs", type=Path, default=Path("runs/trained"))
    parser.add_argument("--only", nargs="*", help="names of models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "data":
        make_data(arguments.data)
    if arguments.part == "train":
        for name in arguments.only or MODELS:
            print(make_model(name, arguments.data, arguments.runs), flush=True)


if __name__ == "__main__":
    main()
