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
# One photograph, one film of somebody else, one cell: the photograph moves. Then you follow a single pair of
# pictures through the whole system and see what every part hands to the next.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - animate a portrait with a driving film, in one line,
# - draw the whole system from memory, with the shape of what travels between its parts,
# - read each of its inner pictures: keypoints, sparse motions, masks, flow, occlusion,
# - say why a warp looks *backward*, from the driving frame into the source.
#
# | | |
# |---|---|
# | Know first | Python, a little PyTorch (tensors, a convolution); no knowledge of GANs |
# | Minutes | 25 to read and run, 15 for the exercises |
# | GPU | no |
# | Paper | *First Order Motion Model for Image Animation*, sections 1 and 3, figure 2 |
# | Module | `fomm_lib.model`, `fomm_lib.animation` |
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
# The parts of the library that this notebook looks at, and the style of its pictures.

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch
from ipywidgets import IntSlider, interact
from PIL import Image

import fomm_lib as fomm
from fomm_lib import animation, geometry, motion, plots
from fomm_lib.datasets import to_tensor
from fomm_lib.exercises import check_motion_channels, check_places_of_pixels
from fomm_lib.video import VideoReader, read_picture

# %% [markdown]
# One helper, for looking only: pictures of any size side by side, all enlarged to the same height.


# %%
def beside(*pictures, side=112):
    """Pictures uint8 (h, w, 3) as one, uint8 (side, side * number, 3)."""
    size = (side, side)
    return np.hstack(
        [Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC) for picture in pictures]
    )


plots.use_style()

# %% [markdown]
# ## The problem as one picture
#
# Somebody moves in a film. A still picture of somebody else shall make the same movements. Nobody has marked
# eyes or mouths, and the two persons have never been seen together. Run the cell.

# %%
model = fomm.load_model("heads-64", device="cpu")
portrait = read_picture(fomm.data_path("portrait.jpg"))
frames = list(VideoReader(fomm.data_path("driving.mp4")))[::5]
moving = list(fomm.animate_frames(model, portrait, frames))
film = plots.animation_png(
    [beside(portrait, *pair) for pair in zip(frames, moving, strict=True)], fps=5, colours=64
)
plots.show(film, alt="film of three heads: the still portrait, the driving head, the portrait moving like it")

# %% [markdown]
# *Figure 1. A photograph makes the movements of a film.* Left the **source**, a photograph. In the middle
# the **driving** film. Right the **prediction**: the source, making the movements of the film. For who reads
# this on paper, here are six moments of it.

# %%
moments = [0, 5, 8, 12, 16, 21]
rows = [[beside(film[i]) for i in moments] for film in (frames, moving)]
titles = [f"{i / 5:.1f} s" for i in moments]
plots.show(
    plots.picture_grid(rows, titles, ["driving", "prediction"]),
    alt="six moments in two rows: whenever the driving head turns or tilts, the portrait does so too",
    colours=256,
)

# %% [markdown]
# *Figure 2. Six moments: the portrait turns when the driving head turns.*
#
# The pictures are small and a little soft: this model has 64 x 64 pixels, so that it runs anywhere, and it
# was trained on rendered heads alone, with few of the details of a photograph. Everything you learn on it
# holds for the published model of 256 x 256 pixels, which the same code loads; only the shapes grow.
#
# > **Think!** The source shows one view of one face. Which pixels of a turned head can be *copied* from it,
# > and which must be *invented*? Keep your answer; it returns in the section on occlusion.
#
# ## One operation under it all: look back
#
# To move a picture one does not push its pixels forward: some places would be hit twice, others never. One
# asks instead, for every pixel of the result, **where in the source it comes from**:
#
# $$\hat{D}(z) = S\big(T_{S \leftarrow D}(z)\big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $S$ | source | (3, H, W) | 0 to 1 | `source` |
# | $D$, $\hat{D}$ | driving frame, prediction | (3, H, W) | 0 to 1 | `driving`, `prediction` |
# | $z$ | a place in the picture, (x, y) | (H, W, 2) for all pixels | -1 to 1 | `grid` |
# | $T_{S \leftarrow D}$ | backward flow, a place in $D$ → a place in $S$ | (H, W, 2) | -1 to 1 | `flow` |
#
# Places do not count pixels: x runs from -1 (left) to 1 (right), y from -1 (top) to 1 (bottom), whatever the
# size of the picture. Here is the operation by hand: round to the nearest pixel, and copy.


