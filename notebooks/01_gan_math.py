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
# By the end you can say in numbers what a discriminator tells a generator, watch a GAN forget most of its
# data, and mend it with two short formulas.
#
# ## At a glance
#
# **You will be able to**
#
# - derive binary cross-entropy, the value function and the best discriminator $D^\ast$, and watch a small
#   network approach it;
# - measure how far apart two distributions are with KL, Jensen-Shannon and Wasserstein, and say when each
#   is useless;
# - explain why the First Order Motion Model uses least squares;
# - recognise mode collapse, and mend it with a gradient penalty and with spectral norm.
#
# | | |
# |---|---|
# | Know first | derivatives, expectations, the Gaussian; a training loop in PyTorch |
# | Minutes | 45 to read, 30 to practise |
# | GPU | no; about half a minute on two CPU cores |
# | Paper | background to section 3.3 (training losses); Goodfellow et al. 2014, equation 1, theorem 1 |
# | Module | `fomm_lib.gan` |
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
# Then everything this notebook uses. `gan` holds the formulas, `plots` the style of the pictures. One
# thread is fastest for networks this small, and gives the same digits on every machine.

# %%
import math

import torch
from matplotlib import pyplot as plt
from scipy import stats
from torch import nn

from fomm_lib import gan, plots
from fomm_lib.exercises import check_gaussian_kl, check_slope_penalty, check_sorted_wasserstein

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED = plots.COLOURS[:6]

# %% [markdown]
# ## The problem as one picture
#
# A portrait that moves should look real. Nobody can write "looks real" as a formula, so a GAN trains a
# second network, the *discriminator*, to tell real samples from generated ones, and lets the generator
# follow its slope. Here a sample is one number instead of a picture, and everything fits on a line.
#
# In the picture, look for the stretch where the discriminator rises.


# %%
def density(x, mean, std):
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


x = torch.linspace(-6, 6, 601)
p_data, p_model = density(x, 1.5, 0.8), density(x, -1.5, 1.2)
judged = gan.optimal_discriminator(p_data, p_model)
curves = {"real samples": p_data, "generated samples": p_model, "discriminator": judged}
figure = plots.plot_curves(x, curves, "a sample x (no unit)", "density, or probability")
figure.axes[0].annotate("uphill", (0.9, 0.7), (-1.4, 0.69), arrowprops={"arrowstyle": "->"})
plots.show(
    figure,
    alt="Generated samples lie left of the real ones. The discriminator rises from 0 to 1 between them, "
    "and its slope shows the generated samples the way to the real ones.",
)

# %% [markdown]
# *Figure 1. The discriminator is a landscape: generated samples climb it. A landscape with cliffs and
# plains is hard to climb, and most of this notebook is about keeping it climbable.*
#
# ## 1. Binary cross-entropy: the price of a guess
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
# | $\log$ | natural logarithm, so the price is in nats | | | |
#
# Only one of the two terms counts for a sample: the logarithm of the probability given to what turned out
# true. What does a wrong guess cost?


# %%
def toy_bce(prediction, target):
    return -(target * prediction.log() + (1 - target) * (1 - prediction).log()).mean()


