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
# A training repeats one step with three networks and six losses. You write that step, train a model in
# seconds on one clip, resume a training with the same result, and read its curves.

# %% [markdown]
# ## At a glance
#
# **You will be able to**
#
# - write the training loop of a GAN, and say why its two updates come in this order;
# - overfit a clip on a CPU in seconds, and see in which order a model learns;
# - resume after a crash without any loss, and train in several processes;
# - read six curves, and correct a run that goes wrong.
#
# | | |
# |---|---|
# | Know first | notebooks 03 to 06 for the networks and the losses; Adam |
# | Minutes | 45 to read and run, 40 to practise |
# | GPU | no, a minute on a CPU; the same cells run on a GPU with one switch |
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
from fomm_lib.course.exercises.nb07_training import (
    check_distance_moved,
    check_shorten,
    check_update_both,
)
from fomm_lib.data.clips import find_clips
from fomm_lib.media.tensors import to_tensor
from fomm_lib.perceptual import Vgg16Features
from fomm_lib.training.loop import train
from fomm_lib.training.step import NotFinite, TrainingStep

plots.use_style()
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = plots.COLOURS
DEVICE = "cpu"  # "cuda" on a machine with a GPU
_ = torch.set_num_threads(1)  # small networks are fastest so

# %% [markdown]
# ## The problem as one image
#
# These are the six losses of the model that comes with the course, from its first step to its last, as
# `fomm train` logged them. It was trained in three stages; the adversarial losses exist only in the last.

# %%
shipped = fomm.data_path("weights", "heads-64.csv")
plots.show(
    plots.plot_losses(shipped),
    alt="six panels over the steps of the shipped model: the perceptual loss falls fast, then "
    "slowly, with a jump where a stage begins; the equivariance of values falls by two thirds, "
    "that of Jacobians by a third, until the end; the adversarial losses appear in the last "
    "stage and stop at 0.25 and 0.5.",
)

# %% [markdown]
# *Figure 1. A training logs six numbers in each step. At the end of this notebook you can say what each of
# these curves shows, and that two of them show a failure.*
#
# ## 1 · Which loss trains which network
#
# A step draws pairs of frames of the same clip, source $x_S$ and driving frame $x_D$, and a random
# deformation $T$ of the plane. The model makes $\hat x$ from $x_S$ and the keypoints of both. Generator and
# detector minimise
#
# $$L_\text{total} = L_\text{perc} + \lambda_1 L_G + L_\text{fm} +
# \lambda_2 L_\text{eq} + \lambda_3 L_\text{jac}$$
#
# with weights $\lambda$, and the discriminator minimises $L_D$ (all as in notebook 06).
#
# | symbol | name | trains | in the log | weight in vox-adv |
# |---|---|---|---|---|
# | $L_\text{perc}$ | loss: perceptual | generator, detector | `perceptual` | 10 each feature |
# | $L_G$ | loss: adversarial, of the generator | generator, detector | `gen_gan` | 1 |
# | $L_\text{fm}$ | loss: feature matching | generator, detector | `feature_matching` | 10 |
# | $L_\text{eq}$ | loss: equivariance of the points | detector | `equivariance_value` | 10 |
# | $L_\text{jac}$ | loss: equivariance of the Jacobians | detector | `equivariance_jacobian` | 10 |
# | $L_D$ | loss: adversarial, of the discriminator | discriminator alone | `disc_gan` | 1 |
#
# The next cell defines a model that is small enough for a class: images of 32 x 32, five keypoints, narrow
# networks. (These are keys of a config; keys that are not given keep their defaults.)

