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
# No one told this model what a nose is, and yet one of its points lies under the nose of every head. You
# build such a detector, measure how well its points follow a deformation, and train a small one in
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
# | Minutes | 45 to read and run, 40 to practise |
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
    check_equivariance,
    check_heatmap_width,
    check_keypoint_gaussian,
    check_place_by_size,
)
from fomm_lib.data.clips import find_clips
from fomm_lib.media.tensors import to_tensor
from fomm_lib.synthetic.truth import downsample_pair, read_true_pairs

plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

# %% [markdown]
# The trained model of notebook 00, and heads: two frames of every clip for training, and one frame of every
# clip of twelve other persons for testing. The model was not trained on the latter.


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
# To move a face we must know which part moved where. Labels for eyes, ears and chins cost money, and for
# a giraffe there are none. So the detector must find, without labels, points that mean the same in every
# image. Which of its points do?

# %%
with torch.inference_mode():
    kp = model.detect(test_heads)
some = [0, 2, 4, 6, 8]
plots.show(
    plots.image_grid([[plots.draw_keypoints(test_heads[i], kp[i : i + 1]) for i in some]]),
    alt="five heads with ten numbered points each; each number lies on about the same part "
    "of every head",
    colours=256,
)

# %% [markdown]
# *Figure 1. Follow number 2 from head to head: it lies under the nose.* As a number: by how much does each
# point vary, once the heads are brought to one size and pose? We use twelve images with known landmarks.

# %% tags=["hide-input"]
# @title How much each point varies between heads
pairs = [downsample_pair(pair) for pair in read_true_pairs()]
images = torch.stack([image for pair in pairs for image in (pair.source, pair.driving)])
marks = torch.view_as_complex(torch.cat([pair.landmarks for pair in pairs]).contiguous())
with torch.inference_mode():
    points = torch.view_as_complex(model.detect(images).value.contiguous())
middle = marks.mean(1, keepdim=True)
shapes, points = marks - middle, points - middle
mean_shape = shapes.mean(0)
turned = (shapes.conj() * mean_shape).sum(1) / shapes.abs().square().sum(1)  # and scaled
points = turned[:, None] * points
varies = 31.5 * (points - points.mean(0)).abs().square().mean(0).sqrt()
plots.show_table(["point", *range(10)], [["pixels", *varies]], digits=1)
eyes = 31.5 * abs(mean_shape[36:42].mean() - mean_shape[42:48].mean())
print(f"for comparison: the eyes are {eyes:.0f} pixels apart")

# %% [markdown]
# *Table 1. Point 2 varies least, then 3 and 5 beside it. Points 4 and 7, on the forehead, vary most: they
# mean the least.*
#
# Two ideas make this possible: a differentiable step from a map of scores to a point (sections 1 to 4),
# and a loss that needs no labels, **equivariance** (sections 5 and 6).
#
# ## 1. From a map to a point: soft-argmax
#
# A network gives a score for every position. The best position changes in jumps, and has no gradient. The
# *mean* position under a probability map changes smoothly (section 3.1):
#
# $$p_k = \sum_z H_k(z)\, z, \qquad \sum_z H_k(z) = 1$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $H_k$ | heatmap of keypoint k, a probability for every position | (h, w) | 0 to 1, sums to 1 | `heatmap` |
# | $z$ | point in an image, (x, y) | (h, w, 2) | -1 to 1 | `grid` |
# | $p_k$ | keypoint k | (2,) | -1 to 1 | `point` |
#
# By hand, on a map of 3 x 3:

# %%
heatmap = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.25, 0.75], [0.0, 0.0, 0.0]])
grid = geometry.coordinate_grid(3, 3)
point = (heatmap[..., None] * grid).sum(dim=(0, 1))
assert torch.allclose(point, keypoints.soft_argmax(heatmap[None, None])[0, 0])
print("x, y =", point.tolist())

# %% [markdown]
# The point lies *between* pixels. Now a Gaussian moves slowly over a map of 16 pixels. How does each
# estimate of its position move?

