"""The experiments of notebook 13: what is spoilt is spoilt, and tables are read and continued."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import categories


@pytest.fixture
def frames():
    """Twelve frames of a gradient, and twelve of another colour."""
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 1, 3))
    return [ramp.copy() for _ in range(12)], [255 - ramp for _ in range(12)]


def test_clean_clips_stay_as_they_are(frames):
    first, other = frames
    assert categories.spoil("clean", first, other, 0) is first


def test_a_camera_that_moves_shifts_the_image(frames):
    first, other = frames
    spoilt = categories.spoil("moving camera", first, other, 0)
    assert all(frame.shape == (64, 64, 3) for frame in spoilt)
    means = [float(frame.mean()) for frame in spoilt]
    assert np.ptp(means) > 5
    again = categories.spoil("moving camera", first, other, 0)
    assert all((a == b).all() for a, b in zip(spoilt, again, strict=True))


def test_two_subjects_and_cuts(frames):
    first, other = frames
    both = categories.spoil("two subjects", first, other, 0)[3]
    assert (both[:, :32] == first[3][:, 16:48]).all() and (both[:, 32:] == other[3][:, 16:48]).all()
    cut = categories.spoil("cuts", first, other, 0)
    assert (cut[5] == first[5]).all() and (cut[6] == other[6]).all() and len(cut) == 12


def test_tables_and_means(tmp_path):
    rows = [{"model": "a", "l1": 0.5}, {"model": "b", "l1": 0.25, "seconds": 3}]
    categories.write(tmp_path / "x" / "results.csv", rows)
    read = categories.read(tmp_path / "x" / "results.csv")
    assert [row["model"] for row in read] == ["a", "b"] and read[1]["seconds"] == "3"
    assert categories.read(tmp_path / "none.csv") == []
    assert categories.means([{"epe": 1.0}, {"epe": float("nan")}, {"epe": 2.0}]) == {"epe": 1.5}


def test_models_have_configs_and_starts_that_are_there():
    for name, (config, folder, start, steps) in categories.MODELS.items():
        assert (categories.data_path("configs") / f"{config}.yaml").is_file(), name
        assert folder in (*categories.CLIPS, "all") and steps > 0
        assert start is None or start in (*categories.MODELS, *categories.INCLUDED)
