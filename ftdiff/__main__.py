"""The shell's way in: errors are one line, exit codes are 0, 1 (a verdict) and 2 (the input)."""

from __future__ import annotations

import os
import sys

import click

from ftdiff.cli import ftdiff
from ftdiff.errors import FtdiffError, one_line

_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and translate what was raised on purpose into a line and a code."""
    try:
        sys.exit(ftdiff(prog_name="ftdiff", standalone_mode=False))
    except FtdiffError as error:
        _fail(f"ftdiff: {one_line(error)}", 2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("ftdiff: interrupted", _INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(line: str, code: int) -> None:
    click.echo(line, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
