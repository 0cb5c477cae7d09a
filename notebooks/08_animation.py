# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · Animation
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/08_animation.ipynb)
#
# A trained model transfers *one pose* to a portrait. A video needs more decisions: whose shape, which
# reference frame, how much smoothing, which speed, which audio. You see the effect of each.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - derive relative motion, for points and for Jacobians, and show where absolute motion fails;
# - choose the reference frame of the movement, and say why it matters;
# - compute once what depends only on the source, and measure the time saved;
# - make videos of any length with constant memory, and keep audio and frame times;
# - animate your own portrait by mouse, and say which uses are not allowed.
#
# | | |
# |---|---|
# | Know first | keypoints and Jacobians (notebook 03); dense motion and occlusion (04, 05) |
# | Minutes | 45 to read and run, 40 to practise |
# | GPU | no; about half a minute on one CPU core |
# | Paper | section 3.4 (relative motion transfer) |
# | Module | `fomm_lib/animation/animate.py`, with `animator.py` and `movement.py` |

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
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from matplotlib import pyplot as plt

import fomm_lib as fomm
from fomm_lib import geometry
from fomm_lib.animation import movement
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb08_animation import (
    check_nearest_pose,
    check_relative_jacobian,
    check_smoothing_error,
)
from fomm_lib.course.preview import preview
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, VideoWriter, read_image

# %% [markdown]
# We use the small model, a photograph, and the course's driving video: a rendered head that turns, talks and
# tilts. Every fifth frame is enough. `large` is the same video, cropped closer.

# %%
torch.set_num_threads(1)
plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

model = fomm.load_model("heads-64", device="cpu")
portrait = read_image(fomm.data_path("portrait.jpg"))
frames = list(VideoReader(fomm.data_path("driving.mp4")))[::5]
large = [frame[30:200, 20:190] for frame in frames]


def tensors(images):
    return torch.stack([to_tensor(image, model.size) for image in images])


source, driving, driving_large = tensors([portrait]), tensors(frames), tensors(large)
print("source", tuple(source.shape), "driving", tuple(driving.shape))

# %% [markdown]
# ## The problem as one image
#
# The simplest method: detect the keypoints in each driving frame, and use them for the source. That is
# **absolute** motion. Below it: **relative** motion, the topic of this notebook.

# %%
with torch.inference_mode():
    absolute = fomm.Animator(model, source, relative=False)(driving_large).prediction
    relative = fomm.Animator(model, source)(driving_large).prediction
moments = [0, 10, 12, 14, 19]
rows = [[image[i] for i in moments] for image in (driving_large, absolute, relative)]
plots.show(
    plots.image_grid(rows, row_titles=["driving", "absolute", "relative"]),
    alt="five moments in three rows. Driving: a large rendered head. Absolute: the woman of "
    "the portrait, her face stretched towards the rendered head's size and shape. Relative: "
    "her own shape, the same movement, blurred.",
    colours=256,
)

# %% [markdown]
# *Figure 1. Absolute motion transfers the driving head's position, size and shape; relative motion transfers
# only its movement.*
#
# > **Think!** In the first column nothing has moved yet. Why is the absolute result already wrong there?
#
# ## 1. Movement without shape
#
# Keypoints depend on the movement, and also on the shape of the head and its position in the image. In the
# difference of *two frames of one video* the head is the same, so its shape cancels:
#
# $$p = p_S + s\,(p_D - p_{D_0})$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p_S$ | keypoints of the source | (K, 2) | -1 to 1 | `p_source` |
# | $p_D$ | keypoints of a driving frame | (K, 2) | -1 to 1 | `p_driving` |
# | $p_{D_0}$ | keypoints of the reference frame, usually the first | (K, 2) | -1 to 1 | `p_initial` |
# | $s$ | size of the source's head / size of the driving head | | about 1 | `scale` |
#
# Three points, brow, nose and chin: a small head on the left, and a large one on the right that nods.

# %%
p_source = torch.tensor([[-0.6, -0.3], [-0.55, 0.0], [-0.6, 0.3]])
p_initial = torch.tensor([[0.4, -0.7], [0.55, 0.0], [0.4, 0.7]])
p_driving = p_initial + torch.tensor([[0.15, 0.1], [0.1, 0.15], [-0.1, 0.05]])
p_moved = p_source + 1.0 * (p_driving - p_initial)

# %% [markdown]
# Before and after:

