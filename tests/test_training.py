"""Training end to end, on pictures small enough for seconds."""

import copy
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_training import TINY, make_squares, read_rows, run, with_weights
from torch.utils.flop_counter import FlopCounterMode
from training_script import random_network

from benchmarks.training import PublishedStep
from benchmarks.training_floor import Kept, Ledger
from fomm_lib import training, training_blocks, training_log, training_step, validation
from fomm_lib.blocks import UpBlock
from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.config import load_config
from fomm_lib.files import InputError, data_path
from fomm_lib.generator import Generated
from fomm_lib.keypoints import Keypoints
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


def test_all_six_losses_with_an_adversarial_weight(data, tmp_path):
    run(data, tmp_path / "run", config=with_weights(generator_gan=1), steps=2)
    (row,) = read_rows(tmp_path / "run" / "losses.csv")
    assert all(np.isfinite(float(row[name])) for name in training_log.LOSSES)


@pytest.mark.quick
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


# --- the step -----------------------------------------------------------------------------------------------


def spectral(config):
    model_params = config["model_params"]
    return {
        **config,
        "model_params": {
            **model_params,
            "discriminator_params": {**model_params["discriminator_params"], "sn": True, "use_kp": True},
        },
    }


@pytest.mark.parametrize("sn", [False, True])
def test_a_step_is_the_published_one(sn):
    """Losses of two steps, and what they make of the weights, as in the published order of work."""
    config = with_weights(generator_gan=1, feature_matching=[10, 5], discriminator_gan=0.5)
    config = spectral(config) if sn else config
    step, source, driving, transform = a_step(config)
    published = PublishedStep(
        *copy.deepcopy((step.model, step.discriminator, step.network)), load_config(config)
    )
    fresh, *_ = a_step(config)
    for tolerance in (1e-5, 2e-3):
        ours, theirs = step(source, driving, transform), published(source, driving, transform)
        assert ours.keys() == theirs.keys() and len(ours) == 6
        for name, loss in theirs.items():
            assert ours[name] == pytest.approx(loss, rel=tolerance), name
    # Adam divides gradients by their size, so single weights may go astray by rounding; together they do not.
    for name in ("model", "discriminator"):
        networks = (getattr(one, name).state_dict() for one in (step, published, fresh))
        mine, other, before = (
            torch.cat([tensor.flatten() for entry, tensor in entries.items() if "conv.weight" in entry])
            for entries in networks
        )
        assert (mine - other).norm() < 0.1 * (other - before).norm(), name
    for mine, other in zip(step.discriminator.buffers(), published.discriminator.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)  # vectors of the spectral norm


def test_the_floor_counts_products_and_bytes():
    """`benchmarks/training_floor.py`, where the numbers are known in closed form."""
    x, weight = torch.ones(2, 3, 8, 8, requires_grad=True), torch.ones(5, 3, 3, 3, requires_grad=True)
    with Ledger() as ledger:
        total = torch.nn.functional.conv2d(x, weight).mul(2.0)
        total.backward(torch.ones_like(total))
    done = {operation.name: operation for operation in ledger.operations}
    taps = 2 * 2 * 5 * 6 * 6 * 3 * 9  # for each of 2x5x6x6 results 27 products and sums
    assert done["convolution"].flops == taps
    assert done["convolution_backward"].flops == 2 * taps
    inputs, result = x.numel() + weight.numel(), total.numel()
    assert done["convolution"].moved == 4 * (inputs + result)
    assert done["mul"].moved == 4 * 2 * result

    table = torch.zeros(100, 100)
    with Ledger() as ledger:
        table.view(10, 1000).t()[3:5]
        torch.empty(100, 100)
        row = torch.zeros(1, 100).expand(100, 100)
        table.add_(row)
    moved = [(operation.name, operation.moved) for operation in ledger.operations if operation.moved]
    assert moved == [("zeros", 400), ("add_", 4 * (2 * 10_000 + 100))]


