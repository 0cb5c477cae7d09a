"""The guides are correct: the glossary's terms and names exist; the teacher's minutes add up."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields, is_dataclass

import pytest

import fomm_lib
from tests.support.paths import ROOT

TEXT = (ROOT / "notebooks" / "GLOSSARY.md").read_text(encoding="utf-8")
NOTEBOOKS = {path.name[:2]: path for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its two head lines."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


SYMBOLS, TERMS = rows("Symbols"), rows("Terms")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def words(notebook: str) -> str:
    """All that a notebook says, with spaces and signs of Markdown made alike."""
    text = re.sub(r"^#( |$)", "", NOTEBOOKS[notebook].read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r"[\s*_-]+", " ", text).lower()


def is_written(notebook: str) -> bool:
    """False where the README says that it is planned; a number that is neither is an error."""
    if notebook in NOTEBOOKS:
        return True
    assert re.search(rf"^\| {notebook} \| .*planned", README, re.MULTILINE), (
        f"there is no notebook {notebook}"
    )
    return False


def exists(name: str) -> bool:
    """Whether `folder.module.name` or `module.Class.attribute` exists in fomm_lib."""
    found, parts = fomm_lib, name.split(".")
    for i, part in enumerate(parts):
        if i + 1 == len(parts) and is_dataclass(found) and part in {field.name for field in fields(found)}:
            return True
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except (AttributeError, ModuleNotFoundError):
                return False
        found = getattr(found, part)
    return True


def test_tables_are_whole():
    assert len(SYMBOLS) >= 45 and len(TERMS) >= 30
    assert {len(row) for row in SYMBOLS} == {6} and {len(row) for row in TERMS} == {4}
    assert all(row[0] and row[1] and row[-1] for row in SYMBOLS + TERMS)


def test_terms_stand_in_order_and_once():
    names = [row[0].lower() for row in TERMS]
    assert names == sorted(set(names))
    assert len({row[0] for row in SYMBOLS}) == len(SYMBOLS)


@pytest.mark.parametrize("row", SYMBOLS, ids=lambda row: row[0])
def test_symbol_is_in_its_notebook_and_in_none_before(row):
    if not is_written(row[-1]):
        return
    symbol = re.sub(r"[\s*_-]+", " ", row[0].strip("$")).lower()
    assert symbol in words(row[-1])
    named = re.escape(row[0].strip("$"))
    earlier = [
        number
        for number, path in NOTEBOOKS.items()
        if number < row[-1]
        and re.search(rf"^# \|[^|]*\${named}\$[^|]*\|", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert earlier == []


# --- one notation -------------------------------------------------------------------------------------------

NAMES = {row[0].strip("$"): row[1] for row in SYMBOLS}
# A notation that once had two meanings, and what is written now.
FORMER = {
    r"\\mathcal\s*\{?\s*L": "L",
    r"L_(P|A|F|V|J|p|\{?\\text\{rec\}\}?)(?![a-z])": "L_perc, L_G, L_fm, L_eq, L_jac",
    r"\\hat\s*\{?\s*D": r"\hat x",
    r"D_\{?\\phi": "D(x)",
    r"\\sigma\(W\)": r"\lVert W \rVert_2",
    r"(?<![\w{\\])[SD]\\?[bB]?i?g?l?\(z\)|(?<!\w)S\(T": "x_S(z)",
    r"/\s*T\s*\)": r"\tau",
    r"(?<![\\lr])\|[^|]+(?<![\\lr])\|": r"\lvert \rvert",
    r"p_\{?\\mathrm\{?(data|model)": r"P_\text{data}",
    r"N_i\(": r"\phi_i",
}


def formulas(text: str) -> list[str]:
    """All formulas of a notebook's text, in a line or displayed."""
    text = re.sub(r"^#( |$)", "", text, flags=re.MULTILINE)
    prose = "\n".join(
        cell for cell in re.split(r"^ ?%% ?", text, flags=re.MULTILINE) if cell.startswith("[markdown]")
    )
    prose = re.sub(r"```.*?```|`[^`\n]+`", "", prose, flags=re.DOTALL)
    return [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", prose, re.DOTALL)]


def former_notation(text: str) -> list[str]:
    return [
        f"{' '.join(formula.split())}: write {now}"
        for formula in formulas(text)
        for before, now in FORMER.items()
        if re.search(before, formula)
    ]


def symbol_tables(text: str) -> list[tuple[str, str]]:
    """(symbol, what it is) of every table of a notebook whose first column is `symbol`."""
    found = []
    for table in re.findall(r"^# \| symbol .*\n# \|[-:| ]+\n((?:# \|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines():
            cells = [cell.strip() for cell in line.strip("# |").split("|")]
            if len(cells) > 1:
                found += [(symbol, cells[1]) for symbol in re.findall(r"\$([^$]+)\$", cells[0])]
    return found


def is_known(symbol: str, means: str) -> bool:
    """Whether the glossary has the symbol with this meaning, or leaves it to each section."""
    squeezed = {re.sub(r"\s", "", name): words for name, words in NAMES.items()}
    symbol = re.sub(r"\s", "", symbol)
    if symbol in squeezed:
        name = re.split(r"[:;,(]| of | at | that | or ", squeezed[symbol])[0].strip()
        return means.lower().startswith(name.lower())
    base = re.sub(r"'|^\\bar|^\\Delta", "", symbol)
    if base != symbol and (base in squeezed or base + "_k" in squeezed):
        return True
    letter = re.fullmatch(r"([a-z])(_\{?\w+\}?|\^\d|,\\?[a-z])*", base)
    return bool(letter) and letter[1] not in squeezed and letter[1] + "_k" not in squeezed


@pytest.mark.parametrize("number", sorted(NOTEBOOKS))
def test_a_notebook_uses_the_notation_of_the_glossary(number):
    text = NOTEBOOKS[number].read_text(encoding="utf-8")
    assert formulas(text)
    assert former_notation(text) == []
    assert [(symbol, means) for symbol, means in symbol_tables(text) if not is_known(symbol, means)] == []


def test_another_notation_is_seen():
    cell = "# %% [markdown]\n# $L_P$ and $L_\\text{{perc}}$, $\\hat{{D}}$, `$L_J$`, $T(p)$\n# $${}$$\n"
    assert len(former_notation(cell.format("a"))) == 2
    for once in (
        r"\exp(a / T)",
        r"|a| + b",
        r"\hat D(z)",
        r"\mathcal{L}_G",
        r"D_\phi(x)",
        r"\sigma(W)",
        "S(z)",
    ):
        assert len(former_notation(cell.format(once))) >= 3, once
    for now in (r"\lvert a \rvert", r"\exp(a / \tau)", r"x_S(T(z))", r"\mathrm{KL}(P \,\|\, Q)", r"L_D"):
        assert len(former_notation(cell.format(now))) == 2, now


def test_another_meaning_is_seen():
    table = "# | symbol | name |\n# |---|---|\n# | $T$, $a_k$ | temperature |\n# | $\\tau$ | temperature |\n"
    assert symbol_tables(table) == [
        ("T", "temperature"),
        ("a_k", "temperature"),
        (r"\tau", "temperature"),
    ]
    assert not is_known("T", "temperature") and is_known("T", "motion, the dense one")
    assert is_known(r"\tau", "temperature; 0.1 as published") and is_known("a_k", "anything")
    assert is_known("p'", "found in the deformed image") and is_known("s", "size")
    assert not is_known("p", "a probability") and not is_known("F", "flow") and not is_known("x", "size")
    assert is_known("T_{S\\leftarrow D}", "backward motion, to the source")


@pytest.mark.parametrize("row", TERMS, ids=lambda row: row[0])
def test_term_is_in_its_notebook(row):
    assert not is_written(row[-1]) or re.sub(r"[\s-]+", " ", row[0]).lower() in words(row[-1])


@pytest.mark.parametrize(
    "name", sorted({name for row in SYMBOLS + TERMS for name in re.findall(r"`([^`]+)`", row[-2])})
)
def test_name_in_code_exists(name):
    if "." in name:
        assert exists(name)
    elif (ROOT / "fomm_lib" / f"{name}.py").exists():
        return
    else:  # a variable of the notebooks, those that are written
        introduced = {row[-1] for row in SYMBOLS + TERMS if f"`{name}`" in row[-2]}
        assert not any(map(is_written, introduced)) or any(
            re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) for path in NOTEBOOKS.values()
        )


def test_what_is_not_there_is_seen():
    assert exists("keypoints.Keypoints.jacobian") and exists("geometry.warp")
    assert exists("animation.movement.hull_area") and exists("media.faces")
    assert not exists("geometry.wrap") and not exists("keypoints.Keypoints.jacobean")
    assert not exists("animation.movement.hull") and not exists("animations.movement")


GUIDE = (ROOT / "notebooks" / "INSTRUCTOR.md").read_text(encoding="utf-8")


def test_eight_meetings_of_ninety_minutes():
    meetings = re.findall(r"^### \d · .*?(?=^### \d|^## )", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(meetings) == 8
    assert [sum(map(int, re.findall(r"^\| (\d+) \|", text, re.MULTILINE))) for text in meetings] == [90] * 8


def test_every_exam_question_has_its_answer():
    exam = GUIDE.split("## Exam questions")[1]
    assert [int(n) for n in re.findall(r"^\*\*(\d+)\.\*\*", exam, re.MULTILINE)] == list(range(1, 16))
    for question in re.split(r"^\*\*\d+\.\*\*", exam, flags=re.MULTILINE)[1:]:
        assert re.search(r"\*[^*]{5,}\*$", question.strip(), re.DOTALL)


def test_the_guide_has_three_schedules_and_a_rubric_with_three_examples():
    schedules = GUIDE.split("## Three schedules")[1].split("\n## ")[0]
    assert all(f"**{name}**" in schedules for name in ("Eight meetings", "Two days", "Half a day"))
    half_a_day = schedules.split("**Half a day**")[1]
    assert sum(map(int, re.findall(r"^\| (\d+) \|", half_a_day, re.MULTILINE))) == 210
    project = GUIDE.split("## The project")[1].split("\n## ")[0]
    criteria = re.findall(r"^\| (the \w+|conduct) \|(.+)\|$", project, re.MULTILINE)
    assert len(criteria) == 5 and all(cells.count("|") == 3 for _, cells in criteria)
    for example, points in re.findall(r"^\*\*([ABC]), (\d+) points\.\*\*", project, re.MULTILINE):
        text = project.split(f"**{example}, ")[1].split("\n\n")[0]
        assert sum(map(int, re.findall(r"\((\d)\)", text))) == int(points)
    assert len(re.findall(r"^\*\*[ABC], ", project, re.MULTILINE)) == 3


def test_the_guide_names_exercises_that_there_are():
    for title, named, body in re.findall(
        r"^### \d · (.+?) \((?:notebook )?([\d, with]+)\)\n(.*?)(?=^##)", GUIDE, re.MULTILINE | re.DOTALL
    ):
        said = re.search(r"\*Exercises:\*(.+?)(?:\*With|\Z)", body, re.DOTALL)
        assert said, title
        number = named.split(",")[0].strip()
        text = NOTEBOOKS[number].read_text(encoding="utf-8")
        if len(re.findall(r"\d\d", named)) == 1:
            there = set(re.findall(r"^# ### Exercise (\d) ·", text, re.MULTILINE))
            assert set(re.findall(r"\b(\d)\b", said[1])) <= there, title


def test_the_commands_of_the_guide_are_those_of_the_tool(tmp_path):
    from tools import nb

    lines = re.findall(r"^(?:cd \S+ && )?(python -m tools\.nb .+|nbgrader .+)$", GUIDE, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        if line.startswith("python") and "student" in line:
            words = line.split()[3:]
            words[-1] = str(tmp_path / words[-1])
            assert nb.main([*words, str(NOTEBOOKS["00"])]) == 0


QUIZ = (ROOT / "notebooks" / "QUIZ.md").read_text(encoding="utf-8")


def test_the_quiz_has_sixty_questions_with_answers():
    sections = re.split(r"^## (\d\d) · .+$", QUIZ, flags=re.MULTILINE)[1:]
    assert sections[::2] == sorted(NOTEBOOKS)[:10]
    numbers = re.findall(r"^\*\*(\d+)\.\*\*", QUIZ, re.MULTILINE)
    assert [int(n) for n in numbers] == list(range(1, 61))
    for section in sections[1::2]:
        questions = re.split(r"^\*\*\d+\.\*\*", section, flags=re.MULTILINE)[1:]
        assert len(questions) == 6
        for question in questions:
            assert re.search(r"\?.*\n?.*\n\n*\*[^*]{3,}\*$", question.strip(), re.DOTALL), question
    texts = [" ".join(q.split()) for q in re.findall(r"^\*\*\d+\.\*\* (.+?)\n\n", QUIZ, re.M | re.S)]
    assert len(set(texts)) == 60
