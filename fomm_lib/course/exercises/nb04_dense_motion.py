"""Checks for notebook 04, dense motion: first-order flow, composition of flows, holes, change of area."""

from __future__ import annotations

import math
from functools import partial

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import apply_2x2, coordinate_grid, inverse_2x2, multiply_2x2, to_pixels, warp


def _with_matrix(matrix):
    """A first-order motion whose matrix is `matrix(j_source, j_driving)`."""
    return lambda grid, p_source, j_source, p_driving, j_driving: (
        p_source + apply_2x2(matrix(j_source, j_driving), grid - p_driving)
    )


_first_order_flow = _with_matrix(lambda j_source, j_driving: multiply_2x2(j_source, inverse_2x2(j_driving)))


def _one_motion(function, source_turn=0.0, driving_turn=0.0, stretch=(1.0, 1.0)):
    def turned(angle, scale):
        cos, sin = math.cos(angle), math.sin(angle)
        return torch.tensor([[cos, -sin], [sin, cos]]) @ torch.diag(torch.tensor(scale))

    places = torch.tensor([0.3, -0.2]), torch.tensor([-0.1, 0.4])
    j_source, j_driving = turned(source_turn, stretch), turned(driving_turn, (1.0, 1.0))
    return function(coordinate_grid(4, 5), places[0], j_source, places[1], j_driving)


_matrices_exchanged = _with_matrix(lambda j_source, j_driving: multiply_2x2(inverse_2x2(j_driving), j_source))

check_first_order_flow = Exercise(
    "first_order_flow",
    solution=_first_order_flow,
    given=_matrices_exchanged,
    cases=[
        Case("the driving keypoint moved, no rotation", _one_motion),
        Case("the source rotated and stretched", lambda f: _one_motion(f, 0.5, 0.0, (1.5, 0.6))),
        Case("both rotated, one stretched", lambda f: _one_motion(f, 0.4, -0.9, (1.3, 0.5))),
    ],
    mistakes={
        "source and driving frame are exchanged: z lies in the driving frame, the result in the source": (
            lambda grid, p_source, j_source, p_driving, j_driving: _first_order_flow(
                grid, p_driving, j_driving, p_source, j_source
            )
        ),
        "subtract the driving keypoint from z before the matrix is applied": (
            lambda grid, p_source, j_source, p_driving, j_driving: (
                _first_order_flow(grid, p_source, j_source, torch.zeros(2), j_driving) - p_driving
            )
        ),
        "the driving Jacobian must be inverted": _with_matrix(multiply_2x2),
        "the source's Jacobian is inverted; invert the driving one": (
            _with_matrix(lambda j_source, j_driving: multiply_2x2(j_driving, inverse_2x2(j_source)))
        ),
        "that is zeroth order: the Jacobians are missing": _with_matrix(lambda *_: torch.eye(2)),
        "points are rows here: `points @ J` multiplies by the transpose; use `points @ J.T` or apply_2x2": (
            _with_matrix(lambda j_source, j_driving: multiply_2x2(j_source, inverse_2x2(j_driving)).T)
        ),
    },
)


def _compose_flows(flow_sd, flow_de, padding_mode="border"):
    found = warp(flow_sd.permute(2, 0, 1)[None], flow_de[None], padding_mode=padding_mode)
    return found[0].permute(1, 2, 0)


def _regrouped(flow_sd, flow_de, first=True, last=True):
    """compose_flows with reshape in place of permute."""
    height, width = flow_sd.shape[:2]
    image = flow_sd.reshape(2, height, width) if first else flow_sd.permute(2, 0, 1)
    found = warp(image[None], flow_de[None], padding_mode="border")[0]
    return found.reshape(height, width, 2) if last else found.permute(1, 2, 0)


def _affine_flow(xx, xy, yx, yy, x, y, height=6, width=8):
    matrix = torch.tensor([[xx, xy], [yx, yy]])
    return apply_2x2(matrix, coordinate_grid(height, width)) + torch.tensor([x, y])


