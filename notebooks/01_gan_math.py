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
# At the end you can calculate what a discriminator tells a generator. You see a GAN lose most of its data,
# and fix it with two short formulas.
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
# - recognise mode collapse, and fix it with a gradient penalty and with spectral norm.
#
# | | |
# |---|---|
# | Know first | derivatives, expectations, the Gaussian; a training loop in PyTorch |
# | Minutes | 45 to read, 30 to practise |
# | GPU | no; about half a minute on two CPU cores |
# | Paper | background to section 3.3 (training losses); Goodfellow et al. 2014, equation 1, theorem 1 |
# | Module | `fomm_lib/gan.py` |
#
# ## Set-up
#
# On Colab the first cell fetches the course's library; elsewhere it does nothing.

# %%
import sys

if "google.colab" in sys.modules:
    import subprocess

    library = "fomm-lib @ git+https://github.com/fomm-course/fomm-course"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", library], check=True)

# %% [markdown]
# Then everything this notebook uses. `gan` has the formulas, `plots` the figures. One thread is fastest for
# networks this small, and gives the same digits on every machine.

# %%
import math

import torch
from matplotlib import pyplot as plt
from scipy import stats
from torch import nn

from fomm_lib import gan
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb01_gan_math import (
    check_gaussian_kl,
    check_slope_penalty,
    check_sorted_wasserstein,
)

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED = plots.COLOURS[:6]

# %% [markdown]
# ## The problem as one image
#
# A portrait that moves should look real. There is no formula for "looks real". So a GAN trains a second
# network, the *discriminator*, to tell real samples from generated ones, and the generator follows the slope
# of that network. Here a sample is one number instead of an image, so everything can be plotted on a line.
#
# In the figure, look for the interval in which the discriminator rises.


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
    "between them, "
    "so its slope points from the generated samples to the real ones.",
)

# %% [markdown]
# *Figure 1. Generated samples move up the slope of the discriminator. Where the slope is zero or very large,
# this fails. Most of this notebook is about keeping the slope useful.*
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
# | $D(x)$ | guessed probability of "real" | (N,) | (0, 1) | `prediction` |
# | $\log$ | natural logarithm, so the cost is in nats | | | |
#
# For each sample only one of the two terms is not zero: the logarithm of the probability that was given to
# the true label. What does a wrong guess cost?


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
    alt="A guess costs 0 if certain and right, log 2 if undecided, and has no upper bound if "
    "wrong.",
)

# %% [markdown]
# *Figure 2. A guess that is certain and wrong has an unbounded cost; one that is certain and right costs
# nothing.*
#
# An undecided guess of 1/2 (the dot) costs $\log 2 = 0.693$ for either label. Remember this number: half of a
# discriminator's loss converges to it if the generator is perfect.
#
# The unbounded end causes numerical errors. The network computes a *logit* $s$, any real number, and
# $D = 1/(1+e^{-s})$. In float32 a logit of -200 gives $D = 0$ exactly, and $\log 0$. With the identity
# $-\log D = \log(1 + e^{-s})$, computed as `softplus(-s)`, the same cost stays finite.

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
# $$\min_G \max_D V(D, G) = \mathbb{E}_{x \sim p_\mathrm{data}}\big[\log D(x)\big]
# + \mathbb{E}_{z}\big[\log\big(1 - D(G(z))\big)\big].$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p_\mathrm{data}$ | density of the real samples | (points,) | 0 or more | `p_data` |
# | $p_\mathrm{model}$ | density of the generated samples | (points,) | 0 or more | `p_model` |
# | $D(x)$, $D(G(z))$ | guesses for real and generated samples | (N,) | (0, 1) | `d_real`, `d_fake` |
# | $z$ | noise that the generator turns into a sample | (N, 2) | any | `noise` |
# | $V$ | value: minus two cross-entropies | scalar | 0 or less | `value` |
#
# **Which $D$ is best?** Write the expectations as one integral,
# $V = \int p_\mathrm{data} \log D + p_\mathrm{model} \log(1 - D) \, dx$. The value of $D$ at one point does
# not depend on its value at another. So take one point, with $a = p_\mathrm{data}(x)$ and
# $b = p_\mathrm{model}(x)$, and find where the derivative of $a \log D + b \log (1 - D)$ is zero:
#
# $$\frac{a}{D} - \frac{b}{1 - D} = 0
# \quad\Longrightarrow\quad D^\ast(x) = \frac{p_\mathrm{data}(x)}{p_\mathrm{data}(x) + p_\mathrm{model}(x)}.$$
#
# As a test, try every $D$ at one point where real samples are three times as frequent as generated ones.

