"""The course as a site: README and docs, committed notebooks (nothing is run), guides, slides.

    python -m sphinx -q -c tools/site . site      # then open site/README.html

The built folder has everything that a page needs, formulas too, so that it can be read without a network. The
slides are in its folder `slides` (tools/slides.py).
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
GUIDES = [name for name in ("GLOSSARY", "INSTRUCTOR") if (ROOT / "notebooks" / f"{name}.md").exists()]
DOCS = sorted(path.stem for path in (ROOT / "docs").glob("*.md") if path.stem != "slides")
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
    "data/evaluation/README.md",
    *(f"docs/{name}.md" for name in [*DOCS, "slides"]),
    *(f"notebooks/{name}.ipynb" for name in NOTEBOOKS),
    *(f"notebooks/{name}.md" for name in GUIDES),
]
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"  # of cells with the tag hide-input
nb_code_prompt_hide = "Hide the code"
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
    "article_footer_items": ["report.html"],
}
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["course.css"]
html_sourcelink_suffix = ""

# An image from the network with a link: the link and its words stay.
BADGE = re.compile(r"\[!\[(?P<words>[^\]]*)\]\(https?:[^)]*\)\]\((?P<url>[^)]*)\)")
TREE = """

```{{toctree}}
:hidden:
:caption: {caption}

{pages}
```
"""


def prepare(app, page, content):
    """Add what the files do not contain, the order of the pages; leave out what comes from the network."""
    text = BADGE.sub(r"[\g<words>](\g<url>)", content[0])
    if page == "README":
        text = _repository_links(text)
        text += TREE.format(caption="The course", pages="\n".join(f"notebooks/{name}" for name in NOTEBOOKS))
        text += TREE.format(caption="The library", pages="\n".join(f"docs/{name}" for name in DOCS))
        text += TREE.format(
            caption="Guides", pages="\n".join([*(f"notebooks/{name}" for name in GUIDES), "docs/slides"])
        )
        more = ["CONTRIBUTING", "CHANGELOG", "data/README", "data/weights/README", "data/heads/README"]
        more += ["data/evaluation/README"]
        text += TREE.format(caption="The repository", pages="\n".join(more))
    elif page.removeprefix("notebooks/") not in NOTEBOOKS:
        text = _repository_links(text)
    if page == "docs/slides":  # the link leads nowhere but in the built site
        text = text.replace("`slides/index.html`", '<a href="../slides/index.html">slides/index.html</a>')
    content[0] = text


def _repository_links(text: str) -> str:
    """Make links to files that are not pages of the site lead to the repository."""
    files = r"[\w./-]+?(?:\.cff|LICENSE(?:-TEXT)?|\.py|\.csv|\.txt|QUIZ\.md)"
    return re.sub(rf"\]\((?!https?:|#|mailto:)(?:\.\./)*({files})\)", rf"]({REPOSITORY}/blob/main/\1)", text)


def add_report_link(app, page, template, context, doctree):
    """Where a reader reports an error of the page: the form, with the page filled in."""
    form = urlencode({"template": "notebook.yml", "title": f"{page}: ", "page": page})
    context["report_url"] = f"{REPOSITORY}/issues/new?{form}"


def add_slides(app, error):
    """Build the slides into the site."""
    if error is None and app.builder.name == "html":
        command = [sys.executable, "-m", "tools.slides", str(Path(app.outdir) / "slides")]
        subprocess.run(command, cwd=ROOT, check=True)


def setup(app):
    app.connect("source-read", prepare)
    app.connect("html-page-context", add_report_link)
    app.connect("build-finished", add_slides)
