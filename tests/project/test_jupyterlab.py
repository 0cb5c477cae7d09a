"""What a learner does: JupyterLab in a browser, open a notebook, run all cells, move a slider.

The notebooks run in a copy of their folder. With `--screenshots DIR` an image of each is kept, to look at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.paths import ROOT
from tools import nb as tool

NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
WITH_SLIDERS = [name for name in NOTEBOOKS if name[:2] in ("03", "04", "08")]
SECONDS = 240  # for one notebook, on a machine that does other things too

pytestmark = pytest.mark.needs_system


@pytest.fixture(scope="module")
def chromium():
    """The browser's path; skips where there is none, or nothing to drive it with."""
    pytest.importorskip("playwright", reason="needs the extra: pip install 'fomm-lib[browser]'")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def lab_folder(tmp_path_factory):
    """A copy of the notebooks."""
    return shutil.copytree(ROOT / "notebooks", tmp_path_factory.mktemp("lab") / "notebooks")


@pytest.fixture(scope="module")
def lab(lab_folder):
    """The address of a JupyterLab that shows the copy of the notebooks."""
    home = lab_folder.parent
    # All cells are in the page, not only those on screen; no news, no advice.
    settings = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for name, values in settings.items():
        path = home / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", "--expose-app-in-browser"]
    command += [f"--ServerApp.root_dir={home / 'notebooks'}"]
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {"OMP_NUM_THREADS": "1", "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    environment |= {
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(home / "run"),
    }
    with open(home / "log.txt", "w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{address}/api"), 60, (home / "log.txt").read_text)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def page(chromium):
    """A browser window."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser.new_page(viewport={"width": 1200, "height": 900})
        browser.close()


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2):
            return True
    except OSError:
        return False


def wait_for(condition, seconds: float, explain=lambda: ""):
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s in vain; {explain()}", pytrace=False)
        time.sleep(0.3)
    return result


def cells(page) -> list[dict]:
    """The cells of the open notebook, with what they have put out."""
    return page.evaluate("jupyterapp.shell.currentWidget.context.model.toJSON().cells")


def open_notebook(page, lab: str, name: str) -> None:
    page.goto(f"{lab}/lab/tree/{name}?reset")
    page.wait_for_function(
        "name => window.jupyterapp?.shell.currentWidget?.context?.path === name"
        " && jupyterapp.shell.currentWidget.context.isReady"
        " && jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
        arg=name,
        timeout=60_000,
    )


# How far the open notebook is: [cells of code, those that have run, those that failed, the kernel's status].
PROGRESS = """() => {
    const widget = jupyterapp.shell.currentWidget
    const code = [...widget.context.model.cells].filter(cell => cell.type === 'code')
    const failed = cell => [...Array(cell.outputs.length).keys()]
        .some(i => cell.outputs.get(i).type === 'error')
    return [
        code.length,
        code.filter(cell => cell.executionCount !== null).length,
        code.filter(failed).length,
        widget.sessionContext.session?.kernel?.status,
    ]
}"""


def run_all(page) -> list[dict]:
    """Clear what the notebook came with, run all cells; the cells afterwards."""
    page.evaluate("jupyterapp.commands.execute('editmenu:clear-all')")
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")

    def is_done() -> bool:
        code, executed, failed, status = page.evaluate(PROGRESS)
        return failed or (executed == code and status == "idle")

    wait_for(is_done, SECONDS, lambda: f"cells, run, failed, kernel: {page.evaluate(PROGRESS)}")
    return cells(page)


def errors(cells: list[dict]) -> list[str]:
    """What went wrong in a notebook: exceptions, and what was written to stderr."""
    found = []
    for number, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                found.append(f"cell {number}: {output['ename']}: {output['evalue']}")
            if output["output_type"] == "stream" and output["name"] == "stderr":
                found.append(f"cell {number}, stderr: {''.join(output['text'])[:300]}")
    return found


def shown_by_widgets(page) -> set[str]:
    """The addresses of all images and videos that are seen in widgets."""
    seen = "all => all.filter(i => i.offsetParent && i.src).map(i => i.src)"
    inside = ".jupyter-widgets img, .widget-output img, video.jupyter-widgets, .jupyter-widgets video"
    return set(page.eval_on_selector_all(inside, seen))


SLIDER = ".jupyter-widgets .noUi-handle"


def move_slider(page) -> None:
    """Push the first slider of the notebook four steps to the right."""
    slider = page.locator(SLIDER).first
    slider.scroll_into_view_if_needed()
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")


# An image as `plots.show` stores it, a slider that was not run, a folded cell; nobody trusts this notebook.
STORED = """# %%
import ipywidgets
import torch