# %%
a, b = 0.3, 0.1
candidates = torch.linspace(0.001, 0.999, 999)
value = a * candidates.log() + b * (1 - candidates).log()
best = candidates[value.argmax()].item()
print(f"best of 999 guesses: {best:.3f}   a / (a + b) = {a / (a + b):.3f}")

# %% [markdown]
# A network does not know the densities; it gets only samples. Does it find $D^\ast$? We train a small
# discriminator for 600 steps of cross-entropy, on samples from the two Gaussians of Figure 1. The black curve
# is the formula, which the network does not know. Where do the two differ after 600 steps?

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
    alt="With more steps the trained network approaches the formula; at the end both agree.",
)
print(
    "close to D* wherever samples are:", bool((learned[600] - d_best)[seen].abs().max() < 0.1)
)

# %% [markdown]
# *Figure 3. Trained only on samples, the network finds $D^\ast$ where there are samples.* At the far right,
# where samples are too rare to train on, the two differ: the formula goes down again, because far out in both
# tails the density of the wider Gaussian is larger, and the network gets no samples that show it.
#
# **What is the value of $V$ then?** Put $D^\ast$ into $V$; the result depends only on the two distributions:
#
# $$\max_D V = 2 \, \mathrm{JSD}(p_\mathrm{data}, p_\mathrm{model}) - \log 4.$$
#
# So the optimal discriminator *measures a distance*. Which one, and does it have a useful slope?
#
# ## 3. Three distances: KL, Jensen-Shannon, Wasserstein
#
# $$\mathrm{KL}(p \,\|\, q) = \sum_i p_i \log \frac{p_i}{q_i}, \qquad
# \mathrm{JSD}(p, q) = \tfrac12 \mathrm{KL}(p \,\|\, m) + \tfrac12 \mathrm{KL}(q \,\|\, m),
# \quad m = \tfrac{p + q}{2}, \qquad
# W_1(p, q) = \int \big| F_p(t) - F_q(t) \big| \, dt.$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p, q$ | weights of the bins of a line, each sums to 1 | (..., bins) | [0, 1] | `p`, `q` |
# | $F$ | cumulative distribution: weight up to $t$ | (bins,) | [0, 1] | `p.cumsum(0)` |
# | KL | nats lost by coding $p$ with a code made for $q$ | (...) | [0, ∞] | `toy_kl` |
# | JSD | the mean KL to the average $m$, symmetric | (...) | [0, log 2] | `toy_jsd` |
# | $W_1$ | earth mover's: weight times the distance it is moved | scalar | [0, ∞), unit of x | `toy_w1` |
#
# Each is one line of code, on a grid of points:


# %%
def toy_kl(p, q):
    return (p * (p / q).log()).sum(-1)


def toy_jsd(p, q):
    return (toy_kl(p, (p + q) / 2) + toy_kl(q, (p + q) / 2)) / 2


def toy_w1(p, q, width):
    return (p.cumsum(-1) - q.cumsum(-1)).abs().sum(-1) * width


# %% [markdown]
# Now the experiment of this notebook: a generated Gaussian starts at the real one and moves away by `shift`.
# What is each distance and, more important for a generator, its *slope*?

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
# Left are the distances, right their slopes. At a shift of 6: which slope still leads back to shift 0?

