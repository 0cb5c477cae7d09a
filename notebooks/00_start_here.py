# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/00_start_here.ipynb)
#
# You animate a photograph with the video of another person, in one cell. Then you follow a single pair of
# images through the whole system and look at what each part computes.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - animate a portrait with a driving video, in one line,
# - draw the whole system from memory, with the shape of every tensor that passes between its parts,
# - read each of its intermediate results: keypoints, sparse motions, masks, flow, occlusion,
# - say why a warp goes *backward*.
#
# | | |
# |---|---|
# | Know first | Python, a little PyTorch (tensors, a convolution); no knowledge of GANs |
# | Minutes | 40 to read and run, 30 for the exercises |
# | GPU | no |
# | Paper | *First Order Motion Model for Image Animation*, sections 1 and 3, figure 2 |
# | Module | `fomm_lib/model.py`, `fomm_lib/animation/` |
#
# That paper (Siarohin et al., NeurIPS 2019) is *the paper* of this course, and its system is *FOMM*.

# %% [markdown]
# ## Set-up

# %%
import sys

if "google.colab" in sys.modules:
    import subprocess

    library = "fomm-lib @ git+https://github.com/fomm-course/fomm-course"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", library], check=True)

# %% [markdown]
# This cell imports the parts of the library that this notebook uses.

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch
from ipywidgets import IntSlider, interact
from PIL import Image

import fomm_lib as fomm
from fomm_lib import geometry, motion
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.movement import relative_motion
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb00_start_here import (
    check_motion_channels,
    check_move_right,
    check_places_of_pixels,
    check_sharpness_by_warps,
)
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, read_image

# %% [markdown]
# One helper, for display only: it puts images of any size side by side at the same height.


# %%
def beside(*images, side=112):
    """Images uint8 (h, w, 3) as one, uint8 (side, side * number, 3)."""
    size = (side, side)
    return np.hstack(
        [Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in images]
    )


plots.use_style()

# %% [markdown]
# ## The problem as one image
#
# A person moves in a video. A still image of another person should make the same movements. No labels for
# eyes or mouths exist. Run the cell.

# %%
portrait = read_image(fomm.data_path("portrait.jpg"))
frames = list(VideoReader(fomm.data_path("driving.mp4")))[::5]
sharp = fomm.load_model("heads-256", device="cpu")
moving = list(fomm.animate_frames(sharp, portrait, frames))
video = plots.animation_png(
    [beside(portrait, *pair) for pair in zip(frames, moving, strict=True)], fps=5, colours=64
)
plots.show(
    video,
    alt="video of three heads: the still portrait, the driving head, the portrait moving "
    "like it",
)

# %% [markdown]
# *Figure 1. A photograph makes the movements of a video.* Left the **source**, in the middle the
# **driving** video, right the **prediction**. Six frames of it:

# %%
moments = [0, 5, 8, 12, 16, 21]
rows = [[beside(video[i]) for i in moments] for video in (frames, moving)]
titles = [f"{i / 5:.1f} s" for i in moments]
plots.show(
    plots.image_grid(rows, titles, ["driving", "prediction"]),
    alt="six moments in two rows: whenever the driving head turns or tilts, the portrait "
    "does so too",
    colours=256,
)

# %% [markdown]
# *Figure 2. Six moments: the portrait turns when the driving head turns.*
#
# These frames are by `heads-256`, the model of `fomm animate`, with parts beyond the paper (notebook 05).
# Now we take a small one, `heads-64`, with the published architecture. Its images are softer.

# %%
model = fomm.load_model("heads-64", device="cpu")
print(
    "images of",
    model.size,
    "pixels,",
    model.config.model_params.common_params.num_kp,
    "keypoints",
)

