"""What all rooms need of files: one error for bad input, whole-or-nothing output, where `data/` lies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

DEFAULT_WEIGHTS = "heads-128"
"""The weights in `data/weights` that are used where none are named."""


class InputError(ValueError):
    """Something the person gave cannot be used; the message is one line: what is wrong, and what to do.

    Library functions raise it, the command line prints it and ends with exit code 2.

    Example:
        >>> raise InputError("portrait.jpg: no such file; check the path")
        Traceback (most recent call last):
        ...
        fomm_lib.files.InputError: portrait.jpg: no such file; check the path
    """


def data_path(*parts: str) -> Path:
    """A path inside the course's `data/` folder, e.g. `data_path("weights", "heads-64.safetensors")`.

    The folder is, in this order: the environment variable `FOMM_DATA`; `data/` of the repository (editable
    install); the copy inside an installed wheel. The path need not exist.
    """
    if os.environ.get("FOMM_DATA"):
        root = Path(os.environ["FOMM_DATA"])
    elif (_PACKAGE.parent / "data" / "README.md").is_file():
        root = _PACKAGE.parent / "data"
    else:
        root = _PACKAGE / "_data"
    return root.joinpath(*parts)


@contextmanager
def atomic_output(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a temporary path in the same folder, with the same suffix; on success it becomes `path`, on any
    error (Ctrl-C too) it is removed and `path` stays as it was.

    Args:
        path: where the file shall be.
        overwrite: whether a file that is already there may be replaced.

    Raises:
        InputError: the file exists and `overwrite` is False, or the folder does not exist or cannot be
            written.

    Example:
        >>> with atomic_output("losses.csv") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("step,loss\\n")
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name, or ask for it to be overwritten")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}.", suffix=f".partial{path.suffix}", dir=path.parent
        )
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; the finished one gets the permissions any new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
