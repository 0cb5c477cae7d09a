"""Images, still and animated, of every mode, and their errors."""

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.images import on_white
from fomm_lib.media.sandbox import guarded_call
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import SIZE, difference, make, moving_frames, portrait
from tests.support.still_images import chunk, page, png, profile, tiff

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


# --- colour profiles, transparent values, ranges of grey ---------------------------------------------------

SWAPPED = profile("RGB ", order="bgr")  # whose first number is blue
LINEAR = profile("GRAY", gamma=1.0)  # in which the middle of the numbers is a bright grey


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_profiles_of_the_tests_are_profiles(tmp_path):
    Image.new("RGB", (4, 4), (200, 60, 40)).save(tmp_path / "a.png", icc_profile=SWAPPED)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - (40, 60, 200)).max() < 8
    Image.new("L", (4, 4), 55).save(tmp_path / "b.png", icc_profile=LINEAR)
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)
    assert np.abs(read_image(tmp_path / "b.png") - expected).max() < 1.5


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tiff"), ("LA", "png"), ("LA", "tiff")]
)
def test_a_profile_counts_where_there_is_alpha(mode, suffix, tmp_path):
    """Where the image is opaque it is its twin without alpha, elsewhere white."""
    icc = SWAPPED if mode == "RGBA" else LINEAR
    twin = Image.fromarray(noise(16, 16, 3)).convert(mode[:-1])
    image = twin.copy()
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:, :8] = 0
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image.save(tmp_path / f"a.{suffix}", icc_profile=icc, **options)
    twin.save(tmp_path / f"b.{suffix}", icc_profile=icc, **options)
    result, expected = read_image(tmp_path / f"a.{suffix}"), read_image(tmp_path / f"b.{suffix}")
    assert np.array_equal(result[:, 8:], expected[:, 8:]) and (result[:, :8] == 255).all()
    assert difference(expected, np.asarray(twin.convert("RGB"))).mean() > 10, "the profile changes nothing"


@pytest.mark.parametrize("transparency", [None, 3, bytes([255, 255, 0])])
def test_a_profile_counts_where_there_is_a_palette(transparency, tmp_path):
    palette = Image.fromarray(noise(16, 16) % 8).convert("P")
    palette.putpalette(noise(8, 3).tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    palette.save(tmp_path / "a.png", icc_profile=SWAPPED, **options)
    palette.convert("RGB").save(tmp_path / "b.png", icc_profile=SWAPPED)
    result, expected = read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png")
    clear = np.asarray(palette) == {None: 99, 3: 3}.get(transparency, 2)
    assert np.array_equal(result[~clear], expected[~clear]) and (result[clear] == 255).all()


def test_a_profile_counts_where_there_is_a_transparent_value(tmp_path):
    for mode, icc, key in (("RGB", SWAPPED, (200, 60, 40)), ("L", LINEAR, 55)):
        image = Image.new(mode, (8, 8), key)
        image.paste(Image.fromarray(noise(8, 4, 3)).convert(mode), (0, 0))
        image.save(tmp_path / "a.png", icc_profile=icc, transparency=key)
        image.save(tmp_path / "b.png", icc_profile=icc)
        result, expected = read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png")
        assert np.array_equal(result[:, :4], expected[:, :4]) and (result[:, 4:] == 255).all()
        assert (expected[:, 4:] != 255).any()


@pytest.mark.parametrize("transparency", [None, 55 * 257])
def test_a_profile_counts_for_sixteen_bits(transparency, tmp_path):
    """They give what their twin of 8 bits gives, a transparent value too."""
    values = noise(16, 16)
    values[:4] = 55
    sixteen = Image.fromarray(values.astype(np.uint16) * 257)
    key = {} if transparency is None else {"transparency": transparency}
    sixteen.save(tmp_path / "a.png", icc_profile=LINEAR, **key)
    Image.fromarray(values).save(tmp_path / "b.png", icc_profile=LINEAR)
    result, expected = read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png")
    if key:
        expected[values == 55] = 255
    assert difference(result, expected).max() <= 1 and difference(result[..., 0], values).mean() > 10


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_with_a_profile_of_colours_stays_grey(mode, tmp_path):
    values = noise(8, 8)
    image = Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values)
    image.convert(mode).save(tmp_path / "a.png", icc_profile=profile("RGB ", gamma=1.0))
    result = read_image(tmp_path / "a.png").astype(int)
    assert np.ptp(result, axis=2).max() <= 2
    expected = 255 * (1.055 * (values / 255) ** (1 / 2.4) - 0.055)
    assert np.abs(result[..., 0] - expected)[values > 9].max() < 2