# %% [markdown]
# > **Think!** Which pixels of a turned head can be *copied* from the source, and which must be *invented*?
# > Keep your answer.
#
# ## The basic operation: the backward warp
#
# We do not push the pixels of an image forward: some pixels of the result would be written twice, others
# never. Instead we ask, for every pixel of the result, **from which point of the source it comes**:
#
# $$\hat x(z) = x_S\big(T_{S \leftarrow D}(z)\big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $x_S$ | source | (3, H, W) | 0 to 1 | `source` |
# | $x_D$ | driving frame | (3, H, W) | 0 to 1 | `driving` |
# | $\hat x$ | generated image, the prediction | (3, H, W) | 0 to 1 | `prediction` |
# | $z$ | point in an image, (x, y) | (H, W, 2) for all pixels | -1 to 1 | `grid` |
# | $T_{S \leftarrow D}$ | backward motion: a point in D → a point in S | (H, W, 2) | -1 to 1 | `flow` |
#
# Points are not measured in pixels: x runs from -1 (left) to 1 (right), y from -1 (top) to 1 (bottom), for
# images of any size. Here is the operation by hand: round to the nearest pixel, and copy.


# %%
def look_back(image, flow):
    """Copy, for every pixel, the pixel of `image` (3, H, W) nearest to the point in `flow`."""
    height, width = image.shape[1:]
    column, row = geometry.to_pixels(flow, height, width).round().long().unbind(-1)
    return image[:, row.clamp(0, height - 1), column.clamp(0, width - 1)]


# %% [markdown]
# Two flows to try it with: one adds 0.5 to every x, the other rotates all points by 30 degrees around the
# centre. Guess first: where does the face go?

# %%
source = to_tensor(portrait, model.size)
grid = geometry.coordinate_grid(*model.size)
shifted = grid + torch.tensor([0.5, 0.0])
angle = torch.deg2rad(torch.tensor(30.0))
rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
turned = geometry.apply_2x2(rotation, grid)
plots.show(
    plots.image_grid(
        [[source, look_back(source, shifted), look_back(source, turned)]],
        ["source", "flow: x + 0.5", "flow: turned by 30°"],
    ),
    alt="the portrait; moved a quarter of its width to the left; turned, against the turn "
    "of its flow",
    colours=256,
)

# %% [markdown]
# *Figure 3. The image moves against its flow.* The flow *adds* 0.5 to x, and the face moves to the
# **left**: each pixel takes its value from its right. To confuse a backward flow with a forward one is
# the most common mistake with such models.
#
# `geometry.warp` does the same with bilinear interpolation, which makes it differentiable. For a flow of
# whole pixels both must agree.

# %%
pixels = torch.tensor([8.0, 0.0])  # 8 columns to the right
flow = grid + pixels * 2 / (model.size[1] - 1)
by_library = geometry.warp(source[None], flow[None], padding_mode="border")[0]
assert torch.allclose(look_back(source, flow), by_library, atol=1e-4)
print("by hand and by the library:", tuple(by_library.shape), "equal")

# %% [markdown]
# So the whole task is now: **find the flow**, and generate what the flow cannot copy.
#
# ## The whole system in one drawing
#
# We pass one pair of images through the model, and record the shape of every tensor. (The discriminator
# exists only in training; here it is untrained.)

# %%
source = source[None]
driving = torch.stack([to_tensor(frame, model.size) for frame in frames])
turn = 6  # the driving frame that we follow through the system
discriminator = fomm.build_discriminator(model.config).eval()
with torch.inference_mode():
    kp_source, kp_video = model.detect(source), model.detect(driving)
    kp_driving = relative_motion(kp_source, kp_video[turn : turn + 1], kp_video[:1])
    dense = model.dense_motion(source, kp_source, kp_driving)
    generated = model.generate(source, kp_source, kp_driving, with_visuals=True)
    features = model.generator.encode(source).features
    realness = discriminator({1: generated.prediction})[1][1]

# %% [markdown]
# `relative_motion` takes the *movement* of the driving keypoints since the first frame and applies it to
# the keypoints of the source (section 3.4), so that the shape of the driving head has no influence.

