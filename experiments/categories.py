"""Heads, bodies, animals and vehicles: the same code without labels; the trainings and tables of notebook 13.

    python -m experiments.categories data  --data runs/categories                      # about 4 minutes
    python -m experiments.categories train --data runs/categories --runs runs/trained  # 10 or 48 a model
    python -m experiments.categories table --data runs/categories --runs runs/trained  # about 2
    python -m experiments.categories unfit --data runs/categories --runs runs/trained  # about 4

`data` renders for each category 160 to 240 clips of 12 frames to train on (seed 21) and 20 to test (seed 22),
these with the true motion of six pairs each, and makes `all`, the clips of the four together. `train` makes
the models of `MODELS`, one after the other, on one thread; a training that was stopped goes on. RUNS/MODEL/
seconds.txt says how long it took.

`table` writes results.csv, a row a model and a category of test clips; `steps`, `seconds` (of the training)
and means over the pairs with truth: l1; lpips (AlexNet); epe, the end-point error on the subject where the
source shows the point, in pixels of 256; follow, the share of true landmarks that follow a keypoint (see
`true_motion.landmarks_followed`), and follow_chance, the same with the keypoints of another pair. `repeat`
shows the source again.
It writes pairs.csv too, a row a pair: `moved` is the mean true motion of the subject in pixels of 256; and
steps.jpg and adaptation.csv, samples and L1 of a training on the way.

`export` writes weights in half precision, and the curves of their trainings, into data/weights.

`unfit` trains on clips that break what the method assumes, made from those of vehicles: `moving camera`,
`two subjects`, `cuts`, and `clean` for comparison, `UNFIT_STEPS` each, and writes unfit.csv: measures as
above on the test clips of vehicles.

Written to data/categories/results, or to --out. Needs the extras `synthetic` (`data`) and `metrics`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm_lib.checkpoints import read_checkpoint, write_weights
from fomm_lib.config import Config
from fomm_lib.data.clips import find_clips
from fomm_lib.data.tables import read_cells, write_cells
from fomm_lib.evaluation.images import l1, lpips_network
from fomm_lib.evaluation.true_motion import end_point_error, landmarks_followed
from fomm_lib.files import data_path
from fomm_lib.geometry import coordinate_grid, resize_flow
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.truth import read_truth
from fomm_lib.training.loop import train, with_train_params
from fomm_lib.training.validation import Validation

Row = dict[str, str | int | float]
CLIPS = {"heads": 190, "bodies": 240, "animals": 160, "vehicles": 160}
SMALL = "heads-64-small"
BATCH = 4
MODELS = {  # name: (config, folder of the data, start, steps)
    SMALL: (SMALL, "heads", None, 1500),
    "bodies-64": ("bodies-64", "bodies", SMALL, 11_000),
    "animals-64": ("animals-64", "animals", SMALL, 11_000),
    "vehicles-64": ("vehicles-64", "vehicles", SMALL, 11_000),
    "unified-64": ("unified-64", "all", SMALL, 11_000),
    "bodies-64-first": ("bodies-64", "bodies", SMALL, 2400),
    "bodies-64-zeroth": ("bodies-64-zeroth", "bodies", SMALL, 2400),
    "vehicles-64-first": ("vehicles-64", "vehicles", SMALL, 2400),
    "vehicles-64-zeroth": ("vehicles-64-zeroth", "vehicles", SMALL, 2400),
}
"""The models ending on -first and -zeroth compare the orders of motion, after equal steps."""
INCLUDED = ("heads-64",)
"""Models of the course that are measured too."""
EXPORTED = (SMALL, "bodies-64", "animals-64", "vehicles-64", "unified-64")
SHEET_STEPS = (100, 500, 2000, 11_000)
UNFIT = ("clean", "moving camera", "two subjects", "cuts")
UNFIT_STEPS = 300


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
    """Train one model, or go on with it; its weights. The learning rate falls after 85 % of the steps."""
    config, folder, start, steps = MODELS[name]
    passes = steps / (len(find_clips(data / folder, "train")) // BATCH)
    config = with_train_params(config, batch_size=BATCH, epoch_milestones=[int(0.85 * passes)])
    init = runs / start / "weights.safetensors" if start in MODELS else start
    return fit(
        config, data / folder, runs / name.replace(" ", "-"), steps, init, seed, runs / "cache" / folder
    )


def fit(
    config: str | Config, data: Path, out: Path, steps: int, init: Path | str | None, seed: int, cache: Path
) -> Path:
    """Train, or go on; out/seconds.txt gets the time, unless the training was stopped on the way."""
    resumed, started = (out / "states").is_dir(), time.perf_counter()
    weights = train(
        config,
        data,
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
        cache=cache,
    )
    if not resumed:
        (out / "seconds.txt").write_text(f"{time.perf_counter() - started:.0f}\n")
    return weights


@dataclass
class Pairs:
    """Pairs of test frames of one category with their truth.

    Attributes:
        source, driving: (N, 3, 64, 64); flow: (N, 64, 64, 2); counted: (N, 64, 64) bool, the subject where
            the source shows it; landmarks: (N, 2, n, 2) of source and driving frame.
    """

    source: Tensor
    driving: Tensor
    flow: Tensor
    counted: Tensor
    landmarks: Tensor


def read_pairs(folder: Path) -> Pairs:
    """All pairs with truth of the test clips in a folder."""
    images, flows, counted, landmarks = [], [], [], []
    for clip in find_clips(folder, "test"):
        truth, frames = read_truth(clip.path), torch.stack([to_tensor(frame) for frame in clip])
        images.append(frames[torch.from_numpy(truth.pairs)])
        flows.append(torch.from_numpy(truth.flow).float())
        counted.append(torch.from_numpy(truth.visible & truth.surface))
        landmarks.append(torch.from_numpy(truth.landmarks)[torch.from_numpy(truth.pairs)])
    source, driving = torch.cat(images).unbind(1)
    return Pairs(source, driving, torch.cat(flows), torch.cat(counted), torch.cat(landmarks))


@torch.inference_mode()
def measure(model: FirstOrderMotionModel | None, pairs: Pairs, lpips: torch.nn.Module) -> list[Row]:
    """The measures of every pair; see the top of this module. None shows the source again."""
    still = coordinate_grid(64, 64)
    made, flows, keypoints = [], [], []
    for source, driving in zip(pairs.source.split(20), pairs.driving.split(20), strict=True):
        if model is None:
            made.append(source)
            flows.append(still.expand(len(source), -1, -1, -1))
            keypoints.append(torch.zeros(len(source), 2, 10, 2))
            continue
        kp = model.detect(source), model.detect(driving)
        generated = model.generate(source, *kp)
        made.append(generated.prediction)
        flows.append(resize_flow(generated.deformation, 64, 64))
        keypoints.append(torch.stack([one.value for one in kp], dim=1))
    images, flow, points = torch.cat(made), torch.cat(flows), torch.cat(keypoints)
    others = points.roll(6, 0)  # of another clip: there are six pairs a clip
    errors, distances = l1(images, pairs.driving), lpips(images, pairs.driving)
    rows = []
    for k in range(len(images)):
        rows.append(
            {
                "l1": float(errors[k]),
                "lpips": float(distances[k]),
                "epe": end_point_error(flow[k], pairs.flow[k], pairs.counted[k]),
                "follow": float(landmarks_followed(points[k], pairs.landmarks[k]).nanmean()),
                "follow_chance": float(landmarks_followed(others[k], pairs.landmarks[k]).nanmean()),
                "moved": end_point_error(still, pairs.flow[k], pairs.counted[k]),
            }
        )
    return rows


def means(rows: list[Row]) -> Row:
    """The mean of every measure, without NaN."""
    return {name: float(f"{np.nanmean([row[name] for row in rows]):.4g}") for name in rows[0]}


def open_models(names: Iterable[str], runs: Path) -> dict[str, tuple[FirstOrderMotionModel | None, Row]]:
    """Models by name, with their steps and seconds; "repeat" is None."""
    result: dict[str, tuple[FirstOrderMotionModel | None, Row]] = {"repeat": (None, {})}
    for name in names:
        folder = runs / name.replace(" ", "-")
        if (folder / "states").is_dir() and not (folder / "seconds.txt").exists():
            continue  # still in training
        if name in INCLUDED:
            result[name] = load_model(name, device="cpu").eval(), {}
        elif (folder / "weights.safetensors").exists():
            spent = folder / "seconds.txt"
            note: Row = {"steps": MODELS[name][3] if name in MODELS else UNFIT_STEPS}
            if spent.exists():
                note["seconds"] = int(spent.read_text())
            result[name] = load_model(folder / "weights.safetensors", device="cpu").eval(), note
    return result


def read(path: Path) -> list[Row]:
    """The rows of a CSV, none if it does not exist."""
    return [dict(row) for _, row in read_cells(path, "results")] if path.is_file() else []


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as a CSV, with all columns that one of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cells(path, [columns, *([row.get(name) for name in columns] for row in rows)], overwrite=True)


def table(data: Path, runs: Path, out: Path) -> None:
    """results.csv and pairs.csv; a row that is there already is not measured again."""
    lpips, models = lpips_network(), open_models([*INCLUDED, *MODELS], runs)
    rows, single = read(out / "results.csv"), read(out / "pairs.csv")
    done = {(row["model"], row["category"]) for row in rows}
    for category in CLIPS:
        wanted = {name: found for name, found in models.items() if (name, category) not in done}
        pairs = read_pairs(data / category) if wanted else None
        for name, (model, note) in wanted.items():
            found = measure(model, pairs, lpips)
            rows.append({"model": name, "category": category, "seed": 0, **note, **means(found)})
            single += [
                {"model": name, "category": category, "pair": k}
                | {key: float(f"{row[key]:.4g}") for key in ("moved", "l1", "epe")}
                for k, row in enumerate(found)
            ]
            print(rows[-1], flush=True)
    write(out / "results.csv", rows)
    write(out / "pairs.csv", single)


def export(runs: Path, out: Path) -> None:
    """The weights of the course: detector and generator in half precision, and the curves of the training."""
    for name in EXPORTED:
        checkpoint = read_checkpoint(runs / name / "weights.safetensors")
        networks = {key: part for key, part in checkpoint.networks.items() if key != "discriminator"}
        _, start, steps = MODELS[name][1:]
        notes = {"what": f"{steps} steps without labels, from {start or 'scratch'}", "seed": "0"}
        write_weights(out / f"{name}.safetensors", networks, checkpoint.config, notes=notes, overwrite=True)
        kept = ("step", "epoch", "seconds", "perceptual", "equivariance_value", "equivariance_jacobian")
        rows = [[row[key] for key in kept] for row in read(runs / name / "losses.csv")]
        write_cells(out / f"{name}.csv", [kept, *rows], overwrite=True)


def adaptation(data: Path, runs: Path, out: Path) -> None:
    """adaptation.csv: L1 on 48 pairs of test bodies while the head model is fine-tuned to bodies."""
    validation = Validation(data / "bodies", (64, 64))
    still = float(l1(validation.source, validation.driving).mean())
    start = validation(load_model(runs / SMALL / "weights.safetensors", device="cpu"))["l1"]
    rows: list[Row] = [
        {"step": "repeat", "l1": f"{still:.4f}"},
        {"step": 0, "seconds": 0, "l1": f"{start:.4f}"},
    ]
    seconds = {row["step"]: row["seconds"] for row in read(runs / "bodies-64" / "losses.csv")}
    for row in read(runs / "bodies-64" / "validation.csv"):
        spent = round(float(seconds[row["step"]]))
        rows.append({"step": row["step"], "seconds": spent, "l1": f"{float(row['l1']):.4f}"})
    write(out / "adaptation.csv", rows)


def steps_sheet(runs: Path, out: Path) -> None:
    """steps.jpg: the samples of bodies-64 after each of `SHEET_STEPS`, the first two rows of each."""
    parts = []
    for step in SHEET_STEPS:
        sample = Image.open(runs / "bodies-64" / "samples" / f"{step:07d}.png").convert("RGB")
        width, height = sample.size
        parts.append(np.asarray(sample.resize((width // 2, height // 2)))[: height // 4])
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(parts)).save(out / "steps.jpg", quality=88, subsampling=0)


def spoil(kind: str, frames: list[np.ndarray], other: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Frames, (64, 64, 3) each, that break an assumption of the method; see the top of this module."""
    rng = np.random.default_rng(seed)
    if kind == "moving camera":
        path = np.clip(np.cumsum(rng.normal(0, 5, (len(frames), 2)), axis=0) + 10, 0, 20).astype(int)
        large = [np.asarray(Image.fromarray(frame).resize((84, 84))) for frame in frames]
        return [image[y : y + 64, x : x + 64] for image, (x, y) in zip(large, path, strict=True)]
    if kind == "two subjects":
        return [np.hstack([a[:, 16:48], b[:, 16:48]]) for a, b in zip(frames, other, strict=True)]
    if kind == "cuts":
        return [*frames[: len(frames) // 2], *other[len(frames) // 2 :]]
    return frames


def unfit(data: Path, runs: Path, out: Path) -> None:
    """unfit.csv, and unfit.jpg with four frames of a clip of each kind."""
    clips = find_clips(data / "vehicles", "train")
    sheet = []
    for kind in UNFIT:
        folder = data / "unfit" / kind.replace(" ", "-")
        for number, clip in enumerate(clips):
            frames = spoil(kind, list(clip), list(clips[(number + 1) % len(clips)]), number)
            if number == 0:
                sheet.append(np.hstack([frames[k] for k in (0, 4, 8, 11)]))
            place = folder / clip.name
            place.mkdir(parents=True, exist_ok=True)
            for k, frame in enumerate(frames):
                Image.fromarray(frame).save(place / f"{k:04d}.png")
        init = runs / SMALL / "weights.safetensors"
        fit("vehicles-64", folder, runs / folder.name, UNFIT_STEPS, init, 0, runs / "cache" / folder.name)
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(sheet)).save(out / "unfit.jpg", quality=90, subsampling=0)
    pairs, lpips = read_pairs(data / "vehicles"), lpips_network()
    rows = [
        {"data": name, "seed": 0, **note, **means(measure(model, pairs, lpips))}
        for name, (model, note) in open_models(UNFIT, runs).items()
    ]
    write(out / "unfit.csv", rows)


def main() -> None:
    """Read the arguments, and do one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["data", "train", "table", "unfit", "export"])
    parser.add_argument("--data", type=Path, default=Path("runs/categories"))
    parser.add_argument("--runs", type=Path, default=Path("runs/trained"))
    parser.add_argument("--out", type=Path, default=Path("data/categories/results"))
    parser.add_argument("--only", nargs="*", help="names of models to train")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "data":
        make_data(arguments.data)
    elif arguments.part == "train":
        for name in arguments.only or MODELS:
            print(make_model(name, arguments.data, arguments.runs), flush=True)
    elif arguments.part == "table":
        table(arguments.data, arguments.runs, arguments.out)
        adaptation(arguments.data, arguments.runs, arguments.out)
        steps_sheet(arguments.runs, arguments.out)
    elif arguments.part == "export":
        export(arguments.runs, data_path("weights"))
    else:
        unfit(arguments.data, arguments.runs, arguments.out)


if __name__ == "__main__":
    main()
