"""The notebook tool: a small notebook that keeps every rule, and one break of each."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from PIL import Image

from tools import nb as tool

BADGE = (
    "https://colab.research.google.com/github/"
    f"{tool.REPOSITORY.removeprefix('https://github.com/')}/blob/main/notebooks/42_small.ipynb"
)
CONFIG = re.search(
    r"^\[tool\.jupytext\]\n(?:.+\n)+", (tool.ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M
)[0]


def black_png(*size):
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


SMALL = f"""# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 42 · Small
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({BADGE})
#
# ## At a glance
#
# You will be able to test. Know first: nothing. Minutes: 1. GPU: no. Paper: none. Module: none.
#
# ## Set-up

# %%
import sys

if "google.colab" in sys.modules:
    import subprocess

    source = "fomm-lib @ git+{tool.REPOSITORY}"
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", source], check=True)

# %%
from IPython.display import HTML

# %% [markdown]
# ## The problem as one image

# %%
image = "{black_png(8, 8)[:60]}"
image += "{black_png(8, 8)[60:]}"
HTML(f'<img alt="a small black image" src="data:image/png;base64,{{image}}">')

# %% [markdown]
# ## One
# ### Deeper
# ## Two
# ## Three
# ```
# # no heading
# ```

# %% tags=["nbval-ignore-output"]
print("any")

# %% [markdown]
# ## From toy to library

# %%
wasserstein_1d = abs
wasserstein_1d(-2)

# %% [markdown]
# ## Break it
# ## Exercises
# ### Exercise 1 · One
#
# *experiment · difficulty 1 of 5 · importance 5 of 5 · 1 minutes*


# %%
def check_one(answer):
    print("todo  one")


check_one(None)

# %% [markdown]
# <details><summary>Solution</summary>a</details>
#
# ### Exercise 2 · Two
#
# *find the bug · difficulty 2 of 5 · importance 2 of 5 · 1 minutes*

# %%
check_two = check_one
check_two(None)

# %% [markdown]
# <details><summary>Solution</summary>b</details>
#
# ## When it goes wrong
#
# | symptom | cause | fix |
# |---|---|---|
#
# ## Questions
#
# <details>1</details> <details>2</details> <details>3</details>
#
# ## What you can now do
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The small notebook, paired and run once."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "pyproject.toml").write_text(CONFIG)
    (folder / "42_small.py").write_text(SMALL, encoding="utf-8")
    notebook = tool.pair(folder / "42_small.py")
    tool.run(notebook)
    return notebook


@pytest.fixture
def notebook(whole, tmp_path):
    """A copy of it to break."""
    for path in whole.parent.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / whole.name


def read(notebook):
    return nbformat.read(notebook, as_version=4)


def edit_source(notebook, old, new):
    """In both files, as if it had been run too: counts and hash are brought up to date."""
    script = notebook.with_suffix(".py")
    text = script.read_text(encoding="utf-8")
    assert old in text
    script.write_text(text.replace(old, new), encoding="utf-8")
    tool.pair(script)
    nb = read(notebook)
    nb.metadata["executed"] = {"code_sha256": tool.code_hash(nb)}
    for count, cell in enumerate(tool.code_cells(nb), 1):
        cell.execution_count = count
    nbformat.write(nb, notebook)


def edit_notebook(notebook, change):
    nb = read(notebook)
    change(nb)
    nbformat.write(nb, notebook)


def output_of(nb, code_cell):
    return tool.code_cells(nb)[code_cell].outputs[0]


def with_output(code_cell, **output):
    def change(nb):
        tool.code_cells(nb)[code_cell].outputs.append(nbformat.v4.new_output(**output))

    return change


# pair and run


def test_the_small_notebook_is_whole(notebook):
    assert tool.check(notebook) == []
    assert tool.main(["check", str(notebook)]) == 0