# %%
hourglass = {"block_expansion": 8, "max_features": 32, "num_blocks": 3, "scale_factor": 0.5}
generator = {"block_expansion": 16, "max_features": 32, "num_down_blocks": 1}
generator |= {"num_bottleneck_blocks": 2, "estimate_occlusion_map": True}
weights = {"generator_gan": 1, "perceptual": [10, 10], "feature_matching": [10, 10]}
SMALL = {
    "dataset_params": {"frame_shape": [32, 32, 3]},
    "model_params": {
        "common_params": {"num_kp": 5},
        "kp_detector_params": {**hourglass, "pad": 3},
        "generator_params": {**generator, "dense_motion_params": hourglass},
        "discriminator_params": {"block_expansion": 8, "max_features": 32, "num_blocks": 2},
    },
    "train_params": {
        "batch_size": 4,
        "scales": [1, 0.5],
        "lr_generator": 2e-3,
        "lr_kp_detector": 1e-3,
        "lr_discriminator": 1e-3,
        "loss_weights": weights,
    },
}
config = fomm.load_config(SMALL)

# %% [markdown]
# One clip of a head is all the training data of this notebook.

# %%
clip = find_clips(fomm.data_path("heads"), "train")[4]
frames = torch.stack([to_tensor(frame, (32, 32)) for frame in clip]).to(DEVICE)
plots.show(
    plots.image_grid([list(frames[[0, 8, 16, 24, 32, 40]])]),
    alt="six frames of a synthetic head of 32 x 32 pixels that turns and nods.",
    colours=256,
)
print("frames", tuple(frames.shape))

# %% [markdown]
# *Figure 2. Six of the 48 frames.*
#
# The perceptual loss needs a network trained on images, whose weights must be downloaded. In class we use the
# same layers with **random** weights (notebook 06).


# %%
def random_features(seed=0):
    torch.manual_seed(seed)
    network = Vgg16Features().eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(
                layer.weight
            )  # features keep their size at every depth
    return network.to(DEVICE)


def networks(config, seed=0):
    torch.manual_seed(seed)
    model, discriminator = fomm.FirstOrderMotionModel(config), fomm.build_discriminator(config)
    return model.to(DEVICE).train(), discriminator.to(DEVICE).train()


features, pyramid = random_features(), fomm.blocks.ImagePyramid(3, [1, 0.5]).to(DEVICE)

# %% [markdown]
# ## 2 · One step, by hand
#
# First the forward pass: five of the six losses. The detector runs three times, on the source, on the driving
# frame, and on the driving frame deformed by $T$.


# %%
def five_losses(model, discriminator, source, driving, transform):
    kp_source, kp_driving = model.detect(source), model.detect(driving)
    prediction = model.generate(source, kp_source, kp_driving).prediction
    kp_warped = model.detect(transform.warp_image(driving))
    fake, real = pyramid(prediction), pyramid(driving)
    on_fake, on_real = discriminator(fake), discriminator(real)
    pair = (kp_driving, kp_warped, transform)
    found = {
        "perceptual": losses.perceptual_loss(features, fake, real, [10, 10]),
        "gen_gan": losses.generator_gan_loss(on_fake),
        "feature_matching": losses.feature_matching_loss(on_real, on_fake, [10, 10]),
        "equivariance_value": 10 * losses.equivariance_value_loss(*pair),
        "equivariance_jacobian": 10 * losses.equivariance_jacobian_loss(*pair),
    }
    return found, fake, real


# %% [markdown]
# Then the updates, with one Adam a network. Read them line by line: this is the training loop of a GAN.


# %%
def make_optimizers(config, model, discriminator):
    parts = {"generator": model.generator, "kp_detector": model.kp_detector}
    parts["discriminator"] = discriminator
    return {
        name: torch.optim.Adam(
            part.parameters(), getattr(config.train_params, f"lr_{name}"), betas=(0.5, 0.999)
        )
        for name, part in parts.items()
    }


def step_by_hand(model, discriminator, optimizers, source, driving, transform):
    # 1. Generator and detector: become better for the discriminator as it is.
    found, fake, real = five_losses(model, discriminator, source, driving, transform)
    optimizers["generator"].zero_grad()
    optimizers["kp_detector"].zero_grad()
    sum(found.values()).backward()
    optimizers["generator"].step()
    optimizers["kp_detector"].step()
    # 2. Discriminator: become better at telling the image made above from the real one.
    copies = {scale: image.detach() for scale, image in fake.items()}
    loss = losses.discriminator_gan_loss(discriminator(real), discriminator(copies))
    optimizers["discriminator"].zero_grad()  # drops what backward() of part 1 left there
    loss.backward()
    optimizers["discriminator"].step()
    return {name: value.item() for name, value in (found | {"disc_gan": loss}).items()}


