"""Animate by mouse: pick a portrait and a film, move some sliders, press a button, see the film.

Made of core ipywidgets, so that it works in Jupyter, JupyterLab and Colab alike.
"""

from __future__ import annotations

import html
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fomm_lib.animation import animate
from fomm_lib.files import InputError, data_path
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.video import read_picture


def preview(
    model: FirstOrderMotionModel,
    sources: Mapping[str, str | Path | np.ndarray] | None = None,
    drivings: Mapping[str, str | Path] | None = None,
):
    """A panel to animate portraits with, for the last line of a notebook's cell.

    Args:
        model: see `load_model`.
        sources: portraits to choose from, by name; the course's own by default. One can be uploaded too.
        drivings: driving videos to choose from, by name; the course's own by default.
    Returns:
        An `ipywidgets.VBox`. Its attribute `result` is the path of the last film made, None before; films lie
        in a temporary folder, which goes with the panel.
    Raises:
        InputError: ipywidgets is not installed.

    Example:
        >>> preview(load_model("heads-64"), sources={"me": "portrait.jpg"})   # doctest: +SKIP
    """
    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise InputError("the preview needs ipywidgets; run: pip install ipywidgets") from error

    sources = dict(sources or {"a photograph (NASA)": data_path("portrait.jpg")})
    drivings = dict(drivings or {"a synthetic head": data_path("driving.mp4")})
    wide = {"description_width": "90px"}
    source = widgets.Dropdown(options=list(sources), description="portrait", style=wide)
    upload = widgets.FileUpload(accept="image/*", multiple=False, description="your own")
    driving = widgets.Dropdown(options=list(drivings), description="film", style=wide)
    strength = widgets.FloatSlider(1.0, min=0, max=2, step=0.1, description="strength", style=wide)
    smooth = widgets.FloatSlider(0.0, min=0, max=3, step=0.5, description="smoothing", style=wide)
    best = widgets.Checkbox(True, description="start from the best frame", style=wide, indent=False)
    mark = widgets.Checkbox(True, description="write AI-generated into it", style=wide, indent=False)
    button = widgets.Button(description="animate", button_style="primary", icon="play")
    progress = widgets.IntProgress(0, min=0, max=1, description="", layout={"visibility": "hidden"})
    says = widgets.HTML()
    film = widgets.Video(autoplay=True, loop=True, width=384, layout={"display": "none"})
    folder = tempfile.TemporaryDirectory(prefix="fomm-preview-")
    panel = widgets.VBox(
        [
            widgets.HBox([source, upload]),
            driving,
            widgets.HBox([strength, smooth]),
            widgets.HBox([best, mark]),
            widgets.HBox([button, progress]),
            says,
            film,
        ]
    )
    panel.result, panel.folder = None, folder

    def uploaded(_: object) -> None:
        for item in upload.value:
            name = _plain(item["name"])
            try:
                path = Path(folder.name, f"upload{Path(item['name']).suffix}")
                path.write_bytes(bytes(item["content"]))
                sources[name] = read_picture(path)
            except InputError as error:
                says.value = _red(str(error).replace(str(path), name))
                return
            source.options = list(sources)
            source.value = name
            says.value = f"{name}: {'x'.join(map(str, sources[name].shape[1::-1]))} pixels"

    def shown(done: int, total: int | None) -> None:
        progress.max, progress.value = total or done + 1, done + 1

    def clicked(_: object) -> None:
        button.disabled, says.value, progress.layout.visibility = True, "", "visible"
        number = 1 + int(panel.result.stem) if panel.result else 0
        path = Path(folder.name, f"{number}.mp4")
        try:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always", UserWarning)
                result = animate(
                    model,
                    sources[source.value],
                    drivings[driving.value],
                    path,
                    strength=strength.value,
                    smooth=smooth.value,
                    best_frame="auto" if best.value else None,
                    watermark=mark.value,
                    zoom=max(1, 256 // max(model.size)),
                    progress=shown,
                )
            panel.result = path
            film.value, film.layout.display = path.read_bytes(), ""
            said = "; ".join(_plain(str(warning.message)) for warning in heard)
            says.value = f"{result.frames} frames in {result.seconds:.1f} s" + (said and f"; {said}")
        except InputError as error:
            says.value = _red(str(error))
        finally:
            button.disabled, progress.layout.visibility = False, "hidden"

    upload.observe(uploaded, "value")
    button.on_click(clicked)
    return panel


def _plain(text: str) -> str:
    """A text for HTML, whatever a file is called."""
    return html.escape(" ".join(text.split()))


def _red(text: str) -> str:
    return f'<span style="color:#b00020">{_plain(text)}</span>'
