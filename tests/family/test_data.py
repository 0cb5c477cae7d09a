"""Data of the systems: the course's heads, the layouts of folders, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.family.data import (
    ClipPairs,
    ImageSets,
    at_size,
    course_heads,
    open_data,
    read_images,
    read_pairs,
    split_folder,
    square_tensor,
    two_folders,
)
from fomm_lib.synthetic.labels import PALETTE, label_image


def flat(value: int, count: int = 1, side: int = 4) -> torch.Tensor:
    return torch.full((count, 3, side, side), value, dtype=torch.uint8)


def save(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)


def drawn(data, count=4, seed=0):
    return data.draw(count, torch.Generator().manual_seed(seed))


# --- the course's heads ---------------------------------------------------------------------------------


def test_the_heads_of_the_course():
    for split, count in (("train", 800), ("test", 100)):
        images, labels = course_heads(split)
        assert images.shape == labels.shape == (count, 3, 64, 64) and images.dtype == torch.uint8
        colours = labels.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0).tolist()
        assert {tuple(colour) for colour in colours} <= {tuple(colour) for colour in PALETTE.tolist()}
        shares = [(labels == torch.tensor(c).view(1, 3, 1, 1)).all(1).float().mean() for c in PALETTE[[0, 1]]]
        assert shares[0] == pytest.approx(0.53, abs=0.03) and shares[1] == pytest.approx(0.25, abs=0.03)


def test_an_image_and_its_labels_show_the_same_head():
    """Borders of labels are edges of the image, more than those of another head's labels."""
    images, labels = course_heads("test")
    step = (images.float().mean(1).diff(dim=2)).abs()
    border = (labels[..., 1:] != labels[..., :-1]).any(1)
    assert step[border].mean() > 3 * step[~border].mean()
    other = border.roll(1, dims=0)
    assert step[border].mean() > 1.5 * step[other].mean()


@pytest.mark.parametrize("system", ["pix2pix", "cyclegan", "progressive", "srgan"])
def test_every_system_draws_from_them(system):
    batch = drawn(open_data(system, None, 32))
    assert len(batch) == (2 if system in ("pix2pix", "cyclegan") else 1)
    assert all(images.shape == (4, 3, 32, 32) and 0 <= images.min() < images.max() <= 1 for images in batch)


def test_no_pair_is_seen_unpaired():
    data, (images, labels) = open_data("cyclegan"), course_heads()
    assert torch.equal(data.sets[0], images[:400]) and torch.equal(data.sets[1], labels[400:])
    assert len(data) == 400


# --- drawing --------------------------------------------------------------------------------------------


def test_what_is_drawn_depends_on_the_generator_alone():
    data = open_data("pix2pix", None, 32, "test")
    torch.manual_seed(1)
    first = drawn(data)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(data), strict=True))
    assert not torch.equal(first[0], drawn(data, seed=1)[0])


def test_pairs_are_drawn_and_mirrored_together():
    ramp = torch.arange(12, dtype=torch.uint8).view(3, 1, 1, 4).expand(3, 3, 4, 4)
    a, b = drawn(ImageSets(ramp, ramp, paired=True), 64)
    assert torch.equal(a, b)
    mirrored = (a[:, 0, 0, 0] > a[:, 0, 0, 3]).float().mean()
    assert 0.3 < mirrored < 0.7
    a, b = drawn(ImageSets(ramp, ramp), 64)
    assert not torch.equal(a, b)


def test_examples_are_fixed_and_spread():
    data = ImageSets(torch.cat([flat(value) for value in range(10)]))
    assert (data.examples(5)[0][:, 0, 0, 0] * 255).round().tolist() == [0, 2, 4, 6, 8]
    assert len(data.examples(99)[0]) == 10


def test_sets_that_do_not_fit():
    with pytest.raises(InputError, match="there are no images to train on"):
        ImageSets(flat(0, 0))
    with pytest.raises(InputError, match="pairs need as many of each: 2 and 3"):
        ImageSets(flat(0, 2), flat(0, 3), paired=True)


# --- sizes ----------------------------------------------------------------------------------------------


def test_sizes():
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert torch.equal(at_size(image, 4), image)
    assert at_size(image, 2)[0, 0].tolist() == [[2, 4], [10, 12]]  # means of 2.5, 4.5, ... to even
    assert set(at_size(image, 3, labels=True).flatten().tolist()) <= set(range(16))
    assert at_size(image, 3).shape == (1, 3, 3, 3)
    wide = np.zeros((4, 10, 3), np.uint8)
    wide[:, 3:7] = 200
    assert square_tensor(wide, 4).unique().tolist() == [200]