def test_a_profile_of_another_kind_is_left_out(tmp_path):
    pixels = noise(8, 8, 4)
    pixels[..., 3] = 255
    for icc in (LINEAR, b"nonsense", SWAPPED[:200]):
        Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=icc)
        assert np.array_equal(read_image(tmp_path / "a.png"), pixels[..., :3])


@pytest.mark.parametrize(
    ("bits", "colour", "row", "key"),
    [
        (1, 0, b"\x40", b"\0\1"),
        (2, 0, b"\x10", b"\0\1"),
        (4, 0, b"\x0c", b"\0\x0c"),
        (8, 0, b"\x12\x34", b"\0\x34"),
        (16, 0, b"\x12\x34\x56\x78", b"\x56\x78"),
        (8, 2, b"\1\1\1\x12\x34\x56", b"\0\x12\0\x34\0\x56"),
        (16, 2, b"\1" * 6 + b"\x12\x34\x56\x78\x9a\xbc", b"\x12\x34\x56\x78\x9a\xbc"),
    ],
)
def test_a_transparent_value_of_any_depth(bits, colour, row, key, tmp_path):
    """The second of two pixels has it; without it, that pixel is not white."""
    path = tmp_path / "a.png"
    path.write_bytes(png([row], bits, 2, colour, key))
    assert read_image(path)[0, 1].tolist() == [255] * 3
    assert read_image(path)[0, 0].max() < 255
    if bits > 1:
        path.write_bytes(png([row], bits, 2, colour))
        assert read_image(path)[0, 1].max() < 255


OUTLIERS = {"over": 1.0001, "highlight": 6.0, "infinite": np.inf, "none": np.nan, "below": -3.0}


@pytest.mark.parametrize(
    ("white", "kind", "outlier"),
    [
        *((white, np.float32, outlier) for white in (1.0, 255.0) for outlier in OUTLIERS),
        *((255, np.int32, outlier) for outlier in ("over", "highlight", "below")),
    ],
)
def test_one_odd_value_does_not_change_the_range(white, kind, outlier, tmp_path):
    values = (noise(32, 32) / 255 * white).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.tif")
    expected = read_image(tmp_path / "a.tif")
    assert difference(expected[..., 0], noise(32, 32)).max() <= 1
    values[5, 7] = OUTLIERS[outlier] * white
    Image.fromarray(values).save(tmp_path / "a.tif")
    result = read_image(tmp_path / "a.tif")
    assert (result[5, 7] == (0 if outlier in ("none", "below") else 255)).all()
    result[5, 7] = expected[5, 7]
    assert np.array_equal(result, expected)


def test_floats_that_are_all_alike(tmp_path):
    for value, grey in ((0.0, 0), (0.5, 128), (1.0, 255), (128.0, 128), (np.inf, 255)):
        Image.fromarray(np.full((4, 4), value, np.float32)).save(tmp_path / "a.tif")
        assert (read_image(tmp_path / "a.tif") == grey).all(), value


@pytest.mark.parametrize("values", [np.float32(np.nan), np.float32(-5), np.int32(-(2**31))])
def test_greys_that_are_none(values, tmp_path):
    """A black portrait without a word is no answer."""
    Image.fromarray(np.full((4, 4), values)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"damaged .none of its greys is a number from 0 on.; save or"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("pixels", "tags", "words"),
    [
        (np.full((8, 6), 0x80, np.uint16), {258: 12, 256: 8}, "TIFF of 12 bits, which is not read here"),
        (np.arange(64, dtype=np.uint16).reshape(8, 8), {262: 0}, "of 16 bits that is stored as a negative"),
        (np.ones((8, 8), np.float32), {262: 0}, "of 32 bits that is stored as a negative"),
        (
            np.ones((8, 8, 3), np.uint16),
            {258: b"\x10\0\x10\0\x10\0", 284: 2},
            "of 16 bits that is stored colour by colour",
        ),
    ],
)
def test_what_pillow_misreads_is_refused(pixels, tags, words, tmp_path):
    path = tmp_path / "a.tif"
    content = tiff([page(pixels, tags)])
    path.write_bytes(content.replace(struct.pack("<HHI", 258, 1, 6), struct.pack("<HHI", 258, 3, 3)))
    with pytest.raises(InputError, match=words):
        read_image(path)


