"""Checks for notebook 02, data cleaning: difference of images, verdicts, blocks of grain, boxes of an MP4."""

from __future__ import annotations

import math

import numpy as np

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment


def _images_of(*levels):
    return [np.full((4, 6, 3), level, np.uint8) for level in levels]


def _half(level):
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3] = level
    return image


def _noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def _floats(a, b):
    return a.astype(np.float64) - b.astype(np.float64)


def _wraps_around(a, b):
    return float(((a - b).astype(np.float64) ** 2).mean())


check_image_mse = Exercise(
    "image_mse",
    solution=lambda a, b: (_floats(a, b) ** 2).mean(),
    given=_wraps_around,
    cases=[
        Case("an image and itself", lambda mse: mse(_noise(0), _noise(0))),
        Case("an image whose left half is 4 grey levels brighter", lambda mse: mse(_half(4), _half(0))),
        Case("grey level 20 against 3", lambda mse: mse(*_images_of(20, 3))),
        Case("grey 3 against grey 5", lambda mse: mse(*_images_of(3, 5))),
        Case("black against white", lambda mse: mse(*_images_of(0, 255))),
        Case("two images of noise", lambda mse: mse(_noise(1), _noise(2))),
    ],
    mistakes={
        "the square is taken in uint8, where 17 x 17 is 33; make both float first": (
            lambda a, b: float(((a - b) ** 2).mean())
        ),
        "int16 is too small for the square of 255: make both float": (
            lambda a, b: float(((a.astype(np.int16) - b.astype(np.int16)) ** 2).mean())
        ),
        "that is the sum; take the mean, or large images seem to move more": (
            lambda a, b: (_floats(a, b) ** 2).sum()
        ),
        "the difference is not squared": lambda a, b: np.abs(_floats(a, b)).mean(),
        "that is the square root (RMSE)": lambda a, b: math.sqrt((_floats(a, b) ** 2).mean()),
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


def _but(verdict, when):
    """The exercise with another verdict in some cases."""
    return lambda *facts: verdict if when(*facts) else _say_verdict(*facts)


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
        Case("24 frames, 1 error, and a change of 0", lambda say: say(24, 1, 0)),
    ],
    mistakes={
        "a change of exactly the threshold counts as no change: use <=": _but(
            "fit", lambda frames, errors, change: change == 5 and frames > 1 and not errors
        ),
        "test frames first: without any frame it is unreadable, with or without errors": _but(
            "corrupt", lambda frames, errors, change: errors
        ),
        "one frame has no change: test for single_frame before frozen": _but(
            "frozen", lambda frames, errors, change: frames == 1 and not errors
        ),
        "test errors before frozen: if decoding failed, an unchanged image proves nothing": _but(
            "frozen", lambda frames, errors, change: frames > 1 and change <= 5
        ),
        "a single error is enough: errors of one frame are copied into later ones": (
            lambda frames, errors, change: _say_verdict(frames, errors >= frames / 2, change)
        ),
    },
)


def _grain():
    return 128 + np.random.default_rng(0).normal(0, 12, (24, 128, 128))


def _block_means(frames, side):
    return frames.reshape(24, 128 // side, side, 128 // side, side).mean(axis=(2, 4))


def _change_by_block(side):
    blocks = _block_means(_grain(), side)
    return np.abs(blocks - blocks[0]).max()


check_change_by_block = Experiment(
    "change_by_block",
    measure=_change_by_block,
    settings=[4, 8, 16, 32],
    answer="falls",
    mistakes={
        "take the mean in each block first, then the difference: else the noise does not average out": (
            lambda side: _block_means(np.abs(_grain() - _grain()[0]), side).max()
        ),
        "measure against the first frame, not against the frame before": (
            lambda side: np.abs(np.diff(_block_means(_grain(), side), axis=0)).max()
        ),
        "take the largest change of all blocks and frames, not the mean": (
            lambda side: np.abs(_block_means(_grain(), side) - _block_means(_grain(), side)[0]).mean()
        ),
        "that is the mean square; the change is in grey levels": lambda side: _change_by_block(side) ** 2,
        "without the absolute value, a block that gets darker does not count": (
            lambda side: (_block_means(_grain(), side) - _block_means(_grain(), side)[0]).max()
        ),
    },
    why="the mean of n values has a noise smaller by the root of n",
    rtol=0.01,
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


class _LimitedReads(bytes):
    """Bytes with a limit on reads, so that a loop that never advances does not hang the notebook."""

    reads = 0

    def __getitem__(self, key):
        self.reads += 1
        if self.reads > 10_000:
            raise RuntimeError("the loop never ends: make sure that `at` advances, also if the length is 0")
        return super().__getitem__(key)


def _listed(boxes, data):
    return boxes(_LimitedReads(data))


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
            "boxes inside a payload are not listed",
            lambda boxes: _listed(boxes, _box(b"moov", _box(b"trak", bytes(4))) + _box(b"free")),
        ),
        Case(
            "a last box of length 0 reaches to the end of the file",
            lambda boxes: _listed(boxes, _box(b"ftyp") + _box(b"mdat", bytes(99), length=0)),
        ),
        Case(
            "length 1: the true length is in the eight bytes after the kind",
            lambda boxes: _listed(boxes, _long_box(b"mdat", bytes(50)) + _box(b"free")),
        ),
        Case(
            "a truncated file announces more bytes than it has",
            lambda boxes: _listed(boxes, _box(b"ftyp") + _box(b"mdat", bytes(300))[:100]),
        ),
        Case("three bytes left over are no box", lambda boxes: _listed(boxes, _box(b"free") + bytes(3))),
    ],
    mistakes={
        "the byte order is wrong: the first byte is the most significant (big endian)": {"order": "little"},
        "the length includes its own eight bytes: the next box begins at start + length": {
            "header_counts": False
        },
        "length 0 means: to the end of the file": {"knows_end": False},
        "length 1 means: the true length follows, in eight bytes": {"knows_long": False},
        "inner boxes are listed too; list only those of the outermost level": (
            lambda data: [
                *_boxes(data),
                *(_boxes(data[8:]) if data[4:8] == b"moov" and len(data) > 16 else []),
            ]
        ),
    },
)
