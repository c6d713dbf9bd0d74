"""The option --stack: the stacks of a saved diff by name, listed, and completed by the shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

#: What is given instead of a name to see the names.
LIST = "list"


def listed(data: Any) -> list[str]:
    """Return a line for each stack of a diff: what it is called, its name in the frame, its layers.

    Raises
    ------
    BadCall
        It is no diff, or has no stack with layers.
    """
    from ftdiff.comparison.result import Diff
    from ftdiff.errors import BadCall

    if not isinstance(data, Diff):
        raise BadCall(f"--stack {LIST}: a diff has stacks, this is {type(data).__name__}")
    rows = _rows(data)
    if not rows:
        raise BadCall(f"--stack {LIST}: no weight of this diff is in a layer")
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return [
        f"{label:<{widths[0]}}  {name:<{widths[1]}}  {layers}".rstrip()
        for label, name, layers in rows
    ]


def complete_stacks(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a stack of the diff that the command is given; nothing where there is none."""
    from ftdiff.errors import FtdiffError

    # an option without its value yet ends the parsing, and leaves what it saw
    source = context.params.get("source") or next(iter(context.args), None)
    if source is None:
        return []
    try:
        from ftdiff.comparison.result import Diff

        rows = _rows(Diff.load(Path(source)))
    except (FtdiffError, OSError):
        return []
    names = [(label or name, layers) for label, name, layers in rows]
    return [
        CompletionItem(name, help=layers)
        for name, layers in [*names, (LIST, "name them all")]
        if name.startswith(incomplete)
    ]


def _rows(diff: Any) -> Sequence[tuple[str, str, str]]:
    """Return label, name and number of layers of each stack, in the model's order."""
    from ftdiff.comparison.stack_names import stacks_of

    columns = diff.columns
    found = []
    for name, label in stacks_of(diff).items():
        layers = set(columns["layer"][columns["stack"] == name].tolist()) - {None}
        count = f"{len(layers)} layer{'' if len(layers) == 1 else 's'}"
        found.append((label or "main", repr(name), count))
    return found
