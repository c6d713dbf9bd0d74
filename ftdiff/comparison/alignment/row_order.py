"""In which order the rows of several parts lie in the one tensor that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftdiff.naming.fused import BLOCKS

_HEADS = ("num_attention_heads", "n_head", "num_heads")
_KEY_HEADS = (
    *("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    *_HEADS,
)


class Run(NamedTuple):
    """Rows of one part, from the `first` on."""

    part: int
    first: int
    rows: int


def order(layout: str, heights: Sequence[int], config: Mapping[str, Any]) -> tuple[Run, ...] | None:
    """Return the runs of the parts' rows, as they lie in the fused tensor; None if not known.

    Parameters
    ----------
    layout
        As in `naming.fused`.
    heights
        The rows of each part.
    config
        The configuration of the model that stores them as one.

    Examples
    --------
    >>> [tuple(run) for run in order("heads", (4, 4, 4), {"num_attention_heads": 2})]
    [(0, 0, 2), (1, 0, 2), (2, 0, 2), (0, 2, 2), (1, 2, 2), (2, 2, 2)]
    >>> order("heads", (4, 4, 4), {}) is None
    True
    """
    if layout == "falcon":
        grouped = bool(config.get("new_decoder_architecture"))
        layout = "groups" if grouped else "blocks" if config.get("multi_query", True) else "heads"
    if layout == BLOCKS:
        return tuple(Run(part, 0, rows) for part, rows in enumerate(heights))
    parts: Sequence[int] = range(len(heights))
    if layout == "codegen":
        times, parts = 4, (0, 2, 1)
    elif layout in ("heads", "groups"):
        times = _number(config, _HEADS if layout == "heads" else _KEY_HEADS)
    else:
        return None
    if times < 1 or any(rows % times for rows in heights):
        return None
    return tuple(_interleaved(heights, parts, times))


def _interleaved(heights: Sequence[int], parts: Sequence[int], times: int) -> Iterator[Run]:
    for turn in range(times):
        for part in parts:
            step = heights[part] // times
            yield Run(part, turn * step, step)


def _number(config: Mapping[str, Any], keys: Sequence[str]) -> int:
    found = (config[key] for key in keys if type(config.get(key)) is int)
    return next(found, 0)


def completed(total: int, given: Sequence[int | None]) -> tuple[int, ...] | None:
    """Return the rows of all parts of a tensor, from those that are known; None if they do not fit.

    Parameters
    ----------
    total
        The rows of all parts.
    given
        The rows of each; None where they are not known. At least one is.

    Notes
    -----
    Of three, the first is the queries', the others are alike. Of four, as in FLUX's single blocks,
    the first three are alike, and the last is what is left.

    Examples
    --------
    >>> completed(64, (32, None, None)), completed(128, (None, 64))
    ((32, 16, 16), (64, 64))
    """
    known = [rows for rows in given if rows is not None]
    if None not in given:
        return tuple(known) if sum(known) == total else None
    if len(given) == 2:
        found: tuple[int, ...] = (known[0], known[0])
    elif len(given) == 3:
        other = given[1] if given[1] is not None else given[2]
        if other is None:
            other = (total - known[0]) // 2
        found = (total - 2 * other, other, other)
    elif len(given) == 4:
        one = next((rows for rows in given[:3] if rows is not None), (total - known[-1]) // 3)
        found = (one, one, one, total - 3 * one)
    else:
        return None
    fits = all(mine is None or mine == rows for mine, rows in zip(given, found, strict=True))
    return found if fits and sum(found) == total and min(found) > 0 else None
