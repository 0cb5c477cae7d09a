"""Synthetic talking heads: people who do not exist, rendered, with the true motion of every pixel.

A network that shall animate photographs can be trained on heads for which nobody had to be filmed, and judged
against truth that no film has: where each pixel came from, what was hidden, where the landmarks lie.

    synthesize("heads", clips=200, frames=24, size=128, seed=0)    # a folder of videos to train on

    clip = SyntheticClip(seed=0, number=3, frames=48, size=128)    # or one clip, frame by frame
    clip.frame(10)                                                 # uint8 (128, 128, 3)
    truth = clip.true_motion(source=0, driving=10)                 # truth.flow, truth.visible
    clip.landmarks(10), clip.head_pose(10)                         # (68, 2); rotation and translation

Everything about a clip is drawn from random numbers that depend on `(seed, number)`, so that any clip can be
made again by itself, by any number of processes. The head is MakeHuman's (CC0; `synthetic_anatomy`), pictures
are drawn by OpenGL (`synthetic_render`). Needs the extra `synthetic` and a system with EGL.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from fomm_lib.files import InputError, atomic_output
from fomm_lib.geometry import coordinate_grid, from_pixels
from fomm_lib.synthetic_anatomy import (
    LANDMARKS,
    data_folder,
    head_transform,
    load_anatomy,
    load_surfaces,
    pose,
)
from fomm_lib.synthetic_motion import Motion, sample_motion
from fomm_lib.synthetic_people import sample_person
from fomm_lib.synthetic_render import PICTURE, Renderer, Scene, backdrop, sample_scene
from fomm_lib.video import VideoWriter, read_picture

# --- Clips -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrueMotion:
    """Where every pixel of a driving frame comes from.

    Attributes:
        flow: (H, W, 2) backward flow in `geometry`'s convention: where in the source each driving pixel is.
        visible: (H, W) bool: the source shows that very point (not hidden, not outside of the picture).
        surface: (H, W) bool: the pixel shows the person; elsewhere the background, which stands still.
    """

    flow: Tensor
    visible: Tensor
    surface: Tensor


@dataclass(frozen=True)
class HeadPose:
    """Where a head is, in the camera's coordinates (x right, y down, z away from it).

    Attributes:
        rotation: (3, 3); the identity for a head that faces the same way as the camera's axis points back.
        translation: (3,) of the middle between the eyes, in dm from the camera.
    """

    rotation: Tensor
    translation: Tensor

    @property
    def yaw_pitch_roll(self) -> tuple[float, float, float]:
        """In degrees: to the right of the picture, down, and clockwise in the picture are positive."""
        r = self.rotation.double()
        yaw = torch.atan2(-r[0, 2], r[2, 2])
        pitch = torch.asin(torch.clamp(-r[1, 2], -1, 1))
        roll = torch.atan2(r[1, 0], r[1, 1])
        return tuple(float(torch.rad2deg(a)) for a in (yaw, pitch, roll))


class SyntheticClip:
    """One person, in motion, before a camera: pictures, and the truth about them.

    Args:
        seed, number: together they decide everything that is random; `number` counts the clips of one seed.
        frames: how many.
        size: width and height in pixels.
        fps: frames a second. A low number spreads few frames over a long time, so that poses differ.
        person_number: which person; by default each clip has its own, `number`.
        motion: instead of a random motion, a function of (T,) times.
        scene: instead of a random scene.
        background: a picture, uint8 (H, W, 3), to stand behind the person instead of a drawn background: some
            square of it, often out of focus.

    Raises:
        InputError: a number out of range; `anny`, `moderngl` or EGL is missing (when first needed).

    Example:
        >>> clip = SyntheticClip(seed=0, number=3, frames=48, size=128)
        >>> warp(to_tensor(clip.frame(0))[None], clip.true_motion(0, 10).flow[None])   # like clip.frame(10)
    """

    def __init__(
        self,
        seed: int,
        number: int,
        frames: int,
        size: int,
        fps: float = 25,
        *,
        person_number: int | None = None,
        motion: Callable[[np.ndarray], Motion] | None = None,
        scene: Scene | None = None,
        background: np.ndarray | None = None,
    ):
        _check("seed", seed, 0, 2**32 - 1)
        _check("number", number, 0, 10**7)
        _check("frames", frames, 1, 10**6)
        _check("size", size, 16, 1024)
        if not 0 < fps <= 240:
            raise InputError(f"fps={fps}: give frames a second, more than 0 and at most 240")
        self.seed, self.number, self.size, self.fps = seed, number, size, fps
        self.person_number = number if person_number is None else person_number
        times = np.arange(frames) / fps
        self.person = sample_person(np.random.default_rng([seed, self.person_number, 0]))
        self.motion = (
            motion(times) if motion else sample_motion(np.random.default_rng([seed, number, 1]), times)
        )
        rng = np.random.default_rng([seed, number, 2])
        self.scene = scene or sample_scene(rng, self.person.body.crown, self.person.body.chin)
        self._uniforms = {**self.person.uniforms, **self.scene.uniforms}
        self._backdrop = None
        if background is not None:
            self._backdrop = backdrop(np.random.default_rng([seed, number, 3]), background, 2 * size)
            self._uniforms["scene"] = (float(PICTURE), 0.0, 0.0, 0.0)

    def __len__(self) -> int:
        return len(self.motion)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(k) for k in range(len(self)))

    def frame(self, k: int) -> np.ndarray:
        """Picture k, uint8 (size, size, 3)."""
        return self.scene.develop(self._renderer().draw(*self._pose(k), self._uniforms), k)

    def plain_frame(self, k: int) -> np.ndarray:
        """Picture k without light, blur and grain: the colours of the surfaces, uint8 (size, size, 3)."""
        picture = self._renderer().draw(*self._pose(k), {**self._uniforms, "unlit": 1.0})
        return (picture * 255 + 0.5).astype(np.uint8)

    def places(self, k: int) -> Tensor:
        """(size, size, 4): what pixels show: a place on the undeformed head (dm), the part's number + 1."""
        return torch.from_numpy(self._renderer().places(self._pose(k)[0], self._uniforms))

    def true_motion(self, source: int, driving: int) -> TrueMotion:
        """The exact motion between two frames, given by their numbers."""
        renderer = self._renderer()
        source_positions, driving_positions = self._pose(source)[0], self._pose(driving)[0]
        raw = torch.from_numpy(renderer.flow(source_positions, driving_positions, self._uniforms))
        empty = torch.from_numpy(renderer.places(source_positions, self._uniforms)[..., 3] == 0)
        surface = raw[..., 3] > 0
        # OpenGL counts from edge to edge of the picture, `geometry` from centre to centre of border pixels.
        flow = from_pixels((raw[..., :2] + 1) / 2 * self.size - 0.5, self.size, self.size)
        still = coordinate_grid(self.size, self.size, dtype=flow.dtype)
        return TrueMotion(
            flow=torch.where(surface[..., None], flow, still),
            visible=torch.where(surface, raw[..., 2] > 0, empty),
            surface=surface,
        )

    def landmarks(self, k: int) -> Tensor:
        """(68, 2): iBUG's landmarks as points (x, y) in `geometry`'s convention; hidden ones too."""
        return self._project(self._pose(k)[0][load_anatomy().places(LANDMARKS)])

    def head_pose(self, k: int) -> HeadPose:
        """Rotation and translation of the head (of the skull: it does not follow the jaw)."""
        matrix, offset = head_transform(self.person.body, self.motion[k])[-1]
        anatomy, neutral = load_anatomy(), self.person.body.neutral
        eyes = [neutral[anatomy.joints[f"joint-{side}-eye"]].mean(axis=0) for side in "lr"]
        flip = np.diag([1.0, -1.0, -1.0])  # OpenGL's camera has y up and looks along -z
        view = flip @ self.scene.view[:3, :3], flip @ self.scene.view[:3, 3]
        rotation = view[0] @ matrix @ flip
        translation = view[0] @ (matrix @ np.mean(eyes, axis=0) + offset) + view[1]
        return HeadPose(*(torch.from_numpy(a.astype(np.float32)) for a in (rotation, translation)))

    def _project(self, points: np.ndarray) -> Tensor:
        clip = np.c_[points, np.ones(len(points))] @ self.scene.uniforms["view_projection"].T
        pixels = (torch.from_numpy(clip[:, :2] / clip[:, 3:]) + 1) / 2 * self.size - 0.5
        return from_pixels(pixels, self.size, self.size).float()

    def _pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= k < len(self):
            raise InputError(f"frame {k}: this clip has the frames 0 to {len(self) - 1}")
        return pose(self.person.body, self.motion[k])

    def _renderer(self) -> Renderer:
        """The process's renderer of this size, with this person loaded."""
        renderer = _shared_renderer(self.size)
        if renderer.loaded is not self:
            surfaces = load_surfaces()
            drawn = np.isin(surfaces.part[surfaces.faces[:, 0]], self.person.parts)
            renderer.load(surfaces.faces[drawn], surfaces.part, surfaces.canonical, self.person.aux)
            if self._backdrop is not None:
                renderer.load_backdrop(self._backdrop)
            renderer.loaded = self
        return renderer


