"""What `ftdiff inspect` prints: facts, components, scales and where they come from."""

from __future__ import annotations

from ftdiff.analyses.inspection import Contents
from ftdiff.reports.terminal.tables import escape, new_console, write_line, write_named, write_table


def show_contents(contents: Contents) -> None:
    """Print what `inspect` found."""
    console = new_console()
    for label, value in contents.facts.items():
        write_line(console, f"[dim]{label:>16}[/]  {escape(value)}", hang=18)
    write_table(console, "", contents.components)
    if contents.scalings:
        console.print("[bold]scale and where it comes from[/]")
    for scaling in contents.scalings:
        line = f"{scaling['modules']:>6} × {scaling['scale']}  [dim]{escape(scaling['first'])}[/]"
        write_line(console, line)
    write_named(console, "matched nothing", contents.unmatched)
    for note in contents.notes:
        write_line(console, f"[yellow]![/] {escape(note)}", hang=2)
