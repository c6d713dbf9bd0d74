"""Some damaged files, and what the harness itself would notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import mutations

CASES = 40


@pytest.mark.fuzz
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits of what they may use")
def test_a_damaged_file_ends_in_a_result_or_in_one_line(good: Path) -> None:
    call = [sys.executable, "-m", "tests.fuzz.run", "--cold", "--good", str(good)]
    done = subprocess.run(
        [*call, "--cases", str(CASES)], timeout=300, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CASES} cases" in done.stdout


BREAKAGES = {
    "KeyError: 'x'": "raise KeyError('x')",
    "SIGSEGV": "os.kill(os.getpid(), 11)",
    "memory": "bytearray(1 << 30)",
    "is printed": "print('\\x1b[31m')",
    "several lines": "print('ftdiff: a\\nftdiff: b', file=sys.stderr)",
    "no word": "sys.exit(2)",
    "SIGXCPU": "[None for _ in iter(int, 1)]",
}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits of what they may use")
def test_what_must_not_be_is_noticed(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\nfrom pathlib import Path\nfrom tests.fuzz import forked\n"
        "from ftdiff.cli import ftdiff\n"
        f"at, told = Path({str(tmp_path)!r}), {BREAKAGES!r}\n"
        "forked.MOST_CPU = 1\n"
        "def main():\n"
        "    try:\n        exec(told[sys.argv[1]])\n"
        "    except MemoryError:\n        sys.exit(print('not enough memory'))\n"
        "forked.main = main\n"
        "print(json.dumps({name: forked.run([name], at).wrong for name in told}))"
    )
    said = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    found = json.loads(said.stdout)
    assert {name: wrong for name, wrong in found.items() if name not in wrong} == {}


@pytest.mark.parametrize("kind", ["json", "text", "bytes"])
def test_the_same_draw_does_the_same_damage(kind: str) -> None:
    good = json.dumps({"a": [1, {"b": "c"}], "d": None}).encode()
    drawn = [[mutations.mutated(good, kind, Random(i)) for i in range(50)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len({*drawn[0]}) > 30
