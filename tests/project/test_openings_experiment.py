"""The experiment that compares led keypoints with landmarks: closed forms, and bad input."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from experiments.openings import main, openings, patterns, read_clip
from fomm_lib.config import LedKeypoint
from fomm_lib.data.clips import find_clips
from fomm_lib.files import data_path
from fomm_lib.synthetic.truth import ClipTruth, read_truth, truth_path


def test_openings_of_keypoints_that_are_where_they_should_be_are_those_of_landmarks():
    landmarks = np.random.default_rng(0).normal(size=(5, 68, 2))
    led = [LedKeypoint(keypoint=2, landmarks=[37, 38]), LedKeypoint(keypoint=0, landmarks=[40, 41])]
    keypoints = np.zeros((5, 3, 2))
    keypoints[:, 2], keypoints[:, 0] = landmarks[:, [37, 38]].mean(1), landmarks[:, [40, 41]].mean(1)
    found, true = openings(keypoints, landmarks, (0, 2), led)
    np.testing.assert_allclose(found, true)
    np.testing.assert_allclose(openings(2 * keypoints, landmarks, (0, 2), led)[0], 2 * true)


def test_patterns_are_changes_of_a_box_that_light_does_not_change():
    images = torch.rand(4, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    images[1] = images[0] + 0.2  # more light
    points = np.array([[50.2, 99.8], [50, 100], [50, 4], [np.nan, np.nan]])
    found = patterns(images, points)
    assert found.shape == (4, 19 * 11) and np.isnan(found[2:]).all()
    np.testing.assert_allclose(found[:2], 0, atol=1e-6)
    images[1, :, 100, 50] = 0  # an iris
    found = patterns(images, points)
    middle = 5 * 19 + 9
    assert found[0, middle] > 0.1 and np.abs(np.delete(found[0], middle)).max() < 0.01
    np.testing.assert_allclose(found[0], -found[1], atol=1e-6)


def test_landmarks_of_the_truth_are_used_where_it_is(tmp_path):
    source = next(iter(find_clips(data_path("heads", "test"), None)))
    clip = tmp_path / source.path.name
    clip.symlink_to(source.path)
    known = np.random.default_rng(0).uniform(-1, 1, (len(source), 68, 2)).astype(np.float32)
    others = {field.name: np.zeros(1) for field in fields(ClipTruth) if field.name != "landmarks"}
    np.savez(truth_path(clip), landmarks=known, **others)
    images, landmarks = read_clip(next(iter(find_clips(tmp_path, None))), 20, (64, 64))
    assert images.shape == (3, 3, 64, 64)
    np.testing.assert_allclose(landmarks, (known[::20] + 1) / 2 * 63, rtol=1e-5)
    assert read_truth(clip).landmarks.shape == known.shape


def test_a_table_of_clips(capsys):
    pytest.importorskip("dlib", reason="needs the extra: pip install 'fomm-lib[faces]'")
    assert main([str(data_path("heads", "test")), "--every", "24"]) == 0
    rows = [line.split(" | ")[0].strip("| ") for line in capsys.readouterr().out.splitlines()[2:]]
    pairs = ("10 and 11", "12 and 13", "2 and 6", "14 and 15")
    assert rows == [*(f"keypoints {pair}" for pair in pairs), "eyes"]


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path), "--weights", "heads-128"]) == 2
    assert main([str(tmp_path), "--every", "0"]) == 2
    assert main([str(tmp_path / "none")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0] == "heads-128: its config has no opening_maps of led_keypoints"
