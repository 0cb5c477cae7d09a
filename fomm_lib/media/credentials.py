"""Content credentials (C2PA): a signed statement inside a file about what it is, and who says so.

    credentials = Credentials("chain.pem", "key.pem")
    animate(model, "me.jpg", "clip.mp4", "moving.mp4", credentials=credentials)
    print(describe_credentials("moving.mp4"))

The statement (manifest) names the program, says that the content was made by a trained model, and names
portrait and driving video with their SHA-256. The signature covers the statement and the bytes of the file:
it survives copying, and no change. A file that is encoded anew, or a screenshot, has lost it; so its absence
proves nothing. Nothing is fetched from a network: no time stamp, no list of trusted or withdrawn
certificates.

Needs the extra `credentials` (c2pa-python).

Sources: C2PA, Technical Specification 2.1, sections 8 to 10, 13 to 15 and 18; IPTC, Digital Source Type.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fomm_lib.errors import InputError, error_text, one_line, printable
from fomm_lib.files import check_name
from fomm_lib.media.formats import OUTPUT_FORMATS
from fomm_lib.releases import require_module
from fomm_lib.version import __version__

MADE_BY_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MEDIA_TYPES = {"mp4": "video/mp4", "mov": "video/quicktime", "gif": "image/gif", "apng": "image/png"}
SIGNED_FORMATS = {
    ending: _MEDIA_TYPES[form.container]
    for ending, form in OUTPUT_FORMATS.items()
    if form.container in _MEDIA_TYPES
}
"""Endings of outputs in which a manifest can be written, to their media type: not WebM."""
LARGEST_PEM = 2**20

_NEEDED = "c2pa", "content credentials need the package c2pa-python", "credentials"
# Neither does reading ask an address that a foreign file names, nor does signing add a preview of a portrait.
_OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_ALTERED = {
    "assertion.bmffHash.mismatch",
    "assertion.dataHash.mismatch",
    "assertion.boxesHash.mismatch",
    "assertion.hashedURI.mismatch",
    "claimSignature.mismatch",
}
_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Credentials:
    """Who signs: a chain of certificates and its private key, two PEM files.

    A chain begins with the certificate of the signer (allowed for document signing or e-mail protection) and
    goes on with those that vouch for it; a certificate that vouches for itself cannot sign. Keys: elliptic
    (P-256, P-384, P-521), Ed25519, or RSA of at least 2048 bits.

    Args:
        certificates: the file of the chain.
        key: the file of the private key, without a password.

    Raises:
        InputError: the extra is missing, a file cannot be read, or certificate and key cannot sign: an image
            is signed at once to see it, not after a long animation.

    Example:
        >>> credentials = Credentials("chain.pem", "key.pem")  # doctest: +SKIP
    """

    certificates: str | os.PathLike
    key: str | os.PathLike

    def __post_init__(self) -> None:
        require_module(*_NEEDED)
        image = io.BytesIO()
        Image.new("RGB", (8, 8)).save(image, "PNG")
        image.seek(0)
        self._sign("image/png", image, io.BytesIO(), "check", [])

    def sign(self, path: str | os.PathLike, title: str, inputs: list[str | os.PathLike]) -> None:
        """Put a manifest into a finished file.

        Args:
            path: the file, with an ending of `SIGNED_FORMATS`.
            title: what the manifest calls it.
            inputs: the files that it was made of, whose names and SHA-256 the manifest says.

        Raises:
            InputError: another format, or the file cannot be signed.
        """
        path = Path(path)
        kind = signed_format(path)
        signed = path.with_name(f"{path.name}.signed")
        try:
            with open(path, "rb") as source, open(signed, "w+b") as target:
                self._sign(kind, source, target, title, inputs)
            os.replace(signed, path)
        finally:
            signed.unlink(missing_ok=True)

    def _sign(self, kind: str, source: Any, target: Any, title: str, inputs: list) -> None:
        import c2pa

        chain, key = _read_pem(self.certificates), _read_pem(self.key)
        try:
            with _context() as context:
                ingredients = [_ingredient(number, path) for number, path in enumerate(inputs)]
                own = [_has_manifest(path, context) for path in inputs]
            manifest = _manifest(title, ingredients, own)
            signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(self.key, key), chain, key, None))
            with signer, _context() as context, c2pa.Builder(manifest, context) as builder:
                for ingredient, path in itertools.compress(zip(ingredients, inputs, strict=True), own):
                    with open(path, "rb") as file:  # with its own credentials
                        builder.add_ingredient(ingredient, media_type(path), file)
                builder.sign(signer, kind, source, target)
        except c2pa.C2paError as error:
            text = (
                f"cannot sign with the key {self.key} ({error_text(error)}); give a chain that begins with "
                "the signer's certificate, and the private key of that certificate"
            )
            raise InputError(one_line(self.certificates, text)) from error


def signed_format(path: str | os.PathLike) -> str:
    """The media type of a file that a manifest can be written into.

    Raises:
        InputError: none can be written into such a file.

    Example:
        >>> signed_format("moving.mp4")
        'video/mp4'
    """
    kind = SIGNED_FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        text = f"content credentials can be written into {', '.join(SIGNED_FORMATS)}; give such a name"
        raise InputError(one_line(path, text))
    return kind


def read_credentials(path: str | os.PathLike, anchors: str | os.PathLike | None = None) -> dict | None:
    """What the content credentials of a file say, and whether it is still the file that was signed.

    Args:
        path: a video or an image.
        anchors: a PEM file of certificates that are trusted to vouch for signers; None trusts nobody.

    Returns:
        None for a file without credentials; else "generator", "title", "source_types" (addresses of the IPTC
        list), "inputs" (a list of {"title", "note"}), "signer", "state": "altered", "valid" (as it was
        signed, by somebody), "trusted" (and `anchors` vouch for the signer's certificate) or "invalid", and
        "reasons", the codes of what failed.

    Raises:
        InputError: the extra is missing, the file cannot be read, or `anchors` holds no certificate.

    Source: C2PA, Technical Specification 2.1, section 15 (validation).
    """
    require_module(*_NEEDED)
    import c2pa

    path = Path(path)
    kind = media_type(path)
    if kind is None:
        return None
    try:
        with open(path, "rb") as file, _context(anchors) as context:
            reader = c2pa.Reader(kind, file, context=context)
            report, state = json.loads(reader.json()), reader.get_validation_state()
            reader.close()
    except OSError as error:
        raise InputError(one_line(path, f"cannot be read ({error_text(error)})")) from error
    except c2pa.C2paError as error:
        if error_text(error).startswith("ManifestNotFound"):
            return None
        text = f"its content credentials are damaged ({error_text(error)}); get the file anew"
        raise InputError(one_line(path, text)) from error
    reasons = [status["code"] for status in report.get("validation_status", [])]
    manifest = report["manifests"][report["active_manifest"]]
    signature = manifest.get("signature_info", {})
    return {
        "generator": " ".join(
            str(generator.get(part, ""))
            for generator in manifest["claim_generator_info"][:1]
            for part in ("name", "version")
        ).strip(),
        "title": manifest.get("title", ""),
        "source_types": _source_types(manifest),
        "inputs": [
            {"title": one.get("title", ""), "note": one.get("description", "")}
            for one in manifest.get("ingredients", [])
        ],
        "signer": signature.get("common_name") or signature.get("issuer") or "unknown",
        "state": _state(state, reasons),
        "reasons": reasons,
    }


def _state(state: str | None, reasons: list[str]) -> str:
    if _ALTERED & set(reasons):
        return "altered"
    if state == "Trusted":
        return "trusted"
    return "valid" if set(reasons) <= {"signingCredential.untrusted"} else "invalid"


def describe_credentials(path: str | os.PathLike, anchors: str | os.PathLike | None = None) -> str:
    """The content credentials of a file in some lines, as `fomm info` prints them."""
    found = read_credentials(path, anchors)
    if found is None:
        return "  content credentials: none (this proves nothing: encoding anew removes them)"
    said = {
        "altered": "ALTERED since it was signed",
        "valid": "as it was signed; whether the signer is who it says is not checked (--anchors FILE does)",
        "trusted": "as it was signed, by a signer whom the given certificates vouch for",
        "invalid": f"not valid: {', '.join(found['reasons'])}",
    }
    lines = [
        f"  content credentials: {said[found['state']]}",
        f"    signed by: {printable(found['signer'], 100)}",
        f"    made with: {printable(found['generator'], 100)}",
    ]
    lines += [f"    kind: {printable(kind.rpartition('/')[2], 100)}" for kind in found["source_types"]]
    for one in found["inputs"]:
        lines.append(f"    from: {printable(one['title'], 200)} ({printable(one['note'], 100)})")
    return "\n".join(lines)


def media_type(path: str | os.PathLike) -> str | None:
    """What a file is by its ending, for c2pa; None where no credentials can be in it."""
    import c2pa

    ending = Path(path).suffix.lower()
    known = ending.lstrip(".") in c2pa.Reader.get_supported_mime_types()
    return SIGNED_FORMATS.get(ending, ending.lstrip(".") if known else None)


# --- parts ---------------------------------------------------------------------------------------------


def _context(anchors: str | os.PathLike | None = None) -> Any:
    import c2pa

    settings: dict[str, Any] = dict(_OFFLINE)
    if anchors is not None:
        settings["trust"] = {"user_anchors": _read_anchors(anchors)}
    return c2pa.Context(c2pa.Settings.from_dict(settings))


def _read_anchors(path: str | os.PathLike) -> str:
    from cryptography.x509 import load_pem_x509_certificates

    text = _read_pem(path)
    try:
        load_pem_x509_certificates(text)
    except ValueError as error:
        raise InputError(one_line(path, f"holds no certificates ({error_text(error)})")) from error
    return text.decode("ascii", "replace")


def _manifest(title: str, ingredients: list[dict], own: list[bool]) -> dict:
    """What is signed. Ingredients that have credentials of their `own` are added later, with these."""
    made = {
        "action": "c2pa.created",
        "digitalSourceType": MADE_BY_MODEL,
        "softwareAgent": {"name": "fomm-lib", "version": __version__},
        "parameters": {"ingredientIds": [one["label"] for one in ingredients]},
    }
    return {
        "claim_generator_info": [{"name": "fomm-lib", "version": __version__}],
        "title": title,
        "ingredients": [one for one, has in zip(ingredients, own, strict=True) if not has],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [made]}}],
    }


def _ingredient(number: int, path: str | os.PathLike) -> dict:
    return {
        "label": f"input{number}",
        "title": printable(Path(path).name, 200),
        "relationship": "inputTo",
        "description": f"sha256 {_sha256(path)}",
    }


def _has_manifest(path: str | os.PathLike, context: Any) -> bool:
    """Whether a file has credentials; damaged ones count as none."""
    import c2pa

    kind = media_type(path)
    if kind is None or not Path(path).is_file():
        return False
    try:
        with open(path, "rb") as file:
            c2pa.Reader(kind, file, context=context).close()
    except c2pa.C2paError:
        return False
    return True


def _source_types(manifest: dict) -> list[str]:
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]
    return [action["digitalSourceType"] for action in actions if "digitalSourceType" in action]


def _sha256(path: str | os.PathLike) -> str:
    """Of a file; of a folder, that of the names and contents of its files in order."""
    digest = hashlib.sha256()
    folder = os.path.isdir(path)
    for file in sorted(Path(path).iterdir()) if folder else [Path(path)]:
        if folder:
            digest.update(os.fsencode(file.name) + b"\0")
        with open(file, "rb") as opened:
            while part := opened.read(2**20):
                digest.update(part)
    return digest.hexdigest()


def _read_pem(path: str | os.PathLike) -> bytes:
    check_name(path)
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_PEM)
    except (OSError, ValueError) as error:
        raise InputError(one_line(path, f"cannot be read ({error_text(error)})")) from error
    if b"-----BEGIN " not in text or b"\0" in text:
        raise InputError(one_line(path, "is no PEM file: such a file has a line -----BEGIN ...-----"))
    return text


def _algorithm(path: str | os.PathLike, key: bytes) -> str:
    """The signature algorithm for a private key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, None)
    except TypeError as error:
        text = "the private key has a password; write it without: openssl pkcs8 -topk8 -nocrypt"
        raise InputError(one_line(path, text)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(one_line(path, f"holds no private key ({error_text(error)})")) from error
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _ALGORITHMS:
        return _ALGORITHMS[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise InputError(one_line(path, "a key of P-256, P-384, P-521, Ed25519 or RSA can sign; this is another"))
