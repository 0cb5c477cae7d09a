"""One clip of a body, an animal or a vehicle, with the same truth as `SyntheticClip` has of a head.

clip = open_clip("animals", seed=0, number=3, frames=24, size=64)
clip.frame(10), clip.true_motion(source=0, driving=10), clip.landmarks(10)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fomm_lib.errors import InputError
from fomm_lib.synthetic.anatomy import Part
from fomm_lib.synthetic.categories.animals import sample_animal
from fomm_lib.synthetic.categories.bodies import sample_body
from fomm_lib.synthetic.categories.stage import sample_stage
from fomm_lib.synthetic.categories.subject import Subject
from fomm_lib.synthetic.categories.vehicles import sample_vehicle
from fomm_lib.synthetic.clip import RenderedClip, SyntheticClip, check_clip
from fomm_lib.synthetic.posture import vertex_normals
from fomm_lib.synthetic.render import Renderer
from fomm_lib.synthetic.surfaces import faces_around

Sample = Callable[[np.random.Generator, np.random.Generator, np.ndarray], Subject]
SAMPLES: dict[str, Sample] = {"bodies": sample_body, "animals": sample_animal, "vehicles": sample_vehicle}
"""Category to a function of random numbers for the looks, random numbers for the motion, and (T,) seconds."""
CATEGORIES = ("heads", *SAMPLES)
CLIP_PREFIX = {category: "synth" if category == "heads" else category for category in CATEGORIES}
"""Category to the beginning of the names of its clips."""


class CategoryClip(RenderedClip):
    """One subject of a category, in motion before a camera that stands still.

    Args:
        category: a key of `SAMPLES`.
        seed, number, frames, size, fps, background: as for `SyntheticClip`.
        person_number: which subject; by default each clip has its own, `number`.

    Raises:
        InputError: a number out of range, or another category; `anny` (bodies), `moderngl` or EGL is missing.

    Example:
        >>> clip = CategoryClip("vehicles", seed=0, number=3, frames=24, size=64)
        >>> clip.landmarks(5).shape
        torch.Size([14, 2])
    """

    look = "object"

    def __init__(
        self,
        category: str,
        seed: int,
        number: int,
        frames: int,
        size: int,
        fps: float = 25,
        *,
        person_number: int | None = None,
        background: np.ndarray | None = None,
    ):
        check_category(category)
        if category not in SAMPLES:
            raise InputError(f"category={category!r}: clips of heads are made by SyntheticClip")
        check_clip(seed, number, frames, size, fps)
        self.category, self.seed, self.number, self.size, self.fps = category, seed, number, size, fps
        self.person_number = number if person_number is None else person_number
        kind = CATEGORIES.index(category)
        looks = np.random.default_rng([seed, self.person_number, 0, kind])
        motion = np.random.default_rng([seed, number, 1, kind])
        self.subject = SAMPLES[category](looks, motion, np.arange(frames) / fps)
        stage = np.random.default_rng([seed, number, 2, kind])
        self.scene = sample_stage(stage, self.subject.framing, self.subject.facts.get("road", 0.0))
        self.uniforms = {**self.subject.uniforms, **self.scene.uniforms}
        self._around = faces_around(self.subject.faces, len(self.subject.canonical))
        self.show_behind(background)

    def __len__(self) -> int:
        return self.subject.frames

    def pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As in `RenderedClip`."""
        points = self.subject.positions(k).astype(np.float32)
        return points, vertex_normals(points, self.subject.faces, self._around)

    def landmark_points(self, k: int) -> np.ndarray:
        """(n, 3): the points that `subject.names` names."""
        return self.subject.landmarks(k)

    def load(self, renderer: Renderer) -> None:
        """As in `RenderedClip`."""
        subject = self.subject
        renderer.load(
            subject.faces, np.full(len(subject.canonical), Part.SKIN), subject.canonical, subject.aux
        )


def check_category(category: str) -> None:
    """Raise an InputError unless it is one of `CATEGORIES`.

    Example:
        >>> check_category("animals")
    """
    if category not in CATEGORIES:
        raise InputError(f"category={category!r}: choose one of {', '.join(CATEGORIES)}")


def open_clip(category: str, *arguments: Any, **options: Any) -> RenderedClip:
    """The clip of a category: a `SyntheticClip` of a head, or a `CategoryClip`.

    Args:
        category: one of `CATEGORIES`.
        arguments, options: of the clip: seed, number, frames, size and fps; person_number, background.

    Raises:
        InputError: as those two.

    Example:
        >>> len(open_clip("animals", seed=0, number=3, frames=24, size=64))
        24
    """
    check_category(category)
    if category == "heads":
        return SyntheticClip(*arguments, **options)
    return CategoryClip(category, *arguments, **options)
