"""The site is built from what was committed, holds every page, and reads without a network."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest

from tests.support.paths import ROOT
from tools import slides

pytest.importorskip("myst_nb", reason="the site is built with the extra `site`")
pytest.importorskip("sphinx_revealjs", reason="the slides are built with the extra `site`")

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
    return [path for path in site.rglob("*.html") if not {"_static", "slides"} & set(path.parts)]


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
        html.unescape(alt)
        for cell in nb.cells
        for output in cell.get("outputs", [])
        for alt in re.findall(r'<img alt="([^"]*)"', output.get("data", {}).get("text/html", ""))
    ]
    assert len(images) > 3
    told = " ".join(html.unescape(text) for text in re.findall(r'<img[^>]* alt="([^"]*)"', page, re.DOTALL))
    assert all(alt in told for alt in images)


def test_folded_cells_are_folded(site):
    for notebook in NOTEBOOKS:
        cells = nbformat.read(notebook, as_version=4).cells
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert page.count("Show the code") == sum("hide-input" in c.metadata.get("tags", []) for c in cells)


def test_every_page_leads_to_the_form_for_errors(site):
    for page in pages(site):
        if page.name in ("genindex.html", "search.html"):
            continue
        name = page.relative_to(site).with_suffix("").as_posix()
        text = html.unescape(page.read_text(encoding="utf-8"))
        assert f"issues/new?template=notebook.yml&title={quote(name, safe='')}" in text, name
    assert (ROOT / ".github" / "ISSUE_TEMPLATE" / "notebook.yml").exists()


def test_the_first_page_says_how_to_cite(site):
    assert "@inproceedings" in (site / "README.html").read_text(encoding="utf-8")


def test_there_is_a_deck_for_every_meeting(site):
    index = (site / "slides" / "index.html").read_text(encoding="utf-8")
    found = slides.meetings(slides.GUIDE.read_text(encoding="utf-8"))
    page = (site / "docs" / "slides.html").read_text(encoding="utf-8")
    assert 'href="../slides/index.html"' in page
    guide = slides.GUIDE.read_text(encoding="utf-8")
    family = guide.partition("\n## The family")[2].partition("\n## ")[0]
    further = set(re.findall(r"^\| (\d\d) \|", family, re.M))  # meetings without a deck
    further |= set(re.findall(r"^## .+ \((\d\d)\)$", guide, re.M))
    assert len(found) == 8 and further | {n for meeting in found for n in meeting.notebooks} == {
        path.name[:2] for path in NOTEBOOKS
    }
    for meeting in found:
        deck = (site / "slides" / f"meeting_{meeting.number}.html").read_text(encoding="utf-8")
        assert f"meeting_{meeting.number}.html" in index
        drawn = re.findall(r'<img alt="([^"]+)" src="([^"]+)"', deck)
        assert len(drawn) > 3 and all((site / "slides" / source).exists() for _, source in drawn)
        assert 'class="math notranslate nohighlight"' in deck and 'class="notes"' in deck
        assert "Question 1" in deck and deck.count("<section") > 20


def test_a_deck_has_what_its_notebooks_show():
    for notebook in NOTEBOOKS:
        nb = nbformat.read(notebook, as_version=4)
        shown = list(slides.figures(nb))
        assert len(shown) > 3 and all(png.startswith(b"\x89PNG") for _, _, png, _ in shown)
        text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
        captions = {caption for *_, caption in shown if caption}
        assert len(captions) >= 0.7 * len(re.findall(r"^\*Figure \d+\.", text, re.MULTILINE))


@pytest.mark.needs_system
def test_nothing_is_cut_off_on_a_phone(site):
    """At 390 pixels no page is wider than the screen, and what is wider scrolls in its own box."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    wide = """() => [...document.querySelectorAll('.bd-article :is(mjx-container, table, img, pre)')]
        .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1 && e.offsetParent)
        .filter(e => {
            for (let box = e; box && !box.matches('.bd-article'); box = box.parentElement)
                if (['auto', 'scroll'].includes(getComputedStyle(box).overflowX)) return false
            return true
        }).map(e => e.tagName + ': ' + (e.textContent || e.alt).slice(0, 40))"""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(120_000)
        for path in [site / "README.html", *sorted((site / "notebooks").glob("*.html"))]:
            page.goto(path.as_uri())
            page.wait_for_load_state("load")
            if page.locator(".math").count():
                page.wait_for_function("document.querySelector('mjx-container')")
            assert page.evaluate(wide) == [], path.name
            assert page.evaluate("document.documentElement.scrollWidth") <= 391, path.name
        browser.close()


def test_every_page_is_reached_from_the_first(site):
    first = (site / "README.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="([^"#:]+\.html)', first))
    built = {path.relative_to(site).as_posix() for path in pages(site)}
    assert built - linked - {"README.html", "genindex.html", "search.html"} == set()
    assert all((site / page).exists() for page in linked)


def test_nothing_is_fetched_from_a_network(site):
    for page in [*pages(site), *(site / "slides").glob("*.html")]:
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
