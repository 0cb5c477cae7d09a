"""The five systems behind one interface: networks, optimizers, one step, and what a training keeps of them.

    system = make_system(family_config("pix2pix"))
    losses = system.step(data.draw(4, generator), done=0, generator=generator)

A system takes images in [0, 1], as the library has them everywhere else, and converts them where its networks
want [-1, 1]. Each `step` is the published step function of the system's own module, with its schedule.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fomm_lib.checkpoints import check_tensors
from fomm_lib.documents import shown
from fomm_lib.errors import InputError, error_text
from fomm_lib.family.config import FamilyConfig
from fomm_lib.family.cyclegan import ImagePool, ResNetGenerator, cyclegan_step
from fomm_lib.family.monkeynet import GaussianDiscriminator, MonkeyNet, monkeynet_step
from fomm_lib.family.pix2pix import (
    PatchDiscriminator,
    UNetGenerator,
    init_weights,
    linear_decay,
    pix2pix_step,
    to_signed,
    to_unsigned,
)
from fomm_lib.family.progressive import (
    Growth,
    ProgressiveDiscriminator,
    ProgressiveGenerator,
    progressive_step,
    width_of,
)
from fomm_lib.family.srgan import SRDiscriminator, SRResNet, srgan_step, srresnet_step
from fomm_lib.perceptual import perceptual_network
from fomm_lib.training.state import load_networks, load_optimizers
from fomm_lib.training.validation import evaluating

FEATURE = 3  # relu4_1, the deepest feature that has more than 4x4 places in images of 64 pixels


class System:
    """One system in training. Subclasses say what its networks are and what a step does.

    Args:
        config: of the system.
        device: of the networks.

    Attributes:
        networks: all, by name.
        optimizers: by name.
        generators: the names of the networks that make images: those that are kept as weights.
        columns: the names of all losses.
        network_classes: the class of each network; its arguments are those that the config has for its name.
        notes: texts for the file of weights.

    Raises:
        InputError: the config does not fit the networks.
    """

    generators: tuple[str, ...] = ("generator",)
    columns: tuple[str, ...] = ()
    network_classes: ClassVar[Mapping[str, type[nn.Module]]] = {}

    def __init__(self, config: FamilyConfig, device: torch.device | str = "cpu"):
        self.config, self.device = config, torch.device(device)
        self.networks = {name: net.to(self.device).train() for name, net in build_networks(config).items()}
        self.optimizers = self.make_optimizers()
        self.notes: dict[str, str] = {}

    @classmethod
    def build(cls, config: FamilyConfig) -> dict[str, nn.Module]:
        """New networks of a config, by name."""
        return {name: network(**_arguments(config, name)) for name, network in cls.network_classes.items()}

    def adam(self, *networks: str, learning_rate: float | None = None) -> Adam:
        """Adam with the config's numbers, for these networks."""
        parameters = [p for name in networks for p in self.networks[name].parameters()]
        return Adam(parameters, learning_rate or self.config.learning_rate, self.config.betas)

    def make_optimizers(self) -> dict[str, Optimizer]:
        """One Adam for each network."""
        return {name: self.adam(name) for name in self.networks}

    def set_rate(self, rate: float, *names: str) -> None:
        """Set the learning rate of these optimizers, or of all."""
        for name in names or self.optimizers:
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate

    def step(self, batch: Sequence[Tensor], done: int, generator: torch.Generator) -> dict[str, Tensor]:
        """One update of all networks.

        Args:
            batch: what the system's data draw, in [0, 1].
            done: steps before this one, which schedules depend on.
            generator: of the random numbers that the step draws itself.
        """
        raise NotImplementedError

    def samples(self, examples: Sequence[Tensor]) -> list[Tensor]:
        """Columns of images (N, 3, H, W) in [0, 1], for a grid; inside `sampling`."""
        raise NotImplementedError

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The networks to keep: {network: state_dict}."""
        return {name: self.networks[name].state_dict() for name in self.generators}

    def state(self) -> dict:
        """Everything that a step changes."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state(self, state: dict) -> None:
        """Continue from the result of `state`."""
        load_networks(self.networks, state["networks"])
        load_optimizers(self.optimizers, state["optimizers"])

    def decayed(self, done: int) -> float:
        """The learning rate of pix2pix and CycleGAN: constant for half of the steps, then linearly to 0."""
        half = self.config.steps // 2
        return self.config.learning_rate * linear_decay(done, half, self.config.steps - half)


