"""Weights of the five systems: those of the course by name, a file, or the folder of a training."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fomm_lib.checkpoints import check_entries, load_network, read_safetensors, weights_path
from fomm_lib.documents import read_json
from fomm_lib.errors import InputError, printable
from fomm_lib.family.config import SYSTEMS, FamilyConfig, read_config
from fomm_lib.family.systems import build_networks
from fomm_lib.files import check_name, data_path
from fomm_lib.model import choose_device


@dataclass
class FamilyModel:
    """Trained networks that make images, in float32 and eval mode.

    Attributes:
        config: of the system.
        networks: by name: "generator"; "ab" and "ba" of CycleGAN; "model" of Monkey-Net.
        notes: texts in the file: steps, seed, seconds, ...
        path: of the file.
    """

    config: FamilyConfig
    networks: dict[str, nn.Module]
    notes: dict[str, str] = field(default_factory=dict)
    path: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(next(iter(self.networks.values())).parameters()).device


def load_family(name: str | os.PathLike, device: torch.device | str | None = None) -> FamilyModel:
    """Trained networks of a system.

    Args:
        name: one of `config.SYSTEMS` for the weights of the course; a `.safetensors`; or the folder of a
            training (one that is called like a system as `./srgan`).
        device: by default the GPU if there is one.

    Raises:
        InputError: there is no such file, it is damaged, or of another kind of model; or the device cannot be
            used.

    Example:
        >>> sorted(load_family("cyclegan").networks)
        ['ab', 'ba']
    """
    device = choose_device(device)
    config, networks, notes, path = read_family(name)
    with torch.device("meta"):  # without memory: a config may describe more than there is
        plan = build_networks(config)
    for network, entries in networks.items():
        if network not in plan:
            name = printable(network, 100)
            raise InputError(f"{path}: has a network {name}, which {config.system} has not")
        check_entries(plan[network], entries, f"{path}, {network},")
    built, chosen = build_networks(config), {}
    for network, entries in networks.items():
        load_network(built[network], entries, f"{path}, {network},")
        chosen[network] = built[network].to(device).eval()
    return FamilyModel(config, chosen, notes, path)


def read_family(
    name: str | os.PathLike,
) -> tuple[FamilyConfig, dict[str, dict[str, Tensor]], dict[str, str], Path]:
    """Config, entries by network, notes, and the path of a file of weights; see `load_family`.

    Raises:
        InputError: see `load_family`.
    """
    check_name(name)
    if str(name) not in SYSTEMS and not Path(name).exists():  # `weights_path` would name other models
        raise InputError(f"{name}: no such file of weights; shipped ones by name: {', '.join(SYSTEMS)}")
    if str(name) in SYSTEMS:
        path = data_path("weights", "family", f"{name}.safetensors")
        if not path.is_file():
            raise InputError(f"{name}: the course has no weights of it; train: fomm family train {name}")
    else:
        path = weights_path(name)
    networks, notes = read_safetensors(path)
    values = read_json(notes.pop("config", "{}"), str(path))
    return read_config(values, str(path)), networks, notes, path
