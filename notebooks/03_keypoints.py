# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Keypoints without labels
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/03_keypoints.ipynb)
#
# This model was trained without labels for parts of the face, and yet one of its points lies on every nose.
# You build such a detector, measure how well its points follow a deformation, and train a small one in
# seconds.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - turn a heatmap into a point in a differentiable way, and say what the temperature changes;
# - explain why the published detector has maps of 58 x 58, and why its points lie too far out;
# - say what the 2x2 Jacobian at a keypoint means, and carry it through a warp by the chain rule;
# - measure equivariance under known warps, and train a detector with nothing else;
# - show what equivariance alone cannot prevent.
#
# | | |
# |---|---|
# | Know first | convolutions, softmax, partial derivatives; notebook 00 for the system as a whole |
# | Minutes | 40 to read and run, 35 to practise |
# | GPU | no; about half a minute on two CPU cores |
# | Paper | sections 3.1 (local affine motion) and 3.3 (equivariance) |
# | Module | `fomm_lib/keypoints.py`, with `losses.py` and `geometry.py` |

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

import torch
from ipywidgets import FloatSlider, interact
from matplotlib import pyplot as plt

import fomm_lib as fomm
from fomm_lib import geometry, keypoints, losses
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb03_keypoints import (
    check_carry_jacobian,
    check_equivariance,
    check_keypoint_gaussian,
    check_mean_place,
)
from fomm_lib.data.clips import find_clips
from fomm_lib.media.tensors import to_tensor

plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

# %% [markdown]
# We load the trained model of notebook 00, and heads: two frames of every clip for training, and one frame of
# every clip of other persons for testing. The model was not trained on the latter.


# %%
def heads(split, numbers):
    clips = find_clips(fomm.data_path("heads"), split)
    frames = [frame for clip in clips for frame in clip.read(numbers)]
    return torch.stack([to_tensor(frame, model.size) for frame in frames])


model = fomm.load_model("heads-64", device="cpu")
train_heads, test_heads = heads("train", [0, 30]), heads("test", [10])
print("for training", tuple(train_heads.shape), "for testing", tuple(test_heads.shape))

# %% [markdown]
# ## The problem as one image
#
# To move a face we must know which part moved to which position. Labels would give this, but labels for eyes,
# ears and chins cost money, and for a robot arm or a giraffe there are none. So the detector must find,
# without labels, points that mean the same in every image. The figure shows what the trained detector finds
# on heads that it was not trained on.

# %%
with torch.inference_mode():
    kp = model.detect(test_heads)
some = [0, 2, 4, 6, 8]
plots.show(
    plots.image_grid([[plots.draw_keypoints(test_heads[i], kp[i : i + 1]) for i in some]]),
    alt="five heads with ten numbered points each; each number lies on about the same part of every head",
    colours=256,
)

# %% [markdown]
# *Figure 1. Points found without labels. Follow one number from head to head: it stays on one part.*
#
# Two ideas make this possible: a differentiable step from a map of scores to a point (sections 1 to 4), and a
# loss that needs no labels, **equivariance** (sections 5 and 6): if we deform the image, the points must move
# in the same way.
#
# ## 1. From a map to a point: soft-argmax
#
# A network gives a score for every position. The position of the best score changes in jumps, and has no
# gradient. The *mean* position under a probability map changes smoothly (section 3.1):
#
# $$p = \sum_z H(z)\, z, \qquad \sum_z H(z) = 1$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $H$ | heatmap, a probability for every position | (h, w) | 0 to 1, sums to 1 | `heatmap` |
# | $z$ | positions, (x, y) | (h, w, 2) | -1 to 1 | `grid` |
# | $p$ | keypoint | (2,) | -1 to 1 | `point` |
#
# By hand on a map of 3 x 3 positions: three quarters of the probability at the middle of the right border, a
# quarter at the centre.

# %%
heatmap = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.25, 0.75], [0.0, 0.0, 0.0]])
grid = geometry.coordinate_grid(3, 3)
point = (heatmap[..., None] * grid).sum(dim=(0, 1))
assert torch.allclose(point, keypoints.soft_argmax(heatmap[None, None])[0, 0])
print("x, y =", point.tolist())

# %% [markdown]
# The point lies three quarters of the way from the centre (x = 0) to the border (x = 1): *between* pixels. To
# see the advantage, we move a Gaussian slowly over a map of 16 pixels, and compare.

# %%
true_x = torch.linspace(-0.6, 0.6, 121)
gaussians = geometry.gaussian_heatmaps(torch.stack([true_x, torch.zeros(121)], -1), 16, 16)
maps = gaussians / gaussians.sum(dim=(1, 2), keepdim=True)
soft = keypoints.soft_argmax(maps[None])[0, :, 0]
columns = maps.flatten(1).argmax(dim=1) % 16
hard = geometry.coordinate_grid(16, 16)[0, columns, 0]
print("argmax:", len(hard.unique()), "different positions; soft-argmax:", len(soft.unique()))

