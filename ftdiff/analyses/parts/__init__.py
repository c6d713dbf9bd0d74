"""Parts of tensors, each with every sum: rows, columns, attention heads, tokens."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from os import PathLike
from typing import Any

import numpy as np

from ftdiff.adapters import open_base, open_tuned
from ftdiff.analyses.parts import attention, embeddings
from ftdiff.analyses.parts.frame import gathered, piece
from ftdiff.analyses.parts.tasks import measured, measured_alone
from ftdiff.comparison import provenance
from ftdiff.comparison.executors import Workplace
from ftdiff.comparison.plan import Change, Plan, pair
from ftdiff.comparison.progress import Progress
from ftdiff.comparison.result import Diff
from ftdiff.comparison.selected import only
from ftdiff.comparison.statuses import ADDED, REMOVED, RESHAPED, UNTOUCHED
from ftdiff.deltas.recipes import Tuned
from ftdiff.errors import BadCall, BadFile, Mismatch, UnknownName, near
from ftdiff.formats import Checkpoint
from ftdiff.formats.tokenizers import vocabulary

__all__ = ["columns", "heads", "rows", "tokens"]


def rows(
    base: Any | None,
    tuned: Any,
    tensor: str,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Diff:
    """Measure every output row of one tensor.

    Parameters
    ----------
    base, tuned, executor, progress
        As in `ftdiff.compare`.
    tensor
        The tensor's name in the base, or an end of it that no other has.

    Returns
    -------
    Diff
        A row for each row of the matrix as stored (the first axis), told apart by the column
        `row`; of stacked experts, expert by expert. Low-rank changes give ‖ΔW_i‖² in closed form.

    Raises
    ------
    UnknownName
        No tensor has that name.
    BadCall
        The tensor is not on both sides, or the adapter leaves it alone.
    BadFile, BadAdapter, Mismatch
        What was given cannot be read or compared.
    """
    return _lines(base, tuned, tensor, "row", Workplace(executor, progress))


def columns(
    base: Any | None,
    tuned: Any,
    tensor: str,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Diff:
    """Measure every input column of one tensor; else as `rows`, told apart by `column`."""
    return _lines(base, tuned, tensor, "column", Workplace(executor, progress))


def heads(
    base: Any | None,
    tuned: Any,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Diff:
    """Measure every attention head of every projection.

    Parameters
    ----------
    base, tuned, executor, progress
        As in `ftdiff.compare`.

    Returns
    -------
    Diff
        A row for each head of each projection, which add up to the projection: rows of q, k and
        v, columns of o, wherever a fused tensor keeps them. `component` is `attn.q`, `attn.k`, …
        for parts of a fused tensor too. `head` counts query heads; it is missing for a key or
        value head that serves several. `kv_head` counts the groups that share one. A projection
        whose layout is not known is one part without a head, and `about["uncut"]` says why.

    Raises
    ------
    BadCall
        No projection could be cut, with the reason of the first.
    BadFile, BadAdapter, Mismatch
        What was given cannot be read or compared.
    """
    opened, fine, plan = _opened(base, tuned)
    config = _config(opened, fine)
    chosen = [change for change in plan.changes if attention.has_heads(change)]
    cuts: dict[str, attention.Cut] = {}
    uncut: dict[str, str] = {}
    for change in chosen:
        try:
            cuts[change.address.name] = attention.cut(change, config)
        except BadCall as error:
            uncut[change.address.name] = str(error)
    if not cuts:
        known = "no change is of a projection that is known to have heads"
        reason = next((f"{name}: {why}" for name, why in uncut.items()), known)
        raise BadCall(f"{fine.source}: no attention heads to measure: {reason}")
    tasks = [
        (change, cuts[change.address.name].axis if change.address.name in cuts else 0)
        for change in chosen
    ]
    pieces, unreadable = [], {}
    for change, found in zip(chosen, measured(tasks, executor, progress), strict=True):
        name = change.address.name
        if isinstance(found, str):
            unreadable[name] = found
        elif name in cuts:
            cut = cuts[name]
            parts = found.grouped(attention.labels(cut), len(cut.runs))
            prefix = "cross_" if change.address.role.startswith("cross_") else ""
            pieces.append(piece(plan, name, parts, cut.columns(prefix)))
        else:
            whole = found.grouped(np.zeros(len(found), np.int64), 1)
            pieces.append(piece(plan, name, whole, {"head": [None], "kv_head": [None]}))
    names = frozenset(change.address.name for change in chosen)
    about = _about(opened, fine, plan, unreadable, "head", names)
    return gathered(pieces, {**about, "uncut": uncut})


def tokens(
    base: Any | None,
    tuned: Any,
    tokenizer: str | PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Diff:
    """Measure every token's row of the embeddings.

    Parameters
    ----------
    base, tuned, executor, progress
        As in `heads`.
    tokenizer
        A folder with `tokenizer.json` or `vocab.json`; by default that of the fine-tune, or else
        of the base, where they have one.

    Returns
    -------
    Diff
        A row for each row of `embed.tokens` and `head.lm`, told apart by `row` and named by
        `token` (missing without a tokenizer). Rows that only the tuned vocabulary has are of
        status "added", those that only the base has "removed"; both have norms and no change.

    Raises
    ------
    Mismatch
        No embedding changed.
    BadFile, BadAdapter
        What was given cannot be read or compared.
    """
    opened, fine, plan = _opened(base, tuned)
    runs = list(embeddings.runs(plan))
    if not runs:
        raise Mismatch(f"{fine.source}: it changes no embedding, so there are no tokens to measure")
    names = _vocabulary(tokenizer, opened, fine)
    pieces, unreadable = [], {}
    lines = measured([(run.change, 0) for run in runs], executor, progress)
    for run, found in zip(runs, lines, strict=True):
        name = run.change.address.name
        if isinstance(found, str):
            unreadable[name] = found
            continue
        told: dict[str, list[Any]] = {
            "row": list(run.numbers),
            "token": [names.get(i) for i in run.numbers],
        }
        sums = embeddings.renamed(found, run.status)
        pieces.append(piece(plan, name, sums, told, run.status))
    cut = frozenset(run.change.address.name for run in runs)
    return gathered(pieces, _about(opened, fine, plan, unreadable, "token", cut))


def _lines(base: Any | None, tuned: Any, tensor: str, word: str, at: Workplace) -> Diff:
    opened, fine, plan = _opened(base, tuned)
    change = _named(plan, tensor)
    found = measured_alone(change, int(word == "column"), at.executor, at.progress)
    name = change.address.name
    pieces = [piece(plan, name, found, {word: list(range(len(found)))})]
    return gathered(pieces, _about(opened, fine, plan, {}, word, frozenset([name])))


def _about(
    base: Checkpoint | None,
    tuned: Tuned,
    plan: Plan,
    unreadable: Mapping[str, str],
    by: str,
    names: frozenset[str],
) -> dict[str, Any]:
    """Return what parts were made from: by what they were cut, and how much these tensors are."""
    found = provenance.about(base, tuned, plan, unreadable)
    read = provenance.extent(tuned, only(plan, names), unreadable)
    return {**found, **read, "cut": by}


def _opened(base: Any | None, tuned: Any) -> tuple[Checkpoint | None, Tuned, Plan]:
    opened = open_base(base)
    fine = open_tuned(tuned, opened)
    plan = pair(opened, fine)
    return opened, plan.tuned or fine, plan


def _config(base: Checkpoint | None, tuned: Tuned) -> Mapping[str, Any]:
    """Return the model's configuration: the base's, or that of a full checkpoint."""
    if base is not None and base.config:
        return base.config
    return tuned.config if tuned.kind == "full" else {}


def _named(plan: Plan, tensor: str) -> Change:
    """Find a change by its name or the end of it."""
    held = {change.address.name: change for change in plan.changes}
    if tensor in held:
        return held[tensor]
    ends = [name for name in plan.tensors if name == tensor or name.endswith(f".{tensor}")]
    if len(ends) > 1:
        raise UnknownName(f"{len(ends)} tensors end in {tensor!r}: {ends[0]!r}, {ends[1]!r}, …")
    if not ends:
        hint = near(tensor, plan.tensors) or "; see `ftdiff inspect`"
        raise UnknownName(f"no tensor is called {tensor!r}{hint}")
    if ends[0] in held:
        return held[ends[0]]
    fates = {UNTOUCHED: plan.untouched, ADDED: plan.added, REMOVED: plan.removed}
    fate = next((fate for fate, names in fates.items() if ends[0] in names), RESHAPED)
    raise BadCall(f"{ends[0]}: {fate}, so there is no change to measure")


def _vocabulary(
    tokenizer: str | PathLike[str] | None, base: Checkpoint | None, tuned: Tuned
) -> dict[int, str]:
    if tokenizer is not None:
        found = vocabulary(str(tokenizer))
        if not found:
            raise BadFile(f"{tokenizer}: neither tokenizer.json nor vocab.json is there")
        return found
    for source in (tuned.source, base.source if base is not None else ""):
        if source and (found := vocabulary(source)):
            return found
    return {}
