"""The program and its commands as they teach: grouped help, near words, defaults from a file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ftdiff.cli import settings, voice
from ftdiff.errors import near

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:  # before click 8.2 it takes no type
    _Choice = click.Choice

#: Under which heading options stand in the help of a command; all others under "Options".
_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Which tensors": ("include", "exclude", "layers", "top"),
    "Where it is measured": ("jobs", "processes", "dask", "wait", "memory"),
    "What is said": ("quiet", "verbose", "no_progress"),
}
#: The command that other programs call by another word.
_MEANT: Mapping[str, str] = {
    "diff": "compare",
    "check": "audit",
    "info": "inspect",
    "show": "inspect",
    "ls": "inspect",
    "extract": "recover",
    "draw": "plot",
}


class Taught(click.Command):
    """A command with the options that all have, its options under headings."""

    @classmethod
    def of(cls, command: click.Command, line: str) -> Taught:
        """Return a command as it is taught; `line` says in the list of commands what it does."""
        for param in command.params:
            if type(param.type) is click.Choice:
                param.type = Word([*param.type.choices])
        return cls(
            command.name,
            callback=command.callback,
            params=[*command.params, *voice.options()],
            help=command.help,
            epilog=command.epilog,
            short_help=line,
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        headings = {name: head for head, names in _HEADINGS.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {head: [] for head in ("Options", *_HEADINGS)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows[headings.get(str(param.name), "Options")].append(record)
        for head, records in rows.items():
            if records:
                with formatter.section(head):
                    formatter.write_dl(records)

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        """Read the arguments; a default of the working folder's file is blamed as such."""
        try:
            return super().make_context(*given, **more)
        except click.BadParameter as error:
            name = error.param.name if error.param is not None else None
            source = error.ctx.get_parameter_source(name) if error.ctx and name else None
            if source is ParameterSource.DEFAULT_MAP:
                raise settings.wrong(error.message, _long(error.param) or str(name)) from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; first say, where it is asked, which defaults were read."""
        taken = ParameterSource.DEFAULT_MAP
        if voice.VOICE.verbose:
            settings.say(
                {
                    _long(param): ctx.params[str(param.name)]
                    for param in self.params
                    if ctx.get_parameter_source(str(param.name)) is taken
                }
            )
        return super().invoke(ctx)


class Word(_Choice):
    """One of a few words; what is none of them is answered with the near ones."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word."""
        if value in self.choices:
            return value
        known = ", ".join(self.choices)
        self.fail(f"{str(value)!r} is not one of {known}{near(value, self.choices)}", param, ctx)


class Teaching(click.Group):
    """A group whose commands are imported when they are asked for, and listed under headings."""

    groups: Mapping[str, Mapping[str, str]]

    def __init__(self, *given: Any, groups: Mapping[str, Mapping[str, str]], **more: Any) -> None:
        super().__init__(*given, **more)
        self.groups = groups
        self.params += voice.options()

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        """Read the arguments, of a new call."""
        voice.VOICE.reset()
        return super().make_context(*given, **more)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, in the order of a first visit."""
        return [name for group in self.groups.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of that name, imported when it is asked for."""
        for group in self.groups.values():
            if cmd_name in group:
                name = cmd_name.replace("-", "_")
                command = getattr(importlib.import_module(f"ftdiff.cli.{name}"), name)
                assert isinstance(command, click.Command)
                return Taught.of(command, group[cmd_name])
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a word that is none is answered with the near ones."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            meant = _MEANT.get(name)
            hint = f"; {meant} does that" if meant else near(name, known)
            hint = hint or "; there are " + ", ".join(known)
            raise click.UsageError(f"no command is called {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command, under its heading; none is imported for it."""
        width = max(len(name) for name in self.list_commands(ctx))
        for head, lines in self.groups.items():
            with formatter.section(head):
                formatter.write_dl([(name.ljust(width), line) for name, line in lines.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the names of commands, without importing all of them."""
        from click.shell_completion import CompletionItem

        rows = [(name, line) for group in self.groups.values() for name, line in group.items()]
        words = [CompletionItem(n, help=line) for n, line in rows if n.startswith(incomplete)]
        return words or click.Command.shell_complete(self, ctx, incomplete)


def _long(param: click.Parameter | None) -> str:
    """Return an option's long name without its dashes."""
    words = [word for word in (param.opts if param is not None else ()) if word.startswith("--")]
    return words[0].removeprefix("--") if words else ""
