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
# Three networks, six losses, one step, over and over. You train a model in seconds on one clip, then with
# the same lines on a GPU and on many, stop it, go on as if nothing had happened, and read its curves.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - follow one step of training from the pictures to the update, and say why nothing in it is done twice;
# - overfit a clip on a CPU in seconds, and see in which order a model learns;
# - run the same training on one GPU, on several processes, and know why the result is the same;
# - lose nothing when a machine dies;
# - read six curves, and mend a run that goes wrong with the switch that fits.
#
# | | |
# |---|---|
# | Know first | notebooks 03 to 06 for the networks and the losses; Adam |
# | Minutes | 40 to read and run, 30 to practise |
# | GPU | no, half a minute on a CPU; the same cells run on a GPU with one switch |
# | Paper | section 3.3 (losses), section 4 and supplement A (training) |
# | Module | `fomm_lib.training`, with `fomm_lib.training_step` |

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
from fomm_lib import losses, plots
from fomm_lib.datasets import find_clips, to_tensor
from fomm_lib.exercises import check_learning_rate, check_place_of_step, check_shorten
from fomm_lib.perceptual import Vgg16Features
from fomm_lib.training import train
from fomm_lib.training_step import NotFinite, TrainingStep

plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS
DEVICE = "cpu"  # "cuda" on a machine with a GPU
_ = torch.set_num_threads(1)  # small networks are fastest so, and give the same digits everywhere

# %% [markdown]
# ## The problem as one picture
#
# These are the six losses of the model that comes with the course, from its first step to its last, as
# `fomm train` wrote them down. It learned in three stages; the adversarial losses exist in the last only.

# %%
shipped = fomm.data_path("weights", "heads-64.csv")
plots.show(
    plots.plot_losses(shipped),
    alt="six panels over the steps of the shipped model: the perceptual loss falls fast, then slowly, with a "
    "jump where a stage begins; the equivariance losses fall early and stay low; the adversarial losses "
    "appear in the last stage and stay near the values of a judge who cannot tell.",
)

# %% [markdown]
# *Figure 1. Six numbers a step are all that one sees of a training. At the end of this notebook you can say
# what each of these curves should look like, and what is wrong when it does not.*
#
# Three questions stand behind them. What happens in one step? How does a step become a training that runs
# for days, on many machines, and survives their faults? And what does one do when a curve goes wrong?

# %% [markdown]
# ## 1 · What changes, and by what
#
# A step draws pairs of frames of the same clip, source $S$ and driving frame $D$, and a random deformation
# $T$ of the plane. The model makes $\hat D$ from $S$ and the keypoints of both. Then
#
# $$L_G = \lambda_P L_P(\hat D, D) + \lambda_A L_A + \lambda_F L_F + \lambda_V L_V + \lambda_J L_J,
# \qquad L_D = \lambda_D \big[(1 - D_\phi(D))^2 + D_\phi(\hat D)^2\big]$$
#
# | symbol | name | pulls on | in the log | weight in vox-adv |
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
# Three Adam optimizers, with a learning rate of 2e-4 and betas (0.5, 0.999), follow the gradients. Here is
# a model that is small enough for a class: pictures of 32 x 32, five keypoints, narrow networks. (These are
# keys of a config; those that are not named keep their defaults, and an unknown one is an error.) And one
# clip of a head to learn.

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
    plots.picture_grid([list(few)]),
    alt="six frames of a synthetic head of 32 x 32 pixels that turns and nods.",
    colours=256,
)
print("frames", tuple(frames.shape))

# %% [markdown]
# *Figure 2. All the data of this lesson: 48 frames.*
#
# The perceptual loss needs a network that has seen pictures. Its weights are a download, so in class we take
# the same layers with **random** weights: features of random filters also tell pictures apart, well enough
# for one clip. For a real training `fomm train` takes the trained network that the config names.


# %%
def random_features(seed=0):
    torch.manual_seed(seed)
    network = Vgg16Features().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)  # features as strong as the picture, layer by layer
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
kp_transformed = model.detect(transform.warp_picture(driving))

