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
# reference frame, how much smoothing, which speed, which audio. You make all of them, and see the effect of
# each.

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
# | Minutes | 30 to read and run, 25 to practise |
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
    check_relative_place,
)
from fomm_lib.course.preview import preview
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, VideoWriter, read_image

# %% [markdown]
# We use the small model, a photograph, and the course's driving video: a rendered head that turns, talks and
# tilts. Every fifth frame is enough. `large` is the same video cropped closer: the head fills more of the
# image.

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
# **absolute** motion. The row below it shows the topic of this notebook: **relative** motion.

# %%
with torch.inference_mode():
    absolute = fomm.Animator(model, source, relative=False)(driving_large).prediction
    relative = fomm.Animator(model, source)(driving_large).prediction
moments = [0, 5, 10, 14, 19]
rows = [[image[i] for i in moments] for image in (driving_large, absolute, relative)]
plots.show(
    plots.image_grid(rows, row_titles=["driving", "absolute", "relative"]),
    alt="five moments in three rows. Driving: a large rendered head. Absolute: the woman of the portrait, "
    "her face stretched to the rendered head's size and shape. Relative: her own shape, the same movement.",
    colours=256,
)

# %% [markdown]
# *Figure 1. Absolute motion transfers the driving head's position, size and shape; relative motion transfers
# only its movement.*
#
# > **Think!** In the first column nothing has moved yet. Why is the absolute result already wrong there?
#
# ## 1. From two toy frames: movement without shape
#
# Keypoints give the positions of the parts of a head. These depend on the movement, and also on the shape of
# the head and its position in the image. In the difference of *two frames of one video* the head is the same,
# so its shape cancels:
#
# $$p = p_S + s\,(p_D - p_{D_0})$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p_S$ | keypoints of the source | (K, 2) | -1 to 1 | `p_source` |
# | $p_D$ | of a driving frame | (K, 2) | -1 to 1 | `p_driving` |
# | $p_{D_0}$ | of the reference frame, usually the first | (K, 2) | -1 to 1 | `p_initial` |
# | $s$ | size of the source's head / size of the driving head | | about 1 | `scale` |
#
# Three points, brow, nose and chin: a small head on the left, and a large one on the right that nods.

# %%
p_source = torch.tensor([[-0.6, -0.3], [-0.55, 0.0], [-0.6, 0.3]])
p_initial = torch.tensor([[0.4, -0.7], [0.55, 0.0], [0.4, 0.7]])
p_driving = p_initial + torch.tensor([[0.15, 0.1], [0.1, 0.15], [-0.1, 0.05]])
p_moved = p_source + 1.0 * (p_driving - p_initial)

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
    figure, alt="two triangles of points; both make the same small movement, each from its own position"
)

# %% [markdown]
# *Figure 2. The source's points make the movement of the driving ones, from their own positions.* The library
# does the same:

# %%
one = [Keypoints(points[None]) for points in (p_source, p_driving, p_initial)]
assert torch.allclose(movement.relative_motion(*one).value[0], p_moved)
scaled = movement.relative_motion(*one, adapt_scale=True).value[0]
print(
    "with adapt_scale the movement is smaller:",
    bool((scaled - p_source).norm() < (p_moved - p_source).norm()),
)

# %% [markdown]
# The same movement is too large for the small head. With `adapt_scale`, $s$ is the square root of the ratio
# of the areas of the two **convex hulls** (the smallest convex polygons around the points), and the movement
# fits the head.

# %%
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
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $J_S, J_D, J_{D_0}$ | Jacobians of the three images | (K, 2, 2) | about the identity | `kp.jacobian` |
#
# A toy example: the source is tilted by 10 degrees. The driving head is upright, then stretched by half along
# x.


# %%
def turn(degrees):
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    return torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])


