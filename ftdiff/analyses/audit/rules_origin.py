"""Where a change comes from: the right base, the scale, the initialisation, and odd layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from ftdiff.analyses.audit.registry import audit_rule, finding
from ftdiff.analyses.damage import ANOTHER, damage_of, kinship
from ftdiff.analyses.finding import Finding, counted
from ftdiff.analyses.layer_map import moved_layers
from ftdiff.comparison.few_bits import sentence
from ftdiff.comparison.frame import rows_at
from ftdiff.comparison.grid import grids, robust_z
from ftdiff.comparison.kinship import is_unrelated
from ftdiff.comparison.reasons import FEW_BITS, LAYERS, SAVED_WIDER, has_reason, reasons
from ftdiff.comparison.result import Diff
from ftdiff.comparison.statuses import MOVED

#: The least cosine with the base of what was multiplied and is not another model.
_KEPT = 0.9
#: Initialisations that leave the base as it is.
_PLAIN = (True, False, None, "gaussian", "eva", "orthogonal", "mica")


@audit_rule(
    "wrong-base",
    "alarm",
    null="unrelated matrices have a cosine of 1/√entries; heavy fine-tunes stay above 0.96",
    power="as the median over the matrices, exact",
)
def wrong_base(diff: Diff) -> Iterator[Finding]:
    """A fine-tune whose matrices point elsewhere than the base's was not made from it."""
    found = kinship(diff)
    if found is not None and found.is_another():
        message = (
            f"Another base: the median cosine of {found.matrices:,} weight matrices with the "
            f"base's is {found.cosine:z.3f}. See ftdiff lineage."
        )
        yield finding("wrong-base", message, cosine=found.cosine, matrices=found.matrices)
    elif found is None and is_unrelated(diff.about):
        message = "Another base: no layer is like one of the base's. See ftdiff lineage."
        yield finding("wrong-base", message)


@audit_rule(
    "far-from-base",
    "caution",
    null="none: how far published fine-tunes turned, and no test",
    power="exact from sums",
)
def far_from_base(diff: Diff, *, cosine: float = 0.9) -> Iterator[Finding]:
    """A fine-tune that has turned so far may be of a relative of the base, or have diverged."""
    found = kinship(diff)
    if found is not None and found.is_told and ANOTHER <= found.cosine < cosine:
        message = (
            f"The median cosine of {found.matrices:,} weight matrices with the base's is "
            f"{found.cosine:z.3f}, and that of heavy fine-tunes is above 0.96: it may be made from "
            "a relative of this base, or have diverged. See ftdiff lineage."
        )
        yield finding("far-from-base", message, cosine=found.cosine, matrices=found.matrices)


@audit_rule("layers", "caution")
def layers(diff: Diff) -> Iterator[Finding]:
    """A model with other layers than the base's needs its own configuration, and its own adapters.

    Where nothing tells which of them are the base's, none was compared.
    """
    for moved in moved_layers(diff):
        told = {name: value for name, value in moved.data.items() if name != "code"}
        yield finding("layers", moved.message, moved.rows, **told)
    for one in reasons(diff.about, LAYERS):
        if "beyond" in one:
            where = f" of the {one['stack']}" if one["stack"] else ""
            message = (
                f"The adapter names layers{where} up to {max(one['beyond'])}, and the base has "
                f"{one['base']}: it was trained on a model with other layers."
            )
            yield finding("layers", message, beyond=one["beyond"], base=one["base"])


@audit_rule("layers-promised", "alarm")
def layers_promised(diff: Diff) -> Iterator[Finding]:
    """A model that holds other layers than its configuration says was saved, or edited, in part."""
    promised = diff.about.get("config", {}).get("tuned", {}).get("num_hidden_layers")
    for moved in moved_layers(diff):
        held = moved.data["tuned"]
        if not moved.data["stack"] and isinstance(promised, int) and promised != held:
            fate = (
                "makes new weights for the others" if promised > held else "leaves the others out"
            )
            message = f"config.json says {promised} layers, and the file holds {held}"
            message += f": transformers {fate}."
            yield finding("layers-promised", message, promised=promised, held=held)


@audit_rule(
    "rescaled",
    "caution",
    null="training alone leaves less than nine tenths of its change along the base",
    power="from a factor of 2 % on",
)
def rescaled(diff: Diff, *, share: float = 0.9, change: float = 0.02) -> Iterator[Finding]:
    """A model whose matrices were multiplied by one factor has that beside what it learnt."""
    if not diff.about.get("base"):
        return
    sound = Diff(rows_at(diff.columns, ~damage_of(diff).broken), diff.about)
    whole = sound.overall
    factor, along = whole.get("scale", 1.0), whole.get("scale_share", 0.0)
    if along > share and abs(factor - 1) > change and whole.get("cosine", 0.0) >= _KEPT:
        message = (
            f"{along:.1%} of the squared change over all matrices is one rescale of the base, "
            f"× {factor:.4g}: multiplied, or decayed, beside what it learnt."
        )
        yield finding("rescaled", message, scale=factor, scale_share=along)


