"""`Verification`: a verdict in one word and a few sentences, and the rows that it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdiff.analyses import judgement
from ftdiff.analyses.finding import Finding
from ftdiff.analyses.verification.scales import TWICE
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison import storage
from ftdiff.comparison.frame import IDENTITY
from ftdiff.naming import PLACE

if TYPE_CHECKING:
    import pandas as pd

FORM = storage.Form("verification", indent=1)

#: What is right, what is wrong, and what says nothing either way.
HELD = ("equal", "rounding", "untouched")
SILENT = ("inconclusive", "beside")
#: The verdict that each wrong status leads to.
_VERDICTS = {
    "unreadable": "unreadable",
    "skipped": "partly_merged",
    "partial": "partly_merged",
    "replacement_missing": "replacement_missing",
    "twice": "other_scale",
    "scaled": "other_scale",
    "unexplained": "other_change",
    "unquantised": "unquantised_base",
    "changed": "changed_elsewhere",
    "missing": "other_tensors",
    "added": "other_tensors",
    "reshaped": "other_tensors",
    "unmatched": "unmatched",
}
_COLUMNS = {
    **{name: IDENTITY[name] for name in ("tensor", *PLACE)},
    "status": "string", "said": "string", "form": "string", "shape": "object", "numel": "Int64",
    "base_dtype": "string", "merged_dtype": "string", "replay": "string", "onto": "string",
    "unequal": "Int64",
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
        "merged_twice", "other_scale", "replacement_missing", "other_change", "changed_elsewhere",
        "other_base", "unquantised_base" (the weights that were quantised, not what they became),
        "other_tensors", "unmatched" and "several" say what is wrong; "inconclusive" that the
        numbers cannot tell; "unreadable" that a file could not be read.
    sentences
        The verdict in words: first the whole, then each thing that is wrong.
    frame
        A row per tensor. `status` is equal, rounding, untouched; inconclusive, beside; or one of
        what is wrong: skipped, partial, scaled, twice, replacement_missing, unexplained,
        unquantised, changed, missing, added, reshaped, unmatched, unreadable. `said` says so,
        `onto` which values of a quantised base. `unequal` counts entries that are not the replay's
        to the bit, `moved` those that are not the base's, `due` those
        that should not be; `ulps` is the largest distance from the replay; `scale` how much of ΔW
        is in the file, ± `scale_error`; `cosine` that of merged − base and ΔW; `residual` what is
        left, over ‖ΔW‖; `readings` the mistakes that would give this scale.
    about
        Sources, the adapter's kind, and keys of it that have no recipe.
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
        verdict, sentences = reach(rows, bool(about.get("unmatched")))
        return cls(verdict, sentences, judgement.typed(rows, _COLUMNS), dict(about))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and the rows of what is wrong."""
        shown = ["tensor", "status", "scale", "ulps", "unequal", "said"]
        rows = [{str(k): v for k, v in row.items()} for row in self.wrong[shown].to_dict("records")]
        return notebook.shown(f"{self.verdict}: {self.about['merged']}", self.sentences, rows)

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
    def load(cls, path: str | Path) -> Verification:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is not a saved verification.
        """
        return storage.load(Path(path), FORM, cls._of_document)

    def _document(self) -> dict[str, Any]:
        words = {"verdict": self.verdict, "sentences": [*self.sentences]}
        return {**words, "about": dict(self.about), "tensors": judgement.plain(self.frame)}

    @classmethod
    def _of_document(cls, stored: Mapping[str, Any]) -> Verification:
        verdict, sentences, about = judgement.words(stored)
        if not isinstance(about["merged"], str) or not isinstance(about["unmatched"], dict):
            raise TypeError("about")
        return cls(verdict, sentences, judgement.frame_of(stored["tensors"], _COLUMNS), about)


def reach(rows: Sequence[Mapping[str, Any]], unmatched: bool) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its sentences."""
    by = by_status(rows)
    targets = [row for row in rows if row["form"] is not None and row["status"] != "beside"]
    good = sum(row["status"] in ("equal", "rounding") for row in targets)
    wrong = [status for status in _VERDICTS if status in by]
    verdict = _verdict(by, wrong, len(targets), good)
    if unmatched and verdict in ("merged", "merged_within_rounding"):
        verdict = "unmatched"
    bits = sum(row["status"] == "equal" for row in targets)
    whole = f"{good:,} of {len(targets):,} targets are base + adapter ({bits:,} bit for bit); "
    whole += f"{len(by.get('untouched', ())):,} other tensors are the base's"
    onto = sorted({row["onto"] for row in rows if row.get("onto")})
    if onto:
        whole += f"; the base is {' and '.join(onto)}"
    said = [whole] + [sentence(status, by[status]) for status in wrong]
    if verdict == "other_base":
        said.insert(1, "no tensor is the base's: is this the right base?")
    if "inconclusive" in by:
        said.append(sentence("inconclusive", by["inconclusive"]))
    return verdict, tuple(said)


