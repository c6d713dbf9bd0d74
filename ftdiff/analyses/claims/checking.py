"""Check a claim: its signature, its digests, and its numbers, recomputed to the last bit."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ftdiff.analyses.claims import keys
from ftdiff.analyses.claims.envelope import Line
from ftdiff.analyses.claims.files import SIDES, Files, headers_at
from ftdiff.analyses.claims.held import Held, said_of
from ftdiff.analyses.claims.reading import Asked, Refuted, trusted, where
from ftdiff.analyses.claims.result import DIFFERS, EQUAL, NOT_DRAWN, ClaimCheck, Fault
from ftdiff.analyses.claims.sampling import Drawn, draw
from ftdiff.analyses.claims.values import shown
from ftdiff.analyses.finding import counted
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of, version
from ftdiff.errors import BadCall, FtdiffError


def verify_claim(
    claims: str | Path,
    base: Any,
    tuned: Any,
    key: str | Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    sample: int | None = None,
    digests: int | None = None,
    seed: int | None = None,
    files: bool = False,
) -> ClaimCheck:
    """Say whether what was claimed of two models holds of these files.

    Parameters
    ----------
    claims
        A file with a claim on each line. Every line that is about these files has to hold, and
        there has to be one.
    base, tuned
        The two models: paths of this machine. They may be in other shards than those of the claim.
    key
        The file of the public key of whom you trust; lines of others are left aside. Without one
        nobody is known to have signed, and the verdict is "recomputed" at best.
    executor, progress
        As in `ftdiff.compare`.
    sample
        Recompute so many tensors that moved or may have moved, and not all of them, and hash what
        is stored of these. What headers tell is held of all.
    digests
        Recompute every number, and hash only so many tensors of each side: most of the time of a
        check goes into digests.
    seed
        What draws the sample; by default another each time, which the result tells.
    files
        Hold each file to the claim, too: the folders have to be the very same.

    Returns
    -------
    ClaimCheck
        Its first sentence names what does not hold.

    Raises
    ------
    BadFile
        What was given cannot be read: no envelope, or a predicate of another or a later type.
    BadCall
        A side is in memory or on another machine; a sample of nothing.
    """
    if any(count is not None and count < 1 for count in (sample, digests)):
        raise BadCall("a sample has at least one tensor")
    if sample is not None and digests is not None:
        raise BadCall("either a sample, or all numbers and a few digests")
    if seed is not None and sample is None and digests is None:
        raise BadCall("a seed draws a sample: say of how many tensors")
    public = keys.public_key(key) if key is not None else None
    lots = secrets.randbits(32) if seed is None else seed
    by = None if key is None else str(key)
    asked = Asked(str(claims), by, public, sample, digests, lots, files)
    about: dict[str, Any] = {"claims": asked.claims, **made_of(base=[], tuned=[])}
    try:
        lines = trusted(asked)
        opened = _opened(asked, lines, base, tuned, executor, progress)
    except Refuted as error:
        return ClaimCheck.of(error.fault.verdict, [error.fault.said], [], about)
    about |= made_of(base=[opened.sides.base], tuned=[opened.sides.tuned])
    return _checked(asked, lines, opened, about)


def _opened(
    asked: Asked,
    lines: Sequence[tuple[Line, Held]],
    base: Any,
    tuned: Any,
    executor: Executor | None,
    progress: Progress | None,
) -> Files:
    """Open both sides as the last line has them; those of other options are about other files."""
    line, held = lines[-1]
    try:
        delta = held.tuned_is_delta
        return Files.open_(base, tuned, executor, progress, tuned_is_delta=delta)
    except FtdiffError:
        if _are_swapped(held, base, tuned):
            said = f"{where(asked, line)}: BASE and TUNED are swapped"
            raise Refuted(Fault("other_tensors", said)) from None
        raise


def _are_swapped(held: Held, base: Any, tuned: Any) -> bool:
    """Say whether the headers of each side are those that the claim gives the other."""
    try:
        given = {"base": headers_at(tuned), "tuned": headers_at(base)}
    except FtdiffError:
        return False
    return all(held.facts(side) == given[side] for side in SIDES)


def _checked(
    asked: Asked,
    lines: Sequence[tuple[Line, Held]],
    files: Files,
    about: dict[str, Any],
) -> ClaimCheck:
    """Hold every line to the files, and reach the verdict."""
    rows: list[dict[str, Any]] = []
    holding: list[Line] = []
    elsewhere: list[Fault] = []
    words: list[str] = []
    drawn = draw(files, asked.seed, asked.sample, asked.digests)
    for line, held in lines:
        fault = held.fault(files, drawn, whole_folders=asked.files, besides=Path(asked.claims).name)
        if fault is None:
            holding.append(line)
            rows, words = _rows(held, drawn, None), said_of(held, files)
        elif fault.verdict == "other_tensors" or held.tuned_is_delta != lines[-1][1].tuned_is_delta:
            elsewhere.append(fault)
        else:
            return _refuted(asked, line, held, fault, drawn, about)
    about |= {"key": asked.key, "files": {side: held.others(files, side) for side in SIDES}}
    if drawn.hashed is not None:
        about |= {"sample": asked.sample, "digests": asked.digests, "seed": asked.seed}
    if not holding:
        line, held = lines[-1]
        return _refuted(asked, line, held, elsewhere[-1], drawn, about)
    about["line"] = holding[-1].number
    verdict = "recomputed" if asked.public is None else "verified"
    sentences = [_verdict(asked, holding, len(rows), drawn), *words]
    if elsewhere:
        verb = "is" if len(elsewhere) == 1 else "are"
        sentences.append(f"{counted(len(elsewhere), 'line')} more {verb} about other files.")
    return ClaimCheck.of(verdict, sentences, rows, about)


def _refuted(
    asked: Asked,
    line: Line,
    held: Held,
    fault: Fault,
    drawn: Drawn,
    about: dict[str, Any],
) -> ClaimCheck:
    said = f"{where(asked, line)}: {fault.said}"
    if fault.verdict == "other_numbers" and held.version != version():
        said += f" (claimed by ftdiff {shown(held.version)}, this is {version()})"
    about |= {"line": line.number, "key": asked.key}
    return ClaimCheck.of(fault.verdict, [said], _rows(held, drawn, fault), about)


def _rows(held: Held, drawn: Drawn, fault: Fault | None) -> list[dict[str, Any]]:
    """Return a row for each tensor of the claim; nothing is said of what was not come to."""
    wrong = dict(fault.row) if fault is not None and fault.row is not None else {}
    rows = []
    for name in held.rows:
        if name == wrong.get("tensor"):
            rows.append({**wrong, "check": DIFFERS})
        elif fault is None:
            chosen = drawn.rows is None or name in drawn.rows
            rows.append({"tensor": name, "check": EQUAL if chosen else NOT_DRAWN})
    if wrong and not any(row["tensor"] == wrong["tensor"] for row in rows):
        rows.append({**wrong, "check": DIFFERS})
    return rows


def _verdict(asked: Asked, lines: Sequence[Line], count: int, drawn: Drawn) -> str:
    at = f"{asked.claims} line {', '.join(str(line.number) for line in lines)}"
    if asked.public is None:
        by = "unsigned by anyone you named (--key PUB says by whom)"
    else:
        by = f"signed with {asked.key} (keyid {asked.public.keyid[:12]})"
    if drawn.rows is None:
        what = f"all of {counted(count, 'row')} recomputed, each number equal to the bit"
    else:
        what = (
            f"{counted(len(drawn.rows), 'tensor')} of a sample with seed {asked.seed} recomputed, "
            "each number equal to the bit"
        )
    if asked.digests is not None:
        what += f"; digests of {counted(asked.digests, 'tensor')} a side, drawn with seed "
        what += str(asked.seed)
    return f"{at}: {by}; {what}."
