"""Portraits that are not photographs of people, animated: the table data/limits/real.csv, and real.jpg.

    python -m experiments.real_images                  # five minutes of a core; needs the extra faces
    python -m experiments.real_images sheet            # only real.jpg
    python -m experiments.real_images cut FOLDER       # made data/limits/real of the files of packages

Where experiments.limits filters rendered people, these are images as they are: paintings, an engraving,
drawings, animals, and the photograph data/portrait.jpg beside them. data/README.md says where each is from.
Each is animated by data/driving.mp4 and the clips of data/heads/large with the default weights, as `fomm
animate` does it, in relative mode. There is no true result, so the columns are:

    face           whether dlib finds a face in the image; `faces`: share of the animated frames with one
    movement       movement error: displacements of landmarks against those of the driver, pixels of 256;
                   `movement_still` is that of an image that stands still. Empty where faces are missing
    keypoints      the same of the model's own keypoints, read from the result: there for every image, but a
                   judgement of the model about itself; `keypoints_still` as above
    aed            distance of dlib's embedding to that of the image
    sharpness      variance of the Laplacian in the middle half of the first frame, over that of the image
    check          what `fomm animate --check` would say, by the names of its numbers (evaluation.trouble)

The first frame of a driver asks for no movement: it shows what generating alone costs.
"""

from __future__ import annotations

import argparse
import bz2
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fomm_lib.animation.fast import FastModel
from fomm_lib.data.tables import write_cells
from fomm_lib.errors import InputError
from fomm_lib.evaluation.faces import average_euclidean_distance, movement_error
from fomm_lib.evaluation.page import write_page
from fomm_lib.evaluation.regions import sharpness_ratio
from fomm_lib.evaluation.report import redraw
from fomm_lib.evaluation.trouble import trouble
from fomm_lib.files import DEFAULT_WEIGHTS, atomic_output, data_path
from fomm_lib.media.faces import read_faces
from fomm_lib.media.tensors import resize, to_tensor, to_uint8
from fomm_lib.media.video import VideoReader, read_frames, read_image
from fomm_lib.model import load_model

SIDE, EVERY = 256, 5
SHOWN, TILE = (0, 25, 95), 112
"""Of real.jpg: frames of data/driving.mp4 (the first, a turn, a tilt), and pixels of an image."""
PHOTOGRAPH = "photograph"
HEIGHT_OF_DRAWINGS, SIZE_OF_RAW = 600, (768, 1024, 3)
SOURCES = {
    "painting_peter": ("pierre.png", (42, 10, 132)),
    "painting_elizabeth": ("elizabeth.png", (75, 8, 116)),
    "engraving_frederik": ("frederik.png", (68, 26, 128)),
    "cartoon_bach": ("bach_ganson.svg", (40, 0, 510)),
    "drawing_woman": ("portrait_of_a_woman_guid_.svg", (92, 20, 270)),
    "drawing_dog": ("beagle_copper_ganson.svg", (0, 44, 340)),
    "cat": ("chelsea.png", (75, 0, 300)),
    "raccoon": ("face.dat", (384, 40, 480)),
}
"""Image of data/limits/real: the file of a package, and the square that is taken (left, top, side)."""
HEADER = ["image", "driver", "face", "faces", "movement", "movement_still", "keypoints", "keypoints_still"]
HEADER += ["aed", "sharpness", "check"]


# --- the images -----------------------------------------------------------------------------------------


def open_source(path: Path) -> Image.Image:
    """An image of a package in colours: a drawing (by rsvg-convert), raw bytes, or any other."""
    if path.suffix == ".svg":
        with tempfile.TemporaryDirectory() as folder:
            png = Path(folder, "drawing.png")
            height = str(HEIGHT_OF_DRAWINGS)
            subprocess.run(["rsvg-convert", "-h", height, "-b", "white", "-o", png, path], check=True)
            return Image.open(png).convert("RGB")
    if path.suffix == ".dat":
        raw = np.frombuffer(bz2.decompress(path.read_bytes()), np.uint8)
        return Image.fromarray(raw.reshape(SIZE_OF_RAW))
    return Image.open(path).convert("RGB")


def cut_all(folder: Path, out: Path) -> None:
    """The squares of `SOURCES`, 256x256, from the files of unpacked packages somewhere below a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for name, (file, (left, top, side)) in SOURCES.items():
        found = next(iter(sorted(folder.rglob(file))), None)
        if found is None:
            raise InputError(f"{folder}: has no file {file}; data/README.md says which package has it")
        square = open_source(found).crop((left, top, left + side, top + side))
        with atomic_output(out / f"{name}.jpg", overwrite=True) as temporary:
            small = square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            small.save(temporary, "JPEG", quality=90, subsampling=0, optimize=True)


def images(folder: Path) -> dict[str, np.ndarray]:
    """The photograph, then the images of `SOURCES` in their order, from a folder."""
    found = {PHOTOGRAPH: data_path("portrait.jpg")} | {name: folder / f"{name}.jpg" for name in SOURCES}
    return {name: read_image(path) for name, path in found.items()}


def drivers() -> dict[str, list[np.ndarray]]:
    """The course's clips of 256 pixels, every fifth frame."""
    files = [data_path("driving.mp4"), *sorted(data_path("heads", "large").glob("*.mp4"))]
    return {
        path.stem.split("#")[0]: [frame.copy() for k, frame in enumerate(VideoReader(path)) if k % EVERY == 0]
        for path in files
    }


