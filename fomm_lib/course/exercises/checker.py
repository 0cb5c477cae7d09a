"""What a check of an exercise is: `check_x(your_function)` prints todo or ok, or says what is wrong.

A check asks your function and the solution the same questions and compares the answers. It recognises a
typical mistake by its wrong answers, and names it: the mistake must give your answers to all questions, so
that another one with the same answer to one of them is not named wrongly.

To add an exercise to notebook NN_topic, write in `nbNN_topic.py`

    check_square = Exercise(
        "square",
        solution=lambda x: x * x,
        cases=[Case("a negative number", lambda square: square(-3)), ...],   # each makes its inputs anew
        mistakes={"doubled instead of squared": lambda x: 2 * x, ...},       # three or more
    )

and nothing else: the tests find it, and test that the solution passes, that each mistake fails and is named,
and that an unchanged stub prints todo. A mistake that the solution makes with other options may be given as
these options, {"power": 3}. If two mistakes give the same answers to all questions, one of them is
named wrongly and its test fails: add a question that tells them apart. Add one, too, for each wrong function
that would pass.

In an exercise of the kind "find the bug" the notebook gives a function with one error: write it as `given`
too, and the check prints todo as long as the answers are those of the given function.
For experiments see `experiment`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

_LIBRARY = str(Path(__file__).parents[2])
_outcomes: dict[str, str] = {}


def outcomes() -> dict[str, str]:
    """What the checks that were called said last: {name of the exercise: "ok", "todo" or "wrong"}.

    A grader asks this and not what a notebook printed, because a learner can print anything.

    Example:
        >>> check_of_three = Exercise("of_three", lambda x: x * x, [Case("3", lambda f: f(3))], {})
        >>> check_of_three(lambda x: x**2)
        ok    of_three: 1 check passed
        >>> outcomes()["of_three"]
        'ok'
    """
    return dict(_outcomes)


def report(name: str, outcome: str, words: str = "") -> None:
    """Record what a check found, for `outcomes`, and print it if there are words.

    Example:
        >>> report("square", "todo", "not written yet")
        todo  square: not written yet
    """
    _outcomes[name] = outcome
    if words:
        print(f"{outcome:5} {name}: {words}")


class WrongAnswer(AssertionError):
    """Raised by a check: a hint if there is one, the question, what was expected, what was received."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback: the message, and where the learner's code failed."""
        lines = str(self).splitlines()
        if self.__cause__ is not None:
            frames = traceback.extract_tb(self.__cause__.__traceback__)
            own = [frame for frame in frames if not frame.filename.startswith(_LIBRARY)]
            # The learner's code begins where ours ends; the last frames may lie deep inside PyTorch.
            lines += [f"  in {own[0].name}, line {own[0].lineno}:  {own[0].line}"] if own else []
        return lines


@dataclass(frozen=True)
class Case:
    """One question of a check.

    Args:
        says: the question in words; it is shown when the answer is wrong.
        ask: takes the function under test, calls it, and returns the answer: a number, a tensor or array, a
            text, or a tuple, list or dict of those. It makes its own inputs, so that a function which changes
            them does not affect later questions.
    """

    says: str
    ask: Callable[[Callable], Any]


