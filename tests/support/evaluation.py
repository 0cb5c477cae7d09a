"""Clips and a reader of faces for evaluations that take milliseconds."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fomm_lib.evaluation.movements import TEMPLATE
from fomm_lib.media.faces import Faces
from fomm_lib.synthetic.posture import rotation_matrix

SIDE = 48


def clip_of(folder, name, seed, frames=6):
    """A folder of images: a bright square moves over a smooth background."""
    rng = np.random.default_rng(seed)
    ground = np.linspace(rng.uniform(20, 80), rng.uniform(100, 160), SIDE)[None, :, None] * np.ones(
        (SIDE, 1, 3)
    )
    (folder / name).mkdir(parents=True)
    for t in range(frames):
        frame = ground.copy()
        frame[10 + 3 * t : 26 + 3 * t, 8 + seed : 26 + seed] = [230, 200, 40 * seed]
        Image.fromarray(frame.astype(np.uint8)).save(folder / name / f"{t:03d}.png")


def read_brightness(images):
    """All 68 landmarks where the brightness is, the identity its colour; no face in an image without red."""
    landmarks, identity = np.full((len(images), 68, 2), np.nan), np.full((len(images), 128), np.nan)
    for t, image in enumerate(images.numpy()):
        red = image[0]
        if red.max() > 0.4:
            rows, columns = np.indices(red.shape)
            place = [(red * columns).sum() / red.sum(), (red * rows).sum() / red.sum()]
            landmarks[t] = np.array(place) * 256 / red.shape[1] + np.arange(136).reshape(68, 2)
            identity[t] = np.resize(image.mean(axis=(1, 2)), 128)
    return Faces(landmarks, identity, landmarks)


def read_template(images):
    """A mean head in every image: its lips part by the mean red of the upper half, its yaw is the green."""
    landmarks = []
    for image in images.numpy():
        red, green, _ = image[:, : image.shape[1] // 2].mean(axis=(1, 2))
        head = TEMPLATE.copy()
        head[65:68, 1] -= red
        turned = head @ rotation_matrix(0, green, 0).astype(float).T
        landmarks.append(45 * turned[:, :2] * [1, -1] + [128, 110])
    landmarks = np.array(landmarks)
    return Faces(landmarks, np.tile(images.mean(dim=(1, 2, 3)).numpy()[:, None], (1, 128)), landmarks)


def read_nothing(images):
    """No face in any image."""
    landmarks = np.full((len(images), 68, 2), np.nan)
    return Faces(landmarks, np.full((len(images), 128), np.nan), landmarks)
