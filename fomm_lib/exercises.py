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
from fomm_lib.geometry import apply_2x2, coordinate_grid, inverse_2x2, multiply_2x2, to_pixels, warp
from fomm_lib.keypoints import soft_argmax

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


# 00 start_here


def _places_of_pixels(pixels, height, width):
    return 2 * pixels / torch.tensor([width - 1, height - 1]) - 1


check_places_of_pixels = Exercise(
    "places_of_pixels",
    solution=_places_of_pixels,
    cases=[
        Case("the middle of 5 x 9 pixels", lambda f: f(torch.tensor([4.0, 2.0]), 5, 9)),
        Case("the first pixel and the last", lambda f: f(torch.tensor([[0.0, 0.0], [8.0, 4.0]]), 5, 9)),
        Case("between pixels, and outside", lambda f: f(torch.tensor([[1.5, -2.0], [70.0, 12.25]]), 64, 64)),
        Case("points of a batch, 2 x 10", lambda f: f(64 * torch.rand(2, 10, 2), 48, 96)),
    ],
    mistakes={
        "from the first centre to the last there are width - 1 steps, not width": (
            lambda pixels, height, width: 2 * pixels / torch.tensor([width, height]) - 1
        ),
        "that puts -1 and 1 on the outer edges of the picture, not on the centres of its border pixels": (
            lambda pixels, height, width: (2 * pixels + 1) / torch.tensor([width, height]) - 1
        ),
        "x, the column, belongs to the width, and y, the row, to the height": (
            lambda pixels, height, width: 2 * pixels / torch.tensor([height - 1, width - 1]) - 1
        ),
        "that runs from 0 to 1; stretch it to a length of 2 and begin at -1": (
            lambda pixels, height, width: pixels / torch.tensor([width - 1, height - 1])
        ),
        "that is the way back, from places to pixels": (
            lambda pixels, height, width: (pixels + 1) / 2 * torch.tensor([width - 1, height - 1])
        ),
    },
)


check_motion_channels = Exercise(
    "motion_channels",
    solution=lambda num_kp, num_channels: (num_kp + 1) * (num_channels + 1),
    cases=[
        Case("the published model: 10 keypoints, 3 colours", lambda f: f(10, 3)),
        Case("15 keypoints, grey pictures", lambda f: f(15, 1)),
        Case("one keypoint, 3 colours", lambda f: f(1, 3)),
    ],
    mistakes={
        "the background counts as a motion too": lambda num_kp, num_channels: num_kp * (num_channels + 1),
        "the map of bumps is missing: one more channel a motion": (
            lambda num_kp, num_channels: (num_kp + 1) * num_channels
        ),
        "background and map of bumps are missing": lambda num_kp, num_channels: num_kp * num_channels,
        "every motion has a moved source of its own": lambda num_kp, num_channels: num_kp + 1 + num_channels,
    },
)


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


# 02 data_cleaning


def _pictures_of(*levels):
    return [np.full((4, 6, 3), level, np.uint8) for level in levels]


def _half(level):
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:, :3] = level
    return picture


def _noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def _floats(a, b):
    return a.astype(np.float64) - b.astype(np.float64)


check_picture_mse = Exercise(
    "picture_mse",
    solution=lambda a, b: (_floats(a, b) ** 2).mean(),
    cases=[
        Case("a picture and itself", lambda mse: mse(_noise(0), _noise(0))),
        Case("a picture whose left half is 4 grey levels brighter", lambda mse: mse(_half(4), _half(0))),
        Case("grey level 20 against 3", lambda mse: mse(*_pictures_of(20, 3))),
        Case("grey level 3 against 5, which must cost the same", lambda mse: mse(*_pictures_of(3, 5))),
        Case("black against white", lambda mse: mse(*_pictures_of(0, 255))),
        Case("two pictures of noise", lambda mse: mse(_noise(1), _noise(2))),
    ],
    mistakes={
        "uint8 cannot go below 0: 3 - 5 wraps around to 254; make both float first": (
            lambda a, b: float(((a - b).astype(np.float64) ** 2).mean())
        ),
        "the square is taken in uint8, where 17 x 17 is 33; make both float first": (
            lambda a, b: float(((a - b) ** 2).mean())
        ),
        "that is the sum; the mean is asked for, or large pictures seem to move more": (
            lambda a, b: (_floats(a, b) ** 2).sum()
        ),
        "the difference is not squared": lambda a, b: np.abs(_floats(a, b)).mean(),
        "that is the root of it (RMSE)": lambda a, b: math.sqrt((_floats(a, b) ** 2).mean()),
    },
)


def _say_verdict(frames, errors, change):
    if frames == 0:
        return "unreadable"
    if errors > 0:
        return "corrupt"
    if frames == 1:
        return "single_frame"
    return "frozen" if change <= 5 else "fit"


check_say_verdict = Exercise(
    "say_verdict",
    solution=_say_verdict,
    cases=[
        Case("25 frames, no error, a change of 80", lambda say: say(25, 0, 80)),
        Case("25 frames, no error, a change of 2", lambda say: say(25, 0, 2)),
        Case("25 frames, no error, a change of exactly 5", lambda say: say(25, 0, 5)),
        Case("not one frame, and no error", lambda say: say(0, 0, 0)),
        Case("not one frame, and 9 errors", lambda say: say(0, 9, 0)),
        Case("one frame, no error", lambda say: say(1, 0, 0)),
        Case("24 frames, 1 error, a change of 80", lambda say: say(24, 1, 80)),
        Case("24 frames, 1 error, and nothing moves", lambda say: say(24, 1, 0)),
    ],
    mistakes={
        "a change of exactly the threshold counts as nothing: use <=": (
            lambda frames, errors, change: (
                "fit" if change == 5 and frames > 1 and not errors else _say_verdict(frames, errors, change)
            )
        ),
        "ask for frames first: without a single one it is unreadable, whatever the errors": (
            lambda frames, errors, change: "corrupt" if errors else _say_verdict(frames, errors, change)
        ),
        "one frame can never change: ask for single_frame before frozen": (
            lambda frames, errors, change: (
                "frozen" if frames == 1 and not errors else _say_verdict(frames, errors, change)
            )
        ),
        "ask for errors before frozen: where decoding failed, a picture that stands still proves nothing": (
            lambda frames, errors, change: (
                "frozen" if frames > 1 and change <= 5 else _say_verdict(frames, errors, change)
            )
        ),
        "a single error is enough: what is wrong in one frame is copied into those after it": (
            lambda frames, errors, change: (
                _say_verdict(frames, 0, change)
                if errors < frames / 2
                else _say_verdict(frames, errors, change)
            )
        ),
    },
)


def _boxes(data, order="big", header_counts=True, knows_end=True, knows_long=True):
    found, at = [], 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], order), data[at + 4 : at + 8].decode("latin-1")
        if length == 0 and knows_end:
            length = len(data) - at
        if length == 1 and knows_long:
            length = int.from_bytes(data[at + 8 : at + 16], order)
        found.append((kind, length))
        if length < 8:
            break
        at += length if header_counts else 8 + length
    return found


