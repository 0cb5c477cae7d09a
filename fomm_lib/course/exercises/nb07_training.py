"""Checks for notebook 07, training: the order of two updates, gradient clipping, Adam and a loss's size."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment


def _update_both(
    generator,
    discriminator,
    optimizer_g,
    optimizer_d,
    noise,
    real,
    drops_g="just before",
    drops_d="just before",
    detaches=True,
    anew=False,
    discriminator_first=False,
):
    """One step of both networks; the last five arguments are for typical mistakes."""
    fake = generator(noise)

    def update_discriminator():
        if drops_d == "just before":
            optimizer_d.zero_grad()
        image = generator(noise) if anew else fake
        on_real, on_fake = discriminator(real), discriminator(image.detach() if detaches else image)
        loss_d = (1 - on_real).square().mean() + on_fake.square().mean()
        loss_d.backward(retain_graph=True)
        if drops_d == "too late":
            optimizer_d.zero_grad()
        optimizer_d.step()
        return loss_d.item()

    if discriminator_first:
        loss_d = update_discriminator()
    if drops_g == "just before":
        optimizer_g.zero_grad()
    if drops_d == "before":
        optimizer_d.zero_grad()
    loss_g = (1 - discriminator(fake)).square().mean()
    loss_g.backward(retain_graph=True)
    if drops_g == "too late":
        optimizer_g.zero_grad()
    optimizer_g.step()
    if not discriminator_first:
        loss_d = update_discriminator()
    return loss_g.item(), loss_d


def _after(function, steps, noisy=False, what="weights"):
    """Two linear networks after some steps, as one vector, or the losses of the last step."""
    torch.manual_seed(5)
    generator, discriminator = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (generator, discriminator)]
    if noisy:  # gradients that an earlier step has left
        for part in (generator, discriminator):
            part(torch.ones(1, 1)).sum().backward()
    noise, real = torch.tensor([[0.5], [-1.0], [2.0]]), torch.tensor([[1.0], [1.5], [3.0]])
    for _ in range(steps):
        found = function(generator, discriminator, *optimizers, noise, real)
    if what == "losses":
        return found
    parts = (generator, discriminator)
    return torch.cat([weight.detach().flatten() for part in parts for weight in part.parameters()])


check_update_both = Exercise(
    "update_both",
    solution=_update_both,
    given=partial(_update_both, drops_d="before"),
    cases=[
        Case("the losses", lambda f: _after(f, 1, what="losses")),
        Case("weights after a second step", lambda f: _after(f, 1, noisy=True)),
        Case("weights after one step", lambda f: _after(f, 1)),
        Case("weights after five steps", lambda f: _after(f, 5)),
    ],
    mistakes={
        "now nothing drops the discriminator's gradients; drop them just before loss_d.backward()": {
            "drops_d": None
        },
        "the generator's gradients must be dropped too, before loss_g.backward()": {"drops_g": None},
        "now nothing drops any gradient: they are added from step to step": {
            "drops_g": None,
            "drops_d": None,
        },
        "the step needs the gradients of loss_d.backward(): drop the old ones before it": {
            "drops_d": "too late"
        },
        "the generator gets no gradient: zero_grad() before loss_g.backward(), no detach()": {
            "drops_g": "too late"
        },
        "the order of the updates was right: first the generator, then the discriminator": {
            "discriminator_first": True
        },
        "reuse the image made above; the generator has changed since": {"anew": True},
    },
)


def _length(gradients):
    return torch.sqrt(sum(gradient.square().sum() for gradient in gradients))


def _shorten(gradients, limit, length=_length, limited=lambda factor: min(1.0, factor)):
    factor = limited(limit / float(length(gradients)))
    return [gradient * factor for gradient in gradients]


def _three_gradients():
    """Together they have length 13."""
    return [torch.tensor([3.0, 0.0]), torch.tensor([[0.0, 4.0]]), torch.tensor(12.0)]


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
        "gradients that are short enough do not change": {"limited": lambda factor: factor},
        "that limits numbers one by one, which changes the direction": lambda gradients, limit: [
            gradient.clamp(-limit, limit) for gradient in gradients
        ],
        "lengths do not add: the length of all is the square root of the sum of all squares": {
            "length": lambda gradients: sum(gradient.norm() for gradient in gradients)
        },
        "a gradient that is too long should have the length of the limit, not 1": lambda gradients, limit: (
            gradients if _length(gradients) <= limit else _shorten(gradients, 1.0)
        ),
        "that scales up: the factor is at most 1": {"limited": lambda factor: max(1.0, factor)},
        "the length is the square root of the sum of squares": {
            "length": lambda gradients: sum(gradient.square().sum() for gradient in gradients)
        },
    },
)


def _distance_moved(factor, optimizer=torch.optim.Adam, rate=0.1, steps=10, length=2, drops=True, start=None):
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    chosen = optimizer([weight], lr=rate)
    for _ in range(steps):
        if drops:
            chosen.zero_grad()
        (factor * weight.square().sum()).backward()
        chosen.step()
    start = torch.tensor([1.0, -2.0]) if start is None else start
    return float((weight.detach() - start).norm(p=length))


check_distance_moved = Experiment(
    "distance_moved",
    measure=_distance_moved,
    settings=[1, 10, 100],
    answer="stays",
    mistakes={
        "that is SGD with lr=0.001; its distance grows with the loss. Now measure Adam": {
            "optimizer": torch.optim.SGD,
            "rate": 0.001,
        },
        "that is one step; take ten": {"steps": 1},
        "that is the sum of both distances; take the Euclidean length": {"length": 1},
        "gradients are added from step to step: zero_grad() is missing": {"drops": False},
        "that is the length of the weights at the end; subtract the start": {"start": torch.zeros(2)},
        "weight.detach() shares its memory, so the start moves along: copy it with clone()": lambda factor: (
            0.0
        ),
    },
    why="Adam divides every gradient by its usual size",
    rtol=0.01,
)
