"""`ftdiff help`: what a command, a metric, a finding or an audit rule is."""

from __future__ import annotations

import click

from ftdiff.cli import words


@click.command()
@click.argument("topic", required=False, type=words.TOPIC)
@click.pass_context
def help(ctx: click.Context, topic: str | None) -> None:
    """Say what a command, metric, finding or audit rule is.

    \b
    ftdiff help compare           a command, as with --help
    ftdiff help relative_norm     formula, range, what noise gives, source
    ftdiff help depth-trend       when it is said, against which null, and what it would see
    ftdiff help                   the names of all

    A policy's [rules] and the thresholds of findings go by these names.
    """
    from ftdiff.reports.terminal import topics as terminal
    from ftdiff.reports.topics import spelled, topics_of

    parent = ctx.parent
    assert parent is not None and isinstance(parent.command, click.Group)
    commands = parent.command.list_commands(parent)
    named = next((name for name in commands if spelled(name) == spelled(topic or "")), "")
    command = parent.command.get_command(parent, named) if named else None
    if topic is None:
        terminal.show_names()
    elif command is not None:
        assert command.name is not None
        click.echo(command.get_help(click.Context(command, parent=parent, info_name=command.name)))
    else:
        terminal.show_topics(topics_of(topic, commands))