def test_run_leaves_outputs_counts_and_no_times(notebook):
    nb = read(notebook)
    assert [cell.execution_count for cell in tool.code_cells(nb)] == [1, 2, 3, 4, 5, 6, 7]
    assert output_of(nb, 3).text == "any\n"
    assert output_of(nb, 4).data["text/plain"] == "2"
    assert output_of(nb, 2).data["text/html"].startswith('<img alt="a small black image" src="data:')
    assert output_of(nb, 5).text == "todo  one\n"
    text = notebook.read_text(encoding="utf-8")
    assert "iopub" not in text and "timestamp" not in text and str(notebook.parent) not in text
    assert "version" not in nb.metadata.language_info


def test_run_twice_changes_nothing(notebook):
    before = notebook.read_bytes()
    tool.run(notebook)
    assert notebook.read_bytes() == before


def test_pair_is_a_round_trip(notebook):
    before = notebook.read_bytes()
    script = notebook.with_suffix(".py")
    assert tool.script_of(notebook) == script.read_text(encoding="utf-8") == SMALL
    tool.pair(script)
    assert notebook.read_bytes() == before


def test_pair_keeps_outputs_and_ids_and_the_script_wins(notebook):
    script = notebook.with_suffix(".py")
    before = read(notebook)
    script.write_text(SMALL.replace("# ## Two", "# ## Two, in other words"), encoding="utf-8")
    tool.pair(script)
    after = read(notebook)
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert [cell.get("outputs") for cell in after.cells] == [cell.get("outputs") for cell in before.cells]
    assert "## Two, in other words" in "\n".join(tool.texts(after))
    assert tool.check(notebook) == []  # text alone needs no new run


def test_run_drops_widgets(tmp_path):
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    script = tmp_path / "01_slider.py"
    script.write_text("# %%\nimport ipywidgets\n\nipywidgets.IntSlider()\n\n# %%\n1 + 1\n")
    notebook = tool.pair(script)
    tool.run(notebook)
    nb = read(notebook)
    assert nb.cells[0].outputs == [] and nb.cells[1].outputs[0].data["text/plain"] == "2"
    assert "widget" not in nb.metadata


def test_run_keeps_the_still_image_of_a_widget(tmp_path):
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    script = tmp_path / "01_slider.py"
    script.write_text(
        "# %%\nimport ipywidgets\nimport torch\n\nfrom fomm_lib.course import plots\n\n"
        "# %%\ngrid = plots.image_grid([[torch.zeros(3, 8, 8)]])\n"
        "plots.show_widget(ipywidgets.IntSlider(), grid, alt='a black image')\n\n"
        "# %%\ndef columns(side):\n    grid = plots.image_grid([[torch.zeros(3, 8, side)]])\n"
        "    plots.show(grid, alt=f'{side} black columns')\n\n\n"
        "_ = ipywidgets.interact(columns, side=(1, 9))\n"
    )
    notebook = tool.pair(script)
    tool.run(notebook)
    shown, moved = (cell.outputs for cell in read(notebook).cells[1:])
    assert [output.data.keys() for output in (*shown, *moved)] == [{"text/html", "text/plain"}] * 2
    assert shown[0].data["text/plain"] == "a black image"
    assert moved[0].data["text/plain"] == "5 black columns"


def test_a_tag_folds_a_cell_in_jupyterlab_and_colab_and_leaves_the_script_alone(notebook):
    script = notebook.with_suffix(".py")
    cell = '# %% tags=["hide-input", "nbval-ignore-output"]\n# @title prints\nprint("any")'
    text = SMALL.replace('# %% tags=["nbval-ignore-output"]\nprint("any")', cell)
    script.write_text(text, encoding="utf-8")
    tool.run(tool.pair(script))
    metadata = tool.code_cells(read(notebook))[3].metadata
    assert metadata["jupyter"] == {"source_hidden": True} and metadata["cellView"] == "form"
    assert script.read_text(encoding="utf-8") == text and tool.check(notebook) == []
    edit_source(notebook, "# @title prints\n", "")
    assert tool.check(notebook) == [
        "cell 7: is folded (hide-input); begin it with '# @title ' and what it shows"
    ]
    script.write_text(SMALL, encoding="utf-8")
    tool.run(tool.pair(script))
    assert tool.code_cells(read(notebook))[3].metadata == {"tags": ["nbval-ignore-output"]}
    edit_notebook(notebook, lambda nb: tool.code_cells(nb)[3].metadata.update(cellView="form"))
    assert tool.check(notebook) == ["cell 7: its fold does not agree with its tags: python -m tools.nb pair"]


