"""Run commands that are listed as JSON, each in a fork of a process that has imported everything
and has run those of `warm`, which must succeed.

python -m tests.fuzz.each < commands.json > outcomes.json
"""

from __future__ import annotations

if __name__ == "__main__":
    from tests.fuzz.alone import be_alone

    be_alone()

import dataclasses
import gc
import importlib
import json
import sys
from pathlib import Path

from tests.fuzz import forked, run, warming


def main() -> None:
    """Read pairs of a command and a folder, and write the outcomes.

    Raises
    ------
    RuntimeError
        A command that warms up fails.
    """
    told = json.load(sys.stdin)
    run.prepare()
    importlib.import_module("peft")
    for command in told["warm"]:
        code, said = warming.called(command)
        if code:
            raise RuntimeError(f"exit {code}: {command}\n{said}")
    forked.wait_for_quiet()
    gc.collect()
    gc.freeze()
    forked.MOST_SECONDS = 60
    found = [forked.run(command, Path(folder)) for command, folder in told["calls"]]
    json.dump([dataclasses.asdict(one) for one in found], sys.stdout)


if __name__ == "__main__":
    main()
