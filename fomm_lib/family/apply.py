"""Trained systems on files: translate or enlarge an image or a video, and sample new images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from fomm_lib.errors import InputError, check_integer, one_line
from fomm_lib.family.data import square_tensor
from fomm_lib.family.pix2pix import to_unsigned
from fomm_lib.family.systems import levels_of, sampling, scale_of, translate
from fomm_lib.family.weights import FamilyModel, load_family
from fomm_lib.files import atomic_folder, atomic_output, real_path
from fomm_lib.media.outputs import open_output
from fomm_lib.media.pipeline import Progress, prefetch, progress_bar
from fomm_lib.media.tensors import resize_bicubic, to_tensor, to_uint8
from fomm_lib.media.video import VideoReader, has_frames, read_image
from fomm_lib.version import __version__

APPLICABLE = ("pix2pix", "cyclegan", "srgan")
DIRECTIONS = ("ab", "ba")
IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LARGEST_WHOLE = 256 * 256  # pixels of an input that super-resolution takes in one piece
TILE = 192  # side of the pieces of larger ones


@dataclass
class Applied:
    """What `apply_family` or `sample_family` has written.

    Attributes:
        path: the file or folder.
        frames: how many images.
        size: (width, height) of each.
    """

    path: Path
    frames: int
    size: tuple[int, int]


def notice(model: FamilyModel) -> str:
    """The text that every result holds in its header."""
    return (
        f"AI-generated: made by a neural network ({model.config.system}, fomm-lib {__version__}). "
        "What it shows was not recorded."
    )


def apply_family(
    model: FamilyModel,
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    direction: str = "ab",
    tile: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = True,
) -> Applied:
    """An image or a video through pix2pix, CycleGAN or SRGAN, into a file of the same kind.

    pix2pix and CycleGAN take the square in the middle at the size of the model; SRGAN takes the whole image,
    and makes it `scale` times as large. A video keeps its times and its audio. The output appears whole or
    not at all; its header says that it is generated.

    Args:
        model: see `load_family`.
        source: an image or a video. For pix2pix with the weights of the course: labels in the colours of
            `synthetic.labels`.
        output: for an image .png, .jpg or .webp; for a video see `media.outputs.open_output`.
        direction: of CycleGAN; with the weights of the course "ab" makes labels, "ba" heads.
        tile: SRGAN computes squares of so many pixels one by one, with the same result and less memory; 0
            for the whole image. By default tiles of 192 for images of more than 256x256 pixels.
        seed: of the dropout of pix2pix, the same for every frame.
        overwrite: whether an existing file may be replaced.
        progress: as in `animation.animate`.

    Raises:
        InputError: a file that cannot be read or written, an output that does not fit, or a model that cannot
            be applied.

    Example:
        >>> labels = data_path("portrait.jpg")  # any image
        >>> apply_family(load_family("pix2pix"), labels, "head.png").size
        (64, 64)
    """
    made = image_function(model, direction, tile, seed)
    if real_path(source) == real_path(output):
        raise InputError(one_line(output, "is the input; choose another name for the result"))
    if not has_frames(source):
        with image_output(output, notice(model), overwrite) as write:
            image = made(read_image(source))
            write(image)
        return Applied(Path(output), 1, image.shape[1::-1])
    video = VideoReader(source)
    if Path(output).suffix.lower() in IMAGE_FORMATS:
        raise InputError(one_line(output, f"{source} is a video; give a name that ends in .mp4, .gif, ..."))
    size = _size_made(model, video.size)
    texts = dict.fromkeys(["comment", "description"], notice(model))
    options = {"audio_from": source, "metadata": texts, "overwrite": overwrite, "time_base": video.time_base}
    with open_output(output, video.fps, size, **options) as writer:
        with closing(prefetch(video.timed(), 4)) as frames:
            for frame, seconds in progress_bar(frames, progress, total=video.frames):
                writer.write(made(frame), seconds)
        writer.end = video.end
    return Applied(Path(output), writer.frames, size)


def image_function(
    model: FamilyModel, direction: str = "ab", tile: int | None = None, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """What `apply_family` does with an image: a function of uint8 (H, W, 3).

    Args:
        model, direction, tile, seed: as `apply_family`.

    Raises:
        InputError: the model cannot be applied to an image, or an unknown direction.

    Example:
        >>> image_function(load_family("srgan"))(np.zeros((10, 20, 3), np.uint8)).shape
        (40, 80, 3)
    """
    system = model.config.system
    if system not in APPLICABLE:
        other = "fomm family sample" if system == "progressive" else "it needs two images"
        raise InputError(f"{system}: cannot be applied to an image ({other}); choose {', '.join(APPLICABLE)}")
    if direction not in DIRECTIONS:
        raise InputError(f"direction {direction!r}: choose {' or '.join(DIRECTIONS)}")
    if tile is not None and tile < 0:
        raise InputError(f"tile = {tile}: give a number of pixels, or 0 for the whole image")

    def enlarged(image: np.ndarray) -> np.ndarray:
        with sampling(seed):
            return to_uint8(enlarge(model, to_tensor(image)[None], tile)[0])

    def translated(image: np.ndarray) -> np.ndarray:
        labels = system == "pix2pix" or (system == "cyclegan" and direction == "ba")
        square = square_tensor(image, model.config.size, labels=labels).float() / 255
        network = model.networks["generator" if system == "pix2pix" else direction]
        with sampling(seed):
            return to_uint8(translate(network, square.to(model.device))[0].clamp(0, 1))

    return enlarged if system == "srgan" else translated


def enlarge(model: FamilyModel, images: Tensor, tile: int | None = None) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] through a super-resolution network, whole or in tiles.

    A tile is computed with as much of the image around it as its pixels depend on, so that tiles make the
    same image as the whole.

    Args:
        model: of SRGAN.
        images: of any size.
        tile: see `apply_family`.

    Example:
        >>> enlarge(load_family("srgan"), torch.rand(1, 3, 8, 8)).shape
        torch.Size([1, 3, 32, 32])
    """
    network, scale = model.networks["generator"], scale_of(model.config)
    images = images.to(model.device)
    height, width = images.shape[-2:]
    if tile is None:
        tile = 0 if height * width <= LARGEST_WHOLE else TILE
    if not tile:
        return network(images)
    # 9x9, two 3x3 a block, 3x3 at 1, 2, ... times the size, 9x9 at the last: in pixels of the input.
    margin = 4 + 2 * len(network.blocks) + 1 + 2 + 2
    out = images.new_empty(*images.shape[:2], scale * height, scale * width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(height, top + tile), min(width, left + tile)
            y, x = max(0, top - margin), max(0, left - margin)
            made = network(images[..., y : bottom + margin, x : right + margin])
            rows = slice(scale * (top - y), scale * (bottom - y))
            columns = slice(scale * (left - x), scale * (right - x))
            out[..., scale * top : scale * bottom, scale * left : scale * right] = made[..., rows, columns]
    return out


class SuperResolution:
    """An image, uint8 (H, W, 3), made 2 or 4 times as large by a network: an `Enlarger` of `fomm.animate`.

    A network for 4 is used for 2 as well: its result is then halved, bicubically.

    Attributes:
        scale: 2 or 4.
    """

    def __init__(self, model: FamilyModel, scale: int):
        self.scale, self._enlarged = scale, image_function(model)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return resize_bicubic(self._enlarged(image), (self.scale * height, self.scale * width))


def super_resolution(
    scale: int, weights: str | os.PathLike = "srgan", *, device: str | None = None
) -> SuperResolution:
    """A function that makes images larger, for `fomm.animate(..., enlarge=super_resolution(2))`.

    Args:
        scale: 2 or 4.
        weights: of SRGAN, for 4: see `weights.load_family`.
        device: by default the GPU if there is one.

    Raises:
        InputError: another scale; or weights of another system or scale.

    Example:
        >>> super_resolution(2)(np.zeros((10, 20, 3), np.uint8)).shape
        (20, 40, 3)
    """
    if scale not in (2, 4):
        raise InputError(f"super-resolution by {scale}: choose 2 or 4")
    model = load_family(weights, device)
    if model.config.system != "srgan" or scale_of(model.config) != 4:
        raise InputError(f"{weights}: super-resolution needs weights of srgan for 4 times the size")
    return SuperResolution(model, scale)


def sample_images_of(model: FamilyModel, count: int, seed: int = 0) -> Iterator[Tensor]:
    """New images of progressive growing, (3, H, W) in [0, 1] each; image i depends on (seed, i) alone.

    Raises:
        InputError: another system, or a count below 1.

    Example:
        >>> next(sample_images_of(load_family("progressive"), 1)).shape
        torch.Size([3, 32, 32])
    """
    if model.config.system != "progressive":
        raise InputError(f"{model.config.system}: makes no images from noise; choose progressive")
    check_integer("count", count, 1)
    return _samples(model, count, seed)


def _samples(model: FamilyModel, count: int, seed: int) -> Iterator[Tensor]:
    network, level = model.networks["generator"], levels_of(model.config) - 1
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        latent = torch.randn(1, network.first.weight.shape[0], generator=random).to(model.device)
        with torch.no_grad():
            yield to_unsigned(network(latent, level))[0].clamp(0, 1)


def sample_family(
    model: FamilyModel,
    output: str | os.PathLike,
    count: int = 16,
    *,
    seed: int = 0,
    zoom: int = 1,
    overwrite: bool = False,
) -> Applied:
    """New images of progressive growing, into a folder (0000.png, ...) or on one sheet (.png, .jpg, .webp).

    Args:
        model: see `load_family`.
        output: a name without an ending for a folder.
        count: how many.
        seed: image i is the same for every count.
        zoom: enlarge every pixel to a square.
        overwrite: whether an existing file, or a folder of images, may be replaced.

    Raises:
        InputError: another system, a number out of range, or an output that cannot be written.

    Example:
        >>> sample_family(load_family("progressive"), "sheet.png", 4).size
        (32, 32)
    """
    check_integer("zoom", zoom, 1)
    images = sample_images_of(model, count, seed)
    if zoom > 1:
        images = (F.interpolate(image[None], scale_factor=zoom, mode="nearest")[0] for image in images)
    size = (model.config.size * zoom,) * 2
    if Path(output).suffix:
        with image_output(output, notice(model), overwrite) as write:
            write(to_uint8(make_grid(list(images), nrow=int(np.ceil(count**0.5)), padding=2, pad_value=1)))
        return Applied(Path(output), count, size)
    with atomic_folder(output, overwrite, replaceable=r"\d+\.png") as folder:
        for number, image in enumerate(images):
            write_image(folder / f"{number:04d}.png", to_uint8(image), notice(model))
    return Applied(Path(output), count, size)


@contextmanager
def image_output(
    path: str | os.PathLike, comment: str, overwrite: bool = False
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that writes uint8 (H, W, 3) as .png, .jpg or .webp, with a comment in its header.

    A name that cannot be written is refused before the work that makes the image. The file appears whole or
    not at all at the end of `with`, in which the function must be called.

    Raises:
        InputError: another ending, or see `files.atomic_output`.

    Example:
        >>> with image_output("grey.png", "a test") as write:
        ...     write(np.full((8, 8, 3), 128, np.uint8))
    """
    path = Path(path)
    kind = IMAGE_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(one_line(path, f"an image is written as {', '.join(IMAGE_FORMATS)}"))
    texts, exif = PngInfo(), Image.Exif()
    texts.add_itxt("Comment", comment)
    exif[0x010E] = comment  # ImageDescription
    options = {
        "PNG": {"pnginfo": texts},
        "JPEG": {"quality": 95, "subsampling": 0, "comment": comment, "exif": exif},
        "WEBP": {"quality": 95, "exif": exif},
    }[kind]
    with atomic_output(path, overwrite) as temporary:
        yield lambda image: Image.fromarray(image).save(temporary, kind, **options)


def write_image(path: str | os.PathLike, image: np.ndarray, comment: str, *, overwrite: bool = False) -> None:
    """Write uint8 (H, W, 3) as `image_output` does.

    Example:
        >>> write_image("plain.png", np.full((8, 8, 3), 128, np.uint8), "a test")
    """
    with image_output(path, comment, overwrite) as write:
        write(image)


def _size_made(model: FamilyModel, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of what `image_function` makes of an image of this size."""
    if model.config.system != "srgan":
        return model.config.size, model.config.size
    return size[0] * scale_of(model.config), size[1] * scale_of(model.config)
