"""The slides: decks that tools/slides.py writes, for sphinx-revealjs."""

project = "A moving portrait, from first principles"
author = "The fomm-lib authors"
copyright = "text CC BY 4.0, code MIT"

extensions = ["myst_parser", "sphinx_revealjs", "sphinx-mathjax-offline"]
exclude_patterns = ["doctrees"]
myst_enable_extensions = ["amsmath", "dollarmath"]
suppress_warnings = ["myst.header", "myst.xref_missing", "misc.highlighting_failure"]

revealjs_style_theme = "white"
revealjs_static_path = ["static"]
revealjs_css_files = ["slides.css"]
revealjs_script_conf = {"hash": True, "slideNumber": True, "width": 1050, "height": 700}
revealjs_script_plugins = [
    {"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"},
]
