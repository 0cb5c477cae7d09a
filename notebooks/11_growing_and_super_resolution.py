# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Growing and super-resolution: progressive GAN and SRGAN
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/11_growing_and_super_resolution.ipynb)
#
# Two works of 2017 make images larger than a GAN could before. Progressive growing starts with noise and 4
# x 4 pixels, and doubles. SRGAN starts with a small image, and invents what is missing. Here you build the
# decisive part of both, and measure what they gain and lose.
#
# ## At a glance
#
# **You will be able to**
#
# - write the fade-in of a new level, and say why real images are faded too;
# - explain what a discriminator sees with minibatch standard deviation that it does not see without;
# - show why the image of the best PSNR is blurred, and what a sharp one must cost;
# - read a plot of perception against distortion.
#
# | | |
# |---|---|
# | Know first | notebook 01 (losses of a GAN, gradient penalty); 10 (discriminators of images) |
# | Minutes | 35 to read, 60 to practise |
# | GPU | no; about 30 seconds on two CPU cores |
# | Paper | background to section 2; Karras et al. 2018; Ledig et al. 2017 |
# | Module | `fomm_lib/family/progressive.py`, `fomm_lib/family/srgan.py` |
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
import math
from functools import partial

import torch
from ipywidgets import FloatSlider, interact
from matplotlib import pyplot as plt

import fomm_lib as fomm
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb11_growing_and_super_resolution import (
    POSSIBLE,
    check_fade_both,
    check_generator_loss,
    check_psnr_by_sharpness,
    check_shuffle_by_hand,
    check_stddev_map,
    check_step_by_width,
)
from fomm_lib.course.results import Results
from fomm_lib.family import apply, data, progressive, srgan, systems, training, weights
from fomm_lib.family.pix2pix import to_unsigned
from fomm_lib.gan import binary_cross_entropy
from fomm_lib.media.tensors import resize, to_tensor
from fomm_lib.media.video import read_image

plots.use_style()
torch.set_num_threads(1)
BLACK, ORANGE, SKY, GREEN, BLUE, RED = plots.COLOURS[:6]

# %% [markdown]
# ## The problem as one image
#
# The first row shows heads of nobody: a network made them from 64 random numbers each. The second row shows
# heads of 16 x 16 pixels, the third what another network made of them. Both networks had to decide on
# pixels about which their input says nothing. How are they trained to decide well?

# %% tags=["hide-input"]
# @title heads from noise, and heads enlarged
heads = data.course_heads("test")[0].float() / 255
grown = weights.load_family("progressive")
enlarger = weights.load_family("srgan")
small = systems.shrink_images(heads[:6], 4)
with torch.no_grad():
    large = apply.enlarge(enlarger, small)
made = list(apply.sample_images_of(grown, 6, seed=1))
plots.show(
    plots.image_grid([made, list(small), list(large)], None, ["noise", "16 px", "64 px"]),
    alt="six generated heads of 32 pixels, blurred, with hair, face and shoulders; six heads "
    "of 16 pixels, and the same six at 64 pixels with sharp outlines and invented eyes",
    colours=256,
)

# %% [markdown]
# *Figure 1. Above: new heads of 32 x 32 pixels. Below: 16 x 16 pixels, made four times as large.* All come
# from the small networks of the course, which have seen 800 rendered heads.
#
# ## 1. Grow, and fade in
#
# Large images are hard for a GAN: real and generated ones differ in so many ways that the discriminator
# always wins, and its gradient says little (notebook 01). Small images are easier, and hold what matters
# most: where the head is, and its colours. So begin with 4 x 4 pixels, and add a level, which doubles the
# size, when the levels before have learned.
#
# A new level has random weights and would destroy what there is. It is *faded in*:
#
# $$\hat x = \alpha \; r_l(h_l) + (1 - \alpha)\; \mathrm{up}\big(r_{l-1}(h_{l-1})\big).$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\zeta$ | noise | (B, 64) | any, N(0, 1) | `latents` |
# | $h_l$ | features of level l | (B, c, 4·2^l, 4·2^l) | any | |
# | $r_l$ | a 1x1 convolution from features to colours | | | `to_rgb[l]` |
# | $\alpha$ | share of the new level | scalar | 0 to 1 | `alpha` |
# | $\hat x$ | generated image | (B, 3, 4·2^l, 4·2^l) | about -1 to 1 | `image` |
#
# $\mathrm{up}$ repeats pixels. The discriminator has the mirror image of this sum. And the *real* images
# are blended with their own smaller version; else the discriminator would tell real from generated by
# sharpness alone (exercise 2). The schedule, here that of the course's weights:

