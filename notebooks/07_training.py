# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Training
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/fomm-course/fomm-course/blob/main/notebooks/07_training.ipynb)
#
# A training repeats one step with three networks and six losses. You train a model in seconds on one clip,
# then with the same code on a GPU and on many, stop it, resume it with the same result, and read its curves.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - follow one step of training from the images to the update, and say why it computes nothing twice;
# - overfit a clip on a CPU in seconds, and see in which order a model learns;
# - run the same training on one GPU and in several processes, and say why the result is the same;
# - resume after a crash without any loss;
# - read six curves, and correct a run that goes wrong with the right option.
#
# | | |
# |---|---|
# | Know first | notebooks 03 to 06 for the networks and the losses; Adam |
# | Minutes | 40 to read and run, 30 to practise |
# | GPU | no, half a minute on a CPU; the same cells run on a GPU with one switch |
# | Paper | section 3.3 (losses), section 4 and supplement A (training) |
# | Module | `fomm_lib/training/loop.py`, with `training/step.py` |

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
import copy
import csv
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from PIL import Image

# %% [markdown]
# And from the course's own library.
# %%
import fomm_lib as fomm
from fomm_lib import losses
from fomm_lib.course import plots
from fomm_lib.course.exercises.nb07_training import check_learning_rate, check_place_of_step, check_shorten
from fomm_lib.data.clips import find_clips
from fomm_lib.media.tensors import to_tensor
from fomm_lib.perceptual import Vgg16Features
from fomm_lib.training.loop import train
from fomm_lib.training.step import NotFinite, TrainingStep

plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS
DEVICE = "cpu"  # "cuda" on a machine with a GPU
_ = torch.set_num_threads(1)  # small networks are fastest so, and give the same digits everywhere

# %% [markdown]
# ## The problem as one image
#
# These are the six losses of the model that comes with the course, from its first step to its last, as
# `fomm train` logged them. It was trained in three stages; the adversarial losses exist only in the last.

# %%
shipped = fomm.data_path("weights", "heads-64.csv")
plots.show(
    plots.plot_losses(shipped),
    alt="six panels over the steps of the shipped model: the perceptual loss falls fast, then slowly, with a "
    "jump where a stage begins; the equivariance losses fall early and stay low; the adversarial losses "
    "appear in the last stage and stay near the values of an undecided discriminator.",
)

# %% [markdown]
# *Figure 1. A training logs six numbers in each step. At the end of this notebook you can say what each of
# these curves should look like, and what is wrong when it does not.*
#
# This notebook answers three questions. What happens in one step? How does a training run for days, on many
# machines, and survive their faults? And what do you do when a curve goes wrong?

# %% [markdown]
# ## 1 · Which loss trains which network
#
# A step draws pairs of frames of the same clip, source $S$ and driving frame $D$, and a random deformation
# $T$ of the plane. The model makes $\hat D$ from $S$ and the keypoints of both. Then
#
# $$L_G = \lambda_P L_P(\hat D, D) + \lambda_A L_A + \lambda_F L_F + \lambda_V L_V + \lambda_J L_J,
# \qquad L_D = \lambda_D \big[(1 - D_\phi(D))^2 + D_\phi(\hat D)^2\big]$$
#
# | symbol | name | trains | in the log | weight in vox-adv |
# |---|---|---|---|---|
# | $L_P$ | perceptual | generator, detector | `perceptual` | 10 each feature |
# | $L_A$ | adversarial, of the generator | generator, detector | `gen_gan` | 1 |
# | $L_F$ | feature matching | generator, detector | `feature_matching` | 10 |
# | $L_V$ | equivariance of values | detector | `equivariance_value` | 10 |
# | $L_J$ | equivariance of Jacobians | detector | `equivariance_jacobian` | 10 |
# | $L_D$ | adversarial, of the discriminator | discriminator alone | `disc_gan` | 1 |
#
# ($D_\phi$ is the discriminator, $D$ alone the driving frame. $L_A$, $L_F$, $L_V$, $L_J$ are those of
# notebook 06.)
#
# Three Adam optimizers, with a learning rate of 2e-4 and betas (0.5, 0.999), follow the gradients. The next
# cell defines a model that is small enough for a class: images of 32 x 32, five keypoints, narrow networks.
# (These are keys of a config; keys that are not given keep their defaults, and an unknown key is an error.)
# It also reads one clip of a head, the training data.

