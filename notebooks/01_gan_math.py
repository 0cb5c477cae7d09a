# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · What a GAN measures
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/01_gan_math.ipynb)
#
# At the end you can calculate what a discriminator tells a generator. You see a GAN lose most of its
# data, and measure, with two numbers that chance does not pass, what brings the data back.
#
# ## At a glance
#
# **You will be able to**
#
# - derive binary cross-entropy, the value function and the optimal discriminator $D^\ast$, and train a small
#   network that approaches it;
# - measure how far apart two distributions are with KL, Jensen-Shannon and Wasserstein, and say when each
#   gives no useful slope;
# - explain why the First Order Motion Model uses least squares;
# - recognise mode collapse by coverage and precision, and compare four remedies.
#
# | | |
# |---|---|
# | Know first | derivatives, expectations, the Gaussian; a training loop in PyTorch |
# | Minutes | 50 to read, 45 to practise |
# | GPU | no; about half a minute on two CPU cores |
# | Paper | background to section 3.3 (training losses); Goodfellow et al. 2014, equation 1, theorem 1 |
# | Module | `fomm_lib/gan.py` |
#
# ## Set-up
#
# On Colab the first cell fetches the library.

# %%
import sys

if "google.colab" in sys.modules:
    import subprocess

    library = "fomm-lib @ git+https://github.com/fomm-course/fomm-course"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", library], check=True)

# %% [markdown]
# Then everything this notebook uses. One thread is fastest for networks this small.

# %%
import csv
import math

import numpy as np
import torch
from matplotlib import pyplot as plt
from scipy import stats
from torch import nn

import fomm_lib as fomm
from fomm_lib import gan
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb01_gan_math import (
    check_gan_losses,
    check_slope_by_depth,
    check_slope_penalty,
    check_sorted_wasserstein,
)

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED = plots.COLOURS[:6]

# %% [markdown]
# ## The problem as one image
#
# There is no formula for "looks real". So a GAN trains a second network, the *discriminator*, to tell
# real samples from generated ones, and the generator follows the slope of that network. Here a sample is
# one number instead of an image. In which interval does the discriminator rise?


# %%
def density(x, mean, std):
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


x = torch.linspace(-6, 6, 601)
p_data, p_model = density(x, 1.5, 0.8), density(x, -1.5, 1.2)
d_best = gan.optimal_discriminator(p_data, p_model)
curves = {"real samples": p_data, "generated samples": p_model, "discriminator": d_best}
figure = plots.plot_curves(x, curves, "a sample x (no unit)", "density, or probability")
figure.axes[0].annotate("uphill", (0.9, 0.7), (-1.4, 0.69), arrowprops={"arrowstyle": "->"})
plots.show(
    figure,
    alt="Generated samples lie left of the real ones. The discriminator rises from 0 to 1 "
    "between them, so its slope points from the generated samples to the real ones.",
)

# %% [markdown]
# *Figure 1. Generated samples move up the slope of the discriminator. Where it is zero or very large, this
# fails. Most of this notebook is about keeping the slope useful.*
#
# ## 1. Binary cross-entropy: the cost of a guess
#
# The discriminator guesses the probability $D(x)$ that $x$ is real. Once the label $y$ is known, the guess
# costs
#
# $$\mathrm{BCE} = -\frac1N \sum_{i=1}^{N} \Big[ y_i \log D(x_i) + (1 - y_i) \log\big(1 - D(x_i)\big) \Big].$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $y$ | label: 1 real, 0 generated | (N,) | {0, 1} | `target` |
# | $D(x)$ | discriminator: its guess, the probability of "real" | (N,) | (0, 1) | `prediction` |
#
# What does a wrong guess cost?


# %%
def toy_bce(prediction, target):
    return -(target * prediction.log() + (1 - target) * (1 - prediction).log()).mean()


