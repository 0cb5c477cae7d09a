"""Every exercise in `fomm_lib/course/exercises/` is found here; a new one needs no new test."""

import importlib
import math
import pkgutil

import numpy as np
import pytest
import torch

from fomm_lib import geometry
from fomm_lib.course import exercises
from fomm_lib.course.exercises.checker import Case, Exercise, WrongAnswer, outcomes
from fomm_lib.course.exercises.experiment import Experiment, trend
from fomm_lib.course.exercises.nb01_gan_math import (
    check_gan_losses,
    check_slope_penalty,
    check_sorted_wasserstein,
)
from fomm_lib.course.exercises.nb02_data_cleaning import check_list_boxes
from tests.support.paths import ROOT

MODULES = [
    importlib.import_module(f"{exercises.__name__}.{found.name}")
    for found in pkgutil.iter_modules(exercises.__path__)
]
ALL = {name: value for module in MODULES for name, value in vars(module).items() if name.startswith("check_")}
CHECKS = {name: check for name, check in ALL.items() if isinstance(check, Exercise)}
EXPERIMENTS = {name: check for name, check in ALL.items() if isinstance(check, Experiment)}


def test_every_notebook_has_its_file_of_checks():
    notebooks = {f"nb{path.stem}" for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}
    assert {module.__name__.rpartition(".")[2] for module in MODULES} == {
        *notebooks,
        "checker",
        "experiment",
    }
    assert CHECKS.keys() | EXPERIMENTS.keys() == ALL.keys()
    assert len(ALL) == sum(name.startswith("check_") for module in MODULES for name in vars(module)) >= 31


def stub(*args, **kwargs):
    raise NotImplementedError


# For each exercise


@pytest.mark.parametrize("name", CHECKS)
def test_is_named_after_its_check_and_asks_enough(name):
    exercise = CHECKS[name]
    assert name == f"check_{exercise.name}"
    assert len(exercise.cases) >= 3
    assert len(exercise.mistakes) >= 3


@pytest.mark.parametrize("name", CHECKS)
def test_solution_passes(name, capsys):
    exercise = CHECKS[name]
    assert exercise(exercise.solution) is None
    assert capsys.readouterr().out == f"ok    {exercise.name}: {len(exercise.cases)} checks passed\n"


@pytest.mark.parametrize(
    "name, mistake", [(name, words) for name in CHECKS for words in CHECKS[name].mistakes]
)
def test_typical_wrong_answer_is_named(name, mistake):
    with pytest.raises(WrongAnswer) as error:
        CHECKS[name](CHECKS[name].mistakes[mistake])
    hint, where, *both = str(error.value).split("\n  ")
    assert hint == f"hint      {mistake}" and where.startswith(f"{CHECKS[name].name}, check ")
    assert [line[:10] for line in both] == ["expected  ", "received  "]


@pytest.mark.parametrize("name", CHECKS)
def test_untouched_stub_says_todo(name, capsys):
    assert CHECKS[name](stub) is None
    expected = f"todo  {CHECKS[name].name}: not written yet; the notebook goes on without it\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("name", CHECKS)
def test_answers_that_give_nothing_back_or_fail(name):
    with pytest.raises(WrongAnswer, match="does it end with return"):
        CHECKS[name](lambda *args, **kwargs: None)

    def broken(*args, **kwargs):
        raise IndexError("no such column")

    with pytest.raises(WrongAnswer, match="your function raised IndexError: no such column"):
        CHECKS[name](broken)


@pytest.mark.parametrize("name", CHECKS)
def test_check_leaves_the_notebooks_random_numbers_alone(name):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    CHECKS[name](CHECKS[name].solution)
    assert torch.equal(torch.rand(3), expected)


# Three answers a learner may well write, word for word


def test_right_answers_written_otherwise(capsys):
    check_gan_losses(
        lambda real, fake: (
            -torch.log(real.sigmoid() * (1 - fake.sigmoid())).mean(),
            -fake.sigmoid().log().mean(),
        )
    )
    check_sorted_wasserstein(lambda x, y: torch.abs(torch.sort(x)[0] - torch.sort(y)[0]).mean())

    def slope_penalty(critic, x):
        x.requires_grad_()
        gradient = torch.autograd.grad(critic(x), x, torch.ones(len(x)), create_graph=True)[0]
        return ((gradient.reshape(len(x), -1).pow(2).sum(1).sqrt() - 1) ** 2).mean()

    check_slope_penalty(slope_penalty)
    assert capsys.readouterr().out.count("ok    ") == 3