def test_a_cell_that_fails_leaves_the_notebook_as_it_was(notebook, capsys):
    script = notebook.with_suffix(".py")
    script.write_text(SMALL.replace('print("any")', "1 / 0"), encoding="utf-8")
    tool.pair(script)
    before = notebook.read_bytes()
    assert tool.main(["run", str(script)]) == 1
    assert notebook.read_bytes() == before
    assert "42_small: not written, because a cell failed" in capsys.readouterr().out


def test_notebooks_run_in_their_own_folder_with_this_python(tmp_path):
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    (tmp_path / "note.txt").write_text("found")
    script = tmp_path / "01_where.py"
    code = "import os\nimport sys\n\nopen('note.txt').read() + sys.prefix + os.environ['OMP_NUM_THREADS']\n"
    script.write_text("# %%\n" + code)
    notebook = tool.pair(script)
    seconds = tool.run(notebook)
    assert read(notebook).cells[0].outputs[0].data["text/plain"] == repr(f"found{sys.prefix}1")
    assert list(seconds) == [1] and 0 < seconds[1] < 60


# check: one break of each rule


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("# # 42 · Small", "# # 43 · Small", "the title is '43 · Small'; it must be '42 · ' and words"),
        ("# # 42 · Small", "# # 42 Small", "the title is '42 Small'"),
        ("# # 42 · Small\n#\n", "", "there are 0 headings of level 1"),
        ("# ### Deeper", "# # Deeper", "there are 2 headings of level 1"),
        ("# ### Deeper", "# #### Deeper", "heading 'Deeper' skips 1 level"),
        ("# ## Break it\n", "", "sections are missing: Break it"),
        ("# ## Two\n", "# ## Two\n# ## Questions\n", "sections must come once each, in this order"),
        ("# ## Two\n", "", "there are 2 sections of its own before"),
        ("# ## Two\n", "# ## a\n# ## b\n# ## c\n# ## d\n# ## e\n", "there are 7 sections of its own before"),
        ("Minutes: 1. GPU: no. ", "", "'At a glance' does not say: minutes, gpu"),
        ("\ncheck_one(", "\nprint(", "there are 1 exercises with a check"),
        (
            "# ## When",
            "# ### Exercise 3 · Three\n#\n# ## When",
            "'Exercise 3 · Three' has no label such as *code",
        ),
        ("*find the bug ·", "*code ·", "'Exercises' has no exercise of the kind find the bug"),
        ("# ## Two", "# ## Two\n#\n# they add up to\n# 1. Mixed", "'1. Mixed' becomes an item of a list"),
        ("# ## Two", "# ## Two\n#\n# " + "words " * 2500, "words of text; at most 2500: shorten, or split"),
        ("# <details><summary>Solution</summary>b</details>\n#\n", "", "'Exercises' has 1 folded answers"),
        ("<details>3</details>", "", "'Questions' has 2 folded answers (<details>); there must be 3 to 5"),
        ("# | symptom | cause | fix |\n# |---|---|---|\n", "", "has no table of symptom, cause and fix"),
        (
            "42_small.ipynb)",
            "41_small.ipynb)",
            "the Colab badge must lead to https://colab.research.google.com/",
        ),
        (f"({BADGE})", "(https://example.org)", "and is missing"),
        ('"google.colab" in', '"colab" in', "the first code cell must install git+"),
        (f"git+{tool.REPOSITORY}", f"git+{tool.REPOSITORY}-old", "the first code cell must install git+"),
        ('"--quiet", source', '"--quiet", "-e", source', "must not install editable"),
        ('"--quiet", source', '"--quiet", "torch==2.4", source', "or pin torch or numpy"),
        ("# ## Two", "# ## Two\n#\n# ![](flow.png)", "an image without alternative text; write it into"),
        ("# ## Two", '# ## Two\n#\n# <img src="flow.png">', "<img> without alternative text"),
        ("# ## Two", '# ## Two\n#\n# <video src="a.mp4" controls>', "<video> without alternative text"),
        (
            "# ## Two",
            "# ## Two\n#\n# see /opt/data/heads",
            "names the absolute path /opt/data/heads, which",
        ),
        ('print("any")', 'open("/data/heads/a.mp4")', "names the absolute path /data/heads/a.mp4, which"),
        ('print("any")', 'open("C:\\\\Users\\\\me")', "names the absolute path C:\\\\Users, which"),
    ],
)
def test_broken_text_is_found(notebook, old, new, message):
    edit_source(notebook, old, new)
    problems = tool.check(notebook)
    assert len(problems) == 1 and message in problems[0], problems


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda nb: tool.code_cells(nb)[2].update(execution_count=None), "(counts 1..n)"),
        (lambda nb: tool.code_cells(nb)[2].update(execution_count=9), "(counts 1..n)"),
        (lambda nb: nb.metadata.pop("executed"), "run by other means: python -m tools.nb run"),
        (
            lambda nb: nb.cells[1].metadata.update(execution={"iopub.status.busy": "now"}),
            "holds times of execution",
        ),
        (lambda nb: nb.metadata.update(widgets={"state": {}}), "the state of widgets is saved"),
        (lambda nb: output_of(nb, 2).data.update({"text/html": "<img src='x'>"}), "cell 5: <img> without"),
        (lambda nb: output_of(nb, 2).data.update({"text/html": "<img alt=' '>"}), "cell 5: <img> without"),
        (
            with_output(3, output_type="display_data", data={tool.WIDGET: {"model_id": "1"}}),
            "cell 7: a widget is saved",
        ),
        (
            with_output(
                3,
                output_type="display_data",
                data={"image/jpeg": ""},
                metadata={"image/jpeg": {"alt": "a dog"}},
            ),
            "cell 7: an image without alternative text",
        ),
        (
            with_output(
                3,
                output_type="display_data",
                data={"application/pdf": ""},
            ),
            "cell 7: an SVG or PDF is compared letter by letter",
        ),
        (
            with_output(3, output_type="display_data", data={"text/html": "<video autoplay>"}),
            "cell 7: <video> without",
        ),
        (
            with_output(3, output_type="stream", name="stderr", text="UserWarning: old"),
            "writes to stderr, 'UserWar",
        ),
        (
            with_output(3, output_type="error", ename="ValueError", evalue="bad", traceback=[]),
            "cell 7: ended in ValueError",
        ),
        (
            with_output(3, output_type="stream", name="stdout", text="saved to /usr/share/x.png"),
            "cell 7: names the absolute path /usr/share/x.png",
        ),
        (
            with_output(3, output_type="stream", name="stdout", text="x\n" * 2**19),
            "the file has ",
        ),
        (
            with_output(3, output_type="stream", name="stdout", text="x" * 89),
            "cell 7: prints a line of 89 characters; at most 88",
        ),
    ],
)
def test_broken_outputs_are_found(notebook, change, message):
    edit_notebook(notebook, change)
    problems = tool.check(notebook)
    assert len(problems) == 1 and message in problems[0], problems


