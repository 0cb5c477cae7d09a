"""Training end to end, on pictures small enough for seconds."""

import re

import numpy as np
import pytest
import torch
from tiny_training import TINY, make_squares, read_rows, run, with_weights
from training_script import random_network

from fomm_lib import training, training_log, training_step, validation
from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.config import load_config
from fomm_lib.files import InputError
from fomm_lib.losses import RandomTransform
from fomm_lib.model import FirstOrderMotionModel, build_discriminator, load_model


@pytest.fixture(autouse=True)
def random_features(monkeypatch):
    monkeypatch.setattr(training, "perceptual_network", random_network)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_squares(tmp_path_factory.mktemp("squares"))


def test_a_run_leaves_all_it_promises(data, tmp_path):
    weights = run(data, tmp_path / "run", steps=5, sample_every=2, checkpoint_every=2)
    assert weights == tmp_path / "run" / "weights.safetensors"
    rows = read_rows(tmp_path / "run" / "losses.csv")
    assert [row["step"] for row in rows] == ["2", "4", "5"]
    assert all(float(row["perceptual"]) > 0 and row["gen_gan"] == "" for row in rows)
    assert sorted(p.name for p in (tmp_path / "run" / "samples").iterdir()) == [
        "0000002.png",
        "0000004.png",
        "0000005.png",
    ]
    assert load_config(tmp_path / "run" / "config.yaml") == load_config(TINY)
    checkpoint = read_checkpoint(weights)
    assert sorted(checkpoint.networks) == ["discriminator", "generator", "kp_detector"]
    assert checkpoint.notes["steps"] == "5"
    model = load_model(weights, device="cpu")
    assert model(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)).prediction.shape == (1, 3, 32, 32)


def test_the_losses_fall(data, tmp_path):
    run(data, tmp_path / "run", steps=60, log_every=10)
    rows = read_rows(tmp_path / "run" / "losses.csv")
    assert float(rows[-1]["perceptual"]) < 0.8 * float(rows[0]["perceptual"])


def test_all_six_losses_with_an_adversarial_weight(data, tmp_path):
    run(data, tmp_path / "run", config=with_weights(generator_gan=1), steps=2)
    (row,) = read_rows(tmp_path / "run" / "losses.csv")
    assert all(np.isfinite(float(row[name])) for name in training_log.LOSSES)


def test_a_seed_repeats_a_run_and_another_does_not(data, tmp_path):
    def losses(name, seed):
        run(data, tmp_path / name, steps=4, seed=seed)
        return [row["perceptual"] for row in read_rows(tmp_path / name / "losses.csv")]

    first = losses("a", 0)
    assert losses("b", 0) == first
    assert losses("c", 1) != first


def test_learning_rates_drop_at_milestones(data, tmp_path, monkeypatch):
    seen = []
    original = training_step.TrainingStep.__call__

    def spy(self, *args):
        seen.append(self.optimizers["generator"].param_groups[0]["lr"])
        return original(self, *args)

    monkeypatch.setattr(training_step.TrainingStep, "__call__", spy)
    config = {**TINY, "train_params": {**TINY["train_params"], "num_epochs": 4, "epoch_milestones": [1, 3]}}
    run(data, tmp_path / "run", config=config)  # six clips, batches of four: one step an epoch
    assert seen == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])


def test_a_learning_rate_of_zero_freezes_the_detector(data, tmp_path):
    config = {**TINY, "train_params": {**TINY["train_params"], "lr_kp_detector": 0}}
    first = read_checkpoint(run(data, tmp_path / "a", config=config, steps=1)).networks["kp_detector"]
    third = read_checkpoint(run(data, tmp_path / "b", config=config, steps=3)).networks["kp_detector"]
    parameters = [name for name in first if "running" not in name and "batches" not in name]
    assert all(torch.equal(first[name], third[name]) for name in parameters)


def test_the_second_stage_starts_from_the_first(data, tmp_path):
    first = run(data, tmp_path / "first", steps=1)
    frozen = with_weights(generator_gan=1)
    frozen["train_params"] = {**frozen["train_params"], "lr_generator": 0, "lr_kp_detector": 0}
    frozen["model_params"] = {
        **TINY["model_params"],
        "discriminator_params": {**TINY["model_params"]["discriminator_params"], "use_kp": True},
    }
    with pytest.warns(UserWarning, match="discriminator starts anew"):  # its shape changed, which is said
        second = run(data, tmp_path / "second", config=frozen, steps=1, init=first)
    before, after = read_checkpoint(first).networks, read_checkpoint(second).networks
    assert torch.equal(before["generator"]["final.weight"], after["generator"]["final.weight"])


