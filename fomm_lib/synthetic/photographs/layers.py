"""All layers of one photograph, as one list of vertices and triangles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

from fomm_lib.synthetic.anatomy import LANDMARKS, Part, load_anatomy
from fomm_lib.synthetic.photographs.canvas import Canvas, make_canvas
from fomm_lib.synthetic.photographs.face import INNER_MOUTH, Face, make_face, regions
from fomm_lib.synthetic.photographs.fit import Fit
from fomm_lib.synthetic.photographs.landmarks import OPEN_MOUTH, Portrait
from fomm_lib.synthetic.photographs.matte import Matte, cut_out
from fomm_lib.synthetic.photographs.outer import Outer, make_outer
from fomm_lib.synthetic.photographs.textures import Textures, make_textures, mouth_opening
from fomm_lib.synthetic.surfaces import grid_triangles


class Kind(IntEnum):
    """What a triangle shows, numbered as in the shaders."""

    SKIN, EYE, TEETH, TONGUE, CAVITY, OUTER, BACK, CARD, LASH = range(9)


_CARD_ROWS, _CARD_COLUMNS = 8, 16
_BEHIND_LIPS = 0.09  # dm


@dataclass(frozen=True)
class Card:
    """The teeth that the photograph shows, on a bent card behind the lips that keeps to the skull.

    The renderer's own teeth alone would leave a dark hole in most portraits that smile.

    Attributes:
        pixels: (P, 2) of the canvas; points: (P, 3) in the person frame; triangles: (F, 3). Without teeth,
            P = 0.
    """

    pixels: np.ndarray
    points: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class Layers:
    """What is drawn of a photograph.

    Vertices are those of the bust, the same again for the inside of the mouth, of the outer layer, of its
    back, and of the card, in this order.

    Attributes:
        fit, canvas, face, textures, outer, card: what the layers are made from.
        triangles: (F, 3), in the order in which they are drawn.
        kinds: (V,) `Kind` of each vertex.
        texture_points: (V, 2) from 0 to 1; lid: (V,), see `Face`; canonical: (V, 3) on the undeformed bust,
            in MakeHuman's coordinates, 0 for vertices that are not of the bust.
    """

    fit: Fit
    canvas: Canvas
    face: Face
    textures: Textures
    outer: Outer
    card: Card
    triangles: np.ndarray
    kinds: np.ndarray
    texture_points: np.ndarray
    lid: np.ndarray
    canonical: np.ndarray

    @cached_property
    def head_shares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How much vertices of the bust, the outer layer and its back follow the head, 0 to 1."""
        return tuple(
            _head_share(points, chin_height(self.fit))
            for points in (self.fit.deformed, self.outer.front, self.outer.back)
        )


def chin_height(fit: Fit) -> float:
    """Height of the tip of the chin at rest, in the person frame, dm."""
    return float(fit.neutral[load_anatomy().indices(LANDMARKS[[8]])[0], 1])


def _head_share(points: np.ndarray, chin: float) -> np.ndarray:
    """(n,): 1 above the chin, 0 from the middle of the neck on.

    Around the chin it fades to the sides too, where shoulders are, and long hair that lies on them.
    """
    x, y = np.abs(points[:, 0]), points[:, 1]
    share = np.clip((y - chin + 0.75) / 0.85, 0, 1)
    share = share**2 * (3 - 2 * share)
    width = 1.15 + 1.5 * np.clip(y - chin - 0.1, 0, None)
    return share * np.clip(1 - (x - width) / 0.5, 0, 1)


def make_layers(portrait: Portrait, fit: Fit, matte: Matte | None = None) -> Layers:
    """Build the layers of a portrait (about half a second).

    Args:
        portrait: what `read_portrait` gives; fit: what `fit_head` gives for it.
        matte: what `cut_out` gives, if it is there already.
    """
    canvas = make_canvas(portrait, fit, cut_out(portrait, fit) if matte is None else matte)
    face = make_face(canvas, fit)
    outer, card = make_outer(canvas, face, fit), _card(canvas, fit)
    anatomy = load_anatomy()
    bust, grid = len(anatomy.vertices), len(outer.points)
    cavity = regions().cavity[face.triangles].all(axis=1)

    def of_part(part: Part) -> np.ndarray:
        return anatomy.faces[(anatomy.part[anatomy.faces] == part).all(axis=1)]

    front = 2 * bust
    triangles = [
        outer.back_triangles + front + grid,
        outer.front_triangles + front,
        face.triangles[~cavity],
        of_part(Part.EYE),
        of_part(Part.TEETH),
        of_part(Part.TONGUE),
        face.triangles[cavity] + bust,
        card.triangles + front + 2 * grid,
        of_part(Part.LASH),
    ]
    kinds = np.full(bust, Kind.SKIN)
    for kind in (Kind.EYE, Kind.TEETH, Kind.TONGUE, Kind.LASH):
        kinds[anatomy.part == Part[kind.name]] = kind
    # Far behind the face the back is the throat, which the bust's mouth lacks.
    back = np.where(outer.hidden, Kind.CAVITY, Kind.BACK)
    rest = [np.full(bust, Kind.CAVITY), np.full(grid, Kind.OUTER), back]
    kinds = np.concatenate([kinds, *rest, np.full(len(card.pixels), Kind.CARD)])
    pixels = np.concatenate([canvas.points, canvas.points, outer.points, outer.points, card.pixels])
    lid, canonical = np.zeros(len(kinds), np.float32), np.zeros((len(kinds), 3), np.float32)
    lid[:bust] = face.lid
    canonical[:bust] = canonical[bust : 2 * bust] = anatomy.vertices
    return Layers(
        fit, canvas, face, make_textures(canvas, face), outer, card, np.concatenate(triangles), kinds,
        canvas.texture_points(pixels), lid, canonical,
    )  # fmt: skip


def _card(canvas: Canvas, fit: Fit) -> Card:
    if mouth_opening(canvas) < OPEN_MOUTH:
        return Card(np.zeros((0, 2)), np.zeros((0, 3), np.float32), np.zeros((0, 3), int))
    inner = canvas.landmarks[INNER_MOUTH]
    low, high = inner.min(axis=0) - 2, inner.max(axis=0) + 2
    across, down = np.linspace(-1, 1, _CARD_COLUMNS), np.linspace(low[1], high[1], _CARD_ROWS)
    x, y = np.meshgrid((low[0] + high[0]) / 2 + across * (high[0] - low[0]) / 2, down)
    right, middle, left = canvas.depth[load_anatomy().indices(LANDMARKS[[60, 62, 64]])]
    corners = right + (left - right) * (across + 1) / 2
    depth = corners + (max(middle, 0.0) - corners.mean()) * (1 - across**2) - _BEHIND_LIPS
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    points = fit.lift(pixels - canvas.offset, np.tile(depth, _CARD_ROWS))
    triangles = grid_triangles(np.arange(len(pixels)).reshape(_CARD_ROWS, _CARD_COLUMNS))
    return Card(pixels, points.astype(np.float32), triangles)
