"""Images, still and animated, of every mode, and their errors."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms

from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import SIZE, difference, make, moving_frames, portrait

pytestmark = pytest.mark.quick


def test_image_modes_agree(tmp_path):
    original = portrait()
    grey = np.asarray(Image.fromarray(original).convert("L"))
    Image.fromarray(original).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "b.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "c.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "d.tiff")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "e.tiff")
    Image.fromarray(grey.astype(np.int32) * 257).save(tmp_path / "f.tiff")
    assert np.array_equal(read_image(tmp_path / "a.png"), original)
    for name in ("b.png", "c.png", "d.tiff", "e.tiff", "f.tiff"):
        assert np.array_equal(read_image(tmp_path / name), np.repeat(grey[..., None], 3, 2)), name


def test_dark_sixteen_bit_image_stays_dark(tmp_path):
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "dark.png")
    assert read_image(tmp_path / "dark.png").max() == 1  # 200 / 65535 of white


def test_transparency_is_laid_on_white(odd_folder):
    image = read_image(make("transparent.png", odd_folder))
    assert (image[:, : SIZE // 2] == 255).all()
    assert np.array_equal(image[:, SIZE // 2 :], portrait()[:, SIZE // 2 :])


def test_exif_orientation_is_applied(odd_folder):
    assert difference(read_image(make("sideways.jpg", odd_folder)), portrait()).mean() < 3


def test_colour_profile_is_converted(tmp_path):
    """A profile that swaps nothing (sRGB) leaves the numbers; one of another white point moves them."""
    grey = Image.new("RGB", (8, 8), (100, 150, 200))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey.save(tmp_path / "srgb.png", icc_profile=srgb)
    grey.save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert difference(read_image(tmp_path / "srgb.png"), np.asarray(grey)).max() <= 1
    assert np.array_equal(read_image(tmp_path / "broken.png"), np.asarray(grey))
    lab = ImageCms.profileToProfile(
        grey, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(
        tmp_path / "lab.tiff", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    )
    assert difference(read_image(tmp_path / "lab.tiff"), np.asarray(grey)).max() <= 3


def test_image_of_a_video_is_its_first_frame(odd_folder):
    path = make("good.mp4", odd_folder)
    assert np.array_equal(read_image(path), next(iter(VideoReader(path))))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("audio.m4a", "is no image that can be read; give a JPEG or PNG"),
        ("encrypted.mp4", "encrypted (DRM); give one that is not"),
        ("truncated.png", "is damaged"),
        ("bomb.png", "too large (at most 89 million pixels); make it smaller"),
        ("empty.mp4", "is empty (0 bytes)"),
    ],
)
def test_image_errors(name, words, odd_folder):
    with pytest.raises(InputError) as caught:
        read_image(make(name, odd_folder))
    assert words in str(caught.value)


def test_durations_that_are_no_milliseconds(tmp_path):
    """30 frames a second from an APNG: 33 ms each would be a second too early after 3000 frames."""
    path = tmp_path / "thirty.apng"
    with VideoWriter(path, 30, (16, 16)) as writer:
        for frame in moving_frames(7, (16, 16)):
            writer.write(frame)
    video = VideoReader(path)
    assert [seconds for _, seconds in video.timed()] == [Fraction(i, 30) for i in range(7)]
    assert (video.fps, video.end) == (30, Fraction(7, 30))
    assert all((seconds / video.time_base).denominator == 1 for _, seconds in video.timed())


def test_durations_of_an_animation(odd_folder):
    for name in ("moving.gif", "moving.png", "moving.webp"):
        video = VideoReader(make(name, odd_folder))
        assert [round(seconds * 1000) for _, seconds in video.timed()] == [
            0,
            40,
            120,
            160,
            240,
            280,
            360,
            400,
        ]
        assert (video.fps, video.duration, video.end) == (
            Fraction(8, 1) / Fraction(48, 100),
            0.48,
            Fraction(48, 100),
        )


def test_animation_is_laid_on_white(odd_folder):
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames = list(VideoReader(make(name, odd_folder)))
        assert all((frame[:8] == 255).all() for frame in frames)
        assert difference(frames[3][8:-8, 8:-8], moving_frames(8)[3][8:-8, 8:-8]).mean() < 6
