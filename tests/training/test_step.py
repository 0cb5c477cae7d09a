"""One step: the published numbers, gradients where they belong, precisions, options for stability."""

import copy
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_bound import Ledger, SavedTensors
from fomm_lib.config import load_config
from fomm_lib.errors import InputError
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import RandomTransform
from fomm_lib.model import FirstOrderMotionModel, build_discriminator
from fomm_lib.training import loop
from fomm_lib.training import step as training_step
from tests.support.tiny_training import TINY, spectral, with_weights


def a_step(config=TINY, device="cpu", **options):
    """A training step of a seeded model, and a batch of four for it."""
    torch.manual_seed(0)
    config = load_config(config)
    model, discriminator = FirstOrderMotionModel(config).train(), build_discriminator(config).train()
    networks = [part.to(device) for part in (model, discriminator, loop.perceptual_network(""))]
    step = training_step.TrainingStep(*networks, config, **options)
    source, driving = torch.rand(2, 4, 3, 32, 32)
    return step, source, driving, RandomTransform.sample(4, generator=torch.Generator().manual_seed(0))


def test_bf16_stays_close_to_float32():
    totals = {}
    for precision in ("no", "bf16"):
        step, *batch = a_step(with_weights(generator_gan=1), precision=precision)
        totals[precision] = sum(step(*batch).values())
    assert totals["bf16"] == pytest.approx(totals["no"], rel=0.03)
    assert totals["bf16"] != totals["no"]


def test_the_bound_counts_products_and_bytes():
    """`benchmarks/training_bound.py`, where the numbers are known in closed form."""
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


def test_the_bound_counts_what_the_backward_pass_holds():
    x = torch.ones(100, requires_grad=True)
    with SavedTensors([x]) as kept:
        y = x.exp() * x.sin()
        assert kept.held == 800  # exp(x) by two, sin(x) by one; x is a weight
        y.sum().backward()
        assert kept.held == 0
        x.exp().square()
        assert kept.held == 0  # dropped with the graph
    assert kept.peak == 800


def test_the_bound_misses_no_convolution():
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