def _box(kind, payload=b"", length=None):
    return (8 + len(payload) if length is None else length).to_bytes(4, "big") + kind + payload


def _long_box(kind, payload):
    return (1).to_bytes(4, "big") + kind + (16 + len(payload)).to_bytes(8, "big") + payload


class _Patience(bytes):
    """Bytes that can be read so many times: a loop that never moves on would else hang the notebook."""

    reads = 0

    def __getitem__(self, key):
        self.reads += 1
        if self.reads > 10_000:
            raise RuntimeError("the loop never ends: see that `at` moves on, also where the length is 0")
        return super().__getitem__(key)


def _listed(boxes, data):
    return boxes(_Patience(data))


check_list_boxes = Exercise(
    "list_boxes",
    solution=_boxes,
    cases=[
        Case("one box without a payload", lambda boxes: _listed(boxes, _box(b"free"))),
        Case(
            "three boxes",
            lambda boxes: _listed(
                boxes, _box(b"ftyp", b"isom0000") + _box(b"mdat", bytes(300)) + _box(b"moov", bytes(40))
            ),
        ),
        Case(
            "a payload that looks like a box is none",
            lambda boxes: _listed(boxes, _box(b"moov", _box(b"trak", bytes(4))) + _box(b"free")),
        ),
        Case(
            "a last box of length 0 reaches to the end of the file",
            lambda boxes: _listed(boxes, _box(b"ftyp") + _box(b"mdat", bytes(99), length=0)),
        ),
        Case(
            "length 1: the true length stands in the eight bytes after the kind",
            lambda boxes: _listed(boxes, _long_box(b"mdat", bytes(50)) + _box(b"free")),
        ),
        Case(
            "a file cut short announces more than there is",
            lambda boxes: _listed(boxes, _box(b"ftyp") + _box(b"mdat", bytes(300))[:100]),
        ),
        Case("three bytes left over are no box", lambda boxes: _listed(boxes, _box(b"free") + bytes(3))),
    ],
    mistakes={
        "the bytes are read from the wrong end: the first is the largest (big endian)": (
            lambda data: _boxes(data, order="little")
        ),
        "the length counts its own eight bytes too: the next box begins at start + length": (
            lambda data: _boxes(data, header_counts=False)
        ),
        "length 0 means: as far as there is anything": lambda data: _boxes(data, knows_end=False),
        "length 1 means: the true length follows, in eight bytes": lambda data: _boxes(
            data, knows_long=False
        ),
        "the boxes inside are listed as well; only those of the outermost level are asked for": (
            lambda data: [
                *_boxes(data),
                *(_boxes(data[8:]) if data[4:8] == b"moov" and len(data) > 16 else []),
            ]
        ),
    },
)


# 03 keypoints


def _mean_place(heatmap):
    return soft_argmax(heatmap[None, None])[0, 0]


def _heatmap(height, width):
    return torch.randn(height, width).flatten().softmax(0).view(height, width)


check_mean_place = Exercise(
    "mean_place",
    solution=_mean_place,
    cases=[
        Case("all of it in one corner", lambda f: f(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))),
        Case("two cells of a map of 3 x 5", lambda f: f(torch.eye(3, 5)[:, [0, 2, 3, 1, 4]] / 3)),
        Case("a random map of 6 x 9", lambda f: f(_heatmap(6, 9))),
    ],
    mistakes={
        "x and y have changed places: (x, y) is (column, row)": lambda heatmap: _mean_place(heatmap).flip(0),
        "that is in pixels; places run from -1 to 1": (
            lambda heatmap: (_mean_place(heatmap) + 1) / 2 * torch.tensor(heatmap.shape).flip(0).sub(1)
        ),
        "that is the best place, not the mean one": lambda heatmap: coordinate_grid(*heatmap.shape).flatten(
            0, 1
        )[heatmap.argmax()],
        "the map sums to 1 already: add up, do not average": lambda heatmap: (
            _mean_place(heatmap) / heatmap.numel()
        ),
        "-1 and 1 are the centres of the border pixels, not their outer edges": lambda heatmap: (
            _mean_place(heatmap) * (1 - 1 / torch.tensor(heatmap.shape).flip(0))
        ),
    },
)


def _distance2(point, height, width):
    return (coordinate_grid(height, width) - point).square().sum(-1)


check_keypoint_bump = Exercise(
    "keypoint_bump",
    solution=lambda point, height, width, variance=0.01: torch.exp(
        -0.5 * _distance2(point, height, width) / variance
    ),
    cases=[
        Case("in the middle of 5 x 5 pixels", lambda f: f(torch.zeros(2), 5, 5, 0.25)),
        Case("to the upper right, on 4 x 6 pixels", lambda f: f(torch.tensor([0.6, -0.5]), 4, 6, 0.3)),
        Case("the usual width, on 32 x 32 pixels", lambda f: f(torch.tensor([0.1, 0.2]), 32, 32)),
    ],
    mistakes={
        "the factor 1/2 in the exponent is missing": (
            lambda point, height, width, variance=0.01: torch.exp(
                -_distance2(point, height, width) / variance
            )
        ),
        "variance is the square of the width already: do not square it again": (
            lambda point, height, width, variance=0.01: torch.exp(
                -0.5 * _distance2(point, height, width) / variance**2
            )
        ),
        "the distance must be squared": (
            lambda point, height, width, variance=0.01: torch.exp(
                -0.5 * _distance2(point, height, width).sqrt() / variance
            )
        ),
        "its peak is 1: do not make it sum to 1": (
            lambda point, height, width, variance=0.01: (
                (-0.5 * _distance2(point, height, width) / variance).flatten().softmax(0).view(height, width)
            )
        ),
        "x and y have changed places: (x, y) is (column, row)": (
            lambda point, height, width, variance=0.01: torch.exp(
                -0.5 * _distance2(point.flip(0), height, width) / variance
            )
        ),
    },
)


class _Bend:
    """z -> A z + b + c z^2: as much of `losses.RandomTransform`, of this same floor, as questions need."""

    def __init__(self, batch, strength=0.3, curve=0.0):
        self.theta = torch.eye(2, 3) + strength * torch.randn(batch, 2, 3)
        self.curve = curve

    def __call__(self, points):
        turned = apply_2x2(self.theta[:, None, :, :2], points)
        return turned + self.theta[:, None, :, 2] + self.curve * points**2

    def jacobian(self, points):
        return self.theta[:, None, :, :2] + 2 * self.curve * torch.diag_embed(points)

    def warp_picture(self, picture):
        height, width = picture.shape[-2:]
        flow = self(coordinate_grid(height, width).view(1, -1, 2).expand(len(picture), -1, -1))
        return warp(picture, flow.view(-1, height, width, 2), padding_mode="reflection")


def _carry_jacobian(transform, points, jacobians):
    return multiply_2x2(transform.jacobian(points), jacobians)


def _carried(function, curve):
    transform = _Bend(2, curve=curve)
    points, jacobians = torch.rand(2, 4, 2) - 0.5, torch.eye(2) + 0.3 * torch.randn(2, 4, 2, 2)
    return function(transform, points, jacobians)


