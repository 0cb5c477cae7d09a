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
    download,
    from_uint8,
    image_array,
    resize,
    resize_array,
    resize_bicubic,
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


def test_bytes_become_the_same_numbers_later():
    image = portrait(61)
    for size in ((61, 61), (24, 40)):
        late = from_uint8(bytes_tensor(image, size))
        assert late.dtype == torch.float32 and torch.equal(late, to_tensor(image, size))
    already = torch.rand(3, 4, 4)
    assert from_uint8(already) is already


def test_images_travel_as_bytes():
    """Uploaded they are what `to_tensor` gives, downloaded what `to_uint8` gives."""
    frames = moving_frames(3, (40, 40))
    there = torch.stack([bytes_tensor(frame, (16, 24)) for frame in frames])
    assert there.dtype == torch.uint8
    images = upload(there, torch.device("cpu"))
    assert torch.equal(images, torch.stack([to_tensor(frame, (16, 24)) for frame in frames]))
    assert np.array_equal(download(images)(), to_uint8(images))


@pytest.mark.needs_gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_images_come_back_from_a_gpu():
    there = torch.stack([bytes_tensor(frame) for frame in moving_frames(3)])
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


def test_images_in_memory_are_all_one():
    image = portrait()
    tensor = to_tensor(image)
    for same in (
        image,
        Image.fromarray(image),
        Image.fromarray(image).convert("RGBA"),
        tensor,
        tensor[None],
        tensor.double(),
        tensor.clone().requires_grad_(),
        torch.from_numpy(image),
        torch.from_numpy(image).permute(2, 0, 1),
    ):
        assert np.array_equal(image_array(same, "the portrait"), image)
    assert image_array(Image.new("LA", (4, 2), (0, 0)), "the portrait").min() == 255  # as from a file
    over = image_array(torch.tensor([-0.1, 0.5, 1.1]).reshape(3, 1, 1), "the portrait")
    assert over.tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (3, "is a int; give the name of a file, a Pillow image, uint8 (H, W, 3), or a tensor (3, H, W)"),
        (None, "is a NoneType; give the name of a file"),
        (b"\x89PNG", "is a bytes; give the name of a file"),
        ([[0]], "is a list; give the name of a file"),
        (np.zeros((4, 4)), "is float64 (4, 4); it must be uint8"),
        (torch.zeros(4, 4), "is a tensor float32 (4, 4); it must be (3, H, W) in [0, 1]"),
        (torch.zeros(2, 3, 4, 4), "is a tensor float32 (2, 3, 4, 4); it must be"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "is a tensor int64 (3, 4, 4); it must be"),
        (torch.zeros(4, 4, dtype=torch.uint8), "is a tensor uint8 (4, 4); it must be"),
        (torch.full((3, 4, 4), 128.0), "with values from 128 to 128; they must be in [0, 1]"),
        (torch.full((3, 4, 4), -1.0), "with values from -1 to -1; they must be in [0, 1]"),
        (torch.full((3, 4, 4), float("nan")), "with values from nan to nan; they must be in [0, 1]"),
    ],
)
def test_what_is_no_image_in_memory(thing, words):
    with pytest.raises(InputError) as caught:
        image_array(thing, "the portrait")
    assert str(caught.value).startswith("the portrait ") and words in str(caught.value)


def test_a_pillow_image_that_is_damaged(tmp_path):
    Image.fromarray(portrait(256)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with (
        Image.open(tmp_path / "a.png") as image,
        pytest.raises(InputError, match="the portrait cannot be read"),
    ):
        image_array(image, "the portrait")