# %%
def look_back(picture, flow):
    """Copy, for every pixel, the pixel of `picture` (3, H, W) nearest to the place in `flow`."""
    height, width = picture.shape[1:]
    column, row = geometry.to_pixels(flow, height, width).round().long().unbind(-1)
    return picture[:, row.clamp(0, height - 1), column.clamp(0, width - 1)]


# %% [markdown]
# Two flows to try it with: one adds 0.5 to every x, the other turns all places by 30 degrees around the
# middle.

# %%
source = to_tensor(portrait, model.size)
grid = geometry.coordinate_grid(*model.size)
shifted = grid + torch.tensor([0.5, 0.0])
angle = torch.deg2rad(torch.tensor(30.0))
rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
turned = geometry.apply_2x2(rotation, grid)
plots.show(
    plots.picture_grid(
        [[source, look_back(source, shifted), look_back(source, turned)]],
        ["source", "flow: x + 0.5", "flow: turned by 30°"],
    ),
    alt="the portrait; moved a quarter of its width to the left; turned, against the turn of its flow",
    colours=256,
)

# %% [markdown]
# *Figure 3. The picture moves against its flow.* The flow *adds* 0.5 to x, and the face moves to the
# **left**: each pixel looks to its right. That is what backward means, and it is the commonest mistake with
# such models. Places outside the source repeat its border here.
#
# `geometry.warp` does the same with bilinear interpolation, so that it is differentiable. Where a flow moves
# by whole pixels, there is nothing to interpolate, and both must agree.

# %%
pixels = torch.tensor([8.0, 0.0])  # 8 columns to the right
flow = grid + pixels * 2 / (model.size[1] - 1)
by_library = geometry.warp(source[None], flow[None], padding_mode="border")[0]
assert torch.allclose(look_back(source, flow), by_library, atol=1e-4)
print("by hand and by the library:", tuple(by_library.shape), "equal")

# %% [markdown]
# So the whole task is now: **find the flow**, and mend what the flow cannot give.
#
# ## The whole system as one drawing
#
# We let one pair flow through the model, and measure the shape of everything on its way. `model.detect`
# finds keypoints, `model.dense_motion` makes a flow of them, `model.generate` a picture. The discriminator
# exists only while training; here a fresh one stands in, as only its shape matters.

# %%
source = source[None]
driving = torch.stack([to_tensor(frame, model.size) for frame in frames])
turn = 6  # the driving frame that we follow through the system
discriminator = fomm.build_discriminator(model.config).eval()
with torch.inference_mode():
    kp_source, kp_film = model.detect(source), model.detect(driving)
    kp_driving = animation.relative_motion(kp_source, kp_film[turn : turn + 1], kp_film[:1])
    dense = model.dense_motion(source, kp_source, kp_driving)
    generated = model.generate(source, kp_source, kp_driving, for_people=True)
    features = model.generator.encode(source).features
    judged = discriminator({1: generated.prediction})[1][1]

# %% [markdown]
# One of these lines is not in the figure of the paper's training: `relative_motion`. It takes the *movement*
# of the driving keypoints since the first frame and applies it to the keypoints of the source (section 3.4),
# so that the shape of the driving head stays out of it. What happens without it, you see under "Break it".

# %%
tensors = {
    "source": source,
    "driving": driving[turn : turn + 1],
    "value": kp_source.value,
    "jacobian": kp_source.jacobian,
    "flow": dense.deformation,
    "occlusion": dense.occlusion,
    "features": features,
    "prediction": generated.prediction,
    "judged": judged,
}
shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
shown = {name: tensors[name][0] for name in ("source", "driving", "prediction")}
plots.show(
    plots.draw_system(shapes, shown),
    alt="drawing of the system: one keypoint detector takes source and driving frame; dense motion takes the "
    "keypoints of both and the source; its flow and occlusion map steer the generator, which encodes the "
    "source, warps and masks it, and decodes the prediction; a discriminator judges that while training",
    colours=256,
)

