"""A table of numbers as a table of the page, whose rows do not wrap as printed lines do."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from fomm_lib.course.plots.showing import display
from fomm_lib.errors import InputError


class _Table:
    """Rows of texts in the two forms in which a notebook stores them."""

    def __init__(self, columns: list[str], rows: list[list[str]], is_number: list[bool]):
        self.columns, self.rows, self.is_number = columns, rows, is_number

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(line, widths, self.is_number, strict=True)
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        head, body = self._row(self.columns, "th"), [self._row(row, "td") for row in self.rows]
        return "\n".join(["<table>", f"<thead>{head}</thead>", "<tbody>", *body, "</tbody>", "</table>"])

    def _row(self, line: list[str], tag: str) -> str:
        cells = [
            f'<{tag} style="text-align: {"right" if number else "left"}">{html.escape(text)}</{tag}>'
            for text, number in zip(line, self.is_number, strict=True)
        ]
        return f"<tr>{''.join(cells)}</tr>"


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 3) -> None:
    """Show a table in a notebook: a table of the page, and aligned text in a terminal.

    Columns of numbers stand to the right. Numbers with a fraction have the same number of digits after the
    point; whole numbers and texts stand as they are, None is an empty cell. Both forms are compared when the
    notebook is tested.

    Args:
        columns: the heads of the columns, with their units.
        rows: the cells, as many in each row as there are columns: texts, numbers, tensors of one
            number, None.
        digits: digits after the point, 0 or more.

    Raises:
        InputError: a row has another number of cells than there are columns, or IPython is not installed.

    Example:
        >>> show_table(["loss", "weight", "value"], [["equivariance", 10, 0.1234], ["perceptual", 1, 12.0]])
        loss          weight   value
        equivariance      10   0.123
        perceptual         1  12.000
    """
    for row in rows:
        if len(row) != len(columns):
            raise InputError(
                f"the row {list(row)} has {len(row)} cells, and there are {len(columns)} columns"
            )
    texts = [[_text(cell, digits) for cell in row] for row in rows]
    numbers = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    display(_Table(list(map(str, columns)), texts, numbers), instead="print the rows")


def _is_number(cell: Any) -> bool:
    return cell is None or (not isinstance(cell, (str, bool)) and hasattr(cell, "__float__"))


def _text(cell: Any, digits: int) -> str:
    if cell is None:
        return ""
    if not _is_number(cell) or isinstance(cell, int):
        return str(cell)
    whole = "int" in str(getattr(cell, "dtype", ""))
    return str(int(cell)) if whole else f"{float(cell):.{digits}f}"