def test_sections_in_another_order_are_found(notebook):
    edit_source(notebook, "# ## Break it", "# ## ?")
    edit_source(notebook, "# ## The problem as one image", "# ## Break it")
    edit_source(notebook, "# ## ?", "# ## The problem as one image")
    (problem,) = tool.check(notebook)
    assert problem.startswith("sections must come once each, in this order: At a glance, Set-up, The problem")


def test_a_large_image_is_found(notebook):
    html = f'<img alt="black" src="data:image/png;base64,{black_png(640, 351)}">'
    edit_notebook(notebook, lambda nb: output_of(nb, 2).data.update({"text/html": html}))
    assert tool.check(notebook) == ["cell 5: an image of 640 x 351 pixels; at most 600 x 350"]


def test_code_changed_after_it_was_run_is_found_after_any_pairing(notebook):
    """jupytext keeps old outputs beside new code, and git gives all files new times: neither is a witness."""
    script = notebook.with_suffix(".py")
    script.write_text(SMALL.replace('print("any")', 'print("other")'), encoding="utf-8")
    assert [line[:43] for line in tool.check(notebook)] == ["42_small.py and 42_small.ipynb differ from "]
    tool.pair(script)
    assert output_of(read(notebook), 3).text == "any\n"
    (problem,) = tool.check(notebook)
    assert problem.startswith("code was changed after it was run")
    tool.run(notebook)
    assert tool.check(notebook) == []


