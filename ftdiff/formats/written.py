"""What a file is that ftdiff has written, told by its first bytes, and which commands take it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ftdiff.errors import BadFile
from ftdiff.tensors import stamp

#: By the word in a saved result's tag, the commands that take it.
TAKEN: Mapping[str, tuple[str, ...]] = {
    "diff": ("findings", "plot", "report", "audit", "card", "attest"),
    **dict.fromkeys(
        ("similarity", "trajectory", "merge", "probe", "drift"), ("findings", "plot", "report")
    ),
    "lineage": ("findings", "plot"),
    **dict.fromkeys(("verification", "recovery", "claim"), ("findings",)),
}
#: Bytes that tell.
HEAD = 1 << 16
_TAG = re.compile(rb'\s*\{\s*"format"\s*:\s*"ftdiff\.([a-z]+)/')
#: Results that nothing takes again, by the word in their tag.
_PRINTED: Mapping[str, tuple[str, str]] = {
    "audit": ("a saved audit", "ftdiff audit --baseline takes it"),
    "findings": ("the JSON of findings", "findings takes the saved result that they are of"),
    "metrics": ("the JSON of `ftdiff metrics`", "nothing reads it again"),
}
#: What is meant where one of these is asked for.
POLICY, CLAIMS = "a policy", "claims, as `ftdiff attest` writes them"
_POLICY = (POLICY, "`ftdiff audit … --policy` takes it")
_CLAIMS = (CLAIMS, "verify-claim takes them, and card --check")
_JOURNAL = ("a journal of what was measured", "the command that wrote it goes on from it, with -o")
_PAGE = ("a page, as `ftdiff report` writes it", "a browser shows it")
_PICTURE = ("a picture", "plot draws one from a saved result")
_CARD = ("a model card with our section", "`ftdiff card DIFF README` writes into it")
_KEY = ("a key", "attest and verify-claim take it as --key")
_SARIF = ("an audit in SARIF", "ftdiff audit --baseline takes it")
_JUNIT = ("an audit in JUnit's XML", "audit takes the diff.json that it is of")
#: How the first bytes begin, and of what.
_BEGIN: tuple[tuple[bytes, tuple[str, str]], ...] = (
    (b'{"payload"', _CLAIMS),
    (b"SQLite format 3\0", _JOURNAL),
    (b"\x89PNG", _PICTURE),
    (b"%PDF", _PICTURE),
    (b"-----BEGIN", _KEY),
    (b"ssh-ed25519 ", _KEY),
)
#: What the first bytes hold, where the name ends so.
_HOLD: tuple[tuple[str, bytes, tuple[str, str]], ...] = (
    (".svg", b"<svg", _PICTURE),
    (".html", b"ftdiff", _PAGE),
    (".toml", b"ftdiff.policy/", _POLICY),
    (".toml", b"[rules", _POLICY),
    (".md", b"<!-- ftdiff:begin -->", _CARD),
    (".sarif", b"sarif", _SARIF),
    (".json", b"sarif-schema", _SARIF),
    (".xml", b"<testsuite", _JUNIT),
)
#: How the first line of a table of ours begins, and of which result it is; asked in this order.
_TABLES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(columns.replace(b"@", b"tensor,stack,layer,[a-z_,]*?")), of)
    for columns, of in (
        (rb"@,status,said,form,", "verification"),
        (rb"@,status,said,shape,", "merge"),
        (rb"@,status,(form|shape),", "diff"),
        (rb"@,checkpoint,step,", "trajectory"),
        (rb"@,a,b,tensors,", "similarity"),
        (rb"@,change,said,shape,", "recovery"),
        (rb"tensor,stack,layer,component,moved_sq,", "drift"),
        (rb"site,stack,layer,position,texts,", "drift"),
        (rb"text,tokens,loss_base,loss_tuned,", "drift"),
        (rb"model,site,stack,layer,", "probe"),
        (rb"candidate,measured,coverage,", "lineage"),
        (rb"tensor,side,check,what,", "claim"),
        (rb"stack,layer,component,measure,value,", "diff"),
    )
)


@dataclass(frozen=True)
class Written:
    """A file of ours.

    Attributes
    ----------
    word
        The kind in its tag, if it is a saved result; else "".
    what, way
        What it is, and which commands take it, in words.
    """

    word: str
    what: str
    way: str

    def __str__(self) -> str:
        return f"{self.what}; {self.way}"


def written(path: str | Path, head: bytes) -> Written | None:
    """Return what a file is, by its name and its first bytes; None where it is none of ours."""
    path, begun = Path(str(path)), head.lstrip()
    if match := _TAG.match(head):
        return _tagged(match[1].decode())
    for start, (what, way) in _BEGIN:
        if begun.startswith(start):
            return Written("", what, way)
    for suffix, held, (what, way) in _HOLD:
        if path.name.lower().endswith(suffix) and held in head:
            return Written("", what, way)
    for table, of in _TABLES:
        if table.match(begun):
            return Written("", f"the table of a {of}", _beside(path, of))
    return None


def opened(path: str | Path) -> Written | None:
    """Return what a file is, by its name and its first bytes, which are read.

    Raises
    ------
    OSError
        It cannot be read.
    BadFile
        It is a pipe or a device, of which the first bytes may never come.
    """
    stamp(path)
    with Path(path).open("rb") as file:
        return written(path, file.read(HEAD))


def refuse(path: str | Path, wanted: str) -> None:
    """Refuse a file of ours where something else is wanted: it is named for what it is.

    Raises
    ------
    BadFile
        It is one, or a pipe or a device.
    """
    try:
        ours = opened(path)
    except OSError:  # said by whoever reads it
        return
    if ours is not None and wanted != ours.what:
        raise BadFile(f"{path}: {ours.what}, not {wanted}; {ours.way}")


def taken(word: str) -> str:
    """Say which commands take a saved result.

    >>> taken("lineage"), taken("claim")
    ('findings and plot take it', 'findings takes it')
    """
    *first, last = TAKEN[word]
    return f"{', '.join(first)} and {last} take it" if first else f"{last} takes it"


def _tagged(word: str) -> Written:
    if word in TAKEN:
        return Written(word, f"a saved {word}", taken(word))
    what, way = _PRINTED.get(word, (f"{word} written by ftdiff", "nothing reads it again"))
    return Written(word, what, way)


def _beside(path: Path, of: str) -> str:
    """Say where the whole result is, of which a file is the table."""
    for name in (f"{of}.json", f"{path.stem}.json"):
        if (path.parent / name).is_file():
            return f"{path.parent / name} is the whole, which commands take"
    return "commands take the whole, in JSON, as -o and --format json give it"