# %% tags=["hide-input"]
# @title The whole system, with the shape of every tensor
tensors = {
    "source": source,
    "driving": driving[turn : turn + 1],
    "value": kp_source.value,
    "jacobian": kp_source.jacobian,
    "flow": dense.deformation,
    "occlusion": dense.occlusion,
    "features": features,
    "prediction": generated.prediction,
    "realness": realness,
}
shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
shown = {name: tensors[name][0] for name in ("source", "driving", "prediction")}
plots.show(
    plots.draw_system(shapes, shown),
    alt="drawing of the system: one keypoint detector takes source and driving frame; "
    "dense motion takes the keypoints of both and the source; its flow and occlusion map "
    "control the generator, which encodes the source, warps and masks it, and decodes the "
    "prediction; in training, a discriminator rates that",
    colours=256,
)

# %% [markdown]
# *Figure 4. The whole system.* Read it from left to right; the number in each box is the notebook that
# builds that part.
#
# - **One detector, used twice** (03). For each image alone it gives K points `p` and K small matrices `J`.
# - **Dense motion** (04) is the only part that gets both: it turns two sets of keypoints into one flow and
#   one occlusion map.
# - **The generator** (05) never gets the driving frame. All it knows of it is the flow and the occlusion map.
# - **The discriminator** (06) rates patches of the image as real or generated, only in training. This is the
#   GAN in the system.
#
# In training, source and driving frame come from *one video*, so the right answer is known: the driving
# frame itself. After training, the source may show another person.

# %%
networks = {
    "keypoint detector": model.kp_detector,
    "dense motion": model.generator.dense_motion_network,
    "generator, dense motion included": model.generator,
    "discriminator": discriminator,
}
rows = [[name, sum(p.numel() for p in net.parameters())] for name, net in networks.items()]
plots.show_table(["network", "parameters"], rows)

# %% [markdown]
# *Table 1.* The published model for faces has 14.2 and 45.6 million in detector and generator.
#
# ## Where: keypoints
#
# A keypoint is a point $p_k$ and a matrix $J_k$, found in each image alone (section 3.1):
#
# $$p_k = \sum_z H_k(z)\, z, \qquad \sum_z H_k(z) = 1$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $H_k$ | heatmap, the probability of each point | (K, h, w) | 0 to 1, sums to 1 | `kp_source.heatmap` |
# | $p_k$ | keypoint k, the mean point | (K, 2) | -1 to 1 | `kp_source.value` |
# | $J_k$ | Jacobian: local rotation and stretch | (K, 2, 2) | any | `kp_source.jacobian` |
#
# The mean point takes one line. Then look at the points: on the source, on the driving frame as detected,
# and the source's points after the movement of the video.

# %%
heatmap = kp_source.heatmap
places = geometry.coordinate_grid(*heatmap.shape[-2:])
mean_place = (heatmap[..., None] * places).sum(dim=(2, 3))
assert torch.allclose(mean_place, kp_source.value, atol=1e-5)
print("heatmaps", tuple(heatmap.shape), "-> keypoints", tuple(mean_place.shape))

images = [
    plots.draw_keypoints(source[0], kp_source),
    plots.draw_keypoints(driving[turn], kp_video[turn : turn + 1]),
    plots.draw_keypoints(generated.prediction[0], kp_driving),
]
plots.show(
    plots.image_grid([images], ["source", "driving frame", "prediction, moved points"]),
    alt="ten numbered keypoints on source, driving frame, prediction; 1, 5, 7 and 9 lie on "
    "about the same part of both heads, 0 lies on a shoulder of the portrait and on the "
    "neck of the other",
    colours=256,
)

# %% [markdown]
# *Figure 5. Most points lie on about the same part of both heads, though no label says "nose".* Not all
# do: 0 lies on a shoulder of the photograph, and on the neck of the rendered head. Notebook 03 measures
# it.
#
# All ten heatmaps of the source, each scaled so that its maximum is white:

