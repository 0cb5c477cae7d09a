"""Encryption marks and missing ends, in files made by FFmpeg and in boxes made by hand."""

from __future__ import annotations

import random
import time
import uuid

import av
import pytest

from fomm_lib.media.containers import _ebml_elements, encryption_marks, missing_end
from tests.support.odd_files import encode, make, moving_frames


def box(kind: bytes, *content: bytes, length: int | None = None) -> bytes:
    payload = b"".join(content)
    return (8 + len(payload) if length is None else length).to_bytes(4, "big") + kind + payload


def element(kind: int, *content: bytes, length: int | None = None) -> bytes:
    """An EBML element whose length takes eight bytes."""
    payload = b"".join(content)
    size = len(payload) if length is None else length
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + (1 << 56 | size).to_bytes(8, "big") + payload


def write(path, *content: bytes):
    path.write_bytes(b"".join(content))
    return path


def described(*entries: bytes) -> bytes:
    """A movie with one track and these sample descriptions."""
    stsd = box(b"stsd", bytes(4), len(entries).to_bytes(4, "big"), *entries)
    return box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsd)))))


FTYP = box(b"ftyp", b"isom", bytes(4))
SCHEME = box(b"sinf", box(b"frma", b"avc1"), box(b"schm", bytes(4), b"cbcs", bytes(4)))
VISUAL = bytes(78)  # the fixed fields of a visual sample description

# --- encryption ----------------------------------------------------------------------------------------


def test_an_encrypted_mp4(tmp_path):
    marks = encryption_marks(make("encrypted.mp4", tmp_path))
    assert marks == ["encv (the images, scheme cenc)", "enca (the audio, scheme cenc)"]


@pytest.mark.parametrize(
    "name", ["good.mp4", "vp9.webm", "late_start.mkv", "mpeg2.ts", "moving.gif", "colour.jpg"]
)
def test_files_without_marks(name, tmp_path):
    assert encryption_marks(make(name, tmp_path)) == []


@pytest.mark.parametrize(
    ("entry", "mark"),
    [
        (box(b"encv", VISUAL, SCHEME), "encv (the images, scheme cbcs)"),
        (box(b"encv", VISUAL), "encv (the images)"),
        (box(b"drmi", VISUAL, SCHEME), "drmi (the images, scheme cbcs)"),
        (box(b"mp4v", VISUAL, SCHEME), "mp4v (a track, scheme cbcs)"),
    ],
)
def test_marks_in_a_sample_description(entry, mark, tmp_path):
    assert encryption_marks(write(tmp_path / "a.mp4", FTYP, described(entry))) == [mark]
    clear = box(b"avc1", VISUAL, box(b"avcC", bytes(20)))
    assert encryption_marks(write(tmp_path / "b.mp4", FTYP, described(clear))) == []


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("edef8ba9-79d6-4ace-a3c8-27dcd51d21ed", "Widevine"),
        ("9a04f079-9840-4286-ab92-e65be0885f95", "PlayReady"),
        ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_protection_systems_are_named(system, name, tmp_path):
    pssh = box(b"pssh", bytes(4), uuid.UUID(system).bytes, bytes(4))
    assert encryption_marks(write(tmp_path / "a.mp4", FTYP, box(b"moov", pssh))) == [f"pssh ({name})"]
    in_fragments = [FTYP, box(b"moov"), *[box(b"moof", pssh), box(b"mdat", bytes(9))] * 3]
    assert encryption_marks(write(tmp_path / "b.mp4", *in_fragments)) == [f"pssh ({name})"]


def test_a_box_with_a_long_length(tmp_path):
    pssh = box(b"pssh", bytes(4), bytes(16))
    long = (1).to_bytes(4, "big") + b"moov" + (16 + len(pssh)).to_bytes(8, "big") + pssh
    to_the_end = box(b"moov", pssh, length=0)
    for movie in (long, to_the_end):
        assert len(encryption_marks(write(tmp_path / "a.mp4", FTYP, movie))) == 1


def tracks(track_type: int, *more: bytes) -> bytes:
    return element(0x1654AE6B, element(0xAE, element(0x83, bytes([track_type])), *more))


ENCRYPTION = element(0x6D80, element(0x6240, element(0x5035, element(0x47E1, b"\x05"))))
COMPRESSION = element(0x6D80, element(0x6240, element(0x5034, element(0x4254, b"\x03"))))
EBML = element(0x1A45DFA3, element(0x4282, b"webm"))