# %%
growth = progressive.Growth(grown.config.fade, grown.config.stable, levels=4)
seen = range(0, grown.config.steps * grown.config.batch_size, 2000)
levels, alphas = zip(*(growth(images) for images in seen), strict=True)
figure, axis = plt.subplots(figsize=(6, 2.2))
thousands = [images / 1000 for images in seen]
axis.plot(thousands, levels, color=BLUE, label="level")
axis.plot(thousands, alphas, "--", color=RED, label="alpha")
axis.set(xlabel="thousand images seen", ylabel="level and alpha", yticks=range(4))
axis.legend()
plots.show(
    figure,
    alt="The level rises by one three times; each time alpha goes from 0 to 1, then stays.",
)

# %% [markdown]
# *Figure 2. Three times a level is added; alpha rises, then the level is trained on.*
#
# The formula by hand, and by the library:

# %%
network = grown.networks["generator"]
latents = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))[:6]
with torch.no_grad():
    features = network.first(latents)
    for block in network.blocks[:2]:
        features = block(features)
    old = network.to_rgb[2](features)
    new = network.to_rgb[3](network.blocks[2](features))
    repeated = old.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    by_hand = 0.3 * new + 0.7 * repeated
    assert torch.allclose(by_hand, network(latents, level=3, alpha=0.3), atol=1e-5)
print("old", tuple(old.shape[2:]), "new", tuple(new.shape[2:]), "blended by alpha = 0.3")

# %% [markdown]
# During the training the same eight noises were shown again and again. A row for each level:


# %% tags=["hide-input"]
# @title the same noise at four sizes
def training_samples(step):
    """The first row of images that a training wrote, 3 x 32 x 32 each."""
    path = fomm.data_path("family", "results", "growing", f"{step:07d}.png")
    sheet = to_tensor(read_image(path))
    return [sheet[:, 2:34, 2 + 34 * i : 34 + 34 * i] for i in range(8)]


steps = {"4 px": 6000, "8 px": 16000, "16 px": 26000, "32 px": 36000}
plots.show(
    plots.image_grid(list(map(training_samples, steps.values())), None, list(steps)),
    alt="Eight columns, one noise each. 4 pixels: patches of colour. 8 pixels: a lighter "
    "blob in the middle. 16 pixels: a head on shoulders. 32 pixels: hair and face.",
    colours=256,
)

# %% [markdown]
# *Figure 3. The same noise at the end of each level: first colours, then a shape, then a head.* A noise
# keeps its rough colours from level to level, and gets a person.
#
# Move alpha yourself. At 0 you see the old level alone, at 1 the new one:


# %% tags=["nbval-ignore-output"]
def fade(alpha=0.5):
    with torch.no_grad():
        image = to_unsigned(network(latents, level=3, alpha=alpha)).clamp(0, 1)
    plots.show(
        plots.image_grid([list(image)]),
        alt=f"six heads with alpha {alpha:g}: blocks of 2 x 2 pixels at 0, whole at 1",
    )


_ = interact(fade, alpha=FloatSlider(value=0.5, min=0, max=1, step=0.1))

# %% tags=["hide-input"]
# @title alpha from 0 to 1
with torch.no_grad():
    rows = [to_unsigned(network(latents, 3, alpha)).clamp(0, 1) for alpha in (0.0, 0.5, 1.0)]
plots.show(
    plots.image_grid(list(map(list, rows)), None, ["α = 0", "α = 0.5", "α = 1"]),
    alt="alpha 0: blocks of the level below; 0.5: a mixture; 1: finer heads",
    colours=256,
)

# %% [markdown]
# *Figure 4. The level of 16 pixels is faded into that of 32.* The old output ($\alpha = 0$) is no longer
# trained, while the features below it are, so its colours have moved away a little.
#
# Between two noises lie other heads. Pixel norm ($\zeta / \sqrt{\mathrm{mean}\,\zeta^2}$, the first thing
# that the generator does) makes the length of a noise irrelevant; only its direction counts.


