"""How long a step of training takes, against the published order of work, and that both compute the same.

    python benchmarks/training.py                                     # vox-adv-256, one pair a step: 22 GiB
    python benchmarks/training.py --variants Winograd "memory kept"   # only these two, and the first: 9 GiB
    python benchmarks/training.py --config heads-64-adv --batch-size 8
    python benchmarks/training.py --size 128 --rounds 5 --compile
    python benchmarks/training.py --device cuda --batch-size 16

Each row is a process of its own, so that its peak of memory is its own; they take turns, a step each, so that
whatever else the machine does falls on all alike. The first step of each is not timed: its losses are those
that the last column compares, as the largest relative difference of the six. CPU seconds (of all threads)
hardly depend on what else the machine does; seconds do. The ratio is that of CPU seconds on a CPU, and of
seconds on a GPU. Medians of the rounds. The networks that judge have random weights, which cost the same;
they are so drawn that deep features are as large as shallow ones, and count as much in the losses.

Rows, each with all that stands above it:

    published order   losses of the generator, update, losses of the discriminator, update; the discriminator
                      judges real and fake twice, all gradients are computed, and pictures for people too
    compute once      `training_step.TrainingStep`
    channels last     the colours of a pixel side by side in memory
    fused Adam        one pass over the weights
    doubling at once  `training_blocks.double_at_once`
    Winograd          `training_blocks.by_winograd`
    memory kept       `training_blocks.keep_memory`; `train` has, on a CPU, all up to here
    bfloat16          what convolutions compute with; then not by Winograd
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time

import torch
from torch import Tensor
from torch.optim import Adam

from fomm_lib.config import load_config
from fomm_lib.losses import (
    RandomTransform,
    discriminator_gan_loss,
    feature_matching_loss,
    generator_gan_loss,
    perceptual_loss,
)
from fomm_lib.model import FirstOrderMotionModel, build_discriminator
from fomm_lib.perceptual import Vgg16Features, Vgg19Features
from fomm_lib.training_blocks import by_winograd, double_at_once, keep_memory
from fomm_lib.training_step import TrainingStep

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
Batch = tuple[Tensor, Tensor, RandomTransform]


class PublishedStep(TrainingStep):
    """A step in the order in which the published code works."""

    def __call__(self, source, driving, transform) -> dict[str, float]:
        weights, model, losses = self.params.loss_weights, self.model, {}
        kp_source, kp_driving = model.detect(source), model.detect(driving)
        generated = model.generate(source, kp_source, kp_driving, for_people=True)
        fake, real = self.pyramid(generated.prediction), self.pyramid(driving)
        losses["perceptual"] = perceptual_loss(self.network, fake, real, weights.perceptual)
        judged_fake = self.discriminator(fake, kp_driving.detach())
        judged_real = self.discriminator(real, kp_driving.detach())
        losses["gen_gan"] = weights.generator_gan * generator_gan_loss(judged_fake)
        matching = feature_matching_loss(judged_real, judged_fake, weights.feature_matching)
        losses["feature_matching"] = matching
        kp_transformed = model.detect(transform.warp_picture(driving, align_corners=model.align_corners))
        losses |= self.equivariance_losses(kp_driving, kp_transformed, transform)
        sum(losses.values()).backward()
        self.optimizers["generator"].step()
        self.optimizers["kp_detector"].step()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

        fake, real = self.pyramid(generated.prediction.detach()), self.pyramid(driving)
        judged_real = self.discriminator(real, kp_driving.detach())
        judged_fake = self.discriminator(fake, kp_driving.detach())
        losses["disc_gan"] = weights.discriminator_gan * discriminator_gan_loss(judged_real, judged_fake)
        losses["disc_gan"].backward()
        self.optimizers["discriminator"].step()
        self.optimizers["discriminator"].zero_grad()
        return {name: loss.item() for name, loss in losses.items()}


def build(variant: str, arguments: argparse.Namespace) -> tuple[TrainingStep, Batch]:
    """The step of a variant, and a batch for it."""
    level, device = VARIANTS.index(variant), torch.device(arguments.device)
    config = load_config(load_config(arguments.config).model_dump())  # a copy
    size = arguments.size or config.dataset_params.frame_shape[0]
    config.dataset_params.frame_shape = (size, size, 3)
    torch.manual_seed(0)
    model, discriminator = FirstOrderMotionModel(config).train(), build_discriminator(config).train()
    network = {"vgg19": Vgg19Features, "vgg16-lpips": Vgg16Features}[config.train_params.perceptual_network]()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    pictures = torch.rand(2, arguments.batch_size, 3, size // 8, size // 8)
    pictures = torch.nn.functional.interpolate(pictures.flatten(0, 1), size=size, mode="bilinear")
    if level >= VARIANTS.index("doubling at once"):
        model = double_at_once(model)
    layout = torch.channels_last if level >= VARIANTS.index("channels last") else torch.contiguous_format
    parts = [part.to(device, memory_format=layout) for part in (model, discriminator, network, pictures)]
    model, discriminator, network, pictures = parts
    source, driving = (part.contiguous(memory_format=layout) for part in pictures.chunk(2))
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


def finish(device: torch.device) -> None:
    """Wait for what a GPU was asked to do; a CPU has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(step: TrainingStep, batch: Batch) -> tuple[float, float, dict[str, float]]:
    """Take one step: seconds, processor seconds, losses."""
    finish(step.device)
    wall, processor = time.perf_counter(), time.process_time()
    losses = step(*batch)
    finish(step.device)
    return time.perf_counter() - wall, time.process_time() - processor, losses


