"""Detectors of animated videos: good at home, poor abroad. The table data/limits/detector.csv.

    python -m experiments.detector --work runs/detector                    # ten minutes of a core
    python -m experiments.detector --work runs/detector --clips FOLDER     # recorded people; six minutes

Animated videos are portraits of data/heads, animated by heads-128 with the movement of another person;
untouched ones are the clips themselves. Both go the same way: 128 pixels, the same frames, encoded once by
the same settings, decoded. Detectors are trained on 40 people and tested on 12 others:

    spectrum      logistic regression on the radial power spectrum of an image (32 bins)
    CNN           five convolutions on an image minus its own blur, 64x64 crops; three seeds
    CNN, unequal  the same, but in training only the animated videos were encoded once more: the short cut
                  that a careless data set offers

The test videos as they are, encoded again (crf 38), made smaller and larger again, and of other generators:
heads-128-zeroth, heads-64, Monkey-Net. Untouched videos get the same treatment. Columns:

    accuracy      of videos (the mean logit of their frames), half of which are animated: 0.5 is guessing
    found         share of animated videos that are called animated; false_alarms: of untouched ones
    auc           probability that an animated video has a higher score than an untouched one

With --clips: detector_recorded.csv, of a folder of clips of recorded people, each of another person, at least
four. Only numbers are kept. Of each person some videos are untouched, and the first frame of each is animated
with the movement of another person, by heads-128 and by the default weights. The detectors are those above,
trained on rendered people ("rendered"), and the same trained on half of the recorded people and one
generator, and tested on the other half ("recorded"; `half` is the one that is tested).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from fomm_lib.data.clips import Clip, find_clips
from fomm_lib.data.tables import write_cells
from fomm_lib.errors import InputError
from fomm_lib.evaluation.report import redraw
from fomm_lib.family.weights import load_family
from fomm_lib.files import DEFAULT_WEIGHTS, data_path
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import resize, to_tensor, to_uint8
from fomm_lib.media.video import read_frames
from fomm_lib.model import load_model

SIDE, FRAMES, CRF, AGAIN = 128, 5, 23, 38
OURS, OTHERS = "heads-128", ("heads-128-zeroth", "heads-64", "Monkey-Net")
BINS, CROP = 32, 64
SEEDS, STARTS = range(3), (3, 11, 19)  # of the CNN; first frames of the videos of a recorded person
Videos = Tensor  # (videos, FRAMES, 3, SIDE, SIDE) in [0, 1]
Detectors = list[tuple[str, int, Callable[[], Callable[[Tensor], Tensor]]]]  # name, seed, what trains it


def encoded(frames: Tensor, path: Path, crf: int = CRF) -> Tensor:
    """What is left of frames (T, 3, H, W) after a video file."""
    height, width = frames.shape[-2:]
    with VideoWriter(path, 10, (width, height), crf=crf, overwrite=True) as writer:
        for frame in to_uint8(frames.clamp(0, 1)):
            writer.write(np.ascontiguousarray(frame))
    return torch.stack([to_tensor(frame) for frame in read_frames(path, range(len(frames)))])


def smaller(frames: Tensor) -> Tensor:
    """Half the size and back."""
    return resize(resize(frames, (SIDE // 2, SIDE // 2)), (SIDE, SIDE)).clamp(0, 1)


def monkey(networks, source: np.ndarray, driving: list[np.ndarray]) -> Tensor:
    """As `redraw`, by Monkey-Net of 64 pixels, with relative keypoints."""
    images = resize(torch.stack([to_tensor(frame) for frame in (source, *driving)]), (64, 64))
    network = networks["model"]
    start, first = (network.detector(images[i : i + 1]) for i in (0, 1))
    made = []
    for image in images[1:]:
        now = network.detector(image[None])
        now.value = start.value + now.value - first.value
        made.append(network.generate(images[:1], start, now).prediction)
    return torch.cat(made)


def animated(name: str, source: np.ndarray, driving: list[np.ndarray]) -> Tensor:
    """(T, 3, SIDE, SIDE): a portrait that follows, by one of the generators."""
    if name == "Monkey-Net":
        made = monkey(load_family("monkeynet").networks, source, driving)
    else:
        model = load_model(name, device="cpu")
        size = tuple(model.size)
        small = [to_uint8(resize(to_tensor(f)[None], size))[0] for f in (source, *driving)]
        made = redraw(model, small[0], small[1:], relative=True)
    return resize(made, (SIDE, SIDE)).clamp(0, 1)


def frames_of(clip, start: int) -> list[np.ndarray]:
    """Frames of a clip, every eighth from `start`."""
    return clip.read([start + 8 * k for k in range(FRAMES)])


@torch.inference_mode()
def collect(work: Path, split: str) -> dict[str, Videos]:
    """The videos of rendered people for training or for testing, made or read from `work`."""
    kept = work / f"{split}.pt"
    if kept.exists():
        return torch.load(kept)
    work.mkdir(parents=True, exist_ok=True)
    result: dict[str, list[Tensor]] = {}

    def add(name: str, frames: Tensor) -> None:
        result.setdefault(name, []).append(encoded(frames, work / "video.mp4"))

    clips = find_clips(data_path("heads"), split)
    for i, clip in enumerate(clips):
        for start in (3,) if split == "train" else (3, 11):
            own = frames_of(clip, start)
            add("untouched", torch.stack([to_tensor(frame) for frame in own]))
            driving = frames_of(clips[(i + 1 + start) % len(clips)], start)
            for name in (OURS, *(OTHERS if split == "test" else ())):
                add(name, animated(name, own[0], driving))
        print(split, i, flush=True)
    videos = {name: torch.stack(several) for name, several in result.items()}
    torch.save(videos, kept)
    return videos


def people_of(folder: Path) -> list[Clip]:
    """The clips of a folder, one a name: the same clip in another format counts once.

    Raises:
        InputError: there are less than four, or one is too short.
    """
    clips = list({Path(clip.name).stem: clip for clip in find_clips(folder, None)}.values())
    if len(clips) < 4:
        raise InputError(f"{folder}: has {len(clips)} clips; two halves need four people at least")
    needed = STARTS[-1] + 8 * (FRAMES - 1) + 1
    for clip in clips:
        if len(clip) < needed:
            raise InputError(f"{clip.name}: has {len(clip)} frames; at least {needed} are needed")
    return clips


@torch.inference_mode()
def collect_recorded(clips: list[Clip], scratch: Path) -> dict[str, Videos]:
    """Videos of recorded people, "untouched" and by two generators: (people, STARTS, ...), in memory only.

    The driver is the next person but one, who is in the same half.
    """
    result: dict[str, list[Tensor]] = {}
    for i, clip in enumerate(clips):
        other = clips[(i + 2) % (len(clips) // 2 * 2)]
        for start in STARTS:
            own, driving = ([cut_middle(frame) for frame in frames_of(one, start)] for one in (clip, other))
            made = {"untouched": torch.stack([to_tensor(frame, (SIDE, SIDE)) for frame in own])}
            made |= {name: animated(name, own[0], driving) for name in (OURS, DEFAULT_WEIGHTS)}
            for name, frames in made.items():
                result.setdefault(name, []).append(encoded(frames, scratch))
        print("recorded", i, flush=True)
    scratch.unlink()
    return {name: torch.stack(some).unflatten(0, (len(clips), -1)) for name, some in result.items()}


def residual(images: Tensor) -> Tensor:
    """An image minus its own blur: what is left is detail."""
    return 10 * (images - gaussian_blur(images, [5, 5], [1.0, 1.0]))


def spectrum(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, BINS): the logarithm of the power at each distance from the zero frequency."""
    grey = images.mean(dim=1)
    power = torch.fft.fftshift(
        torch.fft.fft2(grey - grey.mean(dim=(1, 2), keepdim=True)).abs() ** 2, dim=(1, 2)
    )
    axis = torch.arange(SIDE) - SIDE // 2
    radius = (axis[:, None] ** 2 + axis**2).double().sqrt() / (SIDE / 2) * BINS
    bins = radius.long().clamp(max=BINS).flatten()
    total = torch.zeros(len(images), BINS + 1).index_add_(1, bins, power.flatten(1))
    count = torch.bincount(bins, minlength=BINS + 1)
    return ((total / count)[:, :BINS] + 1e-6).log()


