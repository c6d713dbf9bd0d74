"""How much is said while a command works: nothing beside errors, what is needed, or each step."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import click


@dataclass
class Voice:
    """What `-q`, `-v` and `--no-progress` have asked for, before or after the command's name.

    Attributes
    ----------
    quiet
        Only what went wrong is said on standard error.
    verbose
        Also which defaults were read, and how long each phase took.
    progress
        Whether bars may be drawn, where standard error is a terminal.
    """

    quiet: bool = False
    verbose: bool = False
    progress: bool = True

    def reset(self) -> None:
        """Begin anew, as at every call of the program."""
        self.quiet, self.verbose, self.progress = False, False, True


#: That of this process.
VOICE = Voice()


def _hear(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    if param.name == "no_progress":
        VOICE.progress = False
    else:
        setattr(VOICE, str(param.name), True)
    logging.getLogger("ftdiff.remote").setLevel(logging.WARNING if VOICE.quiet else logging.INFO)


def options() -> list[click.Option]:
    """Return the options that every command has, and the program itself."""
    asked = {
        ("-q", "--quiet"): "Say nothing on standard error but what went wrong.",
        ("-v", "--verbose"): "Say which defaults were read, and how long each phase took.",
        ("--no-progress",): "Draw no bars.",
    }
    return [
        click.Option(words, is_flag=True, expose_value=False, callback=_hear, help=help)
        for words, help in asked.items()
    ]
