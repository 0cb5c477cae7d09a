# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Image translation: pix2pix and CycleGAN
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/10_image_translation.ipynb)
#
# Two works of 2017 turn one kind of image into another: pix2pix learns from pairs, CycleGAN without any pair.
# The First Order Motion Model has its discriminator from the first, and its equivariance loss has the same
# idea as the second. Here you build the decisive part of both.
#
# ## At a glance
#
# **You will be able to**
#
# - explain why an L1 loss alone gives grey, soft images, and what a discriminator adds;
# - compute which patch of an image one output of a PatchGAN sees;
# - say what a cycle loss excludes when there are no pairs, and what it cannot exclude;
# - read tables of such experiments, and name what they do not show.
#
# | | |
# |---|---|
# | Know first | notebook 01 (losses of a GAN); convolutions |
# | Minutes | 35 to read, 65 to practise |
# | GPU | no; about 20 seconds on two CPU cores |
# | Paper | background to section 2; Isola et al. 2017; Zhu et al. 2017 |
# | Module | `fomm_lib/family/pix2pix.py`, `fomm_lib/family/cyclegan.py` |
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

# %%
import random
from functools import partial
from statistics import NormalDist

import torch
from matplotlib import pyplot as plt

from fomm_lib.course import plots
from fomm_lib.course.exercises.nb10_image_translation import (
    check_best_colour,
    check_conditional_loss,
    check_cycle_loss,
    check_patch_pixels,
    check_pool_age,
    check_pool_query,
)
from fomm_lib.course.results import Results
from fomm_lib.family import cyclegan, data, metrics, pix2pix, systems, training, weights
from fomm_lib.gan import binary_cross_entropy, wasserstein_1d
from fomm_lib.media.tensors import to_uint8
from fomm_lib.synthetic.labels import LABELS, colour_labels, nearest_labels

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED = plots.COLOURS[:6]

# %% [markdown]
# ## The problem as one image
#
# The upper row says which part each pixel shows: skin (cyan), hair (magenta), clothes (blue), background
# (black), and small parts. The lower row is the head that belongs to it. The labels do not say which colour
# the hair has. What should a network paint that sees only them?

# %% tags=["hide-input"]
# @title labels and heads
heads, labels = (images.float() / 255 for images in data.course_heads("test"))
plots.show(
    plots.image_grid([list(labels[:6]), list(heads[:6])], None, ["labels", "head"]),
    alt="six label maps in flat colours, and below each the rendered head it belongs to; "
    "heads with similar labels have different skin, hair and clothes",
    colours=256,
)

# %% [markdown]
# *Figure 1. One label map fits many heads. A loss decides which of them the network paints.* The heads are
# rendered (`data/family`: 800 people to train on, 100 others to test).
#
# ## 1. Why L1 gives grey
#
# A generator $G$ that minimises the mean absolute error to the true image $b$ solves, for each pixel,
#
# $$G^\ast(a) = \arg\min_g \; \mathbb{E}\big[\,\lvert g - b \rvert \;\big|\;a\,\big]
# = \mathrm{median}(b \mid a).$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $a$ | input image: the labels | (B, 3, H, W) | [-1, 1] | `inputs` |
# | $b$ | true image: the head | (B, 3, H, W) | [-1, 1] | `targets` |
# | $G(a)$ | generated image | (B, 3, H, W) | (-1, 1), by a tanh | `fake` |
# | $D(a, \cdot)$ | logit for each patch: real or generated | (B, 1, h, w) | any | `discriminator` |
#
# Take one class of pixels, clothes, and one number for each: the strength of its colour, yellow minus blue.
# What is the median over all people, and how large is the spread that it hides?

