"""Make the moving image at the top of the README: source | driving | result, with heads-128.

python -m tools.readme_image
"""

from __future__ import annotations

from PIL import Image

import fomm_lib as fomm
from fomm_lib.files import atomic_output, data_path

TARGET = data_path("readme", "animation.webp")
ZOOM, EVERY = 2, 2  # 256 pixels an image; every other frame keeps the file small


def main() -> None:
    """Animate the default portrait by the default clip, and write the result as an animated WebP."""
    model = fomm.load_model("heads-128", device="cpu")
    frames = fomm.animate(
        model, data_path("portrait.jpg"), data_path("driving.mp4"), compare=True, zoom=ZOOM, progress=False
    )
    images = [Image.fromarray(frame) for frame in frames[::EVERY]]
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
