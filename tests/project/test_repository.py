"""The repository's address is the same everywhere, one command changes it; what GitHub reads is valid."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import nbformat
import pytest
import yaml

from tests.support.paths import ROOT
from tools import nb, repository

NEW = "https://github.com/some-school/moving.portraits"


@pytest.fixture(scope="module")
def checkout():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout")


@pytest.fixture(scope="module")
def copy(checkout, tmp_path_factory):
    """A copy of what git knows, as a repository of its own."""
    folder = tmp_path_factory.mktemp("copy") / "course"
    for path in repository.files_with("", ROOT):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.stat().st_size < 2**20:
            shutil.copy(path, target)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def test_every_address_of_the_project_is_that_of_pyproject(checkout):
    owner = repository.address().removeprefix("https://github.com/").split("/")[0]
    found = {
        words
        for path in repository.files_with(owner)
        if path.suffix in {".md", ".py", ".ipynb", ".yml", ".cff", ".toml"}
        for words in re.findall(rf"github\.com/({owner}/[\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert found == {repository.address().removeprefix("https://github.com/")}


def test_one_command_renames_the_address_everywhere(copy):
    old = repository.address(copy)
    changed = {path.relative_to(copy).as_posix() for path in repository.rename(NEW, copy)}
    assert repository.address(copy) == NEW
    old_path = old.removeprefix("https://github.com/")
    assert repository.files_with(old_path, copy) == []
    expected = {"README.md", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", "CONTRIBUTING.md"}
    assert expected | {".github/ISSUE_TEMPLATE/config.yml", "notebooks/00_start_here.ipynb"} <= changed
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert "git clone https://github.com/some-school/moving.portraits && cd moving.portraits" in readme
    assert "mybinder.org/v2/gh/some-school/moving.portraits/main" in readme
    for notebook in sorted((copy / "notebooks").glob("[0-9]*.ipynb")):
        before = nbformat.read(ROOT / "notebooks" / notebook.name, as_version=4)
        after = nbformat.read(notebook, as_version=4)
        assert f"git+{NEW}" in nb.code_cells(after)[0].source
        assert [cell.outputs for cell in nb.code_cells(before)] == [
            cell.outputs for cell in nb.code_cells(after)
        ]
        whole = before.metadata["executed"]["code_sha256"] == nb.code_hash(before)
        assert (after.metadata["executed"]["code_sha256"] == nb.code_hash(after)) or not whole
    repository.rename(old, copy)
    for name in ("README.md", "CITATION.cff", "notebooks/00_start_here.py"):
        assert (copy / name).read_bytes() == (ROOT / name).read_bytes(), "there and back again"


@pytest.mark.parametrize("address", ["moving-portraits", "https://github.com/one", NEW + ".git", NEW + "/"])
def test_what_is_no_address_is_refused(address, capsys):
    assert repository.main([address]) == 2
    assert "give an address of the form https://github.com/OWNER/NAME" in capsys.readouterr().err


def test_help_is_no_address(capsys):
    with pytest.raises(SystemExit) as ended:
        repository.main(["--help"])
    assert ended.value.code == 0 and "Rename the repository's address" in capsys.readouterr().out


def test_the_command_says_where_the_address_stands(checkout, capsys):
    assert repository.main([]) == 0
    first, *places = capsys.readouterr().out.splitlines()
    assert first == repository.address() and "README.md" in places


def test_without_a_checkout_one_line_says_so(tmp_path):
    with pytest.raises(ValueError, match="git knows no checkout here; get the project with git clone"):
        repository.files_with("", tmp_path)


# --- what GitHub, Binder and Codespaces read ----------------------------------------------------------------


def yaml_of(*parts):
    return yaml.safe_load(ROOT.joinpath(".github", *parts).read_text(encoding="utf-8"))


def test_forms_ask_for_what_a_repair_needs():
    notebook, install = (yaml_of("ISSUE_TEMPLATE", f"{name}.yml") for name in ("notebook", "install"))
    for form in (notebook, install):
        assert form["name"] and form["description"]
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids)) and all(field["attributes"]["label"] for field in form["body"])
    assert [field["id"] for field in notebook["body"]][:2] == ["page", "cell"]
    assert all(field["validations"]["required"] for field in notebook["body"])
    assert yaml_of("ISSUE_TEMPLATE", "config.yml")["contact_links"][0]["url"].startswith(repository.address())


def test_the_workflow_of_the_site_builds_with_the_readmes_command():
    jobs = yaml_of("workflows", "site.yml")["jobs"]
    commands = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    command = "python -m sphinx -q -c tools/site . site"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert command.replace("-q", "-q -W --keep-going") in commands
    assert jobs["publish"]["needs"] == "build" and jobs["publish"]["permissions"]["pages"] == "write"


@pytest.mark.parametrize("name", ["tests", "site", "colab"])
def test_workflows_have_limits_and_few_rights(name):
    workflow = yaml_of("workflows", f"{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)


def test_binder_and_codespaces_install_the_notebooks():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    requirements = (ROOT / ".binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "pip install -e '.[notebooks]'" in container["postCreateCommand"]
    assert "-e .[notebooks]" in requirements
    version = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert re.fullmatch(r"python-3\.1[0-3]", version)
