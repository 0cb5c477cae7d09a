"""The repository: packages, Pythons, licences, README, .ci/run; what two places say is the same in both."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from fomm_lib.media.encoding import VideoWriter
from tests.support.paths import ROOT
from tools import constraints

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PYPROJECT["project"]["urls"]["Repository"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The long parts of the README.
DOCS = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = "\n".join([README, *DOCS.values()])


def project_files(*suffixes: str) -> list[Path]:
    """The project's own files with one of these suffixes: no venv, no cache, nothing left beside them."""
    code = ["fomm_lib", "tests", "tools", "benchmarks", "experiments"]
    places = [*code, "notebooks", "data", "docs", ".ci", ".github"]
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]  # of a worktree
    found += [path for place in places for path in (ROOT / place).rglob("*") if path.is_file()]
    hidden = {"__pycache__", ".ipynb_checkpoints"}
    return sorted(path for path in found if path.suffix in suffixes and not hidden & set(path.parts))


# --- paths and sizes ----------------------------------------------------------------------------------------

# Written in two halves, so that this file does not find itself.
FORBIDDEN = [
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("C:\\Us", "ers"),
    ("file:", "///"),
    ("pypi.", "org/simple"),
    ("files.", "pythonhosted"),
    ("registry.", "npmjs"),
    ("git-lfs.", "github.com/spec"),
]


def test_no_path_of_somebodys_machine_and_no_registry_is_named():
    texts = project_files(
        ".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".txt", ".ipynb", ".csv", ".json", ""
    )
    assert ROOT / ".ci" / "run" in texts and ROOT / "README.md" in texts
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in texts
        for word in map("".join, FORBIDDEN)
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def total_megabytes(pattern: str) -> float:
    return sum(path.stat().st_size for path in (ROOT / "data").glob(pattern) if path.is_file()) / 2**20


def test_the_data_stays_small():
    assert total_megabytes("heads/**/*") <= 6
    assert total_megabytes("weights/**/*") <= 48
    assert total_megabytes("**/*") <= 64
    large = [
        path for path in (ROOT / "data").rglob("*") if path.is_file() and path.stat().st_size >= 16 * 2**20
    ]
    assert large == []


def test_notebooks_stay_small():
    assert [path for path in (ROOT / "notebooks").glob("*.ipynb") if path.stat().st_size >= 2**20] == []


# --- what is installed --------------------------------------------------------------------------------------

CONDA_NAMES = {"torch": "pytorch"}  # all others have the same name on conda-forge


def test_conda_environment_says_the_same_as_pyproject():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = {"python": project["requires-python"]}
    for line in [*project["dependencies"], *extras["notebooks"], *extras["test"]]:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = str(requirement.specifier)

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    *packages, by_pip = environment["dependencies"]
    assert by_pip == {"pip": ["-e ."]}
    listed = {Requirement(line).name: str(Requirement(line).specifier) for line in packages if line != "pip"}
    assert listed == wanted
    assert len(listed) == len(packages) - 1, "a package is listed twice, or pip is missing"


def test_pyproject_has_lower_bounds_only():
    for requirement in constraints.requirements():
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == [">="], f"{requirement}: one lower bound and nothing else"


def recorded() -> dict[str, dict[str, str]]:
    return constraints.read((ROOT / "constraints.txt").read_text(encoding="utf-8"))


def test_constraints_record_every_direct_dependency_on_every_python():
    direct = constraints.requirements()
    releases = recorded()
    assert set(releases) == {canonicalize_name(requirement.name) for requirement in direct}
    for requirement in direct:
        by_python = releases[canonicalize_name(requirement.name)]
        assert sorted(by_python) == sorted(constraints.pythons()), requirement.name
        for release in by_python.values():
            assert Version(release) in requirement.specifier, f"{requirement} and {release}"
            assert Version(release).local is None, f"{requirement.name} {release} names one build"


def test_constraints_are_written_as_they_are_read():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert constraints.written(constraints.read(text)) == text
    first, *others = constraints.pythons()
    releases = {
        "a": {first: "1.0", **dict.fromkeys(others, "2.0")},
        "b": dict.fromkeys([first, *others], "3"),
    }
    text = constraints.written(releases)
    assert constraints.read(text) == releases
    assert text.count("\na==") == len(constraints.pythons()) and text.count("\nb==3\n") == 1


