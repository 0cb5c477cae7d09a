"""The stage: the camera sees the whole subject, and the image can be turned back into the scene."""

from __future__ import annotations

import numpy as np

from fomm_lib.synthetic.categories.stage import FLOORS, sample_stage
from fomm_lib.synthetic.categories.subject import Framing

FRAMING = Framing(np.array([0, 5.0, 0]), 8.0, (2, 20), FLOORS)


def test_what_the_framing_names_is_in_the_image():
    for seed in range(20):
        matrix = sample_stage(np.random.default_rng(seed), FRAMING).uniforms["view_projection"]
        for point in ([0, 5, 0], [6, 5, 0], [0, 11, 0], [-6, 5, 0]):
            x, y, z, w = matrix @ [*point, 1]
            assert w > 0 and max(abs(x), abs(y), abs(z)) / w < 1, (seed, point)


def test_to_world_is_the_inverse():
    uniforms = sample_stage(np.random.default_rng(1), FRAMING).uniforms
    there = uniforms["view_projection"] @ [1.0, 2.0, -3.0, 1.0]
    back = uniforms["to_world"] @ there
    assert np.allclose(back[:3] / back[3], [1, 2, -3])


def test_the_ground_is_below_the_eye_and_of_a_kind_that_suits():
    kinds = set()
    for seed in range(30):
        only = Framing(FRAMING.middle, 8.0, (2, 20), ("grass", "road"))
        uniforms = sample_stage(np.random.default_rng(seed), only, road_angle=0.5).uniforms
        kinds.add(FLOORS[int(uniforms["floor_detail"][0])])
        assert uniforms["eye_point"][1] > 0
        if kinds == {"road"}:
            assert uniforms["floor_detail"][2] == 0.5
    assert kinds == {"grass", "road"}