# %% tags=["hide-input"]
# @title The same movement, from two positions
figure, axis = plt.subplots(figsize=(5, 3.2))
for before, after, colour, name in (
    (p_initial, p_driving, BLUE, "driving"),
    (p_source, p_moved, ORANGE, "source"),
):
    axis.plot(*before.T, "o-", color=colour, alpha=0.4, label=f"{name}, before")
    axis.plot(*after.T, "s-", color=colour, label=f"{name}, after")
axis.set(xlim=(-1, 1), ylim=(1, -1), xlabel="x, -1 to 1", ylabel="y, -1 to 1")
axis.legend(loc="upper center", fontsize=8)
plots.show(
    figure,
    alt="two lines of three points; both make the same movement, each from its own position",
)

# %% [markdown]
# *Figure 2. The source's points make the movement of the driving ones, from their own positions.* For a small
# head that is too much. With `adapt_scale`, $s$ is the square root of the ratio of the areas of the two
# **convex hulls** (the smallest convex polygons around the points). The library does the same:

# %%
one = [Keypoints(points[None]) for points in (p_source, p_driving, p_initial)]
assert torch.allclose(movement.relative_motion(*one).value[0], p_moved)
scaled = movement.relative_motion(*one, adapt_scale=True).value[0]
areas = [movement.hull_area(points) for points in (p_source, p_initial)]
scale = (areas[0] / areas[1]) ** 0.5
assert torch.allclose(scaled, p_source + scale * (p_driving - p_initial), atol=1e-6)
print(f"areas {areas[0]:.3f} and {areas[1]:.3f}, so s = {scale:.3f}")

# %% [markdown]
# ## 2. Rotation: the same idea for matrices
#
# A Jacobian says how the neighbourhood of a keypoint is rotated and stretched, relative to the abstract
# reference frame of the theory (notebook 03). Changes of matrices are products. First invert the driving
# head's initial state, then apply its current one, and both *after* the source's own state:
#
# $$J = J_D\, J_{D_0}^{-1}\, J_S$$
#
# A toy example: the source is tilted by 10 degrees. The driving head is upright, then stretched by half along
# x.


# %%
def turn(degrees):
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    return torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )


j_source, j_initial = turn(10), turn(0)
j_driving = torch.diag(torch.tensor([1.5, 1.0]))
undone = geometry.inverse_2x2(j_initial)
j_moved = j_driving @ undone @ j_source
other_order = j_source @ j_driving @ undone
kp = [Keypoints(torch.zeros(1, 1, 2), j[None, None]) for j in (j_source, j_driving, j_initial)]
assert torch.allclose(movement.relative_motion(*kp).jacobian[0, 0], j_moved, atol=1e-5)
print(f"in the other order an entry differs by {(j_moved - other_order).abs().max():.2f}")

# %% [markdown]
# In the wrong order the head would be stretched along *its own*, tilted axis. There is no error message; on
# videos with little tilt the result even looks right.
#
# ## 3. What absolute motion transfers
#
# The area of the hull of the keypoints measures the size of a head. We compare three heads: source, driving
# frame, result.

# %%
with torch.inference_mode():
    kp_source, kp_large = model.detect(source), model.detect(driving_large)
    shown = {"absolute": model.detect(absolute), "relative": model.detect(relative)}
own = movement.hull_area(kp_source.value[0])
taken = np.array([movement.hull_area(value) for value in kp_large.value])
sizes = {name: [movement.hull_area(v) for v in kp.value] for name, kp in shown.items()}
print(f"mean area: source {own:.2f}, driving {taken.mean():.2f}", end="")
for name, values in sizes.items():
    print(f", {name} {np.mean(values):.2f}", end="")

# %% [markdown]
# Frame by frame:

# %% tags=["hide-input"]
# @title Size of the head by frame
figure, axis = plt.subplots(figsize=(6, 2.8))
axis.plot(taken, color=BLACK, linestyle=":", label="driving head")
for (name, values), colour, mark in zip(sizes.items(), (RED, GREEN), "os", strict=True):
    axis.plot(values, mark + "-", color=colour, label=name)
axis.axhline(own, color=BLUE, linestyle="--", label="source")
axis.set(xlabel="frame", ylabel="area of the hull,\n[-1, 1] units squared")
axis.legend(fontsize=8, ncols=2)
plots.show(
    figure,
    alt="area of the keypoints' hull by frame: the absolute result lies half way between "
    "source and driving head, the relative one near the source, except when the driving head "
    "turns",
)