# %%
clothes = (labels - torch.tensor([0.0, 0, 1])[:, None, None]).abs().amax(dim=1) < 0.1
strength = metrics.opponent_colours(heads)[:, 1][clothes]
figure, axis = plt.subplots(figsize=(6, 2.4))
axis.hist(strength, 60, range=(-0.4, 0.4), density=True, color=SKY)
axis.axvline(strength.median(), color=RED, linestyle="--", label="median: what L1 paints")
axis.set(xlabel="yellow minus blue, 0 is grey (values from -0.5 to 0.5)", ylabel="density")
axis.legend()
plots.show(
    figure,
    alt="Colours of clothes spread to both sides of grey; their median is close to grey.",
)
print(f"median {strength.median():.2f}, standard deviation {strength.std():.2f}")

# %% [markdown]
# *Figure 2. Clothes lie on both sides of grey; the best single answer for L1 is almost grey.* And the median
# of all faces that fit a label map is a smooth one, with one skin.
#
# ## 2. A discriminator that sees patches
#
# pix2pix adds a discriminator to the L1 loss. It gets the labels *and* a head, and says whether they belong
# together (a *conditional* GAN):
#
# $$L_D = \tfrac12\big[\mathrm{BCE}(D(a, b), 1) + \mathrm{BCE}(D(a, G(a)), 0)\big],$$
#
# $$L_G = \mathrm{BCE}(D(a, G(a)), 1) + \lambda \,\mathrm{mean}\,\lvert G(a) - b \rvert,
# \qquad \lambda = 100.$$
#
# $D$ is convolutional and has no final dense layer: each output sees only a *patch* of the image. The L1 loss
# is responsible for the layout, the discriminator for the texture inside a patch. How large is a patch? Walk
# back from one output: a layer with kernel $k$ and stride $s$ turns a field of $r$ inputs into
# $s\,(r - 1) + k$.


# %%
def toy_field(layers):
    field = 1
    for kernel, stride in reversed(layers):
        field = stride * (field - 1) + kernel
    return field


for depth in range(1, 6):
    layers = [(4, 2)] * depth + [(4, 1), (4, 1)]
    print(f"{depth} convolutions of stride 2: patches of {toy_field(layers)} pixels")

# %% [markdown]
# The library's discriminator can be asked directly: which input pixels change one output? Their gradient is
# not zero. For three convolutions of stride 2, the published choice, both answers must be 70.

# %%
torch.manual_seed(0)
patch_gan = pix2pix.PatchDiscriminator(in_channels=6, width=8, layers=3, norm="instance").eval()
asked = torch.randn(1, 6, 256, 256, requires_grad=True)
convolutions = [layer for layer in patch_gan.layers if isinstance(layer, torch.nn.Conv2d)]
signal = asked
for layer in convolutions:  # without the norms, which see the whole image
    signal = layer(signal)
signal[0, 0, 15, 15].backward()
seen = asked.grad[0].abs().sum(0) > 0
print("measured:", int(seen.any(0).sum()), "x", int(seen.any(1).sum()), "pixels")
assert seen.any(0).sum() == toy_field([(4, 2)] * 3 + [(4, 1), (4, 1)])

# %% [markdown]
# The generator is a *U-Net*: each level halves the image, and on the way back gets the features of the same
# size again (a *skip*), so that outlines need not pass through the narrowest level. FOMM's hourglasses
# (notebook 03) are built alike.
#
# ## 3. L1, GAN, or both
#
# Three generators, equal but for the loss, trained for 1,500 steps of 4 images each (about a minute on one
# core; `python -m experiments.family pix2pix`). Tables give means over the seeds, and in brackets the range.
# Before you look: which one has the smallest L1 error, and which one the most colour?

# %% tags=["hide-input"]
# @title images by L1, by both, by the GAN
measured = Results("pix2pix")
variants = ["L1", "L1+cGAN", "cGAN"]
rows = [
    list(labels[:6]),
    *(list(measured.images(name)[0]) for name in variants),
    list(heads[:6]),
]
plots.show(
    plots.image_grid(rows, None, ["labels", *variants, "truth"]),
    alt="L1: smooth heads of one brown skin, grey clothes, grey background. L1 and GAN: more "
    "contrast, coloured backgrounds with a weave, dark clothes. GAN alone: coloured noise in "
    "the shape of a head. Last row: the true heads.",
    colours=256,
)

