"""Checks for notebook 07, training: learning rate, gradient clipping, the place of a step."""

from __future__ import annotations

import torch

from fomm_lib.course.exercises.checker import Case, Exercise


def _learning_rate(step, epoch, base, milestones, warmup):
    passed = sum(milestone <= epoch for milestone in milestones)
    return base * 0.1**passed * (min(1.0, step / warmup) if warmup else 1.0)


def _without_ramp(step, epoch, base, milestones, warmup):
    return _learning_rate(step, epoch, base, milestones, 0)


check_learning_rate = Exercise(
    "learning_rate",
    solution=_learning_rate,
    cases=[
        Case("the first step, without a ramp", lambda f: f(1, 0, 2e-4, [60, 90], 0)),
        Case("epoch 59, the last before a milestone", lambda f: f(5000, 59, 2e-4, [60, 90], 0)),
        Case("epoch 60, a milestone", lambda f: f(5001, 60, 2e-4, [60, 90], 0)),
        Case("epoch 95, both milestones passed", lambda f: f(9000, 95, 2e-4, [60, 90], 0)),
        Case("step 1 of a ramp of 100", lambda f: f(1, 0, 1e-3, [], 100)),
        Case("step 50 of a ramp of 100", lambda f: f(50, 0, 1e-3, [], 100)),
        Case("step 300, after the ramp", lambda f: f(300, 3, 1e-3, [10], 100)),
        Case("a ramp that lasts beyond a milestone", lambda f: f(80, 2, 1e-3, [1], 100)),
    ],
    mistakes={
        "the milestone's own epoch already has the lower rate": lambda s, e, base, milestones, w: (
            _learning_rate(s, e - 1, base, milestones, w)
        ),
        "every milestone counts: two of them give a hundredth": lambda s, e, base, milestones, w: (
            _learning_rate(s, e, base, milestones[:1], w)
        ),
        "the ramp is missing": _without_ramp,
        "the ramp must end at 1": lambda s, e, base, milestones, w: (
            _without_ramp(s, e, base, milestones, 0) * (s / w if w else 1.0)
        ),
    },
    atol=1e-12,
)


def _shorten(gradients, limit):
    length = torch.sqrt(sum(gradient.square().sum() for gradient in gradients))
    return [gradient * min(1.0, float(limit / length)) for gradient in gradients]


def _three_gradients():
    return [
        torch.tensor([3.0, 0.0]),
        torch.tensor([[0.0, 4.0]]),
        torch.tensor(12.0),
    ]  # together they have length 13


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
        "all gradients are one long vector: take the length of all together": lambda gradients, limit: (
            [_shorten([gradient], limit)[0] for gradient in gradients]
        ),
        "gradients that are short enough do not change": lambda gradients, limit: [
            gradient * float(limit / torch.sqrt(sum(g.square().sum() for g in gradients)))
            for gradient in gradients
        ],
        "that limits numbers one by one, which changes the direction": lambda gradients, limit: [
            gradient.clamp(-limit, limit) for gradient in gradients
        ],
        "the length is the square root of the sum of squares": lambda gradients, limit: [
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
        Case("no steps done", lambda f: f(0, 150)),
        Case("the middle of epoch 2", lambda f: f(350, 150)),
        Case("epoch 2 is just finished", lambda f: f(450, 150)),
        Case("epochs of one batch", lambda f: f(7, 1)),
    ],
    mistakes={
        "that repeats the whole epoch: continue with its next batch": lambda done, length: (
            done // length,
            0,
        ),
        "that repeats the last step: `done` steps are done, and batches count from 0": lambda done, length: (
            divmod(max(done - 1, 0), length)
        ),
        "that skips a batch: batches count from 0, so the number done is the number of the next": (
            lambda done, length: (done // length, done % length + 1)
        ),
    },
)
