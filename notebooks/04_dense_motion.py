# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Dense motion
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/04_dense_motion.ipynb)
#
# Ten points and ten small matrices must determine where each of thousands of pixels comes from. You
# derive how this works, and measure, on rendered heads whose true flow is known, how good it can be and
# how good it is.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - expand a motion to zeroth and first order around a keypoint, and say what each order can represent;
# - derive why the matrix between two images is $J_S J_D^{-1}$, and check it;
# - read heatmap differences, sparse motions, masks and a dense flow;
# - say why images are warped backward, and what goes wrong with a forward warp;
# - compare a predicted flow with the true one and with simple baselines.
#
# | | |
# |---|---|
# | Know first | notebook 03; partial derivatives, least squares |
# | Minutes | 45 to read and run, 50 to practise |
# | GPU | no; about ten seconds on one CPU core |
# | Paper | section 3.1, with equations 4, 6 and 7 |
# | Module | `fomm_lib/motion.py`, with `geometry.py` |

# %% [markdown]
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
# Then everything this notebook uses.

# %%
import math
from types import SimpleNamespace

import torch
from ipywidgets import FloatSlider, interact
from matplotlib import pyplot as plt

import fomm_lib as fomm
from fomm_lib import geometry, motion
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb04_dense_motion import (
    check_area_change,
    check_compose_flows,
    check_first_order_flow,
    check_holes_by_angle,
)
from fomm_lib.synthetic.truth import downsample_pair, read_true_pairs

# %% [markdown]
# Six pairs of frames of rendered heads that were not used in training, with the true backward flow.
# `person` marks the pixels of the person in the driving frame, `seen` those of them that are visible in
# the source too.


# %%
def at_half_size(pair):
    """Images (3, 64, 64), true flow (64, 64, 2), and the masks person and seen (64, 64)."""
    half = downsample_pair(pair)
    person, seen = half.motion.surface == 1, half.motion.visible == 1
    return SimpleNamespace(
        source=half.source,
        driving=half.driving,
        flow=half.motion.flow,
        person=person,
        seen=person & seen,
    )


# %% [markdown]
# Points are in units of [-1, 1]; a unit is 31.5 of our 64 pixels.

# %%
plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS
model = fomm.load_model("heads-64", device="cpu")
pairs = [at_half_size(pair) for pair in read_true_pairs()]
grid = geometry.coordinate_grid(64, 64)
print(
    len(pairs),
    "pairs; images",
    tuple(pairs[0].source.shape),
    "flow",
    tuple(pairs[0].flow.shape),
)

# %% [markdown]
# ## The problem as one image
#
# This head turns by 29 degrees between source and driving frame. Below, its true flow: two numbers for
# each of 4,096 pixels.

# %%
turning = pairs[5]


def warped(pair, flow):
    return geometry.warp(pair.source[None], flow[None], padding_mode="border")[0]


images = [turning.source, turning.driving, warped(turning, turning.flow)]
plots.show(
    plots.image_grid([images], ["source", "driving frame", "source, by the true flow"]),
    alt="a head looks to the right; in the driving frame it looks ahead; the source warped "
    "by the true flow looks ahead too, but is torn at the side that is not visible in the "
    "source",
    colours=256,
)

plots.show(
    plots.plot_flow(turning.flow),
    alt="the true flow: over the face long arrows to the right, longest in the middle of "
    "the face and shorter towards its edges and the neck; the background is white, it does "
    "not move",
)

# %% [markdown]
# *Figure 1. The true flow gives the right pose, except for the side that is not visible in the source
# (notebook 05).*
#
# *Figure 2. The flow of a turning head is smooth, but not constant: 14 pixels at the nose, 5 at the neck.*
#
# How can ten keypoints, 60 numbers for each image, describe these 8,192 numbers?
#
# ## 1. A motion near a point: Taylor's expansion
#
# For a smooth motion $T$ and a point $p$, Taylor's formula is (section 3.1)
#
# $$T(z) = \underbrace{T(p)}_{\text{zeroth order}} + \underbrace{T'(p)\,(z - p)}_{\text{first order}} +
# \; o(\lVert z - p \rVert)$$
#
# With the value alone, as in Monkey-Net, the predecessor of the paper, $z$ moves as $p$ does:
# $T(z) \approx z + (T(p) - p)$. With the slope, the neighbourhood can also rotate, stretch and shear.
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T$ | motion, backward: $T_{S \leftarrow D}$ | (H, W, 2) | about -1 to 1 | `flow` |
# | $T'(p)$ | Jacobian of the motion at p | (2, 2) | about the identity | `slope` |
#
# $T(p)$ is `value` and $p$ is `place` below. We fit a plane to the true flow around a point, by least
# squares. Along the row of pixels through that point, how large is the error of the two expansions?


# %%
def fit_plane(places, targets, around):
    """The value (2,) and slope (2, 2) at `around` that fit places (N, 2) -> targets (N, 2)."""
    columns = torch.cat([torch.ones(len(places), 1), places - around], dim=1)
    solution = torch.linalg.lstsq(columns, targets).solution
    return solution[0], solution[1:].T


def expand(place, value, slope):
    return value + geometry.apply_2x2(slope, grid - place)


