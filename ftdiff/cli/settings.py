"""Defaults from `[tool.ftdiff]` in the pyproject.toml of the working folder.

They say how a command runs and how it shows what it found, never what is compared, demanded,
trusted or written: a file that came with a model cannot soften a check.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ftdiff.cli.voice import VOICE
from ftdiff.errors import BadCall, BadFile, near, one_line

FILE = Path("pyproject.toml")
#: What may be set: options by their long names. In [tool.ftdiff] of all commands that have it, in
#: [tool.ftdiff.COMMAND] of that one.
SETTABLE = frozenset(
    {
        *("jobs", "processes", "memory", "device", "dtype", "batch", "hash", "fresh"),
        *("metric", "measure", "format", "by", "style", "normalise", "stack", "others", "outline"),
        *("trend", "log", "robust", "bare", "center", "vmin", "vmax", "max-texts", "max-tokens"),
        *("offline", "quiet", "verbose", "no-progress"),
    }
)
_OF_PROGRAM = ("offline", "quiet", "verbose", "no-progress")


def read(commands: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """Return what the file sets, by its names; nothing where there is no such file or table.

    Raises
    ------
    BadFile
        It is no TOML.
    BadCall
        It sets what is no option, or what only the call may say.
    """
    try:
        text = FILE.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    if "ftdiff" not in text:
        return {}
    import tomllib

    try:
        tool = tomllib.loads(text).get("tool", {})
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if "tool" not in text:
            return {}
        raise BadFile(f"{FILE}: {one_line(error)}") from error
    found = tool.get("ftdiff", {}) if isinstance(tool, dict) else {}
    if not isinstance(found, dict):
        raise BadCall(f"{FILE}: tool.ftdiff is no table")
    for name, value in found.items():
        if isinstance(value, dict):
            if name not in commands:
                raise BadCall(f"{FILE}: [tool.ftdiff.{name}]: no command is called {name!r}")
            for inner in value:
                _check(inner, f"[tool.ftdiff.{name}]")
        else:
            _check(name, "[tool.ftdiff]")
    return found


def defaults(found: Mapping[str, Any], command: click.Command, name: str) -> dict[str, Any]:
    """Return the defaults of a command's parameters, by their names in its function.

    Raises
    ------
    BadCall
        The command's own table sets an option that it has not.
    """
    params = {
        word.removeprefix("--"): param
        for param in command.params
        if isinstance(param, click.Option)
        for word in (*param.opts, *param.secondary_opts)
        if word.startswith("--")
    }
    own = found.get(name, {})
    shared = {k: v for k, v in found.items() if not isinstance(v, dict) and k in params}
    for key in own:
        if key not in params:
            raise BadCall(f"{FILE}: [tool.ftdiff.{name}] sets {key}, and {name} has no --{key}")
    told = {key: value for key, value in {**shared, **own}.items() if key not in _OF_PROGRAM}
    return {str(params[key].name): _value(params[key], value) for key, value in told.items()}


def of_program(found: Mapping[str, Any], name: str | None) -> bool:
    """Take what is said of the program itself, and return whether it asks no other machine."""
    own = found.get(name or "", {})
    flags = {key: own.get(key, found.get(key)) for key in _OF_PROGRAM}
    for key, value in flags.items():
        if value is not None and not isinstance(value, bool):
            raise wrong(f"{value!r} is neither true nor false", key)
    VOICE.quiet = VOICE.quiet or bool(flags["quiet"])
    VOICE.verbose = VOICE.verbose or bool(flags["verbose"])
    VOICE.progress = VOICE.progress and not flags["no-progress"]
    return bool(flags["offline"])


def say(told: Mapping[str, Any]) -> None:
    """Say which defaults are taken, if any."""
    if told:
        said = ", ".join(f"{name} = {value!r}" for name, value in told.items())
        click.echo(f"{FILE}: {one_line(said)}", err=True)


def wrong(message: str, name: str) -> BadCall:
    """Return the error of a default that its option does not take."""
    return BadCall(f"{FILE}: {name.strip(chr(39))}: {message.rstrip('.')}")


def _value(param: click.Parameter, value: Any) -> Any:
    many = getattr(param, "multiple", False)
    return [value] if many and not isinstance(value, list) else value


def _check(key: str, table: str) -> None:
    if key in SETTABLE:
        return
    name = key.replace("_", "-")
    only_called = name not in SETTABLE and name in _options()
    told = (
        "; it is given in the call" if only_called else near(name, SETTABLE) or ": it is no option"
    )
    raise BadCall(f"{FILE}: {table} cannot set {one_line(key)!r}{told}")


def _options() -> frozenset[str]:
    """Return the long names of all options of the program and its commands, imported for it."""
    ctx = click.get_current_context().find_root()
    door = ctx.command
    commands = [door]
    if isinstance(door, click.Group):
        found = (door.get_command(ctx, name) for name in door.list_commands(ctx))
        commands += [one for one in found if one is not None]
    return frozenset(
        word.removeprefix("--")
        for command in commands
        for param in command.get_params(ctx)
        for word in (*param.opts, *param.secondary_opts)
        if word.startswith("--")
    )