# %% [markdown]
# *Figure 3. L1 alone paints everyone the same skin, before grey; with the discriminator colour and contrast
# return, and a weave; without L1 there is no face.* None is a good portrait after a minute of training.

# %%
measured.show([*variants, "truth"], ["l1", "sharpness", "overlap_yellow_blue", "iou"])
for low, high in (("L1", "L1+cGAN"), ("L1+cGAN", "cGAN")):
    assert measured.below("l1", low, high) and measured.below("sharpness", low, high)
assert measured.below("overlap_yellow_blue", "L1", "L1+cGAN")

# %% [markdown]
# - *L1 error*: smallest for L1, which optimises it. By this measure grey wins.
# - *Sharpness* (mean gradient over that of the truth): L1 is too soft, the GAN alone far too "sharp", with
#   noise: no measure of quality either.
# - *Overlap of the colour histogram* with the true one: the discriminator restores colours that L1 removed.
# - *IoU* of labels that a segmenter reads back. It reads the images of L1 *better than the true ones*: they
#   contain nothing but the labels.
#
# In the paper (streets, table 1) a segmenter reads back 42 % of the pixels from L1, 57 % from a conditional
# GAN, 66 % from both, 80 % from true images. The GAN without L1 fares better there: it had hundreds of times
# as many steps.
#
# How large should a patch be? The same training with 1, 16, 34 and 70 pixels:

# %% tags=["hide-input"]
# @title three measures by the size of a patch
patches = {"1": "patch 1", "16": "patch 16", "34": "L1+cGAN", "70": "patch 70"}
figure, axis = plt.subplots(figsize=(6, 2.6))
for column, label, style in (
    ("sharpness", "sharpness", "o-"),
    ("overlap_yellow_blue", "overlap of colours", "s--"),
    ("spread", "spread between people", "^:"),
):
    values = [measured.mean(name, column) for name in patches.values()]
    ranges = [measured.reach(name, column) for name in patches.values()]
    axis.errorbar(
        range(4), values, list(zip(*ranges, strict=True)), fmt=style, capsize=3, label=label
    )
axis.set_xticks(range(4), list(patches))
axis.set(xlabel="pixels of a patch (images have 64)", ylabel="truth is 1", ylim=(0, 1.1))
axis.legend(loc="lower right")
plots.show(
    figure,
    alt="With patches of 1 pixel sharpness and spread are low, with 16 pixels clearly higher; "
    "from there to 70 pixels they rise little, sharpness to that of true images. The overlap "
    "of colours rises by less than its seeds differ.",
)
assert all(measured.below(c, "patch 1", "patch 16") for c in ("sharpness", "spread"))
print(
    "L1 alone:",
    ", ".join(f"{c} {measured.mean('L1', c):.2f}" for c in ("sharpness", "spread")),
)

# %% [markdown]
# *Figure 4. From 16 pixels on the discriminator has an effect; one of single pixels changes nothing here.* In
# the paper's longer trainings single pixels restore colour already, and sharpness comes with 16.
#
# ## 4. Without pairs: the cycle
#
# Often there are no pairs: photographs and paintings, horses and zebras. CycleGAN has two sets, $a$ and $b$,
# two generators and two discriminators. The adversarial losses (least squares) ask that $G_{ab}(a)$ looks
# like *some* $b$. The cycle loss asks that the way back returns:
#
# $$L_\mathrm{cyc} = \mathrm{mean}\,\big\lvert G_{ba}(G_{ab}(a)) - a\big\rvert +
# \mathrm{mean}\,\big\lvert G_{ab}(G_{ba}(b)) - b\big\rvert.$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $a$, $b$ | images of the two kinds, not paired | (B, 3, H, W) | [-1, 1] | `real_a`, `real_b` |
# | $G_{ab}$, $G_{ba}$ | generators, there and back | image to image | | `networks["ab"]`, `["ba"]` |
# | $D_a$, $D_b$ | discriminators of the kind in the index | (B, 1, h, w) | any | `networks["a"]`, `["b"]` |
#
# What does that exclude? Let both kinds be numbers with the same Gaussian distribution. Here are four maps.
# Which of them can a discriminator reject, and which one the cycle?