# %% [markdown]
# *Figure 3. In absolute mode the head comes about half way to the driving head's size; in relative mode it
# keeps its own, and changes when the driving head turns.*
#
# Is absolute motion ever right? Yes: if source and driving frames show *the same* head, as in training and in
# reconstruction (notebook 09). Then relative motion is worse: it never corrects a wrong start.
#
# ## 4. Compute once what depends on the source
#
# The published code runs detector and encoder on the source *again* for every frame. We measure both ways on
# your machine:


# %%
def seconds(work):
    started = time.perf_counter()
    with torch.inference_mode():
        result = work()
    return time.perf_counter() - started, result


some = driving[:8]
animator = fomm.Animator(model, source, relative=False)


def again():
    return torch.cat([model(source, frame[None]).prediction for frame in some])


def once():
    return animator(some).prediction


for work in (again, once):
    seconds(work)  # the first run is always slower
(slow, expected), (fast, got) = seconds(again), seconds(once)
assert torch.allclose(got, expected, atol=1e-3)

# %% [markdown]
# The images are the same; the time for each frame:

# %% tags=["nbval-ignore-output"]
print(f"again for every frame: {1000 * slow / 8:.0f} ms a frame")
print(f"once: {1000 * fast / 8:.0f} ms a frame, {slow / fast:.1f} times as fast")

# %% [markdown]
# One part of the gain is the cache, the other that the animator also rearranges the networks (batch norms are
# folded into the convolutions before them). `docs/speed.md` has a table of all ways to be faster.
#
# The steps between source and prediction in one figure:

# %%
with torch.inference_mode():
    animator = fomm.Animator(model, source)
    animator(driving[:1])
    generated = animator(driving[[5, 10, 19]], with_visuals=True)
hidden = 1 - generated.occlusion_map
print(f"1 - O is at most {float(hidden.max()):.1f}")

# %% [markdown]
# The maps are stretched, so that their smallest value is black:

# %% tags=["hide-input"]
# @title Source, driving frame, warped source, map, prediction
stretched = 1 - hidden / hidden.amax(dim=(1, 2, 3), keepdim=True)
occlusion = torch.nn.functional.interpolate(stretched, size=model.size).expand(-1, 3, -1, -1)
rows = [
    [source[0], driving[i], generated.deformed[n], occlusion[n], generated.prediction[n]]
    for n, i in enumerate((5, 10, 19))
]
titles = ["source", "driving", "source, warped", "occlusion", "prediction"]
plots.show(
    plots.image_grid(rows, titles),
    alt="three rows of five images: source, driving frame, the source warped, the occlusion "
    "map, and the prediction. The map is darkest along some edges of head and collar",
    colours=256,
)

# %% [markdown]
# *Figure 4. Dark in the map: to be generated, not copied. This small model masks little, and leaves most to
# its decoder (notebook 05).*
#
# ## 5. Strength, smoothing, resolution
#
# Between detection and generation there are only points and matrices (ten; sixteen in `heads-256`), which we
# can change.
# **Strength** $a$ exaggerates the movement: $p = p_S + a\,(p_{\text{moved}} - p_S)$. Here with the sharper
# model `heads-256`:

# %%
sharp = fomm.load_model("heads-256", device="cpu")
frame_256, source_256 = (to_tensor(x, sharp.size)[None] for x in (frames[5], portrait))
first_256 = to_tensor(frames[0], sharp.size)[None]
with torch.inference_mode():
    animator = fomm.Animator(sharp, source_256)
    animator(first_256)
    start, moved = sharp.detect(source_256), animator.move(animator.detect(frame_256))
    strengths = [0.0, 0.5, 1.0, 1.5, 2.5]
    stronger = [movement.exaggerated(start, moved, a) for a in strengths]
    row = [animator.generate(kp).prediction[0] for kp in stronger]
plots.show(
    plots.image_grid([row], [f"strength {a:g}" for a in strengths]),
    alt="the portrait at five strengths of one turn: none, half, as in the video, with a long "
    "neck at 1.5, torn at 2.5",
    colours=256,
)