# %%
peaks = (heatmap[0] / heatmap[0].amax(dim=(1, 2), keepdim=True))[:, None]
plots.show(
    plots.image_grid([list(peaks[:5]), list(peaks[5:])], row_titles=["0 to 4", "5 to 9"]),
    alt="ten heatmaps, keypoints 0 to 9: most are dark but for one bright spot; its mean "
    "place is the point",
)

# %% [markdown]
# *Figure 6. One small bright spot means that the detector is certain. With several spots, as in keypoint
# 0 at the upper left, it is uncertain, and the point lies between them.*
#
# ## How everything moves: from keypoints to a flow
#
# Near keypoint k the motion is a Taylor expansion to first order, hence the name of the paper (equation 4):
#
# $$T_k(z) = p_{S,k} + J_{S,k}\, J_{D,k}^{-1}\,(z - p_{D,k})$$
#
# $$T(z) = M_0(z)\, z + \sum_{k} M_k(z)\, T_k(z)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T_k$ | sparse motion k; $T_0$ is the identity | (K+1, h, w, 2) | about -1 to 1 | `dense.sparse_motions` |
# | $M_k$ | mask: the weight of motion k | (K+1, h, w) | 0 to 1, sums to 1 | `dense.mask` |
# | $T$ | motion, the dense flow | (h, w, 2) | about -1 to 1 | `dense.deformation` |
#
# The weighted sum is one line (equation 7).

# %%
mixed = (dense.mask[..., None] * dense.sparse_motions).sum(dim=1)
assert torch.allclose(mixed, dense.deformation, atol=1e-5)
print("masks", tuple(dense.mask.shape), "x motions", tuple(dense.sparse_motions.shape))
print("-> flow", tuple(mixed.shape))

# %% [markdown]
# A network computes the masks. For every motion it gets two inputs: the new and the old position of the
# keypoint, as the difference of two Gaussians, and the source warped by that motion alone:

# %%
height, width = dense.mask.shape[-2:]
difference = motion.heatmap_difference(kp_source, kp_driving, height, width)[0]
rows = [
    list((0.5 + 0.5 * difference / difference.abs().max())[:, None]),
    list(dense.sparse_deformed[0]),
    list(dense.mask[0][:, None]),
]
plots.show(
    plots.image_grid(rows, ["bg", *map(str, range(10))], ["heat", "warped", "mask"]),
    alt="eleven columns, background and ten motions. heat: white where a keypoint is, "
    "black where it was; warped: the whole source warped by one motion; mask: bright where "
    "that motion is used",
    colours=256,
)

# %% [markdown]
# *Figure 7. One column for each motion: where its keypoint is now (white) and was (black), the source
# warped by it alone, and where it is used.* At each point the masks sum to one. Motions 4 and 6 are not
# used at all here. The weighted sum is one flow:

# %%
plots.show(
    plots.plot_flow(dense.deformation[0]),
    alt="the dense flow as colours and arrows, from each point of the driving frame to the "
    "point of the source that it copies; the head moves more than the background",
)

# %% [markdown]
# *Figure 8. One flow from eleven motions.* An arrow starts at a pixel of the result and ends at the point
# from which that pixel is copied. Here the face turns to the right, and the arrows point to the left:
# back to where it was.
#
# ## What a warp cannot know: occlusion
#
# When a head turns, a cheek appears that is not visible in the source. No flow can copy it. So the same
# network also estimates, for every point, how far the copy can be trusted. The generator does not warp the
# image but its *features* $\xi$, reduces the untrusted ones, and generates what is missing (section 3.2):
#
# $$\xi' = O \odot \xi\big(T(z)\big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\xi$, $\xi'$ | features of the source, before, after | (c, H/2ⁿ, W/2ⁿ) | any | `features`, `masked` |
# | $O$ | occlusion map: 1 = copy, 0 = generate | (1, h, w) | 0 to 1 | `dense.occlusion` |
#
# By hand, with the flow and the map resized to the size of the features; and once more without the map:

# %%
size = features.shape[-2:]
small_flow = geometry.resize_flow(dense.deformation, *size)
resize = torch.nn.functional.interpolate
small_map = resize(dense.occlusion, size=size, mode="bilinear", align_corners=False)
copied = geometry.warp(features, small_flow)
with torch.inference_mode():
    decoded = model.generator.decode(small_map * copied)
    without_map = model.generator.decode(copied)
assert torch.allclose(decoded, generated.prediction, atol=1e-4)
print("features", tuple(copied.shape), "-> prediction", tuple(decoded.shape))
change = (without_map - decoded).abs().mean()
print(f"without the map the prediction changes by {change:.4f} on average, of 1")

# %% [markdown]
# The last images of the chain: the source warped pixel by pixel (for display only), the map $O$ from its
# smallest value in black to its largest in white, and the prediction.

# %% tags=["hide-input"]
# @title Source, driving frame, warped source, occlusion map, prediction
trusted = dense.occlusion[0]
darkest, brightest = float(trusted.min()), float(trusted.max())
stretched = (trusted - darkest) / (brightest - darkest)
chain = [source[0], driving[turn], generated.deformed[0], stretched, generated.prediction[0]]
scale = f"O, {darkest:.2f} to {brightest:.2f}"
plots.show(
    plots.image_grid([chain], ["source", "driving", "source, warped", scale, "prediction"]),
    alt="source, driving frame, the source warped by the flow, the occlusion map from its "
    "smallest value in black to its largest in white, and the prediction",
    colours=256,
)

# %% [markdown]
# *Figure 9. The title gives the range of $O$: this model trusts nearly everything, and the map changes
# almost nothing.* Its decoder does the work: the prediction is softer than the warped source, but whole.
# The answer to the *Think!* above: visible skin is copied; the newly visible side, the background behind
# the head and the inside of an opening mouth are invented. Notebook 05 has a map that does more.
#
# ## Try it: choose the driving frame
#
# `Animator` computes once what depends only on the source, and then takes any driving frame. Frame 0 is the
# reference: nothing has moved, and the prediction is the source, encoded and decoded. Move the slider: when
# does the warped source tear, and what does the prediction show there?

# %% tags=["nbval-ignore-output"]
animator = Animator(model, source)
_ = animator(driving[:1])  # the first frame is the reference of all movements


def at_frame(number=9):
    made = animator(driving[number : number + 1], with_visuals=True)
    images = [driving[number], made.deformed[0], made.prediction[0]]
    plots.show(
        plots.image_grid([images], ["driving", "source, warped", "prediction"]),
        alt=f"frame {number}: driving frame, warped source, prediction",
        colours=256,
    )


_ = interact(
    at_frame, number=IntSlider(value=9, min=0, max=len(frames) - 1, description="frame")
)

# %% [markdown]
# ## From toy to library
#
# First we compare the single steps with the animator. (A `Generated` holds all results for one driving
# frame.)

# %%
by_animator = animator(driving[turn : turn + 1])
assert isinstance(by_animator, fomm.Generated)
assert torch.allclose(generated.prediction, by_animator.prediction, atol=1e-4)
assert torch.allclose(generated.deformation, by_animator.deformation, atol=1e-4)
print("steps and animator agree:", tuple(by_animator.prediction.shape))

# %% [markdown]
# `fomm.animate` reads and writes files: the output has the frames, times and audio of the driving video,
# and says in its metadata that it is generated. On the command line it is `fomm animate`.

# %%
with tempfile.TemporaryDirectory() as folder:
    made = fomm.animate(
        model,
        source=fomm.data_path("portrait.jpg"),
        driving=fomm.data_path("driving.mp4"),
        output=Path(folder) / "moving.mp4",
        progress=False,
    )
    print(
        made.path.name,
        made.frames,
        "frames,",
        made.size,
        "pixels,",
        float(made.fps),
        "a second",
    )

