"""Squares in closed form, and their framing against the true landmarks of the course's heads."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media import squares
from fomm_lib.media.squares import (
    FACE_ACROSS,
    FACE_DOWN,
    SQUARE_PER_FACE,
    choose_square,
    clamp_square,
    cut,
    cut_middle,
    face_square,
    head_square,
    height_of,
    middle_square,
    steady_square,
)


def test_head_square_puts_the_face_where_training_data_has_it():
    points = np.array([[100.0, 200.0], [140.0, 220.0], [120.0, 250.0]])
    x, y, side = head_square(points)
    assert side == pytest.approx(SQUARE_PER_FACE * 50)
    assert (120 - x) / side == pytest.approx(FACE_ACROSS)
    assert (225 - y) / side == pytest.approx(FACE_DOWN)


def test_the_framing_is_that_of_the_heads():
    """Of the true landmarks of data/heads, not those of the detector."""
    ratios = []
    for path in sorted(data_path("heads", "truth").glob("*.npz")):
        points = np.load(path)["landmarks"].astype(float)
        points = (points + 1) / 2 if np.abs(points).max() < 4 else points / 128
        for image in points:
            low, high = image.min(axis=0), image.max(axis=0)
            ratios.append([*((low + high) / 2), 1 / (high - low).max()])
    across, down, per_face = np.mean(ratios, axis=0)
    assert len(ratios) >= 12
    assert (across, down) == pytest.approx((FACE_ACROSS, FACE_DOWN), abs=0.04)
    assert per_face == pytest.approx(SQUARE_PER_FACE, rel=0.1)


def test_a_head_at_rest_keeps_its_square():
    assert steady_square([(3.0, 4.0, 50.0)] * 7) == pytest.approx((3, 4, 50))


def test_a_moving_head_stays_inside_and_one_wrong_face_does_not_count():
    squares = [(10.0 + number, 20.0, 100.0) for number in range(41)]
    x, y, side = steady_square(squares)
    assert x + side / 2 == pytest.approx(80) and y + side / 2 == pytest.approx(70)
    assert 130 < side < 141
    wrong = steady_square([*squares, (900.0, 900.0, 30.0)])
    assert wrong == pytest.approx((x, y, side), abs=3)


@pytest.mark.parametrize(
    ("square", "size", "expected"),
    [
        ((10.2, 20.4, 30.0), (100, 100), (10, 20, 30)),
        ((-5, 10, 50), (100, 100), (0, 10, 50)),  # shifted
        ((80, 70, 50), (100, 100), (50, 50, 50)),
        ((-10, -10, 120), (100, 80), (10, 0, 80)),  # and only then smaller
        ((40, 40, 0.2), (100, 100), (40, 40, 1)),
    ],
)
def test_a_square_stays_inside_the_image(square, size, expected):
    assert clamp_square(square, size) == expected
    x, y, side = clamp_square(square, size)
    assert x >= 0 and y >= 0 and x + side <= size[0] and y + side <= size[1]


@pytest.mark.parametrize(
    ("shape", "expected"), [((40, 100), (30, 0, 40)), ((7, 4), (0, 1, 4)), ((5, 5), (0, 0, 5))]
)
def test_the_largest_square_in_the_middle(shape, expected):
    assert middle_square(np.zeros((*shape, 3), np.uint8)) == expected


def test_cutting_is_a_view():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    part = cut(image, (2, 1, 4))
    assert part.shape == (4, 4, 3) and np.shares_memory(part, image)
    assert (part == image[1:5, 2:6]).all()


def test_the_square_that_is_asked_for():
    image = np.zeros((40, 100, 3), np.uint8)
    assert choose_square(image, None, "it") == choose_square(image, "middle", "it") == ((30, 0, 40), [])
    assert choose_square(image, (60, 0, 40), "it") == ((60, 0, 40), [])
    for crop in [(61, 0, 40), (-1, 0, 40), (0, 1, 40), (0, 0, 0)]:
        with pytest.raises(InputError, match="does not lie inside the portrait, which is 100x40 pixels"):
            choose_square(image, crop, "the portrait")


POINTS = np.array([[100.0, 200.0], [140.0, 220.0], [120.0, 250.0]])


def following(monkeypatch, *found, others=False):
    """Let the detector find these landmarks, one for each image."""
    monkeypatch.setattr(
        squares, "follow_person", lambda images: ((*pair, others) for pair in zip(images, found, strict=True))
    )


def test_a_face_square_is_steady_and_inside(monkeypatch):
    following(monkeypatch, POINTS, None, POINTS + 8)
    images = [np.zeros((300, 180, 3), np.uint8)] * 3
    expected = clamp_square(steady_square([head_square(POINTS), head_square(POINTS + 8)]), (180, 300))
    assert face_square(images) == (expected, False)
    assert choose_square(images[0], "auto", "the driving video", images) == (expected, [])
    following(monkeypatch, None)
    assert face_square(images[:1]) == (None, False)
    square, notes = choose_square(images[0], "auto", "the portrait")
    assert square == middle_square(images[0])
    assert notes == ["no face is found in the portrait; the square in its middle is used"]


def test_other_people_are_named_in_a_line(monkeypatch):
    image = np.zeros((300, 300, 3), np.uint8)
    following(monkeypatch, POINTS, others=True)
    _, notes = choose_square(image, "auto", "the portrait")
    assert notes == [
        "more than one face is found in the portrait; the largest face is used; for another, give the crop "
        "as three numbers, x, y, side"
    ]
    following(monkeypatch, POINTS, others=True)
    _, (note,) = choose_square(image, "auto", "the driving video", [image])
    assert "the person with the largest face at its beginning is used" in note


# --- rectangles ----------------------------------------------------------------------------------------

SHAPES = [(64, 96), (96, 64), (1, 3), (256, 257)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(100, 40), (40, 100), (97, 64), (1, 1), (2, 300)])
def test_the_largest_rectangle_in_the_middle(shape, size):
    """It has the shape to a pixel, lies inside, touches two edges, and is in the middle to half a pixel."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    x, y, wide = middle_square(image, shape)
    part = cut_middle(image, shape)
    tall = part.shape[0]
    assert part.shape == (tall, wide, 3) and np.shares_memory(part, image)
    assert cut_middle(part, shape).shape == part.shape, "and what was cut is not cut again"
    assert abs(width - wide - 2 * x) <= 1 and abs(height - tall - 2 * y) <= 1
    if min(size) > 2:
        assert tall == height_of((x, y, wide), shape) == pytest.approx(wide * shape[0] / shape[1], abs=0.5)
        assert wide == width or height - tall < 1 + shape[0] / shape[1]


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_a_rectangle_stays_inside_and_holds_the_square_of_the_head(shape, monkeypatch):
    image = np.zeros((900, 1000, 3), np.uint8)
    points = 2 * POINTS + (250, 0)
    following(monkeypatch, points)
    (x, y, wide), _ = face_square([image], shape)
    tall = height_of((x, y, wide), shape)
    left, top, side = head_square(points)
    assert x <= left + 1 and left + side <= x + wide + 1
    assert y <= top + 1 and top + side <= y + tall + 1
    assert min(wide, tall) == pytest.approx(side, abs=2)
    assert (2 * x + wide, 2 * y + tall) == pytest.approx((2 * left + side, 2 * top + side), abs=3)
    x, y, wide = clamp_square((-50, 700, 5000), (1000, 900), shape)
    assert x >= 0 and y >= 0 and x + wide <= 1000 and y + height_of((x, y, wide), shape) <= 900


def test_a_rectangle_that_is_asked_for():
    image = np.zeros((40, 100, 3), np.uint8)
    assert choose_square(image, (10, 0, 60), "it", shape=(64, 96)) == ((10, 0, 60), [])
    assert cut(image, (10, 0, 60), (64, 96)).shape == (40, 60, 3)
    words = (
        r"crop 10,1,60 \(60x40 pixels, the shape of this model's images\) does not lie inside the portrait"
    )
    with pytest.raises(InputError, match=words):
        choose_square(image, (10, 1, 60), "the portrait", shape=(64, 96))
