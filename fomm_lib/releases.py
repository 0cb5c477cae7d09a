"""An error of one line for an installed package in a release that does not work here.

    with importing("torchvision"):
        from torchvision.transforms import v2

`pyproject.toml` has lower bounds and no upper ones, because an upper bound would conflict with what Colab or
another project has installed. So a release can be too old (another installation replaced it), or too new, in
a way that becomes known later: `KNOWN_BREAKS` lists those. Without this module such a release ends in a
TypeError somewhere inside.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from fomm_lib.errors import InputError

PROJECT = "fomm-lib"

KNOWN_BREAKS: dict[str, tuple[str, str]] = {}
"""Package to (releases that do not work here, releases that do), e.g. (">=20,<20.2", "!=20.0.*"). Lower
bounds are in pyproject.toml."""


@contextmanager
def importing(*packages: str) -> Iterator[None]:
    """Around imports: report in one line why the installed releases of packages cannot be used.

    Args:
        packages: names on the Python Package Index, e.g. "pillow". One that is not installed passes: its
            import raises an error of its own.

    Raises:
        InputError: a release is older than the lower bound of this project, is one of `KNOWN_BREAKS`, or
            needs another release of PyTorch than the installed one; or the import of an installed package
            fails, e.g. because PyTorch and torchvision come from different builds.

    Example:
        >>> with importing("numpy"):
        ...     import numpy
    """
    for package in packages:
        check_release(package)
    try:
        yield
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        installed = [package for package in packages if _installed(package) is not None]
        stopped = isinstance(error.__cause__, KeyboardInterrupt)  # Ctrl-C while a library in C++ started
        if isinstance(error, ModuleNotFoundError) or stopped or not installed:
            raise
        found = " and ".join(f"{package} {_installed(package)}" for package in installed)
        text = f"{found}: cannot be imported ({' '.join(str(error).split())[:200]})"
        together = " ".join(("torch", *packages) if packages == ("torchvision",) else packages)
        again = f"install again: pip install --upgrade --force-reinstall {together}"
        raise InputError(f"{text}; {again}") from error


def require_module(module: str, need: str, extra: str) -> None:
    """Raise an error that names the command, if a module is not installed that only some users need.

    Args:
        need: what needs it, as the message begins: "fomm live needs tornado".
        extra: the extra of this package that has it.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(f"{need}; install it: pip install 'fomm-lib[{extra}]'")


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Around the first import of a package that reports how it is used: it does not, in this process.

    onnxruntime (from 1.32 on) sends reports to its makers and keeps the id of the machine in the home folder,
    unless `ORT_DISABLE_TELEMETRY` is set, which child processes inherit. OpenVINO does the same when it is
    imported, unless its companion package cannot be imported.

    Example:
        >>> with without_telemetry():
        ...     import onnxruntime  # doctest: +SKIP
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    before = sys.modules.get("openvino_telemetry")
    # Importing it raises an ImportError then, for which OpenVINO is ready.
    sys.modules["openvino_telemetry"] = None
    try:
        yield
    finally:
        del sys.modules["openvino_telemetry"]
        if before is not None:
            sys.modules["openvino_telemetry"] = before


@contextmanager
def same_signal_stack() -> Iterator[None]:
    """Around code that replaces the stack of this thread's signal handlers: afterwards it is the former one.

    OpenVINO gives the thread that compiles a model a stack that holds the processor's registers and nothing
    more. Any handler that Python or PyTorch runs there (Ctrl-C, the end of a worker of a DataLoader) writes
    below it: the process may die. Linux only; elsewhere nothing is done.

    Source: sigaltstack(2).

    Example:
        >>> with same_signal_stack():
        ...     model = openvino.Core().compile_model("encode.onnx", "CPU")  # doctest: +SKIP
    """
    if sys.platform != "linux":
        yield
        return
    former, libc = _SignalStack(), ctypes.CDLL(None)
    libc.sigaltstack(None, ctypes.byref(former))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(former), None)


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def newer_than_tested() -> list[str]:
    """The installed packages that are newer than the newest release tested with this project, one line each.

    The tested releases are those of `constraints.txt`. Packages that are not installed, or not listed there,
    are left out.

    Example:
        >>> newer_than_tested()  # doctest: +SKIP
        ['av 20.0.0 (tested: 19.0.2)']
    """
    from packaging.requirements import Requirement
    from packaging.version import Version

    newest: dict[str, Version] = {}
    for line in _constraints().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (release,) = (Version(specifier.version) for specifier in requirement.specifier)
            newest[requirement.name] = max(release, newest.get(requirement.name, release))
    installed = {name: _installed(name) for name in newest}
    return [
        f"{name} {release} (tested: {newest[name]})"
        for name, release in installed.items()
        if release is not None and Version(release).release > newest[name].release
    ]


def check_release(package: str) -> None:
    """Check that an installed release is not known to fail here; a package that is not installed passes.

    Args:
        package: its name on the Python Package Index.

    Raises:
        InputError: as for `importing`, before any import.

    Example:
        >>> check_release("numpy")
    """
    from packaging.specifiers import SpecifierSet

    release = _installed(package)
    if release is None:
        return
    bound = _lower_bounds().get(package)
    if bound is not None and not SpecifierSet(bound).contains(release, prereleases=True):
        text = f"{package} {release} is too old; this needs {package}{bound}"
        raise InputError(f"{text}: pip install --upgrade {package}")
    broken, works = KNOWN_BREAKS.get(package, (None, None))
    if broken is not None and SpecifierSet(broken).contains(release, prereleases=True):
        text = f"{package} {release} is known not to work here"
        raise InputError(f'{text}; install another: pip install "{package}{works}"')
    if package == "torchvision":
        _check_torch_beside(release)


def _check_torch_beside(release: str) -> None:
    """torchvision is compiled for one release of PyTorch; with another its import fails."""
    from packaging.requirements import Requirement

    torch = _installed("torch")
    needed = [
        line for line in map(Requirement, metadata.requires("torchvision") or []) if line.name == "torch"
    ]
    if torch is not None and not all(line.specifier.contains(torch, prereleases=True) for line in needed):
        text = f"torchvision {release} needs torch{needed[0].specifier}, and torch {torch} is installed"
        raise InputError(f"{text}; install both: pip install --upgrade torch torchvision")


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.lru_cache(maxsize=1)
def _lower_bounds() -> dict[str, str]:
    """Package to the lower bound of this project and its extras; empty if the project is not installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return {}
    return {requirement.name: str(requirement.specifier) for requirement in map(Requirement, lines)}


def _constraints() -> str:
    """The text of constraints.txt: of the repository, or of an installed wheel; "" if there is neither."""
    package = Path(__file__).resolve().parent
    for path in (package.parent / "constraints.txt", package / "_data" / "constraints.txt"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""