# Wrong answers as learners write them, word for word: are they named?


def transposed_flow(grid, p_source, j_source, p_driving, j_driving):
    return p_source + (grid - p_driving) @ (j_source @ torch.linalg.inv(j_driving))


def reshaped_flows(flow_sd, flow_de):
    height, width, _ = flow_sd.shape
    found = geometry.warp(flow_sd.reshape(1, 2, height, width), flow_de[None], padding_mode="border")
    return found.reshape(height, width, 2)


def permuted_and_viewed_flows(flow_sd, flow_de):
    found = geometry.warp(flow_sd.permute(2, 0, 1)[None], flow_de[None], padding_mode="border")
    return found.view(*flow_sd.shape)


def area_with_axes_exchanged(flow):
    height, width = flow.shape[:2]
    along_x = (flow[1:, :-1] - flow[:-1, :-1]) * (height - 1) / 2
    along_y = (flow[:-1, 1:] - flow[:-1, :-1]) * (width - 1) / 2
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def gain_from_means_of_images(warped, wanted):
    w = warped - warped.mean(dim=(2, 3), keepdim=True)
    t = wanted - wanted.mean(dim=(2, 3), keepdim=True)
    return (w * t).sum(dim=(0, 2, 3)) / (w * w).sum(dim=(0, 2, 3))


def reads_cut_off(flow):
    height, width = flow.shape[:2]
    column, row = geometry.to_pixels(flow, height, width).long().unbind(-1)
    number = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return torch.bincount(number.flatten(), minlength=height * width)[number] > 1


def reads_in_short_rows(flow):
    height, width = flow.shape[:2]
    column, row = geometry.to_pixels(flow, height, width).round().long().unbind(-1)
    number = row.clamp(0, height - 1) * height + column.clamp(0, width - 1)
    return torch.bincount(number.flatten(), minlength=height * width)[number] > 1


def field_that_doubles_too_early(num_blocks):
    field, step = 1, 1
    for block in range(num_blocks):
        field += 3 * step
        if block < num_blocks - 1:
            step *= 2
            field += step
    return field


def both_losses_without_gradient(discriminator, real, fake):
    on_real, on_fake = discriminator(real), discriminator(fake.detach())
    return (1 - on_fake).square().mean(), (1 - on_real).square().mean() + on_fake.square().mean()


def slopes_of_autograd_transposed(warp, points, h=1e-2):
    found = []
    for i in range(2):
        step = torch.zeros(2)
        step[i] = h
        found.append((warp(points + step) - warp(points - step)) / (2 * h))
    return torch.stack(found, dim=-2)


