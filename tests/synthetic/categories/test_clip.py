"""Clips of bodies, animals and vehicles: the same numbers give the same image, and the truth is true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid, to_pixels, warp
from fomm_lib.synthetic.categories.clip import CATEGORIES, SAMPLES, CategoryClip, check_category, open_clip
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.posture import vertex_normals
from tests.synthetic.test_clip import inside

pytestmark = pytest.mark.needs_system


@pytest.mark.parametrize("category", SAMPLES)
def test_the_same_numbers_give_the_same_image_and_others_do_not(drawing, category):
    image = CategoryClip(category, 5, 1, 4, 64).frame(3)
    assert image.dtype == np.uint8 and image.shape == (64, 64, 3)
    assert (CategoryClip(category, 5, 1, 4, 64).frame(3) == image).all()
    assert (CategoryClip(category, 5, 2, 4, 64).frame(3) != image).mean() > 0.5
    assert (CategoryClip(category, 6, 1, 4, 64).frame(3) != image).mean() > 0.5


@pytest.mark.parametrize("category", SAMPLES)
def test_another_clip_of_the_same_subject(drawing, category):
    first, second = (CategoryClip(category, 5, number, 2, 64, person_number=7) for number in (1, 2))
    assert (first.subject.aux == second.subject.aux).all()
    assert np.allclose(first.subject.canonical, second.subject.canonical)
    assert np.abs(first.pose(0)[0] - second.pose(0)[0]).max() > 0.1


@pytest.mark.parametrize("category", SAMPLES)
def test_nothing_moves_between_a_frame_and_itself(drawing, category):
    clip = CategoryClip(category, 5, 1, 4, 96)
    truth = clip.true_motion(2, 2)
    assert (truth.flow - coordinate_grid(96, 96)).abs().max() < 1e-4
    assert truth.visible.float().mean() > 0.99
    assert 0.03 < truth.surface.float().mean() < 0.7


@pytest.mark.parametrize(("category", "number"), [(c, n) for c in SAMPLES for n in (0, 3)])
def test_warping_the_source_gives_the_driving_frame_where_it_is_visible(drawing, category, number):
    clip = CategoryClip(category, 11, number, 8, 128, fps=3)
    still = coordinate_grid(128, 128)
    k = max((3, 5, 7), key=lambda k: float((clip.true_motion(0, k).flow - still).abs().sum()))  # moves most
    truth = clip.true_motion(source=0, driving=k)
    source, driving = clip.places(0), clip.places(k)
    there = warp(source.permute(2, 0, 1)[None], truth.flow[None])[0].permute(1, 2, 0)
    size = np.ptp(clip.subject.canonical, axis=0).max()
    pixels = inside(truth.visible & truth.surface, driving, 0.04 * size)
    near = inside(source[..., 3] > 0, source, 0.04 * size)
    found = warp(near[None, None].float(), truth.flow[None])[0, 0] > 0.999
    error = (there - driving)[pixels & found][:, :3].norm(dim=-1)
    assert len(error) > 100
    assert error.median() < 0.002 * size and torch.quantile(error, 0.95) < 0.02 * size
    # The colours agree too: far better than without the motion.
    a, b = (torch.from_numpy(clip.plain_frame(j)).permute(2, 0, 1)[None] / 255 for j in (0, k))
    warped, unwarped = (warp(a, truth.flow[None]) - b).abs().mean(1)[0], (a - b).abs().mean(1)[0]
    assert warped[truth.visible].mean() < 0.5 * unwarped[truth.visible].mean()


def test_what_is_called_hidden_is_hidden(drawing):
    clip = CategoryClip("animals", 11, 3, 12, 128, fps=3)
    truth = clip.true_motion(source=0, driving=6)
    source, driving = clip.places(0), clip.places(6)
    shown = warp(source.permute(2, 0, 1)[None], truth.flow[None])[0].permute(1, 2, 0)
    same = (shown - driving)[..., :3].norm(dim=-1) < 0.4
    pixels = inside(truth.surface, driving, 0.8) & (truth.flow.abs() < 0.98).all(-1)
    near = inside(source[..., 3] > 0, source, 0.8)
    pixels &= warp(near[None, None].float(), truth.flow[None])[0, 0] > 0.999
    assert (pixels & ~truth.visible).sum() > 20, "this pair moves far enough to hide something"
    assert (same == truth.visible)[pixels].float().mean() > 0.95
    background = ~truth.surface
    assert (truth.visible[background] == (source[..., 3] == 0)[background]).all()


@pytest.mark.parametrize("category", SAMPLES)
def test_landmarks_project_where_the_vertices_are(drawing, category):
    clip = CategoryClip(category, 3, 2, 3, 256, fps=2)
    places = clip.places(1)
    marks, points = clip.landmark_points(1), clip.pose(1)[0]
    column, row = to_pixels(clip.landmarks(1), 256, 256).round().long().T
    on_image = (column >= 0) & (column < 256) & (row >= 0) & (row < 256)
    shown = [k for k in range(len(marks)) if on_image[k] and places[row[k], column[k], 3] > 0]
    assert len(shown) > len(marks) / 2
    # The vertex nearest to a landmark, undeformed, is near what the pixel shows, unless something hides it.
    nearest = np.linalg.norm(points[None] - marks[:, None], axis=2).argmin(axis=1)
    wanted = torch.from_numpy(clip.subject.canonical[nearest]).float()
    error = torch.stack([(places[row[k], column[k], :3] - wanted[k]).norm() for k in shown])
    size = np.ptp(clip.subject.canonical, axis=0).max()
    assert error.median() < 0.08 * size


def test_the_shadow_on_the_ground_is_no_surface(drawing):
    clip = CategoryClip("vehicles", 5, 0, 2, 64)
    empty = clip.places(0)[..., 3] == 0
    lit = clip.renderer().draw(*clip.pose(0), {**clip.uniforms, "shadow_strength": 0.0})
    shaded = clip.renderer().draw(*clip.pose(0), {**clip.uniforms, "shadow_strength": 1.0})
    darker = torch.from_numpy((lit - shaded).mean(-1)) > 0.02
    assert (darker & empty).sum() > 5


def test_an_image_may_stand_behind(drawing):
    image = np.full((50, 60, 3), (10, 200, 30), np.uint8)
    clip = CategoryClip("animals", 5, 0, 1, 64, background=image)
    assert (clip.uniforms["scene"])[0] == 6
    assert (clip.frame(0) != CategoryClip("animals", 5, 0, 1, 64).frame(0)).any()


def test_open_clip_gives_heads_as_they_were(drawing):
    assert CATEGORIES == ("heads", "bodies", "animals", "vehicles")
    clip = open_clip("heads", 5, 1, 2, 48, 12.5, person_number=3)
    assert isinstance(clip, SyntheticClip)
    assert (clip.frame(1) == SyntheticClip(5, 1, 2, 48, 12.5, person_number=3).frame(1)).all()
    assert isinstance(open_clip("animals", 5, 1, 2, 48), CategoryClip)


def test_errors():
    with pytest.raises(InputError, match="category='birds': choose one of heads, bodies, animals, vehicles"):
        check_category("birds")
    with pytest.raises(InputError, match="clips of heads are made by SyntheticClip"):
        CategoryClip("heads", 0, 0, 2, 64)
    with pytest.raises(InputError, match="size=8: give a whole number from 16 to 1024"):
        CategoryClip("animals", 0, 0, 2, 8)
    with pytest.raises(InputError, match="frame 2: this clip has the frames 0 to 1"):
        CategoryClip("animals", 0, 0, 2, 64).landmarks(2)


def test_normals_have_length_one(drawing):
    clip = CategoryClip("animals", 0, 0, 2, 64)
    points, normals = clip.pose(0)
    lengths = np.linalg.norm(normals, axis=1)
    assert np.allclose(lengths, 1, atol=1e-3)
    assert np.allclose(normals, vertex_normals(points, clip.subject.faces, clip._around))