figure, (left, right) = plt.subplots(1, 2, width_ratios=(2, 3))
left.imshow(maps[90], extent=(-1, 1, 1, -1))
left.plot(soft[90], 0, "x", color=RED, markersize=9)
left.set(title="a Gaussian and its mean", xlabel="x, -1 to 1", ylabel="y, -1 to 1")
left.grid(False)
right.plot(true_x, hard, color=BLACK, label="argmax: the best pixel")
right.plot(true_x, soft, color=ORANGE, label="soft-argmax: the mean position")
right.set(xlabel="true x, from -0.6 to 0.6", ylabel="estimated x")
right.legend()
plots.show(
    figure,
    alt="A Gaussian moves over a map of 16 pixels. Argmax follows in steps of a pixel, soft-argmax on a "
    "straight line.",
)

# %% [markdown]
# *Figure 2. Argmax moves in steps, so its slope is 0 or undefined; soft-argmax follows exactly, also between
# pixels.*
#
# A step function has no useful gradient. Soft-argmax has one: a change of any score moves the point.

# %%
scores = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
heatmap = scores.flatten(2).softmax(-1).view(scores.shape)
keypoints.soft_argmax(heatmap)[..., 0].sum().backward()
print("scores that get a gradient:", int((scores.grad != 0).sum()), "of", scores.numel())

# %% [markdown]
# ## 2. Temperature: how narrow a heatmap is
#
# A network's scores $a$ are any numbers; the softmax makes a heatmap of them, at a temperature $T$:
#
# $$H(z) = \frac{\exp(a(z) / T)}{\sum_{z'} \exp(a(z') / T)}$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $a$ | scores (logits) | (h, w) | any | `scores` |
# | $T$ | temperature; 0.1 as published | | above 0 | `temperature` |
#
# Low: only the best positions count, nearly an argmax. High: all positions count almost equally, and their
# mean is the centre, for every image. We take one map of scores, with a peak of height 1 and a lower one:

# %%
target = geometry.gaussian_heatmaps(torch.tensor([[0.5, -0.4]]), 64, 64, variance=0.02)[None]
rest = geometry.gaussian_heatmaps(torch.tensor([[-0.6, 0.5]]), 64, 64, variance=0.02)[None]
scores = target + 0.6 * rest  # the true position, and a lower peak


def at_temperature(temperature):
    heatmap = (scores / temperature).flatten(2).softmax(-1).view(scores.shape)
    return heatmap, keypoints.soft_argmax(heatmap)


temperatures = [0.03, 0.1, 0.2, 1.0]
images = []
for temperature in temperatures:
    heatmap, point = at_temperature(temperature)
    images.append(plots.draw_keypoints((heatmap[0] / heatmap.max()).expand(3, -1, -1), point))
plots.show(
    plots.image_grid([images], [f"T = {t:g}" for t in temperatures]),
    alt="one map of scores at four temperatures: at 0.03 and 0.1 a small spot with the point on it; at 0.2 "
    "the point is beside the spot; at 1 the map is nearly flat and the point lies near the middle",
)

# %% [markdown]
# *Figure 3. The higher the temperature, the flatter the map; the point moves from the peak to the centre,
# although the scores are the same.*
#
# At T = 0.1 a score higher by 1 gives a weight of $e^{10} \approx 22{,}000$: enough against the 4,095 other
# positions of a 64 x 64 map. At T = 1 it gives $e \approx 2.7$, which is negligible against 4,095. That is
# why the temperature is not 1. Too low is bad as well: then one pixel has all the weight, and the others get
# no gradient.

# %%
range_of_t = torch.logspace(-2, 1, 40)
far = torch.stack([at_temperature(t)[1][0, 0].norm() for t in range_of_t])
figure, axis = plt.subplots(figsize=(6, 2.6))
axis.semilogx(range_of_t, far, color=BLUE)
axis.axvline(0.1, color=BLACK, linestyle=":")
axis.text(0.093, 0.05, "as published", ha="right")
axis.set(xlabel="temperature T (no unit)", ylabel="distance of the point\nfrom the centre, [-1, 1] units")
plots.show(
    figure,
    alt="Up to a temperature of about 0.1 the point stays at the peak, far from the centre; above, it moves "
    "to the centre.",
)
assert far[0] > 0.5 and far[-1] < 0.05

