"""Make the images and clips of data/: synthetic heads with their truth, the driving clip, the portrait.

    python tools/make_data.py                   make what is missing
    python tools/make_data.py driving portrait  make these only, of:
        heads truth driving portrait sheet family categories

Nothing is overwritten: delete a file to make it again. Needs the extra `synthetic` and EGL; the portrait
needs `pip install scikit-image`, which contains the photograph. Sources and licences: data/heads/README.md.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.files import atomic_output
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.categories.clip import open_clip
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.labels import clip_labels, label_image
from fomm_lib.synthetic.motion import Motion, add_actions, bump, ease, finish_motion
from fomm_lib.synthetic.scene import Scene, camera_towards, sample_scene

DATA = Path(__file__).resolve().parent.parent / "data"
HEADS = {  # folder: arguments of `synthesize`
    "train": {"clips": 40, "frames": 48, "size": 128, "seed": 1, "fps": 12.5, "crf": 23},
    "test": {"clips": 12, "frames": 48, "size": 128, "seed": 2, "fps": 12.5, "crf": 23},
    "large": {"clips": 3, "frames": 75, "size": 256, "seed": 3, "fps": 25, "crf": 23},
}
TRUTH_PAIRS = {
    0: (0, 14),
    1: (6, 30),
    2: (20, 3),
    3: (40, 11),
    4: (9, 45),
    5: (2, 25),
}  # clip: source, driving
DRIVING_SEED, DRIVING_NUMBER = 4, 22
SHEET_SEED = 5
FAMILY_SEEDS = {101: 800, 102: 100}  # heads with labels: seed, how many; the first are for training
FAMILY_SIZE, FAMILY_COLUMNS = 64, 30
CATEGORIES = ("bodies", "animals", "vehicles")
CATEGORY_SPLITS = {  # split: arguments of `synthesize`
    "train": {"clips": 12, "frames": 24, "size": 64, "seed": 31, "fps": 8, "crf": 20},
    "test": {"clips": 8, "frames": 24, "size": 64, "seed": 32, "fps": 8, "crf": 20, "truth": 4},
}


def heads() -> None:
    """The small data set: data/heads/train, test (128 px) and large (256 px)."""
    for folder, settings in HEADS.items():
        synthesize(DATA / "heads" / folder, **settings)


def truth() -> None:
    """Flow, visibility, landmarks and head poses of a few pairs of frames of data/heads/test."""
    folder = DATA / "heads" / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    settings = HEADS["test"]
    for number, (source, driving) in TRUTH_PAIRS.items():
        path = folder / f"synth{settings['seed']}-{number:05d}.npz"
        if path.exists():
            continue
        clip = SyntheticClip(settings["seed"], number, settings["frames"], settings["size"], settings["fps"])
        motion = clip.true_motion(source, driving)
        poses = clip.head_pose(source), clip.head_pose(driving)
        with atomic_output(path) as temporary:
            np.savez_compressed(
                temporary,
                clip=f"synth{settings['seed']}-{number:05d}#{number:05d}#0#{settings['frames']}.mp4",
                source=source,
                driving=driving,
                flow=motion.flow.numpy().astype(np.float16),
                visible=motion.visible.numpy(),
                surface=motion.surface.numpy(),
                landmarks=np.stack([clip.landmarks(k).numpy() for k in (source, driving)]),
                rotation=np.stack([pose.rotation.numpy() for pose in poses]),
                translation=np.stack([pose.translation.numpy() for pose in poses]),
            )


def driving_motion(times: np.ndarray) -> Motion:
    """Five seconds that begin and end neutral: turns, nods, tilts; speech, a smile, raised brows, blinks."""
    actions = np.zeros((len(times), len(load_anatomy().action_names)))
    head, gaze, sway = np.zeros((len(times), 3)), np.zeros((len(times), 2)), np.zeros((len(times), 6))
    keys = (  # second: pitch, yaw, roll in degrees at that time
        (0.4, (0, 0, 0)),
        (1.0, (2, 32, 2)),
        (1.8, (2, -32, -2)),
        (2.3, (0, 0, 0)),
        (2.65, (16, 0, 0)),
        (3.0, (-12, 0, 0)),
        (3.35, (12, 5, 0)),
        (3.8, (0, 8, 13)),
        (4.3, (0, -8, -13)),
        (4.75, (0, 0, 0)),
    )
    for (start, before), (end, after) in pairwise(keys):
        step = ease((times[:, None] - start) / (end - start))
        head += np.deg2rad(np.subtract(after, before)) * step
    gaze -= 0.35 * head[:, :2]  # the eyes look roughly at the camera
    visemes = (  # second, mouth shape
        (0.45, {"jawOpen": 0.5, "mouthLowerDown": 0.4, "mouthUpperUp": 0.3}),
        (0.75, {"mouthPress": 0.5, "mouthRollLower": 0.3}),
        (0.95, {"jawOpen": 0.35, "mouthFunnel": 0.8}),
        (1.25, {"jawOpen": 0.25, "mouthStretch": 0.5, "mouthLowerDown": 0.5, "mouthUpperUp": 0.3}),
        (1.55, {"mouthPucker": 0.9, "mouthFunnel": 0.3}),
        (1.85, {"jawOpen": 0.6, "mouthLowerDown": 0.4, "mouthUpperUp": 0.3}),
        (2.15, {"jawOpen": 0.15, "mouthRollLower": 0.5, "mouthUpperUp": 0.4}),
        (2.7, {"jawOpen": 0.4, "mouthFunnel": 0.6}),
        (3.0, {"jawOpen": 0.3, "mouthStretch": 0.4, "mouthLowerDown": 0.5}),
        (3.3, {"jawOpen": 0.7, "mouthLowerDown": 0.3, "mouthUpperUp": 0.3}),
    )
    for second, recipe in visemes:
        add_actions(actions, recipe, bump(times, second, 0.15, 0.02, 0.18))
    smile = {"mouthSmile": 0.9, "cheekSquint": 0.5, "mouthUpperUp": 0.3, "mouthLowerDown": 0.2}
    add_actions(actions, smile, bump(times, 3.6, 0.3, 0.5, 0.35))
    add_actions(actions, {"browInnerUp": 0.8, "browOuterUp": 0.8}, bump(times, 2.3, 0.2, 0.35, 0.3))
    blink = sum(bump(times, second, 0.1, 0.03, 0.14) for second in (1.25, 2.35, 4.35))
    return finish_motion(actions, head, gaze, sway, blink)


def driving_clip(size: int = 256, frames: int = 125) -> SyntheticClip:
    """The person, light and camera of data/driving.mp4."""
    body = SyntheticClip(DRIVING_SEED, DRIVING_NUMBER, 1, size).person.body
    height = body.crown - body.chin
    random = sample_scene(np.random.default_rng([DRIVING_SEED, DRIVING_NUMBER, 2]), body.crown, body.chin)
    fov = np.deg2rad(20)
    target = np.array([0, body.chin + 0.42 * height, 0.6])
    view, camera = camera_towards(target, height / 0.56 / (2 * np.tan(fov / 2)), fov)
    scene = Scene(view, {**random.uniforms, **camera})  # frontal, without grain and blur
    return SyntheticClip(DRIVING_SEED, DRIVING_NUMBER, frames, size, 25, motion=driving_motion, scene=scene)


def driving() -> None:
    """data/driving.mp4: the default driving video of `fomm animate`; it starts neutral and frontal."""
    path = DATA / "driving.mp4"
    if path.exists():
        return
    clip = driving_clip()
    about = {"comment": "synthetic head, no real person; made by tools/make_data.py"}
    video = VideoWriter(path, 25, (256, 256), crf=20, keyframe_every=25, metadata=about)
    with video as writer:
        for frame in clip:
            writer.write(frame)


def portrait() -> None:
    """data/portrait.jpg: the NASA photograph in scikit-image, cropped to head and shoulders."""
    path = DATA / "portrait.jpg"
    if path.exists():
        return
    try:
        from skimage.data import astronaut
    except ImportError as error:
        raise InputError(
            "the portrait's photograph comes with scikit-image: pip install scikit-image"
        ) from error
    left, top, side = 92, 0, 268
    crop = Image.fromarray(astronaut()).crop((left, top, left + side, top + side))
    with atomic_output(path) as temporary:
        crop.resize((256, 256), Image.Resampling.LANCZOS).save(temporary, "JPEG", quality=92, subsampling=0)


def sheet() -> None:
    """data/heads/contact_sheet.jpg: forty heads."""
    path = DATA / "heads" / "contact_sheet.jpg"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [SyntheticClip(SHEET_SEED, number, 8, 160, 4).frame(7) for number in range(40)]
    rows = [np.hstack(frames[i : i + 8]) for i in range(0, 40, 8)]
    with atomic_output(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary, "JPEG", quality=85)


def family() -> None:
    """data/family: 900 heads of 64 pixels, the third frame of a clip each, and their part labels."""
    folder = DATA / "family"
    paths = folder / "heads.jpg", folder / "labels.png"
    if all(path.exists() for path in paths):
        return
    folder.mkdir(parents=True, exist_ok=True)
    frames, labels = [], []
    for seed, count in FAMILY_SEEDS.items():
        for number in range(count):
            clip = SyntheticClip(seed, number, frames=3, size=FAMILY_SIZE, fps=1)
            frames.append(clip.frame(2))
            labels.append(clip_labels(clip, 2))
    write_family(paths, np.stack(frames), np.stack(labels))


def categories() -> None:
    """data/categories: small sets of bodies, animals and vehicles, and a sheet with six of each."""
    for category in CATEGORIES:
        for split, settings in CATEGORY_SPLITS.items():
            synthesize(DATA / "categories" / category / split, category=category, **settings)
    path = DATA / "categories" / "contact_sheet.jpg"
    if path.exists():
        return
    rows = [
        np.hstack([open_clip(category, SHEET_SEED, number, 8, 128, 4).frame(5) for number in range(6)])
        for category in CATEGORIES
    ]
    with atomic_output(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary, "JPEG", quality=85)


def write_family(paths: tuple[Path, Path], frames: np.ndarray, labels: np.ndarray) -> None:
    """The two sheets of data/family: frames uint8 (N, S, S, 3), labels uint8 (N, S, S)."""
    with atomic_output(paths[0], overwrite=True) as temporary:
        # Colour at full size (4:4:4): a head is 64 pixels wide. A block of the JPEG is within one head.
        options = {"quality": 90, "subsampling": 0, "optimize": True}
        Image.fromarray(tiled(frames)).save(temporary, "JPEG", **options)
    with atomic_output(paths[1], overwrite=True) as temporary:
        label_image(tiled(labels)).save(temporary, "PNG", optimize=True)


def tiled(images: np.ndarray) -> np.ndarray:
    """(N, S, S, ...) as one sheet of `FAMILY_COLUMNS` columns."""
    return np.vstack(
        [np.hstack(images[i : i + FAMILY_COLUMNS]) for i in range(0, len(images), FAMILY_COLUMNS)]
    )


PARTS = {
    "heads": heads,
    "truth": truth,
    "driving": driving,
    "portrait": portrait,
    "sheet": sheet,
    "family": family,
    "categories": categories,
}


def main(arguments: list[str]) -> int:
    """Make the named parts, or all; the exit code is 2 for bad input."""
    unknown = [name for name in arguments if name not in PARTS]
    if unknown:
        print(f"unknown: {' '.join(unknown)}; choose from {' '.join(PARTS)}", file=sys.stderr)
        return 2
    try:
        for name in arguments or PARTS:
            PARTS[name]()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
