"""The table of what everything costs can be printed by anyone."""

from __future__ import annotations

import pytest

from tests.bench import __main__ as bench
from tests.bench import table
from tests.bench.timing import Run


def test_each_way_has_a_line_beside_cat_and_what_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SCRIPTS", {"a peer": (("no_such_peer",), "")})
    peers = ["--peer", "names=ls {base} {tuned}", "--peer", "broken=false"]
    bench.main(["--gigabytes", "0.002", "--rounds", "1", "--only", "pair", *peers])
    printed = capsys.readouterr()
    said, head, _, *lines = (line for line in printed.out.splitlines() if line)
    assert "1 rounds" in said
    assert {line.count("|") for line in (head, *lines)} == {9}
    cells = [line.split(" | ") for line in lines]
    assert [cell[1] for cell in cells] == ["cat", "ftdiff compare", "names", "broken"]
    assert [float(cell[2]) for cell in cells[:2]] == pytest.approx([0.004] * 2, rel=0.02)
    assert float(cells[1][4]) > 0.1
    assert "exited with 1" in lines[3]
    assert printed.err == "a peer: not installed, left out\n"


def test_a_ratio_is_of_one_round_with_its_spread() -> None:
    ours = [Run(2.0, 3.0, 0, ""), Run(9.0, 6.0, 0, ""), Run(4.0, 4.0, 0, "")]
    cats = [Run(1.0, 1.0, 0, ""), Run(3.0, 1.0, 0, ""), Run(4.0, 1.0, 0, "")]
    assert [table.ratio(ours, cats, k) for k in range(2)] == ["2 (1–3)", "4 (3–6)"]