undecided = toy_bce(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
print(f"undecided: {undecided:.3f} nats, log 2 = {math.log(2):.3f}")
guess = torch.linspace(0.005, 0.995, 200)
prices = {"it was real: -log D": -guess.log(), "it was generated: -log(1 - D)": -(1 - guess).log()}
figure = plots.plot_curves(guess, prices, "guess D(x), a probability", "price in nats", ylim=(0, 5))
figure.axes[0].plot(0.5, math.log(2), "ko")
plots.show(figure, alt="A guess costs 0 when sure and right, log 2 when undecided, without bound when wrong.")

# %% [markdown]
# *Figure 2. Being sure and wrong costs without bound; being sure and right costs nothing.*
#
# "I don't know" (the dot) costs $\log 2 = 0.693$, whatever comes: remember it, it is what half of a
# discriminator's loss settles at when the generator has won.
#
# That unbounded end is where programs break. The network computes a *logit* $s$, any real number, and
# $D = 1/(1+e^{-s})$. In float32 a logit of -200 gives $D = 0$ exactly, and $\log 0$. With the identity
# $-\log D = \log(1 + e^{-s})$, computed as `softplus(-s)`, the same price stays finite.

# %%
sure_and_wrong = torch.tensor([-200.0])
print("through the probability:", toy_bce(sure_and_wrong.sigmoid(), torch.ones(1)).item())
print("from the logit:         ", gan.binary_cross_entropy(sure_and_wrong, 1.0, from_logits=True).item())

# %% [markdown]
# ## 2. The value function, and the judge nobody beats
#
# Both networks play for one number, which the discriminator $D$ raises and the generator $G$ lowers
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
# $V = \int p_\mathrm{data} \log D + p_\mathrm{model} \log(1 - D) \, dx$. Nothing ties $D$ at one point to
# $D$ at another, so take one point, with $a = p_\mathrm{data}(x)$ and $b = p_\mathrm{model}(x)$, and find
# where the derivative of $a \log D + b \log (1 - D)$ is zero:
#
# $$\frac{a}{D} - \frac{b}{1 - D} = 0
# \quad\Longrightarrow\quad D^\ast(x) = \frac{p_\mathrm{data}(x)}{p_\mathrm{data}(x) + p_\mathrm{model}(x)}.$$
#
# Before believing it, try every $D$ at one point where real samples are three times as frequent as
# generated ones.

# %%
a, b = 0.3, 0.1
candidates = torch.linspace(0.001, 0.999, 999)
value = a * candidates.log() + b * (1 - candidates).log()
best = candidates[value.argmax()].item()
print(f"best of 999 guesses: {best:.3f}   a / (a + b) = {a / (a + b):.3f}")

# %% [markdown]
# A network does not know the densities; it sees samples only. Does it get there? A small judge, 600 steps
# of cross-entropy, on samples from the two Gaussians of Figure 1. The black curve will be the formula, which
# the network has never seen. Where do the two differ after 600 steps?

# %%
torch.manual_seed(0)
judge = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
optimiser = torch.optim.Adam(judge.parameters(), lr=0.01)
learned = {}
for step in range(601):
    if step in (0, 10, 600):
        learned[step] = judge(x[:, None]).sigmoid()[:, 0].detach()
    real, fake = 1.5 + 0.8 * torch.randn(256, 1), -1.5 + 1.2 * torch.randn(256, 1)
    loss = gan.binary_cross_entropy(judge(real), 1.0, from_logits=True)
    loss = loss + gan.binary_cross_entropy(judge(fake), 0.0, from_logits=True)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

curves = {"D*, the formula": judged} | {f"network, {step} steps": learned[step] for step in learned}
figure = plots.plot_curves(x, curves, "a sample x (no unit)", "D(x), a probability")
seen = (p_data + p_model) > 0.01
figure.axes[0].axvspan(x[seen][0], x[seen][-1], color="grey", alpha=0.15)
plots.show(figure, alt="Step by step the trained network approaches the formula, and ends on it.")
print("close to D* wherever samples are:", bool((learned[600] - judged)[seen].abs().max() < 0.1))

# %% [markdown]
# *Figure 3. Trained on samples alone, the network finds $D^\ast$ where there are samples.* At the far
# right, where no sample ever comes, the two part: the formula bends down again, because the wider Gaussian
# wins both tails in the end, and nothing tells the network so.
#
# **What is the game worth then?** Put $D^\ast$ into $V$, and what remains depends on the two distributions
# only:
#
# $$\max_D V = 2 \, \mathrm{JSD}(p_\mathrm{data}, p_\mathrm{model}) - \log 4.$$
#
# So the best discriminator *measures a distance*. Which one, and is it a good one to walk down?
#
# ## 3. Three rulers: KL, Jensen-Shannon, Wasserstein
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
# | JSD | the same against the middle, symmetric | (...) | [0, log 2] | `toy_jsd` |
# | $W_1$ | earth mover's: weight times the way it is carried | scalar | [0, ∞), unit of x | `toy_w1` |
#
# Three lines, on a grid of the line:


# %%
def toy_kl(p, q):
    return (p * (p / q).log()).sum(-1)


def toy_jsd(p, q):
    return (toy_kl(p, (p + q) / 2) + toy_kl(q, (p + q) / 2)) / 2


def toy_w1(p, q, width):
    return (p.cumsum(-1) - q.cumsum(-1)).abs().sum(-1) * width


# %% [markdown]
# Now the experiment of this notebook: a generated bump starts on top of the real one and moves away, by
# `shift`. What does each ruler say, and, more important to a generator, how *steep* is it?

# %%
line = torch.linspace(-4, 12, 1601, dtype=torch.float64)
shifts = torch.linspace(0, 8, 161, dtype=torch.float64, requires_grad=True)
p = density(line, 0.0, 0.5).expand(len(shifts), -1) * 0.01
q = density(line, shifts[:, None], 0.5) * 0.01
rulers = {"JSD": gan.js_divergence(p, q), "Wasserstein": toy_w1(p, q, 0.01), "KL": gan.kl_divergence(p, q)}
slopes = {
    name: torch.autograd.grad(ruler.sum(), shifts, retain_graph=True)[0] for name, ruler in rulers.items()
}

# %% [markdown]
# Left the distances, right their slopes. Stand at a shift of 6 and ask each ruler which way is home.

# %%
figure, axes = plt.subplots(1, 2, figsize=(6, 3))
looks = {"JSD": (RED, "--"), "Wasserstein": (BLUE, "-"), "KL": (GREEN, ":")}
for axis, curves in zip(axes, (rulers, slopes), strict=True):
    for name, (colour, line_style) in looks.items():
        axis.plot(shifts.detach(), curves[name].detach(), color=colour, linestyle=line_style, label=name)
    axis.set_xlabel("shift of the generated bump")
axes[0].set(ylim=(0, 6), ylabel="distance (nats, or unit of x)")
axes[0].axhline(math.log(2), color="grey", linewidth=0.8)
axes[0].text(5.6, 0.85, "log 2", color="grey")
axes[1].set(ylim=(-0.1, 1.5), ylabel="slope")
axes[1].legend(loc="center right")
plots.show(
    figure,
    alt="As two bumps move apart, JSD rises to log 2 and stays there with slope zero. The Wasserstein "
    "distance grows evenly, its slope is 1 everywhere. KL grows with the square of the shift.",
)

# %% [markdown]
# *Figure 4. Once the bumps no longer overlap, JSD is flat: "different", it says, near or far. Wasserstein
# still says how far, and which way.*
#
# KL has a slope too, as long as both densities are positive everywhere. Pictures are not like that: they
# fill a thin sheet in the space of all pixel values, two such sheets hardly touch, and then KL is infinite
# and JSD is $\log 2$. That is the situation at the start of every GAN training.
#
# Are the numbers right? Against the closed forms of two Gaussians of equal width $\sigma$,
# $\mathrm{KL} = s^2 / 2\sigma^2$ and $W_1 = |s|$, and against SciPy:

# %%
s = shifts.detach()
torch.testing.assert_close(rulers["KL"].detach(), s**2 / (2 * 0.5**2), atol=1e-3, rtol=1e-3)
torch.testing.assert_close(rulers["Wasserstein"].detach(), s, atol=1e-6, rtol=0)
near, far = 20, 120
for i in (near, far):
    pi, qi = p[i].numpy(), q[i].detach().numpy()
    w1 = stats.wasserstein_distance(line, line, pi, qi)
    print(
        f"shift {s[i]:.0f}:  KL {stats.entropy(pi, qi):.3f}  W1 {w1:.3f}  JSD {rulers['JSD'][i].item():.3f}"
    )

# %% [markdown]
# ## 4. Least squares, which this model uses
#
# The same trouble, seen from the generator: how much does the judge's output for *one* generated sample
# push it? With the raw output $s$ and $D = 1/(1+e^{-s})$:
#
# | loss of the generator | formula | slope by $s$ | asleep when |
# |---|---|---|---|
# | minimax (section 2) | $\log(1 - D)$ | $-D$ | it is plainly caught ($s \ll 0$) |
# | non-saturating | $-\log D$ | $-(1 - D)$ | it fools the judge ($s \gg 0$) |
# | least squares | $(1 - s)^2$ | $-2(1 - s)$ | nowhere but at $s = 1$ |
#
# Least squares reads $s$ itself as the verdict, and wants 1 for real and 0 for generated. The First Order
# Motion Model trains with (Mao et al. 2017, without their factor 1/2)
#
# $$\mathcal{L}_G = \mathbb{E}\big[(1 - D(\text{fake}))^2\big], \qquad
# \mathcal{L}_D = \mathbb{E}\big[(1 - D(\text{real}))^2 + D(\text{fake})^2\big].$$
#
# Each generator loss below gets the same outputs, and autograd gives the push. Look at the left end, where
# the judge is sure that the sample is generated: who still pushes?

# %%
output = torch.linspace(-6, 6, 241, requires_grad=True)
losses = {
    "minimax": (1 - output.sigmoid()).log(),
    "non-saturating": -output.sigmoid().log(),
    "least squares": (1 - output) ** 2,
}
push = {name: -torch.autograd.grad(loss.sum(), output)[0] for name, loss in losses.items()}
figure = plots.plot_curves(output, push, "raw output: caught ← → fooled", "push (-slope)", ylim=(-3, 6))
figure.axes[0].axhline(0, color="grey", linewidth=0.8)
plots.show(
    figure,
    alt="The push on a generated sample. Minimax gives none to a sample that is plainly caught, the "
    "non-saturating loss at most 1; least squares pushes harder the further the output is from 1.",
)

# %% [markdown]
# *Figure 5. Minimax abandons the samples that need help most. Least squares helps them most, and even pulls
# back those that overshoot, so the judge's outputs stay in a small range.*
#
# Does least squares change who wins? At one point it costs $a(1 - D)^2 + b D^2$, whose derivative vanishes
# at $D = a / (a + b)$: the same $D^\ast$. And a judge who says 1/2 everywhere has these losses, two numbers
# to know when reading a training log:

# %%
least = candidates[(a * (1 - candidates) ** 2 + b * candidates**2).argmin()].item()
half = torch.full((4, 1, 26, 26), 0.5)
print(f"best of 999 guesses: {least:.3f}")
print(f"generator     {gan.lsgan_generator_loss(half):.2f}")
print(f"discriminator {gan.lsgan_discriminator_loss(half, half):.2f}")

# %% [markdown]
# ## 5. A leash on the slope: gradient penalty
#
# Wasserstein has another face (Kantorovich and Rubinstein): it is the largest difference of means,
# $\max_D \mathbb{E}_\mathrm{data}[D] - \mathbb{E}_\mathrm{model}[D]$, over all $D$ whose slope is nowhere
# above 1. So the flatness of Figure 4 is cured by *keeping the judge's slope in bounds*. Gulrajani et al.
# 2017 (equation 3) punish what strays:
#
# $$\mathrm{GP} = \mathbb{E}_{\hat x}\Big[\big(\lVert \nabla_{\hat x} D(\hat x) \rVert_2 - 1\big)^2\Big],
# \qquad \hat x = \epsilon \, x_\mathrm{real} + (1 - \epsilon) \, x_\mathrm{fake},
# \quad \epsilon \sim U[0, 1].$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\hat x$ | a point between a real and a generated sample | (N, ...) | that of x | `between` |
# | $\epsilon$ | where between, one number a sample | (N, 1, ...) | [0, 1] | drawn inside |
# | $\lambda$ | weight of the penalty in the loss | scalar | 0.1 to 10 | `weight` |
#
# Two judges, one on a leash, see bumps that do not overlap: real samples near 2, generated ones near -2.


# %%
def train_judge(weight, steps=300):
    torch.manual_seed(1)
    judge = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.Adam(judge.parameters(), lr=0.01)
    for _ in range(steps):
        real, fake = 2 + 0.1 * torch.randn(64, 1), -2 + 0.1 * torch.randn(64, 1)
        loss = gan.binary_cross_entropy(judge(real), 1.0, from_logits=True)
        loss = loss + gan.binary_cross_entropy(judge(fake), 0.0, from_logits=True)
        loss = loss + weight * gan.gradient_penalty(judge, real, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return judge


free, leashed = train_judge(0.0), train_judge(1.0)

# %% [markdown]
# Stand on a generated sample at -2 and look uphill, first without the leash, then with it.

# %%
at = torch.linspace(-3.5, 3.5, 281)[:, None].requires_grad_()
seen_by = {"free": free(at).sigmoid()[:, 0], "gradient penalty": leashed(at).sigmoid()[:, 0]}
figure = plots.plot_curves(
    at[:, 0], seen_by, "a sample x (no unit)", "D(x), a probability", ylim=(-0.15, 1.05)
)
for position, who in ((-2, "generated"), (2, "real")):
    figure.axes[0].text(position, -0.1, f"{who} samples", ha="center")
plots.show(
    figure,
    alt="Without a penalty the discriminator is a cliff, flat where the generated samples are. With the "
    "gradient penalty it is a ramp that leads from the generated to the real samples.",
)
slope = {name: torch.autograd.grad(curve.sum(), at)[0][60].item() for name, curve in seen_by.items()}
assert abs(slope["free"]) < 0.001 and slope["gradient penalty"] > 0.05

# %% [markdown]
# *Figure 6. A free judge is a plain, a cliff, and another plain; on the leash it is a ramp.* The last line
# of the cell holds it to that: at -2 the free slope is below 0.001, the leashed one above 0.05.
#
# A cousin, R1 (`gan.r1_penalty`; Mescheder et al. 2018), looks at real samples only, and wants slope 0
# there: once the generator is right, nothing should push it away.
#
# ## 6. A leash on the weights: spectral norm
#
# The penalty looks at the slope at sampled points, at the price of a second backward pass. Spectral norm
# bounds it everywhere. A layer $x \mapsto Wx$ stretches no vector by more than its largest singular value
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
# | $u, v$ | where the longest stretch ends and starts | (out,), (in,) | length 1 | `u`, `v` |
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
# $W$ maps the unit circle to an ellipse; $\sigma$ is its longest half-axis. Watch the arrow turn into it.

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
axis.plot(*torch.stack([-axis_end, axis_end], 1), "k--", linewidth=1, label="longest axis (SVD)")
for number, u in enumerate(arrows):
    axis.annotate("", u, (0, 0), arrowprops={"arrowstyle": "->", "color": RED, "lw": 1.5})
    axis.text(*(1.18 * u), str(number), color=RED, ha="center", va="center")
axis.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(
    figure,
    alt="A matrix maps the unit circle to an ellipse. The arrows of power iteration, numbered 0 to 3, start "
    "far off and turn into the ellipse's longest axis.",
)

# %% [markdown]
# *Figure 7. Each step turns $u$ towards the axis that is stretched most; the error shrinks by
# $(\sigma_2 / \sigma_1)^2$.*
#
# Now a matrix of the size of a layer, against the SVD, and against PyTorch's own spectral norm. That one
# takes 15 steps when it is attached and one more in every forward pass of training, keeping $u$ in between,
# because the weight hardly changes from step to step.

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
# `fomm_lib.gan` holds all of the above, with checks of its input, gradients where the toys have none (an
# empty bin gives the toy `nan`), and a source for each formula. On the same input, toy and library must
# agree. The promise of section 2, $\max_D V = 2\,\mathrm{JSD} - \log 4$, can be kept now too, with $D^\ast$
# on the grid.

# %%
prediction, target = torch.rand(100), (torch.rand(100) > 0.5).float()
torch.testing.assert_close(gan.binary_cross_entropy(prediction, target), toy_bce(prediction, target))
d_real, d_fake = torch.rand(100), torch.rand(100)
two_prices = toy_bce(d_real, torch.ones(100)) + toy_bce(d_fake, torch.zeros(100))
torch.testing.assert_close(gan.value_function(d_real, d_fake), -two_prices)

pn, qn = p[near], q[near].detach()
torch.testing.assert_close(gan.kl_divergence(pn, qn), toy_kl(pn, qn))
torch.testing.assert_close(gan.js_divergence(pn, qn), toy_jsd(pn, qn))
torch.testing.assert_close(gan.wasserstein_1d(line, line, pn, qn), toy_w1(pn, qn, 0.01))
torch.testing.assert_close(gan.power_iteration(W, 100, u=u).sigma, toy_power_iteration(W, u, 100)[0])
torch.testing.assert_close(gan.r1_penalty(lambda x: 3 * x, real).item(), 9.0)
best_judge = gan.optimal_discriminator(pn, qn)
best_value = (pn * best_judge.log() + qn * (1 - best_judge).log()).sum()
print(f"V at D*:        {best_value:.3f}")
print(f"2 JSD - log 4:  {2 * gan.js_divergence(pn, qn) - math.log(4):.3f}")

# %% [markdown]
# ## Break it
#
# Now in two dimensions, with everything that makes a GAN fail: the real data is eight small islands on a
# ring, and the judge is much better than the generator (five steps for each of its one, at five times the
# learning rate).
#
# Two small networks. `leash` is 0 without spectral norm; else every layer is divided by its $\sigma$, and
# the output multiplied by `leash`, which then is the steepest slope the judge can have. (Islands this small
# cannot be told from their surroundings by a slope of 1.)

# %%
angles = torch.arange(8) * (2 * math.pi / 8)
ISLANDS = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)


def real_samples(n):
    return ISLANDS[torch.randint(8, (n,))] + 0.02 * torch.randn(n, 2)


def islands_reached(samples):
    distance, nearest = torch.cdist(samples, ISLANDS).min(dim=1)
    visits = torch.bincount(nearest[distance < 0.3], minlength=8)
    return int((visits >= 0.02 * len(samples)).sum())


class Judge(nn.Module):
    def __init__(self, leash):
        super().__init__()
        linear = [nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 1)]
        if leash:
            linear = [nn.utils.parametrizations.spectral_norm(layer) for layer in linear]
        self.layers = nn.Sequential(linear[0], nn.LeakyReLU(0.2), linear[1], nn.LeakyReLU(0.2), linear[2])
        self.scale = leash or 1.0

    def forward(self, x):
        return self.scale * self.layers(x)


