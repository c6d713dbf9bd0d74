"""For every rule of findings, something of which it is said: for tests, and for the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import ftdiff
from tests.analyses.planted_structures import KINDS, Planted
from tests.analyses.test_audit import rounded
from tests.analyses.test_findings import LAYERS, NAMES, diff_of, noise, planted, rising
from tests.analyses.test_findings_damage import BROKEN, V, model, trained, with_nan, with_one
from tests.analyses.test_findings_worth import measured
from tests.analyses.test_sceptic import moved, weights


def _of_planted(kind: str) -> ftdiff.Diff:
    planted = Planted(0)
    return ftdiff.compare(planted.base, KINDS[kind][0](planted))


def _of_the_bases_norm() -> ftdiff.Diff:
    X = noise(spread=0.02).mul(1 / rising(), axis=0)
    return diff_of(
        X, base=pd.DataFrame(np.outer(rising(), np.ones(len(NAMES))), X.index, X.columns)
    )


def _rescaled() -> ftdiff.Diff:
    X = noise()
    one = diff_of(X[["attn.o"]], scale=0.9).frame
    rest = diff_of(X.drop(columns="attn.o"), scale=0.01)
    return ftdiff.Diff.of_frame(pd.concat([one, rest.frame]), rest.about)


def _drowned() -> ftdiff.Diff:
    return diff_of(noise().assign(**{"attn.k": 0.0002 * rising()}), floor=0.001)


def _grown() -> ftdiff.Diff:
    rng = np.random.default_rng(0)
    W, rest = rng.normal(size=(20, 8)), rng.normal(size=(400, 8))
    name, other = "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"
    grown = np.vstack([W + 1, rng.normal(size=(3, 8))])
    return ftdiff.compare({name: W, other: rest}, {name: grown, other: rest + 0.01})


def _unreadable() -> ftdiff.Diff:
    diff = with_one(lambda W: W)
    frame = diff.frame.copy()
    frame.loc[frame["tensor"] == V.format(2), "status"] = "unreadable"
    return ftdiff.Diff(frame, {**diff.about, "unreadable": {V.format(2): "cut short"}})


def _nonfinite_base() -> ftdiff.Diff:
    base = model()
    return ftdiff.compare({**base, V.format(3): with_nan(base[V.format(3)], 2)}, trained(base))


def _half_still() -> ftdiff.Diff:
    base = weights()
    tuned = moved(base)
    half = {name: W if int(name.split(".")[2]) < 12 else tuned[name] for name, W in base.items()}
    return ftdiff.compare(base, half)


_MOVED, _PATH = [0.1, 0.1, 0.02, 0.1, 0.1], [0.0, 0.05, 0.9, 0.02, 0.03]

#: By rule, what makes a matrix or a diff of which it is said.
EXAMPLES: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: planted()[name] for name in planted()},
    **{kind: lambda kind=kind: with_one(BROKEN[kind][0][0]) for kind in BROKEN},
    "norm-control": _of_the_bases_norm,
    "uniform": lambda: noise(spread=0.01),
    "depth-power": lambda: noise(layers=6, spread=0.08),
    "scale-control": _rescaled,
    "precision-control": _drowned,
    "left-out": _drowned,
    "few-bits": lambda: rounded(127),
    "lift": _grown,
    "new-rows": _grown,
    "another-base": lambda: ftdiff.compare(model(), model(seed=9)),
    "unreadable": _unreadable,
    "nonfinite-base": _nonfinite_base,
    "regime": lambda: diff_of(pd.DataFrame(0.03, range(LAYERS), list(NAMES)), floor=1e-9),
    "layers": lambda: _of_planted("layers swapped"),
    "still-layers": _half_still,
    "concentrated": lambda: noise().mul(
        np.where(np.isin(np.arange(LAYERS), (3, 11, 12, 20)), 8, 1), axis=0
    ),
    "low-rank": lambda: _of_planted("LoRA, rank 4"),
    "edited-direction": lambda: _of_planted("one direction, λ 1"),
    "edited-matrices": lambda: _of_planted("one fact"),
    "edited-lines": lambda: _of_planted("three tokens"),
    "small-steps": lambda: _of_planted("small steps"),
    "tuned-on-rounded": lambda: _of_planted("training on NF4"),
    "new-zeros": lambda: _of_planted("zeros 2:4"),
    "loss-not-lower": lambda: measured(_MOVED, _PATH, losses=(2.0, 2.5)),
    "path-gap": lambda: measured(_MOVED, _PATH, gap=0.02),
    "matters-little": lambda: measured(_MOVED, _PATH),
    "matters-much": lambda: measured(_MOVED, _PATH),
    "worth-and-movement": lambda: measured(_MOVED, _PATH),
}