# %% [markdown]
# Three details, and what goes wrong without them:
#
# - `zero_grad` comes before each `backward`, because gradients are *added*. Part 1 leaves some in the
#   discriminator. Without the `zero_grad` of part 2 it would learn to be deceived.
# - `detach` cuts the history of the image. Without it, part 2 would also compute gradients of the generator.
# - The generator comes first: its `backward` needs the discriminator's weights of the forward pass. Part 2
#   reuses the image, so that it is generated only once.
#
# ## 3 · In class: overfit one clip
#
# The whole training: draw pairs, draw a deformation, take a step.


# %%
def learn(config, steps, seed=0):
    model, discriminator = networks(config, seed)
    optimizers, history = make_optimizers(config, model, discriminator), []
    for _ in range(steps):
        first, second = torch.randint(len(frames), (2, 4))
        transform = losses.RandomTransform.sample(4, device=DEVICE)
        batch = (frames[first], frames[second], transform)
        history.append(step_by_hand(model, discriminator, optimizers, *batch))
    return model.eval(), {name: [row[name] for row in history] for name in history[0]}


model, history = learn(config, steps=80)
plots.show(
    plots.plot_losses(history, window=5),
    alt="six panels over 80 steps on one clip: perceptual, feature matching and the "
    "equivariance of values fall quickly, that of Jacobians slowly and with much noise; both "
    "adversarial losses fall smoothly: that of the generator to 0.3, that of the discriminator "
    "to 0.5, where it stays.",
)

# %% [markdown]
# *Figure 3. The curves of 80 steps.* In which order does the model learn? For every loss, the share of its
# whole fall that is done after some steps (mean of five steps):


# %% tags=["nbval-ignore-output"]
def share_of_fall(values, step):
    end = np.mean(values[-10:])
    return (values[0] - np.mean(values[step - 2 : step + 3])) / (values[0] - end)


steps = (5, 10, 20, 40)
shares = {name: [share_of_fall(row, step) for step in steps] for name, row in history.items()}
columns = ["loss", *(f"{step} steps" for step in steps)]
plots.show_table(columns, [[name, *row] for name, row in shares.items()], digits=2)
assert shares["equivariance_jacobian"][2] < 0.5 < shares["perceptual"][0]

# %% [markdown]
# The image, and *where* the points are, are learned first, together: two thirds after five steps. How the
# neighbourhood of the points turns, the Jacobian, is learned last: it is still far from done when the others
# are.
#
# `disc_gan` ends at 0.50, the loss of a discriminator that gives one half everywhere: it cannot distinguish
# (notebook 06). Is that because the images are perfect? Look at them. The first frame is the source.


# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def redraw(model):
    return model(frames[:1].expand(len(frames), -1, -1, -1), frames).prediction


made = redraw(model)
error, repeated = (made - frames).abs().mean(), (frames[:1] - frames).abs().mean()
print(f"mean error {error:.3f}; of the first frame, repeated, {repeated:.3f}")
assert error < repeated

# %% [markdown]
# Five frames, and what the model made of the first:

# %% tags=["hide-input"]
# @title Driving frames and reconstruction
pick = [8, 16, 24, 32, 40]
plots.show(
    plots.image_grid(
        [[images[i] for i in pick] for images in (frames, made)], None, ["driving", "made"]
    ),
    alt="five driving frames above, and below them what the model made of the first frame: the "
    "head has the right position, and is blurred.",
    colours=256,
)

# %% [markdown]
# *Figure 4. After 80 steps without labels the result is a little closer to the driving frames than the first
# frame is, and blurred.* So the images are not perfect; the discriminator has learned nothing yet, and the
# adversarial loss has no effect. The same holds for the end of figure 1.
#
# ### Save the model
#
# One file holds the weights, as 16-bit numbers, and the config. `describe` lists its content,
# `read_checkpoint` reads it, and `load_model` builds the model; `convert` makes one of a published file.

