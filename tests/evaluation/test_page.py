"""The page of the best, the median and the worst frames."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.evaluation.evaluate import evaluate
from fomm_lib.evaluation.page import image_page, write_image_page


def test_the_page_has_images_and_goes_into_a_file(weights, clips, no_faces, tmp_path):
    report = evaluate(weights[:1], clips, progress=False)
    page = image_page(report)
    assert page.dtype == np.uint8 and len(np.unique(page)) > 50
    write_image_page(report, tmp_path / "page.jpg")
    with pytest.raises(InputError, match=r"end it with \.jpg or \.png"):
        write_image_page(report, tmp_path / "page.xyz")
    with pytest.raises(InputError, match="'model-9' was not evaluated"):
        image_page(report, ["model-9"])