# %% tags=["nbval-ignore-output"]
def between(share=0.5):
    a, b = latents[:1], latents[1:2]
    with torch.no_grad():
        image = to_unsigned(network((1 - share) * a + share * b, 3)).clamp(0, 1)
    plots.show(
        plots.image_grid([[image[0]]]),
        alt=f"a head, {share:.0%} of the way from one to another",
    )


_ = interact(between, share=FloatSlider(value=0.5, min=0, max=1, step=0.1))

# %% tags=["hide-input"]
# @title six heads in a line
with torch.no_grad():
    shares = torch.linspace(0, 1, 6)[:, None]
    line = network((1 - shares) * latents[:1] + shares * latents[1:2], 3)
    assert torch.allclose(network(3 * latents, 3), network(latents, 3), atol=1e-4)
plots.show(
    plots.image_grid([list(to_unsigned(line).clamp(0, 1))]),
    alt="six heads, from one person to another; colours and outlines change step by step",
    colours=256,
)

# %% [markdown]
# *Figure 5. From one noise to another in a straight line: all between are heads.*
#
# ## 2. What keeps it stable
#
# **Minibatch standard deviation.** A discriminator looks at one image at a time. If the generator makes one
# good head only, each single image is fine, and nothing says so (mode collapse, notebook 01). So the
# discriminator gets one more channel: how much the images of a small group *differ*, as one number,
#
# $$s = \mathrm{mean}_{c,y,x} \sqrt{\mathrm{var}_g\, h_{g,c,y,x} + 10^{-8}},$$
#
# with $g$ over the images of a group. What does it see, if $h$ are simply pixels?

# %%
batches = {
    "real heads": heads[:16],
    "generated": torch.stack(list(apply.sample_images_of(grown, 16, seed=3))),
    "one head, 16 times": heads[:1].repeat(16, 1, 1, 1),
}
rows = [
    [name, float(progressive.minibatch_stddev(b)[:, 3].mean())] for name, b in batches.items()
]
plots.show_table(["batch", "deviation channel"], rows)

# %% [markdown]
# A collapsed generator is betrayed by one number, though each of its images is perfect.
#
# **Equalised learning rate.** Weights are kept as N(0, 1) and multiplied by $\sqrt{2 / \text{fan-in}}$ when
# they are used. At the start that is He's initialisation; the difference comes with Adam, whose steps do
# not depend on the size of a gradient (exercise 3).
#
# **Pixel norm** after each convolution of the generator keeps features from growing in a race with the
# discriminator. The loss is Wasserstein with gradient penalty, as in notebook 01.
#
# ## 3. Grown against flat
#
# Three trainings for 16 x 16 pixels, each 100 seconds of processor time: grown from 4 pixels; *flat*, with
# 16 pixels from the beginning; grown without minibatch standard deviation (`python -m experiments.family
# progressive`). The measure is the sliced Wasserstein distance (SWD) between patches of real and generated
# images, x 1000; smaller is better. Two halves of the real images show what a perfect generator would get.
# Before you look: does growing cost time, since so much is spent on images that nobody wants?

# %% tags=["hide-input"]
# @title SWD by images seen
growing = Results("progressive")
figure, axis = plt.subplots(figsize=(6, 2.8))
styles = {"grown": "o-", "flat": "s--", "grown without stddev": "^:"}
for variant, style in styles.items():
    quarters = (25, 50, 75, 100)
    x = [growing.mean(variant, f"images_seen_{q}") / 1000 for q in quarters]
    axis.plot(x, [growing.mean(variant, f"swd_{q}") for q in quarters], style, label=variant)
axis.axhline(growing.mean("real", "swd"), color=BLACK, linewidth=0.8)
axis.set(
    xlabel="thousand images seen (25, 50, 75 and 100 s)", ylabel="SWD x 1000", ylim=(0, None)
)
axis.legend()
plots.show(
    figure,
    alt="After 100 seconds the grown network has seen more images and has a smaller SWD "
    "than the flat one; the line of real images is far below all.",
)

# %% [markdown]
# *Figure 6. In equal time the grown network sees more images, and comes closer. The black line: real
# against real.*

# %%
growing.show(
    ["grown", "flat", "grown without stddev", "real"],
    ["swd_16px", "swd_8px", "spread"],
    digits=2,
)

# %% [markdown]
# PRELIMINARY-GROWING
#
# ## 4. The mean of all sharp images
#
# Now the other direction: a small image is given, and many large ones fit it. Here is the question in one
# dimension. An edge lies at one of nine places, and the small signal does not say at which. What does the
# squared error ask for?