# --- folders --------------------------------------------------------------------------------------------


def test_images_and_labels_of_equal_names(tmp_path):
    for value, name in ((10, "a"), (20, "b")):
        save(tmp_path / "images" / f"{name}.jpg", value)
        save(tmp_path / "labels" / f"{name}.png", 100 + value)
    save(tmp_path / "labels" / "unused.png", 0)
    labels, images = open_data("pix2pix", tmp_path, 4).sets
    assert images[:, 0, 0, 0].tolist() == [10, 20] and labels[:, 0, 0, 0].tolist() == [110, 120]
    two = open_data("cyclegan", tmp_path, 4).sets
    assert [one[:, 0, 0, 0].tolist() for one in two] == [[10], [120]]
    assert len(open_data("srgan", tmp_path, 4)) == 2


def test_labels_in_a_palette_become_colours(tmp_path):
    save(tmp_path / "images" / "a.png", 10)
    (tmp_path / "labels").mkdir()
    label_image(np.full((8, 8), 6, np.uint8)).save(tmp_path / "labels" / "a.png")
    assert read_pairs(tmp_path, 4)[1][0, :, 0, 0].tolist() == PALETTE[6].tolist()


@pytest.mark.parametrize("names", [("A", "B"), ("trainA", "trainB")])
def test_two_folders(tmp_path, names):
    for value, name in zip((10, 20), names, strict=True):
        save(tmp_path / name / "x.png", value)
    assert two_folders(tmp_path, "test") == tuple(tmp_path / name for name in names)
    sets = open_data("cyclegan", tmp_path, 4).sets
    assert [int(one[0, 0, 0, 0]) for one in sets] == [10, 20]


def test_train_and_test(tmp_path):
    save(tmp_path / "train" / "x.png", 10)
    assert split_folder(tmp_path, "test") == tmp_path / "train"
    save(tmp_path / "test" / "x.png", 20)
    save(tmp_path / "test" / ".hidden.png", 30)
    assert int(open_data("srgan", tmp_path, 4, "test").sets[0].unique()) == 20
    assert int(open_data("progressive", tmp_path, 4).sets[0].unique()) == 10


def test_clips_with_labels(tmp_path):
    for clip in ("one", "two"):
        for k in range(10):
            save(tmp_path / clip / f"{k:04d}.png", 10 * k)
            save(tmp_path / "labels" / clip / f"{k:04d}.png", 10 * k + 1)
    images, labels = read_pairs(tmp_path, 4)
    assert len(images) == 16 and torch.equal(images + 1, labels)
    assert len(read_images(tmp_path, 4)) == 16
    (tmp_path / "labels" / "two" / "0009.png").unlink()
    with pytest.raises(InputError, match=r"two: 9 images of labels for 10 frames"):
        read_pairs(tmp_path, 4)
    for path in (tmp_path / "labels" / "two").iterdir():
        path.unlink()
    (tmp_path / "labels" / "two").rmdir()
    with pytest.raises(InputError, match=r"has no labels in .*render: fomm synthesize --labels"):
        read_pairs(tmp_path, 4)


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_data("pix2pix", tmp_path / "none")
    with pytest.raises(InputError, match="should hold images/ and labels/"):
        open_data("pix2pix", tmp_path)
    with pytest.raises(InputError, match="no clips in it"):
        open_data("srgan", tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="images: no images in it"):
        open_data("pix2pix", tmp_path)
    save(tmp_path / "images" / "a.png", 1)
    with pytest.raises(InputError, match="labels: no labels in it"):
        open_data("pix2pix", tmp_path)
    save(tmp_path / "labels" / "b.png", 1)
    with pytest.raises(InputError, match=r"a\.png: has no image of the same name in"):
        open_data("pix2pix", tmp_path)
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="A: no images in it"):
        open_data("cyclegan", tmp_path)
    (tmp_path / "images" / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"a\.png"):
        open_data("srgan", tmp_path)


def test_pairs_of_clips(tmp_path):
    for clip in ("anna#1", "ben#1"):
        for k in range(3):
            save(tmp_path / clip / f"{k}.png", 10 * k)
    data = open_data("monkeynet", tmp_path, 8)
    source, driving = drawn(data, 6)
    assert source.shape == driving.shape == (6, 3, 8, 8) and len(data) == 2
    assert all(torch.equal(a, b) for a, b in zip((source, driving), drawn(data, 6), strict=True))
    assert len(ClipPairs(tmp_path, size=8).examples(9)[0]) == 2