# %%
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
    alt="As two Gaussians move apart, JSD rises to log 2 and stays there with slope zero. The "
    "Wasserstein "
    "distance grows evenly, its slope is 1 everywhere. KL grows with the square of the shift.",
)

# %% [markdown]
# *Figure 4. When the Gaussians no longer overlap, JSD is constant: it is the same near and far. Wasserstein
# still gives the distance and the direction.*
#
# KL has a slope too, as long as both densities are positive everywhere. Images are different: they lie on a
# thin surface in the space of all pixel values, two such surfaces hardly intersect, and then KL is infinite
# and JSD is $\log 2$. That is the situation at the start of every GAN training.
#
# Are the numbers right? We compare with the closed forms for two Gaussians of equal width $\sigma$,
# $\mathrm{KL} = s^2 / 2\sigma^2$ and $W_1 = |s|$, and against SciPy:

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
# The same problem from the generator's side: how large is the gradient that the discriminator's output for
# *one* generated sample gives? With the raw output $s$ and $D = 1/(1+e^{-s})$:
#
# | loss of the generator | formula | slope by $s$ | no gradient when |
# |---|---|---|---|
# | minimax (section 2) | $\log(1 - D)$ | $-D$ | it is clearly recognised as generated ($s \ll 0$) |
# | non-saturating | $-\log D$ | $-(1 - D)$ | it is clearly taken for real ($s \gg 0$) |
# | least squares | $(1 - s)^2$ | $-2(1 - s)$ | only at $s = 1$ |
#
# Least squares uses $s$ itself; its target is 1 for real and 0 for generated samples. The First Order Motion
# Model trains with (Mao et al. 2017, without their factor 1/2)
#
# $$\mathcal{L}_G = \mathbb{E}\big[(1 - D(\text{fake}))^2\big], \qquad
# \mathcal{L}_D = \mathbb{E}\big[(1 - D(\text{real}))^2 + D(\text{fake})^2\big].$$
#
# Each generator loss below gets the same outputs, and autograd gives the negative slope (the "push"). Look at
# the left end, where the discriminator is certain that the sample is generated: which losses still have a
# slope?

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
    "generated, the "
    "non-saturating loss at most 1; least squares gives more, the further the output is from "
    "1.",
)

# %% [markdown]
# *Figure 5. Minimax gives no gradient to the worst samples. Least squares gives the largest to them, and also
# pulls back samples above 1, so the discriminator's outputs stay in a small range.*
#
# Does least squares change the optimum? At one point it costs $a(1 - D)^2 + b D^2$, whose derivative is zero
# at $D = a / (a + b)$: the same $D^\ast$. A discriminator that gives 1/2 everywhere has these losses, two
# numbers to know when reading a training log:

# %%
least = candidates[(a * (1 - candidates) ** 2 + b * candidates**2).argmin()].item()
half = torch.full((4, 1, 26, 26), 0.5)
print(f"best of 999 guesses: {least:.3f}")
print(f"generator     {gan.lsgan_generator_loss(half):.2f}")
print(f"discriminator {gan.lsgan_discriminator_loss(half, half):.2f}")

# %% [markdown]
# ## 5. A bound on the slope: gradient penalty
#
# The Wasserstein distance has a second form (Kantorovich and Rubinstein): it is the largest difference of
# means, $\max_D \mathbb{E}_\mathrm{data}[D] - \mathbb{E}_\mathrm{model}[D]$, over all $D$ whose slope is
# nowhere above 1. So the constant JSD of Figure 4 is avoided by *limiting the discriminator's slope*.
# Gulrajani et al. 2017 (equation 3) add a penalty for other slopes:
#
# $$\mathrm{GP} = \mathbb{E}_{\hat x}\Big[\big(\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1\big)^2\Big],
# \qquad \hat x = \epsilon \, x_\mathrm{real} + (1 - \epsilon) \, x_\mathrm{fake},
# \quad \epsilon \sim U[0, 1].$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\hat x$ | a point between a real and a generated sample | (N, ...) | that of x | `between` |
# | $\epsilon$ | position between them, one number for each sample | (N, 1, ...) | [0, 1] | drawn inside |
# | $\lambda$ | weight of the penalty in the loss | scalar | 0.1 to 10 | `weight` |
#
# We train two discriminators, one with the penalty, on Gaussians that do not overlap: real samples near 2,
# generated ones near -2.


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
# Look at the slope at a generated sample, at -2, first without the penalty, then with it.