# %%
mean = POSSIBLE.mean(dim=0)
figure, axis = plt.subplots(figsize=(6, 2.2))
axis.plot(POSSIBLE[1], color=SKY, label="one that is possible")
axis.plot(POSSIBLE[6], "--", color=GREEN, label="another")
axis.plot(mean, color=RED, linewidth=2, label="their mean: least squared error")
axis.set(xlabel="pixel", ylabel="value from 0 to 1")
axis.legend()
plots.show(figure, alt="Two steps at different places, and their mean, a ramp between them.")


def decibels(error):
    return -10 * math.log10(float(error))


pairs = (
    POSSIBLE[:, None] - POSSIBLE
)  # a prediction that is one of the nine, a truth that is another
print(f"the mean {decibels((mean - POSSIBLE).square().mean()):.2f} dB")
print(f"a sharp one {decibels(pairs.square().mean()):.2f} dB")

# %% [markdown]
# *Figure 7. The best prediction is a ramp, which no possible signal is.* A sharp prediction loses 3.01 dB,
# and that number is no accident. Let $\mu$ be the mean and $v$ the variance. The mean has the error $v$. A
# sample that is independent of the truth has
#
# $$\mathbb{E}\,(\hat x - x)^2 = \mathbb{E}\,(\hat x - \mu)^2 + \mathbb{E}\,(x - \mu)^2 = 2v,$$
#
# twice as much, and $10 \log_{10} 2 = 3.01$. So **images that cannot be told from real ones must have a
# lower PSNR than the blurred mean**, by up to 3 dB. Perception and distortion are two goals.
#
# ## 5. Four ways to enlarge
#
# SRGAN has two stages. First the network (SRResNet) learns with the squared error. Then
#
# $$L_G = \underbrace{0.006\; \mathrm{mean}\,\big(\phi(\hat x) - \phi(x)\big)^2}_{\text{content}}
# + 10^{-3}\; \mathrm{mean}\big(-\log D(\hat x)\big),$$
#
# with $\phi$ the features of a VGG network: textures may move a little, as long as they look alike; and a
# discriminator asks whether the image could be real. The network enlarges at its end only, by *pixel
# shuffle*: a convolution makes four channels, which become the four pixels of a square (exercise 4).
#
# The same first stage (1,050 steps), then 350 more, by three losses
# (`python -m experiments.family srgan`). Before you look: order the four by PSNR, then by looks.

# %% tags=["hide-input"]
# @title bicubic, MSE, VGG, GAN, truth
enlarged = Results("srgan")
ways = ["bicubic", "SRResNet-MSE", "SRResNet-VGG", "SRGAN"]
names = ["16 px", "bicubic", "MSE", "VGG", "SRGAN", "truth"]
columns = [small] + [enlarged.images(way)[0] for way in [*ways, "truth"]]
plots.show(
    plots.image_grid([[column[i] for column in columns] for i in (0, 1, 4)], names),
    alt="bicubic is blurred; the squared error has clear outlines and smooth faces; features "
    "and SRGAN add eyes and mouths, redder colours and a faint grid; the truth is sharper",
    colours=256,
)

# %% [markdown]
# *Figure 8. The input, four ways to enlarge it, the truth.* The squared error gives clear outlines and a
# smooth face. With features and with a discriminator eyes and mouth appear, though not those of the
# person; colours are redder, and flat regions show a faint grid. The last two can hardly be told apart.

# %%
enlarged.show(ways, ["psnr", "ssim", "lpips", "sharpness"])

# %% tags=["hide-input"]
# @title perception against distortion
figure, axis = plt.subplots(figsize=(6, 2.8))
for way, marker in zip(ways, "osD^", strict=True):
    psnr, lpips = (enlarged.mean(way, column) for column in ("psnr", "lpips"))
    axis.scatter(psnr, lpips, marker=marker, s=60, label=way)
axis.set(
    xlabel="PSNR in dB (more is closer)", ylabel="LPIPS (less looks closer)", ylim=(0, None)
)
axis.legend()
plots.show(
    figure,
    alt="From the network of the squared error to SRGAN both numbers fall: PSNR becomes "
    "worse, LPIPS better. Bicubic is worse in both than the squared error.",
)

