"""What `ftdiff lineage` prints: the nearest candidate, and the evidence for each candidate."""

from __future__ import annotations

from ftdiff.analyses.lineage_result import Lineage
from ftdiff.analyses.lineage_tree import Tree
from ftdiff.comparison.frame import records
from ftdiff.reports.terminal.tables import escape, new_console, write_table
from ftdiff.reports.terminal.verdict import show_verdict, show_whole


def show_lineage(found: Lineage, format_: str = "table") -> None:
    """Print which candidate is the nearest, and the evidence for each; or it as JSON or CSV."""
    if format_ == "table":
        show_verdict(found.verdict, found.sentences)
        console = new_console()
        write_table(console, "candidates", records(found.frame))
        if found.tree is not None:
            console.print("\ntree, as change / norm along each branch")
            for line in found.tree.lines(_notes(found.tree)):
                console.print(f"  {escape(line)}", soft_wrap=True)
    else:
        show_whole(found, format_)


def _notes(tree: Tree) -> dict[int, str]:
    """Name the model that is asked for, which is the first leaf, and those that do not fit."""
    bent = {i: f"does not fit: δ {tree.deltas[i]:.2f}" for i in tree.marked}
    return {**bent, 0: "; ".join(["the one asked for", *([bent[0]] if 0 in bent else [])])}
