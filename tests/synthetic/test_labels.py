"""Part labels: colours that cannot be confused, and files beside rendered clips."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.media.video import read_image
from fomm_lib.synthetic.anatomy import Part
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.labels import (
    LABELS,
    PALETTE,
    clip_labels,
    colour_labels,
    label_image,
    labels_folder,
    nearest_labels,
)


def test_every_class_has_a_name_and_a_colour():
    assert len(LABELS) == len(PALETTE) == 10 and LABELS[1 + Part.HAIR] == "hair"
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(PALETTE.astype(float), 2)]
    assert min(distances) > 179


def test_colours_and_back():
    labels = np.arange(10, dtype=np.uint8).reshape(2, 5)
    colours = colour_labels(labels)
    assert colours.shape == (2, 5, 3) and np.array_equal(nearest_labels(colours), labels)
    noisy = (colours.astype(int) + np.random.default_rng(0).integers(-50, 50, colours.shape)).clip(0, 255)
    assert np.array_equal(nearest_labels(noisy.astype(np.uint8)), labels)


def test_a_border_between_two_large_classes_stays_theirs():
    large = [0, 1 + Part.SKIN, 1 + Part.HAIR, 1 + Part.CLOTHES]
    for a, b in itertools.combinations(large, 2):
        for share in (0.3, 0.4, 0.6, 0.7):
            mixed = share * PALETTE[a].astype(float) + (1 - share) * PALETTE[b]
            assert nearest_labels(mixed.round().astype(np.uint8)) in (a, b)


def test_a_png_keeps_numbers_and_shows_colours(tmp_path):
    labels = np.random.default_rng(0).integers(0, 10, (6, 7), np.uint8)
    label_image(labels).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), labels)
    assert np.array_equal(read_image(tmp_path / "a.png"), colour_labels(labels))


@pytest.mark.needs_system
@pytest.mark.parametrize("format", ["mp4", "png"])
def test_labels_beside_every_clip(drawing, tmp_path, format):
    settings = {"frames": 3, "size": 32, "seed": 4, "progress": False, "format": format}
    paths = synthesize(tmp_path, clips=2, labels=True, **settings)
    assert [clip.name for clip in find_clips(tmp_path)] == [path.name for path in paths]
    clip = SyntheticClip(4, 1, 3, 32)
    files = sorted(labels_folder(paths[1]).iterdir())
    assert [path.name for path in files] == ["0000.png", "0001.png", "0002.png"]
    for k, path in enumerate(files):
        with Image.open(path) as image:
            labels = np.asarray(image)
        assert np.array_equal(labels, clip_labels(clip, k))
        assert {0, 1 + Part.SKIN} <= set(labels.flat) and labels.max() <= 9
    with pytest.raises(InputError, match="holds clips made with labels=True, not None"):
        synthesize(tmp_path, clips=2, **settings)