# %% [markdown]
# Then what the six losses say. (With two scales: the pictures and the same at half their size.)

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
# ## 3 · The seam
#
# `disc_gan` belongs to another player: its gradient may reach the discriminator only, and that of the other
# five must not. The published code therefore computes the discriminator twice, once in each role, and throws
# away the gradients that belong to nobody. There is a cheaper way: the picture is a **seam**.
#
#     S, D -> detector -> generator -> prediction | copy without history -> VGG, discriminator -> losses
#
# What judges the picture sees a copy. The losses leave their gradient at the copy; from there it goes back
# through the generator, once. The discriminator's judgment is then still there for its own loss. Is that the
# same gradient? Here for one weight of the generator, both ways.

# %%
weight, generator_losses = model.generator.final.weight, ["perceptual", "gen_gan", "feature_matching"]
total = sum(by_hand[name] for name in generator_losses)
straight = torch.autograd.grad(total, weight, retain_graph=True)[0]

seam = prediction.detach().requires_grad_()
fake_again = pyramid(seam)
judged = discriminator(fake_again)
total = losses.perceptual_loss(features, fake_again, real, [10, 10]) + losses.generator_gan_loss(judged)
total = total + losses.feature_matching_loss(on_real, judged, [10, 10])
at_the_seam = torch.autograd.grad(total, seam)[0]
in_two = torch.autograd.grad(prediction, weight, at_the_seam, retain_graph=True)[0]
print("the same gradient:", torch.allclose(straight, in_two, rtol=1e-3, atol=1e-5))

# %% [markdown]
# ## From toy to library
#
# `TrainingStep` is this step, with the seam, for all networks. Its losses on the same batch:

# %%
step = TrainingStep(model, discriminator, features, config)
found = step(source, driving, transform)
for name, loss in by_hand.items():
    assert abs(found[name] - loss.item()) < 1e-3 * abs(loss.item()), name
print("six losses agree:", ", ".join(sorted(found)))

# %% [markdown]
# The seam alone saves a tenth: a step is mostly convolutions, and all of them are needed. What is left is to
# multiply less. `fomm_lib.training_blocks` has two ways: doubling and convolution at once, with 4
# multiplications of 9; and *Winograd*'s tiles for wide 3x3 and 4x4 convolutions, which compute some
# neighbouring results together, from fewer products and more sums, with 1 multiplication of 4, forth and
# back. And memory that is kept need not be cleared again. `train` does the last two on CPUs only: libraries
# for GPUs have them. Measured at the size of vox-adv-256 on one core (`python benchmarks/training.py`); every
# row has all that stands above it, but bfloat16 is without Winograd, whose sums it would round too coarsely.
# Losses are those of the first step, against the published order.

# %%
with open(fomm.data_path("training", "speed.csv"), newline="") as file:
    for row in csv.DictReader(file):
        print(f"{row['variant']:17} x {float(row['ratio']):.2f}   losses differ by {row['losses']}")

# %% [markdown]
# Spectral norm is the exception. Under it every call of the discriminator improves its estimate of the norms
# (notebook 01), four times a step as published; with fewer calls its numbers would be others. There the
# library keeps the published order.
#
# ## 4 · In class: overfit one clip
#
# The loop, whole. Draw pairs, draw a deformation, take a step.


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
    "fall quickly; both adversarial losses fall to near the values of a judge who cannot tell.",
)
print("the perceptual loss fell to less than half:", history["perceptual"][-1] < history["perceptual"][0] / 2)

# %% [markdown]
# *Figure 3. The curves of 120 steps. Equivariance is learned at once, pictures follow.*
#
# Losses are one thing, pictures another. The first frame is the source; can the model redraw the others from
# it, and better than by showing the first frame again?


# %%
@torch.no_grad()
def redraw(model):
    return model(frames[:1].expand(len(frames), -1, -1, -1), frames).prediction


made = redraw(model)
pick = [8, 16, 24, 32, 40]
rows = [[frames[i] for i in pick], [made[i] for i in pick]]
plots.show(
    plots.picture_grid(rows, row_titles=["driving", "made"]),
    alt="five driving frames above, and below them what the model made of the first frame: the head has the "
    "right place and turn, and is blurred.",
    colours=256,
)
error, repeated = (made - frames).abs().mean(), (frames[:1] - frames).abs().mean()
print("closer than the first frame again:", bool(error < repeated))

