# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Occlusion and the generator
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/05_occlusion_generator.ipynb)
#
# Even a perfect flow cannot copy what is not visible in the source. You measure how much that is, derive what
# the occlusion map should be, and train one in seconds, from images alone.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - say, with numbers, what a warp cannot copy;
# - explain why the generator warps features and not pixels, and what disadvantage that has;
# - derive the best occlusion map as a regression coefficient, and measure it;
# - train a small generator with and without an occlusion map, and compare the results;
# - compare an occlusion map with the true visibility.
#
# | | |
# |---|---|
# | Know first | notebook 04; convolutions, linear regression |
# | Minutes | 45 to read and run, 55 to practise |
# | GPU | no; about 20 seconds on one CPU core |
# | Paper | section 3.2 and figure 2 |
# | Module | `fomm_lib/generator.py`, with `motion.py` and `geometry.py` |

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
from types import SimpleNamespace

import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

import fomm_lib as fomm
from fomm_lib import geometry, motion
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb05_occlusion_generator import (
    check_best_gain,
    check_double_reads,
    check_shift_errors,
    check_warp_and_mask,
)
from fomm_lib.synthetic.truth import downsample_pair, read_true_pairs

# %% [markdown]
# As in notebook 04: the model, and six pairs of frames of rendered heads with their true flow. New is the
# true **visibility**: which pixels of the driving frame show a point that is visible in the source too.


# %%
def at_half_size(pair):
    """Images (3, 64, 64), flow (64, 64, 2), visibility and person (64, 64) from 0 to 1."""
    half = downsample_pair(pair)
    return SimpleNamespace(
        source=half.source,
        driving=half.driving,
        flow=half.motion.flow,
        visibility=half.motion.visible,
        person=half.motion.surface,
    )


# %% [markdown]
# `visible` and `hidden` are the pixels with visibility exactly 1 and 0. Pixels between are not counted.

# %%
plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS
model = fomm.load_model("heads-64", device="cpu")
pairs = [at_half_size(pair) for pair in read_true_pairs()]
visible = torch.stack([pair.visibility == 1 for pair in pairs])
hidden = torch.stack([pair.visibility == 0 for pair in pairs])
sources, drivings, flows = (
    torch.stack([getattr(pair, name) for pair in pairs])
    for name in ("source", "driving", "flow")
)
print("images", tuple(sources.shape), "flows", tuple(flows.shape))

# %% [markdown]
# ## The problem as one image
#
# Two heads, warped by the **true** flow, the best possible one.

# %% tags=["hide-input"]
# @title Two heads, warped by the true flow
by_truth = geometry.warp(sources, flows, padding_mode="border")
rows = [
    [
        sources[i],
        drivings[i],
        by_truth[i],
        plots.mark_pixels(drivings[i], pairs[i].visibility < 0.5),
    ]
    for i in (1, 5)
]
plots.show(
    plots.image_grid(
        rows, ["source", "driving frame", "by the true flow", "not in the source"]
    ),
    alt="two heads. By the true flow the pose is right, but beside each head its own edge "
    "appears a second time. These pixels are hatched in the last column: cheek and ear that "
    "were turned away, and the background that the head had covered",
    colours=256,
)

# %% [markdown]
# *Figure 1. Hatched: pixels of the driving frame that are not visible in the source. Exactly there, the
# perfect warp is wrong: a second edge, half an ear, a ghost.*
#
# ## 1. What a warp cannot copy
#
# A warp copies: $\hat x(z) = x_S(T(z))$. Let $O^\ast(z) = 1$ if the point that the driving frame shows at $z$
# is visible in the source, else 0. Where $O^\ast = 1$, the true flow copies the right colour, up to light and
# interpolation. Where $O^\ast = 0$ the source has no right colour, and $T(z)$ leads to the surface in front.
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $O^\ast$ | true visibility | (H, W) | 0 to 1 | `visibility` |
# | $T$ | motion: here the true backward flow | (H, W, 2) | -1 to 1 | `flows` |
#
# How many pixels are hidden, and how large is the error there?


