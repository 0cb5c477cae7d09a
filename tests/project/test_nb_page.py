"""What looks wrong on a page, and what looks alike and is right."""

import nbformat
import pytest

from tools import nb_page


@pytest.mark.parametrize(
    "text, found",
    [
        ("The parts add up to\n1. Mixed", ["1. Mixed"]),
        ("of the paper's\n64) images", ["64) images"]),
        ("a sum of a\n- b and c", ["- b and c"]),
        ("the sum a\n+ b", ["+ b"]),
        ("- one\n- two\n  in\n  3. words", ["3. words"]),
        ("1. one\n2. two\n7. three", ["7. three"]),
        ("1. one\n2. two\n3) three", []),
        ("Steps:\n\n1. one\n2. two\n   more\n3. three", []),
        ("- one\n- two\n  - deeper", []),
        ("At 0.5\n1.5 is more, and 2.x too", []),
        ("in code\n```\n1. a\n2. b\n```", []),
        ("a formula $$a\n+ b$$ here", []),
        ("## Heading\n- one\n- two", []),
        ("*one*\n**two** words", []),
    ],
)
def test_a_wrapped_line_that_becomes_a_list(text, found):
    assert list(nb_page.wrapped_into_lists(text)) == found


@pytest.mark.parametrize(
    "text, found",
    [
        ("```bash\nfomm animate \\\\\n    --source a.jpg\n```", ["fomm animate \\\\"]),
        ("```sh\nfomm animate \\ \n    --source a.jpg\n```", ["fomm animate \\"]),
        ("```bash\nfomm animate \\\n    --source a.jpg\n```", []),
        ("```python\nx = 1 \\\\\n```", []),
        ("$$a \\\\ b$$ \\\\", []),
    ],
)
def test_a_shell_line_that_does_not_continue(text, found):
    assert list(nb_page.broken_in_shells(text)) == found


def test_a_formula_that_is_cut_off():
    narrow, wide = "a + b = c", " +\n".join(["a_{ij} b_{jk}"] * 12)
    assert list(nb_page.markdown_rules(3, f"$${narrow}$$\n\n```\n$${wide}$$\n```")) == []
    (problem,) = nb_page.markdown_rules(3, f"words\n\n$$\n{wide}\n$$")
    assert "cell 3: the formula 'a_{ij} b_{jk}" in problem and "is cut off; at most 700" in problem


def code_cell(source="x", outputs=(), **metadata):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)


def printed(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


TABLE = "loss  weight  value\nfirst      1   0.25\nsecond    10   0.50\n"


@pytest.mark.parametrize(
    "cell, problem",
    [
        (code_cell("x = '" + "a" * 92 + "'"), "a line of 98 characters"),
        (code_cell("x = '" + "a" * 90 + "'"), None),
        (code_cell("library = 'git+https://example.org/" + "a" * 90 + "'"), None),
        (code_cell(outputs=[printed("a" * 89)]), "prints a line of 89 characters; at most 88"),
        (code_cell(outputs=[printed("a" * 88)]), None),
        (code_cell(outputs=[printed("smaller: True\n")]), "prints 'smaller: True'; print by how much"),
        (code_cell(outputs=[printed("True\n")]), "prints 'True'"),
        (code_cell(outputs=[printed("as True as this\n{'a': True}\n")]), None),
        (code_cell(outputs=[printed(TABLE)]), "prints a table"),
        (code_cell(outputs=[printed("\n".join(TABLE.splitlines()[:2]))]), None),
        (code_cell(outputs=[printed("a  b  c\na  b\na  b  c\n" * 3)]), None),
        (code_cell(outputs=[printed("ok    f: 3 checks  a  b\n" * 3)]), None),
        (code_cell("_ = interact(f, x=3)"), "a widget without a still image"),
        (code_cell("# interact(f)\nreact(f)"), None),
        (
            code_cell(
                "interact(f)", [nbformat.v4.new_output("display_data", data={"text/html": "<img alt='a'>"})]
            ),
            None,
        ),
    ],
)
def test_what_a_code_cell_looks_like(cell, problem):
    found = list(nb_page.code_rules(7, cell))
    assert len(found) == (problem is not None)
    assert problem is None or (found[0].startswith("cell 7: ") and problem in found[0])


def test_folding_keeps_what_else_the_metadata_says():
    metadata = nbformat.from_dict({"tags": ["hide-input", "x"], "jupyter": {"outputs_hidden": True}})
    folded = nb_page.folded(metadata)
    assert folded["jupyter"] == {"outputs_hidden": True, "source_hidden": True}
    assert folded["cellView"] == "form" and "cellView" not in metadata
    folded["tags"] = ["x"]
    assert nb_page.folded(folded) == {"tags": ["x"], "jupyter": {"outputs_hidden": True}}
    assert nb_page.folded(nbformat.from_dict({})) == {}


def test_words_are_those_that_are_read():
    texts = ["one $a + b$ two <b>three</b>", "$$a + b + c$$ four\n```python\nx = 1\n```\nfive"]
    assert nb_page.words(texts) == 5


def test_exercises_have_labels_and_kinds():
    def exercise(number, kind):
        label = f"*{kind} · difficulty 1 of 5 · importance 5 of 5 · 10 minutes*"
        return f"### Exercise {number} · Words\n\n{label}\n\nText."

    assert list(nb_page.exercise_rules([exercise(1, "experiment"), exercise(2, "find the bug")])) == []
    (problem,) = nb_page.exercise_rules([exercise(1, "experiment") + "\n" + exercise(2, "code")])
    assert problem == "'Exercises' has no exercise of the kind find the bug"
    found = list(nb_page.exercise_rules([exercise(1, "riddle")]))
    assert found[0].startswith("'Exercise 1 · Words' has no label such as *code ·") and len(found) == 2