place = torch.tensor([0.4, -0.37])  # on the forehead
close = turning.seen & ((grid - place).norm(dim=-1) < 0.12)
value, slope = fit_plane(grid[close], turning.flow[close], place)
orders = {"zeroth order": torch.eye(2), "first order": slope}
expansions = {name: expand(place, value, matrix) for name, matrix in orders.items()}

row = 20  # the row of pixels at y = -0.37
there = turning.seen[row]
x, true = grid[row, there, 0], turning.flow[row, there]
for name, flow in expansions.items():
    error = 31.5 * (flow[row, there] - true).norm(dim=-1)
    steps = (22, 24, 26)  # 1, 3 and 5 pixels to the right of the keypoint
    print(name, "1, 3, 5 pixels away:", *(f"{float(error[i]):.1f}" for i in steps), "pixels")

# %% [markdown]
# The whole row:

# %% tags=["hide-input"]
# @title Displacement along a row, and the error of both orders
figure, (left, right) = plt.subplots(1, 2, figsize=(6, 2.9))
moved = 31.5 * (true - grid[row, there])[:, 0]
left.plot(x, moved, "o", color=BLACK, markersize=4, label="true")
looks = zip(expansions.items(), (ORANGE, BLUE), ("--", "-"), strict=True)
for (name, flow), colour, line in looks:
    left.plot(x, 31.5 * (flow - grid)[row, there, 0], line, color=colour, label=name)
    right.plot(x, 31.5 * (flow[row, there] - true).norm(dim=-1), line, color=colour, label=name)
left.plot(place[0], 31.5 * (value - place)[0], "s", color=RED, markersize=8, label="keypoint")
right.plot(place[0], 0, "s", color=RED, markersize=8)
left.set(xlabel="x in the driving frame", ylabel="x(T) - x, pixels of 64", ylim=(-2, 19))
right.set(xlabel="x, close to the keypoint", ylabel="error, pixels of 64")
right.set(xlim=(0.15, 0.57), ylim=(-0.2, 3))
left.legend(fontsize=7)
plots.show(
    figure,
    alt="Left, the true displacement along the forehead is an arch; zeroth order is a "
    "horizontal line through the keypoint, first order its tangent. Right, the errors "
    "close to the keypoint: zeroth order is a V, first order a U, which stays low for longer.",
)

# %% [markdown]
# *Figure 3. Zeroth order is a horizontal line, first order a tangent. Near the keypoint the error of zeroth
# order is a V, that of first order a U (slightly a W: the plane is fitted to a neighbourhood).*
#
# So the order determines how far from one keypoint the motion is right. A rotation **in the image** is
# exactly a matrix, so there first order must be exact, from a single point:

# %%
angle = math.radians(30)
cos, sin = math.cos(angle), math.sin(angle)
tilt = torch.tensor([[cos, sin], [-sin, cos]])
tilted = geometry.apply_2x2(tilt, grid)
middle = torch.zeros(2)
tilts = {
    "zeroth order": expand(middle, middle, torch.eye(2)),
    "first order": expand(middle, middle, tilt),
}
assert torch.allclose(tilts["first order"], tilted, atol=1e-5)
rows = []
for point, wanted, flows in (
    (middle, warped(turning, tilted), tilts),
    (place, turning.driving, expansions),
):
    images = [wanted, *(warped(turning, flow) for flow in flows.values())]
    marked = [plots.draw_keypoints(image, point[None]) for image in images]
    rows.append([turning.source, *marked])
plots.show(
    plots.image_grid(
        rows,
        ["source", "wanted", "zeroth, 1 point", "first, 1 point"],
        ["in the image", "in space"],
    ),
    alt="two rows. Rotated in the image: zeroth order does not rotate, first order does "
    "exactly. Rotated in space: zeroth order only shifts the head, first order also widens "
    "it, right near the keypoint on the forehead and wrong elsewhere",
    colours=256,
)

# %% [markdown]
# *Figure 4. One keypoint, marked 0. A rotation in the image is exactly first order; a rotation in space is
# right only near the keypoint. (The single motion moves the background too.)*
#
# ### Through the reference frame
#
# The detector gets one image at a time, so it cannot know $T'(p)$ between two. The paper defines an
# abstract **reference frame** R. Each image X has its own motion from it, and the detector gives its
# value and slope at ten points of R: $p_{X} = T_{X \leftarrow R}(p)$ and $J_X = T'_{X \leftarrow R}(p)$.
# Then the motion from D to S goes through R:
#
# $$T_{S \leftarrow D} = T_{S \leftarrow R} \circ T_{D \leftarrow R}^{-1}$$
#
# The value: $T_{D \leftarrow R}^{-1}$ takes $p_D$ back to $p$, and $T_{S \leftarrow R}$ takes $p$ to
# $p_S$. The slope: by the chain rule, and as the derivative of an inverse is the inverse of the
# derivative, $T'_{S \leftarrow D}(p_D) = J_S J_D^{-1}$. This is all of equation 4:
#
# $$T_{S \leftarrow D}(z) \approx p_S + J_S\, J_D^{-1}\,(z - p_D)$$
#
# R cancels. We check this with two affine maps from R, whose composition we know.

# %%
torch.manual_seed(0)
to_source, to_driving = torch.eye(2) + 0.3 * torch.randn(2, 2, 2)
shift_source, shift_driving = 0.2 * torch.randn(2, 2)
p = torch.tensor([0.1, -0.4])  # a point in R


def keypoint(matrix, shift):
    return fomm.Keypoints((matrix @ p + shift).view(1, 1, 2), matrix.view(1, 1, 2, 2))