# %% [markdown]
# *Figure 4. Up to about 0.1 the point stays at the peak. Above, it moves to the centre.*
#
# ## 3. Why 58 x 58, and why points lie too far out
#
# The published detector reduces an image to 64 x 64, and its last layer is a convolution of 7 x 7 **without
# padding**: 3 positions are lost at each border, and 58 x 58 remain. Position $j$ of the 58 corresponds to
# position $j + 3$ of the 64. But the mean is taken as if the 58 positions covered all of [-1, 1]:
#
# $$x_{\text{true}} = \frac{2 (j + 3)}{63} - 1, \qquad x_{\text{read}} = \frac{2 j}{57} - 1
# \qquad\Rightarrow\qquad x_{\text{read}} = \frac{63}{57}\, x_{\text{true}}$$
#
# | symbol | name | range | variable |
# |---|---|---|---|
# | $j$ | position on the map | 0 to 57 | |
# | $x_{\text{true}}$ | position in the image | -1 to 1 | `true` |
# | $x_{\text{read}}$ | output of the detector | -1.1 to 1.1 | `read` |
#
# (Solve the first equation for $j$ and put it into the second.) Every point lies further out, by a factor of
# 1.105. We measure it on the last layer of a detector built from the published config, and on one with
# `pad=3`. The features that go into this layer are all zero except for a Gaussian at a known position; the
# filter is set to copy the value under its centre; all other steps are the detector's own.


# %%
params = fomm.load_config("vox-256").model_params
common = params.common_params.model_dump()
published = params.kp_detector_params.model_dump()
detectors = {pad: fomm.KeypointDetector(**common, **(published | {"pad": pad})) for pad in (0, 3)}
true = torch.linspace(-0.7, 0.7, 29)
features = torch.zeros(29, detectors[0].predictor.out_features, 64, 64)
features[:, 0] = geometry.gaussian_heatmaps(torch.stack([true, 0 * true], -1), 64, 64, variance=0.05)


def read_places(detector):
    with torch.no_grad():
        detector.kp.weight.zero_()
        detector.kp.weight[:, 0, 3, 3] = 3.0
        scores = detector.kp(features) / detector.temperature
    heatmap = scores.flatten(2).softmax(-1).view(scores.shape)
    return heatmap.shape[-1], keypoints.soft_argmax(heatmap)[:, 0, 0]


read = {pad: read_places(detector) for pad, detector in detectors.items()}
for pad, (side, x) in read.items():
    factor = float((x * true).sum() / (true * true).sum())
    print(f"pad {pad}: a map of {side} x {side}, factor {factor:.3f}")
print(f"63 / 57 = {63 / 57:.3f}")
print("pad of the course's own model:", model.config.model_params.kp_detector_params.pad)

figure, axis = plt.subplots(figsize=(6, 2.8))
for (pad, (_, x)), colour, mark in zip(read.items(), (RED, GREEN), "os", strict=True):
    axis.plot(true, (x - true) * 128, color=colour, marker=mark, markersize=4, label=f"pad {pad}")
axis.set(xlabel="true x, -1 to 1", ylabel="error, pixels of a\nimage of 256")
axis.legend()
plots.show(
    figure,
    alt="Without padding the error grows with the distance from the centre, outward on both sides, to "
    "about ten pixels of 256; with pad 3 it is zero.",
)

# %% [markdown]
# *Figure 5. Without padding, points lie too far out, in proportion to the distance from the centre. With
# `pad=3` there is no bias.*
#
# Is it a problem? Hardly: source and driving frame have the same bias, and the networks that follow were
# trained with it. It must be **kept** for published weights, and corrected when you draw their points or
# compare them with landmarks. The model of this course was trained with `pad=3`. (There the filters at the
# border get zeros from outside: a disadvantage too.)
#
# ## 4. The Jacobian: local rotation and stretch
#
# A point gives a position. When a head tilts or comes nearer, the neighbourhood of the point also rotates and
# grows. To first order, that is a 2x2 matrix. Around a point $p$, any smooth map $T$ is
#
# $$T(z) \approx T(p) + T'(p)\,(z - p), \qquad
# T'(p) = \begin{pmatrix} \partial T_x / \partial x & \partial T_x / \partial y \\
# \partial T_y / \partial x & \partial T_y / \partial y \end{pmatrix}$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T$ | a smooth deformation of the plane | points to points | about -1 to 1 | `transform` |
# | $T'(p)$ | its Jacobian at p | (2, 2) | near the identity for a weak $T$ | `transform.jacobian(p)` |
# | $J_k$ | Jacobian of keypoint k | (K, 2, 2) | about the identity | `kp.jacobian` |
#
# `losses.RandomTransform` is such a map: affine, plus a thin-plate spline, as in training but stronger here.
# Its Jacobian is computed in closed form; automatic differentiation must agree.

# %%
generator = torch.Generator().manual_seed(3)
bend = losses.RandomTransform.sample(1, 0.1, 0.02, textbook=True, generator=generator)
places = torch.tensor([[-0.5, -0.45], [0.55, -0.35], [0.05, 0.5]])
slopes = bend.jacobian(places[None])[0]
for place, slope in zip(places, slopes, strict=True):
    by_autograd = torch.autograd.functional.jacobian(lambda z: bend(z.view(1, 1, 2)).flatten(), place)
    assert torch.allclose(slope, by_autograd, atol=1e-4)
print("three Jacobians", tuple(slopes.shape), "equal to automatic differentiation")

