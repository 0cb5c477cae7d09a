"""The estimated width of a formula agrees with what MathJax draws."""

from __future__ import annotations

import html
import importlib.util
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.support.paths import ROOT
from tools import nb_page
from tools.formulas import EM, formula_width

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
ALONE = [  # constructions that few formulas have, and both sides of the limit
    "x",
    r"\frac{a + b}{2}",
    r"\begin{pmatrix} a & b \\ c & d + e \end{pmatrix}",
    r"\begin{aligned} a &= b + c \\ &= d + e + f \end{aligned}",
    r"\begin{cases} a & x > 0 \\ b & \text{otherwise} \end{cases}",
    r"\underbrace{a + b}_{\text{a sum of two}}",
    r"\sqrt{a^2 + b^2}",
    r"\operatorname*{mean}_{i \ne j}\, \exp(-x)",
    " + ".join(["a_k b_k"] * 11),
    " + ".join(["a_k b_k"] * 14),
]


def notebooks_formulas() -> list[str]:
    return [
        formula
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for formula in nb_page.display_formulas(cell.source)
    ]


def drawn(formulas: list[str], folder: Path) -> list[float]:
    """The widths that MathJax gives them in Chromium, in em."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    carried = importlib.util.find_spec("sphinx-mathjax-offline")
    if carried is None:
        pytest.skip("needs the extra `site`")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    script = Path(carried.origin).parent / "static" / "mathjax" / "tex-chtml.js"
    lines = [f'<p><span style="font-size: 20px">$${html.escape(tex)}$$</span>' for tex in formulas]
    page_file = folder / "formulas.html"
    page_file.write_text(
        f'<!doctype html><meta charset="utf-8"><script src="{script.as_uri()}"></script>'
        f'<body style="width: 4000px">{"".join(lines)}',
        encoding="utf-8",
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 4000, "height": 900})
        page.set_default_timeout(180_000)
        page.goto(page_file.as_uri())
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise.then(() => null)")
        scale = "e => parseFloat(getComputedStyle(e.closest('mjx-container')).fontSize)"
        widths = page.eval_on_selector_all(
            "mjx-math", f"all => all.map(e => e.getBoundingClientRect().width / ({scale})(e))"
        )
        browser.close()
    return widths


@pytest.mark.needs_system
def test_the_estimate_agrees_with_mathjax(tmp_path):
    formulas = [*ALONE, *notebooks_formulas()]
    assert len(formulas) > 40
    for tex, width in zip(formulas, drawn(formulas, tmp_path), strict=True):
        assert formula_width(tex) / EM == pytest.approx(width, rel=0.15, abs=0.3), tex


def test_what_a_page_draws_the_same_is_as_wide():
    assert formula_width("a+b") == formula_width(r"a + b") == formula_width(r"{a} + \left b\right")
    assert formula_width(r"\frac{a}{b + c}") == formula_width(r"\frac{b + c}{a}")
    assert formula_width(r"a_{bc}^{d}") == formula_width(r"a^d_{bc}") < formula_width(r"abc")
    assert formula_width(r"\text{a b}") > formula_width(r"\text{ab}")
    rows = [r"a \\ b + c", r"b + c \\ a"]
    first, second = (formula_width(rf"\begin{{aligned}} {row} \end{{aligned}}") for row in rows)
    assert first == second
    assert formula_width("") == 0


def test_the_limit_lies_between_two_sums():
    assert formula_width(ALONE[-2]) < nb_page.MAX_FORMULA < formula_width(ALONE[-1])
