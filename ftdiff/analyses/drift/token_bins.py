"""Positions of plain texts: single tokens at the beginning, then runs that double in length."""

from __future__ import annotations

import numpy as np

from ftdiff.analyses.texts import Texts
from ftdiff.tensors import Array

#: Every token of a text; its last one; those that count where not all do, of an answer.
ALL, LAST, ANSWER = "all", "last", "answer"
#: So many first tokens stand alone.
_ALONE = 4


def bins(texts: Texts) -> dict[str, Array]:
    """Return which tokens are at each position, by its name.

    Returns
    -------
    dict
        bool, (texts, length): `all`, then "0", "1", "2", "3", "4–7", "8–15", …, `last`, and
        `answer` where some texts have tokens that do not count.

    Examples
    --------
    >>> mask = np.ones((1, 9), bool)
    >>> [*bins(Texts(mask * 1, mask, mask))]
    ['all', '0', '1', '2', '3', '4–7', '8', 'last']
    """
    mask = texts.mask
    length = int(mask.sum(axis=1).max())
    at = np.arange(mask.shape[1])
    found = {ALL: mask}
    for i in range(min(_ALONE, length)):
        found[str(i)] = mask & (at == i)
    start = _ALONE
    while start < length:
        stop = min(2 * start, length)
        name = f"{start}–{stop - 1}" if stop - start > 1 else str(start)
        found[name] = mask & (at >= start) & (at < stop)
        start = stop
    found[LAST] = mask & (at == (mask.sum(axis=1) - 1)[:, None])
    if (mask[:, 1:] & ~texts.scored[:, 1:]).any():
        found[ANSWER] = mask & texts.scored
    return found