j_source, j_initial = turn(10), turn(0)
j_driving = torch.diag(torch.tensor([1.5, 1.0]))
undone = geometry.inverse_2x2(j_initial)
j_moved = j_driving @ undone @ j_source
other_order = j_source @ j_driving @ undone
kp = [Keypoints(torch.zeros(1, 1, 2), j[None, None]) for j in (j_source, j_driving, j_initial)]
assert torch.allclose(movement.relative_motion(*kp).jacobian[0, 0], j_moved, atol=1e-5)
print("the order matters:", not torch.allclose(j_moved, other_order, atol=1e-2))

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
figure, axis = plt.subplots(figsize=(6, 2.8))
axis.plot(taken, color=BLACK, linestyle=":", label="driving head")
for (name, kp), colour, mark in zip(shown.items(), (RED, GREEN), "os", strict=True):
    axis.plot([movement.hull_area(value) for value in kp.value], mark + "-", color=colour, label=name)
axis.axhline(own, color=BLUE, linestyle="--", label="source")
axis.set(xlabel="frame", ylabel="area of the hull,\n[-1, 1] units squared")
axis.legend(fontsize=8, ncols=2)
plots.show(
    figure,
    alt="area of the keypoints' hull by frame: the absolute result lies between source and driving head, the "
    "relative one near the source, except when the driving head turns",
)
growth = {name: movement.hull_area(kp.value.mean(dim=0)) / own for name, kp in shown.items()}
print("the driving head is larger than the source's:", movement.hull_area(kp_large.value.mean(dim=0)) > own)
print("absolute motion has made the head larger:", growth["absolute"] > 1.2)
print("relative motion has kept its size:", abs(growth["relative"] - 1) < 0.1)

# %% [markdown]
# *Figure 3. In absolute mode the head approaches the driving head's size; in relative mode it keeps its own,
# and changes as the driving head's does when it turns. The printed lines say the same for the mean over all
# frames.*
#
# Is absolute motion ever right? Yes: if source and driving frames show *the same* head, as in training and in
# reconstruction (notebook 09), or if the source must move to the driving position. Then relative motion is
# worse: it never corrects a wrong start.
#
# ## 4. Compute once what depends on the source
#
# The published code runs detector and encoder on the source *again* for every frame. But the source never
# changes: its keypoints and its features are the same for all frames. We measure both ways on your machine:


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
print(f"again for every frame: {1000 * slow / 8:.0f} ms a frame; once: {1000 * fast / 8:.0f} ms a frame")
print(f"that is {slow / fast:.1f} times as fast")

# %% [markdown]
# The numbers depend on your machine. One part of the gain is the cache, the other that the animator also
# rearranges the networks (batch norms are folded into the convolutions before them; see
# `fomm_lib/animation/fast.py`). The images agree to within a thousandth. The README has a table of all ways
# to be faster, `bfloat16` and 8-bit integers too, with the loss of precision of each.
#
# The steps between source and prediction in one figure:

# %%
with torch.inference_mode():
    animator = fomm.Animator(model, source)
    animator(driving[:1])
    generated = animator(driving[[5, 10, 19]], with_visuals=True)
hidden = 1 - generated.occlusion_map
print(f"hidden is at most {float(hidden.max()):.1f}")
stretched = 1 - hidden / hidden.amax(dim=(1, 2, 3), keepdim=True)  # the smallest value becomes black
occlusion = torch.nn.functional.interpolate(stretched, size=model.size).expand(-1, 3, -1, -1)
rows = [
    [source[0], driving[i], generated.deformed[n], occlusion[n], generated.prediction[n]]
    for n, i in enumerate((5, 10, 19))
]
titles = ["source", "driving", "source, warped", "occlusion", "prediction"]
plots.show(
    plots.image_grid(rows, titles),
    alt="three rows of five images: source, driving frame, the source warped, the occlusion map, and the "
    "prediction. The map is darkest along edges that move",
    colours=256,
)