@pytest.mark.parametrize(
    "name, answer, hint",
    [
        ("first_order_flow", transposed_flow, "multiplies by the transpose"),
        ("compose_flows", reshaped_flows, "move the axes with permute"),
        ("compose_flows", permuted_and_viewed_flows, "the last step needs permute too"),
        ("area_change", area_with_axes_exchanged, "x runs along the second axis"),
        ("best_gain", gain_from_means_of_images, "the mean over batch and positions"),
        ("double_reads", reads_cut_off, "round() first"),
        ("double_reads", reads_in_short_rows, "a row holds W pixels"),
        ("receptive_field", field_that_doubles_too_early, "only then does the step double"),
        ("both_losses", both_losses_without_gradient, "detach only for loss_d"),
        ("numerical_slope", slopes_of_autograd_transposed, "that is the transpose"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_wrong_answers_written_by_hand(name, answer, hint):
    with pytest.raises(WrongAnswer) as error:
        CHECKS[f"check_{name}"](answer)
    assert "hint      " in str(error.value) and hint in str(error.value)


# The machinery


def check_of(solution, **options):
    return Exercise("f", solution, [Case("of 3", lambda f: f(3))], {}, **options)


@pytest.mark.parametrize(
    "expected, alike, unlike",
    [
        (
            1.0,
            (1, True, np.float32(1), torch.tensor(1.0), 1 + 1e-6),
            (1.01, None, "1", [1.0], torch.tensor([1.0])),
        ),
        (
            torch.arange(3.0),
            (np.arange(3), torch.arange(3)),
            (torch.arange(4), [0, 1, 2], torch.arange(3)[None], 1),
        ),
        (float("nan"), (torch.tensor(float("nan")),), (0.0,)),
        (float("inf"), (np.inf,), (1e9, -np.inf)),
        ("fit", ("fit",), ("frozen", None, 1)),
        ((1, "a"), ([1, "a"],), ((1, "b"), (1,), 1)),
        ({"a": 1.0}, ({"a": 1},), ({"a": 2}, {"b": 1.0}, {"a": 1.0, "b": 1})),
        (None, (None,), (0, "")),
    ],
)
def test_what_counts_as_the_same(expected, alike, unlike):
    check = check_of(lambda x: expected)
    for value in alike:
        check(lambda x, value=value: value)
    for value in unlike:
        with pytest.raises(WrongAnswer, match=r"f, check 1 of 1 \(of 3\):"):
            check(lambda x, value=value: value)


def test_message_shows_both_and_the_shapes():
    with pytest.raises(WrongAnswer) as error:
        check_of(lambda x: torch.zeros(2, 3))(lambda x: torch.zeros(3, 2).requires_grad_())
    assert str(error.value).split("\n  ") == [
        "hint      the shape should be (2, 3), and is (3, 2)",
        "f, check 1 of 1 (of 3):",
        "expected  shape (2, 3): 0, 0, 0, 0, 0, 0",
        "received  shape (3, 2): 0, 0, 0, 0, 0, 0",
    ]
    with pytest.raises(WrongAnswer, match=r"expected  2e-05\n  received  12\.5"):
        check_of(lambda x: 2e-5)(lambda x: 12.5)
    with pytest.raises(WrongAnswer, match=r"hint      return a tensor, not a list\n"):
        check_of(lambda x: torch.zeros(3))(lambda x: [0.0, 0.0, 0.0])
    with pytest.raises(WrongAnswer, match=r"expected  \(1, 2e-05\)\n  received  \(1, 3\)"):
        check_of(lambda x: (1, 2e-5))(lambda x: (1, 3))
    with pytest.raises(WrongAnswer, match=r"expected  9\n  received  12\.5"):
        check_of(lambda x: 9.0)(lambda x: 12.5)
    with pytest.raises(WrongAnswer, match="expected  True\n  received  False"):
        check_of(lambda x: True)(lambda x: False)
    with pytest.raises(WrongAnswer) as error:
        check_of(lambda x: torch.zeros(10_000))(lambda x: torch.ones(10_000))
    assert "shape (10000,): 0, 0, 0, ... 0, 0, 0\n" in str(error.value)
    with pytest.raises(WrongAnswer) as error:
        check_of(lambda x: "a" * 500)(lambda x: ["b"] * 500)
    assert len(str(error.value)) < 550


def shown_by_ipython(code):
    """What a notebook shows of an error, without colours."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance(colors="NoColor")
    try:
        with capture_output() as captured:
            assert not shell.run_cell(code).success
        return captured.stdout
    finally:
        shell.clear_instance()


def test_a_notebook_shows_the_message_and_no_traceback_of_the_library():
    start = "from fomm_lib.course.exercises.nb00_start_here import check_places_of_pixels\nimport torch\n"
    said = shown_by_ipython(start + "check_places_of_pixels(lambda *args: torch.zeros(300, 300))")
    first, second, *more = said.strip().splitlines()
    assert first == "hint      the shape should be (2,), and is (300, 300)"
    assert second.strip().startswith("places_of_pixels, check 1 of 4") and len(more) == 2
    assert "Traceback" not in said and "checker.py" not in said


def test_a_notebook_shows_the_line_of_the_learner_that_failed():
    start = "from fomm_lib.course.exercises.nb00_start_here import check_places_of_pixels\nimport torch\n"
    wrong = (
        "def places_of_pixels(pixels, height, width):\n    return torch.cat([pixels, 3])\n\n"
        "check_places_of_pixels(places_of_pixels)"
    )
    said = shown_by_ipython(start + wrong).strip().splitlines()
    assert "your function raised TypeError" in said[0]
    assert said[-1] == "  in places_of_pixels, line 4:  return torch.cat([pixels, 3])"
    assert not any("checker.py" in line for line in said)


def test_a_case_makes_its_inputs_anew_and_seeds_them():
    case = Case("random", lambda f: f(torch.rand(2)))
    check = Exercise("first", lambda x: x[0].clone(), [case], {})

    def spoils_its_input(x):
        first = x[0].clone()
        x.zero_()
        return first

    check(spoils_its_input)


def test_tolerances_can_be_set():
    check_of(lambda x: 1.0, rtol=0.1)(lambda x: 1.05)
    check_of(lambda x: 0.0, atol=0.1)(lambda x: 0.05)


def test_an_error_keeps_its_cause_and_a_mistake_may_fail_itself():
    check = Exercise("f", lambda x: 1, [Case("of 3", lambda f: f(3))], {"divides by zero": lambda x: x / 0})
    with pytest.raises(WrongAnswer) as error:
        check(lambda x: 2)
    assert "hint" not in str(error.value)
    with pytest.raises(WrongAnswer) as error:
        check(lambda x: [][x])
    assert isinstance(error.value.__cause__, IndexError)


def test_a_mistake_is_named_only_if_it_gives_all_answers():
    cases = [Case("of 2", lambda f: f(2)), Case("of 3", lambda f: f(3))]
    check = Exercise("f", lambda x: x**3, cases, {"squared": lambda x: x * x})
    with pytest.raises(WrongAnswer, match="hint      squared"):
        check(lambda x: x**2)
    with pytest.raises(WrongAnswer, match="hint      squared"):
        check(lambda x: x**2 if x < 3 else [][x])
    with pytest.raises(WrongAnswer, match="expected  8\n  received  4") as error:
        check(lambda x: x + x)
    assert "hint" not in str(error.value)


def test_a_tensor_for_a_list_and_too_few_values_are_named():
    check = check_of(lambda x: [torch.zeros(2), torch.ones(2)])
    with pytest.raises(WrongAnswer, match="hint      return a list, not a Tensor\n"):
        check(lambda x: torch.zeros(4))
    with pytest.raises(WrongAnswer, match="hint      return 2 values, not 1\n"):
        check(lambda x: [torch.zeros(2)])


def test_what_the_checks_found_is_known_whatever_was_printed(capsys):
    check = check_of(lambda x: x)
    for answer, outcome in ((stub, "todo"), (lambda x: x, "ok"), (stub, "todo")):
        check(answer)
        assert outcomes()["f"] == outcome
    with pytest.raises(WrongAnswer):
        check(lambda x: [][x])
    assert outcomes()["f"] == "wrong"
    DEPTH(None, {})
    assert outcomes()["slope"] == "todo"
    with pytest.raises(WrongAnswer):
        DEPTH("grows", {1: 1})
    assert outcomes()["slope"] == "wrong"
    DEPTH("falls", measurements(DEPTH, DEPTH.measure))
    assert outcomes()["slope"] == "ok"
    print("ok    other: 3 checks passed")
    assert "other" not in outcomes()


# Find the bug


def test_the_given_function_is_todo_until_its_error_is_found(capsys):
    cases = [Case("of 0", lambda f: f(0)), Case("of 3", lambda f: f(3))]
    hints = {"doubled, not squared": lambda x: 2 * x}
    check = Exercise("square", lambda x: x * x, cases, hints, given=lambda x: 2 * x)
    check(lambda x: x + x)
    assert capsys.readouterr().out == "todo  square: the error is still in it; of 3 shows it\n"
    check(lambda x: x**2)
    assert capsys.readouterr().out == "ok    square: 2 checks passed\n"
    with pytest.raises(WrongAnswer, match="expected  0\n  received  1"):
        check(lambda x: x**2 + 1)


@pytest.mark.parametrize("name", [name for name in CHECKS if CHECKS[name].given])
def test_given_code_has_an_error(name, capsys):
    CHECKS[name](CHECKS[name].given)
    assert capsys.readouterr().out.startswith(f"todo  {CHECKS[name].name}: the error is still in it; ")


# Experiments


def measurements(experiment, measure):
    return {setting: measure(setting) for setting in experiment.settings}


DEPTH = Experiment(
    "slope",
    measure=lambda depth: 1 / depth,
    settings=[1, 2, 4],
    answer="falls",
    mistakes={"that is the depth itself": lambda depth: depth},
    why="each layer halves it",
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_is_named_after_its_check_and_has_hints(name):
    experiment = EXPERIMENTS[name]
    assert name == f"check_{experiment.name}" and experiment.answer in experiment.choices
    assert len(experiment.settings) >= 2 and len(experiment.mistakes) >= 2


@pytest.mark.parametrize("experiment", [DEPTH, *EXPERIMENTS.values()], ids=lambda check: check.name)
def test_right_measurements_pass_whatever_was_predicted(experiment, capsys):
    for choice in experiment.choices:
        experiment(choice, measurements(experiment, experiment.measure))
        said = capsys.readouterr().out
        assert said.startswith(f"ok    {experiment.name}: {experiment.answer} (")
        assert ("as you predicted" in said) == (choice == experiment.answer)
    experiment(None, {})
    assert capsys.readouterr().out == f"todo  {experiment.name}: write down a prediction, then measure\n"
    experiment(experiment.answer, {})
    assert capsys.readouterr().out == f"todo  {experiment.name}: now measure\n"


@pytest.mark.parametrize("experiment", [DEPTH, *EXPERIMENTS.values()], ids=lambda check: check.name)
def test_wrong_measurements_are_named(experiment):
    for hint, mistake in experiment.mistakes.items():
        with pytest.raises(WrongAnswer) as error:
            experiment(experiment.answer, measurements(experiment, mistake))
        assert str(error.value).startswith(f"hint      {hint}\n  {experiment.name}, at ")


@pytest.mark.parametrize(
    "prediction, measured, message",
    [
        ("grows", {1: 1}, "slope: predict one of 'rises', 'falls', 'stays', not 'grows'"),
        ("falls", {1: 1, 3: 2}, "slope: measure at 2, 4 too; the keys are 1, 3"),
        ("falls", {"1": 1, "2": 2}, "slope: measure at 1, 2, 4 too; the keys are '1', '2'"),
        ("falls", [1, 0.5, 0.25], "slope: give a dictionary {setting: number}, not a list"),
        ("falls", np.ones(3), "slope: give a dictionary {setting: number}, not a ndarray"),
        ("falls", {1: 1, 2: "half", 4: 0.25}, "slope, at 2: give a number, not a str"),
        ("falls", {1: 1, 2: torch.ones(3), 4: 0.25}, "slope, at 2: give one number, not 3"),
        ("falls", {1: 1, 2: math.nan, 4: 0.25}, "slope, at 2\n  expected  about 0.5\n  received  nan"),
        ("falls", {1: 1, 2: 0.4, 4: 0.25}, "slope, at 2\n  expected  about 0.5\n  received  0.4"),
    ],
)
def test_what_an_experiment_refuses(prediction, measured, message):
    with pytest.raises(WrongAnswer) as error:
        DEPTH(prediction, measured)
    assert str(error.value) == message


def test_numbers_within_tolerance_must_still_show_the_trend():
    noisy = Experiment("noise", lambda n: 1 + n / 1000, [1, 2], "stays", {}, "it does not", rtol=0.5)
    with pytest.raises(WrongAnswer, match="it stays in a right measurement; yours falls"):
        noisy("stays", {1: 1.3, 2: 0.8})


def test_trends():
    assert [trend(v) for v in ([1, 2], [2, 1], [1, 1], [0, 0], [1, 3, 2], [-3, -2, -1])] == [
        "rises",
        "falls",
        "stays",
        "stays",
        "changes",
        "rises",
    ]
    assert trend([1.0, 0.99, 2.0]) == "rises" and trend([1, 1.2], tolerance=0.5) == "stays"


def test_a_loop_that_never_ends_is_stopped():
    def list_boxes(data):
        found, at = [], 0
        while at + 8 <= len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            found.append((data[at + 4 : at + 8].decode("latin-1"), length))
            at += length
        return found

    with pytest.raises(WrongAnswer, match="the loop never ends"):
        check_list_boxes(list_boxes)
