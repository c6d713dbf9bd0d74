"""Which rows a probe learns from and which it is tested on, and labels permuted among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from ftdiff.errors import BadCall, require
from ftdiff.tensors import Array

#: "cv": stratified folds, groups kept together, features standardised. "llmsknow": one split of
#: shuffled rows, a fifth of them tested, features as they are.
Protocol: TypeAlias = Literal["cv", "llmsknow"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
FOLDS = 5


def folds(labels: Array, groups: Sequence[Hashable], protocol: Protocol, seed: int) -> Array:
    """Return the fold in which each row is tested, −1 for rows that are only learnt from.

    Raises
    ------
    BadCall
        A class has rows in fewer groups than there are folds.
    """
    select = require("sklearn.model_selection", "models", "probing")
    if protocol == "llmsknow":
        fold = np.full(len(labels), -1)
        fold[
            select.train_test_split(np.arange(len(labels)), test_size=0.2, random_state=seed)[1]
        ] = 0
        return fold
    code = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    codes = np.array([code[group] for group in groups])
    alone = len(code) == len(labels)
    for value in (False, True):
        held = len({*codes[labels == value].tolist()})
        if held < FOLDS:
            what = "rows" if alone else "groups"
            raise BadCall(f"one label is in {held} {what}: {FOLDS} folds need it in as many")
    kind = select.StratifiedKFold if alone else select.StratifiedGroupKFold
    split = kind(FOLDS, shuffle=True, random_state=seed)
    fold = np.full(len(labels), -1)
    more = () if alone else (codes,)
    for i, (_, rows) in enumerate(split.split(np.zeros((len(labels), 1)), labels, *more)):
        fold[rows] = i
    return fold


def permuted(
    labels: Array,
    groups: Sequence[Hashable],
    fold: Array,
    patterns: Sequence[Hashable],
    count: int,
    seed: int,
) -> Array:
    """Return labels under which nothing can be learnt, each column as likely as the ones given.

    A label moves only among rows of one fold and one pattern, so that folds stay stratified and
    every position keeps its number of each class. Of a group with both labels they move within the
    group; groups of one label exchange it as a whole with groups of their size.

    Parameters
    ----------
    labels
        bool, rows.
    groups, fold
        Of each row.
    patterns
        Which positions a row has.
    count, seed
        How many columns, and what draws them.

    Returns
    -------
    bool, rows × count
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    strata: dict[Hashable, list[list[int]]] = defaultdict(list)
    for group, rows in members.items():
        if len({*labels[rows].tolist()}) == 1:
            held = tuple(sorted(repr(patterns[row]) for row in rows))
            strata["whole", int(fold[rows[0]]), held].append(rows)
        else:
            for row in rows:
                strata["within", group, int(fold[row]), patterns[row]].append([row])
    found = np.tile(labels[:, None], (1, count))
    for slots in strata.values():
        values = labels[[slot[0] for slot in slots]]
        drawn = rng.permuted(np.tile(values, (count, 1)), axis=1)
        for column, slot in enumerate(slots):
            found[slot] = drawn[:, column]
    return found
