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
# A trained model knows how to carry *one pose* over to a portrait. A film asks for more: whose shape, from
# which frame on, how smoothly, how fast, with which sound. You decide all of it, and see what each costs.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - derive relative motion, for places and for Jacobians, and show where absolute motion fails;
# - choose the reference frame from which movement counts, and say why it matters;
# - compute once what depends on the source alone, and measure what that saves;
# - make films of any length with constant memory, with sound and frame times kept;
# - animate your own portrait by mouse, and say what you must not do with it.
#
# | | |
# |---|---|
# | Know first | keypoints and Jacobians (notebook 03); dense motion and occlusion (04, 05) |
# | Minutes | 30 to read and run, 25 to practise |
# | GPU | no; about half a minute on one CPU core |
# | Paper | section 3.4 (relative motion transfer) |
# | Module | `fomm_lib.animation`, with `fomm_lib.inference` and `fomm_lib.movement` |

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
from fomm_lib import geometry, inference, movement, plots
from fomm_lib.datasets import to_tensor
from fomm_lib.exercises import check_nearest_pose, check_relative_jacobian, check_relative_place
from fomm_lib.keypoints import Keypoints
from fomm_lib.preview import preview
from fomm_lib.video import VideoReader, VideoWriter, read_picture

# %% [markdown]
# The small model, a photograph, and the course's driving film: a rendered head that turns, talks and tilts.
# Every fifth of its frames will do. `large` shows the same film closer: the head fills more of the picture.

# %%
torch.set_num_threads(1)
plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS

model = fomm.load_model("heads-64", device="cpu")
portrait = read_picture(fomm.data_path("portrait.jpg"))
frames = list(VideoReader(fomm.data_path("driving.mp4")))[::5]
large = [frame[30:200, 20:190] for frame in frames]


def tensors(pictures):
    return torch.stack([to_tensor(picture, model.size) for picture in pictures])


source, driving, driving_large = tensors([portrait]), tensors(frames), tensors(large)
print("source", tuple(source.shape), "driving", tuple(driving.shape))

# %% [markdown]
# ## The problem as one picture
#
# The obvious thing: detect the keypoints in each driving frame, and put the source's keypoints there. That
# is **absolute** motion. Below it, what this notebook is about: **relative** motion.

# %%
with torch.inference_mode():
    absolute = fomm.Animator(model, source, relative=False)(driving_large).prediction
    relative = fomm.Animator(model, source)(driving_large).prediction
moments = [0, 5, 10, 14, 19]
rows = [[picture[i] for i in moments] for picture in (driving_large, absolute, relative)]
plots.show(
    plots.picture_grid(rows, row_titles=["driving", "absolute", "relative"]),
    alt="five moments in three rows. Driving: a large rendered head. Absolute: the woman of the portrait, "
    "her face stretched to the rendered head's size and shape. Relative: herself, turning alike.",
    colours=256,
)

# %% [markdown]
# *Figure 1. Absolute motion takes over the driving head's place, size and shape; relative motion takes over
# its movement only.*
#
# > **Think!** In the first column nothing has moved yet. Why is the absolute result wrong there already?
#
# ## 1. From two toy frames: movement without shape
#
# Keypoints say where the parts of a head are. That depends on the movement, and also on whose head it is and
# where it stands. The difference of *two frames of one film* has the same head in both, so the head cancels:
#
# $$p = p_S + s\,(p_D - p_{D_0})$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $p_S$ | keypoints of the source | (K, 2) | -1 to 1 | `p_source` |
# | $p_D$ | of a driving frame | (K, 2) | -1 to 1 | `p_driving` |
# | $p_{D_0}$ | of the reference frame, mostly the first | (K, 2) | -1 to 1 | `p_initial` |
# | $s$ | size of the source's head by that of the driving one | | about 1 | `scale` |
#
# Three points, brow, nose and chin: a small head on the left, and a large one on the right which nods.

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
plots.show(figure, alt="two triangles of points; both make the same small movement, each from its own place")

# %% [markdown]
# *Figure 2. The source's points make the movement of the driving ones, from their own places.* The library
# does just that:

# %%
one = [Keypoints(points[None]) for points in (p_source, p_driving, p_initial)]
assert torch.allclose(inference.relative_motion(*one).value[0], p_moved)
scaled = inference.relative_motion(*one, adapt_scale=True).value[0]
print(
    "with adapt_scale the movement is smaller:",
    bool((scaled - p_source).norm() < (p_moved - p_source).norm()),
)

# %% [markdown]
# The same movement looks violent on the small head. With `adapt_scale`, $s$ is the root of the ratio of the
# areas of the two **convex hulls** (the rubber band around the points), and the movement fits the head.

# %%
areas = [inference.hull_area(points) for points in (p_source, p_initial)]
scale = (areas[0] / areas[1]) ** 0.5
assert torch.allclose(scaled, p_source + scale * (p_driving - p_initial), atol=1e-6)
print(f"areas {areas[0]:.3f} and {areas[1]:.3f}, so s = {scale:.3f}")

# %% [markdown]
# ## 2. Turns: the same idea for matrices
#
# A Jacobian says how the surroundings of a keypoint are turned and stretched, against the reference frame of
# the theory, which nobody ever sees (notebook 03). Movements of matrices are products. First undo the
# driving head's first state, then do its present one, and all that *after* the source's own state:
#
# $$J = J_D\, J_{D_0}^{-1}\, J_S$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $J_S, J_D, J_{D_0}$ | Jacobians of the three pictures | (K, 2, 2) | about the identity | `kp.jacobian` |
#
# Toy: the source is tilted by 10 degrees. The driving head stands upright, then stretches by half along x.


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
assert torch.allclose(inference.relative_motion(*kp).jacobian[0, 0], j_moved, atol=1e-5)
print("the order matters:", not torch.allclose(j_moved, other_order, atol=1e-2))

# %% [markdown]
# In the wrong order the head would be stretched along *its own*, tilted axis. No error message tells you; on
# films with little tilt it even looks right.
#
# ## 3. What absolute motion takes over
#
# The area of the hull of the keypoints tells how large a head is. Three heads: the source's, the driving one,
# and the one that the result shows.

# %%
with torch.inference_mode():
    kp_source, kp_large = model.detect(source), model.detect(driving_large)
    shown = {"absolute": model.detect(absolute), "relative": model.detect(relative)}
own = inference.hull_area(kp_source.value[0])
taken = np.array([inference.hull_area(value) for value in kp_large.value])
figure, axis = plt.subplots(figsize=(6, 2.8))
axis.plot(taken, color=BLACK, linestyle=":", label="driving head")
for (name, kp), colour, mark in zip(shown.items(), (RED, GREEN), "os", strict=True):
    axis.plot([inference.hull_area(value) for value in kp.value], mark + "-", color=colour, label=name)
axis.axhline(own, color=BLUE, linestyle="--", label="source")
axis.set(xlabel="frame", ylabel="area of the hull,\n[-1, 1] units squared")
axis.legend(fontsize=8, ncols=2)
plots.show(
    figure,
    alt="area of the keypoints' hull by frame: the absolute result lies between source and driving head, the "
    "relative one near the source, but for a turn of the driving head",
)
growth = {name: inference.hull_area(kp.value.mean(dim=0)) / own for name, kp in shown.items()}
print("the driving head is larger than the source's:", inference.hull_area(kp_large.value.mean(dim=0)) > own)
print("absolute motion has made the head larger:", growth["absolute"] > 1.2)
print("relative motion has kept its size:", abs(growth["relative"] - 1) < 0.1)

# %% [markdown]
# *Figure 3. In absolute mode the head grows toward the driving head's size; in relative mode it keeps its
# own, and changes as the driving head's does when it turns. Below it the same in words, of the mean over all
# frames.*
#
# So is absolute ever right? Yes: where source and driving frames show *the same* head, as in training and in
# reconstruction (notebook 09), or where the source must end up in the driving place. Then relative motion
# would be the worse choice: it never corrects a wrong start.
#
# ## 4. Compute once what depends on the source
#
# The published order of work runs, for every frame, detector and generator on the source *again*. But the
# source never changes: its keypoints and its features are the same for all frames. In one run, on your
# machine:


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
    seconds(work)  # the first time is never typical