# %% [markdown]
# *Figure 4. 120 steps, nothing labelled: nearer to the driving frames than the first frame is, and blurred.*
#
# ### Keep it
#
# What has been learned goes into one file: the weights of generator and detector, as numbers of 16 bits, and
# with them the config, so that nobody has to remember how the networks were built. `describe` tells what a
# file holds (in a shell: `fomm info FILE`), `read_checkpoint` reads it, published files too, and
# `load_model` builds the model.

# %%
room = Path(tempfile.mkdtemp())
learned = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
kept = fomm.write_weights(room / "mine.safetensors", learned, config, notes={"trained on": "one clip"})
print("\n".join(fomm.describe(kept).splitlines()[1:]))  # the first line is the name of the file

inside = fomm.read_checkpoint(kept)
assert isinstance(inside.config, fomm.Config) and inside.config == config
again = redraw(fomm.load_model(kept, device=DEVICE))
print("loaded again, it makes the same pictures:", bool((again - made).abs().max() < 0.02))

# %% [markdown]
# ### The same cells on a GPU
#
# Set `DEVICE = "cuda"` at the top and run all again: nothing else changes, as every tensor is made there. But
# these cells are too small for a GPU. A step is 3 GFLOP in 1100 operations, each of which takes 5 to 10
# millionths of a second to start: a second for 120 steps, of which it computes for a twentieth, in well under
# 1 GB.
#
# With a GPU you would take real networks and pictures. What a step of vox-adv-256 costs is known beforehand:
# 0.58 TFLOP a pair, forth and back through all networks, and 0.54 GB that the way back will ask for (0.27 in
# numbers of 16 bits), beside 1 GB of weights, gradients and moments. Divide by what your GPU has:
#
# | GPU | arithmetic a second, says its maker | seconds a pair, at the least | pairs at once, at the most |
# |---|---|---|---|
# | T4, 16 GB (Colab) | 8 TFLOP float32, 65 TFLOP fp16 | 0.07, or 0.009 with `--fp16` | 27, or 54 |
# | A100, 40 GB | 156 TFLOP TF32, 312 TFLOP bf16 | 0.004, or 0.002 with `--bf16` | 72, or 141 |
#
# (TF32 is how PyTorch computes convolutions in float32 where the GPU can.) That is a floor, of arithmetic
# alone. `benchmarks/training_floor.py` counts and measures: on one CPU core a step in bfloat16 takes 1.23
# times its floor, and one in float32 0.75, since Winograd's tiles multiply less than was counted;
# `--device cuda` tells of your GPU. The published training of vox-256 is 79,500 steps of 40 pairs, three
# million pairs; vox-adv-256 goes on from there.

# %% [markdown]
# ## 5 · A training that survives
#
# `train` (in a shell: `fomm train`) is the loop above, and what it takes to leave it alone for days: data
# from a folder, logs, pictures, and **states**. A state is everything that the next step depends on. Let us
# make a folder with our clip, train for six steps, and look at what is there. (No perceptual loss here, so
# that it runs without a download.)

