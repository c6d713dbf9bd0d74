"""What may be meant, and should be known: special parts moved, vocabularies, dtypes, ties."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ftdiff.analyses.audit.registry import audit_rule, finding, is_adapter, tensors
from ftdiff.analyses.finding import Finding, listed
from ftdiff.comparison.aggregation import that_moved
from ftdiff.comparison.frame import records
from ftdiff.comparison.reasons import FEW_BITS, REORDERED, TIED, has_reason, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import ADDED, RESHAPED
from ftdiff.comparison.vocabulary_words import rows_said
from ftdiff.metrics import TRUSTED_SNR
from ftdiff.naming.fused import spellings

#: Bits of fraction and of exponent of what weights are stored in.
_BITS = {
    "F64": (52, 11), "F32": (23, 8), "BF16": (7, 8), "F16": (10, 5), "F8_E4M3": (3, 4),
    "F8_E4M3FN": (3, 4), "F8_E5M2": (2, 5),
}  # fmt: skip


def _moved(diff: Diff) -> pd.DataFrame:
    return diff.frame[that_moved(diff.columns)]


def _special(diff: Diff, name: str, rows: pd.DataFrame, what: str) -> Iterator[Finding]:
    if len(rows):
        size = Diff(rows, diff.about).overall.get("relative_norm")
        by = f", by {size:.3g} of their norm" if size is not None else ""
        yield finding(name, f"{tensors(rows, f'of {what} moved{by}')}.", rows, relative_norm=size)


@audit_rule("embeddings-moved", "note")
def embeddings_moved(diff: Diff) -> Iterator[Finding]:
    """Embeddings that move change what every token means to the model."""
    moved = _moved(diff)
    yield from _special(diff, "embeddings-moved", moved[moved["block"] == "embed"], "embeddings")


@audit_rule("head-moved", "note")
def head_moved(diff: Diff) -> Iterator[Finding]:
    """A head that moves changes the probability of every token."""
    moved = _moved(diff)
    yield from _special(diff, "head-moved", moved[moved["block"] == "head"], "the head")


@audit_rule("norms-moved", "note")
def norms_moved(diff: Diff) -> Iterator[Finding]:
    """Norms that move rescale whole activations."""
    moved = _moved(diff)
    yield from _special(diff, "norms-moved", moved[moved["block"] == "norm"], "norms")


@audit_rule("biases-moved", "note")
def biases_moved(diff: Diff) -> Iterator[Finding]:
    """Biases that move are left behind by tools that carry matrices only."""
    moved = _moved(diff)
    rows = moved[(moved["param"] == "bias") & ~moved["block"].isin(("norm",))]
    yield from _special(diff, "biases-moved", rows, "biases")


@audit_rule("untargeted-moved", "caution")
def untargeted_moved(diff: Diff) -> Iterator[Finding]:
    """A tensor that an adapter changes beside the modules its configuration lists is a surprise."""
    told = diff.about.get("adapter", {})
    targets = told.get("target_modules")
    if not isinstance(targets, list) or not targets:
        return
    keys = ("target_modules", "target_parameters", "modules_to_save")
    named = [str(name) for key in keys for name in _list(told, key)]
    bias = told.get("bias", "none") != "none"
    rows = _moved(diff)
    rows = rows[~_tied_copies(rows)]
    ends = _ends(told)
    stray = [
        not any(end in f".{at}." for at in spellings(row["tensor"]) for end in ends)
        and not (bias and row["param"] == "bias")
        and not (row["block"] in ("embed", "head") and told.get("trainable_token_indices"))
        for row in records(rows[["tensor", "param", "block"]])
    ]
    outside = rows[stray]
    if len(outside):
        message = (
            f"{tensors(outside, 'moved beside the listed targets')}: the configuration targets "
            f"{listed(named, 8)}."
        )
        yield finding("untargeted-moved", message, outside, targets=named)


def _ends(told: dict[str, Any]) -> list[str]:
    """Return what the path of a tensor holds that the configuration names, as PEFT matches it.

    A module is saved whose path ends in a name, be it inside a word. A parameter of experts may
    be stored under other names, in the same module.
    """
    modules = [f".{name}." for name in map(str, _list(told, "target_modules"))]
    saved = [f"{name}." for name in map(str, _list(told, "modules_to_save"))]
    parameters = [str(name).split(".") for name in _list(told, "target_parameters")]
    homes = [f".{words[-2] if len(words) > 1 else 'experts'}." for words in parameters]
    return modules + saved + homes


def _tied_copies(frame: pd.DataFrame) -> pd.Series[bool]:
    """Say which heads are the embeddings of the tuned side stored again: the two are still one."""
    embed = frame[(frame["block"] == "embed") & (frame["role"] == "tokens")]
    sums = {*embed["tuned_sq"].dropna()}
    return (frame["component"] == "head.lm") & frame["tuned_sq"].isin(sums)


@audit_rule("vocabulary", "caution")
def vocabulary(diff: Diff) -> Iterator[Finding]:
    """A vocabulary of another size needs its own tokenizer, and leaves rows without a base."""
    frame = diff.frame
    rows = frame[(frame["status"] == RESHAPED) & frame["component"].isin(_VOCABULARY)]
    moved = has_reason(rows, REORDERED)
    if moved.any():
        hold = "holds" if moved.sum() == 1 else "hold"
        what = f"{hold} the base's rows in another order"
        message = f"{tensors(rows[moved], what)}: the fine-tune needs its own tokenizer."
        yield finding("vocabulary", message, rows[moved])
    other = len(rows)
    rows = rows[~moved & rows["delta_sq"].notna()]  # nothing is measured of another width
    sizes = [diff.about.get("config", {}).get(side, {}).get("vocab_size") for side in _SIDES]
    said = f"; the configurations say {sizes[0]} and {sizes[1]}" if None not in sizes else ""
    if len(rows):
        facts = dict.fromkeys(filter(None, map(rows_said, records(rows))))
        told = f": {'; '.join(facts)}" if len(facts) == 1 else ""
        have = "has" if len(rows) == 1 else "have"
        message = f"{tensors(rows, f'{have} another number of rows than the base')}{told}{said}."
        yield finding("vocabulary", message, rows, sizes=sizes)
    elif not other and None not in sizes and sizes[0] != sizes[1]:
        message = f"The configurations name {sizes[0]} and {sizes[1]} tokens, the tensors do not."
        yield finding("vocabulary", message, sizes=sizes)


@audit_rule("other-shape", "caution")
def other_shape(diff: Diff) -> Iterator[Finding]:
    """A tensor of another shape was cut, grown or turned, and is compared in part or not at all."""
    frame = diff.frame
    rows = frame[(frame["status"] == RESHAPED) & (frame["numel"] > 0).fillna(False)]
    measured = rows["delta_sq"].notna()
    part = rows[measured & ~rows["component"].isin(_VOCABULARY)]
    for found, fate in ((part, "compared in part"), (rows[~measured], "not compared")):
        if len(found):
            be = "has another shape than in the base, and was"
            be = be if len(found) == 1 else "have another shape than in the base, and were"
            yield finding("other-shape", f"{tensors(found, f'{be} {fate}')}.", found)


_SIDES = ("base", "tuned")
#: What has a row for each token.
_VOCABULARY = ("embed.tokens", "head.lm")


@audit_rule("dtype-narrowed", "caution")
def dtype_narrowed(diff: Diff) -> Iterator[Finding]:
    """A dtype with fewer bits of fraction or exponent loses what the base could hold."""
    frame = diff.frame.dropna(subset=["base_dtype", "tuned_dtype"])
    for (before, after), rows in frame.groupby(["base_dtype", "tuned_dtype"]):
        if before in _BITS and after in _BITS and _narrower(_BITS[after], _BITS[before]):
            message = f"{tensors(rows, f'went from {before} to {after}')}."
            yield finding("dtype-narrowed", message, rows, before=before, after=after)


@audit_rule("tied-diverged", "alarm")
def tied_diverged(diff: Diff) -> Iterator[Finding]:
    """Embeddings and head that were one tensor, and are two now, lose one where they are tied."""
    frame = diff.frame[diff.frame["param"] == "weight"]
    embed = frame[(frame["block"] == "embed") & (frame["role"] == "tokens")]
    head = frame[frame["block"] == "head"]
    if len(embed) != 1 or len(head) != 1:
        return
    one, other = records(embed)[0], records(head)[0]
    if one["shape"] != other["shape"]:
        return
    told = _config(diff, "tuned").get("tie_word_embeddings")
    if None in (one["tuned_sq"], other["tuned_sq"]):
        return
    # a configuration that unties them is of a model that loads both
    were = told is not False and all(one[it] == other[it] for it in ("base_sq", "base_abs"))
    if one["tuned_sq"] == other["tuned_sq"] or not (were or told):
        return
    why = "they are one tensor in the base" if were else "the configuration ties them"
    message = (
        f"{one['tensor']} and {other['tensor']} differ, though {why}: a loader that ties them "
        "drops one."
    )
    yield finding("tied-diverged", message, pd.concat([embed, head]), tied_by=why)


@audit_rule("untied", "caution")
def untied(diff: Diff) -> Iterator[Finding]:
    """A head of its own, where a configuration ties it to the embeddings, is dropped on loading.

    Only a head over the tokens, of the embeddings' shape, can be tied: a classifier's is none.
    """
    frame = diff.frame[diff.frame["param"] == "weight"]
    tied = [side for side in _SIDES if _config(diff, side).get("tie_word_embeddings") is True]
    embed = frame[(frame["block"] == "embed") & (frame["role"] == "tokens")]
    added = frame[(frame["component"] == "head.lm") & (frame["status"] == ADDED)]
    shapes = {*embed["shape"]}
    added = added[[shape in shapes for shape in added["shape"]]]
    held = [one["name"] for one in reasons(diff.about, TIED) if one["side"] == "base"]
    compared = frame[(frame["block"] == "head") & frame["tensor"].isin(held)]
    heads = pd.concat([added, compared[~_tied_copies(frame).reindex(compared.index)]])
    if tied and len(heads):
        whose = " and ".join({"base": "the base", "tuned": "the fine-tune"}[side] for side in tied)
        factors = is_adapter(diff) and heads["tuned_dtype"].isna().all()
        what = "changed by factors of its own" if factors else "stored by the fine-tune alone"
        message = (
            f"{tensors(heads, what)}: the configuration of {whose} ties the head to the embeddings."
        )
        yield finding("untied", message, heads)


def _config(diff: Diff, side: str) -> dict[str, Any]:
    found = diff.about.get("config", {}).get(side)
    return found if isinstance(found, dict) else {}


@audit_rule(
    "under-the-floor",
    "caution",
    null="rounding to nearest, ulp²/12 an entry: under 10 times that it is doubted",
    power="exact from sums",
)
def under_the_floor(diff: Diff, *, snr: float = TRUSTED_SNR) -> Iterator[Finding]:
    """A change that does not stand out of rounding cannot be told from a cast, or drowns in one."""
    if "snr" not in diff.frame:
        return
    moved = _moved(diff)
    faint = moved[(moved["snr"] < snr).fillna(False) & ~has_reason(moved, FEW_BITS)]
    if len(faint):
        fate = "would drown in a merge" if is_adapter(diff) else "cannot be told from rounding"
        message = (
            f"{tensors(faint, f'moved so little that it {fate}')}: squared change under {snr:g} "
            "times the squared rounding error."
        )
        yield finding("under-the-floor", message, faint, snr=snr)


def _narrower(after: tuple[int, int], before: tuple[int, int]) -> bool:
    return after[0] < before[0] or after[1] < before[1]


def _list(told: dict[str, Any], key: str) -> list[Any]:
    found = told.get(key)
    return found if isinstance(found, list) else []
