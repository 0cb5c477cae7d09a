"""The experiments of the family: their measures, and that what is measured is not measured again."""

from __future__ import annotations

import argparse
import shutil

import numpy as np
import pytest
import torch

from experiments import family
from fomm_lib.files import data_path


@pytest.fixture
def arguments(tmp_path):
    return argparse.Namespace(seeds=2, variants=None, runs=tmp_path / "runs", steps=None, no_train=False)


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


def test_weights_are_measured_as_they_are(arguments, tmp_path):
    arguments.no_train = True
    run = tmp_path / "runs" / "srgan-a-variant-1"
    run.mkdir(parents=True)
    shutil.copy(data_path("weights", "family", "srgan.safetensors"), run / "weights.safetensors")
    results = family.Results(tmp_path / "x.csv", arguments)
    model, row = results.train(family.family_config("srgan", steps=7), "a variant", 1)
    assert row == {"steps": 1400} and model.path.parent == run


def test_the_time_of_a_training_is_kept_and_not_that_of_a_resumed_one(arguments, tmp_path):
    small = {"generator": {"blocks": 1, "width": 4}, "discriminator": {"width": 4}}
    config = family.family_config("srgan", steps=2, mse_share=1.0, size=16, batch_size=1, networks=small)
    results = family.Results(tmp_path / "x.csv", arguments)
    _, first = results.train(config, "a", 0)
    assert first["steps"] == 2 and first["cpu_seconds"] > 0
    assert results.train(config, "a", 0)[1] == first
    (arguments.runs / "srgan-a-0" / "cpu_seconds.txt").unlink()
    assert results.train(config, "a", 0)[1] == {"steps": 2}


def test_growing_samples_have_the_last_size_and_come_from_the_level_in_training():
    networks = {name: {"width": [8, 8, 8]} for name in ("generator", "discriminator")}
    networks["generator"]["latent"] = 4
    system = family.make_system(family.family_config("progressive", size=16, networks=networks))
    made = family.grown_images(system, 3, seed=0)
    assert made.shape == (3, 3, 16, 16) and made.min() >= 0 and made.max() <= 1
    squares = made.unflatten(2, (4, 4)).unflatten(4, (4, 4))
    assert torch.equal(squares, squares[:, :, :, :1, :, :1].expand_as(squares))  # level 0: 4 pixels, repeated


def test_errors_by_turn():
    turns = np.array([0.0, 10, 20, 30])
    row = family.by_turn({"l1": np.array([1.0, 2, 3, 8]), "akd": np.array([4.0, np.nan, 6, np.nan])}, turns)
    assert row["pairs"] == 4 and row["faces"] == 2 and row["large_turn"] == 22.5
    assert (row["l1"], row["l1_small_turn"], row["l1_large_turn"]) == (3.5, 2, 8)
    assert row["akd"] == row["akd_small_turn"] == 5 and np.isnan(row["akd_large_turn"])


def turned_pairs(turns, clips):
    images, size = torch.rand(len(turns), 3, 64, 64), (8, 8)
    flow = family.coordinate_grid(*size) + torch.tensor([3 / 128, 4 / 128])
    motion = family.TrueMotion(flow, *torch.ones(2, *size, dtype=torch.bool))
    return family.TurnedPairs(clips, [6] * len(turns), images, images, np.array(turns), [motion] * len(turns))


def test_the_widest_turn_of_each_clip():
    assert turned_pairs([1.0, 5, 2, 0, 3], ["a", "a", "a", "b", "b"]).widest == [1, 4]


def test_errors_of_a_transfer():
    pytest.importorskip("dlib", reason="needs the extra: pip install 'fomm-lib[metrics]'")
    pairs = turned_pairs([1.0, 2.0], ["a", "b"])
    still = [family.coordinate_grid(64, 64)[None]] * 2
    errors = family.transfer_errors(pairs, pairs.drivings, still)
    assert errors["epe"] == pytest.approx([5, 5], abs=1e-4) and np.all(errors["l1"] == 0)
    assert np.isnan(errors["akd"]).all() and errors["identity"].shape == (2,)  # noise has no face


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan", "srgan", "progressive"])
def test_variants_are_configs(name):
    for changes in getattr(family, name.upper()).values():
        assert family.family_config(name, **changes).system == name


def test_committed_results_are_of_equal_steps():
    for path in data_path("family", "results").glob("*.csv"):
        arguments = argparse.Namespace(seeds=3, variants=None, runs=None, steps=None, no_train=True)
        rows = family.Results(path, arguments).rows
        trained = [row for row in rows if row.get("steps")]
        assert len({(row["variant"], row["seed"]) for row in rows}) == len(rows)
        if path.stem == "progressive":
            seconds = np.array([float(row["cpu_seconds"]) for row in trained])
            assert np.all(abs(seconds - family.CPU_SECONDS) < 2)
        elif path.stem != "super-resolve":  # which trains nothing
            assert len({row["steps"] for row in trained}) == 1
