"""The decisive experiment of each work of the family, in small; the tables and images of notebooks 10 to 12.

    python -m experiments.family pix2pix --runs runs/family            # about 20 minutes of one core
    python -m experiments.family cyclegan --runs runs/family           # 25
    python -m experiments.family srgan --runs runs/family              # 35
    python -m experiments.family progressive --runs runs/family        # 15
    python -m experiments.family super-resolve --runs runs/family      # 2
    python -m experiments.family monkeynet --runs runs/family          # 60

Written to data/family/results, or to --out: NAME.csv, a row a variant and seed, and NAME/VARIANT.jpg, test
images of seed 0. A row that is there already is not measured again, and a training that was stopped goes
on. Variants of a system are trained for equal steps on equal data, those of `progressive` for equal
processor time. All measures are of people not trained on. --seeds, --variants and --steps take a part.

`pix2pix`: labels to heads by L1, by a conditional GAN, by both; and by discriminators that see patches of
1, 16 and 70 pixels (34 otherwise). l1, sharpness (mean gradient magnitude, over that of the true images),
overlap of the colour histograms, and labels read back by a segmenter that was trained on true images;
`truth` is what it reads from true images.

`cyclegan`: heads and labels without pairs; without the cycle losses (and the identity losses, which have
their weight), without the identity losses, without the pool. Pairs exist and are hidden, so that labels of
a head and a head of labels can be compared with the truth; round trips; spread (deviation between the
images made, over that of true ones). Images: heads, their labels, those turned back; labels, heads made of
them.

`srgan`: 16 to 64 pixels: bicubic; after equal first stages on the mean squared error a second stage on the
mean squared error, on VGG-16 features, on features and a discriminator.

`super-resolve`: `fomm animate --super-resolve` against bicubic, for reconstructions of the test clips by
heads-64 and for true frames made smaller: PSNR, LPIPS, sharpness, and distance of identity. Needs the extras
`metrics` and `faces`.

`progressive`: 16 pixels, grown, flat from the beginning, grown without minibatch standard deviation. Images
seen, sliced Wasserstein distance times 1000 by size (`real`: two halves of the true images), spread.

`monkeynet`: reconstruction of the clips of data/heads/test from their first frame, every sixth frame, with
the turn of the head in degrees; beside heads-64 (first order) and heads-128-zeroth. Needs the extra
`synthetic`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from fomm_lib.data.clips import find_clips
from fomm_lib.data.tables import read_cells, write_cells
from fomm_lib.evaluation.faces import average_euclidean_distance
from fomm_lib.evaluation.images import l1, lpips_network, psnr, ssim
from fomm_lib.family.apply import enlarge, sample_images_of, super_resolution, write_image
from fomm_lib.family.config import FamilyConfig, family_config
from fomm_lib.family.cyclegan import ResNetGenerator
from fomm_lib.family.data import course_heads, open_data
from fomm_lib.family.metrics import (
    confusion_matrix,
    histogram_overlap,
    label_scores,
    opponent_colours,
    sliced_wasserstein,
)
from fomm_lib.family.pix2pix import to_signed
from fomm_lib.family.systems import make_system, sampling, shrink_images, translate
from fomm_lib.family.training import finite_step, train_family
from fomm_lib.family.weights import FamilyModel, load_family
from fomm_lib.files import data_path
from fomm_lib.media.faces import read_faces
from fomm_lib.media.tensors import resize, resize_bicubic, to_tensor, to_uint8
from fomm_lib.model import load_model
from fomm_lib.synthetic.labels import colour_labels, nearest_labels
from fomm_lib.synthetic.truth import true_clip

SHOWN = 6
Row = dict[str, float]


class Results:
    """A table of results that grows, and the images beside it.

    Args:
        path: the CSV.
        arguments: of the command line.
    """

    def __init__(self, path: Path, arguments: argparse.Namespace):
        self.path, self.seeds, self.variants = path, range(arguments.seeds), arguments.variants
        self.runs, self.steps = arguments.runs, arguments.steps
        self.rows = [row for _, row in read_cells(path, "results")] if path.is_file() else []

    def wanted(self, variants: Iterable[str]) -> list[tuple[str, int]]:
        """Variants and seeds that are not measured yet, seed by seed."""
        done = {(row["variant"], int(row["seed"])) for row in self.rows}
        chosen = [variant for variant in variants if not self.variants or variant in self.variants]
        return [(variant, seed) for seed in self.seeds for variant in chosen if (variant, seed) not in done]

    def once(self, variant: str) -> list[tuple[str, int]]:
        """The variant with seed 0, if it is not measured yet: for what no seed changes."""
        return [(name, seed) for name, seed in self.wanted([variant]) if seed == 0]

    def add(self, variant: str, seed: int, row: Row, images: Tensor | None = None) -> None:
        """Write a row, and of seed 0 the images, (N, 3, H, W) in [0, 1]."""
        row = {name: value if isinstance(value, int) else f"{value:.5g}" for name, value in row.items()}
        self.rows.append({"variant": variant, "seed": str(seed), **row})
        columns = list(dict.fromkeys(name for one in self.rows for name in one))
        records = [[one.get(name) for name in columns] for one in self.rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_cells(self.path, [columns, *records], overwrite=True)
        print(", ".join(f"{name} {value}" for name, value in self.rows[-1].items()), flush=True)
        if images is not None and seed == 0:
            folder = self.path.with_suffix("")
            folder.mkdir(exist_ok=True)
            sheet = to_uint8(make_grid(images.clamp(0, 1), nrow=SHOWN, padding=0))
            write_image(
                folder / f"{variant.replace(' ', '-')}.jpg", sheet, "experiments/family.py", overwrite=True
            )

    def train(
        self, config: FamilyConfig, variant: str, seed: int, init: Path | None = None
    ) -> tuple[FamilyModel, Row]:
        """Train a variant, or go on with it; the model, the steps and the processor time."""
        if self.steps:
            config = config.model_copy(update={"steps": self.steps})
        started = time.process_time()
        out = self.runs / f"{config.system}-{variant}-{seed}".replace(" ", "-")
        quiet = {"sample_every": 10**9, "keep": 1, "progress": False, "device": "cpu"}
        train_family(config, None, out, seed=seed, init=init, resume=True, checkpoint_every=250, **quiet)
        numbers = {"steps": config.steps, "cpu_seconds": time.process_time() - started}
        return load_family(out, "cpu"), numbers


def sharpness(images: Tensor, truth: Tensor) -> float:
    """Mean gradient magnitude of images, over that of the true ones."""

    def gradient(x: Tensor) -> float:
        down, right = x.diff(dim=-2)[..., :-1], x.diff(dim=-1)[..., :-1, :]
        return float((down.square() + right.square()).sqrt().mean())

    return gradient(images) / gradient(truth)


def spread(images: Tensor, truth: Tensor) -> float:
    """Standard deviation between images, pixel by pixel, over that of the true ones."""
    return float(images.std(dim=0).mean() / truth.std(dim=0).mean())


def numbers_of(labels: Tensor) -> Tensor:
    """Labels in colours, (N, 3, H, W) in [0, 1], to class numbers (N, H, W)."""
    return torch.from_numpy(nearest_labels(to_uint8(labels.clamp(0, 1)))).long()


def read_back(found: Tensor, true: Tensor, prefix: str = "") -> Row:
    """Scores of class numbers against the true ones."""
    scores = label_scores(confusion_matrix(found, true, 10))
    return {f"{prefix}{name}": value for name, value in scores.items()}


# --- pix2pix ------------------------------------------------------------------------------------------------


def patch(layers: int) -> dict:
    """The small configuration with a discriminator of so many layers."""
    networks = family_config("pix2pix").networks
    return {"networks": {**networks, "discriminator": {**networks["discriminator"], "layers": layers}}}


PIX2PIX = {
    "L1": {"gan_weight": 0.0},
    "cGAN": {"l1_weight": 0.0},
    "L1+cGAN": {},
    "patch 1": patch(0),
    "patch 16": patch(1),
    "patch 70": patch(3),
}


def segmenter(runs: Path, steps: int = 600) -> torch.nn.Module:
    """A network that reads labels from heads, trained on true ones."""
    torch.manual_seed(0)
    network = ResNetGenerator(3, 10, width=16, blocks=2)
    path = runs / "segmenter.pt"
    if path.is_file():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network
    optimizer, generator = torch.optim.Adam(network.parameters(), 2e-3), torch.Generator().manual_seed(0)
    data = open_data("pix2pix")
    for done in range(steps):
        labels, images = data.draw(8, generator)
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - done / steps)
        optimizer.zero_grad()
        F.cross_entropy(10 * network(to_signed(images)), numbers_of(labels)).backward()
        optimizer.step()
    runs.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return network


def pix2pix(results: Results) -> None:
    """Labels to heads."""
    reader = segmenter(results.runs)
    images, labels = (one.float() / 255 for one in course_heads("test"))
    true = numbers_of(labels)

    def measured(made: Tensor) -> Row:
        with torch.no_grad():
            found = torch.cat([reader(to_signed(part)).argmax(1) for part in made.split(20)])
        colours = opponent_colours(made).flatten(2), opponent_colours(images).flatten(2)
        overlaps = [
            histogram_overlap(a, b, 32, -0.5, 0.5)
            for a, b in zip(*(c.unbind(1) for c in colours), strict=True)
        ]
        return {
            "l1": float(l1(made, images).mean()),
            "sharpness": sharpness(made, images),
            "overlap_red_green": overlaps[0],
            "overlap_yellow_blue": overlaps[1],
            "spread": spread(made, images),
            **read_back(found, true),
        }

    for variant, seed in results.once("truth"):
        results.add(variant, seed, measured(images), images[:SHOWN])
    for variant, seed in results.wanted(PIX2PIX):
        model, row = results.train(family_config("pix2pix", **PIX2PIX[variant]), variant, seed)
        with sampling():
            made = translate(model.networks["generator"], labels)
        results.add(variant, seed, row | measured(made), made[:SHOWN])


# --- CycleGAN -----------------------------------------------------------------------------------------------

CYCLEGAN = {
    "CycleGAN": {},
    "no cycle": {"cycle_weight": 0.0},
    "no identity": {"identity_weight": 0.0},
    "no pool": {"pool": 0},
}


def cyclegan(results: Results) -> None:
    """Heads and labels, unpaired."""
    images, labels = (one.float() / 255 for one in course_heads("test"))
    true = numbers_of(labels)
    for variant, seed in results.wanted(CYCLEGAN):
        model, row = results.train(family_config("cyclegan", **CYCLEGAN[variant]), variant, seed)
        with sampling():
            to_labels, to_images = (partial(translate, model.networks[name]) for name in ("ab", "ba"))
            made_labels, made_images = to_labels(images), to_images(labels)
            row |= read_back(numbers_of(made_labels), true)
            row["head_l1"] = float(l1(made_images, images).mean())
            row |= read_back(numbers_of(to_labels(made_images)), true, "there_and_back_")
            back = to_images(made_labels)
            row["there_and_back_l1"] = float(l1(back, images).mean())
        row |= {"sharpness": sharpness(made_images, images), "spread": spread(made_images, images)}
        shown = torch.from_numpy(colour_labels(numbers_of(made_labels[:SHOWN]).numpy())).permute(0, 3, 1, 2)
        columns = [images, shown.float() / 255, back, labels, made_images]
        results.add(variant, seed, row, torch.cat([column[:SHOWN] for column in columns]))


# --- SRGAN --------------------------------------------------------------------------------------------------

SRGAN = {
    "SRResNet-MSE": {"mse_share": 1.0},
    "SRResNet-VGG": {"mse_share": 0.0, "adversarial_weight": 0.0},
    "SRGAN": {"mse_share": 0.0},
}
FIRST_STAGE, SECOND_STAGE = 1050, 350


def srgan(results: Results) -> None:
    """Heads of 16 pixels to 64."""
    images = course_heads("test")[0].float() / 255
    small, lpips = shrink_images(images, 4), lpips_network()

    def measured(made: Tensor) -> Row:
        with torch.no_grad():
            distances = lpips(made, images)
        return {
            "psnr": float(psnr(made, images).mean()),
            "ssim": float(ssim(made, images).mean()),
            "lpips": float(distances.mean()),
            "sharpness": sharpness(made, images),
        }

    for variant, seed in results.once("bicubic"):
        made = F.interpolate(small, size=images.shape[-2:], mode="bicubic").clamp(0, 1)
        results.add(variant, seed, measured(made), made[:SHOWN])
        results.add("truth", seed, measured(images), images[:SHOWN])
    for variant, seed in results.wanted(SRGAN):
        first = family_config("srgan", steps=FIRST_STAGE, mse_share=1.0)
        start, _ = results.train(first, "first stage", seed)
        config = family_config("srgan", steps=SECOND_STAGE, **SRGAN[variant])
        if variant == "SRResNet-MSE":  # the rate of the second stage, as the others have it
            config = config.model_copy(update={"learning_rate": config.gan_learning_rate})
        model, row = results.train(config, variant, seed, init=start.path)
        with torch.no_grad():
            made = enlarge(model, small)
        results.add(variant, seed, row | measured(made), made[:SHOWN])


# --- super-resolution of animations -------------------------------------------------------------------------


def super_resolve(results: Results) -> None:
    """Reconstructions of the test clips by heads-64, and true frames, twice and four times as large."""
    model, lpips = _animated("heads-64"), lpips_network()
    frames, made = [], []
    for clip in find_clips(data_path("heads"), "test"):
        read = torch.stack([to_tensor(frame) for frame in clip.read(range(0, len(clip), 12))])
        small = resize(read, (64, 64))
        frames.append(read[1:])
        made.append(torch.cat([model(small[:1], driving[None]) for driving in small[1:]]))
    truth, made = torch.cat(frames), torch.cat(made)
    true_faces = read_faces(truth)
    inputs = {
        "true 2x": (resize(truth, (64, 64)), 2),
        "true 4x": (resize(truth, (32, 32)), 4),
        "heads-64 2x": (made, 2),
    }
    for name, (small, scale) in inputs.items():
        network = super_resolution(scale, device="cpu")
        for method, enlarged in (("bicubic", partial(resize_bicubic, size=(128, 128))), ("SRGAN", network)):
            variant = f"{method} {name}"
            if not results.once(variant):
                continue
            large = torch.stack([to_tensor(enlarged(to_uint8(image))) for image in small])
            with torch.no_grad():
                distance = float(lpips(large, truth).mean())
            faces = read_faces(large)
            both = faces.found & true_faces.found
            identity = average_euclidean_distance(faces.identity[both], true_faces.identity[both])
            row = {"images": len(large), "faces": int(both.sum()), "psnr": float(psnr(large, truth).mean())}
            row |= {
                "lpips": distance,
                "sharpness": sharpness(large, truth),
                "identity": float(identity.mean()),
            }
            results.add(variant, 0, row, large[:SHOWN])


# --- progressive growing ------------------------------------------------------------------------------------


def _without_stddev() -> dict:
    networks = family_config("progressive").networks
    return {"networks": {**networks, "discriminator": {**networks["discriminator"], "stddev": False}}}


PROGRESSIVE = {"grown": {}, "flat": {"grow": False}, "grown without stddev": _without_stddev()}
CPU_SECONDS = 100.0


def progressive(results: Results) -> None:
    """Grown against flat at equal processor time; a training is not resumed."""
    config = family_config("progressive", size=16, fade=3000, stable=5000)
    data = open_data("progressive", None, config.size)
    real = data.sets[0].float() / 255
    half = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))].split(len(real) // 2)

    def measured(made: Tensor) -> Row:
        distances = sliced_wasserstein(half[0], made, smallest=8)
        row = {f"swd_{size}": 1000 * value for size, value in distances.items()}
        return row | {"swd": float(np.mean(list(row.values()))), "spread": spread(made, real)}

    for variant, seed in results.once("real"):
        results.add(variant, seed, measured(half[1]), half[1][:SHOWN])
    for variant, seed in results.wanted(PROGRESSIVE):
        torch.manual_seed(seed)
        system = make_system(config.model_copy(update=PROGRESSIVE[variant]))
        generator, done, started = torch.Generator().manual_seed(seed), 0, time.process_time()
        while time.process_time() - started < CPU_SECONDS and done != results.steps:
            finite_step(system, data.draw(config.batch_size, generator), done, generator)
            done += 1
        row = {"steps": done, "cpu_seconds": time.process_time() - started}
        row["images_seen"] = done * config.batch_size
        row["level"], row["alpha"] = (float(number) for number in system.at(done))
        model = FamilyModel(system.config, {"generator": system.average.module})
        made = torch.stack(list(sample_images_of(model, len(half[0]), seed)))
        results.add(variant, seed, row | measured(made), made[:SHOWN])


# --- Monkey-Net ---------------------------------------------------------------------------------------------


def monkeynet(results: Results) -> None:
    """Reconstruction from the first frame, frame by frame, and how far the head has turned."""
    variants: dict[str, Callable[[int], tuple[Callable, Row]]] = {
        "first frame": lambda seed: (lambda source, driving: source, {}),
        "heads-64": lambda seed: (_animated("heads-64"), {}),
        "heads-128-zeroth": lambda seed: (_animated("heads-128-zeroth"), {}),
        "Monkey-Net": lambda seed: _monkeynet(results, seed),
    }
    clips = find_clips(data_path("heads"), "test")
    for variant, seed in results.wanted(variants):
        if seed and variant != "Monkey-Net":
            continue
        reconstruct, row = variants[variant](seed)
        errors, turns, shown = [], [], []
        for clip in clips:
            truth = true_clip(clip.path)
            numbers = list(range(0, len(clip), 6))
            frames = torch.stack([to_tensor(frame, (64, 64)) for frame in clip.read(numbers)])
            first = truth.head_pose(0).rotation
            for number, driving in zip(numbers[1:], frames[1:], strict=True):
                with torch.no_grad():
                    made = reconstruct(frames[:1], driving[None])
                errors.append(float(l1(made, driving[None])))
                cosine = (torch.trace(first.T @ truth.head_pose(number).rotation) - 1) / 2
                turns.append(float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))))
            shown.append(made[0])
        far = np.array(turns) >= np.quantile(turns, 0.75)
        row |= {"l1": float(np.mean(errors)), "l1_small_turn": float(np.array(errors)[~far].mean())}
        row |= {"l1_large_turn": float(np.array(errors)[far].mean())}
        row |= {"large_turn": float(np.array(turns)[far].min())}
        results.add(variant, seed, row, torch.stack(shown[:SHOWN]))


def _animated(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    model = load_model(name, device="cpu")

    def reconstruct(source: Tensor, driving: Tensor) -> Tensor:
        source, driving = resize(source, model.size), resize(driving, model.size)
        made = model.generate(source, model.detect(source), model.detect(driving)).prediction
        return resize(made, (64, 64))

    return reconstruct


def _monkeynet(results: Results, seed: int) -> tuple[Callable[[Tensor, Tensor], Tensor], Row]:
    model, row = results.train(family_config("monkeynet"), "Monkey-Net", seed)
    return lambda source, driving: model.networks["model"](source, driving).prediction, row


EXPERIMENTS = {
    "pix2pix": pix2pix,
    "cyclegan": cyclegan,
    "srgan": srgan,
    "super-resolve": super_resolve,
    "progressive": progressive,
    "monkeynet": monkeynet,
}


def main() -> None:
    """Run one experiment; what is measured already is left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=list(EXPERIMENTS))
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=data_path("family", "results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+")
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    EXPERIMENTS[arguments.name](Results(arguments.out / f"{arguments.name}.csv", arguments))


if __name__ == "__main__":
    main()