# %% [markdown]
# *Figure 4. Source | driving | warped | occlusion | prediction. Dark in the occlusion map: to be generated,
# not copied. The maps are stretched to make them visible; this small model masks little, and leaves most to
# its decoder (notebook 05).*
#
# ## 5. Strength, smoothing, resolution
#
# Between detection and generation there are only ten points and ten matrices, which we can change.
# **Strength** $a$ exaggerates the movement: $p = p_S + a\,(p_{\text{moved}} - p_S)$.

# %%
with torch.inference_mode():
    animator.set_reference(None)
    animator(driving[:1])
    moved = animator.move(animator.detect(driving[5:6]))
    strengths = [0.0, 0.5, 1.0, 1.5, 2.5]
    row = [animator.generate(movement.exaggerated(kp_source, moved, a)).prediction[0] for a in strengths]
plots.show(
    plots.image_grid([row], [f"strength {a:g}" for a in strengths]),
    alt="the portrait at five strengths of one turn: none, half, as in the video, more, and torn at 2.5",
    colours=256,
)

# %% [markdown]
# *Figure 5. One movement at five strengths. Beyond the movements of the training data, the image tears.*
#
# **Smoothing** reduces jitter: keypoints have noise from frame to frame, since each frame is detected
# separately. A Gaussian over neighbouring frames, on both sides, removes the noise and adds no delay. A
# Gaussian of $\sigma$ frames reduces white noise by a factor of $\sqrt{2\sqrt{\pi}\,\sigma}$.

# %%
steps = torch.linspace(0, 6, 60)
path = torch.stack([0.3 * steps.sin(), 0 * steps], dim=-1)[:, None]
noisy = path + 0.03 * torch.randn(path.shape, generator=torch.Generator().manual_seed(0))
items = [(Keypoints(noisy[i : i + 1]), i) for i in range(60)]
curves = {f: torch.cat([kp.value for kp, _ in movement.smoothed(items, f)]) for f in (1.0, 2.0, 6.0)}
figure, axis = plt.subplots(figsize=(6, 2.8))
axis.plot(noisy[:, 0, 0], ".", color=BLACK, label="as detected")
for (sigma, curve), colour in zip(curves.items(), (SKY, GREEN, RED), strict=True):
    axis.plot(curve[:, 0, 0], color=colour, label=f"smoothed over {sigma:g}")
axis.set(xlabel="frame", ylabel="x of a keypoint, -1 to 1")
axis.legend(fontsize=8)
plots.show(figure, alt="noisy points and three smooth curves; the one over 6 frames cuts the peaks off")
error = {sigma: float((curve - path).square().mean().sqrt()) for sigma, curve in curves.items()}
before = float((noisy - path).square().mean().sqrt())
for sigma, after in error.items():
    print(f"over {sigma:g} frames, closer to the true path:", after < before)

# %% [markdown]
# *Figure 6. Smoothing over 2 frames removes the noise; over 6 it also removes some of the movement: the peaks
# are cut off.*
#
# **Higher resolution**: this model was trained at 64 x 64. But flow and occlusion are smooth and can be
# enlarged. So estimate the *motion* at 64 x 64, as in training, and encode, warp and decode the source at 256
# x 256. `size=256` does this without new training; convolutions work at any size.

# %%
two = [frames[0], frames[5]]
fine = list(fomm.animate_frames(model, portrait, two, size=256))[1]
plain = list(fomm.animate_frames(model, portrait, two))[1]
plots.show(
    plots.image_grid([[portrait, frames[5], plain, fine]], ["source", "driving", "64 x 64", "size=256"]),
    alt="the portrait turned like the driving head: blurred at 64 x 64, sharp hair and eyes at 256 x 256",
    colours=256,
)

