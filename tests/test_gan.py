import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch.nn import functional as F

from fomm_lib import gan
from fomm_lib.errors import InputError

LOG2 = math.log(2)


def grid_normal(x, mean, std):
    """A Gaussian as weights on an evenly spaced grid."""
    weight = torch.exp(-0.5 * ((x - mean) / std) ** 2)
    return weight / weight.sum(-1, keepdim=True)


def random_weights(generator, *shape):
    return torch.rand(*shape, generator=generator, dtype=torch.float64).softmax(-1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# Binary cross-entropy and the value function


def test_bce_closed_forms():
    half = torch.full((7,), 0.5, dtype=torch.float64)
    assert gan.binary_cross_entropy(half, 1.0).item() == pytest.approx(LOG2)
    assert gan.binary_cross_entropy(half, 0.0).item() == pytest.approx(LOG2)
    # A sure and right guess costs nothing, a sure and wrong one everything.
    assert gan.binary_cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])) == 0
    assert gan.binary_cross_entropy(torch.tensor([0.0]), 1.0) == math.inf


@pytest.mark.parametrize("shape", [(5,), (2, 1, 4, 3)])
def test_bce_agrees_with_torch(generator, shape):
    probability = torch.rand(shape, generator=generator, dtype=torch.float64)
    target = torch.rand(shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        gan.binary_cross_entropy(probability, target), F.binary_cross_entropy(probability, target)
    )
    logits = probability.logit()
    torch.testing.assert_close(
        gan.binary_cross_entropy(logits, target, from_logits=True),
        F.binary_cross_entropy_with_logits(logits, target),
    )


def test_bce_from_logits_is_the_same_number_and_stays_finite(generator):
    logits = torch.randn(50, generator=generator, dtype=torch.float64) * 5
    torch.testing.assert_close(
        gan.binary_cross_entropy(logits, 1.0, from_logits=True),
        gan.binary_cross_entropy(logits.sigmoid(), 1.0),
    )
    far = torch.tensor([-300.0])  # sigmoid of it is 0 in float32
    assert gan.binary_cross_entropy(far.sigmoid(), 1.0) == math.inf
    assert gan.binary_cross_entropy(far, 1.0, from_logits=True).item() == pytest.approx(300)


def test_bce_is_least_at_the_true_share(generator):
    target = (torch.rand(1000, generator=generator) < 0.3).double()
    share = target.mean()
    at_share = gan.binary_cross_entropy(share.expand(1000), target)
    for other in (share - 0.02, share + 0.02):
        assert gan.binary_cross_entropy(other.expand(1000), target) > at_share
    assert at_share.item() == pytest.approx(scipy.stats.bernoulli(share.item()).entropy())


def test_value_function_closed_forms(generator):
    half = torch.full((3,), 0.5)
    assert gan.value_function(half, half).item() == pytest.approx(-math.log(4))
    d_real, d_fake = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (6, 9))
    expected = d_real.log().mean() + (1 - d_fake).log().mean()
    torch.testing.assert_close(gan.value_function(d_real, d_fake), expected)
    assert gan.value_function(d_real, d_fake) <= 0


def test_best_value_is_the_js_divergence(generator):
    """max_D V = 2 JSD - log 4, and D* is what attains it (Goodfellow et al. 2014, theorem 1)."""
    p, q = random_weights(generator, 20), random_weights(generator, 20)

    def value(d):
        return (p * d.log() + q * (1 - d).log()).sum()

    best = gan.optimal_discriminator(p, q)
    torch.testing.assert_close(value(best), 2 * gan.js_divergence(p, q) - math.log(4))
    for _ in range(20):
        other = (best + 0.05 * torch.randn(20, generator=generator, dtype=torch.float64)).clamp(0.01, 0.99)
        assert value(other) < value(best)


