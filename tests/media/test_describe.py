"""What `fomm info` says of images and videos."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.media import describe
from fomm_lib.media.describe import describe_media, read_notes
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.outputs import FrameFolder
from fomm_lib.version import __version__


def write(path, finish=None):
    metadata = {"title": "A title", "comment": "AI-generated", "description": "AI-generated"}
    with VideoWriter(path, 25, (48, 32), metadata=metadata, finish=finish) as writer:
        for k in range(4):
            writer.write(np.full((32, 48, 3), 40 * k, np.uint8))
    return path


def test_a_signed_video(tmp_path):
    pytest.importorskip("c2pa", reason="needs the extra: pip install 'fomm-lib[credentials]'")
    from fomm_lib.media.credentials import Credentials
    from tests.support.certificates import write_certificates

    Image.new("RGB", (20, 20), "red").save(tmp_path / "me.jpg")
    credentials = Credentials(*write_certificates(tmp_path)[:2])
    signed = tmp_path / "moving.mp4"
    write(signed, lambda finished: credentials.sign(finished, signed.name, [tmp_path / "me.jpg"]))
    lines = describe_media(signed).splitlines()
    assert lines[0] == f"{signed}: 4 frames of 48x32 at 25 a second"
    assert lines[1:3] == ["  title: A title", "  comment: AI-generated"]
    assert "as it was signed; whether the signer is who it says is not checked" in lines[3]
    assert lines[4:7] == [
        "    signed by: Test signer",
        f"    made with: fomm-lib {__version__}",
        "    kind: trainedAlgorithmicMedia",
    ]
    assert lines[7].startswith("    from: me.jpg (sha256 ")


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.png"])
def test_texts_of_the_header(name, tmp_path):
    texts = set(read_notes(write(tmp_path / name)).values())
    assert "AI-generated" in " ".join(texts)
    assert f"{name}: 4 frames of 48x32 at" in describe_media(tmp_path / name)


def test_a_frame_of_a_folder(tmp_path):
    with FrameFolder(tmp_path / "frames", 25, (48, 32), metadata={"comment": "AI-generated"}) as writer:
        writer.write(np.zeros((32, 48, 3), np.uint8))
    frame = tmp_path / "frames" / "000000.png"
    assert read_notes(frame) == {"comment": "AI-generated"}
    assert describe_media(frame).startswith(f"{frame}: an image of 48x32")


def test_texts_cannot_steer_a_terminal(tmp_path):
    metadata = {"comment": "\x1b[31mred\nsecond line" + "x" * 1000}
    with VideoWriter(tmp_path / "a.mp4", 25, (48, 32), metadata=metadata) as writer:
        writer.write(np.zeros((32, 48, 3), np.uint8))
    text = describe_media(tmp_path / "a.mp4")
    assert "\x1b" not in text and len(text.splitlines()) == 3 and len(text) < 700


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"a\.mp4: "):
        describe_media(tmp_path / "a.mp4")


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(describe, "find_spec", lambda name: None)
    text = describe_media(write(tmp_path / "a.mp4"))
    assert text.endswith("content credentials: not read; pip install 'fomm-lib[credentials]' reads them")