# %%
true_x = torch.linspace(-0.6, 0.6, 121)
gaussians = geometry.gaussian_heatmaps(torch.stack([true_x, torch.zeros(121)], -1), 16, 16)
maps = gaussians / gaussians.sum(dim=(1, 2), keepdim=True)
soft = keypoints.soft_argmax(maps[None])[0, :, 0]
columns = maps.flatten(1).argmax(dim=1) % 16
hard = geometry.coordinate_grid(16, 16)[0, columns, 0]
print("argmax:", len(hard.unique()), "different positions; soft-argmax:", len(soft.unique()))
print(f"largest error of soft-argmax: {float((soft - true_x).abs().max()):.4f}")

# %% [markdown]
# One of the maps, and both estimates for all of them:

# %% tags=["hide-input"]
# @title Argmax and soft-argmax of a Gaussian that moves
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
    alt="A Gaussian moves over a map of 16 pixels. Argmax follows in steps of a pixel, "
    "soft-argmax on a straight line.",
)

# %% [markdown]
# *Figure 2. Argmax moves in steps, so its slope is 0 or undefined; soft-argmax follows, also between
# pixels.*
#
# Every score moves the soft-argmax:

# %%
scores = torch.randn(
    1, 1, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True
)
heatmap = scores.flatten(2).softmax(-1).view(scores.shape)
keypoints.soft_argmax(heatmap)[..., 0].sum().backward()
print("scores that get a gradient:", int((scores.grad != 0).sum()), "of", scores.numel())

# %% [markdown]
# ## 2. Temperature: how narrow a heatmap is
#
# A network's scores $a$ are any numbers; the softmax makes a heatmap of them, at a temperature $\tau$:
#
# $$H_k(z) = \frac{\exp(a(z) / \tau)}{\sum_{z'} \exp(a(z') / \tau)}$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $a$ | scores (logits) | (h, w) | any | `scores` |
# | $\tau$ | temperature; 0.1 as published | scalar | above 0 | `temperature` |
#
# We take one map of scores, with a peak of height 1 and a lower one:

# %%
target = geometry.gaussian_heatmaps(torch.tensor([[0.5, -0.4]]), 64, 64, variance=0.02)[None]
rest = geometry.gaussian_heatmaps(torch.tensor([[-0.6, 0.5]]), 64, 64, variance=0.02)[None]
scores = target + 0.6 * rest  # the true position, and a lower peak


def at_temperature(temperature):
    heatmap = (scores / temperature).flatten(2).softmax(-1).view(scores.shape)
    return heatmap, keypoints.soft_argmax(heatmap)


# %% [markdown]
# Where is the point at each temperature?

# %%
temperatures = [0.03, 0.1, 0.2, 1.0]
images = []
for temperature in temperatures:
    heatmap, point = at_temperature(temperature)
    white = (heatmap[0] / heatmap.max()).expand(3, -1, -1)
    images.append(plots.draw_keypoints(white, point))
plots.show(
    plots.image_grid([images], [f"τ = {t:g}" for t in temperatures]),
    alt="one map of scores at four temperatures: at 0.03 and 0.1 a small spot with the "
    "point on it; at 0.2 the point is beside the spot; at 1 the map is nearly flat and the "
    "point lies near the middle",
)

# %% [markdown]
# *Figure 3. The higher the temperature, the flatter the map; the point moves from the peak to the centre.*
#
# At 0.1 a score higher by 1 gives a weight of $e^{10} \approx 22{,}000$: enough against the 4,095 other
# positions. At 1 it gives $e \approx 2.7$, which is negligible. Too low is bad as well: then one pixel
# has all the weight, and the others get no gradient.

# %% tags=["hide-input"]
# @title Distance of the point from the centre, by temperature
range_of_t = torch.logspace(-2, 1, 40)
far = torch.stack([at_temperature(t)[1][0, 0].norm() for t in range_of_t])
figure, axis = plt.subplots(figsize=(6, 2.6))
axis.semilogx(range_of_t, far, color=BLUE)
axis.axvline(0.1, color=BLACK, linestyle=":")
axis.text(0.093, 0.05, "as published", ha="right")
axis.set(
    xlabel="temperature τ (no unit)",
    ylabel="distance of the point\nfrom the centre, [-1, 1] units",
)
plots.show(
    figure,
    alt="Below a temperature of about 0.07 the point stays at the peak, 0.64 from the "
    "centre; at 0.1 it is 0.58 away, at 1 it is at the centre.",
)
assert far[0] > 0.63 and far[-1] < 0.05

