"""Images between files and networks: the way there and back, sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.media.tensors import (
    as_pixels,
    check_image,
    download,
    resize,
    resize_array,
    resize_bicubic,
    to_byte_tensor,
    to_tensor,
    to_uint8,
    upload,
)
from tests.support.odd_files import difference, moving_frames, portrait


def test_every_level_comes_back():
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(to_uint8(to_tensor(image)), image)
    batch = torch.stack([to_tensor(frame) for frame in moving_frames(3)])
    assert np.array_equal(to_uint8(batch), moving_frames(3))


def test_images_travel_as_bytes():
    """Uploaded they are what `to_tensor` gives, downloaded what `to_uint8` gives."""
    frames = moving_frames(3, (40, 40))
    there = torch.stack([to_byte_tensor(frame, (16, 24)) for frame in frames])
    assert there.dtype == torch.uint8
    images = upload(there, torch.device("cpu"))
    assert torch.equal(images, torch.stack([to_tensor(frame, (16, 24)) for frame in frames]))
    assert np.array_equal(download(images)(), to_uint8(images))


@pytest.mark.needs_gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_images_come_back_from_a_gpu():
    there = torch.stack([to_byte_tensor(frame) for frame in moving_frames(3)])
    wait = download(upload(there, torch.device("cuda")))
    assert np.array_equal(wait(), moving_frames(3))


def test_arrays_are_resized_as_tensors_are():
    image = portrait(61)
    expected = resize(torch.from_numpy(image).permute(2, 0, 1), (24, 40)).permute(1, 2, 0).numpy()
    small = resize_array(image, (24, 40))
    assert np.array_equal(small, expected) and small.flags.c_contiguous
    assert np.array_equal(resize_array(image, (61, 61)), image)


@pytest.mark.parametrize("size", [(32, 48), (100, 75), (7, 130)])
@pytest.mark.parametrize("shape", [(3, 61, 80), (2, 3, 64, 64), (2, 2, 3, 40, 50)])
def test_resizing_is_that_of_torchvision(shape, size):
    """Without importing it. Where that converts images of 8 bits to numbers first, it rounds elsewhere."""
    from torchvision.transforms.v2 import functional

    images = torch.rand(shape)
    assert torch.equal(resize(images, size), functional.resize(images, list(size), antialias=True))
    levels = (images * 255).byte()
    expected = functional.resize(levels, list(size), antialias=True)
    assert (resize(levels, size).int() - expected.int()).abs().max() <= 1
    last = levels.movedim(-3, -1).contiguous().movedim(-1, -3)  # channels last in memory, as files give them
    assert torch.equal(resize(last, size), resize(levels, size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_resizing_keeps_the_type(dtype):
    images = torch.rand(1, 3, 20, 20, dtype=dtype)
    small = resize(images, (10, 12))
    assert small.dtype == dtype and small.shape == (1, 3, 10, 12)
    torch.testing.assert_close(small.float(), resize(images.float(), (10, 12)), atol=0.01, rtol=0)


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
