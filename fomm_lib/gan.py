"""The mathematics of GANs (notebook 01): what a discriminator measures, and how to stabilise training.

Distributions have two forms here: *weights*, a tensor whose last axis sums to 1 (a histogram, or a density
times the width of its bins), and *samples*, a one-dimensional tensor of numbers drawn from it. Logarithms are
natural, so divergences are in nats. Everything is differentiable, in float32 and float64, on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from fomm_lib.errors import InputError

# Cross-entropy, value function, best discriminator


def binary_cross_entropy(prediction: Tensor, target: Tensor | float, from_logits: bool = False) -> Tensor:
    """The mean cross-entropy of predicted probabilities, in nats.

    BCE = -mean[ y log D + (1 - y) log(1 - D) ]

    With `from_logits` the prediction is s, with D = sigmoid(s), and the same number is computed as
    mean[ softplus(s) - y s ], which is finite even if D is rounded to 0 or 1.

    Args:
        prediction: probabilities in [0, 1], or logits (any real number), of any shape.
        target: labels in [0, 1]: one number, or a tensor of the prediction's shape.

    Returns:
        A scalar tensor, 0 or more; infinite if a wrong label has probability 1.

    Raises:
        InputError: shapes differ, the tensor is empty, or a probability or label lies outside [0, 1].

    Example:
        >>> binary_cross_entropy(torch.tensor([0.5, 0.5]), 1.0)
        tensor(0.6931)

    Source: Goodfellow et al. 2014, *Generative Adversarial Nets*, section 3.
    """
    target = torch.as_tensor(target, dtype=prediction.dtype, device=prediction.device)
    if target.ndim and target.shape != prediction.shape:
        raise InputError(
            f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}; "
            "give one label per prediction"
        )
    _require_some(prediction, "prediction")
    _require_probabilities(target, "target")
    if from_logits:
        return (F.softplus(prediction) - target * prediction).mean()
    _require_probabilities(prediction, "prediction", "; for logits say from_logits=True")
    # xlogy(0, 0) = 0: a correct prediction with probability 1 has cross-entropy 0.
    return -(torch.xlogy(target, prediction) + torch.xlogy(1 - target, 1 - prediction)).mean()


def value_function(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """The function that the discriminator maximises and the generator minimises.

    V(D, G) = E_data[ log D(x) ] + E_z[ log(1 - D(G(z))) ]

    Args:
        d_real: probabilities D(x) for real samples, in [0, 1].
        d_fake: probabilities D(G(z)) for generated ones; their number may differ.

    Returns:
        A scalar tensor, 0 or less. At D = 1/2 everywhere it is -log 4 = -1.386.

    Raises:
        InputError: a tensor is empty or a probability lies outside [0, 1].

    Example:
        >>> value_function(torch.full((4,), 0.5), torch.full((4,), 0.5))
        tensor(-1.3863)

    Source: Goodfellow et al. 2014, equation 1.
    """
    return -binary_cross_entropy(d_real, 1.0) - binary_cross_entropy(d_fake, 0.0)


def optimal_discriminator(p_data: Tensor, p_model: Tensor) -> Tensor:
    """The best discriminator if both densities are known.

    D*(x) = p_data(x) / (p_data(x) + p_model(x))

    Args:
        p_data: density (or weight) of the real distribution at some points, 0 or more, any shape.
        p_model: that of the generated one at the same points.

    Returns:
        D* in [0, 1], same shape. Where both densities are 0 there are no samples and every value is equally
        good; 1/2 is returned.

    Raises:
        InputError: shapes differ, or a density is negative or not finite.

    Example:
        >>> optimal_discriminator(torch.tensor([0.3, 0.0]), torch.tensor([0.1, 0.2]))
        tensor([0.7500, 0.0000])

    Source: Goodfellow et al. 2014, proposition 1.
    """
    _require_same_shape(p_data, p_model, "p_data", "p_model")
    _require_densities(p_data, "p_data")
    _require_densities(p_model, "p_model")
    total = p_data + p_model
    return torch.where(total > 0, p_data / torch.where(total > 0, total, 1), 0.5)


# Distances of distributions: KL, JSD, Wasserstein


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence: the nats lost by coding draws from p with a code made for q.

    KL(p | q) = sum p log(p / q)

    Args:
        p, q: weights (..., N), each 0 or more, summing to 1 along the last axis.

    Returns:
        (...): 0 or more, 0 only for p = q, infinite where p has weight and q none. Not symmetric.

    Raises:
        InputError: shapes differ, or weights are negative or do not sum to 1.

    Example:
        >>> kl_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
        tensor(0.6931)

    Source: Kullback and Leibler 1951; Goodfellow et al. 2014, equation 5.
    """
    _require_same_shape(p, q, "p", "q")
    _require_weights(p, "p")
    _require_weights(q, "q")
    # Terms with p = 0 are 0 and have gradient 0; computed directly, 0 log 0 would have the gradient NaN.
    seen = p > 0
    return (p * (torch.where(seen, p, 1).log() - torch.where(seen, q, 1).log())).sum(-1)


