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
processor time. All measures are of people not trained on. --seeds, --variants and --steps take a part;
--no-train measures weights as they are, e.g. those of a training that has not ended.

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
seen; sliced Wasserstein distance times 1000 by size, of 32 patches an image (`real`: two halves of the true
images); spread. `swd_25` and so on are those after a quarter of the time, the growing ones enlarged to 16
pixels. Last the weights of the course, of 32 pixels (`weights 32 px`, `real 32 px`).

`monkeynet`: reconstruction of the clips of data/heads/test from their first frame, every sixth frame, at
64 pixels; beside heads-64, heads-128-zeroth and heads-128 (which differ in their order alone), and the first
frame itself. l1; akd and identity where a face is found in both images (their number: `faces`); epe, the
end-point error of the flow where the source shows the point, in pixels of 256; each for all pairs, and for
those whose head has turned less and more than three of four (`_small_turn`, `_large_turn`).
monkeynet/VARIANT.csv has a row a pair. Images: of six clips the frame with the largest turn. Needs the extras
`synthetic`, `metrics` and `faces`.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from fomm_lib.course.results import IMAGES_IN_A_ROW as SHOWN
from fomm_lib.course.results import image_path
from fomm_lib.data.clips import Clip, find_clips
from fomm_lib.data.tables import read_cells, write_cells
from fomm_lib.evaluation.comparison import mean_or_nan
from fomm_lib.evaluation.faces import average_euclidean_distance, average_keypoint_distance
from fomm_lib.evaluation.images import l1, lpips_network, psnr, ssim
from fomm_lib.evaluation.true_motion import end_point_error
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
from fomm_lib.family.pix2pix import to_signed, to_unsigned
from fomm_lib.family.systems import ProgressiveSystem, make_system, sampling, shrink_images, translate
from fomm_lib.family.training import finite_step, train_family
from fomm_lib.family.weights import FamilyModel, load_family
from fomm_lib.files import data_path
from fomm_lib.geometry import coordinate_grid, resize_displacement
from fomm_lib.media.faces import Faces, read_faces
from fomm_lib.media.tensors import resize, resize_bicubic, to_tensor, to_uint8
from fomm_lib.model import load_model
from fomm_lib.synthetic.clip import TrueMotion
from fomm_lib.synthetic.labels import colour_labels, nearest_labels
from fomm_lib.synthetic.truth import true_clip, true_pairs

Row = dict[str, float]


class Results:
    """A table of results that grows, and the images beside it.

    Args:
        path: the CSV.
        arguments: of the command line.
    """

    def __init__(self, path: Path, arguments: argparse.Namespace):
        self.path, self.seeds, self.variants = path, range(arguments.seeds), arguments.variants
        self.runs, self.steps, self.no_train = arguments.runs, arguments.steps, arguments.no_train
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
            path = image_path(self.path, variant)
            path.parent.mkdir(exist_ok=True)
            sheet = to_uint8(make_grid(images.clamp(0, 1), nrow=SHOWN, padding=0))
            write_image(path, sheet, "experiments/family.py", overwrite=True)

    def train(
        self, config: FamilyConfig, variant: str, seed: int, init: Path | None = None
    ) -> tuple[FamilyModel, Row]:
        """Train a variant, or go on with it; the model, the steps and the processor time.

        With --no-train the weights are taken as they are, and so is the number of steps.
        """
        if self.steps:
            config = config.model_copy(update={"steps": self.steps})
        out = self.runs / f"{config.system}-{variant}-{seed}".replace(" ", "-")
        if self.no_train:
            model = load_family(out, "cpu")
            return model, {"steps": int(model.notes["steps"])}
        spent, resumed, started = out / "cpu_seconds.txt", (out / "states").is_dir(), time.process_time()
        quiet = {"sample_every": 10**9, "keep": 1, "progress": False, "device": "cpu"}
        train_family(config, None, out, seed=seed, init=init, resume=True, checkpoint_every=250, **quiet)
        if not resumed:  # the time of a training in parts is not known
            spent.write_text(f"{time.process_time() - started:.5g}")
        numbers: Row = {"steps": config.steps}
        if spent.is_file():
            numbers["cpu_seconds"] = float(spent.read_text())
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
CPU_SECONDS, QUARTERS = 100.0, (25, 50, 75, 100)