# %%
at = torch.linspace(-3.5, 3.5, 281)[:, None].requires_grad_()
seen_by = {"free": free(at).sigmoid()[:, 0], "gradient penalty": bounded(at).sigmoid()[:, 0]}
figure = plots.plot_curves(
    at[:, 0], seen_by, "a sample x (no unit)", "D(x), a probability", ylim=(-0.15, 1.05)
)
for position, who in ((-2, "generated"), (2, "real")):
    figure.axes[0].text(position, -0.1, f"{who} samples", ha="center")
plots.show(
    figure,
    alt="Without a penalty the discriminator is a step, flat where the generated samples are. "
    "With the "
    "gradient penalty it rises evenly from the generated to the real samples.",
)
slope = {
    name: torch.autograd.grad(curve.sum(), at)[0][60].item() for name, curve in seen_by.items()
}
assert abs(slope["free"]) < 0.001 and slope["gradient penalty"] > 0.05

# %% [markdown]
# *Figure 6. Without a penalty the discriminator is a step between two flat parts; with the penalty it is a
# ramp.* The last line of the cell checks this: at -2 the slope is below 0.001 without the penalty, above 0.05
# with it.
#
# A related penalty, R1 (`gan.r1_penalty`; Mescheder et al. 2018), uses only real samples, with target slope
# 0: when the generator is right, no gradient should move it away.
#
# ## 6. A bound on the weights: spectral norm
#
# The penalty limits the slope at sampled points, at the cost of a second backward pass. Spectral norm limits
# it everywhere. A layer $x \mapsto Wx$ stretches no vector by more than its largest singular value
# $\sigma(W)$, and ReLU stretches nothing, so a network of layers $W / \sigma(W)$ has slope at most 1. Power
# iteration finds $\sigma$ without a decomposition (Miyato et al. 2018, section 2.1 and appendix A):
#
# $$v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad
# u \leftarrow \frac{W v}{\lVert W v \rVert}, \qquad
# \sigma(W) \approx u^\top W v.$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $W$ | weight of a layer; a convolution is read as (out, in·h·w) | (out, in) | any | `W` |
# | $u, v$ | directions of the largest stretch: output and input | (out,), (in,) | length 1 | `u`, `v` |
# | $\sigma$ | largest singular value | scalar | 0 or more | `sigma` |


# %%
def toy_power_iteration(W, u, steps):
    for _ in range(steps):
        v = W.T @ u
        v = v / v.norm()
        u = W @ v
        u = u / u.norm()
    return u @ W @ v, u


# %% [markdown]
# $W$ maps the unit circle to an ellipse; $\sigma$ is its longest half-axis. With each step the arrow turns
# towards that axis.

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
    alt="A matrix maps the unit circle to an ellipse. The arrows of power iteration, numbered "
    "0 to 3, "
    "start far from the ellipse's longest axis and turn towards it.",
)

