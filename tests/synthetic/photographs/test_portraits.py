"""Portraits: every reason against one, and fits that are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.synthetic.photographs import portraits as portraits_module
from fomm_lib.synthetic.photographs.portraits import (
    TABLE,
    find_portraits,
    identity_of,
    load_photograph,
    reason_against,
    survey,
)
from fomm_lib.synthetic.photographs.reasons import Reason, Unusable
from tests.support.portraits import SHUT, SMILE, rendered


@pytest.fixture(scope="module")
def folder(tools, tmp_path_factory):
    """Portraits of which two can be used, and why the others cannot."""
    folder = tmp_path_factory.mktemp("portraits")
    good = rendered(2, actions=SHUT)
    blocks = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    blocks, beside = blocks.repeat(16, axis=0).repeat(16, axis=1), np.ones((256, 256), bool)
    beside[20:, 40:216] = False
    images = {
        "a used": good,
        "b used": rendered(3, actions=SMILE),
        "c no face": np.full_like(good, 128),
        "d several faces": np.hstack([good, good]),
        "e face too small": np.asarray(Image.fromarray(good).resize((150, 150))),
        "f turned away": rendered(2, actions=SHUT, yaw=24),
        "g crown cut off": rendered(1),
        "i background not plain": np.where(beside[..., None], blocks, good),
    }
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "h unreadable.jpg").write_bytes(b"no image")
    (folder / "j used.jpg").write_bytes(data_path("portrait.jpg").read_bytes())
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def fits(folder, tmp_path_factory):
    fits = tmp_path_factory.mktemp("fits")
    survey(find_portraits(folder), fits, progress=False)
    return fits


@pytest.mark.needs_system
def test_every_portrait_has_its_reason(folder, fits, tmp_path):
    rows = survey(find_portraits(folder), fits, progress=False)
    assert [row.portrait for row in rows] == [path.name for path in find_portraits(folder)]
    for row in rows:
        expected = row.identity[2:]
        assert row.reason == ("" if expected == "used" else expected), row
        assert bool(row.text) == bool(row.reason) and "\n" not in row.text
        assert row.used == (expected == "used")
    used, turned = rows[0], rows[5]
    assert used.residual < 0.012 and used.plainness > 0.6 and abs(used.yaw) < 5
    assert abs(turned.yaw) > 16 and turned.plainness is None
    TABLE.write(tmp_path / "list.csv", rows)
    assert TABLE.read(tmp_path / "list.csv") == rows


@pytest.mark.needs_system
def test_reasons_of_the_fit(closed):
    fit = closed.fit
    assert reason_against(fit, 0.0, 1.0) is None
    for changed, crown, plainness, reason in (
        (replace(fit, error=0.07), 0.0, 1.0, Reason.COARSE),
        (replace(fit, jaw_error=0.09), 0.0, 1.0, Reason.JAW),
        (replace(fit, angles=np.array([0, -17.0, 0])), 0.0, 1.0, Reason.TURNED),
        (fit, 0.9, 1.0, Reason.CUT_OFF),
        (fit, 0.0, 0.5, Reason.BACKGROUND),
    ):
        unusable = reason_against(changed, crown, plainness)
        assert isinstance(unusable, Unusable) and unusable.reason is reason and unusable.text


@pytest.mark.needs_system
def test_fits_are_kept_until_the_portrait_changes(folder, fits, monkeypatch):
    fitted = []
    fit_head = portraits_module.fit_head
    monkeypatch.setattr(portraits_module, "fit_head", lambda *a: fitted.append(1) or fit_head(*a))
    paths = find_portraits(folder)[:2]
    rows = survey(paths, fits, progress=False)
    assert not fitted
    file = fits / "a used.fit.npz"
    stored = load_photograph(paths[0], fits)
    file.write_bytes(file.read_bytes()[:1000])
    assert survey(paths, fits, progress=False) == rows and len(fitted) == 1
    again = load_photograph(paths[0], fits)
    assert (again.fit.neutral == stored.fit.neutral).all()
    assert (again.portrait.image == stored.portrait.image).all()
    content = paths[0].read_bytes()
    Image.fromarray(np.asarray(Image.open(paths[0]))[:, ::-1]).save(paths[0])
    survey(paths, fits, progress=False)
    paths[0].write_bytes(content)
    assert len(fitted) == 2
    with pytest.raises(InputError, match="has no fit in"):
        load_photograph(folder / "c no face.png", fits)


def test_folders_without_portraits(tmp_path):
    with pytest.raises(InputError, match="no such folder; give one that holds portraits"):
        find_portraits(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no portraits in it"):
        find_portraits(tmp_path)
    for name in ("one.jpg", "one.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"one\.jpg and one\.png have one name"):
        find_portraits(tmp_path)
    assert identity_of("x/a#b.jpg") == "a-b"
    assert str(Unusable(Reason.JAW, "error 0.1")) == "jaw: error 0.1"