figure, axes = plt.subplots(1, 2, sharex=True, sharey=True)
lines = geometry.coordinate_grid(17, 17)
curves = bend(lines.view(1, -1, 2)).view(17, 17, 2)
small = 0.2 * torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
for axis, net, title in zip(axes, (lines, curves), ("points z", "points T(z)"), strict=True):
    for way in (net, net.transpose(0, 1)):
        axis.plot(way[..., 0], way[..., 1], color="0.7", linestyle="-", linewidth=0.7)
    axis.set(title=title, xlabel="x", aspect="equal", xlim=(-1.5, 1.5), ylim=(1.5, -1.5))
axes[0].set(ylabel="y")
for i, (place, slope, to) in enumerate(zip(places, slopes, bend(places[None])[0], strict=True)):
    square = (place + small, to + geometry.apply_2x2(slope, small))
    for axis, middle, corners in zip(axes, (place, to), square, strict=True):
        axis.plot(*corners.T, color=(RED, BLUE, GREEN)[i], linestyle="-")
        axis.text(*middle, str(i), color=(RED, BLUE, GREEN)[i], ha="center", va="center")
plots.show(
    figure,
    alt="A square net and the same net bent by T. Three small squares become parallelograms, which follow "
    "the bent net near their centre: the Jacobian is the local rotation and stretch.",
)

# %% [markdown]
# *Figure 6. Squares become parallelograms (the Jacobian). Near their centre they agree with the bent net:
# first order.*
#
# The detector estimates $J_k$ in the same way as the point: four more maps $m_k$ for each keypoint, averaged
# with the same heatmap, $J_k = \sum_z H_k(z)\, m_k(z)$. Relative to what? The paper defines an abstract
# *reference frame* R, which is never computed: $J_k$ is the Jacobian of the motion from R. R cancels when two
# images are compared: $J_S J_D^{-1}$ leads from driving frame to source through R (notebook 04 derives it).
#
# ## 5. Equivariance: a loss that needs no labels
#
# Deform an image by a map $T$ that we chose ourselves: the deformed image shows at $z$ what the image shows
# at $T(z)$. Then the points $p'$ found in the deformed image, mapped back by $T$, must be the points $p$ of
# the image. By the chain rule the same holds for the Jacobians (section 3.3):
#
# $$L_p = \big\lvert\, p - T(p')\, \big\rvert, \qquad
# L_J = \big\lvert\, I - J^{-1}\, T'(p')\, J'\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p$, $J$ | found in the image | (B, K, 2), (B, K, 2, 2) | -1 to 1, about I | `kp` |
# | $p'$, $J'$ | found in the deformed image | the same | the same | `kp_warped` |
# | $L_p$, $L_J$ | losses, means of absolute values | scalars | 0 is perfect | |
#
# Note the direction: $T$ leads from the deformed image *back* to the image. It is a backward warp, as
# everywhere in this course.

# %%
turn = losses.RandomTransform.sample(len(test_heads), 0.15, 0.01, generator=torch.Generator().manual_seed(1))
warped = turn.warp_image(test_heads)
with torch.inference_mode():
    kp_warped = model.detect(warped)
back = turn(kp_warped.value)
by_hand = (kp.value - back).abs().mean()
assert torch.allclose(by_hand, losses.equivariance_value_loss(kp, kp_warped, turn))
print("points", tuple(kp.value.shape), "and mapped back", tuple(back.shape))

rows = []
for i in (1, 3, 5):
    found = plots.draw_keypoints(test_heads[i], kp[i : i + 1])
    there = plots.draw_keypoints(warped[i], kp_warped[i : i + 1])
    rows.append([found, there, plots.draw_keypoints(test_heads[i], back[i])])
columns = [list(column) for column in zip(*rows, strict=True)]
plots.show(
    plots.image_grid(columns, row_titles=["p", "p', deformed", "T(p')"]),
    alt="three heads. Row p: points found on the head; row p': points found on the deformed head; row T of "
    "p': those mapped back, which lie close to p",
    colours=256,
)

# %% [markdown]
# *Figure 7. Compare the top row with the bottom one: the closer, the more equivariant the detector.*
#
# ### Compared with what?
#
# A small error alone says nothing. A point **fixed** at the centre of every image does not depend on the
# image, and its error is only as large as the warps. So we compare three: the trained detector, one with
# random weights, and the fixed point; each under affine warps alone, thin-plate warps alone, and both, as
# strong as in training: three groups of bars, lower is better.

# %%
torch.manual_seed(0)
untrained = fomm.FirstOrderMotionModel(model.config).kp_detector.eval()


def fixed_point(images):
    return keypoints.Keypoints(torch.zeros(len(images), 1, 2))


@torch.no_grad()
def equivariance_error(detector, sigma_affine=0.1, sigma_tps=0.005, images=test_heads):
    """Mean distance between p and T(p'), in units of [-1, 1], over three warps of each image."""
    errors = []
    for seed in range(3):
        dice = torch.Generator().manual_seed(seed)
        transform = losses.RandomTransform.sample(len(images), sigma_affine, sigma_tps, generator=dice)
        found, moved = detector(images).value, detector(transform.warp_image(images)).value
        errors.append((found - transform(moved)).norm(dim=-1).mean())
    return float(sum(errors) / len(errors))