def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence: the value function at the best discriminator, up to constants.

    JSD(p, q) = 1/2 KL(p | m) + 1/2 KL(q | m),   m = (p + q) / 2,   max over D of V(D, G) = 2 JSD - log 4

    Args:
        p, q: weights (..., N), each 0 or more, summing to 1 along the last axis.

    Returns:
        (...): from 0 (equal) to log 2 = 0.693 (no overlap, at any distance). Symmetric.

    Raises:
        InputError: as for `kl_divergence`.

    Example:
        >>> js_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(0.6931)

    Source: Goodfellow et al. 2014, theorem 1.
    """
    _require_same_shape(p, q, "p", "q")
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def wasserstein_1d(
    x: Tensor, y: Tensor, x_weights: Tensor | None = None, y_weights: Tensor | None = None
) -> Tensor:
    """Wasserstein-1 (earth mover's) distance on the line: weight times the distance it must be moved.

    W1 = integral |F_x(t) - F_y(t)| dt, with the cumulative distributions F: exact, no iteration.
    For equal numbers of unweighted samples it is the mean distance of the sorted samples,
    mean |x_(i) - y_(i)|.

    Args:
        x, y: positions (N,) and (M,), in any order.
        x_weights, y_weights: their weights, summing to 1; equal by default.

    Returns:
        A scalar tensor, 0 or more, in the unit of x. Differentiable in positions and weights.

    Raises:
        InputError: positions are not one-dimensional, empty or not finite, or the weights do not fit them.

    Example:
        >>> wasserstein_1d(torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0]))
        tensor(5.)

    Source: Villani 2003, *Topics in Optimal Transportation*, theorem 2.18; for GANs, Arjovsky et al. 2017,
    *Wasserstein GAN*, section 2.
    """
    x_weights = _weights_of(x, x_weights, "x")
    y_weights = _weights_of(y, y_weights, "y")
    position, order = torch.sort(torch.cat([x, y]))
    # From left to right: the weight of x so far minus that of y must be moved across the next gap.
    surplus = torch.cat([x_weights, -y_weights])[order].cumsum(0)
    return (surplus[:-1].abs() * position.diff()).sum()


# Stable training: gradient penalties, spectral norm


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    target: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Penalises a discriminator whose gradient between real and fake samples has not the norm `target`.

    GP = mean ( |grad D(h)|_2 - target )^2,   h = e x_real + (1 - e) x_fake,   e ~ U[0, 1], one per sample

    Args:
        critic: maps (B, ...) to one output per sample (a map of outputs is summed).
        real, fake: (B, ...), same shape; they get no gradient.
        target: 1 for Wasserstein GANs; 0 makes gradients small everywhere.
        generator: random numbers for e.

    Returns:
        A scalar tensor, 0 or more, whose gradient reaches the critic's parameters. Its usual weight is 10.

    Raises:
        InputError: shapes differ, the batch is empty, or the critic's output does not depend on its input.

    Example:
        >>> gradient_penalty(lambda x: 3 * x.sum(1), torch.zeros(4, 1), torch.ones(4, 1))
        tensor(4.)

    Source: Gulrajani et al. 2017, *Improved Training of Wasserstein GANs*, section 4, equation 3.
    """
    _require_same_shape(real, fake, "real", "fake")
    _require_some(real, "real")
    one_each = (real.shape[0],) + (1,) * (real.ndim - 1)
    e = torch.rand(one_each, generator=generator, dtype=real.dtype, device=real.device)
    between = e * real.detach() + (1 - e) * fake.detach()
    # vector_norm has gradient 0, not NaN, at zero.
    length = torch.linalg.vector_norm(_input_gradient(critic, between).flatten(1), dim=1)
    return ((length - target) ** 2).mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Penalises the gradient of the discriminator at real samples, which is zero when training has converged.

    R1 = mean |grad D(x_real)|_2^2   (its usual weight is gamma / 2)

    Args:
        discriminator: maps (B, ...) to one output per sample (a map of outputs is summed).
        real: (B, ...); it gets no gradient.

    Returns:
        A scalar tensor, 0 or more, whose gradient reaches the discriminator's parameters.

    Raises:
        InputError: the batch is empty, or the output does not depend on the input.

    Example:
        >>> r1_penalty(lambda x: 3 * x.sum(1), torch.zeros(4, 1))
        tensor(9.)

    Source: Mescheder et al. 2018, *Which Training Methods for GANs do actually Converge?*, equation 9.
    """
    _require_some(real, "real")
    return _input_gradient(discriminator, real.detach()).flatten(1).square().sum(1).mean()


class SingularTriple(NamedTuple):
    """The largest singular value of a matrix and its two directions: W v = sigma u."""

    sigma: Tensor  # scalar, 0 or more
    u: Tensor  # (out,), length 1
    v: Tensor  # (in,), length 1


def power_iteration(
    weight: Tensor, steps: int = 1, u: Tensor | None = None, generator: torch.Generator | None = None
) -> SingularTriple:
    """The largest singular value of a layer's weight: the largest factor by which it can scale its input.

    Repeat: v = W^T u / |W^T u|,  u = W v / |W v|.   Then sigma = u^T W v.   Spectral norm divides W by it.

    Each step multiplies the error of the directions by (sigma_2 / sigma_1)^2, that of sigma by the square of
    this. A weight changes little between two training steps, so a layer that stores u needs one step each
    time; `torch.nn.utils.parametrizations.spectral_norm` does so.

    Args:
        weight: (out, in), or a convolution's (out, in, h, w), which is read as (out, in h w).
        steps: number of iterations, 1 or more.
        u: (out,) the start, e.g. the `u` of the previous step; a random direction by default.
        generator: random numbers for that direction.

    Returns:
        `SingularTriple(sigma, u, v)`; sigma is differentiable in `weight` (its gradient is u v^T), u and v
        are constants.

    Raises:
        InputError: the weight has fewer than two axes or is empty, `steps` is below 1, or `u` does not fit.

    Example:
        >>> power_iteration(torch.diag(torch.tensor([3.0, 1.0])), steps=20, u=torch.ones(2)).sigma
        tensor(3.)

    Source: Miyato et al. 2018, *Spectral Normalization for GANs*, section 2.1 and appendix A.
    """
    if weight.ndim < 2 or weight.numel() == 0:
        raise InputError(
            f"weight has shape {tuple(weight.shape)}; give a matrix (out, in) or a convolution's weight"
        )
    if steps < 1:
        raise InputError(f"steps is {steps}; give 1 or more")
    matrix = weight.flatten(1)
    if u is None:
        u = torch.randn(matrix.shape[0], generator=generator, dtype=weight.dtype, device=weight.device)
    elif u.shape != matrix.shape[:1]:
        raise InputError(f"u has shape {tuple(u.shape)}; for this weight it must be ({matrix.shape[0]},)")
    with torch.no_grad():
        for _ in range(steps):
            v = F.normalize(matrix.mT @ u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
    return SingularTriple(sigma=u @ matrix @ v, u=u, v=v)


# How good are the samples: mode coverage and precision


class ModeCoverage(NamedTuple):
    """How many modes have samples, and what fraction of the samples lies at a mode."""

    covered: int  # 0 to K
    precision: float  # 0 to 1


def mode_coverage(samples: Tensor, modes: Tensor, radius: float, share: float = 0.25) -> ModeCoverage:
    """Coverage and precision of samples, for data that consist of K equally frequent small clusters.

    A sample is *at* mode k if k is its nearest mode and at most `radius` away.
    precision = samples at any mode / N.   Mode k is covered if at least share N / K samples are at it.

    The two must be read together: samples at a single mode have precision 1 and cover one mode; with a small
    `share`, samples spread over everything cover all modes, at a small precision.

    Args:
        samples: (N, d).
        modes: (K, d), the centres of the clusters.
        radius: 0 or more; three standard deviations of a cluster hold 98.9 % of real samples in the plane.
        share: of the samples that a mode has in the data, above 0, at most 1.

    Returns:
        `ModeCoverage(covered, precision)`.

    Raises:
        InputError: a shape is wrong, there are no samples, or values are not finite or out of their range.

    Example:
        >>> modes = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
        >>> mode_coverage(torch.tensor([[0.1, 0.0], [0.0, 0.2], [2.0, 0.0], [0.0, 0.1]]), modes, radius=0.3)
        ModeCoverage(covered=1, precision=0.75)

    Source: the two numbers of Srivastava et al. 2017, *VEEGAN*, section 5.1 (modes, high-quality samples).
    """
    if samples.ndim != 2 or modes.ndim != 2 or samples.shape[1:] != modes.shape[1:]:
        raise InputError(
            f"samples have shape {tuple(samples.shape)}, modes {tuple(modes.shape)}; give (N, d) and (K, d)"
        )
    _require_some(samples, "samples")
    _require_some(modes, "modes")
    if not bool(samples.isfinite().all() & modes.isfinite().all()):
        raise InputError("samples or modes have values that are not finite; the training has diverged")
    if not (radius >= 0 and 0 < share <= 1):
        raise InputError(
            f"radius is {radius}, share {share}; give a radius of 0 or more, a share above 0 up to 1"
        )
    distance, nearest = torch.cdist(samples, modes).min(dim=1)
    at_mode = distance <= radius
    visits = torch.bincount(nearest[at_mode], minlength=len(modes))
    covered = int((visits >= share * len(samples) / len(modes)).sum())
    return ModeCoverage(covered, float(at_mode.double().mean()))


# The losses that the First Order Motion Model uses: least squares


def lsgan_generator_loss(prediction: Tensor) -> Tensor:
    """Least-squares loss of the generator: the discriminator should predict 1 for its images.

    L_G = mean (1 - D(fake))^2

    Args:
        prediction: D(fake), any real numbers, of any shape; e.g. (B, 1, 26, 26), one per patch.

    Returns:
        A scalar tensor, 0 or more.

    Raises:
        InputError: the tensor is empty.

    Example:
        >>> lsgan_generator_loss(torch.tensor([1.0, 0.0]))
        tensor(0.5000)

    Source: Mao et al. 2017, *Least Squares Generative Adversarial Networks*, equation 2 with c = 1, without
    its factor 1/2, as in the First Order Motion Model.
    """
    _require_some(prediction, "prediction")
    return ((1 - prediction) ** 2).mean()


def lsgan_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares loss of the discriminator: it should predict 1 for real and 0 for generated images.

    L_D = mean [ (1 - D(real))^2 + D(fake)^2 ]      (no factor 1/2)

    The best D is p_data / (p_data + p_model), as for the cross-entropy.

    Args:
        real, fake: D(real) and D(fake), any real numbers, same shape; e.g. (B, 1, 26, 26).

    Returns:
        A scalar tensor, 0 or more; 1/2 if D is 1/2 everywhere.

    Raises:
        InputError: shapes differ, or the tensors are empty.

    Example:
        >>> lsgan_discriminator_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]))
        tensor(0.5000)

    Source: Mao et al. 2017, *Least Squares Generative Adversarial Networks*, equation 2 with a = 0, b = 1,
    without its factor 1/2, as in the First Order Motion Model.
    """
    _require_same_shape(real, fake, "real", "fake")
    _require_some(real, "real")
    return ((1 - real) ** 2 + fake**2).mean()