kp_source, kp_driving = keypoint(to_source, shift_source), keypoint(to_driving, shift_driving)
in_reference = geometry.apply_2x2(torch.linalg.inv(to_driving), grid - shift_driving)
composed = geometry.apply_2x2(to_source, in_reference) + shift_source
first_order = geometry.first_order_motion(grid, kp_source, kp_driving)
assert torch.allclose(first_order[0, 0], composed, atol=1e-5)
print("D -> R -> S and the first-order motion agree:", tuple(first_order.shape))

# %% [markdown]
# ## 2. How good can ten points be?
#
# Divide the head into $K$ parts around centres $c_k$ (by k-means; each pixel belongs to the nearest), and
# give each part the motion that fits the true flow best:
#
# $$\min_{v_k,\,A_k} \sum_{z \,\in\, \text{part } k} \big\lVert\, v_k + A_k (z - c_k) - T(z)\, \big\rVert^2,
# \qquad A_k = I \text{ for zeroth order}$$
#
# The measure is the **endpoint error**: the mean distance between predicted and true point, in pixels,
# where the point is visible in the source.


# %%
def nearest_centre(places, centres):
    """By exact distances: else rounding decides ties, otherwise on another processor."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(places.double(), centres.double(), compute_mode=exact).argmin(dim=1)


def k_means(places, number):
    generator = torch.Generator().manual_seed(0)
    places = places.double()
    centres = places[torch.randperm(len(places), generator=generator)[:number]]
    for _ in range(20):
        nearest = nearest_centre(places, centres)
        centres = torch.stack([places[nearest == k].mean(dim=0) for k in range(number)])
    return centres.float()


def best_motions(pair, number):
    """Centres (K, 2), values (K, 2) and slopes (K, 2, 2) of the best motions of K parts."""
    places, targets = grid[pair.seen], pair.flow[pair.seen]
    centres = k_means(places, number)
    nearest = nearest_centre(places, centres)
    parts = [nearest == k for k in range(number)]
    fits = [fit_plane(places[m], targets[m], c) for m, c in zip(parts, centres, strict=True)]
    return centres, torch.stack([v for v, _ in fits]), torch.stack([a for _, a in fits])


def endpoint_error(flow, pair):
    return 31.5 * float((flow - pair.flow).norm(dim=-1)[pair.seen].mean())


# %% [markdown]
# One fit serves both orders: the best shift of a part is the value of its best plane, because the centre
# is the mean of the part. `by_parts` puts the parts together; the background does not move.


# %%
def sparse(fits, order):
    """The motion of every part over the whole image, (K, 64, 64, 2)."""
    parts = zip(*fits, strict=True)
    return torch.stack([expand(c, v, a if order else torch.eye(2)) for c, v, a in parts])


def by_parts(pair, fits, order):
    nearest = nearest_centre(grid.view(-1, 2), fits[0]).view(1, 64, 64, 1)
    flow = sparse(fits, order).take_along_dim(nearest, dim=0)[0]
    return torch.where(pair.person[..., None], flow, grid)


def best_error(number, order):
    flows = [by_parts(pair, best_motions(pair, number), order) for pair in pairs]
    return sum(map(endpoint_error, flows, pairs)) / len(pairs)


numbers = [1, 2, 3, 5, 10, 20]
curves = {
    name: [best_error(number, order) for number in numbers] for order, name in enumerate(orders)
}
still = sum(endpoint_error(grid, pair) for pair in pairs) / len(pairs)
print(
    f"no motion: {still:.1f} pixels; ten parts of zeroth order {curves['zeroth order'][4]:.2f}"
)
print(f"three parts of first order {curves['first order'][2]:.2f}, ten", end=" ")
print(f"{curves['first order'][4]:.2f}")

# %% [markdown]
# For more numbers of parts:

# %% tags=["hide-input"]
# @title The best possible error, by number of parts
figure = plots.plot_curves(
    numbers,
    curves,
    "parts, K (each with a keypoint)",
    "endpoint error, pixels of 64",
    size=(6, 2.6),
    xscale="log",
    yscale="log",
    ylim=(0.2, 5),
)
axis = figure.axes[0]
axis.axhline(still, color=BLACK, linestyle=":")
axis.text(20, still * 0.9, "no motion", ha="right", va="top", fontsize=8)
axis.set_xticks(numbers, numbers)
axis.set_yticks([0.2, 0.5, 1, 2, 4], [0.2, 0.5, 1, 2, 4])
axis.minorticks_off()
plots.show(
    figure,
    alt="Both errors fall with the number of parts, from 3.0 and 1.7 pixels with one part. "
    "First order is below zeroth order everywhere: with three parts it is as good as "
    "zeroth order with ten.",
)

# %% [markdown]
# *Figure 5. Three first-order parts are as good as ten of zeroth order.*

# %%
fits = best_motions(turning, 10)
flows = {name: by_parts(turning, fits, order) for order, name in enumerate(orders)}
flows["true flow"] = turning.flow
points = plots.draw_keypoints(turning.driving, fits[0])
errors = [31.5 * (flow - turning.flow).norm(dim=-1) * turning.seen for flow in flows.values()]
rows = [
    [points, *(warped(turning, flow) for flow in flows.values())],
    [None, *(error / 4 for error in errors)],
]
plots.show(
    plots.image_grid(rows, ["ten points", *flows], ["source, warped", "error, 0 to 4 px"]),
    alt="ten numbered points on the turning head. Zeroth order: chin and sides of the face "
    "are broken, and the error is bright along the seams. First order: the image looks as "
    "by the true flow; its error is dark grey, with bright spots at the side of the head",
    colours=256,
)
for name, error in zip(orders, errors, strict=False):
    beyond = float((error[turning.seen] > 1).float().mean())
    print(f"{name}: more than 1 pixel wrong at {100 * beyond:.0f} % of the head")

# %% [markdown]
# *Figure 6. Below, black is no error, white 4 pixels. Ten shifted parts are right at their centres and
# wrong at their borders; ten sheared and stretched ones fit three quarters of the head within a pixel.*
#
# This is the reason for the Jacobians. From here on a network divides the image.
#
# ## 3. The input of the network
#
# The network must decide, for every pixel, *which* motion to use. For each keypoint it gets two inputs
# (equation 6 and the text after it):
#
# $$\Delta g_k(z) = \exp\!\Big(\!-\frac{\lVert z - p_{D,k} \rVert^2}{2\sigma^2}\Big) -
# \exp\!\Big(\!-\frac{\lVert z - p_{S,k} \rVert^2}{2\sigma^2}\Big), \qquad x_S(T_k(z))$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\Delta g_k$ | difference of two Gaussians; 0 for the background | (K+1, h, w) | -1 to 1 | `differences` |
# | $x_S$ | source, warped by motion k alone | (K+1, 3, h, w) | 0 to 1 | `dense.sparse_deformed` |
# | $\sigma$ | width of a Gaussian, 0.1: 7 of 64 pixels at half height | scalar | above 0 | |
#
# The first says *where*: near $p_D$ the motion is probably right, and $p_S$ is the old position, where the
# background may become visible. The second says *how well*: where the warped source fits its neighbourhood,
# the motion is right. By hand and by the library, on a pair whose head tilts and rises:

# %%
tilting = pairs[1]
both = torch.stack([tilting.source, tilting.driving])
with torch.inference_mode():
    kp_source, kp_driving = (model.detect(image[None]) for image in both)
    dense = model.dense_motion(tilting.source[None], kp_source, kp_driving)
small = geometry.coordinate_grid(32, 32)
differences = motion.heatmap_difference(kp_source, kp_driving, 32, 32)[0]
distances = [(small - kp.value[0, 3]).square().sum(-1) for kp in (kp_driving, kp_source)]
by_hand = torch.exp(-distances[0] / 0.02) - torch.exp(-distances[1] / 0.02)
assert torch.allclose(by_hand, differences[4], atol=1e-5)
print("differences", tuple(differences.shape), end="; ")
print("warped sources", tuple(dense.sparse_deformed.shape[1:]))
moved = 31.5 * (kp_driving.value - kp_source.value).norm(dim=-1)[0]
print("pixels moved by the keypoints 0 to 9:", [round(float(m)) for m in moved])

# %% [markdown]
# The background, and the four motions with the largest masks (the output of the network, explained next):

# %%
weight = dense.mask[0].mean(dim=(1, 2))
chosen = [0, *(weight[1:].argsort(descending=True)[:4] + 1).tolist()]
grey = 0.5 + 0.5 * differences
rows = [
    [grey[k] for k in chosen],
    [dense.sparse_deformed[0, k] for k in chosen],
    [dense.mask[0, k] for k in chosen],
]
titles = ["background", *(f"keypoint {k - 1}" for k in chosen[1:])]
plots.show(
    plots.image_grid(rows, titles, ["heatmaps", "warped", "mask"]),
    alt="five columns. heatmaps: a white spot where the keypoint is, a black one where it "
    "was, grey for the background; warped: the whole source warped by one motion; mask: "
    "bright where that motion is used",
    colours=256,
)

# %% [markdown]
# *Figure 7. White: the keypoint is here now. Black: it was here. The masks of 7 and 2 lie where their
# keypoints are; those of 8 and 0, at chin and neck, select one shoulder each: the network can use a motion
# wherever it fits. (The heatmaps of 8 and 0 are faint because those points moved by only 1.5 pixels.)*
#
# One heatmap and three colours for each of eleven motions: 44 channels go into an hourglass network.
#
# ## 4. Masks: many motions become one
#
# The hourglass gives a score $a_k$ for each motion and pixel; softmax over the motions turns scores into
# weights, and the flow is the weighted mean (equation 7):
#
# $$M_k(z) = \frac{e^{a_k(z)}}{\sum_j e^{a_j(z)}}, \qquad
# T(z) = M_0(z)\, z + \sum_{k=1}^{K} M_k(z)\, T_k(z)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $M_k$ | mask | (K+1, h, w) | 0 to 1, sum to 1 | `dense.mask` |
# | $T_k$ | sparse motion k; $T_0$ is the identity | (K+1, h, w, 2) | about -1 to 1 | `dense.sparse_motions` |
# | $T$ | motion, dense | (h, w, 2) | about -1 to 1 | `dense.deformation` |
#
# What do soft masks change? We make masks from distances, $a_k(z) = -\lVert z - c_k \rVert^2 / 2s^2$, and
# combine the best motions of section 2. A small $s$ gives separate parts.


# %%
def by_masks(fits, order, s):
    distance2 = (grid - fits[0][:, None, None]).square().sum(-1)
    mask = (-distance2 / (2 * s**2)).softmax(dim=0)
    return (mask[..., None] * sparse(fits, order)).sum(dim=0)


def mixed_error(order, s):
    flows = [by_masks(best, order, s) for best in bests]
    return sum(map(endpoint_error, flows, pairs)) / len(pairs)


bests = [best_motions(pair, 10) for pair in pairs]
for s in (0.02, 0.15, 0.5):
    found = [f"{name} {mixed_error(order, s):.2f}" for order, name in enumerate(orders)]
    print(f"s = {s}: {', '.join(found)} pixels")

# %% [markdown]
# Twelve widths, and three fields (zeroth order) beside the true one:

# %% tags=["hide-input"]
# @title Error by softness, and three fields
widths = torch.logspace(-1.7, 0, 12)
figure = plots.plot_curves(
    widths,
    {name: [mixed_error(order, s) for s in widths] for order, name in enumerate(orders)},
    "softness of the masks s, units of [-1, 1]",
    "endpoint error, pixels of 64",
    size=(6, 2.3),
    xscale="log",
    ylim=(0, 3),
)
figure.axes[0].set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], [0.02, 0.05, 0.1, 0.2, 0.5, 1])
plots.show(
    figure,
    alt="Both errors are flat for hard masks; zeroth order is a little lower at 0.15; "
    "beyond 0.2 both rise steeply, and meet at 1.",
)
shown = {f"s = {s:g}": by_masks(bests[1], 0, s) for s in (0.02, 0.15, 0.5)}
shown["true"] = tilting.flow
on_person = tilting.person[..., None]
shown = {name: torch.where(on_person, flow, grid) for name, flow in shown.items()}
plots.show(
    plots.plot_flows(shown, arrows=8),
    alt="four fields of the tilting head, zeroth order. s = 0.02: plain patches with "
    "edges. s = 0.15: a smooth field, close to the true one. s = 0.5: nearly one colour "
    "all over the head.",
)

# %% [markdown]
# *Figure 8. Slightly soft masks help zeroth order a little and hardly harm first order; with very soft
# masks distant motions disturb near ones.*
#
# *Figure 9. Patches, a smooth field, a blur; last the true flow.* A mean of motions lies
# *between* them.
#
# How does the network divide the tilting head?

# %%
field = geometry.resize_flow(dense.deformation, 64, 64)[0]
owner = dense.mask[0].argmax(dim=0)
labels = torch.tensor(plt.get_cmap("tab20").colors[:11])[owner].permute(2, 0, 1)
images = [tilting.source, tilting.driving, labels, warped(tilting, field)]
plots.show(
    plots.image_grid([images], ["source", "driving frame", "largest mask", "source, warped"]),
    alt="source and driving frame of the tilting head; a map of which motion has the "
    "largest weight: one for the background, two for the shoulders, and patches for hair, "
    "cheeks, forehead and mouth; the warped source, in the pose of the driving frame",
    colours=256,
)

# %% [markdown]
# *Figure 10. Parts learned without labels: each colour marks where one motion has the largest mask.*
#
# ### Try it: move a keypoint
#
# Shift a driving keypoint, rotate its Jacobian, stretch it; "all" changes all about their centre. The
# masks are made by hand (s = 0.15), or by the network. What does a Jacobian change when its position is
# fixed? (Black: the flow points outside the source.)


# %%
def dragged(point="all", right=0.2, down=0.0, turn=15.0, stretch=1.0):
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    matrix = stretch * torch.tensor([[cos, -sin], [sin, cos]])
    value, jacobian = kp_source.value.clone(), kp_source.jacobian.clone()
    some = slice(None) if point == "all" else [int(point)]
    centre = value[:, some].mean(dim=1, keepdim=True)
    offset = torch.tensor([right, down])
    value[:, some] = geometry.apply_2x2(matrix, value[:, some] - centre) + centre + offset
    jacobian[:, some] = geometry.multiply_2x2(matrix, jacobian[:, some])
    return fomm.Keypoints(value, jacobian)


def hand_masks(kp):
    """Masks by distance, (1, 11, 64, 64); the background's is equal at 0.45 from a keypoint."""
    distance2 = (grid - kp.value[:, :, None, None]).square().sum(-1)
    scores = torch.cat([torch.full_like(distance2[:, :1], 0.45**2), distance2], dim=1)
    return (-scores / (2 * 0.15**2)).softmax(dim=1)


