"""Exercises of the kind "experiment": predict, change one thing, run, compare.

A learner writes down a prediction, measures a number at several settings, and the check says what the numbers
show and whether that was predicted. A wrong prediction is no mistake; wrong numbers are.

To add one to notebook NN_topic, write in `nbNN_topic.py`

    check_falls_with_depth = Experiment(
        "falls_with_depth",
        measure=lambda depth: 1 / depth,                             # what a right measurement gives
        settings=[1, 2, 4],
        answer="falls",
        mistakes={"that is the depth itself": lambda depth: depth, ...},      # two or more
        why="each layer halves the slope",
    )

and in the notebook

    prediction = None  # "rises", "falls" or "stays"
    measured = {}  # {depth: slope}, for the depths 1, 2 and 4
    check_falls_with_depth(prediction, measured)

The untouched cell prints todo. The tests find the experiment, and test that right numbers pass under every
prediction, and that each mistake fails and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fomm_lib.course.exercises.checker import (
    WrongAnswer,
    as_array,
    as_functions,
    is_number,
    report,
    show_value,
    wrong_answer,
)

TRENDS = ("rises", "falls", "stays")


def trend(values: Sequence[float], tolerance: float = 0.05) -> str:
    """What a row of numbers does from its first to its last: rises, falls, or stays.

    It stays if no two numbers differ by more than the tolerance times the largest of them, and has no name
    ("changes") if it goes up and down by more than that.

    Example:
        >>> trend([1, 2, 3]), trend([3.0, 2.99, 3.01]), trend([1, 3, 1])
        ('rises', 'stays', 'changes')
    """
    least = tolerance * max(abs(value) for value in values)
    if max(values) - min(values) <= least:
        return "stays"
    steps = [after - before for before, after in pairwise(values)]
    if all(step >= -least for step in steps) and values[-1] > values[0]:
        return "rises"
    if all(step <= least for step in steps) and values[-1] < values[0]:
        return "falls"
    return "changes"


@dataclass(frozen=True)
class Experiment:
    """An experiment: call it with a prediction and with what was measured.

    It prints `todo` as long as there is no prediction or no measurement, and `ok` with what the measurement
    shows, whether it was predicted or not.

    Args:
        name: what is measured, as a name.
        measure: a right measurement: takes a setting, gives a number.
        settings: at which settings the learner measures, in the order of the conclusion.
        answer: the right conclusion.
        mistakes: {hint: a measurement that makes the mistake which the hint names, or the options with which
            the right one makes it}.
        why: one sentence that explains the answer; it is printed with it.
        choices: what can be predicted.
        conclude: draws the conclusion from the numbers in the order of the settings; `trend` unless given.
        rtol: how far a number may differ from a right one, relative.
        atol: the same, absolute.

    Raises:
        WrongAnswer: a prediction is none of the choices, the measurements are no dictionary, a setting is
            missing, a value is no number, or a number or the conclusion is wrong.

    Example:
        >>> check = Experiment("slope", lambda depth: 1 / depth, [1, 2], "falls", {}, "each layer halves it")
        >>> check(None, {})
        todo  slope: write down a prediction, then measure
        >>> check("stays", {1: 1.0, 2: 0.5})
        ok    slope: falls (1, 0.5); you predicted "stays". Why: each layer halves it.
    """

    name: str
    measure: Callable[[Any], float]
    settings: Sequence[Any]
    answer: str
    mistakes: Mapping[str, Callable[[Any], float] | Mapping]
    why: str
    choices: Sequence[str] = TRENDS
    conclude: Callable[[list[float]], str] = trend
    rtol: float = 0.05
    atol: float = 1e-6

    def __post_init__(self):
        object.__setattr__(self, "mistakes", as_functions(self.mistakes, self.measure))

    def __call__(self, prediction: str | None, measured: Mapping[Any, Any]) -> None:
        if prediction is None or measured is None or len(measured) == 0:
            missing = "write down a prediction, then measure" if prediction is None else "now measure"
            report(self.name, "todo", missing)
            return
        report(self.name, "wrong")  # unless it turns out otherwise
        if prediction not in self.choices:
            choices = ", ".join(map(repr, self.choices))
            raise WrongAnswer(f"{self.name}: predict one of {choices}, not {prediction!r}")
        if not isinstance(measured, Mapping):
            kind = type(measured).__name__
            raise WrongAnswer(f"{self.name}: give a dictionary {{setting: number}}, not a {kind}")
        missing = [setting for setting in self.settings if setting not in measured]
        if missing:
            wanted, given = (", ".join(map(repr, keys)) for keys in (missing, measured))
            raise WrongAnswer(f"{self.name}: measure at {wanted} too; the keys are {given}")
        numbers = self._numbers(measured)
        expected = [float(self.measure(setting)) for setting in self.settings]
        for setting, value, right in zip(self.settings, numbers, expected, strict=True):
            if not abs(value - right) <= self.atol + self.rtol * abs(right):  # so that NaN is wrong
                where, about = f"{self.name}, at {setting!r}", f"about {show_value(right)}"
                raise wrong_answer(self._hint(numbers), where, about, show_value(value))
        found = self.conclude(numbers)
        if found != self.answer:
            raise WrongAnswer(f"{self.name}: it {self.answer} in a right measurement; yours {found}")
        told = "as you predicted" if prediction == found else f'you predicted "{prediction}"'
        words = f"{found} ({', '.join(map(show_value, numbers))}); {told}. Why: {self.why}."
        report(self.name, "ok", words)

    def _numbers(self, measured: Mapping[Any, Any]) -> list[float]:
        for setting in self.settings:
            value = measured[setting]
            if not is_number(value):
                kind = type(value).__name__
                raise WrongAnswer(f"{self.name}, at {setting!r}: give a number, not a {kind}")
            if (size := as_array(value).size) != 1:
                raise WrongAnswer(f"{self.name}, at {setting!r}: give one number, not {size}")
        return [as_array(measured[setting]).item() for setting in self.settings]

    def _hint(self, numbers: list[float]) -> str | None:
        for hint, mistake in self.mistakes.items():
            wrong = [float(mistake(setting)) for setting in self.settings]
            if all(abs(a - b) <= self.atol + self.rtol * abs(b) for a, b in zip(numbers, wrong, strict=True)):
                return hint
        return None