# %% [markdown]
# *Figure 4. The whole system.* Read it from left to right; the numbers in brackets are the notebooks that
# build each box.
#
# - **One detector, used twice** (03). It gives K places `p` and K small matrices `J` for each picture, on
#   its own.
# - **Dense motion** (04) is all that ever sees both: it turns two sets of keypoints into one flow and one
#   occlusion map.
# - **The generator** (05) never sees the driving frame. All it knows of it is the flow and the occlusion
#   map. That narrow passage is the reason why it works without labels: a source and a driving frame of *one
#   film* serve as question and answer, and the keypoints are whatever carries the movement through best.
# - **The discriminator** (06) judges patches of the picture, while training only. This is the GAN in the
#   system.
#
# In training, source and driving frame come from the same film, so the right answer is known: the driving
# frame itself. At the end, the source is anybody.

# %%
numbers = {"keypoint detector": model.kp_detector, "dense motion": model.generator.dense_motion_network}
numbers |= {"generator, dense motion included": model.generator, "discriminator": discriminator}
for name, network in numbers.items():
    print(f"{name:33}{sum(p.numel() for p in network.parameters()):>10,} parameters")

# %% [markdown]
# The published model for faces has 14.2 and 45.6 million in detector and generator; ours is smaller, and not
# another kind.
#
# ## Where: keypoints
#
# A keypoint is a place $p_k$ and a matrix $J_k$, found in each picture alone (section 3.1):
#
# $$p_k = \sum_z H_k(z)\, z, \qquad \sum_z H_k(z) = 1$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $H_k$ | heatmap, how probable each place is | (K, h, w) | 0 to 1, sums to 1 | `kp_source.heatmap` |
# | $p_k$ | keypoint, the mean place | (K, 2) | -1 to 1 | `kp_source.value` |
# | $J_k$ | Jacobian: local turn and stretch | (K, 2, 2) | about the identity | `kp_source.jacobian` |
#
# The mean place takes one line; the detector must have come to the same. Then look at the points: on the
# source, on the driving frame as the detector sees it, and the source's points moved as the film moved.

# %%
heatmap = kp_source.heatmap
places = geometry.coordinate_grid(*heatmap.shape[-2:])
mean_place = (heatmap[..., None] * places).sum(dim=(2, 3))
assert torch.allclose(mean_place, kp_source.value, atol=1e-5)
print("heatmaps", tuple(heatmap.shape), "-> keypoints", tuple(mean_place.shape))

pictures = [
    plots.draw_keypoints(source[0], kp_source),
    plots.draw_keypoints(driving[turn], kp_film[turn : turn + 1]),
    plots.draw_keypoints(generated.prediction[0], kp_driving),
]
plots.show(
    plots.picture_grid([pictures], ["source", "driving frame", "prediction, moved points"]),
    alt="ten numbered keypoints on source, driving frame, prediction; mostly on the same part of each head",
    colours=256,
)

# %% [markdown]
# *Figure 5. Points of one number belong to one part.* Nobody told the model what a nose is. Points with one
# number lie on corresponding parts because only then the driving frame can be rebuilt from the source.
# Notebook 03 shows how that is learned, and how to measure it.
#
# Below, all ten heatmaps of the source, each brightened so that its peak is white.

# %%
peaks = (heatmap[0] / heatmap[0].amax(dim=(1, 2), keepdim=True))[:, None]
plots.show(
    plots.picture_grid([list(peaks[:5]), list(peaks[5:])], row_titles=["0 to 4", "5 to 9"]),
    alt="ten heatmaps, keypoints 0 to 9: most are dark but for one bright spot; its mean place is the point",
)

# %% [markdown]
# *Figure 6. One small bright spot: the detector is sure. Several: it hesitates, and the point lies between.*
# Keypoint 0 is at the upper left, 5 below it.
#
# ## How everything moves: from points to a flow
#
# Near keypoint k the motion is a Taylor expansion to first order, which gave the paper its name (equation 4):
#
# $$T_k(z) = p_{S,k} + J_{S,k}\, J_{D,k}^{-1}\,(z - p_{D,k})$$
#
# $$T(z) = M_0(z)\, z + \sum_{k} M_k(z)\, T_k(z)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $T_k$ | sparse motions; $T_0$ is the identity | (K+1, h, w, 2) | about -1 to 1 | `dense.sparse_motions` |
# | $M_k$ | mask: the share of motion k at each place | (K+1, h, w) | 0 to 1, sums to 1 | `dense.mask` |
# | $T$ | the dense flow | (h, w, 2) | about -1 to 1 | `dense.deformation` |
#
# The mixing is one line again (equation 7).

