"""Drawing: the order of parts, independence of what was drawn before, and what is missing."""

from __future__ import annotations

import pytest

from fomm_lib.errors import InputError
from fomm_lib.synthetic import anatomy as anatomy_module
from fomm_lib.synthetic import render
from fomm_lib.synthetic.clip import SyntheticClip


@pytest.mark.needs_system
def test_images_do_not_depend_on_what_was_drawn_before(drawing):
    clip, other = SyntheticClip(5, 1, 4, 64), SyntheticClip(5, 2, 4, 64)
    small = SyntheticClip(5, 3, 1, 48)
    first, small_first = clip.frame(0), small.frame(0)
    other.frame(1), clip.true_motion(0, 3), clip.places(2)
    assert (clip.frame(0) == first).all()
    assert (small.frame(0) == small_first).all()
    assert (clip.frame(0) == first).all()


def test_the_shader_order_names_every_part():
    assert sorted(render.DRAWING_ORDER) == list(anatomy_module.Part)


def test_without_moderngl(monkeypatch):
    monkeypatch.setattr(render, "shared_context", render.shared_context.__wrapped__)
    monkeypatch.setitem(__import__("sys").modules, "moderngl", None)
    with pytest.raises(InputError, match=r"need moderngl.*pip install .fomm-lib\[synthetic\]"):
        render.Renderer(32)


def test_without_egl(monkeypatch):
    moderngl = pytest.importorskip("moderngl", reason="needs the extra: pip install 'fomm-lib[synthetic]'")

    def fail(**kwargs):
        raise Exception("libEGL.so not\nloaded")

    monkeypatch.setattr(render, "shared_context", render.shared_context.__wrapped__)
    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(InputError, match=r"\(libEGL.so not loaded\).*apt-get install libegl1") as error:
        render.Renderer(32)
    assert "\n" not in str(error.value)
