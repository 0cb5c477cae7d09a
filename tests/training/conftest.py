"""For all tests of training: small clips, and a perceptual network that needs no download."""

import pytest

from fomm_lib.training import loop
from tests.support.tiny_training import make_squares
from tests.support.training_script import random_network


@pytest.fixture(autouse=True)
def random_features(monkeypatch):
    monkeypatch.setattr(loop, "perceptual_network", random_network)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make_squares(tmp_path_factory.mktemp("squares"))