(slow, expected), (fast, got) = seconds(again), seconds(once)
assert torch.allclose(got, expected, atol=1e-3)

# %% [markdown]
# The same pictures; and the time of a frame:

# %% tags=["nbval-ignore-output"]
print(f"again for every frame: {1000 * slow / 8:.0f} ms a frame; once: {1000 * fast / 8:.0f} ms a frame")
print(f"that is {slow / fast:.1f} times as fast")

# %% [markdown]
# The number is your machine's, at this moment. Part of it is the cache, part that the animator also
# rearranges the networks (batch norms go into the convolutions before them; see `fomm_lib.fast`). The
# pictures are the same to within a thousandth. The README has a table of all ways to be faster, `bfloat16`
# and 8-bit integers too, and of what each costs in precision.
#
# What is left is worth a look, as one figure: what the model sees, what it hides, and what it paints.

# %%
with torch.inference_mode():
    animator = fomm.Animator(model, source)
    animator(driving[:1])
    generated = animator(driving[[5, 10, 19]], for_people=True)
hidden = 1 - generated.occlusion_map
print(f"hidden is at most {float(hidden.max()):.1f}")
stretched = 1 - hidden / hidden.amax(dim=(1, 2, 3), keepdim=True)  # the darkest place shall be black
occlusion = torch.nn.functional.interpolate(stretched, size=model.size).expand(-1, 3, -1, -1)
rows = [
    [source[0], driving[i], generated.deformed[n], occlusion[n], generated.prediction[n]]
    for n, i in enumerate((5, 10, 19))
]
titles = ["source", "driving", "source, warped", "occlusion", "prediction"]
plots.show(
    plots.picture_grid(rows, titles),
    alt="three rows of five pictures: source, driving frame, the source warped, the occlusion map, and the "
    "prediction. The map is darkest along edges that move",
    colours=256,
)

# %% [markdown]
# *Figure 4. Source | driving | warped | occlusion | prediction. Dark in the occlusion map: not to be copied
# but painted. The maps are stretched to be seen; this small model hides little, and leaves most to its
# decoder (notebook 05).*
#
# ## 5. How far, how smoothly, how finely
#
# Between detection and generation there are only ten points and ten matrices, and one can do as one pleases
# with them. **Strength** $a$ exaggerates: $p = p_S + a\,(p_{\text{moved}} - p_S)$.

# %%
with torch.inference_mode():
    animator.kp_initial = None
    animator(driving[:1])
    moved = animator.move(animator.detect(driving[5:6]))
    strengths = [0.0, 0.5, 1.0, 1.5, 2.5]
    row = [animator.generate(movement.exaggerated(kp_source, moved, a)).prediction[0] for a in strengths]
plots.show(
    plots.picture_grid([row], [f"strength {a:g}" for a in strengths]),
    alt="the portrait at five strengths of one turn: not at all, half, as the film, more, and torn at 2.5",
    colours=256,
)

# %% [markdown]
# *Figure 5. One movement at five strengths. Beyond what training has shown, the picture tears.*
#
# **Smoothing** works against jitter: keypoints tremble from frame to frame, since each frame is detected on
# its own. A Gaussian over neighbouring frames, on both sides, takes the trembling away and adds no delay.
# White noise becomes smaller by $\sqrt{2\sqrt{\pi}\,\sigma}$ for a Gaussian of $\sigma$ frames.

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
plots.show(figure, alt="trembling points and three smooth curves; the one over 6 frames cuts the peaks off")
error = {sigma: float((curve - path).square().mean().sqrt()) for sigma, curve in curves.items()}
before = float((noisy - path).square().mean().sqrt())
for sigma, after in error.items():
    print(f"over {sigma:g} frames, nearer to the truth:", after < before)

# %% [markdown]
# *Figure 6. Over 2 frames the trembling goes; over 6 some of the movement goes with it: the peaks are cut.*
#
# **Finer pictures**: this model was trained at 64 x 64. But flow and occlusion are smooth, and enlarge well;
# so let the *motion* be estimated at 64 x 64, as it was learnt, and encode, warp and decode the source at 256
# x 256. `size=256` does it. No new training; the convolutions do not mind.

