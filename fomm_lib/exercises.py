"""Checks for the exercises of the notebooks: `check_x(your_function)` says todo, ok, or what is wrong.

A check asks your function and the solution the same questions and compares the answers. A typical mistake
is recognised by its wrong answer, and named.

To add an exercise, write in its notebook's section below

    check_square = Exercise(
        "square",
        solution=lambda x: x * x,
        cases=[Case("a negative number", lambda square: square(-3)), ...],   # each makes its inputs anew
        mistakes={"doubled instead of squared": lambda x: 2 * x, ...},       # three or more
    )

and nothing else: the tests find it, and prove that the solution passes, that each mistake fails and is
named, and that an untouched stub says todo. Where two mistakes give the same answer to the first question
that they fail, one is named wrongly and its test fails: ask a question before it that tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fomm_lib import gan

# The shared machinery


class WrongAnswer(AssertionError):
    """Raised by a check: the question, what was expected, what was received, perhaps a hint."""


@dataclass(frozen=True)
class Case:
    """One question of a check.

    Args:
        says: the question in words; it is shown when the answer is wrong.
        ask: takes the function under test, calls it, and returns what is to be compared: a number, a tensor
            or array, a text, or a tuple, list or dict of those. It makes its inputs itself, so that no answer
            can spoil the next.
    """

    says: str
    ask: Callable[[Callable], Any]


@dataclass(frozen=True)
class Exercise:
    """An exercise: call it with a function to check it.

    Prints `todo` for a stub that raises NotImplementedError, and `ok` with the number of checks for an answer
    that is right.

    Args:
        name: the name of the function that is to be written.
        solution: one that is right.
        cases: the questions.
        mistakes: what went wrong, in words -> a function that goes wrong in that way.
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
        for words, mistake in self.mistakes.items():
            try:
                if self._same(_ask(case, mistake), received):
                    return words
            except Exception:  # this mistake cannot even answer the question, so it is not the one
                continue
        if received is None:
            return "your function gives nothing back; does it end with return?"
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
    # The same random numbers for every answer, and none taken from the notebook.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return case.ask(function)


def _is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, np.number, np.bool_, np.ndarray, torch.Tensor))


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


def _show(x: Any) -> str:
    """Short and readable: four digits, the shape where there is one, long arrays shortened."""
    if not _is_number(x):
        return repr(x)
    if isinstance(x, bool | np.bool_):
        return str(bool(x))
    array = _array(x)
    values = np.array2string(
        array, precision=4, suppress_small=True, threshold=12, separator=", ", prefix=" " * 12
    )
    return values if array.ndim == 0 else f"{values}  shape {array.shape}"


# 01 gan_math


def _gaussian_kl(mean_p, std_p, mean_q, std_q):
    return math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5


check_gaussian_kl = Exercise(
    "gaussian_kl",
    solution=_gaussian_kl,
    cases=[
        Case("two equal Gaussians", lambda kl: kl(1.0, 2.0, 1.0, 2.0)),
        Case("means 0 and 3, both of width 1", lambda kl: kl(0.0, 1.0, 3.0, 1.0)),
        Case("a narrow one seen from a wide one", lambda kl: kl(0.0, 0.5, 0.0, 2.0)),
        Case("a wide one seen from a narrow one", lambda kl: kl(0.0, 2.0, 0.0, 0.5)),
        Case("everything different", lambda kl: kl(-1.0, 0.5, 2.0, 1.5)),
    ],
    mistakes={
        "the last term, -1/2, is missing: equal Gaussians must give 0": (
            lambda mp, sp, mq, sq: _gaussian_kl(mp, sp, mq, sq) + 0.5
        ),
        "p and q have changed places: KL(p | q) averages over p": (
            lambda mp, sp, mq, sq: _gaussian_kl(mq, sq, mp, sp)
        ),
        "the logarithm is upside down: it is log(std_q / std_p)": (
            lambda mp, sp, mq, sq: _gaussian_kl(mp, sp, mq, sq) - 2 * math.log(sq / sp)
        ),
        "std is a width, not a variance: square it": (
            lambda mp, sp, mq, sq: _gaussian_kl(mp, math.sqrt(sp), mq, math.sqrt(sq))
        ),
        "the distance of the means must be squared": (
            lambda mp, sp, mq, sq: math.log(sq / sp) + (sp**2 + abs(mp - mq)) / (2 * sq**2) - 0.5
        ),
    },
)