# %% [markdown]
# *Figure 7. Each step turns $u$ towards the axis that is stretched most; the error shrinks by
# $(\sigma_2 / \sigma_1)^2$.*
#
# Now a matrix of the size of a layer, compared with the SVD and with PyTorch's own spectral norm. PyTorch
# makes 15 steps when the norm is attached and one more in every forward pass of training, and keeps $u$ in
# between, because the weight hardly changes from step to step.

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
# `fomm_lib/gan.py` has all of the above, with checks of the input, finite gradients where the toy functions
# have none (an empty bin gives `nan`), and a source for each formula. On the same input, toy and library must
# agree. The equation of section 2, $\max_D V = 2\,\mathrm{JSD} - \log 4$, can now be tested too, with
# $D^\ast$ on the grid.

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
# Now in two dimensions, with conditions under which a GAN fails: the real data are eight small clusters
# ("islands") on a ring, and the discriminator learns much faster than the generator (five steps for each step
# of the generator, at five times the learning rate).
#
# The networks are small. `max_slope` is 0 without spectral norm; otherwise every layer is divided by its
# $\sigma$, and the output is multiplied by `max_slope`, which is then the largest slope that the
# discriminator can have. (A slope of 1 is too small to separate such small islands from their surroundings.)

# %%
angles = torch.arange(8) * (2 * math.pi / 8)
ISLANDS = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)


def real_samples(n):
    return ISLANDS[torch.randint(8, (n,))] + 0.02 * torch.randn(n, 2)


def islands_reached(samples):
    distance, nearest = torch.cdist(samples, ISLANDS).min(dim=1)
    visits = torch.bincount(nearest[distance < 0.3], minlength=8)
    return int((visits >= 0.02 * len(samples)).sum())


class Discriminator(nn.Module):
    def __init__(self, max_slope):
        super().__init__()
        linear = [nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 1)]
        if max_slope:
            linear = [nn.utils.parametrizations.spectral_norm(layer) for layer in linear]
        self.layers = nn.Sequential(
            linear[0], nn.LeakyReLU(0.2), linear[1], nn.LeakyReLU(0.2), linear[2]
        )
        self.scale = max_slope or 1.0

    def forward(self, x):
        return self.scale * self.layers(x)


# %% [markdown]
# This is the whole training of a GAN. Read it line by line: it is the loop of notebook 07, without images.


# %%
def train_gan(seed, penalty=0.0, max_slope=0.0, steps=320):
    torch.manual_seed(seed)
    act = nn.LeakyReLU(0.2)
    generator = nn.Sequential(nn.Linear(2, 64), act, nn.Linear(64, 64), act, nn.Linear(64, 2))
    discriminator = Discriminator(max_slope)
    g_adam = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    d_adam = torch.optim.Adam(discriminator.parameters(), lr=5e-3, betas=(0.5, 0.9))
    frames, d_losses = [], []
    for step in range(steps + 1):
        if step % 20 == 0:
            frames.append(generator(torch.randn(500, 2)).detach())
        for _ in range(5):
            real, fake = real_samples(128), generator(torch.randn(128, 2)).detach()
            d_loss = gan.binary_cross_entropy(discriminator(real), 1.0, from_logits=True)
            d_loss = d_loss + gan.binary_cross_entropy(
                discriminator(fake), 0.0, from_logits=True
            )
            total = (
                d_loss + penalty * gan.gradient_penalty(discriminator, real, fake)
                if penalty
                else d_loss
            )
            d_adam.zero_grad()
            total.backward()
            d_adam.step()
        d_losses.append(d_loss.item())
        noise = torch.randn(128, 2)
        g_loss = gan.binary_cross_entropy(
            discriminator(generator(noise)), 1.0, from_logits=True
        )
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
    return frames, d_losses


plain, plain_loss = train_gan(seed=7)
print("reaches at most half of the islands:", islands_reached(plain[-1]) <= 4)

# %% [markdown]
# It fails, and this failure has a name: **mode collapse**. The generator makes samples for a few islands,
# where the discriminator takes them for real, and none for the others. Now the same seed, nothing else
# changed, with a gradient penalty of weight 0.1:

# %%
penalised, penalised_loss = train_gan(penalty=0.1, seed=7)
print("gradient penalty reaches at least 6 of 8:", islands_reached(penalised[-1]) >= 6)

# %% [markdown]
# And spectral norm, with a largest slope of 5:

# %%
normed, normed_loss = train_gan(max_slope=5.0, seed=7)
print("spectral norm reaches at least 6 of 8:   ", islands_reached(normed[-1]) >= 6)