check_carry_jacobian = Exercise(
    "carry_jacobian",
    solution=_carry_jacobian,
    cases=[
        Case("an affine transform", lambda f: _carried(f, 0.0)),
        Case("a bent transform, another Jacobian at each point", lambda f: _carried(f, 0.4)),
        Case(
            "the transform that changes nothing",
            lambda f: f(_Bend(1, strength=0), torch.zeros(1, 1, 2), torch.ones(1, 1, 2, 2)),
        ),
    ],
    mistakes={
        "the order: T is applied last, so T' stands first": (
            lambda transform, points, jacobians: multiply_2x2(jacobians, transform.jacobian(points))
        ),
        "that multiplies entry by entry; a product of matrices is asked for": (
            lambda transform, points, jacobians: transform.jacobian(points) * jacobians
        ),
        "that leads the other way, from the picture to the deformed one": (
            lambda transform, points, jacobians: multiply_2x2(
                inverse_2x2(transform.jacobian(points)), jacobians
            )
        ),
        "the keypoint's own Jacobian is missing": lambda transform, points, jacobians: transform.jacobian(
            points
        ),
        "T' belongs at the points p' as they are given, not at T(p')": (
            lambda transform, points, jacobians: multiply_2x2(
                transform.jacobian(transform(points)), jacobians
            )
        ),
    },
)


def _brightest(pictures):
    """A detector of one point, the mean place of the brightness."""
    return soft_argmax(
        pictures.mean(1, keepdim=True).mul(8).flatten(2).softmax(-1).view(len(pictures), 1, 12, 12)
    )


def _equivariance(detector, pictures, transform):
    return (detector(pictures) - transform(detector(transform.warp_picture(pictures)))).abs().mean()


def _nailed_error(function):
    return function(lambda x: torch.full((len(x), 3, 2), 0.2), torch.rand(4, 3, 8, 8), _Bend(4, 0.2))


check_equivariance = Exercise(
    "equivariance",
    solution=_equivariance,
    cases=[
        Case("a detector that never looks", _nailed_error),
        Case(
            "a transform that changes nothing",
            lambda f: f(_brightest, torch.rand(2, 3, 12, 12), _Bend(2, strength=0)),
        ),
        Case(
            "the mean place of the brightness, strong warps",
            lambda f: f(_brightest, torch.rand(6, 3, 12, 12), _Bend(6, curve=0.1)),
        ),
    ],
    mistakes={
        "T takes points of the deformed picture back, so it belongs to p', not to p": (
            lambda detector, pictures, transform: (
                (transform(detector(pictures)) - detector(transform.warp_picture(pictures))).abs().mean()
            )
        ),
        "the points of the deformed picture must be taken back by T first": (
            lambda detector, pictures, transform: (
                (detector(pictures) - detector(transform.warp_picture(pictures))).abs().mean()
            )
        ),
        "the second detection must be of the deformed picture": (
            lambda detector, pictures, transform: (
                (detector(pictures) - transform(detector(pictures))).abs().mean()
            )
        ),
        "without the absolute value, errors cancel": (
            lambda detector, pictures, transform: (
                detector(pictures) - transform(detector(transform.warp_picture(pictures)))
            ).mean()
        ),
        "that is the mean square; the absolute difference is asked for": (
            lambda detector, pictures, transform: (
                (detector(pictures) - transform(detector(transform.warp_picture(pictures)))).square().mean()
            )
        ),
    },
)


# 04 dense_motion


def _first_order_flow(grid, p_source, j_source, p_driving, j_driving):
    return p_source + apply_2x2(multiply_2x2(j_source, inverse_2x2(j_driving)), grid - p_driving)


def _one_motion(function, source_turn=0.0, driving_turn=0.0, stretch=(1.0, 1.0)):
    def turned(angle, scale):
        cos, sin = math.cos(angle), math.sin(angle)
        return torch.tensor([[cos, -sin], [sin, cos]]) @ torch.diag(torch.tensor(scale))

    places = torch.tensor([0.3, -0.2]), torch.tensor([-0.1, 0.4])
    j_source, j_driving = turned(source_turn, stretch), turned(driving_turn, (1.0, 1.0))
    return function(coordinate_grid(4, 5), places[0], j_source, places[1], j_driving)


check_first_order_flow = Exercise(
    "first_order_flow",
    solution=_first_order_flow,
    cases=[
        Case("the driving keypoint moved, nothing turned", _one_motion),
        Case("the source turned and stretched", lambda f: _one_motion(f, 0.5, 0.0, (1.5, 0.6))),
        Case("both turned, and the source stretched", lambda f: _one_motion(f, 0.4, -0.9, (1.3, 0.5))),
    ],
    mistakes={
        "the other way round: z lies in the driving frame, the result in the source": (
            lambda grid, p_source, j_source, p_driving, j_driving: _first_order_flow(
                grid, p_driving, j_driving, p_source, j_source
            )
        ),
        "z must be measured from the driving keypoint before the matrix is applied": (
            lambda grid, p_source, j_source, p_driving, j_driving: (
                p_source - p_driving + apply_2x2(multiply_2x2(j_source, inverse_2x2(j_driving)), grid)
            )
        ),
        "the driving Jacobian must be inverted": (
            lambda grid, p_source, j_source, p_driving, j_driving: (
                p_source + apply_2x2(multiply_2x2(j_source, j_driving), grid - p_driving)
            )
        ),
        "the source's Jacobian is inverted, the driving one should be": (
            lambda grid, p_source, j_source, p_driving, j_driving: (
                p_source + apply_2x2(multiply_2x2(j_driving, inverse_2x2(j_source)), grid - p_driving)
            )
        ),
        "the order of the matrices: what is applied first stands last": (
            lambda grid, p_source, j_source, p_driving, j_driving: (
                p_source + apply_2x2(multiply_2x2(inverse_2x2(j_driving), j_source), grid - p_driving)
            )
        ),
        "that is zeroth order: the Jacobians are missing": (
            lambda grid, p_source, j_source, p_driving, j_driving: p_source + grid - p_driving
        ),
        "points are rows here: `points @ J` multiplies by the transpose; take `points @ J.T` or apply_2x2": (
            lambda grid, p_source, j_source, p_driving, j_driving: (
                p_source + (grid - p_driving) @ multiply_2x2(j_source, inverse_2x2(j_driving))
            )
        ),
    },
)


def _compose_flows(flow_sd, flow_de, padding_mode="border"):
    found = warp(flow_sd.permute(2, 0, 1)[None], flow_de[None], padding_mode=padding_mode)
    return found[0].permute(1, 2, 0)


def _regrouped(flow_sd, flow_de, on_the_way_in=True, on_the_way_back=True):
    """compose_flows with reshape where permute belongs."""
    height, width = flow_sd.shape[:2]
    picture = flow_sd.reshape(2, height, width) if on_the_way_in else flow_sd.permute(2, 0, 1)
    found = warp(picture[None], flow_de[None], padding_mode="border")[0]
    return found.reshape(height, width, 2) if on_the_way_back else found.permute(1, 2, 0)


