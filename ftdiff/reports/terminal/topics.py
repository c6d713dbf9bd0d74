"""What `ftdiff help` prints: one topic, or the names of all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ftdiff.reports.terminal.tables import escape, new_console, write_line
from ftdiff.reports.topics import Topic, topics


def show_topics(found: Sequence[Topic]) -> None:
    """Print what each of these is."""
    console = new_console()
    for topic in found:
        write_line(console, f"[bold]{escape(topic.name)}[/]  {topic.kind}")
        write_line(console, escape(topic.what), indent=4)
        for label, text in topic.facts.items():
            write_line(console, f"{label}: {escape(text)}", indent=4)


def show_names() -> None:
    """Print the names of all topics, kind by kind."""
    console = new_console()
    for kind, members in groupby(topics(), lambda topic: topic.kind):
        console.print(f"[bold]{kind}s[/]")
        console.print("  " + ", ".join(topic.name for topic in members))
