"""Good files of every format and configuration, and the commands that open them.

To add a reader: a specimen of what it reads, in the file here that is of its kind; a test names
the readers that have none.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.alone import VARIABLES

#: The modules here that write specimens, each by its `write(root, add)`.
WRITERS = ("models", "adapters", "peft_types", "few_bits", "results", "texts")
#: Makes the files in a folder that is given.
Make = Callable[[Path], object]
#: Takes a name, the way of damage, the damaged file, what opens it, and what makes the files.
Add = Callable[[str, str, str, Sequence[Sequence[str]], Make], None]


@dataclass(frozen=True)
class Specimen:
    """A folder of good files, the one of them that is damaged, and what opens it.

    Attributes
    ----------
    name
        In reports.
    folder
        Where the good files lie.
    target
        The one that is damaged, below it.
    kind
        How it is damaged: see `tests.fuzz.mutations`.
    commands
        Any of these is run; `{}` is the copy of the folder, `{root}` where unharmed models lie.
    """

    name: str
    folder: Path
    target: str
    kind: str
    commands: tuple[tuple[str, ...], ...]

    @property
    def heavy(self) -> bool:
        """Whether peft or transformers is imported to open it."""
        live = any(words[0] in ("importance", "drift", "probe") for words in self.commands)
        return live or self.name.startswith("PEFT ") or self.target.endswith("adapter_config.json")

    def command(self, words: Sequence[str], folder: Path) -> list[str]:
        """Return one of the commands, on a copy of the folder."""
        root = str(self.folder.parent)
        return [word.replace("{root}", root).replace("{}", str(folder)) for word in words]


COMPARE = ("compare", "{root}/base", "{}/tuned", "-j", "1", "--format", "json")
INSPECT = ("inspect", "{}/tuned")
TABLE = ("compare", "{root}/base", "{}/tuned", "-j", "1", "--format", "csv")
AUDIT = ("audit", "{root}/base", "{}/tuned", "-j", "1")
MODEL = (COMPARE, INSPECT, TABLE)
ADAPTER = (COMPARE, INSPECT, TABLE, AUDIT)


def build(root: Path) -> list[Specimen]:
    """Write all of them below a folder, in a process of its own, so that this one stays small.

    Raises
    ------
    RuntimeError
        They could not be written; it ends with what that process said last.
    """
    call = [sys.executable, "-m", __name__, str(root)]
    env = {**os.environ, **VARIABLES}
    done = subprocess.run(call, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the good files could not be written:\n{done.stderr[-3000:]}")
    return read(root)


def read(root: Path) -> list[Specimen]:
    """Return what `write` wrote below a folder."""
    listed = json.loads((root / "specimens.json").read_text())
    return [Specimen(n, Path(f), t, k, tuple(map(tuple, c))) for n, f, t, k, c in listed]


def write(root: Path) -> None:
    """Write all of them below a folder."""
    written: list[list[Any]] = []

    def add(
        name: str, kind: str, target: str, commands: Sequence[Sequence[str]], make: Make
    ) -> None:
        folder = root / name
        folder.mkdir()
        make(folder)
        for one in target.split():
            told = f"{name}: {one}" if " " in target else name
            written.append([told, str(folder), one, kind, commands])

    for name in WRITERS:
        importlib.import_module(f"tests.fuzz.specimens.{name}").write(root, add)
    (root / "specimens.json").write_text(json.dumps(written))
