"""Random cars that drive, turn and pass: bodies lofted from a profile, four wheels that roll and steer.

Coordinates of a car: x to its left, y up, z forward, dm, the origin on the ground below its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fomm_lib.synthetic.categories.solids import Builder, rounded, sweep, turn_x, turn_y
from fomm_lib.synthetic.categories.subject import Framing, Material, Subject
from fomm_lib.synthetic.motion import holds_and_moves
from fomm_lib.synthetic.scene import any_colour, linear

KINDS = {
    # length, width, height, clearance; height of hood and of boot (shares of the height);
    # cabin: foot of the windscreen, front of the roof, its end, foot of the rear window (0 rear, 1 front)
    "saloon": (46, 18, 14.5, 2.0, 0.60, 0.66, 0.72, 0.57, 0.34, 0.16),
    "hatchback": (40, 17.5, 15, 1.9, 0.62, 0.70, 0.76, 0.62, 0.14, 0.03),
    "estate": (47, 18, 15, 1.9, 0.60, 0.68, 0.73, 0.59, 0.09, 0.02),
    "off-roader": (45, 19, 18.5, 3.0, 0.62, 0.66, 0.74, 0.66, 0.08, 0.02),
    "van": (48, 19.5, 21, 2.3, 0.52, 0.60, 0.90, 0.76, 0.02, 0.005),
    "coupe": (43, 18.2, 12.8, 1.6, 0.60, 0.70, 0.66, 0.50, 0.36, 0.10),
    "pickup": (52, 19, 18, 2.9, 0.62, 0.58, 0.74, 0.65, 0.46, 0.42),
}
PAINTS = (
    (200, 30, 35), (30, 60, 140), (235, 235, 235), (25, 25, 28), (150, 155, 160), (60, 110, 70),
    (235, 190, 40), (120, 30, 40), (70, 140, 190), (205, 110, 40),
)  # fmt: skip
WHEELS = ("rear left", "front left", "rear right", "front right")
LANDMARKS = (
    *(f"{wheel} hub" for wheel in WHEELS),
    *(f"{end} {side} lamp" for end in ("front", "rear") for side in ("left", "right")),
    *(f"{end} {side} roof" for end in ("front", "rear") for side in ("left", "right")),
    "front bumper", "rear bumper",
)  # fmt: skip
_STATIONS, _SIDES = 40, 28
SPOKES, RIM = 5, 20
"""Spokes of a wheel; points around it."""


@dataclass(frozen=True)
class Car:
    """The measures of one car, dm; the first ten as in `KINDS`.

    Attributes:
        radius: of a wheel; tread: its width; wheelbase: distance of the axles; front: z of the front axle.
        paint: linear light.
    """

    length: float
    width: float
    height: float
    clearance: float
    hood: float
    boot: float
    screen: float
    roof_front: float
    roof_end: float
    rear: float
    radius: float
    tread: float
    wheelbase: float
    front: float
    paint: np.ndarray

    def axle(self, wheel: str) -> np.ndarray:
        """(3,): the centre of a wheel, with the car straight."""
        x = (1 if "left" in wheel else -1) * (self.width / 2 - 0.5 * self.tread)
        return np.array([x, self.radius, self.front - (0 if "front" in wheel else self.wheelbase)])

    @property
    def light(self) -> float:
        """Height of the lamps."""
        return 0.52 * self.height * self.hood + 0.3 * self.clearance + 1.5

    def at(self, share: float) -> float:
        """z of a place along the car, 0 at the rear, 1 in front."""
        return (share - 0.5) * self.length


def wheel_angle(distance: float, radius: float) -> float:
    """By how much a wheel turns that rolls without slipping: distance / radius, radians.

    Example:
        >>> wheel_angle(distance=2 * np.pi * 3, radius=3) / (2 * np.pi)
        1.0
    """
    return distance / radius


def steering_angle(curvature: float, wheelbase: float) -> float:
    """The angle of the front wheels on a circle of radius 1 / curvature: atan(wheelbase curvature).

    Example:
        >>> round(float(np.rad2deg(steering_angle(1 / 50, wheelbase=25))), 1)
        26.6
    """
    return float(np.arctan(wheelbase * curvature))


def place_on_path(distance: float, heading: float, curvature: float) -> tuple[np.ndarray, float]:
    """Where a car is that has driven a distance along a circle (a line, for curvature 0), and its heading.

    Starts at the origin. heading: 0 towards +z, a quarter turn towards +x.

    Returns:
        (3,) on the ground, and the heading, heading + curvature distance.

    Example:
        >>> place, heading = place_on_path(np.pi, 0.0, 0.5)             # half of a half circle of radius 2
        >>> place.round(3), round(heading, 3)
        (array([2., 0., 2.]), 1.571)
    """
    turned = heading + curvature * distance
    if abs(curvature) < 1e-9:
        step = distance * np.array([np.sin(heading), 0, np.cos(heading)])
    else:
        step = np.array([np.cos(heading) - np.cos(turned), 0, np.sin(turned) - np.sin(heading)]) / curvature
    return step, turned


def sample_car(rng: np.random.Generator) -> Car:
    """Draw a car: near one of `KINDS`."""
    values = np.array(list(KINDS.values())[rng.integers(len(KINDS))], float)
    values[:4] *= np.clip(rng.normal(1, 0.05, 4), 0.88, 1.12)
    values[4:6] *= np.clip(rng.normal(1, 0.03, 2), 0.92, 1.08)
    values[6:9] += rng.normal(0, 0.012, 3)
    radius = (0.205 if values[3] < 2.5 else 0.21) * values[2] * rng.uniform(0.97, 1.1)
    radius = np.clip(radius, 2.9, 4.1)
    wheelbase = values[0] * rng.uniform(0.56, 0.62)
    front = 0.5 * values[0] - values[0] * rng.uniform(0.17, 0.2)
    paint = np.array(PAINTS[rng.integers(len(PAINTS))]) if rng.uniform() < 0.7 else any_colour(rng, 40, 220)
    paint = paint * rng.uniform(0.8, 1.1) + rng.normal(0, 6, 3)
    return Car(*values, radius, rng.uniform(2.0, 2.6), wheelbase, front, linear(paint))


def _lamps(car: Car, side: int) -> np.ndarray:
    """(2, 3): the middle of the front and of the rear lamp, on the left with side 1, on the right with -1."""
    light, edge = car.light, 0.5 * car.length
    x = side * np.array([0.35, 0.38]) * car.width
    return np.stack([x, [light, light + 1.2], [edge - 0.7, 0.6 - edge]], axis=1)


def _shell(car: Car) -> list[tuple[str, np.ndarray, np.ndarray, int]]:
    """What does not move against the car: (name, positions, colour of the vertices, material)."""
    side = np.array([1.0, 0, 0])
    at = np.linspace(0, 1, _STATIONS)
    z = (at - 0.5) * car.length
    top = car.height * np.interp(
        at,
        [0, 0.03, car.rear, car.screen, 0.93, 1],
        [0.9 * car.boot, car.boot, car.boot + 0.02, car.hood + 0.03, 0.92 * car.hood, 0.62 * car.hood],
    )
    bottom = car.clearance + 0.8 * (np.abs(2 * at - 1) ** 6)
    plan = 0.5 * car.width * (1 - 0.16 * np.abs(2 * at - 1) ** 6)
    ends = np.minimum(1, rounded(_STATIONS, 24.0) + 0.05)
    line = np.stack([0 * z, 0.5 * (top + bottom), z], 1)
    lower = sweep(line, np.stack([plan * ends, 0.5 * (top - bottom) * ends], 1), side, _SIDES, 4.5)
    colour = np.tile(car.paint, (len(lower), 1))
    colour[lower[:, 1] < car.clearance + 0.1 * car.height] = linear([35, 35, 38])  # sill
    parts = [("lower", lower, colour, Material.PAINT)]

    # The cabin: slices from the front to the rear, higher towards the roof.
    spot = np.linspace(car.rear, car.screen, _STATIONS)
    z = (spot - 0.5) * car.length
    belt = 0.96 * np.interp(z, (at - 0.5) * car.length, top)
    roof = np.interp(spot, [car.rear, car.roof_end, car.roof_front, car.screen], [0, 1, 1, 0])
    arch = 1 - 0.03 * (2 * np.clip((spot - car.roof_end) / (car.roof_front - car.roof_end), 0, 1) - 1) ** 2
    crown = belt + (car.height * arch - belt) * roof**0.8
    half = 0.46 * car.width * (1 - 0.06 * np.abs(2 * (spot - car.rear) / (car.screen - car.rear) - 1) ** 4)
    line = np.stack([0 * z, belt, z], 1)
    cabin = sweep(line, np.stack([half, np.maximum(crown - belt, 0.05)], 1), side, _SIDES, 3.2)
    share = np.clip(
        (cabin[:, 1] - np.append(np.repeat(belt, _SIDES), belt[[0, -1]])) / (car.height - belt.mean()), -1, 2
    )
    cabin[:, 0] *= 1 - 0.2 * np.clip(share, 0, 1)
    place = cabin[:, 2] / car.length + 0.5
    pane = np.array([0.02, 0.025, 0.03])
    glass = np.tile(pane, (len(cabin), 1))
    middle = 0.5 * (car.roof_front + car.roof_end)
    pillar = (np.abs(place - middle) < 0.013) & (np.abs(cabin[:, 0]) > 0.3 * car.width)
    pillar |= (np.abs(place - car.roof_end) < 0.02) & (np.abs(cabin[:, 0]) > 0.3 * car.width)
    solid = (share > 0.8) | pillar | (share < 0.1)
    glass[solid] = car.paint
    parts.append(("cabin", cabin, glass, Material.PAINT))

    def block(name, middle, size, colour, material=Material.MATTE):
        line = np.array(middle) + np.linspace(-1, 1, 6)[:, None] * np.array([0, 0, size[2]])
        ends = rounded(6, 8.0)[:, None]
        points = sweep(line, np.array([[size[0], size[1]]]) * ends, side, 12, 5.0)
        parts.append((name, points, np.tile(linear(colour), (len(points), 1)), material))

    light, edge = car.light, 0.5 * car.length
    for name, sign in (("left", 1), ("right", -1)):
        front, rear = _lamps(car, sign)
        block(f"front {name} lamp", front, (1.6, 0.9, 0.9), [250, 246, 225], Material.BARE)
        block(f"rear {name} lamp", rear, (1.2, 1.1, 0.9), [210, 20, 20], Material.BARE)
        mirror = [sign * 0.53 * car.width, 0.66 * car.height, car.at(car.screen - 0.05)]
        block(f"{name} mirror", mirror, (0.9, 0.7, 0.5), 255 * car.paint ** (1 / 2.2), Material.PAINT)
    block("grille", [0, light - 0.4, edge - 0.5], (0.2 * car.width, 0.8, 0.7), [20, 20, 22])
    block("plate", [0, light - 2.0, edge - 0.1], (2.4, 0.6, 0.3), [230, 230, 220], Material.BARE)
    block("rear plate", [0, light - 0.8, 0.1 - edge], (2.4, 0.6, 0.3), [230, 225, 190], Material.BARE)
    for wheel in WHEELS:  # dark arches
        centre = car.axle(wheel)
        out = np.sign(centre[0]) * 0.5 * car.width
        line = np.array([[0.8 * out, centre[1], centre[2]], [1.004 * out, centre[1], centre[2]]])
        points = sweep(line, np.full((2, 2), 1.17 * car.radius), np.array([0, 1.0, 0]), 20)
        parts.append(
            (f"{wheel} arch", points, np.tile(linear([16, 16, 17]), (len(points), 1)), Material.MATTE)
        )
    return parts


def _wheel(car: Car) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wheel around the origin, its outside at +x: positions, triangles, colours."""
    half = 0.5 * car.tread
    rings = [(-half, 0.9), (-half, 1.0), (half, 1.0), (1.04 * half, 0.92), (1.05 * half, 0.68)]
    angle = 2 * np.pi * np.arange(RIM) / RIM
    circle = np.stack([0 * angle, np.cos(angle), np.sin(angle)], 1) * car.radius
    points = [np.array([x, 0, 0]) + share * circle for x, share in rings]
    points = np.concatenate([*points, [[-half, 0, 0], [1.05 * half, 0, 0]]])
    tyre = np.tile(linear([26, 26, 28]), (len(points), 1))
    grid = np.arange(5 * RIM).reshape(5, RIM)
    a, b = grid[:-1], grid[1:]
    c, d = np.roll(b, -1, 1), np.roll(a, -1, 1)
    faces = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    # The disc: spokes and gaps in turn, with vertices of their own so that their edges are sharp.
    rim = np.array([1.06 * half, 0, 0])
    discs, colours, triangles, count = [], [], [], len(points)
    for k in range(RIM):
        spoke = k % (RIM // SPOKES) < RIM // SPOKES // 2
        corner = [rim + 0.69 * circle[k], rim + 0.69 * circle[(k + 1) % RIM], rim]
        discs.append(np.stack(corner))
        colours.append(np.tile(linear([205, 208, 212] if spoke else [45, 45, 48]), (3, 1)))
        triangles.append([count, count + 1, count + 2])
        count += 3
    return (
        np.concatenate([points, *discs]),
        np.concatenate([*faces, triangles]),
        np.concatenate([tyre, *colours]),
    )


def _landmark_points(car: Car) -> np.ndarray:
    """(14, 3), in the coordinates of the car, in the order of `LANDMARKS`."""
    edge = 0.5 * car.length
    axles = np.stack([car.axle(wheel) for wheel in WHEELS])
    points = list(axles + 0.5 * car.tread * np.sign(axles) * [1, 0, 0])
    points += [*np.stack([_lamps(car, 1), _lamps(car, -1)], axis=1).reshape(-1, 3)]
    for share in (car.roof_front, car.roof_end):
        points += [np.array([sign * 0.33 * car.width, 0.97 * car.height, car.at(share)]) for sign in (1, -1)]
    points += [np.array([0, 0.3 * car.height, edge]), np.array([0, 0.3 * car.height, -edge])]
    return np.stack(points)


def _drive(rng: np.random.Generator, car: Car, times: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Draw a path and the distance along it by time: (T,) dm, heading, curvature.

    A car passes across the view, drives towards or away from the camera, or turns on a circle.
    """
    kind = rng.choice(3, p=[0.4, 0.25, 0.35])
    if kind == 0:
        heading = np.pi / 2 * rng.choice([-1, 1]) + np.deg2rad(rng.normal(0, 12))
        curvature, reach = 0.0, 0.42 * car.length
    elif kind == 1:
        heading = np.pi * rng.integers(2) + np.deg2rad(rng.uniform(15, 50)) * rng.choice([-1, 1])
        curvature, reach = 0.0, 0.6 * car.length
    else:
        heading = rng.uniform(-np.pi, np.pi)
        curvature, reach = rng.choice([-1, 1]) / (car.length * rng.uniform(0.8, 1.5)), 0.55 * car.length
    goals = holds_and_moves(
        rng, times, lambda: rng.uniform(-reach, reach, 1), (0.0, 0.5), (1.0, 2.4), speed=60.0
    )
    return goals[:, 0], heading, curvature


def sample_vehicle(rng: np.random.Generator, motion: np.random.Generator, times: np.ndarray) -> Subject:
    """Draw a car and how it drives.

    Args:
        rng: of shape and paint; motion: of the path; times: (T,) seconds.

    Example:
        >>> car = sample_vehicle(np.random.default_rng(0), np.random.default_rng(1), np.arange(5) / 25)
        >>> car.names[0], car.landmarks(0).shape
        ('rear left hub', (14, 3))
    """
    car = sample_car(rng)
    builder, shell = Builder(), _shell(car)
    for name, points, colour, material in shell:
        rings = {"lower": _STATIONS, "cabin": _STATIONS}.get(name, 2 if "arch" in name else 6)
        builder.add_tube(name, rings, (len(points) - 2) // rings, colour, material)
    fixed = np.concatenate([points for _, points, _, _ in shell])
    wheel, wheel_faces, wheel_colours = _wheel(car)
    for name in WHEELS:
        builder.add(name, wheel_faces, len(wheel), wheel_colours, Material.MATTE)
    faces, aux = builder.joined()
    distance, heading, curvature = _drive(motion, car, times)
    steering = steering_angle(curvature, car.wheelbase)

    def in_car(rolled: float, steered: float) -> np.ndarray:
        parts = [fixed]
        for name in WHEELS:
            mirrored = wheel * [1 if "left" in name else -1, 1, 1]
            turned = mirrored @ turn_x(wheel_angle(rolled, car.radius)).T
            if "front" in name:
                turned = turned @ turn_y(steered).T
            parts.append(turned + car.axle(name))
        return np.concatenate(parts)

    def on_road(k: int, points: np.ndarray) -> np.ndarray:
        place, yaw = place_on_path(distance[k], heading, curvature)
        return points @ turn_y(yaw).T + place

    marks = _landmark_points(car)
    return Subject(
        faces,
        in_car(0.0, 0.0),
        aux,
        {"seed": rng.uniform(0, 31), "second": np.zeros(3), "pattern": (0.0, 1.0, 0.0, 0.0)},
        LANDMARKS,
        positions=lambda k: on_road(k, in_car(distance[k], steering)),
        landmarks=lambda k: on_road(k, marks),
        frames=len(times),
        framing=Framing(
            np.array([0, 0.42 * car.height, 0]), 0.68 * car.length, (4, 24), ("road", "road", "plain")
        ),
        facts={"car": car, "distance": distance, "road": -heading, "steering": steering},
    )
