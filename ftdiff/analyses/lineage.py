"""Which of these checkpoints a fine-tune is nearest to: a sample of all, then the best in full."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ftdiff.adapters import open_tuned
from ftdiff.analyses.lineage_verdict import FOUND, Row, key, reach
from ftdiff.comparison import engine
from ftdiff.comparison import notebook_html as notebook
from ftdiff.comparison.plan import Change, pair
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadCall, Mismatch, attempt
from ftdiff.formats import Checkpoint, open_checkpoint
from ftdiff.tensors import matrix_shape

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "ftdiff.lineage/1"

#: Tensors of a candidate that the sample reads a tile of.
_SAMPLE = 64
#: Candidates that are read in full: so many, and those not this many times further than the best.
_FINALISTS, _OPEN = 2, 1.5

_COLUMNS = {
    "candidate": "string", "measured": "string", "coverage": "Float64", "tensors": "Int64",
    "equal": "Int64", "cosine": "Float64", "relative_norm": "Float64", "said": "string",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Lineage:
    """Which candidate a fine-tune is nearest to.

    Attributes
    ----------
    verdict
        "parent" (the nearest, and config.json names it), "nearest" (another fine-tune of the same
        base would look the same), "tie" (the numbers cannot tell) or "nobody".
    parent
        The source of the nearest candidate, if there is one: the parent, if the parent is one of
        the candidates.
    sentences
        The verdict in words, with its evidence.
    frame
        A row per candidate, best first: what was `measured` (sample, full), the `coverage` of the
        parameters, `tensors` that were compared, how many of them are `equal` (constants, which
        any two models have in common, left out), `cosine` and `relative_norm` of the change over
        the matrices, and what is to be `said`.
    """

    verdict: str
    parent: str | None
    sentences: tuple[str, ...]
    frame: pd.DataFrame

    @property
    def exit_code(self) -> int:
        """0 where one candidate is the nearest, 1 where none is."""
        return 0 if self.verdict in FOUND else 1

    def _repr_html_(self) -> str:
        """Show itself in a notebook: the verdict in words, and a row per candidate."""
        rows = [{str(k): v for k, v in row.items()} for row in self.frame.to_dict("records")]
        return notebook.shown(self.verdict, self.sentences, rows)

    def json(self) -> str:
        """Return everything as JSON."""
        rows = json.loads(self.frame.to_json(orient="records", double_precision=15))
        document: dict[str, Any] = {
            "format": FORMAT,
            "verdict": self.verdict,
            "parent": self.parent,
        }
        document |= {"sentences": self.sentences, "candidates": rows}
        return json.dumps(document, ensure_ascii=False, indent=1)


def lineage(tuned: Any, candidates: Iterable[Any], executor: Executor | None = None) -> Lineage:
    """Rank candidates by how little was changed to get from them to a fine-tune.

    What was compared in full stands before what was compared in part, however near that is.

    Parameters
    ----------
    tuned
        A path to a full checkpoint, or what `open_checkpoint` takes.
    candidates
        As many as there are, each as `open_checkpoint` takes it.
    executor
        Where the best are read in full; threads of this process by default.

    Raises
    ------
    BadCall
        No candidate, or an adapter in the place of a checkpoint.
    BadFile
        One of them cannot be opened.
    """
    import pandas as pd

    fine = _whole(open_tuned(tuned))
    opened = [_candidate(candidate) for candidate in candidates]
    if not opened:
        raise BadCall("lineage needs at least one candidate")
    ranked = sorted(
        ((_sampled(candidate, fine), candidate) for candidate in opened), key=lambda x: key(x[0])
    )
    final = [
        _in_full(candidate, fine, executor) if row["tensors"] else row
        for i, (row, candidate) in enumerate(ranked)
        if i < _FINALISTS or _open(row, ranked[0][0])
    ]
    rows = sorted(final, key=key) + [row for row, _ in ranked[len(final) :]]
    verdict, sentences = reach(fine, rows)
    frame = pd.DataFrame({c: [row.get(c) for row in rows] for c in _COLUMNS}, dtype="object")
    parent = rows[0]["candidate"] if verdict in FOUND else None
    return Lineage(verdict, parent, sentences, frame.astype(_COLUMNS))


def _open(row: Row, best: Row) -> bool:
    """Say whether a candidate may win yet."""
    *first, norm = key(best)
    return key(row) <= (*first, _OPEN * norm) and bool(row["tensors"])


def _whole(tuned: Tuned) -> Tuned:
    if tuned.kind == "full":
        return tuned
    named = tuned.config.get("base_model_name_or_path")
    said = f"; it names {named!r} as its base" if isinstance(named, str) else ""
    raise BadCall(
        f"{tuned.source}: a {tuned.kind} adapter holds a change and no weights of its base{said}"
    )


def _candidate(source: Any) -> Checkpoint:
    found = open_tuned(source)
    if found.kind != "full":
        raise BadCall(f"{found.source}: a {found.kind} adapter cannot be a parent")
    return open_checkpoint(source)


def _sampled(candidate: Checkpoint, tuned: Tuned) -> Row:
    """Measure a tile from the middle of tensors spread over the model."""
    try:
        plan = pair(candidate, tuned)
    except Mismatch:
        return _row(candidate, "headers", 0.0, [], "no tensor in common")
    # by a hash of the name: a stride would meet the same few components in every layer
    drawn = sorted(plan.changes, key=lambda change: crc32(change.address.name.encode()))[:_SAMPLE]
    tried = [attempt(change.address.name, partial(_tile, change)) for change in drawn]
    found = [tile for tile in tried if not isinstance(tile, str)]
    lost = [why for why in tried if isinstance(why, str)]
    said = lost[0] + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else "") if lost else ""
    return _row(candidate, "sample" if found else "headers", plan.coverage, found, said)


def _tile(change: Change) -> Row:
    middle = change.recipe.tiles(change.base) // 2
    moments = change.recipe.moments(change.base, range(middle, middle + 1))
    facts: Row = {"shape": change.recipe.shape, "tuned_dtype": change.recipe.dtype}
    facts |= {"base_dtype": change.base.dtype if change.base is not None else None}
    return {**facts, **moments.row(), "numel": moments.numel}


def _in_full(candidate: Checkpoint, tuned: Tuned, executor: Executor | None) -> Row:
    diff = engine.compare(candidate, tuned, ("relative_norm",), executor)
    paired = diff.frame[diff.frame["unequal"].notna() & diff.frame["base_dtype"].notna()]
    whole = paired.astype("object")
    rows: list[Row] = whole.where(whole.notna(), None).to_dict("records")  # type: ignore[assignment]
    unreadable = len(diff.about["unreadable"])
    said = f"{unreadable} tensors cannot be read" if unreadable else ""
    return _row(candidate, "full", diff.about["coverage"], rows, said)


def _row(
    candidate: Checkpoint, measured: str, coverage: float, rows: Sequence[Row], said: str = ""
) -> Row:
    matrices = [row for row in rows if min(matrix_shape(row["shape"])) > 1] or rows
    telling = [row for row in rows if not _constant(row)]
    total = {
        name: math.fsum(row.get(name) or 0.0 for row in matrices)
        for name in ("base_sq", "tuned_sq", "delta_sq", "inner")
    }
    still = bool(rows) and total["delta_sq"] == 0.0
    return {
        "candidate": candidate.source,
        "measured": measured,
        "coverage": coverage,
        "tensors": len(telling),
        "equal": sum(_equal(row) for row in telling),
        "cosine": 1.0 if still else _cosine(total),
        "relative_norm": 0.0 if still else _ratio(total["delta_sq"], total["base_sq"]),
        "said": said,
    }


def _cosine(total: Mapping[str, float]) -> float | None:
    """Return ⟨W, W + ΔW⟩ / (‖W‖ ‖W + ΔW‖)."""
    norms = math.sqrt(total["base_sq"] * total["tuned_sq"])
    return (total["base_sq"] + total["inner"]) / norms if norms else None


def _ratio(part: float, whole: float) -> float | None:
    return math.sqrt(part / whole) if whole else None


def _constant(row: Row) -> bool:
    """Say whether all entries have one size: the mean of squares is the square of the mean."""
    square, size = row.get("base_sq"), row.get("base_abs")
    if square is None or size is None:
        return False  # the same bytes were not read
    return bool(abs(size * size - row["numel"] * square) <= 1e-9 * row["numel"] * square)


def _equal(row: Row) -> bool:
    """Say whether a tensor is the same, or the same but for a cast: within half a spacing."""
    if not row["unequal"]:
        return True
    spacing = row.get("ulp_sq")
    cast = row["base_dtype"] != row["tuned_dtype"]
    return bool(cast and spacing and row["delta_sq"] <= spacing / 4)