# %% [markdown]
# *Figure 7. The same motion, a finer image.* Parts that are not visible in the source are not generated any
# better: look at the side of the face that was turned away.
#
# What does *not* work with these keypoints: moving only the mouth, or only the pose. We could try to split
# the movement of the ten points in two parts: the affine map that fits all of them best (the head as a
# whole), and the rest (the expression?). Measured on rendered heads, the rotation of the head can be
# predicted almost perfectly from the first part, but also from the second; and the opening of the mouth only
# half, from either. Pose and expression are in the same points (`python -m experiments.movement`).
#
# ## 6. By mouse: your own portrait
#
# Choose or upload a portrait (only of a person who agreed!), move the sliders, press *animate*. The panel
# uses only ipywidgets, and works in Jupyter and in Colab.

# %% tags=["nbval-ignore-output"]
panel = preview(model)
panel

# %% [markdown]
# For readers on paper: the panel has two menus, an upload button, sliders for strength and smoothing, two
# check boxes, a button, a progress bar and then the video, as in Figure 1 of notebook 00. On the command line
# the same is
#
# ```bash
# fomm animate --source me.jpg --driving clip.mp4 --output moving.mp4 --crop auto --best-frame auto --size 256
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
result = fomm.animate(model, portrait, folder / "video.mp4", folder / "moving.mp4", progress=False)
video, made = VideoReader(folder / "video.mp4"), VideoReader(result.path)
print(result.frames, "frames of", result.size)
print("as many frames, at the same times:", made.times == video.times)

# %% [markdown]
# Frames are streamed: one thread decodes, the network runs, another thread encodes, and only a few frames are
# in memory at any time. Ten minutes of video need as much memory as ten seconds (measured by
# `python -m benchmarks.animate`). Audio is copied with its timing. The file name determines the format:
# `.mp4`, `.webm`, `.gif`, `.apng`, or a folder of frames; the header of each says that it is generated:

# %%
with av.open(str(result.path)) as container:
    print(container.metadata["comment"].split(":")[0])

# %% [markdown]
# In a script you may need the frames one by one, from a file or a camera. `animate_frames` gives them. Below
# it, `FastModel` is a trained model rearranged for speed, which `animate`, `animate_frames` and `Animator`
# make from any model. Make it yourself once to animate many portraits, or to choose a precision. It encodes a
# portrait once, as an `EncodedSource`, which is used for any number of driving frames.
#
# For a camera, `fomm live --source me.jpg` opens a page in the browser (extra `live`): take the portrait's
# pose, which is the reference, and the portrait follows you. The page uses `LiveAnimator`, which takes one
# image and returns one image at a time. It does not know the next image, so its smoothing uses only past
# ones, and has a small delay. Here the video replaces the camera.

# %%
numbers = [frame.shape for frame in fomm.animate_frames(model, portrait, frames[:3])]
print(numbers)

fast_model = fomm.FastModel(model)
known = fast_model.encode(source)
assert isinstance(known, fomm.EncodedSource)
with torch.inference_mode():
    kp_driven = movement.relative_motion(
        kp_source.expand(3), fast_model.detect(driving[5:8]), fast_model.detect(driving[:1]).expand(3)
    )
    made_fast = fast_model.generate(known.expand(3), kp_source.expand(3), kp_driven).prediction
    expected = model.generate(source.expand(3, -1, -1, -1), kp_source.expand(3), kp_driven).prediction
print("one portrait", tuple(known.features.shape), "for three frames:", tuple(made_fast.shape))
print("the same images as the plain model's:", torch.allclose(made_fast, expected, atol=1e-3))

follow = fomm.LiveAnimator(fast_model, portrait, find_faces=False)
print("live, enlarged for display:", [follow(frame).shape for frame in frames[:3]])

# %% [markdown]
# **Outside PyTorch.** `export_model` writes the three networks (encode, detect, generate) as ONNX files,
# which other programs and processors can run; `ExportedModel` runs them with onnxruntime or OpenVINO and can
# replace the model, in `Animator` too. It needs the extra `export`; without it the cell prints a message.

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
# The reference frame is a choice, and with a wrong one the whole result is wrong.
#
# Relative motion means: *move as much as the driving head has moved since the reference frame*. That works if
# both heads start in **the same pose**. Now we take another source, a rendered head that looks ahead, and a
# video that starts with the head turned away:

# %%
clip = VideoReader(fomm.data_path("heads", "test", "synth2-00001#00001#0#48.mp4"))
frontal = tensors(list(clip)[20:21])
turned = driving[5:]
with torch.inference_mode():
    wrong = fomm.Animator(model, frontal)(turned).prediction
straight = [2, 9, 10, 14]
plots.show(
    plots.image_grid(
        [[turned[0], *turned[straight]], [wrong[0], *wrong[straight]]],
        ["reference", *[f"frame {i}" for i in straight]],
        ["driving", "relative"],
    ),
    alt="top: a head turned away in the reference frame, then other poses. Bottom: the source, which looks "
    "ahead in the reference frame, turns to the other side when the driving head looks ahead",
    colours=256,
)

# %% [markdown]
# *Figure 8. A wrong start: when the driving head turns back to the front, the source turns away from it.*
#
# The solution: use as reference the frame whose pose is nearest to the source's. Compare the *shapes* of the
# two sets of keypoints, without their position and size:
#
# $$d = \sum_k \lvert n(p_S)_k - n(p_D)_k \rvert^2, \qquad
# n(p) = \frac{p - \bar p}{\sqrt{\operatorname{area}(\operatorname{hull}(p))}}$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\bar p$ | mean of the points | (2,) | -1 to 1 | |
# | $n(p)$ | the pose: points without position and size | (K, 2) | | |
# | $d$ | distance of two poses | (T,) for T frames | 0 and more | `distance` |

# %%
with torch.inference_mode():
    kp_frontal, kp_turned = model.detect(frontal), model.detect(turned)
distance = movement.pose_distance(kp_frontal, kp_turned)
best = int(distance.argmin())
figure, axis = plt.subplots(figsize=(6, 2.4))
axis.plot(distance, "o-", color=BLUE)
axis.plot(best, distance[best], "s", color=RED, markersize=9, label=f"best frame: {best}")
axis.set(xlabel="driving frame", ylabel="distance of poses")
axis.legend()
plots.show(figure, alt="the distance of poses by frame; the smallest is marked as the best frame")

# %% [markdown]
# *Figure 9. One number for each frame, without labels: the keypoints show which pose is nearest.*

# %%
animator = fomm.Animator(model, frontal)
animator.set_reference(kp_turned[best : best + 1])
with torch.inference_mode():
    right = animator(turned).prediction
    still = model(frontal, frontal).prediction[0]
assert torch.allclose(right[best], still, atol=1e-2)  # in that frame nothing has moved
plots.show(
    plots.image_grid(
        [[images[i] for i in (0, *straight)] for images in (turned, wrong, right)],
        row_titles=["driving", "first", "best"],
    ),
    alt="three rows: driving; relative to the first frame; relative to the best frame, in which the source "
    "looks ahead when the driving head does",
    colours=256,
)

# %% [markdown]
# *Figure 10. With the best frame as reference, the source's pose follows the driving pose.*
# `best_frame="auto"` does this for a file. It reads the video twice instead of keeping it in memory.
#
# Keypoints can compare poses only between images of one kind. Between a photograph and rendered heads they
# make errors, since this model's points have slightly different positions on photographs. So if both show
# faces, and the extra `faces` is installed, `animate` compares 68 landmarks with the same formula, as the
# published code does.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged stub does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · Relative motion of points  (easy, 5 minutes)
#
# Section 1 for any number of points: `relative_place(p_source, p_driving, p_initial, scale)`.


# %%
def relative_place(p_source, p_driving, p_initial, scale=1.0):
    """Three times (K, 2) and a number -> (K, 2)."""
    raise NotImplementedError