def a_step(config=TINY, **options):
    """A training step of a seeded model, and a batch of four for it."""
    torch.manual_seed(0)
    config = load_config(config)
    model, discriminator = FirstOrderMotionModel(config).train(), build_discriminator(config).train()
    step = training_step.TrainingStep(
        model, discriminator, training.perceptual_network(""), config, **options
    )
    source, driving = torch.rand(2, 4, 3, 32, 32)
    return step, source, driving, RandomTransform.sample(4, generator=torch.Generator().manual_seed(0))


def test_bf16_stays_close_to_float32():
    totals = {}
    for precision in ("no", "bf16"):
        step, *batch = a_step(with_weights(generator_gan=1), precision=precision)
        totals[precision] = sum(step(*batch).values())
    assert totals["bf16"] == pytest.approx(totals["no"], rel=0.03)
    assert totals["bf16"] != totals["no"]


def test_sample_grid_is_as_wide_as_six_pictures_and_leaves_the_mode():
    model = FirstOrderMotionModel(TINY).train()
    grid = validation.sample_grid(model, *torch.rand(2, 2, 3, 32, 32))
    assert grid.dtype == np.uint8 and grid.shape == (2 * 194 + 2, 6 * 194 + 2, 3)
    assert model.training


def test_what_is_not_finite_stops_with_the_batch_named(data, tmp_path, monkeypatch):
    original = RandomTransform.warp_picture
    calls = []

    def broken(self, picture, **options):
        calls.append(1)
        return original(self, picture, **options) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(RandomTransform, "warp_picture", broken)
    with pytest.raises(InputError) as error:
        run(data, tmp_path / "run", steps=4, checkpoint_every=2)
    assert re.search(
        r"step 3: equivariance_value and equivariance_jacobian are not finite, on square\d", str(error.value)
    )
    assert "lower learning rate" in str(error.value) and "\n" not in str(error.value)
    batch = torch.load(tmp_path / "run" / "not_finite-0000003.pt", weights_only=True)
    assert batch["step"] == 3 and len(batch["name"]) == 4
    assert batch["source"].shape == batch["driving"].shape == (4, 3, 32, 32)
    assert batch["theta"].shape == (4, 2, 3) and batch["control_params"].shape == (4, 1, 25)
    # Nothing of the bad step went into the networks: what was saved before can go on.
    monkeypatch.undo()
    monkeypatch.setattr(training, "perceptual_network", random_network)
    run(data, tmp_path / "run", steps=4, checkpoint_every=2, resume=True)
    assert read_checkpoint(tmp_path / "run" / "weights.safetensors").notes["steps"] == "4"


def test_a_training_is_not_overwritten(data, tmp_path):
    run(data, tmp_path / "run", steps=1)
    before = (tmp_path / "run" / "losses.csv").read_text()
    with pytest.raises(InputError, match="holds a training already"):
        run(data, tmp_path / "run", steps=1)
    assert (tmp_path / "run" / "losses.csv").read_text() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"steps": 1, "perceptual": "resnet"}, "perceptual_network"),
        ({"steps": 1, "init": "nowhere"}, "no such file of weights"),
    ],
)
def test_bad_options_say_so_and_leave_nothing(data, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_too_few_clips_for_a_batch(data, tmp_path):
    config = {**TINY, "train_params": {**TINY["train_params"], "batch_size": 40}}
    with pytest.raises(InputError, match="fewer than a batch"):
        run(data, tmp_path / "run", config=config, steps=1)
    assert not (tmp_path / "run").exists()


def test_parts_of_another_shape_start_anew(data, tmp_path):
    first = run(data, tmp_path / "first", steps=1)
    wider = {**TINY, "train_params": {**TINY["train_params"], "lr_generator": 0, "lr_kp_detector": 0}}
    wider["model_params"] = {
        **TINY["model_params"],
        "generator_params": {**TINY["model_params"]["generator_params"], "num_bottleneck_blocks": 2},
    }
    with pytest.warns(UserWarning, match="generator starts anew"):
        second = run(data, tmp_path / "second", config=wider, steps=1, init=first)
    before, after = read_checkpoint(first).networks, read_checkpoint(second).networks
    assert torch.equal(before["kp_detector"]["kp.weight"], after["kp_detector"]["kp.weight"])
    mask = "dense_motion_network.mask.weight"
    assert torch.equal(before["generator"][mask], after["generator"][mask])
    assert not torch.equal(before["generator"]["final.weight"], after["generator"]["final.weight"])


def test_weights_of_which_no_part_fits_are_refused(data, tmp_path):
    first = run(data, tmp_path / "first", steps=1)
    other = {**TINY, "model_params": {**TINY["model_params"], "common_params": {"num_kp": 4}}}
    other["model_params"]["generator_params"] = {
        **TINY["model_params"]["generator_params"],
        "num_bottleneck_blocks": 2,
    }
    other["model_params"]["discriminator_params"] = {"block_expansion": 6, "num_blocks": 2}
    with pytest.raises(InputError, match="no part of it fits"):
        run(data, tmp_path / "second", config=other, steps=1, init=first)