# Training


def update(loss: Tensor, *optimizers: Optimizer) -> None:
    """One step of gradient descent on a loss: old gradients are dropped, new ones computed and followed.

    Args:
        loss: a scalar.
        optimizers: of all parameters that take the step.

    Example:
        >>> weight = torch.tensor(3.0, requires_grad=True)
        >>> update(weight.square(), torch.optim.SGD([weight], lr=0.1))
        >>> weight.item()
        2.4000000953674316
    """
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def _input_gradient(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the network's summed output at its input; it can be differentiated again."""
    x = x.requires_grad_(True)
    output = network(x).sum()
    gradient = None
    if output.requires_grad:
        (gradient,) = torch.autograd.grad(output, x, create_graph=True, allow_unused=True)
    if gradient is None:
        raise InputError("the output does not depend on the input; is it computed without gradients?")
    return gradient


def _require_same_shape(a: Tensor, b: Tensor, a_name: str, b_name: str) -> None:
    if a.shape != b.shape:
        raise InputError(
            f"{a_name} has shape {tuple(a.shape)}, {b_name} {tuple(b.shape)}; they must have the same shape"
        )


def _require_some(x: Tensor, name: str) -> None:
    if x.numel() == 0:
        raise InputError(f"{name} is empty, shape {tuple(x.shape)}; give at least one sample")


def _require_probabilities(x: Tensor, name: str, advice: str = "") -> None:
    # Written so that NaN fails too.
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise InputError(f"{name} has values outside [0, 1]; give probabilities{advice}")


def _require_densities(x: Tensor, name: str) -> None:
    if not bool(((x >= 0) & x.isfinite()).all()):
        raise InputError(f"{name} has values that are negative or not finite; give a density")


def _require_weights(x: Tensor, name: str) -> None:
    _require_densities(x, name)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise InputError(f"{name} has shape {tuple(x.shape)}; give weights along the last axis")
    total = x.detach().sum(-1)
    if bool(((total - 1).abs() > 1e-3).any()):
        worst = total.flatten()[(total - 1).abs().argmax()]
        raise InputError(f"{name} sums to {worst:.4g} along its last axis; divide it by its sum")


def _weights_of(x: Tensor, weights: Tensor | None, name: str) -> Tensor:
    if x.ndim != 1 or x.numel() == 0:
        raise InputError(f"{name} has shape {tuple(x.shape)}; give positions (N,), N at least 1")
    if not bool(x.isfinite().all()):
        raise InputError(f"{name} has positions that are not finite; remove them first")
    if weights is None:
        return torch.full_like(x, 1 / x.numel())
    _require_same_shape(x, weights, name, f"{name}_weights")
    _require_weights(weights, f"{name}_weights")
    return weights
