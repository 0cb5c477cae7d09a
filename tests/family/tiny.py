"""Tiny configs of the five systems: a step takes milliseconds."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from fomm_lib.checkpoints import write_weights
from fomm_lib.family.config import FamilyConfig, family_config
from fomm_lib.family.systems import make_system

_PARTS = {"block_expansion": 4, "max_features": 8, "num_blocks": 2, "scale": 0.5}
TINY = {
    "pix2pix": {
        "size": 32,
        "networks": {
            "generator": {"halvings": 5, "width": 2, "norm": "instance"},
            "discriminator": {"width": 2, "layers": 1, "norm": "instance"},
        },
    },
    "cyclegan": {
        "size": 16,
        "pool": 2,
        "networks": {
            "generator": {"width": 2, "blocks": 1},
            "discriminator": {"width": 2, "layers": 1, "norm": "instance"},
        },
    },
    "progressive": {
        "size": 8,
        "fade": 8,
        "stable": 8,
        "networks": {"generator": {"latent": 4, "width": [4, 4]}, "discriminator": {"width": [4, 4]}},
    },
    "srgan": {
        "size": 16,
        "mse_share": 0.5,
        "content": "pixels",
        "networks": {"generator": {"blocks": 1, "width": 4}, "discriminator": {"width": 2}},
    },
    "monkeynet": {
        "size": 32,
        "reconstruction": (10.0, 10.0, 1.0),
        "networks": {
            "model": {
                "num_kp": 3,
                "detector": _PARTS,
                "motion": _PARTS,
                "generator": {**_PARTS, "refinement_blocks": 1},
            },
            "discriminator": {"num_kp": 3, "block_expansion": 4, "max_features": 8, "num_blocks": 2},
        },
    },
}


def tiny(system: str, **changes) -> FamilyConfig:
    return family_config(system, **{"batch_size": 4, "steps": 6, **TINY[system], **changes})


def write_tiny(folder: Path, system: str, **changes) -> Path:
    """A file of random weights, as a training leaves it."""
    torch.manual_seed(0)
    config = tiny(system, **changes)
    made = make_system(config)
    path = folder / f"{system}.safetensors"
    return write_weights(path, made.weights(), config, dtype=torch.float16, notes={"steps": "0"})


def losses_of(run: Path) -> list[dict[str, str]]:
    """The rows of losses.csv without the times."""
    with open(run / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in rows]
