"""`Recovery`: what was merged into a model, in words, and a row of evidence for each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.analyses import judgement
from ftdiff.analyses.recovery.agreement import Agreement
from ftdiff.analyses.recovery.matrix import Part, Seen
from ftdiff.analyses.recovery.sentences import HEADLINES, sentences
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import IDENTITY
from ftdiff.naming import PLACE

if TYPE_CHECKING:
    import pandas as pd


_COLUMNS = {
    **{name: IDENTITY[name] for name in ("tensor", *PLACE)},
    "change": "string", "said": "string", "shape": "object", "dtype": "string",
    "relative_norm": "Float64", "own_rank": "Int64", "above": "Int64", "rank": "Int64",
    "replay": "Float64", "error": "Float64",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Recovery(SavedResult):
    """What was merged into a model.

    Attributes
    ----------
    verdict
        "lora" or "dora"; "blurred" (rounding hides whether the change is of low rank; the rank is
        at least `about["rank"]`), "not_low_rank" or "unmoved".
    sentences
        The verdict in words, with its numbers.
    frame
        A row per tensor on both sides. `change` is same, rounded (it moved by less than rounding
        moves), blurred, low, full (not of low rank) or apart (no matrix that such an adapter
        changes; `said` says why). `own_rank` is that of the matrix by itself, `above` how many
        singular values lie above all that rounding has, `rank` that of the adapter; `replay` the
        share of entries whose sum with the base rounds to what is stored; `error` of B·A, over its
        norm.
    about
        Sources, versions and when; `rank`; `output`, `verified` and `accepted` where an adapter
        was written.
    """

    form: ClassVar = storage.Form("recovery", indent=1)

    verdict: str
    sentences: tuple[str, ...]
    frame: pd.DataFrame
    about: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether an adapter was found, and what was written of it verifies."""
        return self.verdict in ("lora", "dora") and bool(self.about.get("accepted", True))

    @property
    def headline(self) -> str:
        """The verdict as people say it, and the model that it is of."""
        return f"{HEADLINES.get(self.verdict, self.verdict)}: {self.about['merged']}"

    @property
    def exit_code(self) -> int:
        """0 for an adapter, 1 for none or one that does not verify."""
        return 0 if self.ok else 1

    @classmethod
    def of(
        cls,
        found: Agreement,
        seen: Sequence[Seen],
        parts: Sequence[Part],
        about: Mapping[str, Any],
    ) -> Recovery:
        """Put verdict, words and rows together."""
        by_name = {part.pair.name: part for part in parts}
        rows = [_row(one, by_name.get(one.pair.name)) for one in seen]
        words = sentences(found, seen, parts, about)
        return cls(found.verdict, words, judgement.typed(rows, _COLUMNS), dict(about))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the rows of what is not in it."""
        shown = ["tensor", "change", "own_rank", "said"]
        rest = self.frame[self.frame["rank"].isna() & (self.frame["change"] != "same")]
        rows = [{str(k): v for k, v in row.items()} for row in rest[shown].to_dict("records")]
        return notebook.shown(self.headline, self.sentences, rows)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        words = {"verdict": self.verdict, "sentences": [*self.sentences]}
        return {**words, "about": dict(self.about), "tensors": judgement.plain(self.frame)}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Recovery:
        """Return the result that a document holds."""
        verdict, said, about = judgement.words(stored)
        if not isinstance(about["merged"], str):
            raise TypeError("about")
        return cls(verdict, said, judgement.frame_of(stored["tensors"], _COLUMNS), about)


def _row(one: Seen, part: Part | None) -> dict[str, Any]:
    place = one.pair.address.columns()
    row: dict[str, Any] = {
        **{name: place.get(name) for name in ("tensor", *PLACE)},
        "change": one.kind,
        "said": one.said,
        "shape": one.pair.base.shape,
        "dtype": one.pair.merged.dtype,
        "relative_norm": one.relative,
    }
    if one.tail is not None:
        row |= {"own_rank": one.tail.rank, "above": one.tail.above}
    if part is not None:
        row |= {"rank": len(part.A), "replay": part.replay, "error": part.error}
    return row
