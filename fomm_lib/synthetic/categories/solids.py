"""Meshes from simple solids: tubes along a line, joined into one list of triangles; and rotations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline


def tube_faces(rings: int, sides: int) -> np.ndarray:
    """(F, 3) triangles of a closed tube: vertices ring by ring, then the two ends.

    Example:
        >>> tube_faces(rings=2, sides=3).shape               # three quads, and three triangles at each end
        (12, 3)
    """
    grid = np.arange(rings * sides).reshape(rings, sides)
    a, b = grid[:-1], grid[1:]
    c, d = np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)
    quads = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    first, last = rings * sides, rings * sides + 1
    start, end = grid[0], grid[-1]
    caps = [
        np.stack([np.full(sides, first), start, np.roll(start, -1)], -1),
        np.stack([np.full(sides, last), np.roll(end, -1), end], -1),
    ]
    return np.concatenate([*quads, *caps])


def sweep(
    centres: np.ndarray, radii: np.ndarray, side: np.ndarray, sides: int = 12, exponent: float = 2.0
) -> np.ndarray:
    """Positions of a tube: superellipses |x/a|^n + |y/b|^n = 1 at right angles to a line.

    Args:
        centres: (R, 3) of the rings; radii: (R, 2): a along `side`, and b across it.
        side: (3,), the direction of the first axis of the rings; not that of the line.
        exponent: n, 2 for ellipses; higher for rounded rectangles.
    Returns:
        (R * sides + 2, 3) float64, in the order of `tube_faces`.

    Example:
        >>> line = np.array([[0, 0, 0], [0, 0, 1.0]])
        >>> points = sweep(line, np.ones((2, 2)), np.array([1.0, 0, 0]), sides=4)
        >>> bool(np.allclose(np.linalg.norm(points[:8, :2], axis=1), 1))
        True
    """
    along = np.gradient(centres, axis=0)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    first = side - (along @ side)[:, None] * along
    first = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(along, first)
    angle = 2 * np.pi * np.arange(sides) / sides
    x, y = (np.sign(f) * np.abs(f) ** (2 / exponent) for f in (np.cos(angle), np.sin(angle)))
    rings = (
        centres[:, None]
        + (radii[:, :1] * x)[..., None] * first[:, None]
        + (radii[:, 1:] * y)[..., None] * second[:, None]
    )
    return np.concatenate([rings.reshape(-1, 3), centres[[0, -1]]])


def spline_weights(joints: int, rings: int) -> np.ndarray:
    """(rings, joints): a smooth line through joints is `weights @ joints`; its ends are the end joints.

    Example:
        >>> spline_weights(3, 5)[[0, 2, 4]].round(6).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    at = np.linspace(0, joints - 1, rings)
    return CubicSpline(np.arange(joints), np.eye(joints), bc_type="natural")(at)


def rounded(rings: int, power: float = 2.0) -> np.ndarray:
    """(rings,): factors of the radii of a solid with round ends, 1 in the middle, small at the ends.

    Example:
        >>> rounded(5)[2]
        np.float64(1.0)
    """
    at = np.linspace(-1, 1, rings) * 0.995
    return (1 - np.abs(at) ** power) ** (1 / power)


@dataclass
class Builder:
    """Collects solids into one mesh.

    Attributes:
        faces, aux: parts so far; `spans` says which vertices belong to which name.
    """

    faces: list[np.ndarray] = field(default_factory=list)
    aux: list[np.ndarray] = field(default_factory=list)
    spans: dict[str, slice] = field(default_factory=dict)
    count: int = 0

    def add(self, name: str, faces: np.ndarray, vertices: int, colour: np.ndarray, material: int) -> None:
        """Add a solid.

        Args:
            name: a new one.
            faces: (F, 3) of `vertices` vertices; colour: (3,) or (vertices, 3), linear light.
        """
        self.faces.append(faces + self.count)
        aux = np.empty((vertices, 4), np.float32)
        aux[:, :3], aux[:, 3] = colour, material
        self.aux.append(aux)
        self.spans[name] = slice(self.count, self.count + vertices)
        self.count += vertices

    def add_tube(self, name: str, rings: int, sides: int, colour: np.ndarray, material: int) -> None:
        """Add a tube, see `tube_faces`."""
        self.add(name, tube_faces(rings, sides), rings * sides + 2, colour, material)

    def joined(self) -> tuple[np.ndarray, np.ndarray]:
        """All faces (F, 3) and aux (V, 4)."""
        return np.concatenate(self.faces), np.concatenate(self.aux)


def turn_y(angle: float) -> np.ndarray:
    """(3, 3): a rotation about the vertical; the heading z (0) becomes x at a quarter turn.

    Example:
        >>> turn_y(np.pi / 2).round(6) @ [0, 0, 1]
        array([1., 0., 0.])
    """
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def turn_x(angle: float) -> np.ndarray:
    """(3, 3): a rotation about the x axis; y becomes z at a quarter turn: the top of a wheel rolls forward.

    Example:
        >>> turn_x(np.pi / 2).round(6) @ [0, 1, 0]
        array([0., 0., 1.])
    """
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
