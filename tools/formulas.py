"""How wide a display formula is on a page, estimated from its TeX.

A browser knows exactly, but `python -m tools.nb check` must run without one. The widths of signs are those of
the fonts of MathJax, rounded; tests/project/test_formulas.py compares the estimate with MathJax in Chromium.
"""

from __future__ import annotations

import re

# Pixels of one em of a formula, on the site and in JupyterLab at their usual sizes of text.
EM = 17.6

TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|[^\\\s]", re.DOTALL)
NARROW, WIDE = set("ijlftr'|,.;:!()[]"), set("mwMW")
SPACES = {r"\quad": 1.0, r"\qquad": 2.0, r"\,": 0.17, r"\;": 0.28, r"\:": 0.22, r"\ ": 0.25, r"\!": -0.17}
RELATIONS = {
    "=",
    "<",
    ">",
    r"\le",
    r"\ge",
    r"\ne",
    r"\approx",
    r"\sim",
    r"\to",
    r"\leftarrow",
    r"\rightarrow",
}
RELATIONS |= {r"\in", r"\mid", r"\gets", r"\propto", r"\equiv", r"\mapsto"}
LONG_RELATIONS = {r"\Rightarrow": 1.56, r"\Longrightarrow": 2.2, r"\longrightarrow": 2.2, r"\iff": 2.4}
BINARY = {"+", "-", r"\pm", r"\times", r"\circ", r"\odot", r"\oplus", r"\cdot", r"\ast", r"\cup", r"\cap"}
OPERATORS = {r"\sum": 1.61, r"\prod": 1.45, r"\int": 1.0}
NAMES = {
    r"\log",
    r"\exp",
    r"\max",
    r"\min",
    r"\sin",
    r"\cos",
    r"\tan",
    r"\det",
    r"\inf",
    r"\sup",
    r"\lim",
    r"\arg",
}
WORDS = {r"\text", r"\mathrm", r"\operatorname", r"\operatorname*", r"\mathbf", r"\textbf", r"\mathtt"}
ACCENTS = {r"\hat", r"\bar", r"\tilde", r"\vec", r"\dot", r"\overline", r"\underline", r"\widehat"}
STYLES = {r"\mathcal", r"\mathbb", r"\boldsymbol", r"\mathit", r"\mathsf"}
SILENT = {r"\left", r"\right", r"\displaystyle", r"\textstyle", r"\limits", r"\nolimits", "&"}
SIZES = {r"\big": 0.1, r"\Big": 0.2, r"\bigg": 0.3, r"\Bigg": 0.4}
SIZES |= {name + side: more for name, more in SIZES.items() for side in "lrm"}


def formula_width(tex: str) -> float:
    """The width of a display formula on the page, in pixels, right to about 15 percent.

    Example:
        >>> round(formula_width("a + b"), -1), round(formula_width(r"\\frac{a + b}{2}"), -1)
        (50.0, 50.0)
    """
    tokens = TOKEN.findall(_words(tex))
    return EM * _width(tokens)


def _words(tex: str) -> str:
    """The text of `\\text{...}` and the like with `~` for spaces, which TeX drops elsewhere."""
    return re.sub(
        r"(\\(?:text|textbf|operatorname\*?|mathrm)\s*\{)([^{}]*)",
        lambda found: found[1] + found[2].replace(" ", "~"),
        tex,
    )