# %% [markdown]
# The whole training of a GAN. Read it line by line: it is the loop of notebook 07, without the pictures.


# %%
def train_gan(seed, penalty=0.0, leash=0.0, steps=320):
    torch.manual_seed(seed)
    act = nn.LeakyReLU(0.2)
    generator = nn.Sequential(nn.Linear(2, 64), act, nn.Linear(64, 64), act, nn.Linear(64, 2))
    judge = Judge(leash)
    g_adam = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    d_adam = torch.optim.Adam(judge.parameters(), lr=5e-3, betas=(0.5, 0.9))
    frames, d_losses = [], []
    for step in range(steps + 1):
        if step % 20 == 0:
            frames.append(generator(torch.randn(500, 2)).detach())
        for _ in range(5):
            real, fake = real_samples(128), generator(torch.randn(128, 2)).detach()
            d_loss = gan.binary_cross_entropy(judge(real), 1.0, from_logits=True)
            d_loss = d_loss + gan.binary_cross_entropy(judge(fake), 0.0, from_logits=True)
            total = d_loss + penalty * gan.gradient_penalty(judge, real, fake) if penalty else d_loss
            d_adam.zero_grad()
            total.backward()
            d_adam.step()
        d_losses.append(d_loss.item())
        noise = torch.randn(128, 2)
        g_loss = gan.binary_cross_entropy(judge(generator(noise)), 1.0, from_logits=True)
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
    return frames, d_losses