def test_the_floor_counts_what_the_way_back_holds():
    x = torch.ones(100, requires_grad=True)
    with Kept([x]) as kept:
        y = x.exp() * x.sin()
        assert kept.held == 800  # exp(x) by two, sin(x) by one; x is a weight
        y.sum().backward()
        assert kept.held == 0
        x.exp().square()
        assert kept.held == 0  # dropped with the graph
    assert kept.peak == 800


def test_the_floor_misses_no_convolution():
    step, *batch = a_step(with_weights(generator_gan=1, feature_matching=[10, 5], discriminator_gan=1))
    step(*batch)
    with FlopCounterMode(display=False) as expected:
        step(*batch)
    with Ledger() as ledger:
        step(*batch)
    assert sum(operation.flops for operation in ledger.operations) == expected.get_total_flops() > 1e6


def test_gradients_go_where_they_belong():
    step, source, driving, transform = a_step(with_weights(generator_gan=1, discriminator_gan=0))
    step.backward(source, driving, transform)
    # The discriminator's own loss has weight 0 here: all it could have would be the generator's losses.
    assert all(not p.grad.any() for p in step.discriminator.parameters())
    assert all(p.grad is not None for p in step.model.parameters())
    step, *batch = a_step(with_weights(generator_gan=1, perceptual=[0], feature_matching=[0, 0]))
    step.params.loss_weights.generator_gan = 1e-12
    step.backward(*batch)
    assert any(p.grad.any() for p in step.discriminator.parameters())
    assert max(p.grad.abs().max() for p in step.model.generator.final.parameters()) < 1e-9


def test_parts_of_a_batch_add_up():
    config = with_weights(generator_gan=1)
    step, source, driving, transform = a_step(config, accumulate=2)
    halves = [a_step(config)[0] for _ in range(2)]
    thetas, controls = transform.theta.chunk(2), transform.control_params.chunk(2)
    found = [
        half(s, d, RandomTransform(theta, control))
        for half, s, d, theta, control in zip(
            halves, source.chunk(2), driving.chunk(2), thetas, controls, strict=True
        )
    ]
    together = step(source, driving, transform)
    for name, loss in together.items():
        assert loss == pytest.approx((found[0][name] + found[1][name]) / 2, rel=1e-5), name
    for name in ("generator", "discriminator"):
        parts = [list(half.trained[name].parameters()) for half in halves]
        for whole, a, b in zip(step.trained[name].parameters(), *parts, strict=True):
            torch.testing.assert_close(whole.grad, (a.grad + b.grad) / 2, rtol=1e-3, atol=1e-4)


def test_numbers_that_are_not_finite_change_nothing():
    step, source, driving, transform = a_step(with_weights(generator_gan=1))
    before = copy.deepcopy(dict(step.model.named_parameters()))
    source[0, 0, 5, 5] = float("inf")
    with pytest.raises(training_step.NotFinite, match="are not finite") as error:
        step(source, driving, transform)
    assert "perceptual" in error.value.names
    assert all(torch.equal(p, before[name]) for name, p in step.model.named_parameters())


def test_a_gradient_that_is_not_finite_changes_nothing_either():
    step, *batch = a_step()
    step.model.generator.final.bias.register_hook(lambda gradient: gradient / 0)
    before = copy.deepcopy(dict(step.model.named_parameters()))
    with pytest.raises(training_step.NotFinite, match="the gradient of generator is not finite"):
        step(*batch)
    assert all(torch.equal(p, before[name]) for name, p in step.model.named_parameters())


@pytest.mark.parametrize(
    ("precision", "message"),
    [("fp16", "fp16 needs a GPU"), ("fp8", "precision = 'fp8': choose one of no, bf16, fp16")],
)
def test_precisions_that_cannot_be(precision, message):
    with pytest.raises(InputError, match=message):
        a_step(precision=precision)


# --- switches for stability ---------------------------------------------------------------------------------


def test_a_compiler_that_does_not_work_is_one_line(monkeypatch):
    def broken(function):
        def call(*arguments):
            raise RuntimeError("No working C++ compiler\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(
        InputError, match=r"^compile: .*\(No working C\+\+ compiler\); .* leave compile away$"
    ):
        a_step(compile=True)