@lru_cache(maxsize=2)
def _shared_renderer(size: int) -> Renderer:
    return Renderer(size)


def _check(name: str, value: Any, lowest: int, highest: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InputError(f"{name}={value!r}: give a whole number from {lowest} to {highest}")


# --- Folders of clips --------------------------------------------------------------------------------------

_NOTE = "synthetic.json"  # what a folder was made with; clips of another size or seed do not get into it


def synthesize(
    out: str | os.PathLike,
    clips: int,
    frames: int = 48,
    size: int = 128,
    seed: int = 0,
    *,
    jobs: int = 1,
    format: str = "mp4",
    fps: float = 25,
    first: int = 0,
    clips_per_person: int = 1,
    crf: int = 18,
    backgrounds: str | os.PathLike | None = None,
    truth: int = 0,
    progress: bool = True,
) -> list[Path]:
    """Render clips of synthetic heads into a folder that `FramePairs` trains on.

    Clips are named `synth<seed>-<person>#<clip>#<start>#<end>`; what stands before the first `#` tells people
    apart. A clip appears whole or not at all; one that is there already is kept, so that an interrupted run
    goes on where it was. Clip k is the same whatever else is rendered, by however many jobs.

    Args:
        out: the folder; made if need be.
        clips: how many.
        frames: of each clip.
        size: width and height in pixels.
        seed: other seeds give other people.
        jobs: processes at a time; -1 for one per core.
        format: "mp4", or "png" for folders of pictures.
        fps: frames a second; a low number spreads few frames over a long time, so that poses differ.
        first: number of the first clip, to share the work among machines.
        clips_per_person: how many clips in a row show the same person, in other light and motion.
        crf: quality of the mp4, 0 (lossless) to 51.
        backgrounds: a folder of pictures (.jpg, .png); about half of the clips get one of them behind the
            person, see `SyntheticClip`. By default all backgrounds are drawn.
        truth: beside every clip, write the true motion of so many pairs of its frames; see `read_truth`.
        progress: whether to show a bar.

    Returns:
        The paths of all clips asked for.

    Raises:
        InputError: a number out of range, a folder made with other settings or one that cannot be written, no
            picture in `backgrounds` or one that cannot be read; `anny`, `moderngl` or EGL is missing.

    Example:
        >>> synthesize("heads", clips=200, frames=24, size=64, seed=0, jobs=2)
    """
    for name, value, lowest, highest in (
        ("clips", clips, 1, 10**6),
        ("first", first, 0, 10**6),
        ("clips_per_person", clips_per_person, 1, 10**6),
        ("crf", crf, 0, 51),
        ("truth", truth, 0, 10**4),
    ):
        _check(name, value, lowest, highest)
    if truth and frames < 2:
        raise InputError(f"truth={truth}: a motion is between two frames; give 2 frames or more")
    if format not in ("mp4", "png"):
        raise InputError(f"format={format!r}: choose 'mp4' or 'png'")
    if jobs != -1:
        _check("jobs", jobs, 1, 1024)
    pictures = [] if backgrounds is None else _pictures(Path(backgrounds))
    data_folder()  # what is missing shall be said before a folder is made
    SyntheticClip(seed, first, frames, size, fps).frame(0)
    if format == "mp4" and size % 2:
        raise InputError(f"size={size}: an mp4 has even sides; give {size + 1}, or the format png")
    out = Path(out)
    settings = {"seed": seed, "frames": frames, "size": size, "fps": fps, "format": format}
    settings |= {"clips_per_person": clips_per_person, "crf": crf}
    if truth:
        settings["truth"] = truth
    if pictures:
        settings["backgrounds"] = hashlib.sha256(b"".join(path.read_bytes() for path in pictures)).hexdigest()
    _note_settings(out, settings)
    tasks = []
    for number in range(first, first + clips):
        person = number // clips_per_person
        name = f"synth{seed}-{person:05d}#{number:05d}#0#{frames}"
        tasks.append((out / (name + ".mp4" if format == "mp4" else name), number, person))
    missing = [task for task in tasks if not task[0].exists()]
    alone = jobs == 1
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    done = parallel(joblib.delayed(_write_clip)(*task, settings, pictures, alone) for task in missing)
    for _ in tqdm(done, total=len(missing), desc="synthesizing", unit="clip", disable=not progress):
        pass
    return [path for path, _, _ in tasks]


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, by name; each can be read."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give one with pictures for backgrounds")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise InputError(f"{folder}: no .jpg or .png in it to take backgrounds from")
    for path in found:
        read_picture(path)
    return found


