"""What the tests of `fomm live` share: a model, a portrait, and the images of a camera."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.animation.fast import FastModel
from fomm_lib.files import data_path
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.model import load_model

MARGIN = 32  # pixels left and right of the square


@pytest.fixture(scope="module")
def model():
    return FastModel(load_model("heads-64", device="cpu"))


@pytest.fixture(scope="module")
def portrait():
    return read_image(data_path("portrait.jpg"))


@pytest.fixture(scope="module")
def frames():
    """Five images of a head that turns, wider than high, as cameras give them."""
    square = np.stack(list(VideoReader(data_path("driving.mp4")))[::8][:5])
    return np.pad(square, [(0, 0), (0, 0), (MARGIN, MARGIN), (0, 0)], mode="edge")