# %%
def fold(x):
    """Two to one, and yet exactly Gaussian again: x and -x become the same number."""
    return 2**0.5 * torch.erfinv(2 * torch.erf(x.abs() / 2**0.5) - 1)


quantiles = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 2000) for i in range(2000)])
maps = {
    "identity": quantiles,
    "mirror": -quantiles,
    "fold": fold(quantiles),
    "constant": 0 * quantiles,
}
# The best way back for an absolute error; folded, x and -x are equally likely: 0 is best.
back = {
    "identity": quantiles,
    "mirror": quantiles,
    "fold": 0 * quantiles,
    "constant": 0 * quantiles,
}
for name, mapped in maps.items():
    distance = wasserstein_1d(mapped, quantiles)
    cycle = (back[name] - quantiles).abs().mean()
    print(f"{name:9} distance of distributions {distance:.2f}, best cycle loss {cycle:.2f}")

# %% [markdown]
# The discriminator rejects only the constant. The cycle loss rejects the fold as well: it loses half of the
# information. **Nothing rejects the mirror**: it has the right distribution and can be undone.
# A cycle loss keeps information; it does not say *which* $b$ belongs to an $a$. If networks find the right
# one, it is because for convolutions the simplest map keeps shapes in place.
#
# An *identity loss*, $\mathrm{mean}\,\lvert G_{ab}(b) - b \rvert$ and its twin, with half the weight, keeps
# colours where the image is of the right kind already. And each discriminator gets generated images from a
# *pool* of fifty: half of the time an old one instead of the new one.

# %%
pool, ages = cyclegan.ImagePool(50, random.Random(0)), []
for step in range(3000):
    ages.append(step - int(pool.query(torch.full((1, 1, 1, 1), float(step)))))
late = torch.tensor(ages[1000:])
figure, axis = plt.subplots(figsize=(6, 2.2))
axis.hist(late[late > 0], 40, range=(0, 400), color=BLUE)
axis.set(xlabel="age of an old image, in steps", ylabel="images of 2000")
plots.show(
    figure,
    alt="Ages of returned old images fall off exponentially, some are over 300 steps old.",
)
at_once, age = (late == 0).float().mean(), late[late > 0].float().mean()
print(f"returned at once {at_once:.2f}, mean age of old ones {age:.0f} steps")

# %% [markdown]
# *Figure 5. The discriminator must recognise images of several hundred steps ago: no old trick wins again.*
#
# ## 5. What CycleGAN learned from unpaired heads and labels
#
# People 1 to 400 give heads, people 401 to 800 labels; no pair is ever seen. 1,200 steps of one image each
# (two to three minutes on a core; `python -m experiments.family cyclegan`). We know the pairs, and use them
# only to measure.

# %% tags=["hide-input"]
# @title round trips with and without cycle losses
translated, rows = Results("cyclegan"), []
for variant in ("CycleGAN", "no cycle"):
    rows += [list(row[:6]) for row in translated.images(variant)[:3]]
plots.show(
    plots.image_grid(rows, None, ["heads", "cycle", "back", "heads", "no cycle", "back"]),
    alt="Above with cycle losses: heads, their labels with holes and false patches, and "
    "soft heads turned back that resemble the first row. Below without: smoother "
    "labels, turned back into the same yellow shape.",
    colours=256,
)

# %% [markdown]
# *Figure 6. With cycle losses (rows 1 to 3: heads, their labels, and back) a head survives the way, blurred.
# Without (rows 4 to 6) all heads come back as nearly the same yellow one.*