# %%
hourglass = {"block_expansion": 8, "max_features": 32, "num_blocks": 3, "scale_factor": 0.5}
generator = {"block_expansion": 16, "max_features": 32, "num_down_blocks": 1, "num_bottleneck_blocks": 2}
SMALL = {
    "dataset_params": {"frame_shape": [32, 32, 3]},
    "model_params": {
        "common_params": {"num_kp": 5},
        "kp_detector_params": {**hourglass, "pad": 3},
        "generator_params": {**generator, "estimate_occlusion_map": True, "dense_motion_params": hourglass},
        "discriminator_params": {"block_expansion": 8, "max_features": 32, "num_blocks": 2},
    },
    "train_params": {
        "batch_size": 4,
        "scales": [1, 0.5],
        "lr_generator": 2e-3,
        "lr_kp_detector": 1e-3,
        "lr_discriminator": 1e-3,
        "loss_weights": {"generator_gan": 1, "perceptual": [10, 10], "feature_matching": [10, 10]},
    },
}

clip = find_clips(fomm.data_path("heads"), "train")[4]
frames = torch.stack([to_tensor(frame, (32, 32)) for frame in clip]).to(DEVICE)
few = frames[[0, 8, 16, 24, 32, 40]]
plots.show(
    plots.image_grid([list(few)]),
    alt="six frames of a synthetic head of 32 x 32 pixels that turns and nods.",
    colours=256,
)
print("frames", tuple(frames.shape))

# %% [markdown]
# *Figure 2. Six of the 48 frames, which are all the training data of this notebook.*
#
# The perceptual loss needs a network trained on images. Its weights must be downloaded, so in class we use
# the same layers with **random** weights: features of random filters also distinguish images, well enough for
# one clip. For a real training `fomm train` uses the trained network that the config names.


# %%
def random_features(seed=0):
    torch.manual_seed(seed)
    network = Vgg16Features().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)  # features as strong as the image, layer by layer
    return network.to(DEVICE)


def networks(config, seed=0):
    torch.manual_seed(seed)
    model, discriminator = fomm.FirstOrderMotionModel(config), fomm.build_discriminator(config)
    return model.to(DEVICE).train(), discriminator.to(DEVICE).train()


config, features = fomm.load_config(SMALL), random_features()
model, discriminator = networks(config)

# %% [markdown]
# ## 2 · One step, by hand
#
# First the generator's side. The detector runs three times: on the source, on the driving frame, and on the
# driving frame deformed by $T$.

# %%
source, driving = frames[[0, 5, 10, 15]], frames[[30, 35, 40, 45]]
transform = losses.RandomTransform.sample(4, generator=torch.Generator().manual_seed(1), device=DEVICE)
kp_source, kp_driving = model.detect(source), model.detect(driving)
prediction = model.generate(source, kp_source, kp_driving).prediction
kp_transformed = model.detect(transform.warp_image(driving))

# %% [markdown]
# Then the six losses. (With two scales: the images at full and at half size.)

# %%
pyramid = fomm.blocks.ImagePyramid(3, [1, 0.5]).to(DEVICE)
fake, real = pyramid(prediction), pyramid(driving)
on_fake, on_real = discriminator(fake), discriminator(real)
by_hand = {
    "perceptual": losses.perceptual_loss(features, fake, real, [10, 10]),
    "gen_gan": losses.generator_gan_loss(on_fake),
    "feature_matching": losses.feature_matching_loss(on_real, on_fake, [10, 10]),
    "disc_gan": losses.discriminator_gan_loss(on_real, on_fake),
    "equivariance_value": 10 * losses.equivariance_value_loss(kp_driving, kp_transformed, transform),
    "equivariance_jacobian": 10 * losses.equivariance_jacobian_loss(kp_driving, kp_transformed, transform),
}

