"""`Verification`: a verdict in one word and a few sentences, and the rows that it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftdiff.analyses.verification.sentences import HELD, SILENT, reach
from ftdiff.comparison import notebook_html as notebook

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "ftdiff.verification/1"

_COLUMNS = {
    "tensor": "string", "stack": "string", "layer": "Int64", "block": "string", "role": "string",
    "component": "string", "module": "string", "param": "string", "expert": "Int64",
    "status": "string", "said": "string", "form": "string", "shape": "object", "numel": "Int64",
    "base_dtype": "string", "merged_dtype": "string", "replay": "string", "onto": "string",
    "unequal": "Int64", "unexplained": "Int64",
    "moved": "Int64", "due": "Int64", "ulps": "Float64", "scale": "Float64",
    "scale_error": "Float64", "cosine": "Float64", "residual": "Float64", "readings": "object",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Verification:
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
        A row per tensor. `status` is equal, rounding, untouched; inconclusive, beside; or one of
        what is wrong: skipped, partial, scaled, twice, replacement_missing, unexplained, corrupted,
        gridded, unquantised, changed, missing, added, reshaped, unmatched, unreadable. `said` says
        so, `onto` which values of a quantised base. `unequal` counts entries that are not the
        replay's to the bit, `unexplained` those that another order of the product's sum does not
        give either, `moved` those that are not the base's, `due` those that should not be; `ulps`
        is the largest distance from the replay; `scale` how much of ΔW is in the file, ±
        `scale_error`; `cosine` that of merged − base and ΔW; `residual` what is left, over ‖ΔW‖;
        `readings` the mistakes that would give this scale.
    about
        Sources, the adapter's kind, and keys of it that have no recipe; `strengths` where there are
        several adapters or one is not 1; `left`, what no replay explains of the targets, and its
        projection on ΔW.
    """

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
    def wrong(self) -> pd.DataFrame:
        """The rows of what is wrong."""
        return self.frame[~self.frame["status"].isin([*HELD, *SILENT])]

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Verification:
        """Reach the verdict from the rows."""
        import pandas as pd

        frame = pd.DataFrame({c: [row.get(c) for row in rows] for c in _COLUMNS}, dtype="object")
        verdict, sentences = reach(rows, about)
        return cls(verdict, sentences, frame.astype(_COLUMNS), dict(about))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the rows of what is wrong."""
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        rows = [{str(k): v for k, v in row.items()} for row in self.wrong[shown].to_dict("records")]
        return notebook.shown(f"{self.verdict}: {self.about['merged']}", self.sentences, rows)

    def json(self) -> str:
        """Return everything as JSON."""
        rows = json.loads(self.frame.to_json(orient="records", double_precision=15))
        document: dict[str, Any] = {
            "format": FORMAT,
            "verdict": self.verdict,
            "sentences": self.sentences,
        }
        document |= {"about": self.about, "tensors": rows}
        return json.dumps(document, ensure_ascii=False, indent=1)
