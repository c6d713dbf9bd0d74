"""What drift shows, in sentences with their numbers, each beside its floor or its null."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ftdiff.analyses.drift.result import Drift
from ftdiff.analyses.drift.tensors import LEAST
from ftdiff.analyses.finding import (
    Finding,
    counted,
    gravest_first,
    layer_spans,
    listed,
    speaks_for,
)
from ftdiff.comparison.frame import records

# Defaults, as the sentences name them.
_CLEAR = 10.0  # times the floor
_P = 0.05
_FEWEST = 6  # texts under which a change of loss is not tested
_ALIKE = 0.9  # Spearman from which two orders are one
_APART = 1.5  # times, with and without massive tokens


@speaks_for(Drift)
def findings(found: Drift) -> list[Finding]:
    """Return what is worth saying, alarms first; nothing of models that are alike."""
    rows = [row for row in records(found.frame) if row["position"] == "all"]
    blocks = [row for row in rows if row["site"] == "block"]
    said = [*_states(blocks), *_under(blocks), *_massive(found, blocks)]
    said += [*_outputs(found), *_loss(found), *_order(found)]
    return gravest_first(said)


def _clear(row: Mapping[str, Any], number: str = "relative_change") -> bool:
    value, floor = row[number], row[f"{number}_floor"]
    return value is not None and value > _CLEAR * (floor or 0.0)


def _states(blocks: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say where the states of layers move most."""
    clear = [row for row in blocks if _clear(row)]
    if not clear:
        return
    most, last = max(clear, key=lambda row: float(row["relative_change"])), clear[-1]
    cka = "" if most["cka"] is None else f", CKA {most['cka']:.3f}"
    end = "" if last is most else f"; {last['relative_change']:.3g} after layer {last['layer']}"
    yield Finding(
        "states-moved",
        "note",
        f"States move most after layer {most['layer']}: relative change "
        f"{most['relative_change']:.3g} (floor {most['relative_change_floor'] or 0:.1g}){cka}{end}",
        {
            "layer": most["layer"], "stack": most["stack"],
            "relative_change": most["relative_change"],
            "relative_change_floor": most["relative_change_floor"], "cka": most["cka"],
            "cka_floor": most["cka_floor"], "threshold": _CLEAR,
        },
    )  # fmt: skip


def _under(blocks: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say which layers moved no further than the dtype of the forward pass blurs them."""
    under = [row for row in blocks if row["relative_change"] and not _clear(row)]
    if under:
        layers = [row["layer"] for row in under]
        yield Finding(
            "under-the-floor",
            "caution",
            f"After layers {layer_spans(layers)} states move less than {_CLEAR:g} times what the "
            "dtype of the forward pass blurs: a number there is not of the fine-tune alone",
            {
                "layers": layers,
                "relative_change": [row["relative_change"] for row in under],
                "relative_change_floor": [row["relative_change_floor"] for row in under],
                "threshold": _CLEAR,
            },
        )


def _massive(found: Drift, blocks: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say where a few huge states decide how far the layer moves."""
    apart = []
    for row in blocks:
        whole, usual = row["relative_change"], row["usual_relative_change"]
        if row["massive"] and _clear(row, "usual_relative_change") and whole:
            ratio = usual / whole
            if max(ratio, 1 / ratio) > _APART:
                apart.append((row, ratio))
    if apart:
        row, ratio = max(apart, key=lambda one: abs(np.log(one[1])))
        layers = [one["layer"] for one, _ in apart]
        yield Finding(
            "massive-activations",
            "caution",
            f"After layers {layer_spans(layers)} a few states are over {found.about['massive']:g} "
            f"times the median and decide the relative change: after layer {row['layer']} it is "
            f"{row['relative_change']:.3g}, and {row['usual_relative_change']:.3g} without "
            f"{counted(row['massive'], 'token')} of {row['tokens']:,}",
            {
                "layers": layers, "layer": row["layer"], "tokens": row["massive"],
                "relative_change": row["relative_change"],
                "usual_relative_change": row["usual_relative_change"], "ratio": ratio,
                "threshold": _APART,
            },
        )  # fmt: skip


def _outputs(found: Drift) -> Iterator[Finding]:
    """Say how far the predictions lie apart."""
    all_ = found.overall
    if not all_ or not all_["kl"] > _CLEAR * max(all_["kl_floor"], 0.0):
        return
    yield Finding(
        "predictions-moved",
        "note",
        f"KL(tuned‖base) is {all_['kl']:.3g} nats a token (floor {max(all_['kl_floor'], 0):.1g}), "
        f"and {all_['flips']:.1%} of first choices flip (floor {all_['flips_floor']:.1%})",
        {key: all_[key] for key in ("kl", "kl_floor", "flips", "flips_floor")}
        | {"threshold": _CLEAR},
    )


def _loss(found: Drift) -> Iterator[Finding]:
    """Say whether the texts became likelier or less so, by more than texts vary."""
    all_ = found.overall
    change = found.outputs["loss_change"].to_numpy(float)
    if len(change) < _FEWEST or not abs(all_["loss_change"]) > _CLEAR * abs(
        all_["loss_change_floor"]
    ):
        return
    weighted = change * found.outputs["tokens"].to_numpy(float)
    p = _sign_p(weighted)
    if p >= _P:
        return
    worse = all_["loss_change"] > 0
    yield Finding(
        "loss-rises" if worse else "loss-falls",
        "caution" if worse else "note",
        f"The loss on these texts {'rises' if worse else 'falls'} from {all_['loss_base']:.3f} to "
        f"{all_['loss_tuned']:.3f} nats a token (p = {p:.2g}, signs of {len(change)} texts drawn "
        f"at random){': the drift is of texts that the fine-tune is worse at' if worse else ''}",
        {
            "loss_base": all_["loss_base"], "loss_tuned": all_["loss_tuned"],
            "loss_change": all_["loss_change"], "loss_change_floor": all_["loss_change_floor"],
            "texts": len(change), "p": p, "threshold": _P,
        },
    )  # fmt: skip


def _sign_p(values: Any, draws: int = 4000) -> float:
    """Return two-sided p of a sum under random signs of its terms; the same at every run."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (draws, len(values)))
    beyond = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
    return float((1 + beyond.sum()) / (1 + draws))


def _order(found: Drift) -> Iterator[Finding]:
    """Say whether matrices rank otherwise by what they change in outputs than by their norm."""
    from scipy.stats import spearmanr

    rows, halves = records(found.tensors), found.about["halves"]
    rows = [row for row in rows if _clear(row, "output_change") and row["norm_rank"]]
    if len(rows) < LEAST or halves is None:
        return
    orders = [[row[name] for row in rows] for name in ("output_change", "relative_norm")]
    if not all(np.ptp(order) > 0 for order in orders):
        return
    rho = float(spearmanr(*orders).statistic)
    if rho >= min(_ALIKE, halves):
        return
    far = sorted(rows, key=lambda row: -abs(row["output_rank"] - row["norm_rank"]))[:3]
    named = [f"{one['tensor']} ({one['output_rank']} instead of {one['norm_rank']})" for one in far]
    yield Finding(
        "ranks-otherwise",
        "note",
        f"By ‖ΔW·x‖/‖W·x‖ matrices rank otherwise than by relative norm: Spearman {rho:.2f} over "
        f"{len(rows)}, where two halves of the texts agree by {halves:.2f}; furthest apart "
        f"{listed(named)}",
        {
            "spearman": rho,
            "halves": halves,
            "tensors": {one["tensor"]: [one["output_rank"], one["norm_rank"]] for one in far},
            "of": len(rows),
            "threshold": _ALIKE,
        },
    )
