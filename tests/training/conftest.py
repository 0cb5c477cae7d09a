"""For all tests of training: small clips, and a perceptual network that needs no download."""

import pytest
import torch

from fomm_lib.training import loop
from tests.support.tiny_training import make_squares
from tests.support.training_script import random_network


@pytest.fixture(autouse=True)
def random_features(monkeypatch):
    monkeypatch.setattr(loop, "perceptual_network", random_network)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make_squares(tmp_path_factory.mktemp("squares"))


# What makes the processor wait for a GPU; `__bool__` is called by `if tensor`.
WAITING = ("item", "cpu", "numpy", "tolist", "__bool__", "__float__", "__int__", "__index__")


@pytest.fixture
def waits(monkeypatch):
    """The names of the calls that would wait for a GPU, in their order."""
    seen = []

    def spy(name, original):
        def call(tensor, *arguments, **options):
            seen.append(name)
            return original(tensor, *arguments, **options)

        return call

    for name in WAITING:
        monkeypatch.setattr(torch.Tensor, name, spy(name, getattr(torch.Tensor, name)))
    return seen