check_compose_flows = Exercise(
    "compose_flows",
    solution=_compose_flows,
    cases=[
        Case(
            "half the size, after moving a little to the left",
            lambda f: f(_affine_flow(0.5, 0, 0, 0.5, 0, 0), _affine_flow(0.7, 0, 0, 0.7, -0.2, 0.1)),
        ),
        Case(
            "a rotation after a stretch",
            lambda f: f(_affine_flow(0.8, -0.6, 0.6, 0.8, 0, 0), _affine_flow(0.9, 0, 0, 0.4, 0, 0.2)),
        ),
        Case(
            "points outside the border",
            lambda f: f(_affine_flow(0.8, 0.1, 0, 0.8, 0, 0), _affine_flow(1.5, 0, 0, 1.2, 0, 0)),
        ),
        Case("two flows that are not affine", lambda f: f(torch.rand(6, 8, 2) - 0.5, torch.rand(6, 8, 2))),
    ],
    mistakes={
        "the order: go from E to D first, and sample the other flow there": (
            lambda flow_sd, flow_de: _compose_flows(flow_de, flow_sd)
        ),
        "flows contain points, not shifts: they cannot be added": lambda flow_sd, flow_de: flow_sd + flow_de,
        "when shifts are added, the second does not start where the first ended": (
            lambda flow_sd, flow_de: flow_sd + flow_de - coordinate_grid(*flow_sd.shape[:2])
        ),
        "outside the border repeat the border, not 0": {"padding_mode": "zeros"},
        "the result must be (H, W, 2) again: permute back": (
            lambda flow_sd, flow_de: _compose_flows(flow_sd, flow_de).permute(2, 0, 1)
        ),
        "reshape only renumbers entries, and mixes x and y of different pixels: move the axes with permute": (
            _regrouped
        ),
        "the first step needs permute too: reshape mixes x and y of different pixels": partial(
            _regrouped, last=False
        ),
        "the last step needs permute too: reshape mixes x and y of different pixels": partial(
            _regrouped, first=False
        ),
    },
)


def _arrivals(degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    grid = coordinate_grid(64, 64)
    column, row = (
        to_pixels(apply_2x2(torch.tensor([[cos, -sin], [sin, cos]]), grid), 64, 64).round().long().unbind(-1)
    )
    there = (column >= 0) & (column < 64) & (row >= 0) & (row < 64)
    return torch.bincount((row * 64 + column)[there], minlength=64 * 64).view(64, 64), grid.norm(dim=-1) < 0.7


def _holes(degrees):
    arrivals, inside = _arrivals(degrees)
    return (arrivals[inside] == 0).float().mean()


def _of_arrivals(measure):
    return lambda degrees: measure(*_arrivals(degrees))


check_holes_by_angle = Experiment(
    "holes_by_angle",
    measure=_holes,
    settings=[0, 15, 30, 45],
    answer="rises",
    mistakes={
        "that counts the corners too, which nothing can reach: take the pixels inside": _of_arrivals(
            lambda arrivals, inside: (arrivals == 0).float().mean()
        ),
        "some pixels do stay empty: count where `arrivals` is 0": lambda degrees: 0.0,
        "that is the number of pixels; take the fraction": _of_arrivals(
            lambda arrivals, inside: (arrivals[inside] == 0).sum()
        ),
        "those are pixels that get exactly one value; count those that get none": _of_arrivals(
            lambda arrivals, inside: (arrivals[inside] == 1).float().mean()
        ),
        "those are pixels that get a value; count those that get none": _of_arrivals(
            lambda arrivals, inside: (arrivals[inside] > 0).float().mean()
        ),
    },
    why="two rotated pixels can round to the same place, and then another place stays empty",
    atol=0.005,
)


def _slopes_of_flow(flow, scaled=True):
    height, width = flow.shape[:2]
    along_x, along_y = flow[:-1, 1:] - flow[:-1, :-1], flow[1:, :-1] - flow[:-1, :-1]
    return (along_x * (width - 1) / 2, along_y * (height - 1) / 2) if scaled else (along_x, along_y)


def _area_change(flow, scaled=True, minus=1):
    along_x, along_y = _slopes_of_flow(flow, scaled)
    return along_x[..., 0] * along_y[..., 1] - minus * along_x[..., 1] * along_y[..., 0]


check_area_change = Exercise(
    "area_change",
    solution=_area_change,
    cases=[
        Case("the identity", lambda f: f(coordinate_grid(4, 6))),
        Case("a rotation by 30 degrees", lambda f: f(_affine_flow(0.866, -0.5, 0.5, 0.866, 0, 0))),
        Case("mirrored, and half as high", lambda f: f(_affine_flow(-1.0, 0.2, 0, 0.5, 0, 0))),
        Case("a flow that is not affine", lambda f: f(torch.rand(5, 7, 2))),
    ],
    mistakes={
        "divide by the distance of neighbours: 2 / (W - 1) along x, 2 / (H - 1) along y": {"scaled": False},
        "the determinant is ad - bc; the second product is missing": {"minus": 0},
        "the determinant is ad - bc, not ad + bc": {"minus": -1},
        "the sign shows whether the flow has folded: take no absolute value": lambda flow: _area_change(
            flow
        ).abs(),
        "W belongs to x and H to y": lambda flow: (
            _area_change(flow, scaled=False) * (flow.shape[0] - 1) ** 2 / 4
        ),
        "do not subtract the identity: without motion the determinant is 1": (
            lambda flow: _area_change(flow) - 1
        ),
        "x runs along the second axis of the tensor, y along the first: exchanged, they change the sign": (
            lambda flow: -_area_change(flow)
        ),
        "from the first centre to the last there are W - 1 steps, not W": lambda flow: (
            _area_change(flow, scaled=False) * flow.shape[0] * flow.shape[1] / 4
        ),
    },
)