class Pix2PixSystem(System):
    """Labels to images; see `pix2pix.pix2pix_step`."""

    columns = ("disc_real", "disc_fake", "gen_gan", "gen_l1")
    network_classes: ClassVar = {"generator": UNetGenerator, "discriminator": PatchDiscriminator}

    @classmethod
    def build(cls, config):
        return {name: init_weights(network) for name, network in super().build(config).items()}

    def step(self, batch, done, generator):
        config, networks = self.config, self.networks
        self.set_rate(self.decayed(done))
        return pix2pix_step(
            networks["generator"],
            networks["discriminator"],
            self.optimizers,
            *map(to_signed, batch),
            l1_weight=config.l1_weight,
            gan_weight=config.gan_weight,
        )

    def samples(self, examples):
        labels, images = examples
        return [labels, translate(self.networks["generator"], labels), images]


class CycleGanSystem(System):
    """Images A to B and B to A; see `cyclegan.cyclegan_step`."""

    generators = ("ab", "ba")
    columns = (
        *("gen_ab", "gen_ba", "cycle_a", "cycle_b", "identity_a", "identity_b"),
        *("disc_a", "disc_b"),
    )

    def __init__(self, config, device="cpu"):
        super().__init__(config, device)
        self.rng = random.Random(0)
        self.pools = {kind: ImagePool(config.pool, self.rng) for kind in ("a", "b")}

    @classmethod
    def build(cls, config):
        networks = {name: ResNetGenerator(**_arguments(config, "generator")) for name in ("ab", "ba")}
        discriminator = {"in_channels": 3, **_arguments(config, "discriminator")}
        networks |= {name: PatchDiscriminator(**discriminator) for name in ("a", "b")}
        return {name: init_weights(network) for name, network in networks.items()}

    def make_optimizers(self):
        return {"generators": self.adam("ab", "ba"), "discriminators": self.adam("a", "b")}

    def step(self, batch, done, generator):
        self.set_rate(self.decayed(done))
        return cyclegan_step(
            self.networks,
            self.optimizers,
            self.pools,
            *map(to_signed, batch),
            cycle_weight=self.config.cycle_weight,
            identity_weight=self.config.identity_weight,
        )

    def samples(self, examples):
        columns = []
        for images, there, back in zip(examples, ("ab", "ba"), ("ba", "ab"), strict=True):
            made = translate(self.networks[there], images)
            columns += [images, made, translate(self.networks[back], made)]
        return columns

    def state(self):
        pools = {kind: list(pool.images) for kind, pool in self.pools.items()}
        return {**super().state(), "pools": pools, "rng": self.rng.getstate()}

    def load_state(self, state):
        super().load_state(state)
        shape = (3, self.config.size, self.config.size)
        for kind, pool in self.pools.items():
            images = state["pools"][kind]
            if len(images) > pool.size or any(image.shape != shape for image in images):
                raise InputError(f"pools: {kind} holds no images of this training")
            check_tensors("pools", kind, {str(number): image for number, image in enumerate(images)})
            pool.images = [image.to(self.device) for image in images]
        version, numbers, gauss = state["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))


class ProgressiveSystem(System):
    """Noise to images, growing; see `progressive.progressive_step`."""

    columns = ("disc", "penalty", "drift", "gen", "level", "alpha")
    network_classes: ClassVar = {"generator": ProgressiveGenerator, "discriminator": ProgressiveDiscriminator}

    def __init__(self, config, device="cpu"):
        super().__init__(config, device)
        self.levels = levels_of(config)
        self.growth = Growth(config.fade, config.stable, self.levels)
        self.average = AveragedModel(
            self.networks["generator"], multi_avg_fn=get_ema_multi_avg_fn(config.ema)
        )
        self.level, self.alpha = self.at(0)

    def at(self, done: int) -> tuple[int, float]:
        """Level and alpha after so many steps."""
        return self.growth(done * self.config.batch_size) if self.config.grow else (self.levels - 1, 1.0)

    @classmethod
    def build(cls, config):
        levels = levels_of(config)

        def network(name: str) -> nn.Module:
            arguments = _arguments(config, name)
            width = arguments.pop("width", None)
            if width is not None and len(width) < levels:
                raise InputError(
                    f"networks.{name}.width = {width}: {config.size} pixels have {levels} levels"
                )
            width = width_of if width is None else width.__getitem__
            return cls.network_classes[name](**arguments, levels=levels, width=width)

        return {name: network(name) for name in cls.network_classes}

    def step(self, batch, done, generator):
        level, self.alpha = self.at(done)
        if level != self.level:  # as published: moments of the smaller network do not fit the larger one
            self.level, self.optimizers = level, self.make_optimizers()
        (real,) = batch
        real = F.avg_pool2d(to_signed(real), 2 ** (self.levels - 1 - level))
        latent = self.networks["generator"].first.weight.shape[0]
        latents = torch.randn(2, len(real), latent, generator=generator).to(self.device)
        losses = progressive_step(
            self.networks,
            self.optimizers,
            real,
            (latents[0], latents[1]),
            level,
            self.alpha,
            penalty_generator=generator,
        )
        self.average.update_parameters(self.networks["generator"])
        return {**losses, "level": torch.tensor(float(level)), "alpha": torch.tensor(self.alpha)}

    def samples(self, examples):
        network = self.average.module
        latents = torch.randn(32, network.first.weight.shape[0], generator=torch.Generator().manual_seed(0))
        images = to_unsigned(network(latents.to(self.device), self.level, self.alpha)).clamp(0, 1)
        images = F.interpolate(images, size=(self.config.size,) * 2, mode="nearest")
        return list(images.unflatten(0, (4, 8)).transpose(0, 1))

    def weights(self):
        return {"generator": self.average.module.state_dict()}

    def state(self):
        return {**super().state(), "average": self.average.state_dict(), "level": self.level}

    def load_state(self, state):
        if state["level"] not in range(self.levels):
            raise InputError(f"level = {shown(state['level'])}: there are {self.levels}")
        self.level = state["level"]
        super().load_state(state)
        load_networks({"average": self.average}, {"average": state["average"]})


class SrganSystem(System):
    """Small images to large ones, in two stages; see `srgan.srresnet_step` and `srgan.srgan_step`."""

    columns = ("mse", "disc", "content", "gen_gan")
    network_classes: ClassVar = {"generator": SRResNet, "discriminator": SRDiscriminator}

    def __init__(self, config, device="cpu"):
        super().__init__(config, device)
        self.first_stage = round(config.mse_share * config.steps)
        self.features, content = content_features(config.content if config.mse_share < 1 else "pixels")
        if self.features is not None:
            self.features = self.features.to(self.device)
        self.notes["content"] = content

    def make_optimizers(self):
        rate = self.config.gan_learning_rate
        second = {name: self.adam(name, learning_rate=rate) for name in self.networks}
        return {"mse": self.adam("generator"), **second}

    def step(self, batch, done, generator):
        (large,) = batch
        network = self.networks["generator"]
        small = shrink_images(large, scale_of(self.config))
        if done < self.first_stage:
            return srresnet_step(network, self.optimizers["mse"], small, large)
        half = (self.first_stage + self.config.steps) / 2
        rate = self.config.gan_learning_rate * (1.0 if done < half else 0.1)
        self.set_rate(rate, "generator", "discriminator")
        return srgan_step(
            network,
            self.networks["discriminator"],
            self.optimizers,
            small,
            large,
            self.features and (lambda image: self.features(image, depth=FEATURE + 1)[FEATURE]),
            adversarial_weight=self.config.adversarial_weight,
        )

    def samples(self, examples):
        (large,) = examples
        small = shrink_images(large, scale_of(self.config))
        bicubic = F.interpolate(small, size=large.shape[-2:], mode="bicubic").clamp(0, 1)
        network = self.networks["generator"]
        with evaluating(network):
            return [bicubic, network(small), large]


class MonkeyNetSystem(System):
    """A source frame moved to a driving frame; see `monkeynet.monkeynet_step`."""

    generators = ("model",)
    network_classes: ClassVar = {"model": MonkeyNet, "discriminator": GaussianDiscriminator}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all losses: one more layer than the discriminator has blocks."""
        layers = (f"layer{i}" for i in range(len(self.config.reconstruction)))
        return (*layers, "gen_gan", "disc")

    def make_optimizers(self):
        model, rate, betas = self.networks["model"], self.config.learning_rate, self.config.betas
        generator = [*model.generator.parameters(), *model.motion.parameters()]
        return {
            "generator": Adam(generator, rate, betas),
            "detector": Adam(model.detector.parameters(), rate, betas),
            "discriminator": self.adam("discriminator"),
        }

    def step(self, batch, done, generator):
        self.set_rate(self.config.learning_rate * (1.0 if done < self.config.steps * 2 / 3 else 0.1))
        return monkeynet_step(
            self.networks["model"],
            self.networks["discriminator"],
            self.optimizers,
            *batch,
            reconstruction=self.config.reconstruction,
        )

    def samples(self, examples):
        source, driving = examples
        model = self.networks["model"]
        with evaluating(model):
            return [source, driving, model(source, driving).prediction]


_SYSTEMS = {
    "pix2pix": Pix2PixSystem,
    "cyclegan": CycleGanSystem,
    "progressive": ProgressiveSystem,
    "srgan": SrganSystem,
    "monkeynet": MonkeyNetSystem,
}


def make_system(config: FamilyConfig, device: torch.device | str = "cpu") -> System:
    """The system of a config, with new networks.

    Example:
        >>> sorted(make_system(family_config("cyclegan")).networks)
        ['a', 'ab', 'b', 'ba']
    """
    return _SYSTEMS[config.system](config, device)


def build_networks(config: FamilyConfig) -> dict[str, nn.Module]:
    """New networks of a config, by name; those of pix2pix and CycleGAN with their published initial weights.

    Raises:
        InputError: arguments that the networks do not have, or a size that they do not make.

    Example:
        >>> sorted(build_networks(family_config("monkeynet")))
        ['discriminator', 'model']
    """
    try:
        return _SYSTEMS[config.system].build(config)
    except InputError:
        raise
    except Exception as error:  # each network raises its own types for arguments that it cannot use
        raise InputError(
            f"{config.system}: the networks' arguments do not fit ({error_text(error)})"
        ) from error


def _arguments(config: FamilyConfig, network: str) -> dict:
    return copy.deepcopy(config.networks.get(network, {}))


def levels_of(config: FamilyConfig) -> int:
    """The number of levels of progressive growing: 1 for 4 pixels, 2 for 8, ...

    Raises:
        InputError: the size is not 4 times a power of 2.

    Example:
        >>> levels_of(family_config("progressive", size=32))
        4
    """
    if config.size & (config.size - 1):
        raise InputError(f"size = {config.size}: progressive growing makes 4, 8, 16, ... pixels")
    return config.size.bit_length() - 2


def scale_of(config: FamilyConfig) -> int:
    """By how much a super-resolution network enlarges."""
    return config.networks.get("generator", {}).get("scale", 4)


def shrink_images(images: Tensor, scale: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] at 1 / scale of the size: bicubic, antialiased, clamped, as published.

    Example:
        >>> shrink_images(torch.ones(1, 3, 64, 64), 4).shape
        torch.Size([1, 3, 16, 16])
    """
    size = [side // scale for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def content_features(content: str) -> tuple[nn.Module | None, str]:
    """The network of the content loss of SRGAN, and a text that says which.

    Where the weights of VGG-16 are not installed, pixels are compared instead, and the text says so.

    Raises:
        InputError: VGG-19 was asked for and cannot be downloaded.

    Example:
        >>> content_features("pixels")
        (None, 'pixels')
    """
    if content == "pixels":
        return None, "pixels"
    if content == "vgg19":
        return perceptual_network("vgg19"), "relu4_1 of VGG-19"
    try:
        return perceptual_network("vgg16-lpips"), "relu4_1 of VGG-16"
    except InputError as error:
        return None, f"pixels, as {error}"


def translate(generator: nn.Module, images: Tensor) -> Tensor:
    """Images (B, C, H, W) in [0, 1] through a network of [-1, 1], one by one, in training mode.

    That is how pix2pix is tested: its batch norm takes the statistics of the one image.
    """
    generator.train()
    return torch.cat([to_unsigned(generator(to_signed(image[None]))) for image in images])


@contextmanager
def sampling(seed: int = 0) -> Iterator[None]:
    """No gradients, and random numbers (dropout) of their own, so that looking changes no training."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
