"""How long a training step takes, against the published order of work, and that both compute the same.

    python -m benchmarks.training                                     # vox-adv-256, one pair a step: 22 GiB
    python -m benchmarks.training --variants Winograd "memory kept"   # only these two, and the first: 9 GiB
    python -m benchmarks.training --config heads-64-adv --batch-size 8
    python -m benchmarks.training --size 128 --rounds 5 --compile
    python -m benchmarks.training --device cuda --batch-size 16
    python -m benchmarks.training --config mgif-256 --variants "memory kept" --discriminators sn plain

The rows take turns, a step each. The first step of each is not timed: its losses are those that the last
column compares, as the largest relative difference of the six. The ratio is that of processor seconds on a
CPU, and of seconds on a GPU. Medians of the rounds. Discriminator and perceptual network have random weights,
which cost the same; they are initialised so that deep features are as large as shallow ones, and count as
much in the losses.

Rows, each with everything of the rows above:

    published order   losses of the generator, update, losses of the discriminator, update; the discriminator
                      sees real and fake twice, all gradients are computed, and images for display too
    compute once      `training.step.TrainingStep`
    channels last     the colours of a pixel side by side in memory
    fused Adam        one pass over the weights
    doubling at once  `training.fast.fuse_upsampling`
    Winograd          `training.fast.by_winograd`
    memory kept       `training.fast.keep_memory`; `train` has, on a CPU, everything up to here
    bfloat16          precision of the convolutions; then not by Winograd

`--discriminators` says whether the discriminator has spectral norm ("sn"), has none ("plain"), or is left out
with all its losses ("none"), whatever the config says. With several of them each row is there once for each,
compared with the published order of the same one: the difference is what that part of a step costs.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam

from benchmarks.harness import Table, parser, take_turns
from fomm_lib.config import Config, load_config
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import (
    RandomTransform,
    discriminator_gan_loss,
    feature_matching_loss,
    generator_gan_loss,
    perceptual_loss,
)
from fomm_lib.model import FirstOrderMotionModel, build_discriminator
from fomm_lib.perceptual import PERCEPTUAL_NETWORKS
from fomm_lib.training.fast import by_winograd, fuse_upsampling, keep_memory
from fomm_lib.training.step import TrainingStep, equivariance_losses

VARIANTS = [
    "published order",
    "compute once",
    "channels last",
    "fused Adam",
    "doubling at once",
    "Winograd",
    "memory kept",
    "bfloat16",
    "torch.compile",
]
DISCRIMINATORS = ("configured", "sn", "plain", "none")
Batch = tuple[Tensor, Tensor, RandomTransform]


class PublishedStep(TrainingStep):
    """A training step in the order of the published code."""

    def __call__(self, source, driving, transform) -> dict[str, float]:
        weights, model, losses = self.params.loss_weights, self.model, {}
        kp_source, kp_driving = model.detect(source), model.detect(driving)
        generated = model.generate(source, kp_source, kp_driving, with_visuals=True)
        fake, real = self.pyramid(generated.prediction), self.pyramid(driving)
        losses["perceptual"] = perceptual_loss(self.network, fake, real, weights.perceptual)
        if weights.generator_gan:
            fake_output = self.discriminator(fake, kp_driving.detach())
            real_output = self.discriminator(real, kp_driving.detach())
            losses["gen_gan"] = weights.generator_gan * generator_gan_loss(fake_output)
            matching = feature_matching_loss(real_output, fake_output, weights.feature_matching)
            losses["feature_matching"] = matching
        kp_transformed = model.detect(transform.warp_image(driving, align_corners=model.align_corners))
        losses |= equivariance_losses(kp_driving, kp_transformed, transform, weights)
        sum(losses.values()).backward()
        self.optimizers["generator"].step()
        self.optimizers["kp_detector"].step()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

        if weights.generator_gan:
            losses["disc_gan"] = self._discriminator_update(generated.prediction, driving, kp_driving)
        return {name: loss.item() for name, loss in losses.items()}

    def _discriminator_update(self, prediction: Tensor, driving: Tensor, kp_driving: Keypoints) -> Tensor:
        fake, real = self.pyramid(prediction.detach()), self.pyramid(driving)
        fake_output = self.discriminator(fake, kp_driving.detach())
        real_output = self.discriminator(real, kp_driving.detach())
        loss = self.params.loss_weights.discriminator_gan * discriminator_gan_loss(real_output, fake_output)
        loss.backward()
        self.optimizers["discriminator"].step()
        self.optimizers["discriminator"].zero_grad()
        return loss


def build(variant: str, arguments: Namespace) -> tuple[TrainingStep, Batch]:
    """The step of a variant, and a batch for it."""
    level, device = VARIANTS.index(variant), torch.device(arguments.device)
    config = load_config(load_config(arguments.config).model_dump())  # a copy
    size = arguments.size or config.dataset_params.frame_shape[0]
    config.dataset_params.frame_shape = (size, size, 3)
    change_discriminator(config, arguments.discriminators[0])
    torch.manual_seed(0)
    model, discriminator = FirstOrderMotionModel(config).train(), build_discriminator(config).train()
    network = PERCEPTUAL_NETWORKS[config.train_params.perceptual_network]()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    images = torch.rand(2, arguments.batch_size, 3, size // 8, size // 8)
    images = torch.nn.functional.interpolate(images.flatten(0, 1), size=size, mode="bilinear")
    if level >= VARIANTS.index("doubling at once"):
        model = fuse_upsampling(model)
    layout = torch.channels_last if level >= VARIANTS.index("channels last") else torch.contiguous_format
    parts = [part.to(device, memory_format=layout) for part in (model, discriminator, network, images)]
    model, discriminator, network, images = parts
    source, driving = (part.contiguous(memory_format=layout) for part in images.chunk(2))
    transform = RandomTransform.sample(arguments.batch_size, device=device)
    precision = "bf16" if level >= VARIANTS.index("bfloat16") else "no"
    if level >= VARIANTS.index("Winograd") and precision == "no":
        for part in (model, discriminator, network):
            by_winograd(part)
    if level >= VARIANTS.index("memory kept"):
        keep_memory()
    kind = PublishedStep if variant == "published order" else TrainingStep
    compile = variant == "torch.compile"
    step = kind(model, discriminator, network, config, precision=precision, compile=compile)
    if level < VARIANTS.index("fused Adam"):
        step.optimizers = {
            name: Adam(part.parameters(), 2e-4, betas=(0.5, 0.999)) for name, part in step.trained.items()
        }
    return step, (source, driving, transform)


def change_discriminator(config: Config, kind: str) -> None:
    """Set, in place, which discriminator a config has, one of DISCRIMINATORS."""
    if kind in ("sn", "plain"):
        config.model_params.discriminator_params.sn = kind == "sn"
    if kind == "none":
        config.train_params.loss_weights.generator_gan = 0


def build_step(variant: str, arguments: Namespace) -> Callable[[], dict[str, float]]:
    """The step of a variant, which gives the losses."""
    torch.set_num_threads(arguments.threads)
    return steps_of(*build(variant, arguments))


def steps_of(step: TrainingStep, batch: Batch) -> Callable[[], dict[str, float]]:
    """A training step that waits for the device."""

    def work() -> dict[str, float]:
        losses = step(*batch)
        finish(step.device)
        return losses

    finish(step.device)
    return work


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def training_parser(description: str) -> ArgumentParser:
    """The options that `build` reads, and how many steps to time."""
    options = parser(description)
    options.add_argument("--config", default="vox-adv-256", help="one with an adversarial weight")
    options.add_argument("--size", type=int, help="of the images; by default that of the config")
    options.add_argument("--batch-size", type=int, default=1)
    options.add_argument("--rounds", type=int, default=3, help="timed steps of each")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--device", default="cpu")
    options.add_argument("--discriminators", nargs="+", choices=DISCRIMINATORS, default=["configured"])
    return options


def main() -> None:
    """Print a row for every variant."""
    options = training_parser(__doc__)
    options.add_argument("--compile", action="store_true", help="a row with torch.compile, too")
    options.add_argument(
        "--variants", nargs="+", choices=VARIANTS, help="only these, and the published order"
    )
    arguments = options.parse_args()
    variants = VARIANTS if arguments.compile else VARIANTS[:-1]
    if arguments.variants:
        variants = [name for name in VARIANTS if name in {VARIANTS[0], *arguments.variants}]
    steps = {
        (name, kind): partial(build_step, name, Namespace(**{**vars(arguments), "discriminators": [kind]}))
        for kind in arguments.discriminators
        for name in variants
    }
    runs = take_turns(steps, arguments.rounds)
    print(
        f"{arguments.config}, {arguments.size or 'its own'} size, batch {arguments.batch_size}, "
        f"{arguments.device}, {arguments.threads} threads, median of {arguments.rounds}"
    )
    columns = {"variant": "", "s/step": ".2f", "CPU s/step": ".2f", "ratio": ".2f"}
    several = len(arguments.discriminators) > 1
    table = Table({**columns, "peak MiB": ".0f", "losses differ by": ".1e"}, width=28 if several else 16)
    clock = "seconds" if arguments.device == "cuda" else "processor"
    for (name, kind), run in runs.items():
        published = runs[VARIANTS[0], kind]
        wanted = published.first.result
        off = max(abs(run.first.result[key] - loss) / abs(loss) for key, loss in wanted.items() if loss)
        times = run.median("seconds"), run.median("processor")
        label = f"{name}, {kind}" if several else name
        table.row(label, *times, run.ratio(published, clock), run.peak, off)


if __name__ == "__main__":
    main()