# %%
columns = ["there_and_back_l1", "spread", "pixel_accuracy"]
kinds = ["CycleGAN", "no cycle", "no identity", "no pool"]
translated.show(kinds, columns)
assert translated.below("there_and_back_l1", "CycleGAN", "no cycle")
assert translated.below("spread", "no cycle", "CycleGAN")
true, usual = (
    torch.from_numpy(nearest_labels(images.permute(0, 2, 3, 1).numpy()))
    for images in (data.course_heads("test")[1], data.course_heads("train")[1])
)
constant = usual.mode(0).values.expand_as(true)
accuracy = (constant == true).float().mean()
print(f"most frequent class of each pixel, for every head: accuracy {accuracy:.2f}")
assert all(max(translated.values(kind, "pixel_accuracy")) < accuracy for kind in kinds)

# %% [markdown]
# - *There and back*: the cycle loss does what it optimises, and keeps people different (spread).
# - *Accuracy of the labels*, the hidden truth: **the cycle makes it worse here**, and a constant answer is
#   better than all four. Without it the numbers would look respectable.
#
# Why? And how can white hair come back from labels, which have no word for it? A large CycleGAN hides it in
# faint patterns (Chu et al. 2017). Test it: replace each made colour by the nearest one of the palette. And
# sort the heads by how bright their skin (their hair) is: in which of them is it found?

# %%
trained = weights.load_family("cyclegan").networks
with systems.sampling():
    made = systems.translate(trained["ab"], heads)
    classes = torch.from_numpy(nearest_labels(to_uint8(made.clamp(0, 1)))).long()
    plain = torch.from_numpy(colour_labels(classes.numpy())).permute(0, 3, 1, 2) / 255
    returned = {
        "made labels": systems.translate(trained["ba"], made),
        "nearest colours": systems.translate(trained["ba"], plain),
        "mean head": heads.mean(dim=0, keepdim=True),
    }
for name, image in returned.items():
    print(f"L1 of heads back from {name}: {(image - heads).abs().mean():.2f}")
