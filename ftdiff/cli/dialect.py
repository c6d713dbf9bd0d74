"""One way to say what went wrong: a line that begins with ftdiff, and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path

import click

from ftdiff.cli.voice import VOICE
from ftdiff.errors import FtdiffError, near, one_line

#: The call or the input was wrong; a defect of ours (EX_SOFTWARE of sysexits.h).
WRONG, DEFECT = 2, 70
_LONGEST = 2000  # characters of a message: a name in a file may have a million
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM, errno.EROFS, errno.EIO)


def told(error: BaseException) -> tuple[str, int]:
    """Return the line and the exit code of an error; a traceback is shown where one is asked for.

    >>> told(MemoryError())
    ('ftdiff: not enough memory', 2)
    >>> told(UnicodeEncodeError("utf-8", "a\\ud800", 1, 2, "surrogates not allowed"))
    ('ftdiff: a text in the input has half a character (\\\\ud800), which no file can hold', 2)
    """
    if isinstance(error, FtdiffError):
        return f"ftdiff: {one_line(error, _LONGEST)}", WRONG
    if isinstance(error, click.ClickException):
        return f"ftdiff: {one_line(_of_click(error), _LONGEST)}", WRONG
    if isinstance(error, MemoryError):
        more = f" ({one_line(error, _LONGEST)})" if str(error) else ""
        return f"ftdiff: not enough memory{more}", WRONG
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        half = error.object[error.start : error.end].encode("ascii", "backslashreplace").decode()
        return (
            f"ftdiff: a text in the input has half a character ({half}), which no file can hold",
            WRONG,
        )
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _SYSTEM):
        what = f"{error.filename}: " if error.filename is not None else ""
        return f"ftdiff: {one_line(f'{what}{error.strerror or error}', _LONGEST)}", WRONG
    if VOICE.verbose:
        traceback.print_exception(error, file=sys.stderr)
    return f"ftdiff: a defect of ftdiff, not of your files: {_where(error)}", DEFECT


def _where(error: BaseException) -> str:
    """Say which error it is, where it was raised, and how to see more."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = f": {one_line(error, 300)}" if str(error) else ""
    more = "" if VOICE.verbose else "; -v shows the traceback, please report it"
    return f"{type(error).__name__}{said}{at}{more}"


def _of_click(error: click.ClickException) -> str:
    """Return what click says in our words, with the near ones, and where help is."""
    ctx = getattr(error, "ctx", None)
    said = error.message
    if isinstance(error, click.NoSuchOption):
        words = [] if ctx is None else [w for p in ctx.command.params for w in _words(p)]
        said = f"there is no option {error.option_name}{near(error.option_name, words)}"
    elif isinstance(error, click.MissingParameter):
        kind = error.param_type or getattr(error.param, "param_type_name", "parameter")
        said = f"missing {kind} {_hint(error)}"
    elif isinstance(error, click.BadParameter):
        said = f"{_hint(error)}: {said}".removeprefix(": ")
    said = said if said.endswith("...") else said.removesuffix(".")
    said = said[:1].lower() + said[1:] if said[1:2].islower() else said
    if ctx is None:
        return said
    name = ctx.command_path.partition(" ")[2]
    return f"{name + ': ' if name else ''}{said} ({ctx.command_path} --help)"


def _hint(error: click.BadParameter) -> str:
    hint = error.param_hint
    if hint is None and error.param is not None:
        hint = error.param.get_error_hint(error.ctx)
    words = [hint] if isinstance(hint, str) else [*(hint or ())]
    return " / ".join(words).replace("'", "")


def _words(param: click.Parameter) -> list[str]:
    return [word for word in (*param.opts, *param.secondary_opts) if word.startswith("-")]