# %% [markdown]
# *Figure 4. Below about 0.07 the point stays at the peak; at 0.1 it has moved a tenth of the way to the
# centre.*
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
# | quantity | name | range | variable |
# |---|---|---|---|
# | $j$ | position on the map | 0 to 57 | |
# | $x_{\text{read}}$ | output of the detector | -1 to 1 | `read` |
# | $x_{\text{true}}$ | position in the image; further out nothing is found | -0.905 to 0.905 | `true` |
#
# We measure it on the last layer of a detector built from the published config, and on one with `pad=3`.
# The features that go into this layer are zero except for a Gaussian at a known position; the filter
# copies the value under its centre.

# %%
params = fomm.load_config("vox-256").model_params
common = params.common_params.model_dump()
published = params.kp_detector_params.model_dump()
detectors = {
    pad: fomm.KeypointDetector(**common, **(published | {"pad": pad})) for pad in (0, 3)
}
true = torch.linspace(-0.7, 0.7, 29)
places = torch.stack([true, 0 * true], -1)
features = torch.zeros(29, detectors[0].predictor.out_features, 64, 64)
features[:, 0] = geometry.gaussian_heatmaps(places, 64, 64, variance=0.05)


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

# %% [markdown]
# The error, by position:

# %% tags=["hide-input"]
# @title Error by position, with and without padding
figure, axis = plt.subplots(figsize=(6, 2.8))
for (pad, (_, x)), colour, mark in zip(read.items(), (RED, GREEN), "os", strict=True):
    error = (x - true) * 255 / 2
    axis.plot(true, error, color=colour, marker=mark, markersize=4, label=f"pad {pad}")
axis.set(xlabel="true x, -1 to 1", ylabel="error, pixels of a\nimage of 256")
axis.legend()
plots.show(
    figure,
    alt="Without padding the error grows with the distance from the centre, outward on "
    "both sides, to 9 pixels of 256 at 0.7; with pad 3 it is zero.",
)

# %% [markdown]
# *Figure 5. Without padding, points lie too far out, in proportion to the distance from the centre. With
# `pad=3`, as in the course's own model, there is no bias.*
#
# It hardly matters: source and driving frame have the same bias, and the networks that follow were
# trained with it. So it must be **kept** for published weights, and corrected only to draw their points.
#
# ## 4. The Jacobian: local rotation and stretch
#
# When a head tilts or comes nearer, the neighbourhood of a point also rotates and grows. To first order,
# that is a 2x2 matrix. Around a point $p$, any smooth map $T$ is
#
# $$T(z) \approx T(p) + T'(p)\,(z - p), \qquad
# T'(p) = \begin{pmatrix} \partial T_x / \partial x & \partial T_x / \partial y \\
# \partial T_y / \partial x & \partial T_y / \partial y \end{pmatrix}$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T$ | motion: here a smooth deformation of the plane | points to points | about -1 to 1 | `transform` |
# | $T'(p)$ | Jacobian of the motion at p | (2, 2) | near the identity for a weak $T$ | `slopes` |
# | $J_k$ | Jacobian of keypoint k | (K, 2, 2) | any; the identity before training | `kp.jacobian` |
#
# `losses.RandomTransform` is such a map: affine, plus a thin-plate spline. Automatic differentiation must
# agree with its Jacobian.

# %%
generator = torch.Generator().manual_seed(3)
bend = losses.RandomTransform.sample(1, 0.1, 0.02, textbook=True, generator=generator)
places = torch.tensor([[-0.5, -0.45], [0.55, -0.35], [0.05, 0.5]])
slopes = bend.jacobian(places[None])[0]


def at_one_point(z):
    return bend(z.view(1, 1, 2)).flatten()


for place, slope in zip(places, slopes, strict=True):
    by_autograd = torch.autograd.functional.jacobian(at_one_point, place)
    assert torch.allclose(slope, by_autograd, atol=1e-4)
print("three Jacobians", tuple(slopes.shape), "equal to automatic differentiation")

# %% [markdown]
# What the Jacobians make of three squares, on top of the bent net:

# %% tags=["hide-input"]
# @title Squares and their parallelograms
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
    alt="A square net and the same net bent by T. Three small squares become "
    "parallelograms, which follow the bent net near their centre: the Jacobian is the "
    "local rotation and stretch.",
)

# %% [markdown]
# *Figure 6. Squares become parallelograms. Near their centre they agree with the bent net: first order.*
#
# The detector estimates $J_k$ in the same way as the point: four more maps $m_k$ for each keypoint,
# averaged with the same heatmap, $J_k = \sum_z H_k(z)\, m_k(z)$. It is the Jacobian of the motion from an
# abstract *reference frame* R, which is never computed, and which cancels in $J_S J_D^{-1}$ (notebook
# 04).
#
# ## 5. Equivariance: a loss that needs no labels
#
# Deform an image by a map $T$ that we chose ourselves: the deformed image shows at $z$ what the image shows
# at $T(z)$. Then the points $p'$ found in the deformed image, mapped back by $T$, must be the points $p$ of
# the image. By the chain rule the same holds for the Jacobians (section 3.3):
#
# $$L_\text{eq} = \big\lvert\, p - T(p')\, \big\rvert, \qquad
# L_\text{jac} = \big\lvert\, I - J^{-1}\, T'(p')\, J'\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p'$, $J'$ | found in the deformed image | (B, K, 2), (B, K, 2, 2) | -1 to 1, any | `kp_warped` |
# | $L_\text{eq}$, $L_\text{jac}$ | losses: means of absolute values | scalars | 0 is perfect | |
#
# Note the direction: $T$ leads from the deformed image *back* to the image.

# %%
generator = torch.Generator().manual_seed(1)
turn = losses.RandomTransform.sample(len(test_heads), 0.15, 0.01, generator=generator)
warped = turn.warp_image(test_heads)
with torch.inference_mode():
    kp_warped = model.detect(warped)
back = turn(kp_warped.value)
by_hand = (kp.value - back).abs().mean()
assert torch.allclose(by_hand, losses.equivariance_value_loss(kp, kp_warped, turn))
print("points", tuple(kp.value.shape), "and mapped back", tuple(back.shape))

# %% [markdown]
# On three heads:

# %% tags=["hide-input"]
# @title Points found, found in the deformed image, and mapped back
rows = []
for i in (1, 3, 5):
    found = plots.draw_keypoints(test_heads[i], kp[i : i + 1])
    there = plots.draw_keypoints(warped[i], kp_warped[i : i + 1])
    rows.append([found, there, plots.draw_keypoints(test_heads[i], back[i])])
columns = [list(column) for column in zip(*rows, strict=True)]
plots.show(
    plots.image_grid(columns, row_titles=["p", "p', deformed", "T(p')"]),
    alt="three heads. Row p: points found on the head; row p': points found on the "
    "deformed head; row T of p': those mapped back, which lie close to p",
    colours=256,
)

# %% [markdown]
# *Figure 7. Compare the top row with the bottom one: the closer, the more equivariant the detector.*
#
# ### Compared with what?
#
# A small error alone says nothing: that of a point **fixed** at the centre of every image is only as
# large as the warps. So we compare with it, and with random weights, under warps as strong as in
# training.

# %%
torch.manual_seed(0)
untrained = fomm.FirstOrderMotionModel(model.config).kp_detector.eval()


def fixed_point(images):
    return keypoints.Keypoints(torch.zeros(len(images), 1, 2))


@torch.no_grad()
def equivariance_error(detector, sigma_affine=0.1, sigma_tps=0.005, images=test_heads):
    """Mean distance between p and T(p'), in pixels of 64, over three warps of each image."""
    errors = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        transform = losses.RandomTransform.sample(
            len(images), sigma_affine, sigma_tps, generator=generator
        )
        found, moved = detector(images).value, detector(transform.warp_image(images)).value
        errors.append(31.5 * (found - transform(moved)).norm(dim=-1).mean())
    return float(sum(errors) / len(errors))


