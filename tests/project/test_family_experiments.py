"""The experiments of the family: their measures, and that what is measured is not measured again."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch

from experiments import family
from fomm_lib.files import data_path


@pytest.fixture
def arguments(tmp_path):
    return argparse.Namespace(seeds=2, variants=None, runs=tmp_path / "runs", steps=None)


def test_measures_of_the_truth_itself_are_one():
    images = torch.rand(4, 3, 8, 8)
    assert family.sharpness(images, images) == family.spread(images, images) == 1
    assert family.sharpness(images / 2, images) == pytest.approx(0.5)
    assert family.spread(images[:1].expand(4, -1, -1, -1), images) == 0


def test_labels_are_read_back():
    labels = torch.tensor([[[0.0, 0.1], [0.0, 1.0], [0.0, 0.9]]]).view(1, 3, 1, 2)  # black, nearly cyan
    found = family.numbers_of(labels)
    assert found.tolist() == [[[0, 1]]]
    assert family.read_back(found, found, "back_")["back_pixel_accuracy"] == 1


def test_a_row_is_measured_once(arguments, tmp_path):
    results = family.Results(tmp_path / "out" / "x.csv", arguments)
    assert results.wanted(["a", "b"]) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    results.add("a", 0, {"l1": 0.123456789, "steps": 7}, torch.rand(2, 3, 4, 4))
    results.add("b", 0, {"psnr": 20.0})
    again = family.Results(tmp_path / "out" / "x.csv", arguments)
    assert again.wanted(["a", "b"]) == [("a", 1), ("b", 1)] and again.once("c") == [("c", 0)]
    assert [row["l1"] for row in again.rows] == ["0.12346", ""] and again.rows[0]["steps"] == "7"
    assert (tmp_path / "out" / "x" / "a.jpg").is_file()
    arguments.variants = ["b"]
    assert family.Results(tmp_path / "out" / "x.csv", arguments).wanted(["a", "b"]) == [("b", 1)]


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan", "srgan", "progressive"])
def test_variants_are_configs(name):
    for changes in getattr(family, name.upper()).values():
        assert family.family_config(name, **changes).system == name


def test_committed_results_are_of_equal_steps():
    for path in data_path("family", "results").glob("*.csv"):
        rows = family.Results(path, argparse.Namespace(seeds=3, variants=None, runs=None, steps=None)).rows
        trained = [row for row in rows if row.get("steps")]
        assert len({(row["variant"], row["seed"]) for row in rows}) == len(rows)
        if path.stem == "progressive":
            seconds = np.array([float(row["cpu_seconds"]) for row in trained])
            assert np.all(abs(seconds - family.CPU_SECONDS) < 2)
        elif path.stem != "super-resolve":  # which trains nothing
            assert len({row["steps"] for row in trained}) == 1