# %%
def errors(images):
    """Mean absolute errors over all visible and all hidden pixels; colours run from 0 to 1."""
    difference = (images - drivings).abs().mean(dim=1)
    return float(difference[visible].mean()), float(difference[hidden].mean())


person = torch.stack([pair.person for pair in pairs])
share = hidden.float().mean(dim=(1, 2))
print(f"hidden: {share.min():.0%} to {share.max():.0%} of an image;", end=" ")
print(f"{(hidden & (person == 1)).sum() / hidden.sum():.0%} of it person, the rest background")
print("error of the true flow: visible {:.3f}, hidden {:.3f}".format(*errors(by_truth)))
assert errors(by_truth)[1] > 5 * errors(by_truth)[0]

# %% [markdown]
# No flow can correct these pixels. A network must *generate* new content there (inpainting), and for that it
# must know *where*.
#
# ## 2. Warp features, not pixels
#
# To generate content, a network must come after the warp. So FOMM warps between an encoder and a decoder
# (section 3.2):
#
# $$\xi = \mathrm{enc}(x_S), \qquad \hat x = \mathrm{dec}\big(\xi(T(z))\big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\xi$ | features of the source | (B, c, H/2ⁿ, W/2ⁿ) | 0 or more | `features` |
# | n | number of down blocks: 1 here, 2 as published | | | |
#
# Can features be moved like pixels? A convolution is the same at all positions, so it *commutes with shifts*:
# the features of a shifted image are the shifted features. With pooling this holds for shifts by whole cells.
# We check it with 8 pixels, 4 cells. (What happens with 7 pixels? Exercise 4 measures it.)

# %%
with torch.inference_mode():
    features = model.generator.encode(sources).features
    features_of_shifted = model.generator.encode(sources.roll(8, dims=-1)).features
shifted_features = features.roll(4, dims=-1)
inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))  # rolling spoils the borders
difference = (features_of_shifted - shifted_features)[inside].abs().max()
print("images", tuple(sources.shape), "-> features", tuple(features.shape))
print(f"largest difference after the shift: {float(difference):.4f}")

# %% [markdown]
# Locally a flow is nearly a shift if its Jacobian is near the identity. Where it rotates or stretches
# strongly, or tears, it is not. We warp the features of the source by the true flow; the features of the
# driving frame are the target.

# %%
with torch.inference_mode():
    wanted = model.generator.encode(drivings).features
small_flows = geometry.resize_flow(flows, *features.shape[-2:])
warped = geometry.warp(features, small_flows)

# %% [markdown]
# Bright is large:

# %% tags=["hide-input"]
# @title Five features of the source, warped, and of the driving frame
chosen = features[5].flatten(1).std(dim=1).argsort(descending=True)[[0, 2, 4, 6, 8]]
rows = [
    [maps[5, c] / features[5, c].max() for c in chosen] for maps in (features, warped, wanted)
]
plots.show(
    plots.image_grid(rows, None, ["source", "warped", "driving"]),
    alt="five features of a head as grey maps. The warped ones have the pose of the driving "
    "frame, except for the torn side of the head",
    colours=256,
)

# %% [markdown]
# *Figure 2. Features are warped like pixels: the same pose as in the driving frame, the same ghosts.*
#
# So warping features does not remove the ghosts. Its advantage is a decoder after the warp. Its disadvantage:
# all content passes through encoder and decoder, and becomes less sharp where a copy would suffice. We
# measure both on the trained model, with the hidden pixels in two parts: person and background.

# %%
with torch.inference_mode():
    kp_source, kp_driving = model.detect(sources), model.detect(drivings)
    made = model.generate(sources, kp_source, kp_driving, with_visuals=True)
compared = {
    "source as it is": sources,
    "pixels, true flow": by_truth,
    "pixels, model's flow": made.deformed,
    "prediction": made.prediction,
}
areas = {
    "visible": visible,
    "hidden person": hidden & (person == 1),
    "hidden background": hidden & (person == 0),
}

