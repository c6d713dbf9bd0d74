"""In which order the rows of parts lie, and how many each has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ftdiff.comparison.alignment.row_order import completed, order

#: What the rows of q, k and v are called, each by its part and its number.
CASES: list[tuple[str, Sequence[int], Mapping[str, Any], str]] = [
    ("blocks", (4, 2, 2), {}, "q0 q1 q2 q3 k0 k1 v0 v1"),
    ("heads", (2, 2, 2), {"n_head": 2}, "q0 k0 v0 q1 k1 v1"),
    ("groups", (4, 2, 2), {"num_key_value_heads": 2}, "q0 q1 k0 v0 q2 q3 k1 v1"),
    ("groups", (2, 2, 2), {"num_attention_heads": 2}, "q0 k0 v0 q1 k1 v1"),
    ("codegen", (4, 4, 4), {}, "q0 v0 k0 q1 v1 k1 q2 v2 k2 q3 v3 k3"),
    ("falcon", (4, 1, 1), {"multi_query": True}, "q0 q1 q2 q3 k0 v0"),
    ("falcon", (2, 2, 2), {"multi_query": False, "num_attention_heads": 2}, "q0 k0 v0 q1 k1 v1"),
    (
        "falcon",
        (4, 2, 2),
        {"new_decoder_architecture": True, "num_kv_heads": 2},
        "q0 q1 k0 v0 q2 q3 k1 v1",
    ),
]


@pytest.mark.parametrize(("layout", "heights", "config", "rows"), CASES)
def test_rows_lie_as_the_model_type_has_them(
    layout: str, heights: Sequence[int], config: Mapping[str, Any], rows: str
) -> None:
    runs = order(layout, heights, config)
    assert runs is not None
    found = [f"{'qkv'[run.part]}{run.first + i}" for run in runs for i in range(run.rows)]
    assert " ".join(found) == rows


@pytest.mark.parametrize(
    ("layout", "heights", "config"),
    [
        ("unknown", (4, 4, 4), {"num_attention_heads": 2}),
        ("heads", (4, 4, 4), {}),
        ("heads", (4, 4, 4), {"num_attention_heads": 3}),
        ("heads", (4, 4, 4), {"num_attention_heads": "2"}),
        ("heads", (4, 4, 4), {"num_attention_heads": 0}),
    ],
)
def test_an_order_that_is_not_known_is_none(
    layout: str, heights: Sequence[int], config: Mapping[str, Any]
) -> None:
    assert order(layout, heights, config) is None


@pytest.mark.parametrize(
    ("total", "given", "rows"),
    [
        (64, (32, 16, 16), (32, 16, 16)),
        (64, (32, None, None), (32, 16, 16)),
        (64, (None, 16, None), (32, 16, 16)),
        (64, (None, None, 16), (32, 16, 16)),
        (64, (32, None, 16), (32, 16, 16)),
        (64, (16, 32, 16), (16, 32, 16)),
        (56, (None, 8, None, None), (8, 8, 8, 32)),
        (56, (None, None, None, 32), (8, 8, 8, 32)),
        (96, (48, None), (48, 48)),
        (96, (None, 40), None),
        (64, (33, None, None), None),
        (64, (32, 16, 17), None),
        (64, (30, None, 16), None),
        (16, (None, None, 8), None),
        (10, (2, None, None, None, None), None),
    ],
)
def test_rows_of_all_parts_follow_from_those_of_some(
    total: int, given: Sequence[int | None], rows: Sequence[int] | None
) -> None:
    assert completed(total, given) == rows