# %%
two = [frames[0], frames[5]]
fine = list(fomm.animate_frames(model, portrait, two, size=256))[1]
plain = list(fomm.animate_frames(model, portrait, two))[1]
plots.show(
    plots.picture_grid([[portrait, frames[5], plain, fine]], ["source", "driving", "64 x 64", "size=256"]),
    alt="the portrait turned like the driving head: blurred at 64 x 64, sharp hair and eyes at 256 x 256",
    colours=256,
)

# %% [markdown]
# *Figure 7. The same motion, a finer picture.* What the source does not show is not invented any better:
# look at the side of the face that was turned away.
#
# What does *not* work with these keypoints: moving only the mouth, or only the pose. One could try to part
# the movement of the ten points in two: the affine map that fits all of them best (the head as a whole), and
# what is left over (the expression?). Measured on rendered heads, how far the head is turned can be read
# nearly perfectly off the first part, but off the second too; and how far the mouth is open only half, off
# either. Pose and expression are in the same points (`benchmarks/movement.py`).
#
# ## 6. By mouse: your own portrait
#
# Pick or upload a portrait (only of somebody who agreed!), move the sliders, press *animate*. The panel is
# made of core ipywidgets, and works in Jupyter and in Colab.

# %% tags=["nbval-ignore-output"]
panel = preview(model)
panel

# %% [markdown]
# For who only reads: the panel shows two menus, an upload button, sliders for strength and smoothing, two
# boxes to tick, a button, a progress bar and then the film, as in Figure 1 of notebook 00. On the command
# line the same is
#
# ```bash
# fomm animate --source me.jpg --driving clip.mp4 --output moving.mp4 --crop auto --best-frame auto --size 256
# ```
#
# where `--crop auto` finds both faces and frames them as the training data were framed (extra `faces`), and
# `--paste-back` puts the result back into the whole picture.
#
# ## From toy to library
#
# A film in, a film out: `fomm.animate` does all of this from file to file. A short film for it, whose frames
# come at uneven times, as a phone records them:

# %%
folder = Path(tempfile.mkdtemp())
times = np.cumsum([0, 0.04, 0.04, 0.12, 0.04, 0.36, 0.04, 0.2])
with VideoWriter(folder / "film.mp4", fps=25, size=(256, 256), time_base=1 / 1000) as writer:
    for frame, seconds_since_start in zip(frames, times, strict=False):
        writer.write(frame, seconds_since_start)
result = fomm.animate(model, portrait, folder / "film.mp4", folder / "moving.mp4", progress=False)
film, made = VideoReader(folder / "film.mp4"), VideoReader(result.path)
print(result.frames, "frames of", result.size)
print("as many frames, at the same times:", made.times == film.times)

# %% [markdown]
# Frames stream: one thread decodes, the network works, another thread encodes, and no more than a few frames
# are in memory at any time. Ten minutes of film need as much memory as ten seconds (measured by
# `benchmarks/streaming.py`). Sound is copied with its timing. The name decides what is written: `.mp4`,
# `.webm`, `.gif`, `.apng`, or a folder of frames; and every one of them says in its header what it is:

# %%
with av.open(str(result.path)) as container:
    print(container.metadata["comment"].split(":")[0])

# %% [markdown]
# In a script you may want the frames themselves, one by one, from a file or a camera. `animate_frames` gives
# them; one step below it, `FastModel` is a trained model rearranged for speed, which `animate`,
# `animate_frames` and `Animator` make of any model that they are given. Make it yourself once to animate many
# portraits, or to choose a precision; what it knows of a portrait is an `EncodedSource`, computed once, lent
# to as many driving frames as there are.
#
# And a camera? `fomm live --source me.jpg` opens a page in the browser (extra `live`): take up the portrait's
# pose, which is the reference, and it follows you. Under the page stands `LiveAnimator`, one picture in, one
# picture out, for as long as pictures come. It never knows the next one, so its smoothing looks back only,
# and lags a little. Here the film plays the camera.

