"""The panel: its widgets and what they do, without a browser."""

from __future__ import annotations

import io
import sys
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from fomm_lib.course.preview import preview
from fomm_lib.errors import InputError
from fomm_lib.media.video import VideoReader
from tests.support.odd_files import encode, moving_frames, portrait
from tests.support.small_model import small_model

widgets = pytest.importorskip("ipywidgets", reason="needs the extra: pip install 'fomm-lib[notebooks]'")


@pytest.fixture(scope="module")
def model():
    model = small_model()
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


@pytest.fixture
def panel(model, tmp_path):
    videos = {
        "six": encode(tmp_path / "six.mp4", moving_frames(6)),
        "one": encode(tmp_path / "one.mp4", moving_frames(1)),
        "none": tmp_path / "none.mp4",
    }
    return preview(model, {"ball": portrait(40), "same": portrait(40)}, videos)


def parts(panel):
    """Its widgets by description or type."""
    found, waiting = {}, [panel]
    while waiting:
        widget = waiting.pop()
        waiting += reversed(getattr(widget, "children", ()))
        found[getattr(widget, "description", "") or type(widget).__name__] = widget
    return SimpleNamespace(
        source=found["portrait"],
        driving=found["video"],
        strength=found["strength"],
        smooth=found["smoothing"],
        button=found["animate"],
        says=found["HTML"],
        video=found["Video"],
        upload=found["your own"],
        progress=found["IntProgress"],
    )


def upload(part, name, content):
    when = datetime(2020, 1, 1, tzinfo=timezone.utc)
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    part.upload.value = [{**file, "last_modified": when}]


def test_the_button_makes_a_video(panel):
    part = parts(panel)
    assert panel.result is None and part.video.layout.display == "none"
    part.strength.value, part.smooth.value = 1.5, 1.0
    part.button.click()
    assert part.says.value.startswith("6 frames in ")
    assert len(list(VideoReader(panel.result))) == 6
    assert bytes(part.video.value) == panel.result.read_bytes() and part.video.layout.display == ""
    assert (part.progress.value, part.progress.max, part.progress.layout.visibility) == (6, 6, "hidden")
    first = panel.result
    part.button.click()
    assert panel.result != first and not part.button.disabled


def test_strength_and_choices_reach_the_video(panel):
    part, videos = parts(panel), []
    for strength in (0.0, 2.0):
        part.strength.value = strength
        part.button.click()
        videos.append(list(VideoReader(panel.result)))
    assert (abs(videos[0][5].astype(int) - videos[0][0]).mean()) < 1
    assert (abs(videos[1][5].astype(int) - videos[1][0]).mean()) > 1
    part.driving.value = "one"
    part.button.click()
    assert "has one frame, so nothing moves" in part.says.value


def test_what_goes_wrong_is_said_in_the_panel(panel):
    part = parts(panel)
    part.driving.value = "none"
    part.button.click()
    assert "no such file" in part.says.value and panel.result is None
    assert not part.button.disabled and part.progress.layout.visibility == "hidden"


def test_ones_own_portrait(panel):
    part, file = parts(panel), io.BytesIO()
    Image.fromarray(portrait(50)[:, :44]).save(file, "PNG")
    upload(part, "me <b>.png", file.getvalue())
    assert part.source.value == "me &lt;b&gt;.png" and "44x50 pixels" in part.says.value
    part.button.click()
    assert part.says.value.startswith("6 frames")
    upload(part, "text.png", b"no image")
    assert "text.png: is no image that can be read" in part.says.value


def test_the_courses_own_by_default(model):
    part = parts(preview(model))
    assert part.source.options and part.driving.options


def test_without_ipywidgets(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(InputError, match="needs ipywidgets; install it: pip install"):
        preview(model)