# %% [markdown]
# Compare the three trainings side by side. Circles are the islands, dots are 500 generated samples; the
# number counts the islands that get at least 2 % of them.

# %%
runs = {
    "nothing": (plain, BLACK),
    "gradient penalty": (penalised, ORANGE),
    "spectral norm": (normed, SKY),
}


def draw(axis, samples, colour):
    axis.plot(*ISLANDS.T, "o", markersize=12, markerfacecolor="none", markeredgecolor="grey")
    axis.plot(*samples.T, ".", markersize=2.5, color=colour)
    axis.text(0, -3.3, f"{islands_reached(samples)} of 8", ha="center")
    axis.set(xlim=(-3, 3), ylim=(-3.5, 2.7), xticks=[], yticks=[], aspect="equal")


def draw_frame(i):
    figure, axes = plt.subplots(1, 3, figsize=(6, 2.4))
    for axis, (name, (frames, colour)) in zip(axes, runs.items(), strict=True):
        draw(axis, frames[i], colour)
        axis.set_title(name)
    figure.suptitle(f"step {20 * i} of 320", fontsize=9)
    pixels = plots.figure_pixels(figure)
    plt.close(figure)
    return pixels


animation = plots.animation_png([draw_frame(i) for i in range(17)], fps=4, hold=3, colours=32)
plots.show(
    animation,
    alt="Three GANs learn eight islands on a ring. The plain one covers a few islands and "
    "stays there; "
    "those with a gradient penalty or spectral norm spread over the whole ring.",
)

# %% [markdown]
# *Figure 8 (animated). Without a bound on the discriminator's slope the generator collapses to a few islands
# and stays there; with either bound it finds the ring.* The same as still images, for readers on paper:

# %%
figure, axes = plt.subplots(3, 5, figsize=(5.2, 3.4))
for row, (name, (frames, colour)) in zip(axes, runs.items(), strict=True):
    for axis, i in zip(row, (0, 3, 6, 10, 16), strict=True):
        draw(axis, frames[i], colour)
        axis.lines[0].set_markersize(6)
        axis.texts[0].set_fontsize(7)
        axis.set_title(f"step {20 * i}" if name == "nothing" else "")
    row[0].set_ylabel(name.replace(" ", "\n"))
plots.show(
    figure,
    alt="Five moments of the same three trainings, steps 0 to 320. Top row, nothing: ends on a "
    "few islands. "
    "Middle and bottom row, gradient penalty and spectral norm: end on the whole ring.",
)

# %% [markdown]
# Does the loss show it? For an undecided discriminator the sum of both parts is $2 \log 2 = 1.386$.

# %%
d_losses_by_run = {
    "nothing": plain_loss,
    "gradient penalty": penalised_loss,
    "spectral norm": normed_loss,
}
steps = range(len(plain_loss))
figure = plots.plot_curves(
    steps, d_losses_by_run, "step of the generator", "discriminator's loss (nats)", ylim=(0, 2)
)
figure.axes[0].axhline(2 * math.log(2), color="grey", linewidth=0.8)
figure.axes[0].text(0, 1.42, "undecided: 2 log 2", color="grey")
plots.show(
    figure,
    alt="The discriminator's loss. Without a bound it stays well below the undecided value; "
    "with gradient "
    "penalty or spectral norm it rises close to it.",
)

# %% [markdown]
# *Figure 9. With a bound the discriminator ends near undecided. Without one it stays better than the
# generator, and its loss shows that; but no loss shows **which** islands are missing: look at samples.*
#
# Does it depend on the seed? With twelve seeds, 0 to 11, the plain GAN ended on 1 to 4 islands, and never on
# more; with six, 0 to 5, either bound ended on all eight each time. Try your own: `train_gan(seed=5)` takes a
# few seconds.
#
# ## Exercises
#
# **1. KL of two Gaussians** (★, 5 minutes, useful in every variational method). Write the closed form that
# section 3 used for equal widths, now for any:
#
# $$\mathrm{KL}(p \,\|\, q) = \log \frac{\sigma_q}{\sigma_p}
# + \frac{\sigma_p^2 + (\mu_p - \mu_q)^2}{2 \sigma_q^2} - \frac12.$$