def train_params(**changes):
    return {**with_weights(generator_gan=1)["train_params"], **changes}


def test_clipping_shortens_what_is_too_long():
    step, *batch = a_step({**TINY, "train_params": train_params(clip_grad_norm=0.1)})
    step(*batch)
    for name, network in step.trained.items():
        length = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
        assert float(length) == pytest.approx(0.1, rel=1e-3)
        assert step.gradient_norms[name] > 0.2  # the length before


def test_the_moving_average_follows():
    step, *batch = a_step({**TINY, "train_params": train_params(ema_decay=0.5)})
    weights = []
    for _ in range(3):
        step(*batch)
        weights.append(step.model.generator.final.weight.detach().clone())
    # The first is taken as it is; then the past counts 2/11, and 3/12: less than 0.5, as it is short.
    average = weights[0]
    for count, weight in enumerate(weights[1:], start=1):
        decay = (1 + count) / (10 + count)
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(step.result.generator.final.weight, average)
    assert step.result is not step.model


def test_r1_adds_the_slope_at_real_pictures():
    config = {**TINY, "train_params": train_params(r1=2.0)}
    step, source, driving, transform = a_step(config)
    losses = step(source, driving, transform)
    step, source, driving, transform = a_step(config)
    real = driving.clone().requires_grad_()
    (slope,) = torch.autograd.grad(step.discriminator({1: real})[1][1].sum(), real)
    assert losses["r1"] == pytest.approx(float(slope.square().sum((1, 2, 3)).mean()), rel=1e-4)
    without, *batch = a_step({**TINY, "train_params": train_params()})
    without(*batch)
    assert "r1" not in without(*batch)


def test_learning_rates_ramp_up_and_fall_at_milestones():
    params = load_config(
        {**TINY, "train_params": {**TINY["train_params"], "epoch_milestones": [2, 4]}}
    ).train_params
    assert [round(training.learning_rate_factor(9, e, params), 6) for e in range(5)] == [1, 1, 0.1, 0.1, 0.01]
    params.warmup_steps = 4
    factors = [training.learning_rate_factor(step, 0, params) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1, 1, 1]


# --- what is seen meanwhile ---------------------------------------------------------------------------------


def test_the_log_gives_means_and_drops_rows_after_a_crash(tmp_path):
    path = tmp_path / "losses.csv"
    with training_log.LossLog(path) as log:
        for step in range(1, 5):
            log.add({"perceptual": float(step)}, samples=3)
            if step % 2 == 0:
                means = log.write(step, epoch=0)
    assert means["perceptual"] == 3.5 and means["samples_per_second"] > 0
    with open(path, "a") as file:
        file.write("6,0,1.")  # a row that a crash cut short
    with training_log.LossLog(path, keep=2) as log:
        log.add({"perceptual": 8.0})
        log.write(3, epoch=0)
    rows = read_rows(path)
    assert [(row["step"], row["perceptual"]) for row in rows] == [("2", "1.5"), ("3", "8")]
    assert list(rows[0])[:4] == ["step", "epoch", "seconds", "perceptual"]
    assert list(rows[0])[-1] == "samples_per_second"