# %% [markdown]
# *Figure 5. One movement at five strengths. Beyond the movements of the training data, the image tears.*
#
# **Smoothing** reduces jitter: each frame is detected separately, so keypoints have noise from frame to
# frame. A Gaussian of $\sigma$ frames, over neighbours on both sides, divides white noise by
# $\sqrt{2\sqrt{\pi}\,\sigma}$ and adds no delay.

# %%
steps = torch.linspace(0, 6, 60)
path = torch.stack([0.3 * steps.sin(), 0 * steps], dim=-1)[:, None]
noisy = path + 0.03 * torch.randn(path.shape, generator=torch.Generator().manual_seed(0))
items = [(Keypoints(noisy[i : i + 1]), i) for i in range(60)]


def smooth(items, sigma):
    return torch.cat([kp.value for kp, _ in movement.smoothed(items, sigma)])


curves = {sigma: smooth(items, sigma) for sigma in (1.0, 2.0, 6.0)}
print(f"mean error before: {(noisy - path).square().mean().sqrt():.3f}")
for sigma, curve in curves.items():
    print(f"smoothed over {sigma:g} frames: {(curve - path).square().mean().sqrt():.3f}")

# %% [markdown]
# (Root of the mean square; coordinates run from -1 to 1.)

# %% tags=["hide-input"]
# @title Three strengths of smoothing
figure, axis = plt.subplots(figsize=(6, 2.8))
axis.plot(noisy[:, 0, 0], ".", color=BLACK, label="as detected")
for (sigma, curve), colour in zip(curves.items(), (SKY, GREEN, RED), strict=True):
    axis.plot(curve[:, 0, 0], color=colour, label=f"smoothed over {sigma:g}")
axis.set(xlabel="frame", ylabel="x of a keypoint, -1 to 1")
axis.legend(fontsize=8)
plots.show(
    figure,
    alt="noisy points and three smooth curves; the one over 6 frames cuts the peaks off",
)

# %% [markdown]
# *Figure 6. Smoothing over 2 frames removes two thirds of the error; over 6 it removes some of the movement
# too, and the error is almost that of the noise: the peaks are cut off.*
#
# **Higher resolution**: flow and occlusion are smooth and can be enlarged. So estimate the *motion* at the
# size of the training, and generate the image at a larger one. `size=256` does this without new training;
# convolutions work at any size.

# %%
two = [frames[0], frames[5]]
small, fine, finest = (
    list(fomm.animate_frames(network, portrait, two, size=size))[1]
    for network, size in ((model, 64), (model, 256), (sharp, 256))
)
titles = ["source", "driving", "64, size=64", "64, size=256", "heads-256"]
plots.show(
    plots.image_grid([[portrait, frames[5], small, fine, finest]], titles),
    alt="the portrait turned like the driving head: blurred by heads-64 at 64 x 64, with sharp "
    "hair and eyes at 256 x 256, by heads-64 and by heads-256, whose hair is smeared behind "
    "and whose far cheek fades",
    colours=256,
)

# %% [markdown]
# *Figure 7. The same motion of `heads-64`, a finer image; `heads-256` turns the head farther.* Parts that are
# not visible in the source are not generated any better: look at the side of the head that was turned away.
#
# What does *not* work with these keypoints: moving only the mouth, or only the pose. Split the movement of
# the ten points in the affine map that fits all of them best (the head?) and the rest (the expression?). On
# rendered heads the first explains 0.99 of the variance of the head's rotation, but the rest 1.00; of the
# opening of the mouth they explain 0.37 and 0.50. Pose and expression are in the same points
# (`python -m experiments.movement`).
#
# ## 6. By mouse: your own portrait
#
# Run the cell, choose or upload a portrait (only of a person who agreed!), move the sliders, press *animate*.

# %% tags=["nbval-ignore-output"]
still = plots.image_grid([[portrait, frames[5], finest]], ["portrait", "driving", "result"])
panel = preview(model)
plots.show_widget(
    panel,
    still,
    alt="a panel with menus for portrait and driving video, an upload button, sliders for "
    "strength and smoothing, and a button animate; as a still image: portrait, driving frame, "
    "result",
)

# %% [markdown]
# On the command line the same is
#
# ```bash
# fomm animate --source me.jpg --driving clip.mp4 --output moving.mp4 \
#     --crop auto --best-frame auto
# ```
#
# where `--crop auto` finds both faces and crops them like the training data (extra `faces`), and
# `--paste-back` puts the result back into the whole image.
#
# ## From toy to library
#
# `fomm.animate` does all of this from file to file. We test it with a short video whose frames have uneven
# times, as in videos from a phone:

# %%
folder = Path(tempfile.mkdtemp())
times = np.cumsum([0, 0.04, 0.04, 0.12, 0.04, 0.36, 0.04, 0.2])
with VideoWriter(folder / "video.mp4", fps=25, size=(256, 256), time_base=1 / 1000) as writer:
    for frame, seconds_since_start in zip(frames, times, strict=False):
        writer.write(frame, seconds_since_start)
result = fomm.animate(
    model, portrait, folder / "video.mp4", folder / "moving.mp4", size=64, progress=False
)
video, made = VideoReader(folder / "video.mp4"), VideoReader(result.path)
print(result.frames, "frames of", result.size)
late = max(abs(a - b) for a, b in zip(made.times, video.times, strict=True))
print(f"largest difference of a frame's time: {float(late):.3f} s")

# %% [markdown]
# Frames are streamed: one thread decodes, the network runs, another thread encodes, and only a few frames are
# in memory at any time, however long the video is. Audio is copied with its timing. The file name determines
# the format: `.mp4`, `.webm`, `.gif`, `.apng`, or a folder of frames; the header of each says that it is
# generated:

# %%
with av.open(str(result.path)) as container:
    print(container.metadata["comment"].split(":")[0])

# %% [markdown]
# In a script `animate_frames` gives the frames one by one. `FastModel` is a trained model rearranged for
# speed; make it yourself to animate many portraits. It encodes a portrait once, as an `EncodedSource`.
# `LiveAnimator` (`fomm live`, extra `live`) takes one image of a camera and returns one: its smoothing knows
# only past images, and has a small delay.

# %%
shapes = [frame.shape for frame in fomm.animate_frames(model, portrait, frames[:2], size=64)]
print("animate_frames:", shapes)
fast_model = fomm.FastModel(model)
known = fast_model.encode(source)
assert isinstance(known, fomm.EncodedSource)
with torch.inference_mode():
    reference = fast_model.detect(driving[:1]).expand(3)
    kp_three = fast_model.detect(driving[5:8])
    kp_driven = movement.relative_motion(kp_source.expand(3), kp_three, reference)
    made_fast = fast_model.generate(known.expand(3), kp_source.expand(3), kp_driven).prediction
    many = source.expand(3, -1, -1, -1)
    expected = model.generate(many, kp_source.expand(3), kp_driven).prediction
assert torch.allclose(made_fast, expected, atol=1e-3)
print("one portrait", tuple(known.features.shape), "for three frames:", tuple(made_fast.shape))
follow = fomm.LiveAnimator(fast_model, portrait, find_faces=False)
print("live, enlarged for display:", [follow(frame).shape for frame in frames[:2]])

# %% [markdown]
# `export_model` writes the three networks as ONNX files, which other programs can run; `ExportedModel` runs
# them and can replace the model. (It needs the extra `export`; without it the cell prints a message.)

# %% tags=["nbval-ignore-output"]
try:
    files = fomm.export_model(model, folder / "onnx")
    exported = fomm.ExportedModel(folder / "onnx", threads=1)
    outside = fomm.Animator(exported, source)(driving[:8]).prediction
    inside = fomm.Animator(model, source)(driving[:8]).prediction
    print(*[f"{file.name}: {file.stat().st_size / 1e6:.1f} MB" for file in files], sep="\n")
    print(f"largest difference of a colour: {float((outside - inside).abs().max()):.6f}")
except fomm.InputError as missing:
    print(missing)

# %% [markdown]
# ## Break it
#
# Relative motion means: *move as much as the driving head has moved since the reference frame*. That works if
# both heads start in **the same pose**. Now the source is a rendered head that looks ahead, and the video
# starts with the head turned away:

# %%
clip = VideoReader(fomm.data_path("heads", "test", "synth2-00001#00001#0#48.mp4"))
frontal = tensors(list(clip)[20:21])
turned = driving[5:]
with torch.inference_mode():
    wrong = fomm.Animator(model, frontal)(turned).prediction
straight = [2, 6, 12, 18]
plots.show(
    plots.image_grid(
        [[turned[0], *turned[straight]], [wrong[0], *wrong[straight]]],
        ["reference", *[f"frame {i}" for i in straight]],
        ["driving", "relative"],
    ),
    alt="top: a head turned away in the reference frame, then other poses. Bottom: the source, "
    "which looks ahead in the reference frame, turns to the other side when the driving head "
    "looks ahead",
    colours=256,
)

