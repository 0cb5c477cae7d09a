"""Draw heads and other subjects: OpenGL without a window (EGL), shaders in `shaders/*.glsl`, no image files.

Every colour is computed from the *position on the undeformed head* (dm, MakeHuman's base mesh), so that
freckles, brows, lips and strands of hair stick to the surface however it moves. Light is summed in linear
RGB: sky and ground, and up to three lamps, one of which casts shadows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

import numpy as np

from fomm_lib.errors import InputError
from fomm_lib.releases import require_module
from fomm_lib.synthetic.anatomy import Part

SUPERSAMPLING = 2  # the image is drawn this many times larger and averaged
_SHADOW_SIZE = 384
DEPTH_FACTOR = 4  # the depth that decides what is occluded is drawn this much larger than the image
DRAWING_ORDER = (
    Part.LENS, Part.FRAME, Part.HAIR, Part.CLOTHES, Part.EYE, Part.SKIN, Part.TEETH, Part.TONGUE, Part.LASH
)  # fmt: skip
"""Front to back: pixels of a part behind another fail the depth test and cost little."""

_USES = ("colour", "depth", "place", "flow")  # names of the fragment shaders of the person
_TEXTURE_UNITS = {"shadow_map": 0, "other_depth": 0, "noise_grid": 1, "backdrop": 2}
_FIXED = {"canonical": 3, "aux": 4}  # vertex attributes that stay the same from frame to frame: columns
_MOVING = {"position": 3, "normal": 3, "other": 3}  # and those that change


class Renderer:
    """Draws without a window. To be used from one thread, the first that made one.

    Image rows run downwards: the projection matrices passed in flip the y axis, nothing here does.

    Args:
        size: width and height of the images in pixels.
        look: which shaders draw, "head" or "object"; an object stands on a ground.

    Attributes:
        loaded: free for the caller of `load`, to note what it loaded.

    Raises:
        InputError: moderngl is not installed, or the machine has no EGL.

    Example:
        >>> renderer = Renderer(128)
        >>> renderer.load(surfaces.faces, surfaces.part, surfaces.canonical, surfaces.aux)  # doctest: +SKIP
        >>> image = renderer.draw(*pose(body, posture), uniforms)  # doctest: +SKIP
    """

    def __init__(self, size: int, look: str = "head"):
        self.size = size
        self._prefix = "" if look == "head" else f"{look}_"
        self.context = gl = shared_context()
        self.loaded: Any = None
        self._targets = targets(size)
        self._lamp_depth = depth_target(gl, _SHADOW_SIZE)
        values = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 4), dtype=np.uint8)
        self._noise = gl.texture3d((32, 32, 32), 4, values.tobytes())
        self._backdrop = gl.texture((1, 1), 3, bytes(3), alignment=1)
        on_ground = {} if look == "head" else {"GROUND": 1}
        self._background = self._compile("background_vertex", "background", **on_ground)
        self._background_array = gl.vertex_array(self._background, [])
        self._programs: dict[tuple[str, Part], Any] = {}
        self._arrays: dict[tuple[str, Part], Any] = {}
        self._buffers: list[Any] = []
        gl.enable(gl.DEPTH_TEST)

    def load(self, faces: np.ndarray, part: np.ndarray, canonical: np.ndarray, aux: np.ndarray) -> None:
        """Set what does not change from frame to frame.

        Args:
            faces: (F, 3) triangles to draw.
            part, canonical, aux: (V,) part numbers, (V, 3) positions on the undeformed head, and (V, 4), as
                in `Surfaces`.
        """
        for resource in [*self._arrays.values(), *self._buffers]:
            resource.release()
        gl = self.context
        fixed = gl.buffer(np.concatenate([canonical, aux], axis=1).astype("f4").tobytes())
        self._moving = gl.buffer(reserve=4 * sum(_MOVING.values()) * len(canonical), dynamic=True)
        self._buffers, self._arrays = [fixed, self._moving], {}
        for kind in DRAWING_ORDER:
            triangles = faces[part[faces[:, 0]] == kind].astype("i4")
            if len(triangles) == 0:
                continue
            index = gl.buffer(triangles.tobytes())
            self._buffers.append(index)
            for use in _USES:
                buffers = (fixed, _FIXED), (self._moving, _MOVING)
                self._arrays[use, kind] = vertex_array(self._program(use, kind), index, *buffers)

    def load_backdrop(self, image: np.ndarray) -> None:
        """Set the image, uint8 (H, W, 3), that fills the background in scenes of the kind `IMAGE`."""
        height, width = image.shape[:2]
        self._backdrop.release()
        self._backdrop = self.context.texture((width, height), 3, image.tobytes(), alignment=1)

    def draw(self, positions: np.ndarray, normals: np.ndarray, uniforms: dict[str, Any]) -> np.ndarray:
        """One frame: (size, size, 3) float32 in [0, 1], gamma-coded as images are."""
        self._move(positions, normals)
        self._lamp_depth.use()
        self._lamp_depth.clear()
        self._render("depth", {**uniforms, "view_projection": uniforms["light_projection"]})
        self._targets.image.use()
        self._targets.image.clear()
        self._lamp_depth.depth_attachment.use(_TEXTURE_UNITS["shadow_map"])
        self._render_background(uniforms)
        self._render("colour", uniforms)
        raw = self._targets.read_image(components=3)
        blocks = raw.reshape(self.size, SUPERSAMPLING, self.size, SUPERSAMPLING, 3)
        return blocks.mean(axis=(1, 3), dtype=np.float32) / 255

    def draw_background(self, uniforms: dict[str, Any]) -> np.ndarray:
        """The background alone, supersampled: (S, S, 3) float32 in [0, 1] with S = SUPERSAMPLING size."""
        self._targets.image.use()
        self._targets.image.clear()
        self._render_background(uniforms)
        return self._targets.read_image(components=3).astype(np.float32) / 255

    def _render_background(self, uniforms: dict[str, Any]) -> None:
        self._backdrop.use(_TEXTURE_UNITS["backdrop"])
        self._noise.use(_TEXTURE_UNITS["noise_grid"])
        set_uniforms(self._background, uniforms)
        self._background_array.render(vertices=3)

    def places(self, positions: np.ndarray, uniforms: dict[str, Any]) -> np.ndarray:
        """What the pixel centres show: (size, size, 4), position on the undeformed head (dm), part + 1."""
        self._move(positions, positions)
        return self._targets.draw_numbers(lambda: self._render("place", uniforms))

    def flow(self, source: np.ndarray, driving: np.ndarray, uniforms: dict[str, Any]) -> np.ndarray:
        """Where the source frame shows what each pixel centre of the driving frame shows.

        Args:
            source, driving: (V, 3) positions in the two frames.
        Returns:
            (size, size, 4): x and y in the source, -1 to 1 between the outer edges of the image; 1 where the
            source shows the point, 0 where it is hidden or outside; 1 for a surface, 0 for background.
        """
        self._move(source, source)
        self._targets.draw_depth(lambda: self._render("depth", uniforms))
        self._move(driving, driving, source)
        self._targets.other_depth.depth_attachment.use(_TEXTURE_UNITS["other_depth"])
        other = {**uniforms, "other_projection": uniforms["view_projection"]}
        return self._targets.draw_numbers(lambda: self._render("flow", other))

    def _program(self, use: str, kind: Part) -> Any:
        # Software rasterisers run both sides of every branch, so each part has programs of its own.
        if (use, kind) not in self._programs:
            common, colour = f"{self._prefix}common", f"{self._prefix}colour"
            fragment = common, colour if use == "colour" else use
            self._programs[use, kind] = self._compile("head_vertex", *fragment, KIND=kind.value)
        return self._programs[use, kind]

    def _compile(self, vertex: str, *fragment: str, **defines: float) -> Any:
        """A program of a vertex shader and of the files that make up its fragment shader."""
        defines |= {part.name: part.value for part in Part} | {"SHADOW_SIZE": float(_SHADOW_SIZE)}
        return compile_program(vertex, *fragment, defines=defines, units=_TEXTURE_UNITS)

    def _move(self, positions: np.ndarray, normals: np.ndarray, others: np.ndarray | None = None) -> None:
        others = positions if others is None else others
        self._moving.write(np.concatenate([positions, normals, others], axis=1).astype("f4").tobytes())

    def _render(self, use: str, uniforms: dict[str, Any]) -> None:
        self._noise.use(_TEXTURE_UNITS["noise_grid"])
        for (this_use, kind), array in self._arrays.items():
            if this_use == use:
                set_uniforms(self._programs[use, kind], uniforms)
                array.render()


class Targets:
    """What images of one size are drawn into.

    Attributes:
        image: colours, `SUPERSAMPLING` times as large.
        numbers: four numbers a pixel.
        other_depth: the depth of another frame, `DEPTH_FACTOR` times as large.
    """

    def __init__(self, size: int):
        gl, large = shared_context(), (size * SUPERSAMPLING,) * 2
        self.size = size
        self.image = gl.framebuffer([gl.renderbuffer(large, 4)], gl.depth_renderbuffer(large))
        texture = gl.texture((size, size), 4, dtype="f4")
        self.numbers = gl.framebuffer([texture], gl.depth_renderbuffer((size, size)))

    @cached_property
    def other_depth(self) -> Any:
        """Made when first needed: it is large."""
        return depth_target(shared_context(), self.size * DEPTH_FACTOR)

    def read_image(self, components: int) -> np.ndarray:
        """(S, S, components) uint8, S = SUPERSAMPLING size: what was drawn into `image`."""
        raw = np.frombuffer(self.image.read(components=components), np.uint8)
        return raw.reshape(*self.image.size, components)

    def draw_depth(self, draw: Callable[[], None]) -> None:
        """Draw into `other_depth`, half a step back: a surface must not hide itself."""
        self.other_depth.use()
        self.other_depth.clear()
        shared_context().polygon_offset = 2.0, 4.0
        draw()
        shared_context().polygon_offset = 0.0, 0.0

    def draw_numbers(self, draw: Callable[[], None]) -> np.ndarray:
        """(size, size, 4) float32: what is drawn into `numbers`, 0 elsewhere."""
        self.numbers.use()
        self.numbers.clear(0.0, 0.0, 0.0, 0.0)
        draw()
        raw = np.frombuffer(self.numbers.read(components=4, dtype="f4"), np.float32)
        return raw.reshape(self.size, self.size, 4).copy()


@lru_cache(maxsize=3)
def targets(size: int) -> Targets:
    """The targets of a size; all renderers of a process share them."""
    return Targets(size)


def compile_program(
    vertex: str, *fragment: str, defines: Mapping[str, object], units: Mapping[str, int]
) -> Any:
    """A program of a vertex shader and of the files that make up its fragment shader.

    Args:
        defines: macros that all of them see; units: those of the textures, by the names of the samplers.
    """
    head = "#version 330\n" + "".join(f"#define {name} {value}\n" for name, value in defines.items())
    program = shared_context().program(
        vertex_shader=head + read_shader(vertex),
        fragment_shader=head + "".join(map(read_shader, fragment)),
    )
    for name, unit in units.items():
        if name in program:
            program[name] = unit
    return program


def depth_target(gl: Any, side: int) -> Any:
    """A square framebuffer of depth alone, which shaders can read as a texture."""
    depth = gl.depth_texture((side, side))
    depth.compare_func = ""
    depth.filter = (gl.NEAREST, gl.NEAREST)
    depth.repeat_x = depth.repeat_y = False
    return gl.framebuffer(depth_attachment=depth)


@lru_cache
def read_shader(name: str) -> str:
    """The text of `shaders/<name>.glsl`."""
    return (resources.files("fomm_lib.synthetic") / "shaders" / f"{name}.glsl").read_text(encoding="utf-8")


def vertex_array(program: Any, index: Any, *buffers: tuple[Any, dict[str, int]]) -> Any:
    """The triangles of `index` with the attributes in `buffers`, as moderngl draws them.

    Args:
        program: columns that it does not use are padding.
        buffers: each with the names of its attributes, and how many columns they have.
    """
    layouts = []
    for buffer, columns in buffers:
        used = [name for name in columns if name in program]
        layout = " ".join(f"{n}f" if name in used else f"{4 * n}x" for name, n in columns.items())
        layouts += [(buffer, layout, *used)] if used else []
    return shared_context().vertex_array(program, layouts, index_buffer=index)


def set_uniforms(program: Any, uniforms: dict[str, Any]) -> None:
    """Set the uniforms that a program has; others are left out."""
    for name in program:
        if name in uniforms:
            value = np.asarray(uniforms[name], "f4")
            # OpenGL stores matrices column by column.
            program[name].write(np.ascontiguousarray(value.T if value.shape == (4, 4) else value).tobytes())


@lru_cache(maxsize=1)
def shared_context() -> Any:
    """The one OpenGL context of the process: with several, each call would have to select its own first.

    Raises:
        InputError: moderngl is not installed, or the machine has no EGL.
    """
    require_module("moderngl", "synthetic heads need moderngl", "synthetic")
    import moderngl

    try:
        windowless = {"backend": "egl"} if sys.platform.startswith("linux") else {}
        context = moderngl.create_context(standalone=True, **windowless)
    except Exception as error:  # moderngl raises a bare Exception for every cause
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"cannot draw without a window, OpenGL through EGL is missing or broken ({reason}); "
            "on Debian, Ubuntu and Colab: apt-get install libegl1 libgl1-mesa-dri"
        ) from error
    context.gc_mode = "auto"  # free objects on the graphics side when Python drops them
    return context