rows, columns = [], ["skin", "hair", "clothes", "background"]
for name in ("skin", "hair"):
    part = [t == LABELS.index(name) for t in true]
    found = [
        (float(h.mean(dim=0)[p].mean()), c[p])
        for h, p, c in zip(heads, part, classes, strict=True)
        if p.any()
    ]
    found.sort(key=lambda pair: pair[0])
    for i, kind in enumerate(("darkest", "middle", "brightest")):
        third = found[len(found) * i // 3 : len(found) * (i + 1) // 3]
        called = torch.cat([c for _, c in third])
        shares = [float((called == LABELS.index(column)).float().mean()) for column in columns]
        rows.append([f"{name}, {kind} third", *shares])
plots.show_table(["pixels of", *(f"called {column}" for column in columns)], rows, digits=2)

# %% [markdown]
# Nothing is hidden here: without patterns the way back is as good. The *classes* carry what the cycle loss
# asks for. Dark hair is called background and bright hair skin, dark skin hair or background: that tells the
# way back how bright to paint. The generators have agreed on a code of their own, like the mirror
# (section 4). A small cycle loss proves no meaningful middle.
#
# ## From toy to library
#
# `pix2pix_step` is one update of both networks: first the discriminator, then the generator, scored by the
# updated discriminator. Its first loss must be our formula:

# %%
torch.manual_seed(0)
system = systems.make_system(training.family_config("pix2pix"))
batch = next(training.draws(data.open_data("pix2pix"), 4))
inputs, targets = map(pix2pix.to_signed, batch)
torch.manual_seed(1)  # of the dropout, the only noise
with torch.no_grad():
    fake = system.networks["generator"](inputs)
    on_real, on_fake = (
        system.networks["discriminator"](torch.cat([inputs, image], dim=1))
        for image in (targets, fake)
    )
by_hand = {
    "disc_real": binary_cross_entropy(on_real, 1.0, from_logits=True),
    "disc_fake": binary_cross_entropy(on_fake, 0.0, from_logits=True),
    "gen_l1": 100 * (fake - targets).abs().mean(),
}
torch.manual_seed(1)
taken = system.step(batch, 0, torch.Generator())
for name, value in by_hand.items():
    assert torch.isclose(value, taken[name], rtol=1e-3), name
print("by hand and by the library:", ", ".join(by_hand), "agree to 1 in 1000")

# %% [markdown]
# `fit` is the loop: draw a batch, take a step, keep the losses. A few seconds are enough for the losses, not
# for images: those need the minutes of `fomm family train pix2pix --out runs/mine`.

# %% tags=["nbval-ignore-output"]
curves = {}
for name, steps in (("pix2pix", 60), ("cyclegan", 30)):
    torch.manual_seed(0)
    live = systems.make_system(training.family_config(name))
    batches = training.draws(data.open_data(name), live.config.batch_size)
    take = partial(lambda live, *batch: live.step(batch, 0, torch.Generator()), live)
    curves[name] = training.fit(take, batches, steps)
rows = []
for name, loss in (("pix2pix", "gen_l1"), ("cyclegan", "cycle_a"), ("cyclegan", "cycle_b")):
    values = curves[name][loss]
    rows.append([name, loss, len(values), sum(values[:10]) / 10, sum(values[-10:]) / 10])
plots.show_table(
    ["system", "loss", "steps", "mean of the first 10", "of the last 10"], rows, digits=1
)
assert rows[-1][-1] < 0.7 * rows[-1][-2], "labels there and back: better on every processor"

# %% [markdown]
# The cycle loss of the labels (`cycle_b`) falls fast, since labels have only a few colours.
#
# Trained weights: `load_family("pix2pix")`, or `fomm family apply pix2pix labels.png head.png`.
#
# ## Break it
#
# The network learned what the *colours of the labels* mean. Exchange those of hair and skin: what will it
# paint? And what of a head instead of labels?

# %%
model = weights.load_family("pix2pix")
skin, hair = torch.tensor([0.0, 1, 1])[:, None, None], torch.tensor([1.0, 0, 1])[:, None, None]
is_skin, is_hair = (((labels - c).abs().amax(1, keepdim=True) < 0.1) for c in (skin, hair))
exchanged = torch.where(is_skin, hair, torch.where(is_hair, skin, labels))
with systems.sampling():
    painted = {
        name: systems.translate(model.networks["generator"], images[:6])
        for name, images in (("labels", labels), ("exchanged", exchanged), ("a head", heads))
    }
rows = [
    list(labels[:6]),
    list(painted["labels"]),
    list(exchanged[:6]),
    list(painted["exchanged"]),
]
rows += [list(painted["a head"])]
plots.show(
    plots.image_grid(rows, None, ["labels", "painted", "exchanged", "painted", "of a head"]),
    alt="From true labels soft heads with dark hair. From exchanged labels dark faces "
    "under skin-coloured hair. From a head instead of labels only dim shapes.",
    colours=256,
)

# %% [markdown]
# *Figure 7. The generator follows the colours literally, also where no head looks like that.* It has learned
# the appearance of patches, not what a face is.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why.
#
# ### pix2pix
#
# ### Exercise 1 · The patch of a discriminator
#
# *code · difficulty 3 of 5 · importance 3 of 5 · 15 minutes*
#
# *Which* pixels, the first and the last, does output number `output` of a stack of convolutions see, in one
# direction? Now layers have a padding too, so the first may be negative. Hint: which inputs of one layer do
# its outputs 0 and 1 see? (Output 15 of section 2 sees pixels 97 to 166.)


# %%
def patch_pixels(layers, output):
    """[(kernel, stride, padding), ...], first layer first; an int -> (first, last)."""
    raise NotImplementedError


check_patch_pixels(patch_pixels)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def patch_pixels(layers, output):
#     first = last = output
#     for kernel, stride, padding in reversed(layers):
#         first = stride * first - padding
#         last = stride * last - padding + kernel - 1
#     return first, last
# ```
#
# </details>
#
# ### Exercise 2 · The loss of a conditional discriminator
#
# *code · difficulty 3 of 5 · importance 5 of 5 · 10 minutes*
#
# Write the discriminator's loss of section 2, with `binary_cross_entropy` (notebook 01). `discriminator`
# takes labels and image, concatenated along the channels. No gradient may reach the generator of `fake`.


# %%
def conditional_loss(discriminator, inputs, targets, fake):
    """Three tensors (B, 3, H, W) -> scalar; binary cross-entropy of logits."""
    raise NotImplementedError


check_conditional_loss(conditional_loss)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def conditional_loss(discriminator, inputs, targets, fake):
#     on_real = discriminator(torch.cat([inputs, targets], dim=1))
#     on_fake = discriminator(torch.cat([inputs, fake.detach()], dim=1))
#     real = binary_cross_entropy(on_real, 1.0, from_logits=True)
#     return (real + binary_cross_entropy(on_fake, 0.0, from_logits=True)) / 2
# ```
#
# </details>
#
# ### Exercise 3 · Experiment: what a loss paints
#
# *experiment · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# Of 100 shirts 60 have the colour 0.4 and 40 the colour -0.2. A generator can paint one colour only.
# **Predict** (two numbers): which one, with the squared and with the absolute error? **Run**: let gradient
# descent find the colour that minimises `loss(values - colour)`. The slope of the absolute error stays large:
# a rate of 0.01 is small enough. **Compare**.


# %%
def best_colour(values, loss):
    """(N,) and a function of errors (N,) -> float, by gradient descent from 0."""
    raise NotImplementedError


check_best_colour(best_colour)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def best_colour(values, loss):
#     colour = torch.zeros((), requires_grad=True)
#     optimizer = torch.optim.SGD([colour], lr=0.05)
#     for step in range(400):
#         optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
#         optimizer.zero_grad()
#         loss(values - colour).backward()
#         optimizer.step()
#     return float(colour.detach())
# ```
#
# The squared error paints the mean, 0.16, which nobody wears; the absolute error the median, 0.4, which then
# everybody wears. A discriminator rejects both.
#
# </details>
#
# ### CycleGAN
#
# ### Exercise 4 · The cycle loss
#
# *code · difficulty 1 of 5 · importance 5 of 5 · 5 minutes*
#
# Write the cycle loss of section 4.


# %%
def cycle_loss(there, back, real_a, real_b):
    """Two generators, A to B and B to A, and two batches (B, 3, H, W) -> scalar."""
    raise NotImplementedError


check_cycle_loss(cycle_loss)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def cycle_loss(there, back, real_a, real_b):
#     from_a = (back(there(real_a)) - real_a).abs().mean()
#     return from_a + (there(back(real_b)) - real_b).abs().mean()
# ```
#
# </details>
#
# ### Exercise 5 · Find the bugs: the pool
#
# *find the bug · difficulty 3 of 5 · importance 3 of 5 · 15 minutes*
#
# This pool has three faults. Until `size` images are stored, a new image is stored and returned; afterwards,
# with probability 1/2, a random stored image is returned and the new one takes its place; else the new one is
# returned. What is stored must not change with the caller's image.


# %%
def pool_query(stored, image, size, rng):
    """A list of tensors (changed), a tensor, an int, a random.Random -> a tensor."""
    if len(stored) < size:
        stored.append(image)
        return stored[rng.randrange(len(stored))]
    if rng.random() < 0.5:
        return image
    place = rng.randrange(size)
    stored[place] = image
    return stored[place]


check_pool_query(pool_query)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def pool_query(stored, image, size, rng):
#     if len(stored) < size:
#         stored.append(image.clone())
#         return image
#     if rng.random() < 0.5:
#         return image
#     place = rng.randrange(size)
#     old, stored[place] = stored[place], image.clone()
#     return old
# ```
#
# </details>
#
# ### Exercise 6 · Experiment: how old is the past?
#
# *experiment · difficulty 3 of 5 · importance 2 of 5 · 10 minutes*
#
# **Predict**: when a pool of 10 returns an *old* image, how many steps ago was it made, on average? Hint:
# how probable is it that a place is replaced in a step? **Run** 20,000 queries of one image with
# `cyclegan.ImagePool(size, random.Random(0))`, leave out the first 10 · `size`, and average the ages above 0.
# **Compare**, also for other sizes.


# %%
def pool_age(size):
    """int -> float: the mean age, in steps, of the old images that a pool returns."""
    raise NotImplementedError


check_pool_age(pool_age)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def pool_age(size):
#     pool, ages = cyclegan.ImagePool(size, random.Random(0)), []
#     for step in range(20_000):
#         age = step - int(pool.query(torch.full((1, 1, 1, 1), float(step))))
#         if step > 10 * size and age > 0:
#             ages.append(age)
#     return sum(ages) / len(ages)
# ```
#
# A place is replaced with probability 1 / (2 · size) in each step, so its image lives 2 · size steps on
# average: 20 for a pool of 10, 100 for 50.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | grey, soft images | only a reconstruction loss | a discriminator; more weight for it |
# | colourful noise, no object | only the GAN loss, or L1 too weak | λ = 100 |
# | good in training, soft or black at test | batch norm, trained with one image | `.train()` at test |
# | a checkerboard | transposed convolutions | upsample, then convolve (as FOMM does) |
# | a texture repeats, the layout is wrong | patches too small | more layers in the discriminator |
# | all inputs give the same output | no cycle loss, or too little | cycle weight 10 |
# | colours drift to another tint | nothing fixes them | the identity loss |
# | good round trip, strange middle | a private code, or faint patterns | measure the middle |

# %% [markdown]
# ## Questions
#
# **1.** Why does the discriminator of pix2pix see the labels?
#
# <details><summary>Answer</summary>
#
# Without them any realistic head is accepted. With them the pair must fit.
#
# </details>
#
# **2.** FOMM's discriminator is a PatchGAN too, and its generator has no L1 loss of pixels. What plays the
# part of L1?
#
# <details><summary>Answer</summary>
#
# The perceptual and the feature-matching loss: distances of features, which tolerate small shifts and
# textures (notebook 06). They fix the layout, the discriminator the texture.
#
# </details>
#
# **3.** Which loss of FOMM has the idea of a cycle, and what do both prevent?
#
# <details><summary>Answer</summary>
#
# The equivariance loss: keypoints of a transformed image, transformed back, must be the keypoints of the
# image. Both test consistency without labels, and both prevent answers that ignore the input. Both, too,
# accept wrong answers that are consistent (the mirror of section 4; keypoints on nothing in particular).
#
# </details>
#
# **4.** A table shows a pixel accuracy of 0.66 for labels of unpaired training. Is that good?
#
# <details><summary>Answer</summary>
#
# Ask for a constant answer first: here the most frequent class of each pixel reaches 0.79. Then ask for whom:
# skin is found in bright heads, and often not in dark ones.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can derive what a reconstruction loss paints, compute the patch of a discriminator, write the losses of
# pix2pix and CycleGAN, and say what their tables prove.
#
# Next: **11 · Growing and super-resolution**: images of noise, and images enlarged.
#
# **References.** Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*, CVPR 2017,
# [arXiv:1611.07004](https://arxiv.org/abs/1611.07004). Zhu et al., *Unpaired Image-to-Image Translation using
# Cycle-Consistent Adversarial Networks*, ICCV 2017, [arXiv:1703.10593](https://arxiv.org/abs/1703.10593). Chu
# et al., *CycleGAN, a Master of Steganography*, 2017, [arXiv:1712.02950](https://arxiv.org/abs/1712.02950).
