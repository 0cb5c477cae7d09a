"""The experiment that measures the readers of landmarks: closed forms, and bad input."""

from __future__ import annotations

import numpy as np

from experiments import landmarks
from fomm_lib.evaluation.movements import TEMPLATE


def test_a_reader_without_errors_has_slope_and_correlation_1():
    rng = np.random.default_rng(0)
    clips = [50 * TEMPLATE[None, :, :2] * [1, -1] + rng.normal(0, 2, (8, 68, 2)) for _ in range(3)]
    rows = landmarks.movements_table({"same": clips, "others": clips[::-1]}, clips).splitlines()
    assert rows[2] == "| same " + "| 1.00 / 1.00 " * 7 + "|" and "1.00 / 1.00" not in rows[3]


def test_precision_and_recall():
    masks, hidden = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    masks[0, :2], hidden[0, 1:] = True, True
    assert landmarks.precision_and_recall(masks, hidden) == (4 / 8, 4 / 12)


def test_bad_input_is_one_line(tmp_path, capsys):
    assert landmarks.main([str(tmp_path / "none")]) == 2
    assert landmarks.main(["--every", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