from fomm_lib.course import plots

# %%
def square(side):
    grid = plots.image_grid([[torch.zeros(3, 8, side)]])
    plots.show(grid, alt=f"a black \\"square\\" of {side} < 9 columns")


square(8)

# %%
_ = ipywidgets.interact(square, side=(1, 9))

# %% tags=["hide-input"]
# @title A folded cell
plots.show_table(["a", "b"], [[1, 2]])
plots.show_widget(ipywidgets.IntSlider(), plots.image_grid([[torch.ones(3, 8, 8)]]), alt="a still image")
"""


def test_a_notebook_that_was_not_run_shows_texts_still_images_and_folds(lab, page, lab_folder):
    script = lab_folder / "stored.py"
    script.write_text(STORED, encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", lab_folder)
    tool.run(tool.pair(script))
    open_notebook(page, lab, "stored.ipynb")
    images = page.locator(".jp-OutputArea-output img")
    wait_for(lambda: images.count() == 3, 60, lambda: f"{images.count()} images")
    assert [image.get_attribute("alt") for image in images.all()] == [
        'a black "square" of 8 < 9 columns',
        'a black "square" of 5 < 9 columns',
        "a still image",
    ]
    assert all(page.eval_on_selector_all(".jp-OutputArea-output img", "all => all.map(i => i.naturalWidth)"))
    assert page.locator(".jp-OutputArea-output table td").all_text_contents() == ["1", "2"]
    assert page.locator(".jp-InputPlaceholder").count() == 1
    executed = run_all(page)
    assert errors(executed) == []
    wait_for(lambda: page.locator(SLIDER).count() == 2, 60)
    assert page.locator("img[alt='a still image']").count() == 0, "the widget stands in its place"
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_learner_runs_it(name, lab, page, request):
    open_notebook(page, lab, name)
    executed = run_all(page)
    folder = request.config.getoption("--screenshots")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        inner = page.locator(".jp-WindowedPanel-inner, .jp-Notebook").first
        inner.screenshot(path=Path(folder) / f"{Path(name).stem}.png")
    assert errors(executed) == []

    shown = page.locator(".jp-OutputArea-output:visible")
    assert shown.count() > 5
    assert page.locator("text=Error displaying widget").count() == 0
    assert page.locator("text=/Loading widget/").count() == 0
    if name in WITH_SLIDERS:
        before = shown_by_widgets(page)
        move_slider(page)
        if name.startswith("08"):  # there the slider is one of a panel, and a button makes the video
            page.locator(".jupyter-widgets button", has_text="animate").click()
        wait_for(lambda: len(now := shown_by_widgets(page)) >= max(1, len(before)) and now != before, 120)
        if folder:
            page.locator(SLIDER).first.scroll_into_view_if_needed()
            page.screenshot(path=Path(folder) / f"{Path(name).stem}-slider.png")
        assert errors(cells(page)) == []
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def test_a_failing_cell_is_seen():
    output = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division by zero"}
    warning = {"output_type": "stream", "name": "stderr", "text": ["beware"]}
    said = errors([{"outputs": []}, {"outputs": [output, warning]}, {}])
    assert said == ["cell 1: ZeroDivisionError: division by zero", "cell 1, stderr: beware"]


def test_the_notebooks_with_sliders_are_those_that_say_so():
    for name in WITH_SLIDERS:
        source = (ROOT / "notebooks" / name).with_suffix(".py").read_text(encoding="utf-8")
        assert re.search(r"\binteract\(|\bpreview\(", source), name