# %%
work = Path(tempfile.mkdtemp())
learned = {
    "generator": model.generator.state_dict(),
    "kp_detector": model.kp_detector.state_dict(),
}
kept = fomm.write_weights(
    work / "mine.safetensors", learned, config, notes={"trained on": "one clip"}
)
print("\n".join(fomm.describe(kept).splitlines()[1:]))  # the first line is the name of the file

inside = fomm.read_checkpoint(kept)
assert isinstance(inside.config, fomm.Config) and inside.config == config
again = redraw(fomm.load_model(kept, device=DEVICE))
apart = float((again - made).abs().max())
print(f"loaded again, no colour differs by more than {np.ceil(100 * apart) / 100:.2f}")

torch.save(learned, work / "old.pth.tar")
(work / "small.yaml").write_text(config.model_dump_json())  # JSON is YAML, too
_ = fomm.convert(work / "old.pth.tar", work / "new.safetensors", work / "small.yaml")

# %% [markdown]
# ## From toy to library
#
# `TrainingStep` takes this step, for every option of a config. We give both the same weights and three
# batches, and compare the losses of the third: they agree only if all gradients and updates before were the
# same.

# %%
batches = [
    (frames[[i, i + 5, i + 10, i + 15]], frames[[i + 20, i + 25, i + 30, i + 32]])
    for i in (0, 5, 10)
]
transform = losses.RandomTransform.sample(
    4, generator=torch.Generator().manual_seed(1), device=DEVICE
)
ours, theirs = networks(config), networks(config)
optimizers = make_optimizers(config, *ours)
step = TrainingStep(*theirs, features, config)
for source, driving in batches:
    by_hand = step_by_hand(*ours, optimizers, source, driving, transform)
    found = step(source, driving, transform)
apart = {name: abs(found[name] - loss) / abs(loss) for name, loss in by_hand.items()}
assert max(apart.values()) < 1e-3
print(len(apart), "losses of step 3; relative differences below 1e-3, which is rounding")

# %% [markdown]
# The library's step computes nothing twice: it cuts the graph at the generated image (the **seam**), so that
# one output of the discriminator serves both losses. The appendix measures that.
#
# ## 4 · A training that survives
#
# `train` (in a shell: `fomm train`) is the loop above, with everything that a run of days needs: data from a
# folder, logs, images, and **states**. A state is everything on which the next step depends. We train for six
# steps on our clip, and list the files. (Without perceptual loss: nothing is downloaded.)

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


different = sum(a != b for a, b in zip(rows_of("whole"), rows_of("resumed"), strict=True))
print("rows of the log that differ, compared digit by digit:", different, "of 6")

# %% [markdown]
# The state makes this possible:
#
# | in the state | without it |
# |---|---|
# | weights of all three networks, and running statistics of batch norm | another model |
# | Adam's two averages and its count of steps | a jump in the losses after each resume |
# | the moving average of the weights | a worse model at the end |
# | the number of steps done, which determines epoch, batch, learning rate | pairs used twice, others never |
# | the state of the random number generators | other deformations |
#
# The learning rate is not part of it: it is computed from step and epoch. A state is written to a temporary
# file and then renamed, so that a crash never leaves half of one.
#
# ## 5 · Many processes
#
# Two processes each take half of every batch. After the backward pass they average their gradients; before
# it, batch norm averages its statistics. Then both take the same step:

# %%
(work / "tiny.yaml").write_text(fomm.load_config(TINY).model_dump_json())
command = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
]
command += ["-m", "fomm_lib", "train", "--config", work / "tiny.yaml", "--data", work / "data"]
command += [
    "--out",
    work / "two",
    "--steps",
    "3",
    "--device",
    "cpu",
    "--threads",
    "1",
    "--no-tensorboard",
]
command += ["--log-every", "1"]
environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
done = subprocess.run(
    [str(part) for part in command], env=environment, capture_output=True, text=True
)
assert done.returncode == 0, done.stderr

# %% [markdown]
# We compare the first step with one process and the whole batch. (Later steps differ more: Adam, which
# divides gradients by their size, amplifies differences in rounding.)