def _affine_flow(xx, xy, yx, yy, x, y, height=6, width=8):
    matrix = torch.tensor([[xx, xy], [yx, yy]])
    return apply_2x2(matrix, coordinate_grid(height, width)) + torch.tensor([x, y])


check_compose_flows = Exercise(
    "compose_flows",
    solution=_compose_flows,
    cases=[
        Case(
            "half the size, after moving a little to the left",
            lambda f: f(_affine_flow(0.5, 0, 0, 0.5, 0, 0), _affine_flow(0.7, 0, 0, 0.7, -0.2, 0.1)),
        ),
        Case(
            "a turn after a stretch",
            lambda f: f(_affine_flow(0.8, -0.6, 0.6, 0.8, 0, 0), _affine_flow(0.9, 0, 0, 0.4, 0, 0.2)),
        ),
        Case(
            "places beyond the border",
            lambda f: f(_affine_flow(0.8, 0.1, 0, 0.8, 0, 0), _affine_flow(1.5, 0, 0, 1.2, 0, 0)),
        ),
        Case("two flows that are not affine", lambda f: f(torch.rand(6, 8, 2) - 0.5, torch.rand(6, 8, 2))),
    ],
    mistakes={
        "the order: go from E to D first, and look up the other flow there": (
            lambda flow_sd, flow_de: _compose_flows(flow_de, flow_sd)
        ),
        "flows hold places, not shifts: they cannot be added": lambda flow_sd, flow_de: flow_sd + flow_de,
        "adding the shifts forgets that the second begins where the first ended": (
            lambda flow_sd, flow_de: flow_sd + flow_de - coordinate_grid(*flow_sd.shape[:2])
        ),
        "beyond the border there must be the border, not 0": (
            lambda flow_sd, flow_de: _compose_flows(flow_sd, flow_de, padding_mode="zeros")
        ),
        "the result must be (H, W, 2) again: permute back": (
            lambda flow_sd, flow_de: _compose_flows(flow_sd, flow_de).permute(2, 0, 1)
        ),
        "reshape only counts anew, and mixes x and y of different pixels: move the axes with permute": (
            _regrouped
        ),
        "the way in needs permute too: reshape mixes x and y of different pixels": (
            lambda flow_sd, flow_de: _regrouped(flow_sd, flow_de, on_the_way_back=False)
        ),
        "the way back needs permute too: reshape mixes x and y of different pixels": (
            lambda flow_sd, flow_de: _regrouped(flow_sd, flow_de, on_the_way_in=False)
        ),
    },
)


def _slopes_of_flow(flow, scaled=True):
    height, width = flow.shape[:2]
    along_x, along_y = flow[:-1, 1:] - flow[:-1, :-1], flow[1:, :-1] - flow[:-1, :-1]
    return (along_x * (width - 1) / 2, along_y * (height - 1) / 2) if scaled else (along_x, along_y)


def _area_change(flow, scaled=True, minus=1):
    along_x, along_y = _slopes_of_flow(flow, scaled)
    return along_x[..., 0] * along_y[..., 1] - minus * along_x[..., 1] * along_y[..., 0]


check_area_change = Exercise(
    "area_change",
    solution=_area_change,
    cases=[
        Case("a flow that changes nothing", lambda f: f(coordinate_grid(4, 6))),
        Case("a turn by 30 degrees", lambda f: f(_affine_flow(0.866, -0.5, 0.5, 0.866, 0, 0))),
        Case("mirrored, and half as high", lambda f: f(_affine_flow(-1.0, 0.2, 0, 0.5, 0, 0))),
        Case("a flow that is not affine", lambda f: f(torch.rand(5, 7, 2))),
    ],
    mistakes={
        "divide by the distance of neighbours: 2 / (W - 1) along x, 2 / (H - 1) along y": (
            lambda flow: _area_change(flow, scaled=False)
        ),
        "the determinant is ad - bc; the second product is missing": lambda flow: _area_change(flow, minus=0),
        "the determinant is ad - bc, not ad + bc": lambda flow: _area_change(flow, minus=-1),
        "the sign says whether the flow has folded: no absolute value": lambda flow: _area_change(flow).abs(),
        "W belongs to x and H to y": lambda flow: (
            _area_change(flow, scaled=False) * (flow.shape[0] - 1) ** 2 / 4
        ),
        "differences of places need no identity taken away: at rest the determinant is 1": (
            lambda flow: _area_change(flow) - 1
        ),
        "x runs along the second axis of the tensor, y along the first: exchanged, they turn the sign": (
            lambda flow: -_area_change(flow)
        ),
        "from the first centre to the last there are W - 1 steps, not W": lambda flow: (
            _area_change(flow, scaled=False) * flow.shape[0] * flow.shape[1] / 4
        ),
    },
)


# 05 occlusion_generator


def _warp_and_mask(features, flow, occlusion, mode="bilinear", align_corners=False):
    size = features.shape[-2:]
    if mode == "nearest":
        occlusion = torch.nn.functional.interpolate(occlusion, size=size)
    else:
        occlusion = torch.nn.functional.interpolate(
            occlusion, size=size, mode=mode, align_corners=align_corners
        )
    return occlusion * warp(features, flow)


def _masked(function, batch=1, channels=2, small=(6, 8)):
    flow = coordinate_grid(6, 8) * 0.6 + 0.2 * torch.rand(batch, 6, 8, 2)
    return function(torch.rand(batch, channels, 6, 8), flow, torch.rand(batch, 1, *small))


check_warp_and_mask = Exercise(
    "warp_and_mask",
    solution=_warp_and_mask,
    cases=[
        Case("a map of the same size", _masked),
        Case("a map of half the size, three pictures", lambda f: _masked(f, 3, 4, (3, 4))),
        Case(
            "nothing moves, nothing is trusted",
            lambda f: f(torch.rand(1, 2, 4, 4), coordinate_grid(4, 4)[None], torch.zeros(1, 1, 4, 4)),
        ),
    ],
    mistakes={
        "mask after the warp: O belongs to places of the driving frame": (
            lambda features, flow, occlusion: warp(
                _warp_and_mask(features, coordinate_grid(*features.shape[-2:]).expand_as(flow), occlusion),
                flow,
            )
        ),
        "O = 1 means copy: multiply by O, not by 1 - O": (
            lambda features, flow, occlusion: _warp_and_mask(features, flow, 1 - occlusion)
        ),
        "the warp is missing": lambda features, flow, occlusion: _warp_and_mask(
            features, coordinate_grid(*features.shape[-2:]).expand_as(flow), occlusion
        ),
        "the map is missing": lambda features, flow, occlusion: warp(features, flow),
        "enlarge the map bilinearly, or it has steps": (
            lambda features, flow, occlusion: _warp_and_mask(features, flow, occlusion, mode="nearest")
        ),
        "enlarge the map with align_corners=False, as the published weights were trained": (
            lambda features, flow, occlusion: _warp_and_mask(features, flow, occlusion, align_corners=True)
        ),
    },
)


def _from_means(warped, wanted, dim=(0, 2, 3)):
    return (x - x.mean(dim=dim, keepdim=True) for x in (warped, wanted))


