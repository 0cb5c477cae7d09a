"""Which portraits can be used, why others cannot, and the files that keep their fits.

A folder of fits has a file for each portrait that was looked at, so that a second run fits nothing again. It
belongs to the content of the portrait: one that changed is fitted anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fomm_lib.data.tables import Table
from fomm_lib.errors import InputError
from fomm_lib.files import atomic_output
from fomm_lib.media.faces import find_faces
from fomm_lib.media.folders import files_in
from fomm_lib.media.formats import IMAGE_SUFFIXES
from fomm_lib.media.video import read_image
from fomm_lib.releases import require_module
from fomm_lib.synthetic.anatomy import data_folder
from fomm_lib.synthetic.folder import in_processes
from fomm_lib.synthetic.photographs.canvas import TOP, make_canvas
from fomm_lib.synthetic.photographs.clip import Photograph
from fomm_lib.synthetic.photographs.fit import Fit, fit_head
from fomm_lib.synthetic.photographs.landmarks import Portrait, read_portrait
from fomm_lib.synthetic.photographs.matte import cut_out
from fomm_lib.synthetic.photographs.reasons import Reason, Unusable
from fomm_lib.synthetic.photographs.shape import load_shape
from fomm_lib.synthetic.render import shared_context

_VERSION = 1  # of the files of fits: raise it when the method changes

# Beyond these numbers most photographs looked wrong when they moved.
COARSEST, COARSEST_JAW = 0.062, 0.085  # `Fit.error` and `Fit.jaw_error`
MOST_TURNED = 16.0  # degrees of yaw
LEAST_PLAIN = 0.6  # `Matte.plainness`
_CUT_OFF = 0.5  # opacity of the person in the uppermost row


@dataclass(frozen=True)
class Row:
    """A line of `portraits.csv`: whether a portrait is used, and what was measured.

    Attributes:
        portrait: name of the file; split: "train" or "test", empty if it is not used.
        reason: empty, or a `Reason`; text: what was measured, in words.
        eye_distance: pixels; yaw: degrees; error, jaw_error, residual: see `Fit`; crown: opacity of the
            person in the uppermost row; plainness: see `Matte`. None if not measured.
    """

    portrait: str
    split: str = ""
    reason: str = ""
    text: str = ""
    eye_distance: float | None = None
    error: float | None = None
    jaw_error: float | None = None
    residual: float | None = None
    yaw: float | None = None
    crown: float | None = None
    plainness: float | None = None

    @property
    def used(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reason

    @property
    def identity(self) -> str:
        """The name of the person in names of clips."""
        return identity_of(self.portrait)


TABLE = Table(Row, "is no list of portraits; choose another folder")


def identity_of(path: str | os.PathLike) -> str:
    """The name of a portrait without its suffix; clips' names mark their parts by #.

    Example:
        >>> identity_of("portraits/no #1.jpg")
        'no -1'
    """
    return Path(path).stem.replace("#", "-")


def check_installed() -> None:
    """Raise an InputError if a package of the extras is missing, or the machine cannot draw."""
    for module, package in (("skimage", "scikit-image"), ("threadpoolctl", "threadpoolctl")):
        require_module(module, f"photographs need the package {package}", "synthetic")
    data_folder()
    shared_context()
    find_faces(np.zeros((64, 64, 3), np.uint8))


def find_portraits(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder, by name.

    Raises:
        InputError: no such folder, no image in it, or two with the same name.
    """
    paths = files_in(folder, IMAGE_SUFFIXES, "portraits")
    names: dict[str, Path] = {}
    for path in paths:
        other = names.setdefault(identity_of(path), path)
        if other != path:
            raise InputError(f"{folder}: {other.name} and {path.name} have one name; rename one of them")
    return paths


def reason_against(fit: Fit, crown: float | None = None, plainness: float | None = None) -> Unusable | None:
    """Why a fitted portrait cannot be used, or None; what is None is not checked.

    Example:
        >>> reason_against(fit, crown=0.0, plainness=0.3)                            # doctest: +SKIP
        Unusable(<Reason.BACKGROUND: 'background not plain'>, '30 % of it is plain, less than 60 %')
    """
    yaw = float(fit.angles[1])
    for failed, reason, text in (
        # First, because a head that is turned has a jaw that does not fit.
        (abs(yaw) > MOST_TURNED, Reason.TURNED, f"by {abs(yaw):.1f} degrees, more than {MOST_TURNED:.0f}"),
        (fit.error > COARSEST, Reason.COARSE, f"error {fit.error:.4f}, more than {COARSEST}"),
        (fit.jaw_error > COARSEST_JAW, Reason.JAW, f"error {fit.jaw_error:.4f}, more than {COARSEST_JAW}"),
    ):
        if failed:
            return Unusable(reason, text)
    if crown is not None and crown > _CUT_OFF:
        return Unusable(Reason.CUT_OFF, "the person reaches the upper border")
    if plainness is not None and plainness < LEAST_PLAIN:
        text = f"{plainness * 100:.0f} % of it is plain, less than {LEAST_PLAIN * 100:.0f} %"
        return Unusable(Reason.BACKGROUND, text)
    return None


