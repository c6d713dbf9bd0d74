"""Keys as files, made and read by `cryptography`, used by `securesystemslib`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ftdiff.errors import BadCall, BadFile, require
from ftdiff.tensors import stamp

_EXTRA = "sign"
_LARGEST = 1 << 20
_PRIVATE = b"PRIVATE KEY"


def new_key(path: str | Path) -> tuple[Path, Path]:
    """Make an Ed25519 key: the private one at `path`, for its owner's eyes only, and path.pub.

    Parameters
    ----------
    path
        A file that is not there yet.

    Raises
    ------
    BadCall
        One of the two files is there already.
    BadFile
        They cannot be written.
    MissingExtra
        `cryptography` is not installed.
    """
    ed25519 = _library("hazmat.primitives.asymmetric.ed25519")
    as_bytes = _library("hazmat.primitives.serialization")
    private, public = Path(path), Path(f"{path}.pub")
    for file in (private, public):
        if file.exists():
            raise BadCall(f"{file}: there already; a key is never written over")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = as_bytes.Encoding.PEM
    secret = key.private_bytes(pem, as_bytes.PrivateFormat.PKCS8, as_bytes.NoEncryption())
    open_ = key.public_key().public_bytes(pem, as_bytes.PublicFormat.SubjectPublicKeyInfo)
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        for file, held, mode in ((private, secret, 0o600), (public, open_, 0o644)):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as written:
                written.write(held)
    except OSError as error:
        raise BadFile(f"{path}: cannot be written ({error.strerror or error})") from error
    return private, public


def signer(path: str | Path) -> Any:
    """Return what signs with a private key: PEM, or as ssh-keygen writes it.

    Raises
    ------
    BadFile
        It is no private key, or an encrypted one, or of a kind that is not signed with.
    MissingExtra
        A library is not installed.
    """
    library = _library("hazmat.primitives.serialization")
    raw = _read(path)
    if _PRIVATE not in raw:
        raise BadFile(f"{path}: no private key; ftdiff attest --new-key {path} makes one")
    load = library.load_pem_private_key
    if b"OPENSSH" in raw:
        load = library.load_ssh_private_key
    signing = require("securesystemslib.signer", _EXTRA, "a claim's signature")
    try:
        return signing.CryptoSigner(load(raw, None))
    except TypeError as error:
        raise BadFile(f"{path}: the key is encrypted; sign with one that is not") from error
    except _wrong() as error:
        raise BadFile(f"{path}: a private key that cannot be used ({error})") from error


def public_key(path: str | Path) -> Any:
    """Return a public key: PEM, or as ssh-keygen writes it.

    Raises
    ------
    BadFile
        It is no public key.
    MissingExtra
        A library is not installed.
    """
    library = _library("hazmat.primitives.serialization")
    raw = _read(path)
    if _PRIVATE in raw:
        raise BadFile(f"{path}: a private key; a claim is checked with the public one, KEY.pub")
    load = library.load_pem_public_key if b"-----BEGIN" in raw else library.load_ssh_public_key
    signing = require("securesystemslib.signer", _EXTRA, "a claim's signature")
    try:
        return signing.SSlibKey.from_crypto(load(raw))
    except _wrong() as error:
        raise BadFile(f"{path}: no public key that can be used ({error})") from error


def _wrong() -> tuple[type[Exception], ...]:
    unsupported = _library("exceptions").UnsupportedAlgorithm
    return ValueError, KeyError, TypeError, unsupported


def _library(name: str) -> Any:
    return require(f"cryptography.{name}", _EXTRA, "a key")


def _read(path: str | Path) -> bytes:
    try:
        stamp(path)
        with Path(path).open("rb") as file:
            raw = file.read(_LARGEST)
    except OSError as error:
        more = ""
        if isinstance(error, FileNotFoundError):
            more = "; ftdiff attest --new-key KEY makes a key, and KEY.pub"
        raise BadFile(f"{path}: {error.strerror or error}{more}") from error
    return raw