@audit_rule(
    "few-bits-base",
    "caution",
    null="a grid of few bits that fits rows of trained weights by chance: 256 entries at least",
    power="blocks of every matrix that moved by .001 of its norm, in a quarter of its entries",
)
def few_bits_base(diff: Diff) -> Iterator[Finding]:
    """A merge onto a base of few bits carries its rounding in every matrix that was not trained."""
    rows = diff.frame[has_reason(diff.frame, FEW_BITS)]
    for one in reasons(diff.about, FEW_BITS):
        data = {name: one[name] for name in ("scheme", "block", "others")}
        yield finding("few-bits-base", sentence(one), rows, **data)


@audit_rule("saved-wider", "note")
def saved_wider(diff: Diff) -> Iterator[Finding]:
    """A float32 file of bfloat16's values is as precise as bfloat16, and twice as large."""
    whose = {"base": "The base", "tuned": "The fine-tune"}
    for one in reasons(diff.about, SAVED_WIDER):
        message = (
            f"{whose[one['side']]} is stored in float32 and holds bfloat16's values, as far as "
            f"{one['matrices']} matrices were looked at: it was saved from bfloat16."
        )
        yield finding("saved-wider", message, side=one["side"], matrices=one["matrices"])


@audit_rule("base-name", "note")
def base_name(diff: Diff) -> Iterator[Finding]:
    """An adapter that names another base than the one given may not fit it."""
    told = diff.about.get("adapter", {}).get("base_model_name_or_path")
    given = diff.about.get("base")
    if not told or not given:
        return
    if _last_name(told) != _last_name(given):
        message = f"The adapter names its base {told!r}, it is held against {given!r}."
        yield finding("base-name", message, named=str(told), given=str(given))


def _last_name(path: object) -> str:
    """Return the last word of a path; in a cache of the hub's, the model's.

    >>> _last_name("hub/models--acme--llama/snapshots/0a1b"), _last_name("acme/llama")
    ('llama', 'llama')
    """
    parts = PurePosixPath(str(path).replace("\\", "/")).parts
    cached = [part for part in parts if part.startswith("models--")]
    return (cached[-1].rpartition("--")[2] if cached else parts[-1] if parts else "").lower()


@audit_rule("residual-initialisation", "alarm")
def residual_initialisation(diff: Diff) -> Iterator[Finding]:
    """Factors that start from the base's own (PiSSA, OLoRA, CorDA) are not the change."""
    init = diff.about.get("adapter", {}).get("init_lora_weights", True)
    if init not in _PLAIN:
        message = (
            f"init_lora_weights is {init!r}: the base was replaced by a residual when training "
            "began, so that the factors added to the published base give another model."
        )
        yield finding("residual-initialisation", message, init_lora_weights=init)


@audit_rule("scale", "note")
def scale(diff: Diff) -> Iterator[Finding]:
    """The factor of an adapter decides its size: who reads another one has another model."""
    origins = Counter(diff.about.get("scalings", {}).values())
    if origins:
        told = "; ".join(f"{origin} ({count} ×)" for origin, count in origins.most_common(3))
        more = f"; and {counted(len(origins) - 3, 'other')}" if len(origins) > 3 else ""
        yield finding("scale", f"The adapter is scaled by {told}{more}.", scalings=dict(origins))


@audit_rule(
    "outlier-layer",
    "caution",
    null="a robust z of 8 of the layers' medians",
    power="from twice the median layer on; not tabled",
)
def outlier_layer(diff: Diff, *, z: float = 8.0, ratio: float = 2.0) -> Iterator[Finding]:
    """A layer that moves many times as much as its neighbours may have gone wrong in training."""
    for grid in grids(diff, "relative_norm" if diff.about.get("base") else "rms_change"):
        log = grid.full(6)
        if not log.size:
            continue
        profile = (log - log.median()).median(axis=1)
        times = np.exp(profile - profile.median())
        for layer, score in zip(log.index, robust_z(profile.to_numpy()), strict=True):
            if score < z or times[layer] < ratio:
                continue
            rows = diff.frame[
                (diff.frame["layer"] == layer).fillna(False)
                & (diff.frame["stack"] == grid.stack)
                & diff.frame["status"].isin(MOVED)
            ]
            message = (
                f"Layer {layer}{grid.where} moves {times[layer]:.3g} times as much as the median "
                f"layer (robust z {score:+.1f})."
            )
            yield finding(
                "outlier-layer", message, rows, layer=int(layer), ratio=float(times[layer])
            )
