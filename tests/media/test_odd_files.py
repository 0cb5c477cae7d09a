"""Every odd file gives frames, and an image, or one line that says why not."""

from itertools import pairwise

import numpy as np
import pytest

from fomm_lib.errors import InputError, VideoError
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import ODD_FILES

# The first HDR file of a process takes 5 s, for its table of colours.
SLOW = {"hdr.mp4"}
EACH = [
    pytest.param(odd, marks=[pytest.mark.quick] * (odd.name not in SLOW), id=odd.name) for odd in ODD_FILES
]


@pytest.mark.parametrize("odd", EACH)
def test_odd_file_gives_frames_or_one_line(odd, odd_folder):
    path = odd.make_in(odd_folder)
    try:
        video = VideoReader(path)
        frames = list(video.timed())
    except VideoError as error:
        assert error.reason == odd.as_video, error
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert len(frames) == odd.as_video
        assert {frame.shape for frame, _ in frames} == {(video.size[1], video.size[0], 3)}
        times = [seconds for _, seconds in frames]
        assert times[0] == 0 and all(b > a for a, b in pairwise(times))


@pytest.mark.parametrize("odd", EACH)
def test_odd_file_gives_an_image_or_one_line(odd, odd_folder):
    path = odd.make_in(odd_folder)
    try:
        image = read_image(path)
    except InputError as error:
        assert not odd.as_image, error
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert odd.as_image
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
