"""Which changes help a GAN that loses modes: four discriminators, two balances, eight seeds.

    python -m experiments.islands --out data/gan                  # all; an hour on one slow core
    python -m experiments.islands --out runs/islands --steps 100  # a try

The data are eight small clusters on a ring, as in notebook 01. `islands.csv` has a row for each run and
moment:

    balance     fast: five steps of the discriminator for each of the generator, at five times its rate;
                even: one step each, at the same rate
    method      nothing, least squares (both without a bound), gradient penalty, spectral norm
    seed, step  step of the generator
    covered     modes with at least a quarter of the samples that they have in the data, 0 to 8
    precision   fraction of 2000 samples within three standard deviations of a mode
    disc_loss   the discriminator's loss, mean of the seeds and of the steps since the last row,
                without the penalty

`islands.npz` has 400 samples of the last step of seed 0, an array for each `balance, method`.

All seeds train side by side: layer and batch have one more axis, and every operation serves all of them.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib import gan
from fomm_lib.files import atomic_output

ANGLES = torch.arange(8) * (2 * math.pi / 8)
ISLANDS = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)
WIDTH = 0.05
BATCH = 128
METHODS = {
    "nothing": {},
    "least squares": {"least_squares": True},
    "gradient penalty": {"penalty": 0.1},
    "spectral norm": {"max_slope": 10.0},
}
BALANCES = {
    "fast": {"steps": 1500, "discriminator_steps": 5, "rate": 1e-3, "discriminator_rate": 5e-3},
    "even": {"steps": 3000, "discriminator_steps": 1, "rate": 2e-3, "discriminator_rate": 2e-3},
}
MOMENTS = 10  # rows of each run


class Stack(nn.Module):
    """Networks 2 -> 64 -> 64 -> out, one for each seed: (seeds, batch, 2) -> (seeds, batch, out).

    With `max_slope`, each layer is divided by its largest singular value, and the output multiplied by
    `max_slope`.
    """

    def __init__(self, seeds: int, out: int, max_slope: float = 0.0):
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for width_in, width_out in ((2, 64), (64, 64), (64, out)):
            bound = 1 / math.sqrt(width_in)  # that of nn.Linear
            self.weights.append((2 * torch.rand(seeds, width_in, width_out) - 1) * bound)
            self.biases.append((2 * torch.rand(seeds, 1, width_out) - 1) * bound)
        self.max_slope = max_slope
        self.directions = [F.normalize(torch.randn(seeds, w.shape[1], 1), dim=1) for w in self.weights]

    def forward(self, x: Tensor) -> Tensor:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer:
                x = F.leaky_relu(x, 0.2)
            x = torch.baddbmm(bias, x, self._bounded(layer, weight) if self.max_slope else weight)
        return x * (self.max_slope or 1.0)

    def _bounded(self, layer: int, weight: Tensor) -> Tensor:
        with torch.no_grad():
            v = F.normalize(weight.mT @ self.directions[layer], dim=1)
            u = self.directions[layer] = F.normalize(weight @ v, dim=1)
        return weight / (u.mT @ weight @ v)


def real_samples(seeds: int, number: int) -> Tensor:
    """(seeds, number, 2)."""
    return ISLANDS[torch.randint(8, (seeds, number))] + WIDTH * torch.randn(seeds, number, 2)


def discriminator_loss(on_real: Tensor, on_fake: Tensor, least_squares: bool) -> Tensor:
    """The mean loss over all seeds."""
    if least_squares:
        return gan.lsgan_discriminator_loss(on_real, on_fake)
    of_real = gan.binary_cross_entropy(on_real, 1.0, from_logits=True)
    return of_real + gan.binary_cross_entropy(on_fake, 0.0, from_logits=True)


def generator_loss(on_fake: Tensor, least_squares: bool) -> Tensor:
    """The mean loss over all seeds."""
    if least_squares:
        return gan.lsgan_generator_loss(on_fake)
    return gan.binary_cross_entropy(on_fake, 1.0, from_logits=True)


def train(
    seeds: int,
    steps: int,
    discriminator_steps: int,
    rate: float,
    discriminator_rate: float,
    least_squares: bool = False,
    penalty: float = 0.0,
    max_slope: float = 0.0,
) -> tuple[list[dict], Tensor]:
    """Train all seeds; gives the rows of the table, and samples (seeds, 400, 2) of the last step."""
    torch.manual_seed(0)
    generator, discriminator = Stack(seeds, 2), Stack(seeds, 1, max_slope)
    adams = [
        torch.optim.Adam(network.parameters(), lr=lr, betas=(0.5, 0.9))
        for network, lr in ((generator, rate), (discriminator, discriminator_rate))
    ]
    # Rates fall to 0 along a cosine: what is reached does not swing back and forth at the end.
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps) for adam in adams]
    rows, seen = [], []
    for step in range(1, steps + 1):
        for _ in range(discriminator_steps):
            real = real_samples(seeds, BATCH)
            fake = generator(torch.randn(seeds, BATCH, 2)).detach()
            loss = discriminator_loss(discriminator(real), discriminator(fake), least_squares)
            seen.append(loss.item())
            if penalty:
                loss = loss + penalty * gan.gradient_penalty(
                    lambda x: discriminator(x.view(seeds, BATCH, 2)), real.view(-1, 2), fake.view(-1, 2)
                )
            adams[1].zero_grad()
            loss.backward()
            adams[1].step()
        loss = generator_loss(discriminator(generator(torch.randn(seeds, BATCH, 2))), least_squares)
        adams[0].zero_grad()
        loss.backward()
        adams[0].step()
        for schedule in schedules:
            schedule.step()
        if step % (steps // MOMENTS) == 0:
            rows += _measured(generator, seeds, step, sum(seen) / len(seen))
            seen = []
    with torch.no_grad():
        return rows, generator(torch.randn(seeds, 400, 2))


@torch.no_grad()
def _measured(generator: Stack, seeds: int, step: int, loss: float) -> list[dict]:
    samples = generator(torch.randn(seeds, 2000, 2))
    found = [gan.mode_coverage(samples[seed], ISLANDS, 3 * WIDTH) for seed in range(seeds)]
    return [
        {
            "seed": seed,
            "step": step,
            "covered": covered,
            "precision": round(precision, 4),
            "disc_loss": round(loss, 4),
        }
        for seed, (covered, precision) in enumerate(found)
    ]


def main() -> None:
    """Train all methods with both balances; tables and samples are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, help="of the generator, for a short try")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, samples = [], {}
    for balance, settings in BALANCES.items():
        for method, changes in METHODS.items():
            started = time.perf_counter()
            short = {"steps": arguments.steps} if arguments.steps else {}
            found, last = train(arguments.seeds, **(settings | changes | short))
            rows += [{"balance": balance, "method": method} | row for row in found]
            samples[f"{balance}, {method}"] = last[0].half().numpy()
            ended = [row for row in found if row["step"] == found[-1]["step"]]
            print(f"{balance}, {method}: {time.perf_counter() - started:.0f} s", flush=True)
            print("  covered  ", [row["covered"] for row in ended], flush=True)
            print("  precision", [row["precision"] for row in ended], flush=True)
            with (
                atomic_output(arguments.out / "islands.csv", overwrite=True) as path,
                open(path, "w", newline="") as file,
            ):
                writer = csv.DictWriter(file, rows[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            with atomic_output(arguments.out / "islands.npz", overwrite=True) as path:
                np.savez_compressed(path, **samples)


if __name__ == "__main__":
    main()
