"""What needs the extra `synthetic`, and EGL."""

from __future__ import annotations

import pytest

from fomm_lib.errors import InputError
from fomm_lib.synthetic.clip import SyntheticClip


@pytest.fixture(scope="module")
def anny():
    """Skips where the extra is not installed."""
    pytest.importorskip("anny", reason="needs the extra: pip install 'fomm-lib[synthetic]'")


@pytest.fixture(scope="module")
def drawing(anny):
    """Skips where nothing can be drawn."""
    pytest.importorskip("moderngl", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    try:
        SyntheticClip(0, 0, 1, 32).frame(0)
    except InputError as error:
        pytest.skip(str(error))
