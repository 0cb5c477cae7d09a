"""Checks for notebook 10, image translation: patches, conditional GANs, cycles, the pool of images."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.family.cyclegan import ImagePool
from fomm_lib.gan import binary_cross_entropy


def _patch_pixels(layers, too_early=False):
    field, distance = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * distance * (stride if too_early else 1)
        distance *= stride
    return field


def _without_strides(layers):
    return 1 + sum(kernel - 1 for kernel, _ in layers)


def _own_stride_only(layers):
    return 1 + sum((kernel - 1) * stride for kernel, stride in layers)


check_patch_pixels = Exercise(
    "patch_pixels",
    solution=_patch_pixels,
    cases=[
        Case("one 4x4 convolution", lambda f: f([(4, 1)])),
        Case("two 3x3 convolutions of stride 1", lambda f: f([(3, 1), (3, 1)])),
        Case("4x4 twice with stride 2, then with stride 1", lambda f: f([(4, 2), (4, 2), (4, 1)])),
        Case("the published discriminator", lambda f: f([(4, 2)] * 3 + [(4, 1)] * 2)),
        Case("five layers of different kinds", lambda f: f([(7, 1), (3, 2), (3, 2), (5, 1), (4, 3)])),
    ],
    mistakes={
        "the strides of the layers before are not used: they set the distance of neighbouring outputs": (
            _without_strides
        ),
        "a layer's own stride counts only from the next layer on": partial(_patch_pixels, too_early=True),
        "the distance is the product of all strides so far, not the stride of this layer": _own_stride_only,
        "the layers are walked from the output to the input; in this direction the rule is another one": (
            lambda layers: _patch_pixels(layers[::-1])
        ),
        "start with a field of 1 pixel, not 0": lambda layers: _patch_pixels(layers) - 1,
    },
)


def _conditional_loss(discriminator, inputs, targets, fake, detaches=True):
    on_real = discriminator(torch.cat([inputs, targets], dim=1))
    on_fake = discriminator(torch.cat([inputs, fake.detach() if detaches else fake], dim=1))
    real = binary_cross_entropy(on_real, 1.0, from_logits=True)
    return (real + binary_cross_entropy(on_fake, 0.0, from_logits=True)) / 2


def _one_sided(discriminator, inputs, targets, fake):
    return binary_cross_entropy(discriminator(torch.cat([inputs, targets], dim=1)), 1.0, from_logits=True)


def _exchanged(discriminator, inputs, targets, fake):
    return _conditional_loss(discriminator, inputs, fake, targets)


def _without_labels(discriminator, inputs, targets, fake):
    return _conditional_loss(discriminator, torch.zeros_like(inputs), targets, fake)


def _through_sigmoid(discriminator, inputs, targets, fake):
    return _conditional_loss(lambda x: discriminator(x).sigmoid(), inputs, targets, fake)


def _linear_discriminator(images):
    weight = torch.linspace(-1.5, 2, 6)[:, None, None]
    return (weight * images).sum(dim=1, keepdim=True)


def _images(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(3, 2, 3, 4, 4, generator=generator) - 1).unbind(0)


def _ask_gradient(loss):
    inputs, targets, fake = _images(2)
    fake.requires_grad_(True)
    value = loss(_linear_discriminator, inputs, targets, fake)
    if isinstance(value, torch.Tensor) and value.requires_grad:
        value.backward()
    return (
        "a gradient reaches the generator" if fake.grad is not None else "no gradient reaches the generator"
    )


check_conditional_loss = Exercise(
    "conditional_loss",
    solution=_conditional_loss,
    cases=[
        Case("an undecided discriminator", lambda f: f(lambda x: 0 * x[:, :1], *_images(0))),
        Case("a linear discriminator", lambda f: f(_linear_discriminator, *_images(1))),
        Case("the gradient with respect to the generated image", _ask_gradient),
    ],
    mistakes={
        "that is the sum of both terms; the half of the definition is missing": (
            lambda *a: 2 * _conditional_loss(*a)
        ),
        "the generated image has no term": _one_sided,
        "detach the generated image: this loss must not train the generator": partial(
            _conditional_loss, detaches=False
        ),
        "true and generated images are exchanged: the true ones have the target 1": _exchanged,
        "the discriminator does not get the labels: concatenate them along the channels": _without_labels,
        "the discriminator gives logits; a sigmoid before from_logits=True is one too many": _through_sigmoid,
    },
)


def _best_colour(values, loss, steps=400):
    colour = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([colour], lr=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        optimizer.zero_grad()
        loss(values - colour).backward()
        optimizer.step()
    return float(colour.detach())


def _absolute(error):
    return error.abs().mean()


def _squared(error):
    return error.square().mean()


SHIRTS = torch.tensor([0.4] * 60 + [-0.2] * 40)
THREE_COLOURS = torch.tensor([-0.9] * 4 + [0.1] * 3 + [0.9] * 3)

check_best_colour = Exercise(
    "best_colour",
    solution=_best_colour,
    cases=[
        Case("three colours, squared error", lambda f: f(THREE_COLOURS, _squared)),
        Case("60 shirts of 0.4 and 40 of -0.2, squared error", lambda f: f(SHIRTS, _squared)),
        Case("60 shirts of 0.4 and 40 of -0.2, absolute error", lambda f: f(SHIRTS, _absolute)),
    ],
    mistakes={
        "that is the mean, whatever the loss is: let the loss decide": lambda values, loss: float(
            values.mean()
        ),
        "that is the median, whatever the loss is: let the loss decide": (
            lambda values, loss: float(values.median())
        ),
        "that is the most frequent colour, whatever the loss is": lambda values, loss: float(
            values.mode().values
        ),
        "the colour has not arrived; take more steps": lambda values, loss: _best_colour(values, loss, 8),
    },
    rtol=0.05,
    atol=0.01,
)


def _pool_query(
    stored, image, size, rng, old_share=0.5, copies=True, replaces=True, waits=True, gives_new=False
):
    kept = image.clone() if copies else image
    if len(stored) < size:
        stored.append(kept)
        return image if waits else rng.choice(stored)
    if rng.random() >= old_share:
        return image
    place = rng.randrange(size)
    old = stored[place]
    if replaces:
        stored[place] = kept
    return image if gives_new else old


def _returned(query, count, seed):
    """The numbers of the images that a pool of four returns for images 0, 1, ...; None if one is missing."""
    stored, rng = [], random.Random(seed)
    images = [query(stored, torch.full((1,), float(i)), 4, rng) for i in range(count)]
    return None if any(image is None for image in images) else [float(image) for image in images]


def _share_of_new(query):
    numbers = _returned(query, 2000, 1)
    return numbers and round(sum(number == i for i, number in enumerate(numbers)) / 2000, 1)


def _most_returned(query):
    """An image goes in once, so it comes back once when it is new and perhaps once when it is replaced."""
    numbers = _returned(query, 2000, 2)
    return numbers and min(3, max(Counter(numbers).values()))


def _changed_afterwards(query):
    stored, image = [], torch.zeros(1)
    query(stored, image, 4, random.Random(0))
    image += 7  # the training loop may reuse its memory
    return float(stored[0])


check_pool_query = Exercise(
    "pool_query",
    solution=_pool_query,
    cases=[
        Case("the first four images of a pool of four", lambda f: _returned(f, 4, 0)),
        Case("the share of new images among those returned", _share_of_new),
        Case("how often the most frequent image is returned (3 means 3 or more)", _most_returned),
        Case("the stored image, after the given one was changed", _changed_afterwards),
    ],
    mistakes={
        "the old image is to be returned, not the new one that replaces it": partial(
            _pool_query, gives_new=True
        ),
        "every time an old one: with probability 1/2 return the new image": partial(_pool_query, old_share=1),
        "an old image that was returned must be replaced by the new one": partial(
            _pool_query, replaces=False
        ),
        "until the pool is full, return the new image": partial(_pool_query, waits=False),
        "store a copy (clone): the caller may change its image": partial(_pool_query, copies=False),
    },
)


def _cycle_loss(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a).abs().mean() + (there(back(real_b)) - real_b).abs().mean()


def _one_direction(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a).abs().mean()


def _other_kind(there, back, real_a, real_b):
    return (there(real_a) - real_b).abs().mean() + (back(real_b) - real_a).abs().mean()


def _squares(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a).square().mean() + (there(back(real_b)) - real_b).square().mean()


def _same_order(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a).abs().mean() + (back(there(real_b)) - real_b).abs().mean()


check_cycle_loss = Exercise(
    "cycle_loss",
    solution=_cycle_loss,
    cases=[
        Case("two maps that undo each other", lambda f: f(lambda x: x + 1, lambda x: x - 1, *_images(0)[:2])),
        Case("both maps are the identity", lambda f: f(lambda x: x, lambda x: x, *_images(0)[:2])),
        Case("the way back forgets everything", lambda f: f(lambda x: x, lambda x: 0 * x, *_images(1)[:2])),
        Case(
            "two maps that do not commute",
            lambda f: f(lambda x: 2 * x, lambda x: x.abs() + 0.1, *_images(3)[:2]),
        ),
    ],
    mistakes={
        "that compares an image with one of the other kind; there are no pairs": _other_kind,
        "only A to B and back; add B to A and back": _one_direction,
        "the absolute error, not the squared one": _squares,
        "from B the way begins with the other generator": _same_order,
        "the mean of both directions; the definition has their sum": lambda *a: _cycle_loss(*a) / 2,
    },
)


def _ages(size, queries=20_000):
    pool, ages = ImagePool(size, random.Random(0)), []
    for step in range(queries):
        ages.append(step - int(pool.query(torch.full((1, 1, 1, 1), float(step)))))
    return torch.tensor(ages[10 * size :], dtype=torch.float32)


def _pool_age(size):
    ages = _ages(size)
    return float(ages[ages > 0].mean())


check_pool_age = Exercise(
    "pool_age",
    solution=_pool_age,
    cases=[
        Case("a pool of 10", lambda f: f(10)),
        Case("a pool of 20", lambda f: f(20)),
        Case("how the age grows from a pool of 10 to one of 30", lambda f: f(30) / f(10)),
    ],
    mistakes={
        "that is half of it: images that are returned at once (age 0) do not belong into the mean": (
            lambda size: float(_ages(size).mean())
        ),
        "that is the median; a few very old images make the mean larger": (
            lambda size: float(_ages(size)[_ages(size) > 0].median())
        ),
        "that is the oldest image, not the mean": lambda size: float(_ages(size).max()),
    },
    rtol=0.12,
)
