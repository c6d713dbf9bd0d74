"""`Verification`: a verdict in one word and a few sentences, and the rows that it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.analyses import judgement
from ftdiff.analyses.saved_result import SavedResult
from ftdiff.analyses.verification.sentences import HEADLINES, HELD, SILENT, STATUSES, reach
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import IDENTITY
from ftdiff.naming import PLACE

if TYPE_CHECKING:
    import pandas as pd


_COLUMNS = {
    **{name: IDENTITY[name] for name in ("tensor", *PLACE)},
    "status": "string", "said": "string", "form": "string", "shape": "object", "numel": "Int64",
    "base_dtype": "string", "merged_dtype": "string", "replay": "string", "onto": "string",
    "unequal": "Int64", "unexplained": "Int64",
    "moved": "Int64", "due": "Int64", "ulps": "Float64", "scale": "Float64",
    "scale_error": "Float64", "cosine": "Float64", "residual": "Float64", "readings": "object",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Verification(SavedResult):
    """Whether a file is base + adapter.

    Attributes
    ----------
    verdict
        "merged" (bit for bit) and "merged_within_rounding" are good. "not_merged", "partly_merged",
        "merged_twice", "other_scale", "replacement_missing", "other_change", "corrupted" (single
        entries), "changed_elsewhere", "other_base", "merged_onto_grid" (onto the base's values,
        rounded to NF4 or another grid of few bits), "unquantised_base" (the weights that were
        quantised, not what they became), "other_tensors", "unmatched" and "several" say what is
        wrong; "inconclusive" that the numbers cannot tell; "unreadable" that a file could not be
        read.
    sentences
        The verdict in words: first the whole, then each thing that is wrong.
    frame
        A row per tensor. `status` is equal, rounding, untouched; inconclusive, dead (ΔW is exactly
        zero), beside; or one of what is wrong: skipped, partial, scaled, twice,
        replacement_missing, unexplained, corrupted, gridded, unquantised, changed, missing, added,
        reshaped, unmatched, unreadable. `said` says so, `onto` which values of a quantised base.
        `unequal` counts entries that are not the replay's to the bit, `unexplained` those that
        another order of the product's sum does not give either, `moved` those that are not the
        base's, `due` those that should not be; `ulps` is the largest distance from the replay;
        `scale` how much of ΔW is in the file, ± `scale_error`; `cosine` that of merged − base and
        ΔW; `residual` what is left, over ‖ΔW‖; `readings` the mistakes that would give this scale.
    about
        Sources, the adapter's kind, and keys of it that have no recipe; `strengths` where there are
        several adapters or one is not 1; `left`, what no replay explains of the targets, and its
        projection on ΔW; `hidden`, names that transformers does not find.
    """

    form: ClassVar = storage.Form("verification", indent=1)

    verdict: str
    sentences: tuple[str, ...]
    frame: pd.DataFrame
    about: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the adapter was merged into the base, and nothing else was done."""
        return self.verdict in ("merged", "merged_within_rounding")

    @property
    def exit_code(self) -> int:
        """0 for a good merge, 1 for another or an open verdict, 2 for what cannot be read."""
        return 0 if self.ok else 2 if self.verdict == "unreadable" else 1

    @property
    def headline(self) -> str:
        """The verdict as people say it, and the file that it is of."""
        return f"{HEADLINES.get(self.verdict, self.verdict)}: {self.about['merged']}"

    @property
    def wrong(self) -> pd.DataFrame:
        """The rows of what is wrong."""
        return self.frame[~self.frame["status"].isin([*HELD, *SILENT])]

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Verification:
        """Reach the verdict from the rows."""
        verdict, sentences = reach(rows, about)
        return cls(verdict, sentences, judgement.typed(rows, _COLUMNS), dict(about))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the rows of what is wrong."""
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        rows = [{str(k): v for k, v in row.items()} for row in self.wrong[shown].to_dict("records")]
        return notebook.shown(self.headline, self.sentences, rows)

    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""
        words = {"verdict": self.verdict, "sentences": [*self.sentences]}
        return {**words, "about": dict(self.about), "tensors": judgement.plain(self.frame)}

    @classmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Verification:
        """Return the result that a document holds."""
        verdict, sentences, about = judgement.words(stored)
        if not isinstance(about["merged"], str) or not isinstance(about["unmatched"], dict):
            raise TypeError("about")
        frame = judgement.frame_of(stored["tensors"], _COLUMNS)
        if not STATUSES.issuperset(frame["status"]):
            raise ValueError("status")
        return cls(verdict, sentences, frame, about)
