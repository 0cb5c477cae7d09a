"""Images between files and networks: the way there and back, sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.media.tensors import (
    as_pixels,
    bytes_tensor,
    check_image,
    from_uint8,
    resize,
    resize_array,
    resize_bicubic,
    to_tensor,
    to_uint8,
)
from tests.support.odd_files import difference, moving_frames, portrait


def test_every_level_comes_back():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(to_uint8(to_tensor(image)), image)
    batch = torch.stack([to_tensor(frame) for frame in moving_frames(3)])
    assert np.array_equal(to_uint8(batch), moving_frames(3))


def test_bytes_become_the_same_numbers_later():
    image = portrait(61)
    for size in ((61, 61), (24, 40)):
        late = from_uint8(bytes_tensor(image, size))
        assert late.dtype == torch.float32 and torch.equal(late, to_tensor(image, size))
    already = torch.rand(3, 4, 4)
    assert from_uint8(already) is already


def test_arrays_are_resized_as_tensors_are():
    image = portrait(61)
    expected = resize(torch.from_numpy(image).permute(2, 0, 1), (24, 40)).permute(1, 2, 0).numpy()
    small = resize_array(image, (24, 40))
    assert np.array_equal(small, expected) and small.flags.c_contiguous
    assert np.array_equal(resize_array(image, (61, 61)), image)


@pytest.mark.parametrize("size", [(128, 96), (20, 30)])
def test_bicubic_resizing_is_that_of_pillow(size):
    image = portrait(64)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    assert difference(resize_bicubic(image, size), expected).max() <= 3
    assert resize_bicubic(image, (64, 64)) is image


def test_images_for_display():
    image = portrait()
    assert as_pixels(image) is image
    assert np.array_equal(as_pixels(to_tensor(image)), image)
    grey = as_pixels(torch.tensor([[-1.0, 0.5, 2.0]]))
    assert grey[..., 0].tolist() == [[0, 128, 255]] and (grey == grey[..., :1]).all()
    assert as_pixels(torch.ones(1, 2, 2, dtype=torch.bool)).min() == 255
    for bad in (torch.zeros(2, 4, 4), torch.zeros(3, 4, 4, dtype=torch.int64), np.zeros((4, 4), np.uint8)):
        with pytest.raises(InputError, match="give a tensor"):
            as_pixels(bad)


@pytest.mark.parametrize(
    "bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))]
)
def test_what_is_no_image(bad):
    with pytest.raises(InputError, match=r"^the portrait is .*; it must be uint8 \(H, W, 3\), RGB$"):
        check_image(bad, "the portrait")
