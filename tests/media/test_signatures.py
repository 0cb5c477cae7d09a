"""What files are by their first bytes: camera raw of every make, HEIC and AVIF, and files that lie."""

import struct
import sys

import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError, Reason, VideoError
from fomm_lib.media.signatures import heif_kind, is_camera_raw
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import ODD_FILES
from tests.support.still_images import page, tiff

pytestmark = pytest.mark.quick

THUMBNAIL = np.full((6, 8, 3), 90, np.uint8)
MOSAIC = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
DNG = {254: 1, 50706: b"\1\4\0\0"}

RAW = {
    "thumbnail first, as in DNG": tiff([page(THUMBNAIL, DNG, [page(MOSAIC, {262: 32803})])]),
    "Motorola's byte order, as in NEF": tiff(
        [page(THUMBNAIL, {254: 1}, [page(THUMBNAIL), page(MOSAIC, {262: 32803})])], ">"
    ),
    "the mosaic on the first page, as in PEF": tiff([page(MOSAIC, {262: 32803})]),
    "the mosaic on the second page": tiff([page(THUMBNAIL), page(MOSAIC, {262: 32803})]),
    "linear raw": tiff([page(THUMBNAIL, {262: 34892})]),
    "Canon's CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(20),
    "Canon's CR3": struct.pack(">I", 24) + b"ftypcrx \0\0\0\1crx isom",
    "Canon's CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(20),
    "Fujifilm's RAF": b"FUJIFILMCCD-RAW 0201" + bytes(20),
    "Olympus's ORF": b"IIRO\x08\0\0\0" + bytes(20),
    "Panasonic's RW2": b"IIU\0\x08\0\0\0" + bytes(20),
    "Minolta's MRW": b"\0MRM" + bytes(20),
    "Sigma's X3F": b"FOVb" + bytes(20),
}


@pytest.mark.parametrize("kind", RAW)
def test_camera_raw_is_named(kind, tmp_path):
    """And not animated as its thumbnail. The name of the file says nothing."""
    path = tmp_path / "photograph.tif"
    path.write_bytes(RAW[kind])
    assert is_camera_raw(path)
    with pytest.raises(InputError, match="is the raw file of a camera; develop it first, and give the JPEG"):
        read_image(path)
    with pytest.raises(VideoError) as caught:
        VideoReader(path)
    assert caught.value.reason == Reason.STILL


def test_other_files_are_no_camera_raw(odd_folder, tmp_path):
    assert not any(is_camera_raw(odd.make_in(odd_folder)) for odd in ODD_FILES)
    path = tmp_path / "scan.tif"
    path.write_bytes(tiff([page(THUMBNAIL), page(THUMBNAIL)]))
    assert not is_camera_raw(path)


def test_pages_that_point_nowhere_or_back_end(tmp_path):
    path = tmp_path / "a.tif"
    whole = RAW["thumbnail first, as in DNG"]
    for content in (
        tiff([page(THUMBNAIL)], last=8),
        tiff([page(THUMBNAIL)], last=2**31),
        tiff([page(THUMBNAIL, {330: struct.pack("<4I", 8, 8, 4, 2**32 - 1)})]),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
    ):
        path.write_bytes(content)
        assert not is_camera_raw(path)
    for length in range(8, len(whole)):
        path.write_bytes(whole[:length])
        is_camera_raw(path)  # whatever it says, it says something


def test_a_smaller_copy_on_the_first_page_is_left_out(tmp_path):
    whole = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    path = tmp_path / "a.tif"
    for pages, expected in (
        ([page(THUMBNAIL, {254: 1}), page(whole)], whole),
        ([page(THUMBNAIL, {254: 1}), page(THUMBNAIL[:3], {254: 1}), page(whole)], whole),
        ([page(whole), page(THUMBNAIL, {254: 1})], whole),
        ([page(whole), page(THUMBNAIL)], whole),
        ([page(THUMBNAIL, {254: 1}), page(THUMBNAIL[:3], {254: 1})], THUMBNAIL),
    ):
        path.write_bytes(tiff(pages))
        assert np.array_equal(read_image(path), expected)


# --- HEIC and AVIF -----------------------------------------------------------------------------------------


def ftyp(major: str, *others: str) -> bytes:
    brands = major.encode() + bytes(4) + "".join(others).encode()
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + struct.pack(">I", 8) + b"mdat"


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (("heic", "mif1", "heic"), "HEIC"),
        (("heix", "mif1"), "HEIC"),
        (("mif1", "heic"), "HEIC"),
        (("mif1",), "HEIC"),
        (("msf1", "hevc"), "HEIC"),
        (("hevc",), "HEIC"),
        (("avif", "mif1", "miaf"), "AVIF"),
        (("mif1", "avif"), "AVIF"),
        (("isom", "iso2", "avc1", "mp41"), None),
        (("qt  ",), None),
    ],
)
def test_kinds_of_heif(brands, kind, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(ftyp(*brands))
    assert heif_kind(path) == kind


def test_kind_of_what_is_cut_off(tmp_path):
    path = tmp_path / "a"
    for content in (
        b"",
        b"\0\0\0\x18ft",
        b"\0\0\0\x18ftyp",
        b"\0\0\0\0ftypheic",
        b"\xff\xff\xff\xffftypheic",
    ):
        path.write_bytes(content)
        assert heif_kind(path) in (None, "HEIC")


@pytest.fixture
def no_heif(monkeypatch):
    """As where pillow-heif is not installed, and Pillow is older than AVIF in it."""
    Image.init()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("HEIF", "AVIF"):
        monkeypatch.delitem(Image.OPEN, name, raising=False)


@pytest.mark.parametrize("brands", ["heic mif1", "mif1 heic", "heix", "hevc", "msf1 hevc"])
def test_heic_is_named_where_it_cannot_be_read(brands, no_heif, tmp_path):
    path = tmp_path / "phone.jpg"
    path.write_bytes(ftyp(*brands.split()))
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"{path}: is a HEIC image; to read it, pip install pillow-heif (the extra 'heic'), or save it as JPEG"
    )


def test_heic_cannot_drive(no_heif, tmp_path):
    path = tmp_path / "phone.heic"
    path.write_bytes(ftyp("heic", "mif1"))
    with pytest.raises(VideoError, match="is a still image; give a video") as caught:
        VideoReader(path)
    assert caught.value.reason == Reason.STILL


def test_avif_is_named_where_pillow_is_too_old(no_heif, tmp_path):
    path = tmp_path / "a.avif"
    path.write_bytes(ftyp("avif", "mif1"))
    with pytest.raises(InputError, match="is an AVIF image; to read it, pip install --upgrade pillow"):
        read_image(path)


def test_heic_is_read_where_it_can_be(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra: pip install 'fomm-lib[heic]'")
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[:48, :64], pixels[48:, 64:] = (220, 40, 30), (30, 60, 200)
    path = tmp_path / "phone.heic"
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95)
    assert heif_kind(path) == "HEIC"
    assert np.abs(read_image(path).astype(int) - pixels)[4:40, 4:56].max() < 12
    with pytest.raises(VideoError, match="is a still image; give a video"):
        VideoReader(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="is damaged"):
        read_image(path)