# %% [markdown]
# ## 3 · The seam: one pass for both losses
#
# `disc_gan` is the loss of the discriminator: its gradient must reach only the discriminator, and the
# gradients of the other five must not reach it. The published code therefore runs the discriminator twice,
# once for each loss, and discards the gradients that are not needed. There is a cheaper way: cut the graph at
# the generated image. We call this the **seam**.
#
#     S, D -> detector -> generator -> prediction | copy without history -> VGG, discriminator -> losses
#
# VGG and the discriminator get a detached copy of the image. The losses compute their gradient with respect
# to the copy; from there one backward pass goes through the generator. The output of the discriminator is
# kept for its own loss. Is that the same gradient? We compare both ways for one weight of the generator.

# %%
weight, generator_losses = model.generator.final.weight, ["perceptual", "gen_gan", "feature_matching"]
total = sum(by_hand[name] for name in generator_losses)
straight = torch.autograd.grad(total, weight, retain_graph=True)[0]

seam = prediction.detach().requires_grad_()
fake_again = pyramid(seam)
on_seam = discriminator(fake_again)
total = losses.perceptual_loss(features, fake_again, real, [10, 10]) + losses.generator_gan_loss(on_seam)
total = total + losses.feature_matching_loss(on_real, on_seam, [10, 10])
at_the_seam = torch.autograd.grad(total, seam)[0]
in_two = torch.autograd.grad(prediction, weight, at_the_seam, retain_graph=True)[0]
print("the same gradient:", torch.allclose(straight, in_two, rtol=1e-3, atol=1e-5))

# %% [markdown]
# ## From toy to library
#
# `TrainingStep` does this step, with the seam, for all networks. We compare its losses on the same batch:

# %%
step = TrainingStep(model, discriminator, features, config)
found = step(source, driving, transform)
for name, loss in by_hand.items():
    assert abs(found[name] - loss.item()) < 1e-3 * abs(loss.item()), name
print("six losses agree:", ", ".join(sorted(found)))

# %% [markdown]
# The seam alone saves a tenth: a step is mostly convolutions, and all of them are needed. More can be saved
# only with fewer multiplications. `fomm_lib/training/fast.py` has two ways: upsampling and convolution in one
# step, with 4 multiplications instead of 9; and *Winograd* tiles for wide 3x3 and 4x4 convolutions, which
# compute some neighbouring results together, from fewer products and more sums, with 1 multiplication instead
# of 4, in the forward and the backward pass. A third saving is to reuse memory instead of clearing it.
# `train` does the last two only on CPUs: libraries for GPUs have them already. The table was measured at the
# size of vox-adv-256 on one core (`python -m benchmarks.training`); every row includes all rows above it, but
# bfloat16 is without Winograd, whose sums it would round too coarsely. The last column compares the losses of
# the first step with those of the published order.

# %%
with open(fomm.data_path("training", "speed.csv"), newline="") as file:
    for row in csv.DictReader(file):
        print(f"{row['variant']:17} x {float(row['ratio']):.2f}   losses differ by {row['losses']}")

# %% [markdown]
# Spectral norm is an exception. With it every call of the discriminator improves the estimate of the norms
# (notebook 01), four times in each step as published; fewer calls would change the numbers. In this case the
# library keeps the published order.
#
# ## 4 · In class: overfit one clip
#
# This is the whole loop: draw pairs, draw a deformation, take a step.


# %%
def learn(config, steps, seed=0):
    model, discriminator = networks(config, seed)
    step, history = TrainingStep(model, discriminator, features, config), []
    for _ in range(steps):
        first, second = torch.randint(len(frames), (2, config.train_params.batch_size))
        transform = losses.RandomTransform.sample(len(first), device=DEVICE)
        history.append(step(frames[first], frames[second], transform))
    return model.eval(), {name: [row[name] for row in history] for name in history[0]}


model, history = learn(config, steps=120)
plots.show(
    plots.plot_losses(history, window=5),
    alt="six panels over 120 steps on one clip: perceptual, feature matching and both equivariance losses "
    "fall quickly; both adversarial losses fall to near the values of an undecided discriminator.",
)
print("the perceptual loss fell to less than half:", history["perceptual"][-1] < history["perceptual"][0] / 2)