warps = {"affine": (0.05, 0), "thin-plate": (0, 0.005), "both": (0.05, 0.005)}
compared = {"fixed at the centre": fixed_point, "untrained": untrained, "trained": model.detect}
errors = {name: [equivariance_error(d, *sigmas) for sigmas in warps.values()] for name, d in compared.items()}
better = all(t < n for t, n in zip(errors["trained"], errors["fixed at the centre"], strict=True))
print("the trained detector is better than a fixed point under every warp:", better)

figure, axis = plt.subplots(figsize=(6, 3))
looks = zip(errors.items(), (SKY, ORANGE, GREEN), ("//", "..", ""), strict=True)
for i, ((name, values), colour, hatch) in enumerate(looks):
    heights = [v * 32 for v in values]
    axis.bar([j + 0.27 * (i - 1) for j in range(3)], heights, 0.25, color=colour, hatch=hatch, label=name)
axis.set_xticks(range(3), list(warps))
axis.set(xlabel="kind of warp", ylabel="distance between p and T(p'),\npixels of an image of 64")
axis.legend()
plots.show(
    figure,
    alt="Under affine, thin-plate and both warps: an untrained detector is no better than a point "
    "fixed at the centre; the trained one is clearly better.",
)

# %% [markdown]
# *Figure 8. The untrained detector is no better than a fixed point. The trained one follows the warps.*
#
# Why is the untrained one no better? Its scores hardly differ between positions, so its points lie near the
# centre, as in section 2. To be equivariant, the points must depend on the image.
#
# The Jacobians can be tested too. By the chain rule $J J'^{-1}$ should be $T'(p')$. We rotate the heads by a
# known angle, and compute the angle from each keypoint's Jacobian.

# %%
angles = torch.linspace(-30, 30, 7)
found = []
for angle in angles.deg2rad():
    cos, sin = angle.cos(), angle.sin()
    theta = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(test_heads), -1, -1)
    with torch.inference_mode():
        kp_turned = model.detect(losses.RandomTransform(theta).warp_image(test_heads))
    change = geometry.multiply_2x2(kp.jacobian, geometry.inverse_2x2(kp_turned.jacobian))
    found.append(torch.atan2(change[..., 1, 0] - change[..., 0, 1], change[..., 0, 0] + change[..., 1, 1]))
found = torch.stack(found).rad2deg()
print("angles of", found.shape[0], "rotations,", found.shape[1], "heads,", found.shape[2], "keypoints")

figure, axis = plt.subplots(figsize=(6, 3))
median = found.flatten(1).median(dim=1).values
low, high = found.flatten(1).quantile(torch.tensor([0.25, 0.75]), dim=1)
axis.fill_between(angles, low, high, color=SKY, alpha=0.5, label="half of all keypoints and heads")
axis.plot(angles, median, color=BLUE, marker="o", label="median, from the Jacobians")
axis.plot(angles, angles, color=BLACK, linestyle=":", label="the true rotation")
axis.set(xlabel="rotation of the image, degrees", ylabel="rotation from Jacobians, degrees")
axis.legend()
plots.show(
    figure,
    alt="The rotation computed from the Jacobians rises with the true rotation of the image; the nearer "
    "its slope to that of the dotted line, the better.",
)

# %% [markdown]
# *Figure 9. The Jacobians show the rotation without labels: its sign is right; the slope of the curve says
# how much of it they show.* Before training they are the identity on every image, a slope of 0; the loss
# $L_J$ moves the slope towards 1, under warps that rotate by only a few degrees.
#
# ### Try it: move a warp
#
# First one warp, then the same with sliders. The upper sliders are the affine part; *bend* moves the middle
# control point of the thin-plate spline.


# %%
def follow(angle=20.0, shift=0.1, bend=0.0, head=1):
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    control = torch.zeros(1, 2, 25)
    control[0, :, 12] = bend
    transform = losses.RandomTransform(torch.tensor([[[cos, -sin, shift], [sin, cos, 0.0]]]), control, True)
    deformed = transform.warp_image(test_heads[head : head + 1])
    with torch.inference_mode():
        there = model.detect(deformed)
    images = [plots.draw_keypoints(test_heads[head], kp[head : head + 1])]
    images += [plots.draw_keypoints(deformed[0], there)]
    images += [plots.draw_keypoints(test_heads[head], transform(there.value))]
    plots.show(
        plots.image_grid([images], ["p", "p', deformed", "T(p'), mapped back"]),
        alt=f"a head with its points; turned by {angle:g} degrees, shifted by {shift:g}, bent by {bend:g}; "
        f"points mapped back",
        colours=256,
    )


follow()

# %% [markdown]
# Move each slider until points no longer follow. Which points follow longest, and on which part do they lie?