def survey(paths: Sequence[Path], fits: Path, jobs: int = 1, progress: bool = True) -> list[Row]:
    """Fit every portrait that has no file in `fits` yet, and say which can be used.

    Args:
        paths: what `find_portraits` gives; fits: the folder of fits, which exists.
    """
    missing = [path for path in paths if _stored(path, fits) is None]
    if missing:
        load_shape(fits)  # once, before processes begin
    in_processes(_look, [(path, fits) for path in missing], jobs, progress, "fitting", "portrait")
    return [_stored(path, fits)[0] for path in paths]


def load_photograph(path: Path, fits: Path) -> Photograph:
    """A used portrait with its stored fit; the last few are kept, with their layers."""
    return _loaded(path, fits, _digest(path))


@lru_cache(maxsize=2)
def _loaded(path: Path, fits: Path, digest: str) -> Photograph:
    stored = _stored(path, fits)
    if stored is None or stored[1] is None or stored[2] is None:
        raise InputError(f"{path}: has no fit in {fits}; run again")
    return Photograph(stored[2], stored[1])


def _look(path: Path, fits: Path) -> None:
    """Measure a portrait and write its file."""
    from threadpoolctl import threadpool_limits

    row, found, portrait, fit = Row(path.name), {}, None, None
    # Several threads sum in another order, so the last digits would depend on the machine.
    with threadpool_limits(1):
        try:
            portrait = read_portrait(_read(path))
            fit = fit_head(portrait, load_shape(fits))
            found |= {"eye_distance": portrait.eye_distance, "yaw": float(fit.angles[1])}
            found |= {name: getattr(fit, name) for name in ("error", "jaw_error", "residual")}
            unusable = reason_against(fit)
            if unusable is None:
                matte = cut_out(portrait, fit)
                crown = float(make_canvas(portrait, fit, matte).alpha[TOP].max())
                seen = {"crown": crown, "plainness": matte.plainness}
                found |= seen
                unusable = reason_against(fit, **seen)
            if unusable is not None:
                raise unusable
        except Unusable as unusable:
            row = replace(row, reason=str(unusable.reason), text=unusable.text)
            portrait = fit = None
    row = replace(row, **{name: round(value, 4) for name, value in found.items()})
    content = {"digest": _digest(path), "row": json.dumps(asdict(row))}
    if portrait is not None and fit is not None:
        content |= asdict(portrait) | asdict(fit)
    with atomic_output(_file_of(path, fits), overwrite=True) as temporary:
        np.savez_compressed(temporary, **content)


def _read(path: Path) -> np.ndarray:
    try:
        return read_image(path)
    except InputError as error:
        raise Unusable(Reason.UNREADABLE, str(error).removeprefix(f"{path}: ")) from error


def _stored(path: Path, fits: Path) -> tuple[Row, Fit | None, Portrait | None] | None:
    """What the file of a portrait holds; None if there is none, or it is damaged or of another content."""
    try:
        with np.load(_file_of(path, fits)) as stored:
            content = {name: _plain(stored[name]) for name in stored.files}
        if content.pop("digest") != _digest(path):
            return None
        row = Row(**json.loads(content.pop("row")))
        if not row.used:
            return row, None, None
        fit = Fit(**{field.name: content[field.name] for field in fields(Fit)})
        return row, fit, Portrait(content["image"], content["landmarks"])
    except Exception:  # whatever is wrong with the file: it can be made again
        return None


def _plain(array: np.ndarray) -> Any:
    return array if array.ndim else array.item()


def _file_of(path: Path, fits: Path) -> Path:
    return fits / f"{identity_of(path)}.fit.npz"


def _digest(path: Path) -> str:
    return hashlib.sha256(f"{_VERSION}\n".encode() + path.read_bytes()).hexdigest()