# %%
one, two = (rows_of(run)[0][3:8] for run in ("whole", "two"))
pairs = [(float(a), float(b)) for a, b in zip(one, two, strict=True) if a]
apart = max(abs(a - b) / abs(a) for a, b in pairs)
assert len(pairs) == 5 and apart < 1e-4
print(len(pairs), "losses; relative differences below 1e-4, which is rounding")

# %% [markdown]
# The batch size of a config is that of all processes together, so a training moves to other hardware without
# new settings:
#
# | where | command |
# |---|---|
# | here | `fomm train --config vox-256 --data vox --out runs/vox` |
# | four GPUs | `accelerate launch --multi_gpu --num_processes 4 -m fomm_lib train ... --bf16` |
# | two processes on a CPU | `ACCELERATE_USE_CPU=true torchrun --nproc-per-node 2 -m fomm_lib train ...` |
# | batch too large for memory | `--accumulate 4`: in four parts, one after the other |
# | the cluster kills jobs | `--resume` in the job's script, from the first time on |
#
# On two machines with eight GPUs each (the second has `--machine_rank 1`):
#
# ```bash
# accelerate launch --multi_gpu --num_machines 2 --machine_rank 0 --num_processes 16 \
#     --main_process_ip ADDRESS --main_process_port 29500 \
#     -m fomm_lib train --config vox-256 --data vox --out runs/vox --bf16 --resume
# ```
#
# ## 6 · Options for stability
#
# Beyond the paper there are six options, all keys of a config, all off by default:
#
# | option | key | what it does |
# |---|---|---|
# | EMA | `ema_decay`, $d$ | keeps an average of the weights, $\bar w \leftarrow d\,\bar w + (1 - d)\,w$ |
# | clipping | `clip_grad_norm` | shortens a gradient that is longer than this (exercise 2) |
# | R1 | `r1` | punishes the discriminator's slope at real images (01) |
# | spectral norm | `sn` | divides the discriminator's layers by their largest singular value (01) |
# | warm-up | `warmup_steps` | learning rates grow from 0 over this number of steps |
# | separate rate | `lr_discriminator` | the discriminator learns more slowly: here a quarter |
#
# Seven short trainings on the 40 clips of `data/heads` differ in one option, at a good learning rate and at
# one ten times as high (`python -m experiments.stability`, 200 steps, one seed).

# %%
with open(fomm.data_path("training", "stability.csv"), newline="") as file:
    table = list(csv.DictReader(file))
names = list(dict.fromkeys(row["variant"] for row in table))
by_key = {(row["variant"], float(row["rate"])): row for row in table}
columns = [
    "option",
    "L1, rate 0.001",
    "disc_gan, rate 0.001",
    "L1, rate 0.01",
    "disc_gan, rate 0.01",
]
rows = [
    [
        name,
        *(
            float(by_key[name, rate][key])
            for rate in (0.001, 0.01)
            for key in ("l1", "disc_gan")
        ),
    ]
    for name in names
]
plots.show_table(columns, rows)

# %% [markdown]
# L1 again, with the spread of the last four validations:

# %% tags=["hide-input"]
# @title Error on held-out heads, by option
figure, axis = plt.subplots(figsize=(6, 3))
for rate, shift, colour, marker in ((0.001, -0.1, BLUE, "o"), (0.01, 0.1, RED, "s")):
    places = [i + shift for i in range(len(names))]
    l1, spread = ([float(by_key[n, rate][key]) for n in names] for key in ("l1", "l1_spread"))
    style = {"color": colour, "marker": marker, "linestyle": "none"}
    axis.errorbar(l1, places, xerr=spread, label=f"learning rate {rate:g}", **style)
axis.set(yticks=range(len(names)), yticklabels=names, xlabel="L1 on held-out heads (0 to 1)")
axis.invert_yaxis()
axis.legend()
plots.show(
    figure,
    alt="L1 on held-out heads with its spread, one row for each option, at two learning rates: "
    "EMA has the lowest error at both; clipping, R1 and the slower discriminator lie close to "
    "plain training; at the high rate spectral norm and warm-up have a wide spread.",
)

