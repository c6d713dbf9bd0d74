"""Every command on good files, in the process that will fork: a fork then begins with the work."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from ftdiff.__main__ import main
from tests.fuzz.specimens import Specimen


def warm(every: Sequence[Specimen], room: Path) -> None:
    """Run every command once on its good files: kernels are compiled, tables are read.

    Raises
    ------
    RuntimeError
        A command fails on good files, so that what it says of damaged ones means nothing.
    """
    failed = []
    for specimen in every:
        for words in dict.fromkeys(specimen.commands):
            folder = room / "good"
            shutil.copytree(specimen.folder, folder)
            command = specimen.command(words, folder)
            code, said = called(command)
            shutil.rmtree(folder)
            if code not in (0, 1):
                failed.append(f"{specimen.name}, not damaged: exit {code}: {command}\n{said}")
    room.rmdir()
    if failed:
        raise RuntimeError("\n".join(failed))


def called(command: list[str]) -> tuple[object, str]:
    """Run a command of ftdiff in this process; return its exit code, and what it printed."""
    said = io.StringIO()
    sys.argv = ["ftdiff", *command]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main()
    except SystemExit as left:
        return left.code or 0, said.getvalue()
    return 0, said.getvalue()