# %% [markdown]
# *Figure 9. No method is best in both: to the right lies the smaller error, below the better look.*
#
# From the squared error to SRGAN, PSNR falls by 1.5 dB and SSIM by 0.03, while LPIPS falls from 0.25 to
# 0.17 and sharpness rises: the order of the paper, turned round by the measure. The step that does it is
# the one to *features*. The discriminator adds nothing that the seeds do not change as much: LPIPS 0.169
# and 0.169. Its weight is 0.001, and it had 350 steps; in the paper, 200,000. Bicubic is worse than the
# squared error in both: knowing heads helps both goals.
#
# ## From toy to library
#
# `srgan_step` is one update of the second stage. Its first losses must be our formula:

# %%
torch.manual_seed(0)
config = training.family_config("srgan", mse_share=0.0, content="pixels")
system = systems.make_system(config)
(batch,) = next(training.draws(data.open_data("srgan"), 4))
inputs = systems.shrink_images(batch, 4)
with torch.no_grad():  # batch norm in training mode takes the statistics of this batch
    generator, discriminator = system.networks["generator"], system.networks["discriminator"]
    on_real, on_fake = discriminator(batch), discriminator(generator(inputs))
by_hand = {
    "disc": binary_cross_entropy(on_real, 1.0, from_logits=True)
    + binary_cross_entropy(on_fake, 0.0, from_logits=True),
    "content": (generator(inputs) - batch).square().mean(),
}
taken = srgan.srgan_step(generator, discriminator, system.optimizers, inputs, batch)
for name, value in by_hand.items():
    assert torch.isclose(value, taken[name], rtol=1e-3), name
print("by hand and by the library:", ", ".join(by_hand), "agree to 1 in 1000")

# %% [markdown]
# Both systems, trained live for a few seconds. That is enough for the squared error; a generator of 8
# pixels needs some minutes (`fomm family train progressive --out runs/mine`).

# %%
plans = {
    "srgan": (training.family_config("srgan", mse_share=1.0), 25, "mse"),
    "progressive": (
        training.family_config("progressive", size=8, fade=400, stable=400),
        100,
        "penalty",
    ),
}
rows = []
for name, (config, count, loss) in plans.items():
    torch.manual_seed(0)
    live = systems.make_system(config)
    batches = training.draws(data.open_data(name, size=config.size), config.batch_size)
    taken = iter(range(count))
    take = partial(
        lambda live, taken, *batch: live.step(batch, next(taken), torch.Generator()),
        live,
        taken,
    )
    values = training.fit(take, batches, count)[loss]
    rows.append([name, loss, count, sum(values[:5]) / 5, sum(values[-5:]) / 5])
plots.show_table(["system", "loss", "steps", "first 5", "last 5"], rows)

# %% [markdown]
# The squared error falls at once. The gradient penalty is what it should be, small: the critic's slope
# comes near 1.
#
# Trained weights come with the course: `fomm family sample progressive heads.png`, and
# `fomm family apply srgan small.png large.png`.
#
# ## Break it
#
# The network learned from images that were made small in *one* way, bicubic with anti-aliasing. Give it the
# same heads made small by taking each fourth pixel; and a portrait painted by hand, which is no rendered
# head.

# %%
portrait = resize(to_tensor(read_image(fomm.data_path("portrait.jpg")))[None], (64, 64))
others = torch.cat([heads[:5, :, 1::4, 1::4], systems.shrink_images(portrait, 4)])
usual = torch.cat([small[:5], systems.shrink_images(portrait, 4)])
with torch.no_grad():
    rows = [usual, apply.enlarge(enlarger, usual), others, apply.enlarge(enlarger, others)]
plots.show(
    plots.image_grid(
        list(map(list, rows)), None, ["bicubic", "enlarged", "each 4th", "enlarged"]
    ),
    alt="From small images without anti-aliasing the network makes jagged outlines and spots. "
    "The photograph gets smooth regions and hard edges, and no features of its own.",
    colours=256,
)

# %% [markdown]
# *Figure 10. Small images of another kind give ragged edges and spots; the photograph (last column) becomes a
# face of no one.* What a network invents comes from its training data. An enlarged face is **no evidence**
# of what a person looks like.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why.
#
# ### Progressive growing
#
# ### Exercise 1 · What a group has in common
#
# *code · difficulty 3 of 5 · importance 4 of 5 · 15 minutes*
#
# Write the channel of section 2. The batch of B images has B / G groups of G = min(group, B); image n is in
# group n mod (B / G), so members of a group stand B / G apart. Each image gets the number $s$ of its group,
# as a map. The variance is that of a population (no n - 1).