# %% [markdown]
# ## Break it
#
# `relative=False` uses the driving keypoints *as they are*: their positions, not their movement. Before you
# run it, predict what will happen to a face whose keypoints are those of another person's face.

# %%
absolute = Animator(model, source, relative=False)
relative = Animator(model, source)
_ = relative(driving[:1])
some = driving[[0, 6, 12, 18]]
rows = [list(some), list(relative(some).prediction), list(absolute(some).prediction)]
plots.show(
    plots.image_grid(rows, row_titles=["driving", "relative", "absolute"]),
    alt="four driving frames; relative: the portrait keeps its place and shape and moves; "
    "absolute: already in the first frame it is pulled to the place and into the shape of "
    "the driving head",
    colours=256,
)

# %% [markdown]
# *Figure 10. Positions contain the shape of a head; movements do not.* In the bottom row the face is
# pulled to the position of the *driving* head, and into its proportions. In the first column nothing has
# moved yet, so the relative row shows the portrait as it is.
#
# As a number: how far are the keypoints used from the source's own, in the frame in which nothing has
# moved?


# %%
def distance(kp):
    return float((kp.value[:1] - kp_source.value).norm(dim=-1).mean())


still = relative_motion(kp_source, kp_video[:1], kp_video[:1])
print(f"relative {distance(still):.2f}, absolute {distance(kp_video):.2f}; the image is 2 wide")

# %% [markdown]
# ## Exercises
#
# The check says `todo`, `ok`, or what is wrong and why. A wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · From pixels to points
#
# *code · difficulty 1 of 5 · importance 5 of 5 · 5 minutes*
#
# Pixel coordinates run from 0 at the *centre* of the first pixel to `width - 1` at the centre of the last;
# points run from -1 to 1. Invert `geometry.to_pixels`:
# `places_of_pixels(torch.tensor([[0., 0.], [8., 4.]]), height=5, width=9)` is `[[-1., -1.], [1., 1.]]`.


# %%
def places_of_pixels(pixels, height, width):
    """(..., 2), column and row -> (..., 2), x and y in [-1, 1]."""
    raise NotImplementedError


check_places_of_pixels(places_of_pixels)

# %% [markdown]
# <details><summary>Hint</summary>
#
# An image that is `width` pixels wide has `width - 1` steps between the first centre and the last; they
# span a length of 2.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def places_of_pixels(pixels, height, width):
#     steps = torch.tensor([width - 1, height - 1])
#     return 2 * pixels / steps - 1
# ```
#
# The library has it as `geometry.from_pixels`.
#
# </details>
#
# ### Exercise 2 · What the dense motion network is given
#
# *code · difficulty 1 of 5 · importance 3 of 5 · 5 minutes*
#
# Count the channels: for each of the K keypoints *and the background* one heatmap, and the warped source
# with its C channels.


# %%
def motion_channels(num_kp, num_channels):
    """The number of input channels of the dense motion network."""
    raise NotImplementedError


check_motion_channels(motion_channels)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def motion_channels(num_kp, num_channels):
#     return (num_kp + 1) * (num_channels + 1)
# ```
#
# </details>
#
# ### Exercise 3 · Find the bug
#
# *find the bug · difficulty 2 of 5 · importance 5 of 5 · 5 minutes*
#
# The content of the image should move to the right. It does move.


# %%
def move_right(image, pixels):
    """(3, H, W) -> (3, H, W): the content moved right by some pixels; the border repeats."""
    height, width = image.shape[1:]
    grid = geometry.coordinate_grid(height, width)
    flow = grid + torch.tensor([2 * pixels / (width - 1), 0.0])
    return geometry.warp(image[None], flow[None], padding_mode="border")[0]