@dataclass(frozen=True)
class Exercise:
    """An exercise: call it with a function to check that function.

    It prints `todo` for a stub that raises NotImplementedError and for the given function with its error, and
    `ok` with the number of checks if all answers are right.

    Args:
        name: the name of the function to write.
        solution: a right function.
        cases: the questions.
        mistakes: {hint: a function that makes the mistake which the hint names, or the options with which the
            solution makes it}.
        given: the function with an error that the notebook gives; None if the learner writes the function.
        rtol, atol: how far numbers may differ, relative and absolute.

    Raises:
        WrongAnswer: an answer differs from the solution's, or the function raised an error.

    Example:
        >>> check_square = Exercise("square", lambda x: x * x, [Case("of 3", lambda square: square(3))], {})
        >>> check_square(lambda x: x**2)
        ok    square: 1 check passed
    """

    name: str
    solution: Callable
    cases: Sequence[Case]
    mistakes: Mapping[str, Callable | Mapping]
    given: Callable | None = None
    rtol: float = 1e-4
    atol: float = 1e-6

    def __post_init__(self):
        object.__setattr__(self, "mistakes", as_functions(self.mistakes, self.solution))

    def __call__(self, answer: Callable) -> None:
        report(self.name, "wrong")  # unless it turns out otherwise
        for number, case in enumerate(self.cases, 1):
            where = f"{self.name}, check {number} of {len(self.cases)} ({case.says}):"
            try:
                received = _ask(case, answer)
            except NotImplementedError:
                report(self.name, "todo", "not written yet; the notebook goes on without it")
                return
            except Exception as error:
                raise WrongAnswer(f"{where} your function raised {type(error).__name__}: {error}") from error
            expected = _ask(case, self.solution)
            if not self._same(expected, received):
                answers = self._answers(answer)
                if self.given is not None and self._gives(self.given, answers):
                    report(self.name, "todo", f"the error is still in it; {case.says} shows it")
                    return
                hint = self._hint(answers, expected, received)
                raise wrong_answer(hint, where, show_value(expected), show_value(received))
        checks = "1 check" if len(self.cases) == 1 else f"{len(self.cases)} checks"
        report(self.name, "ok", f"{checks} passed")

    def _answers(self, answer: Callable) -> list[tuple[Case, Any]]:
        """The questions that a function answers without an error, each with its answer."""
        answers = []
        for case in self.cases:
            with suppress(Exception):
                answers.append((case, _ask(case, answer)))
        return answers

    def _gives(self, function: Callable, answers: list[tuple[Case, Any]]) -> bool:
        """Whether a function gives these answers."""
        try:
            return all(self._same(_ask(case, function), received) for case, received in answers)
        except Exception:  # a function that fails on a question cannot have given its answer
            return False

    def _hint(self, answers: list[tuple[Case, Any]], expected: Any, received: Any) -> str | None:
        for hint, mistake in self.mistakes.items():
            if self._gives(mistake, answers):
                return hint
        if received is None:
            return "your function returns nothing; does it end with return?"
        if isinstance(expected, torch.Tensor) and not isinstance(received, torch.Tensor):
            return f"return a tensor, not a {type(received).__name__}"
        if isinstance(expected, (tuple, list)):
            if not isinstance(received, (tuple, list)):
                return f"return a {type(expected).__name__}, not a {type(received).__name__}"
            if len(received) != len(expected):
                return f"return {len(expected)} values, not {len(received)}"
        if is_number(expected) and is_number(received) and np.shape(expected) != np.shape(received):
            return f"the shape should be {tuple(np.shape(expected))}, and is {tuple(np.shape(received))}"
        return None

    def _same(self, expected: Any, received: Any) -> bool:
        if is_number(expected):
            if not is_number(received) or np.shape(expected) != np.shape(received):
                return False
            return np.allclose(as_array(received), as_array(expected), self.rtol, self.atol, equal_nan=True)
        if isinstance(expected, Mapping):
            return (
                isinstance(received, Mapping)
                and expected.keys() == received.keys()
                and all(self._same(expected[key], received[key]) for key in expected)
            )
        if isinstance(expected, (tuple, list)):
            return (
                isinstance(received, (tuple, list))
                and len(expected) == len(received)
                and all(map(self._same, expected, received))
            )
        return type(expected) is type(received) and bool(expected == received)


def as_functions(
    mistakes: Mapping[str, Callable | Mapping[str, Any]], right: Callable
) -> dict[str, Callable]:
    """Mistakes as functions: one that is given as options is the right function with these options.

    Example:
        >>> as_functions({"base 10, not 2": {"base": 2}}, int)["base 10, not 2"]("101")
        5
    """
    return {
        hint: mistake if callable(mistake) else partial(right, **mistake)
        for hint, mistake in mistakes.items()
    }


def slope(value: Any, at: torch.Tensor) -> torch.Tensor | None:
    """The gradient of an answer with respect to a tensor; None if there is none.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> slope(x**2, x), slope(x.detach() ** 2, x)
        (tensor(6.), None)
    """
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return None
    return torch.autograd.grad(value, at, allow_unused=True)[0]


def wrong_answer(hint: str | None, where: str, expected: str, received: str) -> WrongAnswer:
    """The error that shows both answers and, if there is one, a hint."""
    hints = [f"hint      {hint}"] if hint else []
    return WrongAnswer("\n  ".join([*hints, where, f"expected  {expected}", f"received  {received}"]))


def _ask(case: Case, function: Callable) -> Any:
    # The same random numbers for every answer; the notebook's own random state does not change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return case.ask(function)


def is_number(x: Any) -> bool:
    """Whether a value is a number, a tensor or an array.

    Example:
        >>> is_number(torch.zeros(2)), is_number("2"), is_number([2])
        (True, False, False)
    """
    return isinstance(x, (bool, int, float, np.number, np.bool_, np.ndarray, torch.Tensor))


def as_array(x: Any) -> np.ndarray:
    """A number, tensor or array as an array of float64, without its gradient.

    Example:
        >>> as_array(torch.tensor(2.0, requires_grad=True))
        array(2.)
    """
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


def show_value(x: Any) -> str:
    """A value as a short text: four digits, and of an array its shape and its first and last numbers.

    Example:
        >>> show_value(2e-5), show_value(torch.arange(100.0))
        ('2e-05', 'shape (100,): 0, 1, 2, ... 97, 98, 99')
    """
    if isinstance(x, (tuple, list)) and x and all(map(is_number, x)) and len(x) <= 6:
        return f"({', '.join(map(show_value, x))})"
    if not is_number(x):
        text = repr(x)
        return text if len(text) <= 200 else f"{text[:150]} ... {text[-40:]}"
    if isinstance(x, bool | np.bool_):
        return str(bool(x))
    array = as_array(x)
    if array.ndim == 0:
        return f"{float(array):.4g}"
    values = [f"{value:.4g}" for value in array.flatten()]
    shown = values if len(values) <= 9 else [*values[:3], "...", *values[-3:]]
    return f"shape {array.shape}: {', '.join(shown)}".replace("..., ", "... ")
