"""The course as a site: README, committed notebooks (nothing is run), glossary, guide for teachers.

    python -m sphinx -q -c tools/site . site      # then open site/README.html

The built folder has everything that a page needs, formulas too, so that it can be read without a network.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
GUIDES = [name for name in ("GLOSSARY", "INSTRUCTOR") if (ROOT / "notebooks" / f"{name}.md").exists()]
REPOSITORY = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)[1]

project = "A moving portrait, from first principles"
author = "The fomm-lib authors"
copyright = "text CC BY 4.0, code MIT"

extensions = ["myst_nb", "sphinx_copybutton", "sphinx-mathjax-offline"]
root_doc = "README"
# By default Sphinx searches every folder, virtual environments included.
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
    "data/weights/README.md",
    "data/heads/README.md",
    *(f"notebooks/{name}.ipynb" for name in NOTEBOOKS),
    *(f"notebooks/{name}.md" for name in GUIDES),
]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # headings of notebooks may skip a level
    "myst.xref_missing",  # links to files that are not pages lead to the repository, see below
    "misc.highlighting_failure",
]

html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {
    "repository_url": REPOSITORY,
    "use_repository_button": True,
    "use_download_button": True,
    "show_toc_level": 2,
    "navbar_persistent": [],
}
html_static_path = ["static"]
html_css_files = ["course.css"]
html_sourcelink_suffix = ""

BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\((?P<url>[^)]*)\)")
TREE = """

```{{toctree}}
:hidden:
:caption: {caption}

{pages}
```
"""


def prepare(app, page, content):
    """Add what the files do not contain: the order of the pages, and alternative texts of images."""
    text = BADGE.sub(r"[Open in Colab](\g<url>)", content[0])  # the badge is an image from the network
    if page == "README":
        text = _repository_links(text)
        text += TREE.format(caption="The course", pages="\n".join(f"notebooks/{name}" for name in NOTEBOOKS))
        if GUIDES:
            text += TREE.format(caption="Guides", pages="\n".join(f"notebooks/{name}" for name in GUIDES))
        more = ["CONTRIBUTING", "CHANGELOG", "data/README", "data/weights/README", "data/heads/README"]
        text += TREE.format(caption="The repository", pages="\n".join(more))
    elif page.removeprefix("notebooks/") in NOTEBOOKS:
        text = json.dumps(_with_alternative_texts(json.loads(text)))
    else:
        text = _repository_links(text)
    content[0] = text


def _repository_links(text: str) -> str:
    """Make links to files that are not pages of the site lead to the repository."""
    return re.sub(
        r"\]\(((?!https?:|#|mailto:)[\w./-]+?(?:\.cff|LICENSE(?:-TEXT)?|\.py|\.csv|\.txt))\)",
        rf"]({REPOSITORY}/blob/main/\1)",
        text,
    )


def _with_alternative_texts(notebook: dict) -> dict:
    """Copy alternative texts from outputs, where Jupyter reads them, to cells, where MyST reads them."""
    for cell in notebook["cells"]:
        texts = [
            output["metadata"]["image/png"]["alt"]
            for output in cell.get("outputs", [])
            if output.get("metadata", {}).get("image/png", {}).get("alt")
        ]
        if texts:
            cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})["alt"] = " ".join(texts)
    return notebook


def setup(app):
    app.connect("source-read", prepare)
