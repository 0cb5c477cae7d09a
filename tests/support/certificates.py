"""Throw-away certificates, made in the test that signs with them."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]
MAKERS = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "es512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
}


def write_certificates(folder: Path, algorithm: str = "es256", days: int = 10) -> tuple[Path, Path, Path]:
    """Files of a chain, its key, and the certificate that vouches for it."""
    root, key = MAKERS["es256"](), MAKERS[algorithm]()
    vouching = _certificate(
        "Test authority", "Test authority", root, root, None, days, usage=["key_cert_sign"]
    )
    signer = _certificate("Test signer", "Test authority", key, root, root, days, usage=["digital_signature"])
    chain, secret, anchor = (folder / name for name in ("chain.pem", "key.pem", "anchor.pem"))
    pem = serialization.Encoding.PEM
    chain.write_bytes(signer.public_bytes(pem) + vouching.public_bytes(pem))
    anchor.write_bytes(vouching.public_bytes(pem))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(pem, form, plain))
    return chain, secret, anchor


def _certificate(subject, issuer, key, signing, authority, days, usage):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=20))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority is None, None), True)
        .add_extension(x509.KeyUsage(**{name: name in usage for name in USAGES}), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    if authority is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        builder = builder.add_extension(identifier, False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(signing, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "fomm-lib tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