# %%
numbers = [frame.shape for frame in fomm.animate_frames(model, portrait, frames[:3])]
print(numbers)

fast_model = fomm.FastModel(model)
known = fast_model.encode(source)
assert isinstance(known, fomm.EncodedSource)
with torch.inference_mode():
    kp_driven = inference.relative_motion(
        kp_source.expand(3), fast_model.detect(driving[5:8]), fast_model.detect(driving[:1]).expand(3)
    )
    painted = fast_model.generate(known.expand(3), kp_source.expand(3), kp_driven).prediction
    expected = model.generate(source.expand(3, -1, -1, -1), kp_source.expand(3), kp_driven).prediction
print("one portrait", tuple(known.features.shape), "lent to three frames:", tuple(painted.shape))
print("the same pictures as the plain model's:", torch.allclose(painted, expected, atol=1e-3))

follow = fomm.LiveAnimator(fast_model, portrait, find_faces=False)
print("live, enlarged to be looked at:", [follow(frame).shape for frame in frames[:3]])

# %% [markdown]
# **Outside PyTorch.** `export_model` writes the three networks (encode, detect, generate) as ONNX files,
# which other programs and processors can run; `ExportedModel` runs them by onnxruntime or OpenVINO and takes
# the model's place, in `Animator` too. It needs the extra `export`; without it the cell says so.

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
# The reference frame is a choice, and a wrong one spoils everything.
#
# Relative motion says *move as much as the driving head has moved since the reference frame*. That works
# when both heads start in **the same pose**. Another source, a rendered head that looks at us, and a film
# that starts where the head is turned away:

# %%
clip = VideoReader(fomm.data_path("heads", "test", "synth2-00001#00001#0#48.mp4"))
frontal = tensors(list(clip)[20:21])
turned = driving[5:]
with torch.inference_mode():
    wrong = fomm.Animator(model, frontal)(turned).prediction
straight = [2, 9, 10, 14]
plots.show(
    plots.picture_grid(
        [[turned[0], *turned[straight]], [wrong[0], *wrong[straight]]],
        ["reference", *[f"frame {i}" for i in straight]],
        ["driving", "relative"],
    ),
    alt="top: a head turned away in the reference frame, then other poses. Bottom: the source, which looks "
    "ahead in the reference frame, turns to the other side where the driving head looks ahead",
    colours=256,
)

# %% [markdown]
# *Figure 8. A wrong start: when the driving head turns back to the front, the source turns away from it.*
#
# The mend is to count from the frame whose pose is nearest to the source's. Compare the *shapes* of the two
# sets of keypoints, each without its place and size:
#
# $$d = \sum_k \lvert n(p_S)_k - n(p_D)_k \rvert^2, \qquad
# n(p) = \frac{p - \bar p}{\sqrt{\operatorname{area}(\operatorname{hull}(p))}}$$
#
# | symbol | name | shape | range | variable |
# |---|---|---|---|---|
# | $\bar p$ | mean of the points | (2,) | -1 to 1 | |
# | $n(p)$ | the pose: points without place and size | (K, 2) | | |
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
# *Figure 9. One number a frame, and no labels: the keypoints themselves say which pose is nearest.*

# %%
animator = fomm.Animator(model, frontal)
animator.kp_initial = kp_turned[best : best + 1]
with torch.inference_mode():
    right = animator(turned).prediction
    still = model(frontal, frontal).prediction[0]
assert torch.allclose(right[best], still, atol=1e-2)  # in that frame nothing has moved
plots.show(
    plots.picture_grid(
        [[pictures[i] for i in (0, *straight)] for pictures in (turned, wrong, right)],
        row_titles=["driving", "first", "best"],
    ),
    alt="three rows: driving; relative to the first frame; relative to the best frame, in which the source "
    "looks ahead when the driving head does",
    colours=256,
)

# %% [markdown]
# *Figure 10. Counted from the best frame, the source's pose follows the driving pose.* `best_frame="auto"`
# does this for a file. It reads the film twice instead of holding it in memory.
#
# Keypoints compare poses of like with like. Between a photograph and rendered heads they err, since this
# model's points sit a little elsewhere on photographs. So where both show faces, and the extra `faces` is
# there, `animate` compares 68 landmarks by the same formula, as the published code does.