# %% [markdown]
# Both warps, with sliders:


# %% tags=["nbval-ignore-output"]
def drag(point="all", right=0.2, down=0.0, turn=15.0, stretch=1.0):
    kp = dragged(point, right, down, turn, stretch)
    motions = motion.sparse_motions(kp_source, kp, 64, 64)
    hand = (hand_masks(kp)[..., None] * motions).sum(dim=1)[0]
    with torch.inference_mode():
        made = model.generate(tilting.source[None], kp_source, kp, with_visuals=True)
    images = [plots.draw_keypoints(tilting.source, kp_source, radius=7)]
    images += [plots.draw_keypoints(warped(tilting, hand), kp, radius=7), made.deformed[0]]
    titles = ["source", "masks by hand", "the network's masks", "prediction"]
    plots.show(
        plots.image_grid([[*images, made.prediction[0]]], titles),
        alt=f"keypoint {point} moved right {right:g}, down {down:g}, turned {turn:g} "
        f"degrees, stretched {stretch:g}: source, source warped with masks by hand and "
        f"with the network's, prediction",
        colours=256,
    )


_ = interact(
    drag,
    point=["all", *map(str, range(10))],
    right=FloatSlider(value=0.2, min=-0.5, max=0.5, step=0.05),
    down=FloatSlider(value=0.0, min=-0.5, max=0.5, step=0.05),
    turn=FloatSlider(value=15, min=-60, max=60, step=5),
    stretch=FloatSlider(value=1.0, min=0.5, max=2.0, step=0.1),
)

