"""Weights of a model that runs in milliseconds, clips for it, and a reader of faces without packages."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fomm_lib.checkpoints import write_weights
from fomm_lib.evaluation import evaluate, strips
from tests.support.evaluation import clip_of, read_brightness, read_template
from tests.support.small_model import small_model


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 5):
        model = small_model(seed=seed)
        networks = {"kp_detector": model.kp_detector.state_dict(), "generator": model.generator.state_dict()}
        write_weights(folder / f"model-{seed}.safetensors", networks, model.config)
    return [folder / "model-0.safetensors", folder / "model-5.safetensors"]


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("anna#1", "ben#1", "cleo#1")):
        clip_of(folder, name, seed)
    return folder


@pytest.fixture
def faces(monkeypatch):
    monkeypatch.setattr(evaluate, "read_faces", read_brightness)
    monkeypatch.setattr(evaluate, "has_detector", lambda: True)


@pytest.fixture
def template_faces(monkeypatch):
    """A reader that sees a mean head in every image, see `read_template`."""
    for module in (evaluate, strips):
        monkeypatch.setattr(module, "read_faces", read_template)
        monkeypatch.setattr(module, "has_detector", lambda: True)


@pytest.fixture
def portraits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portraits")
    for number, name in enumerate(("dora.png", "emil.webp")):
        image = np.full((40, 60, 3), 90 + 60 * number, np.uint8)
        image[10:30, 20:40] = [200, 40, 90]
        image[:, ::4] += 30
        Image.fromarray(image).save(folder / name)
    (folder / "notes.txt").write_text("no portrait")
    return folder


@pytest.fixture
def no_faces(monkeypatch):
    for module in (evaluate, strips):
        monkeypatch.setattr(module, "has_detector", lambda: False)
