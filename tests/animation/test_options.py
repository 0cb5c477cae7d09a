"""Options of an animation: ranges, exclusions, names, and the signatures that show them."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

import fomm_lib as fomm
from fomm_lib.animation.augment import augment
from fomm_lib.animation.options import AnimateOptions
from fomm_lib.errors import InputError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": -1}, "strength = -1: should be a number from 0 to 5"),
        ({"strength": float("nan")}, "strength = nan"),
        ({"smooth": -0.5}, "smooth = -0.5: should be a number of frames from 0 to 50"),
        ({"best_frame": -1}, "best_frame = -1: should be auto, or the number of a frame"),
        ({"best_frame": "first"}, "best_frame = first"),
        ({"best_frame": "auto", "relative": False}, "best_frame is about relative movement"),
        ({"strength": 2, "relative": False}, "strength is about relative movement"),
        (
            {"adapt_scale": True, "relative": False},
            "crop the driving video so that its head is as large as the portrait's",
        ),
        ({"crop": "face"}, "crop face: should be auto, middle, or three numbers x, y, side"),
        ({"driving_crop": "face"}, "crop face: should be auto, middle, or three numbers x, y, side"),
        ({"paste_back": True, "zoom": 2}, "leave out compare and zoom"),
        ({"zoom": 0}, "zoom = 0: must be at least 1"),
        ({"batch_size": 10**9}, "batch_size = 1000000000: must be at most 1024"),
        ({"zoom": 2, "enlarge": lambda image: image}, "leave out zoom"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(InputError) as caught:
        AnimateOptions(**settings)
    assert words in str(caught.value)


def test_a_name_that_is_no_option_is_named(tmp_path):
    for call in (fomm.animate, fomm.animate_frames):
        with pytest.raises(
            InputError, match="sauce: there is no such setting; there are adapt_scale, batch_s"
        ):
            list(call(None, "portrait.jpg", "clip.mp4", sauce=1))
    with pytest.raises(InputError, match="zoom: there is no such setting"):
        next(fomm.animate_frames(None, "portrait.jpg", "clip.mp4", zoom=2))
    with pytest.raises(InputError, match="compare: there is no such setting"):
        augment(tmp_path, tmp_path, tmp_path / "out", compare=True)


@pytest.mark.parametrize(
    ("function", "without"),
    [
        (fomm.animate, set()),
        (fomm.animate_frames, {"paste_back", "compare", "zoom", "enlarge", "watermark"}),
        (augment, {"compare", "zoom", "enlarge"}),
    ],
)
def test_the_signature_shows_every_option_with_its_default(function, without):
    parameters = inspect.signature(function).parameters
    options = {field.name: field.default for field in fields(AnimateOptions) if field.name not in without}
    shown = {name: parameters[name].default for name in parameters if name in options}
    assert shown == options and not without & parameters.keys()
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in options)
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