# %% [markdown]
# *Figure 11. Animation by hand, no driving frame: all keypoints rotated by 15 degrees and moved to the
# right.*
#
# ## 5. Backward against forward
#
# **Backward** (pull): every pixel of the result is copied from the point of the source that the flow
# gives. **Forward** (push): every pixel of the source is moved to the point that its own flow gives. A
# forward warp needs the inverse flow, and some pixels of the result get two values, others none.
#
# Two tests: a rotation that also enlarges by 1.5; and the true flow of the turning head (driving frame
# pushed to the source, source pulled to the driving frame).


# %%
def push(image, flow):
    """Move each pixel to the nearest pixel of its flow; hits (H, W) counts how many arrive."""
    column, line = geometry.to_pixels(flow, 64, 64).round().long().unbind(-1)
    inside = (column >= 0) & (column < 64) & (line >= 0) & (line < 64)
    at = (line * 64 + column)[inside]
    hits = torch.zeros(64 * 64).index_add(0, at, torch.ones(len(at)))
    total = torch.zeros(3, 64 * 64).index_add(1, at, image[:, inside])
    return (total / hits.clamp(min=1)).view(3, 64, 64), hits.view(64, 64)


bigger = 1.5 * tilt
pushed, hits = push(tilting.source, geometry.apply_2x2(bigger, grid))
pulled = warped(tilting, geometry.apply_2x2(torch.linalg.inv(bigger), grid))
onto_source, head_hits = push(turning.driving, turning.flow)
rows = [
    [plots.mark_pixels(pushed, hits == 0), pulled],
    [plots.mark_pixels(onto_source, head_hits == 0), warped(turning, turning.flow)],
]
columns = [list(column) for column in zip(*rows, strict=True)]
plots.show(
    plots.image_grid(columns, ["turned, enlarged", "the turning head"], ["pushed", "pulled"]),
    alt="pushed: the enlarged image is full of holes, and the turned head has holes where "
    "its far side should be; pulled: no holes in either; the head shows its right side "
    "twice instead",
    colours=256,
)
print(f"enlarged by 1.5: {(hits == 0).float().mean():.2f} of the pixels get no value")