def test_files_out_of_step_are_found_with_the_line(notebook):
    edit_notebook(notebook, lambda nb: nb.cells[0].update(source=nb.cells[0].source.replace("Small", "Tiny")))
    line = SMALL.splitlines().index("# # 42 · Small") + 1
    assert tool.check(notebook) == [
        f"42_small.py and 42_small.ipynb differ from line {line} on: run (the .py wins)"
    ]


def test_tags_are_part_of_the_pair(notebook):
    script = notebook.with_suffix(".py")
    script.write_text(SMALL.replace('# %% tags=["nbval-ignore-output"]', "# %%"), encoding="utf-8")
    assert "differ from line" in tool.check(notebook)[0]


def test_an_error_that_is_meant_is_no_problem(notebook):
    def change(nb):
        with_output(3, output_type="error", ename="ValueError", evalue="bad", traceback=[])(nb)
        tool.code_cells(nb)[3].metadata["tags"] = ["raises-exception"]

    edit_notebook(notebook, change)
    notebook.with_suffix(".py").write_text(tool.script_of(notebook), encoding="utf-8")
    assert tool.check(notebook) == []


def test_what_is_no_path_is_left_alone(notebook):
    words = "and/or a/b/c <b>x</b> p/(p+q) https://a.org/b/c ../data/heads/x.mp4 $x/y/z$ </details> 1/2/3"
    edit_source(notebook, "# ## Two", f"# ## Two\n#\n# {words}")
    assert tool.check(notebook) == []


def test_half_a_pair_and_no_notebook(notebook):
    script = notebook.with_suffix(".py")
    notebook.write_text("{")
    (problem,) = tool.check(notebook)
    assert problem.startswith("42_small.ipynb is no valid notebook")
    notebook.unlink()
    (problem,) = tool.check(notebook)
    assert problem.startswith("42_small.ipynb is missing; python -m tools.nb pair makes")
    tool.pair(script)
    script.unlink()
    (problem,) = tool.check(notebook)
    assert problem.startswith("42_small.py is missing")


# advice


def test_advice_counts(notebook):
    lines = tool.advice(notebook)
    assert any(re.match(r"\d+ cells; 35 to 60 read best", line) for line in lines)
    assert any(re.match(r"\d+ words of text; 1500 to 2500", line) for line in lines)
    # The two cells of the set-up stand together; nothing else does.
    assert [line for line in lines if line.startswith("cell")] == [
        "cell 2: the next is code too; explain between them what to look at"
    ]
    edit_source(notebook, 'print("any")', "import math\n\nmath.pi")
    assert "cell 7: both imports and computes" in tool.advice(notebook)
    edit_source(notebook, "import HTML\n", "import HTML\n" + "x = 1\n" * 12)
    assert "13 lines in the longest set-up cell; 1 to 12 read best" in tool.advice(notebook)
    edit_source(notebook, "math.pi", "\n".join("y = 1" for _ in range(200)))
    assert not any("median" in line for line in tool.advice(notebook))