def _note_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write down what a folder is made with, or compare."""
    note = out / _NOTE
    if note.exists():
        try:
            there = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{note}: is damaged; delete it, or choose another folder") from error
        for name in sorted({*settings, "backgrounds", "truth"}):
            if there.get(name) != settings.get(name):
                was = f"{name}={there.get(name)}, not {settings.get(name)}"
                raise InputError(f"{out}: holds clips made with {was}; choose another folder")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); choose another folder") from error
    with atomic_output(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _background(rng: np.random.Generator, pictures: list[Path]) -> np.ndarray | None:
    """Every other time one of the pictures."""
    if not pictures or rng.uniform() < 0.5:
        return None
    return read_picture(pictures[rng.integers(len(pictures))])


def _write_clip(
    path: Path, number: int, person: int, settings: dict[str, Any], pictures: list[Path], alone: bool
) -> None:
    """Render one clip into a file or folder that appears when it is whole."""
    if not alone:
        # Each of several processes draws with one thread; read by Mesa when the first context is made.
        os.environ.setdefault("LP_NUM_THREADS", "0")
    for left_over in path.parent.glob(f".{path.stem}.*.partial*"):  # of a run that was killed
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink(missing_ok=True)
    seed, size, fps = settings["seed"], settings["size"], settings["fps"]
    background = _background(np.random.default_rng([seed, number, 4]), pictures)
    clip = SyntheticClip(
        seed, number, settings["frames"], size, fps, person_number=person, background=background
    )
    if "truth" in settings:  # before the clip appears: where there is one, there is the other
        _write_truth(truth_path(path), number, person, settings)
    if settings["format"] == "mp4":
        comment = f"synthetic head, no real person; fomm-lib, seed {seed}, clip {number}"
        with VideoWriter(
            path, fps, (size, size), crf=settings["crf"], keyframe_every=12, metadata={"comment": comment}
        ) as writer:
            for frame in clip:
                writer.write(frame)
        return
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        for k, frame in enumerate(clip):
            Image.fromarray(frame).save(partial / f"{k:04d}.png")
        partial.chmod(0o755)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# --- Truth beside clips ------------------------------------------------------------------------------------

TRUTH_SIZE = 64  # pixels: the size at which networks of this kind estimate motion


@dataclass(frozen=True)
class ClipTruth:
    """The true motion of N pairs of frames of one clip, as `synthesize(truth=N)` writes it.

    Attributes:
        pairs: (N, 2) frame numbers, source and driving.
        flow: (N, h, w, 2) float16; visible, surface: (N, h, w) bool; as in `TrueMotion`, at no more than
            64x64.
        landmarks: (T, 68, 2) float32 of every frame of the clip, as `SyntheticClip.landmarks` gives them.
    """

    pairs: np.ndarray
    flow: np.ndarray
    visible: np.ndarray
    surface: np.ndarray
    landmarks: np.ndarray


def truth_path(clip: str | os.PathLike) -> Path:
    """Where the truth about a clip lies.

    Example:
        >>> truth_path("heads/train/synth0-00003#00003#0#24.mp4").name
        'synth0-00003#00003#0#24.truth.npz'
    """
    clip = Path(clip)
    name = clip.stem if clip.suffix == ".mp4" else clip.name
    return clip.with_name(f"{name}.truth.npz")


def read_truth(clip: str | os.PathLike) -> ClipTruth:
    """The truth beside a clip.

    Raises:
        InputError: there is none, or it is damaged.

    Example:
        >>> read_truth("heads/train/synth0-00003#00003#0#24.mp4").flow.shape    # doctest: +SKIP
        (10, 64, 64, 2)
    """
    path = truth_path(clip)
    if not path.exists():
        raise InputError(
            f"{path}: is missing; render clips with their true motion: fomm synthesize --truth 10"
        )
    try:
        with np.load(path) as stored:
            return ClipTruth(*(stored[field.name] for field in fields(ClipTruth)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: is damaged; delete it and its clip, and render them again") from error


def _write_truth(path: Path, number: int, person: int, settings: dict[str, Any]) -> None:
    seed, frames, size = settings["seed"], settings["frames"], settings["size"]
    clip = SyntheticClip(seed, number, frames, min(size, TRUTH_SIZE), settings["fps"], person_number=person)
    rng = np.random.default_rng([seed, number, 9])
    pairs = np.array([rng.choice(frames, 2, replace=False) for _ in range(settings["truth"])])
    motions = [clip.true_motion(int(source), int(driving)) for source, driving in pairs]
    truth = ClipTruth(
        pairs,
        np.stack([motion.flow.numpy() for motion in motions]).astype(np.float16),
        np.stack([motion.visible.numpy() for motion in motions]),
        np.stack([motion.surface.numpy() for motion in motions]),
        np.stack([clip.landmarks(k).numpy() for k in range(frames)]),
    )
    with atomic_output(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **asdict(truth))
