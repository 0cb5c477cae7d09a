"""Trained systems on images and videos: sizes, times, tiles, headers, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.family.apply import (
    SuperResolution,
    apply_family,
    enlarge,
    image_function,
    notice,
    sample_family,
    sample_images_of,
    super_resolution,
    write_image,
)
from fomm_lib.family.pix2pix import to_signed, to_unsigned
from fomm_lib.family.weights import load_family
from fomm_lib.media.tensors import resize_bicubic
from fomm_lib.media.video import VideoReader, read_image
from tests.family.tiny import write_tiny
from tests.support.odd_files import encode, moving_frames

QUIET = {"progress": False}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    systems = ("pix2pix", "cyclegan", "progressive", "srgan", "monkeynet")
    return {system: load_family(write_tiny(folder, system), "cpu") for system in systems}


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / "image.png")
    encode(folder / "video.mp4", moving_frames(5), audio="aac")
    (folder / "text.png").write_text("no image")
    return folder


# --- images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "size"), [("pix2pix", (32, 32)), ("cyclegan", (16, 16)), ("srgan", (120, 80))]
)
def test_an_image(system, size, models, inputs, tmp_path):
    result = apply_family(models[system], inputs / "image.png", tmp_path / "out.png")
    image = read_image(tmp_path / "out.png")
    assert result.size == size == image.shape[1::-1] and result.frames == 1
    assert image.std() > 0
    assert np.array_equal(image, image_function(models[system])(read_image(inputs / "image.png")))


def test_what_the_networks_see(models):
    """CycleGAN: the middle square, in [-1, 1], through the network of the direction."""
    model = models["cyclegan"]
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    square = torch.from_numpy(image[:, 2:18].copy()).permute(2, 0, 1)[None].float() / 255
    for direction in ("ab", "ba"):
        with torch.no_grad():
            expected = to_unsigned(model.networks[direction](to_signed(square)))[0]
        found = image_function(model, direction)(image)
        np.testing.assert_allclose(found / 255, expected.permute(1, 2, 0), atol=0.51 / 255)


def test_dropout_is_seeded(models):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    made = [image_function(models["pix2pix"], seed=seed)(image) for seed in (0, 0, 1)]
    assert np.array_equal(made[0], made[1])


@pytest.mark.parametrize("tile", [7, 16, 100])
def test_tiles_make_the_whole_image(models, tile):
    image = torch.rand(1, 3, 33, 41, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, tiled = enlarge(models["srgan"], image, 0), enlarge(models["srgan"], image, tile)
    torch.testing.assert_close(tiled, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_header_says_that_it_is_generated(models, inputs, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    apply_family(models["srgan"], inputs / "image.png", path)
    with Image.open(path) as image:
        texts = [image.info.get("Comment"), image.info.get("comment"), image.getexif().get(0x010E)]
    texts = [text.decode() if isinstance(text, bytes) else text for text in texts if text]
    assert texts and all(text == notice(models["srgan"]) for text in texts)
    assert texts[0].startswith("AI-generated: made by a neural network (srgan, fomm-lib ")


# --- videos ---------------------------------------------------------------------------------------------


def test_a_video_keeps_its_times_and_its_audio(models, inputs, tmp_path):
    result = apply_family(models["srgan"], inputs / "video.mp4", tmp_path / "out.mp4", **QUIET)
    before, after = VideoReader(inputs / "video.mp4"), VideoReader(tmp_path / "out.mp4")
    assert result.frames == 5 and result.size == after.size == tuple(4 * side for side in before.size)
    assert after.times == before.times and after.has_audio
    apply_family(models["pix2pix"], inputs / "video.mp4", tmp_path / "frames", **QUIET)
    assert len(list((tmp_path / "frames").glob("*.png"))) == 5


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "options", "message"),
    [
        ("progressive", {}, r"progressive: cannot be applied to an image \(fomm family sample\)"),
        ("monkeynet", {}, r"monkeynet: cannot be applied to an image \(it needs two images\)"),
        ("cyclegan", {"direction": "ac"}, "direction 'ac': choose ab or ba"),
        ("srgan", {"tile": -1}, "tile = -1: give a number of pixels, or 0"),
    ],
)
def test_options_that_do_not_fit(system, options, message, models):
    with pytest.raises(InputError, match=message):
        image_function(models[system], **options)


def test_files_that_do_not_fit(models, inputs, tmp_path):
    model, out = models["cyclegan"], tmp_path / "out.png"
    with pytest.raises(InputError, match="no such file"):
        apply_family(model, inputs / "none.png", out)
    with pytest.raises(InputError, match=r"text\.png"):
        apply_family(model, inputs / "text.png", out)
    with pytest.raises(InputError, match=r"is a video; give a name that ends in \.mp4"):
        apply_family(model, inputs / "video.mp4", out)
    with pytest.raises(InputError, match=r"out\.mp4: an image is written as \.png, \.jpg"):
        apply_family(model, inputs / "image.png", tmp_path / "out.mp4")
    with pytest.raises(InputError, match="is the input; choose another name"):
        apply_family(model, inputs / "image.png", inputs / "image.png", overwrite=True)
    assert list(tmp_path.iterdir()) == []
    apply_family(model, inputs / "image.png", out)
    with pytest.raises(InputError, match="exists already"):
        apply_family(model, inputs / "image.png", out)
    apply_family(model, inputs / "image.png", out, overwrite=True)


@pytest.mark.parametrize("name", ["out.xyz", "out", "no-folder/out.png", "there.png", "folder.png"])
def test_an_output_that_cannot_be_is_refused_before_the_work(name, models, inputs, tmp_path, monkeypatch):
    def work(*_):
        raise AssertionError("this is work")

    (tmp_path / "there.png").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    for system in ("cyclegan", "srgan"):
        for network in models[system].networks.values():
            monkeypatch.setattr(network, "forward", work)
        with pytest.raises(InputError, match=re.escape(name.split("/")[0])):
            apply_family(models[system], inputs / "image.png", tmp_path / name, **QUIET)
        if name not in ("out", "there.png", "folder.png"):  # a folder of frames; and images, refused as such
            with pytest.raises(InputError, match=re.escape(name.split("/")[0].split(".")[0])):
                video = tmp_path / name.replace(".png", ".mp4")
                apply_family(models[system], inputs / "video.mp4", video, **QUIET)
    monkeypatch.setattr(models["progressive"].networks["generator"], "forward", work)
    if name != "out":  # a folder of images
        with pytest.raises(InputError, match=re.escape(name.split("/")[0])):
            sample_family(models["progressive"], tmp_path / name, 2)
    assert (tmp_path / "there.png").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


# --- super-resolution of an animation -------------------------------------------------------------------


def test_super_resolution_by_4_is_the_network_and_by_2_is_half_of_it(models):
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    large = image_function(models["srgan"])(image)
    four, two = (SuperResolution(models["srgan"], scale) for scale in (4, 2))
    assert (four.scale, two.scale) == (4, 2)
    assert np.array_equal(four(image), large) and large.shape == (48, 36, 3)
    assert np.array_equal(two(image), resize_bicubic(large, (24, 18)))


def test_super_resolution_that_cannot_be(models):
    with pytest.raises(InputError, match="super-resolution by 3: choose 2 or 4"):
        super_resolution(3)
    with pytest.raises(InputError, match="needs weights of srgan for 4 times the size"):
        super_resolution(2, models["pix2pix"].path)


# --- samples --------------------------------------------------------------------------------------------


def test_samples_do_not_depend_on_their_number(models, tmp_path):
    model = models["progressive"]
    three, five = (list(sample_images_of(model, count, seed=3)) for count in (3, 5))
    assert all(torch.equal(a, b) for a, b in zip(three, five, strict=False))
    assert not torch.equal(three[0], three[1])
    result = sample_family(model, tmp_path / "many", 3, seed=3)
    files = sorted((tmp_path / "many").iterdir())
    assert [path.name for path in files] == ["0000.png", "0001.png", "0002.png"] and result.size == (8, 8)
    np.testing.assert_allclose(read_image(files[1]) / 255, three[1].permute(1, 2, 0), atol=0.51 / 255)
    result = sample_family(model, tmp_path / "sheet.png", 5, seed=3, zoom=2)
    assert read_image(tmp_path / "sheet.png").shape == (2 * 18 + 2, 3 * 18 + 2, 3) and result.size == (16, 16)


def test_samples_that_cannot_be(models, tmp_path):
    with pytest.raises(InputError, match="srgan: makes no images from noise; choose progressive"):
        sample_family(models["srgan"], tmp_path / "x.png")
    for options, message in (
        ({"count": 0}, "count=0"),
        ({"zoom": 0}, "zoom=0: give a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            sample_family(models["progressive"], tmp_path / "x.png", **options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="holds more than an earlier result"):
        sample_family(models["progressive"], tmp_path / "full", 1, overwrite=True)


def test_an_image_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="an image is written as"):
        write_image(tmp_path / "x.bmp", np.zeros((4, 4, 3), np.uint8), "a test")