warps = {"affine": (0.05, 0), "thin-plate": (0, 0.005), "both": (0.05, 0.005)}
compared = {"fixed at the centre": fixed_point, "untrained": untrained, "trained": model.detect}
errors = {
    name: [equivariance_error(detector, *sigmas) for sigmas in warps.values()]
    for name, detector in compared.items()
}
plots.show_table(
    ["error, pixels of 64", *warps],
    [[name, *values] for name, values in errors.items()],
    digits=1,
)
with torch.no_grad():
    away = 31.5 * untrained(test_heads).value.std(dim=0).mean()
print(f"between heads, a point of the untrained detector varies by {away:.0f} pixel")

# %% [markdown]
# *Table 2. The untrained detector is within 15 % of a fixed point. The trained one follows the warps best
# if they are affine; of thin-plate warps it follows little.*
#
# Untrained scores hardly differ between positions, so the points lie near the centre (section 2),
# whatever the head.
#
# The Jacobians can be tested too: by the chain rule $J J'^{-1}$ should be $T'(p')$. We rotate the heads
# by a known angle, and compute the angle from each keypoint's Jacobian.

# %%
angles = torch.linspace(-30, 30, 7)
found = []
for angle in angles.deg2rad():
    cos, sin = angle.cos(), angle.sin()
    theta = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(test_heads), -1, -1)
    with torch.inference_mode():
        kp_turned = model.detect(losses.RandomTransform(theta).warp_image(test_heads))
    change = geometry.multiply_2x2(kp.jacobian, geometry.inverse_2x2(kp_turned.jacobian))
    sine, cosine = change[..., 1, 0] - change[..., 0, 1], change[..., 0, 0] + change[..., 1, 1]
    found.append(torch.atan2(sine, cosine).rad2deg().flatten())
found = torch.stack(found)
print(found.shape[0], "rotations,", found.shape[1], "Jacobians each")

# %% [markdown]
# The dotted line would be the whole rotation:

# %% tags=["hide-input"]
# @title Rotation read from the Jacobians
figure, axis = plt.subplots(figsize=(6, 3))
median = found.median(dim=1).values
low, high = found.quantile(torch.tensor([0.25, 0.75]), dim=1)
axis.fill_between(
    angles, low, high, color=SKY, alpha=0.5, label="the middle half of all Jacobians"
)
axis.plot(angles, median, color=BLUE, marker="o", label="median, from the Jacobians")
axis.plot(angles, angles, color=BLACK, linestyle=":", label="the true rotation")
axis.set(xlabel="rotation of the image, degrees", ylabel="rotation from Jacobians, degrees")
axis.legend()
plots.show(
    figure,
    alt="The rotation computed from the Jacobians has the right sign; it is half of the "
    "true one at 10 degrees, and does not grow beyond 8 or 9 degrees at 20 and 30.",
)

# %% [markdown]
# *Figure 8. The Jacobians show the sign of a rotation, half of its size at 10 degrees, and less than a
# third at 30.* Training saw warps that rotate by only a few degrees.
#
# ### Try it: move a warp
#
# The first two sliders are the affine part; *bend* moves the middle control point of the thin-plate spline.
# Which points follow longest, and on which part do they lie?


# %% tags=["nbval-ignore-output"]
def follow(angle=20.0, shift=0.1, bend=0.0, head=1):
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    theta = torch.tensor([[[cos, -sin, shift], [sin, cos, 0.0]]])
    control = torch.zeros(1, 2, 25)
    control[0, :, 12] = bend
    transform = losses.RandomTransform(theta, control, True)
    deformed = transform.warp_image(test_heads[head : head + 1])
    with torch.inference_mode():
        there = model.detect(deformed)
    images = [plots.draw_keypoints(test_heads[head], kp[head : head + 1])]
    images += [plots.draw_keypoints(deformed[0], there)]
    images += [plots.draw_keypoints(test_heads[head], transform(there.value))]
    plots.show(
        plots.image_grid([images], ["p", "p', deformed", "T(p'), mapped back"]),
        alt=f"a head with its points; turned by {angle:g} degrees, shifted by {shift:g}, "
        f"bent by {bend:g}; points mapped back",
        colours=256,
    )


_ = interact(
    follow,
    angle=FloatSlider(value=20, min=-60, max=60, step=5),
    shift=FloatSlider(value=0.1, min=-0.5, max=0.5, step=0.05),
    bend=FloatSlider(value=0, min=-0.5, max=0.5, step=0.05),
    head=(0, len(test_heads) - 1),
)