def _best_gain(warped, wanted):
    w, t = _from_means(warped, wanted)
    return (w * t).sum(dim=(0, 2, 3)) / (w * w).sum(dim=(0, 2, 3))


def _pooled_gain(warped, wanted):
    w, t = _from_means(warped, wanted)
    return (w * t).sum() / (w * w).sum()


def _turned_gain(warped, wanted):
    return _best_gain(wanted, warped)


def _gain_a_picture(warped, wanted):
    w, t = _from_means(warped, wanted, dim=(2, 3))
    return (w * t).sum(dim=(0, 2, 3)) / (w * w).sum(dim=(0, 2, 3))


def _correlation(warped, wanted):
    w, t = _from_means(warped, wanted)
    return (w * t).sum(dim=(0, 2, 3)) / ((w * w).sum(dim=(0, 2, 3)) * (t * t).sum(dim=(0, 2, 3))).sqrt()


def _raw_gain(warped, wanted):
    return (warped * wanted).sum(dim=(0, 2, 3)) / (warped * warped).sum(dim=(0, 2, 3))


def _place_by_place(warped, wanted):
    w, t = _from_means(warped, wanted)
    return (t / w).mean(dim=(0, 2, 3))


def _gain_of(function, factors, noise=0.0, shift=0.0):
    warped = 1 + torch.rand(3, len(factors), 4, 5)
    wanted = torch.tensor(factors).view(1, -1, 1, 1) * warped + noise * torch.randn(3, len(factors), 4, 5)
    return function(warped, wanted + shift)


check_best_gain = Exercise(
    "best_gain",
    solution=_best_gain,
    cases=[
        Case("a copy, and half a copy", lambda f: _gain_of(f, [1.0, 0.5])),
        Case("another mean, which the factor must not notice", lambda f: _gain_of(f, [1.0, 0.2], 0.0, 2.0)),
        Case("much noise", lambda f: _gain_of(f, [0.8, 0.1, -0.5], 0.3, 0.5)),
    ],
    mistakes={
        "one factor for each channel is asked for, shape (c,)": _pooled_gain,
        "divide by w w, not by t t: it is w that is given": _turned_gain,
        "that is the correlation, which forgets the scale: divide by w w": _correlation,
        "measure both from their means first": _raw_gain,
        "that takes off the mean of every picture; take the mean over batch and places, dim=(0, 2, 3)": (
            _gain_a_picture
        ),
        "a mean of quotients explodes where w is near 0: sum first, then divide": _place_by_place,
    },
)


def _readers(flow, clamp=True, swap=False, nearest=True):
    height, width = flow.shape[:2]
    pixels = to_pixels(flow, height, width)
    column, row = (pixels.round() if nearest else pixels).long().unbind(-1)
    if swap:
        column, row = row, column
    if clamp:
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    number = (row + 1000) * 10_000 + column + 1000  # whatever lies outside has a number too
    found, index = number.flatten().unique(return_inverse=True)
    return torch.bincount(index, minlength=len(found))[index].view(height, width)


def _numbers(flow, row_length):
    height, width = flow.shape[:2]
    column, row = to_pixels(flow, height, width).round().long().unbind(-1)
    return row.clamp(0, height - 1) * row_length + column.clamp(0, width - 1)


def _never_read(flow):
    height, width = flow.shape[:2]
    readers = torch.bincount(_numbers(flow, width).flatten(), minlength=height * width)
    return readers.view(height, width)


def _rows_too_short(flow):
    number = _numbers(flow, flow.shape[0])
    return torch.bincount(number.flatten())[number] > 1


def _pushed_card(height=6, width=8):
    """A patch of the result reads what its left neighbours read too."""
    flow = coordinate_grid(height, width)
    flow[2:4, 4:6] = flow[2:4, 2:4]
    return flow


check_double_reads = Exercise(
    "double_reads",
    solution=lambda flow: _readers(flow) > 1,
    cases=[
        Case("a card that appears twice: card and ghost", lambda f: f(_pushed_card())),
        Case("a flow that changes nothing: nobody shares", lambda f: f(coordinate_grid(4, 6))),
        Case(
            "all look a pixel to the right, at last beyond the border",
            lambda f: f(coordinate_grid(5, 7) + torch.tensor([1 / 3, 0.0])),
        ),
        Case("a random flow", lambda f: f(1.2 * (2 * torch.rand(6, 9, 2) - 1))),
    ],
    mistakes={
        "the counts belong to pixels of the source; each pixel of the result must look up its own": (
            lambda flow: _never_read(flow) > 1
        ),
        "a pixel is its own reader: more than one must read": lambda flow: _readers(flow) >= 1,
        "that marks those who read alone": lambda flow: _readers(flow) == 1,
        "beyond the border the border is read, so those places are shared too": (
            lambda flow: _readers(flow, clamp=False) > 1
        ),
        "x and y have changed places: (x, y) is (column, row)": lambda flow: _readers(flow, swap=True) > 1,
        "long() cuts off what stands behind the point: round() first": lambda flow: (
            _readers(flow, nearest=False) > 1
        ),
        "a row holds W pixels: number them row * W + column, or different pixels get one number": (
            _rows_too_short
        ),
        "a bool for every pixel is asked for, not the number of readers": lambda flow: _readers(flow),
    },
)


# 06 losses


def _feature_distance(ours, theirs, weights):
    return sum(w * (a - b).abs().mean() for w, a, b in zip(weights, ours, theirs, strict=True))


def _three_maps(seed):
    dice = torch.Generator().manual_seed(seed)
    return [torch.rand(2, c, s, s, generator=dice) for c, s in ((4, 8), (8, 4), (16, 2))]


check_feature_distance = Exercise(
    "feature_distance",
    solution=_feature_distance,
    cases=[
        Case("equal features", lambda f: f(_three_maps(0), _three_maps(0), [10, 10, 10])),
        Case(
            "one map, each number 2 apart",
            lambda f: f([torch.zeros(1, 3, 4, 4)], [torch.full((1, 3, 4, 4), 2.0)], [1]),
        ),
        Case(
            "three maps of different size, weights 10",
            lambda f: f(_three_maps(0), _three_maps(1), [10, 10, 10]),
        ),
        Case("different weights", lambda f: f(_three_maps(0), _three_maps(1), [1, 0, 100])),
    ],
    mistakes={
        "that is the sum over all numbers of a map; the mean is asked for": lambda ours, theirs, weights: sum(
            w * (a - b).abs().sum() for w, a, b in zip(weights, ours, theirs, strict=True)
        ),
        "the difference is squared; the paper takes its absolute value": lambda ours, theirs, weights: sum(
            w * (a - b).square().mean() for w, a, b in zip(weights, ours, theirs, strict=True)
        ),
        "without the absolute value, differences up and down cancel": lambda ours, theirs, weights: sum(
            w * (a - b).mean() for w, a, b in zip(weights, ours, theirs, strict=True)
        ),
        "the weights are left out": lambda ours, theirs, weights: sum(
            (a - b).abs().mean() for a, b in zip(ours, theirs, strict=True)
        ),
        "that is the mean over the maps; their weighted sum is asked for": lambda ours, theirs, weights: (
            _feature_distance(ours, theirs, weights) / len(weights)
        ),
    },
)