SETTINGS = {
    "plain": {},
    "adversarial": {"loss_weights": with_weights(generator_gan=1)["train_params"]["loss_weights"]},
    "clipped": {"clip_grad_norm": 1.0},
    "frozen": {"freeze_motion": True},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("sn", [False, True])
def test_a_step_waits_for_a_gpu_once(settings, sn, waits):
    config = {**TINY, "train_params": {**TINY["train_params"], **SETTINGS[settings]}}
    step, *batch = a_step(spectral(config) if sn else config)
    for _ in range(2):
        waits.clear()
        step(*batch)
        assert waits == ["tolist"]


@pytest.mark.needs_gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_waits_once_on_a_gpu(recwarn):
    step, source, driving, transform = a_step(with_weights(generator_gan=1), device="cuda")
    batch = (
        source.cuda(),
        driving.cuda(),
        RandomTransform(transform.theta.cuda(), transform.control_params.cuda()),
    )
    step(*batch)
    torch.cuda.set_sync_debug_mode("warn")
    recwarn.clear()
    step(*batch)
    torch.cuda.set_sync_debug_mode("default")
    assert len([one for one in recwarn if "synchronizing" in str(one.message)]) == 1


def test_frozen_motion_is_not_computed_for_nobody():
    """The detector does not look at a transformed image if it does not learn; its other numbers stay."""
    config = {**TINY, "train_params": train_params(freeze_motion=True)}
    step, source, driving, transform = a_step(config)
    seen, warped = [], []
    step.model.kp_detector.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    transform.warp_image = lambda *arguments, **options: warped.append(arguments)
    step(source, driving, transform)
    assert [torch.equal(*pair) for pair in zip(seen, (source, driving), strict=True)] == [True, True]
    assert warped == []


def test_numbers_that_are_not_finite_change_nothing():
    step, source, driving, transform = a_step(with_weights(generator_gan=1))
    before = copy.deepcopy(dict(step.model.named_parameters()))
    source[0, 0, 5, 5] = float("inf")
    with pytest.raises(training_step.NotFinite, match="are not finite") as error:
        step(source, driving, transform)
    assert "perceptual" in error.value.names
    assert all(torch.equal(p, before[name]) for name, p in step.model.named_parameters())
    states = [state for optimizer in step.optimizers.values() for state in optimizer.state.values()]
    assert all(not tensor.any() for state in states for tensor in state.values())


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


def test_r1_adds_the_slope_at_real_images():
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


# --- beyond the paper ---------------------------------------------------------------------------------------


def extended(**train_params):
    config = load_config(with_weights(pixel=10)).model_dump()
    config["train_params"] |= {"perceptual_crop": 8, "holes": 0.5, **train_params}
    config["model_params"]["generator_params"]["estimate_occlusion_map"] = True
    config["model_params"]["extension_params"] = {"skips": True, "inpainting_blocks": 1}
    return config


def test_a_pixel_loss_is_the_mean_difference():
    step, source, driving, transform = a_step(with_weights(pixel=10, perceptual=[0]))
    losses = step.backward(source, driving, transform)
    with torch.no_grad():
        again = step.model(source, driving).prediction  # in train mode: the same statistics
    assert losses["pixel"].item() == pytest.approx(10 * (again - driving).abs().mean().item(), rel=1e-4)
    assert "perceptual" not in losses
    assert all(p.grad is not None for p in step.model.generator.parameters())
    assert "pixel" not in a_step()[0].backward(source, driving, transform)


def test_a_pixel_loss_can_count_only_the_places_of_led_keypoints():
    led = [{"keypoint": 1, "landmarks": [37]}]
    config = copy.deepcopy(with_weights(pixel=0, pixel_led=10))
    config["train_params"]["led_keypoints"] = led
    step = a_step(config)[0]
    real = torch.zeros(1, 3, 65, 65)
    maps = step.weight_maps(Keypoints(torch.tensor([[[0.9, 0.9], [0.0, 0.0]]])), None, (65, 65))

    def loss(row, column):
        changed = real.clone()
        changed[0, :, row, column] = 1
        return step.pixel({"full": changed.requires_grad_()}, {"full": real}, maps)["pixel"].item()

    spread = 0.06 * 32  # pixels
    total = 2 * math.pi * spread**2  # the sum of a Gaussian's values
    assert loss(32, 32) == pytest.approx(10 / total, rel=1e-3)
    assert loss(32, 32 + 2) == pytest.approx(10 / total * math.exp(-0.5 * (2 / spread) ** 2), rel=1e-3)
    assert loss(60, 60) < 1e-6


@pytest.mark.parametrize("led", [[], [{"keypoint": 3, "landmarks": [37]}]])  # `TINY` has three keypoints
def test_led_places_need_led_keypoints(led):
    content = copy.deepcopy(with_weights(pixel_led=10))
    content["train_params"]["led_keypoints"] = led
    with pytest.raises(InputError, match="pixel_led: needs led_keypoints < num_kp"):
        load_config(content)


def test_a_pixel_loss_can_count_only_what_is_hidden():
    config = extended()
    config["train_params"]["loss_weights"] |= {"pixel": 0, "pixel_hidden": 10}
    step = a_step(config)[0]
    occlusion = torch.ones(1, 1, 8, 8)
    occlusion[..., 2:4, 2:4] = 0
    maps = step.weight_maps(None, occlusion, (8, 8))
    real = torch.zeros(1, 3, 8, 8)
    fake = (0.5 * (1 - occlusion) + 0.9 * occlusion).expand(1, 3, 8, 8).clone().requires_grad_()
    assert step.pixel({"full": fake}, {"full": real}, maps)["pixel"].item() == pytest.approx(5, rel=1e-5)
    assert fake.grad[0, :, 0, 0].eq(0).all() and fake.grad[0, :, 2, 2].gt(0).all()
    nothing_hidden = step.weight_maps(None, torch.ones(1, 1, 8, 8), (8, 8))
    assert step.pixel({"full": fake}, {"full": real}, nothing_hidden)["pixel"].item() == 0
    config["model_params"] |= {"extension_params": None}
    config["model_params"]["generator_params"]["estimate_occlusion_map"] = False
    config["train_params"]["holes"] = 0
    with pytest.raises(InputError, match="pixel_hidden: needs generator_params"):
        load_config(config)


def test_everything_beyond_the_paper_learns_in_one_step():
    step, *batch = a_step(extended())
    before = copy.deepcopy(step.model)
    losses = [step(*batch) for _ in range(3)]
    assert set(losses[0]) == {"perceptual", "pixel", "equivariance_value", "equivariance_jacobian"}
    stayed = [
        name
        for (name, one), other in zip(before.named_parameters(), step.model.parameters(), strict=True)
        if torch.equal(one, other)
    ]
    assert stayed == []


def test_the_perceptual_loss_sees_the_crop():
    """Without any scale but the crop, pixels outside have no gradient."""
    step, source, _, _ = a_step(extended())
    kp = step.model.eval().detect(source)
    kp.value[:] = torch.tensor([-1.0, 0.5])
    views = step.views(source.requires_grad_(), kp)
    assert list(views) == [*step.params.scales, "crop", "full"]
    assert views["crop"].shape == (4, 3, 8, 8) and views["full"] is source
    views["crop"].sum().backward()
    places = source.grad[0, 0].nonzero()
    assert places.min(0).values.tolist() == [20, 0] and places.max(0).values.tolist() == [27, 7]
    assert (source.grad[..., 20:28, :8] == 1).all()
    assert list(a_step()[0].views(source, kp)) == [*step.params.scales]


@pytest.mark.parametrize(
    ("centre", "side", "corner"), [((0, 0), 4, (2, 2)), ((5, -5), 4, (0, 4)), ((0, 0), 99, (0, 0))]
)
def test_a_square_around_a_point_stays_inside(centre, side, corner):
    image = torch.arange(64.0).view(1, 1, 8, 8)
    square = training_step.square_around(image, torch.tensor([centre], dtype=torch.float32), side)
    row, column = corner
    assert torch.equal(square, image[..., row : row + side, column : column + side])


def test_holes_are_rectangles_in_a_share_of_the_images():
    torch.manual_seed(3)
    images = torch.zeros(400, 3, 64, 128)
    holes = training_step.random_holes(images, 0.25)
    assert holes.shape == (400, 1, 64, 128) and set(holes.unique().tolist()) == {0.0, 1.0}
    some = holes.flatten(1).any(1)
    assert 70 < int(some.sum()) < 130
    for hole in holes[some][:20, 0]:
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole.bool(), rows[:, None] & columns)
        for inside, length in ((rows, 64), (columns, 128)):
            places = inside.nonzero()[:, 0]
            assert len(places) == places[-1] - places[0] + 1  # one piece
            assert length / 16 - 1 <= len(places) <= 3 / 8 * length + 1
    assert not training_step.random_holes(images, 0).any()
    torch.manual_seed(3)
    assert torch.equal(training_step.random_holes(images, 0.25), holes)


def test_holes_change_what_is_learned():
    totals = [a_step(extended(holes=share))[0](*a_step(extended())[1:])["pixel"] for share in (0, 0, 1)]
    assert totals[0] == totals[1] != totals[2]