# %% [markdown]
# *Figure 12. Hatched: pixels without a value. The forward warp leaves holes; the backward warp gives every
# pixel a value, right or wrong.*
#
# And bilinear sampling has a gradient with respect to the flow, a rounded target position has none. But
# where the source does *not* show the needed part, a backward warp still copies something (notebook 05).
#
# ## 6. The true flow beside the predicted one
#
# The model was trained only on images, without any flow, and on other heads.


# %%
@torch.inference_mode()
def predicted(pair, jacobians=True):
    found = [model.detect(image[None]) for image in (pair.source, pair.driving)]
    if not jacobians:
        found = [fomm.Keypoints(kp.value) for kp in found]
    dense = model.dense_motion(pair.source[None], *found)
    return geometry.resize_flow(dense.deformation, 64, 64)[0]


said = {
    "tilting": "its arrows have the same directions and are about as long",
    "turning": "in the middle of the face its arrows are nearly as long, on the left and on "
    "the hair far too short, and some point the other way",
}
for pair, name in ((tilting, "tilting"), (turning, "turning")):
    plots.show(
        plots.plot_flows({f"true, {name} head": pair.flow, "predicted": predicted(pair)}),
        alt=f"the {name} head: the predicted flow has softer borders than the true one; "
        + said[name],
    )
    errors = [endpoint_error(flow, pair) for flow in (grid, predicted(pair))]
    print(f"{name}: error without motion {errors[0]:.1f}, predicted {errors[1]:.1f} pixels")

# %% [markdown]
# *Figure 13. Of the tilt four fifths are found. Of the turn in space half: in the middle of the face the
# arrows have 80 % of their length, on its left and on the hair a quarter, and some point the other way
# (cyan: to the left).*
#
# Compare with no motion at all, with the model without its Jacobians, and with the best of ten parts
# (section 2):

# %%
compared = {
    "no motion": lambda pair: grid,
    "model without J": lambda pair: predicted(pair, jacobians=False),
    "model": predicted,
    "best zeroth order": lambda pair: by_parts(pair, best_motions(pair, 10), 0),
    "best first order": lambda pair: by_parts(pair, best_motions(pair, 10), 1),
}
table = {
    name: [endpoint_error(flow(pair), pair) for pair in pairs]
    for name, flow in compared.items()
}
rows = [[name, sum(values) / 6, max(values)] for name, values in table.items()]
plots.show_table(
    ["endpoint error, pixels of 64", "mean of six pairs", "largest"], rows, digits=1
)
assert sum(table["model"]) < 0.6 * sum(table["no motion"])

# %% [markdown]
# Every pair as a dot:

# %% tags=["hide-input"]
# @title Endpoint errors of six pairs
figure, axis = plt.subplots(figsize=(6, 2.8))
looks = zip((SKY, ORANGE, ORANGE, GREEN, GREEN), ("", "//", "", "//", ""), strict=True)
for i, (values, (colour, hatch)) in enumerate(zip(table.values(), looks, strict=True)):
    axis.barh(i, sum(values) / 6, color=colour, hatch=hatch, alpha=0.8)
    axis.plot(values, [i] * 6, "o", color=BLACK, markersize=3)
axis.set_yticks(range(5), list(table))
axis.invert_yaxis()
axis.set(xlabel="endpoint error, pixels of 64")
plots.show(
    figure,
    alt="Mean errors: no motion 4 pixels; the model about 1.8, without Jacobians 1.9; the "
    "best of zeroth order 1.1; the best of first order 0.4.",
)

# %% [markdown]
# *Figure 14. Bars are means. The model removes half of the error of no motion. Its Jacobians help little;
# the green bars show how much Jacobians can help.*
#
# `heads-64` was trained for about an hour on one CPU core. Its Jacobians show little of a rotation
# (notebook 03, figure 8), so it behaves almost as a zeroth-order model. In the paper Jacobians give a
# clear gain (its section 4).

# %% [markdown]
# ## From toy to library
#
# All steps of `fomm.DenseMotionNetwork`: heatmaps and warped sources interleaved, hourglass, masks,
# weighted sum. (Its second output, the occlusion map, is the topic of notebook 05.)

# %%
network = model.generator.dense_motion_network
assert isinstance(network, fomm.DenseMotionNetwork)
with torch.inference_mode():
    small_source = network.downsample(tilting.source[None])
    motions = motion.sparse_motions(kp_source, kp_driving, 32, 32)
    moved = geometry.warp(small_source.expand(11, -1, -1, -1), motions[0])
    channels = torch.cat([differences[:, None], moved], dim=1).view(1, 44, 32, 32)
    mask = network.mask(network.hourglass(channels)).softmax(dim=1)
    mixed = (mask[..., None] * motions).sum(dim=1)
assert torch.allclose(mixed, dense.deformation, atol=1e-4)
low, high = motions.amin(dim=1), motions.amax(dim=1)
assert torch.allclose(mask.sum(dim=1), torch.ones(1, 32, 32), atol=1e-5)
assert ((low - 1e-4 <= mixed) & (mixed <= high + 1e-4)).all()
print("channels", tuple(channels.shape), "-> mask", tuple(mask.shape), "-> flow", end=" ")
print(tuple(mixed.shape))
print("the flow lies between the smallest and the largest sparse motion everywhere")

# %% [markdown]
# ## Break it
#
# What if a driving Jacobian is nearly singular? We squeeze all of them in y to almost zero, with unchanged
# points. Predict what the warped source will look like around a keypoint.

# %%
images, sizes = [], []
squeezes = [1.0, 0.5, 0.1, 0.01]
for squeeze in squeezes:
    jacobian = torch.diag(torch.tensor([1.0, squeeze])) @ kp_source.jacobian
    kp = fomm.Keypoints(kp_source.value, jacobian)
    motions = motion.sparse_motions(kp_source, kp, 64, 64)
    by_distance = (hand_masks(kp)[..., None] * motions).sum(dim=1)[0]
    with torch.inference_mode():
        made = model.generate(tilting.source[None], kp_source, kp, with_visuals=True)
    images.append([warped(tilting, by_distance), made.deformed[0]])
    sizes.append(float(motions.abs().max()))
titles = [f"y times {s:g}" for s in squeezes]
plots.show(
    plots.image_grid(
        [list(row) for row in zip(*images, strict=True)], titles, ["by hand", "network"]
    ),
    alt="two rows, four columns, the factor falls from 1 to 0.01. By hand: the face is "
    "squeezed, then breaks into bars. Network: at 0.5 squeezed too, below that mostly "
    "black, looked up outside the source",
    colours=256,
)
print("a flow should stay near 1; its largest value:", [f"{size:.0f}" for size in sizes])

# %% [markdown]
# *Figure 15. At a factor of 0.01, one pixel in the driving frame is a distance larger than the whole
# source.* The network does not correct it: there were no such motions in training, and it uses them.
# `geometry.inverse_2x2` divides by 10⁻⁶ at least, so that numbers stay finite and training can continue.

# %% [markdown]
# ## Exercises
#
# The check says `todo`, `ok`, or what is wrong and why. A wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · Find the bug
#
# *find the bug · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# Equation 4 for one keypoint. It passes every test with shifts and rotations, and warps stretched heads
# wrong.


# %%
def first_order_flow(grid, p_source, j_source, p_driving, j_driving):
    """(H, W, 2), (2,), (2, 2), (2,), (2, 2) -> (H, W, 2), points of the source."""
    jacobian = torch.linalg.inv(j_driving) @ j_source
    return p_source + geometry.apply_2x2(jacobian, grid - p_driving)