# %%
folder = room / "data" / "train" / "head"
folder.mkdir(parents=True)
for number, frame in enumerate(frames):
    pixels = (frame.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    Image.fromarray(pixels).save(folder / f"{number:03d}.png")

TINY = copy.deepcopy(SMALL)
TINY["train_params"] |= {"num_repeats": 16, "epoch_milestones": [1]}
TINY["train_params"]["loss_weights"]["perceptual"] = [0]
quiet = {"device": "cpu", "progress": False, "tensorboard": False, "log_every": 1}
_ = train(TINY, room / "data", room / "whole", steps=6, **quiet)
print("\n".join(sorted(path.relative_to(room).as_posix() for path in room.glob("whole/*"))))

# %% [markdown]
# Now the same, but stopped after three steps, and resumed.

# %%
_ = train(TINY, room / "data", room / "resumed", steps=3, **quiet)
_ = train(TINY, room / "data", room / "resumed", steps=6, resume=True, **quiet)


def rows_of(run):
    with open(room / run / "losses.csv", newline="") as file:
        timeless = [name for name in next(csv.reader(file)) if "second" not in name]
        file.seek(0)
        return [[row[name] for name in timeless] for row in csv.DictReader(file)]


print("six steps, and 3 + 3 steps, to the last digit:", rows_of("whole") == rows_of("resumed"))

# %% [markdown]
# Not almost the same: the same. What makes it so:
#
# | in the state | without it |
# |---|---|
# | weights of all three networks, and running statistics of batch norm | another model |
# | Adam's two averages and its count of steps | a jump in the losses after each resume |
# | the scale of fp16 (below) | some steps lost |
# | the moving average of the weights | a worse model in the end |
# | how many steps are done: from it follow epoch, batch, learning rate | pairs seen twice, others never |
# | where the random numbers stand | other deformations |
#
# (bf16 and fp16 are numbers of 16 bits: half the memory, and much faster on GPUs made for them. fp16 cannot
# hold very small numbers, so the loss is multiplied by a *scale* before the backward pass and the gradients
# are divided by it after; the scale adapts as it goes. bf16 has the range of float32, and fewer digits.)
#
# The learning rate is no part of it: it follows from step and epoch (`training.learning_rate_factor`). The
# published code keeps a schedule object instead, and continues at a tenth of the rate when it is resumed at
# a milestone. What follows from something else should not be stored beside it.
#
# A state is written to a temporary file, flushed to the disk, and then renamed, so that at no moment is there
# half of one. `kill -9` in the middle leaves the one before; the tests do that, with a real signal.

# %% [markdown]
# ## 6 · Many processes
#
# Two processes, each with half of every batch. After the backward pass they average their gradients; before
# it, batch norm averages its statistics, or each would see another mean. Then both take the same step, and
# no process ever holds another model. Here it is live, on this machine:

# %%
(room / "tiny.yaml").write_text(fomm.load_config(TINY).model_dump_json())  # JSON is YAML, too
command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
command += ["-m", "fomm_lib", "train", "--config", room / "tiny.yaml", "--data", room / "data"]
command += ["--out", room / "two", "--steps", "3", "--device", "cpu", "--threads", "1", "--no-tensorboard"]
command += ["--log-every", "1"]
environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
assert done.returncode == 0, done.stderr

# %% [markdown]
# Against one process with the whole batch. (The first step only: from then on Adam, which divides gradients
# by their size, makes ever more of a difference in rounding.)

# %%
one, two = (np.array([row[3:8] for row in rows_of(run)[:1]], dtype=object) for run in ("whole", "two"))
numbers = [[float(cell) for cell in run.flatten() if cell] for run in (one, two)]
apart = max(abs(a - b) / abs(a) for a, b in zip(*numbers, strict=True))
print("losses of the first step:", len(numbers[0]), "; the same but for rounding:", apart < 1e-4)

# %% [markdown]
# The batch size of a config is that of all processes together, so a training needs no new settings to move:
#
# | where | command |
# |---|---|
# | here | `fomm train --config vox-256 --data vox --out runs/vox` |
# | four GPUs | `accelerate launch --multi_gpu --num_processes 4 -m fomm_lib train ... --bf16` |
# | two processes on a CPU | `ACCELERATE_USE_CPU=true torchrun --nproc-per-node 2 -m fomm_lib train ...` |
# | two machines with eight each | the command below, on each |
# | a batch too large for memory | `--accumulate 4`: in four parts, one after the other |
# | the cluster kills jobs | `--resume` in the job's script, from the first time on |
#
#     accelerate launch --multi_gpu --num_machines 2 --machine_rank 0 --num_processes 16 \\
#         --main_process_ip ADDRESS --main_process_port 29500 \\
#         -m fomm_lib train --config vox-256 --data vox --out runs/vox --bf16 --resume
#
# (`ADDRESS` is that of the first machine, and the second has `--machine_rank 1`. Without `--multi_gpu`,
# `accelerate launch` starts a single process wherever it sees fewer than two GPUs, and says nothing.)
#
# With `--accumulate`, batch norm sees the parts, not the whole, so the numbers are those of smaller batches;
# with more processes they are not.

# %% [markdown]
# ## 7 · Switches for stability
#
# Beyond the paper there are six switches, all keys of a config, all off by default:
#
# | switch | key | what it does |
# |---|---|---|
# | EMA | `ema_decay`, $d$ | keeps an average of the weights, $\bar w \leftarrow d\,\bar w + (1 - d)\,w$ |
# | clipping | `clip_grad_norm` | shortens a gradient that is longer than this (exercise 3) |
# | R1 | `r1`, $\gamma$ | adds $\gamma \lvert \nabla D_\phi \rvert^2 / 2$ at real pictures to $L_D$ (01) |
# | spectral norm | `sn` | divides the discriminator's layers by their largest singular value (01) |
# | warm-up | `warmup_steps` | learning rates grow from 0 over so many steps (exercise 1) |
# | separate rate | `lr_discriminator` | the discriminator learns faster, or more slowly |
#
# What is each worth? Seven short trainings on the 40 clips of `data/heads` that differ in one switch, at a
# good learning rate and at one that is ten times too high (`python benchmarks/stability.py`, 200 steps each,
# some minutes; one seed, so look at large differences only).

# %%
with open(fomm.data_path("training", "stability.csv"), newline="") as file:
    table = list(csv.DictReader(file))
for row in table:
    start = f"{float(row['rate']):<6g} {row['variant']:21}"
    print(
        f"{start} L1 {float(row['l1']):.3f} +- {float(row['l1_spread']):.3f}   D {float(row['disc_gan']):.2f}"
    )

# %% [markdown]
# What one can read from it, and what not:
#
# - **EMA**, a moving average of the weights, is the one that pays at once: a lower error on held-out heads at
#   both rates, and less difference from one validation to the next. It costs a copy of the model and changes
#   nothing in the training itself, which is why its other columns are those of *plain*.
# - **R1** and **spectral norm** act on the discriminator alone. R1 does what it should, and makes it less
#   sure of itself (`D` further from 0.5, where it balances); the pictures hardly notice, as most of the
#   gradient comes from the perceptual loss. Where the discriminator is the only teacher they decide
#   everything: notebook 01. At the high rate the run with spectral norm jumped: its last four validations
#   lie between 0.07 and 0.29.
# - **Clipping** is insurance against rare steps that are far too long. A run of 200 steps that has none gains
#   nothing at the good rate, and a little at the high one.
# - **Warm-up** learns more slowly at first. Here the ramp is half of the run, and costs more than it brings.
# - A **separate learning rate** of the discriminator, here a quarter, shifts the balance of the two players;
#   at both rates the pictures hardly notice.
#
# So, for a training of your own: `ema_decay` 0.99 to 0.999 always; `clip_grad_norm` a little above the usual
# gradient norm, which the log tells, for long runs nobody watches; the others when a symptom asks for them.

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
    alt="L1 on held-out heads with its spread, one row a switch, at two learning rates: EMA has the lowest "
    "error at both; clipping and R1 lie close to plain training; at the high rate spectral norm and "
    "warm-up are worse, with a wide spread.",
)

