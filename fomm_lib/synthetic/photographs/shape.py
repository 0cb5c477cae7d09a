"""The space of heads: the renderer's bust, and the principal components of the renderer's population.

Person frame: dm, x to the person's left, y up, z to the front; origin midway between the eyes' joints, which
are `EYE_DISTANCE` apart: how large a head really is cannot be seen in a photograph, so the camera carries it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fomm_lib.files import atomic_output
from fomm_lib.synthetic.anatomy import Anatomy, load_anatomy
from fomm_lib.synthetic.people import draw_traits, features, phenotype

EYE_DISTANCE = 0.65
"""Distance between the eyes' joints in the person frame, dm."""

_PEOPLE = 400  # 40 components hold 98.6 % of their variance
_COMPONENTS = 40
_SHOULDERS, _WEIGHT = -1.5, 0.05  # below this height a vertex counts this much: the fit sees the head


@dataclass(frozen=True)
class Shape:
    """A linear model of the bust: mean + c @ components, c ~ N(0, 1).

    Attributes:
        mean: (N, 3) in the person frame; components: (40, N, 3), a standard deviation each.
    """

    mean: np.ndarray
    components: np.ndarray


@lru_cache(maxsize=1)
def _eyes() -> list[np.ndarray]:
    anatomy = load_anatomy()
    return [anatomy.joints[f"joint-{side}-eye"] for side in "lr"]


def to_person_frame(vertices: np.ndarray) -> np.ndarray:
    """A bust (N, 3) in MakeHuman's coordinates, moved and scaled into the person frame."""
    left, right = (vertices[joint].mean(axis=0) for joint in _eyes())
    return ((vertices - (left + right) / 2) * (EYE_DISTANCE / np.linalg.norm(left - right))).astype(
        np.float32
    )


@lru_cache(maxsize=1)
def canonical() -> np.ndarray:
    """(N, 3): the undeformed bust in the person frame."""
    return to_person_frame(load_anatomy().vertices)


@lru_cache(maxsize=1)
def actions() -> np.ndarray:
    """(52, N, 3): the facial actions, scaled as the bust is."""
    anatomy = load_anatomy()
    left, right = (anatomy.vertices[joint].mean(axis=0) for joint in _eyes())
    return anatomy.actions * np.float32(EYE_DISTANCE / np.linalg.norm(left - right))


def load_shape(cache: str | os.PathLike | None = None) -> Shape:
    """The model of heads: principal components of 400 random adults of the renderer's population.

    Args:
        cache: a folder that keeps the result, which takes some seconds to compute. A damaged file is made
            anew.

    Example:
        >>> load_shape().components.shape[0]                                     # doctest: +SKIP
        40
    """
    path = None if cache is None else Path(cache) / f"shape-{_PEOPLE}-{_COMPONENTS}.npz"
    if path is not None and path.exists():
        try:
            with np.load(path) as stored:
                shape = Shape(stored["mean"], stored["components"])
            if shape.components.shape == (_COMPONENTS, *canonical().shape):
                return shape
        except Exception:  # whatever is wrong with the file: it can be made again
            pass
    shape = _computed()
    if path is not None:
        with atomic_output(path, overwrite=True) as temporary:
            np.savez(temporary, mean=shape.mean, components=shape.components)
    return shape


@lru_cache(maxsize=1)
def _computed() -> Shape:
    anatomy, rng = load_anatomy(), np.random.default_rng(0)
    people = np.stack([_adult(anatomy, rng) for _ in range(_PEOPLE)]).reshape(_PEOPLE, -1)
    mean = people.mean(axis=0)
    people -= mean
    counts = np.where(mean.reshape(-1, 3)[:, 1] > _SHOULDERS, 1, _WEIGHT).astype(np.float32)
    weighted = people * np.repeat(counts, 3)
    variance, vectors = np.linalg.eigh(weighted @ weighted.T)
    variance, vectors = variance[::-1][:_COMPONENTS], vectors[:, ::-1][:, :_COMPONENTS]
    # A standard deviation of each component: X^T u / sqrt(number of people).
    components = (vectors.T @ people) / np.sqrt(_PEOPLE)
    sign = np.sign(components[np.arange(_COMPONENTS), np.abs(components).argmax(axis=1)])
    components = (components * sign[:, None]).reshape(_COMPONENTS, -1, 3)
    return Shape(mean.reshape(-1, 3), components.astype(np.float32))


def _adult(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    traits = draw_traits(rng, young=0.35, mix=(0.5, 0.5, 0.6))
    offsets = phenotype(anatomy, rng, *traits) + features(anatomy, rng)
    return to_person_frame(anatomy.vertices + offsets)
