"""Statements in DSSE envelopes, a line of `claims.jsonl` each: written, read, and their signers."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftdiff.errors import BadFile, require
from ftdiff.formats.checkpoint import parse_json
from ftdiff.formats.written import CLAIMS, refuse
from ftdiff.tensors import stamp

#: The types of the payload, of the statement in it, and of its predicate.
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://ftdiff.github.io/claim/v1"
VERSION = 1
_OURS = re.compile(r"https://ftdiff\.github\.io/claim/v(\d+)(?:\.\d+)*")
_LARGEST = 4 << 30


class Damaged(Exception):
    """A line that is not what was written: cut short, or doubled."""


class Superseded(Damaged):
    """A line of an older version, which is not taken any more."""


@dataclass(frozen=True)
class Line:
    """A line of claims.jsonl.

    Attributes
    ----------
    number
        Which, from 1.
    envelope
        The DSSE envelope.
    payload
        What it holds, as bytes.
    """

    number: int
    envelope: Mapping[str, Any]
    payload: bytes


def signed(statement: Mapping[str, Any], signer: Any) -> str:
    """Return a statement in an envelope with one signature, as a line."""
    dsse = require("securesystemslib.dsse", "sign", "a claim's signature")
    text = json.dumps(statement, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    envelope = dsse.Envelope(text.encode("utf-8"), PAYLOAD, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":"))


def append(path: Path, line: str) -> bool:
    """Add a line to a file, which is begun where it is not there; say whether it was not in it.

    Raises
    ------
    BadFile
        The file cannot be written, or its last line is cut short.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and stamp(path)[2] > _LARGEST:
            raise BadFile(f"{path}: too large for a file of claims")
        before = path.read_bytes() if path.exists() else b""
        if line.encode() in before.splitlines():
            return False
        if before and not before.endswith(b"\n"):
            raise BadFile(f"{path}: its last line has no end: cut short? nothing was added")
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
    except OSError as error:
        raise BadFile(f"{path}: cannot be written ({error.strerror or error})") from error
    return True


def lines(path: Path) -> list[Line]:
    """Read the lines of a file of claims.

    Raises
    ------
    BadFile
        It cannot be read, or a line is no envelope.
    Damaged
        A line is cut short, or stands twice.
    """
    refuse(path, CLAIMS)
    try:
        if stamp(path)[2] > _LARGEST:
            raise BadFile(f"{path}: too large for a file of claims")
        texts = path.read_bytes().decode("utf-8").split("\n")
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: no file of claims: it is not text") from error
    found: list[Line] = []
    seen: dict[str, int] = {}
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        line = _line(f"{path} line {number}", number, text)
        if text in seen:
            raise Damaged(f"{path} line {number}: the same as line {seen[text]}: it stands twice")
        seen[text] = number
        found.append(line)
    if not found:
        raise BadFile(f"{path}: there is no claim in it")
    return found


def _line(where: str, number: int, text: str) -> Line:
    try:
        envelope = parse_json(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[error.pos :].startswith("{"):
            raise Damaged(f"{where}: two envelopes in one line: it stands twice") from error
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        if cut and text.startswith('{"payload"'):
            told = f"{len(text):,} characters and no end"
            raise Damaged(f"{where}: cut short: {told}") from error
        raise BadFile(f"{where}: no envelope: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{where}: no envelope: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("payload"), str):
        raise BadFile(f"{where}: no envelope: it has no payload")
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or not all(isinstance(one, dict) for one in signatures):
        raise BadFile(f"{where}: no envelope: it has no signatures")
    if envelope.get("payloadType") != PAYLOAD:
        raise BadFile(f"{where}: its payload is no in-toto statement")
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Damaged(f"{where}: its payload is cut short, or no base64") from error
    return Line(number, envelope, payload)


def statement_of(line: Line, where: str) -> dict[str, Any]:
    """Return the statement of a line, of the one version that is taken.

    Raises
    ------
    BadFile
        It is no statement, or its predicate is none of ours, or of a later version.
    Superseded
        Its predicate is of an older version.
    Damaged
        It is no JSON.
    """
    try:
        found = parse_json(line.payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{where}: its payload is no JSON: cut short, or changed") from error
    if not isinstance(found, dict) or found.get("_type") != STATEMENT:
        raise BadFile(f"{where}: no in-toto statement of version 1")
    kind = found.get("predicateType")
    ours = _OURS.fullmatch(kind) if isinstance(kind, str) else None
    if ours is None or int(ours[1]) > VERSION:
        raise BadFile(f"{where}: a predicate of type {str(kind)[:80]!r}, this is {PREDICATE}")
    if int(ours[1]) < VERSION or kind != PREDICATE:
        old = f"a claim of the older type {kind!r}, which is not taken any more"
        raise Superseded(f"{where}: {old}: attest again")
    return found


def keyids(line: Line) -> tuple[str, ...]:
    """Return what a line says of its signers."""
    return tuple(str(one.get("keyid", "")) for one in line.envelope["signatures"])


def is_signed(line: Line, key: Any) -> bool:
    """Say whether a line is signed with a key."""
    dsse = require("securesystemslib.dsse", "sign", "a claim's signature")
    wrong = require("securesystemslib.exceptions", "sign", "a claim's signature")
    signatures = line.envelope["signatures"]
    try:
        # a signer's name is a hint, which others leave empty
        named = [{**one, "keyid": one.get("keyid") or key.keyid} for one in signatures]
        copied = {**line.envelope, "signatures": named}
        dsse.Envelope.from_dict(copied).verify([key], 1)
    except (wrong.Error, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True