# %% [markdown]
# *Figure 9. Most points follow a rotation by 20 degrees.*
#
# ## 6. Train a small one, in seconds
#
# The detector here has five keypoints and less than a hundredth of the published parameters. In the full
# model the task keeps points apart: each must help to reconstruct the driving frame. Without that task we
# add a **separation** term, which is 1 where two points coincide, and 0.14 at a distance of 0.4:
#
# $$L = \big\lvert\, p - T(p')\, \big\rvert + \lambda \operatorname*{mean}_{i \ne j}\,
# \exp\!\Big(\!-\frac{\lVert p_i - p_j \rVert^2}{2 \cdot 0.2^2}\Big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\lambda$ | weight of the separation | scalar | 0 or more | `separation` |
#
# The complete training loop:


# %%
def closeness(points):
    """(B, K, 2) -> the mean of exp(-|p_i - p_j|^2 / 0.08) over pairs of different points."""
    number = points.shape[1]
    distance2 = (points[:, :, None] - points[:, None]).square().sum(-1)
    near = torch.exp(-distance2 / 0.08).sum(dim=(1, 2)) - number  # a point and itself: 1 each
    return near.mean() / (number * (number - 1))


def small_detector():
    torch.manual_seed(1)
    sizes = {
        "block_expansion": 8,
        "max_features": 32,
        "num_blocks": 3,
        "scale_factor": 0.5,
        "pad": 3,
    }
    return fomm.KeypointDetector(num_kp=5, temperature=0.3, estimate_jacobian=False, **sizes)


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
# The points on the test heads, before and after:

# %% tags=["nbval-ignore-output"]
after, doing_nothing = equivariance_error(apart), equivariance_error(fixed_point)
with torch.no_grad():
    found_after = apart(test_heads).value
print(f"pixels: before {before:.1f}, after {after:.1f}; a fixed point {doing_nothing:.1f}")
assert after < 0.6 * doing_nothing

rows = [
    [plots.draw_keypoints(test_heads[i], points[i]) for i in some]
    for points in (found_before, found_after)
]
plots.show(
    plots.image_grid(rows, row_titles=["before", "after"]),
    alt="five heads. Before: all five points lie near the centre of every image. After: "
    "they are spread around the head, in the same order on every head.",
    colours=256,
)

# %% [markdown]
# *Figure 10. After a few seconds without labels the points keep one arrangement, which moves with the head.
# They do not keep to parts: point 1 lies on a chin or beside a nose.* And the loss:

# %% tags=["hide-input"]
# @title Equivariance loss by step
figure, axis = plt.subplots(figsize=(6, 2.8))
smooth = torch.tensor(history).unfold(0, 10, 1).mean(-1)
axis.plot(history, color=BLUE, linestyle="-", linewidth=0.8, alpha=0.4, label="each batch")
axis.plot(range(9, len(history)), smooth, color=BLUE, label="mean of the last ten")
axis.set(xlabel="step", ylabel="|p - T(p')|, [-1, 1] units", ylim=(0, None))
axis.legend()
plots.show(
    figure,
    alt="The equivariance loss falls from 0.08 to 0.03 within thirty steps, then changes "
    "little, and is noisy from batch to batch.",
)

# %% [markdown]
# *Figure 11. Most of the fall is in the first thirty steps.*
#
# ## From toy to library
#
# The library's detector step by step (`predictor` is an hourglass), and the Jacobian's loss by its formula:

# %%
detector = model.kp_detector
with torch.inference_mode():
    features = detector.predictor(detector.down(test_heads))
    scores = detector.kp(features)
    heatmap = (scores / detector.temperature).flatten(2).softmax(-1).view(scores.shape)
    value = keypoints.soft_argmax(heatmap)
    four = detector.jacobian(features).unflatten(1, (-1, 4))
    jacobian = (heatmap[:, :, None] * four).sum(dim=(-2, -1)).unflatten(-1, (2, 2))
assert torch.allclose(value, kp.value, atol=1e-5)
assert torch.allclose(jacobian, kp.jacobian, atol=1e-4)
print("heatmaps", tuple(heatmap.shape), "value", tuple(value.shape))