def progressive(results: Results) -> None:
    """Grown against flat at equal processor time, without that of the measures; a training is not resumed."""
    config = family_config("progressive", size=16, fade=3000, stable=5000, ema=0.98)  # few steps a level
    measured, half = swd_against_half(config.size)
    for variant, seed in results.once("real"):
        results.add(variant, seed, measured(half), half[:SHOWN])
    data = open_data("progressive", None, config.size)
    for variant, seed in results.wanted(PROGRESSIVE):
        torch.manual_seed(seed)
        system = make_system(config.model_copy(update=PROGRESSIVE[variant]))
        generator, done, spent, row = torch.Generator().manual_seed(seed), 0, 0.0, {}
        for quarter in QUARTERS:
            started = time.process_time() - spent
            while spent < CPU_SECONDS * quarter / 100 and done != results.steps:
                finite_step(system, data.draw(config.batch_size, generator), done, generator)
                done += 1
                spent = time.process_time() - started
            made = grown_images(system, len(half), seed)
            last = measured(made)
            row |= {f"images_seen_{quarter}": done * config.batch_size, f"swd_{quarter}": last["swd"]}
        row |= {"steps": done, "cpu_seconds": spent, "level": system.level, "alpha": system.alpha}
        results.add(variant, seed, row | last, made[:SHOWN])
    if results.once("weights 32 px"):
        measured, half = swd_against_half(32)
        results.add("real 32 px", 0, measured(half), half[:SHOWN])
        made = torch.stack(list(sample_images_of(load_family("progressive", "cpu"), len(half))))
        results.add("weights 32 px", 0, measured(made), made[:SHOWN])


def swd_against_half(size: int) -> tuple[Callable[[Tensor], Row], Tensor]:
    """A measure of images by one half of the heads of the course at this size, and the other half."""
    real = open_data("progressive", None, size).sets[0].float() / 255
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    half, other = real[order].split(len(real) // 2)

    def measured(made: Tensor) -> Row:
        distances = sliced_wasserstein(half, made, smallest=8, patches=32)
        row = {f"swd_{side}px": 1000 * value for side, value in distances.items()}
        return row | {"swd": float(np.mean(list(row.values()))), "spread": spread(made, real)}

    return measured, other


def grown_images(system: ProgressiveSystem, count: int, seed: int) -> Tensor:
    """Samples of the averaged generator at its level and alpha, (count, 3, size, size) in [0, 1]."""
    network = system.average.module
    latents = torch.randn(count, network.first.weight.shape[0], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        made = to_unsigned(network(latents, system.level, system.alpha)).clamp(0, 1)
    return F.interpolate(made, size=(system.config.size,) * 2, mode="nearest")


# --- Monkey-Net ---------------------------------------------------------------------------------------------

# Moves a source to a driving frame: the image (1, 3, 64, 64), and the flow (1, h, w, 2) that it comes from.
Mover = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
TURNS_APART = 0.75


@dataclass
class TurnedPairs:
    """Pairs of frames of the test clips, at 64 pixels, with what the renderer knows of them.

    Attributes:
        clips, frames: names of the clips, and numbers of the driving frames.
        sources, drivings: (N, 3, 64, 64).
        turns: (N,), by how many degrees the head has turned.
        motions: the true motion of each.
    """

    clips: list[str]
    frames: list[int]
    sources: Tensor
    drivings: Tensor
    turns: np.ndarray
    motions: list[TrueMotion]

    @functools.cached_property
    def faces(self) -> Faces:
        """Those of the driving frames."""
        return read_faces(self.drivings)

    @property
    def widest(self) -> list[int]:
        """Of each clip the pair with the largest turn."""
        clips = np.array(self.clips)
        return [int(np.where(clips == clip, self.turns, -1).argmax()) for clip in dict.fromkeys(self.clips)]


def turned_pairs(clips: Sequence[Clip], every: int = 6) -> TurnedPairs:
    """The first frame of every clip with every sixth other; renders the truth."""
    pairs, frames, turns = [], [], []
    for clip in clips:
        truth, numbers = true_clip(clip.path), range(every, len(clip), every)
        pairs += true_pairs(clip, truth, 0, numbers)
        first = truth.head_pose(0).rotation
        for number in numbers:
            cosine = (torch.trace(first.T @ truth.head_pose(number).rotation) - 1) / 2
            turns.append(float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))))
            frames.append(number)
    sources, drivings = (
        resize(torch.stack([getattr(pair, part) for pair in pairs]), (64, 64))
        for part in ("source", "driving")
    )
    names, motions = [pair.clip for pair in pairs], [pair.motion for pair in pairs]
    return TurnedPairs(names, frames, sources, drivings, np.array(turns), motions)