check_first_order_flow(first_order_flow)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Rotations of the plane commute, other matrices do not. Which matrix is applied to a vector first?
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def first_order_flow(grid, p_source, j_source, p_driving, j_driving):
#     jacobian = j_source @ torch.linalg.inv(j_driving)
#     return p_source + geometry.apply_2x2(jacobian, grid - p_driving)
# ```
#
# </details>
#
# ### Exercise 2 · One flow after another
#
# *code · difficulty 3 of 5 · importance 4 of 5 · 10 minutes*
#
# `flow_sd` leads from D to S, `flow_de` from a third frame E to D. Which flow leads from E to S? Sample the
# first flow *at* the points of the second. A flow can be warped like an image of two channels; outside its
# border repeat the border.


# %%
def compose_flows(flow_sd, flow_de):
    """(H, W, 2) and (H, W, 2) -> (H, W, 2)."""
    raise NotImplementedError


check_compose_flows(compose_flows)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `geometry.warp` takes an image (B, C, H, W), so move the axis of the two numbers to the front (`permute`),
# and back afterwards.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def compose_flows(flow_sd, flow_de):
#     image = flow_sd.permute(2, 0, 1)[None]
#     found = geometry.warp(image, flow_de[None], padding_mode="border")
#     return found[0].permute(1, 2, 0)
# ```
#
# </details>
#
# ### Exercise 3 · Does a pushed rotation leave holes?
#
# *experiment · difficulty 2 of 5 · importance 3 of 5 · 10 minutes*
#
# A rotation enlarges nothing. Predict: as the angle of a pushed rotation grows, does the fraction of pixels
# without a value rise, fall or stay? Measure it at 0, 15, 30 and 45 degrees, among the pixels `inside`.

# %%
grid = geometry.coordinate_grid(64, 64)
inside = grid.norm(dim=-1) < 0.7


def arrivals(degrees):
    """(64, 64): how many pixels arrive at each pixel, pushed by a rotation."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    flow = geometry.apply_2x2(torch.tensor([[cos, -sin], [sin, cos]]), grid)
    column, line = geometry.to_pixels(flow, 64, 64).round().long().unbind(-1)
    there = (column >= 0) & (column < 64) & (line >= 0) & (line < 64)
    return torch.bincount((line * 64 + column)[there], minlength=4096).view(64, 64)


prediction = None  # "rises", "falls" or "stays"
measured = {}  # {degrees: fraction of the pixels inside that get no value}
check_holes_by_angle(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# prediction = "rises"
# measured = {d: float((arrivals(d)[inside] == 0).float().mean()) for d in (0, 15, 30, 45)}
# check_holes_by_angle(prediction, measured)
# ```
#
# Even without enlargement a sixth of the pixels stay empty: two rotated pixels round to the same place.
#
# </details>
#
# ### Exercise 4 · Where a flow folds
#
# *code · difficulty 4 of 5 · importance 3 of 5 · 15 minutes*
#
# The determinant of $T'(z)$ says how many times larger the area is in the source than in the result: 1
# means no change, below 1 the image is enlarged, negative: the flow has *folded*. Take differences to the
# right and to the lower neighbour, divided by the distance of neighbours, 2 / (W - 1) and 2 / (H - 1).


# %%
def area_change(flow):
    """(H, W, 2) -> (H - 1, W - 1), the determinant of the flow's Jacobian."""
    raise NotImplementedError


check_area_change(area_change)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `flow[:-1, 1:] - flow[:-1, :-1]` is the difference along x, of both coordinates, with the right shape.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def area_change(flow):
#     height, width = flow.shape[:2]
#     along_x = (flow[:-1, 1:] - flow[:-1, :-1]) * (width - 1) / 2
#     along_y = (flow[1:, :-1] - flow[:-1, :-1]) * (height - 1) / 2
#     return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
# ```
#
# On `turning.flow` 192 of 3,969 values are negative, most at the right side of the head, which hides
# itself.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | the image moves the wrong way | a forward flow used as a backward one | driving → source |
# | it rotates the wrong way | $J_D J_S^{-1}$, or one inverse too many | $J_S J_D^{-1}$ |
# | stripes around one keypoint | its driving Jacobian is nearly singular | look at the determinants |
# | the whole image shrinks a little | flow and sampling differ in `align_corners` | the model's setting |
# | a doubled ear or cheek | the source does not show what is needed | occlusion (notebook 05) |

# %% [markdown]
# ## Questions
#
# **1.** A head moves straight towards the camera. Which order can represent it with one keypoint?
#
# <details><summary>Answer</summary>
#
# First order: nearer means larger, $T'(p) = s\,I$ with $s < 1$ in the backward flow.
#
# </details>
#
# **2.** Multiply all Jacobians, of source and driving frame, by the same matrix from the right. What
# changes?
#
# <details><summary>Answer</summary>
#
# Nothing: $J_S A (J_D A)^{-1} = J_S J_D^{-1}$. It means another reference frame, and R cancels.
#
# </details>
#
# **3.** Why is the endpoint error measured only where the point is visible in the source?
#
# <details><summary>Answer</summary>
#
# Elsewhere even the true flow leads to a wrong colour, so a model trained on images has no reason to find
# it.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can expand a motion around a keypoint, derive $J_S J_D^{-1}$, combine sparse motions into a dense
# flow, and compare a flow with the true one and with the best possible one.
#
# Next: **05 · Occlusion and generator**: what the flow cannot copy, and how it is generated.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.1. Siarohin et al., *Animating Arbitrary
# Objects via Deep Motion Transfer* (Monkey-Net), CVPR 2019. Baker et al., *A Database and Evaluation
# Methodology for Optical Flow*, IJCV 2011.