# %%
mixed = (dense.mask[..., None] * dense.sparse_motions).sum(dim=1)
assert torch.allclose(mixed, dense.deformation, atol=1e-5)
print("masks", tuple(dense.mask.shape), "x motions", tuple(dense.sparse_motions.shape))
print("-> flow", tuple(mixed.shape))

# %% [markdown]
# A network chooses the masks. For every motion it is given two things: where the keypoint went to and came
# from, as the difference of two Gaussian bumps, and the source moved by that motion alone. Three rows, one
# column a motion:

# %%
height, width = dense.mask.shape[-2:]
bumps = motion.heatmap_difference(kp_source, kp_driving, height, width)[0]
rows = [
    list((0.5 + 0.5 * bumps / bumps.abs().max())[:, None]),
    list(dense.sparse_deformed[0]),
    list(dense.mask[0][:, None]),
]
plots.show(
    plots.picture_grid(rows, ["bg", *map(str, range(10))], ["bumps", "moved", "mask"]),
    alt="eleven columns, background and ten motions. bumps: white where a keypoint is, black where it was; "
    "moved: the whole source moved by one motion; mask: bright where that motion is used",
    colours=256,
)

# %% [markdown]
# *Figure 7. One motion a column, and where it counts.* In each column of the middle row only the
# surroundings of one keypoint are right; the mask below takes just those. The masks of one place add up to
# 1. Mixed, they give one flow:

# %%
plots.show(
    plots.plot_flow(dense.deformation[0]),
    alt="the dense flow as colours and arrows, from each place of the driving frame to the place of the "
    "source that it copies; the head moves more than the background",
)

# %% [markdown]
# *Figure 8. One flow out of eleven motions.* An arrow begins at a pixel of the result and ends where that
# pixel looks. If the head has moved to the left, the arrows point to the right: back to where it was.
#
# ## What a warp cannot know: occlusion
#
# When a head turns, a cheek appears that the source never showed. No flow can copy it. So the same network
# also says, for every place, how far the copied thing can be trusted. The generator warps not the picture
# but its *features* $\xi$, dims the untrusted ones, and paints what is missing (section 3.2):
#
# $$\xi' = O \odot \xi\big(T(z)\big)$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\xi$, $\xi'$ | features of the source, before, after | (c, H/2ⁿ, W/2ⁿ) | any | `features`, `masked` |
# | $O$ | occlusion map: 1 = copy, 0 = paint anew | (1, h, w) | 0 to 1 | `dense.occlusion` |
#
# By hand, with the flow and the map brought to the size of the features:

# %%
size = features.shape[-2:]
small_flow = geometry.resize_flow(dense.deformation, *size)
small_map = torch.nn.functional.interpolate(dense.occlusion, size=size, mode="bilinear", align_corners=False)
masked = small_map * geometry.warp(features, small_flow)
with torch.inference_mode():
    painted = model.generator.decode(masked)
assert torch.allclose(painted, generated.prediction, atol=1e-4)
print("features", tuple(masked.shape), "-> prediction", tuple(painted.shape), "the same as the model's")

# %% [markdown]
# The last pictures of the chain: the source warped pixel by pixel (the model does not use it; it is for
# you), the occlusion map $O$, its smallest value drawn black and its largest white, and the prediction.

# %%
trusted = dense.occlusion[0]
darkest, brightest = float(trusted.min()), float(trusted.max())
stretched = (trusted - darkest) / (brightest - darkest)
chain = [source[0], driving[turn], generated.deformed[0], stretched, generated.prediction[0]]
scale = f"O, {darkest:.2f} to {brightest:.2f}"
plots.show(
    plots.picture_grid([chain], ["source", "driving", "source, warped", scale, "prediction"]),
    alt="source, driving frame, the source warped by the flow, the occlusion map from its smallest value "
    "in black to its largest in white, and the prediction",
    colours=256,
)

# %% [markdown]
# *Figure 9. Copied, and painted where that is not enough.* Compare the warped source with the prediction
# along the border and around the head: what the flow tore or stretched, the generator has painted. The title
# gives the range of $O$: where it is narrow, the model trusts nearly everything, and leaves the mending to
# the decoder. Here is the answer to the *Think!* above: visible skin is copied, the newly seen side, the
# background behind the head and the inside of an opening mouth are invented.
#
# ## Try it: choose the driving frame
#
# `Animator` keeps what depends on the source alone and follows any driving frame. First a still, then the
# same with a slider.


# %%
animator = animation.Animator(model, source)
_ = animator(driving[:1])  # the first frame is what movements are measured from


