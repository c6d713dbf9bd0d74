"""A claim's predicate, taken apart and held against files: the first thing that does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftdiff.analyses.claims import digests
from ftdiff.analyses.claims.files import SIDES, Files
from ftdiff.analyses.claims.folders import others
from ftdiff.analyses.claims.predicate import (
    IN_ANY_SHARDS,
    ROW,
    about_for_others,
    diff_of,
    encoded,
    for_others,
    spoken,
    totals,
)
from ftdiff.analyses.claims.result import Fault
from ftdiff.analyses.claims.sampling import Drawn
from ftdiff.analyses.claims.sentences import differences, rows_of
from ftdiff.analyses.claims.values import alike, first_difference, plain_of, shown, two, value
from ftdiff.analyses.findings import findings
from ftdiff.comparison.result import Diff
from ftdiff.deltas.moments import COLUMNS
from ftdiff.errors import BadFile

#: Of what a claim says beside its rows, what headers tell, and what measuring does.
_FROM_HEADERS = ("kind", "coverage", "shares", "renamed", "unmatched", "adapter")
_FROM_WEIGHTS = ("parts", "counts", "unreadable")
#: The same, where the folders are the same too.
_FROM_FOLDERS = ("notes", "reasons", "kinship", "config")
#: Forms of a change whose sums are formed in one order on every machine.
_IN_ONE_ORDER = ("dense", "stored", "low-rank", None)
_UNFIT = (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError)


@dataclass(frozen=True)
class Held:
    """The predicate of a claim, of which the parts have the types that they are written in."""

    predicate: Mapping[str, Any]
    subjects: Sequence[Mapping[str, Any]]
    diff: Diff
    rows: Mapping[str, Mapping[str, Any]]
    lists: Mapping[str, Mapping[str, Sequence[Any]]]

    @classmethod
    def of(cls, statement: Mapping[str, Any], where: str) -> Held:
        """Take a statement apart.

        Raises
        ------
        BadFile
            A part is missing, or of another type.
        """
        try:
            said, subjects = statement["predicate"], statement["subject"]
            diff = diff_of(said)
            rows = {str(row[0]): dict(zip(ROW, row, strict=True)) for row in said["rows"]}
            lists = {
                side: {str(one[0]): [str(one[1]), [*one[2]], str(one[3])]
                       for one in said["sides"][side]["tensors"]}
                for side in SIDES
            }  # fmt: skip
            if [*said["columns"]] != [*ROW] or len(subjects) != len(SIDES):
                raise ValueError("its columns or its subjects are others")
            for side, subject in zip(SIDES, subjects, strict=True):
                _typed(said["sides"][side])
                if not isinstance(subject, dict) or not isinstance(subject.get("digest", {}), dict):
                    raise TypeError("subject")
            for part in ("about", "totals", "overall", "options"):
                if not isinstance(said[part], dict):
                    raise TypeError(part)
            if not isinstance(said["findings"], list):
                raise TypeError("findings")
        except _UNFIT as error:
            told = f"{type(error).__name__}: {shown(error)}"
            raise BadFile(f"{where}: no predicate of version 1 ({told})") from error
        return cls(said, subjects, diff, rows, lists)

    @property
    def version(self) -> str:
        """The ftdiff that made it."""
        return str(self.predicate.get("ftdiff"))

    @property
    def tuned_is_delta(self) -> bool:
        """Whether the fine-tune was given as differences."""
        return bool(self.predicate["options"].get("tuned_is_delta"))

    def facts(self, side: str) -> dict[str, list[Any]]:
        """Return dtype and shape of every tensor of a side."""
        return {name: [*one[:2]] for name, one in self.lists[side].items()}

    def others(self, files: Files, side: str) -> list[str]:
        """Return the files of a side that are not those of the claim, by name."""
        return [name for name, _ in others(self.predicate["sides"][side], files, side)]

    def fault(
        self,
        files: Files,
        drawn: Drawn,
        *,
        whole_folders: bool = False,
        besides: str = "",
    ) -> Fault | None:
        """Return the first thing that does not hold: of headers, digests, numbers, findings.

        Parameters
        ----------
        files
            Both sides as they lie here.
        drawn
            The tensors whose weights are read.
        whole_folders
            Every file has to be the claim's.
        besides
            A file that is no part of the folders: that of the claim.
        """
        every = (
            self._doubled(),
            self._headers(files),
            self._bytes(files, drawn),
            self._numbers(files, drawn.rows),
            self._itself(),
            self._told(),
            self._folders(files, besides) if whole_folders else iter(()),
        )
        return next((fault for faults in every for fault in faults), None)

    def _doubled(self) -> Iterator[Fault]:
        if len(self.rows) != len(self.predicate["rows"]):
            seen = Counter(str(row[0]) for row in self.predicate["rows"])
            name = next(name for name, count in seen.items() if count > 1)
            yield Fault("other_numbers", f"{shown(name)}: it stands in two rows")

    def _headers(self, files: Files) -> Iterator[Fault]:
        here = {side: files.facts(side) for side in SIDES}
        said = {side: self.facts(side) for side in SIDES}
        if here["base"] == said["tuned"] != said["base"] == here["tuned"]:
            yield Fault("other_tensors", "BASE and TUNED are swapped")
        for side in SIDES:
            claimed, found = said[side], here[side]
            for name, facts in claimed.items():
                if name not in found:
                    yield _of_tensor(
                        side, name, "name", name, None, "in the claim, not in the file"
                    )
                elif facts != found[name]:
                    at = 0 if facts[0] != found[name][0] else 1
                    what = ("dtype", "shape")[at]
                    told = two(what, facts[at], found[name][at])
                    yield _of_tensor(side, name, what, facts[at], found[name][at], told)
            for name in (name for name in found if name not in claimed):
                yield _of_tensor(side, name, "name", None, name, "in the file, not in the claim")

    def _bytes(self, files: Files, drawn: Drawn) -> Iterator[Fault]:
        for side in SIDES:
            taken = files.digests(side, None if drawn.hashed is None else drawn.hashed[side])
            for name, (_, _, sha256) in self.lists[side].items():
                if name in taken and taken[name] != sha256:
                    if self._is_swapped(files, name):
                        yield Fault("other_tensors", "BASE and TUNED are swapped")
                    said = f"its bytes are others (sha256 {sha256[:12]} in the claim, "
                    said += f"{taken[name][:12]} in the file)"
                    yield _of_tensor(side, name, "bytes", sha256, taken[name], said)

    def _is_swapped(self, files: Files, name: str) -> bool:
        if any(name not in files.tensors[side] for side in SIDES):
            return False
        taken = [files.digests(side, [name])[name] for side in SIDES]
        listed = [self.lists[side].get(name, ("", (), ""))[2] for side in SIDES]
        return taken == listed[::-1]

    def _numbers(self, files: Files, drawn: Sequence[str] | None) -> Iterator[Fault]:
        found = files.measured(drawn)
        unmeasured = {*files.changed()} - {*drawn} if drawn is not None else set()
        again = rows_of(found)
        for name, column, said in differences(self.rows, again, unmeasured):
            claimed = self.rows.get(name, {}).get(column)
            here = again.get(name, {}).get(column)
            form = self.rows.get(name, {}).get("form")
            if form not in _IN_ONE_ORDER and column in COLUMNS:
                said += f"; a {shown(form)} change is multiplied by BLAS, which rounds as the "
                said += "processor has it"
            yield Fault("other_numbers", said, _row(name, "", column, claimed, here))
        yield from self._about(files, found, drawn)

    def _about(self, files: Files, found: Diff, drawn: Sequence[str] | None) -> Iterator[Fault]:
        """Hold what is said of the whole: shares, counts, what is unmatched, notes."""
        claimed, again = self.predicate["about"], plain_of(about_for_others(found))
        names: list[str] = [*_FROM_HEADERS]
        if drawn is None:
            names += _FROM_WEIGHTS
            if not any(self.others(files, side) for side in SIDES):
                names += _FROM_FOLDERS
                sides = [str(again.get(side)) for side in SIDES]
                again = _renamed(again, sides, [str(claimed.get(side)) for side in SIDES])
        for name in names:
            mine, theirs = claimed.get(name), again.get(name)
            near = name in _FROM_FOLDERS or name == "structure"  # cosines and ranks by BLAS
            same = alike(mine, theirs) if near else mine == theirs
            if not same:
                path, mine, theirs = first_difference(
                    claimed.get(name), again.get(name), f"about.{name}"
                )
                yield Fault("other_numbers", two(path, encoded(mine), encoded(theirs)))

    def _itself(self) -> Iterator[Fault]:
        """Hold the claim against itself: totals, and digests of lists."""
        for name, total in totals(self.predicate["rows"]).items():
            if self.predicate["totals"].get(name) != total:
                claimed = value(self.predicate["totals"].get(name))
                yield Fault("other_numbers", f"totals.{name} is {claimed} and its rows give "
                            f"{value(total)}")  # fmt: skip
        for side, subject in zip(SIDES, self.subjects, strict=True):
            said = self.predicate["sides"][side]
            given = subject.get("digest") or {}
            if given.get(IN_ANY_SHARDS) != digests.of_leaves(said["tensors"]):
                yield Fault("other_numbers", f"subject {side}: its digest is not of its tensors")
            if given.get("sha256") != digests.of_manifest(said["files"]):
                yield Fault("other_numbers", f"subject {side}: its sha256 is not of its files")
            if subject.get("name") != said.get("name"):
                yield Fault("other_numbers", f"subject {side}: its name is not that of the side")

    def _told(self) -> Iterator[Fault]:
        """Hold what follows from the rows: metrics over everything, and findings."""
        overall = encoded(self.diff.overall)
        spoken_of = [plain_of(spoken(one)) for one in findings(self.diff)]
        for what, claimed, again in (
            ("overall", self.predicate["overall"], overall),
            ("findings", self.predicate["findings"], spoken_of),
        ):
            if not alike(claimed, again):
                path, mine, theirs = first_difference(claimed, again, what)
                said = f"{path} is {value(mine)} in the claim and {value(theirs)} by its rows"
                yield Fault("other_numbers", said)

    def _folders(self, files: Files, besides: str) -> Iterator[Fault]:
        for side in SIDES:
            for name, why in others(
                self.predicate["sides"][side], files, side, whole=True, besides=besides
            ):
                yield Fault("other_files", f"{side}: {shown(name)}: {why}")


def said_of(held: Held, files: Files) -> list[str]:
    """Say how the folders differ, where the tensors are the same; and what is only said."""
    words = []
    for side in SIDES:
        others = held.others(files, side)
        if others:
            listed = ", ".join(shown(name) for name in others[:4])
            more = f" and {len(others) - 4} more" if len(others) > 4 else ""
            words.append(f"{side}: the same tensors, and other files: {listed}{more}.")
    made = held.predicate["about"].get("created")
    words.append(f"Claimed by ftdiff {shown(held.version)}; the diff was made {shown(made)}.")
    return words


def _of_tensor(side: str, name: str, what: str, claimed: Any, found: Any, said: str) -> Fault:
    row = _row(name, side, what, claimed, found)
    return Fault("other_tensors", f"{side}: {shown(name)}: {said}", row)


def _row(name: str, side: str, what: str, claimed: Any, found: Any) -> dict[str, Any]:
    told = {"claimed": claimed, "found": found}
    return {
        "tensor": name,
        "side": side or None,
        "what": what,
        **{key: None if one is None else value(one) for key, one in told.items()},
    }


def _typed(side: Mapping[str, Any]) -> None:
    for one in side["tensors"]:
        digests.leaf(*one)
    for file in side["files"]:
        if type(file["name"]) is not str or type(file["bytes"]) is not int:
            raise TypeError("files")
        bytes.fromhex(file["sha256"])
    if not all(isinstance(name, str) for name in side["ignored"]):
        raise TypeError("ignored")


def _renamed(value: Any, old: Sequence[str], new: Sequence[str]) -> Any:
    names = {one: other for one, other in zip(old, new, strict=True) if one != other}
    return for_others(value, names) if names else value
