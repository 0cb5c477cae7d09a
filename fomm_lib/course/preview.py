"""A panel of widgets to animate by mouse: choose a portrait and a video, set sliders, press a button.

It uses only the widgets of ipywidgets itself, so that it works in Jupyter, JupyterLab and Colab.
"""

from __future__ import annotations

import html
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fomm_lib.animation.animate import animate
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media.video import read_image
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.releases import require_module


def preview(
    model: FirstOrderMotionModel,
    sources: Mapping[str, str | Path | np.ndarray] | None = None,
    drivings: Mapping[str, str | Path] | None = None,
):
    """A panel to animate portraits with; write it as the last line of a notebook cell.

    Args:
        model: see `load_model`.
        sources: {name: portrait} to choose from; by default the one of the course. Users can also upload one.
        drivings: {name: driving video} to choose from; by default the one of the course.

    Returns:
        An `ipywidgets.VBox`. Its attribute `result` is the path of the last video made, None before that.
        Videos are stored in a temporary folder, which is deleted with the panel.

    Raises:
        InputError: ipywidgets is not installed.

    Example:
        >>> preview(load_model("heads-64"), sources={"me": "portrait.jpg"})   # doctest: +SKIP
    """
    sources = dict(sources or {"a photograph (NASA)": data_path("portrait.jpg")})
    drivings = dict(drivings or {"a synthetic head": data_path("driving.mp4")})
    panel, part = _layout(list(sources), list(drivings))
    panel.result, panel.folder = None, tempfile.TemporaryDirectory(prefix="fomm-preview-")

    def uploaded(_: object) -> None:
        for item in part.upload.value:
            name = _escape(item["name"])
            try:
                path = Path(panel.folder.name, f"upload{Path(item['name']).suffix}")
                path.write_bytes(bytes(item["content"]))
                sources[name] = read_image(path)
            except InputError as error:
                part.message.value = _red(str(error).replace(str(path), name))
                return
            part.source.options = list(sources)
            part.source.value = name
            part.message.value = f"{name}: {'x'.join(map(str, sources[name].shape[1::-1]))} pixels"

    def advance(done: int, total: int | None) -> None:
        part.progress.max, part.progress.value = total or done + 1, done + 1

    def clicked(_: object) -> None:
        part.button.disabled, part.message.value, part.progress.layout.visibility = True, "", "visible"
        number = 1 + int(panel.result.stem) if panel.result else 0
        path = Path(panel.folder.name, f"{number}.mp4")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                result = animate(
                    model,
                    sources[part.source.value],
                    drivings[part.driving.value],
                    path,
                    strength=part.strength.value,
                    smooth=part.smooth.value,
                    best_frame="auto" if part.best.value else None,
                    watermark=part.mark.value,
                    zoom=max(1, 256 // max(model.size)),
                    progress=advance,
                )
            panel.result = path
            part.video.value, part.video.layout.display = path.read_bytes(), ""
            message = f"{result.frames} frames in {result.seconds:.1f} s"
            part.message.value = "; ".join([message, *(_escape(str(warning.message)) for warning in caught)])
        except InputError as error:
            part.message.value = _red(str(error))
        finally:
            part.button.disabled, part.progress.layout.visibility = False, "hidden"

    part.upload.observe(uploaded, "value")
    part.button.on_click(clicked)
    return panel


def _layout(sources: list[str], drivings: list[str]):
    """The panel, an `ipywidgets.VBox`, and its widgets by name."""
    require_module("ipywidgets", "the preview needs ipywidgets", "notebooks")
    import ipywidgets as widgets

    wide = {"description_width": "90px"}
    part = SimpleNamespace(
        source=widgets.Dropdown(options=sources, description="portrait", style=wide),
        upload=widgets.FileUpload(accept="image/*", multiple=False, description="your own"),
        driving=widgets.Dropdown(options=drivings, description="video", style=wide),
        strength=widgets.FloatSlider(1.0, min=0, max=2, step=0.1, description="strength", style=wide),
        smooth=widgets.FloatSlider(0.0, min=0, max=3, step=0.5, description="smoothing", style=wide),
        best=widgets.Checkbox(True, description="start from the best frame", style=wide, indent=False),
        mark=widgets.Checkbox(True, description="write AI-generated into it", style=wide, indent=False),
        button=widgets.Button(description="animate", button_style="primary", icon="play"),
        progress=widgets.IntProgress(0, min=0, max=1, description="", layout={"visibility": "hidden"}),
        message=widgets.HTML(),
        video=widgets.Video(autoplay=True, loop=True, width=384, layout={"display": "none"}),
    )
    rows = (
        (part.source, part.upload),
        (part.driving,),
        (part.strength, part.smooth),
        (part.best, part.mark),
        (part.button, part.progress),
        (part.message,),
        (part.video,),
    )
    return widgets.VBox([row[0] if len(row) == 1 else widgets.HBox(row) for row in rows]), part


def _escape(text: str) -> str:
    """A text as HTML on one line; file names may hold any characters."""
    return html.escape(" ".join(text.split()))


def _red(text: str) -> str:
    return f'<span style="color:#b00020">{_escape(text)}</span>'