# %% [markdown]
# *Figure 5. Only EMA, a moving average of the weights, differs from plain training by more than the spread,
# at both rates: its error is a sixth lower.*
#
# The others show no gain here. At the high rate spectral norm and warm-up were less stable, in this one run.
# Nearly every `disc_gan` is at 0.5: these discriminators have learned too little in 200 steps for an option
# that helps them to matter. Where the discriminator gives the only loss, it does (notebook 01). So:
# `ema_decay` 0.99 to 0.999 always; the others only for a symptom that they correct.
#
# ## Break it
#
# Take the training of section 3 with a learning rate a hundred times too high. First write down a guess: what
# will the perceptual loss do?

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
    alt="the perceptual loss over 25 steps: at the usual rate it falls; at a rate a hundred "
    "times as high it jumps up and stays high.",
)
assert np.mean(told["perceptual"][-5:]) > told["perceptual"][0]

# %% [markdown]
# *Figure 6. A rate that is too high does not look like slow learning, but like no learning, at a high loss.*
#
# A NaN is worse. A single pixel that is NaN spreads to every weight in one step. The library checks losses
# and gradients **before** the update, and stops:

# %%
poisoned = frames[[0, 1, 2, 3]].clone()
poisoned[0, 0, 5, 5] = float("nan")
try:
    step(poisoned, driving, transform)
except NotFinite as error:
    print(str(error).split(" and ")[0], "... are not finite")
spoiled = sum(not p.isfinite().all() for p in step.model.parameters())
print("tensors of weights with a NaN:", spoiled)

# %% [markdown]
# `train` then saves the batch in a file, names it, and says what to try; the last state is intact.
#
# ## Exercises
#
# Write the body, run the cell: the check says `todo`, `ok`, or what is wrong and why. An unchanged cell does
# not stop the notebook; a wrong answer stops *Run All* at its cell.
#
# ### Exercise 1 · The order of the two updates
#
# *find the bug · difficulty 3 of 5 · importance 5 of 5 · 15 minutes*
#
# The losses of this step look normal, and yet its discriminator never becomes good. One line stands at the
# wrong place. Which, and what does it do there?


# %%
def update_both(generator, discriminator, optimizer_g, optimizer_d, noise, real):
    """One step of both networks -> (loss of the generator, of the discriminator)."""
    fake = generator(noise)
    optimizer_g.zero_grad()
    optimizer_d.zero_grad()
    loss_g = (1 - discriminator(fake)).square().mean()
    loss_g.backward()
    optimizer_g.step()
    on_real, on_fake = discriminator(real), discriminator(fake.detach())
    loss_d = (1 - on_real).square().mean() + on_fake.square().mean()
    loss_d.backward()
    optimizer_d.step()
    return loss_g.item(), loss_d.item()


check_update_both(update_both)

# %% [markdown]
# <details><summary>Solution</summary>
#
# `loss_g.backward()` adds gradients to the discriminator too. They must be dropped after it.
#
# ```python
# def update_both(generator, discriminator, optimizer_g, optimizer_d, noise, real):
#     fake = generator(noise)
#     optimizer_g.zero_grad()
#     loss_g = (1 - discriminator(fake)).square().mean()
#     loss_g.backward()
#     optimizer_g.step()
#     optimizer_d.zero_grad()
#     on_real, on_fake = discriminator(real), discriminator(fake.detach())
#     loss_d = (1 - on_real).square().mean() + on_fake.square().mean()
#     loss_d.backward()
#     optimizer_d.step()
#     return loss_g.item(), loss_d.item()
# ```
#
# </details>
#
# ### Exercise 2 · Gradient clipping
#
# *code · difficulty 3 of 5 · importance 3 of 5 · 10 minutes*
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
#
# ### Exercise 3 · Ten times the loss
#
# *experiment · difficulty 2 of 5 · importance 4 of 5 · 15 minutes*
#
# Two weights, 1 and -2, minimise `factor * (their squares, added)` in ten steps of
# `torch.optim.Adam([weight], lr=0.1)`. How far do they move from the start (Euclidean length), with factor 1,
# 10 and 100? Predict, then write the loop and measure. Try `SGD` with `lr=0.001` too.

