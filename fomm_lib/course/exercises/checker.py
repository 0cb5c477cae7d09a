"""What a check of an exercise is: `check_x(your_function)` prints todo or ok, or says what is wrong.

A check asks your function and the solution the same questions and compares the answers. It recognises a
typical mistake by its wrong answer, and names it.

To add an exercise to notebook NN_topic, write in `nbNN_topic.py`

    check_square = Exercise(
        "square",
        solution=lambda x: x * x,
        cases=[Case("a negative number", lambda square: square(-3)), ...],   # each makes its inputs anew
        mistakes={"doubled instead of squared": lambda x: 2 * x, ...},       # three or more
    )

and nothing else: the tests find it, and test that the solution passes, that each mistake fails and is named,
and that an unchanged stub prints todo. If two mistakes give the same answer to the first question that they
fail, one of them is named wrongly and its test fails: add a question before it that tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


class WrongAnswer(AssertionError):
    """Raised by a check: the question, what was expected, what was received, perhaps a hint."""


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

    It prints `todo` for a stub that raises NotImplementedError, and `ok` with the number of checks if all
    answers are right.

    Args:
        name: the name of the function to write.
        solution: a right function.
        cases: the questions.
        mistakes: {hint: a function that makes the mistake which the hint names}.
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
    mistakes: Mapping[str, Callable]
    rtol: float = 1e-4
    atol: float = 1e-6

    def __call__(self, answer: Callable) -> None:
        for number, case in enumerate(self.cases, 1):
            where = f"{self.name}, check {number} of {len(self.cases)} ({case.says}):"
            try:
                received = _ask(case, answer)
            except NotImplementedError:
                print(f"todo  {self.name}: not written yet; the notebook goes on with the library's version")
                return
            except Exception as error:
                raise WrongAnswer(f"{where} your function raised {type(error).__name__}: {error}") from error
            expected = _ask(case, self.solution)
            if not self._same(expected, received):
                lines = [where, f"expected  {_show(expected)}", f"received  {_show(received)}"]
                hint = self._hint(case, expected, received)
                raise WrongAnswer("\n  ".join(lines + ([f"hint      {hint}"] if hint else [])))
        checks = "1 check" if len(self.cases) == 1 else f"{len(self.cases)} checks"
        print(f"ok    {self.name}: {checks} passed")

    def _hint(self, case: Case, expected: Any, received: Any) -> str | None:
        for hint, mistake in self.mistakes.items():
            try:
                if self._same(_ask(case, mistake), received):
                    return hint
            except Exception:  # a mistake that fails on this question cannot have given the answer
                continue
        if received is None:
            return "your function returns nothing; does it end with return?"
        if _is_number(expected) and _is_number(received) and np.shape(expected) != np.shape(received):
            return f"the shape should be {tuple(np.shape(expected))}, and is {tuple(np.shape(received))}"
        return None

    def _same(self, expected: Any, received: Any) -> bool:
        if _is_number(expected):
            if not _is_number(received) or np.shape(expected) != np.shape(received):
                return False
            return np.allclose(_array(received), _array(expected), self.rtol, self.atol, equal_nan=True)
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


def _ask(case: Case, function: Callable) -> Any:
    # The same random numbers for every answer; the notebook's own random state does not change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return case.ask(function)


def _is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, np.number, np.bool_, np.ndarray, torch.Tensor))


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


def _show(x: Any) -> str:
    """A value as text: four digits, the shape of arrays, long arrays shortened."""
    if not _is_number(x):
        return repr(x)
    if isinstance(x, bool | np.bool_):
        return str(bool(x))
    array = _array(x)
    values = np.array2string(
        array, precision=4, suppress_small=True, threshold=12, separator=", ", prefix=" " * 12
    )
    return values if array.ndim == 0 else f"{values}  shape {array.shape}"
