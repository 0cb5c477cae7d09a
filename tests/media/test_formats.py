"""Tables of formats: one entry per ending, and rules about names."""

from __future__ import annotations

import pytest

from fomm_lib.media.formats import (
    IMAGE_SUFFIXES,
    OUTPUT_FORMATS,
    PORTRAIT_SUFFIXES,
    VIDEO_SUFFIXES,
    is_media_name,
    is_video_name,
)


@pytest.mark.parametrize("suffix", sorted({*VIDEO_SUFFIXES, *OUTPUT_FORMATS} - {".png"}))
def test_what_is_written_and_read_as_video_is_named_as_one(suffix):
    assert is_video_name(f"a{suffix}") and is_video_name(f"A{suffix.upper()}") and is_media_name(f"a{suffix}")


@pytest.mark.parametrize(
    "suffix", sorted(PORTRAIT_SUFFIXES - {".avif"})
)  # AVIF is new in Python 3.11's table
def test_images_are_media_and_no_videos(suffix):
    assert is_media_name(f"a{suffix}") and not is_video_name(f"a{suffix}")


def test_no_ending_means_two_things():
    assert IMAGE_SUFFIXES.isdisjoint(VIDEO_SUFFIXES) and IMAGE_SUFFIXES < PORTRAIT_SUFFIXES


@pytest.mark.parametrize("name", ["labels.csv", "README", "notes.txt", "model.safetensors"])
def test_other_names(name):
    assert not is_video_name(name) and not is_media_name(name)