# %%
def stddev_map(x, group):
    """(B, C, H, W) and an int -> (B, 1, H, W)."""
    raise NotImplementedError


check_stddev_map(stddev_map)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def stddev_map(x, group):
#     batch, channels, height, width = x.shape
#     size = min(group, batch)
#     groups = x.reshape(size, batch // size, channels, height, width)
#     deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt()
#     number = deviation.mean(dim=(1, 2, 3)).repeat(size)
#     return number[:, None, None, None].expand(batch, 1, height, width)
# ```
#
# </details>
#
# ### Exercise 2 · Find the bug: the fade
#
# *find the bug · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# This function makes what the discriminator sees while a level is faded in. With it the discriminator wins
# in a few steps, whatever the generator does. What can it look at?


# %%
def fade_both(new, old, real, alpha):
    """(B, 3, 2h, 2w), (B, 3, h, w), (B, 3, 2h, 2w), float -> generated and real images."""
    fake = alpha * new + (1 - alpha) * progressive.double(old)
    return fake, real


check_fade_both(fade_both)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def fade_both(new, old, real, alpha):
#     fake = alpha * new + (1 - alpha) * progressive.double(old)
#     coarse = progressive.double(progressive.halve(real))
#     return fake, alpha * real + (1 - alpha) * coarse
# ```
#
# At small alpha generated images consist of squares of 2 x 2 equal pixels, and real ones did not.
#
# </details>
#
# ### Exercise 3 · Experiment: the speed of weights
#
# *experiment · difficulty 3 of 5 · importance 3 of 5 · 15 minutes*
#
# **Predict**: an ordinary convolution starts with He's weights, `torch.nn.init.kaiming_normal_`. By what
# fraction of their standard deviation do they move in one step of Adam (rate 0.001), if it has more and
# more input channels? **Run** `relative_step` for 4, 16, 64 and 256 channels. **Compare** with
# `progressive.EqualizedConv2d(channels, 16, 3)`.


# %%
def ordinary(channels):
    layer = torch.nn.Conv2d(channels, 16, 3)
    torch.nn.init.kaiming_normal_(layer.weight)
    return layer


def relative_step(layer):
    """Mean change of the weights in one step of Adam, over their standard deviation."""
    before = layer.weight.detach().clone()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.001)
    layer(torch.randn(4, before.shape[1], 8, 8)).square().mean().backward()
    optimizer.step()
    return float((layer.weight - before).abs().mean() / before.std())