check_sorted_wasserstein = Exercise(
    "sorted_wasserstein",
    solution=gan.wasserstein_1d,
    cases=[
        Case(
            "the same numbers in another order",
            lambda w: w(torch.tensor([3.0, 1.0, 2.0]), torch.arange(1.0, 4)),
        ),
        Case(
            "everything moved by 5", lambda w: w(torch.tensor([2.0, 0.0, 1.0]), torch.tensor([7.0, 5.0, 6.0]))
        ),
        Case("moved to the left", lambda w: w(torch.tensor([4.0, 9.0]), torch.tensor([1.0, 2.0]))),
        Case("100 random numbers against 100 others", lambda w: w(torch.randn(100), 2 * torch.rand(100))),
    ],
    mistakes={
        "the numbers are compared in the order they came in: sort both first": lambda x, y: (
            (x - y).abs().mean()
        ),
        "only one of the two is sorted": lambda x, y: (x.sort().values - y).abs().mean(),
        "that is the sum; the mean is asked for": lambda x, y: (
            (x.sort().values - y.sort().values).abs().sum()
        ),
        "that is the mean square; the way is an absolute difference": (
            lambda x, y: (x.sort().values - y.sort().values).square().mean()
        ),
        "without the absolute value, ways to the left and to the right cancel": (
            lambda x, y: (x.sort().values - y.sort().values).mean()
        ),
        "the difference of the means misses everything but the shift": lambda x, y: (
            x.mean() - y.mean()
        ).abs(),
    },
)


def _slopes(critic, x):
    x = x.requires_grad_(True)
    return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].flatten(1)


def _slope_lengths(critic, x):
    return torch.linalg.vector_norm(_slopes(critic, x), dim=1)


def _slope_penalty(critic, x):
    return (_slope_lengths(critic, x) - 1).square().mean()


def _bent_critic(x):
    return (x.flatten(1) ** 2).sum(1) + 3 * x.flatten(1)[:, 0]


def _penalty_gradient(penalty):
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    value = penalty(lambda x: x @ weight, torch.randn(5, 2))
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return "no gradient reaches the critic's weights"
    value.backward()
    return weight.grad


check_slope_penalty = Exercise(
    "slope_penalty",
    solution=_slope_penalty,
    cases=[
        Case("a critic of slope 1 everywhere", lambda p: p(lambda x: x.sum(1), torch.randn(3, 1))),
        Case(
            "a linear critic with slope (3, 4)",
            lambda p: p(lambda x: x @ torch.tensor([3.0, 4.0]), torch.ones(6, 2)),
        ),
        Case("a bent critic, another slope at each sample", lambda p: p(_bent_critic, torch.randn(8, 2))),
        Case("a batch of pictures (4, 3, 2, 2)", lambda p: p(_bent_critic, torch.randn(4, 3, 2, 2))),
        Case("what the penalty tells the critic's weights", _penalty_gradient),
    ],
    mistakes={
        "the slope is right but cannot be trained on: say create_graph=True": (
            lambda critic, x: _slope_penalty(critic, x).detach()
        ),
        "one length for the whole batch: take the length of each sample's gradient": (
            lambda critic, x: (_slopes(critic, x).norm() - 1).square()
        ),
        "the length is not compared with 1": lambda critic, x: _slope_lengths(critic, x).square().mean(),
        "the difference is not squared": lambda critic, x: (_slope_lengths(critic, x) - 1).abs().mean(),
        "each number of the gradient is compared with 1; compare the length of the gradient": (
            lambda critic, x: (_slopes(critic, x) - 1).square().mean()
        ),
    },
)


# The public names are the checks; the machinery above serves whoever writes new ones.
__all__ = sorted(name for name in globals() if name.startswith("check_"))