# %% [markdown]
# *Figure 3. The curves of 120 steps. Equivariance is learned first, then the images.*
#
# Look at the images too, not only at the losses. The first frame is the source; can the model reconstruct the
# others from it, with a smaller error than the first frame itself?


# %%
@torch.no_grad()
def redraw(model):
    return model(frames[:1].expand(len(frames), -1, -1, -1), frames).prediction


made = redraw(model)
pick = [8, 16, 24, 32, 40]
rows = [[frames[i] for i in pick], [made[i] for i in pick]]
plots.show(
    plots.image_grid(rows, row_titles=["driving", "made"]),
    alt="five driving frames above, and below them what the model made of the first frame: the head has the "
    "right position and pose, and is blurred.",
    colours=256,
)
error, repeated = (made - frames).abs().mean(), (frames[:1] - frames).abs().mean()
print("closer than the first frame again:", bool(error < repeated))

# %% [markdown]
# *Figure 4. After 120 steps without labels the result is closer to the driving frames than the first frame
# is, and blurred.*
#
# ### Save the model
#
# The trained model is saved in one file: the weights of generator and detector, as 16-bit numbers, together
# with the config, which says how the networks are built. `describe` lists the content of a file (in a shell:
# `fomm info FILE`), `read_checkpoint` reads it, published files too, and `load_model` builds the model.

# %%
work = Path(tempfile.mkdtemp())
learned = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
kept = fomm.write_weights(work / "mine.safetensors", learned, config, notes={"trained on": "one clip"})
print("\n".join(fomm.describe(kept).splitlines()[1:]))  # the first line is the name of the file

inside = fomm.read_checkpoint(kept)
assert isinstance(inside.config, fomm.Config) and inside.config == config
again = redraw(fomm.load_model(kept, device=DEVICE))
print("loaded again, it makes the same images:", bool((again - made).abs().max() < 0.02))

# %% [markdown]
# ### The same cells on a GPU
#
# Set `DEVICE = "cuda"` at the top and run all cells again: nothing else changes, as every tensor is made on
# that device. But these cells are too small for a GPU. A step is 3 GFLOP in 1100 operations, each of which
# takes 5 to 10 microseconds to start: a second for 120 steps, of which the GPU computes for a twentieth, in
# well under 1 GB.
#
# With a GPU you would use real networks and images. The cost of a step of vox-adv-256 is known: 0.58 TFLOP
# for each pair, for the forward and backward pass through all networks, and 0.54 GB kept for the backward
# pass (0.27 in 16-bit numbers), in addition to 1 GB of weights, gradients and moments. Divide by the numbers
# of your GPU:
#
# | GPU | operations a second, from the data sheet | seconds a pair, at least | pairs at once, at most |
# |---|---|---|---|
# | T4, 16 GB (Colab) | 8 TFLOP float32, 65 TFLOP fp16 | 0.07, or 0.009 with `--fp16` | 27, or 54 |
# | A100, 40 GB | 156 TFLOP TF32, 312 TFLOP bf16 | 0.004, or 0.002 with `--bf16` | 72, or 141 |
#
# (TF32 is the format in which PyTorch computes float32 convolutions if the GPU supports it.) That is a lower
# bound, of arithmetic alone. `python -m benchmarks.training_bound` counts and measures: on one CPU core a
# step in bfloat16 takes 1.23 times this bound, and one in float32 0.75, since Winograd tiles need fewer
# multiplications than were counted; `--device cuda` measures your GPU. The published training of vox-256 is
# 79,500 steps of 40 pairs, three million pairs; vox-adv-256 continues from there.

# %% [markdown]
# ## 5 · A training that survives
#
# `train` (in a shell: `fomm train`) is the loop above, with everything that a run of days needs: data from a
# folder, logs, images, and **states**. A state is everything on which the next step depends. We make a folder
# with our clip, train for six steps, and list the files. (There is no perceptual loss here, so that it runs
# without a download.)