def _receptive_field(num_blocks):
    field, stride = 1, 1
    for block in range(num_blocks):
        field += 3 * stride
        if block < num_blocks - 1:
            field += stride
            stride *= 2
    return field


def _strideless_field(num_blocks):
    return 4 + 4 * (num_blocks - 1)


def _pooled_to_the_end(num_blocks):
    return _receptive_field(num_blocks) + 2 ** (num_blocks - 1)


def _pooled_by_double_steps(num_blocks):
    return _receptive_field(num_blocks) + 2 ** (num_blocks - 1) - 1


check_receptive_field = Exercise(
    "receptive_field",
    solution=_receptive_field,
    cases=[
        Case("1 block: one convolution of 4 x 4", lambda f: f(1)),
        Case("2 blocks", lambda f: f(2)),
        Case("3 blocks, as in heads-64", lambda f: f(3)),
        Case("4 blocks, as published", lambda f: f(4)),
    ],
    mistakes={
        "the last block does not pool": _pooled_to_the_end,
        "after a pool of 2, one step to the side is two pixels of the picture": _strideless_field,
        "the pool itself looks at two neighbours: it widens the field by one step": (
            lambda num_blocks: 1 + 3 * (2**num_blocks - 1)
        ),
        "that is the distance between neighbouring patches, not the side of one": (
            lambda num_blocks: 2 ** (num_blocks - 1)
        ),
        "the field begins with the one pixel itself": lambda num_blocks: _receptive_field(num_blocks) - 1,
        "a pool widens the field by one step of before it; only then does the step double": (
            _pooled_by_double_steps
        ),
    },
)


def _adversarial_losses(on_real, on_fake):
    return (1 - on_fake).square().mean(), (1 - on_real).square().mean() + on_fake.square().mean()


check_adversarial_losses = Exercise(
    "adversarial_losses",
    solution=_adversarial_losses,
    cases=[
        Case("a judge who is right everywhere", lambda f: f(torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3))),
        Case("0.9 to the real, 0.2 to the generated", lambda f: f(torch.tensor([0.9]), torch.tensor([0.2]))),
        Case(
            "a judge who says 0.5 everywhere",
            lambda f: f(torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), 0.5)),
        ),
        Case("maps of random numbers", lambda f: f(torch.randn(4, 1, 5, 5), torch.randn(4, 1, 5, 5))),
    ],
    mistakes={
        "generator and discriminator have changed places: the generator's comes first": (
            lambda on_real, on_fake: _adversarial_losses(on_real, on_fake)[::-1]
        ),
        "the generator wants 1 for what it made, not 0": lambda on_real, on_fake: (
            on_fake.square().mean(),
            _adversarial_losses(on_real, on_fake)[1],
        ),
        "real and generated have changed places": lambda on_real, on_fake: _adversarial_losses(
            on_fake, on_real
        ),
        "there is no half in front of the discriminator's": lambda on_real, on_fake: (
            _adversarial_losses(on_real, on_fake)[0],
            _adversarial_losses(on_real, on_fake)[1] / 2,
        ),
        "judge each patch, and take the mean last: a mean hides the patches": lambda on_real, on_fake: (
            _adversarial_losses(on_real.mean(), on_fake.mean())
        ),
        "the discriminator shall say 1 to the real and 0 to the generated": lambda on_real, on_fake: (
            _adversarial_losses(on_real, on_fake)[0],
            _adversarial_losses(on_fake, on_real)[1],
        ),
        "those are absolute differences; least squares are asked for": lambda on_real, on_fake: (
            (1 - on_fake).abs().mean(),
            (1 - on_real).abs().mean() + on_fake.abs().mean(),
        ),
        "both halves of the discriminator's loss are wanted: the real and the generated": (
            lambda on_real, on_fake: (
                _adversarial_losses(on_real, on_fake)[0],
                (1 - on_real).square().mean(),
            )
        ),
    },
)


def _jacobian_equivariance(jacobian, slope, jacobian_warped):
    product = inverse_2x2(jacobian) @ slope @ jacobian_warped
    return (torch.eye(2) - product).abs().mean()


def _turned(degrees, factor=1.0):
    angle = torch.tensor(math.radians(degrees))
    return factor * torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    ).view(1, 1, 2, 2)


def _some_jacobians(seed):
    dice = torch.Generator().manual_seed(seed)
    return torch.eye(2) + 0.3 * torch.randn(2, 5, 2, 2, generator=dice)


check_jacobian_equivariance = Exercise(
    "jacobian_equivariance",
    solution=_jacobian_equivariance,
    cases=[
        Case(
            "a detector that feels a turn of 30 degrees", lambda f: f(_turned(0), _turned(30), _turned(-30))
        ),
        Case("one that does not feel it", lambda f: f(_turned(0), _turned(30), _turned(0))),
        Case(
            "Jacobians half as large as they were", lambda f: f(_turned(0, 0.5), _turned(0), _turned(0, 0.25))
        ),
        Case(
            "2 pictures of 5 keypoints",
            lambda f: f(_some_jacobians(0), _some_jacobians(1), _some_jacobians(2)),
        ),
    ],
    mistakes={
        "J itself stands there, not its inverse": lambda jacobian, slope, jacobian_warped: (
            (torch.eye(2) - jacobian @ slope @ jacobian_warped).abs().mean()
        ),
        "J - T' J' is small for small Jacobians too; multiply by the inverse of J": (
            lambda jacobian, slope, jacobian_warped: (jacobian - slope @ jacobian_warped).abs().mean()
        ),
        "T' is missing": lambda jacobian, slope, jacobian_warped: _jacobian_equivariance(
            jacobian, torch.eye(2).expand_as(slope), jacobian_warped
        ),
        "J' is applied first, so it stands last: T' J', not J' T'": (
            lambda jacobian, slope, jacobian_warped: (
                (torch.eye(2) - inverse_2x2(jacobian) @ jacobian_warped @ slope).abs().mean()
            )
        ),
        "the paper takes the absolute value, not the square": lambda jacobian, slope, jacobian_warped: (
            (torch.eye(2) - inverse_2x2(jacobian) @ slope @ jacobian_warped).square().mean()
        ),
        "compare the product with the identity: it should be I, not 0": (
            lambda jacobian, slope, jacobian_warped: (
                (inverse_2x2(jacobian) @ slope @ jacobian_warped).abs().mean()
            )
        ),
        "`*` multiplies entry by entry; `@` multiplies matrices": lambda jacobian, slope, jacobian_warped: (
            (torch.eye(2) - inverse_2x2(jacobian) * slope * jacobian_warped).abs().mean()
        ),
        "the inverse of J stands first, not last": lambda jacobian, slope, jacobian_warped: (
            (torch.eye(2) - slope @ jacobian_warped @ inverse_2x2(jacobian)).abs().mean()
        ),
    },
)


# 09 evaluation


def _keypoint_distance(found, true):
    both = np.isfinite(found[:, 0, 0]) & np.isfinite(true[:, 0, 0])
    return float(np.abs(found[both] - true[both]).mean()) if both.any() else float("nan")