def transfer_errors(pairs: TurnedPairs, made: Tensor, flows: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """l1, akd, identity and epe of every pair, each (N,); NaN where a face is not found."""
    faces = read_faces(made)
    errors = [
        end_point_error(resize_displacement(flow, *motion.visible.shape)[0], motion.flow, motion.visible)
        for flow, motion in zip(flows, pairs.motions, strict=True)
    ]
    return {
        "l1": l1(made, pairs.drivings).numpy(),
        "akd": average_keypoint_distance(faces.landmarks, pairs.faces.landmarks),
        "identity": average_euclidean_distance(faces.identity, pairs.faces.identity),
        "epe": np.array(errors),
    }


def by_turn(errors: dict[str, np.ndarray], turns: np.ndarray) -> Row:
    """Means of all pairs, and of those below and from the third quartile of the turns."""
    limit = float(np.quantile(turns, TURNS_APART))
    parts = {"": turns >= 0, "_small_turn": turns < limit, "_large_turn": turns >= limit}
    row: Row = {"pairs": len(turns), "faces": int(np.isfinite(errors["akd"]).sum()), "large_turn": limit}
    for name, values in errors.items():
        row |= {f"{name}{part}": mean_or_nan(values[chosen]) for part, chosen in parts.items()}
    return row


def monkeynet(results: Results) -> None:
    """Reconstruction from the first frame, frame by frame, and how far the head has turned."""
    variants: dict[str, Callable[[int], tuple[Mover, Row]]] = {
        "first frame": lambda seed: (lambda source, _: (source, coordinate_grid(64, 64)[None]), {}),
        "heads-64": lambda seed: (_animated("heads-64"), {}),
        "heads-128-zeroth": lambda seed: (_animated("heads-128-zeroth"), {}),
        "heads-128": lambda seed: (_animated("heads-128"), {}),
        "Monkey-Net": lambda seed: _monkeynet(results, seed),
    }
    wanted = [(name, seed) for name, seed in results.wanted(variants) if not seed or name == "Monkey-Net"]
    movers = [(variant, seed, *variants[variant](seed)) for variant, seed in wanted]
    if not movers and not results.once("truth"):
        return
    pairs = turned_pairs(find_clips(data_path("heads"), "test"))
    for variant, seed in results.once("truth"):
        flows = [motion.flow[None] for motion in pairs.motions]
        errors = transfer_errors(pairs, pairs.drivings, flows)
        results.add(variant, seed, by_turn(errors, pairs.turns), pairs.drivings[pairs.widest[:SHOWN]])
    for variant, seed, move, row in movers:
        with torch.no_grad():
            moved = [
                move(source[None], driving[None])
                for source, driving in zip(pairs.sources, pairs.drivings, strict=True)
            ]
        made, flows = torch.cat([image for image, _ in moved]), [flow for _, flow in moved]
        errors = transfer_errors(pairs, made, flows)
        results.add(variant, seed, row | by_turn(errors, pairs.turns), made[pairs.widest[:SHOWN]])
        if not seed:
            table = {"clip": pairs.clips, "frame": pairs.frames, "turn": pairs.turns, **errors}
            cells = [
                [f"{v:.5g}" if isinstance(v, float) else v for v in line]
                for line in zip(*table.values(), strict=True)
            ]
            path = results.path.with_suffix("") / f"{variant.replace(' ', '-')}.csv"
            write_cells(path, [list(table), *cells], overwrite=True)


def _animated(name: str) -> Mover:
    model = load_model(name, device="cpu")

    def move(source: Tensor, driving: Tensor) -> tuple[Tensor, Tensor]:
        source, driving = resize(source, model.size), resize(driving, model.size)
        made = model.generate(source, model.detect(source), model.detect(driving))
        return resize(made.prediction, (64, 64)), made.deformation

    return move


def _monkeynet(results: Results, seed: int) -> tuple[Mover, Row]:
    model, row = results.train(family_config("monkeynet"), "Monkey-Net", seed)

    def move(source: Tensor, driving: Tensor) -> tuple[Tensor, Tensor]:
        made = model.networks["model"](source, driving)
        return made.prediction, made.motion.flow

    return move, row


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
    parser.add_argument("--no-train", action="store_true", help="measure the weights that lie in --runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    EXPERIMENTS[arguments.name](Results(arguments.out / f"{arguments.name}.csv", arguments))


if __name__ == "__main__":
    main()
