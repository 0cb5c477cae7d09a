"""Make the gallery of the README: three portraits that follow a driving clip, and a failure, with labels.

    python -m tools.readme_image

The portraits are those that the project may ship: a photograph in the public domain and rendered heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import fomm_lib as fomm
from fomm_lib.files import DEFAULT_WEIGHTS, atomic_output, data_path
from fomm_lib.media.video import VideoReader, read_frames, read_image

TARGET = data_path("readme", "gallery.webp")
SIDE, GAP, LINE = 200, 12, 34  # pixels: an image, the space between two, a label of two lines
EVERY, LIMIT = 3, 75  # every third frame of the first three seconds keeps the file small
INK, PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True)
class Card:
    """A column of the gallery: a label, a portrait, a driving clip and how to animate."""

    label: str
    source: np.ndarray
    driving: Path
    options: dict


def head(number: int) -> Path:
    return data_path("heads", "large", f"synth3-{number:05}#{number:05}#0#75.mp4")


def cards() -> list[Card]:
    """The columns, from left to right."""
    photograph, clip = read_image(data_path("portrait.jpg")), data_path("driving.mp4")
    first = [read_frames(head(number), [0])[0] for number in (1, 2)]
    return [
        Card("a photograph (NASA)", photograph, clip, {}),
        Card("a rendered head", first[0], clip, {}),
        Card("another rendered head", first[1], clip, {}),
        Card("a failure:\nthree times the motion", photograph, clip, {"strength": 3.0}),
    ]


def small(image: np.ndarray) -> Image.Image:
    """The centre square of an image, at the size of the gallery."""
    whole = Image.fromarray(image)
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    return whole.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def text(image: Image.Image, words: str, left: int, top: int) -> None:
    font = ImageFont.load_default(13)
    ImageDraw.Draw(image).multiline_text((left, top), words, fill=INK, font=font, spacing=2)


def frames() -> list[Image.Image]:
    """The gallery, frame by frame: the driving clip, the portraits, and below each what became of it."""
    model = fomm.load_model(DEFAULT_WEIGHTS, device="cpu")
    columns = cards()
    results = [
        fomm.animate(model, card.source, card.driving, progress=False, **card.options)[:LIMIT:EVERY]
        for card in columns
    ]
    driving = list(VideoReader(columns[0].driving))[:LIMIT:EVERY]
    found = []
    for number, frame in enumerate(driving):
        width = (SIDE + GAP) * (len(columns) + 1) - GAP
        page = Image.new("RGB", (width, 2 * (SIDE + LINE)), PAPER)
        page.paste(small(frame), (0, LINE + SIDE // 2))
        text(page, "the driving clip:\nall portraits follow it", 0, SIDE // 2)
        for place, (card, result) in enumerate(zip(columns, results, strict=True), 1):
            left = place * (SIDE + GAP)
            page.paste(small(card.source), (left, LINE))
            page.paste(small(result[number]), (left, SIDE + LINE + GAP // 2))
            text(page, card.label, left, 0 if "\n" in card.label else 14)
        text(page, "above: the portrait;  below: the result", SIDE + GAP, 2 * SIDE + LINE + GAP)
        found.append(page)
    return found


def main() -> None:
    """Write the gallery as an animated WebP."""
    images = frames()
    TARGET.parent.mkdir(exist_ok=True)
    with atomic_output(TARGET, overwrite=True) as temporary:
        images[0].save(
            temporary,
            save_all=True,
            append_images=images[1:],
            duration=40 * EVERY,
            loop=0,
            quality=70,
            method=6,
        )
    print(f"{TARGET}: {len(images)} frames, {TARGET.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