def _landmarks(function, missing_found=(), missing_true=(), shift=(0.0, 0.0)):
    rng = np.random.default_rng(0)
    true = rng.uniform(50, 200, (4, 68, 2))
    found = true + rng.normal(0, 2, true.shape) + np.array(shift)
    found[list(missing_found)], true[list(missing_true)] = np.nan, np.nan
    return function(found, true)


check_keypoint_distance = Exercise(
    "keypoint_distance",
    solution=_keypoint_distance,
    cases=[
        Case("shifted by 6 pixels to the right", lambda f: _landmarks(f, shift=(6.0, 0.0))),
        Case("no face was found in one frame", lambda f: _landmarks(f, missing_found=[2])),
        Case("one missing here, another there", lambda f: _landmarks(f, [0, 2], [3], (1.0, 4.0))),
        Case("no frame has both", lambda f: _landmarks(f, [0, 1], [2, 3])),
    ],
    mistakes={
        "that is the Euclidean distance; published is the mean of |dx| and |dy|": lambda found, true: float(
            np.nanmean(np.linalg.norm(found - true, axis=-1))
        ),
        "x and y are averaged, not added": lambda found, true: float(
            np.nanmean(np.abs(found - true).sum(axis=-1))
        ),
        "without the absolute value, errors cancel": lambda found, true: float(np.nanmean(found - true)),
        "a frame without a face makes all of it NaN: leave it out": lambda found, true: float(
            np.abs(found - true).mean()
        ),
        "a face that is missing is no error of 0: leave the frame out": lambda found, true: float(
            np.nan_to_num(np.abs(found - true)).mean()
        ),
    },
)


def _flow_error(flow, true_flow, visible):
    return float((flow - true_flow).norm(dim=-1)[visible].mean() * 128)


def _two_flows(function, shift=(3 / 128, 4 / 128), hidden=0, noise=0.0):
    generator = torch.Generator().manual_seed(0)
    true_flow = coordinate_grid(8, 8)
    flow = true_flow + torch.tensor(shift) + noise * torch.randn(8, 8, 2, generator=generator)
    visible = torch.ones(8, 8, dtype=torch.bool)
    visible[:hidden] = False
    flow[:hidden] += 1.0  # what is hidden may be anywhere
    return function(flow, true_flow, visible)


check_flow_error = Exercise(
    "flow_error",
    solution=_flow_error,
    cases=[
        Case("shifted by 3 pixels across and 4 down", _two_flows),
        Case("three rows are hidden", lambda f: _two_flows(f, hidden=3)),
        Case("with noise", lambda f: _two_flows(f, hidden=2, noise=0.05)),
    ],
    mistakes={
        "a unit of [-1, 1] is 128 pixels of a picture of 256": lambda flow, true_flow, visible: float(
            (flow - true_flow).norm(dim=-1)[visible].mean()
        ),
        "that is the mean of |dx| and |dy|; the length is asked for": lambda flow, true_flow, visible: float(
            (flow - true_flow).abs()[visible].mean() * 128
        ),
        "hidden pixels have no right answer: leave them out": lambda flow, true_flow, visible: float(
            (flow - true_flow).norm(dim=-1).mean() * 128
        ),
        "a sum over visible pixels must be divided by their number": lambda flow, true_flow, visible: float(
            ((flow - true_flow).norm(dim=-1) * visible).mean() * 128
        ),
        "that is the root of the mean square": lambda flow, true_flow, visible: float(
            (flow - true_flow).square().sum(-1)[visible].mean().sqrt() * 128
        ),
    },
)


def _percentile_interval(values, drawn, confidence=0.95):
    rest = (1 - confidence) / 2
    low, high = np.quantile(values[drawn].mean(axis=1), [rest, 1 - rest])
    return float(low), float(high)


def _some_videos(function, confidence=0.95, number=12):
    rng = np.random.default_rng(1)
    values = rng.gamma(2.0, size=number)
    return function(values, rng.integers(number, size=(400, number)), confidence)


check_percentile_interval = Exercise(
    "percentile_interval",
    solution=_percentile_interval,
    cases=[
        Case("videos that are all alike", lambda f: f(np.full(5, 2.0), np.zeros((10, 5), int), 0.95)),
        Case("twelve videos, 95 %", _some_videos),
        Case("five videos, 80 %", lambda f: _some_videos(f, 0.8, 5)),
    ],
    mistakes={
        "that is how videos differ; the means of the draws are asked for": (
            lambda values, drawn, confidence: tuple(
                np.quantile(values[drawn], [(1 - confidence) / 2, (1 + confidence) / 2])
            )
        ),
        "half of what is left out lies on each side": lambda values, drawn, confidence: tuple(
            np.quantile(values[drawn].mean(axis=1), [1 - confidence, confidence])
        ),
        "a mean over each draw, not over each place in the draws": lambda values, drawn, confidence: tuple(
            np.quantile(values[drawn].mean(axis=0), [(1 - confidence) / 2, (1 + confidence) / 2])
        ),
        "high comes second": lambda values, drawn, confidence: tuple(
            np.quantile(values[drawn].mean(axis=1), [(1 + confidence) / 2, (1 - confidence) / 2])
        ),
    },
)


# 07 training


def _learning_rate(step, epoch, base, milestones, warmup):
    passed = sum(milestone <= epoch for milestone in milestones)
    return base * 0.1**passed * (min(1.0, step / warmup) if warmup else 1.0)


def _without_ramp(step, epoch, base, milestones, warmup):
    return _learning_rate(step, epoch, base, milestones, 0)


check_learning_rate = Exercise(
    "learning_rate",
    solution=_learning_rate,
    cases=[
        Case("the first step, nothing special", lambda f: f(1, 0, 2e-4, [60, 90], 0)),
        Case("epoch 59, the last before a milestone", lambda f: f(5000, 59, 2e-4, [60, 90], 0)),
        Case("epoch 60, a milestone", lambda f: f(5001, 60, 2e-4, [60, 90], 0)),
        Case("epoch 95, both milestones passed", lambda f: f(9000, 95, 2e-4, [60, 90], 0)),
        Case("step 1 of a ramp of 100", lambda f: f(1, 0, 1e-3, [], 100)),
        Case("step 50 of a ramp of 100", lambda f: f(50, 0, 1e-3, [], 100)),
        Case("step 300, after the ramp", lambda f: f(300, 3, 1e-3, [10], 100)),
        Case("a ramp that lasts beyond a milestone", lambda f: f(80, 2, 1e-3, [1], 100)),
    ],
    mistakes={
        "the milestone's own epoch has the lower rate already": lambda s, e, base, milestones, w: (
            _learning_rate(s, e - 1, base, milestones, w)
        ),
        "every milestone counts: two of them leave a hundredth": lambda s, e, base, milestones, w: (
            _learning_rate(s, e, base, milestones[:1], w)
        ),
        "the ramp is missing": _without_ramp,
        "the ramp goes on growing: it ends at 1": lambda s, e, base, milestones, w: (
            _without_ramp(s, e, base, milestones, 0) * (s / w if w else 1.0)
        ),
    },
    atol=1e-12,
)