# --- lengths that a file states ----------------------------------------------------------------------------

LENGTH = 0x7FFFFFF0  # almost 2 GB


def read_all(folder: str) -> list[str]:
    """What `read_image` and `VideoReader` say of every file in a folder; called in a process of its own."""
    said = []
    for path in sorted(Path(folder).iterdir()):
        for reader in (read_image, VideoReader):
            try:
                reader(path)
                said.append("")
            except InputError as error:
                said.append(str(error))
    return said


def test_a_chunk_of_two_gigabytes_is_damaged(tmp_path):
    whole = png([b"\0\1\2"], 8, 3)
    end = len(whole) - 12
    for kind in (b"IDAT", b"tEXt", b"iCCP", b"abCd", b"eXIf", b"PLTE", b"fdAT", b"gAMA"):
        for place in (33, end):
            content = whole[:place] + chunk(kind, b"", LENGTH) + whole[place:]
            (tmp_path / f"{kind.decode()}-{place}.png").write_bytes(content)
    said = guarded_call(read_all, str(tmp_path), memory=700 << 20)
    assert len(said) == 32 and not any("memory" in text for text in said)
    assert any("is damaged" in text for text in said)


@pytest.mark.parametrize(
    "format", ["PNG", "TIFF", "BMP", "ICNS", "ICO", "WEBP", "JPEG2000", "PCX", "TGA", "GIF"]
)
def test_no_length_in_a_header_takes_its_memory(format, tmp_path):
    """Every four bytes of the beginning, in both byte orders."""
    file = io.BytesIO()
    image = Image.fromarray(noise(16, 16, 3)).convert("P" if format == "GIF" else "RGB")
    image.save(file, format)
    whole = file.getvalue()
    for place in range(0, min(len(whole), 120) - 4, 2):
        for order in ("little", "big"):
            content = whole[:place] + LENGTH.to_bytes(4, order) + whole[place + 4 :]
            (tmp_path / f"{place:03}-{order}").write_bytes(content)
    guarded_call(read_all, str(tmp_path), memory=1 << 30)


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A small PNG, grey 128, with another chunk after its header."""
    whole = png([bytes([128] * 8)] * 8, 8, 8)
    return whole[:33] + chunk(kind, content) + whole[33:]


def test_a_profile_or_text_of_several_megabytes_is_no_damage(tmp_path):
    """Profiles of printers are so large, and so is what some programs write about how an image was made."""
    path = tmp_path / "a.png"
    twin = profile("GRAY")
    for size in (2 << 20, 10 << 20):
        tail = np.random.default_rng(size).bytes(size)
        large = struct.pack(">I", len(twin) + size) + twin[4:] + tail
        path.write_bytes(with_chunk(b"iCCP", b"large\0\0" + zlib.compress(large, 1)))
        with Image.open(path) as image:
            assert image.info["icc_profile"] == large
        with_profile = read_image(path)
        path.write_bytes(with_chunk(b"iCCP", b"small\0\0" + zlib.compress(twin)))
        assert np.array_equal(with_profile, read_image(path))
        for kind, head in ((b"zTXt", b"note\0\0"), (b"iTXt", b"note\0\1\0\0\0")):
            path.write_bytes(with_chunk(kind, head + zlib.compress(bytes(size))))
            assert (read_image(path) == 128).all()


@pytest.mark.parametrize(
    ("kind", "head"), [(b"iCCP", b"x\0\0"), (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0")]
)
def test_a_profile_or_text_without_end_is_named(kind, head, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(kind, head + zlib.compress(bytes(100 << 20), 9)))
    for read in (read_image, VideoReader):
        with pytest.raises(InputError, match="a colour profile or text in it is longer than 16 MiB"):
            read(path)


def test_large_images_with_alpha_are_laid_on_white_in_parts():
    rgba = noise(700, 9, 4)
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:] / 255
    expected = np.floor(colour * alpha + 255 * (1 - alpha) + 127 / 255).astype(np.uint8)
    assert difference(on_white(rgba), expected).max() <= 1
    assert np.array_equal(on_white(rgba)[300:320], on_white(rgba[300:320]))
