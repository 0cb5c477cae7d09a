"""The site is built from what was committed, holds every page, and reads without a network."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.support.paths import ROOT

pytest.importorskip("myst_nb", reason="the site is built with the extra `site`")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site and what the builder said."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "tools/site", "-d"]
    run = subprocess.run(
        [*command, str(out / "doctrees"), ".", str(out / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return out / "html"


def pages(site: Path) -> list[Path]:
    """What people read, without the templates that themes keep among their scripts."""
    return [path for path in site.rglob("*.html") if "_static" not in path.parts]


def test_readme_gives_the_command():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "python -m sphinx -q -c tools/site . site" in readme
    assert "site/README.html" in readme


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_a_page_with_its_images(notebook, site):
    page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    nb = nbformat.read(notebook, as_version=4)
    title = re.search(r"^# (.+)$", nb.cells[0].source, re.MULTILINE)[1]
    assert html.escape(title, quote=False) in page
    images = [
        output.metadata["image/png"]["alt"]
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert page.count("_images/") >= len(images)
    told = " ".join(html.unescape(text) for text in re.findall(r'<img[^>]* alt="([^"]*)"', page, re.DOTALL))
    assert all(alt in told for alt in images)


def test_every_page_is_reached_from_the_first(site):
    first = (site / "README.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="([^"#:]+\.html)', first))
    built = {path.relative_to(site).as_posix() for path in pages(site)}
    assert built - linked - {"README.html", "genindex.html", "search.html"} == set()
    assert all((site / page).exists() for page in linked)


def test_nothing_is_fetched_from_a_network(site):
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|source|iframe)\b[^>]*\bsrc="([^"]+)"', text)
        loaded += re.findall(r'<link\b[^>]*rel="stylesheet"[^>]*href="([^"]+)"', text)
        assert [url for url in loaded if re.match(r"(https?:)?//", url)] == []
        for url in loaded:
            if not url.startswith("data:"):
                assert (page.parent / url.partition("?")[0]).exists(), f"{page.name}: {url}"


def test_formulas_are_left_to_the_carried_mathjax(site):
    page = (site / "notebooks" / "01_gan_math.html").read_text(encoding="utf-8")
    assert 'class="math notranslate nohighlight"' in page
    assert re.search(r'src="[^"]*mathjax/tex-[^"]*\.js', page)
