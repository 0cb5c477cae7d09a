"""Vehicles: wheels that roll, a path that is a circle, landmarks on the car."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.categories.solids import turn_x, turn_y
from fomm_lib.synthetic.categories.subject import Subject
from fomm_lib.synthetic.categories.vehicles import (
    KINDS,
    LANDMARKS,
    RIM,
    WHEELS,
    place_on_path,
    sample_car,
    sample_vehicle,
    steering_angle,
    wheel_angle,
)


def vehicle(seed: int, frames: int = 6):
    return sample_vehicle(np.random.default_rng(seed), np.random.default_rng(seed + 1), np.arange(frames) / 2)


def test_a_wheel_turns_once_in_its_circumference():
    assert wheel_angle(2 * np.pi * 3.3, 3.3) == pytest.approx(2 * np.pi)
    assert wheel_angle(-1.0, 2.0) == -0.5


def test_a_path_without_curvature_is_a_line_and_with_it_a_circle():
    place, heading = place_on_path(5.0, 0.3, 0.0)
    assert np.allclose(place, 5 * np.array([np.sin(0.3), 0, np.cos(0.3)])) and heading == 0.3
    near, _ = place_on_path(5.0, 0.3, 1e-6)
    assert np.allclose(near, place, atol=1e-4)
    centre = np.array([np.cos(0.3), 0, -np.sin(0.3)]) / 0.05  # to the left of the start, a radius away
    for distance in (-7.0, 3.0, 40.0):
        place, heading = place_on_path(distance, 0.3, 0.05)
        assert np.linalg.norm(place - centre) == pytest.approx(20)
        # The car looks along the path: the derivative of the place by the distance.
        ahead, _ = place_on_path(distance + 1e-5, 0.3, 0.05)
        assert np.allclose((ahead - place) / 1e-5, turn_y(heading) @ [0, 0, 1], atol=1e-4)


def test_front_wheels_point_along_their_own_circle():
    assert steering_angle(0.0, 25) == 0
    assert np.tan(steering_angle(1 / 60, 25)) == pytest.approx(25 / 60)


def straight() -> Subject:
    """A car that drives along a line."""
    return next(car for car in map(vehicle, range(20)) if car.facts["steering"] == 0)


def wheel_points(subject: Subject, k: int) -> np.ndarray:
    """Vertices of the rear left wheel in frame k; the four wheels are the last of the mesh."""
    size = 5 * RIM + 2 + 3 * RIM
    return subject.positions(k)[-4 * size : -3 * size]


def test_rear_wheels_turn_about_their_hub_by_distance_over_radius():
    subject = straight()
    car, distance = subject.facts["car"], subject.facts["distance"]
    hub = LANDMARKS.index("rear left hub")
    rolled = (distance[3] - distance[0]) / car.radius
    assert abs(rolled) > 0.3
    spokes = []
    for k in (0, 3):
        heading = subject.landmarks(k)[LANDMARKS.index("front bumper")] - subject.landmarks(k)[13]
        heading /= np.linalg.norm(heading)
        away = wheel_points(subject, k)[RIM] - subject.landmarks(k)[hub]  # a point of the tread
        spokes.append(np.arctan2(away @ heading, away[1]))
    turned = (spokes[1] - spokes[0] - rolled + np.pi) % (2 * np.pi) - np.pi
    assert turned == pytest.approx(0, abs=1e-6)


def test_wheels_roll_without_slipping():
    """The point of a tread that touches the ground has no speed: the car moves on, the wheel turns back."""
    subject = straight()
    car, step = subject.facts["car"], 1e-3
    bottom = np.array([0, -car.radius, 0])
    moved = turn_x(wheel_angle(step, car.radius)) @ bottom - bottom + [0, 0, step]
    assert np.linalg.norm(moved) < step**2 / car.radius


def test_cars_differ_in_shape_and_paint():
    cars = [sample_car(np.random.default_rng(seed)) for seed in range(30)]
    assert np.ptp([car.height for car in cars]) > 6
    assert len({tuple(car.paint.round(3)) for car in cars}) == 30
    assert all(0 < car.rear < car.roof_end < car.roof_front < car.screen < 1 for car in cars)
    assert len(KINDS) == 7


def test_landmarks_lie_on_the_car():
    subject = vehicle(2)
    for k in (0, 3):
        points, marks = subject.positions(k), subject.landmarks(k)
        nearest = np.linalg.norm(points[None] - marks[:, None], axis=2).min(axis=1)
        assert nearest.max() < 2.5, dict(zip(LANDMARKS, nearest, strict=True))
        hubs = [LANDMARKS.index(f"{wheel} hub") for wheel in WHEELS]
        assert np.allclose(marks[hubs, 1], subject.facts["car"].radius)
