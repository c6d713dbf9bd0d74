"""Each file of an attacker ends in one line, or in a result: soon, in little memory, and inert."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import ftdiff
from ftdiff.analyses import claims
from ftdiff.analyses.claims import keys
from tests.conftest import llama, write_model
from tests.fuzz.hostile import NAMES, TABLE, WARM, Hostile, good

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks, and limits of what they may use"
)
#: CPU-seconds over start-up.
MOST = 2.0
#: What `compare -o` writes last; a folder without it is half-written.
LAST = "report.html"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good base, a saved diff, a key and a claim, and a folder for each input."""
    at = tmp_path_factory.mktemp("hostile")
    base = write_model(at / "base", llama(layers=1), config={"model_type": "llama"})
    diff = ftdiff.compare(base, base)
    diff.save(at / "diff.json")
    keys.new_key(at / "k")
    claims.attest(diff, at / "k").append(at / "c.jsonl")
    return at


@pytest.fixture(scope="module")
def outcomes(root: Path) -> Mapping[str, dict[str, Any]]:
    """What came of every command, by the input's name."""

    def words(command: str, folder: Path) -> list[str]:
        based = command.replace("{base}", str(root / "base")).split()
        return [word.replace("{}", str(folder)) for word in based]

    calls = []
    for number, hostile in enumerate(TABLE.values()):
        folder, said = root / str(number), root / f"{number}.said"
        folder.mkdir()
        said.mkdir()
        hostile.make(folder)
        calls.append((words(hostile.command, folder), str(said)))
    (root / "good").mkdir()
    good(root / "good")
    told = {"warm": [words(one, root / "good") for one in WARM], "calls": calls}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.each"],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(TABLE, json.loads(done.stdout), strict=True))


def test_each_ends_in_a_line_or_in_a_result(
    root: Path, outcomes: Mapping[str, dict[str, Any]]
) -> None:
    wrong = {
        name: found
        for number, (name, hostile) in enumerate(TABLE.items())
        if (found := _wrong(hostile, outcomes[name], root / str(number)))
    }
    assert wrong == {}
    assert not Path("pwned").exists()


def _wrong(hostile: Hostile, done: Mapping[str, Any], folder: Path) -> list[str]:
    """Say what must not be of one."""
    out, said = folder / "out", done["said"]
    last = (said.splitlines() or [""])[-1]
    line = hostile.line not in ("", "?")
    pages = [*folder.rglob("*.html"), *folder.rglob("*.svg")]
    kept = (out / "diff.json").exists() and not (out / LAST).exists()
    return [
        *([done["wrong"]] if done["wrong"] else []),
        *([f"{done['cpu']:.1f} CPU-s"] if done["cpu"] >= MOST else []),
        *(["it was executed"] if (folder / "pwned").exists() else []),
        *(["a folder is half-written"] if done["code"] and kept else []),
        *[f"{path.name} is left" for path in folder.rglob("*") if "tmp" in path.name],
        *([f"no result: {said}"] if not hostile.line and done["code"] else []),
        *([f"exit {done['code']}: {said}"] if line and done["code"] != 2 else []),
        *([f"no {hostile.line!r} in {last!r}"] if line and hostile.line not in last else []),
        *([f"a line of {len(last)}"] if line and len(last) >= 3000 else []),
        *[f"a script in {p.name}" for p in pages if "<script>alert" in p.read_text("utf-8")],
    ]


def test_a_table_for_a_spreadsheet_alone_has_an_apostrophe(
    outcomes: Mapping[str, dict[str, Any]],
) -> None:
    rows = [*csv.reader(io.StringIO(outcomes["names, csv"]["said"]))]
    cells = [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert [cell for cell in cells if not cell.lstrip("-").replace(".", "").isdigit()] == []
    assert any("'=1+1" in row for row in rows)
    held = json.loads(outcomes["names, json"]["said"])
    assert {row["tensor"] for row in held["tensors"]} == {*NAMES}
    assert "'=1+1" not in outcomes["names, table"]["said"]
