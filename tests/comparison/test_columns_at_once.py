"""What is done for a whole column at once is what would be done row by row."""

from __future__ import annotations

import gc
import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ftdiff.comparison import collector, json_lines
from ftdiff.comparison.aggregation import groups
from ftdiff.comparison.frame import typed
from ftdiff.deltas.moments import Moments

NUMBERS = st.floats(-1e300, 1e300)
WORDS = st.none() | st.text(max_size=5)


@given(st.lists(st.tuples(WORDS, st.none() | st.integers(0, 3), NUMBERS), max_size=30))
def test_groups_have_the_exact_totals_of_their_rows_in_order(
    rows: list[tuple[str | None, int | None, float]],
) -> None:
    columns = typed(
        {"stack": [r[0] for r in rows], "layer": [r[1] for r in rows], "x": [r[2] for r in rows]}
    )
    wanted: dict[tuple[str | None, int | None], list[float]] = {}
    for stack, layer, value in rows:
        wanted.setdefault((stack, layer), []).append(value)
    ordered = sorted(wanted, key=lambda key: [(part is None, part or 0) for part in key[1:]])
    ordered.sort(key=lambda key: (key[0] is None, key[0] or ""))
    keys, held = groups(columns, ("stack", "layer"))
    assert keys == ordered
    assert held.totals(columns["x"]).tolist() == [_total(wanted[key]) for key in ordered]
    assert [len(rows) for rows in held] == [len(wanted[key]) for key in ordered]


def _total(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values)


@given(st.lists(st.tuples(WORDS, st.none() | st.integers(), st.floats()), max_size=20))
def test_lines_are_the_encoders(rows: list[tuple[str | None, int | None, float]]) -> None:
    columns = {
        "word": np.array([r[0] for r in rows] + [None], object)[:-1],
        "whole": np.array([r[1] for r in rows] + [None], object)[:-1],
        "real": np.array([r[2] for r in rows], np.float64),
    }
    told = [
        {"word": a, "whole": b, "real": x if math.isfinite(x) else None if x != x else str(x)}
        for a, b, x in rows
    ]
    kept = [{name: value for name, value in row.items() if value is not None} for row in told]
    assert [*json_lines.lines(columns)] == [json.dumps(row, ensure_ascii=False) for row in kept]


def test_moments_of_rows_are_those_of_each_block() -> None:
    draw = np.random.default_rng(0)
    floats, counts = draw.standard_normal((5, 8)), draw.integers(0, 9, (5, 4))
    floats[1] = -0.0
    off = np.array([True, False, True, False, True])
    alone = [
        Moments.of_blocks(7, floats[i : i + 1], counts[i : i + 1], 2.0**-7, off[i : i + 1])
        for i in range(5)
    ]
    assert Moments.of_rows(7, floats, counts, 2.0**-7, off) == alone


def test_what_there_is_is_left_alone_by_the_collector_in_a_block() -> None:
    with collector.settled(), collector.settled():
        assert gc.get_freeze_count()
    assert not gc.get_freeze_count()