# %% [markdown]
# The mean absolute error of each, in each area:

# %% tags=["hide-input"]
# @title Errors of four images in three areas
figure, axis = plt.subplots(figsize=(6, 3))
for j, ((name, area), colour, hatch) in enumerate(
    zip(areas.items(), (GREEN, ORANGE, RED), ("", "..", "//"), strict=True)
):
    bars = [float((p - drivings).abs().mean(dim=1)[area].mean()) for p in compared.values()]
    places = [i + 0.27 * (j - 1) for i in range(4)]
    axis.barh(places, bars, 0.25, color=colour, hatch=hatch, label=name)
axis.set_yticks(range(4), list(compared))
axis.invert_yaxis()
axis.set(xlabel="mean absolute error, colours from 0 to 1")
axis.legend(title="pixels that are")
plots.show(
    figure,
    alt="Visible pixels: the true flow has the smallest error, 0.02, the prediction one a "
    "third larger. Hidden background: the true flow is as bad as the source, above 0.2, the "
    "model's flow and the prediction are at 0.03. Hidden person: the model's flow is worse "
    "than the true flow, and the prediction about as good as the true flow.",
)
hidden_background = areas["hidden background"]

# %% [markdown]
# *Figure 3. Where the point is visible in the source, a good copy is best. Hidden background is generated
# with a seventh of the copy's error. Hidden parts of the person are not: there the prediction is only a
# little better than the wrong copy.*
#
# Look at the third group of bars: for hidden *background*, the model's flow is far better than the *true*
# one. It was trained on images, so there it may point to any position that gives a good image, and copies
# other background. For hidden skin this does not help. Section 5 uses this.
#
# ## 3. The occlusion map
#
# The decoder gets warped features. The ghost of an ear has the features of an ear, so the decoder cannot
# recognise it as wrong. Another input must mark it. That is the occlusion map (section 3.2):
#
# $$\xi'(z) = O(z)\; \xi\big(T(z)\big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $O$ | occlusion map: 1 copy, 0 generate | (B, 1, h, w) | 0 to 1, by a sigmoid | `occlusion` |
# | $\xi'$ | input of the decoder | as $\xi$ | | `masked` |
#
# What should $O$ be? Assume that the decoder needs the driving frame's features $t$ and gets $O\,w$ with
# warped features $w$, both minus their mean, which a network can add itself. Over all positions with the same
# visibility,
#
# $$\min_O \;\mathbb{E}\,\lVert O\,w - t \rVert^2
# \quad\Rightarrow\quad \mathbb{E}\,[\,w \cdot (O\,w - t)\,] = 0
# \quad\Rightarrow\quad O = \frac{\mathbb{E}\,[w \cdot t]}{\mathbb{E}\,[w \cdot w]}$$
#
# a **regression coefficient**. Where the copy is right, $w = t$ and $O = 1$. Where $w$ and $t$ are
# uncorrelated, $\mathbb{E}[w \cdot t] = 0$ and $O = 0$. So the best occlusion map *is* the visibility, and no
# labels are needed. We test this on the encoder's features and the true flow. A cell of the features covers 2
# x 2 pixels, so its visibility can lie between 0 and 1.

# %%
mean = features.mean(dim=(0, 2, 3), keepdim=True)
w, t = warped - mean, wanted - mean
seen = F.avg_pool2d(torch.stack([pair.visibility for pair in pairs])[:, None], 2)[:, 0]
bins = [(0, 0.01), (0.01, 0.35), (0.35, 0.65), (0.65, 0.99), (0.99, 1.01)]
gains, centres = [], []
for low, high in bins:
    some = (seen >= low) & (seen < high)
    dot, square = (w * t).sum(dim=1)[some].sum(), (w * w).sum(dim=1)[some].sum()
    gains.append(float(dot / square))
    centres.append(float(seen[some].mean()))
print(f"best O: hidden cells {gains[0]:+.2f}, visible cells {gains[-1]:+.2f}")

