"""Files: where the data folder is, checks on inputs, and outputs that appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fomm_lib.errors import InputError, Reason, VideoError, error_text, one_line

_PACKAGE = Path(__file__).resolve().parent

DEFAULT_WEIGHTS = "heads-128"
"""The weights of `data/weights` that are used by default."""


def data_path(*parts: str) -> Path:
    """A path inside the course's `data/` folder, e.g. `data_path("weights", "heads-64.safetensors")`.

    The folder is, in this order: the environment variable `FOMM_DATA`; `data/` of the repository (editable
    install); the copy inside an installed wheel. The path need not exist.

    Example:
        >>> data_path("portrait.jpg").name
        'portrait.jpg'
    """
    if os.environ.get("FOMM_DATA"):
        root = Path(os.environ["FOMM_DATA"])
    elif (_PACKAGE.parent / "data" / "README.md").is_file():
        root = _PACKAGE.parent / "data"
    else:
        root = _PACKAGE / "_data"
    return root.joinpath(*parts)


def refuse_address(path: object) -> None:
    """Raise an error if the name of a file or folder is an address (`https://...`).

    Raises:
        InputError: it is one. It says so even of a `Path`, in which two slashes become one.

    Example:
        >>> refuse_address("https://example.org/me.jpg")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: https://example.org/me.jpg: is an address; download it first, and give ...
    """
    found = re.match(r"([a-z][a-z0-9+.-]+):/+", str(path), re.IGNORECASE)
    if found and not os.path.lexists(str(path)):
        address = f"{found[1]}://{str(path)[found.end() :]}"
        raise InputError(one_line(address, "is an address; download it first, and give the path of the file"))


def existing_file(path: str | os.PathLike) -> Path:
    """The path of a regular file that is not empty.

    A pipe or a device could block for ever, and FFmpeg would open the address behind `http:`.

    Raises:
        VideoError: there is no such file, it is not regular, it is empty, or it may not be read.
        InputError: it is an address, or no name at all.

    Example:
        >>> existing_file(data_path("portrait.jpg")).name
        'portrait.jpg'
    """
    try:
        path = Path(path)
    except TypeError as error:
        raise InputError(f"a {type(path).__name__} was given; give the name of a file") from error
    refuse_address(path)
    try:
        if path.is_dir():
            raise VideoError(path, Reason.MISSING, "is a folder; give the name of a file")
        if not path.exists():
            raise VideoError(path, Reason.MISSING, "no such file; check the path")
        if not path.is_file():
            raise VideoError(path, Reason.MISSING, "is not a regular file; copy its content into one")
        if path.stat().st_size == 0:
            raise VideoError(path, Reason.UNREADABLE, "is empty (0 bytes); copy or download it again")
        path.open("rb").close()
    except InputError:
        raise
    except (OSError, ValueError) as error:
        text = f"cannot be read ({error_text(error)}); check the path"
        raise VideoError(path, Reason.MISSING, text) from error
    return path


@contextmanager
def atomic_output(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a temporary path in the same folder, with the same suffix; on success it becomes `path`, on any
    error (Ctrl-C too) it is removed and `path` stays as it was.

    Args:
        path: the file to write.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the file exists and `overwrite` is False, or the folder does not exist or cannot be
            written.

    Example:
        >>> with atomic_output("losses.csv") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("step,loss\\n")
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(one_line(path, "is a folder; give the name of a file"))
    if path.exists() and not overwrite:
        raise _exists_already(path)
    with _usable_parent(path):
        handle, name = tempfile.mkstemp(
            prefix=_hidden(path.stem), suffix=f".partial{path.suffix}", dir=path.parent
        )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; the finished one gets the permissions of any new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    path: str | os.PathLike, overwrite: bool = False, replaceable: str | None = None
) -> Iterator[Path]:
    """Write a folder whole or not at all.

    Yields an empty temporary folder on the same disk; on success it becomes `path`, on any error (Ctrl-C
    too) it is removed and `path` stays as it was. It has the permissions of any new folder. A process that
    is killed leaves at most a hidden `.NAME.*.partial` beside `path`.

    Args:
        path: the folder to make. One that exists and is empty is replaced.
        overwrite: whether an existing folder of an earlier result may be replaced, as a whole.
        replaceable: a regular expression for the names of all files of an earlier result. A folder that holds
            any other name is never replaced; without an expression, no folder is.

    Raises:
        InputError: `path` is a file, or a folder that must not be replaced; or the folder that should hold
            it does not exist or cannot be written.

    Example:
        >>> with atomic_folder("frames", replaceable=r"\\d+\\.png") as temporary:  # doctest: +SKIP
        ...     image.save(temporary / "000000.png")
    """
    path = Path(path)
    _check_replaceable(path, overwrite, replaceable)
    with _usable_parent(path):
        # mkdtemp makes private folders, so the result is private while it is unfinished.
        holder = Path(tempfile.mkdtemp(prefix=_hidden(path.name), suffix=".partial", dir=path.parent))
    temporary, former = holder / "new", holder / "former"
    try:
        temporary.mkdir()
        yield temporary
        _check_replaceable(path, overwrite, replaceable)  # again: the folder may have changed since
        if path.exists():
            path.rename(former)
        try:
            temporary.rename(path)
        except BaseException:
            if former.exists():
                former.rename(path)
            raise
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _hidden(name: str) -> str:
    """What names of temporary files begin with. A name may be as long as the system allows (255 bytes), and
    theirs is longer, so only its beginning is used.
    """
    return f".{name[:40]}."


def _check_replaceable(path: Path, overwrite: bool, replaceable: str | None) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(one_line(path, "is a file; give the name of a folder"))
    names = os.listdir(path) if path.is_dir() else []
    if names and not overwrite:
        raise _exists_already(path)
    if not all(replaceable and re.fullmatch(replaceable, name) for name in names):
        text = "holds more than an earlier result, and is left as it is; choose another name"
        raise InputError(one_line(path, text))


@contextmanager
def _usable_parent(path: Path) -> Iterator[None]:
    """What makes a temporary file or folder beside `path` runs in here."""
    if not path.parent.is_dir():
        raise InputError(one_line(path, f"the folder {path.parent} does not exist; make it first"))
    try:
        yield
    except OSError as error:
        raise InputError(one_line(path, f"cannot write there ({error.strerror})")) from error


def _exists_already(path: Path) -> InputError:
    return InputError(one_line(path, "exists already; choose another name, or ask for it to be overwritten"))