def test_optimal_discriminator_closed_forms():
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    p, q = grid_normal(x, -1, 1), grid_normal(x, 1, 1)
    # Two Gaussians of one width: the log ratio is linear, so D* is a logistic curve.
    torch.testing.assert_close(gan.optimal_discriminator(p, q), torch.sigmoid(-2 * x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gan.optimal_discriminator(p, p), torch.full_like(p, 0.5))
    torch.testing.assert_close(gan.optimal_discriminator(p, q) + gan.optimal_discriminator(q, p), p * 0 + 1)
    torch.testing.assert_close(gan.optimal_discriminator(3 * p, 3 * q), gan.optimal_discriminator(p, q))


def test_optimal_discriminator_where_nothing_is_ever_seen():
    p = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    best = gan.optimal_discriminator(p, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert best.tolist() == [0.5, 0.0]
    best.sum().backward()
    assert p.grad.tolist() == [0.0, 1.0]


# KL and JSD


def test_kl_of_two_gaussians():
    x = torch.linspace(-15, 15, 6001, dtype=torch.float64)
    for mean_p, std_p, mean_q, std_q in [(0, 1, 0, 1), (0, 1, 2, 1), (-1, 0.5, 1, 2), (1, 2, 0, 1.5)]:
        closed = math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5
        measured = gan.kl_divergence(grid_normal(x, mean_p, std_p), grid_normal(x, mean_q, std_q))
        assert measured.item() == pytest.approx(closed, abs=1e-6)


def test_divergences_agree_with_scipy(generator):
    p, q = random_weights(generator, 4, 30), random_weights(generator, 4, 30)
    np.testing.assert_allclose(gan.kl_divergence(p, q), scipy.stats.entropy(p, q, axis=-1), rtol=1e-12)
    middle = (p + q) / 2
    to_middle = [scipy.special.rel_entr(weights.numpy(), middle.numpy()).sum(-1) for weights in (p, q)]
    np.testing.assert_allclose(gan.js_divergence(p, q), sum(to_middle) / 2, rtol=1e-12)


def test_divergences_bounds_and_symmetry(generator):
    p, q = random_weights(generator, 100, 8), random_weights(generator, 100, 8)
    kl, jsd = gan.kl_divergence(p, q), gan.js_divergence(p, q)
    assert (kl > 0).all() and (jsd > 0).all() and (jsd < LOG2).all()
    torch.testing.assert_close(jsd, gan.js_divergence(q, p))
    assert not torch.allclose(kl, gan.kl_divergence(q, p))
    torch.testing.assert_close(gan.kl_divergence(p, p), torch.zeros(100, dtype=torch.float64))
    # Half of the total variation squared is a lower bound (Pinsker).
    assert (kl >= (p - q).abs().sum(-1) ** 2 / 2).all()


def test_divergences_without_overlap():
    p, q = torch.tensor([0.5, 0.5, 0, 0]), torch.tensor([0, 0, 0.25, 0.75])
    assert gan.kl_divergence(p, q) == math.inf
    assert gan.js_divergence(p, q).item() == pytest.approx(LOG2)
    # An empty bin costs nothing, and breaks no gradient.
    p = torch.tensor([1.0, 0.0], requires_grad=True)
    assert gan.kl_divergence(p, torch.tensor([1.0, 0.0])) == 0
    gan.kl_divergence(p, torch.tensor([1.0, 0.0])).backward()
    assert p.grad.tolist() == [1.0, 0.0]


# Wasserstein


def test_wasserstein_closed_forms(generator):
    x = torch.randn(50, generator=generator, dtype=torch.float64)
    assert gan.wasserstein_1d(x, x).item() == pytest.approx(0, abs=1e-12)
    # A shift costs the shift; stretching |x| by 2 about 0 costs the mean |x|.
    assert gan.wasserstein_1d(x, x + 7).item() == pytest.approx(7)
    assert gan.wasserstein_1d(x, 2 * x).item() == pytest.approx(x.abs().mean().item())
    # Two points: the way between them.
    assert gan.wasserstein_1d(torch.tensor([0.0]), torch.tensor([-3.0])) == 3


@pytest.mark.parametrize("n, m", [(1, 1), (10, 10), (7, 13), (200, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_wasserstein_agrees_with_scipy(generator, n, m, weighted):
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    y = torch.rand(m, generator=generator, dtype=torch.float64) * 3
    weights = (random_weights(generator, n), random_weights(generator, m)) if weighted else (None, None)
    expected = scipy.stats.wasserstein_distance(x, y, *weights)
    assert gan.wasserstein_1d(x, y, *weights).item() == pytest.approx(expected, rel=1e-9)


def test_wasserstein_invariances(generator):
    x = torch.randn(40, generator=generator, dtype=torch.float64)
    y = torch.randn(30, generator=generator, dtype=torch.float64) + 1
    z = torch.randn(20, generator=generator, dtype=torch.float64) * 2
    distance = gan.wasserstein_1d(x, y)
    torch.testing.assert_close(gan.wasserstein_1d(y, x), distance)
    torch.testing.assert_close(gan.wasserstein_1d(x.flip(0), y), distance)
    torch.testing.assert_close(gan.wasserstein_1d(x + 5, y + 5), distance)
    torch.testing.assert_close(gan.wasserstein_1d(-3 * x, -3 * y), 3 * distance)
    assert distance <= gan.wasserstein_1d(x, z) + gan.wasserstein_1d(z, y)


def test_far_apart_jsd_is_flat_and_wasserstein_is_not():
    """The reason for Wasserstein GANs: without overlap only one of the two has a slope to follow."""
    x = torch.linspace(-1, 9, 2001, dtype=torch.float64)
    shift = torch.tensor(6.0, dtype=torch.float64, requires_grad=True)
    p, q = grid_normal(x, 0, 0.1), grid_normal(x, shift, 0.1)
    (jsd_slope,) = torch.autograd.grad(gan.js_divergence(p, q), shift, retain_graph=True)
    (w_slope,) = torch.autograd.grad(gan.wasserstein_1d(x, x, p, q), shift)
    assert abs(jsd_slope) < 1e-6
    assert w_slope.item() == pytest.approx(1, abs=1e-6)


# Penalties


def test_gradient_penalty_of_a_linear_critic(generator):
    slope = torch.tensor([3.0, 4.0], dtype=torch.float64)  # length 5 everywhere
    real, fake = torch.randn(2, 8, 2, generator=generator, dtype=torch.float64)

    def critic(x):
        return x @ slope

    assert gan.gradient_penalty(critic, real, fake).item() == pytest.approx(16)
    assert gan.gradient_penalty(critic, real, fake, target=0.0).item() == pytest.approx(25)
    assert gan.gradient_penalty(critic, real, fake, target=5.0).item() == pytest.approx(0)
    assert gan.r1_penalty(critic, real).item() == pytest.approx(25)


def test_penalties_look_where_they_say(generator):
    """With D(x) = x^2 / 2 the slope at x is x itself: it tells where the penalty looked."""
    real, fake = torch.full((500, 1), 2.0), torch.full((500, 1), 6.0)

    def slope_is_x(x):
        return (x**2 / 2).sum(1)

    assert gan.r1_penalty(slope_is_x, real).item() == pytest.approx(4)
    seen = []

    def watch(x):
        seen.append(x.detach())
        return slope_is_x(x)

    penalty = gan.gradient_penalty(watch, real, fake, target=0.0, generator=generator)
    assert seen[0].min() >= 2 and seen[0].max() <= 6 and seen[0].std() > 1  # uniform between: std 1.15
    torch.testing.assert_close(penalty, seen[0].square().mean())
    # All features of a sample move together: one e a sample.
    gan.gradient_penalty(watch, torch.zeros(9, 3, 2, 2), torch.ones(9, 3, 2, 2), generator=generator)
    mixed = seen[1].flatten(1)
    assert (mixed == mixed[:, :1]).all() and mixed.std() > 0


def test_penalty_of_a_patch_discriminator_on_images(generator):
    layer = torch.nn.Conv2d(3, 1, 2, stride=2, bias=False).double()
    real, fake = torch.rand(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64)
    # 16 patches that do not overlap: the squared slopes of the summed map add up.
    expected = 16 * layer.weight.detach().square().sum()
    torch.testing.assert_close(gan.r1_penalty(layer, real).detach(), expected)
    torch.testing.assert_close(gan.gradient_penalty(layer, real, fake).detach(), (expected.sqrt() - 1) ** 2)


def test_penalties_reach_the_parameters_and_nothing_else(generator):
    weight = torch.randn(2, 5, generator=generator, dtype=torch.float64).requires_grad_()
    last = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()
    real = torch.randn(6, 2, generator=generator, dtype=torch.float64).requires_grad_()
    fake = torch.randn(6, 2, generator=generator, dtype=torch.float64).requires_grad_()

    def penalty(weight, last):
        fixed = torch.Generator().manual_seed(1)

        def critic(x):
            return torch.tanh(x @ weight) @ last

        return gan.gradient_penalty(critic, real, fake, generator=fixed) + gan.r1_penalty(critic, real)

    assert torch.autograd.gradcheck(penalty, (weight, last))
    penalty(weight, last).backward()
    assert weight.grad is not None and real.grad is None and fake.grad is None


def test_gradient_penalty_of_a_flat_critic_has_a_gradient():
    weight = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    penalty = gan.gradient_penalty(
        lambda x: x @ weight, torch.zeros(3, 2).double(), torch.ones(3, 2).double()
    )
    penalty.backward()
    assert penalty.item() == 1
    assert weight.grad.isfinite().all()


# Spectral norm


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 1), (8, 3, 3, 3)])
def test_power_iteration_agrees_with_the_svd(generator, shape):
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    sigma, u, v = gan.power_iteration(weight, steps=1000, generator=generator)
    left, singular, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    torch.testing.assert_close(sigma, singular[0])
    # Directions are unique up to a common sign.
    sign = torch.sign(u @ left[:, 0])
    torch.testing.assert_close(sign * u, left[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(sign * v, right[0], atol=1e-6, rtol=0)


def test_power_iteration_never_says_too_much_and_grows(generator):
    weight = torch.randn(20, 30, generator=generator, dtype=torch.float64)
    true = torch.linalg.matrix_norm(weight, 2)
    u, last = None, 0
    for _ in range(30):
        sigma, u, _ = gan.power_iteration(weight, u=u, generator=generator)
        assert last < sigma <= true + 1e-12
        last = sigma
    # One step after another with u remembered is the same as all at once.
    again = gan.power_iteration(weight, steps=30, generator=torch.Generator().manual_seed(0))
    start = torch.randn(20, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    stepwise = gan.power_iteration(weight, steps=1, u=gan.power_iteration(weight, steps=4, u=start).u)
    torch.testing.assert_close(stepwise.sigma, gan.power_iteration(weight, steps=5, u=start).sigma)
    assert again.sigma.item() == pytest.approx(true.item(), rel=0.02)


def test_power_iteration_converges_at_its_rate():
    """With singular values 1 and r, the error falls by r^2 in each step."""
    ratio = 0.8
    weight = torch.diag(torch.tensor([1.0, ratio], dtype=torch.float64))
    start = torch.ones(2, dtype=torch.float64)
    error = [1 - gan.power_iteration(weight, steps=n, u=start).sigma for n in (10, 11)]
    # sigma is quadratic in the angle, the angle shrinks by r^2: the error by r^4.
    assert (error[1] / error[0]).item() == pytest.approx(ratio**4, rel=0.02)


def test_power_iteration_gradient(generator):
    weight = torch.randn(4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    sigma, u, v = gan.power_iteration(weight, steps=500, generator=generator)
    sigma.backward()
    torch.testing.assert_close(weight.grad, torch.outer(u, v))
    assert not u.requires_grad and not v.requires_grad
    copy = weight.detach().clone().requires_grad_()
    torch.linalg.matrix_norm(copy, 2).backward()
    torch.testing.assert_close(weight.grad, copy.grad, atol=1e-6, rtol=0)


def test_power_iteration_agrees_with_torch_spectral_norm(generator):
    layer = torch.nn.Linear(12, 9, bias=False).double()
    plain = layer.weight.detach().clone()
    torch.nn.utils.parametrizations.spectral_norm(layer)
    for _ in range(300):
        layer(torch.zeros(1, 12, dtype=torch.float64))
    sigma = gan.power_iteration(plain, steps=1000, generator=generator).sigma
    torch.testing.assert_close(layer.weight.detach(), plain / sigma, atol=1e-6, rtol=0)


def test_power_iteration_of_zero_is_zero():
    assert gan.power_iteration(torch.zeros(3, 2), steps=5).sigma == 0


# Least squares


def test_least_squares_closed_forms(generator):
    one, zero = torch.ones(2, 1, 26, 26), torch.zeros(2, 1, 26, 26)
    assert gan.lsgan_generator_loss(one) == 0
    assert gan.lsgan_generator_loss(zero) == 1
    assert gan.lsgan_discriminator_loss(one, zero) == 0
    assert gan.lsgan_discriminator_loss(zero, one) == 2
    assert gan.lsgan_discriminator_loss(one / 2, one / 2) == 0.5
    real, fake = torch.randn(2, 3, 5, generator=generator)
    expected = F.mse_loss(real, torch.ones(3, 5)) + F.mse_loss(fake, torch.zeros(3, 5))
    torch.testing.assert_close(gan.lsgan_discriminator_loss(real, fake), expected)
    torch.testing.assert_close(gan.lsgan_generator_loss(fake), F.mse_loss(fake, torch.ones(3, 5)))


def test_least_squares_has_the_same_best_discriminator(generator):
    p, q = random_weights(generator, 30), random_weights(generator, 30)
    d = torch.full((30,), 0.5, dtype=torch.float64, requires_grad=True)
    loss = (p * (1 - d) ** 2 + q * d**2).sum()
    best = gan.optimal_discriminator(p, q)
    (slope,) = torch.autograd.grad(loss, d)
    # One Newton step reaches the minimum of a quadratic.
    torch.testing.assert_close(d.detach() - slope / (2 * (p + q)), best)


def test_losses_gradcheck(generator):
    x = torch.rand(2, 6, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    real, fake = x[0].clone().requires_grad_(), x[1].clone().requires_grad_()
    for function in (
        gan.value_function,
        gan.lsgan_discriminator_loss,
        gan.optimal_discriminator,
        gan.binary_cross_entropy,
        gan.wasserstein_1d,
        lambda a, b: gan.lsgan_generator_loss(b) * a.sum(),
        lambda a, b: gan.binary_cross_entropy(a, b, from_logits=True),
        lambda a, b: gan.kl_divergence(a.softmax(0), b.softmax(0)),
        lambda a, b: gan.js_divergence(a.softmax(0), b.softmax(0)),
        lambda a, b: gan.wasserstein_1d(x[0], x[1], a.softmax(0), b.softmax(0)),
    ):
        assert torch.autograd.gradcheck(function, (real, fake))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    p = torch.tensor([0.25, 0.75], dtype=dtype)
    for result in (
        gan.binary_cross_entropy(p, 1.0),
        gan.value_function(p, p),
        gan.optimal_discriminator(p, p),
        gan.kl_divergence(p, p),
        gan.js_divergence(p, p),
        gan.wasserstein_1d(p, p),
        gan.lsgan_generator_loss(p),
        gan.lsgan_discriminator_loss(p, p),
        gan.power_iteration(p[None]).sigma,
        gan.gradient_penalty(lambda x: x.sum(1), p[None], p[None]),
        gan.r1_penalty(lambda x: x.sum(1), p[None]),
    ):
        assert result.dtype == dtype


# Every error

P = torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: gan.binary_cross_entropy(P, torch.ones(3)), r"prediction has shape \(2,\), target \(3,\)"),
        (lambda: gan.binary_cross_entropy(torch.empty(0), 1.0), r"prediction is empty, shape \(0,\)"),
        (
            lambda: gan.binary_cross_entropy(torch.tensor([1.2]), 1.0),
            r"outside \[0, 1\]; give probabilities; for logits",
        ),
        (lambda: gan.binary_cross_entropy(torch.tensor([math.nan]), 1.0), r"prediction has values outside"),
        (lambda: gan.binary_cross_entropy(P, 2.0), r"target has values outside \[0, 1\]"),
        (lambda: gan.value_function(P, torch.tensor([-0.1])), r"prediction has values outside \[0, 1\]"),
        (lambda: gan.value_function(torch.empty(0), P), "prediction is empty"),
        (lambda: gan.optimal_discriminator(P, torch.ones(3)), r"p_data has shape \(2,\), p_model \(3,\)"),
        (lambda: gan.optimal_discriminator(-P, P), "p_data has values that are negative or not finite"),
        (lambda: gan.optimal_discriminator(P, P / 0), "p_model has values that are negative or not finite"),
        (lambda: gan.kl_divergence(P, torch.ones(3) / 3), r"p has shape \(2,\), q \(3,\)"),
        (lambda: gan.kl_divergence(P, 2 * P), "q sums to 2 along its last axis; divide it by its sum"),
        (lambda: gan.kl_divergence(torch.tensor([1.5, -0.5]), P), "p has values that are negative"),
        (lambda: gan.kl_divergence(torch.tensor(1.0), torch.tensor(1.0)), r"p has shape \(\); give weights"),
        (lambda: gan.js_divergence(P, torch.ones(3) / 3), r"p has shape \(2,\), q \(3,\)"),
        (lambda: gan.js_divergence(3 * P, P), "p sums to 3"),
        (lambda: gan.wasserstein_1d(P[None], P), r"x has shape \(1, 2\); give positions"),
        (lambda: gan.wasserstein_1d(P, torch.empty(0)), r"y has shape \(0,\); give positions"),
        (lambda: gan.wasserstein_1d(P / 0, P), "x has positions that are not finite"),
        (lambda: gan.wasserstein_1d(P, P, torch.ones(3) / 3), r"x has shape \(2,\), x_weights \(3,\)"),
        (lambda: gan.wasserstein_1d(P, P, None, 2 * P), "y_weights sums to 2"),
        (
            lambda: gan.gradient_penalty(lambda x: x.sum(1), P[None], torch.ones(2, 2)),
            r"real has shape \(1, 2\), fake \(2, 2\)",
        ),
        (
            lambda: gan.gradient_penalty(lambda x: x, torch.empty(0, 2), torch.empty(0, 2)),
            "real is empty",
        ),
        (
            lambda: gan.gradient_penalty(lambda x: torch.ones(1), P[None], P[None]),
            "does not depend on the input",
        ),
        (lambda: gan.r1_penalty(lambda x: x.detach(), P[None]), "does not depend on the input"),
        (
            lambda: gan.r1_penalty(lambda x: torch.ones(1, requires_grad=True), P[None]),
            "does not depend on the input",
        ),
        (lambda: gan.r1_penalty(lambda x: x, torch.empty(0, 2)), "real is empty"),
        (lambda: gan.power_iteration(P), r"weight has shape \(2,\); give a matrix"),
        (lambda: gan.power_iteration(torch.empty(0, 2)), r"weight has shape \(0, 2\)"),
        (lambda: gan.power_iteration(P[None], steps=0), "steps is 0; give 1 or more"),
        (lambda: gan.power_iteration(P[None], u=P), r"u has shape \(2,\); for this weight it must be \(1,\)"),
        (lambda: gan.lsgan_generator_loss(torch.empty(0)), "prediction is empty"),
        (lambda: gan.lsgan_discriminator_loss(P, P[None]), r"real has shape \(2,\), fake \(1, 2\)"),
        (lambda: gan.lsgan_discriminator_loss(torch.empty(0), torch.empty(0)), "real is empty"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# Mode coverage: both numbers, and what trivial answers get


def ring(number=8, radius=2.0):
    angle = torch.arange(number) * (2 * math.pi / number)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


def test_mode_coverage_of_the_modes_themselves_of_one_and_of_none():
    modes = ring()
    assert gan.mode_coverage(modes.repeat(5, 1), modes, 0.0) == (8, 1.0)
    assert gan.mode_coverage(modes[:1].repeat(5, 1), modes, 0.1) == (1, 1.0)
    assert gan.mode_coverage(torch.zeros(5, 2), modes, 1.9) == (0, 0.0)
    half = torch.cat([modes, torch.zeros(8, 2)])
    assert gan.mode_coverage(half, modes, 0.1) == (8, 0.5)


def test_a_mode_is_covered_from_its_share_on_and_a_sample_counts_once():
    modes = torch.tensor([[0.0], [1.0]])
    samples = torch.cat([torch.zeros(7, 1), torch.ones(1, 1)])
    # A quarter of half of 8 samples is one sample.
    assert gan.mode_coverage(samples, modes, 0.1, share=0.25).covered == 2
    assert gan.mode_coverage(samples, modes, 0.1, share=0.26).covered == 1
    assert gan.mode_coverage(torch.full((4, 1), 0.4), modes, 5.0) == (1, 1.0)
    assert gan.mode_coverage(torch.tensor([[0.1]], dtype=torch.float64), modes.double(), 0.1).precision == 1


def test_real_samples_have_both_and_a_random_ring_has_neither():
    generator = torch.Generator().manual_seed(0)
    modes, width, number = ring(), 0.05, 20_000
    noise = torch.randn(number, 2, generator=generator, dtype=torch.float64)
    real = modes.double()[torch.arange(number) % 8] + width * noise
    covered, precision = gan.mode_coverage(real, modes.double(), 3 * width)
    assert covered == 8
    assert precision == pytest.approx(1 - math.exp(-4.5), abs=0.003)  # Rayleigh, three sigma

    angle = 2 * math.pi * torch.rand(number, generator=generator, dtype=torch.float64)
    on_ring = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    covered, precision = gan.mode_coverage(on_ring, modes.double(), 3 * width)
    arc = 4 * math.asin(3 * width / 4)  # the part of the circle within 3 widths of one mode
    assert precision == pytest.approx(8 * arc / (2 * math.pi), abs=0.01)
    assert covered == 0


def test_mode_coverage_does_not_change_if_the_plane_is_turned_or_samples_are_reordered():
    modes, samples = ring(), 2 * torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    cos, sin = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    expected = gan.mode_coverage(samples, modes, 0.4)
    assert 0 < expected.precision < 1
    assert gan.mode_coverage(samples.flip(0) @ turn.T, modes.flip(0) @ turn.T, 0.4) == expected


@pytest.mark.parametrize(
    "samples, modes, radius, share, message",
    [
        (torch.zeros(3), torch.zeros(2, 2), 1, 0.5, r"samples have shape \(3,\), modes \(2, 2\)"),
        (torch.zeros(3, 3), torch.zeros(2, 2), 1, 0.5, r"give \(N, d\) and \(K, d\)"),
        (torch.zeros(0, 2), torch.zeros(2, 2), 1, 0.5, "samples is empty"),
        (torch.zeros(3, 2), torch.zeros(0, 2), 1, 0.5, "modes is empty"),
        (torch.full((3, 2), math.nan), torch.zeros(2, 2), 1, 0.5, "the training has diverged"),
        (torch.zeros(3, 2), torch.zeros(2, 2), -1, 0.5, "radius is -1"),
        (torch.zeros(3, 2), torch.zeros(2, 2), math.nan, 0.5, "radius is nan"),
        (torch.zeros(3, 2), torch.zeros(2, 2), 1, 0.0, "share 0.0; give"),
        (torch.zeros(3, 2), torch.zeros(2, 2), 1, 1.5, "share 1.5; give"),
    ],
)
def test_mode_coverage_says_what_is_wrong(samples, modes, radius, share, message):
    with pytest.raises(InputError, match=message):
        gan.mode_coverage(samples, modes, radius, share)