# %% tags=["nbval-ignore-output"]
_ = interact(
    follow,
    angle=FloatSlider(value=20, min=-60, max=60, step=5),
    shift=FloatSlider(value=0.1, min=-0.5, max=0.5, step=0.05),
    bend=FloatSlider(value=0, min=-0.5, max=0.5, step=0.05),
    head=(0, len(test_heads) - 1),
)

# %% [markdown]
# ## 6. Train a small one, in seconds
#
# Equivariance alone can train a detector. The one here has five keypoints and less than a hundredth of the
# published parameters. Each step takes a batch of heads and a warp for each, and detects the points in both.
#
# In the full model the task keeps the points apart: each must help to reconstruct the driving frame. Without
# that task we add a **separation** term, which is large when two points are closer than about 0.4:
#
# $$L = \big\lvert\, p - T(p')\, \big\rvert + \lambda \operatorname*{mean}_{i \ne j}\,
# \exp\!\Big(\!-\frac{\lvert p_i - p_j \rvert^2}{2 \cdot 0.2^2}\Big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p_i$, $p_j$ | two points of one image | (2,) | -1 to 1 | `points` |
# | $\lambda$ | weight of the separation | | 0 or more | `separation` |
#
# This is the complete training loop. The learning rate falls to 0 along a cosine.


# %%
def closeness(points):
    """The mean of exp(-|p_i - p_j|^2 / (2 x 0.2^2)) over pairs of different points: (B, K, 2) to a scalar."""
    number = points.shape[1]
    distance2 = (points[:, :, None] - points[:, None]).square().sum(-1)
    near = torch.exp(-distance2 / (2 * 0.2**2)).sum(dim=(1, 2)) - number  # a point and itself: 1 each
    return near.mean() / (number * (number - 1))


def small_detector():
    torch.manual_seed(1)
    return fomm.KeypointDetector(
        num_kp=5,
        block_expansion=8,
        max_features=32,
        num_blocks=3,
        temperature=0.3,
        scale_factor=0.5,
        pad=3,
        estimate_jacobian=False,
    )


