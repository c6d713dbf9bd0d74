"""The verdict on a merge, in one word and in sentences, from the rows of its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ftdiff.analyses.verification.scales import TWICE
from ftdiff.tensors import matrix_shape

#: What is right, what is wrong, and what says nothing either way.
HELD = ("equal", "rounding", "untouched")
SILENT = ("inconclusive", "dead", "beside")
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
    "corrupted": "corrupted",
    "gridded": "merged_onto_grid",
    "changed": "changed_elsewhere",
    "missing": "other_tensors",
    "added": "other_tensors",
    "reshaped": "other_tensors",
    "unmatched": "unmatched",
}
#: What a person reads for a verdict that is no word.
HEADLINES = {
    "merged_within_rounding": "merged, within rounding",
    "not_merged": "not merged",
    "partly_merged": "merged in part",
    "merged_twice": "merged twice",
    "other_scale": "merged at another scale",
    "replacement_missing": "merged without the modules that were saved whole",
    "other_change": "another change than this adapter's",
    "corrupted": "merged, and corrupted",
    "changed_elsewhere": "changed where the adapter changes nothing",
    "other_base": "another base, or all of it was trained",
    "merged_onto_grid": "merged onto the base rounded to few bits",
    "unquantised_base": "merged onto the base from before it was quantised",
    "other_tensors": "other tensors than base and adapter have",
    "unmatched": "some of the adapter matched nothing",
    "several": "wrong in several ways",
}
#: What a row can be.
STATUSES = frozenset((*HELD, *SILENT, *_VERDICTS))


def reach(
    rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and its sentences."""
    by = by_status(rows)
    targets = [row for row in rows if row["form"] is not None and row["status"] != "beside"]
    good = sum(row["status"] in ("equal", "rounding") for row in targets)
    wrong = [status for status in _VERDICTS if status in by]
    verdict = _verdict(by, wrong, len(targets), good)
    if about.get("unmatched") and verdict in ("merged", "merged_within_rounding"):
        verdict = "unmatched"
    if about.get("absent") and verdict in ("merged", "merged_within_rounding"):
        verdict = "partly_merged"
    bits = sum(row["status"] == "equal" for row in targets)
    added = f"({about['said']})" if about.get("said") else "adapter"
    if targets and len(by.get("dead", ())) == len(targets):
        whole = f"nothing to merge: ΔW of all {len(targets):,} targets is exactly zero"
    else:
        whole = f"{good:,} of {len(targets):,} targets are base + {added} ({bits:,} bit for bit)"
        whole += _order(targets)
    whole += f"; {len(by.get('untouched', ())):,} other tensors are the base's"
    onto = sorted({row["onto"] for row in rows if row.get("onto")})
    if onto:
        whole += f"; the base is {' and '.join(onto)}"
    said = [whole] + [sentence(status, by[status]) for status in wrong]
    if verdict == "other_base":
        said.insert(
            1,
            "no matrix is the base's: is this the right base? A full fine-tune changes all of "
            "them, too: ftdiff lineage tells",
        )
    said += [sentence(status, by[status]) for status in ("inconclusive", "dead") if status in by]
    for name in about.get("absent", ()):
        said.append(f"{name} is not in the file: its strength is 0 within its error")
    if about.get("left"):
        said.append(_left(about["left"]))
    if hidden := about.get("hidden"):
        have, it = (
            ("1 name has", "it") if len(hidden) == 1 else (f"{len(hidden):,} names have", "them")
        )
        said.append(
            f"{have} other words in front than the base's ({hidden[0]}): transformers does not "
            f"find {it}, but makes new weights"
        )
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


def _order(targets: Sequence[Mapping[str, Any]]) -> str:
    """Return how the file was merged, and which tensors otherwise."""
    good = [r for r in targets if r["status"] in ("equal", "rounding") and r.get("replay")]
    if not good:
        return ""
    (common, many), *_ = Counter(row["replay"] for row in good).most_common(1)
    others = [row for row in good if row["replay"] != common]
    said = f", {common}"
    if others:
        names = ", ".join(row["tensor"] for row in others[:3]) + (", …" if len(others) > 3 else "")
        said += f" ({many:,} of them; otherwise: {names})"
    return said