prediction = None  # "rises", "falls" or "stays"
measured = {}  # {channels: relative step of an ordinary convolution}
check_step_by_width(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# prediction = "rises"
# measured = {channels: relative_step(ordinary(channels)) for channels in (4, 16, 64, 256)}
# for channels in measured:
#     print(channels, relative_step(progressive.EqualizedConv2d(channels, 16, 3)))
# check_step_by_width(prediction, measured)
# ```
#
# Adam's first step moves each weight by the rate, 0.001, whatever its gradient. The weights of a wide layer
# are small, so it moves eight times as fast, relative to them, as a layer of a 64th of its width. The
# equalised layers all move by 0.1 %: their weights are N(0, 1).
#
# </details>
#
# ### SRGAN
#
# ### Exercise 4 · Pixel shuffle by hand
#
# *code · difficulty 3 of 5 · importance 3 of 5 · 10 minutes*
#
# Four channels become the four pixels of a 2 x 2 square: channel $4c + 2i + j$ is row $i$, column $j$ of
# the square of channel $c$. Use views and `permute`, not `pixel_shuffle`.


# %%
def shuffle_by_hand(x):
    """(B, 4 C, H, W) -> (B, C, 2 H, 2 W)."""
    raise NotImplementedError


check_shuffle_by_hand(shuffle_by_hand)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def shuffle_by_hand(x):
#     batch, channels, height, width = x.shape
#     squares = x.view(batch, channels // 4, 2, 2, height, width)
#     rows = squares.permute(0, 1, 4, 2, 5, 3)  # (B, C, H, i, W, j)
#     return rows.reshape(batch, channels // 4, 2 * height, 2 * width)
# ```
#
# </details>
#
# ### Exercise 5 · The generator's loss
#
# *code · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# Write $L_G$ of section 5, for a content loss that is computed already and the discriminator's logits. A
# published port has $1 - D$ instead of $-\log D$. The first question of the check asks for the gradient
# that arrives where the discriminator is sure: that is the difference.


# %%
def generator_loss(content, logits):
    """A scalar, and the logits (B,) of generated images -> scalar."""
    raise NotImplementedError


check_generator_loss(generator_loss)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def generator_loss(content, logits):
#     return content + 1e-3 * binary_cross_entropy(logits, 1.0, from_logits=True)
# ```
#
# </details>
#
# ### Exercise 6 · Experiment: the price of sharpness
#
# *experiment · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# Between the mean and a sharp sample lie predictions $\mu + s\,(\text{sample} - \mu)$. **Predict**: what
# does their PSNR do from $s = 0$ to 1? **Run**: measure it in decibels for values from 0 to 1, over all
# pairs of a sample and a truth (`error_of`), at 0, 0.25, 0.5 and 1. **Compare**: by how much, and how much
# for the first half of the way?


# %%
def error_of(share):
    """Mean squared error of the prediction mean + share (sample - mean), over all pairs."""
    made = mean + share * (POSSIBLE - mean)
    return float((made[:, None] - POSSIBLE).square().mean())


prediction = None  # "rises", "falls" or "stays"
measured = {}  # {share: PSNR in dB}
check_psnr_by_sharpness(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# mean = POSSIBLE.mean(dim=0)
# prediction = "falls"
# measured = {share: 10 * math.log10(1 / error_of(share)) for share in (0, 0.25, 0.5, 1)}
# check_psnr_by_sharpness(prediction, measured)
# ```
#
# The error is $(1 + s^2)\,v$: half of the sharpness costs 0.97 dB, all of it 3.01. A little sharpness is
# cheap.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | the training breaks when a level is added | no fade, or real images not faded | exercise 2 |
# | all samples alike | mode collapse | minibatch standard deviation |
# | samples flicker from step to step | the newest weights | show their moving average (EMA) |
# | black or NaN in half precision | the 1e-8 of pixel norm is 0 there | float32, or a larger number |
# | enlarged images blurred | squared error alone | features and a discriminator |
# | coloured dots at test | batch norm in training mode | `.eval()` for SRGAN |
# | a grid in flat regions | pixel shuffle, started unequal | more steps; initialise its four channels alike |
# | PSNR 6 dB off | range [-1, 1] taken for [0, 1] | convert first |

# %% [markdown]
# ## Questions
#
# **1.** Why does growing save time as well as trouble?
#
# <details><summary>Answer</summary>
#
# A step with 4 x 4 pixels costs a small part of one with 16 x 16, so in equal time the networks see more
# images, and most of what they learn about colour and shape is learned from cheap ones.
#
# </details>
#
# **2.** FOMM has no noise, and its generator is never collapsed. Why not?
#
# <details><summary>Answer</summary>
#
# Each source and driving frame has one true image, and reconstruction losses compare with it. A constant
# output would cost much. Collapse threatens where nothing says which output belongs to an input.
#
# </details>
#
# **3.** A paper reports 0.5 dB more PSNR than SRGAN. Is its method better?
#
# <details><summary>Answer</summary>
#
# It is closer in squared error, and may simply be blurrier. Ask for LPIPS or for people's opinions too; one
# point of a plot of two axes needs both numbers.
#
# </details>
#
# **4.** Why does the content loss compare features, if pixels are what we want?
#
# <details><summary>Answer</summary>
#
# A hair one pixel to the left is a large error of pixels, and a small one of features (notebook 06). So the
# mean of all possible hairs is no longer the best answer.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can fade in a level, say which failures the three tricks of progressive growing prevent, derive the
# price of sharpness, and judge a method of super-resolution by two axes.
#
# Next: **12 · Monkey-Net**: what came before the First Order Motion Model.
#
# **References.** Karras et al., *Progressive Growing of GANs for Improved Quality, Stability, and
# Variation*, ICLR 2018, [arXiv:1710.10196](https://arxiv.org/abs/1710.10196). Ledig et al.,
# *Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network*, CVPR 2017,
# [arXiv:1609.04802](https://arxiv.org/abs/1609.04802). Blau and Michaeli, *The Perception-Distortion
# Tradeoff*, CVPR 2018, [arXiv:1711.06077](https://arxiv.org/abs/1711.06077).
