"""Why a portrait cannot be used."""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why a portrait cannot be used; each is also its text in `portraits.csv`."""

    UNREADABLE = "unreadable"
    NO_FACE = "no face"
    SEVERAL_FACES = "several faces"
    SMALL = "face too small"
    COARSE = "fit too coarse"
    JAW = "jaw"
    TURNED = "turned away"
    CUT_OFF = "crown cut off"
    BACKGROUND = "background not plain"

    __str__ = str.__str__


class Unusable(Exception):
    """A portrait cannot be used.

    Attributes:
        reason: a `Reason`.
        text: one line with the measured number.

    Example:
        >>> Unusable(Reason.NO_FACE, "the detector finds no face").text
        'the detector finds no face'
    """

    def __init__(self, reason: Reason, text: str):
        super().__init__(reason, text)  # pickle calls `__init__` with these
        self.reason, self.text = Reason(reason), text

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}"
