"""Landmarks: one face of a usable size, at the size that is worked at."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fomm_lib.files import data_path
from fomm_lib.media.video import read_image
from fomm_lib.synthetic.photographs.landmarks import eye_distance, read_portrait
from fomm_lib.synthetic.photographs.reasons import Reason, Unusable


@pytest.fixture(scope="module")
def image(tools):
    return read_image(data_path("portrait.jpg"))


@pytest.mark.needs_system
def test_landmarks_lie_on_the_face(image):
    portrait = read_portrait(image)
    assert portrait.image is image
    right, left, nose, chin = (portrait.landmarks[k] for k in (36, 45, 30, 8))
    assert right[0] < nose[0] < left[0] and right[1] < nose[1] < chin[1]
    assert portrait.eye_distance == eye_distance(portrait.landmarks) > 30


@pytest.mark.needs_system
def test_a_larger_photograph_is_reduced_and_its_landmarks_with_it(image):
    large = np.asarray(Image.fromarray(image).resize((1024, 1024), Image.Resampling.BICUBIC))
    portrait, plain = read_portrait(large), read_portrait(image)
    assert portrait.eye_distance == pytest.approx(52, abs=0.5)
    factor = portrait.image.shape[0] / 256
    expected = (plain.landmarks + 0.5) * factor - 0.5
    assert np.abs(portrait.landmarks - expected).mean() < 1


@pytest.mark.needs_system
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: np.full_like(image, 128), Reason.NO_FACE),
        (lambda image: np.hstack([image, image]), Reason.SEVERAL_FACES),
        (lambda image: np.asarray(Image.fromarray(image).resize((140, 140))), Reason.SMALL),
    ],
)
def test_reasons_against_a_face(image, change, reason):
    with pytest.raises(Unusable) as caught:
        read_portrait(change(image))
    assert caught.value.reason is reason and caught.value.text