# %% [markdown]
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. Left as it
# is, the notebook goes on; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · A movement from another place  (easy, 5 minutes)
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
# ### Exercise 2 · A turn from another turn  (medium, 10 minutes)
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
# What is done first stands last. First comes the source's own state; then the driving head's first state is
# undone; then its present one is done.
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
# Which of B sets of points is most like the source's, whatever its place and size? Take the mean off each
# set, divide it by its length $\sqrt{\sum_k \lvert p_k \rvert^2}$ (easier than the hull, and nearly as good),
# and compare.


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
# | symptom | cause | mend |
# |---|---|---|
# | the face gets the driving person's shape | absolute motion | `--relative`, which is the default |
# | the head turns away and should look ahead | the reference has another pose | `--best-frame auto` |
# | movements look violent, or weak | heads of different size | `--adapt-scale`, `--strength` |
# | the face trembles | keypoints are detected frame by frame | `--smooth 1` |
# | blinks and plosives are gone | smoothed over too many frames | a smaller `--smooth` |
# | the face is stretched, or hair and chin are cut off | framed unlike the training data | `--crop auto` |
# | the film is longer than it was, or drifts from its sound | frame rate rounded | keep frame times |
# | memory runs out on long films | all frames kept in a list | stream them |
# | noise instead of a face | the model is in training mode | `model.eval()` |

# %% [markdown]
# ## What it must not be used for
#
# The same lines that make a painting smile can put movements on the face of a person who never made them.
# So, whatever is technically possible:
#
# - **Ask.** Animate only yourself, people who agreed to this very use, or faces that nobody owns.
# - **Say so.** Every file made here carries "AI-generated" in its header; leave it there, and use
#   `--watermark` where people look. Many countries' laws require it.
# - **Never** to deceive, to pass for somebody (video calls and identity checks included), to put words or
#   intimate acts on anyone, to influence votes. Most of that is a crime.
# - **It proves nothing.** A film made so says nothing about what the person did, felt or said; nor should you
#   train a detector of emotions on expressions that were only transferred.

# %% [markdown]
# ## Questions
#
# **1.** In relative mode, what does the first frame of the result show, if the first driving frame is the
# reference?
#
# <details><summary>Answer</summary>
#
# The source, as the model reconstructs it: $p_D - p_{D_0} = 0$ and $J_D J_{D_0}^{-1} = I$, so all its
# keypoints stay. Nothing of the driving head is in it.
#
# </details>
#
# **2.** Source and driving film show the same person in the same room. Absolute or relative?
#
# <details><summary>Answer</summary>
#
# Absolute: the shapes agree, so there is nothing to keep apart, and an error in the reference frame does not
# spread to all others. So are reconstructions measured (notebook 09).
#
# </details>
#
# **3.** Why is the best frame found by two passes over the file and not by one pass over a list of frames?
#
# <details><summary>Answer</summary>
#
# The list would hold the whole film: 256 x 256 x 3 bytes a frame are 0.2 MB, about 300 MB a minute at 25
# frames a second, and 1080p takes thirty times that. A second pass costs decoding and detection again, and no
# memory.
#
# </details>
#
# **4.** A GIF shows at most 50 frames a second. What happens to a film of 60?
#
# <details><summary>Answer</summary>
#
# Frames nearer than 20 ms to the last one shown are left out; the film lasts as long as before. (Players show
# a GIF frame of 10 ms for 100 ms, so writing all of them would make it six times as long.)
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can carry movements over without carrying over the person, choose the reference frame, compute once what
# is constant, and make honest films of any length from whatever people bring.
#
# Next: **09 · Evaluation** asks how good these films are, in numbers.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196), section 3.4. A. Siarohin et al., *Animating Arbitrary
# Objects via Deep Motion Transfer*, CVPR 2019 (relative transfer of keypoints). C. B. Barber et al., *The
# Quickhull Algorithm for Convex Hulls*, 1996. Partnership on AI, *Responsible Practices for Synthetic Media*,
# 2023.
