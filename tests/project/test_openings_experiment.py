"""The experiment that compares led keypoints with landmarks: closed forms, and bad input."""

from __future__ import annotations

import numpy as np

from experiments.openings import main, openings
from fomm_lib.config import LedKeypoint


def test_openings_of_keypoints_that_are_where_they_should_be_are_those_of_landmarks():
    landmarks = np.random.default_rng(0).normal(size=(5, 68, 2))
    led = [LedKeypoint(keypoint=2, landmarks=[37, 38]), LedKeypoint(keypoint=0, landmarks=[40, 41])]
    keypoints = np.zeros((5, 3, 2))
    keypoints[:, 2], keypoints[:, 0] = landmarks[:, [37, 38]].mean(1), landmarks[:, [40, 41]].mean(1)
    found, true = openings(keypoints, landmarks, (0, 2), led)
    np.testing.assert_allclose(found, true)
    np.testing.assert_allclose(openings(2 * keypoints, landmarks, (0, 2), led)[0], 2 * true)


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path), "--weights", "heads-128"]) == 2
    assert main([str(tmp_path), "--every", "0"]) == 2
    assert main([str(tmp_path / "none")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0] == "heads-128: its config has no opening_maps of led_keypoints"
