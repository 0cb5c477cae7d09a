"""`train` end to end, on images small enough for seconds."""

import numpy as np
import pytest
import torch

from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.config import load_config
from fomm_lib.errors import InputError
from fomm_lib.model import load_model
from fomm_lib.training import log as training_log
from fomm_lib.training import loop
from fomm_lib.training import step as training_step
from tests.support.tiny_training import TINY, read_rows, run, with_weights


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
    noted = {**TINY, "dataset_params": {**TINY["dataset_params"], "root_dir": str(data)}}
    assert load_config(tmp_path / "run" / "config.yaml") == load_config(noted)
    checkpoint = read_checkpoint(weights)
    assert sorted(checkpoint.networks) == ["discriminator", "generator", "kp_detector"]
    assert checkpoint.notes["steps"] == "5"
    model = load_model(weights, device="cpu")
    assert model(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)).prediction.shape == (1, 3, 32, 32)


def test_the_losses_fall(data, tmp_path):
    run(data, tmp_path / "run", steps=60, log_every=10)
    rows = read_rows(tmp_path / "run" / "losses.csv")
    assert float(rows[-1]["perceptual"]) < 0.8 * float(rows[0]["perceptual"])


@pytest.mark.quick
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


def test_learning_rates_ramp_up_and_fall_at_milestones():
    params = load_config(
        {**TINY, "train_params": {**TINY["train_params"], "epoch_milestones": [2, 4]}}
    ).train_params
    assert [round(loop.learning_rate_factor(9, e, params), 6) for e in range(5)] == [1, 1, 0.1, 0.1, 0.01]
    params.warmup_steps = 4
    factors = [loop.learning_rate_factor(step, 0, params) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1, 1, 1]


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"steps": 1, "sample_every": 0}, "sample_every=0: give a whole number, at least 1"),
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
    other = {**TINY, "model_params": {**TINY["model_params"], "common_params": {"num_kp": 2}}}
    other["model_params"]["generator_params"] = {
        **TINY["model_params"]["generator_params"],
        "num_bottleneck_blocks": 2,
    }
    other["model_params"]["discriminator_params"] = {"block_expansion": 6, "num_blocks": 2}
    with pytest.raises(InputError, match="no part of it fits"):
        run(data, tmp_path / "second", config=other, steps=1, init=first)


def test_the_best_weights_on_held_out_clips_are_kept(data, tmp_path):
    out = tmp_path / "run"
    run(data, out, steps=6, checkpoint_every=1, keep=1)
    rows = read_rows(out / "validation.csv")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    best = min(rows, key=lambda row: float(row["l1"]))["step"]
    assert read_checkpoint(out / "best.safetensors").notes["steps"] == best
    kept = {int(path.stem.removeprefix("step-")) for path in (out / "states").iterdir()}
    assert kept == {int(best), 6}


def test_motion_that_is_frozen_stays_and_the_rest_learns(data, tmp_path):
    first = run(data, tmp_path / "first", steps=1)
    frozen = {**TINY, "train_params": {**TINY["train_params"], "freeze_motion": True}}
    before = read_checkpoint(first).networks
    after = read_checkpoint(run(data, tmp_path / "second", config=frozen, steps=3, init=first)).networks
    for name, entry in before["kp_detector"].items():  # not even the running means of batch norm move
        assert torch.equal(entry, after["kp_detector"][name]), name
    for name, entry in before["generator"].items():
        stays = name.startswith("dense_motion_network.")
        if stays or name.endswith((".weight", ".bias")):
            assert torch.equal(entry, after["generator"][name]) == stays, name
    row = read_rows(tmp_path / "second" / "losses.csv")[-1]
    assert row["perceptual"] and not row["equivariance_value"] and not row["equivariance_jacobian"]


def test_workers_by_default(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(loop.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert loop.default_workers(cpu) == 0  # its cores compute
    assert loop.default_workers(gpu) == 8 and loop.default_workers(gpu, processes_here=3) == 2
    assert loop.default_workers(gpu, processes_here=16) == 1
    monkeypatch.delattr(loop.os, "sched_getaffinity")
    monkeypatch.setattr(loop.os, "cpu_count", lambda: 4)
    assert loop.default_workers(gpu) == 4


def test_images_arrive_as_numbers_channels_last():
    for images in (torch.rand(2, 3, 4, 4), torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)):
        arrived = loop.images_on(torch.device("cpu"), images)
        assert arrived.dtype == torch.float32 and arrived.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(arrived * (255 if images.dtype == torch.uint8 else 1), images.float())


def test_a_batch_size_goes_into_the_config():
    before = loop.with_train_params("heads-64", batch_size=None)
    after = loop.with_train_params("heads-64", batch_size=3)
    assert after.train_params.batch_size == 3 != before.train_params.batch_size
    with pytest.raises(InputError, match="batch_size"):
        loop.with_train_params("heads-64", batch_size=0)