plain, plain_loss = train_gan(seed=7)
print("reaches at most half of the islands:", islands_reached(plain[-1]) <= 4)

# %% [markdown]
# It breaks, in the way that has a name: **mode collapse**. The generator has found islands where it fools
# the judge, and has forgotten the others. Same seed, nothing else changed, with a gradient penalty of
# weight 0.1:

# %%
penalised, penalised_loss = train_gan(penalty=0.1, seed=7)
print("gradient penalty reaches at least 6 of 8:", islands_reached(penalised[-1]) >= 6)

# %% [markdown]
# And spectral norm, with a steepest slope of 5:

# %%
normed, normed_loss = train_gan(leash=5.0, seed=7)
print("spectral norm reaches at least 6 of 8:   ", islands_reached(normed[-1]) >= 6)

# %% [markdown]
# See them grow side by side. Circles are the islands, dots are 500 generated samples; the number counts the
# islands that get at least 2 % of them.

# %%
runs = {"nothing": (plain, BLACK), "gradient penalty": (penalised, ORANGE), "spectral norm": (normed, SKY)}


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
    alt="Three GANs learn eight islands on a ring. The plain one gathers on a few islands and stays there; "
    "those with a gradient penalty or spectral norm spread over the whole ring.",
)

# %% [markdown]
# *Figure 8 (moving). Without a leash the generator collapses onto a few islands and never leaves; with
# either leash it finds the ring.* The same as a strip, for who reads without moving pictures:

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
    alt="Five moments of the same three trainings, steps 0 to 320. Top row, nothing: ends on a few islands. "
    "Middle and bottom row, gradient penalty and spectral norm: end on the whole ring.",
)