def train_spectrum(real: Videos, fake: Videos) -> Callable[[Tensor], Tensor]:
    """Logistic regression, regularised; gives a function from images to logits."""
    x = spectrum(torch.cat([real, fake]).flatten(0, 1))
    y = torch.cat([torch.zeros(real.shape[0] * FRAMES), torch.ones(fake.shape[0] * FRAMES)])
    mean, spread = x.mean(dim=0), x.std(dim=0)
    weight, bias = torch.zeros(BINS, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = (x - mean) / spread @ weight + bias
        loss = F.binary_cross_entropy_with_logits(logits, y) + 0.01 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return lambda images: ((spectrum(images) - mean) / spread @ weight + bias).detach()


def train_cnn(real: Videos, fake: Videos, seed: int, steps: int = 300) -> Callable[[Tensor], Tensor]:
    """Five convolutions; gives a function from images to logits."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after, stride in ((3, 16, 1), (16, 24, 2), (24, 32, 2), (32, 32, 2), (32, 32, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    images = [videos.flatten(0, 1) for videos in (real, fake)]
    y = torch.cat([torch.zeros(12), torch.ones(12)])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        chosen = torch.cat([some[torch.randint(len(some), (12,))] for some in images])
        top, left = torch.randint(SIDE - CROP, (2,)).tolist()
        crops = chosen[..., top : top + CROP, left : left + CROP]
        crops = crops.flip(-1) if step % 2 else crops
        loss = F.binary_cross_entropy_with_logits(network(residual(crops))[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    return lambda images: network(residual(images))[:, 0].detach()


def scores(detector: Callable[[Tensor], Tensor], videos: Videos) -> np.ndarray:
    """A logit a video: the mean of its frames."""
    return np.array([float(detector(video).mean()) for video in videos])


def row(real: np.ndarray, fake: np.ndarray) -> list[str]:
    """accuracy, found, false_alarms, auc."""
    found, false = float((fake > 0).mean()), float((real > 0).mean())
    difference = fake[:, None] - real
    auc = float((difference > 0).mean() + (difference == 0).mean() / 2)
    return [f"{value:.3f}" for value in ((found + 1 - false) / 2, found, false, auc)]


@torch.no_grad()
def treated(videos: Videos, how: Callable[[Tensor], Tensor]) -> Videos:
    """Each video after a treatment."""
    return torch.stack([how(video) for video in videos])


def home_detectors(real: Videos, fake: Videos) -> Detectors:
    """A power spectrum and the CNN with three seeds, to be trained on these videos."""
    detectors: Detectors = [("spectrum", 0, lambda: train_spectrum(real, fake))]
    return detectors + [("CNN", seed, lambda seed=seed: train_cnn(real, fake, seed)) for seed in SEEDS]


def rendered(work: Path, out: Path) -> None:
    """The table detector.csv."""
    training, testing = collect(work, "train"), collect(work, "test")
    again = lambda video: encoded(video, work / "again.mp4", AGAIN)  # noqa: E731
    once_more = lambda video: encoded(video, work / "again.mp4", 28)  # noqa: E731
    real, fake = training["untouched"], training[OURS]
    test_real, test_fake = testing["untouched"], testing[OURS]
    conditions = {
        "training people": (real, fake),
        "new people": (test_real, test_fake),
        "encoded again": tuple(treated(some, again) for some in (test_real, test_fake)),
        "half size and back": tuple(treated(some, smaller) for some in (test_real, test_fake)),
        **{f"by {name}": (test_real, testing[name]) for name in OTHERS},
    }
    rows = [["detector", "seed", "videos", "accuracy", "found", "false_alarms", "auc"]]
    unequal = treated(fake, once_more)
    conditions["all encoded once more"] = tuple(treated(some, once_more) for some in (test_real, test_fake))
    detectors = [*home_detectors(real, fake), ("CNN, unequal", 0, lambda: train_cnn(real, unequal, 0))]
    for name, seed, train in detectors:
        detector = train()
        tests = dict(conditions)
        if name == "CNN, unequal":
            tests["new people, unequal"] = test_real, treated(test_fake, once_more)
        for condition, (untouched, made) in tests.items():
            rows.append([name, seed, condition, *row(scores(detector, untouched), scores(detector, made))])
            print(*rows[-1], sep=", ", flush=True)
        write_cells(out / "detector.csv", rows, overwrite=True)


def recorded(work: Path, out: Path, folder: Path) -> None:
    """The table detector_recorded.csv, of clips of recorded people."""
    clips = people_of(folder)
    training, scratch = collect(work, "train"), work / "recorded.mp4"
    videos = collect_recorded(clips, scratch)
    people = torch.arange(len(videos["untouched"]))
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "as they are": lambda video: video,
        "encoded again": lambda video: encoded(video, scratch, AGAIN),
        "half size and back": smaller,
    }
    rows = [["detector", "seed", "trained_on", "half", "generator", "videos"]]
    rows[0] += ["accuracy", "found", "false_alarms", "auc"]

    def test(detector: Callable[[Tensor], Tensor], which: Tensor, generator: str, *labels) -> None:
        some = [videos[name][which].flatten(0, 1) for name in ("untouched", generator)]
        for way, treat in ways.items():
            untouched, made = (scores(detector, treated(part, treat)) for part in some)
            rows.append([*labels, generator, way, *row(untouched, made)])
            print(*rows[-1], sep=", ", flush=True)

    for name, seed, train in home_detectors(training["untouched"], training[OURS]):
        detector = train()
        for generator in (OURS, DEFAULT_WEIGHTS):
            test(detector, people, generator, name, seed, "rendered", "all")
    for generator in (OURS, DEFAULT_WEIGHTS):
        for half in (0, 1):
            known = people[people % 2 != half]
            real, fake = (videos[name][known].flatten(0, 1) for name in ("untouched", generator))
            for name, seed, train in home_detectors(real, fake):
                test(train(), people[people % 2 == half], generator, name, seed, "recorded", half)
    scratch.unlink()
    write_cells(out / "detector_recorded.csv", rows, overwrite=True)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clips", type=Path, help="a folder of clips of recorded people, each of another")
    parser.add_argument("--out", type=Path, default=Path("data/limits"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if options.clips is None:
            rendered(options.work, options.out)
        else:
            recorded(options.work, options.out, options.clips)
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