carried = geometry.multiply_2x2(turn.jacobian(kp_warped.value), kp_warped.jacobian)
product = geometry.multiply_2x2(geometry.inverse_2x2(kp.jacobian), carried)
by_hand = (torch.eye(2) - product).abs().mean()
by_library = losses.equivariance_jacobian_loss(kp, kp_warped, turn)
assert torch.allclose(by_hand, by_library, atol=1e-5)
print("the Jacobian's loss agrees with its formula")

# %% [markdown]
# Why compare $J^{-1} T' J'$ with $I$, and not $J$ with $T' J'$? The second loss is small also when all
# Jacobians shrink to zero. In the first a common factor cancels.

# %%
tiny = [keypoints.Keypoints(k.value, 0.1 * k.jacobian) for k in (kp, kp_warped)]
difference = (kp.jacobian - carried).abs().mean()
shrunk = (tiny[0].jacobian - 0.1 * carried).abs().mean()
product = losses.equivariance_jacobian_loss(*tiny, turn)
print(
    f"difference: shrinking all Jacobians tenfold leaves {float(shrunk / difference):.2f} of it"
)
print(f"product:    it leaves {float(product / by_hand):.2f} of it")

# %% [markdown]
# ## Break it
#
# Train the same small detector, from the same initial weights, with equivariance **alone**. First guess:
# where will the five points lie?


# %% tags=["nbval-ignore-output"]
def spread(points):
    """The mean distance of two points of one image, in pixels of 64."""
    number = points.shape[1]
    total = torch.cdist(points, points).sum(dim=(1, 2))
    return 31.5 * float(total.mean() / (number * (number - 1)))


alone = small_detector()
_ = train(alone, separation=0)
with torch.no_grad():
    found_alone = alone(test_heads).value
rows = [
    [plots.draw_keypoints(test_heads[i], points[i]) for i in some]
    for points in (found_after, found_alone)
]
plots.show(
    plots.image_grid(rows, row_titles=["separated", "alone"]),
    alt="five heads. With separation the five points lie around the head; with "
    "equivariance alone they lie at one position, on the face or on the forehead.",
    colours=256,
)
compared = {"separated": (apart, found_after), "alone": (alone, found_alone)}
assert spread(found_alone) < 0.3 * spread(found_after)
for name, (small, points) in compared.items():
    print(
        f"{name}: distance of points {spread(points):.0f}, error "
        f"{equivariance_error(small):.1f} px"
    )

# %% [markdown]
# *Figure 12. Equivariance alone: five points at one position. The loss does not show it: their error is
# smaller than that of five separate points.*
#
# Nothing in $L_\text{eq}$ requires *different* points. In the full model the reconstruction of the
# driving frame makes them useful (notebook 06): for it five copies of one point are no better than one.

# %% [markdown]
# ## Exercises
#
# The check says `todo`, `ok`, or what is wrong and why. A wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · A Gaussian at a keypoint
#
# *code · difficulty 2 of 5 · importance 5 of 5 · 5 minutes*
#
# The inverse step, from a point to a map, needed in notebook 04:
# $g_k(z) = \exp\!\big(-\tfrac12 \lVert z - p_k \rVert^2 / \sigma^2\big)$ with $\sigma^2$ = 0.01. Its
# maximum is 1, so it is not a probability map.


# %%
def keypoint_gaussian(point, height, width, variance=0.01):
    """(2,) in [-1, 1] -> (height, width) in (0, 1]."""
    raise NotImplementedError


check_keypoint_gaussian(keypoint_gaussian)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `geometry.coordinate_grid(height, width)` is z for all pixels, shape (height, width, 2).
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
# ### Exercise 2 · How certain is a point?
#
# *code · difficulty 3 of 5 · importance 4 of 5 · 10 minutes*
#
# Two heatmaps can have the same mean, one with a single spot, one with two far apart. Measure the
# difference: the root of the mean squared distance from the mean position,
# $\sqrt{\sum_z H_k(z) \lVert z - p_k \rVert^2}$. Two equal spots at (-1, 0) and (1, 0) have width 1.


