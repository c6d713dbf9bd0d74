"""`MergeOf`: what a model is of others, in words, and a row of evidence for each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftdiff.analyses import judgement
from ftdiff.analyses.finding import Finding, Severity, gravest_first, speaks_for
from ftdiff.analyses.merges.verdicts import EXITS, reach
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import IDENTITY
from ftdiff.naming import PLACE

if TYPE_CHECKING:
    import pandas as pd

FORM = storage.Form("merge", indent=1)

#: Columns of the frame, and their types; those of type object hold a number for each parent.
COLUMNS = {
    **{name: IDENTITY[name] for name in ("tensor", *PLACE)},
    "status": "string", "said": "string", "shape": "object", "numel": "Int64",
    "merged_dtype": "string", "entries": "Int64", "moved": "Int64", "nonfinite": "Int64",
    "coefficients": "object", "errors": "object", "weights": "object",
    "low": "object", "high": "object",
    "chi_sq": "Float64", "left": "Float64", "way": "string", "replay": "Float64",
    "right": "Float64", "t": "Float64", "angle": "Float64",
    "like": "string", "density": "object", "strengths": "object", "auroc": "Float64",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class MergeOf:
    """What a model is of its supposed parents.

    Attributes
    ----------
    verdict
        "exactly" (a merge of them: every entry is), "changed" (a merge, and then something else),
        "partly" (they are in it, and a parent is missing), "sparse" (entries took one change, both
        or none, as TIES and DARE leave them), "none", or "unreadable".
    sentences
        The verdict in words, with its evidence.
    frame
        A row per tensor. `status` is exact, rounded (no more than rounding is left, in an order
        that is not replayed), changed, partly, sparse, none; still (the same in every file), apart
        (changed, and no parent changes it), unmatched, unreadable. For each parent
        `coefficients` with their standard `errors`, the `weights` that were replayed, `low` and
        `high`, between which every entry rounds right. `chi_sq` is what is left over what rounding
        leaves, `left` its size beside rounding over the change's; `replay` the share of `moved`
        entries that the arithmetic `way` gives to the bit, `right` the share that the weights round
        right; `t` and `angle` are a SLERP's; `density`, `strengths` and `auroc` a sparse merge's,
        and `like` its way of choosing: TIES, DARE, DARE-TIES, or pruned (the largest changes of
        each, no sign elected). A density is missing where every change is in that shows.
    about
        Sources, `parents` by name, `coefficients` of all with their errors, versions and when.
    """

    verdict: str
    sentences: tuple[str, ...]
    frame: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 exactly, 3 changed, 4 partly, 5 sparse, 1 none, 2 for what cannot be read."""
        return EXITS[self.verdict]

    @property
    def profile(self) -> pd.DataFrame:
        """The coefficients layer by layer, weighed by the entries that are moved."""
        import pandas as pd

        names = [*self.about["parents"]]
        rows = self.frame[self.frame["coefficients"].notna() & self.frame["layer"].notna()]
        found = {}
        for layer in sorted({*rows["layer"]}):
            group = rows[rows["layer"] == layer]
            values = np.array([[*c] for c in group["coefficients"]], dtype=float)
            weights = group["moved"].to_numpy(float)
            known = np.isfinite(values)
            total = (known * weights[:, None]).sum(axis=0)
            sums = (np.where(known, values, 0) * weights[:, None]).sum(axis=0)
            found[int(layer)] = np.divide(
                sums, total, out=np.full(len(names), np.nan), where=total > 0
            )
        return pd.DataFrame.from_dict(found, orient="index", columns=names).rename_axis("layer")

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> MergeOf:
        """Reach the verdict from the rows."""
        verdict, sentences, numbers = reach(rows, about)
        return cls(verdict, sentences, judgement.typed(rows, COLUMNS), {**about, **numbers})

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the coefficients by layer."""
        profile = self.profile.reset_index()
        rows = [{str(k): v for k, v in row.items()} for row in profile.to_dict("records")]
        return notebook.shown(self.verdict, self.sentences, rows)

    def findings(self) -> list[Finding]:
        """Say what it shows: a call of `ftdiff.findings`."""
        import ftdiff

        return ftdiff.findings(self)

    def json(self) -> str:
        """Return everything as JSON."""
        return FORM.text(self._document())

    def save(self, path: str | Path) -> Path:
        """Write JSON (whole), CSV or Parquet (the rows), by the path's ending.

        Raises
        ------
        BadCall
            The ending is another.
        """
        return storage.save(Path(path), FORM, self._document, lambda: self.frame)

    @classmethod
    def load(cls, path: str | Path) -> MergeOf:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved merge.
        """
        return storage.load(Path(path), FORM, cls._of_document)

    def _document(self) -> dict[str, Any]:
        words = {"verdict": self.verdict, "sentences": [*self.sentences]}
        return {**words, "about": dict(self.about), "tensors": judgement.plain(self.frame)}

    @classmethod
    def _of_document(cls, stored: Mapping[str, Any]) -> MergeOf:
        verdict, sentences, about = judgement.words(stored)
        if not isinstance(about["merged"], str) or not isinstance(about["parents"], dict):
            raise TypeError("about")
        if verdict not in EXITS:
            raise ValueError("verdict")
        return cls(verdict, sentences, judgement.frame_of(stored["tensors"], COLUMNS), about)


_SEVERITIES: Mapping[str, Severity] = {"exactly": "note", "unreadable": "alarm"}


@speaks_for(MergeOf)
def findings(result: MergeOf) -> list[Finding]:
    """Return the verdict and what it rests on."""
    names = ("parents", "base", "coefficients", "errors", "sample")
    evidence = {"verdict": result.verdict, **{name: result.about.get(name) for name in names}}
    severity = _SEVERITIES.get(result.verdict, "caution")
    first = Finding("verdict", severity, result.sentences[0], evidence)
    rest = [Finding("evidence", "note", said) for said in result.sentences[1:]]
    return gravest_first([first, *rest])