# %%
prediction = None  # "rises", "falls" or "stays"
measured = {}  # {factor: distance}, for 1, 10 and 100
check_distance_moved(prediction, measured)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# measured = {}
# for factor in (1, 10, 100):
#     weight = torch.tensor([1.0, -2.0], requires_grad=True)
#     start = weight.detach().clone()
#     optimizer = torch.optim.Adam([weight], lr=0.1)
#     for _ in range(10):
#         loss = factor * weight.square().sum()
#         optimizer.zero_grad()
#         loss.backward()
#         optimizer.step()
#     measured[factor] = float((weight.detach() - start).norm())
# prediction = "stays"
# check_distance_moved(prediction, measured)
# ```
#
# Adam divides by the size of the gradients; SGD does not, and moves much farther with a larger factor. So
# with Adam only the *ratios* of loss weights matter.
#
# </details>

# %% [markdown]
# ## When it goes wrong
#
# In a healthy run `perceptual` falls steeply, then slowly, for as long as you train; `equivariance_value`
# falls early, `equivariance_jacobian` slowly; `disc_gan` stays below 0.5 and moves.
#
# | symptom | cause | fix |
# |---|---|---|
# | all losses jump up and stay | learning rate too high | a third of it; `warmup_steps` |
# | not finite, in bf16 or fp16 | a number too large for the format | float32; a lower rate |
# | `disc_gan` goes to 0, `gen_gan` to 1 | discriminator too good | `lr_discriminator` lower; `r1`; `sn` |
# | `disc_gan` 0.5, images soft | the discriminator has learned nothing | train longer; raise its rate |
# | training falls, validation rises | too few clips | more clips, `augmentation_params` |

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
# as with a smaller batch. Only a comparison with one process, digit by digit, shows it.
#
# </details>
#
# **3.** `disc_gan` is 0.5 and `gen_gan` 0.25 for hours. Is the training stuck?
#
# <details><summary>Answer</summary>
#
# The adversarial part is: the discriminator gives one half everywhere and has no gradient for the generator.
# If you cannot distinguish the images either, that is success. If they are soft, the discriminator has
# failed. The other losses may still fall: `perceptual`, validation and the images show it.
#
# </details>

# %% [markdown]
# ## What you can now do
#
# You can write every line of a step, stop and resume with the same digits, and recognise from six curves what
# is wrong.
#
# Next: **08 · Animation** uses what was trained; **09 · Evaluation** measures it.
#
# **References.** Siarohin et al., *First Order Motion Model for Image Animation*, NeurIPS 2019,
# [arXiv:2003.00196](https://arxiv.org/abs/2003.00196). Kingma and Ba, *Adam*, ICLR 2015. Yazıcı et al., *The
# Unusual Effectiveness of Averaging in GAN Training*, ICLR 2019. Mescheder et al., *Which Training Methods
# for GANs do actually Converge?*, ICML 2018 (R1).

# %% [markdown]
# ## Appendix: what a step costs
#
# A pair of vox-adv-256 costs 0.58 TFLOP and keeps 0.54 GB for the backward pass (half in 16-bit numbers).
# Lower bounds from data sheets:
#
# | GPU | operations a second | seconds a pair, at least |
# |---|---|---|
# | T4, 16 GB (Colab) | 8 TFLOP float32, 65 TFLOP fp16 | 0.07, or 0.009 with `--fp16` |
# | A100, 40 GB | 156 TFLOP TF32, 312 TFLOP bf16 | 0.004, or 0.002 with `--bf16` |
#
# The published training of vox-256 is 79,500 steps of 40 pairs. On a CPU `train` saves time by the seam, by
# *Winograd* tiles, which need fewer multiplications, and by reused memory. Each row includes those above it,
# but bfloat16 is without Winograd (`python -m benchmarks.training`).

# %%
with open(fomm.data_path("training", "speed.csv"), newline="") as file:
    rows = [
        [row["variant"], float(row["ratio"]), row["losses"]] for row in csv.DictReader(file)
    ]
plots.show_table(["variant", "times as fast", "losses differ by"], rows, digits=2)
