"""Which layers get a tick, so that labels stay apart and the last layer is always named."""

from __future__ import annotations

from collections.abc import Sequence

# Up to this many layers each has its label.
_FEW = 8
_WIDER = (5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)


def layer_ticks(
    count: int,
    apart: float = 1.0,
    *,
    steps: Sequence[int] = (3, 4),
    last: bool = True,
    named: bool = False,
) -> list[int]:
    """Choose the rows with a tick: `range(0, count, step)`, and the last one.

    Parameters
    ----------
    count
        Number of rows.
    apart
        Rows that one label needs, from its height.
    steps
        Steps to choose from, the first that ends nearest to a whole step before the last row;
        wider ones only where labels would touch.
    last
        Whether the last row always has a tick (the one it would touch is dropped), and each row
        where there are few.
    named
        Whether rows are called by more than a number: each has its label then where they fit.

    Examples
    --------
    >>> layer_ticks(28), layer_ticks(32)
    ([0, 3, 6, 9, 12, 15, 18, 21, 24, 27], [0, 4, 8, 12, 16, 20, 24, 28, 31])
    """
    if last and apart <= 1 and (count <= _FEW or named):
        return list(range(count))
    fitting = [step for step in steps if step >= apart]
    step = (
        max(fitting, key=lambda s: ((count - 1) % s or s) / s)
        if fitting
        else next((s for s in _WIDER if s >= apart), count)
    )
    ticks = list(range(0, count, step))
    if last and ticks[-1] != count - 1:
        if len(ticks) > 1 and count - 1 - ticks[-1] < max(apart, 1.5):
            ticks.pop()
        ticks.append(count - 1)
    return ticks