def test_tensorboard_gets_curves_and_pictures(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(data, tmp_path / "run", steps=2, log_every=1, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = events.Tags()
    assert {"loss/perceptual", "gradient norm/generator", "run/learning_rate"} <= set(tags["scalars"])
    assert {"run/samples_per_second", "validation/l1", "validation/psnr"} <= set(tags["scalars"])
    assert tags["images"] == ["samples"]
    rows = read_rows(tmp_path / "run" / "losses.csv")
    assert [e.step for e in events.Scalars("loss/perceptual")] == [1, 2]
    assert events.Scalars("loss/perceptual")[1].value == pytest.approx(float(rows[1]["perceptual"]), rel=1e-5)


class Repeats(torch.nn.Module):
    """A model that gives the source back, or the driving frame, and says that all moves so."""

    size = (128, 128)

    def __init__(self, of="source", deformation=None, occlusion=None):
        super().__init__()
        self.of, self.anything = of, torch.nn.Parameter(torch.zeros(1))
        self.generator = SimpleNamespace(dense_motion_network=deformation is not None)
        self.motion = SimpleNamespace(deformation=deformation, occlusion=occlusion)

    def forward(self, source, driving):
        return Generated(source if self.of == "source" else driving)

    def detect(self, picture):
        return Keypoints(torch.zeros(1, 1, 2))

    def dense_motion(self, source, kp_source, kp_driving):
        return self.motion


def test_validation_of_models_whose_errors_are_known(data):
    held_out = validation.Validation(data, (32, 32), pairs=6)
    assert held_out.source.shape == (6, 3, 32, 32) and held_out.truth == []
    assert held_out(Repeats("driving")) == {"l1": 0.0, "psnr": pytest.approx(100)}
    numbers = held_out(Repeats("source"))
    difference = held_out.source - held_out.driving
    assert numbers["l1"] == pytest.approx(float(difference.abs().mean()), rel=1e-5)
    assert not validation.Validation(data / "train", (32, 32))


def test_validation_knows_the_truth_about_synthetic_heads():
    heads = data_path("heads")
    held_out = validation.Validation(heads, (128, 128), pairs=1)
    assert len(held_out.truth) == 6
    with np.load(sorted((heads / "truth").glob("*.npz"))[0]) as truth:
        flow, visible = torch.from_numpy(truth["flow"].astype(np.float32)), torch.from_numpy(truth["visible"])
    held_out.truth = held_out.truth[:1]
    numbers = held_out(Repeats(deformation=flow[None], occlusion=visible[None, None].float()))
    assert numbers["epe_person"] < 1e-3 and numbers["occlusion_ap"] == pytest.approx(1)
    shifted = flow + torch.tensor([3 / 128, 4 / 128])  # by 3 and 4 pixels of 256
    shifted = held_out(Repeats(deformation=shifted[None], occlusion=1 - visible[None, None].float()))
    assert shifted["epe_person"] == pytest.approx(5, rel=1e-3) and shifted["occlusion_ap"] < 0.5
    assert shifted["expression"] == pytest.approx(numbers["expression"], rel=1e-3)  # the head alone is wrong


def test_the_best_weights_on_held_out_clips_are_kept(data, tmp_path):
    out = tmp_path / "run"
    run(data, out, steps=6, checkpoint_every=1, keep=1)
    rows = read_rows(out / "validation.csv")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    best = min(rows, key=lambda row: float(row["l1"]))["step"]
    assert read_checkpoint(out / "best.safetensors").notes["steps"] == best
    kept = {int(path.stem.removeprefix("step-")) for path in (out / "states").iterdir()}
    assert kept == {int(best), 6}


# --- blocks of training -------------------------------------------------------------------------------------


def test_doubling_at_once_computes_the_same():
    torch.manual_seed(0)
    block = UpBlock(6, 4)
    other = training_blocks.double_at_once(copy.deepcopy(block))
    assert type(other) is training_blocks.DoublingBlock
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(other(x), block(x), rtol=1e-4, atol=1e-5)
    ahead = torch.randn(2, 4, 10, 14)
    for one in (block, other):
        (one(x) * ahead).sum().backward()
    for (name, ours), theirs in zip(other.named_parameters(), block.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=name)
    assert type(training_blocks.double_at_once(UpBlock(300, 2))) is UpBlock  # where it would not pay


@pytest.mark.parametrize(
    ("size", "padding", "sides"),
    [
        (3, 1, (32, 32)),
        (3, 1, (30, 37)),
        (3, 0, (34, 31)),
        (3, (2, 1), (33, 33)),
        (4, 0, (30, 29)),
        (4, 1, (28, 31)),
    ],
)
def test_winograd_computes_the_same(size, padding, sides):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(130, 5, size, padding=padding)
    frozen = copy.deepcopy(plain).requires_grad_(False)
    for other in (copy.deepcopy(plain), frozen):
        training_blocks.by_winograd(other)
        assert type(other) is training_blocks.WinogradConv2d
        assert other.state_dict().keys() == plain.state_dict().keys()
        pictures = [torch.randn(2, 130, *sides).requires_grad_()]
        pictures.append(pictures[0].detach().clone().requires_grad_())
        plain.zero_grad()
        results = [convolution(x) for convolution, x in zip((plain, other), pictures, strict=True)]
        assert not torch.equal(*results)  # not in the same way
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
        ahead = torch.randn_like(results[0])
        for y in results:
            (y * ahead).sum().backward()
        torch.testing.assert_close(pictures[1].grad, pictures[0].grad, rtol=1e-4, atol=1e-5)
        if other is not frozen:
            torch.testing.assert_close(other.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(other.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-3)


def test_winograd_gradients_of_gradients(monkeypatch):
    monkeypatch.setattr(training_blocks, "WINOGRAD_CHANNELS", {3: 1, 4: 1})
    monkeypatch.setattr(training_blocks, "WINOGRAD_TILES", {True: 1, False: 1})
    torch.manual_seed(0)
    for size in (3, 4):
        convolution = training_blocks.by_winograd(torch.nn.Conv2d(1, 2, size, padding=1).double())
        x = torch.randn(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)

        def of_all(x, weight, bias, convolution=convolution):
            entries = {"weight": weight, "bias": bias}
            return torch.func.functional_call(convolution, entries, (x,))

        inputs = (x, convolution.weight, convolution.bias)
        assert torch.autograd.gradcheck(of_all, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(of_all, inputs, fast_mode=True)


def test_winograd_stays_away_where_it_does_not_pay():
    for other in (
        torch.nn.Conv2d(64, 4, 3),  # few channels
        torch.nn.Conv2d(256, 4, 1),
        torch.nn.Conv2d(256, 4, 7),
        torch.nn.Conv2d(256, 4, 3, stride=2),
        torch.nn.Conv2d(256, 4, 3, dilation=2),
        torch.nn.Conv2d(256, 4, 3, groups=2),
        torch.nn.Conv2d(256, 4, 3, padding="same"),
        torch.nn.Conv2d(256, 4, 3, padding=1, padding_mode="reflect"),
    ):
        assert type(training_blocks.by_winograd(other)) is torch.nn.Conv2d
    convolution, x = torch.nn.Conv2d(128, 4, 3, padding=1), torch.randn(1, 128, 32, 32)
    other = training_blocks.by_winograd(copy.deepcopy(convolution))
    assert not torch.equal(other(x), convolution(x))
    few = x[:, :, :16, :16]  # 16 tiles
    assert torch.equal(other(few), convolution(few))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(other(x), convolution(x))


def test_kept_memory_is_not_asked_for_again():
    program = """
import resource, torch
from fomm_lib.training_blocks import keep_memory
if not keep_memory():
    print("this system has no mallopt")
for _ in range(20):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    if "mallopt" in said:
        pytest.skip(said.splitlines()[0])
    assert int(said) < 50_000  # pages, where ten times 64 MiB have 163840


def test_synchronized_batch_norm_of_one_process_is_batch_norm(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        plain, x = torch.nn.BatchNorm2d(3), torch.randn(4, 3, 5, 6) * 2 + 1
        other = training_blocks.synchronize_batch_norm(torch.nn.Sequential(copy.deepcopy(plain)))[0]
        ahead, gradients = torch.randn(4, 3, 5, 6), []
        for norm in (plain, other):
            picture = x.clone().requires_grad_()
            (norm(picture) * ahead).sum().backward()
            gradients.append(picture.grad)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
        for entry, tensor in plain.state_dict().items():
            torch.testing.assert_close(other.state_dict()[entry], tensor, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other.eval()(x), plain.eval()(x))
    finally:
        torch.distributed.destroy_process_group()


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