# %% [markdown]
# *Figure 5. Error on held-out heads, and how far the last four validations differ. Of all switches only the
# average of the weights helps here by more than one validation differs from the next.*
#
# ## Break it
#
# Take the class's training, and a learning rate a hundred times too high. Write down a guess first: which of
# the six curves will tell?

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
print("worse than before it began:", np.mean(told["perceptual"][-5:]) > told["perceptual"][0])

# %% [markdown]
# *Figure 6. A rate too high does not look like slow learning. It looks like no learning, at a high level.*
#
# Worse than a high number is none at all. A single pixel that is not a number spreads to every weight in one
# step. The library looks at losses and gradients **before** the update, and stops:

# %%
poisoned = frames[[0, 1, 2, 3]].clone()
poisoned[0, 0, 5, 5] = float("nan")
try:
    step(poisoned, driving, transform)
except NotFinite as error:
    print(str(error).split(" and ")[0], "... are not finite")
print("the weights are still numbers:", all(p.isfinite().all() for p in step.model.parameters()))

# %% [markdown]
# `train` then keeps the batch in a file, names it, and says what to try; the last state is whole.
#
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. Left as it
# is, the notebook goes on; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · The learning rate of a step  (easy, 5 minutes)
#
# A tenth for every milestone that the epoch has reached, and over the first `warmup` steps a ramp from 0:
# step s has s / warmup of it. `learning_rate(50, 0, 1e-3, [60, 90], 100)` is 5e-4; `warmup` 0 means no ramp.


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
# ### Exercise 2 · Where to go on  (easy, 5 minutes)
#
# A state says that `done` steps are done; an epoch has `epoch_length` batches. Which epoch does the next
# batch belong to, and which of its batches is it? Both count from 0: `place_of_step(350, 150)` is `(2, 50)`.


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
# All gradients of a network together are one long arrow. If it is longer than `limit`, shorten it to that
# length without turning it; if not, leave it. `shorten([torch.tensor([3.0, 4.0])], 1.0)` is
# `[tensor([0.6, 0.8])]`.


