"""Draw a photograph's layers by OpenGL, and the true flow between two poses.

The shaders are `shaders/photograph_*.glsl`: unlit textures, because light is in the photograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fomm_lib.synthetic.photographs.fit import DISTANCE
from fomm_lib.synthetic.photographs.layers import Kind, Layers
from fomm_lib.synthetic.render import compile_program, set_uniforms, shared_context, targets, vertex_array

_RANGE = 6.0  # dm in front of and behind the eyes that are drawn
_BEHIND = 0.009  # of the depth range: 6 mm at the distance of the eyes
_UNITS = {"skin": 0, "lids": 1, "eyes": 2, "teeth": 3, "outer": 4, "other_depth": 5}
_FIXED = {"texture_point": 3, "canonical": 3, "kind": 1}  # vertex attributes that stay: columns
_MOVING = {"position": 3, "other": 3}  # and those that change from frame to frame


@dataclass(frozen=True)
class View:
    """A square of the canvas at some size.

    Attributes:
        square: left and top edge and side, in pixels of the canvas, of which the first begins at 0.
        size: width and height of the images.
        projection: (4, 4) from the person frame to OpenGL's clip coordinates, whose y runs downwards.
    """

    square: tuple[float, float, float]
    size: int
    projection: np.ndarray


def view_of(layers: Layers, square: tuple[float, float, float], size: int) -> View:
    """The view of a square of the canvas."""
    fit, (left, top, side) = layers.fit, square
    x, y = (fit.centre + layers.canvas.offset + 0.5 - (left, top)) * 2 / side - 1
    near, far = DISTANCE - _RANGE, DISTANCE + _RANGE
    projection = np.zeros((4, 4))
    projection[0, [0, 2]] = 2 * fit.focal / side, -x
    projection[1, [1, 2]] = -2 * fit.focal / side, -y
    projection[2, 2:] = -(far + near) / (far - near), -2 * far * near / (far - near)
    projection[3, 2] = -1
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = fit.rotation, fit.translation
    return View(square, size, projection @ view)


class PhotographRenderer:
    """Draws the layers of one photograph.

    Args:
        layers: what `make_layers` gives.

    Raises:
        InputError: moderngl is not installed, or the machine has no EGL.
    """

    def __init__(self, layers: Layers):
        gl, textures = shared_context(), layers.textures
        fixed = np.column_stack([layers.texture_points, layers.lid, layers.canonical, layers.kinds])
        self._fixed = gl.buffer(fixed.astype("f4").tobytes())
        self._moving = gl.buffer(reserve=4 * sum(_MOVING.values()) * len(layers.kinds), dynamic=True)
        self._index = gl.buffer(layers.triangles.astype("i4").tobytes())
        buffers = (self._fixed, _FIXED), (self._moving, _MOVING)
        uses = ("colour", "depth", "flow")
        self._arrays = {use: vertex_array(_program(use), self._index, *buffers) for use in uses}
        self._images = {name: _texture(getattr(textures, name)) for name in _UNITS if hasattr(textures, name)}
        colours = {name: getattr(textures, name) / 255 for name in ("tooth", "lash")}
        levels = {"level": textures.skin_luminance / 255, "colourful": textures.colourful}
        self._uniforms = colours | levels

    def draw(self, positions: np.ndarray, blink: float, view: View) -> np.ndarray:
        """The person without background.

        Args:
            positions: (V, 3) what `positions` gives for a pose; blink: of that pose.
        Returns:
            (S, S, 4) float32 in [0, 1], S = SUPERSAMPLING size: colours times opacity, and opacity.
        """
        gl, target = shared_context(), targets(view.size)
        self._move(positions, positions)
        target.image.use()
        target.image.clear(0.0, 0.0, 0.0, 0.0)
        gl.enable(gl.DEPTH_TEST | gl.BLEND)
        gl.blend_func = gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        try:
            self._render("colour", view, blink)
        finally:
            gl.disable(gl.BLEND)
        return target.read_image(components=4).astype(np.float32) / 255

    def flow(self, source: np.ndarray, driving: np.ndarray, blink: float, view: View) -> np.ndarray:
        """Where the source frame shows what each pixel centre of the driving frame shows.

        Lids that are more than 30 % closed in either frame count as hidden, because their texture changes.

        Args:
            source, driving: (V, 3) positions in the two frames; blink: the larger of both.
        Returns:
            (size, size, 4): x and y in the source, -1 to 1 between the outer edges of the image; 1 where the
            source shows the point, 0 where it is hidden or outside; `Kind` + 1 for a surface, 0 for
            background.
        """
        gl, target = shared_context(), targets(view.size)
        gl.enable(gl.DEPTH_TEST)
        self._move(source, source)
        target.draw_depth(lambda: self._render("depth", view, blink))
        self._move(driving, source)
        target.other_depth.depth_attachment.use(_UNITS["other_depth"])
        return target.draw_numbers(lambda: self._render("flow", view, blink))

    def kinds(self, positions: np.ndarray, view: View) -> np.ndarray:
        """(size, size) int: the `Kind` that each pixel centre shows, -1 for background."""
        return self.flow(positions, positions, 0.0, view)[..., 3].round().astype(int) - 1

    def _move(self, positions: np.ndarray, others: np.ndarray) -> None:
        self._moving.write(np.concatenate([positions, others], axis=1).astype("f4").tobytes())

    def _render(self, use: str, view: View, blink: float) -> None:
        for name, texture in self._images.items():
            texture.use(_UNITS[name])
        set_uniforms(_program(use), {**self._uniforms, "projection": view.projection, "blink": blink})
        self._arrays[use].render()


@lru_cache
def _program(use: str) -> Any:
    defines = {**{kind.name: kind.value for kind in Kind}, "BEHIND": _BEHIND}
    fragment = "photograph_common", f"photograph_{use}"
    return compile_program("photograph_vertex", *fragment, defines=defines, units=_UNITS)


def _texture(image: np.ndarray) -> Any:
    height, width, channels = image.shape
    texture = shared_context().texture((width, height), channels, image.tobytes(), alignment=1)
    texture.repeat_x = texture.repeat_y = False
    return texture