# %%
def gaussian_kl(mean_p, std_p, mean_q, std_q):
    """KL(p | q) in nats, from four numbers; e.g. gaussian_kl(0.0, 1.0, 3.0, 1.0) is 4.5."""
    raise NotImplementedError


check_gaussian_kl(gaussian_kl)

# %% [markdown]
# <details><summary>Hint</summary>Use <code>math.log</code>. Equal Gaussians must give 0: which term ensures
# that?</details>
# <details><summary>Solution</summary>
#
# ```python
# def gaussian_kl(mean_p, std_p, mean_q, std_q):
#     return math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5
# ```
#
# </details>
#
# **2. Wasserstein by sorting** (★, 5 minutes). For two samples of equal size the cheapest way to move one
# onto the other is in sorted order: the smallest to the smallest, and so on. The distance is the mean of
# these differences.


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
# **3. The penalty itself** (★★, 10 minutes, the heart of this notebook). Given the points, compute the mean
# $(\lVert \nabla D \rVert - 1)^2$ so that it can be trained on.


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
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | loss is `nan` or `inf` | $\log 0$ from a probability rounded to 0 or 1 | compute from logits |
# | loss of D near 0, no progress | slope 0 at the samples | bound the slope; train it less |
# | samples all look alike | mode collapse | bound the slope; least squares; look at samples, not the loss |
# | samples change from kind to kind | the two networks oscillate | smaller steps, $\beta_1 = 0.5$ or 0 |
# | gradient penalty changes nothing | gradient taken without `create_graph=True` | exercise 3 |
# | spectral norm makes samples blurred | the slope is too small for details | scale the output |
#
# ## Questions
#
# 1. The discriminator's cross-entropy (sum of both parts) has converged to 1.386. Is the generator perfect?
#
# <details><summary>Answer</summary>Perhaps. D* gives this value when both distributions are equal. A
# discriminator too weak to see a difference gives the same number, so look at samples.</details>
#
# 2. Why is JSD never above log 2?
#
# <details><summary>Answer</summary>In KL(p | m) the middle m is at least p / 2, so the ratio p / m is at
# most 2 and its logarithm at most log 2.</details>
#
# 3. Two discriminators give D(x) and 3 D(x) + 1 as raw outputs. Which of minimax, least squares and the
#    gradient penalty differ between them?
#
# <details><summary>Answer</summary>All. For minimax the second is more certain, for least squares its outputs
# are further from the targets, and its slope is three times as large. Only the ranking of samples is the
# same.</details>
#
# 4. The discriminator of this course rates patches: it gives a map of 26 x 26 numbers. What is the loss then?
#
# <details><summary>Answer</summary>The mean over the map, as over a batch: each number rates one patch
# (notebook 06).</details>
#
# ## What you can now do
#
# You can derive what a discriminator measures, tell a useful distance from one without a slope, and limit the
# slope of a discriminator. All of it is used later: least squares in notebook 06, the penalties as options of
# the training in notebook 07.
#
# **Next:** [02 · data cleaning](02_data_cleaning.ipynb), because no loss can correct a frozen video.
#
# **References.** Goodfellow et al., *Generative Adversarial Nets*, NeurIPS 2014 · Mao et al., *Least
# Squares Generative Adversarial Networks*, ICCV 2017 · Arjovsky, Chintala, Bottou, *Wasserstein GAN*, ICML
# 2017 · Gulrajani et al., *Improved Training of Wasserstein GANs*, NeurIPS 2017 · Miyato et al., *Spectral
# Normalization for GANs*, ICLR 2018 · Mescheder et al., *Which Training Methods for GANs do actually
# Converge?*, ICML 2018 · Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019.