# %% [markdown]
# And the cells between:

# %% tags=["hide-input"]
# @title The best factor, by visibility
curves = {"O = visibility": centres, "best O, measured": gains}
figure = plots.plot_curves(
    centres, curves, "share of the cell that is visible in the source", "best O (no unit)"
)
plots.show(
    figure,
    alt="The best factor rises with the visible share of a cell, from about 0 for hidden cells "
    "to about 1 for visible ones; between them it lies above the diagonal, most at a fifth.",
)

# %% [markdown]
# *Figure 4. The best factor on warped features, by least squares: about 0 for hidden cells, 1 for visible
# ones.*
#
# ## 4. Learned from images alone
#
# Can a network learn the map without labels? We use data simple enough to train in seconds: a card with a
# smooth pattern lies on a smooth background, and moves between source and driving frame. Flow and visibility
# are known exactly; at the old position of the card the background was hidden.


# %%
def smooth(number, generator, side=32):
    base = torch.rand(number, 3, 1, 1, generator=generator)
    waves = torch.randn(number, 3, 3, 3, generator=generator)
    waves = F.interpolate(waves, size=(side, side), mode="bicubic", align_corners=True)
    return (base + 0.25 * waves).clamp(0, 1)


def lay(card, ground, centre, grid):
    inside = ((grid - centre[:, None, None]).abs().amax(dim=-1) < 0.4)[:, None]
    moved = geometry.warp(card, grid - centre[:, None, None], padding_mode="border")
    return torch.where(inside, moved, ground), inside[:, 0]


def sample_cards(number, generator):
    grid = geometry.coordinate_grid(32, 32)
    ground, card = smooth(number, generator), smooth(number, generator)
    start, end = torch.rand(2, number, 2, generator=generator) - 0.5
    source, was = lay(card, ground, start, grid)
    driving, now = lay(card, ground, end, grid)
    flow = torch.where(now[..., None], grid + (start - end)[:, None, None], grid)
    places = fomm.Keypoints(start[:, None]), fomm.Keypoints(end[:, None])
    return SimpleNamespace(
        source=source, driving=driving, flow=flow, kp=places, visible=now | ~was
    )


# %% [markdown]
# The network is the library's own generator, small, and without a dense motion network, as the flow is given.
# The occlusion map comes from a few convolutions that get the heatmap difference of the card's centre
# (notebook 04): the new and the old position of the card, and nothing about visibility.


# %%
class SmallGenerator(nn.Module):
    def __init__(self, with_map):
        super().__init__()
        self.generator = fomm.OcclusionAwareGenerator(
            block_expansion=8, max_features=16, num_down_blocks=1, num_bottleneck_blocks=2
        )
        layers = [
            nn.Conv2d(1, 8, 5, padding=2),
            nn.SiLU(),
            nn.Conv2d(8, 8, 5, padding=2),
            nn.SiLU(),
        ]
        layers += [nn.Conv2d(8, 1, 5, padding=2), nn.Sigmoid()]
        self.occlusion = nn.Sequential(*layers) if with_map else None

    def forward(self, batch):
        occlusion = None
        if self.occlusion is not None:
            occlusion = self.occlusion(motion.heatmap_difference(*batch.kp, 16, 16)[:, 1:])
        dense = fomm.DenseMotion(batch.flow, None, occlusion, None, None)
        features = self.generator.encode(batch.source).features
        return self.generator.decode(self.generator.deform(features, dense)), occlusion


# %% [markdown]
# We train two networks, one with a map and one without, with the same seed, on the same cards. The loss is
# only the difference of the images.


# %%
def train(with_map, steps=200):
    torch.manual_seed(1)
    network, dice = SmallGenerator(with_map), torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = sample_cards(8, dice)
        loss = (network(batch)[0] - batch.driving).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


networks = {"without": train(with_map=False), "with": train(with_map=True)}

# %% [markdown]
# The results on new cards:

# %%
test = sample_cards(64, torch.Generator().manual_seed(0))
with torch.inference_mode():
    generated = {name: network(test)[0] for name, network in networks.items()}
    learned = networks["with"](test)[1]
ghosts = geometry.warp(test.source, test.flow)

# %% [markdown]
# Four of them:

# %% tags=["hide-input"]
# @title Four cards, generated without and with a map
stages = {
    "source": test.source,
    "driving": test.driving,
    "warped": ghosts,
    "without O": generated["without"],
    "with O": generated["with"],
    "O": learned,
    "visible": test.visible[:, None],
}
rows = [[images[i] for images in stages.values()] for i in (0, 4, 5, 7)]
plots.show(
    plots.image_grid(rows, list(stages)),
    alt="four samples with a card. Warped: each card appears twice, where it is and where it "
    "was. Without the map both stay. With it, the old position becomes grey and blurred. The "
    "learned map is black on the old position and white elsewhere, as the true visibility in "
    "the last column.",
)

# %% [markdown]
# *Figure 5. Learned without labels for visibility: the map O is dark at the old position of the card.*
#
# How good is the content there? We compare with the mean colour of the source, which is no network at all.


# %% tags=["nbval-ignore-output"]
def ranking(occlusion, visible, hidden):
    """How often a visible pixel has a larger O than a hidden one: 0.5 is random."""
    high, low = occlusion[visible][:, None], occlusion[hidden][None]
    return float(((high > low).float() + 0.5 * (high == low)).mean())


mean_colour = test.source.mean(dim=(2, 3), keepdim=True).expand_as(test.source)
rivals = {"warped pixels": ghosts, "mean colour": mean_colour}
rivals |= {f"{name} O": images for name, images in generated.items()}
large = F.interpolate(learned, size=32)[:, 0]
rank = ranking(large[:16], test.visible[:16], ~test.visible[:16])
print(f"O ranks pixels by visibility: {rank:.2f} (0.5 is random)")

# %% [markdown]
# The errors:

# %% tags=["hide-input"]
# @title Errors of four ways to make the cards
figure, axis = plt.subplots(figsize=(6, 2.4))
for j, (mask, colour, hatch) in enumerate(
    ((test.visible, GREEN, ""), (~test.visible, RED, "//"))
):
    bars = [float((p - test.driving).abs().mean(dim=1)[mask].mean()) for p in rivals.values()]
    places, label = [i + 0.4 * j - 0.2 for i in range(4)], "hidden" if j else "visible"
    axis.barh(places, bars, 0.38, color=colour, hatch=hatch, label=label)
axis.set_yticks(range(4), list(rivals))
axis.invert_yaxis()
axis.set(xlabel="mean absolute error, colours from 0 to 1")
axis.legend(title="in the source")
plots.show(
    figure,
    alt="Visible pixels: the warp has almost no error, the mean colour the largest, both "
    "networks the same of about 0.07. Hidden pixels: the warp is worst, the network without a "
    "map a little better, with the map clearly better; but the mean colour has the smallest "
    "error.",
)

# %% [markdown]
# *Figure 6. The map removes a third of the hidden error and costs almost nothing elsewhere. But even the mean
# colour of the source is better on hidden pixels: in 200 steps the network has learned **where** not to copy,
# and not yet **what** to put there.*
#
# Why did the network without a map fail? Its decoder gets only features, with two equal cards. Which one is
# the ghost? Only the motion shows it, and the map is the only path from the motion to the decoder.
#
# ## 5. The trained model's map and the true visibility
#
# Now the map of `heads-64`, on heads not used in training, compared with the true visibility. First as it is,
# white for 1 and black for 0; then stretched, from its smallest value to its largest. We also count: of as
# many darkest pixels as are hidden, which share is really hidden?

# %%
maps = F.interpolate(made.occlusion_map, size=(64, 64), mode="bilinear")[:, 0]
ranks = [ranking(*pair) for pair in zip(maps, visible, hidden, strict=True)]
rows = []
for i, own in enumerate(maps):
    darkest = own.flatten().argsort()[: int(hidden[i].sum())]
    right = hidden[i].flatten()[darkest].float().mean()
    rows.append([i, own.min(), ranks[i], right, hidden[i].float().mean()])