# %%
folder = work / "data" / "train" / "head"
folder.mkdir(parents=True)
for number, frame in enumerate(frames):
    pixels = (frame.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    Image.fromarray(pixels).save(folder / f"{number:03d}.png")

TINY = copy.deepcopy(SMALL)
TINY["train_params"] |= {"num_repeats": 16, "epoch_milestones": [1]}
TINY["train_params"]["loss_weights"]["perceptual"] = [0]
quiet = {"device": "cpu", "progress": False, "tensorboard": False, "log_every": 1}
_ = train(TINY, work / "data", work / "whole", steps=6, **quiet)
print("\n".join(sorted(path.relative_to(work).as_posix() for path in work.glob("whole/*"))))

# %% [markdown]
# Now the same, but stopped after three steps, and resumed.

# %%
_ = train(TINY, work / "data", work / "resumed", steps=3, **quiet)
_ = train(TINY, work / "data", work / "resumed", steps=6, resume=True, **quiet)


def rows_of(run):
    with open(work / run / "losses.csv", newline="") as file:
        timeless = [name for name in next(csv.reader(file)) if "second" not in name]
        file.seek(0)
        return [[row[name] for name in timeless] for row in csv.DictReader(file)]


print("six steps, and 3 + 3 steps, to the last digit:", rows_of("whole") == rows_of("resumed"))

# %% [markdown]
# The results are exactly equal, not only almost. The state makes this possible:
#
# | in the state | without it |
# |---|---|
# | weights of all three networks, and running statistics of batch norm | another model |
# | Adam's two averages and its count of steps | a jump in the losses after each resume |
# | the scale of fp16 (below) | some steps lost |
# | the moving average of the weights | a worse model at the end |
# | the number of steps done, which determines epoch, batch, learning rate | pairs used twice, others never |
# | the state of the random number generators | other deformations |
#
# (bf16 and fp16 are numbers of 16 bits: half the memory, and much faster on GPUs made for them. fp16 cannot
# hold very small numbers, so the loss is multiplied by a *scale* before the backward pass and the gradients
# are divided by it after; the scale adapts during the training. bf16 has the range of float32, and fewer
# digits.)
#
# The learning rate is not part of it: it is computed from step and epoch (`learning_rate_factor`). The
# published code keeps a schedule object instead, and continues at a tenth of the rate when it is resumed at a
# milestone. A value that follows from others should not be stored in addition to them.
#
# A state is written to a temporary file, flushed to the disk, and then renamed, so that there is never an
# incomplete one. After `kill -9` during writing, the previous state is there; the tests check that with a
# real signal.

# %% [markdown]
# ## 6 · Many processes
#
# Two processes each take half of every batch. After the backward pass they average their gradients; before
# it, batch norm averages its statistics, or each process would use another mean. Then both take the same
# step, so that all processes always have the same model. The cell runs it on this machine:

# %%
(work / "tiny.yaml").write_text(fomm.load_config(TINY).model_dump_json())  # JSON is YAML, too
command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
command += ["-m", "fomm_lib", "train", "--config", work / "tiny.yaml", "--data", work / "data"]
command += ["--out", work / "two", "--steps", "3", "--device", "cpu", "--threads", "1", "--no-tensorboard"]
command += ["--log-every", "1"]
environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
assert done.returncode == 0, done.stderr

# %% [markdown]
# We compare with one process and the whole batch. (Only the first step: after that Adam, which divides
# gradients by their size, amplifies differences in rounding.)

# %%
one, two = (np.array([row[3:8] for row in rows_of(run)[:1]], dtype=object) for run in ("whole", "two"))
numbers = [[float(cell) for cell in run.flatten() if cell] for run in (one, two)]
apart = max(abs(a - b) / abs(a) for a, b in zip(*numbers, strict=True))
print("losses of the first step:", len(numbers[0]), "; the same except for rounding:", apart < 1e-4)

# %% [markdown]
# The batch size of a config is that of all processes together, so a training moves to other hardware without
# new settings:
#
# | where | command |
# |---|---|
# | here | `fomm train --config vox-256 --data vox --out runs/vox` |
# | four GPUs | `accelerate launch --multi_gpu --num_processes 4 -m fomm_lib train ... --bf16` |
# | two processes on a CPU | `ACCELERATE_USE_CPU=true torchrun --nproc-per-node 2 -m fomm_lib train ...` |
# | two machines with eight each | the command below, on each |
# | batch too large for memory | `--accumulate 4`: in four parts, one after the other |
# | the cluster kills jobs | `--resume` in the job's script, from the first time on |
#
#     accelerate launch --multi_gpu --num_machines 2 --machine_rank 0 --num_processes 16 \\
#         --main_process_ip ADDRESS --main_process_port 29500 \\
#         -m fomm_lib train --config vox-256 --data vox --out runs/vox --bf16 --resume
#
# (`ADDRESS` is that of the first machine, and the second has `--machine_rank 1`. Without `--multi_gpu`,
# `accelerate launch` starts a single process without a message if it finds fewer than two GPUs.)
#
# With `--accumulate`, batch norm uses the statistics of the parts, so the numbers are those of smaller
# batches; with more processes this is not the case.

# %% [markdown]
# ## 7 · Options for stability
#
# Beyond the paper there are six options, all keys of a config, all off by default:
#
# | option | key | what it does |
# |---|---|---|
# | EMA | `ema_decay`, $d$ | keeps an average of the weights, $\bar w \leftarrow d\,\bar w + (1 - d)\,w$ |
# | clipping | `clip_grad_norm` | shortens a gradient that is longer than this (exercise 3) |
# | R1 | `r1`, $\gamma$ | adds $\gamma \lvert \nabla D_\phi \rvert^2 / 2$ at real images to $L_D$ (01) |
# | spectral norm | `sn` | divides the discriminator's layers by their largest singular value (01) |
# | warm-up | `warmup_steps` | learning rates grow from 0 over this number of steps (exercise 1) |
# | separate rate | `lr_discriminator` | the discriminator learns faster, or more slowly |
#
# What is the effect of each? We compare seven short trainings on the 40 clips of `data/heads` that differ in
# one option, at a good learning rate and at one that is ten times too high
# (`python -m experiments.stability`, 200 steps each, some minutes; one seed, so look only at large
# differences).

# %%
with open(fomm.data_path("training", "stability.csv"), newline="") as file:
    table = list(csv.DictReader(file))
for row in table:
    start = f"{float(row['rate']):<6g} {row['variant']:21}"
    print(
        f"{start} L1 {float(row['l1']):.3f} +- {float(row['l1_spread']):.3f}   D {float(row['disc_gan']):.2f}"
    )

# %% [markdown]
# What the table shows, and what not:
#
# - **EMA**, a moving average of the weights, helps at once: a lower error on held-out heads at both rates,
#   and less difference from one validation to the next. It needs a copy of the model and changes nothing in
#   the training itself; so its other columns are those of *plain*.
# - **R1** and **spectral norm** act only on the discriminator. R1 does what it should, and makes it less
#   certain (`D` further from 0.5, its balance); the images hardly change, as most of the gradient comes from
#   the perceptual loss. Where the discriminator gives the only loss, the two are decisive: notebook 01. At
#   the high rate the run with spectral norm was unstable: its last four validations lie between 0.07 and
#   0.29.
# - **Clipping** protects against rare steps that are far too large. A run of 200 steps without such steps
#   gains nothing at the good rate, and a little at the high one.
# - **Warm-up** learns more slowly at first. Here the ramp is half of the run, and does more harm than good.
# - A **separate learning rate** of the discriminator, here a quarter, shifts the balance between generator
#   and discriminator; at both rates the images hardly change.
#
# So, for a training of your own: `ema_decay` 0.99 to 0.999 always; `clip_grad_norm` a little above the usual
# gradient norm, which is in the log, for long unattended runs; the others only for a symptom that they
# correct.

# %%
names = list(dict.fromkeys(row["variant"] for row in table))
figure, axis = plt.subplots(figsize=(6, 3))
for rate, shift, colour, marker in ((0.001, -0.1, BLUE, "o"), (0.01, 0.1, RED, "s")):
    rows = [row for row in table if float(row["rate"]) == rate]
    places = [names.index(row["variant"]) + shift for row in rows]
    l1, spread = ([float(row[name]) for row in rows] for name in ("l1", "l1_spread"))
    style = {"color": colour, "marker": marker, "linestyle": "none", "label": f"learning rate {rate:g}"}
    axis.errorbar(l1, places, xerr=spread, **style)
axis.set(yticks=range(len(names)), yticklabels=names, xlabel="L1 on held-out heads (0 to 1)")
axis.invert_yaxis()
axis.legend()
plots.show(
    figure,
    alt="L1 on held-out heads with its spread, one row for each option, at two learning rates: EMA has the "
    "lowest error at both; clipping and R1 lie close to plain training; at the high rate spectral norm and "
    "warm-up are worse, with a wide spread.",
)

# %% [markdown]
# *Figure 5. Error on held-out heads, and the spread of the last four validations. Of all options only the
# average of the weights helps here by more than the difference between one validation and the next.*
#
# ## Break it
#
# Take the training of section 4 with a learning rate a hundred times too high. First write down a guess:
# which of the six curves will show it?

# %%
wild = copy.deepcopy(SMALL)
wild["train_params"] |= {"lr_generator": 0.2, "lr_kp_detector": 0.1, "lr_discriminator": 0.1}
broken, told = learn(fomm.load_config(wild), steps=25)
plots.show(
    plots.plot_curves(
        range(25),
        {"2e-3": history["perceptual"][:25], "0.2": told["perceptual"]},
        xlabel="step",
        ylabel="perceptual loss",
    ),
    alt="the perceptual loss over 25 steps: at the usual rate it falls; at a rate a hundred times as high it "
    "jumps up and stays high.",
)
print("worse than before the training:", np.mean(told["perceptual"][-5:]) > told["perceptual"][0])

# %% [markdown]
# *Figure 6. A rate that is too high does not look like slow learning, but like no learning, at a high loss.*
#
# A NaN is worse than a high loss. A single pixel that is NaN spreads to every weight in one step. The library
# checks losses and gradients **before** the update, and stops:

# %%
poisoned = frames[[0, 1, 2, 3]].clone()
poisoned[0, 0, 5, 5] = float("nan")
try:
    step(poisoned, driving, transform)
except NotFinite as error:
    print(str(error).split(" and ")[0], "... are not finite")
print("the weights are still numbers:", all(p.isfinite().all() for p in step.model.parameters()))

# %% [markdown]
# `train` then saves the batch in a file, names it, and says what to try; the last state is intact.
#
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged stub does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · The learning rate of a step  (easy, 5 minutes)
#
# The rate is multiplied by a tenth for every milestone that the epoch has reached, and over the first
# `warmup` steps by a ramp from 0: at step s by s / warmup. `learning_rate(50, 0, 1e-3, [60, 90], 100)` is
# 5e-4; `warmup` 0 means no ramp.


# %%
def learning_rate(step, epoch, base, milestones, warmup):
    """step from 1, epoch from 0 -> the rate."""
    raise NotImplementedError


check_learning_rate(learning_rate)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def learning_rate(step, epoch, base, milestones, warmup):
#     passed = sum(milestone <= epoch for milestone in milestones)
#     ramp = min(1.0, step / warmup) if warmup else 1.0
#     return base * 0.1**passed * ramp
# ```
#
# </details>
#
# ### Exercise 2 · Where to resume  (easy, 5 minutes)
#
# After `done` steps a state was saved; an epoch has `epoch_length` batches. To which epoch does the next
# batch belong, and which of its batches is it? Both count from 0: `place_of_step(350, 150)` is `(2, 50)`.


# %%
def place_of_step(done, epoch_length):
    """-> (epoch, batch)"""
    raise NotImplementedError


check_place_of_step(place_of_step)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def place_of_step(done, epoch_length):
#     return divmod(done, epoch_length)
# ```
#
# </details>
#
# ### Exercise 3 · Gradient clipping  (medium, 10 minutes)
#
# All gradients of a network together are one long vector. If it is longer than `limit`, scale it to that
# length without changing its direction; if not, leave it unchanged.
# `shorten([torch.tensor([3.0, 4.0])], 1.0)` is `[tensor([0.6, 0.8])]`.


# %%
def shorten(gradients, limit):
    """A list of tensors -> a list of tensors."""
    raise NotImplementedError


check_shorten(shorten)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The squared length of the vector is the sum of all squares, over all tensors. All tensors get the same
# factor.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def shorten(gradients, limit):
#     length = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
#     factor = min(1.0, float(limit / length))
#     return [gradient * factor for gradient in gradients]
# ```
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# What a healthy run looks like: `perceptual` falls steeply, then slowly, for as long as you train.
# `equivariance_value` and `equivariance_jacobian` fall at the beginning and stay. `disc_gan` is near 0.5 and
# `gen_gan` near 0.25: a discriminator that gives one half everywhere. `feature_matching` falls slowly.
#
# | symptom | cause | fix |
# |---|---|---|
# | all losses jump up and stay | learning rate too high | a third of it; `warmup_steps` |
# | a peak now and then, then on as before | a rare batch | `clip_grad_norm`, at the usual gradient norm |
# | not finite, in bf16 or fp16 | a number too large for the format | float32; a lower rate |
# | `disc_gan` goes to 0, `gen_gan` to 1 | discriminator too good | `lr_discriminator` lower; `r1`; `sn` |
# | `disc_gan` stays at 0.5 from the start | it learns nothing | `lr_discriminator` higher; is its weight 0? |
# | `perceptual` flat, images grey | no motion is learned yet | wait; look at keypoints in `samples/` |
# | all keypoints at one point | equivariance outweighs the rest | lower its weights; a larger batch |
# | training falls, validation rises | too few clips | more clips, `augmentation_params` |
# | a jump after each resume | a state without Adam's averages | `--resume`, not `--init` |
# | validation goes up and down | the last step has too much influence | `ema_decay: 0.999`; lower rate |
# | two machines, another curve than one | batch norm uses half a batch | synchronise it, as `train` does |

# %% [markdown]
# ## Questions
#
# **1.** Why can one output of the discriminator for the generated image serve both losses, although the
# published code computes it twice?
#
# <details><summary>Answer</summary>
#
# Both times the same discriminator gets the same image: the generator's update changes the generator, not the
# image that it made before. The two differ only if a call itself changes the discriminator, as with spectral
# norm.
#
# </details>
#
# **2.** Four processes with batch norm that is *not* synchronised, 40 pairs in all. Which statistics does
# each network use, and which loss would show it?
#
# <details><summary>Answer</summary>
#
# Means and variances of 10 pairs instead of 40, different in each process. No loss shows it: the model trains
# as with a smaller batch, a little noisier. Only a comparison with one process, digit by digit, shows it; the
# tests make this comparison.
#
# </details>
#
# **3.** After a resume the perceptual loss is a third higher for some hundred steps. What was not in the
# state?
#
# <details><summary>Answer</summary>
#
# Probably Adam's averages. The first steps of a new Adam have full length in every weight, even if its
# gradient is small, and so undo fine-tuned weights.
#
# </details>
#
# **4.** `disc_gan` is 0.5 and `gen_gan` 0.25 for hours. Is the training stuck?
#
# <details><summary>Answer</summary>
#
# No: these are the values for a discriminator that gives one half everywhere, $(1 - 0.5)^2 + 0.5^2$ and
# $(1 - 0.5)^2$. This balance is desirable; `perceptual`, validation, and the images show whether the images
# improve.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can explain every part of a step, train on a CPU, on a GPU and on many, stop and resume with the same
# digits, and recognise from six curves what is wrong.
#
# Next: **08 · Animation** uses what was trained; **09 · Evaluation** measures it.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). D. Kingma and J. Ba, *Adam*, ICLR 2015. P. Goyal et
# al., *Accurate, Large Minibatch SGD*, 2017 (warm-up; many processes as one). P. Micikevicius et al., *Mixed
# Precision Training*, ICLR 2018. Y. Yazıcı et al., *The Unusual Effectiveness of Averaging in GAN Training*,
# ICLR 2019. L. Mescheder et al., *Which Training Methods for GANs do actually Converge?*, ICML 2018 (R1). M.
# Heusel et al., *GANs Trained by a Two Time-Scale Update Rule*, NeurIPS 2017 (separate learning rates).
