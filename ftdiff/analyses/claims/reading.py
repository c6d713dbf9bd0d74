"""Lines of claims that are to be believed: whole, once each, and of the signer who was named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftdiff.analyses.claims import envelope, keys
from ftdiff.analyses.claims.envelope import Damaged, Line, Superseded
from ftdiff.analyses.claims.held import Held
from ftdiff.analyses.claims.result import Fault
from ftdiff.comparison.result import Diff


@dataclass(frozen=True)
class Asked:
    """What is asked of a check; see `verify_claim`."""

    claims: str
    key: str | None
    public: Any
    sample: int | None = None
    digests: int | None = None
    seed: int = 0
    files: bool = False


class Refuted(Exception):
    """A fault that ends the check before weights are read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.said)
        self.fault = fault


def claimed(claims: str | Path, key: str | Path | None = None) -> list[Diff]:
    """Return the diffs that are claimed in a file, of the lines that a key signed or of all.

    No weight is read, and what a claim says is not recomputed.

    Raises
    ------
    Refuted
        A line is damaged, or none is signed with the key.
    BadFile
        As in `verify_claim`.
    """
    public = keys.public_key(key) if key is not None else None
    asked = Asked(str(claims), None if key is None else str(key), public)
    return [held.diff for _, held in trusted(asked)]


def trusted(asked: Asked) -> list[tuple[Line, Held]]:
    """Return the lines that are to be believed, taken apart; errors are those of `claimed`."""
    try:
        lines = [(one, _statement(asked, one)) for one in envelope.lines(Path(asked.claims))]
    except Damaged as error:
        verdict = "superseded" if isinstance(error, Superseded) else "damaged"
        raise Refuted(Fault(verdict, str(error))) from error
    return _signed(asked, lines)


def where(asked: Asked, line: Line) -> str:
    """Name a line."""
    return f"{asked.claims} line {line.number}"


def _statement(asked: Asked, line: Line) -> Mapping[str, Any]:
    """Return the statement of a line; what was signed and changed since need not be one."""
    try:
        return envelope.statement_of(line, where(asked, line))
    except Damaged:
        if asked.public is None or envelope.is_signed(line, asked.public):
            raise
        return {}


def _signed(
    asked: Asked, lines: Sequence[tuple[Line, Mapping[str, Any]]]
) -> list[tuple[Line, Held]]:
    """Return the lines that are signed with the key that was named, or all without one.

    Raises
    ------
    Refuted
        There is none, or one says that it is, and is not.
    """
    found = []
    others = []
    for line, statement in lines:
        if asked.public is None or envelope.is_signed(line, asked.public):
            found.append((line, Held.of(statement, where(asked, line))))
        elif asked.public.keyid in envelope.keyids(line):
            said = f"{where(asked, line)}: changed since it was signed with {asked.key}"
            raise Refuted(Fault("unsigned", said))
        else:
            others.append(line)
    if not found:
        ids = sorted({one[:12] for line in others for one in envelope.keyids(line)})
        told = f"{asked.key} (keyid {asked.public.keyid[:12]})"
        by = f"signed with another key (keyid {', '.join(ids)})" if ids else "not signed"
        raise Refuted(Fault("unsigned", f"{where(asked, others[-1])}: {by}, not with {told}"))
    return found
