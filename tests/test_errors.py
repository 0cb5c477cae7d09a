"""Errors: a bad input is one line, with a reason, and survives a worker process."""

from __future__ import annotations

import copy
import pickle

import pytest

from fomm_lib.errors import InputError, Reason, VideoError, error_text, one_line


def test_bad_input_is_a_value_error():
    with pytest.raises(ValueError, match="no such file"):
        raise InputError("portrait.jpg: no such file")


def test_a_reason_is_its_text():
    assert Reason.CORRUPT == "corrupt" and f"{Reason.CORRUPT}" == str(Reason.CORRUPT) == "corrupt"
    assert "corrupt" in {Reason.CORRUPT} and Reason("no_video") is Reason.NO_VIDEO
    with pytest.raises(ValueError):
        VideoError("a.mp4", "nonsense", "text")


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_of_an_error_is_whole(copied):
    error = copied(VideoError("a\nb.mp4", Reason.CORRUPT, "is damaged", frames=12))
    assert (str(error), error.reason, error.frames) == ("a b.mp4: is damaged", "corrupt", 12)


def test_lines():
    assert one_line("a.mp4", "is\r\n no\tvideo ") == "a.mp4: is no video"
    assert error_text(OSError(28, "No space left on device")) == "No space left on device"
    assert error_text(ValueError("two\nlines")) == "two lines"
    assert error_text(KeyError()) == "KeyError"