# %% [markdown]
# *Figure 8. A wrong start: when the driving head turns back to the front, the source turns away from it.*
#
# The solution: use as reference the frame whose pose is nearest to the source's. Compare the *shapes* of the
# two sets of keypoints, without their position and size:
#
# $$d = \sum_k \lVert n(p_S)_k - n(p_D)_k \rVert^2, \qquad
# n(p) = \frac{p - \bar p}{\sqrt{\operatorname{area}(\operatorname{hull}(p))}}$$
#
# where $\bar p$ is the mean of the points.

# %%
with torch.inference_mode():
    kp_frontal, kp_turned = model.detect(frontal), model.detect(turned)
distance = movement.pose_distance(kp_frontal, kp_turned)
best = int(distance.argmin())
print("best frame:", best)

# %% [markdown]
# The distance of every frame:

# %% tags=["hide-input"]
# @title Distance of poses by frame
figure, axis = plt.subplots(figsize=(6, 2.4))
axis.plot(distance, "o-", color=BLUE)
axis.plot(best, distance[best], "s", color=RED, markersize=9, label=f"best frame: {best}")
axis.set(xlabel="driving frame", ylabel="distance of poses", xticks=range(0, 20, 2))
axis.legend()
plots.show(
    figure,
    alt="the distance of poses by frame, from 0.07 to 0.37; it is smallest in frames 8 and 12, "
    "and largest in frame 10, where the head looks up",
)

# %% [markdown]
# *Figure 9. One number for each frame, without labels.* It is a help, not a proof: on 352 pairs of rendered
# heads the chosen frame is 18 degrees away from the source's pose on average; the first frame 25, the best
# possible 15 (`python -m experiments.movement`).

# %%
animator = fomm.Animator(model, frontal)
animator.set_reference(kp_turned[best : best + 1])
with torch.inference_mode():
    right = animator(turned).prediction
    unmoved = model(frontal, frontal).prediction[0]
assert torch.allclose(right[best], unmoved, atol=1e-2)  # in that frame nothing has moved
plots.show(
    plots.image_grid(
        [[images[i] for i in (0, *straight)] for images in (turned, wrong, right)],
        row_titles=["driving", "first", "best"],
    ),
    alt="three rows: driving; relative to the first frame; relative to the best frame, in "
    "which the source looks ahead when the driving head does",
    colours=256,
)

# %% [markdown]
# *Figure 10. With the best frame as reference, the source looks ahead when the driving head does.*
# `best_frame="auto"` does this for a file. It reads the video twice instead of keeping it in memory. If both
# show faces, and the extra `faces` is installed, `animate` compares 68 landmarks with the same formula.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged cell does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · Relative motion of Jacobians
#
# *find the bug · difficulty 2 of 5 · importance 5 of 5 · 10 minutes*
#
# With upright sources this function gives good videos. With tilted ones the heads are sheared. Find the line,
# and say why upright sources do not show it.


# %%
def relative_jacobian(j_source, j_driving, j_initial):
    """Three times (K, 2, 2) -> (K, 2, 2)."""
    change = geometry.multiply_2x2(j_driving, geometry.inverse_2x2(j_initial))
    return geometry.multiply_2x2(j_source, change)


check_relative_jacobian(relative_jacobian)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The source's own state is applied first, so it is the last factor. If it is the identity (upright), the
# order has no effect.
#
# ```python
# def relative_jacobian(j_source, j_driving, j_initial):
#     change = geometry.multiply_2x2(j_driving, geometry.inverse_2x2(j_initial))
#     return geometry.multiply_2x2(change, j_source)
# ```
#
# </details>
#
# ### Exercise 2 · The nearest pose
#
# *code · difficulty 3 of 5 · importance 4 of 5 · 15 minutes*
#
# Which of B sets of points is most like the source's, regardless of position and size? Subtract its mean from
# each set, divide it by its length $\sqrt{\sum_k \lVert p_k \rVert^2}$ (easier than the hull), and compare.


# %%
def nearest_pose(source, poses):
    """(K, 2) and (B, K, 2) -> the number of the nearest, 0 to B - 1."""
    raise NotImplementedError


