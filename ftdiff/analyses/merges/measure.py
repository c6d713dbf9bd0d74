"""Say what a model is of others: open, line up, judge every tensor over all files at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from ftdiff.analyses.merges import tensor
from ftdiff.analyses.merges.guesses import Hint
from ftdiff.analyses.merges.models import Models
from ftdiff.analyses.merges.pieces import Piece, judged
from ftdiff.analyses.merges.result import MergeOf
from ftdiff.analyses.merges.tensor import Found
from ftdiff.analyses.merges.verdicts import OPEN
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.provenance import made_of
from ftdiff.errors import BadCall
from ftdiff.metrics.names import several
from ftdiff.tensors import numel

#: Tensors of which a sample is looked at before all are read, and its entries.
_PILOTS, _LOOKED_AT = 4, 1 << 13


def merge_of(
    merged: Any,
    parents: Sequence[Any],
    base: Any | None = None,
    *,
    sample: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> MergeOf:
    """Say whether a model is a merge of others: with which coefficients, and how exactly.

    Parameters
    ----------
    merged
        A whole checkpoint: a path, or what `open_checkpoint` takes.
    parents
        What it may be made of, whole checkpoints too; those that are not in it have coefficient 0.
    base
        What the parents were tuned from: M − W0 is then fitted on their changes, and task vectors,
        TIES and DARE can be told. Without it M is fitted on the parents, which are two at least.
    sample
        How many entries of each tensor are read, in four runs from its beginning to its end; all if
        not given. Nothing else is asked of far files, but for their headers. Entries of a run are
        as good as scattered ones: what is told of an entry hangs on its own rounding.
    executor
        Where to measure; threads of this process by default, one for each core.
    progress
        Called with the bytes read so far and in all.

    Raises
    ------
    BadCall
        There are too few parents, `sample` is not positive, or one of them is an adapter.
    BadFile, Mismatch
        One of them cannot be opened, or has no tensor that the others have. A tensor that cannot
        be read is a row of status "unreadable" instead.

    Notes
    -----
    Least squares are weighted by 1/ulp² of the merged dtype. Plain ones are biased where a change
    is about as large as the spacing of the numbers: rounding is then no noise that is independent
    of it.

    Not told: sparse merges of three parents or more, or of changes below about 1e-3 of the weights
    in bfloat16, which are called "partly" or "none"; weights of tensors that are stored quantised.
    What is left of a mean was trained on top if its shares sum to 1 all the same, and is a parent
    that is missing if they do not; where neither can be told, both are said. Without a base,
    weights that add up to 1 within .002 do so.
    """
    parents = list(several(parents))
    if sample is not None and sample < 1:
        raise BadCall(f"a sample of {sample}: one entry of each tensor at least")
    models = Models.opened(merged, parents, base)
    lineup = models.lineup
    pieces = [Piece(line, sample) for line in lineup.lines]
    known = _pilots(pieces, base is not None, executor)
    found = judged(pieces, base is not None, known, executor, progress)
    found = _again(pieces, found, base is not None, executor)
    rows = [one.row for one in found] + _apart(lineup.apart[lineup.names[0]], found)
    about = {
        "merged": models.merged.source,
        "parents": {
            name: one.source for name, one in zip(models.names, models.parents, strict=True)
        },
        "base": lineup.base if base is not None else None,
        "sample": sample,
        **made_of(
            base=[lineup.opened] if base is not None else [],
            tuned=[models.merged, *models.parents],
        ),
    }
    return MergeOf.of_rows(rows, about, models)


def _pilots(
    pieces: Sequence[Piece], with_base: bool, executor: Executor | None
) -> tuple[Hint, ...]:
    """Return what a sample says of a few tensors, what most are at the beginning.

    Where it is right for the others, each is gone through but once.
    """
    large = sorted(range(len(pieces)), key=lambda i: -numel(pieces[i].line.shape))
    large = sorted(large[: max(_PILOTS, len(pieces) // 2)])
    chosen = [pieces[i] for i in large[:: max(1, len(large) // _PILOTS)][:_PILOTS]]
    few = [Piece(one.line, min(one.sample or _LOOKED_AT, _LOOKED_AT)) for one in chosen]
    moved = _told([one.row for one in judged(few, with_base, (), executor)])
    return tuple(hint for hint, _ in moved.most_common())


def _again(
    pieces: Sequence[Piece], found: Sequence[Found], with_base: bool, executor: Executor | None
) -> list[Found]:
    """Judge once more what is not exact, or is by other weights, where most has the same.

    So it is where few entries move by one spacing or two, as those of norms do.
    """
    hint = _hint([one.row for one in found])
    settled = list(found)
    if hint is None:
        return settled
    open_ = [i for i, one in enumerate(found) if _differs(one.row, hint)]
    again = judged([pieces[i] for i in open_], with_base, (hint,), executor)
    for i, one in zip(open_, again, strict=True):
        if one.row["status"] == "exact":
            settled[i] = one
    return settled


def _differs(row: tensor.Row, hint: Hint) -> bool:
    if row["status"] in OPEN:
        return True
    if row["status"] != "exact":
        return False
    return bool(row.get("t") is None if hint.t is not None else row["weights"] != hint.weights)


def _hint(rows: Sequence[tensor.Row]) -> Hint | None:
    """Return the weights that most of the moved entries have, if they have any."""
    moved = _told(rows)
    total = sum(row.get("moved", 0) for row in rows)
    if not moved:
        return None
    (hint, most), *_ = moved.most_common(1)
    return hint if most > total / 2 else None


def _told(rows: Sequence[tensor.Row]) -> Counter[Hint]:
    """Count the moved entries by the weights that they have, and the arithmetic."""
    moved: Counter[Hint] = Counter()
    for row in rows:
        if row["status"] == "exact" and None not in row["errors"]:
            t = row.get("t")
            own = Hint(row["weights"], way=row["way"]) if t is None else Hint(t=round(t, 3))
            moved[own] += row["moved"]
    return moved


def _apart(apart: Any, found: Sequence[tensor.Found]) -> list[tensor.Row]:
    """Return rows of the merged file's tensors that were not lined up."""
    known = {one.row["tensor"] for one in found}
    return [
        {"tensor": name, "status": "unmatched", "said": why}
        for name, why in apart.items()
        if name not in known
    ]