columns = ["pair", "smallest O", "rank", "darkest that are hidden", "all that are hidden"]
plots.show_table(columns, rows, digits=2)

# %% [markdown]
# And as images:

# %% tags=["hide-input"]
# @title The map and the true visibility
low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
truth = torch.stack([pair.visibility for pair in pairs])
rows = [list(drivings), list(truth), list(maps), list((maps - low) / (high - low))]
plots.show(
    plots.image_grid(
        rows,
        [f"pair {i}" for i in range(6)],
        ["driving", "visible", "O as it is", "stretched"],
    ),
    alt="six heads. The true visibility is black in a band along one side of each head. The "
    "model's map is white nearly everywhere; stretched, it is darkest near that band",
    colours=256,
)

# %% [markdown]
# *Figure 7. The darkest pixels lie near the hidden ones: a seventh to a half of them is hidden, four to
# eleven times as many as by chance. But they are far too bright: even the smallest value of a map is 0.82 to
# 0.97, where it should be 0.*
#
# Does the generator use the map? We set it to 1 everywhere, and measure the difference.

# %%
with torch.inference_mode():
    small = geometry.resize_flow(made.deformation, 32, 32)
    copied = geometry.warp(features, small)
    everywhere = model.generator.decode(copied)
for name, image in (("with its O", made.prediction), ("O = 1", everywhere)):
    print("{:11} visible {:.3f}, hidden {:.3f}".format(name, *errors(image)))
change = float((everywhere - made.prediction).abs().max())
print(f"largest change of a colour, which runs from 0 to 1: {change:.2f}")

# %% [markdown]
# Hardly. Figure 3 suggests why: the network of section 4 was *given* the flow; this model *chooses* its flow,
# and has learned to copy other background where the background is hidden, so there is hardly a ghost for O to
# remove. (We have not tested this explanation.) The tests for any model are the same: the ranking, the
# values, the result without the map.

# %% [markdown]
# ## From toy to library
#
# `OcclusionAwareGenerator` has three steps, and calling it does all of them: `encode` depends only on the
# source, so for a video it is computed once and kept as an `EncodedSource`; `deform` warps and masks;
# `decode` makes the image. `expand` uses one encoded source for many driving frames without a copy.

# %%
network = model.generator
with torch.inference_mode():
    encoded = network.encode(sources[1:2]).expand(3)
    assert isinstance(
        encoded, fomm.EncodedSource
    )  # features, and the small source for the dense motion
    some = [0, 1, 2]
    kp_one, kp_many = kp_source[1:2].expand(3), kp_driving[some]
    dense = network.dense_motion_network(encoded.small, kp_one, kp_many)
    occlusion = F.interpolate(dense.occlusion, (32, 32), mode="bilinear", align_corners=False)
    flow = geometry.resize_flow(dense.deformation, 32, 32)
    masked = occlusion * geometry.warp(encoded.features, flow)
    in_steps, at_once = network.decode(masked), network(encoded, kp_one, kp_many).prediction
assert torch.allclose(masked, network.deform(encoded.features, dense), atol=1e-5)
assert torch.allclose(in_steps, at_once, atol=1e-4)
print("one source", tuple(sources[1:2].shape), "-> three predictions", tuple(at_once.shape))

# %% [markdown]
# ## Break it
#
# Replace the map by four others: all 1; the true visibility; its inverse; all 0. The flow is the true one.
# Before you run it, predict the last two: how much does the decoder know about heads?

# %%
cells = F.avg_pool2d(truth[:, None], 2)
own_maps = {
    "O = 1": 1 + 0 * cells,
    "O = visibility": cells,
    "O = 1 - visibility": 1 - cells,
    "O = 0": 0 * cells,
}
with torch.inference_mode():
    forced = {name: network.decode(warped * own) for name, own in own_maps.items()}
