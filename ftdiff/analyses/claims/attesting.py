"""Attest a diff: it is recomputed from the files, and what agrees to the bit is signed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ftdiff.analyses.claims import digests, envelope, keys, stored
from ftdiff.analyses.claims.files import SIDES, Files
from ftdiff.analyses.claims.predicate import (
    IN_ANY_SHARDS,
    about_for_others,
    is_delta,
    only_sums,
    predicate,
    statement,
)
from ftdiff.analyses.claims.result import Claim
from ftdiff.analyses.claims.sentences import differing
from ftdiff.analyses.findings import findings
from ftdiff.comparison import cut
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of
from ftdiff.comparison.result import Diff
from ftdiff.errors import BadCall, BadFile


def attest(
    diff: Diff | str | Path,
    key: str | Path,
    executor: Executor | None = None,
    progress: Progress | None = None,
    *,
    base: str | Path | None = None,
    tuned: str | Path | None = None,
    ignored: Collection[str] = (),
) -> Claim:
    """Sign what a diff says of its two models, once it is recomputed from their files.

    Parameters
    ----------
    diff
        A diff of two local paths, or the file in which it was saved.
    key
        The file of a private key: PEM, or as ssh-keygen writes it; `ftdiff attest --new-key`
        makes one.
    executor, progress
        As in `ftdiff.compare`.
    base, tuned
        Where the two are, if not where the diff was made of them.
    ignored
        Names at the top of the folders that are no part of them: the file of the claim.

    Returns
    -------
    Claim
        An in-toto statement in a DSSE envelope; `append` writes it.

    Raises
    ------
    BadFile
        The files are not those of the diff any more, or a file cannot be read.
    BadCall
        The diff has no base, is of parts of tensors, or of what is in memory or elsewhere.
    MissingExtra
        The libraries that sign are not installed.
    """
    signer = keys.signer(key)
    held = diff if isinstance(diff, Diff) else Diff.load(diff)
    where = "the diff" if isinstance(diff, Diff) else str(diff)
    cut.whole(held, "a claim", where)
    if not held.about.get("base"):
        raise BadCall(f"{where}: a diff without a base says nothing that others can recompute")
    if held.about.get("selection"):
        raise BadCall(f"{where}: a selection of tensors: attest a diff of all of them")
    for side, given in zip(SIDES, (base, tuned), strict=True):
        if given is None and not (held.about.get("files") or {}).get(side):
            told = f"its {side} was {held.about[side]}, and no file"
            raise BadCall(f"{where}: {told}: a path is needed, for others to have the same")
    one, two = base or held.about["base"], tuned or held.about["tuned"]
    files = Files.open_(one, two, executor, progress, tuned_is_delta=is_delta(held))
    _held_to(where, held.about, files)
    about = about_for_others(held)
    whole, again = only_sums(held, about), files.measured()
    fault = differing(whole, only_sums(again, again.about))
    if fault:
        raise BadFile(f"{where}: not what its files give now: {fault}; compare again")
    sides = {side: _side(files, side, ignored) for side in SIDES}
    subjects = [
        {
            "name": named,
            "digest": {
                "sha256": digests.of_manifest(sides[side]["files"]),
                IN_ANY_SHARDS: digests.of_leaves(sides[side]["tensors"]),
            },
        }
        for side in SIDES
        for named in (sides[side]["name"],)
    ]
    made = statement(predicate(whole, findings(whole), sides), subjects)
    return Claim(envelope.signed(made, signer), made)


def _held_to(where: str, about: Mapping[str, Any], files: Files) -> None:
    """Hold what a diff says of its files against the files, before anything is measured."""
    told = about.get("sources") or {}
    here: Any = made_of(base=[files.sides.base], tuned=[files.sides.tuned])["sources"]
    for side in SIDES:
        before = {Path(f["path"]).name: f for one in told.get(side, ()) for f in one["files"]}
        for file in (file for one in here[side] for file in one["files"]):
            was = before.get(Path(file["path"]).name, {})
            for what in ("bytes", "header_sha256", "pages_sha256"):
                if what in was and was[what] != file.get(what):
                    raise BadFile(
                        f"{file['path']}: changed since {where} was made ({what} was "
                        f"{_short(was[what])} and is {_short(file.get(what))}); compare again"
                    )


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)[:12]


def _side(files: Files, side: str, ignored: Collection[str]) -> dict[str, Any]:
    opened = files.opened(side)
    taken, place = files.digests(side), stored.place_of(opened)
    held = digests.files_of(place, ignored)
    return {
        "name": stored.named(str(place)),
        "files": digests.of_files(held, files.executor, files.progress),
        "ignored": sorted(ignored),
        "tensors": [
            [*stored.facts(name, one), taken[name]]
            for name, one in sorted(files.tensors[side].items())
        ],
    }