def at_frame(number):
    made = animator(driving[number : number + 1], for_people=True)
    pictures = [driving[number], made.deformed[0], made.prediction[0]]
    plots.show(
        plots.picture_grid([pictures], ["driving", "source, warped", "prediction"]),
        alt=f"frame {number}: driving frame, warped source, prediction",
        colours=256,
    )


at_frame(9)

# %% [markdown]
# Move the slider (in a running notebook). When does the warped source tear, and what does the prediction
# show there? Frame 0 is the reference: nothing has moved, and the prediction is the source after a trip
# through the generator.

# %% tags=["nbval-ignore-output"]
_ = interact(at_frame, number=IntSlider(value=9, min=0, max=len(frames) - 1, description="frame"))

# %% [markdown]
# ## From toy to library
#
# Everything above, in the library's words: first the steps one by one against the animator, then the one
# line with which you animate a file. (A `Generated` holds all that one look at the driving frame gave:
# prediction, flow, masks, occlusion map.)

# %%
by_animator = animator(driving[turn : turn + 1])
assert isinstance(by_animator, fomm.Generated)
assert torch.allclose(generated.prediction, by_animator.prediction, atol=1e-4)
assert torch.allclose(generated.deformation, by_animator.deformation, atol=1e-4)
print("steps and animator agree:", tuple(by_animator.prediction.shape))

# %% [markdown]
# `fomm.animate` reads and writes files: as many frames as the driving film has, at its times, with its sound
# if there is any. The film says in its metadata that it is generated. `zoom=2` enlarges it for looking at.
# On the command line the same is `fomm animate`.

# %%
with tempfile.TemporaryDirectory() as folder:
    made = fomm.animate(
        model,
        source=fomm.data_path("portrait.jpg"),
        driving=fomm.data_path("driving.mp4"),
        output=Path(folder) / "moving.mp4",
        zoom=2,
        progress=False,
    )
    print(made.path.name, made.frames, "frames,", made.size, "pixels,", float(made.fps), "frames a second")

# %% [markdown]
# ## Break it
#
# `relative=False` takes over the driving keypoints *as they are*: their places, not their movement. Say
# before you run it what will happen to a face whose keypoints are suddenly those of another person's face.

# %%
absolute = animation.Animator(model, source, relative=False)
relative = animation.Animator(model, source)
_ = relative(driving[:1])
some = driving[[0, 6, 12, 18]]
rows = [list(some), list(relative(some).prediction), list(absolute(some).prediction)]
plots.show(
    plots.picture_grid(rows, row_titles=["driving", "relative", "absolute"]),
    alt="four driving frames; relative: the portrait keeps its place and shape and moves; absolute: already "
    "in the first frame it is pulled to the place and into the shape of the driving head",
    colours=256,
)

# %% [markdown]
# *Figure 10. Places carry shape; movements do not.* In the bottom row the face is pulled to where the
# *driving* head is, and into its proportions: keypoints carry the shape of a head as well as its movement.
# In the first column nothing has moved yet, so the relative row shows the portrait as it is.
#
# One can put a number on it: how far are the keypoints in use from the source's own, in the frame where
# nothing has moved?


# %%
def distance(kp):
    return (kp.value[:1] - kp_source.value).norm(dim=-1).mean()


still = animation.relative_motion(kp_source, kp_film[:1], kp_film[:1])
print(f"relative: {distance(still):.3f} from the source's own")
print("absolute is further away:", bool(distance(kp_film) > distance(still) + 0.01))

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: `check_...` says `todo`, `ok`, or what is wrong and why. Left as it
# is, the notebook goes on; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · From pixels to places  (easy, 5 minutes, needed in every notebook)
#
# Pixels count from 0 at the *centre* of the first pixel to `width - 1` at the centre of the last; places run
# from -1 to 1. Undo what `geometry.to_pixels` does: `places_of_pixels(torch.tensor([[0., 0.], [8., 4.]]),
# height=5, width=9)` is `[[-1., -1.], [1., 1.]]`.


# %%
def places_of_pixels(pixels, height, width):
    """(..., 2), column and row -> (..., 2), x and y in [-1, 1]."""
    raise NotImplementedError