def train(detector, separation, steps=80):
    optimizer = torch.optim.Adam(detector.parameters(), lr=5e-3, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = []
    for _ in range(steps):
        batch = train_heads[torch.randint(len(train_heads), (8,))]
        transform = losses.RandomTransform.sample(8, sigma_affine=0.1)
        found, moved = detector(batch), detector(transform.warp_image(batch))
        equivariance = losses.equivariance_value_loss(found, moved, transform)
        loss = equivariance + separation * closeness(found.value)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(equivariance.item())
    return history


apart = small_detector()
before = equivariance_error(apart)
with torch.no_grad():
    found_before = apart(test_heads).value

history = train(apart, separation=0.1)

# %% [markdown]
# (The detector stays in train mode here: its batch norm uses the statistics of the current batch, as running
# averages over so few steps are not reliable.) The figures show the points on the test heads, and the loss
# during training:

# %%
after, doing_nothing = equivariance_error(apart), equivariance_error(fixed_point)
with torch.no_grad():
    found_after = apart(test_heads).value
print("better than before:", after < 0.8 * before, "; better than a fixed point:", after < doing_nothing)

rows = [
    [plots.draw_keypoints(test_heads[i], points[i]) for i in some] for points in (found_before, found_after)
]
plots.show(
    plots.image_grid(rows, row_titles=["before", "after"]),
    alt="five heads. Before: all five points lie near the centre, for every head. After: they have "
    "spread, and each number tends to the same part of the head.",
    colours=256,
)

figure, axis = plt.subplots(figsize=(6, 2.8))
smooth = torch.tensor(history).unfold(0, 10, 1).mean(-1)
axis.plot(history, color=BLUE, linestyle="-", linewidth=0.8, alpha=0.4, label="each batch")
axis.plot(range(9, len(history)), smooth, color=BLUE, label="mean of the last ten")
axis.set(xlabel="step", ylabel="|p - T(p')|, [-1, 1] units", ylim=(0, None))
axis.legend()
plots.show(
    figure,
    alt="The equivariance loss falls to less than half within eighty steps, and is noisy from batch to "
    "batch.",
)

# %% [markdown]
# *Figure 10. After a few seconds of training without labels the points lie on parts of the head.*
#
# *Figure 11. The loss falls although no image has a label.*
#
# ## From toy to library
#
# The library's detector has the steps that you know, in this order: downsampling, hourglass, a 7 x 7
# convolution to scores, softmax at a temperature, mean position, and the Jacobian's maps averaged with the
# same heatmap. The cell does them one by one, with the trained weights, and compares the Jacobian's loss with
# the formula of section 5:

# %%
detector = model.kp_detector
with torch.inference_mode():
    features = detector.predictor(detector.down(test_heads))
    scores = detector.kp(features)
    heatmap = (scores / detector.temperature).flatten(2).softmax(-1).view(scores.shape)
    value = keypoints.soft_argmax(heatmap)
    four = detector.jacobian(features).unflatten(1, (-1, 4))
    jacobian = (heatmap[:, :, None] * four).sum(dim=(-2, -1)).unflatten(-1, (2, 2))
assert torch.allclose(value, kp.value, atol=1e-5) and torch.allclose(jacobian, kp.jacobian, atol=1e-4)
print("heatmaps", tuple(heatmap.shape), "value", tuple(value.shape), "jacobian", tuple(jacobian.shape))

carried = geometry.multiply_2x2(turn.jacobian(kp_warped.value), kp_warped.jacobian)
product = geometry.multiply_2x2(geometry.inverse_2x2(kp.jacobian), carried)
by_hand = (torch.eye(2) - product).abs().mean()
assert torch.allclose(by_hand, losses.equivariance_jacobian_loss(kp, kp_warped, turn), atol=1e-5)
print("the Jacobian's loss agrees with its formula")

# %% [markdown]
# Why compare $J^{-1} T' J'$ with $I$, and not $J$ with $T' J'$? The second loss is small also when all
# Jacobians shrink to zero. In the first a common factor cancels.

# %%
tiny = [keypoints.Keypoints(k.value, 0.1 * k.jacobian) for k in (kp, kp_warped)]
difference = (kp.jacobian - carried).abs().mean()
shrunk = (tiny[0].jacobian - 0.1 * carried).abs().mean()
print(f"difference: shrinking all Jacobians tenfold leaves {float(shrunk / difference):.2f} of it")
print(f"product:    it leaves {float(losses.equivariance_jacobian_loss(*tiny, turn) / by_hand):.2f} of it")

# %% [markdown]
# ## Break it
#
# Remove the separation: train the same small detector, from the same initial weights, with equivariance of
# the points **alone**. First write down a guess: where will the five points lie? Then compare the points of
# both detectors on the same heads.


# %%
def spread(points):
    """The mean distance of two points of one image."""
    number = points.shape[1]
    return float(torch.cdist(points, points).sum(dim=(1, 2)).mean() / (number * (number - 1)))


alone = small_detector()
_ = train(alone, separation=0)
with torch.no_grad():
    found_alone = alone(test_heads).value
rows = [
    [plots.draw_keypoints(test_heads[i], points[i]) for i in some] for points in (found_after, found_alone)
]
plots.show(
    plots.image_grid(rows, row_titles=["separated", "alone"]),
    alt="five heads. With separation the five points lie on different parts; with equivariance alone they "
    "lie close together.",
    colours=256,
)
print("points lie closer together without separation:", spread(found_alone) < 0.6 * spread(found_after))

# %% [markdown]
# *Figure 12. Equivariance alone: one good point, five times. The loss does not show it.*
#
# Nothing in $L_p$ requires *different* points. Here is the proof on the trained model: replace its ten points
# by ten copies of its best one. The loss becomes smaller, and the detector useless.

# %%
each = (kp.value - turn(kp_warped.value)).abs().mean(dim=(0, 2))
best = int(each.argmin())
copies = [keypoints.Keypoints(k.value[:, [best] * 10]) for k in (kp, kp_warped)]
original = losses.equivariance_value_loss(kp, kp_warped, turn)
cheating = losses.equivariance_value_loss(*copies, turn)
print("ten copies of one point have the smaller loss:", bool(cheating < original))
print("their spread:", spread(copies[0].value))

# %% [markdown]
# So equivariance makes the points follow the image, and another loss must make them useful: in the full model
# it is the reconstruction of the driving frame (notebook 06), for which ten copies of one point are no better
# than one.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged stub does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · The mean position  (easy, 5 minutes)
#
# The soft-argmax of one map: `mean_place(torch.tensor([[0.0, 0.0], [0.5, 0.5]]))` is `[0.0, 1.0]`: x between
# the columns, y at the bottom.


# %%
def mean_place(heatmap):
    """(h, w), sums to 1 -> (2,), x and y in [-1, 1]."""
    raise NotImplementedError


check_mean_place(mean_place)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def mean_place(heatmap):
#     grid = geometry.coordinate_grid(*heatmap.shape)
#     return (heatmap[..., None] * grid).sum(dim=(0, 1))
# ```
#
# </details>
#
# ### Exercise 2 · A Gaussian at a keypoint  (easy, 5 minutes; needed in notebook 04)
#
# The inverse step, from a point to a map: $G(z) = \exp\!\big(-\tfrac12 \lvert z - p \rvert^2 / \sigma^2\big)$
# with $\sigma^2$ = 0.01 (its difference for two images is equation 6). Its maximum is 1, so it is not a
# probability map.


# %%
def keypoint_gaussian(point, height, width, variance=0.01):
    """(2,) in [-1, 1] -> (height, width) in (0, 1]."""
    raise NotImplementedError


check_keypoint_gaussian(keypoint_gaussian)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `geometry.coordinate_grid(height, width)` is z for all pixels, shape (height, width, 2). The squared length
# is a sum over the last axis.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def keypoint_gaussian(point, height, width, variance=0.01):
#     grid = geometry.coordinate_grid(height, width)
#     return torch.exp(-0.5 * (grid - point).square().sum(-1) / variance)
# ```
#
# </details>
#
# ### Exercise 3 · Carry a Jacobian through a warp  (medium, 10 minutes)
#
# A keypoint of the deformed image lies at $p'$ and has the Jacobian $J'$. What is its Jacobian in the image?
# By the chain rule, $T'(p')\, J'$: `transform.jacobian(points)` gives $T'$, (B, N, 2) to (B, N, 2, 2).


# %%
def carry_jacobian(transform, points, jacobians):
    """points (B, N, 2) and jacobians (B, N, 2, 2) of the deformed image -> (B, N, 2, 2) of the image."""
    raise NotImplementedError


check_carry_jacobian(carry_jacobian)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def carry_jacobian(transform, points, jacobians):
#     return transform.jacobian(points) @ jacobians
# ```
#
# The map that is applied last is the first factor. The library writes the product out
# (`geometry.multiply_2x2`), because `@` may be done in half precision on a GPU.
#
# </details>
#
# ### Exercise 4 · How equivariant is a detector?  (medium, 10 minutes)
#
# Compute the loss $L_p$ of section 5 from a detector, a batch of images and a transform: warp the images
# (`transform.warp_image`), detect in both (`detector(images)` gives points (B, K, 2)), take the right ones
# through T, and average the absolute difference.


# %%
def equivariance(detector, images, transform):
    """A function (B, 3, H, W) -> (B, K, 2), images, a transform of B -> the mean of |p - T(p')|."""
    raise NotImplementedError


check_equivariance(equivariance)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def equivariance(detector, images, transform):
#     moved = detector(transform.warp_image(images))
#     return (detector(images) - transform(moved)).abs().mean()
# ```
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | all points near the centre of the image | temperature too high, or untrained | temperature 0.1 |
# | all points close together on the head | equivariance alone | train the whole model, or separate |
# | points do not move during training | temperature too low: one pixel has all the weight | start higher |
# | points jump between frames of a video | two peaks compete in one map | look at `kp.heatmap` |
# | published points are drawn too far out | no padding, 63/57 | divide by 63/57, for drawing only |
# | x and y exchanged | rows and columns mixed up | (x, y) is (column, row) |
# | the loss of Jacobians is sometimes huge | a nearly singular J | `geometry.inverse_2x2` limits it |
# | equivariance gets worse with training | T applied to the wrong points | T takes p' *back* to p |

# %% [markdown]
# ## Questions
#
# **1.** A heatmap has two equal peaks, at x = -0.5 and x = 0.5. Where is the keypoint, and what is there?
#
# <details><summary>Answer</summary>
#
# At x = 0, between the two, where the heatmap may have no weight. Soft-argmax is right only for a map with
# one peak; training leads to one peak because a point between two peaks follows neither.
#
# </details>
#
# **2.** The image is mirrored. Could keypoints be equivariant under that too, and is it desirable?
#
# <details><summary>Answer</summary>
#
# A point on the nose could. But a point on the *left* eye would have to lie on what now looks like a right
# eye: the detector cannot tell a mirrored head from another head. Training warps are near the identity, and
# contain no mirror.
#
# </details>
#
# **3.** Why do we compare with a fixed point when measuring equivariance?
#
# <details><summary>Answer</summary>
#
# It gives the error of a detector that ignores the image. The error of every detector depends on the strength
# of the warps; only relative to this baseline does it mean something.
#
# </details>
#
# **4.** The 58 x 58 map gives x = 1. Which position in the image is that?
#
# <details><summary>Answer</summary>
#
# Position 57 of 0 to 57, which is position 60 of 0 to 63 of the image: x = 2 · 60 / 63 - 1 = 0.905 = 57/63.
# No point further out can be found.
#
# </details>
#
# **5.** Keypoints are learned on heads. What keeps them from describing the identity of the person instead of
# the pose?
#
# <details><summary>Answer</summary>
#
# Only their number: ten points and ten matrices have little capacity. They do describe some of the shape of
# the face, which is why animation uses movements and not positions (notebook 00, "Break it", and notebook
# 08).
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can turn maps into trainable points, choose a temperature, correct the published bias, read a Jacobian,
# and measure and train equivariance against a simple baseline. You know what it does not guarantee.
#
# Next: **04 · Dense motion** turns ten points and ten Jacobians into a flow for every pixel; **06 · Losses**
# adds what keeps the points apart.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). T. Jakab et al., *Unsupervised Learning of Object
# Landmarks through Conditional Image Generation*, NeurIPS 2018 (soft-argmax heatmaps). J. Thewlis et al.,
# *Unsupervised Learning of Object Landmarks by Factorized Spatial Embeddings*, ICCV 2017 (equivariance as the
# only loss, and a term that keeps points apart). F. Bookstein, *Principal Warps*, PAMI 1989 (thin-plate
# splines).
