"""Fixtures of the tests of data: a folder of small clips, and no process left behind."""

from __future__ import annotations

import pytest

from fomm_lib.media import sandbox
from tests.support.small_clips import write_folder


@pytest.fixture(autouse=True)
def _no_process_left():
    yield
    sandbox.close_idle()


@pytest.fixture
def folders(tmp_path):
    """Four clips of eight frames, of two people."""
    for clip in range(4):
        write_folder(tmp_path / "data" / f"person{clip % 2}#video{clip}#0#8.mp4", clip=clip)
    return tmp_path / "data"