undecided = toy_bce(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
print(f"undecided: {undecided:.3f} nats, log 2 = {math.log(2):.3f}")
guess = torch.linspace(0.005, 0.995, 200)
costs = {
    "it was real: -log D": -guess.log(),
    "it was generated: -log(1 - D)": -(1 - guess).log(),
}
figure = plots.plot_curves(
    guess, costs, "guess D(x), a probability", "cost in nats", ylim=(0, 5)
)
figure.axes[0].plot(0.5, math.log(2), "ko")
plots.show(
    figure,
    alt="A guess costs 0 if certain and right, log 2 if undecided, and has no upper bound "
    "if wrong.",
)

# %% [markdown]
# *Figure 2. A guess that is certain and wrong has an unbounded cost; an undecided one (the dot) costs
# $\log 2 = 0.693$ for either label.*
#
# The network computes a *logit* $s$, any real number, and $D = 1/(1+e^{-s})$. In float32 a logit of -200
# gives $D = 0$ exactly. With $-\log D = \log(1 + e^{-s})$, computed as `softplus(-s)`, the cost stays
# finite.

# %%
sure_and_wrong = torch.tensor([-200.0])
print("through the probability:", toy_bce(sure_and_wrong.sigmoid(), torch.ones(1)).item())
print(
    "from the logit:         ",
    gan.binary_cross_entropy(sure_and_wrong, 1.0, from_logits=True).item(),
)

# %% [markdown]
# ## 2. The value function, and the optimal discriminator
#
# Both networks optimise one number, which the discriminator $D$ raises and the generator $G$ lowers
# (Goodfellow et al. 2014, equation 1):
#
# $$\min_G \max_D V = \mathbb{E}_{x \sim P_\text{data}}\big[\log D(x)\big]
# + \mathbb{E}_{\zeta}\big[\log\big(1 - D(G(\zeta))\big)\big].$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $P_\text{data}$ | density of the real samples | (points,) | 0 or more | `p_data` |
# | $P_\text{model}$ | density of the generated samples | (points,) | 0 or more | `p_model` |
# | $\zeta$ | noise that the generator turns into a sample | (N, 2) | any | `noise` |
# | $G(\zeta)$ | generator: its output, a generated sample | as x | that of x | `fake` |
# | $V$ | value: minus two cross-entropies | scalar | 0 or less | `value` |
#
# **Which $D$ is best?** Write the expectations as one integral,
# $V = \int P_\text{data} \log D + P_\text{model} \log(1 - D) \, dx$. Its value at one point does not
# depend on others. So take one point, with $a = P_\text{data}(x)$ and $b = P_\text{model}(x)$, and find
# where the derivative of $a \log D + b \log (1 - D)$ is zero:
#
# $$\frac{a}{D} - \frac{b}{1 - D} = 0
# \quad\Longrightarrow\quad D^\ast(x) = \frac{P_\text{data}(x)}{P_\text{data}(x) + P_\text{model}(x)}.$$
#
# As a test, try every $D$ where real samples are three times as frequent as generated ones.

# %%
a, b = 0.3, 0.1
candidates = torch.linspace(0.001, 0.999, 999)
value = a * candidates.log() + b * (1 - candidates).log()
best = candidates[value.argmax()].item()
print(f"best of 999 guesses: {best:.3f}   a / (a + b) = {a / (a + b):.3f}")

# %% [markdown]
# A network gets only samples. We train a small discriminator on samples from the two Gaussians of Figure 1.
# Where does it differ from the formula (black)?

# %%
torch.manual_seed(0)
discriminator = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
optimiser = torch.optim.Adam(discriminator.parameters(), lr=0.01)
learned = {}
for step in range(601):
    if step in (0, 10, 600):
        learned[step] = discriminator(x[:, None]).sigmoid()[:, 0].detach()
    real, fake = 1.5 + 0.8 * torch.randn(256, 1), -1.5 + 1.2 * torch.randn(256, 1)
    loss = gan.binary_cross_entropy(discriminator(real), 1.0, from_logits=True)
    loss = loss + gan.binary_cross_entropy(discriminator(fake), 0.0, from_logits=True)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

curves = {"D*, the formula": d_best} | {
    f"network, {step} steps": learned[step] for step in learned
}
figure = plots.plot_curves(x, curves, "a sample x (no unit)", "D(x), a probability")
seen = (p_data + p_model) > 0.01
figure.axes[0].axvspan(x[seen][0], x[seen][-1], color="grey", alpha=0.15)
plots.show(
    figure,
    alt="With more steps the trained network approaches the formula; at the end both agree "
    "where there are samples.",
)
error = (learned[600] - d_best)[seen].abs().max()
print(f"largest difference where there are samples: {error:.2f}")
assert error < 0.1

# %% [markdown]
# *Figure 3. Trained only on samples, the network finds $D^\ast$ where there are samples (grey).* At the far
# right the formula goes down again: in both tails the wider Gaussian has the larger density.
#
# ## 3. Three distances: KL, Jensen-Shannon, Wasserstein
#
# $$\mathrm{KL}(P \,\|\, Q) = \sum_i P_i \log \frac{P_i}{Q_i}, \qquad
# W_1(P, Q) = \int \big\lvert F_P(t) - F_Q(t) \big\rvert \, dt$$
#
# $$\mathrm{JSD}(P, Q) = \tfrac12 \mathrm{KL}(P \,\|\, m) + \tfrac12 \mathrm{KL}(Q \,\|\, m),
# \quad m = \tfrac12 (P + Q)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $P, Q$ | probabilities of the bins of a line | (..., bins) | [0, 1] | `p`, `q` |
# | $W_1$ | Wasserstein distance: weight times the distance it is moved | scalar | 0 or more | `toy_w1` |
#
# $F_P(t)$ is the cumulative distribution: the weight up to $t$. KL counts the nats lost by coding $P$
# with a code made for $Q$; it goes up to ∞, JSD to $\log 2$.
#
# **JSD is what the best discriminator measures.** Put $D^\ast = P_\text{data} / 2m$ into $V$; each fraction
# gives a KL, and $-\log 2$:
#
# $$\max_D V = \int P_\text{data} \log \frac{P_\text{data}}{2m}
# + P_\text{model} \log \frac{P_\text{model}}{2m} \, dx$$
#
# $$= \mathrm{KL}(P_\text{data} \,\|\, m) + \mathrm{KL}(P_\text{model} \,\|\, m) - 2 \log 2
# = 2 \, \mathrm{JSD} - \log 4.$$
#
# Does this distance have a useful slope?


# %%
def toy_kl(p, q):
    return (p * (p / q).log()).sum(-1)


def toy_jsd(p, q):
    return (toy_kl(p, (p + q) / 2) + toy_kl(q, (p + q) / 2)) / 2


def toy_w1(p, q, width):
    return (p.cumsum(-1) - q.cumsum(-1)).abs().sum(-1) * width


# %% [markdown]
# A generated Gaussian starts at the real one and moves away by `shift`:

# %%
line = torch.linspace(-4, 12, 1601, dtype=torch.float64)
shifts = torch.linspace(0, 8, 161, dtype=torch.float64, requires_grad=True)
p = density(line, 0.0, 0.5).expand(len(shifts), -1) * 0.01
q = density(line, shifts[:, None], 0.5) * 0.01
distances = {
    "JSD": gan.js_divergence(p, q),
    "Wasserstein": toy_w1(p, q, 0.01),
    "KL": gan.kl_divergence(p, q),
}
slopes = {
    name: torch.autograd.grad(distance.sum(), shifts, retain_graph=True)[0]
    for name, distance in distances.items()
}

# %% [markdown]
# Left the distances, right their slopes. At a shift of 6: which slope still leads back?

# %% tags=["hide-input"]
# @title Three distances and their slopes
figure, axes = plt.subplots(1, 2, figsize=(6, 3))
looks = {"JSD": (RED, "--"), "Wasserstein": (BLUE, "-"), "KL": (GREEN, ":")}
for axis, curves in zip(axes, (distances, slopes), strict=True):
    for name, (colour, line_style) in looks.items():
        axis.plot(
            shifts.detach(),
            curves[name].detach(),
            color=colour,
            linestyle=line_style,
            label=name,
        )
    axis.set_xlabel("shift of the generated Gaussian")
axes[0].set(ylim=(0, 6), ylabel="distance (nats, or unit of x)")
axes[0].axhline(math.log(2), color="grey", linewidth=0.8)
axes[0].text(5.6, 0.85, "log 2", color="grey")
axes[1].set(ylim=(-0.1, 1.5), ylabel="slope")
axes[1].legend(loc="center right")
plots.show(
    figure,
    alt="As two Gaussians move apart, JSD rises to log 2 and stays there with slope zero. "
    "The Wasserstein distance grows evenly, its slope is 1 everywhere. KL grows with the "
    "square of the shift.",
)

# %% [markdown]
# *Figure 4. When the Gaussians no longer overlap, JSD is constant: the same near and far. Wasserstein still
# gives the distance and the direction.*
#
# KL has a slope too, as long as both densities are positive everywhere. Images lie on thin surfaces in the
# space of all pixel values; if two such surfaces do not meet, KL is infinite and JSD $\log 2$.
#
# We compare with the closed forms for two Gaussians of equal width $\sigma$,
# $\mathrm{KL} = (\mu_P - \mu_Q)^2 / 2\sigma^2$ and $W_1 = \lvert \mu_P - \mu_Q \rvert$, and with SciPy:

# %%
s = shifts.detach()
torch.testing.assert_close(distances["KL"].detach(), s**2 / (2 * 0.5**2), atol=1e-3, rtol=1e-3)
torch.testing.assert_close(distances["Wasserstein"].detach(), s, atol=1e-6, rtol=0)
near, far = 20, 120
for i in (near, far):
    pi, qi = p[i].numpy(), q[i].detach().numpy()
    w1 = stats.wasserstein_distance(line, line, pi, qi)
    kl, jsd = stats.entropy(pi, qi), distances["JSD"][i].item()
    print(f"shift {s[i]:.0f}:  KL {kl:.3f}  W1 {w1:.3f}  JSD {jsd:.3f}")

# %% [markdown]
# ## 4. Least squares, the loss of this model
#
# How large is the gradient that the discriminator's output for *one* generated sample gives? With the raw
# output $s$ and $D = 1/(1+e^{-s})$:
#
# | loss of the generator | formula | slope by $s$ | no gradient when |
# |---|---|---|---|
# | minimax (section 2) | $\log(1 - D)$ | $-D$ | it is clearly recognised as generated ($s \ll 0$) |
# | non-saturating | $-\log D$ | $-(1 - D)$ | it is clearly taken for real ($s \gg 0$) |
# | least squares | $(1 - s)^2$ | $-2(1 - s)$ | only at $s = 1$ |
#
# Least squares uses $s$ itself; its target is 1 for real and 0 for generated samples. The First Order
# Motion Model trains with (Mao et al. 2017, without their factor 1/2; from here on $D$ is the raw output)
#
# $$L_G = \mathbb{E}\big[(1 - D(\hat x))^2\big], \qquad
# L_D = \mathbb{E}\big[(1 - D(x))^2 + D(\hat x)^2\big].$$
#
# Below, the negative slopes (the "push"). At the left end, where the sample is certainly generated, which
# losses still push?

# %%
output = torch.linspace(-6, 6, 241, requires_grad=True)
losses = {
    "minimax": (1 - output.sigmoid()).log(),
    "non-saturating": -output.sigmoid().log(),
    "least squares": (1 - output) ** 2,
}
push = {name: -torch.autograd.grad(loss.sum(), output)[0] for name, loss in losses.items()}
figure = plots.plot_curves(
    output, push, "raw output: generated ← → real", "push (-slope)", ylim=(-3, 6)
)
figure.axes[0].axhline(0, color="grey", linewidth=0.8)
plots.show(
    figure,
    alt="The push on a generated sample. Minimax gives none to a sample clearly seen as "
    "generated, the non-saturating loss at most 1; least squares gives more, the further "
    "the output is from 1.",
)

# %% [markdown]
# *Figure 5. Minimax gives no gradient to the worst samples. Least squares gives the largest to them, and
# also pulls back samples above 1.*
#
# Does least squares change the optimum? At one point it costs $a(1 - D)^2 + b D^2$, whose derivative is
# zero at $D = a / (a + b)$: the same $D^\ast$. Two numbers to know when reading a training log are the
# losses of a discriminator that gives 1/2 everywhere:

# %%
least = candidates[(a * (1 - candidates) ** 2 + b * candidates**2).argmin()].item()
half = torch.full((4, 1, 26, 26), 0.5)
print(f"best of 999 guesses: {least:.3f}")
print(f"generator     {gan.lsgan_generator_loss(half):.2f}")
print(f"discriminator {gan.lsgan_discriminator_loss(half, half):.2f}")

# %% [markdown]
# ## 5. A bound on the slope: gradient penalty
#
# The Wasserstein distance has a second form (Kantorovich and Rubinstein): the largest difference of
# means, $\max_D \mathbb{E}_\text{data}[D] - \mathbb{E}_\text{model}[D]$, over all $D$ whose slope is
# nowhere above 1. So *limiting the discriminator's slope* avoids the constant JSD of Figure 4. Gulrajani
# et al. 2017 (equation 3) add a penalty:
#
# $$\mathrm{GP} = \mathbb{E}_{\tilde x}\Big[\big(\lVert \nabla_{\tilde x} D(\tilde x) \rVert - 1\big)^2\Big],
# \qquad \tilde x = \epsilon \, x + (1 - \epsilon) \, \hat x$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\tilde x$ | point between a real and a generated sample | (N, ...) | that of x | `between` |
# | $\epsilon$ | share of the real sample, uniform | (N, 1, ...) | [0, 1] | drawn inside |
# | $\lambda$ | weight of the penalty in the loss | scalar | 0.1 to 10 | `weight` |
#
# **Why 1?** The target belongs to another loss: the $D$ that reaches that largest difference of means
# rises with slope exactly 1 between the two distributions. With cross-entropy or least squares nothing
# asks for 1; there the penalty is only a bound, and its target and weight are found by trial.
#
# We train two discriminators, one with the penalty: real samples near 2, generated ones near -2.


# %%
def train_discriminator(weight, steps=300):
    torch.manual_seed(1)
    discriminator = nn.Sequential(
        nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    for _ in range(steps):
        real, fake = 2 + 0.1 * torch.randn(64, 1), -2 + 0.1 * torch.randn(64, 1)
        loss = gan.binary_cross_entropy(discriminator(real), 1.0, from_logits=True)
        loss = loss + gan.binary_cross_entropy(discriminator(fake), 0.0, from_logits=True)
        loss = loss + weight * gan.gradient_penalty(discriminator, real, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return discriminator


free, bounded = train_discriminator(0.0), train_discriminator(1.0)

# %% [markdown]
# Look at the slope at a generated sample, at -2:

# %%
at = torch.linspace(-3.5, 3.5, 281)[:, None].requires_grad_()
seen_by = {
    "free": free(at).sigmoid()[:, 0],
    "gradient penalty": bounded(at).sigmoid()[:, 0],
}
figure = plots.plot_curves(
    at[:, 0], seen_by, "a sample x (no unit)", "D(x), a probability", ylim=(-0.15, 1.05)
)
for position, who in ((-2, "generated"), (2, "real")):
    figure.axes[0].text(position, -0.1, f"{who} samples", ha="center")
plots.show(
    figure,
    alt="Without a penalty the discriminator is a step, flat where the generated samples "
    "are. With the gradient penalty it rises evenly from the generated to the real samples.",
)
slopes = {name: torch.autograd.grad(curve.sum(), at)[0][60] for name, curve in seen_by.items()}
for name, slope in slopes.items():
    print(f"{name}: slope {slope.item():.2f} at -2")
assert slopes["free"].abs() < 0.001 and slopes["gradient penalty"] > 0.05

# %% [markdown]
# *Figure 6. Without a penalty the discriminator is a step; with it, a ramp.*
#
# A related penalty, R1 (`gan.r1_penalty`; Mescheder et al. 2018), uses only real samples, with target 0.
#
# ## 6. A bound on the weights: spectral norm
#
# The penalty limits the slope at sampled points, at the cost of a second backward pass. Spectral norm
# limits it everywhere. A layer stretches no vector by more than its largest singular value, and ReLU
# stretches nothing, so a network of layers $W / \lVert W \rVert_2$ has slope at most 1. Power iteration
# finds it (Miyato et al. 2018, section 2.1 and appendix A):
#
# $$v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad
# u \leftarrow \frac{W v}{\lVert W v \rVert}, \qquad
# \lVert W \rVert_2 \approx u^\top W v.$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $W$ | weight matrix of a layer; a convolution's is (out, in·h·w) | (out, in) | any | `W` |
# | $\lVert W \rVert_2$ | spectral norm | scalar | 0 or more | `sigma` |
# | $u, v$ | directions of the largest stretch: output and input | (out,), (in,) | length 1 | `u`, `v` |


# %%
def toy_power_iteration(W, u, steps):
    for _ in range(steps):
        v = W.T @ u
        v = v / v.norm()
        u = W @ v
        u = u / u.norm()
    return u @ W @ v, u


# %% [markdown]
# $W$ maps the unit circle to an ellipse; $\lVert W \rVert_2$ is its longest half-axis.

# %%
W = torch.tensor([[1.5, 0.5], [0.1, 1.1]])
arrows = [torch.tensor([-0.174, 0.985])]
arrows += [toy_power_iteration(W, arrows[0], steps)[1] for steps in (1, 2, 3)]
angle = torch.linspace(0, 2 * math.pi, 200)
circle = torch.stack([angle.cos(), angle.sin()])
left, singular, _ = torch.linalg.svd(W)
axis_end = left[:, 0] * singular[0]
figure, axis = plt.subplots(figsize=(6, 2.8))
axis.plot(*circle, color="grey", linestyle=":", label="unit circle")
axis.plot(*(W @ circle), color=BLUE, linestyle="-", label="the circle after W")
axis.plot(
    *torch.stack([-axis_end, axis_end], 1), "k--", linewidth=1, label="longest axis (SVD)"
)
for number, u in enumerate(arrows):
    axis.annotate("", u, (0, 0), arrowprops={"arrowstyle": "->", "color": RED, "lw": 1.5})
    axis.text(*(1.18 * u), str(number), color=RED, ha="center", va="center")
axis.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="A matrix maps the unit circle to an ellipse. The arrows of power iteration, "
    "numbered 0 to 3, start far from the ellipse's longest axis and turn towards it.",
)

# %% [markdown]
# *Figure 7. Each step turns $u$ towards the axis that is stretched most: at 76°, 53°, 23° and 8° from it.*
#
# On a layer of 64 x 64, compared with PyTorch's own, which makes one step in every forward pass and keeps
# $u$:

# %%
torch.manual_seed(3)
layer = nn.Linear(64, 64, bias=False)
W, u = layer.weight.detach().clone(), torch.randn(64)
true = torch.linalg.matrix_norm(W, 2)
for steps in (1, 10, 100, 1000):
    sigma = toy_power_iteration(W, u, steps)[0]
    print(f"{steps:4} steps: {100 * sigma / true:5.1f} % of the true sigma")
nn.utils.parametrizations.spectral_norm(layer)
_ = [layer(torch.zeros(1, 64)) for _ in range(1000)]
torch.testing.assert_close(layer.weight.detach(), W / true, atol=1e-4, rtol=0)

# %% [markdown]
# ## From toy to library
#
# `fomm_lib/gan.py` has all of the above, with checks of the input and finite gradients where the toy
# functions have none (an empty bin gives `nan`). Toy and library must agree, and
# $\max_D V = 2\,\mathrm{JSD} - \log 4$.

# %%
prediction, target = torch.rand(100), (torch.rand(100) > 0.5).float()
torch.testing.assert_close(
    gan.binary_cross_entropy(prediction, target), toy_bce(prediction, target)
)
d_real, d_fake = torch.rand(100), torch.rand(100)
two_costs = toy_bce(d_real, torch.ones(100)) + toy_bce(d_fake, torch.zeros(100))
torch.testing.assert_close(gan.value_function(d_real, d_fake), -two_costs)

pn, qn = p[near], q[near].detach()
torch.testing.assert_close(gan.kl_divergence(pn, qn), toy_kl(pn, qn))
torch.testing.assert_close(gan.js_divergence(pn, qn), toy_jsd(pn, qn))
torch.testing.assert_close(gan.wasserstein_1d(line, line, pn, qn), toy_w1(pn, qn, 0.01))
torch.testing.assert_close(
    gan.power_iteration(W, 100, u=u).sigma, toy_power_iteration(W, u, 100)[0]
)
torch.testing.assert_close(gan.r1_penalty(lambda x: 3 * x, real).item(), 9.0)
best_d = gan.optimal_discriminator(pn, qn)
best_value = (pn * best_d.log() + qn * (1 - best_d).log()).sum()
print(f"V at D*:        {best_value:.3f}")
print(f"2 JSD - log 4:  {2 * gan.js_divergence(pn, qn) - math.log(4):.3f}")

# %% [markdown]
# ## Break it
#
# The real data are eight small clusters ("islands") on a ring, and the discriminator learns much faster
# than the generator (five steps for each of the generator's, at five times the rate).
#
# How good are the samples? **Coverage**: how many islands have at least a quarter of the samples that
# they have in the data. **Precision**: the fraction of samples within three widths of an island. What do
# trivial answers get?

# %%
ANGLES = torch.arange(8) * (2 * math.pi / 8)
ISLANDS = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)
WIDTH = 0.05


def real_samples(n):
    return ISLANDS[torch.randint(8, (n,))] + WIDTH * torch.randn(n, 2)


torch.manual_seed(0)
turn = 2 * math.pi * torch.rand(20000)
trivial = {
    "real samples": real_samples(20000),
    "a random ring": 2 * torch.stack([turn.cos(), turn.sin()], dim=1),
    "one island": ISLANDS[:1] + WIDTH * torch.randn(20000, 2),
}
rows = []
for name, samples in trivial.items():
    near, far = (gan.mode_coverage(samples, ISLANDS, r * WIDTH) for r in (3, 6))
    rows.append([name, near.covered, near.precision, far.covered, far.precision])
columns = ["", "covered", "precision", "covered, 6 widths", "precision, 6 widths"]
plots.show_table(columns, rows, digits=2)

# %% [markdown]
# *Table 1. Neither number alone is enough; and with six widths a random ring covers all eight.*
#
# The whole training of a GAN; it is the loop of notebook 07, without images.


# %%
def train_gan(seed, steps=300, discriminator_steps=5, rate=1e-3, discriminator_rate=5e-3):
    torch.manual_seed(seed)
    act = nn.LeakyReLU(0.2)
    generator = nn.Sequential(nn.Linear(2, 64), act, nn.Linear(64, 64), act, nn.Linear(64, 2))
    discriminator = nn.Sequential(
        nn.Linear(2, 64), act, nn.Linear(64, 64), act, nn.Linear(64, 1)
    )
    g_adam = torch.optim.Adam(generator.parameters(), lr=rate, betas=(0.5, 0.9))
    d_adam = torch.optim.Adam(
        discriminator.parameters(), lr=discriminator_rate, betas=(0.5, 0.9)
    )
    moments = []
    for step in range(steps + 1):
        if step % (steps // 4) == 0:
            moments.append(generator(torch.randn(500, 2)).detach())
        for _ in range(discriminator_steps):
            real, fake = real_samples(128), generator(torch.randn(128, 2)).detach()
            d_loss = gan.binary_cross_entropy(discriminator(real), 1.0, from_logits=True)
            d_loss += gan.binary_cross_entropy(discriminator(fake), 0.0, from_logits=True)
            d_adam.zero_grad()
            d_loss.backward()
            d_adam.step()
        noise = torch.randn(128, 2)
        g_loss = gan.binary_cross_entropy(
            discriminator(generator(noise)), 1.0, from_logits=True
        )
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
    return moments


moments = train_gan(seed=0)

# %% [markdown]
# Circles are the islands, dots 500 samples:


# %% tags=["nbval-ignore-output", "hide-input"]
# @title Five moments of a training with a fast discriminator
def draw(axis, samples, colour=BLUE):
    axis.plot(*ISLANDS.T, "o", markersize=8, markerfacecolor="none", markeredgecolor="grey")
    axis.plot(*samples.T, ".", markersize=2.5, color=colour)
    covered, precision = gan.mode_coverage(samples, ISLANDS, 3 * WIDTH)
    axis.text(0, -3.4, f"{covered} of 8, {precision:.2f}", ha="center", fontsize=8)
    axis.set(xlim=(-3, 3), ylim=(-3.6, 2.7), xticks=[], yticks=[], aspect="equal")


figure, axes = plt.subplots(1, 5, figsize=(6, 1.7))
for axis, samples, step in zip(axes, moments, range(0, 301, 75), strict=True):
    draw(axis, samples)
    axis.set_title(f"step {step}", fontsize=9)
plots.show(
    figure,
    alt="Five moments of a training, steps 0 to 300: the samples spread over the plane, "
    "then gather along one side of the ring.",
)
assert gan.mode_coverage(moments[-1], ISLANDS, 3 * WIDTH).covered <= 4

# %% [markdown]
# *Figure 8. Covered islands and precision are below each moment: the samples gather on one side of the
# ring, and leave the rest.* This failure has a name: **mode collapse**.
#
# ### What helps?
#
# `python -m experiments.islands` trained four discriminators with two balances and eight seeds each, on
# one CPU core in an hour: without a bound, least squares, gradient penalty (weight 0.1), spectral norm
# (each layer divided by $\lVert W \rVert_2$, the output times 10). *Fast* is the balance above, for 1,500
# steps; *even* is one step each at the same rate, for 3,000. Guess before you read: does a bound or a
# better balance help more?

# %%
with open(fomm.data_path("gan", "islands.csv")) as file:
    table = list(csv.DictReader(file))
last = {"fast": "1500", "even": "3000"}
rows = []
for balance, method in dict.fromkeys((row["balance"], row["method"]) for row in table):
    same = [row for row in table if (row["balance"], row["method"]) == (balance, method)]
    end = [row for row in same if row["step"] == last[balance]]
    covered = [int(row["covered"]) for row in end]
    precision = sum(float(row["precision"]) for row in end) / len(end)
    undecided = 0.5 if method == "least squares" else 2 * math.log(2)
    loss = float(end[0]["disc_loss"]) / undecided
    least, most = min(covered), max(covered)
    said = f"{least} to {most}" if least < most else f"always {most}"
    rows.append([balance, method, said, precision, loss])
columns = ["balance", "bound", "covered, 8 seeds", "precision", "loss of D / undecided"]
plots.show_table(columns, rows, digits=2)

# %% [markdown]
# *Table 2. With a fast discriminator: no bound 1 to 3 islands, least squares 2 to 4, a bound 4 to 7, but
# samples scatter. An even balance helps most: without a bound 6 to 8, at a precision of 0.74; with spectral
# norm every seed covers all eight, at a little less precision.*

# %% tags=["hide-input"]
# @title Samples of seed 0, at the end
samples = {
    name: torch.tensor(points).float()
    for name, points in np.load(fomm.data_path("gan", "islands.npz")).items()
}
figure, axes = plt.subplots(2, 4, figsize=(6, 3.4))
looks = (BLACK, GREEN, ORANGE, SKY) * 2
for axis, (name, points), colour in zip(axes.flat, samples.items(), looks, strict=True):
    draw(axis, points, colour)
    axis.set_title(name.split(", ")[1] if name.startswith("fast") else "", fontsize=9)
for axis, name in zip(axes[:, 0], last, strict=True):
    axis.set_ylabel(name)
plots.show(
    figure,
    alt="Samples of eight trainings. Top, fast discriminator: without a bound one island, "
    "least squares a few, gradient penalty and spectral norm most islands with lines "
    "between them. Bottom, even balance: all four reach nearly all islands, with some "
    "lines between them.",
)

# %% [markdown]
# *Figure 9. Seed 0. A fast discriminator without a bound makes nearly perfect samples of one island:
# precision alone would call it best.*
#
# The loss does not show it: an even GAN without a bound and a fast one with a penalty both end near 0.87,
# and cover 7 and 5 islands on average. Look at samples.
#
# ## Exercises
#
# The check says `todo`, `ok`, or what is wrong and why. A wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · Wasserstein by sorting
#
# *code · difficulty 1 of 5 · importance 2 of 5 · 5 minutes*
#
# For two samples of equal size the cheapest way to move one onto the other is in sorted order. The
# distance is the mean of these differences.


# %%
def sorted_wasserstein(x, y):
    """W1 of two samples, tensors (N,) -> scalar; e.g. [2, 0, 1] and [7, 5, 6] give 5."""
    raise NotImplementedError


check_sorted_wasserstein(sorted_wasserstein)

# %% [markdown]
# <details><summary>Hint</summary><code>x.sort().values</code> is x in order.</details>
# <details><summary>Solution</summary>
#
# ```python
# def sorted_wasserstein(x, y):
#     return (x.sort().values - y.sort().values).abs().mean()
# ```
#
# </details>
#
# ### Exercise 2 · Find the bug
#
# *find the bug · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# Both losses of a GAN from raw outputs; the generator's is meant to be the non-saturating one. The training
# starts, the discriminator wins, and the generator does not move any more.


# %%
def gan_losses(on_real, on_fake):
    """Logits (N,), (N,) -> loss of the discriminator, loss of the generator; scalars."""
    of_real = gan.binary_cross_entropy(on_real, 1.0, from_logits=True)
    of_fake = gan.binary_cross_entropy(on_fake, 0.0, from_logits=True)
    return of_real + of_fake, -of_fake


check_gan_losses(gan_losses)

# %% [markdown]
# <details><summary>Hint</summary>Which row of the table in section 4 is this?</details>
# <details><summary>Solution</summary>
#
# ```python
# def gan_losses(on_real, on_fake):
#     of_real = gan.binary_cross_entropy(on_real, 1.0, from_logits=True)
#     of_fake = gan.binary_cross_entropy(on_fake, 0.0, from_logits=True)
#     return of_real + of_fake, gan.binary_cross_entropy(on_fake, 1.0, from_logits=True)
# ```
#
# </details>
#
# ### Exercise 3 · The penalty itself
#
# *code · difficulty 3 of 5 · importance 5 of 5 · 10 minutes*
#
# Given the points, compute the mean $(\lVert \nabla D \rVert - 1)^2$ so that it can be trained on.


# %%
def slope_penalty(critic, x):
    """Mean over the batch of (length of the critic's gradient - 1) squared.

    critic: (N, ...) -> (N,);  x: (N, ...), one point or image a row  ->  scalar.
    For critic = lambda x: 5 * x[:, 0] it is (5 - 1)**2 = 16 wherever x is.
    """
    raise NotImplementedError


check_slope_penalty(slope_penalty)

# %% [markdown]
# <details><summary>Hint</summary><code>torch.autograd.grad(critic(x).sum(), x, create_graph=True)</code>,
# after <code>x.requires_grad_()</code>. Flatten images before you take lengths, one a sample.</details>
# <details><summary>Solution</summary>
#
# ```python
# def slope_penalty(critic, x):
#     x = x.requires_grad_()
#     (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
#     return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
# ```
#
# </details>
#
# ### Exercise 4 · Does a deep network use its bound?
#
# *experiment · difficulty 3 of 5 · importance 4 of 5 · 15 minutes*
#
# Every layer of `normed_network(depth)` is divided by its spectral norm, so no slope is above 1. Predict
# what happens to the **largest** slope at the points `x` when the network gets deeper. Then measure it
# for depths 1, 2, 4 and 8.


# %%
def normed_network(depth):
    """(N, 64) -> (N,): linear layers of spectral norm 1, with ReLU between them."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64, bias=False) for _ in range(depth - 1)] + [nn.Linear(64, 1)]
    for layer in layers:
        layer.weight.data /= torch.linalg.matrix_norm(layer.weight.data, 2)
    with_relu = [part for layer in layers for part in (layer, nn.ReLU())][:-1]
    return nn.Sequential(*with_relu, nn.Flatten(0))


x = torch.randn(500, 64, generator=torch.Generator().manual_seed(1))
prediction = None  # "rises", "falls" or "stays"
measured = {}  # {depth: largest length of the gradient at the points x}, for 1, 2, 4 and 8
check_slope_by_depth(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# prediction = "falls"
# measured = {}
# for depth in (1, 2, 4, 8):
#     points = x.clone().requires_grad_()
#     (gradient,) = torch.autograd.grad(normed_network(depth)(points).sum(), points)
#     measured[depth] = float(gradient.norm(dim=1).max())
# check_slope_by_depth(prediction, measured)
# ```
#
# One layer's largest stretch is not where the next one's is, and ReLU removes half. That is why the
# output was multiplied by 10 above.
#
# </details>
#
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | loss is `nan` or `inf` | $\log 0$ from a probability rounded to 0 or 1 | compute from logits |
# | loss of D near 0, no progress | slope 0 at the samples | train D less; bound its slope |
# | samples all look alike | mode collapse | train D less; bound its slope; measure coverage |
# | samples lie between the kinds | training too short, or slope too small | train longer; scale D's output |
# | gradient penalty changes nothing | gradient without `create_graph=True` | exercise 3 |
#
# ## Questions
#
# **1.** The discriminator's cross-entropy (sum of both parts) has converged to 1.386. Is the generator
# perfect?
#
# <details><summary>Answer</summary>Perhaps. D* gives this value when both distributions are equal. A
# discriminator too weak to see a difference gives the same number, so look at samples.</details>
#
# **2.** Why is JSD never above log 2?
#
# <details><summary>Answer</summary>In its KL terms the middle is at least half of P, so the ratio is at most
# 2, and its logarithm at most log 2.</details>
#
# **3.** Two discriminators give D(x) and 3 D(x) + 1 as raw outputs. Which of minimax, least squares and the
# gradient penalty differ between them?
#
# <details><summary>Answer</summary>All: the second is more certain, its outputs are further from the targets,
# and its slope is three times as large. Only the ranking of samples is the same.</details>
#
# ## What you can now do
#
# You can derive what a discriminator measures, limit its slope, and measure whether it helped. Least
# squares returns in notebook 06, the penalties in 07.
#
# **Next:** [02 · data cleaning](02_data_cleaning.ipynb), because no loss can correct a frozen video.
#
# **References.** Goodfellow et al., *Generative Adversarial Nets*, NeurIPS 2014 · Mao et al., *Least
# Squares Generative Adversarial Networks*, ICCV 2017 · Arjovsky et al., *Wasserstein GAN*, ICML 2017 ·
# Gulrajani et al., *Improved Training of Wasserstein GANs*, NeurIPS 2017 · Miyato et al., *Spectral
# Normalization for GANs*, ICLR 2018 · Mescheder et al., *Which Training Methods for GANs do actually
# Converge?*, ICML 2018.