forced["all grey"] = torch.full_like(drivings, 0.5)
rows = [[name, *errors(images)] for name, images in forced.items()]
plots.show_table(["map", "error, visible pixels", "error, hidden pixels"], rows)

# %% [markdown]
# Look at the bands beside the heads:

# %% tags=["hide-input"]
# @title Four maps that the decoder was not trained with
rows = [[drivings[i], *(forced[name][i] for name in own_maps)] for i in (1, 5)]
titles = ["driving", "O = 1", "O = visibility", "O = 1 - that", "O = 0"]
plots.show(
    plots.image_grid(rows, titles),
    alt="two heads, true flow. O = 1: ghosts beside the head. O = visibility: greyish bands "
    "instead of ghosts. O = 1 - visibility: only the bands have content, the rest is grey. O = "
    "0: uniform grey.",
    colours=256,
)

# %% [markdown]
# *Figure 9. With O = 0 the decoder gets no information, and gives uniform grey: it has not memorised heads.*
#
# With `O = visibility`, the right map, the ghosts are gone and a third of the hidden error too, but the bands
# stay greyish. In training this decoder hardly ever got a small O, so it has not learned to fill such a hole.
# Map and decoder must be trained **together**, as in section 4.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged cell does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · Warp and mask
#
# *find the bug · difficulty 1 of 5 · importance 5 of 5 · 10 minutes*
#
# This function runs and gives the right shape, but one line is wrong. Which one? Say why before you change
# it. (The map may be smaller than the features, so it is resized first; that is right.)


# %%
def warp_and_mask(features, flow, occlusion):
    """(B, c, h, w), (B, h, w, 2), (B, 1, a, b) -> (B, c, h, w)."""
    size = features.shape[-2:]
    occlusion = F.interpolate(occlusion, size=size, mode="bilinear", align_corners=False)
    return geometry.warp(occlusion * features, flow)


check_warp_and_mask(warp_and_mask)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The map belongs to points of the driving frame, so it is applied after the warp.
#
# ```python
# def warp_and_mask(features, flow, occlusion):
#     size = features.shape[-2:]
#     occlusion = F.interpolate(occlusion, size=size, mode="bilinear", align_corners=False)
#     return occlusion * geometry.warp(features, flow)
# ```
#
# </details>
#
# ### Exercise 2 · The best factor, channel by channel
#
# *code · difficulty 2 of 5 · importance 3 of 5 · 10 minutes*
#
# Section 3 used one factor for all channels. Compute one for each: subtract from `warped` and `wanted` their
# means (over batch and positions), then regress `wanted` on `warped` in every channel.


# %%
def best_gain(warped, wanted):
    """(B, c, h, w) and (B, c, h, w) -> (c,)."""
    raise NotImplementedError


check_best_gain(best_gain)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def best_gain(warped, wanted):
#     w = warped - warped.mean(dim=(0, 2, 3), keepdim=True)
#     t = wanted - wanted.mean(dim=(0, 2, 3), keepdim=True)
#     return (w * t).sum(dim=(0, 2, 3)) / (w * w).sum(dim=(0, 2, 3))
# ```
#
# </details>
#
# ### Exercise 3 · Ghosts in a flow
#
# *code · difficulty 4 of 5 · importance 3 of 5 · 20 minutes*
#
# A point of the source can be right for one pixel of the result at most. Where two pixels read the *same*
# pixel of the source (each point rounded to the nearest pixel, outside the border to the border), one of them
# may read a ghost (or the image is enlarged there). Mark all pixels that read the same source pixel as
# another one. The flow alone shows much of the occlusion!


# %%
def double_reads(flow):
    """(H, W, 2), points of the source -> (H, W) bool: another pixel reads the same one."""
    raise NotImplementedError