def _width(tokens: list[str], scale: float = 1.0) -> float:
    """The width in em of a list of tokens, which this empties."""
    rows, cells, width = [], [], 0.0
    while tokens:
        token = tokens.pop(0)
        if token == r"\\":
            rows.append([*cells, width])
            cells, width = [], 0.0
        elif token == "&":
            cells.append(width)
            width = 0.0
        else:
            width += _item(token, tokens, scale)
    rows.append([*cells, width])
    if rows == [[width]]:
        return width
    columns = [max(row[i] for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return sum(columns) + scale * (len(columns) - 1)


def _item(token: str, tokens: list[str], scale: float) -> float:
    """The width of the item that begins with a token; takes its arguments from the tokens."""
    if token in ("^", "_"):
        return _scripts(token, tokens, scale)
    if token in OPERATORS or token in NAMES or token == r"\operatorname*":
        inner = _word(tokens) if token == r"\operatorname*" else OPERATORS.get(token, 0.5 * (len(token) - 1))
        return scale * 0.17 + max(scale * inner, _scripts("", tokens, scale))
    if token in (r"\underbrace", r"\overbrace"):
        return max(_width(_argument(tokens), scale), _scripts("", tokens, scale))
    if token in (r"\frac", r"\dfrac", r"\tfrac"):
        inner = scale if token != r"\tfrac" and scale == 1 else 0.71 * scale
        parts = [_width(_argument(tokens), inner) for _ in "ab"]
        return max(parts) + 0.24 * scale
    if token == r"\sqrt":
        return _width(_argument(tokens), scale) + 0.85 * scale
    if token == r"\begin":
        return _environment(tokens, scale)
    if token in WORDS:
        return scale * _word(tokens)
    if token in ACCENTS or token in STYLES:
        return _width(_argument(tokens), scale)
    if token == "{":
        tokens.insert(0, token)
        return _width(_argument(tokens), scale)
    return scale * _sign(token, scale)


def _sign(token: str, scale: float) -> float:
    spaced = scale == 1  # scripts have no space around their signs
    known = {**SPACES, **SIZES, **LONG_RELATIONS}
    if token in known:
        return known[token]
    if token in SILENT or token == "}":
        return 0.0
    if token in RELATIONS:
        return 0.78 + 0.56 * spaced
    if token in BINARY:
        return (0.28 if token == r"\cdot" else 0.78) + 0.44 * spaced
    if token == ",":
        return 0.28 + 0.17 * spaced
    if token in NARROW or token in (r"\lvert", r"\rvert", r"\mid"):
        return 0.37
    if token in WIDE:
        return 0.9
    if len(token) == 1 and token.isupper():
        return 0.75
    return 0.5 if token.isdigit() or token in (r"\|", r"\lVert", r"\rVert", "~") else 0.56


def _scripts(first: str, tokens: list[str], scale: float) -> float:
    """The width of what follows as index and exponent: they stand above one another."""
    small, widths = 0.71 * scale, [0.0]
    while first or (tokens and tokens[0] in ("^", "_")):
        first = "" if first else tokens.pop(0) and ""
        widths.append(_width(_argument(tokens), small))
    return max(widths)


def _argument(tokens: list[str]) -> list[str]:
    """Take an argument: one token, or those between braces."""
    if not tokens:
        return []
    first = tokens.pop(0)
    if first != "{":
        # `\mathrm x` as an argument has an argument itself
        return [first, *_argument(tokens)] if first in WORDS | ACCENTS | STYLES else [first]
    taken, depth = [], 1
    while tokens:
        token = tokens.pop(0)
        depth += (token == "{") - (token == "}")
        if depth == 0:
            break
        taken.append(token)
    return taken


def _word(tokens: list[str]) -> float:
    """The width of upright text."""
    known = {"~": 0.25, "m": 0.83, "w": 0.72, "{": 0.0, "}": 0.0}
    return sum(known.get(sign, 0.75 if sign.isupper() else 0.48) for sign in _argument(tokens))


def _environment(tokens: list[str], scale: float) -> float:
    name = "".join(_argument(tokens))
    inner, depth = [], 1
    while tokens:
        token = tokens.pop(0)
        depth += (token == r"\begin") - (token == r"\end")
        if depth == 0:
            _argument(tokens)
            break
        inner.append(token)
    if name == "array":
        _argument(inner)
    brackets = 1.5 if name in ("pmatrix", "bmatrix", "vmatrix") else 0.9 if name == "cases" else 0.0
    gaps = scale if name in ("aligned", "split", "align") else 0.0  # no gap at the signs they align at
    return max(0.0, _width(inner, scale) - gaps) + brackets * scale