# --- the table ------------------------------------------------------------------------------------------


def displaced(points: np.ndarray, driving: np.ndarray) -> float:
    """The mean movement error over all frames but the first; NaN if it cannot be measured in any."""
    errors = movement_error(points, driving)[1:]
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")


def keypoints_of(model, frames: Tensor) -> np.ndarray:
    """(T, K, 2), the model's keypoints in pixels of 256."""
    found = [model.detect(batch).value for batch in resize(frames, tuple(model.size)).split(8)]
    return torch.cat(found).double().numpy() * SIDE / 2


def sharpness(result: Tensor, image: Tensor) -> float:
    """Of an image (3, H, W) against another, in its middle half."""
    height, width = image.shape[-2:]
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    return float(sharpness_ratio(result[None], image[None], [box])[0])


def measure(image: Tensor, made: Tensor, driving: Tensor, model) -> dict[str, float]:
    """The numbers of `HEADER`.

    Args:
        image: (3, H, W); made, driving: (T, 3, H, W), the animated and the driving frames.
    """
    before, found, driver = (read_faces(some) for some in (image[None], made, driving))
    still = np.broadcast_to(driver.landmarks[:1], driver.landmarks.shape)
    own, theirs = keypoints_of(model, made), keypoints_of(model, driving)
    aed = average_euclidean_distance(found.identity, before.identity)
    return {
        "face": float(before.found[0]),
        "faces": float(found.found.mean()),
        "movement": displaced(found.landmarks, driver.landmarks),
        "movement_still": displaced(still, driver.landmarks),
        "keypoints": displaced(own, theirs),
        "keypoints_still": displaced(np.broadcast_to(theirs[:1], theirs.shape), theirs),
        "aed": float(np.nanmean(aed)) if np.isfinite(aed).any() else float("nan"),
        "sharpness": sharpness(made[0], image),
    }


def cell(value: float) -> str:
    """For a table."""
    return "" if np.isnan(value) else f"{value:.3g}"


@torch.inference_mode()
def table(portraits: dict[str, np.ndarray], clips: dict[str, list[np.ndarray]], weights: str) -> list[list]:
    """Rows of real.csv."""
    full = load_model(weights, device="cpu")
    model = FastModel(full)
    rows: list[list] = [HEADER]
    for name, portrait in portraits.items():
        for driver, frames in clips.items():
            made = redraw(full, portrait, frames, relative=True, size=(SIDE, SIDE)).clamp(0, 1)
            driving = torch.stack([to_tensor(frame) for frame in frames])
            found = measure(to_tensor(portrait, (SIDE, SIDE)), made, driving, model)
            lines = [one.check.signal for one in trouble(model, portrait, frames)]
            rows.append([name, driver, *(cell(found[key]) for key in HEADER[2:-1]), " ".join(lines)])
            print(*rows[-1], sep=", ", flush=True)
    return rows


@torch.inference_mode()
def sheet(portraits: dict[str, np.ndarray], weights: str) -> np.ndarray:
    """uint8: a column an image, the driver first; a row for each of `SHOWN`."""
    full = load_model(weights, device="cpu")
    frames = list(read_frames(data_path("driving.mp4"), SHOWN))
    columns = [torch.stack([to_tensor(frame) for frame in frames])]
    columns += [redraw(full, image, frames, relative=True, size=(SIDE, SIDE)) for image in portraits.values()]
    small = [to_uint8(resize(column.clamp(0, 1), (TILE, TILE)).clamp(0, 1)) for column in columns]
    return np.concatenate([np.concatenate(list(column)) for column in small], axis=1)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("do", nargs="?", choices=("measure", "sheet", "cut"), default="measure")
    parser.add_argument("folder", nargs="?", type=Path, help="of unpacked packages, for cut")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("data/limits"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.do == "cut":
        if options.folder is None:
            parser.error("cut needs a folder")
        cut_all(options.folder, options.out / "real")
        return
    portraits = images(options.out / "real")
    write_page(sheet(portraits, options.weights), options.out / "real.jpg", overwrite=True)
    if options.do == "measure":
        write_cells(options.out / "real.csv", table(portraits, drivers(), options.weights), overwrite=True)


if __name__ == "__main__":
    main()