def _left(left: Mapping[str, Any]) -> str:
    """Say what no replay explains, and where it points."""
    said = f"{left['unexplained']:,} of the {left['entries']:,} entries of these targets are not "
    said += "the replay's to the bit; along ΔW what is left is "
    return f"{said}{left['projection']:.2g} ± {left['error']:.1g} of it"


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
    silent = len(by.get("inconclusive", ())) + len(by.get("dead", ()))
    if lost == targets - silent and set(wrong) <= {"skipped", "replacement_missing"}:
        return "not_merged"
    if "changed" in by and not good and not any(map(_matrix, by.get("untouched", ()))):
        return "other_base"
    verdicts = {_VERDICTS[status] for status in wrong}
    if len(verdicts) > 1:
        return "several"
    return "merged_twice" if wrong == ["twice"] else verdicts.pop()


def _matrix(row: Mapping[str, Any]) -> bool:
    return min(matrix_shape(row["shape"])) > 1


def _common(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the readings that every one of these tensors allows."""
    return set.intersection(*(set(row["readings"]) for row in rows)) if rows else set()


#: Scales are told apart beyond four times this share, however small their errors.
_SCALE = 2e-4
#: Changes with at least this cosine are of one training.
_NEAR = 0.7
_SAID = {
    "unreadable": "cannot be read",
    "skipped": "the base's values: the merge skipped them",
    "partial": "merged in part, the rest of their entries the base's",
    "replacement_missing": "the base's values where the adapter saved its own (modules_to_save)",
    "twice": "merged twice",
    "unquantised": "on weights from before the base was quantised, not on its dequantised values",
    "corrupted": "merged but for single entries, which are not what the merge gives: corrupted",
    "changed": "changed, though the adapter does not target them",
    "missing": "not in the merged file",
    "added": "in the merged file alone",
    "reshaped": "of another shape",
    "unmatched": "changed by the adapter, and not in the base",
    "inconclusive": "inconclusive: the file's rounding hides ΔW",
    "dead": "nothing to merge, and the base's values: ΔW is exactly zero",
}


def sentence(status: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what is so of the rows of one status, with the first of their names."""
    names = ", ".join(row["tensor"] for row in rows[:3]) + (", …" if len(rows) > 3 else "")
    words = {"scaled": _scaled, "gridded": _gridded, "unexplained": _unexplained}
    said = words[status](rows) if status in words else _SAID[status]
    return f"{len(rows):,} × {said} ({names})"


def _gridded(rows: Sequence[Mapping[str, Any]]) -> str:
    grids = " and ".join(sorted({row["grid"] for row in rows}))
    return f"merged onto the {grids} grid of this base, not onto its own weights"


def _unexplained(rows: Sequence[Mapping[str, Any]]) -> str:
    if all(row.get("zero") for row in rows):
        return "not the base's, though the adapter's ΔW is exactly zero: another change"
    cosines: list[float] = [row.get("cosine") or 0.0 for row in rows]
    if min(cosines) < _NEAR:
        return "neither the base's nor base + adapter"
    said = "not the adapter's ΔW, yet near it: another checkpoint of it, or more was done (cosine "
    return f"{said}{min(cosines):.6g} at least)"


def _scaled(rows: Sequence[Mapping[str, Any]]) -> str:
    scales = [row["scale"] for row in rows]
    low, high = f"{min(scales):.4g}", f"{max(scales):.4g}"
    common = _one_scale(rows)
    if common is not None:
        low = high = f"{common:.4g}"
    said = f"merged with {low if low == high else f'{low} to {high}'} times the adapter's scale"
    given = {row.get("given") for row in rows}
    if low == high and len(given) == 1 and (strength := given.pop()) is not None:
        found = strength * (scales[0] if common is None else common)
        said = f"merged at {found:.4g}, not at the strength given, {strength:g}"
    names = [name for name in rows[0]["readings"] if name in _common(rows)]
    return f"{said}: looks like {' or '.join(names)}" if names else said


def _one_scale(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the scale that all these tensors share, each weighed by its error; None without."""
    errors = [max(row.get("scale_error") or 0.0, _SCALE * abs(row["scale"])) for row in rows]
    weights = [1 / (error * error) for error in errors if error]
    if len(weights) < len(rows):
        return None
    whole: float = sum(w * row["scale"] for w, row in zip(weights, rows, strict=True))
    mean = whole / sum(weights)
    far = (abs(row["scale"] - mean) > 4 * e for row, e in zip(rows, errors, strict=True))
    return None if any(far) else mean
