"""Texts and last delays in GIF and PNG files."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from fomm_lib.media.headers import label_gif, label_png
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import moving_frames

pytestmark = pytest.mark.quick

NOTICE = {"title": "A test", "comment": "AI-generated, Ñ", "description": "AI-generated, Ñ"}


def test_a_long_comment_in_a_gif(tmp_path):
    """A comment is cut into parts of 255 bytes."""
    Image.fromarray(moving_frames(2)[1]).save(tmp_path / "a.gif")
    before = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))
    text = "".join(chr(ord("a") + number % 26) for number in range(1000))
    label_gif(tmp_path / "a.gif", text)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["comment"] == text.encode()
        assert np.array_equal(np.asarray(image.convert("RGB")), before)


def test_the_delay_of_the_last_frame_only(tmp_path):
    frames = [Image.fromarray(frame) for frame in moving_frames(5)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=50)
    label_gif(tmp_path / "a.gif", "x", last=Fraction(7, 10))
    label_png(tmp_path / "a.png", {"Comment": "x"}, last=Fraction(7, 10))
    for name in ("a.gif", "a.png"):
        video = VideoReader(tmp_path / name)
        assert [round(1000 * t) for _, t in video.timed()] == [0, 50, 100, 150, 200]
        assert video.end == Fraction(9, 10)


def test_labels_in_a_png_are_whole_chunks(tmp_path):
    """Every chunk's checksum is right, and the pixels are those they were."""
    Image.fromarray(moving_frames(2)[1]).save(tmp_path / "a.png")
    label_png(tmp_path / "a.png", NOTICE)
    data, place, kinds = (tmp_path / "a.png").read_bytes(), 8, []
    while place < len(data):
        (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        (checksum,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(data[place + 4 : place + 8 + length])
        kinds.append(kind)
        place += 12 + length
    assert kinds == [b"IHDR", b"iTXt", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
    assert np.array_equal(read_image(tmp_path / "a.png"), moving_frames(2)[1])
