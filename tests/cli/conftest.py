"""Tests of the command line run in an empty folder."""

from __future__ import annotations

import warnings

import pytest
from PIL import Image

from fomm_lib.checkpoints import write_weights
from tests.support.odd_files import encode, moving_frames, portrait
from tests.support.small_model import small_config, small_model


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # `main` changes it


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A small model in a file, as training leaves it."""
    model = small_model()
    networks = {name: getattr(model, name).state_dict() for name in ("generator", "kp_detector")}
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    return write_weights(path, networks, small_config(), dtype=None)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    Image.fromarray(portrait()).save(folder / "portrait.png")
    encode(folder / "driving.mp4", moving_frames(5), audio="aac")
    return folder
