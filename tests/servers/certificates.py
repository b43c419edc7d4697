"""Certificates for the tests of TLS: of a server, of a client, and of an authority of nobody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

__all__ = ["KEY_PASSWORD", "Certificates", "make_certificates"]

KEY_PASSWORD = "the-key-is-locked"
"""What :attr:`Certificates.locked_key` is encrypted with."""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM format, all made for one run of the tests.

    ``authority`` signed the certificates ``server``, which is for 127.0.0.1 and no other
    address or name, and ``client``; ``stranger`` is an authority that signed neither.
    ``locked_key`` is ``client_key``, encrypted.
    """

    authority: Path
    stranger: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    locked_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Make certificates in a directory, valid from now on."""
    made = Certificates(
        *(
            directory / f"{name}.pem"
            for name in (
                "authority",
                "stranger",
                "server",
                "server-key",
                "client",
                "client-key",
                "locked-key",
            )
        )
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made.authority)
    trustme.CA().cert_pem.write_to_path(made.stranger)
    server = authority.issue_cert("127.0.0.1")
    client = authority.issue_cert(common_name="client")
    for one, certificate, key in (
        (server, made.server, made.server_key),
        (client, made.client, made.client_key),
    ):
        one.cert_chain_pems[0].write_to_path(certificate)
        one.private_key_pem.write_to_path(key)
    client_key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
    made.locked_key.write_bytes(
        client_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(KEY_PASSWORD.encode()),
        )
    )
    return made