def _shorten(gradients, limit):
    length = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
    return [gradient * min(1.0, float(limit / length)) for gradient in gradients]


def _three_gradients():
    return [torch.tensor([3.0, 0.0]), torch.tensor([[0.0, 4.0]]), torch.tensor(12.0)]  # together of length 13


check_shorten = Exercise(
    "shorten",
    solution=_shorten,
    cases=[
        Case("one gradient of four numbers", lambda f: f([torch.tensor([1.0, -1.0, 1.0, -1.0])], 1.0)),
        Case("length 13, limit 1", lambda f: f(_three_gradients(), 1.0)),
        Case("length 13, limit 100: short enough", lambda f: f(_three_gradients(), 100.0)),
        Case("length 13, limit 6.5", lambda f: f(_three_gradients(), 6.5)),
    ],
    mistakes={
        "all gradients are one long arrow: take the length of all together": lambda gradients, limit: (
            [_shorten([gradient], limit)[0] for gradient in gradients]
        ),
        "what is short enough stays as it is": lambda gradients, limit: [
            gradient * float(limit / torch.sqrt(sum(g.square().sum() for g in gradients)))
            for gradient in gradients
        ],
        "that cuts numbers one by one, which turns the arrow": lambda gradients, limit: [
            gradient.clamp(-limit, limit) for gradient in gradients
        ],
        "the length is the root of the sum of squares": lambda gradients, limit: [
            gradient * min(1.0, limit / float(sum(g.square().sum() for g in gradients)))
            for gradient in gradients
        ],
    },
)


def _place_of_step(done, epoch_length):
    return divmod(done, epoch_length)


check_place_of_step = Exercise(
    "place_of_step",
    solution=_place_of_step,
    cases=[
        Case("nothing done", lambda f: f(0, 150)),
        Case("the middle of epoch 2", lambda f: f(350, 150)),
        Case("epoch 2 is just done", lambda f: f(450, 150)),
        Case("epochs of one batch", lambda f: f(7, 1)),
    ],
    mistakes={
        "that repeats the whole epoch: go on with its next batch": lambda done, length: (done // length, 0),
        "that repeats the last step: `done` steps are done, and batches count from 0": lambda done, length: (
            divmod(max(done - 1, 0), length)
        ),
        "that leaves out a batch: batches count from 0, so the number done is the number of the next": (
            lambda done, length: (done // length, done % length + 1)
        ),
    },
)


# 08 animation


def _relative_place(p_source, p_driving, p_initial, scale=1.0):
    return p_source + scale * (p_driving - p_initial)


def _three_sets(seed, jacobian=False):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(3, 4, 2, 2, generator=generator)
    return torch.eye(2) + 0.4 * noise if jacobian else noise[..., 0]


check_relative_place = Exercise(
    "relative_place",
    solution=_relative_place,
    cases=[
        Case("four points of each, scale 1", lambda f: f(*_three_sets(0))),
        Case("four points of each, scale 0.5", lambda f: f(*_three_sets(1), scale=0.5)),
        Case("nothing has moved", lambda f: f(*_three_sets(2)[[0, 1, 1]])),
    ],
    mistakes={
        "that is absolute: only the movement since the reference is wanted": (
            lambda p_source, p_driving, p_initial, scale=1.0: p_driving
        ),
        "the movement is driving minus initial, and not the other way round": (
            lambda p_source, p_driving, p_initial, scale=1.0: p_source + scale * (p_initial - p_driving)
        ),
        "the scale is of the movement, not of the whole": (
            lambda p_source, p_driving, p_initial, scale=1.0: scale * (p_source + p_driving - p_initial)
        ),
        "the scale is missing": (
            lambda p_source, p_driving, p_initial, scale=1.0: p_source + p_driving - p_initial
        ),
    },
)


def _relative_jacobian(j_source, j_driving, j_initial):
    return multiply_2x2(multiply_2x2(j_driving, inverse_2x2(j_initial)), j_source)


check_relative_jacobian = Exercise(
    "relative_jacobian",
    solution=_relative_jacobian,
    cases=[
        Case("four matrices of each", lambda f: f(*_three_sets(0, jacobian=True))),
        Case("nothing has moved", lambda f: f(*_three_sets(2, jacobian=True)[[0, 1, 1]])),
        Case("the driving head is the source", lambda f: f(*_three_sets(3, jacobian=True)[[0, 1, 0]])),
    ],
    mistakes={
        "the order: the change since the reference comes last, so it stands first": (
            lambda j_source, j_driving, j_initial: multiply_2x2(
                j_source, multiply_2x2(j_driving, inverse_2x2(j_initial))
            )
        ),
        "undo the reference, then do the driving one: J_driving J_initial^-1": (
            lambda j_source, j_driving, j_initial: multiply_2x2(
                multiply_2x2(inverse_2x2(j_initial), j_driving), j_source
            )
        ),
        "the inverse is missing": lambda j_source, j_driving, j_initial: multiply_2x2(
            multiply_2x2(j_driving, j_initial), j_source
        ),
        "matrices change by a product, places by a sum": lambda j_source, j_driving, j_initial: (
            j_source + j_driving - j_initial
        ),
    },
    rtol=1e-3,
    atol=1e-4,
)


def _nearest_pose(source, poses, centred=True, scaled=True, farthest=False):
    def shape(points):
        if centred:
            points = points - points.mean(dim=-2, keepdim=True)
        return points / points.square().sum(dim=(-2, -1), keepdim=True).sqrt() if scaled else points

    distance = (shape(poses) - shape(source)).square().sum(dim=(-2, -1))
    return int(distance.argmax() if farthest else distance.argmin())


def _poses(function, shift, size):
    """Six poses, of which the fifth is the source's, elsewhere and of another size."""
    generator = torch.Generator().manual_seed(4)
    source = torch.rand(5, 2, generator=generator) - 0.5
    poses = source + 0.25 * torch.randn(6, 5, 2, generator=generator)
    poses[4] = size * source + torch.tensor(shift)
    return function(source, poses)


check_nearest_pose = Exercise(
    "nearest_pose",
    solution=_nearest_pose,
    cases=[
        Case("the pose is among them", lambda f: _poses(f, (0.0, 0.0), 1.0)),
        Case("the pose is among them, far to the right", lambda f: _poses(f, (2.0, 0.3), 1.0)),
        Case("the pose is among them, three times as large", lambda f: _poses(f, (0.0, 0.0), 3.0)),
    ],
    mistakes={
        "where the head is must not count: take the mean of each set of points off": (
            lambda source, poses: _nearest_pose(source, poses, centred=False)
        ),
        "how large the head is must not count: divide by the size of each set of points": (
            lambda source, poses: _nearest_pose(source, poses, scaled=False)
        ),
        "that is the pose farthest from it": (
            lambda source, poses: _nearest_pose(source, poses, farthest=True)
        ),
    },
)


# The public names are the checks; the machinery above serves whoever writes new ones.
__all__ = sorted(name for name in globals() if name.startswith("check_"))
