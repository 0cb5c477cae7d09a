"""What each setting for stability does: short trainings that differ in one setting, at two learning rates.

    python -m experiments.stability --out runs/stability                       # all, some minutes
    python -m experiments.stability --out runs/stability --variants plain "warm-up" --steps 100
    nice -n 19 python -m experiments.stability --out runs/limits --seeds 3 --steps 150 --variants \
        plain EMA R1 "gradient penalty" "spectral norm" "falling rate"

Images of 32x32 of the synthetic heads in data/heads, narrow networks, all six losses. The first table of
these commands is data/training/stability.csv, which notebook 07 shows (of the first seven variants); the last
one is data/limits/stability.csv, with the curves beside it, for notebook 14. A row for each run:

    variant, rate, seed   which; `rate` is the learning rate of all networks
    steps                 how many were done: fewer than requested if a number was not finite
    l1, l1_spread         on held-out heads: mean over the last four validations, and how far they differ
                          (standard deviation); one every 25 steps
    perceptual            mean of the last 50 steps
    disc_gan              mean of the last 50 steps: 1 if the discriminator cannot tell, 0 if it always can
    gradient              the generator's: largest of all rows over their median (rows are means of 5 steps)

`stability_curves.csv` has the perceptual loss of every 5 steps, a column for each run.

A seed repeats a run with the same code, release of torch and processor only: of two tables made with seed 0,
`l1` differs by up to 0.006 at the rate 0.001 and by up to 0.009 at 0.01.
"""

from __future__ import annotations

import argparse
import copy
import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fomm_lib.blocks import scale_name
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.gan import gradient_penalty
from fomm_lib.geometry import at_least_float32
from fomm_lib.keypoints import Keypoints
from fomm_lib.training import loop
from fomm_lib.training.step import TrainingStep

SMALL = {
    "dataset_params": {"frame_shape": [32, 32, 3]},
    "model_params": {
        "common_params": {"num_kp": 5},
        "kp_detector_params": {
            "block_expansion": 8,
            "max_features": 32,
            "num_blocks": 3,
            "scale_factor": 0.5,
            "pad": 3,
        },
        "generator_params": {
            "block_expansion": 16,
            "max_features": 32,
            "num_down_blocks": 1,
            "num_bottleneck_blocks": 2,
            "estimate_occlusion_map": True,
            "dense_motion_params": {
                "block_expansion": 8,
                "max_features": 32,
                "num_blocks": 3,
                "scale_factor": 0.5,
            },
        },
        "discriminator_params": {"block_expansion": 16, "max_features": 64, "num_blocks": 2},
    },
    "train_params": {
        "batch_size": 4,
        "scales": [1, 0.5],
        "perceptual_network": "vgg16-lpips",
        "loss_weights": {"generator_gan": 1, "perceptual": [10, 10], "feature_matching": [10, 10]},
    },
}
VARIANTS = {
    "plain": {},
    "EMA": {"ema_decay": 0.98},
    "clipping": {"clip_grad_norm": 10.0},
    "R1": {"r1": 1.0},
    "spectral norm": {"sn": True},
    "warm-up": {"warmup_steps": 100},
    "slower discriminator": {"lr_discriminator": 0.25},
    # An epoch is the 40 clips once, 10 steps: a tenth of the rate from step 91 on.
    "falling rate": {"num_repeats": 1, "epoch_milestones": [9]},
    "gradient penalty": {"r1": 20.0},  # in place of R1, by `PenaltyBetween`; half of it is the weight
}
RATES = (1e-3, 1e-2)


class PenaltyBetween(TrainingStep):
    """A step whose penalty is that of Wasserstein GANs: the discriminator's slope between real and generated
    images should be 1 (`gan.gradient_penalty`). R1 wants slope 0 at real images.
    """

    def adversarial_losses(
        self, fake: dict[float, Tensor], real: dict[float, Tensor], kp: Keypoints
    ) -> dict[str, Tensor]:
        self.generated = fake
        return super().adversarial_losses(fake, real, kp)

    def slope_at_real(self, real: dict[float, Tensor], kp: Keypoints) -> Tensor:
        total = torch.zeros(())
        for scale in self.discriminator.scales:
            network = self.discriminator.discs[scale_name(scale)]
            images = (at_least_float32(each[scale]) for each in (real, self.generated))
            total = total + gradient_penalty(lambda image, net=network: net(image, kp)[1], *images)
        return total


def configured(changes: dict, rate: float) -> dict:
    """`SMALL` with a learning rate and a variant's changes."""
    config = copy.deepcopy(SMALL)
    params = config["train_params"]
    params |= {name: rate for name in ("lr_generator", "lr_kp_detector", "lr_discriminator")}
    for name, value in changes.items():
        if name == "sn":
            config["model_params"]["discriminator_params"]["sn"] = value
        else:
            params[name] = value * rate if name.startswith("lr_") else value
    return config


def column(path: Path, name: str) -> np.ndarray:
    """The numbers of one column of a CSV."""
    with open(path, newline="") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file) if row.get(name)])


def measure(
    out: Path, variant: str, rate: float, seed: int, steps: int, cache: Path
) -> tuple[dict, np.ndarray]:
    """Train once; gives the row and the curve of the perceptual loss."""
    every = {"log_every": 5, "checkpoint_every": 25, "sample_every": steps, "keep": 1}
    quiet = {"progress": False, "tensorboard": False, "device": "cpu", "validation_pairs": 12}
    done = steps
    loop.TrainingStep = PenaltyBetween if variant == "gradient penalty" else TrainingStep
    try:
        loop.train(
            configured(VARIANTS[variant], rate),
            data_path("heads"),
            out,
            steps,
            seed=seed,
            cache=cache,
            **every,
            **quiet,
        )
    except InputError as error:
        if not str(error).startswith("step "):
            raise
        done = int(str(error).removeprefix("step ").split(":")[0])
    losses, validation = out / "losses.csv", out / "validation.csv"
    l1, gradient = column(validation, "l1")[-4:], column(losses, "gradient_generator")
    perceptual = column(losses, "perceptual")
    row = {
        "variant": variant,
        "rate": rate,
        "seed": seed,
        "steps": done,
        "l1": round(float(l1.mean()), 5),
        "l1_spread": round(float(l1.std()), 5),
        "perceptual": round(float(perceptual[-10:].mean()), 3),
        "disc_gan": round(float(column(losses, "disc_gan")[-10:].mean()), 4),
        "gradient": round(float(gradient.max() / np.median(gradient)), 2),
    }
    return row, perceptual


def main() -> None:
    """Run all variants at all rates, and write both tables after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS)[:7], choices=list(VARIANTS))
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, curves = [], {}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for rate in arguments.rates:
            for variant in arguments.variants:
                name = f"{variant}, {rate:g}" + (f", seed {seed}" if seed else "")
                folder = arguments.out / name.replace(", ", "_").replace(" ", "-")
                row, curve = measure(folder, variant, rate, seed, arguments.steps, arguments.out / "cache")
                rows.append(row)
                curves[name] = np.round(curve, 2)
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                with open(arguments.out / "stability.csv", "w", newline="") as file:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)
                with open(arguments.out / "stability_curves.csv", "w", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(["step", *curves])
                    for i in range(arguments.steps // 5):
                        cells = [values[i] if i < len(values) else "" for values in curves.values()]
                        writer.writerow([5 * (i + 1), *cells])


if __name__ == "__main__":
    main()