def test_constraints_of_this_environment():
    found = constraints.here(
        [Requirement("torch>=2.4"), Requirement("PyYAML"), Requirement("no-such-package>=1")]
    )
    assert set(found) == {"torch", "pyyaml"}
    assert re.fullmatch(r"\d[\d.]+", found["torch"]), "without +cpu or +cu130"


def test_constraints_notice_what_is_out_of_step(tmp_path, monkeypatch, capsys):
    for name in ("pyproject.toml", "constraints.txt", "constraints-oldest.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(constraints, "ROOT", tmp_path)
    monkeypatch.setattr(constraints, "here", lambda direct: {"av": "99.0"})
    assert constraints.main([]) == 1
    assert "here: av 99.0" in capsys.readouterr().out
    monkeypatch.setattr(constraints, "here", lambda direct: {})
    assert constraints.main([]) == 0
    (tmp_path / "constraints-oldest.txt").write_text("av==1.0\n")
    assert constraints.main([]) == 1
    assert "constraints-oldest.txt is not what pyproject.toml says" in capsys.readouterr().out


def test_the_oldest_packages_are_the_lower_bounds():
    text = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    assert text == constraints.oldest(constraints.requirements())
    lines = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    assert lines["torch"] == "2.4" and lines["av"] == "17.0.1"


def test_what_is_above_its_bound_is_named(monkeypatch, capsys):
    bounds = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement in constraints.requirements()
    }
    monkeypatch.setattr(constraints, "here", lambda direct: bounds)
    assert constraints.main(["--is-oldest"]) == 0
    monkeypatch.setattr(constraints, "here", lambda direct: bounds | {"av": "18.0"})
    assert constraints.main(["--is-oldest"]) == 1
    assert "av 18.0, not 17.0.1" in capsys.readouterr().out


# --- which Pythons ------------------------------------------------------------------------------------------