check_places_of_pixels(places_of_pixels)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A picture that is `width` pixels wide has `width - 1` steps between the first centre and the last; they
# span a length of 2. The column belongs to the width, the row to the height.
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
# ### Exercise 2 · What the dense motion network is given  (easy, 5 minutes)
#
# For each of the K keypoints *and the background* the network gets one map of bumps and the moved source
# with its C channels. How many channels is that? Ask your function for the published model: 10 keypoints, 3
# colours.


# %%
def motion_channels(num_kp, num_channels):
    """The number of input channels of the dense motion network."""
    raise NotImplementedError


check_motion_channels(motion_channels)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Count the pictures in the two upper rows under "How everything moves", and remember that a coloured one has
# three channels.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def motion_channels(num_kp, num_channels):
#     return (num_kp + 1) * (num_channels + 1)
# ```
#
# 11 columns of 1 + 3 channels: 44 for the published model.
#
# </details>
#
# Whatever you wrote, the model in memory can be asked.

# %%
first = model.generator.dense_motion_network.hourglass.encoder.down_blocks[0].conv
print("channels into the dense motion network:", first.in_channels)
corners = geometry.from_pixels(torch.tensor([[0.0, 0.0], [63.0, 63.0]]), *model.size)
print("first and last pixel lie at", corners.tolist())

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | mend |
# |---|---|---|
# | the portrait takes on the shape of the driving head | absolute keypoints | `relative=True`, the default |
# | it starts in a pose that nobody has | the first driving frame has another pose | see notebook 08 |
# | the face is tiny or cut off | another framing than in training | `crop=(x, y, side)` around the head |
# | everything is washed out or noise | pictures in 0 to 255, or BGR | `fomm_lib.datasets.to_tensor` |
# | things move the wrong way | a forward flow used as a backward one | look from driving to source |
# | `no such file of weights` | a misspelt name; the message lists all | `fomm.load_model("heads-64")` |

# %% [markdown]
# ## Questions
#
# **1.** The generator never sees the driving frame. How can its output show the driving pose?
#
# <details><summary>Answer</summary>
#
# Through the flow and the occlusion map, which come from the keypoints of both. They are all it needs: the
# flow says where to take every feature from, the map says where nothing useful can be taken.
#
# </details>
#
# **2.** A flow adds 0.2 to every y. Does the picture move up or down?
#
# <details><summary>Answer</summary>
#
# Up. y runs downwards, so every pixel of the result copies what lies below it in the source.
#
# </details>
#
# **3.** Why may source and driving frame be of one film in training, although the whole point is to animate
# somebody else?
#
# <details><summary>Answer</summary>
#
# Then the right answer is known, the driving frame itself, and no labels are needed. It carries over to
# other persons as far as keypoints hold movement and not appearance; the narrow passage, K places and
# matrices, leaves little room for appearance.
#
# </details>
#
# **4.** Where could the system cheat in training, if the generator were given the driving frame as well?
#
# <details><summary>Answer</summary>
#
# It would copy the driving frame, the loss would be zero, and the keypoints would never learn anything.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can animate a portrait, name each part of the system, and read its inner pictures. This is the map of
# what comes next; each notebook stands alone, but this order derives everything before it uses it.
#
# | no | notebook | answers |
# |---|---|---|
# | 01 | `01_gan_math` | what does a generator play against a discriminator, and why is it unstable? |
# | 02 | `02_data_cleaning` | how do I get a clean set of frame pairs from many broken videos? |
# | 03 | `03_keypoints` | how are keypoints found, and learned without labels? |
# | 04 | `04_dense_motion` | how do ten points become one flow? |
# | 05 | `05_occlusion_generator` | what is copied, what is painted? |
# | 06 | `06_losses` | what does the system learn from? |
# | 07 | `07_training` | how do I train it, on one CPU or many GPUs? |
# | 08 | `08_animation` | how do I animate well: relative, best frame, sound, long films? |
# | 09 | `09_evaluation` | how good is it, in numbers? |
# | 10 | planned | which relatives does it have? |
# | 11 | planned | does it work for other things than faces? |
# | 12 | planned | when does it fail, and what is it used for responsibly? |
#
# A word before you go on: a face is a person's. Animate your own, rendered ones, or those of people who
# agreed, and say that the film is generated.
#
# **References.** A. Siarohin, S. Lathuilière, S. Tulyakov, E. Ricci, N. Sebe: *First Order Motion Model for
# Image Animation*, NeurIPS 2019, [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). The portrait is a
# NASA photograph, in the public domain; the driving head is rendered. Where both come from says
# `data/README.md`.