# %% [markdown]
# Would the loss have told you? Undecided is $2 \log 2 = 1.386$ for the sum of both parts.

# %%
judge_losses = {"nothing": plain_loss, "gradient penalty": penalised_loss, "spectral norm": normed_loss}
steps = range(len(plain_loss))
figure = plots.plot_curves(steps, judge_losses, "step of the generator", "judge's loss (nats)", ylim=(0, 2))
figure.axes[0].axhline(2 * math.log(2), color="grey", linewidth=0.8)
figure.axes[0].text(0, 1.42, "undecided: 2 log 2", color="grey")
plots.show(
    figure,
    alt="The discriminator's loss. Without a leash it stays well below the undecided value; with gradient "
    "penalty or spectral norm it climbs close to it.",
)

# %% [markdown]
# *Figure 9. A judge on a leash ends near undecided. The free judge stays better than the generator, and its
# loss says so; but no loss says **which** islands are missing: look at samples.*
#
# Was it the seed? Of twelve seeds, 0 to 11, the plain GAN ended on 1 to 4 islands, and never on more; of
# six, 0 to 5, either leash ended on all eight each time. Try your own: `train_gan(seed=5)` takes a few
# seconds.
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
# <details><summary>Hint</summary>Use <code>math.log</code>. Equal Gaussians must give 0: which term sees to
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
# **2. Wasserstein by sorting** (★, 5 minutes). For two samples of equal size the cheapest way to carry one
# onto the other is in order: the smallest to the smallest, and so on. The distance is the mean of the ways.


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
# **3. The penalty itself** (★★, 10 minutes, the heart of this notebook). Given the points, compute mean
# $(\lVert \nabla D \rVert - 1)^2$ so that it can be trained on.


