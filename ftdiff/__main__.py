"""The shell's way in: errors are one line, exit codes are 0, 1 (a verdict) and 2 (the input)."""

from __future__ import annotations

import os
import sys

from ftdiff.errors import FtdiffError


def main() -> None:
    """Run the command line, and translate what was raised on purpose into a line and a code."""
    from ftdiff.cli import ftdiff

    try:
        ftdiff(prog_name="ftdiff")
    except FtdiffError as error:
        print(f"ftdiff: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
