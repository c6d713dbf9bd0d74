"""Which of these checkpoints a fine-tune is nearest to: a sample of all, then the best in full."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from ftdiff.adapters import open_model, open_tuned
from ftdiff.analyses import judgement
from ftdiff.analyses.lineage_distances import distances
from ftdiff.analyses.lineage_merge import merged_of
from ftdiff.analyses.lineage_result import COLUMNS, Lineage
from ftdiff.analyses.lineage_sample import Sample, sample
from ftdiff.analyses.lineage_tree import Tree, tree_of
from ftdiff.analyses.lineage_verdict import (
    FOUND,
    MERGE,
    Row,
    key,
    of_tree,
    reach,
    related,
    summary,
)
from ftdiff.analyses.merges import MergeOf
from ftdiff.analyses.pairwise import labels
from ftdiff.comparison import engine
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of
from ftdiff.comparison.reasons import COARSE
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadCall
from ftdiff.formats import Checkpoint
from ftdiff.metrics.names import several
from ftdiff.tensors import Array, matrix_shape

#: Candidates that are read in full: so many, and those not this many times further than the best.
_FINALISTS, _OPEN = 2, 1.5
#: A tree has so many models, the nearest. Where no more than so many do not fit, these are tried as
#: merges.
_LEAST, _LEAVES, _ASKED = 4, 24, 3


def lineage(
    tuned: Any,
    candidates: Iterable[Any],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Lineage:
    """Rank candidates by how little was changed to get from them to a fine-tune.

    What was compared in full stands before what was compared in part, however near that is. Where
    two candidates or more are of its training, it is asked whether it is a merge of them: a sample
    of all mixes is read, and the likeliest in full. Of four models or more, its own with them, the
    tree is drawn.

    Parameters
    ----------
    tuned
        A path to a full checkpoint, or what `open_checkpoint` takes.
    candidates
        As many as there are, each as `open_checkpoint` takes it.
    executor
        Where they are read; threads of this process by default, one for each core.
    progress
        As in `ftdiff.compare`: of the sample of all, then of each that is read in full.

    Raises
    ------
    BadCall
        No candidate, or an adapter in the place of a checkpoint.
    BadFile
        One of them cannot be opened.
    """
    fine = _whole(open_tuned(tuned))
    opened = [open_model(candidate) for candidate in several(candidates)]
    if not opened:
        raise BadCall("lineage needs at least one candidate")
    sampled = map(_of_sample, opened, sample(opened, fine, executor, progress))
    ranked = sorted(zip(sampled, opened, strict=True), key=lambda x: key(x[0]))
    final = [
        (_in_full(one, fine, executor, progress) if row["tensors"] else row, one)
        for i, (row, one) in enumerate(ranked)
        if i < _FINALISTS or _open(row, ranked[0][0])
    ]
    held = sorted(final, key=lambda x: key(x[0])) + ranked[len(final) :]
    rows = [row for row, _ in held]
    model, *kin = _told_apart([open_model(tuned), *(one for row, one in held if related(row))])
    merge = None if rows[0]["relative_norm"] == 0 else merged_of(model, kin, executor)
    verdict, sentences = reach(fine, rows, merge)
    parent = rows[0]["candidate"] if verdict in FOUND and verdict != MERGE else None
    tree, said = _tree(model, kin, executor, merge)
    frame = judgement.typed(rows, COLUMNS)
    about = made_of(tuned=[fine], candidates=opened)
    return Lineage(verdict, parent, (*sentences, *said), frame, about, summary(merge), tree)


def _told_apart(models: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return them with sources that are all different, as those in memory are not."""
    sources = [one.source for one in models]
    if len({*sources}) == len(sources):
        return [*models]
    return [replace(one, source=name) for one, name in zip(models, labels(sources), strict=True)]


def _tree(
    model: Checkpoint,
    kin: Sequence[Checkpoint],
    executor: Executor | None,
    merge: MergeOf | None,
) -> tuple[Tree | None, tuple[str, ...]]:
    """Return the tree of a model and its kin, and what is said of those that do not fit."""
    models = [model, *kin[: _LEAVES - 1]]
    found = distances(models) if len(models) > _LEAST - 1 else None
    if found is None:
        return None, ()
    tree = tree_of(labels([one.source for one in models]), found)
    known = merge is not None and 0 in tree.marked
    asked = [] if known or len(tree.marked) > _ASKED else [i for i in tree.marked if i > 0]
    merges = {
        i: merged_of(models[i], _nearest(models, found, i), executor, whole=False) for i in asked
    }
    return tree, of_tree(tree, merges, known=known)


def _nearest(models: Sequence[Checkpoint], found: Array, i: int) -> list[Checkpoint]:
    return [models[j] for j in found[i].argsort(kind="stable").tolist() if j != i]


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
        f"{tuned.source}: a {tuned.kind} adapter holds a change and no weights of its base{said}; "
        "ftdiff audit BASE ADAPTER says whether a base fits"
    )


def _of_sample(candidate: Checkpoint, sample: Sample | None) -> Row:
    if sample is None:
        return _row(candidate, "headers", 0.0, [], "no tensor in common")
    lost = sample.unreadable
    said = lost[0] + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else "") if lost else ""
    measured = "sample" if sample.tiles else "headers"
    return _row(candidate, measured, sample.coverage, sample.tiles, said)


def _in_full(
    candidate: Checkpoint, tuned: Tuned, executor: Executor | None, progress: Progress | None
) -> Row:
    diff = engine.compare(candidate, tuned, ("relative_norm",), executor, progress)
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
    cast = row["base_dtype"] != row["tuned_dtype"] and COARSE not in (row.get("reason") or "")
    return bool(cast and spacing and row["delta_sq"] <= spacing / 4)