check_move_right(move_right)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def move_right(image, pixels):
#     height, width = image.shape[1:]
#     grid = geometry.coordinate_grid(height, width)
#     flow = grid - torch.tensor([2 * pixels / (width - 1), 0.0])
#     return geometry.warp(image[None], flow[None], padding_mode="border")[0]
# ```
#
# Each pixel must look to its *left* for content that moves to the right.
#
# </details>
#
# ### Exercise 4 · There and back
#
# *experiment · difficulty 2 of 5 · importance 4 of 5 · 10 minutes*
#
# Turn an image by 10 degrees, and back by 10 degrees: one round trip, after which every point is where it
# was. Predict what happens to its sharpness with more round trips. Then measure it after 0, 1, 2 and 4.

# %%
image = to_tensor(read_image(fomm.data_path("portrait.jpg")), (64, 64))


def turned_by(image, degrees):
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    flow = geometry.apply_2x2(rotation, geometry.coordinate_grid(64, 64))
    return geometry.warp(image[None], flow[None], padding_mode="border")[0]


def sharpness(image):
    """The mean difference of neighbours in the middle of the image."""
    return float(image[:, 16:48, 16:48].diff(dim=2).abs().mean())


prediction = None  # "rises", "falls" or "stays"
measured = {}  # {round trips: sharpness}, for 0, 1, 2 and 4
check_sharpness_by_warps(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# prediction = "falls"
# measured, now = {0: sharpness(image)}, image
# for trips in (1, 2, 3, 4):
#     now = turned_by(turned_by(now, 10), -10)
#     measured[trips] = sharpness(now)
# check_sharpness_by_warps(prediction, measured)
# ```
#
# Each warp interpolates between pixels, which is a small blur. So FOMM warps once, and never its own
# output.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | the portrait takes on the shape of the driving head | absolute keypoints | `relative=True`, the default |
# | the result starts in a wrong pose | the first driving frame has another pose | see notebook 08 |
# | the face is tiny or cut off | other framing than in training | `crop=(x, y, side)` around the head |
# | things move the wrong way | a forward flow used as a backward one | flow from driving to source |

# %% [markdown]
# ## Questions
#
# **1.** The generator never gets the driving frame. How can its output show the driving pose?
#
# <details><summary>Answer</summary>
#
# Through the flow and the occlusion map.
#
# </details>
#
# **2.** A flow adds 0.2 to every y. Does the image move up or down?
#
# <details><summary>Answer</summary>
#
# Up. y runs downwards, so every pixel of the result copies a point below it in the source.
#
# </details>
#
# **3.** How could the system cheat in training if the generator also got the driving frame?
#
# <details><summary>Answer</summary>
#
# It would copy the driving frame, the loss would be zero, and the detector would learn nothing.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can animate a portrait, name each part of the system, and read its intermediate results. In this order
# everything is derived before it is used:
#
# | no | notebook | answers |
# |---|---|---|
# | 01 | `01_gan_math` | what do generator and discriminator optimise, and why is it unstable? |
# | 02 | `02_data_cleaning` | how do I get a clean set of frame pairs from many broken videos? |
# | 03 | `03_keypoints` | how are keypoints found, and learned without labels? |
# | 04 | `04_dense_motion` | how do ten points become one flow? |
# | 05 | `05_occlusion_generator` | what is copied, what is generated? |
# | 06 | `06_losses` | what does the system learn from? |
# | 07 | `07_training` | how do I train it, on one CPU or many GPUs? |
# | 08 | `08_animation` | how do I animate well: relative, best frame, audio, long videos? |
# | 09 | `09_evaluation` | how good is it, in numbers? |
#
# Before you go on: a face belongs to a person. Animate your own face, rendered faces, or those of people
# who agreed, and say that the video is generated.
#
# **References.** A. Siarohin, S. Lathuilière, S. Tulyakov, E. Ricci, N. Sebe: *First Order Motion Model
# for Image Animation*, NeurIPS 2019, [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). The portrait
# is a NASA photograph, in the public domain; the driving head is rendered (`data/README.md`).