def test_an_encrypted_matroska(tmp_path):
    segment = element(
        0x18538067, element(0x1549A966, bytes(30)), tracks(1, ENCRYPTION), tracks(2, COMPRESSION)
    )
    assert encryption_marks(write(tmp_path / "a.webm", EBML, segment)) == ["ContentEncryption (the images)"]
    live = element(0x18538067, tracks(2, ENCRYPTION), length=(1 << 56) - 1)  # of unknown length
    assert encryption_marks(write(tmp_path / "b.webm", EBML, live)) == ["ContentEncryption (the audio)"]
    clear = element(0x18538067, tracks(1, COMPRESSION))
    assert encryption_marks(write(tmp_path / "c.webm", EBML, clear)) == []


# --- missing ends --------------------------------------------------------------------------------------

WHOLE = [
    "good.mp4",
    "vp9.webm",
    "late_start.mkv",
    "mpeg4.avi",
    "moving.gif",
    "moving.webp",
    "mpeg2.ts",
    "rotated.mp4",
]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_miss_nothing(name, tmp_path):
    assert missing_end(make(name, tmp_path)) is None


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi"])
@pytest.mark.parametrize("missing", [20, 700])
def test_the_missing_bytes_are_counted(suffix, missing, tmp_path):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
    whole = encode(tmp_path / f"whole.{suffix}", moving_frames(9), codec=codec, container_options=options)
    cut = write(tmp_path / f"cut.{suffix}", whole.read_bytes()[:-missing])
    assert missing_end(cut) == f"the file ends {missing} bytes early"


def test_a_gif_without_its_end_mark(tmp_path):
    whole = make("moving.gif", tmp_path).read_bytes()
    assert (
        missing_end(write(tmp_path / "cut.gif", whole[:-40])) == "the file ends without the end mark of a GIF"
    )
    assert missing_end(write(tmp_path / "padded.gif", whole, bytes(9))) is None


def test_what_follows_the_last_box_does_not_matter(tmp_path):
    whole = make("good.mp4", tmp_path).read_bytes()
    assert missing_end(write(tmp_path / "a.mp4", whole, b"\x7f\xff\xff\xffjunk")) is None


def test_a_header_counted_twice_is_no_missing_end(tmp_path):
    whole = bytearray(make("mpeg4.avi", tmp_path).read_bytes())
    whole[4:8] = len(whole).to_bytes(4, "little")
    assert missing_end(write(tmp_path / "a.avi", bytes(whole))) is None


# --- files that lie ------------------------------------------------------------------------------------


def test_parents_inside_parents_do_not_exhaust_the_stack(tmp_path):
    nested = b"".join((8 * (5000 - i)).to_bytes(4, "big") + b"moov" for i in range(5000))
    assert encryption_marks(write(tmp_path / "a.mp4", nested)) == []
    deep = b""
    for _ in range(300):
        deep = element(0x6D80, deep)
    segment = element(0x18538067, tracks(1, deep))
    assert encryption_marks(write(tmp_path / "a.webm", EBML, segment)) == []


def test_no_cut_and_no_wrong_byte_raises_or_hangs(tmp_path):
    rng = random.Random(0)
    started = time.perf_counter()
    for name in ("encrypted.mp4", "vp8.webm", "moving.gif", "mpeg4.avi"):
        whole = make(name, tmp_path).read_bytes()[:3000]
        for _ in range(60):
            broken = bytearray(whole[: rng.randrange(len(whole) + 1)])
            for _ in range(min(len(broken), 8)):
                broken[rng.randrange(len(broken))] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
            path = write(tmp_path / "broken", bytes(broken))
            assert isinstance(encryption_marks(path), list)
            assert missing_end(path) is None or isinstance(missing_end(path), str)
    assert time.perf_counter() - started < 30


def test_a_file_that_is_not_there(tmp_path):
    for function in (encryption_marks, missing_end):
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "none.mp4")


def test_an_encrypted_webm_opens_all_the_same(tmp_path):
    """FFmpeg opens what the parser calls encrypted: the mark is all that tells."""
    path = encrypted_webm(tmp_path)
    assert encryption_marks(path) == ["ContentEncryption (the images)"]
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "vp9"


def encrypted_webm(folder):
    """A WebM whose video track is marked as encrypted; the track is written anew, since it grows."""
    whole = encode(folder / "clear.webm", moving_frames(5), codec="libvpx-vp9")
    data = whole.read_bytes()
    with whole.open("rb") as file:
        (segment,) = [e for e in _ebml_elements(file, 0, len(data)) if e.kind == 0x18538067]
        inside = {e.kind: e for e in _ebml_elements(file, segment.start, segment.end)}
        (track,) = _ebml_elements(file, inside[0x1654AE6B].start, inside[0x1654AE6B].end)
    described = element(0x1654AE6B, element(0xAE, data[track.start : track.end], ENCRYPTION))
    cluster = inside[0x1F43B675]
    frames = element(0x1F43B675, data[cluster.start : cluster.end])
    return write(folder / "encrypted.webm", EBML, element(0x18538067, described, frames))
