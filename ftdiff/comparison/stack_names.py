"""Find a stack of a diff by its name in the frame, or by what people call it."""

from __future__ import annotations

from collections.abc import Iterable

from ftdiff.comparison.frame import there
from ftdiff.comparison.result import Diff
from ftdiff.naming.stack_order import stack_labels, stack_order
from ftdiff.registry import Registry


def stacks_of(diff: Diff) -> dict[str, str]:
    """Return the stacks of a diff that have layers, in the model's order, and their labels."""
    columns = diff.columns
    placed = there(columns["layer"]) & there(columns["stack"])
    names = [*dict.fromkeys(columns["stack"][placed].tolist())]
    labels = stack_labels(names)
    return {name: labels[name] for name in stack_order(names)}


def stack_named(stacks: Iterable[str], wanted: str) -> str:
    """Return the stack that has this name, or this label.

    Raises
    ------
    UnknownName
        None has.
    """
    names = [*stacks]
    labels = stack_labels(names)
    if wanted in names:
        return wanted
    by_label = {label or name or "main": name for name, label in labels.items()}
    return Registry(
        "stack", {**{n: n for n in names if n and n not in labels.values()}, **by_label}
    )[wanted]
