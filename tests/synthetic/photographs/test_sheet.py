"""The contact sheet."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.photographs.sheet import sheet_poses, with_actions, write_sheet


@pytest.mark.needs_system
def test_a_sheet_has_five_images_a_portrait(closed, smiling, tmp_path):
    write_sheet(tmp_path / "sheet.jpg", [closed, smiling], size=48)
    image = np.asarray(Image.open(tmp_path / "sheet.jpg")).astype(float)
    assert image.shape == (48, 2 * 5 * 48, 3)
    cells = image.reshape(48, 10, 48, 3).swapaxes(0, 1)
    assert all(np.abs(cells[k] - cells[0]).mean() > 0.3 for k in range(1, 5))
    assert len(sheet_poses(closed.fit)) == 5


@pytest.mark.needs_system
def test_actions_of_the_mouth_are_replaced(smiling):
    names = load_anatomy().action_names
    strengths = with_actions(smiling.fit, {"jawOpen": 0.7, "mouthUpperUp": 0.2})
    assert strengths[names.index("jawOpen")] == pytest.approx(0.7)
    assert strengths[names.index("mouthUpperUpRight")] == pytest.approx(0.2)
    assert strengths[names.index("mouthSmileLeft")] == 0
    brow = names.index("browInnerUp")
    assert strengths[brow] == smiling.fit.actions[brow]