def test_every_place_promises_the_same_pythons():
    promised = constraints.pythons()
    assert promised == ["3.10", "3.11", "3.12", "3.13"]
    assert PYPROJECT["project"]["requires-python"] == f">={promised[0]}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{promised[0].replace('.', '')}"
    assert f"You need Python {', '.join(promised[:-1])} or {promised[-1]}" in README
    listed = subprocess.run(
        ["bash", ".ci/run", "pythons"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == promised


@pytest.mark.parametrize(
    "arguments", [["quick", "no-such-python"], ["quick", sys.executable, "newer"], ["fast"]]
)
def test_ci_refuses_what_it_does_not_know(arguments):
    run = subprocess.run(["bash", ".ci/run", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2 and f"{arguments[-1]}: " in run.stdout


def test_the_workflow_tests_every_promised_python_and_the_oldest_packages():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow[True]["schedule"], "a weekly run; YAML reads the key `on` as True"
    matrix = workflow["jobs"]["quick"]["strategy"]["matrix"]
    assert matrix["python"] == constraints.pythons() and matrix["releases"] == ["newest"]
    assert {"python": constraints.pythons()[0], "releases": "oldest", "trial": False} in matrix["include"]
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert "bash .ci/run quick python3 ${{ matrix.releases }}" in commands
    assert "bash .ci/run whole" in commands


def test_pre_commit_uses_the_recorded_tools():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    tools = {repo["repo"].rpartition("/")[2]: repo for repo in config["repos"]}
    ruff, linter = tools["ruff-pre-commit"], tools["import-linter"]
    assert {ruff["rev"]} == {f"v{release}" for release in recorded()["ruff"].values()}
    assert linter["rev"] == f"v{max(recorded()['import-linter'].values(), key=Version)}"
    hooks = [hook["id"] for repo in (ruff, linter) for hook in repo["hooks"]]
    assert hooks == ["ruff-check", "ruff-format", "import-linter"]


# --- licences, citation, changelog --------------------------------------------------------------------------


def test_licences():
    mit = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert mit.startswith("MIT License") and 'THE SOFTWARE IS PROVIDED "AS IS"' in mit
    text = (ROOT / "LICENSE-TEXT").read_text(encoding="utf-8")
    assert "SPDX-License-Identifier: CC-BY-4.0" in text
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in text


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["title"] and citation["authors"]
    assert str(citation["version"]) == PYPROJECT["project"]["version"]
    assert citation["repository-code"] == REPOSITORY
    (paper,) = citation["references"]
    assert paper["title"] == "First Order Motion Model for Image Animation"
    assert [author["family-names"] for author in paper["authors"]] == [
        "Siarohin",
        "Lathuilière",
        "Tulyakov",
        "Ricci",
        "Sebe",
    ]
    assert paper["year"] == 2019 and "NeurIPS" in paper["conference"]["name"]


def test_one_version_everywhere():
    import fomm_lib

    assert fomm_lib.__version__ == PYPROJECT["project"]["version"]


def test_changelog_is_kept():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", text, flags=re.MULTILINE)
    assert headings[0] == "Unreleased" and len(headings) == len(set(headings))
    kinds = set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for heading in headings:
        assert re.search(rf"^\[{re.escape(heading)}\]: {re.escape(REPOSITORY)}/", text, flags=re.MULTILINE)


# --- the README ---------------------------------------------------------------------------------------------


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "ends"), [("animate", "fomm animate"), ("test", "-m pytest")])
def test_ci_reads_the_two_commands_out_of_the_readme(name, ends):
    (written,) = re.findall(rf"^<!-- command: {name} -->\n```bash\n(.*?)^```$", README, flags=re.M | re.S)
    read = subprocess.run(
        ["bash", ".ci/run", "command", name], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert read.stdout == written
    assert len(written.splitlines()) == 1, "it is promised as one command"
    assert written.rstrip().endswith(ends)


def test_shell_blocks_are_shell():
    blocks = fenced(PAGES, "bash") + fenced((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "bash")
    assert len(blocks) > 4
    for block in [*blocks, (ROOT / ".ci" / "run").read_text(encoding="utf-8")]:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_python_blocks_are_python():
    blocks = fenced(PAGES, "python")
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_the_scripts_of_the_readme_use_what_there_is():
    import fomm_lib

    used = {
        node.attr
        for block in fenced(PAGES, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fomm"
    }
    assert {"load_model", "animate"} <= used
    assert [name for name in sorted(used) if not hasattr(fomm_lib, name)] == []


def test_the_parts_shown_in_the_readme_work(capsys):
    (block,) = [block for block in fenced(PAGES, "python") if "model.detect" in block]
    exec(compile(block, "README.md", "exec"), {})
    shapes = [tuple(map(int, re.findall(r"\d+", line))) for line in capsys.readouterr().out.splitlines()]
    (_, k, _), jacobian, (_, h, w, _), occlusion = shapes
    assert shapes[0] == (1, k, 2) and jacobian == (1, k, 2, 2)
    assert shapes[2] == (1, h, w, 2) and occlusion == (1, 1, h, w)


def test_the_fomm_commands_of_the_readme_exist_with_their_options():
    import typer

    from fomm_lib.cli import main

    commands = typer.main.get_command(main.app).commands
    lines = [
        shlex.split(line, comments=True)
        for block in fenced(PAGES, "bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("fomm ")
    ]
    assert {words[1] for words in lines} >= {"animate", "train", "synthesize", "convert", "info"}
    assert {words[1] for words in lines} <= set(commands)
    for words in lines:
        command = commands[words[1]]
        command = command.commands[words[2]] if hasattr(command, "commands") else command  # a group of verbs
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {option for parameter in command.params for option in parameter.secondary_opts}
        unknown = [word for word in words[2:] if word.startswith("--") and word not in known]
        assert unknown == [], f"{shlex.join(words)}: {unknown}"


def test_links_inside_the_project_lead_somewhere():
    guides = [f"notebooks/{name}.md" for name in ("GLOSSARY", "INSTRUCTOR", "QUIZ")]
    docs = [path.relative_to(ROOT).as_posix() for path in DOCS]
    for page in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", *guides, *docs]:
        text = (ROOT / page).read_text(encoding="utf-8")
        targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) + re.findall(
            r'(?:src|href)="([^"#]+)"', text
        )
        local = [target for target in targets if not re.match(r"https?://|mailto:", target)]
        missing = [target for target in local if not (ROOT / page).parent.joinpath(target).exists()]
        assert missing == [], page


def test_the_readme_is_short_and_leads_to_every_page():
    assert len(README) <= 10_000
    assert len(DOCS) >= 6
    assert [path.name for path in DOCS if f"](docs/{path.name})" not in README] == []
    assert all(text.startswith("# ") and text.endswith("\n") for text in DOCS.values())


def test_the_readme_gives_the_hours_and_the_citation():
    minutes = [cells.split("|")[3] for _, cells in re.findall(r"^\| (\d\d) \|(.+)\|$", README, re.MULTILINE)]
    total = sum(int(number) for cell in minutes for number in re.findall(r"\d+", cell))
    assert f"{total / 60:.1f} hours" in README
    bibtex = fenced(README, "bibtex")
    assert len(bibtex) == 1 and len(re.findall(r"^@\w+\{\w+,$", bibtex[0], re.MULTILINE)) == 2
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f"version = {{{citation['version']}}}" in bibtex[0] and REPOSITORY in bibtex[0]
    assert citation["references"][0]["title"] in bibtex[0]
    assert bibtex[0].count("{") == bibtex[0].count("}")


def test_images_have_a_text_instead():
    for alt in re.findall(r"!\[(.*?)\]\(", README):
        assert alt.strip(), "an image without alt text"


# --- CONTRIBUTING -------------------------------------------------------------------------------------------

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_contributing_names_every_folder():
    folders = [path.parent for path in (ROOT / "fomm_lib").glob("*/__init__.py")]
    assert [folder.name for folder in folders if f"\n  {folder.name}/ " not in CONTRIBUTING] == []


def test_contributing_says_where_changes_go_by_files_and_names_that_exist():
    rows = re.findall(r"^\| (an? .+?) \| (.+) \| (.+) \| .+ \|$", CONTRIBUTING, flags=re.MULTILINE)
    assert len(rows) >= 7
    for what, library, tests in rows:
        files = re.findall(r"`([\w/]+\.py)`", library)
        assert files and all((ROOT / "fomm_lib" / name).is_file() for name in files), what
        assert all((ROOT / "tests" / name).is_file() for name in re.findall(r"`([\w/]+\.py)`", tests)), what
        text = "".join((ROOT / "fomm_lib" / name).read_text(encoding="utf-8") for name in files)
        assert [name for name in re.findall(r"`(\w+)`", library) if name not in text] == [], what


# --- the table of the course --------------------------------------------------------------------------------

COURSE = re.findall(r"^\| (\d\d) \|(.+)\|$", README, flags=re.MULTILINE)


def test_the_course_has_its_fifteen_notebooks():
    assert [number for number, _ in COURSE] == [f"{number:02}" for number in range(15)]


@pytest.mark.parametrize(("number", "row"), COURSE)
def test_a_row_of_the_course_is_whole(number, row):
    notebook, section, modules, minutes, gpu, colab = (cell.strip() for cell in row.split("|"))
    assert all([notebook, section, modules, minutes, gpu, colab])
    named = re.findall(r"`([\w/]+)`", modules)
    assert named
    if colab != "planned":
        package = ROOT / "fomm_lib"
        assert [
            name for name in named if not ((package / name).is_dir() or (package / f"{name}.py").is_file())
        ] == []

    name = re.search(rf"`({number}_\w+)`", notebook)
    assert name, "the notebook's file name, with its number"
    there = (ROOT / "notebooks" / f"{name[1]}.ipynb").is_file()
    path = f"notebooks/{name[1]}.ipynb"
    owner = REPOSITORY.removeprefix("https://github.com/")
    colab_url = f"https://colab.research.google.com/github/{owner}/blob/main/{path}"
    if colab == "planned":
        assert not there, (
            f"the notebook is there: link {path}, say its minutes, and put a badge for {colab_url}"
        )
        assert "](" not in notebook
    else:
        assert there, "the row says it is there, and it is not"
        assert f"]({path})" in notebook
        assert f"]({colab_url})" in colab
        page = (ROOT / path).with_suffix(".py").read_text(encoding="utf-8")
        at_a_glance = re.search(r"^# \| Minutes \| (.+) \|$", page, flags=re.MULTILINE)
        assert minutes == " + ".join(re.findall(r"\d+", at_a_glance[1])), "as the notebook itself says"


def test_every_notebook_has_its_row():
    rows = "\n".join(row for _, row in COURSE)
    there = [path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")]
    assert [name for name in there if f"`{name}`" not in rows] == []


# --- what .ci/run looks for ---------------------------------------------------------------------------------


def clip(path, movement):
    """A bright square on grey, `movement` pixels to the right in each frame."""
    with VideoWriter(path, fps=25, size=(64, 64)) as writer:
        for shift in movement:
            frame = np.full((64, 64, 3), 90, np.uint8)
            frame[20:40, 10 + shift : 30 + shift] = 200
            writer.write(frame)
    return path


@pytest.mark.parametrize(
    ("movement", "verdict"),
    [
        ([0, 5, 10, 15, 20, 15, 10, 5], None),
        ([0, 4, 8, 13, 17, 12, 8, 4], None),  # not as far, but at the same times
        ([0] * 8, "nothing moves"),
        ([0, 5, 10, 15], "as many frames"),
        ([0, 20, 10, 5, 0, 5, 10, 20], "does not move when"),
    ],
)
def test_ci_tells_a_moving_portrait_from_others(tmp_path, movement, verdict):
    driving = clip(tmp_path / "driving.mp4", [0, 5, 10, 15, 20, 15, 10, 5])
    result = clip(tmp_path / "result.mp4", movement)
    run = subprocess.run(
        [sys.executable, ROOT / ".ci" / "check_video.py", result, driving], capture_output=True, text=True
    )
    assert run.returncode == (1 if verdict else 0), run.stdout + run.stderr
    assert "wrong" not in run.stdout if verdict is None else verdict in run.stdout


# --- no skip goes unseen ------------------------------------------------------------------------------------


@pytest.fixture
def skipping_tests(tmp_path):
    """A folder of tests that skip in several ways, with our conftest.py."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    needs_gpu: a GPU\n")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "@pytest.mark.parametrize('name', ['a b'])\n"
        "def test_skips(name): pytest.skip('no ffprobe here')\n"
        "@pytest.mark.skipif(True, reason='no chromium here')\n"
        "def test_marked(): pass\n"
        "@pytest.mark.needs_gpu\n"
        "def test_gpu(): pytest.skip('no GPU here')\n"
        "@pytest.mark.xfail\n"
        "def test_known(): assert False\n"
    )
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    return tmp_path


def test_under_strict_system_a_skip_is_a_failure(skipping_tests):
    command = [sys.executable, "-m", "pytest", "--strict-system", "--continue-on-collection-errors"]
    run = subprocess.run(command, cwd=skipping_tests, capture_output=True, text=True)
    assert run.returncode == 1
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in run.stdout.splitlines()[-1]
    for reason in ["no ffprobe here", "no chromium here", "no_such_module"]:
        assert reason in run.stdout


def test_what_skips_is_listed_and_run_again(skipping_tests):
    """As `.ci/run` does: the list of the first run is what its strict step runs, a process for each file."""
    skipped = skipping_tests / "skipped"
    command = [sys.executable, "-m", "pytest", "-q"]
    environment = {**os.environ, "FOMM_SKIPPED": str(skipped)}
    run = subprocess.run(command, cwd=skipping_tests, env=environment, capture_output=True, text=True)
    assert run.returncode == 0
    listed = ["test_some.py::test_marked", "test_some.py::test_skips[a b]", "test_whole.py"]
    assert sorted(skipped.read_text().splitlines()) == listed

    (skipping_tests / ".venv" / "bin").mkdir(parents=True)
    (skipping_tests / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (skipping_tests / ".venv" / "bin" / "python").chmod(0o755)
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (function,) = re.findall(r"^strict_tests\(\) \{\n.*?^\}$", text, flags=re.MULTILINE | re.DOTALL)
    script = f"set -uo pipefail\n{function}\nstrict_tests"
    run = subprocess.run(
        ["bash", "-c", script], cwd=skipping_tests, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 1
    lines = [line for line in run.stdout.splitlines() if re.search(r"(failed|errors?)\b.* in ", line)]
    assert len(lines) == 2 and "1 failed, 1 error" in lines[0] and "1 error" in lines[1]
