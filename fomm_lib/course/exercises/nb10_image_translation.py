"""Checks for notebook 10, image translation: patches, conditional GANs, cycles, the pool of images."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import torch

from fomm_lib.course.exercises.checker import Case, Exercise, slope
from fomm_lib.family.cyclegan import ImagePool
from fomm_lib.gan import binary_cross_entropy


def _patch_pixels(layers, output, strides=True, longer=0, padded=1):
    first = last = output
    for kernel, stride, padding in reversed(layers):
        stride, padding = stride if strides else 1, padded * padding
        first, last = stride * first - padding, stride * last - padding + kernel - 1 + longer
    return first, last


def _padding_once(layers, output):
    shift = sum(padding for _, _, padding in layers)
    return tuple(place - shift for place in _patch_pixels(layers, output, padded=0))


def _ends(change):
    """The exercise with something else made of the first and the last pixel."""
    return lambda layers, output: change(*_patch_pixels(layers, output))


PUBLISHED = [(4, 2, 1)] * 3 + [(4, 1, 1)] * 2

check_patch_pixels = Exercise(
    "patch_pixels",
    solution=_patch_pixels,
    cases=[
        Case("output 5 of one 4x4 convolution without padding", lambda f: f([(4, 1, 0)], 5)),
        Case("output 2 of two 3x3 convolutions", lambda f: f([(3, 1, 1), (3, 1, 1)], 2)),
        Case("output 7: 4x4, stride 2, padding 1, twice", lambda f: f([(4, 2, 1)] * 2, 7)),
        Case("output 0 of the published discriminator", lambda f: f(list(PUBLISHED), 0)),
        Case("output 15 of the published discriminator", lambda f: f(list(PUBLISHED), 15)),
        Case(
            "output 4 of five layers of different kinds",
            lambda f: f([(7, 1, 3), (3, 2, 1), (3, 2, 0), (5, 1, 2), (4, 3, 1)], 4),
        ),
    ],
    mistakes={
        "the padding is missing: pixel 0 of the padded image is pixel -padding of the image": {"padded": 0},
        "a padding counts before the strides of the earlier layers: subtract it layer by layer": (
            _padding_once
        ),
        "the padding is subtracted, not added": {"padded": -1},
        "the strides are not used": {"strides": False},
        "from the output back the last layer comes first": lambda layers, output: _patch_pixels(
            layers[::-1], output
        ),
        "that is the pixel behind the last one: output 0 of a kernel of 4 sees pixels 0 to 3": (
            _ends(lambda first, last: (first, last + 1))
        ),
        "a kernel of 4 reaches from a pixel to the third after it: kernel - 1": {"longer": 1},
        "that is the first pixel and the number of pixels; return the last pixel": (
            _ends(lambda first, last: (first, last - first + 1))
        ),
        "that is the number of pixels; return the first and the last one": (
            _ends(lambda first, last: last - first + 1)
        ),
        "the first pixel may be negative: it lies in the padding": (
            _ends(lambda first, last: (max(0, first), last))
        ),
    },
)


def _conditional_loss(
    discriminator, inputs, targets, fake, detaches=True, logits=True, labels=(1.0, 0.0), of_fake=1
):
    on_real = discriminator(torch.cat([inputs, targets], dim=1))
    on_fake = discriminator(torch.cat([inputs, fake.detach() if detaches else fake], dim=1))
    real, made = (
        binary_cross_entropy(score, label, from_logits=logits)
        for score, label in zip((on_real, on_fake), labels, strict=True)
    )
    return (real + of_fake * made) / 2


def _one_sided(discriminator, inputs, targets, fake):
    return binary_cross_entropy(discriminator(torch.cat([inputs, targets], dim=1)), 1.0, from_logits=True)


def _exchanged(discriminator, inputs, targets, fake):
    return _conditional_loss(discriminator, inputs, fake, targets)


def _without_labels(discriminator, inputs, targets, fake):
    return _conditional_loss(discriminator, torch.zeros_like(inputs), targets, fake)


def _through_sigmoid(discriminator, inputs, targets, fake):
    return _conditional_loss(lambda x: discriminator(x).sigmoid(), inputs, targets, fake)


def _image_first(discriminator, inputs, targets, fake):
    return _conditional_loss(lambda x: discriminator(x.roll(3, dims=1)), inputs, targets, fake)


def _answer_detached(discriminator, inputs, targets, fake):
    on_fake = discriminator(torch.cat([inputs, fake.detach()], dim=1)).detach()
    made = binary_cross_entropy(on_fake, 0.0, from_logits=True)
    return (_one_sided(discriminator, inputs, targets, fake) + made) / 2


def _linear_discriminator(images):
    if images.shape[1:] != (6, 4, 4):
        raise ValueError(
            "the discriminator gets (B, 6, H, W), labels and image concatenated along the channels, "
            f"not {tuple(images.shape)}"
        )
    weight = torch.linspace(-1.5, 2, 6)[:, None, None]
    return (weight * images).sum(dim=1, keepdim=True)


def _images(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(3, 2, 3, 4, 4, generator=generator) - 1).unbind(0)


def _ask_gradient(loss):
    inputs, targets, fake = _images(2)
    fake.requires_grad_(True)
    gradient = slope(loss(_linear_discriminator, inputs, targets, fake), fake)
    return f"{'no' if gradient is None else 'a'} gradient reaches the generator"


def _ask_training(loss):
    inputs, targets, fake = _images(3)
    scale = torch.ones((), requires_grad=True)
    gradient = slope(loss(lambda x: scale * _linear_discriminator(x), inputs, targets, fake), scale)
    return torch.zeros(()) if gradient is None else gradient


check_conditional_loss = Exercise(
    "conditional_loss",
    solution=_conditional_loss,
    cases=[
        Case("an undecided discriminator", lambda f: f(lambda x: 0 * x[:, :1], *_images(0))),
        Case("a linear discriminator", lambda f: f(_linear_discriminator, *_images(1))),
        Case("the gradient with respect to the generated image", _ask_gradient),
        Case("the gradient with respect to a weight of the discriminator", _ask_training),
    ],
    mistakes={
        "that is the sum of both terms; the half of the definition is missing": (
            lambda *a: 2 * _conditional_loss(*a)
        ),
        "the generated image has no term": _one_sided,
        "detach the generated image: this loss must not train the generator": {"detaches": False},
        "true and generated images are exchanged: the true ones have the target 1": _exchanged,
        "the targets are exchanged: 1 for the true images, 0 for the generated ones": {"labels": (0.0, 1.0)},
        "minus the loss of the target 1 is not the loss of the target 0": {
            "labels": (1.0, 1.0),
            "of_fake": -1,
        },
        "the labels come first, then the image": _image_first,
        "the discriminator gives logits, any number: from_logits=True": {"logits": False},
        "nothing trains the discriminator: detach only the generated image": (
            lambda *a: _conditional_loss(*a).detach()
        ),
        "detach the generated image, not what the discriminator says of it": _answer_detached,
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
        "that is the middle between the extreme colours, however many people wear them": (
            lambda values, loss: float((values.min() + values.max()) / 2)
        ),
        "the error grows: go against the gradient": lambda values, loss: _best_colour(
            values, lambda error: -loss(error), 100
        ),
        "the colour has not arrived; take more steps": lambda values, loss: _best_colour(values, loss, 8),
    },
    rtol=0.05,
    atol=0.01,
)


def _pool_query(
    stored,
    image,
    size,
    rng,
    old_share=0.5,
    copies=True,
    replaces=True,
    waits=True,
    gives_new=False,
    oldest=False,
):
    kept = image.clone() if copies else image
    if len(stored) < size:
        stored.append(kept)
        return image if waits else stored[rng.randrange(len(stored))]
    if rng.random() < 1 - old_share:
        return image
    place = 0 if oldest else rng.randrange(size)
    old = stored.pop(place)
    stored.insert(size if oldest else place, kept if replaces else old)
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


def _longest_stay(query):
    """Whether some image stays for more than 30 queries; a place is replaced in one of eight on average."""
    numbers = _returned(query, 2000, 3)
    return numbers and max(i - number for i, number in enumerate(numbers)) > 30


def _changed_afterwards(query):
    stored, image = [], torch.zeros(1)
    query(stored, image, 4, random.Random(0))
    image += 7  # the training loop may reuse its memory
    return float(stored[0])


check_pool_query = Exercise(
    "pool_query",
    solution=_pool_query,
    cases=[
        Case("the first images of a pool of 4", lambda f: _returned(f, 4, 0)),
        Case("the share of new images among those returned", _share_of_new),
        Case("how often the most frequent image is returned (3 means 3 or more)", _most_returned),
        Case("whether some image comes back after more than 30 queries", _longest_stay),
        Case("the stored image, after the given one was changed", _changed_afterwards),
    ],
    mistakes={
        "the old image is to be returned, not the new one that replaces it": {"gives_new": True},
        "every time an old one: with probability 1/2 return the new image": {"old_share": 1},
        "an old image that was returned must be replaced by the new one": {"replaces": False},
        "until the pool is full, return the new image": {"waits": False},
        "store a copy (clone): the caller may change its image": {"copies": False},
        "a random image is returned and replaced, not always the oldest": {"oldest": True},
        "two faults are left: which image is returned at the end, and what is stored (a copy)": {
            "gives_new": True,
            "copies": False,
        },
        "two faults are left: what is returned until the pool is full, and what is stored (a copy)": {
            "waits": False,
            "copies": False,
        },
        "two faults are left: what is returned until the pool is full, and at the end": {
            "waits": False,
            "gives_new": True,
        },
    },
    given=partial(_pool_query, waits=False, gives_new=True, copies=False),
)


def _apart():
    """Images of two kinds with different values: (-1, 1) and (2, 4)."""
    real_a, real_b, _ = _images(4)
    return real_a, real_b + 3


def _cycle_loss(there, back, real_a, real_b, size=_absolute):
    return size(back(there(real_a)) - real_a) + size(there(back(real_b)) - real_b)


def _one_direction(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a).abs().mean()


def _other_kind(there, back, real_a, real_b):
    return (there(real_a) - real_b).abs().mean() + (back(real_b) - real_a).abs().mean()


def _same_order(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a).abs().mean() + (back(there(real_b)) - real_b).abs().mean()


def _one_way(there, back, real_a, real_b):
    return (there(real_a) - real_a).abs().mean() + (back(real_b) - real_b).abs().mean()


def _mean_of_sum(there, back, real_a, real_b):
    return (back(there(real_a)) - real_a + there(back(real_b)) - real_b).abs().mean()


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
        Case("one map that takes the absolute value", lambda f: f(torch.abs, lambda x: x - 0.5, *_apart())),
    ],
    mistakes={
        "that compares an image with one of the other kind; there are no pairs": _other_kind,
        "only A to B and back; add B to A and back": _one_direction,
        "only B to A and back; add A to B and back": lambda there, back, a, b: _one_direction(
            back, there, b, a
        ),
        "the generators are exchanged: `there` takes images of A": lambda there, back, a, b: _cycle_loss(
            back, there, a, b
        ),
        "that is the way there alone, without the way back": _one_way,
        "that is the identity loss: it gives each generator what it should make": (
            lambda there, back, a, b: _one_way(back, there, a, b)
        ),
        "errors of both signs cancel: take absolute values before the mean": {"size": torch.mean},
        "errors of the two directions cancel: take the absolute value of each": _mean_of_sum,
        "the weight of 10 does not belong to this formula": lambda *a: 10 * _cycle_loss(*a),
        "the mean over all pixels, not their sum": (
            lambda there, back, a, b: a.numel() * _cycle_loss(there, back, a, b)
        ),
        "the absolute error, not the squared one": {"size": _squared},
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
        "the pool has always 50 places: hand the size on": lambda size: _pool_age(50),
        "that is the number of the image; its age is the step minus that number": (
            lambda size: float((torch.arange(10.0 * size, 20_000) - _ages(size)).mean())
        ),
    },
    rtol=0.12,
)