check_double_reads(double_reads)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `geometry.to_pixels(flow, H, W).round().long()` gives columns and rows, to be clamped. Number the source
# pixels row by row; `torch.bincount` counts the readers of each.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def double_reads(flow):
#     height, width = flow.shape[:2]
#     column, row = geometry.to_pixels(flow, height, width).round().long().unbind(-1)
#     number = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
#     readers = torch.bincount(number.flatten(), minlength=height * width)
#     return readers[number] > 1
# ```
#
# Try it on `pairs[5].flow`: it marks 84 % of the hidden pixels, but also 18 % of the visible ones, which read
# the same source pixels or are enlarged. So only a third of what it marks is hidden.
#
# </details>
#
# ### Exercise 4 · Which shifts do features follow?
#
# *experiment · difficulty 3 of 5 · importance 4 of 5 · 15 minutes*
#
# Predict: after which shifts of the image by 1, 2, 3 or 4 pixels are the features of section 2 a shifted
# copy? Then measure, with the cell of section 2: roll the images by `shift` pixels and the features by
# `shift // 2` cells. The error is the mean absolute difference inside a border of 8 cells, divided by the
# mean absolute value of the rolled features there.

# %%
prediction = None  # "all shifts", "even shifts only", or "none: the error grows with the shift"
measured = {}  # {shift: error}, for 1, 2, 3 and 4
check_shift_errors(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# measured = {}
# with torch.inference_mode():
#     still = model.generator.encode(sources).features
#     for shift in (1, 2, 3, 4):
#         moved = model.generator.encode(sources.roll(shift, dims=-1)).features[..., 8:-8, 8:-8]
#         expected = still.roll(shift // 2, dims=-1)[..., 8:-8, 8:-8]
#         measured[shift] = float((moved - expected).abs().mean() / expected.abs().mean())
# prediction = "even shifts only"
# check_shift_errors(prediction, measured)
# ```
#
# What counts is the rest after whole cells. A flow moves features by fractions of cells nearly everywhere, so
# every warped feature has an error of this kind.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | a doubled ear, cheek or collar | the warp copies what is not there | an occlusion map, more training |
# | O is near 1 everywhere | the flow avoids ghosts by itself | harmless, if hidden errors are small |
# | O is grey everywhere | its scale is free: later weights can undo it | look at the ranking |
# | everything is soft, visible parts too | features too coarse | fewer down blocks; larger images |
#

# %% [markdown]
# ## Questions
#
# **1.** Why does the generator have no skip connections from encoder to decoder, as a U-Net has?
#
# <details><summary>Answer</summary>
#
# They would pass features in the *source's* pose around the warp, and the decoder would have to remove them
# again. All features that reach the decoder must be warped. `heads-256` goes beyond the paper: it warps and
# masks the skips, too (`inpainting.SkipDecoder`), mixes what it paints with the visible colours around
# (`inpainting.fill_hidden`), and is told how far eyes and mouth are open (`motion.opening_maps`).
#
# </details>
#
# **2.** Which parts of an occlusion map are dark when a head moves to the right in front of a still
# background?
#
# <details><summary>Answer</summary>
#
# A band along the left side of the head: the background that the head had covered. On its right side the head
# now covers background; nothing new becomes visible there.
#
# </details>
#
# **3.** Multiply O by 1/2 and the decoder's first weights by 2. What changes, and what does it mean for
# reading maps?
#
# <details><summary>Answer</summary>
#
# Nothing changes in the prediction, for a decoder that begins with a plain convolution (ours begins with a
# residual block, whose weights can compensate a scale approximately). So the absolute value of O means little
# by itself; the order of its values and their ratios are meaningful. That is why we rank, and why figure 7 is
# stretched. (Its ratios are near 1: it *does* have little effect.)
#
# </details>
#
#

# %% [markdown]
# ## What you can now do
#
# You can say what a warp cannot copy, warp features and mask them, derive what a mask should be, train one,
# and compare one with the true visibility.
#
# Next: **06 · Losses**: the losses that train all these parts.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.2. Siarohin et al., *Animating Arbitrary
# Objects via Deep Motion Transfer* (Monkey-Net), CVPR 2019: features are warped, without a map.