# %%
def shorten(gradients, limit):
    """A list of tensors -> a list of tensors."""
    raise NotImplementedError


check_shorten(shorten)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The squared length of the long arrow is the sum of all squares, over all tensors. All tensors get the same
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
# `gen_gan` near 0.25: a judge who answers one half everywhere. `feature_matching` falls slowly.
#
# | symptom | cause | mend |
# |---|---|---|
# | all losses jump up and stay | learning rate too high | a third of it; `warmup_steps` |
# | a peak now and then, then on as before | a rare batch | `clip_grad_norm`, at the usual gradient norm |
# | not finite, in bf16 or fp16 | a number too large for the format | float32; a lower rate |
# | `disc_gan` goes to 0, `gen_gan` to 1 | the discriminator wins | `lr_discriminator` lower; `r1`; `sn` |
# | `disc_gan` stays at 0.5 from the start | it learns nothing | `lr_discriminator` higher; is its weight 0? |
# | `perceptual` flat, pictures grey | no motion is learned yet | wait; look at keypoints in `samples/` |
# | keypoints in one heap | equivariance outweighs the rest | lower its weights; a larger batch |
# | training falls, validation rises | too few clips | more clips, `augmentation_params` |
# | a jump after each resume | a state without Adam's averages | `--resume`, not `--init` |
# | validation jumps up and down | the last step decides too much | `ema_decay: 0.999`; the rate's last drop |
# | two machines, another curve than one | batch norm sees half a batch | synchronise it, as `train` does |

# %% [markdown]
# ## Questions
#
# **1.** Why may the discriminator's judgment of the generated picture serve both players, although the
# published code computes it twice?
#
# <details><summary>Answer</summary>
#
# Both times the same discriminator sees the same picture: the generator's update changes the generator, not
# the picture that it made before. Only where a call itself changes the discriminator, as under spectral
# norm, do the two differ.
#
# </details>
#
# **2.** Four processes with batch norm that is *not* synchronised, 40 pairs in all. What does each network
# see, and which loss would tell?
#
# <details><summary>Answer</summary>
#
# Means and variances of 10 pairs instead of 40, other ones in each process. No loss tells: it trains, as
# with a smaller batch, a little noisier. It shows in the comparison with one process, digit by digit, which
# is why the tests make it.
#
# </details>
#
# **3.** After a resume the perceptual loss is a third higher for some hundred steps. What was not in the
# state?
#
# <details><summary>Answer</summary>
#
# Probably Adam's averages. The first steps of an Adam that starts anew have full length in every weight,
# however small its gradient is, and so spoil what was fine-tuned.
#
# </details>
#
# **4.** `disc_gan` is 0.5 and `gen_gan` 0.25 for hours. Is the training stuck?
#
# <details><summary>Answer</summary>
#
# No: these are the values for a judge who says one half to everything, $(1 - 0.5)^2 + 0.5^2$ and
# $(1 - 0.5)^2$. A balance is what one wants; whether pictures get better is seen in `perceptual`, in
# validation, and in the pictures.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can take a step apart, train in class, on a GPU and on many, stop and go on without losing a digit, and
# tell from six curves what is wrong.
#
# Next: **08 · Animation** uses what was trained; **09 · Evaluation** measures it.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). D. Kingma and J. Ba, *Adam*, ICLR 2015. P. Goyal et
# al., *Accurate, Large Minibatch SGD*, 2017 (warm-up; many processes as one). P. Micikevicius et al., *Mixed
# Precision Training*, ICLR 2018. Y. Yazıcı et al., *The Unusual Effectiveness of Averaging in GAN Training*,
# ICLR 2019. L. Mescheder et al., *Which Training Methods for GANs do actually Converge?*, ICML 2018 (R1). M.
# Heusel et al., *GANs Trained by a Two Time-Scale Update Rule*, NeurIPS 2017 (separate learning rates).