def work(variant: str, arguments: argparse.Namespace, orders) -> None:
    """One variant, in its own process: a step for every order."""
    torch.set_num_threads(arguments.threads)
    step, batch = build(variant, arguments)
    while orders.recv():
        wall, processor, losses = timed(step, batch)
        orders.send((wall, processor, peak_mib(step.device), losses))


def peak_mib(device: torch.device) -> float:
    """The most memory this process has held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def options(description: str) -> argparse.ArgumentParser:
    """What to train, and where: the options that `build` reads, and how often to time it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--config", default="vox-adv-256", help="one with an adversarial weight")
    parser.add_argument("--size", type=int, help="of the pictures; by default that of the config")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="timed steps of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--compile", action="store_true", help="a row with torch.compile, too")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="only these, and the published order")
    arguments = parser.parse_args()

    variants = VARIANTS if arguments.compile else VARIANTS[:-1]
    if arguments.variants:
        variants = [name for name in VARIANTS if name in {VARIANTS[0], *arguments.variants}]
    context = multiprocessing.get_context("spawn")
    channels = {}
    for variant in variants:
        channels[variant], theirs = context.Pipe()
        context.Process(target=work, args=(variant, arguments, theirs), daemon=True).start()
    results = {variant: [] for variant in variants}
    for _ in range(1 + arguments.rounds):
        for variant, channel in channels.items():
            channel.send(True)
            results[variant].append(channel.recv())
    for channel in channels.values():
        channel.send(False)

    print(
        f"{arguments.config}, {arguments.size or 'its own'} size, batch {arguments.batch_size}, "
        f"{arguments.device}, {arguments.threads} threads, median of {arguments.rounds}"
    )
    header = ("s/step", "CPU s/step", "ratio", "peak MiB", "losses differ by")
    print(f"{'variant':16} {header[0]:>7} {header[1]:>11} {header[2]:>6} {header[3]:>9} {header[4]:>17}")
    clock = 0 if arguments.device == "cuda" else 1
    published = results["published order"]
    base = statistics.median(row[clock] for row in published[1:])
    for variant, rows in results.items():
        wall, processor = (statistics.median(row[i] for row in rows[1:]) for i in (0, 1))
        first, wanted = rows[0][3], published[0][3]
        off = max(abs(first[name] - loss) / abs(loss) for name, loss in wanted.items() if loss)
        ratio = base / (wall, processor)[clock]
        print(f"{variant:16} {wall:7.2f} {processor:11.2f} {ratio:6.2f} {rows[-1][2]:9.0f} {off:17.1e}")


if __name__ == "__main__":
    main()
