"""`Claim`, a signed line, and `ClaimCheck`: whether one holds, in words, and a row per tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.analyses import judgement
from ftdiff.analyses.claims import envelope
from ftdiff.analyses.claims.predicate import diff_of
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.result import Diff

if TYPE_CHECKING:
    import pandas as pd


#: What a row of a check says: equal, differs, or not drawn where only a sample was recomputed.
EQUAL, DIFFERS, NOT_DRAWN = "equal", "differs", "not drawn"
_COLUMNS = dict.fromkeys(("tensor", "side", "check", "what", "claimed", "found"), "string")


@dataclass(frozen=True)
class Claim:
    """What a diff says of two models, signed.

    Attributes
    ----------
    line
        The DSSE envelope, as a line of claims.jsonl.
    statement
        The in-toto statement in it.
    """

    line: str
    statement: Mapping[str, Any]

    @property
    def subjects(self) -> Mapping[str, Mapping[str, str]]:
        """The digests of the base and the fine-tune, by their names."""
        return {one["name"]: one["digest"] for one in self.statement["subject"]}

    @property
    def predicate(self) -> Mapping[str, Any]:
        """What is said of them; see PREDICATE.md."""
        held: Mapping[str, Any] = self.statement["predicate"]
        return held

    def diff(self) -> Diff:
        """Return the diff that is claimed, with every metric that comes from sums."""
        return diff_of(self.predicate)

    def append(self, path: str | Path) -> bool:
        """Add the line to a file of claims; say whether it was not in it already.

        Raises
        ------
        BadFile
            The file cannot be written.
        """
        return envelope.append(Path(path), self.line)


@dataclass(frozen=True)
class Fault:
    """One thing that does not hold.

    Attributes
    ----------
    verdict
        What a check that ends with it is called.
    said
        A sentence that names the thing.
    row
        Tensor, side, and what was claimed and found, where there is such a tensor.
    """

    verdict: str
    said: str
    row: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class ClaimCheck(SavedResult):
    """Whether a claim holds.

    Attributes
    ----------
    verdict
        "verified": signed with the key that was named, and recomputed; "recomputed": no key was
        named, and every number that was looked at holds. Else "unsigned" (not with that key, or
        changed since), "damaged" (a line is cut short or stands twice), "superseded" (of an older
        type), "other_tensors" (the files are not those of the claim), "other_files" (asked for, and
        they are not) or "other_numbers".
    sentences
        The verdict in words; where it does not hold, one that names what does not.
    frame
        A row per tensor of the claim: `check` is equal, differs or not drawn; of the one that
        differs, `side`, `what` does, and what was `claimed` and `found`.
    about
        Sources, versions and when; the `claims` and the `line`; `key`; `sample` and `seed`, where
        a sample was drawn; by side the `files` that are others.
    """

    form: ClassVar = storage.Form("claim", indent=1)

    verdict: str
    sentences: tuple[str, ...]
    frame: pd.DataFrame
    about: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether all that was looked at holds."""
        return self.verdict in ("verified", "recomputed")

    @property
    def exit_code(self) -> int:
        """0 for a claim that holds, 1 for one that does not."""
        return 0 if self.ok else 1

    @classmethod
    def of(
        cls,
        verdict: str,
        sentences: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> ClaimCheck:
        """Put verdict, words and rows together."""
        return cls(verdict, tuple(sentences), judgement.typed(rows, _COLUMNS), dict(about))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the rows of what differs."""
        wrong = self.frame[self.frame["check"] == DIFFERS]
        rows = [{str(k): v for k, v in row.items()} for row in wrong.to_dict("records")]
        return notebook.shown(f"{self.verdict}: {self.about['claims']}", self.sentences, rows)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        words = {"verdict": self.verdict, "sentences": [*self.sentences]}
        return {**words, "about": dict(self.about), "tensors": judgement.plain(self.frame)}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> ClaimCheck:
        """Return the result that a document holds."""
        verdict, said, about = judgement.words(stored)
        if not isinstance(about["claims"], str):
            raise TypeError("about")
        return cls(verdict, said, judgement.frame_of(stored["tensors"], _COLUMNS), about)
