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
    drops_g=True,
    drops_d="after",
    detaches=True,
    anew=False,
    discriminator_first=False,
):
    """One step of both networks; the last five arguments are for typical mistakes."""
    fake = generator(noise)

    def update_discriminator():
        if drops_d == "after":
            optimizer_d.zero_grad()
        image = generator(noise) if anew else fake
        on_real, on_fake = discriminator(real), discriminator(image.detach() if detaches else image)
        loss_d = (1 - on_real).square().mean() + on_fake.square().mean()
        loss_d.backward(retain_graph=True)
        optimizer_d.step()
        return loss_d.item()

    if discriminator_first:
        loss_d = update_discriminator()
    if drops_g:
        optimizer_g.zero_grad()
    if drops_d == "before":
        optimizer_d.zero_grad()
    loss_g = (1 - discriminator(fake)).square().mean()
    loss_g.backward(retain_graph=True)
    optimizer_g.step()
    if not discriminator_first:
        loss_d = update_discriminator()
    return loss_g.item(), loss_d


def _error_when_nothing_is_dropped(*arguments):
    return _update_both(*arguments, drops_g=False, drops_d=None)


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
        "now nothing drops the discriminator's gradients; drop them just before loss_d.backward()": partial(
            _update_both, drops_d=None
        ),
        "the generator's gradients must be dropped too, before loss_g.backward()": partial(
            _update_both, drops_g=False
        ),
        "now nothing drops any gradient: they are added from step to step": _error_when_nothing_is_dropped,
        "the order of the updates was right: first the generator, then the discriminator": partial(
            _update_both, discriminator_first=True
        ),
        "reuse the image made above; the generator has changed since": partial(_update_both, anew=True),
    },
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


def _distance_moved(factor, optimizer=torch.optim.Adam, rate=0.1, steps=10, length=2):
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    chosen = optimizer([weight], lr=rate)
    for _ in range(steps):
        chosen.zero_grad()
        (factor * weight.square().sum()).backward()
        chosen.step()
    return float((weight.detach() - torch.tensor([1.0, -2.0])).norm(p=length))


check_distance_moved = Experiment(
    "distance_moved",
    measure=_distance_moved,
    settings=[1, 10, 100],
    answer="stays",
    mistakes={
        "that is SGD with lr=0.001; its distance grows with the loss. Now measure Adam": partial(
            _distance_moved, optimizer=torch.optim.SGD, rate=0.001
        ),
        "that is one step; take ten": partial(_distance_moved, steps=1),
        "that is the sum of both distances; take the Euclidean length": partial(_distance_moved, length=1),
    },
    why="Adam divides every gradient by its usual size",
)