# %%
def slope_penalty(critic, x):
    """Mean over the batch of (length of the critic's gradient - 1) squared.

    critic: (N, ...) -> (N,);  x: (N, ...), one point or picture a row  ->  scalar.
    For critic = lambda x: 5 * x[:, 0] it is (5 - 1)**2 = 16 wherever x is.
    """
    raise NotImplementedError


check_slope_penalty(slope_penalty)

# %% [markdown]
# <details><summary>Hint</summary><code>torch.autograd.grad(critic(x).sum(), x, create_graph=True)</code>,
# after <code>x.requires_grad_()</code>. Flatten pictures before you take lengths, one a sample.</details>
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
# | symptom | cause | mend |
# |---|---|---|
# | loss is `nan` or `inf` | $\log 0$ from a probability rounded to 0 or 1 | compute from logits |
# | judge's loss near 0, generator stands still | no slope reaches the samples | a leash; slower judge |
# | samples all look alike | mode collapse | a leash; least squares; look at many samples, not at the loss |
# | samples jump from kind to kind | the two networks chase each other | smaller steps, $\beta_1 = 0.5$ or 0 |
# | gradient penalty changes nothing | gradient taken without `create_graph=True` | exercise 3 |
# | spectral norm makes samples blurred | the judge is not steep enough to see detail | scale its output |
#
# ## Questions
#
# 1. The discriminator's cross-entropy (sum of both parts) has settled at 1.386. Has the generator won?
#
# <details><summary>Answer</summary>Perhaps. It is what D* gives when both distributions are equal. A judge
# too weak to see a difference gives the same number, so look at samples.</details>
#
# 2. Why is JSD never above log 2?
#
# <details><summary>Answer</summary>In KL(p | m) the middle m is at least p / 2, so the ratio p / m is at
# most 2 and its logarithm at most log 2.</details>
#
# 3. Two judges give D(x) and 3 D(x) + 1 as raw outputs. Which of minimax, least squares and the gradient
# penalty notice?
#
# <details><summary>Answer</summary>All. Minimax gets surer, least squares has other targets for real and
# generated, and the slope is three times as large. Only the ranking of samples stays.</details>
#
# 4. The discriminator of this course judges patches: it gives a map of 26 x 26 numbers. What is the loss
# then?
#
# <details><summary>Answer</summary>The mean over the map, as over a batch: each number judges one patch
# (notebook 06).</details>
#
# ## What you can now do
#
# You can derive what a discriminator measures, tell a useful distance from a flat one, and put a leash on a
# judge that has become too sharp. All of it returns: least squares in notebook 06, the penalties as
# switches of the training in notebook 07.
#
# **Next:** [02 · data cleaning](02_data_cleaning.ipynb), because no loss mends a frozen video.
#
# **References.** Goodfellow et al., *Generative Adversarial Nets*, NeurIPS 2014 · Mao et al., *Least
# Squares Generative Adversarial Networks*, ICCV 2017 · Arjovsky, Chintala, Bottou, *Wasserstein GAN*, ICML
# 2017 · Gulrajani et al., *Improved Training of Wasserstein GANs*, NeurIPS 2017 · Miyato et al., *Spectral
# Normalization for GANs*, ICLR 2018 · Mescheder et al., *Which Training Methods for GANs do actually
# Converge?*, ICML 2018 · Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019.