def by_status(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of each status; scales that are all explained by it count as merged twice."""
    by: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by.setdefault(row["status"], []).append(row)
    others = [*by.get("twice", ()), *by.get("scaled", ())]
    if _common(others) == {TWICE}:  # where one tensor tells, the others need not
        by = {status: found for status, found in by.items() if status != "scaled"}
        by["twice"] = others
    return by


def _verdict(
    by: Mapping[str, Sequence[Mapping[str, Any]]], wrong: Sequence[str], targets: int, good: int
) -> str:
    if not wrong:
        if not good:
            return "inconclusive"
        return "merged_within_rounding" if "rounding" in by else "merged"
    if "unreadable" in by:
        return "unreadable"
    lost = len(by.get("skipped", ())) + len(by.get("replacement_missing", ()))
    silent = len(by.get("inconclusive", ()))
    if lost == targets - silent and set(wrong) <= {"skipped", "replacement_missing"}:
        return "not_merged"
    if "changed" in by and not good and "untouched" not in by:
        return "other_base"
    verdicts = {_VERDICTS[status] for status in wrong}
    if len(verdicts) > 1:
        return "several"
    return "merged_twice" if wrong == ["twice"] else verdicts.pop()


def _common(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the readings that every one of these tensors allows."""
    return set.intersection(*(set(row["readings"]) for row in rows)) if rows else set()


_SAID = {
    "unreadable": "cannot be read",
    "skipped": "the base's values: the merge skipped them",
    "partial": "merged in part, the rest of their entries the base's",
    "replacement_missing": "the base's values where the adapter saved its own (modules_to_save)",
    "twice": "merged twice",
    "unexplained": "neither the base's nor base + adapter",
    "unquantised": "on weights from before the base was quantised, not on its dequantised values",
    "changed": "changed, though the adapter does not target them",
    "missing": "not in the merged file",
    "added": "in the merged file alone",
    "reshaped": "of another shape",
    "unmatched": "changed by the adapter, and not in the base",
    "inconclusive": "inconclusive: the file's rounding hides ΔW",
}


def sentence(status: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what is so of the rows of one status, with the first of their names."""
    names = ", ".join(row["tensor"] for row in rows[:3]) + (", …" if len(rows) > 3 else "")
    said = _scaled(rows) if status == "scaled" else _SAID[status]
    return f"{len(rows):,} × {said} ({names})"


def _scaled(rows: Sequence[Mapping[str, Any]]) -> str:
    scales = [row["scale"] for row in rows]
    low, high = f"{min(scales):.4g}", f"{max(scales):.4g}"
    said = f"merged with {low if low == high else f'{low} to {high}'} times the adapter's scale"
    names = [name for name in rows[0]["readings"] if name in _common(rows)]
    return f"{said}: looks like {' or '.join(names)}" if names else said