check_nearest_pose(nearest_pose)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def nearest_pose(source, poses):
#     def shape(points):
#         points = points - points.mean(dim=-2, keepdim=True)
#         return points / points.square().sum(dim=(-2, -1), keepdim=True).sqrt()
#
#     return int((shape(poses) - shape(source)).square().sum(dim=(-2, -1)).argmin())
# ```
#
# </details>

# %% [markdown]
# ### Exercise 3 · How much smoothing?
#
# *experiment · difficulty 2 of 5 · importance 3 of 5 · 15 minutes*
#
# The keypoint below moves twice as fast as that of section 5. Predict: how does the error (root of the mean
# square, against `true_path`) change with $\sigma$ = 0.5, 1, 2, 4 and 8 frames? Then measure, with `smooth`
# of section 5 or `movement.smoothed`. Where is the best $\sigma$, compared with section 5?

# %%
times = torch.linspace(0, 12, 60)
true_path = torch.stack([0.3 * times.sin(), 0 * times], dim=-1)[:, None]
random = torch.Generator().manual_seed(1)
found = true_path + 0.03 * torch.randn(true_path.shape, generator=random)
prediction = None  # "rises", "falls", or "falls, then rises"
measured = {}  # {sigma: error}, for 0.5, 1, 2, 4 and 8
check_smoothing_error(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# items = [(Keypoints(found[i : i + 1]), i) for i in range(60)]
# measured = {}
# for sigma in (0.5, 1, 2, 4, 8):
#     curve = torch.cat([kp.value for kp, _ in movement.smoothed(items, sigma)])
#     measured[sigma] = float((curve - true_path).square().mean().sqrt())
# prediction = "falls, then rises"
# check_smoothing_error(prediction, measured)
# ```
#
# Noise falls with sigma, and what is lost of the movement grows; a faster movement needs a smaller sigma.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | the face gets the driving person's shape | absolute motion | `--relative`, which is the default |
# | the head turns away and should look ahead | the reference has another pose | `--best-frame auto` |
# | movements are too large or too small | heads of different size | `--adapt-scale`, `--strength` |
# | the face jitters | keypoints are detected frame by frame | `--smooth 1` |
# | blinks are gone | smoothed over too many frames | a smaller `--smooth` |
# | the face is stretched, or hair and chin are cut off | not cropped like the training data | `--crop auto` |
# | noise instead of a face | the model is in training mode | `model.eval()` |

# %% [markdown]
# ## What it must not be used for
#
# The same code that makes a painting smile can show movements of a person who never made them. So:
#
# - **Ask.** Animate only yourself, people who agreed to exactly this use, or faces of no real person.
# - **Say so.** Every file made here carries "AI-generated" in its header; leave it there, and use
#   `--watermark` for videos that people will watch. Many countries' laws require it.
# - **Never** use it to deceive, to impersonate someone (video calls and identity checks included), to show
#   someone with words or intimate acts that are not theirs, or to influence votes. Most of that is a crime.
# - **It proves nothing.** Such a video is no evidence of what the person did, felt or said.

# %% [markdown]
# ## Questions
#
# **1.** In relative mode, what does the first frame of the result show, if the first driving frame is the
# reference?
#
# <details><summary>Answer</summary>
#
# The source, as the model reconstructs it: $p_D - p_{D_0} = 0$ and $J_D J_{D_0}^{-1} = I$, so its keypoints
# do not change. The driving head has no influence.
#
# </details>
#
# **2.** Source and driving video show the same person in the same recording. Absolute or relative?
#
# <details><summary>Answer</summary>
#
# Absolute: the shapes agree, so they need not be separated, and an error in the reference frame does not
# affect all other frames.
#
# </details>
#
# **3.** Why is the best frame found by two passes over the file and not by one pass over a list of frames?
#
# <details><summary>Answer</summary>
#
# The list would keep the whole video in memory: 256 x 256 x 3 bytes a frame are 0.2 MB, about 300 MB a minute
# at 25 frames a second, and 1080p takes thirty times that.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can transfer movements without the shape of the person, choose the reference frame, compute constant
# parts once, and make labelled videos of any length.
#
# Next: **09 · Evaluation** asks how good these videos are, in numbers.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.4. Siarohin et al., *Animating Arbitrary
# Objects via Deep Motion Transfer*, CVPR 2019 (relative transfer of keypoints). Partnership on AI,
# *Responsible Practices for Synthetic Media*, 2023.
