"""Content credentials: signed, read back, altered, copied, encoded anew, and what cannot be signed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter

pytest.importorskip("c2pa", reason="needs the extra: pip install 'fomm-lib[credentials]'")

from fomm_lib.media.credentials import (
    MADE_BY_MODEL,
    SIGNED_FORMATS,
    Credentials,
    describe_credentials,
    read_credentials,
    signed_format,
)
from fomm_lib.media.video import VideoReader
from tests.support.certificates import MAKERS, write_certificates


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("pems"))


@pytest.fixture(scope="module")
def credentials(pems):
    return Credentials(*pems[:2])


def write(path, finish=None, frames=4):
    with VideoWriter(path, 25, (48, 32), metadata={"comment": "AI-generated"}, finish=finish) as writer:
        for k in range(frames):
            writer.write(np.full((32, 48, 3), 40 * k, np.uint8))
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    Image.new("RGB", (20, 20), "red").save(folder / "me.jpg")
    (folder / "clip.mkv").write_bytes(b"another format")
    return [folder / "me.jpg", folder / "clip.mkv"]


@pytest.fixture(scope="module")
def signed(tmp_path_factory, credentials, inputs):
    path = tmp_path_factory.mktemp("signed") / "moving.mp4"
    return write(path, lambda finished: credentials.sign(finished, path.name, inputs))


def test_what_was_signed_is_read_back(signed, inputs, pems):
    found = read_credentials(signed)
    assert found["state"] == "valid" and found["signer"] == "Test signer"
    assert found["generator"].startswith("fomm-lib ") and found["title"] == "moving.mp4"
    assert found["source_types"] == [MADE_BY_MODEL]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs]
    assert [(one["title"], one["note"]) for one in found["inputs"]] == [
        (path.name, f"sha256 {digest}") for path, digest in zip(inputs, hashes, strict=True)
    ]
    assert read_credentials(signed, pems[2])["state"] == "trusted"


def test_the_video_is_the_same_as_without_signature(signed, tmp_path):
    plain = write(tmp_path / "plain.mp4")
    assert all((a == b).all() for a, b in zip(VideoReader(plain), VideoReader(signed), strict=True))
    assert [path.name for path in signed.parent.iterdir()] == ["moving.mp4"]


def test_one_changed_byte_is_seen(signed, tmp_path):
    content = bytearray(signed.read_bytes())
    content[content.rindex(b"mdat") + 40] ^= 1
    altered = tmp_path / "altered.mp4"
    altered.write_bytes(content)
    found = read_credentials(altered)
    assert found["state"] == "altered" and "assertion.bmffHash.mismatch" in found["reasons"]
    assert "ALTERED since it was signed" in describe_credentials(altered)


def test_every_changed_byte_of_the_statement_is_seen(signed, tmp_path):
    content = signed.read_bytes()
    for words in (b"fomm-lib", b"sha256 ", b"trainedAlgorithmicMedia", b"me.jpg"):
        place = content.index(words) + len(words) - 1
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        try:
            state = read_credentials(tmp_path / "damaged.mp4")["state"]
        except InputError as error:
            assert "its content credentials are damaged" in str(error)
        else:
            assert state in ("altered", "invalid")


def test_copying_keeps_it_encoding_anew_does_not(signed, tmp_path):
    shutil.copy(signed, tmp_path / "copy.mp4")
    assert read_credentials(tmp_path / "copy.mp4")["state"] == "valid"
    with VideoWriter(tmp_path / "anew.mp4", 25, (48, 32)) as writer:
        for frame in VideoReader(signed):
            writer.write(frame)
    assert read_credentials(tmp_path / "anew.mp4") is None
    Image.fromarray(next(iter(VideoReader(signed)))).save(tmp_path / "screenshot.png")
    assert read_credentials(tmp_path / "screenshot.png") is None
    assert "this proves nothing" in describe_credentials(tmp_path / "screenshot.png")


@pytest.mark.parametrize("ending", sorted(SIGNED_FORMATS))
def test_every_format(ending, tmp_path, credentials):
    path = tmp_path / f"moving{ending}"
    write(path, lambda finished: credentials.sign(finished, path.name, []))
    assert read_credentials(path)["state"] == "valid"
    assert len(list(VideoReader(path))) == 4


def test_other_formats_are_refused():
    with pytest.raises(InputError, match=r"moving.webm: content credentials can be written into .mp4, .m4v"):
        signed_format("moving.webm")
    assert read_credentials("moving.webm") is None


def test_credentials_of_an_input_go_along(credentials, signed, tmp_path):
    path = tmp_path / "second.mp4"
    write(path, lambda finished: credentials.sign(finished, path.name, [signed]))
    found = read_credentials(path)
    digest = hashlib.sha256(signed.read_bytes()).hexdigest()
    assert found["inputs"] == [{"title": "moving.mp4", "note": f"sha256 {digest}"}]
    import c2pa

    with open(path, "rb") as file, c2pa.Reader("video/mp4", file) as reader:
        assert "Test signer" in reader.json() and reader.json().count('"claim_generator_info"') == 2


def test_a_folder_of_frames_as_input(credentials, tmp_path):
    (tmp_path / "frames").mkdir()
    for name in "ab":
        (tmp_path / "frames" / name).write_text(name)
    path = tmp_path / "moving.mp4"
    write(path, lambda finished: credentials.sign(finished, path.name, [tmp_path / "frames"]))
    digest = hashlib.sha256(b"a\0ab\0b").hexdigest()
    assert read_credentials(path)["inputs"] == [{"title": "frames", "note": f"sha256 {digest}"}]


@pytest.mark.parametrize("algorithm", sorted(MAKERS))
def test_kinds_of_keys(algorithm, tmp_path):
    chain, key, anchor = write_certificates(tmp_path, algorithm)
    path = tmp_path / "moving.png"
    credentials = Credentials(chain, key)
    write(path, lambda finished: credentials.sign(finished, path.name, []))
    assert read_credentials(path, anchor)["state"] == "trusted"


def test_a_signer_of_others_is_not_trusted(signed, tmp_path):
    *_, other = write_certificates(tmp_path)
    assert read_credentials(signed, other)["state"] == "valid"


def test_an_expired_certificate_does_not_sign(tmp_path):
    chain, key, _ = write_certificates(tmp_path, days=-1)
    with pytest.raises(
        InputError, match=r"chain.pem: cannot sign with the key .*key.pem \(.*not valid at time of signing"
    ):
        Credentials(chain, key)


def test_files_that_cannot_sign(pems, tmp_path):
    chain, key, anchor = pems
    other = tmp_path / "other"
    other.mkdir()
    foreign = write_certificates(other)[1]
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "empty.pem").write_text("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
    wrong = [
        (tmp_path / "none.pem", key, "none.pem: cannot be read"),
        (tmp_path / "text.pem", key, "text.pem: is no PEM file: such a file has a line -----BEGIN"),
        (chain, tmp_path / "text.pem", "text.pem: is no PEM file"),
        (chain, tmp_path / "empty.pem", "empty.pem: holds no private key"),
        (chain, chain, "chain.pem: holds no private key"),
        (anchor, key, "anchor.pem: cannot sign with the key"),
        (chain, foreign, "chain.pem: cannot sign with the key"),
    ]
    for certificates, secret, text in wrong:
        with pytest.raises(InputError) as caught:
            Credentials(certificates, secret)
        assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_with_a_password(pems, tmp_path):
    from cryptography.hazmat.primitives import serialization

    form = serialization.PrivateFormat.PKCS8
    key = serialization.load_pem_private_key(pems[1].read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "locked.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    with pytest.raises(InputError, match="the private key has a password; write it without: openssl pkcs8"):
        Credentials(pems[0], tmp_path / "locked.pem")


def test_anchors_that_are_none(signed, tmp_path):
    (tmp_path / "anchors.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(InputError, match=r"anchors.pem: holds no certificates"):
        read_credentials(signed, tmp_path / "anchors.pem")


def test_a_failed_signature_leaves_no_file(tmp_path, pems):
    chain, key = (shutil.copy(path, tmp_path) for path in pems[:2])
    credentials = Credentials(chain, key)
    (tmp_path / "key.pem").write_text("gone")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="no PEM file"):
        write(out / "moving.mp4", lambda finished: credentials.sign(finished, "moving.mp4", []))
    assert list(out.iterdir()) == []


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(InputError, match=r"pip install 'fomm-lib\[credentials\]'"):
        Credentials("chain.pem", "key.pem")


@pytest.mark.parametrize("format", [".mp4", ".png"])
def test_hostile_manifests_end_in_a_line(format, tmp_path, credentials):
    """Bytes of the manifest exchanged at random: an answer or one line, never another error."""
    path = tmp_path / f"moving{format}"
    write(path, lambda finished: credentials.sign(finished, path.name, []))
    content, random = path.read_bytes(), np.random.default_rng(0)
    start = content.index(b"jumb")
    for _ in range(60):
        changed = bytearray(content)
        for place in random.integers(start, min(len(content), start + 9000), 4):
            changed[place] = random.integers(256)
        path.write_bytes(changed)
        try:
            found = read_credentials(path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert found is None or found["state"] in ("valid", "altered", "invalid")


def test_nothing_of_it_is_imported_without_need():
    script = "import fomm_lib.animation.animate, sys; sys.exit('c2pa' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_what_becomes_of_the_marks(credentials):
    """The table of docs/animating.md."""
    from experiments.provenance import measure

    assert measure(credentials)[1:] == [
        ["copied", "valid", "yes"],
        ["one byte changed", "altered", "yes"],
        ["new container, not encoded anew", "none", "yes"],
        ["encoded anew", "none", "yes"],
        ["encoded anew, shrunk, metadata removed", "none", "no"],
        ["screenshot", "none", "no"],
    ]