def test_text_that_came_in_pieces_is_joined():
    def stream(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    image = nbformat.v4.new_output("display_data", data={"text/plain": "an image"})
    found = tool.joined([stream("one"), stream("\n"), stream("!", "stderr"), image, stream("two\n")])
    assert found == [stream("one\n"), stream("!", "stderr"), image, stream("two\n")]
    assert tool.joined([]) == []


# check, over all notebooks together


def test_every_public_name_is_used_in_a_notebook():
    import fomm_lib

    notebooks = sorted((tool.ROOT / "notebooks").glob("*.ipynb"))
    assert len(notebooks) > 1 and "animate" in fomm_lib.__all__
    assert tool.unused_names(notebooks, fomm_lib.__all__) == []


def test_unused_names_are_found(notebook):
    # `stdout` stands in an output only; `kl_divergence` is imported, and named in a comment and in a string.
    edit_source(notebook, "import HTML", "import (\n    kl_divergence,\n    HTML,\n)")
    edit_source(notebook, 'print("any")', '%time\nprint("any kl_divergence")  # kl_divergence')
    names = ["wasserstein_1d", "HTML", "todo", "stdout", "kl_divergence"]
    assert tool.unused_names([notebook], names) == ["kl_divergence", "stdout", "todo"]


# The command


def test_the_command_as_a_person_types_it(notebook):
    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "tools.nb", *words],
            cwd=tool.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    checked = command("check", str(notebook.with_suffix(".py")))
    assert checked.returncode == 0 and checked.stdout.startswith("42_small: whole\n42_small: advice: ")
    missing = command("pair", str(notebook.with_name("41_none.py")))
    assert missing.returncode == 2 and "no such file" in missing.stderr and "Traceback" not in missing.stderr


def test_what_the_verbs_say(notebook, capsys):
    assert tool.main(["run", str(notebook)]) == 0
    assert re.fullmatch(r"42_small: \d+\.\d s; the slowest is cell \d+, \d+\.\d s\n", capsys.readouterr().out)
    assert tool.main(["check", str(notebook)]) == 0
    capsys.readouterr()
    notebook.with_suffix(".py").write_text(SMALL + "#\n# more\n", encoding="utf-8")
    assert tool.main(["check", str(notebook)]) == 1
    assert "42_small: 42_small.py and 42_small.ipynb differ" in capsys.readouterr().out
    assert tool.main(["pair", str(notebook)]) == 0
    assert tool.main(["check", str(notebook)]) == 0


def test_all_notebooks_are_taken_where_none_is_named(monkeypatch, notebook, capsys):
    folder = notebook.parent / "notebooks"
    folder.mkdir()
    for path in (notebook, notebook.with_suffix(".py"), notebook.parent / "pyproject.toml"):
        shutil.copy(path, folder)
    monkeypatch.setattr(tool, "ROOT", notebook.parent)
    monkeypatch.setattr(tool.fomm_lib, "__all__", ["wasserstein_1d"])
    assert tool.main(["check"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("42_small: whole") and "no notebook uses" not in said
    monkeypatch.setattr(tool.fomm_lib, "__all__", ["wasserstein_1d", "kl_divergence"])
    assert tool.main(["check"]) == 1
    assert "no notebook uses fomm_lib.kl_divergence; use it where" in capsys.readouterr().out
    assert tool.main(["check", str(notebook)]) == 0  # one alone need not use them all


def test_the_notebook_is_json_that_git_shows_well(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert text.endswith("}\n") and text == json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"