check_relative_place(relative_place)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def relative_place(p_source, p_driving, p_initial, scale=1.0):
#     return p_source + scale * (p_driving - p_initial)
# ```
#
# </details>
#
# ### Exercise 2 · Relative motion of Jacobians  (medium, 10 minutes)
#
# The same for Jacobians. `geometry.inverse_2x2` and `geometry.multiply_2x2` work on (K, 2, 2).


# %%
def relative_jacobian(j_source, j_driving, j_initial):
    """Three times (K, 2, 2) -> (K, 2, 2)."""
    raise NotImplementedError


check_relative_jacobian(relative_jacobian)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The first operation is the last factor. First comes the source's own state; then the inverse of the driving
# head's initial state; then its current one.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def relative_jacobian(j_source, j_driving, j_initial):
#     change = geometry.multiply_2x2(j_driving, geometry.inverse_2x2(j_initial))
#     return geometry.multiply_2x2(change, j_source)
# ```
#
# </details>
#
# ### Exercise 3 · The nearest pose  (medium, 10 minutes)
#
# Which of B sets of points is most like the source's, regardless of position and size? Subtract its mean from
# each set, divide it by its length $\sqrt{\sum_k \lvert p_k \rvert^2}$ (easier than the hull, and nearly as
# good), and compare.


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
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | the face gets the driving person's shape | absolute motion | `--relative`, which is the default |
# | the head turns away and should look ahead | the reference has another pose | `--best-frame auto` |
# | movements are too large or too small | heads of different size | `--adapt-scale`, `--strength` |
# | the face jitters | keypoints are detected frame by frame | `--smooth 1` |
# | blinks and plosives are gone | smoothed over too many frames | a smaller `--smooth` |
# | the face is stretched, or hair and chin are cut off | not cropped like the training data | `--crop auto` |
# | the video has another length, or audio is not in sync | frame rate rounded | keep frame times |
# | memory runs out on long videos | all frames kept in a list | stream them |
# | noise instead of a face | the model is in training mode | `model.eval()` |

# %% [markdown]
# ## What it must not be used for
#
# The same code that makes a painting smile can show movements of a person who never made them. So, regardless
# of what is technically possible:
#
# - **Ask.** Animate only yourself, people who agreed to exactly this use, or faces of no real person.
# - **Say so.** Every file made here carries "AI-generated" in its header; leave it there, and use
#   `--watermark` for videos that people will watch. Many countries' laws require it.
# - **Never** use it to deceive, to impersonate someone (video calls and identity checks included), to show
#   someone with words or intimate acts that are not theirs, or to influence votes. Most of that is a crime.
# - **It proves nothing.** Such a video is no evidence of what the person did, felt or said; and do not train
#   a detector of emotions on transferred expressions.

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
# affect all other frames. Reconstruction is measured in this way (notebook 09).
#
# </details>
#
# **3.** Why is the best frame found by two passes over the file and not by one pass over a list of frames?
#
# <details><summary>Answer</summary>
#
# The list would keep the whole video in memory: 256 x 256 x 3 bytes a frame are 0.2 MB, about 300 MB a minute
# at 25 frames a second, and 1080p takes thirty times that. A second pass repeats decoding and detection, and
# needs no memory.
#
# </details>
#
# **4.** A GIF shows at most 50 frames a second. What happens to a video with 60?
#
# <details><summary>Answer</summary>
#
# Frames less than 20 ms after the last one written are left out; the duration is the same. (Players show a
# GIF frame of 10 ms for 100 ms, so writing all of them would make it six times as long.)
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can transfer movements without transferring the shape of the person, choose the reference frame, compute
# constant parts once, and make labelled videos of any length from many kinds of files.
#
# Next: **09 · Evaluation** asks how good these videos are, in numbers.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.4. A. Siarohin et al., *Animating Arbitrary
# Objects via Deep Motion Transfer*, CVPR 2019 (relative transfer of keypoints). C. B. Barber et al., *The
# Quickhull Algorithm for Convex Hulls*, 1996. Partnership on AI, *Responsible Practices for Synthetic Media*,
# 2023.
