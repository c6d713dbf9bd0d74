"""`Lineage`: which candidate is the nearest, in words, and a row of evidence for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.analyses import judgement
from ftdiff.analyses.finding import Finding, Severity, speaks_for
from ftdiff.analyses.lineage_tree import Tree
from ftdiff.analyses.lineage_verdict import FOUND
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage

if TYPE_CHECKING:
    import pandas as pd


#: Columns of the frame, and their types.
COLUMNS = {
    "candidate": "string", "measured": "string", "coverage": "Float64", "tensors": "Int64",
    "equal": "Int64", "cosine": "Float64", "relative_norm": "Float64", "said": "string",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Lineage(SavedResult):
    """Which candidate a fine-tune is nearest to.

    Attributes
    ----------
    verdict
        "parent" (the nearest, and config.json names it), "nearest" (another fine-tune of the same
        base would look the same), "merge" (of several candidates), "tie" (the numbers cannot tell)
        or "nobody".
    parent
        The source of the nearest candidate, if there is one: the parent, if the parent is one of
        the candidates. None of a merge, which has several.
    sentences
        The verdict in words, with its evidence.
    frame
        A row per candidate, best first: what was `measured` (sample, full), the `coverage` of the
        parameters, `tensors` that were compared, how many of them are `equal` (constants, which
        any two models have in common, left out), `cosine` and `relative_norm` of the change over
        the matrices, and what is to be `said`.
    about
        Sources, versions and when.
    merge
        What `merge_of` says of it, where that is told: `verdict`, `parents` and their
        `coefficients` by name, `base`, `sentences`.
    tree
        The tree of four models or more.
    """

    form: ClassVar = storage.Form("lineage", indent=1)

    verdict: str
    parent: str | None
    sentences: tuple[str, ...]
    frame: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)
    merge: Mapping[str, Any] | None = None
    tree: Tree | None = None

    @property
    def exit_code(self) -> int:
        """0 where one candidate is the nearest, or it is a merge of several; 1 where none is."""
        return 0 if self.verdict in FOUND else 1

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and a row per candidate."""
        rows = [{str(k): v for k, v in row.items()} for row in self.frame.to_dict("records")]
        return notebook.shown(self.verdict, self.sentences, rows)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        words = {"verdict": self.verdict, "parent": self.parent, "sentences": [*self.sentences]}
        rows = judgement.plain(self.frame)
        merge = None if self.merge is None else dict(self.merge)
        tree = None if self.tree is None else self.tree.document()
        more = {"candidates": rows, "merge": merge, "tree": tree}
        return {**words, **more, "about": dict(self.about)}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Lineage:
        """Return the result that a document holds."""
        verdict, sentences, about = judgement.words(stored)
        parent, rows = stored["parent"], stored["candidates"]
        if not isinstance(parent, str | None):
            raise TypeError("parent")
        merge, drawn = stored.get("merge"), stored.get("tree")
        if not isinstance(merge, dict | None):
            raise TypeError("merge")
        tree = None if drawn is None else Tree.of_document(drawn)
        frame = judgement.frame_of(rows, COLUMNS)
        return cls(verdict, parent, sentences, frame, about, merge, tree)


@speaks_for(Lineage)
def findings(result: Lineage) -> list[Finding]:
    """Return the verdict with its evidence, a finding for each candidate."""
    severity: Severity = "note" if result.verdict in FOUND else "caution"
    evidence: dict[str, Any] = {"verdict": result.verdict, "parent": result.parent}
    evidence |= {} if result.merge is None else {"merge": dict(result.merge)}
    first = Finding("verdict", severity, result.sentences[0], evidence)
    return [first, *(Finding("evidence", "note", said) for said in result.sentences[1:])]