# %%
def heatmap_width(heatmap):
    """(h, w), sums to 1 -> scalar, in units of [-1, 1]."""
    raise NotImplementedError


check_heatmap_width(heatmap_width)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def heatmap_width(heatmap):
#     grid = geometry.coordinate_grid(*heatmap.shape)
#     mean = (heatmap[..., None] * grid).sum(dim=(0, 1))
#     return (heatmap * (grid - mean).square().sum(-1)).sum().sqrt()
# ```
#
# </details>
#
# ### Exercise 3 · The same peak on a larger map
#
# *experiment · difficulty 2 of 5 · importance 3 of 5 · 10 minutes*
#
# At τ = 0.1 a peak of height 1 must win against all other positions. A larger map has more of them.
# Predict what happens to the point's distance from the centre. Then measure it for `peak(side)` on maps
# of 16, 32, 64 and 128 positions a side.


# %%
def peak(side):
    """Scores (1, 1, side, side): one peak of height 1, at (0.5, -0.4)."""
    place = torch.tensor([[0.5, -0.4]])
    return geometry.gaussian_heatmaps(place, side, side, variance=0.02)[None]


prediction = None  # "rises", "falls" or "stays"
measured = {}  # {side: distance of the point from the centre}, for 16, 32, 64 and 128
check_place_by_size(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# prediction = "stays"
# measured = {}
# for side in (16, 32, 64, 128):
#     scores = peak(side)
#     heatmap = (scores / 0.1).flatten(2).softmax(-1).view(scores.shape)
#     measured[side] = float(keypoints.soft_argmax(heatmap)[0, 0].norm())
# check_place_by_size(prediction, measured)
# ```
#
# The peak covers more positions too: what counts is its share of the area. A peak of fixed width in
# *pixels* would lose.
#
# </details>
#
# ### Exercise 4 · Find the bug
#
# *find the bug · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# This is meant to be $L_\text{eq}$ of section 5. It is 0 for the identity, it runs, training with it even
# lowers it, and one thing is wrong. Correct it.


# %%
def equivariance(detector, images, transform):
    """detector: (B, 3, H, W) -> (B, K, 2); a transform of B -> the mean of |p - T(p')|."""
    found = detector(images)
    moved = detector(transform.warp_image(images))
    return (transform(found) - moved).abs().mean()


check_equivariance(equivariance)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the two images does T lead *to*? Try a transform that only shifts.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def equivariance(detector, images, transform):
#     found = detector(images)
#     moved = detector(transform.warp_image(images))
#     return (found - transform(moved)).abs().mean()
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
# | points jump between frames of a video | two peaks compete in one map | measure its width (exercise 2) |
# | published points are drawn too far out | no padding, 63/57 | divide by 63/57, for drawing only |

# %% [markdown]
# ## Questions
#
# **1.** A heatmap has two equal peaks, at x = -0.5 and x = 0.5. Where is the keypoint, and what is there?
#
# <details><summary>Answer</summary>
#
# At x = 0, where the heatmap may have no weight. Soft-argmax is right only for a map with one peak.
#
# </details>
#
# **2.** The image is mirrored. Could keypoints be equivariant under that too?
#
# <details><summary>Answer</summary>
#
# A point on the nose could. But a point on the *left* eye would have to lie on what now looks like a right
# eye: the detector cannot tell a mirrored head from another head.
#
# </details>
#
# **3.** The 58 x 58 map gives x = 1. Which position in the image is that?
#
# <details><summary>Answer</summary>
#
# Position 57 of 0 to 57, which is position 60 of 0 to 63 of the image: x = 2 · 60 / 63 - 1 = 0.905 = 57/63.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can turn maps into trainable points, choose a temperature, read a Jacobian, and measure and train
# equivariance against a baseline. You know what it does not guarantee.
#
# Next: **04 · Dense motion** turns ten points and ten Jacobians into a flow for every pixel.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). T. Jakab et al., *Unsupervised Learning of Object
# Landmarks through Conditional Image Generation*, NeurIPS 2018. J. Thewlis et al., *Unsupervised Learning
# of Object Landmarks by Factorized Spatial Embeddings*, ICCV 2017 (equivariance as the only loss). F.
# Bookstein, *Principal Warps*, PAMI 1989.
